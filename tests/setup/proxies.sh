#!/bin/sh
# Packs Debian's nginx and HAProxy, with the libraries they need, into one image for the tests of start-first.
# Fetched on demand by the machine's own apt sources into .cache/proxies; nothing is installed. POSIX sh.
#
#   proxies.sh IMAGE     makes sure that the engine of DOCKER_HOST has IMAGE; prints what it fetches and why
#
# Exit codes: 69 they cannot be had here, 64 wrong usage.
set -eu

NOT_HERE=69
APT_SECONDS=300

[ $# = 1 ] || { echo "usage: proxies.sh IMAGE" >&2; exit 64; }
image=$1
root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
cache=$root/.cache/proxies
say() { printf 'proxies: %s\n' "$*" >&2; }
no() { say "$*"; exit $NOT_HERE; }

docker image inspect "$image" >/dev/null 2>&1 && exit 0
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
if [ ! -f "$cache/root.tar" ]; then
    command -v apt-get >/dev/null || no "no apt-get to fetch nginx and HAProxy with"
    mkdir -p "$cache/debs" "$cache/root"
    # From an empty machine's point of view, so that every library is among them.
    wanted() {
        apt-get -o Dir::State::status=/dev/null -s install --no-install-recommends nginx haproxy 2>/dev/null |
            sed -n 's/^Inst \([^ ]*\) .*/\1/p' |
            grep -E '^(nginx|haproxy|libc6|libcrypt1|libpcre2-8-0|libssl3|zlib1g|liblua5.*|libopentracing.*|libsystemd0|libcap2|libgcrypt20|libgpg-error0|liblz4-1|liblzma5|libzstd1|libgcc-s1|libstdc\+\+6|gcc-12-base)$'
    }
    # shellcheck disable=SC2086
    fetch() {
        packages=$(wanted) || return 1
        (cd "$cache/debs" && timeout $APT_SECONDS apt-get -q -o Acquire::Retries=3 download $packages) >"$cache/apt.log" 2>&1
    }
    say "fetching Debian's nginx and HAProxy into .cache/proxies (for the tests behind proxies; once)"
    # The machine's lists may never have been fetched, or be of yesterday.
    fetch || { timeout $APT_SECONDS apt-get -q -o Acquire::Retries=3 update >"$cache/update.log" 2>&1 && fetch; } ||
        no "apt-get download failed: $(tail -n 1 "$cache/apt.log" "$cache/update.log" 2>/dev/null | tail -n 1)"
    for deb in "$cache"/debs/*.deb; do dpkg -x "$deb" "$cache/root"; done
    rm -rf "$cache/root/usr/share" "$cache/debs"
    mkdir -p "$cache/root/tmp" "$cache/root/run" "$cache/root/var/log/nginx" "$cache/root/var/lib/nginx" "$cache/root/etc"
    printf 'root:x:0:0:root:/:/none\nnobody:x:65534:65534::/:/none\n' >"$cache/root/etc/passwd"
    printf 'root:x:0:\nnogroup:x:65534:\n' >"$cache/root/etc/group"
    tar -C "$cache/root" -cf "$cache/root.tar.new" . && mv "$cache/root.tar.new" "$cache/root.tar"
    rm -rf "$cache/root"
fi
docker import --change 'LABEL io.sternway.test.tools=proxies' "$cache/root.tar" "$image" >/dev/null
