#!/bin/bash
# SPDX-License-Identifier: MIT
# cp and snapshot. A copy is the same in all that a name has, shares blocks, and is independent afterwards. A copy
# that fails, or is stopped, leaves nothing.
. "$(dirname "$0")/cli.sh" || exit 1
set -m # background jobs take SIGINT

info() {
    try 0 "$HOLDFAST" info "$pool" --json
    json "it['$1_bytes'] // 4096"
}

source=$work/source
mkdir -p "$source/deep/er" "$source/empty"
head -c 100000 /dev/urandom >"$source/deep/random"
printf 'one\n' >"$source/one"
: >"$source/nothing"
ln "$source/one" "$source/deep/second-name"
ln -s ../one "$source/deep/er/link"
mkfifo "$source/pipe"
truncate -s 3M "$source/holes"
printf 'island' | dd of="$source/holes" bs=1 seek=1048576 conv=notrunc status=none
chmod 4751 "$source/one"
chmod 1777 "$source/empty"
touch -d '2001-02-03 04:05:06.123456789' "$source/one" "$source/deep"
touch -h -d '1999-12-31 23:59:59.5' "$source/deep/er/link"

try 0 "$HOLDFAST" mkpool "$pool" --size 32M
try 0 "$HOLDFAST" put "$pool" "$source" /tree
before=$(info used)

# the same tree, on the same blocks
try 0 "$HOLDFAST" snapshot "$pool" tree kept
same "$err" ""
same "$(info used)" "$before"
same "$(info saved)" "$(info shared)"
try 0 "$HOLDFAST" get "$pool" kept "$work/back"
(cd "$source" && find . -printf '%p %y %m %s %n %T@ %l\n' | sort) >"$work/is"
(cd "$work/back" && find . -printf '%p %y %m %s %n %T@ %l\n' | sort) >"$work/was"
cmp -s "$work/is" "$work/was" || fail "$(diff "$work/is" "$work/was")"
diff -r --no-dereference "$source/deep" "$work/back/deep" || fail "content differs"
cmp "$source/holes" "$work/back/holes" || fail "holes differ"
same "$(stat -c %i "$work/back/one")" "$(stat -c %i "$work/back/deep/second-name")"

# what is written to one is not seen in the other
printf 'new' | "$HOLDFAST" put "$pool" - tree/deep/random
"$HOLDFAST" cat "$pool" kept/deep/random | cmp - "$source/deep/random" || fail "the snapshot changed"

# a snapshot inside of what it is of does not contain itself
try 0 "$HOLDFAST" snapshot "$pool" / kept/all
try 0 "$HOLDFAST" ls "$pool" kept/all/kept
same "$(grep -c '^all$' <<<"$out")" 0
same "$(grep -c '^deep$' <<<"$out")" 1
try 0 "$HOLDFAST" rm -r "$pool" kept/all

# what cannot be is refused, and leaves nothing
try 73 "$HOLDFAST" snapshot "$pool" tree kept
says kept
try 66 "$HOLDFAST" snapshot "$pool" tree/one new
says "not a directory"
try 66 "$HOLDFAST" snapshot "$pool" nowhere new
try 66 "$HOLDFAST" snapshot "$pool" tree nowhere/new
try 64 "$HOLDFAST" cp "$pool" tree/one other --reflink sometimes
says "always or never"
hold writer "$pool" tree/holes 1048576 100 write
try 75 "$HOLDFAST" snapshot "$pool" tree new --policy nowait
says "new was not made"
try 0 "$HOLDFAST" ls "$pool"
same "$out" "kept
tree"

# it waits for what may write, until a signal comes
"$HOLDFAST" snapshot "$pool" tree new 2>"$work/err" &
snapper=$!
for i in $(seq 12000); do
    try 0 "$HOLDFAST" pins "$pool" --waiting --json
    [ "$(json 'len(it)')" = 1 ] && break
    sleep 0.05
done
kill -INT "$snapper"
wait "$snapper"
same $? 130
err=$(cat "$work/err")
says "interrupted: new was not made"
try 0 "$HOLDFAST" ls "$pool"
same "$out" "kept
tree"
let_go writer

# cp: one file, into a directory, over another, of a directory
before=$(info used)
try 0 "$HOLDFAST" cp "$pool" kept/deep/random copy
same "$(info used)" "$before"
try 0 "$HOLDFAST" cp "$pool" kept/deep/random copy --reflink=never
same "$(info used)" $((before + 25))
try 0 "$HOLDFAST" cp "$pool" kept/deep/random kept/holes tree/empty --reflink=always
try 0 "$HOLDFAST" ls "$pool" tree/empty
same "$out" "holes
random"
"$HOLDFAST" cat "$pool" copy | cmp - "$source/deep/random" || fail "the copy differs"
try 0 "$HOLDFAST" stat "$pool" tree/empty/holes --json
same "$(json "it[0]['size'], it[0]['allocated_bytes']")" "(3145728, 4096)"
try 66 "$HOLDFAST" cp "$pool" kept other
try 0 "$HOLDFAST" cp "$pool" kept other -r
try 0 "$HOLDFAST" ls "$pool" other
same "$(wc -l <<<"$out")" 6
try 64 "$HOLDFAST" cp "$pool" copy copy
try 64 "$HOLDFAST" cp "$pool" copy kept/one nowhere

# attributes that only the pool knows
touch "$work/acl"
if setfattr -n user.colour -v blue "$work/acl" 2>/dev/null; then
    try 0 "$HOLDFAST" put "$pool" "$work/acl" /acl
    try 0 "$HOLDFAST" cp "$pool" acl acl2
    try 0 "$HOLDFAST" stat "$pool" acl2
    case $out in *user.colour*) ;; *) fail "no attribute: $out" ;; esac
fi

# an engine that cannot share
try 0 "$HOLDFAST" mkpool "$work/other" --size 8M --engine srcu
try 0 "$HOLDFAST" put "$work/other" "$source/deep" /
try 0 "$HOLDFAST" cp "$work/other" deep/random copy
"$HOLDFAST" cat "$work/other" copy | cmp - "$source/deep/random" || fail "the copy differs"
try 69 "$HOLDFAST" cp "$work/other" deep/random copy --reflink=always
try 69 "$HOLDFAST" snapshot "$work/other" deep new
says "new was not made"
try 0 "$HOLDFAST" ls "$work/other"
same "$out" "copy
deep"
