// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tagged pages, pages that wait for their tag storage, and huge pages of both
 * kinds go from one memory node to the other and back, and keep data and tags:
 * by NUMA balancing, by migrate_pages(), by move_pages(), by mbind(), by a
 * cpuset that changes and by demotion to a slower node. Memory that is bound
 * to a node, by mbind() or a cpuset, comes from there though the tag storage
 * of that node is in use. A hint of NUMA balancing and the wait for storage do
 * not cancel each other, whichever comes first.
 */
#include <linux/mempolicy.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/syscall.h>

#include "ts_common.h"

#define NR		1024
#define SEED		1
#define BALANCING	"/proc/sys/kernel/numa_balancing"
#define DEMOTION	"/sys/kernel/mm/numa/demotion_enabled"
#define SLOW_NODE	"/sys/module/mte_tag_storage_slow_node/parameters/node"
#define GROUP		"ts_nodes"
#define TIMEOUT		60

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
	return ts_usually(is >= least, "%ld pages on node %d, not %ld", least,
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

static long bind_to(int node, unsigned int flags)
{
	unsigned long mask = 1UL << node;

	return syscall(__NR_mbind, mem, nr * ts_psize, MPOL_BIND, &mask,
		       8 * sizeof(mask), flags);
}

/* All of it is bound to the node. */
static size_t by_mbind(int to)
{
	bind_to(to, MPOL_MF_MOVE);
	return expect_node(to, nr * 9 / 10);
}

static size_t there_and_back(size_t (*move)(int), bool waits, bool huge)
{
	pthread_t thread;
	size_t bad = 0;
	int i;

	on_node(0);
	if (!make(waits, huge))
		return ts_usually(false, "to get a huge page");
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

/* The process may have memory of that node only. */
static bool in_cpuset(int node)
{
	char mems[16];

	snprintf(mems, sizeof(mems), "%d", node);
	return ts_group_set(GROUP, "cpuset.mems", mems);
}

/* What a child in the cpuset does. */
static int allowed_node;
static bool kind_waits, kind_huge;

static int prepare_moved(void)
{
	size_t bad;

	on_node(0);
	if (!ts_group_set(GROUP, "cgroup.procs", "0") ||
	    !make(kind_waits, kind_huge))
		return 1;
	bad = expect_node(0, nr * 9 / 10);
	return bad != 0;
}

static int check_moved(void)
{
	size_t bad = expect_node(1, nr * 9 / 10);

	return bad + finish(kind_waits) != 0;
}

/* What is written to cpuset.mems moves the memory of who is in there. */
static size_t cpuset_moves(bool waits, bool huge)
{
	size_t bad;
	pid_t pid;

	kind_waits = waits;
	kind_huge = huge;
	bad = ts_expect(in_cpuset(0), "a cpuset of node 0");
	pid = ts_traced(prepare_moved, check_moved);
	if (!pid)
		return ts_expect(false, "a child with memory of node 0");
	bad += ts_expect(in_cpuset(1), "a cpuset of node 1");
	return bad + ts_let_go(pid);
}

static int cpuset_changed(void)
{
	size_t bad = 0;
	int i;

	if (!ts_group_make(GROUP, "+cpuset") || !in_cpuset(0))
		return ts_skip("no cpuset cgroup");
	for (i = 0; i < 4; i++)
		bad += cpuset_moves(i & 1, i & 2);
	bad += ts_expect(ts_group_remove(GROUP), "the cgroup to be empty");
	return ts_result(bad);
}

/* The CPU is of the other node; all pages are from this one, and stay. */
static size_t all_from(int node, bool waits, bool bind)
{
	size_t bad = 0;

	on_node(!node);
	nr = NR;
	mem = ts_map(nr, TS_RW, 0);
	madvise(mem, nr * ts_psize, MADV_NOHUGEPAGE);
	if (bind)
		bad += ts_expect(!bind_to(node, 0), "mbind() to succeed");
	if (waits)
		ts_data_write(mem, 0, nr, SEED);
	ts_protect(mem, 0, nr, TS_RWT);
	if (waits)
		bad += ts_none_touch(mem, 0, nr, SEED);
	else
		ts_write(mem, 0, nr, SEED);
	bad += expect_node(node, nr);
	return bad + ts_check(mem, 0, nr, SEED);
}

static int allowed(void)
{
	return all_from(allowed_node, false, false) +
	       all_from(allowed_node, true, false) != 0;
}

/* Each takes storage that was in use until then. */
static size_t bound_to(int node)
{
	long start = ts_vmstat("metadata_reserve_moved"), moved;
	char *first;
	size_t bad;
	int ret;

	bad = all_from(node, false, true);
	first = mem;
	bad += all_from(node, true, true);
	moved = ts_vmstat("metadata_reserve_moved") - start;
	ksft_print_msg("node %d, mbind(): %ld blocks moved\n", node, moved);
	bad += ts_usually(moved > 0, "data to be moved");

	allowed_node = node;
	bad += ts_expect(in_cpuset(node), "a cpuset of node %d", node);
	ret = ts_wait(ts_group_start(GROUP, allowed), TIMEOUT);
	bad += ts_expect(!ret, "child to end with 0, not %d", ret);
	moved = ts_vmstat("metadata_reserve_moved") - start - moved;
	ksft_print_msg("node %d, cpuset: %ld blocks moved\n", node, moved);
	bad += ts_usually(moved > 0, "data to be moved");
	ts_unmap(first, nr);
	ts_unmap(mem, nr);
	return bad;
}

static int bound(void)
{
	struct ts_ballast ballast = { };
	size_t bad;

	if (!ts_group_make(GROUP, "+cpuset") || !in_cpuset(0))
		return ts_skip("no cpuset cgroup");
	ts_lend(&ballast, 4);
	/* Who joins a cpuset takes all its memory there. */
	madvise(ballast.mem, ballast.max * ts_psize, MADV_DONTFORK);
	bad = bound_to(0) + bound_to(1) + cpuset_moves(false, false);
	bad += ts_lent_check(&ballast);
	ts_ballast_free(&ballast);
	bad += ts_expect(ts_group_remove(GROUP), "the cgroup to be empty");
	return ts_result(bad);
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
	return ts_usually(now - before >= (long)nr / 2,
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
	} while (!bad && on_first() > (long)(nr - nr / 8) && ts_now() < end);
	return bad + expect_node(1, nr / 8);
}

/* What is new comes from node 0, or from where it likes. */
static size_t from_first(bool on)
{
	unsigned long mask = on;

	return ts_expect(!syscall(__NR_set_mempolicy,
				  on ? MPOL_BIND : MPOL_DEFAULT, &mask,
				  8 * sizeof(mask)), "memory of node 0");
}

/*
 * In a child, as the scanner looks soon and often at what is new. That must not
 * have seen its memory near, so it runs on node 1 alone.
 */
static int child_balanced(void *arg)
{
	bool waits = *(bool *)arg;
	size_t bad;

	on_node(1);
	bad = from_first(true);
	make(waits, false);
	from_first(false);
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

/* Half of the pages with hints become tagged. */
static int child_hinted(void *arg)
{
	size_t half = NR / 2, bad;
	long hints;

	(void)arg;
	nr = NR;
	on_node(1);
	bad = from_first(true);
	mem = ts_map(nr, TS_RW, 0);
	madvise(mem, nr * ts_psize, MADV_NOHUGEPAGE);
	ts_data_write(mem, 0, nr, SEED);
	from_first(false);
	bad += expect_node(0, nr * 9 / 10);
	bad += wait_for_hints();
	hints = ts_vmstat("numa_hint_faults");
	ts_protect(mem, 0, half, TS_RWT);
	bad += ts_none_touch(mem, 0, half, SEED);

	/* The others still have theirs, and become tagged without. */
	bad += ts_data_check(mem, half, nr - half, SEED);
	hints = ts_vmstat("numa_hint_faults") - hints;
	bad += ts_usually(hints >= (long)half / 4,
			  "hints on %zu pages, not %ld", half / 4, hints);
	ts_protect(mem, half, nr - half, TS_RWT);
	bad += ts_tags_zero(mem, half, nr - half);
	ts_tags_write(mem, half, nr - half, SEED);
	bad += ts_check(mem, 0, nr, SEED);
	ts_unmap(mem, nr);
	return bad != 0;
}

static int balancing(int (*fn)(void *arg), bool waits)
{
	char old[16] = "1";
	size_t bad;
	int ret;

	ts_read_file(BALANCING, old, sizeof(old));
	bad = ts_expect(!ts_write_file(BALANCING, "1"), "NUMA balancing");
	ret = ts_child(fn, &waits, 100);
	bad += ts_expect(!ret, "child to end with 0, not %d", ret);
	ts_write_file(BALANCING, old);
	return ts_result(bad);
}

static int balanced(void)
{
	return balancing(child_balanced, false);
}

static int balanced_waiting(void)
{
	return balancing(child_balanced, true);
}

static int hinted(void)
{
	return balancing(child_hinted, false);
}

#define NEED	(TS_NEED_NODES | TS_NEED_CPUS | TS_NEED_ROOT)

static long demotions(void)
{
	return ts_vmstat("pgdemote_direct") + ts_vmstat("pgdemote_kswapd");
}

/* Reclaim until most pages have been demoted from node 0, the fast one. */
static size_t demote(bool waits, bool huge, bool used)
{
	double end = ts_now() + (used ? 5 : 20);
	long before = demotions();
	size_t bad;

	on_node(0);
	if (!make(waits, huge))
		return ts_usually(false, "to get a huge page");
	bad = expect_node(0, nr * 9 / 10);
	while (on_first() > (long)nr / 4 && ts_now() < end) {
		ts_write_file("/sys/fs/cgroup/memory.reclaim", "4M");
		usleep(10 * 1000);
	}
	ksft_print_msg("%ld of %zu pages demoted\n", demotions() - before, nr);
	bad += ts_usually(used || demotions() - before >= (long)nr / 2,
			  "most pages to be demoted");

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

static size_t free_demoted(void)
{
	size_t bad = 0;
	int i;

	for (i = 0; i < 4; i++)
		bad += demote(i & 1, i & 2, false);
	return bad;
}

/* Reclaim cannot move data out of tag storage: what needs that stays, or goes. */
static size_t used_demoted(void)
{
	struct ts_ballast ballast = { };
	size_t bad = 0;
	int i;

	ts_lend(&ballast, 4);
	for (i = 0; i < 2; i++)
		bad += demote(i & 1, false, true);
	bad += ts_lent_check(&ballast);
	ts_ballast_free(&ballast);
	return bad;
}

static int demoting(size_t (*fn)(void))
{
	char node[16] = "", old[16] = "0";
	size_t bad;

	ts_read_file(SLOW_NODE, node, sizeof(node));
	if (strtol(node, NULL, 10) != 1)
		return ts_skip("node 1 is not slow (mte_tag_storage_slow_node.node=1)");
	ts_read_file(DEMOTION, old, sizeof(old));
	bad = ts_expect(!ts_write_file(DEMOTION, "1"), "to switch on demotion");
	bad += fn();
	ts_write_file(DEMOTION, old);
	return ts_result(bad);
}

static int demoted(void)
{
	return demoting(free_demoted);
}

static int demoted_used(void)
{
	return demoting(used_demoted);
}

static const struct ts_case cases[] = {
	{ "migrate_pages", migrate_pages, NEED | TS_NEED_THP },
	{ "move_pages", move_pages, NEED | TS_NEED_THP },
	{ "mbind", mbind, NEED | TS_NEED_THP },
	{ "tag storage in use", storage_used,
	  NEED | TS_NEED_COUNTERS | TS_NEED_REGIONS },
	{ "mbind and cpuset, tag storage in use", bound,
	  NEED | TS_NEED_COUNTERS | TS_NEED_REGIONS },
	{ "cpuset changed", cpuset_changed, NEED | TS_NEED_THP },
	{ "demotion", demoted, NEED },
	{ "demotion, tag storage in use", demoted_used,
	  NEED | TS_NEED_COUNTERS | TS_NEED_REGIONS },
	{ "NUMA balancing", balanced, NEED },
	{ "NUMA balancing before the first access", balanced_waiting, NEED },
	{ "NUMA balancing before mprotect", hinted, NEED },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
