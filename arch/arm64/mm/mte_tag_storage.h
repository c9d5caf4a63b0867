/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * MTE tag storage: what its files share.
 */
#ifndef __ARM64_MM_MTE_TAG_STORAGE_H
#define __ARM64_MM_MTE_TAG_STORAGE_H

#include <linux/init.h>
#include <linux/types.h>

#include "mte_tag_storage_map.h"

/* Firmware describes one region per range of memory; there are few of these. */
#define MTE_TAG_STORAGE_REGIONS	32

#define MTE_TAG_STORAGE_PATH	96

/**
 * struct tag_storage_node - a region as found in the device tree
 * @desc: what the tree says
 * @map: the same in pages
 * @path: the node, for messages
 */
struct tag_storage_node {
	struct tag_map_desc desc;
	struct tag_map map;
	char path[MTE_TAG_STORAGE_PATH];
};

extern struct tag_storage_node tag_storage_nodes[MTE_TAG_STORAGE_REGIONS];
extern unsigned int nr_tag_storage_nodes;

#endif /* __ARM64_MM_MTE_TAG_STORAGE_H */
