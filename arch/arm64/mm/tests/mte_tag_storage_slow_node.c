// SPDX-License-Identifier: GPL-2.0-only
/*
 * Make a memory node slow, so that a test can demote tagged pages to it.
 *
 * With mte_tag_storage_slow_node.node=N on the command line the memory of node N
 * counts as slower than that of the others, and reclaim of these moves pages to
 * it once /sys/kernel/mm/numa/demotion_enabled is set. Machines tell what is
 * slow by an ACPI table; a device tree has no words for it.
 *
 * See mm/memory-tiers.c.
 */

#include <linux/init.h>
#include <linux/memory-tiers.h>
#include <linux/moduleparam.h>
#include <linux/notifier.h>

/* As different as persistent memory is. */
#define SLOW_ADISTANCE	(MEMTIER_ADISTANCE_DRAM * 5)

static int node = NUMA_NO_NODE;
module_param(node, int, 0444);

static int slow_node_adistance(struct notifier_block *block, unsigned long nid,
			       void *data)
{
	int *adistance = data;

	if (node != (int)nid)
		return NOTIFY_OK;
	*adistance = SLOW_ADISTANCE;
	return NOTIFY_STOP;
}

static struct notifier_block slow_node_block = {
	.notifier_call = slow_node_adistance,
};

/* Before mm/memory-tiers.c looks for the first time. */
static int __init mte_tag_storage_slow_node_init(void)
{
	return register_mt_adistance_algorithm(&slow_node_block);
}
core_initcall(mte_tag_storage_slow_node_init);
