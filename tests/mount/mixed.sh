#!/bin/bash
# SPDX-License-Identifier: MIT
# Every way to read and write, mixed on one file: see mixed.c. Two at once, each on its own file.
. "$(dirname "$0")/mount.sh" || exit 1

start 64M
mkdir "$dir/top"
crowd top
mapping=
maps_shared || mapping=no-shared-mapping
for i in 1 2; do
    # shellcheck disable=SC2086
    "$MIXED" "$dir/top/$i" "$(pick 10000 1000000)" $mapping >"$work/mixed-$i" 2>&1 &
    mixing[i]=$!
done
for i in 1 2; do
    wait "${mixing[i]}" || fail "$(cat "$work/mixed-$i")"
    cat "$work/mixed-$i"
done
finish
