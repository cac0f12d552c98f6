# shellcheck shell=bash disable=SC2034
# RabbitMQ with its management plugin: 3.10 from Debian, 4.0 and 4.3 from later suites.

rabbitmq_process=beam.smp
rabbitmq_suite_package=rabbitmq-server
rabbitmq_start_seconds=90
rabbitmq_stop_seconds=45
rabbitmq_ports=('' _management _distribution _names)

RABBITMQ_BIN=/usr/lib/rabbitmq/bin

rabbitmq_packages() {
    if [[ $(suite_of "$1") ]]; then
        suite_packages
    elif [[ ! -x $RABBITMQ_BIN/rabbitmq-server ]]; then
        echo rabbitmq-server
    fi
}

rabbitmq_prepare() {
    mkdir -p "$DEV/log/$1"
}

rabbitmq_start() {
    local home=$DEV/data/$1
    echo '[rabbitmq_management].' >"$home/enabled_plugins"
    cat >"$home/rabbitmq.conf" <<CONF
management.tcp.ip = 127.0.0.1
management.tcp.port = $(port_of "$1_management")
CONF
    # Debian's /usr/sbin/rabbitmq-server changes the user and writes to the machine's own directories. Every file that
    # could let the machine's configuration in is named here, existing or not. RUNNING_UNDER_SYSTEMD only means: no shell
    # stays between us and the node, and what it says before its own log is open goes to ours (-detached loses that).
    # Its cookie is in HOME, which launch sets. It starts a name server for itself (epmd), which outlives it: one for each
    # broker, which bears its mark and is ended with it.
    launch "$1" env \
        ERL_EPMD_PORT="$(port_of "$1_names")" \
        ERL_EPMD_ADDRESS=127.0.0.1 \
        RABBITMQ_NODENAME=hostsync@localhost \
        RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 \
        RABBITMQ_NODE_PORT="$(port_of "$1")" \
        RABBITMQ_DIST_PORT="$(port_of "$1_distribution")" \
        RABBITMQ_MNESIA_BASE="$home/mnesia" \
        RABBITMQ_LOG_BASE="$DEV/log/$1" \
        RABBITMQ_PID_FILE="$home/pid" \
        RABBITMQ_CONF_ENV_FILE="$home/rabbitmq-env.conf" \
        RABBITMQ_CONFIG_FILE="$home/rabbitmq.conf" \
        RABBITMQ_ADVANCED_CONFIG_FILE="$home/advanced.config" \
        RABBITMQ_ENABLED_PLUGINS_FILE="$home/enabled_plugins" \
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1}' \
        RUNNING_UNDER_SYSTEMD=true \
        "$RABBITMQ_BIN/rabbitmq-server"
}

rabbitmq_serves() {
    accepts "$(port_of "$1")" && [[ $(rabbitmq_version "$1") ]]
}

rabbitmq_version() {
    http_get "$(port_of "$1_management")" /api/overview | sed -n 's/.*"rabbitmq_version":"\([^"]*\)".*/\1/p'
}

# The node's own log once there is one; why it did not even get there stands in the other.
rabbitmq_log() {
    local log="$DEV/log/$1/hostsync@localhost.log"
    if [[ -s $log && $log -nt $DEV/log/$1.log ]]; then
        printf '%s' "$log"
    else
        printf '%s' "$DEV/log/$1.log"
    fi
}
