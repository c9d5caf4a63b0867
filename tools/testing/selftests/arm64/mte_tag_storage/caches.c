// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tags that are still in a cache when their storage is given back must never be
 * written to it later, over the data that it holds then. Neither if their page
 * has left the linear map of the kernel meanwhile, by whose addresses caches are
 * cleaned. Needs a machine that caches tags to fail.
 */
#define _GNU_SOURCE
#include <unistd.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "ts_common.h"

#ifndef __NR_memfd_secret
#define __NR_memfd_secret	447
#endif

#define NR		1024UL	/* tagged pages: some MiB, as a cache has */
#define NR_PLAIN	32768UL
#define SEED		1
#define WAIT		10
#define NEED		(TS_NEED_ROOT | TS_NEED_COUNTERS | TS_NEED_REGIONS)

/* Pages of tag storage that are left when it is full. */
#define LEAVE		64

/* Of these, each block keeps a page while the others go. */
#define NR_MOST		4096UL
/* So much secret memory at most; of every few pages, one is looked at. */
#define NR_SECRET	16384UL
#define STEP		8
/* Of those, so many that were tagged are enough. */
#define ENOUGH		64
/* New data in so much storage of these, at least. */
#define BLOCKS		4

static struct ts_region regions[32];
static int nr_regions;
static struct ts_ballast ballast;
static char *plain;
static size_t nr_plain;

static void map_plain(void)
{
	plain = ts_map(NR_PLAIN, TS_RW, MAP_NORESERVE);
	madvise(plain, NR_PLAIN * ts_psize, MADV_NOHUGEPAGE);
	nr_plain = 0;
}

static char *map_tagged(size_t nr)
{
	char *mem = ts_map(nr, TS_RWT, 0);

	madvise(mem, nr * ts_psize, MADV_NOHUGEPAGE);
	ts_tags_write(mem, 0, nr, SEED);
	return mem;
}

/* Data until so few pages of tag storage are free. */
static void fill(long leave)
{
	while (nr_plain + LEAVE <= NR_PLAIN &&
	       ts_vmstat("nr_free_metadata") > leave) {
		ts_data_write(plain, nr_plain, LEAVE, SEED);
		nr_plain += LEAVE;
	}
}

/* Use so much other memory that nothing stays in the caches. */
static void wash(void)
{
	size_t pass, i;

	for (pass = 0; pass < 3; pass++)
		for (i = 0; i < ballast.bulk_nr; i++)
			ts_load(ballast.bulk + i * ts_psize);
}

static long reserved(void)
{
	usleep(300 * 1000);
	ts_fold();
	return ts_vmstat("nr_metadata_reserved");
}

/* Soon: what is in a cache now does not stay there for ever. */
static size_t given_back(long start)
{
	ts_drain();
	return ts_expect(ts_wait_reserved(start, WAIT),
			 "%ld pages of tag storage reserved at most, %ld are",
			 start, ts_vmstat("nr_metadata_reserved"));
}

/* New data is where tags were, and stays what it is. */
static size_t check_plain(size_t first)
{
	size_t in_storage, bad;

	wash();
	bad = ts_data_check(plain, 0, nr_plain, SEED);
	in_storage = ts_in_storage(plain + first * ts_psize, nr_plain - first);
	ts_usually(in_storage >= LEAVE / 4,
		   "%d of %zu new pages in storage, not %zu", LEAVE / 4,
		   nr_plain - first, in_storage);
	return bad;
}

/* All storage is in use, so what is given back is what gets data next. */
static int freed(void)
{
	size_t before, bad;
	long start;
	char *mem;

	start = reserved();
	map_plain();
	ts_ballast_near(&ballast);
	fill(LEAVE);
	before = nr_plain;

	mem = map_tagged(NR);
	ts_fold();
	bad = ts_expect(ts_vmstat("nr_metadata_reserved") > start,
			"storage to be reserved");
	ts_unmap(mem, NR);
	bad += given_back(start);

	fill(LEAVE / 4);
	bad += check_plain(before);
	ts_unmap(plain, NR_PLAIN);
	ts_ballast_free(&ballast);
	return ts_result(bad);
}

/* The first page of the storage that covers a page. */
static unsigned long block_of(unsigned long pfn)
{
	const struct ts_region *r = ts_covers(regions, nr_regions, pfn);

	return r ? r->tag_pfn + (pfn - r->data_pfn) /
		   (TS_COVER * r->block_pages) * r->block_pages : 0;
}

/* Where the tagged pages are that go; 0 for those that keep their blocks. */
static unsigned long gone[NR_MOST];

static void find_gone(const char *mem)
{
	unsigned long last = 0;
	size_t i;

	for (i = 0; i < NR_MOST; i++) {
		unsigned long pfn = ts_pfn(mem + i * ts_psize);
		unsigned long block = block_of(pfn);

		gone[i] = block == last ? pfn : 0;
		last = block;
	}
}

static void free_gone(char *mem)
{
	size_t i;

	for (i = 0; i < NR_MOST; i++)
		if (gone[i])
			madvise(mem + i * ts_psize, ts_psize, MADV_DONTNEED);
}

static bool was_gone(const char *page)
{
	unsigned long pfn = ts_pfn(page);
	size_t i = 0;

	while (i < NR_MOST && gone[i] != pfn)
		i++;
	return i < NR_MOST;
}

static char *map_secret(int fd, size_t nr)
{
	static const struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };

	if (ftruncate(fd, nr * ts_psize) || setrlimit(RLIMIT_MEMLOCK, &all))
		ksft_exit_fail_msg("no %zu pages of secret memory\n", nr);
	return ts_map_fd(fd, nr * ts_psize, TS_RW, MAP_SHARED);
}

/* Which free pages are used is up to the kernel. Return: pages in use. */
static size_t use_gone(char *secret)
{
	size_t nr = 0, found = 0;

	while (nr < NR_SECRET && found < ENOUGH) {
		ts_store(secret + nr * ts_psize, nr);
		if (!(nr % STEP))
			found += was_gone(secret + nr * ts_psize);
		nr++;
	}
	return nr;
}

/* There is new data in the storage of tagged pages that are secret now. */
static void usually_met(const char *secret, size_t nr, size_t first)
{
	static unsigned long block[NR_SECRET];
	size_t i, j, n = 0, met = 0;

	for (i = 0; i < nr; i++)
		if (was_gone(secret + i * ts_psize))
			block[n++] = block_of(ts_pfn(secret + i * ts_psize));
	for (i = first; i < nr_plain; i++) {
		unsigned long pfn = ts_pfn(plain + i * ts_psize);

		for (j = 0; j < n && block[j] != pfn; j++)
			;
		met += j < n;
	}
	ts_usually(met >= BLOCKS,
		   "%d pages of storage with data that %zu pages of secret memory had before, not %zu",
		   BLOCKS, n, met);
}

/*
 * A page with tags goes and comes back as memory that the kernel does not map,
 * while another one keeps their storage. That is given back later.
 */
static int unmapped(void)
{
	size_t before, nr, i, bad;
	char *mem, *secret;
	long start;
	int fd;

	fd = syscall(__NR_memfd_secret, 0);
	if (fd < 0)
		return ts_skip("no secret memory");
	secret = map_secret(fd, NR_SECRET);
	/* With huge pages enabled more than that is kept free. */
	ts_set("/proc/sys/vm/min_free_kbytes", "4096");

	nr_regions = ts_regions(regions, ARRAY_SIZE(regions));
	start = reserved();
	map_plain();
	mem = map_tagged(NR_MOST);
	ts_ballast_fill(&ballast, LEAVE);
	fill(LEAVE);
	before = nr_plain;

	find_gone(mem);
	ts_tags_write(mem, 0, NR_MOST, SEED);
	free_gone(mem);
	nr = use_gone(secret);
	ts_unmap(mem, NR_MOST);
	bad = given_back(start);

	fill(LEAVE / 4);
	bad += check_plain(before);
	for (i = 0; i < nr; i++)
		bad += ts_load(secret + i * ts_psize) != i;
	usually_met(secret, nr, before);
	ts_unmap(plain, NR_PLAIN);
	ts_ballast_free(&ballast);
	ts_unmap(secret, NR_SECRET);
	close(fd);
	return ts_result(bad);
}

static const struct ts_case cases[] = {
	{ "pages that are freed", freed, NEED },
	{ "pages that become secret memory", unmapped, NEED },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
