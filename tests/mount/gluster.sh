#!/bin/bash
# SPDX-License-Identifier: MIT
# Mounts of pools are the bricks of GlusterFS volumes, by the commands of docs/MACHINES.md. Three machines are made of
# namespaces. A brick is killed while a client writes, and is healed: then the files are equal on all three, byte by
# byte. Meanwhile library users pin files of the bricks, and a client's truncate recalls a lease.
case ${TMPDIR:-/dev/shm} in
/dev/shm* | /run* | /srv* | /mnt*) export TMPDIR=/tmp ;; # the machines have others
esac
. "$(dirname "$0")/mount.sh" || exit 1
[ -z "${TARGET-}" ] || skip "it makes machines of its own"
need gluster glusterd glusterfsd mount.glusterfs ip nsenter findmnt
unshare --net --mount --uts --pid --fork true 2>/dev/null || skip "no namespaces can be made here"
PATH=${HOLDFAST%/*}:/usr/sbin:/sbin:$PATH
document=$SOURCE_ROOT/docs/MACHINES.md
machines="m1 m2 m3"
declare -A keeper first crowd_of

# What a machine has of its own: network, name, processes, and these folders. Its first process waits for the others, so
# that those which have died are gone. All of them end with their machine, whatever they do. Pools that are mounted
# elsewhere are not mounted on a machine: there they would stay mounted as long as it lives.
make_machine() {
    unshare --net --mount --uts --pid --fork --kill-child --mount-proc bash -c '
        hostname '"$1"' && ip link set lo up || exit 1
        findmnt --noheadings --raw --output TARGET -t fuse.holdfast | xargs -r -d "\n" umount -l
        for folder in /run /dev/shm /var/log /var/lib/glusterd /srv /mnt; do
            mkdir -p $folder && mount -t tmpfs tmpfs $folder || exit 1
        done
        mkdir -p /run/lock /var/log/glusterfs
        printf "10.77.0.%s m%s\n" 1 1 2 2 3 3 >/run/hosts
        echo "127.0.0.1 localhost" >>/run/hosts
        mount --bind /run/hosts /etc/hosts && touch '"$work/$1.ready"' || exit 1
        sleep infinity & wait' >"$work/$1.log" 2>&1 </dev/null &
    keeper[$1]=$!
}

# A link from each machine to a bridge, which is in a network of its own on the machine "hub".
connect() {
    local number=${1#m}

    run nsenter -t "${first[hub]}" -n ip link add "$1" type veth peer name eth0 netns "${first[$1]}"
    run nsenter -t "${first[hub]}" -n ip link set "$1" master bridge up
    run nsenter -t "${first[$1]}" -n ip addr add "10.77.0.$number/24" dev eth0
    run nsenter -t "${first[$1]}" -n ip link set eth0 up
}

end_machines() {
    local machine

    for machine in "${!keeper[@]}"; do
        kill -KILL "${keeper[$machine]}" 2>/dev/null
        wait "${keeper[$machine]}" 2>/dev/null
    done
    clean_up
}
trap end_machines EXIT

on() {
    local machine=$1

    shift
    nsenter -t "${first[$machine]}" -m -n -u -p "$@"
}

# Those between "```sh NAME" and "```" in the document.
commands() {
    awk -v fence="\`\`\`sh $1" '$0 == fence { inside = 1; next } /^```/ { inside = 0 } inside' "$document"
}

# As a reader of the document gives them, one after the other.
do_on() {
    local machine=$1

    commands "$2" >"$work/commands"
    [ -s "$work/commands" ] || fail "the document has no commands for $2"
    run on "$machine" bash -euxc "$(cat "$work/commands")"
}

is_ready() {
    [ -e "$work/$1.ready" ] || ! kill -0 "${keeper[$1]}" 2>/dev/null
}

for machine in hub $machines; do
    make_machine "$machine"
    await is_ready "$machine"
    [ -e "$work/$machine.ready" ] || fail "no machine $machine: $(cat "$work/$machine.log")"
    first[$machine]=$(children "${keeper[$machine]}")
done
run nsenter -t "${first[hub]}" -n ip link add bridge type bridge
run nsenter -t "${first[hub]}" -n ip link set bridge up
for machine in $machines; do
    connect "$machine"
    do_on "$machine" every-machine
    do_on "$machine" server
done

# --- the volumes
are_connected() {
    [ "$(on m1 gluster pool list | grep -c Connected)" = 3 ]
}
has_bricks() {
    [ "$(on m1 gluster volume status files | grep -c '^Brick .* Y ')" = 3 ]
}
server_answers() {
    on m1 gluster pool list >/dev/null 2>&1
}
await server_answers
do_on m1 peers
await are_connected
do_on m1 volume
do_on m1 client
do_on m1 distributed
await has_bricks

# --- without replicas: the room of all bricks, and each file is on one
room=$(on m1 df --output=size /srv/pool | tail -n 1)
wide=$(on m1 df --output=size /mnt/wide | tail -n 1)
[ "$wide" -gt $((room * 29 / 10)) ] || fail "df says $wide KiB for three bricks of $room KiB"
for ((i = 0; i < 30; i++)); do
    echo "wide $i" >"$work/wide-$i"
done
run on m1 bash -c "cp $work/wide-* /mnt/wide"
for ((i = 0; i < 30; i++)); do
    same "$(for machine in $machines; do on "$machine" cat "/srv/pool/wide/wide-$i" 2>/dev/null; done)" "wide $i"
done

# --- with replicas: a brick is killed while a client writes
run on m1 mkdir /mnt/files/load
run on m1 bash -c 'head -c 200000 /dev/urandom >/mnt/files/held'
for machine in m1 m2; do
    mkfifo "$work/crowd-$machine"
    on "$machine" "$CROWD" /dev/shm/pool brick/load <"$work/crowd-$machine" >"$work/crowd-$machine.log" 2>&1 &
    crowd_of[$machine]=$!
done
exec {crowd_1}>"$work/crowd-m1" {crowd_2}>"$work/crowd-m2"
count=$(pick 40 200)
mkdir "$work/load"
write_load() {
    local i

    for ((i = 0; i < count; i++)); do
        head -c $((1 + i * 977)) /dev/urandom >"$work/load/file-$i" || return
        on m1 cp "$work/load/file-$i" /mnt/files/load || return
        if [ $((i % 5)) = 4 ]; then # others change and go
            on m1 mv "/mnt/files/load/file-$((i - 1))" "/mnt/files/load/moved-$i" || return
            mv "$work/load/file-$((i - 1))" "$work/load/moved-$i"
            on m1 rm "/mnt/files/load/file-$((i - 2))" || return
            rm "$work/load/file-$((i - 2))"
            on m1 bash -c "echo more >>/mnt/files/load/file-$((i - 4))" || return
            echo more >>"$work/load/file-$((i - 4))"
        fi
        echo "$i" >"$work/written"
    done
}
write_load &
writer=$!
is_under_way() {
    [ "$(cat "$work/written" 2>/dev/null || echo 0)" -ge $((count / 4)) ] || ! kill -0 $writer 2>/dev/null
}
await is_under_way
brick=$(on m1 gluster volume status files m2:/srv/pool/brick | awk '/^Brick/ { print $NF }')
run on m2 kill -KILL "$brick"
wait $writer || fail "a client could not write while a brick was away"
on m2 test ! -e "/srv/pool/brick/load/file-$((count - 1))" || fail "the killed brick goes on"

# --- it comes back, and gets what it has missed
is_healed() {
    on m1 gluster volume heal files >/dev/null 2>&1
    on m1 gluster volume heal files info >"$work/heal"
    [ "$(grep -c '^Number of entries: 0$' "$work/heal")" = 3 ]
}
commands heal | head -n 1 >"$work/commands"
run on m1 bash -euxc "$(cat "$work/commands")"
commands heal | grep -q '^gluster volume heal files$' || fail "the document heals in another way"
await has_bricks
await is_healed
for machine in $machines; do
    run on "$machine" diff -r "$work/load" /srv/pool/brick/load
    run on "$machine" holdfast get /dev/shm/pool brick/load "$work/got-$machine"
    run diff -r "$work/load" "$work/got-$machine"
done

# --- a client's truncate asks the holder of a lease
coproc lender { on m1 "$LENDER" /dev/shm/pool /brick/held 200000 2>&1; }
exec {lent}<&"${lender[0]}" # bash drops its own when the process has ended
read -r answer <&"$lent"
same "$answer" leased
run on m1 truncate -s 5 /mnt/files/held
read -r answer <&"$lent"
same "$answer" recalled
for machine in $machines; do
    same "$(on "$machine" stat -c %s /srv/pool/brick/held)" 5
done

echo >&"$crowd_1"
echo >&"$crowd_2"
exec {crowd_1}>&- {crowd_2}>&-
for machine in m1 m2; do
    wait "${crowd_of[$machine]}" || fail "on $machine the crowd saw what it should not: $(cat "$work/crowd-$machine.log")"
    cat "$work/crowd-$machine.log"
done
for machine in $machines; do
    run on "$machine" umount -l /srv/pool
done
echo "$count files written, and equal on three machines after a brick had died"
