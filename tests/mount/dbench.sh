#!/bin/bash
# SPDX-License-Identifier: MIT
# The file server load of dbench, four clients at once.
. "$(dirname "$0")/mount.sh" || exit 1
need dbench

start "$(pick 256M 1G)"
mkdir "$dir/top"
crowd top
run dbench -D "$dir/top" -t "$(pick 4 120)" -c /usr/share/dbench/client.txt 4
grep 'Throughput' "$work/said" || fail "dbench does not say how fast it was: $(tail "$work/said")"
# it takes a semaphore with the number 0, the first one since the machine started, for none
grep -i 'failed\|error' "$work/said" | grep -v '^failed to create barrier semaphore' && fail "dbench found something"
finish
