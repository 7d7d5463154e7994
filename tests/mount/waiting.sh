#!/bin/bash
# SPDX-License-Identifier: MIT
# Truncates and punches of programs that wait for pins: see waiting.c. Each scenario has a pool of its own.
. "$(dirname "$0")/mount.sh" || exit 1
[ -z "${TARGET-}" ] || skip "there are no pins in $TARGET"

# NAME and options of mkpool.
scenario() {
    local name=$1

    shift
    start 64M "$@"
    run "$WAITING" "$pool" "$dir" "$cache" "$name"
    finish
    rm -r "$pool"
}

scenario crowd
scenario many --max-threads 16
scenario interrupted
scenario interrupted-at-gate
scenario own-pin
scenario recalled
scenario seen-meanwhile
scenario refused-at-once --policy nowait
scenario recalled-and-refused --policy nowait
scenario refused-in-time --policy deadline:100ms
scenario detached --policy detach
scenario detached --policy deadline-detach:50ms

# What the command line says of a waiting call: the program, and its process.
start 16M
run "$HOLDFAST" truncate "$pool" file --create --size 64K
mkfifo "$work/holder-in" "$work/holder-out"
"$HOLD_PIN" "$pool" file 0 4096 <"$work/holder-in" >"$work/holder-out" &
exec {holder_in}>"$work/holder-in"
read -r held <"$work/holder-out"
same "$held" held
truncate -s 0 "$dir/file" &
truncater=$!
shows_waiting() {
    "$HOLDFAST" pins "$pool" --waiting >"$work/said"
    grep -q "^ *$truncater  *$truncater  *truncate " "$work/said"
}
await shows_waiting
kill "$truncater"
wait "$truncater"
same "$(stat -c %s "$dir/file")" 65536
shows_nobody() {
    "$HOLDFAST" pins "$pool" --waiting >"$work/said"
    grep -q "^0 layout changes" "$work/said"
}
await shows_nobody
echo >&"$holder_in"
run truncate -s 0 "$dir/file"
same "$(stat -c %s "$dir/file")" 0
finish
