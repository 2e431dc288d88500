#!/bin/bash
# Entry point of the MariaDB stand-in: makes the data directory at the first start, as the official image does, then
# becomes the server, so that a signal to the container is a signal to the server.
set -euo pipefail
case "${1:-mariadbd}" in -*) set -- mariadbd "$@" ;; esac
[ $# -gt 0 ] || set -- mariadbd
case "$1" in mariadbd | mysqld) ;; *) exec "$@" ;; esac
data=/var/lib/mysql
mkdir -p "$data" /run/mysqld
chown 999:999 "$data" /run/mysqld
if [ ! -e "$data/.initialised" ]; then
	pw=${MARIADB_ROOT_PASSWORD-${MYSQL_ROOT_PASSWORD-}} db=${MARIADB_DATABASE:-${MYSQL_DATABASE:-}}
	user=${MARIADB_USER:-${MYSQL_USER:-}} upw=${MARIADB_PASSWORD:-${MYSQL_PASSWORD:-}}
	if [ -z "$pw" ] && [ -z "${MARIADB_ALLOW_EMPTY_ROOT_PASSWORD:-${MYSQL_ALLOW_EMPTY_PASSWORD:-}}" ]; then
		echo "Error: Database is uninitialized and password option is not specified. Set MARIADB_ROOT_PASSWORD." >&2
		exit 1
	fi
	q() { local s=${1//\\/\\\\}; printf "'%s'" "${s//\'/\'\'}"; }
	find "$data" -mindepth 1 -delete
	mariadb-install-db --user=mysql --datadir="$data" --auth-root-authentication-method=normal \
		--skip-test-db --skip-name-resolve >/tmp/install.log 2>&1 || { cat /tmp/install.log; exit 1; }
	{
		echo "FLUSH PRIVILEGES;"
		echo "CREATE USER 'root'@'%' IDENTIFIED BY $(q "$pw");"
		echo "GRANT ALL ON *.* TO 'root'@'%' WITH GRANT OPTION;"
		echo "ALTER USER 'root'@'localhost' IDENTIFIED BY $(q "$pw");"
		if [ -n "$db" ]; then echo "CREATE DATABASE IF NOT EXISTS \`$db\`;"; fi
		if [ -n "$user" ]; then
			echo "CREATE USER $(q "$user")@'%' IDENTIFIED BY $(q "$upw");"
			if [ -n "$db" ]; then echo "GRANT ALL ON \`${db//_/\\_}\`.* TO $(q "$user")@'%';"; fi
		fi
	} >/tmp/init.sql
	mariadbd --bootstrap --user=mysql --datadir="$data" --skip-networking </tmp/init.sql >/tmp/boot.log 2>&1 || { cat /tmp/boot.log; exit 1; }
	rm -f /tmp/init.sql
	touch "$data/.initialised"
	sync -f "$data"
	echo "MariaDB init process done. Ready for start up."
fi
exec "$@" --user=mysql
