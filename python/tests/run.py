# SPDX-License-Identifier: MIT
"""Runs tests by pytest, or an example. 77, a skipped test, where pytest or numpy is missing.

usage: run.py FILE
"""

import importlib.util
import os
import runpy
import sys

for module in ("numpy", "pytest"):
    if importlib.util.find_spec(module) is None:
        print(f"skipped: {module} is missing; Debian has it as python3-{module}")
        sys.exit(77)

import pytest  # noqa: E402

path = sys.argv.pop(1)
if os.path.basename(path).startswith("test_"):
    sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", path]))
sys.argv[0] = path
runpy.run_path(path, run_name="__main__")
