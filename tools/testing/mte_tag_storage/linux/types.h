/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _HOST_LINUX_TYPES_H
#define _HOST_LINUX_TYPES_H

#include <stdbool.h>
#include <stddef.h>

/* As in the kernel, where printing with %llx works on every architecture. */
typedef unsigned long long u64;

#endif /* _HOST_LINUX_TYPES_H */
