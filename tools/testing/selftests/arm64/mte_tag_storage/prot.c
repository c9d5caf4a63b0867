// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages that wait for their tag storage keep the protection of their mapping:
 * an access that is not allowed still fails, one that is still works, in place
 * and after mremap().
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "ts_common.h"

#define NR	256

static sigjmp_buf env;
static char *mem;

static void on_segv(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	siglongjmp(env, info->si_code);
}

/* si_code of the signal that the access ends in, 0 if in none. */
static int faults(char *p, bool write)
{
	struct sigaction sa = { .sa_sigaction = on_segv, .sa_flags = SA_SIGINFO };
	int code;

	sigaction(SIGSEGV, &sa, NULL);
	code = sigsetjmp(env, 1);
	if (!code) {
		if (write)
			ts_store(p, ts_load(p));
		else
			ts_load(p);
	}
	signal(SIGSEGV, SIG_DFL);
	return code;
}

static size_t allowed(bool read, bool write)
{
	size_t bad = 0, i;
	int code;

	for (i = 0; i < NR && !bad; i += 5) {
		code = faults(mem + i * ts_psize, false);
		bad += ts_expect(code == (read ? 0 : SEGV_ACCERR),
				 "read of page %zu %s, is %d", i,
				 read ? "to work" : "to fail", code);
		code = faults(mem + i * ts_psize, true);
		bad += ts_expect(code == (write ? 0 : SEGV_ACCERR),
				 "write to page %zu %s, is %d", i,
				 write ? "to work" : "to fail", code);
	}
	return bad;
}

static void populate(void)
{
	mem = ts_map(NR, TS_RW, 0);
	ts_data_write(mem, 0, NR, 1);
}

static size_t finish(void)
{
	size_t bad;

	ts_protect(mem, 0, NR, TS_RWT);
	bad = ts_tags_zero(mem, 0, NR);
	bad += ts_data_check(mem, 0, NR, 1);
	ts_tags_write(mem, 0, NR, 1);
	bad += ts_check(mem, 0, NR, 1);
	ts_unmap(mem, NR);
	return bad;
}

static int read_only(void)
{
	size_t bad;

	populate();
	ts_protect(mem, 0, NR, PROT_READ | PROT_MTE);
	bad = allowed(true, false);
	return ts_result(bad + finish());
}

/* Without PROT_MTE in a later call, which does not take it away. */
static int none_then_back(void)
{
	size_t bad;

	populate();
	ts_protect(mem, 0, NR, PROT_NONE | PROT_MTE);
	bad = allowed(false, false);
	ts_protect(mem, 0, NR, PROT_READ);
	bad += allowed(true, false);
	ts_protect(mem, 0, NR, PROT_NONE);
	bad += allowed(false, false);
	ts_protect(mem, 0, NR, TS_RW);
	bad += allowed(true, true);
	return ts_result(bad + finish());
}

/* No access in between. */
static int many_changes(void)
{
	static const int prots[] = {
		PROT_READ | PROT_MTE, PROT_NONE | PROT_MTE, TS_RWT, PROT_NONE,
		PROT_READ, PROT_READ | PROT_EXEC, TS_RW, PROT_NONE,
	};
	size_t i;

	populate();
	for (i = 0; i < ARRAY_SIZE(prots); i++)
		ts_protect(mem, i, NR - i, prots[i]);
	ts_protect(mem, 0, NR, TS_RWT);
	return ts_result(allowed(true, true) + finish());
}

/* Tagged pages keep their tags through all of it. */
static int tagged(void)
{
	size_t bad;

	mem = ts_map(NR, TS_RWT, 0);
	ts_write(mem, 0, NR, 1);
	ts_protect(mem, 0, NR, PROT_NONE);
	ts_protect(mem, 0, NR, PROT_READ);
	bad = ts_check(mem, 0, NR, 1);
	ts_protect(mem, 0, NR, PROT_NONE | PROT_MTE);
	ts_protect(mem, 0, NR, TS_RWT);
	bad += ts_check(mem, 0, NR, 1);
	ts_unmap(mem, NR);
	return ts_result(bad);
}

/* Code in a page that nobody has touched since it became tagged. */
static int exec(void)
{
	static const unsigned int code[] = {
		0x52800540,	/* mov w0, #42 */
		0xd65f03c0,	/* ret */
	};
	int (*fn)(void);
	size_t bad;

	mem = ts_map(1, TS_RW, 0);
	memcpy(mem, code, sizeof(code));
	__builtin___clear_cache(mem, mem + sizeof(code));
	ts_protect(mem, 0, 1, PROT_READ | PROT_EXEC | PROT_MTE);
	fn = (int (*)(void))mem;
	bad = ts_expect(fn() == 42, "the code to return 42");
	bad += ts_tags_zero(mem, 0, 1);
	bad += ts_expect(!memcmp(mem, code, sizeof(code)), "the code to stay");
	bad += ts_expect(faults(mem, true) == SEGV_ACCERR, "a write to fail");
	ts_unmap(mem, 1);
	return ts_result(bad);
}

/* A child may not write where only its parent may. */
static int after_fork(void)
{
	size_t bad = 0;
	pid_t pid;

	populate();
	ts_protect(mem, 0, NR, TS_RWT);
	pid = fork();
	if (!pid) {
		ts_protect(mem, 0, NR, PROT_READ | PROT_MTE);
		bad = allowed(true, false);
		_exit(bad + finish() != 0);
	}
	bad += ts_expect(!ts_wait(pid, 60), "child to end with 0");
	bad += allowed(true, true);
	return ts_result(bad + finish());
}

static int moved(void)
{
	char *old, *place;
	size_t bad;

	populate();
	ts_protect(mem, 0, NR, PROT_READ | PROT_MTE);
	old = mem;
	place = ts_map(2 * NR, PROT_NONE, 0);
	mem = mremap(old, NR * ts_psize, 2 * NR * ts_psize,
		     MREMAP_MAYMOVE | MREMAP_FIXED, place);
	if (mem == MAP_FAILED)
		return ts_skip("no mremap()");
	bad = ts_expect(faults(old, false) == SEGV_MAPERR,
			"the old place to be gone");
	bad += allowed(true, false);
	bad += ts_tags_zero(mem, NR, NR);
	ts_unmap(mem + NR * ts_psize, NR);
	return ts_result(bad + finish());
}

/* The same, with the whole page tables moved. */
static int moved_tables(void)
{
	size_t size = 2 * ts_psize / 8 * ts_psize, nr = size / ts_psize, bad;
	char *raw, *old, *place;

	/* Two page tables full, at the same offset in both places. */
	raw = ts_map(4 * nr, PROT_NONE, MAP_NORESERVE);
	old = (char *)(((unsigned long)raw + size - 1) & ~(size - 1));
	place = old + size;
	ts_protect(old, 0, nr, TS_RW);
	madvise(old, size, MADV_NOHUGEPAGE);
	ts_data_write(old, 0, nr, 1);
	ts_protect(old, 0, nr, TS_RWT);
	if (mremap(old, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, place) !=
	    place)
		return ts_skip("no mremap()");
	bad = ts_tags_zero(place, 0, nr);
	bad += ts_data_check(place, 0, nr, 1);
	ts_tags_write(place, 0, nr, 1);
	bad += ts_check(place, 0, nr, 1);
	munmap(raw, 4 * size);
	return ts_result(bad);
}

/* Advice and locking work on pages that wait for their storage. */
static int advice(void)
{
	size_t bad, i;

	populate();
	ts_protect(mem, 0, NR, TS_RWT);
	madvise(mem, NR * ts_psize, MADV_COLD);
	mlock(mem, NR / 2 * ts_psize);
	bad = ts_data_check(mem, 0, NR, 1);
	munlock(mem, NR / 2 * ts_psize);
	bad += finish();

	populate();
	ts_protect(mem, 0, NR, TS_RWT);
	madvise(mem, NR / 2 * ts_psize, MADV_DONTNEED);
	for (i = 0; i < NR / 2; i++)
		bad += ts_expect(!ts_load(mem + i * ts_psize),
				 "zero data in page %zu", i);
	bad += ts_tags_zero(mem, 0, NR);
	ts_data_write(mem, 0, NR / 2, 1);
	return ts_result(bad + finish());
}

static const struct ts_case cases[] = {
	{ "read-only", read_only, 0 },
	{ "PROT_NONE and back", none_then_back, 0 },
	{ "many changes without access", many_changes, 0 },
	{ "tagged pages", tagged, 0 },
	{ "executable", exec, 0 },
	{ "fork", after_fork, 0 },
	{ "mremap", moved, 0 },
	{ "mremap of whole page tables", moved_tables, 0 },
	{ "madvise and mlock", advice, 0 },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
