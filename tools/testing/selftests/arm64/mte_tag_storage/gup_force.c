// SPDX-License-Identifier: GPL-2.0-only
/*
 * Another process reads and writes the data of pages that wait for their tag
 * storage, by /proc/PID/mem, process_vm_*() and ptrace(): with the permissions
 * of the mapping, or with FOLL_FORCE against them. What must be refused is, and
 * what was written is there when the process looks, with tags of zero.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "ts_common.h"

#define NR		4
#define LEN		(NR * ts_psize)
#define OLD		1UL	/* seed of the data that was there */
#define NEW		2UL	/* and of what is written */

static char *mem, *data;
static pid_t pid;
static int proc_mem;

/* Each copies all of @mem, and returns whether all of that worked. */
struct way {
	const char *name;
	bool (*get)(void);
	bool (*put)(void);
	bool force;
};

static bool get_proc_mem(void)
{
	return pread(proc_mem, data, LEN, (off_t)mem) == (ssize_t)LEN;
}

static bool put_proc_mem(void)
{
	return pwrite(proc_mem, data, LEN, (off_t)mem) == (ssize_t)LEN;
}

static bool get_process_vm(void)
{
	struct iovec local = { data, LEN }, remote = { mem, LEN };

	return process_vm_readv(pid, &local, 1, &remote, 1, 0) == (ssize_t)LEN;
}

static bool put_process_vm(void)
{
	struct iovec local = { data, LEN }, remote = { mem, LEN };

	return process_vm_writev(pid, &local, 1, &remote, 1, 0) == (ssize_t)LEN;
}

static bool get_ptrace(void)
{
	size_t i;

	for (i = 0; i < LEN; i += sizeof(long)) {
		errno = 0;
		*(long *)(data + i) = ptrace(PTRACE_PEEKDATA, pid, mem + i, NULL);
		if (errno)
			return false;
	}
	return true;
}

static bool put_ptrace(void)
{
	size_t i;

	for (i = 0; i < LEN; i += sizeof(long))
		if (ptrace(PTRACE_POKEDATA, pid, mem + i, *(long *)(data + i)))
			return false;
	return true;
}

static const struct way ways[] = {
	{ "/proc/PID/mem", get_proc_mem, put_proc_mem, true },
	{ "process_vm", get_process_vm, put_process_vm, false },
	{ "ptrace", get_ptrace, put_ptrace, true },
};

/* The process: stops, and then looks at its pages, which hold data of @arg. */
static pid_t start(unsigned long *seed, int prot)
{
	pid_t child = fork();
	int status;

	if (!child) {
		size_t bad;

		/* Pages of its own. */
		if (*seed == OLD)
			ts_data_write(mem, 0, NR, OLD);
		ts_protect(mem, 0, NR, TS_RWT);
		ts_protect(mem, 0, NR, prot);
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		ts_protect(mem, 0, NR, TS_RWT);
		bad = ts_tags_zero(mem, 0, NR);
		bad += ts_data_check(mem, 0, NR, *seed);
		ts_tags_write(mem, 0, NR, *seed);
		_exit(bad + ts_check(mem, 0, NR, *seed) != 0);
	}
	if (child < 0 || waitpid(child, &status, 0) != child ||
	    !WIFSTOPPED(status))
		ksft_exit_fail_msg("child did not stop\n");
	return child;
}

static size_t one_way(const struct way *way, int prot, int flags)
{
	unsigned long *seed = (unsigned long *)ts_map(1, TS_RW, MAP_SHARED);
	bool may_get = way->force || (prot & PROT_READ);
	/* There is no forcing a write to a shared page. */
	bool may_put = (prot & PROT_WRITE) ||
		       (way->force && !(flags & MAP_SHARED));
	size_t bad = 0;
	char path[64];
	bool done;

	mem = ts_map(NR, TS_RW, flags);
	*seed = OLD;
	pid = start(seed, prot);
	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	proc_mem = open(path, O_RDWR);

	memset(data, 0, LEN);
	done = way->get();
	bad += ts_expect(done == may_get, "%s: reading %s", way->name,
			 may_get ? "works" : "is refused");
	if (done)
		bad += ts_data_check(data, 0, NR, OLD);

	ts_data_write(data, 0, NR, NEW);
	done = way->put();
	bad += ts_expect(done == may_put, "%s: writing %s", way->name,
			 may_put ? "works" : "is refused");
	if (done)
		*seed = NEW;

	ptrace(PTRACE_DETACH, pid, NULL, NULL);
	bad += ts_expect(!ts_wait(pid, 60), "%s: the process to find data and tags",
			 way->name);
	close(proc_mem);
	ts_unmap(mem, NR);
	ts_unmap((char *)seed, 1);
	return bad;
}

static int all_ways(int prot, int flags)
{
	size_t i, bad = 0;

	data = ts_map(NR, TS_RW, 0);
	for (i = 0; i < ARRAY_SIZE(ways); i++)
		bad += one_way(&ways[i], prot, flags);
	ts_unmap(data, NR);
	return ts_result(bad);
}

static int read_write(void)
{
	return all_ways(TS_RWT, 0);
}

static int read_only(void)
{
	return all_ways(PROT_READ | PROT_MTE, 0);
}

static int no_access(void)
{
	return all_ways(PROT_NONE | PROT_MTE, 0);
}

static int shared(void)
{
	return all_ways(TS_RWT, MAP_SHARED);
}

static int shared_read_only(void)
{
	return all_ways(PROT_READ | PROT_MTE, MAP_SHARED);
}

static int shared_no_access(void)
{
	return all_ways(PROT_NONE | PROT_MTE, MAP_SHARED);
}

static const struct ts_case cases[] = {
	{ "private, read and write", read_write, TS_NEED_ROOT },
	{ "private, read-only", read_only, TS_NEED_ROOT },
	{ "private, no access", no_access, TS_NEED_ROOT },
	{ "shared, read and write", shared, TS_NEED_ROOT },
	{ "shared, read-only", shared_read_only, TS_NEED_ROOT },
	{ "shared, no access", shared_no_access, TS_NEED_ROOT },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
