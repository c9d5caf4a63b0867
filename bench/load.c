// SPDX-License-Identifier: GPL-2.0-only
/*
 * Workloads of "make bench" that look at the whole machine: its memory, what is
 * left of it for the kernel, and how long a fault takes at the worst.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "bench.h"

/* Pages of which each fault is counted by itself. */
#define NR_FAULTS	8192

/* Of so many of them it is shown what happened meanwhile. */
#define NR_WORST	16
#define NR_EVENTS	256

/* So much ordinary memory is free, at the most, when memory is short. */
#define SHORT_KB	(6 * 1024)

/* Memory that the kernel's own pages compete with, of what there is. */
#define DATA_PERCENT	75

static struct ts_ballast ballast;

/* What memory is in use for, as far as the kernel tells. */
static void print_meminfo(void)
{
	char buf[4096], *line;

	if (ts_read_file("/proc/meminfo", buf, sizeof(buf)) <= 0)
		return;
	for (line = strtok(buf, "\n"); line; line = strtok(NULL, "\n"))
		printf("# %s\n", line);
}

/* What there is, and the most that is free, in the lists of the CPUs as well. */
static void all_memory(void)
{
	long kb = ts_psize / 1024, most = 0;
	unsigned int i;

	/* Some is on its way to be free. */
	for (i = 0; i < 20; i++) {
		long now;

		usleep(200 * 1000);
		ts_compact();
		ts_fold();
		now = ts_meminfo("MemFree") + ts_zoneinfo("count") * kb;
		if (now > most)
			most = now;
	}
	printf("value memory total=%ld free=%ld storage=%ld\n",
	       ts_meminfo("MemTotal"), most, ts_meminfo("MetadataTotal"));
	print_meminfo();
}

/*
 * Pages in pipes until there is no memory for one more, which kills this process;
 * @arg counts them.
 */
static int fill_pipes(void *arg)
{
	struct rlimit limit = { 65536, 65536 };
	unsigned long *pages = arg;
	char *buf = malloc(ts_psize);
	int fd[2];

	setrlimit(RLIMIT_NOFILE, &limit);
	ts_write_file("/proc/self/oom_score_adj", "1000");
	while (!pipe2(fd, O_NONBLOCK))
		while (write(fd[1], buf, ts_psize) == (ssize_t)ts_psize)
			++*pages;
	return 1;
}

/* Does the kernel get less, with movable data in the larger part of memory? */
static void kernel_pages(void)
{
	size_t nr = ts_meminfo("MemFree") * 1024 / 100 * DATA_PERCENT / ts_psize;
	unsigned long *pages = (unsigned long *)ts_map(1, TS_RW, MAP_SHARED);
	unsigned int i;
	char *data;
	int status;

	/* The same on every kernel. */
	if (ts_meminfo("MetadataTotal") > 0)
		nr -= ts_meminfo("MetadataTotal") * 1024 / 100 * DATA_PERCENT / ts_psize;
	data = ts_map(nr, TS_RW, 0);
	madvise(data, nr * ts_psize, MADV_NOHUGEPAGE);
	madvise(data, nr * ts_psize, MADV_DONTFORK);
	bench_write(data, nr);
	for (i = 0; i < bench_reps; i++) {
		*pages = 0;
		status = ts_child(fill_pipes, pages, 300);
		if (status != 128 + SIGKILL)
			ksft_exit_fail_msg("pipes: ended with %d after %lu pages\n",
					   status, *pages);
		printf("value unmovable pages=%lu\n", *pages);
	}
	ts_unmap(data, nr);
}

static int compare(const void *a, const void *b)
{
	unsigned long x = *(const unsigned long *)a, y = *(const unsigned long *)b;

	return x < y ? -1 : x > y;
}

static void print_distribution(const char *section, unsigned long *count, size_t nr)
{
	size_t i, first = 0;

	qsort(count, nr, sizeof(*count), compare);
	printf("dist %s", section);
	for (i = 1; i <= nr; i++) {
		if (i < nr && count[i] == count[first])
			continue;
		printf(" %lu:%zu", count[first], i - first);
		first = i;
	}
	putchar('\n');
}

/* Gauges of /proc/vmstat, and lines of /proc/stat that say nothing here. */
static bool is_event(const char *line)
{
	static const char * const not[] = {
		"nr_", "workingset_", "cpu", "btime", "processes", "procs_",
	};
	size_t i;

	for (i = 0; i < sizeof(not) / sizeof(*not); i++)
		if (!strncmp(line, not[i], strlen(not[i])))
			return false;
	return true;
}

/* Events of the kernel's memory management, interrupts and context switches. */
static size_t read_events(long *value, char (*name)[32])
{
	static const char * const file[] = { "/proc/vmstat", "/proc/stat" };
	static char buf[16384];
	size_t nr = 0, i;
	char *line;

	for (i = 0; i < sizeof(file) / sizeof(*file); i++) {
		if (ts_read_file(file[i], buf, sizeof(buf)) <= 0)
			continue;
		for (line = strtok(buf, "\n"); line && nr < NR_EVENTS;
		     line = strtok(NULL, "\n")) {
			if (!is_event(line))
				continue;
			sscanf(line, "%31s %ld", name[nr], &value[nr]);
			nr++;
		}
	}
	return nr;
}

/* What happened during the faults that took longest, least bad one first. */
struct worst {
	unsigned long count;
	size_t page;
	long events[NR_EVENTS];
};

static struct worst worst[NR_WORST];
static char event_name[NR_EVENTS][32];

static void note_worst(unsigned long count, size_t page)
{
	static long now[NR_EVENTS], before[NR_EVENTS];
	size_t nr, i = 0;

	memcpy(before, now, sizeof(now));
	nr = read_events(now, event_name);
	if (count <= worst[0].count)
		return;
	while (i + 1 < NR_WORST && worst[i + 1].count < count) {
		worst[i] = worst[i + 1];
		i++;
	}
	worst[i].count = count;
	worst[i].page = page;
	while (nr--)
		worst[i].events[nr] = now[nr] - before[nr];
}

static void print_worst(void)
{
	size_t i, event;

	for (i = 0; i < NR_WORST; i++) {
		printf("# page %zu: %lu instructions", worst[i].page, worst[i].count);
		for (event = 0; event < NR_EVENTS; event++)
			if (worst[i].events[event])
				printf(", %ld %s", worst[i].events[event],
				       event_name[event]);
		putchar('\n');
	}
}

/* Of the blocks that were emptied, those that a fault had to wait for. */
static void print_needed(const char *section, const struct ts_counters *before)
{
	struct ts_counters after;
	long all;

	if (ts_meminfo("MetadataTotal") <= 0)
		return;
	ts_counters(&after);
	all = after.moved - before->moved;
	printf("value %s needed=%.4f\n", section,
	       all ? (double)(after.needed - before->needed) / all : 0);
}

/* Tagged faults, each of them counted by itself. */
static void each_fault(const char *section)
{
	char *mem = ts_map(NR_FAULTS, TS_RWT, 0);
	struct ts_counters before;
	struct bench_count begin;
	unsigned long *count;
	size_t i;

	madvise(mem, NR_FAULTS * ts_psize, MADV_NOHUGEPAGE);
	count = calloc(NR_FAULTS, sizeof(*count));
	if (!count)
		ksft_exit_fail_msg("no memory for the results\n");
	bench_write((char *)count, NR_FAULTS * sizeof(*count) / ts_psize);
	bench_open();
	note_worst(0, 0);
	ts_counters(&before);
	bench_begin();
	for (i = 0; i < NR_FAULTS; i++) {
		bench_read(&begin);
		bench_write(mem + i * ts_psize, 1);
		count[i] = bench_since(&begin);
		note_worst(count[i], i);
	}
	bench_end(section, NR_FAULTS);
	print_needed(section, &before);
	print_distribution(section, count, NR_FAULTS);
	print_worst();
}

static void lend_all(void)
{
	printf("# %zu pages of data in tag storage\n", ts_lend(&ballast, 4));
}

static void latency(void)
{
	each_fault("latency");
}

/* Data that can only be swapped out, in all of memory. */
static void fill_memory(void)
{
	size_t nr = ts_meminfo("MemTotal") * 1024 / ts_psize;
	size_t chunk = (1 << 20) / ts_psize, i;
	char *mem = ts_map(nr, TS_RW, MAP_NORESERVE);
	long storage = 0, ordinary = 0;

	madvise(mem, nr * ts_psize, MADV_NOHUGEPAGE);
	for (i = 0; i + chunk <= nr; i += chunk) {
		storage = ts_meminfo("MetadataFree");
		if (storage < 0)
			storage = 0;
		ordinary = ts_meminfo("MemFree") - storage;
		if (storage < 1024 && ordinary < SHORT_KB)
			break;
		bench_write(mem + i * ts_psize, chunk);
	}
	printf("# %zu MiB of data, %ld kB free, %ld kB of tag storage free\n",
	       i * ts_psize >> 20, ordinary, storage);
}

static void latency_short(void)
{
	each_fault("latency-short");
}

const struct bench_workload bench_load[] = {
	{ "memory", NULL, all_memory, 0 },
	{ "unmovable", NULL, kernel_pages, 0 },
	{ "latency", lend_all, latency, 0 },
	{ "latency-short", fill_memory, latency_short, 0 },
	{ }
};
