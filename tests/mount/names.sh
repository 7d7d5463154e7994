#!/bin/bash
# SPDX-License-Identifier: MIT
# Very many entries in one folder, very deep folders, the longest names; in the long size a pool of a
# million files.
. "$(dirname "$0")/mount.sh" || exit 1

start "$(pick 256M 8G)"
mkdir "$dir/top"
crowd top
cd "$dir/top" || exit 1

# one folder: made, counted, found again, half of it removed while it is read
count=$(pick 20000 100000)
mkdir wide
(cd wide && seq -f 'entry-%.0f' "$count" | xargs -n 2000 touch) || fail "not all entries could be made"
same "$(ls -f wide | wc -l)" $((count + 2))
same "$(ls wide | sort -u | wc -l)" "$count"
same "$(find wide -type f -empty | wc -l)" "$count"
same "$(stat -c %n "wide/entry-$count" wide/entry-1)" "wide/entry-$count"$'\n'"wide/entry-1"
same "$(stat -c %s%F wide | tr -d 0-9)" directory
find wide -name '*[13579]' -delete || fail "find -delete failed"
same "$(ls -f wide | wc -l)" $((count / 2 + 2))
same "$(ls wide | grep -c '[13579]$')" 0
run rm -r wide

# deep: further down than a path can name from the top
depth=$(pick 600 5000)
python3 - "$depth" <<'END' || fail "no deep folders"
import os, sys
depth = int(sys.argv[1])
for i in range(depth):
    os.mkdir("folder-%d" % i)
    os.chdir("folder-%d" % i)
open("bottom", "w").write("here")
for i in range(depth):
    os.chdir("..")
assert os.path.exists("folder-0")
END
same "$(find folder-0 -type d | wc -l)" "$depth"
same "$(find folder-0 -name bottom -execdir cat {} \;)" here
[ "$(find folder-0 -name bottom | wc -c)" -gt 4096 ] || fail "that was not deep"
run mv folder-0 renamed
run rm -r renamed

# names of 255 bytes, of every byte but two, and one byte too long
name=$(printf 'é%.0s' $(seq 127))n
same "$(printf %s "$name" | wc -c)" 255
mkdir "$name"
echo content >"$name/$name"
ln -s "$name" link
same "$(cat "link/$name")" content
run mv "$name/$name" "$name/${name%n}m"
same "$(ls "$name")" "${name%n}m"
for command in touch mkdir 'ln -s x' 'mv link'; do
    $command "${name}2" 2>"$work/said" && fail "$command took a name of 256 bytes"
    grep -q 'name too long' "$work/said" || fail "$command said: $(cat "$work/said")"
done
python3 - <<'END' || fail "not every byte can be in a name"
import os
names = {bytes([byte]) * 3 for byte in range(1, 256) if byte != ord("/")}
os.mkdir("bytes")
for name in names:
    os.close(os.open(b"bytes/" + name, os.O_CREAT | os.O_EXCL))
assert set(os.listdir(b"bytes")) == names
END
cd / || exit 1
run rm -r "$dir/top"

if [ "$size" = long ]; then
    begin=$SECONDS
    mkdir "$dir/top"
    for folder in $(seq 1000); do
        mkdir "$dir/top/$folder"
        (cd "$dir/top/$folder" && seq 1000 | xargs touch) || fail "not all files could be made"
    done
    echo "a million files made: $((SECONDS - begin)) s"
    begin=$SECONDS
    same "$(find "$dir/top" -type f -size 0 | wc -l)" 1000000
    echo "found and looked at: $((SECONDS - begin)) s"
    begin=$SECONDS
    run rm -r "$dir/top"
    echo "removed: $((SECONDS - begin)) s"
fi
finish
