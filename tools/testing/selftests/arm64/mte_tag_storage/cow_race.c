// SPDX-License-Identifier: GPL-2.0-only
/*
 * A page of a file becomes tagged in the middle of a write to a private mapping
 * of it: after the copy was allocated, for a page that had no tags then. The
 * storage of the copy holds data of others, so that no tags can be written there
 * before that is moved. The write succeeds, the copy has the data and the tags of
 * the page or, if it was too late for these, none; and nobody else's data is in
 * the place of its tags.
 *
 * Where the kernel can do that, each step takes so long that every page meets the
 * race; by repetition otherwise.
 */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "ts_common.h"

#define NR	16
#define APART	160UL	/* pages: several blocks, and what is taken ahead of need */
#define LAST	(NR * APART)
#define SEED	1
#define USEC	50000
#define NEED	(TS_NEED_ROOT | TS_NEED_CPUS | TS_NEED_COUNTERS | TS_NEED_REGIONS)

/* Where the write is slow, and what comes before. */
struct race {
	const char *slow;
	bool read_first;	/* the page is mapped, and not copied */
	bool refused;		/* the copy is refused, and has the tags in the end */
};

/* The file, shared; the private mapping; and memory of no other use. */
static char *mem, *copy, *spare;

static const struct race *race;
static int turn;

/* When the write to each page may begin. */
static double begin[NR];

static void wait_turn(int is)
{
	while (__atomic_load_n(&turn, __ATOMIC_ACQUIRE) != is)
		usleep(50);
}

static void set_turn(int to)
{
	__atomic_store_n(&turn, to, __ATOMIC_RELEASE);
}

/* What this CPU allocates next has its tags elsewhere. */
static void go_apart(size_t i)
{
	ts_data_write(spare, i * APART, APART, SEED);
}

/* Turn 2 * i + 1: this thread writes what is there anyway. */
static void *writer(void *arg)
{
	size_t i;

	(void)arg;
	ts_run_on(1);
	for (i = 0; i < NR; i++) {
		char *page = copy + i * APART * ts_psize;

		wait_turn(2 * i + 1);
		if (race->read_first)
			ts_load(page);
		go_apart(i);
		begin[i] = ts_now();
		ts_be_slow(true);
		ts_store(page, ts_word(SEED, i * APART, 0));
		ts_be_slow(false);
		set_turn(2 * i + 2);
	}
	return NULL;
}

/* The page that is being copied becomes tagged. Return: whether in good time. */
static bool tag(size_t i, bool slow, long hits)
{
	size_t page = i * APART;

	ts_protect(mem, page, 1, TS_RWT);
	set_turn(2 * i + 1);
	if (slow)
		ts_wait_slow(hits, 2);
	else
		usleep(rand() % 200);
	ts_tags_write(mem, page, 1, SEED);
	/* It cannot have gone on by then. */
	return slow && ts_slow_hits() > hits &&
	       ts_now() < begin[i] + USEC / 1e6;
}

/* Has the copy no tag at all? */
static bool no_tags(const char *page)
{
	size_t i;

	for (i = 0; i < ts_psize / TS_GRANULE; i++)
		if (ts_ldg(page + i * TS_GRANULE))
			return false;
	return true;
}

/* Tags that were written while they were copied can be there in part. */
static size_t check_copy(size_t page, bool in_time)
{
	size_t bad = ts_data_check(copy, page, 1, SEED);

	ts_protect(copy, page, 1, TS_RWT);
	if (in_time && (race->refused || !no_tags(copy + page * ts_psize)))
		bad += ts_tags_check(copy, page, 1, SEED);
	bad += ts_data_check(copy, page, 1, SEED);
	ts_tags_write(copy, page, 1, SEED);
	return bad + ts_check(copy, page, 1, SEED);
}

static size_t run(const struct race *r)
{
	long fail = ts_vmstat("metadata_reserve_fail");
	size_t bad = 0, i, nr_in_time = 0;
	bool slow, in_time[NR];
	pthread_t thread;

	race = r;
	turn = 0;
	slow = ts_slow(r->slow, USEC);
	ts_run_on(0);
	if (pthread_create(&thread, NULL, writer, NULL))
		ksft_exit_fail_msg("no thread\n");
	for (i = 0; i < NR; i++) {
		in_time[i] = tag(i, slow, ts_slow_hits());
		wait_turn(2 * i + 2);
		nr_in_time += in_time[i];
	}
	pthread_join(thread, NULL);
	ts_slow(NULL, 0);
	fail = ts_vmstat("metadata_reserve_fail") - fail;
	for (i = 0; i < NR; i++) {
		bad += check_copy(i * APART, in_time[i]);
		bad += ts_check(mem, i * APART, 1, SEED);
	}
	ksft_print_msg("%s: %zu of %d pages tagged in time, %ld times without storage%s\n",
		       r->slow, nr_in_time, NR, fail,
		       slow ? "" : ", no delay to be had");
	bad += ts_usually(!slow || nr_in_time >= NR / 2,
			  "half of the pages to be tagged in time");
	return bad + ts_usually(!slow || fail >= NR / 4,
				"the storage of copies to be in use");
}

/* A file of which no two pages that are used here have their tags together. */
static int copied(const struct race *r)
{
	size_t nr = LAST + 1, bad;
	int fd = ts_memfd(nr * ts_psize);
	struct ts_ballast ballast = { };

	mem = ts_map_fd(fd, nr * ts_psize, TS_RW, MAP_SHARED);
	copy = ts_map_fd(fd, nr * ts_psize, TS_RW, MAP_PRIVATE);
	close(fd);
	spare = ts_map(LAST, TS_RW, 0);
	madvise(spare, LAST * ts_psize, MADV_NOHUGEPAGE);
	ts_data_write(mem, 0, nr, SEED);
	/* The first write to a mapping takes a fault more. */
	ts_data_write(copy, LAST, 1, SEED);
	ts_lend(&ballast, 4);
	bad = run(r);
	bad += ts_data_check(mem, 0, nr, SEED);
	bad += ts_lent_check(&ballast);
	ts_ballast_free(&ballast);
	ts_unmap(mem, nr);
	ts_unmap(copy, nr);
	ts_unmap(spare, LAST);
	return ts_result(bad);
}

static int first_write(void)
{
	static const struct race r = {
		.slow = "__metadata_cow_prepare", .refused = true,
	};
	return copied(&r);
}

static int write_mapped(void)
{
	static const struct race r = {
		.slow = "__metadata_require", .read_first = true, .refused = true,
	};
	return copied(&r);
}

/* After the last look, but before anything is copied. */
static int in_the_copy(void)
{
	static const struct race r = {
		.slow = "__metadata_copy_ok", .read_first = true,
	};
	return copied(&r);
}

static const struct ts_case cases[] = {
	{ "first write to a page", first_write, NEED },
	{ "write to a page that is mapped", write_mapped, NEED },
	{ "in the copy itself", in_the_copy, NEED },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
