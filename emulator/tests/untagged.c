// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tag storage has no tags of its own: through a tagged mapping of it, setting
 * tags changes nothing anywhere, tags read as zero, and checks pass.
 */
#include "test.h"

static void set_tags(u64 page, u64 tag)
{
	for (u64 a = page; a < page + PAGE; a += 2 * GRANULE) {
		stg(a, tag);
		stg(a + GRANULE, tag);
		st2g(a, tag);
	}
	for (u64 a = page; a < page + PAGE; a += 256)
		stgm(a, tag * 0x1111111111111111UL);
	dc_gva(page, tag);
}

void test(void)
{
	u64 sum;

	for (u64 a = PROGRAM_END; a < RAM_END; a += 8)
		store64(a, a * 0x9e3779b97f4a7c15UL);
	sum = checksum(PROGRAM_END, RAM_END);

	for (u64 r = 0; r < REGIONS; r++)
		for (u64 n = 0; n < STORAGE_SIZE / PAGE; n++) {
			set_tags(storage_base(r) + n * PAGE, n % 15 + 1);
			CHECK_EQ(ldg(storage_base(r) + n * PAGE), 0);
		}
	CHECK_EQ(checksum(PROGRAM_END, RAM_END), sum);

	for (u64 r = 0; r < REGIONS; r++)
		CHECK_EQ(load64(at(storage_base(r), 5)), load64(storage_base(r)));
}
