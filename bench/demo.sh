#!/usr/bin/env bash
# The demonstration around the program hostsync-demo: what must be there before it, and how its services are stopped.
#
#   bench/demo.sh run     servers up, programs built, hostsync-demo
#   bench/demo.sh stop    stops the services that a demonstration of this checkout has left up
#
# A process is ours if, and only if, it carries HOSTSYNC_DEMO=<folder> of this checkout in its environment, which the kernel
# shows in /proc/PID/environ. A pid file may be stale and name a pid that somebody else has by now; the files in .dev/demo
# are for people.
set -euo pipefail
export LC_ALL=C.UTF-8

cd "$(dirname "${BASH_SOURCE[0]}")/.."
ROOT=$(pwd -P)
FOLDER=.dev/demo
STEPS=7

# How long services may take to end after SIGTERM: more than worker.shutdown_grace.
END_SECONDS=60

now_us() {
    printf '%s' "${EPOCHREALTIME/./}"
}

done_since() { # done_since MICROSECONDS TEXT
    local tenths=$((($(now_us) - $1) / 100000))
    printf '    %d.%d s: %s\n' $((tenths / 10)) $((tenths % 10)) "$2"
}

fail() {
    printf '\nThe demonstration failed: %s\n' "$*" >&2
    exit 1
}

# A zombie shows no environment, so nobody takes it for a service.
pids() {
    local file
    { grep -lszxF "HOSTSYNC_DEMO=$ROOT/$FOLDER" /proc/[0-9]*/environ || true; } |
        while IFS= read -r file; do
            file=${file#/proc/}
            printf '%s\n' "${file%/environ}"
        done
}

stop() {
    local started found pid end
    started=$(now_us)
    mapfile -t found < <(pids)
    if [[ ${#found[@]} -gt 0 ]]; then
        kill -s TERM "${found[@]}" 2>/dev/null || true
        end=$((started + END_SECONDS * 1000000))
        while [[ -n $(pids) && $(now_us) -lt $end ]]; do sleep 0.05; done
        for pid in $(pids); do kill -s KILL "$pid" 2>/dev/null || true; done
        done_since "$started" "the demonstration's services are stopped"
    fi
    rm -f "$FOLDER"/*.pid
}

run() {
    local started target
    [[ -z $(pids) ]] || stop

    printf '[1/%d] Servers: a database, RabbitMQ and a search engine of this checkout\n' $STEPS
    started=$(now_us)
    deploy/dev/servers up || fail "the servers are not up; see above, their logs are in .dev/log"
    # shellcheck source=/dev/null
    . .dev/env
    done_since "$started" "they are up"

    printf '[2/%d] Build: the three services and the demonstration (the first time takes minutes)\n' $STEPS
    started=$(now_us)
    cargo build --release --bin hostsync-scheduler --bin hostsync-worker --bin hostsync-api --bin hostsync-demo ||
        fail "cargo build did not succeed; see above"
    done_since "$started" "built"

    target=${CARGO_TARGET_DIR:-target}
    exec "$target/release/hostsync-demo" --folder "$FOLDER" --first-step 3
}

case ${1:-} in
run) run ;;
stop) stop ;;
*)
    printf 'usage: bench/demo.sh run|stop\n' >&2
    exit 2
    ;;
esac
