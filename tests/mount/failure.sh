#!/bin/bash
# SPDX-License-Identifier: MIT
# Mounts that end badly, and those that never come: the library's users notice nothing, the pool stays clean, the
# folder can be mounted on again, and the errors are those that users know.
. "$(dirname "$0")/mount.sh" || exit 1
[ -z "${TARGET-}" ] || skip "there is no mount in $TARGET"
trap 'end_all; clean_up' EXIT

# Mounts of this test beside $dir are folders in $work.
end_all() {
    local path

    findmnt -rno TARGET | grep "^$work/" | tac | while read -r path; do
        umount -l "$path"
    done
}

is_mounted() {
    mountpoint -q "$1"
}

not_mounted() {
    ! mountpoint -q "$1"
}

# STATUS TEXT and arguments of `holdfast mount`: it fails like that, and nothing is mounted.
refused() {
    local status=$1 text=$2 got

    shift 2
    timeout 20 "$HOLDFAST" mount "$@" >"$work/said" 2>&1 </dev/null
    got=$?
    same "$got" "$status"
    case $(cat "$work/said") in
    *"$text"*) ;;
    *) fail "mount $* does not say '$text' but '$(cat "$work/said")'" ;;
    esac
    findmnt -rno TARGET | grep "^$work/" && fail "mount $* left a mount"
}

# The processes of the mount on $dir, but not those that the test made: the one that serves has no capabilities.
server_pid() {
    local status

    for status in /proc/[0-9]*/status; do
        grep -qs "^CapPrm:[[:space:]]*0*$" "$status" && tr '\0' '\n' <"${status%status}cmdline" 2>/dev/null |
            grep -qx -- "$dir" && basename "${status%/status}"
    done
    true
}

guard_pid() {
    local status

    for status in /proc/[0-9]*/status; do
        grep -qs "^CapPrm:.*[1-9a-f]" "$status" && tr '\0' '\n' <"${status%status}cmdline" 2>/dev/null |
            grep -qx -- "$dir" && grep -qs "^Name:.*holdfast" "$status" && basename "${status%/status}"
    done
    true
}

no_processes() {
    [ -z "$(server_pid)$(guard_pid)" ]
}

# Reads, writes and makes files until the mount is gone.
load() {
    local i

    for ((i = 0; ; i++)); do
        cp "$dir/file" "$dir/$1-$((i % 7))" && cmp "$dir/file" "$dir/$1-$((i % 7))" && mv "$dir/$1-$((i % 7))" "$dir/$1" || return 0
    done 2>/dev/null
}

hold_page() {
    mkfifo "$work/holder-in" "$work/holder-out"
    "$HOLD_PIN" "$pool" file 0 4096 <"$work/holder-in" >"$work/holder-out" &
    holder=$!
    exec {holder_in}>"$work/holder-in"
    read -r held <"$work/holder-out"
    same "$held" held
}

let_go() {
    echo >&"$holder_in"
    exec {holder_in}>&-
    wait "$holder" || fail "hold-pin failed"
    rm "$work/holder-in" "$work/holder-out"
}

clean_pool() {
    run "$HOLDFAST" fsck "$pool"
}

# --- killed under load, with a truncate that waits for a library user's pin
start 64M
head -c 1M /dev/urandom >"$work/bytes"
for victim in server guard both; do
    cp "$work/bytes" "$dir/file"
    hold_page
    load one &
    load two &
    truncate -s 0 "$dir/file" 2>/dev/null &
    sleep 0.5
    victims=
    [ $victim = guard ] || victims=$(server_pid)
    [ $victim = server ] || victims="$victims $(guard_pid)"
    [ -n "${victims// /}" ] || fail "there is no $victim of $dir"
    # shellcheck disable=SC2086
    kill -KILL $victims
    for job in $(jobs -p); do
        [ "$job" = "$holder" ] || [ "$job" = "$server" ] || timeout 20 tail --pid="$job" -f /dev/null ||
            [ $victim = guard ] || fail "a program hangs after the end of the $victim"
    done
    if [ $victim = guard ]; then
        umount -l "$dir" 2>/dev/null # whether it went with its guard or not
    fi
    wait "$server" 2>/dev/null
    server=
    await no_processes
    [ $victim = both ] || await not_mounted "$dir"
    "$HOLDFAST" cat "$pool" file >"$work/back"
    [ $victim = guard ] || cmp "$work/bytes" "$work/back" || fail "the library sees something else after the end of the $victim"
    let_go
    clean_pool
    mount_pool
    ls -lR "$dir" >/dev/null || fail "no way to use $dir after the end of the $victim"
    echo again >"$dir/again" || fail "no way to write in $dir after the end of the $victim"
done
unmount
clean_pool

# --- daemons, and more than one mount
run "$HOLDFAST" mount "$pool" "$dir" -o "cache=$cache"
mkdir "$work/second"
run "$HOLDFAST" mount "$pool" "$work/second" -o "cache=$cache"
echo one >"$dir/of-one"
same "$(cat "$work/second/of-one")" one
same "$(findmnt -rno FSTYPE "$dir")" fuse.holdfast
same "$(findmnt -rno SOURCE "$dir")" "$pool"
run umount "$work/second"
same "$(cat "$dir/of-one")" one

# --- busy
exec {kept}<"$dir/of-one"
umount "$dir" 2>"$work/said" && fail "a busy folder was unmounted"
grep -q busy "$work/said" || fail "umount said $(cat "$work/said")"
same "$(cat "$dir/of-one")" one
run umount -l "$dir"
same "$(cat <&"$kept")" one
exec {kept}<&-
await no_processes
clean_pool

# --- asked to end
for signal in TERM INT HUP; do
    set -m # or SIGINT would be ignored by what runs in the background
    mount_pool
    set +m
    echo "$signal" >"$dir/last"
    kill -"$signal" "$server"
    wait "$server"
    ended=$?
    server=
    [ "$ended" = 0 ] || [ "$ended" -gt 128 ] || fail "SIG$signal: exit status $ended"
    await not_mounted "$dir"
    await no_processes
    same "$("$HOLDFAST" cat "$pool" last)" "$signal"
    clean_pool
done

# --- read-only
mount_pool ro
findmnt -rno OPTIONS "$dir" | grep -q "^ro" || fail "ro is not shown"
same "$(cat "$dir/of-one")" one
for change in "touch $dir/new" "mkdir $dir/new" "rm $dir/of-one" "truncate -s 0 $dir/of-one" "chmod 600 $dir/of-one" \
    "mv $dir/of-one $dir/new" "ln $dir/of-one $dir/new" "setfattr -n user.a -v b $dir/of-one" "touch -d 2000-01-01 $dir/of-one"; do
    $change 2>"$work/said" && fail "$change succeeded on a read-only mount"
    grep -q "Read-only file system" "$work/said" || fail "$change said $(cat "$work/said")"
done
"$HOLDFAST" ls "$pool" >/dev/null || fail "the pool cannot be used beside a read-only mount"
printf 'changed' | "$HOLDFAST" put "$pool" - of-one
same "$(cat "$dir/of-one")" changed
unmount

# --- what cannot be mounted, and where not
touch "$work/plain"
mkdir "$work/empty" "$work/empty2" "$pool/inside" 2>/dev/null
refused 66 "$work/missing" "$pool" "$work/missing"
refused 66 "$work/plain" "$pool" "$work/plain"
refused 66 "$work/missing" "$work/missing" "$dir"
refused 66 "$work/empty" "$work/empty" "$dir"
refused 66 "$work/plain" "$work/plain" "$dir"
refused 64 "$pool" "$pool" "$pool"
refused 64 "$pool/inside" "$pool" "$pool/inside"
refused 64 "$work" "$pool" "$work"
rmdir "$pool/inside"
refused 64 nonsense "$pool" "$dir" -o nonsense
refused 64 cache "$pool" "$dir" -o cache=sometimes
refused 64 "" "$pool"
refused 64 "" "$pool" "$dir" extra

cp -r --sparse=always "$pool" "$work/broken"
truncate -s 5000 "$work/broken/meta/data.mdb"
refused 65 fsck "$work/broken" "$dir"
refused 65 fsck "$work/broken" "$dir" -f
head -c 100000 /dev/urandom >"$work/broken/meta/data.mdb"
refused 65 fsck "$work/broken" "$dir"

# --- no FUSE here: a /dev without it
"$HOLDFAST" info "$pool" >/dev/null
unshare -m bash -c '
    mkdir -p "$3/shm" && mount --bind /dev/shm "$3/shm" && mount -t tmpfs none /dev && mkdir /dev/shm &&
        mount --bind "$3/shm" /dev/shm && mknod -m 666 /dev/null c 1 3 && exec "$0" mount "$1" "$2"' \
    "$HOLDFAST" "$pool" "$dir" "$work" >"$work/said" 2>&1
status=$?
[ "$status" = 69 ] || fail "without /dev/fuse: exit status $status, $(cat "$work/said")"
grep -q /dev/fuse "$work/said" || fail "without /dev/fuse it says $(cat "$work/said")"

# --- a full pool
rm -rf "$pool"
start 8M
dd if=/dev/zero of="$dir/much" bs=64K 2>"$work/said" && fail "a pool of 8 MiB had room for more"
grep -q "No space left" "$work/said" || fail "dd said $(cat "$work/said")"
fallocate -l 4M "$dir/more" 2>"$work/said" && fail "fallocate found room"
grep -q "No space left" "$work/said" || fail "fallocate said $(cat "$work/said")"
same "$(df --output=avail "$dir" | tail -n 1 | tr -d ' ')" 0
rm "$dir/much"
echo room >"$dir/room"
same "$(cat "$dir/room")" room
unmount
clean_pool
