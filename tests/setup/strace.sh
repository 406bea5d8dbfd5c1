#!/bin/sh
# Makes sure that system calls can be traced and failed, and that a file system can be made in a file: Debian's strace and
# e2fsprogs, installed as root when they are missing (they stay). Tries whether this user may.
#
#   strace.sh ensure
#
# Exit codes: 0 both are here, 69 they cannot be had.
set -eu

APT_SECONDS=600
PATH=$PATH:/usr/sbin:/sbin
export PATH

say() { printf 'strace: %s\n' "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }

[ "${1:-}" = ensure ] || { say "usage: strace.sh ensure"; exit 64; }
# Two suites may ask at once.
exec 9>"${TMPDIR:-/tmp}/sternway-strace.lock"
flock 9
missing=
have strace || missing="strace"
have mkfs.ext4 || missing="$missing e2fsprogs"
if [ -n "$missing" ]; then
    [ "$(id -u)" = 0 ] || { say "$missing missing, and only root can install packages"; exit 69; }
    have apt-get || { say "$missing missing, and there is no apt-get to install them"; exit 69; }
    say "installing Debian's $missing (for tests that fail system calls and cut the power; they stay installed)"
    # Word splitting is meant: package names.
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive timeout $APT_SECONDS sh -c '
        apt-get -q -o Acquire::Retries=3 -o DPkg::Lock::Timeout=120 update &&
        apt-get -y -q -o Acquire::Retries=3 --no-install-recommends -o DPkg::Lock::Timeout=120 install "$@"' sh $missing >&2 || {
        say "apt-get could not install $missing"; exit 69; }
fi
have strace && have mkfs.ext4 || exit 69
said=$(strace -D -f --seccomp-bpf -qq -e trace=fsync -o /dev/null true 2>&1) || {
    say "it may not trace here: $said"; exit 69; }
