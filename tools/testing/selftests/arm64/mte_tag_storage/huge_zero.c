// SPDX-License-Identifier: GPL-2.0-only
/*
 * The huge zero page in a tagged mapping: it is read with zero tags, a write of
 * data or tags leads to a page of its own, and when nobody maps it any more it
 * is freed and its tag storage with it.
 *
 * The kernel gives it back only when the shrinker asks twice, and only with no
 * reference left: what had mapped it holds one until its process ends.
 */
#include <unistd.h>
#include <sys/wait.h>

#include "ts_common.h"

#define NEED	(TS_NEED_THP | TS_NEED_ROOT | TS_NEED_COUNTERS | \
		 TS_NEED_REGIONS)
#define TIMEOUT	120
#define ROUNDS	4

static size_t huge, nr;

/* Two huge pages of zeroes: here tagged, there not. */
static int reader(void *arg)
{
	long got = ts_vmstat("thp_zero_page_alloc"), faults;
	bool alone = arg;
	size_t bad, i;
	char *mem, *other;

	mem = ts_map_huge(huge);
	other = ts_map_huge(huge);
	ts_protect(mem, 0, nr, TS_RWT);
	ts_load(other);
	faults = ts_vmstat("metadata_none_fault");
	bad = ts_tags_zero(mem, 0, nr);
	faults = ts_vmstat("metadata_none_fault") - faults;
	bad += ts_usually(!alone ||
			  ts_vmstat("thp_zero_page_alloc") - got == 1,
			  "a new huge zero page");
	bad += ts_usually(ts_pfn(mem) && ts_pfn(mem) == ts_pfn(other),
			  "the same huge zero page in both mappings");
	bad += ts_usually(ts_pfn(mem + huge - ts_psize) == ts_pfn(mem) + nr - 1,
			  "a huge page");
	/* It was allocated for nobody in particular. Others count as well. */
	bad += ts_usually(!alone || faults == 1, "one fault, not %ld", faults);

	/* A checked access by a pointer without a tag, and one with data. */
	for (i = 0; i < nr; i++)
		bad += ts_load(mem + i * ts_psize + 8) != 0;
	ts_stg(mem + 5 * ts_psize, 3);
	bad += ts_expect(ts_pfn(mem) != ts_pfn(other), "a page of its own");
	bad += ts_expect(ts_ldg(mem + 5 * ts_psize) == 3, "the tag to be set");
	bad += ts_tags_zero(mem, 0, 5);
	bad += ts_tags_zero(mem, 6, nr - 6);
	ts_write(mem, 0, nr, 1);
	bad += ts_check(mem, 0, nr, 1);
	for (i = 0; i < nr; i++)
		bad += ts_load(other + i * ts_psize) != 0;

	/* In part discarded: zeroes again, of small pages now. */
	madvise(mem, 9 * ts_psize, MADV_DONTNEED);
	bad += ts_tags_zero(mem, 0, 9);
	bad += ts_check(mem, 9, nr - 9, 1);

	/* The other one is tagged when it is mapped. */
	ts_protect(other, 0, nr, TS_RWT);
	bad += ts_tags_zero(other, 0, nr);
	ts_tags_write(other, 7, 1, 1);
	bad += ts_tags_check(other, 7, 1, 1);
	bad += ts_tags_zero(other, 0, 7);
	bad += ts_tags_zero(other, 8, nr - 8);
	return bad != 0;
}

/* Give the page back. True if it holds no tag storage any more. */
static bool shrink(long reserved)
{
	int i;

	for (i = 0; i < 3; i++)
		ts_write_file("/proc/sys/vm/drop_caches", "2");
	return ts_wait_reserved(reserved, 10);
}

static int cycle(void)
{
	size_t bad = 0, i;

	huge = ts_huge_size();
	nr = huge / ts_psize;
	ts_thp_set("use_zero_page", "1");
	/* Whoever had one before. */
	shrink(ts_vmstat("nr_metadata_reserved"));
	for (i = 0; i < ROUNDS; i++) {
		struct ts_counters before, after;

		ts_counters(&before);
		bad += ts_expect(!ts_child(reader, (void *)1, TIMEOUT),
				 "child to end with 0");
		bad += ts_expect(shrink(before.reserved),
				 "%ld pages reserved in the end, not %ld",
				 before.reserved,
				 ts_vmstat("nr_metadata_reserved"));
		ts_counters(&after);
		bad += ts_usually(after.release - before.release >= 16,
				  "the storage of a huge page to be released");
	}
	return ts_result(bad);
}

/* The last owner goes while the page is given back. */
static int racing(void)
{
	size_t bad = 0, i;
	pid_t pid[4];

	huge = ts_huge_size();
	nr = huge / ts_psize;
	for (i = 0; i < ARRAY_SIZE(pid); i++) {
		pid[i] = fork();
		if (!pid[i])
			_exit(reader(NULL));
	}
	for (i = 0; i < 50; i++) {
		ts_write_file("/proc/sys/vm/drop_caches", "2");
		usleep(1000);
	}
	for (i = 0; i < ARRAY_SIZE(pid); i++)
		bad += ts_expect(!ts_wait(pid[i], TIMEOUT),
				 "child %zu to end with 0", i);
	return ts_result(bad);
}

/* No storage can be had without moving data. */
static size_t child_reads(void)
{
	return ts_expect(!ts_child(reader, (void *)1, TIMEOUT),
			 "child to end with 0");
}

static int storage_used(void)
{
	long reserved = ts_vmstat("nr_metadata_reserved");
	size_t bad;

	huge = ts_huge_size();
	nr = huge / ts_psize;
	shrink(reserved);
	bad = ts_while_lent(child_reads);
	shrink(reserved);
	return ts_result(bad);
}

static const struct ts_case cases[] = {
	{ "read, write, free, again", cycle, NEED },
	{ "free at any time", racing, NEED },
	{ "tag storage in use", storage_used, NEED },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
