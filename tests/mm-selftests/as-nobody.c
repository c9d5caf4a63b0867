// SPDX-License-Identifier: GPL-2.0-only
/*
 * as-nobody PROGRAM ARGUMENT...: run it without being root, which the guest's
 * busybox has nothing for.
 */
#include <stdio.h>
#include <unistd.h>

#define NOBODY 65534

int main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "usage: as-nobody PROGRAM ARGUMENT...\n");
		return 2;
	}
	if (setgid(NOBODY) || setuid(NOBODY)) {
		perror("as-nobody");
		return 1;
	}
	execv(argv[1], argv + 1);
	perror(argv[1]);
	return 127;
}
