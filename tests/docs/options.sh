#!/bin/bash
# SPDX-License-Identifier: MIT
# Each option of the build is described in CONTRIBUTING.md. With all of them off the library builds, in a folder of its
# own. It needs no package of a part that was left out.
# usage: options.sh SOURCE
set -u

source=$1

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

options=$(sed -n "s/^option('\([a-z_]*\)'.*/\1/p" "$source/meson_options.txt")
[ "$(wc -w <<<"$options")" -ge 11 ] || fail "meson_options.txt is read wrong: $options"
for option in $options; do
    grep -qE "^\| (\`[a-z_]+\`, )*\`$option\`" "$source/CONTRIBUTING.md" ||
        fail "CONTRIBUTING.md has no row for the option $option"
done
for option in $(sed -n '/^| option |/,/^$/s/^| \(`[^|]*`\) |.*/\1/p' "$source/CONTRIBUTING.md" | tr -d '`,'); do
    grep -qx "$option" <<<"$options" || fail "CONTRIBUTING.md has a row for $option, which is not an option"
done

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
export CCACHE_BASEDIR=$work CCACHE_NOHASHDIR=1
# A machine that has not the packages: pkg-config finds what is named here, and nothing else.
mkdir "$work/packages"
for package in ncursesw libxxhash tinfo; do
    file=$(pkg-config --variable=pcfiledir "$package")/$package.pc
    [ ! -e "$file" ] || ln -s "$file" "$work/packages/"
done
off=
for option in $options; do
    case $(sed -n "/^option('$option'/s/.*type: '\([a-z]*\)'.*/\1/p" "$source/meson_options.txt") in
    feature) off+=" -D$option=disabled" ;;
    boolean) off+=" -D$option=false" ;;
    esac
done
# shellcheck disable=SC2086
PKG_CONFIG_LIBDIR=$work/packages meson setup "$work/build" "$source" $off >"$work/log" 2>&1 ||
    fail "meson setup$off: $(tail -n 20 "$work/log")"
ninja -C "$work/build" src/libholdfast.so.0.1.0 >"$work/log" 2>&1 || fail "$(tail -n 40 "$work/log")"
library=$work/build/src/libholdfast.so.0
needed=$(readelf -d "$library" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
for part in pmem2 urcu fuse fabric uring crypto; do
    ! grep -q "$part" <<<"$needed" || fail "it needs $part: $needed"
done
nm -D --defined-only "$library" | grep -q ' hf_pin@' || fail "it has no hf_pin"
