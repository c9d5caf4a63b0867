// SPDX-License-Identifier: GPL-2.0-only
/*
 * A page that is moved, by compaction or on request, keeps data and tags, while
 * other threads write to it and while it waits for its tag storage.
 */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/syscall.h>

#include "ts_common.h"

#define NR		2048
#define MPOL_BIND	2
#define MPOL_MF_MOVE	2

static char *mem;
static bool stop;
static size_t mutator_bad;

/* Half of the pages belong to a thread that writes all the time. */
static void *mutate(void *arg)
{
	unsigned long seed;

	(void)arg;
	for (seed = 10; !__atomic_load_n(&stop, __ATOMIC_RELAXED); seed++) {
		ts_write(mem, NR / 2, NR / 2, seed);
		mutator_bad += ts_check(mem, NR / 2, NR / 2, seed);
	}
	return NULL;
}

static size_t mutator(pthread_t *thread, bool start)
{
	if (start) {
		stop = false;
		mutator_bad = 0;
		return pthread_create(thread, NULL, mutate, NULL) != 0;
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(*thread, NULL);
	return mutator_bad;
}

/*
 * Memory in single pages with holes between them, and much free memory on both
 * sides, which gives compaction both something to move and somewhere to move it.
 * Where they lie is different from one @try to the next.
 */
static char *holes(size_t nr, unsigned int try)
{
	unsigned int eighths = 1 + (try + 3) % 6;
	size_t nr_bulk = ts_meminfo("MemAvailable") / 8 * eighths * 1024 /
			 ts_psize, i;
	char *bulk = ts_map(nr_bulk, TS_RW, MAP_NORESERVE);
	char *other = ts_map(nr, TS_RW, 0);

	madvise(bulk, nr_bulk * ts_psize, MADV_HUGEPAGE);
	madvise(bulk, nr_bulk * ts_psize, MADV_POPULATE_WRITE);
	madvise(other, nr * ts_psize, MADV_NOHUGEPAGE);
	madvise(mem, NR * ts_psize, MADV_NOHUGEPAGE);
	for (i = 0; i < nr; i++) {
		ts_store(other + i * ts_psize, i);
		ts_store(mem + i % NR * ts_psize, i);
	}
	for (i = 0; i < nr; i += 2)
		madvise(other + i * ts_psize, ts_psize, MADV_DONTNEED);
	ts_unmap(bulk, nr_bulk);
	return other;
}

static void note_pfns(unsigned long *pfns)
{
	size_t i;

	for (i = 0; i < NR; i++)
		pfns[i] = ts_pfn(mem + i * ts_psize);
}

static size_t moved(const unsigned long *pfns)
{
	size_t i, nr = 0;

	for (i = 0; i < NR; i++)
		nr += ts_pfn(mem + i * ts_psize) != pfns[i];
	return nr;
}

static int compact(void)
{
	static unsigned long pfns[NR];
	size_t bad = 0, nr_moved = 0;
	pthread_t thread;
	int i;

	for (i = 0; i < 12 && !bad && (i < 2 || !nr_moved); i++) {
		char *other;

		mem = ts_map(NR, TS_RWT, 0);
		other = holes(2 * NR, i);
		ts_write(mem, 0, NR, 1);
		note_pfns(pfns);
		bad += mutator(&thread, true);
		bad += ts_expect(!ts_compact(), "compaction to start");
		bad += ts_check(mem, 0, NR / 2, 1);
		bad += ts_expect(!ts_compact(), "compaction to start");
		bad += ts_check(mem, 0, NR / 2, 1);
		bad += mutator(&thread, false);
		nr_moved += moved(pfns);
		ts_unmap(other, 2 * NR);
		ts_unmap(mem, NR);
	}
	ksft_print_msg("%zu pages moved\n", nr_moved);
	if (!bad && !nr_moved)
		return ts_skip("compaction moved none of the pages");
	return ts_result(bad);
}

/* Marked by mprotect(), moved, and touched only then. */
static int compact_untouched(void)
{
	static unsigned long pfns[NR];
	size_t bad = 0, nr_moved = 0;
	char *other;
	int i;

	for (i = 0; i < 12 && !bad && !nr_moved; i++) {
		mem = ts_map(NR, TS_RW, 0);
		other = holes(2 * NR, i);
		ts_data_write(mem, 0, NR, 1);
		ts_protect(mem, 0, NR, TS_RWT);
		note_pfns(pfns);
		bad += ts_expect(!ts_compact(), "compaction to start");
		nr_moved += moved(pfns);
		bad += ts_tags_zero(mem, 0, NR);
		bad += ts_data_check(mem, 0, NR, 1);
		ts_tags_write(mem, 0, NR, 1);
		bad += ts_expect(!ts_compact(), "compaction to start");
		bad += ts_check(mem, 0, NR, 1);
		ts_unmap(other, 2 * NR);
		ts_unmap(mem, NR);
	}
	ksft_print_msg("%zu pages moved\n", nr_moved);
	if (!bad && !nr_moved)
		return ts_skip("compaction moved none of the pages");
	return ts_result(bad);
}

static void *compact_always(void *arg)
{
	(void)arg;
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
		ts_compact();
	return NULL;
}

/* mprotect() and the first access while compaction moves the pages. */
static int compact_race(void)
{
	pthread_t thread;
	size_t bad = 0;
	char *other;
	int i;

	stop = false;
	if (pthread_create(&thread, NULL, compact_always, NULL))
		return ts_skip("no thread");
	for (i = 0; i < 3 && !bad; i++) {
		mem = ts_map(NR, TS_RW, 0);
		other = holes(2 * NR, i);
		ts_data_write(mem, 0, NR, i);
		ts_protect(mem, 0, NR, TS_RWT);
		bad += ts_tags_zero(mem, 0, NR);
		ts_tags_write(mem, 0, NR, i);
		bad += ts_check(mem, 0, NR, i);
		ts_unmap(other, 2 * NR);
		bad += ts_check(mem, 0, NR, i);
		ts_unmap(mem, NR);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	return ts_result(bad);
}

/* Pages now on @node; -1 if the request fails. */
static long move_to(int node, size_t nr)
{
	static void *pages[NR];
	static int nodes[NR], status[NR];
	long on_node = 0;
	size_t i;

	for (i = 0; i < nr; i++) {
		pages[i] = mem + i * ts_psize;
		nodes[i] = node;
	}
	if (syscall(__NR_move_pages, 0, nr, pages, nodes, status,
		    MPOL_MF_MOVE) < 0)
		return -1;
	for (i = 0; i < nr; i++)
		on_node += status[i] == node;
	return on_node;
}

static int request(void)
{
	pthread_t thread;
	size_t bad;
	long nr;
	int i;

	mem = ts_map(NR, TS_RWT, 0);
	ts_write(mem, 0, NR, 1);
	bad = mutator(&thread, true);
	for (i = 0; i < 6; i++) {
		nr = move_to(i & 1, NR);
		bad += ts_expect(nr > 0, "pages to move to node %d", i & 1);
		bad += ts_check(mem, 0, NR / 2, 1);
	}
	bad += mutator(&thread, false);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

static int request_untouched(void)
{
	size_t bad;

	mem = ts_map(NR, TS_RW, 0);
	ts_data_write(mem, 0, NR, 1);
	ts_protect(mem, 0, NR, TS_RWT);
	bad = ts_expect(move_to(1, NR) > 0, "pages to move to node 1");
	bad += ts_expect(move_to(0, NR) > 0, "pages to move to node 0");
	bad += ts_tags_zero(mem, 0, NR);
	ts_tags_write(mem, 0, NR, 1);
	bad += ts_check(mem, 0, NR, 1);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

static int bind(void)
{
	size_t bad = 0;
	int i;

	mem = ts_map(NR, TS_RWT, 0);
	ts_write(mem, 0, NR, 1);
	for (i = 0; i < 6; i++) {
		unsigned long mask = 1UL << (i & 1);
		long ret = syscall(__NR_mbind, mem, NR * ts_psize, MPOL_BIND,
				   &mask, 8 * sizeof(mask), MPOL_MF_MOVE);

		bad += ts_expect(!ret, "mbind() to succeed");
		bad += ts_check(mem, 0, NR, 1);
	}
	ts_unmap(mem, NR);
	return ts_result(bad);
}

static const struct ts_case cases[] = {
	{ "compaction", compact, TS_NEED_ROOT },
	{ "compaction before the first access", compact_untouched, TS_NEED_ROOT },
	{ "compaction against mprotect", compact_race, TS_NEED_ROOT },
	{ "move_pages", request, TS_NEED_NODES },
	{ "move_pages before the first access", request_untouched,
	  TS_NEED_NODES },
	{ "mbind", bind, TS_NEED_NODES },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
