// SPDX-License-Identifier: GPL-2.0-only
/*
 * Each base page of a huge page has data and tags of its own, whether the huge
 * page is tagged from the start, in full or in part, and when it is split.
 * Nothing here depends on the huge page staying one.
 */
#include <sys/wait.h>
#include <unistd.h>

#include "ts_common.h"

#define TIMEOUT	120

static size_t huge, nr;
static char *mem;

/* A huge page, untagged and with data; NULL if there is none. */
static char *get_huge(unsigned long seed)
{
	int i;

	huge = ts_huge_size();
	nr = huge / ts_psize;
	for (i = 0; i < 4; i++) {
		mem = ts_map_huge(huge);
		ts_data_write(mem, 0, nr, seed);
		if (ts_is_huge(mem))
			return mem;
		ts_unmap(mem, nr);
	}
	return NULL;
}

static int no_huge(void)
{
	return ts_skip("got no huge page");
}

static int fault(void)
{
	size_t bad;

	huge = ts_huge_size();
	nr = huge / ts_psize;
	mem = ts_map_huge(4 * huge);
	ts_protect(mem, 0, 4 * nr, TS_RWT);
	bad = ts_tags_zero(mem, 0, nr);
	ts_write(mem, 0, 4 * nr, 1);
	bad += ts_check(mem, 0, 4 * nr, 1);
	ksft_print_msg("mapped by PMD: %s\n", ts_is_huge(mem) ? "yes" : "no");
	ts_unmap(mem, 4 * nr);
	return ts_result(bad);
}

static int protect_all(void)
{
	size_t bad;

	if (!get_huge(1))
		return no_huge();
	ts_protect(mem, 0, nr, TS_RWT);
	bad = ts_tags_zero(mem, 0, nr);
	bad += ts_data_check(mem, 0, nr, 1);
	ts_tags_write(mem, 0, nr, 1);
	bad += ts_check(mem, 0, nr, 1);
	ts_unmap(mem, nr);
	return ts_result(bad);
}

static int protect_part(void)
{
	static const struct { unsigned int first, of; } part[] = {
		{ 0, 2 }, { 1, 2 }, { 1, 4 },
	};
	size_t bad = 0, i, first, len;

	for (i = 0; i < ARRAY_SIZE(part); i++) {
		if (!get_huge(1))
			return no_huge();
		len = nr / part[i].of - 1;
		first = part[i].first * nr / part[i].of + 1;
		ts_protect(mem, first, len, TS_RWT);
		bad += ts_tags_zero(mem, first, len);
		ts_tags_write(mem, first, len, 1);
		bad += ts_check(mem, first, len, 1);
		bad += ts_data_check(mem, 0, nr, 1);

		ts_protect(mem, 0, nr, TS_RWT);
		bad += ts_tags_zero(mem, 0, first);
		bad += ts_check(mem, first, len, 1);
		ts_tags_write(mem, 0, nr, 1);
		bad += ts_check(mem, 0, nr, 1);
		ts_unmap(mem, nr);
	}
	return ts_result(bad);
}

/* A part goes: the rest keeps what it has. */
static int unmap_part(void)
{
	size_t bad;

	if (!get_huge(1))
		return no_huge();
	ts_protect(mem, 0, nr, TS_RWT);
	ts_tags_write(mem, 0, nr, 1);
	munmap(mem + nr / 4 * ts_psize, nr / 4 * ts_psize);
	bad = ts_check(mem, 0, nr / 4, 1);
	bad += ts_check(mem, nr / 2, nr / 2, 1);
	ts_pageout(mem, 0, nr / 4);
	bad += ts_check(mem, 0, nr / 4, 1);
	bad += ts_check(mem, nr / 2, nr / 2, 1);
	munmap(mem, huge);
	return ts_result(bad);
}

static int dontneed_part(void)
{
	size_t bad;

	if (!get_huge(1))
		return no_huge();
	ts_protect(mem, 0, nr, TS_RWT);
	ts_tags_write(mem, 0, nr, 1);
	madvise(mem + ts_psize, 33 * ts_psize, MADV_DONTNEED);
	bad = ts_tags_zero(mem, 1, 33);
	bad += ts_check(mem, 0, 1, 1);
	bad += ts_check(mem, 34, nr - 34, 1);
	ts_write(mem, 1, 33, 1);
	bad += ts_check(mem, 0, nr, 1);
	ts_unmap(mem, nr);
	return ts_result(bad);
}

/* Another protection for a part splits the mapping. */
static int readonly_part(void)
{
	size_t bad;

	if (!get_huge(1))
		return no_huge();
	ts_protect(mem, 0, nr, TS_RWT);
	ts_tags_write(mem, 0, nr / 2, 1);
	ts_protect(mem, nr / 3, nr / 3, PROT_READ | PROT_MTE);
	bad = ts_check(mem, 0, nr / 2, 1);
	bad += ts_tags_zero(mem, nr / 2, nr / 2);
	ts_protect(mem, 0, nr, TS_RWT);
	ts_tags_write(mem, nr / 2, nr / 2, 1);
	bad += ts_check(mem, 0, nr, 1);
	ts_unmap(mem, nr);
	return ts_result(bad);
}

static int child(void *arg)
{
	size_t bad;

	(void)arg;
	bad = ts_check(mem, 0, nr, 1);
	ts_write(mem, 0, nr, 2);
	bad += ts_check(mem, 0, nr, 2);
	return bad != 0;
}

static int forked(void)
{
	size_t bad;

	if (!get_huge(1))
		return no_huge();
	ts_protect(mem, 0, nr, TS_RWT);
	ts_tags_write(mem, 0, nr, 1);
	bad = ts_expect(!ts_child(child, NULL, TIMEOUT), "child to end with 0");
	bad += ts_check(mem, 0, nr, 1);
	ts_write(mem, 0, nr, 3);
	bad += ts_check(mem, 0, nr, 3);
	ts_unmap(mem, nr);
	return ts_result(bad);
}

static int child_untouched(void *arg)
{
	size_t bad;

	(void)arg;
	bad = ts_tags_zero(mem, 0, nr);
	bad += ts_data_check(mem, 0, nr, 1);
	ts_tags_write(mem, 0, nr, 2);
	bad += ts_tags_check(mem, 0, nr, 2);
	return bad != 0;
}

static int forked_untouched(void)
{
	size_t bad;

	if (!get_huge(1))
		return no_huge();
	ts_protect(mem, 0, nr, TS_RWT);
	bad = ts_expect(!ts_child(child_untouched, NULL, TIMEOUT),
			"child to end with 0");
	bad += child_untouched(NULL);
	ts_unmap(mem, nr);
	return ts_result(bad);
}

/* Base pages with tags are collapsed; a refusal is right too. */
static int collapse(void)
{
	size_t bad, round;
	int ret;

	huge = ts_huge_size();
	nr = huge / ts_psize;
	for (round = 0, bad = 0; round < 2; round++) {
		mem = ts_map_huge(huge);
		madvise(mem, huge, MADV_NOHUGEPAGE);
		/* First fully tagged, then with holes and untagged pages. */
		if (!round) {
			ts_protect(mem, 0, nr, TS_RWT);
			ts_write(mem, 0, nr, 1);
		} else {
			ts_data_write(mem, 0, nr / 2, 1);
			ts_protect(mem, 0, nr, TS_RWT);
			ts_tags_write(mem, 0, nr / 4, 1);
		}
		madvise(mem, huge, MADV_HUGEPAGE);
		ret = madvise(mem, huge, MADV_COLLAPSE);
		ksft_print_msg("MADV_COLLAPSE: %s\n", ret ? "refused" : "done");
		if (!round) {
			bad += ts_check(mem, 0, nr, 1);
		} else {
			bad += ts_check(mem, 0, nr / 4, 1);
			bad += ts_tags_zero(mem, nr / 4, nr - nr / 4);
			bad += ts_data_check(mem, 0, nr / 2, 1);
		}
		ts_write(mem, 0, nr, 2);
		bad += ts_check(mem, 0, nr, 2);
		ts_unmap(mem, nr);
	}
	return ts_result(bad);
}

/* Folios smaller than a PMD. */
static int small(void)
{
	static const char * const sizes[] = { "16", "32", "64", "256", "1024" };
	size_t i, bad = 0, pages = 1024;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		char name[64];

		snprintf(name, sizeof(name), "hugepages-%skB/enabled", sizes[i]);
		ts_thp_set(name, "madvise");
		mem = ts_map(pages, TS_RW, 0);
		madvise(mem, pages * ts_psize, MADV_HUGEPAGE);
		ts_data_write(mem, 0, pages, i);
		ts_protect(mem, 5, pages - 5, TS_RWT);
		bad += ts_tags_zero(mem, 5, pages - 5);
		ts_tags_write(mem, 5, pages - 5, i);
		bad += ts_check(mem, 5, pages - 5, i);
		bad += ts_data_check(mem, 0, pages, i);
		ts_unmap(mem, pages);

		mem = ts_map(pages, TS_RWT, 0);
		madvise(mem, pages * ts_psize, MADV_HUGEPAGE);
		ts_write(mem, 0, pages, i);
		munmap(mem + 7 * ts_psize, 3 * ts_psize);
		bad += ts_check(mem, 0, 7, i);
		bad += ts_check(mem, 10, pages - 10, i);
		ts_unmap(mem, pages);
		ts_thp_set(name, "never");
	}
	return ts_result(bad);
}

static const struct ts_case cases[] = {
	{ "fault in a tagged mapping", fault, TS_NEED_THP },
	{ "mprotect of all", protect_all, TS_NEED_THP },
	{ "mprotect of a part", protect_part, TS_NEED_THP },
	{ "munmap of a part", unmap_part, TS_NEED_THP },
	{ "MADV_DONTNEED of a part", dontneed_part, TS_NEED_THP },
	{ "read-only part", readonly_part, TS_NEED_THP },
	{ "fork", forked, TS_NEED_THP },
	{ "fork before the first access", forked_untouched, TS_NEED_THP },
	{ "collapse", collapse, TS_NEED_THP },
	{ "folios of other sizes", small, TS_NEED_THP },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
