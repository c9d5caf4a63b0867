// SPDX-License-Identifier: GPL-2.0-only
/*
 * In a naturally aligned group of 16 pages of one folio, which the hardware can
 * map with contiguous PTEs, some pages wait for their tag storage and others
 * are accessible. Whatever is done to such a mapping, and to the one that comes
 * when the group is whole:
 *  - the accessible pages stay so, and take no fault;
 *  - one fault makes all others of the page table accessible, with zero tags;
 *  - all data and all tags are right.
 *
 * Each group of a page table has a pattern of its own, among them each single
 * page and each page but one. Whether the kernel uses contiguous PTEs for a
 * group cannot be seen from here. What can be, where the kernel counts its own
 * calls, is how often it gives them up: once for each group that is whole, if
 * mprotect() has to change all of its entries.
 */
#define _GNU_SOURCE
#include <unistd.h>
#include <sys/syscall.h>

#include "ts_common.h"

#define GROUP	16UL
#define GROUPS	16UL
#define NR	(GROUP * GROUPS)
#define NEED	(TS_NEED_THP | TS_NEED_ROOT | TS_NEED_COUNTERS | \
		 TS_NEED_REGIONS)
#define TIMEOUT	120

#define MPOL_MF_MOVE	2

static char *mem;

/* The kernel counts how often contiguous PTEs become single ones. */
static bool counts;

/* Bit for bit the pages of group @group that were tagged first. */
static unsigned int pattern_of(size_t group, unsigned int round)
{
	static const unsigned int some[] = {
		0x5555, 0xaaaa, 0x00ff, 0xff00, 0x7ffe, 0x8001, 0x3c3c, 0x0ff0,
	};

	switch (round % 4) {
	case 0:
		return 0xffff ^ (1u << group % 16);
	case 1:
		return 1u << group % 16;
	case 2:
		return some[group % ARRAY_SIZE(some)];
	}
	return ts_word(round, group, 0) & 0xffff;
}

static bool first_tagged(size_t page, unsigned int round)
{
	return pattern_of(page / GROUP, round) >> page % GROUP & 1;
}

/* Number of pages from @page on that are alike. */
static size_t run_of(size_t page, unsigned int round)
{
	size_t n = 1;

	while (page + n < NR &&
	       first_tagged(page + n, round) == first_tagged(page, round))
		n++;
	return n;
}

/* The pages of the pattern are tagged, the others only marked. */
static size_t tag_pattern(unsigned int round)
{
	size_t i, n, large = 0;

	for (i = 0; i < NR; i += GROUP)
		large += ts_folio_pages(mem + i * ts_psize) == GROUP;
	for (i = 0; i < NR; i += n) {
		n = run_of(i, round);
		if (!first_tagged(i, round))
			continue;
		ts_protect(mem, i, n, TS_RWT);
		ts_tags_write(mem, i, n, round);
	}
	ts_protect(mem, 0, NR, TS_RWT);
	return ts_expect(large == GROUPS, "folios of 16 pages, %zu of %lu are",
			 large, GROUPS);
}

static size_t make_holes(unsigned int round)
{
	mem = ts_map_huge(NR * ts_psize);
	ts_data_write(mem, 0, NR, round);
	return tag_pattern(round);
}

/* [@from, @to) is gone or new, all else must be as it was, in few faults. */
static size_t verify(char *at, unsigned int round, size_t from, size_t to,
		     long max_faults)
{
	long faults = ts_vmstat("metadata_none_fault");
	size_t bad = 0, i;

	for (i = 0; i < NR; i++) {
		if ((i < from || i >= to) && first_tagged(i, round))
			bad += ts_check(at, i, 1, round);
	}
	bad += ts_expect(ts_vmstat("metadata_none_fault") == faults,
			 "no fault on pages with tag storage, not %ld",
			 ts_vmstat("metadata_none_fault") - faults);

	for (i = 0; i < NR; i++) {
		if ((i >= from && i < to) || first_tagged(i, round))
			continue;
		bad += ts_tags_zero(at, i, 1);
		bad += ts_data_check(at, i, 1, round);
	}
	faults = ts_vmstat("metadata_none_fault") - faults;
	bad += ts_expect(faults > 0 && faults <= max_faults,
			 "1 to %ld faults, not %ld", max_faults, faults);
	return bad;
}

/*
 * mprotect() sets one entry after the other, and with the last one of a whole
 * group this gets contiguous PTEs, which the next mprotect() has to give up.
 */
static size_t fold(char *at, long groups)
{
	long hits;

	ts_protect(at, 0, NR, PROT_READ | PROT_MTE);
	hits = ts_slow_hits();
	ts_protect(at, 0, NR, TS_RWT);
	hits = ts_slow_hits() - hits;
	return ts_expect(!counts || hits >= groups,
			 "contiguous PTEs in %ld groups, not %ld", groups,
			 hits);
}

/*
 * All groups are whole now, and @groups of them are one folio still: break some
 * of them up again, and use them.
 */
static size_t unfold(char *at, unsigned int round, long groups)
{
	size_t bad = 0, i;

	ts_tags_write(at, 0, NR, round);
	bad += fold(at, groups);
	for (i = round % GROUP; i < NR; i += 2 * GROUP)
		ts_protect(at, i, 1, PROT_READ | PROT_MTE);
	bad += ts_check(at, 0, NR, round);
	for (i = GROUP + round % GROUP; i < NR; i += 2 * GROUP)
		madvise(at + i * ts_psize, ts_psize, MADV_DONTNEED);
	for (i = 0; i < NR; i++) {
		if (i % (2 * GROUP) != GROUP + round % GROUP)
			bad += ts_check(at, i, 1, round);
	}
	ts_protect(at, 0, NR, TS_RWT);
	for (i = GROUP + round % GROUP; i < NR; i += 2 * GROUP) {
		bad += ts_tags_zero(at, i, 1);
		ts_write(at, i, 1, round);
	}
	return bad + ts_check(at, 0, NR, round);
}

static size_t protected(unsigned int round)
{
	size_t bad, i;

	bad = make_holes(round);
	ts_protect(mem, 0, NR, PROT_READ | PROT_MTE);
	ts_protect(mem, 0, NR, PROT_NONE);
	for (i = 3; i < NR; i += 5)
		ts_protect(mem, i, 1, TS_RWT);
	ts_protect(mem, 0, NR, TS_RWT);
	bad += verify(mem, round, 0, 0, 1);
	bad += unfold(mem, round, GROUPS);
	ts_unmap(mem, NR);
	return bad;
}

static size_t unmapped(unsigned int round)
{
	size_t from = 5 * GROUP + round % GROUP, to = from + GROUP + 3, bad;

	bad = make_holes(round);
	munmap(mem + from * ts_psize, (to - from) * ts_psize);
	/* Two mappings now. */
	bad += verify(mem, round, from, to, 2);
	munmap(mem, NR * ts_psize);
	return bad;
}

static size_t discarded(unsigned int round)
{
	size_t from = 7 * GROUP + round % GROUP, to = from + 2 * GROUP, bad;

	bad = make_holes(round);
	madvise(mem + from * ts_psize, (to - from) * ts_psize, MADV_DONTNEED);
	bad += verify(mem, round, from, to, 1);
	bad += ts_tags_zero(mem, from, to - from);
	ts_write(mem, from, to - from, round);
	bad += unfold(mem, round, GROUPS - 3);
	ts_unmap(mem, NR);
	return bad;
}

static size_t aged(unsigned int round)
{
	size_t bad;

	bad = make_holes(round);
	madvise(mem, NR * ts_psize, MADV_COLD);
	bad += verify(mem, round, 0, 0, 1);
	bad += unfold(mem, round, 0);
	ts_unmap(mem, NR);
	return bad;
}

/* To an address with the same alignment, then to one without. */
static size_t remapped(unsigned int round)
{
	char *area, *to;
	size_t bad = 0, i;

	for (i = 0; i < 2; i++) {
		bad += make_holes(round);
		area = ts_map_huge(2 * NR * ts_psize);
		to = area + (i ? 11 * ts_psize : 0);
		bad += ts_expect(mremap(mem, NR * ts_psize, NR * ts_psize,
					MREMAP_MAYMOVE | MREMAP_FIXED, to) == to,
				 "mremap() to work");
		bad += verify(to, round, 0, 0, 1 + i);
		bad += unfold(to, round, i ? 0 : GROUPS);
		munmap(area, 2 * NR * ts_psize);
	}
	return bad;
}

static unsigned int child_round;

static int child(void *arg)
{
	size_t bad;

	(void)arg;
	bad = verify(mem, child_round, 0, 0, 1);
	ts_tags_write(mem, 0, NR, child_round);
	ts_write(mem, 0, NR, child_round + 1);
	return bad || ts_check(mem, 0, NR, child_round + 1);
}

static size_t forked(unsigned int round)
{
	size_t bad;

	bad = make_holes(round);
	child_round = round;
	bad += ts_expect(!ts_child(child, NULL, TIMEOUT), "child to end with 0");
	bad += verify(mem, round, 0, 0, 1);
	bad += unfold(mem, round, 0);
	ts_unmap(mem, NR);
	return bad;
}

/* Split in place, which unmaps a folio and maps its pages again. */
static size_t made_small(unsigned int round)
{
	static const unsigned int order[] = { 0, 2, 3, 0 };
	char cmd[128];
	size_t bad;

	bad = make_holes(round);
	snprintf(cmd, sizeof(cmd), "%d,0x%lx,0x%lx,%u", getpid(),
		 (unsigned long)mem, (unsigned long)mem + NR * ts_psize,
		 order[round % ARRAY_SIZE(order)]);
	ts_write_file("/sys/kernel/debug/split_huge_pages", cmd);
	bad += ts_expect(ts_folio_pages(mem) < GROUP, "the folios to be split");
	bad += verify(mem, round, 0, 0, 1);
	bad += unfold(mem, round, 0);
	ts_unmap(mem, NR);
	return bad;
}

static int rounds(size_t (*fn)(unsigned int round))
{
	unsigned int round;
	size_t bad = 0;

	if (ts_psize != 4096)
		return ts_skip("contiguous PTEs are not for groups of 16 pages");
	ts_thp_size(64, true);
	counts = ts_slow("__contpte_try_unfold", 0);
	ts_be_slow(true);
	for (round = 0; round < 4 && !bad; round++)
		bad += fn(round);
	ts_be_slow(false);
	ts_slow(NULL, 0);
	ts_thp_size(64, false);
	return ts_result(bad);
}

static int case_protected(void)
{
	return rounds(protected);
}

static int case_unmapped(void)
{
	return rounds(unmapped);
}

static int case_discarded(void)
{
	return rounds(discarded);
}

static int case_aged(void)
{
	return rounds(aged);
}

static int case_remapped(void)
{
	return rounds(remapped);
}

static int case_forked(void)
{
	return rounds(forked);
}

static int case_split(void)
{
	return rounds(made_small);
}

static const struct ts_case cases[] = {
	{ "mprotect", case_protected, NEED },
	{ "munmap", case_unmapped, NEED },
	{ "MADV_DONTNEED", case_discarded, NEED },
	{ "MADV_COLD", case_aged, NEED },
	{ "mremap", case_remapped, NEED },
	{ "fork", case_forked, NEED },
	{ "split", case_split, NEED },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
