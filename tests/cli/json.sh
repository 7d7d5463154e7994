#!/bin/bash
# SPDX-License-Identifier: MIT
# --json is JSON for every verb that has it, whatever the names are.
. "$(dirname "$0")/cli.sh" || exit 1

try 0 "$HOLDFAST" mkpool "$pool" --size 16M
odd=$'odd "name"\\ \t\n\x01\xff\xc3\xa9\xe2\x82'
printf 'text' | "$HOLDFAST" put "$pool" - "$odd"
try 0 "$HOLDFAST" mkdir "$pool" dir
hold reader "$pool" "$odd" 0 4

for verb in info df ls pins map; do
    try 0 "$HOLDFAST" "$verb" "$pool" --json
    [ -n "$(json it)" ]
done
try 0 "$HOLDFAST" stat "$pool" "$odd" / --json
same "$(json 'len(it)')" 2
try 0 "$HOLDFAST" ls "$pool" --json
same "$(json '[entry["type"] for entry in it]')" "['directory', 'file']"
python3 - "$work/out" <<'EOF' || fail "a name did not survive"
import json, os, sys
name = json.load(open(sys.argv[1]))[1]["name"]
sys.exit(os.fsencode(name) != b'odd "name"\\ \t\n\x01\xff\xc3\xa9\xe2\x82')
EOF
try 0 "$HOLDFAST" map "$pool" --json
same "$(json 'it["extents"][0]["blocks"]')" 1
same "$(json 'it["pins"][0]["block"] == it["extents"][0]["block"]')" true

# for which peer or device a lease is
hold device "$pool" "$odd" 0 4 lease rdma $'label=192.0.2.7:4711 \x01"'
try 0 "$HOLDFAST" pins "$pool" --json
same "$(json 'sorted(str(pin["label"]) for pin in it)')" "['192.0.2.7:4711 \\x01\"', 'None']"
try 0 "$HOLDFAST" pins "$pool"
grep -q '\[192\.0\.2\.7:4711 \\001"\]$' "$work/out" || fail "pins does not show the label: $(cat "$work/out")"
let_go device
let_go reader
try 0 "$HOLDFAST" fsck "$pool" --json
same "$(json 'it["problems"]')" 0
