/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * MTE tag storage: what its files share.
 */
#ifndef __ARM64_MM_MTE_TAG_STORAGE_H
#define __ARM64_MM_MTE_TAG_STORAGE_H

#include <linux/atomic.h>
#include <linux/init.h>
#include <linux/memory_metadata.h>
#include <linux/types.h>

#include "mte_tag_storage_map.h"

/* Firmware describes one region per range of memory; there are few of these. */
#define MTE_TAG_STORAGE_REGIONS	32

#define MTE_TAG_STORAGE_PATH	96

/**
 * struct tag_storage_node - a region as found in the device tree
 * @desc: what the tree says
 * @map: the same in pages
 * @nid: the NUMA node of its memory, or %NUMA_NO_NODE
 * @added: it was in no memory node, and is in memblock by us
 * @unused: kept only to be compared with those that follow
 * @path: the device tree node, for messages
 */
struct tag_storage_node {
	struct tag_map_desc desc;
	struct tag_map map;
	int nid;
	bool added;
	bool unused;
	char path[MTE_TAG_STORAGE_PATH];
};

extern struct tag_storage_node tag_storage_nodes[MTE_TAG_STORAGE_REGIONS];
extern unsigned int nr_tag_storage_nodes;

/*
 * What tag_block.holders says apart from a number of pages. A block that is free
 * although it could not be emptied has the time of that in its lower 30 bits.
 */
enum {
	BLOCK_FREE	= 0,
	BLOCK_BUSY	= -1,
	BLOCK_LINGERS	= -2,
	BLOCK_FAILED	= INT_MIN,
};

/**
 * struct tag_block - a tag block
 * @holders: pages that hold it, or one of the states above
 */
struct tag_block {
	atomic_t holders;
};

/* Is the block out of the allocator, whether a page holds it or not? */
static inline bool block_state_reserved(int holders)
{
	return holders > 0 || holders == BLOCK_LINGERS;
}

/* Does the block belong to the page allocator? */
static inline bool block_state_free(int holders)
{
	return holders == BLOCK_FREE || holders < BLOCK_LINGERS;
}

/**
 * struct tag_region - a region in use; its arithmetic is in tag_maps[]
 * @blocks: its tag blocks
 * @held: a bit per data page
 * @lingers: a bit per block: it has lost its last holder
 * @path: its node in the device tree
 * @pinned: blocks that were never given to the page allocator
 */
struct tag_region {
	struct tag_block *blocks;
	unsigned long *held;
	unsigned long *lingers;
	const char *path;
	unsigned long pinned;
};

extern struct tag_map tag_maps[MTE_TAG_STORAGE_REGIONS];
extern unsigned int nr_tag_regions;

#ifdef CONFIG_ARM64_MTE_TAG_STORAGE
void mte_tag_storage_pack_soon(void);
bool mte_tag_storage_take_ahead(const struct tag_map *map, unsigned long block,
				bool *moved);
void mte_tag_storage_ahead_begin(const struct tag_map *map, unsigned long block);
void mte_tag_storage_ahead_joined(const struct tag_map *map,
				  unsigned long block);
void mte_tag_storage_ahead_init(void);
void __mte_tag_storage_unmap(unsigned long addr, unsigned long nr);

/**
 * mte_tag_storage_unmap - pages are about to leave the linear map
 * @addr: address of the first in the linear map
 * @nr: number of pages
 *
 * Their tags cannot be cleaned by address any more then.
 *
 * Context: any.
 */
static inline void mte_tag_storage_unmap(unsigned long addr, unsigned long nr)
{
	if (memory_metadata_enabled())
		__mte_tag_storage_unmap(addr, nr);
}

#else
static inline void mte_tag_storage_unmap(unsigned long addr, unsigned long nr)
{
}
#endif /* CONFIG_ARM64_MTE_TAG_STORAGE */

#endif /* __ARM64_MM_MTE_TAG_STORAGE_H */
