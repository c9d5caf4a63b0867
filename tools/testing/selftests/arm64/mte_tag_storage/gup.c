// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel reads and writes the data of pages that wait for their tag storage,
 * by address and by pinned page, and leaves tags alone.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "ts_common.h"

#define NR	64
#define POS	(48UL << 20)	/* behind what other tests use for swap */

static char *mem;

static void untouched(unsigned long seed)
{
	mem = ts_map(NR, TS_RW, 0);
	madvise(mem, NR * ts_psize, MADV_NOHUGEPAGE);
	ts_data_write(mem, 0, NR, seed);
	ts_protect(mem, 0, NR, TS_RWT);
}

/* Data of @seed, tags still zero, and then tags that hold. */
static size_t finish(unsigned long seed)
{
	size_t bad;

	bad = ts_data_check(mem, 0, NR, seed);
	bad += ts_tags_zero(mem, 0, NR);
	ts_tags_write(mem, 0, NR, seed);
	bad += ts_check(mem, 0, NR, seed);
	ts_unmap(mem, NR);
	return bad;
}

/* read() and write() access the page by its user address. */
static int by_address(void)
{
	char *data = ts_map(NR, TS_RW, 0);
	size_t len = NR * ts_psize, bad = 0;
	int fd = memfd_create("mte_tag_storage", MFD_CLOEXEC);

	untouched(1);
	bad += ts_expect(write(fd, mem, len) == (ssize_t)len, "all data written");
	bad += ts_expect(pread(fd, data, len, 0) == (ssize_t)len, "all data read");
	bad += ts_data_check(data, 0, NR, 1);
	bad += finish(1);

	untouched(1);
	ts_data_write(data, 0, NR, 2);
	bad += ts_expect(pwrite(fd, data, len, 0) == (ssize_t)len,
			 "all data written");
	bad += ts_expect(pread(fd, mem, len, 0) == (ssize_t)len, "all data read");
	bad += finish(2);
	ts_unmap(data, NR);
	close(fd);
	return ts_result(bad);
}

static int by_process_vm(void)
{
	char *data = ts_map(NR, TS_RW, 0);
	struct iovec local = { data, NR * ts_psize };
	struct iovec remote = { NULL, NR * ts_psize };
	size_t bad = 0;
	ssize_t n;

	untouched(1);
	remote.iov_base = mem;
	n = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
	if (n < 0)
		return ts_skip("process_vm_readv() does not work");
	bad += ts_expect(n == (ssize_t)local.iov_len, "all data read");
	bad += ts_data_check(data, 0, NR, 1);
	bad += finish(1);

	untouched(1);
	remote.iov_base = mem;
	ts_data_write(data, 0, NR, 2);
	n = process_vm_writev(getpid(), &local, 1, &remote, 1, 0);
	bad += ts_expect(n == (ssize_t)local.iov_len, "all data written");
	bad += finish(2);
	ts_unmap(data, NR);
	return ts_result(bad);
}

static int by_proc_mem(void)
{
	char *data = ts_map(NR, TS_RW, 0);
	size_t len = NR * ts_psize, bad = 0;
	int fd = open("/proc/self/mem", O_RDWR);

	if (fd < 0)
		return ts_skip("no /proc/self/mem");
	untouched(1);
	bad += ts_expect(pread(fd, data, len, (off_t)mem) == (ssize_t)len,
			 "all data read");
	bad += ts_data_check(data, 0, NR, 1);
	bad += finish(1);

	untouched(1);
	ts_data_write(data, 0, NR, 2);
	bad += ts_expect(pwrite(fd, data, len, (off_t)mem) == (ssize_t)len,
			 "all data written");
	bad += finish(2);
	ts_unmap(data, NR);
	close(fd);
	return ts_result(bad);
}

/* A pipe takes the pages themselves. */
static int by_vmsplice(void)
{
	char *data = ts_map(1, TS_RW, 0);
	size_t bad = 0, page;
	int fd[2];

	if (pipe(fd))
		return ts_skip("no pipe");
	untouched(1);
	for (page = 0; page < NR; page++) {
		struct iovec iov = { mem + page * ts_psize, ts_psize };

		bad += ts_expect(vmsplice(fd[1], &iov, 1, 0) ==
				 (ssize_t)ts_psize, "page %zu in the pipe", page);
		/* The page becomes tagged while the pipe holds it. */
		if (page & 1)
			bad += ts_tags_zero(mem, page, 1);
		bad += ts_expect(read(fd[0], data, ts_psize) ==
				 (ssize_t)ts_psize, "page %zu read", page);
		bad += ts_expect(ts_load(data) == ts_word(1, page, 0) &&
				 ts_load(data + ts_psize - 8) ==
				 ts_word(1, page, ts_psize / 8 - 1),
				 "data of page %zu from the pipe", page);
	}
	bad += finish(1);
	close(fd[0]);
	close(fd[1]);
	ts_unmap(data, 1);
	return ts_result(bad);
}

/* O_DIRECT from and to pages that wait: it pins them, and they still wait. */
static int by_direct_io(void)
{
	size_t len = NR * ts_psize, bad = 0;
	char *data = ts_map(NR, TS_RW, 0);
	int fd = open(TS_DISK, O_RDWR | O_DIRECT);
	ssize_t n;

	if (fd < 0)
		return ts_skip("no O_DIRECT on " TS_DISK);
	untouched(1);
	n = pwrite(fd, mem, len, POS);
	bad += ts_expect(n == (ssize_t)len, "all data written, is %zd", n);
	bad += ts_none_touch(mem, 0, NR, 1);
	ts_unmap(mem, NR);
	n = pread(fd, data, len, POS);
	bad += ts_expect(n == (ssize_t)len, "all data read, is %zd", n);
	bad += ts_data_check(data, 0, NR, 1);

	untouched(2);
	n = pread(fd, mem, len, POS);
	bad += ts_expect(n == (ssize_t)len, "all data read, is %zd", n);
	bad += ts_none_touch(mem, 0, NR, 1);
	ts_unmap(mem, NR);
	ts_unmap(data, NR);
	close(fd);
	return ts_result(bad);
}

/* The child's first access is in the kernel, on a page that both share. */
static int in_forked(void)
{
	size_t bad = 0, len = NR * ts_psize;
	int fd = memfd_create("mte_tag_storage", MFD_CLOEXEC);
	char *data = ts_map(NR, TS_RW, 0);
	pid_t pid;

	ts_data_write(data, 0, NR, 2);
	bad += ts_expect(write(fd, data, len) == (ssize_t)len, "all data written");
	untouched(1);
	pid = fork();
	if (!pid) {
		bad = pread(fd, mem, len, 0) != (ssize_t)len;
		_exit(bad + finish(2) != 0);
	}
	bad += ts_expect(!ts_wait(pid, 60), "child to end with 0");
	bad += finish(1);
	ts_unmap(data, NR);
	close(fd);
	return ts_result(bad);
}

static const struct ts_case cases[] = {
	{ "read() and write()", by_address, 0 },
	{ "process_vm_readv() and process_vm_writev()", by_process_vm, 0 },
	{ "/proc/self/mem", by_proc_mem, 0 },
	{ "vmsplice()", by_vmsplice, 0 },
	{ "O_DIRECT", by_direct_io, TS_NEED_DISK },
	{ "read() into a shared page", in_forked, 0 },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
