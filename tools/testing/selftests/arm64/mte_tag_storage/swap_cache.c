// SPDX-License-Identifier: GPL-2.0-only
/*
 * Folios that are found in the swap cache have the tags that they had, and all
 * of a large folio is mapped at once; what changed meanwhile for a part of the
 * range (MADV_DONTNEED, mprotect(), munmap()) changes nothing for the rest.
 * swapoff() finds them there, too, and whoever moves them does so with their tags.
 *
 * A disk writes behind: what was paged out to it stays in the swap cache until
 * memory is short. That a page was found there shows in its PFN, the same as
 * before.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "ts_common.h"

#define DISK_NR		(32UL << 20 >> 12)
#define AHEAD_NR	512
#define MOVED_NR	8

/* Of /proc/kpageflags. */
#define KPF_SWAPCACHE	0x2000UL
#define UNMAPPED	KPF_SWAPCACHE
#define UNMAPPED_MASK	(KPF_SWAPCACHE | TS_KPF_MMAP)

static char *mem;
static size_t nr, per;
static unsigned long *pfns;

/*
 * Tagged folios of @kb kB in the swap cache and nowhere else; base pages where
 * @kb is that of a page. Untagged ones for @prot without PROT_MTE.
 */
static size_t get_cached(size_t kb, int prot)
{
	static const size_t sizes[] = { 16, 32, 64, 128, 256, 512, 1024, 2048 };
	size_t bytes = kb > 64 ? 2UL << 20 : 512UL << 10, i, swapped;
	char name[64];

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		snprintf(name, sizeof(name), "hugepages-%zukB/enabled", sizes[i]);
		ts_thp_set(name, sizes[i] == kb ? "madvise" : "never");
	}
	nr = bytes / ts_psize;
	per = kb * 1024 / ts_psize;
	pfns = calloc(nr, sizeof(*pfns));
	mem = ts_map_huge(bytes);
	ts_protect(mem, 0, nr, prot);
	if (prot & PROT_MTE)
		ts_write(mem, 0, nr, 1);
	else
		ts_data_write(mem, 0, nr, 1);
	for (i = 0; i < nr; i++)
		pfns[i] = ts_pfn(mem + i * ts_psize);

	swapped = ts_pageout(mem, 0, nr);
	return ts_expect(swapped == nr, "%zu pages in swap, not %zu", nr, swapped);
}

/* The pages came from the swap cache, most of them at least. */
static size_t put_cached(size_t first, size_t len)
{
	size_t i, same = 0, bad;

	for (i = first; i < first + len; i++)
		same += ts_pfn(mem + i * ts_psize) == pfns[i];
	bad = ts_expect(same * 2 > len, "most of %zu pages found in the swap cache, not %zu",
			len, same);
	/* Out and in once more. */
	ts_pageout(mem, first, len);
	return bad;
}

static void done(void)
{
	ts_unmap(mem, nr);
	free(pfns);
}

/* Run @fn with folios of several sizes. */
static int with_sizes(size_t (*fn)(size_t kb))
{
	static const size_t sizes[] = { 64, 2048 };
	size_t i, bad = 0;

	if (!ts_disk_on(DISK_NR))
		return KSFT_FAIL;
	for (i = 0; i < ARRAY_SIZE(sizes); i++)
		bad += fn(sizes[i]);
	bad += ts_expect(ts_disk_off(), "swapoff() to succeed");
	return ts_result(bad);
}

/* One access maps the whole folio. */
static size_t whole(size_t kb)
{
	size_t bad = get_cached(kb, TS_RWT), i, at_once = 0;

	for (i = 0; i < nr; i += per) {
		ts_ldg(mem + (i + per / 2) * ts_psize);
		at_once += !ts_swapped(mem, i, per);
	}
	bad += ts_expect(at_once * 2 > nr / per,
			 "most of %zu folios of %zu kB mapped at once, not %zu",
			 nr / per, kb, at_once);
	bad += ts_check(mem, 0, nr, 1);
	bad += put_cached(0, nr);
	bad += ts_check(mem, 0, nr, 1);
	done();
	return bad;
}

static int test_whole(void)
{
	return with_sizes(whole);
}

/* Pages of each folio are dropped while it is in the swap cache. */
static size_t dontneed(size_t kb)
{
	size_t bad = get_cached(kb, TS_RWT), i;

	for (i = 0; i < nr; i += per)
		madvise(mem + i * ts_psize, per / 4 * ts_psize, MADV_DONTNEED);
	for (i = 0; i < nr; i += per) {
		/* The part that is left first, in an odd order. */
		bad += ts_check(mem, i + per - 1, 1, 1);
		bad += ts_check(mem, i + per / 4, per - per / 4, 1);
		bad += ts_tags_zero(mem, i, per / 4);
	}
	bad += put_cached(per / 4, per - per / 4);
	for (i = 0; i < nr; i += per)
		bad += ts_check(mem, i + per / 4, per - per / 4, 1);
	done();
	return bad;
}

static int test_dontneed(void)
{
	return with_sizes(dontneed);
}

/* Another mapping for a part of each folio. */
static size_t readonly(size_t kb)
{
	size_t bad = get_cached(kb, TS_RWT), i;

	for (i = 0; i < nr; i += per)
		ts_protect(mem, i + per / 4, per / 2, PROT_READ | PROT_MTE);
	bad += ts_check(mem, 0, nr, 1);
	ts_protect(mem, 0, nr, TS_RWT);
	bad += put_cached(0, nr);
	bad += ts_check(mem, 0, nr, 1);
	ts_write(mem, 0, nr, 2);
	bad += ts_check(mem, 0, nr, 2);
	done();
	return bad;
}

static int test_readonly(void)
{
	return with_sizes(readonly);
}

/* A part becomes tagged in swap, the rest only after it is back. */
static size_t tagged_part(size_t kb)
{
	size_t bad = get_cached(kb, TS_RW), i;

	for (i = 0; i < nr; i += per)
		ts_protect(mem, i + per / 4, per / 2, TS_RWT);
	for (i = 0; i < nr; i += per) {
		bad += ts_tags_zero(mem, i + per / 4, per / 2);
		ts_tags_write(mem, i + per / 4, per / 2, 1);
	}
	bad += ts_data_check(mem, 0, nr, 1);
	ts_protect(mem, 0, nr, TS_RWT);
	for (i = 0; i < nr; i += per) {
		bad += ts_tags_zero(mem, i, per / 4);
		ts_tags_write(mem, i, per / 4, 1);
		bad += ts_tags_zero(mem, i + per / 4 + per / 2,
				    per - per / 4 - per / 2);
		ts_tags_write(mem, i + per / 4 + per / 2,
			      per - per / 4 - per / 2, 1);
	}
	ts_pageout(mem, 0, nr);
	bad += ts_check(mem, 0, nr, 1);
	done();
	return bad;
}

static int test_tagged_part(void)
{
	return with_sizes(tagged_part);
}

/* Before, the whole range was one mapping. */
static size_t unmapped(size_t kb)
{
	size_t bad = get_cached(kb, TS_RWT), i;

	for (i = 0; i < nr; i += per)
		munmap(mem + i * ts_psize, per / 2 * ts_psize);
	for (i = 0; i < nr; i += per)
		bad += ts_check(mem, i + per / 2, per / 2, 1);
	bad += put_cached(per / 2, per / 2);
	for (i = 0; i < nr; i += per)
		bad += ts_check(mem, i + per / 2, per / 2, 1);
	done();
	return bad;
}

static int test_unmapped(void)
{
	return with_sizes(unmapped);
}

static int child(void *arg)
{
	unsigned long seed = (unsigned long)arg;
	size_t bad;

	bad = ts_check(mem, 0, nr, 1);
	ts_write(mem, 0, nr, seed);
	bad += ts_check(mem, 0, nr, seed);
	return bad != 0;
}

/* Two processes find the same folios, and each writes to what it found. */
static size_t forked(size_t kb)
{
	size_t bad = get_cached(kb, TS_RWT);

	bad += ts_expect(!ts_child(child, (void *)2, 120), "child to end with 0");
	bad += ts_check(mem, 0, nr, 1);
	ts_write(mem, 0, nr, 3);
	ts_pageout(mem, 0, nr);
	bad += ts_check(mem, 0, nr, 3);
	done();
	return bad;
}

static int test_forked(void)
{
	return with_sizes(forked);
}

/*
 * swapoff() maps page by page what it finds there; what became tagged only in
 * swap waits for its storage then.
 */
static size_t unused(size_t kb, int prot)
{
	size_t bad, left;

	if (!ts_disk_on(DISK_NR))
		return 1;
	bad = get_cached(kb, prot);
	ts_protect(mem, 0, nr, TS_RWT);
	bad += ts_expect(ts_disk_off(), "swapoff() to succeed");
	left = ts_swapped(mem, 0, nr);
	bad += ts_expect(!left, "no page in swap, not %zu", left);
	bad += prot & PROT_MTE ? ts_check(mem, 0, nr, 1) :
				 ts_none_touch(mem, 0, nr, 1);
	bad += put_cached(0, nr);
	bad += ts_check(mem, 0, nr, 1);
	done();
	return bad;
}

static int test_off(void)
{
	static const size_t sizes[] = { 64, 2048 };
	size_t bad = 0, i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++)
		bad += unused(sizes[i], TS_RWT) + unused(sizes[i], TS_RW);
	return ts_result(bad);
}

/*
 * Tagged base pages on the disk, and most of them in memory no more; or NULL. They
 * belong to a cgroup of their own, so that nothing else is reclaimed instead.
 */
static char *map_on_disk(size_t nr, unsigned long seed)
{
	static const char group[] = "ts_on_disk";
	char *mem = ts_map(nr, TS_RWT, 0);
	size_t in = nr;
	int i;

	madvise(mem, nr * ts_psize, MADV_NOHUGEPAGE);
	if (ts_group_make(group, "+memory") &&
	    ts_group_set(group, "cgroup.procs", "0")) {
		ts_write(mem, 0, nr, seed);
		ts_group_set(".", "cgroup.procs", "0");
		ts_pageout(mem, 0, nr);
		for (i = 0; i < 50 && in > nr / 8; i++) {
			ts_group_set(group, "memory.reclaim", "4M");
			usleep(5 * 1000);
			in = ts_in_memory(mem, nr);
		}
	}
	ts_group_remove(group);
	if (in <= nr / 8)
		return mem;
	ksft_print_msg("%zu of %zu pages stay in memory\n", in, nr);
	ts_unmap(mem, nr);
	return NULL;
}

/* Note which pages are in the swap cache, and not mapped. */
static bool *unmapped_pages(const struct ts_region *r)
{
	bool *unmapped = calloc(r->data_pages, sizeof(*unmapped));
	int fd = open("/proc/kpageflags", O_RDONLY);
	unsigned long flags[512], page;
	ssize_t n, i;

	for (page = 0; page < r->data_pages; page += n) {
		n = pread(fd, flags, sizeof(flags), (r->data_pfn + page) * 8) / 8;
		if (n <= 0)
			break;
		for (i = 0; i < n && page + i < r->data_pages; i++)
			unmapped[page + i] = (flags[i] & UNMAPPED_MASK) ==
					     UNMAPPED;
	}
	close(fd);
	return unmapped;
}

/*
 * Read ahead to single pages that are between others, and let compaction move what
 * it wants to: there is free memory on both sides, where is different each time.
 */
static bool *read_and_compact(const struct ts_region *r, unsigned int try)
{
	size_t nr_bulk = ts_meminfo("MemFree") / 8 * (1 + try % 6) * 1024 /
			 ts_psize, i;
	char *bulk = ts_map(nr_bulk, TS_RW, MAP_NORESERVE);
	char *between = ts_map(2 * nr, TS_RW, 0);
	bool *unmapped;

	madvise(bulk, nr_bulk * ts_psize, MADV_HUGEPAGE);
	madvise(bulk, nr_bulk * ts_psize, MADV_POPULATE_WRITE);
	madvise(between, 2 * nr * ts_psize, MADV_NOHUGEPAGE);
	madvise(between, 2 * nr * ts_psize, MADV_POPULATE_WRITE);
	for (i = 0; i < 2 * nr; i += 2)
		madvise(between + i * ts_psize, ts_psize, MADV_DONTNEED);
	madvise(mem, nr * ts_psize, MADV_WILLNEED);
	ts_unmap(bulk, nr_bulk);
	ts_drain();
	unmapped = unmapped_pages(r);
	ts_compact();
	ts_unmap(between, 2 * nr);
	return unmapped;
}

/* Return: how many pages are elsewhere. */
static size_t check_moved(const struct ts_region *r, const bool *unmapped,
			  size_t *bad)
{
	size_t elsewhere = 0, i;

	for (i = 0; i < nr; i++) {
		unsigned long page;

		*bad += ts_check(mem, i, 1, 1);
		page = ts_pfn(mem + i * ts_psize) - r->data_pfn;
		elsewhere += page >= r->data_pages || !unmapped[page];
	}
	return elsewhere;
}

/* Return: how many pages were moved. */
static size_t move_some(const struct ts_region *r, unsigned int try, size_t *bad)
{
	size_t others, elsewhere;
	bool *unmapped;

	mem = map_on_disk(nr, 1);
	if (!mem)
		return 0;
	unmapped = read_and_compact(r, try);
	others = nr - ts_in_memory(mem, nr);
	elsewhere = check_moved(r, unmapped, bad);
	ts_unmap(mem, nr);
	free(unmapped);
	return elsewhere > others ? elsewhere - others : 0;
}

/*
 * The tags of pages that were read ahead are still in swap. Where such a page is
 * moved to, it has storage when it gets its tags, although that was in use.
 */
static int test_moved(void)
{
	struct ts_ballast ballast = { };
	struct ts_region region;
	size_t bad = 0, moved = 0;
	unsigned int try;

	if (!ts_disk_on(DISK_NR))
		return KSFT_FAIL;
	nr = AHEAD_NR;
	ts_regions(&region, 1);
	ts_lend(&ballast, 4);
	for (try = 0; try < 12 && !bad && moved < MOVED_NR; try++)
		moved += move_some(&region, try, &bad);
	ksft_print_msg("%zu pages moved, by try %u\n", moved, try);
	bad += ts_usually(moved >= MOVED_NR, "some pages to be moved");
	bad += ts_lent_check(&ballast);
	ts_ballast_free(&ballast);
	bad += ts_expect(ts_disk_off(), "swapoff() to succeed");
	return ts_result(bad);
}

#define NEED	(TS_NEED_DISK | TS_NEED_THP)

static const struct ts_case cases[] = {
	{ "mapped at once", test_whole, NEED },
	{ "after MADV_DONTNEED of a part", test_dontneed, NEED },
	{ "after mprotect() of a part", test_readonly, NEED },
	{ "a part becomes tagged", test_tagged_part, NEED },
	{ "after munmap() of a part", test_unmapped, NEED },
	{ "found by two processes", test_forked, NEED },
	{ "found by swapoff", test_off, NEED },
	{ "moved before the first access, storage in use", test_moved,
	  NEED | TS_NEED_COUNTERS | TS_NEED_REGIONS },
};

int main(void)
{
	/* Pages in the batch of another CPU would not go out. */
	ts_run_on(0);
	/* Swap on a rotating disk has no room for large folios. */
	ts_set(TS_DISK_QUEUE "rotational", "0");
	return ts_main(cases, ARRAY_SIZE(cases));
}
