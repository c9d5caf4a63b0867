// SPDX-License-Identifier: GPL-2.0-only
/*
 * Two threads come to one tag block at the worst of times: while the other one
 * takes it, has taken it and not yet published that, or gives it back. Each
 * sees zero tags and its data, keeps what it writes then, and the block is taken
 * and given back once. Who can wait for the block does so; a large folio that is
 * allocated does not.
 *
 * Where the kernel can do that, each step takes so long that every round meets
 * the race; by repetition otherwise.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ts_common.h"

#define ROUNDS	40
#define SEED	1
#define USEC	5000
#define LINGER	0.1	/* seconds for which a block stays without pages */
#define GONE	5.0	/* by then it is given back */

/* A block that stays busy for longer than anybody waits for one, in seconds. */
#define USEC_BUSY	400000
#define WAIT		0.1

struct round {
	char *mem;		/* two blocks in one huge page, mapped by PTEs */
	size_t first, second;	/* the pages of the two threads */
	size_t bad;
};

static pthread_barrier_t barrier;
static bool slow;

static size_t touch(char *mem, size_t page)
{
	size_t bad;

	bad = ts_tags_zero(mem, page, 1);
	bad += ts_data_check(mem, page, 1, SEED);
	ts_tags_write(mem, page, 1, SEED);
	return bad + ts_check(mem, page, 1, SEED);
}

/* What comes first is slow. */
static void *first(void *arg)
{
	struct round *r = arg;

	ts_run_on(1);
	ts_be_slow(true);
	pthread_barrier_wait(&barrier);
	r->bad += touch(r->mem, r->first);
	ts_be_slow(false);
	return NULL;
}

/*
 * Pages next to each other that wait for their storage, each with an entry of
 * its own: a huge page of which the first base page is not to be tagged.
 */
static char *adjacent(void)
{
	size_t huge = ts_huge_size(), nr = huge / ts_psize;
	char *mem = ts_map_huge(huge);

	ts_data_write(mem, 0, nr, SEED);
	if (!ts_is_huge(mem))
		ksft_exit_fail_msg("got no huge page\n");
	ts_protect(mem, TS_COVER, nr - TS_COVER, TS_RWT);
	return mem;
}

/* The other thread is in the middle of what is slow; anywhere otherwise. */
static void come_between(void)
{
	usleep(slow ? USEC / 3 : rand() % 100);
}

static size_t rounds(const char *function, size_t one, size_t other)
{
	size_t nr = ts_huge_size() / ts_psize, bad = 0;
	long start, fail = ts_vmstat("metadata_reserve_fail");
	double waited = 0;
	int i;

	ts_fold();
	start = ts_vmstat("nr_metadata_reserved");
	pthread_barrier_init(&barrier, NULL, 2);
	slow = ts_slow(function, USEC);
	ts_run_on(0);
	for (i = 0; i < ROUNDS && !bad; i++) {
		/* A block of its own in each round, as a huge page has many. */
		size_t block = TS_COVER * (1 + i % 8);
		struct round r = { .mem = adjacent(), .first = block + one,
				   .second = block + other };
		pthread_t thread;

		if (pthread_create(&thread, NULL, first, &r))
			ksft_exit_fail_msg("no thread\n");
		pthread_barrier_wait(&barrier);
		come_between();
		waited -= ts_now();
		r.bad += touch(r.mem, r.second);
		waited += ts_now();
		pthread_join(thread, NULL);
		bad += r.bad;
		bad += ts_check(r.mem, r.first, 1, SEED);
		bad += ts_check(r.mem, r.second, 1, SEED);
		ts_unmap(r.mem, nr);
	}
	bad += ts_expect(!slow || ts_slow_hits() > 0, "delays to take place");
	ts_slow(NULL, 0);
	pthread_barrier_destroy(&barrier);
	bad += ts_expect(ts_wait_reserved(start, 30),
			 "%ld pages reserved as at the start, %ld are", start,
			 ts_vmstat("nr_metadata_reserved"));
	/* A CPU that is held up may exceed the bound of the wait. */
	fail = ts_vmstat("metadata_reserve_fail") - fail;
	bad += ts_usually(fail <= ROUNDS / 4, "the other one to wait, not %ld failures",
			  fail);
	ksft_print_msg("%s%s, the other one came after %.4f s\n", function,
		       slow ? "" : ": no delay to be had", waited / ROUNDS);
	/* Woken up, and not by the end of its wait. */
	bad += ts_usually(waited / ROUNDS < WAIT / 2,
			  "%.3f s on average for that", WAIT / 2);
	return bad;
}

/* The block is taken out of the allocator, and nobody else knows. */
static int while_taken(void)
{
	return ts_result(rounds("metadata_take_free", 3, 20));
}

/* The first thread has its storage, and its entry is not accessible yet. */
static int while_published(void)
{
	return ts_result(rounds("arch_metadata_reserve", 3, 20));
}

/* The same page for both: one gets the storage. The other changes nothing. */
static void *reader(void *arg)
{
	struct round *r = arg;

	ts_run_on(1);
	ts_be_slow(true);
	pthread_barrier_wait(&barrier);
	r->bad += ts_data_check(r->mem, r->first, 1, SEED);
	ts_be_slow(false);
	return NULL;
}

/* Whatever is there. */
static void *toucher(void *arg)
{
	struct round *r = arg;

	ts_run_on(1);
	ts_be_slow(true);
	pthread_barrier_wait(&barrier);
	ts_load(r->mem);
	ts_be_slow(false);
	return NULL;
}

static int one_page(void)
{
	size_t nr = ts_huge_size() / ts_psize, bad = 0;
	int i;

	pthread_barrier_init(&barrier, NULL, 2);
	slow = ts_slow("arch_metadata_reserve", USEC);
	ts_run_on(0);
	for (i = 0; i < ROUNDS && !bad; i++) {
		struct round r = { .mem = adjacent(), .first = TS_COVER + i };
		pthread_t thread;

		if (pthread_create(&thread, NULL, reader, &r))
			ksft_exit_fail_msg("no thread\n");
		pthread_barrier_wait(&barrier);
		come_between();
		/* Its tags are there to stay when the slow one comes back. */
		r.bad += touch(r.mem, r.first);
		pthread_join(thread, NULL);
		bad += r.bad + ts_check(r.mem, r.first, 1, SEED);
		ts_unmap(r.mem, nr);
	}
	bad += ts_expect(!slow || ts_slow_hits() > 0, "delays to take place");
	ts_slow(NULL, 0);
	pthread_barrier_destroy(&barrier);
	return ts_result(bad);
}

/*
 * The entry is about to become accessible, with the page table locked. The fault
 * that waits for the lock finds that done, and does nothing.
 */
static int one_fault(void)
{
	long faults = ts_vmstat("metadata_none_fault");
	size_t bad = 0;
	int i;

	pthread_barrier_init(&barrier, NULL, 2);
	slow = ts_slow("arch_metadata_join", 4 * USEC);
	ts_run_on(0);
	for (i = 0; i < ROUNDS && !bad; i++) {
		struct round r = { .mem = ts_map_none(1, SEED) };
		long hits = ts_slow_hits();
		pthread_t thread;

		if (pthread_create(&thread, NULL, reader, &r))
			ksft_exit_fail_msg("no thread\n");
		pthread_barrier_wait(&barrier);
		ts_wait_slow(hits, 1);
		r.bad += touch(r.mem, 0);
		pthread_join(thread, NULL);
		bad += r.bad + ts_check(r.mem, 0, 1, SEED);
		ts_unmap(r.mem, 1);
	}
	faults = ts_vmstat("metadata_none_fault") - faults;
	bad += ts_usually(!slow || faults == ROUNDS,
			  "%d faults that do something, not %ld", ROUNDS, faults);
	bad += ts_expect(!slow || ts_slow_hits() >= ROUNDS,
			 "delays to take place");
	ts_slow(NULL, 0);
	pthread_barrier_destroy(&barrier);
	return ts_result(bad);
}

/* A huge page is let go while the fault takes storage for it: it stays away. */
static int huge_gone(void)
{
	size_t nr = ts_huge_size() / ts_psize, bad = 0, page;
	int i;

	pthread_barrier_init(&barrier, NULL, 2);
	slow = ts_slow("arch_metadata_reserve_pages", 10 * USEC);
	ts_run_on(0);
	for (i = 0; i < ROUNDS / 8 && !bad; i++) {
		struct round r = { .mem = ts_map_none_huge(SEED) };
		long hits = ts_slow_hits();
		pthread_t thread;

		if (!r.mem)
			ksft_exit_fail_msg("got no huge page\n");
		if (pthread_create(&thread, NULL, toucher, &r))
			ksft_exit_fail_msg("no thread\n");
		pthread_barrier_wait(&barrier);
		ts_wait_slow(hits, 1);
		madvise(r.mem, nr * ts_psize, MADV_DONTNEED);
		pthread_join(thread, NULL);
		for (page = 0; page < nr; page++)
			bad += !!ts_load(r.mem + page * ts_psize);
		bad = ts_expect(!bad, "an empty huge page");
		bad += ts_tags_zero(r.mem, 0, nr);
		ts_unmap(r.mem, nr);
	}
	bad += ts_expect(!slow || ts_slow_hits() > 0, "delays to take place");
	ts_slow(NULL, 0);
	pthread_barrier_destroy(&barrier);
	return ts_result(bad);
}

/* The first page whose tags are stored where those of @page are. */
static unsigned long block_of(const char *page)
{
	static struct ts_region r[32];
	static int nr;
	unsigned long pfn = ts_pfn(page);
	const struct ts_region *in;

	if (!nr)
		nr = ts_regions(r, ARRAY_SIZE(r));
	in = ts_covers(r, nr, pfn);
	return in ? pfn - (pfn - in->data_pfn) % (TS_COVER * in->block_pages) : 0;
}

/* Two folios of @mem that have their tags in one block. */
static bool two_of_block(char *mem, size_t nr, size_t per, struct round *r)
{
	for (r->first = 0; r->first < nr; r->first += per) {
		unsigned long block = block_of(mem + r->first * ts_psize);

		for (r->second = r->first + per; r->second < nr; r->second += per)
			if (block && block == block_of(mem + r->second * ts_psize))
				return true;
	}
	return false;
}

/*
 * Another folio of the block is allocated while the block is busy, most likely
 * where one was just freed. Return: after how many seconds it was known that its
 * storage cannot be had, or -1 if it is elsewhere.
 */
static double alloc_beside(struct round *r, size_t per)
{
	char *mem = ts_map_huge(per * ts_psize), first_page[32];
	unsigned long pfn = ts_pfn(r->mem + r->second * ts_psize);
	long hits = ts_slow_hits();
	double start, failed = -1;
	pthread_t thread;

	snprintf(first_page, sizeof(first_page), " pfn=%#lx ", pfn);
	ts_protect(mem, 0, per, TS_RWT);
	ts_events(true);
	if (pthread_create(&thread, NULL, first, r))
		ksft_exit_fail_msg("no thread\n");
	pthread_barrier_wait(&barrier);
	ts_wait_slow(hits, 1);
	madvise(r->mem + r->second * ts_psize, per * ts_psize, MADV_DONTNEED);
	start = ts_now();
	ts_data_write(mem, 0, 1, SEED);
	pthread_join(thread, NULL);
	ts_events(false);
	if (ts_event("metadata_reserve:", first_page, ""))
		failed = ts_event("metadata_reserve:", first_page, "ret=-") -
			 start;
	r->bad += ts_data_check(mem, 0, 1, SEED);
	r->bad += ts_tags_zero(mem, 0, per);
	ts_unmap(mem, per);
	return failed;
}

/* Folios of 64 KiB with 4 KiB pages: two have their tags in one block. */
static int large_beside(void)
{
	size_t per = 16, nr = 16 * per, bad = 0, tried, met = 0;
	double least = 1;

	ts_thp_size(per * ts_psize / 1024, true);
	pthread_barrier_init(&barrier, NULL, 2);
	slow = ts_slow("metadata_take_free", USEC_BUSY);
	ts_run_on(0);
	for (tried = 0; slow && tried < ROUNDS && met < 4 && !bad; tried++) {
		struct round r = { .mem = ts_map_huge(nr * ts_psize) };
		double failed = -1;

		ts_data_write(r.mem, 0, nr, SEED);
		if (two_of_block(r.mem, nr, per, &r)) {
			ts_protect(r.mem, r.first, per, TS_RWT);
			failed = alloc_beside(&r, per);
		}
		met += failed > 0;
		if (failed > 0 && failed < least)
			least = failed;
		bad += r.bad;
		ts_unmap(r.mem, nr);
	}
	ts_slow(NULL, 0);
	pthread_barrier_destroy(&barrier);
	ts_thp_size(per * ts_psize / 1024, false);
	ksft_print_msg("%zu folios beside a busy block, after %.4f s\n", met,
		       least);
	bad += ts_usually(!slow || met, "folios to be allocated beside");
	bad += ts_expect(!met || least < WAIT, "one not to wait");
	return ts_result(bad);
}

/* Comes to its page as soon as a block is given back. */
struct comer {
	char *mem;
	size_t page;
	int cpu;
	long hits;
	size_t bad;
};

static void *come(void *arg)
{
	double until = ts_now() + GONE;
	struct comer *c = arg;

	ts_run_on(c->cpu);
	pthread_barrier_wait(&barrier);
	while (slow ? ts_slow_hits() == c->hits && ts_now() < until :
		      ts_now() < until - GONE + LINGER)
		usleep(50);
	c->bad = touch(c->mem, c->page);
	return NULL;
}

/*
 * @page and the two behind it have their tags in one block, and only @page holds
 * it. A task of the kernel gives it back a while after that page has gone, on
 * one of two CPUs; on the other one there is somebody who wants it.
 */
static size_t leave_and_come(char *mem, size_t page)
{
	struct comer c[2];
	pthread_t thread[2];
	size_t bad = 0, i;

	ts_protect(mem, page, 1, TS_RWT);
	ts_tags_write(mem, page, 1, SEED);
	ts_protect(mem, page + 1, 2, TS_RWT);
	for (i = 0; i < 2; i++) {
		c[i] = (struct comer) { .mem = mem, .page = page + 1 + i,
					.cpu = i, .hits = ts_slow_hits() };
		if (pthread_create(&thread[i], NULL, come, &c[i]))
			ksft_exit_fail_msg("no thread\n");
	}
	madvise(mem + page * ts_psize, ts_psize, MADV_DONTNEED);
	pthread_barrier_wait(&barrier);
	for (i = 0; i < 2; i++) {
		pthread_join(thread[i], NULL);
		bad += c[i].bad;
	}
	bad += ts_check(mem, page + 1, 2, SEED) + ts_tags_zero(mem, page, 1);
	bad += ts_expect(!slow || ts_slow_hits() > c[0].hits,
			 "the block to be given back");
	return bad + ts_expect(!ts_load(mem + page * ts_psize),
			       "an empty page");
}

static int while_given_back(void)
{
	size_t nr = 8192, bad = 0, done = 0, i, j;
	char *mem = ts_map(nr, TS_RW, 0);
	unsigned long used[ROUNDS / 2];

	madvise(mem, nr * ts_psize, MADV_NOHUGEPAGE);
	ts_data_write(mem, 0, nr, SEED);
	pthread_barrier_init(&barrier, NULL, 3);
	slow = ts_slow_any("metadata_give", USEC);
	for (i = 0; i + 2 < nr && done < ROUNDS / 2 && !bad; i++) {
		unsigned long block = block_of(mem + i * ts_psize);

		if (block != block_of(mem + (i + 1) * ts_psize) ||
		    block != block_of(mem + (i + 2) * ts_psize))
			continue;
		/* Pages of one block need not be neighbours. */
		for (j = 0; j < done && used[j] != block; j++)
			;
		if (j < done)
			continue;
		bad += leave_and_come(mem, i);
		used[done++] = block;
	}
	bad += ts_expect(done == ROUNDS / 2, "%d blocks, not %zu", ROUNDS / 2,
			 done);
	ts_slow(NULL, 0);
	pthread_barrier_destroy(&barrier);
	ts_unmap(mem, nr);
	return ts_result(bad);
}

#define NEED	(TS_NEED_ROOT | TS_NEED_CPUS | TS_NEED_COUNTERS)

static const struct ts_case cases[] = {
	{ "another page of a block that is being taken", while_taken,
	  NEED | TS_NEED_THP },
	{ "another page of a block just taken", while_published,
	  NEED | TS_NEED_THP },
	{ "the same page", one_page, NEED | TS_NEED_THP },
	{ "the same page, one fault", one_fault, NEED },
	{ "a huge page that goes", huge_gone, NEED | TS_NEED_THP },
	{ "a large folio beside", large_beside,
	  NEED | TS_NEED_REGIONS | TS_NEED_THP },
	{ "a block that is being given back", while_given_back,
	  NEED | TS_NEED_REGIONS },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
