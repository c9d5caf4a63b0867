// SPDX-License-Identifier: GPL-2.0-only
/*
 * A core dump has the data and the tags of all pages, wherever the process left
 * them: tagged, waiting for their tag storage, never touched, swapped out, in a
 * huge page, shared, or without permission. Pages that have no tags yet have a
 * tag of zero in it.
 */
#include <elf.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "ts_common.h"

#ifndef PT_AARCH64_MEMTAG_MTE
#define PT_AARCH64_MEMTAG_MTE	(PT_LOPROC + 0x2)
#endif

#define NR		32
#define CORE		"/tmp/mte_tag_storage.core"
#define PATTERN		"/proc/sys/kernel/core_pattern"

/* Bytes of the dump for the tags of a page: two tags each. */
#define TAG_BYTES	(ts_psize / TS_GRANULE / 2)

/* What the process does with an area before it dies. */
#define TAGS		0x02	/* write tags */
#define HALF		0x04	/* only those of every second page */
#define FIRST		0x08	/* all of this to the first page only */
#define OUT		0x10	/* swap out */
#define SHARED		0x20
#define HUGE		0x40

struct area {
	const char *name;
	unsigned int how;
	int prot;
	char *mem;
	size_t nr;
};

static struct area areas[] = {
#define AREA(n, h, p) { .name = n, .how = h, .prot = p }
	AREA("tagged", TAGS, TS_RWT),
	AREA("waiting", 0, TS_RWT),
	AREA("tagged in part", TAGS | HALF, TS_RWT),
	AREA("never touched", TAGS | FIRST, TS_RWT),
	AREA("tagged, swapped out", TAGS | OUT, TS_RWT),
	AREA("waiting, swapped out", OUT, TS_RWT),
	AREA("waiting, read-only", 0, PROT_READ | PROT_MTE),
	AREA("tagged, no access", TAGS, PROT_NONE | PROT_MTE),
	AREA("waiting, no access", 0, PROT_NONE | PROT_MTE),
	AREA("shared", TAGS | SHARED, TS_RWT),
	AREA("shared, waiting", SHARED, TS_RWT),
	AREA("huge page", TAGS | HALF | HUGE, TS_RWT),
	AREA("huge page, waiting", HUGE, TS_RWT),
};

static char *core;
static size_t core_size;

static unsigned long seed_of(const struct area *a)
{
	return a - areas + 1;
}

static bool has_data(const struct area *a, size_t page)
{
	return !((a->how & FIRST) && page);
}

static bool has_tags(const struct area *a, size_t page)
{
	return (a->how & TAGS) && !((a->how & HALF) && page % 2) &&
	       has_data(a, page);
}

/* With a page on either side, so that each is a mapping of its own. */
static void map_areas(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(areas); i++) {
		struct area *a = &areas[i];

		a->nr = NR;
		if (!(a->how & HUGE)) {
			a->mem = ts_map(a->nr + 2, PROT_NONE, a->how & SHARED ?
					MAP_SHARED : 0) + ts_psize;
			ts_protect(a->mem, 0, a->nr, TS_RW);
			continue;
		}
		a->nr = ts_huge_size() / ts_psize;
		if (a->nr) {
			a->mem = ts_map_huge(2 * a->nr * ts_psize);
			ts_protect(a->mem, a->nr, a->nr, PROT_NONE);
		}
	}
}

static int prepare(struct area *a)
{
	unsigned long seed = seed_of(a);
	size_t page;

	ts_data_write(a->mem, 0, a->how & FIRST ? 1 : a->nr, seed);
	ts_protect(a->mem, 0, a->nr, TS_RWT);
	for (page = 0; page < a->nr; page++)
		if (has_tags(a, page))
			ts_tags_write(a->mem, page, 1, seed);
	if ((a->how & OUT) && ts_pageout(a->mem, 0, a->nr) < a->nr)
		return ts_expect(false, "%s: all pages swapped out", a->name);
	if (a->prot != TS_RWT)
		ts_protect(a->mem, 0, a->nr, a->prot);
	if (a->how & HUGE)
		return ts_expect(ts_is_huge(a->mem) || (a->how & TAGS),
				 "%s: a huge page", a->name);
	return 0;
}

static int die(void *arg)
{
	struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };
	size_t i;

	(void)arg;
	setrlimit(RLIMIT_CORE, &limit);
	for (i = 0; i < ARRAY_SIZE(areas); i++)
		if (areas[i].mem && prepare(&areas[i]))
			return 1;
	abort();
}

static const Elf64_Phdr *segment(unsigned int type, const char *addr)
{
	const Elf64_Ehdr *header = (const Elf64_Ehdr *)core;
	const Elf64_Phdr *p = (const Elf64_Phdr *)(core + header->e_phoff);
	unsigned int i;

	for (i = 0; i < header->e_phnum; i++)
		if (p[i].p_type == type && p[i].p_vaddr == (unsigned long)addr &&
		    p[i].p_offset + p[i].p_filesz <= core_size)
			return &p[i];
	return NULL;
}

static size_t check_data(const struct area *a, const char *data)
{
	size_t page, i, bad = 0;

	for (page = 0; page < a->nr && !bad; page++) {
		for (i = 0; i < ts_psize / 8 && !bad; i++) {
			unsigned long is, want = 0;

			memcpy(&is, data + page * ts_psize + 8 * i, 8);
			if (has_data(a, page))
				want = ts_word(seed_of(a), page, i);
			bad += ts_expect(is == want,
					 "%s: word %zu of page %zu to be %#lx, not %#lx",
					 a->name, i, page, want, is);
		}
	}
	return bad;
}

static size_t check_tags(const struct area *a, const unsigned char *tags)
{
	size_t page, i, bad = 0;

	for (page = 0; page < a->nr && !bad; page++) {
		for (i = 0; i < ts_psize / TS_GRANULE && !bad; i++) {
			unsigned int is = tags[page * TAG_BYTES + i / 2];
			unsigned int want = 0;

			is = i % 2 ? is >> 4 : is & 0xf;
			if (has_tags(a, page))
				want = ts_tag(seed_of(a), page, i);
			bad += ts_expect(is == want,
					 "%s: tag %zu of page %zu to be %x, not %x",
					 a->name, i, page, want, is);
		}
	}
	return bad;
}

static size_t check_area(const struct area *a)
{
	const Elf64_Phdr *data = segment(PT_LOAD, a->mem);
	const Elf64_Phdr *tags = segment(PT_AARCH64_MEMTAG_MTE, a->mem);
	size_t bad;

	if (!data || !tags)
		return ts_expect(false, "%s: segments of data and of tags",
				 a->name);
	bad = ts_expect(data->p_filesz == a->nr * ts_psize,
			"%s: all data, not %#lx", a->name,
			(unsigned long)data->p_filesz);
	bad += ts_expect(tags->p_filesz == a->nr * TAG_BYTES &&
			 tags->p_memsz == a->nr * ts_psize,
			 "%s: tags of all pages, not %#lx for %#lx", a->name,
			 (unsigned long)tags->p_filesz,
			 (unsigned long)tags->p_memsz);
	if (bad)
		return bad;
	bad = check_data(a, core + data->p_offset);
	return bad + check_tags(a, (unsigned char *)core + tags->p_offset);
}

static bool read_core(void)
{
	struct stat st;
	int fd;

	fd = open(CORE, O_RDONLY);
	if (fd < 0 || fstat(fd, &st))
		return false;
	core_size = st.st_size;
	core = mmap(NULL, core_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	return core != MAP_FAILED && core_size > sizeof(Elf64_Ehdr) &&
	       !memcmp(core, ELFMAG, SELFMAG);
}

static int core_dump(void)
{
	size_t i, bad = 0, seen = 0;
	int status;

	map_areas();
	ts_set(PATTERN, CORE);
	unlink(CORE);
	status = ts_child(die, NULL, 60);
	bad += ts_expect(status == 128 + SIGABRT, "SIGABRT, not %d", status);
	if (!bad)
		bad += ts_expect(read_core(), "a core dump");
	for (i = 0; i < ARRAY_SIZE(areas) && core_size; i++) {
		if (!areas[i].mem)
			continue;
		bad += check_area(&areas[i]);
		seen++;
	}
	ksft_print_msg("%zu areas, %zu KiB of core dump\n", seen,
		       core_size >> 10);
	if (core_size)
		munmap(core, core_size);
	unlink(CORE);
	return ts_result(bad);
}

static const struct ts_case cases[] = {
	{ "core dump", core_dump, TS_NEED_ROOT | TS_NEED_SWAP },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
