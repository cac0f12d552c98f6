# shellcheck shell=bash disable=SC2034
# MariaDB: 10.11 from Debian, 11.8 from a later suite.

mariadb_process=mariadbd
mariadb_suite_package=mariadb-server
mariadb_start_seconds=60
mariadb_stop_seconds=30
mariadb_ports=('')

# For both databases. What a commit costs is left at the server's default (flushed to disk), so that
# a benchmark is honest and a SIGKILL loses nothing.
DATABASE_FLAGS=(
    --bind-address=127.0.0.1
    --skip-name-resolve
    --character-set-server=utf8mb4
    --max-connections=500
    --innodb-buffer-pool-size=512M
)

mariadb_packages() {
    if [[ $(suite_of "$1") ]]; then
        suite_packages
    elif ! has mariadbd || ! has mariadb-install-db; then echo mariadb-server; fi
}

mariadb_prepare() {
    local home=$DEV/data/$1 user=()
    [[ ! -d $home/data ]] || return 0
    say "$1" "creating an empty database"
    rm -rf "$home/new"
    [[ $EUID -ne 0 ]] || user=(--user=root)
    # A relative directory: the script does not quote it. --force: it wants to look up the machine's name, we do not.
    run_in "$1" env -C "$home" mariadb-install-db --no-defaults "${user[@]}" --datadir=./new --force \
        --auth-root-authentication-method=normal --skip-test-db >"$DEV/log/$1.log" 2>&1 ||
        fail_start "$1" "mariadb-install-db failed"
    mv "$home/new" "$home/data"
}

mariadb_start() {
    local user=()
    [[ $EUID -ne 0 ]] || user=(--user=root)
    # A temporary folder of its own: a MariaDB that starts empties it of the temporary tables of all others.
    # The socket's path is relative to the data directory: an absolute one may exceed the 107 bytes that Linux allows.
    launch "$1" mariadbd --no-defaults "${user[@]}" --datadir="$DEV/data/$1/data" --tmpdir="$DEV/data/$1" \
        --socket=mariadb.sock --pid-file=mariadb.pid --port="$(port_of "$1")" "${DATABASE_FLAGS[@]}"
}

mariadb_serves() {
    greets "$(port_of "$1")"
}

mariadb_version() {
    greeting "$(port_of "$1")"
}

mariadb_log() {
    printf '%s' "$DEV/log/$1.log"
}
