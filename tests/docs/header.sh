#!/bin/sh
# SPDX-License-Identifier: MIT
# The public header compiles alone, as C11 and as C++ (where there is a C++ compiler), without a warning.
set -eu
header=$1/holdfast/holdfast.h
flags="-fsyntax-only -Wall -Wextra -Werror -pedantic-errors -D_GNU_SOURCE"

# shellcheck disable=SC2086
cc -x c -std=c11 $flags "$header"
if echo | cc -x c++ -fsyntax-only - 2>/dev/null; then
    # shellcheck disable=SC2086
    cc -x c++ -std=c++11 $flags "$header"
else
    echo "no C++ compiler here: only C was tried"
fi
if grep -nE 'stdatomic|static inline' "$header"; then
    echo "the public header has inline functions or atomics" >&2
    exit 1
fi
