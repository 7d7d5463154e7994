#!/bin/bash
# SPDX-License-Identifier: MIT
# Work that can be done only in part is reported: a write-back that finds too little room, a write, a read up to
# damaged metadata.
. "$(dirname "$0")/mount.sh" || exit 1
[ -z "${TARGET-}" ] || skip "$TARGET is not ours to fill and to damage"
need python3

partial() {
    python3 "$(dirname "$0")/partial.py" "$@" || fail "partial.py $*"
}

free_pages() {
    stat -f -c %a "$dir"
}

# All but a few pages are taken by "filler".
fill_up() {
    run fallocate -l $((($(free_pages) - $1) * 4096)) "$dir/filler"
    same "$(free_pages)" "$1"
}

pages_of_x() {
    echo $(($("$HOLDFAST" cat "$pool" "$1" | tr -d '\0' | wc -c) / 4096))
}

start 16M

# Pages that were stored into through a mapping. Some of them fit, in one request of the kernel or in many. The
# first call that can says that not all did.
for pages in 128 1000; do
    for ask in msync fsync close; do
        fill_up 50
        maps_shared || break 2
        said=$(partial store "$dir/mapped" $pages $ask)
        same "$said" "$ask ENOSPC"
        [ "$(pages_of_x mapped)" -le 50 ] || fail "more than there was room for"
        rm "$dir/mapped" "$dir/filler"
    done
done

# write(2) says what has come in
fill_up 50
touch "$dir/written"
same "$(partial write "$dir/written" 409600)" "204800 ENOSPC"
same "$(stat -c %s "$dir/written")" 204800
rm "$dir/written" "$dir/filler"

# Pages of which the metadata say something wrong are not zeros. The file has a hole, a page, and two pages with a
# record of their own. Nobody has read these yet, or they would be in the page table.
truncate -s 4096 "$work/hurt"
head -c 4096 /dev/zero | tr '\0' g >>"$work/hurt"
run "$HOLDFAST" put "$pool" "$work/hurt" hurt
run "$HOLDFAST" put "$pool" "$work/hurt" good
for name in hurt good; do
    echo between >"$dir/between-$name"
    head -c 8192 /dev/zero | tr '\0' g >>"$dir/$name"
done
partial hurt "$pool/meta/data.mdb" "$(stat -c %i "$dir/hurt")" 2
same "$(partial read "$dir/good")" "hggg end"
said=$(partial read "$dir/hurt")
case $said in
*h*h* | *end) fail "what cannot be read came as: $said" ;;
esac
unmount
