# shellcheck shell=bash
# Messages, times and locks.

die() {
    printf 'servers: %s\n' "$*" >&2
    exit 1
}

say() { # say SERVER TEXT
    printf '%-14s %s\n' "$1" "$2"
}

now_us() {
    printf '%s' "${EPOCHREALTIME/./}"
}

seconds_since() { # seconds_since MICROSECONDS -> "1.2 s"
    local us=$(($(now_us) - $1))
    printf '%d.%d s' $((us / 1000000)) $((us / 100000 % 10))
}

# One user a checkout: what root had started there, its owner could neither see, nor stop, nor remove.
own_dev() {
    [[ ! -e $DEV || -O $DEV ]] ||
        die "$DEV belongs to user $(stat -c %U "$DEV"): run this as that user"
}

open_dev() {
    mkdir -p "$DEV"/{data,lib,log,run}
}

# with_lock NAME COMMAND...: one at a time, across processes. Daemons do not inherit the lock: launch closes it.
with_lock() {
    local name=$1
    shift
    (
        exec 9>"$DEV/run/$name.lock"
        flock -w 600 9 || die "another run has held .dev/run/$name.lock for 10 minutes"
        "$@"
    )
}
