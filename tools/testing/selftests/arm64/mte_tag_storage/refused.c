// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is refused while tag storage is in use as memory, and is there where it
 * is not: MTE for virtual machines, and hibernation.
 *
 * A virtual machine without MTE goes on working, wherever its memory lies: one
 * runs with all of it in tag storage. That is emptied for tags of the host, and
 * the machine finds its memory elsewhere. It also runs on memory that is tagged
 * on the host, the tags of which it does not see.
 *
 * Wants a kernel with KVM and hibernation, on a CPU that has EL2.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

#include "ts_common.h"

#define KVM		"/dev/kvm"
#define POWER		"/sys/power/"
#define SNAPSHOT	"/dev/snapshot"

#define NR		64
#define SEED		1

/* Physical addresses of the virtual machine. Nothing is at the last one. */
#define GPA_CODE	0x10000UL
#define GPA_DATA	0x20000UL
#define GPA_EXIT	0x30000UL

#define ID_PFR1		ARM64_SYS_REG(3, 0, 0, 4, 1)
#define PFR1_MTE	(0xfUL << 8)

#define CORE_REG(reg)	(KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | \
			 KVM_REG_ARM_CORE_REG(reg))

/* Invert the x1 words at x0, and leave by an access to x2; then once more. */
static const unsigned int program[] = {
	0xaa0003e3,	/* 0:	mov	x3, x0 */
	0xaa0103e4,	/*	mov	x4, x1 */
	0xf9400065,	/* 1:	ldr	x5, [x3] */
	0xaa2503e5,	/*	mvn	x5, x5 */
	0xf8008465,	/*	str	x5, [x3], #8 */
	0xf1000484,	/*	subs	x4, x4, #1 */
	0x54ffff81,	/*	b.ne	1b */
	0xf9000045,	/*	str	x5, [x2] */
	0x17fffff8,	/*	b	0b */
};

struct machine {
	int kvm, vm, vcpu;
	struct kvm_run *run;
	size_t run_size;
};

static bool lent(void)
{
	return ts_meminfo("MetadataTotal") > 0;
}

static int no_kvm(void)
{
	return ts_skip("no " KVM ": %s", strerror(errno));
}

static void machine_end(struct machine *m)
{
	if (m->run)
		munmap(m->run, m->run_size);
	if (m->vcpu >= 0)
		close(m->vcpu);
	if (m->vm >= 0)
		close(m->vm);
	close(m->kvm);
}

/* A machine that has neither memory nor a CPU; false without KVM. */
static bool machine_begin(struct machine *m)
{
	*m = (struct machine) { .vm = -1, .vcpu = -1 };
	m->kvm = open(KVM, O_RDWR | O_CLOEXEC);
	if (m->kvm < 0)
		return false;
	m->vm = ioctl(m->kvm, KVM_CREATE_VM, 0);
	if (m->vm < 0)
		ksft_exit_fail_msg("KVM_CREATE_VM: %s\n", strerror(errno));
	return true;
}

static void machine_cpu(struct machine *m)
{
	struct kvm_vcpu_init init;

	m->vcpu = ioctl(m->vm, KVM_CREATE_VCPU, 0);
	if (m->vcpu < 0 || ioctl(m->vm, KVM_ARM_PREFERRED_TARGET, &init) ||
	    ioctl(m->vcpu, KVM_ARM_VCPU_INIT, &init))
		ksft_exit_fail_msg("no vcpu: %s\n", strerror(errno));
	m->run_size = ioctl(m->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	m->run = mmap(NULL, m->run_size, TS_RW, MAP_SHARED, m->vcpu, 0);
	if (m->run == MAP_FAILED)
		ksft_exit_fail_msg("mmap of a vcpu: %s\n", strerror(errno));
}

static void set_reg(struct machine *m, unsigned long id, unsigned long value)
{
	struct kvm_one_reg reg = { .id = id, .addr = (unsigned long)&value };

	if (ioctl(m->vcpu, KVM_SET_ONE_REG, &reg))
		ksft_exit_fail_msg("KVM_SET_ONE_REG: %s\n", strerror(errno));
}

static unsigned long get_reg(struct machine *m, unsigned long id)
{
	unsigned long value = 0;
	struct kvm_one_reg reg = { .id = id, .addr = (unsigned long)&value };

	if (ioctl(m->vcpu, KVM_GET_ONE_REG, &reg))
		ksft_exit_fail_msg("KVM_GET_ONE_REG: %s\n", strerror(errno));
	return value;
}

/* One page of this process is what the machine has at @gpa. */
static void set_memory(struct machine *m, unsigned int slot, unsigned long gpa,
		       char *page)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.guest_phys_addr = gpa,
		.memory_size = ts_psize,
		.userspace_addr = (unsigned long)page,
	};

	if (ioctl(m->vm, KVM_SET_USER_MEMORY_REGION, &region))
		ksft_exit_fail_msg("KVM_SET_USER_MEMORY_REGION: %s\n",
				   strerror(errno));
}

/* A machine that is about to begin with the program. */
static void machine_make(struct machine *m, char *code, char *data)
{
	if (!machine_begin(m))
		ksft_exit_fail_msg("open of " KVM ": %s\n", strerror(errno));
	memcpy(code, program, sizeof(program));
	set_memory(m, 0, GPA_CODE, code);
	set_memory(m, 1, GPA_DATA, data);
	machine_cpu(m);
	set_reg(m, CORE_REG(regs.pc), GPA_CODE);
	set_reg(m, CORE_REG(regs.regs[0]), GPA_DATA);
	set_reg(m, CORE_REG(regs.regs[1]), ts_psize / sizeof(long));
	set_reg(m, CORE_REG(regs.regs[2]), GPA_EXIT);
}

/* Let the machine invert its data once. */
static size_t machine_run(struct machine *m)
{
	int ret;

	do {
		ret = ioctl(m->vcpu, KVM_RUN, 0);
	} while (ret && errno == EINTR);
	return ts_expect(!ret && m->run->exit_reason == KVM_EXIT_MMIO &&
			 m->run->mmio.phys_addr == GPA_EXIT,
			 "the end of the program, not %d (%s) for reason %d, pc %#lx",
			 ret, strerror(errno), m->run->exit_reason,
			 get_reg(m, CORE_REG(regs.pc)));
}

/* Is page @page at @mem the inverse of the pattern? */
static size_t check_inverse(const char *mem, size_t page)
{
	const unsigned long *p = (const unsigned long *)(mem + page * ts_psize);
	size_t i, bad = 0;

	ts_tco(true);
	for (i = 0; i < ts_psize / sizeof(*p); i++)
		bad += p[i] != ~ts_word(SEED, page, i);
	ts_tco(false);
	return ts_expect(!bad, "page %zu as the machine wrote it, %zu words are not",
			 page, bad);
}

static int capability(void)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_ARM_MTE };
	int want = lent() ? 0 : 1, ret;
	struct machine m;
	size_t bad = 0;

	if (!machine_begin(&m))
		return no_kvm();
	ret = ioctl(m.kvm, KVM_CHECK_EXTENSION, KVM_CAP_ARM_MTE);
	bad += ts_expect(ret == want, "%d of " KVM ", not %d", want, ret);
	ret = ioctl(m.vm, KVM_CHECK_EXTENSION, KVM_CAP_ARM_MTE);
	bad += ts_expect(ret == want, "%d of a machine, not %d", want, ret);
	ret = ioctl(m.vm, KVM_ENABLE_CAP, &cap) ? errno : 0;
	bad += ts_expect(ret == (want ? 0 : EINVAL),
			 "%s, not errno %d", want ? "MTE" : "EINVAL", ret);

	machine_cpu(&m);
	ret = !!(get_reg(&m, ID_PFR1) & PFR1_MTE);
	bad += ts_expect(ret == want, "a CPU with%s MTE", want ? "" : "out");
	ksft_print_msg("KVM_CAP_ARM_MTE is %d, tag storage is %s\n", want,
		       lent() ? "in use" : "not in use");
	machine_end(&m);
	return ts_result(bad);
}

/* The tags of pages that the storage covers: all of it has to be emptied. */
static size_t tag(struct ts_ballast *b, size_t page)
{
	size_t bad;

	ts_protect(b->mem, page, 1, TS_RWT);
	bad = ts_tags_zero(b->mem, page, 1);
	ts_tags_write(b->mem, page, 1, SEED);
	return bad;
}

static size_t run_in_storage(struct machine *m, struct ts_ballast *b,
			     const size_t *storage, const size_t *covered)
{
	struct ts_counters before, after;
	unsigned long pfn[2];
	size_t bad = 0, i;

	bad += machine_run(m);
	bad += check_inverse(b->mem, storage[1]);
	for (i = 0; i < 2; i++) {
		bad += ts_usually(ts_in_storage(b->mem + storage[i] * ts_psize, 1),
				  "memory of the machine in tag storage");
		pfn[i] = ts_pfn(b->mem + storage[i] * ts_psize);
	}

	ts_counters(&before);
	for (i = 0; i < 2; i++)
		bad += tag(b, covered[i]);
	ts_counters(&after);
	for (i = 0; i < 2; i++)
		bad += ts_usually(ts_pfn(b->mem + storage[i] * ts_psize) != pfn[i],
				  "memory of the machine to be moved");
	bad += ts_usually(after.moved - before.moved >= 2,
			  "two blocks to be emptied, not %ld",
			  after.moved - before.moved);

	bad += machine_run(m);
	bad += ts_data_check(b->mem, storage[1], 1, SEED);
	for (i = 0; i < 2; i++)
		bad += ts_check(b->mem, covered[i], 1, SEED);
	return bad;
}

/* The code and the data of a machine, in two blocks. */
static int in_storage(void)
{
	size_t storage[2] = { 0 }, covered[2] = { 0 }, bad, i;
	struct ts_ballast ballast = { };
	struct machine m;
	bool found;

	if (access(KVM, R_OK | W_OK))
		return no_kvm();
	ts_ballast_fill(&ballast, ts_meminfo("MetadataTotal") * 1024 /
				  (long)ts_psize / 8);
	ts_data_write(ballast.mem, 0, ballast.nr, SEED);
	/* Something for KVM, and to move to. */
	madvise(ballast.bulk, 8 << 20, MADV_DONTNEED);
	ts_drain();
	for (i = 0, found = true; i < 2 && found; i++) {
		storage[i] = i ? storage[0] + 1 : 0;
		found = ts_ballast_pair(&ballast, &storage[i], &covered[i]);
	}
	if (!found) {
		ts_ballast_free(&ballast);
		return ts_skip("no blocks in use that cover memory of ours");
	}

	machine_make(&m, ballast.mem + storage[0] * ts_psize,
		     ballast.mem + storage[1] * ts_psize);
	bad = run_in_storage(&m, &ballast, storage, covered);
	machine_end(&m);
	/* All the rest is as it was. */
	ts_data_write(ballast.mem, storage[0], 1, SEED);
	bad += ts_data_check(ballast.mem, 0, ballast.nr, SEED);
	ts_ballast_free(&ballast);
	return ts_result(bad);
}

/*
 * A page that waits for its storage, and goes on to do so while the machine, which
 * needs no tags, has it mapped. Then the host comes there and tags it.
 */
static size_t run_tagged(void)
{
	char *code = ts_map(1, TS_RW, 0), *data = ts_map_none(1, SEED);
	struct ts_counters before, after;
	struct machine m;
	size_t bad;

	machine_make(&m, code, data);
	bad = machine_run(&m);
	ts_counters(&before);
	bad += check_inverse(data, 0);
	ts_counters(&after);
	bad += ts_expect(after.none_fault > before.none_fault,
			 "a page that waits for its storage");
	bad += ts_tags_zero(data, 0, 1);
	ts_tags_write(data, 0, 1, SEED);
	bad += machine_run(&m);
	bad += ts_check(data, 0, 1, SEED);
	machine_end(&m);
	ts_unmap(code, 1);
	ts_unmap(data, 1);
	return bad;
}

static int on_tagged(void)
{
	if (access(KVM, R_OK | W_OK))
		return no_kvm();
	return ts_result(ts_while_lent(run_tagged));
}

/* Is this in a file of the kernel? */
static bool says(const char *path, const char *text)
{
	char buf[256] = "";

	ts_read_file(path, buf, sizeof(buf));
	return strstr(buf, text);
}

static size_t is_offered(void)
{
	size_t bad;

	bad = ts_expect(says(POWER "state", "disk"), "\"disk\" in state");
	bad += ts_expect(!says(POWER "disk", "[disabled]"), "ways to do it");
	return bad;
}

/* Whoever offers it would do it: then there is no attempt. */
static size_t is_refused(void)
{
	size_t bad;
	int ret;

	bad = ts_expect(!says(POWER "state", "disk"), "no \"disk\" in state");
	bad += ts_expect(says(POWER "disk", "[disabled]"), "disabled");
	if (bad)
		return bad;

	ret = ts_write_file(POWER "disk", "shutdown");
	bad += ts_expect(ret == -EPERM, "EPERM of a way to do it, not %d", ret);
	ret = ts_write_file(POWER "state", "disk");
	bad += ts_expect(ret == -EPERM, "EPERM of an attempt, not %d", ret);
	ret = open(SNAPSHOT, O_RDONLY);
	bad += ts_expect(ret < 0 && errno == EPERM,
			 "EPERM of " SNAPSHOT ", not %d", ret < 0 ? errno : 0);
	return bad;
}

/* Data, tagged and in tag storage, is what it was. */
static int hibernation(void)
{
	struct ts_ballast ballast = { };
	size_t bad;
	char *mem;

	if (access(POWER "disk", F_OK))
		return ts_skip("no " POWER "disk");
	if (!lent())
		return ts_result(is_offered());

	ts_lend(&ballast, 2);
	mem = ts_map(NR, TS_RWT, 0);
	ts_write(mem, 0, NR, SEED);
	bad = ts_expect(ballast.lent, "data in tag storage");
	bad += is_refused();
	bad += ts_check(mem, 0, NR, SEED);
	bad += ts_lent_check(&ballast);
	ts_unmap(mem, NR);
	ts_ballast_free(&ballast);
	return ts_result(bad);
}

static const struct ts_case cases[] = {
	{ "KVM_CAP_ARM_MTE", capability, TS_NEED_ROOT },
	{ "a virtual machine in tag storage", in_storage,
	  TS_NEED_ROOT | TS_NEED_COUNTERS | TS_NEED_REGIONS },
	{ "a virtual machine on tagged memory", on_tagged,
	  TS_NEED_ROOT | TS_NEED_COUNTERS | TS_NEED_REGIONS },
	{ "hibernation", hibernation, TS_NEED_ROOT },
};

int main(void)
{
	return ts_main(cases, ARRAY_SIZE(cases));
}
