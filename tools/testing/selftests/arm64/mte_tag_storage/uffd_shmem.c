// SPDX-License-Identifier: GPL-2.0-only
/*
 * userfaultfd on a file in memory that is mapped with PROT_MTE here and, at the
 * same time, without it by another process: what is copied in, filled with zero
 * or mapped has one set of data for both, zero tags when it is new and its own
 * tags otherwise; write protection and poison are of the one mapping only, and
 * outlast that the page gets its tag storage.
 *
 * The pages lie in ordinary memory, and in lent tag storage: in that case each
 * has to move, below both mappings, before it can have tags.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

#include "ts_common.h"

#define NR		128
#define SEED		1
#define TIMEOUT		60
#define WP_SHMEM	UFFD_FEATURE_WP_HUGETLBFS_SHMEM

enum op { PEER_WRITE, PEER_CHECK, PEER_ZERO, PEER_UNMAP };

/* What the other process shall do with its mapping. */
struct request {
	enum op op;
	size_t first, nr;
	unsigned long seed;
};

static int fd;
static struct ts_uffd uffd;
static char *mem;
static pid_t peer;
static int ask_pipe[2], answer_pipe[2];

/* Whether the pages shall lie in tag storage. */
static bool lent;
static struct ts_ballast ballast;

static size_t serve(char *plain, const struct request *r)
{
	switch (r->op) {
	case PEER_WRITE:
		ts_data_write(plain, r->first, r->nr, r->seed);
		return 0;
	case PEER_CHECK:
		return ts_data_check(plain, r->first, r->nr, r->seed);
	case PEER_ZERO:
		return ts_data_zero(plain, r->first, r->nr);
	case PEER_UNMAP:
		return !!madvise(plain + r->first * ts_psize,
				 r->nr * ts_psize, MADV_DONTNEED);
	}
	return 1;
}

static int peer_process(void)
{
	char *plain = ts_map_fd(fd, NR * ts_psize, TS_RW, MAP_SHARED);
	struct request r;

	close(ask_pipe[1]);
	close(answer_pipe[0]);
	while (read(ask_pipe[0], &r, sizeof(r)) == sizeof(r)) {
		size_t bad = serve(plain, &r);

		if (write(answer_pipe[1], &bad, sizeof(bad)) != sizeof(bad))
			return 1;
	}
	return 0;
}

static size_t ask(enum op op, size_t first, size_t nr, unsigned long seed)
{
	struct request r = { op, first, nr, seed };
	size_t bad = 1;

	if (write(ask_pipe[1], &r, sizeof(r)) != sizeof(r) ||
	    read(answer_pipe[0], &bad, sizeof(bad)) != sizeof(bad))
		return ts_expect(false, "an answer of the other process");
	return ts_expect(!bad, "%zu pages right for the other process, not %zu",
			 nr, nr - bad);
}

/* An empty file, mapped by both. The other process is not here when it forks. */
static void begin(void)
{
	/* The free pages of one CPU, see ts_ballast_near(). */
	ts_run_on(0);
	fd = ts_memfd(NR * ts_psize);
	if (pipe(ask_pipe) || pipe(answer_pipe))
		ksft_exit_fail_msg("no pipe\n");
	peer = fork();
	if (peer < 0)
		ksft_exit_fail_msg("no child\n");
	if (!peer)
		_exit(peer_process());
	close(ask_pipe[0]);
	close(answer_pipe[1]);
	mem = ts_map_fd(fd, NR * ts_psize, TS_RWT, MAP_SHARED);
	if (lent)
		ts_ballast_near(&ballast);
}

static size_t end(void)
{
	size_t bad;

	close(uffd.fd);
	close(ask_pipe[1]);
	bad = ts_expect(!ts_wait(peer, TIMEOUT),
			"the other one to exit with 0");
	close(answer_pipe[0]);
	ts_unmap(mem, NR);
	close(fd);
	return bad;
}

static size_t must_watch(unsigned long mode, unsigned long features)
{
	return ts_expect(ts_uffd_open(&uffd, mem, NR, mode, features),
			 "userfaultfd to watch a file in memory");
}

static int poison(size_t first, size_t nr)
{
	struct uffdio_poison arg = {
		.range = { (unsigned long)mem + first * ts_psize,
			   nr * ts_psize },
	};

	return ioctl(uffd.fd, UFFDIO_POISON, &arg) ? errno : 0;
}

/* Mapped pages lie where this try wants them. */
static size_t lie(size_t first, size_t nr)
{
	const char *page = mem + first * ts_psize;
	size_t in;

	if (lent)
		return ts_mostly_lent(page, nr);
	in = ts_in_storage(page, nr);
	return ts_usually(!in, "no page in tag storage, not %zu", in);
}

/*
 * Pages that wait, with @seed for data: the first access is here, and the other
 * process sees the page that it gets then. Tags outlast what that writes.
 */
static size_t use(size_t first, size_t nr, unsigned long seed)
{
	long faults = ts_vmstat("metadata_none_fault");
	size_t bad;

	bad = ts_tags_zero(mem, first, nr);
	/* Others can have become accessible along with their neighbours. */
	bad += ts_expect(!lent || ts_vmstat("metadata_none_fault") > faults,
			 "pages that wait for their storage");
	bad += ts_expect(!ts_in_storage(mem + first * ts_psize, nr),
			 "no tagged page in tag storage");
	bad += ts_data_check(mem, first, nr, seed);
	ts_tags_write(mem, first, nr, seed);
	bad += ts_check(mem, first, nr, seed);
	bad += ask(PEER_CHECK, first, nr, seed);
	bad += ask(PEER_WRITE, first, nr, seed + 1);
	bad += ts_data_check(mem, first, nr, seed + 1);
	bad += ts_tags_check(mem, first, nr, seed);
	ts_write(mem, first, nr, seed);
	bad += ask(PEER_CHECK, first, nr, seed);
	return bad + ts_check(mem, first, nr, seed);
}

static size_t copied(void)
{
	size_t bad, half = NR / 2;

	uffd.source = ts_map(NR, TS_RW, 0);
	ts_data_write(uffd.source, 0, NR, SEED);
	begin();
	bad = must_watch(UFFDIO_REGISTER_MODE_MISSING, 0);
	bad += ts_expect(!ts_uffd_copy(&uffd, 0, half), "UFFDIO_COPY");
	bad += lie(0, half);
	bad += ask(PEER_CHECK, 0, half, SEED);
	bad += use(0, half, SEED);

	/* The rest on demand, the first access to some being to a tag. */
	ts_uffd_start(&uffd);
	ts_tags_write(mem, half, half / 2, SEED);
	bad += ts_tags_zero(mem, half + half / 2, half / 2);
	ts_uffd_stop(&uffd);
	bad += ts_expect(uffd.events == half, "%zu events, not %zu", half,
			 uffd.events);
	bad += ts_data_check(mem, half, half, SEED);
	bad += ts_tags_check(mem, half, half / 2, SEED);
	bad += ask(PEER_CHECK, 0, NR, SEED);

	/* What is there already stays as it is. */
	ts_tags_write(mem, half, half, SEED);
	ts_data_write(uffd.source, 0, NR, 2);
	bad += ts_expect(ts_uffd_copy(&uffd, 0, NR) == EEXIST,
			 "UFFDIO_COPY to refuse");
	bad += ts_check(mem, 0, NR, SEED);
	bad += end();
	ts_unmap(uffd.source, NR);
	return bad;
}

static size_t zeroed(void)
{
	size_t bad;

	begin();
	bad = must_watch(UFFDIO_REGISTER_MODE_MISSING, 0);
	bad += ts_expect(!ts_uffd_zero(&uffd, 0, NR), "UFFDIO_ZEROPAGE");
	bad += lie(0, NR);
	bad += ask(PEER_ZERO, 0, NR / 2, 0);
	bad += ts_tags_zero(mem, 0, NR / 2);
	bad += ts_data_zero(mem, 0, NR / 2);
	/* Both halves are in use by both now, one of them tagged. */
	bad += ask(PEER_WRITE, 0, NR, SEED);
	bad += ts_tags_zero(mem, 0, NR / 2);
	bad += ts_data_check(mem, 0, NR / 2, SEED);
	bad += use(NR / 2, NR / 2, SEED);
	ts_tags_write(mem, 0, NR / 2, SEED);
	bad += ts_check(mem, 0, NR, SEED);
	bad += ts_expect(ts_uffd_zero(&uffd, 0, NR) == EEXIST,
			 "UFFDIO_ZEROPAGE to refuse");
	bad += ts_check(mem, 0, NR, SEED);
	return bad + end();
}

/* In the page cache, and mapped untagged by the other process. */
static size_t mapped(void)
{
	size_t bad, half = NR / 2;
	long faults;

	begin();
	bad = must_watch(UFFDIO_REGISTER_MODE_MINOR, UFFD_FEATURE_MINOR_SHMEM);
	bad += ask(PEER_WRITE, 0, NR, SEED);
	bad += ts_expect(!ts_uffd_continue(&uffd, 0, half, 0),
			 "UFFDIO_CONTINUE");
	bad += lie(0, half);
	bad += use(0, half, SEED);

	ts_uffd_start(&uffd);
	ts_tags_write(mem, half, half, SEED);
	ts_uffd_stop(&uffd);
	bad += ts_expect(uffd.events == half, "%zu events, not %zu", half,
			 uffd.events);
	bad += ts_expect(!ts_in_storage(mem, NR),
			 "no tagged page in tag storage");
	bad += ts_check(mem, 0, NR, SEED);
	bad += ask(PEER_CHECK, 0, NR, SEED);

	/* The tags are of the page, which stays when its mapping goes. */
	madvise(mem, NR * ts_psize, MADV_DONTNEED);
	faults = ts_vmstat("metadata_none_fault");
	bad += ask(PEER_WRITE, 0, NR, 2);
	bad += ts_expect(!ts_uffd_continue(&uffd, 0, NR, 0),
			 "UFFDIO_CONTINUE once more");
	bad += ts_tags_check(mem, 0, NR, SEED);
	bad += ts_data_check(mem, 0, NR, 2);
	bad += ts_usually(ts_vmstat("metadata_none_fault") == faults,
			  "no fault of pages that have tags");
	return bad + end();
}

static size_t expect_wp(size_t first, size_t nr, size_t want)
{
	size_t wp = ts_uffd_protected(mem, first, nr);

	return ts_expect(wp == want, "%zu pages protected, not %zu", want, wp);
}

/*
 * The first @tagged pages of those that are protected have their tags, the
 * others wait. To get storage is no write; what the other process writes is
 * none of this mapping.
 */
static size_t check_wp(size_t tagged)
{
	size_t bad = expect_wp(0, NR, NR);
	size_t i;

	bad += ts_tags_check(mem, 0, tagged, SEED);
	bad += ts_tags_zero(mem, tagged, NR - tagged);
	bad += ts_data_check(mem, 0, NR, SEED);
	bad += ts_expect(!ts_in_storage(mem, NR),
			 "no tagged page in tag storage");
	bad += expect_wp(0, NR, NR);

	ts_uffd_start(&uffd);
	bad += ask(PEER_WRITE, 0, NR, 2);
	bad += ts_data_check(mem, 0, NR, 2);
	bad += expect_wp(0, NR, NR);
	bad += ts_expect(!uffd.events, "no event, not %zu", uffd.events);
	ts_tags_write(mem, 0, 10, 2);
	ts_tags_write(mem, NR - 10, 10, 2);
	ts_data_write(mem, 10, 10, 3);
	ts_uffd_stop(&uffd);
	bad += ts_expect(uffd.events == 30, "30 events, not %zu", uffd.events);
	bad += expect_wp(0, NR, NR - 30);
	bad += ask(PEER_CHECK, 10, 10, 3);
	bad += ask(PEER_CHECK, 20, NR - 20, 2);
	bad += ts_tags_check(mem, 0, 10, 2);
	bad += ts_tags_check(mem, NR - 10, 10, 2);
	for (i = 10; i < NR - 10; i++)
		bad += i < tagged ? ts_tags_check(mem, i, 1, SEED) :
				    ts_tags_zero(mem, i, 1);
	bad += ts_expect(!ts_uffd_protect(&uffd, 0, NR, false),
			 "write protection to end");
	bad += expect_wp(0, NR, 0);
	ts_write(mem, 0, NR, 4);
	bad += ask(PEER_CHECK, 0, NR, 4);
	return bad + ts_check(mem, 0, NR, 4);
}

/* Mapped here by a read; half of the pages wait no more, and have tags. */
static size_t protected(void)
{
	size_t bad, half = NR / 2;

	begin();
	bad = ask(PEER_WRITE, 0, NR, SEED);
	bad += ts_expect(!madvise(mem, NR * ts_psize, MADV_POPULATE_READ),
			 "MADV_POPULATE_READ to work");
	ts_tags_write(mem, 0, half, SEED);
	bad += must_watch(UFFDIO_REGISTER_MODE_WP, WP_SHMEM);
	bad += ts_expect(!ts_uffd_protect(&uffd, 0, NR, true),
			 "write protection");
	bad += check_wp(half);
	return bad + end();
}

/* Waiting pages are protected when they are there, or mapped that way. */
static size_t protected_waiting(bool by_continue)
{
	unsigned long mode = UFFDIO_REGISTER_MODE_WP;
	unsigned long features = WP_SHMEM;
	size_t bad;

	if (by_continue) {
		mode |= UFFDIO_REGISTER_MODE_MINOR;
		features |= UFFD_FEATURE_MINOR_SHMEM;
	}
	begin();
	bad = ask(PEER_WRITE, 0, NR, SEED);
	if (!by_continue) {
		char *old = mem;

		mem = ts_map_fd(fd, NR * ts_psize, TS_RW, MAP_SHARED);
		ts_unmap(old, NR);
		bad += ts_data_check(mem, 0, NR, SEED);
		ts_protect(mem, 0, NR, TS_RWT);
	}
	bad += must_watch(mode, features);
	if (by_continue)
		bad += ts_expect(!ts_uffd_continue(&uffd, 0, NR,
						   UFFDIO_CONTINUE_MODE_WP),
				 "UFFDIO_CONTINUE that protects");
	else
		bad += ts_expect(!ts_uffd_protect(&uffd, 0, NR, true),
				 "write protection");
	bad += lie(0, NR);
	bad += check_wp(0);
	return bad + end();
}

/* Swapped out, of which a marker is left in the page table. */
static size_t protected_swapped(void)
{
	size_t bad;
	long out;

	begin();
	bad = ask(PEER_WRITE, 0, NR, SEED);
	ts_tags_write(mem, 0, NR, SEED);
	bad += must_watch(UFFDIO_REGISTER_MODE_WP, WP_SHMEM);
	bad += ts_expect(!ts_uffd_protect(&uffd, 0, NR, true),
			 "write protection");
	/* What two have mapped is not paged out by one. */
	bad += ask(PEER_UNMAP, 0, NR, 0);
	out = ts_vmstat("pswpout");
	ts_pageout(mem, 0, NR);
	bad += ts_usually(ts_vmstat("pswpout") - out > NR / 2,
			  "most pages swapped out");
	bad += ask(PEER_CHECK, 0, NR, SEED);
	bad += check_wp(NR);
	return bad + end();
}

static size_t all_protected(void)
{
	size_t bad;

	bad = protected_waiting(false);
	bad += protected_waiting(true);
	return bad + protected();
}

static sigjmp_buf after_bus;
static int bus_code;

static void on_bus(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	__atomic_store_n(&bus_code, info->si_code, __ATOMIC_RELAXED);
	siglongjmp(after_bus, 1);
}

/* One access of each kind to each page, and all end in SIGBUS. */
static size_t all_poisoned(size_t first, size_t nr)
{
	struct sigaction act = { .sa_sigaction = on_bus, .sa_flags = SA_SIGINFO };
	/* These keep their values when siglongjmp() comes back. */
	static size_t hits, i;
	struct sigaction old;

	hits = 0;
	sigaction(SIGBUS, &act, &old);
	for (i = 0; i < 3 * nr; i++) {
		char *page = mem + (first + i / 3) * ts_psize;

		__atomic_store_n(&bus_code, 0, __ATOMIC_RELAXED);
		if (!sigsetjmp(after_bus, 1)) {
			if (i % 3 == 0)
				ts_load(page);
			else if (i % 3 == 1)
				ts_ldg(page);
			else
				ts_stg(page, 5);
		}
		hits += __atomic_load_n(&bus_code, __ATOMIC_RELAXED) ==
			BUS_MCEERR_AR;
	}
	sigaction(SIGBUS, &old, NULL);
	return ts_expect(hits == 3 * nr, "%zu times SIGBUS, not %zu", 3 * nr,
			 hits);
}

/*
 * Poison is of this mapping. The other process has a page there, which can be
 * mapped over it; pages that wait are not poisoned.
 */
static size_t poisoned(void)
{
	size_t bad, half = NR / 2;

	begin();
	bad = must_watch(UFFDIO_REGISTER_MODE_MISSING |
			 UFFDIO_REGISTER_MODE_MINOR,
			 UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_POISON);
	bad += ts_expect(!poison(0, half), "UFFDIO_POISON");
	bad += all_poisoned(0, half);
	bad += ask(PEER_WRITE, 0, NR, SEED);
	bad += all_poisoned(0, half);
	bad += ts_expect(!ts_uffd_continue(&uffd, half, half, 0),
			 "UFFDIO_CONTINUE");
	bad += ts_expect(poison(half, half) == EEXIST,
			 "UFFDIO_POISON to refuse");
	bad += lie(half, half);
	bad += use(half, half, SEED);
	bad += all_poisoned(0, half);

	bad += ts_expect(!ts_uffd_continue(&uffd, 0, half, 0),
			 "UFFDIO_CONTINUE over poison");
	bad += lie(0, half);
	bad += use(0, half, SEED);
	bad += ts_check(mem, 0, NR, SEED);

	/* With tags when it is poisoned; they are there when that has gone. */
	madvise(mem, half * ts_psize, MADV_DONTNEED);
	bad += ts_expect(!poison(0, half), "UFFDIO_POISON of tagged pages");
	bad += all_poisoned(0, half);
	bad += ask(PEER_CHECK, 0, NR, SEED);
	bad += ts_expect(!ts_uffd_continue(&uffd, 0, half, 0),
			 "UFFDIO_CONTINUE over poison");
	bad += ts_check(mem, 0, NR, SEED);
	return bad + end();
}

static int run(size_t (*fn)(void), bool in_storage)
{
	long faults = ts_vmstat("metadata_none_fault");
	size_t bad;

	lent = in_storage;
	bad = fn();
	bad += ts_expect(ts_vmstat("metadata_none_fault") > faults,
			 "pages that wait for their storage");
	if (lent)
		ts_ballast_free(&ballast);
	return ts_result(bad);
}

static int copy(void)
{
	return run(copied, false);
}

static int copy_lent(void)
{
	return run(copied, true);
}

static int zeropage(void)
{
	return run(zeroed, false);
}

static int zeropage_lent(void)
{
	return run(zeroed, true);
}

static int minor(void)
{
	return run(mapped, false);
}

static int minor_lent(void)
{
	return run(mapped, true);
}

static int wp(void)
{
	return run(all_protected, false);
}

static int wp_lent(void)
{
	return run(all_protected, true);
}

static int wp_swapped(void)
{
	return run(protected_swapped, false);
}

static int wp_swapped_lent(void)
{
	return run(protected_swapped, true);
}

static int poison_missing(void)
{
	return run(poisoned, false);
}

static int poison_lent(void)
{
	return run(poisoned, true);
}

static size_t all_ways(void)
{
	static const struct ts_way way[] = {
		{ "UFFDIO_COPY", copied },
		{ "UFFDIO_ZEROPAGE", zeroed },
		{ "UFFDIO_CONTINUE", mapped },
		{ "UFFDIO_WRITEPROTECT", all_protected },
	};

	lent = false;
	return ts_all_ways(way, ARRAY_SIZE(way));
}

/* Data in the tag storage of the pages has to make way. */
static int storage_used(void)
{
	return ts_result(ts_while_lent(all_ways));
}

static int storage_used_swapped(void)
{
	lent = false;
	return ts_result(ts_while_lent(protected_swapped));
}

#define NEED	(TS_NEED_ROOT | TS_NEED_COUNTERS | TS_NEED_REGIONS)

static const struct ts_case cases[] = {
	{ "UFFDIO_COPY", copy, NEED },
	{ "UFFDIO_COPY to tag storage", copy_lent, NEED },
	{ "UFFDIO_ZEROPAGE", zeropage, NEED },
	{ "UFFDIO_ZEROPAGE to tag storage", zeropage_lent, NEED },
	{ "UFFDIO_CONTINUE", minor, NEED },
	{ "UFFDIO_CONTINUE in tag storage", minor_lent, NEED },
	{ "UFFDIO_WRITEPROTECT", wp, NEED },
	{ "UFFDIO_WRITEPROTECT in tag storage", wp_lent, NEED },
	{ "UFFDIO_WRITEPROTECT, and swapped", wp_swapped, NEED | TS_NEED_SWAP },
	{ "UFFDIO_WRITEPROTECT in tag storage, and swapped", wp_swapped_lent,
	  NEED | TS_NEED_SWAP },
	{ "UFFDIO_POISON", poison_missing, NEED },
	{ "UFFDIO_POISON in tag storage", poison_lent, NEED },
	{ "tag storage in use", storage_used, NEED },
	{ "tag storage in use, pages swapped out", storage_used_swapped,
	  NEED | TS_NEED_SWAP },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
