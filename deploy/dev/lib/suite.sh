# shellcheck shell=bash
# Servers younger than the machine's, from later suites of Debian, each unpacked into a folder that all checkouts of a
# user share and that is kept: a suite moves, and so does what is found in it. To have it anew: remove its folder.
#
# Nothing of the machine changes, and no mount outlives the processes that need it: see ../enter-suite.

SUITES=${XDG_CACHE_HOME:-$HOME/.cache}/hostsync/suites

suite_of() { # suite_of SERVER: prints its suite; nothing: the machine's own Debian
    case $1 in
    mariadb-11.8 | rabbitmq-4.0 | opensearch-3) printf 'trixie' ;;
    mysql-9.7 | rabbitmq-4.3) printf 'sid' ;;
    esac
}

# Sets `way`, a variable of the caller: the words that a command of SERVER begins with, to run in its suite.
way_into() { # way_into SERVER
    local suite
    suite=$(suite_of "$1")
    way=()
    [[ -z $suite ]] || way=(unshare --mount "$HERE/enter-suite" "$SUITES/$suite" "$DEV")
}

run_in() { # run_in SERVER COMMAND...: in its suite, to its end
    local way
    way_into "$1"
    shift
    env -i HOME="$DEV/data" PATH="$PATH" LC_ALL=C.UTF-8 "${way[@]}" "$@"
}

# The machine's packages that a server from a suite needs.
suite_packages() {
    has debootstrap || echo debootstrap
}

# Fails with a line where it cannot be had: no root, no mirror, a package that does not install today.
need_suite() { # need_suite SERVER PACKAGE
    local suite
    suite=$(suite_of "$1")
    [[ ! -e $SUITES/$suite/hostsync/$2 ]] || return 0
    [[ $EUID -eq 0 ]] || die "$1: only root can unpack and enter another suite of Debian"
    mkdir -p "$SUITES"
    (
        exec 8>"$SUITES/$suite.lock"
        flock 8
        unpack_suite "$1" "$suite"
        add_to_suite "$1" "$suite" "$2"
    )
}

# The mirror is the one that the machine itself installs from.
unpack_suite() { # unpack_suite SERVER SUITE
    local folder=$SUITES/$2 log=$DEV/log/$2.log mirror started
    [[ ! -d $folder ]] || return 0
    started=$(now_us)
    mirror=$(apt-get indextargets --format '$(LABEL) $(REPO_URI)' 2>/dev/null | sed -n 's/^Debian //p' | head -n 1)
    [[ $mirror ]] || die "$1: the sources of apt on this machine name no mirror of Debian"
    say "$1" "unpacking Debian's $2, once for all checkouts"
    rm -rf "$folder.new"
    unshare --mount debootstrap --variant=minbase "$2" "$folder.new" "$mirror" >"$log" 2>&1 || {
        tail -n 5 "$log" >&2
        die "$1: debootstrap failed (above: the end of .dev/log/$2.log)"
    }
    # Without it RabbitMQ waits for ever, without a word.
    printf '127.0.0.1 localhost\n' >"$folder.new/etc/hosts"
    printf '#!/bin/sh\nexit 101\n' >"$folder.new/usr/sbin/policy-rc.d"
    chmod +x "$folder.new/usr/sbin/policy-rc.d"
    mkdir "$folder.new/hostsync"
    mv "$folder.new" "$folder"
    say "$1" "$2 is unpacked after $(seconds_since "$started")"
}

add_to_suite() { # add_to_suite SERVER SUITE PACKAGE
    local folder=$SUITES/$2 log=$DEV/log/$2.log started
    [[ ! -e $folder/hostsync/$3 ]] || return 0
    started=$(now_us)
    say "$1" "installing $3 from $2"
    cp /etc/resolv.conf "$folder/etc/resolv.conf"
    # A mirror may lag behind by weeks, more than sid's lists are valid for; they are signed all the same.
    # shellcheck disable=SC2016 # for the shell in there
    unshare --mount "$HERE/enter-suite" "$folder" "$DEV" \
        env PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive \
        sh -ec 'apt-get -q -o Acquire::Check-Valid-Until=false update; apt-get -y -q install --no-install-recommends "$1"; apt-get clean' - "$3" \
        >>"$log" 2>&1 </dev/null || {
        tail -n 5 "$log" >&2
        die "$1: apt-get could not install $3 from $2 (above: the end of .dev/log/$2.log)"
    }
    touch "$folder/hostsync/$3"
    say "$1" "$3 is installed after $(seconds_since "$started")"
}
