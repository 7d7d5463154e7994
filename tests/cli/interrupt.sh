#!/bin/bash
# SPDX-License-Identifier: MIT
# Ctrl-C in the middle: no half-written file, a sentence, the shell sees the signal, and the pool
# is detached.
. "$(dirname "$0")/cli.sh" || exit 1
set -m # background jobs take SIGINT

# Waits until the condition holds, ten minutes at most.
until_true() {
    local i

    for i in $(seq 12000); do
        eval "$1" && return
        sleep 0.05
    done
    fail "never came true: $1"
}

stopped_by_int() {
    wait "$1"
    same "$?" 130
    err=$(cat "$work/err")
    says "interrupted: $2"
}

# The root, the old file, and the one that has no name yet.
under_way() {
    "$HOLDFAST" info "$pool" --json >"$work/info" && grep -Eq '"inodes": *3\b' "$work/info"
}

try 0 "$HOLDFAST" mkpool "$pool" --size 64M
printf 'the old one' | "$HOLDFAST" put "$pool" - precious

# a pipe that stalls in the middle of a file that would replace another
mkfifo "$work/stalled"
"$HOLDFAST" put "$pool" - precious <"$work/stalled" 2>"$work/err" &
putter=$!
exec 9>"$work/stalled"
head -c 300000 /dev/zero >&9
until_true under_way
kill -INT "$putter"
stopped_by_int "$putter" precious
exec 9>&-
same "$("$HOLDFAST" cat "$pool" precious)" "the old one"
try 0 "$HOLDFAST" ls "$pool"
same "$out" precious

# killed there, when it can remove nothing any more
"$HOLDFAST" put "$pool" - precious <"$work/stalled" 2>"$work/err" &
putter=$!
exec 9>"$work/stalled"
head -c 300000 /dev/zero >&9
until_true under_way
try 0 "$HOLDFAST" ls "$pool"
same "$out" precious
kill -KILL "$putter"
wait "$putter" 2>/dev/null
exec 9>&-
same "$("$HOLDFAST" cat "$pool" precious)" "the old one"
try 0 "$HOLDFAST" ls "$pool"
same "$out" precious
printf 'the old one' | "$HOLDFAST" put "$pool" - precious # looking alone deletes nothing
try 0 "$HOLDFAST" info "$pool" --json
same "$(json 'it["inodes"]')" 2
try 0 "$HOLDFAST" fsck "$pool"

# out again, onto a pipe nobody reads is cat's case; get writes files: stop it in a large tree
mkdir "$work/tree"
for i in $(seq 40); do
    head -c 1M /dev/zero >"$work/tree/$i"
done
try 0 "$HOLDFAST" put "$pool" "$work/tree"
"$HOLDFAST" get "$pool" tree "$work/out-tree" 2>"$work/err" &
getter=$!
until_true '[ -e "$work/out-tree" ]'
kill -INT "$getter" 2>/dev/null # it may have been quick
wait "$getter"
status=$?
[ "$status" = 130 ] || [ "$status" = 0 ] || fail "get ended with $status"
for file in "$work"/out-tree/*; do
    [ -e "$file" ] || continue # it was stopped before the first one
    same "$(stat -c %s "$file")" 1048576
done
same "$(find "$work/out-tree" -name '.holdfast-*' | wc -l)" 0

try 0 "$HOLDFAST" info "$pool" --json
same "$(json 'it["processes"]["now"]')" 1
try 0 "$HOLDFAST" fsck "$pool"
