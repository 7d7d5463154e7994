#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: cxx.sh INCLUDE LIBRARY TYPES.cc HANDLES.cc    both compile as C++17 and run; the first has every type of the C headers.
set -eu
if ! echo | c++ -x c++ -fsyntax-only - 2>/dev/null; then
    echo "skipped: there is no C++ compiler here"
    exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for type in $(sed -nE 's/^struct (hf_[a-z_]+)( \{|;).*/\1/p' "$1"/holdfast/*.h | sort -u); do
    grep -qE "(^|[^a-z_])$type( \*?[a-z]|>|\{)" "$3" || {
        echo "$3 has no variable of type $type" >&2
        exit 1
    }
done
for program in "$3" "$4"; do
    c++ -std=c++17 -Wall -Wextra -Werror -pedantic-errors -I "$1" "$program" "$2" -Wl,-rpath,"$(dirname "$2")" -pthread \
        -o "$work/program"
    "$work/program"
done
