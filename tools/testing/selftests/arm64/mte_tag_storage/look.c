// SPDX-License-Identifier: GPL-2.0-only
/*
 * Whoever only looks at pages that wait for their tag storage sees them like
 * any other page: present, with the same PFN, counted and flagged as ever. To
 * look takes no storage, and leaves the pages waiting: pagemap, PAGEMAP_SCAN,
 * smaps, kpageflags and kpagecount, the idle bitmap, clear_refs, mincore.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

#include "ts_common.h"

#define NR		256
#define SEED		1

#define PM_PRESENT	0x8000000000000000UL

/* Bits of /proc/kpageflags. */
#define KPF_MMAP	0x0800UL
#define KPF_ANON	0x1000UL
#define KPF_SWAPBACKED	0x4000UL

static char *mem;
static size_t nr;
static long reserved;
static unsigned long pfns[NR];

/* Memory that waits: base pages, or a huge page. */
static bool waiting(bool huge)
{
	size_t i;

	if (huge) {
		mem = ts_map_none_huge(SEED);
		nr = ts_huge_size() / ts_psize;
	} else {
		/* The last pages of a batch are not on the LRU yet. */
		ts_run_on(0);
		mem = ts_map(2 * NR, TS_RW, 0);
		madvise(mem, 2 * NR * ts_psize, MADV_NOHUGEPAGE);
		ts_data_write(mem, 0, NR, SEED);
		for (i = 0; i < NR; i++)
			pfns[i] = ts_pfn(mem + i * ts_psize);
		ts_data_write(mem, NR, NR, SEED);
		ts_protect(mem, 0, 2 * NR, TS_RWT);
		nr = NR;
	}
	ts_fold();
	reserved = ts_vmstat("nr_metadata_reserved");
	return mem;
}

/* Nothing was taken, and the pages are still waiting. */
static size_t still_waiting(void)
{
	size_t bad;

	ts_fold();
	bad = ts_expect(ts_vmstat("nr_metadata_reserved") <= reserved,
			"looking to reserve nothing");
	return bad + ts_none_touch(mem, 0, nr, SEED);
}

static int seen(size_t bad)
{
	bad += still_waiting();
	ts_unmap(mem, nr == NR ? 2 * NR : nr);
	return ts_result(bad);
}

static int pagemap(void)
{
	size_t i, bad = 0;

	waiting(false);
	for (i = 0; i < nr; i++) {
		const char *p = mem + i * ts_psize;

		bad += ts_expect(ts_pagemap(p) & PM_PRESENT, "page %zu present", i);
		bad += ts_expect(ts_pfn(p) == pfns[i],
				 "PFN %#lx, not %#lx", pfns[i], ts_pfn(p));
	}
	return seen(bad);
}

static size_t scan_all(void)
{
	struct page_region region = { };
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = (unsigned long)mem,
		.end = (unsigned long)mem + nr * ts_psize,
		.vec = (unsigned long)&region,
		.vec_len = 1,
		.category_mask = PAGE_IS_PRESENT,
		.return_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED |
			       PAGE_IS_PFNZERO | PAGE_IS_FILE,
	};
	int fd = open("/proc/self/pagemap", O_RDONLY);
	long n = ioctl(fd, PAGEMAP_SCAN, &arg);

	close(fd);
	return ts_expect(n == 1 && region.start == arg.start &&
			 region.end == arg.end &&
			 region.categories == PAGE_IS_PRESENT,
			 "one range of present pages, is %ld with %llx", n,
			 (unsigned long long)region.categories);
}

static int scan(void)
{
	waiting(false);
	return seen(scan_all());
}

static int scan_huge(void)
{
	if (!waiting(true))
		return ts_skip("got no huge page");
	return seen(scan_all());
}

static size_t smaps_all(bool huge)
{
	long kb = nr * ts_psize / 1024;
	size_t bad;

	if (!huge)
		kb *= 2;
	bad = ts_expect(ts_smaps(mem, "Rss:") == kb, "Rss %ld kB, not %ld", kb,
			ts_smaps(mem, "Rss:"));
	bad += ts_expect(ts_smaps(mem, "Anonymous:") == kb, "all anonymous");
	bad += ts_expect(ts_smaps(mem, "Private_Dirty:") == kb, "all dirty");
	bad += ts_expect(ts_smaps(mem, "Referenced:") == kb, "all referenced");
	bad += ts_expect(ts_smaps(mem, "AnonHugePages:") == (huge ? kb : 0),
			 "huge pages to be seen as such");
	return bad;
}

static int smaps(void)
{
	waiting(false);
	return seen(smaps_all(false));
}

static int smaps_huge(void)
{
	if (!waiting(true))
		return ts_skip("got no huge page");
	return seen(smaps_all(true));
}

static unsigned long word_at(const char *path, unsigned long index)
{
	unsigned long word = ~0UL;
	int fd = open(path, O_RDONLY);

	if (pread(fd, &word, sizeof(word), index * sizeof(word)) != sizeof(word))
		word = ~0UL;
	close(fd);
	return word;
}

static int of_pages(void)
{
	unsigned long want = KPF_MMAP | KPF_ANON | KPF_SWAPBACKED;
	size_t i, bad = 0;

	waiting(false);
	for (i = 0; i < nr; i++) {
		unsigned long is = word_at("/proc/kpageflags", pfns[i]);

		bad += ts_expect((is & want) == want, "flags %lx in %lx", want, is);
		is = word_at("/proc/kpagecount", pfns[i]);
		bad += ts_expect(is == 1, "mapped once, not %ld times", is);
	}
	return seen(bad);
}

static int in_core(void)
{
	unsigned char vec[NR];
	size_t i, bad;

	waiting(false);
	bad = ts_expect(!mincore(mem, nr * ts_psize, vec), "mincore() to succeed");
	for (i = 0; i < nr && !bad; i++)
		bad += ts_expect(vec[i] & 1, "page %zu in core", i);
	return seen(bad);
}

/* How many pages are idle, after all have been marked so if @mark is set? */
static long idle(bool mark)
{
	static const char file[] = "/sys/kernel/mm/page_idle/bitmap";
	int fd = open(file, O_RDWR);
	unsigned long bits;
	long nr_idle = 0;
	size_t i;

	if (fd < 0)
		return -1;
	for (i = 0; i < nr; i++) {
		off_t pos = pfns[i] / 64 * 8;

		bits = 1UL << (pfns[i] % 64);
		if (mark && pwrite(fd, &bits, 8, pos) != 8)
			nr_idle = -nr;
		if (!mark && pread(fd, &bits, 8, pos) == 8)
			nr_idle += bits >> (pfns[i] % 64) & 1;
	}
	close(fd);
	return nr_idle;
}

/* Marked idle they are, until they are accessed. */
static int idle_bitmap(void)
{
	size_t bad;
	long n;

	waiting(false);
	if (idle(true) < 0) {
		ts_unmap(mem, 2 * NR);
		return ts_skip("no bitmap of idle pages");
	}
	n = idle(false);
	bad = ts_expect(n == NR, "%d idle pages, not %ld", NR, n);
	if (seen(bad) != KSFT_PASS)
		return KSFT_FAIL;

	/* The same with an access in between, which must be noticed. */
	waiting(false);
	idle(true);
	bad = ts_data_check(mem, 0, nr / 2, SEED);
	n = idle(false);
	bad += ts_expect(n == NR / 2, "%d pages still idle, not %ld", NR / 2, n);
	bad += ts_tags_zero(mem, 0, nr);
	bad += ts_data_check(mem, 0, nr, SEED);
	ts_unmap(mem, 2 * NR);
	return ts_result(bad);
}

static size_t clear(const char *what)
{
	int ret = ts_write_file("/proc/self/clear_refs", what);

	return ts_expect(!ret, "clear_refs %s to work, not %d", what, ret);
}

/* 1: all pages, 2: anonymous, 3: file, 4: soft-dirty. */
static int refs(void)
{
	static const char * const what[] = { "3", "4", "2", "1" };
	size_t i, bad;
	long kb;

	waiting(false);
	kb = 2 * nr * ts_psize / 1024;
	for (i = 0, bad = 0; i < ARRAY_SIZE(what); i++) {
		bad += clear(what[i]);
		bad += ts_expect(ts_smaps(mem, "Referenced:") == (i < 2 ? kb : 0),
				 "%ld kB referenced after clear_refs %s",
				 ts_smaps(mem, "Referenced:"), what[i]);
		bad += ts_expect(ts_smaps(mem, "Rss:") == kb, "all mapped");
	}
	bad += still_waiting();
	bad += ts_expect(ts_smaps(mem, "Referenced:") >= kb / 2,
			 "the access to be noticed");
	ts_unmap(mem, 2 * NR);
	return ts_result(bad);
}

static int refs_huge(void)
{
	size_t bad;

	if (!waiting(true))
		return ts_skip("got no huge page");
	bad = clear("1");
	bad += ts_expect(!ts_smaps(mem, "Referenced:"), "nothing referenced");
	bad += ts_expect(ts_is_huge(mem), "the page to stay huge");
	return seen(bad);
}

#define NEED	(TS_NEED_ROOT)

static const struct ts_case cases[] = {
	{ "pagemap", pagemap, NEED },
	{ "PAGEMAP_SCAN", scan, NEED },
	{ "PAGEMAP_SCAN of a huge page", scan_huge, NEED | TS_NEED_THP },
	{ "smaps", smaps, NEED },
	{ "smaps of a huge page", smaps_huge, NEED | TS_NEED_THP },
	{ "kpageflags and kpagecount", of_pages, NEED },
	{ "mincore", in_core, NEED },
	{ "idle bitmap", idle_bitmap, NEED },
	{ "clear_refs", refs, NEED },
	{ "clear_refs of a huge page", refs_huge, NEED | TS_NEED_THP },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
