#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Sums up one `meson test` run: 'N passed, N failed'.

usage: count_tests.py TESTLOG.json STATUS [STATUS ...]

The first STATUS is the exit status of the run, each further one that of a check beside it, which counts as a test.
The exit status here is 0 only when all were 0, at least one test ran and none failed. A run without a log counts as
one failure.
"""
import json
import sys

GOOD = {"OK", "EXPECTEDFAIL"}
NEITHER = {"SKIP"}


def count(path):
    passed = failed = 0
    try:
        with open(path, encoding="utf-8") as log:
            for line in log:
                result = json.loads(line)["result"]
                if result in GOOD:
                    passed += 1
                elif result not in NEITHER:
                    failed += 1
    except (OSError, ValueError, KeyError):
        pass
    return passed, failed


def main():
    path, status = sys.argv[1], int(sys.argv[2])
    passed, failed = count(path)
    if failed == 0 and (status != 0 or passed == 0):
        failed = 1
    for beside in map(int, sys.argv[3:]):
        passed += beside == 0
        failed += beside != 0
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
