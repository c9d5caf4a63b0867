// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every advice that madvise() takes does to pages that wait for their tag
 * storage what it does to others: they keep their data or lose it by the rules
 * of the advice, and when they are accessed afterwards they have zero tags and
 * hold new ones. Also for a part of a huge page, and across fork().
 */
#include <signal.h>
#include <unistd.h>

#include "ts_common.h"

#define NR	256
#define SEED	1
#define TIMEOUT	60

#ifndef MADV_COLD
#define MADV_COLD		20
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED	24
#endif

/* What is left of the data. */
enum fate {
	KEPT,
	GONE,
	EITHER,
};

struct advice {
	int advice, undo;
	enum fate fate;
	const char *name;
};

static const struct advice advices[] = {
	{ MADV_NORMAL, -1, KEPT, "NORMAL" },
	{ MADV_RANDOM, MADV_NORMAL, KEPT, "RANDOM" },
	{ MADV_SEQUENTIAL, MADV_NORMAL, KEPT, "SEQUENTIAL" },
	{ MADV_WILLNEED, -1, KEPT, "WILLNEED" },
	{ MADV_COLD, -1, KEPT, "COLD" },
	{ MADV_PAGEOUT, MADV_WILLNEED, KEPT, "PAGEOUT" },
	{ MADV_POPULATE_READ, -1, KEPT, "POPULATE_READ" },
	{ MADV_POPULATE_WRITE, -1, KEPT, "POPULATE_WRITE" },
	{ MADV_HUGEPAGE, MADV_NOHUGEPAGE, KEPT, "HUGEPAGE" },
	{ MADV_NOHUGEPAGE, -1, KEPT, "NOHUGEPAGE" },
	{ MADV_MERGEABLE, MADV_UNMERGEABLE, KEPT, "MERGEABLE" },
	{ MADV_WIPEONFORK, MADV_KEEPONFORK, KEPT, "WIPEONFORK" },
	{ MADV_DONTFORK, MADV_DOFORK, KEPT, "DONTFORK" },
	{ MADV_DONTDUMP, MADV_DODUMP, KEPT, "DONTDUMP" },
	{ MADV_FREE, -1, EITHER, "FREE" },
	{ MADV_DONTNEED, -1, GONE, "DONTNEED" },
	{ MADV_DONTNEED_LOCKED, -1, GONE, "DONTNEED_LOCKED" },
};

static char *mem;

/* Zero tags, data as @fate says; then both can be written. */
static size_t access_after(enum fate fate, size_t first, size_t nr)
{
	size_t i, bad = 0;

	for (i = first; i < first + nr; i++) {
		/* Of either, the first word tells which it must be. */
		if (fate == KEPT ||
		    (fate == EITHER && ts_load(mem + i * ts_psize)))
			bad += ts_data_check(mem, i, 1, SEED);
		else
			bad += ts_data_zero(mem, i, 1);
	}
	bad += ts_tags_zero(mem, first, nr);
	ts_write(mem, first, nr, 2);
	return bad + ts_check(mem, first, nr, 2);
}

static size_t advise(const struct advice *a, size_t first, size_t nr)
{
	char *p = mem + first * ts_psize;
	size_t bad = 0;

	bad += ts_expect(!madvise(p, nr * ts_psize, a->advice),
			 "MADV_%s to succeed", a->name);
	if (a->undo >= 0)
		bad += ts_expect(!madvise(p, nr * ts_psize, a->undo),
				 "MADV_%s to be undone", a->name);
	return bad;
}

/* Base pages: all of them, and from within one tag block into another. */
static int base(void)
{
	static const struct { size_t first, nr; } part[] = {
		{ 0, NR }, { 5, 100 },
	};
	size_t i, j, bad = 0, before;

	for (i = 0; i < ARRAY_SIZE(advices); i++) {
		for (j = 0; j < ARRAY_SIZE(part); j++) {
			size_t first = part[j].first, nr = part[j].nr;
			size_t last = first + nr;

			before = bad;
			mem = ts_map_none(NR, SEED);
			bad += advise(&advices[i], first, nr);
			bad += access_after(advices[i].fate, first, nr);
			bad += access_after(KEPT, 0, first);
			bad += access_after(KEPT, last, NR - last);
			bad += ts_check(mem, 0, NR, 2);
			ts_unmap(mem, NR);
			if (bad != before)
				ksft_print_msg("MADV_%s of %zu pages\n",
					       advices[i].name, nr);
		}
	}
	return ts_result(bad);
}

/* All of a huge page, and a part of it. */
static int on_huge(void)
{
	size_t nr = ts_huge_size() / ts_psize, i, bad = 0;
	size_t size[] = { nr, 64 }, j, before;

	for (i = 0; i < ARRAY_SIZE(advices); i++) {
		for (j = 0; j < ARRAY_SIZE(size); j++) {
			mem = ts_map_none_huge(SEED);
			if (!mem)
				return ts_skip("got no huge page");
			before = bad;
			bad += advise(&advices[i], 0, size[j]);
			bad += access_after(advices[i].fate, 0, size[j]);
			bad += access_after(KEPT, size[j], nr - size[j]);
			bad += ts_check(mem, 0, nr, 2);
			ts_unmap(mem, nr);
			if (bad != before)
				ksft_print_msg("MADV_%s of %zu pages\n",
					       advices[i].name, size[j]);
		}
	}
	return ts_result(bad);
}

/* Nothing of what waits has tags, so none are saved, and none come back. */
static int pageout(void)
{
	size_t bad, swapped;

	mem = ts_map_none(NR, SEED);
	swapped = ts_pageout(mem, 0, NR);
	bad = ts_expect(swapped > NR / 2, "pages to be swapped out, not %zu",
			swapped);
	bad += ts_expect(!madvise(mem, NR * ts_psize, MADV_WILLNEED),
			 "MADV_WILLNEED to succeed");
	bad += access_after(KEPT, 0, NR);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

/* Freed lazily, then written to without having been accessed before. */
static int free_then_write(void)
{
	size_t bad;

	mem = ts_map_none(NR, SEED);
	bad = ts_expect(!madvise(mem, NR * ts_psize, MADV_FREE), "MADV_FREE");
	ts_data_write(mem, 0, NR, 3);
	/* What was written is not free any more. */
	bad += ts_expect(ts_pageout(mem, 0, NR) > NR / 2, "pages swapped out");
	bad += ts_data_check(mem, 0, NR, 3);
	bad += ts_tags_zero(mem, 0, NR);
	ts_tags_write(mem, 0, NR, 3);
	bad += ts_check(mem, 0, NR, 3);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

/* Freed lazily and not touched: reclaim drops it. */
static int free_then_reclaim(void)
{
	unsigned long rss;
	size_t bad;

	/* What is on a batch of another CPU is not freed lazily. */
	ts_run_on(0);
	mem = ts_map_none(NR, SEED);
	bad = ts_expect(!madvise(mem, NR * ts_psize, MADV_FREE), "MADV_FREE");
	bad += ts_expect(!ts_pageout(mem, 0, NR), "nothing to be swapped");
	rss = ts_smaps(mem, "Rss:");
	bad += ts_expect(rss < NR * ts_psize / 1024 / 2,
			 "pages to be dropped, %lu kB are there", rss);
	bad += access_after(EITHER, 0, NR);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

static int child_wiped(void *arg)
{
	size_t bad;

	(void)arg;
	bad = ts_data_zero(mem, 0, NR);
	bad += ts_tags_zero(mem, 0, NR);
	ts_write(mem, 0, NR, 4);
	return (bad + ts_check(mem, 0, NR, 4)) != 0;
}

static int child_without(void *arg)
{
	(void)arg;
	return ts_load(mem) & 1;
}

static int fork_advice(void)
{
	size_t bad;
	int ret;

	mem = ts_map_none(NR, SEED);
	madvise(mem, NR * ts_psize, MADV_WIPEONFORK);
	ret = ts_child(child_wiped, NULL, TIMEOUT);
	bad = ts_expect(!ret, "child to end with 0, not %d", ret);

	madvise(mem, NR * ts_psize, MADV_DONTFORK);
	ret = ts_child(child_without, NULL, TIMEOUT);
	bad += ts_expect(ret == 128 + SIGSEGV, "no memory in the child, is %d",
			 ret);
	bad += ts_none_touch(mem, 0, NR, SEED);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

/* Populating is access by the kernel: it takes pages as present, as they are. */
static int populate(void)
{
	size_t bad;

	mem = ts_map_none(NR, SEED);
	bad = ts_expect(!madvise(mem, NR * ts_psize, MADV_POPULATE_READ) &&
			!madvise(mem, NR * ts_psize, MADV_POPULATE_WRITE),
			"populating to succeed");
	bad += ts_data_check(mem, 0, NR, SEED);
	bad += ts_tags_zero(mem, 0, NR);
	ts_tags_write(mem, 0, NR, SEED);
	bad += ts_check(mem, 0, NR, SEED);
	/* Also where nothing is present yet, and of tagged pages. */
	madvise(mem, NR / 2 * ts_psize, MADV_DONTNEED);
	bad += ts_expect(!madvise(mem, NR * ts_psize, MADV_POPULATE_WRITE),
			 "populating to succeed");
	bad += ts_data_zero(mem, 0, NR / 2);
	bad += ts_tags_zero(mem, 0, NR / 2);
	bad += ts_check(mem, NR / 2, NR / 2, SEED);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

static const struct ts_case cases[] = {
	{ "every advice", base, TS_NEED_SWAP },
	{ "every advice on a huge page", on_huge, TS_NEED_SWAP | TS_NEED_THP },
	{ "MADV_PAGEOUT and MADV_WILLNEED", pageout, TS_NEED_SWAP },
	{ "MADV_FREE and a write", free_then_write, TS_NEED_SWAP },
	{ "MADV_FREE and reclaim", free_then_reclaim, TS_NEED_SWAP },
	{ "MADV_WIPEONFORK and MADV_DONTFORK", fork_advice, 0 },
	{ "MADV_POPULATE_READ and MADV_POPULATE_WRITE", populate, 0 },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
