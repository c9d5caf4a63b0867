// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tagged pages are kept apart from others, so that few pages of tag storage hold
 * their tags. Those of which most neighbours have gone are moved together, so
 * that tag storage is given back, but only while memory is short of that. Nothing
 * of them changes, and pages that cannot be moved hinder no others.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/uio.h>

#include "ts_common.h"

#define NR	4096UL
#define KEPT	8	/* one page of so many is */
#define SEED	1
#define WAIT	30
#define NEED	(TS_NEED_ROOT | TS_NEED_COUNTERS)

static struct ts_ballast ballast;
static char *mem;

static long reserved(void)
{
	ts_fold();
	return ts_vmstat("nr_metadata_reserved");
}

/* The same without blocks that linger. */
static long settled(void)
{
	usleep(300 * 1000);
	return reserved();
}

static void begin(bool lent)
{
	mem = ts_map(NR, TS_RWT, 0);
	madvise(mem, NR * ts_psize, MADV_NOHUGEPAGE);
	ts_write(mem, 0, NR, SEED);
	if (lent)
		ts_lend(&ballast, 4);
}

static void leave_few(void)
{
	size_t i;

	for (i = 0; i < NR; i += KEPT)
		madvise(mem + (i + 1) * ts_psize, (KEPT - 1) * ts_psize,
			MADV_DONTNEED);
}

static int end(size_t bad, bool lent)
{
	size_t i;

	for (i = 0; i < NR; i += KEPT)
		bad += ts_check(mem, i, 1, SEED);
	if (lent) {
		bad += ts_lent_check(&ballast);
		ts_ballast_free(&ballast);
	}
	ts_unmap(mem, NR);
	return ts_result(bad);
}

/* Half as many blocks again as the pages need are good enough. */
static size_t few_blocks(long before)
{
	long max = before + NR / KEPT / TS_COVER * 3 / 2;

	return ts_expect(ts_wait_reserved(max, WAIT),
			 "%ld pages reserved at most, not %ld; %ld are free", max,
			 ts_vmstat("nr_metadata_reserved"),
			 ts_vmstat("nr_free_metadata"));
}

/* Tagged pages and others, in turn. Their neighbours are of their own kind. */
static int apart(void)
{
	char *plain = ts_map(NR, TS_RW, 0);
	long before = settled();
	size_t bad = 0, i;

	madvise(plain, NR * ts_psize, MADV_NOHUGEPAGE);
	mem = ts_map(NR, TS_RWT, 0);
	madvise(mem, NR * ts_psize, MADV_NOHUGEPAGE);
	for (i = 0; i < NR; i++) {
		ts_data_write(plain, i, 1, SEED);
		ts_write(mem, i, 1, SEED);
	}
	bad += ts_expect(reserved() - before < (long)(NR / TS_COVER * 5 / 4),
			 "about %lu blocks reserved, not %ld", NR / TS_COVER,
			 reserved() - before);
	bad += ts_data_check(plain, 0, NR, SEED);
	ts_unmap(plain, NR);
	return end(bad, false);
}

static int packed(void)
{
	long before = settled(), moved = ts_vmstat("metadata_packed");
	size_t bad;

	begin(true);
	leave_few();
	bad = few_blocks(before);
	moved = ts_vmstat("metadata_packed") - moved;
	ksft_print_msg("%ld pages moved\n", moved);
	bad += ts_expect(moved > 0, "pages to be moved");
	return end(bad, true);
}

/* The process goes on writing to its pages meanwhile. */
static int in_use(void)
{
	double until = ts_now() + WAIT;
	long before = settled(), max;
	size_t bad = 0, i;

	begin(true);
	leave_few();
	max = before + NR / KEPT / TS_COVER * 3 / 2;
	do {
		for (i = 0; i < NR; i += KEPT) {
			bad += ts_check(mem, i, 1, SEED);
			ts_write(mem, i, 1, SEED);
		}
	} while (!bad && reserved() > max && ts_now() < until);
	return end(bad + few_blocks(before), true);
}

/* A few pages of each block are in pipes. */
static int pinned(void)
{
	long before = settled();
	int fd[16][2];
	size_t bad = 0, i;

	begin(true);
	for (i = 0; i < ARRAY_SIZE(fd); i++) {
		struct iovec v = {
			.iov_base = mem + i * KEPT * 4 * ts_psize,
			.iov_len = ts_psize,
		};

		if (pipe(fd[i]) || vmsplice(fd[i][1], &v, 1, 0) < 0)
			ksft_exit_fail_msg("vmsplice failed\n");
	}
	leave_few();
	bad = few_blocks(before + ARRAY_SIZE(fd));
	for (i = 0; i < ARRAY_SIZE(fd); i++) {
		close(fd[i][0]);
		close(fd[i][1]);
	}
	return end(bad, true);
}

/* With tag storage to spare it is not worth the trouble. */
static int not_short(void)
{
	long moved;
	size_t bad;

	begin(false);
	moved = ts_vmstat("metadata_packed");
	leave_few();
	usleep(1000 * 1000);
	moved = ts_vmstat("metadata_packed") - moved;
	bad = ts_expect(!moved, "no page to be moved, not %ld", moved);
	return end(bad, false);
}

static const struct ts_case cases[] = {
	{ "apart from untagged pages", apart, NEED },
	{ "few pages of each block", packed, NEED },
	{ "pages in use", in_use, NEED },
	{ "some of the pages are pinned", pinned, NEED },
	{ "not while tag storage is free", not_short, NEED },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
