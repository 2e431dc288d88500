#!/usr/bin/env bash
# Checks all modules. The list is short on purpose:
#   gofmt        one way to lay out code, so that diffs show what changed
#   go vet       what is surely wrong: lost contexts, copied locks, formats that don't fit
#   staticcheck  what is nearly surely wrong, or dead; without ST1005, since messages begin with the name of the field that they are about,
#                and SA1019, since the deprecated parts of database/sql/driver are what older drivers consist of
#   shell check  the same for scripts, where it is installed
set -uo pipefail
cd "$(dirname "$0")/.." || exit
failed=0

unformatted=$(git ls-files -co --exclude-standard '*.go' | xargs -r gofmt -l)
if [ -n "$unformatted" ]; then
	printf 'not formatted by gofmt:\n%s\n' "$unformatted"
	failed=1
fi
for module in . integration integration/compat; do
	go -C "$module" vet ./... || failed=1
	(cd "$module" && "$OLDPWD/bin/staticcheck" -checks inherit,-ST1005,-SA1019 ./...) || failed=1
done
if command -v shellcheck >/dev/null; then
	git ls-files -co --exclude-standard '*.sh' .ci/run | xargs -r shellcheck -S warning || failed=1
fi
exit "$failed"
