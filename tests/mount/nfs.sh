#!/bin/bash
# SPDX-License-Identifier: MIT
# An NFS server (nfs-ganesha) exports the mount. Changes by its clients are in the pool, and its clients see changes
# by others. Their handles stay good when the server is started again. They also do when the pool is mounted again
# with the same device number, which nfs-ganesha puts into its handles. The server and rpcbind have a network and a
# /run of their own.
if [ -z "${HF_APART-}" ] && unshare --net --mount true 2>/dev/null; then
    HF_APART=1 exec unshare --net --mount --propagation slave bash "$0" "$@"
fi
. "$(dirname "$0")/mount.sh" || exit 1
[ -n "${HF_APART-}" ] || skip "no namespace can be made here"
need python3 ip rpcbind ganesha.nfsd
python3 -c 'import ctypes; ctypes.CDLL("libnfs.so.13")' 2>/dev/null || skip "libnfs is not installed"

run ip link set lo up
run mount -t tmpfs tmpfs /run
rpcbind -f >"$work/rpcbind.log" 2>&1 &
cat >"$work/ganesha.conf" <<END
NFS_CORE_PARAM { Protocols = 3; Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = false; }
NFS_KRB5 { Active_krb5 = false; }
NFSv4 { Graceless = true; RecoveryBackend = fs; RecoveryRoot = "$work/recovery"; }
EXPORT {
    Export_Id = 1; Filesystem_Id = 1.1; Path = "$dir"; Pseudo = "/pool";
    Protocols = 3; Access_Type = RW; Squash = No_Root_Squash; SecType = sys; Attr_Expiration_Time = 0;
    FSAL { Name = VFS; }
}
END
mkdir "$work/recovery"

serve() {
    ganesha.nfsd -F -f "$work/ganesha.conf" -L "$work/ganesha.log" -p "$work/ganesha.pid" >>"$work/ganesha.said" 2>&1 &
    ganesha=$!
}

serve_no_more() {
    kill "$ganesha"
    wait "$ganesha" 2>/dev/null
}

ask() {
    local answer

    echo "$*" >&"${client[1]}"
    read -r answer <&"${client[0]}" || fail "the client has ended: $(tail -n 5 "$work/client.log" "$work/ganesha.log")"
    echo "$answer"
}

start "$(pick 64M 512M)"
mkdir "$dir/one"
echo "made here" >"$dir/one/here"
serve
coproc client { exec python3 "$(dirname "$0")/nfs.py" 127.0.0.1 "$dir" 2>"$work/client.log"; }

# --- what clients do
same "$(ask create /one/there)" ok
same "$(ask write 0 made there)" ok
same "$(cat "$dir/one/there")" "made there"
same "$(ask list /one)" "here there"
same "$(ask mkdir /two)" ok
same "$(ask rename /one/there /two/moved)" ok
same "$(ask symlink moved /two/link)" ok
same "$(ask readlink /two/link)" moved
same "$(readlink "$dir/two/link")" moved
same "$(ask unlink /one/here)" ok
[ ! -e "$dir/one/here" ] || fail "what a client has removed is there"

# --- what others do is seen
echo "changed by others" >"$dir/two/moved"
same "$(ask read 0 100)" "changed by others"
truncate -s 7 "$dir/two/moved"
same "$(ask read 0 100)" changed
same "$(ask truncate 3)" ok
same "$(cat "$dir/two/moved")" cha

# --- handles stay good
sum=$(ask fill "$(pick 4 64)")
same "$(sha256sum <"$dir/two/moved" | cut -d ' ' -f 1)" "$sum"
mv "$dir/two/moved" "$dir/one/again"
serve_no_more
serve
same "$(ask sum)" "$sum"
same "$(ask truncate 0)" ok
same "$(stat -c %s "$dir/one/again")" 0
rm "$dir/one/again"
serve_no_more # which has it open
serve
echo other >"$dir/one/other"
case $(ask read 0 100) in
ESTALE | EFAULT) ;; # as libnfs calls NFS3ERR_STALE
*) fail "the handle of a removed file leads somewhere" ;;
esac
same "$(ask create /one/kept)" ok
sum=$(ask fill 1)
serve_no_more
if [ -z "${TARGET-}" ]; then
    device=$(stat -c %d "$dir")
    unmount
    mount_pool
    if [ "$(stat -c %d "$dir")" = "$device" ]; then
        serve
        same "$(ask sum)" "$sum"
        serve_no_more
    else
        echo "not tried: handles after another mount, which has another device number"
    fi
fi
exec {client[1]}>&-
finish
