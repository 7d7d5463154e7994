#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the documents claim about the tree is so.

usage: documents.py SOURCE BUILD [--partial]    --partial: the build has not all tests, and they are not looked for

README's programs are examples/first.c and first.py. A code block of a manual page that follows "(examples/X.c):"
stands in that file, as scdoc prints it. Links lead to files. The tests exist that README names, and ORDERING where it
says what shows an edge. A name there may stand for all tests that begin with it.
"""
import glob
import json
import os
import re
import sys

SOURCE, BUILD = sys.argv[1:3]
PARTIAL = sys.argv[3:] == ["--partial"]


def read(name):
    with open(os.path.join(SOURCE, name), encoding="utf-8") as text:
        return text.read()


def documents():
    found = glob.glob(os.path.join(SOURCE, "*.md")) + glob.glob(os.path.join(SOURCE, "docs", "*.md"))
    return sorted(os.path.relpath(name, SOURCE) for name in found)


def check_program():
    for language, suffix in (("c", "c"), ("python", "py")):
        block = re.search(rf"^```{language}\n(.*?)^```", read("README.md"), flags=re.M | re.S)
        if not block or block.group(1) != read(f"examples/first.{suffix}"):
            yield f"README.md: the program in {language} is not examples/first.{suffix}"


def check_manual():
    for path in sorted(glob.glob(os.path.join(SOURCE, "man", "*.scd"))):
        name = os.path.relpath(path, SOURCE)
        for example, code in re.findall(r"\((examples/\w+\.c)\):\n\n```\n(.*?)^```", read(name),
                                        flags=re.M | re.S):
            if re.sub(r"\\(.)", r"\1", code) not in read(example):
                yield f"{name}: its code does not stand in {example}"


def check_links():
    for name in documents():
        for target in re.findall(r"\]\(([^)#\s]+)", read(name)):
            path = os.path.join(SOURCE, os.path.dirname(name), target)
            if "://" not in target and not os.path.exists(path):
                yield f"{name}: there is no {target}"


def tests_of_build():
    with open(os.path.join(BUILD, "meson-info", "intro-tests.json"), encoding="utf-8") as listed:
        return {test["name"] for test in json.load(listed)}


def check_shown():
    tests = tests_of_build()
    for shown in re.findall(r"\*Shown by\*:?(.*?)(?=\n\n[^-]|\n- \*|\Z)", read("docs/ORDERING.md"), flags=re.S):
        for name in re.findall(r"`([\w-]+)`", shown):
            if not any(test == name or test.startswith(f"{name}-") for test in tests):
                yield f"docs/ORDERING.md: there is no test {name}"


def check_tests():
    tests = tests_of_build()
    table = [line for line in read("README.md").splitlines() if re.match(r"\| \d", line)]
    if not table:
        yield "README.md: there is no table of promises"
    for line in table:
        named = re.findall(r"`([^`]+)`", line.split("|")[-2])
        if not named:
            yield f"README.md: a promise without a test: {line}"
        for test in named:
            if test not in tests:
                yield f"README.md: there is no test {test}"


FINDINGS = [finding for check in (check_program, check_manual, check_links, *(() if PARTIAL else (check_tests, check_shown)))
            for finding in check()]
for sentence in FINDINGS:
    print(sentence)
print(f"documents: {len(FINDINGS)} findings")
sys.exit(1 if FINDINGS else 0)
