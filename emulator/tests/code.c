// SPDX-License-Identifier: GPL-2.0-only
/*
 * Code in tag storage that has been executed is not executed from a stale
 * translation after setting tags has changed it.
 */
#include "test.h"

#define MOV_W0_1	0x52800020UL
#define MOV_W0_2	0x52800040UL
#define MOV_W0_3	0x52800060UL
#define RET		0xd65f03c0UL

static u64 call(u64 code)
{
	asm volatile("dsb ish; ic ivau, %0; dsb ish; isb" :: "r" (code) : "memory");
	return ((u32 (*)(void))code)();
}

void test(void)
{
	u64 data = data_base(0) + 6 * PAGE;
	u64 code = tag_byte(data);

	store64(code, RET << 32 | MOV_W0_1);
	CHECK_EQ(call(code), 1);

	/* The upper half of the first byte is the tag of the second granule. */
	stg(data + GRANULE, 4);
	CHECK_EQ(load64(code), RET << 32 | MOV_W0_2);
	CHECK_EQ(call(code), 2);

	stgm(data, RET << 32 | MOV_W0_3);
	CHECK_EQ(call(code), 3);
}
