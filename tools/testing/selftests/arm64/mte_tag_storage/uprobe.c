// SPDX-License-Identifier: GPL-2.0-only
/*
 * A uprobe copies the page of its instruction. The copy of a tagged page has
 * its tags, the copy of a page that waits for its tag storage has none, and the
 * same is true when the probe is removed; and that also where the tag storage
 * of the copy holds data, and where the page lies in lent tag storage itself.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "ts_common.h"

#define NR	64
#define STEP	8	/* pages from probe to probe; to remove one takes long */
#define SEED	1
#define BETWEEN	2048
#define TRACE	"/sys/kernel/tracing"
#define EVENTS	TRACE "/uprobe_events"
#define GROUP	"ts_uprobe"
#define ENABLE	TRACE "/events/" GROUP "/enable"

/* mov w0, #imm; ret */
#define MOV_W0(imm)	(0x52800000 | (imm) << 5)
#define RET		0xd65f03c0
#define BRK		0xd4200000

static char *mem;
static int fd = -1;

/* Whether the pages of the code shall lie in tag storage. */
static bool lent;
static struct ts_ballast ballast;

/*
 * The first two instructions of a page, over its pattern. The kernel reads the
 * one with the probe from the file, whatever a private page has in its place.
 */
static void write_code(void)
{
	size_t i;

	for (i = 0; i < NR; i++) {
		unsigned int code[] = { MOV_W0(i + 1), RET };

		if (pwrite(fd, code, sizeof(code), i * ts_psize) != sizeof(code))
			ksft_exit_fail_msg("write to memfd failed\n");
		ts_tco(true);
		memcpy(mem + i * ts_psize, code, sizeof(code));
		ts_tco(false);
		__builtin___clear_cache(mem + i * ts_psize,
					mem + i * ts_psize + sizeof(code));
	}
}

/*
 * Pages of a file, private ones or, without @own, those of the page cache, that
 * can be executed and are tagged, or, with @waits, wait to be.
 */
static bool map_code(bool own, bool waits)
{
	fd = memfd_create("code", 0);
	if (fd < 0 || ftruncate(fd, NR * ts_psize))
		return false;
	mem = mmap(NULL, NR * ts_psize, waits ? TS_RW : TS_RWT,
		   own ? MAP_PRIVATE : MAP_SHARED, fd, 0);
	if (mem == MAP_FAILED)
		return false;
	if (lent)
		ts_ballast_near(&ballast);
	ts_data_write(mem, 0, NR, SEED);
	if (!waits)
		ts_tags_write(mem, 0, NR, SEED);
	write_code();
	if (lent)
		ts_mostly_lent(mem, NR);
	if (!own) {
		char *shared = mem;

		mem = mmap(NULL, NR * ts_psize, PROT_READ, MAP_PRIVATE, fd, 0);
		if (mem == MAP_FAILED)
			return false;
		munmap(shared, NR * ts_psize);
	}
	/* Probes are for mappings that nobody can write to. */
	ts_protect(mem, 0, NR, PROT_READ | PROT_EXEC | PROT_MTE);
	return true;
}

static void unmap_code(void)
{
	ts_unmap(mem, NR);
	close(fd);
}

/* A probe at the beginning of some pages. */
static bool probe(void)
{
	char line[128];
	size_t i;
	int out;

	out = open(EVENTS, O_WRONLY | O_TRUNC);
	if (out < 0)
		return false;
	for (i = 0; i < NR; i += STEP) {
		int len = snprintf(line, sizeof(line),
				   "p:" GROUP "/page%zu /proc/%d/fd/%d:%zu\n",
				   i, getpid(), fd, i * ts_psize);

		if (write(out, line, len) != len) {
			close(out);
			return false;
		}
	}
	close(out);
	return !ts_write_file(ENABLE, "1");
}

static void unprobe(void)
{
	ts_write_file(ENABLE, "0");
	close(open(EVENTS, O_WRONLY | O_TRUNC));
}

/* The rest of the page has the pattern, and the code still runs. */
static size_t check_code(bool tagged, bool probed)
{
	size_t i, j, bad = 0, probes = 0;

	bad += tagged ? ts_tags_check(mem, 0, NR, SEED) : ts_tags_zero(mem, 0, NR);
	ts_tco(true);
	for (i = 0; i < NR; i++) {
		const unsigned long *p = (void *)(mem + i * ts_psize);
		int (*fn)(void) = (void *)p;

		probes += ((unsigned int)*p & ~0x1fffe0U) == BRK;
		for (j = 1; j < ts_psize / 8; j++) {
			if (p[j] != ts_word(SEED, i, j))
				break;
		}
		bad += ts_expect(j == ts_psize / 8, "data of page %zu", i);
		bad += ts_expect(fn() == (int)i + 1, "code of page %zu", i);
	}
	ts_tco(false);
	return bad + ts_expect(probes == (probed ? NR / STEP : 0),
			       "%d probes in place, not %zu",
			       probed ? NR / STEP : 0, probes);
}

/* The mapping of the copies becomes tagged only then. */
static size_t probed_untagged(void)
{
	char *between = ts_map(BETWEEN, TS_RW, 0);
	size_t bad;

	if (!map_code(false, false))
		return ts_expect(false, "code that can be tagged");
	/* So that the copies have not their tags where those of the code are. */
	ts_data_write(between, 0, BETWEEN, SEED);
	munmap(mem, NR * ts_psize);
	mem = mmap(NULL, NR * ts_psize, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd,
		   0);
	if (mem == MAP_FAILED)
		return ts_expect(false, "an untagged mapping");
	bad = ts_expect(probe(), "to set probes");
	ts_protect(mem, 0, NR, PROT_READ | PROT_EXEC | PROT_MTE);
	bad += check_code(true, true);
	unprobe();
	bad += check_code(true, false);
	unmap_code();
	ts_unmap(between, BETWEEN);
	return bad;
}

static size_t probed(bool own, bool waits)
{
	unsigned long pfn[NR];
	size_t bad = 0, i, moved = 0;

	if (!map_code(own, waits))
		return ts_expect(false, "code that can be tagged");
	if (!waits)
		bad += check_code(true, false);
	/* None if it waits: the page cache is mapped at the first access. */
	for (i = 0; i < NR; i++)
		pfn[i] = ts_pfn(mem + i * ts_psize);
	bad += ts_expect(probe(), "to set probes");
	for (i = 0; i < NR; i += STEP)
		moved += ts_pfn(mem + i * ts_psize) != pfn[i];
	bad += ts_expect(moved == NR / STEP,
			 "%d pages to be copied, not %zu", NR / STEP, moved);
	bad += check_code(!waits, true);
	unprobe();
	bad += check_code(!waits, false);
	bad += ts_expect(!ts_in_storage(mem, NR),
			 "no tagged page in tag storage");
	unmap_code();
	return bad;
}

static int own_tagged(void)
{
	return ts_result(probed(true, false));
}

static int own_waiting(void)
{
	return ts_result(probed(true, true));
}

static int cache_tagged(void)
{
	return ts_result(probed(false, false));
}

static int cache_untagged(void)
{
	return ts_result(probed_untagged());
}

static int cache_waiting(void)
{
	return ts_result(probed(false, true));
}

/* The pages that are copied and those that stay have to move, to be tagged. */
static int in_storage(void)
{
	long faults = ts_vmstat("metadata_none_fault");
	size_t bad;

	/* The free pages of one CPU, see ts_ballast_near(). */
	ts_run_on(0);
	lent = true;
	bad = probed(true, true);
	bad += probed(false, true);
	lent = false;
	bad += ts_expect(ts_vmstat("metadata_none_fault") > faults + NR / 2,
			 "faults of pages in tag storage");
	ts_ballast_free(&ballast);
	return ts_result(bad);
}

/* Data in the tag storage of the copies has to make way. */
static int storage_used(void)
{
	struct ts_counters before, after;
	size_t bad, data;

	data = ts_lend(&ballast, 4);
	ts_counters(&before);
	ksft_print_msg("%zu pages of data in tag storage, %ld free\n", data,
		       before.free);
	bad = probed_untagged();
	bad += probed(true, false);
	bad += probed(false, false);
	ts_counters(&after);
	bad += ts_expect(after.moved > before.moved, "data to be moved");
	bad += ts_lent_check(&ballast);
	ts_ballast_free(&ballast);
	return ts_result(bad);
}

static const struct ts_case cases[] = {
	{ "private tagged page", own_tagged, TS_NEED_ROOT },
	{ "private page that waits for storage", own_waiting, TS_NEED_ROOT },
	{ "tagged page of the page cache", cache_tagged, TS_NEED_ROOT },
	{ "tagged page of the page cache, mapped untagged", cache_untagged,
	  TS_NEED_ROOT },
	{ "page of the page cache that waits", cache_waiting, TS_NEED_ROOT },
	{ "pages that lie in tag storage", in_storage,
	  TS_NEED_ROOT | TS_NEED_COUNTERS | TS_NEED_REGIONS },
	{ "storage in use", storage_used,
	  TS_NEED_ROOT | TS_NEED_COUNTERS | TS_NEED_REGIONS },
};

int main(void)
{
	if (access(EVENTS, W_OK))
		mount("tracefs", TRACE, "tracefs", 0, NULL);
	if (access(EVENTS, W_OK))
		ksft_exit_skip("no uprobe events\n");
	return ts_main(cases, ARRAY_SIZE(cases));
}
