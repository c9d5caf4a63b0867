/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * MIGRATE_METADATA in the page allocator: who may have such pages, when, and
 * who must not count on them.
 *
 * See include/linux/memory_metadata.h for what these pages are.
 */
#ifndef __MM_MEMORY_METADATA_H
#define __MM_MEMORY_METADATA_H

#include <linux/page-isolation.h>

/* Of mm/compaction.c. */
extern int sysctl_compact_unevictable_allowed;

#ifdef CONFIG_MEMORY_METADATA
bool take_pages_off_buddy(unsigned long pfn, unsigned int nr);

/*
 * Who may have pages of MIGRATE_METADATA: what is movable and will have no
 * metadata. Not the task that is taking such pages out of the allocator: it
 * would move their data from one to the next.
 */
static __always_inline unsigned int
metadata_alloc_flags(gfp_t gfp, unsigned int alloc_flags)
{
	const gfp_t mask = __GFP_MOVABLE | __GFP_RECLAIMABLE | __GFP_TAGGED;

	if (memory_metadata_enabled() && (gfp & mask) == __GFP_MOVABLE &&
	    !(current->flags & PF_METADATA_RESERVE))
		alloc_flags |= ALLOC_METADATA;
	return alloc_flags;
}

/* Free pages of @zone that a request must not count on. */
static inline long metadata_unusable_free(struct zone *zone,
					  unsigned int order,
					  unsigned int alloc_flags)
{
	if (!memory_metadata_enabled() ||
	    (!order && (alloc_flags & ALLOC_METADATA)))
		return 0;
	return zone_page_state(zone, NR_FREE_METADATA_PAGES);
}

static inline bool metadata_free(struct zone *zone)
{
	unsigned int order;

	for (order = 0; order < NR_PAGE_ORDERS; order++) {
		if (!free_area_empty(&zone->free_area[order], MIGRATE_METADATA))
			return true;
	}
	return false;
}

/* Free pages that are not storage, above the high watermark. */
static inline long metadata_spare(struct zone *zone)
{
	return (long)zone_page_state(zone, NR_FREE_PAGES) -
	       (long)zone_page_state(zone, NR_FREE_METADATA_PAGES) -
	       (long)high_wmark_pages(zone);
}

/*
 * The placement policy, with zone->lock held. A request that may have pages of
 * MIGRATE_METADATA takes them when its own free lists are empty. It also does
 * while it still has pages of its own (@own), once the zone is down to the high
 * watermark of pages that are not storage: what is left then is for requests
 * that can use nothing else, and kswapd need not reclaim while storage is free.
 * Taking storage earlier would make more of later tagged allocations move data.
 */
static inline bool metadata_preferred(struct zone *zone, unsigned int order,
				      unsigned int alloc_flags, bool own)
{
	if (!memory_metadata_enabled() || order ||
	    !(alloc_flags & ALLOC_METADATA))
		return false;

	/* metadata_refill() has looked; a locked list is too rare to look again. */
	if (own && (alloc_flags & ALLOC_PCP_REFILL))
		return false;
	return metadata_free(zone);
}

/*
 * A per-cpu list is about to be refilled with @count pages, with zone->lock
 * held. How many of them come before storage, which is never on these lists: if
 * none do, rmqueue_buddy() comes for a page of storage. Looked at once, and not
 * for each of the pages; one refill can be larger than all watermarks.
 */
static inline unsigned long
metadata_refill(struct zone *zone, unsigned int order,
		unsigned int *alloc_flags, unsigned long count)
{
	long spare;

	if (!memory_metadata_enabled() || order ||
	    !(*alloc_flags & ALLOC_METADATA))
		return count;

	*alloc_flags |= ALLOC_PCP_REFILL;
	spare = metadata_spare(zone);
	if (spare >= (long)count || !metadata_free(zone))
		return count;
	return max(spare, 0);
}

/* Storage, and where other movable pages are; not what is being isolated. */
static inline bool migratetype_may_be_taken(int migratetype)
{
	return is_migrate_metadata(migratetype) ||
	       migratetype == MIGRATE_MOVABLE;
}

/* These are never on the per-cpu lists, where they could not be found. */
static inline bool migratetype_bypasses_pcp(int migratetype)
{
	return is_migrate_isolate(migratetype) ||
	       is_migrate_metadata(migratetype);
}
#else
static inline unsigned int metadata_alloc_flags(gfp_t gfp,
						unsigned int alloc_flags)
{
	return alloc_flags;
}

static inline long metadata_unusable_free(struct zone *zone,
					  unsigned int order,
					  unsigned int alloc_flags)
{
	return 0;
}

static inline bool metadata_preferred(struct zone *zone, unsigned int order,
				      unsigned int alloc_flags, bool own)
{
	return false;
}

static inline unsigned long
metadata_refill(struct zone *zone, unsigned int order,
		unsigned int *alloc_flags, unsigned long count)
{
	return count;
}

static inline bool migratetype_bypasses_pcp(int migratetype)
{
	return is_migrate_isolate(migratetype);
}
#endif /* CONFIG_MEMORY_METADATA */

#endif /* __MM_MEMORY_METADATA_H */
