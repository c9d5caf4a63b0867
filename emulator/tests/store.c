// SPDX-License-Identifier: GPL-2.0-only
/*
 * A data store to tag storage changes tags: LDG and LDGM read them, and tag
 * checks use them.
 */
#include "test.h"

static u64 ldgm(u64 addr)
{
	u64 tags;

	asm volatile("ldgm %0, [%1]" : "=r" (tags) : "r" (at(addr, 0)) : "memory");
	return tags;
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
