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
for needed in apt-get apt-cache dpkg dpkg-deb flock timeout; do
    command -v $needed >/dev/null 2>&1 || give_up "$needed is missing"
done

mkdir -p "$cache/$version"
exec 9>"$cache/$version/lock"
flock -w $((2 * FETCH_SECONDS)) 9 || give_up "$cache/$version/lock is held by another run"
if [ -x "$program" ]; then # by the run that held the lock
    echo "$program"
    exit 0
fi

# The mirror that this machine gets Debian itself from.
mirror=$(apt-get indextargets --format '$(ORIGIN) $(COMPONENT) $(SITE) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    awk '$1 == "Debian" && $2 == "main" && $4 !~ /security/ { print $4; exit }')
if [ -z "$mirror" ]; then # lists were never fetched here: as it is written down
    mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
        sed -n 's/#.*//; s/^URIs:[ \t]*//p; s/^deb[ \t]*\(\[[^]]*\]\)\{0,1\}[ \t]*\([^ \t]*\).*/\2/p' |
        awk '/\/debian\/?$/ { print; exit }')
fi
[ -n "$mirror" ] || give_up "the machine's apt sources name no Debian mirror"

work=$cache/$version/apt
rm -rf "$work"
mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/out"
trap 'rm -rf "$work"' EXIT
keys=/usr/share/keyrings/debian-archive-keyring.gpg
if [ -r $keys ]; then signed="[signed-by=$keys] "; else signed=; fi
echo "deb $signed$mirror $release main" >"$work/sources.list"
# apt's own helper user may not read the cache of a clone in somebody's home.
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
say "fetching Debian $release's docker-compose $version once into $cache"
log=$cache/$version/fetch.log
private apt-get update >"$log" 2>&1 </dev/null || give_up "apt-get update: $(grep -E '^(E|Err|W)' "$log" | tail -n 1)"
package=$(private apt-cache madison docker-compose 2>>"$log" | awk -F ' *[|] *' -v v="$version-" \
    'index($2, v) == 1 { print $2; exit }')
[ -n "$package" ] || give_up "Debian $release has another version by now: $(private apt-cache madison docker-compose 2>>"$log" | head -n 1)"
(cd "$work/out" && private apt-get download "docker-compose=$package") >>"$log" 2>&1 </dev/null ||
    give_up "apt-get download: $(grep -E '^(E|Err)' "$log" | tail -n 1)"
dpkg-deb -x "$work"/out/docker-compose_*.deb "$work/files"
found=$work/files/usr/libexec/docker/cli-plugins/docker-compose
[ -x "$found" ] || give_up "its package holds no program where it is expected"
says=$("$found" version --short 2>&1) || give_up "it does not run here: $says"
case ${says#v} in
"$version" | "$version"[-+]*) ;;
*) give_up "what was fetched says that it is ${says#v}" ;;
esac
mv "$found" "$program"
echo "$program"
