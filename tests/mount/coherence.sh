#!/bin/bash
# SPDX-License-Identifier: MIT
# What the library and two mounts of one pool see of each other: see coherence.c.
. "$(dirname "$0")/mount.sh" || exit 1
[ -z "${TARGET-}" ] || skip "there is no library in $TARGET"

start 64M
mkdir "$work/second"
run "$HOLDFAST" mount "$pool" "$work/second" -o "cache=$cache"
trap 'umount -l "$work/second" 2>/dev/null; clean_up' EXIT
run "$COHERENCE" "$pool" "$dir" "$work/second" "$cache" "$(pick 20000 400000)"
run umount "$work/second"
finish
