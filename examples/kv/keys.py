# SPDX-License-Identifier: MIT
"""Keys of blocks, as stores for inference make them."""

import hashlib


def prefix_keys(blocks):
    """A block's key stands for all tokens up to its end: equal keys, equal prefixes."""
    keys, last = [], b""
    for block in blocks:
        last = hashlib.blake2b(last + block.to_bytes(8, "little"), digest_size=16).digest()
        keys.append(last)
    return keys
