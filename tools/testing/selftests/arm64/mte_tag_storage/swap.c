// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages that are swapped out and in again keep data and tags, for each process
 * that shares them; pages swapped out before they became tagged come back with
 * their data and zero tags.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/swap.h>

#include "ts_common.h"

#define NR	512
#define TIMEOUT	120

static char *mem;
static bool stop;

/* Most of the pages have to get out, or nothing would be tested. */
static size_t swap_out(size_t first, size_t nr)
{
	size_t swapped = ts_pageout(mem, first, nr);

	return ts_expect(swapped > nr / 2, "most of %zu pages to be in swap, %zu are",
			 nr, swapped);
}

static int tagged(void)
{
	size_t bad = 0;
	int i;

	mem = ts_map(NR, TS_RWT, 0);
	for (i = 0; i < 4; i++) {
		ts_write(mem, 0, NR, i);
		bad += swap_out(0, NR);
		bad += ts_check(mem, 0, NR, i);
		/* Once more, now without a write in between. */
		bad += swap_out(0, NR);
		bad += ts_check(mem, 0, NR, i);
	}
	ts_unmap(mem, NR);
	return ts_result(bad);
}

/* Tagged only when the data is in swap. */
static int protect_swapped(void)
{
	size_t bad;

	mem = ts_map(NR, TS_RW, 0);
	ts_data_write(mem, 0, NR, 1);
	bad = swap_out(0, NR);
	ts_protect(mem, 0, NR, TS_RWT);
	bad += ts_tags_zero(mem, 0, NR);
	bad += ts_data_check(mem, 0, NR, 1);
	ts_tags_write(mem, 0, NR, 1);
	bad += ts_check(mem, 0, NR, 1);
	bad += swap_out(0, NR);
	bad += ts_check(mem, 0, NR, 1);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

/* A write as the first access: the page comes in and is made writable. */
static int protect_swapped_write(void)
{
	size_t bad, i;

	mem = ts_map(NR, TS_RW, 0);
	ts_data_write(mem, 0, NR, 1);
	bad = swap_out(0, NR);
	ts_protect(mem, 0, NR, TS_RWT);
	for (i = 0; i < NR; i++)
		ts_store(mem + i * ts_psize, ts_word(1, i, 0));
	bad += ts_data_check(mem, 0, NR, 1);
	bad += ts_tags_zero(mem, 0, NR);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

/* Marked by mprotect(), and swapped out before any access. */
static int protect_then_out(void)
{
	size_t bad;

	mem = ts_map(NR, TS_RW, 0);
	ts_data_write(mem, 0, NR, 1);
	ts_protect(mem, 0, NR, TS_RWT);
	bad = swap_out(0, NR);
	bad += ts_tags_zero(mem, 0, NR);
	bad += ts_data_check(mem, 0, NR, 1);
	ts_tags_write(mem, 0, NR, 1);
	bad += ts_check(mem, 0, NR, 1);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

static int child(void *arg)
{
	unsigned long seed = (unsigned long)arg;
	size_t bad;

	bad = ts_check(mem, 0, NR, 1);
	ts_write(mem, 0, NR, seed);
	bad += swap_out(0, NR);
	bad += ts_check(mem, 0, NR, seed);
	return bad != 0;
}

/* The swap entries are shared; all take their copies at the same time. */
static int shared(void)
{
	pid_t pid[3];
	size_t bad;
	unsigned long i;

	mem = ts_map(NR, TS_RWT, 0);
	ts_write(mem, 0, NR, 1);
	bad = swap_out(0, NR);
	for (i = 0; i < ARRAY_SIZE(pid); i++) {
		pid[i] = fork();
		if (!pid[i])
			_exit(child((void *)(i + 2)));
	}
	bad += ts_check(mem, 0, NR, 1);
	for (i = 0; i < ARRAY_SIZE(pid); i++)
		bad += ts_expect(!ts_wait(pid[i], TIMEOUT), "child to end with 0");
	bad += ts_check(mem, 0, NR, 1);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

/* Entries that are dropped take their saved tags with them. */
static int dropped(void)
{
	size_t bad, i;

	mem = ts_map(NR, TS_RWT, 0);
	ts_write(mem, 0, NR, 1);
	bad = swap_out(0, NR);
	for (i = 0; i < NR; i += 8)
		madvise(mem + i * ts_psize, 4 * ts_psize, MADV_DONTNEED);
	for (i = 0; i < NR; i += 8) {
		bad += ts_tags_zero(mem, i, 4);
		bad += ts_check(mem, i + 4, 4, 1);
	}
	ts_unmap(mem, NR);

	/* The slots of the swap area are used again by untagged pages. */
	mem = ts_map(NR, TS_RW, 0);
	ts_data_write(mem, 0, NR, 2);
	bad += swap_out(0, NR);
	ts_protect(mem, 0, NR, TS_RWT);
	bad += ts_tags_zero(mem, 0, NR);
	bad += ts_data_check(mem, 0, NR, 2);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

static void *keep_out(void *arg)
{
	(void)arg;
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
		madvise(mem, NR / 8 * ts_psize, MADV_PAGEOUT);
	return NULL;
}

/* Swapped out by one thread while another one writes and reads. */
static int race(void)
{
	double end = ts_now() + 5;
	pthread_t thread;
	size_t bad = 0;
	unsigned long i;

	mem = ts_map(NR, TS_RWT, 0);
	stop = false;
	if (pthread_create(&thread, NULL, keep_out, NULL))
		return ts_skip("no thread");
	for (i = 0; ts_now() < end && !bad; i++) {
		ts_write(mem, 0, NR / 8, i);
		bad += ts_check(mem, 0, NR / 8, i);
		bad += ts_check(mem, 0, NR / 8, i);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

/* A huge page, whole and then in parts. */
static int huge(void)
{
	size_t size = ts_huge_size(), nr = size / ts_psize, bad;

	mem = ts_map_huge(2 * size);
	ts_protect(mem, 0, 2 * nr, TS_RWT);
	ts_write(mem, 0, 2 * nr, 1);
	bad = swap_out(0, 2 * nr);
	bad += ts_check(mem, 0, 2 * nr, 1);
	ts_unmap(mem, 2 * nr);

	mem = ts_map_huge(2 * size);
	ts_protect(mem, 0, 2 * nr, TS_RWT);
	ts_write(mem, 0, 2 * nr, 2);
	bad += swap_out(nr / 2, nr);
	bad += ts_check(mem, 0, 2 * nr, 2);
	madvise(mem, nr / 4 * ts_psize, MADV_DONTNEED);
	bad += swap_out(nr / 4, nr);
	bad += ts_tags_zero(mem, 0, nr / 4);
	bad += ts_check(mem, nr / 4, 2 * nr - nr / 4, 2);
	ts_unmap(mem, 2 * nr);
	return ts_result(bad);
}

/* swapoff brings all of it back. */
static int off(void)
{
	char buf[512], *path, *prio, *end;
	size_t bad;
	int flags;

	if (ts_read_file("/proc/swaps", buf, sizeof(buf)) <= 0)
		return ts_skip("no /proc/swaps");
	path = strchr(buf, '\n');
	if (!path || !path[1] || strchr(path + 1, '\n')[1])
		return ts_skip("not exactly one swap area");
	path++;
	prio = strrchr(path, '\t');
	flags = prio ? atoi(prio) : -1;
	flags = flags < 0 ? 0 : SWAP_FLAG_PREFER | flags;
	end = strpbrk(path, " \t");
	if (!end)
		return ts_skip("/proc/swaps not understood");
	*end = '\0';

	mem = ts_map(NR, TS_RWT, 0);
	ts_write(mem, 0, NR, 1);
	bad = swap_out(0, NR);
	if (swapoff(path)) {
		ts_unmap(mem, NR);
		return ts_skip("swapoff failed");
	}
	bad += ts_check(mem, 0, NR, 1);
	bad += ts_expect(!swapon(path, flags), "swapon() to succeed");
	ts_unmap(mem, NR);
	return ts_result(bad);
}

/* Tags in swap need no tag storage. */
static int gives_back(void)
{
	struct ts_counters before, after;
	size_t bad;

	mem = ts_map(4 * NR, TS_RWT, 0);
	ts_write(mem, 0, 4 * NR, 1);
	ts_counters(&before);
	bad = swap_out(0, 4 * NR);
	if (!ts_wait_reserved(before.reserved - 1, 20))
		bad += ts_expect(false, "storage to be given back");
	ts_counters(&after);
	bad += ts_check(mem, 0, 4 * NR, 1);
	ts_unmap(mem, 4 * NR);
	ksft_print_msg("%ld pages of storage reserved before, %ld after\n",
		       before.reserved, after.reserved);
	return ts_result(bad);
}

static const struct ts_case cases[] = {
	{ "tagged pages", tagged, TS_NEED_SWAP },
	{ "mprotect while swapped out", protect_swapped, TS_NEED_SWAP },
	{ "mprotect while swapped out, write first", protect_swapped_write,
	  TS_NEED_SWAP },
	{ "swapped out after mprotect", protect_then_out, TS_NEED_SWAP },
	{ "shared by processes", shared, TS_NEED_SWAP },
	{ "dropped entries", dropped, TS_NEED_SWAP },
	{ "swapped out while in use", race, TS_NEED_SWAP },
	{ "huge pages", huge, TS_NEED_SWAP | TS_NEED_THP },
	{ "storage is given back", gives_back, TS_NEED_SWAP | TS_NEED_COUNTERS },
	{ "swapoff", off, TS_NEED_SWAP | TS_NEED_ROOT },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
