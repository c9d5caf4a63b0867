// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tagged pages, pages that wait for their tag storage, and huge pages of both
 * kinds go from one memory node to the other and back, and keep data and tags:
 * by NUMA balancing, by migrate_pages(), by move_pages(), by mbind() and by
 * demotion to a slower node. A hint of NUMA balancing and the wait for storage
 * do not cancel each other.
 */
#include <linux/mempolicy.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/syscall.h>

#include "ts_common.h"

#define NR		1024
#define SEED		1
#define BALANCING	"/proc/sys/kernel/numa_balancing"
#define DEMOTION	"/sys/kernel/mm/numa/demotion_enabled"
#define SLOW_NODE	"/sys/module/mte_tag_storage_slow_node/parameters/node"

static char *mem;
static size_t nr;
static bool stop;
static size_t reader_bad;

/* Base pages have to come from the node of the CPU. */
static void on_node(int node)
{
	/* The layout has a CPU for each node. */
	if (!ts_run_on(node))
		ksft_exit_fail_msg("no CPU %d\n", node);
}

static long query(int *nodes)
{
	static void *pages[NR];
	static int status[NR];
	long on_first = 0;
	size_t i;

	for (i = 0; i < nr; i++)
		pages[i] = mem + i * ts_psize;
	if (syscall(__NR_move_pages, 0, nr, pages, nodes, status,
		    nodes ? MPOL_MF_MOVE : 0) < 0)
		return -1;
	for (i = 0; i < nr; i++)
		on_first += status[i] == 0;
	return on_first;
}

/* Pages that lie on node 0. */
static long on_first(void)
{
	return query(NULL);
}

static size_t expect_node(int node, long least)
{
	long is = on_first();

	if (node)
		is = nr - is;
	return ts_expect(is >= least, "%ld pages on node %d, not %ld", least,
			 node, is);
}

static void *read_always(void *arg)
{
	(void)arg;
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
		reader_bad += ts_check(mem, 0, nr, SEED);
	return NULL;
}

/* Tagged pages, or such that wait, or a huge page of either kind. */
static bool make(bool waits, bool huge)
{
	nr = huge ? ts_huge_size() / ts_psize : NR;
	if (waits) {
		mem = huge ? ts_map_none_huge(SEED) : ts_map_none(nr, SEED);
		return mem;
	}
	if (huge) {
		mem = ts_map_huge(ts_huge_size());
		ts_protect(mem, 0, nr, TS_RWT);
	} else {
		mem = ts_map(nr, TS_RWT, 0);
		madvise(mem, nr * ts_psize, MADV_NOHUGEPAGE);
	}
	ts_write(mem, 0, nr, SEED);
	return true;
}

static size_t finish(bool waits)
{
	size_t bad;

	bad = waits ? ts_none_touch(mem, 0, nr, SEED) :
		      ts_check(mem, 0, nr, SEED);
	ts_unmap(mem, nr);
	return bad;
}

/* From node 0 to node 1 and back, by each of two calls. */
static size_t by_migrate_pages(int to)
{
	unsigned long from_mask = 1UL << !to, to_mask = 1UL << to;

	syscall(__NR_migrate_pages, 0, 8 * sizeof(from_mask), &from_mask,
		&to_mask);
	return expect_node(to, nr * 9 / 10);
}

static size_t by_move_pages(int to)
{
	static int nodes[NR];
	size_t i;

	for (i = 0; i < nr; i++)
		nodes[i] = to;
	query(nodes);
	return expect_node(to, nr * 9 / 10);
}

/* All of it is bound to the node. */
static size_t by_mbind(int to)
{
	unsigned long mask = 1UL << to;

	syscall(__NR_mbind, mem, nr * ts_psize, MPOL_BIND, &mask,
		8 * sizeof(mask), MPOL_MF_MOVE);
	return expect_node(to, nr * 9 / 10);
}

static size_t there_and_back(size_t (*move)(int), bool waits, bool huge)
{
	pthread_t thread;
	size_t bad = 0;
	int i;

	on_node(0);
	if (!make(waits, huge))
		return ts_expect(false, "to get a huge page");
	reader_bad = 0;
	stop = waits;
	if (pthread_create(&thread, NULL, read_always, NULL))
		ksft_exit_fail_msg("no thread\n");
	bad += expect_node(0, nr * 9 / 10);
	for (i = 0; i < 4; i++)
		bad += move(!(i & 1));
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	return bad + reader_bad + finish(waits);
}

static int all_kinds(size_t (*move)(int))
{
	size_t bad = 0;
	int i;

	for (i = 0; i < 4; i++)
		bad += there_and_back(move, i & 1, i & 2);
	return ts_result(bad);
}

static int migrate_pages(void)
{
	return all_kinds(by_migrate_pages);
}

static int move_pages(void)
{
	return all_kinds(by_move_pages);
}

static int mbind(void)
{
	return all_kinds(by_mbind);
}

static size_t tagged_by_migrate_pages(void)
{
	return there_and_back(by_migrate_pages, false, false);
}

static size_t tagged_by_mbind(void)
{
	return there_and_back(by_mbind, false, false);
}

/* What is in the storage of the new places is moved away. */
static int storage_used(void)
{
	return ts_result(ts_while_lent(tagged_by_migrate_pages) +
			 ts_while_lent(tagged_by_mbind));
}

/* Run on the other node, without an access, until hints have been set. */
static size_t wait_for_hints(void)
{
	long before = ts_vmstat("numa_pte_updates"), now;
	double end = ts_now() + 20;
	unsigned int spin;

	do {
		for (spin = 0; spin < 1000000; spin++)
			asm volatile("");
		now = ts_vmstat("numa_pte_updates");
	} while (now - before < (long)nr / 2 && ts_now() < end);
	return ts_expect(now - before >= (long)nr / 2,
			 "hints for %zu pages, not %ld", nr / 2, now - before);
}

/*
 * Access from the other node until pages have followed; how many do in that time
 * is up to the scanner.
 */
static size_t wait_for_pages(void)
{
	double end = ts_now() + 50;
	size_t bad = 0;

	do {
		bad += ts_check(mem, 0, nr, SEED);
	} while (!bad && on_first() > (long)nr / 2 && ts_now() < end);
	return bad + expect_node(1, nr / 8);
}

/*
 * In a child, as the scanner looks soon and often at what is new. That must not
 * have seen its memory near, so it runs on node 1 alone.
 */
static int child_balanced(void *arg)
{
	unsigned long mask = 1;
	bool waits = *(bool *)arg;
	size_t bad;

	on_node(1);
	bad = ts_expect(!syscall(__NR_set_mempolicy, MPOL_BIND, &mask,
				 8 * sizeof(mask)), "memory of node 0");
	make(waits, false);
	syscall(__NR_set_mempolicy, MPOL_DEFAULT, NULL, 0);
	bad += expect_node(0, nr * 9 / 10);
	if (waits) {
		bad += wait_for_hints();
		bad += ts_data_check(mem, 0, nr, SEED);
		bad += ts_tags_zero(mem, 0, nr);
		ts_tags_write(mem, 0, nr, SEED);
	}
	bad += wait_for_pages();
	ts_unmap(mem, nr);
	return bad != 0;
}

static int balancing(bool waits)
{
	char old[16] = "1";
	size_t bad;
	int ret;

	ts_read_file(BALANCING, old, sizeof(old));
	bad = ts_expect(!ts_write_file(BALANCING, "1"), "NUMA balancing");
	ret = ts_child(child_balanced, &waits, 100);
	bad += ts_expect(!ret, "child to end with 0, not %d", ret);
	ts_write_file(BALANCING, old);
	return ts_result(bad);
}

static int balanced(void)
{
	return balancing(false);
}

static int balanced_waiting(void)
{
	return balancing(true);
}

#define NEED	(TS_NEED_NODES | TS_NEED_CPUS | TS_NEED_ROOT)

static long demotions(void)
{
	return ts_vmstat("pgdemote_direct") + ts_vmstat("pgdemote_kswapd");
}

/* Reclaim until most pages have been demoted from node 0, the fast one. */
static size_t demote(bool waits, bool huge)
{
	double end = ts_now() + 20;
	long before = demotions();
	size_t bad;

	on_node(0);
	if (!make(waits, huge))
		return ts_expect(false, "to get a huge page");
	bad = expect_node(0, nr * 9 / 10);
	while (on_first() > (long)nr / 4 && ts_now() < end) {
		ts_write_file("/sys/fs/cgroup/memory.reclaim", "4M");
		usleep(10 * 1000);
	}
	bad += ts_expect(demotions() - before >= (long)nr / 2,
			 "%zu pages to be demoted, not %ld", nr / 2,
			 demotions() - before);

	/* Some have been swapped out from node 1, and wait no more. */
	bad += ts_data_check(mem, 0, nr, SEED);
	if (waits) {
		bad += ts_tags_zero(mem, 0, nr);
		ts_tags_write(mem, 0, nr, SEED);
	}
	bad += ts_check(mem, 0, nr, SEED);
	ts_unmap(mem, nr);
	return bad;
}

static int demoted(void)
{
	char node[16] = "", old[16] = "0";
	size_t bad = 0;
	int i;

	ts_read_file(SLOW_NODE, node, sizeof(node));
	if (strtol(node, NULL, 10) != 1)
		return ts_skip("node 1 is not slow (mte_tag_storage_slow_node.node=1)");
	ts_read_file(DEMOTION, old, sizeof(old));
	bad = ts_expect(!ts_write_file(DEMOTION, "1"), "to switch on demotion");
	for (i = 0; i < 4; i++)
		bad += demote(i & 1, i & 2);
	ts_write_file(DEMOTION, old);
	return ts_result(bad);
}

static const struct ts_case cases[] = {
	{ "migrate_pages", migrate_pages, NEED | TS_NEED_THP },
	{ "move_pages", move_pages, NEED | TS_NEED_THP },
	{ "mbind", mbind, NEED | TS_NEED_THP },
	{ "tag storage in use", storage_used,
	  NEED | TS_NEED_COUNTERS | TS_NEED_REGIONS },
	{ "demotion", demoted, NEED },
	{ "NUMA balancing", balanced, NEED },
	{ "NUMA balancing before the first access", balanced_waiting, NEED },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
