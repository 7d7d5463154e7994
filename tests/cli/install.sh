#!/bin/bash
# SPDX-License-Identifier: MIT
# DESTDIR installs what a user needs. The program runs from there, and pkg-config finds enough to build and run a
# program against the shared and the static library.
. "$(dirname "$0")/cli.sh" || exit 1

root=$work/root
try 0 meson install -C "$BUILD_ROOT" --no-rebuild --destdir "$root"
prefix=$(find "$root" -type d -name bin -printf '%h\n' | head -n 1)
library=$(dirname "$(find "$prefix" -name libholdfast.so.0)")
parts=
if "$HOLDFAST" help demo >/dev/null 2>&1; then parts+=" libexec/holdfast/holdfast-demo"; fi
if "$HOLDFAST" help serve >/dev/null 2>&1; then parts+=" libexec/holdfast/holdfast-cluster"; fi
if "$HOLDFAST" help mount >/dev/null 2>&1; then parts+=" sbin/mount.fuse.holdfast"; fi
for part in $parts bin/holdfast include/holdfast/holdfast.h include/holdfast/compact.h include/holdfast/put.h include/holdfast/serve.h include/holdfast/holdfast.hpp \
    share/bash-completion/completions/holdfast share/zsh/vendor-completions/_holdfast \
    share/fish/vendor_completions.d/holdfast.fish; do
    [ -e "$prefix/$part" ] || fail "$part is not installed"
done
same "$(find "$library" "$prefix/include" "$prefix/bin" -name '*lab*' | wc -l)" 0

for adapter in cache cluster fabric uring; do
    [ -e "$BUILD_ROOT/$adapter/libholdfast-$adapter.so" ] || continue
    for part in "include/holdfast/$adapter.h" "${library#"$prefix/"}/libholdfast-$adapter.so.0" \
        "${library#"$prefix/"}/pkgconfig/holdfast-$adapter.pc"; do
        [ -e "$prefix/$part" ] || fail "$part is not installed"
    done
done

# sanitized builds need their own run-time library first
if nm -D "$library/libholdfast.so" | grep -q -E '__(asan|tsan)_'; then
    echo "skipped: what was installed needs a sanitizer's library, so only its names were looked at"
    exit 77
fi
# what the library is said to need is what it needs
needed=$(readelf -d "$library/libholdfast.so" | sed -n 's/.*(NEEDED).*\[lib\(.*\)\.so.*/-l\1/p' | grep -vx -e -lc | sort)
said=$(sed -n 's/^Libs.private://p' "$library/pkgconfig/holdfast.pc" | tr ' ' '\n' | grep -e ^-l | sort)
same "$said" "$needed"
for package in $(sed -n 's/^Requires.*://p' "$library/pkgconfig/holdfast.pc" | tr -d ,); do
    grep -qx -e "-l${package#lib}" <<<"$needed" || fail "holdfast.pc requires $package, the library does not need it"
done

export LD_LIBRARY_PATH=$library
try 0 "$prefix/bin/holdfast" version
# Each library is loaded before each verb, and some take longer than all the rest. What few verbs need is in a program of
# its own, or loaded late.
others=$(ldd "$prefix/bin/holdfast" | awk '$1 ~ /^lib/ { print $1 }' |
    grep -v -E '^lib(holdfast|holdfast-cache|ncursesw|tinfo|m|fuse3|c|pthread|dl|rt|lmdb|urcu-memb|uring|xxhash)\.so\.')
same "$others" ""
if [ -x "$prefix/libexec/holdfast/holdfast-cluster" ]; then
    try 64 "$prefix/bin/holdfast" serve
    try 0 "$prefix/bin/holdfast" help cluster
fi
try 0 "$prefix/bin/holdfast" mkpool "$pool" --size 8M

cat >"$work/user.c" <<'EOF'
#include <holdfast/holdfast.h>
#include <stdio.h>
int main(int argc, char **argv)
{
    struct hf_pool *pool;
    if (argc < 2 || hf_pool_open(argv[1], 0, &pool) != 0) {
        fprintf(stderr, "%s\n", hf_strerror_detail());
        return 1;
    }
    printf("%s\n", hf_version());
    return hf_pool_close(pool) != 0;
}
EOF
export PKG_CONFIG_PATH=$library/pkgconfig PKG_CONFIG_SYSROOT_DIR=$root
read -r -a flags <<<"$(pkg-config --cflags --libs holdfast)"
try 0 cc -std=c11 -Wall -Wextra -Werror -pedantic "$work/user.c" -o "$work/user" "${flags[@]}"
try 0 "$work/user" "$pool"
same "$out" "$("$HOLDFAST" version | sed 's/.*library //')"
read -r -a flags <<<"$(pkg-config --cflags holdfast)"
# shellcheck disable=SC2086
try 0 cc "$work/user.c" -o "$work/user-static" "${flags[@]}" "$library/libholdfast.a" \
    $said -pthread
try 0 "$work/user-static" "$pool"
# the Python package lies where the interpreter looks, below the prefix
package=$(find "$prefix" -name '_holdfast.abi3.so')
if [ -n "$package" ]; then
    packages=$(dirname "$(dirname "$package")")
    try 0 /usr/bin/python3 -c 'import sys; sys.exit(sys.argv[1] not in sys.path)' "${packages#"$root"}"
    PYTHONPATH=$packages try 0 /usr/bin/python3 -c 'import sys, holdfast; holdfast.Pool(sys.argv[1]).close()' "$pool"
fi
# the headers compile alone, also as C++
printf '#include <holdfast/serve.h>\n' >"$work/alone.c"
try 0 cc -std=c11 -Wall -Wextra -Werror -c "$work/alone.c" -o "$work/alone.o" "${flags[@]}"
if command -v g++ >/dev/null; then
    try 0 g++ -Wall -Wextra -Werror -x c++ -c "$work/alone.c" -o "$work/alone.o" "${flags[@]}"
fi
