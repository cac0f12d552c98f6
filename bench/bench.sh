#!/usr/bin/env bash
# The benchmark: bench/bench.sh all | more | report
#
#   all     every contender with 10,000 hosts on MariaDB and on MySQL, then hostsync and the floor with 100,000
#   more    also 1,000 and 1,000,000 hosts, 288 documents a host, and 1, 2 and 4 workers with 0, 50 and 200 ms added to a search
#   report  the tables and plots of docs/benchmark.md, from whatever has been measured
#
# What was measured stands in .dev/bench/results, a file a measurement; the programs are built before (make bench).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

results=.dev/bench/results
program=${CARGO_TARGET_DIR:-target}/release/hostsync-bench

# measure NAME DB ARGUMENT...
measure() {
    local name=$1 db=$2 servers
    shift 2
    DB=$db deploy/dev/servers up
    servers=$(DB=$db deploy/dev/servers env)
    (eval "$servers" && "$program" --json "$results/$name.json" "$@")
}

report() {
    .dev/report/bin/python bench/report/report.py docs/benchmark.md docs/benchmark "$results"/*.json
    echo "docs/benchmark.md and docs/benchmark/ tell what was measured"
}

mkdir -p "$results"
case ${1:-} in
all)
    measure 10000-mariadb mariadb --rounds 5
    measure 10000-mysql mysql
    measure 100000-mariadb mariadb --hosts 100000 --today floor
    report
    ;;
more)
    measure 1000-mariadb mariadb --hosts 1000 --today floor
    measure 1000000-mariadb mariadb --hosts 1000000 --documents 2 --today floor --rounds 1
    measure 288-documents mariadb --documents 288 --today floor
    for delay in 0 50 200; do
        for workers in 1 2 4; do
            measure "workers-$workers-$delay" mariadb --alone --concurrency 1 --workers "$workers" --search-delay "$delay"
        done
    done
    report
    ;;
report)
    report
    ;;
*)
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2
    exit 2
    ;;
esac
