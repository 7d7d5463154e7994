#!/bin/bash
# SPDX-License-Identifier: MIT
# What users may do through a mount: other users, with allow_other and without, and the process that serves. Then
# what an owner other than root can make of root's mounting the pool. With TARGET=DIR only what any file system does
# is tried.
. "$(dirname "$0")/mount.sh" || exit 1
need setpriv setfacl getfacl setfattr getfattr

nobody() {
    setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all "$@"
}

daemon() {
    setpriv --reuid 1 --regid 1 --groups 1,100 --inh-caps=-all "$@"
}

# USER TEXT COMMAND ...: it fails with that text.
denied() {
    local user=$1 text=$2

    shift 2
    "$user" "$@" >"$work/said" 2>&1 && fail "$user may: $*"
    grep -q "$text" "$work/said" || fail "$user: $* said $(cat "$work/said")"
}

may() {
    local user=$1

    shift
    run "$user" "$@"
}

mode_of() {
    stat -c %a:%u:%g "$1"
}

# UID GID: the owner of the process, with nothing left that it does not need.
serves_as() {
    local line pid status

    pid=$(children "$server")
    status=$(cat "/proc/$pid/status")
    for line in "Uid: $1 $1 $1 $1" "Gid: $2 $2 $2 $2" "Groups:" "CapInh: 0000000000000000" "CapPrm: 0000000000000000" \
        "CapEff: 0000000000000000" "CapAmb: 0000000000000000" "NoNewPrivs: 1"; do
        tr -s '\t ' ' ' <<<"$status" | sed 's/ $//' | grep -qx "$line" || fail "not so for process $pid: $line"
    done
}

chmod 755 "$work"

# A build below a folder that is root's alone: other users get a copy of the program, with its libraries where it looks for them.
if ! nobody test -x "$HOLDFAST"; then
    mkdir -p "$work/copy/cli"
    cp "$HOLDFAST" "$work/copy/cli"
    for folder in src cache; do # a build may lack the last one
        mkdir "$work/copy/$folder"
        cp "$(dirname "$HOLDFAST")/../$folder"/libholdfast*.so.? "$work/copy/$folder" 2>/dev/null || true
    done
    HOLDFAST=$work/copy/cli/holdfast
fi

# --- without allow_other the folder is root's alone
if [ -z "${TARGET-}" ]; then
    start 64M
    echo root >"$dir/file"
    denied nobody "Permission denied" ls "$dir"
    denied nobody "Permission denied" cat "$dir/file"
    serves_as 0 0
    unmount
    mount_pool allow_other
fi
chmod 755 "$dir"

# --- permissions
echo secret >"$dir/secret"
chmod 600 "$dir/secret"
echo readable >"$dir/readable"
mkdir -m 700 "$dir/private"
echo hidden >"$dir/private/hidden"
mkdir -m 711 "$dir/passage"
echo known >"$dir/passage/known"
denied nobody "Permission denied" cat "$dir/secret"
may nobody cat "$dir/readable"
denied nobody "Permission denied" tee "$dir/readable"
denied nobody "Permission denied" truncate -s 0 "$dir/readable"
denied nobody "Permission denied" cat "$dir/private/hidden"
denied nobody "Permission denied" ls "$dir/private"
denied nobody "Permission denied" ls "$dir/passage"
may nobody cat "$dir/passage/known"
denied nobody "Permission denied" touch "$dir/new"
denied nobody "Permission denied" mkdir "$dir/new"
denied nobody "Permission denied" rm -f "$dir/readable"
denied nobody "Permission denied" mv "$dir/readable" "$dir/moved"
denied nobody "Operation not permitted" chmod 777 "$dir/readable"
denied nobody "Operation not permitted" chown nobody "$dir/readable"
denied nobody "Permission denied\|Operation not permitted" touch -d 2000-01-01 "$dir/readable"
denied nobody "Permission denied\|Operation not permitted" setfattr -n user.a -v b "$dir/readable"
denied nobody "Operation not permitted" setfattr -n trusted.a -v b "$dir/readable"

# --- what is made belongs to its maker
mkdir -m 1777 "$dir/shared"
(umask 027 && nobody touch "$dir/shared/file" && nobody mkdir "$dir/shared/folder" && nobody ln -s nowhere "$dir/shared/link" &&
    nobody mkfifo "$dir/shared/fifo") || fail "nobody cannot make things"
same "$(mode_of "$dir/shared/file")" 640:65534:65534
same "$(mode_of "$dir/shared/folder")" 750:65534:65534
same "$(mode_of "$dir/shared/link")" 777:65534:65534
same "$(mode_of "$dir/shared/fifo")" 640:65534:65534
denied nobody "Operation not permitted" mknod "$dir/shared/null" c 1 3

# --- the sticky bit
denied daemon "Operation not permitted" rm -f "$dir/shared/file"
denied daemon "Operation not permitted" mv "$dir/shared/file" "$dir/shared/mine"
may daemon touch "$dir/shared/of-daemon"
denied daemon "Operation not permitted" mv "$dir/shared/of-daemon" "$dir/shared/file"
may nobody mv "$dir/shared/file" "$dir/shared/moved"
may nobody rm "$dir/shared/moved"

# --- owners and groups
may daemon touch "$dir/shared/given"
denied daemon "Operation not permitted" chown nobody "$dir/shared/given"
denied daemon "Operation not permitted" chgrp 65534 "$dir/shared/given"
may daemon chgrp 100 "$dir/shared/given"
same "$(mode_of "$dir/shared/given")" 644:1:100
denied nobody "Operation not permitted" chgrp 65534 "$dir/shared/given"
mkdir "$dir/group"
chgrp 100 "$dir/group"
chmod 2777 "$dir/group"
may nobody touch "$dir/group/file"
may nobody mkdir "$dir/group/folder"
same "$(mode_of "$dir/group/file")" 644:65534:100
same "$(mode_of "$dir/group/folder")" 2755:65534:100
may nobody chmod 2755 "$dir/group/file" # not of that group: the bit goes
same "$(mode_of "$dir/group/file")" 755:65534:100

# --- set-user-id goes with the first byte of another, and with a new owner
for change in "tee $dir/ids" "truncate -s 0 $dir/ids" "fallocate -p -o 0 -l 1 $dir/ids"; do
    echo content >"$dir/ids"
    chmod 6777 "$dir/ids"
    # shellcheck disable=SC2086
    may nobody $change
    same "$(mode_of "$dir/ids")" 777:0:0
done
chmod 6777 "$dir/ids"
echo by root >"$dir/ids"
same "$(mode_of "$dir/ids")" 6777:0:0
chown 1:1 "$dir/ids"
same "$(mode_of "$dir/ids")" 777:1:1

# --- ACLs
setfacl -m u:1:r "$dir/secret"
may daemon cat "$dir/secret"
denied daemon "Permission denied" tee "$dir/secret"
denied nobody "Permission denied" cat "$dir/secret"
chmod g-r "$dir/secret" # that is the mask
denied daemon "Permission denied" cat "$dir/secret"
setfacl -d -m u:1:rwx,g::-,o::- "$dir/shared"
(umask 0 && nobody touch "$dir/shared/inherits")
same "$(getfacl -cp "$dir/shared/inherits" | grep . | tr -s '\t\n' ' ')" \
    "user::rw- user:daemon:rwx #effective:rw- group::--- mask::rw- other::--- "
may daemon tee "$dir/shared/inherits"
denied nobody "Operation not permitted" setfacl -m u:1:r "$dir/readable"

# --- nor are there other attributes of that name space: nobody would ask for a right to them
denied nobody "not supported" setfattr -n system.posix_acl_evil -v y "$dir/readable"
denied nobody "not supported" setfattr -x system.posix_acl_evil "$dir/readable"
denied nobody "not supported\|No such attribute" getfattr -n system.posix_acl_evil "$dir/readable"
getfattr -m - "$dir/readable" 2>/dev/null | grep evil && fail "it is there all the same"

# --- links are followed by the process that asks, not by the one that serves
echo outside >"$work/outside"
chmod 600 "$work/outside"
ln -s "$work/outside" "$dir/out"
ln -s ../../outside "$dir/shared/up"
same "$(cat "$dir/out")" outside
denied nobody "Permission denied" cat "$dir/out"

[ -z "${TARGET-}" ] || exit 0
finish
rm -rf "$pool"

# --- a pool of somebody else, mounted by root
mkdir "$pool"
chown 65534:65534 "$pool"
may nobody "$HOLDFAST" mkpool "$pool" --size 16M
cp "$(command -v id)" "$work/id"
may nobody "$HOLDFAST" put "$pool" "$work/id" id
mount_pool allow_other
serves_as 65534 65534
chmod 755 "$dir" && chown 0:0 "$dir/id" && chmod 4755 "$dir/id" # as the owner of the pool could through the library
mknod "$dir/zero" c 1 5 && chmod 666 "$dir/zero"
same "$(daemon "$dir/id" -u)" 1
denied daemon "Permission denied" head -c 1 "$dir/zero"
unmount
run nobody "$HOLDFAST" fsck "$pool"

# Its parts are opened with its owner's rights: what they link to, root's files, stays as it is.
roots_files() { # what is in front in them is enough: they are large, with holes
    find "$work/roots" -type f -exec stat -c "%n %s %u:%g %a" {} + -exec head -c 1M {} + | sha256sum
}

cp -a --sparse=always "$pool" "$work/sound"
for part in data lock meta/data.mdb meta/lock.mdb meta run; do
    [ -e "$work/sound/$part" ] || continue
    rm -rf "$pool" "$work/roots"
    cp -a --sparse=always "$work/sound" "$pool"
    cp -a --sparse=always "$work/sound/$part" "$work/roots"
    chown -R 0:0 "$work/roots"
    chmod -R go= "$work/roots"
    before=$(roots_files)
    rm -rf "${pool:?}/$part"
    ln -s "$work/roots" "$pool/$part"
    chown -h 65534:65534 "$pool/$part"
    if timeout 600 "$HOLDFAST" mount "$pool" "$dir" >"$work/said" 2>&1; then
        [ $part = meta/lock.mdb ] || fail "root's file was taken for $part"
        umount "$dir" # the first process to come makes it again
    else
        grep -qi "permission\|symbolic" "$work/said" || fail "root's file for $part: $(cat "$work/said")"
    fi
    mountpoint -q "$dir" && fail "still mounted with root's file for $part"
    same "$(roots_files)" "$before"
done

# --- a user without rights: root's pool is closed to this user, who may mount a pool of his own through
# fusermount3. That needs a /dev/fuse for all, as in the namespace that is made here.
rm -rf "$pool" "$work/roots" "$work/sound"
run "$HOLDFAST" mkpool "$pool" --size 8M
mkdir -p "$work/his/dir"
chown -R 65534:65534 "$work/his"
may nobody "$HOLDFAST" mkpool "$work/his/pool" --size 8M
mknod -m 666 "$work/fuse" c 10 229
his_mount() {
    # fusermount3 wants it, and a bare root has none: this namespace gets an /etc with it
    if [ ! -e /etc/mtab ]; then
        cp -a /etc "$work/etc" && ln -s /proc/self/mounts "$work/etc/mtab" && mount --bind "$work/etc" /etc ||
            fail "no /etc/mtab"
    fi
    mount --bind "$work/fuse" /dev/fuse
    denied nobody "[Pp]ermission denied" timeout 600 "$HOLDFAST" mount "$pool" "$work/his/dir"
    denied nobody "no write access" timeout 600 "$HOLDFAST" mount "$work/his/pool" /mnt
    may nobody "$HOLDFAST" mount "$work/his/pool" "$work/his/dir"
    may nobody touch "$work/his/dir/file"
    same "$(nobody stat -c %u "$work/his/dir/file")" 65534
    denied daemon "Permission denied" ls "$work/his/dir"
    ls "$work/his/dir" 2>/dev/null && fail "root sees a user's mount"
    may nobody fusermount3 -u "$work/his/dir"
    nobody stat -f -c %T "$work/his/dir" | grep -q fuse && fail "something stays mounted"
    await nobody "$HOLDFAST" fsck "$work/his/pool" >/dev/null

    # in a namespace of his own, which has no setgroups(2); its numbers of users are those in the pool
    # shellcheck disable=SC2016
    may nobody unshare -Urm bash -c '"$0" mkpool "$1" --size 8M && "$0" mount "$1" "$2" && touch "$2/mine" && umount "$2"' \
        "$HOLDFAST" "$work/his/inner" "$work/his/dir"
    await nobody "$HOLDFAST" fsck "$work/his/inner" >/dev/null
    same "$(nobody "$HOLDFAST" ls "$work/his/inner")" mine

    # told to end while a file is open: it is taken from the process that has it
    supervisor=
    holder=
    # shellcheck disable=SC2086
    trap 'kill -KILL $supervisor $holder 2>/dev/null' EXIT
    setpriv --reuid 65534 --regid 65534 --clear-groups "$HOLDFAST" mount "$work/his/pool" "$work/his/dir" -f &
    supervisor=$!
    await nobody test -e "$work/his/dir/file"
    mkfifo -m 666 "$work/his/opened"
    # shellcheck disable=SC2016
    setpriv --reuid 65534 --regid 65534 --clear-groups bash -c 'exec <"$1" && echo >"$2" && exec sleep 1000' \
        - "$work/his/dir/file" "$work/his/opened" &
    holder=$!
    read -r <"$work/his/opened"
    kill -TERM $supervisor
    await ended $supervisor
    kill -KILL $holder
    nobody stat -f -c %T "$work/his/dir" | grep -q fuse && fail "something stays mounted after SIGTERM"
    await nobody "$HOLDFAST" fsck "$work/his/pool" >/dev/null
}
ended() {
    ! kill -0 "$1" 2>/dev/null
}
need fusermount3 unshare
export -f his_mount ended nobody daemon denied may run same fail await
export work pool HOLDFAST
unshare -m bash -uc his_mount || fail "a user's own mount"
