# SPDX-License-Identifier: MIT
# The examples that are given a pool, on a real one. usage: example_tools.sh HOLDFAST SUM WHO_HOLDS HAND_OVER
set -eu
holdfast=$1 sum=$2 who_holds=$3 hand_over=$4
work=$(mktemp -d "${TMPDIR:-/dev/shm}/holdfast-examples-XXXXXX")
trap 'rm -rf "$work"' EXIT

# 70 pages and a bit, so that a file takes more than one pin.
head -c 288000 /dev/urandom >"$work/random"
printf 'abc' >"$work/abc"
"$holdfast" mkpool "$work/pool" --size 8M
"$holdfast" put "$work/pool" "$work/random" "$work/abc" /

expected=$(python3 -c 'import sys; print(sum(open(sys.argv[1], "rb").read()))' "$work/random")
found=$("$sum" "$work/pool" /random /abc | awk '{printf "%s ", $1}')
[ "$found" = "$expected 294 " ] || {
    echo "sum says '$found', expected '$expected 294 '" >&2
    exit 1
}
if "$sum" "$work/pool" /missing 2>"$work/err"; then
    echo "sum found a file that is not there" >&2
    exit 1
fi
grep -q missing "$work/err"
[ -z "$("$who_holds" "$work/pool")" ]

found=$("$hand_over" "$work/pool")
[ "$found" = "worker: goes on with 'a request'
worker: asked for 4096 bytes, letting go" ] || {
    echo "hand_over says '$found'" >&2
    exit 1
}
[ -z "$("$who_holds" "$work/pool")" ]
