#!/bin/bash
# SPDX-License-Identifier: MIT
# File handles stay good when the kernel has no inode of them any more, here because of another mount. Numbers of
# inodes are never used again, so an NFS server may export a mount.
. "$(dirname "$0")/mount.sh" || exit 1
need python3
handles() {
    python3 "$(dirname "$0")/handles.py" "$@" 2>&1
}

start 16M
mkdir -p "$dir/one/two"
echo content >"$dir/one/two/file"
echo gone >"$dir/gone"
ln -s nowhere "$dir/one/symlink"
mkfifo "$dir/one/fifo"
root=$(handles get "$dir" .)
folder=$(handles get "$dir/one" two)
file=$(handles get "$dir/one/two" file)
link=$(handles get "$dir/one" symlink)
fifo=$(handles get "$dir/one" fifo)
gone=$(handles get "$dir" gone)
number=$(stat -c %i "$dir/one/two/file")
unmount
mount_pool
rm "$dir/gone"
for ((i = 0; i < 100; i++)); do
    echo other >"$dir/other-$i"
done
unmount
mount_pool
same "$(handles open "$dir" "$file")" "$number content"
same "$(handles open "$dir" "$folder")" "$(stat -c %i "$dir/one/two") two" # found through its ..
same "$(handles open "$dir" "$link" | cut -d ' ' -f 1)" "$(stat -c %i "$dir/one/symlink")"
same "$(handles open "$dir" "$fifo" | cut -d ' ' -f 1)" "$(stat -c %i "$dir/one/fifo")"
same "$(handles open "$dir" "$root" | cut -d ' ' -f 1)" 1
same "$(handles open "$dir" "$gone")" ESTALE
finish
