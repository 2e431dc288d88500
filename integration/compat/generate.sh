#!/usr/bin/env bash
# Makes the code of sqlc and ent again, with the generators that generate/go.mod pins. Their first build takes minutes.
# With -check it changes nothing in git's eyes or fails: the generated code was stale.
set -euo pipefail
cd "$(dirname "$0")"

go generate ./sqlc ./ent
if [ "${1-}" = -check ]; then
	changed=$(git status --porcelain -- sqlc ent)
	if [ -n "$changed" ]; then
		printf 'generated code is stale: commit what integration/compat/generate.sh has made\n%s\n' "$changed" >&2
		exit 1
	fi
fi
