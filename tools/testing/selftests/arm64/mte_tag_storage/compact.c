// SPDX-License-Identifier: GPL-2.0-only
/*
 * Compaction, whoever starts it, moves tagged pages and pages that wait for
 * their tag storage, and these keep data and tags while another thread writes
 * to some of them: proactive compaction by kcompactd, and direct compaction by
 * somebody who wants large pages in memory that is all in pieces. (migrate.c
 * has the one that is asked for by sysctl.)
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>

#include "ts_common.h"

#define NR		1024
#define SEED		1
#define CHUNK		64UL	/* half of each is freed in the end */
#define FREE_KB		(16 * 1024L)	/* in one piece */
#define PIECES_KB	(48 * 1024L)
#define PROACTIVENESS	"/proc/sys/vm/compaction_proactiveness"
#define HUGEPAGES	"/proc/sys/vm/nr_hugepages"
#define MIN_FREE	"/proc/sys/vm/min_free_kbytes"
#define BOOST		"/proc/sys/vm/watermark_boost_factor"

static char *mem, *pieces, *bulk;
static size_t nr_pieces, bulk_size;
static unsigned long pfns[NR];
static bool stop;
static size_t mutator_bad;

/* The last eighth of the pages belongs to a thread that writes all the time. */
static void *mutate(void *arg)
{
	unsigned long seed;

	(void)arg;
	for (seed = 10; !__atomic_load_n(&stop, __ATOMIC_RELAXED); seed++) {
		ts_write(mem, NR * 7 / 8, NR / 8, seed);
		mutator_bad += ts_check(mem, NR * 7 / 8, NR / 8, seed);
	}
	return NULL;
}

static long free_kb(void)
{
	return ts_meminfo("MemFree") - ts_meminfo("MetadataFree");
}

/*
 * Take nearly all of memory, the last of it page by page, with pages of @mem in
 * between, and let go every other half of a chunk of these: most of what is free
 * then is in pieces.
 */
static void in_pieces(void)
{
	size_t huge = ts_huge_size(), i, page = 0;

	/* What was there before must not decide what the pieces are. */
	ts_compact();
	bulk_size = free_kb() * 1024 & ~(huge - 1);
	bulk = ts_map_huge(bulk_size);
	for (i = 0; i < bulk_size && free_kb() > FREE_KB + PIECES_KB; i += huge)
		madvise(bulk + i, huge, MADV_POPULATE_WRITE);

	nr_pieces = (free_kb() - FREE_KB) * 1024 / ts_psize / CHUNK * CHUNK;
	pieces = ts_map(nr_pieces, TS_RW, MAP_NORESERVE);
	madvise(pieces, nr_pieces * ts_psize, MADV_NOHUGEPAGE);
	for (i = 0; i < nr_pieces; i += CHUNK) {
		size_t end = (i + CHUNK) * NR / nr_pieces;

		madvise(pieces + i * ts_psize, CHUNK * ts_psize,
			MADV_POPULATE_WRITE);
		for (; page < end; page++)
			ts_data_write(mem, page, 1, SEED);
	}
	/* What is swapped out is not moved. */
	if (mlock(mem, NR * ts_psize))
		ksft_exit_fail_msg("mlock: %s\n", strerror(errno));
	for (i = 0; i < nr_pieces; i += CHUNK)
		madvise(pieces + i * ts_psize, CHUNK / 2 * ts_psize,
			MADV_DONTNEED);
}

static void note_pfns(void)
{
	size_t i;

	for (i = 0; i < NR; i++)
		pfns[i] = ts_pfn(mem + i * ts_psize);
}

static size_t moved(void)
{
	size_t i, nr = 0;

	for (i = 0; i < NR; i++)
		nr += ts_pfn(mem + i * ts_psize) != pfns[i];
	return nr;
}

/* Compaction has to begin some time, and then to move something soon. */
static bool go_on(double start, bool begun)
{
	return begun ? ts_now() - start < 5 && moved() < 16 :
		       ts_now() - start < 6;
}

/* In one of the attempts. */
static bool has_begun;

/* To ask again ends the sleep of kcompactd. */
static void by_daemon(void)
{
	long scanned = ts_vmstat("compact_daemon_migrate_scanned"), now;
	double start = ts_now();
	char old[16] = "20";

	ts_read_file(PROACTIVENESS, old, sizeof(old));
	do {
		ts_write_file(PROACTIVENESS, "100");
		usleep(50 * 1000);
		now = ts_vmstat("compact_daemon_migrate_scanned");
	} while (go_on(start, now > scanned));
	ts_write_file(PROACTIVENESS, old);
	has_begun |= now > scanned;
}

/*
 * Other tasks may compact first, and leave nothing to do at once.
 *
 * As many huge pages as there is free memory, and more, which is more than are in
 * one piece, again and again: after compaction has failed it is put off for some
 * attempts.
 */
static void by_request(void)
{
	long stalls = ts_vmstat("compact_stall"), now;
	double start = ts_now();
	char nr[24];
	int i = 8;

	do {
		ts_write_file(HUGEPAGES, "0");
		snprintf(nr, sizeof(nr), "%ld",
			 free_kb() * 1024 / (long)ts_huge_size() + i);
		ts_write_file(HUGEPAGES, nr);
		now = ts_vmstat("compact_stall");
		i = i < 64 ? i + 8 : 8;
	} while (go_on(start, now > stalls));
	ts_write_file(HUGEPAGES, "0");
	has_begun |= now > stalls;
}

/* One attempt; the pages that it moved are added to @nr. */
static size_t move_tagged(void (*compact)(void), size_t *nr)
{
	pthread_t thread;
	size_t bad;

	mem = ts_map(NR, TS_RWT, 0);
	madvise(mem, NR * ts_psize, MADV_NOHUGEPAGE);
	in_pieces();
	ts_tags_write(mem, 0, NR, SEED);
	note_pfns();
	stop = false;
	mutator_bad = 0;
	if (pthread_create(&thread, NULL, mutate, NULL))
		ksft_exit_fail_msg("no thread\n");
	compact();
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	*nr += moved();

	bad = mutator_bad;
	bad += ts_check(mem, 0, NR * 7 / 8, SEED);
	ts_unmap(pieces, nr_pieces);
	munmap(bulk, bulk_size);
	bad += ts_check(mem, 0, NR * 7 / 8, SEED);
	ts_unmap(mem, NR);
	return bad;
}

static size_t move_waiting(void (*compact)(void), size_t *nr)
{
	size_t bad;

	mem = ts_map(NR, TS_RW, 0);
	madvise(mem, NR * ts_psize, MADV_NOHUGEPAGE);
	in_pieces();
	ts_protect(mem, 0, NR, TS_RWT);
	note_pfns();
	compact();
	*nr += moved();
	bad = ts_none_touch(mem, 0, NR, SEED);
	ts_unmap(pieces, nr_pieces);
	munmap(bulk, bulk_size);
	ts_unmap(mem, NR);
	return bad;
}

/*
 * Where memory is in pieces is a matter of luck, too: some attempts. To compact
 * for a request is not worth trying unless what is free in pieces is well above
 * the watermarks; with huge pages enabled these are about as high as that.
 */
static int attempts(size_t (*move)(void (*compact)(void), size_t *nr),
		    void (*compact)(void))
{
	double start = ts_now();
	size_t bad = 0, nr = 0;
	int i;

	ts_set(BOOST, "0");
	has_begun = false;
	for (i = 0; i < 7 && !bad && (nr < 16 || !has_begun); i++) {
		if (compact == by_request || i == 4)
			ts_set(MIN_FREE, "4096");
		bad += move(compact, &nr);
	}
	ksft_print_msg("%zu pages moved, tried %d times in %.1f s\n", nr, i,
		       ts_now() - start);
	bad += ts_usually(has_begun, "compaction to begin");
	return ts_result(bad + ts_usually(nr >= 16, "16 pages to be moved"));
}

static int tagged_proactive(void)
{
	return attempts(move_tagged, by_daemon);
}

static int waiting_proactive(void)
{
	return attempts(move_waiting, by_daemon);
}

static int tagged_direct(void)
{
	return attempts(move_tagged, by_request);
}

static int waiting_direct(void)
{
	return attempts(move_waiting, by_request);
}

#define NEED	(TS_NEED_ROOT | TS_NEED_REGIONS | TS_NEED_THP)

static const struct ts_case cases[] = {
	{ "proactive compaction", tagged_proactive, NEED },
	{ "proactive compaction before the first access", waiting_proactive,
	  NEED },
	{ "direct compaction", tagged_direct, NEED },
	{ "direct compaction before the first access", waiting_direct, NEED },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
