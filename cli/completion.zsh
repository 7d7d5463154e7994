#compdef holdfast
# SPDX-License-Identifier: MIT
# Completion for zsh. `holdfast complete` says what may follow; this file only knows the shell.

_holdfast()
{
    local line word
    local -a asked plain shown after

    asked=("${(@Q)words[2,CURRENT]}")
    asked[-1]=${(Q)PREFIX}
    for line in "${(@f)$(_call_program words ${(q)words[1]} complete ${(q)asked} 2>/dev/null)}"; do
        case $line in
        :nospace) after=(-S '') ;;
        :files) _files ;;
        :directories | :pools) _files -/ ;;
        '='*)
            word=${${line#=}%%$'\t'*}
            plain+=("$word")
            shown+=("$word  ${line#*$'\t'}")
            ;;
        esac
    done
    (( ! $#plain )) || compadd "${after[@]}" -l -d shown -a plain
}

_holdfast "$@"
