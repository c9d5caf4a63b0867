// SPDX-License-Identifier: GPL-2.0-only
/*
 * PTRACE_PEEKMTETAGS and PTRACE_POKEMTETAGS on pages that have not been touched
 * since mprotect(PROT_MTE), or never, read zero tags and write tags that the
 * traced process then finds, beside unchanged data.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "ts_common.h"

#ifndef PTRACE_PEEKMTETAGS
#define PTRACE_PEEKMTETAGS	33
#endif
#ifndef PTRACE_POKEMTETAGS
#define PTRACE_POKEMTETAGS	34
#endif

#define NR		256
#define NR_STORED	64
#define GRANULES	(ts_psize / TS_GRANULE)

/* Of /proc/kpageflags: a page of zeros; PG_mte_tagged. */
#define KPF_ZERO_PAGE	0x1000000UL
#define KPF_ARCH_2	0x20000000000UL

static char *mem;
static unsigned char tags[65536 / TS_GRANULE];

static size_t access_tags(pid_t pid, int request, size_t page)
{
	struct iovec iov = { .iov_base = tags, .iov_len = GRANULES };
	long ret = ptrace(request, pid, mem + page * ts_psize, &iov);

	return ts_expect(!ret && iov.iov_len == GRANULES,
			 "%zu tags of page %zu, is %zu, %s", GRANULES, page,
			 iov.iov_len, ret ? strerror(errno) : "no error");
}

static size_t peek(pid_t pid, size_t page, unsigned long seed, bool zero)
{
	size_t bad, i;

	memset(tags, 0xff, sizeof(tags));
	bad = access_tags(pid, PTRACE_PEEKMTETAGS, page);
	for (i = 0; i < GRANULES && !bad; i++)
		bad += ts_expect(tags[i] == (zero ? 0 : ts_tag(seed, page, i)),
				 "tag %zu of page %zu not to be %x", i, page,
				 tags[i]);
	return bad;
}

static size_t poke(pid_t pid, size_t page, unsigned long seed)
{
	size_t i;

	for (i = 0; i < GRANULES; i++)
		tags[i] = ts_tag(seed, page, i);
	return access_tags(pid, PTRACE_POKEMTETAGS, page);
}

static int check_zero(void)
{
	return ts_tags_zero(mem, 0, NR) + ts_data_check(mem, 0, NR, 1) != 0;
}

static int check_poked(void)
{
	return ts_check(mem, 0, NR, 1) != 0;
}

/* Every second page was poked. */
static int check_half(void)
{
	size_t page, bad = 0;

	for (page = 0; page < NR; page += 2) {
		bad += ts_check(mem, page, 1, 1);
		bad += ts_tags_zero(mem, page + 1, 1);
	}
	return bad + ts_data_check(mem, 0, NR, 1) != 0;
}

static void untouched(void)
{
	mem = ts_map(NR, TS_RW, 0);
	ts_data_write(mem, 0, NR, 1);
	ts_protect(mem, 0, NR, TS_RWT);
}

/* All tags of the first @nr pages in one call are zero. */
static size_t peek_zero(pid_t pid, size_t nr)
{
	size_t len = nr * GRANULES, i, bad;
	unsigned char *all = malloc(len);
	struct iovec iov = { .iov_base = all, .iov_len = len };

	memset(all, 0xff, len);
	bad = ts_expect(!ptrace(PTRACE_PEEKMTETAGS, pid, mem, &iov) &&
			iov.iov_len == len, "%zu tags, is %zu", len, iov.iov_len);
	for (i = 0; i < len && !bad; i++)
		bad += ts_expect(!all[i], "tag %zu to be zero", i);
	free(all);
	return bad;
}

/* In one call, pages of so many blocks that these are not reserved one by one. */
static int peek_at_once(void)
{
	size_t nr = 8 * NR, bad;
	pid_t pid;

	mem = ts_map(nr, TS_RW, 0);
	ts_data_write(mem, 0, nr, 1);
	ts_protect(mem, 0, nr, TS_RWT);
	pid = ts_traced(NULL, check_zero);
	bad = peek_zero(pid, nr) + ts_let_go(pid);
	ts_unmap(mem, nr);
	return ts_result(bad);
}

static int check_zero_stored(void)
{
	return ts_tags_zero(mem, 0, NR_STORED) +
	       ts_data_check(mem, 0, NR_STORED, 1) != 0;
}

/* The first of NR_STORED pages of data in tag storage, one behind the other. */
static char *stored(const struct ts_ballast *b)
{
	size_t i, run = 0;

	for (i = 0; i < b->nr; i++) {
		run = ts_pfn(b->mem + i * ts_psize) ? run + 1 : 0;
		if (run == NR_STORED)
			return b->mem + (i + 1 - run) * ts_psize;
	}
	return NULL;
}

static size_t none_stored(void)
{
	struct ts_region r[32];
	int nr = ts_regions(r, ARRAY_SIZE(r));
	size_t i, bad = 0;

	for (i = 0; i < NR_STORED; i++)
		bad += ts_expect(!ts_storage_of(r, nr, ts_pfn(mem + i * ts_psize)),
				 "page %zu not to be in tag storage", i);
	return bad;
}

/* Each page lies in tag storage, so it has to be replaced first. */
static int peek_stored(void)
{
	struct ts_ballast ballast = {};
	size_t bad;
	pid_t pid;

	ts_lend(&ballast, 4);
	mem = stored(&ballast);
	if (!mem) {
		ts_ballast_free(&ballast);
		return ts_skip("no %d pages of tag storage came into use as data",
			       NR_STORED);
	}
	ts_data_write(mem, 0, NR_STORED, 1);
	ts_protect(mem, 0, NR_STORED, TS_RWT);
	pid = ts_traced(NULL, check_zero_stored);
	bad = peek_zero(pid, NR_STORED) + ts_let_go(pid) + none_stored();
	bad += ts_data_check(mem, 0, NR_STORED, 1);
	ts_ballast_free(&ballast);
	return ts_result(bad);
}

static int peek_untouched(void)
{
	size_t page, bad = 0;
	pid_t pid;

	untouched();
	pid = ts_traced(NULL, check_zero);
	for (page = 0; page < NR && !bad; page++)
		bad += peek(pid, page, 0, true);
	bad += ts_let_go(pid);
	bad += ts_tags_zero(mem, 0, NR) + ts_data_check(mem, 0, NR, 1);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

static int poke_untouched(void)
{
	size_t page, bad = 0;
	pid_t pid;

	untouched();
	pid = ts_traced(NULL, check_poked);
	for (page = 0; page < NR && !bad; page++) {
		bad += poke(pid, page, 1);
		bad += peek(pid, page, 1, false);
	}
	bad += ts_let_go(pid);
	/* The child had a copy for each page that was written. */
	bad += ts_tags_zero(mem, 0, NR) + ts_data_check(mem, 0, NR, 1);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

static int poke_half(void)
{
	size_t page, bad = 0;
	pid_t pid;

	untouched();
	pid = ts_traced(NULL, check_half);
	for (page = 0; page < NR && !bad; page += 2) {
		bad += poke(pid, page, 1);
		bad += peek(pid, page + 1, 1, true);
	}
	bad += ts_let_go(pid);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

static int check_no_tags(void)
{
	return ts_tags_zero(mem, 0, 1) != 0;
}

static int check_never(void)
{
	return ts_tags_check(mem, 0, NR / 2, 1) +
	       ts_tags_zero(mem, NR / 2, NR / 2) != 0;
}

/* Pages that do not even have memory. */
static int never_touched(void)
{
	size_t page, bad = 0;
	pid_t pid;

	mem = ts_map(NR, TS_RWT, 0);
	pid = ts_traced(NULL, check_never);
	for (page = 0; page < NR && !bad; page++) {
		bad += peek(pid, page, 0, true);
		if (page < NR / 2)
			bad += poke(pid, page, 1);
	}
	bad += ts_let_go(pid);
	bad += ts_tags_zero(mem, 0, NR);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

static int tagged(void)
{
	size_t page, bad = 0;
	pid_t pid;

	mem = ts_map(NR, TS_RWT, 0);
	ts_data_write(mem, 0, NR, 1);
	ts_tags_write(mem, 0, NR, 2);
	pid = ts_traced(NULL, check_poked);
	for (page = 0; page < NR && !bad; page++) {
		bad += peek(pid, page, 2, false);
		bad += poke(pid, page, 1);
		bad += peek(pid, page, 1, false);
	}
	bad += ts_let_go(pid);
	bad += ts_tags_check(mem, 0, NR, 2) + ts_data_check(mem, 0, NR, 1);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

/* It has zero tags, and nobody marks it as tagged because of that. */
static int zero_page(void)
{
	unsigned long pfn, flags;
	size_t bad;
	pid_t pid;

	mem = ts_map(1, PROT_READ | PROT_MTE, 0);
	ts_load(mem);
	pfn = ts_pfn(mem);
	pid = ts_traced(NULL, check_no_tags);
	bad = peek(pid, 0, 0, true);
	bad += ts_let_go(pid);
	flags = ts_page_flags(pfn);
	bad += ts_expect(flags & KPF_ZERO_PAGE, "the zero page, flags are %#lx",
			 flags);
	bad += ts_expect(!(flags & KPF_ARCH_2),
			 "a zero page not marked as tagged, flags are %#lx",
			 flags);
	ts_unmap(mem, 1);
	return ts_result(bad);
}

static const struct ts_case cases[] = {
	{ "peek before the first access", peek_untouched, 0 },
	{ "peek of many pages at once", peek_at_once, 0 },
	{ "peek of pages in tag storage", peek_stored, 0 },
	{ "poke before the first access", poke_untouched, 0 },
	{ "poke of every second page", poke_half, 0 },
	{ "pages without memory", never_touched, 0 },
	{ "tagged pages", tagged, 0 },
	{ "zero page", zero_page, TS_NEED_ROOT },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
