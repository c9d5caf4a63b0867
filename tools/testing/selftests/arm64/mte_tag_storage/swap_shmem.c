// SPDX-License-Identifier: GPL-2.0-only
/*
 * Shared memory in swap: whoever brings a page back, by a tagged mapping, an
 * untagged one or a system call, its tags come with it, once, and stay with the
 * file.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>

#include "ts_common.h"

#define NR	256
#define LARGE_NR	1024
#define TIMEOUT	120
#define DISK_NR	(32UL << 20 >> 12)

static char *tagged, *plain;
static int fd;

/* A file with data and tags, mapped both ways, and nothing mapped in yet. */
static void new_file(void)
{
	fd = ts_memfd(NR * ts_psize);
	tagged = ts_map_fd(fd, NR * ts_psize, TS_RWT, MAP_SHARED);
	plain = ts_map_fd(fd, NR * ts_psize, TS_RW, MAP_SHARED);
}

static void end_file(void)
{
	ts_unmap(tagged, NR);
	ts_unmap(plain, NR);
	close(fd);
}

/* Pages of the file that are not in memory. */
static size_t not_in_memory(void)
{
	return NR - ts_in_memory(plain, NR);
}

/* Out, from where they are mapped once. */
static size_t out(void)
{
	size_t swapped = 0;
	int i;

	madvise(plain, NR * ts_psize, MADV_DONTNEED);
	madvise(tagged, NR * ts_psize, MADV_POPULATE_READ);
	for (i = 0; i < 10 && swapped < NR; i++) {
		madvise(tagged, NR * ts_psize, MADV_PAGEOUT);
		swapped = not_in_memory();
	}
	return ts_expect(swapped > NR / 2, "most of %d pages in swap, not %zu",
			 NR, swapped);
}

static size_t get_out(unsigned long seed)
{
	new_file();
	ts_write(tagged, 0, NR, seed);
	return out();
}

static int by_tagged(void)
{
	size_t bad = get_out(1);

	bad += ts_check(tagged, 0, NR, 1);
	bad += out();
	bad += ts_check(tagged, 0, NR, 1);
	bad += ts_data_check(plain, 0, NR, 1);
	end_file();
	return ts_result(bad);
}

/* In by the untagged mapping, out again, and only then looked at. */
static int by_plain(void)
{
	size_t bad = get_out(1);

	bad += ts_data_check(plain, 0, NR, 1);
	bad += ts_check(tagged, 0, NR, 1);
	bad += out();
	/* Written to by the untagged mapping: the tags stay. */
	ts_data_write(plain, 0, NR, 1);
	madvise(plain, NR * ts_psize, MADV_PAGEOUT);
	bad += ts_check(tagged, 0, NR, 1);
	end_file();
	return ts_result(bad);
}

/* Both mappings at the same time, each page by both. */
static int reader(void *arg)
{
	(void)arg;
	return ts_data_check(plain, 0, NR, 1) != 0;
}

static int by_both(void)
{
	size_t bad = 0, round;

	new_file();
	ts_write(tagged, 0, NR, 1);
	for (round = 0; round < 3; round++) {
		pid_t pid[2];
		size_t i;

		bad += out();
		for (i = 0; i < ARRAY_SIZE(pid); i++) {
			pid[i] = fork();
			if (!pid[i])
				_exit(reader(NULL));
		}
		bad += ts_check(tagged, 0, NR, 1);
		for (i = 0; i < ARRAY_SIZE(pid); i++)
			bad += ts_expect(!ts_wait(pid[i], TIMEOUT),
					 "child to end with 0");
		bad += ts_check(tagged, 0, NR, 1);
	}
	end_file();
	return ts_result(bad);
}

/* System calls bring pages in, one by one. */
static int by_call(void)
{
	size_t bad = get_out(1), i;
	unsigned long word;

	for (i = 0; i < NR; i++) {
		off_t pos = i * ts_psize + 64;

		if (i % 2) {
			bad += pread(fd, &word, 8, pos) != 8;
			bad += word != ts_word(1, i, 8);
		} else {
			word = ts_word(1, i, 8);
			bad += pwrite(fd, &word, 8, pos) != 8;
		}
	}
	bad += ts_check(tagged, 0, NR, 1);
	end_file();
	return ts_result(bad);
}

/* Untagged when it went out, and tagged when it is back. */
static int tagged_later(void)
{
	size_t bad, i;

	new_file();
	ts_data_write(plain, 0, NR, 1);
	for (i = 0; i < 10 && not_in_memory() < NR; i++)
		madvise(plain, NR * ts_psize, MADV_PAGEOUT);
	bad = ts_expect(not_in_memory() > NR / 2, "most pages in swap");
	bad += ts_tags_zero(tagged, 0, NR);
	bad += ts_data_check(tagged, 0, NR, 1);
	end_file();
	return ts_result(bad);
}

/* Nothing remains of pages that are punched out while they are in swap. */
static int punched(void)
{
	size_t bad = get_out(1), i;

	for (i = 0; i < NR; i += 8)
		bad += !!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				   i * ts_psize, 4 * ts_psize);
	for (i = 0; i < NR; i += 8) {
		bad += ts_tags_zero(tagged, i, 4);
		bad += ts_check(tagged, i + 4, 4, 1);
	}
	end_file();
	return ts_result(bad);
}

/* A private copy has the tags of the page that it is made of. */
static int copied(void)
{
	size_t bad = get_out(1);
	char *copy;

	copy = mmap(NULL, NR * ts_psize, TS_RWT, MAP_PRIVATE, fd, 0);
	if (copy == MAP_FAILED)
		ksft_exit_fail_msg("mmap of a memfd failed\n");
	ts_data_write(copy, 0, NR, 2);
	bad += ts_tags_check(copy, 0, NR, 1);
	ts_tags_write(copy, 0, NR, 2);
	bad += ts_pageout(copy, 0, NR) < NR / 2;
	bad += ts_check(copy, 0, NR, 2);
	bad += ts_check(tagged, 0, NR, 1);
	ts_unmap(copy, NR);
	end_file();
	return ts_result(bad);
}

/* swapoff() finds the pages by their file. */
static int off(void)
{
	size_t bad;
	int i;

	if (!ts_disk_on(DISK_NR))
		return KSFT_FAIL;
	new_file();
	ts_write(tagged, 0, NR, 1);
	for (i = 0; i < 10 && ts_in_memory(plain, NR) > NR / 4; i++) {
		madvise(tagged, NR * ts_psize, MADV_PAGEOUT);
		usleep(20 * 1000);
	}
	ts_swap_uncache(plain, NR, NR / 4);
	bad = ts_expect(not_in_memory() > NR / 2, "most pages in swap");
	bad += ts_expect(ts_disk_off(), "swapoff() to succeed");
	bad += ts_expect(!not_in_memory(), "no page in swap");
	bad += ts_check(tagged, 0, NR, 1);
	bad += ts_data_check(plain, 0, NR, 1);
	end_file();
	return ts_result(bad);
}

/* Large folios, where tmpfs has them; they may come in parts. */
static int large(void)
{
	static const char * const sizes[] = { "64", "2048" };
	char name[64];
	size_t bad = 0, i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		long before = ts_thp_stat(atoi(sizes[i]), "shmem_alloc");

		snprintf(name, sizeof(name), "hugepages-%skB/shmem_enabled",
			 sizes[i]);
		ts_thp_set(name, "always");
		fd = -1;
		tagged = mmap(NULL, LARGE_NR * ts_psize, TS_RWT,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (tagged == MAP_FAILED)
			ksft_exit_fail_msg("mmap failed\n");
		ts_write(tagged, 0, LARGE_NR, i);
		before = ts_thp_stat(atoi(sizes[i]), "shmem_alloc") - before;
		bad += ts_expect(before > 0, "folios of %s kB", sizes[i]);
		madvise(tagged, LARGE_NR * ts_psize, MADV_PAGEOUT);
		madvise(tagged, LARGE_NR * ts_psize, MADV_PAGEOUT);
		plain = tagged;
		bad += ts_expect(not_in_memory() > NR / 2, "most pages in swap");
		bad += ts_check(tagged, 0, LARGE_NR, i);
		ts_unmap(tagged, LARGE_NR);
		ts_thp_set(name, "never");
	}
	return ts_result(bad);
}

/* Pages of another file, nearly as many as fit into what is free of tag storage. */
static char *lent;
static size_t nr_lent;

static size_t lend_file(void)
{
	struct ts_ballast ballast = { };

	ts_ballast_near(&ballast);
	nr_lent = ts_vmstat("nr_free_metadata") - NR;
	lent = ts_map(nr_lent, TS_RW, MAP_SHARED);
	ts_data_write(lent, 0, nr_lent, 2);
	ts_ballast_free(&ballast);
	ts_drain();
	return ts_usually(ts_in_storage(lent, nr_lent) > nr_lent * 3 / 4,
			  "them to be in tag storage");
}

/* A block device of the file, or -1. */
static int loop_device(void)
{
	int control = open("/dev/loop-control", O_RDWR), loop;
	char path[32];

	snprintf(path, sizeof(path), "/dev/loop%d",
		 ioctl(control, LOOP_CTL_GET_FREE));
	close(control);
	loop = open(path, O_RDWR);
	if (loop >= 0 && ioctl(loop, LOOP_SET_FD, fd)) {
		close(loop);
		return -1;
	}
	return loop;
}

static size_t read_device(int loop, size_t nr)
{
	char *buf = ts_map(nr, TS_RW, 0);
	size_t bad;

	bad = ts_expect(pread(loop, buf, nr * ts_psize, 0) ==
			(ssize_t)(nr * ts_psize), "the device to be read");
	bad += ts_data_check(buf, 0, nr, 1);
	ts_unmap(buf, nr);
	return bad;
}

/*
 * Who reads from a loop device must not enter a filesystem: pages of files that
 * are in the way of tags stay where they are.
 */
static int by_loop(void)
{
	size_t bad = get_out(1), moved = 0, i;
	unsigned long *where;
	int loop;

	bad += lend_file();
	where = calloc(nr_lent, sizeof(*where));
	loop = loop_device();
	if (!where || loop < 0)
		return ts_skip("no loop device");
	for (i = 0; i < nr_lent; i++)
		where[i] = ts_pfn(lent + i * ts_psize);
	bad += read_device(loop, NR / 4);
	for (i = 0; i < nr_lent; i++)
		moved += ts_pfn(lent + i * ts_psize) != where[i];
	bad += ts_usually(!moved, "all pages of files to stay, %zu did not",
			  moved);
	bad += ts_expect(!ioctl(loop, LOOP_CLR_FD), "the device to be let go");
	close(loop);
	free(where);
	bad += ts_check(tagged, 0, NR, 1);
	bad += ts_data_check(lent, 0, nr_lent, 2);
	ts_unmap(lent, nr_lent);
	end_file();
	return ts_result(bad);
}

static const struct ts_case cases[] = {
	{ "in by the tagged mapping", by_tagged, TS_NEED_SWAP },
	{ "in by the untagged mapping", by_plain, TS_NEED_SWAP },
	{ "in by both at once", by_both, TS_NEED_SWAP },
	{ "in by read and write", by_call, TS_NEED_SWAP },
	{ "tagged after it was in swap", tagged_later, TS_NEED_SWAP },
	{ "holes punched", punched, TS_NEED_SWAP },
	{ "private copies", copied, TS_NEED_SWAP },
	{ "large folios", large, TS_NEED_SWAP | TS_NEED_THP | TS_NEED_ROOT },
	{ "swapoff", off, TS_NEED_DISK },
	{ "in by a loop device", by_loop,
	  TS_NEED_SWAP | TS_NEED_ROOT | TS_NEED_COUNTERS | TS_NEED_REGIONS },
};

int main(void)
{
	/* Pages in the batch of another CPU would not go out. */
	ts_run_on(0);
	return ts_main(cases, ARRAY_SIZE(cases));
}
