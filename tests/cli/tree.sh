#!/bin/bash
# SPDX-License-Identifier: MIT
# A tree goes in and comes out the same: bytes, modes, times, links, holes, odd names.
. "$(dirname "$0")/cli.sh" || exit 1

source=$work/source
mkdir -p "$source/deep/er/still" "$source/empty" "$source/closed"
printf 'one\n' >"$source/one"
head -c 100000 /dev/urandom >"$source/deep/random"
: >"$source/deep/er/nothing"
ln "$source/one" "$source/deep/second-name"
ln -s ../one "$source/deep/er/link"
ln -s /nowhere/at/all "$source/dangling"
mkfifo "$source/pipe"
printf 'x' >"$source/"$'new\nline \033[31m "quote" \xff'
truncate -s 3M "$source/holes"
printf 'island' | dd of="$source/holes" bs=1 seek=1048576 conv=notrunc status=none
truncate -s 200M "$source/all-hole"
printf 'ro' >"$source/closed/read-only"
chmod 0400 "$source/closed/read-only"
chmod 0551 "$source/closed"
chmod 4751 "$source/one"
touch -d '2001-02-03 04:05:06.123456789' "$source/one" "$source/deep"
touch -h -d '1999-12-31 23:59:59.5' "$source/dangling"
setfattr -n user.colour -v blue "$source/deep/random" 2>/dev/null
has_xattr=$?

# What there is to compare of a tree: everything but the change time.
describe() {
    (cd "$1" && find . -printf '%p %y %m %U %G %s %n %T@ %l\n' | sort -z | sort &&
        find . -type f -print0 | sort -z | xargs -0 sha256sum)
}
chmod_back() {
    chmod -R u+w "$source/closed" "$work"/back*/closed 2>/dev/null
}
trap 'chmod_back; clean_up' EXIT

try 0 "$HOLDFAST" mkpool "$pool" --size 64M
try 0 "$HOLDFAST" put "$pool" "$source/." /
try 0 "$HOLDFAST" get "$pool" / "$work/back"
describe "$source" >"$work/before"
describe "$work/back" >"$work/after"
# the size of a directory is the host's affair
sed -i -E 's/^(.* d [0-7]+ [0-9]+ [0-9]+) [0-9]+ [0-9]+/\1/' "$work/before" "$work/after"
diff "$work/before" "$work/after" || fail "the tree came back changed"

same "$(stat -c %i "$work/back/one")" "$(stat -c %i "$work/back/deep/second-name")"
[ "$(stat -c %b "$work/back/holes")" -lt 64 ] || fail "the holes were filled on the way out"
try 0 "$HOLDFAST" stat "$pool" all-hole --json
same "$(json 'it[0]["size"]')" 209715200
same "$(json 'it[0]["allocated_bytes"]')" 0
if [ "$has_xattr" = 0 ]; then
    same "$(getfattr --only-values -n user.colour "$work/back/deep/random")" blue
fi

# again, over what is there; into a directory; one file under another name
try 0 "$HOLDFAST" put "$pool" "$source/." /
try 0 "$HOLDFAST" put "$pool" "$source"
try 0 "$HOLDFAST" stat "$pool" source/deep/random
try 0 "$HOLDFAST" put "$pool" "$source/one" "$source/deep/random" empty
try 0 "$HOLDFAST" ls "$pool" empty
same "$out" $'one\nrandom'
try 0 "$HOLDFAST" get "$pool" deep/random "$work/renamed"
cmp "$work/renamed" "$source/deep/random" || fail "one file came out changed"
mkdir "$work/into"
try 0 "$HOLDFAST" get "$pool" one deep/random "$work/into"
cmp "$work/into/random" "$source/deep/random" || fail "a file in a directory came out changed"

# nothing of the work under way is left, and all that can fail says what
try 0 "$HOLDFAST" ls -R "$pool"
case $out in
*.holdfast-*) fail "a name under way is left" ;;
esac
try 66 "$HOLDFAST" put "$pool" "$work/missing" x
says "missing: No such file"
try 66 "$HOLDFAST" get "$pool" missing "$work"
try 64 "$HOLDFAST" put "$pool" "$source/one" "$source/holes" not-there
try 64 "$HOLDFAST" get "$pool" one deep/random "$work/not-there"
try 0 "$HOLDFAST" fsck "$pool"
