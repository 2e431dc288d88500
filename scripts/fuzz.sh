#!/usr/bin/env bash
# Runs every fuzz target for the given time each. What it finds is written to testdata/fuzz, and belongs into a commit.
set -euo pipefail
cd "$(dirname "$0")/.."
# Random schemas and statements, prepared, killed and committed, compared with plain SQLite: as many as the time allows at 50 a second.
seconds=${1%s}
[ "$seconds" != "$1" ] && [ -z "${seconds//[0-9]/}" ] || seconds=60
echo "== random SQLite branches"
go test ./drivers/sqlite -count=1 -run Random -sqlite.seed 0 -sqlite.runs $((50 * seconds)) -timeout 12h
for package in $(go list ./...); do
	# Without a limit Go minimizes one find for a minute, and tries nothing else.
	for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
		echo "== $package $target"
		go test -run '^$' -fuzz "^$target\$" -fuzzminimizetime 100x -fuzztime "$1" "$package"
	done
done
