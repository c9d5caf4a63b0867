// SPDX-License-Identifier: GPL-2.0-only
/*
 * Anonymous folios of every size that the kernel has, allocated tagged or
 * tagged later in full and in part: each page has data and tags of its own,
 * and so has whoever had data in the tag storage that they need.
 *
 * All of it with tag storage free, half in use as data, and in use as data as
 * far as it can be. The size of the folios is looked up in /proc/kpageflags: a
 * test of large folios that gets small ones tests nothing.
 */
#include <stdlib.h>

#include "ts_common.h"

#define THP_DIR	"/sys/kernel/mm/transparent_hugepage/"
#define NEED	(TS_NEED_THP | TS_NEED_ROOT | TS_NEED_COUNTERS | \
		 TS_NEED_REGIONS)

static size_t huge, nr;

/* What was used stays until the end, so that what follows is other memory. */
static char *kept[32];
static int nr_kept;

static void keep(char *mem)
{
	if (nr_kept < (int)ARRAY_SIZE(kept))
		kept[nr_kept++] = mem;
}

static void enable(size_t kb, const char *value)
{
	char name[64];

	snprintf(name, sizeof(name), "hugepages-%zukB/enabled", kb);
	ts_thp_set(name, value);
}

static long stat_of(size_t kb, const char *name)
{
	char path[128], buf[32];

	snprintf(path, sizeof(path), THP_DIR "hugepages-%zukB/stats/%s", kb,
		 name);
	return ts_read_file(path, buf, sizeof(buf)) > 0 ? atol(buf) : -1;
}

/* How many of the folios at @mem have @pages? */
static size_t of_size(const char *mem, size_t pages)
{
	size_t i, found = 0;

	for (i = 0; i < nr; i += pages)
		found += ts_folio_pages(mem + i * ts_psize) == pages;
	return found;
}

/* Faulted in a mapping that is tagged already. */
static size_t born_tagged(size_t kb, bool spare)
{
	size_t pages = kb * 1024 / ts_psize, bad, found;
	long before = stat_of(kb, "anon_fault_alloc"), got;
	char *mem = ts_map_huge(huge);

	ts_protect(mem, 0, nr, TS_RWT);
	ts_data_write(mem, 0, nr, kb);
	bad = ts_tags_zero(mem, 0, nr);
	ts_tags_write(mem, 0, nr, kb);
	got = stat_of(kb, "anon_fault_alloc") - before;
	found = of_size(mem, pages);
	/* Where storage is short, a smaller folio is right as well. */
	bad += ts_usually(!spare || found == nr / pages,
			  "%zu folios of %zu kB, not %zu", nr / pages, kb, found);
	bad += ts_usually(!spare || got >= (long)(nr / pages),
			  "%zu folios of %zu kB allocated, not %ld", nr / pages,
			  kb, got);
	bad += ts_check(mem, 0, nr, kb);
	keep(mem);
	return bad;
}

/* Large folios with data, not tagged. */
static char *untagged(size_t kb, size_t *bad)
{
	size_t pages = kb * 1024 / ts_psize, found;
	char *mem = ts_map_huge(huge);

	ts_data_write(mem, 0, nr, kb);
	found = of_size(mem, pages);
	*bad += ts_usually(found == nr / pages, "%zu folios of %zu kB, not %zu",
			   nr / pages, kb, found);
	return mem;
}

/* Not split unless there is data in tag storage, which may be busy just then. */
static size_t still_large(const char *mem, size_t kb, bool spare)
{
	size_t pages = kb * 1024 / ts_psize, found = of_size(mem, pages);

	return ts_usually(found >= nr / pages / (spare ? 1 : 2),
			  "%zu folios of %zu kB to stay, not %zu", nr / pages,
			  kb, found);
}

static size_t tagged_whole(size_t kb, bool spare)
{
	long faults = ts_vmstat("metadata_none_fault");
	size_t bad = 0;
	char *mem;

	mem = untagged(kb, &bad);
	ts_protect(mem, 0, nr, TS_RWT);
	bad += ts_tags_zero(mem, 0, nr);
	faults = ts_vmstat("metadata_none_fault") - faults;
	bad += ts_data_check(mem, 0, nr, kb);
	ts_tags_write(mem, 0, nr, kb);
	bad += ts_check(mem, 0, nr, kb);
	bad += still_large(mem, kb, spare);

	/* What covers whole blocks takes one fault for each at most. */
	bad += ts_expect(faults > 0, "metadata-none faults");
	if (spare && kb * 1024 / ts_psize >= TS_COVER)
		bad += ts_usually(faults <= (long)(nr / TS_COVER + 1),
				  "%zu faults or less, not %ld", nr / TS_COVER,
				  faults);
	keep(mem);
	return bad;
}

/* The middle of each folio, then the last page of each, then all. */
static size_t tagged_in_part(size_t kb, bool spare)
{
	size_t pages = kb * 1024 / ts_psize, bad = 0, i, half = pages / 2;
	char *mem;

	mem = untagged(kb, &bad);
	for (i = pages / 4; i < nr; i += pages) {
		ts_protect(mem, i, half, TS_RWT);
		bad += ts_tags_zero(mem, i, half);
		ts_tags_write(mem, i, half, kb);
	}
	for (i = pages - 1; i < nr; i += pages) {
		ts_protect(mem, i, 1, TS_RWT);
		ts_tags_write(mem, i, 1, kb);
	}
	bad += ts_data_check(mem, 0, nr, kb);

	ts_protect(mem, 0, nr, TS_RWT);
	for (i = 0; i < nr; i += pages) {
		bad += ts_tags_zero(mem, i, pages / 4);
		bad += ts_check(mem, i + pages / 4, half, kb);
		bad += ts_check(mem, i + pages - 1, 1, kb);
	}
	ts_tags_write(mem, 0, nr, kb);
	bad += ts_check(mem, 0, nr, kb);
	bad += still_large(mem, kb, spare);
	keep(mem);
	return bad;
}

static int all_sizes(unsigned int quarters)
{
	static size_t (* const way[])(size_t kb, bool spare) = {
		born_tagged, tagged_whole, tagged_in_part,
	};
	long killed = ts_vmstat("oom_kill");
	struct ts_counters before, after;
	struct ts_ballast ballast = { };
	size_t bad = 0, kb, i, lent = 0;

	huge = ts_huge_size();
	nr = huge / ts_psize;
	if (quarters)
		lent = ts_lend(&ballast, quarters);
	ts_counters(&before);

	enable(huge / 1024, "never");
	for (kb = 4 * ts_psize / 1024; kb <= huge / 1024; kb *= 2) {
		size_t was = bad;

		enable(kb, "madvise");
		for (i = 0; i < ARRAY_SIZE(way); i++)
			bad += way[i](kb, !quarters);
		enable(kb, "never");
		if (bad > was)
			ksft_print_msg("wrong with folios of %zu kB\n", kb);
	}
	enable(huge / 1024, "inherit");

	ts_counters(&after);
	if (quarters) {
		ksft_print_msg("%zu pages of data in tag storage, %ld moved\n",
			       lent, after.moved - before.moved);
		/* Not each of the blocks, but some for each size. */
		bad += ts_expect(after.moved - before.moved >
				 (long)(nr_kept * nr / TS_COVER * quarters / 16),
				 "data to be moved out of tag storage");
		bad += ts_lent_check(&ballast);
		ts_ballast_free(&ballast);
	}
	while (nr_kept)
		ts_unmap(kept[--nr_kept], nr);
	bad += ts_expect(ts_vmstat("oom_kill") == killed, "no OOM kill");
	return ts_result(bad);
}

static int storage_free(void)
{
	return all_sizes(0);
}

static int storage_half(void)
{
	return all_sizes(2);
}

static int storage_used(void)
{
	return all_sizes(4);
}

static const struct ts_case cases[] = {
	{ "tag storage free", storage_free, NEED },
	{ "tag storage half in use", storage_half, NEED },
	{ "tag storage in use", storage_used, NEED },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
