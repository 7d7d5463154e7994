# SPDX-License-Identifier: MIT
# examples/file_server.c with curl, while files are replaced and cut. usage: file_server.sh HOLDFAST FILE_SERVER
set -eu
holdfast=$1 server=$2
command -v curl >/dev/null || {
    echo "skipped: curl is not installed"
    exit 77
}
work=$(mktemp -d "${TMPDIR:-/dev/shm}/holdfast-server-XXXXXX")
server_pid=
changer_pid=
clean_up() {
    for pid in $server_pid $changer_pid; do
        kill "$pid" 2>/dev/null || true
    done
    wait
    rm -rf "$work"
}
trap clean_up EXIT
fail() {
    echo "$*" >&2
    cat "$work/log" >&2
    exit 1
}

# Version K has lines of K alone, and a size of its own; half of it is what a truncate leaves. It is more than sockets
# keep, so that a send is under way as long as its client reads.
versions=5
size_of() {
    echo $((11000000 + $1 * 123457))
}
for k in $(seq $versions); do
    mkdir "$work/$k"
    yes "$k$k$k$k$k$k$k" | head -c "$(size_of "$k")" >"$work/$k/page"
    head -c $(($(size_of "$k") / 2)) "$work/$k/page" >"$work/$k/half"
done
"$holdfast" mkpool "$work/pool" --size 96M
"$holdfast" put "$work/pool" "$work/1/page" /
: >"$work/empty"
"$holdfast" put "$work/pool" "$work/empty" /
printf 'a name' >"$work/a b"
"$holdfast" put "$work/pool" "$work/a b" /

"$server" "$work/pool" >"$work/address" 2>"$work/log" &
server_pid=$!
until [ -s "$work/address" ]; do
    kill -0 $server_pid 2>/dev/null || {
        wait $server_pid || true
        server_pid=
        ! grep -qE 'not allowed|not permitted|RLIMIT_MEMLOCK|registers with no|file on a disk' "$work/log" || {
            echo "skipped: $(cat "$work/log")"
            exit 77
        }
        fail "the server has ended"
    }
    sleep 0.01
done
url=$(cat "$work/address")

status() {
    curl -s -o "$work/body" -w '%{http_code}' "$@"
}
[ "$(status "${url}page")" = 200 ] && cmp "$work/body" "$work/1/page" || fail "a file is not as it is"
[ "$(status "${url}a%20b?x=1")" = 200 ] && [ "$(cat "$work/body")" = "a name" ] || fail "a name with a space"
[ "$(status "${url}empty")" = 200 ] && [ ! -s "$work/body" ] || fail "an empty file"
[ "$(status "${url}none")" = 404 ] || fail "a file that is not there"
[ "$(status "$url")" = 404 ] || fail "a directory"
[ "$(status -X DELETE "${url}page")" = 405 ] || fail "another method"
[ "$(status -d body "${url}page")" = 400 ] || fail "a request with a body"
[ "$(status -g "${url}%zz")" = 400 ] || fail "a name that is none"
[ "$(status -H "X: $(head -c 9000 /dev/zero | tr '\0' x)" "${url}page")" = 431 ] || fail "a long head"
curl -sI "${url}page" | tr -d '\r' | grep -qx "Content-Length: $(size_of 1)" || fail "HEAD has another length"
[ "$(curl -s --http1.0 "${url}page" | wc -c)" = "$(size_of 1)" ] || fail "HTTP/1.0"

# A client that is slow is cut off for a truncate, which then goes on; it does not take a part for the whole.
curl -s --limit-rate 4M -o "$work/slow" "${url}page" &
slow=$!
until "$holdfast" pins "$work/pool" | grep -q page || ! kill -0 $slow 2>/dev/null; do
    sleep 0.01
done
"$holdfast" truncate "$work/pool" page --size 0
if wait $slow; then
    cmp "$work/slow" "$work/1/page" || fail "a slow client has something else, and thinks that it is whole"
fi

# One changes all the time, and a client gets files, not too fast. Each is whole, or curl says that it is not.
"$holdfast" put "$work/pool" "$work/1/page" /
(
    k=0
    while [ ! -e "$work/stop" ]; do
        k=$((k % versions + 1))
        "$holdfast" put "$work/pool" "$work/$k/page" /
        "$holdfast" truncate "$work/pool" page --size $(($(size_of $k) / 2))
    done
) &
changer_pid=$!
whole=0
versions_seen=
until [ $whole -ge 40 ] && [ "$(echo "$versions_seen" | tr ' ' '\n' | sort -u | wc -l)" -gt 2 ]; do
    rm -f "$work"/got*
    # by one connection, one after another
    if ! curl -s --fail-early --limit-rate 40M -o "$work/got1" -o "$work/got2" "${url}page" "${url}page"; then
        continue # cut off: once more
    fi
    for i in 1 2; do
        k=$(head -c 1 "$work/got$i")
        cmp -s "$work/got$i" "$work/$k/page" || cmp -s "$work/got$i" "$work/$k/half" ||
            fail "a file of no version: $(wc -c <"$work/got$i") bytes, $(tr -d '\0' <"$work/got$i" | uniq -c | head -4)"
        whole=$((whole + 1))
        versions_seen="$versions_seen $k"
    done
done
touch "$work/stop"
wait $changer_pid || fail "the changer has failed"
changer_pid=
kill $server_pid
wait $server_pid || fail "the server did not end well"
server_pid=
[ ! -s "$work/log" ] || fail "the server has complained"
"$holdfast" fsck "$work/pool" >"$work/log" || fail "the pool is damaged"
echo "$whole files were whole"
