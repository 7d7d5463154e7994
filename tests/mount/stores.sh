#!/bin/bash
# SPDX-License-Identifier: MIT
# Stores into mapped pages that others change: see stores.c.
. "$(dirname "$0")/mount.sh" || exit 1
[ -z "${TARGET-}" ] || skip "there is no library in $TARGET"
[ "$cache" = auto ] || skip "without a cache nobody asks for what was stored"

start 64M
mkdir "$work/second"
run "$HOLDFAST" mount "$pool" "$work/second" -o "cache=$cache"
trap 'umount -l "$work/second" 2>/dev/null; clean_up' EXIT
run "$STORES" "$pool" "$dir" "$work/second" "$(pick 20 400)"
run umount "$work/second"
finish
