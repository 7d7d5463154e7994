#!/bin/bash
# SPDX-License-Identifier: MIT
# truncate, punch and rm beside pins: what waits, what gives up, what detaches, and which process is shown.
. "$(dirname "$0")/cli.sh" || exit 1

size_of() {
    try 0 "$HOLDFAST" stat "$pool" "$1" --json
    json 'it[0]["size"]'
}

try 0 "$HOLDFAST" mkpool "$pool" --size 16M
head -c 1M /dev/urandom >"$work/bytes"
try 0 "$HOLDFAST" put "$pool" "$work/bytes" file

# nobody in the way
try 0 "$HOLDFAST" truncate "$pool" file --size 3M
same "$(size_of file)" 3145728
try 0 "$HOLDFAST" truncate "$pool" file --size 1M
try 0 "$HOLDFAST" punch "$pool" file --off 8K --len 64K
cp "$work/bytes" "$work/expected"
dd if=/dev/zero of="$work/expected" bs=4096 seek=2 count=16 conv=notrunc status=none
"$HOLDFAST" cat "$pool" file | cmp - "$work/expected" || fail "punch did not leave zeros"
try 66 "$HOLDFAST" truncate "$pool" missing --size 1
try 0 "$HOLDFAST" truncate "$pool" made --size 1 --create
try 0 "$HOLDFAST" rm "$pool" made

# somebody is: 64 KiB at 512 KiB
hold reader "$pool" file 524288 65536
try 0 "$HOLDFAST" pins "$pool" --json
same "$(json 'len(it)')" 1
same "$(json 'it[0]["pid"]')" "${holder_pid[reader]}"
same "$(json 'it[0]["off"]')" 524288
same "$(json 'it[0]["len"]')" 65536
same "$(json 'it[0]["mode"]')" read
same "$(json 'it[0]["file"]')" /file
same "$(json 'it[0]["command"]')" hold-pin
try 75 "$HOLDFAST" truncate "$pool" file --size 0 --policy nowait
try 75 "$HOLDFAST" truncate "$pool" file --size 0 --policy deadline:50ms
try 75 "$HOLDFAST" punch "$pool" file --off 512K --len 4K --policy nowait
try 75 "$HOLDFAST" rm "$pool" file --policy deadline:20ms
same "$(size_of file)" 1048576
"$HOLDFAST" cat "$pool" file | cmp - "$work/expected" || fail "what failed changed the file"

# elsewhere in the file nothing waits
try 0 "$HOLDFAST" punch "$pool" file --off 0 --len 4K --policy nowait
try 0 "$HOLDFAST" truncate "$pool" file --size 600K --policy nowait
try 0 "$HOLDFAST" truncate "$pool" file --size 2M --policy nowait

# one that waits is shown as such, and goes on when the pin is gone
"$HOLDFAST" truncate "$pool" file --size 0 &
waiter=$!
for i in $(seq 6000); do
    try 0 "$HOLDFAST" pins "$pool" --json
    waiting=$(json '[pin["pid"] for pin in it if pin["state"] == "waiting"]')
    [ "$waiting" = "[$waiter]" ] && break
    sleep 0.05
done
same "$waiting" "[$waiter]"
try 0 "$HOLDFAST" pins "$pool"
let_go reader
wait "$waiter" || fail "truncate failed after the pin was gone"
same "$(size_of file)" 0

# detached blocks are counted, shown, and freed with their pin
try 0 "$HOLDFAST" put "$pool" "$work/bytes" file
hold writer "$pool" file 0 8192 write
try 0 "$HOLDFAST" truncate "$pool" file --size 0 --policy detach
try 0 "$HOLDFAST" df "$pool" --json
same "$(json 'it[0]["detached_bytes"]')" 8192
try 0 "$HOLDFAST" pins "$pool" --json
same "$(json 'it[0]["state"]')" detached
same "$(json 'it[0]["mode"]')" write
try 0 "$HOLDFAST" map "$pool"
case $out in
*"(detached)"*) ;;
*) fail "map does not show the detached blocks: $out" ;;
esac
let_go writer
try 0 "$HOLDFAST" df "$pool" --json
same "$(json 'it[0]["detached_bytes"]')" 0
same "$(json 'it[0]["used_bytes"]')" 0
try 0 "$HOLDFAST" fsck "$pool"
