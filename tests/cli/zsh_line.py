#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Prints what zsh makes of a line when the user presses the tab key behind it.

usage: zsh_line.py FOLDER PROGRAMS LINE    FOLDER has the completion as _holdfast, PROGRAMS the program

zsh gets a terminal of its own. A key that the script binds prints the line, after the completion has ended.
"""
import os
import pty
import re
import sys

SETUP = (r"""fpath=(%s $fpath); path=(%s $path); autoload -U compinit; compinit -u -D; """
         r"""show() { zle -I; print -r -- "<""<$BUFFER>"">" }; zle -N show; bindkey '^X' show; print rea""dy""")


def read_until(fd, pattern):
    seen = ""
    while not re.search(pattern, seen):
        seen += os.read(fd, 4096).decode(errors="replace")
    return re.search(pattern, seen).group(1)


def main():
    folder, programs, line = sys.argv[1:]
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.update(TERM="dumb", COLUMNS="400", ZDOTDIR=folder)
        os.execvp("zsh", ["zsh", "-f", "-i"])
    os.write(fd, (SETUP % (folder, programs) + "\n").encode())
    read_until(fd, "(ready)\r")
    os.write(fd, (line + "\t\x18").encode())
    print(read_until(fd, "(?s)<<(.*?)>>"))
    os.close(fd)
    os.waitpid(pid, 0)


main()
