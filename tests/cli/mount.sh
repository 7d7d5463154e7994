#!/bin/bash
# SPDX-License-Identifier: MIT
# The verb mount, and the name under which mount(8) calls it: arguments, exit codes, and one short mount if the system
# lets us. What a mount does is tried in tests/mount.
. "$(dirname "$0")/cli.sh" || exit 1

dir=$work/dir
helper=$work/mount.fuse.holdfast
mkdir "$dir"
ln -s "$(realpath "$HOLDFAST")" "$helper"
trap 'umount -l "$dir" 2>/dev/null || fusermount3 -uzq "$dir" 2>/dev/null; clean_up' EXIT

not_mounted() {
    ! grep -qF " $dir " /proc/self/mountinfo
}

# STATUS TEXT and arguments: refused like that, by the verb as by mount(8)'s name for it.
refused() {
    local status=$1 text=$2

    shift 2
    for program in "$HOLDFAST mount" "$helper"; do
        # shellcheck disable=SC2086
        try "$status" timeout 600 $program "$@"
        says "holdfast: mount: "
        says "$text"
        same "$out" ""
        not_mounted || fail "mount $* left a mount"
    done
}

try 0 "$HOLDFAST" mount --help
for word in "POOL DIR" --foreground --options allow_other cache=none cache=auto; do
    case $out in
    *"$word"*) ;;
    *) fail "the help does not say $word" ;;
    esac
done

try 0 "$HOLDFAST" mkpool "$pool" --size 8M
mkdir "$work/empty" "$pool/inside"
touch "$work/plain"
refused 64 "too few arguments"
refused 64 "too few arguments" "$pool"
refused 64 "one argument too many" "$pool" "$dir" extra
refused 64 "is empty" "$pool" ""
refused 64 "-z: there is no such option" "$pool" "$dir" -z
refused 64 "-o needs a value" "$pool" "$dir" -o
for option in nonsense cache cache= cache=sometimes cache=none2 RO ro=1 allow_root fsname=other subtype=x; do
    refused 64 "-o $option: there is no such option" "$pool" "$dir" -o "$option"
    refused 64 "-o $option: there is no such option" "$pool" "$dir" -o "ro,$option,cache=auto"
done
for value in "" x -1 1s 1e3 0x10 nan inf 86400.5 1.2.3 " 1"; do
    for option in entry_timeout attr_timeout; do
        refused 64 "-o $option=$value: not a number of seconds from 0 to 86400" "$pool" "$dir" -o "$option=$value"
    done
done
refused 66 "$work/missing: No such file or directory" "$pool" "$work/missing"
refused 66 "$work/plain: Not a directory" "$pool" "$work/plain"
refused 66 "$work/missing: No such file or directory" "$work/missing" "$dir"
refused 66 "is $work/plain a pool?" "$work/plain" "$dir"
refused 66 "is $work/empty a pool?" "$work/empty" "$dir"
refused 64 "would hide the pool, or lie in it" "$pool" "$pool"
refused 64 "would hide the pool, or lie in it" "$pool" "$pool/inside"
refused 64 "would hide the pool, or lie in it" "$pool" "$work"
rmdir "$pool/inside"
try 0 "$HOLDFAST" fsck "$pool"

# ---- mounted

if ! (: <>/dev/fuse) 2>/dev/null; then
    echo "skipped: /dev/fuse cannot be opened, so only arguments were tried"
    exit 77
fi
if [ "$(id -u)" != 0 ] && ! command -v fusermount3 >/dev/null; then
    echo "skipped: only root mounts without fusermount3, so only arguments were tried"
    exit 77
fi

# The pool's last user has gone.
unmount() {
    local i

    umount "$dir" 2>/dev/null || fusermount3 -u "$dir" || fail "cannot unmount"
    for ((i = 0; i < 6000; i++)); do
        "$HOLDFAST" fsck "$pool" >"$work/out" 2>"$work/err" && return
        sleep 0.1
    done
    fail "the pool is still in use: $(cat "$work/err")"
}

# What the mount is, as the kernel says: the pool, and the first of its options.
mounted_as() {
    same "$(awk -v dir="$dir" '$5 == dir { for (i = 7; $i != "-"; i++); print substr($6, 1, 2), $(i + 1), $(i + 2) }' \
        /proc/self/mountinfo)" "$*"
}

try 0 "$HOLDFAST" mount "$pool" "$dir"
same "$out$err" ""
mounted_as rw fuse.holdfast "$pool"
echo content >"$dir/file"
try 0 "$HOLDFAST" cat "$pool" file
same "$out" content
unmount

# as mount(8) does it, with what it adds and what fstab(5) holds for others
try 0 "$helper" "$pool" "$dir" -s -n -v -o ro,nosuid,noauto,nofail,_netdev,users,x-systemd.automount,comment=a,cache=auto
same "$out$err" ""
mounted_as ro fuse.holdfast "$pool"
same "$(cat "$dir/file")" content
(echo other >"$dir/file") 2>/dev/null && fail "ro is not obeyed"
unmount

# in the foreground, until it is told to end
"$HOLDFAST" mount "$pool" "$dir" -f -o ro,rw >"$work/out" 2>"$work/err" </dev/null &
server=$!
for ((i = 0; i < 6000; i++)); do
    not_mounted || break
    sleep 0.1
done
mounted_as rw fuse.holdfast "$pool"
kill "$server"
wait "$server"
same "$?" 0
not_mounted || fail "SIGTERM does not unmount"
try 0 "$HOLDFAST" fsck "$pool"
