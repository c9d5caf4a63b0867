/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the test programs share: the layout that the machine should have, ways
 * to use tags, and checks. RAM_SIZE, REGIONS and BLOCK come from the command
 * line of the compiler and say how the machine was started.
 *
 * Plain addresses are untagged mappings; at(addr, tag) is the tagged one.
 */
#ifndef TEST_H
#define TEST_H

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;

#define PAGE		4096UL
#define GRANULE		16UL
#define RAM		0x40000000UL
#define RAM_END		(RAM + RAM_SIZE)
#define PROGRAM_END	(RAM + 0x400000)	/* tree, program and stack end below */
#define REGION		((u64)RAM_SIZE / REGIONS)
#define STORAGE_SIZE	(REGION / 33)
#define DATA_SIZE	(REGION - STORAGE_SIZE)
#define TAGGED		0x100000000UL

static inline u64 data_base(u64 region) { return RAM + region * REGION; }
static inline u64 storage_base(u64 region) { return data_base(region) + DATA_SIZE; }

/* Address of the byte of tag storage with the tag of the data at addr. */
static inline u64 tag_byte(u64 addr)
{
	u64 region = (addr - RAM) / REGION;
	u64 page = (addr - data_base(region)) / PAGE;
	u64 pages = BLOCK / PAGE;			/* of storage in a block */
	u64 block = page / (32 * pages), i = page % (32 * pages);

	return storage_base(region) + block * BLOCK +
	       i % pages * PAGE + i / pages * 128 + addr % PAGE / 32;
}

static inline u64 at(u64 addr, u64 tag) { return (addr + TAGGED) | tag << 56; }

static inline void stg(u64 addr, u64 tag)
{
	asm volatile("stg %0, [%0]" :: "r" (at(addr, tag)) : "memory");
}

static inline void st2g(u64 addr, u64 tag)
{
	asm volatile("st2g %0, [%0]" :: "r" (at(addr, tag)) : "memory");
}

/* Tags of 256 bytes at once. */
static inline void stgm(u64 addr, u64 tags)
{
	asm volatile("stgm %0, [%1]" :: "r" (tags), "r" (at(addr, 0)) : "memory");
}

/* Tags of a cache line as DC ZVA knows it. */
static inline void dc_gva(u64 addr, u64 tag)
{
	asm volatile("dc gva, %0" :: "r" (at(addr, tag)) : "memory");
}

static inline u64 ldg(u64 addr)
{
	u64 p = at(addr, 0);

	asm volatile("ldg %0, [%0]" : "+r" (p) :: "memory");
	return p >> 56 & 15;
}

static inline u8 load8(u64 addr) { return *(volatile u8 *)addr; }
static inline void store8(u64 addr, u8 value) { *(volatile u8 *)addr = value; }
static inline u64 load64(u64 addr) { return *(volatile u64 *)addr; }
static inline void store64(u64 addr, u64 value) { *(volatile u64 *)addr = value; }

static inline void fill(u64 from, u64 to, u64 value)
{
	for (; from < to; from += 8)
		store64(from, value);
}

static inline u64 checksum(u64 from, u64 to)
{
	u64 sum = 0;

	for (; from < to; from += 8)
		sum = (sum << 7 | sum >> 57) ^ load64(from);
	return sum;
}

/* Address of the first of the bytes whose word is not value, or to. */
static inline u64 find_other(u64 from, u64 to, u64 value)
{
	while (from < to && load64(from) == value)
		from += 8;
	return from;
}

/* From start.S: skip instructions that fault while expected is set; count. */
extern volatile u64 faults_expected, faults;

#define SCTLR_TCF_SYNC	(1UL << 40)

static inline void enable_tag_checks(void)
{
	u64 sctlr;

	asm volatile("mrs %0, sctlr_el1" : "=r" (sctlr));
	asm volatile("msr sctlr_el1, %0; isb" :: "r" (sctlr | SCTLR_TCF_SYNC));
}

/* Number of tag check faults that a load takes. */
static inline u64 faults_of_load(u64 addr, u64 tag)
{
	u64 before = faults;
	u64 value;

	faults_expected = 1;
	asm volatile("ldr %0, [%1]" : "=r" (value) : "r" (at(addr, tag)) : "memory");
	faults_expected = 0;
	return faults - before;
}

_Noreturn void finish(u64 status);
_Noreturn void fail(const char *where, const char *what, u64 got, u64 want);
void test(void);

#define STR2(x) #x
#define STR(x) STR2(x)
#define CHECK_EQ(got, want) do {						\
	u64 got_ = (got), want_ = (want);					\
	if (got_ != want_)							\
		fail(__FILE__ ":" STR(__LINE__), #got " == " #want, got_, want_);\
} while (0)

#endif
