// SPDX-License-Identifier: GPL-2.0-only
/*
 * Delay a kernel function of one program, so that a test can force a race.
 *
 * Written to /sys/kernel/debug/mte_tag_storage/delay:
 *
 *	FUNCTION USEC [COMM]	whenever FUNCTION returns in a task named COMM,
 *				or in any without COMM, wait for USEC
 *	(an empty line)		no more
 *
 * The task waits busily with the locks that it holds there, not preemptible;
 * the other CPUs go on. Reading the file gives what is set and how often a task
 * waited, by which a test sees that its race could happen.
 */

#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/init.h>
#include <linux/kprobes.h>
#include <linux/mutex.h>
#include <linux/nmi.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/time64.h>
#include <linux/uaccess.h>

#define MAX_USEC	(10 * USEC_PER_SEC)
#define STEP_USEC	1000
#define MAX_ACTIVE	64

/**
 * struct delay - what is delayed now
 * @probe: on the function, registered if that has a name
 * @function: its name
 * @comm: of the tasks that are delayed, or empty
 * @usec: for how long
 * @hits: how often a task was
 */
struct delay {
	struct kretprobe probe;
	char function[KSYM_NAME_LEN];
	char comm[TASK_COMM_LEN];
	unsigned int usec;
	atomic_t hits;
};

static struct delay delay;
static DEFINE_MUTEX(delay_mutex);

static int delay_return(struct kretprobe_instance *instance,
			struct pt_regs *regs)
{
	unsigned int left = delay.usec;

	if (delay.comm[0] && strcmp(delay.comm, current->comm))
		return 0;

	atomic_inc(&delay.hits);
	for (; left > STEP_USEC; left -= STEP_USEC) {
		udelay(STEP_USEC);
		touch_nmi_watchdog();
	}
	udelay(left);
	return 0;
}

NOKPROBE_SYMBOL(delay_return);

static void delay_clear(void)
{
	if (delay.function[0])
		unregister_kretprobe(&delay.probe);
	memset(&delay, 0, sizeof(delay));
}

static int delay_set(const char *function, unsigned int usec, const char *comm)
{
	int ret;

	if (usec > MAX_USEC ||
	    strscpy(delay.function, function) < 0 ||
	    strscpy(delay.comm, comm) < 0) {
		ret = -EINVAL;
		goto clear;
	}
	delay.usec = usec;
	delay.probe = (struct kretprobe) {
		.kp.symbol_name = delay.function,
		.handler = delay_return,
		.maxactive = MAX_ACTIVE,
	};
	ret = register_kretprobe(&delay.probe);
	if (!ret)
		return 0;
clear:
	memset(&delay, 0, sizeof(delay));
	return ret;
}

/* Takes @line apart. */
static int delay_parse(char *line)
{
	char *function, *usec, *comm;
	unsigned int value;
	int ret;

	line = strim(line);
	delay_clear();
	if (!*line)
		return 0;

	function = strsep(&line, " ");
	usec = strsep(&line, " ");
	comm = line ? line : "";
	if (!usec)
		return -EINVAL;
	ret = kstrtouint(usec, 10, &value);
	if (ret)
		return ret;
	return delay_set(function, value, comm);
}

static ssize_t delay_write(struct file *file, const char __user *from,
			   size_t count, loff_t *pos)
{
	char *line;
	int ret;

	if (count > PAGE_SIZE)
		return -EINVAL;
	line = memdup_user_nul(from, count);
	if (IS_ERR(line))
		return PTR_ERR(line);

	mutex_lock(&delay_mutex);
	ret = delay_parse(line);
	mutex_unlock(&delay_mutex);
	kfree(line);
	return ret ?: count;
}

static int delay_show(struct seq_file *m, void *unused)
{
	mutex_lock(&delay_mutex);
	if (delay.function[0])
		seq_printf(m, "function=%s usec=%u comm=%s hits=%d missed=%d\n",
			   delay.function, delay.usec, delay.comm,
			   atomic_read(&delay.hits), delay.probe.nmissed);
	mutex_unlock(&delay_mutex);
	return 0;
}

DEFINE_SHOW_STORE_ATTRIBUTE(delay);

static int __init mte_tag_storage_delay_init(void)
{
	struct dentry *dir = debugfs_lookup("mte_tag_storage", NULL);

	/* There is none without tag storage in use. */
	if (!dir)
		return 0;
	debugfs_create_file("delay", 0600, dir, NULL, &delay_fops);
	dput(dir);
	return 0;
}
late_initcall_sync(mte_tag_storage_delay_init);
