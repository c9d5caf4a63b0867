// SPDX-License-Identifier: GPL-2.0-only
/*
 * While a page is read from swap, after memory was allocated for it that has no
 * storage, another thread reads it, too, writes tags, and swaps it out to where it
 * was: the page table says the same as before, but now there are tags. The first
 * thread does not lose them.
 *
 * For that, the swap area is a compressed RAM disk, which is read without the swap
 * cache, and has room for one more page only. Three quarters of tag storage hold
 * data that cannot be moved, and each page that is read comes to another block.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/swap.h>

#include "ts_common.h"

#define SLOTS		15	/* of the swap area */
#define ROUNDS		16
#define APART		64UL	/* pages, of more than one block */
#define SEED		1
#define USEC		400000
#define FAIL		"metadata_reserve_fail"
#define RAM_DISK	"/dev/zram0"	/* the swap that there is */
#define CONTROL		"/sys/class/zram-control/"
#define NEED		(TS_NEED_ROOT | TS_NEED_CPUS | TS_NEED_COUNTERS | \
			 TS_NEED_REGIONS | TS_NEED_SWAP)

static char small[32], *mem, *filler, *spare;
static size_t spare_used;
static bool swapped_off;

/* Of all, just before the page is read. */
static long fails;

static void restore_swap(void)
{
	if (swapped_off)
		swapon(RAM_DISK, 0);
}

/* A swap area of some pages in place of the one that there is. */
static bool small_swap_on(void)
{
	char id[16] = "", path[64], size[32];

	if (ts_read_file(CONTROL "hot_add", id, sizeof(id)) <= 0)
		return false;
	id[strcspn(id, "\n")] = '\0';
	snprintf(small, sizeof(small), "/dev/zram%s", id);
	snprintf(path, sizeof(path), "/sys/block/zram%s/disksize", id);
	snprintf(size, sizeof(size), "%zu", (SLOTS + 1) * ts_psize);
	if (ts_write_file(path, size) || !ts_make_swap(small, SLOTS + 1))
		return false;
	swapped_off = !swapoff(RAM_DISK);
	atexit(restore_swap);
	return swapped_off && !swapon(small, 0);
}

static void small_swap_off(void)
{
	swapoff(small);
	ts_write_file(CONTROL "hot_remove", small + strlen("/dev/zram"));
	restore_swap();
	swapped_off = false;
}

/* Any tag is right, as it is not known when the others are written. */
static void *reader(void *arg)
{
	(void)arg;
	ts_run_on(1);
	/* What this CPU allocates next has its tags elsewhere each time. */
	ts_data_write(spare, spare_used, APART, SEED);
	spare_used += APART;
	__atomic_store_n(&fails, ts_vmstat(FAIL), __ATOMIC_RELEASE);
	ts_be_slow(true);
	ts_ldg(mem);
	ts_be_slow(false);
	return NULL;
}

/* A page in swap that has no tags yet, in a tagged mapping. */
static bool swap_untagged(void)
{
	mem = ts_map(1, TS_RW, 0);
	ts_data_write(mem, 0, 1, SEED);
	if (!ts_pageout(mem, 0, 1))
		return false;
	ts_protect(mem, 0, 1, TS_RWT);
	return true;
}

/*
 * Return: whether the page came where it had been, and the memory that the other
 * thread has for it is without storage.
 */
static bool read_and_swap(size_t *bad)
{
	unsigned long entry = ts_pagemap(mem), again;
	long hits = ts_slow_hits();
	pthread_t thread;
	bool without;
	double start;

	if (pthread_create(&thread, NULL, reader, NULL))
		ksft_exit_fail_msg("no thread\n");
	ts_wait_slow(hits, 2);
	without = ts_vmstat(FAIL) > __atomic_load_n(&fails, __ATOMIC_ACQUIRE);
	start = ts_now();
	*bad += ts_data_check(mem, 0, 1, SEED);
	ts_tags_write(mem, 0, 1, SEED);
	ts_pageout(mem, 0, 1);
	again = ts_pagemap(mem);
	start = ts_now() - start;
	pthread_join(thread, NULL);
	return entry == again && without && start < USEC / 1e6;
}

static size_t run(void)
{
	size_t bad = 0, i, met = 0;
	bool slow;

	ts_run_on(0);
	filler = ts_map(SLOTS - 1, TS_RW, 0);
	ts_data_write(filler, 0, SLOTS - 1, SEED);
	bad += ts_usually(ts_pageout(filler, 0, SLOTS - 1) == SLOTS - 1,
			  "the swap area to be filled");
	spare = ts_map(ROUNDS * APART, TS_RW, 0);
	madvise(spare, ROUNDS * APART * ts_psize, MADV_NOHUGEPAGE);
	spare_used = 0;
	slow = ts_slow("mem_cgroup_swapin_charge_folio", USEC);
	for (i = 0; i < ROUNDS && !bad; i++) {
		if (swap_untagged())
			met += read_and_swap(&bad);
		bad += ts_check(mem, 0, 1, SEED);
		ts_unmap(mem, 1);
	}
	ts_slow(NULL, 0);
	ksft_print_msg("%zu of %zu times where it was, and read to a page without storage%s\n",
		       met, i, slow ? "" : "; no delay to be had");
	bad += ts_usually(bad || !slow || met >= ROUNDS / 4,
			  "that to happen some times");
	bad += ts_data_check(filler, 0, SLOTS - 1, SEED);
	ts_unmap(filler, SLOTS - 1);
	ts_unmap(spare, ROUNDS * APART);
	return bad;
}

static int used_again(void)
{
	struct ts_ballast ballast = { };
	size_t bad;

	ts_lend(&ballast, 3);
	ts_lent_pin(&ballast);
	if (!small_swap_on()) {
		small_swap_off();
		return ts_skip("no RAM disk to be added");
	}
	bad = run();
	small_swap_off();
	ts_lent_unpin();
	bad += ts_lent_check(&ballast);
	ts_ballast_free(&ballast);
	return ts_result(bad);
}

static const struct ts_case cases[] = {
	{ "entry used again, with tags", used_again, NEED },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
