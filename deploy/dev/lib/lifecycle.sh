# shellcheck shell=bash
# The commands. A server is a family, such as `mysql`, and for all but the machine's own a version, as in `mysql-9.7`. A
# family is described by its file in lib/; all its functions take the server's name:
#   FAMILY_process        name of its process, as in /proc/PID/comm
#   FAMILY_stop_seconds   from SIGTERM to SIGKILL
#   FAMILY_start_seconds  until it must be ready
#   FAMILY_ports          its ports: what follows the server's name in their keys
#   FAMILY_suite_package  the package that it is from in a later suite of Debian (suite.sh)
#   FAMILY_packages       prints the packages of the machine that are missing
#   FAMILY_fetch          (optional) artefacts
#   FAMILY_prepare        empty data; safe to repeat after a crash at any point, as is FAMILY_fetch
#   FAMILY_start          starts the process
#   FAMILY_serves         is it answering now?
#   FAMILY_version        prints the version that it says it has
#   FAMILY_recovered      (optional) has it finished what it does after a start?
#   FAMILY_log            prints the path of its log

part_of() { # part_of SERVER NAME ARGUMENT...: calls FAMILY_NAME SERVER ARGUMENT...
    local function=${1%%-*}_$2 server=$1
    shift 2
    "$function" "$server" "$@"
}

optional_part_of() {
    ! declare -F "${1%%-*}_$2" >/dev/null || part_of "$@"
}

setting_of() { # setting_of SERVER NAME
    local name=${1%%-*}_$2
    printf '%s' "${!name}"
}

ports_of() { # ports_of SERVER: sets `ports`, a variable of the caller: the keys of its ports
    local suffixes="${1%%-*}_ports[@]"
    ports=("${!suffixes}")
    ports=("${ports[@]/#/$1}")
}

command_up() {
    local started
    started=$(now_us)
    open_dev
    install_missing "$@"
    choose database "${DB:-}"
    choose broker "${BROKER:-}"
    choose engine "${ENGINE:-}"
    each start_server "$@"
    write_env
    say up "in $(seconds_since "$started"); addresses: .dev/env"
}

choose() { # choose ROLE SERVER: which one .dev/env names for it
    rm -f "$DEV/run/$1"
    [[ -z $2 ]] || printf '%s\n' "$2" >"$DEV/run/$1"
}

# Fails for what cannot be had today, and says why.
command_fetch() {
    open_dev
    install_missing "$@"
    each fetch_server "$@"
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
        for server in "${SERVERS[@]}"; do kill_now "$server"; done
        return
    fi
    each stop_server "${SERVERS[@]}"
    rm -f "$DEV"/run/*.started "$DEV"/run/{database,broker,engine} "$DEV/env"
    left=$(for server in "${SERVERS[@]}"; do pids_of "$server"; done)
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
    local server key state pid where ports=() code=0 shown=0
    for server in "${SERVERS[@]}"; do
        pid=$(main_pid_of "$server")
        if [[ -n $pid ]]; then
            if part_of "$server" serves; then state="up, $(part_of "$server" version)"; else state='not answering' code=1; fi
        elif [[ -e $DEV/run/$server.started ]]; then
            state=stopped code=1
        else
            continue
        fi
        shown=1
        ports_of "$server"
        where=
        for key in "${ports[@]}"; do where+=", $key=$(port_of "$key")"; done
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

fetch_server() {
    [[ -z $(suite_of "$1") ]] || need_suite "$1" "$(setting_of "$1" suite_package)"
    optional_part_of "$1" fetch
}

start_server() {
    local server=$1 started attempt ports=()
    started=$(now_us)
    fetch_server "$server"
    ports_of "$server"
    touch "$DEV/run/$server.started"
    if is_running "$server" && [[ ! -d $DEV/data/$server ]]; then
        say "$server" "its files were removed while it ran: SIGKILL"
        kill_now "$server"
    fi
    if is_running "$server"; then
        if part_of "$server" serves; then
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
    part_of "$server" prepare
    for attempt in 1 2; do
        claim_ports "${ports[@]}"
        started=$(now_us)
        say "$server" "starting"
        [[ ! -e $DEV/log/$server.log ]] || mv "$DEV/log/$server.log" "$DEV/log/$server.log.1"
        part_of "$server" start
        if wait_until_serving "$server"; then
            say "$server" "is up after $(seconds_since "$started"): $(part_of "$server" version)"
            return
        fi
        # Somebody may have taken a port between the choice and the start.
        if [[ $attempt -eq 2 ]] || is_running "$server" || ! one_is_taken "${ports[@]}"; then break; fi
    done
    fail_start "$server" "it did not come up"
}

wait_until_serving() { # wait_until_serving SERVER
    local server=$1 begin end
    begin=$(now_us)
    end=$((begin + $(setting_of "$server" start_seconds) * 1000000))
    while ! part_of "$server" serves; do
        [[ $(now_us) -lt $end ]] || return 1
        # In its first second the process may not show its mark yet.
        [[ $(now_us) -lt $((begin + 1000000)) || -n $(pids_of "$server") ]] || return 1
        sleep 0.05
    done
    optional_part_of "$server" recovered
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
    log=$(part_of "$1" log)
    printf '%s\n' "--- end of $log" >&2
    tail -n 25 "$log" >&2 || true
    printf '%s\n' "---" >&2
    die "$1: $2. Read its log (above: the end), then try again; if its data is spoilt: deploy/dev/servers wipe $1"
}

stop_server() {
    local server=$1 started
    [[ -n $(pids_of "$server") ]] || return 0
    started=$(now_us)
    end_in_good_order "$server" "$(setting_of "$server" stop_seconds)"
    say "$server" "stopped in $(seconds_since "$started")"
}

# The addresses of what up or start has started since the last down. A server that is killed or stopped keeps its line:
# it comes back at the same address. Each has a name of its own (HOSTSYNC_DEV_MYSQL_97_URL), and one of a kind is what
# the tests take.
print_env() {
    local server
    for server in "${SERVERS[@]}"; do
        [[ ! -e $DEV/run/$server.started ]] || print_address "$server" "$(variable_of "$server")"
    done
    for_tests DATABASE "$(chosen database "${DB:-}" "${DATABASES[@]}")"
    for_tests RABBITMQ "$(chosen broker "${BROKER:-}" "${BROKERS[@]}")"
    for_tests ELASTICSEARCH "$(chosen engine "${ENGINE:-}" "${ENGINES[@]}")"
}

for_tests() { # for_tests VARIABLE SERVER
    [[ -z $2 ]] || print_address "$2" "$1"
}

print_address() { # print_address SERVER VARIABLE
    local port
    port=$(port_of "$1")
    case $1 in
    mariadb* | mysql*) printf "export HOSTSYNC_DEV_%s_URL='mysql://root@127.0.0.1:%s'\n" "$2" "$port" ;;
    rabbitmq*)
        printf "export HOSTSYNC_DEV_%s_URL='amqp://guest:guest@127.0.0.1:%s/%%2f'\n" "$2" "$port"
        printf "export HOSTSYNC_DEV_%s_MANAGEMENT_URL='http://guest:guest@127.0.0.1:%s'\n" "$2" "$(port_of "$1_management")"
        ;;
    *) printf "export HOSTSYNC_DEV_%s_URL='http://127.0.0.1:%s'\n" "$2" "$port" ;;
    esac
}

variable_of() { # variable_of SERVER: rabbitmq-4.3 -> RABBITMQ_43
    local name=${1^^}
    name=${name//-/_}
    printf '%s' "${name//./}"
}

# chosen ROLE WANTED SERVER...: the one that is wanted now, or was by `up`, or the first one; of those that were started.
chosen() {
    local role=$1 wanted=$2 server
    shift 2
    [[ -n $wanted || ! -f $DEV/run/$role ]] || wanted=$(<"$DEV/run/$role")
    for server in $wanted "$@"; do
        if [[ -e $DEV/run/$server.started ]]; then
            printf '%s' "$server"
            return
        fi
    done
}

write_env() {
    with_lock env write_env_locked
}

write_env_locked() {
    print_env >"$DEV/env.new"
    mv "$DEV/env.new" "$DEV/env"
}
