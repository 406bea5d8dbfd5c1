#!/bin/sh
# A Docker engine for the demo, the tests and the bench. POSIX sh; needs nothing but Debian's essentials.
#
#   engine.sh run [--else-simulated | --else-alone] -- COMMAND...
#       runs COMMAND with DOCKER_HOST set and stops afterwards what it started. Without an engine:
#       --else-simulated adds `--simulated` to COMMAND, --else-alone runs it as it is, otherwise exit 69.
#   eval "$(engine.sh ensure)"    the same for a shell of yours, until
#   engine.sh release
#
# An engine that answers is used, and DOCKER_HOST is honoured. Otherwise, as root, Debian's docker.io and
# docker-compose are installed (they stay) and a dockerd of its own is started: own data, own socket, own
# bridge and addresses, and no hand on the machine's firewall but one rule that goes again at the end. So nothing
# but the packages is left afterwards, and containers that belong to a stopped system engine are not woken.
#
# STERNWAY_ENGINE_DIR     where that engine keeps its data (default: .cache/engine in the clone)
# STERNWAY_ENGINE_FLAGS   further flags for that dockerd
# STERNWAY_ENGINE_BIN     a folder with another dockerd and its containerd (engines.sh fetches them): no engine that is
#                         there is used, whatever DOCKER_HOST says
# STERNWAY_ENGINE_STORE=containerd   images in containerd's store (engine 24 and newer); =graph in a graph driver
# STERNWAY_ENGINE_KEEP=1  that engine's data stay at the end, for one who starts it on them again
# STERNWAY_REQUIRE_ENGINE=1   no engine is an error whatever --else-... says (CI)
#
# Exit codes: 69 no engine can be had, 64 wrong usage, otherwise COMMAND's own.
set -eu

NO_ENGINE=69
START_SECONDS=60  # dockerd is up in 2; a first start on a slow disk took 20
STOP_SECONDS=30   # dockerd gives containers that are still there 10 before it kills them
APT_SECONDS=600
ADDRESSES=172.28.0.0/14  # of the networks on an engine of ours; it takes parts that no route of the machine covers

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
state=${STERNWAY_ENGINE_DIR:-$root/.cache/engine}
PATH=$PATH:/usr/sbin:/sbin
export PATH

say() { printf 'engine: %s\n' "$*" >&2; }

# Prints the version of the engine at $1.
answers() { DOCKER_HOST=$1 timeout 10 docker version --format '{{.Server.Version}}' 2>/dev/null; }

have() { command -v "$1" >/dev/null 2>&1; }

have_compose() { have docker-compose || docker compose version >/dev/null 2>&1; }

# What Debian must still install: the client always, the engine only when it is ours to start.
missing() {
    have docker || echo docker.io
    # With an engine of its own kind it still needs the machine's runc.
    if [ "$1" = engine ] && ! { have dockerd && have runc; }; then echo docker.io; fi
    # For a bridge of its own.
    if [ "$1" = engine ] && ! have ip; then echo iproute2; fi
    have_compose || echo docker-compose
}

# Installs without starting any service. $why says what went wrong.
install() {
    [ "$(id -u)" = 0 ] || { why="$* missing, and only root can install packages"; return 1; }
    have apt-get || { why="$* missing, and there is no apt-get to install them"; return 1; }
    say "installing Debian's $* (they stay installed)"
    policy=/usr/sbin/policy-rc.d
    if [ -e $policy ]; then policy=; else printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy; fi
    log=$state/apt.log
    set -- -y -q --no-install-recommends -o DPkg::Lock::Timeout=120 install "$@"
    if DEBIAN_FRONTEND=noninteractive timeout $APT_SECONDS sh -c '
            apt-get -q -o Acquire::Retries=3 -o DPkg::Lock::Timeout=120 update && apt-get -o Acquire::Retries=3 "$@" &&
            { command -v docker >/dev/null || apt-get -y -q --no-install-recommends install docker-cli; }
        ' apt "$@" >"$log" 2>&1 </dev/null 9>&-; then failed=; else failed=1; fi
    [ -z "$policy" ] || rm -f $policy
    if [ -n "$failed" ]; then
        why="apt-get failed: $(grep -E '^(E|Err)' "$log" | tail -n 1) (all of it: $log)"
        return 1
    fi
}

# ---- an engine of our own -------------------------------------------------------------------------------

# Whether process $1 lives and names $2 in its command line: a number alone may be someone else's by now.
runs() { { tr '\0' ' ' <"/proc/$1/cmdline"; } 2>/dev/null | grep -qF "$2"; }

# own holds: pid, run folder. Fails when that engine no longer runs.
own_engine() {
    [ -f "$state/own" ] || return 1
    read -r pid run <"$state/own" || return 1
    runs "$pid" "unix://$run/docker.sock"
}

# One attempt to start dockerd with further flags $@; sets $pid and $run, or $why.
attempt() {
    run=$(mktemp -d /run/sternway-engine.XXXXXX)
    mkdir -p "$state/data"
    features=
    case ${STERNWAY_ENGINE_STORE:-} in
    containerd) features='"features": {"containerd-snapshotter": true}, ' ;;
    graph) features='"features": {"containerd-snapshotter": false}, ' ;;
    esac
    echo "{$features\"default-address-pools\": [{\"base\": \"$ADDRESSES\", \"size\": 24}]}" >"$state/daemon.json"
    set -- --bridge "$(open_bridge)" "$@"
    # setsid: an interrupt at the terminal is for the command, which still needs the engine to clean up.
    # shellcheck disable=SC2086 # the flags are words
    PATH=${STERNWAY_ENGINE_BIN:+$STERNWAY_ENGINE_BIN:}$PATH setsid dockerd --config-file "$state/daemon.json" --host "unix://$run/docker.sock" \
        --data-root "$state/data" --exec-root "$run/exec" --pidfile "$run/docker.pid" \
        --containerd-namespace sternway --containerd-plugins-namespace sternway-plugins \
        --iptables=false --ip6tables=false --ip-masq=false --ip-forward=false \
        "$@" ${STERNWAY_ENGINE_FLAGS:-} >"$state/dockerd.log" 2>&1 </dev/null 9>&- &
    pid=$!
    echo "$pid $run" >"$state/own"
    open_way
    tries=$((START_SECONDS * 5))
    while [ $tries -gt 0 ]; do
        if [ -S "$run/docker.sock" ] && answers "unix://$run/docker.sock" >/dev/null; then
            stores "unix://$run/docker.sock" && return 0
            why="it starts but cannot make a container's file system: $(last_error)"
            stop_own
            return 1
        fi
        if ! own_engine && [ $tries -lt $((START_SECONDS * 5 - 5)) ]; then break; fi
        sleep 0.2
        tries=$((tries - 1))
    done
    reason=$(last_error)
    if own_engine; then why="dockerd did not answer within $START_SECONDS s"; else why="dockerd ended at once"; fi
    [ -z "$reason" ] || why="$why: $reason"
    stop_own
    return 1
}

# Containers of one network talk over a bridge, and the kernel may ask the firewall about that. Another engine or
# a firewall that was there before often forbids what it does not know (FORWARD's policy is DROP): then they
# cannot reach each other. One rule, for our own addresses only.
way() { iptables -w 10 "$1" FORWARD -i br-+ -o br-+ -s $ADDRESSES -d $ADDRESSES -j ACCEPT 2>>"$state/dockerd.log"; }
open_way() { if have iptables && way -I; then : >"$state/way"; fi; }
close_way() { if [ -f "$state/way" ]; then way -D || :; rm -f "$state/way"; fi; }

# What its containers live on that name no network. A docker0 that is there may be another engine's: two that share one
# deal the same addresses to their containers, and `--bridge none` would delete it and is unlike any engine of a team.
open_bridge() {
    name=st$$
    address=172.31.$(($$ % 256)).1/24
    if ip link add name "$name" type bridge && ip address add "$address" dev "$name" && ip link set "$name" up; then
        echo "$name" | tee "$state/bridge"
    elif [ -e /sys/class/net/docker0 ]; then
        echo docker0
    else
        echo none
    fi 2>>"$state/dockerd.log"
}
close_bridge() {
    [ -f "$state/bridge" ] || return 0
    ip link delete "$(cat "$state/bridge")" 2>>"$state/dockerd.log" || :
    rm -f "$state/bridge"
}

last_error() {
    grep -E 'level=(fatal|error)|^failed to start|^Status:' "$state/dockerd.log" | tail -n 1 |
        sed 's/^time=.* msg="\(.*\)".*/\1/' | cut -c 1-300
}

# Some nested machines accept overlay2 at start and refuse the first mount: try one.
stores() {
    id=$(tar -cf - -T /dev/null | DOCKER_HOST=$1 timeout 30 docker import - 2>>"$state/dockerd.log") || return 1
    box=$(DOCKER_HOST=$1 timeout 30 docker create "$id" /none 2>>"$state/dockerd.log") || return 1
    DOCKER_HOST=$1 timeout 30 docker rm "$box" >/dev/null && DOCKER_HOST=$1 timeout 30 docker rmi "$id" >/dev/null
}

start_own() {
    if [ "$(id -u)" != 0 ]; then
        why="no engine answers, and only root can start one"
        if [ -S /var/run/docker.sock ] && [ ! -w /var/run/docker.sock ]; then
            why="no right to /var/run/docker.sock: run as root, or join its group ($(stat -c %G /var/run/docker.sock))"
        fi
        return 1
    fi
    [ -z "$(missing engine)" ] || install $(missing engine | sort -u) || return 1
    say "starting a dockerd of its own, stopped again at the end (data and log: $state)"
    attempt && return 0
    case $why in
    *overlay* | *[Gg]raph* | *storage* | *"file system"*) ;;
    *) return 1 ;;
    esac
    say "again with the storage driver vfs: $why"
    attempt --storage-driver vfs
}

# Ends the engine that `own` names, and only that one, and removes what it wrote.
stop_own() {
    [ -f "$state/own" ] || return 0
    read -r pid run <"$state/own"
    if own_engine; then
        kill "$pid" 2>/dev/null || :
        tries=$((STOP_SECONDS * 5))
        while own_engine && [ $tries -gt 0 ]; do sleep 0.2; tries=$((tries - 1)); done
        if own_engine; then say "dockerd $pid did not end within $STOP_SECONDS s: killed"; kill -9 "$pid" || :; fi
    fi
    # Its containerd ends with it, except after a kill.
    containerd=$(cat "$run/exec/containerd/containerd.pid" 2>/dev/null || :)
    if [ -n "$containerd" ] && runs "$containerd" "$run/"; then
        kill "$containerd" 2>/dev/null || :
    fi
    for folder in "$run" "$state/data"; do
        awk -v at="$folder" '$2 == at || index($2, at "/") == 1 { print $2 }' /proc/mounts | sort -r |
            while read -r mounted; do umount -l "$(printf %b "$mounted")" || :; done
        [ "$folder:${STERNWAY_ENGINE_KEEP:-}" = "$state/data:1" ] || rm -rf --one-file-system "$folder"
    done
    close_way
    close_bridge
    rm -f "$state/own" "$state/daemon.json"
}

# ---- what is offered ------------------------------------------------------------------------------------

lock() {
    mkdir -p "$state/users"
    exec 9>"$state/lock"
    flock -w $((APT_SECONDS + 2 * START_SECONDS)) 9 || { why="$state/lock is held by another run"; return 1; }
}

unlock() { exec 9>&-; }

# Sets $host, or $why and fails.
find_or_start() {
    if [ -z "${STERNWAY_ENGINE_BIN:-}" ] && { [ -n "${DOCKER_HOST:-}" ] || [ -S /var/run/docker.sock ] || have docker; }; then
        # With a client missing we cannot even ask; where none can be had, we may still be told why below.
        if [ -n "${DOCKER_HOST:-}" ] || [ -S /var/run/docker.sock ]; then
            have docker || install $(missing client | sort -u) || return 1
        fi
        host=${DOCKER_HOST:-$(docker context inspect --format '{{.Endpoints.docker.Host}}' 2>/dev/null || :)}
        host=${host:-unix:///var/run/docker.sock}
        if version=$(answers "$host"); then
            have_compose || install $(missing client | sort -u) || return 1
            say "using the engine at $host ($version)"
            return 0
        fi
        if [ -n "${DOCKER_HOST:-}" ]; then
            why="DOCKER_HOST=$DOCKER_HOST does not answer: start it, or unset DOCKER_HOST"
            return 1
        fi
    fi
    if own_engine && host=unix://$run/docker.sock && version=$(answers "$host"); then
        say "sharing the engine that another run started ($version)"
    else
        stop_own
        start_own || return 1
        host=unix://$run/docker.sock
        say "engine $(answers "$host") is up"
    fi
    : >"$state/users/$user"
}

ensure() {
    why=
    if ! have flock || ! have timeout; then why="flock and timeout (util-linux, coreutils) are missing"; return 1; fi
    lock || return 1
    if find_or_start; then found=0; else found=1; fi
    unlock
    return $found
}

release() {
    [ -f "$state/users/$user" ] || return 0
    lock || { say "$why; the engine keeps running"; return 0; }
    rm -f "$state/users/$user"
    others=
    for file in "$state/users/"*; do
        [ -e "$file" ] || continue
        other=${file##*/}
        if [ "$other" = shell ] || [ -d "/proc/$other" ]; then others="$others $other"; else rm -f "$file"; fi
    done
    if [ -n "$others" ]; then
        say "still used by$others: left running"
    else
        stop_own
        say "stopped what it started"
    fi
    unlock
}

run_with_engine() {
    user=$$ otherwise=
    case ${1:-} in --else-simulated | --else-alone) otherwise=$1 && shift ;; esac
    [ "${1:-}" = -- ] && shift
    [ $# -gt 0 ] || usage
    if ensure; then
        # The command hears of an interrupt itself; we wait for it and then clean up.
        trap : INT
        trap release EXIT
        trap 'exit 129' HUP
        trap 'exit 143' TERM
        code=0
        DOCKER_HOST=$host "$@" || code=$?
        exit $code
    fi
    [ "${STERNWAY_REQUIRE_ENGINE:-}" != 1 ] || otherwise=
    case $otherwise in
    --else-simulated)
        say "none to be had ($why): the same story on the simulated engine"
        exec "$@" --simulated
        ;;
    --else-alone)
        say "none to be had ($why): suites that need one will say that they skip"
        exec "$@"
        ;;
    *)
        say "none to be had: $why"
        exit $NO_ENGINE
        ;;
    esac
}

usage() {
    sed -n '4,8p' "$0" | cut -c 3- >&2
    exit 64
}

case ${1:-} in
run)
    shift
    run_with_engine "$@"
    ;;
ensure)
    user=shell
    if ensure; then
        echo "DOCKER_HOST='$host'; export DOCKER_HOST"
    else
        say "none to be had: $why"
        exit $NO_ENGINE
    fi
    ;;
release)
    user=shell
    release
    ;;
*) usage ;;
esac
