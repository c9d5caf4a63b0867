// SPDX-License-Identifier: GPL-2.0-only
/*
 * One file in memory, mapped with PROT_MTE by one process and without it by
 * another at the same time, read, written, spliced, punched and truncated by
 * system calls: data is one, tags stay with their page, and a new page has zero
 * tags. A private copy of a tagged page has the tags of the original, also in a
 * mapping without PROT_MTE, where mprotect(PROT_MTE) shows them.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <unistd.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

#include "ts_common.h"

#define NR	128UL
#define TIMEOUT	120
#define ROUNDS	40

static int shared_fd;
static unsigned int *turn;

/* Data comes from here in even turns, in the first half of the file. */
static int untagged_process(void *arg)
{
	char *mem = ts_map_fd(shared_fd, NR * ts_psize, TS_RW, MAP_SHARED);
	unsigned int i;
	size_t bad = 0;

	(void)arg;
	for (i = 0; i < ROUNDS; i++) {
		while (__atomic_load_n(turn, __ATOMIC_ACQUIRE) < 2 * i)
			usleep(10);
		/* What the other process wrote in its turn. */
		if (i)
			bad += ts_data_check(mem, NR / 2, NR / 2, i - 1);
		ts_data_write(mem, 0, NR / 2, i);
		/* Other pages of memory, other tag storage. */
		if (i % 8 == 4)
			madvise(mem, NR * ts_psize, MADV_PAGEOUT);
		__atomic_store_n(turn, 2 * i + 1, __ATOMIC_RELEASE);
	}
	return bad != 0;
}

static size_t tagged_process(void)
{
	char *mem = ts_map_fd(shared_fd, NR * ts_psize, TS_RWT, MAP_SHARED);
	size_t bad = 0;
	unsigned int i;

	for (i = 0; i < ROUNDS; i++) {
		double end = ts_now() + TIMEOUT;

		while (__atomic_load_n(turn, __ATOMIC_ACQUIRE) != 2 * i + 1) {
			if (ts_now() > end)
				return ts_expect(false, "the other's turn to end");
			usleep(10);
		}
		bad += ts_data_check(mem, 0, NR / 2, i);
		if (i)
			bad += ts_tags_check(mem, 0, NR, i - 1);
		else
			bad += ts_tags_zero(mem, 0, NR);
		ts_tags_write(mem, 0, NR, i);
		ts_data_write(mem, NR / 2, NR / 2, i);
		bad += ts_check(mem, 0, NR, i);
		__atomic_store_n(turn, 2 * i + 2, __ATOMIC_RELEASE);
	}
	ts_unmap(mem, NR);
	return bad;
}

static int two_processes(void)
{
	size_t bad;
	pid_t pid;

	turn = (unsigned int *)ts_map(1, TS_RW, MAP_SHARED);
	shared_fd = ts_memfd(NR * ts_psize);
	pid = fork();
	if (!pid)
		_exit(untagged_process(NULL));
	bad = tagged_process();
	bad += ts_expect(!ts_wait(pid, TIMEOUT), "the other to end with 0");
	ts_unmap((char *)turn, 1);
	close(shared_fd);
	return ts_result(bad);
}

static size_t pipe_data(int fd[2], unsigned long seed, size_t page)
{
	char *buf = ts_map(1, TS_RW, 0);
	struct iovec iov = { .iov_base = buf, .iov_len = ts_psize };
	ssize_t n;
	size_t i;

	for (i = 0; i < ts_psize / 8; i++)
		ts_store(buf + 8 * i, ts_word(seed, page, i));
	/* By copy, and in the page itself. */
	if (page % 2)
		n = write(fd[1], buf, ts_psize);
	else
		n = vmsplice(fd[1], &iov, 1, 0);
	ts_unmap(buf, 1);
	return n != (ssize_t)ts_psize;
}

static size_t by_splice(int fd)
{
	size_t bad = 0, i;
	off_t off = 0;
	int p[2];

	bad += ts_expect(!pipe(p), "a pipe");
	for (i = 0; i < NR; i++) {
		bad += pipe_data(p, 1, i);
		bad += splice(p[0], NULL, fd, &off, ts_psize, 0) !=
		       (ssize_t)ts_psize;
	}
	close(p[0]);
	close(p[1]);
	return ts_expect(!bad, "all pages to be spliced");
}

/* Filled by splice() and sendfile() before it is mapped tagged. */
static int filled(void)
{
	int fd = ts_memfd(NR * ts_psize), to = ts_memfd(NR * ts_psize);
	off_t from = 0;
	size_t bad;
	char *mem;

	bad = by_splice(fd);
	mem = ts_map_fd(fd, NR * ts_psize, TS_RWT, MAP_SHARED);
	bad += ts_tags_zero(mem, 0, NR);
	bad += ts_data_check(mem, 0, NR, 1);
	ts_tags_write(mem, 0, NR, 1);

	/* Copies of tagged pages, by system calls, have no tags. */
	bad += ts_expect(sendfile(to, fd, &from, NR * ts_psize) ==
			 (ssize_t)(NR * ts_psize), "all pages to be sent");
	bad += ts_check(mem, 0, NR, 1);
	ts_unmap(mem, NR);
	mem = ts_map_fd(to, NR * ts_psize, TS_RWT, MAP_SHARED);
	bad += ts_tags_zero(mem, 0, NR);
	bad += ts_data_check(mem, 0, NR, 1);
	ts_unmap(mem, NR);
	close(to);
	close(fd);
	return ts_result(bad);
}

static size_t by_write(int fd)
{
	char *data = ts_map(NR, TS_RW, 0);
	ssize_t n;

	ts_data_write(data, 0, NR, 1);
	n = pwrite(fd, data, NR * ts_psize, 0);
	ts_unmap(data, NR);
	return ts_expect(n == (ssize_t)(NR * ts_psize), "all pages written");
}

static size_t by_mapping(int fd)
{
	char *plain = ts_map_fd(fd, NR * ts_psize, TS_RW, MAP_SHARED);

	ts_data_write(plain, 0, NR, 1);
	ts_unmap(plain, NR);
	return 0;
}

static size_t by_fallocate(int fd)
{
	return ts_expect(!fallocate(fd, 0, 0, NR * ts_psize), "fallocate()") +
	       by_mapping(fd);
}

/* Pages that lie in tag storage themselves become tagged: these move out. */
static size_t becomes_tagged(size_t (*fill)(int fd), struct ts_ballast *ballast)
{
	int fd = ts_memfd(NR * ts_psize);
	char *plain, *mem;
	size_t bad;

	ts_ballast_near(ballast);
	bad = fill(fd);
	plain = ts_map_fd(fd, NR * ts_psize, TS_RW, MAP_SHARED);
	bad += ts_data_check(plain, 0, NR, 1);
	bad += ts_mostly_lent(plain, NR);
	mem = ts_map_fd(fd, NR * ts_psize, TS_RWT, MAP_SHARED);
	bad += ts_tags_zero(mem, 0, NR);
	bad += ts_data_check(plain, 0, NR, 1);
	ts_tags_write(mem, 0, NR, 1);
	bad += ts_check(mem, 0, NR, 1);
	bad += ts_expect(!ts_in_storage(mem, NR), "no tagged page in tag storage");
	ts_data_write(plain, 0, NR, 2);
	bad += ts_data_check(mem, 0, NR, 2);
	bad += ts_tags_check(mem, 0, NR, 1);
	ts_unmap(mem, NR);
	ts_unmap(plain, NR);
	close(fd);
	return bad;
}

static int from_storage(void)
{
	struct ts_ballast ballast = { };
	size_t bad;

	bad = becomes_tagged(by_write, &ballast);
	bad += becomes_tagged(by_splice, &ballast);
	bad += becomes_tagged(by_fallocate, &ballast);
	bad += becomes_tagged(by_mapping, &ballast);
	ts_ballast_free(&ballast);
	return ts_result(bad);
}

static void punch(int fd, size_t first, size_t pages)
{
	fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		  first * ts_psize, pages * ts_psize);
}

/* A pipe keeps tagged pages that the file has lost. */
static int hole_while_piped(void)
{
	char *mem, *buf = ts_map(1, TS_RW, 0);
	int fd = ts_memfd(NR * ts_psize), p[2];
	size_t bad, i, j;
	off_t off = 0;

	mem = ts_map_fd(fd, NR * ts_psize, TS_RWT, MAP_SHARED);
	ts_write(mem, 0, NR, 1);
	bad = ts_expect(!pipe(p), "a pipe");
	bad += ts_expect(splice(fd, &off, p[1], NULL, 8 * ts_psize, 0) ==
			 (ssize_t)(8 * ts_psize), "8 pages in the pipe");
	punch(fd, 0, 16);
	bad += ts_tags_zero(mem, 0, 16);
	bad += ts_check(mem, 16, NR - 16, 1);
	ts_write(mem, 0, 16, 2);
	for (i = 0; i < 8; i++) {
		bad += read(p[0], buf, ts_psize) != (ssize_t)ts_psize;
		for (j = 0; j < ts_psize / 8; j++)
			bad += ts_load(buf + 8 * j) != ts_word(1, i, j);
	}
	bad += ts_check(mem, 0, 16, 2);
	ts_unmap(buf, 1);
	ts_unmap(mem, NR);
	close(p[0]);
	close(p[1]);
	close(fd);
	return ts_result(bad);
}

/* Holes of all sizes, again and again: new pages never show old tags. */
static int holes(void)
{
	int fd = ts_memfd(NR * ts_psize);
	char *plain = ts_map_fd(fd, NR * ts_psize, TS_RW, MAP_SHARED);
	char *mem = ts_map_fd(fd, NR * ts_psize, TS_RWT, MAP_SHARED);
	size_t bad = 0, round;

	ts_write(mem, 0, NR, 0);
	for (round = 0; round < 24; round++) {
		size_t first = round * 37 % NR;
		size_t n = 1 + round * 5 % (NR - first);

		switch (round % 4) {
		case 0:
			punch(fd, first, n);
			break;
		case 1:
			bad += ts_expect(!madvise(mem + first * ts_psize,
						  n * ts_psize, MADV_REMOVE),
					 "MADV_REMOVE to work");
			break;
		case 2:
			n = NR - first;
			bad += ts_expect(!ftruncate(fd, first * ts_psize) &&
					 !ftruncate(fd, NR * ts_psize),
					 "ftruncate() to work");
			break;
		case 3:
			punch(fd, first, n);
			fallocate(fd, 0, first * ts_psize, n * ts_psize);
			break;
		}
		/* The first to touch it is the one mapping or the other. */
		if (round & 1)
			ts_data_write(plain, first, n, 0);
		bad += ts_tags_zero(mem, first, n);
		ts_write(mem, first, n, 0);
		bad += ts_check(mem, 0, NR, 0);
	}
	ts_unmap(mem, NR);
	ts_unmap(plain, NR);
	close(fd);
	return ts_result(bad);
}

/* What a private mapping without PROT_MTE copies has its tags. */
static size_t private_copy(char *mem, char *copy)
{
	size_t bad = 0, i;

	/* The second half has data and no tags yet. */
	ts_write(mem, 0, NR / 2, 1);
	ts_tags_zero(mem, NR / 2, NR / 2);
	ts_data_write(mem, NR / 2, NR / 2, 1);
	/* Copied when written to first, and after a read, which maps others, too. */
	for (i = 0; i < NR; i += 2)
		ts_data_write(copy, i, 1, 2);
	for (i = 1; i < NR; i += 2)
		ts_load(copy + i * ts_psize);
	for (i = 1; i < NR; i += 2)
		ts_data_write(copy, i, 1, 2);
	ts_protect(copy, 0, NR, TS_RWT);
	bad += ts_data_check(copy, 0, NR, 2);
	bad += ts_tags_check(copy, 0, NR / 2, 1);
	bad += ts_tags_zero(copy, NR / 2, NR / 2);
	ts_tags_write(copy, 0, NR, 2);
	bad += ts_check(copy, 0, NR, 2);
	bad += ts_check(mem, 0, NR / 2, 1);
	bad += ts_data_check(mem, NR / 2, NR / 2, 1);
	return bad + ts_tags_zero(mem, NR / 2, NR / 2);
}

/* All stays until the end, so that each round uses other memory. */
static size_t private_copies(void)
{
	char *mem[16], *copy[16];
	size_t bad = 0, i;

	for (i = 0; i < ARRAY_SIZE(mem); i++) {
		int fd = ts_memfd(NR * ts_psize);

		mem[i] = ts_map_fd(fd, NR * ts_psize, TS_RWT, MAP_SHARED);
		copy[i] = ts_map_fd(fd, NR * ts_psize, TS_RW, MAP_PRIVATE);
		close(fd);
		bad += private_copy(mem[i], copy[i]);
	}
	for (i = 0; i < ARRAY_SIZE(mem); i++) {
		ts_unmap(copy[i], NR);
		ts_unmap(mem[i], NR);
	}
	return bad;
}

static int private_plain(void)
{
	return ts_result(private_copies());
}

static int private_used(void)
{
	return ts_result(ts_while_lent(private_copies));
}

static const struct ts_case cases[] = {
	{ "two processes, one tagged", two_processes, 0 },
	{ "filled by splice", filled, 0 },
	{ "pages that lie in tag storage", from_storage,
	  TS_NEED_ROOT | TS_NEED_COUNTERS | TS_NEED_REGIONS },
	{ "holes", holes, 0 },
	{ "hole while a pipe has the pages", hole_while_piped, 0 },
	{ "private copy without PROT_MTE", private_plain, 0 },
	{ "private copy, tag storage in use", private_used,
	  TS_NEED_ROOT | TS_NEED_COUNTERS | TS_NEED_REGIONS },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
