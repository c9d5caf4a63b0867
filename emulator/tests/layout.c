// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tags of every data page stand in the byte of tag storage that the layout
 * says, in the right half of it, and nowhere else.
 */
#include "test.h"

#define BACKGROUND	0xa5a5a5a5a5a5a5a5UL

/* One page: a granule that differs from page to page, with a tag that does. */
static void check_page(u64 page, u64 n)
{
	u64 addr = page + n * 37 % 256 * GRANULE;
	u64 tag = (n + n / 16) % 16;
	u64 byte = tag_byte(addr);
	u8 want = addr & GRANULE ? tag << 4 | 0x5 : 0xa0 | tag;

	stg(addr, tag);
	CHECK_EQ(load8(byte), want);
	CHECK_EQ(ldg(addr), tag);
	store8(byte, BACKGROUND & 0xff);
}

void test(void)
{
	for (u64 r = 0; r < REGIONS; r++)
		fill(storage_base(r), storage_base(r) + STORAGE_SIZE, BACKGROUND);

	for (u64 r = 0; r < REGIONS; r++)
		for (u64 n = 0; n < DATA_SIZE / PAGE; n++)
			check_page(data_base(r) + n * PAGE, n);

	for (u64 r = 0; r < REGIONS; r++) {
		u64 end = storage_base(r) + STORAGE_SIZE;

		CHECK_EQ(find_other(storage_base(r), end, BACKGROUND), end);
	}
}
