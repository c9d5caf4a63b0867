/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * MTE tag storage as memory: the interface of the arm64 side.
 *
 * See arch/arm64/mm/mte_tag_storage.c for the design, and
 * include/linux/memory_metadata.h for the generic side.
 */
#ifndef __ASM_MTE_TAG_STORAGE_H
#define __ASM_MTE_TAG_STORAGE_H

#ifndef __ASSEMBLY__

#include <linux/init.h>
#include <linux/memory_metadata.h>
#include <linux/mm_types.h>
#include <linux/types.h>

#ifdef CONFIG_ARM64_MTE_TAG_STORAGE

void mte_tag_storage_discover(void);
void mte_tag_storage_begin_map(void);
bool mte_tag_storage_range(unsigned int i, phys_addr_t *start,
			   phys_addr_t *end);
void mte_tag_storage_end_map(void);

bool mte_tag_storage_ready(struct page *page, unsigned long nr);
void mte_tag_storage_set_ptes(struct mm_struct *mm, unsigned long addr,
			      pte_t *ptep, pte_t pte, unsigned int nr);
void __mte_tag_storage_free_page(struct page *page);
void __mte_tag_storage_free(struct page *page, unsigned long nr);
bool mte_swap_has_tags(swp_entry_t entry);

/**
 * arch_vma_has_metadata - whether a VMA's pages will carry tags
 * @vma: the VMA
 *
 * A macro, as VM_MTE is not known here.
 *
 * Context: any, @vma stable.
 * Return: true if they will.
 */
#define arch_vma_has_metadata(vma)	((vma)->vm_flags & VM_MTE)

/* Called by the page allocator for every page freed, in any context. */
static inline void arch_free_page(struct page *page, int order)
{
	if (!memory_metadata_enabled())
		return;
	if (!order)
		__mte_tag_storage_free_page(page);
	else
		__mte_tag_storage_free(page, 1UL << order);
}

/**
 * mte_tag_storage_page_ready - whether tags may be written to a page
 * @page: the page
 *
 * Context: any.
 * Return: true if the page has the storage of its tags, always so if tags are
 * not kept in memory that is lent.
 */
static inline bool mte_tag_storage_page_ready(struct page *page)
{
	return !memory_metadata_enabled() || mte_tag_storage_ready(page, 1);
}

#else /* !CONFIG_ARM64_MTE_TAG_STORAGE */

static inline void mte_tag_storage_discover(void)
{
}

static inline void mte_tag_storage_begin_map(void)
{
}

static inline bool mte_tag_storage_range(unsigned int i, phys_addr_t *start,
					 phys_addr_t *end)
{
	return false;
}

static inline void mte_tag_storage_end_map(void)
{
}

static inline bool mte_tag_storage_page_ready(struct page *page)
{
	return true;
}

static inline void mte_tag_storage_set_ptes(struct mm_struct *mm,
					    unsigned long addr, pte_t *ptep,
					    pte_t pte, unsigned int nr)
{
}

#endif /* CONFIG_ARM64_MTE_TAG_STORAGE */

#endif /* !__ASSEMBLY__ */

#endif /* __ASM_MTE_TAG_STORAGE_H */
