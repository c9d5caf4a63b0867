// SPDX-License-Identifier: GPL-2.0-only
/*
 * A huge page that is mapped by a PMD and becomes tagged by mprotect(PROT_MTE)
 * stays mapped by a PMD, and one fault gets it all of its tag storage, also
 * where that is in use as data. What is done to the mapping between mprotect()
 * and that fault does not matter. Only a block that cannot be had at all splits
 * the mapping; the pages that it covers are moved, the others stay.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <unistd.h>

#include "ts_common.h"

#define NEED	(TS_NEED_THP | TS_NEED_ROOT | TS_NEED_COUNTERS | \
		 TS_NEED_REGIONS)
#define TIMEOUT	120

static size_t huge, nr;
static char *mem;
static struct ts_ballast ballast;

/* A huge page with data, not tagged. */
static size_t get_huge(void)
{
	huge = ts_huge_size();
	nr = huge / ts_psize;
	mem = ts_map_huge(huge);
	ts_data_write(mem, 0, nr, 1);
	return ts_usually(ts_is_huge(mem), "a huge page");
}

static long none_faults(void)
{
	return ts_vmstat("metadata_none_fault");
}

/* Mapped by a PMD and marked metadata-none: all is accessible after one fault. */
static size_t one_fault(char *at)
{
	long faults = none_faults();
	size_t bad;

	ts_load(at + huge / 2 + 8);
	bad = ts_usually(none_faults() - faults == 1, "one fault, not %ld",
			 none_faults() - faults);
	bad += ts_usually(ts_smaps(at, "AnonHugePages:") == (long)huge / 1024,
			  "the huge page to stay mapped by a PMD");
	bad += ts_tags_zero(at, 0, nr);
	bad += ts_data_check(at, 0, nr, 1);
	ts_tags_write(at, 0, nr, 1);
	bad += ts_check(at, 0, nr, 1);
	bad += ts_usually(none_faults() - faults == 1,
			  "no fault after the first, not %ld",
			  none_faults() - faults - 1);
	bad += ts_usually(ts_folio_pages(at) == nr, "a folio of %zu pages", nr);
	return bad;
}

static int whole(void)
{
	size_t bad;

	bad = get_huge();
	ts_protect(mem, 0, nr, TS_RWT);
	bad += one_fault(mem);
	ts_unmap(mem, nr);
	return ts_result(bad);
}

/* Changed in a way that keeps the PMD, then touched. */
static int changed_whole(void)
{
	char *to;
	size_t bad;

	/* Out of reach and back. */
	bad = get_huge();
	ts_protect(mem, 0, nr, TS_RWT);
	ts_protect(mem, 0, nr, PROT_NONE);
	ts_protect(mem, 0, nr, PROT_READ | PROT_MTE);
	ts_protect(mem, 0, nr, TS_RWT);
	bad += one_fault(mem);
	ts_unmap(mem, nr);

	/* Made old, and moved to another address. */
	bad += get_huge();
	ts_protect(mem, 0, nr, TS_RWT);
	madvise(mem, huge, MADV_COLD);
	to = ts_map_huge(huge);
	bad += ts_expect(mremap(mem, huge, huge, MREMAP_MAYMOVE | MREMAP_FIXED,
				to) == to, "mremap() to work");
	bad += one_fault(to);
	ts_unmap(to, nr);
	return ts_result(bad);
}

/* Changed in a way that splits the mapping, then touched. */
static int changed_part(void)
{
	size_t bad;

	bad = get_huge();
	ts_protect(mem, 0, nr, TS_RWT);
	madvise(mem + 7 * ts_psize, 9 * ts_psize, MADV_DONTNEED);
	bad += ts_tags_zero(mem, 0, nr);
	bad += ts_data_check(mem, 0, 7, 1);
	bad += ts_data_check(mem, 16, nr - 16, 1);
	ts_write(mem, 0, nr, 2);
	bad += ts_check(mem, 0, nr, 2);
	ts_unmap(mem, nr);

	bad += get_huge();
	ts_protect(mem, 0, nr, TS_RWT);
	munmap(mem + 40 * ts_psize, 3 * ts_psize);
	bad += ts_tags_zero(mem, 0, 40);
	bad += ts_tags_zero(mem, 43, nr - 43);
	bad += ts_data_check(mem, 0, 40, 1);
	bad += ts_data_check(mem, 43, nr - 43, 1);
	ts_tags_write(mem, 43, nr - 43, 1);
	bad += ts_check(mem, 43, nr - 43, 1);
	munmap(mem, huge);

	bad += get_huge();
	ts_protect(mem, 0, nr, TS_RWT);
	ts_protect(mem, nr / 2 + 5, 50, PROT_READ | PROT_MTE);
	bad += ts_tags_zero(mem, 0, nr);
	bad += ts_data_check(mem, 0, nr, 1);
	ts_tags_write(mem, 0, nr / 2, 1);
	bad += ts_check(mem, 0, nr / 2, 1);
	munmap(mem, huge);
	return ts_result(bad);
}

static int child(void *arg)
{
	(void)arg;
	return ts_tags_zero(mem, 0, nr) || ts_data_check(mem, 0, nr, 1);
}

/* Parent and child share the page; then the parent is alone with it again. */
static int forked(void)
{
	size_t bad;

	bad = get_huge();
	ts_protect(mem, 0, nr, TS_RWT);
	bad += ts_expect(!ts_child(child, NULL, TIMEOUT), "child to end with 0");
	bad += ts_tags_zero(mem, 0, nr);
	bad += ts_data_check(mem, 0, nr, 1);
	ts_tags_write(mem, 0, nr, 1);
	bad += ts_check(mem, 0, nr, 1);
	ts_unmap(mem, nr);
	return ts_result(bad);
}

static int child_first(void *arg)
{
	(void)arg;
	ts_protect(mem, 0, 1, TS_RWT);
	return ts_tags_zero(mem, 0, 1);
}

/* The first page has its storage, by a mapping of another process. */
static int first_ready(void)
{
	size_t bad;

	bad = get_huge();
	bad += ts_expect(!ts_child(child_first, NULL, TIMEOUT),
			 "child to end with 0");
	ts_protect(mem, 0, nr, TS_RWT);
	bad += one_fault(mem);
	ts_unmap(mem, nr);
	return ts_result(bad);
}

static void *touch(void *arg)
{
	size_t i, first = (size_t)arg;

	for (i = first; i < nr; i += 4)
		ts_tags_write(mem, i, 1, 1);
	return NULL;
}

/* Threads that come at once: each has a fault of its own at most. */
static int threads(void)
{
	pthread_t thread[4];
	long faults;
	size_t bad, i;

	bad = get_huge();
	ts_protect(mem, 0, nr, TS_RWT);
	faults = none_faults();
	for (i = 0; i < ARRAY_SIZE(thread); i++) {
		if (pthread_create(&thread[i], NULL, touch, (void *)i))
			ksft_exit_fail_msg("no thread\n");
	}
	for (i = 0; i < ARRAY_SIZE(thread); i++)
		pthread_join(thread[i], NULL);
	faults = none_faults() - faults;
	bad += ts_usually(faults >= 1 && faults <= 4, "1 to 4 faults, not %ld",
			  faults);
	bad += ts_usually(ts_is_huge(mem), "the mapping by PMD to stay");
	bad += ts_check(mem, 0, nr, 1);
	ts_unmap(mem, nr);
	return ts_result(bad);
}

static size_t several_whole(void)
{
	size_t bad = 0, i;
	char *held[8];

	for (i = 0; i < ARRAY_SIZE(held); i++) {
		bad += get_huge();
		ts_protect(mem, 0, nr, TS_RWT);
		bad += one_fault(mem);
		held[i] = mem;
	}
	for (i = 0; i < ARRAY_SIZE(held); i++) {
		bad += ts_check(held[i], 0, nr, 1);
		ts_unmap(held[i], nr);
	}
	return bad;
}

static int storage_used(void)
{
	return ts_result(ts_while_lent(several_whole));
}

/* The tag storage of page @page is data that a pipe holds. */
static bool pin_storage(size_t page, int fd[2], ssize_t *lent)
{
	*lent = ts_ballast_storage(&ballast, ts_pfn(mem + page * ts_psize));
	return *lent >= 0 && ts_pin_pipe(ballast.mem + *lent * ts_psize, fd);
}

static int storage_pinned(void)
{
	static const size_t at[] = { 0, 5, 7, 15 };
	size_t bad = 0, i, page, tried = 0;
	char *held[ARRAY_SIZE(at)];

	ts_lend(&ballast, 4);
	for (i = 0; i < ARRAY_SIZE(at); i++) {
		unsigned long pfn[2];
		ssize_t lent;
		int fd[2];

		bad += get_huge();
		held[i] = mem;
		page = at[i] * nr / 16;
		if (!pin_storage(page, fd, &lent))
			continue;
		tried++;
		pfn[0] = ts_pfn(mem + page * ts_psize);
		pfn[1] = ts_pfn(mem + (nr - 1 - page) * ts_psize);
		ts_protect(mem, 0, nr, TS_RWT);
		bad += ts_tags_zero(mem, 0, nr);
		bad += ts_data_check(mem, 0, nr, 1);
		ts_tags_write(mem, 0, nr, 1);
		bad += ts_check(mem, 0, nr, 1);
		bad += ts_expect(pfn[0] != ts_pfn(mem + page * ts_psize),
				 "a page to move, as its tag storage cannot");
		bad += ts_usually(pfn[1] == ts_pfn(mem + (nr - 1 - page) * ts_psize),
				  "other pages of the folio to stay");
		bad += ts_expect(ts_pfn(ballast.mem + lent * ts_psize) &&
				 ts_ballast_storage(&ballast, pfn[0]) >= 0,
				 "the page in the pipe to stay");
		close(fd[0]);
		close(fd[1]);
	}
	bad += ts_expect(tried, "data in the tag storage of a huge page");
	bad += ts_lent_check(&ballast);
	for (i = 0; i < ARRAY_SIZE(at); i++)
		ts_unmap(held[i], nr);
	ts_ballast_free(&ballast);
	return ts_result(bad);
}

static const struct ts_case cases[] = {
	{ "one fault, no split", whole, NEED },
	{ "changed as a whole before it is touched", changed_whole, NEED },
	{ "changed in part before it is touched", changed_part, NEED },
	{ "fork before it is touched", forked, NEED },
	{ "the first page has its storage", first_ready, NEED },
	{ "threads", threads, NEED },
	{ "tag storage in use", storage_used, NEED },
	{ "tag storage of a part pinned", storage_pinned, NEED },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
