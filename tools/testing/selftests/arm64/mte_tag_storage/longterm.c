// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory that is pinned for a long time, as an io_uring buffer, does not stay in
 * tag storage: it is moved out before. Such memory can become tagged later, and
 * a child gets a copy of its data and tags, also while tag storage is in use.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "ts_common.h"

#define NR	64
#define FORKS	8
#define TIMEOUT	120
#define SKIP	77

static char *mem;
static unsigned long pfns[NR];	/* of its pages, pinned */

/* Number of pages that lie in tag storage. */
static size_t in_storage(const char *addr, size_t nr)
{
	static struct ts_region regions[32];
	static int nr_regions;
	size_t i, in = 0;

	if (!nr_regions)
		nr_regions = ts_regions(regions, ARRAY_SIZE(regions));
	for (i = 0; i < nr; i++)
		in += !!ts_storage_of(regions, nr_regions,
				      ts_pfn(addr + i * ts_psize));
	return in;
}

/* Runs in a child: fill memory, then pin some pages that are in tag storage. */
static int from_storage(void *arg)
{
	long total = ts_meminfo("MetadataTotal") * 1024 / ts_psize;
	struct ts_ballast b = { };
	size_t page, most = 0, i, left, bad;
	int fd;

	(void)arg;
	ts_ballast_fill(&b, total / 2);
	for (i = 0; i + NR <= b.nr; i += NR) {
		size_t in = in_storage(b.mem + i * ts_psize, NR);

		if (in <= most)
			continue;
		most = in;
		page = i;
	}
	if (!most)
		return SKIP;
	/* Room for the pages to move to. */
	madvise(b.bulk, 8 << 20, MADV_DONTNEED);

	ts_data_write(b.mem, page, NR, 1);
	ksft_print_msg("%zu of %u pages in tag storage\n", most, NR);
	fd = ts_pin_longterm(b.mem + page * ts_psize, NR);
	if (fd < 0)
		return SKIP;
	left = in_storage(b.mem + page * ts_psize, NR);
	bad = ts_expect(!left, "no pinned page in tag storage, %zu are", left);
	bad += ts_data_check(b.mem, page, NR, 1);

	ts_protect(b.mem, page, NR, TS_RWT);
	bad += ts_tags_zero(b.mem, page, NR);
	ts_tags_write(b.mem, page, NR, 1);
	bad += ts_check(b.mem, page, NR, 1);
	close(fd);
	bad += ts_check(b.mem, page, NR, 1);
	return bad != 0;
}

static int moved_out(void)
{
	int ret = ts_child(from_storage, NULL, TIMEOUT);

	if (ret == SKIP)
		return ts_skip("no page in tag storage could be pinned");
	return ts_result(ts_expect(ret == 0, "child to end with 0, not %d", ret));
}

static int tagged_later(void)
{
	size_t bad;
	int fd;

	mem = ts_map(NR, TS_RW, 0);
	ts_data_write(mem, 0, NR, 1);
	fd = ts_pin_longterm(mem, NR);
	if (fd < 0)
		return ts_skip("no io_uring buffers");
	ts_protect(mem, 0, NR, TS_RWT);
	bad = ts_tags_zero(mem, 0, NR);
	bad += ts_data_check(mem, 0, NR, 1);
	ts_tags_write(mem, 0, NR, 1);
	bad += ts_check(mem, 0, NR, 1);
	close(fd);
	bad += ts_check(mem, 0, NR, 1);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

/* Marked by mprotect(), then pinned, then touched. */
static int pinned_untouched(void)
{
	size_t bad;
	int fd;

	mem = ts_map(NR, TS_RW, 0);
	ts_data_write(mem, 0, NR, 1);
	ts_protect(mem, 0, NR, TS_RWT);
	fd = ts_pin_longterm(mem, NR);
	if (fd < 0)
		return ts_skip("no io_uring buffers");
	bad = ts_tags_zero(mem, 0, NR);
	bad += ts_data_check(mem, 0, NR, 1);
	ts_tags_write(mem, 0, NR, 1);
	bad += ts_check(mem, 0, NR, 1);
	close(fd);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

/* The copies of a child are not the pages of its parent, and stay for long. */
static int child(unsigned long seed, int go)
{
	size_t bad, same = 0, i;
	char end;

	for (i = 0; i < NR; i++)
		same += ts_pfn(mem + i * ts_psize) == pfns[i];
	/* None of these numbers is known without root. */
	bad = ts_expect(!same || geteuid(), "fork() to copy all, %zu are not",
			same);
	bad += ts_check(mem, 0, NR, 1);
	ts_write(mem, 0, NR, seed);
	bad += ts_check(mem, 0, NR, seed);
	bad += read(go, &end, 1) != 0;
	bad += ts_check(mem, 0, NR, seed);
	return bad != 0;
}

/* Children that live until all are there: each has other memory. */
static size_t fork_all(void)
{
	pid_t pid[FORKS];
	size_t bad = 0, i;
	int go[2];

	if (pipe(go))
		return ts_expect(false, "a pipe");
	for (i = 0; i < FORKS; i++) {
		pid[i] = fork();
		if (!pid[i]) {
			close(go[1]);
			_exit(child(2 + i, go[0]));
		}
		bad += ts_expect(pid[i] > 0, "fork() to succeed, not %s",
				 strerror(errno));
		bad += ts_check(mem, 0, NR, 1);
	}
	close(go[1]);
	for (i = 0; i < FORKS; i++) {
		if (pid[i] > 0)
			bad += ts_expect(!ts_wait(pid[i], TIMEOUT),
					 "child to end with 0");
	}
	close(go[0]);
	return bad + ts_check(mem, 0, NR, 1);
}

/* fork() copies pinned pages at once, with locks held. */
static int forked_when(size_t (*when)(size_t (*fn)(void)))
{
	size_t bad, i;
	int fd;

	mem = ts_map(NR, TS_RWT, 0);
	ts_write(mem, 0, NR, 1);
	fd = ts_pin_longterm(mem, NR);
	if (fd < 0)
		return ts_skip("no io_uring buffers");
	for (i = 0; i < NR; i++)
		pfns[i] = ts_pfn(mem + i * ts_psize);
	bad = when ? when(fork_all) : fork_all();
	close(fd);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

static int forked(void)
{
	return forked_when(NULL);
}

/* Of what the children get, all storage has data that must be moved away. */
static int forked_used(void)
{
	return forked_when(ts_while_lent);
}

static int child_untouched(void *arg)
{
	size_t bad;

	(void)arg;
	bad = ts_tags_zero(mem, 0, NR);
	bad += ts_data_check(mem, 0, NR, 1);
	ts_write(mem, 0, NR, 2);
	bad += ts_check(mem, 0, NR, 2);
	return bad != 0;
}

static int forked_untouched(void)
{
	size_t bad;
	int fd;

	mem = ts_map(NR, TS_RW, 0);
	ts_data_write(mem, 0, NR, 1);
	fd = ts_pin_longterm(mem, NR);
	if (fd < 0)
		return ts_skip("no io_uring buffers");
	ts_protect(mem, 0, NR, TS_RWT);
	bad = ts_expect(!ts_child(child_untouched, NULL, TIMEOUT),
			"child to end with 0");
	bad += ts_tags_zero(mem, 0, NR);
	bad += ts_data_check(mem, 0, NR, 1);
	ts_tags_write(mem, 0, NR, 1);
	bad += ts_check(mem, 0, NR, 1);
	close(fd);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

static const struct ts_case cases[] = {
	{ "moved out of tag storage", moved_out,
	  TS_NEED_ROOT | TS_NEED_COUNTERS | TS_NEED_REGIONS },
	{ "tagged after it is pinned", tagged_later, 0 },
	{ "pinned before the first access", pinned_untouched, 0 },
	{ "fork", forked, 0 },
	{ "fork, tag storage in use", forked_used,
	  TS_NEED_ROOT | TS_NEED_COUNTERS | TS_NEED_REGIONS },
	{ "fork before the first access", forked_untouched, 0 },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
