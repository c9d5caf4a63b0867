// SPDX-License-Identifier: GPL-2.0-only
/*
 * I/O to and from pinned pages: O_DIRECT, AIO and io_uring on a disk.
 *
 * While such I/O is under way to a page in tag storage, the pages that have their
 * tags there are moved instead. If it is to a covered page, its storage is
 * emptied, and the I/O, done later, gets to the page, whose tags stay. If it is to
 * both, the access waits until the I/O is done.
 *
 * The last page of each I/O belongs to userfaultfd, so that the I/O has pinned
 * all others and cannot go on before this test lets it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/stddef.h>
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "ts_common.h"

#define NEED	(TS_NEED_ROOT | TS_NEED_COUNTERS | TS_NEED_REGIONS | TS_NEED_DISK)
#define POS	(48UL << 20)	/* behind what other tests use for swap */
#define MINE	1UL		/* seed of the data in memory */
#define DISK	2UL		/* and on the disk */
#define SHORT	5		/* seconds */

/* An I/O of some pages of the ballast, and of one that stops it. */
struct io {
	ssize_t (*run)(int fd, bool write, struct iovec *iov, int nr);
	bool write;
	int fd;
	struct ts_uffd stop;
	struct iovec iov[3];
	int nr;
	ssize_t ret;
	pthread_t thread, finisher;
};

static struct ts_ballast ballast;
static size_t next_pair;

/* Pages that the kernel began to move, and could not, while one was pinned. */
static long in_vain;

static ssize_t run_direct(int fd, bool write, struct iovec *iov, int nr)
{
	return write ? pwritev(fd, iov, nr, POS) : preadv(fd, iov, nr, POS);
}

static ssize_t run_aio(int fd, bool write, struct iovec *iov, int nr)
{
	struct iocb cb = {
		.aio_lio_opcode = write ? IOCB_CMD_PWRITEV : IOCB_CMD_PREADV,
		.aio_fildes = fd,
		.aio_buf = (unsigned long)iov,
		.aio_nbytes = nr,
		.aio_offset = POS,
	}, *list = &cb;
	aio_context_t context = 0;
	struct io_event event = { .res = -1 };

	if (syscall(__NR_io_setup, 1, &context))
		return -1;
	if (syscall(__NR_io_submit, context, 1, &list) == 1)
		syscall(__NR_io_getevents, context, 1, 1, &event, NULL);
	syscall(__NR_io_destroy, context);
	return event.res;
}

/* One request on a ring of its own. */
static ssize_t ring_run(int ring, struct io_uring_params *p,
			const struct io_uring_sqe *request)
{
	size_t len = p->sq_off.array + p->sq_entries * sizeof(unsigned int);
	size_t cq_len = p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe);
	unsigned int *array, *tail;
	struct io_uring_cqe *cqe;
	struct io_uring_sqe *sqe;
	ssize_t ret = -1;
	char *sq, *cq;

	sq = mmap(NULL, len, TS_RW, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	cq = mmap(NULL, cq_len, TS_RW, MAP_SHARED, ring, IORING_OFF_CQ_RING);
	sqe = mmap(NULL, ts_psize, TS_RW, MAP_SHARED, ring, IORING_OFF_SQES);
	if (sq == MAP_FAILED || cq == MAP_FAILED || (void *)sqe == MAP_FAILED)
		return -1;
	array = (unsigned int *)(sq + p->sq_off.array);
	tail = (unsigned int *)(sq + p->sq_off.tail);
	*sqe = *request;
	array[0] = 0;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	if (syscall(__NR_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS,
		    NULL, 0) == 1) {
		unsigned int head = *(unsigned int *)(cq + p->cq_off.head);

		cqe = (struct io_uring_cqe *)(cq + p->cq_off.cqes);
		ret = cqe[head % p->cq_entries].res;
		__atomic_store_n((unsigned int *)(cq + p->cq_off.head), head + 1,
				 __ATOMIC_RELEASE);
	}
	munmap(sq, len);
	munmap(cq, cq_len);
	munmap(sqe, ts_psize);
	return ret;
}

static ssize_t run_uring(int fd, bool write, struct iovec *iov, int nr)
{
	struct io_uring_params params = { };
	struct io_uring_sqe sqe = {
		.opcode = write ? IORING_OP_WRITEV : IORING_OP_READV,
		.fd = fd,
		.off = POS,
		.addr = (unsigned long)iov,
		.len = nr,
	};
	int ring = syscall(__NR_io_uring_setup, 1, &params);
	ssize_t ret;

	if (ring < 0)
		return -1;
	ret = ring_run(ring, &params, &sqe);
	close(ring);
	return ret;
}

static void *io_thread(void *arg)
{
	struct io *io = arg;

	io->ret = io->run(io->fd, io->write, io->iov, io->nr);
	return NULL;
}

/* A page that nobody gets before finish(). */
static bool set_stop(struct io *io)
{
	return ts_uffd_open(&io->stop, ts_map(1, TS_RW, 0), 1,
			    UFFDIO_REGISTER_MODE_MISSING, 0);
}

/* Start the I/O, and return when all but its last page is pinned. */
static bool begin(struct io *io, const size_t *page, int nr)
{
	struct pollfd event = { .events = POLLIN };
	int i;

	for (i = 0; i < nr; i++) {
		io->iov[i].iov_base = ballast.mem + page[i] * ts_psize;
		io->iov[i].iov_len = ts_psize;
	}
	io->fd = open(TS_DISK, O_RDWR | O_DIRECT);
	if (io->fd < 0 || !set_stop(io))
		return false;
	io->iov[nr].iov_base = io->stop.mem;
	io->iov[nr].iov_len = ts_psize;
	io->nr = nr + 1;
	if (pthread_create(&io->thread, NULL, io_thread, io))
		return false;
	event.fd = io->stop.fd;
	return poll(&event, 1, SHORT * 1000) == 1 && event.revents == POLLIN;
}

/* Let the I/O go on. */
static void *finish(void *arg)
{
	struct io *io = arg;

	ts_uffd_zero(&io->stop, 0, 1);
	pthread_join(io->thread, NULL);
	return NULL;
}

static void *finish_later(void *arg)
{
	usleep(300 * 1000);
	return finish(arg);
}

/* What the disk has at page @i of the I/O is data of page @page now. */
static size_t on_disk(struct io *io, int i, size_t page)
{
	char *buf = ts_map(1, TS_RW, 0);
	size_t bad = 0, word;

	bad += ts_expect(pread(io->fd, buf, ts_psize, POS + i * ts_psize) ==
			 (ssize_t)ts_psize, "the disk to be read");
	for (word = 0; word < ts_psize / 8; word++)
		bad += ts_load(buf + 8 * word) != ts_word(MINE, page, word);
	ts_unmap(buf, 1);
	return ts_expect(!bad, "page %zu on the disk", page);
}

/* After the I/O: its pages have, or the disk has, the data. */
static size_t end(struct io *io, const size_t *page, int nr)
{
	size_t bad;
	int i;

	bad = ts_expect(io->ret == (ssize_t)((nr + 1) * ts_psize),
			"all of the I/O done, not %zd", io->ret);
	for (i = 0; i < nr; i++)
		bad += io->write ? on_disk(io, i, page[i]) :
		       ts_data_check(ballast.mem, page[i], 1, DISK);
	close(io->stop.fd);
	close(io->fd);
	ts_unmap(io->stop.mem, 1);
	return bad;
}

/* A pair with data of its own, and what a read will find on the disk. */
static bool get_pair(size_t *storage, size_t *covered, const size_t **page, int nr)
{
	int fd = open(TS_DISK, O_RDWR | O_DIRECT), i;
	char *buf = ts_map(1, TS_RW, 0);
	bool ok = fd >= 0;

	*storage = next_pair;
	if (!ts_ballast_pair(&ballast, storage, covered))
		return false;
	/* The next one is of another block, however large these are. */
	next_pair = *storage + 8;
	ts_data_write(ballast.mem, *storage, 1, MINE);
	ts_data_write(ballast.mem, *covered, 1, MINE);
	for (i = 0; ok && i < nr; i++) {
		size_t word;

		for (word = 0; word < ts_psize / 8; word++)
			((unsigned long *)buf)[word] =
				ts_word(DISK, *page[i], word);
		ok = pwrite(fd, buf, ts_psize, POS + i * ts_psize) ==
		     (ssize_t)ts_psize;
	}
	close(fd);
	ts_unmap(buf, 1);
	return ok;
}

/* The covered page becomes tagged; @seed is that of its data. */
static size_t tag(size_t page, unsigned long seed)
{
	size_t bad;

	bad = ts_tags_zero(ballast.mem, page, 1);
	if (seed)
		bad += ts_data_check(ballast.mem, page, 1, seed);
	ts_tags_write(ballast.mem, page, 1, MINE);
	return bad + ts_tags_check(ballast.mem, page, 1, MINE);
}

/* Of the two pages, that of the I/O stays where it is, and the other one moves. */
static size_t to_one(struct io *io, bool is_covered)
{
	size_t storage, covered, bad;
	const size_t *page = is_covered ? &covered : &storage;
	unsigned long pfn, pfn2;
	long failed;

	if (!get_pair(&storage, &covered, &page, 1))
		return ts_expect(false, "a page in tag storage");
	if (!begin(io, page, 1))
		return ts_expect(false, "I/O under way");
	pfn = ts_pfn(ballast.mem + storage * ts_psize);
	pfn2 = ts_pfn(ballast.mem + covered * ts_psize);
	ts_protect(ballast.mem, covered, 1, TS_RWT);
	failed = ts_vmstat("pgmigrate_fail");
	bad = tag(covered, MINE);
	if (!is_covered)
		in_vain += ts_vmstat("pgmigrate_fail") - failed;
	bad += ts_expect((ts_pfn(ballast.mem + storage * ts_psize) == pfn) !=
			 is_covered, "the page in tag storage to %s",
			 is_covered ? "move" : "stay");
	bad += ts_expect((ts_pfn(ballast.mem + covered * ts_psize) == pfn2) ==
			 is_covered, "the covered page to %s",
			 is_covered ? "stay" : "move");
	finish(io);
	bad += end(io, page, 1);
	if (is_covered)
		bad += ts_data_check(ballast.mem, storage, 1, MINE);
	else
		bad += ts_data_check(ballast.mem, covered, 1, MINE);
	return bad + ts_tags_check(ballast.mem, covered, 1, MINE);
}

static size_t to_storage(struct io *io)
{
	return to_one(io, false);
}

static size_t to_covered(struct io *io)
{
	return to_one(io, true);
}

static size_t to_both(struct io *io)
{
	size_t storage, covered, bad, pages[2];
	const size_t *page[] = { &storage, &covered };
	double start;

	if (!get_pair(&storage, &covered, page, 2))
		return ts_expect(false, "a page in tag storage");
	pages[0] = storage;
	pages[1] = covered;
	if (!begin(io, pages, 2))
		return ts_expect(false, "I/O under way");
	ts_protect(ballast.mem, covered, 1, TS_RWT);
	start = ts_now();
	if (pthread_create(&io->finisher, NULL, finish_later, io))
		return ts_expect(false, "a thread");
	bad = tag(covered, 0);
	bad += ts_usually(ts_now() - start > 0.15 && ts_now() - start < SHORT,
			  "to wait for the end of the I/O, not %.3f s",
			  ts_now() - start);
	pthread_join(io->finisher, NULL);
	bad += end(io, pages, 2);
	return bad + ts_tags_check(ballast.mem, covered, 1, MINE);
}

/* A ring with one registered buffer, @page; -1 if that is not possible. */
static int register_page(size_t page, struct io_uring_params *params)
{
	struct iovec iov = { ballast.mem + page * ts_psize, ts_psize };
	int ring = syscall(__NR_io_uring_setup, 1, params);

	if (ring >= 0 && syscall(__NR_io_uring_register, ring,
				 IORING_REGISTER_BUFFERS, &iov, 1)) {
		close(ring);
		return -1;
	}
	return ring;
}

static size_t read_fixed(int ring, struct io_uring_params *params, size_t page)
{
	struct io_uring_sqe sqe = {
		.opcode = IORING_OP_READ_FIXED,
		.fd = open(TS_DISK, O_RDWR | O_DIRECT),
		.off = POS,
		.addr = (unsigned long)(ballast.mem + page * ts_psize),
		.len = ts_psize,
	};
	ssize_t ret = ring_run(ring, params, &sqe);

	close(sqe.fd);
	return ts_expect(ret == (ssize_t)ts_psize, "all read, not %zd", ret) +
	       ts_data_check(ballast.mem, page, 1, DISK);
}

/* A pin for long: nothing of it is in tag storage, or ever gets there. */
static size_t registered_covered(void)
{
	struct io_uring_params params = { };
	size_t storage, covered, bad;
	const size_t *page = &covered;
	unsigned long pfn, pfn2;
	int ring;

	if (!get_pair(&storage, &covered, &page, 1))
		return ts_expect(false, "a page in tag storage");
	ring = register_page(covered, &params);
	if (ring < 0)
		return ts_expect(false, "a registered buffer");
	pfn = ts_pfn(ballast.mem + storage * ts_psize);
	pfn2 = ts_pfn(ballast.mem + covered * ts_psize);
	ts_protect(ballast.mem, covered, 1, TS_RWT);
	bad = tag(covered, MINE);
	bad += ts_expect(ts_pfn(ballast.mem + storage * ts_psize) != pfn,
			 "the page in tag storage to move");
	bad += read_fixed(ring, &params, covered);
	bad += ts_tags_check(ballast.mem, covered, 1, MINE);
	bad += ts_expect(ts_pfn(ballast.mem + covered * ts_psize) == pfn2,
			 "the registered page to stay");
	close(ring);
	return bad + ts_data_check(ballast.mem, storage, 1, MINE);
}

static size_t registered_storage(void)
{
	struct io_uring_params params = { };
	size_t storage, covered, bad = 0;
	const size_t *page = &storage;
	unsigned long pfn;
	int ring;

	if (!get_pair(&storage, &covered, &page, 1))
		return ts_expect(false, "a page in tag storage");
	pfn = ts_pfn(ballast.mem + storage * ts_psize);
	ring = register_page(storage, &params);
	if (ring < 0)
		return ts_expect(false, "a registered buffer");
	bad += ts_expect(ts_pfn(ballast.mem + storage * ts_psize) != pfn,
			 "the registered page to leave tag storage");
	bad += ts_data_check(ballast.mem, storage, 1, MINE);
	ts_protect(ballast.mem, covered, 1, TS_RWT);
	bad += tag(covered, MINE);
	bad += read_fixed(ring, &params, storage);
	ts_protect(ballast.mem, storage, 1, TS_RWT);
	bad += tag(storage, DISK);
	close(ring);
	return bad + ts_check(ballast.mem, covered, 1, MINE);
}

static void fill(void)
{
	if (!ballast.mem)
		ts_ballast_lend(&ballast);
}

static int registered(void)
{
	size_t bad;

	fill();
	bad = registered_covered();
	return ts_result(bad + registered_storage());
}

static int all_of(ssize_t (*run)(int fd, bool write, struct iovec *iov, int nr))
{
	static size_t (* const to[])(struct io *io) = {
		to_storage, to_covered, to_both,
	};
	size_t bad = 0, i;
	int write;

	fill();
	in_vain = 0;
	for (i = 0; i < ARRAY_SIZE(to) && !bad; i++) {
		for (write = 0; write < 2; write++) {
			struct io io = { .run = run, .write = write };

			bad += to[i](&io);
		}
	}
	/* Others, who know nothing of it, may have tried something else. */
	bad += ts_usually(in_vain < 2,
			  "pinned pages to be left alone, not %ld tries in vain",
			  in_vain);
	return ts_result(bad);
}

static int direct(void)
{
	return all_of(run_direct);
}

static int aio(void)
{
	return all_of(run_aio);
}

static int uring(void)
{
	return all_of(run_uring);
}

static const struct ts_case cases[] = {
	{ "O_DIRECT", direct, NEED },
	{ "AIO", aio, NEED },
	{ "io_uring", uring, NEED },
	{ "io_uring, registered buffer", registered, NEED },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
