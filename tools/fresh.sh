#!/bin/bash
# SPDX-License-Identifier: MIT
# Tries the README's two commands on a new machine: a bare Debian with git, gcc and make, and a clone of this
# repository. Ends with what had to be installed, and one line 'N passed, N failed'.
# usage: tools/fresh.sh [--packages] [COMMIT]    default: HEAD; what is not committed is not tried
# --packages: tries Debian's packages there instead, see tools/packages.sh.
# Needs root, some 3 GB in $TMPDIR or else /var/tmp, and the network, for apt alone. Exit status 77: it was not tried.
#
# The machine is a folder. Suite, mirror, proxies and passwords are those of this machine's apt. All of it happens
# in namespaces for mounts, processes, IPC and the host's name, which go with the first of their processes. So when
# this script has ended, however it ended, no process and no mount is left. The folder is removed at the end; if the
# script was killed, the next one removes it. Packages are fetched first. The two commands run without a network. A
# seed for the random tests (HF_SEED) is handed on.
set -eu

name=holdfast-fresh
base=${TMPDIR:-/var/tmp}
first_packages=git,gcc,make

say() {
    printf '\nfresh: %s\n' "$*"
}

# ---- outside -----------------------------------------------------------------------------------

# Folders of scripts that have ended: nobody holds their locks.
remove_stale() {
    local stale

    for stale in "$base/$name"-??????; do
        [ ! -e "$stale/lock" ] || flock -n "$stale/lock" rm -rf --one-file-system "$stale" || true
    done
}

# The first process of the namespaces takes all others with it; the one before it ends when they are gone.
clean_up() {
    local init

    trap '' INT TERM HUP
    if [ -n "$starter" ] && init=$(cat "/proc/$starter/task/$starter/children" 2>/dev/null); then
        # shellcheck disable=SC2086
        [ -z "$init" ] || kill -KILL $init 2>/dev/null || true
        wait "$starter" || true
    fi
    rm -rf --one-file-system "$folder"
}

outside() {
    local top commit changes status=0 what=commands

    if [ "${1-}" = --packages ]; then
        what=packages
        shift
    fi
    [ "$(id -u)" = 0 ] || {
        echo "fresh: skipped: it needs root, to make a Debian of its own" >&2
        exit 77
    }
    command -v dpkg-query >/dev/null || {
        echo "fresh: skipped: this is not Debian, so there is no apt to take sources from" >&2
        exit 77
    }
    cd "$(dirname "$0")/.."
    tools/setup.sh fresh
    top=$PWD
    commit=$(git rev-parse --verify "${1:-HEAD}^{commit}")
    changes=$(git status --porcelain | wc -l)
    [ "$changes" = 0 ] || echo "fresh: $changes changes are not committed, and are not tried"
    remove_stale

    folder=$(mktemp -d "$base/$name-XXXXXX")
    starter=
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    exec 9>"$folder/lock"
    flock 9
    chmod 755 "$folder" # apt fetches as another user
    git init -q "$folder/clone" # pushed to, since no branch may hold the commit
    git push -q "$folder/clone" "$commit:refs/heads/fresh"
    git -C "$folder/clone" checkout -q fresh

    set -m # or SIGINT would be ignored in there, also by what a test sends it to
    setpriv --pdeathsig KILL unshare --mount --propagation private --pid --fork --kill-child --ipc --uts \
        bash "$top/tools/fresh.sh" --inside "$folder" "$what" </dev/null 9>&- &
    starter=$!
    set +m
    wait "$starter" || status=$?
    starter=
    exit "$status"
}

# ---- inside: a root for it ---------------------------------------------------------------------

# What this machine's apt calls its own distribution: ENTRY|URI|SUITE|COMPONENT. The third-party
# sources of this machine are not a new machine's.
apt_sources() {
    local here

    here=$(. /etc/os-release && echo "$ID")
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(ORIGIN)|$(SOURCESENTRY)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)' \
        'Created-By: Packages' | awk -F '|' -v here="$here" 'tolower($1) == here' | cut -d '|' -f 2- | sort -u
}

# Files of apt's sources that hold nothing else are copied as they are, with keys and options, in either form. From
# other files the lines that count are written once more, and Debian's own keys vouch for them.
write_sources() {
    local all file uri suite component

    all=$(apt_sources)
    [ -n "$all" ] || {
        apt-get update -q >&2
        all=$(apt_sources)
    }
    [ -n "$all" ] || {
        echo "fresh: apt has no sources of this machine's distribution" >&2
        exit 1
    }
    mkdir "$folder/sources"
    cut -d '|' -f 1 <<<"$all" | sed 's/:[0-9]*$//' | sort -u | while read -r file; do
        # shellcheck disable=SC2016
        if [ "$(apt-get indextargets --format '$(SOURCESENTRY)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)' \
            'Created-By: Packages' | grep -F "$file:" | sort -u)" = "$(grep -F "$file:" <<<"$all")" ]; then
            cp "$file" "$folder/sources/"
        else
            grep -F "$file:" <<<"$all" | while IFS='|' read -r _ uri suite component; do
                echo "deb $uri $suite $component"
            done >"$folder/sources/$(basename "$file" .sources).list"
        fi
    done
}

# How apt reaches its mirrors from here: proxies, certificates, how often it tries, and whether old snapshots are
# good. If a program names the proxy, it is asked now.
write_options() {
    local uri detect proxy scheme

    apt-config dump | grep -E '^Acquire::(https?|ftp|Retries|Check-Valid-Until|Check-Date|ForceIPv[46])\b' |
        grep -viE 'proxy-?auto-?detect' >"$folder/options" || true
    uri=$(apt_sources | cut -d '|' -f 2 | head -n 1)
    scheme=${uri%%:*}
    detect=$(apt-config dump | sed -nE "s/^Acquire::$scheme::Proxy-?Auto-?Detect \"(.+)\";/\1/Ip" | head -n 1)
    if [ -n "$detect" ] && proxy=$("$detect" "$uri" | head -n 1) && [ -n "$proxy" ]; then
        echo "Acquire::$scheme::Proxy \"$proxy\";" >>"$folder/options"
    fi
}

# Files that the sources and options name, and passwords: at the same places there. Lines PATH of what is here.
named_files() {
    grep -hoiE '(signed-by[=:][[:space:]]*)/[^] ,]+' "$folder/sources"/* | sed -E 's/^[^/]*//' || true
    sed -nE 's/^Acquire::.*"(\/[^"]+)";$/\1/p' "$folder/options"
    find /etc/apt/auth.conf /etc/apt/auth.conf.d /etc/apt/trusted.gpg /etc/apt/trusted.gpg.d /usr/local/share/ca-certificates \
        -type f 2>/dev/null || true
}

make_root() {
    local more=

    write_sources
    write_options
    named_files | sort -u | while read -r path; do
        [ ! -f "$path" ] || echo "${path#/}"
    done >"$folder/files"
    grep -qs https: "$folder/sources"/* && more=,ca-certificates
    # shellcheck disable=SC2016
    mmdebstrap --quiet --mode=root --variant=minbase --include="$first_packages$more" --aptopt="$folder/options" \
        --dpkgopt=force-unsafe-io \
        --setup-hook='tar -c -C / -T "${1%/*}/files" | tar -x -C "$1"' \
        "$(. /etc/os-release && echo "${VERSION_CODENAME-}")" "$root" "$folder/sources"/* >&2
}

# A machine as the kernel shows it, with nothing of this one's in it.
make_machine() {
    local node

    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    mount -t sysfs sysfs "$root/sys"
    mount -t tmpfs -o mode=755 dev "$root/dev"
    mount -t tmpfs -o mode=1777 tmp "$root/tmp"
    mount -t tmpfs run "$root/run"
    for node in "null 1 3" "zero 1 5" "full 1 7" "random 1 8" "urandom 1 9" "tty 5 0" "fuse 10 229"; do
        # shellcheck disable=SC2086
        set -- $node
        mknod -m 666 "$root/dev/$1" c "$2" "$3"
    done
    ln -s /proc/self/fd "$root/dev/fd"
    ln -s fd/0 "$root/dev/stdin"
    ln -s fd/1 "$root/dev/stdout"
    ln -s fd/2 "$root/dev/stderr"
    ln -s pts/ptmx "$root/dev/ptmx"
    mkdir "$root/dev/pts" "$root/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=666,mode=620 devpts "$root/dev/pts"
    mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
    cat /etc/resolv.conf >"$root/etc/resolv.conf" 2>/dev/null || true
    echo "127.0.0.1 localhost fresh" >"$root/etc/hosts"
    hostname fresh
    mkdir "$root/before"
    mv "$folder/clone" "$root/root/holdfast"
    cp "$0" "$root/root/fresh.sh"
}

# The folder becomes the root, and the old one goes.
inside() {
    folder=$1
    root=$folder/root
    say "a bare $(. /etc/os-release && echo "$PRETTY_NAME") with ${first_packages//,/, }"
    make_root
    make_machine
    cd "$root"
    pivot_root . before
    # shellcheck disable=SC2093
    exec chroot . /usr/bin/env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        "TERM=${TERM:-dumb}" ${HF_SEED:+"HF_SEED=$HF_SEED"} \
        "http_proxy=${http_proxy-}" "https_proxy=${https_proxy-}" "no_proxy=${no_proxy-}" \
        /bin/bash /root/fresh.sh --there "$2"
}

# ---- there -------------------------------------------------------------------------------------

manual_packages() {
    apt-mark showmanual | sort
}

installed_packages() {
    dpkg-query -W -f '${Package}\n' | sort
}

# What was not tried, and what failed: the last line that each of these tests has said.
remarks() {
    python3 - build/meson-logs/testlog.json <<'END' || true
import json, sys
for line in open(sys.argv[1], encoding="utf-8"):
    test = json.loads(line)
    if test["result"] not in ("OK", "EXPECTEDFAIL"):
        said = (test.get("stdout", "") + test.get("stderr", "")).strip().splitlines() or [""]
        reason = [text for text in said if text.startswith(("skipped", "FAILED"))] or said
        print("fresh: %s %s: %s" % (test["result"].lower(), test["name"].split(" / ")[-1], reason[-1]))
END
}

there() {
    local ran=0 tested=0 manual installed

    cd /root/holdfast
    manual=$(manual_packages)
    installed=$(installed_packages)
    unset http_proxy https_proxy no_proxy
    # A machine without a network still has its loopback; a new namespace has it down. Perl is in
    # every Debian; SIOCSIFFLAGS with IFF_UP | IFF_RUNNING.
    perl -MSocket -e 'socket(my $to, AF_INET, SOCK_DGRAM, 0) or die "socket: $!";
        my $up = pack("a16sx22", "lo", 0x41); ioctl($to, 0x8914, $up) or die "lo: $!"'

    say "make run"
    make run || ran=$?
    say "make test"
    make test || tested=$?

    say "what was needed beyond $first_packages:"
    manual=$(comm -13 <(echo "$manual") <(manual_packages))
    installed=$(comm -13 <(echo "$installed") <(installed_packages))
    fmt -w 100 <<<"${manual//$'\n'/ }"
    echo "$(wc -w <<<"$manual") packages, and $(($(wc -w <<<"$installed") - $(wc -w <<<"$manual"))) that those need"
    say "$(git rev-parse --short HEAD): make run ended with $ran, make test with $tested"
    remarks
    python3 tools/count_tests.py build/meson-logs/testlog.json "$tested" "$ran"
}

# With a network: what the two commands will install comes into apt's cache, and nothing is installed yet.
fetch() {
    say "fetching what tools/setup.sh will install"
    echo 'APT::Get::Download-Only "true";' >/root/fetch.conf
    for word in "" test; do
        # shellcheck disable=SC2086
        APT_CONFIG=/root/fetch.conf tools/setup.sh $word
    done
    exec unshare --net bash /root/fresh.sh --alone
}

# The commands, or the packages.
begin() {
    umount -l /before
    rmdir /before
    cd /root/holdfast
    [ "$1" = commands ] || exec tools/packages.sh
    fetch
}

case ${1-} in
--inside) inside "$2" "$3" ;;
--there) begin "$2" ;;
--alone) there ;;
--packages) outside "$@" ;;
-*)
    echo "usage: tools/fresh.sh [--packages] [COMMIT]" >&2
    exit 64
    ;;
*) outside "$@" ;;
esac
