// SPDX-License-Identifier: GPL-2.0-only
/*
 * Without tag storage, tags are out of reach: all of RAM has them, setting
 * them changes no byte of RAM, and writing all of RAM changes no tag.
 */
#include "test.h"

void test(void)
{
	u64 sum;

	for (u64 a = PROGRAM_END; a < RAM_END; a += 8)
		store64(a, a * 0x9e3779b97f4a7c15UL);
	sum = checksum(PROGRAM_END, RAM_END);

	for (u64 a = RAM; a < RAM_END; a += PAGE) {
		stg(a, a / PAGE % 16);
		stgm(a + 256, a / PAGE);
	}
	CHECK_EQ(checksum(PROGRAM_END, RAM_END), sum);

	fill(PROGRAM_END, RAM_END, ~0UL);
	for (u64 a = RAM; a < RAM_END; a += PAGE) {
		CHECK_EQ(ldg(a), a / PAGE % 16);
		CHECK_EQ(ldg(a + 256), a / PAGE % 16);
	}
}
