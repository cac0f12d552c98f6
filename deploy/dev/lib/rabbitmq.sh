# shellcheck shell=bash disable=SC2034
# RabbitMQ 3.10 from Debian, with its management plugin, and epmd, the name server that an Erlang node needs.

rabbitmq_process=beam.smp
rabbitmq_start_seconds=90
rabbitmq_stop_seconds=45
rabbitmq_ports=(rabbitmq rabbitmq_management rabbitmq_distribution)
epmd_process=epmd

RABBITMQ_BIN=/usr/lib/rabbitmq/bin

rabbitmq_packages() {
    if ! has epmd || [[ ! -x $RABBITMQ_BIN/rabbitmq-server ]]; then echo rabbitmq-server; fi
}

rabbitmq_prepare() {
    mkdir -p "$DEV/log/rabbitmq"
}

rabbitmq_companion() {
    with_lock epmd start_epmd
}

# It outlives the broker, so it is a process of its own and goes last.
start_epmd() {
    if is_running epmd; then
        [[ ! -d $DEV/data/epmd ]] || return 0
        kill_now epmd
    fi
    claim_ports epmd
    mkdir -p "$DEV/data/epmd"
    launch epmd epmd -port "$(port_of epmd)" -address 127.0.0.1
    local tries
    for tries in {1..100}; do
        ! accepts "$(port_of epmd)" || return 0
        sleep 0.05
    done
    die "epmd: did not come up, see .dev/log/epmd.log"
}

rabbitmq_start() {
    local home=$DEV/data/rabbitmq
    echo '[rabbitmq_management].' >"$home/enabled_plugins"
    cat >"$home/rabbitmq.conf" <<CONF
management.tcp.ip = 127.0.0.1
management.tcp.port = $(port_of rabbitmq_management)
CONF
    # Debian's /usr/sbin/rabbitmq-server changes the user and writes to the machine's own directories. Every file that
    # could let the machine's configuration in is named here, existing or not. RUNNING_UNDER_SYSTEMD only means: no shell
    # stays between us and the node, and what it says before its own log is open goes to ours (-detached loses that).
    # Its cookie is in HOME, which launch sets.
    launch rabbitmq env \
        ERL_EPMD_PORT="$(port_of epmd)" \
        RABBITMQ_NODENAME=hostsync@localhost \
        RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 \
        RABBITMQ_NODE_PORT="$(port_of rabbitmq)" \
        RABBITMQ_DIST_PORT="$(port_of rabbitmq_distribution)" \
        RABBITMQ_MNESIA_BASE="$home/mnesia" \
        RABBITMQ_LOG_BASE="$DEV/log/rabbitmq" \
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
    accepts "$(port_of rabbitmq)" && accepts "$(port_of rabbitmq_management)"
}

# The node's own log once there is one; why it did not even get there stands in the other.
rabbitmq_log() {
    local log="$DEV/log/rabbitmq/hostsync@localhost.log"
    if [[ -s $log && $log -nt $DEV/log/rabbitmq.log ]]; then
        printf '%s' "$log"
    else
        printf '%s' "$DEV/log/rabbitmq.log"
    fi
}
