#!/bin/sh
# Engines that the machine does not have, for suites that must pass on several. POSIX sh; as root, on Debian.
#
#   engines.sh 26.1.5 | 28.5.2 [--containerd-store] [--compose VERSION] -- COMMAND...
#       runs COMMAND on an engine of that version, started for it and stopped afterwards (by engine.sh, which see):
#       own data, exec root, socket, pid file and addresses; DOCKER_HOST points at it.
#   engines.sh 26.1.5 | 28.5.2 --fetch    only fetches it
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

# apt with its own lists, cache and sources. Its helper user may not read the cache of a clone in somebody's home.
# A mirror that lags behind will do: one version is wanted, by name, and its signature is still checked.
private() {
    tool=$1
    shift
    timeout $FETCH_SECONDS "$tool" -q -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::State::lists="$work/lists" -o Dir::Cache="$work" -o Dir::Cache::archives="$work/archives" \
        -o Acquire::Languages=none -o Acquire::Check-Valid-Until=false -o APT::Sandbox::User= \
        -o APT::Update::Post-Invoke= -o Debug::NoLocking=1 \
        "$@" 9>&-
}

# The mirror that this machine gets Debian itself from.
find_mirror() {
    apt-get indextargets --format '$(ORIGIN) $(COMPONENT) $(SITE) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        awk '$1 == "Debian" && $2 == "main" && $4 !~ /security/ { print $4; found = 1; exit } END { exit !found }' ||
        # Lists were never fetched here: as it is written down.
        cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
        sed -n 's/#.*//; s/^URIs:[ \t]*//p; s/^deb[ \t]*\(\[[^]]*\]\)\{0,1\}[ \t]*\([^ \t]*\).*/\2/p' |
        awk '/\/debian\/?$/ { print; exit }'
}

fetch() {
    for needed in apt-get apt-cache dpkg-deb flock timeout; do
        command -v $needed >/dev/null 2>&1 || give_up "$needed is missing"
    done
    mkdir -p "$cache/$version"
    exec 9>"$cache/$version/lock"
    flock -w $((2 * FETCH_SECONDS)) 9 || give_up "$cache/$version/lock is held by another run"
    [ ! -x "$bin/dockerd" ] || return 0 # by the run that held the lock
    mirror=$(find_mirror)
    [ -n "$mirror" ] || give_up "the machine's apt sources name no Debian mirror"
    work=$cache/$version/apt
    rm -rf "$work"
    mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/out" "$work/bin"
    keys=/usr/share/keyrings/debian-archive-keyring.gpg
    if [ -r $keys ]; then signed="[signed-by=$keys] "; else signed=; fi
    echo "deb $signed$mirror $release main" >"$work/sources.list"
    log=$cache/$version/fetch.log
    say "fetching Debian $release's docker.io $version and its containerd once into $cache"
    private apt-get update >"$log" 2>&1 </dev/null || give_up "apt-get update: $(grep -E '^(E|Err|W)' "$log" | tail -n 1)"
    package=$(private apt-cache madison docker.io 2>>"$log" | awk -F ' *[|] *' -v v="$version" \
        'index($2, v) == 1 { print $2; exit }')
    [ -n "$package" ] ||
        give_up "Debian $release has another version by now: $(private apt-cache madison docker.io 2>>"$log" | head -n 1)"
    (cd "$work/out" && private apt-get download "docker.io=$package" containerd) >>"$log" 2>&1 </dev/null ||
        give_up "apt-get download: $(grep -E '^(E|Err)' "$log" | tail -n 1)"
    for deb in "$work"/out/*.deb; do dpkg-deb -x "$deb" "$work/files"; done
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
[ -z "$fetch_only" ] || exit 0

composed=$("$here/compose.sh" "$compose") || exit $CANNOT_BE_HAD
# The fetched programs for the engine; for COMMAND only the compose, and the docker client of the machine.
STERNWAY_ENGINE_BIN=$bin STERNWAY_ENGINE_STORE=$store \
    STERNWAY_ENGINE_DIR=$cache/$version/engine${store:+-$store} \
    PATH=$(dirname -- "$composed"):$PATH exec "$here/engine.sh" run -- "$@"
