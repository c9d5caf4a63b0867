// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory cgroups. Tagged memory keeps within the limit of its cgroup. Data that
 * is moved out of tag storage stays charged to its owner, even at the owner's
 * limit, and not to the one who needs the storage; nothing stays charged in the
 * end. If the OOM killer of a cgroup kills a process with tagged memory, all of
 * its tag storage is given back. And cpusets: a process that may use the memory
 * of one node only.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ts_common.h"

#define OWNER		"ts_owner"
#define TAKER		"ts_taker"
#define NR		2048UL
#define SMALL		1024UL
#define SEED		1
#define WAIT		60
#define NEED		(TS_NEED_ROOT | TS_NEED_COUNTERS)

/* Shared by parent and children. */
static struct {
	bool filled, check, checked, tagged, stop;
	size_t bad;
} *shared;

static bool set_long(const char *group, const char *file, long value)
{
	char buf[32];

	snprintf(buf, sizeof(buf), "%ld", value);
	return ts_group_set(group, file, buf);
}

/* The number in @file, or that after @name in it; -1 if there is none. */
static long get(const char *group, const char *file, const char *name)
{
	char buf[4096], *p = buf;

	if (ts_group_get(group, file, buf, sizeof(buf)) <= 0)
		return -1;
	if (!name)
		return strtol(buf, NULL, 10);
	for (; p; p = strchr(p, '\n')) {
		p += *p == '\n';
		if (!strncmp(p, name, strlen(name)) && p[strlen(name)] == ' ')
			return strtol(p + strlen(name), NULL, 10);
	}
	return -1;
}

/* Anonymous memory, wherever it is. */
static long anon(const char *group)
{
	return get(group, "memory.stat", "anon") +
	       get(group, "memory.swap.current", NULL);
}

/* Some of it is added with a delay of two seconds, so wait for what it must be. */
static long anon_of(const char *group, long least)
{
	double end = ts_now() + 5;
	long is;

	while ((is = anon(group)) < least && ts_now() < end)
		usleep(200 * 1000);
	return is;
}

/* It must be empty, and nothing remain charged but what a CPU has in stock. */
static size_t remove_group(const char *group)
{
	double end = ts_now() + 10;
	long left;

	while ((left = get(group, "memory.current", NULL)) > (1 << 20) &&
	       ts_now() < end)
		usleep(50 * 1000);
	return ts_expect(left <= 1 << 20, "nothing charged in the end, not %ld",
			 left) +
	       ts_expect(ts_group_remove(group), "the cgroup to be empty");
}

static void say(bool *flag)
{
	__atomic_store_n(flag, true, __ATOMIC_RELEASE);
}

static bool wait_for(const bool *flag)
{
	double end = ts_now() + WAIT;

	while (!__atomic_load_n(flag, __ATOMIC_ACQUIRE) && ts_now() < end)
		usleep(1000);
	return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

/* Page by page, as each look at all pages swaps all of them. */
static int tag_twice_the_limit(void)
{
	char *mem = ts_map(SMALL, TS_RWT, 0);
	size_t bad = 0, page;

	for (page = 0; page < SMALL; page++)
		ts_write(mem, page, 1, SEED);
	bad += ts_expect(ts_swapped(mem, 0, SMALL), "some pages swapped out");
	for (page = 0; page < SMALL; page++) {
		bad += ts_check(mem, page, 1, SEED);
		ts_tags_write(mem, page, 1, SEED + 1);
	}
	for (page = 0; page < SMALL; page++) {
		bad += ts_data_check(mem, page, 1, SEED);
		bad += ts_tags_check(mem, page, 1, SEED + 1);
	}
	return bad != 0;
}

static int keep_limit(void)
{
	long half = SMALL * ts_psize / 2;
	size_t bad;
	int status;

	if (!ts_group_make(TAKER, "+memory") ||
	    !set_long(TAKER, "memory.max", half))
		return ts_skip("no memory cgroup");
	status = ts_wait(ts_group_start(TAKER, tag_twice_the_limit), WAIT);
	bad = ts_expect(!status, "child to end with 0, not %d", status);
	bad += ts_expect(get(TAKER, "memory.peak", NULL) <= half + (1 << 20),
			 "the limit to be kept, not %ld of %ld",
			 get(TAKER, "memory.peak", NULL), half);
	bad += ts_expect(get(TAKER, "memory.events", "max") > 0,
			 "the limit to be reached");
	bad += ts_expect(!get(TAKER, "memory.events", "oom_kill"), "no OOM kill");
	return ts_result(bad + remove_group(TAKER));
}

/* Has data in nearly all of tag storage. */
static int owner(void)
{
	struct ts_ballast b = { };

	ts_ballast_fill(&b, ts_meminfo("MetadataTotal") * 1024 /
			    (long)ts_psize / 8);
	ts_data_write(b.mem, 0, b.nr, SEED);
	/* Room for the other one. */
	madvise(b.bulk, 4 * NR * ts_psize, MADV_DONTNEED);
	say(&shared->filled);
	wait_for(&shared->check);
	shared->bad += ts_data_check(b.mem, 0, b.nr, SEED);
	say(&shared->checked);
	wait_for(&shared->stop);
	return 0;
}

static int taker(void)
{
	char *mem = ts_map(NR, TS_RWT, 0);

	ts_write(mem, 0, NR, SEED);
	shared->bad += ts_check(mem, 0, NR, SEED);
	say(&shared->tagged);
	wait_for(&shared->stop);
	shared->bad += ts_check(mem, 0, NR, SEED);
	return 0;
}

static int stay_charged(void)
{
	long owned, owned_after, taken, taken_max = NR * ts_psize + (4 << 20);
	struct ts_counters before, after;
	pid_t pid[2];
	size_t bad;

	shared = (void *)ts_map(1, TS_RW, MAP_SHARED);
	if (!ts_group_make(OWNER, "+memory") ||
	    !ts_group_make(TAKER, "+memory"))
		return ts_skip("no memory cgroup");
	pid[0] = ts_group_start(OWNER, owner);
	bad = ts_expect(wait_for(&shared->filled), "memory to be filled");
	owned = anon(OWNER);
	/* Neither has room for more. */
	set_long(OWNER, "memory.max", get(OWNER, "memory.current", NULL));
	set_long(TAKER, "memory.max", taken_max);

	ts_counters(&before);
	pid[1] = ts_group_start(TAKER, taker);
	bad += ts_expect(wait_for(&shared->tagged), "memory to be tagged");
	ts_counters(&after);
	owned_after = anon_of(OWNER, owned);
	taken = anon_of(TAKER, NR * ts_psize);
	ksft_print_msg("%ld blocks moved, owner has %ld KiB after %ld, taker %ld KiB\n",
		       after.moved - before.moved, owned_after >> 10,
		       owned >> 10, taken >> 10);
	bad += ts_usually(after.moved > before.moved,
			  "metadata_reserve_moved to grow");
	bad += ts_usually(owned_after == owned, "the owner's charge to stay");
	bad += ts_expect(taken >= (long)(NR * ts_psize) &&
			 taken < (long)(NR * ts_psize) + (1 << 20),
			 "the taker to be charged for what it has");
	bad += ts_expect(!get(OWNER, "memory.events", "oom_kill") &&
			 !get(TAKER, "memory.events", "max"),
			 "no limit to be in the way");

	say(&shared->check);
	bad += ts_expect(wait_for(&shared->checked), "data to be checked");
	say(&shared->stop);
	bad += ts_expect(!ts_wait(pid[0], WAIT) && !ts_wait(pid[1], WAIT),
			 "children to end with 0");
	bad += shared->bad;
	bad += remove_group(OWNER) + remove_group(TAKER);
	ts_unmap((char *)shared, 1);
	return ts_result(bad);
}

static int tag_for_ever(void)
{
	size_t nr = 16 * NR, page;
	char *mem = ts_map(nr, TS_RWT, 0);

	for (page = 0; page < nr; page += 16)
		ts_write(mem, page, 16, SEED);
	return 0;
}

static int oom(void)
{
	struct ts_counters before, after;
	size_t bad;
	int status;

	if (!ts_group_make(TAKER, "+memory"))
		return ts_skip("no memory cgroup");
	set_long(TAKER, "memory.max", NR * ts_psize);
	set_long(TAKER, "memory.swap.max", 0);
	ts_counters(&before);
	status = ts_wait(ts_group_start(TAKER, tag_for_ever), WAIT);
	bad = ts_expect(status == 128 + SIGKILL, "an end by SIGKILL, not %d",
			status);
	bad += ts_expect(get(TAKER, "memory.events", "oom_kill") == 1,
			 "the OOM killer of the cgroup to do it");
	bad += ts_expect(ts_wait_reserved(before.reserved, WAIT),
			 "%ld pages reserved as before, not %ld",
			 before.reserved, ts_vmstat("nr_metadata_reserved"));
	ts_counters(&after);
	bad += ts_expect(after.buddy + after.moved > before.buddy + before.moved,
			 "blocks to be taken meanwhile");
	return ts_result(bad + remove_group(TAKER));
}

static int tag_and_swap(void)
{
	char *mem = ts_map(SMALL, TS_RW, 0);
	size_t bad;

	ts_data_write(mem, 0, SMALL, SEED);
	ts_protect(mem, 0, SMALL, TS_RWT);
	bad = ts_none_touch(mem, 0, SMALL, SEED);
	bad += ts_expect(ts_pageout(mem, 0, SMALL), "some pages swapped out");
	bad += ts_check(mem, 0, SMALL, SEED);
	ts_compact();
	return bad + ts_check(mem, 0, SMALL, SEED) != 0;
}

static int in_cpuset(void)
{
	size_t bad;
	int status;

	if (!ts_group_make(TAKER, "+cpuset") ||
	    !ts_group_set(TAKER, "cpuset.mems", "0") ||
	    !ts_group_set(TAKER, "cpuset.cpus", "0"))
		return ts_skip("no cpuset cgroup");
	status = ts_wait(ts_group_start(TAKER, tag_and_swap), WAIT);
	bad = ts_expect(!status, "child to end with 0, not %d", status);
	return ts_result(bad + remove_group(TAKER));
}

static const struct ts_case cases[] = {
	{ "limit", keep_limit, NEED | TS_NEED_SWAP },
	{ "charge of moved data", stay_charged, NEED },
	{ "OOM kill", oom, NEED },
	{ "cpuset", in_cpuset, NEED | TS_NEED_SWAP },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
