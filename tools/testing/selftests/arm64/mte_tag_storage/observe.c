// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the kernel says of tag storage is what happens: the histogram of
 * occupancy counts the pages that hold blocks, kpageflags tells reserved, free
 * and lent pages of tag storage apart, and the trace events name the page, its
 * storage and the fault by which it got it. Reports of free memory and of mixed
 * pageblocks know the type of tag storage.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ts_common.h"

#define NR		256
#define SEED		1

#define OCCUPANCY	"/sys/kernel/debug/mte_tag_storage/occupancy"

static struct ts_region regions[32];
static int nr_regions;

/* The first page of the tag block of @pfn, or 0 if it has none. */
static unsigned long storage_of(unsigned long pfn)
{
	const struct ts_region *r = ts_covers(regions, nr_regions, pfn);
	unsigned long block;

	if (!r)
		return 0;
	block = (pfn - r->data_pfn) / (TS_COVER * r->block_pages);
	return block < r->blocks ? r->tag_pfn + block * r->block_pages : 0;
}

/* A tagged page whose tags are in a region, or -1. */
static ssize_t find_covered(const char *mem, size_t nr)
{
	size_t i;

	nr_regions = ts_regions(regions, ARRAY_SIZE(regions));
	for (i = 0; i < nr; i++) {
		if (storage_of(ts_pfn(mem + i * ts_psize)))
			return i;
	}
	return -1;
}

/*
 * Occupancy
 */

struct occupancy {
	long lines, blocks, holders, lingering;
};

static bool read_occupancy(struct occupancy *o)
{
	char line[128];
	FILE *f = fopen(OCCUPANCY, "r");

	memset(o, 0, sizeof(*o));
	if (!f)
		return false;
	while (fgets(line, sizeof(line), f)) {
		long holders, blocks;
		int region;

		if (sscanf(line, "region=%d holders=%ld blocks=%ld", &region,
			   &holders, &blocks) != 3)
			break;
		o->lines++;
		o->lingering += holders ? 0 : blocks;
		o->blocks += blocks;
		o->holders += holders * blocks;
	}
	fclose(f);
	return true;
}

/* The file agrees with "regions" at a moment at which nothing changes. */
static size_t occupancy_agrees(struct occupancy *o)
{
	long reserved, pinned, tagged;
	double end = ts_now() + 3;
	size_t bad = 0;
	int i;

	do {
		usleep(100 * 1000);
		reserved = 0;
		pinned = 0;
		tagged = 0;
		nr_regions = ts_regions(regions, ARRAY_SIZE(regions));
		for (i = 0; i < nr_regions; i++) {
			reserved += regions[i].reserved;
			pinned += regions[i].pinned;
			tagged += regions[i].tagged_pages;
		}
		if (!read_occupancy(o))
			return ts_expect(false, "a file " OCCUPANCY);
	} while (o->blocks != reserved + pinned && ts_now() < end);

	bad += ts_expect(o->lines == nr_regions * (long)(TS_COVER + 1),
			 "%lu lines per region, not %ld for %d", TS_COVER + 1,
			 o->lines, nr_regions);
	bad += ts_expect(o->blocks == reserved + pinned,
			 "%ld reserved and %ld pinned blocks, not %ld",
			 reserved, pinned, o->blocks);
	/* Of several pages per block the part of each is rounded up. */
	if (regions[0].block_pages == 1)
		bad += ts_expect(o->holders >= tagged &&
				 o->holders <= tagged + pinned,
				 "%ld pages hold a block, not %ld", tagged,
				 o->holders);
	return bad;
}

static int occupancy(void)
{
	struct occupancy before, during, after;
	size_t bad;
	char *mem;

	bad = occupancy_agrees(&before);
	mem = ts_map(NR, TS_RWT, 0);
	ts_write(mem, 0, NR, SEED);
	bad += occupancy_agrees(&during);
	if (regions[0].block_pages == 1)
		bad += ts_expect(during.holders - before.holders >= NR,
				 "%d holders more, not %ld", NR,
				 during.holders - before.holders);
	bad += ts_check(mem, 0, NR, SEED);
	ts_unmap(mem, NR);
	bad += occupancy_agrees(&after);
	bad += ts_expect(after.holders < during.holders,
			 "fewer than %ld holders at the end", during.holders);
	return ts_result(bad);
}

/* A block that has just lost its last page is given back a moment later. */
static int lingering(void)
{
	struct occupancy o = { };
	int i;

	for (i = 0; i < 50 && !o.lingering; i++) {
		char *mem = ts_map(1, TS_RWT, 0);

		ts_tags_write(mem, 0, 1, SEED);
		ts_unmap(mem, 1);
		if (!read_occupancy(&o))
			break;
	}
	return ts_result(ts_expect(o.lingering, "blocks without pages"));
}

/*
 * Page flags
 */

/* Pages of tag storage that have the flag, and those of them that are free. */
static void count_flags(long *all, long *free)
{
	int fd = open("/proc/kpageflags", O_RDONLY);
	unsigned long flags[512], pfn, n, k, j;
	int i;

	*all = 0;
	*free = 0;
	for (i = 0; i < nr_regions; i++) {
		pfn = regions[i].tag_pfn;
		for (n = regions[i].tag_pages; n; n -= k, pfn += k) {
			k = n < ARRAY_SIZE(flags) ? n : ARRAY_SIZE(flags);
			if (pread(fd, flags, k * 8, pfn * 8) != (ssize_t)k * 8)
				break;
			for (j = 0; j < k; j++) {
				*all += !!(flags[j] & TS_KPF_METADATA);
				*free += (flags[j] & TS_KPF_METADATA) &&
					 (flags[j] & TS_KPF_BUDDY);
			}
		}
	}
	close(fd);
}

static int flags_reserved(void)
{
	long all, free, total = ts_meminfo("MetadataTotal") * 1024 / ts_psize;
	char *mem = ts_map(NR, TS_RWT, 0);
	unsigned long flags;
	struct ts_counters c;
	size_t bad = 0;
	ssize_t page;

	ts_write(mem, 0, NR, SEED);
	page = find_covered(mem, NR);
	if (page < 0)
		return ts_skip("no page whose tags are in a region");

	flags = ts_page_flags(storage_of(ts_pfn(mem + page * ts_psize)));
	bad += ts_expect(flags == TS_KPF_METADATA,
			 "no flag of reserved storage but METADATA, is %#lx",
			 flags);
	flags = ts_page_flags(ts_pfn(mem + page * ts_psize));
	bad += ts_expect(!(flags & TS_KPF_METADATA) && (flags & TS_KPF_ANON),
			 "tagged memory without METADATA, is %#lx", flags);

	count_flags(&all, &free);
	ts_counters(&c);
	bad += ts_expect(all >= total, "%ld pages with METADATA, not %ld",
			 total, all);
	/* Others allocate and free meanwhile. */
	bad += ts_expect(labs(free - c.free) <= 256,
			 "about %ld pages with METADATA and BUDDY, not %ld",
			 c.free, free);
	bad += ts_check(mem, 0, NR, SEED);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

static int flags_lent(void)
{
	const unsigned long want = TS_KPF_METADATA | TS_KPF_ANON | TS_KPF_MMAP;
	struct ts_ballast b = {};
	unsigned long flags = 0;
	size_t i, bad = 0;

	nr_regions = ts_regions(regions, ARRAY_SIZE(regions));
	ts_lend(&b, 1);
	for (i = 0; i < b.nr && !flags; i++) {
		unsigned long pfn = ts_pfn(b.mem + i * ts_psize);

		if (ts_storage_of(regions, nr_regions, pfn))
			flags = ts_page_flags(pfn);
	}
	bad += ts_expect((flags & want) == want,
			 "METADATA, ANON and MMAP of a lent page, is %#lx",
			 flags);
	bad += ts_lent_check(&b);
	ts_ballast_free(&b);
	return ts_result(bad);
}

/*
 * Trace events
 */

static size_t expect_fault(const char *at, unsigned long pfn, size_t nr)
{
	char first[64], second[64];

	snprintf(first, sizeof(first), "address=%#lx ",
		 (unsigned long)at & ~(ts_psize - 1));
	snprintf(second, sizeof(second), "pfn=%#lx nr=%zu ret=\n", pfn, nr);
	return ts_expect(ts_event("metadata_none_fault:", first, second),
			 "the event of a fault with %s%s", first, second);
}

static size_t expect_reserve(unsigned long pfn)
{
	char first[80];

	snprintf(first, sizeof(first), " pfn=%#lx storage_pfn=%#lx ", pfn,
		 storage_of(pfn));
	return ts_expect(ts_event("metadata_reserve:", first, "ret=0\n"),
			 "the event of reserving%s", first);
}

/* One event for all pages of a block, of which this need not be the first. */
static size_t expect_block(unsigned long pfn, const char *way)
{
	char storage[64];

	snprintf(storage, sizeof(storage), " storage_pfn=%#lx %s",
		 storage_of(pfn), way);
	return ts_expect(ts_event("metadata_reserve:", storage, "ret=0\n"),
			 "the event of reserving%s", storage);
}

/* Other pages of the block got it along with the one that was touched. */
static size_t expect_joined(const char *mem, size_t page)
{
	unsigned long pfn = ts_pfn(mem + page * ts_psize);
	size_t i;

	for (i = 0; i < NR; i++) {
		unsigned long other = ts_pfn(mem + i * ts_psize);

		if (i != page && (unsigned long)(mem + i * ts_psize) >> 21 ==
		    (unsigned long)(mem + page * ts_psize) >> 21 &&
		    storage_of(other) == storage_of(pfn))
			return expect_block(pfn, "way=shared ");
	}
	return 0;
}

static int trace_fault(void)
{
	unsigned long storage, pfn;
	double end = ts_now() + 3;
	char first[64];
	size_t bad = 0;
	ssize_t page;
	char *mem;

	if (!ts_events(true))
		return ts_skip("no trace events");

	mem = ts_map_none(NR, SEED);
	page = find_covered(mem, NR);
	if (page < 0)
		return ts_skip("no page whose tags are in a region");
	pfn = ts_pfn(mem + page * ts_psize);
	storage = storage_of(pfn);
	ts_tags_write(mem, page, 1, SEED);
	bad += ts_check(mem, page, 1, SEED);
	bad += expect_fault(mem + page * ts_psize, pfn, 1);
	bad += expect_reserve(pfn);
	bad += expect_joined(mem, page);
	ts_unmap(mem, NR);

	/* The block is released a moment after its last page is free. */
	snprintf(first, sizeof(first), " storage_pfn=%#lx nr=%lu\n", storage,
		 regions[0].block_pages);
	while (!ts_event("metadata_release:", first, "") && ts_now() < end) {
		usleep(100 * 1000);
		ts_drain();
	}
	bad += ts_expect(ts_event("metadata_release:", first, ""),
			 "the event of releasing%s", first);
	ts_events(false);
	return ts_result(bad);
}

static int trace_fault_huge(void)
{
	size_t nr = ts_huge_size() / ts_psize, bad = 0;
	unsigned long pfn;
	char *mem;

	if (!ts_events(true))
		return ts_skip("no trace events");

	mem = ts_map_none_huge(SEED);
	if (!mem)
		return ts_skip("no huge page");
	find_covered(mem, 1);
	pfn = ts_pfn(mem);
	bad += ts_none_touch(mem, 0, nr, SEED);
	bad += expect_fault(mem, pfn, nr);
	bad += expect_reserve(pfn);
	bad += expect_block(pfn + nr - 1, "");
	ts_unmap(mem, nr);
	ts_events(false);
	return ts_result(bad);
}

/*
 * Reports
 */

/* In "2*4kB (UMT) 0*8kB 1*16kB (T) " each letter is the type of a free list. */
static bool has_letter(const char *lines, char letter)
{
	const char *p;

	for (p = lines; (p = strstr(p, "kB (")); p++) {
		size_t len = strcspn(p + 4, ")");

		if (memchr(p + 4, letter, len))
			return true;
	}
	return false;
}

static int free_lists(void)
{
	const char *log, *begin;
	size_t bad;

	if (ts_write_file("/proc/sysrq-trigger", "m"))
		return ts_skip("no report of memory");
	log = ts_kernel_log();
	/* What others have said before is not meant. */
	while ((begin = strstr(log + 1, "Mem-Info:")))
		log = begin;
	bad = ts_expect(strstr(log, "free_metadata:"), "free tag storage in it");
	bad += ts_expect(has_letter(log, 'M'), "M for movable pages in it");
	bad += ts_expect(has_letter(log, 'T'), "T for tag storage in it");
	return ts_result(bad);
}

#define MIXED	"Number of mixed blocks"

/* The sum of a column of that table; -1 if there is none. */
static long mixed(const char *column)
{
	static char file[1 << 16];
	char *line, *word, *save_line, *save;
	long sum = -1;
	int at = -1, i;

	ts_read_file("/proc/pagetypeinfo", file, sizeof(file));
	line = strstr(file, MIXED);
	if (!line)
		return -1;
	line = strtok_r(line + strlen(MIXED), "\n", &save_line);
	for (word = strtok_r(line, " ", &save), i = 0; word;
	     word = strtok_r(NULL, " ", &save), i++)
		if (!strcmp(word, column))
			at = i;
	/* "Node 0, zone DMA N N N ..." */
	while (at >= 0 && (line = strtok_r(NULL, "\n", &save_line))) {
		for (word = strtok_r(line, " ", &save), i = -4; word;
		     word = strtok_r(NULL, " ", &save), i++)
			if (i == at)
				sum = (sum < 0 ? 0 : sum) + atol(word);
	}
	return sum;
}

/* Only with CONFIG_PAGE_OWNER and page_owner=on: movable data is at home there. */
static int mixed_blocks(void)
{
	struct ts_ballast b = {};
	long movable, metadata;
	size_t bad;

	if (mixed("Movable") < 0) {
		ksft_print_msg("the kernel does not count mixed blocks\n");
		return KSFT_PASS;
	}
	ts_lend(&b, 4);
	movable = mixed("Movable");
	metadata = mixed("Metadata");
	ksft_print_msg("mixed blocks: %ld of movable pages, %ld of tag storage\n",
		       movable, metadata);
	bad = ts_expect(!metadata, "no block of tag storage, not %ld", metadata);
	bad += ts_lent_check(&b);
	ts_ballast_free(&b);
	return ts_result(bad);
}

static const struct ts_case cases[] = {
	{ "occupancy counts the pages that hold blocks", occupancy,
	  TS_NEED_ROOT | TS_NEED_REGIONS },
	{ "occupancy counts blocks that linger", lingering,
	  TS_NEED_ROOT | TS_NEED_REGIONS },
	{ "flags of reserved and free tag storage", flags_reserved,
	  TS_NEED_ROOT | TS_NEED_REGIONS | TS_NEED_COUNTERS },
	{ "flags of lent tag storage", flags_lent,
	  TS_NEED_ROOT | TS_NEED_REGIONS },
	{ "events of a fault, of reserving and of releasing", trace_fault,
	  TS_NEED_ROOT | TS_NEED_REGIONS },
	{ "events of the fault on a huge page", trace_fault_huge,
	  TS_NEED_ROOT | TS_NEED_REGIONS | TS_NEED_THP },
	{ "free lists in a report of memory", free_lists,
	  TS_NEED_ROOT | TS_NEED_COUNTERS },
	{ "mixed pageblocks", mixed_blocks,
	  TS_NEED_ROOT | TS_NEED_REGIONS | TS_NEED_COUNTERS },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
