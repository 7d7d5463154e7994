#!/bin/sh
# SPDX-License-Identifier: MIT
# Everything that is too long for `make test`. The suites run under AddressSanitizer and UndefinedBehaviorSanitizer, and
# under ThreadSanitizer. Then come an hour of fuzzing, the models, a new machine, and the long torture and kill storm.
# usage: tools/check-all.sh BUILD    a build folder that is up to date
set -eu
build=$1

# name, value of b_sanitize, suite to leave out, suites.
sanitized() {
    name=$1 sanitizer=$2 left_out=$3
    shift 3
    [ -f "build-$name/build.ninja" ] ||
        meson setup "build-$name" -Dbuildtype=debugoptimized -Db_sanitize="$sanitizer" \
            -Db_lundef=false -Ddebug_pins=true
    ninja -C "build-$name"
    echo "check-all: $sanitizer: $*"
    suites=
    for suite in "$@"; do
        suites="$suites --suite $suite"
    done
    # shellcheck disable=SC2086
    meson test -C "build-$name" --no-rebuild --print-errorlogs --num-processes 1 \
        --timeout-multiplier 20 $suites --no-suite "$left_out"
}

export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
# It ends a program of which a thread has more than 64 locks, and hf_clone_files() has up to 128. The
# library checks the order of its locks itself (src/shm/lock_check.c). Children of a test make threads.
export TSAN_OPTIONS="halt_on_error=1:detect_deadlocks=0:die_after_fork=0:suppressions=$PWD/tools/tsan.supp"
# A sanitizer doubles what the library keeps for each thread; glibc has room for 1,664 bytes in
# programs that load it late (Python, holdfast-bench).
export GLIBC_TUNABLES=glibc.rtld.optional_static_tls=4096

tools/setup.sh browser || echo "check-all: the page of holdfast top is not shown to a browser"
tools/setup.sh promtool || echo "check-all: promtool does not read the alert rules"
sanitized asan address,undefined long unit system cli posix device storm-short fuzz python
# It knows only the threads of its own process: what is handed on through another process is a race to it.
sanitized tsan thread torture unit system posix
for engine in slots slots-fenced refcount srcu percpu-rwsem rcu; do
    build-tsan/tests/torture/torture --engine $engine --processes 1 --layout-changes 20000
done
echo "check-all: an hour of libFuzzer"
tools/fuzz.sh 3600
echo "check-all: the models"
make model
echo "check-all: the parts that a build can do without"
tools/switches.sh
echo "check-all: a new machine"
tools/fresh.sh || [ $? = 77 ]
echo "check-all: Debian's packages"
tools/fresh.sh --packages || [ $? = 77 ]
echo "check-all: the long runs"
meson test -C "$build" --no-rebuild --print-errorlogs --num-processes 1 --timeout-multiplier 10 \
    --suite long --suite mount-long
echo "check-all: all good"
