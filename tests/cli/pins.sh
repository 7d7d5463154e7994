#!/bin/bash
# SPDX-License-Identifier: MIT
# pins: what holds, in which state, and which one waits for which; of the pool, of a file, of the waiting.
. "$(dirname "$0")/cli.sh" || exit 1

# The list as JSON until an expression over it is true: what another process does takes a while.
until_listed() {
    local expression=$1 i

    shift
    for i in $(seq 6000); do
        try 0 "$HOLDFAST" pins "$pool" --json "$@"
        [ "$(json "$expression")" = true ] && return
        sleep 0.05
    done
    fail "never came true: $expression, but: $out"
}

try 0 "$HOLDFAST" mkpool "$pool" --size 16M
head -c 1M /dev/urandom >"$work/bytes"
for name in one two; do
    try 0 "$HOLDFAST" put "$pool" "$work/bytes" "$name"
done
try 0 "$HOLDFAST" pins "$pool"
same "$(tail -n 1 <<<"$out")" "0 pins, 0 leases, 0 layout changes waiting"
try 0 "$HOLDFAST" pins "$pool" --waiting --json
same "$(json it)" "[]"

# pins and leases
hold pin "$pool" one 0 65536
hold lease "$pool" one 65536 65536 lease rdma write
hold elsewhere "$pool" two 0 4096 io_uring
try 0 "$HOLDFAST" pins "$pool" --json
same "$(json 'sorted((pin["file"], pin["kind"], pin["mode"], pin["purpose"]) for pin in it)')" \
    "[('/one', 'lease', 'write', 'rdma'), ('/one', 'pin', 'read', 'cpu'), ('/two', 'pin', 'read', 'io_uring')]"
same "$(json 'all(pin["state"] == "held" and pin["waiters"] == [] for pin in it)')" true
same "$(json 'it[1]["kind"], it[1]["age_ns"] > 0')" "('lease', True)"
same "$(json 'it[1]["pid"]')" "${holder_pid[lease]}"
try 0 "$HOLDFAST" pins "$pool"
same "$(tail -n 1 <<<"$out")" "2 pins, 1 lease, 0 layout changes waiting"

# one file
try 0 "$HOLDFAST" pins "$pool" --file two --json
same "$(json '[pin["file"] for pin in it]')" "['/two']"
try 0 "$HOLDFAST" pins "$pool" --file /two
same "$(tail -n 1 <<<"$out")" "1 pin, 0 leases, 0 layout changes waiting"
try 66 "$HOLDFAST" pins "$pool" --file three
says "three: there is no such file"
try 66 "$HOLDFAST" pins "$pool" --file /
says "this is a directory"

# a layout change that waits for both, and asks for the lease; another for one of them
"$HOLDFAST" truncate "$pool" one --size 4K &
truncater=$!
until_listed 'len(it) == 1' --waiting
"$HOLDFAST" punch "$pool" two --off 0 --len 4K &
puncher=$!
until_listed 'len(it) == 2' --waiting
same "$(json '[change["pid"] for change in it]')" "[$truncater, $puncher]"
same "$(json '[change["kind"] + change["state"] for change in it]')" "['changewaiting', 'changewaiting']"
same "$(json '[[pin["pid"] for pin in change["holders"]] for change in it]')" \
    "[[${holder_pid[pin]}, ${holder_pid[lease]}], [${holder_pid[elsewhere]}]]"
same "$(json '[pin["state"] for pin in it[0]["holders"]]')" "['held', 'recalled']"
same "$(json 'it[0]["age_ns"] > 0')" true
try 0 "$HOLDFAST" pins "$pool" --json
same "$(json '[[other["tid"] for other in pin["waiters"]] for pin in it if pin["kind"] != "change"]')" \
    "[[$truncater], [$truncater], [$puncher]]"
try 0 "$HOLDFAST" pins "$pool" --waiting
same "$(tail -n 1 <<<"$out")" "2 layout changes waiting for 2 pins and 1 lease"
same "$(sed -n 2,4p <<<"$out" | awk '{print $1}' | xargs)" \
    "$truncater ${holder_pid[pin]} ${holder_pid[lease]}"
try 0 "$HOLDFAST" pins "$pool" --waiting --file two
same "$(tail -n 1 <<<"$out")" "1 layout change waiting for 1 pin and 0 leases"
try 0 "$HOLDFAST" pins "$pool"
grep -q "$truncater:[0-9.]*[mun]*s  *one$\|$truncater:[0-9.]*[mun]*s  */one$" <<<"$out" ||
    fail "the list does not say since when the change waits: $out"

# two layout changes beside each other that wait for one pin, which counts once
hold wide "$pool" two 8192 8192
"$HOLDFAST" punch "$pool" two --off 8K --len 4K &
left=$!
"$HOLDFAST" punch "$pool" two --off 12K --len 4K &
right=$!
until_listed 'len(it) == 4' --waiting
try 0 "$HOLDFAST" pins "$pool" --waiting
same "$(tail -n 1 <<<"$out")" "4 layout changes waiting for 3 pins and 1 lease"
same "$(awk -v pid="${holder_pid[wide]}" '$1 == pid' <<<"$out" | wc -l)" 2
let_go wide
wait "$left" || fail "a punch failed after the pin was gone"
wait "$right" || fail "a punch failed after the pin was gone"

# a process that is stopped cannot let go, and is named
kill -STOP "${holder_pid[lease]}"
until_listed '"stopped" in [pin["state"] for pin in it[0]["holders"]]' --waiting --file one
kill -CONT "${holder_pid[lease]}"
until_listed '"recalled" in [pin["state"] for pin in it[0]["holders"]]' --waiting --file one
let_go pin
let_go lease
let_go elsewhere
wait "$truncater" || fail "truncate failed after the pins were gone"
wait "$puncher" || fail "punch failed after the pin was gone"

# blocks that left the file; those that a dead process' device may still write to
hold detached "$pool" two 65536 4096 lease gpu
try 0 "$HOLDFAST" punch "$pool" two --off 64K --len 4K --policy detach
try 0 "$HOLDFAST" pins "$pool" --json
same "$(json '[pin["state"] for pin in it]')" "['detached']"
let_go detached
hold other "$pool" one 0 4096
hold dead "$pool" two 131072 8192 lease rdma
kill -KILL "${holder_pid[dead]}"
wait "${holder_pid[dead]}" 2>/dev/null
unset "holder_pid[dead]"
until_listed '[pin["state"] for pin in it] == ["quarantined"]' --file two
same "$(json 'it[0]["kind"], it[0]["purpose"]')" "('lease', 'rdma')"
try 0 "$HOLDFAST" punch "$pool" two --off 128K --len 8K --policy nowait
try 0 "$HOLDFAST" df "$pool" --json
same "$(json 'it[0]["detached_bytes"]')" 8192
try 0 "$HOLDFAST" df "$pool"
same "$(awk 'NR == 2 {print $3}' <<<"$out")" 8
let_go other

# the last process dies with a device pin: whatever leaves a file is quarantined
try 0 "$HOLDFAST" mkpool "$work/ghosts" --size 8M
try 0 "$HOLDFAST" put "$work/ghosts" "$work/bytes" one
hold last "$work/ghosts" one 0 1 lease rdma
kill -KILL "${holder_pid[last]}"
wait "${holder_pid[last]}" 2>/dev/null
unset "holder_pid[last]"
try 0 "$HOLDFAST" pins "$work/ghosts"
same "$(tail -n 1 <<<"$out" | sed 's/ for .* more//')" \
    "all processes had died, some with device pins: blocks that leave a file are quarantined"
try 0 "$HOLDFAST" rm "$work/ghosts" one
try 0 "$HOLDFAST" info "$work/ghosts" --json
same "$(json 'it["detached_bytes"] > 0, 0 < it["quarantine_left_ns"] <= it["quarantine_ns"]')" "(True, True)"

# an engine that counts says that it cannot tell
try 0 "$HOLDFAST" mkpool "$work/counts" --size 8M --engine refcount
try 69 "$HOLDFAST" pins "$work/counts"
says "refcount counts pins and does not know whose they are"
try 69 "$HOLDFAST" map "$work/counts"
says "refcount counts pins and does not know whose they are"
