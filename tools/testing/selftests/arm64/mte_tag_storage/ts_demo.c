// SPDX-License-Identifier: GPL-2.0-only
/*
 * Not a test: hold tagged memory in steps of growing and shrinking size beside
 * untagged memory, verify all of it at each step, and print a line for each.
 *
 * usage: ts_demo [-d MIB] [-s SECONDS] MIB...
 *   -d MIB      untagged data that is held through all steps, default 0
 *   -s SECONDS  pause after each step, so that others can look, default 0
 *   MIB...      tagged memory to hold at each step
 *
 * A line is "step=N tagged_mib=N untagged_mib=N" and, in kB, "available=N
 * total=N free=N data=N reserved=N" of tag storage (-1 where the kernel has no
 * such counter), and "result=ok" or "result=bad".
 *
 * Exit code: 0 if all was right, 1 if data or tags were wrong, 2 for a wrong
 * argument, 4 if there is no MTE.
 */
#include <stdlib.h>
#include <unistd.h>

#include "ts_common.h"

#define SEED_DATA	1
#define SEED_TAGGED	2

static size_t to_pages(const char *mib)
{
	return (strtoul(mib, NULL, 10) << 20) / ts_psize;
}

static void wrong_args(void)
{
	fprintf(stderr, "usage: ts_demo [-d MIB] [-s SECONDS] MIB...\n");
	exit(2);
}

static void print_step(int step, size_t tagged, size_t data, bool ok)
{
	long total, free, reserved;

	ts_fold();
	total = ts_meminfo("MetadataTotal");
	free = ts_meminfo("MetadataFree");
	reserved = ts_meminfo("MetadataReserved");
	printf("step=%d tagged_mib=%zu untagged_mib=%zu available=%ld ", step,
	       tagged * ts_psize >> 20, data * ts_psize >> 20,
	       ts_meminfo("MemAvailable"));
	printf("total=%ld free=%ld data=%ld reserved=%ld result=%s\n", total,
	       free, total < 0 ? -1 : total - free - reserved, reserved,
	       ok ? "ok" : "bad");
	fflush(stdout);
}

/* Let @mem have @nr pages in use of @have, and check all of them. */
static bool set_tagged(char *mem, size_t have, size_t nr)
{
	if (nr > have) {
		if (ts_tags_zero(mem, have, nr - have))
			return false;
		ts_write(mem, have, nr - have, SEED_TAGGED);
	} else if (nr < have) {
		madvise(mem + nr * ts_psize, (have - nr) * ts_psize,
			MADV_DONTNEED);
	}
	return !ts_check(mem, 0, nr, SEED_TAGGED);
}

int main(int argc, char **argv)
{
	size_t have = 0, nr_data = 0, max = 1;
	char *mem, *data = NULL;
	unsigned int pause_s = 0;
	bool all_ok = true;
	int opt, i;

	ts_setup();
	while ((opt = getopt(argc, argv, "d:s:")) != -1) {
		if (opt == 'd')
			nr_data = to_pages(optarg);
		else if (opt == 's')
			pause_s = strtoul(optarg, NULL, 10);
		else
			wrong_args();
	}
	if (optind == argc)
		wrong_args();
	for (i = optind; i < argc; i++)
		if (to_pages(argv[i]) > max)
			max = to_pages(argv[i]);

	mem = ts_map(max, TS_RWT, MAP_NORESERVE);
	if (nr_data) {
		data = ts_map(nr_data, TS_RW, MAP_NORESERVE);
		ts_data_write(data, 0, nr_data, SEED_DATA);
	}

	for (i = optind; i < argc; i++) {
		size_t nr = to_pages(argv[i]);
		bool ok = set_tagged(mem, have, nr);

		if (nr_data && ts_data_check(data, 0, nr_data, SEED_DATA))
			ok = false;
		have = nr;
		print_step(i - optind + 1, nr, nr_data, ok);
		all_ok = all_ok && ok;
		if (pause_s)
			sleep(pause_s);
	}
	return all_ok ? 0 : 1;
}
