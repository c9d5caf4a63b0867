// SPDX-License-Identifier: GPL-2.0-only
/*
 * All numbers that the kernel shows of tag storage agree, with no tagged memory,
 * with some, and after it is gone:
 *  - meminfo, vmstat, zoneinfo, pagetypeinfo and the regions file;
 *  - blocks taken less blocks given back are the blocks that are reserved.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ts_common.h"

#define NR	16384

static struct ts_region regions[32];
static int nr_regions;

/* Free pages of type Metadata, or -1. */
static long pagetype_free(void)
{
	static const char row[] = "type     Metadata";
	char line[512];
	long free = -1;
	FILE *f;

	f = fopen("/proc/pagetypeinfo", "r");
	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		char *p = strstr(line, row), *end;
		int order;

		if (!p)
			continue;
		if (free < 0)
			free = 0;
		p += strlen(row);
		for (order = 0;; order++, p = end) {
			/* A list that is too long is shown as ">100000". */
			p += strspn(p, " >");
			free += strtol(p, &end, 10) << order;
			if (p == end)
				break;
		}
	}
	fclose(f);
	return free;
}

static size_t check_files(bool report)
{
	long kb = ts_psize / 1024, type_free = pagetype_free();
	long free = ts_vmstat("nr_free_metadata");
	long reserved = ts_vmstat("nr_metadata_reserved");
	size_t bad;

	bad = ts_differ(report, "meminfo free", ts_meminfo("MetadataFree") / kb,
			"vmstat free", free);
	bad += ts_differ(report, "meminfo reserved",
			 ts_meminfo("MetadataReserved") / kb,
			 "vmstat reserved", reserved);
	bad += ts_differ(report, "zoneinfo free",
			 ts_zoneinfo("nr_free_metadata"), "vmstat free", free);
	bad += ts_differ(report, "zoneinfo reserved",
			 ts_zoneinfo("nr_metadata_reserved"),
			 "vmstat reserved", reserved);
	if (type_free >= 0)
		bad += ts_differ(report, "pagetypeinfo free", type_free,
				 "vmstat free", free);
	return bad;
}

static size_t check_sum(bool report)
{
	long total = ts_meminfo("MetadataTotal");
	long used = ts_meminfo("MetadataFree") + ts_meminfo("MetadataReserved");

	if (used <= total)
		return 0;
	if (report)
		ksft_print_msg("%ld kB free and reserved of %ld kB\n", used, total);
	return 1;
}

static size_t check_events(bool report)
{
	struct ts_counters c;

	ts_counters(&c);
	return ts_differ(report, "blocks taken and not given back",
			 (c.buddy + c.moved + c.contig - c.release) *
			 (long)regions[0].block_pages,
			 "vmstat reserved", c.reserved);
}

static bool one_block_size(void)
{
	int i;

	nr_regions = ts_regions(regions, ARRAY_SIZE(regions));
	for (i = 1; i < nr_regions; i++)
		if (regions[i].block_pages != regions[0].block_pages)
			return false;
	return true;
}

/* Check before, with and after tagged memory. */
static size_t all_states(size_t (*check)(bool report))
{
	size_t bad;
	char *mem;

	bad = ts_expect(ts_agree(check), "numbers to agree at the start");
	mem = ts_map(NR, TS_RWT, 0);
	ts_write(mem, 0, NR, 1);
	bad += ts_expect(ts_agree(check), "numbers to agree with tagged memory");
	bad += ts_check(mem, 0, NR, 1);
	ts_unmap(mem, NR);
	bad += ts_expect(ts_agree(check), "numbers to agree at the end");
	return bad;
}

static int files(void)
{
	return ts_result(all_states(check_files));
}

static int sum(void)
{
	return ts_result(all_states(check_sum));
}

static int events(void)
{
	if (!one_block_size())
		return ts_skip("regions differ in their block size");
	return ts_result(all_states(check_events));
}

static int region_lines(void)
{
	return ts_result(all_states(ts_check_regions));
}

/* Free metadata pages are free memory, reserved ones are not. */
static int mem_free(void)
{
	long kb = ts_psize / 1024;
	size_t bad;

	bad = ts_expect(ts_meminfo("MemFree") >= ts_meminfo("MetadataFree"),
			"MemFree to contain MetadataFree");
	bad += ts_expect(ts_meminfo("MemTotal") >= ts_meminfo("MetadataTotal"),
			 "MemTotal to contain MetadataTotal");
	bad += ts_expect(ts_zoneinfo("nr_free_pages") >=
			 ts_meminfo("MetadataFree") / kb,
			 "nr_free_pages to contain metadata pages");
	return ts_result(bad);
}

/* Does a line of /proc/iomem for memory contain all of @first to @last? */
static bool is_system_ram(unsigned long first, unsigned long last)
{
	unsigned long from, to;
	bool found = false;
	char line[128];
	FILE *f;

	f = fopen("/proc/iomem", "r");
	if (!f)
		return false;
	while (!found && fgets(line, sizeof(line), f))
		found = sscanf(line, "%lx-%lx :", &from, &to) == 2 &&
			from <= first && to >= last &&
			strstr(line, ": System RAM");
	fclose(f);
	return found;
}

/* Memory like any other, for whoever asks where there is some. */
static int system_ram(void)
{
	size_t bad = 0;
	int i;

	nr_regions = ts_regions(regions, ARRAY_SIZE(regions));
	for (i = 0; i < nr_regions; i++) {
		unsigned long first = regions[i].tag_pfn * ts_psize;
		unsigned long last = first + regions[i].tag_pages * ts_psize - 1;

		bad += ts_expect(is_system_ram(first, last),
				 "%#lx-%#lx to be System RAM", first, last);
	}
	return ts_result(bad);
}

static const struct ts_case cases[] = {
	{ "the files agree", files, TS_NEED_COUNTERS },
	{ "free and reserved are within the total", sum, TS_NEED_COUNTERS },
	{ "taken less given back is reserved", events,
	  TS_NEED_COUNTERS | TS_NEED_REGIONS },
	{ "the regions file agrees", region_lines,
	  TS_NEED_COUNTERS | TS_NEED_REGIONS },
	{ "part of free and of total memory", mem_free, TS_NEED_COUNTERS },
	{ "part of System RAM", system_ram, TS_NEED_ROOT | TS_NEED_REGIONS },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
