// SPDX-License-Identifier: GPL-2.0-only
/*
 * A page of a PROT_MTE mapping starts with zero data and zero tags, and holds
 * the data and the tags that are written to it, wherever in memory it lies.
 *
 * Tag storage that was not taken out of the page allocator shows here as tags
 * that change, stale tags or corrupt data.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "ts_common.h"

#define NR	1024

static sigjmp_buf env;
static struct ts_region regions[32];

/* Write to a new page before its tags are read. */
static int write_first(void)
{
	char *mem = ts_map(NR, TS_RWT, 0);
	size_t i, bad = 0;

	for (i = 0; i < NR; i++)
		ts_store(mem + i * ts_psize, 1);
	bad += ts_tags_zero(mem, 0, NR);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

/* Write a tag as the first access. */
static int tag_first(void)
{
	char *mem = ts_map(NR, TS_RWT, 0);
	size_t i, bad = 0;

	for (i = 0; i < NR; i++)
		ts_stg(mem + i * ts_psize + TS_GRANULE, 5);
	for (i = 0; i < NR; i++) {
		char *p = mem + i * ts_psize;

		bad += ts_ldg(p) != 0 || ts_ldg(p + TS_GRANULE) != 5 ||
		       ts_ldg(p + 2 * TS_GRANULE) != 0;
	}
	bad = ts_expect(!bad, "no neighbour of a granule to change, %zu do", bad);
	bad += ts_data_zero(mem, 0, NR);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

static int hold(int flags)
{
	char *mem = ts_map(NR, TS_RWT, flags);
	size_t bad;

	bad = ts_tags_zero(mem, 0, NR);
	bad += ts_data_zero(mem, 0, NR);
	ts_write(mem, 0, NR, 1);
	bad += ts_check(mem, 0, NR, 1);
	ts_write(mem, 0, NR, 2);
	bad += ts_check(mem, 0, NR, 2);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

static int hold_private(void)
{
	return hold(MAP_PRIVATE);
}

static int hold_shared(void)
{
	return hold(MAP_SHARED);
}

static int hold_populate(void)
{
	return hold(MAP_PRIVATE | MAP_POPULATE);
}

/* The next owner of a page finds zero tags, by way of an untagged owner too. */
static int next_owner(void)
{
	size_t bad = 0;
	char *mem;
	int i;

	for (i = 0; i < 6; i++) {
		mem = ts_map(NR, TS_RWT, 0);
		bad += ts_tags_zero(mem, 0, NR);
		ts_write(mem, 0, NR, i);
		ts_unmap(mem, NR);

		if (i & 1)
			continue;
		mem = ts_map(NR, TS_RW, 0);
		ts_data_write(mem, 0, NR, i);
		bad += ts_data_check(mem, 0, NR, i);
		ts_unmap(mem, NR);
	}
	return ts_result(bad);
}

/* What lies beside tagged memory keeps its data. */
static int beside(void)
{
	char *data = ts_map(NR, TS_RW, 0);
	char *tagged = ts_map(NR, TS_RWT, 0);
	size_t i, bad;

	for (i = 0; i < NR; i += 16) {
		ts_data_write(data, i, 16, 7);
		ts_write(tagged, i, 16, 8);
	}
	bad = ts_data_check(data, 0, NR, 7);
	bad += ts_check(tagged, 0, NR, 8);
	ts_unmap(data, NR);
	bad += ts_check(tagged, 0, NR, 8);
	ts_unmap(tagged, NR);
	return ts_result(bad);
}

static void on_segv(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	siglongjmp(env, info->si_code);
}

/* An access by a pointer with another tag is refused. */
static int mismatch(void)
{
	struct sigaction sa = { .sa_sigaction = on_segv, .sa_flags = SA_SIGINFO };
	char *mem = ts_map(1, TS_RWT, 0);
	size_t bad;
	int code;

	ts_stg(mem, 3);
	sigaction(SIGSEGV, &sa, NULL);
	code = sigsetjmp(env, 1);
	if (!code)
		ts_store(ts_ptr(mem, 4), 1);
	signal(SIGSEGV, SIG_DFL);

	bad = ts_expect(code == SEGV_MTESERR, "SEGV_MTESERR, is %d", code);
	ts_store(ts_ptr(mem, 3), 2);
	bad += ts_expect(ts_load(ts_ptr(mem, 3)) == 2, "2 to be read");
	ts_unmap(mem, 1);
	return ts_result(bad);
}

/* Each page that is tagged has its storage. */
/* Storage that is never lent need not be reserved either. Root only, else 0. */
static long pinned_pages(void)
{
	struct ts_region r[32];
	int i, nr = ts_regions(r, 32);
	long pinned = 0;

	for (i = 0; i < nr; i++)
		pinned += r[i].pinned * r[i].block_pages;
	return pinned;
}

static int reserved_grows(void)
{
	struct ts_counters before, after;
	long least;
	char *mem;
	size_t bad;

	ts_counters(&before);
	mem = ts_map(8 * NR, TS_RWT, 0);
	ts_write(mem, 0, 8 * NR, 1);
	ts_counters(&after);

	least = 8 * NR / TS_COVER - pinned_pages();
	bad = ts_expect(after.reserved >= least,
			"%ld pages of storage or more for %u pages, not %ld",
			least, 8 * NR, after.reserved);
	bad += ts_expect(after.reserved > before.reserved,
			 "nr_metadata_reserved to grow");
	bad += ts_check(mem, 0, 8 * NR, 1);
	ts_unmap(mem, 8 * NR);
	return ts_result(bad);
}

/* The huge page of the ballast that @pfn is part of, or NULL. */
static char *huge_at(const struct ts_ballast *b, unsigned long pfn)
{
	size_t size = ts_huge_size(), nr = size / ts_psize;
	char *mem = (char *)(((unsigned long)b->bulk + size - 1) & ~(size - 1));
	char *end = b->bulk + b->bulk_nr * ts_psize;

	for (pfn -= pfn % nr; mem + size <= end; mem += size)
		if (ts_pfn(mem) == pfn)
			return mem;
	return NULL;
}

/*
 * Storage that ends within a block holds the tags of the last pages, and is
 * never lent: they wait for nothing.
 */
static size_t behind_blocks(const struct ts_ballast *b,
			    const struct ts_region *r)
{
	unsigned long pfn = r->data_pfn + TS_COVER * r->block_pages * r->blocks;
	size_t nr = ts_huge_size() / ts_psize, page, last, bad;
	long faults;
	char *mem;

	mem = pfn < r->data_pfn + r->data_pages ? huge_at(b, pfn) : NULL;
	if (!mem)
		return 0;
	page = pfn % nr;
	last = (r->data_pfn + r->data_pages - 1) % nr + 1;
	last = last > page ? last : nr;
	ksft_print_msg("%zu pages behind the last block\n", last - page);
	ts_data_write(mem, 0, nr, 1);
	ts_protect(mem, page, last - page, TS_RWT);
	faults = ts_vmstat("metadata_none_fault");
	bad = ts_tags_zero(mem, page, last - page);
	ts_tags_write(mem, page, last - page, 1);
	bad += ts_check(mem, page, last - page, 1);
	bad += ts_data_check(mem, 0, nr, 1);
	faults = ts_vmstat("metadata_none_fault") - faults;
	return bad + ts_expect(!faults, "no fault for storage, not %ld", faults);
}

/* Those that hold their storage, be that lent at times or never. */
static unsigned long tagged_pages(void)
{
	static struct ts_region r[32];
	int i, nr = ts_regions(r, ARRAY_SIZE(r));
	unsigned long sum = 0;

	for (i = 0; i < nr; i++)
		sum += r[i].tagged_pages;
	return sum;
}

/* A huge page with a part in the region has storage, and gives it back. */
static size_t across_end(const struct ts_ballast *b, const struct ts_region *r)
{
	unsigned long end = r->data_pfn + r->data_pages;
	size_t nr = ts_huge_size() / ts_psize, bad;
	unsigned long tagged = tagged_pages();
	double give_up = ts_now() + 10;
	char *mem;

	mem = end % nr ? huge_at(b, end) : NULL;
	if (!mem)
		return 0;
	ksft_print_msg("a huge page across the end of a region\n");
	ts_data_write(mem, 0, nr, 1);
	ts_protect(mem, 0, nr, TS_RWT);
	bad = ts_tags_zero(mem, 0, nr);
	bad += ts_data_check(mem, 0, nr, 1);
	ts_tags_write(mem, 0, nr, 1);
	bad += ts_check(mem, 0, nr, 1);
	madvise(mem, nr * ts_psize, MADV_DONTNEED);
	while (tagged_pages() > tagged && ts_now() < give_up)
		usleep(10 * 1000);
	return bad + ts_expect(tagged_pages() <= tagged,
			       "%lu pages with storage as before, not %lu",
			       tagged, tagged_pages());
}

/* With all memory in use, some of it lies there. */
static int region_ends(void)
{
	int i, nr = ts_regions(regions, ARRAY_SIZE(regions));
	struct ts_ballast ballast = { };
	size_t bad = 0;

	ts_ballast_fill(&ballast, ts_vmstat("nr_free_metadata"));
	for (i = 0; i < nr; i++) {
		bad += behind_blocks(&ballast, &regions[i]);
		bad += across_end(&ballast, &regions[i]);
	}
	ts_ballast_free(&ballast);
	return ts_result(bad);
}

static const struct ts_case cases[] = {
	{ "zero tags after the first write", write_first, 0 },
	{ "zero data and tags beside the first tag", tag_first, 0 },
	{ "private mapping holds data and tags", hold_private, 0 },
	{ "shared mapping holds data and tags", hold_shared, 0 },
	{ "populated mapping holds data and tags", hold_populate, 0 },
	{ "next owner starts with zero tags", next_owner, 0 },
	{ "untagged memory beside keeps its data", beside, 0 },
	{ "access with a wrong tag is refused", mismatch, 0 },
	{ "storage is reserved", reserved_grows, TS_NEED_COUNTERS },
	{ "ends of regions", region_ends, TS_NEED_ROOT | TS_NEED_COUNTERS |
	  TS_NEED_REGIONS | TS_NEED_THP },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
