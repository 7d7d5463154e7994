# SPDX-License-Identifier: MIT
# Completion for bash. `holdfast complete` says what may follow; this file only knows the shell.

# Names of the host; a directory that is a pool is complete and gets no slash.
_holdfast_names()
{
    local name

    while IFS= read -r name; do
        COMPREPLY+=("$name")
    done < <(compgen "-$1" -- "$2")
    compopt -o filenames
    if [[ $3 == :pools ]] && ((${#COMPREPLY[@]} == 1)) && [[ -d ${COMPREPLY[0]/#\~/$HOME}/meta ]]; then
        compopt +o filenames
        printf -v 'COMPREPLY[0]' '%q' "${COMPREPLY[0]}"
    fi
}

# The words up to the cursor, as the program would get them. The shell takes --name=value for three.
_holdfast_words()
{
    local i word joined=

    words=()
    for ((i = 1; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]//\\/}
        ((i == COMP_CWORD)) || word=${word/#\~/$HOME}
        if [[ (-n $joined || $word == =) && ${#words[@]} -gt 0 ]]; then
            words[-1]+=$word
        else
            words+=("$word")
        fi
        joined=
        [[ $word != = ]] || joined=1
    done
}

_holdfast()
{
    local typed=${COMP_WORDS[COMP_CWORD]} line word kept
    local -a words

    COMPREPLY=()
    _holdfast_words
    kept=${words[-1]%"${typed#=}"} # in front of what the shell replaces
    [[ ${words[-1]} == *=* && $kept == *= ]] || kept=
    while IFS= read -r line; do
        case $line in
        :nospace) compopt -o nospace ;;
        :files) _holdfast_names f "${words[-1]#"$kept"}" "$line" ;;
        :directories | :pools) _holdfast_names d "${words[-1]#"$kept"}" "$line" ;;
        =*)
            word=${line#=}
            word=${word%%$'\t'*}
            [[ $word != */* && $word != *' '* ]] || compopt -o filenames
            COMPREPLY+=("${word#"$kept"}")
            ;;
        esac
    done < <("$1" complete "${words[@]}" 2>/dev/null)
}

complete -F _holdfast holdfast
