#!/bin/bash
# Entry point of the MySQL stand-in: makes the data directory at the first start, as the official image does, then
# becomes the server, so that a signal to the container is a signal to the server.
set -euo pipefail
case "${1:-mysqld}" in -*) set -- mysqld "$@" ;; esac
[ $# -gt 0 ] || set -- mysqld
[ "$1" = mysqld ] || exec "$@"
data=/var/lib/mysql
mkdir -p "$data" /run/mysqld
chown 999:999 "$data" /run/mysqld
if [ ! -e /var/lib/mysql-files/.initialised ]; then
	pw=${MYSQL_ROOT_PASSWORD-} db=${MYSQL_DATABASE:-} user=${MYSQL_USER:-} upw=${MYSQL_PASSWORD:-}
	if [ -z "$pw" ] && [ -z "${MYSQL_ALLOW_EMPTY_PASSWORD:-}" ]; then
		echo "Error: Database is uninitialized and password option is not specified. Set MYSQL_ROOT_PASSWORD." >&2
		exit 1
	fi
	q() { local s=${1//\\/\\\\}; printf "'%s'" "${s//\'/\'\'}"; }
	find "$data" -mindepth 1 -delete
	{
		echo "CREATE USER 'root'@'%' IDENTIFIED BY $(q "$pw");"
		echo "GRANT ALL ON *.* TO 'root'@'%' WITH GRANT OPTION;"
		echo "ALTER USER 'root'@'localhost' IDENTIFIED BY $(q "$pw");"
		if [ -n "$db" ]; then echo "CREATE DATABASE IF NOT EXISTS \`$db\`;"; fi
		if [ -n "$user" ]; then
			echo "CREATE USER $(q "$user")@'%' IDENTIFIED BY $(q "$upw");"
			if [ -n "$db" ]; then echo "GRANT ALL ON \`${db//_/\\_}\`.* TO $(q "$user")@'%';"; fi
		fi
	} >/tmp/init.sql
	mysqld --initialize-insecure --user=mysql --datadir="$data" --init-file=/tmp/init.sql >/tmp/install.log 2>&1 || { cat /tmp/install.log; exit 1; }
	rm -f /tmp/init.sql
	touch /var/lib/mysql-files/.initialised
	sync -f "$data"
	echo "MySQL init process done. Ready for start up."
fi
exec "$@" --user=mysql
