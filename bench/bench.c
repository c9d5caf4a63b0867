// SPDX-License-Identifier: GPL-2.0-only
/*
 * Run one workload of "make bench" and count what it takes, see bench.h.
 *
 *	bench NAME [REPETITIONS]
 *
 * Instructions are counted by the CPU's performance monitor, which the emulator
 * models exactly if it runs with -icount. They are those of the whole machine,
 * which has one CPU: what kernel threads and interrupts do is part of the work.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "bench.h"

#define VMSTAT_SIZE	16384
#define TRACING		"/sys/kernel/debug/tracing/"

unsigned int bench_reps = 9;

/* The group's leader counts the kernel, its other member user space. */
static int counters = -1;
static struct bench_count overhead, begun;

static enum {
	WARMING,	/* not reported */
	COUNTING,
	PROBING,	/* probes are in place, so instructions mean nothing */
} pass = COUNTING;

/* /proc/vmstat at the beginning and at the end of a section. */
static char vmstat_begin[VMSTAT_SIZE], vmstat_end[VMSTAT_SIZE];

/*
 * Functions whose calls are counted, where the kernel has them: those that take
 * zone->lock and are not inlined, and cache maintenance.
 */
static const char *const probes[] = {
	"free_pcppages_bulk", "free_one_page", "take_pages_off_buddy",
	"block_clean_inval", "clean_inval_tags",
};

static long hits_begin[ARRAY_SIZE(probes)];

static int open_counter(bool kernel, int group)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_HARDWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_HW_INSTRUCTIONS,
		.exclude_kernel = !kernel,
		.exclude_user = kernel,
		.read_format = PERF_FORMAT_GROUP,
		.pinned = group < 0,
	};
	int fd = syscall(SYS_perf_event_open, &attr, -1, 0, group, PERF_FLAG_FD_CLOEXEC);

	if (fd < 0)
		ksft_exit_fail_msg("no counter of instructions (QEMU has it with -icount): %s\n",
				   strerror(errno));
	return fd;
}

void bench_read(struct bench_count *now)
{
	unsigned long values[3];

	if (read(counters, values, sizeof(values)) != sizeof(values))
		ksft_exit_fail_msg("cannot read the counters\n");
	now->kernel = values[1];
	now->user = values[2];
}

/* All instructions since @begin but for those of reading the counters. */
unsigned long bench_since(const struct bench_count *begin)
{
	struct bench_count now;

	bench_read(&now);
	return now.kernel - begin->kernel - overhead.kernel +
	       now.user - begin->user - overhead.user;
}

/* What reading the counters takes is the least that lies between two readings. */
void bench_open(void)
{
	struct bench_count a, b;
	int i;

	counters = open_counter(true, -1);
	open_counter(false, counters);
	overhead = (struct bench_count) { -1UL, -1UL };
	for (i = 0; i < 64; i++) {
		bench_read(&a);
		bench_read(&b);
		if (b.kernel - a.kernel < overhead.kernel)
			overhead.kernel = b.kernel - a.kernel;
		if (b.user - a.user < overhead.user)
			overhead.user = b.user - a.user;
	}
	printf("# reading the counters: %lu instructions in the kernel, %lu in user space\n",
	       overhead.kernel, overhead.user);
}

static void append(const char *path, const char *line)
{
	int fd = open(path, O_WRONLY | O_APPEND);

	if (fd < 0)
		return;
	if (write(fd, line, strlen(line)) < 0)
		printf("# not probed: %s", line);
	close(fd);
}

static void set_probes(void)
{
	char line[128];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(probes); i++) {
		snprintf(line, sizeof(line), "p:bench/%s %s\n", probes[i], probes[i]);
		append(TRACING "kprobe_events", line);
	}
	ts_write_file(TRACING "events/bench/enable", "1");
}

/* How often a function was called; -1 if there is no probe. */
static long hits(const char *function)
{
	static char profile[4096];
	const char *line = profile;
	size_t len = strlen(function);

	ts_read_file(TRACING "kprobe_profile", profile, sizeof(profile));
	for (; line; line = strchr(line, '\n')) {
		line += strspn(line, "\n ");
		if (!strncmp(line, function, len) && line[len] == ' ')
			return strtol(line + len, NULL, 10);
	}
	return -1;
}

static void print_calls(const char *section, unsigned long ops)
{
	unsigned int i;

	printf("calls %s ops=%lu", section, ops);
	for (i = 0; i < ARRAY_SIZE(probes); i++)
		if (hits_begin[i] >= 0)
			printf(" %s=%ld", probes[i], hits(probes[i]) - hits_begin[i]);
	putchar('\n');
}

void bench_begin(void)
{
	unsigned int i;

	for (i = 0; pass == PROBING && i < ARRAY_SIZE(probes); i++)
		hits_begin[i] = hits(probes[i]);
	ts_read_file("/proc/vmstat", vmstat_begin, sizeof(vmstat_begin));
	bench_read(&begun);
}

/* Counts of pages, and what is not counted when it happens, are no events. */
static bool is_event(const char *line)
{
	return strncmp(line, "nr_", 3) && strncmp(line, "numa_", 5);
}

/* Both files have the same lines. */
static void print_events(char *begin, char *end)
{
	char *a, *b, *save_a, *save_b;

	a = strtok_r(begin, "\n", &save_a);
	b = strtok_r(end, "\n", &save_b);
	while (a && b) {
		char *space = strchr(b, ' ');
		long n = strtol(space, NULL, 10) - strtol(strchr(a, ' '), NULL, 10);

		if (n && is_event(b))
			printf(" %.*s=%ld", (int)(space - b), b, n);
		a = strtok_r(NULL, "\n", &save_a);
		b = strtok_r(NULL, "\n", &save_b);
	}
}

void bench_end(const char *section, unsigned long ops)
{
	struct bench_count now;

	bench_read(&now);
	if (pass == PROBING)
		print_calls(section, ops);
	if (pass != COUNTING)
		return;
	ts_read_file("/proc/vmstat", vmstat_end, sizeof(vmstat_end));
	printf("count %s ops=%lu user=%lu kernel=%lu", section, ops,
	       now.user - begun.user - overhead.user,
	       now.kernel - begun.kernel - overhead.kernel);
	print_events(vmstat_begin, vmstat_end);
	putchar('\n');
}

/* One store to each page. */
void bench_write(char *mem, size_t nr)
{
	for (; nr; nr--, mem += ts_psize)
		ts_store(mem, 1);
}

/* One load from each page. */
void bench_load_pages(const char *mem, size_t nr)
{
	for (; nr; nr--, mem += ts_psize)
		ts_load(mem);
}

static const struct bench_workload *find(const char *name)
{
	static const struct bench_workload *const lists[] = {
		bench_plain, bench_tagged, bench_load, bench_mixed, bench_scale,
	};
	const struct bench_workload *w;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(lists); i++)
		for (w = lists[i]; w->name; w++)
			if (!strcmp(w->name, name))
				return w;
	return NULL;
}

static void run(const struct bench_workload *w)
{
	unsigned int i;

	if (w->setup)
		w->setup();
	if (!w->reps) {
		w->run();
		return;
	}

	bench_open();
	pass = WARMING;
	w->run();
	pass = COUNTING;
	for (i = 0; i < bench_reps && i < w->reps; i++)
		w->run();
	pass = PROBING;
	set_probes();
	w->run();
}

int main(int argc, char **argv)
{
	const struct bench_workload *w = argc > 1 ? find(argv[1]) : NULL;

	/* What the workload "exec" starts. */
	if (argc > 1 && !strcmp(argv[1], "nothing"))
		return 0;
	if (!w)
		ksft_exit_fail_msg("no workload %s\n", argc > 1 ? argv[1] : "given");
	if (argc > 2)
		bench_reps = atoi(argv[2]);
	setvbuf(stdout, NULL, _IOLBF, 0);
	ts_setup();
	run(w);
	return 0;
}
