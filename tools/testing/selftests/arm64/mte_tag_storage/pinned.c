// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages of data that cannot be moved, because a pipe holds them.
 *
 * Is it a page in tag storage, then the pages that have their tags there are
 * moved instead. Is it a covered page, then its storage is emptied. Is it both,
 * then the access waits for either to be let go: it can be killed meanwhile, it
 * ends in SIGBUS after a bounded time, and other processes, and other threads of
 * the same one, go on.
 *
 * The kernel waits about 10 seconds: all that wait do so at the same time.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>
#include <sys/wait.h>

#include "ts_common.h"

#define NEED	(TS_NEED_ROOT | TS_NEED_COUNTERS | TS_NEED_REGIONS)
#define SEED	1
#define USEC	30000
#define USEC_LAST	1000000	/* longer than all waits for a block that is busy */
#define ROUNDS		3	/* of a race that need not be met each time */
#define MANY	60	/* seconds; more is no bound */
#define SHORT	5	/* seconds in which the others must get something done */
#define WAITED	2.5	/* seconds until the first page is let go */
#define LARGE	16UL	/* pages of a large folio */
#define NR_LARGE	32

/* A page in tag storage, one whose tags are there, and the pipes for each. */
struct pair {
	size_t storage, covered;
	int storage_pipe[2], covered_pipe[2];
};

/* Results of a thread, shared by all processes. */
struct progress {
	unsigned long rounds, bad;
	double longest, last;
};

static struct ts_ballast ballast;
static size_t next_pair, last_covered = -1UL;
static struct progress *progress;

static char *at(size_t page)
{
	return ballast.mem + page * ts_psize;
}

static void close_pipe(int fd[2])
{
	close(fd[0]);
	close(fd[1]);
}

/* Read the page back from the pipe, which lets it go, and compare. */
static size_t unpin(int fd[2], size_t page)
{
	char buf[ts_psize];
	ssize_t n = read(fd[0], buf, ts_psize);
	size_t i, bad = 0;

	for (i = 0; i < ts_psize / 8; i++)
		bad += ts_load(buf + 8 * i) != ts_word(SEED, page, i);
	close_pipe(fd);
	return ts_expect(n == (ssize_t)ts_psize && !bad,
			 "page %zu to keep its data in the pipe", page);
}

/*
 * The last page of its block: those before it can be taken, and must be put back
 * as it cannot.
 */
static bool ends_block(size_t page)
{
	unsigned long pfn = ts_pfn(at(page));
	const struct ts_region *in;
	struct ts_region r[32];

	in = ts_storage_of(r, ts_regions(r, ARRAY_SIZE(r)), pfn);
	return in && (pfn - in->tag_pfn + 1) % in->block_pages == 0;
}

/* The next ballast has others. */
static void free_pairs(void)
{
	ts_ballast_free(&ballast);
	next_pair = 0;
	last_covered = -1UL;
}

/*
 * The next pair, of a block of its own. All of tag storage is lent for that, as
 * there are none if it is in use by others before memory gets short.
 */
static bool get_pair(struct pair *p)
{
	if (!ballast.mem)
		ts_ballast_lend(&ballast);
	p->storage = next_pair;
	do {
		if (!ts_ballast_pair(&ballast, &p->storage, &p->covered)) {
			free_pairs();
			return false;
		}
		p->storage++;
	} while (p->covered == last_covered || !ends_block(p->storage - 1));
	next_pair = p->storage--;
	last_covered = p->covered;
	ts_data_write(ballast.mem, p->storage, 1, SEED);
	ts_data_write(ballast.mem, p->covered, 1, SEED);
	return true;
}

static bool get_pinned_pair(struct pair *p)
{
	return get_pair(p) && ts_pin_pipe(at(p->storage), p->storage_pipe) &&
	       ts_pin_pipe(at(p->covered), p->covered_pipe);
}

static size_t unpin_pair(struct pair *p)
{
	return unpin(p->storage_pipe, p->storage) +
	       unpin(p->covered_pipe, p->covered);
}

/* The page becomes tagged, with the data that it had. */
static size_t touch(size_t page)
{
	size_t bad;

	bad = ts_tags_zero(ballast.mem, page, 1);
	bad += ts_data_check(ballast.mem, page, 1, SEED);
	ts_tags_write(ballast.mem, page, 1, SEED);
	return bad + ts_check(ballast.mem, page, 1, SEED);
}

static int pinned_storage(void)
{
	unsigned long storage, covered;
	struct pair p;
	size_t bad;
	long hits;

	if (!get_pair(&p) || !ts_pin_pipe(at(p.storage), p.storage_pipe))
		return ts_skip("no page in tag storage could be pinned");
	storage = ts_pfn(at(p.storage));
	covered = ts_pfn(at(p.covered));
	ts_protect(ballast.mem, p.covered, 1, TS_RWT);
	ts_slow("metadata_take_contig", 1);
	hits = ts_slow_hits();
	ts_be_slow(true);
	bad = touch(p.covered);
	ts_be_slow(false);
	bad += ts_expect(ts_slow_hits() == hits, "no last resort");
	ts_slow(NULL, 0);
	bad += ts_expect(ts_pfn(at(p.storage)) == storage,
			 "the pinned page to stay");
	bad += ts_usually(ts_pfn(at(p.covered)) != covered,
			  "the covered page to move");
	bad += unpin(p.storage_pipe, p.storage);
	bad += ts_data_check(ballast.mem, p.storage, 1, SEED);
	bad += ts_check(ballast.mem, p.covered, 1, SEED);
	return ts_result(bad);
}

/* The first page that has its tags where that of the ballast has, and how many do. */
static unsigned long run_of(size_t page, unsigned long *cover)
{
	const struct ts_region *in;
	struct ts_region r[32];
	unsigned long pfn = ts_pfn(at(page));

	in = ts_covers(r, ts_regions(r, ARRAY_SIZE(r)), pfn);
	if (!in)
		return 0;
	*cover = TS_COVER * in->block_pages;
	return pfn - (pfn - in->data_pfn) % *cover;
}

/* Pages of the ballast that have their tags where those of @page are. */
static size_t all_beside(size_t page, size_t *found, size_t max)
{
	unsigned long cover = 0, first = run_of(page, &cover), i;
	size_t n = 0;

	for (i = 0; i < cover && n < max; i++) {
		ssize_t is = ts_ballast_find(&ballast, first + i, 1);

		if (is >= 0)
			found[n++] = is;
	}
	return n;
}

/*
 * What could not be moved is left alone for a while: of many pages that need
 * this storage one after the other, few try.
 */
static int pinned_again(void)
{
	size_t page[TS_COVER], nr, bad = 0, i;
	double seconds;
	struct pair p;
	long failed;

	do {
		if (!get_pair(&p))
			return ts_skip("no page in tag storage for many others");
		nr = all_beside(p.covered, page, ARRAY_SIZE(page));
	} while (nr < TS_COVER / 2);
	if (!ts_pin_pipe(at(p.storage), p.storage_pipe))
		return ts_skip("no page in tag storage could be pinned");
	for (i = 0; i < nr; i++) {
		ts_data_write(ballast.mem, page[i], 1, SEED);
		ts_protect(ballast.mem, page[i], 1, TS_RWT);
	}
	failed = ts_vmstat("pgmigrate_fail");
	seconds = ts_now();
	for (i = 0; i < nr; i++)
		ts_load(at(page[i]));
	seconds = ts_now() - seconds;
	failed = ts_vmstat("pgmigrate_fail") - failed;
	ksft_print_msg("%zu pages in %.3f s, %ld times in vain\n", nr, seconds,
		       failed);
	bad += ts_usually(failed > 0 && failed <= 2 + 10 * seconds,
			  "%.0f times in vain at most", 2 + 10 * seconds);
	for (i = 0; i < nr; i++)
		bad += touch(page[i]);
	bad += unpin(p.storage_pipe, p.storage);
	bad += ts_data_check(ballast.mem, p.storage, 1, SEED);
	for (i = 0; i < nr; i++)
		bad += ts_check(ballast.mem, page[i], 1, SEED);
	return ts_result(bad);
}

static int pinned_covered(void)
{
	struct ts_counters before, after;
	unsigned long storage, covered;
	struct pair p;
	size_t bad;

	if (!get_pair(&p) || !ts_pin_pipe(at(p.covered), p.covered_pipe))
		return ts_skip("no covered page could be pinned");
	storage = ts_pfn(at(p.storage));
	covered = ts_pfn(at(p.covered));
	ts_counters(&before);
	ts_protect(ballast.mem, p.covered, 1, TS_RWT);
	bad = touch(p.covered);
	ts_counters(&after);
	bad += ts_expect(ts_pfn(at(p.covered)) == covered,
			 "the pinned page to stay");
	bad += ts_usually(ts_pfn(at(p.storage)) != storage,
			  "the page in tag storage to move");
	bad += ts_expect(after.moved + after.contig >
			 before.moved + before.contig,
			 "its block to be taken from data");
	bad += unpin(p.covered_pipe, p.covered);
	bad += ts_data_check(ballast.mem, p.storage, 1, SEED);
	bad += ts_check(ballast.mem, p.covered, 1, SEED);
	return ts_result(bad);
}

static struct pair bus_pair;
static double bus_time;
static size_t bus_bad;

/* Let go, so that the same access works now. */
static void on_bus(int sig, siginfo_t *info, void *context)
{
	(void)context;
	signal(sig, SIG_DFL);
	bus_time = ts_now();
	bus_bad = ts_expect(info->si_addr == at(bus_pair.covered),
			    "SIGBUS to give the address");
	bus_bad += unpin_pair(&bus_pair);
}

static int wait_for_bus(struct pair *p)
{
	struct sigaction action = {
		.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO,
	};
	double start = ts_now();
	size_t bad;

	bus_pair = *p;
	sigaction(SIGBUS, &action, NULL);
	ts_protect(ballast.mem, p->covered, 1, TS_RWT);
	bad = touch(p->covered);
	if (ts_expect(bus_time, "SIGBUS"))
		return 1;
	ksft_print_msg("SIGBUS after %.1f s\n", bus_time - start);
	return bad + bus_bad != 0;
}

/* The parent lets go of the page in tag storage, or of the covered one. */
static int wait_for_release(struct pair *p)
{
	ts_protect(ballast.mem, p->covered, 1, TS_RWT);
	return touch(p->covered) != 0;
}

/* The kernel's own access ends with an error. */
static int wait_for_error(struct pair *p)
{
	int fd = memfd_create("mte_tag_storage", MFD_CLOEXEC);
	size_t bad;
	ssize_t n;

	ts_protect(ballast.mem, p->covered, 1, TS_RWT);
	n = write(fd, at(p->covered), ts_psize);
	bad = ts_expect(n < 0 && errno == EFAULT, "EFAULT, not %zd, %s", n,
			strerror(errno));
	bad += unpin_pair(p);
	n = write(fd, at(p->covered), ts_psize);
	bad += ts_expect(n == (ssize_t)ts_psize, "all data written, is %zd", n);
	return bad + touch(p->covered) != 0;
}

/* Map, tag, check and unmap some memory. */
static void work(struct progress *p)
{
	double start = ts_now();
	char *mem = ts_map(16, TS_RWT, 0);

	ts_write(mem, 0, 16, p->rounds);
	p->bad += ts_check(mem, 0, 16, p->rounds);
	ts_unmap(mem, 16);
	if (ts_now() - start > p->longest)
		p->longest = ts_now() - start;
	p->rounds++;
}

/* Change the mapping of the page that is waited for, too. */
static void *other_thread(void *arg)
{
	struct pair *p = arg;

	for (;;) {
		work(&progress[0]);
		madvise(at(p->covered), ts_psize, MADV_DONTFORK);
		madvise(at(p->covered), ts_psize, MADV_DOFORK);
		progress[0].last = ts_now();
		usleep(1000);
	}
	return NULL;
}

/* Killed by the parent, with a thread that goes on until then. */
static int wait_for_kill(struct pair *p)
{
	pthread_t thread;

	ts_protect(ballast.mem, p->covered, 1, TS_RWT);
	if (pthread_create(&thread, NULL, other_thread, p))
		return 1;
	ts_load(at(p->covered));
	return 1;
}

enum { BUS, STORAGE, COVERED, ERROR, KILL, NR_WAITERS };

static int (* const waiters[NR_WAITERS])(struct pair *p) = {
	[BUS] = wait_for_bus,
	[STORAGE] = wait_for_release,
	[COVERED] = wait_for_release,
	[ERROR] = wait_for_error,
	[KILL] = wait_for_kill,
};

static bool has_ended(pid_t pid)
{
	siginfo_t info = { };

	return waitid(P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT) ||
	       info.si_pid;
}

static size_t release(pid_t pid, struct pair *p, int *fd, size_t page)
{
	size_t bad = ts_usually(!has_ended(pid), "the access to wait");
	double start = ts_now();
	int status;

	bad += unpin(fd, page);
	status = ts_wait(pid, SHORT);
	bad += ts_expect(!status, "the access to go on, not %d", status);
	ksft_print_msg("went on after %.3f s\n", ts_now() - start);
	return bad + ts_data_check(ballast.mem, p->covered, 1, SEED) +
	       ts_data_check(ballast.mem, p->storage, 1, SEED);
}

static size_t kill_waiter(pid_t pid)
{
	size_t bad = ts_usually(!has_ended(pid), "the access to wait");
	double idle = ts_now() - progress[0].last;
	int status;

	bad += ts_usually(idle < WAITED / 2,
			  "another thread to go on, not to hang for %.1f s", idle);
	kill(pid, SIGKILL);
	status = ts_wait(pid, SHORT);
	bad += ts_expect(status == 128 + SIGKILL, "SIGKILL to end it at once");
	bad += ts_expect(progress[0].rounds && !progress[0].bad &&
			 progress[0].longest < SHORT,
			 "another thread to go on: %lu rounds, longest %.3f s",
			 progress[0].rounds, progress[0].longest);
	return bad;
}

/* The work of this process goes on while the others wait. */
static void go_on(double seconds, const pid_t *pid)
{
	double end = ts_now() + seconds;

	while (ts_now() < end && !(has_ended(pid[BUS]) && has_ended(pid[ERROR]))) {
		work(&progress[1]);
		usleep(1000);
	}
}

static int pinned_both(void)
{
	long failed = ts_vmstat("metadata_reserve_fail");
	struct pair p[NR_WAITERS];
	pid_t pid[NR_WAITERS];
	size_t bad = 0, i;
	int status;

	progress = (struct progress *)ts_map(1, TS_RW, MAP_SHARED);
	for (i = 0; i < NR_WAITERS; i++)
		if (!get_pinned_pair(&p[i]))
			return ts_skip("no page in tag storage could be pinned");
	for (i = 0; i < NR_WAITERS; i++) {
		pid[i] = fork();
		if (!pid[i])
			_exit(waiters[i](&p[i]));
	}

	go_on(WAITED, pid);
	bad += release(pid[STORAGE], &p[STORAGE], p[STORAGE].storage_pipe,
		       p[STORAGE].storage);
	bad += release(pid[COVERED], &p[COVERED], p[COVERED].covered_pipe,
		       p[COVERED].covered);
	bad += kill_waiter(pid[KILL]);
	bad += unpin(p[STORAGE].covered_pipe, p[STORAGE].covered);
	bad += unpin(p[COVERED].storage_pipe, p[COVERED].storage);
	bad += unpin_pair(&p[KILL]);
	go_on(MANY, pid);

	for (i = BUS; i <= ERROR; i += ERROR - BUS) {
		status = ts_wait(pid[i], 1);
		bad += ts_expect(!status, "waiter %zu to end with 0, not %d", i,
				 status);
	}
	for (i = 0; i < NR_WAITERS; i++) {
		bad += ts_data_check(ballast.mem, p[i].storage, 1, SEED);
		bad += ts_data_check(ballast.mem, p[i].covered, 1, SEED);
	}
	ksft_print_msg("meanwhile %lu rounds, longest %.3f s\n",
		       progress[1].rounds, progress[1].longest);
	bad += ts_expect(progress[1].rounds && !progress[1].bad &&
			 progress[1].longest < SHORT,
			 "this process to go on");
	bad += ts_expect(ts_vmstat("metadata_reserve_fail") > failed,
			 "metadata_reserve_fail to grow");
	ts_unmap((char *)progress, 1);
	return ts_result(bad);
}

static pid_t start_reader(size_t page)
{
	pid_t pid = fork();
	size_t bad;

	if (pid < 0)
		ksft_exit_fail_msg("fork failed\n");
	if (pid)
		return pid;
	ts_protect(ballast.mem, page, 1, TS_RWT);
	bad = ts_tags_zero(ballast.mem, page, 1);
	_exit(bad + ts_data_check(ballast.mem, page, 1, SEED) != 0);
}

/* None of those that wait for the same page pins it for the others. */
static int pinned_shared(void)
{
	size_t bad = 0, i;
	struct pair p;
	pid_t pid[2];
	double start;
	int ret;

	if (!get_pinned_pair(&p))
		return ts_skip("no page in tag storage could be pinned");
	for (i = 0; i < ARRAY_SIZE(pid); i++)
		pid[i] = start_reader(p.covered);
	usleep(300 * 1000);
	start = ts_now();
	bad += unpin(p.covered_pipe, p.covered);
	for (i = 0; i < ARRAY_SIZE(pid); i++) {
		ret = ts_wait(pid[i], MANY);
		bad += ts_expect(!ret, "child to end with 0, not %d", ret);
	}
	start = ts_now() - start;
	bad += ts_expect(start < SHORT, "that soon, not in %.3f s", start);
	bad += unpin(p.storage_pipe, p.storage);
	return ts_result(bad);
}

/* Another page of the ballast that has its tags where those of @page are, or -1. */
static ssize_t find_beside(size_t page)
{
	unsigned long pfn = ts_pfn(at(page)), cover;
	unsigned long first = run_of(page, &cover);
	ssize_t found;

	if (!first)
		return -1;
	found = ts_ballast_find(&ballast, first, pfn - first);
	return found >= 0 ? found :
	       ts_ballast_find(&ballast, pfn + 1, first + cover - pfn - 1);
}

/* The next pair with another page like that. */
static bool get_pair_beside(struct pair *p, size_t *beside)
{
	ssize_t found;

	do {
		if (!get_pair(p))
			return false;
		found = find_beside(p->covered);
	} while (found < 0);
	*beside = found;
	ts_data_write(ballast.mem, found, 1, SEED);
	return true;
}

static void *touch_slowly(void *arg)
{
	struct pair *p = arg;
	size_t bad;

	ts_run_on(1);
	ts_be_slow(true);
	bad = touch(p->covered);
	ts_be_slow(false);
	return (void *)bad;
}

/*
 * Both pages are pinned. When the access to one has failed @hits times to move
 * something, the page in tag storage goes, and another page gets that storage:
 * the last resort of the first access comes too late, and shares it.
 */
static size_t taken_meanwhile(struct pair *p, size_t beside, long hits)
{
	double end = ts_now() + 2, start;
	pthread_t thread;
	size_t bad = 0;
	void *ret;

	ts_protect(ballast.mem, beside, 1, TS_RWT);
	ts_protect(ballast.mem, p->covered, 1, TS_RWT);
	ts_slow("putback_movable_pages", USEC);
	if (pthread_create(&thread, NULL, touch_slowly, p))
		ksft_exit_fail_msg("no thread\n");
	while (ts_slow_hits() < hits && ts_now() < end)
		;
	close_pipe(p->storage_pipe);
	madvise(at(p->storage), ts_psize, MADV_DONTNEED);
	bad += touch(beside);
	start = ts_now();
	pthread_join(thread, &ret);
	bad += ts_expect(ts_now() - start < SHORT, "the access to go on");
	ts_slow(NULL, 0);
	bad += (size_t)ret + ts_check(ballast.mem, beside, 1, SEED);
	return bad + unpin(p->covered_pipe, p->covered);
}

static int pinned_taken(void)
{
	size_t bad = 0;
	long hits;

	if (!ts_slow(NULL, 0))
		return KSFT_PASS;
	ts_run_on(0);
	for (hits = 2; hits <= 5 && !bad; hits++) {
		size_t beside;
		struct pair p;

		if (!get_pair_beside(&p, &beside))
			return ts_skip("no page in tag storage");
		if (!ts_pin_pipe(at(p.storage), p.storage_pipe) ||
		    !ts_pin_pipe(at(p.covered), p.covered_pipe))
			return ts_skip("no page in tag storage could be pinned");
		bad += taken_meanwhile(&p, beside, hits);
	}
	return ts_result(bad);
}

static void *touch_other(void *arg)
{
	return (void *)touch(*(size_t *)arg);
}

static bool get_pinned_three(struct pair *p, size_t *beside, int beside_pipe[2])
{
	return get_pair_beside(p, beside) &&
	       ts_pin_pipe(at(p->storage), p->storage_pipe) &&
	       ts_pin_pipe(at(p->covered), p->covered_pipe) &&
	       ts_pin_pipe(at(*beside), beside_pipe);
}

/*
 * Two pages of one block are pinned and so is the block. While the last resort of
 * one access holds the block the other access comes to it, and has to leave the
 * block alone. Both go on when it can be had.
 */
static size_t last_resorts(struct pair *p, size_t beside)
{
	pthread_t thread[2];
	void *ret[2] = {};
	size_t bad = 0;
	double start;

	ts_protect(ballast.mem, p->covered, 1, TS_RWT);
	ts_protect(ballast.mem, beside, 1, TS_RWT);
	ts_slow_any("metadata_take_contig", USEC_LAST);
	if (pthread_create(&thread[0], NULL, touch_slowly, p) ||
	    pthread_create(&thread[1], NULL, touch_other, &beside))
		ksft_exit_fail_msg("no thread\n");
	ts_wait_slow(0, SHORT);
	bad += ts_expect(ts_slow_hits() > 0, "the last resort");
	usleep(USEC_LAST * 3 / 2);
	ts_slow(NULL, 0);
	bad += unpin(p->storage_pipe, p->storage);
	start = ts_now();
	pthread_join(thread[0], &ret[0]);
	pthread_join(thread[1], &ret[1]);
	bad += ts_expect(ts_now() - start < SHORT, "both to go on");
	bad += ts_data_check(ballast.mem, p->storage, 1, SEED);
	return bad + (size_t)ret[0] + (size_t)ret[1];
}

static int pinned_twice(void)
{
	int beside_pipe[2], i;
	size_t beside, bad = 0;
	struct pair p;

	if (!ts_slow(NULL, 0))
		return KSFT_PASS;
	ts_run_on(0);
	for (i = 0; i < ROUNDS && !bad; i++) {
		if (!get_pinned_three(&p, &beside, beside_pipe))
			return ts_skip("no page in tag storage could be pinned");
		bad += last_resorts(&p, beside);
		bad += unpin(p.covered_pipe, p.covered);
		bad += unpin(beside_pipe, beside);
	}
	return ts_result(bad);
}

static void end_well(int sig)
{
	(void)sig;
	_exit(0);
}

/* SIGBUS ends it, nothing else does. */
static int read_waiting(void *arg)
{
	char *page = arg;

	signal(SIGBUS, end_well);
	ts_protect(page, 0, 1, TS_RWT);
	ts_load(page);
	return 1;
}

/* A page of a large folio, but for the first, that has its tags in the ballast. */
static bool find_tail(const char *mem, size_t nr, size_t *tail, size_t *storage)
{
	size_t i;

	for (i = 1; i < nr; i++) {
		ssize_t found = ts_ballast_storage(&ballast,
						   ts_pfn(mem + i * ts_psize));

		if (found < 0 || i % LARGE == 0 ||
		    ts_folio_pages(mem + i * ts_psize) < 2)
			continue;
		*tail = i;
		*storage = found;
		return true;
	}
	return false;
}

/* Large folios of data that are no huge pages. */
static char *map_large(size_t nr)
{
	char *mem;

	ts_thp_size(LARGE * ts_psize / 1024, true);
	mem = ts_map_huge(nr * ts_psize);
	ts_data_write(mem, 0, nr, SEED);
	ts_thp_size(LARGE * ts_psize / 1024, false);
	return mem;
}

/* The whole folio can be neither moved nor split: the wait is for its count. */
static size_t tail_waits(char *page)
{
	double start = ts_now();
	int ret = ts_child(read_waiting, page, MANY);
	size_t bad;

	start = ts_now() - start;
	bad = ts_expect(!ret, "SIGBUS within %d s, not %d", MANY, ret);
	bad += ts_usually(start > WAITED, "the access to wait, not %.1f s", start);
	return bad + ts_usually(ts_folio_pages(page) > 1,
				"the folio to stay as it is");
}

static int pin_tail(char *mem, size_t nr)
{
	int tail_pipe[2], storage_pipe[2];
	size_t tail, storage, bad;

	if (!find_tail(mem, nr, &tail, &storage) ||
	    !ts_pin_pipe(mem + tail * ts_psize, tail_pipe))
		return ts_skip("no large folio that has its tags in the ballast");
	ts_data_write(ballast.mem, storage, 1, SEED);
	if (!ts_pin_pipe(at(storage), storage_pipe)) {
		close_pipe(tail_pipe);
		return ts_skip("no page in tag storage could be pinned");
	}

	bad = tail_waits(mem + tail * ts_psize);
	close_pipe(tail_pipe);
	bad += unpin(storage_pipe, storage);
	ts_protect(mem, 0, nr, TS_RWT);
	bad += ts_data_check(mem, 0, nr, SEED);
	ts_tags_write(mem, 0, nr, SEED);
	bad += ts_check(mem, 0, nr, SEED);
	bad += ts_data_check(ballast.mem, storage, 1, SEED);
	return ts_result(bad);
}

static int pinned_tail(void)
{
	size_t nr = NR_LARGE * LARGE;
	char *mem = map_large(nr);
	int ret;

	free_pairs();
	ts_ballast_lend(&ballast);
	ret = pin_tail(mem, nr);
	ts_unmap(mem, nr);
	return ret;
}

static const struct ts_case cases[] = {
	{ "page in tag storage pinned", pinned_storage, NEED },
	{ "page in tag storage pinned, many need it", pinned_again, NEED },
	{ "covered page pinned", pinned_covered, NEED },
	{ "both pages pinned", pinned_both, NEED },
	{ "both pages pinned, for several processes", pinned_shared, NEED },
	{ "both pages pinned, one of them a part of a large folio", pinned_tail,
	  NEED | TS_NEED_THP },
	{ "both pages pinned, another page takes the storage", pinned_taken,
	  NEED | TS_NEED_CPUS },
	{ "both pages pinned, another page needs the storage, too", pinned_twice,
	  NEED | TS_NEED_CPUS },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
