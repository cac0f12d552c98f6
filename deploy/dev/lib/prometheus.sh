# shellcheck shell=bash
# Prometheus and promtool. Its server is neither started nor left enabled.

prometheus_packages() {
    { has prometheus && has promtool; } || echo prometheus
}
