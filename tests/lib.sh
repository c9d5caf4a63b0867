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
	echo "FAIL: $*"
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

# boot_layout LAYOUT KERNEL ARGUMENT...: boot with the device tree dts/LAYOUT.dts.
boot_layout()
{
	local layout=$1 dtb=$BUILD/dtb/$1.dtb
	shift
	mkdir -p "$BUILD/dtb"
	"$TOP/scripts/mkdtb" "$layout" "$dtb" "${LAYOUT_MACHINE[@]}" \
		-cpu "$LAYOUT_CPU" -smp 2
	boot "${LAYOUT_MACHINE[@]}" -c "$LAYOUT_CPU" -d "$dtb" "$@"
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

# boot_selftests KERNEL LIMIT WORD...: all our selftests, in two guests side by
# side, as most of them use one CPU; must pass and skip nothing but what needs
# two memory nodes, which good-layout:good-numa has. What fills all memory again
# and again has a small machine; the hog and unmovable want a large one.
boot_selftests()
{
	local kernel=$1 limit=$2 fill="longterm pinned reserve_ways" rest pid rc=0 part
	shift 2
	rest=$(cd "$TOP/tools/testing/selftests/arm64/mte_tag_storage" && echo *.c |
		tr ' ' '\n' | sed 's/\.c$//; /^ts_/d' | grep -vxE "${fill// /|}")
	boot_as fill -m 396 -t "$limit" "$kernel" job=selftests "tests=${fill// /,}" "$@" &
	pid=$!
	boot_as rest -m 1056 -t "$limit" "$kernel" job=selftests \
		"tests=$(paste -sd, <<<"$rest")" "$@" || rc=$?
	wait "$pid" || rc=$?
	(( rc == 0 )) || fail "a guest ended with $rc, see above"
	for part in fill rest; do
		GUEST_DIR=$LOGS/boot/$TEST.$part
		expect_skips '^migrate/SKIP (move_pages|mbind)'
	done
}
