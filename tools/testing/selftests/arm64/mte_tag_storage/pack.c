// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tagged pages of which most neighbours have gone are moved together, so that
 * tag storage is given back, but only while memory is short. Nothing of them
 * changes, and pages that cannot be moved hinder no others. Pages that are
 * shared by processes are moved for all of them, and locked ones stay locked.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "ts_common.h"

#define NR	4096UL
#define KEPT	8	/* one page of so many is */
#define SEED	1
#define OTHER	2	/* the seed of a child */
#define WAIT	30
#define LARGE	4UL	/* pages of a large folio */
#define LARGE_NR	2048UL
#define MANY	8192UL
#define BATCH	512L	/* as many are moved in one go */
#define IDLE	3.9	/* seconds until the next look */
#define NEED	(TS_NEED_ROOT | TS_NEED_COUNTERS)

/* What comes where others go, so that memory stays short. */
#define NR_PLAIN	(16 * NR)
#define STEP		64UL

static struct ts_ballast ballast;
static char *mem, *plain;
static size_t nr_plain;

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

/* Data in nearly all of memory, tag storage included. */
static void fill(void)
{
	/* With huge pages enabled more than that is kept free. */
	ts_set("/proc/sys/vm/min_free_kbytes", "4096");
	ts_ballast_fill(&ballast, ts_meminfo("MetadataTotal") * 1024 /
				  (long)ts_psize / 16);
	ts_data_write(ballast.mem, 0, ballast.nr, SEED);
}

static void map_plain(void)
{
	plain = ts_map(NR_PLAIN, TS_RW, MAP_NORESERVE);
	nr_plain = 0;
	madvise(plain, NR_PLAIN * ts_psize, MADV_NOHUGEPAGE);
}

static void begin(bool full)
{
	mem = ts_map(NR, TS_RWT, 0);
	madvise(mem, NR * ts_psize, MADV_NOHUGEPAGE);
	ts_write(mem, 0, NR, SEED);
	map_plain();
	if (full)
		fill();
}

static void leave_few(void)
{
	size_t i;

	for (i = 0; i < NR; i += KEPT)
		madvise(mem + (i + 1) * ts_psize, (KEPT - 1) * ts_psize,
			MADV_DONTNEED);
}

static size_t empty(void)
{
	size_t bad;

	bad = ts_data_check(ballast.mem, 0, ballast.nr, SEED);
	bad += ts_data_check(plain, 0, nr_plain, SEED);
	ts_ballast_free(&ballast);
	return bad;
}

static int end(size_t bad, bool full)
{
	size_t i;

	for (i = 0; i < NR; i += KEPT)
		bad += ts_check(mem, i, 1, SEED);
	if (full)
		bad += empty();
	ts_unmap(mem, NR);
	ts_unmap(plain, NR_PLAIN);
	return ts_result(bad);
}

/* Take what reclaim has made free meanwhile. */
static void stay_short(void)
{
	while (ts_meminfo("MemFree") > ts_floor_kb() && nr_plain < NR_PLAIN) {
		ts_data_write(plain, nr_plain, STEP, SEED);
		nr_plain += STEP;
	}
}

/* Half as many blocks again as the pages need are good enough. */
static long enough(long before)
{
	return before + NR / KEPT / TS_COVER * 3 / 2;
}

static size_t at_most(long max)
{
	double until = ts_now() + WAIT;

	do {
		stay_short();
		usleep(300 * 1000);
	} while (reserved() > max && ts_now() < until);
	return ts_expect(reserved() <= max,
			 "%ld pages reserved at most, not %ld; %ld kB are free",
			 max, reserved(), ts_meminfo("MemFree"));
}

static size_t few_blocks(long before)
{
	return at_most(enough(before));
}

/* Memory has become short. Return: pages moved so far, and that is all. */
static long not_packing(void)
{
	long last = -1, now = ts_vmstat("metadata_packed");
	double until = ts_now() + WAIT;

	while (now != last && ts_now() < until) {
		sleep(1);
		last = now;
		now = ts_vmstat("metadata_packed");
	}
	return now;
}

static int packed(void)
{
	long before = settled(), moved;
	size_t bad;

	begin(true);
	moved = not_packing();
	leave_few();
	bad = few_blocks(before);
	moved = ts_vmstat("metadata_packed") - moved;
	ksft_print_msg("%ld pages moved\n", moved);
	bad += ts_expect(moved > 0, "pages to be moved");
	/* Into full blocks, and not about. */
	bad += ts_expect(moved < (long)(2 * NR / KEPT),
			 "each of %lu pages to be moved once", NR / KEPT);
	return end(bad, true);
}

/*
 * Many more pages than are moved in one go: it goes on, and does not wait until
 * it looks the next time whether memory is short, which takes seconds.
 */
static int goes_on(void)
{
	double until, begun, seconds;
	size_t bad = 0, i;
	long moved;

	mem = ts_map(MANY, TS_RWT, 0);
	madvise(mem, MANY * ts_psize, MADV_NOHUGEPAGE);
	ts_tags_write(mem, 0, MANY, SEED);
	map_plain();
	fill();
	moved = not_packing();
	for (i = 0; i < MANY; i += 2)
		madvise(mem + i * ts_psize, ts_psize, MADV_DONTNEED);
	until = ts_now() + WAIT;
	while (ts_vmstat("metadata_packed") == moved && ts_now() < until) {
		stay_short();
		usleep(10 * 1000);
	}
	begun = ts_now();
	/* At least two more times. */
	while (ts_vmstat("metadata_packed") < moved + 2 * BATCH + 1 &&
	       ts_now() < until) {
		stay_short();
		usleep(10 * 1000);
	}
	seconds = ts_now() - begun;
	moved = ts_vmstat("metadata_packed") - moved;
	ksft_print_msg("%ld pages moved in %.3f s\n", moved, seconds);
	bad += ts_usually(moved > 2 * BATCH, "more than %ld pages to be moved",
			  2 * BATCH);
	bad += ts_usually(seconds < IDLE, "less than %.1f s", IDLE);
	for (i = 1; i < MANY; i += 2)
		bad += ts_tags_check(mem, i, 1, SEED);
	bad += empty();
	ts_unmap(mem, MANY);
	ts_unmap(plain, NR_PLAIN);
	return ts_result(bad);
}

/* The process goes on writing to its pages meanwhile. */
static int in_use(void)
{
	double until = ts_now() + WAIT;
	long before = settled();
	size_t bad = 0, i;

	begin(true);
	leave_few();
	do {
		for (i = 0; i < NR; i += KEPT) {
			bad += ts_check(mem, i, 1, SEED);
			ts_write(mem, i, 1, SEED);
		}
		stay_short();
	} while (!bad && reserved() > enough(before) && ts_now() < until);
	return end(bad + few_blocks(before), true);
}

/* One of the pages of some blocks is in a pipe. */
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

/*
 * PFNs of the pages that are kept, before packing, and after that as both
 * processes see them. In shared memory.
 */
static struct place {
	unsigned long before, parent, child;
} *places;

#define NR_PLACES	(NR / KEPT * sizeof(*places) / ts_psize + 1)

/* Every second page that the child keeps is its own, the others are shared. */
static int child_prepare(void)
{
	size_t i;

	leave_few();
	for (i = KEPT; i < NR; i += 2 * KEPT)
		ts_write(mem, i, 1, OTHER);
	return 0;
}

static int child_check(void)
{
	size_t bad = 0, i;

	for (i = 0; i < NR; i += KEPT)
		places[i / KEPT].child = ts_pfn(mem + i * ts_psize);
	for (i = 0; i < NR; i += KEPT)
		bad += ts_check(mem, i, 1, i / KEPT % 2 ? OTHER : SEED);
	for (i = 0; i < NR; i += KEPT)
		ts_write(mem, i, 1, OTHER);
	for (i = 0; i < NR; i += KEPT)
		bad += ts_check(mem, i, 1, OTHER);
	return bad != 0;
}

/* A page is at one place for both, and that is not where it was before. */
static size_t moved_together(void)
{
	size_t together = 0, i;

	for (i = 0; i < NR / KEPT; i++) {
		const struct place *p = &places[i];

		together += p->child && p->child == p->parent &&
			    p->child != p->before;
	}
	ksft_print_msg("%zu shared pages moved\n", together);
	return ts_expect(together, "shared pages to be moved");
}

static int shared(void)
{
	long before = settled();
	size_t bad, i;
	pid_t pid;

	begin(true);
	/* The child has no part in other pages. */
	madvise(ballast.mem, ballast.max * ts_psize, MADV_DONTFORK);
	places = (struct place *)ts_map(NR_PLACES, TS_RW, MAP_SHARED);
	for (i = 0; i < NR; i += KEPT)
		places[i / KEPT].before = ts_pfn(mem + i * ts_psize);
	pid = ts_traced(child_prepare, child_check);
	leave_few();
	/* And some blocks for pages of the child. */
	bad = few_blocks(before + NR / KEPT / TS_COVER);
	for (i = 0; i < NR; i += KEPT)
		places[i / KEPT].parent = ts_pfn(mem + i * ts_psize);
	bad += !pid || ts_let_go(pid);
	bad += moved_together();
	ts_unmap((char *)places, NR_PLACES);
	return end(bad, true);
}

/* How many of the pages that are kept are locked? */
static size_t nr_locked(void)
{
	size_t is = 0, i;

	for (i = 0; i < NR; i += KEPT)
		is += ts_locked(mem + i * ts_psize, 1);
	return is;
}

/* All that are kept. @may_move: the administrator lets locked pages move. */
static void begin_locked(const char *may_move)
{
	size_t i;

	ts_set("/proc/sys/vm/compact_unevictable_allowed", may_move);
	begin(false);
	/* A page that is being moved just then is locked later, by reclaim. */
	for (i = 0; i < NR; i += KEPT)
		if (mlock(mem + i * ts_psize, ts_psize))
			ksft_exit_fail_msg("mlock failed\n");
	fill();
}

/* A page that was moved is not, until it is on its list again. */
static size_t all_locked(void)
{
	size_t is = nr_locked(), i;

	for (i = 0; i < 50 && is < NR / KEPT; i++) {
		ts_compact();
		is = nr_locked();
	}
	return ts_expect(is == NR / KEPT, "%lu pages locked, not %zu",
			 NR / KEPT, is);
}

static int locked_pages(void)
{
	long before = settled(), moved = ts_vmstat("metadata_packed");
	size_t bad;

	begin_locked("1");
	leave_few();
	bad = few_blocks(before);
	moved = ts_vmstat("metadata_packed") - moved;
	bad += ts_expect(moved > 0, "pages to be moved");
	return end(bad + all_locked(), true);
}

static int locked_stay(void)
{
	double until;
	size_t bad;
	long moved;

	begin_locked("0");
	bad = all_locked();
	leave_few();
	/* Those that were not locked are gone, but for what is in a batch yet. */
	ts_drain();
	moved = ts_vmstat("metadata_packed");
	until = ts_now() + 3 * IDLE;
	while (ts_now() < until) {
		stay_short();
		usleep(300 * 1000);
	}
	moved = ts_vmstat("metadata_packed") - moved;
	bad += ts_expect(!moved, "no page to be moved, not %ld", moved);
	ts_set("/proc/sys/vm/compact_unevictable_allowed", "1");
	return end(bad, true);
}

/*
 * Whole blocks, with base pages. Which of them are tagged goes by their place in
 * the block: of four blocks three have most of their pages tagged, and one a few.
 */
#define SOLID	8192UL
#define MOST	28	/* of each TS_COVER */

/* From the first that the region covers on. */
static unsigned long pfns[SOLID];
static size_t cover;
static unsigned long first_pfn;

static unsigned long pfn_of(size_t page)
{
	return ts_pfn(mem + page * ts_psize) - first_pfn;
}

static size_t place(size_t page)
{
	return pfns[page] % cover;
}

static bool is_dense(size_t page)
{
	return pfns[page] / cover % 4 != 3;
}

static bool is_tagged(size_t page, size_t few)
{
	return place(page) * TS_COVER / cover < (is_dense(page) ? MOST : few);
}

static void split_solid(void)
{
	char cmd[128];

	snprintf(cmd, sizeof(cmd), "%d,0x%lx,0x%lx,0", getpid(),
		 (unsigned long)mem, (unsigned long)mem + SOLID * ts_psize);
	ts_write_file("/sys/kernel/debug/split_huge_pages", cmd);
	madvise(mem, SOLID * ts_psize, MADV_NOHUGEPAGE);
}

/* Return: pages that are tagged, or 0 without luck. */
static size_t begin_solid(size_t few)
{
	size_t huge = ts_huge_size() / ts_psize, i, nr = 0;
	struct ts_region region;

	ts_regions(&region, 1);
	cover = TS_COVER * region.block_pages;
	first_pfn = region.data_pfn;
	mem = ts_map_huge(SOLID * ts_psize);
	ts_data_write(mem, 0, SOLID, SEED);
	for (i = 0; i < SOLID; i += huge)
		if (!ts_is_huge(mem + i * ts_psize))
			return 0;
	split_solid();
	map_plain();
	for (i = 0; i < SOLID; i++) {
		pfns[i] = pfn_of(i);
		if (ts_folio_pages(mem + i * ts_psize) != 1)
			return 0;
	}
	for (i = 0; i < SOLID; i++) {
		if (!is_tagged(i, few))
			continue;
		ts_protect(mem, i, 1, TS_RWT);
		ts_tags_write(mem, i, 1, SEED);
		nr++;
	}
	return nr;
}

static int no_solid(void)
{
	ts_unmap(mem, SOLID);
	return ts_skip("no whole blocks in base pages");
}

static int end_solid(size_t bad, size_t few)
{
	size_t i;

	for (i = 0; i < SOLID; i++)
		bad += is_tagged(i, few) ? ts_check(mem, i, 1, SEED) :
					   ts_data_check(mem, i, 1, SEED);
	bad += empty();
	ts_unmap(mem, SOLID);
	ts_unmap(plain, NR_PLAIN);
	return ts_result(bad);
}

/*
 * Blocks that are nearly full are filled up, none of them is emptied: not more
 * pages are moved than the others have. Compaction may move pages as well, which
 * is not packing.
 */
static int dense_stay(void)
{
	const size_t few = 20;
	size_t nr, bad, i, sparse = 0;
	long before = settled(), moved;

	nr = begin_solid(few);
	if (!nr)
		return no_solid();
	for (i = 0; i < SOLID; i++)
		sparse += !is_dense(i) && is_tagged(i, few);
	moved = ts_vmstat("metadata_packed");
	fill();
	bad = at_most(before + nr / TS_COVER * 17 / 16);
	moved = ts_vmstat("metadata_packed") - moved;
	ksft_print_msg("%ld pages moved, the emptier blocks had %zu of %zu\n",
		       moved, sparse, nr);
	bad += ts_expect(moved > 0 && moved <= (long)sparse,
			 "pages of nearly full blocks to stay");
	return end_solid(bad, few);
}

/* In each block that is to be filled up there is a page that cannot be had. */
static int stuck(void)
{
	const size_t few = 8;
	double until = ts_now() + WAIT;
	size_t i, bad = 0;
	long moved;
	int fd[2];

	if (!begin_solid(few))
		return no_solid();
	if (pipe(fd) || fcntl(fd[1], F_SETPIPE_SZ, SOLID / 32 * ts_psize) < 0)
		ksft_exit_fail_msg("no pipe\n");
	for (i = 0; i < SOLID; i++) {
		struct iovec v = { mem + i * ts_psize, ts_psize };

		if (is_dense(i) && place(i) == MOST * cover / TS_COVER)
			bad += vmsplice(fd[1], &v, 1, SPLICE_F_NONBLOCK) < 0;
	}
	bad = ts_expect(!bad, "pages in a pipe");
	moved = ts_vmstat("metadata_packed");
	fill();
	while (ts_vmstat("metadata_packed") - moved < 200 && ts_now() < until) {
		stay_short();
		usleep(300 * 1000);
	}
	moved = ts_vmstat("metadata_packed") - moved;
	bad += ts_expect(moved >= 200, "200 pages to be moved, not %ld", moved);
	bad = end_solid(bad, few);
	close(fd[0]);
	close(fd[1]);
	return bad;
}

/* Folios of 16 KiB, one of which is kept where eight have their tags together. */
static char *map_large(void)
{
	char *large = ts_map_huge(LARGE_NR * ts_psize);

	ts_thp_size(16, true);
	ts_protect(large, 0, LARGE_NR, TS_RWT);
	ts_write(large, 0, LARGE_NR, OTHER);
	/* They are not to become larger. */
	madvise(large, LARGE_NR * ts_psize, MADV_NOHUGEPAGE);
	ts_thp_size(16, false);
	return large;
}

/* Nothing is moved to or from a large folio, and the others are packed. */
static int large_folios(void)
{
	long before = settled();
	size_t bad, i, folios = 0, stay = 0;
	unsigned long at[LARGE_NR / TS_COVER];
	char *large = map_large();

	begin(true);
	for (i = 0; i < ARRAY_SIZE(at); i++) {
		char *folio = large + i * TS_COVER * ts_psize;

		madvise(folio + LARGE * ts_psize, (TS_COVER - LARGE) * ts_psize,
			MADV_DONTNEED);
		folios += ts_folio_pages(folio) == LARGE;
		at[i] = ts_pfn(folio);
	}
	leave_few();
	bad = few_blocks(before + ARRAY_SIZE(at));
	for (i = 0; i < ARRAY_SIZE(at); i++) {
		stay += ts_pfn(large + i * TS_COVER * ts_psize) == at[i];
		bad += ts_check(large, i * TS_COVER, LARGE, OTHER);
	}
	ksft_print_msg("%zu large folios of %zu, %zu stay\n", folios,
		       ARRAY_SIZE(at), stay);
	bad += ts_usually(folios > ARRAY_SIZE(at) / 2 && stay > folios / 2,
			  "large folios, and these to stay");
	ts_unmap(large, LARGE_NR);
	return end(bad, true);
}

/* With memory to spare it is not worth the trouble. */
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
	{ "few pages of each block", packed, NEED },
	{ "many pages", goes_on, NEED },
	{ "pages in use", in_use, NEED },
	{ "some of the pages are pinned", pinned, NEED },
	{ "pages shared by processes", shared, NEED },
	{ "locked pages", locked_pages, NEED },
	{ "locked pages that must not move", locked_stay, NEED },
	{ "large folios", large_folios,
	  NEED | TS_NEED_REGIONS | TS_NEED_THP },
	{ "nearly full blocks", dense_stay,
	  NEED | TS_NEED_REGIONS | TS_NEED_THP },
	{ "pages that cannot be had", stuck,
	  NEED | TS_NEED_REGIONS | TS_NEED_THP },
	{ "not while memory is free", not_short, NEED },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
