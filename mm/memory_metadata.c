// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory that holds the metadata of other memory: the mechanism.
 *
 * See include/linux/memory_metadata.h for the terms and
 * Documentation/mm/memory_metadata.rst for the design. In this file:
 *
 * 1. Handing storage to the page allocator at boot.
 * 2. Taking it out when metadata becomes live, by one of three ways, and
 *    giving it back:
 *	free		straight off the buddy lists, one zone->lock section
 *	used		move the data of just these pages away
 *	contig		alloc_contig_range(), for what that cannot move
 * 3. Packing: moving pages with metadata together.
 * 4. Hooks of the allocator, of copying and of swap.
 * 5. Faults on metadata-none entries.
 *
 * Recursion. Taking used pages migrates, which allocates, which may reclaim
 * or compact, which may allocate pages that want storage again. That ends
 * here: the slow ways are tried only with __GFP_DIRECT_RECLAIM and with
 * neither PF_MEMALLOC nor PF_METADATA_RESERVE set, and PF_METADATA_RESERVE is
 * set while they run. It also keeps the moved data out of other storage.
 *
 * Waiting. The caller may hold folio locks, so the way "used" waits for none:
 * MIGRATE_ASYNC only tries folio locks, does not wait for writeback, and
 * nothing here enters the throttle for too many isolated pages. "contig"
 * waits for all of these and is tried only by the fault handler, which holds
 * no more than the locks of any fault.
 */

#include <linux/memcontrol.h>
#include <linux/memory_metadata.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/page-isolation.h>
#include <linux/pgalloc_tag.h>
#include <linux/pgtable.h>
#include <linux/random.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/swapops.h>
#include <linux/vmstat.h>

#include <asm/tlbflush.h>

#include "internal.h"
#include "memory_metadata.h"

#define CREATE_TRACE_POINTS
#include <trace/events/memory_metadata.h>

DEFINE_STATIC_KEY_FALSE(memory_metadata_key);

/* A page may be on its way to or from the allocator: look this often. */
#define TAKE_TRIES		3

/*
 * Pages to get from the allocator when one with storage is needed, before free
 * memory is searched. Neighbours share their storage, and are what the allocator
 * gives: enough for several of these.
 */
#define REQUIRE_TRIES		256

/* Pages that share storage at the least; entries to make accessible at once. */
#define RESTORE_RUN		32UL

/*
 * A page and its storage can both be pinned by I/O, which is over within
 * seconds. What lasts longer is no short-term pin.
 */
#define PINNED_WAIT		(10 * HZ)
#define PINNED_POLL		(HZ / 50 ?: 1)

/* 1. Handing storage to the page allocator. */

static unsigned long total_pages __ro_after_init;

/**
 * metadata_total_pages - the number of pages handed to the page allocator
 *
 * Context: any.
 * Return: pages, whatever they hold now.
 */
unsigned long metadata_total_pages(void)
{
	return total_pages;
}

static void __init add_boot_pages(unsigned long pfn, unsigned int order)
{
	struct page *page = pfn_to_page(pfn);
	unsigned int i;

	for (i = 0; i < 1U << order; i++) {
		__ClearPageReserved(page + i);
		set_page_count(page + i, 0);
	}
	set_page_refcounted(page);
	/* The pages were reserved and not allocated. */
	clear_page_tag_ref(page);
	__free_pages(page, order);
	adjust_managed_page_count(page, 1L << order);
	total_pages += 1UL << order;
}

static void __init add_pageblock(unsigned long pfn,
				 bool (*stays)(unsigned long pfn))
{
	unsigned long i, nr = 0;

	set_pageblock_migratetype(pfn_to_page(pfn), MIGRATE_METADATA);
	for (i = 0; i < pageblock_nr_pages; i++)
		nr += stays(pfn + i);

	if (!nr) {
		add_boot_pages(pfn, pageblock_order);
		return;
	}
	for (i = 0; i < pageblock_nr_pages; i++) {
		if (!stays(pfn + i))
			add_boot_pages(pfn + i, 0);
	}
}

/**
 * metadata_add_range - hand reserved boot memory to the page allocator
 * @start_pfn: first page, aligned to a pageblock
 * @end_pfn: behind the last page, aligned to a pageblock
 * @stays: whether a page stays reserved
 *
 * The range becomes free memory of MIGRATE_METADATA.
 *
 * Context: may sleep; during boot, after the memory map is initialised.
 */
void __init metadata_add_range(unsigned long start_pfn, unsigned long end_pfn,
			       bool (*stays)(unsigned long pfn))
{
	unsigned long pfn;

	for (pfn = start_pfn; pfn < end_pfn; pfn += pageblock_nr_pages) {
		add_pageblock(pfn, stays);
		cond_resched();
	}
}

/* 2. Taking storage out of the allocator, and giving it back. */

/*
 * A page off the free lists becomes an allocated page with one reference. It is
 * returned as alloc_hooks() wants a value.
 */
static struct page *prepare_taken_noprof(struct page *page)
{
	post_alloc_hook(page, 0, GFP_NOWAIT | __GFP_NOWARN);
	set_page_refcounted(page);
	return page;
}

#define prepare_taken(...)	alloc_hooks(prepare_taken_noprof(__VA_ARGS__))

static void account_reserved(unsigned long pfn, long nr)
{
	mod_zone_page_state(page_zone(pfn_to_page(pfn)), NR_METADATA_RESERVED,
			    nr);
}

/**
 * metadata_take_free - take storage that is free
 * @pfn: the first page
 * @nr: number of pages, all in one zone
 *
 * Context: any but under zone->lock or the lock of per-cpu lists.
 * Return: true if the pages are the caller's, each with one reference; false
 * if one of them was not free, with nothing done.
 */
bool metadata_take_free(unsigned long pfn, unsigned int nr)
{
	unsigned int i;

	if (metadata_should_fail(METADATA_WAY_BUDDY) ||
	    !take_pages_off_buddy(pfn, nr))
		return false;

	for (i = 0; i < nr; i++)
		prepare_taken(pfn_to_page(pfn + i));
	account_reserved(pfn, nr);
	return true;
}

static void put_pages(unsigned long pfn, unsigned int nr)
{
	while (nr--)
		put_page(pfn_to_page(pfn + nr));
}

/**
 * metadata_give - give storage back to the page allocator
 * @pfn: the first page
 * @nr: number of pages, taken by one of metadata_take_*()
 *
 * Context: any but under zone->lock or the lock of per-cpu lists.
 */
void metadata_give(unsigned long pfn, unsigned int nr)
{
	account_reserved(pfn, -(long)nr);
	put_pages(pfn, nr);
}

/*
 * Migration has left us the last reference of the emptied source. Free it
 * without giving it away, as compaction does with its free pages, so that the
 * debugging features see it freed and allocated.
 */
static int adopt_source(struct folio *folio)
{
	mem_cgroup_uncharge(folio);
	/* Somebody looked at it by pfn just now, and will free it. */
	if (!folio_put_testzero(folio))
		return -EAGAIN;
	if (!free_pages_prepare(&folio->page, 0))
		return -EBUSY;
	prepare_taken(&folio->page);
	return 0;
}

/* A per-cpu batch has a reference, so what is in one does not migrate. */
static bool in_lru_batch(struct folio *folio)
{
	if (!folio_test_lru(folio))
		return !__folio_test_movable(folio);
	return folio_ref_count(folio) != folio_expected_ref_count(folio) + 1;
}

static bool isolate_page(struct page *page, gfp_t gfp, struct list_head *list)
{
	struct folio *folio = page_folio(page);
	bool isolated = false;

	if (!folio_try_get(folio))
		return false;

	if (unlikely(page_folio(page) != folio || folio_test_large(folio)))
		goto put;
	/* Migration would fail after all its work. */
	if (folio_maybe_dma_pinned(folio))
		goto put;
	/*
	 * As for compaction: who only tries leaves alone what is locked, if the
	 * administrator wants that.
	 */
	if (!READ_ONCE(sysctl_compact_unevictable_allowed) &&
	    !(gfp & __GFP_DIRECT_RECLAIM) && folio_test_unevictable(folio))
		goto put;
	/* As for compaction: the filesystem may be entered. */
	if (!(gfp & __GFP_FS) && folio_mapping(folio))
		goto put;

	if (in_lru_batch(folio))
		lru_add_drain();
	isolated = isolate_folio_to_list(folio, list);
put:
	folio_put(folio);
	return isolated;
}

/* Move the data of one page away and keep the page. */
static int move_page_away(struct page *page, gfp_t gfp)
{
	struct migration_target_control mtc = {
		.nid = page_to_nid(page),
		.gfp_mask = __GFP_HIGHMEM | __GFP_MOVABLE | __GFP_NORETRY |
			    __GFP_NOWARN |
			    (gfp & (__GFP_RECLAIM | __GFP_IO | __GFP_FS)),
		.reason = MR_METADATA,
	};
	LIST_HEAD(list);

	if (!isolate_page(page, gfp, &list))
		return -EAGAIN;

	if (migrate_pages(&list, alloc_migration_target, NULL,
			  (unsigned long)&mtc, MIGRATE_ASYNC, MR_METADATA,
			  NULL)) {
		putback_movable_pages(&list);
		return -EBUSY;
	}
	return adopt_source(page_folio(page));
}

static int take_used_page(unsigned long pfn, gfp_t gfp)
{
	int tries, ret = -EBUSY;

	for (tries = 0; tries < TAKE_TRIES; tries++) {
		if (take_pages_off_buddy(pfn, 1)) {
			prepare_taken(pfn_to_page(pfn));
			return 0;
		}
		if (fatal_signal_pending(current))
			return -EINTR;
		ret = move_page_away(pfn_to_page(pfn), gfp);
		if (ret != -EAGAIN)
			return ret;
		cond_resched();
	}
	return ret;
}

/**
 * metadata_take_used - take storage, moving away what it holds
 * @pfn: the first page
 * @nr: number of pages, all in one zone
 * @gfp: what the allocation of the new places may do; without
 *	__GFP_DIRECT_RECLAIM this is only a try
 *
 * Context: may sleep, with the limits of @gfp; waits for no folio lock.
 * Return: 0 with each page the caller's and one reference, or -EBUSY, -EAGAIN
 * or -EINTR (a fatal signal is pending) with nothing taken.
 */
int metadata_take_used(unsigned long pfn, unsigned int nr, gfp_t gfp)
{
	unsigned int flags, i;
	int ret = 0;

	might_sleep();
	if (metadata_should_fail(METADATA_WAY_MOVED))
		return -EBUSY;

	flags = memalloc_flags_save(PF_METADATA_RESERVE);
	for (i = 0; i < nr; i++) {
		ret = take_used_page(pfn + i, gfp);
		if (ret) {
			put_pages(pfn, i);
			break;
		}
	}
	memalloc_flags_restore(flags);
	if (!ret)
		account_reserved(pfn, nr);
	return ret;
}

/**
 * metadata_take_contig - take storage with everything the kernel has for that
 * @pfn: the first page
 * @nr: number of pages
 *
 * Slow, and disturbs all CPUs.
 *
 * Context: may sleep and wait for folio locks and writeback.
 * Return: 0 with each page the caller's and one reference, or an error of
 * alloc_contig_range().
 */
int metadata_take_contig(unsigned long pfn, unsigned int nr)
{
	unsigned int flags;
	int ret;

	if (metadata_should_fail(METADATA_WAY_CONTIG))
		return -EBUSY;

	flags = memalloc_flags_save(PF_METADATA_RESERVE);
	ret = alloc_contig_range(pfn, pfn + nr, MIGRATE_METADATA,
				 GFP_KERNEL | __GFP_NOWARN);
	memalloc_flags_restore(flags);
	if (!ret)
		account_reserved(pfn, nr);
	return ret;
}

/* 3. Packing: moving pages with metadata together. */

/* There is one target, for one folio. */
static struct folio *pack_target(struct folio *src, unsigned long private)
{
	struct folio **target = (struct folio **)private, *dst = *target;

	*target = NULL;
	return dst;
}

/* The page becomes the caller's; the copy will make sure of its storage. */
static struct folio *take_pack_target(unsigned long pfn)
{
	struct page *page = pfn_to_page(pfn);

	/* Not what is being isolated to be taken as a whole. */
	if (get_pageblock_migratetype(page) != MIGRATE_MOVABLE ||
	    take_used_page(pfn, GFP_KERNEL))
		return NULL;
	return page_folio(page);
}

/**
 * metadata_pack_page - move a page with metadata to where there are others
 * @from_pfn: the page
 * @to_pfn: a page whose storage is reserved, and that has no metadata; whatever
 *	data it holds is moved away
 *
 * Neither is worth much trouble: there are others. Both are in one zone, so that
 * the zone's free memory stays as it is.
 *
 * Context: may sleep; holds no locks.
 * Return: 0; -ENOENT if the first cannot be moved; -EBUSY if the second cannot
 * be had.
 */
int metadata_pack_page(unsigned long from_pfn, unsigned long to_pfn)
{
	struct page *from = pfn_to_page(from_pfn);
	struct folio *target;
	LIST_HEAD(list);
	int ret = 0;

	might_sleep();
	if (page_zone(from) != page_zone(pfn_to_page(to_pfn)))
		return -EBUSY;
	/* Only a try, like all that is not needed now. */
	if (!isolate_page(from, GFP_KERNEL & ~__GFP_DIRECT_RECLAIM, &list))
		return -ENOENT;

	target = take_pack_target(to_pfn);
	if (!target)
		ret = -EBUSY;
	else if (migrate_pages(&list, pack_target, NULL,
			       (unsigned long)&target, MIGRATE_ASYNC,
			       MR_COMPACTION, NULL))
		ret = -ENOENT;

	if (ret)
		putback_movable_pages(&list);
	else
		count_vm_event(METADATA_PACKED);
	if (target)
		folio_put(target);
	return ret;
}

/* 4. Hooks of the allocator, of copying and of swap. */

#ifndef CONFIG_NUMA
gfp_t metadata_vma_gfp(struct vm_area_struct *vma)
{
	return memory_metadata_enabled() && arch_vma_has_metadata(vma) ?
	       __GFP_TAGGED : 0;
}
EXPORT_SYMBOL(metadata_vma_gfp);	/* for vma_alloc_folio() */
#endif

gfp_t __metadata_prep_page(struct page *page, unsigned int order, gfp_t gfp)
{
	bool ready;

	if (!memory_metadata_enabled())
		return gfp;

	/* For a large folio only what costs little; it may be split later. */
	if (order)
		ready = !arch_metadata_reserve_pages(page, 1UL << order,
						     gfp & ~__GFP_DIRECT_RECLAIM);
	else
		ready = !arch_metadata_reserve(page, gfp);

	/* Metadata is initialised here only along with the memory itself. */
	return ready && (gfp & __GFP_ZERO) ? gfp : gfp & ~__GFP_TAGGED;
}

/* It is live, or was saved with the swap entry and is not restored yet. */
static bool page_has_metadata(struct page *page)
{
	return arch_metadata_live(page) ||
	       (folio_test_swapcache(page_folio(page)) &&
		arch_swap_has_metadata(page_swap_entry(page)));
}

bool __metadata_page(struct page *page)
{
	return page_has_metadata(page);
}

gfp_t __metadata_folio_gfp(struct folio *folio)
{
	long i;

	for (i = 0; i < folio_nr_pages(folio); i++) {
		if (page_has_metadata(folio_page(folio, i)))
			return __GFP_TAGGED;
	}
	return 0;
}

bool __metadata_copy_ok(struct page *to, struct page *from)
{
	return !page_has_metadata(from) ||
	       !arch_metadata_reserve(to, GFP_NOWAIT);
}

int __metadata_copy_prepare(struct page *to, struct page *from,
			    unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++) {
		if (page_has_metadata(from + i) &&
		    arch_metadata_reserve(to + i, GFP_HIGHUSER_MOVABLE))
			return -ENOMEM;
	}
	return 0;
}

static int folio_prepare(struct folio *folio, gfp_t gfp)
{
	return arch_metadata_reserve_pages(folio_page(folio, 0),
					   folio_nr_pages(folio), gfp) ?
		-ENOMEM : 0;
}

int __metadata_vma_prepare(struct folio *folio, struct vm_area_struct *vma,
			   gfp_t gfp)
{
	return arch_vma_has_metadata(vma) ? folio_prepare(folio, gfp) : 0;
}

/* From the allocator, if the task may reclaim: this must not eat up reserves. */
static struct folio *next_candidate(int nid)
{
	if ((current->flags & PF_MEMALLOC) || fatal_signal_pending(current))
		return NULL;
	return __folio_alloc(GFP_HIGHUSER_MOVABLE | __GFP_TAGGED | __GFP_THISNODE |
			     __GFP_NORETRY | __GFP_NOWARN, 0, nid, NULL);
}

/* This page, if it is free, and its storage is free or reserved already. */
static struct folio *take_if_ready(struct zone *zone, unsigned long pfn)
{
	struct page *page = pfn_to_page(pfn);

	if (!zone_watermark_ok(zone, 0, min_wmark_pages(zone), ZONE_MOVABLE, 0) ||
	    !take_pages_off_buddy(pfn, 1))
		return NULL;
	prepare_taken(page);
	if (!arch_metadata_reserve(page, GFP_NOWAIT))
		return page_folio(page);
	put_page(page);
	return NULL;
}

/* In a free page of the allocator: pages that lie together share storage. */
static struct folio *find_ready_in(struct zone *zone, unsigned long pfn,
				   unsigned int order)
{
	unsigned long end = pfn + (1UL << order);
	struct folio *folio = NULL;

	for (; pfn < end && !folio; pfn += RESTORE_RUN)
		folio = take_if_ready(zone, pfn);
	return folio;
}

/*
 * What the allocator gives lies together, and the storage of all that may be
 * pinned. So look through the free pages, and take none but the one.
 */
static struct folio *find_ready(struct zone *zone)
{
	unsigned long pfn = zone->zone_start_pfn, end = zone_end_pfn(zone);
	struct folio *folio;

	while (pfn < end && !fatal_signal_pending(current)) {
		struct page *page = pfn_to_online_page(pfn);
		unsigned int order;

		cond_resched();
		if (!page || page_zone(page) != zone ||
		    get_pageblock_migratetype(page) != MIGRATE_MOVABLE) {
			pfn = pageblock_end_pfn(pfn);
			continue;
		}
		if (!PageBuddy(page)) {
			pfn++;
			continue;
		}
		/* Without the lock, so maybe stale: no more than can be. */
		order = min_t(unsigned int, buddy_order_unsafe(page),
			      __ffs(pfn | MAX_ORDER_NR_PAGES));
		folio = find_ready_in(zone, pfn, order);
		if (folio)
			return folio;
		pfn += 1UL << order;
	}
	return NULL;
}

static struct folio *find_ready_on(int nid)
{
	struct folio *folio = NULL;
	enum zone_type i;

	for (i = gfp_zone(GFP_HIGHUSER_MOVABLE) + 1; i-- && !folio;) {
		struct zone *zone = &NODE_DATA(nid)->node_zones[i];

		if (populated_zone(zone))
			folio = find_ready(zone);
	}
	return folio;
}

/*
 * A folio with storage: this one, or another of its node. One that cannot have
 * storage is kept until the end, so that it is not handed out again.
 */
struct folio *__metadata_replace(struct folio *folio)
{
	int nid = folio_nid(folio);
	unsigned int tries = 1;
	struct folio *next;
	LIST_HEAD(rejected);

	while (folio && arch_metadata_reserve(&folio->page,
					      GFP_HIGHUSER_MOVABLE)) {
		list_add(&folio->lru, &rejected);
		folio = tries++ < REQUIRE_TRIES ? next_candidate(nid) : NULL;
		cond_resched();
	}
	if (!folio)
		folio = find_ready_on(nid);
	/* Nothing wakes who waits for a pin; do not fault in a tight loop. */
	if (!folio && !(current->flags & PF_MEMALLOC))
		schedule_timeout_killable(PINNED_POLL);

	while ((next = list_first_entry_or_null(&rejected, struct folio, lru))) {
		list_del(&next->lru);
		folio_put(next);
	}
	return folio;
}

struct folio *__metadata_require(struct folio *folio,
				 struct vm_area_struct *vma, bool metadata)
{
	return metadata || arch_vma_has_metadata(vma) ?
		__metadata_replace(folio) : folio;
}

/* Another folio has to be charged, too. The old one is given up for it only. */
int __metadata_cow_prepare(struct vm_fault *vmf, struct folio **foliop)
{
	struct folio *old = *foliop, *new;

	if (!page_has_metadata(vmf->page) ||
	    !arch_metadata_reserve(&old->page, GFP_HIGHUSER_MOVABLE))
		return 0;

	folio_get(old);
	new = __metadata_replace(old);
	if (new && new != old &&
	    mem_cgroup_charge(new, vmf->vma->vm_mm, GFP_KERNEL)) {
		folio_put(new);
		new = NULL;
	}
	if (!new)
		return -ENOMEM;
	folio_put(old);
	*foliop = new;
	vmf->cow_page = &new->page;
	return 0;
}

int __metadata_swap_prepare(swp_entry_t entry, struct folio *folio)
{
	long i;

	entry = folio_swap(entry, folio);
	for (i = 0; i < folio_nr_pages(folio); i++, entry.val++) {
		if (arch_swap_has_metadata(entry) &&
		    arch_metadata_reserve(folio_page(folio, i),
					  GFP_HIGHUSER_MOVABLE))
			return -ENOMEM;
	}
	return 0;
}

/* 5. Faults on metadata-none entries. */

/* The page of the faulting entry, with a reference, or NULL if that changed. */
static struct page *get_fault_page(struct vm_fault *vmf)
{
	struct page *page = NULL;

	spin_lock(vmf->ptl);
	if (likely(pte_same(ptep_get(vmf->pte), vmf->orig_pte))) {
		page = vm_normal_page(vmf->vma, vmf->address, vmf->orig_pte);
		if (!WARN_ON_ONCE(!page))
			get_page(page);
	}
	pte_unmap_unlock(vmf->pte, vmf->ptl);
	return page;
}

/* How many entries from @ptep on are the same but for their page, the next. */
static unsigned int same_entries(pte_t *ptep, pte_t pte, unsigned int max)
{
	unsigned int nr = 1;

	while (nr < max &&
	       pte_same(ptep_get(ptep + nr), pte_advance_pfn(pte, nr)))
		nr++;
	return nr;
}

/*
 * Make entries accessible whose pages, of one or several folios, have their
 * storage. set_ptes() wants one folio at a time, and has to look for what else
 * it could do with the entry; base pages need none of that.
 */
static void set_ready_ptes(struct mm_struct *mm, unsigned long addr,
			   pte_t *ptep, pte_t pte, unsigned int nr)
{
	while (nr) {
		struct page *page = pfn_to_page(pte_pfn(pte));
		unsigned int run = 1;

		if (PageCompound(page)) {
			struct folio *folio = page_folio(page);

			run = min_t(unsigned int, nr, folio_nr_pages(folio) -
				    folio_page_idx(folio, page));
			set_ptes(mm, addr, ptep, pte, run);
		} else {
			while (run < nr && !PageCompound(nth_page(page, run)))
				run++;
			arch_metadata_set_ptes(mm, addr, ptep, pte, run);
		}
		pte = pte_advance_pfn(pte, run);
		addr += run * PAGE_SIZE;
		ptep += run;
		nr -= run;
	}
}

/*
 * Make the faulting entry accessible, and with it all others of its page table
 * whose storage is reserved already: storage covers many pages, and these are
 * often neighbours.
 */
static void restore_entries(struct vm_fault *vmf)
{
	unsigned long base = ALIGN_DOWN(vmf->address, PMD_SIZE);
	struct vm_area_struct *vma = vmf->vma;
	unsigned long addr = max(base, vma->vm_start);
	unsigned long end = min(base + PMD_SIZE, vma->vm_end);
	unsigned long restored = 0;
	pte_t *start, *ptep;
	unsigned int nr;
	spinlock_t *ptl;

	start = pte_offset_map_lock(vma->vm_mm, vmf->pmd, addr, &ptl);
	if (!start)
		return;

	for (ptep = start; addr < end; ptep += nr, addr += nr * PAGE_SIZE) {
		pte_t pte = ptep_get(ptep);
		struct page *page;

		nr = 1;
		if (!pte_metadata_none(pte))
			continue;
		page = vm_normal_page(vma, addr, pte);
		if (!page)
			continue;
		nr = min(RESTORE_RUN, (end - addr) / PAGE_SIZE);
		nr = same_entries(ptep, pte, nr);
		if (!arch_metadata_join(page, &nr))
			continue;
		set_ready_ptes(vma->vm_mm, addr, ptep, pte_mkaccessible(pte), nr);
		update_mmu_cache_range(vmf, vma, addr, ptep, nr);
		restored += nr;
	}
	pte_unmap_unlock(start, ptl);
	if (restored > 1)
		count_vm_events(METADATA_NONE_AROUND, restored - 1);
}

static struct folio *alloc_ready_target(struct folio *src, unsigned long private)
{
	struct folio *dst = alloc_migration_target(src, private);

	return dst ? __metadata_replace(dst) : NULL;
}

/* Lock and reference stay with the page, whatever folio it is in then. */
static bool split_for_replacing(struct page *page)
{
	bool split;

	lock_page(page);
	split = !split_huge_page(page);
	unlock_page(page);
	return split;
}

/*
 * The page is storage itself, or cannot get its own: move it to one that has.
 * The caller's reference stays its own in either case; on success that is the
 * last one to the emptied page.
 *
 * Return: true if something changed, so that the fault is worth repeating.
 */
static bool replace_page(struct page *page)
{
	struct folio *folio = page_folio(page);
	struct migration_target_control mtc = {
		.nid = folio_nid(folio),
		.gfp_mask = GFP_HIGHUSER_MOVABLE | __GFP_TAGGED |
			    __GFP_NORETRY | __GFP_NOWARN,
		.reason = MR_METADATA,
	};
	LIST_HEAD(list);

	if (folio_test_large(folio))
		return split_for_replacing(page);

	if (!isolate_folio_to_list(folio, &list))
		return false;
	/* The list has a reference; one more would stop the migration. */
	folio_put(folio);

	if (!migrate_pages(&list, alloc_ready_target, NULL,
			   (unsigned long)&mtc, MIGRATE_SYNC, MR_METADATA,
			   NULL))
		return true;

	folio_get(folio);
	putback_movable_pages(&list);
	/* From the batch it could not be isolated again. */
	lru_add_drain();
	return false;
}

/* It could neither be migrated nor split, on whatever CPU it is. */
static void drain_lru_batches(struct page *page)
{
	if (in_lru_batch(page_folio(page)))
		lru_add_drain();
	if (in_lru_batch(page_folio(page)))
		lru_add_drain_all();
}

/* Get back a page that was mapped; it may have become anything meanwhile. */
static bool get_page_again(struct page *page)
{
	struct folio *folio = page_folio(page);

	/* Of the folio: a tail page has no count of its own. */
	if (!folio_try_get(folio))
		return false;
	if (page_folio(page) == folio && folio_mapped(folio) &&
	    !folio_test_hugetlb(folio))
		return true;
	folio_put(folio);
	return false;
}

/*
 * Both the page and its storage are pinned, or another thread tries the same.
 * Poll, as unpinning wakes nobody; without a reference while sleeping, as that
 * would pin the page for others who do this, and not all at the same time.
 *
 * Drops the caller's reference. Return: whether to access again.
 */
static bool wait_for_unpin(struct page *page, unsigned long timeout)
{
	unsigned long end = jiffies + timeout;

	arch_metadata_reserve_hard(page);
	while (arch_metadata_reserve(page, GFP_HIGHUSER_MOVABLE) &&
	       !replace_page(page)) {
		put_page(page);
		schedule_timeout_killable(PINNED_POLL +
					  get_random_u32_below(PINNED_POLL));
		if (time_after(jiffies, end) || fatal_signal_pending(current))
			return false;
		if (!get_page_again(page))
			return true;
	}
	put_page(page);
	return true;
}

/**
 * metadata_require_page - make sure of the storage of a page in use
 * @page: the page, with a reference, which is dropped on failure
 *
 * For access to metadata otherwise than by a mapping. A page that cannot have
 * storage is replaced, wherever it is mapped.
 *
 * Context: may sleep and wait for folio locks; for a second if both the page and
 * its storage are pinned.
 * Return: 0; -EAGAIN if there may be another page now, to be looked up again; or
 * -EBUSY if both stay pinned.
 */
int metadata_require_page(struct page *page)
{
	if (!arch_metadata_reserve(page, GFP_HIGHUSER_MOVABLE))
		return 0;
	drain_lru_batches(page);
	if (replace_page(page)) {
		put_page(page);
		return -EAGAIN;
	}
	return wait_for_unpin(page, HZ) ? -EAGAIN : -EBUSY;
}

/*
 * Without the locks if they may be dropped, so that the wait hangs nobody
 * else. Who cannot drop them, as the repeated fault, waits only shortly.
 * Drops the caller's reference to the page.
 */
static vm_fault_t wait_and_retry(struct vm_fault *vmf, struct page *page)
{
	if (fault_flag_allow_retry_first(vmf->flags)) {
		if (vmf->flags & FAULT_FLAG_RETRY_NOWAIT) {
			put_page(page);
			return VM_FAULT_RETRY;
		}
		release_fault_lock(vmf);
		/* A fault under the VMA lock comes back under the mmap_lock. */
		if (vmf->flags & FAULT_FLAG_VMA_LOCK)
			put_page(page);
		else
			wait_for_unpin(page, PINNED_WAIT);
		return VM_FAULT_RETRY;
	}
	if (wait_for_unpin(page, HZ) || fatal_signal_pending(current))
		return 0;
	return VM_FAULT_SIGBUS;
}

static vm_fault_t resolve_pte(struct vm_fault *vmf)
{
	struct page *page = get_fault_page(vmf);

	if (!page)
		return 0;

	count_vm_event(METADATA_NONE_FAULT);
	if (!arch_metadata_reserve(page, GFP_HIGHUSER_MOVABLE)) {
		restore_entries(vmf);
		put_page(page);
		return 0;
	}

	drain_lru_batches(page);
	if (!replace_page(page))
		return wait_and_retry(vmf, page);
	put_page(page);
	return 0;
}

/**
 * do_metadata_none_page - fault on a metadata-none PTE
 * @vmf: the fault, with the page table mapped and not locked
 *
 * Context: may sleep; VMA lock or mmap_lock held, released like by
 * __folio_lock_or_retry().
 * Return: 0 to access again, %VM_FAULT_RETRY with the lock released, or
 * %VM_FAULT_SIGBUS if both the page and its storage stay pinned.
 */
vm_fault_t do_metadata_none_page(struct vm_fault *vmf)
{
	vm_fault_t ret = resolve_pte(vmf);

	trace_metadata_none_fault(vmf->address, pte_pfn(vmf->orig_pte), 1, ret);
	return ret;
}

/**
 * do_huge_pmd_metadata_none - fault on a metadata-none PMD
 * @vmf: the fault
 *
 * Reserve the storage of the whole folio, or split the mapping.
 *
 * Context: may sleep; VMA lock or mmap_lock held, not released.
 * Return: 0, to access again.
 */
vm_fault_t do_huge_pmd_metadata_none(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct folio *folio;
	spinlock_t *ptl;

	ptl = pmd_lock(vma->vm_mm, vmf->pmd);
	if (!pmd_same(*vmf->pmd, vmf->orig_pmd)) {
		spin_unlock(ptl);
		return 0;
	}
	folio = page_folio(pmd_page(vmf->orig_pmd));
	folio_get(folio);
	spin_unlock(ptl);

	count_vm_event(METADATA_NONE_FAULT);
	if (folio_prepare(folio, GFP_HIGHUSER_MOVABLE)) {
		__split_huge_pmd(vma, vmf->pmd, vmf->address, false, NULL);
		goto put;
	}

	spin_lock(ptl);
	if (pmd_same(*vmf->pmd, vmf->orig_pmd)) {
		set_pmd_at(vma->vm_mm, vmf->address & PMD_MASK, vmf->pmd,
			   pmd_mkaccessible(vmf->orig_pmd));
		update_mmu_cache_pmd(vma, vmf->address, vmf->pmd);
	}
	spin_unlock(ptl);
put:
	trace_metadata_none_fault(vmf->address, pmd_pfn(vmf->orig_pmd),
				  PMD_SIZE / PAGE_SIZE, 0);
	folio_put(folio);
	return 0;
}
