#!/usr/bin/env bash
# Documents of the hosts in hosts.sql, one each hour of the last day, as the mapping `zabbix` reads them.
# Again: the same documents, moved to the day before now. Host 100 has none, so that "no data" is seen as well.
#
#   deploy/sample/documents.sh http://127.0.0.1:9200
set -euo pipefail

URL=${1:?give the address of the search engine}
INDEX=data-zabbix-host-monitor-sample

documents() {
    local now hour host at
    now=$(date +%s)
    for hour in {1..24}; do
        at=$(date -u -d "@$((now - hour * 3600))" +%Y-%m-%dT%H:%M:%S.000Z)
        for host in {1..99}; do
            printf '{"index":{"_id":"%d-%d"}}\n' "$host" "$hour"
            printf '{"@timestamp":"%s","hostIp":"10.20.0.%d","hostName":"sample-%d","group":"sample","cpu":%d.5,"available_memory":%d.25,"total_disk_space_all":%d.75}\n' \
                "$at" "$host" "$host" $(((host * 7 + hour * 3) % 90)) $((1 + (host + hour) % 30)) $((10 + host % 150))
        done
    done
}

answer=$(documents | curl -fsS -X POST "$URL/$INDEX/_bulk?refresh=true&filter_path=errors,items.*.error" \
    -H 'Content-Type: application/x-ndjson' --data-binary @-)
if [[ $answer != '{"errors":false}' ]]; then
    printf 'the search engine did not take the documents: %s\n' "${answer:0:500}" >&2
    exit 1
fi
printf '2376 documents of 99 hosts are in %s\n' "$INDEX"
