#!/bin/sh
# SPDX-License-Identifier: MIT
# Each public header compiles alone, as C11 and as C++ (where there is a C++ compiler), without a warning.
set -eu
flags="-fsyntax-only -Wall -Wextra -Werror -pedantic-errors -D_GNU_SOURCE -I $1"
languages="c -std=c11"
if echo | cc -x c++ -fsyntax-only - 2>/dev/null; then
    languages="$languages
c++ -std=c++11"
else
    echo "no C++ compiler here: only C was tried"
fi

for header in "$1"/holdfast/*.h; do
    echo "$languages" | while read -r language; do
        # shellcheck disable=SC2086
        cc -x $language $flags "$header"
    done
    if grep -nE 'stdatomic|static inline' "$header"; then
        echo "$header has inline functions or atomics" >&2
        exit 1
    fi
done
