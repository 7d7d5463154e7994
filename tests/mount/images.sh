#!/bin/bash
# SPDX-License-Identifier: MIT
# Damaged pools that root mounts: they are refused, or used with whatever errors; the process that serves never crashes
# and nobody hangs. HF_SEED=N begins with that image.
. "$(dirname "$0")/mount.sh" || exit 1
[ -z "${TARGET-}" ] || skip "there is no image in $TARGET"
need setfacl setfattr

images="python3 $(dirname "$0")/images.py"

# Whatever programs do with a tree. The errors are their own; but they end.
use_everything() {
    local step

    for step in "ls -lRi $dir" "$images use $dir" "cp -r $work/tree $dir/again" "rm -rf $dir/again" "df $dir"; do
        # shellcheck disable=SC2086
        timeout -k 5 600 $step >/dev/null 2>"$work/said"
        [ $? -lt 124 ] || fail "image $seed: this hangs: $step"
        mountpoint -q "$dir" || fail "image $seed: the mount ended at: $step"
    done
    ! grep -q Traceback "$work/said" || fail "image $seed: $(cat "$work/said")"
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
for i in $(seq 30); do
    head -c $((i * 600)) /dev/urandom >"$work/tree/big/file-$i"
    ln -s "../deep/$i" "$work/tree/big/link-$i"
done
ln "$work/tree/big/file-1" "$work/tree/deep/a/linked"
touch "$work/tree/$(printf 'n%.0s' $(seq 255))"
mkfifo "$work/tree/deep/fifo"
start 16M
cp -a "$work/tree/." "$dir"
for i in $(seq 20); do
    fallocate -p -o 4096 -l 4096 "$dir/big/file-$((i + 10))"
    setfattr -n user.long -v "$(printf 'v%.0s' $(seq $((i * 150))))" "$dir/big/file-$i"
    setfacl -m "u:$i:r" "$dir/big/file-$i"
done
finish
rm "$work/tree/deep/fifo" # cp and cat would wait for a writer
mv "$pool" "$work/sound"

used=0 refused=0
for seed in $(seq "${HF_SEED:-1}" $((${HF_SEED:-1} + $(pick 29 999)))); do
    cp -r --sparse=always "$work/sound" "$pool"
    $images damage "$pool/meta/data.mdb" "$seed"
    if mount_image; then
        use_everything
        timeout 600 umount "$dir" || fail "image $seed: umount failed"
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
