// SPDX-License-Identifier: GPL-2.0-only
/*
 * mprotect(PROT_MTE) on memory that is in use keeps the data, gives zero tags
 * that hold what is written next, and takes no tag storage by itself: storage
 * is taken at the next access, with one fault for all pages of a tag block.
 */
#include "ts_common.h"

#define NR	2048

/* Base pages with a pattern, not tagged yet. */
static char *untagged(size_t nr, unsigned long seed)
{
	char *mem = ts_map(nr, TS_RW, 0);

	madvise(mem, nr * ts_psize, MADV_NOHUGEPAGE);
	ts_data_write(mem, 0, nr, seed);
	return mem;
}

/* Data is there, tags are zero, tags hold. */
static size_t now_tagged(char *mem, size_t first, size_t nr, unsigned long seed)
{
	size_t bad;

	bad = ts_tags_zero(mem, first, nr);
	bad += ts_data_check(mem, first, nr, seed);
	ts_tags_write(mem, first, nr, seed);
	return bad + ts_check(mem, first, nr, seed);
}

static int whole(void)
{
	char *mem = untagged(NR, 1);
	size_t bad;

	ts_protect(mem, 0, NR, TS_RWT);
	bad = now_tagged(mem, 0, NR, 1);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

/* Memory that nobody has touched yet, and then half of it. */
static int untouched(void)
{
	char *mem = ts_map(NR, TS_RW, 0);
	size_t bad;

	ts_data_write(mem, 0, NR / 2, 1);
	ts_protect(mem, 0, NR, TS_RWT);
	bad = ts_tags_zero(mem, NR / 2, NR / 2);
	bad += now_tagged(mem, 0, NR / 2, 1);
	ts_write(mem, NR / 2, NR / 2, 1);
	bad += ts_check(mem, 0, NR, 1);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

/* Beside pages in use, in their page tables: pages in swap, and none. */
static int holes(void)
{
	char *mem = ts_map(NR, TS_RW, 0);
	size_t i, bad = 0;

	madvise(mem, NR * ts_psize, MADV_NOHUGEPAGE);
	for (i = 0; i < NR; i += 4)
		ts_data_write(mem, i, 2, 1);
	for (i = 0; i < NR; i += 4)
		madvise(mem + (i + 1) * ts_psize, ts_psize, MADV_PAGEOUT);
	ksft_print_msg("%zu pages of %u in swap\n", ts_swapped(mem, 0, NR), NR);

	ts_protect(mem, 0, NR, TS_RWT);
	for (i = 0; i < NR; i += 4)
		bad += now_tagged(mem, i, 1, 1);
	for (i = 0; i < NR; i += 4) {
		bad += now_tagged(mem, i + 1, 1, 1);
		bad += ts_tags_zero(mem, i + 2, 2);
		bad += ts_expect(!ts_load(mem + (i + 2) * ts_psize),
				 "zero data in page %zu", i + 2);
	}
	ts_unmap(mem, NR);
	return ts_result(bad);
}

/* Ranges that begin and end within blocks and page tables; then the rest. */
static int partial(void)
{
	static const struct { size_t first, nr; } part[] = {
		{ 0, 1 }, { 3, 5 }, { 31, 2 }, { 95, 34 }, { 500, 30 },
		{ 1000, 511 }, { NR - 1, 1 },
	};
	char *mem = untagged(NR, 1);
	size_t i, bad = 0;

	for (i = 0; i < ARRAY_SIZE(part); i++) {
		ts_protect(mem, part[i].first, part[i].nr, TS_RWT);
		bad += now_tagged(mem, part[i].first, part[i].nr, 1);
	}
	bad += ts_data_check(mem, 0, NR, 1);
	for (i = 0; i < ARRAY_SIZE(part); i++)
		bad += ts_check(mem, part[i].first, part[i].nr, 1);

	ts_protect(mem, 0, NR, TS_RWT);
	for (i = 0; i < ARRAY_SIZE(part); i++)
		bad += ts_check(mem, part[i].first, part[i].nr, 1);
	bad += ts_tags_zero(mem, 8, 23);
	bad += ts_data_check(mem, 0, NR, 1);
	ts_tags_write(mem, 0, NR, 1);
	bad += ts_check(mem, 0, NR, 1);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

/* Every second page, so that fault-around meets pages of another mapping. */
static int stripes(void)
{
	char *mem = untagged(256, 1);
	size_t i, bad = 0;

	for (i = 0; i < 256; i += 2)
		ts_protect(mem, i, 1, TS_RWT);
	for (i = 0; i < 256; i += 2)
		bad += now_tagged(mem, i, 1, 1);
	bad += ts_data_check(mem, 0, 256, 1);
	for (i = 1; i < 256; i += 2)
		ts_protect(mem, i, 1, TS_RWT);
	for (i = 1; i < 256; i += 2)
		bad += now_tagged(mem, i, 1, 1);
	bad += ts_check(mem, 0, 256, 1);
	ts_unmap(mem, 256);
	return ts_result(bad);
}

/* mprotect() itself reserves nothing, the accesses that follow do. */
static int lazy(void)
{
	struct ts_counters before, marked, touched;
	char *mem = untagged(8 * NR, 1);
	size_t bad;

	ts_counters(&before);
	ts_protect(mem, 0, 8 * NR, TS_RWT);
	ts_counters(&marked);
	bad = ts_data_check(mem, 0, 8 * NR, 1);
	ts_counters(&touched);
	ts_unmap(mem, 8 * NR);

	/* Others may free or take tagged memory meanwhile. */
	bad += ts_usually(marked.reserved == before.reserved,
			  "mprotect() to reserve nothing, is %ld pages",
			  marked.reserved - before.reserved);
	bad += ts_usually(marked.buddy == before.buddy &&
			  marked.moved == before.moved &&
			  marked.contig == before.contig &&
			  marked.shared == before.shared,
			  "no event of reserving in mprotect()");
	bad += ts_usually(touched.reserved - marked.reserved > 0,
			  "touching to reserve storage");
	return ts_result(bad);
}

/* Blocks below @nr pages from @first, none of them twice for one page table. */
static size_t blocks_of(const char *mem, size_t nr)
{
	size_t per_table = ts_psize / 8, i, j, blocks = 0;
	struct ts_region r[32];
	int nr_regions = ts_regions(r, ARRAY_SIZE(r));

	for (i = 0; i < nr; i++) {
		size_t table = ((unsigned long)mem / ts_psize + i) / per_table;
		unsigned long pfn = ts_pfn(mem + i * ts_psize), block, cover;
		const struct ts_region *in = ts_covers(r, nr_regions, pfn);
		bool seen = false;

		if (!in) {
			blocks++;
			continue;
		}
		cover = TS_COVER * in->block_pages;
		block = pfn - (pfn - in->data_pfn) % cover;
		for (j = i; j-- > 0 && !seen;) {
			unsigned long other = ts_pfn(mem + j * ts_psize);

			if (((unsigned long)mem / ts_psize + j) / per_table != table)
				break;
			seen = other >= block && other < block + cover;
		}
		blocks += !seen;
	}
	return blocks;
}

/*
 * One fault makes accessible all pages of a page table that have their tags in
 * the same block, wherever these pages lie.
 */
static int around(void)
{
	struct ts_counters before, after;
	size_t bad, blocks, nr = 1024;
	char *mem = untagged(nr, 1);
	long faults;

	blocks = blocks_of(mem, nr);
	ts_protect(mem, 0, nr, TS_RWT);
	ts_counters(&before);
	bad = ts_data_check(mem, 0, nr, 1);
	ts_counters(&after);
	faults = after.none_fault - before.none_fault;

	ksft_print_msg("%zu pages on %zu blocks: %ld faults, %ld neighbours\n",
		       nr, blocks, faults, after.none_around - before.none_around);
	/* A page of tag storage that is moved takes a fault of its own. */
	bad += ts_expect(faults > 0, "faults");
	bad += ts_usually(faults <= (long)(blocks + blocks / 8 + 4),
			  "%zu faults or few more, not %ld", blocks, faults);
	bad += now_tagged(mem, 0, nr, 1);
	ts_unmap(mem, nr);
	return ts_result(bad);
}

/*
 * Each page is a mapping of its own, in one or two page tables, and the last one
 * comes first: no fault makes pages of other mappings accessible.
 */
static int not_beyond(void)
{
	size_t nr = 256, bad = 0, i;
	char *mem = untagged(nr, 1);
	long faults;

	for (i = 0; i < nr; i++)
		ts_protect(mem, i, 1, i % 2 ? PROT_READ | PROT_MTE : TS_RWT);
	faults = ts_vmstat("metadata_none_fault");
	for (i = nr; i-- > 0;)
		bad += ts_tags_zero(mem, i, 1);
	faults = ts_vmstat("metadata_none_fault") - faults;
	bad += ts_expect(faults >= (long)nr,
			 "a fault for each of %zu mappings, not %ld", nr, faults);
	ts_protect(mem, 0, nr, TS_RWT);
	bad += now_tagged(mem, 0, nr, 1);
	ts_unmap(mem, nr);
	return ts_result(bad);
}

/* Contiguous memory: N pages in N / 32 faults or fewer. */
static int around_huge(void)
{
	size_t huge = ts_huge_size(), nr = huge / ts_psize, bad;
	struct ts_counters before, after;
	char *mem = ts_map_huge(huge);
	long faults;

	ts_data_write(mem, 0, nr, 1);
	if (!ts_is_huge(mem)) {
		ts_unmap(mem, nr);
		return ts_skip("got no huge page");
	}
	/* Only part of it, so that the page is mapped by PTEs from now on. */
	ts_protect(mem, TS_COVER, nr - TS_COVER, TS_RWT);
	ts_counters(&before);
	bad = ts_data_check(mem, TS_COVER, nr - TS_COVER, 1);
	ts_counters(&after);
	faults = after.none_fault - before.none_fault;
	bad += ts_usually(faults > 0 &&
			  faults <= (long)((nr - TS_COVER) / TS_COVER + 2),
			  "at most %zu faults for %zu pages, not %ld",
			  (nr - TS_COVER) / TS_COVER + 2, nr - TS_COVER, faults);
	bad += now_tagged(mem, TS_COVER, nr - TS_COVER, 1);
	ts_unmap(mem, nr);
	return ts_result(bad);
}

/* A huge page that stays mapped as one: one fault. */
static int pmd_fault(void)
{
	size_t huge = ts_huge_size(), nr = huge / ts_psize, bad;
	struct ts_counters before, after;
	char *mem = ts_map_huge(huge);

	ts_data_write(mem, 0, nr, 1);
	if (!ts_is_huge(mem)) {
		ts_unmap(mem, nr);
		return ts_skip("got no huge page");
	}
	ts_protect(mem, 0, nr, TS_RWT);
	ts_counters(&before);
	bad = ts_data_check(mem, 0, nr, 1);
	ts_counters(&after);
	/* A kernel that splits the page here takes one for each block. */
	bad += ts_usually(after.none_fault - before.none_fault <=
			  (long)(nr / TS_COVER + 2),
			  "at most %zu faults for %zu pages, not %ld",
			  nr / TS_COVER + 2, nr,
			  after.none_fault - before.none_fault);
	ksft_print_msg("%ld faults for one huge page\n",
		       after.none_fault - before.none_fault);
	bad += now_tagged(mem, 0, nr, 1);
	ts_unmap(mem, nr);
	return ts_result(bad);
}

static const struct ts_case cases[] = {
	{ "data kept, tags zero, tags hold", whole, 0 },
	{ "pages not touched before", untouched, 0 },
	{ "pages in swap, and none", holes, 0 },
	{ "partial ranges", partial, 0 },
	{ "every second page", stripes, 0 },
	{ "mprotect reserves nothing, touching does", lazy, TS_NEED_COUNTERS },
	{ "one fault for the pages of a block", around,
	  TS_NEED_COUNTERS | TS_NEED_REGIONS },
	{ "a fault for each of many mappings", not_beyond, TS_NEED_COUNTERS },
	{ "N pages in N / 32 faults", around_huge,
	  TS_NEED_COUNTERS | TS_NEED_THP },
	{ "faults of a huge page", pmd_fault, TS_NEED_COUNTERS | TS_NEED_THP },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
