# shellcheck shell=bash disable=SC2034
# MySQL: 8.0.15, the real one, from a Maven artefact made for tests, a server without client programs; 9.7 from a later
# suite of Debian.

mysql_process=mysqld
mysql_suite_package=mysql-server
mysql_start_seconds=90
mysql_stop_seconds=60
mysql_ports=('')

mysql_packages() {
    local library
    if [[ $(suite_of "$1") ]]; then
        suite_packages
        return
    fi
    for library in libaio1:libaio.so.1 libnuma1:libnuma.so.1; do
        ldconfig -p | grep -q "[[:space:]]${library#*:} " || echo "${library%:*}"
    done
    packages_for_artefacts "$1"
}

mysql_fetch() {
    local lib=$DEV/lib/$1
    [[ -z $(suite_of "$1") ]] || return 0
    [[ $(uname -m) == x86_64 ]] || die "$1: the artefact has a server for x86_64 only; use mariadb"
    fetch_artefacts "$1" dependency:unpack-dependencies
    [[ ! -x $lib/server/bin/mysqld ]] || return 0
    rm -rf "$lib/server.new"
    mkdir "$lib/server.new"
    tar -xzf "$lib/mysql-Linux-amd64.tar.gz" -C "$lib/server.new"
    mv "$lib/server.new" "$lib/server"
}

# Sets `program`, a variable of the caller: the server, as what calls itself root.
mysql_program() {
    local lib=$DEV/lib/$1
    program=(mysqld --no-defaults)
    [[ $(suite_of "$1") ]] || program=("$lib/server/bin/mysqld" --no-defaults --lc-messages-dir="$lib/server/share")
    [[ $EUID -ne 0 ]] || program+=(--user=root)
}

mysql_prepare() {
    local home=$DEV/data/$1 program
    # The server knows root@localhost only, and without name resolution a TCP connection never is that.
    cat >"$home/init.sql" <<'SQL'
CREATE USER IF NOT EXISTS 'root'@'127.0.0.1' IDENTIFIED BY '';
GRANT ALL PRIVILEGES ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION;
SQL
    [[ ! -d $home/data ]] || return 0
    say "$1" "creating an empty database"
    rm -rf "$home/new"
    mysql_program "$1"
    run_in "$1" "${program[@]}" --initialize-insecure --datadir="$home/new" --character-set-server=utf8mb4 \
        >"$DEV/log/$1.log" 2>&1 || fail_start "$1" "--initialize-insecure failed"
    mv "$home/new" "$home/data"
}

mysql_start() {
    local program tls=()
    # After a SIGKILL the lock names a pid, which may be a zombie's or by now somebody else's: the server would refuse.
    rm -f "$DEV/data/$1"/data/mysql.sock{,.lock}
    # What the early 8.0 offers of TLS is too old for the clients of today.
    [[ $(suite_of "$1") ]] || tls=(--skip-ssl)
    mysql_program "$1"
    launch "$1" "${program[@]}" --datadir="$DEV/data/$1/data" --tmpdir="$DEV/data/$1" --init-file="$DEV/data/$1/init.sql" --mysqlx=OFF "${tls[@]}" \
        --binlog-expire-logs-seconds=86400 --socket=mysql.sock --pid-file=mysql.pid --port="$(port_of "$1")" "${DATABASE_FLAGS[@]}"
}

mysql_serves() {
    greets "$(port_of "$1")"
}

mysql_version() {
    greeting "$(port_of "$1")"
}

mysql_log() {
    printf '%s' "$DEV/log/$1.log"
}
