// SPDX-License-Identifier: GPL-2.0-only
/*
 * Test that metadata-none is an addition to an entry and nothing else.
 *
 * A metadata-none entry must be the same as the accessible one in every other
 * respect: it keeps what it says of the page through every change, becomes the
 * same accessible entry again, and looks like nothing else that uses the same
 * bits. This is tested for PTEs and PMDs of every protection, first as values,
 * then in a page table. debug_vm_pgtable.c runs it at boot.
 *
 * See Documentation/mm/memory_metadata.rst.
 */
#define pr_fmt(fmt) "debug_vm_pgtable: [%-25s]: " fmt, __func__

#include <linux/bits.h>
#include <linux/cacheflush.h>
#include <linux/huge_mm.h>
#include <linux/memory_metadata.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/pgtable.h>
#include <linux/printk.h>
#include <linux/swapops.h>

#include "debug_vm_pgtable.h"

/* What an accessible entry can be beside its protection. */
#define OLD		BIT(0)
#define DIRTY		BIT(1)
#define WRPROTECT	BIT(2)
#define UFFD_WP		BIT(3)
#define SOFT_DIRTY	BIT(4)
#define ALL_BITS	GENMASK(4, 0)

#define ALL_PROTECTIONS	(VM_SHARED | VM_ACCESS_FLAGS)

/* A migration entry with all flags that it can have. */
static swp_entry_t __init migration_entry(unsigned long pfn)
{
	swp_entry_t entry = make_writable_migration_entry(pfn);

	return make_migration_entry_dirty(make_migration_entry_young(entry));
}

static pte_t __init pte_mkbits(pte_t pte, unsigned int bits)
{
	pte = bits & OLD ? pte_mkold(pte) : pte_mkyoung(pte);
	pte = bits & DIRTY ? pte_mkdirty(pte) : pte_mkclean(pte);
	if (bits & WRPROTECT)
		pte = pte_wrprotect(pte);
	if (bits & UFFD_WP)
		pte = pte_mkuffd_wp(pte);
	if (bits & SOFT_DIRTY)
		pte = pte_mksoft_dirty(pte);
	return pte;
}

/* @pte is accessible; metadata-none must be an addition to what it says. */
static void __init pte_metadata_none_test(pte_t pte)
{
	const pgprot_t prot[] = {
		vm_get_page_prot(VM_ACCESS_FLAGS),
		vm_get_page_prot(VM_NONE),
		vm_get_page_prot(VM_SHARED | VM_READ | VM_WRITE | VM_MTE),
	};
	pte_t none = pte_mkmetadata_none(pte);
	unsigned int bits, i;

	WARN_ON(pte_metadata_none(pte));
	WARN_ON(!pte_metadata_none(none));
	WARN_ON(!pte_same(pte_mkaccessible(none), pte));

	WARN_ON(!pte_present(none));
	WARN_ON(pte_none(none));
	WARN_ON(pte_protnone(none));
	WARN_ON(pte_special(none));
	WARN_ON(pte_access_permitted(none, false));

	WARN_ON(pte_pfn(none) != pte_pfn(pte));
	WARN_ON(!pte_young(none) != !pte_young(pte));
	WARN_ON(!pte_dirty(none) != !pte_dirty(pte));
	WARN_ON(!pte_write(none) != !pte_write(pte));
	WARN_ON(!pte_uffd_wp(none) != !pte_uffd_wp(pte));
	WARN_ON(!pte_soft_dirty(none) != !pte_soft_dirty(pte));

	/* Changes of the entry are the same with and without it. */
	for (bits = 0; bits <= ALL_BITS; bits++) {
		pte_t changed = pte_mkbits(none, bits);

		WARN_ON(!pte_metadata_none(changed));
		WARN_ON(!pte_same(pte_mkaccessible(changed),
				  pte_mkbits(pte, bits)));
	}

	/* A new protection is set without it; set_ptes() puts it back. */
	for (i = 0; i < ARRAY_SIZE(prot); i++) {
		WARN_ON(pte_metadata_none(pte_modify(none, prot[i])));
		WARN_ON(!pte_same(pte_modify(none, prot[i]),
				  pte_modify(pte, prot[i])));
	}
}

static void __init pte_metadata_none_tests(unsigned long pfn,
					   unsigned long flags)
{
	pte_t pte = pfn_pte(pfn, vm_get_page_prot(flags | VM_MTE));
	unsigned int bits;

	/* Only what can be accessed is ever metadata-none. */
	if (!(flags & VM_ACCESS_FLAGS))
		return;

	pr_debug("Validating PTE metadata none\n");
	for (bits = 0; bits <= ALL_BITS; bits++)
		pte_metadata_none_test(pte_mkbits(pte, bits));
}

/* What uses the same bits for another purpose must not look like it. */
static void __init pte_metadata_other_tests(unsigned long pfn)
{
	swp_entry_t entry = swp_entry((1UL << MAX_SWAPFILES_SHIFT) - 1, ~0UL);
	pte_t pte = pfn_pte(pfn, vm_get_page_prot(VM_NONE));

	pr_debug("Validating PTE not metadata none\n");
	WARN_ON(pte_metadata_none(pte));
	WARN_ON(pte_metadata_none(pte_mkdirty(pte_mkuffd_wp(pte))));

	pte = swp_entry_to_pte(entry);
	WARN_ON(pte_metadata_none(pte));
	pte = pte_swp_mkexclusive(pte_swp_mkuffd_wp(pte_swp_mksoft_dirty(pte)));
	WARN_ON(pte_metadata_none(pte));

	entry = migration_entry(pfn);
	WARN_ON(pte_metadata_none(swp_entry_to_pte(entry)));
}

#ifdef CONFIG_TRANSPARENT_HUGEPAGE
static pmd_t __init pmd_mkbits(pmd_t pmd, unsigned int bits)
{
	pmd = bits & OLD ? pmd_mkold(pmd) : pmd_mkyoung(pmd);
	pmd = bits & DIRTY ? pmd_mkdirty(pmd) : pmd_mkclean(pmd);
	if (bits & WRPROTECT)
		pmd = pmd_wrprotect(pmd);
	if (bits & UFFD_WP)
		pmd = pmd_mkuffd_wp(pmd);
	if (bits & SOFT_DIRTY)
		pmd = pmd_mksoft_dirty(pmd);
	return pmd;
}

/* As pte_metadata_none_test(). */
static void __init pmd_metadata_none_test(pmd_t pmd)
{
	const pgprot_t prot[] = {
		vm_get_page_prot(VM_ACCESS_FLAGS),
		vm_get_page_prot(VM_NONE),
		vm_get_page_prot(VM_SHARED | VM_READ | VM_WRITE | VM_MTE),
	};
	pmd_t none = pmd_mkmetadata_none(pmd);
	unsigned int bits, i;

	WARN_ON(pmd_metadata_none(pmd));
	WARN_ON(!pmd_metadata_none(none));
	WARN_ON(!pmd_same(pmd_mkaccessible(none), pmd));

	WARN_ON(!pmd_present(none));
	WARN_ON(!pmd_trans_huge(none));
	WARN_ON(!pmd_leaf(none));
	WARN_ON(pmd_none(none));
	WARN_ON(pmd_protnone(none));
	WARN_ON(pmd_access_permitted(none, false));

	WARN_ON(pmd_pfn(none) != pmd_pfn(pmd));
	WARN_ON(!pmd_young(none) != !pmd_young(pmd));
	WARN_ON(!pmd_dirty(none) != !pmd_dirty(pmd));
	WARN_ON(!pmd_write(none) != !pmd_write(pmd));
	WARN_ON(!pmd_uffd_wp(none) != !pmd_uffd_wp(pmd));
	WARN_ON(!pmd_soft_dirty(none) != !pmd_soft_dirty(pmd));

	for (bits = 0; bits <= ALL_BITS; bits++) {
		pmd_t changed = pmd_mkbits(none, bits);

		WARN_ON(!pmd_metadata_none(changed));
		WARN_ON(!pmd_same(pmd_mkaccessible(changed),
				  pmd_mkbits(pmd, bits)));
	}

	for (i = 0; i < ARRAY_SIZE(prot); i++) {
		WARN_ON(pmd_metadata_none(pmd_modify(none, prot[i])));
		WARN_ON(!pmd_same(pmd_modify(none, prot[i]),
				  pmd_modify(pmd, prot[i])));
	}
}

static void __init pmd_metadata_none_tests(unsigned long pfn,
					   unsigned long flags)
{
	unsigned int bits;
	pmd_t pmd;

	if (!(flags & VM_ACCESS_FLAGS) || !has_transparent_hugepage())
		return;

	pr_debug("Validating PMD metadata none\n");
	pmd = pmd_mkhuge(pfn_pmd(pfn,
				 vm_get_page_prot(flags | VM_MTE)));
	for (bits = 0; bits <= ALL_BITS; bits++)
		pmd_metadata_none_test(pmd_mkbits(pmd, bits));

	/* A split, a migration and a removal make it invalid first. */
	WARN_ON(!pmd_metadata_none(pmd_mkinvalid(pmd_mkmetadata_none(pmd))));
	WARN_ON(pmd_metadata_none(pmd_mkinvalid(pmd)));
}

static void __init pmd_metadata_other_tests(unsigned long pfn)
{
	pmd_t pmd = pmd_mkhuge(pfn_pmd(pfn,
				       vm_get_page_prot(VM_NONE)));
	swp_entry_t entry = migration_entry(pfn);

	if (!has_transparent_hugepage())
		return;

	pr_debug("Validating PMD not metadata none\n");
	WARN_ON(pmd_metadata_none(pmd));
	WARN_ON(pmd_metadata_none(pmd_mkdirty(pmd_mkuffd_wp(pmd))));
	if (!IS_ENABLED(CONFIG_ARCH_ENABLE_THP_MIGRATION))
		return;
	pmd = pmd_swp_mkuffd_wp(swp_entry_to_pmd(entry));
	WARN_ON(pmd_metadata_none(pmd));
}
#else
static void __init pmd_metadata_none_tests(unsigned long pfn, unsigned long flags) { }
static void __init pmd_metadata_other_tests(unsigned long pfn) { }
#endif /* CONFIG_TRANSPARENT_HUGEPAGE */

/**
 * metadata_none_tests - test metadata-none entries as values
 * @pte_pfn: pfn that a PTE may have; its page is not accessed
 * @pmd_pfn: pfn that a PMD may have, likewise
 *
 * Context: at boot, may sleep.
 */
void __init metadata_none_tests(unsigned long pte_pfn, unsigned long pmd_pfn)
{
	unsigned long flags;

	for (flags = VM_NONE; flags <= ALL_PROTECTIONS; flags++) {
		pte_metadata_none_tests(pte_pfn, flags);
		pmd_metadata_none_tests(pmd_pfn, flags);
	}
	pte_metadata_other_tests(pte_pfn);
	pmd_metadata_other_tests(pmd_pfn);
}

/**
 * metadata_none_advanced_tests - test a metadata-none PTE in a page table
 * @vma: a VMA of a mm that nobody else uses
 * @addr: address, in bytes
 * @ptep: the empty PTE of @addr, or NULL if there is none
 * @pfn: pfn of a page, ULONG_MAX if there is none
 *
 * Context: with the lock of the page table held, if @ptep is not NULL.
 */
void __init metadata_none_advanced_tests(struct vm_area_struct *vma,
					 unsigned long addr, pte_t *ptep,
					 unsigned long pfn)
{
	struct mm_struct *mm = vma->vm_mm;
	pte_t pte, none;

	if (pfn == ULONG_MAX)
		return;

	pr_debug("Validating PTE metadata none advanced\n");
	if (WARN_ON(!ptep))
		return;

	pte = pte_mkyoung(pfn_pte(pfn, vm_get_page_prot(VM_ACCESS_FLAGS)));
	none = pte_mkmetadata_none(pte);
	set_pte_at(mm, addr, ptep, none);
	flush_dcache_page(pfn_to_page(pfn));
	WARN_ON(!pte_same(ptep_get(ptep), none));
	WARN_ON(!ptep_test_and_clear_young(vma, addr, ptep));
	ptep_set_wrprotect(mm, addr, ptep);
	WARN_ON(!pte_same(ptep_get(ptep), pte_wrprotect(pte_mkold(none))));
	WARN_ON(!pte_same(ptep_get_and_clear(mm, addr, ptep),
			  pte_wrprotect(pte_mkold(none))));
	WARN_ON(!pte_none(ptep_get(ptep)));
}
