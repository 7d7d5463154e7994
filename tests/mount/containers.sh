#!/bin/bash
# SPDX-License-Identifier: MIT
# Two containers on one volume, the mount of a pool, which a process outside serves. They have namespaces of their own
# for users, processes, mounts and IPC. They are killed again and again, and what was acknowledged is there. In place
# the pool is refused to them, with a sentence that says what to do.
. "$(dirname "$0")/mount.sh" || exit 1
contain=(unshare --user --map-root-user --pid --fork --kill-child --mount --ipc)
"${contain[@]}" true 2>/dev/null || skip "no container can be made here"

SLOTS=8
kills=$(pick 10 200)

# Two processes of container NUMBER. Whole files take the place of others, one after another. A number that is in the
# file NAME.done is acknowledged. All write to one log, and empty it now and then.
cat >"$work/work.py" <<'PROGRAM'
import itertools, os, sys

folder, notes, container, slots = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
name = container + ("-b" if os.fork() == 0 else "-a")
done = os.open(f"{notes}/{name}.done", os.O_RDWR | os.O_CREAT | os.O_APPEND)
first = len(os.read(done, 1 << 24).splitlines())
log = os.open(f"{folder}/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
for number in itertools.count(first):
    with open(f"{folder}/{name}.new", "wb") as file:
        file.write(b"%d\n" % number * 2000)
    os.rename(f"{folder}/{name}.new", f"{folder}/{name}.{number % slots}")
    os.write(log, f"{name} {number}\n".encode())
    if number % 16 == 0:
        os.ftruncate(log, 0)
    os.write(done, b"%d\n" % number)
PROGRAM

# What is in a slot is what was last acknowledged for it. The one that comes next may be there too.
cat >"$work/look.py" <<'PROGRAM'
import os, sys

folder, notes, container, slots = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
for name in (container + "-a", container + "-b"):
    path = f"{notes}/{name}.done"
    done = [int(line) for line in open(path)] if os.path.exists(path) else []
    assert done == list(range(len(done))), done
    for number in done[-slots:]:
        content = open(f"{folder}/{name}.{number % slots}", "rb").read()
        allowed = [number] + ([number + slots] if number + slots == len(done) else [])
        assert content in [b"%d\n" % it * 2000 for it in allowed], (name, number, content[:20], len(content))
PROGRAM

python=$(command -v /usr/bin/python3 || command -v python3)

begin() {
    "${contain[@]}" "$python" "$work/work.py" "$dir" "$work" "$1" "$SLOTS" >"$work/container-$1.log" 2>&1 &
    container[$1]=$!
}

begun() {
    [ -n "$(children "${container[$1]}")" ] || ! kill -0 "${container[$1]}"
}

# A container's first process takes all others with it.
end() {
    await begun "$1"
    kill -KILL "$(children "${container[$1]}")" || fail "container $1 has ended: $(cat "$work/container-$1.log")"
    wait "${container[$1]}"
    run "$python" "$work/look.py" "$dir" "$work" "$1" "$SLOTS"
}

# Of all four processes.
lines() {
    cat "$work"/*.done 2>/dev/null | wc -l
}

more_than() {
    [ "$(lines)" -gt "$1" ] || ! kill -0 "${container[0]}" || ! kill -0 "${container[1]}"
}

refused_in_place() {
    "${contain[@]}" "$HOLDFAST" ls "$pool" >"$work/said" 2>&1
    same "$?" 75
    grep -q 'is in use by processes of another pid namespace, .*: start this one in theirs' "$work/said" ||
        fail "in place: $(cat "$work/said")"
}

start 64M
container=()
begin 0
begin 1
for ((kill = 0; kill < kills; kill++)); do
    before=$(lines)
    await more_than $((before + RANDOM % 40))
    victim=$((RANDOM % 2))
    end "$victim"
    [ $((kill % 5)) != 0 ] || refused_in_place
    begin "$victim"
done
end 0
end 1
echo "$kills kills, $(lines) files"
[ "$(lines)" -gt "$kills" ] || fail "the containers have done nothing"
finish
