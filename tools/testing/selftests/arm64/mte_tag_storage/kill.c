// SPDX-License-Identifier: GPL-2.0-only
/*
 * SIGKILL at any point of a fault that needs tag storage: the process is gone
 * at once, nothing is said of being out of memory, and all tag storage that it
 * held is given back, with the data that was in its way unharmed.
 *
 * A process with two threads makes memory tagged, while tag storage is in use
 * as data. How long that takes is measured once; then it is started again and
 * again, and killed a bit later each time.
 *
 * Another one is killed inside of each step of each way to reserve tag
 * storage, where the kernel can make these take long. Whoever needs the
 * storage next gets it.
 *
 * Another one takes tagged memory until there is no more: the OOM killer ends
 * it and nothing else.
 */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/swap.h>
#include <sys/wait.h>

#include "ts_common.h"

#define NR		256
#define WAIT		30
#define OOM_WAIT	240
#define KILLS		16	/* amid each kind of work */
#define MAX_KILLS	(8 * KILLS)
#define LINGER		150000	/* µs; by then blocks without pages are given back */
#define USEC		50000	/* that a step takes in which one is killed */
#define DEATH		3.0	/* seconds, at most, from SIGKILL on */
#define NEED		(TS_NEED_ROOT | TS_NEED_COUNTERS | TS_NEED_REGIONS)

static char *mem;
static struct ts_ballast ballast;
static struct {
	bool started, done;
} *shared;

/* The same pages by two threads, so that one waits for the other. */
static void *work_touch(void *arg)
{
	size_t page;

	for (page = 0; page < NR; page++)
		ts_stg(mem + page * ts_psize, (unsigned long)arg);
	return NULL;
}

/* Kill and death may come anywhere in here. */
static void work_tagged(void)
{
	pthread_t thread;

	mem = ts_map(NR, TS_RWT, 0);
	madvise(mem, NR * ts_psize, MADV_NOHUGEPAGE);
	pthread_create(&thread, NULL, work_touch, (void *)1);
	work_touch((void *)2);
}

/* Pages that have data already, of which some lie in tag storage. */
static void work_mprotect(void)
{
	pthread_t thread;

	mem = ts_map(NR, TS_RW, 0);
	madvise(mem, NR * ts_psize, MADV_NOHUGEPAGE);
	ts_data_write(mem, 0, NR, 1);
	ts_protect(mem, 0, NR, TS_RWT);
	pthread_create(&thread, NULL, work_touch, (void *)1);
	work_touch((void *)2);
}

/* The covered pages of the ballast: each moves what is in its storage. */
static void work_covered(void)
{
	mem = ballast.mem;
	ts_protect(mem, 0, NR, TS_RWT);
	work_touch((void *)3);
}

static void work_swap(void)
{
	mem = ts_map(NR, TS_RWT, 0);
	ts_write(mem, 0, NR, 1);
	madvise(mem, NR * ts_psize, MADV_PAGEOUT);
	work_touch((void *)4);
}

static void wait_for(const bool *flag)
{
	while (!__atomic_load_n(flag, __ATOMIC_ACQUIRE))
		usleep(50);
}

/* A child that does the work, and then waits for its end. */
static pid_t start(void (*work)(void))
{
	pid_t pid;

	shared->started = false;
	shared->done = false;
	pid = fork();
	if (!pid) {
		__atomic_store_n(&shared->started, true, __ATOMIC_RELEASE);
		work();
		__atomic_store_n(&shared->done, true, __ATOMIC_RELEASE);
		for (;;)
			pause();
	}
	if (pid < 0)
		ksft_exit_fail_msg("fork failed\n");
	wait_for(&shared->started);
	return pid;
}

/*
 * Pages reserved when nothing of ours is tagged any more. Pages of a process that
 * is gone may be on a list of some CPU until that is drained.
 */
static bool back_to(long reserved)
{
	ts_compact();
	return ts_wait_reserved(reserved, WAIT);
}

/* The shortest of some, so that most kills come before the end. */
static double time_of(void (*work)(void))
{
	double shortest = WAIT;
	int i;

	for (i = 0; i < 4; i++) {
		pid_t pid = start(work);
		double begin = ts_now();

		wait_for(&shared->done);
		if (ts_now() - begin < shortest)
			shortest = ts_now() - begin;
		kill(pid, SIGKILL);
		ts_wait(pid, WAIT);
	}
	return shortest;
}

/* Data in nearly all of tag storage, and some other memory for the work. */
static void fill(void)
{
	ts_ballast_fill(&ballast, ts_meminfo("MetadataTotal") * 1024 /
				  (long)ts_psize / 8);
	ts_data_write(ballast.mem, 0, ballast.nr, 1);
	madvise(ballast.bulk, 8 << 20, MADV_DONTNEED);
}

/* What became tagged in a child holds its storage as long as it is here. */
static size_t check_and_free(void)
{
	size_t bad = ts_data_check(ballast.mem, 0, ballast.nr, 1);

	ts_ballast_free(&ballast);
	return bad;
}

static size_t kill_all_along(void (*work)(void), const char *name)
{
	long ooms = ts_vmstat("oom_kill");
	struct ts_counters before, after;
	double whole, slowest = 0;
	size_t bad = 0;
	int i, early = 0;

	fill();
	ts_counters(&before);
	whole = time_of(work);
	for (i = 0; early < KILLS && i < MAX_KILLS && !bad; i++) {
		pid_t pid = start(work);
		double begin;
		int status;

		usleep(whole * (i % KILLS) / KILLS * 1e6);
		/* It went faster than before, or the sleep took longer. */
		if (__atomic_load_n(&shared->done, __ATOMIC_ACQUIRE))
			whole *= 0.9;
		else
			early++;
		begin = ts_now();
		kill(pid, SIGKILL);
		status = ts_wait(pid, WAIT);
		bad += ts_expect(status == 128 + SIGKILL,
				 "%s: an end by SIGKILL, not %d", name, status);
		if (ts_now() - begin > slowest)
			slowest = ts_now() - begin;
		/* The next one takes blocks again, it does not find them taken. */
		usleep(LINGER);
	}
	ts_counters(&after);
	ksft_print_msg("%s: %.3f s of work, %d of %d kills before its end, slowest %.3f s\n",
		       name, whole, early, i, slowest);
	ksft_print_msg("%s: %ld blocks free, %ld moved, %ld shared\n", name,
		       after.buddy - before.buddy, after.moved - before.moved,
		       after.shared - before.shared);
	bad += ts_usually(early == KILLS, "%s: kills amid the work", name);
	bad += ts_usually(after.moved > before.moved, "%s: data to be moved", name);
	bad += ts_expect(ts_vmstat("oom_kill") == ooms, "%s: no OOM kill", name);
	return bad + check_and_free();
}

static int killed(void)
{
	struct ts_counters before;
	size_t bad = 0;

	ts_counters(&before);
	shared = (void *)ts_map(1, TS_RW, MAP_SHARED);
	bad += kill_all_along(work_tagged, "new");
	bad += kill_all_along(work_mprotect, "mprotect");
	bad += kill_all_along(work_covered, "covered");
	if (!ts_missing(TS_NEED_SWAP))
		bad += kill_all_along(work_swap, "swap");
	bad += ts_expect(back_to(before.reserved),
			 "%ld pages reserved as before, not %ld", before.reserved,
			 ts_vmstat("nr_metadata_reserved"));
	ts_unmap((char *)shared, 1);
	return ts_result(bad);
}

/*
 * A step of reserving, and what is in the storage: data that can be moved,
 * nothing, or data that cannot be moved, like the page that needs the storage.
 */
enum content { DATA, NOTHING, PINNED };

static const struct step {
	const char *function;
	enum content content;
	bool stays;	/* what is in the storage: it was not moved yet */
} steps[] = {
	{ "metadata_take_free", NOTHING, false },
	{ "metadata_take_free", DATA, true },
	{ "isolate_folio_to_list", DATA, false },
	{ "alloc_migration_target", DATA, false },
	{ "metadata_take_used", DATA, false },
	{ "arch_metadata_reserve", DATA, false },
	{ "start_isolate_page_range", PINNED, false },
	{ "metadata_take_contig", PINNED, false },
};

/* Of the ballast: what is in the storage, and a page that needs that. */
static size_t storage, covered;
static bool both_pinned;

static char *at(size_t page)
{
	return ballast.mem + page * ts_psize;
}

static void work_slowly(void)
{
	int fd[2];

	ts_run_on(1);
	if (both_pinned && !(ts_pin_pipe(at(storage), fd) &&
			     ts_pin_pipe(at(covered), fd)))
		ksft_exit_fail_msg("vmsplice failed\n");
	ts_protect(ballast.mem, covered, 1, TS_RWT);
	ts_be_slow(true);
	ts_ldg(at(covered));
}

/* A process that is not killed needs the storage of the same page. */
static int go_on(void *arg)
{
	size_t bad;

	(void)arg;
	ts_protect(ballast.mem, covered, 1, TS_RWT);
	bad = ts_tags_zero(ballast.mem, covered, 1);
	bad += ts_data_check(ballast.mem, covered, 1, 1);
	ts_write(ballast.mem, covered, 1, 2);
	return bad + ts_check(ballast.mem, covered, 1, 2) != 0;
}

static size_t kill_inside(const struct step *step)
{
	bool slow = ts_slow(step->function, USEC);
	unsigned long pfn = ts_pfn(at(storage));
	long hits = ts_slow_hits();
	double begin;
	size_t bad;
	int status;
	pid_t pid;

	both_pinned = step->content == PINNED;
	if (step->content == NOTHING)
		madvise(at(storage), ts_psize, MADV_DONTNEED);
	pid = start(work_slowly);
	if (slow)
		ts_wait_slow(hits, WAIT);
	else
		usleep(rand() % 2000);
	begin = ts_now();
	kill(pid, SIGKILL);
	status = ts_wait(pid, WAIT);
	begin = ts_now() - begin;
	bad = ts_expect(status == 128 + SIGKILL, "an end by SIGKILL, not %d",
			status);
	bad += ts_usually(begin < DEATH, "an end at once, not in %.3f s", begin);
	bad += ts_expect(!slow || ts_slow_hits() > hits,
			 "the delay to take place");
	ts_slow(NULL, 0);
	/* Nobody moves data for who is gone. */
	if (slow && step->stays)
		bad += ts_usually(ts_pfn(at(storage)) == pfn,
				  "the data to stay where it is");

	begin = ts_now();
	bad += ts_expect(!ts_child(go_on, NULL, WAIT),
			 "another process to go on");
	begin = ts_now() - begin;
	bad += ts_usually(begin < DEATH, "that in less than %.3f s", begin);
	if (step->content == NOTHING)
		ts_data_write(ballast.mem, storage, 1, 1);
	return bad + ts_data_check(ballast.mem, storage, 1, 1);
}

static int killed_inside(void)
{
	struct ts_counters before;
	size_t bad = 0, i;

	ts_counters(&before);
	shared = (void *)ts_map(1, TS_RW, MAP_SHARED);
	fill();
	/* The other one is slow on its CPU. */
	ts_run_on(0);
	for (i = 0, storage = 0; i < ARRAY_SIZE(steps); i++, storage++) {
		size_t now;

		if (!ts_ballast_pair(&ballast, &storage, &covered)) {
			bad += ts_expect(false, "a block in use");
			break;
		}
		now = kill_inside(&steps[i]);
		if (now)
			ksft_print_msg("wrong: killed in %s()\n",
				       steps[i].function);
		bad += now;
	}
	bad += check_and_free();
	bad += ts_expect(back_to(before.reserved),
			 "%ld pages reserved as before, not %ld",
			 before.reserved, ts_vmstat("nr_metadata_reserved"));
	ts_unmap((char *)shared, 1);
	return ts_result(bad);
}

/* An end of its own accord, with all that it has. */
static int exit_child(void *arg)
{
	(void)arg;
	mem = ts_map(4 * NR, TS_RWT, 0);
	ts_write(mem, 0, 4 * NR, 1);
	return ts_check(mem, 0, 4 * NR, 1) != 0;
}

static int exited(void)
{
	struct ts_counters before, after;
	size_t bad;

	ts_counters(&before);
	bad = ts_expect(!ts_child(exit_child, NULL, WAIT), "child to end with 0");
	bad += ts_expect(back_to(before.reserved), "%ld pages reserved as before",
			 before.reserved);
	ts_counters(&after);
	bad += ts_expect(after.buddy + after.moved > before.buddy + before.moved &&
			 after.release > before.release,
			 "blocks to be taken and given back");
	return ts_result(bad);
}

/* The one swap area there is, or "". False if that is not all. */
static bool find_swap(char *path, size_t size, int *flags)
{
	char buf[512] = "", *line, *prio;
	int value;

	path[0] = '\0';
	ts_read_file("/proc/swaps", buf, sizeof(buf));
	line = strchr(buf, '\n');
	if (!line || !line[1])
		return true;
	line++;
	prio = strrchr(line, '\t');
	value = prio ? atoi(prio) : -1;
	*flags = value < 0 ? 0 : SWAP_FLAG_PREFER | value;
	if (!prio || strchr(line, '\n')[1])
		return false;
	line[strcspn(line, " \t")] = '\0';
	return snprintf(path, size, "%s", line) < (int)size;
}

/* More tagged memory than there is. */
static int oom_child(void *arg)
{
	size_t max = ts_meminfo("MemTotal") * 1024 / ts_psize, page;

	(void)arg;
	if (ts_write_file("/proc/self/oom_score_adj", "1000"))
		return 1;
	mem = ts_map(max, TS_RWT, MAP_NORESERVE);
	madvise(mem, max * ts_psize, MADV_NOHUGEPAGE);
	for (page = 0; page + NR <= max; page += NR)
		ts_write(mem, page, NR, 2);
	return 0;
}

/* The parent has tags, and data in a quarter of tag storage. */
static size_t until_oom(void)
{
	long ooms = ts_vmstat("oom_kill");
	struct ts_counters before, after;
	size_t bad;
	int status;
	char *tags;

	tags = ts_map(NR, TS_RWT, 0);
	ts_write(tags, 0, NR, 1);
	ts_lend(&ballast, 1);
	ts_counters(&before);
	status = ts_child(oom_child, NULL, OOM_WAIT);
	ts_counters(&after);
	bad = ts_expect(status == 128 + SIGKILL, "an end by SIGKILL, not %d",
			status);
	ooms = ts_vmstat("oom_kill") - ooms;
	bad += ts_expect(ooms == 1, "one OOM kill, not %ld", ooms);
	bad += ts_expect(after.moved > before.moved, "data to be moved");
	bad += ts_check(tags, 0, NR, 1);
	bad += ts_lent_check(&ballast);
	ts_ballast_free(&ballast);

	/* There is tag storage for others again. */
	mem = ts_map(4 * NR, TS_RWT, 0);
	ts_write(mem, 0, 4 * NR, 3);
	bad += ts_check(mem, 0, 4 * NR, 3);
	bad += ts_check(tags, 0, NR, 1);
	ts_unmap(mem, 4 * NR);
	ts_unmap(tags, NR);
	return bad;
}

/* Without swap: in RAM, as it is on test machines, it would only take longer. */
static int out_of_memory(void)
{
	struct ts_counters before;
	char path[256];
	int flags = 0;
	size_t bad;

	if (!find_swap(path, sizeof(path), &flags))
		return ts_skip("more than one swap area");
	if (path[0] && swapoff(path))
		return ts_skip("swapoff failed");
	ts_counters(&before);
	bad = until_oom();
	bad += ts_expect(back_to(before.reserved),
			 "%ld pages reserved as before, not %ld", before.reserved,
			 ts_vmstat("nr_metadata_reserved"));
	if (path[0])
		bad += ts_expect(!swapon(path, flags), "swapon() to succeed");
	return ts_result(bad);
}

static const struct ts_case cases[] = {
	{ "SIGKILL", killed, NEED },
	{ "SIGKILL inside of each step", killed_inside, NEED | TS_NEED_CPUS },
	{ "exit", exited, TS_NEED_COUNTERS },
	{ "out of memory", out_of_memory, NEED },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
