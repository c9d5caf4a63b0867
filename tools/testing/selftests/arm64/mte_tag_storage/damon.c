// SPDX-License-Identifier: GPL-2.0-only
/*
 * DAMON watches tagged pages and pages that wait for their tag storage, swaps
 * them out, by physical and by virtual address, and moves them to another node
 * (in the way that demotion would): they keep data and tags while others write
 * to them.
 */
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/syscall.h>

#include "ts_common.h"

#define NR	256
#define SEED	1
#define ADMIN	"/sys/kernel/mm/damon/admin/kdamonds/"
#define CONTEXT	"0/contexts/0/"
#define SCHEME	CONTEXT "schemes/0/"

static char *mem;
static bool stop, refused;
static size_t mutator_bad;

static __printf(2, 3) void set(const char *file, const char *fmt, ...)
{
	char path[128], value[64];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(value, sizeof(value), fmt, ap);
	va_end(ap);
	snprintf(path, sizeof(path), ADMIN "%s", file);
	if (ts_write_file(path, value)) {
		ksft_print_msg("%s: \"%s\" refused\n", file, value);
		refused = true;
	}
}

/* A scheme for every page between two addresses, be it accessed or not. */
static bool begin(const char *operations, const char *action, int node,
		  unsigned long from, unsigned long to)
{
	static const char * const patterns[] = { "sz", "nr_accesses", "age" };
	size_t i;

	refused = false;
	set("nr_kdamonds", "1");
	set("0/contexts/nr_contexts", "1");
	set(CONTEXT "operations", "%s", operations);
	set(CONTEXT "monitoring_attrs/intervals/sample_us", "5000");
	set(CONTEXT "monitoring_attrs/intervals/aggr_us", "20000");
	set(CONTEXT "monitoring_attrs/intervals/update_us", "1000000");
	set(CONTEXT "targets/nr_targets", "1");
	if (!strcmp(operations, "vaddr"))
		set(CONTEXT "targets/0/pid_target", "%d", getpid());
	set(CONTEXT "targets/0/regions/nr_regions", "1");
	set(CONTEXT "targets/0/regions/0/start", "%lu", from);
	set(CONTEXT "targets/0/regions/0/end", "%lu", to);
	set(CONTEXT "schemes/nr_schemes", "1");
	set(SCHEME "action", "%s", action);
	if (node >= 0)
		set(SCHEME "target_nid", "%d", node);
	for (i = 0; i < ARRAY_SIZE(patterns); i++) {
		char file[64];

		snprintf(file, sizeof(file), SCHEME "access_pattern/%s/max",
			 patterns[i]);
		set(file, "%d", 1 << 30);
	}
	set("0/state", "on");
	return !refused;
}

static void end(void)
{
	set("0/state", "off");
	set("nr_kdamonds", "0");
}

/* The physical addresses that @mem lies between. */
static void physical(unsigned long *from, unsigned long *to)
{
	size_t i;

	*from = -1UL;
	*to = 0;
	for (i = 0; i < NR; i++) {
		unsigned long at = ts_pfn(mem + i * ts_psize) * ts_psize;

		if (at && at < *from)
			*from = at;
		if (at + ts_psize > *to)
			*to = at + ts_psize;
	}
}

static bool start_for_mem(const char *operations, const char *action, int node)
{
	unsigned long from = (unsigned long)mem, to = from + NR * ts_psize;

	if (!strcmp(operations, "paddr"))
		physical(&from, &to);
	return begin(operations, action, node, from, to);
}

static void make(bool waits)
{
	if (waits) {
		mem = ts_map_none(NR, SEED);
		return;
	}
	mem = ts_map(NR, TS_RWT, 0);
	madvise(mem, NR * ts_psize, MADV_NOHUGEPAGE);
	ts_write(mem, 0, NR, SEED);
}

static size_t still_right(bool waits)
{
	size_t bad = 0;

	/* What has been swapped waits no more: it comes back with its storage. */
	if (waits) {
		bad += ts_data_check(mem, 0, NR, SEED);
		bad += ts_tags_zero(mem, 0, NR);
		ts_tags_write(mem, 0, NR, SEED);
	}
	return bad + ts_check(mem, 0, NR, SEED);
}

/* Swapped out as long as nobody looks; with somebody who does, still right. */
static size_t pageout(const char *operations, bool waits)
{
	double limit = ts_now() + 30;
	size_t bad = 0, swapped;

	make(waits);
	if (!start_for_mem(operations, "pageout", -1))
		return ts_expect(false, "DAMON to start");
	do {
		usleep(20 * 1000);
		swapped = ts_swapped(mem, 0, NR);
	} while (swapped < NR / 2 && ts_now() < limit);
	bad += ts_expect(swapped >= NR / 2, "%s: %d pages swapped, not %zu",
			 operations, NR / 2, swapped);
	bad += still_right(waits);
	/* Some come back and go out again meanwhile. */
	for (limit = ts_now() + 0.5; ts_now() < limit;)
		bad += ts_check(mem, 0, NR, SEED);
	end();
	bad += ts_check(mem, 0, NR, SEED);
	ts_unmap(mem, NR);
	return bad;
}

static int pageout_virtual(void)
{
	return ts_result(pageout("vaddr", false) + pageout("vaddr", true));
}

static int pageout_physical(void)
{
	return ts_result(pageout("paddr", false) + pageout("paddr", true));
}

/* Watching alone clears and reads the accessed bits. */
static int watch(void)
{
	size_t bad = 0;
	double limit;

	make(true);
	if (!start_for_mem("vaddr", "stat", -1))
		bad += ts_expect(false, "DAMON to start");
	usleep(200 * 1000);
	bad += ts_none_touch(mem, 0, NR, SEED);
	for (limit = ts_now() + 0.3; ts_now() < limit;)
		bad += ts_check(mem, 0, NR, SEED);
	end();

	if (!start_for_mem("paddr", "lru_prio", -1))
		bad += ts_expect(false, "DAMON to start");
	for (limit = ts_now() + 0.3; ts_now() < limit;)
		bad += ts_check(mem, 0, NR, SEED);
	end();
	ts_unmap(mem, NR);
	return ts_result(bad);
}

/* Pages that lie on @node. */
static long on_node(int node)
{
	static void *pages[NR];
	static int status[NR];
	long on = 0;
	size_t i;

	for (i = 0; i < NR; i++)
		pages[i] = mem + i * ts_psize;
	if (syscall(__NR_move_pages, 0, NR, pages, NULL, status, 0) < 0)
		return -1;
	for (i = 0; i < NR; i++)
		on += status[i] == node;
	return on;
}

/* Half of the pages belong to a thread that writes all the time. */
static void *mutate(void *arg)
{
	unsigned long seed;

	(void)arg;
	for (seed = 10; !__atomic_load_n(&stop, __ATOMIC_RELAXED); seed++) {
		ts_write(mem, NR / 2, NR / 2, seed);
		mutator_bad += ts_check(mem, NR / 2, NR / 2, seed);
	}
	return NULL;
}

static size_t move(const char *action, int from, bool waits)
{
	double limit = ts_now() + 20;
	pthread_t thread;
	size_t bad = 0;
	long there;

	ts_run_on(from);
	make(waits);
	stop = waits;
	mutator_bad = 0;
	if (!start_for_mem("paddr", action, !from))
		bad += ts_expect(false, "DAMON to start");
	if (pthread_create(&thread, NULL, mutate, NULL))
		ksft_exit_fail_msg("no thread\n");
	do {
		usleep(20 * 1000);
		there = on_node(!from);
	} while (there < NR / 4 && ts_now() < limit);
	end();
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);

	bad += ts_expect(there >= NR / 4, "%s: pages on node %d, not %ld",
			 action, !from, there);
	bad += mutator_bad;
	if (waits)
		bad += ts_none_touch(mem, 0, NR, SEED);
	else
		bad += ts_check(mem, 0, NR / 2, SEED);
	ts_unmap(mem, NR);
	return bad;
}

static int migrate(void)
{
	size_t bad;

	bad = move("migrate_cold", 0, true);
	bad += move("migrate_hot", 1, true);
	bad += move("migrate_cold", 1, false);
	bad += move("migrate_hot", 0, false);
	return ts_result(bad);
}

#define NEED	(TS_NEED_ROOT | TS_NEED_REGIONS)

static const struct ts_case cases[] = {
	{ "watching", watch, NEED },
	{ "pageout by virtual address", pageout_virtual, NEED | TS_NEED_SWAP },
	{ "pageout by physical address", pageout_physical, NEED | TS_NEED_SWAP },
	{ "migrate_cold and migrate_hot", migrate, NEED | TS_NEED_NODES },
};

int main(void)
{
	if (access(ADMIN "nr_kdamonds", W_OK))
		ksft_exit_skip("no DAMON\n");
	return ts_main(cases, ARRAY_SIZE(cases));
}
