// SPDX-License-Identifier: GPL-2.0-only
/*
 * Shared memory that MADV_COLLAPSE makes one huge page keeps data and tags in
 * all of its mappings, tagged or not, with pages that wait for tag storage, are
 * swapped out, or are not there. What was not there has zero tags.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "ts_common.h"

#define NEED	(TS_NEED_THP | TS_NEED_ROOT | TS_NEED_COUNTERS | \
		 TS_NEED_REGIONS)
#define TRIES	50
#define TIMEOUT	120

static size_t huge, nr;
static char *tagged, *plain;
static int fd;

/* What was used stays until the end, so that what follows is other memory. */
static char *kept[16];
static int nr_kept;

/* A file of base pages, with and without PROT_MTE. */
static void begin(void)
{
	ts_thp_set("shmem_enabled", "never");
	fd = ts_memfd(huge);
	plain = ts_map_fd_huge(fd, TS_RW);
	tagged = ts_map_fd_huge(fd, TS_RWT);
}

static size_t end(void)
{
	size_t bad;

	/* With tags of its own for each page. */
	ts_write(tagged, 0, nr, 5);
	bad = ts_check(tagged, 0, nr, 5);
	bad += ts_data_check(plain, 0, nr, 5);
	ts_unmap(plain, nr);
	kept[nr_kept++] = tagged;
	close(fd);
	return bad;
}

static size_t must_collapse(char *mem)
{
	size_t bad = ts_expect(ts_folio_pages(mem) <= 1, "base pages");
	int tries, ret = -1;

	for (tries = 0; tries < TRIES && ret; tries++) {
		if (tries)
			usleep(20 * 1000);
		ret = madvise(mem, huge, MADV_COLLAPSE);
	}
	bad += ts_expect(!ret, "MADV_COLLAPSE to work: %s", strerror(errno));
	bad += ts_expect(ts_smaps(mem, "ShmemPmdMapped:") == (long)huge / 1024,
			 "a mapping by PMD");
	bad += ts_expect(ts_folio_pages(mem) == nr, "a folio of %zu pages", nr);
	return bad;
}

static size_t all_tagged(void)
{
	size_t bad;

	begin();
	ts_write(tagged, 0, nr, 1);
	bad = must_collapse(tagged);
	bad += ts_check(tagged, 0, nr, 1);
	bad += ts_data_check(plain, 0, nr, 1);
	return bad + end();
}

/* By way of the mapping that is not tagged. */
static size_t by_plain(void)
{
	size_t bad;

	begin();
	ts_write(tagged, 0, nr, 1);
	ts_load(plain);
	bad = must_collapse(plain);
	bad += ts_data_check(plain, 0, nr, 1);
	bad += ts_check(tagged, 0, nr, 1);
	return bad + end();
}

/* A quarter each: tagged, untagged, not there, mapped but waiting. */
static size_t mixed(void)
{
	size_t bad, q = nr / 4, i;

	begin();
	ts_write(tagged, 0, q, 1);
	ts_data_write(plain, q, q, 1);
	ts_data_write(plain, 3 * q, q, 1);
	ts_protect(plain, 3 * q, q, TS_RWT);
	bad = must_collapse(tagged);
	bad += ts_check(tagged, 0, q, 1);
	bad += ts_tags_zero(tagged, q, nr - q);
	bad += ts_data_check(tagged, 0, 2 * q, 1);
	bad += ts_data_check(tagged, 3 * q, q, 1);
	for (i = 2 * q; i < 3 * q; i++)
		bad += ts_load(plain + i * ts_psize) != 0;
	return bad + end();
}

static size_t some_swapped(void)
{
	size_t bad;
	long out;

	if (ts_missing(TS_NEED_SWAP))
		return 0;
	begin();
	ts_unmap(plain, nr);
	plain = tagged;
	ts_write(tagged, 0, nr, 1);
	out = ts_vmstat("pswpout");
	ts_pageout(tagged, nr / 2, 32);
	bad = ts_expect(ts_vmstat("pswpout") - out > 16, "pages swapped out");
	plain = ts_map_fd_huge(fd, TS_RW);
	bad += must_collapse(tagged);
	bad += ts_check(tagged, 0, nr, 1);
	return bad + end();
}

static int child(void *arg)
{
	(void)arg;
	return ts_check(tagged, 0, nr, 1) != 0;
}

/* Another process has it mapped, too. */
static size_t forked(void)
{
	size_t bad;

	begin();
	ts_write(tagged, 0, nr, 1);
	bad = ts_expect(!ts_child(child, NULL, TIMEOUT), "child to end with 0");
	bad += must_collapse(tagged);
	bad += ts_expect(!ts_child(child, NULL, TIMEOUT), "child to end with 0");
	bad += ts_check(tagged, 0, nr, 1);
	return bad + end();
}

static size_t all_ways(void)
{
	static const struct ts_way way[] = {
		{ "tagged", all_tagged },
		{ "by untagged mapping", by_plain },
		{ "a quarter of each kind", mixed },
		{ "some swapped out", some_swapped },
		{ "two processes", forked },
	};
	size_t bad;

	huge = ts_huge_size();
	nr = huge / ts_psize;
	bad = ts_all_ways(way, ARRAY_SIZE(way));
	while (nr_kept)
		ts_unmap(kept[--nr_kept], nr);
	return bad;
}

static int storage_free(void)
{
	return ts_result(all_ways());
}

static int storage_used(void)
{
	return ts_result(ts_while_lent(all_ways));
}

static const struct ts_case cases[] = {
	{ "tag storage free", storage_free, NEED },
	{ "tag storage in use", storage_used, NEED },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
