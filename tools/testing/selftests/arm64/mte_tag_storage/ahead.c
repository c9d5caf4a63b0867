// SPDX-License-Identifier: GPL-2.0-only
/*
 * While tag storage is full of data, it is emptied ahead of need, so that few of
 * those who get tagged pages wait for data to be moved; but not for pages that are
 * not free.
 */
#include <unistd.h>

#include "ts_common.h"

#define NR	2048
#define NEED	(TS_NEED_COUNTERS | TS_NEED_REGIONS)

static struct ts_counters before, after;
static struct ts_ballast ballast;

/* Pages that share a block. */
static size_t run;

/* Blocks that were emptied since, ahead of need and when they were needed. */
static long ahead, needed;

static void begin(void)
{
	struct ts_region region;

	ts_regions(&region, 1);
	run = TS_COVER * region.block_pages;
	ts_counters(&before);
}

static void end(const char *what)
{
	ts_counters(&after);
	ahead = after.ahead - before.ahead;
	needed = after.needed - before.needed;
	ksft_print_msg("%s: %ld blocks emptied ahead of need, %ld when needed, %ld were free\n",
		       what, ahead, needed, after.buddy - before.buddy);
}

static char *small_pages(int prot)
{
	char *mem = ts_map(NR, prot, 0);

	madvise(mem, NR * ts_psize, MADV_NOHUGEPAGE);
	return mem;
}

/* Page by page, with time for somebody else after each block. */
static size_t write_slowly(char *mem, unsigned long seed)
{
	size_t i;

	for (i = 0; i < NR; i++) {
		ts_write(mem, i, 1, seed);
		if (i % run == run - 1)
			usleep(5 * 1000);
	}
	return ts_check(mem, 0, NR, seed);
}

/* How often did the next page not share its storage, nor its neighbour's? */
static long runs_of(const char *mem)
{
	unsigned long last = 0;
	long runs = 0;
	size_t i;

	for (i = 0; i < NR; i++) {
		unsigned long now = ts_pfn(mem + i * ts_psize) / run;

		runs += now > last + 1 || now + 1 < last;
		last = now;
	}
	return runs;
}

/* A few have to wait, beside the first one of each run. */
static int neighbours(void)
{
	long blocks, runs;
	size_t bad;
	char *mem;

	ts_lend(&ballast, 4);
	mem = small_pages(TS_RWT);
	begin();
	bad = write_slowly(mem, 1);
	end("new pages");
	blocks = NR / run;
	runs = runs_of(mem);
	bad += ts_usually(ahead > blocks / 2, "%ld blocks ahead of need",
			  blocks / 2);
	bad += ts_usually(needed <= runs + blocks / 6, "%ld blocks when needed",
			  runs + blocks / 6);
	ts_unmap(mem, NR);
	bad += ts_lent_check(&ballast);
	ts_ballast_free(&ballast);
	return ts_result(bad);
}

/* Pages around have data already: nobody is going to get them. */
static int in_use(void)
{
	char *mem = ts_map_huge(NR * ts_psize);
	size_t bad = 0, i;

	ts_data_write(mem, 0, NR, 3);
	ts_lend(&ballast, 4);
	begin();
	/* Not where each huge page begins. */
	for (i = 2 * run; i < NR; i += 4 * run) {
		ts_protect(mem, i, 1, TS_RWT);
		bad += ts_tags_zero(mem, i, 1);
		ts_tags_write(mem, i, 1, 3);
		bad += ts_check(mem, i, 1, 3);
		usleep(5 * 1000);
	}
	end("pages in use");
	bad += ts_usually(needed > (long)(NR / run / 8), "blocks to be needed");
	bad += ts_usually(ahead <= needed / 4, "few blocks ahead of need");
	ts_unmap(mem, NR);
	bad += ts_lent_check(&ballast);
	ts_ballast_free(&ballast);
	return ts_result(bad);
}

static const struct ts_case cases[] = {
	{ "new pages", neighbours, NEED },
	{ "pages in use", in_use, NEED | TS_NEED_THP },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
