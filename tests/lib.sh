# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# What the cases in tests/cases use. Sourced by scripts/test, which sets TEST to
# the name of the test. Every check ends the test with the cause if it fails.

# Where the test's last guest left its files; see scripts/boot.
GUEST_DIR=$LOGS/boot/$TEST
# The machine that the device trees in dts/ are made for.
LAYOUT_MACHINE=(-M "virt,mte=on,mte-tag-storage=on" -m 1056)
LAYOUT_CPU=max,pauth-impdef=on

# fail TEXT
fail()
{
	echo "FAIL: $*" >&2
	exit 1
}

# skip REASON
skip()
{
	echo "SKIP: $*"
	exit 77
}

# boot ARGUMENT...: scripts/boot under the test's name; must end as passed.
boot()
{
	GUEST_DIR=$LOGS/boot/$TEST
	"$TOP/scripts/boot" -n "$TEST" "$@"
}

# boot_as SUFFIX ARGUMENT...: the same for a test with several guests.
boot_as()
{
	local suffix=$1
	shift
	GUEST_DIR=$LOGS/boot/$TEST.$suffix
	"$TOP/scripts/boot" -n "$TEST.$suffix" "$@"
}

# make_layout LAYOUT: make the device tree dts/LAYOUT.dts, and set LAYOUT to the
# arguments of scripts/boot for it. Not in a subshell, where a failure to make it
# would be lost and the machine boot with its own tree.
make_layout()
{
	local dtb=$BUILD/dtb/$1.$TEST.dtb
	mkdir -p "$BUILD/dtb"
	"$TOP/scripts/mkdtb" "$1" "$dtb" "${LAYOUT_MACHINE[@]}" \
		-cpu "$LAYOUT_CPU" -smp 2 || fail "no device tree of $1"
	LAYOUT=("${LAYOUT_MACHINE[@]}" -c "$LAYOUT_CPU" -d "$dtb")
}

# expected_lines LAYOUT: what the kernel has to say of dts/LAYOUT.dts, which is in
# its first lines; nothing if these do not say.
expected_lines()
{
	sed -n 's,^/\* expect: \(.*\) \*/$,\1,p' "$TOP/dts/$1.dts"
}

# boot_layout LAYOUT KERNEL ARGUMENT...: boot with the device tree dts/LAYOUT.dts.
boot_layout()
{
	make_layout "$1"
	shift
	boot "${LAYOUT[@]}" "$@"
}

# expect_status STATUS COMMAND...
expect_status()
{
	local want=$1 got=0
	shift
	"$@" || got=$?
	(( got == want )) || fail "status $got, not $want, of: $*"
}

# kernel_log REGEX: the lines of the guest's log that match, without time stamps.
kernel_log()
{
	tr -d '\r' <"$GUEST_DIR/console.log" | sed 's/^\[ *[0-9.]*\] //' |
		grep -aE "$1" || true
}

# log_once REGEX: exactly one line of the guest's log matches.
log_once()
{
	local count
	count=$(kernel_log "$1" | wc -l)
	(( count == 1 )) || fail "$count lines of the log match, not 1: $1"
}

# log_never REGEX
log_never()
{
	[[ -z $(kernel_log "$1") ]] || fail "the log has: $(kernel_log "$1" | head -n 1)"
}

# fact FIELD: a number from the memory facts that every job reports, 0 if the
# kernel does not have it.
fact()
{
	sed -nE "s/^(# )?$1:? +([0-9]+).*/\2/p" "$GUEST_DIR/report" | grep . || echo 0
}

# expect_fact FIELD OPERATOR NUMBER: an operator of test, such as -lt.
expect_fact()
{
	local value
	value=$(fact "$1")
	test "$value" "$2" "$3" || fail "$1 is $value, expected $2 $3"
}

# expect_gain KB: MemTotal is at least 1.030 of KB, what a carve-out kernel has.
expect_gain()
{
	local value
	value=$(fact MemTotal)
	echo "MemTotal $value kB, with the tag storage carved out $1 kB"
	(( $1 > 0 && value * 1000 >= $1 * 1030 )) ||
		fail "MemTotal $value kB is less than 1.030 of $1 kB"
}

# results: the guest's test results, one "status name" per line.
results()
{
	"$TOP/scripts/scan-log" -l "$GUEST_DIR/report"
}

# expect_skips REGEX: no test was skipped but those that match.
expect_skips()
{
	local unexpected
	unexpected=$(results | sed -n 's/^skip //p' | grep -vE "$1" || true)
	[[ -z $unexpected ]] || fail "skipped without being expected to: $unexpected"
}

SELFTESTS=$TOP/tools/testing/selftests/arm64/mte_tag_storage
# Our selftests by the machine that they want. Those that fill all memory again
# and again want a small one, some have use for a second memory node; all others
# have 1 GiB. Every one has a disk to swap to.
SMALL="gup_force kill longterm memcg mlock pinned ptrace_kinds reserve_ways"
NODES="damon migrate move_large move_race nodes"
# These take long.
LONG="unmovable uprobe collapse_race concurrent swap hog pack part_pinned"
# These are booted by a case of their own, as they want another machine, or more
# of the kernel than all kernels have.
OWN="refused"
# One test for each part of the mechanism, but none that take long: "make
# test-all" has all of them on the debug kernel.
CORE="concurrent fork_cow gup longterm migrate mmap_fault mprotect_touch pinned
	prot ptrace release reserve_ways shmem split_tags swap thp zero_page"

# others: the selftests that are in no list, one per line.
others()
{
	(cd "$SELFTESTS" && ls ./*.c) |
		sed 's,^\./,,; s/\.c$//; /^ts_/d' | grep -vxFf <(tr ' ' '\n' <<<"$SMALL $NODES $LONG $OWN")
}

# filtered FILTER NAME...: those names that FILTER, "all" or "core", lets pass.
filtered()
{
	local filter=$1
	shift
	case $filter in
	core) printf '%s\n' "$@" | grep -xFf <(tr -s ' \t' '\n' <<<"$CORE") || true ;;
	all) printf '%s\n' "$@" ;;
	esac
}

# group GROUP FILTER: the selftests of a group that FILTER lets pass, one per line.
# The groups are small, nodes, long, and rest0 to rest2, which share all others.
group()
{
	local names
	case $1 in
	small) names=$SMALL ;;
	nodes) names=$NODES ;;
	long) names=$LONG ;;
	rest[0-2]) names=$(others) ;;
	*) fail "there is no group $1 of selftests" ;;
	esac
	# shellcheck disable=SC2086 # one word per test
	names=$(filtered "$2" $names)
	[[ $1 != rest? ]] || names=$(awk -v n="${1#rest}" 'NR % 3 == n' <<<"$names")
	echo "$names"
}

# boot_selftests GROUP KERNEL LIMIT FILTER WORD...: our selftests of a group, in
# one guest. FILTER is that of filtered(). All must pass and none be skipped.
boot_selftests()
{
	local kernel=$2 limit=$3 name names machine=(-m 1056)
	for name in $SMALL $NODES $LONG $OWN $CORE; do
		[[ -e $SELFTESTS/$name.c ]] || fail "tests/lib.sh names a selftest $name that is not there"
	done
	names=$(group "$1" "$4" | paste -sd,)
	[[ $names ]] || fail "no test of the group $1 is in $4"
	case $1 in
	small) machine=(-m 396) ;;
	nodes)
		make_layout good-numa
		# Only this machine has a node 1.
		machine=("${LAYOUT[@]}")
		set -- "$@" mte_tag_storage_slow_node.node=1
		;;
	esac
	boot -b 256M -t "$limit" "${machine[@]}" "$kernel" job=selftests \
		"tests=$names" "${@:5}"
	expect_skips '^$'
}

# boot_userland KERNEL LIMIT WORD...: the Debian user space; must pass.
boot_userland()
{
	local kernel=$1 limit=$2
	shift 2
	"$TOP/scripts/userland"
	boot -m 264 -t "$limit" -b "$BUILD/userland/root.img" -b 512M \
		"$kernel" job=userland "$@"
	expect_skips '^$'
}
