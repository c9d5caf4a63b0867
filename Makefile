# SPDX-License-Identifier: GPL-2.0-only
#
# Thin: every target calls the script of its name in scripts/, where the work
# and its explanation are. Variables given to make reach the scripts.

# The kernel flavour of "make kernel": pristine, on, off, debug or noreserve.
K ?= on
# The one test that "make test" runs; empty for all.
T ?=
# The one workload that "make bench" measures; empty for all.
B ?=
# The one mutant that "make mutants" runs; empty for all.
M ?=

export BUILD DISCARD JOBS BASE_VERSION

.DEFAULT_GOAL := help
.PHONY: help setup fetch emulator tree refresh series stat lint bisect \
	variants kernel guest run test test-all selftests mutants bench clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

setup: ## install what is needed: one apt-get line, shown first
	@scripts/setup

fetch: ## download kernel, emulator and guest sources into build/dl
	@scripts/fetch

tree: ## build/tree: git tree of the base and one commit per step
	@scripts/tree

refresh: ## write the commits of build/tree back to patches/ and the new files
	@scripts/refresh

series: ## build/series: the mails as one would post them
	@scripts/series

stat: ## patches, new files, and lines changed in existing files by area
	@scripts/stat

lint: ## check patches, new files, scripts and prose
	@scripts/lint

bisect: ## build every step of the series, with the option on and off
	@scripts/bisect

variants: ## compile the series without NUMA, THP, swap, ..., and with larger pages
	@scripts/variants

emulator: ## build the emulator whose tags live in guest RAM
	@scripts/emulator

# A tree with work that was not refreshed is built as it is.
kernel: ## build a kernel: K=pristine, on, off, debug or noreserve
	@scripts/tree -u
	@scripts/kernel $(K)

guest: ## build the guest's root: busybox, selftests, our programs
	@scripts/tree -u
	@scripts/guest

run: ## set up, build, boot, and show the memory won back beside tagged memory
	@scripts/setup
	@scripts/tree -u
	@scripts/run

test: ## set up, build, and run the quick tests, or T=NAME alone
	@scripts/setup
	@scripts/tree -u
	@scripts/test $(T)

test-all: ## the same with the slow tests: hours
	@scripts/setup
	@scripts/tree -u
	@scripts/test -a

selftests: ## the in-tree mm selftests on four kernels, as a table
	@scripts/setup
	@scripts/tree -u
	@scripts/selftests

mutants: ## break each hook, or M=NAME alone, and see the test that notices
	@scripts/setup
	@scripts/tree -u
	@scripts/mutants $(M)

bench: ## count instructions of all workloads, or of B=NAME, on three kernels
	@scripts/setup
	@scripts/tree -u
	@scripts/bench $(B)

clean: ## remove build/ but for downloads and the compiler's cache
	@scripts/clean
