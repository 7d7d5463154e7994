#!/bin/sh
# SPDX-License-Identifier: MIT
# The targets of tests/fuzz under libFuzzer, with AddressSanitizer and UndefinedBehaviorSanitizer. Inputs that reach new
# code stay in build-fuzz/found/TARGET for the next time; one that fails is build-fuzz/TARGET-crash-*.
# usage: tools/fuzz.sh SECONDS [TARGET...]    SECONDS in all, one target after the other
set -eu
seconds=$1
shift
[ $# -gt 0 ] || set -- arguments json live pages records requests segment

tools/setup.sh fuzz
[ -f build-fuzz/build.ninja ] ||
    CC=clang meson setup build-fuzz -Dfuzz=true -Dman=disabled -Dbuildtype=debugoptimized \
        -Db_sanitize=address,undefined -Db_lundef=false
programs=
for target in "$@"; do
    programs="$programs tests/fuzz/fuzz-$target"
done
# shellcheck disable=SC2086
ninja -C build-fuzz $programs

# The library keeps some memory until its process ends; no input has leaked that.
export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
for target in "$@"; do
    mkdir -p "build-fuzz/found/$target"
    echo "fuzz: $target, for $((seconds / $#)) s"
    "build-fuzz/tests/fuzz/fuzz-$target" "build-fuzz/found/$target" "tests/fuzz/corpus/$target" \
        -max_total_time=$((seconds / $#)) -max_len=1024 -timeout=120 -rss_limit_mb=4096 \
        -artifact_prefix="build-fuzz/$target-" >"build-fuzz/$target.log" 2>&1 ||
        { tail -40 "build-fuzz/$target.log" >&2; exit 1; }
    tail -1 "build-fuzz/$target.log"
done
