# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# The series as git commits. build_steps makes one commit per line of
# patches/series; export_steps writes commits back as patches and new files.
# Both work on the object store of build/tree alone: neither touches its
# worktree or branches. Sourced after lib.sh and lib-base.sh.
#
# The same patches give the same commit ids everywhere, because author, date
# and committer all come from the patch. A step that was built before is found
# again by its key: the checksum of the step before it and of all its files.

TREE=${TREE:-$BUILD/tree}
PRISTINE=${PRISTINE:-$BUILD/pristine}
SERIES=$SRC/patches/series
STATE=$TREE/.git/series

# The result may not depend on the user's git settings or language.
export LC_ALL=C GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE

# A patch without a date gets this one.
NO_DATE='Sat, 1 Jan 2000 00:00:00 +0000'

# t ARGS: git in the tree; ti ARGS: the same with the index of build_steps.
t() { git -C "$TREE" "$@"; }
ti() { GIT_INDEX_FILE=$STATE/index git -C "$TREE" "$@"; }

# series_lines FILE: "patch file file ..." of each step, without comments.
series_lines() { sed 's/#.*//; /^[[:space:]]*$/d' "$1"; }

# in_tree COMMIT PATH: true if COMMIT has a file PATH.
in_tree() { t cat-file -e "$1:$2" 2>/dev/null; }

# need_tree: end unless build/tree exists.
need_tree()
{
	[[ -e $STATE ]] || die "there is no tree at $TREE" 'run "make tree"'
}

# work_cause: if the tree holds work that patches/ does not have, say what;
# otherwise fail.
work_cause()
{
	if [[ $(t symbolic-ref -q HEAD) != refs/heads/series ]]; then
		echo "$TREE is not on the branch series (a rebase under way?)"
	elif [[ $(t status --porcelain | head -n 1) ]]; then
		echo "$TREE has uncommitted changes"
	elif [[ $(t rev-parse HEAD) != "$(t rev-parse -q --verify refs/series/refreshed)" ]]; then
		echo "$TREE has commits that patches/ does not have"
	else
		return 1
	fi
}

# refuse_work: end if there is such work.
refuse_work()
{
	local cause
	! cause=$(work_cause) ||
		die "$cause" "finish and commit it there (git -C $TREE status), then \"make refresh\"; or throw it away by DISCARD=1"
}

# step_key PATCH FILE...: the key of a step on top of STEP_KEY.
step_key()
{
	local file
	{
		printf '%s\n' "$STEP_KEY"
		cat "$SRC/patches/$1"
		for file in "${@:2}"; do
			[[ -x $SRC/$file ]] && printf 'x '
			printf '%s\n' "$file"
			cat "$SRC/$file"
		done
	} | sha256sum | cut -d' ' -f1
}

# build_steps: make the commits. Sets STEP_TIP to the last one, STEP_KEY to its
# key and STEP_NOTES to one line per hunk that applied at an offset.
build_steps()
{
	local patch files
	STEP_TIP=$(t rev-parse 'base^{commit}')
	STEP_KEY=$STEP_TIP
	STEP_NOTES=
	INDEX_AT=
	mkdir -p "$STATE/steps"
	# One at a time: there is one index.
	exec 9>"$STATE/lock"
	flock 9
	while read -r patch files; do
		# shellcheck disable=SC2086 # a list of paths without blanks
		build_step "$patch" $files
	done < <(series_lines "$SERIES")
	exec 9>&-
}

build_step()
{
	local patch=$1 key notes
	check_step_files "$@"
	key=$(step_key "$@")
	if [[ ! -e $STATE/steps/$key ]]; then
		[[ $INDEX_AT == "$STEP_TIP" ]] || ti read-tree "$STEP_TIP"
		check_patch_edits "$patch"
		apply_patch "$patch" >"$STATE/notes"
		add_new_files "$@"
		{ commit_step "$patch" && cat "$STATE/notes"; } >"$STATE/step.new"
		mv "$STATE/step.new" "$STATE/steps/$key"
		INDEX_AT=$(head -n 1 "$STATE/steps/$key")
	fi
	STEP_TIP=$(head -n 1 "$STATE/steps/$key")
	notes=$(tail -n +2 "$STATE/steps/$key")
	STEP_NOTES+=${notes:+$notes$'\n'}
	STEP_KEY=$key
}

# check_step_files PATCH FILE...: what the line names is there, and new.
check_step_files()
{
	local patch=$1 file
	[[ -f $SRC/patches/$patch ]] ||
		die "patches/series names $patch, which is not in patches/" \
			"add the file or drop the line"
	for file in "${@:2}"; do
		[[ -f $SRC/$file ]] ||
			die "$patch: patches/series names the new file $file, which is missing" \
				"write it at that path from the project's root or drop the name"
		in_tree base "$file" &&
			die "$patch: the new file $file exists in the base" \
				"edit it by a patch instead: a file is either new or patched"
		in_tree "$STEP_TIP" "$file" &&
			die "$patch: an earlier step brings $file already" \
				"name each new file in one line of patches/series"
	done
	return 0
}

# check_patch_edits PATCH: it edits files of the base and does nothing else.
check_patch_edits()
{
	local patch=$1 what file
	what=$(t apply --summary --allow-empty "$SRC/patches/$patch" 2>/dev/null |
		grep -vm1 '^ mode change' || true)
	case $what in
	' create mode'*)
		die "$patch creates a file:${what# create mode ??????}" \
			"place the file at its path from the project's root and name it in patches/series" ;;
	?*)	die "$patch does more than edit files:$what" \
			"split or rewrite it: patches only edit files of the base" ;;
	esac
	while read -r _ _ file; do
		in_tree base "$file" && continue
		in_tree "$STEP_TIP" "$file" &&
			die "$patch edits $file, which the series itself brings" \
				"edit the new file instead: a file is either new or patched"
		die "$patch edits $file, which the base does not have" \
			"find where the base has moved it, or drop the hunk"
	done < <(t apply --numstat --allow-empty "$SRC/patches/$patch" 2>/dev/null)
}

# apply_patch PATCH: apply it to the index; print a line for every offset.
apply_patch()
{
	local patch=$1 out
	if ! out=$(ti apply --cached -v --allow-empty --whitespace=nowarn \
		"$SRC/patches/$patch" 2>&1); then
		explain_failure "$patch"
		die "$patch does not apply to $(t log -1 --format=%s "$STEP_TIP")" \
			"drop or adapt the hunks above, then run the same target again"
	fi
	awk -v patch="$patch" '
		/^Checking patch / { file = $3; sub(/\.\.\.$/, "", file) }
		/\(offset / { print patch ": " file ": " $0 }' <<<"$out"
}

# explain_failure PATCH: say for each hunk of PATCH that does not apply whether
# the base has it already.
explain_failure()
{
	local dir=$STATE/hunks hunk place
	rm -rf "$dir"
	mkdir -p "$dir"
	awk -v dir="$dir" '
		/^diff --git / { head = ""; inhead = 1 }
		/^@@ / {
			inhead = 0
			out = sprintf("%s/%04d", dir, ++n)
			printf "%s", head >out
		}
		/^-- $/ { next }
		inhead { head = head $0 "\n"; next }
		out { print >out }' "$SRC/patches/$1"
	for hunk in "$dir"/*; do
		[[ -e $hunk ]] || break
		ti apply --cached --check "$hunk" 2>/dev/null && continue
		place=$(sed -n 's,^+++ b/,,p; s/^@@ \([^@]*\) @@.*/\1/p' "$hunk" | paste -sd' ')
		if ti apply --cached --check -R "$hunk" 2>/dev/null; then
			info "$1: $place: already in base: drop it"
		else
			info "$1: $place: does not apply"
		fi
	done
}

# add_new_files PATCH FILE...: put the step's new files into the index.
add_new_files()
{
	local file mode blob
	for file in "${@:2}"; do
		mode=100644
		[[ -x $SRC/$file ]] && mode=100755
		blob=$(t hash-object -w --no-filters "$SRC/$file")
		ti update-index --add --cacheinfo "$mode,$blob,$file"
	done
}

# mail_field NAME: a field of the patch that mailinfo has just read.
mail_field() { sed -n "s/^$1: //p" "$STATE/mail" | head -n 1; }

# commit_step PATCH: commit the index on top of STEP_TIP, print the commit.
commit_step()
{
	local name email date tree
	git mailinfo -b "$STATE/body" /dev/null <"$SRC/patches/$1" >"$STATE/mail"
	name=$(mail_field Author) email=$(mail_field Email) date=$(mail_field Date)
	[[ $name && $email && $(mail_field Subject) ]] ||
		die "$1 has no From: or no Subject: line" "write it as git format-patch does"
	tree=$(ti write-tree)
	{ mail_field Subject; echo; cat "$STATE/body"; } | git stripspace |
		GIT_AUTHOR_NAME=$name GIT_AUTHOR_EMAIL=$email GIT_AUTHOR_DATE=${date:-$NO_DATE} \
		GIT_COMMITTER_NAME=$name GIT_COMMITTER_EMAIL=$email GIT_COMMITTER_DATE=${date:-$NO_DATE} \
		t commit-tree "$tree" -p "$STEP_TIP"
}

# export_steps TIP DIR: write the commits base..TIP below DIR as patches/,
# patches/series (with the comments of SERIES) and new files.
export_steps()
{
	local tip=$1 dir=$2 commit number=0
	rm -rf "$dir"
	mkdir -p "$dir/patches"
	[[ -z $(t rev-list --min-parents=2 "base..$tip") ]] ||
		die "the series contains a merge" "rebase it flat: git -C $TREE rebase base"
	for commit in $(t rev-list --reverse "base..$tip"); do
		number=$((number + 1))
		export_step "$commit" "$dir" "$number"
	done >"$dir/lines"
	merge_comments "$dir/lines" >"$dir/patches/series"
	rm "$dir/lines"
}

# export_step COMMIT DIR NUMBER: one patch and its new files; print its line.
export_step()
{
	local commit=$1 dir=$2 name status file added=() edited=()
	check_subject "$commit"
	name=$(printf '%04d-%.52s' "$3" "$(t log -1 --format=%f "$commit")").patch
	while IFS=$'\t' read -r status file; do
		check_change "$commit" "$status" "$file"
		case $status in
		A)	added+=("$file")
			export_file "$commit" "$file" "$dir" ;;
		*)	edited+=("$file") ;;
		esac
	done < <(t diff-tree -r --no-commit-id --no-renames --name-status "$commit")
	export_patch "$commit" "${edited[@]}" >"$dir/patches/$name"
	printf '%s\n' "$name${added[*]:+ ${added[*]}}"
}

check_subject()
{
	local subject
	subject=$(t log -1 --format=%s "$1")
	[[ ! $subject =~ ^(fixup|squash|amend)! ]] ||
		die "\"$subject\" is not folded into its commit" \
			"git -C $TREE rebase -i base, then \"make refresh\""
}

# check_change COMMIT STATUS FILE: a step may edit files of the base and add
# files, and a new file is whole in the step that adds it.
check_change()
{
	local commit=$1 status=$2 file=$3 subject origin
	subject=$(t log -1 --format=%s "$commit")
	if in_tree base "$file"; then
		[[ $status == M ]] || die "\"$subject\" does not only edit $file of the base (git status $status)" \
			"only edits can be a patch: undo the rest in that commit"
	elif [[ $status != A ]]; then
		origin=$(t log -1 --diff-filter=A --format='%h "%s"' "$commit" -- "$file")
		die "\"$subject\" changes $file, which $origin adds" \
			"a new file is whole in one step: commit the change with git commit --fixup=${origin%% *}, then git rebase -i base"
	fi
	[[ ! $file =~ [[:space:]] ]] ||
		die "\"$subject\": a blank in the name $file" "rename it"
}

# export_file COMMIT FILE DIR: write FILE of COMMIT below DIR.
export_file()
{
	local mode
	mode=$(t ls-tree "$1" "$2" | cut -c1-6)
	[[ $mode == 100* ]] || die "$2 is not a regular file" "make it one in $TREE"
	mkdir -p "$(dirname "$3/$2")"
	t cat-file blob "$1:$2" >"$3/$2"
	[[ $mode == 100644 ]] || chmod +x "$3/$2"
}

# export_patch COMMIT FILE...: print it without anything that differs from one
# run or machine to another.
export_patch()
{
	t log -1 --format='From: %an <%ae>%nDate: %aD%nSubject: [PATCH] %s%n%n%b' "$1" |
		git stripspace
	printf -- '---\n'
	(( $# > 1 )) || return 0
	t diff-tree --no-commit-id --no-renames --stat=72 --summary "$1" -- "${@:2}"
	echo
	t diff-tree --no-commit-id --no-renames -p "$1" -- "${@:2}" |
		sed '/^index [0-9a-f]*\.\.[0-9a-f]*/d'
}

# merge_comments LINES: print LINES with the comments of SERIES: its head, up
# to the first empty line, on top; any other comment above the step (known by
# its name without the number) that it stood above, or the next one remaining.
merge_comments()
{
	awk '
	function slug(name) { sub(/^[0-9]+-/, "", name); return name }
	FILENAME == ARGV[1] { line[++n] = $0; known[slug($1)] = 1; next }
	!inbody && !/^[^#]/ { print; if (!NF) inbody = 1; next }
	{ inbody = 1 }
	/^[[:space:]]*(#|$)/ { held = held $0 "\n"; next }
	slug($1) in known { above[slug($1)] = held; held = "" }
	END {
		for (i = 1; i <= n; i++) {
			split(line[i], word)
			printf "%s%s\n", above[slug(word[1])], line[i]
		}
		printf "%s", held
	}' "$1" "$SERIES"
}

# check_export TIP DIR: building what export_steps wrote gives the same trees
# and messages. Returns with STEP_KEY of DIR.
check_export()
{
	local tip=$1 dir=$2 old new
	SRC=$dir SERIES=$dir/patches/series
	build_steps
	while read -r old new; do
		[[ $(t rev-parse "$old^{tree}") == "$(t rev-parse "$new^{tree}")" &&
			$(t log -1 --format=%B "$old") == "$(t log -1 --format=%B "$new")" ]] ||
			die "commit $(t log -1 --format='%h "%s"' "$old") does not survive as a patch" \
				"compare: git -C $TREE diff $old $new; a message may not hold a line of --- or \"diff -\""
	done < <(paste <(t rev-list --reverse "base..$tip") <(t rev-list --reverse "base..$STEP_TIP"))
}
