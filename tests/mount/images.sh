#!/bin/bash
# SPDX-License-Identifier: MIT
# Damaged pools that root mounts: they are refused, or used with whatever errors; the process that serves never crashes
# and nobody hangs. HF_SEED=N begins with that image.
. "$(dirname "$0")/mount.sh" || exit 1
[ -z "${TARGET-}" ] || skip "there is no image in $TARGET"

# Whatever a program does with a tree. The errors are its own; but it ends.
use_everything() {
    local step

    for step in "ls -lRi ." "find . -type f -exec cat {} +" "getfattr -dRhm - ." "find . -exec getfacl {} +" "du -a ." "df ." \
        "find . -type f -exec cp {} $work/copy ;" "find . -type l -exec readlink {} +" \
        "find . -type f -exec setfattr -n user.new -v value {} +" "find . -type f -exec chmod 600 {} +" \
        "find . -type f -exec truncate -s 5000 {} ;" "find . -type f -exec dd if=/dev/zero bs=9000 count=3 conv=notrunc of={} ;" \
        "find . -type d -exec mkdir {}/new ;" "find . -type f -exec mv {} {}-moved ;" "cp -r . $work/copies" \
        "cp -r $work/tree again" "rm -rf big deep again" "find . -delete"; do
        # shellcheck disable=SC2086
        (cd "$dir" && set -f && timeout -k 5 30 $step >/dev/null 2>&1)
        [ $? -lt 124 ] || fail "image $seed: this hangs: $step"
        rm -rf "$work/copy" "$work/copies"
        kill -0 "$server" 2>/dev/null || fail "image $seed: the mount ended at: $step"
    done
}

# As mount_pool, but the mount may refuse.
mount_image() {
    "$HOLDFAST" mount "$pool" "$dir" -f -o "cache=$cache" >"$work/server.log" 2>&1 </dev/null &
    server=$!
    await mounted
    mountpoint -q "$dir"
}

expect_refusal() {
    local status

    wait "$server"
    status=$?
    server=
    [ "$status" = 65 ] || [ "$status" = 69 ] || [ "$status" = 66 ] || fail "image $seed: the mount ended with $status"
    [ -s "$work/server.log" ] || fail "image $seed: refused without a word"
}

# A pool with long names, deep folders, many extents, links, attributes and ACLs.
mkdir -p "$work/tree/deep/a/b/c/d/e" "$work/tree/big"
for i in $(seq 60); do
    head -c $((i * 300)) /dev/urandom >"$work/tree/big/file-$i"
    ln -s "../deep/$i" "$work/tree/big/link-$i"
done
ln "$work/tree/big/file-1" "$work/tree/deep/a/linked"
touch "$work/tree/$(printf 'n%.0s' $(seq 255))"
mkfifo "$work/tree/deep/fifo"
start 16M
cp -a "$work/tree/." "$dir"
for i in $(seq 20); do
    fallocate -p -o 4096 -l 4096 "$dir/big/file-$((i + 30))"
    setfattr -n user.long -v "$(printf 'v%.0s' $(seq $((i * 150))))" "$dir/big/file-$i"
    setfacl -m "u:$i:r" "$dir/big/file-$i"
done
finish
rm "$work/tree/deep/fifo" # cp and cat would wait for who writes into it
mv "$pool" "$work/sound"

used=0 refused=0
for seed in $(seq "${HF_SEED:-1}" $((${HF_SEED:-1} + $(pick 29 999)))); do
    cp -r --sparse=always "$work/sound" "$pool"
    python3 "$(dirname "$0")/images.py" "$pool/meta/data.mdb" "$seed"
    if mount_image; then
        use_everything
        timeout 20 umount "$dir" || fail "image $seed: umount failed"
        wait "$server" || fail "image $seed: the mount ended with $?"
        server=
        used=$((used + 1))
    else
        expect_refusal
        refused=$((refused + 1))
    fi
    rm -rf "$pool"
done
echo "$used images used, $refused refused"
[ "$used" -gt 0 ] && [ "$refused" -gt 0 ] || fail "only one of both was tried"
