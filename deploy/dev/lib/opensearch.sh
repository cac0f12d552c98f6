# shellcheck shell=bash disable=SC2034
# OpenSearch from Maven artefacts made for embedding it: 2.19, and 3 on a Java from a later suite of Debian. The functions
# below serve Elasticsearch 7 too.

opensearch_process=java
opensearch_suite_package=default-jre-headless
opensearch_start_seconds=300
opensearch_stop_seconds=30
opensearch_ports=('' _transport)

opensearch_packages() {
    search_packages "$1"
}

opensearch_fetch() {
    search_fetch "$1"
}

opensearch_prepare() {
    search_prepare "$1"
}

opensearch_start() {
    search_start "$1" opensearch.yml org.codelibs.opensearch.runner.OpenSearchRunner
}

opensearch_serves() {
    http_ok "$(port_of "$1")" /
}

opensearch_version() {
    search_version "$1"
}

opensearch_recovered() {
    search_recovered "$1"
}

opensearch_log() {
    printf '%s' "$DEV/log/$1.log"
}

search_packages() { # search_packages SERVER
    if [[ $(suite_of "$1") ]]; then
        suite_packages
    fi
    # Maven brings a Java for itself, where there is none.
    java_17 >/dev/null || echo openjdk-17-jre-headless
    packages_for_artefacts "$1"
}

# The launcher is compiled by Maven with a compiler that is itself an artefact, so that a Java runtime is enough.
search_fetch() { # search_fetch SERVER
    fetch_artefacts "$1" dependency:copy-dependencies compiler:compile
}

search_prepare() { # search_prepare SERVER
    mkdir -p "$DEV/data/$1/node_1/config" "$DEV/data/$1/tmp"
}

search_start() { # search_start SERVER CONFIGURATION_FILE CLASS
    local server=$1 home=$DEV/data/$1 lib=$DEV/lib/$1 java=java
    [[ $(suite_of "$server") ]] || java=$(java_17)
    # Without the disk threshold a nearly full development disk would make every index read-only.
    cat >"$home/node_1/config/$2" <<YAML
discovery.type: single-node
network.host: 127.0.0.1
transport.port: $(port_of "${server}_transport")
cluster.routing.allocation.disk.threshold_enabled: false
YAML
    # The runner adds the node's number, 1, to its base port.
    launch "$server" "$java" -Xms1g -Xmx1g -XX:+UseSerialGC -Djava.io.tmpdir="$home/tmp" \
        -cp "$lib/classes:$lib/jars/*" Launcher "$3" \
        -basePath "$home" -numOfNode 1 -baseHttpPort "$(($(port_of "$server") - 1))" -clusterName "hostsync-$server"
}

search_version() { # search_version SERVER
    http_get "$(port_of "$1")" / | sed -n 's/.*"number" : "\(.*\)".*/\1/p'
}

# After a restart the node answers before it has opened its indices; searches would fail until then.
search_recovered() { # search_recovered SERVER
    http_ok "$(port_of "$1")" '/_cluster/health?wait_for_status=yellow&timeout=9s' ||
        http_ok "$(port_of "$1")" '/_cluster/health?wait_for_status=yellow&timeout=9s' ||
        say "$1" "some index is red: its primary shards are not all there"
}
