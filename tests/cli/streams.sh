#!/bin/bash
# SPDX-License-Identifier: MIT
# Pipes: standard input, standard output, readers that go away, quiet when nobody looks.
. "$(dirname "$0")/cli.sh" || exit 1

try 0 "$HOLDFAST" mkpool "$pool" --size 64M
head -c 5000000 /dev/urandom >"$work/bytes"
"$HOLDFAST" put "$pool" - piped <"$work/bytes" || fail "put - failed"
"$HOLDFAST" cat "$pool" piped | cmp - "$work/bytes" || fail "a pipe changed the bytes"
(cat "$work/bytes"; sleep 0.3; cat "$work/bytes") | "$HOLDFAST" put "$pool" - slow ||
    fail "put - of a slow pipe failed"
same "$("$HOLDFAST" cat "$pool" slow | wc -c)" 10000000
same "$("$HOLDFAST" cat "$pool" piped piped | wc -c)" 10000000
"$HOLDFAST" put "$pool" - empty </dev/null || fail "put - of nothing failed"
same "$("$HOLDFAST" cat "$pool" empty | wc -c)" 0

# files that have no size beforehand
try 0 "$HOLDFAST" put "$pool" /proc/self/status status
[ "$("$HOLDFAST" cat "$pool" status | wc -c)" -gt 100 ] || fail "a file of /proc came in empty"

# a reader that goes away is not an error, and leaves no process attached
"$HOLDFAST" cat "$pool" slow | head -c 10 >/dev/null
same "${PIPESTATUS[0]}" 0
for i in $(seq 300); do
    echo "a name that is long enough to fill the pipe soon, number $i"
done >"$work/names"
mkdir "$work/many"
(cd "$work/many" && xargs -d '\n' touch <"$work/names")
try 0 "$HOLDFAST" put "$pool" "$work/many"
"$HOLDFAST" ls -lR "$pool" | head -n 1 >/dev/null
same "${PIPESTATUS[0]}" 0
try 0 "$HOLDFAST" info "$pool" --json
same "$(json 'it["processes"]["now"]')" 1

# full output is an error
"$HOLDFAST" cat "$pool" slow >/dev/full 2>"$work/err"
same "$?" 73
"$HOLDFAST" ls "$pool" many >/dev/full 2>"$work/err" && fail "ls into a full device was content"

# no progress where there is not a terminal
try 0 "$HOLDFAST" put "$pool" "$work/bytes" quiet
same "$out$err" ""
try 64 "$HOLDFAST" put "$pool" - many
try 64 "$HOLDFAST" get "$pool" piped -
says "holdfast cat"
try 66 "$HOLDFAST" cat "$pool" many
