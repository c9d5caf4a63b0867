// SPDX-License-Identifier: GPL-2.0-only
/*
 * PTRACE_PEEKMTETAGS and PTRACE_POKEMTETAGS on each kind of page that waits for
 * its tag storage: with the storage in use as data, in tag storage itself, in a
 * huge page, shared, read-only, swapped out; and across pages. The traced process
 * finds the tags that were written, beside its data, and whoever had data in the
 * storage finds it unchanged. Is both the page and its storage pinned, then the
 * access waits a while for that to end.
 *
 * The same on pages that are PROT_NONE and PROT_MTE, where no access of the
 * process itself takes the storage: tags that were written before are there,
 * all others are zero, and what is written is there once they are accessible.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "ts_common.h"

#ifndef PTRACE_PEEKMTETAGS
#define PTRACE_PEEKMTETAGS	33
#endif
#ifndef PTRACE_POKEMTETAGS
#define PTRACE_POKEMTETAGS	34
#endif

#define NR		64
#define PAIRS		16
#define GRANULES	(ts_psize / TS_GRANULE)
#define SEED		1
#define OLD		2	/* of tags that are there before */
#define NONE		(PROT_NONE | PROT_MTE)
#define SKIP		77
#define LATER		0.3	/* seconds */
#define NEED		(TS_NEED_ROOT | TS_NEED_COUNTERS | TS_NEED_REGIONS)

static char *mem;

/* The last mprotect() before the access. */
static int prot;

/* For a page of a child that is to be pinned. */
static int storage_pipe[2], covered_pipe[2];

/* What a child tells of its memory, in shared memory. */
static struct pairs {
	char *mem;
	struct ts_ballast ballast;
	size_t nr, storage[PAIRS], covered[PAIRS];
} *pairs;

/* Tags of @nr granules from granule @first of @addr on. */
static size_t access_tags(pid_t pid, int request, char *addr, size_t first,
			  unsigned char *tags, size_t nr)
{
	struct iovec iov = { .iov_base = tags, .iov_len = nr };
	long ret;

	errno = 0;
	ret = ptrace(request, pid, addr + first * TS_GRANULE, &iov);
	return ts_expect(!ret && iov.iov_len == nr, "%zu tags, is %zu, %s", nr,
			 ret ? 0 : iov.iov_len, strerror(errno));
}

static size_t peek(pid_t pid, char *base, size_t page, unsigned long seed)
{
	unsigned char tags[GRANULES];
	size_t bad, i;

	memset(tags, 0xff, sizeof(tags));
	bad = access_tags(pid, PTRACE_PEEKMTETAGS, base + page * ts_psize, 0,
			  tags, GRANULES);
	for (i = 0; i < GRANULES && !bad; i++)
		bad += ts_expect(tags[i] == (seed ? ts_tag(seed, page, i) : 0),
				 "tag %zu of page %zu not to be %x", i, page,
				 tags[i]);
	return bad;
}

static size_t poke(pid_t pid, char *base, size_t page, unsigned long seed)
{
	unsigned char tags[GRANULES];
	size_t i;

	for (i = 0; i < GRANULES; i++)
		tags[i] = ts_tag(seed, page, i);
	return access_tags(pid, PTRACE_POKEMTETAGS, base + page * ts_psize, 0,
			   tags, GRANULES);
}

static int fill(void)
{
	struct ts_ballast *b = &pairs->ballast;
	size_t i, storage, covered;

	ts_ballast_fill(b, ts_meminfo("MetadataTotal") * 1024 /
			   (long)ts_psize / 8);
	for (i = 0, storage = 0; i < PAIRS; i++, storage++) {
		if (!ts_ballast_pair(b, &storage, &covered))
			break;
		pairs->storage[i] = storage;
		pairs->covered[i] = covered;
		ts_data_write(b->mem, storage, 1, SEED);
		ts_data_write(b->mem, covered, 1, SEED);
	}
	pairs->nr = i;
	if (!i)
		ksft_print_msg("%zu pages hold no pair, %ld kB available, %ld of storage free\n",
			       b->nr, ts_meminfo("MemAvailable"),
			       ts_meminfo("MetadataFree"));
	return i ? 0 : SKIP;
}

static int fill_covered(void)
{
	size_t i;

	if (fill())
		return SKIP;
	for (i = 0; i < pairs->nr; i++)
		ts_protect(pairs->ballast.mem, pairs->covered[i], 1, prot);
	return 0;
}

static int fill_storage(void)
{
	size_t i;

	if (fill())
		return SKIP;
	for (i = 0; i < pairs->nr; i++)
		ts_protect(pairs->ballast.mem, pairs->storage[i], 1, prot);
	return 0;
}

static int check_covered(void)
{
	size_t i, bad = 0;

	for (i = 0; i < pairs->nr; i++) {
		ts_protect(pairs->ballast.mem, pairs->covered[i], 1, TS_RWT);
		bad += ts_check(pairs->ballast.mem, pairs->covered[i], 1, SEED);
		bad += ts_data_check(pairs->ballast.mem, pairs->storage[i], 1,
				     SEED);
	}
	return bad != 0;
}

static int check_storage(void)
{
	struct ts_region regions[32];
	int nr = ts_regions(regions, ARRAY_SIZE(regions));
	size_t i, bad = 0;

	for (i = 0; i < pairs->nr; i++) {
		char *page = pairs->ballast.mem + pairs->storage[i] * ts_psize;

		ts_protect(pairs->ballast.mem, pairs->storage[i], 1, TS_RWT);
		bad += ts_expect(!ts_storage_of(regions, nr, ts_pfn(page)),
				 "no tagged page in tag storage");
		bad += ts_check(pairs->ballast.mem, pairs->storage[i], 1, SEED);
		bad += ts_data_check(pairs->ballast.mem, pairs->covered[i], 1,
				     SEED);
	}
	return bad != 0;
}

/* Peek and poke the pages @page[] of a child that has filled memory. */
static int under_pressure(int (*prepare)(void), int (*check)(void),
			  const size_t *page)
{
	struct ts_counters before, after;
	size_t bad = 0, i;
	long migrated;
	double start;
	pid_t pid;

	pid = ts_traced(prepare, check);
	if (!pid)
		return ts_skip("no page in tag storage could be used");
	ts_counters(&before);
	migrated = ts_vmstat("pgmigrate_success");
	start = ts_now();
	for (i = 0; i < pairs->nr && !bad; i++) {
		/* With and without a first look. */
		if (i % 2)
			bad += peek(pid, pairs->ballast.mem, page[i], 0);
		bad += poke(pid, pairs->ballast.mem, page[i], SEED);
		bad += peek(pid, pairs->ballast.mem, page[i], SEED);
	}
	ts_counters(&after);
	ksft_print_msg("%zu pages in %.3f s, %ld blocks moved, %ld faults\n",
		       pairs->nr, ts_now() - start, after.moved - before.moved,
		       after.none_fault - before.none_fault);
	/* What is in the storage is moved, or the page that is storage. */
	if (check == check_covered)
		bad += ts_usually(after.moved > before.moved,
				  "metadata_reserve_moved to grow");
	else
		bad += ts_usually(ts_vmstat("pgmigrate_success") >= migrated +
				  (long)pairs->nr, "each page to be replaced");
	return ts_result(bad + ts_let_go(pid));
}

static int storage_in_use(void)
{
	prot = TS_RWT;
	pairs = (struct pairs *)ts_map(4, TS_RW, MAP_SHARED);
	return under_pressure(fill_covered, check_covered, pairs->covered);
}

static int in_storage(void)
{
	prot = TS_RWT;
	pairs = (struct pairs *)ts_map(4, TS_RW, MAP_SHARED);
	return under_pressure(fill_storage, check_storage, pairs->storage);
}

static int none_storage_in_use(void)
{
	prot = NONE;
	pairs = (struct pairs *)ts_map(4, TS_RW, MAP_SHARED);
	return under_pressure(fill_covered, check_covered, pairs->covered);
}

static int none_in_storage(void)
{
	prot = NONE;
	pairs = (struct pairs *)ts_map(4, TS_RW, MAP_SHARED);
	return under_pressure(fill_storage, check_storage, pairs->storage);
}

/* The first pair is in pipes of the tracer. */
static int fill_pinned(void)
{
	struct iovec iov = { .iov_len = ts_psize };

	if (fill_covered())
		return SKIP;
	pairs->nr = 1;
	iov.iov_base = pairs->ballast.mem + pairs->storage[0] * ts_psize;
	if (vmsplice(storage_pipe[1], &iov, 1, 0) != (ssize_t)ts_psize)
		return SKIP;
	iov.iov_base = pairs->ballast.mem + pairs->covered[0] * ts_psize;
	return vmsplice(covered_pipe[1], &iov, 1, 0) == (ssize_t)ts_psize ?
	       0 : SKIP;
}

static void *empty_later(void *arg)
{
	int *fd = arg;
	char buf[ts_psize];

	usleep(LATER * 1e6);
	return read(fd[0], buf, ts_psize) == (ssize_t)ts_psize ? arg : NULL;
}

static void close_pipe(int fd[2])
{
	close(fd[0]);
	close(fd[1]);
}

/* Both the page and its storage are pinned, until a pipe is emptied. */
static size_t wait_for(int fd[2])
{
	pid_t pid = ts_traced(fill_pinned, check_covered);
	pthread_t thread;
	double start;
	size_t bad;
	void *ret;

	if (!pid)
		return ts_usually(false, "a page in tag storage to be pinned");
	if (pthread_create(&thread, NULL, empty_later, fd))
		ksft_exit_fail_msg("no thread\n");
	start = ts_now();
	bad = poke(pid, pairs->ballast.mem, pairs->covered[0], SEED);
	start = ts_now() - start;
	ksft_print_msg("tags written after %.3f s\n", start);
	bad += ts_usually(start > LATER / 2, "to wait");
	bad += peek(pid, pairs->ballast.mem, pairs->covered[0], SEED);
	pthread_join(thread, &ret);
	bad += ts_expect(ret, "the page to be read from the pipe");
	return bad + ts_let_go(pid);
}

static size_t pinned_until(int fd[2])
{
	size_t bad;

	pairs = (struct pairs *)ts_map(4, TS_RW, MAP_SHARED);
	if (pipe(storage_pipe) || pipe(covered_pipe))
		return ts_expect(false, "pipes");
	bad = wait_for(fd);
	close_pipe(storage_pipe);
	close_pipe(covered_pipe);
	return bad;
}

static int pinned(void)
{
	size_t bad;

	prot = TS_RWT;
	bad = pinned_until(storage_pipe);
	return ts_result(bad + pinned_until(covered_pipe));
}

static int check_first_half(void)
{
	size_t bad, nr = ts_huge_size() / ts_psize;

	bad = ts_check(mem, 0, nr / 2, SEED);
	bad += ts_tags_zero(mem, nr / 2, nr / 2);
	return bad + ts_data_check(mem, 0, nr, SEED) != 0;
}

static int huge_prepare(void)
{
	size_t nr = ts_huge_size() / ts_psize;

	mem = ts_map_huge(nr * ts_psize);
	pairs->mem = mem;
	ts_data_write(mem, 0, nr, SEED);
	ts_protect(mem, 0, nr, TS_RWT);
	return ts_is_huge(mem) ? 0 : SKIP;
}

static int in_huge_page(void)
{
	size_t page, bad = 0, nr = ts_huge_size() / ts_psize;
	pid_t pid;

	pairs = (struct pairs *)ts_map(4, TS_RW, MAP_SHARED);
	pid = ts_traced(huge_prepare, check_first_half);
	if (!pid)
		return ts_skip("no huge page");
	mem = pairs->mem;
	bad += peek(pid, mem, nr / 3, 0);
	for (page = 0; page < nr / 2 && !bad; page++)
		bad += poke(pid, mem, page, SEED);
	bad += peek(pid, mem, nr / 2 - 1, SEED);
	bad += peek(pid, mem, nr / 2, 0);
	return ts_result(bad + ts_let_go(pid));
}

static int check_mem(void)
{
	return ts_check(mem, 0, NR, SEED) != 0;
}

/* The tracer maps the same pages, without tags at first. */
static int shared(void)
{
	size_t page, bad = 0;
	pid_t pid;

	mem = ts_map(NR, TS_RW, MAP_SHARED);
	ts_data_write(mem, 0, NR, SEED);
	ts_protect(mem, 0, NR, TS_RWT);
	pid = ts_traced(NULL, check_mem);
	ts_protect(mem, 0, NR, TS_RW);
	for (page = 0; page < NR && !bad; page++) {
		bad += peek(pid, mem, page, 0);
		bad += poke(pid, mem, page, SEED);
	}
	bad += ts_data_check(mem, 0, NR, SEED);
	ts_protect(mem, 0, NR, TS_RWT);
	bad += ts_check(mem, 0, NR, SEED);
	bad += ts_let_go(pid);
	bad += ts_check(mem, 0, NR, SEED);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

/* The tracer may write where the process may not, and does that to a copy. */
static int read_only(void)
{
	size_t page, bad = 0;
	pid_t pid;

	mem = ts_map(NR, TS_RW, 0);
	ts_data_write(mem, 0, NR, SEED);
	ts_protect(mem, 0, NR, PROT_READ | PROT_MTE);
	pid = ts_traced(NULL, check_mem);
	for (page = 0; page < NR && !bad; page++) {
		bad += peek(pid, mem, page, 0);
		bad += poke(pid, mem, page, SEED);
		bad += peek(pid, mem, page, SEED);
	}
	bad += ts_let_go(pid);
	bad += ts_tags_zero(mem, 0, NR) + ts_data_check(mem, 0, NR, SEED);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

/* First half tagged, second half not yet accessed, all swapped out. */
static int swap_prepare(void)
{
	return ts_pageout(mem, 0, NR) == NR ? 0 : SKIP;
}

static int in_swap(void)
{
	size_t page, bad = 0;
	pid_t pid;

	mem = ts_map(NR, TS_RW, 0);
	ts_data_write(mem, 0, NR, SEED);
	ts_protect(mem, 0, NR, TS_RWT);
	ts_tags_write(mem, 0, NR / 2, SEED);
	/* A child could not swap out what it shares. */
	if (swap_prepare())
		return ts_skip("the pages cannot be swapped out");
	pid = ts_traced(NULL, check_mem);
	for (page = 0; page < NR / 2 && !bad; page++)
		bad += peek(pid, mem, page, SEED);
	for (; page < NR && !bad; page++) {
		bad += peek(pid, mem, page, 0);
		bad += poke(pid, mem, page, SEED);
	}
	bad += ts_let_go(pid);
	bad += ts_check(mem, 0, NR / 2, SEED);
	bad += ts_tags_zero(mem, NR / 2, NR / 2);
	bad += ts_data_check(mem, 0, NR, SEED);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

/* Each request has one page and a half. */
static int across(void)
{
	size_t nr = GRANULES * 3 / 2, all = NR * GRANULES, first, i, bad = 0;
	unsigned char tags[nr];
	pid_t pid;

	mem = ts_map(NR, TS_RW, 0);
	ts_data_write(mem, 0, NR, SEED);
	ts_protect(mem, 0, NR, TS_RWT);
	pid = ts_traced(NULL, check_mem);
	for (first = 0; first < all && !bad; first += nr) {
		if (nr > all - first)
			nr = all - first;
		for (i = 0; i < nr; i++)
			tags[i] = ts_tag(SEED, (first + i) / GRANULES,
					 (first + i) % GRANULES);
		bad = access_tags(pid, PTRACE_POKEMTETAGS, mem, first, tags, nr);
	}
	bad += ts_let_go(pid);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

/* The first half has tags, the other half never was tagged. */
static int none_prepare(void)
{
	ts_data_write(mem, 0, NR, SEED);
	ts_protect(mem, 0, NR / 2, TS_RWT);
	ts_tags_write(mem, 0, NR / 2, OLD);
	ts_protect(mem, 0, NR, NONE);
	return 0;
}

static int check_accessible(void)
{
	ts_protect(mem, 0, NR, TS_RWT);
	return ts_check(mem, 0, NR, SEED) != 0;
}

/* By and by: with a first look, without one, and all of them once more. */
static size_t access_none(pid_t pid)
{
	size_t page, bad = 0;

	for (page = 0; page < NR && !bad; page++) {
		if (page % 4)
			bad += peek(pid, mem, page, page < NR / 2 ? OLD : 0);
		bad += poke(pid, mem, page, SEED);
		bad += peek(pid, mem, page, SEED);
	}
	for (page = 0; page < NR && !bad; page++)
		bad += peek(pid, mem, page, SEED);
	return bad;
}

/* Pages of the process alone. */
static size_t own_none(void)
{
	size_t bad;
	pid_t pid;

	mem = ts_map(NR, TS_RW, 0);
	pid = ts_traced(none_prepare, check_accessible);
	bad = access_none(pid);
	bad += ts_let_go(pid);
	ts_unmap(mem, NR);
	return bad;
}

/* Pages that both have: what is written goes to a copy. */
static size_t inherited_none(void)
{
	size_t bad;
	pid_t pid;

	mem = ts_map(NR, TS_RW, 0);
	none_prepare();
	pid = ts_traced(NULL, check_accessible);
	bad = access_none(pid);
	bad += ts_let_go(pid);
	ts_protect(mem, 0, NR, TS_RWT);
	bad += ts_tags_check(mem, 0, NR / 2, OLD);
	bad += ts_tags_zero(mem, NR / 2, NR / 2);
	bad += ts_data_check(mem, 0, NR, SEED);
	ts_unmap(mem, NR);
	return bad;
}

static const struct ts_way none_ways[] = {
	{ "pages of its own", own_none },
	{ "pages shared with its parent", inherited_none },
};

static int no_access(void)
{
	return ts_result(ts_all_ways(none_ways, ARRAY_SIZE(none_ways)));
}

static const struct ts_case cases[] = {
	{ "storage in use as data", storage_in_use, NEED },
	{ "pages in tag storage", in_storage, NEED },
	{ "page and storage pinned", pinned, NEED },
	{ "huge page", in_huge_page, TS_NEED_THP },
	{ "shared pages", shared, 0 },
	{ "read-only pages", read_only, 0 },
	{ "swapped out pages", in_swap, TS_NEED_SWAP },
	{ "a page and a half at once", across, 0 },
	{ "PROT_NONE pages", no_access, 0 },
	{ "PROT_NONE pages, storage in use", none_storage_in_use, NEED },
	{ "PROT_NONE pages in tag storage", none_in_storage, NEED },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
