#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Searches all states of the models with Spin and prints a table; exit status 1 when a result is not the
expected one.

usage: run.py [--trace] [CASE ...]     a CASE names all that begin with it; --trace: the steps to what was found

A case is an engine in a scene, whole or with one thing taken out or swapped. Such a broken twin is named
ENGINE--WHAT, after the edge in docs/ORDERING.md where there is one. What can be found is listed at the top of
dax.pml. A search that did not see all states counts as failed.
"""
import argparse
import concurrent.futures
import os
import re
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
JOBS = 2
MEMORY_MIB = 2000

ENGINES = {
    "slots": ("slots", ""),
    "slots-fenced": ("slots", "FENCED_ONLY"),
    # looks read marked lanes only; or leave out lanes in which nothing was pinned since
    "slots-marked": ("slots", "MARKS"),
    "slots-fenced-marked": ("slots", "MARKS FENCED_ONLY"),
    "slots-seen": ("slots", "SEEN WANDERS"),
    "slots-membarrier": ("slots", "ALWAYS_BIASED"),
    "refcount": ("counts", "REFCOUNT"),
    "srcu": ("counts", "SRCU"),
    "percpu-rwsem": ("counts", "PERCPU_RWSEM"),
    "rcu": ("counts", "RCU"),
    "unpatched": ("counts", "UNPATCHED"),
    "watch": ("watch", ""),  # no engine: processes that keep copies
    "commit": ("commit", ""),  # nor this: which transaction of a dead process counts
    "join": ("join", ""),  # nor this: changes of threads in one transaction
    "task": ("task", ""),  # nor this: changes that a thread makes for others
    "redo": ("redo", ""),  # nor this: writes that go again
    "trim": ("trim", ""),  # nor this: memory that is given back
    "share": ("share", ""),  # nor this: which file owns which blocks
    "share-counted": ("share", "COUNTED"),
    "cache": ("cache", ""),  # nor this: objects in ranges that are used again
    "tier": ("tier", ""),  # nor this: objects that go to a disk and come back
    "lend": ("lend", ""),  # nor this: a lease across a network
    "replica": ("replica", ""),  # nor this: two copies of an object in a cluster
    "epoch": ("epoch", ""),  # nor this: which member of a cluster serves a key
}

SCENES = {
    # two gets, messages that are lost, late or twice
    "network": "TICKS=3",
    # a key goes to another member, and comes back
    "moves-back": "EPOCHS=3 PUTS=2 JOINS=2",
    # members die and come back, and a put comes late
    "copies": "EPOCHS=3 PUTS=2",
    # a message outlives three epochs
    "copies-late": "EPOCHS=5 PUTS=2",
    # a key goes to another member
    "moves": "EPOCHS=2 PUTS=2 JOINS=1",
    # two pinners, two changes one after the other, of one page
    "race": "PINNERS=2 CHANGES=1 BLOCKS=1 ROUNDS=2 PUNCHES=2",
    # a pinner gives the bias back; another thread does, at any time
    "rebias": "PINNERS=2 CHANGES=1 BLOCKS=1 ROUNDS=2 PUNCHES=1 REBIASES=1",
    "stale": "PINNERS=2 CHANGES=1 BLOCKS=1 ROUNDS=1 PUNCHES=2 REBIASES=1 STALE",
    # holders write to the block
    "touch": "PINNERS=2 CHANGES=1 BLOCKS=1 ROUNDS=1 PUNCHES=1 TOUCH",
    # one pinner, two changes at once
    "changes": "PINNERS=1 CHANGES=2 BLOCKS=1 ROUNDS=2 PUNCHES=1",
    # two threads hold a page each and pin the other's; both pages are being changed
    "nested": "PINNERS=2 CHANGES=2 BLOCKS=2 ROUNDS=1 PUNCHES=1 NESTED OWN_PAGES OWN_RANGES",
    # two threads hold a page each and pin the other's; one change of both pages
    "wide": "PINNERS=2 CHANGES=1 BLOCKS=2 ROUNDS=1 PUNCHES=1 NESTED OWN_PAGES WIDE",
    # a thread pins one page, then the other, in the same slot of two words
    "wander": "PINNERS=1 CHANGES=1 BLOCKS=2 ROUNDS=3 PUNCHES=2 WANDERS",
    # likewise; each page is changed by a thread of its own
    "wander-two": "PINNERS=1 CHANGES=2 BLOCKS=2 ROUNDS=2 PUNCHES=1 OWN_RANGES",
    # two pages, one block: what is freed in one page is given to the other
    "handed-on": "PINNERS=2 CHANGES=2 BLOCKS=1 ROUNDS=1 PUNCHES=1 OWN_PAGES OWN_RANGES",
    # two files, each with a change; the pinner's is the first
    "files": "PINNERS=1 CHANGES=2 BLOCKS=2 ROUNDS=1 PUNCHES=1 TWO_FILES OWN_RANGES",
    # the pinner attaches meanwhile
    "late": "PINNERS=1 CHANGES=1 BLOCKS=1 ROUNDS=2 PUNCHES=2 LATE",
    # pinners that never stop, of the page that is changed
    "stream": "PINNERS=2 CHANGES=1 BLOCKS=1 PUNCHES=1 STARVE FOREVER",
    "alone": "PINNERS=1 CHANGES=1 BLOCKS=1 PUNCHES=1 STARVE FOREVER",
    # one of them of the other page
    "beside": "PINNERS=2 CHANGES=1 BLOCKS=2 PUNCHES=1 STARVE FOREVER OWN_PAGES",
    # one that holds another page while it pins the one that is changed
    "passing": "PINNERS=1 CHANGES=1 BLOCKS=2 PUNCHES=1 STARVE FOREVER NESTED ACROSS",
    # changes that may give up: of both pages, each pinned by one; of the whole file: its root goes out and comes back
    "part": "PINNERS=2 CHANGES=1 BLOCKS=2 ROUNDS=1 PUNCHES=2 OWN_PAGES WIDE GIVES_UP",
    "whole": "PINNERS=2 CHANGES=1 BLOCKS=2 ROUNDS=1 PUNCHES=2 OWN_PAGES WIDE GIVES_UP WHOLE",
    # two of them at once
    "rivals": "PINNERS=1 CHANGES=2 BLOCKS=1 ROUNDS=2 PUNCHES=1 GIVES_UP WHOLE",
    # changes that may give up while they wait for walks. The second time nothing is left to be cleared. They are of
    # the whole file, or two at once, of the same page or of two pages of a file
    "grace": "PINNERS=2 CHANGES=1 BLOCKS=1 ROUNDS=1 PUNCHES=2 GIVES_UP GRACE_GIVES_UP",
    "grace-whole": "PINNERS=2 CHANGES=1 BLOCKS=2 ROUNDS=1 PUNCHES=2 OWN_PAGES WIDE GIVES_UP GRACE_GIVES_UP WHOLE",
    "grace-rivals": "PINNERS=1 CHANGES=2 BLOCKS=1 ROUNDS=2 PUNCHES=1 GIVES_UP GRACE_GIVES_UP WHOLE",
    "grace-beside": "PINNERS=1 CHANGES=2 BLOCKS=2 ROUNDS=2 PUNCHES=1 OWN_RANGES GIVES_UP GRACE_GIVES_UP",
    "grace-dies": "PINNERS=1 CHANGES=2 BLOCKS=1 ROUNDS=2 PUNCHES=1 DIES GIVES_UP GRACE_GIVES_UP",
    # one is killed, another one comes
    "dies": "PINNERS=1 CHANGES=2 BLOCKS=1 ROUNDS=2 PUNCHES=1 DIES",
    "root-dies": "PINNERS=1 CHANGES=2 BLOCKS=1 ROUNDS=2 PUNCHES=1 DIES GIVES_UP WHOLE",
    # the same, with two pages; the pinner goes from the first to the other
    "dies-beside": "PINNERS=1 CHANGES=2 BLOCKS=2 ROUNDS=2 PUNCHES=1 DIES OWN_RANGES WANDERS",
    # one writes, the other keeps a copy
    "copy": "WRITES=3",
    # two files on a block each are merged, and pinned by one pinner each
    "merge": "PINNERS=2 ROUNDS=1 MERGES=1",
    "merges": "PINNERS=2 ROUNDS=2 MERGES=1",
    # two files on one block, the first with a reader and a writer; the other is punched
    "unshare": "PINNERS=3 ROUNDS=1 PUNCHES=1 MERGED ONE_READS UNBIASED",
    # the same without the punch; a change takes the first file's root out, and gives up
    "unshare-gate": "PINNERS=3 ROUNDS=1 MERGED ONE_READS UNBIASED GIVES_UP",
    # both files are cloned in one transaction, while they are pinned, one of them by a reader and a writer; or merged
    "clones": "PINNERS=2 ROUNDS=1 CLONES",
    "clones-read": "PINNERS=3 ROUNDS=1 ONE_READS UNBIASED CLONES",
    "clones-merge": "PINNERS=1 ROUNDS=1 MERGES=1 CLONES",
    # three commits, each of which may end in a death
    "deaths": "",
    # three threads with a change each, and another process
    "threads": "",
    "move": "",
    # a block that is trimmed and used, by processes that may be killed; a device is told of the memory meanwhile
    "given-back": "",
    # a reader gets an object three times, while it is evicted and put three times
    "evict": "GETS=3 PUTS=3",
    "evict-biased": "GETS=3 PUTS=3 BIASED",
    # and a process dies in a put; the next one mends
    "evict-death": "GETS=3 PUTS=3 DEATH",
    # an object is put twice and removed, evicted to a disk twice, and fetched twice; a process dies
    "fetch": "PUTS=2 EVICTIONS=2 OTHERS=0 FETCHERS=1 FETCHES=2 DEATHS=1",
    # two fetch it at once
    "fetches": "PUTS=2 EVICTIONS=2 OTHERS=0 FETCHERS=2 FETCHES=1 DEATHS=0",
    # its place on the disk is given to others; a process dies; or nobody is given a place that is being written
    "ring": "PUTS=1 EVICTIONS=2 OTHERS=2 FETCHERS=1 FETCHES=1 DEATHS=0",
    "ring-death": "PUTS=1 EVICTIONS=1 OTHERS=2 FETCHERS=1 FETCHES=1 DEATHS=1",
    "ring-lone": "PUTS=1 EVICTIONS=2 OTHERS=2 FETCHERS=1 FETCHES=1 DEATHS=0 LONE NO_SUM",
}

CASES = []


def case(engine, scene, expected="holds", twin="", flags=""):
    name = f"{engine}--{twin}" if twin else engine
    CASES.append((name, engine, scene, flags, expected))


for scene in ("race", "rebias", "stale", "touch", "changes", "wide", "wander", "handed-on", "files", "late",
              "stream", "beside"):
    case("slots", scene)
case("slots", "nested", flags="UNBIASED")
case("slots", "race", "reuse", "PIN.SB-pinner", "NO_PIN_FENCE UNBIASED")
case("slots", "race", "reuse", "PIN.SB-zap", "NO_ZAP_FENCE UNBIASED")
case("slots", "race", "reuse", "PIN.SB-heavy", "NO_HEAVY")
case("slots", "race", "reuse", "bias-first", "BIAS_FIRST")
case("slots", "race", "reuse", "late-publish", "LATE_PUBLISH")
# Benign: fence and barrier come after both words. The order is for a thread that lists pins without a barrier.
case("slots", "wander", "holds", "SLOT.PUB", "KEY_FIRST")
case("slots", "touch", "torn", "UNPIN.DONE", "LET_GO_FIRST")
case("slots", "race", "lost wake-up", "UNPIN.WAKE", "NO_WAIT_BARRIER UNBIASED")
case("slots", "race", "lost wake-up", "seq-after-scan", "SEQ_AFTER_SCAN")
case("slots", "rebias", "reuse", "BIAS.SET", "NO_REBIAS_FENCE")
case("slots", "late", "reuse", "ATTACH.SB", "NO_ATTACH_FENCE")
case("slots", "alone", "starvation", "GATE.RULE-open", "NOBODY_WAITS_AT_GATE")
case("slots", "nested", "gate", "GATE.RULE-fill", "FILL_IN_GATE UNBIASED")
case("slots", "nested", "deadlock", "GATE.RULE-holders", "HOLDERS_WAIT_AT_GATE UNBIASED")
# A limit of the gate rule: a thread that holds something else all the time is let through all the time.
case("slots", "passing", "starvation")

for scene in ("race", "changes", "stream"):
    case("slots-fenced", scene)
case("slots-fenced", "race", "reuse", "PIN.SB-pinner", "NO_PIN_FENCE")
case("slots-fenced", "race", "reuse", "PIN.SB-zap", "NO_ZAP_FENCE")
case("slots-fenced", "race", "lost wake-up", "no-tick", "NO_TICK")

for scene in ("race", "rebias", "stale", "changes", "wide", "handed-on", "files", "late", "stream", "dies", "whole"):
    case("slots-marked", scene)
for scene in ("race", "changes", "dies"):
    case("slots-fenced-marked", scene)
case("slots-marked", "race", "reuse", "mark", "NO_MARK UNBIASED")
case("slots-marked", "race", "reuse", "MARK.SB", "NO_MARK_FENCE UNBIASED")
case("slots-marked", "race", "reuse", "MARK.KEEP-pinner", "MARK_FIRST UNBIASED")
case("slots-marked", "race", "reuse", "MARK.KEEP-look", "NO_SECOND_LOOK UNBIASED")
case("slots-marked", "race", "reuse", "MARK.KEEP-fence", "NO_CLEAR_FENCE UNBIASED")
case("slots-marked", "race", "reuse", "MARK.BIAS-census", "NO_CENSUS")
case("slots-marked", "race", "reuse", "MARK.BIAS-early", "CENSUS_FIRST")
case("slots-fenced-marked", "dies-beside")
case("slots-fenced-marked", "dies-beside", "reuse", "unsure", "NO_UNSURE")
case("slots-seen", "wander-two")
case("slots-seen", "wander-two", "reuse", "SEEN.ALL-hint", "NO_HINT")
case("slots-seen", "wander-two", "reuse", "SEEN.ALL-last", "GENERATION_LAST")

for scene in ("race", "changes", "files", "stream"):
    case("slots-membarrier", scene)
case("slots-membarrier", "race", "reuse", "PIN.SB-heavy", "NO_HEAVY")
case("slots-membarrier", "race", "lost wake-up", "UNPIN.WAKE", "NO_WAIT_BARRIER")
# In slots the locked operation that clears the bias comes in between and does as well.
case("slots-membarrier", "files", "reuse", "BARRIER.SHARE", "NO_SHARE_FENCE")


def counting(engine):
    for where in ("race", "touch", "changes", "nested", "wide", "handed-on", "files", "stream",
                  "beside"):
        case(engine, where)


counting("refcount")
case("refcount", "handed-on", "reuse", "COUNT.SB-second-look", "NO_SECOND_LOOK")
case("refcount", "handed-on", "reuse", "count-frozen", "COUNT_FROZEN")
# Benign on this machine: freezing is a locked operation on the word in which the pinner counts.
case("refcount", "race", "holds", "COUNT.SB-zap", "NO_ZAP_FENCE")
case("refcount", "touch", "torn", "COUNT.DONE", "LET_GO_FIRST")
case("refcount", "race", "lost wake-up", "COUNT.WAKE-store", "WAITED_NOT_ATOMIC")
case("refcount", "race", "lost wake-up", "COUNT.WAKE-look", "LOOK_BEFORE_WAITED")
case("refcount", "alone", "starvation", "GATE.RULE-open", "NOBODY_WAITS_AT_GATE")
case("refcount", "nested", "gate", "GATE.RULE-fill", "FILL_IN_GATE")
case("refcount", "nested", "deadlock", "GATE.RULE-holders", "HOLDERS_WAIT_AT_GATE")
case("refcount", "wide", "reuse", "freeze-once", "FREEZE_ONCE")

counting("srcu")
case("srcu", "race", "reuse", "SRCU.SB-enter", "NO_ENTER_FENCE")
# The mutex goes too: taking it is a fence enough.
case("srcu", "race", "reuse", "SRCU.SB-zap", "NO_ZAP_FENCE NO_GRACE_MUTEX")
case("srcu", "race", "reuse", "no-first-wait", "NO_FIRST_WAIT")
case("srcu", "race", "reuse", "no-second-wait", "NO_SECOND_WAIT")
case("srcu", "race", "reuse", "SECTION.DONE", "LEAVE_FIRST")
case("srcu", "beside", "starvation", "no-flip", "NO_FLIP")

counting("percpu-rwsem")
case("percpu-rwsem", "race", "reuse", "RWSEM.SB", "NO_HEAVY")
case("percpu-rwsem", "race", "reuse", "SECTION.DONE", "LEAVE_FIRST")
case("percpu-rwsem", "race", "reuse", "unlock-before-zap", "UNLOCK_BEFORE_ZAP")

counting("rcu")
case("rcu", "race", "reuse", "no-synchronize", "NO_SYNCHRONIZE")

case("unpatched", "race", "reuse")

case("slots-fenced", "whole")
case("slots-membarrier", "whole")
for engine in ("slots", "refcount", "srcu", "percpu-rwsem", "rcu"):
    for scene in ("part", "whole", "rivals"):
        case(engine, scene)
    case(engine, "rivals", "gate", "put-back-late", "PUT_BACK_LATE")
    case(engine, "part", "deadlock", "gate-left", "LEAVES_GATE")
for engine in ("srcu", "percpu-rwsem", "rcu"):
    case(engine, "whole", "reuse", "THAW.PUB-put-back", "NO_THAW")
    case(engine, "race", "reuse", "THAW.PUB-fill", "FILL_BEFORE_THAW")
# It counts nothing that is frozen.
case("refcount", "whole", "holds", "THAW.PUB-put-back", "NO_THAW")

for engine in ("slots", "slots-fenced", "refcount", "srcu", "percpu-rwsem", "rcu"):
    for scene in ("dies", "root-dies"):
        case(engine, scene)
for engine in ("slots", "srcu", "rcu"):
    case(engine, "dies", "reuse", "zap-pending", "NO_ZAP_PENDING")
case("slots", "dies", "reuse", "bias-back", "NO_BIAS_BACK")

for engine in ("srcu", "percpu-rwsem", "rcu"):
    for scene in ("grace", "grace-whole", "grace-rivals", "grace-beside", "grace-dies"):
        case(engine, scene)
    case(engine, "grace-whole", "reuse", "THAW.PUB-put-back", "NO_THAW")
for engine in ("srcu", "rcu"):
    case(engine, "grace", "reuse", "GRACE.KEEP-forgets", "FORGETS_PENDING")
    case(engine, "grace-beside", "reuse", "GRACE.KEEP-half", "HALF_COUNTS")
case("percpu-rwsem", "grace", "reuse", "goes-on", "GOES_ON")
case("percpu-rwsem", "grace", "deadlock", "writer-stays", "WRITER_STAYS")

case("watch", "copy")
case("watch", "copy", "old copy", "WATCH.SB", "NO_WATCH_BARRIER")
case("watch", "copy", "deadlock", "REPORT.WAKE-look", "LOOK_FIRST")
case("watch", "copy", "deadlock", "REPORT.WAKE-raise", "WAKE_FIRST")

case("commit", "deaths")
case("commit", "deaths", "torn page", "adopt", "ADOPT")
case("commit", "deaths", "two verdicts", "page", "BY_PAGE")
case("commit", "deaths", "torn page", "late", "LATE")
case("commit", "deaths", "two verdicts", "forgets", "FORGETS")
case("commit", "deaths", "torn page", "first", "NEVER_FIRST")

case("join", "threads")
case("join", "threads", "deadlock", "leaves", "LEAVES")
case("join", "threads", "unsaved", "tells-first", "TELLS_FIRST")
case("join", "threads", "half done", "keeps-part", "KEEPS_PART")
case("join", "threads", "freed early", "unlocks-first", "UNLOCKS_FIRST")
case("join", "threads", "two inside", "one-turn", "ONE_TURN")

case("task", "threads")
case("task", "threads", "twice", "leaves", "LEAVES")
case("task", "threads", "unsaved", "tells-first", "TELLS_FIRST")
case("task", "threads", "half done", "keeps-part", "KEEPS_PART")
case("task", "threads", "freed early", "unlocks-first", "UNLOCKS_FIRST")

case("redo", "move")
case("redo", "move", "lost bytes", "COPY.SB-write", "NO_WRITE_FENCE")
case("redo", "move", "lost bytes", "COPY.SB-change", "NO_CHANGE_FENCE")
case("redo", "move", "lost bytes", "read-late", "READ_LATE")
case("redo", "move", "lost bytes", "no-redo", "NO_REDO")
case("redo", "move", "written when free", "no-record", "NO_RECORD")

case("trim", "given-back")
case("trim", "given-back", "given out", "unlocked", "UNLOCKED")
case("trim", "given-back", "no memory", "late-clear", "LATE_CLEAR")
case("trim", "given-back", "no memory", "early-set", "EARLY_SET")
case("trim", "given-back", "old bytes", "bit-is-zero", "BIT_IS_ZERO")
case("trim", "given-back", "replaced", "check-first", "CHECK_FIRST")

case("share", "merge")
case("share", "merges")
case("share", "unshare")
case("share", "merge", "frozen", "PIN.SB-pinner", "NO_PIN_FENCE")
case("share", "merge", "reuse", "PIN.SB-zap", "NO_ZAP_FENCE")
case("share", "merge", "frozen", "PIN.SB-heavy", "NO_HEAVY")
case("share", "merge", "frozen", "no-look", "NO_LOOK")
case("share", "merge", "frozen", "readers", "READERS_DO_NOT_COUNT")
case("share", "merge", "differs", "compare-first", "COMPARE_FIRST")
case("share", "unshare", "foreign", "write-through", "WRITE_THROUGH")
case("share", "unshare", "reuse", "no-record", "NO_RECORD")
case("share", "unshare", "foreign", "records", "RECORDS_DO_NOT_COUNT")
case("share", "unshare-gate")
case("share", "unshare-gate", "reuse", "put-back-anyhow", "PUT_BACK_ANYHOW")
case("share", "clones")
case("share", "clones-read")
case("share", "clones-merge")
case("share", "clones", "foreign", "clones-early-unlock", "EARLY_UNLOCK")
case("share", "clones", "foreign", "clones-no-look", "NO_LOOK")
case("share", "clones-read", "frozen", "clones-readers", "READERS_DO_NOT_COUNT")
case("share", "clones-merge", "deadlock", "clones-waits", "CLONER_WAITS")

for scene in ("merge", "merges", "unshare", "clones", "clones-read", "clones-merge"):
    case("share-counted", scene)
case("share-counted", "merges", "reuse", "COUNT.SB-second-look", "NO_SECOND_LOOK")
# Benign on this machine, as with refcount.
case("share-counted", "merge", "holds", "COUNT.SB-zap", "NO_ZAP_FENCE")
case("share-counted", "merge", "frozen", "no-look", "NO_LOOK")
case("share-counted", "merge", "differs", "compare-first", "COMPARE_FIRST")
case("share-counted", "unshare", "reuse", "pins-shared", "PINS_SHARED")
case("share-counted", "clones", "foreign", "clones-no-look", "NO_LOOK")

case("cache", "evict")
case("cache", "evict-biased")
case("cache", "evict-death")
case("cache", "evict-death", "wrong object", "mend-blind", "MEND_BLIND")
case("cache", "evict", "wrong object", "pin-fence", "NO_PIN_FENCE")
case("cache", "evict", "wrong object", "held-fence", "NO_HELD_FENCE")
case("cache", "evict-biased", "wrong object", "heavy", "NO_HEAVY")
case("cache", "evict", "wrong object", "no-look", "NO_LOOK")
case("cache", "evict", "wrong object", "no-second-look", "NO_SECOND_LOOK")
case("cache", "evict", "wrong object", "stamp-alone", "STAMP_ALONE")
case("cache", "evict", "wrong object", "CELL.STAMP-alone", "WORD_ALONE")
case("cache", "evict", "wrong object", "CELL.STAMP-first", "STAMP_FIRST")
case("cache", "evict", "wrong object", "CELL.REUSE", "CELL_FIRST")
case("cache", "evict", "wrong object", "CELL.PUB", "WORD_FIRST")

for scene in ("fetch", "fetches", "ring", "ring-death", "ring-lone"):
    case("tier", scene)
case("tier", "fetch", "wrong bytes", "TIER.READY", "STORE")
case("tier", "fetch", "wrong bytes", "no-forget", "NO_FORGET")
case("tier", "fetch", "wrong bytes", "late-forget", "LATE_FORGET")
case("tier", "fetch", "wrong bytes", "no-look", "NO_LOOK")
case("tier", "fetch", "wrong bytes", "same-word", "SAME_WORD")
case("tier", "fetch", "wrong bytes", "unpin-first", "UNPIN_FIRST")
case("tier", "fetch", "wrong bytes", "late-read", "LATE_READ")
case("tier", "ring", "wrong bytes", "no-sum", "NO_SUM")
case("tier", "ring-lone", "wrong bytes", "ready-first", "READY_FIRST")
case("tier", "ring-lone", "wrong bytes", "TIER.HEAD", "NO_HEAD")
# Benign: the sum finds what the head would have told.
case("tier", "ring", "holds", "head-and-sum", "NO_HEAD")

case("lend", "network")
case("lend", "network", "wrong object", "no-acknowledgement", "NO_ACKNOWLEDGEMENT")
case("lend", "network", "wrong object", "no-quarantine", "NO_QUARANTINE")
case("lend", "network", "wrong object", "check-first", "CHECK_FIRST")
case("lend", "network", "wrong object", "old-answers", "OLD_ANSWERS")
case("lend", "network", "deadlock", "waits-forever", "WAITS_FOREVER")

case("epoch", "moves-back")
case("epoch", "moves", "old object", "no-acknowledgement", "NO_ACKNOWLEDGEMENT")
case("epoch", "moves", "old object", "acknowledge-first", "ACKNOWLEDGE_FIRST")
case("epoch", "moves", "old object", "no-wait", "NO_WAIT")
case("epoch", "moves-back", "old object", "newest-alone", "NEWEST_ALONE")
case("epoch", "moves-back", "old object", "no-sweep", "NO_SWEEP")
case("epoch", "moves-back", "old object", "no-lock", "NO_LOCK")
case("epoch", "moves-back", "old object", "keeps-old", "KEEPS_OLD")
case("epoch", "moves", "deadlock", "waits-for-gone", "WAITS_FOR_GONE")

case("replica", "copies")
case("replica", "copies", "old object", "here-first", "HERE_FIRST")
case("replica", "copies-late", "old object", "any-epoch", "ANY_EPOCH")
case("replica", "copies", "old object", "any-link", "ANY_LINK")

# What the search says, and what it means; the first that fits.
FOUND = [
    (r"^pan:\d+: assertion violated .*floor", "old object"),
    (r"^pan:\d+: assertion violated .*inside", "two inside"),
    (r"^pan:\d+: assertion violated .*medium\[\w+\]==2\)&&\(mutex", "freed early"),
    (r"^pan:\d+: assertion violated .*\(medium\[i\]", "half done"),
    (r"^pan:\d+: assertion violated .*medium\[", "unsaved"),
    (r"^pan:\d+: assertion violated .*\(records\[i\]", "half done"),
    (r"^pan:\d+: assertion violated .*records\[", "unsaved"),
    (r"^pan:\d+: assertion violated .*times\[", "twice"),
    (r"^pan:\d+: assertion violated .*gone\[", "gone"),
    (r"^pan:\d+: assertion violated .*\(mutex==me", "freed early"),
    (r"^pan:\d+: assertion violated .*is_in\[", "old object"),
    (r"^pan:\d+: assertion violated .*life\[", "torn"),
    (r"^pan:\d+: assertion violated .*snapshot\[", "frozen"),
    (r"^pan:\d+: assertion violated .*free_now", "written when free"),
    (r"^pan:\d+: assertion violated \(*memory\[", "differs"),
    (r"^pan:\d+: assertion violated .*taken", "given out"),
    (r"^pan:\d+: assertion violated .*present", "no memory"),
    (r"^pan:\d+: assertion violated .*content", "old bytes"),
    (r"^pan:\d+: assertion violated .*known", "replaced"),
    (r"^pan:\d+: assertion violated .*stores\[t\]\.word", "foreign"),
    (r"^pan:\d+: assertion violated .*(held\[where|where\[)", "reuse"),
    (r"^pan:\d+: assertion violated .*asleep", "lost wake-up"),
    (r"^pan:\d+: assertion violated .*wanted", "wrong object"),
    (r"^pan:\d+: assertion violated .*last", "wrong bytes"),
    (r"^pan:\d+: assertion violated .*copy", "old copy"),
    (r"^pan:\d+: assertion violated .*verdict", "two verdicts"),
    (r"^pan:\d+: assertion violated .*acknowledged", "lost bytes"),
    (r"^pan:\d+: assertion violated .*root\[|^pan:\d+: assertion violated .*base", "torn page"),
    (r"^pan:\d+: assertion violated .*stores\[", "gate"),
    (r"^pan:\d+: invalid end state", "deadlock"),
    (r"^pan:\d+: acceptance cycle", "starvation"),
    (r"max search depth too small|out of memory|not completed", "search not complete"),
    (r"errors: 0$", "holds"),
]


def result_of(text):
    for pattern, meaning in FOUND:
        if re.search(pattern, text, flags=re.M):
            return meaning
    return "not understood"


def call(command, folder):
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return run.stdout + run.stderr


def search(name, engine, scene, flags, trace):
    """The result, the number of states, the steps to what was found."""
    model, engine_flags = ENGINES[engine]
    defines = [f"-D{flag}" for flag in f"{engine_flags} {SCENES[scene]} {flags}".split()]
    stream = "STARVE" in SCENES[scene]
    with tempfile.TemporaryDirectory(prefix="holdfast-model-") as folder:
        text = call(["spin", *defines, "-a", os.path.join(HERE, f"{model}.pml")], folder)
        kind = ["-DNFAIR=3"] if stream else ["-DSAFETY"]
        text += call(["gcc", "-O1", "-w", "-DCOLLAPSE", f"-DMEMLIM={MEMORY_MIB}", *kind, "-o", "pan",
                      "pan.c"], folder)
        if not os.path.exists(os.path.join(folder, "pan")):
            sys.exit(f"model: {name} does not compile:\n{text}")
        text = call(["./pan", "-m1000000", "-w22", *(["-a", "-f"] if stream else [])], folder)
        states = re.search(r"^ *([\d.e+]+) states, stored", text, flags=re.M)
        result = result_of(text)
        steps = ""
        if trace and result != "holds":
            steps = call(["./pan", "-n", "-r"], folder)
    return result, int(float(states.group(1))) if states else 0, steps


def main():
    parser = argparse.ArgumentParser(description="Search all states of the models.")
    parser.add_argument("--trace", action="store_true", help="print the steps to what was found")
    parser.add_argument("cases", nargs="*", metavar="CASE", help="all that begin with it")
    options = parser.parse_args()
    chosen = [row for row in CASES
              if not options.cases or any(row[0].startswith(name) for name in options.cases)]
    began = time.monotonic()
    wrong = 0

    print(f"{'case':36} {'scene':13} {'states':>9}  {'result':20} expected")
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        rows = pool.map(lambda row: search(*row[:4], options.trace), chosen)
        for (name, _, scene, _, expected), (result, states, steps) in zip(chosen, rows):
            mark = "" if result == expected else "   <-- not as expected"
            wrong += result != expected
            print(f"{name:36} {scene:13} {states:>9}  {result:20} {expected}{mark}", flush=True)
            if steps:
                print(steps)
    print(f"model: {len(chosen)} cases, {wrong} not as expected, "
          f"{time.monotonic() - began:.0f} s")
    return 1 if wrong or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
