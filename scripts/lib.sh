# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# Common shell functions: progress, failure and locating the build directory.
# Every script sources this file first; it may not print anything by itself.

set -euo pipefail

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Everything that is generated lives below this directory.
BUILD=${BUILD:-$TOP/build}
LOGS=$BUILD/logs
JOBS=${JOBS:-$(nproc)}
export CROSS_COMPILE=${CROSS_COMPILE:-aarch64-linux-gnu-}

# step TEXT: a line that says what begins now.
step() { printf '==> %s\n' "$*" >&2; }

# info TEXT: a detail below the current step.
info() { printf '    %s\n' "$*" >&2; }

# die CAUSE NEXT: end with the cause and what to do about it.
die()
{
	printf 'error: %s\n' "$1" >&2
	printf 'next:  %s\n' "${2:-run "make help" for the targets}" >&2
	exit 1
}

# run_logged NAME COMMAND...: run with the output in build/logs/NAME.log; say
# every 20 seconds what is being waited for; show the end of the log on failure.
run_logged()
{
	local name=$1 log start pid rc=0 line
	shift
	mkdir -p "$LOGS"
	log=$LOGS/$name.log
	start=$SECONDS
	"$@" >"$log" 2>&1 </dev/null &
	pid=$!
	while kill -0 "$pid" 2>/dev/null; do
		sleep 0.2
		if (( SECONDS - start > 0 && (SECONDS - start) % 20 == 0 )); then
			line=$(tail -n 1 "$log" 2>/dev/null | cut -c1-60)
			info "waiting for $name, $((SECONDS - start)) s: $line"
			sleep 1
		fi
	done
	wait "$pid" || rc=$?
	if (( rc )); then
		tail -n 30 "$log" >&2
		die "$name failed with status $rc" "read $log, then run the same target again"
	fi
	info "$name done in $((SECONDS - start)) s"
}

# stamp_fresh STAMP INPUT...: true if STAMP exists and no input is newer.
stamp_fresh()
{
	local stamp=$1 input
	shift
	[[ -e $stamp ]] || return 1
	for input in "$@"; do
		[[ -n $(find "$input" -newer "$stamp" -print -quit 2>/dev/null) ]] && return 1
	done
	return 0
}

# prepare KERNEL...: build what guests of these flavours need; quick if it is
# all there. The tree is up to date already: the Makefile sees to it.
prepare()
{
	"$TOP/scripts/emulator"
	"$TOP/scripts/kernel" "$@"
	"$TOP/scripts/guest"
}
