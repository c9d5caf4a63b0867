// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tagged pages on swap that is not synchronous, a disk: they come with
 * readahead, which reads entries that nobody asked for, some with tags and some
 * without; swapoff() brings all of them back; what is written to a page while
 * its old contents are on their way to the disk is not lost.
 */
#include <stdlib.h>
#include <unistd.h>

#include "ts_common.h"

#define NR	128
#define DISK_NR	(32UL << 20 >> 12)

static char *mem;

/* Out, and out of the swap cache as well, or nothing would be read. */
static size_t page_out(size_t nr)
{
	size_t swapped = ts_pageout(mem, 0, nr);

	ts_swap_uncache(mem, nr, nr / 8);
	return ts_expect(swapped == nr, "%zu pages in swap, not %zu", nr, swapped);
}

/* Every second run of 5 pages has tags, and the rest gets them in swap. */
static size_t mixed(size_t nr)
{
	size_t bad, i;

	mem = ts_map(nr, TS_RW, 0);
	madvise(mem, nr * ts_psize, MADV_NOHUGEPAGE);
	ts_data_write(mem, 0, nr, 1);
	for (i = 0; i + 5 < nr; i += 10) {
		ts_protect(mem, i, 5, TS_RWT);
		ts_tags_write(mem, i, 5, 1);
	}
	bad = page_out(nr);
	ts_protect(mem, 0, nr, TS_RWT);
	for (i = 0; i < nr; i++)
		bad += i % 10 < 5 && i - i % 10 + 5 < nr ?
			ts_tags_check(mem, i, 1, 1) : ts_tags_zero(mem, i, 1);
	bad += ts_data_check(mem, 0, nr, 1);
	ts_unmap(mem, nr);
	return bad;
}

static size_t tagged(void)
{
	size_t bad, i;

	mem = ts_map(NR, TS_RWT, 0);
	madvise(mem, NR * ts_psize, MADV_NOHUGEPAGE);
	ts_write(mem, 0, NR, 1);
	bad = page_out(NR);
	bad += ts_check(mem, 0, NR, 1);
	/* Read ahead and never used: dropped, or used by others. */
	bad += page_out(NR);
	for (i = 0; i < NR; i += 16)
		bad += ts_check(mem, i, 1, 1);
	for (i = 0; i < NR; i += 16)
		madvise(mem + (i + 1) * ts_psize, 7 * ts_psize, MADV_DONTNEED);
	for (i = 0; i < NR; i += 16) {
		bad += ts_tags_zero(mem, i + 1, 7);
		bad += ts_check(mem, i + 8, 8, 1);
	}
	ts_unmap(mem, NR);
	return bad;
}

static int readahead(const char *rotational)
{
	long before, ahead, in;
	size_t bad = 0;

	ts_set(TS_DISK_QUEUE "rotational", rotational);
	ts_set("/proc/sys/vm/page-cluster", "3");
	if (!ts_disk_on(DISK_NR))
		return KSFT_FAIL;
	before = ts_vmstat("swap_ra");
	in = ts_vmstat("pswpin");
	bad += tagged();
	bad += mixed(NR);
	ahead = ts_vmstat("swap_ra") - before;
	in = ts_vmstat("pswpin") - in;
	bad += ts_expect(ts_disk_off(), "swapoff() to succeed");
	bad += ts_expect(in > NR && ahead > NR / 4,
			 "pages to be read, and ahead, not %ld and %ld", in, ahead);
	return ts_result(bad);
}

/* By their place on the disk. */
static int cluster(void)
{
	return readahead("1");
}

/* By their address. */
static int address(void)
{
	return readahead("0");
}

static int no_readahead(void)
{
	size_t bad;

	ts_set("/proc/sys/vm/page-cluster", "0");
	if (!ts_disk_on(DISK_NR))
		return KSFT_FAIL;
	bad = mixed(NR / 4);
	bad += ts_expect(ts_disk_off(), "swapoff() to succeed");
	return ts_result(bad);
}

/*
 * Each page is written to again as soon as it is on its way out. Where the
 * device needs it to be stable until it is there, another one must be written.
 */
static int write_behind(const char *stable)
{
	long out = ts_vmstat("pswpout");
	size_t bad = 0, i, round;

	ts_set(TS_DISK_QUEUE "stable_writes", stable);
	if (!ts_disk_on(DISK_NR))
		return KSFT_FAIL;
	mem = ts_map(NR, TS_RWT, 0);
	madvise(mem, NR * ts_psize, MADV_NOHUGEPAGE);
	ts_write(mem, 0, NR, 0);
	for (round = 1; round < 4; round++) {
		for (i = 0; i < NR; i += 32) {
			madvise(mem + i * ts_psize, 32 * ts_psize, MADV_PAGEOUT);
			ts_write(mem, i, 32, round);
		}
		/* What has got to the disk is what the pages are made of now. */
		bad += ts_check(mem, 0, NR, round);
	}
	ts_pageout(mem, 0, NR);
	bad += ts_expect(ts_disk_off(), "swapoff() to succeed");
	bad += ts_check(mem, 0, NR, round - 1);
	out = ts_vmstat("pswpout") - out;
	bad += ts_expect(out > NR, "pages to be written in most rounds, not %ld in all",
			 out);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

static int unstable(void)
{
	return write_behind("0");
}

static int stable(void)
{
	return write_behind("1");
}

/* All pages are back in memory behind swapoff(), without an access. */
static int off(void)
{
	size_t bad, left;

	if (!ts_disk_on(DISK_NR))
		return KSFT_FAIL;
	mem = ts_map(NR, TS_RWT, 0);
	ts_write(mem, 0, NR, 1);
	bad = page_out(NR);
	bad += ts_expect(ts_disk_off(), "swapoff() to succeed");
	left = ts_swapped(mem, 0, NR);
	bad += ts_expect(!left, "no page in swap, not %zu", left);
	bad += ts_check(mem, 0, NR, 1);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

static const struct ts_case cases[] = {
	{ "readahead by place", cluster, TS_NEED_DISK },
	{ "readahead by address", address, TS_NEED_DISK },
	{ "no readahead", no_readahead, TS_NEED_DISK },
	{ "written to on the way out", unstable, TS_NEED_DISK },
	{ "written to, and needs to be stable", stable, TS_NEED_DISK },
	{ "swapoff", off, TS_NEED_DISK },
};

int main(void)
{
	/* Pages in the batch of another CPU would not go out. */
	ts_run_on(0);
	return ts_main(cases, ARRAY_SIZE(cases));
}
