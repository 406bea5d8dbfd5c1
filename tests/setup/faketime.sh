#!/bin/sh
# libfaketime, for tests in which the clock jumps. POSIX sh.
#
#   faketime.sh    prints the path of the library, for LD_PRELOAD: the machine's own, or Debian's, fetched on demand.
#
# By apt over the machine's mirror, with apt's signatures, into a private apt folder, and only unpacked. Nothing is
# installed; no list, cache or setting of the machine's apt is touched. Fetched once into .cache/faketime of the clone
# (or STERNWAY_FAKETIME_DIR); delete to undo.
#
# Exit codes: 69 cannot be had (no network, no apt, another processor or system).
set -eu

CANNOT_BE_HAD=69
FETCH_SECONDS=300
RELEASE=bookworm # its library is linked against an older libc than that of any release since

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
cache=${STERNWAY_FAKETIME_DIR:-$root/.cache/faketime}

say() { printf 'faketime: %s\n' "$*" >&2; }
give_up() {
    say "libfaketime cannot be had: $*"
    exit $CANNOT_BE_HAD
}

library=$cache/libfaketimeMT.so.1
# Threads read the clock all the time: only the variant for threads will do.
for found in "$library" /usr/lib/*-linux-gnu/faketime/libfaketimeMT.so.1; do
    if [ -r "$found" ]; then
        echo "$found"
        exit 0
    fi
done
. "$root/tests/setup/debian.sh"
mkdir -p "$cache"
exec 9>"$cache/lock"
flock -w $((2 * FETCH_SECONDS)) 9 || give_up "$cache/lock is held by another run"
if [ -r "$library" ]; then # by the run that held the lock
    echo "$library"
    exit 0
fi
work=$cache/apt
trap 'rm -rf "$work"' EXIT
say "fetching Debian $RELEASE's libfaketime once into $cache"
unpack "$work" "$cache/fetch.log" $RELEASE libfaketime 0.9
found=$(find "$work/files" -name libfaketimeMT.so.1 | head -n 1)
[ -n "$found" ] || give_up "its package holds no library where it is expected"
says=$(LD_PRELOAD=$found FAKETIME='+0' date +%Y 2>&1) || give_up "it does not run here: $says"
mv "$found" "$library"
echo "$library"
