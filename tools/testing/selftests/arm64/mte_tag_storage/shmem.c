// SPDX-License-Identifier: GPL-2.0-only
/*
 * Shared memory that is mapped with PROT_MTE here and without it there has one
 * set of data and tags, whichever mapping or system call came first.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "ts_common.h"

#define NR	512
#define TIMEOUT	120

static char *tagged;

static int both(void)
{
	int fd = ts_memfd(NR * ts_psize);
	char *plain = ts_map_fd(fd, NR * ts_psize, TS_RW, MAP_SHARED);
	size_t bad, i;

	tagged = ts_map_fd(fd, NR * ts_psize, TS_RWT, MAP_SHARED);
	/* Half of the pages are touched by way of the untagged mapping first. */
	ts_data_write(plain, 0, NR / 2, 1);
	bad = ts_tags_zero(tagged, 0, NR);
	bad += ts_data_check(tagged, 0, NR / 2, 1);
	ts_write(tagged, 0, NR, 1);
	bad += ts_data_check(plain, 0, NR, 1);
	for (i = 0; i < NR; i += 3)
		ts_data_write(plain, i, 1, 1);
	bad += ts_check(tagged, 0, NR, 1);

	/* Tags outlive the mapping. */
	ts_unmap(tagged, NR);
	bad += ts_data_check(plain, 0, NR, 1);
	tagged = ts_map_fd(fd, NR * ts_psize, TS_RWT, MAP_SHARED);
	bad += ts_check(tagged, 0, NR, 1);
	ts_unmap(tagged, NR);
	ts_unmap(plain, NR);
	close(fd);
	return ts_result(bad);
}

static int write_first(void)
{
	char *data = ts_map(NR, TS_RW, 0);
	size_t len = NR * ts_psize, bad;
	int fd = ts_memfd(NR * ts_psize);

	ts_data_write(data, 0, NR, 1);
	if (pwrite(fd, data, len, 0) != (ssize_t)len)
		return ts_skip("no write to a memfd");
	tagged = ts_map_fd(fd, NR * ts_psize, TS_RWT, MAP_SHARED);
	bad = ts_tags_zero(tagged, 0, NR);
	bad += ts_data_check(tagged, 0, NR, 1);
	ts_tags_write(tagged, 0, NR, 1);
	bad += ts_check(tagged, 0, NR, 1);

	/* System calls see the data and do not touch the tags. */
	memset(data, 0, len);
	bad += ts_expect(pread(fd, data, len, 0) == (ssize_t)len, "all data read");
	bad += ts_data_check(data, 0, NR, 1);
	ts_data_write(data, 0, NR, 2);
	bad += ts_expect(pwrite(fd, data, len, 0) == (ssize_t)len,
			 "all data written");
	bad += ts_data_check(tagged, 0, NR, 2);
	bad += ts_tags_check(tagged, 0, NR, 1);
	ts_unmap(tagged, NR);
	ts_unmap(data, NR);
	close(fd);
	return ts_result(bad);
}

static int fallocate_first(void)
{
	int fd = ts_memfd(NR * ts_psize);
	size_t bad;

	if (fallocate(fd, 0, 0, NR * ts_psize))
		return ts_skip("no fallocate() for a memfd");
	tagged = ts_map_fd(fd, NR * ts_psize, TS_RWT, MAP_SHARED);
	bad = ts_tags_zero(tagged, 0, NR);
	ts_write(tagged, 0, NR, 1);
	bad += ts_check(tagged, 0, NR, 1);

	/* A hole takes its tags with it. */
	fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8 * ts_psize,
		  64 * ts_psize);
	bad += ts_tags_zero(tagged, 8, 64);
	bad += ts_check(tagged, 0, 8, 1);
	bad += ts_check(tagged, 72, NR - 72, 1);
	ts_unmap(tagged, NR);
	close(fd);
	return ts_result(bad);
}

static int mprotect_mapped(void)
{
	int fd = ts_memfd(NR * ts_psize);
	char *plain = ts_map_fd(fd, NR * ts_psize, TS_RW, MAP_SHARED);
	char *other = ts_map_fd(fd, NR * ts_psize, TS_RW, MAP_SHARED);
	size_t bad;

	ts_data_write(plain, 0, NR, 1);
	bad = ts_data_check(other, 0, NR, 1);
	ts_protect(plain, 0, NR, TS_RWT);
	bad += ts_tags_zero(plain, 0, NR);
	bad += ts_data_check(other, 0, NR, 1);
	ts_tags_write(plain, 0, NR, 1);
	bad += ts_check(plain, 0, NR, 1);
	bad += ts_data_check(other, 0, NR, 1);
	ts_protect(other, 0, NR, TS_RWT);
	bad += ts_check(other, 0, NR, 1);
	ts_unmap(plain, NR);
	ts_unmap(other, NR);
	close(fd);
	return ts_result(bad);
}

/* A private mapping takes a copy when it is written to. */
static int private_copy(void)
{
	int fd = ts_memfd(NR * ts_psize);
	size_t bad, i;
	char *copy;

	tagged = ts_map_fd(fd, NR * ts_psize, TS_RWT, MAP_SHARED);
	copy = ts_map_fd(fd, NR * ts_psize, TS_RWT, MAP_PRIVATE);
	ts_write(tagged, 0, NR, 1);
	bad = ts_check(copy, 0, NR, 1);
	for (i = 0; i < NR; i += 2)
		ts_write(copy, i, 1, 2);
	bad += ts_check(tagged, 0, NR, 1);
	for (i = 0; i < NR; i += 2) {
		bad += ts_check(copy, i, 1, 2);
		bad += ts_check(copy, i + 1, 1, 1);
	}
	ts_unmap(copy, NR);
	bad += ts_check(tagged, 0, NR, 1);
	ts_unmap(tagged, NR);
	close(fd);
	return ts_result(bad);
}

static int child(void *arg)
{
	size_t bad;

	(void)arg;
	bad = ts_check(tagged, 0, NR, 1);
	ts_write(tagged, 0, NR, 2);
	return bad != 0;
}

static int across_processes(void)
{
	int fd = ts_memfd(NR * ts_psize);
	size_t bad;

	tagged = ts_map_fd(fd, NR * ts_psize, TS_RWT, MAP_SHARED);
	ts_write(tagged, 0, NR, 1);
	bad = ts_expect(!ts_child(child, NULL, TIMEOUT), "child to end with 0");
	bad += ts_check(tagged, 0, NR, 2);
	ts_unmap(tagged, NR);
	close(fd);
	return ts_result(bad);
}

/* Out by way of the tagged mapping, in by way of the other one. */
static int swapped(void)
{
	int fd = ts_memfd(NR * ts_psize);
	size_t bad;
	char *plain;
	long out;

	tagged = ts_map_fd(fd, NR * ts_psize, TS_RWT, MAP_SHARED);
	ts_write(tagged, 0, NR, 1);
	out = ts_vmstat("pswpout");
	ts_pageout(tagged, 0, NR);
	out = ts_vmstat("pswpout") - out;
	bad = ts_expect(out > NR / 2, "most of %u pages to get to swap, %ld do",
			NR, out);
	bad += ts_check(tagged, 0, NR, 1);
	ts_pageout(tagged, 0, NR);
	ts_unmap(tagged, NR);

	plain = ts_map_fd(fd, NR * ts_psize, TS_RW, MAP_SHARED);
	bad += ts_data_check(plain, 0, NR, 1);
	tagged = ts_map_fd(fd, NR * ts_psize, TS_RWT, MAP_SHARED);
	bad += ts_check(tagged, 0, NR, 1);
	ts_unmap(plain, NR);
	ts_unmap(tagged, NR);
	close(fd);
	return ts_result(bad);
}

static const struct ts_case cases[] = {
	{ "tagged and untagged mapping", both, 0 },
	{ "written before it is mapped", write_first, 0 },
	{ "allocated before it is mapped", fallocate_first, 0 },
	{ "mprotect of one mapping", mprotect_mapped, 0 },
	{ "private copy", private_copy, 0 },
	{ "two processes", across_processes, 0 },
	{ "swap", swapped, TS_NEED_SWAP },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
