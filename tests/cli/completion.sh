#!/bin/bash
# SPDX-License-Identifier: MIT
# The completions for bash, zsh and fish, asked as the shells ask them.
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
if "$HOLDFAST" help cluster >/dev/null 2>&1; then
    same "$(offered serv)" "serve "
    same "$(offered serve "$pool" --me)" "--members "
    same "$(offered cluster st)" "status "
    same "$(offered cluster get --sec)" "--secret "
    same "$(offered help clu)" "cluster "
fi
same "$(offered pins "$pool" --file mu)" "music/ "
same "$(offered pins "$pool" -f no)" "notes "
if "$HOLDFAST" help mount >/dev/null 2>&1; then
    same "$(offered mount "$pool" "$SOURCE_ROOT/cli")" "$SOURCE_ROOT/cli "
    same "$(offered mount "$pool" --)" "--foreground --help --options "
    same "$(offered mount -o ca)" "cache=auto cache=none "
    same "$(offered mount "$pool" -o ro,al)" "ro,allow_other "
    same "$(offered mount "$pool" -o cache = a)" "auto "
fi
same "$(offered top "$pool" --)" "--batch --help --interval --listen "

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
if "$HOLDFAST" help mount >/dev/null 2>&1; then
    try 0 "$HOLDFAST" mount --help
    same "$(sed -n 's/^  -o, --options OPTION,\.\.\.  *\(.*\), and .*/\1/p' <<<"$out" | tr -d , | words)" \
        "$(offered mount "$pool" -o "")"
fi
same "$(offered punch "$pool" --off 0 -o "")$(offered dedup "$pool" -p "")" "  "
if "$HOLDFAST" help demo >/dev/null 2>&1; then
    same "$(offered demo --input "$SOURCE_ROOT/cli")" "$SOURCE_ROOT/cli "
fi

# a value behind the equals sign, in the one word that other shells make of it
asked() { "$HOLDFAST" complete "$@" | tr '\t\n' ' ;'; }
same "$(asked cp "$pool" --reflink=al)" "=--reflink=always ;"
same "$(asked rm "$pool" --policy=now)" "=--policy=nowait ;"
same "$(asked mkpool "$pool" --durable=x)" ""
same "$(asked get "$pool" music/one mus)" ":nospace;=music/ ;:files;"
same "$(asked put "$pool" mus)" ":files;"
same "$(asked put "$pool" x mus)" ":files;:nospace;=music/ ;"
same "$(asked snapshot "$pool" mus)" ":nospace;=music/ ;"
same "$(asked cat "$work/nothing" mus)" ":nospace;"
same "$(asked nonsense "")$(asked)" ""
same "$(asked version "")" ""

# every verb is offered something for each option that has fixed words or names a file
for verb in $("$HOLDFAST" complete "" | sed 's/^=//; s/\t.*//'); do
    "$HOLDFAST" complete "$verb" "$pool" "" >/dev/null || fail "$verb has no operands"
    "$HOLDFAST" complete "$verb" --he | grep -q -- '^=--help' || fail "$verb has no options"
done

# fish prints what it would offer
if command -v fish >/dev/null; then
    fished() {
        HOME=$work PATH=$(dirname "$HOLDFAST"):$PATH fish --no-config -c \
            'source $argv[1]; complete -C $argv[2]' "$SOURCE_ROOT/cli/completion.fish" "$1" 2>/dev/null | cut -f 1 | tr '\n' ' '
    }
    same "$(fished "holdfast mk")" "mkdir mkpool "
    same "$(fished "holdfast cat $pool music/t")" "music/two "
    same "$(fished "holdfast cp $pool --reflink a")" "always auto "
    same "$(fished "holdfast put $pool $SOURCE_ROOT/LIC")" "$SOURCE_ROOT/LICENSE "
else
    echo "fish is not installed, so its completion is not tried"
fi

# zsh completes at a terminal of its own
if command -v zsh >/dev/null; then
    try 0 zsh -n "$SOURCE_ROOT/cli/completion.zsh"
    mkdir "$work/zsh"
    ln -s "$SOURCE_ROOT/cli/completion.zsh" "$work/zsh/_holdfast"
    zshed() {
        python3 "$SOURCE_ROOT/tests/cli/zsh_line.py" "$work/zsh" "$(dirname "$HOLDFAST")" "$1"
    }
    same "$(zshed "holdfast mkp")" "holdfast mkpool "
    same "$(zshed "holdfast cat $pool music/t")" "holdfast cat $pool music/two"
    same "$(zshed "holdfast ls $pool wi")" "holdfast ls $pool with\\ space/"
    same "$(zshed "holdfast rm $pool --policy=no")" "holdfast rm $pool --policy=nowait "
else
    echo "zsh is not installed, so its completion is not tried"
fi
