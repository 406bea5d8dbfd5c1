#!/bin/sh
# Compose versions that the machine does not have, for tests that compare with them. POSIX sh.
#
#   compose.sh 2.26.1 | 2.40.3
#       prints the path of that version's program, which runs by itself (`PATH -p shop up -d`). Fetched on demand:
#       Debian's own package, by apt over the machine's mirror, with apt's signatures, into a private apt folder, and
#       only unpacked. Nothing is installed; no list, cache or setting of the machine's apt is touched.
#
# Fetched once into .cache/compose/<version> of the clone (or STERNWAY_COMPOSE_DIR/<version>); delete to undo.
#
# Exit codes: 69 cannot be had (no network, no apt, another processor or system), 64 wrong usage.
set -eu

CANNOT_BE_HAD=69
FETCH_SECONDS=300

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
cache=${STERNWAY_COMPOSE_DIR:-$root/.cache/compose}

say() { printf 'compose: %s\n' "$*" >&2; }
give_up() {
    say "$version cannot be had: $*"
    exit $CANNOT_BE_HAD
}

version=${1:-}
case $version in # the release of Debian that has it
2.26.1) release=trixie ;;
2.40.3) release=forky ;;
*)
    sed -n '4,4p' "$0" | cut -c 3- >&2
    exit 64
    ;;
esac

program=$cache/$version/docker-compose
if [ -x "$program" ]; then
    echo "$program"
    exit 0
fi
. "$root/tests/setup/debian.sh"
mkdir -p "$cache/$version"
exec 9>"$cache/$version/lock"
flock -w $((2 * FETCH_SECONDS)) 9 || give_up "$cache/$version/lock is held by another run"
if [ -x "$program" ]; then # by the run that held the lock
    echo "$program"
    exit 0
fi

work=$cache/$version/apt
trap 'rm -rf "$work"' EXIT
say "fetching Debian $release's docker-compose $version once into $cache"
unpack "$work" "$cache/$version/fetch.log" $release docker-compose "$version-"
found=$work/files/usr/libexec/docker/cli-plugins/docker-compose
[ -x "$found" ] || give_up "its package holds no program where it is expected"
says=$("$found" version --short 2>&1) || give_up "it does not run here: $says"
case ${says#v} in
"$version" | "$version"[-+]*) ;;
*) give_up "what was fetched says that it is ${says#v}" ;;
esac
mv "$found" "$program"
echo "$program"
