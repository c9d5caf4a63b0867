// SPDX-License-Identifier: GPL-2.0-only
/*
 * A page that belonged to one process when it was swapped out is its own when it
 * is back: a write does not copy it, or whoever holds a reference to the page
 * would see the old one. A page that was shared by fork() while it was in swap is
 * copied, or one process would see what another one writes.
 *
 * The swap entry has a bit for that. The reference is held by vmsplice(): what
 * is written to the page later must come out of the pipe. All is done with tagged
 * and with untagged memory, with swap in RAM, where the page is a new one, and on
 * a disk, where it is found in the swap cache.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/uio.h>

#include "ts_common.h"

#define NR	16
#define TIMEOUT	120
#define DISK_NR	(32UL << 20 >> 12)

static char *mem;
static bool with_tags;

static void write_all(unsigned long seed)
{
	ts_data_write(mem, 0, NR, seed);
	if (with_tags)
		ts_tags_write(mem, 0, NR, seed);
}

static size_t check_all(unsigned long seed)
{
	if (with_tags)
		return ts_check(mem, 0, NR, seed);
	return ts_data_check(mem, 0, NR, seed);
}

static size_t get_out(void)
{
	size_t swapped;

	mem = ts_map(NR, with_tags ? TS_RWT : TS_RW, 0);
	madvise(mem, NR * ts_psize, MADV_NOHUGEPAGE);
	write_all(1);
	swapped = ts_pageout(mem, 0, NR);
	return ts_expect(swapped == NR, "%d pages in swap, not %zu", NR, swapped);
}

/* A pipe that refers to all the pages. */
static void hold(int fd[2])
{
	size_t i;

	if (pipe(fd) || fcntl(fd[1], F_SETPIPE_SZ, NR * ts_psize) < 0)
		ksft_exit_fail_msg("no pipe: %s\n", strerror(errno));
	for (i = 0; i < NR; i++) {
		struct iovec iov = { mem + i * ts_psize, ts_psize };

		if (vmsplice(fd[1], &iov, 1, 0) != (ssize_t)ts_psize)
			ksft_exit_fail_msg("vmsplice: %s\n", strerror(errno));
	}
}

/* What comes out of the pipe is what the pages are now. */
static size_t release(int fd[2])
{
	char *buf = malloc(ts_psize);
	size_t i, bad = 0, got;

	for (i = 0; i < NR; i++) {
		for (got = 0; got < ts_psize; ) {
			ssize_t n = read(fd[0], buf + got, ts_psize - got);

			if (n <= 0)
				ksft_exit_fail_msg("read of a pipe: %s\n",
						   strerror(errno));
			got += n;
		}
		ts_tco(true);
		bad += !!memcmp(buf, mem + i * ts_psize, ts_psize);
		ts_tco(false);
	}
	free(buf);
	close(fd[0]);
	close(fd[1]);
	return ts_expect(!bad, "the pipe to see what is written, %zu pages not", bad);
}

/* Pages are in memory, not written to since; a write must not copy them. */
static size_t not_copied(void)
{
	unsigned long pfn[NR];
	size_t i, bad, copied = 0;
	int fd[2];

	/* What is held stays where it is. */
	hold(fd);
	for (i = 0; i < NR; i++)
		pfn[i] = ts_pfn(mem + i * ts_psize);
	write_all(2);
	for (i = 0; i < NR; i++)
		copied += ts_pfn(mem + i * ts_psize) != pfn[i];
	bad = ts_expect(!copied, "no page to be copied, not %zu", copied);
	bad += release(fd);
	bad += check_all(2);
	return bad;
}

static size_t kept(void)
{
	size_t bad = get_out(), i;

	/* Read faults: the pages stay in the swap cache. */
	bad += check_all(1);
	bad += not_copied();
	/* Again, with the first access a write to one part of the page. */
	i = ts_pageout(mem, 0, NR);
	bad += ts_expect(i == NR, "%d pages in swap, not %zu", NR, i);
	ts_tco(true);
	for (i = 0; i < NR; i++)
		ts_store(mem + i * ts_psize, ts_word(2, i, 0));
	ts_tco(false);
	bad += check_all(2);
	bad += not_copied();
	ts_unmap(mem, NR);
	return bad;
}

/* What the child and the parent do, in this order. */
static int child(void *arg)
{
	int *fd = arg;
	size_t bad;
	char c;

	/* The parent has written; what is here is old. */
	if (read(fd[0], &c, 1) != 1)
		return 1;
	bad = check_all(1);
	write_all(3);
	bad += check_all(3);
	return bad != 0;
}

static size_t cleared(bool read_first)
{
	size_t bad = get_out();
	int fd[2], pins[2];
	pid_t pid;

	if (pipe(fd))
		ksft_exit_fail_msg("no pipe: %s\n", strerror(errno));
	pid = fork();
	if (!pid)
		_exit(child(fd));
	if (read_first)
		bad += check_all(1);
	write_all(2);
	/* The pages are the parent's own now, or the pipe shows it. */
	hold(pins);
	write_all(4);
	bad += release(pins);
	bad += write(fd[1], "", 1) != 1;
	bad += ts_expect(!ts_wait(pid, TIMEOUT), "child to end with 0");
	bad += check_all(4);
	close(fd[0]);
	close(fd[1]);
	ts_unmap(mem, NR);
	return bad;
}

/* The child brings the pages in, writes, and has them in swap again. */
static size_t of_parent(void)
{
	size_t bad = get_out();
	int to_parent[2], to_child[2];
	pid_t pid;
	char c;

	if (pipe(to_parent) || pipe(to_child))
		ksft_exit_fail_msg("no pipe: %s\n", strerror(errno));
	pid = fork();
	if (!pid) {
		bad = check_all(1);
		write_all(3);
		bad += ts_pageout(mem, 0, NR) < NR / 2;
		bad += write(to_parent[1], "", 1) != 1;
		bad += read(to_child[0], &c, 1) != 1;
		bad += check_all(3);
		_exit(bad != 0);
	}
	bad += read(to_parent[0], &c, 1) != 1;
	bad += check_all(1);
	write_all(2);
	bad += write(to_child[1], "", 1) != 1;
	bad += ts_expect(!ts_wait(pid, TIMEOUT), "child to end with 0");
	bad += check_all(2);
	close(to_parent[0]);
	close(to_parent[1]);
	close(to_child[0]);
	close(to_child[1]);
	ts_unmap(mem, NR);
	return bad;
}

/* With swap in RAM, and then on the disk. */
static int everywhere(size_t (*fn)(void))
{
	size_t bad = 0, disk;

	for (disk = 0; disk < 2; disk++) {
		if (disk && !ts_disk_on(DISK_NR))
			return KSFT_FAIL;
		for (with_tags = false; ; with_tags = true) {
			bad += fn();
			if (with_tags)
				break;
		}
		if (disk)
			bad += ts_expect(ts_disk_off(), "swapoff() to succeed");
	}
	return ts_result(bad);
}

static int test_kept(void)
{
	return everywhere(kept);
}

static size_t cleared_write(void)
{
	return cleared(false);
}

static int test_cleared_write(void)
{
	return everywhere(cleared_write);
}

static size_t cleared_read(void)
{
	return cleared(true);
}

static int test_cleared_read(void)
{
	return everywhere(cleared_read);
}

static int test_of_parent(void)
{
	return everywhere(of_parent);
}

/* swapoff() maps the pages as what they were, without an access. */
static int off(void)
{
	size_t bad = 0;
	pid_t pid;
	int fd[2];

	for (with_tags = false; ; with_tags = true) {
		if (!ts_disk_on(DISK_NR))
			return KSFT_FAIL;
		bad += get_out();
		bad += ts_expect(ts_disk_off(), "swapoff() to succeed");
		bad += not_copied();
		ts_unmap(mem, NR);

		/* Shared ones stay shared. */
		if (!ts_disk_on(DISK_NR))
			return KSFT_FAIL;
		bad += get_out();
		if (pipe(fd))
			ksft_exit_fail_msg("no pipe: %s\n", strerror(errno));
		pid = fork();
		if (!pid)
			_exit(child(fd));
		bad += ts_expect(ts_disk_off(), "swapoff() to succeed");
		bad += ts_expect(!ts_swapped(mem, 0, NR), "no page in swap");
		write_all(2);
		bad += write(fd[1], "", 1) != 1;
		bad += ts_expect(!ts_wait(pid, TIMEOUT), "child to end with 0");
		bad += check_all(2);
		close(fd[0]);
		close(fd[1]);
		ts_unmap(mem, NR);
		if (with_tags)
			break;
	}
	return ts_result(bad);
}

static const struct ts_case cases[] = {
	{ "no copy of an own page", test_kept, TS_NEED_SWAP | TS_NEED_DISK },
	{ "fork, then a write", test_cleared_write, TS_NEED_SWAP | TS_NEED_DISK },
	{ "fork, then a read", test_cleared_read, TS_NEED_SWAP | TS_NEED_DISK },
	{ "fork, the child first", test_of_parent, TS_NEED_SWAP | TS_NEED_DISK },
	{ "swapoff", off, TS_NEED_DISK },
};

int main(void)
{
	/* Pages in the batch of another CPU would not go out. */
	ts_run_on(0);
	return ts_main(cases, ARRAY_SIZE(cases));
}
