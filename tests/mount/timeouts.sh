#!/bin/bash
# SPDX-License-Identifier: MIT
# entry_timeout and attr_timeout: the kernel goes on using the names and attributes that it has asked for, also when the
# library has changed them since. What this mount changes is seen at once, and so are new names and what has gone.
. "$(dirname "$0")/mount.sh" || exit 1
[ -z "${TARGET-}" ] || skip "this is about options of the mount"

options=allow_other,dev,suid,entry_timeout=86400,attr_timeout=3600.5
start 64M

# --- what others change may be seen late. An open file keeps the kernel from forgetting its name and attributes
echo content >"$dir/file"
exec {held}<"$dir/file"
same "$(stat -c %s "$dir/file")" 8
run "$HOLDFAST" mv "$pool" file moved
same "$(cat "$dir/file")" content # by the old name, which the library has taken away
same "$(cat "$dir/moved")" content
run "$HOLDFAST" truncate "$pool" moved --size 0
is_empty() {
    [ "$(stat -c %s "$dir/moved")" = 0 ]
}
if [ "$cache" = none ]; then
    same "$(stat -c %s "$dir/moved")" 8
    chmod 600 "$dir/moved" # the answer has all attributes
    same "$(stat -c %s "$dir/moved")" 0
else
    await is_empty # a change of content that the kernel is told of
fi

# --- a new name of others is there at once, since the kernel never keeps that a name is missing
[ ! -e "$dir/new" ] || fail "what nobody has made is there"
run "$HOLDFAST" mkdir "$pool" new
[ -d "$dir/new" ] || fail "a new name is not seen"

# --- what others have removed cannot be opened
exec {held}<&-
run "$HOLDFAST" rm "$pool" moved
! cat "$dir/moved" 2>/dev/null || fail "a file that has gone was opened by its name"
! cat "$dir/file" 2>/dev/null || fail "a file that has gone was opened by its old name"

# --- what programs of this mount change is seen at once by all of them
"$CALLS" "$dir" || fail "with these options some calls are not as on other file systems"
finish
