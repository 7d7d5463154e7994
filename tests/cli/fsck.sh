#!/bin/bash
# SPDX-License-Identifier: MIT
# fsck: a good pool is clean, one in use is refused, a damaged one never brings the program down.
. "$(dirname "$0")/cli.sh" || exit 1

try 0 "$HOLDFAST" mkpool "$pool" --size 16M
head -c 300K /dev/urandom >"$work/bytes"
for name in a b c; do
    try 0 "$HOLDFAST" put "$pool" "$work/bytes" "$name"
done
try 0 "$HOLDFAST" fsck "$pool"
case $out in
*": clean") ;;
*) fail "a good pool is not clean: $out" ;;
esac
try 0 "$HOLDFAST" fsck "$pool" --json
same "$(json 'it["problems"]')" 0
same "$(json 'it["blocks_used"]')" 225
same "$(json 'it["sentences"]')" "[]"
same "$(json 'it["inodes"]')" 4

hold user "$pool" a 0 4096
try 75 "$HOLDFAST" fsck "$pool"
let_go user
try 0 "$HOLDFAST" fsck "$pool"
try 66 "$HOLDFAST" fsck "$work/nothing"

# whatever is broken: an exit code of the table, a sentence, no signal
damaged() {
    local status

    for verb in fsck info ls; do
        timeout 600 "$HOLDFAST" "$verb" "$work/broken" >"$work/out" 2>&1 </dev/null
        status=$?
        case $status in
        0 | 64 | 65 | 66 | 69 | 74 | 75 | 77) ;;
        *) fail "$verb ended with $status after: $1" ;;
        esac
        [ "$status" = 0 ] || [ -s "$work/out" ] || fail "$verb said nothing after: $1"
    done
    rm -rf "$work/broken"
}

database=$(cd "$pool" && find meta -type f -size +0 | sort | head -n 1)
for part in $(cd "$pool" && find . -type f); do
    cp -r "$pool" "$work/broken" && rm "$work/broken/$part"
    damaged "$part removed"
    cp -r "$pool" "$work/broken" && : >"$work/broken/$part"
    damaged "$part emptied"
done
for size in 1 100 4095 4096 8192 12345; do
    cp -r "$pool" "$work/broken" && truncate -s "$size" "$work/broken/$database"
    damaged "$database cut to $size"
done
for seed in $(seq 20); do
    cp -r "$pool" "$work/broken"
    python3 - "$work/broken/$database" "$seed" <<'EOF'
import random, sys
random.seed(int(sys.argv[2]))
with open(sys.argv[1], "r+b") as database:
    size = database.seek(0, 2)
    for _ in range(random.choice([1, 10, 200])):
        database.seek(random.randrange(min(size, 65536)))
        database.write(bytes([random.randrange(256)]))
EOF
    damaged "$database with random bytes, seed $seed"
done
