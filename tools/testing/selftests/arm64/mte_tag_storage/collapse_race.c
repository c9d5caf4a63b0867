// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages are collapsed into huge pages, by MADV_COLLAPSE and by khugepaged, and
 * split again, while threads write to them and while they become tagged. Each
 * thread knows what is in its pages and verifies it all the time: data from the
 * start, zero tags right after mprotect(PROT_MTE), its own tags from then on.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <unistd.h>

#include "ts_common.h"

#define NEED	(TS_NEED_THP | TS_NEED_ROOT | TS_NEED_COUNTERS | \
		 TS_NEED_REGIONS)
#define HUGE_PAGES	2
#define ROUNDS		4
#define GRACE		30.0	/* seconds for one huge page */

/* Few, as khugepaged runs only while a CPU has nothing better to do. */
static size_t writers;

static size_t huge, nr;
static char *mem;
static bool tagged, stop, by_khugepaged;
static size_t bad_pages, collapsed;

static bool get(const bool *flag)
{
	return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

static void set(bool *flag, bool value)
{
	__atomic_store_n(flag, value, __ATOMIC_RELEASE);
}

/* The first page of each huge page is nobody's. */
static bool owned(size_t page, size_t me)
{
	return page % (nr / HUGE_PAGES) && page % writers == me;
}

static void *writer(void *arg)
{
	size_t me = (size_t)arg, page, bad = 0;
	bool have_tags = false;
	unsigned long seed;

	for (seed = 1; !get(&stop); seed++) {
		bool want_tags = get(&tagged);

		for (page = 0; page < nr; page++) {
			if (!owned(page, me))
				continue;
			if (have_tags)
				bad += ts_check(mem, page, 1, seed);
			else
				bad += ts_data_check(mem, page, 1, seed);
			if (want_tags && !have_tags)
				bad += ts_tags_zero(mem, page, 1);
			ts_data_write(mem, page, 1, seed + 1);
			if (want_tags)
				ts_tags_write(mem, page, 1, seed + 1);
		}
		have_tags = want_tags;
	}
	for (page = 0; page < nr; page++) {
		if (!owned(page, me))
			continue;
		bad += ts_data_check(mem, page, 1, seed);
		if (have_tags)
			bad += ts_tags_check(mem, page, 1, seed);
	}
	__atomic_fetch_add(&bad_pages, bad, __ATOMIC_RELAXED);
	return NULL;
}

static bool all_huge(void)
{
	return ts_smaps(mem, "AnonHugePages:") ==
	       (long)(nr * ts_psize / 1024);
}

/* All of it collapsed once, if need be with some patience; then split. */
static void collapse(void)
{
	double end = ts_now() + GRACE;
	size_t i;

	while (!all_huge()) {
		if (get(&stop) || ts_now() > end)
			return;
		if (!by_khugepaged)
			madvise(mem, nr * ts_psize, MADV_COLLAPSE);
		else
			usleep(5000);
	}
	collapsed++;
	/* The page in front is taken out and comes back by itself. */
	for (i = 0; i < HUGE_PAGES; i++) {
		madvise(mem + i * huge, ts_psize, MADV_DONTNEED);
		ts_store(mem + i * huge, 1);
	}
}

static void *collapser(void *arg)
{
	(void)arg;
	while (!get(&stop))
		collapse();
	return NULL;
}

/* Base pages become tagged amid all that. */
static void one_round(void)
{
	pthread_t thread[4];
	size_t i, before;

	mem = ts_map_huge(HUGE_PAGES * huge);
	madvise(mem, nr * ts_psize, MADV_NOHUGEPAGE);
	ts_data_write(mem, 0, nr, 1);
	madvise(mem, nr * ts_psize, MADV_HUGEPAGE);
	tagged = false;
	stop = false;
	before = collapsed;
	for (i = 0; i <= writers; i++) {
		if (pthread_create(&thread[i], NULL,
				   i < writers ? writer : collapser, (void *)i))
			ksft_exit_fail_msg("no thread\n");
	}
	usleep(20 * 1000);
	ts_protect(mem, 0, nr, TS_RWT);
	set(&tagged, true);
	/* Some work after that, and a huge page from tagged ones. */
	usleep(20 * 1000);
	for (i = 0; i < 500 && __atomic_load_n(&collapsed, __ATOMIC_RELAXED) <
	     before + 2; i++)
		usleep(20 * 1000);
	set(&stop, true);
	for (i = 0; i <= writers; i++)
		pthread_join(thread[i], NULL);
	ts_unmap(mem, nr);
}

static size_t race(void)
{
	unsigned int rounds = by_khugepaged ? ROUNDS / 2 : ROUNDS, i;
	double start = ts_now();

	writers = by_khugepaged ? 1 : 2;
	huge = ts_huge_size();
	nr = HUGE_PAGES * huge / ts_psize;
	bad_pages = 0;
	collapsed = 0;
	for (i = 0; i < rounds && !bad_pages && collapsed >= i; i++)
		one_round();
	ksft_print_msg("%u rounds, collapsed %zu times in %.1f s\n", i,
		       collapsed, ts_now() - start);
	return bad_pages +
	       ts_expect(collapsed >= rounds,
			 "to be collapsed at least once in each round");
}

static int advised(void)
{
	by_khugepaged = false;
	return ts_result(race());
}

static int advised_used(void)
{
	by_khugepaged = false;
	return ts_result(ts_while_lent(race));
}

static void by_daemon(void)
{
	by_khugepaged = true;
	ts_khugepaged_hurry();
}

static int unasked(void)
{
	by_daemon();
	return ts_result(race());
}

static int unasked_used(void)
{
	by_daemon();
	return ts_result(ts_while_lent(race));
}

static const struct ts_case cases[] = {
	{ "MADV_COLLAPSE", advised, NEED },
	{ "MADV_COLLAPSE, tag storage in use", advised_used, NEED },
	{ "khugepaged", unasked, NEED },
	{ "khugepaged, tag storage in use", unasked_used, NEED },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
