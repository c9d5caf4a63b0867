// SPDX-License-Identifier: GPL-2.0-only
/*
 * All numbers that the kernel shows of tag storage agree, with no tagged memory,
 * with some, and after it is gone:
 *  - meminfo, vmstat, zoneinfo, pagetypeinfo and the regions file;
 *  - blocks taken less blocks given back are the blocks that are reserved;
 *  - each page of tag storage is free, reserved or data, also where some of a
 *    block could be taken and some not.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ts_common.h"

#define NR	16384
#define FEW	512
#define SOME	12	/* pages; a CPU adds more than that up at once */
#define MOMENTS	50
#define STEP	64

/* Further bits of /proc/kpageflags. */
#define KPF_LRU		0x20UL
#define KPF_RESERVED	0x100000000UL

/* What the pages of tag storage are, by their flags. */
struct kinds {
	long stay, free, data, bare, other;
};

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

/* No flag but METADATA is that of a page that is reserved for tags. */
static void count_kind(unsigned long flags, struct kinds *k)
{
	if (flags & KPF_RESERVED)
		k->stay++;
	else if (flags & TS_KPF_BUDDY)
		k->free++;
	else if (flags & KPF_LRU)
		k->data++;
	else if (!(flags & ~TS_KPF_METADATA))
		k->bare++;
	else
		k->other++;
}

static bool count_region(int fd, const struct ts_region *r, struct kinds *k)
{
	unsigned long pfn = r->tag_pfn, end = pfn + r->tag_pages, flags[512];
	ssize_t i, got;

	for (; pfn < end; pfn += got) {
		got = end - pfn < 512 ? end - pfn : 512;
		got = pread(fd, flags, got * 8, pfn * 8) / 8;
		if (got <= 0)
			return false;
		for (i = 0; i < got; i++)
			count_kind(flags[i], k);
	}
	return true;
}

/* False if that cannot be read. @pinned: how many pages are never lent. */
static bool count_kinds(struct kinds *k, long *pinned)
{
	int i, fd = open("/proc/kpageflags", O_RDONLY);
	bool ok = fd >= 0;

	*pinned = 0;
	nr_regions = ts_regions(regions, ARRAY_SIZE(regions));
	for (i = 0; i < nr_regions && ok; i++) {
		*pinned += regions[i].pinned * regions[i].block_pages;
		ok = count_region(fd, &regions[i], k);
	}
	if (fd >= 0)
		close(fd);
	return ok;
}

/*
 * A page that was taken and forgotten looks as if it were reserved, or still has
 * flags of the data it held; one that was given away twice is free and reserved.
 * Data compressed by zram or zswap has no flag at all or an odd one: what of it
 * lies in tag storage is not known.
 */
static size_t check_kinds(bool report)
{
	long pinned, reserved, compressed;
	struct kinds k = { };
	size_t bad;

	/* What is in a per-CPU batch has not got on the LRU yet. */
	ts_write_file("/proc/sys/vm/drop_caches", "1");
	ts_fold();
	if (!count_kinds(&k, &pinned))
		return ts_expect(!report, "/proc/kpageflags of tag storage");
	reserved = ts_vmstat("nr_metadata_reserved");
	compressed = ts_vmstat("nr_zspages");
	if (compressed < 0)
		compressed = 0;

	bad = ts_differ(report, "pages never lent", k.stay,
			"pages of pinned blocks", pinned);
	bad += ts_differ(report, "pages free by their flags", k.free,
			 "vmstat free", ts_vmstat("nr_free_metadata"));
	bad += k.bare < reserved || k.bare + k.other > reserved + compressed;
	if (bad && report)
		ksft_print_msg("%ld data, %ld bare, %ld other; %ld reserved, <= %ld zspages\n",
			       k.data, k.bare, k.other, reserved, compressed);
	return bad;
}

/* Data in all of tag storage, some of which is moved. */
static size_t kinds_lent(void)
{
	struct ts_ballast ballast = { };
	size_t bad;
	char *mem;

	ts_lend(&ballast, 4);
	bad = ts_expect(ts_agree(check_kinds), "no page lost with data");
	mem = ts_map(NR, TS_RWT, 0);
	ts_write(mem, 0, NR, 1);
	bad += ts_expect(ts_agree(check_kinds), "no page lost with data moved");
	bad += ts_check(mem, 0, NR, 1);
	ts_unmap(mem, NR);
	bad += ts_lent_check(&ballast);
	ts_ballast_free(&ballast);
	bad += ts_expect(ts_agree(check_kinds), "no page lost without data");
	return bad;
}

/* Keep the first half of the data. */
static void halve(struct ts_ballast *b)
{
	size_t i, kept = 0;

	b->lent /= 2;
	for (i = 0; i < b->nr && kept < b->lent; i++)
		kept += ts_pfn(b->mem + i * ts_psize) ||
			ts_swapped(b->mem, i, 1);
	madvise(b->mem + i * ts_psize, (b->nr - i) * ts_psize, MADV_DONTNEED);
}

/*
 * Every fourth page of half of tag storage cannot be moved. A larger block is
 * taken up to that page, and then given back; tags find a block elsewhere.
 */
static size_t kinds_pinned(void)
{
	struct ts_ballast ballast = { };
	size_t bad;
	char *mem;

	ts_lend(&ballast, 1);
	halve(&ballast);
	ts_lent_pin(&ballast);
	mem = ts_map(FEW, TS_RWT, 0);
	madvise(mem, FEW * ts_psize, MADV_NOHUGEPAGE);
	ts_write(mem, 0, FEW, 1);
	bad = ts_expect(ts_agree(check_kinds), "no page lost with pinned data");
	bad += ts_check(mem, 0, FEW, 1);
	ts_unmap(mem, FEW);
	bad += ts_lent_check(&ballast);
	ts_lent_unpin();
	ts_ballast_free(&ballast);
	bad += ts_expect(ts_agree(check_kinds), "no page lost without pins");
	return bad;
}

static int kinds(void)
{
	size_t bad = all_states(check_kinds);

	bad += kinds_lent();
	bad += kinds_pinned();
	return ts_result(bad);
}

/*
 * Pages of tag storage become free on one CPU and data again on another, of which
 * each counts for itself. If all that is added up just then, first by the one and
 * then by the other, the sum is below zero for a moment. This is no mistake, and
 * nothing is said of it.
 */
static struct {
	struct ts_ballast ballast;
	char *mem;
	unsigned int round, freed, used;
} moment;

static void wait_round(const unsigned int *value, unsigned int round)
{
	while (__atomic_load_n(value, __ATOMIC_ACQUIRE) != round)
		;
}

static void next_round(unsigned int *value)
{
	__atomic_store_n(value, *value + 1, __ATOMIC_RELEASE);
}

/* When its CPU has added up. */
static void *free_some(void *arg)
{
	unsigned int i;

	(void)arg;
	ts_run_on(0);
	for (i = 1; i <= MOMENTS; i++) {
		while (__atomic_load_n(&moment.round, __ATOMIC_ACQUIRE) != i)
			usleep(100);
		usleep(5000);
		madvise(moment.mem, SOME * ts_psize, MADV_DONTNEED);
		next_round(&moment.freed);
	}
	return NULL;
}

/* Before its CPU has, which comes to that only when this thread sleeps. */
static void *use_some(void *arg)
{
	struct sched_param param = { .sched_priority = 1 };
	unsigned int i;

	(void)arg;
	ts_run_on(1);
	sched_setscheduler(0, SCHED_FIFO, &param);
	for (i = 1; i <= MOMENTS; i++) {
		next_round(&moment.used);
		wait_round(&moment.freed, i);
		madvise(moment.mem, SOME * ts_psize, MADV_POPULATE_WRITE);
		usleep(5000);
	}
	return NULL;
}

/* Data in all of tag storage. */
static char *use_all(size_t *nr)
{
	size_t max = ts_meminfo("MetadataTotal") * 1024 / ts_psize + 1024;
	char *mem = ts_map(max, TS_RW, MAP_NORESERVE);
	size_t i;

	madvise(mem, max * ts_psize, MADV_NOHUGEPAGE);
	ts_fold();
	for (i = 0; i + STEP <= max && ts_vmstat("nr_free_metadata"); i += STEP) {
		madvise(mem + i * ts_psize, STEP * ts_psize,
			MADV_POPULATE_WRITE);
		ts_fold();
	}
	*nr = max;
	return mem;
}

static int below_zero(void)
{
	void *(* const run[])(void *) = { free_some, use_some };
	pthread_t thread[2];
	unsigned int i;
	size_t bad, nr;
	char *plain;

	/* No CPU keeps free pages for itself. */
	ts_set("/proc/sys/vm/percpu_pagelist_high_fraction", "100000");
	ts_ballast_near(&moment.ballast);
	moment.mem = ts_map(SOME, TS_RW, 0);
	madvise(moment.mem, SOME * ts_psize, MADV_POPULATE_WRITE);
	plain = use_all(&nr);
	moment.round = 0;
	moment.freed = 0;
	moment.used = 0;
	ts_run_on(0);
	for (i = 0; i < 2; i++)
		if (pthread_create(&thread[i], NULL, run[i], NULL))
			ksft_exit_fail_msg("no thread\n");
	for (i = 1; i <= MOMENTS; i++) {
		wait_round(&moment.used, i);
		next_round(&moment.round);
		ts_fold();
	}
	for (i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	ts_fold();
	ksft_print_msg("%zu of %u pages in tag storage, %ld of it are free\n",
		       ts_in_storage(moment.mem, SOME), SOME,
		       ts_vmstat("nr_free_metadata"));
	bad = ts_expect(!strstr(ts_kernel_log(), "nr_free_metadata -"),
			"no message of a sum below zero");
	ts_unmap(moment.mem, SOME);
	ts_unmap(plain, nr);
	ts_ballast_free(&moment.ballast);
	ts_set("/proc/sys/vm/percpu_pagelist_high_fraction", "0");
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
	{ "no page is lost", kinds,
	  TS_NEED_ROOT | TS_NEED_COUNTERS | TS_NEED_REGIONS },
	{ "nothing is said of sums below zero", below_zero,
	  TS_NEED_ROOT | TS_NEED_COUNTERS | TS_NEED_REGIONS | TS_NEED_CPUS },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
