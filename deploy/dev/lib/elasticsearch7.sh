# shellcheck shell=bash disable=SC2034
# Elasticsearch 7.10.2, the last under the Apache licence. Only on demand: OpenSearch is what development runs against.

elasticsearch7_process=java
elasticsearch7_start_seconds=300
elasticsearch7_stop_seconds=30
elasticsearch7_ports=('' _transport)

elasticsearch7_packages() {
    search_packages "$1"
}

elasticsearch7_fetch() {
    search_fetch "$1"
}

elasticsearch7_prepare() {
    search_prepare "$1"
}

elasticsearch7_start() {
    search_start "$1" elasticsearch.yml org.codelibs.elasticsearch.runner.ElasticsearchClusterRunner
}

elasticsearch7_serves() {
    http_ok "$(port_of "$1")" /
}

elasticsearch7_version() {
    search_version "$1"
}

elasticsearch7_recovered() {
    search_recovered "$1"
}

elasticsearch7_log() {
    printf '%s' "$DEV/log/$1.log"
}
