# SPDX-License-Identifier: MIT
# Completion for bash: verbs, options and paths inside a pool. Verbs and options are asked of the
# program, so a new one needs no line here. Words that are values of an option stand here;
# tests/cli/completion.sh compares them with what the program takes.

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

# What the help calls the value of an option, as SIZE or FILE; nothing if it takes none.
_holdfast_value_name()
{
    "$1" "$2" --help 2>/dev/null |
        sed -n -E "s/^  ((-[A-Za-z], )?$3|$3, --[a-z-]+) ([A-Z]+).*/\\3/p"
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
    mapfile -t COMPREPLY < <(compgen -P "$before" -W 'ro allow_other cache=none cache=auto remount' -- "${1##*,}")
    compopt -o nospace
}

# What is offered for the value of an option, by the verb and by what the help calls the value.
_holdfast_value()
{
    case $1:$2 in
    *:POLICY)
        mapfile -t COMPREPLY < <(compgen -W 'wait nowait detach deadline: deadline-detach:' -- "$3")
        compopt -o nospace
        ;;
    *:ENGINE)
        mapfile -t COMPREPLY < <(compgen -W 'slots slots-fenced refcount srcu percpu-rwsem' -- "$3")
        ;;
    *:WHEN) mapfile -t COMPREPLY < <(compgen -W 'auto always never' -- "$3") ;;
    pins:PATH) _holdfast_paths "$4" "$3" ;;
    *:FILE | *:PATH) _holdfast_files f "$3" ;;
    *:DIR) _holdfast_files d "$3" ;;
    mount:OPTION) _holdfast_mount_options "$3" ;;
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
        -?*) [[ -z $(_holdfast_value_name "$1" "$2" "$word") ]] || ((i++)) ;;
        *) operands+=("$word") ;;
        esac
    done
}

_holdfast()
{
    local program=$1 typed=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]} before value_name
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
    if [[ $before == -?* ]]; then
        value_name=$(_holdfast_value_name "$program" "$verb" "$before")
        if [[ -n $value_name ]]; then
            _holdfast_collect_operands "$program" "$verb"
            _holdfast_value "$verb" "$value_name" "$typed" "$program"
            return
        fi
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
