// SPDX-License-Identifier: GPL-2.0-only
/*
 * Locked memory. Untagged locked pages that lie in tag storage are moved when
 * that is needed, and stay locked, present and unevictable; locked pages that
 * become tagged get their storage and stay so, too; munlock() leaves nothing.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "ts_common.h"

#define NR		64
#define PAIRS		16
#define SEED		1
#define TIMEOUT		60
#define SKIP		77
#define NEED		(TS_NEED_ROOT | TS_NEED_COUNTERS | TS_NEED_REGIONS)

#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT	1
#endif

static char *mem;

/* Moving a page takes it off its list and puts it back a little later. */
static size_t stays_locked(const char *addr, size_t nr)
{
	size_t is, bad;
	int i;

	for (i = 0; i < 50; i++) {
		is = ts_locked(addr, nr);
		if (is == nr)
			break;
		/* Drains what is on its way. */
		ts_compact();
	}
	bad = ts_expect(is == nr, "%zu pages locked, not %zu", nr, is);
	/* smaps counts the whole mapping. */
	return bad + ts_expect(ts_smaps(addr, "Locked:") >=
			       (long)(nr * ts_psize / 1024),
			       "smaps to show them locked, not %ld kB",
			       ts_smaps(addr, "Locked:"));
}

static size_t to_swap(char *addr, size_t nr)
{
	madvise(addr, nr * ts_psize, MADV_PAGEOUT);
	return ts_expect(!ts_swapped(addr, 0, nr), "no locked page swapped out");
}

/* In a child, as it fills memory: lock pages of data that lie in tag storage. */
static int move_locked(void *arg)
{
	size_t storage[PAIRS], covered[PAIRS], nr, next, moved = 0, bad = 0, i;
	unsigned long pfn[PAIRS];
	struct ts_ballast b = { };

	(void)arg;
	ts_ballast_fill(&b, ts_meminfo("MetadataTotal") * 1024 /
			    (long)ts_psize / 4);
	for (nr = 0, next = 0; nr < PAIRS; nr++, next++) {
		if (!ts_ballast_pair(&b, &next, &covered[nr]))
			break;
		storage[nr] = next;
		ts_data_write(b.mem, storage[nr], 1, SEED);
		ts_data_write(b.mem, covered[nr], 1, SEED);
	}
	if (!nr)
		return SKIP;
	for (i = 0; i < nr; i++)
		if (mlock(b.mem + storage[i] * ts_psize, ts_psize))
			return ts_expect(false, "mlock: %s", strerror(errno));
	for (i = 0; i < nr; i++) {
		pfn[i] = ts_pfn(b.mem + storage[i] * ts_psize);
		ts_protect(b.mem, covered[i], 1, TS_RWT);
		bad += ts_none_touch(b.mem, covered[i], 1, SEED);
	}
	for (i = 0; i < nr; i++) {
		char *page = b.mem + storage[i] * ts_psize;

		moved += ts_pfn(page) != pfn[i];
		bad += stays_locked(page, 1);
		bad += to_swap(page, 1);
		bad += ts_data_check(b.mem, storage[i], 1, SEED);
		bad += ts_check(b.mem, covered[i], 1, SEED);
	}
	ksft_print_msg("%zu of %zu locked pages moved\n", moved, nr);
	return bad + ts_usually(moved, "locked pages to move") != 0;
}

static int moved(void)
{
	int ret = ts_child(move_locked, NULL, TIMEOUT);

	if (ret == SKIP)
		return ts_skip("no page in tag storage could be locked");
	return ts_result(ts_expect(!ret, "child to end with 0, not %d", ret));
}

/* Also in a child: the locked pages themselves become tagged. */
static int tag_locked(void *arg)
{
	struct ts_ballast b = { };
	struct ts_region r[32];
	int nr_regions = ts_regions(r, ARRAY_SIZE(r));
	size_t first, bad = 0, i, in = 0;

	(void)arg;
	ts_ballast_fill(&b, ts_meminfo("MetadataTotal") * 1024 /
			    (long)ts_psize / 4);
	/* What came last lies in tag storage. */
	first = b.nr - NR;
	ts_data_write(b.mem, first, NR, SEED);
	if (mlock(b.mem + first * ts_psize, NR * ts_psize))
		return ts_expect(false, "mlock: %s", strerror(errno));
	for (i = first; i < b.nr; i++)
		in += !!ts_storage_of(r, nr_regions,
				      ts_pfn(b.mem + i * ts_psize));
	ksft_print_msg("%zu of %u locked pages in tag storage\n", in, NR);
	if (!in)
		return SKIP;
	madvise(b.bulk, 4 << 20, MADV_DONTNEED);
	ts_protect(b.mem, first, NR, TS_RWT);
	bad += ts_none_touch(b.mem, first, NR, SEED);
	for (i = first; i < b.nr; i++)
		bad += ts_expect(!ts_storage_of(r, nr_regions,
						ts_pfn(b.mem + i * ts_psize)),
				 "no tagged page in tag storage");
	bad += stays_locked(b.mem + first * ts_psize, NR);
	bad += to_swap(b.mem + first * ts_psize, NR);
	return bad + ts_check(b.mem, first, NR, SEED) != 0;
}

static int become_tagged(void)
{
	int ret = ts_child(tag_locked, NULL, TIMEOUT);

	if (ret == SKIP)
		return ts_skip("no page in tag storage could be locked");
	return ts_result(ts_expect(!ret, "child to end with 0, not %d", ret));
}

/* mlock() brings in all pages of a tagged mapping; with ONFAULT, each comes. */
static int populate(unsigned int flags)
{
	size_t bad = 0;

	mem = ts_map(NR, TS_RWT, 0);
	if (mlock2(mem, NR * ts_psize, flags))
		return ts_skip("mlock2: %s", strerror(errno));
	if (!flags)
		bad += stays_locked(mem, NR);
	bad += ts_tags_zero(mem, 0, NR);
	ts_write(mem, 0, NR, SEED);
	bad += stays_locked(mem, NR);
	bad += to_swap(mem, NR);
	bad += ts_check(mem, 0, NR, SEED);

	munlock(mem, NR * ts_psize);
	bad += ts_usually(!ts_locked(mem, NR), "no page locked after munlock()");
	bad += ts_check(mem, 0, NR, SEED);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

static int at_once(void)
{
	return populate(0);
}

static int on_fault(void)
{
	return populate(MLOCK_ONFAULT);
}

static const struct ts_case cases[] = {
	{ "locked pages move out of tag storage", moved, NEED },
	{ "locked pages become tagged", become_tagged, NEED },
	{ "mlock() of a tagged mapping", at_once, TS_NEED_ROOT },
	{ "MLOCK_ONFAULT", on_fault, TS_NEED_ROOT },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
