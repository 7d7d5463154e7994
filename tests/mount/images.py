#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Damages a pool's metadata file, mostly where the numbers are that LMDB and Holdfast believe: meta pages, page
headers, offsets of nodes, and what is in the nodes.

usage: images.py FILE SEED
"""
import random
import sys

PAGE = 4096
TELLING = [0, 1, 2, 3, 15, 16, 17, 255, 4095, 4096, 32767, 65535, 2**32 - 1, 2**63 - 1, 2**64 - 1]


def node_of(image, page):
    """Where a node of the page begins, if it looks like one with nodes."""
    lower = int.from_bytes(image[page + 12 : page + 14], "little")
    if not 16 < lower <= PAGE:
        return page
    place = page + 16 + 2 * random.randrange((lower - 16) // 2 or 1)
    return page + int.from_bytes(image[place : place + 2], "little") % PAGE


def place_in(image):
    page = random.randrange(len(image) // PAGE) * PAGE
    kind = random.randrange(10)
    if kind == 0:
        return random.randrange(2) * PAGE + random.randrange(160)
    if kind == 1:
        return page + random.randrange(80)
    if kind < 8:
        return node_of(image, page) + random.randrange(120)
    return random.randrange(len(image))


def damage(image):
    at = min(place_in(image), len(image) - 8)
    width = 1 << random.randrange(4)
    value = int.from_bytes(image[at : at + 8], "little")
    value = random.choice(
        [value ^ 1 << random.randrange(64), random.choice(TELLING), value + random.randrange(-2, 3), random.getrandbits(64)]
    )
    image[at : at + width] = (value % 2**64).to_bytes(8, "little")[:width]


def main():
    random.seed(int(sys.argv[2]))
    with open(sys.argv[1], "r+b") as file:
        image = bytearray(file.read().rstrip(b"\0"))
        image.extend(bytes(-len(image) % PAGE))
        for _ in range(random.choice([1, 1, 1, 2, 5])):
            damage(image)
        file.seek(0)
        file.write(image)


main()
