#!/usr/bin/env bash
# Makes the servers of the integration tests available: on Debian, as root, it installs sqlite3 and Docker, starts Docker, and
# gets the images that are missing, from a registry where one can be reached, else by building them.
# What is there already is left alone. An engine whose URL is in the environment (XA_POSTGRES_17_URL, ...) needs no image.
#
# Exit status: 0 also where servers can't be had, so that the tests without servers still run; 1 if
# XA_REQUIRE asks for an engine that can't be had.
set -euo pipefail

HERE=$(cd "$(dirname "$0")" && pwd)
DOCKERD_LOG=${DOCKERD_LOG:-/var/log/dockerd.log}
export DEBIAN_FRONTEND=noninteractive

say() { printf 'setup: %s\n' "$*" >&2; }

# required IMAGE: does XA_REQUIRE ask for it, by name, by kind or by "all"?
required() {
	case ",${XA_REQUIRE//[[:space:]]/}," in
	*,all,* | *",$1,"* | *",${1%%:*},"*) return 0 ;;
	esac
	return 1
}

# url_of IMAGE: the URL that the environment has for it.
url_of() {
	local name=XA_${1//[:.]/_}_URL
	name=${name^^}
	printf '%s' "${!name:-}"
}

# without REASON: ends here when servers can't be had.
without() {
	local image status=0
	say "NO SERVERS: $1"
	for image in "${wanted[@]}"; do
		docker image inspect "$image" >/dev/null 2>&1 && docker info >/dev/null 2>&1 && continue
		if required "$image"; then
			say "$image is required by XA_REQUIRE=$XA_REQUIRE"
			status=1
		else
			say "tests that need $image will be skipped"
		fi
	done
	exit "$status"
}

install_docker() {
	command -v dockerd >/dev/null && command -v docker >/dev/null && command -v iptables >/dev/null &&
		command -v pgrep >/dev/null && return
	command -v apt-get >/dev/null || without "Docker is not installed, and this is no Debian: install it, or set the engines' URLs"
	say "installing Docker (docker.io, iptables, procps)"
	if ! { apt-get -qq -o DPkg::Lock::Timeout=120 update &&
		apt-get -qq -o DPkg::Lock::Timeout=120 install -y --no-install-recommends docker.io iptables procps ca-certificates >/dev/null; }; then
		without "apt-get could not install Docker"
	fi
}

# A machine whose processes were all killed has files that name processes which are gone, or, worse, whose numbers others have
# by now: dockerd then refuses to start, or waits for a containerd that is not there.
remove_stale() {
	pgrep -x dockerd >/dev/null || rm -f /var/run/docker.pid /var/run/docker.sock
	if ! pgrep -x containerd >/dev/null; then
		rm -f /run/containerd/containerd.sock /run/containerd/containerd.sock.ttrpc
		rm -f /var/run/docker/containerd/{containerd.pid,containerd.sock,containerd.sock.ttrpc,containerd-debug.sock}
	fi
}

start_docker() {
	docker info >/dev/null 2>&1 && return
	[ -z "${DOCKER_HOST:-}" ] || without "no Docker daemon answers at DOCKER_HOST=$DOCKER_HOST"
	[ "$(id -u)" = 0 ] || without "no Docker daemon answers, and only root can start one"
	install_docker
	if [ -d /run/systemd/system ]; then
		say "starting Docker by systemd"
		systemctl start docker || without "systemd could not start Docker"
	fi
	local i starts=0
	for ((i = 0; i < 120; i++)); do
		docker info >/dev/null 2>&1 && return
		# One that is there may be about to end: it is waited for, and another started when it has.
		if [ ! -d /run/systemd/system ] && ! dockerd_lives; then
			[ "$((starts++))" -lt 3 ] || break
			start_dockerd
		fi
		sleep 0.5
	done
	tail -n 15 "$DOCKERD_LOG" >&2 || true
	without "dockerd does not answer"
}

# In its first moments the process that becomes dockerd is setsid.
dockerd_pid=
dockerd_lives() { pgrep -x dockerd >/dev/null || { [ -n "$dockerd_pid" ] && kill -0 "$dockerd_pid" 2>/dev/null; }; }

start_dockerd() {
	remove_stale
	say "starting dockerd (log: $DOCKERD_LOG)"
	# A session of its own keeps it alive when this script, or make, is interrupted. The lock is not for it.
	setsid dockerd >"$DOCKERD_LOG" 2>&1 </dev/null 9>&- &
	dockerd_pid=$!
}

# pull IMAGE: from a registry. One attempt without success is enough for all images.
registry=maybe
pull() {
	[ "$registry" != no ] || return 1
	say "pulling $1"
	if timeout 120 docker pull -q "$1" >/dev/null 2>&1; then return 0; fi
	say "no registry that has it can be reached"
	registry=no
	return 1
}

main() {
	local image missing=() build=()
	wanted=()
	while read -r image; do
		if [ -n "$(url_of "$image")" ]; then
			say "$image: a server is in the environment"
		else
			wanted+=("$image")
		fi
	done < <("$HERE/images/build.sh" list)
	[ ${#wanted[@]} -gt 0 ] || return 0

	# Two runs at once would both install, start and build.
	if [ "$(id -u)" = 0 ] && command -v flock >/dev/null; then
		exec 9>/tmp/xasql-setup.lock
		flock 9
	fi
	start_docker
	for image in "${wanted[@]}"; do
		docker image inspect "$image" >/dev/null 2>&1 || missing+=("$image")
	done
	for image in "${missing[@]+"${missing[@]}"}"; do
		pull "$image" || build+=("$image")
	done
	if [ ${#build[@]} -gt 0 ]; then
		say "building ${build[*]} from Debian packages: a minute or two, once"
		"$HERE/images/build.sh" "${build[@]}" 9>&- || without "images could not be built: ${build[*]}"
	fi
	say "ready: Docker with ${wanted[*]}"
}
# The sqlite3 command line is the writer that knows nothing of xasql: a plain connection stands in for it where it can't be had.
install_sqlite() {
	command -v sqlite3 >/dev/null && return
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		say "installing sqlite3"
		apt-get -qq -o DPkg::Lock::Timeout=120 update &&
			apt-get -qq -o DPkg::Lock::Timeout=120 install -y --no-install-recommends sqlite3 >/dev/null && return
	fi
	say "no sqlite3 command line"
}

XA_REQUIRE=${XA_REQUIRE:-}
install_sqlite
main "$@"
