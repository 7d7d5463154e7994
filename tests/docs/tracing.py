#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""docs/TRACING.md lists the trace points that the library has, with as many arguments, and no others. Each of its
one-liners reads a trace point that is there, and no argument that is not.

usage: tracing.py SOURCE LIBRARY
"""
import os
import re
import shutil
import subprocess
import sys

SKIP = 77
SOURCE, LIBRARY = sys.argv[1:3]
DOCUMENT = "docs/TRACING.md"


def points_of_library():
    """Name: the numbers of arguments that it has been seen with (the compiler may have copied it)."""
    notes = subprocess.run(["readelf", "-n", "--wide", LIBRARY], capture_output=True, text=True,
                           check=True).stdout
    points = {}
    for name, arguments in re.findall(
            r"Provider: holdfast\s+Name: (\w+)\s.*?Arguments:([^\n]*)", notes, flags=re.S):
        points.setdefault(name, set()).add(len(re.findall(r"-?\d@", arguments)))
    return points


def points_of_document(text):
    """Rows of the table: | `name` | when | `first`, `second` |"""
    return {name: len(re.findall(r"`\w+`", arguments))
            for name, arguments in re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|$", text, flags=re.M)}


def check(library, document, text):
    for name in sorted(library.keys() - document.keys()):
        yield f"{DOCUMENT} does not list the trace point {name}"
    for name in sorted(document.keys() - library.keys()):
        yield f"{DOCUMENT} lists {name}, which is not in the library"
    for name in sorted(document.keys() & library.keys()):
        if library[name] != {document[name]}:
            yield f"{DOCUMENT} gives {name} {document[name]} arguments, the library {library[name]}"
    traced = re.findall(r"^(.*':holdfast:(\w+).*)$", text, flags=re.M)
    for name in sorted(document.keys() - {name for _, name in traced}):
        yield f"{DOCUMENT} has no one-liner for {name}"
    for line, name in traced:
        used = max(map(int, re.findall(r"\barg(\d)", line)), default=-1)
        if used >= document.get(name, 0):
            yield f"{DOCUMENT}: a one-liner reads arg{used} of {name}"


def main():
    if not shutil.which("readelf"):
        print("skipped: readelf is not installed")
        return SKIP
    with open(os.path.join(SOURCE, DOCUMENT), encoding="utf-8") as document:
        text = document.read()
    library = points_of_library()
    findings = list(check(library, points_of_document(text), text))
    for sentence in findings:
        print(sentence)
    print(f"tracing: {len(library)} trace points, {len(findings)} findings")
    return 1 if findings else 0


sys.exit(main())
