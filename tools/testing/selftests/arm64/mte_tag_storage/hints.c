// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory that is allocated for tags gets its tag storage along with it: its
 * first access takes no second fault for that, whether the storage is free or
 * holds data. Without that nothing would be lost, so only counters tell.
 *
 * The storage of a huge page is taken ahead only where that costs little.
 */

#include "ts_common.h"

#define NR	512
#define ROUNDS	16
#define TAGGED	64
#define NEED	(TS_NEED_COUNTERS | TS_NEED_REGIONS)

static struct ts_counters before;
static struct ts_ballast ballast;

static void begin(void)
{
	ts_counters(&before);
}

/* Storage of a page that was just used may be busy: a few faults are right. */
static size_t no_faults(const char *what, long pages)
{
	struct ts_counters after;
	long faults;

	ts_counters(&after);
	faults = after.none_fault - before.none_fault;
	ksft_print_msg("%s: %ld pages, %ld faults, %ld blocks free, %ld moved\n",
		       what, pages, faults, after.buddy - before.buddy,
		       after.moved - before.moved);
	return ts_usually(faults <= pages / 256,
			  "no metadata-none faults for %s, not %ld", what, faults);
}

static char *small_pages(size_t nr, int prot)
{
	char *mem = ts_map(nr, prot, 0);

	madvise(mem, nr * ts_psize, MADV_NOHUGEPAGE);
	return mem;
}

static size_t first_write(void)
{
	char *mem = small_pages(NR, TS_RWT);
	size_t bad;

	begin();
	ts_write(mem, 0, NR, 1);
	bad = no_faults("pages written first", NR);
	bad += ts_check(mem, 0, NR, 1);
	ts_unmap(mem, NR);
	return bad;
}

static size_t first_read(void)
{
	char *mem = small_pages(NR, TS_RWT);
	size_t bad = 0, i;

	for (i = 0; i < NR; i++)
		bad += ts_expect(!ts_load(mem + i * ts_psize), "zero data");
	begin();
	ts_write(mem, 0, NR, 2);
	bad += no_faults("pages read first", NR);
	bad += ts_check(mem, 0, NR, 2);
	ts_unmap(mem, NR);
	return bad;
}

static int copy(void *arg)
{
	char *mem = arg;
	size_t bad;

	begin();
	ts_write(mem, 0, NR, 4);
	bad = no_faults("copies after fork()", NR);
	return bad + ts_check(mem, 0, NR, 4) ? 1 : 0;
}

static size_t forked(void)
{
	char *mem = small_pages(NR, TS_RWT);
	size_t bad;

	ts_write(mem, 0, NR, 3);
	bad = ts_child(copy, mem, 60) != 0;
	bad += ts_check(mem, 0, NR, 3);
	ts_unmap(mem, NR);
	return bad;
}

static size_t swapped(void)
{
	char *mem = small_pages(NR, TS_RWT);
	size_t bad;

	ts_write(mem, 0, NR, 5);
	bad = ts_expect(ts_pageout(mem, 0, NR) > NR / 2, "pages in swap");
	begin();
	bad += ts_check(mem, 0, NR, 5);
	bad += no_faults("pages read from swap", NR);
	ts_unmap(mem, NR);
	return bad;
}

static int small(unsigned int quarters)
{
	struct ts_counters after;
	size_t bad = 0;
	long start;

	if (quarters)
		ts_lend(&ballast, quarters);
	start = ts_vmstat("metadata_reserve_moved");
	bad += first_write();
	bad += first_read();
	bad += forked();
	if (!ts_missing(TS_NEED_SWAP))
		bad += swapped();
	ts_counters(&after);
	if (quarters) {
		bad += ts_usually(after.moved > start, "data to be moved");
		bad += ts_lent_check(&ballast);
		ts_ballast_free(&ballast);
	}
	return ts_result(bad);
}

static int storage_free(void)
{
	return small(0);
}

static int storage_used(void)
{
	return small(4);
}

/* A huge page that is tagged from the start is mapped as one, accessible. */
static int huge_free(void)
{
	size_t huge = ts_huge_size(), nr = huge / ts_psize, bad;
	char *mem = ts_map_huge(huge);

	ts_protect(mem, 0, nr, TS_RWT);
	begin();
	ts_data_write(mem, 0, nr, 1);
	bad = no_faults("huge page", 1);
	bad += ts_usually(ts_is_huge(mem), "a huge page");
	bad += ts_tags_zero(mem, 0, nr);
	ts_tags_write(mem, 0, nr, 1);
	bad += ts_check(mem, 0, nr, 1);
	ts_unmap(mem, nr);
	return ts_result(bad);
}

/* It is mapped without its storage, rather than moving data of others. */
static int huge_used(void)
{
	size_t huge = ts_huge_size(), nr = huge / ts_psize, bad;
	struct ts_counters after;
	char *mem;

	ts_lend(&ballast, 4);
	mem = ts_map_huge(huge);
	ts_protect(mem, 0, nr, TS_RWT);
	begin();
	bad = ts_expect(!madvise(mem, huge, MADV_POPULATE_WRITE),
			"MADV_POPULATE_WRITE to work");
	ts_counters(&after);
	bad += ts_expect(ts_is_huge(mem), "a huge page");
	bad += ts_usually(after.moved == before.moved,
			  "nothing moved for a huge page, not %ld blocks",
			  after.moved - before.moved);
	bad += ts_tags_zero(mem, 0, nr);
	ts_write(mem, 0, nr, 1);
	bad += ts_check(mem, 0, nr, 1);
	ts_unmap(mem, nr);
	bad += ts_lent_check(&ballast);
	ts_ballast_free(&ballast);
	return ts_result(bad);
}

static size_t some_tagged(unsigned long seed)
{
	char *mem = small_pages(TAGGED, TS_RWT);
	size_t bad;

	ts_write(mem, 0, TAGGED, seed);
	bad = ts_check(mem, 0, TAGGED, seed);
	ts_unmap(mem, TAGGED);
	return bad;
}

/*
 * A page of tag storage is not handed out for tags, right after others got such
 * pages for data on this CPU, and right after these were freed: it must not be
 * on this CPU's list of free pages.
 */
static int after_untagged(void)
{
	long free = ts_vmstat("nr_free_metadata"), step = free / (2 * ROUNDS);
	size_t bad = 0, i, lent = 0;

	ts_run_on(0);
	begin();
	for (i = 0; i < ROUNDS; i++) {
		size_t last;

		free -= step;
		if (!ts_ballast_fill(&ballast, free))
			break;
		bad += some_tagged(i);
		last = ballast.nr - TAGGED;
		lent += ts_in_storage(ballast.mem + last * ts_psize, TAGGED);
		madvise(ballast.mem + last * ts_psize, TAGGED * ts_psize,
			MADV_DONTNEED);
		bad += some_tagged(i);
	}
	ksft_print_msg("%zu times, %zu pages of data from tag storage\n", i, lent);
	bad += ts_expect(lent > ROUNDS * TAGGED / 4,
			 "data to come from tag storage");
	bad += no_faults("pages beside data that comes and goes",
			 2 * i * TAGGED);
	ts_ballast_free(&ballast);
	return ts_result(bad);
}

/* The same after data is let go while there is much other memory. */
static int after_lent(void)
{
	size_t bad = 0, i, j, freed = 0, rounds = 0;

	ts_run_on(0);
	ts_lend(&ballast, 4);
	begin();
	for (i = 0; i + TAGGED <= ballast.nr && rounds < ROUNDS; i += TAGGED) {
		char *mem = ballast.mem + i * ts_psize;
		size_t lent = 0;

		for (j = 0; j < TAGGED; j++)
			lent += !!ts_pfn(mem + j * ts_psize);
		if (lent < TAGGED)
			continue;
		madvise(mem, TAGGED * ts_psize, MADV_DONTNEED);
		ballast.lent -= lent;
		freed += lent;
		bad += some_tagged(i);
		rounds++;
	}
	ksft_print_msg("%zu pages of data let go\n", freed);
	bad += ts_expect(rounds == ROUNDS, "%d times, not %zu", ROUNDS, rounds);
	bad += no_faults("pages after data was let go", rounds * TAGGED);
	bad += ts_lent_check(&ballast);
	ts_ballast_free(&ballast);
	return ts_result(bad);
}

static const struct ts_case cases[] = {
	{ "storage free", storage_free, NEED },
	{ "storage in use", storage_used, NEED },
	{ "huge page, storage free", huge_free, NEED | TS_NEED_THP },
	{ "huge page, storage in use", huge_used, NEED | TS_NEED_THP },
	{ "beside data that comes and goes", after_untagged, NEED },
	{ "after data was let go", after_lent, NEED },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
