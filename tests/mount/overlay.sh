#!/bin/bash
# SPDX-License-Identifier: MIT
# The mount as an overlay's upper and work directory: what is changed in the overlay is what the same work on a plain
# copy of the tree gives, also when the overlay has been mounted again; then layers as container engines make them.
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

mkdir "$dir/upper" "$dir/work"
make_tree "$work/lower"
cp -a "$work/lower/." "$work/plain"
on_tmpfs="lowerdir=$work/lower,upperdir=$dir/upper,workdir=$dir/work"
overlay "$on_tmpfs"
alike "at first"
change_tree "$merged"
change_tree "$work/plain"
alike "changed"
run umount "$merged"
[ -c "$dir/upper/removed" ] || fail "a removed directory has left no whiteout"
same "$(stat -c %t:%T "$dir/upper/removed")" 0:0
[ -c "$dir/upper/many/1" ] || fail "a moved file has left no whiteout"
overlay "$on_tmpfs"
alike "mounted again"
run umount "$merged"

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
finish
