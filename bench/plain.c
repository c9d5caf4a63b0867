// SPDX-License-Identifier: GPL-2.0-only
/*
 * Workloads of "make bench" that have nothing to do with tags: what they cost
 * must not change.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/wait.h>

#include "bench.h"

/* Pages of one repetition. */
#define NR	2048

/* Processes of one repetition, and pages that each has written. */
#define FORKS		16
#define FORK_PAGES	512

/* So many that it makes no difference how often the timer interrupts. */
#define ROUNDS		16384

static void fault_base(void)
{
	char *mem = ts_map(NR, TS_RW, 0);

	madvise(mem, NR * ts_psize, MADV_NOHUGEPAGE);
	bench_begin();
	bench_write(mem, NR);
	bench_end("fault", NR);
	bench_begin();
	ts_unmap(mem, NR);
	bench_end("unmap", NR);
}

static void fault_read(void)
{
	char *mem = ts_map(NR, TS_RW, 0);

	madvise(mem, NR * ts_psize, MADV_NOHUGEPAGE);
	bench_begin();
	bench_load_pages(mem, NR);
	bench_end("fault-read", NR);
	ts_unmap(mem, NR);
}

static void fault_huge(void)
{
	char *mem = ts_map_huge(NR * ts_psize);

	bench_begin();
	bench_write(mem, NR);
	bench_end("fault-2m", NR);
	ts_unmap(mem, NR);
}

static void must(bool ok, const char *what)
{
	if (!ok)
		ksft_exit_fail_msg("%s failed\n", what);
}

static void child_ends_well(pid_t pid)
{
	int status;

	must(pid > 0 && waitpid(pid, &status, 0) == pid && !status, "a child");
}

static void make_forker(void)
{
	bench_write(ts_map(FORK_PAGES, TS_RW, 0), FORK_PAGES);
}

static void fork_exit(void)
{
	pid_t pid;
	int i;

	bench_begin();
	for (i = 0; i < FORKS; i++) {
		pid = fork();
		if (!pid)
			_exit(0);
		child_ends_well(pid);
	}
	bench_end("fork", FORKS);
}

/* Start a program and wait for its end. */
static void start(char *const argv[])
{
	pid_t pid = vfork();

	if (!pid) {
		execv(argv[0], argv);
		_exit(1);
	}
	child_ends_well(pid);
}

static void exec_exit(void)
{
	char *const argv[] = { "/proc/self/exe", "nothing", NULL };
	int i;

	bench_begin();
	for (i = 0; i < FORKS; i++)
		start(argv);
	bench_end("exec", FORKS);
}

/* What make does: a shell that starts programs which read and write files. */
static void churn(void)
{
	char *const argv[] = { "/bin/sh", "-c",
		"cd /tmp; i=0\n"
		"while [ $i -lt 12 ]; do\n"
		"	seq $i 200 | sort -r | grep 1 >$i.c\n"
		"	wc $i.c >$i.o; cat *.o >all; cp all $i.out\n"
		"	i=$((i + 1))\n"
		"done\n"
		"rm *.c *.o *.out all", NULL };

	bench_begin();
	start(argv);
	bench_end("churn", 1);
}

static void each_page(int fd, char *buf, ssize_t (*access)(int, char *, off_t))
{
	int i;

	for (i = 0; i < NR; i++)
		must(access(fd, buf, i * ts_psize) == (ssize_t)ts_psize, "access to a file");
}

static ssize_t write_page(int fd, char *buf, off_t pos)
{
	return pwrite(fd, buf, ts_psize, pos);
}

static ssize_t read_page(int fd, char *buf, off_t pos)
{
	return pread(fd, buf, ts_psize, pos);
}

/* A new file in memory: pages of the page cache come and go. */
static void file_pages(void)
{
	int fd = memfd_create("bench", 0);
	char *buf = malloc(ts_psize);

	must(fd >= 0 && buf, "a file");
	bench_write(buf, 1);
	bench_begin();
	each_page(fd, buf, write_page);
	bench_end("file-write", NR);
	bench_begin();
	each_page(fd, buf, read_page);
	bench_end("file-read", NR);
	bench_begin();
	close(fd);
	bench_end("file-remove", NR);
	free(buf);
}

/* Pass @rounds bytes on from one pipe to the other. */
static void echo(int from, int to, int rounds)
{
	char byte;

	while (rounds--)
		must(read(from, &byte, 1) == 1 && write(to, &byte, 1) == 1, "a pipe");
}

/* One byte to another process and back. */
static void pipe_rounds(void)
{
	int there[2], back[2], i;
	pid_t pid;
	char byte;

	must(!pipe(there) && !pipe(back), "pipe");
	pid = fork();
	if (!pid) {
		echo(there[0], back[1], ROUNDS);
		_exit(0);
	}
	bench_begin();
	for (i = 0; i < ROUNDS; i++)
		must(write(there[1], "", 1) == 1 && read(back[0], &byte, 1) == 1, "a pipe");
	bench_end("pipe", ROUNDS);
	child_ends_well(pid);
	for (i = 0; i < 2; i++) {
		close(there[i]);
		close(back[i]);
	}
}

const struct bench_workload bench_plain[] = {
	{ "fault", NULL, fault_base, 100 },
	{ "fault-read", NULL, fault_read, 100 },
	{ "fault-2m", NULL, fault_huge, 100 },
	{ "fork", make_forker, fork_exit, 100 },
	{ "exec", NULL, exec_exit, 100 },
	{ "churn", NULL, churn, 100 },
	{ "file", NULL, file_pages, 100 },
	{ "pipe", NULL, pipe_rounds, 100 },
	{ }
};
