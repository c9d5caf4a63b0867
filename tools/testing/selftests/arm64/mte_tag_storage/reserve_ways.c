// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tag storage is taken in each of the four ways that there are: a block that is
 * reserved already is shared, a free one is taken from the buddy allocator, one
 * in use is moved away page by page, and what that cannot move is taken by
 * alloc_contig_range(). Each way leaves its event, counters that agree, and data
 * and tags right, also while others free what is moved, or take storage beside.
 */
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ts_common.h"

#define NR		1024
#define USEC		20000
#define PAGEBLOCK	512
#define GAP_KB		(20 * 1024L)
#define NEED		(TS_NEED_ROOT | TS_NEED_COUNTERS | TS_NEED_REGIONS)

static struct ts_ballast ballast;

/* What was taken is counted, as long as it is held. */
static size_t counted(void)
{
	return ts_expect(ts_agree(ts_check_regions), "numbers to agree");
}

static int way_shared(void)
{
	struct ts_counters before, after;
	char *mem = ts_map(NR, TS_RWT, 0);
	size_t bad;

	ts_counters(&before);
	ts_write(mem, 0, NR, 1);
	ts_counters(&after);
	bad = ts_expect(after.shared > before.shared,
			"metadata_reserve_shared to grow");
	bad += ts_check(mem, 0, NR, 1);
	bad += counted();
	ts_unmap(mem, NR);
	return ts_result(bad);
}

static int way_buddy(void)
{
	struct ts_counters before, after;
	char *mem = ts_map(NR, TS_RWT, 0);
	size_t bad;

	ts_counters(&before);
	ts_write(mem, 0, NR, 1);
	ts_counters(&after);
	bad = ts_expect(after.buddy > before.buddy,
			"metadata_reserve_buddy to grow");
	bad += ts_check(mem, 0, NR, 1);
	bad += counted();
	ts_unmap(mem, NR);
	return ts_result(bad);
}

static size_t ballast_page(size_t page, bool check)
{
	if (check)
		return ts_data_check(ballast.mem, page, 1, 9);
	ts_data_write(ballast.mem, page, 1, 9);
	return 0;
}

static bool in_storage(unsigned long pfn)
{
	struct ts_region r[32];

	return ts_storage_of(r, ts_regions(r, ARRAY_SIZE(r)), pfn);
}

/* A covered page becomes tagged; its data stays, and its tags hold. */
static size_t tag_page(size_t page)
{
	size_t bad;

	ts_protect(ballast.mem, page, 1, TS_RWT);
	bad = ts_tags_zero(ballast.mem, page, 1);
	bad += ballast_page(page, true);
	ts_tags_write(ballast.mem, page, 1, 9);
	return bad + ts_check(ballast.mem, page, 1, 9);
}

/*
 * The same, and what was in its storage is not moved to other storage. Nothing
 * of that is left in the flags of the page that is reserved now.
 */
static size_t tag_covered(size_t page, size_t storage)
{
	char *covered = ballast.mem + page * ts_psize;
	char *lent = ballast.mem + storage * ts_psize;
	unsigned long pfn, was = ts_pfn(lent), covered_pfn = ts_pfn(covered);
	unsigned long flags;
	size_t bad;

	bad = tag_page(page);
	pfn = ts_pfn(lent);
	bad += ts_expect(pfn == was || !in_storage(pfn),
			 "data to leave tag storage, not to go to pfn %#lx", pfn);
	if (!pfn || pfn == was || ts_pfn(covered) != covered_pfn)
		return bad;
	flags = ts_page_flags(was);
	return bad + ts_expect(flags == TS_KPF_METADATA,
			       "no flag of reserved storage but METADATA, is %#lx",
			       flags);
}

static void leave_little(void)
{
	ts_ballast_fill(&ballast, ts_meminfo("MetadataTotal") * 1024 /
				  (long)ts_psize / 4);
}

/* The page waits on this CPU for its move to another list of the LRU. */
static void to_batch(size_t page)
{
	madvise(ballast.mem + page * ts_psize, ts_psize, MADV_FREE);
	/* It is needed all the same. */
	ballast_page(page, false);
}

static int take_moved(bool in_batch)
{
	struct ts_counters before, after;
	size_t storage, covered, bad = 0;
	int i, tried = 0;

	leave_little();
	ts_run_on(0);
	ts_counters(&before);
	for (i = 0, storage = 0; i < 32; i++, storage++) {
		if (!ts_ballast_pair(&ballast, &storage, &covered))
			break;
		ballast_page(covered, false);
		if (in_batch)
			to_batch(storage);
		else
			ballast_page(storage, false);
		bad += tag_covered(covered, storage);
		bad += ballast_page(storage, true);
		tried++;
	}
	ts_counters(&after);
	bad += counted();
	ts_ballast_free(&ballast);

	if (!tried)
		return ts_skip("no tag storage came into use as data");
	ksft_print_msg("%d blocks in use: %ld moved, %ld failures\n", tried,
		       after.moved - before.moved, after.fail - before.fail);
	bad += ts_expect(after.moved > before.moved,
			 "metadata_reserve_moved to grow");
	bad += ts_expect(after.fail - before.fail <= tried / 4,
			 "%d failures or less, not %ld", tried / 4,
			 after.fail - before.fail);
	return ts_result(bad);
}

static int way_moved(void)
{
	return take_moved(false);
}

static int way_moved_in_batch(void)
{
	return take_moved(true);
}

struct covered {
	size_t page, bad;
};

static void *tag_slowly(void *arg)
{
	struct covered *covered = arg;

	ts_run_on(1);
	ts_be_slow(true);
	covered->bad = tag_page(covered->page);
	ts_be_slow(false);
	return NULL;
}

/* What is in the storage goes away after it was isolated to be moved. */
static int way_moved_freed(void)
{
	size_t storage, bad = 0;
	int i, tried = 0;
	bool slow;

	leave_little();
	ts_run_on(0);
	slow = ts_slow("isolate_folio_to_list", USEC);
	for (i = 0, storage = 0; i < 16 && !bad; i++, storage++) {
		struct covered covered = { };
		long hits = ts_slow_hits();
		double end = ts_now() + 0.2;
		pthread_t thread;

		if (!ts_ballast_pair(&ballast, &storage, &covered.page))
			break;
		ballast_page(covered.page, false);
		if (pthread_create(&thread, NULL, tag_slowly, &covered))
			ksft_exit_fail_msg("no thread\n");
		while (slow && ts_slow_hits() == hits && ts_now() < end)
			;
		madvise(ballast.mem + storage * ts_psize, ts_psize,
			MADV_DONTNEED);
		pthread_join(thread, NULL);
		bad += covered.bad;
		tried++;
	}
	bad += ts_expect(!slow || ts_slow_hits() > 0, "delays to take place");
	ts_slow(NULL, 0);
	bad += counted();
	ts_ballast_free(&ballast);
	return tried ? ts_result(bad) :
		       ts_skip("no tag storage came into use as data");
}

/*
 * What another CPU does: keep a page in a per-CPU list of its own that is waiting
 * for its move to another list of the LRU, so that it cannot be moved; and tag
 * pages whose storage is next to that, once it is isolated.
 */
enum { IDLE, TO_BATCH, IN_BATCH, BESIDE, DONE, END };

static struct {
	int state;
	size_t storage;
	size_t beside[16];
	int nr;
	size_t bad;
} other;

static int other_state(void)
{
	return __atomic_load_n(&other.state, __ATOMIC_ACQUIRE);
}

static void set_other(int state)
{
	__atomic_store_n(&other.state, state, __ATOMIC_RELEASE);
}

static void *other_cpu(void *arg)
{
	(void)arg;
	ts_run_on(1);
	for (;; usleep(100)) {
		switch (other_state()) {
		case TO_BATCH:
			to_batch(other.storage);
			set_other(IN_BATCH);
			break;
		case BESIDE:
			if (ts_slow_hits() <= 0)
				break;
			while (other.nr)
				other.bad += tag_page(other.beside[--other.nr]);
			set_other(DONE);
			break;
		case END:
			return NULL;
		}
	}
}

static void wait_other(int state)
{
	while (other_state() != state)
		usleep(100);
}

/*
 * Free storage in the pageblock of @storage, and remember pages that have their
 * tags there.
 */
static void free_beside(size_t storage)
{
	unsigned long pfn = ts_pfn(ballast.mem + storage * ts_psize);
	size_t covered;
	int i;

	other.nr = 0;
	for (i = 0, storage++; i < (int)ARRAY_SIZE(other.beside);
	     i++, storage++) {
		char *lent;

		if (!ts_ballast_pair(&ballast, &storage, &covered))
			break;
		lent = ballast.mem + storage * ts_psize;
		if (ts_pfn(lent) / PAGEBLOCK != pfn / PAGEBLOCK)
			continue;
		ballast_page(covered, false);
		madvise(lent, ts_psize, MADV_DONTNEED);
		other.beside[other.nr++] = covered;
	}
}

/* A page that a pipe holds cannot be moved to where there is storage. */
static size_t tag_pinned(size_t covered, size_t storage)
{
	struct iovec iov = {
		.iov_base = ballast.mem + covered * ts_psize,
		.iov_len = 1,
	};
	size_t bad;
	int fd[2];

	if (pipe(fd))
		return ts_expect(false, "a pipe");
	bad = ts_expect(vmsplice(fd[1], &iov, 1, 0) == 1, "vmsplice to work");
	bad += tag_covered(covered, storage);
	close(fd[0]);
	close(fd[1]);
	return bad;
}

/*
 * Fill memory, then leave free what is between the low and the high watermark,
 * and these far apart: data goes to storage where it may, without reclaim.
 */
static void leave_between(void)
{
	char gap[32];

	leave_little();
	madvise(ballast.bulk, GAP_KB * 1024 * 3 / 2, MADV_DONTNEED);
	snprintf(gap, sizeof(gap), "%ld",
		 GAP_KB * 10000 / ts_meminfo("MemTotal"));
	ts_set("/proc/sys/vm/watermark_boost_factor", "0");
	ts_set("/proc/sys/vm/watermark_scale_factor", gap);
}

/* Some storage in each of its pageblocks is reserved. */
static size_t tag_some(void)
{
	size_t page, bad = 0;

	for (page = 0; page < ballast.nr; page += 256) {
		ballast_page(page, false);
		bad += tag_page(page);
	}
	return bad;
}

static int take_contig(bool beside)
{
	struct ts_counters before, after;
	size_t storage, covered, bad;
	bool slow = false;
	pthread_t thread;
	int i, tried = 0;

	leave_between();
	bad = tag_some();
	ts_run_on(0);
	memset(&other, 0, sizeof(other));
	if (beside)
		slow = ts_slow("start_isolate_page_range", USEC);
	if (pthread_create(&thread, NULL, other_cpu, NULL))
		return ts_skip("no thread");
	ts_counters(&before);
	after = before;
	ts_be_slow(true);
	for (i = 0, storage = 0; i < 64 && !bad; i++, storage++) {
		if (!ts_ballast_pair(&ballast, &storage, &covered))
			break;
		ballast_page(covered, false);
		if (slow)
			free_beside(storage);
		other.storage = storage;
		set_other(TO_BATCH);
		wait_other(IN_BATCH);
		if (slow)
			set_other(BESIDE);
		bad += tag_pinned(covered, storage);
		bad += ballast_page(storage, true);
		if (slow && ts_slow_hits() > 0)
			wait_other(DONE);
		tried++;
		ts_counters(&after);
		if (after.contig > before.contig)
			break;
	}
	ts_be_slow(false);
	set_other(END);
	pthread_join(thread, NULL);
	ts_slow(NULL, 0);
	bad += other.bad;
	bad += counted();
	ts_ballast_free(&ballast);
	ts_set("/proc/sys/vm/watermark_scale_factor", "10");

	if (!tried)
		return ts_skip("no tag storage came into use as data");
	ksft_print_msg("%d blocks in use: %ld moved, %ld contig\n", tried,
		       after.moved - before.moved, after.contig - before.contig);
	bad += ts_expect(after.contig > before.contig,
			 "metadata_reserve_contig to grow");
	return ts_result(bad);
}

static int way_contig(void)
{
	return take_contig(false);
}

static int way_contig_beside(void)
{
	return take_contig(true);
}

static const struct ts_case cases[] = {
	{ "shared", way_shared, TS_NEED_COUNTERS },
	{ "buddy", way_buddy, TS_NEED_COUNTERS },
	{ "moved", way_moved, NEED },
	{ "moved, from a batch for the LRU", way_moved_in_batch, NEED },
	{ "moved, freed meanwhile", way_moved_freed, NEED | TS_NEED_CPUS },
	{ "contig", way_contig, NEED | TS_NEED_CPUS },
	{ "contig, others take storage beside it", way_contig_beside,
	  NEED | TS_NEED_CPUS },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
