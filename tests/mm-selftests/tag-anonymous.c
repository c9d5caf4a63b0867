// SPDX-License-Identifier: GPL-2.0-only
/*
 * Put PROT_MTE on every writable anonymous mapping of a program that knows
 * nothing of tags, if TAG_ANONYMOUS is in its environment.
 *
 * scripts/mm-tests links this into the mm selftests, which are static, with the
 * linker's --wrap: calls of mmap() and mprotect(), those inside the C library
 * for heaps and stacks of threads as well, come here. Mappings of files are left
 * alone, and those that cannot have tags: huge pages of hugetlbfs, and what is
 * mapped by a system call of the program's own. Tags stay zero and tag checks
 * off, so results only change where the kernel treats tagged memory otherwise.
 */
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/types.h>

#ifndef PROT_MTE
#define PROT_MTE 0x20
#endif

static int tagging(void)
{
	static int on = -1;

	if (on < 0)
		on = !!getenv("TAG_ANONYMOUS");
	return on;
}

static int mmap_prot(int prot, int flags)
{
	if (!tagging() || !(prot & PROT_WRITE) || !(flags & MAP_ANONYMOUS) ||
	    (flags & MAP_HUGETLB))
		return prot;
	return prot | PROT_MTE;
}

#define WRAP_MMAP(name)							\
void *__real_##name(void *addr, size_t len, int prot, int flags,	\
		    int fd, off_t off);					\
void *__wrap_##name(void *addr, size_t len, int prot, int flags,	\
		    int fd, off_t off)					\
{									\
	return __real_##name(addr, len, mmap_prot(prot, flags), flags,	\
			     fd, off);					\
}

/* A range with a mapping that cannot have tags fails, so do it without then. */
#define WRAP_MPROTECT(name)						\
int __real_##name(void *addr, size_t len, int prot);			\
int __wrap_##name(void *addr, size_t len, int prot)			\
{									\
	if (tagging() && (prot & PROT_WRITE) &&				\
	    !__real_##name(addr, len, prot | PROT_MTE))			\
		return 0;						\
	return __real_##name(addr, len, prot);				\
}

WRAP_MMAP(mmap)
WRAP_MMAP(mmap64)
WRAP_MMAP(__mmap)
WRAP_MMAP(__mmap64)
WRAP_MPROTECT(mprotect)
WRAP_MPROTECT(__mprotect)
