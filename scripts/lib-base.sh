# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034 # variables for the scripts that source this
#
# The pinned base (file BASE) and the one that was downloaded. Sourced after
# lib.sh. SRC is the directory with BASE, patches/ and the new kernel files.

SRC=${SRC:-$TOP}
DL=$BUILD/dl
BASE_TARBALL=$DL/base.tar.xz
# What BASE_TARBALL is: wanted= the version asked for, version=, sha256=.
BASE_INFO=$DL/base.info

# pinned KEY: the value of KEY in the file BASE.
pinned() { sed -n "s/^$1=//p" "$SRC/BASE"; }

# base_info KEY: the value of KEY for the downloaded tarball, empty if none.
base_info() { [[ ! -e $BASE_INFO ]] || sed -n "s/^$1=//p" "$BASE_INFO"; }

BASE_PACKAGE=$(pinned package)
BASE_PINNED=$(pinned version)
BASE_SHA256=$(pinned sha256)

# base_is_pinned: true if the downloaded tarball is the one that BASE names.
base_is_pinned() { [[ $(base_info sha256) == "$BASE_SHA256" ]]; }

# base_note: say so if it is another one.
base_note()
{
	base_is_pinned ||
		info "note: the base is $(base_info version), not the pinned $BASE_PINNED"
}
