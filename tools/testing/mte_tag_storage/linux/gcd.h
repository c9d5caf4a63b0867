/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _HOST_LINUX_GCD_H
#define _HOST_LINUX_GCD_H

static inline unsigned long gcd(unsigned long a, unsigned long b)
{
	while (b) {
		unsigned long rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

#endif /* _HOST_LINUX_GCD_H */
