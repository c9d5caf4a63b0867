// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages that are compressed in memory on their way to swap keep their tags, and
 * so do those that are written on to the disk from there, and those that are
 * found in the swap cache on that way.
 *
 * zswap can tell what it did in /proc/vmstat. Its own reclaim works for memory
 * cgroups only; so this test runs in one. It must be the last one in a guest: once
 * zswap was on, large folios do not come whole from swap any more.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>

#include "ts_common.h"

#define NR	256
#define DISK_NR	(32UL << 20 >> 12)
#define TIMEOUT	120
#define ROOT	"/sys/fs/cgroup/"
#define GROUP	ROOT "mte_tag_storage/"
#define PARAM	"/sys/module/zswap/parameters/"

static char *mem;

/* The pattern repeats every 64 words, to be compressed well. */
static void write_data(unsigned long seed)
{
	size_t page, i;

	ts_tco(true);
	for (page = 0; page < NR; page++) {
		unsigned long *p = (unsigned long *)(mem + page * ts_psize);

		for (i = 0; i < ts_psize / sizeof(*p); i++)
			p[i] = ts_word(seed, page, i % 64);
	}
	ts_tco(false);
}

static size_t check_data(size_t first, size_t nr, unsigned long seed)
{
	size_t page, i, bad = 0;

	ts_tco(true);
	for (page = first; page < first + nr; page++) {
		unsigned long *p = (unsigned long *)(mem + page * ts_psize);

		for (i = 0; i < ts_psize / sizeof(*p); i++) {
			if (p[i] == ts_word(seed, page, i % 64))
				continue;
			bad++;
			break;
		}
	}
	ts_tco(false);
	return ts_expect(!bad, "all data right, not %zu pages wrong", bad);
}

static size_t check_all(unsigned long seed)
{
	return ts_tags_check(mem, 0, NR, seed) + check_data(0, NR, seed);
}

static void write_all(unsigned long seed)
{
	write_data(seed);
	ts_tags_write(mem, 0, NR, seed);
}

/* All of it is in zswap; how much got there? */
static size_t get_out(unsigned long seed)
{
	long out = ts_vmstat("zswpout");
	size_t swapped, bad;

	write_all(seed);
	swapped = ts_pageout(mem, 0, NR);
	out = ts_vmstat("zswpout") - out;
	bad = ts_expect(swapped == NR, "%d pages in swap, not %zu", NR, swapped);
	bad += ts_expect(out > NR / 2, "most of %d pages in zswap, not %ld", NR, out);
	return bad;
}

static int test_load(void *arg)
{
	long in = ts_vmstat("zswpin");
	size_t bad, i;

	(void)arg;
	mem = ts_map(NR, TS_RWT, 0);
	bad = get_out(1);
	bad += check_all(1);
	bad += get_out(2);
	/* What is dropped is dropped in zswap, too. */
	for (i = 0; i < NR; i += 8)
		madvise(mem + i * ts_psize, 4 * ts_psize, MADV_DONTNEED);
	for (i = 0; i < NR; i += 8) {
		bad += ts_tags_zero(mem, i, 4);
		bad += ts_tags_check(mem, i + 4, 4, 2);
		bad += check_data(i + 4, 4, 2);
	}
	in = ts_vmstat("zswpin") - in;
	bad += ts_expect(in > NR, "pages to come from zswap, not %ld", in);
	ts_unmap(mem, NR);
	return bad != 0;
}

/* Make zswap write pages to the disk; how many? */
static long write_on(void)
{
	long before = ts_vmstat("zswpwb"), done = 0;
	int i;

	for (i = 0; i < 50 && done < NR / 2; i++) {
		ts_write_file("/proc/sys/vm/drop_caches", "2");
		done = ts_vmstat("zswpwb") - before;
	}
	return done;
}

/* Out of the swap cache, too: they may count as used, and be harder to get out. */
static void uncache(void)
{
	int i;

	for (i = 0; i < 50 && ts_in_memory(mem, NR) > NR / 8; i++) {
		ts_write_file(GROUP "memory.reclaim", "4M");
		usleep(5 * 1000);
	}
}

static int test_writeback(void *arg)
{
	size_t bad, round;
	long in;

	(void)arg;
	mem = ts_map(NR, TS_RWT, 0);
	for (bad = 0, round = 0; round < 3; round++) {
		long done;

		bad += get_out(round);
		done = write_on();
		bad += ts_expect(done > NR / 8, "pages to be written to the disk, not %ld",
				 done);
		/* From the swap cache, where they are now; and from the disk. */
		if (round)
			uncache();
		in = ts_vmstat("pswpin");
		bad += check_all(round);
		in = ts_vmstat("pswpin") - in;
		bad += ts_expect(!round || in, "pages to come from the disk");
	}
	ts_unmap(mem, NR);
	return bad != 0;
}

/* A limit: a page that goes in pushes another one out. */
static int test_limit(void *arg)
{
	long done = ts_vmstat("zswpwb");
	size_t bad, swapped;

	(void)arg;
	ts_write_file(GROUP "memory.zswap.max", "16K");
	mem = ts_map(NR, TS_RWT, 0);
	write_all(1);
	swapped = ts_pageout(mem, 0, NR);
	bad = ts_expect(swapped == NR, "%d pages in swap, not %zu", NR, swapped);
	done = ts_vmstat("zswpwb") - done;
	bad += ts_expect(done > 0, "pages to be written to the disk");
	bad += check_all(1);
	ts_unmap(mem, NR);
	return bad != 0;
}

/*
 * Reclaim does not move data to get storage for what is written on; nor does it
 * take one page after the other, until one has storage.
 */
static int test_limit_used(void *arg)
{
	struct ts_counters before, after;
	long moved, taken;
	size_t bad;

	(void)arg;
	ts_write_file(GROUP "memory.zswap.max", "16K");
	mem = ts_map(NR, TS_RWT, 0);
	write_all(1);
	/* Counted only. */
	ts_slow("__folio_alloc_noprof", 0);
	ts_be_slow(true);
	ts_counters(&before);
	ts_pageout(mem, 0, NR);
	ts_counters(&after);
	ts_be_slow(false);
	taken = ts_slow_hits();
	ts_slow(NULL, 0);
	moved = after.needed - before.needed;
	ksft_print_msg("%ld times without storage, %ld pages taken\n",
		       after.fail - before.fail, taken);
	bad = ts_expect(!moved, "nothing moved by reclaim, not %ld blocks",
			moved);
	bad += ts_expect(taken <= 0, "no other page taken by reclaim");
	bad += check_all(1);
	ts_unmap(mem, NR);
	return bad != 0;
}

/* swapoff() while it has some in zswap and some on the disk. */
static int test_off(void *arg)
{
	size_t bad, left;

	(void)arg;
	mem = ts_map(NR, TS_RWT, 0);
	bad = get_out(1);
	write_on();
	bad += ts_expect(ts_disk_off(), "swapoff() to succeed");
	left = ts_swapped(mem, 0, NR);
	bad += ts_expect(!left, "no page in swap, not %zu", left);
	bad += check_all(1);
	ts_unmap(mem, NR);
	bad += !ts_disk_on(DISK_NR);
	return bad != 0;
}

static int in_group(void *arg)
{
	int (*fn)(void *) = arg;

	if (ts_write_file(GROUP "cgroup.procs", "0"))
		return 1;
	return fn(NULL);
}

/* With zswap in front of the disk, in a child in a group of its own. */
static int run(int (*fn)(void *))
{
	size_t bad = 0;
	int i;

	ts_set(PARAM "enabled", "Y");
	ts_set(PARAM "shrinker_enabled", "Y");
	ts_write_file(ROOT "cgroup.subtree_control", "+memory");
	if (mkdir(GROUP, 0755) && errno != EEXIST)
		return ts_skip("no memory cgroup");
	if (!ts_disk_on(DISK_NR))
		return KSFT_FAIL;
	bad += ts_expect(!ts_child(in_group, fn, TIMEOUT), "child to end with 0");
	bad += ts_expect(ts_disk_off(), "swapoff() to succeed");
	/* The child is still on its way out of the group. */
	for (i = 0; i < 100 && rmdir(GROUP); i++)
		usleep(10 * 1000);
	return ts_result(bad);
}

static int load(void)
{
	return run(test_load);
}

static int writeback(void)
{
	return run(test_writeback);
}

static int limit(void)
{
	return run(test_limit);
}

static int limit_used(void)
{
	struct ts_ballast ballast = { };
	int result;
	size_t bad;

	ts_lend(&ballast, 4);
	result = run(test_limit_used);
	bad = ts_lent_check(&ballast);
	ts_ballast_free(&ballast);
	return bad ? KSFT_FAIL : result;
}

static int off(void)
{
	return run(test_off);
}

static const struct ts_case cases[] = {
	{ "in and out", load, TS_NEED_DISK },
	{ "written on to the disk", writeback, TS_NEED_DISK },
	{ "written on at a limit", limit, TS_NEED_DISK },
	{ "written on at a limit, storage in use", limit_used,
	  TS_NEED_DISK | TS_NEED_COUNTERS | TS_NEED_REGIONS },
	{ "swapoff", off, TS_NEED_DISK },
};

int main(void)
{
	/* Pages in the batch of another CPU would not go out. */
	ts_run_on(0);
	return ts_main(cases, ARRAY_SIZE(cases));
}
