#!/bin/sh
# Runs a command and beside it two minutes of `make soak`, which waits more than it works. Fails when either does.
#
#   beside-soak.sh COMMAND...
#
# SOAK_SECONDS says for how long, 0 for not at all.
set -u
seconds=${SOAK_SECONDS:-120}
[ "$seconds" != 0 ] || exec "$@"

told=$(mktemp)
SOAK_SECONDS=$seconds nice make --no-print-directory soak >"$told" 2>&1 &
soak=$!
ending() {
    kill "$soak" 2>/dev/null
    rm -f "$told"
}
trap ending EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

code=0
"$@" || code=$?
soak_code=0
wait "$soak" || soak_code=$?
printf '\n== the soak, beside the suites (exit %d)\n' "$soak_code"
cat "$told"
[ "$code" = 0 ] || exit "$code"
exit "$soak_code"
