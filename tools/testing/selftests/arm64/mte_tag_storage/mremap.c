// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages that wait for their tag storage can be moved in the address space, by
 * single entries, by whole page tables and as a huge page, and can be reached
 * by others first: a process in vfork(), process_vm_writev() and
 * process_vm_readv(), /proc/PID/mem. They keep their data, have zero tags and
 * hold new ones. That is so as well where they lie in lent tag storage themselves
 * and have to be moved for it.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "ts_common.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP	4
#endif

#define SEED	1
#define TIMEOUT	60

/* A free range at @offset into a huge page, of some size. */
static char *place(size_t nr, size_t offset)
{
	size_t huge = 2UL << 20;
	char *raw = ts_map(nr + 3 * huge / ts_psize, PROT_NONE, MAP_NORESERVE);

	ts_unmap(raw, nr + 3 * huge / ts_psize);
	return (char *)(((unsigned long)raw + huge - 1) & ~(huge - 1)) + offset;
}

static char *move(char *from, char *to, size_t nr, int flags)
{
	char *mem = mremap(from, nr * ts_psize, nr * ts_psize,
			   MREMAP_MAYMOVE | MREMAP_FIXED | flags, to);

	if (mem == MAP_FAILED)
		ksft_exit_fail_msg("mremap failed\n");
	return mem;
}

/* Whether pages shall lie in tag storage. */
static bool lent;
static struct ts_ballast ballast;

static char *map_none(size_t nr)
{
	char *mem;

	if (lent)
		ts_ballast_near(&ballast);
	mem = ts_map_none(nr, SEED);
	if (lent)
		ts_mostly_lent(mem, nr);
	return mem;
}

/* See ts_none_touch(). All pages have moved out of tag storage then. */
static size_t none_touch(char *mem, size_t nr, unsigned long seed)
{
	size_t bad = ts_none_touch(mem, 0, nr, seed);

	return bad + ts_expect(!lent || !ts_in_storage(mem, nr),
			       "no tagged page in tag storage");
}

/* Pages that wait, at @offset into a huge page. */
static char *waiting_at(size_t nr, size_t offset)
{
	char *mem = map_none(nr);
	size_t in = lent ? ts_in_storage(mem, nr) : 0;

	mem = move(mem, place(nr, offset), nr, 0);
	/* These are the same pages in another place. */
	if (lent)
		ts_usually(ts_in_storage(mem, nr) == in,
			   "%zu pages still in tag storage", in);
	return mem;
}

/* By entries, as source and destination differ in their place in the table. */
static int entries(void)
{
	size_t nr = 600, bad;
	char *mem = waiting_at(nr, 4 * ts_psize);

	mem = move(mem, place(nr, 37 * ts_psize), nr, 0);
	bad = none_touch(mem, nr, SEED);
	mem = move(mem, place(nr, 3 * ts_psize), nr, 0);
	bad += ts_check(mem, 0, nr, SEED);
	ts_unmap(mem, nr);
	return ts_result(bad);
}

/* By whole page tables. */
static int tables(void)
{
	size_t nr = 1024, bad;
	char *mem = waiting_at(nr, 0);

	mem = move(mem, place(nr, 0), nr, 0);
	bad = none_touch(mem, nr, SEED);
	mem = move(mem, place(nr, 0), nr, 0);
	bad += ts_check(mem, 0, nr, SEED);
	ts_unmap(mem, nr);
	return ts_result(bad);
}

static int huge_as_one(void)
{
	size_t nr = ts_huge_size() / ts_psize, bad;
	char *mem = ts_map_none_huge(SEED);

	if (!mem)
		return ts_skip("got no huge page");
	mem = move(mem, place(nr, 0), nr, 0);
	bad = ts_expect(ts_is_huge(mem), "the huge page to be moved as one");
	bad += none_touch(mem, nr, SEED);
	ts_unmap(mem, nr);
	return ts_result(bad);
}

/* The huge page must be split to be moved to such a place. */
static int huge_to_entries(void)
{
	size_t nr = ts_huge_size() / ts_psize, bad;
	char *mem = ts_map_none_huge(SEED);

	if (!mem)
		return ts_skip("got no huge page");
	mem = move(mem, place(nr, 9 * ts_psize), nr, 0);
	bad = none_touch(mem, nr, SEED);
	ts_unmap(mem, nr);
	return ts_result(bad);
}

/* The old place stays, empty. */
static size_t dontunmap(char *old, size_t nr, size_t offset)
{
	char *mem = move(old, place(nr, offset), nr, MREMAP_DONTUNMAP);
	size_t i, bad;

	bad = none_touch(mem, nr, SEED);
	for (i = 0; i < nr; i++)
		bad += ts_expect(!ts_load(old + i * ts_psize),
				 "the old page %zu to be empty", i);
	bad += ts_tags_zero(old, 0, nr);
	ts_write(old, 0, nr, 2);
	bad += ts_check(mem, 0, nr, SEED);
	bad += ts_check(old, 0, nr, 2);
	ts_unmap(mem, nr);
	ts_unmap(old, nr);
	return bad;
}

static int keep_mapping(void)
{
	size_t bad;

	bad = dontunmap(waiting_at(600, 4 * ts_psize), 600, 8 * ts_psize);
	bad += dontunmap(waiting_at(512, 0), 512, 0);
	return ts_result(bad);
}

static int keep_mapping_huge(void)
{
	char *mem = ts_map_none_huge(SEED);

	if (!mem)
		return ts_skip("got no huge page");
	return ts_result(dontunmap(mem, ts_huge_size() / ts_psize, 0));
}

/* Grown by a mapping behind it that is new, and cut back. */
static int resize(void)
{
	size_t nr = 256, bad;
	char *mem = map_none(nr);

	mem = mremap(mem, nr * ts_psize, 2 * nr * ts_psize, MREMAP_MAYMOVE);
	if (mem == MAP_FAILED)
		ksft_exit_fail_msg("mremap failed\n");
	ts_write(mem, nr, nr, SEED);
	mem = mremap(mem, 2 * nr * ts_psize, (nr + 10) * ts_psize, 0);
	bad = ts_expect(mem != MAP_FAILED, "mremap() to shrink the mapping");
	bad += none_touch(mem, nr, SEED);
	bad += ts_check(mem, 0, nr + 10, SEED);
	ts_unmap(mem, nr + 10);
	return ts_result(bad);
}

/* The child of vfork() runs in the memory of its parent. */
static int vforked(void)
{
	size_t nr = 256, bad;
	char *mem = map_none(nr);
	static size_t in_child;
	int status;
	pid_t pid;

	pid = vfork();
	if (!pid) {
		in_child = ts_tags_zero(mem, 0, nr / 2);
		ts_tags_write(mem, 0, nr / 2, SEED);
		_exit(0);
	}
	bad = ts_expect(pid > 0 && waitpid(pid, &status, 0) == pid && !status,
			"the child to end");
	bad += in_child;
	bad += ts_check(mem, 0, nr / 2, SEED);
	bad += ts_tags_zero(mem, nr / 2, nr / 2);
	ts_tags_write(mem, nr / 2, nr / 2, SEED);
	bad += ts_check(mem, 0, nr, SEED);
	ts_unmap(mem, nr);
	return ts_result(bad);
}

/* The parent's memory, reached by a child before the parent accesses it. */
struct remote {
	char *mem, *own;
	size_t nr;
	pid_t pid;
};

static int child_remote(void *arg)
{
	struct remote *r = arg;
	struct iovec to = { .iov_base = r->mem, .iov_len = r->nr * ts_psize };
	struct iovec from = { .iov_base = r->own, .iov_len = to.iov_len };
	size_t len = to.iov_len, bad;

	bad = ts_expect(process_vm_readv(r->pid, &from, 1, &to, 1, 0) ==
			(ssize_t)len, "process_vm_readv() to read all");
	bad += ts_data_check(r->own, 0, r->nr, SEED);
	ts_data_write(r->own, 0, r->nr, 2);
	bad += ts_expect(process_vm_writev(r->pid, &from, 1, &to, 1, 0) ==
			 (ssize_t)len, "process_vm_writev() to write all");
	return bad != 0;
}

static int child_proc_mem(void *arg)
{
	struct remote *r = arg;
	size_t len = r->nr * ts_psize, bad;
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", r->pid);
	fd = open(path, O_RDWR);
	bad = ts_expect(pread(fd, r->own, len, (off_t)r->mem) == (ssize_t)len,
			"all to be read from %s", path);
	bad += ts_data_check(r->own, 0, r->nr, SEED);
	ts_data_write(r->own, 0, r->nr, 2);
	bad += ts_expect(pwrite(fd, r->own, len, (off_t)r->mem) == (ssize_t)len,
			 "all to be written to %s", path);
	return bad != 0;
}

static size_t reached(int (*fn)(void *), size_t nr, char *mem)
{
	struct remote r = { .mem = mem, .nr = nr, .pid = getpid() };
	size_t bad;
	int ret;

	r.own = ts_map(nr, TS_RW, 0);
	/* What the child writes must not be a copy: it is no part of this one. */
	madvise(mem, nr * ts_psize, MADV_DONTFORK);
	ret = ts_child(fn, &r, TIMEOUT);
	bad = ts_expect(!ret, "child to end with 0, not %d", ret);
	bad += none_touch(mem, nr, 2);
	ts_unmap(r.own, nr);
	ts_unmap(mem, nr);
	return bad;
}

static int remote(void)
{
	size_t bad;

	bad = reached(child_remote, 256, map_none(256));
	bad += reached(child_proc_mem, 256, map_none(256));
	return ts_result(bad);
}

static int remote_huge(void)
{
	char *mem = ts_map_none_huge(SEED);

	if (!mem)
		return ts_skip("got no huge page");
	return ts_result(reached(child_remote, ts_huge_size() / ts_psize, mem));
}

/* All of that with base pages that lie in tag storage. */
static int in_storage(void)
{
	static const struct ts_case again[] = {
		{ "by entries", entries, 0 },
		{ "by page tables", tables, 0 },
		{ "MREMAP_DONTUNMAP", keep_mapping, 0 },
		{ "another size", resize, 0 },
		{ "vfork", vforked, 0 },
		{ "process_vm_* and /proc/PID/mem", remote, 0 },
	};
	size_t bad;

	/* The free pages of one CPU, see ts_ballast_near(). */
	ts_run_on(0);
	lent = true;
	bad = ts_all_pass(again, ARRAY_SIZE(again));
	lent = false;
	ts_ballast_free(&ballast);
	return ts_result(bad);
}

static const struct ts_case cases[] = {
	{ "mremap by entries", entries, 0 },
	{ "mremap by page tables", tables, 0 },
	{ "mremap of a huge page", huge_as_one, TS_NEED_THP },
	{ "mremap of a huge page by entries", huge_to_entries, TS_NEED_THP },
	{ "MREMAP_DONTUNMAP", keep_mapping, 0 },
	{ "MREMAP_DONTUNMAP of a huge page", keep_mapping_huge, TS_NEED_THP },
	{ "mremap grows and shrinks", resize, 0 },
	{ "vfork", vforked, 0 },
	{ "process_vm_* and /proc/PID/mem", remote, 0 },
	{ "process_vm_* of a huge page", remote_huge, TS_NEED_THP },
	{ "pages in tag storage", in_storage,
	  TS_NEED_ROOT | TS_NEED_COUNTERS | TS_NEED_REGIONS },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
