// SPDX-License-Identifier: GPL-2.0-only
/*
 * A huge page of shared memory that gets a hole, is truncated or is split: each
 * page that stays keeps its own tags or none, and what comes in place of the
 * others has zero tags.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <unistd.h>

#include "ts_common.h"

#define NEED	(TS_NEED_THP | TS_NEED_ROOT | TS_NEED_REGIONS)

static size_t huge, nr;

static int new_file(void)
{
	huge = ts_huge_size();
	nr = huge / ts_psize;
	return ts_memfd_huge();
}

static size_t is_large(const char *mem)
{
	return ts_usually(ts_folio_pages(mem) == nr,
			  "a folio of %zu pages, not %zu", nr,
			  ts_folio_pages(mem));
}

static void punch(int fd, size_t first, size_t pages)
{
	fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		  first * ts_psize, pages * ts_psize);
}

/* Holes and a new end within the huge page: what comes there has zero tags. */
static int hole(void)
{
	int fd = new_file();
	char *mem = ts_map_fd_huge(fd, TS_RWT);
	size_t bad, i;

	ts_write(mem, 0, nr, 1);
	bad = is_large(mem);
	punch(fd, 33, 40);
	bad += ts_check(mem, 0, 33, 1);
	bad += ts_check(mem, 73, nr - 73, 1);
	bad += ts_tags_zero(mem, 33, 40);
	for (i = 33; i < 73; i++)
		bad += ts_load(mem + i * ts_psize) != 0;
	ts_write(mem, 33, 40, 1);
	bad += ts_check(mem, 0, nr, 1);

	bad += ts_expect(!ftruncate(fd, huge / 2), "the file to shrink");
	bad += ts_expect(!ftruncate(fd, huge), "the file to grow");
	bad += ts_check(mem, 0, nr / 2, 1);
	bad += ts_tags_zero(mem, nr / 2, nr / 2);

	/* And nothing of a whole one. */
	punch(fd, 0, nr);
	ts_data_write(mem, 0, nr, 2);
	bad += ts_tags_zero(mem, 0, nr);
	bad += ts_data_check(mem, 0, nr, 2);
	ts_tags_write(mem, 0, nr, 2);
	bad += ts_check(mem, 0, nr, 2);
	ts_unmap(mem, nr);
	close(fd);
	return ts_result(bad);
}

/* Split in place: each page keeps its own tags or none. */
static int split(void)
{
	size_t bad = 0, head, first, i;
	char cmd[128];

	for (head = 0; head < 2; head++) {
		int fd = new_file();
		char *mem = ts_map_fd_huge(fd, TS_RW);

		ts_data_write(mem, 0, nr, 1);
		bad += is_large(mem);
		first = head ? 0 : nr / 2;
		ts_protect(mem, first, nr / 2, TS_RWT);
		ts_tags_write(mem, first, nr / 2, 1);
		snprintf(cmd, sizeof(cmd), "%d,0x%lx,0x%lx,0", getpid(),
			 (unsigned long)mem, (unsigned long)mem + huge);
		ts_write_file("/sys/kernel/debug/split_huge_pages", cmd);
		/* Back in the page tables, to look at. */
		bad += ts_check(mem, first, nr / 2, 1);
		for (i = 0; i < nr; i++)
			ts_load(ts_ptr(mem + i * ts_psize,
				       i - first < nr / 2 ? ts_tag(1, i, 0) : 0));
		bad += ts_usually(ts_folio_pages(mem) == 1, "small pages");
		ts_protect(mem, 0, nr, TS_RWT);
		bad += ts_check(mem, first, nr / 2, 1);
		bad += ts_tags_zero(mem, nr / 2 - first, nr / 2);
		bad += ts_data_check(mem, 0, nr, 1);
		ts_unmap(mem, nr);
		close(fd);
	}
	return ts_result(bad);
}

static const struct ts_case cases[] = {
	{ "hole and truncate", hole, NEED },
	{ "split", split, NEED },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
