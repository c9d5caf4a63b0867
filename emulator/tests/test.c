// SPDX-License-Identifier: GPL-2.0-only
/*
 * Output and exit through semihosting, so that no device is needed.
 */
#include "test.h"

#define SYS_WRITE0	0x04
#define SYS_EXIT	0x18
#define APPLICATION_EXIT 0x20026

static void semihost(u64 operation, const void *argument)
{
	register u64 x0 asm("x0") = operation;
	register const void *x1 asm("x1") = argument;

	asm volatile("hlt #0xf000" : "+r" (x0) : "r" (x1) : "memory");
}

static void put(const char *s)
{
	semihost(SYS_WRITE0, s);
}

static void put_hex(u64 value)
{
	char s[19];

	for (int i = 0; i < 16; i++)
		s[2 + i] = "0123456789abcdef"[value >> (60 - 4 * i) & 15];
	s[0] = '0';
	s[1] = 'x';
	s[18] = 0;
	put(s);
}

_Noreturn void finish(u64 status)
{
	u64 argument[] = { APPLICATION_EXIT, status };

	semihost(SYS_EXIT, argument);
	for (;;)
		;
}

_Noreturn void fail(const char *where, const char *what, u64 got, u64 want)
{
	put(where);
	put(": ");
	put(what);
	put(": ");
	put_hex(got);
	put(", want ");
	put_hex(want);
	put("\n");
	finish(1);
}

/* An exception that no test waits for; called from start.S. */
_Noreturn void unexpected(u64 esr, u64 far, u64 elr)
{
	put("exception: esr ");
	put_hex(esr);
	put(", far ");
	put_hex(far);
	put(", elr ");
	put_hex(elr);
	put("\n");
	finish(2);
}
