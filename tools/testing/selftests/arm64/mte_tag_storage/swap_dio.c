// SPDX-License-Identifier: GPL-2.0-only
/*
 * Nothing is lost of what O_DIRECT reads into pages that another thread swaps
 * out all the time, nor of what the CPU writes to the other half of these pages,
 * nor of their tags. The same for what O_DIRECT writes. There is no fork().
 *
 * If a page that comes back from swap did not count as this process's own, the
 * CPU's next write would copy it, and the data would get into the old page.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ts_common.h"

#define NR	16
#define SECONDS	0.5	/* and until there was something to see, but not */
#define PATIENCE 20.0	/* for ever */
#define DISK_NR	(16UL << 20 >> 12)

/* Behind the part that is used for swap. */
#define FILE_POS	(32UL << 20)

static char *mem;
static bool stop, with_tags;
static size_t half, words;
static int fd;

/*
 * Pages that this CPU has got are in a batch of its own at first, from where the
 * other thread cannot get them out.
 */
static void drain(void)
{
	static char *any;

	if (!any)
		any = ts_map(1, TS_RW, 0);
	madvise(any, ts_psize, MADV_COLD);
}

static void *keep_out(void *arg)
{
	(void)arg;
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
		madvise(mem, NR * ts_psize, MADV_PAGEOUT);
	return NULL;
}

static void open_disk(int flags)
{
	fd = open(TS_DISK, flags | O_DIRECT);
	if (fd < 0)
		ksft_exit_fail_msg("open of %s: %s\n", TS_DISK, strerror(errno));
}

/* On the disk, page i has the data pattern of seed 1. */
static void fill_disk(void)
{
	size_t size = NR * ts_psize;

	open_disk(O_WRONLY);
	mem = ts_map(NR, TS_RW, 0);
	ts_data_write(mem, 0, NR, 1);
	if (pwrite(fd, mem, size, FILE_POS) != (ssize_t)size)
		ksft_exit_fail_msg("write to %s: %s\n", TS_DISK, strerror(errno));
	ts_unmap(mem, NR);
	close(fd);
}

/* The first half of @page is from page @from of the disk, the other of @seed. */
static size_t check_halves(size_t page, size_t from, unsigned long seed)
{
	unsigned long *p = (unsigned long *)(mem + page * ts_psize);
	size_t i, bad = 0;

	ts_tco(true);
	for (i = 0; i < words / 2 && !bad; i++)
		bad = p[i] != ts_word(1, from, i);
	if (bad)
		ksft_print_msg("page %zu word %zu: read from the disk, and lost\n",
			       page, i - 1);
	for (i = words / 2; i < words && bad < 2; i++) {
		if (p[i] == ts_word(seed, page, i))
			continue;
		ksft_print_msg("page %zu word %zu: written, and lost\n", page, i);
		bad = 2;
	}
	ts_tco(false);
	if (with_tags)
		bad += ts_tags_check(mem, page, 1, 9);
	return bad;
}

static size_t read_page(size_t page, size_t from, unsigned long seed)
{
	unsigned long *p = (unsigned long *)(mem + page * ts_psize);
	size_t i;

	ts_tco(true);
	for (i = words / 2; i < words * 3 / 4; i++)
		p[i] = ts_word(seed, page, i);
	ts_tco(false);
	if (pread(fd, p, half, FILE_POS + from * ts_psize) != (ssize_t)half)
		return ts_expect(false, "a read of %zu bytes, not %s", half,
				 strerror(errno));
	ts_tco(true);
	for (; i < words; i++)
		p[i] = ts_word(seed, page, i);
	ts_tco(false);
	return 0;
}

/* Another thread reads: the CPU writes while the data comes in. */
static void *read_beside(void *arg)
{
	size_t *page = arg;
	char *p = mem + *page * ts_psize;

	if (pread(fd, p, half, FILE_POS + *page * ts_psize) != (ssize_t)half)
		*page = NR;
	return NULL;
}

static size_t write_beside(size_t page, unsigned long seed)
{
	unsigned long *p = (unsigned long *)(mem + page * ts_psize);
	size_t i, arg = page;
	pthread_t thread;

	if (pthread_create(&thread, NULL, read_beside, &arg))
		return 1;
	ts_tco(true);
	for (i = words / 2; i < words; i++)
		p[i] = ts_word(seed, page, i);
	ts_tco(false);
	pthread_join(thread, NULL);
	return arg != page;
}

/* Since when, and pages swapped out until then. */
static double start;
static long out;

static bool go_on(void)
{
	double now = ts_now() - start;

	return now < SECONDS ||
	       (now < PATIENCE && ts_vmstat("pswpout") - out <= NR / 2);
}

static size_t reads(void)
{
	unsigned long round;
	size_t bad = 0, i;

	for (round = 2; go_on() && !bad; round++) {
		for (i = 0; i < NR; i++) {
			bad += read_page(i, (i + round) % NR, round);
			drain();
		}
		for (i = 0; i < NR; i++)
			bad += check_halves(i, (i + round) % NR, round);
		for (i = 0; i < NR && !bad; i += 4) {
			bad += write_beside(i, round);
			bad += check_halves(i, i, round);
		}
	}
	return bad;
}

/* What is written is what the page was at that time. */
static size_t writes(void)
{
	char *back = aligned_alloc(ts_psize, ts_psize);
	off_t pos = FILE_POS + NR * ts_psize;
	unsigned long round;
	size_t bad = 0, i;

	for (round = 2; go_on() && !bad; round++) {
		for (i = 0; i < NR && !bad; i += 3) {
			char *p = mem + i * ts_psize;

			ts_data_write(mem, i, 1, round);
			drain();
			bad += pwrite(fd, p, ts_psize, pos) != (ssize_t)ts_psize;
			bad += pread(fd, back, ts_psize, pos) != (ssize_t)ts_psize;
			ts_tco(true);
			bad += !!memcmp(back, p, ts_psize);
			ts_tco(false);
			bad += ts_data_check(mem, i, 1, round);
			if (with_tags)
				bad += ts_tags_check(mem, i, 1, 9);
		}
	}
	free(back);
	return bad;
}

static size_t run(size_t (*fn)(void))
{
	pthread_t thread;
	size_t bad;

	half = ts_psize / 2;
	words = ts_psize / sizeof(long);
	open_disk(fn == writes ? O_RDWR : O_RDONLY);
	mem = ts_map(NR, with_tags ? TS_RWT : TS_RW, 0);
	madvise(mem, NR * ts_psize, MADV_NOHUGEPAGE);
	ts_data_write(mem, 0, NR, 1);
	if (with_tags)
		ts_tags_write(mem, 0, NR, 9);

	drain();
	stop = false;
	start = ts_now();
	out = ts_vmstat("pswpout");
	if (pthread_create(&thread, NULL, keep_out, NULL))
		ksft_exit_fail_msg("no thread\n");
	bad = fn();
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);

	out = ts_vmstat("pswpout") - out;
	bad += ts_expect(out > NR / 2, "pages to be swapped out again and again, not %ld",
			 out);
	ts_unmap(mem, NR);
	close(fd);
	return bad;
}

static size_t run_both(size_t (*fn)(void))
{
	size_t bad;

	with_tags = false;
	bad = run(fn);
	with_tags = true;
	return bad + run(fn);
}

/* With swap in RAM, where a page is a new one when it is back. */
static int test_reads(void)
{
	fill_disk();
	return ts_result(run_both(reads));
}

/* A page is found in the swap cache. */
static int test_disk_reads(void)
{
	size_t bad;

	fill_disk();
	if (!ts_disk_on(DISK_NR))
		return KSFT_FAIL;
	bad = run_both(reads);
	bad += ts_expect(ts_disk_off(), "swapoff() to succeed");
	return ts_result(bad);
}

/* A disk with swap on it cannot be written to: this is with swap in RAM only. */
static int test_writes(void)
{
	return ts_result(run_both(writes));
}

static const struct ts_case cases[] = {
	{ "reads", test_reads, TS_NEED_SWAP | TS_NEED_DISK },
	{ "reads, and swap on a disk", test_disk_reads, TS_NEED_DISK },
	{ "writes", test_writes, TS_NEED_SWAP | TS_NEED_DISK },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
