#!/bin/bash
# SPDX-License-Identifier: MIT
# map --svg: well-formed, names what lies there, and as large for a large pool as for a small one.
. "$(dirname "$0")/cli.sh" || exit 1

check_picture() {
    python3 - "$1" <<'EOF' || fail "$1 is not a picture"
import sys
import xml.etree.ElementTree as tree
root = tree.parse(sys.argv[1]).getroot()
assert root.tag == "{http://www.w3.org/2000/svg}svg", root.tag
width, height = (float(root.get(side)) for side in ("width", "height"))
assert 400 < width < 2000 and 200 < height < 2000, (width, height)
EOF
}

try 0 "$HOLDFAST" mkpool "$pool" --size 8M
try 0 "$HOLDFAST" map "$pool" --svg "$work/empty.svg"
check_picture "$work/empty.svg"
head -c 1M /dev/urandom >"$work/bytes"
try 0 "$HOLDFAST" put "$pool" "$work/bytes" $'a <file> & "more" \x01\xff'
try 0 "$HOLDFAST" put "$pool" "$work/bytes" plain
hold reader "$pool" plain 0 65536
hold writer "$pool" plain 524288 4096 write
try 0 "$HOLDFAST" map "$pool" --svg "$work/small.svg"
check_picture "$work/small.svg"
grep -q '/plain' "$work/small.svg" || fail "the legend does not name the file"
grep -q 'pinned to read (1)' "$work/small.svg" || fail "the read pin is not counted"
grep -q 'to write (1)' "$work/small.svg" || fail "the write pin is not counted"
let_go reader
let_go writer
try 66 "$HOLDFAST" map "$pool" --svg "$work/no/such/place.svg"

try 0 "$HOLDFAST" mkpool "$work/large" --size 512M
mkdir "$work/tree"
for i in $(seq 200); do
    head -c $((i * 500)) /dev/urandom >"$work/tree/$i"
done
try 0 "$HOLDFAST" put "$work/large" "$work/tree"
try 0 "$HOLDFAST" map "$work/large" --svg "$work/large.svg"
check_picture "$work/large.svg"
grep -q 'and 176 smaller files' "$work/large.svg" || fail "the rest of the files is not counted"
