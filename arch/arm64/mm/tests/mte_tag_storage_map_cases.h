/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inputs and expected results for the tests of the MTE tag storage arithmetic.
 *
 * All numbers are worked out by hand from the relation that
 * mte_tag_storage_map.h explains; none comes from the code under test.
 */
#ifndef __MTE_TAG_STORAGE_MAP_CASES_H
#define __MTE_TAG_STORAGE_MAP_CASES_H

#include <linux/types.h>

#include "../mte_tag_storage_map.h"

#define KIB(n)			((u64)(n) << 10)
#define MIB(n)			((u64)(n) << 20)
#define GIB(n)			((u64)(n) << 30)
#define TIB(n)			((u64)(n) << 40)

/* Where data and tag storage stand when a case does not care. */
#define DATA_BASE		GIB(1)
#define TAG_BASE		GIB(2)

#define DESC(_data_base, _data_size, _tag_base, _tag_size, _block_size)	\
	{								\
		.data_base = (_data_base),				\
		.data_size = (_data_size),				\
		.tag_base = (_tag_base),				\
		.tag_size = (_tag_size),				\
		.block_size = (_block_size),				\
	}

/*
 * Sizes that tag_map_init() accepts, and the map in pages that must come out.
 * Small enough to look at every page.
 */
struct tag_map_geometry {
	const char *name;
	u64 page_size;
	u64 block_size;
	u64 data_size;
	u64 tag_size;
	unsigned long data_pages;
	unsigned long block_pages;
	unsigned long nr_blocks;
};

static const struct tag_map_geometry tag_map_geometries[] = {
	/* Three whole blocks, for each page size and block size. */
	{ "4K pages, 4K blocks",
	  KIB(4), KIB(4), KIB(384), KIB(12), 96, 1, 3 },
	{ "4K pages, 8K blocks",
	  KIB(4), KIB(8), KIB(768), KIB(24), 192, 2, 3 },
	{ "4K pages, 12K blocks",
	  KIB(4), KIB(12), KIB(1152), KIB(36), 288, 3, 3 },
	{ "4K pages, 16K blocks",
	  KIB(4), KIB(16), KIB(1536), KIB(48), 384, 4, 3 },
	{ "4K pages, 20K blocks",
	  KIB(4), KIB(20), KIB(1920), KIB(60), 480, 5, 3 },
	{ "4K pages, 64K blocks",
	  KIB(4), KIB(64), KIB(6144), KIB(192), 1536, 16, 3 },
	{ "16K pages, 4K blocks",
	  KIB(16), KIB(4), KIB(1536), KIB(48), 96, 1, 3 },
	{ "16K pages, 8K blocks",
	  KIB(16), KIB(8), KIB(1536), KIB(48), 96, 1, 3 },
	{ "16K pages, 12K blocks",
	  KIB(16), KIB(12), KIB(4608), KIB(144), 288, 3, 3 },
	{ "16K pages, 16K blocks",
	  KIB(16), KIB(16), KIB(1536), KIB(48), 96, 1, 3 },
	{ "16K pages, 20K blocks",
	  KIB(16), KIB(20), KIB(7680), KIB(240), 480, 5, 3 },
	{ "16K pages, 64K blocks",
	  KIB(16), KIB(64), KIB(6144), KIB(192), 384, 4, 3 },
	{ "64K pages, 4K blocks",
	  KIB(64), KIB(4), KIB(6144), KIB(192), 96, 1, 3 },
	{ "64K pages, 8K blocks",
	  KIB(64), KIB(8), KIB(6144), KIB(192), 96, 1, 3 },
	{ "64K pages, 12K blocks",
	  KIB(64), KIB(12), KIB(18432), KIB(576), 288, 3, 3 },
	{ "64K pages, 16K blocks",
	  KIB(64), KIB(16), KIB(6144), KIB(192), 96, 1, 3 },
	{ "64K pages, 20K blocks",
	  KIB(64), KIB(20), KIB(30720), KIB(960), 480, 5, 3 },
	{ "64K pages, 64K blocks",
	  KIB(64), KIB(64), KIB(6144), KIB(192), 96, 1, 3 },

	/* The last whole block covers fewer pages than the others. */
	{ "single page",
	  KIB(4), KIB(4), KIB(4), KIB(4), 1, 1, 1 },
	{ "last block covers 1 of 32 pages",
	  KIB(4), KIB(4), KIB(132), KIB(8), 33, 1, 2 },
	{ "last block covers 31 of 32 pages",
	  KIB(4), KIB(4), KIB(252), KIB(8), 63, 1, 2 },
	{ "last 12K block covers 1 of 96 pages",
	  KIB(4), KIB(12), KIB(388), KIB(24), 97, 3, 2 },
	{ "last 20K block covers 159 of 160 pages",
	  KIB(4), KIB(20), KIB(1276), KIB(40), 319, 5, 2 },
	{ "last 64K block covers 1 of 32 pages of 64K",
	  KIB(64), KIB(64), KIB(2112), KIB(128), 33, 1, 2 },

	/* The tags of the last pages lie behind the last whole block. */
	{ "1 page behind the last 4K block",
	  KIB(4), KIB(4), KIB(132), KIB(4) + 128, 33, 1, 1 },
	{ "32 pages behind the last 12K block",
	  KIB(4), KIB(12), KIB(512), KIB(16), 128, 3, 1 },
	{ "18 pages of 64K behind the last 64K block",
	  KIB(64), KIB(4), KIB(3200), KIB(100), 50, 1, 1 },
	{ "1 page of 64K behind the last 192K block",
	  KIB(64), KIB(12), KIB(18496), KIB(588), 289, 3, 3 },

	/* Data that ends inside a page. */
	{ "data ends inside a page of its own block",
	  KIB(4), KIB(4), KIB(128) + 32, KIB(8), 32, 1, 1 },
	{ "data ends inside a page of a shared block",
	  KIB(4), KIB(4), KIB(130), KIB(8), 32, 1, 1 },
	{ "data ends inside a page of the last 64K block",
	  KIB(64), KIB(4), KIB(6140), KIB(192), 95, 1, 3 },
};

/* Where a geometry is put; all aligned to the largest page, some to no more. */
struct tag_map_bases {
	u64 data_base;
	u64 tag_base;
};

static const struct tag_map_bases tag_map_bases[] = {
	{ DATA_BASE, TAG_BASE },
	{ 0, GIB(1) },
	{ GIB(4), 0 },
	{ GIB(1) + KIB(64), GIB(3) + KIB(192) },
	{ TIB(4096) - MIB(64), KIB(64) },
	{ KIB(64), TIB(4096) - MIB(64) },
};

/* A description at the limits of some check, and the verdict. */
struct tag_map_init_case {
	const char *name;
	u64 page_size;
	struct tag_map_desc desc;
	enum tag_map_fault fault;
};

static const struct tag_map_init_case tag_map_init_cases[] = {
	{ "block size 0", KIB(4),
	  DESC(DATA_BASE, MIB(1), TAG_BASE, KIB(32), 0),
	  TAG_MAP_BAD_BLOCK_SIZE },
	{ "block size 2K", KIB(4),
	  DESC(DATA_BASE, MIB(1), TAG_BASE, KIB(32), KIB(2)),
	  TAG_MAP_BAD_BLOCK_SIZE },
	{ "block size 6K", KIB(4),
	  DESC(DATA_BASE, MIB(1), TAG_BASE, KIB(32), KIB(6)),
	  TAG_MAP_BAD_BLOCK_SIZE },
	{ "block size 4K + 1", KIB(4),
	  DESC(DATA_BASE, MIB(1), TAG_BASE, KIB(32), KIB(4) + 1),
	  TAG_MAP_BAD_BLOCK_SIZE },
	{ "block as large as the tag storage", KIB(4),
	  DESC(DATA_BASE, MIB(1), TAG_BASE, KIB(32), KIB(32)),
	  TAG_MAP_OK },
	{ "block larger than the tag storage", KIB(4),
	  DESC(DATA_BASE, MIB(1), TAG_BASE, KIB(32), KIB(36)),
	  TAG_MAP_BAD_BLOCK_SIZE },
	{ "tag storage smaller than a page", KIB(64),
	  DESC(DATA_BASE, MIB(1), TAG_BASE, KIB(32), KIB(4)),
	  TAG_MAP_BAD_BLOCK_SIZE },
	{ "tag storage smaller than 3 pages of 64K", KIB(64),
	  DESC(DATA_BASE, MIB(4), TAG_BASE, KIB(132), KIB(12)),
	  TAG_MAP_BAD_BLOCK_SIZE },
	{ "block size that wraps to 64K", KIB(64),
	  DESC(DATA_BASE, MIB(64), TAG_BASE, MIB(2), (1ULL << 60) + KIB(4)),
	  TAG_MAP_BAD_BLOCK_SIZE },
	{ "block size half of all addresses", KIB(64),
	  DESC(DATA_BASE, MIB(64), TAG_BASE, MIB(2), 1ULL << 63),
	  TAG_MAP_BAD_BLOCK_SIZE },
	{ "largest block size", KIB(4),
	  DESC(DATA_BASE, MIB(64), TAG_BASE, MIB(2), -KIB(4)),
	  TAG_MAP_BAD_BLOCK_SIZE },

	{ "no data", KIB(4),
	  DESC(DATA_BASE, 0, TAG_BASE, KIB(32), KIB(4)),
	  TAG_MAP_COVERS_NOTHING },
	{ "no tag storage", KIB(4),
	  DESC(DATA_BASE, MIB(1), TAG_BASE, 0, KIB(4)),
	  TAG_MAP_COVERS_NOTHING },
	{ "neither", KIB(4),
	  DESC(DATA_BASE, 0, TAG_BASE, 0, KIB(4)),
	  TAG_MAP_COVERS_NOTHING },
	{ "data smaller than a page", KIB(64),
	  DESC(DATA_BASE, KIB(60), TAG_BASE, KIB(64), KIB(64)),
	  TAG_MAP_COVERS_NOTHING },

	{ "data starts inside a page", KIB(64),
	  DESC(DATA_BASE + KIB(4), MIB(2), TAG_BASE, KIB(64), KIB(4)),
	  TAG_MAP_NOT_ALIGNED },
	{ "tag storage starts inside a page", KIB(16),
	  DESC(DATA_BASE, MIB(1), TAG_BASE + KIB(4), KIB(32), KIB(4)),
	  TAG_MAP_NOT_ALIGNED },
	{ "data starts at an odd address", KIB(4),
	  DESC(DATA_BASE + 1, MIB(1), TAG_BASE, KIB(32), KIB(4)),
	  TAG_MAP_NOT_ALIGNED },
	{ "tag storage starts at an odd address", KIB(4),
	  DESC(DATA_BASE, MIB(1), TAG_BASE - 1, KIB(32), KIB(4)),
	  TAG_MAP_NOT_ALIGNED },
	{ "aligned to the page, not to the block", KIB(4),
	  DESC(DATA_BASE + KIB(4), MIB(1), TAG_BASE + KIB(4), KIB(32), KIB(8)),
	  TAG_MAP_OK },

	{ "tag storage one byte short", KIB(4),
	  DESC(DATA_BASE, MIB(1), TAG_BASE, KIB(32) - 1, KIB(4)),
	  TAG_MAP_BAD_SIZE },
	{ "tag storage one byte long", KIB(4),
	  DESC(DATA_BASE, MIB(1), TAG_BASE, KIB(32) + 1, KIB(4)),
	  TAG_MAP_BAD_SIZE },
	{ "tag storage one unit short", KIB(4),
	  DESC(DATA_BASE, MIB(1), TAG_BASE, KIB(28), KIB(4)),
	  TAG_MAP_BAD_SIZE },
	{ "tag storage one unit long", KIB(4),
	  DESC(DATA_BASE, MIB(1), TAG_BASE, KIB(36), KIB(4)),
	  TAG_MAP_BAD_SIZE },
	{ "tag storage 1/16 of the data", KIB(4),
	  DESC(DATA_BASE, MIB(1), TAG_BASE, KIB(64), KIB(4)),
	  TAG_MAP_BAD_SIZE },
	{ "rounded up to a unit", KIB(4),
	  DESC(DATA_BASE, KIB(132), TAG_BASE, KIB(8), KIB(4)),
	  TAG_MAP_OK },
	{ "rounded up to two units", KIB(4),
	  DESC(DATA_BASE, KIB(132), TAG_BASE, KIB(12), KIB(4)),
	  TAG_MAP_BAD_SIZE },
	{ "rounded down", KIB(4),
	  DESC(DATA_BASE, KIB(132), TAG_BASE, KIB(4), KIB(4)),
	  TAG_MAP_BAD_SIZE },
	{ "rounded up to a page, not to a unit", KIB(4),
	  DESC(DATA_BASE, MIB(1), TAG_BASE, KIB(36), KIB(20)),
	  TAG_MAP_BAD_SIZE },
	{ "data is no multiple of 32 bytes", KIB(4),
	  DESC(DATA_BASE, MIB(1) + 16, TAG_BASE, KIB(32), KIB(4)),
	  TAG_MAP_BAD_SIZE },
	{ "data wraps", KIB(4),
	  DESC(-MIB(1), MIB(2), TAG_BASE, KIB(64), KIB(4)),
	  TAG_MAP_BAD_SIZE },
	{ "data wraps by almost everything", KIB(4),
	  DESC(KIB(4), -32ULL, TAG_BASE, (1ULL << 59) - 1, KIB(4)),
	  TAG_MAP_BAD_SIZE },
	{ "tag storage wraps", KIB(4),
	  DESC(DATA_BASE, MIB(1), -KIB(16), KIB(32), KIB(4)),
	  TAG_MAP_BAD_SIZE },
	{ "sum of the sizes wraps", KIB(4),
	  DESC(0, -KIB(128), -KIB(128), (1ULL << 59) - KIB(4), KIB(4)),
	  TAG_MAP_BAD_SIZE },

	{ "tag storage right behind its data", KIB(4),
	  DESC(DATA_BASE, MIB(1), DATA_BASE + MIB(1), KIB(32), KIB(4)),
	  TAG_MAP_OK },
	{ "tag storage right before its data", KIB(4),
	  DESC(DATA_BASE, MIB(1), DATA_BASE - KIB(32), KIB(32), KIB(4)),
	  TAG_MAP_OK },
	{ "tag storage takes the last page of its data", KIB(4),
	  DESC(DATA_BASE, MIB(1), DATA_BASE + KIB(1020), KIB(32), KIB(4)),
	  TAG_MAP_OVERLAPS_DATA },
	{ "tag storage takes the first page of its data", KIB(4),
	  DESC(DATA_BASE, MIB(1), DATA_BASE - KIB(28), KIB(32), KIB(4)),
	  TAG_MAP_OVERLAPS_DATA },
	{ "tag storage inside its data", KIB(4),
	  DESC(DATA_BASE, MIB(1), DATA_BASE + KIB(64), KIB(32), KIB(4)),
	  TAG_MAP_OVERLAPS_DATA },
	{ "tag storage and data start at one place", KIB(4),
	  DESC(DATA_BASE, MIB(1), DATA_BASE, KIB(32), KIB(4)),
	  TAG_MAP_OVERLAPS_DATA },
	{ "data is everything", KIB(4),
	  DESC(0, -KIB(128), TAG_BASE, (1ULL << 59) - KIB(4), KIB(4)),
	  TAG_MAP_OVERLAPS_DATA },
};

/* Two descriptions, in either order, and the verdict. */
struct tag_map_conflict_case {
	const char *name;
	struct tag_map_desc a;
	struct tag_map_desc b;
	enum tag_map_fault fault;
};

/* 1 MiB of data with 32 KiB of tag storage. */
#define DESC_1M(_data_base, _tag_base)	\
	DESC(_data_base, MIB(1), _tag_base, KIB(32), KIB(4))

static const struct tag_map_conflict_case tag_map_conflict_cases[] = {
	{ "far apart",
	  DESC_1M(GIB(1), GIB(2)), DESC_1M(GIB(3), GIB(4)),
	  TAG_MAP_OK },
	{ "interleaved",
	  DESC_1M(GIB(1), GIB(3)), DESC_1M(GIB(2), GIB(4)),
	  TAG_MAP_OK },
	{ "data side by side",
	  DESC_1M(GIB(1), GIB(2)), DESC_1M(GIB(1) + MIB(1), GIB(3)),
	  TAG_MAP_OK },
	{ "tag storage side by side",
	  DESC_1M(GIB(1), GIB(3)), DESC_1M(GIB(2), GIB(3) + KIB(32)),
	  TAG_MAP_OK },
	{ "data right behind the tag storage of the other",
	  DESC_1M(GIB(1), GIB(2)), DESC_1M(GIB(2) + KIB(32), GIB(3)),
	  TAG_MAP_OK },
	{ "data right before the tag storage of the other",
	  DESC_1M(GIB(1), GIB(2)), DESC_1M(GIB(2) - MIB(1), GIB(3)),
	  TAG_MAP_OK },
	{ "same region twice",
	  DESC_1M(GIB(1), GIB(2)), DESC_1M(GIB(1), GIB(2)),
	  TAG_MAP_OVERLAPS_REGION },
	{ "data share a page",
	  DESC_1M(GIB(1), GIB(2)), DESC_1M(GIB(1) + KIB(1020), GIB(3)),
	  TAG_MAP_OVERLAPS_REGION },
	{ "data inside the data of the other",
	  DESC(GIB(1), MIB(4), GIB(2), KIB(128), KIB(4)),
	  DESC_1M(GIB(1) + MIB(2), GIB(3)),
	  TAG_MAP_OVERLAPS_REGION },
	{ "one tag storage for both",
	  DESC_1M(GIB(1), GIB(3)), DESC_1M(GIB(2), GIB(3)),
	  TAG_MAP_OVERLAPS_REGION },
	{ "tag storage shares a page",
	  DESC_1M(GIB(1), GIB(3)), DESC_1M(GIB(2), GIB(3) + KIB(28)),
	  TAG_MAP_OVERLAPS_REGION },
	{ "tag storage inside the data of the other",
	  DESC_1M(GIB(1), GIB(2) + KIB(64)), DESC_1M(GIB(2), GIB(3)),
	  TAG_MAP_OVERLAPS_DATA },
	{ "tag storage takes the first page of the other's data",
	  DESC_1M(GIB(1), GIB(2) - KIB(28)), DESC_1M(GIB(2), GIB(3)),
	  TAG_MAP_OVERLAPS_DATA },
	{ "tag storage takes the last page of the other's data",
	  DESC_1M(GIB(1), GIB(2) + KIB(1020)), DESC_1M(GIB(2), GIB(3)),
	  TAG_MAP_OVERLAPS_DATA },
	{ "each holds the tags in the data of the other",
	  DESC_1M(GIB(1), GIB(2)), DESC_1M(GIB(2), GIB(1)),
	  TAG_MAP_OVERLAPS_DATA },
	{ "tag storage that ends where addresses end",
	  DESC_1M(GIB(1), -KIB(32)), DESC_1M(GIB(2), -KIB(36)),
	  TAG_MAP_OVERLAPS_REGION },
	{ "data that ends where addresses end",
	  DESC_1M(-MIB(1), GIB(1)), DESC_1M(GIB(2), -KIB(32)),
	  TAG_MAP_OVERLAPS_DATA },
	{ "nothing but the start and the end of all addresses",
	  DESC_1M(-MIB(1), 0), DESC_1M(GIB(2), GIB(3)),
	  TAG_MAP_OK },
};

/*
 * One data page and the block that holds its tags. Pages are counted from the
 * start of the data and of the tag storage.
 */
struct tag_map_place_case {
	const char *name;
	u64 page_size;
	struct tag_map_desc desc;
	unsigned long page;
	/* The block, its first page, and the data that it covers. */
	unsigned long block;
	unsigned long tag_page;
	unsigned long first;
	unsigned long nr;
};

/* 4 MiB of data with 128 KiB of tag storage, or 132 KiB for odd blocks. */
#define DESC_4M(_tag_size, _block_size)	\
	DESC(DATA_BASE, MIB(4), TAG_BASE, _tag_size, _block_size)
/* As much as 52 address bits allow next to the tags. */
#define DESC_MAX(_block_size)	\
	DESC(0, TIB(2048), TIB(2048), TIB(64), _block_size)

static const struct tag_map_place_case tag_map_place_cases[] = {
	{ "4K block, first page", KIB(4),
	  DESC_4M(KIB(128), KIB(4)), 0, 0, 0, 0, 32 },
	{ "4K block, last page", KIB(4),
	  DESC_4M(KIB(128), KIB(4)), 31, 0, 0, 0, 32 },
	{ "4K block, first page of the second", KIB(4),
	  DESC_4M(KIB(128), KIB(4)), 32, 1, 1, 32, 32 },
	{ "4K block, last page of all", KIB(4),
	  DESC_4M(KIB(128), KIB(4)), 1023, 31, 31, 992, 32 },
	{ "12K block, last page", KIB(4),
	  DESC_4M(KIB(132), KIB(12)), 95, 0, 0, 0, 96 },
	{ "12K block, first page of the second", KIB(4),
	  DESC_4M(KIB(132), KIB(12)), 96, 1, 3, 96, 96 },
	{ "12K block, last page of the second", KIB(4),
	  DESC_4M(KIB(132), KIB(12)), 191, 1, 3, 96, 96 },
	{ "12K block, last page of all", KIB(4),
	  DESC_4M(KIB(132), KIB(12)), 1023, 10, 30, 960, 64 },
	{ "64K block, last page", KIB(4),
	  DESC_4M(KIB(128), KIB(64)), 511, 0, 0, 0, 512 },
	{ "64K block, first page of the second", KIB(4),
	  DESC_4M(KIB(128), KIB(64)), 512, 1, 16, 512, 512 },
	{ "4K block in 16K pages", KIB(16),
	  DESC_4M(KIB(128), KIB(4)), 100, 3, 3, 96, 32 },
	{ "20K block in 16K pages", KIB(16),
	  DESC(DATA_BASE, MIB(5), TAG_BASE, KIB(160), KIB(20)),
	  160, 1, 5, 160, 160 },
	{ "4K block in 64K pages", KIB(64),
	  DESC_4M(KIB(128), KIB(4)), 63, 1, 1, 32, 32 },
	{ "last page of a full address space", KIB(4),
	  DESC_MAX(KIB(4)), (1UL << 39) - 1,
	  (1UL << 34) - 1, (1UL << 34) - 1, (1UL << 39) - 32, 32 },
	{ "last page of a full address space, 64K pages", KIB(64),
	  DESC_MAX(KIB(4)), (1UL << 35) - 1,
	  (1UL << 30) - 1, (1UL << 30) - 1, (1UL << 35) - 32, 32 },
	{ "more pages per block than 32 bits count", KIB(4),
	  DESC(0, TIB(512) + KIB(128), TIB(2048), TIB(16) + KIB(4),
	       TIB(16) + KIB(4)),
	  (1UL << 37) + 31, 0, 0, 0, (1UL << 37) + 32 },
};

/*
 * A range of data pages and the blocks that cover it: 16 MiB of data in 4 KiB
 * pages, counted from their start.
 */
struct tag_map_range_case {
	const char *name;
	u64 block_size;
	unsigned long page;
	unsigned long nr;
	unsigned long first;
	unsigned long nr_blocks;
};

static const struct tag_map_range_case tag_map_range_cases[] = {
	{ "4K blocks, first page", KIB(4), 0, 1, 0, 1 },
	{ "4K blocks, last page of a block", KIB(4), 31, 1, 0, 1 },
	{ "4K blocks, first page of a block", KIB(4), 32, 1, 1, 1 },
	{ "4K blocks, order 1 across a border", KIB(4), 31, 2, 0, 2 },
	{ "4K blocks, order 4 aligned", KIB(4), 16, 16, 0, 1 },
	{ "4K blocks, order 4 across a border", KIB(4), 17, 16, 0, 2 },
	{ "4K blocks, order 5 aligned", KIB(4), 32, 32, 1, 1 },
	{ "4K blocks, order 5 one off", KIB(4), 33, 32, 1, 2 },
	{ "4K blocks, order 6 aligned", KIB(4), 64, 64, 2, 2 },
	{ "4K blocks, order 6 one off", KIB(4), 63, 64, 1, 3 },
	{ "4K blocks, order 9 aligned", KIB(4), 512, 512, 16, 16 },
	{ "4K blocks, order 9 one off", KIB(4), 513, 512, 16, 17 },
	{ "4K blocks, order 9 at the end", KIB(4), 3584, 512, 112, 16 },
	{ "8K blocks, order 9 aligned", KIB(8), 512, 512, 8, 8 },
	{ "8K blocks, order 5 across a border", KIB(8), 63, 32, 0, 2 },
	{ "12K blocks, order 5 inside", KIB(12), 64, 32, 0, 1 },
	{ "12K blocks, order 6 across a border", KIB(12), 64, 64, 0, 2 },
	{ "12K blocks, order 9 first", KIB(12), 0, 512, 0, 6 },
	{ "12K blocks, order 9 second", KIB(12), 512, 512, 5, 6 },
	{ "12K blocks, order 9 in 7 blocks", KIB(12), 95, 512, 0, 7 },
	{ "20K blocks, order 9 aligned", KIB(20), 512, 512, 3, 4 },
	{ "20K blocks, order 9 in 5 blocks", KIB(20), 159, 512, 0, 5 },
	{ "64K blocks, order 9 aligned", KIB(64), 512, 512, 1, 1 },
	{ "64K blocks, order 9 one off", KIB(64), 511, 512, 0, 2 },
	{ "64K blocks, order 4 across a border", KIB(64), 504, 16, 0, 2 },
	{ "4K blocks, everything", KIB(4), 0, 4096, 0, 128 },
	{ "12K blocks, everything", KIB(12), 0, 4096, 0, 43 },
	{ "64K blocks, everything", KIB(64), 0, 4096, 0, 8 },
};

/* A number of regions, and the pages between one and the next. */
struct tag_map_regions_case {
	const char *name;
	unsigned int nr;
	unsigned int gap;
};

#define TAG_MAP_MAX_REGIONS	32

static const struct tag_map_regions_case tag_map_regions_cases[] = {
	{ "no region", 0, 0 },
	{ "1 region", 1, 0 },
	{ "2 regions side by side", 2, 0 },
	{ "2 regions with a gap", 2, 1 },
	{ "3 regions side by side", 3, 0 },
	{ "3 regions with gaps", 3, 5 },
	{ "32 regions side by side", TAG_MAP_MAX_REGIONS, 0 },
	{ "32 regions with gaps", TAG_MAP_MAX_REGIONS, 3 },
};

#endif /* __MTE_TAG_STORAGE_MAP_CASES_H */
