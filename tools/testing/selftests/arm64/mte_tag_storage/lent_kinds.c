// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tag storage holds base pages that can be moved and nothing else: no part of a
 * large folio and no page of the kernel itself, whatever asks for such memory
 * while tag storage is free, is emptied by compaction or looks movable.
 *
 * /proc/kpageflags tells what each page of tag storage is.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/uio.h>

#include "ts_common.h"

/* Bits as in include/uapi/linux/kernel-page-flags.h. */
enum { LRU = 5, SLAB = 7, HEAD = 15, TAIL = 16, HUGE = 17, PGTABLE = 26 };

static const unsigned long foreign = 1UL << SLAB | 1UL << HEAD | 1UL << TAIL |
				     1UL << HUGE | 1UL << PGTABLE;

#define HUGETLB			"/sys/kernel/mm/hugepages/hugepages-%zukB/nr_hugepages"
#define NEED			(TS_NEED_ROOT | TS_NEED_COUNTERS | TS_NEED_REGIONS)

/* No page of tag storage is what it must not be. */
static size_t look(const char *when)
{
	struct ts_region r[32];
	int i, fd, nr = ts_regions(r, ARRAY_SIZE(r));
	size_t found = 0, used = 0;
	unsigned long flags[512];

	fd = open("/proc/kpageflags", O_RDONLY);
	if (fd < 0)
		return ts_expect(false, "/proc/kpageflags");
	for (i = 0; i < nr; i++) {
		unsigned long pfn = r[i].tag_pfn, end = pfn + r[i].tag_pages;
		ssize_t j, got;

		for (; pfn < end; pfn += got) {
			got = end - pfn < 512 ? end - pfn : 512;
			got = pread(fd, flags, got * 8, pfn * 8) / 8;
			if (got <= 0)
				break;
			for (j = 0; j < got; j++) {
				found += !!(flags[j] & foreign);
				used += !!(flags[j] & 1UL << LRU);
			}
		}
	}
	close(fd);
	ksft_print_msg("%s: %zu pages of data in tag storage\n", when, used);
	return ts_expect(!found, "no foreign pages in tag storage, not %zu, %s",
			 found, when);
}

/*
 * Data in small folios with holes between them, in tag storage too: compaction
 * has work to do there.
 */
static void scatter(struct ts_ballast *ballast)
{
	size_t i;

	ts_ballast_fill(ballast, 64);
	for (i = 0; i + 4 <= ballast->nr; i += 4)
		madvise(ballast->mem + i * ts_psize, 2 * ts_psize,
			MADV_DONTNEED);
}

static long hugetlb(size_t kb, long want)
{
	char path[128], buf[32];

	snprintf(path, sizeof(path), HUGETLB, kb);
	snprintf(buf, sizeof(buf), "%ld", want);
	ts_write_file(path, buf);
	return ts_read_file(path, buf, sizeof(buf)) > 0 ? atol(buf) : -1;
}

/*
 * More huge pages than there can be, again and again: after compaction has failed
 * it is put off for some attempts. Return: how many there are in the end.
 */
static long compact_for(size_t kb, long before)
{
	double end = ts_now() + 5;
	long got;

	do {
		hugetlb(kb, 0);
		got = hugetlb(kb, 4096);
	} while (ts_vmstat("compact_success") == before && ts_now() < end);
	return got;
}

/*
 * Direct compaction captures what it frees for the request at hand. Other tasks
 * may compact first, so that some attempts find nothing left to do.
 */
static int direct_compaction(void)
{
	size_t kb = ts_huge_size() / 1024, bad = 0;
	long before = ts_vmstat("compact_success"), succeeded = 0, got;
	int i;

	for (i = 0; i < 5 && !succeeded && !bad; i++) {
		struct ts_ballast ballast = { };

		scatter(&ballast);
		bad += look("with scattered data");
		got = compact_for(kb, before);
		succeeded = ts_vmstat("compact_success") - before;
		ksft_print_msg("%ld huge pages, compaction succeeded %ld times\n",
			       got, succeeded);
		bad += look("with huge pages");
		hugetlb(kb, 0);
		ts_ballast_free(&ballast);
	}
	bad += ts_usually(succeeded, "compaction to succeed");
	return ts_result(bad);
}

/* Free memory that is never whole: of each @of pages a pipe holds one. */
static char *fragments(size_t nr, size_t of, int fd[2])
{
	char *mem = ts_map(nr, TS_RW, 0);
	struct iovec iov = { .iov_len = 1 };
	size_t i;

	madvise(mem, nr * ts_psize, MADV_NOHUGEPAGE);
	ts_data_write(mem, 0, nr, 1);
	if (pipe(fd) || fcntl(fd[1], F_SETPIPE_SZ, nr / of * ts_psize) < 0)
		ksft_exit_fail_msg("no pipe\n");
	for (i = 0; i < nr; i += of) {
		iov.iov_base = mem + i * ts_psize;
		if (vmsplice(fd[1], &iov, 1, 0) != 1)
			break;
		madvise(mem + (i + 1) * ts_psize, (of - 1) * ts_psize,
			MADV_DONTNEED);
	}
	return mem;
}

/*
 * All that can be compacted is tag storage: of the other memory, what is free in
 * one piece is used first, and what is left can be no part of a huge page. What
 * compaction empties is not for the request at hand.
 */
static int compacted_storage(void)
{
	size_t kb = ts_huge_size() / 1024, nr = 12288, bad;
	struct ts_ballast ballast = { };
	long before, got;
	int fd[2];
	char *mem;

	ts_lend(&ballast, 1);
	mem = fragments(nr, 64, fd);
	bad = look("with data in tag storage");
	before = ts_vmstat("compact_migrate_scanned");
	got = hugetlb(kb, 4096);
	ksft_print_msg("%ld huge pages, %ld pages looked at by compaction\n",
		       got, ts_vmstat("compact_migrate_scanned") - before);
	bad += look("with huge pages");
	hugetlb(kb, 0);
	bad += ts_lent_check(&ballast);
	close(fd[0]);
	close(fd[1]);
	ts_unmap(mem, nr);
	ts_ballast_free(&ballast);
	return ts_result(bad);
}

/* Compaction moves neither tagged pages nor large folios into tag storage. */
static int target_of_compaction(void)
{
	size_t nr = 4096, i, bad;
	long kb = 4 * ts_psize / 1024;
	char *mem;

	/* Every second one goes, so that the others are worth moving. */
	ts_thp_size(kb, true);
	mem = ts_map_huge(nr * ts_psize);
	ts_data_write(mem, 0, nr, 1);
	for (i = 0; i < nr; i += 8)
		madvise(mem + i * ts_psize, 4 * ts_psize, MADV_DONTNEED);
	ts_thp_size(kb, false);

	bad = ts_expect(ts_folio_pages(mem + 4 * ts_psize) == 4,
			"folios of %ld kB", kb);
	ts_compact();
	for (i = 4; i < nr; i += 8)
		bad += ts_data_check(mem, i, 4, 1);
	bad += look("after compaction");
	ts_unmap(mem, nr);
	return ts_result(bad);
}

/*
 * A gigantic page is taken by alloc_contig_range(), which could do that with
 * any range that looks movable.
 */
static int gigantic_pages(void)
{
	size_t kb = 16 * ts_huge_size() / 1024, bad;
	long got, total = ts_meminfo("MetadataTotal");
	char path[128], buf[8];
	char *mem;

	snprintf(path, sizeof(path), HUGETLB, kb);
	if (ts_read_file(path, buf, sizeof(buf)) <= 0)
		return ts_skip("no huge pages of %zu kB", kb);
	got = hugetlb(kb, 1024);
	ksft_print_msg("%ld huge pages of %zu kB\n", got, kb);
	bad = ts_expect(got > 0, "huge pages of %zu kB", kb);
	bad += look("with gigantic pages");
	hugetlb(kb, 0);

	/* Tag storage is still what it was. */
	bad += ts_expect(ts_meminfo("MetadataTotal") == total,
			 "MetadataTotal as before");
	mem = ts_map(2048, TS_RWT, 0);
	ts_write(mem, 0, 2048, 1);
	bad += ts_check(mem, 0, 2048, 1);
	ts_unmap(mem, 2048);
	bad += look("after gigantic pages");
	return ts_result(bad);
}

static const struct ts_case cases[] = {
	{ "direct compaction", direct_compaction, NEED },
	{ "compaction of tag storage", compacted_storage, NEED },
	{ "target of compaction", target_of_compaction, NEED | TS_NEED_THP },
	{ "gigantic pages", gigantic_pages, NEED },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
