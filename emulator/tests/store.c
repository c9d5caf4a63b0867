// SPDX-License-Identifier: GPL-2.0-only
/*
 * A data store to tag storage changes tags: LDG and LDGM read them, and tag
 * checks use them.
 */
#include "test.h"

#define SCTLR_TCF_SYNC	(1UL << 40)

static u64 ldgm(u64 addr)
{
	u64 tags;

	asm volatile("ldgm %0, [%1]" : "=r" (tags) : "r" (at(addr, 0)) : "memory");
	return tags;
}

static void enable_tag_checks(void)
{
	u64 sctlr;

	asm volatile("mrs %0, sctlr_el1" : "=r" (sctlr));
	asm volatile("msr sctlr_el1, %0; isb" :: "r" (sctlr | SCTLR_TCF_SYNC));
}

/* Number of tag check faults that a load takes. */
static u64 faults_of_load(u64 addr, u64 tag)
{
	u64 before = faults;
	u64 value;

	faults_expected = 1;
	asm volatile("ldr %0, [%1]" : "=r" (value) : "r" (at(addr, tag)) : "memory");
	faults_expected = 0;
	return faults - before;
}

void test(void)
{
	u64 addr = storage_base(0) - 11 * PAGE + 768;

	store8(tag_byte(addr), 0x4d);
	CHECK_EQ(ldg(addr), 0xd);
	CHECK_EQ(ldg(addr + GRANULE), 0x4);

	for (u64 i = 0; i < 8; i++)
		store8(tag_byte(addr) + i, 0x10 * i + 8 + i % 8);
	CHECK_EQ(ldgm(addr), 0x7f6e5d4c3b2a1908UL);

	enable_tag_checks();
	store8(tag_byte(addr), 0x4d);
	CHECK_EQ(faults_of_load(addr, 0xd), 0);
	CHECK_EQ(faults_of_load(addr, 0x4), 1);
	CHECK_EQ(faults_of_load(addr + GRANULE, 0x4), 0);
	store8(tag_byte(addr), 0x44);
	CHECK_EQ(faults_of_load(addr, 0x4), 0);
	CHECK_EQ(faults_of_load(addr, 0xd), 1);
}
