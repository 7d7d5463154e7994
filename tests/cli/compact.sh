#!/bin/bash
# SPDX-License-Identifier: MIT
# compact lays files for huge entries and says how they lay before. It leaves held and shared runs alone, and keeps to
# the paths that it is given. It only looks where that is asked for, and ends when a signal comes.
. "$(dirname "$0")/cli.sh" || exit 1

mib=1048576
head -c $((5 * mib)) /dev/urandom >"$work/one"
head -c $((16 * mib)) /dev/urandom >"$work/ballast"

unchanged() {
    "$HOLDFAST" cat "$pool" "$1" | cmp - "$work/one" || fail "$1 has changed"
}

# No 2 MiB of the pool are free in one piece when the file is put there.
scatter() {
    try 0 "$HOLDFAST" put "$pool" "$work/ballast" /ballast
    for ((i = 0; i < 12; i++)); do
        try 0 "$HOLDFAST" punch "$pool" ballast --off $((i * mib + 300000)) --len 480000
    done
    try 0 "$HOLDFAST" put "$pool" "$work/one" "/$1"
    try 0 "$HOLDFAST" rm "$pool" ballast
}

try 0 "$HOLDFAST" mkpool "$pool" --size 16M
scatter one
try 0 "$HOLDFAST" mkdir "$pool" aside

try 0 "$HOLDFAST" compact "$pool" --look --json
same "$(json "it['run_bytes'], it['huge_bytes'], it['moved_bytes']")" "($((4 * mib)), 0, 0)"
try 0 "$HOLDFAST" compact "$pool" aside --json
same "$(json "it['run_bytes']")" 0

# what is held stays
hold one "$pool" one 0 4096
try 0 "$HOLDFAST" compact "$pool" one --json
same "$(json "it['held_bytes'], it['was_huge'], it['huge_bytes']")" "($((2 * mib)), 0, $((2 * mib)))"
try 0 "$HOLDFAST" compact "$pool" --policy deadline:10ms --json
same "$(json "it['held_bytes'], it['was_huge']")" "($((2 * mib)), $((2 * mib)))"
let_go one
unchanged one

# the rest, in words
try 0 "$HOLDFAST" compact "$pool"
case $out in
*'runs       4.0M (4194304 bytes)'*'huge       2.0M, 50.0 % (2097152 bytes)'*'now        4.0M, 100.0 % (4194304 bytes)'*) ;;
*) fail "it says: $out" ;;
esac
unchanged one
try 0 "$HOLDFAST" compact "$pool" --look
same "$(grep -c '^huge  *4.0M, 100.0 %' <<<"$out")" 1

# what is shared stays
try 0 "$HOLDFAST" rm "$pool" one
scatter two
try 0 "$HOLDFAST" cp "$pool" two three
try 0 "$HOLDFAST" compact "$pool" --json
same "$(json "it['shared_bytes'], it['moved_bytes']")" "($((8 * mib)), 0)"
unchanged two
try 0 "$HOLDFAST" rm "$pool" two three

# it goes on until a signal comes, then says what was done
"$HOLDFAST" compact "$pool" --follow --pause 10ms --rate 1G >"$work/said" 2>&1 &
follower=$!
scatter four
while try 0 "$HOLDFAST" compact "$pool" --look --json && [ "$(json "it['huge_bytes']")" != $((4 * mib)) ]; do
    sleep 0.05
done
kill -TERM "$follower"
wait "$follower"
same $? $((128 + 15))
grep -q '^moved' "$work/said" || fail "no summary: $(cat "$work/said")"
unchanged four
try 0 "$HOLDFAST" fsck "$pool"

try 66 "$HOLDFAST" compact "$pool" nowhere
says nowhere
try 64 "$HOLDFAST" compact "$pool" --rate 1
try 64 "$HOLDFAST" compact "$pool" --policy detach
says 'takes nothing from holders'
try 64 "$HOLDFAST" compact "$pool" --look --follow
says 'changes nothing'
try 0 "$HOLDFAST" mkpool "$work/other" --size 8M --engine srcu
try 0 "$HOLDFAST" put "$work/other" "$work/one" /one
try 69 "$HOLDFAST" compact "$work/other"
says srcu
