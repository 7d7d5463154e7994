#!/bin/bash
# SPDX-License-Identifier: MIT
# Holdfast is built inside a pool, and what was built there works from there.
. "$(dirname "$0")/mount.sh" || exit 1
need git meson ninja rsync

start 1G
mkdir "$dir/top"
crowd top/build --still top/source
git -C "$SOURCE_ROOT" ls-files -z --cached --others --exclude-standard >"$work/list" ||
    skip "the sources are not a git checkout, so the files to build are not known"
mkdir "$dir/top/source"
rsync -a --from0 --files-from="$work/list" --ignore-missing-args "$SOURCE_ROOT" "$dir/top/source"
cd "$dir/top" || exit 1
run meson setup -Dbuildtype=debug build source # compiled in half the time
if [ "$size" = short ]; then
    run ninja -C build -j 2 cli/holdfast tests/support/hold-pin
else
    run ninja -C build -j 2
fi
same "$(build/cli/holdfast --version)" "$("$HOLDFAST" --version)"
run build/cli/holdfast mkpool "$work/inner" --size 8M
run build/cli/holdfast put "$work/inner" source/src source
run build/cli/holdfast get "$work/inner" source "$work/out"
run diff -r source/src "$work/out"
run ninja -C build -j 2 cli/holdfast tests/support/hold-pin
grep -q 'no work to do' "$work/said" || fail "times are not as they were: $(tail -n 5 "$work/said")"
cd / || exit 1
finish
