// SPDX-License-Identifier: GPL-2.0-only
/*
 * Inject failures into reserving metadata storage, separately for each way.
 *
 * See Documentation/fault-injection/fault-injection.rst.
 */

#include <linux/bits.h>
#include <linux/debugfs.h>
#include <linux/fault-inject.h>
#include <linux/memory_metadata.h>

static struct {
	struct fault_attr attr;
	u32 ways;
} fail_metadata = {
	.attr = FAULT_ATTR_INITIALIZER,
	.ways = BIT(METADATA_WAY_SHARED) | BIT(METADATA_WAY_BUDDY) |
		BIT(METADATA_WAY_MOVED) | BIT(METADATA_WAY_CONTIG),
};

/**
 * metadata_should_fail - whether a way to get hold of storage is to fail now
 * @way: the way
 *
 * Context: any.
 * Return: true if it is.
 */
bool metadata_should_fail(enum metadata_way way)
{
	return (READ_ONCE(fail_metadata.ways) & BIT(way)) &&
	       should_fail(&fail_metadata.attr, 1);
}

#ifdef CONFIG_FAULT_INJECTION_DEBUG_FS
static int __init fail_metadata_debugfs_init(void)
{
	struct dentry *dir;

	dir = fault_create_debugfs_attr("fail_metadata", NULL,
					&fail_metadata.attr);
	if (IS_ERR(dir))
		return PTR_ERR(dir);

	debugfs_create_x32("ways", S_IFREG | 0600, dir, &fail_metadata.ways);
	return 0;
}
late_initcall(fail_metadata_debugfs_init);
#endif /* CONFIG_FAULT_INJECTION_DEBUG_FS */
