#!/bin/bash
# SPDX-License-Identifier: MIT
# mkpool, info, df, grow: what was asked for is what is there.
. "$(dirname "$0")/cli.sh" || exit 1

try 0 "$HOLDFAST" mkpool "$pool" --size 16M --mode 0640 --policy deadline-detach:250ms --quarantine 1500ms \
    --max-processes 17 --max-threads 99 --max-files 1000 --max-leases 5000
try 0 "$HOLDFAST" info "$pool" --json
same "$(json 'it["pool_bytes"]')" 16777216
same "$(json 'it["free_bytes"]')" 16777216
same "$(json 'it["detached_bytes"]')" 0
same "$(json 'it["policy"]["kind"]')" deadline-detach
same "$(json 'it["policy"]["deadline_ns"]')" 250000000
same "$(json 'it["quarantine_ns"]')" 1500000000
same "$(json 'it["processes"]["max"]')" 17
same "$(json 'it["threads"]["max"]')" 99
same "$(json 'it["files"]["max"]')" 1000
same "$(json 'it["leases"]["max"]')" 5000
same "$(json 'it["registrations"]')" 0
same "$(json 'it["durable"]')" false
same "$(json 'it["engine"]')" slots
uuid=$(json 'it["uuid"]')
for part in data lock; do
    same "$(stat -c %a "$pool/$part")" 640
done

try 73 "$HOLDFAST" mkpool "$pool" --size 8M
try 66 "$HOLDFAST" info "$work/missing"
try 64 "$HOLDFAST" mkpool "$work/other" --size 8M --engine nosuch
[ ! -e "$work/other" ] || fail "a failed mkpool left its directory"

# grown while another process uses it, which can then fill what is new
try 0 "$HOLDFAST" truncate "$pool" kept --create --size 64K
hold user "$pool" kept 0 65536
try 0 "$HOLDFAST" grow "$pool" --size 32M
try 64 "$HOLDFAST" grow "$pool" --size 16M
let_go user
head -c 24M /dev/zero | tr '\0' x >"$work/much"
try 0 "$HOLDFAST" put "$pool" "$work/much" much
try 0 "$HOLDFAST" df "$pool" --json
same "$(json 'it[0]["pool_bytes"]')" 33554432
same "$(json 'it[0]["used_bytes"] + it[0]["free_bytes"]')" 33554432
same "$(json 'it[0]["resident_bytes"] >= 24 << 20')" true
try 0 "$HOLDFAST" df "$pool" -h
try 0 "$HOLDFAST" info "$pool"

# too much is refused, said, and leaves nothing behind
cp "$work/much" "$work/more"
try 73 "$HOLDFAST" put "$pool" "$work/more" more
try 66 "$HOLDFAST" stat "$pool" more
try 0 "$HOLDFAST" ls "$pool"
same "$out" $'kept\nmuch'
try 0 "$HOLDFAST" rm "$pool" much
try 0 "$HOLDFAST" put "$pool" "$work/more" more
try 0 "$HOLDFAST" fsck "$pool"

# what is free goes back to the system, but for what is to be kept; what is in files stays
resident() {
    try 0 "$HOLDFAST" info "$pool" --json
    json 'it["resident_bytes"]'
}
try 0 "$HOLDFAST" rm "$pool" more
[ "$(resident)" -ge 25165824 ] || fail "memory is gone by itself"
try 0 "$HOLDFAST" trim "$pool" --keep 4M --json
same "$(json 'it["resident_bytes"]')" $((4194304 + 65536))
given=$(json 'it["given_bytes"]')
try 0 "$HOLDFAST" trim "$pool" --json
same "$(json 'it["given_bytes"]')" 4194304
[ "$given" -gt 16777216 ] || fail "only $given bytes were given back"
same "$(resident)" 65536 # of "kept", which was pinned and has block 0
same "$(stat -c %b "$pool/data")" 128
try 0 "$HOLDFAST" trim "$pool"
same "$out" "$pool: 0 given back (0 bytes), 64K resident"
try 0 "$HOLDFAST" map "$pool"
grep -q '^64K of 32M resident$' <<<"$out" || fail "map does not say what is resident: $out"
try 0 "$HOLDFAST" metrics "$pool"
grep -q '^holdfast_resident_bytes{.*} 65536$' <<<"$out" || fail "nor do the metrics"
try 0 "$HOLDFAST" df "$pool"
grep -q ' Resident  Pool$' <<<"$out" || fail "nor does df"
try 0 "$HOLDFAST" top "$pool" --batch 1
grep -q 'resident 64K' <<<"$out" || fail "nor does top"
try 0 "$HOLDFAST" put "$pool" "$work/more" more
try 0 "$HOLDFAST" cat "$pool" more
cmp -s "$work/out" "$work/more" || fail "what came back after a trim is something else"
try 64 "$HOLDFAST" trim "$pool" --keep many
try 66 "$HOLDFAST" trim "$work/missing"
try 0 "$HOLDFAST" fsck "$pool"

# by itself
try 0 "$HOLDFAST" mkpool "$work/above" --size 16M --trim-above 4M
try 0 "$HOLDFAST" info "$work/above"
grep -q '^trimmed  *by itself, above 4.0M' "$work/out" || fail "info does not show the watermark"
try 0 "$HOLDFAST" info "$work/above" --json
same "$(json 'it["trim_above_bytes"]')" 4194304
head -c 12M /dev/zero | tr '\0' x >"$work/large"
try 0 "$HOLDFAST" put "$work/above" "$work/large" large
try 0 "$HOLDFAST" rm "$work/above" large
kib=$(du -k "$work/above/data" | cut -f 1)
[ "$kib" -le 4096 ] || fail "$kib KiB are left of a pool that is to keep 4 MiB"
[ "$kib" -ge 3584 ] || fail "$kib KiB are left: less than 7/8 of the watermark"
try 64 "$HOLDFAST" mkpool "$work/odd" --size 16M --trim-above 4097K
says "multiple of 2 MiB"
try 0 "$HOLDFAST" fsck "$work/above"

# smaller while another process uses it: what it holds is in the way, and what files have moves
smaller=$work/smaller
try 0 "$HOLDFAST" mkpool "$smaller" --size 32M
try 0 "$HOLDFAST" put "$smaller" "$work/more" more
head -c 6M /dev/urandom >"$work/last"
try 0 "$HOLDFAST" put "$smaller" "$work/last" last
try 0 "$HOLDFAST" rm "$smaller" more
hold reader "$smaller" last 0 6291456
try 75 "$HOLDFAST" shrink "$smaller" --size 16M --policy nowait
says "hold-pin"
let_go reader
try 0 "$HOLDFAST" shrink "$smaller" --size 16M
try 0 "$HOLDFAST" df "$smaller" --json
same "$(json 'it[0]["pool_bytes"]')" 16777216
same "$(stat -c %s "$smaller/data")" 16777216
try 0 "$HOLDFAST" cat "$smaller" last
cmp -s "$work/out" "$work/last" || fail "a shrink has changed a file"
try 64 "$HOLDFAST" shrink "$smaller" --size 32M
try 64 "$HOLDFAST" shrink "$smaller" --size 9M
try 0 "$HOLDFAST" fsck "$smaller"

# elsewhere than in memory, and durable
disk=$(mktemp -d "/var/tmp/holdfast-cli-XXXXXX")
trap 'rm -rf "$disk"; clean_up' EXIT
try 0 "$HOLDFAST" mkpool "$disk/pool" --size 8M --durable --data "$work/blocks"
try 0 "$HOLDFAST" info "$disk/pool" --json
same "$(json 'it["durable"]')" true
same "$(json 'it["quarantine_ns"]')" 30000000000
same "$(json 'it["media"]')" tmpfs
[ "$(json 'it["uuid"]')" != "$uuid" ] || fail "two pools with one uuid"
try 0 "$HOLDFAST" put "$disk/pool" "$0" script
try 0 "$HOLDFAST" cat "$disk/pool" script
cmp -s "$work/out" "$0" || fail "a durable pool gave back something else"

# The last process to leave clears the head of lock.mdb. So a commit that another program of LMDB's makes, while no
# process has the pool, is not taken for one that was never ended.
[ -z "$(head -c 24 "$pool/meta/lock.mdb" | tr -d '\0')" ] || fail "lock.mdb is left as it was"
