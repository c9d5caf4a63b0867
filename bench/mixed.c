// SPDX-License-Identifier: GPL-2.0-only
/*
 * Workload of "make bench": processes with tagged heaps beside untagged memory
 * and files, with little free memory. How densely are the tagged pages packed,
 * and how much tag storage is won back?
 *
 * A heap does as hardened allocators do: each class of sizes has an address range
 * of its own, made of slabs of up to 128 KiB. An object goes to a random slot of
 * the first slab that has one, and a slab without objects is given back to the
 * kernel. In each phase the heaps have a certain part of memory together; each of
 * them grows and shrinks around its share, and replaces objects all the time.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

#define HEAPS		4
#define ROUNDS		8	/* of a phase */
#define SETTLED		3	/* rounds of a phase that do not count yet */
#define REPLACED	1500	/* objects, by each heap in each round */

/* Free memory that is left, tag storage included. */
#define LEAVE_KB	(12 * 1024)

/* What the heaps have, in percent of memory. */
static const unsigned int phases[] = { 2, 5, 10, 20, 30, 40 };

/* What a heap has of its share in subsequent rounds, in percent. */
static const unsigned int swing[] = { 100, 125, 100, 75 };

/* Always the same random numbers. */
static unsigned long random_state;

static unsigned int random_below(unsigned int n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (random_state >> 32) % n;
}

/* Processes that do a round when they are told to */

struct member {
	int tell, told;
};

/* Start a process that does @round(@target) whenever it is told a target. */
static struct member start(void (*round)(size_t target), unsigned int seed)
{
	int there[2], back[2];
	size_t target;

	if (pipe(there) || pipe(back))
		ksft_exit_fail_msg("no pipe\n");
	if (!fork()) {
		random_state = seed * 0x9e3779b97f4a7c15;
		close(there[1]);
		while (read(there[0], &target, sizeof(target)) == sizeof(target)) {
			round(target);
			if (write(back[1], "", 1) != 1)
				break;
		}
		_exit(0);
	}
	close(there[0]);
	close(back[1]);
	return (struct member) { there[1], back[0] };
}

static void tell(struct member *m, size_t target)
{
	if (write(m->tell, &target, sizeof(target)) != sizeof(target))
		ksft_exit_fail_msg("a process of the load is gone\n");
}

static void await(struct member *m)
{
	char byte;

	if (read(m->told, &byte, 1) != 1)
		ksft_exit_fail_msg("a process of the load ended early\n");
}

/* Heaps */

#define CLASSES		6
#define CLASS_BYTES	(128UL << 20)
#define OBJECTS		131072

/* Slabs of class c have 2^c pages. */
static const unsigned int slots[CLASSES] = { 64, 32, 16, 8, 4, 1 };

/* Of 100 objects, how many are of each class: most are small. */
static const unsigned int weight[CLASSES] = { 40, 25, 15, 10, 7, 3 };

struct object {
	unsigned int slab;
	unsigned char class, slot;
};

/* A heap; its bitmaps have a word for each slab. */
static struct {
	char *mem[CLASSES];
	unsigned long *used[CLASSES];
	size_t first[CLASSES];	/* slabs before this one are full */
	struct object *objects;
	size_t nr, bytes;
} heap;

static size_t slab_bytes(unsigned int class)
{
	return ts_psize << class;
}

static size_t object_bytes(unsigned int class)
{
	return slab_bytes(class) / slots[class];
}

static void heap_init(void)
{
	unsigned int c;

	heap.objects = calloc(OBJECTS, sizeof(*heap.objects));
	for (c = 0; c < CLASSES; c++) {
		heap.mem[c] = ts_map(CLASS_BYTES / ts_psize, TS_RWT, MAP_NORESERVE);
		madvise(heap.mem[c], CLASS_BYTES, MADV_NOHUGEPAGE);
		heap.used[c] = calloc(CLASS_BYTES / slab_bytes(c), sizeof(unsigned long));
		if (!heap.objects || !heap.used[c])
			ksft_exit_fail_msg("no memory for a heap\n");
	}
}

static unsigned long full(unsigned int class)
{
	return ~0UL >> (64 - slots[class]);
}

static unsigned int random_class(void)
{
	unsigned int n = random_below(100), c;

	for (c = 0; n >= weight[c]; c++)
		n -= weight[c];
	return c;
}

static void heap_new(void)
{
	unsigned int c = random_class(), slot = random_below(slots[c]);
	size_t slab = heap.first[c], i;
	char *mem;

	while (heap.used[c][slab] == full(c))
		slab++;
	heap.first[c] = slab;
	while (heap.used[c][slab] & (1UL << slot))
		slot = (slot + 1) % slots[c];
	heap.used[c][slab] |= 1UL << slot;

	mem = heap.mem[c] + slab * slab_bytes(c) + slot * object_bytes(c);
	for (i = 0; i < object_bytes(c); i += ts_psize)
		ts_store(mem + i, slab);
	heap.objects[heap.nr++] = (struct object) { slab, c, slot };
	heap.bytes += object_bytes(c);
}

static void heap_remove(void)
{
	unsigned int i = random_below(heap.nr), c;
	struct object o = heap.objects[i];

	c = o.class;
	heap.objects[i] = heap.objects[--heap.nr];
	heap.bytes -= object_bytes(c);
	heap.used[c][o.slab] &= ~(1UL << o.slot);
	if (!heap.used[c][o.slab])
		madvise(heap.mem[c] + o.slab * slab_bytes(c), slab_bytes(c),
			MADV_DONTNEED);
	if (o.slab < heap.first[c])
		heap.first[c] = o.slab;
}

/* Grow or shrink to @target bytes, then replace objects. */
static void heap_round(size_t target)
{
	int i;

	if (!heap.objects)
		heap_init();
	while (heap.bytes < target && heap.nr < OBJECTS)
		heap_new();
	while (heap.bytes > target)
		heap_remove();
	for (i = 0; i < REPLACED && heap.nr && heap.nr < OBJECTS; i++) {
		heap_new();
		heap_remove();
	}
}

/* Untagged memory */

#define CHUNK	16

static struct {
	char *mem;
	char *present;	/* for each chunk */
	size_t chunks, nr;
} hog;

static void hog_set(size_t chunk, bool present)
{
	char *mem = hog.mem + chunk * CHUNK * ts_psize;

	if (present)
		bench_write(mem, CHUNK);
	else
		madvise(mem, CHUNK * ts_psize, MADV_DONTNEED);
	hog.nr += present - hog.present[chunk];
	hog.present[chunk] = present;
}

/* Have @target pages; some of them are others than before. */
static void hog_round(size_t target)
{
	size_t i;

	if (!hog.mem) {
		hog.chunks = ts_meminfo("MemTotal") * 1024 / ts_psize / CHUNK;
		hog.present = calloc(hog.chunks, 1);
		hog.mem = ts_map(hog.chunks * CHUNK, TS_RW, MAP_NORESERVE);
		madvise(hog.mem, hog.chunks * CHUNK * ts_psize, MADV_NOHUGEPAGE);
	}
	for (i = 0; i < hog.nr / 16; i++)
		hog_set(random_below(hog.chunks), false);
	while (hog.nr > target / CHUNK)
		hog_set(random_below(hog.chunks), false);
	while (hog.nr < target / CHUNK && hog.nr < hog.chunks)
		hog_set(random_below(hog.chunks), true);
}

/* Files */

#define FILES	16

/* Replace one of the files, each of @target pages. */
static void files_round(size_t target)
{
	static int fd[FILES];
	static char *page;
	static unsigned int next;
	size_t i;

	if (!page)
		page = calloc(1, ts_psize);
	if (fd[next])
		close(fd[next]);
	fd[next] = memfd_create("bench", 0);
	for (i = 0; i < target; i++)
		if (pwrite(fd[next], page, ts_psize, i * ts_psize) != (ssize_t)ts_psize)
			ksft_exit_fail_msg("cannot write a file\n");
	next = (next + 1) % FILES;
}

/* The load */

static struct member heaps[HEAPS], hogs, files;
static unsigned int rounds_done;
static size_t hog_target;

static size_t memory_pages(void)
{
	return ts_meminfo("MemTotal") * 1024 / ts_psize;
}

static size_t heap_target(unsigned int heap_nr, unsigned int percent)
{
	size_t share = memory_pages() * ts_psize / 100 * percent / HEAPS;

	return share / 100 * swing[(rounds_done + heap_nr) % ARRAY_SIZE(swing)];
}

/* Memory that can be taken: not what was won by swapping in the last round. */
static long spare_pages(void)
{
	static long swapped;
	long before = swapped;

	swapped = ts_meminfo("SwapTotal") - ts_meminfo("SwapFree");
	return (ts_meminfo("MemFree") - LEAVE_KB - (swapped - before)) * 1024 /
	       (long)ts_psize;
}

/* The hog has what the others leave. */
static void adjust_hog(long pages)
{
	hog_target = (long)hog_target + pages > 0 ? hog_target + pages : 0;
	tell(&hogs, hog_target);
	await(&hogs);
}

static void take_sample(unsigned int percent, bool settled)
{
	double storage = ts_meminfo("MetadataTotal") * 1024.0 / ts_psize;
	struct ts_region r;
	double occupancy;

	if (storage <= 0 || ts_regions(&r, 1) < 1)
		return;
	occupancy = r.tagged_pages / (double)(r.reserved * r.block_pages * TS_COVER);
	printf("sample mixed round=%u phase=%u tagged=%.5f occupancy=%.5f won=%.5f lent=%.5f\n",
	       rounds_done, percent, r.tagged_pages / (double)memory_pages(), occupancy,
	       1 - r.reserved * r.block_pages / storage,
	       1 - (r.reserved * r.block_pages + ts_vmstat("nr_free_metadata")) / storage);
	if (settled)
		printf("value mixed occupancy=%.5f occupancy-%u=%.5f\n", occupancy,
		       percent, occupancy);
}

/* Each heap, and the files, at the same time. */
static void load_round(unsigned int percent)
{
	unsigned int i;

	for (i = 0; i < HEAPS; i++)
		tell(&heaps[i], heap_target(i, percent));
	tell(&files, memory_pages() / 20 / FILES);
	for (i = 0; i < HEAPS; i++)
		await(&heaps[i]);
	await(&files);
}

static void phase(unsigned int percent, unsigned int before)
{
	long growth = (long)memory_pages() * ((int)percent - (int)before) / 100;
	unsigned int i;

	/* Make room first. */
	adjust_hog(-growth * 5 / 4);
	for (i = 0; i < ROUNDS && i < bench_reps; i++) {
		bench_begin();
		load_round(percent);
		/* A round stands for a second, in which the kernel may do more. */
		usleep(1000 * 1000);
		bench_end("mixed-load", 1);
		ts_fold();
		adjust_hog(spare_pages());
		take_sample(percent, i >= SETTLED);
		rounds_done++;
	}
}

static void mixed(void)
{
	unsigned int i, before = 0;

	bench_open();
	for (i = 0; i < HEAPS; i++)
		heaps[i] = start(heap_round, i + 1);
	hogs = start(hog_round, HEAPS + 1);
	files = start(files_round, HEAPS + 2);
	adjust_hog(spare_pages());
	for (i = 0; i < ARRAY_SIZE(phases); i++) {
		phase(phases[i], before);
		before = phases[i];
	}
}

const struct bench_workload bench_mixed[] = {
	{ "mixed", NULL, mixed, 0 },
	{ }
};
