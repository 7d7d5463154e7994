# SPDX-License-Identifier: MIT
# What the tests of the command line share; each begins with: . "$(dirname "$0")/cli.sh" || exit 1
# Gives $work, a folder in memory that is removed at the end, $pool, a name in it, and:
#   try STATUS COMMAND ...   runs it, expects that exit status; output is in $out, errors in $err
#   says TEXT                $err holds the text
#   same A B                 two strings are equal
#   hold NAME ARGS ...       hold-pin in the background; let_go NAME ends it
set -u

work=$(mktemp -d "${TMPDIR:-/dev/shm}/holdfast-cli-XXXXXX") || exit 1
pool=$work/pool
declare -A holder_pid holder_in
unset LANG LANGUAGE
export LC_ALL=C.UTF-8

clean_up() {
    local pid

    for pid in "${holder_pid[@]}"; do
        kill "$pid" 2>/dev/null
        kill -CONT "$pid" 2>/dev/null
    done
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

fail() {
    echo "FAILED at line ${BASH_LINENO[1]}: $*" >&2
    exit 1
}

try() {
    local expected=$1 status

    shift
    "$@" >"$work/out" 2>"$work/err" </dev/null
    status=$?
    out=$(tr -d '\0' <"$work/out")
    err=$(tr -d '\0' <"$work/err")
    [ "$status" = "$expected" ] ||
        fail "exit status $status instead of $expected: $* (it said: $err)"
}

says() {
    case $err in
    *"$1"*) ;;
    *) fail "the message does not say '$1' but '$err'" ;;
    esac
}

same() {
    [ "$1" = "$2" ] || fail "'$1' is not '$2'"
}

# A value of the JSON on $out, by a Python expression over `it`.
json() {
    python3 -c 'import json, sys
it = json.load(open(sys.argv[1]))
value = eval(sys.argv[2])
print(str(value).lower() if isinstance(value, bool) else value)' "$work/out" "$1" ||
        fail "no JSON with $1"
}

hold() {
    local name=$1 line

    shift
    mkfifo "$work/in-$name" "$work/out-$name"
    "$HOLD_PIN" "$@" <"$work/in-$name" >"$work/out-$name" &
    holder_pid[$name]=$!
    exec {holder_in[$name]}>"$work/in-$name"
    read -r -t 600 line <"$work/out-$name" || fail "hold-pin $* did not get its pin"
    same "$line" held
}

let_go() {
    local fd=${holder_in[$1]}

    echo >&"$fd"
    exec {fd}>&-
    wait "${holder_pid[$1]}" || fail "hold-pin $1 failed"
    unset "holder_pid[$1]"
}
