// SPDX-License-Identifier: GPL-2.0-only
/*
 * With a cache of tags, what is stored as a tag is not in tag storage before
 * its line has been cleaned, by address or because something else needed the
 * place; whatever tag storage holds then is overwritten. The other way round,
 * tags in the cache do not see what is written to tag storage.
 *
 * LINE comes from the command line of the compiler, too.
 */
#include "test.h"

#define PAGE_A		(PROGRAM_END + 5 * PAGE)
#define WASH		(PROGRAM_END + 64 * PAGE)
#define NOT_MAPPED	0x200000000UL

#define DC(op)								\
static void dc_##op(u64 address)					\
{									\
	asm volatile("dc " #op ", %0; dsb sy" :: "r" (address) : "memory");	\
}
DC(cgvac)
DC(cgdvac)
DC(cgvap)
DC(cigvac)
DC(cigdvac)
DC(igvac)
DC(igdvac)
DC(civac)

/* Tags of much else, several times what the cache holds. */
static void wash(void)
{
	for (u64 a = WASH; a < storage_base(0); a += 256)
		stgm(a, 0);
}

/* Start with this in storage, and no tag of the page in the cache. */
static void start(u8 value)
{
	for (u64 a = PAGE_A; a < PAGE_A + PAGE; a += 64)
		dc_cigvac(at(a, 0));
	for (u64 a = PAGE_A; a < PAGE_A + PAGE; a += 32)
		store8(tag_byte(a), value);
}

static void check_clean(void (*dc)(u64), u64 invalidates)
{
	u64 byte = tag_byte(PAGE_A);

	start(0x66);
	stg(PAGE_A, 3);
	CHECK_EQ(ldg(PAGE_A), 3);
	CHECK_EQ(load8(byte), 0x66);
	dc(at(PAGE_A, 9));
	CHECK_EQ(load8(byte), 0x63);
	CHECK_EQ(ldg(PAGE_A), 3);

	dc(at(PAGE_A, 0));
	store8(byte, 0x55);
	CHECK_EQ(ldg(PAGE_A), invalidates ? 5 : 3);
	/* A line that is not dirty is not written back. */
	dc(at(PAGE_A, 0));
	CHECK_EQ(load8(byte), 0x55);
}

static void check_invalidate(void (*dc)(u64))
{
	start(0x22);
	stg(PAGE_A, 8);
	dc(at(PAGE_A, 0));
	CHECK_EQ(ldg(PAGE_A), 2);
	CHECK_EQ(load8(tag_byte(PAGE_A)), 0x22);
}

/* That of data cleans no tags, nor does that by an untagged address. */
static void check_others(void)
{
	start(0x22);
	stg(PAGE_A, 8);
	dc_civac(at(PAGE_A, 0));
	dc_cigvac(PAGE_A);
	CHECK_EQ(load8(tag_byte(PAGE_A)), 0x22);
	CHECK_EQ(ldg(PAGE_A), 8);
}

/* One line is cleaned, all of it, from any address in it. */
static void check_line(void)
{
	u64 ctr, size;

	asm("mrs %0, ctr_el0" : "=r" (ctr));
	size = 4UL << (ctr >> 32 & 63);
	if (size < GRANULE)
		size = 4UL << (ctr >> 16 & 15);
	CHECK_EQ(size, LINE);

	start(0x11);
	for (u64 a = PAGE_A; a < PAGE_A + 3 * LINE; a += GRANULE)
		stg(a, 12);
	dc_cigvac(at(PAGE_A + LINE + 1, 0));
	for (u64 a = PAGE_A; a < PAGE_A + LINE; a += 32) {
		CHECK_EQ(load8(tag_byte(a)), 0x11);
		CHECK_EQ(load8(tag_byte(a + LINE)), 0xcc);
		CHECK_EQ(load8(tag_byte(a + 2 * LINE)), 0x11);
	}
}

static void check_fault(void)
{
	u64 before = faults;

	faults_expected = 1;
	dc_cigvac(NOT_MAPPED);
	dc_igvac(NOT_MAPPED);
	faults_expected = 0;
	CHECK_EQ(faults, before + 2);
}

/* A store by @store to the granule of PAGE_A is in the cache, then in RAM. */
static void check_writer(void (*store)(u64 addr, u64 tag))
{
	start(0x44);
	store(PAGE_A, 7);
	CHECK_EQ(load8(tag_byte(PAGE_A)), 0x44);
	CHECK_EQ(ldg(PAGE_A), 7);
	dc_cgvac(at(PAGE_A, 0));
	CHECK_EQ(load8(tag_byte(PAGE_A)) & 15, 7);
}

static void st2g_across(u64 addr, u64 tag)
{
	st2g(addr - GRANULE, tag);
}

static void stgm_same(u64 addr, u64 tag)
{
	stgm(addr, 0x1111111111111111UL * tag);
}

static void dc_gzva(u64 addr, u64 tag)
{
	asm volatile("dc gzva, %0" :: "r" (at(addr, tag)) : "memory");
}

static void check_checks(void)
{
	start(0x33);
	enable_tag_checks();
	stg(PAGE_A, 5);
	CHECK_EQ(faults_of_load(PAGE_A, 5), 0);
	CHECK_EQ(faults_of_load(PAGE_A, 3), 1);
	CHECK_EQ(faults_of_load(PAGE_A + GRANULE, 3), 0);
}

/* A line that nobody cleans goes to storage that holds other data by then. */
static void check_left_dirty(void)
{
	u64 byte = tag_byte(PAGE_A);
	u64 rounds = 0;

	start(0x77);
	stg(PAGE_A, 4);
	store8(byte, 0xaa);
	CHECK_EQ(load8(byte), 0xaa);
	while (load8(byte) == 0xaa && rounds++ < 100)
		wash();
	CHECK_EQ(load8(byte), 0x74);
}

static void check_cleaned(void)
{
	u64 byte = tag_byte(PAGE_A);

	start(0x77);
	stg(PAGE_A, 4);
	dc_cigvac(at(PAGE_A, 0));
	store8(byte, 0xaa);
	for (u64 i = 0; i < 10; i++)
		wash();
	CHECK_EQ(load8(byte), 0xaa);
	CHECK_EQ(ldg(PAGE_A), 0xa);
}

void test(void)
{
	check_clean(dc_cgvac, 0);
	check_clean(dc_cgdvac, 0);
	check_clean(dc_cgvap, 0);
	check_clean(dc_cigvac, 1);
	check_clean(dc_cigdvac, 1);
	check_invalidate(dc_igvac);
	check_invalidate(dc_igdvac);
	check_others();
	check_line();
	check_fault();

	check_writer(stg);
	check_writer(st2g);
	check_writer(st2g_across);
	check_writer(stgm_same);
	check_writer(dc_gva);
	check_writer(dc_gzva);
	check_checks();

	check_left_dirty();
	check_cleaned();
}
