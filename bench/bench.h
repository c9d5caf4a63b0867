/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The workloads of "make bench" and what they count with.
 *
 * A workload runs in a guest of its own. It is repeated, and within each
 * repetition measures one or more sections, each by bench_begin() and
 * bench_end(). Lines of the report, which scripts/bench reads:
 *
 *	count SECTION ops=N user=N kernel=N EVENT=N...
 *		what one section took: instructions in user space and in the
 *		kernel, of all tasks and interrupts, and events of /proc/vmstat
 *	calls SECTION ops=N FUNCTION=N...
 *		how often functions of the kernel were called, in a repetition
 *		that is not counted otherwise
 *	value SECTION NAME=N...
 *		what a workload found that is no count of instructions
 *	sample SECTION NAME=N...
 *		one of a series
 *	dist SECTION N:COUNT...
 *		a distribution
 *
 * Lines that begin with "#" are for people.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>

#include "ts_common.h"

/* Instructions since the counters were opened. */
struct bench_count {
	unsigned long kernel, user;
};

/**
 * struct bench_workload - a workload
 * @name: its name, for "make bench B=name"
 * @setup: once, not counted; or NULL
 * @run: one repetition
 * @reps: this many at the most; 0 if it is not repeated
 */
struct bench_workload {
	const char *name;
	void (*setup)(void);
	void (*run)(void);
	unsigned int reps;
};

extern const struct bench_workload bench_plain[], bench_tagged[], bench_load[],
	bench_scale[], bench_mixed[];

/* The options that the workload was started with. */
extern unsigned int bench_reps;

void bench_begin(void);
void bench_end(const char *section, unsigned long ops);
void bench_read(struct bench_count *now);
unsigned long bench_since(const struct bench_count *begin);
void bench_open(void);
void bench_write(char *mem, size_t nr);
void bench_load_pages(const char *mem, size_t nr);

#endif /* BENCH_H */
