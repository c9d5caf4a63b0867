// SPDX-License-Identifier: GPL-2.0-only
/*
 * Large folios of every size go to swap and come back whole: not split, and with
 * the data and the tags of each of their pages, whether all of them are tagged,
 * some, or none before they are in swap.
 *
 * Whole is what the statistics of folios of that size say, and on the way in that
 * one access makes all pages of its folio present. Only swap in RAM has the way
 * in, and only where zswap was never on.
 */
#include <stdlib.h>
#include <unistd.h>

#include "ts_common.h"

static char *mem;
static size_t nr, per;	/* pages, and pages for each folio */
static size_t kb, bytes;

static const size_t sizes[] = { 16, 32, 64, 128, 256, 512, 1024, 2048 };

/* Folios of this size and no other for MADV_HUGEPAGE. */
static void set_size(size_t only)
{
	char name[64];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		snprintf(name, sizeof(name), "hugepages-%zukB/enabled", sizes[i]);
		ts_thp_set(name, sizes[i] == only ? "madvise" : "never");
	}
	kb = only;
	per = kb * 1024 / ts_psize;
	/* Some folios of each size, but not more than is quick. */
	bytes = kb > 64 ? 2UL << 20 : 512UL << 10;
	nr = bytes / ts_psize;
}

/* All is in folios of this size, with data and without tags. */
static size_t get_folios(unsigned long seed)
{
	long before = ts_thp_stat(kb, "anon_fault_alloc"), got;

	mem = ts_map_huge(bytes);
	ts_data_write(mem, 0, nr, seed);
	got = ts_thp_stat(kb, "anon_fault_alloc") - before;
	return ts_usually(got == (long)(nr / per), "%zu folios of %zu kB, not %ld",
			  nr / per, kb, got);
}

/*
 * Out. Where swap has no room in one piece, a folio is split first; that is no
 * fault of tags, but must be rare.
 */
static size_t page_out(void)
{
	long whole = ts_thp_stat(kb, "swpout"), split = ts_thp_stat(kb, "split");
	long fallback = ts_thp_stat(kb, "swpout_fallback");
	size_t swapped = ts_pageout(mem, 0, nr), bad;

	whole = ts_thp_stat(kb, "swpout") - whole;
	split = ts_thp_stat(kb, "split") - split;
	fallback = ts_thp_stat(kb, "swpout_fallback") - fallback;

	bad = ts_usually(swapped == nr, "%zu pages in swap, not %zu", nr, swapped);
	bad += ts_usually(whole + fallback == (long)(nr / per) && split <= fallback,
			  "%zu folios of %zu kB to get out whole, did %ld, split %ld",
			  nr / per, kb, whole, split);
	bad += ts_expect(whole * 2 >= (long)(nr / per),
			 "most of %zu folios of %zu kB to get out whole, %ld do",
			 nr / per, kb, whole);
	return bad;
}

static bool comes_whole(void)
{
	/* No folio mapped by a PMD does, here or on any other kernel. */
	return kb * 1024 < ts_huge_size() &&
	       access("/sys/kernel/debug/zswap", F_OK);
}

/* In by one access to each folio, to one of its pages. */
static size_t in(bool write)
{
	size_t i, whole = 0, want = nr / per;

	for (i = 0; i < want; i++) {
		size_t first = i * per, page = first + (i * 7) % per;
		char *p = mem + page * ts_psize;

		/* The tag is 0, or the access must not be checked. */
		ts_tco(true);
		if (write)
			ts_store(p, ts_load(p));
		else
			ts_load(p);
		ts_tco(false);
		whole += !ts_swapped(mem, first, per);
	}
	/* The folios that were split before come page by page. */
	return ts_expect(!comes_whole() || whole * 2 >= want,
			 "most of %zu folios of %zu kB to come whole, %zu do",
			 want, kb, whole);
}

static size_t all_tagged(void)
{
	size_t bad = get_folios(1);

	ts_protect(mem, 0, nr, TS_RWT);
	ts_tags_write(mem, 0, nr, 1);
	bad += page_out();
	bad += in(false);
	bad += ts_check(mem, 0, nr, 1);
	ts_write(mem, 0, nr, 2);
	ts_unmap(mem, nr);

	/* Tagged from the start, and another time without a write between. */
	mem = ts_map_huge(bytes);
	ts_protect(mem, 0, nr, TS_RWT);
	ts_write(mem, 0, nr, 3);
	bad += page_out();
	bad += in(true);
	bad += ts_check(mem, 0, nr, 3);
	ts_pageout(mem, 0, nr);
	bad += ts_check(mem, 0, nr, 3);
	ts_unmap(mem, nr);
	return bad;
}

/* The tags of an untagged folio show up as zero, whoever used its memory. */
static size_t tagged_in_swap(void)
{
	size_t bad = get_folios(4);

	bad += page_out();
	ts_protect(mem, 0, nr, TS_RWT);
	bad += in(false);
	bad += ts_tags_zero(mem, 0, nr);
	bad += ts_data_check(mem, 0, nr, 4);
	ts_tags_write(mem, 0, nr, 4);
	bad += ts_check(mem, 0, nr, 4);
	ts_unmap(mem, nr);
	return bad;
}

/* Metadata-none when it goes out; never accessed as tagged. */
static size_t marked_only(void)
{
	size_t bad = get_folios(5);

	ts_protect(mem, 0, nr, TS_RWT);
	bad += page_out();
	bad += in(true);
	bad += ts_tags_zero(mem, 0, nr);
	bad += ts_data_check(mem, 0, nr, 5);
	ts_unmap(mem, nr);
	return bad;
}

/*
 * Only every third page has tags, the others are still metadata-none or have
 * zero tags. Such a folio may be split on its way out.
 */
static size_t some_tagged(void)
{
	size_t bad = get_folios(6), i;

	ts_protect(mem, 0, nr, TS_RWT);
	for (i = 0; i < nr; i += 3)
		ts_tags_write(mem, i, 1, 6);
	i = ts_pageout(mem, 0, nr);
	bad += ts_usually(i == nr, "%zu pages in swap, not %zu", nr, i);
	for (i = 0; i < nr; i++)
		bad += i % 3 ? ts_tags_zero(mem, i, 1) :
			       ts_tags_check(mem, i, 1, 6);
	bad += ts_data_check(mem, 0, nr, 6);
	ts_unmap(mem, nr);
	return bad;
}

static int test_size(size_t size)
{
	size_t bad;

	/* The size of a PMD depends on that of base pages. */
	if (size * 1024 > ts_huge_size())
		return ts_skip("larger than a PMD");
	set_size(size);
	bad = all_tagged();
	bad += tagged_in_swap();
	bad += marked_only();
	bad += some_tagged();
	return ts_result(bad);
}

static int test_16(void)
{
	return test_size(16);
}

static int test_32(void)
{
	return test_size(32);
}

static int test_64(void)
{
	return test_size(64);
}

static int test_128(void)
{
	return test_size(128);
}

static int test_256(void)
{
	return test_size(256);
}

static int test_512(void)
{
	return test_size(512);
}

static int test_1024(void)
{
	return test_size(1024);
}

static int test_2048(void)
{
	return test_size(2048);
}

static const struct ts_case cases[] = {
	{ "16 kB", test_16, TS_NEED_SWAP | TS_NEED_THP | TS_NEED_ROOT },
	{ "32 kB", test_32, TS_NEED_SWAP | TS_NEED_THP | TS_NEED_ROOT },
	{ "64 kB", test_64, TS_NEED_SWAP | TS_NEED_THP | TS_NEED_ROOT },
	{ "128 kB", test_128, TS_NEED_SWAP | TS_NEED_THP | TS_NEED_ROOT },
	{ "256 kB", test_256, TS_NEED_SWAP | TS_NEED_THP | TS_NEED_ROOT },
	{ "512 kB", test_512, TS_NEED_SWAP | TS_NEED_THP | TS_NEED_ROOT },
	{ "1024 kB", test_1024, TS_NEED_SWAP | TS_NEED_THP | TS_NEED_ROOT },
	{ "2048 kB", test_2048, TS_NEED_SWAP | TS_NEED_THP | TS_NEED_ROOT },
};

int main(void)
{
	/* Pages in the batch of another CPU would not go out. */
	ts_run_on(0);
	return ts_main(cases, ARRAY_SIZE(cases));
}
