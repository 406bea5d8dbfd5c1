#!/bin/sh
# Engines that the machine does not have, for suites that must pass on several. POSIX sh; as root, on Debian.
#
#   engines.sh 26.1.5 | 28.5.2 [--containerd-store] [--compose VERSION] -- COMMAND...
#       runs COMMAND on an engine of that version, started for it and stopped afterwards (by engine.sh, which see):
#       own data, exec root, socket, pid file and addresses; DOCKER_HOST points at it.
#   engines.sh 26.1.5 | 28.5.2 --fetch    only fetches it and its compose
#
#   --containerd-store   images live in containerd's store instead of a graph driver: other ids, another `prune`
#   --compose VERSION    `docker-compose` means that version for COMMAND (compose.sh has 2.26.1 and 2.40.3). Without
#                        it 2.26.1 on 26, 2.40.3 on 28: compose 1.29 breaks half-way on engines from 26 on
#
# Fetched once into .cache/engines/<version> of the clone (or STERNWAY_ENGINES_DIR/<version>), delete to undo: Debian's
# own packages, by apt over the machine's mirror, with apt's signatures, into a private apt folder, and only unpacked.
# Nothing is installed; no list, cache or setting of the machine's apt is touched. The runc is the machine's own.
#
# Exit codes: 69 cannot be had (no network, no apt, another processor or system), 64 wrong usage, else COMMAND's own.
set -eu

CANNOT_BE_HAD=69
FETCH_SECONDS=600

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH='' cd -- "$here/../.." && pwd)
cache=${STERNWAY_ENGINES_DIR:-$root/.cache/engines}

say() { printf 'engines: %s\n' "$*" >&2; }
give_up() {
    say "engine $version cannot be had: $*"
    exit $CANNOT_BE_HAD
}
usage() {
    sed -n '4,7p' "$0" | cut -c 3- >&2
    exit 64
}

version=${1:-}
case $version in # the release of Debian that has it, and the compose of the same release
26.1.5) release=trixie compose=2.26.1 ;;
28.5.2) release=forky compose=2.40.3 ;;
*) usage ;;
esac
shift
store='' fetch_only=''
while [ $# -gt 0 ]; do
    case $1 in
    --containerd-store) store=containerd ;;
    --fetch) fetch_only=1 ;;
    --compose) [ $# -gt 1 ] || usage; compose=$2; shift ;;
    --) shift; break ;;
    *) usage ;;
    esac
    shift
done
[ -n "$fetch_only" ] || [ $# -gt 0 ] || usage

bin=$cache/$version/bin

fetch() {
    . "$here/debian.sh"
    mkdir -p "$cache/$version"
    exec 9>"$cache/$version/lock"
    flock -w $((2 * FETCH_SECONDS)) 9 || give_up "$cache/$version/lock is held by another run"
    [ ! -x "$bin/dockerd" ] || return 0 # by the run that held the lock
    say "fetching Debian $release's docker.io $version and its containerd once into $cache"
    work=$cache/$version/apt
    unpack "$work" "$cache/$version/fetch.log" $release docker.io "$version" containerd
    mkdir -p "$work/bin"
    for program in usr/sbin/dockerd usr/sbin/docker-proxy usr/bin/containerd usr/bin/containerd-shim-runc-v2; do
        [ -x "$work/files/$program" ] || give_up "its packages hold no $program"
        mv "$work/files/$program" "$work/bin/"
    done
    says=$("$work/bin/dockerd" --version 2>&1) || give_up "it does not run here: $says"
    case $says in
    *" $version"*) ;;
    *) give_up "what was fetched says that it is $says" ;;
    esac
    mv "$work/bin" "$bin"
    rm -rf "$work"
}

[ -x "$bin/dockerd" ] || fetch
exec 9>&-
composed=$("$here/compose.sh" "$compose") || exit $CANNOT_BE_HAD
[ -z "$fetch_only" ] || exit 0

# The fetched programs for the engine; for COMMAND only the compose, and the docker client of the machine.
STERNWAY_ENGINE_BIN=$bin STERNWAY_ENGINE_STORE=$store \
    STERNWAY_ENGINE_DIR=$cache/$version/engine${store:+-$store} \
    PATH=$(dirname -- "$composed"):$PATH exec "$here/engine.sh" run -- "$@"
