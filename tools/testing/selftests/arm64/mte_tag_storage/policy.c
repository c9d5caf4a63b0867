// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who takes tag storage as memory, when, and who counts on it:
 *  - data takes it before pageblocks that the kernel had;
 *  - data takes it before other memory gets below the high watermark;
 *  - data does not make memory be reclaimed while there is some, and takes other
 *    memory when there is none;
 *  - for the kernel and for a huge page it is no free memory.
 *
 * Each case sets the watermarks around the other memory that is free.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/resource.h>

#include "ts_common.h"

#define VM		"/proc/sys/vm/"
#define MIN_KB		(8 * 1024L)
#define SEED		1
#define NR		1024UL
#define MAX		(16 * NR)
#define NEED		(TS_NEED_ROOT | TS_NEED_COUNTERS)

static struct ts_ballast ballast;

/* Base pages that are taken one after the other. */
static char *pages;
static size_t taken;

static int pipes[4096][2];
static size_t nr_pipes;

static void set_long(const char *path, long value)
{
	char buf[32];

	snprintf(buf, sizeof(buf), "%ld", value);
	ts_set(path, buf);
}

/* They are @gap_kb apart, or a quarter of @min_kb. */
static void watermarks(long min_kb, long gap_kb)
{
	set_long(VM "watermark_boost_factor", 0);
	set_long(VM "watermark_scale_factor",
		 1 + gap_kb * 10000 / ts_meminfo("MemTotal"));
	set_long(VM "min_free_kbytes", min_kb);
}

/* Free memory that is not tag storage. */
static long other_kb(void)
{
	ts_fold();
	return ts_meminfo("MemFree") - ts_meminfo("MetadataFree");
}

static void map_pages(void)
{
	pages = ts_map(MAX, TS_RW, MAP_NORESERVE);
	madvise(pages, MAX * ts_psize, MADV_NOHUGEPAGE);
	taken = 0;
}

/* Fill memory: what is left is tag storage and a little more. */
static void begin(void)
{
	long total = ts_meminfo("MetadataTotal") * 1024 / (long)ts_psize;

	/* Nearly nothing in the lists of the CPUs. */
	set_long(VM "percpu_pagelist_high_fraction", 100000);
	watermarks(MIN_KB, 0);
	ts_ballast_fill(&ballast, total);
	ts_ballast_fill(&ballast, total * 15 / 16);
	map_pages();
	ksft_print_msg("free: %ld kB of tag storage, %ld kB of other memory\n",
		       ts_meminfo("MetadataFree"), other_kb());
}

static int end(size_t bad)
{
	ts_ballast_free(&ballast);
	ts_unmap(pages, MAX);
	watermarks(MIN_KB, 0);
	return ts_result(bad);
}

static size_t take(size_t nr)
{
	size_t first = taken;

	taken += nr;
	return ts_expect(!madvise(pages + first * ts_psize, nr * ts_psize,
				  MADV_POPULATE_WRITE), "%zu pages", nr);
}

/* Memory of the kernel, in pipes. */
static size_t fill_pipes(long kb)
{
	struct rlimit limit = { 2 * ARRAY_SIZE(pipes), 2 * ARRAY_SIZE(pipes) };
	char *buf = malloc(ts_psize);

	setrlimit(RLIMIT_NOFILE, &limit);
	for (nr_pipes = 0; kb > 0; nr_pipes++) {
		if (pipe2(pipes[nr_pipes], O_NONBLOCK))
			break;
		while (write(pipes[nr_pipes][1], buf, ts_psize) > 0)
			kb -= ts_psize / 1024;
	}
	free(buf);
	return ts_expect(kb <= 0, "another pipe, for %ld kB", kb);
}

static void close_pipes(void)
{
	while (nr_pipes--) {
		close(pipes[nr_pipes][0]);
		close(pipes[nr_pipes][1]);
	}
}

static long free_storage(void)
{
	ts_fold();
	return ts_vmstat("nr_free_metadata");
}

/* Free pieces of memory, no tag storage, of which a huge page can be made. */
static long free_huge(void)
{
	char line[512];
	long nr = 0;
	FILE *f;

	f = fopen("/proc/pagetypeinfo", "r");
	while (f && fgets(line, sizeof(line), f)) {
		char *p = strstr(line, ", type "), *end;
		size_t order;

		/* Not the heading, which has numbers, too. */
		if (!p || strstr(line, "Metadata"))
			continue;
		p += strcspn(p + 7, "0123456789\n") + 7;
		for (order = 0; (p += strspn(p, " >")), *p; order++, p = end) {
			long pieces = strtol(p, &end, 10);

			if (p == end)
				break;
			if (ts_psize << order >= ts_huge_size())
				nr += pieces;
		}
	}
	if (f)
		fclose(f);
	return nr;
}

/*
 * Pages of a piece can be on the way to a list of some CPU, and watermarks are
 * higher for a moment after pageblocks have changed their type.
 * Return: how many tries a huge page took, or 0.
 */
static unsigned int get_huge(char *mem)
{
	unsigned int i;

	for (i = 1; i <= 30; i++) {
		ts_data_write(mem, 0, 1, SEED);
		if (ts_is_huge(mem))
			return i;
		madvise(mem, ts_huge_size(), MADV_DONTNEED);
		usleep(100 * 1000);
	}
	return 0;
}

/* The list of a CPU is not filled with tag storage: it goes page by page. */
static size_t page_by_page(void)
{
	long worst = 0;
	size_t bad = 0;
	int i;

	for (i = 0; i < 128 && !bad; i++) {
		long free = free_storage();

		bad += take(1);
		free -= free_storage();
		if (free > worst)
			worst = free;
	}
	/* A few for others. */
	return bad + ts_expect(worst < 16,
			       "tag storage page by page, not %ld", worst);
}

/* How often what may have tag storage had to reclaim memory. */
static long stalls(void)
{
	ts_fold();
	return ts_vmstat("allocstall_movable");
}

/* When there is no tag storage left, pageblocks of the kernel are next. */
static size_t then_pageblocks(void)
{
	long before = stalls(), other;
	size_t bad = 0;

	while (!bad && taken + 64 <= MAX && free_storage() > 64)
		bad += take(64);
	other = other_kb();
	bad += take(NR);
	bad += ts_expect(stalls() == before, "no reclaim for data, not %ld times",
			 stalls() - before);
	ksft_print_msg("%ld kB of other memory, then %ld kB\n", other,
		       other_kb());
	return bad;
}

/*
 * Of whole pageblocks that are free a huge page is made, but no data goes there
 * as long as there is tag storage. What is free in pageblocks of its own goes
 * first.
 */
static int before_pageblocks(void)
{
	size_t huge = ts_huge_size(), nr = huge / ts_psize, bad, own;
	char *mem = ts_map_huge(huge);
	unsigned int tries;
	long free, pieces;

	bad = fill_pipes(48 * 1024);
	begin();
	own = other_kb() * 1024 / ts_psize;
	close_pipes();
	free = free_storage();
	while (!bad && taken < own + NR && free_storage() > free - 64)
		bad += take(64);
	free = free_storage();
	bad += take(NR);
	free -= free_storage();
	bad += ts_expect(free > (long)NR / 2,
			 "about %lu pages of data in tag storage, not %ld", NR,
			 free);
	bad += page_by_page();

	pieces = free_huge();
	tries = get_huge(mem);
	bad += ts_expect(!pieces || tries,
			 "a huge page of one of %ld free pieces", pieces);
	ts_data_write(mem, 0, nr, SEED);
	bad += ts_data_check(mem, 0, nr, SEED);
	ts_unmap(mem, nr);
	ksft_print_msg("%ld free pieces, huge page at try %u\n", pieces, tries);
	return end(bad + then_pageblocks());
}

/*
 * Other memory is below all watermarks. Whatever else allocates then ends in the
 * OOM killer, as nothing can be reclaimed: page tables are there before, and it
 * does not last.
 */
static int no_reclaim(void)
{
	size_t bad;
	long before;

	begin();
	if (free_storage() < (long)(2 * NR)) {
		end(0);
		return ts_skip("too little tag storage is free");
	}
	/* Nor is there anything for kswapd, which would make this easy. */
	if (mlock(ballast.bulk, ballast.bulk_nr * ts_psize) ||
	    mlock(ballast.mem, ballast.nr * ts_psize))
		ksft_exit_fail_msg("mlock failed\n");
	bad = take(NR);
	madvise(pages, NR * ts_psize, MADV_DONTNEED);
	taken = 0;
	before = stalls();
	watermarks(other_kb() * 4 / 3, 0);
	bad += take(NR);
	set_long(VM "min_free_kbytes", MIN_KB);
	bad += ts_expect(stalls() == before, "no reclaim for data, not %ld times",
			 stalls() - before);
	return end(bad);
}

/* There is no tag storage, but other memory, between low and high watermark. */
static int no_storage(void)
{
	size_t bad = 0;
	long before;

	begin();
	watermarks(MIN_KB / 4, other_kb() * 6 / 10);
	before = stalls();
	while (!bad && taken + 64 <= MAX && ts_vmstat("nr_free_metadata") > 64)
		bad += take(64);
	bad += take(NR / 4);
	bad += ts_expect(ts_vmstat("nr_free_metadata") < 64,
			 "tag storage to be used up");
	bad += ts_expect(stalls() == before, "no reclaim for data, not %ld times",
			 stalls() - before);
	ksft_print_msg("%zu pages, then %ld kB of other memory\n", taken,
		       other_kb());
	return end(bad);
}

/*
 * The list of a CPU is refilled with ever more pages at a time, but not with
 * those below the high watermark: tag storage is taken then.
 */
static int refills(void)
{
	long total = free_storage(), high = MIN_KB * 3 / 2, other = 0;
	size_t bad = 0;

	set_long(VM "percpu_pagelist_high_fraction", 0);
	watermarks(MIN_KB, 0);
	ts_ballast_fill(&ballast, total);
	map_pages();
	while (!bad && taken + 64 <= MAX && free_storage() > total * 7 / 8) {
		bad += take(64);
		/* For a moment the kernel's lists may be full, too. */
		if (free_storage() < total && other_kb() > other)
			other = other_kb();
	}
	ksft_print_msg("%zu pages, then %ld kB of other memory\n", taken,
		       other);
	bad += ts_expect(taken + 64 <= MAX, "tag storage to be taken");
	/* The step that was seen first takes 64 pages, too. */
	bad += ts_expect(other > high - 768,
			 "other memory above %ld kB, not %ld", high - 768,
			 other);
	return end(bad);
}

/* Other memory gets below its low watermark: time for kswapd. */
static int kernel_memory(void)
{
	double until = ts_now() + 3;
	long before, other;
	size_t bad;

	begin();
	/* kswapd does not try for ever: it starts anew with what is reclaimed. */
	ts_write_file("/sys/fs/cgroup/memory.reclaim", "1M");
	other = other_kb();
	watermarks(other * 3 / 4, 0);
	before = ts_vmstat("pageoutrun");
	bad = fill_pipes(other / 4);
	while (ts_vmstat("pageoutrun") == before && ts_now() < until)
		usleep(10 * 1000);
	bad += ts_expect(ts_vmstat("pageoutrun") > before, "kswapd to run");
	close_pipes();
	return end(bad);
}

/* With other memory below its watermarks a huge page cannot be had, later. */
static int huge_page(void)
{
	size_t huge = ts_huge_size(), nr = huge / ts_psize, bad;
	char *mem = ts_map_huge(2 * huge);

	ts_thp_set("defrag", "never");
	begin();
	madvise(ballast.bulk, 4 * huge, MADV_DONTNEED);
	ts_data_write(mem, 0, 1, SEED);
	bad = ts_expect(ts_folio_pages(mem) == nr, "a huge page before");
	watermarks(other_kb() + MIN_KB, 0);
	ts_data_write(mem, nr, 1, SEED);
	bad += ts_expect(ts_folio_pages(mem + huge) < nr, "no huge page");
	ts_unmap(mem, 2 * nr);
	return end(bad);
}

static const struct ts_case cases[] = {
	{ "data, without reclaim", no_reclaim, NEED },
	{ "data, when tag storage is used up", no_storage, NEED },
	{ "data, and what is left for others", refills, NEED },
	{ "not for the kernel", kernel_memory, NEED },
	{ "not for a huge page", huge_page, NEED | TS_NEED_THP },
	/* Leaves pageblocks of its own kind behind. */
	{ "data, before pageblocks of the kernel", before_pageblocks,
	  NEED | TS_NEED_THP },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
