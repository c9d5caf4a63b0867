/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Entry of every test program: one CPU at EL1 with the MMU off. Map RAM twice,
 * untagged at its own address and tagged at TAGGED above it, allow tag access,
 * and call test(), which returns if the test passed.
 */
	.arch	armv8.5-a+memtag

#define NORMAL		(0 << 2)	/* index into MAIR_EL1 */
#define TAGGED_NORMAL	(1 << 2)
#define BLOCK_1GIB(pa, attr)	((pa) | 1 << 10 | 3 << 8 | (attr) | 1)

	.text
	.global	_start
_start:
	ldr	x0, =stack_top
	mov	sp, x0
	ldr	x0, =vectors
	msr	vbar_el1, x0

	ldr	x0, =0xf0ff		/* 0: Normal write-back, 1: the same, tagged */
	msr	mair_el1, x0
	ldr	x0, =level1
	msr	ttbr0_el1, x0
	/* TBI0, 40 bits of physical address, no TTBR1, cacheable, 39 bits of VA */
	ldr	x0, =(1 << 37 | 2 << 32 | 1 << 23 | 3 << 12 | 1 << 10 | 1 << 8 | 25)
	msr	tcr_el1, x0
	tlbi	vmalle1
	dsb	sy
	isb
	/* ATA, RES1 bits, I, C, M */
	ldr	x0, =(1 << 43 | 0x30d00800 | 1 << 12 | 1 << 2 | 1)
	msr	sctlr_el1, x0
	isb
	msr	tco, #0

	bl	test
	mov	x0, #0
	b	finish

/* An exception: skip the instruction if the test waits for a fault. */
	.balign	2048
vectors:
	.rept	16
	.balign	128
	b	exception
	.endr

exception:
	stp	x0, x1, [sp, #-16]!
	ldr	x1, =faults_expected
	ldr	x0, [x1]
	cbz	x0, 1f
	ldr	x0, [x1, #8]
	add	x0, x0, #1
	str	x0, [x1, #8]
	mrs	x0, elr_el1
	add	x0, x0, #4
	msr	elr_el1, x0
	ldp	x0, x1, [sp], #16
	eret
1:	mrs	x0, esr_el1
	mrs	x1, far_el1
	mrs	x2, elr_el1
	b	unexpected

	.data
	.balign	16
	.global	faults_expected
	.global	faults
faults_expected:
	.quad	0
faults:
	.quad	0

	.balign	4096
level1:
	.quad	0
	.quad	BLOCK_1GIB(0x40000000, NORMAL)
	.quad	0, 0, 0
	.quad	BLOCK_1GIB(0x40000000, TAGGED_NORMAL)
	.fill	506, 8, 0

	.bss
	.balign	16
	.skip	65536
stack_top:
