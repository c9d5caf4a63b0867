// SPDX-License-Identifier: GPL-2.0-only
/*
 * Workloads of "make bench" on tagged memory, one operation each.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <unistd.h>
#include <sys/wait.h>

#include "bench.h"

/* Pages of one repetition. */
#define NR	2048

/* The same where pages are kept, or where each of them takes long. */
#define NR_KEPT	1024

#define ROUNDS	1024

#define SEED	0xbe7c

static struct ts_ballast ballast;

/* Base pages that are tagged when they come into being. */
static char *map_tagged(size_t nr)
{
	char *mem = ts_map(nr, TS_RWT, 0);

	madvise(mem, nr * ts_psize, MADV_NOHUGEPAGE);
	return mem;
}

static void fault_base(void)
{
	char *mem = map_tagged(NR);

	bench_begin();
	bench_write(mem, NR);
	bench_end("tagged-fault", NR);
	bench_begin();
	ts_unmap(mem, NR);
	bench_end("tagged-unmap", NR);
}

static void fault_large(const char *section)
{
	char *mem = ts_map_huge(NR * ts_psize);

	ts_protect(mem, 0, NR, TS_RWT);
	bench_begin();
	bench_write(mem, NR);
	bench_end(section, NR);
	ts_unmap(mem, NR);
}

static void make_64k(void)
{
	ts_thp_set("hugepages-2048kB/enabled", "never");
	ts_thp_set("hugepages-64kB/enabled", "always");
}

static void fault_64k(void)
{
	fault_large("tagged-fault-64k");
}

static void fault_2m(void)
{
	fault_large("tagged-fault-2m");
}

/* Data in half, or in all, of tag storage. It is moved away only once. */
static void lend(unsigned int quarters)
{
	size_t lent = ts_lend(&ballast, quarters);

	printf("# %zu pages of data in tag storage, %ld pages of it are free\n", lent,
	       ts_vmstat("nr_free_metadata"));
}

static void lend_half(void)
{
	lend(2);
}

static void lend_all(void)
{
	lend(4);
}

/* These pages stay, so that the next repetition needs other storage. */
static void fault_kept(const char *section)
{
	char *mem = map_tagged(NR_KEPT);

	bench_begin();
	bench_write(mem, NR_KEPT);
	bench_end(section, NR_KEPT);
}

static void fault_half(void)
{
	fault_kept("tagged-fault-half");
}

static void fault_full(void)
{
	fault_kept("tagged-fault-full");
}

/* Pages in use become tagged, and are then read. */
static char *map_used(size_t nr)
{
	char *mem = ts_map(nr, TS_RW, 0);

	madvise(mem, nr * ts_psize, MADV_NOHUGEPAGE);
	bench_write(mem, nr);
	return mem;
}

static void mprotect_touch_pages(const char *section, char *mem, size_t nr)
{
	bench_begin();
	ts_protect(mem, 0, nr, TS_RWT);
	bench_load_pages(mem, nr);
	bench_end(section, nr);
}

static void mprotect_touch(void)
{
	char *mem = map_used(NR);

	mprotect_touch_pages("mprotect-touch", mem, NR);
	ts_unmap(mem, NR);

	mem = map_used(NR);
	bench_begin();
	ts_protect(mem, 0, NR, TS_RWT);
	bench_end("mprotect", NR);
	ts_unmap(mem, NR);
}

static void mprotect_touch_full(void)
{
	mprotect_touch_pages("mprotect-touch-full", map_used(NR_KEPT), NR_KEPT);
}

/* One page comes and goes. */
static void ping_pong(void)
{
	char *mem = map_tagged(1);
	int i;

	bench_begin();
	for (i = 0; i < ROUNDS; i++) {
		bench_write(mem, 1);
		madvise(mem, ts_psize, MADV_DONTNEED);
	}
	bench_end("tagged-ping-pong", ROUNDS);
	ts_unmap(mem, 1);
}

/* The parent writes while a child, which sleeps, has the same pages. */
static void cow_pages(void)
{
	char *mem = map_tagged(NR), byte;
	int fd[2];
	pid_t pid;

	bench_write(mem, NR);
	if (pipe(fd))
		ksft_exit_fail_msg("no pipe\n");
	pid = fork();
	if (!pid) {
		close(fd[1]);
		_exit(read(fd[0], &byte, 1));
	}
	close(fd[0]);
	bench_begin();
	bench_write(mem, NR);
	bench_end("tagged-cow", NR);
	close(fd[1]);
	waitpid(pid, NULL, 0);
	ts_unmap(mem, NR);
}

static void swap_pages(const char *out, const char *in, int prot)
{
	char *mem = ts_map(NR_KEPT, prot, 0);
	size_t swapped;

	madvise(mem, NR_KEPT * ts_psize, MADV_NOHUGEPAGE);
	ts_data_write(mem, 0, NR_KEPT, SEED);
	if (prot & PROT_MTE)
		ts_tags_write(mem, 0, NR_KEPT, SEED);
	bench_begin();
	madvise(mem, NR_KEPT * ts_psize, MADV_PAGEOUT);
	bench_end(out, NR_KEPT);
	swapped = ts_swapped(mem, 0, NR_KEPT);
	if (swapped < NR_KEPT * 9 / 10)
		ksft_exit_fail_msg("%zu of %d pages swapped out\n", swapped, NR_KEPT);
	ts_tco(true);
	bench_begin();
	bench_load_pages(mem, NR_KEPT);
	bench_end(in, swapped);
	ts_tco(false);
	ts_unmap(mem, NR_KEPT);
}

static void swap_plain(void)
{
	swap_pages("swap-out", "swap-in", TS_RW);
}

static void swap_tagged(void)
{
	swap_pages("tagged-swap-out", "tagged-swap-in", TS_RWT);
}

/*
 * Of the pages in most of memory, three quarters go; compaction moves the others
 * together.
 */
static void compact_pages(const char *section, int prot)
{
	long kb = ts_meminfo("MemFree"), storage = ts_meminfo("MetadataFree");
	long moved;
	size_t nr, i;
	char *mem;

	nr = (storage > 0 ? kb - storage : kb) / 4 * 3 * 1024 / ts_psize & -4UL;
	mem = ts_map(nr, prot, 0);
	madvise(mem, nr * ts_psize, MADV_NOHUGEPAGE);
	bench_write(mem, nr);
	for (i = 0; i < nr; i += 4)
		madvise(mem + i * ts_psize, 3 * ts_psize, MADV_DONTNEED);
	moved = ts_vmstat("pgmigrate_success");
	bench_begin();
	ts_compact();
	bench_end(section, ts_vmstat("pgmigrate_success") - moved);
	ts_unmap(mem, nr);
}

static void compact(void)
{
	compact_pages("compact", TS_RW);
}

static void tagged_compact(void)
{
	compact_pages("tagged-compact", TS_RWT);
}

const struct bench_workload bench_tagged[] = {
	{ "tagged-fault", NULL, fault_base, 100 },
	{ "tagged-fault-64k", make_64k, fault_64k, 100 },
	{ "tagged-fault-2m", NULL, fault_2m, 100 },
	{ "tagged-fault-half", lend_half, fault_half, 20 },
	{ "tagged-fault-full", lend_all, fault_full, 20 },
	{ "mprotect", NULL, mprotect_touch, 100 },
	{ "mprotect-full", lend_all, mprotect_touch_full, 20 },
	{ "tagged-ping-pong", NULL, ping_pong, 100 },
	{ "tagged-cow", NULL, cow_pages, 100 },
	{ "swap", NULL, swap_plain, 100 },
	{ "tagged-swap", NULL, swap_tagged, 100 },
	{ "compact", NULL, compact, 3 },
	{ "tagged-compact", NULL, tagged_compact, 3 },
	{ }
};
