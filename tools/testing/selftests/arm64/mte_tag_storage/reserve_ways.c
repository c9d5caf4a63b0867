// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tag storage is taken in each of the four ways that there are: a block that is
 * reserved already is shared, a free one is taken from the buddy allocator, one
 * in use is moved away page by page, and what that cannot move is taken by
 * alloc_contig_range(). Each way leaves its event, counters that agree, and data
 * and tags right, also while others free what is moved, or take storage beside.
 */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "ts_common.h"

#define NR		1024
#define FRESH		2048
#define USEC		20000
#define USEC_PIN	200000
#define USEC_LOCKED	1500000
#define PAGEBLOCK	512
#define PCP_FRACTION	"/proc/sys/vm/percpu_pagelist_high_fraction"
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

	/* No block lingers that these pages could share. */
	usleep(300 * 1000);
	ts_counters(&before);
	ts_write(mem, 0, NR, 1);
	ts_counters(&after);
	bad = ts_expect(after.buddy > before.buddy,
			"metadata_reserve_buddy to grow");
	bad += ts_usually(after.moved == before.moved, "nothing to be moved");
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

static int slow_end(size_t bad, int tried, bool slow)
{
	bad += ts_expect(!slow || ts_slow_hits() > 0, "delays to take place");
	ts_slow(NULL, 0);
	bad += counted();
	ts_ballast_free(&ballast);
	return tried ? ts_result(bad) :
		       ts_skip("no tag storage came into use as data");
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
		pthread_t thread;

		if (!ts_ballast_pair(&ballast, &storage, &covered.page))
			break;
		ballast_page(covered.page, false);
		if (pthread_create(&thread, NULL, tag_slowly, &covered))
			ksft_exit_fail_msg("no thread\n");
		ts_wait_slow(hits, 0.2);
		madvise(ballast.mem + storage * ts_psize, ts_psize,
			MADV_DONTNEED);
		pthread_join(thread, NULL);
		bad += covered.bad;
		tried++;
	}
	return slow_end(bad, tried, slow);
}

/*
 * What another CPU does: keep a page in a per-CPU list of its own that is waiting
 * for its move to another list of the LRU, so that it cannot be moved; and tag
 * pages whose storage is next to that, or pin for long what lies there, once it is
 * isolated. Or keep a new page, on its way to the LRU.
 */
enum { IDLE, TO_BATCH, NEW, IN_BATCH, BESIDE, PIN, DRAIN, DONE, END };

static struct {
	int state;
	size_t storage;
	size_t beside[16];
	int nr;
	size_t bad;
	char *fresh;
	long hits;
} other;

static int other_state(void)
{
	return __atomic_load_n(&other.state, __ATOMIC_ACQUIRE);
}

static void set_other(int state)
{
	__atomic_store_n(&other.state, state, __ATOMIC_RELEASE);
}

/* A page in the pageblock that is isolated just now leaves it. */
static size_t pin_beside(void)
{
	char *mem = ballast.mem + other.beside[0] * ts_psize;
	int fd = ts_pin_longterm(mem, 1);
	bool leaves = !in_storage(ts_pfn(mem));

	if (fd < 0)
		return ts_usually(false, "the page to be pinned");
	close(fd);
	return ts_expect(leaves, "the pinned page to leave tag storage") +
	       ballast_page(other.beside[0], true);
}

static void *other_cpu(void *arg)
{
	char *nothing = ts_map(1, TS_RW, 0);

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
		case PIN:
			if (ts_slow_hits() <= 0)
				break;
			other.bad += pin_beside();
			set_other(DONE);
			break;
		case NEW:
			ts_store(other.fresh, 1);
			set_other(IN_BATCH);
			break;
		case DRAIN:
			if (ts_slow_hits() <= other.hits)
				break;
			/* Each call that takes pages away drains the batches. */
			madvise(nothing, ts_psize, MADV_DONTNEED);
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

static bool is_beside(size_t covered)
{
	int i;

	for (i = 0; i < other.nr; i++)
		if (other.beside[i] == covered)
			return true;
	return false;
}

/*
 * Free storage in the pageblock of @storage, and remember pages that have their
 * tags there; but not @pinned, which has its own in @storage.
 */
static void free_beside(size_t storage, size_t pinned)
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
		/* A block may have several pages. */
		if (ts_pfn(lent) / PAGEBLOCK != pfn / PAGEBLOCK ||
		    covered == pinned || is_beside(covered))
			continue;
		ballast_page(covered, false);
		madvise(lent, ts_psize, MADV_DONTNEED);
		other.beside[other.nr++] = covered;
	}
}

/* Remember another page in the pageblock of @storage. */
static bool find_beside(size_t storage)
{
	unsigned long pfn = ts_pfn(ballast.mem + storage * ts_psize);
	unsigned long first = pfn - pfn % PAGEBLOCK;
	ssize_t page;

	page = ts_ballast_find(&ballast, pfn + 1, first + PAGEBLOCK - pfn - 1);
	if (page < 0)
		page = ts_ballast_find(&ballast, first, pfn - first);
	if (page < 0)
		return false;
	ballast_page(page, false);
	other.beside[0] = page;
	return true;
}

/* A page that a pipe holds cannot be moved to where there is storage. */
static size_t tag_pinned(size_t covered, size_t storage)
{
	size_t bad;
	int fd[2];

	if (!ts_pin_pipe(ballast.mem + covered * ts_psize, fd))
		return ts_expect(false, "vmsplice to work");
	bad = tag_covered(covered, storage);
	close(fd[0]);
	close(fd[1]);
	return bad;
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

/* What the other CPU does meanwhile is nothing, BESIDE or PIN. */
static int take_contig(int meanwhile)
{
	struct ts_counters before, after;
	size_t storage, covered, bad;
	bool slow = false, traces;
	pthread_t thread;
	int i, tried = 0;

	/* Takes memory. */
	traces = ts_events(true);
	leave_between();
	bad = tag_some();
	ts_run_on(0);
	memset(&other, 0, sizeof(other));
	if (meanwhile != IDLE)
		slow = ts_slow("start_isolate_page_range",
			       meanwhile == PIN ? USEC_PIN : USEC);
	if (pthread_create(&thread, NULL, other_cpu, NULL))
		return ts_skip("no thread");
	ts_counters(&before);
	after = before;
	ts_be_slow(true);
	for (i = 0, storage = 0; i < 64 && !bad; i++, storage++) {
		if (!ts_ballast_pair(&ballast, &storage, &covered))
			break;
		ballast_page(covered, false);
		if (slow && meanwhile == BESIDE)
			free_beside(storage, covered);
		if (slow && meanwhile == PIN && !find_beside(storage))
			continue;
		other.storage = storage;
		set_other(TO_BATCH);
		wait_other(IN_BATCH);
		if (slow)
			set_other(meanwhile);
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
	ts_events(false);
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
	bad += ts_expect(!traces || ts_event("metadata_reserve:", "way=contig",
					      "ret=0\n"),
			 "the event of that");
	return ts_result(bad);
}

/* A page of the ballast that has its tags in a page of tag storage, or -1. */
static ssize_t covered_by(unsigned long pfn)
{
	const struct ts_region *in;
	struct ts_region r[32];
	unsigned long cover;

	in = ts_storage_of(r, ts_regions(r, ARRAY_SIZE(r)), pfn);
	if (!in)
		return -1;
	cover = TS_COVER * in->block_pages;
	return ts_ballast_find(&ballast, in->data_pfn + (pfn - in->tag_pfn) /
			       in->block_pages * cover, cover);
}

/* Return: whether the page had not to be moved to where there is storage. */
static bool tag_in_place(size_t covered, size_t *bad)
{
	char *mem = ballast.mem + covered * ts_psize;
	unsigned long pfn = ts_pfn(mem);

	ballast_page(covered, false);
	*bad += tag_page(covered);
	return ts_pfn(mem) == pfn;
}

/* What another CPU has not put on the LRU yet, and does after the first look. */
static int way_moved_retry(void)
{
	char *fresh = ts_map(FRESH, TS_RW, 0);
	int i, tried = 0, stay = 0;
	pthread_t thread;
	size_t bad = 0;
	bool slow;

	/* So that new pages do not come from the lists of a CPU. */
	ts_set(PCP_FRACTION, "100000");
	leave_between();
	madvise(fresh, FRESH * ts_psize, MADV_NOHUGEPAGE);
	ts_run_on(0);
	memset(&other, 0, sizeof(other));
	slow = ts_slow("isolate_folio_to_list", USEC);
	if (pthread_create(&thread, NULL, other_cpu, NULL))
		return ts_skip("no thread");
	for (i = 0; i < FRESH && tried < 16 && !bad; i++) {
		ssize_t covered;

		other.fresh = fresh + i * ts_psize;
		set_other(NEW);
		wait_other(IN_BATCH);
		covered = covered_by(ts_pfn(other.fresh));
		if (covered < 0)
			continue;
		other.hits = ts_slow_hits();
		set_other(slow ? DRAIN : IDLE);
		ts_be_slow(true);
		stay += tag_in_place(covered, &bad);
		ts_be_slow(false);
		tried++;
	}
	set_other(END);
	pthread_join(thread, NULL);
	bad += ts_expect(!slow || !tried || ts_slow_hits() > 0,
			 "delays to take place");
	ts_slow(NULL, 0);
	bad += counted();
	ts_unmap(fresh, FRESH);
	ts_ballast_free(&ballast);
	ts_set("/proc/sys/vm/watermark_scale_factor", "10");
	ts_set(PCP_FRACTION, "0");
	if (!tried)
		return ts_skip("no tag storage came into use as data");
	ksft_print_msg("%d of %d pages stay\n", stay, tried);
	bad += ts_expect(!slow || stay * 2 >= tried,
			 "storage to be had at the second look");
	return ts_result(bad);
}

/* The other pages of the block become free. */
static void free_rest(size_t storage)
{
	unsigned long pfn = ts_pfn(ballast.mem + storage * ts_psize), first;
	const struct ts_region *in;
	struct ts_region r[32];
	ssize_t page;

	in = ts_storage_of(r, ts_regions(r, ARRAY_SIZE(r)), pfn);
	if (!in)
		return;
	first = pfn - (pfn - in->tag_pfn) % in->block_pages;
	while ((page = ts_ballast_find(&ballast, first, pfn - first)) >= 0 ||
	       (page = ts_ballast_find(&ballast, pfn + 1, in->block_pages - 1 -
				       (pfn - first))) >= 0)
		madvise(ballast.mem + page * ts_psize, ts_psize, MADV_DONTNEED);
}

/* One page of a block is in use. */
static int way_moved_part(void)
{
	size_t storage, covered, bad = 0;
	int i, tried = 0, stay = 0;

	leave_little();
	for (i = 0, storage = 0; i < 16 && !bad; i++, storage++) {
		unsigned long pfn;

		if (!ts_ballast_pair(&ballast, &storage, &covered))
			break;
		ballast_page(storage, false);
		ballast_page(covered, false);
		free_rest(storage);
		pfn = ts_pfn(ballast.mem + covered * ts_psize);
		bad += tag_covered(covered, storage);
		bad += ballast_page(storage, true);
		stay += pfn == ts_pfn(ballast.mem + covered * ts_psize);
		tried++;
	}
	bad += counted();
	ts_ballast_free(&ballast);
	if (!tried)
		return ts_skip("no tag storage came into use as data");
	ksft_print_msg("%d of %d pages stay\n", stay, tried);
	bad += ts_expect(stay * 2 >= tried, "blocks in use in part to be had");
	return ts_result(bad);
}

/* Moves the page away by another way, and has it locked meanwhile. */
static void *lock_slowly(void *arg)
{
	struct uffdio_move *move = arg;
	struct ts_uffd uffd;

	if (!ts_uffd_open(&uffd, (char *)move->dst, 1,
			  UFFDIO_REGISTER_MODE_MISSING, UFFD_FEATURE_MOVE))
		return NULL;
	ts_run_on(1);
	ts_be_slow(true);
	ioctl(uffd.fd, UFFDIO_MOVE, move);
	ts_be_slow(false);
	close(uffd.fd);
	return NULL;
}

/* What is in the storage is locked: that is not waited for. */
static size_t tag_beside_locked(size_t covered, size_t storage)
{
	struct uffdio_move move = {
		.src = (unsigned long)ballast.mem + storage * ts_psize,
		.dst = (unsigned long)ts_map(1, TS_RW, 0),
		.len = ts_psize,
	};
	long hits = ts_slow_hits();
	pthread_t thread;
	double start;
	size_t bad;

	ts_protect(ballast.mem, covered, 1, TS_RWT);
	if (pthread_create(&thread, NULL, lock_slowly, &move))
		ksft_exit_fail_msg("no thread\n");
	ts_wait_slow(hits, 1);
	start = ts_now();
	bad = tag_page(covered);
	start = ts_now() - start;
	bad += ts_expect(start < USEC_LOCKED / 2e6,
			 "no wait for a locked page, but %.3f s", start);
	pthread_join(thread, NULL);
	if (move.move == (long)ts_psize)
		bad += ts_expect(ts_load((char *)move.dst) ==
				 ts_word(9, storage, 0), "the data to move");
	munmap((void *)move.dst, ts_psize);
	return bad;
}

static int way_moved_locked(void)
{
	size_t storage, covered, bad = 0;
	int i, tried = 0;
	bool slow;

	leave_little();
	ts_run_on(0);
	slow = ts_slow("folio_get_anon_vma", USEC_LOCKED);
	for (i = 0, storage = 0; i < 4 && !bad; i++, storage++) {
		if (!ts_ballast_pair(&ballast, &storage, &covered))
			break;
		ballast_page(storage, false);
		ballast_page(covered, false);
		bad += tag_beside_locked(covered, storage);
		tried++;
	}
	return slow_end(bad, tried, slow);
}

static int way_contig(void)
{
	return take_contig(IDLE);
}

static int way_contig_beside(void)
{
	return take_contig(BESIDE);
}

static int way_contig_pinned(void)
{
	return take_contig(PIN);
}

static const struct ts_case cases[] = {
	{ "shared", way_shared, TS_NEED_COUNTERS },
	{ "buddy", way_buddy, TS_NEED_COUNTERS },
	{ "moved", way_moved, NEED },
	{ "moved, from a batch for the LRU", way_moved_in_batch, NEED },
	{ "moved, freed meanwhile", way_moved_freed, NEED | TS_NEED_CPUS },
	{ "moved, at the second look", way_moved_retry, NEED | TS_NEED_CPUS },
	{ "moved, the rest of the block free", way_moved_part, NEED },
	{ "moved, but not if it is locked", way_moved_locked,
	  NEED | TS_NEED_CPUS },
	{ "contig", way_contig, NEED | TS_NEED_CPUS },
	{ "contig, others take storage beside it", way_contig_beside,
	  NEED | TS_NEED_CPUS },
	{ "contig, others pin what is beside it", way_contig_pinned,
	  NEED | TS_NEED_CPUS },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
