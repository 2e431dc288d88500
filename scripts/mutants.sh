#!/usr/bin/env bash
# Breaks each of the protocol's rules on purpose, one at a time in a copy of the tree, and fails if the tests don't notice. A mutant is a patch in
# internal/simulation/mutants; its header names the rule, what is broken, and the tests that must fail. With arguments: only
# the mutants whose names contain one of them.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
export GIT_CEILING_DIRECTORIES=$copy # git apply takes the copy for no part of a repository

# The tree as it stands: what is not committed yet too.
(cd "$root" && { git ls-files -z --cached --others --exclude-standard | xargs -0 ls -d 2>/dev/null || true; } | tar c --no-recursion -T -) | tar x -C "$copy"
cd "$copy"

field() { sed -n "s/^$1: //p" "$2" | head -1; }

# first prints the first schedule, panic or failing test of a run's output.
first() {
	schedule=$(grep -o "plain-[^']*\|bound-[^']*\|proof-[^']*\|mixed-[^']*" "$1" | grep -m1 ': ' | cut -d'"' -f1 || true)
	name=$(grep -om1 -- '--- FAIL: [^ /]*' "$1" | cut -d' ' -f3 || true)
	echo "${name:-a panic}${schedule:+: $schedule}"
}

patches=()
for patch in "$root"/internal/simulation/mutants/*.patch; do
	[[ $# -eq 0 ]] && patches+=("$patch")
	for word in "$@"; do
		if [[ $(basename "$patch") == *"$word"* ]]; then
			patches+=("$patch")
			break
		fi
	done
done

began=$SECONDS n=0 survived=() broken=() table=""
for patch in "${patches[@]}"; do
	name=$(basename "$patch" .patch) rule=$(field Rule "$patch")
	read -ra args <<<"$(field Test "$patch")"
	n=$((n + 1))
	printf '%2d/%d %-4s %-42s ' "$n" "${#patches[@]}" "$rule" "$name"
	if ! git apply -C1 "$patch" 2>"$copy/out.txt"; then
		by="DOES NOT APPLY: $(head -1 "$copy/out.txt")"
		broken+=("$name")
	elif ! go test -run '^$' "${args[0]}" >"$copy/out.txt" 2>&1; then
		by="DOES NOT COMPILE: $(grep -m1 '\.go:' "$copy/out.txt")"
		broken+=("$name")
	elif go test -count=1 -failfast -timeout 5m "${args[@]}" >"$copy/out.txt" 2>&1; then
		by="SURVIVED go test ${args[*]}"
		grep -q 'no tests to run' "$copy/out.txt" && by="NO SUCH TEST: go test ${args[*]}"
		survived+=("$name")
	else
		by=$(first "$copy/out.txt")
	fi
	git apply -C1 -R "$patch" 2>/dev/null || true
	echo "$by"
	table+="$rule"$'\t'"$(field Break "$patch")"$'\t'"$by"$'\n'
done

printf '\nRULE\tMUTANT\tCAUGHT BY\n%s' "$table" | column -t -s $'\t'
echo
for rule in P{1..14}; do
	if [[ $# -eq 0 ]] && ! grep -q "^$rule"$'\t' <<<"$table"; then
		echo "rule $rule has no mutant"
		broken+=("$rule")
	fi
done
echo "$n mutants, $((n - ${#survived[@]} - ${#broken[@]})) caught, ${#survived[@]} survived, ${#broken[@]} broken, in $((SECONDS - began)) s"
[[ ${#survived[@]} -eq 0 && ${#broken[@]} -eq 0 ]]
