#!/usr/bin/env bash
# Runs all tests of all modules, and tells at the end what ran and what was skipped. Arguments go to go test, e.g. -race.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

summary=() failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Test processes note here which engines they had to do without: go test hides the output of tests that pass.
export XA_SKIPPED=$work/skipped
: >"$XA_SKIPPED"

# step NAME COMMAND...: runs it, and notes how it went.
step() {
	local name=$1 begun=$SECONDS result=ok
	shift
	printf '\n== %s\n' "$name"
	"$@" || { result=FAILED failed=1; }
	summary+=("$(printf '%-28s %-7s %4d s' "$name" "$result" $((SECONDS - begun)))")
}

vet() { go vet ./... && go -C integration vet ./... && go -C integration/compat vet ./...; }

library() { go test -timeout 10m "$@" ./...; }

# The servers of one package at a time are as many as two cores bear. -v shows that long tests go on; of what passes,
# only the tests' own lines are shown.
servers() {
	go -C integration test -count=1 -p 1 -timeout 40m -v "$@" ./... |
		sed -uE '/^(=== (RUN|PAUSE|CONT|NAME)| +--- PASS)/d'
}

# Every library's application, on servers that are started once.
libraries() {
	go -C integration/compat test -count=1 -timeout 15m -v "$@" . |
		sed -uE '/^(=== (RUN|PAUSE|CONT|NAME)| +--- PASS)/d' || return
	go -C integration/compat test -count=1 -run '^Example' "$@" ./gorm ./sqlc
}

# Once each, so that no benchmark rots.
benchmarks() {
	git grep -lE '^func Benchmark' -- '*_test.go' ':!integration' | xargs -r dirname | sort -u | sed 's|^|./|' |
		xargs -r go test -short -run '^$' -bench . -benchtime 1x
}

# A mutant that does not apply any more breaks nothing, and so shows nothing.
mutants() {
	local patch fit=0
	for patch in internal/simulation/mutants/*.patch; do
		git apply -C1 --check "$patch" || fit=1
	done
	return "$fit"
}

step "servers" integration/setup.sh
step "go vet" vet
step "tests without servers" library "$@"
step "mutants still apply" mutants
step "benchmarks, once each" benchmarks
step "tests with servers" servers "$@"
step "ORMs and generated code" libraries "$@"

printf '\n== summary\n'
printf '%s\n' "${summary[@]}"
sort -u "$XA_SKIPPED" | sed 's/^/SKIPPED for want of /'
if [ "$failed" = 0 ]; then echo "all passed"; else echo "FAILED"; fi
exit "$failed"
