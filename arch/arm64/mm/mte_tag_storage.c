// SPDX-License-Identifier: GPL-2.0-only
/*
 * MTE tag storage as memory: reserving and freeing tag blocks.
 *
 * Hardware keeps the tags of memory in tag storage, 1/32 of its size. Tag
 * storage whose covered pages carry no tags is lent to the page allocator, as
 * MIGRATE_METADATA. Before a page may carry tags it must *hold* its tag block;
 * a block that at least one page holds is *reserved*, out of the allocator.
 * The terms are those of include/linux/memory_metadata.h and
 * mte_tag_storage_map.h; the whole is described in
 * Documentation/mm/memory_metadata.rst.
 *
 * State. A bit per data page says that it holds its block, and a counter per
 * block how many pages do:
 *
 *	 n > 0		reserved, n holders
 *	 0		free: the block belongs to the page allocator
 *	-1  BUSY	on the way between the two, owned by whoever set it
 *	-2  LINGERS	no holder, but not given back yet
 *	 n < -2		free as well, and when emptying it failed last
 *
 *	        claim               publish
 *	  0 ------------> BUSY -------------> 1 <---> n
 *	  ^                |                  |
 *	  |     failed     |                  | last holder goes
 *	  +----------------+                  v
 *	  ^                                LINGERS ---> 1  (joined again)
 *	  |            given back             |
 *	  +----------- BUSY <-----------------+
 *
 * That is 4 bytes and a bit per block and a bit per page: 0.006 % of memory.
 *
 * A page takes its reference on the block before its bit is set, and clears the
 * bit before it drops the reference, so whoever sees the bit finds the block
 * reserved. The bit is set by the page's owner (allocation) or by whoever has a
 * reference to the page (fault, copy, swap-in), with test_and_set_bit() deciding
 * between two of these; it is cleared only when the page is freed.
 *
 * Joining a reserved block is one cmpxchg. The way from free to reserved is
 * open to any context that may take zone->lock, as long as the block is free in
 * the buddy lists. Moving its data away is not: see block_may_move(). Freeing
 * works in every context in which pages are freed, and neither allocates nor
 * sleeps.
 *
 * Locks. There is none of our own: BUSY stands in for a lock of one block. It
 * is only ever tried in atomic context; where sleeping is allowed it is waited
 * for, but not for ever, as the waiter may hold the lock of a folio that the
 * owner wants to move. While owning a block, a task may come to claim another
 * one, in reclaim or when it frees pages: it then only tries, and never waits.
 * zone->lock and the locks of migration and reclaim nest inside.
 *
 * Caches. Tags and data of the same DRAM can be cached as either. At each
 * change of role, first the tags of all covered pages and then the data of the
 * block are cleaned and invalidated to the point of coherency: before a block
 * becomes data its last tags must be dead, and before it becomes tags its last
 * data lines must be gone (Arm ARM DDI 0487, "DC CIGVAC" and "DC CIVAC").
 */

#define pr_fmt(fmt) "mte_tag_storage: " fmt

#include <linux/atomic.h>
#include <linux/bitmap.h>
#include <linux/cacheflush.h>
#include <linux/debugfs.h>
#include <linux/gfp.h>
#include <linux/jiffies.h>
#include <linux/memblock.h>
#include <linux/memory_metadata.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/seq_file.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <linux/vmstat.h>
#include <linux/wait_bit.h>
#include <linux/workqueue.h>

#include <trace/events/memory_metadata.h>

#include <asm/asm-extable.h>
#include <asm/cputype.h>
#include <asm/mte.h>
#include <asm/mte_tag_storage.h>

#include "mte_tag_storage.h"

/* Ascending by data_start, written during boot only. */
struct tag_map tag_maps[MTE_TAG_STORAGE_REGIONS] __ro_after_init;
static struct tag_region tag_regions[MTE_TAG_STORAGE_REGIONS] __ro_after_init;
unsigned int nr_tag_regions __ro_after_init;

/*
 * Bytes of memory whose tags share a cache line, the least of all CPUs; at most
 * what lets a page be cleaned in steps of four.
 */
static unsigned long tag_line_size __ro_after_init = PAGE_SIZE / 4;

/* A block that could not be emptied is left alone for so long. */
#define BLOCK_BACKOFF		(HZ / 10 ?: 1)
#define BLOCK_FAILED_TIME	GENMASK(29, 0)

/* Waiting for the owner of a busy block ends after this. */
#define BLOCK_WAIT		(HZ / 10 ?: 1)

/* A block without holders is given back after this, see release_lingering(). */
#define BLOCK_LINGER		(HZ / 10 ?: 1)

/* Every page that is freed is looked up; most machines have one region. */
static const struct tag_map *map_of(unsigned long pfn)
{
	if (likely(tag_map_covers(&tag_maps[0], pfn)))
		return &tag_maps[0];
	return tag_map_lookup(tag_maps, nr_tag_regions, pfn);
}

static struct tag_region *region_of(const struct tag_map *map)
{
	return map->region;
}

/*
 * Cache maintenance
 */

/*
 * A covered page may not be in the linear map, for debugging or for secrecy.
 * Its tags were cleaned when it left that.
 */
static void clean_inval_page_tags(unsigned long start)
{
	unsigned long end = start + PAGE_SIZE;

	asm volatile(__MTE_PREAMBLE
		     "1:	dc	cigvac, %0\n"
		     "	add	%0, %0, %1\n"
		     "2:	dc	cigvac, %0\n"
		     "	add	%0, %0, %1\n"
		     "3:	dc	cigvac, %0\n"
		     "	add	%0, %0, %1\n"
		     "4:	dc	cigvac, %0\n"
		     "	add	%0, %0, %1\n"
		     "	cmp	%0, %2\n"
		     "	b.lo	1b\n"
		     "5:\n"
		     _ASM_EXTABLE_KACCESS(1b, 5b)
		     _ASM_EXTABLE_KACCESS(2b, 5b)
		     _ASM_EXTABLE_KACCESS(3b, 5b)
		     _ASM_EXTABLE_KACCESS(4b, 5b)
		     : "+r" (start) : "r" (tag_line_size), "r" (end)
		     : "cc", "memory");
}

static void clean_inval_tags(unsigned long pfn, unsigned long nr)
{
	for (; nr; nr--, pfn++)
		clean_inval_page_tags((unsigned long)__va(PFN_PHYS(pfn)));
	dsb(sy);
}

/* Between two roles: nothing of either remains in a cache. */
static void block_clean_inval(const struct tag_map *map, unsigned long block)
{
	unsigned long start, pfn, nr;

	pfn = tag_map_block_data(map, block, &nr);
	clean_inval_tags(pfn, nr);

	pfn = tag_map_block_pfn(map, block);
	start = (unsigned long)__va(PFN_PHYS(pfn));
	dcache_clean_inval_poc(start, start + map->block_pages * PAGE_SIZE);
}

/*
 * Tag blocks
 */

/* Make a free block busy. If that was for nothing, leave it in the state @was. */
static bool block_claim(struct tag_block *b, int *was)
{
	*was = atomic_read(&b->holders);
	return block_state_free(*was) &&
	       atomic_try_cmpxchg(&b->holders, was, BLOCK_BUSY);
}

static void block_leave_busy(struct tag_block *b, int state)
{
	atomic_set_release(&b->holders, state);
	/* Pairs with prepare_to_wait_event() in wait_var_event_timeout(). */
	smp_mb();
	wake_up_var(&b->holders);
}

static bool block_reserved(struct tag_block *b)
{
	return block_state_reserved(atomic_read(&b->holders));
}

static bool block_busy(struct tag_block *b)
{
	return atomic_read(&b->holders) == BLOCK_BUSY;
}

static bool block_fail_join(struct tag_block *b)
{
	return IS_ENABLED(CONFIG_FAIL_METADATA) && block_reserved(b) &&
	       metadata_should_fail(METADATA_WAY_SHARED);
}

/* Take references for @nr pages on a block that is reserved already. */
static __always_inline bool block_join(const struct tag_map *map,
				       unsigned long block, unsigned int nr)
{
	struct tag_block *b = &region_of(map)->blocks[block];
	int holders = atomic_read(&b->holders);

	for (;;) {
		int next = holders == BLOCK_LINGERS ? nr : holders + nr;

		if (!block_state_reserved(holders))
			return false;
		if (atomic_try_cmpxchg(&b->holders, &holders, next))
			break;
	}
	count_vm_events(METADATA_RESERVE_SHARED, nr);
	if (unlikely(holders == BLOCK_LINGERS))
		mte_tag_storage_ahead_joined(map, block);
	return true;
}

/* May the task sleep, and is it not inside of reclaim or of reserving? */
static bool block_may_move(gfp_t gfp)
{
	return gfpflags_allow_blocking(gfp) &&
	       !(current->flags & (PF_MEMALLOC | PF_METADATA_RESERVE));
}

/*
 * The owner of a busy block may reclaim on behalf of its own request, so only
 * a task that could do any reclaim itself may wait for it.
 */
static bool block_may_wait(gfp_t gfp)
{
	return block_may_move(gfp) &&
	       (gfp & (__GFP_IO | __GFP_FS)) == (__GFP_IO | __GFP_FS);
}

/* So lately that it is not worth another try? */
static bool block_failed(int holders)
{
	return holders < BLOCK_LINGERS &&
	       (((u32)jiffies - holders) & BLOCK_FAILED_TIME) < BLOCK_BACKOFF;
}

/* @state, in which a block that cannot be had is left, says then when that was. */
static int block_move_data(unsigned long pfn, unsigned int nr, gfp_t gfp,
			   int *state)
{
	int ret;

	if (block_failed(*state))
		return -EBUSY;

	ret = metadata_take_used(pfn, nr, gfp);
	if (!ret)
		count_vm_event(METADATA_RESERVE_MOVED);
	else if (ret != -EINTR)
		*state = BLOCK_FAILED | (jiffies & BLOCK_FAILED_TIME);
	return ret;
}

/* The pages of a busy block are ours: it is reserved, by @nr pages. */
static void block_taken(const struct tag_map *map, unsigned long block,
			unsigned int nr)
{
	block_clean_inval(map, block);
	block_leave_busy(&region_of(map)->blocks[block], nr);
	mte_tag_storage_pack_soon();
}

/* Reserve a block that the caller has claimed from @state, for @nr pages. */
static int block_take(const struct tag_map *map, unsigned long block, int state,
		      unsigned int nr, gfp_t gfp, enum metadata_way *way)
{
	unsigned long pfn = tag_map_block_pfn(map, block);
	int ret = 0;

	*way = METADATA_WAY_BUDDY;
	if (metadata_take_free(pfn, map->block_pages)) {
		count_vm_event(METADATA_RESERVE_BUDDY);
	} else if (!block_may_move(gfp)) {
		ret = -EAGAIN;
	} else {
		*way = METADATA_WAY_MOVED;
		ret = block_move_data(pfn, map->block_pages, gfp, &state);
	}

	if (ret) {
		block_leave_busy(&region_of(map)->blocks[block], state);
		return ret;
	}
	block_taken(map, block, nr);
	count_vm_events(METADATA_RESERVE_SHARED, nr - 1);
	return 0;
}

/* A block that could not be joined. */
static noinline int block_get_slow(const struct tag_map *map,
				   unsigned long block, unsigned int nr,
				   gfp_t gfp, enum metadata_way *way)
{
	struct tag_block *b = &region_of(map)->blocks[block];
	int was;

	/* Also for the waits: who owns the block may start I/O. */
	gfp = current_gfp_context(gfp);
	for (;;) {
		if (block_claim(b, &was)) {
			int ret = block_take(map, block, was, nr, gfp, way);

			if (!ret && *way == METADATA_WAY_MOVED)
				mte_tag_storage_ahead_begin(map, block);
			return ret;
		}
		if (block_join(map, block, nr))
			return 0;
		if (!block_busy(b))
			continue;
		if (!block_may_wait(gfp) ||
		    !wait_var_event_timeout(&b->holders, !block_busy(b),
					    BLOCK_WAIT))
			return -EAGAIN;
	}
}

/* References for @nr pages. Leaves in @way which way it tried last. */
static int block_get(const struct tag_map *map, unsigned long block,
		     unsigned int nr, gfp_t gfp, enum metadata_way *way)
{
	struct tag_block *b = &region_of(map)->blocks[block];

	*way = METADATA_WAY_SHARED;
	if (block_fail_join(b))
		return -EAGAIN;
	if (likely(block_join(map, block, nr)))
		return 0;
	return block_get_slow(map, block, nr, gfp, way);
}

static void block_release(const struct tag_map *map, unsigned long block)
{
	struct tag_block *b = &region_of(map)->blocks[block];
	unsigned long pfn = tag_map_block_pfn(map, block);

	if (atomic_cmpxchg(&b->holders, BLOCK_LINGERS, BLOCK_BUSY) !=
	    BLOCK_LINGERS)
		return;
	block_clean_inval(map, block);
	metadata_give(pfn, map->block_pages);
	count_vm_event(METADATA_RELEASE);
	trace_metadata_release(pfn, map->block_pages);
	block_leave_busy(b, BLOCK_FREE);
}

/*
 * Who frees tagged memory often wants some again soon, and taking a block back
 * and forth costs much more than to join it. So a block that loses its last
 * holder lingers: all that do are given back together, after a moment.
 */
static void release_lingering(struct work_struct *work)
{
	unsigned long block;
	unsigned int i;

	for (i = 0; i < nr_tag_regions; i++) {
		unsigned long *lingers = tag_regions[i].lingers;

		for_each_set_bit(block, lingers, tag_maps[i].nr_blocks) {
			/* First, so that a block that goes on to linger sets it again. */
			if (test_and_clear_bit(block, lingers))
				block_release(&tag_maps[i], block);
			cond_resched();
		}
	}
}

static DECLARE_DELAYED_WORK(linger_work, release_lingering);

/* What it gives back may be what memory is short of. */
static struct workqueue_struct *linger_wq __ro_after_init;

/* Drop the references of @nr pages. */
static void block_put(const struct tag_map *map, unsigned long block,
		      unsigned int nr)
{
	struct tag_block *b = &region_of(map)->blocks[block];
	int holders = atomic_read(&b->holders);
	int left;

	do {
		left = holders - nr;
	} while (!atomic_try_cmpxchg(&b->holders, &holders,
				     left ? left : BLOCK_LINGERS));

	if (left)
		return;

	set_bit(block, region_of(map)->lingers);
	/* Either the work finds this block, or it is queued again. */
	smp_mb__after_atomic();
	if (!delayed_work_pending(&linger_work))
		queue_delayed_work(linger_wq, &linger_work, BLOCK_LINGER);
}

/**
 * mte_tag_storage_take_ahead - reserve a block that no page needs yet
 * @map: the region
 * @block: the block's index
 * @moved: set to whether its data was moved
 *
 * It lingers then. Moving its data reclaims nothing and is no more than a try,
 * so that whoever needs the block is as free to try as before.
 *
 * Context: may sleep; holds no locks.
 * Return: true if the block was free, or its data could be moved.
 */
bool mte_tag_storage_take_ahead(const struct tag_map *map, unsigned long block,
				bool *moved)
{
	const gfp_t gfp = GFP_HIGHUSER_MOVABLE & ~__GFP_DIRECT_RECLAIM;
	struct tag_block *b = &region_of(map)->blocks[block];
	unsigned long pfn = tag_map_block_pfn(map, block);
	int was;

	*moved = false;
	if (block_failed(atomic_read(&b->holders)) || !block_claim(b, &was))
		return false;
	if (metadata_take_free(pfn, map->block_pages)) {
		count_vm_event(METADATA_RESERVE_BUDDY);
	} else if (!metadata_take_used(pfn, map->block_pages, gfp)) {
		count_vm_event(METADATA_RESERVE_MOVED);
		count_vm_event(METADATA_RESERVE_AHEAD);
		*moved = true;
	} else {
		block_leave_busy(b, was);
		return false;
	}
	block_taken(map, block, 1);
	block_put(map, block, 1);
	return true;
}

/*
 * Pages
 */

static bool page_holds(const struct tag_map *map, unsigned long pfn)
{
	return test_bit(pfn - map->data_start, region_of(map)->held);
}

static bool pages_hold(const struct tag_map *map, unsigned long pfn,
		       unsigned long nr)
{
	unsigned long first = pfn - map->data_start;

	return find_next_zero_bit(region_of(map)->held, first + nr, first) >=
	       first + nr;
}

/* May a page carry tags that no region covers? */
static noinline bool page_is_no_storage(unsigned long pfn)
{
	return !tag_map_lookup_tag(tag_maps, nr_tag_regions, pfn);
}

/* May a page carry tags? See mte_tag_storage_ready(). */
static __always_inline bool page_ready(unsigned long pfn)
{
	const struct tag_map *map = map_of(pfn);

	if (unlikely(!map))
		return page_is_no_storage(pfn);
	/* Tags behind the last whole block are never lent. */
	return page_holds(map, pfn) || !tag_map_in_block(map, pfn);
}

/**
 * mte_tag_storage_ready - whether tags may be written to pages
 * @page: the first page
 * @nr: how many, contiguous
 *
 * This is the one predicate. Pages of tag storage have no tags, ever; pages
 * that no region covers have theirs elsewhere.
 *
 * Context: any.
 * Return: true if all pages hold their tag block.
 */
bool mte_tag_storage_ready(struct page *page, unsigned long nr)
{
	unsigned long pfn = page_to_pfn(page);
	const struct tag_map *map = map_of(pfn);

	if (likely(map) && tag_map_covers(map, pfn + nr - 1) &&
	    pages_hold(map, pfn, nr))
		return true;

	for (; nr; nr--, pfn++) {
		if (!page_ready(pfn))
			return false;
	}
	return true;
}

/**
 * arch_metadata_live - whether a page carries tags
 * @page: the page
 *
 * Context: any.
 * Return: true if it does.
 */
bool arch_metadata_live(struct page *page)
{
	return page_mte_tagged(page);
}

/**
 * arch_swap_has_metadata - whether tags were saved with a swap entry
 * @entry: the swap entry
 *
 * Context: any; stable as long as the entry is held.
 * Return: true if there are any.
 */
bool arch_swap_has_metadata(swp_entry_t entry)
{
	return mte_swap_has_tags(entry);
}

static __always_inline void page_hold(const struct tag_map *map,
				      unsigned long block, unsigned long pfn)
{
	/* Somebody else got this page its block meanwhile. */
	if (test_and_set_bit(pfn - map->data_start, region_of(map)->held))
		block_put(map, block, 1);
}

/* Set or clear the bits of pages. Return: how many of them that changed. */
static unsigned int change_held(const struct tag_map *map, unsigned long pfn,
				unsigned int nr, bool hold)
{
	unsigned long *held = region_of(map)->held;
	unsigned long bit = pfn - map->data_start;
	unsigned long end = bit + nr, mask, old;
	unsigned int changed = 0;

	for (; bit < end; bit = (bit | (BITS_PER_LONG - 1)) + 1) {
		atomic_long_t *word = (atomic_long_t *)(held + BIT_WORD(bit));

		mask = BITMAP_FIRST_WORD_MASK(bit);
		if (BIT_WORD(bit) == BIT_WORD(end - 1))
			mask &= BITMAP_LAST_WORD_MASK(end);
		old = hold ? atomic_long_fetch_or(mask, word) :
			     atomic_long_fetch_andnot(mask, word);
		changed += hweight_long(mask & (hold ? ~old : old));
	}
	return changed;
}

static void pages_hold_now(const struct tag_map *map, unsigned long block,
			   unsigned long pfn, unsigned int nr)
{
	unsigned int changed = change_held(map, pfn, nr, true);

	/* Some had it before, or somebody else got them their block meanwhile. */
	if (changed < nr)
		block_put(map, block, nr - changed);
}

/* How many pages from @pfn on, of @nr at most, have their tags in its block. */
static unsigned int block_run(const struct tag_map *map, unsigned long pfn,
			      unsigned long nr)
{
	unsigned long page = pfn - map->data_start;
	unsigned long covers = tag_map_block_covers(map);

	return min3(nr, covers - page % covers, map->data_pages - page);
}

/**
 * arch_metadata_reserve - make a page hold its tag block
 * @page: the page, with a reference or not yet visible to anybody
 * @gfp: what the caller allows
 *
 * Context: any but under zone->lock or the lock of per-cpu lists; sleeps only
 * as @gfp allows, and waits for no folio lock.
 * Return: 0; -EINVAL if the page is tag storage, which cannot have tags; or
 * -EBUSY, -EAGAIN or -EINTR (a fatal signal is pending) if its block could not
 * be had now.
 */
int arch_metadata_reserve(struct page *page, gfp_t gfp)
{
	unsigned long pfn = page_to_pfn(page), block;
	const struct tag_map *map = map_of(pfn);
	enum metadata_way way;
	int ret;

	if (unlikely(!map))
		return page_is_no_storage(pfn) ? 0 : -EINVAL;
	if (page_holds(map, pfn) || unlikely(!tag_map_in_block(map, pfn)))
		return 0;

	block = tag_map_block(map, pfn);
	ret = block_get(map, block, 1, gfp, &way);
	trace_metadata_reserve(pfn, tag_map_block_pfn(map, block), way, ret);
	if (ret)
		count_vm_event(METADATA_RESERVE_FAIL);
	else
		page_hold(map, block, pfn);
	return ret;
}

/* The same for @nr pages whose tags are in one block. */
static int reserve_run(const struct tag_map *map, unsigned long pfn,
		       unsigned int nr, gfp_t gfp)
{
	unsigned long block = tag_map_block(map, pfn);
	enum metadata_way way;
	int ret;

	if (unlikely(!tag_map_in_block(map, pfn)) || pages_hold(map, pfn, nr))
		return 0;

	ret = block_get(map, block, nr, gfp, &way);
	trace_metadata_reserve(pfn, tag_map_block_pfn(map, block), way, ret);
	if (ret) {
		count_vm_event(METADATA_RESERVE_FAIL);
		return ret;
	}
	pages_hold_now(map, block, pfn, nr);
	return 0;
}

/**
 * arch_metadata_reserve_pages - make pages hold their tag blocks
 * @page: the first page; all with a reference or not yet visible to anybody
 * @nr: how many, contiguous
 * @gfp: what the caller allows
 *
 * Context: as arch_metadata_reserve().
 * Return: as arch_metadata_reserve(), with nothing or the first of the pages
 * done.
 */
int arch_metadata_reserve_pages(struct page *page, unsigned long nr, gfp_t gfp)
{
	unsigned long pfn = page_to_pfn(page), end = pfn + nr;

	while (pfn < end) {
		const struct tag_map *map = map_of(pfn);
		unsigned int run = 1;
		int ret;

		if (map) {
			run = block_run(map, pfn, end - pfn);
			ret = reserve_run(map, pfn, run, gfp);
		} else {
			ret = page_is_no_storage(pfn) ? 0 : -EINVAL;
		}
		if (ret)
			return ret;
		pfn += run;
	}
	return 0;
}

/**
 * arch_metadata_reserve_hard - use the last resort for a page's tag block
 * @page: the page, with a reference
 *
 * Context: may sleep and wait for folio locks and writeback.
 */
void arch_metadata_reserve_hard(struct page *page)
{
	unsigned long pfn = page_to_pfn(page), block;
	const struct tag_map *map = map_of(pfn);
	struct tag_block *b;
	int ret, was;

	if (!map || page_ready(pfn))
		return;

	block = tag_map_block(map, pfn);
	b = &region_of(map)->blocks[block];
	/* Whoever owns it may only have tried the other ways. */
	wait_var_event_timeout(&b->holders, !block_busy(b), BLOCK_WAIT);
	if (!block_claim(b, &was))
		return;

	ret = metadata_take_contig(tag_map_block_pfn(map, block),
				   map->block_pages);
	trace_metadata_reserve(pfn, tag_map_block_pfn(map, block),
			       METADATA_WAY_CONTIG, ret);
	if (ret) {
		block_leave_busy(b, was);
		return;
	}
	count_vm_event(METADATA_RESERVE_CONTIG);
	block_taken(map, block, 1);
	page_hold(map, block, pfn);
}

/**
 * arch_metadata_join - make pages hold their tag block if that is reserved
 * @page: the first page; all with a reference
 * @nr: how many, contiguous; set to how many of these the answer is about
 *
 * Context: any.
 * Return: true if these pages may carry tags now.
 */
bool arch_metadata_join(struct page *page, unsigned int *nr)
{
	unsigned long pfn = page_to_pfn(page), block;
	const struct tag_map *map = map_of(pfn);
	struct tag_block *b;

	if (!map) {
		*nr = 1;
		return page_is_no_storage(pfn);
	}

	*nr = block_run(map, pfn, *nr);
	if (!tag_map_in_block(map, pfn) || pages_hold(map, pfn, *nr))
		return true;
	block = tag_map_block(map, pfn);
	b = &region_of(map)->blocks[block];
	if (block_fail_join(b) || !block_join(map, block, *nr)) {
		bool ready = page_holds(map, pfn);

		/* Then it is the others that are in the way. */
		if (ready)
			*nr = 1;
		return ready;
	}
	trace_metadata_reserve(pfn, tag_map_block_pfn(map, block),
			       METADATA_WAY_SHARED, 0);
	pages_hold_now(map, block, pfn, *nr);
	return true;
}

static noinline void release_page(unsigned long pfn)
{
	const struct tag_map *map = map_of(pfn);

	if (!map || !page_holds(map, pfn))
		return;
	clear_bit(pfn - map->data_start, region_of(map)->held);
	block_put(map, tag_map_block(map, pfn), 1);
}

static void release_pages_of(const struct tag_map *map, unsigned long pfn,
			     unsigned long end)
{
	unsigned long *held = region_of(map)->held;
	unsigned long last = min(end - map->data_start, map->data_pages);
	unsigned long bit = max(pfn, map->data_start) - map->data_start;

	while ((bit = find_next_bit(held, last, bit)) < last) {
		unsigned int run, nr;

		pfn = map->data_start + bit;
		run = block_run(map, pfn, last - bit);
		nr = change_held(map, pfn, run, false);
		block_put(map, tag_map_block(map, pfn), nr);
		bit += run;
	}
}

void __mte_tag_storage_free_page(struct page *page)
{
	unsigned long pfn = page_to_pfn(page);

	/* Every page comes here: no stack frame for most of those without tags. */
	if (likely(tag_map_covers(&tag_maps[0], pfn)) &&
	    likely(!page_holds(&tag_maps[0], pfn)))
		return;
	release_page(pfn);
}

void __mte_tag_storage_free(struct page *page, unsigned long nr)
{
	unsigned long pfn = page_to_pfn(page), end = pfn + nr;
	const struct tag_map *map = map_of(pfn);
	unsigned int i;

	if (map && tag_map_covers(map, end - 1)) {
		release_pages_of(map, pfn, end);
		return;
	}

	/* Not covered, or a large folio that a region covers in part. */
	for (i = 0; i < nr_tag_regions; i++) {
		map = &tag_maps[i];
		if (pfn < map->data_start + map->data_pages &&
		    end > map->data_start)
			release_pages_of(map, pfn, end);
	}
}

void __mte_tag_storage_unmap(unsigned long addr, unsigned long nr)
{
	unsigned long pfn = PHYS_PFN(__pa(addr));

	for (; nr; nr--, pfn++) {
		const struct tag_map *map = map_of(pfn);
		struct tag_block *b;

		if (!map || !tag_map_in_block(map, pfn))
			continue;
		b = &region_of(map)->blocks[tag_map_block(map, pfn)];
		/* All tags of a block are cleaned before it is free. */
		if (!block_state_free(atomic_read_acquire(&b->holders)))
			clean_inval_tags(pfn, 1);
	}
}

/**
 * mte_tag_storage_set_ptes - set PTEs that expose tags
 * @mm: the address space
 * @addr: address of the first
 * @ptep: the first
 * @pte: its value; those of the others follow by page
 * @nr: how many
 *
 * As set_ptes(), but entries of pages that may not carry tags now become
 * metadata-none. Nothing is reserved here: mprotect() would do it for much
 * that is never touched again.
 *
 * Context: page table lock held.
 */
void mte_tag_storage_set_ptes(struct mm_struct *mm, unsigned long addr,
			      pte_t *ptep, pte_t pte, unsigned int nr)
{
	unsigned long pfn = pte_pfn(pte);
	unsigned int run;

	if (nr == 1 || mte_tag_storage_ready(pte_page(pte), nr)) {
		if (nr == 1 && !page_ready(pfn))
			pte = pte_mkmetadata_none(pte);
		ungated_set_ptes(mm, addr, ptep, pte, nr);
		return;
	}

	for (; nr; nr -= run, ptep += run, addr += run * PAGE_SIZE, pfn += run) {
		bool ready = page_ready(pfn);

		run = 1;
		while (run < nr && page_ready(pfn + run) == ready)
			run++;
		ungated_set_ptes(mm, addr, ptep,
				 ready ? pte : pte_mkmetadata_none(pte), run);
		pte = pte_advance_pfn(pte, run);
	}
}

/*
 * Boot
 */

/* Blocks that are not whole in what the page allocator gets, and the like. */
static bool __init block_stays(const struct tag_map *map, unsigned long block,
			       unsigned long start, unsigned long end)
{
	unsigned long pfn = tag_map_block_pfn(map, block);
	unsigned long last = pfn + map->block_pages - 1;

	return pfn < start || last >= end ||
	       page_zone(pfn_to_page(pfn)) != page_zone(pfn_to_page(last));
}

static void __init pin_block(const struct tag_map *map, unsigned long block)
{
	struct tag_region *region = region_of(map);

	if (!atomic_read(&region->blocks[block].holders))
		region->pinned++;
	atomic_inc(&region->blocks[block].holders);
}

static bool __init page_stays(unsigned long pfn)
{
	const struct tag_map *map = tag_map_lookup_tag(tag_maps, nr_tag_regions,
						       pfn);
	unsigned long block;

	if (!map)
		return true;
	block = tag_map_tag_block(map, pfn);
	return atomic_read(&region_of(map)->blocks[block].holders);
}

/* What is whole pageblocks of a region: the page allocator has no less. */
static void __init region_range(const struct tag_map *map, unsigned long *start,
				unsigned long *end)
{
	*start = ALIGN(map->tag_start, pageblock_nr_pages);
	*end = ALIGN_DOWN(tag_map_block_pfn(map, map->nr_blocks),
			  pageblock_nr_pages);
}

/* As little as possible, which kmalloc() would round up; never freed. */
static void *__init region_alloc(size_t size)
{
	void *mem = alloc_pages_exact(size, GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN);

	return mem ?: vzalloc(size);
}

static int __init region_init(const struct tag_storage_node *node)
{
	struct tag_map *map = &tag_maps[nr_tag_regions];
	struct tag_region *region = &tag_regions[nr_tag_regions];
	size_t held = BITS_TO_LONGS(node->map.data_pages);
	size_t lingers = BITS_TO_LONGS(node->map.nr_blocks);
	unsigned long start, end, block;

	*map = node->map;
	map->region = region;
	region->path = kstrdup(node->path, GFP_KERNEL);
	if (!region->path)
		return -ENOMEM;
	region->held = region_alloc((held + lingers) * sizeof(long) +
				    map->nr_blocks * sizeof(*region->blocks));
	if (!region->held) {
		kfree(region->path);
		return -ENOMEM;
	}
	region->lingers = region->held + held;
	region->blocks = (struct tag_block *)(region->lingers + lingers);

	region_range(map, &start, &end);
	for (block = 0; block < map->nr_blocks; block++) {
		if (block_stays(map, block, start, end))
			pin_block(map, block);
	}
	nr_tag_regions++;
	return 0;
}

/*
 * The zero page is mapped tagged without its tags ever being synchronised:
 * they were cleared when the first CPU came up, and stay. Its entries are
 * special, so that nobody asks whether it holds its block.
 */
static void __init pin_zero_page(void)
{
	unsigned long pfn = page_to_pfn(ZERO_PAGE(0));
	const struct tag_map *map = map_of(pfn);

	if (map && tag_map_in_block(map, pfn))
		pin_block(map, tag_map_block(map, pfn));
}

static void __init region_add(unsigned int i)
{
	unsigned long start, end;

	region_range(&tag_maps[i], &start, &end);
	if (start < end)
		metadata_add_range(start, end, page_stays);
	pr_info("%s: %lu KiB for %lu MiB of memory, %lu blocks of %lu KiB, %lu pinned\n",
		tag_regions[i].path,
		tag_maps[i].nr_blocks * tag_maps[i].block_pages *
		(PAGE_SIZE / SZ_1K),
		tag_maps[i].data_pages / (SZ_1M / PAGE_SIZE),
		tag_maps[i].nr_blocks,
		tag_maps[i].block_pages * (PAGE_SIZE / SZ_1K),
		tag_regions[i].pinned);
}

/* Nothing will ever write tags, so tag storage is memory like any other. */
static void __init free_as_memory(void)
{
	unsigned int i;

	for (i = 0; i < nr_tag_storage_nodes; i++) {
		const struct tag_map_desc *desc = &tag_storage_nodes[i].desc;

		free_reserved_area(__va(desc->tag_base),
				   __va(desc->tag_base +
					(desc->tag_size & PAGE_MASK)),
				   -1, NULL);
	}
}

/*
 * CTR_EL0.TminLine is the log2 of the number of words that the tags of a cache
 * line cover (Arm ARM DDI 0487). That is a granule at least: who says less does
 * not say, and has its tags in the lines of the data.
 */
static void __init min_tag_line_size(void *unused)
{
	unsigned long ctr = read_cpuid(CTR_EL0);
	unsigned long size = 4UL << SYS_FIELD_GET(CTR_EL0, TminLine, ctr);

	if (size < MTE_GRANULE_SIZE)
		size = 4UL << SYS_FIELD_GET(CTR_EL0, DminLine, ctr);
	tag_line_size = min(tag_line_size, size);
}

static int __init mte_tag_storage_init(void)
{
	unsigned int i;
	int cpu;

	if (!nr_tag_storage_nodes)
		return 0;
	if (!system_supports_mte()) {
		pr_info("off: MTE not available\n");
		free_as_memory();
		return 0;
	}
	/* All memory is tagged then. */
	if (kasan_hw_tags_enabled()) {
		pr_info("off: KASAN hardware tags are in use\n");
		return 0;
	}

	linger_wq = alloc_workqueue("mte_tag_storage",
				    WQ_UNBOUND | WQ_MEM_RECLAIM, 1);
	for (i = 0; i < nr_tag_storage_nodes; i++) {
		if (!linger_wq || region_init(&tag_storage_nodes[i]))
			pr_err("%s: no memory for its state; region left unused\n",
			       tag_storage_nodes[i].path);
	}
	if (!nr_tag_regions)
		return 0;

	mte_tag_storage_ahead_init();
	/* One after the other; a CPU that comes later must not have less. */
	for_each_online_cpu(cpu)
		smp_call_function_single(cpu, min_tag_line_size, NULL, 1);
	pin_zero_page();
	/* No user space yet, so no page but the zero page has tags. */
	static_branch_enable(&memory_metadata_key);
	for (i = 0; i < nr_tag_regions; i++)
		region_add(i);

	pr_info("on, %lu MiB of tag storage usable as memory\n",
		metadata_total_pages() / (SZ_1M / PAGE_SIZE));
	return 0;
}

/* Before the watermarks are set, which count all memory. */
core_initcall(mte_tag_storage_init);

/*
 * debugfs
 */

static int regions_show(struct seq_file *m, void *unused)
{
	unsigned long block, reserved;
	unsigned int i;

	for (i = 0; i < nr_tag_regions; i++) {
		const struct tag_map *map = &tag_maps[i];
		struct tag_region *region = &tag_regions[i];

		reserved = 0;
		for (block = 0; block < map->nr_blocks; block++)
			reserved += block_reserved(&region->blocks[block]);

		seq_printf(m, "region=%u node=%s data_pfn=%#lx data_pages=%lu tag_pfn=%#lx tag_pages=%lu block_pages=%lu blocks=%lu pinned=%lu reserved=%lu tagged_pages=%lu\n",
			   i, region->path, map->data_start, map->data_pages,
			   map->tag_start, map->nr_blocks * map->block_pages,
			   map->block_pages, map->nr_blocks, region->pinned,
			   reserved - region->pinned,
			   (unsigned long)bitmap_weight(region->held,
							map->data_pages));
		cond_resched();
	}
	return 0;
}

DEFINE_SHOW_ATTRIBUTE(regions);

/*
 * How many pages hold a reserved block, per page of the block and rounded up;
 * none if it lingers. In a pinned block there is a holder that is no page.
 * Return: that, or -1 if the block is not reserved.
 */
static int block_occupancy(const struct tag_map *map, struct tag_block *b)
{
	int holders = atomic_read(&b->holders);

	if (holders == BLOCK_LINGERS)
		return 0;
	if (holders <= 0)
		return -1;
	return min_t(int, DIV_ROUND_UP(holders, map->block_pages),
		     TAG_MAP_RATIO);
}

static int occupancy_show(struct seq_file *m, void *unused)
{
	unsigned long count[TAG_MAP_RATIO + 1];
	unsigned int i;
	int n;

	for (i = 0; i < nr_tag_regions; i++) {
		const struct tag_map *map = &tag_maps[i];
		struct tag_block *b = tag_regions[i].blocks;
		struct tag_block *end = b + map->nr_blocks;

		memset(count, 0, sizeof(count));
		for (; b < end; b++) {
			n = block_occupancy(map, b);
			if (n >= 0)
				count[n]++;
		}
		for (n = 0; n <= TAG_MAP_RATIO; n++)
			seq_printf(m, "region=%u holders=%d blocks=%lu\n", i, n,
				   count[n]);
		cond_resched();
	}
	return 0;
}

DEFINE_SHOW_ATTRIBUTE(occupancy);

static int __init mte_tag_storage_debugfs_init(void)
{
	struct dentry *dir;

	if (!nr_tag_regions)
		return 0;
	dir = debugfs_create_dir("mte_tag_storage", NULL);
	debugfs_create_file("regions", 0444, dir, NULL, &regions_fops);
	debugfs_create_file("occupancy", 0444, dir, NULL, &occupancy_fops);
	return 0;
}
late_initcall(mte_tag_storage_debugfs_init);
