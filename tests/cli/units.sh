#!/bin/bash
# SPDX-License-Identifier: MIT
# The units of systemd have only options that exist, and the command that makes a pool does so. systemd finds nothing
# wrong with them. An installation keeps the pool.conf that an administrator has changed.
. "$(dirname "$0")/cli.sh" || exit 1

units=$BUILD_ROOT/packaging
[ -e "$units/holdfast-pool@.service" ] || {
    echo "skipped: this build has no units (meson's option systemd)"
    exit 77
}
conf=$SOURCE_ROOT/packaging/systemd/pool.conf

# The commands of the units, and what pool.conf gives as examples, name verbs and options that the help has.
has_options() {
    local verb=$1 word options

    shift
    try 0 "$HOLDFAST" "$verb" --help
    options=$(grep -oE '(^|[ ,])--?[a-z][a-z-]*' <<<"$out" | tr -d ' ,')
    for word; do
        case $word in
        -*) grep -qxe "$word" <<<"$options" || fail "holdfast $verb has no $word" ;;
        esac
    done
}
count=0
while read -r _ verb words; do
    # shellcheck disable=SC2086
    has_options "$verb" $words
    count=$((count + 1))
done < <(sed -n 's/^Exec[A-Za-z]*=\(.*\/holdfast .*\)/\1/p' "$units"/holdfast-*.service)
same "$count" "$(find "$units" -name 'holdfast-*.service' | wc -l)"
for verb in mkpool mount; do
    example=$(sed -n "s/^# .*ptions of holdfast $verb, as \(.*\)\.$/\1/p" "$conf")
    [ -n "$example" ] || fail "pool.conf has no example for $verb"
    # shellcheck disable=SC2086
    [ "$verb" = mount ] && ! "$HOLDFAST" help mount >/dev/null 2>&1 || has_options "$verb" $example
done

# with the values of pool.conf the pool's command makes one
command=$(sed -n 's/^ExecStart=[^ ]*\/holdfast //p' "$units/holdfast-pool@.service")
# shellcheck disable=SC2086,SC1090
(
    . "$conf"
    eval "try 0 \"\$HOLDFAST\" ${command//\/dev\/shm\/%i/\$pool}"
) || exit 1
try 0 "$HOLDFAST" info "$pool" --json
same "$(json 'it["pool_bytes"] if "pool_bytes" in it else it["bytes"]["pool"]')" $((64 << 20))
# each variable of a command is in pool.conf
for name in $(grep -hoE '\$\{?[A-Z_]+' "$units"/holdfast-*.service | tr -d '${' | sort -u); do
    grep -q "^$name=" "$conf" || fail "pool.conf does not name $name"
done

mkdir "$work/etc"
for i in 1 2; do
    try 0 env DESTDIR="$work/etc" "$SOURCE_ROOT/packaging/systemd/install_conf.sh" "$conf" /holdfast
    echo "POOL_SIZE=8M" >"$work/etc/holdfast/pool.conf"
done
DESTDIR=$work/etc try 0 "$SOURCE_ROOT/packaging/systemd/install_conf.sh" "$conf" /holdfast
same "$(cat "$work/etc/holdfast/pool.conf")" "POOL_SIZE=8M"

if ! command -v systemd-analyze >/dev/null; then
    echo "skipped: systemd-analyze is not installed; the commands were checked"
    exit 77
fi
mkdir "$work/units"
for unit in "$units"/holdfast-*.service; do
    sed "s#^\(Exec[A-Za-z]*=\)[^ ]*/holdfast #\1$HOLDFAST #" "$unit" >"$work/units/$(basename "$unit")"
done
try 0 systemd-analyze verify --man=no "$work/units"/holdfast-*.service
same "$err" ""
# 100 is a unit that may do everything
for limit in pool:20 mount:50; do
    [ ! -e "$work/units/holdfast-${limit%:*}@.service" ] ||
        try 0 systemd-analyze security --offline=true --threshold="${limit#*:}" "$work/units/holdfast-${limit%:*}@.service"
done
