// SPDX-License-Identifier: GPL-2.0-only
/*
 * userfaultfd on tagged memory: pages that it copies, fills with zero, maps or
 * moves in have the right data and tags, whether their tag storage is free or in
 * use as data, also where they wait for it and lie in lent tag storage themselves;
 * and write protection by it, or by PAGEMAP_SCAN for it, survives that wait.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <linux/fs.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

#include "ts_common.h"

#define NR		256
#define SEED		1

static struct ts_uffd uffd;

static bool can(unsigned long features)
{
	char *mem = ts_map(1, TS_RWT, 0);
	bool ret;

	ret = ts_uffd_open(&uffd, mem, 1, UFFDIO_REGISTER_MODE_MISSING,
			   features);
	if (ret)
		close(uffd.fd);
	ts_unmap(mem, 1);
	return ret;
}

static int cannot(void)
{
	return ts_skip("no userfaultfd with this feature");
}

static int move_in(char *to, char *from, size_t nr)
{
	struct uffdio_move arg = {
		.dst = (unsigned long)to,
		.src = (unsigned long)from,
		.len = nr * ts_psize,
	};

	int ret;

	/* Locked for a moment. */
	do {
		arg.move = 0;
		ret = ioctl(uffd.fd, UFFDIO_MOVE, &arg) ? errno : 0;
	} while (ret == EAGAIN && arg.move <= 0);
	return ret;
}

/* UFFDIO_COPY takes the data, and not the tags, of its source. */
static size_t copied(void)
{
	char *mem = ts_map(NR, TS_RWT, 0);
	size_t bad = 0;

	uffd.source = ts_map(NR, TS_RWT, 0);
	ts_data_write(uffd.source, 0, NR, SEED);
	ts_uffd_open(&uffd, mem, NR, UFFDIO_REGISTER_MODE_MISSING, 0);
	bad += ts_expect(!ts_uffd_copy(&uffd, 0, NR - 20), "UFFDIO_COPY");
	bad += ts_data_check(mem, 0, NR - 20, SEED);
	bad += ts_tags_zero(mem, 0, NR - 20);
	ts_tags_write(mem, 0, NR - 20, SEED);

	/* The rest on demand, the first access to some being to a tag. */
	ts_uffd_start(&uffd);
	ts_tags_write(mem, NR - 20, 10, SEED);
	bad += ts_data_check(mem, 0, NR, SEED);
	ts_uffd_stop(&uffd);
	bad += ts_expect(uffd.events == 20, "20 events, not %zu", uffd.events);
	bad += ts_tags_zero(mem, NR - 10, 10);
	bad += ts_check(mem, 0, NR - 10, SEED);
	close(uffd.fd);
	ts_unmap(uffd.source, NR);
	ts_unmap(mem, NR);
	return bad;
}

static int copy(void)
{
	return can(0) ? ts_result(copied()) : cannot();
}

static size_t zeroed(void)
{
	char *mem = ts_map(NR, TS_RWT, 0);
	size_t bad = 0;

	ts_uffd_open(&uffd, mem, NR, UFFDIO_REGISTER_MODE_MISSING, 0);
	bad += ts_expect(!ts_uffd_zero(&uffd, 0, NR), "UFFDIO_ZEROPAGE");
	bad += ts_tags_zero(mem, 0, NR);
	bad += ts_data_zero(mem, 0, NR);
	ts_write(mem, 0, NR, SEED);
	bad += ts_check(mem, 0, NR, SEED);
	close(uffd.fd);
	ts_unmap(mem, NR);
	return bad;
}

static int zeropage(void)
{
	return can(0) ? ts_result(zeroed()) : cannot();
}

/* A page of a file, written before and never tagged, is mapped tagged. */
static int minor(void)
{
	int fd = memfd_create("minor", 0);
	char *mem, *plain;
	size_t bad = 0;

	if (fd < 0 || ftruncate(fd, NR * ts_psize))
		return ts_skip("no memfd");
	plain = mmap(NULL, NR * ts_psize, TS_RW, MAP_SHARED, fd, 0);
	mem = mmap(NULL, NR * ts_psize, TS_RWT, MAP_SHARED, fd, 0);
	ts_data_write(plain, 0, NR, SEED);
	if (!ts_uffd_open(&uffd, mem, NR, UFFDIO_REGISTER_MODE_MINOR,
			  UFFD_FEATURE_MINOR_SHMEM))
		return cannot();
	bad += ts_expect(!ts_uffd_continue(&uffd, 0, NR, 0), "UFFDIO_CONTINUE");
	bad += ts_none_touch(mem, 0, NR, SEED);
	bad += ts_data_check(plain, 0, NR, SEED);
	close(uffd.fd);
	ts_unmap(mem, NR);
	ts_unmap(plain, NR);
	close(fd);
	return ts_result(bad);
}

/* The protection outlasts the access that gets the page its storage. */
static size_t check_wp(char *mem, size_t nr)
{
	size_t bad, wp;

	wp = ts_uffd_protected(mem, 0, nr);
	bad = ts_expect(wp == nr, "%zu pages protected, not %zu", nr, wp);
	bad += ts_data_check(mem, 0, nr, SEED);
	bad += ts_tags_zero(mem, 0, nr);
	wp = ts_uffd_protected(mem, 0, nr);
	bad += ts_expect(wp == nr, "%zu pages still protected, not %zu", nr, wp);

	/* The first write to each page is told, be it of a tag. */
	ts_uffd_start(&uffd);
	ts_tags_write(mem, 0, 10, SEED);
	ts_data_write(mem, 10, 10, SEED);
	ts_uffd_stop(&uffd);
	bad += ts_expect(uffd.events == 20, "20 events, not %zu", uffd.events);
	wp = ts_uffd_protected(mem, 0, nr);
	bad += ts_expect(wp == nr - 20, "%zu pages protected, not %zu",
			 nr - 20, wp);
	ts_uffd_protect(&uffd, 0, nr, false);
	ts_tags_write(mem, 10, nr - 10, SEED);
	return bad + ts_check(mem, 0, nr, SEED);
}

/* Pages are protected that wait already, or wait when they are protected. */
static int wp(void)
{
	size_t bad = 0;
	char *mem;
	int i;

	for (i = 0; i < 2; i++) {
		mem = i ? ts_map(NR, TS_RW, 0) : ts_map_none(NR, SEED);
		if (!ts_uffd_open(&uffd, mem, NR, UFFDIO_REGISTER_MODE_WP, 0))
			return cannot();
		if (i)
			ts_data_write(mem, 0, NR, SEED);
		bad += ts_expect(!ts_uffd_protect(&uffd, 0, NR, true),
				 "write protection");
		if (i)
			ts_protect(mem, 0, NR, TS_RWT);
		bad += check_wp(mem, NR);
		close(uffd.fd);
		ts_unmap(mem, NR);
	}
	return ts_result(bad);
}

static int wp_huge(void)
{
	size_t nr = ts_huge_size() / ts_psize, bad = 0;
	char *mem = ts_map_none_huge(SEED);

	if (!mem)
		return ts_skip("got no huge page");
	if (!ts_uffd_open(&uffd, mem, nr, UFFDIO_REGISTER_MODE_WP, 0))
		return cannot();
	bad += ts_expect(!ts_uffd_protect(&uffd, 0, nr, true),
			 "write protection");
	bad += ts_expect(ts_is_huge(mem), "the page to stay huge");
	bad += check_wp(mem, nr);
	close(uffd.fd);
	ts_unmap(mem, nr);
	return ts_result(bad);
}

/* Removed again before the first access; and again set, and swapped. */
static int wp_undone(void)
{
	char *mem = ts_map_none(NR, SEED);
	size_t bad = 0;

	if (!ts_uffd_open(&uffd, mem, NR, UFFDIO_REGISTER_MODE_WP, 0))
		return cannot();
	bad += ts_expect(!ts_uffd_protect(&uffd, 0, NR, true),
			 "write protection");
	bad += ts_expect(!ts_uffd_protect(&uffd, 0, NR, false),
			 "write protection to end");
	bad += ts_expect(!ts_uffd_protected(mem, 0, NR), "no page protected");
	bad += ts_none_touch(mem, 0, NR, SEED);
	close(uffd.fd);
	ts_unmap(mem, NR);

	mem = ts_map_none(NR, SEED);
	if (!ts_uffd_open(&uffd, mem, NR, UFFDIO_REGISTER_MODE_WP, 0))
		return cannot();
	bad += ts_expect(!ts_uffd_protect(&uffd, 0, NR, true),
			 "write protection");
	bad += ts_expect(ts_pageout(mem, 0, NR) > NR / 2, "pages swapped out");
	bad += check_wp(mem, NR);
	close(uffd.fd);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

/*
 * PAGEMAP_SCAN finds these ranges of pages that were written to, each by its
 * first page and the one behind, and no others; and protects them.
 */
static size_t expect_written(char *mem, size_t nr, const size_t *want,
			     long ranges)
{
	const unsigned long categories = PAGE_IS_PRESENT | PAGE_IS_WRITTEN;
	struct page_region region[4] = { };
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
		.start = (unsigned long)mem,
		.end = (unsigned long)mem + nr * ts_psize,
		.vec = (unsigned long)region,
		.vec_len = ARRAY_SIZE(region),
		.category_mask = categories,
		.return_mask = categories,
	};
	int fd = open("/proc/self/pagemap", O_RDONLY);
	long n = ioctl(fd, PAGEMAP_SCAN, &arg), i;
	size_t bad;

	close(fd);
	bad = ts_expect(n == ranges, "%ld ranges written to, not %ld", ranges,
			n);
	for (i = 0; i < ranges && !bad; i++) {
		size_t first = (region[i].start - arg.start) / ts_psize;
		size_t end = (region[i].end - arg.start) / ts_psize;

		bad += ts_expect(first == want[2 * i] && end == want[2 * i + 1],
				 "pages %zu to %zu, not %zu to %zu",
				 want[2 * i], want[2 * i + 1], first, end);
		bad += ts_expect(region[i].categories == categories,
				 "present and written, is %llx",
				 (unsigned long long)region[i].categories);
	}
	return bad;
}

/* Pages that wait are seen, and protected, and wait on. */
static size_t check_scan(char *mem, size_t nr)
{
	static const size_t some[] = { 0, 10, 20, 30 };
	const size_t all[] = { 0, nr }, rest[] = { 10, nr };
	long faults;
	size_t bad, wp;

	bad = expect_written(mem, nr, all, 1);
	bad += expect_written(mem, nr, NULL, 0);
	wp = ts_uffd_protected(mem, 0, nr);
	bad += ts_expect(wp == nr, "%zu pages protected, not %zu", nr, wp);

	/* The first access is a write, of a tag or of data. */
	faults = ts_vmstat("metadata_none_fault");
	ts_tags_write(mem, 0, 10, SEED);
	ts_data_write(mem, 20, 10, SEED + 1);
	if (faults >= 0)
		bad += ts_expect(ts_vmstat("metadata_none_fault") > faults,
				 "pages that wait for their storage");
	bad += expect_written(mem, nr, some, 2);

	/* To get storage, and to be read, is no write. */
	bad += ts_tags_zero(mem, 10, nr - 10);
	bad += ts_data_check(mem, 0, 20, SEED);
	bad += ts_data_check(mem, 20, 10, SEED + 1);
	bad += ts_data_check(mem, 30, nr - 30, SEED);
	bad += expect_written(mem, nr, NULL, 0);
	ts_data_write(mem, 20, 10, SEED);
	ts_tags_write(mem, 10, nr - 10, SEED);
	bad += expect_written(mem, nr, rest, 1);
	return bad + ts_check(mem, 0, nr, SEED);
}

static bool begin_async(char *mem, size_t nr)
{
	return ts_uffd_open(&uffd, mem, nr, UFFDIO_REGISTER_MODE_WP,
			    UFFD_FEATURE_WP_ASYNC);
}

static int wp_async(void)
{
	char *mem = ts_map_none(NR, SEED);
	size_t bad;

	if (!begin_async(mem, NR))
		return cannot();
	bad = check_scan(mem, NR);
	close(uffd.fd);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

/* A huge page, whole, and half of one, which splits its mapping. */
static int wp_async_huge(void)
{
	size_t nr = ts_huge_size() / ts_psize, bad = 0, i;

	for (i = 1; i <= 2; i++) {
		char *mem = ts_map_none_huge(SEED);

		if (!mem)
			return ts_skip("got no huge page");
		if (!begin_async(mem, nr))
			return cannot();
		bad += check_scan(mem, nr / i);
		bad += ts_data_check(mem, 0, nr, SEED);
		bad += ts_tags_zero(mem, nr / i, nr - nr / i);
		close(uffd.fd);
		ts_unmap(mem, nr);
	}
	return ts_result(bad);
}

/* Pages in @from, tagged or waiting, are moved; nothing stays behind. */
static size_t moved(char *from, size_t nr, bool waits)
{
	char *raw = ts_map(nr + ts_huge_size() / ts_psize, TS_RWT, 0), *to = raw;
	size_t huge = ts_huge_size(), bad;
	int ret;

	if (huge)
		to = (char *)(((unsigned long)to + huge - 1) & ~(huge - 1));
	ts_uffd_open(&uffd, to, nr, UFFDIO_REGISTER_MODE_MISSING,
		     UFFD_FEATURE_MOVE);
	ret = move_in(to, from, nr);
	bad = ts_expect(!ret, "UFFDIO_MOVE to succeed, not %d", ret);
	close(uffd.fd);
	if (!bad && waits)
		bad += ts_none_touch(to, 0, nr, SEED);
	else if (!bad)
		bad += ts_check(to, 0, nr, SEED);
	bad += ts_expect(!ts_load(from), "nothing to be left");
	bad += ts_tags_zero(from, 0, nr);
	ts_unmap(from, nr);
	ts_unmap(raw, nr + huge / ts_psize);
	return bad;
}

static size_t small_moved(void)
{
	char *mem = ts_map(NR, TS_RWT, 0);
	size_t bad;

	ts_write(mem, 0, NR, SEED);
	bad = moved(mem, NR, false);
	bad += moved(ts_map_none(NR, SEED), NR, true);
	return bad;
}

static int move(void)
{
	return can(UFFD_FEATURE_MOVE) ? ts_result(small_moved()) : cannot();
}

/* @none is a huge page that waits. */
static size_t huge_moved(char *none)
{
	size_t size = ts_huge_size(), nr = size / ts_psize, bad;
	char *mem;

	bad = moved(none, nr, true);
	mem = ts_map_huge(size);
	ts_protect(mem, 0, nr, TS_RWT);
	ts_write(mem, 0, nr, SEED);
	bad += moved(mem, nr, false);
	return bad;
}

static int move_huge(void)
{
	char *none = ts_map_none_huge(SEED);

	if (!none)
		return ts_skip("got no huge page");
	return ts_result(huge_moved(none));
}

/* Of these, pages up to @tagged have tags, the others have not. */
static size_t check_part(char *mem, size_t first, size_t end, size_t tagged)
{
	size_t bad = ts_data_check(mem, first, end - first, SEED);

	for (; first < end; first++)
		bad += first < tagged ? ts_tags_check(mem, first, 1, SEED) :
					ts_tags_zero(mem, first, 1);
	return bad;
}

/*
 * The middle of @nr waiting pages, of which the first @tagged were accessed, is
 * moved; what is left on both sides stays as it is.
 */
static size_t part_moved(char *from, size_t nr, size_t tagged)
{
	size_t first = nr / 4 + 1, end = 3 * nr / 4 + 1, bad;
	char *to = ts_map(nr, TS_RWT, 0);
	long faults;
	int ret;

	ts_tags_write(from, 0, tagged, SEED);
	ts_uffd_open(&uffd, to, nr, UFFDIO_REGISTER_MODE_MISSING,
		     UFFD_FEATURE_MOVE);
	ret = move_in(to + first * ts_psize, from + first * ts_psize,
		      end - first);
	bad = ts_expect(!ret, "UFFDIO_MOVE to succeed, not %d", ret);
	faults = ts_vmstat("metadata_none_fault");
	/* Who is not moved waits for a page without end. */
	if (!ret)
		bad += check_part(to, first, end, tagged);
	if (faults >= 0 && !tagged)
		bad += ts_expect(ts_vmstat("metadata_none_fault") > faults,
				 "pages to wait for their storage as before");
	bad += check_part(from, 0, first, tagged);
	bad += check_part(from, end, nr, tagged);
	bad += ts_expect(!ts_load(from + first * ts_psize),
			 "nothing to be left");
	bad += ts_tags_zero(from, first, end - first);
	close(uffd.fd);
	ts_unmap(from, nr);
	ts_unmap(to, nr);
	return bad;
}

static size_t small_parts_moved(void)
{
	size_t bad = 0, i;

	for (i = 0; i <= 2; i++)
		bad += part_moved(ts_map_none(NR, SEED), NR, i * NR / 2);
	return bad;
}

static int move_part(void)
{
	if (!can(UFFD_FEATURE_MOVE))
		return cannot();
	return ts_result(small_parts_moved());
}

static int move_part_huge(void)
{
	size_t nr = ts_huge_size() / ts_psize, bad = 0, i;

	if (!can(UFFD_FEATURE_MOVE))
		return cannot();
	for (i = 0; i <= 2; i++) {
		char *mem = ts_map_none_huge(SEED);

		if (!mem)
			return ts_skip("got no huge page");
		bad += part_moved(mem, nr, i * nr / 2);
	}
	return ts_result(bad);
}

static size_t way_move_part(void)
{
	return can(UFFD_FEATURE_MOVE) ? small_parts_moved() : 0;
}

static size_t way_move(void)
{
	return can(UFFD_FEATURE_MOVE) ? small_moved() : 0;
}

/* Memory may have none that is whole. */
static size_t way_move_huge(void)
{
	char *none = NULL;

	if (!ts_missing(TS_NEED_THP) && can(UFFD_FEATURE_MOVE))
		none = ts_map_none_huge(SEED);
	return none ? huge_moved(none) : 0;
}

static size_t all_ways(void)
{
	static const struct ts_way way[] = {
		{ "UFFDIO_COPY", copied },
		{ "UFFDIO_ZEROPAGE", zeroed },
		{ "UFFDIO_MOVE", way_move },
		{ "UFFDIO_MOVE of a part", way_move_part },
		{ "UFFDIO_MOVE of a huge page", way_move_huge },
	};

	return ts_all_ways(way, ARRAY_SIZE(way));
}

static int storage_used(void)
{
	return can(0) ? ts_result(ts_while_lent(all_ways)) : cannot();
}

/* Pages that lie in tag storage, and wait. */
static char *map_none_in_storage(struct ts_ballast *ballast)
{
	char *mem;

	/* The free pages of one CPU. */
	ts_run_on(0);
	ts_ballast_near(ballast);
	mem = ts_map_none(NR, SEED);
	ts_mostly_lent(mem, NR);
	return mem;
}

/* The first access to each page of these moves it. */
static size_t moves_out(const char *mem)
{
	return ts_expect(!ts_in_storage(mem, NR),
			 "no tagged page in tag storage");
}

/* To move out is no write, and the new place is as protected as the old one. */
static int wp_in_storage(void)
{
	struct ts_ballast ballast = { };
	size_t bad = 0, i;

	if (!can(UFFD_FEATURE_PAGEFAULT_FLAG_WP))
		return cannot();
	for (i = 0; i < 2; i++) {
		char *mem = map_none_in_storage(&ballast);

		ts_uffd_open(&uffd, mem, NR, UFFDIO_REGISTER_MODE_WP, 0);
		bad += ts_expect(!ts_uffd_protect(&uffd, 0, NR, true),
				 "write protection");
		/* Undone before the first access, and not. */
		if (i) {
			bad += ts_expect(!ts_uffd_protect(&uffd, 0, NR, false),
					 "write protection to end");
			bad += ts_none_touch(mem, 0, NR, SEED);
		} else {
			bad += check_wp(mem, NR);
		}
		bad += moves_out(mem);
		close(uffd.fd);
		ts_unmap(mem, NR);
	}
	ts_ballast_free(&ballast);
	return ts_result(bad);
}

static int wp_async_in_storage(void)
{
	struct ts_ballast ballast = { };
	size_t bad;
	char *mem;

	if (!can(UFFD_FEATURE_WP_ASYNC))
		return cannot();
	mem = map_none_in_storage(&ballast);
	begin_async(mem, NR);
	bad = check_scan(mem, NR);
	bad += moves_out(mem);
	close(uffd.fd);
	ts_unmap(mem, NR);
	ts_ballast_free(&ballast);
	return ts_result(bad);
}

/* Moved in the address space they are the same pages, and wait on. */
static int move_in_storage(void)
{
	struct ts_ballast ballast = { };
	char *from, *to;
	size_t bad, in;
	int ret;

	if (!can(UFFD_FEATURE_MOVE))
		return cannot();
	to = ts_map(NR, TS_RWT, 0);
	from = map_none_in_storage(&ballast);
	in = ts_in_storage(from, NR);
	ts_uffd_open(&uffd, to, NR, UFFDIO_REGISTER_MODE_MISSING,
		     UFFD_FEATURE_MOVE);
	ret = move_in(to, from, NR);
	bad = ts_expect(!ret, "UFFDIO_MOVE to succeed, not %d", ret);
	ts_usually(ts_in_storage(to, NR) == in,
		   "%zu pages still in tag storage, not %zu", in,
		   ts_in_storage(to, NR));
	close(uffd.fd);
	bad += ts_none_touch(to, 0, NR, SEED);
	bad += moves_out(to);
	bad += ts_tags_zero(from, 0, NR);
	bad += ts_expect(!ts_load(from), "nothing to be left");
	ts_unmap(from, NR);
	ts_unmap(to, NR);
	ts_ballast_free(&ballast);
	return ts_result(bad);
}

/* A part of them is moved, which then ends where tagged pages are. */
static int move_part_in_storage(void)
{
	struct ts_ballast ballast = { };
	size_t bad = 0, i;

	if (!can(UFFD_FEATURE_MOVE))
		return cannot();
	for (i = 0; i <= 2; i++)
		bad += part_moved(map_none_in_storage(&ballast), NR,
				  i * NR / 2);
	ts_ballast_free(&ballast);
	return ts_result(bad);
}

/*
 * Pages that are there are not replaced by what is copied or zeroed in, and
 * wait on. What comes to their place when they have gone is for a tagged
 * mapping, so lies elsewhere.
 */
static int fill_in_storage(void)
{
	struct ts_ballast ballast = { };
	size_t bad, in;
	char *mem;

	if (!can(0))
		return cannot();
	mem = map_none_in_storage(&ballast);
	in = ts_in_storage(mem, NR);
	uffd.source = ts_map(NR, TS_RW, 0);
	ts_data_write(uffd.source, 0, NR, 2);
	ts_uffd_open(&uffd, mem, NR, UFFDIO_REGISTER_MODE_MISSING, 0);
	bad = ts_expect(ts_uffd_copy(&uffd, 0, NR) == EEXIST,
			"UFFDIO_COPY to refuse");
	bad += ts_expect(ts_uffd_zero(&uffd, 0, NR / 2) == EEXIST,
			 "UFFDIO_ZEROPAGE to refuse");
	ts_usually(ts_in_storage(mem, NR) == in,
		   "%zu pages still in tag storage, not %zu", in,
		   ts_in_storage(mem, NR));
	bad += ts_none_touch(mem, 0, NR, SEED);
	bad += moves_out(mem);

	madvise(mem, NR * ts_psize, MADV_DONTNEED);
	ts_ballast_near(&ballast);
	bad += ts_expect(!ts_uffd_zero(&uffd, 0, NR / 2), "UFFDIO_ZEROPAGE");
	bad += ts_expect(!ts_uffd_copy(&uffd, NR / 2, NR / 2), "UFFDIO_COPY");
	bad += moves_out(mem);
	bad += ts_tags_zero(mem, 0, NR);
	bad += ts_data_check(mem, NR / 2, NR / 2, 2);
	bad += ts_data_zero(mem, 0, NR / 2);
	ts_write(mem, 0, NR, 3);
	bad += ts_check(mem, 0, NR, 3);
	close(uffd.fd);
	ts_unmap(uffd.source, NR);
	ts_unmap(mem, NR);
	ts_ballast_free(&ballast);
	return ts_result(bad);
}

/* Where the one side is tagged and the other is not, nothing is moved. */
static int move_refused(void)
{
	char *plain = ts_map(NR, TS_RW, 0), *mem = ts_map(NR, TS_RWT, 0);
	size_t bad = 0;
	int ret;

	ts_write(mem, 0, NR, SEED);
	if (!ts_uffd_open(&uffd, plain, NR, UFFDIO_REGISTER_MODE_MISSING,
			  UFFD_FEATURE_MOVE))
		return cannot();
	ret = move_in(plain, mem, NR);
	bad += ts_expect(ret == EINVAL, "UFFDIO_MOVE to fail, not %d", ret);
	bad += ts_check(mem, 0, NR, SEED);
	close(uffd.fd);
	ts_unmap(mem, NR);
	ts_unmap(plain, NR);
	return ts_result(bad);
}

#define NEED_STORAGE	(TS_NEED_ROOT | TS_NEED_COUNTERS | TS_NEED_REGIONS)

static const struct ts_case cases[] = {
	{ "UFFDIO_COPY", copy, TS_NEED_ROOT },
	{ "UFFDIO_ZEROPAGE", zeropage, TS_NEED_ROOT },
	{ "UFFDIO_CONTINUE", minor, TS_NEED_ROOT },
	{ "UFFDIO_WRITEPROTECT", wp, TS_NEED_ROOT },
	{ "UFFDIO_WRITEPROTECT of a huge page", wp_huge,
	  TS_NEED_ROOT | TS_NEED_THP },
	{ "UFFDIO_WRITEPROTECT undone, and swapped", wp_undone,
	  TS_NEED_ROOT | TS_NEED_SWAP },
	{ "PAGEMAP_SCAN that protects", wp_async, TS_NEED_ROOT },
	{ "PAGEMAP_SCAN that protects a huge page", wp_async_huge,
	  TS_NEED_ROOT | TS_NEED_THP },
	{ "UFFDIO_MOVE", move, TS_NEED_ROOT },
	{ "UFFDIO_MOVE of a part", move_part, TS_NEED_ROOT },
	{ "UFFDIO_MOVE of a huge page", move_huge, TS_NEED_ROOT | TS_NEED_THP },
	{ "UFFDIO_MOVE of a part of a huge page", move_part_huge,
	  TS_NEED_ROOT | TS_NEED_THP },
	{ "UFFDIO_MOVE between tagged and not", move_refused, TS_NEED_ROOT },
	{ "UFFDIO_WRITEPROTECT of pages in tag storage", wp_in_storage,
	  NEED_STORAGE },
	{ "PAGEMAP_SCAN that protects pages in tag storage",
	  wp_async_in_storage, NEED_STORAGE },
	{ "UFFDIO_MOVE of pages in tag storage", move_in_storage,
	  NEED_STORAGE },
	{ "UFFDIO_MOVE of a part of pages in tag storage",
	  move_part_in_storage, NEED_STORAGE },
	{ "UFFDIO_COPY and UFFDIO_ZEROPAGE on pages in tag storage",
	  fill_in_storage, NEED_STORAGE },
	{ "tag storage in use", storage_used, NEED_STORAGE },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
