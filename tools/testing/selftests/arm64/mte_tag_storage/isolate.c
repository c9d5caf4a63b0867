// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages whose pageblocks are isolated from the page allocator at the moment
 * become tagged all the same, and keep data and tags; so they do while their
 * tags' storage is isolated. To isolate memory, ask for it to be taken offline:
 * the kernel refuses that for memory that was there at boot, but only after it
 * has isolated and freed all its pageblocks.
 */
#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ts_common.h"

#define NR	1024
#define SEED	1
#define BLOCKS	"/sys/devices/system/memory"

static bool stop;
static unsigned long attempts, taken;

static unsigned long block_pages(void)
{
	char buf[32] = "";

	ts_read_file(BLOCKS "/block_size_bytes", buf, sizeof(buf));
	return strtoul(buf, NULL, 16) / ts_psize;
}

static int offline(unsigned long block)
{
	char path[128];
	int ret;

	snprintf(path, sizeof(path), BLOCKS "/memory%lu/state", block);
	ret = ts_write_file(path, "offline");
	if (!ret)
		ts_write_file(path, "online");
	return ret;
}

/* Each block of the region, of its data and of its tags, again and again. */
static void *isolate(void *arg)
{
	struct ts_region *r = arg;
	unsigned long per_block = block_pages(), block;

	ts_be_slow(true);
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		unsigned long last = (r->tag_pfn + r->tag_pages - 1) / per_block;

		for (block = r->data_pfn / per_block; block <= last; block++) {
			taken += !offline(block);
			attempts++;
			if (__atomic_load_n(&stop, __ATOMIC_RELAXED))
				break;
		}
	}
	ts_be_slow(false);
	return NULL;
}

/* Some rounds of mprotect() and access, mmap() and access, and release. */
static size_t touch(bool waits)
{
	double end = ts_now() + 1.5;
	size_t bad = 0;

	while (!bad && ts_now() < end) {
		char *mem;

		if (waits) {
			mem = ts_map_none(NR, SEED);
			bad += ts_none_touch(mem, 0, NR, SEED);
		} else {
			mem = ts_map(NR, TS_RWT, 0);
			bad += ts_tags_zero(mem, 0, NR);
			ts_write(mem, 0, NR, SEED);
			bad += ts_check(mem, 0, NR, SEED);
		}
		ts_unmap(mem, NR);
	}
	return bad;
}

/* Tag storage is still what it was when it is isolated no more. */
static size_t storage_back(long free)
{
	double end = ts_now() + 5;
	long now;

	do {
		usleep(100 * 1000);
		ts_drain();
		ts_fold();
		now = ts_vmstat("nr_free_metadata");
	} while (now < free - 64 && ts_now() < end);
	return ts_usually(now >= free - 64,
			  "about %ld pages of tag storage free again, not %ld",
			  free, now);
}

static int meanwhile(bool waits)
{
	struct ts_ballast ballast = { };
	struct ts_region region;
	pthread_t thread;
	size_t bad;
	bool slow;
	long free;

	if (access(BLOCKS "/block_size_bytes", R_OK))
		return ts_skip("no memory blocks to be taken offline");
	ts_regions(&region, 1);
	ts_fold();
	free = ts_vmstat("nr_free_metadata");
	if (waits)
		ts_lend(&ballast, 2);
	/* Isolated for longer, where the kernel can do that. */
	slow = ts_slow("start_isolate_page_range", 2000);
	stop = false;
	attempts = 0;
	taken = 0;
	if (pthread_create(&thread, NULL, isolate, &region))
		ksft_exit_fail_msg("no thread\n");
	bad = touch(waits);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	bad += ts_expect(!slow || ts_slow_hits() > 0, "delays to take place");
	ts_slow(NULL, 0);
	if (waits) {
		bad += ts_lent_check(&ballast);
		ts_ballast_free(&ballast);
	}
	bad += storage_back(free);
	ksft_print_msg("%lu attempts to take memory offline\n", attempts);
	bad += ts_expect(attempts > 0, "memory to be isolated");
	bad += ts_expect(!taken, "memory to stay, %lu blocks did not", taken);
	return ts_result(bad);
}

static int isolated_new(void)
{
	return meanwhile(false);
}

static int isolated_waiting(void)
{
	return meanwhile(true);
}

#define NEED	(TS_NEED_ROOT | TS_NEED_COUNTERS | TS_NEED_REGIONS | TS_NEED_CPUS)

static const struct ts_case cases[] = {
	{ "new pages", isolated_new, NEED },
	{ "pages that wait for storage", isolated_waiting, NEED },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
