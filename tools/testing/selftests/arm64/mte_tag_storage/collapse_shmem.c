// SPDX-License-Identifier: GPL-2.0-only
/*
 * Shared memory that MADV_COLLAPSE or khugepaged makes one huge page keeps data
 * and tags in all of its mappings, tagged or not, to be written to or only read,
 * with pages that wait for tag storage, lie in it, are swapped out, or are not
 * there. What was not there has zero tags. Where the storage of the huge page
 * cannot be had, all stays as it is.
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
#define FILES	16
#define GRACE	30.0	/* seconds for khugepaged to come by */

static size_t huge, nr;
static char *tagged, *plain;
static int fd;
static bool by_khugepaged;

/* What was used stays until the end, so that what follows is other memory. */
static char *kept[FILES];
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

static void free_kept(void)
{
	while (nr_kept)
		ts_unmap(kept[--nr_kept], nr);
}

static size_t mapped_by_pmd(const char *mem)
{
	return ts_expect(ts_smaps(mem, "ShmemPmdMapped:") == (long)huge / 1024,
			 "a mapping by PMD");
}

static void start_khugepaged(void)
{
	by_khugepaged = true;
	ts_khugepaged_hurry();
}

/*
 * Nobody else makes it one folio. It is mapped by the next access, as khugepaged
 * itself only takes the page table away.
 */
static size_t wait_for_khugepaged(char *mem)
{
	double until = ts_now() + GRACE;
	bool done = false;

	ts_thp_set("shmem_enabled", "advise");
	madvise(mem, huge, MADV_HUGEPAGE);
	while (!done && ts_now() < until) {
		/* It passes over pages that are in the batch of a CPU. */
		ts_drain();
		usleep(20 * 1000);
		ts_ldg(mem);
		/* Once: it may unmap the folio again, to free the page table. */
		done = ts_folio_pages(mem) == nr;
	}
	ts_thp_set("shmem_enabled", "never");
	return ts_expect(done,
			 "a folio of %zu pages by khugepaged", nr);
}

static size_t must_collapse(char *mem)
{
	size_t bad = ts_expect(ts_folio_pages(mem) <= 1, "base pages");
	int tries, ret = -1;

	if (by_khugepaged)
		return bad + wait_for_khugepaged(mem);

	for (tries = 0; tries < TRIES && ret; tries++) {
		if (tries)
			usleep(20 * 1000);
		ret = madvise(mem, huge, MADV_COLLAPSE);
	}
	bad += ts_expect(!ret, "MADV_COLLAPSE to work: %s", strerror(errno));
	bad += mapped_by_pmd(mem);
	bad += ts_expect(ts_folio_pages(mem) == nr, "a folio of %zu pages", nr);
	return bad;
}

static size_t all_tagged(void)
{
	size_t bad;

	begin();
	ts_write(tagged, 0, nr, 1);
	bad = must_collapse(tagged);
	bad += mapped_by_pmd(tagged);
	bad += ts_check(tagged, 0, nr, 1);
	bad += ts_data_check(plain, 0, nr, 1);
	return bad + end();
}

/* Nothing can be written by the mapping that is collapsed, not even a tag. */
static size_t read_only(void)
{
	size_t bad;

	begin();
	ts_write(tagged, 0, nr, 1);
	ts_protect(tagged, 0, nr, PROT_READ | PROT_MTE);
	bad = ts_check(tagged, 0, nr, 1);
	bad += must_collapse(tagged);
	bad += mapped_by_pmd(tagged);
	bad += ts_check(tagged, 0, nr, 1);
	bad += ts_data_check(plain, 0, nr, 1);
	ts_protect(tagged, 0, nr, TS_RWT);
	return bad + end();
}

/* Half of it has tags, the other half waits. */
static size_t read_only_waiting(void)
{
	size_t bad, half;

	begin();
	half = nr / 2;
	ts_data_write(plain, 0, nr, 1);
	ts_tags_write(tagged, 0, half, 1);
	ts_protect(plain, 0, nr, PROT_READ);
	ts_protect(plain, 0, nr, PROT_READ | PROT_MTE);
	bad = must_collapse(plain);
	bad += ts_check(plain, 0, half, 1);
	bad += ts_tags_zero(plain, half, half);
	bad += ts_data_check(plain, half, half, 1);
	bad += ts_check(tagged, 0, half, 1);
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
	bad += mapped_by_pmd(plain);
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
		{ "to be read only", read_only },
		{ "to be read only, half of it waits", read_only_waiting },
		{ "by untagged mapping", by_plain },
		{ "a quarter of each kind", mixed },
		{ "two processes", forked },
	};
	size_t bad;

	huge = ts_huge_size();
	nr = huge / ts_psize;
	bad = ts_all_ways(way, ARRAY_SIZE(way));
	free_kept();
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

static int khugepaged_free(void)
{
	size_t bad;

	start_khugepaged();
	bad = all_ways();
	by_khugepaged = false;
	return ts_result(bad);
}

static int khugepaged_used(void)
{
	size_t bad;

	start_khugepaged();
	bad = ts_while_lent(all_ways);
	by_khugepaged = false;
	return ts_result(bad);
}

/* The only way that needs swap: by MADV_COLLAPSE, then by khugepaged. */
static size_t swapped_collapsed(void)
{
	size_t bad;

	huge = ts_huge_size();
	nr = huge / ts_psize;
	bad = some_swapped();
	start_khugepaged();
	bad += some_swapped();
	by_khugepaged = false;
	free_kept();
	return bad;
}

static int swapped_free(void)
{
	return ts_result(swapped_collapsed());
}

static int swapped_used(void)
{
	return ts_result(ts_while_lent(swapped_collapsed));
}

/* Base pages in tag storage, a quarter of which the tagged mapping waits for. */
static size_t lent_collapsed(struct ts_ballast *ballast)
{
	size_t bad, q = nr / 4;

	begin();
	ts_ballast_near(ballast);
	ts_data_write(plain, 0, nr, 1);
	ts_tags_write(tagged, 0, q, 1);
	ts_protect(plain, q, q, TS_RWT);
	ts_mostly_lent(plain, nr);
	bad = must_collapse(tagged);
	bad += ts_check(tagged, 0, q, 1);
	bad += ts_tags_zero(tagged, q, nr - q);
	bad += ts_data_check(plain, 0, nr, 1);
	bad += ts_tags_zero(plain, q, q);
	return bad + end();
}

static int from_storage(void)
{
	struct ts_ballast ballast = { };
	size_t bad;

	huge = ts_huge_size();
	nr = huge / ts_psize;
	/* The free pages of one CPU, see ts_ballast_near(). */
	ts_run_on(0);
	bad = lent_collapsed(&ballast);
	start_khugepaged();
	bad += lent_collapsed(&ballast);
	by_khugepaged = false;
	free_kept();
	ts_ballast_free(&ballast);
	return ts_result(bad);
}

/* A file that had its tag storage before that was used up. */
static struct held {
	char *tagged, *plain;
	int fd;
	bool huge;
} held[FILES];

static size_t check_held(const struct held *h, unsigned long seed)
{
	return ts_check(h->tagged, 0, nr, seed) +
	       ts_data_check(h->plain, 0, nr, seed);
}

static void hold(struct held *h, unsigned long seed)
{
	begin();
	ts_write(tagged, 0, nr, seed);
	ts_load(plain);
	h->tagged = tagged;
	h->plain = plain;
	h->fd = fd;
}

/* Success or a refusal that changes nothing. Counts those for want of storage. */
static size_t may_collapse(struct held *h, unsigned long seed, size_t *refused)
{
	int err = madvise(h->tagged, huge, MADV_COLLAPSE) ? errno : 0;
	size_t bad, pages;

	bad = ts_expect(!err || err == ENOMEM || err == EAGAIN || err == EBUSY,
			"another refusal than: %s", strerror(err));
	*refused += err == ENOMEM;
	bad += check_held(h, seed);
	pages = ts_folio_pages(h->tagged);
	h->huge = pages == nr;
	bad += ts_expect(err || h->huge, "a huge page if it says so");
	bad += ts_expect(err != ENOMEM || pages == 1,
			 "base pages after a refusal, not a folio of %zu", pages);
	return bad;
}

/* When the pins are gone, by either of the mappings. */
static size_t collapse_held(struct held *h, unsigned long seed)
{
	size_t bad = 0;

	tagged = h->tagged;
	plain = h->plain;
	fd = h->fd;
	if (!h->huge)
		bad += must_collapse(seed % 2 ? plain : tagged);
	bad += check_held(h, seed);
	return bad + end();
}

static int storage_pinned(void)
{
	struct ts_ballast ballast = { };
	size_t bad = 0, i, refused = 0;

	huge = ts_huge_size();
	nr = huge / ts_psize;
	for (i = 0; i < FILES; i++)
		hold(&held[i], i);
	ts_lend(&ballast, 4);
	ts_lent_pin(&ballast);
	for (i = 0; i < FILES; i++)
		bad += may_collapse(&held[i], i, &refused);
	/* A page of one must not have been left to another. */
	for (i = 0; i < FILES; i++)
		bad += check_held(&held[i], i);
	bad += ts_lent_check(&ballast);
	ksft_print_msg("%zu of %u refused\n", refused, FILES);
	bad += ts_expect(refused, "some to be refused");

	ts_lent_unpin();
	for (i = 0; i < FILES; i++)
		bad += collapse_held(&held[i], i);
	bad += ts_lent_check(&ballast);
	free_kept();
	ts_ballast_free(&ballast);
	return ts_result(bad);
}

static const struct ts_case cases[] = {
	{ "tag storage free", storage_free, NEED },
	{ "tag storage in use", storage_used, NEED },
	{ "tag storage pinned", storage_pinned, NEED },
	{ "khugepaged, tag storage free", khugepaged_free, NEED },
	{ "khugepaged, tag storage in use", khugepaged_used, NEED },
	{ "pages in tag storage", from_storage, NEED },
	{ "pages in swap, tag storage free", swapped_free,
	  NEED | TS_NEED_SWAP },
	{ "pages in swap, tag storage in use", swapped_used,
	  NEED | TS_NEED_SWAP },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
