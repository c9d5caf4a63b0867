// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tag storage is taken in each of the four ways that there are: a block that is
 * reserved already is shared, a free one is taken from the buddy allocator, one
 * in use is moved away page by page, and what that cannot move is taken by
 * alloc_contig_range(). Each way leaves its event, and data and tags right.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ts_common.h"

#define NR	1024
#define NEED	(TS_NEED_COUNTERS | TS_NEED_REGIONS)

static struct ts_ballast ballast;
static char *lru_page;
static int lru_state;

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

/*
 * Let a covered page become tagged; its data stays, and its tags hold. What was
 * in its storage is not moved to other storage.
 */
static size_t tag_covered(size_t page, size_t storage)
{
	char *lent = ballast.mem + storage * ts_psize;
	unsigned long was = ts_pfn(lent), pfn;
	size_t bad;

	ts_protect(ballast.mem, page, 1, TS_RWT);
	bad = ts_tags_zero(ballast.mem, page, 1);
	pfn = ts_pfn(lent);
	bad += ts_expect(pfn == was || !in_storage(pfn),
			 "data to leave tag storage, not to go to pfn %#lx", pfn);
	bad += ballast_page(page, true);
	ts_tags_write(ballast.mem, page, 1, 9);
	return bad + ts_check(ballast.mem, page, 1, 9);
}

static void leave_little(void)
{
	ts_ballast_fill(&ballast, ts_meminfo("MetadataTotal") * 1024 /
				  (long)ts_psize / 8);
}

static int way_moved(void)
{
	struct ts_counters before, after;
	size_t storage, covered, bad = 0;
	int i, tried = 0;

	leave_little();
	ts_counters(&before);
	for (i = 0, storage = 0; i < 32; i++, storage++) {
		if (!ts_ballast_pair(&ballast, &storage, &covered))
			break;
		ballast_page(storage, false);
		ballast_page(covered, false);
		bad += tag_covered(covered, storage);
		bad += ballast_page(storage, true);
		tried++;
	}
	ts_counters(&after);
	ts_ballast_free(&ballast);

	if (!tried)
		return ts_skip("no tag storage came into use as data");
	ksft_print_msg("%d blocks in use: %ld moved, %ld contig\n", tried,
		       after.moved - before.moved, after.contig - before.contig);
	bad += ts_expect(after.moved > before.moved,
			 "metadata_reserve_moved to grow");
	return ts_result(bad);
}

/*
 * Keep pages, one after the other, in a per-CPU list of another CPU that is
 * waiting to be added to the LRU: such pages cannot be isolated.
 */
static void *to_lru_batch(void *arg)
{
	(void)arg;
	ts_run_on(1);
	for (;;) {
		int state = __atomic_load_n(&lru_state, __ATOMIC_ACQUIRE);

		if (state < 0)
			return NULL;
		if (state == 1) {
			madvise(lru_page, ts_psize, MADV_FREE);
			__atomic_store_n(&lru_state, 2, __ATOMIC_RELEASE);
		}
		usleep(100);
	}
}

static void on_other_cpu(char *page)
{
	lru_page = page;
	__atomic_store_n(&lru_state, 1, __ATOMIC_RELEASE);
	while (__atomic_load_n(&lru_state, __ATOMIC_ACQUIRE) != 2)
		usleep(100);
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

static int way_contig(void)
{
	struct ts_counters before, after;
	size_t storage, covered, bad = 0;
	pthread_t thread;
	int i, tried = 0;

	leave_little();
	ts_run_on(0);
	if (pthread_create(&thread, NULL, to_lru_batch, NULL))
		return ts_skip("no thread");
	ts_counters(&before);
	after = before;
	for (i = 0, storage = 0; i < 64 && !bad; i++, storage++) {
		if (!ts_ballast_pair(&ballast, &storage, &covered))
			break;
		ballast_page(covered, false);
		on_other_cpu(ballast.mem + storage * ts_psize);
		bad += tag_pinned(covered, storage);
		tried++;
		ts_counters(&after);
		if (after.contig > before.contig)
			break;
	}
	__atomic_store_n(&lru_state, -1, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	lru_state = 0;
	ts_ballast_free(&ballast);

	if (!tried)
		return ts_skip("no tag storage came into use as data");
	ksft_print_msg("%d blocks in use: %ld moved, %ld contig\n", tried,
		       after.moved - before.moved, after.contig - before.contig);
	bad += ts_expect(after.contig > before.contig,
			 "metadata_reserve_contig to grow");
	return ts_result(bad);
}

static const struct ts_case cases[] = {
	{ "shared", way_shared, TS_NEED_COUNTERS },
	{ "buddy", way_buddy, TS_NEED_COUNTERS },
	{ "moved", way_moved, NEED },
	{ "contig", way_contig, NEED | TS_NEED_CPUS },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
