// SPDX-License-Identifier: GPL-2.0-only
/*
 * UFFDIO_MOVE takes data and tags along: of pages in swap, in the swap cache, in
 * memory, and of those that are still metadata-none; nothing of them is left
 * where they were. It is refused between a tagged and an untagged mapping.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "ts_common.h"

#define NR	512
#define DISK_NR	(32UL << 20 >> 12)

/* Where the pages are when they are moved. */
enum place { MEMORY, SWAP };

static char *src, *dst;
static size_t nr;
static struct ts_uffd uffd;

/* Move all, page by page or at once; 0 or an error. */
static int move(size_t first, size_t len)
{
	struct uffdio_move m = {
		.dst = (unsigned long)dst + first * ts_psize,
		.src = (unsigned long)src + first * ts_psize,
		.len = len * ts_psize,
	};

	while (m.len) {
		m.move = 0;
		if (!ioctl(uffd.fd, UFFDIO_MOVE, &m))
			return 0;
		/* Locked for a moment, on its way to swap or back. */
		if (errno != EAGAIN && errno != EBUSY)
			return -errno;
		if (m.move > 0) {
			m.dst += m.move;
			m.src += m.move;
			m.len -= m.move;
		} else if (errno == EBUSY) {
			return -EBUSY;
		}
	}
	return 0;
}

static bool map_both(size_t pages, int prot_src, int prot_dst)
{
	nr = pages;
	src = ts_map_huge(nr * ts_psize);
	dst = ts_map_huge(nr * ts_psize);
	ts_protect(src, 0, nr, prot_src);
	ts_protect(dst, 0, nr, prot_dst);
	if (nr * ts_psize < ts_huge_size()) {
		madvise(src, nr * ts_psize, MADV_NOHUGEPAGE);
		madvise(dst, nr * ts_psize, MADV_NOHUGEPAGE);
	}
	/* Holes at dst are filled by moving only. */
	if (ts_uffd_open(&uffd, dst, nr, UFFDIO_REGISTER_MODE_MISSING,
			 UFFD_FEATURE_MOVE))
		return true;
	ksft_print_msg("userfaultfd: %s\n", strerror(errno));
	return false;
}

static void unmap_both(void)
{
	close(uffd.fd);
	ts_unmap(src, nr);
	ts_unmap(dst, nr);
}

/* Nothing is mapped in the range any more, in memory or in swap. */
static size_t empty(const char *mem)
{
	size_t i, left = 0;

	for (i = 0; i < nr; i++)
		left += ts_pagemap(mem + i * ts_psize) >> 62 != 0;
	return ts_expect(!left, "no page left behind, not %zu", left);
}

static size_t test_move(enum place place)
{
	size_t bad = 0, i;

	if (!map_both(NR - 1, TS_RWT, TS_RWT))
		return 1;
	ts_write(src, 0, nr, 1);
	/* Neighbours of another kind: never touched, and zero pages. */
	madvise(src, 8 * ts_psize, MADV_DONTNEED);
	bad += ts_tags_zero(src, 0, 8);
	if (place == SWAP) {
		i = ts_pageout(src, 8, nr - 8);
		bad += ts_expect(i == nr - 8, "%zu pages in swap, not %zu",
				 nr - 8, i);
	}
	i = -move(0, nr);
	bad += ts_expect(!i, "UFFDIO_MOVE to succeed, not %s", strerror(i));
	if (place == SWAP) {
		i = ts_swapped(dst, 8, nr - 8);
		bad += ts_expect(i == nr - 8, "%zu pages in swap as moved, not %zu",
				 nr - 8, i);
	}
	bad += empty(src);
	bad += ts_tags_zero(dst, 0, 8);
	bad += ts_check(dst, 8, nr - 8, 1);
	/* New pages come where the moved ones were; out and in once more. */
	bad += ts_tags_zero(src, 0, nr);
	ts_write(src, 0, nr, 2);
	ts_pageout(dst, 8, nr - 8);
	bad += ts_check(dst, 8, nr - 8, 1);
	bad += ts_check(src, 0, nr, 2);
	unmap_both();
	return bad;
}

static int present(void)
{
	return ts_result(test_move(MEMORY));
}

static int swapped(void)
{
	return ts_result(test_move(SWAP));
}

/* A disk leaves the pages in the swap cache. */
static int cached(void)
{
	size_t bad;

	if (!ts_disk_on(DISK_NR))
		return KSFT_FAIL;
	bad = test_move(SWAP);
	bad += ts_expect(ts_disk_off(), "swapoff() to succeed");
	return ts_result(bad);
}

/* Marked by mprotect() and never accessed, in memory and in swap. */
static int untouched(void)
{
	size_t bad, i;

	if (!map_both(NR - 1, TS_RW, TS_RWT))
		return KSFT_FAIL;
	ts_data_write(src, 0, nr, 1);
	ts_protect(src, 0, nr, TS_RWT);
	ts_pageout(src, 0, nr / 2);
	i = -move(0, nr);
	bad = ts_expect(!i, "UFFDIO_MOVE to succeed, not %s", strerror(i));
	bad += empty(src);
	bad += ts_tags_zero(dst, 0, nr);
	bad += ts_data_check(dst, 0, nr, 1);
	ts_tags_write(dst, 0, nr, 1);
	bad += ts_check(dst, 0, nr, 1);
	unmap_both();
	return ts_result(bad);
}

/* A huge page, moved as one, and then in parts. */
static int test_huge(void)
{
	size_t pages = ts_huge_size() / ts_psize, bad = 0, i, round;

	for (round = 0; round < 2; round++) {
		if (!map_both(pages, TS_RWT, TS_RWT))
			return KSFT_FAIL;
		ts_write(src, 0, nr, 1);
		bad += ts_usually(ts_is_huge(src), "a huge page");
		if (round)
			i = -(move(nr / 2, nr / 2) ?: move(0, nr / 2));
		else
			i = -move(0, nr);
		bad += ts_expect(!i, "UFFDIO_MOVE to succeed, not %s", strerror(i));
		bad += empty(src);
		bad += ts_usually(ts_is_huge(dst) == !round, "%s huge page",
				  round ? "no" : "one");
		bad += ts_check(dst, 0, nr, 1);
		unmap_both();
	}
	return ts_result(bad);
}

/* The tags would be gone, or could be read without being checked. */
static int test_refused(void)
{
	size_t bad = 0, i;

	for (i = 0; i < 2; i++) {
		int ret;

		if (!map_both(NR - 1, i ? TS_RWT : TS_RW, i ? TS_RW : TS_RWT))
			return KSFT_FAIL;
		ts_data_write(src, 0, nr, 1);
		ts_pageout(src, 0, nr / 2);
		ret = move(0, nr);
		bad += ts_expect(ret == -EINVAL, "UFFDIO_MOVE to be refused, not %d",
				 ret);
		bad += ts_data_check(src, 0, nr, 1);
		unmap_both();
	}
	return ts_result(bad);
}

static const struct ts_case cases[] = {
	{ "in memory", present, TS_NEED_ROOT },
	{ "in swap", swapped, TS_NEED_ROOT | TS_NEED_SWAP },
	{ "in the swap cache", cached, TS_NEED_DISK },
	{ "untouched since mprotect()", untouched, TS_NEED_ROOT | TS_NEED_SWAP },
	{ "huge", test_huge, TS_NEED_ROOT | TS_NEED_THP },
	{ "between tagged and untagged", test_refused, TS_NEED_ROOT | TS_NEED_SWAP },
};

int main(void)
{
	/* Pages in the batch of another CPU would not go out. */
	ts_run_on(0);
	return ts_main(cases, ARRAY_SIZE(cases));
}
