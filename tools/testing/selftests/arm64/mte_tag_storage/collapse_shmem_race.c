// SPDX-License-Identifier: GPL-2.0-only
/*
 * While shared memory is collapsed into a huge page by one mapping, pages of it
 * become tagged by another: mprotect(PROT_MTE), and a first access that is to a
 * tag. Each page has zero tags and its data then, and keeps the tags that it
 * gets, in both mappings; as do those that were tagged before. In the end it is
 * one huge page with all of that.
 *
 * Where the kernel can do that, a step of the collapse takes so long that each
 * round meets it: pages being unmapped one by one, being copied, and the huge
 * page before it takes their place. By repetition otherwise.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <unistd.h>

#include "ts_common.h"

#define NEED	(TS_NEED_THP | TS_NEED_ROOT | TS_NEED_COUNTERS | \
		 TS_NEED_REGIONS | TS_NEED_CPUS)
#define ROUNDS	4
#define GRACE	30.0	/* seconds for one huge page */
#define SEED	1

/* A function that collapse_file() calls, for each page or once. */
struct step {
	const char *function;
	unsigned int usec;
};

static const struct step steps[] = {
	{ "try_to_unmap", 200 },
	{ "__metadata_copy_prepare", 200 },
	{ "folio_add_lru", 20000 },
};

static size_t huge, nr;
static int fd;
static char *plain, *other;
static bool by_khugepaged, lent, slow, over;
static struct ts_ballast ballast;
static pthread_barrier_t barrier;

static bool is_over(void)
{
	return __atomic_load_n(&over, __ATOMIC_ACQUIRE);
}

/* Again and again: a page that is being accessed is busy. */
static void collapse_advised(void)
{
	double end = ts_now() + GRACE;

	while (madvise(plain, huge, MADV_COLLAPSE) && ts_now() < end)
		usleep(1000);
}

static void collapse_unasked(void)
{
	double end = ts_now() + GRACE;

	ts_thp_set("shmem_enabled", "advise");
	madvise(plain, huge, MADV_HUGEPAGE);
	while (ts_folio_pages(plain) != nr && ts_now() < end) {
		ts_drain();
		usleep(5000);
		ts_load(plain);
	}
	ts_thp_set("shmem_enabled", "never");
}

static void *collapser(void *arg)
{
	(void)arg;
	ts_run_on(1);
	ts_be_slow(!by_khugepaged);
	pthread_barrier_wait(&barrier);
	if (by_khugepaged)
		collapse_unasked();
	else
		collapse_advised();
	__atomic_store_n(&over, true, __ATOMIC_RELEASE);
	ts_be_slow(false);
	return NULL;
}

/* Base pages in both mappings; a quarter of them is tagged from the start. */
static void begin(size_t tagged)
{
	ts_thp_set("shmem_enabled", "never");
	fd = ts_memfd(huge);
	plain = ts_map_fd_huge(fd, TS_RW);
	other = ts_map_fd_huge(fd, TS_RW);
	if (lent)
		ts_ballast_near(&ballast);
	ts_data_write(plain, 0, nr, SEED);
	if (lent)
		ts_mostly_lent(plain, nr);
	ts_data_check(other, 0, nr, SEED);
	ts_protect(other, 0, tagged, TS_RWT);
	ts_tags_write(other, 0, tagged, SEED);
	/* What is in the batch of a CPU is not collapsed. */
	ts_drain();
}

static size_t end(void)
{
	size_t bad;

	bad = ts_check(other, 0, nr, SEED);
	bad += ts_data_check(plain, 0, nr, SEED);
	ts_load(plain);
	bad += ts_expect(ts_folio_pages(plain) == nr, "a huge page");
	ts_protect(plain, 0, nr, TS_RWT);
	bad += ts_check(plain, 0, nr, SEED);
	ts_write(plain, 0, nr, 2);
	bad += ts_check(other, 0, nr, 2);
	ts_unmap(plain, nr);
	ts_unmap(other, nr);
	close(fd);
	return bad;
}

/* From the end, as the collapse begins with the first page. */
static size_t tag_pages(size_t first)
{
	size_t bad = 0, page;

	for (page = nr; page-- > first;) {
		bad += ts_tags_zero(other, page, 1);
		ts_tags_write(other, page, 1, SEED);
		bad += ts_check(other, page, 1, SEED);
	}
	return bad;
}

/* Return: whether this came before the collapse was over. */
static bool one_round(const struct step *step, size_t *bad)
{
	size_t tagged = nr / 4;
	pthread_t thread;
	bool met;
	long hits;

	begin(tagged);
	over = false;
	slow = by_khugepaged ? ts_slow_any(step->function, step->usec) :
			       ts_slow(step->function, step->usec);
	hits = ts_slow_hits();
	if (pthread_create(&thread, NULL, collapser, NULL))
		ksft_exit_fail_msg("no thread\n");
	pthread_barrier_wait(&barrier);
	ts_wait_slow(hits, 10);
	ts_protect(other, tagged, nr - tagged, TS_RWT);
	met = !is_over();
	*bad += tag_pages(tagged);
	pthread_join(thread, NULL);
	*bad += ts_expect(!slow || ts_slow_hits() > 0, "delays to take place");
	ts_slow(NULL, 0);
	*bad += end();
	return met;
}

static size_t race(void)
{
	size_t bad = 0, i, met = 0;

	huge = ts_huge_size();
	nr = huge / ts_psize;
	pthread_barrier_init(&barrier, NULL, 2);
	ts_run_on(0);
	for (i = 0; i < ROUNDS * ARRAY_SIZE(steps) && !bad; i++)
		met += one_round(&steps[i % ARRAY_SIZE(steps)], &bad);
	pthread_barrier_destroy(&barrier);
	ksft_print_msg("%zu rounds, %zu times before it was over%s\n", i, met,
		       slow ? "" : "; no delay to be had");
	ts_usually(bad || !slow || met > i / 2, "most rounds to meet");
	return bad;
}

static size_t race_of(bool khugepaged)
{
	by_khugepaged = khugepaged;
	ts_khugepaged_hurry();
	return race();
}

static int advised(void)
{
	return ts_result(race_of(false));
}

static int advised_used(void)
{
	by_khugepaged = false;
	return ts_result(ts_while_lent(race));
}

static int unasked(void)
{
	return ts_result(race_of(true));
}

static int in_storage(void)
{
	size_t bad;

	lent = true;
	bad = race_of(false);
	bad += race_of(true);
	lent = false;
	ts_ballast_free(&ballast);
	return ts_result(bad);
}

static const struct ts_case cases[] = {
	{ "MADV_COLLAPSE", advised, NEED },
	{ "MADV_COLLAPSE, tag storage in use", advised_used, NEED },
	{ "khugepaged", unasked, NEED },
	{ "pages in tag storage", in_storage, NEED },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
