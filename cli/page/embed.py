#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""embed.py OUT FILE...: writes C source with the text of each top.EXT as the array page_EXT."""
import sys

with open(sys.argv[1], "w", encoding="ascii") as out:
    for path in sys.argv[2:]:
        with open(path, "rb") as file:
            numbers = ",".join(str(byte) for byte in file.read() + b"\0")
        name = path.rsplit(".", 1)[1]
        out.write(f"extern const char page_{name}[];\nconst char page_{name}[] = {{{numbers}}};\n")
