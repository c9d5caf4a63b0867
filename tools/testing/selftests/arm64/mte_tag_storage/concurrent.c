// SPDX-License-Identifier: GPL-2.0-only
/*
 * Threads and processes that come to the same page or the same tag block at the
 * same time, or leave it, all see right data and tags, and the block is taken
 * and given back once.
 */
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include "ts_common.h"

#define NR	512
#define THREADS	4
#define ROUNDS	4
#define TIMEOUT	120

static char *mem;
static pthread_barrier_t barrier;
static size_t thread_bad[THREADS];
static bool stop;

/* All threads meet before each page. */
static void *same_page(void *arg)
{
	unsigned long me = (unsigned long)arg;
	size_t page;

	ts_run_on(me % sysconf(_SC_NPROCESSORS_ONLN));
	for (page = 0; page < NR; page++) {
		pthread_barrier_wait(&barrier);
		thread_bad[me] += ts_tags_zero(mem, page, 1);
		thread_bad[me] += ts_data_check(mem, page, 1, 1);
		pthread_barrier_wait(&barrier);
		if (page % THREADS == me)
			ts_tags_write(mem, page, 1, 1);
		pthread_barrier_wait(&barrier);
		thread_bad[me] += ts_check(mem, page, 1, 1);
	}
	return NULL;
}

/* Each thread has every fourth page: all of them share blocks. */
static void *same_block(void *arg)
{
	unsigned long me = (unsigned long)arg;
	size_t page;

	pthread_barrier_wait(&barrier);
	for (page = me; page < NR; page += THREADS) {
		thread_bad[me] += ts_tags_zero(mem, page, 1);
		thread_bad[me] += ts_data_check(mem, page, 1, 1);
		ts_tags_write(mem, page, 1, 1);
	}
	pthread_barrier_wait(&barrier);
	thread_bad[me] += ts_check(mem, 0, NR, 1);
	return NULL;
}

static size_t run_threads(void *(*fn)(void *))
{
	pthread_t thread[THREADS];
	unsigned long i;
	size_t bad = 0;

	pthread_barrier_init(&barrier, NULL, THREADS);
	for (i = 0; i < THREADS; i++) {
		thread_bad[i] = 0;
		if (pthread_create(&thread[i], NULL, fn, (void *)i))
			ksft_exit_fail_msg("no thread\n");
	}
	for (i = 0; i < THREADS; i++) {
		pthread_join(thread[i], NULL);
		bad += thread_bad[i];
	}
	pthread_barrier_destroy(&barrier);
	return bad;
}

static long reserved_now(void)
{
	ts_fold();
	return ts_vmstat("nr_metadata_reserved");
}

/* Counters come back to where they were; skipped on a kernel without them. */
static size_t released(long start)
{
	if (start < 0)
		return 0;
	return ts_expect(ts_wait_reserved(start, 30),
			 "%ld pages reserved as at the start, %ld are", start,
			 ts_vmstat("nr_metadata_reserved"));
}

static int threads(void *(*fn)(void *))
{
	long start = reserved_now();
	size_t bad = 0;
	int i;

	for (i = 0; i < ROUNDS && !bad; i++) {
		mem = ts_map(NR, TS_RW, 0);
		ts_data_write(mem, 0, NR, 1);
		ts_protect(mem, 0, NR, TS_RWT);
		bad += run_threads(fn);
		bad += ts_check(mem, 0, NR, 1);
		ts_unmap(mem, NR);
	}
	return ts_result(bad + released(start));
}

static int threads_page(void)
{
	return threads(same_page);
}

static int threads_block(void)
{
	return threads(same_block);
}

/* A page for each process in turn, in memory that all of them share. */
static int own_pages(void *arg)
{
	unsigned long me = (unsigned long)arg;
	size_t page, bad = 0;

	for (page = me; page < NR; page += THREADS) {
		ts_protect(mem, page, 1, TS_RWT);
		bad += ts_tags_zero(mem, page, 1);
		bad += ts_data_check(mem, page, 1, 1);
		ts_tags_write(mem, page, 1, 1);
		bad += ts_check(mem, page, 1, 1);
	}
	return bad != 0;
}

static int processes(void)
{
	long start = reserved_now();
	pid_t pid[THREADS];
	unsigned long i;
	size_t bad = 0;
	int round;

	for (round = 0; round < ROUNDS && !bad; round++) {
		mem = ts_map(NR, TS_RW, MAP_SHARED);
		ts_data_write(mem, 0, NR, 1);
		for (i = 0; i < THREADS; i++) {
			pid[i] = fork();
			if (!pid[i])
				_exit(own_pages((void *)i));
		}
		for (i = 0; i < THREADS; i++)
			bad += ts_expect(!ts_wait(pid[i], TIMEOUT),
					 "process to end with 0");
		ts_protect(mem, 0, NR, TS_RWT);
		bad += ts_check(mem, 0, NR, 1);
		ts_unmap(mem, NR);
	}
	return ts_result(bad + released(start));
}

/* Private pages of several processes in the same blocks; all exit at once. */
static int alternate(void *arg)
{
	unsigned long me = (unsigned long)arg;
	size_t bad = 0, page;
	char *own = ts_map(NR, TS_RWT, 0);

	for (page = 0; page < NR; page++) {
		ts_write(own, page, 1, me);
		if (page % 8 == 0)
			sched_yield();
	}
	bad += ts_check(own, 0, NR, me);
	return bad != 0;
}

static int exit_at_once(void)
{
	long start = reserved_now();
	pid_t pid[8];
	unsigned long i;
	size_t bad = 0;
	int round;

	for (round = 0; round < ROUNDS && !bad; round++) {
		for (i = 0; i < ARRAY_SIZE(pid); i++) {
			pid[i] = fork();
			if (!pid[i])
				_exit(alternate((void *)i));
		}
		for (i = 0; i < ARRAY_SIZE(pid); i++)
			bad += ts_expect(!ts_wait(pid[i], TIMEOUT),
					 "process to end with 0");
	}
	return ts_result(bad + released(start));
}

/* One thread takes and leaves blocks while others do so too. */
static void *come_and_go(void *arg)
{
	unsigned long me = (unsigned long)arg, seed;

	for (seed = 0; !__atomic_load_n(&stop, __ATOMIC_RELAXED); seed++) {
		char *own = ts_map(40, TS_RWT, 0);

		thread_bad[me] += ts_tags_zero(own, 0, 40);
		ts_write(own, 0, 40, me + seed);
		thread_bad[me] += ts_check(own, 0, 40, me + seed);
		ts_unmap(own, 40);
	}
	return NULL;
}

static int take_and_leave(void)
{
	long start = reserved_now();
	pthread_t thread[THREADS];
	unsigned long i;
	size_t bad = 0;

	stop = false;
	for (i = 0; i < THREADS; i++) {
		thread_bad[i] = 0;
		if (pthread_create(&thread[i], NULL, come_and_go, (void *)i))
			ksft_exit_fail_msg("no thread\n");
	}
	sleep(3);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < THREADS; i++) {
		pthread_join(thread[i], NULL);
		bad += thread_bad[i];
	}
	return ts_result(bad + released(start));
}

/* mprotect() while other threads read the data. */
static void *reader(void *arg)
{
	unsigned long me = (unsigned long)arg;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
		thread_bad[me] += ts_data_check(mem, 0, NR, 1);
	return NULL;
}

static int protect_in_use(void)
{
	pthread_t thread[THREADS];
	size_t bad = 0, page;
	unsigned long i;

	mem = ts_map(NR, TS_RW, 0);
	ts_data_write(mem, 0, NR, 1);
	stop = false;
	for (i = 0; i < THREADS; i++) {
		thread_bad[i] = 0;
		if (pthread_create(&thread[i], NULL, reader, (void *)i))
			ksft_exit_fail_msg("no thread\n");
	}
	for (page = 0; page + 3 <= NR; page += 7)
		ts_protect(mem, page, 3, TS_RWT);
	ts_protect(mem, 0, NR, TS_RWT);
	ts_tags_write(mem, 0, NR, 1);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < THREADS; i++) {
		pthread_join(thread[i], NULL);
		bad += thread_bad[i];
	}
	bad += ts_check(mem, 0, NR, 1);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

static const struct ts_case cases[] = {
	{ "threads on one page", threads_page, 0 },
	{ "threads on one block", threads_block, 0 },
	{ "processes on one block", processes, 0 },
	{ "processes that exit at once", exit_at_once, 0 },
	{ "blocks taken and left", take_and_leave, 0 },
	{ "mprotect of memory in use", protect_in_use, 0 },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
