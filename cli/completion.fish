# SPDX-License-Identifier: MIT
# Completion for fish. `holdfast complete` says what may follow; this file only knows the shell.

function __holdfast_complete
    set -l words (commandline -opc) (commandline -ct)
    for line in (command $words[1] complete $words[2..-1] 2>/dev/null)
        switch $line
            case :files
                __fish_complete_path (commandline -ct)
            case :directories :pools
                __fish_complete_directories (commandline -ct)
            case '=*'
                string sub -s 2 -- $line
        end
    end
end

complete -c holdfast -f -a '(__holdfast_complete)'
