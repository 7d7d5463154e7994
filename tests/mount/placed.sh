#!/bin/bash
# SPDX-License-Identifier: MIT
# Bytes that a user of the library puts in place, seen through the mount: none before they are published, all of them
# after it. What the memory held before is never seen, also when the put is killed, and when the file or the pool grows.
. "$(dirname "$0")/mount.sh" || exit 1
[ -z "${TARGET-}" ] || skip "nothing is put in place in $TARGET"
bytes=40970 # ten pages, and a part of one
start 8M --quarantine 500ms

# Every block that is free has held it.
spread_secret() {
    yes SECRET >"$dir/secret" 2>/dev/null
    grep -q SECRET "$dir/secret" || fail "the secret is not there"
    rm "$dir/secret"
}

# FLAGS...: a process has begun a put in the file, and filled half of it.
putter_begins() {
    rm -f "$work/putter-in" "$work/putter-out"
    mkfifo "$work/putter-in" "$work/putter-out"
    "$HOLD_PIN" "$pool" file 0 $bytes put "$@" <"$work/putter-in" >"$work/putter-out" &
    putter=$!
    exec {putter_in}>"$work/putter-in"
    read -r held <"$work/putter-out"
    same "$held" held
}

# A file that takes all that is free holds zeros, and so nothing of the put or of the secret.
nothing_seen() {
    local free

    free=$(($(stat -f -c '%f * %S' "$dir")))
    fallocate -l "$free" "$dir/all" || fail "$1: there is no room for $free bytes"
    cmp -n "$free" "$dir/all" /dev/zero || fail "$1: a file that takes all that is free has other bytes"
    rm "$dir/all"
}

# While it is under way, in a file that is also grown and cut.
looks_meanwhile() {
    same "$(stat -c '%s %b' "$dir/file")" "0 0"
    same "$(cat "$dir/file")" ""
    truncate -s $bytes "$dir/file"
    cmp -n $bytes "$dir/file" /dev/zero || fail "a file that has grown over a put does not hold zeros"
    nothing_seen "under way"
    truncate -s 0 "$dir/file"
}

for by in "" io_uring; do
    : >"$dir/file"
    spread_secret
    putter_begins $by
    looks_meanwhile
    kill -KILL $putter
    wait $putter 2>/dev/null
    exec {putter_in}>&-
    nothing_seen "killed"
    truncate -s $bytes "$dir/file"
    cmp -n $bytes "$dir/file" /dev/zero || fail "a file that grows after a put was killed does not hold zeros"
    rm "$dir/file"

    : >"$dir/file"
    spread_secret
    putter_begins $by
    looks_meanwhile
    echo >&"$putter_in"
    exec {putter_in}>&-
    wait $putter || fail "the put was not published"
    same "$(stat -c %s "$dir/file")" $bytes
    head -c $bytes /dev/zero | tr '\0' x | cmp - "$dir/file" || fail "what was published is not all there"
    truncate -s 49152 "$dir/file"
    tail -c +$((bytes + 1)) "$dir/file" | tr -d '\0' | cmp - /dev/null || fail "old bytes are after the last one"
    rm "$dir/file"
done

# The pool grows while a put is under way.
: >"$dir/file"
spread_secret
putter_begins
run "$HOLDFAST" grow "$pool" --size 12M
looks_meanwhile
kill -KILL $putter
wait $putter 2>/dev/null
exec {putter_in}>&-
nothing_seen "killed, in a pool that has grown"
finish
