// SPDX-License-Identifier: GPL-2.0-only
/*
 * A page of data in tag storage that cannot be moved, because a pipe holds it,
 * does not stop the pages that have their tags there: they are moved instead.
 * Where both cannot be moved the access ends in a signal within a bounded time.
 * Other processes go on in each case.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "ts_common.h"

#define NEED	(TS_NEED_ROOT | TS_NEED_COUNTERS | TS_NEED_REGIONS)
#define TIMEOUT	180
#define SKIP	77

/* Put the page into a pipe, where it stays. */
static bool pin(char *page, int fd[2])
{
	struct iovec iov = { .iov_base = page, .iov_len = ts_psize };

	return !pipe(fd) && vmsplice(fd[1], &iov, 1, 0) == (ssize_t)ts_psize;
}

/* Read the page back from the pipe and compare. */
static size_t unpin(int fd[2], size_t page)
{
	static char buf[65536];
	ssize_t n = read(fd[0], buf, ts_psize);
	size_t i, bad = 0;

	for (i = 0; i < ts_psize / 8; i++)
		bad += ts_load(buf + 8 * i) != ts_word(1, page, i);
	close(fd[0]);
	close(fd[1]);
	return ts_expect(n == (ssize_t)ts_psize && !bad,
			 "the page in the pipe to keep its data");
}

/* Fill memory and find a pair of pages, both with data. */
static bool prepare(struct ts_ballast *b, size_t *storage, size_t *covered)
{
	long total = ts_meminfo("MetadataTotal") * 1024 / ts_psize;

	ts_ballast_fill(b, total / 4);
	*storage = 0;
	if (!ts_ballast_pair(b, storage, covered))
		return false;
	ts_data_write(b->mem, *storage, 1, 1);
	ts_data_write(b->mem, *covered, 1, 1);
	return true;
}

static size_t touch(struct ts_ballast *b, size_t page)
{
	size_t bad;

	bad = ts_tags_zero(b->mem, page, 1);
	bad += ts_data_check(b->mem, page, 1, 1);
	ts_tags_write(b->mem, page, 1, 1);
	return bad + ts_check(b->mem, page, 1, 1);
}

/* In a child: the ballast is not worth a copy of its page tables. */
static int storage_pinned(void *arg)
{
	struct ts_ballast b = { };
	size_t storage, covered, bad;
	int fd[2];

	(void)arg;
	if (!prepare(&b, &storage, &covered) ||
	    !pin(b.mem + storage * ts_psize, fd))
		return SKIP;
	ts_protect(b.mem, covered, 1, TS_RWT);
	bad = touch(&b, covered);
	bad += ts_data_check(b.mem, storage, 1, 1);
	bad += unpin(fd, storage);
	bad += ts_check(b.mem, covered, 1, 1);
	return bad != 0;
}

static int both_pinned(void *arg)
{
	struct ts_ballast b = { };
	size_t storage, covered, bad;
	int fd[2], fd2[2];

	(void)arg;
	if (!prepare(&b, &storage, &covered) ||
	    !pin(b.mem + storage * ts_psize, fd) ||
	    !pin(b.mem + covered * ts_psize, fd2))
		return SKIP;
	ts_protect(b.mem, covered, 1, TS_RWT);
	/* No storage and no way out: SIGBUS is expected to end this here. */
	bad = touch(&b, covered);
	bad += unpin(fd2, covered);
	bad += unpin(fd, storage);
	return bad != 0;
}

static int bus_fd[2], bus_fd2[2];
static struct ts_ballast bus_ballast;
static size_t bus_storage, bus_covered;

/* The pipe lets go, and the same access works. */
static void on_bus(int sig)
{
	size_t bad;

	(void)sig;
	signal(SIGBUS, SIG_DFL);
	bad = unpin(bus_fd, bus_storage);
	bad += unpin(bus_fd2, bus_covered);
	bad += touch(&bus_ballast, bus_covered);
	_exit(bad != 0);
}

static int both_pinned_later(void *arg)
{
	(void)arg;
	if (!prepare(&bus_ballast, &bus_storage, &bus_covered) ||
	    !pin(bus_ballast.mem + bus_storage * ts_psize, bus_fd) ||
	    !pin(bus_ballast.mem + bus_covered * ts_psize, bus_fd2))
		return SKIP;
	ts_protect(bus_ballast.mem, bus_covered, 1, TS_RWT);
	signal(SIGBUS, on_bus);
	ts_load(bus_ballast.mem + bus_covered * ts_psize);
	return 0;
}

/* Run @fn, and see that tagged work of this process goes on meanwhile. */
static int with_bystander(int (*fn)(void *), size_t *bad)
{
	double longest = 0, end = ts_now() + TIMEOUT;
	unsigned long rounds = 0;
	siginfo_t info = { };
	int status;
	pid_t pid;

	pid = fork();
	if (!pid)
		_exit(fn(NULL));
	while (ts_now() < end) {
		double start = ts_now();
		char *mem = ts_map(64, TS_RWT, 0);

		ts_write(mem, 0, 64, rounds);
		*bad += ts_check(mem, 0, 64, rounds);
		ts_unmap(mem, 64);
		if (ts_now() - start > longest)
			longest = ts_now() - start;
		rounds++;
		if (rounds % 16)
			continue;
		if (waitid(P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT) ||
		    info.si_pid)
			break;
	}
	status = ts_wait(pid, 1);
	ksft_print_msg("result %d, meanwhile %lu rounds, longest %.3f s\n",
		       status, rounds, longest);
	return status;
}

static int pinned_storage(void)
{
	size_t bad = 0;
	int status = with_bystander(storage_pinned, &bad);

	if (status == SKIP)
		return ts_skip("no page in tag storage could be pinned");
	bad += ts_expect(status == 0, "the access to succeed, not %d", status);
	return ts_result(bad);
}

static int pinned_both(void)
{
	size_t bad = 0;
	int status = with_bystander(both_pinned, &bad);

	if (status == SKIP)
		return ts_skip("no page in tag storage could be pinned");
	bad += ts_expect(status == 0 || status == 128 + SIGBUS ||
			 status == 128 + SIGKILL,
			 "an end by SIGBUS, not %d", status);
	return ts_result(bad);
}

static int pinned_both_later(void)
{
	size_t bad = 0;
	int status = with_bystander(both_pinned_later, &bad);

	if (status == SKIP)
		return ts_skip("no page in tag storage could be pinned");
	bad += ts_expect(status == 0, "the access to succeed, not %d", status);
	return ts_result(bad);
}

static const struct ts_case cases[] = {
	{ "page in tag storage pinned", pinned_storage, NEED },
	{ "both pages pinned", pinned_both, NEED },
	{ "both pages pinned, then let go", pinned_both_later, NEED },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
