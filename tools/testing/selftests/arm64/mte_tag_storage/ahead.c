// SPDX-License-Identifier: GPL-2.0-only
/*
 * While tag storage is full of data, it is emptied ahead of need, so that few of
 * those who get tagged pages wait for data to be moved; but not for pages that are
 * not free.
 */
#include <stdlib.h>
#include <unistd.h>

#include "ts_common.h"

#define NR	2048
/* Pages that are freed, and how many of them are used again at once. */
#define NR_FREED	1024
#define NR_AGAIN	448
#define ROUNDS		3
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

static char *small_pages(size_t nr, int prot)
{
	char *mem = ts_map(nr, prot, 0);

	madvise(mem, nr * ts_psize, MADV_NOHUGEPAGE);
	return mem;
}

struct place {
	unsigned long pfn;
	size_t page;
};

static int by_pfn(const void *a, const void *b)
{
	unsigned long x = ((const struct place *)a)->pfn;
	unsigned long y = ((const struct place *)b)->pfn;

	return (x > y) - (x < y);
}

/* Who allocates then gets what was freed last first: upwards, or downwards. */
static void free_pages(bool upwards)
{
	static struct place place[NR_FREED];
	char *mem = small_pages(NR_FREED, TS_RW);
	size_t i;

	ts_write(mem, 0, NR_FREED, 2);
	ts_drain();
	for (i = 0; i < NR_FREED; i++)
		place[i] = (struct place){ ts_pfn(mem + i * ts_psize), i };
	qsort(place, NR_FREED, sizeof(*place), by_pfn);
	for (i = 0; i < NR_FREED; i++) {
		size_t next = upwards ? NR_FREED - 1 - i : i;

		madvise(mem + place[next].page * ts_psize, ts_psize, MADV_DONTNEED);
	}
	ts_unmap(mem, NR_FREED);
}

/* Page by page, with time for somebody else after each block. */
static size_t write_slowly(char *mem, unsigned long seed)
{
	size_t i;

	for (i = 0; i < NR_AGAIN; i++) {
		ts_write(mem, i, 1, seed);
		if (i % run == run - 1)
			usleep(5 * 1000);
	}
	return ts_check(mem, 0, NR_AGAIN, seed);
}

/* Blocks that got their first page beside the block before, or elsewhere. */
static long beside, elsewhere;

static void count_ways(const char *mem)
{
	long block[NR_AGAIN];
	size_t i, j;

	for (i = 0; i < NR_AGAIN; i++) {
		block[i] = ts_pfn(mem + i * ts_psize) / run;
		for (j = 0; j < i && block[j] != block[i]; j++)
			;
		if (j < i)
			continue;
		if (i && labs(block[i] - block[i - 1]) == 1)
			beside++;
		else
			elsewhere++;
	}
}

/* Only few have to wait, but for those elsewhere. */
static int one_way(bool upwards)
{
	char *mem[ROUNDS];
	size_t bad = 0, i;
	long most;

	ts_lend(&ballast, 4);
	beside = 0;
	elsewhere = 0;
	begin();
	for (i = 0; i < ROUNDS; i++) {
		free_pages(upwards);
		mem[i] = small_pages(NR_AGAIN, TS_RWT);
		bad += write_slowly(mem[i], 1 + i);
		count_ways(mem[i]);
	}
	end(upwards ? "upwards" : "downwards");
	ksft_print_msg("%ld beside the block before, %ld elsewhere\n", beside,
		       elsewhere);
	most = elsewhere + beside / 5;
	bad += ts_usually(beside > elsewhere, "blocks beside each other");
	bad += ts_usually(ahead > beside / 2, "blocks emptied ahead of need");
	bad += ts_usually(needed <= most, "%ld blocks when needed", most);
	for (i = 0; i < ROUNDS; i++)
		ts_unmap(mem[i], NR_AGAIN);
	bad += ts_lent_check(&ballast);
	ts_ballast_free(&ballast);
	return ts_result(bad);
}

static int upwards(void)
{
	return one_way(true);
}

static int downwards(void)
{
	return one_way(false);
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
	{ "upwards", upwards, NEED },
	{ "downwards", downwards, NEED },
	{ "pages in use", in_use, NEED | TS_NEED_THP },
};

int main(void)
{
	/* What is known of the way through memory is known per CPU. */
	ts_run_on(0);
	return ts_main(cases, ARRAY_SIZE(cases));
}
