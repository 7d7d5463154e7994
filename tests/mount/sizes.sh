#!/bin/bash
# SPDX-License-Identifier: MIT
# Files of up to 16 TiB with little in them, what is beyond, and a pool that fills up. What a plain folder cannot show
# (its file system has other bounds) is tried on the mount only.
. "$(dirname "$0")/mount.sh" || exit 1

start 64M
mkdir "$dir/top"
cd "$dir/top" || exit 1
tib=$((1 << 40))

# holes that are seen as holes, from both ends
truncate -s $((4 * tib)) sparse || fail "no file of 4 TiB"
same "$(stat -c '%s %b' sparse)" "$((4 * tib)) 0"
printf 'the end' | dd of=sparse bs=1 seek=$((4 * tib - 7)) conv=notrunc status=none || fail "no write at the end"
printf 'middle' | dd of=sparse bs=1 seek=$((tib + 1)) conv=notrunc status=none || fail "no write in the middle"
same "$(tail -c 7 sparse)" "the end"
[ "$(stat -c %b sparse)" -le 64 ] || fail "two small writes took $(stat -c %b sparse) blocks"
python3 - sparse $tib <<'END' || fail "holes are not where they should be"
import os, sys
file, tib = os.open(sys.argv[1], os.O_RDWR), int(sys.argv[2])
page = 4096
assert os.lseek(file, 0, os.SEEK_DATA) // page == tib // page
assert os.lseek(file, tib + page, os.SEEK_DATA) == 4 * tib - page
assert os.lseek(file, 0, os.SEEK_HOLE) == 0
assert os.lseek(file, tib + 1, os.SEEK_HOLE) == tib + page
assert os.lseek(file, 4 * tib - 1, os.SEEK_HOLE) == 4 * tib
assert os.pread(file, page, tib) == b"\0middle" + bytes(page - 7)
assert os.pread(file, page, 2 * tib) == bytes(page)
assert os.pread(file, page, 4 * tib - 3) == b"end"
assert os.pread(file, page, 4 * tib) == b""
END
run cp --sparse=always --reflink=never sparse copy
[ "$(stat -c %b copy)" -le 64 ] || fail "the copy is not sparse"
same "$(tail -c 7 copy)" "the end"
run truncate -s 5 sparse
run truncate -s $((2 * tib)) sparse
same "$(stat -c '%s %b' sparse)" "$((2 * tib)) 0"
rm sparse copy

# times that the file system cannot hold become the nearest that it can
for year in 1600 2300; do
    run touch -d "$year-01-01 UTC" time
    [ -n "${TARGET-}" ] || same "$(TZ=UTC stat -c %y time | cut -c 1-10)" "$([ $year = 1600 ] && echo 1677-09-21 || echo 2262-04-11)"
done
rm time

# Prints the name of the error of a call, or what it gives.
call() {
    python3 - "$@" <<'END'
import ctypes, errno, os, resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
libc = ctypes.CDLL(None, use_errno=True)
file = os.open("file", os.O_RDWR | os.O_CREAT)
def fallocate(mode, off, len):
    if libc.fallocate(file, mode, ctypes.c_long(off), ctypes.c_long(len)) != 0:
        raise OSError(ctypes.get_errno(), "")
try:
    print(eval(sys.argv[1]))
except OSError as error:
    print(errno.errorcode[error.errno])
END
}

if [ -z "${TARGET-}" ]; then
    most=$((16 * tib))
    same "$(call "os.truncate('file', $most)")" None
    same "$(stat -c '%s %b' file)" "$most 0"
    same "$(call "os.pwrite(file, b'xyz', $most - 3)")" 3
    same "$(tail -c 3 file)" xyz
    same "$(call "os.pwrite(file, b'xyz', $most - 2)")" 2
    same "$(call "os.pwrite(file, b'xyz', $most)")" EFBIG
    same "$(call "os.truncate('file', $most + 1)")" EFBIG
    same "$(call "os.truncate('file', 1 << 62)")" EFBIG
    same "$(call "fallocate(0, $most - 4096, 4097)")" EFBIG
    same "$(stat -c %s file)" "$most"
    same "$(tail -c 3 file)" xxy
    rm file

    # full: what fits is written, the rest is refused, and room comes back
    dd if=/dev/zero of=full bs=1M 2>"$work/said" && fail "a pool of 64 MiB takes all of /dev/zero"
    grep -q 'No space left on device' "$work/said" || fail "dd said: $(cat "$work/said")"
    [ "$(stat -c %s full)" -gt 60000000 ] || fail "the pool was full at $(stat -c %s full)"
    [ "$(df --output=avail "$dir" | tail -n 1)" -le 1024 ] || fail "a full pool has room: $(df "$dir")"
    same "$(call "os.pwrite(file, b'x', 0)")" ENOSPC
    same "$(call "fallocate(0, 0, 1 << 30)")" ENOSPC
    mkdir folder && ln -s x folder/link || fail "names need no blocks"
    cmp -n "$(stat -c %s full)" full /dev/zero || fail "what was written is not there"
    truncate -s 1M full
    same "$(call "os.pwrite(file, b'x' * 4096, 0)")" 4096
    same "$(call "fallocate(0, 0, 1 << 25)")" None
fi
cd / || exit 1
run rm -r "$dir/top"
finish
