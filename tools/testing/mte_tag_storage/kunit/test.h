/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * As much of KUnit as the tests of the tag storage arithmetic use, so that the
 * suite compiles unchanged on the build host. Runs in main.c.
 */
#ifndef _HOST_KUNIT_TEST_H
#define _HOST_KUNIT_TEST_H

#include <setjmp.h>
#include <stdio.h>

#include <linux/minmax.h>
#include <linux/types.h>

#define ARRAY_SIZE(array)	(sizeof(array) / sizeof((array)[0]))

#define KUNIT_PARAM_DESC_SIZE	128

struct kunit {
	const void *param_value;
	bool failed;
	/* Where a failed assertion goes. */
	jmp_buf abort;
};

struct kunit_case {
	void (*run_case)(struct kunit *test);
	const char *name;
	const void *(*generate_params)(const void *prev, char *desc);
};

struct kunit_suite {
	const char *name;
	const struct kunit_case *test_cases;
};

#define KUNIT_CASE_PARAM(test, gen)	{ test, #test, gen }

static inline const void *host_next_param(const void *array, size_t size,
					  size_t step, size_t name_offset,
					  const void *prev, char *desc)
{
	const char *next = prev ? (const char *)prev + step : array;

	if (next == (const char *)array + size)
		return NULL;
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%s",
		 *(const char *const *)(next + name_offset));
	return next;
}

#define KUNIT_ARRAY_PARAM_DESC(name, array, member)			\
	static const void *name##_gen_params(const void *prev, char *desc) \
	{								\
		return host_next_param(array, sizeof(array),		\
				       sizeof(array[0]),		\
				       offsetof(typeof(array[0]), member), \
				       prev, desc);			\
	}

/* The one suite of the program. */
#define kunit_test_suite(suite)						\
	const struct kunit_suite *const host_suite = &(suite)

extern const struct kunit_suite *const host_suite;

static inline void host_fail(struct kunit *test, bool fatal)
{
	test->failed = true;
	if (fatal)
		longjmp(test->abort, 1);
}

#define HOST_COMPARE(test, fatal, left, op, right, ...)			\
	do {								\
		__auto_type _left = (left);				\
		__auto_type _right = (right);				\
									\
		if (_left op _right)					\
			break;						\
		printf("# %s:%d: expected %s, but %#llx and %#llx",	\
		       __FILE__, __LINE__, #left " " #op " " #right,	\
		       (u64)_left, (u64)_right);			\
		printf(": " __VA_ARGS__);				\
		printf("\n");						\
		host_fail(test, fatal);					\
	} while (0)

#define KUNIT_EXPECT_EQ(test, left, right)				\
	HOST_COMPARE(test, false, left, ==, right, "continued")
#define KUNIT_EXPECT_LE(test, left, right)				\
	HOST_COMPARE(test, false, left, <=, right, "continued")
#define KUNIT_EXPECT_TRUE(test, condition)				\
	KUNIT_EXPECT_EQ(test, condition, true)
#define KUNIT_EXPECT_FALSE(test, condition)				\
	KUNIT_EXPECT_EQ(test, condition, false)

#define KUNIT_ASSERT_EQ(test, left, right)				\
	KUNIT_ASSERT_EQ_MSG(test, left, right, "ended")
#define KUNIT_ASSERT_LE(test, left, right)				\
	KUNIT_ASSERT_LE_MSG(test, left, right, "ended")
#define KUNIT_ASSERT_LT(test, left, right)				\
	HOST_COMPARE(test, true, left, <, right, "ended")
#define KUNIT_ASSERT_EQ_MSG(test, left, right, ...)			\
	HOST_COMPARE(test, true, left, ==, right, __VA_ARGS__)
#define KUNIT_ASSERT_GE_MSG(test, left, right, ...)			\
	HOST_COMPARE(test, true, left, >=, right, __VA_ARGS__)
#define KUNIT_ASSERT_GT_MSG(test, left, right, ...)			\
	HOST_COMPARE(test, true, left, >, right, __VA_ARGS__)
#define KUNIT_ASSERT_LE_MSG(test, left, right, ...)			\
	HOST_COMPARE(test, true, left, <=, right, __VA_ARGS__)
#define KUNIT_ASSERT_TRUE_MSG(test, condition, ...)			\
	KUNIT_ASSERT_EQ_MSG(test, condition, true, __VA_ARGS__)
#define KUNIT_ASSERT_PTR_EQ_MSG(test, left, right, ...)			\
	KUNIT_ASSERT_EQ_MSG(test, left, right, __VA_ARGS__)

#endif /* _HOST_KUNIT_TEST_H */
