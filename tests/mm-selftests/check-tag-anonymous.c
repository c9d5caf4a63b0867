// SPDX-License-Identifier: GPL-2.0-only
/*
 * Does tag-anonymous.c do what it says? Ask the kernel: memory of each kind
 * that it converts has "mt" in the VmFlags of /proc/self/smaps if TAG_ANONYMOUS
 * is in the environment, and only then. Runs as the first of the mm selftests.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "kselftest.h"

#define SIZE (1UL << 20)

/* is_tagged(): whether the mapping that holds @addr has "mt". */
static bool is_tagged(void *addr)
{
	unsigned long start, end, at = (unsigned long)addr;
	FILE *smaps = fopen("/proc/self/smaps", "r");
	bool inside = false, tagged = false;
	char line[512];

	if (!smaps)
		ksft_exit_fail_perror("/proc/self/smaps");
	while (fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			inside = start <= at && at < end;
		else if (inside && !strncmp(line, "VmFlags:", 8))
			tagged = !!strstr(line, " mt");
	}
	fclose(smaps);
	return tagged;
}

static void *map(int prot, int flags)
{
	void *addr = mmap(NULL, SIZE, prot, flags | MAP_ANONYMOUS, -1, 0);

	if (addr == MAP_FAILED)
		ksft_exit_fail_perror("mmap");
	return addr;
}

static void *map_then_protect(int flags)
{
	void *addr = map(PROT_NONE, flags);

	if (mprotect(addr, SIZE, PROT_READ | PROT_WRITE))
		ksft_exit_fail_perror("mprotect");
	return addr;
}

/* The stack of the thread that runs this. */
static void *thread(void *result)
{
	int here;

	*(bool *)result = is_tagged(&here);
	return NULL;
}

static bool thread_stack_is_tagged(void)
{
	bool result = false;
	pthread_t id;

	if (pthread_create(&id, NULL, thread, &result) || pthread_join(id, NULL))
		ksft_exit_fail_msg("no thread\n");
	return result;
}

int main(void)
{
	bool want = !!getenv("TAG_ANONYMOUS");
	int rw = PROT_READ | PROT_WRITE;

	ksft_print_header();
	ksft_set_plan(7);
	ksft_print_msg("anonymous memory is to be %s\n", want ? "tagged" : "untagged");
	ksft_test_result(is_tagged(map(rw, MAP_PRIVATE)) == want, "mmap private\n");
	ksft_test_result(is_tagged(map(rw, MAP_SHARED)) == want, "mmap shared\n");
	ksft_test_result(is_tagged(map_then_protect(MAP_PRIVATE)) == want, "mprotect private\n");
	ksft_test_result(is_tagged(map_then_protect(MAP_SHARED)) == want, "mprotect shared\n");
	ksft_test_result(is_tagged(malloc(SIZE)) == want, "malloc\n");
	ksft_test_result(thread_stack_is_tagged() == want, "stack of a thread\n");
	ksft_test_result(!is_tagged(map(PROT_READ, MAP_PRIVATE)), "read-only is left alone\n");
	ksft_finished();
}
