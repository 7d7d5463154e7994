#!/bin/bash
# SPDX-License-Identifier: MIT
# The ways of the system to mount: mount -t fuse.holdfast, and a line of fstab. They need the program under the name
# mount.fuse.holdfast in /sbin, where it is put for the time of the test.
. "$(dirname "$0")/mount.sh" || exit 1
[ -z "${TARGET-}" ] || skip "there is no pool in $TARGET"
helper=/sbin/mount.fuse.holdfast
[ ! -e "$helper" ] || skip "$helper is there already"
trap 'umount -l "$dir" "$work/other" 2>/dev/null; rm -f "$helper"; clean_up' EXIT
ln -s "$(realpath "$HOLDFAST")" "$helper"

run "$HOLDFAST" mkpool "$pool" --size 16M
options() {
    findmnt -rno OPTIONS "$dir"
}

run mount -t fuse.holdfast "$pool" "$dir"
same "$(findmnt -rno FSTYPE,SOURCE "$dir")" "fuse.holdfast $pool"
echo content >"$dir/file"
run umount "$dir"

# mount(8) drops the words suid and dev: without nosuid and nodev root's mount of root's pool has both
run mount -t fuse.holdfast -o suid,dev "$pool" "$dir"
[[ ,$(options), != *,nosuid,* && ,$(options), != *,nodev,* ]] || fail "suid,dev: $(options)"
run umount "$dir"
run mount -t fuse.holdfast -o nosuid "$pool" "$dir"
[[ ,$(options), == *,nosuid,* && ,$(options), != *,nodev,* ]] || fail "nosuid: $(options)"
run umount "$dir"
run "$HOLDFAST" mount "$pool" "$dir"
[[ ,$(options), == *,nosuid,* && ,$(options), == *,nodev,* ]] || fail "without mount(8): $(options)"
run umount "$dir"
chmod 0711 "$work" # so that nobody gets to the pool
chown -R nobody "$pool"
run mount -t fuse.holdfast -o suid,dev "$pool" "$dir"
[[ ,$(options), == *,nosuid,* && ,$(options), == *,nodev,* ]] || fail "another's pool: $(options)"
run umount "$dir"
chown -R root "$pool"

run mount -t fuse.holdfast -o "ro,noatime,nodev,nosuid,noexec,allow_other,cache=$cache" "$pool" "$dir"
for option in ro noatime nodev nosuid noexec allow_other; do
    [[ ,$(options), == *,$option,* ]] || fail "$option is not among $(options)"
done
same "$(cat "$dir/file")" content
touch "$dir/new" 2>/dev/null && fail "ro is not obeyed"
run umount "$dir"

# a mount in the background does not keep busy what its caller used
run "$HOLDFAST" mkpool "$work/second" --size 16M
mkdir "$work/other"
run mount -t fuse.holdfast "$pool" "$dir"
(cd "$dir" && exec 5>file && run "$HOLDFAST" mount ../second ../other) || exit 1
run umount "$dir"
echo content >"$work/other/file"
run umount "$work/other"
same "$("$HOLDFAST" cat "$work/second" file)" content
run mount -t fuse.holdfast "$pool" "$dir"
echo content >"$dir/file"
run umount "$dir"

# other options for what is mounted
run mount -t fuse.holdfast -o "nosuid,cache=$cache" "$pool" "$dir"
run mount -o remount,ro "$dir"
[[ ,$(options), == *,ro,* && ,$(options), == *,nosuid,* ]] || fail "remount,ro: $(options)"
touch "$dir/new" 2>"$work/said" && fail "remount,ro is not obeyed"
grep -q "Read-only file system" "$work/said" || fail "$(cat "$work/said")"
same "$(cat "$dir/file")" content
run "$HOLDFAST" mount -o remount,rw "$pool" "$dir"
[[ ,$(options), == *,rw,* && ,$(options), == *,nosuid,* ]] || fail "remount,rw: $(options)"
exec 5>>"$dir/file"
mount -o remount,ro "$dir" 2>/dev/null && fail "remount,ro leaves a writer behind"
echo more >&5 || fail "a refused remount took a writer away"
exec 5>&-
run mount -o remount,ro "$dir"
run umount "$dir"
run mount -t fuse.holdfast -o ro "$pool" "$dir"
mount -o remount,rw "$dir" 2>"$work/said" && fail "a server that only reads became writable"
grep -q "unmount it" "$work/said" || fail "$(cat "$work/said")"
[[ ,$(options), == *,ro,* ]] || fail "after a refused remount: $(options)"
run umount "$dir"

cat >"$work/fstab" <<LINE
$pool $dir fuse.holdfast noauto,nofail,_netdev,x-systemd.automount,users,rw,cache=$cache 0 0
LINE
run mount -T "$work/fstab" "$dir"
touch "$dir/new" || fail "rw is not obeyed"
run umount "$dir"

cat >"$work/fstab" <<LINE
$pool $dir fuse.holdfast defaults 0 0
LINE
run mount -T "$work/fstab" -a
mountpoint -q "$dir" || fail "mount -a left it out"
run mount -T "$work/fstab" -a # it is there already
run umount "$dir"

run mount -t fuse.holdfast -o relatime,nodiratime,lazytime,strictatime,async,silent "$pool" "$dir"
mountpoint -q "$dir" || fail "not mounted with words about times"
run umount "$dir"

# only to see that it would be tried
run mount -f -t fuse.holdfast "$pool" "$dir"
run "$helper" "$pool" "$dir" -f
run "$helper" "$pool" "$dir" -sfn -o "cache=$cache"
mountpoint -q "$dir" && fail "mounted in spite of -f"

mount -t fuse.holdfast -o nonsense "$pool" "$dir" 2>"$work/said" && fail "nonsense was taken"
grep -q nonsense "$work/said" || fail "mount -o nonsense said $(cat "$work/said")"
mount -t fuse.holdfast "$work/missing" "$dir" 2>"$work/said" && fail "a missing pool was mounted"
grep -q missing "$work/said" || fail "mounting a missing pool said $(cat "$work/said")"
mountpoint -q "$dir" && fail "something is mounted"
run "$HOLDFAST" fsck "$pool"
