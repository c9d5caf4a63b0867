// SPDX-License-Identifier: GPL-2.0-only
/*
 * Large folios of shared memory, of memfd and of tmpfs: written, mapped without
 * PROT_MTE and mapped with it in any order, with tag storage free, in use and
 * pinned, each page has its own data and tags, and zero tags when it is new.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <unistd.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "ts_common.h"

#define NEED	(TS_NEED_THP | TS_NEED_ROOT | TS_NEED_COUNTERS | \
		 TS_NEED_REGIONS)

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

static bool by_pmd(const char *mem)
{
	return ts_smaps(mem, "ShmemPmdMapped:") == (long)huge / 1024;
}

static size_t write_file(int fd, unsigned long seed)
{
	char *data = ts_map(nr, TS_RW, 0);
	ssize_t n;

	ts_data_write(data, 0, nr, seed);
	n = pwrite(fd, data, huge, 0);
	ts_unmap(data, nr);
	return ts_expect(n == (ssize_t)huge, "all data written");
}

/* Tagged for the first time: data is there, tags are zero, tags hold. */
static size_t now_tagged(char *mem, unsigned long seed)
{
	size_t bad;

	bad = ts_tags_zero(mem, 0, nr);
	bad += ts_data_check(mem, 0, nr, seed);
	ts_tags_write(mem, 0, nr, seed);
	return bad + ts_check(mem, 0, nr, seed);
}

/* All have their tag storage: a new mapping takes no metadata-none fault. */
static size_t mapped_anew(int fd, unsigned long seed)
{
	long faults = ts_vmstat("metadata_none_fault");
	char *mem = ts_map_fd_huge(fd, TS_RWT);
	size_t bad;

	bad = ts_check(mem, 0, nr, seed);
	bad += ts_usually(ts_vmstat("metadata_none_fault") == faults,
			  "no metadata-none fault");
	bad += ts_usually(by_pmd(mem), "to be mapped by a PMD");
	ts_unmap(mem, nr);
	return bad;
}

static size_t use(int fd)
{
	char *plain, *tagged;
	size_t bad;

	/* Written, then mapped untagged and tagged at once. */
	bad = write_file(fd, 1);
	plain = ts_map_fd_huge(fd, TS_RW);
	bad += ts_data_check(plain, 0, nr, 1);
	bad += is_large(plain);
	bad += ts_usually(by_pmd(plain), "to be mapped by a PMD");
	tagged = ts_map_fd_huge(fd, TS_RWT);
	bad += now_tagged(tagged, 1);
	bad += is_large(tagged);
	ts_data_write(plain, 0, nr, 2);
	bad += ts_tags_check(tagged, 0, nr, 1);
	bad += ts_data_check(tagged, 0, nr, 2);
	ts_tags_write(tagged, 0, nr, 2);
	bad += mapped_anew(fd, 2);

	/* System calls change the data only. */
	bad += write_file(fd, 3);
	bad += ts_tags_check(tagged, 0, nr, 2);
	bad += ts_data_check(plain, 0, nr, 3);
	ts_unmap(tagged, nr);
	ts_unmap(plain, nr);
	close(fd);
	return bad;
}

static int on_memfd(void)
{
	return ts_result(use(new_file()));
}

static int on_tmpfs(void)
{
	static const char *dir = "/tmp/shmem_huge", *file = "/tmp/shmem_huge/a";
	size_t bad;
	int fd;

	close(new_file());
	if (mkdir(dir, 0700) || mount("none", dir, "tmpfs", 0, "huge=always"))
		return ts_result(ts_expect(false, "a tmpfs of huge pages"));
	fd = open(file, O_RDWR | O_CREAT, 0600);
	bad = ts_expect(fd >= 0 && !ftruncate(fd, huge), "a file");
	bad += use(fd);
	unlink(file);
	bad += ts_expect(!umount(dir) && !rmdir(dir), "tmpfs to go");
	return ts_result(bad);
}

/* Allocated by a fault in the tagged mapping. */
static int fault_first(void)
{
	int fd = new_file();
	char *mem = ts_map_fd_huge(fd, TS_RWT);
	size_t bad;

	ts_data_write(mem, 0, nr, 1);
	bad = is_large(mem);
	bad += now_tagged(mem, 1);
	bad += mapped_anew(fd, 1);
	ts_unmap(mem, nr);
	close(fd);
	return ts_result(bad);
}

/* Mapped by a PMD, made tagged by mprotect(): one fault. */
static size_t protect_pmd(int fd)
{
	char *mem = ts_map_fd_huge(fd, TS_RW);
	size_t bad;
	long faults;

	ts_data_write(mem, 0, nr, 1);
	bad = ts_usually(by_pmd(mem), "to be mapped by a PMD");
	ts_protect(mem, 0, nr, TS_RWT);
	faults = ts_vmstat("metadata_none_fault");
	bad += now_tagged(mem, 1);
	faults = ts_vmstat("metadata_none_fault") - faults;
	bad += ts_usually(faults == 1, "one fault, not %ld", faults);
	bad += ts_usually(by_pmd(mem), "to stay mapped by a PMD");
	bad += is_large(mem);
	ts_unmap(mem, nr);
	return bad;
}

static int protect(void)
{
	int fd = new_file();
	size_t bad = protect_pmd(fd);

	close(fd);
	return ts_result(bad);
}

/* All of it with data in tag storage, which has to go. */
static size_t several_files(void)
{
	size_t bad = 0, i;
	int fd[8];

	for (i = 0; i < ARRAY_SIZE(fd); i++) {
		fd[i] = new_file();
		if (i % 2) {
			bad += protect_pmd(fd[i]);
		} else {
			char *mem = ts_map_fd_huge(fd[i], TS_RWT);

			ts_data_write(mem, 0, nr, 1);
			bad += now_tagged(mem, 1);
			ts_unmap(mem, nr);
		}
	}
	for (i = 0; i < ARRAY_SIZE(fd); i++) {
		bad += mapped_anew(fd[i], 1);
		close(fd[i]);
	}
	return bad;
}

/* Allocated by a fault in a tagged mapping: the data goes in that fault. */
static size_t several_faults(void)
{
	size_t bad = 0, i, whole = 0;
	int fd[8];

	for (i = 0; i < ARRAY_SIZE(fd); i++) {
		char *mem;

		fd[i] = new_file();
		mem = ts_map_fd_huge(fd[i], TS_RWT);
		ts_data_write(mem, 0, nr, 1);
		whole += by_pmd(mem);
		bad += now_tagged(mem, 1);
		ts_unmap(mem, nr);
	}
	for (i = 0; i < ARRAY_SIZE(fd); i++)
		close(fd[i]);
	return bad + ts_expect(whole * 2 >= i,
			       "most of %zu to be mapped by a PMD, not %zu", i,
			       whole);
}

static int storage_used(void)
{
	return ts_result(ts_while_lent(several_files) +
			 ts_while_lent(several_faults));
}

/* A pipe holds the tag storage of page @page, if that is data: it is moved. */
static size_t one_pinned(const struct ts_ballast *b, int fd, size_t page,
			 size_t *tried)
{
	char *mem = ts_map_fd_huge(fd, TS_RW), *at = mem + page * ts_psize;
	unsigned long pfn;
	size_t bad = 0;
	ssize_t lent;
	int hold[2];

	ts_data_write(mem, 0, nr, 1);
	pfn = ts_pfn(at);
	lent = ts_ballast_storage(b, pfn);
	if (lent >= 0 && ts_pin_pipe(b->mem + lent * ts_psize, hold)) {
		(*tried)++;
		ts_protect(mem, 0, nr, TS_RWT);
		bad += now_tagged(mem, 1);
		bad += ts_expect(pfn != ts_pfn(at), "the page to move");
		close(hold[0]);
		close(hold[1]);
	}
	ts_unmap(mem, nr);
	return bad;
}

/* Not all tag storage is in use: look for pages where it is. */
static int storage_pinned(void)
{
	struct ts_ballast ballast = { };
	size_t bad = 0, i, tried = 0;
	int fd[24];

	ts_lend(&ballast, 4);
	for (i = 0; i < ARRAY_SIZE(fd) && tried < 4; i++) {
		fd[i] = new_file();
		bad += one_pinned(&ballast, fd[i], tried * nr / 4, &tried);
	}
	bad += ts_expect(tried, "data in tag storage to pin");
	bad += ts_lent_check(&ballast);
	while (i--)
		close(fd[i]);
	ts_ballast_free(&ballast);
	return ts_result(bad);
}

/* Folios below a PMD, of anonymous shared memory. */
static int sizes(void)
{
	size_t bad = 0, kb, pages;
	char name[64], *mem;

	close(new_file());
	ts_thp_set("hugepages-2048kB/shmem_enabled", "never");
	for (kb = 4 * ts_psize / 1024; kb < huge / 1024; kb *= 2) {
		pages = kb * 1024 / ts_psize;
		snprintf(name, sizeof(name), "hugepages-%zukB/shmem_enabled",
			 kb);
		ts_thp_set(name, "always");
		mem = ts_map(nr, TS_RW, MAP_SHARED);
		ts_data_write(mem, 0, nr / 2, 1);
		bad += ts_usually(ts_folio_pages(mem + nr / 4 * ts_psize) == pages,
				  "folios of %zu kB", kb);
		ts_protect(mem, 1, nr - 1, TS_RWT);
		bad += ts_tags_zero(mem, 1, nr - 1);
		ts_data_write(mem, nr / 2, nr / 2, 1);
		ts_tags_write(mem, 1, nr - 1, 1);
		bad += ts_check(mem, 1, nr - 1, 1);
		ts_protect(mem, 0, nr, TS_RWT);
		bad += ts_tags_zero(mem, 0, 1);
		bad += ts_data_check(mem, 0, nr, 1);
		bad += ts_check(mem, 1, nr - 1, 1);
		ts_unmap(mem, nr);
		ts_thp_set(name, "never");
	}
	ts_thp_set("hugepages-2048kB/shmem_enabled", "inherit");
	return ts_result(bad);
}

static const struct ts_case cases[] = {
	{ "memfd, mapped both ways", on_memfd, NEED },
	{ "tmpfs, mapped both ways", on_tmpfs, NEED },
	{ "fault in a tagged mapping", fault_first, NEED },
	{ "mprotect, one fault", protect, NEED },
	{ "tag storage in use", storage_used, NEED },
	{ "tag storage of a page pinned", storage_pinned, NEED },
	{ "folios of other sizes", sizes, NEED },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
