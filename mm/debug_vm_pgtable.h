/* SPDX-License-Identifier: GPL-2.0-only */
/* The tests of debug_vm_pgtable.c that have a file of their own. */
#ifndef __MM_DEBUG_VM_PGTABLE_H
#define __MM_DEBUG_VM_PGTABLE_H

#include <linux/mm_types.h>

#ifdef CONFIG_MEMORY_METADATA
void metadata_none_tests(unsigned long pte_pfn, unsigned long pmd_pfn);
void metadata_none_advanced_tests(struct vm_area_struct *vma,
				  unsigned long addr, pte_t *ptep,
				  unsigned long pfn);
#else
static inline void metadata_none_tests(unsigned long pte_pfn,
				       unsigned long pmd_pfn)
{
}

static inline void metadata_none_advanced_tests(struct vm_area_struct *vma,
						unsigned long addr, pte_t *ptep,
						unsigned long pfn)
{
}
#endif /* CONFIG_MEMORY_METADATA */

#endif /* __MM_DEBUG_VM_PGTABLE_H */
