#!/bin/bash
# SPDX-License-Identifier: MIT
# The mount as an overlay's upper and work directory. Work in the overlay gives the same as on a plain copy of the
# tree, also when the overlay has been mounted again. Then layers as container engines make them, for root and for a
# user.
. "$(dirname "$0")/mount.sh" || exit 1
need setfattr
merged=$work/merged
mkdir "$merged" "$work/lower" "$work/plain"
trap 'umount -l "$merged" 2>/dev/null; clean_up' EXIT
grep -qw overlay /proc/filesystems || modprobe overlay 2>/dev/null || skip "this kernel has no overlay"
options=suid,dev
start "$(pick 64M 512M)" --max-files 4096

overlay() {
    run mount -t overlay overlay -o "$1" "$merged"
}

# --- trees that look alike: types, modes, owners, links, content
list() {
    (cd "$1" && find . -printf '%p %y %m %U:%G %l %s\n' | awk '$2 == "d" {$NF = ""} {print}' | sort)
}

alike() {
    diff <(list "$work/plain") <(list "$merged") >&2 || fail "$1: the overlay has other entries than the plain copy"
    run diff -r --no-dereference -x device -x fifo "$work/plain" "$merged"
}

make_tree() {
    local i

    mkdir -p "$1/removed/deep" "$1/moved/deep" "$1/again" "$1/many"
    for i in $(seq "$(pick 40 1000)"); do
        echo "content $i" >"$1/many/$i"
    done
    for i in file removed/file removed/deep/file moved/file moved/deep/file again/old one two mode owner; do
        echo "$i" >"$1/$i"
    done
    ln -s file "$1/symlink"
    ln "$1/one" "$1/linked"
}

change_tree() {
    (
        cd "$1" || exit 1
        echo more >>file
        rm -r removed
        cp -a moved copied && rm -r moved # an overlay without redirect_dir refuses to move it
        rm -r again && mkdir again && echo new >again/new # hides what is below
        mv one three && mv two one
        rm symlink && ln -s three symlink
        chmod 4755 mode && chown 1:2 owner
        for ((i = 1; i <= $(pick 40 1000); i += 2)); do
            mv "many/$i" "many/moved-$i"
        done
        mknod device c 1 3
        mkfifo fifo
    ) || fail "$1 cannot be changed"
}

# O_TMPFILE: a file without a name that gets one.
make_unnamed() {
    need python3
    python3 - "$1" <<'END'
import os, sys
here = os.open(sys.argv[1], os.O_RDONLY)
fd = os.open(sys.argv[1], os.O_TMPFILE | os.O_RDWR, 0o640)
os.write(fd, b"had no name\n")
os.link(f"/proc/self/fd/{fd}", "named", dst_dir_fd=here) # only so it is linkat(2) that follows
END
}

make_tree "$work/lower"
for more in userxattr index=off; do # the words of the first are in user.overlay.*, which a user may set
    rm -rf "$dir/upper" "$dir/work" "$work/plain"
    mkdir "$dir/upper" "$dir/work" "$work/plain"
    cp -a "$work/lower/." "$work/plain"
    on_tmpfs="lowerdir=$work/lower,upperdir=$dir/upper,workdir=$dir/work,$more"
    overlay "$on_tmpfs"
    alike "$more: at first"
    change_tree "$merged"
    change_tree "$work/plain"
    alike "$more: changed"
    if make_unnamed "$dir" 2>/dev/null; then # this kernel has O_TMPFILE for FUSE
        rm "$dir/named"
        make_unnamed "$merged" || fail "$more: no O_TMPFILE in the overlay"
        make_unnamed "$work/plain" || fail "no O_TMPFILE in memory"
        alike "$more: a file that had no name"
    fi
    run umount "$merged"
    [ -c "$dir/upper/removed" ] || fail "a removed directory has left no whiteout"
    same "$(stat -c %t:%T "$dir/upper/removed")" 0:0
    [ -c "$dir/upper/many/1" ] || fail "a moved file has left no whiteout"
    overlay "$on_tmpfs"
    alike "$more: mounted again"
    run umount "$merged"
done

# --- as container engines do: layers that were unpacked with whiteouts and opaque directories, and a container above
mkdir -p "$dir/layers/base" "$dir/layers/next" "$dir/container/diff" "$dir/container/work"
make_tree "$dir/layers/base"
mkdir "$dir/layers/next/again"
setfattr -n trusted.overlay.opaque -v y "$dir/layers/next/again" || fail "no opaque directory"
echo next >"$dir/layers/next/again/next"
mknod "$dir/layers/next/file" c 0 0
rm -r "$work/plain" && mkdir "$work/plain" && make_tree "$work/plain"
rm "$work/plain/file" "$work/plain/again/old"
echo next >"$work/plain/again/next"
for more in index=off index=off,metacopy=on,redirect_dir=on volatile; do
    rm -rf "$dir/container" && mkdir -p "$dir/container/diff" "$dir/container/work"
    overlay "lowerdir=$dir/layers/next:$dir/layers/base,upperdir=$dir/container/diff,workdir=$dir/container/work,$more"
    alike "layers with $more"
    (cd "$merged" && mv many renamed 2>"$work/said") || grep -q "cross-device" "$work/said" || fail "$(cat "$work/said")"
    [ ! -e "$merged/renamed" ] || run mv "$merged/renamed" "$merged/many"
    chmod 600 "$merged/many/2" && mv "$merged/many/2" "$merged/kept" && rm "$merged/two" || fail "no work with $more"
    same "$(cat "$merged/kept") $(stat -c %a "$merged/kept")" "content 2 600"
    [ ! -e "$merged/two" ] || fail "a removed file is there"
    run umount "$merged"
done

# --- for a user in a namespace of his own, with a mount of his own
his_overlay() {
    mkdir "$work/his" "$work/his/dir"
    run "$HOLDFAST" mkpool "$work/his/pool" --size 16M
    run "$HOLDFAST" mount "$work/his/pool" "$work/his/dir" -o "cache=$cache"
    mkdir "$work/his/dir/upper" "$work/his/dir/work"
    overlay "lowerdir=$work/lower,upperdir=$work/his/dir/upper,workdir=$work/his/dir/work,userxattr"
    echo more >>"$merged/file" && rm -r "$merged/removed" && mv "$merged/many/1" "$merged/again/1" ||
        fail "no work in a user's overlay"
    run umount "$merged"
    overlay "lowerdir=$work/lower,upperdir=$work/his/dir/upper,workdir=$work/his/dir/work,userxattr"
    same "$(tail -n 1 "$merged/file") $(cat "$merged/again/1")" "more content 1"
    [ ! -e "$merged/removed" ] && [ ! -e "$merged/many/1" ] || fail "a removed file is there"
    run umount "$merged"
    run umount "$work/his/dir"
}
if unshare -Urm true 2>/dev/null; then
    export -f his_overlay overlay run fail same
    export work merged cache HOLDFAST
    unshare -Urm bash -uc his_overlay || fail "a user's overlay"
fi
finish
