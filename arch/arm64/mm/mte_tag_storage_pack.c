// SPDX-License-Identifier: GPL-2.0-only
/*
 * MTE tag storage as memory: packing.
 *
 * A tag block is reserved for as long as one of the pages that it covers has
 * tags. Tagged pages that come and go leave blocks behind that few pages hold.
 * Here these pages are moved to where more of the others are, until most blocks
 * are full and the rest are given back.
 *
 * What there is to gain is memory, at most as much as there is tag storage, so
 * that nothing is done while twice as much can be allocated before kswapd has to
 * work. A work item looks from time to time, for as long as blocks are reserved,
 * whether that has come. It then goes through the blocks, and moves a limited number
 * of pages each time.
 *
 * Blocks are told apart by how full they are. The fullest, as many as all tagged
 * pages need, are to become full: pages that they cover and that have no tags are
 * emptied of their data and taken. The others are to become empty: the pages that
 * hold them are moved to the pages that were taken. A cursor for each of the two
 * goes round the region, so that what cannot be moved holds up nothing else.
 *
 * Locks. None: holders and bits are looked at while they change. A page is taken
 * from its owners by migration, which checks what was only a guess here.
 */

#include <linux/bitops.h>
#include <linux/gfp.h>
#include <linux/jiffies.h>
#include <linux/memory_metadata.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/vmstat.h>
#include <linux/workqueue.h>

#include "mte_tag_storage.h"

/* From the first reason to pack until that is done, and from then on. */
#define PACK_PERIOD	(HZ / 20 ?: 1)

/* The next look at whether memory is short; need not wake an idle CPU. */
#define PACK_IDLE	(4 * HZ)

/* Pages of a region to move, or to try to, in one go. */
#define PACK_BATCH	512

/* So often it may come to nothing, with twice the period each time. */
#define PACK_FRUITLESS	5

/* Blocks are full enough if this part of what they cover has tags. */
#define PACK_ENOUGH(pages)	((pages) / 16 * 15)

enum pack_side {
	PACK_FROM,
	PACK_TO,
	PACK_SIDES,
};

/* Where to go on in each region; used by the work item only. */
static struct pack_cursor {
	unsigned long block, page;
} pack_cursors[MTE_TAG_STORAGE_REGIONS][PACK_SIDES];

/* How full a block is. */
#define PACK_LEVELS	32

/**
 * struct packing - packing one region, once
 * @map: the region
 * @cursors: its cursors
 * @left: blocks that each cursor has still to look at
 * @level: fuller blocks are to become full, emptier ones empty
 * @border: of those on @level, the first that is to become empty
 */
struct packing {
	const struct tag_map *map;
	struct pack_cursor *cursors;
	unsigned long left[PACK_SIDES];
	unsigned int level;
	unsigned long border;
};

/* Return: pages that hold the block now, or 0 if it is not reserved. */
static unsigned int block_holders(const struct tag_map *map,
				  unsigned long block)
{
	return max(atomic_read(&map->region->blocks[block].holders), 0);
}

static unsigned int block_level(const struct tag_map *map, unsigned long block)
{
	return min(block_holders(map, block) * PACK_LEVELS /
		   tag_map_block_covers(map), PACK_LEVELS);
}

/* The first block behind the @nr first ones on a level. */
static unsigned long find_border(const struct tag_map *map, unsigned int level,
				 unsigned long nr)
{
	unsigned long block;

	for (block = 0; nr && block < map->nr_blocks; block++)
		nr -= block_level(map, block) == level && block_holders(map, block);
	return block;
}

/* Is there something to gain? Tells the blocks apart. */
static bool packing_begin(struct packing *p)
{
	unsigned long covers = tag_map_block_covers(p->map);
	unsigned long block, blocks = 0, pages = 0, full;
	unsigned long on_level[PACK_LEVELS + 1] = {};

	for (block = 0; block < p->map->nr_blocks; block++) {
		unsigned int holders = block_holders(p->map, block);

		if (!holders)
			continue;
		blocks++;
		pages += holders;
		on_level[block_level(p->map, block)]++;
	}
	if (!blocks || pages >= PACK_ENOUGH(blocks * covers))
		return false;

	full = DIV_ROUND_UP(pages, covers);
	p->level = PACK_LEVELS;
	while (p->level && on_level[p->level] < full)
		full -= on_level[p->level--];
	p->border = find_border(p->map, p->level, full);
	p->left[PACK_FROM] = p->map->nr_blocks;
	p->left[PACK_TO] = p->map->nr_blocks;
	return true;
}

static bool block_suits(const struct packing *p, unsigned long block,
			enum pack_side side)
{
	unsigned int level = block_level(p->map, block);
	bool to = level > p->level ||
		  (level == p->level && block < p->border);

	return block_holders(p->map, block) && to == (side == PACK_TO);
}

static bool page_suits(const struct packing *p, unsigned long pfn,
		       enum pack_side side)
{
	bool held = test_bit(pfn - p->map->data_start, p->map->region->held);

	return side == PACK_FROM ? held : !held;
}

/* Move on to the next page, from where the cursor stands. */
static bool packing_find(struct packing *p, enum pack_side side,
			 unsigned long *pfn)
{
	struct pack_cursor *c = &p->cursors[side];

	for (; p->left[side]; p->left[side]--) {
		unsigned long first, nr;

		if (block_suits(p, c->block, side)) {
			first = tag_map_block_data(p->map, c->block, &nr);
			for (; c->page < nr; c->page++) {
				*pfn = first + c->page;
				if (page_suits(p, *pfn, side))
					return true;
			}
		}
		c->page = 0;
		c->block = (c->block + 1) % p->map->nr_blocks;
	}
	return false;
}

/**
 * struct pack_result - what came of it
 * @tried: pages that it was tried to move
 * @moved: pages moved
 */
struct pack_result {
	unsigned int tried, moved;
};

static void pack_region(unsigned int i, struct pack_result *r)
{
	struct packing p = {
		.map = &tag_maps[i],
		.cursors = pack_cursors[i],
	};
	unsigned int tried = 0;
	unsigned long from, to;

	if (!packing_begin(&p))
		return;

	while (tried++ < PACK_BATCH && packing_find(&p, PACK_FROM, &from) &&
	       packing_find(&p, PACK_TO, &to)) {
		int ret = metadata_pack_page(from, to);

		r->tried++;
		r->moved += !ret;
		if (ret != -EBUSY)
			p.cursors[PACK_FROM].page++;
		if (ret != -ENOENT)
			p.cursors[PACK_TO].page++;
		cond_resched();
	}
}

static bool memory_short(void)
{
	unsigned long spare = 0;
	struct zone *zone;

	for_each_populated_zone(zone) {
		unsigned long free = zone_page_state(zone, NR_FREE_PAGES);

		spare += free - min(free, high_wmark_pages(zone));
	}
	/* Packing takes a while, so begin early. */
	return spare < 2 * metadata_total_pages();
}

static void pack(struct work_struct *work);
static void look_again(struct work_struct *work);

static DECLARE_DELAYED_WORK(pack_work, pack);
static DECLARE_DEFERRABLE_WORK(look_work, look_again);

static void look_again(struct work_struct *work)
{
	mte_tag_storage_pack_soon();
}

/*
 * Go on for as long as there is something to do. Pages that could not be had may
 * have been free, and on the lists of some CPU; look again, less and less often.
 */
static void pack(struct work_struct *work)
{
	static unsigned int fruitless;
	struct pack_result r = {};
	unsigned int i;

	if (memory_short()) {
		for (i = 0; i < nr_tag_regions; i++)
			pack_region(i, &r);
	}
	fruitless = r.moved ? 0 : fruitless + 1;
	if (r.tried > r.moved)
		drain_all_pages(NULL);
	if (r.tried && fruitless <= PACK_FRUITLESS) {
		queue_delayed_work(system_unbound_wq, &pack_work,
				   PACK_PERIOD << fruitless);
		return;
	}

	fruitless = 0;
	if (global_zone_page_state(NR_METADATA_RESERVED))
		queue_delayed_work(system_unbound_wq, &look_work, PACK_IDLE);
}

/**
 * mte_tag_storage_pack_soon - look after a while whether packing is worth it
 *
 * Context: any.
 */
void mte_tag_storage_pack_soon(void)
{
	if (!delayed_work_pending(&pack_work))
		queue_delayed_work(system_unbound_wq, &pack_work, PACK_PERIOD);
}
