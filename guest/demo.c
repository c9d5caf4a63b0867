// SPDX-License-Identifier: GPL-2.0-only
/*
 * What "make run" shows: untagged and tagged memory come and go, and after
 * each step a row tells what the pages of tag storage are used for. Every
 * granule of tagged memory has a tag and data that follow from its position;
 * both are verified through tagged pointers, so that the CPU checks as well.
 *
 * Exit status: 0 all verified and all tag storage given back, 1 not so.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#define PROT_MTE	0x20
#define MIB		(1UL << 20)
#define GRANULE		16UL
#define STEP		(64 * MIB)
#define MAX_STEPS	8
/* Untagged memory leaves this much free for page tables and the shell. */
#define SPARE		(48 * MIB)

static char *tagged[MAX_STEPS];
static unsigned long nr_tagged;

/* Tag 0 is what fresh memory has: never use it, so a lost tag shows. */
static uint64_t tag_of(uint64_t pos)
{
	return 1 + (pos / GRANULE + pos / 4096) % 15;
}

static uint64_t data_of(uint64_t pos)
{
	return (pos + 1) * 0x9e3779b97f4a7c15ULL;
}

static char *with_tag(char *p, uint64_t tag)
{
	return (char *)((uintptr_t)p | tag << 56);
}

static void store_tag(char *p)
{
	asm volatile("stg %0, [%0]" : : "r"(p) : "memory");
}

static char *load_tag(char *p)
{
	asm volatile("ldg %0, [%0]" : "+r"(p) : : "memory");
	return p;
}

static unsigned long meminfo(const char *field)
{
	unsigned long kib = 0;
	size_t len = strlen(field);
	char line[128];
	FILE *f = fopen("/proc/meminfo", "r");

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, field, len) && line[len] == ':')
			kib = strtoul(line + len + 1, NULL, 10);
	if (f)
		fclose(f);
	return kib;
}

static void row(const char *what)
{
	unsigned long total = meminfo("MetadataTotal") / 4;
	unsigned long free = meminfo("MetadataFree") / 4;
	unsigned long reserved = meminfo("MetadataReserved") / 4;

	printf("%8lu %8lu %8lu %8lu MiB  %s\n", free, total - free - reserved,
	       reserved, nr_tagged * (STEP / MIB), what);
	fflush(stdout);
}

static char *map(size_t size, int prot)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE | prot,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	return p;
}

static void fill_tagged(char *base, uint64_t seed)
{
	uint64_t pos;

	for (pos = 0; pos < STEP; pos += GRANULE) {
		char *p = with_tag(base + pos, tag_of(seed + pos));

		store_tag(p);
		*(uint64_t *)p = data_of(seed + pos);
	}
}

/* Returns the number of granules that lost their tag or data. */
static unsigned long verify_tagged(char *base, uint64_t seed)
{
	unsigned long bad = 0;
	uint64_t pos;

	for (pos = 0; pos < STEP; pos += GRANULE) {
		char *p = with_tag(base + pos, tag_of(seed + pos));

		if (load_tag(base + pos) != p ||
		    *(uint64_t *)p != data_of(seed + pos))
			bad++;
	}
	return bad;
}

static void grow(unsigned long steps)
{
	while (steps--) {
		tagged[nr_tagged] = map(STEP, PROT_MTE);
		fill_tagged(tagged[nr_tagged], nr_tagged * STEP);
		nr_tagged++;
		row("tagged memory comes");
	}
}

static void shrink(unsigned long steps)
{
	while (steps--) {
		nr_tagged--;
		munmap(tagged[nr_tagged], STEP);
		row("tagged memory goes");
	}
}

static void verify_all(void)
{
	unsigned long i, bad = 0;

	for (i = 0; i < nr_tagged; i++)
		bad += verify_tagged(tagged[i], i * STEP);
	if (bad) {
		printf("%lu granules lost their tag or data\n", bad);
		exit(1);
	}
	row("data and tags verified");
}

/* All memory that is free but for SPARE, used as plain data. */
static char *fill_untagged(size_t *size)
{
	char *p;
	size_t pos;

	*size = meminfo("MemFree") * 1024 - SPARE;
	p = map(*size, 0);
	for (pos = 0; pos < *size; pos += 4096)
		*(uint64_t *)(p + pos) = data_of(pos);
	row("untagged data fills the rest of memory");
	return p;
}

static void drop_untagged(char *p, size_t size)
{
	size_t pos;

	for (pos = 0; pos < size; pos += 4096) {
		if (*(uint64_t *)(p + pos) != data_of(pos)) {
			printf("untagged data lost at offset %zu\n", pos);
			exit(1);
		}
	}
	munmap(p, size);
	row("untagged data verified and freed");
}

int main(void)
{
	unsigned long before = meminfo("MetadataReserved");
	size_t size;
	char *data;

	if (prctl(PR_SET_TAGGED_ADDR_CTRL, PR_TAGGED_ADDR_ENABLE |
		  PR_MTE_TCF_SYNC | (0xfffeUL << PR_MTE_TAG_SHIFT), 0, 0, 0)) {
		perror("prctl");
		return 1;
	}
	printf("  pages of tag storage          tagged\n");
	printf("%8s %8s %8s %12s\n", "free", "data", "reserved", "memory");
	row("start");
	grow(2);
	data = fill_untagged(&size);
	verify_all();
	shrink(1);
	grow(1);
	drop_untagged(data, size);
	grow(MAX_STEPS - 2);
	verify_all();
	shrink(MAX_STEPS);
	row("end");
	if (meminfo("MetadataReserved") > before) {
		printf("tag storage was not given back: %lu kB, at the start %lu kB\n",
		       meminfo("MetadataReserved"), before);
		return 1;
	}
	return 0;
}
