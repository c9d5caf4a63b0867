// SPDX-License-Identifier: GPL-2.0-only
/*
 * After fork() parent and child both have data and tags, and neither sees what
 * the other one writes, whichever of them writes first and whether or not the
 * pages had their tag storage at fork.
 */
#include <stdlib.h>
#include <unistd.h>

#include "ts_common.h"

#define NR	512
#define TIMEOUT	120

static char *mem;

/* What the child does; the exit code tells how many checks failed. */
static int child_reads(void *arg)
{
	(void)arg;
	return ts_check(mem, 0, NR, 1) != 0;
}

static int child_writes(void *arg)
{
	unsigned long seed = (unsigned long)arg;
	size_t bad;

	bad = ts_check(mem, 0, NR, 1);
	ts_write(mem, 0, NR, seed);
	bad += ts_check(mem, 0, NR, seed);
	return bad != 0;
}

/* Tags only, so that the copy is due to a tag and not to data. */
static int child_tags(void *arg)
{
	size_t bad;

	(void)arg;
	ts_tags_write(mem, 0, NR, 2);
	bad = ts_tags_check(mem, 0, NR, 2);
	bad += ts_data_check(mem, 0, NR, 1);
	return bad != 0;
}

static size_t in_child(int (*fn)(void *), unsigned long arg)
{
	int ret = ts_child(fn, (void *)arg, TIMEOUT);

	return ts_expect(ret == 0, "child to end with 0, not %d", ret);
}

static int child_first(void)
{
	size_t bad;

	mem = ts_map(NR, TS_RWT, 0);
	ts_write(mem, 0, NR, 1);
	bad = in_child(child_reads, 0);
	bad += in_child(child_writes, 2);
	bad += ts_check(mem, 0, NR, 1);
	bad += in_child(child_tags, 0);
	bad += ts_check(mem, 0, NR, 1);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

/* The parent writes while the child waits; then the child looks. */
static int parent_first(void)
{
	size_t bad = 0;
	int fd[2], ret;
	pid_t pid;
	char c;

	mem = ts_map(NR, TS_RWT, 0);
	ts_write(mem, 0, NR, 1);
	if (pipe(fd))
		return ts_skip("no pipe");
	pid = fork();
	if (!pid) {
		close(fd[1]);
		if (read(fd[0], &c, 1) != 1)
			_exit(2);
		_exit(child_writes((void *)3));
	}
	close(fd[0]);
	ts_write(mem, 0, NR, 2);
	if (write(fd[1], "x", 1) != 1)
		bad++;
	ret = ts_wait(pid, TIMEOUT);
	bad += ts_expect(ret == 0, "child to end with 0, not %d", ret);
	bad += ts_check(mem, 0, NR, 2);
	close(fd[1]);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

/* Pages that wait for their storage at fork: each process gets zero tags. */
static int child_none(void *arg)
{
	size_t bad;

	bad = ts_tags_zero(mem, 0, NR);
	bad += ts_data_check(mem, 0, NR, 1);
	ts_write(mem, 0, NR, (unsigned long)arg);
	bad += ts_check(mem, 0, NR, (unsigned long)arg);
	return bad != 0;
}

static void populate_none(void)
{
	mem = ts_map(NR, TS_RW, 0);
	ts_data_write(mem, 0, NR, 1);
	ts_protect(mem, 0, NR, TS_RWT);
}

static int none_child_first(void)
{
	size_t bad;

	populate_none();
	bad = in_child(child_none, 2);
	bad += child_none((void *)3);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

static int child_late(void *arg)
{
	usleep(200 * 1000);
	return child_none(arg);
}

static int none_parent_first(void)
{
	size_t bad = 0;
	pid_t pid;

	populate_none();
	pid = fork();
	if (!pid)
		_exit(child_late((void *)2));
	bad += child_none((void *)3);
	bad += ts_expect(ts_wait(pid, TIMEOUT) == 0, "child to end with 0");
	bad += ts_check(mem, 0, NR, 3);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

/* The child alone asks for tags, on memory that both have. */
static int child_protects(void *arg)
{
	ts_protect(mem, 0, NR, TS_RWT);
	return child_none(arg);
}

static int mprotect_in_child(void)
{
	size_t bad;

	mem = ts_map(NR, TS_RW, 0);
	ts_data_write(mem, 0, NR, 1);
	bad = in_child(child_protects, 2);
	bad += ts_data_check(mem, 0, NR, 1);
	ts_protect(mem, 0, NR, TS_RWT);
	bad += ts_tags_zero(mem, 0, NR);
	ts_tags_write(mem, 0, NR, 1);
	bad += ts_check(mem, 0, NR, 1);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

/* Grandchildren, each with tags of its own. */
static int generations(void *arg)
{
	unsigned long depth = (unsigned long)arg;
	size_t bad;

	ts_write(mem, 0, NR, 100 + depth);
	if (depth)
		bad = ts_child(generations, (void *)(depth - 1), TIMEOUT) != 0;
	else
		bad = 0;
	bad += ts_check(mem, 0, NR, 100 + depth);
	return bad != 0;
}

static int deep(void)
{
	size_t bad;

	mem = ts_map(NR, TS_RWT, 0);
	ts_write(mem, 0, NR, 1);
	bad = in_child(generations, 6);
	bad += ts_check(mem, 0, NR, 1);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

/* Many children that copy the same pages at once, and one that is killed. */
static int storm(void)
{
	pid_t pid[8];
	size_t bad = 0;
	unsigned long i;
	int round;

	mem = ts_map(NR, TS_RWT, 0);
	ts_write(mem, 0, NR, 1);
	for (round = 0; round < 6; round++) {
		for (i = 0; i < ARRAY_SIZE(pid); i++) {
			pid[i] = fork();
			if (!pid[i])
				_exit(child_writes((void *)(i + 2)));
		}
		for (i = 0; i < ARRAY_SIZE(pid); i++)
			bad += ts_expect(ts_wait(pid[i], TIMEOUT) == 0,
					 "child %zu to end with 0", i);
		bad += ts_check(mem, 0, NR, 1);
	}
	ts_unmap(mem, NR);
	return ts_result(bad);
}

static const struct ts_case cases[] = {
	{ "child writes first", child_first, 0 },
	{ "parent writes first", parent_first, 0 },
	{ "pages without storage, child first", none_child_first, 0 },
	{ "pages without storage, parent first", none_parent_first, 0 },
	{ "mprotect in the child", mprotect_in_child, 0 },
	{ "seven generations", deep, 0 },
	{ "many children at once", storm, 0 },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
