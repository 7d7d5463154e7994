#!/bin/bash
# SPDX-License-Identifier: MIT
# The program is started without standard input, output or error. No file of the pool has their numbers, and nothing
# that is printed goes into one. A verb that needs one of them gets an error.
. "$(dirname "$0")/cli.sh" || exit 1

dir=$work/dir
mkdir "$dir"
top=
trap 'kill "$top" 2>/dev/null; umount -l "$dir" 2>/dev/null || fusermount3 -uzq "$dir" 2>/dev/null; clean_up' EXIT

# No descriptor 0 to 2 of these processes is a file of the pool, or of the mount.
none_is_low() {
    local process fd

    for process in "$@"; do
        for fd in 0 1 2; do
            case $(readlink "/proc/$process/fd/$fd") in
            "$work"/pool* | /dev/fuse | socket:*) fail "descriptor $fd is $(readlink "/proc/$process/fd/$fd")" ;;
            esac
        done
    done
}

# The process that has the pool's lock open.
users() {
    find /proc/[0-9]*/fd -lname "$work/pool/lock" 2>/dev/null | cut -d/ -f3 | sort -u
}

is_whole() {
    same "$(stat -c %s "$pool/lock")" 0
    try 0 "$HOLDFAST" cat "$pool" kept
    cmp -s "$work/out" "$work/kept" || fail "$how: the content has changed"
    grep -aq 'holdfast: \|rather-long' "$pool/lock" "$pool/meta/lock.mdb" "$pool/data" && fail "$how: there is text in the pool's files"
    # names are in the metadata, messages are not
    head -c 1048576 "$pool/meta/data.mdb" | grep -aq 'holdfast: ' && fail "$how: there is text in the metadata"
    return 0
}

head -c 300000 /dev/zero | tr '\0' K >"$work/kept"
for how in "<&-" ">&-" "2>&-" "<&- >&-" "<&- 2>&-" ">&- 2>&-" "<&- >&- 2>&-"; do
    try 0 "$HOLDFAST" mkpool "$pool" --size 8M
    try 0 "$HOLDFAST" put "$pool" "$work/kept" kept
    try 0 "$HOLDFAST" mkdir -p "$pool" d/a-rather-long-name-{1..100}

    eval "exec $how"' "$HOLDFAST" top "$pool" --interval 1h --batch 2' >"$work/top" 2>&1 &
    top=$!
    for ((i = 0; i < 400; i++)); do
        [ "$(users)" != "$top" ] || break
        kill -0 "$top" 2>/dev/null || break # it has no output, and says so
        sleep 0.05
    done
    none_is_low $(users)
    eval '"$HOLDFAST" ls -R "$pool" nosuch /'" $how" >"$work/out" 2>&1
    same $? 66
    eval '"$HOLDFAST" rm "$pool" no-such-file-of-a-rather-long-name'" $how" >"$work/out" 2>&1
    same $? 66
    eval '"$HOLDFAST" ls -R "$pool"'" $how" >"$work/out" 2>&1
    status=$?
    case $how in
    *" >"* | ">"*) [ $status != 0 ] || fail "$how: a listing went nowhere, and that was not an error" ;;
    *) same $status 0 ;;
    esac
    eval '"$HOLDFAST" put "$pool" - from-nowhere'" $how" >"$work/out" 2>&1
    status=$?
    case $how in
    *"<"*) [ $status != 0 ] || fail "$how: standard input that was not there was put" ;;
    esac
    is_whole
    kill "$top" 2>/dev/null
    wait "$top"
    try 0 "$HOLDFAST" fsck "$pool"
    rm -rf "$pool"
done

# A mount that is left to serve.
(: <>/dev/fuse) 2>/dev/null || exit 0
"$HOLDFAST" help mount >/dev/null 2>&1 || exit 0
for how in "<&-" "<&- >&-" "<&- >&- 2>&-"; do
    try 0 "$HOLDFAST" mkpool "$pool" --size 8M
    try 0 "$HOLDFAST" put "$pool" "$work/kept" kept
    eval 'timeout 60 "$HOLDFAST" mount "$pool" "$dir"'" $how"
    status=$?
    grep -qF " $dir " /proc/self/mountinfo || {
        echo "nothing can be mounted here ($status)"
        exit 0
    }
    same $status 0
    [ -n "$(users)" ] || fail "$how: nobody has the lock"
    none_is_low $(users)
    try 75 "$HOLDFAST" fsck "$pool"
    cmp "$dir/kept" "$work/kept" || fail "$how: the mount shows something else"
    cp "$work/kept" "$dir/another"
    is_whole
    try 0 umount "$dir"
    for ((i = 0; i < 400; i++)); do
        [ -n "$(users)" ] || break
        sleep 0.05
    done
    try 0 "$HOLDFAST" fsck "$pool"
    rm -rf "$pool"
done
