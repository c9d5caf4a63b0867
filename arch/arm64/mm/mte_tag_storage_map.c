// SPDX-License-Identifier: GPL-2.0-only
/*
 * Where the tags of a page are: checks and look-ups that are not inline.
 *
 * See mte_tag_storage_map.h for the relation between data and tags. This file
 * is also compiled on the build host, see tools/testing/mte_tag_storage/.
 */

#include <linux/gcd.h>

#include "mte_tag_storage_map.h"

/* In terms of distances, so that a range may end where addresses end. */
static bool ranges_overlap(u64 a, u64 a_size, u64 b, u64 b_size)
{
	return b - a < a_size || a - b < b_size;
}

static bool range_wraps(u64 base, u64 size)
{
	return base + size < base;
}

/*
 * Exactly 1/32, or that rounded up to whole units of the block size: firmware
 * cannot set aside less than such a unit.
 */
static bool size_matches(const struct tag_map_desc *desc)
{
	u64 want = desc->data_size / TAG_MAP_RATIO;
	u64 rest = want % desc->block_size;

	if (desc->data_size % TAG_MAP_RATIO)
		return false;
	if (desc->tag_size == want)
		return true;
	return rest && desc->tag_size == want - rest + desc->block_size;
}

/**
 * tag_map_init - check a description and turn it into pages
 * @map: filled in if the description is good
 * @desc: the description
 * @page_size: bytes per page, a power of two and not below 4 KiB
 *
 * Data that does not fill a page at the end is left out, as memblock does.
 *
 * Context: any.
 * Return: %TAG_MAP_OK or what is wrong.
 */
enum tag_map_fault tag_map_init(struct tag_map *map,
				const struct tag_map_desc *desc,
				u64 page_size)
{
	u64 block, factor;

	if (!desc->block_size || desc->block_size % TAG_MAP_BLOCK_UNIT)
		return TAG_MAP_BAD_BLOCK_SIZE;
	if (desc->data_size < page_size || !desc->tag_size)
		return TAG_MAP_COVERS_NOTHING;
	if (desc->data_base % page_size || desc->tag_base % page_size)
		return TAG_MAP_NOT_ALIGNED;
	if (range_wraps(desc->data_base, desc->data_size) ||
	    range_wraps(desc->tag_base, desc->tag_size))
		return TAG_MAP_BAD_SIZE;
	if (!size_matches(desc))
		return TAG_MAP_BAD_SIZE;
	if (ranges_overlap(desc->data_base, desc->data_size,
			   desc->tag_base, desc->tag_size))
		return TAG_MAP_OVERLAPS_DATA;

	/*
	 * The least common multiple: whole pages and whole hardware blocks.
	 * Divide first: a huge block_size would wrap to one that looks right.
	 */
	factor = page_size / gcd(page_size, desc->block_size);
	if (desc->block_size > desc->tag_size / factor)
		return TAG_MAP_BAD_BLOCK_SIZE;
	block = desc->block_size * factor;

	map->data_start = desc->data_base / page_size;
	map->data_pages = desc->data_size / page_size;
	map->tag_start = desc->tag_base / page_size;
	map->block_pages = block / page_size;
	/* The tags of a page that was left out may fill a block of their own. */
	map->nr_blocks = min(desc->tag_size / block,
			     tag_map_block(map, map->data_start +
						map->data_pages - 1) + 1);
	return TAG_MAP_OK;
}

/**
 * tag_map_desc_conflict - whether two descriptions exclude each other
 * @a: one description
 * @b: the other
 *
 * Two regions may share neither data nor tag storage, and the tag storage of
 * one may not be data of the other: it could not be told when it is in use.
 *
 * Context: any.
 * Return: %TAG_MAP_OK, %TAG_MAP_OVERLAPS_REGION or %TAG_MAP_OVERLAPS_DATA.
 */
enum tag_map_fault tag_map_desc_conflict(const struct tag_map_desc *a,
					 const struct tag_map_desc *b)
{
	if (ranges_overlap(a->tag_base, a->tag_size, b->tag_base, b->tag_size) ||
	    ranges_overlap(a->data_base, a->data_size,
			   b->data_base, b->data_size))
		return TAG_MAP_OVERLAPS_REGION;
	if (ranges_overlap(a->tag_base, a->tag_size,
			   b->data_base, b->data_size) ||
	    ranges_overlap(b->tag_base, b->tag_size,
			   a->data_base, a->data_size))
		return TAG_MAP_OVERLAPS_DATA;
	return TAG_MAP_OK;
}

/**
 * tag_map_lookup - the region that covers a data page
 * @maps: regions in ascending order of data_start
 * @nr: how many
 * @pfn: the data page
 *
 * Context: any.
 * Return: the region, or NULL if none covers the page.
 */
const struct tag_map *tag_map_lookup(const struct tag_map *maps,
				     unsigned int nr, unsigned long pfn)
{
	unsigned int low = 0, high = nr;

	while (low < high) {
		unsigned int mid = low + (high - low) / 2;

		if (tag_map_covers(&maps[mid], pfn))
			return &maps[mid];
		if (pfn < maps[mid].data_start)
			high = mid;
		else
			low = mid + 1;
	}
	return NULL;
}

/**
 * tag_map_lookup_tag - the region that a page of tag storage belongs to
 * @maps: regions in any order
 * @nr: how many
 * @pfn: the page
 *
 * Context: any. Takes time in proportion to the number of regions.
 * Return: the region, or NULL if the page belongs to no whole tag block.
 */
const struct tag_map *tag_map_lookup_tag(const struct tag_map *maps,
					 unsigned int nr, unsigned long pfn)
{
	unsigned int i;

	for (i = 0; i < nr; i++) {
		if (tag_map_holds(&maps[i], pfn))
			return &maps[i];
	}
	return NULL;
}
