// SPDX-License-Identifier: GPL-2.0-only
/*
 * A page that lies in tag storage, and a page that has its tags just there, are
 * both data of one mapping that becomes tagged. Whichever of them is accessed
 * first: what lies in tag storage is moved out of it, neither waits for the
 * other, and both keep their data and hold tags.
 */
#include "ts_common.h"

#define PAIRS	8
#define SEED	9

static struct ts_ballast ballast;
static struct ts_region regions[32];
static int nr_regions;

static bool in_storage(size_t page)
{
	return ts_storage_of(regions, nr_regions,
			     ts_pfn(ballast.mem + page * ts_psize));
}

/* Fill memory, so that tag storage is in use. */
static void fill(void)
{
	nr_regions = ts_regions(regions, ARRAY_SIZE(regions));
	ts_ballast_fill(&ballast, ts_meminfo("MetadataTotal") * 1024 /
				  (long)ts_psize / 4);
}

static size_t touch(size_t page)
{
	size_t bad;

	bad = ts_data_check(ballast.mem, page, 1, SEED);
	bad += ts_tags_zero(ballast.mem, page, 1);
	ts_tags_write(ballast.mem, page, 1, SEED);
	return bad + ts_check(ballast.mem, page, 1, SEED);
}

static size_t both(size_t storage, size_t covered, bool storage_first)
{
	size_t bad;

	ts_data_write(ballast.mem, storage, 1, SEED);
	ts_data_write(ballast.mem, covered, 1, SEED);
	ts_protect(ballast.mem, storage, 1, TS_RWT);
	ts_protect(ballast.mem, covered, 1, TS_RWT);
	bad = ts_usually(in_storage(storage), "mprotect() to move nothing");
	bad += touch(storage_first ? storage : covered);
	bad += touch(storage_first ? covered : storage);
	bad += ts_check(ballast.mem, storage, 1, SEED);
	bad += ts_check(ballast.mem, covered, 1, SEED);
	bad += ts_expect(!in_storage(storage) && !in_storage(covered),
			 "no tagged page in tag storage");
	return bad;
}

static int touch_pairs(bool storage_first)
{
	size_t storage = 0, covered, bad = 0;
	int nr;

	fill();
	for (nr = 0; nr < PAIRS; nr++, storage++) {
		if (!ts_ballast_pair(&ballast, &storage, &covered))
			break;
		bad += both(storage, covered, storage_first);
	}
	ts_ballast_free(&ballast);
	ksft_print_msg("%d pairs\n", nr);
	if (!nr)
		return ts_skip("no tag storage came into use as data");
	return ts_result(bad);
}

static int covered_first(void)
{
	return touch_pairs(false);
}

static int storage_first(void)
{
	return touch_pairs(true);
}

/*
 * Everything at once, in one mapping, from both sides of where tag storage came
 * into use: each page may be the storage of another one.
 */
static int whole_mapping(void)
{
	struct ts_counters before, after;
	size_t i, nr = 2048, bad = 0, first = 0, in = 0;

	fill();
	while (first < ballast.nr && !in_storage(first))
		first++;
	first = first > nr / 2 ? first - nr / 2 : 0;
	if (first + nr > ballast.nr) {
		ts_ballast_free(&ballast);
		return ts_skip("no tag storage came into use as data");
	}
	for (i = first; i < first + nr; i++)
		in += in_storage(i);
	ts_data_write(ballast.mem, first, nr, SEED);
	ts_protect(ballast.mem, first, nr, TS_RWT);
	ts_counters(&before);
	for (i = first; i < first + nr; i++)
		bad += touch(i);
	ts_counters(&after);
	bad += ts_check(ballast.mem, first, nr, SEED);
	for (i = first; i < first + nr; i++)
		bad += ts_expect(!in_storage(i), "no tagged page in tag storage");
	ksft_print_msg("%zu of %zu pages in tag storage, %ld blocks moved\n", in,
		       nr, after.moved - before.moved);
	bad += ts_usually(after.moved > before.moved, "data to be moved");
	ts_ballast_free(&ballast);
	return ts_result(bad);
}

#define NEED	(TS_NEED_COUNTERS | TS_NEED_REGIONS)

static const struct ts_case cases[] = {
	{ "covered page first", covered_first, NEED },
	{ "page in tag storage first", storage_first, NEED },
	{ "all of a mapping", whole_mapping, NEED },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
