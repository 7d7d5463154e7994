#!/bin/sh
# SPDX-License-Identifier: MIT
# Installs the Debian packages that the build needs and that are missing; silent when none is.
# usage: tools/setup.sh [lint|test|bench|model|fuzz|fresh|browser|promtool]
# lint: also what `make lint` and `make fmt` use; test: also the programs that `make test` runs; bench: also those that
# `make bench` does. The others install only what is theirs: for `make model`, the targets under libFuzzer,
# tools/fresh.sh, the page of top, the alert rules. Debian starts the server that has promtool.
set -eu

packages="libc6-dev meson ninja-build pkg-config liblmdb-dev libpmem2-dev liburcu-dev libxxhash-dev
libcmocka-dev libfuse3-dev libncurses-dev liburing-dev systemtap-sdt-dev scdoc python3-dev libfabric-dev
libmicrohttpd-dev libssl-dev libcurl4-openssl-dev libjson-c-dev"
if [ "${1-}" = lint ]; then
    packages="$packages clang-format codespell"
elif [ "${1-}" = test ]; then
    packages="$packages acl attr bonnie++ curl dbench etcd-server fio fish fuse3 g++ git gnuplot-nox iproute2 openssl
        python3-numpy python3-pytest rsync sqlite3 stress-ng zsh"
elif [ "${1-}" = bench ]; then
    packages="$packages bindfs btrfs-progs dbench fio fuse3 memcached redis-server xfsprogs"
elif [ "${1-}" = model ]; then
    packages="spin gcc"
elif [ "${1-}" = fuzz ]; then
    packages="clang libclang-rt-14-dev"
elif [ "${1-}" = fresh ]; then
    packages="mmdebstrap"
elif [ "${1-}" = browser ]; then
    packages="chromium"
elif [ "${1-}" = promtool ]; then
    packages="prometheus"
fi

# Prints those of $packages that are not installed.
missing_packages() {
    # shellcheck disable=SC2086
    installed=" $(dpkg-query -W -f '${Package}=${db:Status-Status} ' $packages 2>/dev/null || true)"
    for package in $packages; do
        case $installed in
        *" $package=installed "*) ;;
        *) printf '%s ' "$package" ;;
        esac
    done
}

if ! command -v dpkg-query >/dev/null; then
    for tool in meson ninja pkg-config; do
        command -v $tool >/dev/null || {
            echo "setup: this is not Debian, and $tool is missing. Please install what Debian" \
                "calls:" $packages >&2
            exit 1
        }
    done
    exit 0
fi

missing=$(missing_packages)
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    as_root="env"
elif command -v sudo >/dev/null; then
    as_root="sudo env"
else
    echo "setup: these Debian packages are missing: ${missing% }. Neither root nor sudo is at" \
        "hand; please run as root: apt-get install ${missing% }" >&2
    exit 1
fi

install_missing() {
    # shellcheck disable=SC2086
    $as_root DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
}

echo "setup: installing ${missing% }" >&2
if ! install_missing >&2; then
    $as_root DEBIAN_FRONTEND=noninteractive apt-get update -q >&2 || true
    if ! install_missing >&2; then
        echo "setup: apt-get could not install: ${missing% }. Please see its message above," \
            "install them by hand and run make again" >&2
        exit 1
    fi
fi
