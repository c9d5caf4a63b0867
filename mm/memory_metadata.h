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

#ifdef CONFIG_MEMORY_METADATA
bool take_metadata_off_buddy(unsigned long pfn, unsigned int nr);

/*
 * Who may have pages of MIGRATE_METADATA: what is movable and will have no
 * metadata. Not the task that is taking such pages out of the allocator: it
 * would move their data from one to the next.
 */
static inline unsigned int metadata_alloc_flags(gfp_t gfp,
						unsigned int alloc_flags)
{
	if (memory_metadata_enabled() &&
	    gfp_migratetype(gfp) == MIGRATE_MOVABLE &&
	    !(gfp & __GFP_TAGGED) &&
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

/*
 * The placement policy: a request whose own free lists are empty takes a page
 * of MIGRATE_METADATA, if it may, before it takes from other migratetypes.
 * Taking them earlier would spare ordinary pages for the unmovable, but make
 * more of later tagged allocations move data. zone->lock is held.
 */
static inline bool metadata_preferred(struct zone *zone, unsigned int order,
				      unsigned int alloc_flags)
{
	unsigned int o;

	if (!memory_metadata_enabled() || order ||
	    !(alloc_flags & ALLOC_METADATA))
		return false;

	for (o = 0; o < NR_PAGE_ORDERS; o++) {
		if (!free_area_empty(&zone->free_area[o], MIGRATE_METADATA))
			return true;
	}
	return false;
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
				      unsigned int alloc_flags)
{
	return false;
}

static inline bool migratetype_bypasses_pcp(int migratetype)
{
	return is_migrate_isolate(migratetype);
}
#endif /* CONFIG_MEMORY_METADATA */

#endif /* __MM_MEMORY_METADATA_H */
