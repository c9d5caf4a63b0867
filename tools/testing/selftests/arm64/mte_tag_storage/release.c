// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tag storage is given back when the last page that holds it goes, whichever
 * way that page goes and whether or not it was ever tagged, but not each time
 * in a burst of allocating and freeing.
 */
#include <signal.h>
#include <unistd.h>

#include "ts_common.h"

#define NR	8192
#define WAIT	30

static char *mem;

/* nr_metadata_reserved as it is when nothing of ours is tagged. */
static long settled(void)
{
	long last = -1, now = ts_vmstat("nr_metadata_reserved");
	int i;

	for (i = 0; i < 20 && now != last; i++) {
		usleep(200 * 1000);
		ts_fold();
		last = now;
		now = ts_vmstat("nr_metadata_reserved");
	}
	return now;
}

static size_t back_to(long start)
{
	bool ok = ts_wait_reserved(start, WAIT);

	return ts_expect(ok, "%ld pages reserved as at the start, %ld are",
			 start, ts_vmstat("nr_metadata_reserved"));
}

static size_t grown_from(long start)
{
	long now;

	ts_fold();
	now = ts_vmstat("nr_metadata_reserved");
	return ts_expect(now > start, "more than %ld pages reserved, %ld are",
			 start, now);
}

static int unmapped(void)
{
	long start = settled();
	size_t bad;

	mem = ts_map(NR, TS_RWT, 0);
	ts_write(mem, 0, NR, 1);
	bad = grown_from(start) + ts_check(mem, 0, NR, 1);
	ts_unmap(mem, NR);
	return ts_result(bad + back_to(start));
}

static int dontneed(void)
{
	long start = settled();
	size_t bad;

	mem = ts_map(NR, TS_RWT, 0);
	ts_write(mem, 0, NR, 1);
	bad = grown_from(start) + ts_check(mem, 0, NR, 1);
	madvise(mem, NR * ts_psize, MADV_DONTNEED);
	bad += back_to(start);
	bad += ts_tags_zero(mem, 0, 64);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

/* As long as one page of each block is there, the block is. */
static int all_but_one(void)
{
	long start = settled(), kept;
	size_t bad, i;

	mem = ts_map(NR, TS_RWT, 0);
	ts_write(mem, 0, NR, 1);
	for (i = 0; i < NR; i += TS_COVER)
		madvise(mem + (i + 1) * ts_psize, (TS_COVER - 1) * ts_psize,
			MADV_DONTNEED);
	kept = settled();
	bad = ts_expect(kept > start, "blocks with a tagged page to stay");
	for (i = 0; i < NR; i += TS_COVER)
		bad += ts_check(mem, i, 1, 1);
	ts_unmap(mem, NR);
	return ts_result(bad + back_to(start));
}

/* Storage taken at a read fault; no tag is ever written. */
static int never_tagged(void)
{
	long start = settled();
	size_t bad;

	mem = ts_map(NR, TS_RW, 0);
	ts_data_write(mem, 0, NR, 1);
	ts_protect(mem, 0, NR, TS_RWT);
	bad = ts_data_check(mem, 0, NR, 1);
	bad += grown_from(start);
	ts_unmap(mem, NR);
	return ts_result(bad + back_to(start));
}

/* Marked by mprotect() and freed without an access. */
static int never_touched(void)
{
	long start = settled();

	mem = ts_map(NR, TS_RW, 0);
	ts_data_write(mem, 0, NR, 1);
	ts_protect(mem, 0, NR, TS_RWT);
	ts_unmap(mem, NR);
	return ts_result(back_to(start));
}

static void child(void)
{
	mem = ts_map(NR, TS_RWT, 0);
	for (;;)
		ts_write(mem, 0, NR, 1);
}

/* Killed at any point. */
static int killed(void)
{
	long start = settled();
	size_t bad = 0;
	int i;

	for (i = 0; i < 10; i++) {
		pid_t pid = fork();

		if (!pid)
			child();
		usleep(1000 << i);
		kill(pid, SIGKILL);
		bad += ts_expect(ts_wait(pid, 30) == 128 + SIGKILL,
				 "child to die of SIGKILL");
	}
	return ts_result(bad + back_to(start));
}

/* A page that comes and goes does not move its block each time. */
static int ping_pong(void)
{
	struct ts_counters before, after;
	size_t bad = 0, rounds = 1000, i;
	long start = settled();

	ts_counters(&before);
	for (i = 0; i < rounds; i++) {
		mem = ts_map(1, TS_RWT, 0);
		bad += ts_tags_zero(mem, 0, 1);
		ts_write(mem, 0, 1, i);
		bad += ts_check(mem, 0, 1, i);
		ts_unmap(mem, 1);
	}
	ts_counters(&after);
	ksft_print_msg("%zu rounds: %ld releases\n", rounds,
		       after.release - before.release);
	bad += ts_expect(after.release - before.release < (long)rounds / 4,
			 "fewer than %zu releases, not %ld", rounds / 4,
			 after.release - before.release);
	return ts_result(bad + back_to(start));
}

static const struct ts_case cases[] = {
	{ "munmap", unmapped, TS_NEED_COUNTERS },
	{ "MADV_DONTNEED", dontneed, TS_NEED_COUNTERS },
	{ "all but one page of each block", all_but_one, TS_NEED_COUNTERS },
	{ "pages never tagged", never_tagged, TS_NEED_COUNTERS },
	{ "pages never touched", never_touched, TS_NEED_COUNTERS },
	{ "process killed", killed, TS_NEED_COUNTERS },
	{ "one page that comes and goes", ping_pong, TS_NEED_COUNTERS },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
