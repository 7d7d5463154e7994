#!/bin/bash
# SPDX-License-Identifier: MIT
# mkdir, mv, rm, ls, stat: names and what happens to them.
. "$(dirname "$0")/cli.sh" || exit 1

listed() {
    try 0 "$HOLDFAST" ls "$@"
}

try 0 "$HOLDFAST" mkpool "$pool" --size 16M
try 66 "$HOLDFAST" mkdir "$pool" a/b/c
try 0 "$HOLDFAST" mkdir "$pool" -p a/b/c
try 0 "$HOLDFAST" mkdir "$pool" -p a/b/c/
try 73 "$HOLDFAST" mkdir "$pool" a
try 0 "$HOLDFAST" mkdir "$pool" -m 0700 private
try 0 "$HOLDFAST" stat "$pool" private --json
same "$(json 'it[0]["permissions"]')" 448
for name in x y z; do
    printf '%s' "$name" | "$HOLDFAST" put "$pool" - "$name" || fail "put $name"
done

try 0 "$HOLDFAST" mv "$pool" x a/b
try 0 "$HOLDFAST" mv "$pool" y z
same "$("$HOLDFAST" cat "$pool" z)" y
try 66 "$HOLDFAST" mv "$pool" y w
printf 'second' | "$HOLDFAST" put "$pool" - second
try 0 "$HOLDFAST" mv "$pool" -x z second
same "$("$HOLDFAST" cat "$pool" z)" second
try 73 "$HOLDFAST" mv "$pool" -n z second
try 0 "$HOLDFAST" mv "$pool" z second private
listed "$pool" private
same "$out" $'second\nz'
try 64 "$HOLDFAST" mv "$pool" private/z private/second a/b/x

listed "$pool" -p
same "$out" $'a/\nprivate/'
listed -R "$pool" a
same "$out" $'b\nb/c\nb/x'
listed "$pool" a/b/x
same "$out" a/b/x
try 66 "$HOLDFAST" ls "$pool" nothing
says "nothing"

# a terminal sees escapes, a pipe the bytes
printf 1 | "$HOLDFAST" put "$pool" - $'odd\n\033[2Jname'
listed "$pool"
same "$(head -c 3 <<<"${out#*$'\n'}")" odd
if command -v script >/dev/null; then
    script -qec "$HOLDFAST ls $pool" /dev/null </dev/null >"$work/screen"
    grep -q 'odd\\n\\033\[2Jname' "$work/screen" || fail "control bytes reached the terminal"
fi

try 66 "$HOLDFAST" rm "$pool" a
says "is a directory"
try 66 "$HOLDFAST" rm "$pool" nothing
try 0 "$HOLDFAST" rm "$pool" -f nothing
try 0 "$HOLDFAST" rm "$pool" -r a $'odd\n\033[2Jname'
listed "$pool"
same "$out" private
try 0 "$HOLDFAST" rm -r "$pool" /
listed "$pool"
same "$out" ""
try 0 "$HOLDFAST" df "$pool" --json
same "$(json 'it[0]["used_bytes"]')" 0
