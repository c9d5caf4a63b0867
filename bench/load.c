// SPDX-License-Identifier: GPL-2.0-only
#include "bench.h"
const struct bench_workload bench_load[] = {
	{ }
};
