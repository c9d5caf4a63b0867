// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every instruction that sets tags changes tag storage, and exactly the bytes
 * of its granules; data RAM keeps its bytes (but for DC GZVA and the like).
 * An ordinary store to tagged memory changes no byte of tag storage.
 */
#include "test.h"

#define PAGE_A	(PROGRAM_END + 5 * PAGE)

static void check_tags(u64 from, u64 to, u64 tag)
{
	for (u64 a = from; a < to; a += 2 * GRANULE)
		CHECK_EQ(load8(tag_byte(a)), tag << 4 | tag);
	CHECK_EQ(load8(tag_byte(from) - 1), 0);
	CHECK_EQ(load8(tag_byte(to - 1) + 1), 0);
	fill(tag_byte(PAGE_A), tag_byte(PAGE_A) + 128, 0);
}

static void store_tag_and_zero(u64 addr, u64 tag)
{
	asm volatile("stzg %0, [%0]" :: "r" (at(addr, tag)) : "memory");
}

static void store_tag_and_pair(u64 addr, u64 tag, u64 value)
{
	asm volatile("stgp %1, %1, [%0]"
		     :: "r" (at(addr, tag)), "r" (value) : "memory");
}

static void dc_gzva(u64 addr, u64 tag)
{
	asm volatile("dc gzva, %0" :: "r" (at(addr, tag)) : "memory");
}

void test(void)
{
	u64 dczid, line, sum;

	asm("mrs %0, dczid_el0" : "=r" (dczid));
	line = 4UL << (dczid & 15);

	fill(PAGE_A, PAGE_A + PAGE, 0x1122334455667788UL);
	fill(storage_base(0), storage_base(0) + STORAGE_SIZE, 0);

	sum = checksum(storage_base(0), storage_base(0) + STORAGE_SIZE);
	fill(at(PAGE_A, 5), at(PAGE_A + PAGE, 5), 0x99aabbccddeeff00UL);
	CHECK_EQ(load64(PAGE_A), 0x99aabbccddeeff00UL);
	CHECK_EQ(checksum(storage_base(0), storage_base(0) + STORAGE_SIZE), sum);

	sum = checksum(PROGRAM_END, storage_base(0));

	stg(PAGE_A + 64, 3);
	stg(PAGE_A + 80, 3);
	check_tags(PAGE_A + 64, PAGE_A + 96, 3);

	st2g(PAGE_A + 1024, 9);
	check_tags(PAGE_A + 1024, PAGE_A + 1056, 9);

	/* Two granules that share no byte. */
	st2g(PAGE_A + 16, 6);
	CHECK_EQ(load8(tag_byte(PAGE_A)), 0x60);
	CHECK_EQ(load8(tag_byte(PAGE_A + 32)), 0x06);
	fill(tag_byte(PAGE_A), tag_byte(PAGE_A) + 128, 0);

	stgm(PAGE_A + 512, 0xccccccccccccccccUL);
	check_tags(PAGE_A + 512, PAGE_A + 768, 12);

	dc_gva(PAGE_A + line, 7);
	check_tags(PAGE_A + line, PAGE_A + 2 * line, 7);

	CHECK_EQ(checksum(PROGRAM_END, storage_base(0)), sum);

	store_tag_and_pair(PAGE_A + 2048, 10, 0x42);
	store_tag_and_pair(PAGE_A + 2064, 10, 0x42);
	check_tags(PAGE_A + 2048, PAGE_A + 2080, 10);
	CHECK_EQ(load64(PAGE_A + 2048), 0x42);

	store_tag_and_zero(PAGE_A + 2048, 11);
	store_tag_and_zero(PAGE_A + 2064, 11);
	check_tags(PAGE_A + 2048, PAGE_A + 2080, 11);
	CHECK_EQ(load64(PAGE_A + 2048), 0);

	dc_gzva(PAGE_A + 4 * line, 14);
	check_tags(PAGE_A + 4 * line, PAGE_A + 5 * line, 14);
	CHECK_EQ(load64(PAGE_A + 4 * line), 0);
}
