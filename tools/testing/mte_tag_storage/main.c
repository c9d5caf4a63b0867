// SPDX-License-Identifier: GPL-2.0-only
/*
 * Run the KUnit suite of the tag storage arithmetic on the build host.
 *
 * Prints KTAP, one line per case and parameter. Returns 0 if all passed, 1 if
 * any failed or there was none to run.
 */

#include <stdio.h>

#include <kunit/test.h>

static unsigned int count_tests(void)
{
	char desc[KUNIT_PARAM_DESC_SIZE];
	const struct kunit_case *c;
	unsigned int nr = 0;
	const void *param;

	for (c = host_suite->test_cases; c->run_case; c++) {
		for (param = c->generate_params(NULL, desc); param;
		     param = c->generate_params(param, desc))
			nr++;
	}
	return nr;
}

static bool run_test(const struct kunit_case *c, const void *param)
{
	struct kunit test = { .param_value = param };

	if (!setjmp(test.abort))
		c->run_case(&test);
	return !test.failed;
}

static unsigned int run_tests(void)
{
	char desc[KUNIT_PARAM_DESC_SIZE];
	unsigned int nr = 0, failed = 0;
	const struct kunit_case *c;
	const void *param;

	for (c = host_suite->test_cases; c->run_case; c++) {
		for (param = c->generate_params(NULL, desc); param;
		     param = c->generate_params(param, desc)) {
			bool good = run_test(c, param);

			failed += !good;
			printf("%s %u - %s: %s\n", good ? "ok" : "not ok",
			       ++nr, c->name, desc);
		}
	}
	return failed;
}

int main(void)
{
	unsigned int nr = count_tests(), failed;

	/* Keep what was printed if a sanitizer ends the program. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("KTAP version 1\n1..%u\n", nr);
	failed = run_tests();
	printf("# %s: %u passed, %u failed\n", host_suite->name, nr - failed,
	       failed);
	return !nr || failed;
}
