// SPDX-License-Identifier: GPL-2.0-only
/*
 * MTE tag storage as memory: taking tag blocks ahead of need.
 *
 * While storage is full of data, whoever gets the first page of a block waits
 * for its data to be moved. The page allocator hands out neighbours one after
 * another: upwards from free memory, and downwards from the list of a CPU, where
 * what was freed last comes first. So once a block had to be emptied, a work item
 * takes the blocks that are next. They linger until they are joined, which asks
 * for more of them.
 *
 * How many there are to be depends on how fast they are used: twice as many each
 * time, up to a limit, but only a few where that takes so long that they would be
 * given back before. Where it was in vain, the next block has to be emptied when
 * it is needed, and all begins anew. Nothing is taken while nothing has to be
 * moved.
 *
 * Locks. None: what is known of a CPU's way through memory only guides its work.
 */

#include <linux/jiffies.h>
#include <linux/memory_hotplug.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/sched.h>
#include <linux/workqueue.h>

#include "mte_tag_storage.h"

/* Blocks to take, at first and at most. */
#define AHEAD_FIRST		2
#define AHEAD_MAX		16

/* A block that had to be emptied says for so long that others have to be. */
#define AHEAD_WINDOW		(HZ / 10 ?: 1)

/* Who needs longer for a block uses few of those that are ready. */
#define AHEAD_SLOW		(HZ / 50 ?: 1)

/**
 * struct ahead - where a CPU allocates tagged pages
 * @work: takes the blocks that come next
 * @pfn: a page of the block that was taken or joined last
 * @when: when that was, in jiffies
 * @until: end of the window, in jiffies
 * @step: 1 or -1, to the next block
 * @blocks: how many to have ready from there on
 */
struct ahead {
	struct work_struct work;
	unsigned long pfn;
	unsigned long when;
	unsigned long until;
	long step;
	unsigned long blocks;
};

static DEFINE_PER_CPU(struct ahead, ahead);

/* What is done here must not make anybody wait who moves data himself. */
static struct workqueue_struct *ahead_wq __ro_after_init;

/*
 * The first of its pages in this direction is free: in the allocator, or on the
 * list of a CPU.
 */
static bool ahead_wants(const struct tag_map *map, unsigned long block,
			long step)
{
	unsigned long pfn, nr;
	struct page *page;

	if (block >= map->nr_blocks ||
	    !block_state_free(atomic_read(&map->region->blocks[block].holders)))
		return false;
	pfn = tag_map_block_data(map, block, &nr);
	page = pfn_to_online_page(step > 0 ? pfn : pfn + nr - 1);
	return page && !page_ref_count(page) && !PageTail(page);
}

static void take_ahead(struct work_struct *work)
{
	struct ahead *a = container_of(work, struct ahead, work);
	unsigned long left = READ_ONCE(a->blocks);
	unsigned long pfn = READ_ONCE(a->pfn), block;
	const struct tag_map *map;
	long step = READ_ONCE(a->step);
	bool moved;

	map = tag_map_lookup(tag_maps, nr_tag_regions, pfn);
	for (block = tag_map_block(map, pfn) + step; left--; block += step) {
		if (!ahead_wants(map, block, step))
			continue;
		if (!mte_tag_storage_take_ahead(map, block, &moved))
			break;
		if (moved)
			WRITE_ONCE(a->until, jiffies + AHEAD_WINDOW);
		cond_resched();
	}
}

/* Which way does it go, from the last block to this one? */
static long ahead_step(const struct ahead *a, const struct tag_map *map,
		       unsigned long block)
{
	unsigned long last = READ_ONCE(a->pfn);

	if (tag_map_covers(map, last)) {
		last = tag_map_block(map, last);
		if (block == last + 1)
			return 1;
		if (block == last - 1)
			return -1;
	}
	return ahead_wants(map, block + 1, 1) ? 1 : -1;
}

/* This block is in use. Let @blocks others follow, if the @nth is not there. */
static void ahead_go_on(struct ahead *a, const struct tag_map *map,
			unsigned long block, unsigned long blocks, long nth)
{
	long step = ahead_step(a, map, block);
	unsigned long nr;

	WRITE_ONCE(a->pfn, tag_map_block_data(map, block, &nr));
	WRITE_ONCE(a->when, jiffies);
	WRITE_ONCE(a->step, step);
	WRITE_ONCE(a->blocks, blocks);
	if (ahead_wants(map, block + step * nth, step))
		queue_work(ahead_wq, &a->work);
}

/**
 * mte_tag_storage_ahead_begin - a block had to be emptied when it was needed
 * @map: the region
 * @block: the block's index
 *
 * Context: any.
 */
void mte_tag_storage_ahead_begin(const struct tag_map *map, unsigned long block)
{
	struct ahead *a = raw_cpu_ptr(&ahead);

	WRITE_ONCE(a->until, jiffies + AHEAD_WINDOW);
	ahead_go_on(a, map, block, AHEAD_FIRST, 1);
}

/**
 * mte_tag_storage_ahead_joined - a block that lingered is in use again
 * @map: the region
 * @block: the block's index
 *
 * It may be one that was taken ahead of need.
 *
 * Context: any.
 */
void mte_tag_storage_ahead_joined(const struct tag_map *map,
				  unsigned long block)
{
	struct ahead *a = raw_cpu_ptr(&ahead);
	unsigned long blocks = AHEAD_FIRST;

	if (time_after_eq(jiffies, READ_ONCE(a->until)))
		return;
	if (time_before_eq(jiffies, READ_ONCE(a->when) + AHEAD_SLOW))
		blocks = min(2 * READ_ONCE(a->blocks), AHEAD_MAX);
	ahead_go_on(a, map, block, blocks, blocks / 2);
}

/* Of the lowest priority, for CPUs that have nothing else to do. */
static struct workqueue_struct *__init alloc_idle_workqueue(void)
{
	struct workqueue_attrs *attrs = alloc_workqueue_attrs();
	struct workqueue_struct *wq;

	wq = alloc_workqueue("mte_tag_storage_ahead", WQ_UNBOUND, 0);
	if (wq && attrs) {
		attrs->nice = MAX_NICE;
		/* Without it the work is done with more haste. */
		WARN_ON_ONCE(apply_workqueue_attrs(wq, attrs));
	}
	free_workqueue_attrs(attrs);
	return wq ?: system_unbound_wq;
}

/**
 * mte_tag_storage_ahead_init - get ready for that
 *
 * Context: boot.
 */
void __init mte_tag_storage_ahead_init(void)
{
	int cpu;

	ahead_wq = alloc_idle_workqueue();

	for_each_possible_cpu(cpu) {
		struct ahead *a = per_cpu_ptr(&ahead, cpu);

		INIT_WORK(&a->work, take_ahead);
		a->until = jiffies;
		a->blocks = AHEAD_FIRST;
	}
}
