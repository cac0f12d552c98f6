# shellcheck shell=bash
# Ports on 127.0.0.1: chosen at the first start, remembered in .dev/ports, chosen again when somebody else has one.

# Below the range from which Linux takes the ports of outgoing connections. The first one tried depends on the
# checkout's path, so that checkouts started at the same moment do not race for the same ports.
PORT_FIRST=20000
PORT_LAST=31999

port_of() { # port_of KEY: prints it, or nothing
    [[ -f $DEV/ports ]] || return 0
    local key value
    while IFS='=' read -r key value; do
        [[ $key != "$1" ]] || printf '%s' "$value"
    done <"$DEV/ports"
}

port_is_taken() {
    local hex
    printf -v hex '%04X' "$1"
    grep -qsE ":$hex [0-9A-F]+:[0-9A-F]+ 0A " /proc/net/tcp /proc/net/tcp6
}

# claim_ports KEY...: each key gets a port that is free now. Only for a server that is not running.
claim_ports() {
    with_lock ports claim_ports_locked "$@"
}

claim_ports_locked() {
    local key port sum
    touch "$DEV/ports"
    sum=$(cksum <<<"$ROOT")
    for key in "$@"; do
        port=$(port_of "$key")
        if [[ -n $port ]]; then
            # A server that has just been killed from outside may still be dying.
            for _ in {1..20}; do
                port_is_taken "$port" || continue 2
                sleep 0.05
            done
            say "$key" "port $port is taken by another process, choosing another"
        fi
        port=$((PORT_FIRST + ${sum%% *} % 1000 * 10))
        while grep -q "=$port\$" "$DEV/ports" || port_is_taken "$port"; do
            port=$((port + 1))
            [[ $port -le $PORT_LAST ]] || port=$PORT_FIRST
        done
        { grep -v "^$key=" "$DEV/ports" || true; printf '%s=%s\n' "$key" "$port"; } >"$DEV/ports.new"
        mv "$DEV/ports.new" "$DEV/ports"
    done
}

# A MySQL or MariaDB server sends a greeting on its own accord once it serves: the packet's length and number, which end
# with zero bytes; 10, the version of the protocol; the server's own version, which ends with a zero byte.
greeting() { # greeting PORT: prints the server's version
    local part=
    (
        LC_ALL=C
        exec 3<>"/dev/tcp/127.0.0.1/$1"
        until [[ $part == $'\n'?* ]]; do IFS= read -r -t 5 -d '' -u 3 part || exit 1; done
        printf '%s' "${part#?}"
    ) 2>/dev/null
}

greets() { # greets PORT
    greeting "$1" >/dev/null
}

accepts() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

http_ok() { # http_ok PORT PATH
    http_get "$1" "$2" | grep -q '^HTTP/[0-9.]* 200 '
}

http_get() { # http_get PORT PATH: prints the answer; as guest, RabbitMQ's user
    (
        exec 3<>"/dev/tcp/127.0.0.1/$1" &&
            printf 'GET %s HTTP/1.0\r\nHost: 127.0.0.1\r\nAuthorization: Basic Z3Vlc3Q6Z3Vlc3Q=\r\n\r\n' "$2" >&3 &&
            timeout 10 cat <&3
    ) 2>/dev/null
}
