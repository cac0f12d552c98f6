# shellcheck shell=bash
# Debian packages and Maven artefacts.

has() {
    command -v "$1" >/dev/null 2>&1
}

java_17() { # prints the java to use: 17 where there is one, else what the user has
    local candidate
    for candidate in /usr/lib/jvm/java-17-openjdk-*/bin/java "${JAVA_HOME:+$JAVA_HOME/bin/java}" "$(command -v java || true)"; do
        if [[ -x $candidate ]]; then
            printf '%s' "$candidate"
            return
        fi
    done
    return 1
}

packages_for_artefacts() { # packages_for_artefacts SERVER: what fetching its artefacts needs
    [[ -e $DEV/lib/$1/complete ]] && return
    has mvn || echo maven
}

missing_packages() { # missing_packages SERVER...
    local server
    for server in "$@"; do
        "${server%%-*}_packages" "$server"
    done | sort -u
}

install_missing() { # install_missing SERVER...
    local packages
    mapfile -t packages < <(missing_packages "$@")
    [[ ${#packages[@]} -gt 0 ]] || return 0
    if [[ $EUID -ne 0 ]]; then
        die "missing Debian packages, and only root can install them:
    apt-get update && apt-get install --no-install-recommends ${packages[*]}"
    fi
    has apt-get || die "missing, and there is no apt-get here: ${packages[*]}"
    (
        exec 8>/var/lock/hostsync-dev-install.lock
        flock 8
        install_packages "$@"
    )
}

# The packages bring services that belong to the machine: they are neither started nor left enabled.
install_packages() {
    local package packages started units policy=/usr/sbin/policy-rc.d
    mapfile -t packages < <(missing_packages "$@")
    [[ ${#packages[@]} -gt 0 ]] || return 0
    started=$(now_us)
    say install "${packages[*]}"
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod +x $policy
        # shellcheck disable=SC2064
        trap "rm -f $policy" EXIT
    fi
    if ! apt_install "${packages[@]}"; then
        # An old or empty package list is the usual reason.
        apt-get -qq -o DPkg::Lock::Timeout=300 update >>"$DEV/log/install.log" 2>&1 || true
        apt_install "${packages[@]}" || {
            tail -n 20 "$DEV/log/install.log" >&2
            die "apt-get could not install ${packages[*]} (above: the end of .dev/log/install.log)"
        }
    fi
    if has systemctl; then
        for package in "${packages[@]}"; do
            case $package in
            mariadb-server) units=(mariadb.service mariadb.socket) ;;
            rabbitmq-server) units=(rabbitmq-server.service epmd.service epmd.socket) ;;
            prometheus) units=(prometheus.service) ;;
            *) continue ;;
            esac
            systemctl --quiet disable "${units[@]}" >>"$DEV/log/install.log" 2>&1 || true
        done
    fi
    say install "done in $(seconds_since "$started")"
}

apt_install() {
    DEBIAN_FRONTEND=noninteractive apt-get -y -q -o DPkg::Lock::Timeout=300 \
        install --no-install-recommends "$@" >>"$DEV/log/install.log" 2>&1 </dev/null
}

# fetch_artefacts SERVER GOAL...: runs Maven with the profile of that name in deploy/dev/pom.xml, once, into .dev/lib/SERVER.
fetch_artefacts() {
    local server=$1 lib=$DEV/lib/$1 started
    shift
    # Again after a change of what it is made from.
    [[ ! -e $lib/complete || $HERE/pom.xml -nt $lib/complete || $HERE/launcher/Launcher.java -nt $lib/complete ]] || return 0
    started=$(now_us)
    say "$server" "fetching its artefacts with Maven"
    rm -rf "$lib"
    mkdir -p "$lib" ~/.m2
    (
        # Maven's local repository is not safe for two writers.
        exec 8<~/.m2
        flock 8
        mvn -B -q -C -f "$HERE/pom.xml" -P "$server" -Dlib="$lib" "$@"
    ) >"$DEV/log/$server-maven.log" 2>&1 || {
        tail -n 20 "$DEV/log/$server-maven.log" >&2
        die "$server: Maven failed (above: the end of .dev/log/$server-maven.log)"
    }
    touch "$lib/complete"
    say "$server" "artefacts fetched in $(seconds_since "$started")"
}
