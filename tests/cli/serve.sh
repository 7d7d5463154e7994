#!/bin/bash
# SPDX-License-Identifier: MIT
# serve: which options it refuses and how, and a member that joins by etcd, leaves, and comes back without its objects.
. "$(dirname "$0")/cli.sh" || exit 1

"$HOLDFAST" help serve >/dev/null 2>&1 || {
    echo "skipped: this holdfast was built without libholdfast-cluster"
    exit 77
}
try 0 "$HOLDFAST" mkpool "$pool" --size 32M
try 64 "$HOLDFAST" serve "$pool"
says '--etcd or --members'
try 64 "$HOLDFAST" serve "$pool" --etcd http://127.0.0.1:1 --members a=127.0.0.1:1
try 66 "$HOLDFAST" serve "$pool" --etcd http://127.0.0.1:1
says 'there is no cache'
try 0 "$HOLDFAST" cache make "$pool" /cache --capacity 4M
: >"$work/empty"
try 64 "$HOLDFAST" serve "$pool" --etcd http://127.0.0.1:1 --secret "$work/empty"
says 'its first line is empty'
try 66 "$HOLDFAST" serve "$pool" --etcd http://127.0.0.1:1 --secret "$work/none"
try 64 "$HOLDFAST" serve "$pool" --etcd etcd.example.org
says 'is not a URL of etcd'
try 64 "$HOLDFAST" serve "$pool" --etcd http://127.0.0.1:1 --prefix holdfast
says 'ends with a slash'
try 64 "$HOLDFAST" serve "$pool" --etcd http://127.0.0.1:1 --name a/b
says 'is not a name of a member'
try 77 "$HOLDFAST" serve "$pool" --etcd http://127.0.0.1:1 --listen 0.0.0.0:0
says 'without a secret'
try 64 "$HOLDFAST" serve "$pool" --members b=127.0.0.1:1 --name a
says "'a' is not in the list"

command -v etcd >/dev/null || {
    echo "the rest is skipped: etcd is not installed (Debian's etcd-server)"
    exit 0
}
# An address of the loopback network that no other test has.
host=127.$((1 + $$ / 65536 % 4 + 100)).$(($$ / 256 % 256)).$(($$ % 256))
etcd --data-dir "$work/etcd" --listen-client-urls "http://$host:2379" --advertise-client-urls "http://$host:2379" \
    --listen-peer-urls "http://$host:2380" --initial-advertise-peer-urls "http://$host:2380" \
    --initial-cluster "default=http://$host:2380" --log-level error >"$work/etcd.log" 2>&1 &
etcd_pid=$!
serve_pid=
trap 'kill -9 $etcd_pid $serve_pid 2>/dev/null; clean_up' EXIT

serve() {
    : >"$work/served" # what the last one said must not be taken for this one's
    "$HOLDFAST" serve "$pool" --etcd "http://$host:2379" --name one >"$work/served" 2>&1 &
    serve_pid=$!
    until grep -q joined "$work/served"; do
        kill -0 $serve_pid 2>/dev/null || fail "serve has ended: $(cat "$work/served")"
        sleep 0.1
    done
}

serve
grep -q '^one serves /cache at 127.0.0.1:' "$work/served" || fail "it says: $(cat "$work/served")"
printf object >"$work/object"
try 0 "$HOLDFAST" cache put "$pool" /cache "$work/object" key
kill $serve_pid
wait $serve_pid
try 0 "$HOLDFAST" cache get "$pool" /cache key
same "$out" object
# Others may have had a newer one meanwhile.
serve
try 66 "$HOLDFAST" cache get "$pool" /cache key
kill $serve_pid
wait $serve_pid
serve_pid=
