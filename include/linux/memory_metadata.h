/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory that holds the metadata of other memory, and is lent as data.
 *
 * Some hardware keeps *metadata* of a page (on arm64 the MTE allocation tags)
 * in a part of main memory of its own, the *metadata storage*. Storage whose
 * covered pages have no live metadata is ordinary memory of migratetype
 * MIGRATE_METADATA: order 0, movable, never longterm pinned, never holding
 * metadata itself. When a page is to have metadata, its storage is reserved:
 * taken out of the allocator, moving what it holds.
 *
 * Core mm owns the mechanism (mm/memory_metadata.c): how pages are handed
 * over, taken out and given back, and what a *metadata-none* page table entry
 * does on a fault. The architecture owns the relation between a page and its
 * storage, behind the arch_metadata_*() functions below.
 *
 * A metadata-none entry is a present entry without hardware access that says:
 * this page must have its storage before the next access.
 *
 * The inline functions here screen: with the feature not compiled in they are
 * constants, with no storage found at boot a static key leaves one branch that
 * is not taken. See Documentation/mm/memory_metadata.rst.
 */
#ifndef _LINUX_MEMORY_METADATA_H
#define _LINUX_MEMORY_METADATA_H

#include <linux/gfp_types.h>
#include <linux/jump_label.h>
#include <linux/migrate_mode.h>
#include <linux/mm_types.h>
#include <linux/types.h>

struct vm_fault;

#ifdef CONFIG_MEMORY_METADATA

/**
 * enum metadata_way - a way to get hold of storage, cheapest first
 * @METADATA_WAY_SHARED: it is reserved already
 * @METADATA_WAY_BUDDY: it is free
 * @METADATA_WAY_MOVED: move away what it holds
 * @METADATA_WAY_CONTIG: with everything the kernel has for that
 */
enum metadata_way {
	METADATA_WAY_SHARED,
	METADATA_WAY_BUDDY,
	METADATA_WAY_MOVED,
	METADATA_WAY_CONTIG,
};

DECLARE_STATIC_KEY_FALSE(memory_metadata_key);

static __always_inline bool memory_metadata_enabled(void)
{
	return static_branch_unlikely(&memory_metadata_key);
}

/*
 * Implemented by the architecture. In its asm/pgtable.h, beside what makes and
 * tells metadata-none entries, is arch_metadata_set_ptes(): set_ptes() for base
 * pages that have their storage, in place of metadata-none entries.
 */
bool arch_metadata_live(struct page *page);
int arch_metadata_reserve(struct page *page, gfp_t gfp);
int arch_metadata_reserve_pages(struct page *page, unsigned long nr, gfp_t gfp);
void arch_metadata_reserve_hard(struct page *page);
bool arch_metadata_join(struct page *page, unsigned int *nr);
bool arch_swap_has_metadata(swp_entry_t entry);

/* Taking storage out of the allocator and giving it back. */
bool metadata_take_free(unsigned long pfn, unsigned int nr);
int metadata_take_used(unsigned long pfn, unsigned int nr, gfp_t gfp);
int metadata_take_contig(unsigned long pfn, unsigned int nr);
void metadata_give(unsigned long pfn, unsigned int nr);
void metadata_add_range(unsigned long start_pfn, unsigned long end_pfn,
			bool (*stays)(unsigned long pfn));
unsigned long metadata_total_pages(void);
int metadata_pack_page(unsigned long from_pfn, unsigned long to_pfn);

#ifdef CONFIG_FAIL_METADATA
bool metadata_should_fail(enum metadata_way way);
#else
static inline bool metadata_should_fail(enum metadata_way way)
{
	return false;
}
#endif

/* Faults on metadata-none entries. */
vm_fault_t do_metadata_none_page(struct vm_fault *vmf);
vm_fault_t do_huge_pmd_metadata_none(struct vm_fault *vmf);

int metadata_require_page(struct page *page);

gfp_t __metadata_prep_page(struct page *page, unsigned int order, gfp_t gfp);
struct folio *__metadata_replace(struct folio *folio);
struct folio *__metadata_require(struct folio *folio,
				 struct vm_area_struct *vma, bool metadata);
bool __metadata_page(struct page *page);
int __metadata_cow_prepare(struct vm_fault *vmf, struct folio **foliop);
int __metadata_vma_prepare(struct folio *folio, struct vm_area_struct *vma,
			   gfp_t gfp);
bool __metadata_copy_ok(struct page *to, struct page *from);
int __metadata_copy_prepare(struct page *to, struct page *from,
			    unsigned int nr);
gfp_t __metadata_folio_gfp(struct folio *folio);
int __metadata_swap_prepare(swp_entry_t entry, struct folio *folio);

/**
 * metadata_keeps_source - whether migrate_pages() leaves the last reference
 * @reason: why it migrates
 *
 * Context: any.
 * Return: true if it does.
 */
static inline bool metadata_keeps_source(enum migrate_reason reason)
{
	return reason == MR_METADATA;
}

/**
 * metadata_prep_page - reserve the storage of a newly allocated page
 * @page: the page, not yet seen by anybody else
 * @order: its order
 * @gfp: the allocation's flags
 *
 * With __GFP_TAGGED try to get storage for the whole page. That need not
 * succeed: the page is then mapped metadata-none.
 *
 * Context: as @gfp allows; sleeps only with __GFP_DIRECT_RECLAIM and order 0.
 * Return: @gfp, without __GFP_TAGGED if any storage is missing.
 */
static inline gfp_t metadata_prep_page(struct page *page, unsigned int order,
				       gfp_t gfp)
{
	if (unlikely(gfp & __GFP_TAGGED))
		return __metadata_prep_page(page, order, gfp);
	return gfp;
}

/**
 * metadata_vma_gfp - the hint for allocating a page that a VMA will map
 * @vma: the VMA
 *
 * Context: any, @vma stable.
 * Return: __GFP_TAGGED or 0.
 */
#ifdef CONFIG_NUMA	/* a macro: VM_MTE is known only with <linux/mm.h> */
#define metadata_vma_gfp(vma) (memory_metadata_enabled() &&		\
	arch_vma_has_metadata(vma) ? __GFP_TAGGED : (__force gfp_t)0)
#else			/* <linux/gfp.h> uses it, without <linux/mm.h> */
gfp_t metadata_vma_gfp(struct vm_area_struct *vma);
#endif

/**
 * metadata_folio_gfp - the hint for allocating a copy of a folio
 * @folio: the source
 *
 * The source can gain metadata after this: metadata_copy_ok() looks again.
 *
 * Context: any.
 * Return: __GFP_TAGGED if any page of @folio has metadata, else 0.
 */
static inline gfp_t metadata_folio_gfp(struct folio *folio)
{
	return memory_metadata_enabled() ? __metadata_folio_gfp(folio) : 0;
}

/**
 * metadata_swap_gfp - the hint for allocating a page to read a swap entry into
 * @entry: the swap entry
 *
 * Context: any.
 * Return: __GFP_TAGGED if metadata was saved with @entry, else 0.
 */
static inline gfp_t metadata_swap_gfp(swp_entry_t entry)
{
	if (memory_metadata_enabled() && arch_swap_has_metadata(entry))
		return __GFP_TAGGED;
	return 0;
}

/**
 * metadata_swap_require - insist on storage for a page to read a swap entry into
 * @folio: a new folio of order 0, or NULL
 * @entry: the swap entry
 *
 * Replaces @folio by another if its own storage cannot be had.
 *
 * Context: may sleep, except under reclaim.
 * Return: a folio with storage if metadata was saved with @entry, or NULL.
 */
static inline struct folio *metadata_swap_require(struct folio *folio,
						  swp_entry_t entry)
{
	if (folio && metadata_swap_gfp(entry))
		return __metadata_replace(folio);
	return folio;
}

/**
 * metadata_swap_prepare - make sure of the storage for restoring metadata
 * @entry: the first swap entry of @folio
 * @folio: the locked folio that was read from swap
 *
 * Called once the entry cannot be freed and used again, before @folio is read:
 * arch_swap_restore() runs under the page table lock and can neither sleep nor
 * fail. From then on the folio, and what it is copied to, keeps its storage.
 *
 * Context: may sleep, @folio locked.
 * Return: 0, or -ENOMEM if the storage cannot be had now: back out and let the
 * caller's caller try again.
 */
static inline int metadata_swap_prepare(swp_entry_t entry, struct folio *folio)
{
	return memory_metadata_enabled() ?
		__metadata_swap_prepare(entry, folio) : 0;
}

/**
 * metadata_copy_ok - whether a page can be copied with its metadata
 * @to: the destination
 * @from: the source
 *
 * Reserves the storage of @to if it is needed and can be had without sleeping.
 *
 * Context: any; never sleeps.
 * Return: false if @from has metadata and @to has no storage for it.
 */
static inline bool metadata_copy_ok(struct page *to, struct page *from)
{
	return !memory_metadata_enabled() || __metadata_copy_ok(to, from);
}

/**
 * metadata_copy_prepare - make sure of the storage for copying pages
 * @to: the first destination, not yet seen by anybody else
 * @from: the first source
 * @nr: how many pages
 *
 * For a copy that can be refused now and not later. The source may gain
 * metadata after this, where it is not locked out; the copy then checks again.
 *
 * Context: may sleep, but waits for no folio lock.
 * Return: 0, or -ENOMEM if a source has metadata and its destination cannot.
 */
static inline int metadata_copy_prepare(struct page *to, struct page *from,
					unsigned int nr)
{
	return memory_metadata_enabled() ?
		__metadata_copy_prepare(to, from, nr) : 0;
}

/**
 * metadata_require - insist on storage for the destination of a copy
 * @folio: a new folio of order 0 for @vma, or NULL
 * @vma: the VMA that will map it
 * @metadata: whether it needs storage even if @vma does not say so
 *
 * For a copy that cannot fail later. Replaces @folio by another if its own
 * storage cannot be had.
 *
 * Context: may sleep, @vma stable.
 * Return: a folio, with storage if that is needed, or NULL.
 */
static inline struct folio *metadata_require(struct folio *folio,
					     struct vm_area_struct *vma,
					     bool metadata)
{
	return memory_metadata_enabled() && folio ?
		__metadata_require(folio, vma, metadata) : folio;
}

/**
 * metadata_page - whether a copy of a page will have metadata
 * @page: the page, or NULL
 *
 * The page can gain metadata after this; the copy checks again.
 *
 * Context: any.
 * Return: true if it will.
 */
static inline bool metadata_page(struct page *page)
{
	return memory_metadata_enabled() && page && __metadata_page(page);
}

/**
 * metadata_cow_prepare - make sure of the storage for a private copy
 * @vmf: the fault, with the source locked in vmf->page
 * @foliop: the destination, charged, and in vmf->cow_page
 *
 * Replaces the destination if its own storage cannot be had.
 *
 * Context: may sleep, but waits for no folio lock.
 * Return: 0, or -ENOMEM if the source has metadata and the copy cannot.
 */
static inline int metadata_cow_prepare(struct vm_fault *vmf,
				       struct folio **foliop)
{
	return memory_metadata_enabled() ? __metadata_cow_prepare(vmf, foliop) :
					   0;
}

/**
 * metadata_copy_refused - why a copy of a user page failed
 *
 * Where metadata is kept in memory that is lent, no copy fails because of the
 * memory that it reads.
 *
 * Context: any, after copy_mc_user_highpage() failed.
 * Return: true if the source has metadata and the destination no storage for
 * it; to be tried again with one that has.
 */
static inline bool metadata_copy_refused(void)
{
	return memory_metadata_enabled();
}

/**
 * metadata_vma_prepare - make sure of the storage of a folio for a VMA
 * @folio: the folio, with a reference
 * @vma: the VMA that will map it
 *
 * Context: may sleep, but waits for no folio lock; @vma stable.
 * Return: 0, or -ENOMEM if @vma needs storage and not all can be had.
 */
static inline int metadata_vma_prepare(struct folio *folio,
				       struct vm_area_struct *vma)
{
	return memory_metadata_enabled() ?
		__metadata_vma_prepare(folio, vma, GFP_HIGHUSER_MOVABLE) : 0;
}

/**
 * metadata_refuse_pmd - whether a file folio must not be mapped by a PMD
 * @vma: the VMA
 * @folio: the folio
 *
 * A metadata-none PMD of a file that cannot get its storage would be zapped
 * and mapped again for ever. Takes the storage that can be had without sleeping.
 *
 * Context: any, @vma stable.
 * Return: true if it must not.
 */
static inline bool metadata_refuse_pmd(struct vm_area_struct *vma,
				       struct folio *folio)
{
	return memory_metadata_enabled() &&
	       __metadata_vma_prepare(folio, vma, GFP_NOWAIT);
}

#else /* !CONFIG_MEMORY_METADATA */

static __always_inline bool memory_metadata_enabled(void)
{
	return false;
}

static inline bool metadata_keeps_source(enum migrate_reason reason)
{
	return false;
}

/* Macros, as not every architecture has pmd_t at this point. */
#define pte_metadata_none(pte)	false
#define pmd_metadata_none(pmd)	false

static inline vm_fault_t do_metadata_none_page(struct vm_fault *vmf)
{
	return 0;
}

static inline vm_fault_t do_huge_pmd_metadata_none(struct vm_fault *vmf)
{
	return 0;
}

static inline int metadata_require_page(struct page *page)
{
	return 0;
}

static inline gfp_t metadata_prep_page(struct page *page, unsigned int order,
				       gfp_t gfp)
{
	return gfp;
}

static inline gfp_t metadata_vma_gfp(struct vm_area_struct *vma)
{
	return 0;
}

static inline gfp_t metadata_folio_gfp(struct folio *folio)
{
	return 0;
}

static inline gfp_t metadata_swap_gfp(swp_entry_t entry)
{
	return 0;
}

static inline struct folio *metadata_swap_require(struct folio *folio,
						  swp_entry_t entry)
{
	return folio;
}

static inline int metadata_swap_prepare(swp_entry_t entry, struct folio *folio)
{
	return 0;
}

static inline bool metadata_copy_ok(struct page *to, struct page *from)
{
	return true;
}

static inline int metadata_copy_prepare(struct page *to, struct page *from,
					unsigned int nr)
{
	return 0;
}

static inline struct folio *metadata_require(struct folio *folio,
					     struct vm_area_struct *vma,
					     bool metadata)
{
	return folio;
}

static inline bool metadata_page(struct page *page)
{
	return false;
}

static inline int metadata_cow_prepare(struct vm_fault *vmf,
				       struct folio **foliop)
{
	return 0;
}

static inline bool metadata_copy_refused(void)
{
	return false;
}

/* A macro, as a function that is called changes what the compiler inlines. */
#define metadata_vma_prepare(folio, vma)	({ 0; })

static inline bool metadata_refuse_pmd(struct vm_area_struct *vma,
				       struct folio *folio)
{
	return false;
}

#endif /* CONFIG_MEMORY_METADATA */

#endif /* _LINUX_MEMORY_METADATA_H */
