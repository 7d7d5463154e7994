#!/bin/bash
# SPDX-License-Identifier: MIT
# cluster: objects of a member that is given by a list, and how failures are told.
. "$(dirname "$0")/cli.sh" || exit 1

"$HOLDFAST" help cluster >/dev/null 2>&1 || {
    echo "skipped: this holdfast was built without libholdfast-cluster"
    exit 77
}
try 64 "$HOLDFAST" cluster ls
says '--etcd or --members'
# An address of the loopback network that no other test has.
address=127.$((1 + $$ / 65536 % 4 + 120)).$(($$ / 256 % 256)).$(($$ % 256)):7171
printf 'the secret\n' >"$work/secret"
printf 'another\n' >"$work/other"
try 0 "$HOLDFAST" mkpool "$pool" --size 32M
try 0 "$HOLDFAST" cache make "$pool" /cache --capacity 4M
"$HOLDFAST" serve "$pool" --members "one=$address" --name one --listen "$address" --secret "$work/secret" \
    >"$work/served" 2>&1 &
serve_pid=$!
trap 'kill -9 $serve_pid 2>/dev/null; clean_up' EXIT
until grep -q serves "$work/served"; do
    kill -0 $serve_pid 2>/dev/null || fail "serve has ended: $(cat "$work/served")"
    sleep 0.1
done
on=(--members "one=$address" --secret "$work/secret" --timeout 600s)

printf object >"$work/object"
try 0 "$HOLDFAST" cluster put "$work/object" key "${on[@]}"
try 0 "$HOLDFAST" cluster get key "${on[@]}"
same "$out" object
try 0 "$HOLDFAST" cluster ls "${on[@]}"
grep -q '^one .*key$' <<<"$out" || fail "it lists: $out"
try 0 "$HOLDFAST" cluster status "${on[@]}"
grep -q '^one .* 1 objects' <<<"$out" || fail "it says: $out"
odd=$'odd "key"\\ \n\xff'
try 0 "$HOLDFAST" cluster put "$work/object" "$odd" "${on[@]}"
try 0 "$HOLDFAST" cluster ls --json "${on[@]}"
same "$(json 'sorted(it, key=lambda one: len(one["key"]))[0]')" \
    "{'member': 'one', 'key': 'key', 'space': 0, 'bytes': 6}"
python3 - "$work/out" <<'END' || fail "a key did not survive: $out"
import json, os, sys
keys = [os.fsencode(one["key"]) for one in json.load(open(sys.argv[1]))]
sys.exit(sorted(keys) != [b"key", b'odd "key"\\ \n\xff'])
END
try 0 "$HOLDFAST" cluster status --json "${on[@]}"
same "$(json 'len(it)')" 1
same "$(json '[it[0][name] for name in ("member", "address", "objects", "puts", "hits", "given_up", "capacity_bytes")]')" \
    "['one', '$address', 2, 2, 1, 0, 4194304]"
try 77 "$HOLDFAST" cluster get key --members "one=$address" --secret "$work/other"
says 'secret'
# A member that is not there: the list has none, and standard error says why.
try 74 "$HOLDFAST" cluster status --json --members "one=127.0.0.1:1" --secret "$work/secret"
same "$out" '[]'
try 64 "$HOLDFAST" cluster ls "${on[@]}" --prefix other/
says 'are for --etcd'
try 64 "$HOLDFAST" cluster ls --etcd http://127.0.0.1:1 --prefix other
says 'ends with a slash'
try 0 "$HOLDFAST" cluster rm key "${on[@]}"
try 66 "$HOLDFAST" cluster get key "${on[@]}"
says 'there is no such key'
kill $serve_pid
wait $serve_pid
serve_pid=
