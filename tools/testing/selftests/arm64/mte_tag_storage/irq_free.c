// SPDX-License-Identifier: GPL-2.0-only
/*
 * A tagged page whose last reference is that of a disk read is freed by the
 * interrupt that ends the read. That gives back its tag block, or leaves it to
 * the pages that hold it still, while others take blocks; nobody's data or tags
 * change, and in the end all blocks are given back.
 *
 * A read that ends before its page is unmapped shows nothing: enough of them
 * have to end after that.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <pthread.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/syscall.h>

#include "ts_common.h"

#define DISK	"/dev/vda"
#define NR	64	/* reads at a time, each of a page */
#define STEP	16	/* pages from one read to the next: none merge */
#define ROUNDS	60	/* and more until enough of them end late */
#define MOST	600
#define SEED	1

static bool stop;
static size_t other_bad;

/* Reads, and how many of them ended after their page was unmapped. */
static long reads, late;

/* Takes and leaves blocks all the time, on the other CPU. */
static void *take_and_leave(void *arg)
{
	unsigned long seed;

	(void)arg;
	ts_run_on(1);
	for (seed = 10; !__atomic_load_n(&stop, __ATOMIC_RELAXED); seed++) {
		char *own = ts_map(100, TS_RWT, 0);

		other_bad += ts_tags_zero(own, 0, 100);
		ts_write(own, 0, 100, seed);
		other_bad += ts_check(own, 0, 100, seed);
		ts_unmap(own, 100);
	}
	return NULL;
}

static bool enough_late(void)
{
	return late * 100 >= reads;
}

/* Begin a read of each of the first pages; how many have begun? */
static long begin(aio_context_t ctx, int fd, char *mem)
{
	static struct iocb iocb[NR];
	struct iocb *list[NR];
	size_t i;

	memset(iocb, 0, sizeof(iocb));
	for (i = 0; i < NR; i++) {
		iocb[i].aio_fildes = fd;
		iocb[i].aio_lio_opcode = IOCB_CMD_PREAD;
		iocb[i].aio_buf = (unsigned long)mem + i * ts_psize;
		iocb[i].aio_nbytes = ts_psize;
		iocb[i].aio_offset = i * STEP * ts_psize;
		list[i] = &iocb[i];
	}
	return syscall(__NR_io_submit, ctx, NR, list);
}

/* Reads that have ended: at least @least, or what there is without a wait. */
static long ended(aio_context_t ctx, long least, size_t *bad)
{
	struct io_event events[NR];
	struct timespec now = { };
	long n, i;

	n = syscall(__NR_io_getevents, ctx, least, NR, events,
		    least ? NULL : &now);
	for (i = 0; i < n; i++)
		*bad += ts_expect(events[i].res == (long)ts_psize,
				  "a page to be read");
	return n;
}

/* Pages that are read into are unmapped before that ends; the others stay. */
static size_t round_trip(aio_context_t ctx, int fd)
{
	char *mem = ts_map(2 * NR, TS_RWT, 0);
	size_t bad = 0, i;
	long sent, n;

	/* Of neighbours in memory one goes and one stays; all go at once. */
	for (i = 0; i < NR; i++) {
		ts_write(mem, i, 1, SEED);
		ts_write(mem, NR + i, 1, SEED);
	}
	sent = begin(ctx, fd, mem);
	madvise(mem, NR * ts_psize, MADV_DONTNEED);
	n = ended(ctx, 0, &bad);
	bad += ts_expect(sent == NR, "%d reads to begin, not %ld", NR, sent);
	reads += sent;
	sent -= n;
	late += sent;
	bad += ts_check(mem, NR, NR, SEED);
	for (; sent > 0 && n >= 0; sent -= n)
		n = ended(ctx, 1, &bad);
	bad += ts_expect(!sent, "all reads to end");
	bad += ts_check(mem, NR, NR, SEED);
	/* What is in the place of the pages that were unmapped is new. */
	bad += ts_tags_zero(mem, 0, NR);
	for (i = 0; i < NR; i++)
		bad += ts_expect(!ts_load(mem + i * ts_psize), "an empty page");
	ts_unmap(mem, 2 * NR);
	return bad;
}

static int free_by_interrupt(void)
{
	aio_context_t ctx = 0;
	pthread_t thread;
	size_t bad = 0;
	long start;
	int fd, i;

	fd = open(DISK, O_RDONLY | O_DIRECT);
	if (fd < 0)
		return ts_skip("no disk at " DISK);
	if (syscall(__NR_io_setup, NR, &ctx))
		ksft_exit_fail_msg("io_setup failed\n");
	ts_fold();
	start = ts_vmstat("nr_metadata_reserved");
	stop = false;
	if (pthread_create(&thread, NULL, take_and_leave, NULL))
		ksft_exit_fail_msg("no thread\n");
	ts_run_on(0);
	for (i = 0; i < MOST && !bad && (i < ROUNDS || !enough_late()); i++)
		bad += round_trip(ctx, fd);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	syscall(__NR_io_destroy, ctx);
	close(fd);
	bad += other_bad;
	ksft_print_msg("%ld of %ld reads ended after their page was unmapped\n",
		       late, reads);
	bad += ts_expect(enough_late(), "some of the reads to do so");
	bad += ts_expect(ts_wait_reserved(start, 30),
			 "%ld pages reserved as at the start, %ld are", start,
			 ts_vmstat("nr_metadata_reserved"));
	return ts_result(bad);
}

static const struct ts_case cases[] = {
	{ "tagged pages freed by an interrupt", free_by_interrupt,
	  TS_NEED_ROOT | TS_NEED_CPUS | TS_NEED_COUNTERS },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
