// SPDX-License-Identifier: GPL-2.0-only
/*
 * MTE tag storage: regions in the device tree, and their memory during boot.
 *
 * Regions are read from the flattened tree as soon as memblock knows the
 * memory, and before anything is allocated: no early allocation, CMA area or
 * crash kernel may land in tag storage. Nothing here decides whether they are
 * used, see mte_tag_storage.c; but a region that is described badly is refused
 * here, with one line that says why, and its memory is then left alone.
 *
 * The binding is
 * Documentation/devicetree/bindings/reserved-memory/arm,mte-tag-storage.yaml.
 * In its one form the storage is in a memory node and under /reserved-memory;
 * in the other it is in neither, and is added to memblock here.
 *
 * Order: mte_tag_storage_discover(), arm64_memblock_init(), which may clip any
 * memory, then mte_tag_storage_begin_map() and mte_tag_storage_end_map() around
 * the creation of the linear map.
 */

#define pr_fmt(fmt) "mte_tag_storage: " fmt

#include <linux/crash_dump.h>
#include <linux/initrd.h>
#include <linux/libfdt.h>
#include <linux/memblock.h>
#include <linux/mm.h>
#include <linux/numa_memblks.h>
#include <linux/of_fdt.h>
#include <linux/sort.h>
#include <linux/string.h>

#include <asm/mte_tag_storage.h>
#include <asm/sections.h>

#include "mte_tag_storage.h"

#define COMPATIBLE	"arm,mte-tag-storage"

struct tag_storage_node tag_storage_nodes[MTE_TAG_STORAGE_REGIONS] __initdata;
unsigned int nr_tag_storage_nodes __initdata;

static bool disabled __initdata;

static int __init parse_disabled(char *arg)
{
	if (arg && !strcmp(arg, "off"))
		disabled = true;
	return 0;
}
early_param("mte_tag_storage", parse_disabled);

static const char * __init fault_text(enum tag_map_fault fault)
{
	switch (fault) {
	case TAG_MAP_OK:
		return NULL;
	case TAG_MAP_BAD_BLOCK_SIZE:
		return "bad block-size";
	case TAG_MAP_COVERS_NOTHING:
		return "covers no memory";
	case TAG_MAP_NOT_ALIGNED:
		return "not page aligned";
	case TAG_MAP_BAD_SIZE:
		return "size is not 1/32 of its memory";
	case TAG_MAP_OVERLAPS_DATA:
		return "overlaps memory";
	case TAG_MAP_OVERLAPS_REGION:
		return "overlaps another region";
	}
	return "not understood";
}

/*
 * Hardware may write to what is described as tag storage, however badly. It is
 * not given away, unless that cannot be meant: a machine without its memory
 * would not boot at all.
 */
static void __init refuse(const char *path, const char *why,
			  const struct tag_map_desc *desc)
{
	pr_err("%s: %s; region left unused\n", path, why);
	if (desc->tag_size <= memblock_phys_mem_size() / 16)
		memblock_reserve(desc->tag_base, desc->tag_size);
}

/* What was added to memory is removed again, so that nobody maps it tagged. */
static void __init drop_node(unsigned int i)
{
	const struct tag_storage_node *node = &tag_storage_nodes[i];

	if (node->added)
		memblock_remove(node->desc.tag_base,
				node->desc.tag_size & PAGE_MASK);
	nr_tag_storage_nodes--;
	memmove(&tag_storage_nodes[i], &tag_storage_nodes[i + 1],
		(nr_tag_storage_nodes - i) * sizeof(tag_storage_nodes[0]));
}

/* A property of one address and one size, in the cells of the root node. */
static const char * __init read_range(int node, u64 *base, u64 *size,
				      const char *several)
{
	const void *fdt = initial_boot_params;
	const __be32 *cell;
	int len, want = (dt_root_addr_cells + dt_root_size_cells) * 4;

	cell = fdt_getprop(fdt, node, "reg", &len);
	if (!cell)
		return "no reg";
	if (len != want)
		return len && len % want == 0 ? several : "bad reg";
	*base = dt_mem_next_cell(dt_root_addr_cells, &cell);
	*size = dt_mem_next_cell(dt_root_size_cells, &cell);
	return NULL;
}

static const char * __init read_u32(int node, const char *name, u32 *value,
				    const char *none, const char *bad)
{
	const void *fdt = initial_boot_params;
	const fdt32_t *cell;
	int len;

	cell = fdt_getprop(fdt, node, name, &len);
	if (!cell)
		return none;
	if (len != sizeof(*cell))
		return bad;
	*value = fdt32_to_cpu(*cell);
	return NULL;
}

static const char * __init read_memory(int node, bool reserved,
				       struct tag_map_desc *desc, int *nid)
{
	static const char none[] __initconst = "no memory phandle";
	const void *fdt = initial_boot_params;
	const char *type, *why;
	u32 phandle, id;
	int memory;

	why = read_u32(node, reserved ? "tagged-memory" : "memory", &phandle,
		       none, none);
	if (why)
		return why;

	memory = fdt_node_offset_by_phandle(fdt, phandle);
	type = memory < 0 ? NULL :
		fdt_getprop(fdt, memory, "device_type", NULL);
	if (!type || strcmp(type, "memory"))
		return "memory phandle is not a memory node";

	*nid = read_u32(memory, "numa-node-id", &id, none, none) ||
	       id >= MAX_NUMNODES ? NUMA_NO_NODE : id;
	why = read_range(memory, &desc->data_base, &desc->data_size,
			 "memory node has several ranges");
	return why && strstr(why, "reg") ? "covers no memory" : why;
}

static const char * __init read_node(int node, bool reserved,
				     struct tag_map_desc *desc, int *nid)
{
	const char *why;
	u32 block_size;

	why = read_range(node, &desc->tag_base, &desc->tag_size, "bad reg");
	if (!why)
		why = read_u32(node, "block-size", &block_size,
			       "no block-size", "bad block-size");
	if (!why)
		why = read_memory(node, reserved, desc, nid);
	if (!why)
		desc->block_size = block_size;
	return why;
}

static bool __init overlap(u64 a, u64 a_size, u64 b, u64 b_size)
{
	return a < b + b_size && b < a + a_size;
}

/* A node may reserve several ranges. */
static bool __init overlaps_node(u64 base, u64 size, int node)
{
	int len, want = (dt_root_addr_cells + dt_root_size_cells) * 4;
	const __be32 *cell;
	u64 start, length;

	cell = fdt_getprop(initial_boot_params, node, "reg", &len);
	for (; cell && len >= want; len -= want) {
		start = dt_mem_next_cell(dt_root_addr_cells, &cell);
		length = dt_mem_next_cell(dt_root_size_cells, &cell);
		if (length && overlap(base, size, start, length))
			return true;
	}
	return false;
}

/* What memblock will be told to reserve only later. */
static bool __init overlaps_later_reservation(u64 base, u64 size, int self)
{
	const void *fdt = initial_boot_params;
	int i, parent, child;
	u64 start, length;

	if (overlap(base, size, __pa_symbol(_text), _end - _text))
		return true;
	if (phys_initrd_size &&
	    overlap(base, size, phys_initrd_start, phys_initrd_size))
		return true;

	for (i = 0; i < fdt_num_mem_rsv(fdt); i++) {
		if (!fdt_get_mem_rsv(fdt, i, &start, &length) && length &&
		    overlap(base, size, start, length))
			return true;
	}

	parent = fdt_path_offset(fdt, "/reserved-memory");
	fdt_for_each_subnode(child, fdt, parent) {
		/* Tag storage against tag storage is told more exactly. */
		if (child == self ||
		    !fdt_node_check_compatible(fdt, child, COMPATIBLE))
			continue;
		if (overlaps_node(base, size, child))
			return true;
	}
	return false;
}

/* Is all of a range memory, be it in several regions for their attributes? */
static bool __init range_is_memory(u64 base, u64 size)
{
	struct memblock_region *r;
	u64 found = 0;

	for_each_mem_region(r) {
		u64 start = max_t(u64, base, r->base);
		u64 end = min_t(u64, base + size, r->base + r->size);

		if (start < end)
			found += end - start;
	}
	return found == size;
}

/* Both ranges as whole pages, which is what memblock has of them. */
static bool __init memory_complete(const struct tag_map_desc *desc,
				   const struct tag_map *map, bool storage)
{
	if (!range_is_memory(PFN_PHYS(map->data_start),
			     PFN_PHYS(map->data_pages)))
		return false;
	return !storage || range_is_memory(desc->tag_base,
					   desc->tag_size & PAGE_MASK);
}

static const char * __init check_memory(const struct tag_map_desc *desc,
					const struct tag_map *map,
					bool reserved, int node)
{
	if (!reserved && memblock_overlaps_region(&memblock.memory,
						  desc->tag_base,
						  desc->tag_size))
		return "overlaps memory";
	if (!memory_complete(desc, map, reserved))
		return "outside of usable memory";
	if (memblock_is_region_reserved(desc->tag_base, desc->tag_size) ||
	    overlaps_later_reservation(desc->tag_base, desc->tag_size, node))
		return "overlaps reserved memory";
	return NULL;
}

/* Either of two may be the wrong one, so neither is used. */
static const char * __init check_conflicts(const struct tag_map_desc *desc)
{
	enum tag_map_fault fault, first = TAG_MAP_OK;
	unsigned int i;

	for (i = 0; i < nr_tag_storage_nodes; i++) {
		struct tag_storage_node *other = &tag_storage_nodes[i];

		fault = tag_map_desc_conflict(&other->desc, desc);
		if (first == TAG_MAP_OK)
			first = fault;
		if (fault == TAG_MAP_OK || other->unused)
			continue;
		pr_info("%s: left alone as well, for the next message\n",
			other->path);
		other->unused = true;
	}
	return fault_text(first);
}

static void __init add_node(int node)
{
	const void *fdt = initial_boot_params;
	char path[MTE_TAG_STORAGE_PATH];
	struct tag_map_desc desc = {};
	const char *why;
	int nid = NUMA_NO_NODE;
	struct tag_map map;
	bool reserved;

	if (fdt_get_path(fdt, node, path, sizeof(path)))
		strscpy(path, fdt_get_name(fdt, node, NULL) ?: "?");
	reserved = strstarts(path, "/reserved-memory/");

	why = read_node(node, reserved, &desc, &nid);
	if (!why)
		why = fault_text(tag_map_init(&map, &desc, PAGE_SIZE));
	if (why) {
		refuse(path, why, &desc);
		return;
	}

	why = check_conflicts(&desc);
	if (!why)
		why = check_memory(&desc, &map, reserved, node);
	if (!why && nr_tag_storage_nodes == MTE_TAG_STORAGE_REGIONS)
		why = "too many regions";
	if (why)
		refuse(path, why, &desc);
	if (nr_tag_storage_nodes == MTE_TAG_STORAGE_REGIONS)
		return;

	if (!why) {
		if (!reserved)
			memblock_add(desc.tag_base, desc.tag_size & PAGE_MASK);
		memblock_reserve(desc.tag_base, desc.tag_size & PAGE_MASK);
	}

	/* If it is not used, those that follow may be in conflict with it still. */
	tag_storage_nodes[nr_tag_storage_nodes] = (struct tag_storage_node) {
		.desc = desc,
		.map = map,
		.nid = nid,
		.added = !why && !reserved,
		.unused = why,
	};
	strscpy(tag_storage_nodes[nr_tag_storage_nodes++].path, path);
}

static bool __init node_available(int node)
{
	const char *status = fdt_getprop(initial_boot_params, node, "status",
					 NULL);

	return !status || !strcmp(status, "okay") || !strcmp(status, "ok");
}

static int __init compare_nodes(const void *a, const void *b)
{
	const struct tag_storage_node *x = a, *y = b;

	return x->map.data_start < y->map.data_start ? -1 : 1;
}

/**
 * mte_tag_storage_discover - find the regions and reserve their memory
 *
 * Context: early boot, after memblock has the memory of the device tree or of
 * EFI and before anything is allocated from it.
 */
void __init mte_tag_storage_discover(void)
{
	const void *fdt = initial_boot_params;
	bool found = false;
	unsigned int i = 0;
	int node;

	if (disabled) {
		pr_info("off: mte_tag_storage=off\n");
		return;
	}
	/* What is there belongs to the kernel that has crashed. */
	if (is_kdump_kernel()) {
		pr_info("off: crash kernel\n");
		return;
	}

	for (node = fdt_node_offset_by_compatible(fdt, -1, COMPATIBLE);
	     node >= 0;
	     node = fdt_node_offset_by_compatible(fdt, node, COMPATIBLE)) {
		if (!node_available(node))
			continue;
		found = true;
		add_node(node);
	}

	while (i < nr_tag_storage_nodes) {
		if (tag_storage_nodes[i].unused)
			drop_node(i);
		else
			i++;
	}
	if (!found)
		pr_info("no tag storage region\n");
	sort(tag_storage_nodes, nr_tag_storage_nodes,
	     sizeof(tag_storage_nodes[0]), compare_nodes, NULL);
}

/**
 * mte_tag_storage_range - the regions to map
 * @i: index, from 0
 * @start: set to the first byte of tag storage
 * @end: set behind its last byte
 *
 * Context: early boot.
 * Return: false if there is no region @i.
 */
bool __init mte_tag_storage_range(unsigned int i, phys_addr_t *start,
				  phys_addr_t *end)
{
	const struct tag_storage_node *node = &tag_storage_nodes[i];

	if (i >= nr_tag_storage_nodes)
		return false;
	*start = node->desc.tag_base;
	*end = *start + (node->desc.tag_size & PAGE_MASK);
	return true;
}

#ifdef CONFIG_NUMA_MEMBLKS
/**
 * numa_add_arch_memblks - the nodes of tag storage that is in no memory node
 *
 * It is on the node of its memory; without one, it would have none at all.
 *
 * Context: early boot, called for a device tree with NUMA.
 * Return: 0, or the error of numa_add_memblk().
 */
int __init numa_add_arch_memblks(void)
{
	phys_addr_t start, end;
	unsigned int i;
	int r = 0;

	for (i = 0; !r && mte_tag_storage_range(i, &start, &end); i++) {
		const struct tag_storage_node *node = &tag_storage_nodes[i];

		if (node->added && node->nid != NUMA_NO_NODE)
			r = numa_add_memblk(node->nid, start, end);
	}
	return r;
}
#endif

/**
 * mte_tag_storage_begin_map - keep tag storage out of the linear map's loop
 *
 * All memory is mapped Normal-Tagged there. Tag storage has no tags of its own
 * and must be mapped Normal, or the CPU could fetch tags for it. Memory of a
 * region may have been clipped meanwhile (mem=, the reach of the linear map or
 * of physical addresses): the region is then left reserved.
 *
 * Context: early boot.
 */
void __init mte_tag_storage_begin_map(void)
{
	phys_addr_t start, end;
	unsigned int i = 0;

	while (mte_tag_storage_range(i, &start, &end)) {
		struct tag_storage_node *node = &tag_storage_nodes[i];

		if (memory_complete(&node->desc, &node->map, true)) {
			memblock_mark_nomap(start, end - start);
			i++;
		} else {
			refuse(node->path, "outside of usable memory",
			       &node->desc);
			drop_node(i);
		}
	}
}

/**
 * mte_tag_storage_end_map - the regions are mapped now
 *
 * Context: early boot.
 */
void __init mte_tag_storage_end_map(void)
{
	phys_addr_t start, end;
	unsigned int i;

	for (i = 0; mte_tag_storage_range(i, &start, &end); i++)
		memblock_clear_nomap(start, end - start);
}
