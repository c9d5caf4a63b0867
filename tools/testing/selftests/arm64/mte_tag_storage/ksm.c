// SPDX-License-Identifier: GPL-2.0-only
/*
 * KSM merges what has no tags, and nothing else. A merged page in a mapping
 * that becomes tagged waits for its tag storage like any page, is shared as
 * long as tags are only read, and copied when one is written: by the user, by
 * taking the page out of KSM, and at swap-in. Where it lies in lent tag storage
 * itself, it moves for all of its mappings.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "ts_common.h"

#define NR	64
#define SEED	1
#define OTHER	2048
#define KSM	"/sys/kernel/mm/ksm/"
#define CGROUPS	"/tmp/ts_cgroup"
#define GROUP	CGROUPS "/ksm"
#define TIMEOUT	120

static char *a, *b;

/* Whether pages shall lie in tag storage. */
static bool lent;
static struct ts_ballast ballast;

static long number(const char *path)
{
	char buf[32] = "";

	return ts_read_file(path, buf, sizeof(buf)) > 0 ? atol(buf) : -1;
}

/* Two passes compare, and one more ends them. */
static size_t scan_all(void)
{
	double end = ts_now() + 30;
	long scans;

	ts_write_file(KSM "pages_to_scan", "10000");
	ts_write_file(KSM "sleep_millisecs", "1");
	/* It passes over pages that stayed unmerged for some time. */
	ts_write_file(KSM "smart_scan", "0");
	ts_write_file(KSM "run", "1");
	scans = number(KSM "full_scans");
	while (number(KSM "full_scans") < scans + 4 && ts_now() < end)
		usleep(10 * 1000);
	ts_write_file(KSM "run", "0");
	return ts_expect(ts_now() < end, "KSM to scan");
}

/* Pages of @a and @b that are one. */
static size_t same(void)
{
	size_t i, nr = 0;

	for (i = 0; i < NR; i++) {
		unsigned long pfn = ts_pfn(a + i * ts_psize);

		nr += pfn && pfn == ts_pfn(b + i * ts_psize);
	}
	return nr;
}

static void lie_in_storage(const char *when)
{
	size_t in = ts_in_storage(a, NR) + ts_in_storage(b, NR);

	if (lent)
		ts_usually(in > NR, "most of %d pages in tag storage %s, not %zu",
			   2 * NR, when, in);
}

static void map_two(void)
{
	if (lent)
		ts_ballast_near(&ballast);
	a = ts_map(NR, TS_RW, 0);
	b = ts_map(NR, TS_RW, 0);
	madvise(a, NR * ts_psize, MADV_NOHUGEPAGE);
	madvise(b, NR * ts_psize, MADV_NOHUGEPAGE);
	ts_data_write(a, 0, NR, SEED);
	ts_data_write(b, 0, NR, SEED);
	lie_in_storage("at first");
}

static void mergeable(void)
{
	madvise(a, NR * ts_psize, MADV_MERGEABLE);
	madvise(b, NR * ts_psize, MADV_MERGEABLE);
}

/* A page that something else holds for a moment is left to a later pass. */
static size_t merge_all(void)
{
	double end = ts_now() + 30;
	size_t bad, nr;

	mergeable();
	do {
		bad = scan_all();
		nr = same();
	} while (!bad && nr < NR && ts_now() < end);
	lie_in_storage("when they are one");
	return bad + ts_expect(nr == NR, "%d pages to be merged, not %zu", NR, nr);
}

static int done(size_t bad)
{
	bad += ts_expect(!lent || !ts_in_storage(a, NR),
			 "no tagged page in tag storage");
	ts_unmap(a, NR);
	ts_unmap(b, NR);
	return ts_result(bad);
}

/* Merged, then one of the mappings becomes tagged. */
static int one_tagged(void)
{
	size_t bad;

	map_two();
	bad = merge_all();
	ts_protect(a, 0, NR, TS_RWT);
	bad += ts_expect(same() == NR, "mprotect() to copy nothing");
	bad += ts_data_check(a, 0, NR, SEED);
	bad += ts_tags_zero(a, 0, NR);
	/* Pages that were in tag storage have moved, for both. */
	bad += ts_expect(same() == NR, "reading to copy nothing");
	ts_tags_write(a, 0, NR, SEED);
	bad += ts_expect(!same(), "writing tags to copy all");
	bad += ts_check(a, 0, NR, SEED);
	bad += ts_data_check(b, 0, NR, SEED);
	return done(bad);
}

static int both_tagged(void)
{
	size_t bad;

	map_two();
	bad = merge_all();
	ts_protect(a, 0, NR, TS_RWT);
	ts_protect(b, 0, NR, TS_RWT);
	bad += ts_tags_zero(b, 0, NR);
	ts_tags_write(a, 0, NR, 2);
	bad += ts_tags_zero(b, 0, NR);
	ts_tags_write(b, 0, NR, SEED);
	bad += ts_tags_check(a, 0, NR, 2);
	bad += ts_data_check(a, 0, NR, SEED);
	bad += ts_check(b, 0, NR, SEED);
	return done(bad);
}

/* Tags, even if all are zero, keep a page from being merged. */
static int refused(void)
{
	size_t bad;

	map_two();
	ts_protect(a, 0, NR, TS_RWT);
	ts_protect(b, 0, NR / 2, TS_RWT);
	ts_tags_write(a, 0, NR, SEED);
	bad = ts_tags_zero(b, 0, NR / 2);
	mergeable();
	bad += scan_all();
	bad += ts_expect(!same(), "no page to be merged");
	bad += ts_check(a, 0, NR, SEED);
	bad += ts_tags_zero(b, 0, NR / 2);
	bad += ts_data_check(b, 0, NR, SEED);
	return done(bad);
}

/* Pages that wait have no tags, so they may be merged. */
static int waiting(void)
{
	size_t bad;

	map_two();
	ts_protect(a, 0, NR, TS_RWT);
	ts_protect(b, 0, NR, TS_RWT);
	bad = merge_all();
	bad += ts_none_touch(a, 0, NR, SEED);
	bad += ts_tags_zero(b, 0, NR);
	bad += ts_data_check(b, 0, NR, SEED);
	ts_tags_write(b, 0, NR, SEED);
	bad += ts_check(b, 0, NR, SEED);
	bad += ts_check(a, 0, NR, SEED);
	return done(bad);
}

/* Taken out of KSM before the first access. */
static int unmerged(void)
{
	size_t bad;

	map_two();
	bad = merge_all();
	ts_protect(a, 0, NR, TS_RWT);
	bad += ts_expect(!madvise(a, NR * ts_psize, MADV_UNMERGEABLE),
			 "MADV_UNMERGEABLE to succeed");
	bad += ts_expect(!same(), "all pages to be copied");
	bad += ts_tags_zero(a, 0, NR);
	bad += ts_data_check(a, 0, NR, SEED);
	ts_tags_write(a, 0, NR, SEED);
	bad += ts_check(a, 0, NR, SEED);
	bad += ts_data_check(b, 0, NR, SEED);
	return done(bad);
}

/* Zero pages are merged with the zero page, which has its storage for ever. */
static int zero_pages(void)
{
	size_t bad, i;

	map_two();
	for (i = 0; i < NR * ts_psize; i += 8) {
		ts_store(a + i, 0);
		ts_store(b + i, 0);
	}
	ts_protect(a, 0, NR, TS_RWT);
	ts_protect(b, 0, NR, TS_RWT);
	ts_write_file(KSM "use_zero_pages", "1");
	bad = merge_all();
	ts_write_file(KSM "use_zero_pages", "0");
	bad += ts_expect(ts_pfn(a) == ts_pfn(a + ts_psize), "the zero page");
	bad += ts_tags_zero(a, 0, NR);
	ts_write(a, 0, NR, SEED);
	bad += ts_check(a, 0, NR, SEED);
	bad += ts_tags_zero(b, 0, NR);
	for (i = 0; i < NR; i++)
		bad += ts_expect(!ts_load(b + i * ts_psize), "zero data");
	return done(bad);
}

/* In a memory cgroup of its own, whose memory can be reclaimed. */
static int child_swaps(void *arg)
{
	double end;
	char pid[16], *other;
	bool *both = arg;
	size_t bad;
	long again;

	snprintf(pid, sizeof(pid), "%d", getpid());
	bad = ts_expect(!ts_write_file(GROUP "/cgroup.procs", pid),
			"to enter the cgroup");
	map_two();
	bad += merge_all();
	/* What is merged becomes tagged, and is read only: it stays one. */
	ts_protect(a, 0, NR, TS_RWT);
	ts_protect(b, 0, NR, *both ? TS_RWT : TS_RW);
	bad += ts_tags_zero(a, 0, NR);
	bad += ts_tags_zero(b, 0, NR);
	bad += ts_expect(same() == NR, "pages to be merged still");
	end = ts_now() + 30;
	while (ts_swapped(a, 0, NR) + ts_swapped(b, 0, NR) < 2 * NR &&
	       ts_now() < end) {
		/* Fails if there is less than that. */
		ts_write_file(GROUP "/memory.reclaim", "1M");
		usleep(10 * 1000);
	}
	bad += ts_expect(ts_now() < end,
			 "all pages to be swapped out, not %zu and %zu",
			 ts_swapped(a, 0, NR), ts_swapped(b, 0, NR));
	/* So that the copies are not where the pages were. */
	other = ts_map(OTHER, TS_RW, 0);
	ts_data_write(other, 0, OTHER, SEED);
	again = ts_vmstat("ksm_swpin_copy");
	bad += ts_tags_zero(a, 0, NR);
	bad += ts_data_check(a, 0, NR, SEED);
	bad += ts_tags_zero(b, 0, NR);
	bad += ts_data_check(b, 0, NR, SEED);
	bad += ts_expect(ts_vmstat("ksm_swpin_copy") > again,
			 "pages to be copied at swap-in");
	ts_protect(b, 0, NR, TS_RWT);
	ts_tags_write(a, 0, NR, SEED);
	bad += ts_tags_zero(b, 0, NR);
	ts_tags_write(b, 0, NR, SEED);
	bad += ts_check(a, 0, NR, SEED);
	bad += ts_check(b, 0, NR, SEED);
	return done(bad) != KSFT_PASS;
}

static int swap_merged(bool both)
{
	int ret = -1;

	mkdir(CGROUPS, 0755);
	if (mount("cgroup2", CGROUPS, "cgroup2", 0, NULL)) {
		rmdir(CGROUPS);
		return ts_skip("no cgroup2");
	}
	ts_write_file(CGROUPS "/cgroup.subtree_control", "+memory");
	if (!mkdir(GROUP, 0755)) {
		ret = ts_child(child_swaps, &both, TIMEOUT);
		rmdir(GROUP);
	}
	umount(CGROUPS);
	rmdir(CGROUPS);
	return ts_result(ts_expect(!ret, "child to end with 0, not %d", ret));
}

static int swapped(void)
{
	return swap_merged(true);
}

/*
 * The mapping that the copies are for is not tagged, what they are copied from
 * is. What is in their storage has to make way.
 */
static int swapped_storage_used(void)
{
	struct ts_ballast ballast = { };
	int result;
	size_t bad;

	ts_lend(&ballast, 4);
	result = swap_merged(false);
	bad = ts_lent_check(&ballast);
	ts_ballast_free(&ballast);
	return bad ? KSFT_FAIL : result;
}

/* Pages, merged or not, that lie in tag storage until a tag is accessed. */
static int in_storage(void)
{
	static const struct ts_case again[] = {
		{ "one tagged", one_tagged, 0 },
		{ "both tagged", both_tagged, 0 },
		{ "refused", refused, 0 },
		{ "waiting", waiting, 0 },
		{ "unmerged", unmerged, 0 },
	};
	long faults = ts_vmstat("metadata_none_fault");
	size_t bad;

	/* The free pages of one CPU, see ts_ballast_near(). */
	ts_run_on(0);
	lent = true;
	bad = ts_all_pass(again, ARRAY_SIZE(again));
	lent = false;
	bad += ts_expect(ts_vmstat("metadata_none_fault") > faults + NR / 2,
			 "faults of pages in tag storage");
	ts_ballast_free(&ballast);
	return ts_result(bad);
}

#define NEED	TS_NEED_ROOT

static const struct ts_case cases[] = {
	{ "one mapping of a merged page becomes tagged", one_tagged, NEED },
	{ "both mappings of a merged page become tagged", both_tagged, NEED },
	{ "tagged pages are not merged", refused, NEED },
	{ "pages that wait for storage are merged", waiting, NEED },
	{ "a merged page is taken out before its first access", unmerged, NEED },
	{ "the zero page", zero_pages, NEED },
	{ "pages in tag storage", in_storage,
	  NEED | TS_NEED_COUNTERS | TS_NEED_REGIONS },
	{ "copied at swap-in", swapped, NEED | TS_NEED_SWAP },
	{ "copied at swap-in, storage in use", swapped_storage_used,
	  NEED | TS_NEED_SWAP | TS_NEED_REGIONS },
};

int main(void)
{
	if (access(KSM "run", W_OK))
		ksft_exit_skip("no KSM that may be run\n");
	return ts_main(cases, ARRAY_SIZE(cases));
}
