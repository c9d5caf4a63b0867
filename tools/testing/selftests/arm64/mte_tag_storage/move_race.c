// SPDX-License-Identifier: GPL-2.0-only
/*
 * mprotect(PROT_MTE) and the first access, in the middle of a migration: after
 * the destination was allocated, for a page that had no tags then; and while the
 * page is mapped nowhere. The page arrives with its tags or stays where it was,
 * and nobody else's data is in the place of its tags.
 *
 * Where the kernel can do that, each step of the migration takes so long that
 * every page meets the race; by repetition otherwise.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "../../../../../mm/gup_test.h"
#include "ts_common.h"

#define NR		48
#define SEED		1
#define USEC		10000
#define GUP_TEST	"/sys/kernel/debug/gup_test"

/* What is done in the middle, and where that is. */
struct race {
	const char *slow;
	bool access;
	bool (*move)(char *page);
	void (*undo)(void);
};

static const struct race *race;
static char *mem;
static int turn, moved_node, gup_fd;
static bool slow;
static struct ts_region regions[32];
static int nr_regions;

/* To the other node. */
static bool to_node(char *page)
{
	void *pages[] = { page };
	int nodes[] = { moved_node }, status[] = { -1 };

	return !syscall(__NR_move_pages, 0, 1, pages, nodes, status,
			MPOL_MF_MOVE) && status[0] == moved_node;
}

/* The same by a policy, which has a way of its own to find a place. */
static bool by_policy(char *page)
{
	unsigned long nodes = 1UL << moved_node;

	return !syscall(__NR_mbind, page, ts_psize, MPOL_BIND, &nodes,
			8 * sizeof(nodes), MPOL_MF_MOVE | MPOL_MF_STRICT);
}

/* Out of tag storage, where it must not be pinned for long. */
static bool pin(char *page)
{
	struct pin_longterm_test args = {
		.addr = (unsigned long)page,
		.size = ts_psize,
		.flags = PIN_LONGTERM_TEST_FLAG_USE_WRITE,
	};
	return !ioctl(gup_fd, PIN_LONGTERM_TEST_START, &args);
}

static void unpin(void)
{
	ioctl(gup_fd, PIN_LONGTERM_TEST_STOP);
}

static void wait_turn(int is)
{
	while (__atomic_load_n(&turn, __ATOMIC_ACQUIRE) != is)
		usleep(50);
}

static void set_turn(int to)
{
	__atomic_store_n(&turn, to, __ATOMIC_RELEASE);
}

/* Turn 2 * page + 1: this thread moves it, and the other one comes between. */
static void *mover(void *arg)
{
	size_t *nr_moved = arg, page;

	ts_run_on(1);
	ts_be_slow(true);
	for (page = 0; page < NR; page++) {
		wait_turn(2 * page + 1);
		*nr_moved += race->move(mem + page * ts_psize);
		set_turn(2 * page + 2);
	}
	ts_be_slow(false);
	return NULL;
}

static size_t access_page(size_t page)
{
	size_t bad;

	bad = ts_data_check(mem, page, 1, SEED);
	bad += ts_tags_zero(mem, page, 1);
	ts_tags_write(mem, page, 1, SEED);
	return bad + ts_check(mem, page, 1, SEED);
}

/* All pages of @mem, one by one. */
static size_t run(const struct race *r)
{
	size_t page, bad = 0, nr_moved = 0, in_storage = 0;
	pthread_t thread;

	race = r;
	turn = 0;
	slow = ts_slow(r->slow, USEC);
	ts_run_on(0);
	if (pthread_create(&thread, NULL, mover, &nr_moved))
		ksft_exit_fail_msg("no thread\n");
	for (page = 0; page < NR; page++) {
		set_turn(2 * page + 1);
		/* In the middle of what is slow; anywhere otherwise. */
		usleep(slow ? USEC / 3 : rand() % 200);
		ts_protect(mem, page, 1, TS_RWT);
		if (r->access)
			bad += access_page(page);
		wait_turn(2 * page + 2);
		if (r->access)
			bad += ts_check(mem, page, 1, SEED);
		else
			bad += access_page(page);
		if (r->undo)
			r->undo();
		in_storage += ts_storage_of(regions, nr_regions,
					    ts_pfn(mem + page * ts_psize)) != NULL;
	}
	pthread_join(thread, NULL);
	bad += ts_expect(!slow || ts_slow_hits() > NR / 2, "delays to take place");
	ts_slow(NULL, 0);
	bad += ts_check(mem, 0, NR, SEED);
	ksft_print_msg("%s: %zu of %d pages moved%s\n", r->slow, nr_moved, NR,
		       slow ? "" : ", no delay to be had");
	return bad + ts_expect(!in_storage, "no tagged page in tag storage");
}

/* The two moments, for each way to move. */
static const struct race pin_races[] = {
	{ "alloc_migration_target", true, pin, unpin },
	{ "try_to_migrate", false, pin, unpin },
};

static const struct race node_races[] = {
	{ "alloc_migration_target", true, to_node, NULL },
	{ "try_to_migrate", false, to_node, NULL },
	{ "alloc_migration_target_by_mpol", true, by_policy, NULL },
};

static size_t from_node(const struct race *r)
{
	size_t bad;

	ts_run_on(0);
	moved_node = 1;
	mem = ts_map(NR, TS_RW, 0);
	madvise(mem, NR * ts_psize, MADV_NOHUGEPAGE);
	ts_data_write(mem, 0, NR, SEED);
	bad = run(r);
	ts_unmap(mem, NR);
	return bad;
}

/* To the other node, with the tag storage free or holding data. */
static int nodes(void)
{
	struct ts_ballast ballast = { };
	size_t bad, i;

	nr_regions = ts_regions(regions, ARRAY_SIZE(regions));
	for (i = 0, bad = 0; i < ARRAY_SIZE(node_races); i++)
		bad += from_node(&node_races[i]);
	ts_lend(&ballast, 4);
	for (i = 0; i < ARRAY_SIZE(node_races); i++)
		bad += from_node(&node_races[i]);
	bad += ts_lent_check(&ballast);
	ts_ballast_free(&ballast);
	return ts_result(bad);
}

/* Pages that lie in tag storage become a mapping of their own. */
static bool take_lent(struct ts_ballast *ballast)
{
	size_t i, nr = 0;

	mem = ts_map(NR, TS_RW, MAP_NORESERVE);
	for (i = 0; i < ballast->nr && nr < NR; i++) {
		char *page = ballast->mem + i * ts_psize;

		if (!ts_storage_of(regions, nr_regions, ts_pfn(page)))
			continue;
		if (mremap(page, ts_psize, ts_psize,
			   MREMAP_MAYMOVE | MREMAP_FIXED,
			   mem + nr * ts_psize) == MAP_FAILED)
			ksft_exit_fail_msg("mremap failed\n");
		ballast->lent--;
		nr++;
	}
	return nr == NR;
}

/* A pin for long moves what lies in tag storage. */
static int longterm(void)
{
	struct ts_ballast ballast = { };
	size_t i, bad = 0;

	gup_fd = open(GUP_TEST, O_RDWR);
	if (gup_fd < 0)
		return ts_skip("no " GUP_TEST " (CONFIG_GUP_TEST)");
	nr_regions = ts_regions(regions, ARRAY_SIZE(regions));
	ts_lend(&ballast, 4);
	for (i = 0; i < ARRAY_SIZE(pin_races) && !bad; i++) {
		bad += ts_expect(take_lent(&ballast), "pages in tag storage");
		if (bad)
			break;
		ts_data_write(mem, 0, NR, SEED);
		bad += run(&pin_races[i]);
		ts_unmap(mem, NR);
	}
	bad += ts_lent_check(&ballast);
	ts_ballast_free(&ballast);
	close(gup_fd);
	return ts_result(bad);
}

#define NEED	(TS_NEED_ROOT | TS_NEED_CPUS | TS_NEED_COUNTERS | TS_NEED_REGIONS)

static const struct ts_case cases[] = {
	{ "longterm pin", longterm, NEED },
	{ "move_pages, mbind", nodes, NEED | TS_NEED_NODES },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
