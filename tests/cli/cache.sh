#!/bin/bash
# SPDX-License-Identifier: MIT
# cache makes a cache of objects in a pool, fills it, looks into it and empties it. What it prints is what was put, and
# what cannot be done is named.
. "$(dirname "$0")/cli.sh" || exit 1

cached() {
    local verb=$1

    shift
    "$HOLDFAST" cache "$verb" "$pool" /kv "$@"
}

mib=1048576
head -c 300000 /dev/urandom >"$work/large"
printf 'a few bytes' >"$work/small"
try 0 "$HOLDFAST" mkpool "$pool" --size 64M

# there is none yet
for verb in stat ls drain; do
    try 66 cached "$verb"
    says '/kv: there is no cache'
done
try 66 cached get one
try 66 cached put "$work/small" one
try 66 cached rm one
try 66 cached evict --bytes 1

# make
try 64 cached make
says '--capacity'
try 64 cached make --capacity 4K
says '1.0M'
try 64 cached make --capacity 4M --policy clock
says 's3fifo, lru or fifo'
try 64 cached make --capacity 4M --high 2M --low 3M
says 'low'
try 64 cached make --capacity 4M --ttl 1ms
try 66 "$HOLDFAST" cache make "$work/no-pool" /kv --capacity 4M
try 73 "$HOLDFAST" cache make "$pool" /kv --capacity 1T --objects 100000000
try 0 cached make --capacity 4M --objects 200 --policy lru
try 73 cached make --capacity 8M
says 'there is a cache already'
try 0 "$HOLDFAST" ls "$pool" kv
same "$(tr '\n' ' ' <<<"$out")" "data index "

# a second tier: what was drained comes back, and stat tells of it
mkdir "$work/disk" "$work/other"
try 64 "$HOLDFAST" cache make "$pool" /tiered --capacity 4M --tier "$work/disk"
says '--tier-size'
try 66 "$HOLDFAST" cache make "$pool" /tiered --capacity 4M --tier "$work/nowhere" --tier-size 16M
try 0 "$HOLDFAST" cache make "$pool" /tiered --capacity 4M --tier "$work/disk" --tier-size 16M
try 73 "$HOLDFAST" cache make "$pool" /second --capacity 4M --tier "$work/disk" --tier-size 16M
says 'of another cache'
try 0 "$HOLDFAST" cache put "$pool" /tiered "$work/large" one
try 0 "$HOLDFAST" cache drain "$pool" /tiered
"$HOLDFAST" cache get "$pool" /tiered one | cmp - "$work/large" || fail 'the object came back with other bytes'
try 0 "$HOLDFAST" cache stat "$pool" /tiered
same "$(grep -c 'written\|brought back\|of 16M\|failed\|fault' <<<"$out")" 3
try 0 "$HOLDFAST" cache stat "$pool" /tiered --json
grep -q '"tier":' <<<"$out" || fail 'there is no tier in the JSON'

# a process that watches sees what others do. Metrics and top know caches that a process has open
try 66 "$HOLDFAST" cache top "$pool" /nowhere
try 64 "$HOLDFAST" cache top "$pool" /tiered --interval 1ms
"$HOLDFAST" metrics "$pool" --caches >"$work/metrics"
grep -q "^holdfast_cache_open{pool=\"$pool\",cache=\"/tiered\"} 0$" "$work/metrics" || fail 'a cache that nobody has open'
grep -q 'cache_hits_total' "$work/metrics" && fail 'counts that nobody keeps'
"$HOLDFAST" metrics "$pool" | grep -q holdfast_cache && fail 'metrics of caches that nobody has asked for'
"$HOLDFAST" cache top "$pool" /tiered --interval 100ms >"$work/watched" &
holder_pid[watcher]=$!
for ((i = 0; i < 6000; i++)); do
    grep -q GETS/S "$work/watched" && break
    sleep 0.1
done
for ((i = 0; i < 3; i++)); do
    try 0 "$HOLDFAST" cache put "$pool" /tiered "$work/small" "seen $i"
    try 0 "$HOLDFAST" cache get "$pool" /tiered "seen $i"
done
try 66 "$HOLDFAST" cache get "$pool" /tiered nowhere
"$HOLDFAST" metrics "$pool" --caches >"$work/metrics"
for line in 'open 1' 'hits_total 3' 'puts_total 3' 'objects 4' 'tier_promoted_bytes_total 300000'; do
    grep -q "^holdfast_cache_${line% *}{pool=\"$pool\",cache=\"/tiered\"} ${line#* }$" "$work/metrics" ||
        fail "metrics of caches: $line"
done
"$HOLDFAST" top "$pool" --batch 1 >"$work/top"
grep -q '^cache /tiered: 300K of 4.0M, ' "$work/top" || fail 'top shows no row of the cache'
grep -q '^cache /kv: no process has it open$' "$work/top" || fail 'top shows no row of the other cache'
kill "${holder_pid[watcher]}"
wait "${holder_pid[watcher]}"
unset 'holder_pid[watcher]'
grep -q '^ *[0-9][0-9]* ' "$work/watched" || fail 'cache top has printed no line'
try 0 "$HOLDFAST" cache top "$pool" /tiered --interval 100ms --batch 2
same "$(wc -l <<<"$out")" 3

# put and get, of files and of standard input, and of a key that was there
try 0 cached put "$work/large" 'large one'
same "$out$err" ''
cached get 'large one' | cmp - "$work/large" || fail 'the object has other bytes than the file'
cached put - small <"$work/small" || fail 'standard input was not put'
same "$(cached get small)" 'a few bytes'
cat "$work/large" "$work/large" | cached put - small || fail 'a pipe was not put'
cached get small | cmp - <(cat "$work/large" "$work/large") || fail 'the object has other bytes than the pipe'
try 66 cached get smaller
says 'smaller: there is no such key'
try 66 cached get small --space 1
try 64 cached get small --space 64
try 64 cached get ''
try 64 cached get "$(printf '%0513d' 0)"
says '513 bytes'
try 66 cached put "$work/nothing" small
says "$work/nothing"
try 66 cached put "$work" small
try 64 cached put /dev/null small
says 'at least one byte'
head -c $((5 * mib)) /dev/zero >"$work/huge"
try 73 cached put "$work/huge" small
says 'larger than the cache'
cached get small >/dev/full 2>"$work/err"
same $? 73
cached get small | head -c 1 >/dev/null
same "${PIPESTATUS[0]}" 0

# keys of any bytes, and namespaces
try 0 cached put "$work/small" 00ff0a41 --hex --space 3
try 0 cached put "$work/large" $'tab\there' --space 3
try 64 cached put "$work/small" 0g --hex
says 'pairs of hexadecimal digits'
try 64 cached put "$work/small" abc --hex
same "$(cached get 00FF0A41 -x -s 3)" 'a few bytes'
try 0 cached ls
same "$(sort -k 3 <<<"$out")" "$(printf '%s\n' \
    '          11  3 \000\377\nA' '      300000  0 large one' '      600000  0 small' '      300000  3 tab\there')"
try 0 cached ls --json
same "$(json "sorted((i['key'].encode('utf-8', 'surrogateescape'), i['space'], i['bytes']) for i in it)")" \
    "[(b'\\x00\\xff\\nA', 3, 11), (b'large one', 0, 300000), (b'small', 0, 600000), (b'tab\\there', 3, 300000)]"
try 0 cached ls --hex --json
same "$(json "sorted(i['key'] for i in it)[0]")" 00ff0a41

# counts, which go on while a process has the cache open
try 0 cached stat --json
same "$(json "it['capacity_bytes'], it['objects'], it['held_bytes'], it['hits'], it['cache']")" "($((4 * mib)), 4, 0, 0, '/kv')"
try 0 cached stat
same "$(grep -c '^capacity  *4.0M (4194304 bytes)$\|^objects  *4 of 208, 1 packed page$' <<<"$out")" 2

# rm names what is not there, and takes the others
try 66 cached rm nowhere 'large one'
says 'nowhere: there is no such key'
try 66 cached get 'large one'
try 0 cached rm 00ff0a41 --hex --space 3
try 0 cached stat --json
same "$(json "it['objects'], it['packed_pages']")" '(2, 0)'

# a full cache evicts, and keeps within its capacity
for ((i = 0; i < 16; i++)); do
    try 0 cached put "$work/large" "number $i"
done
cached get 'number 15' | cmp - "$work/large" || fail 'the last object is not whole'
try 66 cached get 'number 0'
try 0 cached stat --json
same "$(json "it['used_bytes'] <= it['capacity_bytes'], it['objects'] > 10")" '(True, True)'

# evict takes so much and no more than an object more; drain takes all
before=$(json "it['used_bytes']")
try 64 cached evict
says '--bytes'
try 0 cached evict --bytes 512K
same "$out" "/kv: 592K evicted ($((2 * 303104)) bytes)"
try 0 cached stat --json
same "$(json "it['used_bytes']")" $((before - 2 * 303104))
try 0 cached put "$work/small" last
try 0 cached drain
try 0 cached stat --json
same "$(json "it['objects'], it['used_bytes'], it['packed_pages']")" '(0, 0, 0)'
try 0 cached ls
same "$out" ''
try 0 cached ls --json
same "$(json it)" '[]'
try 0 cached drain
same "$out" '/kv: 0 evicted (0 bytes)'

# all of it is held: a put says so, and what holders have is not used again
for ((i = 0; i < 13; i++)); do
    try 0 cached put "$work/large" "held $i"
done
hold data "$pool" kv/data 0 $((16 * mib))
try 73 cached put "$work/large" more
says 'no room'
let_go data
try 0 cached put "$work/large" more
cached get more | cmp - "$work/large" || fail 'the object is not whole'

# older ones are not found
try 0 "$HOLDFAST" cache make "$pool" /short --capacity 1M --ttl 1s
try 0 "$HOLDFAST" cache put "$pool" /short "$work/small" soon
sleep 2.1
try 66 "$HOLDFAST" cache get "$pool" /short soon

# a pool that has no room for the index; a file that is not one
try 0 "$HOLDFAST" mkpool "$work/tiny" --size 8M
try 73 "$HOLDFAST" cache make "$work/tiny" /kv --capacity 1G --objects 1000000
try 0 "$HOLDFAST" mkdir "$pool" other
try 0 "$HOLDFAST" put "$pool" "$work/large" /other/index
try 65 "$HOLDFAST" cache stat "$pool" other
try 0 "$HOLDFAST" mkpool "$work/srcu" --size 16M --engine srcu
try 69 "$HOLDFAST" cache make "$work/srcu" /kv --capacity 1M

# what is not a verb, and what there is
try 64 "$HOLDFAST" cache
says 'VERB POOL CACHE'
try 64 "$HOLDFAST" cache tip "$pool" /kv
says 'tip: there is no such verb'
try 64 "$HOLDFAST" cache get "$pool" /kv
says 'holdfast cache get POOL CACHE KEY'
try 0 "$HOLDFAST" cache --help
for verb in make put get rm ls stat top evict drain; do
    grep -q "^  $verb " <<<"$out" || fail "--help does not list $verb"
    "$HOLDFAST" cache "$verb" --help | grep -q "^usage: holdfast cache $verb POOL CACHE" || fail "$verb --help"
done
same "$("$HOLDFAST" help cache | head -n 1)" 'usage: holdfast cache VERB POOL CACHE [ARGUMENT] ...'

asked() { "$HOLDFAST" complete "$@" | tr '\t\n' ' ;' | sed 's/ [^;=]*;/;/g'; }
same "$(asked cache e)" '=evict;'
same "$(asked cache --he)" '=--help;'
same "$(asked cache get "$pool" k)" ':nospace;=kv/;'
same "$(asked cache get "$pool" /kv x)" ''
same "$(asked cache put "$pool" /kv x)" ':files;'
same "$(asked cache get '')" ':pools;'
same "$(asked cache evict --by)" '=--bytes;'
same "$(asked cache make "$pool" /x --policy=s)" '=--policy=s3fifo;'
same "$(asked cache nonsense x)" ''

try 0 "$HOLDFAST" fsck "$pool"

# fsck looks into the caches of a pool: it says what is wrong, and a repair leaves nothing to say
prints() {
    case $out in
    *"$1"*) ;;
    *) fail "the output has no '$1' but '$out'" ;;
    esac
}

rm -rf "$pool"
try 0 "$HOLDFAST" mkpool "$pool" --size 64M
try 0 cached make --capacity 4M
try 0 cached put "$work/large" large
try 0 cached put "$work/small" small
try 0 "$HOLDFAST" fsck "$pool"
prints ', 1 cache of 2 objects: clean'

# $1: where; $2: bytes, in hexadecimal digits
damage_index() {
    "$HOLDFAST" get "$pool" kv/index "$work/index" || fail 'the index cannot be read'
    python3 - "$work/index" "$1" "$2" <<'END'
import sys
with open(sys.argv[1], "r+b") as index:
    index.seek(int(sys.argv[2]))
    index.write(bytes.fromhex(sys.argv[3]))
END
    "$HOLDFAST" put "$pool" "$work/index" kv/index || fail 'the index cannot be written'
    rm "$work/index"
}
repairs() {
    try 65 "$HOLDFAST" fsck "$pool"
    prints "$1"
    try 0 "$HOLDFAST" fsck "$pool" --repair
    prints "$1"
    prints '(repaired)'
    try 0 "$HOLDFAST" fsck "$pool" --json
    same "$(json "it['problems'], it['caches'], it['cached_objects']")" "$2"
}

damage_index 0 0000
repairs 'cache /kv: the index does not begin as one' '(0, 1, 2)'
damage_index 40 ffffffff
repairs 'cache /kv: the watermarks make no sense' '(0, 1, 2)'
damage_index 16 0123456789abcdef
repairs 'key does not lead to it' '(0, 1, 0)'
try 66 cached get large
try 0 cached put "$work/large" large
cached get large | cmp - "$work/large" || fail 'the object is not whole'
damage_index 8 02
try 65 "$HOLDFAST" fsck "$pool" --repair
prints 'format 2 and features 0 of a newer version'
damage_index 8 01
try 0 "$HOLDFAST" fsck "$pool"
try 0 "$HOLDFAST" rm "$pool" kv/data
repairs 'the file data is missing' '(0, 1, 0)'
damage_index 64 11
repairs 'the header makes no sense' '(0, 0, 0)'
try 66 cached stat
try 0 cached make --capacity 4M
