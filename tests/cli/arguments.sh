#!/bin/bash
# SPDX-License-Identifier: MIT
# What is not allowed is refused with a sentence that names the argument, and nothing is made.
. "$(dirname "$0")/cli.sh" || exit 1

refused() {
    local sentence=$1

    shift
    try 64 "$HOLDFAST" "$@"
    says "$sentence"
    case $err in
    "holdfast: "*) ;;
    *) fail "the message begins with '$err'" ;;
    esac
    [ -z "$out" ] || fail "a refused command printed '$out'"
    [ ! -e "$pool" ] || fail "a refused command made the pool: $*"
}

refused "nosuch: there is no such verb" nosuch
refused "too few arguments" mkpool
refused "--size SIZE is needed" mkpool "$pool"
refused "one argument too many" mkpool "$pool" other --size 8M
refused "--nosuch: there is no such option" mkpool "$pool" --size 8M --nosuch
refused "-z: there is no such option" mkpool "$pool" --size 8M -z
refused "--durable takes no value" mkpool "$pool" --size 8M --durable=1
refused "--size needs a value" mkpool "$pool" --size
for size in "" x 8Q 8MB -8M 1.5G 8M8 0x800000 99999999999999999999 18446744073709551615T 4M 0; do
    refused "--size" mkpool "$pool" "--size=$size"
done
for mode in 8 999 01000 rw -1 0 ""; do
    refused "--mode" mkpool "$pool" --size 8M "--mode=$mode"
done
for number in 0 -1 x 4294967296 1K; do
    refused "--max-files" mkpool "$pool" --size 8M "--max-files=$number"
done
for policy in never deadline deadline: deadline:5 deadline:x deadline:99999999999999999999s \
    wait:5s WAIT deadline-detach; do
    refused "--policy" mkpool "$pool" --size 8M "--policy=$policy"
done
for time in 0 -1 x 1.5s 5x 999999999h; do
    refused "--quarantine" mkpool "$pool" --size 8M "--quarantine=$time"
done
refused "argument 1 is empty" mkpool "" --size 8M
refused "there is no such verb" help nosuch
refused "exclude each other" map "$pool" --svg x --json
refused "exclude each other" mv "$pool" a b -n -x
refused "--off OFFSET is needed" punch "$pool" f --len 1
refused "--len" punch "$pool" f --off 0 --len 0
refused "--size" truncate "$pool" f --size 17T

try 64 "$HOLDFAST"
says "usage: holdfast VERB"

# every verb explains itself, and help lists it
try 0 "$HOLDFAST" help
verbs=$(sed -n 's/^  \([a-z]*\) .*/\1/p' <<<"$out")
left_out=0
for verb in cache serve cluster mount demo bench; do
    grep -qw "$verb" <<<"$verbs" && continue
    try 69 "$HOLDFAST" "$verb" "$pool"
    says "was built without it"
    left_out=$((left_out + 1))
done
same "$(($(wc -w <<<"$verbs") + left_out))" 33
for verb in $verbs; do
    case $verb in
    demo | bench) continue ;;
    esac
    try 0 "$HOLDFAST" "$verb" --help
    same "${out%%$'\n'*}" "$("$HOLDFAST" help "$verb" | head -n 1)"
done
try 0 "$HOLDFAST" --version
try 0 "$HOLDFAST" --help

# options anywhere, values in either form, '--' ends them
try 0 "$HOLDFAST" mkpool --size=8M "$pool" -m 0640 --policy deadline:5s
try 0 "$HOLDFAST" mkdir "$pool" -- -p
try 0 "$HOLDFAST" ls -lR "$pool"
try 0 "$HOLDFAST" stat "$pool" -- -p
