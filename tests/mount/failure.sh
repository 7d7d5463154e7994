#!/bin/bash
# SPDX-License-Identifier: MIT
# Mounts that end badly, and mounts that fail. The library's users notice nothing, the pool stays clean, and the
# folder can be mounted on again. The errors are those that users know.
. "$(dirname "$0")/mount.sh" || exit 1
[ -z "${TARGET-}" ] || skip "there is no mount in $TARGET"
need setfattr unshare
trap 'end_all; clean_up' EXIT

# Mounts of this test beside $dir are folders in $work.
end_all() {
    local path

    findmnt -rno TARGET | grep "^$work/" | tac | while read -r path; do
        umount -l "$path"
    done
}

# Nor is there a dead one, which mountpoint(1) does not see.
not_mounted() {
    ! findmnt -rno TARGET | grep -qx "$1"
}

# STATUS TEXT and arguments of `holdfast mount`: it fails like that, and nothing is mounted.
refused() {
    local status=$1 text=$2 got mounts

    shift 2
    mounts=$(findmnt -rno TARGET | grep -c "^$work/")
    timeout 600 "$HOLDFAST" mount "$@" >"$work/said" 2>&1 </dev/null
    got=$?
    same "$got" "$status"
    case $(cat "$work/said") in
    *"$text"*) ;;
    *) fail "mount $* does not say '$text' but '$(cat "$work/said")'" ;;
    esac
    same "$(findmnt -rno TARGET | grep -c "^$work/")" "$mounts"
}

# Nobody is attached to the pool: the mount's processes have ended.
unused() {
    "$HOLDFAST" fsck "$pool" >"$work/said" 2>&1
}

# Reads, writes and makes files until the mount is gone.
load() {
    local i

    for ((i = 0; ; i++)); do
        cp "$dir/source" "$dir/$1-$((i % 7))" && cmp "$dir/source" "$dir/$1-$((i % 7))" && mv "$dir/$1-$((i % 7))" "$dir/$1" ||
            return 0
    done 2>/dev/null
}

shows_waiting() {
    "$HOLDFAST" pins "$pool" --waiting | grep -q "^1 layout change waiting"
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

# --- killed under load, with a truncate that waits for a library user's pin
start 64M
head -c 1M /dev/urandom >"$work/bytes"
for victim in server supervisor both; do
    cp "$work/bytes" "$dir/file"
    cp "$work/bytes" "$dir/source"
    hold_page
    load one &
    programs=$!
    load two &
    programs="$programs $!"
    truncate -s 0 "$dir/file" 2>/dev/null &
    programs="$programs $!"
    await shows_waiting
    victims=
    [ $victim = supervisor ] || victims=$(children "$server")
    [ $victim = supervisor ] || [ -n "$victims" ] || fail "the mount has no process that serves"
    [ $victim = server ] || victims="$victims $server"
    # shellcheck disable=SC2086
    kill -KILL $victims
    # shellcheck disable=SC2086
    wait $programs
    wait "$server" 2>/dev/null
    server=
    "$HOLDFAST" cat "$pool" file >"$work/back"
    cmp "$work/bytes" "$work/back" || fail "the library sees something else after the end of the $victim"
    let_go
    await unused
    # a dead mount keeps programs out of the directory below
    touch "$dir/below" 2>"$work/said" && fail "a file can be made below the dead mount"
    grep -q "not connected" "$work/said" || fail "$(cat "$work/said")"
    mount_pool
    ls -lR "$dir" >/dev/null || fail "no way to use $dir after the end of the $victim"
    echo again >"$dir/again" || fail "no way to write in $dir after the end of the $victim"
done
unmount
await unused

# --- daemons, and more than one mount
mount_pool
mkdir "$work/second"
run "$HOLDFAST" mount "$pool" "$work/second" -o "cache=$cache"
echo one >"$dir/of-one"
same "$(cat "$work/second/of-one")" one
same "$(findmnt -rno FSTYPE "$dir")" fuse.holdfast
same "$(findmnt -rno SOURCE "$dir")" "$pool"
run umount "$work/second"
refused 75 "mounted there already" "$pool" "$dir"
same "$(cat "$dir/of-one")" one

# --- busy
exec {kept}<"$dir/of-one"
umount "$dir" 2>"$work/said" && fail "a busy folder was unmounted"
grep -q busy "$work/said" || fail "umount said $(cat "$work/said")"
same "$(cat "$dir/of-one")" one
run umount -l "$dir"
same "$(cat <&"$kept")" one
exec {kept}<&-
await unused

# --- asked to end
for signal in INT HUP TERM; do
    set -m # or SIGINT would be ignored by what runs in the background
    mount_pool
    set +m
    echo "$signal" >"$dir/last"
    cp "$work/bytes" "$dir/file"
    program=
    if [ $signal = TERM ]; then # while a file is open and a truncate waits
        exec {kept}<"$dir/last"
        hold_page
        truncate -s 0 "$dir/file" 2>/dev/null &
        program=$!
        await shows_waiting
    fi
    kill -$signal "$server"
    wait "$server"
    ended=$?
    server=
    [ "$ended" = 0 ] || [ "$ended" -gt 128 ] || fail "SIG$signal: exit status $ended"
    await not_mounted "$dir"
    same "$("$HOLDFAST" cat "$pool" last)" "$signal"
    "$HOLDFAST" cat "$pool" file | cmp - "$work/bytes" || fail "SIG$signal: the file has changed"
    if [ -n "$program" ]; then
        wait "$program" && fail "the truncate succeeded after the end of the mount"
        exec {kept}<&-
        let_go
    fi
    await unused
done

# --- names that have to be written in another way in the tables of mounts
odd="$work/a folder, with\\odd"
mkdir "$odd"
ln -s "$pool" "$work/the pool, too"
run "$HOLDFAST" mount "$work/the pool, too" "$odd/../a folder, with\\odd" -o "cache=$cache"
same "$(cat "$odd/last")" TERM
same "$(findmnt -no SOURCE "$odd")" "$pool"
run umount "$odd"
await unused

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
for count in 3000 6000; do # more than a mount can have, and more than there is room for
    many=ro$(printf ',ro%.0s' $(seq $count))
    refused 71 "options are too long" "$pool" "$dir" -o "$many"
    refused 71 "options are too long" "$pool" "$dir" -f -o "$many"
done

cp -r --sparse=always "$pool" "$work/broken"
truncate -s 5000 "$work/broken/meta/data.mdb"
refused 65 "metadata: the file ends" "$work/broken" "$dir"
refused 65 "metadata: the file ends" "$work/broken" "$dir" -f
head -c 100000 /dev/urandom >"$work/broken/meta/data.mdb"
refused 65 metadata "$work/broken" "$dir"

cp -r --sparse=always "$pool" "$work/frozen" # a user that may not write to a pool's files cannot attach, for reading neither
chmod -R a-w "$work/frozen"
refused 77 "Permission denied" "$work/frozen" "$dir"
refused 77 "Permission denied" "$work/frozen" "$dir" -o ro

# --- no FUSE here: a /dev without it
"$HOLDFAST" info "$pool" >/dev/null
unshare -m bash -c '
    mount --bind /dev/shm /mnt && mount -t tmpfs none /dev && mkdir /dev/shm && mount --bind /mnt /dev/shm &&
        mknod -m 666 /dev/null c 1 3 && exec "$0" mount "$1" "$2"' \
    "$HOLDFAST" "$pool" "$dir" >"$work/said" 2>&1
status=$?
[ "$status" = 71 ] || fail "without /dev/fuse: exit status $status, $(cat "$work/said")"
grep -q fuse "$work/said" || fail "without /dev/fuse it says $(cat "$work/said")"

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
await unused

# --- one program takes much: files, of which it gets half of what the pool has
rm -rf "$pool"
start 64M --max-files 256
echo content >"$dir/file"
for i in {1..200}; do
    echo "$i" >"$dir/$i"
done
python3 - "$dir" "$HOLDFAST" "$pool" <<'END' || fail "not half of the files"
import errno, os, subprocess, sys
folder, holdfast, pool = sys.argv[1:]
files = []
try:
    for i in range(1, 201):
        files.append(os.open("%s/%d" % (folder, i), os.O_RDONLY))
except OSError as error:
    assert error.errno == errno.ENFILE, error
assert len(files) == 128, len(files)
assert subprocess.check_output([holdfast, "cat", pool, "file"]) == b"content\n"
assert os.read(files[127], 9) == b"128\n"
assert os.path.getsize(folder + "/file") == 8
END
await cat "$dir/file" >"$work/said" # what that program had open is closed a moment after its end

# ... and memory: a folder that it reads again and again, while names come and go in front
mkdir "$dir/many"
python3 - "$dir/many" "$(children "$server")" <<'END' || fail "reading a folder again and again"
import ctypes, os, sys
folder, server = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
buffer = ctypes.create_string_buffer(1 << 16)

def names_behind(directory, place):
    """What getdents64() gives from there on, and the place behind the first entry."""
    names, first = [], None
    os.lseek(directory, place, os.SEEK_SET)
    while (got := libc.getdents64(directory, buffer, len(buffer))) > 0:
        at = 0
        while at < got:
            length = int.from_bytes(buffer[at + 16:at + 18], "little")
            first = first or int.from_bytes(buffer[at + 8:at + 16], "little")
            names.append(buffer[at + 19:at + length].split(b"\0")[0].decode())
            at += length
    assert got == 0, os.strerror(ctypes.get_errno())
    return names, first

def anonymous():
    for line in open("/proc/%s/status" % server):
        if line.startswith("RssAnon"):
            return int(line.split()[1])

every = {"%04d-" % i + "n" * 200 for i in range(5000)}
for name in every:
    os.close(os.open("%s/%s" % (folder, name), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
directory = os.open(folder, os.O_RDONLY)
names, behind_first = names_behind(directory, 0)
assert sorted(names) == sorted(every | {".", ".."})
before = anonymous()
for turn in range(100):
    new = "%s/!new-%d" % (folder, turn)
    os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    if turn > 0:
        os.unlink("%s/!new-%d" % (folder, turn - 1))
    names, _ = names_behind(directory, behind_first)
    assert len(names) == len(set(names)), "an entry twice in turn %d" % turn
    missing = every - set(names)
    assert not missing, "%d missing in turn %d" % (len(missing), turn)
    assert os.path.basename(new) in names
print("kB of the server: %d, then %d" % (before, anonymous()))
assert anonymous() - before < 32 << 10, "the server grew by %d kB" % (anonymous() - before)
END
unmount
await unused
