#!/bin/bash
# SPDX-License-Identifier: MIT
# Those stressors of stress-ng that are about files and folders: all at once, or for long each alone and all.
. "$(dirname "$0")/mount.sh" || exit 1
need stress-ng

stressors=(access chdir chmod chown copy-file dentry dir dirdeep dirmany dup fallocate fcntl file-ioctl
    filename flock fpunch fsize fstat getdent handle hdd inotify io-uring iomix lease link locka lockf
    lockofd mknod open readahead rename revio seek sendfile splice symlink sync-file touch utime xattr)
maps_shared && stressors+=(msync)
bounds=(--copy-file-bytes 128M --dentries 200 --dir-dirs 200 --dirdeep-inodes 400 --dirmany-bytes 4K
    --fallocate-bytes 8M --hdd-bytes 4M --iomix-bytes 4M --open-max 500 --readahead-bytes 4M
    --revio-bytes 4M --seek-size 4M --sync-file-bytes 4M)

stress() {
    local seconds=$1 stressor options=()

    shift
    for stressor; do
        options+=("--$stressor" 1)
    done
    run stress-ng "${options[@]}" "${bounds[@]}" --timeout "${seconds}s" --verify --temp-path .
    grep -a 'fail:' "$work/said" && fail "stress-ng found something"
    same "$(ls -A)" ""
}

start "$(pick 512M 2G)"
mkdir "$dir/top"
cd "$dir/top" || exit 1 # some look for their files from where they are
crowd top
if [ "$size" = long ]; then
    for stressor in "${stressors[@]}"; do
        echo "$stressor"
        stress 10 "$stressor"
    done
fi
stress "$(pick 3 60)" "${stressors[@]}"
cd / || exit 1
finish
