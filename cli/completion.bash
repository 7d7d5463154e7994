# SPDX-License-Identifier: MIT
# Completion for bash: verbs, options and paths inside a pool. Everything is asked of the program
# itself, so a new verb or option needs no line here.

# Lines of `holdfast help` that begin with two blanks name a verb, those of `bench --help` a group.
_holdfast_verbs()
{
    "$1" "${@:2}" 2>/dev/null | sed -n 's/^  \([a-z]*\) .*/\1/p'
}

# Likewise the options of a verb: '  -s, --size SIZE   ...' gives -s and --size.
_holdfast_options()
{
    "$1" "$2" --help 2>/dev/null | sed -n 's/^  \(-.*\)/\1/p' |
        grep -o -E '^(-[A-Za-z], )?--[a-z-]+' | tr -d ',' | tr ' ' '\n'
}

# Does the option take a value? 'VALUE' in capitals behind its name says so.
_holdfast_takes_value()
{
    "$1" "$2" --help 2>/dev/null | grep -q -E "^  (-[A-Za-z], )?$3 [A-Z]+|^  $3, --[a-z-]+ [A-Z]+"
}

# Entries of the pool's directory that the typed path begins with.
_holdfast_pool_paths()
{
    local program=$1 pool=$2 typed=$3 directory="" name

    case $typed in
    */*) directory=${typed%/*}/ ;;
    esac
    while IFS= read -r name; do
        case $directory$name in
        "$typed"*) COMPREPLY+=("$directory$name") ;;
        esac
    done < <("$program" ls -p "$pool" "${directory:-/}" 2>/dev/null)
}

_holdfast_files()
{
    local name

    while IFS= read -r name; do
        COMPREPLY+=("$name")
    done < <(compgen "-$1" -- "$2")
    compopt -o filenames
}

# Directories; one that is a pool is complete and gets no slash.
_holdfast_pools()
{
    _holdfast_files d "$1"
    if ((${#COMPREPLY[@]} == 1)) && [[ -d ${COMPREPLY[0]/#\~/$HOME}/meta ]]; then
        compopt +o filenames
        printf -v 'COMPREPLY[0]' '%q' "${COMPREPLY[0]}"
    fi
}

# The same for the word that is completed; the pool is the first operand.
_holdfast_paths()
{
    compopt -o filenames -o nospace
    _holdfast_pool_paths "$1" "${operands[0]/#\~/$HOME}" "${2//\\/}"
}

# Options of a mount, of which several may stand behind one -o, parted by commas.
_holdfast_mount_options()
{
    local before=

    case $1 in
    *,*) before=${1%,*}, ;;
    esac
    mapfile -t COMPREPLY < <(compgen -P "$before" -W 'ro allow_other cache=none cache=auto' -- "${1##*,}")
    compopt -o nospace
}

_holdfast_value()
{
    case $1 in
    --policy | -p)
        mapfile -t COMPREPLY < <(compgen -W 'wait nowait detach deadline: deadline-detach:' -- "$2")
        compopt -o nospace
        ;;
    --engine)
        mapfile -t COMPREPLY < <(compgen -W 'slots slots-fenced refcount srcu percpu-rwsem' -- "$2")
        ;;
    --reflink) mapfile -t COMPREPLY < <(compgen -W 'auto always never' -- "$2") ;;
    --data | --svg | --input | --plot) _holdfast_files f "$2" ;;
    --file | -f) _holdfast_paths "$3" "$2" ;;
    --options | -o) _holdfast_mount_options "$2" ;;
    esac
}

# The operands before the cursor, without options and their values, go to `operands`.
_holdfast_collect_operands()
{
    local i word

    operands=()
    for ((i = 2; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        case $word in
        -?*=*) ;;
        -?*) _holdfast_takes_value "$1" "$2" "$word" && ((i++)) ;;
        *) operands+=("$word") ;;
        esac
    done
}

_holdfast()
{
    local program=$1 typed=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]} before
    local -a operands

    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        mapfile -t COMPREPLY < <(compgen -W "$(_holdfast_verbs "$program" help)" -- "$typed")
        return
    fi
    before=${COMP_WORDS[COMP_CWORD - 1]}
    case $verb in
    help)
        mapfile -t COMPREPLY < <(compgen -W "$(_holdfast_verbs "$program" help)" -- "$typed")
        return
        ;;
    mount)
        if [[ $typed == = || $before == = ]]; then # the shell takes cache=auto for three words
            mapfile -t COMPREPLY < <(compgen -W 'none auto' -- "${typed#=}")
            return
        fi
        ;;
    esac
    if [[ $typed == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_holdfast_options "$program" "$verb") --help" \
            -- "$typed")
        return
    fi
    if [[ $before == -?* ]] && _holdfast_takes_value "$program" "$verb" "$before"; then
        _holdfast_collect_operands "$program" "$verb"
        _holdfast_value "$before" "$typed" "$program"
        return
    fi
    case $verb in
    demo) return ;;
    bench)
        mapfile -t COMPREPLY < <(compgen -W "$(_holdfast_verbs "$program" bench --help)" \
            -- "$typed")
        return
        ;;
    esac
    _holdfast_collect_operands "$program" "$verb"
    if ((${#operands[@]} == 0)) || [[ $verb == df ]]; then
        _holdfast_pools "$typed"
        return
    fi
    if [[ $verb == mount ]]; then
        _holdfast_files d "$typed"
        return
    fi
    # put begins with a file of the host, get may end with one
    if [[ $verb == put ]]; then
        _holdfast_files f "$typed"
        ((${#operands[@]} > 1)) || return
    elif [[ $verb == get ]] && ((${#operands[@]} > 1)); then
        _holdfast_files f "$typed"
    fi
    _holdfast_paths "$program" "$typed"
}

complete -F _holdfast holdfast
