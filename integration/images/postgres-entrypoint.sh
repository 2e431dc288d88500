#!/bin/bash
# Entry point of the PostgreSQL stand-in: makes the data directory at the first start, as the official image does, then
# becomes the server, so that a signal to the container is a signal to the server.
set -euo pipefail
case "${1:-postgres}" in -*) set -- postgres "$@" ;; esac
[ $# -gt 0 ] || set -- postgres
[ "$1" = postgres ] || exec "$@"
as() { if [ "$(id -u)" = 0 ]; then setpriv --reuid=999 --regid=999 --clear-groups "$@"; else "$@"; fi; }
export HOME=/var/lib/postgresql
if [ "$(id -u)" = 0 ]; then
	mkdir -p "$PGDATA" /run/postgresql /run/lock
	chown 999:999 "$PGDATA" /run/postgresql
	chmod 700 "$PGDATA"
fi
if [ ! -s "$PGDATA/PG_VERSION" ] || [ -e "$PGDATA/.initialising" ]; then
	method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
	if [ -z "${POSTGRES_PASSWORD:-}" ] && [ "$method" != trust ]; then
		echo "Error: Database is uninitialized and superuser password is not specified. Set POSTGRES_PASSWORD." >&2
		exit 1
	fi
	# shellcheck disable=SC2034 # eval uses it
	user=${POSTGRES_USER:-postgres} db=${POSTGRES_DB:-${POSTGRES_USER:-postgres}}
	# a container killed half way through its first start begins again
	find "$PGDATA" -mindepth 1 -delete
	pw=$(mktemp)
	printf '%s\n' "${POSTGRES_PASSWORD:-}" >"$pw"
	chown 999:999 "$pw" 2>/dev/null || true
	pwargs=()
	# shellcheck disable=SC2034 # eval uses it
	if [ -n "${POSTGRES_PASSWORD:-}" ]; then pwargs=(--pwfile="$pw"); fi
	# --no-sync: the first checkpoint after start syncs what matters for tests
	eval 'as initdb -D "$PGDATA" -U "$user" --locale=C.UTF-8 --encoding=UTF8 --auth-local=trust --auth-host=scram-sha-256 "${pwargs[@]}" --no-sync '"${POSTGRES_INITDB_ARGS:-}" >/tmp/initdb.log 2>&1 || { cat /tmp/initdb.log; exit 1; }
	rm -f "$pw"
	as touch "$PGDATA/.initialising"
	printf '\nhost all all all %s\n' "$method" >>"$PGDATA/pg_hba.conf"
	printf "\nlisten_addresses = '*'\n" >>"$PGDATA/postgresql.conf"
	if [ "$db" != postgres ]; then
		echo "CREATE DATABASE \"${db//\"/\"\"}\"" | as postgres --single -D "$PGDATA" -F postgres >/dev/null
	fi
	sync -f "$PGDATA"
	rm -f "$PGDATA/.initialising"
	echo "PostgreSQL init process complete; ready for start up."
fi
# The name "postgres" is resolved through PATH. listen_addresses comes from the file.
if [ "$(id -u)" = 0 ]; then
	exec setpriv --reuid=999 --regid=999 --clear-groups "$@"
fi
exec "$@"
