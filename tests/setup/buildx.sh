#!/bin/sh
# Docker's builder with attestations, which Debian 12 does not have, for tests that build with it. POSIX sh.
#
#   buildx.sh    prints the path of that program, which runs by itself (`PATH build --tag shop/api:1 .`)
#
# Fetched on demand: Debian 13's own docker-buildx, by apt over the machine's mirror, with apt's signatures, into a
# private apt folder, and only unpacked. Nothing is installed; no list, cache or setting of the machine's apt is touched.
#
# Fetched once into .cache/buildx/<version> of the clone (or STERNWAY_BUILDX_DIR/<version>); delete to undo.
#
# Exit codes: 69 cannot be had (no network, no apt, another processor or system), 64 wrong usage.
set -eu

CANNOT_BE_HAD=69
FETCH_SECONDS=300

version=0.13.1 release=trixie

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
cache=${STERNWAY_BUILDX_DIR:-$root/.cache/buildx}

say() { printf 'buildx: %s\n' "$*" >&2; }
give_up() {
    say "$version cannot be had: $*"
    exit $CANNOT_BE_HAD
}

if [ $# != 0 ]; then
    sed -n '4,4p' "$0" | cut -c 3- >&2
    exit 64
fi

program=$cache/$version/docker-buildx
if [ ! -x "$program" ]; then
    . "$root/tests/setup/debian.sh"
    mkdir -p "$cache/$version"
    exec 9>"$cache/$version/lock"
    flock -w $((2 * FETCH_SECONDS)) 9 || give_up "$cache/$version/lock is held by another run"
fi
if [ ! -x "$program" ]; then # nor made by the run that held the lock
    work=$cache/$version/apt
    trap 'rm -rf "$work"' EXIT
    say "fetching Debian $release's docker-buildx $version once into $cache"
    unpack "$work" "$cache/$version/fetch.log" $release docker-buildx "$version"
    found=$work/files/usr/libexec/docker/cli-plugins/docker-buildx
    [ -x "$found" ] || give_up "its package holds no program where it is expected"
    says=$("$found" version 2>&1) || give_up "it does not run here: $says"
    case $says in
    *" $version"* | *" v$version"*) ;;
    *) give_up "what was fetched says that it is $says" ;;
    esac
    mv "$found" "$program"
fi
echo "$program"
