# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# Compiling parts of a kernel: which objects the series touches. Sourced after
# scripts/lib.sh. Objects are cached by ccache in build/ccache.

export CCACHE_DIR=${CCACHE_DIR:-$BUILD/ccache} CCACHE_BASEDIR=$TOP

# kmake SOURCE OBJ ARGUMENT...
kmake() { make -s -C "$1" O="$2" ARCH=arm64 CC="ccache ${CROSS_COMPILE}gcc" "${@:3}"; }

# merge_config SOURCE OBJ FRAGMENT...: OBJ/.config out of these.
merge_config()
{
	mkdir -p "$2"
	"$1/scripts/kconfig/merge_config.sh" -m -O "$2" "${@:3}"
	kmake "$1" "$2" olddefconfig
}

# is_built SOURCE OBJ OBJECT: whether the Makefile there has it, and its option is
# set in OBJ/.config.
is_built()
{
	local dir=${3%/*} name=${3##*/} line
	[[ $dir != */tests ]] || { dir=${dir%/tests}; name=tests/$name; }
	line=$(grep -m 1 -E "[[:space:]]$name([[:space:]]|\$)" "$1/$dir/Makefile") ||
		return
	[[ ! $line =~ \$\((CONFIG_[A-Z0-9_]+)\) ]] ||
		grep -q "^${BASH_REMATCH[1]}=y" "$2/.config"
}

# series_objects SOURCE OBJ [TIP]: the objects of all files that the series up to
# TIP edits or brings, as far as SOURCE, a step of it, has them.
series_objects()
{
	local object
	git -C "$BUILD/tree" diff --name-only base "${3:-HEAD}" -- '*.c' |
		sed -n '/^tools\//d; s/c$/o/p' |
		while read -r object; do
			! is_built "$1" "$2" "$object" || echo "$object"
		done
}
