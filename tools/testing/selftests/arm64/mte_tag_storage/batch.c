// SPDX-License-Identifier: GPL-2.0-only
/*
 * A large folio is mapped in one go, and only some of its pages have their tag
 * storage: these are accessible at once, without a fault, the others wait for
 * theirs. One that can never have it, as that is pinned, is moved and disturbs
 * none of the others.
 */
#include <unistd.h>

#include "ts_common.h"

#define NEED	(TS_NEED_THP | TS_NEED_ROOT | TS_NEED_COUNTERS | \
		 TS_NEED_REGIONS)
#define TIMEOUT	120
#define BLOCKS	8UL

/* What TS_COVER pages have their tags in: one block, or less of a larger one. */
static const size_t nr = BLOCKS * TS_COVER;
static struct ts_ballast ballast;
static char *mem;

static long none_faults(void)
{
	return ts_vmstat("metadata_none_fault");
}

static bool storage_lent(size_t block)
{
	unsigned long pfn = ts_pfn(mem + block * TS_COVER * ts_psize);

	return ts_ballast_storage(&ballast, pfn) >= 0;
}

/* One folio of all blocks. */
static size_t get_folio(int prot)
{
	mem = ts_map_huge(nr * ts_psize);
	ts_protect(mem, 0, nr, prot);
	ts_store(mem, 0);
	return ts_usually(ts_folio_pages(mem) == nr, "a folio of %zu pages", nr);
}

/* Read all pages of a block. Return: the faults that this took. */
static long read_block(size_t block)
{
	long faults = none_faults();
	size_t i;

	ts_tco(true);
	for (i = 0; i < TS_COVER; i++)
		ts_load(mem + (block * TS_COVER + i) * ts_psize);
	ts_tco(false);
	return none_faults() - faults;
}

/* Faulted in, with the tag storage of every second pair of blocks in use. */
static int faulted(void)
{
	size_t bad = 0, block, mixed = 0, round, ready;
	char *held[16];

	ts_lend(&ballast, 2);
	for (round = 0; round < ARRAY_SIZE(held); round++) {
		bad += get_folio(TS_RWT);
		held[round] = mem;
		/* What came before the first block in use was reserved. */
		for (ready = 0; ready < BLOCKS && !storage_lent(ready); ready++)
			;
		mixed += ready > 0 && ready < BLOCKS;
		for (block = 0; block < BLOCKS; block++) {
			long faults = read_block(block);

			bad += ts_usually(faults <= (block >= ready),
					  "%d faults in block %zu of a folio, not %ld, the first %zu are reserved",
					  block >= ready, block, faults, ready);
		}
		bad += ts_tags_zero(mem, 0, nr);
		ts_write(mem, 0, nr, round);
		bad += ts_usually(ts_folio_pages(mem) == nr,
				  "a folio of %zu pages to stay", nr);
	}
	ksft_print_msg("%zu of %zu folios had some of their tag storage\n",
		       mixed, round);
	bad += ts_usually(mixed, "folios with some of their tag storage");
	bad += ts_lent_check(&ballast);
	while (round--) {
		mem = held[round];
		bad += ts_check(mem, 0, nr, round);
		ts_unmap(mem, nr);
	}
	ts_ballast_free(&ballast);
	return ts_result(bad);
}

static int child(void *arg)
{
	size_t *pinned = arg, block, bad = 0;

	/* Mapped in one go as well, by fork. */
	for (block = 0; block < BLOCKS; block++) {
		if (block != *pinned)
			bad += ts_usually(!read_block(block),
					  "no fault in block %zu", block);
	}
	bad += ts_check(mem, 0, nr, 1);
	ts_write(mem, 0, nr, 2);
	bad += ts_check(mem, 0, nr, 2);
	return bad != 0;
}

/*
 * All blocks but one are reserved. What maps the folio again leaves them
 * accessible, while the storage of @pinned is @lent, which cannot move.
 */
static size_t one_pinned(size_t pinned, size_t lent)
{
	size_t bad, block;
	int fd[2], status;

	bad = ts_expect(ts_pin_pipe(ballast.mem + lent * ts_psize, fd),
			"vmsplice() to work");

	/* One page of each block gets tag storage for all of them. */
	ts_protect(mem, 0, nr, TS_RWT);
	for (block = 0; block < BLOCKS; block++) {
		if (block != pinned)
			bad += ts_usually(read_block(block) == 1,
					  "one fault in block %zu", block);
	}
	ts_protect(mem, 0, nr, PROT_READ | PROT_MTE);
	ts_protect(mem, 0, nr, TS_RWT);
	for (block = 0; block < BLOCKS; block++) {
		if (block != pinned)
			bad += ts_usually(!read_block(block),
					  "no fault in block %zu", block);
	}
	bad += ts_usually(ts_folio_pages(mem) == nr, "the folio not to be split");

	/* The rest is moved. */
	for (block = 0; block < BLOCKS; block++) {
		if (block != pinned)
			ts_tags_write(mem, block * TS_COVER, TS_COVER, 1);
	}
	bad += ts_tags_zero(mem, pinned * TS_COVER, TS_COVER);
	ts_tags_write(mem, pinned * TS_COVER, TS_COVER, 1);
	status = ts_child(child, &pinned, TIMEOUT);
	bad += ts_expect(!status, "child to end with 0, not %d", status);
	bad += ts_check(mem, 0, nr, 1);
	bad += ts_expect(!storage_lent(pinned), "the pages to have moved");
	close(fd[0]);
	close(fd[1]);
	return bad;
}

/* Not all tag storage is in use: look for folios where it is. */
static int pinned(void)
{
	size_t bad = 0, done = 0, i;
	char *held[48];

	ts_lend(&ballast, 4);
	for (i = 0; i < ARRAY_SIZE(held) && done < BLOCKS; i++) {
		ssize_t lent;

		bad += get_folio(TS_RW);
		ts_data_write(mem, 0, nr, 1);
		held[i] = mem;
		lent = ts_ballast_storage(&ballast,
					  ts_pfn(mem + done * TS_COVER * ts_psize));
		if (lent >= 0)
			bad += one_pinned(done++, lent);
	}
	bad += ts_expect(done, "data in tag storage to pin");
	bad += ts_lent_check(&ballast);
	while (i--) {
		bad += ts_data_check(held[i], 0, nr, 1);
		ts_unmap(held[i], nr);
	}
	ts_ballast_free(&ballast);
	return ts_result(bad);
}

static int large(int (*fn)(void))
{
	size_t kb = nr * ts_psize / 1024;
	int ret;

	ts_thp_size(kb, true);
	ret = fn();
	ts_thp_size(kb, false);
	return ret;
}

static int case_faulted(void)
{
	return large(faulted);
}

static int case_pinned(void)
{
	return large(pinned);
}

static const struct ts_case cases[] = {
	{ "page fault", case_faulted, NEED },
	{ "mprotect and fork, tag storage pinned", case_pinned, NEED },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
