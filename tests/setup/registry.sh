#!/bin/sh
# Makes sure that a registry to test against can be run: Debian's docker-registry and htpasswd, installed as root when
# they are missing (they stay). Starts nothing; the tests run registries of their own on loopback.
#
#   registry.sh ensure
#
# Exit codes: 0 both are here, 69 they cannot be had.
set -eu

APT_SECONDS=600
PATH=$PATH:/usr/sbin:/sbin
export PATH

say() { printf 'registry: %s\n' "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }

[ "${1:-}" = ensure ] || { say "usage: registry.sh ensure"; exit 64; }
# Two suites may ask at once.
exec 9>"${TMPDIR:-/tmp}/sternway-registry.lock"
flock 9
missing=
have docker-registry || missing="docker-registry"
have htpasswd || missing="$missing apache2-utils"
[ -n "$missing" ] || exit 0
[ "$(id -u)" = 0 ] || { say "$missing missing, and only root can install packages"; exit 69; }
have apt-get || { say "$missing missing, and there is no apt-get to install them"; exit 69; }
say "installing Debian's $missing (for tests against a real registry on loopback; they stay installed)"
policy=/usr/sbin/policy-rc.d
if [ -e $policy ]; then policy=; else printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy; fi
[ -z "$policy" ] || trap 'rm -f $policy' EXIT
# Word splitting is meant: package names.
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive timeout $APT_SECONDS sh -c '
    apt-get -q -o Acquire::Retries=3 -o DPkg::Lock::Timeout=120 update &&
    apt-get -y -q -o Acquire::Retries=3 --no-install-recommends -o DPkg::Lock::Timeout=120 install "$@"' sh $missing >&2 || {
    say "apt-get could not install $missing"; exit 69; }
