#!/bin/sh
# Measures the lists with millions of details in the table: bench/history.sh [rows in millions] [client arguments]
#
# Makes a database of its own (hostsync_history), fills it, prints what the statements of the API take and by
# which key, and drops it. The servers of `make up` are the default: . .dev/env first, or give host and port yourself, as
# in: bench/history.sh 10 -h127.0.0.1 -P3306 -uroot. KEEP=1 leaves the database; SECONDS_TO_FILL (600) bounds the filling.
set -eu
millions=${1:-10}
[ $# -gt 0 ] && shift
if [ $# -eq 0 ]; then
    address=${HOSTSYNC_DEV_DATABASE_URL:?. .dev/env first, or give the arguments of the client}
    address=${address#mysql://root@}
    set -- "-h${address%%:*}" "-P${address##*:}" -uroot
fi
here=$(cd "$(dirname "$0")" && pwd)
name=hostsync_history
limit=$(( $(date +%s) + ${SECONDS_TO_FILL:-600} ))
sql() { mysql "$@" "$name"; }
one() { mysql -N -B "$@" "$name"; }

mysql "$@" -e "DROP DATABASE IF EXISTS $name; CREATE DATABASE $name CHARACTER SET utf8mb4"
[ -n "${KEEP:-}" ] || trap 'mysql "$@" -e "DROP DATABASE IF EXISTS $name"' EXIT
for file in "$here"/../migrations/*.sql; do sql "$@" <"$file"; done
echo "server: $(one "$@" -e 'SELECT VERSION()'), buffer pool $(one "$@" -e 'SELECT @@innodb_buffer_pool_size DIV 1048576') MiB"

# 1,000 hosts an execution, 100 tasks; every tenth host failed.
sql "$@" <"$here/sql/history_seed.sql"
rows=$(one "$@" -e 'SELECT COUNT(*) FROM es_sync_execution_detail')
while [ "$rows" -lt $((millions * 1000000)) ] && [ "$(date +%s)" -lt "$limit" ]; do
    # In chunks, so that no transaction is huge.
    last=$(one "$@" -e 'SELECT MAX(id) FROM es_sync_execution_log')
    chunk=200
    sql "$@" -e "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; SET unique_checks = 0, @shift = $last, @chunk = $chunk;
        $(cat "$here/sql/history_more.sql")"
    rows=$((rows + chunk * 1000))
done
sql "$@" -e "ANALYZE TABLE es_sync_execution_detail, es_sync_execution_log" >/dev/null
echo "details: $(one "$@" -e 'SELECT COUNT(*) FROM es_sync_execution_detail'), executions: $(one "$@" -e 'SELECT COUNT(*) FROM es_sync_execution_log')"

# Each statement twice, the second time counts: name, ms, and by which key.
while IFS='|' read -r what statement; do
    case $what in '' | '#'*) continue ;; esac
    statement=$(echo "$statement" | sed "s/{execution}/$((millions * 500))/g")
    took=$(one "$@" -e "SELECT COUNT(*) INTO @rows FROM ($statement) AS warm; SET @began = SYSDATE(6);
        SELECT COUNT(*) INTO @rows FROM ($statement) AS measured;
        SELECT CONCAT(LPAD(ROUND(TIMESTAMPDIFF(MICROSECOND, @began, SYSDATE(6)) / 1000, 1), 9, ' '), ' ms ', LPAD(@rows, 5, ' '), ' rows')")
    by=$(sql "$@" --vertical -e "EXPLAIN FORMAT=TRADITIONAL $statement" | awk '$1 == "key:" { key = key " " $2 } $1 == "Extra:" && /filesort/ { key = key " (sorted)" } END { print key }')
    printf '%-42s %s %s\n' "$what" "$took" "$by"
done <"$here/sql/history_statements.txt"
