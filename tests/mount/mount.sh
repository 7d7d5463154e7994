#!/bin/bash
# SPDX-License-Identifier: MIT
# What the tests of the mount share; each begins with: . "$(dirname "$0")/mount.sh" || exit 1
# With TARGET=DIR a test runs in a folder of its own there instead. So its expectations can be tried on another file
# system. Gives:
#   $work, $dir              a folder in memory, and the empty folder to be mounted on; gone at the end
#   $size, pick SHORT LONG   short or long (HF_MOUNT_SIZE), and what to do in that size
#   $cache                   none or auto (HF_MOUNT_CACHE): what the mount keeps
#   start SIZE [OPTION ...]  a pool $pool of that size (options of mkpool), mounted on $dir by mount_pool [OPTION,...]
#   crowd [PATH ...] [--still PATH ...]
#                            the crowd (crowd.c) on these paths below $dir, until crowd_ends
#   HF_MOUNT_TENDED=yes      memory of free blocks goes back all the time, by itself and by `holdfast trim`. Files are
#                            laid for huge entries, and the pool becomes 8 MiB larger and as small again
#   dedup_follows            a process lets equal pages of the pool share blocks, until finish
#   children PID             the processes that it has started and that are not gone
#   run COMMAND ...          quietly; what it said is shown when it fails
#   finish                   crowd_ends, the follower ends, unmount, and fsck finds nothing: the end of each test
set -u

size=${HF_MOUNT_SIZE:-short}
cache=${HF_MOUNT_CACHE:-none}
unset LANG LANGUAGE
export LC_ALL=C.UTF-8
umask 022

skip() {
    echo "skipped: $*"
    exit 77
}

[ "$(id -u)" = 0 ] || skip "it needs root, to mount and to change owners"
[ -n "${TARGET-}" ] || (: <>/dev/fuse) 2>/dev/null || skip "/dev/fuse cannot be opened"

work=$(mktemp -d "${TMPDIR:-/dev/shm}/holdfast-mount-XXXXXX") || exit 1
export TMPDIR=$work # what a killed program leaves there goes too
pool=$work/pool
dir=$work/dir
options=
server=
crowd_pid=
follower=
trimmer=
compactor=
resizer=
if [ -n "${TARGET-}" ]; then
    dir=$(mktemp -d "$TARGET/holdfast-mount-XXXXXX") || exit 1
else
    mkdir "$dir"
fi

# However the test ended, and whatever hangs: the mount goes, then its process, then the pool.
clean_up() {
    local job

    for job in $crowd_pid $follower $trimmer $compactor $resizer $(jobs -p); do
        [ "$job" = "$server" ] || kill -KILL "$job" 2>/dev/null
    done
    if mountpoint -q "$dir"; then
        timeout 10 umount "$dir" 2>/dev/null || umount -l "$dir"
    fi
    [ -z "$server" ] || kill -KILL "$server" 2>/dev/null
    [ -z "${TARGET-}" ] || rm -rf "$dir"
    rm -rf --one-file-system "$work"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

fail() {
    local i

    for ((i = 1; i < ${#BASH_LINENO[@]} - 1; i++)); do
        echo "at ${BASH_SOURCE[i + 1]##*/}:${BASH_LINENO[i]}" >&2
    done
    echo "FAILED: $*" >&2
    [ ! -s "$work/server.log" ] || sed 's/^/mount: /' "$work/server.log" >&2
    exit 1
}

same() {
    [ "$1" = "$2" ] || fail "'$1' is not '$2'"
}

need() {
    local program

    for program in "$@"; do
        command -v "$program" >/dev/null || skip "$program is not installed"
    done
}

pick() {
    if [ "$size" = long ]; then echo "$2"; else echo "$1"; fi
}

children() {
    grep -sx "PPid:	$1" /proc/[0-9]*/status | cut -d / -f 3
}

run() {
    "$@" >"$work/said" 2>&1 </dev/null || {
        local status=$?

        tail -n 40 "$work/said" >&2
        fail "exit status $status of: $*"
    }
}

# Until the command is content, 10 minutes at most.
await() {
    local i

    for ((i = 0; i < 12000; i++)); do
        "$@" && return
        sleep 0.05
    done
    fail "never came true: $*"
}

mounted() {
    mountpoint -q "$dir" || ! kill -0 "$server" 2>/dev/null
}

mount_pool() {
    "$HOLDFAST" mount "$pool" "$dir" -f -o "cache=$cache${1:+,$1}" >"$work/server.log" 2>&1 </dev/null &
    server=$!
    await mounted
    mountpoint -q "$dir" || fail "the mount did not come"
}

# After asynchronous I/O the server's thread releases the file when it runs again: a test with such I/O has set
# asynchronous=yes.
unmount() {
    if [ -n "${asynchronous-}" ]; then await umount "$dir"; else run umount "$dir"; fi
    wait "$server" || fail "the mount ended with $?"
    server=
}

start() {
    [ -z "${TARGET-}" ] || return 0
    run "$HOLDFAST" mkpool "$pool" --size "$@" ${HF_MOUNT_TENDED:+--trim-above 2M}
    mount_pool "$options"
    [ -z "${HF_MOUNT_TENDED-}" ] || tend "$1"
}

# Beside what the pool does by itself. What is held past the end is in the way of a shrink.
tend() {
    while "$HOLDFAST" trim "$pool" --json >"$work/trimmed" && [ ! -e "$work/tending-ends" ]; do
        grep -o '"given_bytes": [1-9][0-9]*' "$work/trimmed" >>"$work/given"
        sleep 0.01
    done &
    trimmer=$!
    "$HOLDFAST" compact "$pool" --follow --pause 20ms --json >"$work/compacted" 2>&1 &
    compactor=$!
    while [ ! -e "$work/tending-ends" ]; do
        "$HOLDFAST" grow "$pool" --size $((${1%M} + 8))M
        "$HOLDFAST" shrink "$pool" --size "$1" --policy deadline:200ms && echo shrunk >>"$work/shrunk"
        sleep 0.05
    done >"$work/resized" 2>&1 &
    resizer=$!
}

# Afterwards the system keeps what is in use, and block 0.
tending_ends() {
    local used resident

    [ -n "$trimmer" ] || return 0
    await test -s "$work/shrunk"
    touch "$work/tending-ends"
    wait "$trimmer" || true
    wait "$resizer" || true
    kill -TERM "$compactor" || fail "the compactor has ended: $(cat "$work/compacted")"
    wait "$compactor"
    same "$?" $((128 + 15))
    trimmer= compactor= resizer=
    [ -s "$work/given" ] || fail "the trims have given nothing back"
    run "$HOLDFAST" trim "$pool"
    used=$("$HOLDFAST" df "$pool" --json | grep -o '"used_bytes": [0-9]*' | grep -o '[0-9]*$')
    resident=$(($(stat -c %b "$pool/data") * 512))
    [ "$resident" = "$used" ] || [ "$resident" = $((used + 4096)) ] ||
        fail "$resident bytes of memory for $used in use"
    echo "$(wc -l <"$work/given") trims have given memory back, $(wc -l <"$work/shrunk") shrinks ended," \
        "compact: $(grep -E 'huge|moved' "$work/compacted" | tr -d '\n')"
}

crowd() {
    [ -z "${TARGET-}" ] || return 0
    mkfifo "$work/crowd-in"
    "$CROWD" "$pool" "$@" <"$work/crowd-in" >"$work/crowd.log" 2>&1 &
    crowd_pid=$!
    exec {crowd_in}>"$work/crowd-in"
}

# By a byte, since what the test started may have the other end too.
crowd_ends() {
    [ -n "$crowd_pid" ] || return 0
    echo >&"$crowd_in"
    exec {crowd_in}>&-
    wait "$crowd_pid" || {
        cat "$work/crowd.log" >&2
        fail "the crowd saw what it should not"
    }
    crowd_pid=
    cat "$work/crowd.log"
    rm "$work/crowd-in"
}

# What the mount keeps of a file is not told of a merge, which changes no content.
dedup_follows() {
    [ -z "${TARGET-}" ] || return 0
    "$HOLDFAST" dedup "$pool" --follow --pause 20ms --json >"$work/follower.log" 2>&1 &
    follower=$!
}

follower_ends() {
    local status

    [ -n "$follower" ] || return 0
    kill -TERM "$follower" || fail "the follower has ended: $(cat "$work/follower.log")"
    wait "$follower"
    status=$?
    same "$status" $((128 + 15))
    follower=
    echo "merged and made holes: $(grep -E 'merged|zero|passes' "$work/follower.log" | tr -d '\n')"
    grep -qE '"(merged|zero)_bytes": [1-9]' "$work/follower.log" || fail "the follower has merged nothing"
}

# A mount in the background ends some time after umount(8) has returned.
not_in_use() {
    "$HOLDFAST" fsck "$pool" >"$work/said" 2>&1
    [ $? != 75 ]
}

finish() {
    [ -z "${TARGET-}" ] || return 0
    crowd_ends
    follower_ends
    unmount
    tending_ends
    await not_in_use
    run "$HOLDFAST" fsck "$pool"
}

# Programs find each other's memory through a shared mapping of a file: has this mount one?
maps_shared() {
    python3 -c 'import mmap, sys
with open(sys.argv[1], "w+b") as file:
    file.write(b"x" * 4096)
    file.flush()
    mmap.mmap(file.fileno(), 4096)' "$dir/.map" 2>/dev/null
    local status=$?

    rm -f "$dir/.map"
    return $status
}
