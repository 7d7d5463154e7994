#!/bin/bash
# SPDX-License-Identifier: MIT
# Builds Holdfast without each part that a build can do without (meson_options.txt), with all, and with none of them.
# What was left out is not there, what was not is, there is no warning, and a pool is made, filled and checked.
# usage: tools/switches.sh [PART...]    default: all of them, all and none
# The tests are built in `make test`, and left out here. Ends with a line 'N passed, N failed'.
set -eu
cd "$(dirname "$0")/.."

declare -A off=([mount]=disabled [lab]=false [pmem]=disabled [rcu]=disabled [cache]=false [cluster]=disabled
    [fabric]=disabled [uring]=disabled [listen]=disabled [python]=disabled [systemd]=false [man]=disabled)
parts=$(printf '%s\n' "${!off[@]}" | sort)
build=$PWD/build-switches # as deep as build/, so that ccache has most of it
work=$(mktemp -d "${TMPDIR:-/dev/shm}/holdfast-switches-XXXXXX")
trap 'rm -rf "$work" "$build"' EXIT
passed=0 failed=0

# BUILD PART: the build has it.
has() {
    case $2 in
    mount | cache) "$1/cli/holdfast" help "$2" ;;
    lab) "$1/cli/holdfast" help demo ;;
    pmem) grep -q 'libpmem2\.so' "$1"/src/libholdfast.so.0.* ;;
    rcu) ldd "$1/src/libholdfast.so" | grep -q liburcu ;;
    cluster | fabric | uring) test -e "$1/$2/libholdfast-$2.so" ;;
    listen) ! "$1/cli/holdfast" metrics "$work/pool" --listen x 2>&1 | grep 'built without it' ;;
    python) ls "$1"/python/holdfast/*.so ;;
    systemd) ls "$1"/packaging/*.service ;;
    man) test -e "$1/man/holdfast.1" ;;
    esac >/dev/null 2>&1
}

# BUILD PART...: it lacks these parts and no other. The Python package has holdfast.Cache, and the cluster needs both
# the cache and libfabric.
lacks() {
    local build=$1 part expected

    shift
    for part in $parts; do
        expected=yes
        case " $* " in *" $part "*) expected=no ;; esac
        [ "$part" != python ] || case " $* " in *" cache "*) expected=no ;; esac
        [ "$part" != cluster ] || case " $* " in *" cache "* | *" fabric "*) expected=no ;; esac
        if has "$build" "$part"; then
            [ "$expected" = yes ] || { echo "it has $part"; return 1; }
        else
            [ "$expected" = no ] || { echo "it lacks $part"; return 1; }
        fi
    done
}

# It works: a pool in memory.
works() {
    rm -rf "$work/pool"
    "$1/cli/holdfast" mkpool "$work/pool" --size 8M &&
        "$1/cli/holdfast" put "$work/pool" docs &&
        "$1/cli/holdfast" fsck "$work/pool"
}

# NAME PART...: a build without these parts.
try() {
    local name=$1 part options=()

    shift
    rm -rf "$build"
    for part; do
        options+=("-D$part=${off[$part]}")
    done
    if { meson setup "$build" -Dtests=false "${options[@]}" && ninja -C "$build" && works "$build" &&
        lacks "$build" "$@"; } >"$work/log" 2>&1 && ! grep 'warning:' "$work/log"; then
        echo "ok: $name"
        passed=$((passed + 1))
    else
        tail -n 20 "$work/log"
        echo "FAILED: $name"
        failed=$((failed + 1))
    fi
}

if [ $# != 0 ]; then
    for part; do
        [ -n "${off[$part]-}" ] || {
            echo "switches: there is no part $part, but: ${parts//$'\n'/ }" >&2
            exit 64
        }
        try "without $part" "$part"
    done
else
    try "with all"
    for part in $parts; do
        try "without $part" "$part"
    done
    # shellcheck disable=SC2086
    try "with none" $parts
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
