// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory of the kernel itself, which cannot come from tag storage, grows without
 * failure while metadata pages are free and ordinary memory is short but there:
 * free metadata pages are not mistaken for memory that it could have.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "ts_common.h"

#define TIMEOUT	120
#define SKIP	77
#define NEED	(TS_NEED_ROOT | TS_NEED_COUNTERS)

/* Free memory that the kernel can have, less what it keeps for emergencies. */
static long ordinary_kb(void)
{
	char buf[32] = "";

	ts_read_file("/proc/sys/vm/min_free_kbytes", buf, sizeof(buf));
	return ts_meminfo("MemFree") - ts_meminfo("MetadataFree") -
	       2 * strtol(buf, NULL, 10);
}

/*
 * Fill memory until metadata pages come into use, or ordinary memory gets short.
 * How much the kernel may well ask for then, in kB; 0 if metadata is used up.
 */
static long prepare(struct ts_ballast *b)
{
	long pages = ts_meminfo("MetadataTotal") * 1024 / (long)ts_psize;
	long spare;
	int i;

	/* What is on its way to swap, or from there, can be in the way. */
	for (i = 0; i < 3; i++) {
		ts_ballast_fill(b, pages * 7 / 8);
		if (ts_meminfo("MetadataFree") >= 1024)
			break;
		ts_ballast_free(b);
		usleep(500 * 1000);
	}
	spare = ordinary_kb();
	ksft_print_msg("free: %ld kB metadata, %ld kB for the kernel, %ld kB swap\n",
		       ts_meminfo("MetadataFree"), spare, ts_meminfo("SwapFree"));
	if (ts_meminfo("MetadataFree") < 1024)
		return 0;
	/* Swap makes room, and so the kernel may ask for more. */
	if (ts_meminfo("SwapFree") > 64 * 1024 && spare < 16 * 1024)
		return 8 * 1024;
	return spare > 1024 ? spare / 2 : 0;
}

/* Data in pipes: a page for each write of a page. */
static int fill_pipes(void *arg)
{
	struct rlimit limit = { 4096, 4096 };
	struct ts_ballast b = { };
	long kb = prepare(&b), got;
	char *buf = malloc(ts_psize);
	int fd[2];

	(void)arg;
	if (!kb)
		return SKIP;
	setrlimit(RLIMIT_NOFILE, &limit);
	for (got = 0; got < kb;) {
		if (pipe2(fd, O_NONBLOCK))
			return ts_expect(false, "another pipe after %ld kB", got);
		while (write(fd[1], buf, ts_psize) == (ssize_t)ts_psize)
			got += ts_psize / 1024;
	}
	ksft_print_msg("%ld kB in pipes\n", got);
	return 0;
}

/* Page tables: a page of tables for each page of data, here the zero page. */
static int fill_tables(void *arg)
{
	size_t per_table = ts_psize / 8 * ts_psize, i, nr;
	struct ts_ballast b = { };
	long kb = prepare(&b);
	char *mem;

	(void)arg;
	if (!kb)
		return SKIP;
	nr = kb * 1024 / ts_psize;
	mem = ts_map(nr * per_table / ts_psize, PROT_READ, MAP_NORESERVE);
	madvise(mem, nr * per_table, MADV_NOHUGEPAGE);
	for (i = 0; i < nr; i++)
		if (ts_load(mem + i * per_table))
			return ts_expect(false, "zero data");
	ksft_print_msg("%zu page tables\n", nr);
	return 0;
}

/* Slab: processes, with all that the kernel keeps for each of them. */
static int fill_processes(void *arg)
{
	struct ts_ballast b = { };
	long kb = prepare(&b), nr, i;
	pid_t pid[256];
	int bad = 0;

	(void)arg;
	if (!kb)
		return SKIP;
	/* The children need no ballast. */
	madvise(b.mem, b.max * ts_psize, MADV_DONTFORK);
	nr = kb / 128 < (long)ARRAY_SIZE(pid) ? kb / 128 : (long)ARRAY_SIZE(pid);
	for (i = 0; i < nr; i++) {
		pid[i] = fork();
		if (pid[i] < 0)
			break;
		if (!pid[i]) {
			pause();
			_exit(0);
		}
	}
	bad += ts_expect(i == nr, "%ld processes, not %ld", nr, i);
	ksft_print_msg("%ld processes\n", i);
	while (i-- > 0) {
		kill(pid[i], SIGKILL);
		waitpid(pid[i], NULL, 0);
	}
	return bad != 0;
}

/* Files in memory: inodes and dentries, and no data. */
static int fill_slab(void *arg)
{
	struct rlimit limit = { 65536, 65536 };
	struct ts_ballast b = { };
	long kb = prepare(&b), i;

	(void)arg;
	if (!kb)
		return SKIP;
	setrlimit(RLIMIT_NOFILE, &limit);
	/* About 2 kB each for file, inode and dentry. */
	for (i = 0; i < kb / 2 && i < 60000; i++)
		if (memfd_create("mte_tag_storage", 0) < 0)
			return ts_expect(false, "file %ld to open", i);
	ksft_print_msg("%ld files\n", i);
	return 0;
}

static int in_child(int (*fn)(void *))
{
	int ret = ts_child(fn, NULL, TIMEOUT);

	if (ret == SKIP)
		return ts_skip("too little ordinary memory is left without swap");
	return ts_result(ts_expect(ret == 0, "child to end with 0, not %d", ret));
}

static int grow_pipes(void)
{
	return in_child(fill_pipes);
}

static int grow_tables(void)
{
	return in_child(fill_tables);
}

static int grow_processes(void)
{
	return in_child(fill_processes);
}

static int grow_slab(void)
{
	return in_child(fill_slab);
}

static const struct ts_case cases[] = {
	{ "pipes", grow_pipes, NEED },
	{ "page tables", grow_tables, NEED },
	{ "processes", grow_processes, NEED },
	{ "slab", grow_slab, NEED },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
