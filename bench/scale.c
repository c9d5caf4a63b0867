// SPDX-License-Identifier: GPL-2.0-only
/*
 * Workload of "make bench" on several CPUs: how much of the speed of one is left
 * to each if all of them do the same. Times are of the emulator, and only the
 * ratio to another kernel says something.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <unistd.h>
#include <sys/wait.h>

#include "bench.h"

#define NR	1024
#define TURNS	2
/* The best of so many, as the host may have done other things meanwhile. */
#define BEST	5
#define CPUS	8

/* Shared by all processes: one per CPU, and the one that starts them. */
struct arena {
	int ready;
	struct {
		unsigned long begin, end;
	} cpu[CPUS];
};

static struct arena *arena;

static unsigned long now(void)
{
	unsigned long t;

	asm volatile("isb\n\tmrs %0, cntvct_el0\n\tisb" : "=r" (t) : : "memory");
	return t;
}

static int get(const int *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

/* New pages, and unmap them again. */
static void work(int prot)
{
	char *mem = ts_map(NR, prot, 0);

	madvise(mem, NR * ts_psize, MADV_NOHUGEPAGE);
	bench_write(mem, NR);
	ts_unmap(mem, NR);
}

/* Begin together with the others. */
static int worker(int cpu, int prot, int cpus)
{
	int i;

	if (!ts_run_on(cpu))
		return 1;
	work(prot);
	__atomic_add_fetch(&arena->ready, 1, __ATOMIC_ACQ_REL);
	while (get(&arena->ready) < cpus)
		;
	arena->cpu[cpu].begin = now();
	for (i = 0; i < TURNS; i++)
		work(prot);
	arena->cpu[cpu].end = now();
	return 0;
}

/* The time from the first beginning to the last end. */
static unsigned long together(int cpus, int prot)
{
	unsigned long begin = -1UL, end = 0;
	int i, status;

	arena->ready = 0;
	for (i = 0; i < cpus; i++) {
		pid_t pid = fork();

		if (!pid)
			_exit(worker(i, prot, cpus));
	}
	for (i = 0; i < cpus; i++)
		if (wait(&status) < 0 || status)
			ksft_exit_fail_msg("a process on one of %d CPUs failed\n", cpus);
	for (i = 0; i < cpus; i++) {
		if (arena->cpu[i].begin < begin)
			begin = arena->cpu[i].begin;
		if (arena->cpu[i].end > end)
			end = arena->cpu[i].end;
	}
	return end - begin;
}

/* The speed of each of @cpus, as a part of that of one alone. */
static double speed(int cpus, int prot)
{
	unsigned long one = -1UL, all = -1UL, t;
	int i;

	for (i = 0; i < BEST; i++) {
		t = together(1, prot);
		if (t < one)
			one = t;
		t = together(cpus, prot);
		if (t < all)
			all = t;
	}
	return one / (double)all;
}

static void scale_all(void)
{
	int cpus = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned int i;

	arena = (struct arena *)ts_map(1, TS_RW, MAP_SHARED);
	if (cpus < 2 || cpus > CPUS)
		ksft_exit_fail_msg("%d CPUs\n", cpus);
	for (i = 0; i < bench_reps; i++)
		printf("value scale plain=%.4f tagged=%.4f\n",
		       speed(cpus, TS_RW), speed(cpus, TS_RWT));
}

const struct bench_workload bench_scale[] = {
	{ "scale", NULL, scale_all, 0 },
	{ }
};
