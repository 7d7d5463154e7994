# SPDX-License-Identifier: MIT
"""Requests to a model, made up in the shape of a public trace.

The trace is conversation_trace.jsonl of Mooncake (FAST '25), github.com/kvcache-ai/Mooncake, folder
FAST25-release/traces. Each of its requests has a time, a number of tokens, and an id for each block of 512 tokens.
Requests with the same first ids share that prefix. What is taken from the first seventy requests of it:

- requests come in groups, one each 3 s, of about ten;
- the first block, a system prompt, is the same in all of them;
- inputs have 900 to 90,000 tokens, with a median near 9,000;
- a block that nobody has sent before has the next free number.

How often a user goes on with a conversation, and after how long, is a guess here: CONTINUED and RECENT.
"""

import math
import random

TOKENS = 512  # in a block
GROUP = 10
SECONDS = 3
MEDIAN, SPREAD = 9000, 1.0
SHORTEST, LONGEST = 900, 90000
CONTINUED = 0.5  # of all requests
RECENT = 100  # conversations that may go on
TURN = 1500  # tokens that a turn adds, at the median


def _tokens(random, median):
    return int(random.lognormvariate(math.log(median), SPREAD))


def requests(count, seed=20260101):
    """Yields (seconds, ids of blocks) for each request."""
    dice = random.Random(seed)
    conversations = []
    fresh = 1  # 0 is the system prompt
    for number in range(count):
        if conversations and dice.random() < CONTINUED:
            place = dice.randrange(len(conversations))
            blocks = conversations.pop(place)
            more = max(1, _tokens(dice, TURN) // TOKENS)
        else:
            blocks = [0]
            more = min(max(_tokens(dice, MEDIAN), SHORTEST), LONGEST) // TOKENS
        more = min(more, LONGEST // TOKENS - len(blocks))
        blocks = blocks + list(range(fresh, fresh + more))
        fresh += more
        conversations = (conversations + [blocks])[-RECENT:]
        yield number // GROUP * SECONDS, blocks
