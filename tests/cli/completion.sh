#!/bin/bash
# SPDX-License-Identifier: MIT
# The completion for bash, asked as the shell asks it.
. "$(dirname "$0")/cli.sh" || exit 1
. "$SOURCE_ROOT/cli/completion.bash"
compopt() { :; } # only works while the shell completes

# What is offered for the last word.
offered() {
    COMP_WORDS=("$HOLDFAST" "$@")
    COMP_CWORD=$#
    _holdfast "$HOLDFAST"
    printf '%s\n' "${COMPREPLY[@]}" | sort | tr '\n' ' '
}

try 0 "$HOLDFAST" mkpool "$pool" --size 16M
try 0 "$HOLDFAST" mkdir "$pool" -p music/old "with space"
for name in music/one music/two notes; do
    printf 'x' | "$HOLDFAST" put "$pool" - "$name"
done

same "$(offered p)" "pins punch put "
same "$(offered mk)" "mkdir mkpool "
same "$(offered help tr)" "trim truncate "
same "$(offered ls "$pool" --j)" "--json "
same "$(offered mkpool "$pool" --max)" \
    "--max-files --max-leases --max-processes --max-threads "
same "$(offered mkpool "$pool" --q)" "--quarantine "
same "$(offered ls "${pool%ool}")" "$pool "
same "$(offered ls "$pool" m)" "music/ "
same "$(offered cat "$pool" music/)" "music/old/ music/one music/two "
same "$(offered cat "$pool" music/t)" "music/two "
same "$(offered rm "$pool" notes w)" "with space/ "
same "$(offered ls "$pool" /mu)" "/music/ "
same "$(offered truncate "$pool" --size 5 n)" "notes "
same "$(offered rm "$pool" --policy dead)" "deadline-detach: deadline: "
same "$(offered put "$pool" "$SOURCE_ROOT/LIC")" "$SOURCE_ROOT/LICENSE "
same "$(offered get "$pool" no)" "notes "
if "$HOLDFAST" help bench >/dev/null 2>&1; then
    same "$(offered bench --)" "--csv --help --json --plot --quick --runs "
    same "$(offered bench pin tr)" "truncate "
    same "$(offered bench --plot "$SOURCE_ROOT/LIC")" "$SOURCE_ROOT/LICENSE "
fi
same "$(offered pins "$pool" --file mu)" "music/ "
same "$(offered pins "$pool" -f no)" "notes "
if "$HOLDFAST" help mount >/dev/null 2>&1; then
    same "$(offered mount "$pool" "$SOURCE_ROOT/cl")" "$SOURCE_ROOT/cli "
    same "$(offered mount "$pool" --)" "--foreground --help --options "
    same "$(offered mount -o ca)" "cache=auto cache=none "
    same "$(offered mount "$pool" -o ro,al)" "ro,allow_other "
    same "$(offered mount "$pool" -o cache = a)" "auto "
fi
same "$(offered top "$pool" --)" "--batch --help --interval "

# the words that stand in the completion are those that the program takes, each of them
words() { tr -s ' ' '\n' | sort | tr '\n' ' '; }
try 64 "$HOLDFAST" rm "$pool" notes --policy nonsense
same "$(sed 's/.*a policy is //; s/ (TIME.*//; s/,//g; s/ or / /; s/TIME//g' <<<"$err" | words)" \
    "$(offered rm "$pool" --policy "")"
try 64 "$HOLDFAST" cp "$pool" notes others --reflink nonsense
same "$(sed 's/.*must be //; s/,//g; s/ or / /' <<<"$err" | words)" "$(offered cp "$pool" --reflink "")"
known=
for engine in $(sed -n 's/^ *\.name = "\([a-z-]*\)",$/\1/p' "$SOURCE_ROOT"/src/sync/*.c); do
    "$HOLDFAST" mkpool "$work/engine-$engine" --size 8M --engine "$engine" 2>/dev/null && known+="$engine "
done
same "$(words <<<"${known% }")" "$(offered mkpool "$pool" --engine "")"
try 0 "$HOLDFAST" mount --help
same "$(sed -n 's/^  -o, --options OPTION,\.\.\.  *\(.*\), and .*/\1/p' <<<"$out" | tr -d , | words)" \
    "$(offered mount "$pool" -o "")"
same "$(offered punch "$pool" --off 0 -o "")$(offered dedup "$pool" -p "")" "  "
same "$(offered demo --input "$SOURCE_ROOT/cl")" "$SOURCE_ROOT/cli "
