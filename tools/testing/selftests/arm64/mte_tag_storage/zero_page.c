// SPDX-License-Identifier: GPL-2.0-only
/*
 * The zero page reads as zero, with zero tags, in every mapping and for ever;
 * a tag written to a page of it goes to a copy.
 */
#include <setjmp.h>
#include <signal.h>
#include <string.h>

#include "ts_common.h"

#define NR	256

static sigjmp_buf env;
static bool refused;

static size_t all_zero(const char *mem, size_t nr)
{
	const unsigned long *p = (const unsigned long *)mem;
	size_t i, bad = 0;

	for (i = 0; i < nr * ts_psize / sizeof(*p); i++)
		bad += !!p[i];
	return ts_expect(!bad, "zero data, %zu words are not", bad);
}

/* Read first, then tag every second page; another mapping looks on. */
static int copy(void)
{
	char *other = ts_map(NR, PROT_READ | PROT_MTE, 0);
	char *plain = ts_map(NR, PROT_READ, 0);
	char *mem = ts_map(NR, TS_RWT, 0);
	size_t i, bad;

	bad = all_zero(mem, NR) + ts_tags_zero(mem, 0, NR);
	bad += all_zero(other, NR) + all_zero(plain, NR);
	for (i = 0; i < NR; i += 2)
		ts_tags_write(mem, i, 1, 1);
	for (i = 0; i < NR; i += 2) {
		bad += ts_tags_check(mem, i, 1, 1);
		bad += ts_tags_zero(mem, i + 1, 1);
	}
	ts_tco(true);
	bad += all_zero(mem, NR);
	ts_tco(false);
	bad += all_zero(other, NR) + ts_tags_zero(other, 0, NR);
	bad += all_zero(plain, NR);

	for (i = 0; i < NR; i += 2)
		ts_data_write(mem, i, 1, 1);
	for (i = 0; i < NR; i += 2)
		bad += ts_check(mem, i, 1, 1);
	bad += all_zero(other, NR) + ts_tags_zero(other, 0, NR);
	ts_unmap(mem, NR);
	ts_unmap(other, NR);
	ts_unmap(plain, NR);
	return ts_result(bad);
}

static int protect_later(void)
{
	char *mem = ts_map(NR, TS_RW, 0);
	size_t bad;

	bad = all_zero(mem, NR);
	ts_protect(mem, 0, NR, TS_RWT);
	bad += ts_tags_zero(mem, 0, NR);
	bad += all_zero(mem, NR);
	ts_write(mem, 0, NR, 3);
	bad += ts_check(mem, 0, NR, 3);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

static void on_segv(int sig)
{
	(void)sig;
	refused = true;
	siglongjmp(env, 1);
}

/* Nobody can tag the zero page by a mapping that is not writable. */
static int read_only(void)
{
	char *mem = ts_map(1, PROT_READ | PROT_MTE, 0);
	char *other = ts_map(1, PROT_READ | PROT_MTE, 0);
	size_t bad;

	bad = all_zero(mem, 1);
	refused = false;
	signal(SIGSEGV, on_segv);
	if (!sigsetjmp(env, 1))
		ts_stg(mem, 9);
	signal(SIGSEGV, SIG_DFL);
	bad += ts_expect(refused, "STG to a read-only page to be refused");
	bad += ts_tags_zero(mem, 0, 1) + ts_tags_zero(other, 0, 1);
	ts_unmap(mem, 1);
	ts_unmap(other, 1);
	return ts_result(bad);
}

/* The same for the huge zero page, a number of times. */
static int huge_zero(void)
{
	size_t huge = ts_huge_size(), nr = huge / ts_psize, bad = 0;
	int i;

	for (i = 0; i < 3; i++) {
		char *mem = ts_map_huge(2 * huge);

		ts_protect(mem, 0, 2 * nr, TS_RWT);
		bad += ts_tags_zero(mem, 0, 2 * nr);
		bad += all_zero(mem, 2 * nr);
		ts_write(mem, 0, nr, i);
		bad += ts_check(mem, 0, nr, i);
		bad += ts_tags_zero(mem, nr, nr);
		bad += all_zero(mem + huge, nr);
		ts_unmap(mem, 2 * nr);

		mem = ts_map_huge(huge);
		bad += all_zero(mem, nr);
		ts_protect(mem, 0, nr, TS_RWT);
		bad += ts_tags_zero(mem, 0, nr);
		ts_write(mem, nr / 2, 1, i);
		bad += ts_check(mem, nr / 2, 1, i);
		bad += ts_tags_zero(mem, 0, nr / 2);
		ts_unmap(mem, nr);
	}
	return ts_result(bad);
}

/* Its tags are where they were while all other tag storage holds data. */
static int storage_lent(void)
{
	char *mem = ts_map(1, PROT_READ | PROT_MTE, 0);
	struct ts_ballast ballast = { };
	size_t bad, lent;

	lent = ts_lend(&ballast, 4);
	ksft_print_msg("%zu pages of data in tag storage, %ld free\n", lent,
		       ts_vmstat("nr_free_metadata"));
	bad = ts_tags_zero(mem, 0, 1);
	ts_tco(true);
	bad += all_zero(mem, 1);
	ts_tco(false);
	bad += ts_lent_check(&ballast);
	bad += ts_expect(ts_agree(ts_check_regions), "numbers to agree");
	ts_ballast_free(&ballast);
	ts_unmap(mem, 1);
	return ts_result(bad);
}

static const struct ts_case cases[] = {
	{ "tag written after a read fault", copy, 0 },
	{ "mprotect after a read fault", protect_later, 0 },
	{ "read-only mapping cannot tag", read_only, 0 },
	{ "huge zero page", huge_zero, TS_NEED_THP },
	{ "all tag storage in use as data", storage_lent,
	  TS_NEED_ROOT | TS_NEED_COUNTERS | TS_NEED_REGIONS },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
