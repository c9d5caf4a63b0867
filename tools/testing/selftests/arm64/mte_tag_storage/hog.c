// SPDX-License-Identifier: GPL-2.0-only
/*
 * No data and no tag changes by itself, with memory full, tag storage included,
 * and everything going on at once.
 *
 * Memory is filled with patterns until no page of tag storage is free. Then the
 * ordinary memory that was filled first is let go, so that tag storage stays in
 * use as data, and workers tag in what became free, unmap, fork, swap and
 * compact, while the holders of the data keep verifying and replacing it.
 *
 * A tag written without tag storage lands in data of a holder, data in tag
 * storage that is in use changes a tag: both are found by the next check.
 *
 * usage: hog [-t SECONDS] [-m PERCENT]   default 15 s, 100 % of what is there
 */
#include <stdlib.h>
#include <unistd.h>

#include "ts_common.h"

#define HOLDERS		4
#define CHUNK		256UL	/* pages that are replaced at once */
#define LET_GO_MB	24	/* room for the workers and for page tables */
#define EXTRA_MB	64	/* to hold beyond what is available, with swap */
#define GRACE		240

/* Shared by all processes. */
struct shared {
	size_t target;		/* pages to hold, all holders together */
	size_t extra;		/* of these: pages that swap has room for */
	long spare;		/* metadata pages that may stay free */
	size_t held;
	size_t bad;
	unsigned long checked;	/* pages */
	unsigned long worked;	/* rounds of the workers */
	int filled;		/* holders that have */
	bool stop;
};

static struct shared *shared;

static bool stopped(void)
{
	return __atomic_load_n(&shared->stop, __ATOMIC_RELAXED);
}

static bool all_filled(void)
{
	return __atomic_load_n(&shared->filled, __ATOMIC_RELAXED) == HOLDERS;
}

static void count(unsigned long *counter, unsigned long nr)
{
	__atomic_fetch_add(counter, nr, __ATOMIC_RELAXED);
}

static void found(size_t bad)
{
	if (bad)
		__atomic_fetch_add(&shared->bad, bad, __ATOMIC_RELAXED);
}

/*
 * Is there memory for another chunk? Storage is used last, when the kernel's
 * reserve is all that is left of other memory: with swap to fall back on, fill
 * until storage is full as well.
 */
static bool enough(void)
{
	static long floor_kb;

	if (!floor_kb)
		floor_kb = ts_floor_kb();
	return ts_meminfo("MemAvailable") > floor_kb ||
	       (shared->extra && ts_vmstat("nr_free_metadata") > shared->spare);
}

/* Hold data, verify it, and replace some of it now and then. */
static int holder(unsigned long me)
{
	size_t max = shared->target + CHUNK, nr = 0, i, let_go, round = 0;
	char *mem = ts_map(max, TS_RW, MAP_NORESERVE);

	madvise(mem, max * ts_psize, MADV_NOHUGEPAGE);
	while (!stopped() && nr + CHUNK <= max && enough() &&
	       __atomic_add_fetch(&shared->held, CHUNK, __ATOMIC_RELAXED) <=
	       shared->target) {
		ts_data_write(mem, nr, CHUNK, me);
		nr += CHUNK;
	}
	__atomic_fetch_add(&shared->filled, 1, __ATOMIC_RELAXED);
	while (!stopped() && !all_filled())
		usleep(10 * 1000);

	/* What was filled first is ordinary memory. */
	let_go = LET_GO_MB * (1UL << 20) / ts_psize / HOLDERS;
	if (let_go > nr / 2)
		let_go = nr / 2;
	madvise(mem, let_go * ts_psize, MADV_DONTNEED);

	while (!stopped()) {
		for (i = let_go; i < nr && !stopped(); i += CHUNK) {
			size_t len = nr - i < CHUNK ? nr - i : CHUNK;

			found(ts_data_check(mem, i, len, me));
			count(&shared->checked, len);
			if ((i / CHUNK + round) % 16)
				continue;
			madvise(mem + i * ts_psize, len * ts_psize,
				MADV_DONTNEED);
			ts_data_write(mem, i, len, me);
		}
		round++;
	}
	/* The last word, with all workers gone or going. */
	found(ts_data_check(mem, let_go, nr - let_go, me));
	count(&shared->checked, nr - let_go);
	return 0;
}

/* Take tagged memory, hold it for a while, let go. */
static void work_tag(unsigned long seed)
{
	size_t nr = 64 + seed % 448;
	char *mem = ts_map(nr, TS_RWT, 0);

	found(ts_tags_zero(mem, 0, nr));
	ts_write(mem, 0, nr, seed);
	usleep(1000);
	found(ts_check(mem, 0, nr, seed));
	ts_unmap(mem, nr);
}

static void work_mprotect(unsigned long seed)
{
	size_t nr = 64 + seed % 448;
	char *mem = ts_map(nr, TS_RW, 0);

	ts_data_write(mem, 0, nr, seed);
	ts_protect(mem, nr / 4, nr / 2, TS_RWT);
	found(ts_tags_zero(mem, nr / 4, nr / 2));
	found(ts_data_check(mem, 0, nr, seed));
	ts_tags_write(mem, nr / 4, nr / 2, seed);
	usleep(1000);
	found(ts_check(mem, nr / 4, nr / 2, seed));
	found(ts_data_check(mem, 0, nr, seed));
	ts_unmap(mem, nr);
}

static void work_fork(unsigned long seed)
{
	size_t nr = 64 + seed % 64;
	char *mem = ts_map(nr, TS_RWT, 0);
	pid_t pid;

	ts_write(mem, 0, nr, seed);
	pid = fork();
	if (!pid) {
		found(ts_check(mem, 0, nr, seed));
		ts_write(mem, 0, nr, seed + 1);
		found(ts_check(mem, 0, nr, seed + 1));
		_exit(0);
	}
	found(ts_check(mem, 0, nr, seed));
	if (pid > 0)
		found(ts_expect(!ts_wait(pid, GRACE), "child to end with 0"));
	found(ts_check(mem, 0, nr, seed));
	ts_unmap(mem, nr);
}

/* Has no effect, but does no harm, without swap. */
static void work_swap(unsigned long seed)
{
	size_t nr = 64 + seed % 192;
	char *mem = ts_map(nr, TS_RWT, 0);

	ts_write(mem, 0, nr, seed);
	madvise(mem, nr * ts_psize, MADV_PAGEOUT);
	found(ts_check(mem, 0, nr, seed));
	ts_unmap(mem, nr);
}

/* A huge page where there is one, tagged in part. */
static void work_huge(unsigned long seed)
{
	size_t huge = ts_huge_size(), nr = huge / ts_psize;
	char *mem;

	if (!huge) {
		work_tag(seed);
		return;
	}
	mem = ts_map_huge(huge);
	ts_data_write(mem, 0, nr, seed);
	ts_protect(mem, nr / 2, nr / 2, TS_RWT);
	ts_tags_write(mem, nr / 2, nr / 2, seed);
	madvise(mem, ts_psize, MADV_DONTNEED);
	found(ts_check(mem, nr / 2, nr / 2, seed));
	found(ts_data_check(mem, 1, nr - 1, seed));
	ts_unmap(mem, nr);
}

static void work_compact(unsigned long seed)
{
	/* Only root may; others help the taggers. */
	if (ts_compact())
		work_tag(seed);
	usleep(100 * 1000);
}

/* Tagged memory that stays for long, so that other memory moves around it. */
static int keeper(unsigned long me)
{
	size_t nr = 1024;
	char *mem = ts_map(nr, TS_RWT, 0);

	ts_write(mem, 0, nr, me);
	while (!stopped()) {
		found(ts_check(mem, 0, nr, me));
		usleep(5000);
	}
	found(ts_check(mem, 0, nr, me));
	return 0;
}

static int worker(unsigned long me)
{
	static void (* const work[])(unsigned long seed) = {
		work_tag, work_mprotect, work_fork, work_swap, work_huge,
		work_compact,
	};
	unsigned long seed;

	while (!stopped() && !all_filled())
		usleep(10 * 1000);
	for (seed = me; !stopped(); seed += 101) {
		work[me % ARRAY_SIZE(work)](seed);
		count(&shared->worked, 1);
	}
	return 0;
}

static pid_t start(int (*fn)(unsigned long), unsigned long arg)
{
	pid_t pid = fork();

	if (!pid)
		_exit(fn(arg));
	if (pid < 0)
		ksft_exit_fail_msg("fork failed\n");
	return pid;
}

/* Lowest number of free metadata pages while the holders fill memory. */
static long wait_filled(unsigned int seconds)
{
	double end = ts_now() + seconds;
	long lowest = ts_vmstat("nr_free_metadata");

	bool filled;

	do {
		long now = ts_vmstat("nr_free_metadata");

		if (now < lowest)
			lowest = now;
		filled = all_filled();
		usleep(20 * 1000);
	} while (!filled && ts_now() < end);
	return lowest;
}

static void wrong_args(void)
{
	fprintf(stderr, "usage: hog [-t SECONDS] [-m PERCENT]\n");
	exit(KSFT_FAIL);
}

int main(int argc, char **argv)
{
	long seconds = 15, percent = 100, total, lowest;
	bool counters;
	pid_t pid[HOLDERS + 8];
	size_t i, nr = 0, dead = 0;
	double end;
	int opt;

	while ((opt = getopt(argc, argv, "t:m:")) != -1) {
		if (opt == 't')
			seconds = strtol(optarg, NULL, 10);
		else if (opt == 'm')
			percent = strtol(optarg, NULL, 10);
		else
			wrong_args();
	}
	if (seconds < 1 || percent < 1 || percent > 100)
		wrong_args();

	ksft_print_header();
	ts_setup();
	ksft_set_plan(3);
	counters = !ts_missing(TS_NEED_COUNTERS);
	total = ts_meminfo("MetadataTotal") * 1024 / (long)ts_psize;

	shared = (struct shared *)ts_map(1, TS_RW, MAP_SHARED);
	shared->target = ts_meminfo("MemAvailable") / 100 * percent * 1024 /
			 ts_psize;
	if (total > 0 && percent == 100 &&
	    ts_meminfo("SwapFree") > 2 * EXTRA_MB * 1024)
		shared->extra = EXTRA_MB * (1UL << 20) / ts_psize;
	shared->target += shared->extra;
	shared->spare = total / 32;

	for (i = 0; i < HOLDERS; i++)
		pid[nr++] = start(holder, i + 1);
	lowest = wait_filled(GRACE);
	ksft_print_msg("%zu MiB held, %ld of %ld metadata pages free\n",
		       shared->held * ts_psize >> 20, lowest, total);

	for (i = 0; i < 6; i++)
		pid[nr++] = start(worker, i);
	pid[nr++] = start(keeper, 1000);

	for (end = ts_now() + seconds; ts_now() < end && !shared->bad;)
		usleep(100 * 1000);
	__atomic_store_n(&shared->stop, true, __ATOMIC_RELAXED);
	while (nr-- > 0) {
		int ret = ts_wait(pid[nr], GRACE);

		dead += ts_expect(ret == 0, "process %zu to end with 0, not %d",
				  nr, ret);
	}

	ksft_print_msg("%lu pages verified, %lu rounds of work\n",
		       shared->checked, shared->worked);
	ksft_test_result(!shared->bad && shared->checked,
			 "no data and no tag changes, %zu pages do\n",
			 shared->bad);
	ksft_test_result(!dead && shared->worked,
			 "all processes live to the end\n");
	if (!counters)
		ksft_test_result_skip("tag storage in use: %s\n",
				      ts_missing(TS_NEED_COUNTERS));
	else if (percent < 100)
		ksft_test_result_skip("tag storage in use: only part of memory\n");
	else
		ksft_test_result(lowest <= total / 16, "tag storage in use\n");
	ksft_finished();
}
