// SPDX-License-Identifier: GPL-2.0-only
/*
 * Helpers shared by the tests of dynamic MTE tag storage, see ts_common.h.
 */
#define _GNU_SOURCE

#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <linux/stddef.h>
#include <linux/io_uring.h>
#include <linux/mempolicy.h>
#include <linux/userfaultfd.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "ts_common.h"

#define THP_DIR		"/sys/kernel/mm/transparent_hugepage/"
#define REGIONS_FILE	"/sys/kernel/debug/mte_tag_storage/regions"
#define DELAY_FILE	"/sys/kernel/debug/mte_tag_storage/delay"
#define DT_PATH		"/proc/device-tree"
#define TRACING		"/sys/kernel/tracing/"
#define EVENTS		TRACING "events/memory_metadata/enable"

#define CGROUPS		"/sys/fs/cgroup/"

#define SLOW_THREAD	"ts_slow"

#ifndef HWCAP2_MTE
#define HWCAP2_MTE	0x40000
#endif
#ifndef PR_SET_TAGGED_ADDR_CTRL
#define PR_SET_TAGGED_ADDR_CTRL	55
#endif
#define TS_PR_TAGGED_ADDR	0x1UL
#define TS_PR_TCF_SYNC		0x2UL
#define TS_PR_TAG_ALL		(0xfffeUL << 3)

/* Ordinary memory that ts_ballast_fill() takes in base pages. */
#define TS_BASE_KB	(32 * 1024)

/* What ballast_bulk() takes at once, 1 MiB of it in base pages. */
#define BULK_KB		(15 * 1024)

/* In units of 0.01 % of a zone, between two of its watermarks. */
#define SCALE		"/proc/sys/vm/watermark_scale_factor"

#define BOOST		"/proc/sys/vm/watermark_boost_factor"

#define PM_PRESENT	0x8000000000000000UL
#define PM_SWAPPED	0x4000000000000000UL
#define PM_UFFD_WP	0x0200000000000000UL
#define PM_PFN		0x007fffffffffffffUL

#define KPF_COMPOUND_TAIL	0x10000UL
#define KPF_UNEVICTABLE		0x40000UL
#define KPF_MLOCKED		0x200000000UL

#define AGREE_TRIES	20

/* An action of klogctl(). */
#define SYSLOG_READ_ALL	3

/* Pipes of 1 MiB for ts_lent_pin(). */
#define PIN_PIPES	64

/* The pattern of what ts_lend() puts into tag storage. */
#define LENT_SEED	0x1e47

size_t ts_psize;

static char skip_reason[256];

/* Expectations of ts_usually() not met in this try, by children as well. */
static int *unlucky;

/* Lines of detail from this test case. */
static int reports;

/* Settings that were changed and have to be put back at exit. */
static struct {
	char path[128];
	char value[128];
} saved[16];
static int nr_saved;
static pid_t saved_by;

/*
 * Setup and results
 */

/* Some lines of detail are enough. */
static bool may_report(void)
{
	return __atomic_fetch_add(&reports, 1, __ATOMIC_RELAXED) < 8;
}

static void print_unmet(const char *how, const char *fmt, va_list ap)
{
	char buf[256];

	vsnprintf(buf, sizeof(buf), fmt, ap);
	ksft_print_msg("%s: %s\n", how, buf);
}

int ts_expect(bool ok, const char *fmt, ...)
{
	va_list ap;

	if (ok)
		return 0;

	va_start(ap, fmt);
	print_unmet("expected", fmt, ap);
	va_end(ap);
	return 1;
}

/*
 * What something that goes on beside the test can spoil: who has a page locked
 * or holds it for a moment, where data lies, how fast this is. The case is tried
 * again then, and fails in the end. Return: 0, as this try has not failed.
 */
int ts_usually(bool ok, const char *fmt, ...)
{
	va_list ap;

	if (ok)
		return 0;

	va_start(ap, fmt);
	print_unmet("usually", fmt, ap);
	va_end(ap);
	__atomic_fetch_add(unlucky, 1, __ATOMIC_RELAXED);
	return 0;
}

int ts_result(size_t bad)
{
	return bad ? KSFT_FAIL : KSFT_PASS;
}

int ts_skip(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(skip_reason, sizeof(skip_reason), fmt, ap);
	va_end(ap);
	return KSFT_SKIP;
}

/* Try all ways, and name those that are wrong. */
size_t ts_all_ways(const struct ts_way *way, size_t nr)
{
	size_t bad = 0, i;

	for (i = 0; i < nr; i++) {
		size_t now = way[i].fn();

		if (now)
			ksft_print_msg("wrong: %s\n", way[i].name);
		bad += now;
	}
	return bad;
}

/* The same for cases that are run once more, otherwise. */
size_t ts_all_pass(const struct ts_case *cases, size_t nr)
{
	size_t bad = 0, i;

	for (i = 0; i < nr; i++)
		bad += ts_expect(cases[i].fn() == KSFT_PASS, "%s to work",
				 cases[i].name);
	return bad;
}

/* Enable tagged pointers and synchronous checks; or end, skipped. */
void ts_setup(void)
{
	unsigned long ctrl = TS_PR_TAGGED_ADDR | TS_PR_TCF_SYNC | TS_PR_TAG_ALL;

	ts_psize = sysconf(_SC_PAGESIZE);
	unlucky = (int *)ts_map(1, TS_RW, MAP_SHARED);
	if (!(getauxval(AT_HWCAP2) & HWCAP2_MTE))
		ksft_exit_skip("MTE not available\n");
	if (prctl(PR_SET_TAGGED_ADDR_CTRL, ctrl, 0, 0, 0))
		ksft_exit_fail_msg("prctl(PR_SET_TAGGED_ADDR_CTRL): %s\n",
				   strerror(errno));
}

static bool have_nodes(void)
{
	char buf[64] = "";

	ts_read_file("/sys/devices/system/node/has_memory", buf, sizeof(buf));
	return strpbrk(buf, ",-");
}

const char *ts_missing(unsigned int need)
{
	struct ts_region r;

	if ((need & TS_NEED_ROOT) && geteuid())
		return "needs root";
	if ((need & TS_NEED_COUNTERS) && ts_vmstat("nr_metadata_reserved") < 0)
		return "no tag storage counters in /proc/vmstat";
	if ((need & TS_NEED_COUNTERS) && ts_meminfo("MetadataTotal") <= 0)
		return "tag storage is not in use as memory";
	if ((need & TS_NEED_REGIONS) && ts_regions(&r, 1) < 1)
		return "no region readable by debugfs and " DT_PATH;
	if ((need & TS_NEED_REGIONS) && !ts_pfn(&ts_psize))
		return "/proc/self/pagemap shows no PFN";
	if ((need & TS_NEED_SWAP) && ts_meminfo("SwapFree") < 64 * 1024)
		return "less than 64 MiB of swap";
	if ((need & TS_NEED_THP) && !ts_huge_size())
		return "no transparent huge pages";
	if ((need & TS_NEED_NODES) && !have_nodes())
		return "one memory node only";
	if ((need & TS_NEED_DISK) && (geteuid() || access(TS_DISK, W_OK)))
		return "no disk " TS_DISK " that root may overwrite";
	if ((need & TS_NEED_CPUS) && sysconf(_SC_NPROCESSORS_ONLN) < 2)
		return "one CPU only";
	return NULL;
}

/*
 * What a case wants of the machine is there. Some need luck as well, say with
 * which pages are free: without it they skip, or miss what is usual. There are
 * some tries for that, and none for anything else.
 */
static int run_case(const struct ts_case *c)
{
	unsigned int tries = 4;
	int result;

	while (true) {
		reports = 0;
		*unlucky = 0;
		result = c->fn();
		if (result == KSFT_PASS && !*unlucky)
			return KSFT_PASS;
		if (result == KSFT_FAIL || !--tries)
			return result == KSFT_SKIP ? KSFT_SKIP : KSFT_FAIL;
		ksft_print_msg("%s: %s, once more\n", c->name,
			       result == KSFT_SKIP ? skip_reason : "not as usual");
		sleep(1);
	}
}

int ts_main(const struct ts_case *cases, unsigned int nr)
{
	unsigned int i;

	ksft_print_header();
	ts_setup();
	ksft_set_plan(nr);

	for (i = 0; i < nr; i++) {
		const char *missing = ts_missing(cases[i].need);
		int result;

		if (missing) {
			ksft_test_result_skip("%s: %s\n", cases[i].name, missing);
			continue;
		}

		result = run_case(&cases[i]);
		if (result == KSFT_SKIP)
			ksft_test_result_skip("%s: %s\n", cases[i].name,
					      skip_reason);
		else
			ksft_test_result(result == KSFT_PASS, "%s\n",
					 cases[i].name);
	}

	ksft_finished();
}

/*
 * Files of the kernel
 */

int ts_read_file(const char *path, char *buf, size_t size)
{
	size_t len = 0;
	ssize_t n;
	int fd;

	fd = open(path, O_RDONLY);
	if (fd < 0)
		return -errno;
	while (len < size - 1) {
		n = read(fd, buf + len, size - 1 - len);
		if (n <= 0)
			break;
		len += n;
	}
	close(fd);
	buf[len] = '\0';
	return len;
}

int ts_write_file(const char *path, const char *value)
{
	ssize_t n;
	int fd;

	fd = open(path, O_WRONLY);
	if (fd < 0)
		return -errno;
	n = write(fd, value, strlen(value));
	n = n < 0 ? -errno : 0;
	close(fd);
	return n;
}

/* What the kernel has in its log now, or the end of that. */
const char *ts_kernel_log(void)
{
	static char log[1 << 18];
	int n = klogctl(SYSLOG_READ_ALL, log, sizeof(log) - 1);

	log[n > 0 ? n : 0] = '\0';
	return log;
}

/* Switch the trace events on, with none seen so far, or off. */
bool ts_events(bool on)
{
	if (access(EVENTS, W_OK))
		mount("tracefs", TRACING, "tracefs", 0, NULL);
	if (on) {
		/* That of ts_now(). */
		ts_write_file(TRACING "trace_clock", "mono");
		ts_write_file(TRACING "trace", "\n");
	}
	return !ts_write_file(EVENTS, on ? "1" : "0");
}

/* When was the first event with all of these words? 0 if there is none. */
double ts_event(const char *name, const char *first, const char *second)
{
	FILE *f = fopen(TRACING "trace", "r");
	double when = 0;
	char line[512];

	if (!f)
		return 0;
	while (!when && fgets(line, sizeof(line), f)) {
		const char *p = strstr(line, name);

		if (!p || !strstr(line, first) || !strstr(line, second))
			continue;
		/* "TIME: NAME" */
		for (p--; p > line && p[-1] != ' ';)
			p--;
		when = strtod(p, NULL);
	}
	fclose(f);
	return when;
}

static void restore_settings(void)
{
	/* A forked child that ends must not restore. */
	if (getpid() != saved_by)
		return;
	while (nr_saved--)
		ts_write_file(saved[nr_saved].path, saved[nr_saved].value);
}

/* Write to a control; its old value is restored at exit. */
void ts_set(const char *path, const char *value)
{
	char buf[128], *old, *end;
	int i;

	if (ts_read_file(path, buf, sizeof(buf)) <= 0)
		return;

	/* "always [madvise] never", or a plain word */
	old = strchr(buf, '[');
	old = old ? old + 1 : buf;
	end = strpbrk(old, "]\n");
	if (end)
		*end = '\0';
	if (!strcmp(old, value) || ts_write_file(path, value))
		return;

	for (i = 0; i < nr_saved; i++)
		if (!strcmp(saved[i].path, path))
			return;
	if (nr_saved == ARRAY_SIZE(saved))
		return;
	if (!nr_saved) {
		saved_by = getpid();
		atexit(restore_settings);
	}
	snprintf(saved[nr_saved].path, sizeof(saved[0].path), "%s", path);
	snprintf(saved[nr_saved].value, sizeof(saved[0].value), "%s", old);
	nr_saved++;
}

/* The same for a THP control such as "enabled". */
void ts_thp_set(const char *name, const char *value)
{
	char path[128];

	snprintf(path, sizeof(path), THP_DIR "%s", name);
	ts_set(path, value);
}

/* Have folios of @kb KiB where there would be huge pages, or, without @on, these. */
void ts_thp_size(size_t kb, bool on)
{
	char name[64];

	snprintf(name, sizeof(name), "hugepages-%zukB/enabled", kb);
	ts_thp_set("hugepages-2048kB/enabled", on ? "never" : "inherit");
	ts_thp_set(name, on ? "madvise" : "never");
}

/* Have khugepaged without the long pauses that it makes. */
void ts_khugepaged_hurry(void)
{
	ts_thp_set("khugepaged/scan_sleep_millisecs", "5");
	ts_thp_set("khugepaged/alloc_sleep_millisecs", "5");
	ts_thp_set("khugepaged/pages_to_scan", "1000000");
}

/* A statistic of folios of @kb KiB, or -1. */
long ts_thp_stat(size_t kb, const char *name)
{
	char path[128], buf[32];

	snprintf(path, sizeof(path), THP_DIR "hugepages-%zukB/stats/%s", kb,
		 name);
	return ts_read_file(path, buf, sizeof(buf)) > 0 ? atol(buf) : -1;
}

/*
 * Sum of the numbers after @name, with or without a colon, in @path. The lines
 * of zoneinfo repeat for each zone, those of the other files stand once.
 */
static long sum_of(const char *path, const char *name)
{
	size_t len = strlen(name);
	char line[256];
	long sum = -1;
	FILE *f;

	f = fopen(path, "r");
	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		char *p = line + strspn(line, " ");

		if (strncmp(p, name, len) || !strchr(": ", p[len]))
			continue;
		if (sum < 0)
			sum = 0;
		sum += strtol(p + len + 1, NULL, 10);
	}
	fclose(f);
	return sum;
}

/*
 * Page counts have a part for each CPU that is added once a second: add it now,
 * where that is allowed, for numbers that are exact. This is slow.
 */
void ts_fold(void)
{
	ts_write_file("/proc/sys/vm/stat_refresh", "1");
}

long ts_meminfo(const char *name)
{
	return sum_of("/proc/meminfo", name);
}

long ts_vmstat(const char *name)
{
	return sum_of("/proc/vmstat", name);
}

long ts_zoneinfo(const char *name)
{
	return sum_of("/proc/zoneinfo", name);
}

void ts_counters(struct ts_counters *c)
{
	static const char file[] = "/proc/vmstat";

	ts_fold();
	c->free = sum_of(file, "nr_free_metadata");
	c->reserved = sum_of(file, "nr_metadata_reserved");
	c->shared = sum_of(file, "metadata_reserve_shared");
	c->buddy = sum_of(file, "metadata_reserve_buddy");
	c->moved = sum_of(file, "metadata_reserve_moved");
	c->contig = sum_of(file, "metadata_reserve_contig");
	c->ahead = sum_of(file, "metadata_reserve_ahead");
	c->needed = c->moved - c->ahead;
	c->fail = sum_of(file, "metadata_reserve_fail");
	c->release = sum_of(file, "metadata_release");
	c->none_fault = sum_of(file, "metadata_none_fault");
	c->none_around = sum_of(file, "metadata_none_around");
}

/*
 * Pages on their way to the LRU lists are in a batch of some CPU, and cannot be
 * moved. Empty those of all CPUs.
 */
void ts_drain(void)
{
	ts_write_file("/proc/sys/vm/drop_caches", "1");
}

/* Wait until at most @max pages of tag storage are reserved. */
bool ts_wait_reserved(long max, unsigned int seconds)
{
	double now = ts_now(), end = now + seconds, drain = now + 2;

	for (;; now = ts_now()) {
		ts_fold();
		if (ts_vmstat("nr_metadata_reserved") <= max)
			return true;
		if (now > end)
			return false;
		/* Pages that were freed can be in a per-CPU batch of the LRU. */
		if (now > drain) {
			ts_drain();
			drain = now + 2;
		}
		usleep(50 * 1000);
	}
}

static long field(const char *line, const char *name)
{
	const char *p = strstr(line, name);

	return p ? strtol(p + strlen(name), NULL, 10) : -1;
}

/* The first base and size of the "reg" of a node with two cells for each. */
static bool dt_reg(const char *node, unsigned long *base, unsigned long *size)
{
	unsigned long reg[2];
	char path[256];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), DT_PATH "%s/reg", node);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return false;
	n = read(fd, reg, sizeof(reg));
	close(fd);
	if (n != sizeof(reg))
		return false;
	*base = be64toh(reg[0]) / ts_psize;
	*size = be64toh(reg[1]) / ts_psize;
	return true;
}

static unsigned int dt_cell(const char *node, const char *prop)
{
	unsigned int cell = 0;
	char path[256];
	int fd;

	snprintf(path, sizeof(path), DT_PATH "%s/%s", node, prop);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return 0;
	if (read(fd, &cell, sizeof(cell)) != sizeof(cell))
		cell = 0;
	close(fd);
	return be32toh(cell);
}

/* Find the memory that the tag storage of @node belongs to. */
static bool dt_memory(const char *node, struct ts_region *r)
{
	unsigned int phandle = dt_cell(node, "memory");
	unsigned long size;
	struct dirent *d;
	bool ret = false;
	DIR *dir;

	if (!phandle)
		phandle = dt_cell(node, "tagged-memory");
	if (!phandle)
		return false;

	dir = opendir(DT_PATH);
	if (!dir)
		return false;
	while (!ret && (d = readdir(dir))) {
		char name[260];

		if (strncmp(d->d_name, "memory", 6))
			continue;
		snprintf(name, sizeof(name), "/%s", d->d_name);
		if (dt_cell(name, "phandle") == phandle)
			ret = dt_reg(name, &r->data_pfn, &size);
	}
	closedir(dir);
	return ret;
}

/* Read up to @max regions; their number, or a negative error. */
int ts_regions(struct ts_region *r, int max)
{
	char line[512], node[128];
	unsigned long size;
	int nr = 0;
	FILE *f;

	f = fopen(REGIONS_FILE, "r");
	if (!f)
		return -errno;
	while (nr < max && fgets(line, sizeof(line), f)) {
		const char *p = strstr(line, "node=");

		if (!p || sscanf(p, "node=%127s", node) != 1)
			continue;
		if (!dt_reg(node, &r->tag_pfn, &size) || !dt_memory(node, r))
			continue;
		r->data_pages = field(line, "data_pages=");
		r->tag_pages = field(line, "tag_pages=");
		r->block_pages = field(line, "block_pages=");
		r->blocks = field(line, "blocks=");
		r->pinned = field(line, "pinned=");
		r->reserved = field(line, "reserved=");
		r->tagged_pages = field(line, "tagged_pages=");
		r++;
		nr++;
	}
	fclose(f);
	return nr;
}

/* The region that has @pfn in its tag storage. */
const struct ts_region *ts_storage_of(const struct ts_region *r, int nr,
				      unsigned long pfn)
{
	for (; nr > 0; nr--, r++)
		if (pfn >= r->tag_pfn && pfn < r->tag_pfn + r->tag_pages)
			return r;
	return NULL;
}

/* The region that has the tags of @pfn. */
const struct ts_region *ts_covers(const struct ts_region *r, int nr,
				  unsigned long pfn)
{
	for (; nr > 0; nr--, r++)
		if (pfn >= r->data_pfn && pfn < r->data_pfn + r->data_pages)
			return r;
	return NULL;
}

/* Counters move while one looks: what differs has to agree some time soon. */
bool ts_agree(size_t (*check)(bool report))
{
	int i;

	for (i = 0; i < AGREE_TRIES; i++) {
		ts_fold();
		if (!check(i == AGREE_TRIES - 1))
			return true;
		usleep(200 * 1000);
	}
	return false;
}

/* A part of such a check. */
size_t ts_differ(bool report, const char *a, long x, const char *b, long y)
{
	if (x == y)
		return 0;
	if (report)
		ksft_print_msg("%s is %ld, %s is %ld\n", a, x, b, y);
	return 1;
}

/* The regions file agrees with itself and with the counters. */
size_t ts_check_regions(bool report)
{
	unsigned long reserved = 0, pinned = 0, total = 0;
	struct ts_region regions[32], *r;
	size_t bad = 0;
	int nr;

	nr = ts_regions(regions, ARRAY_SIZE(regions));
	for (r = regions; r < regions + nr; r++) {
		reserved += r->reserved * r->block_pages;
		pinned += r->pinned * r->block_pages;
		total += r->blocks * r->block_pages;
		bad += r->blocks * r->block_pages > r->tag_pages;
		bad += r->reserved > r->blocks;
		/* Pinned blocks can have holders too; the zero page is one. */
		bad += r->tagged_pages > (r->reserved + r->pinned) *
					 r->block_pages * TS_COVER;
		bad += r->tag_pages * TS_COVER < r->data_pages;
	}
	if (bad && report)
		ksft_print_msg("a line of the regions file contradicts itself\n");
	/* Blocks that stay reserved for ever never were in the allocator. */
	bad += ts_differ(report, "regions reserved", reserved,
			 "vmstat reserved", ts_vmstat("nr_metadata_reserved"));
	bad += ts_differ(report, "regions total less pinned", total - pinned,
			 "meminfo total",
			 ts_meminfo("MetadataTotal") * 1024 / ts_psize);
	return bad;
}

/*
 * Memory
 */

char *ts_map(size_t nr, int prot, int flags)
{
	char *mem;

	if (!(flags & MAP_SHARED))
		flags |= MAP_PRIVATE;
	mem = mmap(NULL, nr * ts_psize, prot, flags | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED)
		ksft_exit_fail_msg("mmap of %zu pages: %s\n", nr,
				   strerror(errno));
	return mem;
}

void ts_unmap(char *mem, size_t nr)
{
	munmap(mem, nr * ts_psize);
}

/* A file in memory of @size bytes. */
int ts_memfd(size_t size)
{
	int fd = memfd_create("mte_tag_storage", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, size))
		ksft_exit_fail_msg("memfd_create failed\n");
	return fd;
}

static char *map_fd(char *at, int fd, size_t size, int prot, int flags)
{
	char *mem = mmap(at, size, prot, flags, fd, 0);

	if (mem == MAP_FAILED)
		ksft_exit_fail_msg("mmap of a memfd failed\n");
	return mem;
}

char *ts_map_fd(int fd, size_t size, int prot, int flags)
{
	return map_fd(NULL, fd, size, prot, flags);
}

/* A file in memory of one huge page. */
int ts_memfd_huge(void)
{
	ts_thp_set("shmem_enabled", "always");
	return ts_memfd(ts_huge_size());
}

/* Map the first huge page of a file where it can be mapped by a PMD. */
char *ts_map_fd_huge(int fd, int prot)
{
	size_t size = ts_huge_size();

	return map_fd(ts_map_huge(size), fd, size, prot, MAP_SHARED | MAP_FIXED);
}

void ts_protect(char *mem, size_t first, size_t nr, int prot)
{
	if (mprotect(mem + first * ts_psize, nr * ts_psize, prot))
		ksft_exit_fail_msg("mprotect(%#x) of %zu pages: %s\n", prot, nr,
				   strerror(errno));
}

/*
 * Size of a huge page; 0 if MADV_HUGEPAGE has no effect and cannot be made to
 * have one.
 */
size_t ts_huge_size(void)
{
	char buf[128] = "";

	if (ts_read_file(THP_DIR "enabled", buf, sizeof(buf)) <= 0)
		return 0;
	if (strstr(buf, "[never]")) {
		ts_thp_set("enabled", "madvise");
		ts_read_file(THP_DIR "enabled", buf, sizeof(buf));
		if (strstr(buf, "[never]"))
			return 0;
	}
	if (ts_read_file(THP_DIR "hpage_pmd_size", buf, sizeof(buf)) <= 0)
		return 0;
	return strtoul(buf, NULL, 10);
}

/*
 * Map @size bytes, untagged and not touched, aligned to a huge page and with
 * MADV_HUGEPAGE set.
 */
char *ts_map_huge(size_t size)
{
	size_t huge = ts_huge_size();
	char *raw, *mem;

	raw = ts_map((size + huge) / ts_psize, TS_RW, MAP_NORESERVE);
	mem = (char *)(((unsigned long)raw + huge - 1) & ~(huge - 1));
	if (mem > raw)
		munmap(raw, mem - raw);
	if (mem + size < raw + size + huge)
		munmap(mem + size, raw + huge - mem);
	madvise(mem, size, MADV_HUGEPAGE);
	return mem;
}

/* The kB that smaps gives for @field ("Rss:") of the mapping at @mem, or -1. */
long ts_smaps(const char *mem, const char *field)
{
	unsigned long start, end, addr = (unsigned long)mem;
	size_t len = strlen(field);
	bool here = false;
	char line[256];
	long kb = -1;
	FILE *f;

	f = fopen("/proc/self/smaps", "r");
	if (!f)
		return -1;
	while (kb < 0 && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = addr >= start && addr < end;
		else if (here && !strncmp(line, field, len))
			kb = strtol(line + len, NULL, 10);
	}
	fclose(f);
	return kb;
}

/* Is @mem in a mapping with at least one huge page mapped by a PMD? */
bool ts_is_huge(const char *mem)
{
	return ts_smaps(mem, "AnonHugePages:") > 0;
}

/* What /proc/kpageflags has for a page. */
unsigned long ts_page_flags(unsigned long pfn)
{
	int fd = open("/proc/kpageflags", O_RDONLY);
	unsigned long flags = 0;

	if (fd < 0 || pread(fd, &flags, 8, pfn * 8) != 8)
		ksft_print_msg("kpageflags of pfn %#lx cannot be read\n", pfn);
	if (fd >= 0)
		close(fd);
	return flags;
}

/* How many of the pages are present, and locked as the kernel sees it? */
size_t ts_locked(const char *mem, size_t nr)
{
	size_t i, is = 0;

	for (i = 0; i < nr; i++) {
		unsigned long pfn = ts_pfn(mem + i * ts_psize);
		unsigned long flags = pfn ? ts_page_flags(pfn) : 0;

		is += (flags & KPF_MLOCKED) && (flags & KPF_UNEVICTABLE);
	}
	return is;
}

/* Size of the folio behind @mem in pages, or 0 if nothing is known of it. */
size_t ts_folio_pages(const char *mem)
{
	unsigned long pfn = ts_pfn(mem), head = pfn, next, flags;
	int fd;

	fd = pfn ? open("/proc/kpageflags", O_RDONLY) : -1;
	if (fd < 0)
		return 0;
	while (pread(fd, &flags, sizeof(flags), head * sizeof(flags)) ==
	       sizeof(flags) && (flags & KPF_COMPOUND_TAIL))
		head--;
	for (next = head + 1;
	     pread(fd, &flags, sizeof(flags), next * sizeof(flags)) ==
	     sizeof(flags) && (flags & KPF_COMPOUND_TAIL); next++)
		;
	close(fd);
	return next - head;
}

static size_t read_pagemap(const void *addr, unsigned long *entries, size_t nr)
{
	off_t pos = (unsigned long)addr / ts_psize * sizeof(*entries);
	static pid_t owner;
	static int fd = -1;
	ssize_t n;

	/* An inherited file shows the memory of the parent. */
	if (owner != getpid()) {
		if (fd >= 0)
			close(fd);
		fd = open("/proc/self/pagemap", O_RDONLY);
		owner = getpid();
	}
	if (fd < 0)
		return 0;
	n = pread(fd, entries, nr * sizeof(*entries), pos);
	return n < 0 ? 0 : n / sizeof(*entries);
}

unsigned long ts_pagemap(const void *addr)
{
	unsigned long entry = 0;

	read_pagemap(addr, &entry, 1);
	return entry;
}

/* The PFN behind @addr, or 0 if it is not known. */
unsigned long ts_pfn(const void *addr)
{
	unsigned long entry = ts_pagemap(addr);

	return entry & PM_PRESENT ? entry & PM_PFN : 0;
}

/* How many of the pages are swapped out? */
size_t ts_swapped(const char *mem, size_t first, size_t nr)
{
	size_t i, swapped = 0;

	for (i = first; i < first + nr; i++)
		swapped += !!(ts_pagemap(mem + i * ts_psize) & PM_SWAPPED);
	return swapped;
}

/* Swap pages out; how many are, in the end? */
size_t ts_pageout(char *mem, size_t first, size_t nr)
{
	size_t swapped = 0;
	int i;

	for (i = 0; i < 10 && swapped < nr; i++) {
		if (i)
			usleep(20 * 1000);
		if (i > 1)
			ts_drain();
		madvise(mem + first * ts_psize, nr * ts_psize, MADV_PAGEOUT);
		swapped = ts_swapped(mem, first, nr);
	}
	return swapped;
}

/*
 * Pin pages for a long time. Return: a ring that has them as its buffer, to be
 * closed; or -1 if that is not possible.
 */
int ts_pin_longterm(char *mem, size_t nr)
{
	struct io_uring_params params = { };
	struct iovec iov = { mem, nr * ts_psize };
	int fd = syscall(__NR_io_uring_setup, 1, &params);

	if (fd < 0)
		return -1;
	if (syscall(__NR_io_uring_register, fd, IORING_REGISTER_BUFFERS, &iov,
		    1)) {
		ksft_print_msg("io_uring_register: %s\n", strerror(errno));
		close(fd);
		return -1;
	}
	return fd;
}

/* Put a page into a pipe: it cannot be moved until that is closed or read. */
bool ts_pin_pipe(char *page, int fd[2])
{
	struct iovec iov = { page, ts_psize };

	if (pipe(fd))
		return false;
	if (vmsplice(fd[1], &iov, 1, 0) == (ssize_t)ts_psize)
		return true;
	close(fd[0]);
	close(fd[1]);
	return false;
}

/*
 * Swap on a disk
 */

static pid_t disk_owner;

/* The next test needs it, too. */
static void disk_off_at_exit(void)
{
	if (getpid() == disk_owner)
		ts_disk_off();
}

/* What mkswap does, for the first @nr pages of a device. */
bool ts_make_swap(const char *path, size_t nr)
{
	struct {
		unsigned int version, last_page, nr_badpages;
	} info = { 1, nr - 1, 0 };
	char *page = calloc(1, ts_psize);
	bool ok = false;
	int fd;

	memcpy(page + 1024, &info, sizeof(info));
	memcpy(page + ts_psize - 10, "SWAPSPACE2", 10);
	fd = open(path, O_WRONLY);
	if (fd >= 0) {
		ok = pwrite(fd, page, ts_psize, 0) == (ssize_t)ts_psize;
		close(fd);
	}
	free(page);
	return ok;
}

/*
 * Use the first @nr pages of the disk before all other swap. What is in swap
 * there stays in the swap cache, too, until memory is needed.
 */
bool ts_disk_on(size_t nr)
{
	bool ok;

	/* Left behind by a test that was killed. */
	ts_disk_off();
	ok = ts_make_swap(TS_DISK, nr) &&
	     !swapon(TS_DISK, SWAP_FLAG_PREFER | 100);
	if (ok && disk_owner != getpid()) {
		disk_owner = getpid();
		atexit(disk_off_at_exit);
	}
	if (!ok)
		ksft_print_msg("no swap on %s: %s\n", TS_DISK, strerror(errno));
	return ok;
}

bool ts_disk_off(void)
{
	return !swapoff(TS_DISK);
}

/* Pages of a mapping that memory has, be it in the swap cache only. */
size_t ts_in_memory(char *mem, size_t nr)
{
	unsigned char *vec = malloc(nr);
	size_t i, in = 0;

	if (!mincore(mem, nr * ts_psize, vec))
		for (i = 0; i < nr; i++)
			in += vec[i] & 1;
	free(vec);
	return in;
}

/*
 * Reclaim until at most @max pages of those that are in swap are still in memory,
 * too. They lie at the end of the list of inactive pages.
 */
bool ts_swap_uncache(char *mem, size_t nr, size_t max)
{
	double end = ts_now() + 20;
	size_t in;

	while ((in = ts_in_memory(mem, nr)) > max && ts_now() < end) {
		char size[32];

		snprintf(size, sizeof(size), "%zu", in * ts_psize);
		ts_write_file(CGROUPS "memory.reclaim", size);
		usleep(5 * 1000);
	}
	if (in > max)
		ksft_print_msg("%zu of %zu pages stay in the swap cache\n", in, nr);
	return in <= max;
}

/*
 * Patterns
 */

static unsigned long mix(unsigned long x)
{
	x += 0x9e3779b97f4a7c15;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
	x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
	return x ^ (x >> 31);
}

static unsigned long page_mix(unsigned long seed, size_t page)
{
	return mix(mix(seed) + page);
}

static inline unsigned long word_of(unsigned long pattern, size_t word)
{
	return pattern + word * 0xd1342543de82ef95;
}

/* All 16 nibbles of the pattern, and shifted by one in each further row. */
static inline unsigned int tag_of(unsigned long pattern, size_t granule)
{
	return ((pattern >> 4 * (granule & 15)) + (granule >> 4)) & 0xf;
}

unsigned long ts_word(unsigned long seed, size_t page, size_t word)
{
	return word_of(page_mix(seed, page), word);
}

unsigned int ts_tag(unsigned long seed, size_t page, size_t granule)
{
	return tag_of(page_mix(~seed, page), granule);
}

void ts_data_write(char *mem, size_t first, size_t nr, unsigned long seed)
{
	size_t page, i;

	ts_tco(true);
	for (page = first; page < first + nr; page++) {
		unsigned long *p = (unsigned long *)(mem + page * ts_psize);
		unsigned long pattern = page_mix(seed, page);

		for (i = 0; i < ts_psize / sizeof(*p); i++)
			p[i] = word_of(pattern, i);
	}
	ts_tco(false);
}

size_t ts_data_check(const char *mem, size_t first, size_t nr, unsigned long seed)
{
	size_t page, i, bad = 0;

	for (page = first; page < first + nr; page++) {
		const unsigned long *p = (const unsigned long *)(mem + page * ts_psize);
		unsigned long pattern = page_mix(seed, page), is = 0;

		ts_tco(true);
		for (i = 0; i < ts_psize / sizeof(*p); i++) {
			is = p[i];
			if (is != word_of(pattern, i))
				break;
		}
		ts_tco(false);

		if (i == ts_psize / sizeof(*p))
			continue;
		if (!bad++ && may_report())
			ksft_print_msg("page %zu pfn %#lx word %zu: data %#lx, not %#lx\n",
				       page, ts_pfn(p), i, is,
				       word_of(pattern, i));
	}
	return bad;
}

/* Is all data zero? */
size_t ts_data_zero(const char *mem, size_t first, size_t nr)
{
	size_t page, i, bad = 0;

	for (page = first; page < first + nr; page++) {
		const unsigned long *p = (const unsigned long *)(mem + page * ts_psize);

		ts_tco(true);
		for (i = 0; i < ts_psize / sizeof(*p); i++)
			if (p[i])
				break;
		ts_tco(false);

		if (i == ts_psize / sizeof(*p))
			continue;
		if (!bad++ && may_report())
			ksft_print_msg("page %zu pfn %#lx word %zu: data is not zero\n",
				       page, ts_pfn(p), i);
	}
	return bad;
}

void ts_tags_write(char *mem, size_t first, size_t nr, unsigned long seed)
{
	size_t page, i;

	for (page = first; page < first + nr; page++) {
		char *p = mem + page * ts_psize;
		unsigned long pattern = page_mix(~seed, page);

		for (i = 0; i < ts_psize / TS_GRANULE; i++)
			ts_stg(p + i * TS_GRANULE, tag_of(pattern, i));
	}
}

/* Compare with the tags of @seed, or with zero tags where @zero is set. */
static size_t check_tags(const char *mem, size_t first, size_t nr,
			 unsigned long seed, bool zero)
{
	size_t page, i, bad = 0;

	for (page = first; page < first + nr; page++) {
		const char *p = mem + page * ts_psize;
		unsigned long pattern = page_mix(~seed, page);

		for (i = 0; i < ts_psize / TS_GRANULE; i++) {
			unsigned int want = zero ? 0 : tag_of(pattern, i);
			unsigned int is = ts_ldg(p + i * TS_GRANULE);

			if (is == want)
				continue;
			if (!bad++ && may_report())
				ksft_print_msg("page %zu pfn %#lx granule %zu: tag %x, not %x\n",
					       page, ts_pfn(p), i, is, want);
			break;
		}
	}
	return bad;
}

size_t ts_tags_check(const char *mem, size_t first, size_t nr, unsigned long seed)
{
	return check_tags(mem, first, nr, seed, false);
}

size_t ts_tags_zero(const char *mem, size_t first, size_t nr)
{
	return check_tags(mem, first, nr, 0, true);
}

void ts_write(char *mem, size_t first, size_t nr, unsigned long seed)
{
	ts_data_write(mem, first, nr, seed);
	ts_tags_write(mem, first, nr, seed);
}

size_t ts_check(const char *mem, size_t first, size_t nr, unsigned long seed)
{
	size_t page, bad;

	bad = ts_tags_check(mem, first, nr, seed);
	bad += ts_data_check(mem, first, nr, seed);
	if (bad)
		return bad;

	/* A tag that is not what LDG has just shown ends in SIGSEGV here. */
	for (page = first; page < first + nr; page++) {
		const char *p = ts_ptr(mem + page * ts_psize,
				       ts_tag(seed, page, 0));

		if (ts_load(p) != ts_word(seed, page, 0))
			bad++;
	}
	return bad;
}

/*
 * Metadata-none: pages in use that became PROT_MTE and wait for their storage
 */

/* @nr base pages. */
char *ts_map_none(size_t nr, unsigned long seed)
{
	char *mem = ts_map(nr, TS_RW, 0);

	madvise(mem, nr * ts_psize, MADV_NOHUGEPAGE);
	ts_data_write(mem, 0, nr, seed);
	ts_protect(mem, 0, nr, TS_RWT);
	return mem;
}

/* One huge page mapped as such, or NULL. */
char *ts_map_none_huge(unsigned long seed)
{
	size_t size = ts_huge_size(), nr = size / ts_psize;
	char *mem = ts_map_huge(size);

	ts_data_write(mem, 0, nr, seed);
	if (!ts_is_huge(mem)) {
		ts_unmap(mem, nr);
		return NULL;
	}
	ts_protect(mem, 0, nr, TS_RWT);
	return mem;
}

/*
 * The first access: pages that still wait take a fault for their storage, have
 * their data and zero tags, and hold what tags are written next.
 */
size_t ts_none_touch(char *mem, size_t first, size_t nr, unsigned long seed)
{
	long faults = ts_vmstat("metadata_none_fault");
	size_t bad;

	bad = ts_data_check(mem, first, nr, seed);
	if (faults >= 0)
		bad += ts_expect(ts_vmstat("metadata_none_fault") > faults,
				 "pages that wait for their storage");
	bad += ts_tags_zero(mem, first, nr);
	ts_tags_write(mem, first, nr, seed);
	return bad + ts_check(mem, first, nr, seed);
}

/*
 * userfaultfd
 */

/* Open, and register @nr pages at @mem; false if the kernel cannot do that. */
bool ts_uffd_open(struct ts_uffd *u, char *mem, size_t nr, unsigned long mode,
		  unsigned long features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	struct uffdio_register reg = {
		.range = { (unsigned long)mem, nr * ts_psize },
		.mode = mode,
	};

	u->mem = mem;
	u->fd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (u->fd < 0)
		return false;
	if (!ioctl(u->fd, UFFDIO_API, &api) &&
	    !ioctl(u->fd, UFFDIO_REGISTER, &reg))
		return true;
	close(u->fd);
	u->fd = -1;
	return false;
}

static int uffd_do(const struct ts_uffd *u, unsigned long request, void *arg)
{
	return ioctl(u->fd, request, arg) ? errno : 0;
}

/* From the source. */
int ts_uffd_copy(const struct ts_uffd *u, size_t first, size_t nr)
{
	struct uffdio_copy arg = {
		.dst = (unsigned long)u->mem + first * ts_psize,
		.src = (unsigned long)u->source + first * ts_psize,
		.len = nr * ts_psize,
	};

	return uffd_do(u, UFFDIO_COPY, &arg);
}

static struct uffdio_range uffd_range(const struct ts_uffd *u, size_t first,
				      size_t nr)
{
	return (struct uffdio_range) {
		.start = (unsigned long)u->mem + first * ts_psize,
		.len = nr * ts_psize,
	};
}

int ts_uffd_zero(const struct ts_uffd *u, size_t first, size_t nr)
{
	struct uffdio_zeropage arg = { .range = uffd_range(u, first, nr) };

	return uffd_do(u, UFFDIO_ZEROPAGE, &arg);
}

/* Map what the page cache has. */
int ts_uffd_continue(const struct ts_uffd *u, size_t first, size_t nr,
		     unsigned long mode)
{
	struct uffdio_continue arg = {
		.range = uffd_range(u, first, nr),
		.mode = mode,
	};

	return uffd_do(u, UFFDIO_CONTINUE, &arg);
}

/* Write-protect, or let be written to again. */
int ts_uffd_protect(const struct ts_uffd *u, size_t first, size_t nr, bool on)
{
	struct uffdio_writeprotect arg = {
		.range = uffd_range(u, first, nr),
		.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return uffd_do(u, UFFDIO_WRITEPROTECT, &arg);
}

/* How many of the pages are write-protected by userfaultfd? */
size_t ts_uffd_protected(const char *mem, size_t first, size_t nr)
{
	size_t i, protected = 0;

	for (i = first; i < first + nr; i++)
		protected += !!(ts_pagemap(mem + i * ts_psize) & PM_UFFD_WP);
	return protected;
}

/* Resolve an event in its way. */
static void uffd_resolve(const struct ts_uffd *u, const struct uffd_msg *msg)
{
	size_t page = ((char *)msg->arg.pagefault.address - u->mem) / ts_psize;
	unsigned long flags = msg->arg.pagefault.flags;

	if (flags & UFFD_PAGEFAULT_FLAG_WP)
		ts_uffd_protect(u, page, 1, false);
	else if (flags & UFFD_PAGEFAULT_FLAG_MINOR)
		ts_uffd_continue(u, page, 1, 0);
	else
		ts_uffd_copy(u, page, 1);
}

static void *uffd_handler(void *arg)
{
	struct ts_uffd *u = arg;
	struct pollfd poll_fd[] = {
		{ .fd = u->fd, .events = POLLIN },
		{ .fd = u->stop[0], .events = POLLIN },
	};
	struct uffd_msg msg;

	for (;;) {
		poll(poll_fd, ARRAY_SIZE(poll_fd), -1);
		if (poll_fd[1].revents)
			return NULL;
		if (read(u->fd, &msg, sizeof(msg)) != sizeof(msg))
			continue;
		u->events++;
		uffd_resolve(u, &msg);
	}
}

/* Resolve and count what happens until ts_uffd_stop(). */
void ts_uffd_start(struct ts_uffd *u)
{
	u->events = 0;
	if (pipe(u->stop) ||
	    pthread_create(&u->thread, NULL, uffd_handler, u))
		ksft_exit_fail_msg("no thread\n");
}

void ts_uffd_stop(struct ts_uffd *u)
{
	close(u->stop[1]);
	pthread_join(u->thread, NULL);
	close(u->stop[0]);
}

/*
 * Processes, threads, pressure
 */

double ts_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/*
 * Exit status of @pid, 128 + signal if one killed it, or -1 if it had not ended
 * within @seconds and was killed here.
 */
int ts_wait(pid_t pid, unsigned int seconds)
{
	double end = ts_now() + seconds;
	int status;

	while (waitpid(pid, &status, WNOHANG) == 0) {
		if (ts_now() > end) {
			ksft_print_msg("process %d does not end\n", pid);
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
			return -1;
		}
		usleep(2000);
	}
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) :
				     WEXITSTATUS(status);
}

/* Run @fn in a child; its result as of ts_wait(). */
int ts_child(int (*fn)(void *), void *arg, unsigned int seconds)
{
	pid_t pid = fork();

	if (pid < 0)
		ksft_exit_fail_msg("fork: %s\n", strerror(errno));
	if (!pid)
		_exit(fn(arg));
	return ts_wait(pid, seconds);
}

/*
 * A child that stops when it has prepared, and goes on to check once it is let
 * go; 0 if it could not prepare.
 */
pid_t ts_traced(int (*prepare)(void), int (*check)(void))
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		int ret = prepare ? prepare() : 0;

		if (ret)
			_exit(ret);
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		_exit(check());
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		ksft_exit_fail_msg("no child\n");
	return WIFSTOPPED(status) ? pid : 0;
}

size_t ts_let_go(pid_t pid)
{
	int ret;

	ptrace(PTRACE_DETACH, pid, NULL, NULL);
	ret = ts_wait(pid, 60);
	return ts_expect(!ret, "child to end with 0, not %d", ret);
}

bool ts_run_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return !sched_setaffinity(0, sizeof(set), &set);
}

/* A kernel that can delay functions must know this one. */
static bool set_delay(const char *function, unsigned int usec, const char *name)
{
	char line[128] = "\n";
	int ret;

	if (function)
		snprintf(line, sizeof(line), "%s %u %s\n", function, usec, name);
	ret = ts_write_file(DELAY_FILE, line);
	if (ret && !access(DELAY_FILE, W_OK))
		ksft_exit_fail_msg("no delay of %s: %s\n",
				   function ? function : "nothing",
				   strerror(-ret));
	return !ret;
}

/*
 * Each call of a function of the kernel takes @usec longer, for threads that
 * are slow, see ts_be_slow(); NULL ends that. Makes the time window of a race
 * wide. Return: false where the kernel cannot do that.
 */
bool ts_slow(const char *function, unsigned int usec)
{
	return set_delay(function, usec, SLOW_THREAD);
}

/* The same for whoever comes there. */
bool ts_slow_any(const char *function, unsigned int usec)
{
	return set_delay(function, usec, "");
}

/* How often that has happened, or -1 where it cannot. */
long ts_slow_hits(void)
{
	char buf[256];

	if (ts_read_file(DELAY_FILE, buf, sizeof(buf)) <= 0)
		return -1;
	return field(buf, "hits=");
}

/*
 * Wait, not for ever, until it has happened more than @hits times; not at all
 * where it cannot.
 */
void ts_wait_slow(long hits, double seconds)
{
	double end = ts_now() + seconds;

	while (hits >= 0 && ts_slow_hits() <= hits && ts_now() < end)
		;
}

/* This thread is one of the slow ones, or no more. */
void ts_be_slow(bool on)
{
	prctl(PR_SET_NAME, on ? SLOW_THREAD : "ts_test");
}

static int group_path(char *path, size_t size, const char *group,
		      const char *file)
{
	return snprintf(path, size, CGROUPS "%s/%s", group, file);
}

/* A new cgroup that can use the controller ("+memory"). */
bool ts_group_make(const char *group, const char *controller)
{
	char path[128];

	ts_write_file(CGROUPS "cgroup.subtree_control", controller);
	group_path(path, sizeof(path), group, "");
	rmdir(path);
	return !mkdir(path, 0755);
}

/* False if it is not empty. */
bool ts_group_remove(const char *group)
{
	char path[128];

	group_path(path, sizeof(path), group, "");
	return !rmdir(path);
}

bool ts_group_set(const char *group, const char *file, const char *value)
{
	char path[128];

	group_path(path, sizeof(path), group, file);
	return !ts_write_file(path, value);
}

/* What is in @file, or a negative error. */
int ts_group_get(const char *group, const char *file, char *buf, size_t size)
{
	char path[128];

	group_path(path, sizeof(path), group, file);
	return ts_read_file(path, buf, size);
}

/* Run @fn in a child that is a member of @group from the beginning. */
pid_t ts_group_start(const char *group, int (*fn)(void))
{
	pid_t pid = fork();

	if (!pid) {
		if (!ts_group_set(group, "cgroup.procs", "0"))
			_exit(99);
		_exit(fn());
	}
	if (pid < 0)
		ksft_exit_fail_msg("fork failed\n");
	return pid;
}

int ts_compact(void)
{
	return ts_write_file("/proc/sys/vm/compact_memory", "1");
}

/*
 * What has to stay available. It must be less than the size of tag storage, or
 * that would never be used up.
 */
long ts_floor_kb(void)
{
	return ts_meminfo("MemTotal") / 256 + 6 * 1024;
}

static bool populate(char *mem, size_t *nr, size_t more)
{
	if (madvise(mem + *nr * ts_psize, more * ts_psize, MADV_POPULATE_WRITE))
		return false;
	*nr += more;
	return true;
}

/* Each node uses its storage only once it is short of other memory itself. */
static void ballast_of_all_nodes(char *mem, size_t nr)
{
	unsigned long nodes = 3;

	if (have_nodes() &&
	    syscall(__NR_mbind, mem, nr * ts_psize, MPOL_INTERLEAVE, &nodes,
		    8 * sizeof(nodes), 0))
		ksft_exit_fail_msg("mbind: %s\n", strerror(errno));
}

/*
 * Most of ordinary memory, in huge pages where there are any: they come quickly,
 * and never from tag storage. Some base pages in between, from all over memory,
 * so that each part of tag storage has pages that it covers among them.
 *
 * What is left, @leave_kb or as much as suits ts_ballast_fill(), is so much that
 * no step comes to where base pages would be taken from tag storage.
 */
static void ballast_bulk(struct ts_ballast *b, long leave_kb)
{
	size_t step = BULK_KB * 1024UL / ts_psize, base = (1 << 20) / ts_psize;
	char enabled[128] = "";
	bool never;

	/* The default of a small machine. */
	ts_read_file(THP_DIR "enabled", enabled, sizeof(enabled));
	never = strstr(enabled, "[never]");
	if (never)
		ts_write_file(THP_DIR "enabled", "madvise");

	/* Filling memory must not set kswapd and kcompactd to work afterwards. */
	ts_set(BOOST, "0");
	b->max = ts_meminfo("MemTotal") * 1024 / ts_psize;
	b->mem = ts_map(b->max, TS_RW, MAP_NORESERVE);
	madvise(b->mem, b->max * ts_psize, MADV_NOHUGEPAGE);
	b->bulk = ts_map(b->max, TS_RW, MAP_NORESERVE);
	madvise(b->bulk, b->max * ts_psize, MADV_HUGEPAGE);
	ballast_of_all_nodes(b->mem, b->max);
	ballast_of_all_nodes(b->bulk, b->max);
	/* Children have no part in it. */
	madvise(b->bulk, b->max * ts_psize, MADV_DONTFORK);

	if (!leave_kb)
		leave_kb = ts_zoneinfo("high") * (long)ts_psize / 1024 + BULK_KB;
	if (leave_kb < TS_BASE_KB)
		leave_kb = TS_BASE_KB;
	while (ts_meminfo("MemFree") - ts_meminfo("MetadataFree") > leave_kb &&
	       b->bulk_nr + step <= b->max) {
		long storage = ts_vmstat("nr_free_metadata");

		if (!populate(b->bulk, &b->bulk_nr, step - base) ||
		    !populate(b->mem, &b->nr, base))
			break;
		/* No huge pages any more: base pages, and too many at once. */
		if (storage - ts_vmstat("nr_free_metadata") > (long)(2 * base))
			break;
	}
	if (never)
		ts_write_file(THP_DIR "enabled", "never");
}

/*
 * Take memory, the last of it base page by base page, until at most @leave pages
 * of tag storage are free. Stops before the system gets short of memory; false
 * then.
 */
bool ts_ballast_fill(struct ts_ballast *b, long leave)
{
	size_t chunk = (1 << 20) / ts_psize;
	long floor_kb = ts_floor_kb();

	if (!b->mem)
		ballast_bulk(b, 0);

	while (b->nr + chunk < b->max) {
		if (ts_vmstat("nr_free_metadata") <= leave)
			return true;
		if (ts_meminfo("MemAvailable") < floor_kb)
			return false;
		if (!populate(b->mem, &b->nr, chunk))
			return false;
	}
	return false;
}

void ts_ballast_free(struct ts_ballast *b)
{
	ts_unmap(b->mem, b->max);
	ts_unmap(b->bulk, b->max);
	if (*b->scale)
		ts_write_file(SCALE, b->scale);
	memset(b, 0, sizeof(*b));
}

/* Where in @r the tags of @pfn are: the block's number in all regions, or -1. */
static long block_covering(const struct ts_region *r, int nr, unsigned long pfn)
{
	long before = 0;

	for (; nr > 0; nr--, r++) {
		unsigned long block = (pfn - r->data_pfn) /
				      (TS_COVER * r->block_pages);

		if (pfn >= r->data_pfn && block < r->blocks)
			return before + block;
		before += r->blocks;
	}
	return -1;
}

/* The number of the block that @pfn is part of, or -1. */
static long block_of(const struct ts_region *r, int nr, unsigned long pfn)
{
	long before = 0;

	for (; nr > 0; nr--, r++) {
		unsigned long block = (pfn - r->tag_pfn) / r->block_pages;

		if (pfn >= r->tag_pfn && block < r->blocks)
			return before + block;
		before += r->blocks;
	}
	return -1;
}

/*
 * Find, from page *@storage of the ballast on, a page that lies in tag storage
 * and another one of the ballast, @covered, that has its tags there.
 */
bool ts_ballast_pair(const struct ts_ballast *b, size_t *storage,
		     size_t *covered)
{
	struct ts_region regions[32];
	int nr = ts_regions(regions, ARRAY_SIZE(regions));
	unsigned long *entries;
	size_t blocks = 0, i;
	unsigned int *owner;
	bool found = false;

	for (i = 0; (int)i < nr; i++)
		blocks += regions[i].blocks;
	entries = calloc(b->nr, sizeof(*entries));
	/* For each block, one more than the index of a page that it covers. */
	owner = calloc(blocks, sizeof(*owner));
	if (!entries || !owner)
		ksft_exit_fail_msg("no memory to find pages in tag storage\n");

	for (i = 0; i < b->nr; i += 512)
		read_pagemap(b->mem + i * ts_psize, entries + i,
			     b->nr - i < 512 ? b->nr - i : 512);
	for (i = 0; i < b->nr; i++) {
		long block;

		entries[i] = entries[i] & PM_PRESENT ? entries[i] & PM_PFN : 0;
		block = block_covering(regions, nr, entries[i]);
		if (block >= 0)
			owner[block] = i + 1;
	}
	for (i = *storage; i < b->nr && !found; i++) {
		long block = block_of(regions, nr, entries[i]);

		if (block < 0 || !owner[block])
			continue;
		*storage = i;
		*covered = owner[block] - 1;
		found = true;
	}
	free(entries);
	free(owner);
	return found;
}

/* Index of a page of the ballast with a PFN in [@pfn, @pfn + @nr), or -1. */
ssize_t ts_ballast_find(const struct ts_ballast *b, unsigned long pfn,
			unsigned long nr)
{
	unsigned long entries[512];
	size_t i, j, n;

	for (i = 0; i < b->nr; i += n) {
		n = b->nr - i < ARRAY_SIZE(entries) ? b->nr - i :
						      ARRAY_SIZE(entries);
		n = read_pagemap(b->mem + i * ts_psize, entries, n);
		if (!n)
			break;
		for (j = 0; j < n; j++) {
			unsigned long is = entries[j] & PM_PFN;

			if ((entries[j] & PM_PRESENT) && is >= pfn &&
			    is < pfn + nr)
				return i + j;
		}
	}
	return -1;
}

/* How many of these pages lie in tag storage? */
size_t ts_in_storage(const char *mem, size_t nr)
{
	struct ts_region r[32];
	int regions = ts_regions(r, ARRAY_SIZE(r));
	size_t i, found = 0;

	for (i = 0; i < nr; i++)
		found += !!ts_storage_of(r, regions, ts_pfn(mem + i * ts_psize));
	return found;
}

/* What is to lie there: some pages come from elsewhere all the same. */
int ts_mostly_lent(const char *mem, size_t nr)
{
	size_t in = ts_in_storage(mem, nr);

	return ts_usually(in > nr / 2, "most of %zu pages in tag storage, not %zu",
			  nr, in);
}

/*
 * Index of a page of the ballast that lies in the tag storage of @pfn, or -1.
 */
ssize_t ts_ballast_storage(const struct ts_ballast *b, unsigned long pfn)
{
	const struct ts_region *in;
	struct ts_region r[32];
	unsigned long block;

	in = ts_covers(r, ts_regions(r, ARRAY_SIZE(r)), pfn);
	if (!in)
		return -1;
	block = (pfn - in->data_pfn) / (TS_COVER * in->block_pages);
	return ts_ballast_find(b, in->tag_pfn + block * in->block_pages,
			       in->block_pages);
}

/*
 * Take so much memory that base pages come from tag storage next, but for those
 * that are freed before, until the ballast is: other memory is at the high
 * watermark, which is made 20 % of a zone.
 */
void ts_ballast_near(struct ts_ballast *b)
{
	long free;

	if (!b->mem) {
		ts_read_file(SCALE, b->scale, sizeof(b->scale));
		ts_set(SCALE, "1000");
		ballast_bulk(b, ts_meminfo("MemTotal") * 17 / 100);
	}
	/* What the lists of the CPUs have goes first. */
	free = ts_vmstat("nr_free_metadata");
	while (free - ts_vmstat("nr_free_metadata") < 64 && b->nr + 64 <= b->max)
		if (!populate(b->mem, &b->nr, 64))
			break;
}

/*
 * Fill tag storage with base pages, and let other memory be free. Tag storage is
 * used for them once the other memory is down to the high watermark, which is
 * made 20 % of a zone; at 10 % reclaim would begin. The base pages end at 14 %.
 * On a small machine one step of the bulk could get there, or below, before them.
 */
void ts_ballast_lend(struct ts_ballast *b)
{
	size_t chunk = (1 << 20) / ts_psize;
	long total = ts_meminfo("MemTotal"), least = total * 14 / 100;
	long leave = total * 17 / 100;
	char old[32] = "10";

	ts_read_file(SCALE, old, sizeof(old));
	ts_set(SCALE, "1000");
	if (leave < least + 2 * BULK_KB)
		leave = least + 2 * BULK_KB;
	ballast_bulk(b, leave);
	while (ts_vmstat("nr_free_metadata") > 64 && b->nr + chunk < b->max &&
	       ts_meminfo("MemFree") - ts_meminfo("MetadataFree") > least)
		if (!populate(b->mem, &b->nr, chunk))
			break;
	ts_write_file(SCALE, old);
	madvise(b->bulk, b->bulk_nr * ts_psize, MADV_DONTNEED);
	b->bulk_nr = 0;
}

/*
 * Fill memory, then let go what does not lie in tag storage, and of every four
 * pages of tag storage all but the last @quarters. What remains is data in tag
 * storage beside much free memory: whoever needs that storage has to move the
 * data.
 *
 * Return: pages of data in tag storage, for ts_lent_check().
 */
size_t ts_lend(struct ts_ballast *b, unsigned int quarters)
{
	struct ts_region r[32];
	int nr = ts_regions(r, ARRAY_SIZE(r));
	size_t i, first = 0;

	ts_ballast_lend(b);
	b->lent = 0;
	for (i = 0; i <= b->nr; i++) {
		unsigned long pfn = i < b->nr ? ts_pfn(b->mem + i * ts_psize) : 0;

		if (i < b->nr && !(ts_storage_of(r, nr, pfn) &&
				   pfn % 4 + quarters >= 4))
			continue;
		if (i > first)
			madvise(b->mem + first * ts_psize,
				(i - first) * ts_psize, MADV_DONTNEED);
		first = i + 1;
		if (i == b->nr)
			break;
		ts_data_write(b->mem, i, 1, LENT_SEED);
		b->lent++;
	}
	ts_drain();
	return b->lent;
}

static int lent_pipe[PIN_PIPES][2];
static int nr_lent_pipes;

/* Put all data of ts_lend() into pipes: it cannot be moved then. */
void ts_lent_pin(const struct ts_ballast *b)
{
	size_t page = 0, pinned = 0;

	while (nr_lent_pipes < PIN_PIPES && page < b->nr) {
		int *fd = lent_pipe[nr_lent_pipes];
		struct iovec iov[256];
		size_t n = 0;

		if (pipe(fd))
			break;
		nr_lent_pipes++;
		if (fcntl(fd[1], F_SETPIPE_SZ, ARRAY_SIZE(iov) * ts_psize) < 0)
			break;
		for (; n < ARRAY_SIZE(iov) && page < b->nr; page++) {
			if (!ts_pfn(b->mem + page * ts_psize))
				continue;
			iov[n].iov_base = b->mem + page * ts_psize;
			iov[n++].iov_len = 1;
		}
		if (n && vmsplice(fd[1], iov, n, 0) != (ssize_t)n)
			break;
		pinned += n;
	}
	ksft_print_msg("%zu of %zu pages of data in tag storage pinned\n",
		       pinned, b->lent);
}

void ts_lent_unpin(void)
{
	while (nr_lent_pipes--) {
		close(lent_pipe[nr_lent_pipes][0]);
		close(lent_pipe[nr_lent_pipes][1]);
	}
	nr_lent_pipes = 0;
}

/* How many pages of ts_lend() are wrong or gone, wherever they lie now? */
size_t ts_lent_check(const struct ts_ballast *b)
{
	size_t i, found = 0, bad = 0;

	for (i = 0; i < b->nr; i++) {
		if (!(ts_pagemap(b->mem + i * ts_psize) &
		      (PM_PRESENT | PM_SWAPPED)))
			continue;
		found++;
		bad += ts_data_check(b->mem, i, 1, LENT_SEED);
	}
	return bad + ts_expect(found == b->lent,
			       "%zu pages of data in tag storage, not %zu",
			       b->lent, found);
}

/* Run @fn while all tag storage is in use: some of it has to be moved. */
size_t ts_while_lent(size_t (*fn)(void))
{
	long killed = ts_vmstat("oom_kill");
	struct ts_ballast ballast = { };
	struct ts_counters before, after;
	size_t bad;

	ts_lend(&ballast, 4);
	ts_counters(&before);
	bad = fn();
	ts_counters(&after);
	ksft_print_msg("%zu pages of data in tag storage, %ld moved\n",
		       ballast.lent, after.moved - before.moved);
	bad += ts_expect(after.moved > before.moved,
			 "data to be moved out of tag storage");
	bad += ts_lent_check(&ballast);
	bad += ts_expect(ts_vmstat("oom_kill") == killed, "no OOM kill");
	ts_ballast_free(&ballast);
	return bad;
}
