// SPDX-License-Identifier: GPL-2.0-only
/*
 * A quarter or half of tag storage holds data that cannot be moved. A page whose
 * tags belong there is of no use for what is tagged already: writes to shared
 * pages and reading from swap find another one, and give back those that they
 * could not use. What is in such a page when it becomes tagged moves to another.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <unistd.h>

#include "ts_common.h"

#define NR	512UL
#define SEED	1
#define SOME	160UL	/* as many are of no use, on average */
#define ROUNDS	32
#define FEW	8UL	/* fit in a batch for the LRU */
#define STEP	1024UL
#define NOISE	400
#define TIMEOUT	60
#define KB	64UL
#define NEED	(TS_NEED_ROOT | TS_NEED_COUNTERS | TS_NEED_REGIONS | TS_NEED_SWAP)

static struct ts_ballast ballast;
static char *mem;

static void lend_pinned(unsigned int quarters)
{
	ts_lend(&ballast, quarters);
	ts_lent_pin(&ballast);
}

/* Have memory that is tagged, before its tag storage gets short. */
static void begin_quarters(char *map, unsigned int quarters)
{
	mem = map;
	ts_write(mem, 0, NR, SEED);
	lend_pinned(quarters);
}

static void begin(char *map)
{
	begin_quarters(map, 1);
}

static char *small_pages(void)
{
	char *map = ts_map(NR, TS_RWT, 0);

	madvise(map, NR * ts_psize, MADV_NOHUGEPAGE);
	return map;
}

static int end(size_t bad)
{
	bad += ts_lent_check(&ballast);
	ts_lent_unpin();
	ts_ballast_free(&ballast);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

/* One for each page, as another page is found in the same fault. */
static size_t few_faults(long before)
{
	long faults = ts_vmstat("pgfault") - before;

	return ts_expect(faults <= (long)(NR + NR / 4),
			 "%lu faults or a few more, not %ld", NR, faults);
}

/* Once that does not change any more. */
static long free_pages(void)
{
	long was, now = 0;
	int i = 0;

	do {
		usleep(200 * 1000);
		was = now;
		ts_fold();
		now = ts_meminfo("MemFree") * 1024 / (long)ts_psize;
	} while (labs(now - was) > 16 && i++ < 20);
	return now;
}

/* Write to pages that others have, too. The copies have their tags. */
static size_t write_shared(char *map)
{
	long faults = ts_vmstat("pgfault");
	size_t bad;

	ts_data_write(map, 0, NR, SEED + 1);
	bad = few_faults(faults);
	ts_protect(map, 0, NR, TS_RWT);
	bad += ts_tags_check(map, 0, NR, SEED);
	ts_tags_write(map, 0, NR, SEED + 1);
	return bad + ts_check(map, 0, NR, SEED + 1);
}

static int child(void *arg)
{
	return write_shared(arg) != 0;
}

/* So much is of no use that looking at a few hundred pages is not enough. */
static int forked(void)
{
	size_t bad;

	begin_quarters(small_pages(), 2);
	bad = ts_expect(!ts_child(child, mem, TIMEOUT), "child to end with 0");
	bad += ts_check(mem, 0, NR, SEED);
	return end(bad);
}

/* Tagged pages of a file, mapped untagged. */
static int private_file(void)
{
	int fd = ts_memfd(NR * ts_psize);
	size_t bad, i;
	char *map;

	begin(ts_map_fd(fd, NR * ts_psize, TS_RWT, MAP_SHARED));
	map = ts_map_fd(fd, NR * ts_psize, TS_RW, MAP_PRIVATE);
	for (i = 0; i < NR; i++)
		ts_load(map + i * ts_psize);
	bad = write_shared(map);
	bad += ts_check(mem, 0, NR, SEED);
	ts_unmap(map, NR);
	close(fd);
	return end(bad);
}

static int copy_some(void *arg)
{
	size_t i;

	(void)arg;
	ts_tco(true);
	for (i = 0; i < SOME; i++)
		ts_store(mem + i * ts_psize, i);
	return 0;
}

/* Again and again; in between, other data takes the pages that were free first. */
static int given_back(void)
{
	char *plain = ts_map(ROUNDS * STEP, TS_RW, 0);
	long before, after;
	size_t bad = 0, i;

	madvise(plain, ROUNDS * STEP * ts_psize, MADV_NOHUGEPAGE);
	/* What is free is not in the lists of the CPUs. */
	ts_set("/proc/sys/vm/percpu_pagelist_high_fraction", "100000");
	begin_quarters(small_pages(), 2);
	before = free_pages();
	for (i = 0; i < ROUNDS; i++) {
		bad += ts_child(copy_some, NULL, TIMEOUT);
		madvise(plain + i * STEP * ts_psize, STEP * ts_psize,
			MADV_POPULATE_WRITE);
	}
	ts_unmap(plain, ROUNDS * STEP);
	after = free_pages();
	ksft_print_msg("%ld pages free before, %ld after\n", before, after);
	bad += ts_expect(after > before - NOISE,
			 "%ld pages to be free again, not %ld", before, after);
	return end(bad);
}

/*
 * Pages in use become tagged. Each is moved once, where it cannot stay: not from
 * one page of no use to the next.
 */
static int in_use(void)
{
	size_t bad;
	long faults;

	mem = ts_map(NR, TS_RW, 0);
	madvise(mem, NR * ts_psize, MADV_NOHUGEPAGE);
	ts_data_write(mem, 0, NR, SEED);
	lend_pinned(2);
	ts_protect(mem, 0, NR, TS_RWT);
	faults = ts_vmstat("pgfault");
	/* Two pages of no use could take turns for ever. */
	alarm(TIMEOUT);
	bad = ts_none_touch(mem, 0, NR, SEED);
	alarm(0);
	bad += few_faults(faults);
	return end(bad);
}

/*
 * Pages that were just allocated, and that another CPU has not put on the LRU
 * yet: those of no use can be moved all the same, in one fault.
 */
static size_t faults_of_new(size_t first)
{
	size_t again = 0, page;

	ts_run_on(1);
	ts_data_write(mem, first, FEW, SEED);
	ts_run_on(0);
	ts_protect(mem, first, FEW, TS_RWT);
	for (page = first; page < first + FEW; page++) {
		long faults = ts_vmstat("metadata_none_fault");

		ts_load(mem + page * ts_psize);
		faults = ts_vmstat("metadata_none_fault") - faults;
		again += faults > 1;
	}
	return again;
}

static int just_allocated(void)
{
	size_t bad = 0, i, again = 0;

	mem = ts_map(NR, TS_RW, 0);
	madvise(mem, NR * ts_psize, MADV_NOHUGEPAGE);
	lend_pinned(2);
	/* None goes before the end, so that others are new each time. */
	for (i = 0; i < NR; i += FEW)
		again += faults_of_new(i);
	bad = ts_data_check(mem, 0, NR, SEED);
	ts_tags_write(mem, 0, NR, SEED);
	bad += ts_check(mem, 0, NR, SEED);
	bad += ts_expect(again <= NR / FEW / 8,
			 "one fault for each new page, %zu took more", again);
	ksft_print_msg("%zu pages took more than one fault\n", again);
	return end(bad);
}

static size_t swap_once(void)
{
	long faults;
	size_t bad;

	bad = ts_expect(ts_pageout(mem, 0, NR) > NR / 2, "pages in swap");
	faults = ts_vmstat("pgfault");
	bad += ts_check(mem, 0, NR, SEED);
	return bad + few_faults(faults);
}

static int swapped(void)
{
	size_t bad;

	begin(small_pages());
	bad = swap_once();
	bad += swap_once();
	return end(bad);
}

/* Read by way of the swap cache. */
static int swapped_disk(void)
{
	size_t bad;

	begin(small_pages());
	bad = ts_expect(ts_disk_on(4 * NR), "swap on a disk");
	bad += ts_expect(ts_pageout(mem, 0, NR) > NR / 2, "pages in swap");
	ts_swap_uncache(mem, NR, NR / 4);
	bad += ts_check(mem, 0, NR, SEED);
	bad += ts_expect(ts_pageout(mem, 0, NR) > NR / 2, "pages in swap");
	ts_swap_uncache(mem, NR, NR / 4);
	bad += ts_expect(ts_disk_off(), "swapoff to work");
	bad += ts_check(mem, 0, NR, SEED);
	return end(bad);
}

/* Out, though no page table says so. */
static size_t page_out_shared(void)
{
	int i;

	for (i = 0; i < 10 && ts_in_memory(mem, NR) > NR / 4; i++) {
		madvise(mem, NR * ts_psize, MADV_PAGEOUT);
		usleep(20 * 1000);
	}
	return ts_expect(ts_swap_uncache(mem, NR, NR / 2), "pages in swap");
}

/* Shared memory, with and without tags, by readahead and by swapoff(). */
static int swapped_shared(void)
{
	int fd = ts_memfd(NR * ts_psize);
	char *plain;
	size_t bad;

	begin(ts_map_fd(fd, NR * ts_psize, TS_RWT, MAP_SHARED));
	plain = ts_map_fd(fd, NR * ts_psize, TS_RW, MAP_SHARED);
	bad = ts_expect(ts_disk_on(4 * NR), "swap on a disk");
	bad += page_out_shared();
	bad += ts_data_check(plain, 0, NR, SEED);
	bad += ts_check(mem, 0, NR, SEED);
	madvise(plain, NR * ts_psize, MADV_DONTNEED);
	bad += page_out_shared();
	bad += ts_check(mem, 0, NR, SEED);
	bad += page_out_shared();
	bad += ts_expect(ts_disk_off(), "swapoff to work");
	bad += ts_check(mem, 0, NR, SEED);
	ts_unmap(plain, NR);
	close(fd);
	return end(bad);
}

/* From swap in RAM they would come as they went. */
static int swapped_large(void)
{
	size_t bad;

	ts_thp_size(KB, true);
	mem = ts_map_huge(NR * ts_psize);
	ts_protect(mem, 0, NR, TS_RWT);
	begin(mem);
	bad = ts_expect(ts_folio_pages(mem) == KB * 1024 / ts_psize,
			"folios of %lu kB", KB);
	bad += swap_once();
	bad += swap_once();
	ts_thp_size(KB, false);
	return end(bad);
}

/*
 * Folios whose tags are in two blocks, by turns tagged and untagged. When the
 * second block cannot be had, a folio is of no use: that is known before it is
 * filled, whichever of its pages is accessed.
 */
static size_t swap_by_turns(size_t nr, size_t per, bool *of_no_use)
{
	size_t bad, i;
	long faults;
	char *other;

	bad = ts_expect(ts_pageout(mem, 0, nr) > nr / 2, "pages in swap");
	/* It stays, so that others come next. */
	other = ts_map_huge(nr * ts_psize);
	ts_data_write(other, 0, nr, SEED);
	faults = ts_vmstat("pgfault");
	/* It could be tried for ever. */
	alarm(TIMEOUT);
	for (i = 0; i < nr; i += 2 * per)
		ts_ldg(mem + (i + per - 1) * ts_psize);
	for (i = 0; i < nr; i += 2 * per)
		bad += ts_check(mem, i, per, SEED);
	alarm(0);
	faults = ts_vmstat("pgfault") - faults;
	*of_no_use = faults > (long)per;
	bad += ts_expect(faults <= (long)(nr + nr / 4),
			 "%zu faults or a few more, not %ld", nr, faults);
	return bad + ts_data_check(mem, 0, nr, SEED);
}

static int swapped_turns(void)
{
	size_t per = 2 * TS_COVER, nr = 6 * per, i, bad;
	bool of_no_use = false;

	ts_thp_size(per * ts_psize / 1024, true);
	mem = ts_map_huge(NR * ts_psize);
	for (i = 0; i < nr; i += 2 * per)
		ts_protect(mem, i, per, TS_RWT);
	ts_data_write(mem, 0, nr, SEED);
	bad = ts_expect(ts_folio_pages(mem) == per, "folios of %zu pages", per);
	for (i = 0; i < nr; i += 2 * per)
		ts_tags_write(mem, i, per, SEED);
	lend_pinned(1);
	for (i = 0; i < ROUNDS && !bad && !of_no_use; i++)
		bad += swap_by_turns(nr, per, &of_no_use);
	ksft_print_msg("a folio was of no use: %s\n", of_no_use ? "yes" : "no");
	ts_thp_size(per * ts_psize / 1024, false);
	return end(bad);
}

static const struct ts_case cases[] = {
	{ "fork", forked, NEED },
	{ "private mapping of a file", private_file, NEED },
	{ "pages of no use are given back", given_back, NEED },
	{ "pages in use become tagged", in_use, NEED },
	{ "pages just allocated become tagged", just_allocated,
	  NEED | TS_NEED_CPUS },
	{ "swap", swapped, NEED },
	{ "swap on a disk", swapped_disk, NEED | TS_NEED_DISK },
	{ "swap of shared memory", swapped_shared, NEED | TS_NEED_DISK },
	{ "swap of large folios", swapped_large, NEED | TS_NEED_THP },
	{ "swap of large folios, tagged by turns", swapped_turns,
	  NEED | TS_NEED_THP },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
