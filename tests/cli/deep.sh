#!/bin/bash
# SPDX-License-Identifier: MIT
# A path that is longer than any call takes, and deeper than a stack, hides nothing. Verbs that show a pool show the
# rest of it, and this one as its inode. rm -r removes it.
. "$(dirname "$0")/cli.sh" || exit 1

levels=1500
chain() {
    printf "$1"
    printf '/d%.0s' $(seq "$levels")
}

try 0 "$HOLDFAST" mkpool "$pool" --size 16M
echo shallow | "$HOLDFAST" put "$pool" - shallow || fail "put shallow"
for n in 1 2 3 4 5; do
    try 0 "$HOLDFAST" mkdir -p "$pool" "$(chain "c$n")"
done
echo leaf | "$HOLDFAST" put "$pool" - "$(chain c1)/leaf" || fail "put leaf"
try 0 "$HOLDFAST" stat "$pool" "$(chain c1)/leaf" --json
ino=$(json 'it[0]["ino"]')
for n in 2 3 4 5; do
    try 0 "$HOLDFAST" mv "$pool" "c$((n - 1))" "$(chain "c$n")"
done

hold held "$pool" shallow 0 4
for verb in map pins info metrics; do
    try 0 "$HOLDFAST" "$verb" "$pool"
done
try 0 "$HOLDFAST" map "$pool"
grep -q shallow "$work/out" || fail "map does not show the shallow file: $out"
grep -q "(path too long, inode $ino)" "$work/out" || fail "map does not show inode $ino: $out"
try 0 "$HOLDFAST" map "$pool" --svg "$work/map.svg"
try 0 "$HOLDFAST" pins "$pool" -f shallow
grep -q shallow "$work/out" || fail "pins does not show the shallow file: $out"
let_go held

same "$("$HOLDFAST" ls -R "$pool" | grep -c .)" $((5 * (levels + 1) + 2))
same "$("$HOLDFAST" ls -R "$pool" c5 | grep -c /leaf)" 1
try 0 "$HOLDFAST" rm -r "$pool" c5
same "$("$HOLDFAST" ls -R "$pool")" shallow
try 0 "$HOLDFAST" fsck "$pool"
