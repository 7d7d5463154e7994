#!/bin/bash
# SPDX-License-Identifier: MIT
# A name is replaced by rename() all the time, through the same mount and through another. It can always be opened:
# a reader sees the old file or the new one.
. "$(dirname "$0")/mount.sh" || exit 1
need python3

looks=$(pick 800 20000)
replaced() {
    python3 "$(dirname "$0")/replaced.py" "$@" "$looks" || fail "replaced.py $*"
}

start 64M
head -c 5000 /dev/zero | tr '\0' 0 >"$dir/file"
ln -s target0 "$dir/link"
replaced "$dir" "$dir"
if [ -z "${TARGET-}" ]; then
    other=$work/other
    mkdir "$other"
    trap 'umount -l "$other" 2>/dev/null; clean_up' EXIT
    run "$HOLDFAST" mount "$pool" "$other" -o "cache=$cache"
    rm "$dir"/target*
    replaced "$dir" "$other"
    run umount "$other"
fi
finish
