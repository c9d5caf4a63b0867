// SPDX-License-Identifier: GPL-2.0-only
/*
 * Private copies of tagged pages of a file, in a mapping without PROT_MTE. The
 * new page is asked for as one that will have no tags: it may be a page of tag
 * storage, which can have none, or one whose storage is in use as data. Still
 * each write to such a mapping is over soon, after a few faults, and fork(),
 * which copies private pages that are pinned, succeeds. Copies have the data
 * that was written, and the tags of the original, which mprotect(PROT_MTE)
 * shows; the file keeps its own.
 *
 * Data goes to tag storage when most other memory is in use. Before some of the
 * copies, pages are taken until one of them lies there: the next page that is
 * asked for does so, too.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ts_common.h"

#define VM		"/proc/sys/vm/"
#define MIN_KB		(8 * 1024L)
#define NR		64UL
#define MAX		4096UL	/* to be taken for one page of tag storage */
#define EVERY		4	/* so many writes for each time */
#define FORKS		4
#define OF_FILE		1UL	/* seeds */
#define OF_COPY		2UL
#define OF_CHILD	3UL
#define TIMEOUT		30
#define SECONDS		5.0	/* for one write, and */
#define FAULTS		64	/* so many faults, of the whole system */
#define NEED		(TS_NEED_ROOT | TS_NEED_COUNTERS | TS_NEED_REGIONS)

/* The file, shared and tagged, and the private mapping of it. */
static char *mem, *copy;

/* Little ordinary memory is free; pages that are taken until there is none. */
static bool tight;
static struct ts_ballast ballast;
static char *pages;

/* How far the child came, in shared memory. */
static struct progress {
	size_t writes, in_storage;
	long most_faults;
	double longest;
} *progress;

static void set_long(const char *path, long value)
{
	char buf[32];

	snprintf(buf, sizeof(buf), "%ld", value);
	ts_set(path, buf);
}

/* Data goes to tag storage from here on, most of which is free. */
static void begin_tight(void)
{
	long total = ts_meminfo("MetadataTotal") * 1024 / (long)ts_psize;

	/* Nearly nothing in the lists of the CPUs. */
	set_long(VM "percpu_pagelist_high_fraction", 100000);
	set_long(VM "watermark_boost_factor", 0);
	set_long(VM "watermark_scale_factor", 1);
	set_long(VM "min_free_kbytes", MIN_KB);
	ts_ballast_fill(&ballast, total);
	ts_fold();
	ts_ballast_fill(&ballast, ts_vmstat("nr_free_metadata") - total / 16);
	pages = ts_map(MAX, TS_RW, MAP_NORESERVE);
	madvise(pages, MAX * ts_psize, MADV_NOHUGEPAGE);
	tight = true;
	ksft_print_msg("free: %ld kB of tag storage, %ld kB of other memory\n",
		       ts_meminfo("MetadataFree"), ts_meminfo("MemFree") -
		       ts_meminfo("MetadataFree"));
}

static void end_tight(void)
{
	tight = false;
	ts_unmap(pages, MAX);
	ts_ballast_free(&ballast);
}

/*
 * Take what this CPU has in its list, and a page of tag storage.
 * Return: how many pages that are, or 0 if none of them is of tag storage.
 */
static size_t take_to_storage(void)
{
	static struct ts_region regions[32];
	static int nr_regions;
	size_t i;

	if (!nr_regions)
		nr_regions = ts_regions(regions, ARRAY_SIZE(regions));
	for (i = 0; i < MAX; i++) {
		char *page = pages + i * ts_psize;

		ts_store(page, 1);
		if (ts_storage_of(regions, nr_regions, ts_pfn(page)))
			return i + 1;
	}
	return 0;
}

static void give_back(void)
{
	madvise(pages, MAX * ts_psize, MADV_DONTNEED);
}

/* A file with tags, and a private mapping of it that was not accessed. */
static void make(void)
{
	int fd = ts_memfd(NR * ts_psize);

	mem = ts_map_fd(fd, NR * ts_psize, TS_RWT, MAP_SHARED);
	copy = ts_map_fd(fd, NR * ts_psize, TS_RW, MAP_PRIVATE);
	close(fd);
	ts_write(mem, 0, NR, OF_FILE);
	if (!progress)
		progress = (struct progress *)ts_map(1, TS_RW, MAP_SHARED);
	memset(progress, 0, sizeof(*progress));
}

/* Copies with data of @seed have the tags of the original. */
static size_t check_copy(unsigned long seed)
{
	size_t bad = ts_data_check(copy, 0, NR, seed);

	ts_protect(copy, 0, NR, TS_RWT);
	bad += ts_tags_check(copy, 0, NR, OF_FILE);
	ts_protect(copy, 0, NR, TS_RW);
	return bad;
}

/* The copy is made in the first of the writes to the page. */
static size_t write_page(size_t page)
{
	bool take = tight && page % EVERY == 0;
	long faults = ts_vmstat("pgfault");
	size_t taken = take ? take_to_storage() : 0;
	double start = ts_now(), seconds;

	ts_data_write(copy, page, 1, OF_COPY);
	seconds = ts_now() - start;
	faults = ts_vmstat("pgfault") - faults - taken;
	if (take)
		give_back();

	progress->writes++;
	progress->in_storage += taken > 0;
	if (seconds > progress->longest)
		progress->longest = seconds;
	/* What was taken in vain is not known. */
	if ((taken || !take) && faults > progress->most_faults)
		progress->most_faults = faults;
	return ts_data_check(copy, page, 1, OF_COPY);
}

/* Runs in a child, as a write may not come to an end. */
static int writer(void *arg)
{
	bool *read_first = arg;
	size_t bad = 0, page;

	/* Mapped then, but not copied. */
	if (*read_first)
		bad += ts_data_check(copy, 0, NR, OF_FILE);
	for (page = 0; page < NR && !bad; page++)
		bad += write_page(page);
	bad += check_copy(OF_COPY);
	bad += ts_check(mem, 0, NR, OF_FILE);
	return bad != 0;
}

static size_t write_all(bool read_first)
{
	size_t bad;
	int ret;

	ret = ts_child(writer, &read_first, TIMEOUT);
	ksft_print_msg("%zu writes, in %.3f s and %ld faults at most\n",
		       progress->writes, progress->longest,
		       progress->most_faults);
	bad = ts_expect(!ret, "child to end with 0, not %d, after %zu writes",
			ret, progress->writes);
	bad += ts_expect(progress->longest < SECONDS, "no write to take %.3f s",
			 progress->longest);
	bad += ts_expect(progress->most_faults <= FAULTS,
			 "no write to take %ld faults", progress->most_faults);
	if (tight && !bad)
		bad += ts_expect(progress->in_storage * EVERY >= NR * 3 / 4,
				 "tag storage used before %lu writes, not %zu",
				 NR / EVERY, progress->in_storage);
	bad += ts_check(mem, 0, NR, OF_FILE);
	return bad + ts_data_check(copy, 0, NR, OF_FILE);
}

static size_t writes_only(void)
{
	return write_all(false);
}

static size_t reads_first(void)
{
	return write_all(true);
}

static unsigned long pfns[NR];

/* The pages are its own since fork(). */
static int forked(void)
{
	size_t bad = 0, same = 0, i;

	for (i = 0; i < NR; i++)
		same += ts_pfn(copy + i * ts_psize) == pfns[i];
	bad += ts_expect(!same, "fork() to copy all, %zu are not", same);
	bad += check_copy(OF_COPY);
	ts_data_write(copy, 0, NR, OF_CHILD);
	bad += check_copy(OF_CHILD);
	return bad != 0;
}

static size_t fork_often(void)
{
	size_t bad = 0, in_storage = 0, moved = 0, i;

	for (i = 0; i < NR; i++)
		pfns[i] = ts_pfn(copy + i * ts_psize);
	for (i = 0; i < FORKS && !bad; i++) {
		pid_t pid;

		if (tight)
			in_storage += take_to_storage() > 0;
		pid = fork();
		if (!pid)
			_exit(forked());
		if (pid < 0)
			bad += ts_expect(false, "fork() to succeed, not %s",
					 strerror(errno));
		else
			bad += ts_expect(!ts_wait(pid, TIMEOUT),
					 "child to end with 0");
		if (tight)
			give_back();
		bad += ts_data_check(copy, 0, NR, OF_COPY);
	}
	if (tight && !bad)
		bad += ts_expect(in_storage > FORKS / 2,
				 "tag storage used before %d forks, not %zu",
				 FORKS, in_storage);
	for (i = 0; i < NR; i++)
		moved += ts_pfn(copy + i * ts_psize) != pfns[i];
	return bad + ts_expect(!moved, "pinned pages to stay, %zu do not",
			       moved);
}

static void unmake(void)
{
	ts_unmap(copy, NR);
	ts_unmap(mem, NR);
}

static size_t while_tight(size_t (*fn)(void))
{
	size_t bad;

	begin_tight();
	bad = fn();
	end_tight();
	return bad;
}

static int copies(size_t (*fn)(void), size_t (*when)(size_t (*fn)(void)))
{
	size_t bad;

	make();
	bad = when(fn);
	bad += ts_check(mem, 0, NR, OF_FILE);
	unmake();
	return ts_result(bad);
}

/* They are copied and pinned before memory is in use. */
static int pinned_copies(size_t (*when)(size_t (*fn)(void)))
{
	size_t bad;
	int fd;

	make();
	ts_data_write(copy, 0, NR, OF_COPY);
	fd = ts_pin_longterm(copy, NR);
	if (fd < 0) {
		unmake();
		return ts_skip("no io_uring buffers");
	}
	bad = when(fork_often);
	bad += check_copy(OF_COPY);
	bad += ts_check(mem, 0, NR, OF_FILE);
	close(fd);
	unmake();
	return ts_result(bad);
}

static int write_used(void)
{
	return copies(writes_only, ts_while_lent);
}

static int read_used(void)
{
	return copies(reads_first, ts_while_lent);
}

static int fork_used(void)
{
	return pinned_copies(ts_while_lent);
}

static int write_tight(void)
{
	return copies(writes_only, while_tight);
}

static int read_tight(void)
{
	return copies(reads_first, while_tight);
}

static int fork_tight(void)
{
	return pinned_copies(while_tight);
}

static const struct ts_case cases[] = {
	{ "write, tag storage in use", write_used, NEED },
	{ "read and write, tag storage in use", read_used, NEED },
	{ "fork of pinned copies, tag storage in use", fork_used, NEED },
	/* These set watermarks for good. */
	{ "write, data goes to tag storage", write_tight, NEED },
	{ "read and write, data goes to tag storage", read_tight, NEED },
	{ "fork of pinned copies, data goes to tag storage", fork_tight, NEED },
};

int main(void)
{
	/* Each CPU has a list of pages. */
	ts_run_on(0);
	return ts_main(cases, ARRAY_SIZE(cases));
}
