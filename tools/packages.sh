#!/bin/bash
# SPDX-License-Identifier: MIT
# Builds Debian's packages and tries them: tools/fresh.sh --packages calls it on a new machine, in a clone of this
# repository. It installs, upgrades and removes packages, so it does not run elsewhere. Only apt uses the network.
#
# The older packages are of the same tree, but their programs use another run segment (SHM_VERSION). So a new program
# meets a pool that an old one has open, as after any upgrade that changes shared memory.
set -eu

[ "$(hostname)" = fresh ] || {
    echo "packages: this changes what is installed; run tools/fresh.sh --packages" >&2
    exit 64
}
export DEBIAN_FRONTEND=noninteractive
tree=$PWD
newer=/root/newer older=/root/older pools=/dev/shm/pools
checks=0

say() {
    printf '\npackages: %s\n' "$*"
}

fail() {
    printf '\npackages: FAILED: %s\n' "$*"
    exit 1
}

# WHAT COMMAND...: it succeeds, and WHAT is said.
check() {
    local what=$1

    shift
    "$@" || fail "$what: $* ended with $?"
    checks=$((checks + 1))
    echo "ok: $what"
}

# WHAT WORDS COMMAND...: it fails, and its sentence has WORDS.
check_refused() {
    local what=$1 words=$2 said

    shift 2
    said=$("$@" 2>&1) && fail "$what: $* was not refused: $said"
    check "$what: $said" grep -q "$words" <<<"$said"
}

apt() {
    apt-get -y -q "$@" </dev/null
}

# ---- building ----------------------------------------------------------------------------------

# What the packages need to be built goes when they are: programs must not run by its grace. By itself, apt keeps what
# another package only recommends or suggests, such as dpkg-dev.
build_all() {
    local before

    before=$(dpkg-query -W | sort)
    say "building them"
    apt update
    apt -o APT::Get::Build-Dep-Automatic=true --no-install-recommends build-dep .
    build "$newer"
    make_older
    build "$older" -nc
    git -C "$tree" checkout -q .
    apt -o APT::AutoRemove::RecommendsImportant=false -o APT::AutoRemove::SuggestsImportant=false --purge autoremove
    check "the machine is bare again" diff <(echo "$before") <(dpkg-query -W | sort)
}

# FOLDER OPTION...: dpkg-buildpackage, without a network.
build() {
    local folder=$1

    shift
    unshare --net dpkg-buildpackage -us -uc -b "$@"
    mkdir "$folder"
    mv ../*.deb ../*.changes ../*.buildinfo "$folder"
    check "$(basename "$folder"): $(find "$folder" -name '*.deb' | wc -l) packages" test -e "$folder"/holdfast_*.deb
}

make_older() {
    sed -i "1s/($version)/($version~older)/" debian/changelog
    sed -i "s/ $version\$/ $version~older/" debian/*.symbols
    sed -i -E 's/^(#define SHM_VERSION) .*/\1 1u/' src/shm/private.h
    rm debian/debhelper-build-stamp debian/files
}

# ---- an upgrade, and a removal -----------------------------------------------------------------

# It holds a page, and says so as often as it is asked.
write_holder() {
    cat >/root/holder.py <<'END_OF_HOLDER'
import os, sys
import holdfast

with holdfast.Pool(sys.argv[1]) as pool, pool.open("/held", os.O_RDWR | os.O_CREAT) as file:
    file.write(b"held" * 1024)
    with file.pin(0, 4096) as pin, memoryview(pin) as view:
        print("ready", flush=True)
        for number, _ in enumerate(sys.stdin):
            file.append(b"%04d" % number)
            print(bytes(view) == b"held" * 1024 and file.read(4, 4096 + 4 * number) == b"%04d" % number, flush=True)
    file.truncate(4096)
END_OF_HOLDER
}

# Programs of what is installed now: one has the pool "open" and a pin, one serves a mount.
start_programs() {
    coproc HOLDER { exec python3 /root/holder.py "$pools/open"; }
    holder=$HOLDER_PID ask=${HOLDER[1]} answers=${HOLDER[0]}
    check "a program has a pool open" answered ready
    holdfast mount --foreground "$pools/mounted" /mnt &
    server=$!
    until mountpoint -q /mnt; do
        kill -0 "$server" || fail "the mount has ended"
        sleep 0.1
    done
    exec 7<>/mnt/log
}

answered() {
    local answer

    read -r answer <&"$answers" && [ "$answer" = "$1" ]
}

# WHEN: they run as before.
check_programs() {
    echo >&"$ask"
    check "$1, the program holds its page and writes" answered True
    check "$1, the mount shows its files" diff -r /root/files /mnt/files
    echo "$1" >&7
    check "$1, an open file of the mount is written" grep -qx "$1" /mnt/log
}

end_programs() {
    exec 7>&-
    umount /mnt
    check "the server of the mount ends" wait "$server"
    exec {ask}>&-
    check "the program ends by itself" wait "$holder"
}

# WHEN: no pool has a fault or has lost a file. Nothing has a pool open.
check_pools() {
    local pool

    for pool in "$pools"/* /var/lib/pool; do
        check "$1, fsck of $pool" holdfast fsck "$pool"
        rm -rf /root/copy
        mkdir /root/copy
        check "$1, what is in $pool" holdfast get "$pool" files /root/copy
        check "$1, it is as it was" diff -r /root/files /root/copy/files
    done
}

# Of memory and of a disk; the programs of one were killed.
make_pools() {
    mkdir /root/files "$pools"
    cp -r /usr/share/common-licenses /etc/apt /root/files
    for pool in open mounted killed; do
        holdfast mkpool "$pools/$pool" --size 64M
    done
    holdfast mkpool /var/lib/pool --size 64M
    for pool in "$pools"/* /var/lib/pool; do
        holdfast put "$pool" /root/files
    done
    python3 -c 'import holdfast, os, signal, sys
pool = holdfast.Pool(sys.argv[1])
file = pool.open("/killed", os.O_RDWR | os.O_CREAT)
file.write(b"acknowledged")
os.kill(os.getpid(), signal.SIGKILL)' "$pools/killed" || true
}

upgrade() {
    say "an upgrade beside open and mounted pools"
    apt install "$older"/*.deb
    make_pools
    echo "POOL_SIZE=32M" >>/etc/holdfast/pool.conf
    start_programs
    check_programs "before the upgrade"
    apt install "$newer"/*.deb
    check "the new packages are there" test "$(dpkg-query -W -f '${Version}' holdfast)" = "$version"
    check_programs "after the upgrade"
    for pool in open mounted; do
        check_refused "a new program, and the pool $pool of an old one" "of another version of Holdfast" holdfast ls "$pools/$pool"
    done
    check "a pool whose old programs were killed" grep -qx acknowledged <(holdfast cat "$pools/killed" killed; echo)
    check "the administrator's settings are kept" grep -qx POOL_SIZE=32M /etc/holdfast/pool.conf
    end_programs
    check_pools "after the upgrade"
}

remove() {
    say "a removal beside open and mounted pools"
    start_programs
    apt install --reinstall "$newer"/*.deb
    check_programs "installed again"
    check "a new program beside others" test "$(holdfast cat "$pools/open" held | head -c 4)" = held
    # shellcheck disable=SC2046
    apt remove $(names)
    check_programs "removed"
    check "no program is left" test ! -e /usr/bin/holdfast
    # shellcheck disable=SC2046
    dpkg --purge $(names)
    check_programs "purged"
    check "no settings are left" test ! -e /etc/holdfast
    end_programs
    apt install "$newer"/*.deb
    check_pools "at the end"
}

# Of all packages.
names() {
    sed -n 's/^Package: //p' "$tree/debian/control"
}

# ---- what they are for -------------------------------------------------------------------------

# The tests of debian/tests, with what is installed; they find nothing of this tree but its examples. To take up a tree
# that is not built, autopkgtest wants dpkg-source.
run_tests() {
    say "the README's job, by autopkgtest"
    apt install --no-install-recommends autopkgtest dpkg-dev
    check "autopkgtest" autopkgtest --no-built-binaries --output-dir /root/tested "$tree" -- null
}

run_lintian() {
    say "lintian"
    apt install --no-install-recommends lintian
    check "lintian" lintian --allow-root --fail-on error,warning --display-info --show-overrides "$newer"/*.changes
}

version=$(sed -n '1s/.*(\(.*\)).*/\1/p' debian/changelog)
write_holder
build_all
upgrade
remove
run_tests
run_lintian
say "$checks checks passed, 0 failed"
