// SPDX-License-Identifier: GPL-2.0-only
/*
 * Workloads of "make bench" that look at the whole machine.
 */
#define _GNU_SOURCE
#include <unistd.h>

#include "bench.h"

/* What there is, and what is left of it when per-cpu lists are empty. */
static void memory(void)
{
	ts_compact();
	ts_fold();
	printf("value memory total=%ld free=%ld storage=%ld\n",
	       ts_meminfo("MemTotal"), ts_meminfo("MemFree"),
	       ts_meminfo("MetadataTotal"));
}

const struct bench_workload bench_load[] = {
	{ "memory", NULL, memory, 0 },
	{ }
};
