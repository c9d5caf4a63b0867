/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where the tags of a page are: the arithmetic of MTE tag storage.
 *
 * Hardware keeps the 4-bit tag of every 16-byte granule of a range of memory
 * in a second range of 1/32 its size. The relation is linear from one *tag
 * block* to the next: a block is the smallest number of whole pages of tag
 * storage that holds the tags of one contiguous run of data pages, and covers
 * 32 data pages per page of its own. Inside a block firmware may have chosen
 * any order (interleaving).
 *
 * With one-page blocks, 4 KiB pages, data at pfn 0x40000 and tag storage at
 * pfn 0x80000:
 *
 *	data pfns		block	tag storage pfns
 *	0x40000 - 0x4001f	0	0x80000
 *	0x40020 - 0x4003f	1	0x80001
 *
 * With 12 KiB blocks block 1 covers data pfns 0x40060 - 0x400bf and stands at
 * pfns 0x80003 - 0x80005. The last block may cover fewer pages than the
 * others, where the data ends. Data behind the last whole block has its tags
 * in the remainder of the tag storage, which is no block: it is never taken
 * for anything else.
 *
 * Nothing here knows of struct page, so that the same code runs in the kernel,
 * in KUnit and in a program on the build host. The page size is a parameter
 * where it matters, for the same reason.
 */
#ifndef __MTE_TAG_STORAGE_MAP_H
#define __MTE_TAG_STORAGE_MAP_H

#include <linux/minmax.h>
#include <linux/types.h>

/* Bytes of memory whose tags fill one byte: two granules of 16 bytes. */
#define TAG_MAP_RATIO		32

/* The unit of the block-size property, in bytes. */
#define TAG_MAP_BLOCK_UNIT	4096

/**
 * struct tag_map_desc - one tag storage region as firmware describes it
 * @data_base: start of the memory whose tags it holds, in bytes
 * @data_size: size of that memory, in bytes
 * @tag_base: start of the tag storage, in bytes
 * @tag_size: size of the tag storage, in bytes
 * @block_size: the smallest number of bytes of tag storage that hold the tags
 *	of contiguous memory, a multiple of %TAG_MAP_BLOCK_UNIT
 */
struct tag_map_desc {
	u64 data_base;
	u64 data_size;
	u64 tag_base;
	u64 tag_size;
	u64 block_size;
};

/**
 * struct tag_map - one tag storage region in pages
 * @data_start: first data pfn
 * @data_pages: number of data pages
 * @tag_start: first pfn of the tag storage
 * @nr_blocks: number of whole tag blocks, each of which covers a data page
 * @block_pages: pages of tag storage per block
 * @region: for whoever has the map
 */
struct tag_map {
	unsigned long data_start;
	unsigned long data_pages;
	unsigned long tag_start;
	unsigned long nr_blocks;
	unsigned long block_pages;
	struct tag_region *region;
};

/**
 * enum tag_map_fault - what can be wrong with a description
 * @TAG_MAP_OK: nothing
 * @TAG_MAP_BAD_BLOCK_SIZE: zero, no multiple of %TAG_MAP_BLOCK_UNIT, or the
 *	region has no room for a block of whole pages
 * @TAG_MAP_COVERS_NOTHING: there is no tag storage, or no page of data
 * @TAG_MAP_NOT_ALIGNED: data or tag storage does not start with a page
 * @TAG_MAP_BAD_SIZE: the tag storage is not 1/32 of its data, or one of the two
 *	reaches past the end of the address space
 * @TAG_MAP_OVERLAPS_DATA: a page would be both data and tag storage
 * @TAG_MAP_OVERLAPS_REGION: two regions share data or tag storage
 */
enum tag_map_fault {
	TAG_MAP_OK,
	TAG_MAP_BAD_BLOCK_SIZE,
	TAG_MAP_COVERS_NOTHING,
	TAG_MAP_NOT_ALIGNED,
	TAG_MAP_BAD_SIZE,
	TAG_MAP_OVERLAPS_DATA,
	TAG_MAP_OVERLAPS_REGION,
};

enum tag_map_fault tag_map_init(struct tag_map *map,
				const struct tag_map_desc *desc,
				u64 page_size);
enum tag_map_fault tag_map_desc_conflict(const struct tag_map_desc *a,
					 const struct tag_map_desc *b);
const struct tag_map *tag_map_lookup(const struct tag_map *maps,
				     unsigned int nr, unsigned long pfn);
const struct tag_map *tag_map_lookup_tag(const struct tag_map *maps,
					 unsigned int nr, unsigned long pfn);

/**
 * tag_map_block_covers - number of data pages that a whole block covers
 * @map: the region
 *
 * Context: any.
 * Return: the number of data pages.
 */
static inline unsigned long tag_map_block_covers(const struct tag_map *map)
{
	return map->block_pages * TAG_MAP_RATIO;
}

/**
 * tag_map_covers - whether the tags of a data page lie in a region
 * @map: the region
 * @pfn: the data page
 *
 * Context: any.
 * Return: true if they do.
 */
static inline bool tag_map_covers(const struct tag_map *map, unsigned long pfn)
{
	return pfn - map->data_start < map->data_pages;
}

/**
 * tag_map_holds - whether a page is part of a whole tag block of a region
 * @map: the region
 * @pfn: the page
 *
 * Context: any.
 * Return: true if it is.
 */
static inline bool tag_map_holds(const struct tag_map *map, unsigned long pfn)
{
	return pfn - map->tag_start < map->nr_blocks * map->block_pages;
}

/**
 * tag_map_block - the tag block that holds the tags of a data page
 * @map: a region that covers the page
 * @pfn: the data page
 *
 * Context: any.
 * Return: the block's index; not below nr_blocks if the tags of the page lie
 * behind the last whole block, see tag_map_in_block().
 */
static inline unsigned long tag_map_block(const struct tag_map *map,
					  unsigned long pfn)
{
	return (pfn - map->data_start) / tag_map_block_covers(map);
}

/**
 * tag_map_in_block - whether the tags of a data page lie in a whole tag block
 * @map: a region that covers the page
 * @pfn: the data page
 *
 * Context: any.
 * Return: false if they lie behind the last whole block.
 */
static inline bool tag_map_in_block(const struct tag_map *map,
				    unsigned long pfn)
{
	return pfn - map->data_start <
	       map->nr_blocks * tag_map_block_covers(map);
}

/**
 * tag_map_block_pfn - the first page of a tag block
 * @map: the region
 * @block: the block's index
 *
 * Context: any.
 * Return: the pfn.
 */
static inline unsigned long tag_map_block_pfn(const struct tag_map *map,
					      unsigned long block)
{
	return map->tag_start + block * map->block_pages;
}

/**
 * tag_map_tag_block - the tag block that a page of tag storage belongs to
 * @map: a region that holds the page
 * @pfn: the page of tag storage
 *
 * Context: any.
 * Return: the block's index.
 */
static inline unsigned long tag_map_tag_block(const struct tag_map *map,
					      unsigned long pfn)
{
	return (pfn - map->tag_start) / map->block_pages;
}

/**
 * tag_map_block_data - the data pages that a tag block covers
 * @map: the region
 * @block: the block's index, below nr_blocks
 * @nr: set to the number of pages; the last block may cover fewer than others
 *
 * Context: any.
 * Return: the first data pfn.
 */
static inline unsigned long tag_map_block_data(const struct tag_map *map,
					       unsigned long block,
					       unsigned long *nr)
{
	unsigned long first = block * tag_map_block_covers(map);

	*nr = min(map->data_pages - first, tag_map_block_covers(map));
	return map->data_start + first;
}

/**
 * tag_map_range_blocks - the number of tag blocks that cover a range
 * @map: a region that covers the whole range
 * @pfn: first data page
 * @nr: number of data pages, not zero
 * @first: set to the index of the first block
 *
 * The range need not be aligned to anything.
 *
 * Context: any.
 * Return: the number of blocks. As with tag_map_block(), some of them may be
 * behind the last whole block.
 */
static inline unsigned long tag_map_range_blocks(const struct tag_map *map,
						 unsigned long pfn,
						 unsigned long nr,
						 unsigned long *first)
{
	*first = tag_map_block(map, pfn);
	return tag_map_block(map, pfn + nr - 1) - *first + 1;
}

#endif /* __MTE_TAG_STORAGE_MAP_H */
