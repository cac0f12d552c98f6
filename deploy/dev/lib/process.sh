# shellcheck shell=bash
# Which processes are ours, and how to start and end them.
#
# A process is ours if, and only if, it was started with HOSTSYNC_DEV_SERVER=<this .dev>:<server> in its
# environment, which the kernel shows in /proc/PID/environ. Helper processes inherit it. So nothing hangs on a pid file
# that may be stale or name a pid that the kernel has given to somebody else, and a server is found even
# if this program was killed while it started one. A zombie shows no environment: nobody takes it for a server.

pids_of() { # pids_of SERVER: prints its processes, one a line
    local file
    { grep -lszxF "HOSTSYNC_DEV_SERVER=$DEV:$1" /proc/[0-9]*/environ || true; } |
        while IFS= read -r file; do
            file=${file#/proc/}
            printf '%s\n' "${file%/environ}"
        done
}

main_pid_of() { # main_pid_of SERVER: prints the pid of the server itself, or nothing
    local pid comm want
    want=$(setting_of "$1" process)
    for pid in $(pids_of "$1"); do
        comm=
        { read -r comm <"/proc/$pid/comm"; } 2>/dev/null || continue
        if [[ $comm == "$want" ]]; then
            printf '%s' "$pid"
            return
        fi
    done
}

is_running() {
    [[ -n $(main_pid_of "$1") ]]
}

# Open files a server may have. Enough for 500 connections; a soft limit of 1024, as is usual, would make a database
# allow fewer, and an unlimited one makes Erlang reserve gigabytes.
OPEN_FILES=65536

# launch SERVER COMMAND...: in its suite, in a session of its own, with no file and no variable of ours, output to the log.
launch() {
    local server=$1 log=$DEV/log/$1.log fd limit way
    way_into "$server"
    shift
    limit=$(ulimit -Hn)
    [[ $limit != unlimited && $limit -lt $OPEN_FILES ]] || limit=$OPEN_FILES
    (
        for fd in "/proc/$BASHPID/fd/"*; do
            fd=${fd##*/}
            [[ $fd -le 2 ]] || eval "exec $fd>&-"
        done
        cd "$DEV/data/$server" || exit
        ulimit -Sn "$limit"
        exec env -i HOME="$DEV/data/$server" PATH="$PATH" LC_ALL=C.UTF-8 HOSTSYNC_DEV_SERVER="$DEV:$server" \
            setsid "${way[@]}" "$@" </dev/null >>"$log" 2>&1
    ) &
    disown
}

send() { # send SIGNAL PID...: a process that is gone already is what we want
    local signal=$1
    shift
    kill -s "$signal" "$@" 2>/dev/null || true
}

# A dying process loses its environment before its ports and file locks, and its first thread may be a zombie before
# the others have ended. So those that were signalled are watched to the end: no entry, or a zombie with no other thread.
is_gone() { # is_gone PID
    local stat tasks
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 0
    [[ ${stat##*) } == [ZX]* ]] || return 1
    tasks=("/proc/$1/task/"*)
    [[ ${#tasks[@]} -le 1 ]]
}

wait_until_gone() { # wait_until_gone SECONDS PID...
    local pid end=$(($(now_us) + $1 * 1000000))
    shift
    for pid in "$@"; do
        until is_gone "$pid"; do
            [[ $(now_us) -lt $end ]] || return 1
            sleep 0.02
        done
    done
}

kill_now() { # kill_now SERVER
    local pids
    mapfile -t pids < <(pids_of "$1")
    [[ ${#pids[@]} -gt 0 ]] || return 0
    send KILL "${pids[@]}"
    wait_until_gone 10 "${pids[@]}" || die "$1: still there 10 s after SIGKILL: $(pids_of "$1" | xargs)"
}

# SIGTERM to the server itself; SIGKILL to what is left of it after SECONDS, and to helpers that outlive it.
end_in_good_order() { # end_in_good_order SERVER SECONDS
    local pid
    pid=$(main_pid_of "$1")
    if [[ -n $pid ]]; then
        send TERM "$pid"
        wait_until_gone "$2" "$pid" || say "$1" "not gone $2 s after SIGTERM: SIGKILL"
    fi
    kill_now "$1"
}
