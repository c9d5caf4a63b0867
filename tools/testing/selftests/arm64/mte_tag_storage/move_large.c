// SPDX-License-Identifier: GPL-2.0-only
/*
 * Large folios of every size go from one memory node to the other and back by
 * move_pages(): all of their pages are tagged, or every third one while the
 * others wait for their tag storage, or all wait, or none is to be tagged. Each
 * page keeps its data and its tags, and those that had none have zero tags
 * where they are then, whoever used that memory.
 *
 * Where tag storage is free, folios go there whole: one page of it is named in the
 * call, and all are together on the other node. With tag storage in use, a
 * folio with tags may stay where it is, as it was; one without is moved.
 */
#include <linux/mempolicy.h>
#include <unistd.h>
#include <sys/syscall.h>

#include "ts_common.h"

#define MAX	2048UL	/* pages */
#define SEED	1
#define NEED	(TS_NEED_NODES | TS_NEED_CPUS | TS_NEED_ROOT | TS_NEED_THP | \
		 TS_NEED_COUNTERS | TS_NEED_REGIONS)

/* Which pages have tags, and whether the others are to have some. */
enum kind { WHOLE, THIRD, WAITS, PLAIN, KINDS };

static const char * const names[] = {
	"tagged", "every third page tagged", "before the first access",
	"not tagged",
};

static char *mem;
static size_t nr, per;	/* pages, and pages for each folio */
static size_t kb, wanted;
static bool storage_used;

static const size_t sizes[] = { 16, 32, 64, 128, 256, 512, 1024, 2048 };

/* Folios of this size and no other for MADV_HUGEPAGE. */
static void set_size(size_t only)
{
	char name[64];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		snprintf(name, sizeof(name), "hugepages-%zukB/enabled",
			 sizes[i]);
		ts_thp_set(name, sizes[i] == only ? "madvise" : "never");
	}
	kb = only;
	per = kb * 1024 / ts_psize;
	/* Four folios at least; that is enough where they are large. */
	nr = kb > 64 ? 4 * per : (512UL << 10) / ts_psize;
}

static bool is_tagged(enum kind kind, size_t page)
{
	return kind == WHOLE || (kind == THIRD && page % 3 == 0);
}

/* All is in folios of this size. */
static size_t make(enum kind kind)
{
	long before = ts_thp_stat(kb, "anon_fault_alloc"), got;
	size_t i;

	mem = ts_map_huge(nr * ts_psize);
	if (kind == WHOLE)
		ts_protect(mem, 0, nr, TS_RWT);
	ts_data_write(mem, 0, nr, SEED);
	got = ts_thp_stat(kb, "anon_fault_alloc") - before;

	for (i = 0; i < nr; i++) {
		if (!is_tagged(kind, i))
			continue;
		if (kind == THIRD)
			ts_protect(mem, i, 1, TS_RWT);
		ts_tags_write(mem, i, 1, SEED);
	}
	if (kind != PLAIN)
		ts_protect(mem, 0, nr, TS_RWT);
	return ts_usually(got == (long)(nr / per),
			  "%zu folios of %zu kB, not %ld", nr / per, kb, got);
}

/* Ask for the node of each @step'th page, or move it to @node. */
static void call(size_t first, size_t step, int node, int *status)
{
	static void *pages[MAX];
	static int nodes[MAX];
	size_t i, n = 0;

	for (i = first; i < nr; i += step) {
		pages[n] = mem + i * ts_psize;
		nodes[n++] = node;
	}
	syscall(__NR_move_pages, 0, n, pages, node < 0 ? NULL : nodes, status,
		node < 0 ? 0 : MPOL_MF_MOVE);
}

/* How many folios are whole, and on the node with all of their pages? */
static size_t whole_on(int node)
{
	static int status[MAX];
	size_t i, j, whole = 0;

	call(0, 1, -1, status);
	for (i = 0; i < nr; i += per) {
		const char *folio = mem + i * ts_psize;
		unsigned long pfn = ts_pfn(folio);

		for (j = 0; j < per; j++)
			if (status[i + j] != node ||
			    ts_pfn(folio + j * ts_psize) != pfn + j)
				break;
		whole += j == per && ts_folio_pages(folio) == per;
	}
	return whole;
}

/* Tags need storage that has data: such a folio may stay, and may be split. */
static bool may_stay(enum kind kind)
{
	return storage_used && (kind == WHOLE || kind == THIRD);
}

/*
 * Some folio may meet storage that is in use for good, or no free memory in one
 * piece. On the way back the kernel splits them before it moves them, with and
 * without tags.
 */
static size_t move_to(enum kind kind, int node)
{
	static int status[MAX];
	size_t all = nr / per, moved;

	/* Any page stands for its folio. */
	call(per * 2 / 3, per, node, status);
	moved = whole_on(node);
	if (may_stay(kind))
		ksft_print_msg("%zu kB, %s: %zu of %zu folios on node %d\n", kb,
			       names[kind], moved, all, node);
	return ts_usually(may_stay(kind) || !node || moved * 4 >= all * 3,
			  "%zu folios of %zu kB whole on node %d, not %zu, %s",
			  all, kb, node, moved, names[kind]);
}

static size_t check(enum kind kind)
{
	size_t bad = ts_data_check(mem, 0, nr, SEED), i;

	ts_protect(mem, 0, nr, TS_RWT);
	for (i = 0; i < nr; i++)
		bad += is_tagged(kind, i) ? ts_tags_check(mem, i, 1, SEED) :
					    ts_tags_zero(mem, i, 1);
	ts_write(mem, 0, nr, SEED + 1);
	return bad + ts_check(mem, 0, nr, SEED + 1);
}

/* From node 0, with nothing done to the pages in between. */
static size_t there_and_back(enum kind kind)
{
	size_t bad = make(kind), on_first = whole_on(0);

	bad += ts_usually(may_stay(kind) || on_first == nr / per,
			  "%zu folios of %zu kB on node 0, not %zu, %s",
			  nr / per, kb, on_first, names[kind]);
	bad += move_to(kind, 1);
	bad += move_to(kind, 0);
	bad += check(kind);
	if (bad)
		ksft_print_msg("wrong: %zu kB, %s\n", kb, names[kind]);
	ts_unmap(mem, nr);
	return bad;
}

static size_t all_kinds(void)
{
	enum kind kind;
	size_t bad = 0;

	set_size(wanted);
	for (kind = 0; kind < KINDS; kind++)
		bad += there_and_back(kind);
	/* To fill memory is quick with these. */
	set_size(ts_huge_size() / 1024);
	return bad;
}

static int test_size(size_t size)
{
	size_t bad;

	/* Both depend on the size of base pages. */
	if (size * 1024 > ts_huge_size() || size * 1024 < 4 * ts_psize)
		return ts_skip("larger than a PMD, or less than four pages");
	wanted = size;
	storage_used = false;
	bad = all_kinds();
	storage_used = true;
	bad += ts_while_lent(all_kinds);
	return ts_result(bad);
}

static int test_16(void)
{
	return test_size(16);
}

static int test_64(void)
{
	return test_size(64);
}

static int test_1024(void)
{
	return test_size(1024);
}

static int test_2048(void)
{
	return test_size(2048);
}

static const struct ts_case cases[] = {
	{ "16 kB", test_16, NEED },
	{ "64 kB", test_64, NEED },
	{ "1024 kB", test_1024, NEED },
	{ "2048 kB", test_2048, NEED },
};

int main(void)
{
	/* New memory is from node 0, and nothing but a call moves it. */
	ts_run_on(0);
	ts_set("/proc/sys/kernel/numa_balancing", "0");
	return ts_main(cases, ARRAY_SIZE(cases));
}
