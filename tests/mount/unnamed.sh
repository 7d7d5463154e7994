#!/bin/bash
# SPDX-License-Identifier: MIT
# O_TMPFILE: a file without a name that gets one, and one whose program is killed, of which nothing is left. And the time
# of birth, which stays.
. "$(dirname "$0")/mount.sh" || exit 1
need python3
start 16M
mkdir "$dir/sub"
python3 - "$dir/sub" <<'END' || skip "this kernel has no O_TMPFILE for FUSE"
import errno, os, sys
try:
    os.close(os.open(sys.argv[1], os.O_TMPFILE | os.O_RDWR, 0o600))
except OSError as error:
    sys.exit(error.errno == errno.EOPNOTSUPP)
END
python3 - "$dir/sub" <<'END' || fail "files without a name are not as on other file systems"
import errno, os, sys
os.chdir(sys.argv[1])
here = os.open(".", os.O_RDONLY)
def link(fd, name):
    os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=here) # only so it is linkat(2) that follows
fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o640)
os.write(fd, b"whole")
assert os.fstat(fd).st_nlink == 0 and os.listdir(".") == []
link(fd, "named")
link(fd, "again")
assert os.fstat(fd).st_nlink == 2 and open("named").read() == "whole"
os.close(fd)
assert sorted(os.listdir(".")) == ["again", "named"] and open("again").read() == "whole"
fd = os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_EXCL, 0o640)
try:
    link(fd, "never")
    raise SystemExit("O_EXCL is not obeyed")
except OSError as error:
    assert error.errno == errno.ENOENT, error
END
sleep 600 3<>"$dir/sub/named" & # so that the next one is not the only open file
holder=$!
python3 -c 'import os, sys, time
fd = os.open(sys.argv[1], os.O_TMPFILE | os.O_RDWR, 0o600)
os.write(fd, b"x" * 4000000)
print("there", flush=True)
time.sleep(600)' "$dir/sub" >"$work/there" &
program=$!
await grep -q there "$work/there"
[ "$("$HOLDFAST" info "$pool" --json | grep -Eo '"inodes": *[0-9]+' | tr -dc 0-9)" = 4 ] || fail "the file is not there"
kill -KILL $program $holder
wait $program $holder 2>/dev/null
is_gone() {
    "$HOLDFAST" info "$pool" --json | grep -Eq '"inodes": *3\b'
}
await is_gone
same "$(ls "$dir/sub")" again$'\n'named

birth=$(stat -c %W "$dir/sub/named")
if [ "$birth" != 0 ]; then
    touch -d @1000000000 "$dir/sub/named"
    same "$(stat -c '%W %Y' "$dir/sub/named")" "$birth 1000000000"
    [ "$(stat -c %W "$dir/sub")" -le "$birth" ] || fail "the folder is younger than what is in it"
    rm "$dir/sub/again"
fi
finish
