#!/bin/bash
# SPDX-License-Identifier: MIT
# bonnie++: large files by character and by block, seeks, and many small files in folders.
. "$(dirname "$0")/mount.sh" || exit 1
need bonnie++

start "$(pick 256M 4G)"
mkdir "$dir/top"
crowd top
# -f: no bytes one by one, a call each. -r says how much memory the machine has: it would want files twice as large
run bonnie++ -q -f -u root -d "$dir/top" -s "$(pick 32M:16k 2048M)" -r "$(pick 16 1024)" \
    -n "$(pick 2:8192:0:4 64:8192:0:16)" -x 1
same "$(ls -A "$dir/top")" ""
finish
