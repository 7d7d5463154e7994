#!/bin/bash
# SPDX-License-Identifier: MIT
# fio writes blocks with checksums in every way there is, and reads them back.
. "$(dirname "$0")/mount.sh" || exit 1
need fio

asynchronous=yes
start "$(pick 192M 4G)"
dedup_follows
mkdir "$dir/top"
crowd top

# Says so and goes on where this machine or this mount does not have it.
can() {
    case $1 in
    mmap)
        maps_shared || echo "no shared mappings here: no mmap"
        maps_shared
        ;;
    io_uring)
        fio --name=x --filename="$work/probe" --size=4k --rw=read --ioengine=io_uring >/dev/null 2>&1 ||
            { echo "no io_uring here"; false; }
        ;;
    esac
}

try_fio() {
    run fio --name=x --directory="$dir/top" --size="$(pick 4M 512M)" --randrepeat=0 \
        --verify=crc32c --verify_fatal=1 --do_verify=1 --verify_state_save=0 --fallocate=none "$@"
    rm -f "$dir"/top/x.*
}

for engine in psync libaio io_uring mmap; do
    can $engine || continue
    for direct in 0 1; do
        [ $engine$direct != mmap1 ] || continue
        echo "fio $engine direct=$direct"
        common=(--ioengine=$engine --direct=$direct)
        [ $engine = psync ] || [ $engine = mmap ] || common+=(--iodepth=16)
        try_fio "${common[@]}" --rw=randrw --bs=4k --numjobs=2
        try_fio "${common[@]}" --rw=randwrite --bsrange=4k-256k --bs_unaligned=$((1 - direct))
        try_fio "${common[@]}" --rw=write --bs=1M --fsync=4
    done
done
try_fio --ioengine=psync --rw=randwrite --bs=4k --fallocate=native --overwrite=0
finish
