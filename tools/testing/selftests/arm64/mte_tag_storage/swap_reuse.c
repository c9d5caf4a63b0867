// SPDX-License-Identifier: GPL-2.0-only
/*
 * Swap entries are freed and used again, with tags or without, while others read
 * them: the tags that come with a page are those that were saved with it, neither
 * older nor newer ones.
 *
 * Two threads do to runs of pages of their own, by chance, what there is to do:
 * write, swap out, drop, map anew and tag in swap. The swap area has little more
 * room than their memory, so that entries are used again soon, and readahead of
 * one thread reads those of the other. A third thread empties the swap cache.
 * The data can be compressed, for zswap.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "ts_common.h"

#define RUNS	16
#define RUN	8
#define NR	(RUNS * RUN)
#define SECONDS	1.0	/* and until there was something to see, but not */
#define PATIENCE 60.0	/* for ever */
#define THREADS	2

/* Entries for all pages, and for what the swap cache still has. */
#define DISK_NR	(THREADS * NR + 512)

struct worker {
	pthread_t thread;
	char *mem;
	unsigned int random;
	size_t bad;
	/* What each run has: seeds of the data and of the tags, 0 for zeroes. */
	unsigned long data[RUNS], tags[RUNS];
};

static struct worker workers[THREADS];
static bool enough, stop, use_zswap;

/* The pattern repeats every 16 words. */
static unsigned long word(unsigned long seed, size_t page, size_t i)
{
	return seed ? ts_word(seed, page, i % 16) : 0;
}

static void write_data(struct worker *w, size_t run, unsigned long seed)
{
	size_t page, i;

	ts_tco(true);
	for (page = run * RUN; page < (run + 1) * RUN; page++) {
		unsigned long *p = (unsigned long *)(w->mem + page * ts_psize);

		for (i = 0; i < ts_psize / sizeof(*p); i++)
			p[i] = word(seed, page, i);
	}
	ts_tco(false);
	w->data[run] = seed;
}

static void check(struct worker *w, size_t run)
{
	size_t page, i, bad;

	if (w->tags[run])
		w->bad += ts_tags_check(w->mem, run * RUN, RUN, w->tags[run]);
	else
		w->bad += ts_tags_zero(w->mem, run * RUN, RUN);

	ts_tco(true);
	for (page = run * RUN, bad = 0; page < (run + 1) * RUN; page++) {
		unsigned long *p = (unsigned long *)(w->mem + page * ts_psize);

		for (i = 0; i < ts_psize / sizeof(*p); i++)
			bad += p[i] != word(w->data[run], page, i);
	}
	ts_tco(false);
	w->bad += ts_expect(!bad, "run %zu: all data right, not %zu words wrong",
			    run, bad);
}

/* One access, to one page: the others may come by readahead, or not at all. */
static void check_one(struct worker *w, size_t run)
{
	size_t page = run * RUN + run % RUN;

	if (w->tags[run])
		w->bad += ts_tags_check(w->mem, page, 1, w->tags[run]);
	else
		w->bad += ts_tags_zero(w->mem, page, 1);
}

/* As fresh memory: untagged data that is tagged when it is in swap. */
static void renew(struct worker *w, size_t run, unsigned long seed)
{
	char *p = w->mem + run * RUN * ts_psize;

	if (mmap(p, RUN * ts_psize, TS_RW,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != p) {
		w->bad++;
		return;
	}
	write_data(w, run, seed);
	w->tags[run] = 0;
	madvise(p, RUN * ts_psize, MADV_PAGEOUT);
	ts_protect(p, 0, RUN, TS_RWT);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	unsigned long seed = w - workers + 1;

	while (!__atomic_load_n(&enough, __ATOMIC_RELAXED) && !w->bad) {
		unsigned int random = rand_r(&w->random);
		size_t run = random / 64 % RUNS;
		char *p = w->mem + run * RUN * ts_psize;

		seed += THREADS;
		switch (random / 8 % 8) {
		case 0:
		case 1:
			write_data(w, run, seed);
			ts_tags_write(w->mem, run * RUN, RUN, seed);
			w->tags[run] = seed;
			madvise(p, RUN * ts_psize, MADV_PAGEOUT);
			break;
		case 2:
		case 3:
			madvise(p, RUN * ts_psize, MADV_PAGEOUT);
			break;
		case 4:
			madvise(p, RUN * ts_psize, MADV_DONTNEED);
			w->data[run] = 0;
			w->tags[run] = 0;
			break;
		case 5:
			renew(w, run, seed);
			break;
		case 6:
			check_one(w, run);
			break;
		default:
			check(w, run);
		}
	}
	for (seed = 0; seed < RUNS && !w->bad; seed++)
		check(w, seed);
	return NULL;
}

static void *uncache(void *arg)
{
	(void)arg;
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		ts_write_file("/sys/fs/cgroup/memory.reclaim", "64K");
		usleep(2000);
	}
	return NULL;
}

static long swapped_out(void)
{
	return ts_vmstat("pswpout") + ts_vmstat("zswpout");
}

static size_t stress(void)
{
	long out = swapped_out(), in = ts_vmstat("zswpin");
	double start = ts_now();
	pthread_t reclaimer;
	size_t bad = 0, i;

	stop = false;
	enough = false;
	for (i = 0; i < THREADS; i++) {
		struct worker *w = &workers[i];

		*w = (struct worker) { .random = i + 1 };
		w->mem = ts_map(NR, TS_RWT, 0);
		madvise(w->mem, NR * ts_psize, MADV_NOHUGEPAGE);
	}
	if (pthread_create(&reclaimer, NULL, uncache, NULL))
		ksft_exit_fail_msg("no thread\n");
	for (i = 0; i < THREADS; i++)
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
			ksft_exit_fail_msg("no thread\n");
	do {
		usleep(50 * 1000);
	} while (ts_now() - start < SECONDS ||
		 (ts_now() - start < PATIENCE &&
		  (swapped_out() - out <= THREADS * NR ||
		   (use_zswap && ts_vmstat("zswpin") - in <= NR))));
	__atomic_store_n(&enough, true, __ATOMIC_RELAXED);
	for (i = 0; i < THREADS; i++) {
		pthread_join(workers[i].thread, NULL);
		bad += workers[i].bad;
		ts_unmap(workers[i].mem, NR);
	}
	stop = true;
	pthread_join(reclaimer, NULL);
	out = swapped_out() - out;
	bad += ts_expect(out > THREADS * NR,
			 "entries to be used again and again, not %ld in all", out);
	return bad;
}

static int in_ram(void)
{
	return ts_result(stress());
}

static int on_disk(const char *rotational)
{
	size_t bad;

	ts_set(TS_DISK_QUEUE "rotational", rotational);
	ts_set("/proc/sys/vm/page-cluster", "3");
	if (!ts_disk_on(DISK_NR))
		return KSFT_FAIL;
	bad = stress();
	bad += ts_expect(ts_disk_off(), "swapoff() to succeed");
	return ts_result(bad);
}

static int by_place(void)
{
	return on_disk("1");
}

static int by_address(void)
{
	return on_disk("0");
}

/* What comes from zswap to the swap cache is dirty, and can only stay there. */
static int in_zswap(void)
{
	long in = ts_vmstat("zswpin");
	int ret;

	ts_set("/sys/module/zswap/parameters/enabled", "Y");
	use_zswap = true;
	ret = on_disk("1");
	use_zswap = false;
	in = ts_vmstat("zswpin") - in;
	if (ts_expect(in > NR, "many pages to come from zswap, not %ld", in))
		ret = KSFT_FAIL;
	ts_set("/sys/module/zswap/parameters/enabled", "N");
	return ret;
}

#define NEED	(TS_NEED_SWAP | TS_NEED_ROOT)

static const struct ts_case cases[] = {
	{ "swap in RAM", in_ram, NEED },
	{ "disk, readahead by place", by_place, NEED | TS_NEED_DISK },
	{ "disk, readahead by address", by_address, NEED | TS_NEED_DISK },
	{ "zswap", in_zswap, NEED | TS_NEED_DISK },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
