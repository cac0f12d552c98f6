# shellcheck shell=bash disable=SC2034
# MySQL 8.0.15, the real one, from a Maven artefact made for tests: a server without client programs.

mysql_process=mysqld
mysql_start_seconds=90
mysql_stop_seconds=60
mysql_ports=(mysql)

mysql_packages() {
    local library
    for library in libaio1:libaio.so.1 libnuma1:libnuma.so.1; do
        ldconfig -p | grep -q "[[:space:]]${library#*:} " || echo "${library%:*}"
    done
    packages_for_artefacts mysql
}

mysql_prepare() {
    local home=$DEV/data/mysql lib=$DEV/lib/mysql user=()
    [[ $(uname -m) == x86_64 ]] || die "mysql: the artefact has a server for x86_64 only; use mariadb"
    fetch_artefacts mysql dependency:unpack-dependencies
    if [[ ! -x $lib/server/bin/mysqld ]]; then
        rm -rf "$lib/server.new"
        mkdir "$lib/server.new"
        tar -xzf "$lib/mysql-Linux-amd64.tar.gz" -C "$lib/server.new"
        mv "$lib/server.new" "$lib/server"
    fi
    # The server knows root@localhost only, and without name resolution a TCP connection never is that.
    cat >"$home/init.sql" <<'SQL'
CREATE USER IF NOT EXISTS 'root'@'127.0.0.1' IDENTIFIED BY '';
GRANT ALL PRIVILEGES ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION;
SQL
    [[ ! -d $home/data ]] || return 0
    say mysql "creating an empty database"
    rm -rf "$home/new"
    [[ $EUID -ne 0 ]] || user=(--user=root)
    "$lib/server/bin/mysqld" --no-defaults "${user[@]}" --initialize-insecure --datadir="$home/new" \
        --lc-messages-dir="$lib/server/share" --character-set-server=utf8mb4 >"$DEV/log/mysql.log" 2>&1 ||
        fail_start mysql "--initialize-insecure failed"
    mv "$home/new" "$home/data"
}

mysql_start() {
    local lib=$DEV/lib/mysql user=()
    # After a SIGKILL the lock names a pid, which may be a zombie's or by now somebody else's: the server would refuse.
    rm -f "$DEV"/data/mysql/data/mysql.sock{,.lock}
    # --skip-ssl: what this early 8.0 offers of TLS is too old for the clients of today.
    [[ $EUID -ne 0 ]] || user=(--user=root)
    launch mysql "$lib/server/bin/mysqld" --no-defaults "${user[@]}" --datadir="$DEV/data/mysql/data" \
        --lc-messages-dir="$lib/server/share" --init-file="$DEV/data/mysql/init.sql" --mysqlx=OFF --skip-ssl \
        --binlog-expire-logs-seconds=86400 --socket=mysql.sock --pid-file=mysql.pid --port="$(port_of mysql)" "${DATABASE_FLAGS[@]}"
}

mysql_serves() {
    greets "$(port_of mysql)"
}

mysql_log() {
    printf '%s' "$DEV/log/mysql.log"
}
