/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Helpers shared by the tests of dynamic MTE tag storage.
 *
 * Every page that a test uses holds a pattern of its own, computed from a seed
 * and the index of the page in its mapping, both in its data and in its tags.
 * The address takes no part: a page that is moved, copied or swapped keeps its
 * pattern, a page that ends in the place of another one does not fit.
 *
 * Data is accessed with tag checks suppressed (PSTATE.TCO), tags are accessed
 * with LDG and STG, which are never checked. ts_check() also makes one checked
 * access to each page by a pointer with the tag that the page should have.
 */
#ifndef TS_COMMON_H
#define TS_COMMON_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/types.h>

#include "../../kselftest.h"

#ifndef PROT_MTE
#define PROT_MTE		0x20
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT		21
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE	23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif
#ifndef SEGV_MTESERR
#define SEGV_MTESERR		9
#endif

#define TS_GRANULE		16UL
#define TS_RW			(PROT_READ | PROT_WRITE)
#define TS_RWT			(PROT_READ | PROT_WRITE | PROT_MTE)

/* Pages of data covered by one page of tag storage. */
#define TS_COVER		32UL

/* What a test case needs; it is skipped with the reason where that is absent. */
#define TS_NEED_ROOT		0x01	/* effective uid 0 */
#define TS_NEED_COUNTERS	0x02	/* Metadata counters of the kernel */
#define TS_NEED_SWAP		0x04	/* some swap that is on */
#define TS_NEED_THP		0x08	/* THP for MADV_HUGEPAGE areas */
#define TS_NEED_REGIONS		0x10	/* debugfs, device tree, pagemap PFNs */
#define TS_NEED_NODES		0x20	/* two memory nodes */
#define TS_NEED_CPUS		0x40	/* two CPUs */
#define TS_NEED_DISK		0x80	/* a disk to overwrite, TS_DISK, and root */

/* Nothing uses the first disk of a machine that is there for tests only. */
#define TS_DISK			"/dev/vda"
#define TS_DISK_QUEUE		"/sys/block/vda/queue/"

/* Bits of ts_page_flags(). */
#define TS_KPF_BUDDY		0x400UL
#define TS_KPF_MMAP		0x800UL
#define TS_KPF_ANON		0x1000UL
#define TS_KPF_METADATA		0x8000000UL

struct ts_case {
	const char *name;
	int (*fn)(void);	/* a KSFT_ result */
	unsigned int need;
};

/* One of several ways to the same end: @fn returns what is wrong. */
struct ts_way {
	const char *name;
	size_t (*fn)(void);
};

/* One line of the regions file, and where the region lies. */
struct ts_region {
	unsigned long tag_pfn, tag_pages;
	unsigned long data_pfn, data_pages;
	unsigned long block_pages, blocks;
	unsigned long pinned, reserved, tagged_pages;
};

/* Counters; pages, except for the events. -1 where the kernel has none. */
struct ts_counters {
	long free, reserved;
	long shared, buddy, moved, contig, ahead, fail, release;
	long needed;	/* blocks that somebody had to wait for: moved, not ahead */
	long none_fault, none_around;
};

/*
 * Memory that is held only to leave little free: @nr base pages at @mem, and
 * before these, of no other use, what is at @bulk.
 */
struct ts_ballast {
	char *mem, *bulk;
	size_t nr, bulk_nr;
	size_t max;
	size_t lent;	/* of the base pages, by ts_lend() */
	char scale[32];	/* what ts_ballast_near() has changed */
};

/* A userfaultfd for the pages at @mem, and a thread that resolves its events. */
struct ts_uffd {
	int fd;
	char *mem;
	char *source;	/* what is copied to the same place of @mem */
	size_t events;
	pthread_t thread;
	int stop[2];
};

extern size_t ts_psize;

/* Setup and results. */
int ts_main(const struct ts_case *cases, unsigned int nr);
void ts_setup(void);
const char *ts_missing(unsigned int need);
int ts_expect(bool ok, const char *fmt, ...) __printf(2, 3);
int ts_usually(bool ok, const char *fmt, ...) __printf(2, 3);
int ts_result(size_t bad);
int ts_skip(const char *fmt, ...) __printf(1, 2);
size_t ts_all_ways(const struct ts_way *way, size_t nr);
size_t ts_all_pass(const struct ts_case *cases, size_t nr);

/* Memory. */
char *ts_map(size_t nr, int prot, int flags);
char *ts_map_huge(size_t size);
void ts_unmap(char *mem, size_t nr);
void ts_protect(char *mem, size_t first, size_t nr, int prot);
int ts_memfd(size_t size);
char *ts_map_fd(int fd, size_t size, int prot, int flags);
int ts_memfd_huge(void);
char *ts_map_fd_huge(int fd, int prot);
unsigned long ts_pagemap(const void *addr);
unsigned long ts_pfn(const void *addr);
size_t ts_swapped(const char *mem, size_t first, size_t nr);
size_t ts_pageout(char *mem, size_t first, size_t nr);
int ts_pin_longterm(char *mem, size_t nr);
bool ts_pin_pipe(char *page, int fd[2]);
size_t ts_huge_size(void);
bool ts_is_huge(const char *mem);
long ts_smaps(const char *mem, const char *field);
unsigned long ts_page_flags(unsigned long pfn);
size_t ts_locked(const char *mem, size_t nr);
size_t ts_folio_pages(const char *mem);
void ts_set(const char *path, const char *value);
void ts_thp_set(const char *name, const char *value);
void ts_thp_size(size_t kb, bool on);
void ts_khugepaged_hurry(void);
long ts_thp_stat(size_t kb, const char *name);

/* Swap on the first part of TS_DISK. */
bool ts_make_swap(const char *path, size_t nr);
bool ts_disk_on(size_t nr);
bool ts_disk_off(void);
size_t ts_in_memory(char *mem, size_t nr);
bool ts_swap_uncache(char *mem, size_t nr, size_t max);
char *ts_map_none(size_t nr, unsigned long seed);
char *ts_map_none_huge(unsigned long seed);
size_t ts_none_touch(char *mem, size_t first, size_t nr, unsigned long seed);

/* Patterns; the checks return the number of pages that are wrong. */
void ts_data_write(char *mem, size_t first, size_t nr, unsigned long seed);
size_t ts_data_check(const char *mem, size_t first, size_t nr, unsigned long seed);
size_t ts_data_zero(const char *mem, size_t first, size_t nr);
void ts_tags_write(char *mem, size_t first, size_t nr, unsigned long seed);
size_t ts_tags_check(const char *mem, size_t first, size_t nr, unsigned long seed);
size_t ts_tags_zero(const char *mem, size_t first, size_t nr);
void ts_write(char *mem, size_t first, size_t nr, unsigned long seed);
size_t ts_check(const char *mem, size_t first, size_t nr, unsigned long seed);
unsigned int ts_tag(unsigned long seed, size_t page, size_t granule);
unsigned long ts_word(unsigned long seed, size_t page, size_t word);

/* userfaultfd; what is done to pages returns 0 or an errno. */
bool ts_uffd_open(struct ts_uffd *u, char *mem, size_t nr, unsigned long mode,
		  unsigned long features);
int ts_uffd_copy(const struct ts_uffd *u, size_t first, size_t nr);
int ts_uffd_zero(const struct ts_uffd *u, size_t first, size_t nr);
int ts_uffd_continue(const struct ts_uffd *u, size_t first, size_t nr,
		     unsigned long mode);
int ts_uffd_protect(const struct ts_uffd *u, size_t first, size_t nr, bool on);
void ts_uffd_start(struct ts_uffd *u);
void ts_uffd_stop(struct ts_uffd *u);
size_t ts_uffd_protected(const char *mem, size_t first, size_t nr);

/* The kernel's numbers. */
void ts_fold(void);
long ts_meminfo(const char *name);
long ts_vmstat(const char *name);
long ts_zoneinfo(const char *name);
void ts_counters(struct ts_counters *c);
void ts_drain(void);
bool ts_wait_reserved(long max, unsigned int seconds);
int ts_regions(struct ts_region *r, int max);
const struct ts_region *ts_storage_of(const struct ts_region *r, int nr,
				      unsigned long pfn);
const struct ts_region *ts_covers(const struct ts_region *r, int nr,
				  unsigned long pfn);
bool ts_agree(size_t (*check)(bool report));
size_t ts_differ(bool report, const char *a, long x, const char *b, long y);
size_t ts_check_regions(bool report);
int ts_read_file(const char *path, char *buf, size_t size);
int ts_write_file(const char *path, const char *value);
const char *ts_kernel_log(void);
bool ts_events(bool on);
double ts_event(const char *name, const char *first, const char *second);

/* Processes, threads, pressure. */
int ts_child(int (*fn)(void *), void *arg, unsigned int seconds);
int ts_wait(pid_t pid, unsigned int seconds);
pid_t ts_traced(int (*prepare)(void), int (*check)(void));
size_t ts_let_go(pid_t pid);
bool ts_run_on(int cpu);
bool ts_group_make(const char *group, const char *controller);
bool ts_group_remove(const char *group);
bool ts_group_set(const char *group, const char *file, const char *value);
int ts_group_get(const char *group, const char *file, char *buf, size_t size);
pid_t ts_group_start(const char *group, int (*fn)(void));
int ts_compact(void);
bool ts_slow(const char *function, unsigned int usec);
bool ts_slow_any(const char *function, unsigned int usec);
long ts_slow_hits(void);
void ts_wait_slow(long hits, double seconds);
void ts_be_slow(bool on);
double ts_now(void);
long ts_floor_kb(void);
bool ts_ballast_fill(struct ts_ballast *b, long leave);
void ts_ballast_lend(struct ts_ballast *b);
void ts_ballast_near(struct ts_ballast *b);
size_t ts_in_storage(const char *mem, size_t nr);
int ts_mostly_lent(const char *mem, size_t nr);
void ts_ballast_free(struct ts_ballast *b);
ssize_t ts_ballast_find(const struct ts_ballast *b, unsigned long pfn,
			unsigned long nr);
bool ts_ballast_pair(const struct ts_ballast *b, size_t *storage,
		     size_t *covered);
ssize_t ts_ballast_storage(const struct ts_ballast *b, unsigned long pfn);
size_t ts_lend(struct ts_ballast *b, unsigned int quarters);
size_t ts_lent_check(const struct ts_ballast *b);
void ts_lent_pin(const struct ts_ballast *b);
void ts_lent_unpin(void);
size_t ts_while_lent(size_t (*fn)(void));

/* The allocation tag of the granule at @p. */
static inline unsigned int ts_ldg(const void *p)
{
	unsigned long x = (unsigned long)p;

	asm volatile(".arch_extension memtag\n\tldg %0, [%0]"
		     : "+r" (x) : : "memory");
	return (x >> 56) & 0xf;
}

/* @p with @tag as its logical tag. */
static inline void *ts_ptr(const void *p, unsigned int tag)
{
	return (void *)(((unsigned long)p & ~(0xffUL << 56)) |
			((unsigned long)tag << 56));
}

/* Set the allocation tag of the granule at @p. */
static inline void ts_stg(void *p, unsigned int tag)
{
	asm volatile(".arch_extension memtag\n\tstg %0, [%1]"
		     : : "r" (ts_ptr(p, tag)), "r" (p) : "memory");
}

/* One access, checked against the tag of @p unless checks are suppressed. */
static inline unsigned long ts_load(const void *p)
{
	unsigned long x;

	asm volatile("ldr %0, [%1]" : "=r" (x) : "r" (p) : "memory");
	return x;
}

static inline void ts_store(void *p, unsigned long x)
{
	asm volatile("str %0, [%1]" : : "r" (x), "r" (p) : "memory");
}

/* Suppress tag checks of this thread, or let them take place again. */
static inline void ts_tco(bool on)
{
	if (on)
		asm volatile(".arch_extension memtag\n\tmsr tco, #1"
			     : : : "memory");
	else
		asm volatile(".arch_extension memtag\n\tmsr tco, #0"
			     : : : "memory");
}

#endif /* TS_COMMON_H */
