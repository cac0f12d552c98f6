# shellcheck shell=bash
# The commands. A server SERVER is described by its file in lib/:
#   SERVER_process        name of its process, as in /proc/PID/comm
#   SERVER_stop_seconds   from SIGTERM to SIGKILL
#   SERVER_start_seconds  until it must be ready
#   SERVER_ports          keys of its ports
#   SERVER_packages       prints the Debian packages that are missing
#   SERVER_prepare        artefacts and empty data; safe to repeat after a crash at any point
#   SERVER_companion      (optional) starts the process that it cannot do without
#   SERVER_start          starts the process
#   SERVER_serves         is it answering now?
#   SERVER_recovered      (optional) has it finished what it does after a start?
#   SERVER_log            prints the path of its log

command_up() {
    local started
    started=$(now_us)
    open_dev
    install_missing "$@"
    [[ -z ${DB:-} ]] || printf '%s\n' "$DB" >"$DEV/run/database"
    [[ -n ${DB:-} ]] || rm -f "$DEV/run/database"
    each start_server "$@"
    write_env
    say up "in $(seconds_since "$started"); addresses: .dev/env"
}

command_start() {
    open_dev
    install_missing "$@"
    each start_server "$@"
    write_env
}

command_stop() {
    [[ -d $DEV/run ]] || return 0
    each stop_server "$@"
}

# No lock: a crash test may kill a server while it starts.
command_kill() {
    local server
    for server in "$@"; do
        if [[ -n $(pids_of "$server") ]]; then
            kill_now "$server"
            say "$server" "killed"
        else
            say "$server" "is not running"
        fi
    done
}

command_down() {
    local started server left
    started=$(now_us)
    if [[ ! -d $DEV/run ]]; then
        # Nothing was started, or .dev was removed under what runs.
        for server in "${SERVERS[@]}" epmd; do kill_now "$server"; done
        return
    fi
    each stop_server "${SERVERS[@]}"
    with_lock epmd kill_now epmd
    rm -f "$DEV"/run/*.started "$DEV/run/database" "$DEV/env"
    left=$(for server in "${SERVERS[@]}" epmd; do pids_of "$server"; done)
    [[ -z $left ]] || die "still running: $(xargs <<<"$left")"
    say down "in $(seconds_since "$started")"
}

command_wipe() {
    local server
    if [[ $# -eq 0 ]]; then
        command_down
        set -- "${SERVERS[@]}"
    else
        command_stop "$@"
    fi
    for server in "$@"; do
        [[ ! -d $DEV/data/$server ]] || say "$server" "removing its data"
        rm -rf "$DEV/data/$server" "$DEV/log/$server" "$DEV/log/$server".log*
    done
}

command_status() {
    local server key state pid where ports code=0 shown=0
    for server in "${SERVERS[@]}"; do
        pid=$(main_pid_of "$server")
        if [[ -n $pid ]]; then
            if "${server}_serves"; then state=up; else state='not answering' code=1; fi
        elif [[ -e $DEV/run/$server.started ]]; then
            state=stopped code=1
        else
            continue
        fi
        shown=1
        ports="${server}_ports[@]" where=
        for key in "${!ports}"; do where+=", $key=$(port_of "$key")"; done
        say "$server" "$state${pid:+, pid $pid}$where"
    done
    [[ $shown -eq 1 ]] || say status "nothing is up; start with: deploy/dev/servers up"
    return $code
}

# each FUNCTION SERVER...: all at once; fails if one fails.
#
# Call it plainly, never in a condition: bash would ignore errors inside FUNCTION.
each() {
    local function=$1 server job code=0 jobs=()
    shift
    for server in "$@"; do
        with_lock "$server" "$function" "$server" &
        jobs+=($!)
    done
    for job in "${jobs[@]}"; do
        wait "$job" || code=1
    done
    return $code
}

start_server() {
    local server=$1 started attempt ports="${1}_ports[@]"
    started=$(now_us)
    touch "$DEV/run/$server.started"
    ! declare -F "${server}_companion" >/dev/null || "${server}_companion"
    if is_running "$server" && [[ ! -d $DEV/data/$server ]]; then
        say "$server" "its files were removed while it ran: SIGKILL"
        kill_now "$server"
    fi
    if is_running "$server"; then
        if "${server}_serves"; then
            say "$server" "is up"
            return
        fi
        say "$server" "is running but does not answer yet"
        wait_until_serving "$server" || fail_start "$server" "it runs and does not answer; end it with: deploy/dev/servers kill $server"
        say "$server" "is up after $(seconds_since "$started")"
        return
    fi
    kill_now "$server" # helpers that a killed server left behind
    mkdir -p "$DEV/data/$server"
    "${server}_prepare"
    for attempt in 1 2; do
        claim_ports "${!ports}"
        started=$(now_us)
        say "$server" "starting"
        [[ ! -e $DEV/log/$server.log ]] || mv "$DEV/log/$server.log" "$DEV/log/$server.log.1"
        "${server}_start"
        if wait_until_serving "$server"; then
            say "$server" "is up after $(seconds_since "$started")"
            return
        fi
        # Somebody may have taken a port between the choice and the start.
        if [[ $attempt -eq 2 ]] || is_running "$server" || ! one_is_taken "${!ports}"; then break; fi
    done
    fail_start "$server" "it did not come up"
}

wait_until_serving() { # wait_until_serving SERVER
    local server=$1 seconds="${1}_start_seconds" begin end
    begin=$(now_us)
    end=$((begin + ${!seconds} * 1000000))
    while ! "${server}_serves"; do
        [[ $(now_us) -lt $end ]] || return 1
        # In its first second the process may not show its mark yet.
        [[ $(now_us) -lt $((begin + 1000000)) || -n $(pids_of "$server") ]] || return 1
        sleep 0.05
    done
    ! declare -F "${server}_recovered" >/dev/null || "${server}_recovered"
}

one_is_taken() { # one_is_taken KEY...
    local key
    for key in "$@"; do
        ! port_is_taken "$(port_of "$key")" || return 0
    done
    return 1
}

fail_start() { # fail_start SERVER REASON
    local log
    log=$("${1}_log")
    printf '%s\n' "--- end of $log" >&2
    tail -n 25 "$log" >&2 || true
    printf '%s\n' "---" >&2
    die "$1: $2. Read its log (above: the end), then try again; if its data is spoilt: deploy/dev/servers wipe $1"
}

stop_server() {
    local server=$1 started seconds="${1}_stop_seconds"
    [[ -n $(pids_of "$server") ]] || return 0
    started=$(now_us)
    end_in_good_order "$server" "${!seconds}"
    say "$server" "stopped in $(seconds_since "$started")"
}

# The addresses of what up or start has started since the last down. A server that is killed or stopped keeps its line:
# it comes back at the same address.
print_env() {
    local database other first
    first=${DB:-}
    [[ -n $first || ! -f $DEV/run/database ]] || first=$(<"$DEV/run/database")
    first=${first:-mariadb}
    if [[ $first == mariadb ]]; then other=mysql; else other=mariadb; fi
    for database in "$first" "$other"; do
        [[ -e $DEV/run/$database.started ]] || continue
        printf "export HOSTSYNC_DEV_DATABASE_URL='mysql://root@127.0.0.1:%s'\n" "$(port_of "$database")"
        break
    done
    for database in mariadb mysql; do
        [[ -e $DEV/run/$database.started ]] || continue
        printf "export HOSTSYNC_DEV_%s_URL='mysql://root@127.0.0.1:%s'\n" "${database^^}" "$(port_of "$database")"
    done
    if [[ -e $DEV/run/rabbitmq.started ]]; then
        printf "export HOSTSYNC_DEV_RABBITMQ_URL='amqp://guest:guest@127.0.0.1:%s/%%2f'\n" "$(port_of rabbitmq)"
        printf "export HOSTSYNC_DEV_RABBITMQ_MANAGEMENT_URL='http://guest:guest@127.0.0.1:%s'\n" "$(port_of rabbitmq_management)"
    fi
    if [[ -e $DEV/run/opensearch.started ]]; then
        printf "export HOSTSYNC_DEV_ELASTICSEARCH_URL='http://127.0.0.1:%s'\n" "$(port_of opensearch)"
    fi
    if [[ -e $DEV/run/elasticsearch7.started ]]; then
        printf "export HOSTSYNC_DEV_ELASTICSEARCH7_URL='http://127.0.0.1:%s'\n" "$(port_of elasticsearch7)"
    fi
}

write_env() {
    with_lock env write_env_locked
}

write_env_locked() {
    print_env >"$DEV/env.new"
    mv "$DEV/env.new" "$DEV/env"
}
