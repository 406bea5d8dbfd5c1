#!/bin/sh
# Makes sure that strace is here and may trace a child: Debian's package, installed as root when it is missing (it stays).
#
#   strace.sh ensure
#
# Exit codes: 0 it traces, 69 it cannot be had.
set -eu

APT_SECONDS=600

say() { printf 'strace: %s\n' "$*" >&2; }
give_up() {
    say "$*"
    exit 69
}
have() { command -v "$1" >/dev/null 2>&1; }

[ "${1:-}" = ensure ] || { say "usage: strace.sh ensure"; exit 64; }
# Two suites may ask at once.
exec 9>"${TMPDIR:-/tmp}/sternway-strace.lock"
flock 9
if ! have strace; then
    [ "$(id -u)" = 0 ] || give_up "it is missing, and only root can install packages"
    have apt-get || give_up "it is missing, and there is no apt-get to install it"
    say "installing Debian's strace (to kill the bot at each sync of a file; it stays installed)"
    DEBIAN_FRONTEND=noninteractive timeout $APT_SECONDS sh -c '
        apt-get -q -o Acquire::Retries=3 -o DPkg::Lock::Timeout=120 update &&
        apt-get -y -q -o Acquire::Retries=3 --no-install-recommends -o DPkg::Lock::Timeout=120 install strace' >&2 ||
        give_up "apt-get could not install it"
fi
said=$(strace -D -f --seccomp-bpf -qq -e trace=fsync -o /dev/null true 2>&1) || give_up "it may not trace here: $said"
