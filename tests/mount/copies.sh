#!/bin/bash
# SPDX-License-Identifier: MIT
# A tree of all that a file system can hold goes in, about and out again by cp, tar and rsync. It has names,
# contents, holes, modes, owners and times to the nanosecond. It also has hard and symbolic links, attributes, ACLs
# and special files.
. "$(dirname "$0")/mount.sh" || exit 1
need git rsync setfacl getfacl setfattr getfattr

# Whatever is the same in two equal trees, as text.
describe() {
    (
        cd "$1" || exit 1
        find . -type d -printf '%P %y %m %U:%G %T@\n' , \
            ! -type d -printf '%P %y %m %U:%G %T@ %n %s %l\n' | sort
        find . -type f -print0 | sort -z | xargs -0 sha256sum
        find . -type f -links +1 -printf '%i %P\n' | sort -k 2 |
            awk '{ if (!($1 in first)) first[$1] = $2; print $2, "is", first[$1] }'
        find . ! -type l -print0 | sort -z | xargs -0 getfacl -n --
        find . -print0 | sort -z | xargs -0 getfattr -h -d -m '^(user|trusted)\.' --
    ) || fail "cannot look at $1"
}

same_tree() {
    [ -s "$work/first" ] || describe "$1" >"$work/first"
    describe "$2" >"$work/second"
    diff "$work/first" "$work/second" >"$work/differs" ||
        fail "$2 is not what $1 was: $(head -n 20 "$work/differs")"
}

# Far fewer blocks than its 20 MiB.
stays_sparse() {
    [ "$(stat -c %b "$1")" -le 1024 ] || fail "$1 is not sparse any more"
}

source=$work/source
mkdir "$source" "$source/empty" "$source/deep"
cp -a "$SOURCE_ROOT/src" "$source"
[ "$size" = short ] || cp -a "$SOURCE_ROOT/.git" /usr/include "$source"
head -c 3333333 /dev/urandom >"$source/bytes"
: >"$source/nothing"
truncate -s 20M "$source/sparse"
for at in 0 5000000 20000000; do
    printf 'data' | dd of="$source/sparse" bs=1 seek=$at conv=notrunc status=none
done
(cd "$source/deep" && for i in $(seq 60); do mkdir "level $i" && cd "level $i" && echo "$i" >file; done)
printf 'x' >"$source/$(printf 'n%.0s' $(seq 255))"
printf 'x' >"$source/"$' a\nb\tc\\d*?é '
ln "$source/bytes" "$source/deep/the same bytes"
ln "$source/bytes" "$source/deep/once more"
ln -s ../bytes "$source/deep/link"
ln -s /nowhere/at/all "$source/dangling"
ln -s "$(printf 'l%.0s' $(seq 4000))" "$source/long"
mkfifo -m 0620 "$source/fifo"
mknod -m 0666 "$source/null" c 1 3
mknod -m 0600 "$source/disk" b 7 99
python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' "$source/socket"
cp /bin/true "$source/suid"
chown 1234:4321 "$source/suid" "$source/empty" "$source/fifo"
chown -h 77:88 "$source/dangling"
chmod 6751 "$source/suid"
chmod 3773 "$source/empty"
chmod 0 "$source/nothing"
touch -d '1969-12-31 23:59:58.123456789 UTC' "$source/bytes"
touch -h -d '2038-01-19 03:14:08.987654321 UTC' "$source/dangling"
setfattr -n trusted.holdfast -v 'a value' "$source/suid" "$source/deep"
setfattr -n trusted.long -v "$(printf 'v%.0s' $(seq 4000))" "$source/bytes"
setfacl -m u:1234:rw,g:4321:r,m::rw "$source/bytes"
setfacl -d -m u:1234:rwx,g::r "$source/deep"
touch -d '2001-02-03 04:05:06.000000007 UTC' "$source/deep" "$source/empty"

start "$(pick 256M 4G)"
mkdir "$dir/top"
crowd top --still top/in
cd "$dir/top" || exit 1

run cp -a "$source" in
same_tree "$source" in
stays_sparse in/sparse
diff -r --no-dereference -x fifo -x null -x disk -x socket "$source" in || fail "diff -r found something"
run cp -a in about
same_tree "$source" about
run cp -a about "$work/out"
same_tree "$source" "$work/out"
stays_sparse "$work/out/sparse"
rm -rf about "$work/out"

tar=(tar --sparse --acls --xattrs '--xattrs-include=*' --format=posix)
run "${tar[@]}" --exclude=./socket -C in -cf all.tar .
run "${tar[@]}" -C in -df all.tar
mkdir untarred "$work/untarred"
run "${tar[@]}" -C untarred -xpf all.tar
run "${tar[@]}" -C "$work/untarred" -xpf all.tar
rm "$source/socket" # tar leaves sockets out
rm in/socket
touch -r untarred "$source" in
rm "$work/first"
same_tree "$source" untarred
stays_sparse untarred/sparse
same_tree "$source" "$work/untarred"
rm -rf untarred all.tar "$work/untarred"

# the second time there is nothing left to do
for target in synced "$work/synced"; do
    run rsync -aHAX --sparse --checksum in/ "$target/"
    same_tree "$source" "$target"
    same "$(rsync -aHAX --checksum --itemize-changes in/ "$target/")" ""
done
stays_sparse synced/sparse
printf 'changed' | dd of="$work/synced/bytes" bs=1 seek=1000000 conv=notrunc status=none
rm -rf "$work/synced/src"
touch -d '2002-03-04 05:06:07 UTC' "$work/synced" # rsync takes times of the same second for equal
run rsync -aHAX --checksum --delete --inplace "$work/synced/" synced/
rm "$work/first"
same_tree "$work/synced" synced

# a copy by cp takes no blocks, as long as neither is written
saved_bytes() {
    "$HOLDFAST" info "$pool" --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["saved_bytes"])'
}

if [ -z "${TARGET-}" ]; then
    crowd_ends
    head -c 3333333 /dev/urandom >bytes
    sync -f .
    before=$(saved_bytes)
    run cp bytes again
    run cmp bytes again
    same $(($(saved_bytes) - before)) $(((3333333 + 4095) / 4096 * 4096))
    printf 'changed' | dd of=again bs=1 seek=1000000 conv=notrunc status=none
    sync -f .
    same $(($(saved_bytes) - before)) $(((3333333 + 4095) / 4096 * 4096 - 4096))
    cmp -s bytes again && fail "what was written to the copy is not there"
    same "$(cmp -l bytes again | wc -l)" "$(printf 'changed' | cmp -l - <(tail -c +1000001 bytes | head -c 7) | wc -l)"
fi

cd / || exit 1
run rm -rf "$dir/top"
[ ! -e "$dir/top" ] || fail "rm -rf left something"
finish
