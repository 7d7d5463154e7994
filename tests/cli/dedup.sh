#!/bin/bash
# SPDX-License-Identifier: MIT
# dedup merges equal pages, in files and between them, and makes holes of zeros. It leaves held pages alone, keeps
# to the paths that it is given, and ends when a signal comes.
. "$(dirname "$0")/cli.sh" || exit 1

head -c 3000000 /dev/urandom >"$work/one"
(head -c 400000 /dev/zero && cat "$work/one" && head -c 5000 "$work/one") >"$work/two"
yes same | head -c 1000000 >"$work/pattern"

unchanged() {
    local name

    for name in "$@"; do
        "$HOLDFAST" cat "$pool" "$name" | cmp - "$work/$name" || fail "$name has changed"
    done
}

used() {
    try 0 "$HOLDFAST" info "$pool" --json
    json "it['used_bytes'] // 4096"
}

try 0 "$HOLDFAST" mkpool "$pool" --size 64M
try 0 "$HOLDFAST" put "$pool" "$work/one" "$work/two" "$work/pattern" /
try 0 "$HOLDFAST" put "$pool" "$work/two" /three
try 0 "$HOLDFAST" mkdir "$pool" aside
try 0 "$HOLDFAST" put "$pool" "$work/one" /aside/four
cp "$work/two" "$work/three"
before=$(used)

# only what is below a path
try 0 "$HOLDFAST" dedup "$pool" aside --json
same "$(json "it['merged_bytes']")" 0
same "$(json "it['scanned_bytes'] // 4096")" 733 # no page is like another, so the second pass reads none
same "$(used)" "$before"

# a page that is held stays as it is
hold one "$pool" one 0 4096
try 0 "$HOLDFAST" dedup "$pool" one aside --json
same "$(json "it['held_bytes']")" 4096
same "$(json "it['merged_bytes'] // 4096")" 732
let_go one
same "$(used)" $((before - 732))

# all of it: no page is there twice, and no page of zeros; bytes that are cut off differently stay
try 0 "$HOLDFAST" dedup "$pool"
case $out in
*passes*2*scanned*merged*zeros*held*0\ pages*changed*saved*) ;;
*) fail "no summary: $out" ;;
esac
unchanged one two three pattern
try 0 "$HOLDFAST" info "$pool" --json
same "$(json "it['shared_bytes'] > 0 and it['saved_bytes'] > it['shared_bytes']")" true
saved=$(json "it['saved_bytes'] // 4096")
zeros=$((2 * (400000 / 4096)))
same "$(used)" $((before - saved - zeros))
try 0 "$HOLDFAST" dedup "$pool" --json
same "$(json "it['merged_bytes'] + it['zero_bytes']")" 0
same "$(json "it['saved_bytes'] // 4096")" "$saved"

# what is written then is the file's own
printf 'x' >"$work/x"
try 0 "$HOLDFAST" put "$pool" "$work/x" /two
unchanged one three pattern

# it goes on until a signal comes, then says what was done
"$HOLDFAST" dedup "$pool" --follow --rate 100G >"$work/said" 2>&1 &
follower=$!
try 0 "$HOLDFAST" put "$pool" "$work/one" /five
cp "$work/one" "$work/five"
until [ "$(used)" -lt $((before - saved)) ]; do sleep 0.1; done
kill -TERM "$follower"
wait "$follower"
same $? $((128 + 15))
grep -q '^merged' "$work/said" || fail "no summary: $(cat "$work/said")"
unchanged one three five

try 66 "$HOLDFAST" dedup "$pool" nowhere
says nowhere
try 64 "$HOLDFAST" dedup "$pool" --rate 1
try 0 "$HOLDFAST" mkpool "$work/other" --size 8M --engine srcu
try 0 "$HOLDFAST" put "$work/other" "$work/pattern" /
try 69 "$HOLDFAST" dedup "$work/other"
says srcu

# what shows a pool shows what is shared: each block once
try 0 "$HOLDFAST" mkpool "$work/small" --size 8M
head -c 400K /dev/urandom >"$work/a"
try 0 "$HOLDFAST" put "$work/small" "$work/a" /a
try 0 "$HOLDFAST" put "$work/small" "$work/a" /b
try 0 "$HOLDFAST" dedup "$work/small"
try 0 "$HOLDFAST" df "$work/small"
same "$(awk 'NR == 2 {print $2, $7, $8}' <<<"$out")" "400 400 400"
try 0 "$HOLDFAST" df "$work/small" --json
same "$(json 'it[0]["used_bytes"], it[0]["shared_bytes"], it[0]["saved_bytes"]')" "(409600, 409600, 409600)"
try 0 "$HOLDFAST" info "$work/small"
same "$(grep -c '^\(shared\|saved\) *400K (409600 bytes)$' <<<"$out")" 2
try 0 "$HOLDFAST" map "$work/small"
same "$(grep -c '^ *[0-9]* *100 .* /[ab] (shared)$' <<<"$out")" 2
try 0 "$HOLDFAST" map "$work/small" --json
same "$(json '[extent["shared"] for extent in it["extents"]]')" "[True, True]"
try 0 "$HOLDFAST" map "$work/small" --svg "$work/map.svg"
grep -q 'fill="url(#dots)"' "$work/map.svg" || fail "the picture shows nothing shared"
grep -q 'fill="url(#hatch)" d=' "$work/map.svg" && fail "the picture shows something detached"
try 0 "$HOLDFAST" metrics "$work/small"
grep -q '^holdfast_saved_bytes{.*} 409600$' <<<"$out" || fail "no saved bytes in $out"
grep -q '^holdfast_shared_bytes{.*} 409600$' <<<"$out" || fail "no shared bytes in $out"
try 0 "$HOLDFAST" top "$work/small" --batch 1
grep -q ', saved 400K, ' <<<"$out" || fail "top shows nothing saved: $out"
