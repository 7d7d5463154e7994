#!/bin/bash
# SPDX-License-Identifier: MIT
# The file system below a pool is full: files can be looked at and deleted, and no verb is killed. Pools in memory and
# durable ones, each on a tmpfs and on a disk.
[ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null || { echo "needs root, for small file systems"; exit 77; }
[ "${1:-}" = inside ] || exec unshare -m --propagation private bash "$0" inside
. "$(dirname "$0")/cli.sh" || exit 1

small=$work/small
mkdir "$small"
trap 'umount "$small" 2>/dev/null; clean_up' EXIT

# each file fills pages of the metadata with its names
make_many() {
    mkdir "$work/many"
    (cd "$work/many" && for i in $(seq 400); do echo "$i" >"a-name-that-fills-the-leaves-of-the-metadata-$i"; done)
    head -c 3M /dev/zero | tr '\0' a >"$work/file"
}

fill() {
    head -c 1G /dev/zero >"$small/ballast" 2>/dev/null
    sync "$small/ballast"
    dd if=/dev/zero of="$small/ballast" bs=512 oflag=append conv=notrunc 2>/dev/null
    true
}

# 0, or the sentence of a full file system
may_fail() {
    "$@" >"$work/out" 2>"$work/err"
    status=$?
    [ $status = 0 ] && return
    [ $status -lt 128 ] && [ -s "$work/err" ] || fail "$*: status $status, $(cat "$work/err")"
}

look_and_delete() { # options of mkpool
    local pool=$small/pool

    try 0 "$HOLDFAST" mkpool "$pool" --size 16M "$@"
    try 0 "$HOLDFAST" put "$pool" "$work/many"
    try 0 "$HOLDFAST" put "$pool" "$work/file"
    fill
    try 0 "$HOLDFAST" ls "$pool"
    same "$out" $'file\nmany'
    try 0 "$HOLDFAST" info "$pool"
    try 0 "$HOLDFAST" df "$pool"
    may_fail "$HOLDFAST" put "$pool" "$work/many" more
    may_fail "$HOLDFAST" put "$pool" "$work/file" again
    try 0 cmp "$work/file" <("$HOLDFAST" cat "$pool" file)
    try 0 "$HOLDFAST" rm "$pool" file
    try 0 "$HOLDFAST" rm -r "$pool" many
    may_fail "$HOLDFAST" fsck "$pool"
    may_fail "$HOLDFAST" grow "$pool" --size 32M
    rm "$small/ballast"
    try 0 "$HOLDFAST" fsck "$pool"
    try 0 "$HOLDFAST" put "$pool" "$work/many" last
    rm -r "$pool"
}

make_many
mount -t tmpfs -o size=40M none "$small" || { echo "needs a tmpfs of its own"; exit 77; }
look_and_delete
look_and_delete --durable
umount "$small"
truncate -s 64M "$work/disk"
if mkfs.ext4 -q -m 0 "$work/disk" 2>/dev/null && mount -o loop "$work/disk" "$small" 2>/dev/null; then
    look_and_delete
    look_and_delete --durable
else
    echo "not on a disk: needs mkfs.ext4 and a loop device"
fi
