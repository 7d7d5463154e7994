#!/bin/bash
# SPDX-License-Identifier: MIT
# What bench takes and what it writes; what it measures is not looked at.
. "$(dirname "$0")/cli.sh" || exit 1

try 64 "$HOLDFAST" bench nonsense
says "no such group"
try 69 env PATH="$work" "$HOLDFAST" bench punch --plot x.svg
says "gnuplot-nox"

# a line a row, the same number of columns in each, the same rows as in the JSON
try 0 "$HOLDFAST" bench truncate --quick --runs 1 --csv
python3 - "$work/out" >"$work/keys" <<'EOF' || fail "the CSV is not as its first line says"
import csv, sys
rows = list(csv.DictReader(open(sys.argv[1])))
assert rows
for row in rows:
    assert None not in row and None not in row.values() and float(row["median"]) > 0
    print(row["key"])
EOF
try 0 "$HOLDFAST" bench truncate --quick --runs 1 --json
same "$(json '"\n".join(row["key"] for row in it["rows"])')" "$(cat "$work/keys")"
same "$(json 'all(row["samples"] == [row["median"]] for row in it["rows"])')" true

# what it mounts is gone at the end, also when it is interrupted
mounted() {
    grep -qF "$work/" /proc/self/mountinfo
}
export TMPDIR=$work
if ! "$HOLDFAST" help mount >/dev/null 2>&1; then
    try 64 "$HOLDFAST" bench mount --quick
else
    try 0 "$HOLDFAST" bench mount --quick --runs 1 --json
    mounted && fail "a mount was left behind"
    if [ "$(json 'len(it["rows"])')" = 0 ]; then
        same "$(json '"left out" in it["notes"][0]')" true
    else
        "$HOLDFAST" bench mount --runs 100 >/dev/null 2>&1 &
        bench=$!
        until mounted || ! kill -0 $bench 2>/dev/null; do sleep 0.05; done
        mounted || fail "nothing was mounted"
        kill $bench
        wait $bench
        same $? 143
        mounted && fail "an interrupted run left a mount behind"
        same "$(ls -d "$work"/holdfast-bench-* 2>/dev/null)" ""
    fi
fi

# one group: the file itself; several: a file each
if command -v gnuplot >/dev/null; then
    try 73 "$HOLDFAST" bench punch --plot "$work/nowhere/x.svg"
    says "nowhere/x.svg"
    try 0 "$HOLDFAST" bench punch --quick --runs 1 --plot "$work/it's.svg"
    try 0 "$HOLDFAST" bench punch truncate --quick --runs 1 --plot "$work/all.svg"
    for picture in "it's" all-punch all-truncate; do
        python3 -c 'import sys, xml.dom.minidom as dom; dom.parse(sys.argv[1])' \
            "$work/$picture.svg" || fail "$picture.svg is not an SVG"
    done
fi
