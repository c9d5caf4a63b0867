// SPDX-License-Identifier: GPL-2.0-only
/*
 * Anonymous pages that MADV_COLLAPSE makes one huge page keep data and tags:
 * tagged ones, some that wait for their tag storage, some that are not there,
 * in a tagged mapping and in one that gets tagged later. Where the storage of
 * the huge page is in use as data, that is moved. Where it cannot be had, all
 * stays as it is.
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

static size_t huge, nr;
static char *mem;

/* Base pages at the place of a huge page. */
static void get_small(size_t pages, unsigned long seed)
{
	huge = ts_huge_size();
	nr = huge / ts_psize;
	mem = ts_map_huge(huge);
	madvise(mem, huge, MADV_NOHUGEPAGE);
	ts_data_write(mem, 0, pages, seed);
	madvise(mem, huge, MADV_HUGEPAGE);
}

/* One huge page; pages can be busy for a moment. Return: 0 or an errno. */
static int collapse(void)
{
	int tries;

	for (tries = 0; tries < TRIES; tries++) {
		if (tries)
			usleep(20 * 1000);
		if (!madvise(mem, huge, MADV_COLLAPSE))
			return 0;
	}
	return errno;
}

static size_t must_collapse(void)
{
	int err = collapse();

	return ts_expect(!err, "MADV_COLLAPSE to work: %s", strerror(err)) +
	       ts_expect(ts_is_huge(mem), "a huge page");
}

/* With tags of its own for each page, and no fault any more. */
static size_t use(void)
{
	long faults = ts_vmstat("metadata_none_fault");
	size_t bad;

	ts_write(mem, 0, nr, 5);
	bad = ts_check(mem, 0, nr, 5);
	bad += ts_expect(ts_vmstat("metadata_none_fault") == faults,
			 "no metadata-none fault on a tagged huge page");
	ts_unmap(mem, nr);
	return bad;
}

static size_t all_tagged(void)
{
	size_t bad;

	get_small(nr, 1);
	ts_protect(mem, 0, nr, TS_RWT);
	ts_tags_write(mem, 0, nr, 1);
	bad = must_collapse();
	bad += ts_check(mem, 0, nr, 1);
	return bad + use();
}

/* A quarter each: tagged, waiting for tag storage, zero page, not there. */
static size_t mixed(void)
{
	size_t bad, q;

	q = nr / 4;
	get_small(2 * q, 1);
	ts_protect(mem, 0, q, TS_RWT);
	ts_tags_write(mem, 0, q, 1);
	madvise(mem + 2 * q * ts_psize, q * ts_psize, MADV_POPULATE_READ);
	ts_protect(mem, 0, nr, TS_RWT);
	bad = must_collapse();
	bad += ts_check(mem, 0, q, 1);
	bad += ts_tags_zero(mem, q, nr - q);
	bad += ts_data_check(mem, q, q, 1);
	for (; q < nr; q++) {
		if (q >= nr / 2)
			bad += ts_load(mem + q * ts_psize) != 0;
	}
	return bad + use();
}

/* Every second page waits, and its neighbour is tagged. */
static size_t alternating(void)
{
	size_t bad, i;

	get_small(nr, 1);
	for (i = 0; i < nr; i += 2) {
		ts_protect(mem, i, 1, TS_RWT);
		ts_tags_write(mem, i, 1, 1);
	}
	ts_protect(mem, 0, nr, TS_RWT);
	bad = must_collapse();
	for (i = 0; i < nr; i += 2) {
		bad += ts_check(mem, i, 1, 1);
		bad += ts_tags_zero(mem, i + 1, 1);
	}
	bad += ts_data_check(mem, 0, nr, 1);
	return bad + use();
}

static size_t all_waiting(void)
{
	size_t bad;

	get_small(nr, 1);
	ts_protect(mem, 0, nr, TS_RWT);
	bad = must_collapse();
	bad += ts_tags_zero(mem, 0, nr);
	bad += ts_data_check(mem, 0, nr, 1);
	return bad + use();
}

/* Some swapped out with their tags. */
static size_t some_swapped(void)
{
	size_t bad;

	if (ts_missing(TS_NEED_SWAP))
		return 0;
	get_small(nr, 1);
	ts_protect(mem, 0, nr, TS_RWT);
	ts_tags_write(mem, 0, nr, 1);
	bad = ts_expect(ts_pageout(mem, nr / 2, 32) > 16, "pages swapped out");
	bad += must_collapse();
	bad += ts_check(mem, 0, nr, 1);
	return bad + use();
}

/* In a mapping that is not tagged: no tag storage is taken. */
static size_t untagged(void)
{
	struct ts_counters before, after;
	size_t bad;

	get_small(nr, 1);
	ts_counters(&before);
	bad = must_collapse();
	ts_counters(&after);
	bad += ts_usually(after.buddy == before.buddy &&
			  after.moved == before.moved,
			  "no tag storage for a mapping without tags");
	bad += ts_data_check(mem, 0, nr, 1);
	ts_protect(mem, 0, nr, TS_RWT);
	bad += ts_tags_zero(mem, 0, nr);
	bad += ts_data_check(mem, 0, nr, 1);
	return bad + use();
}

/* Huge pages that are mapped by PTEs since a part had another protection. */
static size_t large(void)
{
	size_t bad;

	get_small(0, 1);
	ts_data_write(mem, 0, nr, 1);
	bad = ts_expect(ts_is_huge(mem), "a huge page");
	ts_protect(mem, nr / 2, 40, TS_RWT);
	ts_tags_write(mem, nr / 2, 40, 1);
	ts_protect(mem, 0, nr, TS_RWT);
	bad += ts_expect(!ts_is_huge(mem), "no mapping by PMD");
	bad += must_collapse();
	bad += ts_check(mem, nr / 2, 40, 1);
	bad += ts_tags_zero(mem, 0, nr / 2);
	bad += ts_tags_zero(mem, nr / 2 + 40, nr / 2 - 40);
	bad += ts_data_check(mem, 0, nr, 1);
	return bad + use();
}

static size_t all_ways(void)
{
	static const struct ts_way way[] = {
		{ "tagged", all_tagged },
		{ "a quarter of each kind", mixed },
		{ "every second tagged", alternating },
		{ "none tagged", all_waiting },
		{ "some swapped out", some_swapped },
		{ "untagged mapping", untagged },
		{ "one large folio", large },
	};

	huge = ts_huge_size();
	nr = huge / ts_psize;
	return ts_all_ways(way, ARRAY_SIZE(way));
}

static int storage_free(void)
{
	return ts_result(all_ways());
}

static int storage_used(void)
{
	return ts_result(ts_while_lent(all_ways));
}

/*
 * A huge page whose tag storage cannot be had: a refusal that changes nothing,
 * or a page elsewhere. When the pins are gone it works.
 */
static int storage_pinned(void)
{
	size_t bad = 0, i, refused = 0;
	struct ts_ballast ballast = { };
	int err;
	char *held[16];

	/* These have tag storage before it is used up. */
	for (i = 0; i < ARRAY_SIZE(held); i++) {
		get_small(ts_huge_size() / ts_psize, i);
		ts_protect(mem, 0, nr, TS_RWT);
		ts_tags_write(mem, 0, nr, i);
		held[i] = mem;
	}
	ts_lend(&ballast, 4);
	ts_lent_pin(&ballast);
	for (i = 0; i < ARRAY_SIZE(held); i++) {
		mem = held[i];
		err = madvise(mem, huge, MADV_COLLAPSE) ? errno : 0;
		bad += ts_expect(!err || err == ENOMEM || err == EAGAIN ||
				 err == EBUSY, "another refusal than: %s",
				 strerror(err));
		refused += err == ENOMEM;
		bad += ts_expect(ts_is_huge(mem) == !err,
				 "a huge page if it says so");
		bad += ts_check(mem, 0, nr, i);
	}
	bad += ts_lent_check(&ballast);
	ksft_print_msg("%zu of %zu refused\n", refused, i);
	bad += ts_expect(refused, "some to be refused");

	ts_lent_unpin();
	for (i = 0; i < ARRAY_SIZE(held); i++) {
		mem = held[i];
		bad += must_collapse();
		bad += ts_check(mem, 0, nr, i);
		bad += use();
	}
	bad += ts_lent_check(&ballast);
	ts_ballast_free(&ballast);
	return ts_result(bad);
}

static const struct ts_case cases[] = {
	{ "tag storage free", storage_free, NEED },
	{ "tag storage in use", storage_used, NEED },
	{ "tag storage pinned", storage_pinned, NEED },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
