// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of the MTE tag storage arithmetic.
 *
 * Two kinds: tables of inputs and results, and properties that are checked for
 * every page of small regions against a model that works on bytes and by
 * enumeration. The page size is a parameter, so that all of them are tested
 * whatever the size the kernel was built for.
 *
 * This file is also compiled on the build host, with a small replacement for
 * <kunit/test.h>: see tools/testing/mte_tag_storage/.
 */

#include <kunit/test.h>

#include "mte_tag_storage_map_cases.h"

/* The order of a PMD sized folio with 4 KiB pages. */
#define MAX_FOLIO_ORDER		9

/* Co-prime to every block: ranges start at every place within one. */
#define RANGE_STEP		7

/* Bytes of tag storage as [start, end), counted from its beginning. */
struct tag_bytes {
	u64 start;
	u64 end;
};

static u64 round_up_to(u64 size, u64 unit)
{
	u64 rest = size % unit;

	return rest ? size - rest + unit : size;
}

/* The least number of bytes that is both whole pages and whole units. */
static u64 model_block_size(u64 page_size, u64 block_size)
{
	u64 size = page_size;

	while (size % block_size)
		size += page_size;
	return size;
}

/*
 * All bytes that may hold a tag of a data page. Firmware may put the tags in
 * any order inside a unit of block_size, so they can be anywhere in the units
 * that a linear layout would touch.
 */
static struct tag_bytes model_tags(u64 page_size, u64 block_size,
				   unsigned long page)
{
	u64 size = page_size / TAG_MAP_RATIO;
	u64 start = page * size;
	u64 first_unit = start / block_size;
	u64 last_unit = (start + size - 1) / block_size;

	return (struct tag_bytes) {
		.start = first_unit * block_size,
		.end = (last_unit + 1) * block_size,
	};
}

static struct tag_bytes block_bytes(const struct tag_map *map, u64 page_size,
				    unsigned long block)
{
	u64 first = tag_map_block_pfn(map, block) - map->tag_start;

	return (struct tag_bytes) {
		.start = first * page_size,
		.end = (first + map->block_pages) * page_size,
	};
}

static void init_map(struct kunit *test, struct tag_map *map,
		     const struct tag_map_desc *desc, u64 page_size)
{
	enum tag_map_fault fault = tag_map_init(map, desc, page_size);

	KUNIT_ASSERT_EQ_MSG(test, fault, TAG_MAP_OK,
			    "data %llx+%llx tags %llx+%llx",
			    desc->data_base, desc->data_size,
			    desc->tag_base, desc->tag_size);
}

static void init_geometry(struct kunit *test, struct tag_map *map,
			  const struct tag_map_geometry *geometry,
			  const struct tag_map_bases *bases)
{
	struct tag_map_desc desc = DESC(bases->data_base, geometry->data_size,
					bases->tag_base, geometry->tag_size,
					geometry->block_size);

	init_map(test, map, &desc, geometry->page_size);
}

typedef void (*check_fn)(struct kunit *test, const struct tag_map *map,
			 const struct tag_map_geometry *geometry);

/* Put the geometry of the test at each of the bases and check it there. */
static void check_at_bases(struct kunit *test, check_fn check)
{
	const struct tag_map_geometry *geometry = test->param_value;
	struct tag_map map;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(tag_map_bases); i++) {
		init_geometry(test, &map, geometry, &tag_map_bases[i]);
		KUNIT_ASSERT_EQ(test, map.data_start,
				tag_map_bases[i].data_base / geometry->page_size);
		KUNIT_ASSERT_EQ(test, map.tag_start,
				tag_map_bases[i].tag_base / geometry->page_size);
		check(test, &map, geometry);
	}
}

static void check_init(struct kunit *test)
{
	const struct tag_map_init_case *c = test->param_value;
	struct tag_map map;

	KUNIT_EXPECT_EQ(test, tag_map_init(&map, &c->desc, c->page_size),
			c->fault);
}

static void check_conflict(struct kunit *test)
{
	const struct tag_map_conflict_case *c = test->param_value;

	KUNIT_EXPECT_EQ(test, tag_map_desc_conflict(&c->a, &c->b), c->fault);
	KUNIT_EXPECT_EQ(test, tag_map_desc_conflict(&c->b, &c->a), c->fault);
}

static void check_place(struct kunit *test)
{
	const struct tag_map_place_case *c = test->param_value;
	unsigned long block, pfn, nr;
	struct tag_map map;

	init_map(test, &map, &c->desc, c->page_size);
	pfn = map.data_start + c->page;
	KUNIT_EXPECT_TRUE(test, tag_map_covers(&map, pfn));
	block = tag_map_block(&map, pfn);
	KUNIT_EXPECT_EQ(test, block, c->block);
	KUNIT_EXPECT_EQ(test, tag_map_block_pfn(&map, block),
			map.tag_start + c->tag_page);
	KUNIT_EXPECT_EQ(test, tag_map_block_data(&map, block, &nr),
			map.data_start + c->first);
	KUNIT_EXPECT_EQ(test, nr, c->nr);
}

static void check_range(struct kunit *test)
{
	const struct tag_map_range_case *c = test->param_value;
	struct tag_map_desc desc =
		DESC(DATA_BASE, MIB(16), TAG_BASE,
		     round_up_to(KIB(512), c->block_size), c->block_size);
	unsigned long first, nr_blocks;
	struct tag_map map;

	init_map(test, &map, &desc, KIB(4));
	nr_blocks = tag_map_range_blocks(&map, map.data_start + c->page, c->nr,
					 &first);
	KUNIT_EXPECT_EQ(test, first, c->first);
	KUNIT_EXPECT_EQ(test, nr_blocks, c->nr_blocks);
}

static void check_size(struct kunit *test, const struct tag_map *map,
		       const struct tag_map_geometry *geometry)
{
	KUNIT_EXPECT_EQ(test, map->data_pages, geometry->data_pages);
	KUNIT_EXPECT_EQ(test, map->block_pages, geometry->block_pages);
	KUNIT_EXPECT_EQ(test, map->nr_blocks, geometry->nr_blocks);
	KUNIT_EXPECT_EQ(test, map->block_pages * geometry->page_size,
			model_block_size(geometry->page_size,
					 geometry->block_size));
}

static void check_sizes(struct kunit *test)
{
	check_at_bases(test, check_size);
}

/* Every block holds all tags of the pages that map to it, and no others. */
static void check_page_blocks(struct kunit *test, const struct tag_map *map,
			      const struct tag_map_geometry *geometry)
{
	unsigned long page, block;

	for (page = 0; page < map->data_pages; page++) {
		struct tag_bytes tags = model_tags(geometry->page_size,
						   geometry->block_size, page);
		struct tag_bytes bytes;

		block = tag_map_block(map, map->data_start + page);
		bytes = block_bytes(map, geometry->page_size, block);
		KUNIT_ASSERT_TRUE_MSG(test, tags.start >= bytes.start &&
				      tags.end <= bytes.end,
				      "page %lu in block %lu", page, block);
		/* Behind the last whole block exactly if the room ends first. */
		KUNIT_ASSERT_EQ_MSG(test, block < map->nr_blocks,
				    bytes.end <= geometry->tag_size,
				    "page %lu in block %lu", page, block);
	}
}

static void check_tags_in_block(struct kunit *test)
{
	check_at_bases(test, check_page_blocks);
}

/* The pages of a block start at first, are never none, and map back to it. */
static unsigned long check_block_data(struct kunit *test,
				      const struct tag_map *map,
				      unsigned long block, unsigned long first)
{
	unsigned long pfn, nr, i;

	pfn = tag_map_block_data(map, block, &nr);
	KUNIT_ASSERT_EQ_MSG(test, pfn, first, "block %lu", block);
	KUNIT_ASSERT_GT_MSG(test, nr, 0UL, "block %lu", block);
	KUNIT_ASSERT_LE_MSG(test, nr, tag_map_block_covers(map),
			    "block %lu", block);
	for (i = 0; i < nr; i++)
		KUNIT_ASSERT_EQ_MSG(test, tag_map_block(map, pfn + i), block,
				    "page %lx", pfn + i);
	return pfn + nr;
}

/*
 * The blocks part the data from the first page on, without a gap. What is left
 * behind the last has no whole block, and only the last may cover fewer.
 */
static void check_partition(struct kunit *test, const struct tag_map *map,
			    const struct tag_map_geometry *geometry)
{
	unsigned long end = map->data_start + map->data_pages;
	unsigned long full = map->nr_blocks * tag_map_block_covers(map);
	unsigned long next = map->data_start;
	unsigned long block, pfn;

	for (block = 0; block < map->nr_blocks; block++)
		next = check_block_data(test, map, block, next);
	KUNIT_ASSERT_LE(test, next, end);
	if (next < end)
		KUNIT_EXPECT_EQ(test, next, map->data_start + full);
	for (pfn = next; pfn < end; pfn++)
		KUNIT_ASSERT_GE_MSG(test, tag_map_block(map, pfn),
				    map->nr_blocks, "page %lx", pfn);
}

static void check_blocks_part_data(struct kunit *test)
{
	check_at_bases(test, check_partition);
}

/* Every page of tag storage up to the last whole block belongs to one block. */
static void check_storage(struct kunit *test, const struct tag_map *map,
			  const struct tag_map_geometry *geometry)
{
	unsigned long pfn = map->tag_start;
	unsigned long block, i;

	KUNIT_EXPECT_FALSE(test, tag_map_holds(map, pfn - 1));
	for (block = 0; block < map->nr_blocks; block++) {
		KUNIT_ASSERT_EQ(test, tag_map_block_pfn(map, block), pfn);
		for (i = 0; i < map->block_pages; i++, pfn++) {
			KUNIT_ASSERT_TRUE_MSG(test, tag_map_holds(map, pfn),
					      "page %lx", pfn);
			KUNIT_ASSERT_EQ_MSG(test, tag_map_tag_block(map, pfn),
					    block, "page %lx", pfn);
		}
	}
	KUNIT_EXPECT_FALSE(test, tag_map_holds(map, pfn));
	KUNIT_EXPECT_LE(test, (pfn - map->tag_start) * geometry->page_size,
			geometry->tag_size);
}

static void check_blocks_part_storage(struct kunit *test)
{
	check_at_bases(test, check_storage);
}

/* The borders of the data, and the page numbers next to where they wrap. */
static void check_border(struct kunit *test, const struct tag_map *map,
			 const struct tag_map_geometry *geometry)
{
	unsigned long end = map->data_start + map->data_pages;

	KUNIT_EXPECT_TRUE(test, tag_map_covers(map, map->data_start));
	KUNIT_EXPECT_TRUE(test, tag_map_covers(map, end - 1));
	KUNIT_EXPECT_FALSE(test, tag_map_covers(map, end));
	KUNIT_EXPECT_FALSE(test, tag_map_covers(map, map->data_start - 1));
	KUNIT_EXPECT_FALSE(test, tag_map_covers(map, map->tag_start));
	KUNIT_EXPECT_FALSE(test, tag_map_covers(map, -1UL));
	KUNIT_EXPECT_FALSE(test, tag_map_holds(map, map->data_start));
	KUNIT_EXPECT_FALSE(test, tag_map_holds(map, -1UL));
	KUNIT_EXPECT_EQ(test, tag_map_covers(map, 0), map->data_start == 0);
	KUNIT_EXPECT_EQ(test, tag_map_holds(map, 0), map->tag_start == 0);
}

static void check_borders(struct kunit *test)
{
	check_at_bases(test, check_border);
}

/* Count the blocks of a range page by page. */
static void check_range_blocks(struct kunit *test, const struct tag_map *map,
			       u64 page_size, unsigned long page,
			       unsigned long nr)
{
	u64 size = map->block_pages * page_size;
	unsigned long count = 0, lowest = -1UL;
	unsigned long i, block, first, nr_blocks;
	u64 seen = 0;

	for (i = page; i < page + nr; i++) {
		block = i * (page_size / TAG_MAP_RATIO) / size;
		lowest = min(lowest, block);
		if (!(seen & (1ULL << block)))
			count++;
		seen |= 1ULL << block;
	}
	nr_blocks = tag_map_range_blocks(map, map->data_start + page, nr,
					 &first);
	KUNIT_ASSERT_EQ_MSG(test, first, lowest, "pages %lu+%lu", page, nr);
	KUNIT_ASSERT_EQ_MSG(test, nr_blocks, count, "pages %lu+%lu", page, nr);
}

/* Folios of every order, at their natural place and at odd ones. */
static void check_folio_ranges(struct kunit *test)
{
	const struct tag_map_geometry *geometry = test->param_value;
	unsigned long page, nr;
	struct tag_map map;
	unsigned int order;

	init_geometry(test, &map, geometry, &tag_map_bases[0]);
	/* One bit per block must do to count them. */
	KUNIT_ASSERT_LT(test, map.data_pages / tag_map_block_covers(&map),
			64UL);
	for (order = 0; order <= MAX_FOLIO_ORDER; order++) {
		nr = 1UL << order;
		for (page = 0; page + nr <= map.data_pages; page += nr)
			check_range_blocks(test, &map, geometry->page_size,
					   page, nr);
		for (page = 1; page + nr <= map.data_pages; page += RANGE_STEP)
			check_range_blocks(test, &map, geometry->page_size,
					   page, nr);
	}
	check_range_blocks(test, &map, geometry->page_size, 0, map.data_pages);
}

/*
 * Regions of 40 data pages in ascending order, with their tag storage in
 * descending order: 2 pages, or less and thus a single whole block.
 */
#define REGION_PAGES		40
#define REGION_TAG_PAGES	2

static void init_regions(struct kunit *test,
			 const struct tag_map_regions_case *c,
			 struct tag_map *maps, struct tag_map_desc *descs)
{
	u64 data_step = KIB(4) * (REGION_PAGES + c->gap);
	u64 tag_step = KIB(4) * (REGION_TAG_PAGES + c->gap);
	unsigned int i;

	for (i = 0; i < c->nr; i++) {
		descs[i] = (struct tag_map_desc)
			DESC(DATA_BASE + i * data_step, KIB(4) * REGION_PAGES,
			     TAG_BASE + (c->nr - 1 - i) * tag_step,
			     i % 2 ? KIB(5) : KIB(8), KIB(4));
		init_map(test, &maps[i], &descs[i], KIB(4));
	}
}

static bool within(u64 base, u64 size, u64 address)
{
	return address >= base && address < base + size;
}

static void check_lookup_pfn(struct kunit *test,
			     const struct tag_map_regions_case *c,
			     const struct tag_map *maps,
			     const struct tag_map_desc *descs,
			     unsigned long pfn)
{
	const struct tag_map *data = NULL, *tag = NULL;
	u64 address = (u64)pfn * KIB(4);
	unsigned int i;

	for (i = 0; i < c->nr; i++) {
		if (within(descs[i].data_base, descs[i].data_size, address))
			data = &maps[i];
		if (within(descs[i].tag_base, maps[i].nr_blocks * KIB(4),
			   address))
			tag = &maps[i];
	}
	KUNIT_ASSERT_PTR_EQ_MSG(test, tag_map_lookup(maps, c->nr, pfn), data,
				"page %lx", pfn);
	KUNIT_ASSERT_PTR_EQ_MSG(test, tag_map_lookup_tag(maps, c->nr, pfn), tag,
				"page %lx", pfn);
}

/* Every page of all regions and gaps, and a few on either side. */
static void check_lookup(struct kunit *test)
{
	const struct tag_map_regions_case *c = test->param_value;
	static struct tag_map_desc descs[TAG_MAP_MAX_REGIONS];
	static struct tag_map maps[TAG_MAP_MAX_REGIONS];
	unsigned long nr = c->nr * (REGION_PAGES + c->gap) + 4;
	unsigned long data = DATA_BASE / KIB(4) - 2;
	unsigned long tag = TAG_BASE / KIB(4) - 2;
	unsigned long i;

	init_regions(test, c, maps, descs);
	for (i = 0; i < nr; i++) {
		check_lookup_pfn(test, c, maps, descs, data + i);
		check_lookup_pfn(test, c, maps, descs, tag + i);
	}
	check_lookup_pfn(test, c, maps, descs, 0);
	check_lookup_pfn(test, c, maps, descs, -1UL);
}

KUNIT_ARRAY_PARAM_DESC(init, tag_map_init_cases, name);
KUNIT_ARRAY_PARAM_DESC(conflict, tag_map_conflict_cases, name);
KUNIT_ARRAY_PARAM_DESC(place, tag_map_place_cases, name);
KUNIT_ARRAY_PARAM_DESC(range, tag_map_range_cases, name);
KUNIT_ARRAY_PARAM_DESC(geometry, tag_map_geometries, name);
KUNIT_ARRAY_PARAM_DESC(regions, tag_map_regions_cases, name);

static struct kunit_case tag_map_cases[] = {
	KUNIT_CASE_PARAM(check_init, init_gen_params),
	KUNIT_CASE_PARAM(check_conflict, conflict_gen_params),
	KUNIT_CASE_PARAM(check_place, place_gen_params),
	KUNIT_CASE_PARAM(check_range, range_gen_params),
	KUNIT_CASE_PARAM(check_sizes, geometry_gen_params),
	KUNIT_CASE_PARAM(check_tags_in_block, geometry_gen_params),
	KUNIT_CASE_PARAM(check_blocks_part_data, geometry_gen_params),
	KUNIT_CASE_PARAM(check_blocks_part_storage, geometry_gen_params),
	KUNIT_CASE_PARAM(check_borders, geometry_gen_params),
	KUNIT_CASE_PARAM(check_folio_ranges, geometry_gen_params),
	KUNIT_CASE_PARAM(check_lookup, regions_gen_params),
	{}
};

static struct kunit_suite tag_map_suite = {
	.name = "mte_tag_storage_map",
	.test_cases = tag_map_cases,
};

kunit_test_suite(tag_map_suite);
