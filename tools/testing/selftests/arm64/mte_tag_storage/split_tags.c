// SPDX-License-Identifier: GPL-2.0-only
/*
 * A split of a large folio leaves each of its pages tagged or untagged as it
 * was.
 *
 * A folio is tagged in part after mprotect(PROT_MTE) of a part. If the split
 * gives all pages the flag of the head page, then
 *  - tags of tails are lost where the head is untagged: mapping the pages again
 *    after the split, from their migration entries, finds untagged pages in a
 *    tagged mapping and clears their tags;
 *  - stale tags show where only the head is tagged: the tails count as tagged,
 *    so that a later mprotect(PROT_MTE) does not clear what an earlier owner of
 *    the memory has left in their tags.
 */
#include "ts_common.h"

static char *mem;
static size_t huge, nr;

/* Ways to split the folio at @mem; page 0 may get lost, no other one. */
static void split_by_pageout(void)
{
	madvise(mem, ts_psize, MADV_PAGEOUT);
}

static void split_by_cold(void)
{
	madvise(mem, ts_psize, MADV_COLD);
}

static void split_by_reclaim(void)
{
	madvise(mem, ts_psize, MADV_DONTNEED);
	ts_pageout(mem, 1, nr - 1);
}

static void split_by_debugfs(void)
{
	char cmd[128];

	snprintf(cmd, sizeof(cmd), "%d,0x%lx,0x%lx,0", getpid(),
		 (unsigned long)mem, (unsigned long)mem + huge);
	ts_write_file("/sys/kernel/debug/split_huge_pages", cmd);
}

static bool get_huge(void)
{
	huge = ts_huge_size();
	nr = huge / ts_psize;
	mem = ts_map_huge(huge);
	ts_data_write(mem, 0, nr, 1);
	if (ts_is_huge(mem))
		return true;
	ts_unmap(mem, nr);
	return false;
}

/* Leave tags in much of the free memory. */
static void dirty_tags(void)
{
	size_t pages = 16 * nr;
	char *old = ts_map_huge(16 * huge);

	ts_protect(old, 0, pages, TS_RWT);
	ts_tags_write(old, 0, pages, 77);
	ts_unmap(old, pages);
}

static int tail_tagged(void (*split)(void))
{
	size_t bad;

	if (!get_huge())
		return ts_skip("got no huge page");
	ts_protect(mem, nr / 2, nr / 2, TS_RWT);
	ts_tags_write(mem, nr / 2, nr / 2, 1);
	bad = ts_check(mem, nr / 2, nr / 2, 1);
	split();
	bad += ts_check(mem, nr / 2, nr / 2, 1);
	/* Out and in again, where there is swap. */
	ts_pageout(mem, 1, nr - 1);
	bad += ts_check(mem, nr / 2, nr / 2, 1);
	bad += ts_data_check(mem, 1, nr - 1, 1);
	ts_unmap(mem, nr);
	return ts_result(bad);
}

static int tail_pageout(void)
{
	return tail_tagged(split_by_pageout);
}

static int tail_cold(void)
{
	return tail_tagged(split_by_cold);
}

static int tail_reclaim(void)
{
	return tail_tagged(split_by_reclaim);
}

static int tail_debugfs(void)
{
	return tail_tagged(split_by_debugfs);
}

/* Tagged are single pages at many places, never the head. */
static int scattered(void)
{
	size_t bad = 0, i;

	if (!get_huge())
		return ts_skip("got no huge page");
	for (i = 1; i < nr; i += 37) {
		ts_protect(mem, i, 1, TS_RWT);
		ts_tags_write(mem, i, 1, 1);
	}
	split_by_pageout();
	for (i = 1; i < nr; i += 37)
		bad += ts_check(mem, i, 1, 1);
	bad += ts_data_check(mem, 1, nr - 1, 1);
	ts_protect(mem, 0, nr, TS_RWT);
	for (i = 1; i < nr; i++) {
		if (i % 37 == 1)
			bad += ts_check(mem, i, 1, 1);
		else
			bad += ts_tags_zero(mem, i, 1);
	}
	ts_unmap(mem, nr);
	return ts_result(bad);
}

static int head_tagged(void (*split)(void))
{
	size_t bad = 0;
	int i;

	for (i = 0; i < 8; i++) {
		dirty_tags();
		if (!get_huge())
			return ts_skip("got no huge page");
		ts_protect(mem, 0, nr / 2, TS_RWT);
		ts_tags_write(mem, 0, nr / 2, 1);
		split();
		ts_protect(mem, 0, nr, TS_RWT);
		bad += ts_tags_zero(mem, nr / 2, nr / 2);
		bad += ts_check(mem, 1, nr / 2 - 1, 1);
		bad += ts_data_check(mem, 1, nr - 1, 1);
		ts_unmap(mem, nr);
	}
	return ts_result(bad);
}

static int head_pageout(void)
{
	return head_tagged(split_by_pageout);
}

static int head_debugfs(void)
{
	return head_tagged(split_by_debugfs);
}

static const struct ts_case cases[] = {
	{ "tagged tails, split by MADV_PAGEOUT", tail_pageout, TS_NEED_THP },
	{ "tagged tails, split by MADV_COLD", tail_cold, TS_NEED_THP },
	{ "tagged tails, split by reclaim", tail_reclaim,
	  TS_NEED_THP | TS_NEED_SWAP },
	{ "tagged tails, split by debugfs", tail_debugfs,
	  TS_NEED_THP | TS_NEED_ROOT },
	{ "single tagged tails", scattered, TS_NEED_THP },
	{ "tagged head, split by MADV_PAGEOUT", head_pageout, TS_NEED_THP },
	{ "tagged head, split by debugfs", head_debugfs,
	  TS_NEED_THP | TS_NEED_ROOT },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
