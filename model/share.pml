/* SPDX-License-Identifier: MIT */
/*
 * Shared blocks: two files of one page each, which may lie on one block. A merger makes them share one, a writer
 * gets a copy of its own first, a change punches the page. The rules are those of docs/ORDERING.md, 3.34.
 *
 * Pins are those of slots.pml, with one slot for each pinner; its value says whether the pin is for writing. An
 * entry that leads to a shared block is for reading only. Merging, unsharing and punching take the layout mutexes
 * and keep them to their end, so there are no gates here. A merge or punch that would have to wait does nothing;
 * dax.pml has the waiting.
 *
 * With CLONES another thread makes copies of both files in one transaction (3.35). It takes the mutexes in the order of
 * its list, here against that of a merge, and so waits for neither. Nobody pins the copies: a store into a block that
 * they have is found when it lands.
 *
 * With GIVES_UP a change takes the entry of file 0 away, as it takes a whole file's root. It waits without the mutex. No
 * thread fills an entry behind its gate, but a writer that was let through may unshare the page. Then the change gives
 * up, and puts back what it took, unless that has happened.
 *
 * With COUNTED pins are those of refcount in counts.pml. A count does not say through which file a block is pinned.
 * So a pin is only of a block that its file has alone, and one for reading gets the page a copy too. A merge freezes
 * the counts of both blocks, or finds a pin.
 *
 * A pinner stores and loads bytes of its page. A record names a block that a file has left under a pin; the block is
 * free when no file and no record names it.
 *
 * What must never happen:
 *   reuse       a block is free while a pin holds it, or a walk gives out a block that the file has left
 *   foreign     a store of a holder lands in a block that is not its file's alone
 *   differs     pages with different content are merged
 *   frozen      a file leaves a block that has a pin which was taken of a page of that file alone
 *   deadlock    nothing can go on
 */
#ifndef ROUNDS
#define ROUNDS 1 /* pins of each pinner */
#endif
#ifndef MERGES
#define MERGES 0
#endif
#ifndef PUNCHES
#define PUNCHES 0
#endif
#ifdef GIVES_UP
bool gate; /* closed, by a change that waits; under the mutex of file 0 */
byte gateless; /* how often file 0 was unshared; likewise */
#define GATE(file) (gate && (file) == 0)
#else
#define GATE(file) false
#endif
#define CHANGER PINNERS
#define CLONER (PINNERS + 1)
#ifdef CLONES
#define THREADS (PINNERS + 2)
#define COPIES(b) ((where[2] == (b)) + (where[3] == (b)))
#else
#define THREADS (PINNERS + 1)
#define COPIES(b) 0
#endif
#define BLOCKS 4

#define LAYOUT(file) (file)
#define BIAS(file) (2 + (file))
#define ENTRY(file) (4 + (file)) /* a block, and RO */
#define KEY(pinner) (6 + (pinner))
#define DATA(block) (KEY(PINNERS) - 1 + (block)) /* from 1 */
#ifdef COUNTED
#define COUNT(block) (DATA(BLOCKS) + (block)) /* 0: frozen; 1, and one more for each pin */
#define WORDS (KEY(PINNERS) + 2 * BLOCKS)
#else
#define WORDS (KEY(PINNERS) + BLOCKS)
#endif
#define RO 8
#define BLOCK(entry) ((entry) & 7)

#define READ 1
#define WRITE 2

byte where[4];   /* block under the page of a file, and of the copy of it; under its mutex */
byte record[3];  /* of a pinner: the block that it keeps, which its file has left */
byte held[3];    /* of a pinner: the block that it has pinned */
bool snapshot[3]; /* of a pinner: the page was shared when it was pinned */

#define FILE_OF(pinner) ((pinner) == PINNERS - 1) /* the last pinner has file 1, the others file 0 */
#define RECORDS(b) ((record[0] == (b)) + (record[1] == (b)) + (record[2] == (b)))
#define FILES(b) ((where[0] == (b)) + (where[1] == (b)) + COPIES(b))
#define OWNERS(b) (FILES(b) + RECORDS(b))
#define HELD(b) (held[0] == (b) || held[1] == (b) || held[2] == (b))
#ifdef RECORDS_DO_NOT_COUNT
#define SHARED(b) (FILES(b) > 1)
#else
#define SHARED(b) (OWNERS(b) > 1)
#endif

#define LANDED(w, v) assert(w < DATA(1) || OWNERS(w - DATA(0)) == 1 /* foreign */)

#include "tso.pml"

inline take()
{
    assert(where[FILE_OF(me)] == block); /* reuse */
    held[me] = block;
    snapshot[me] = entry & RO
}

#ifdef COUNTED

#ifdef PINS_SHARED
#define MUST_OWN (kind == WRITE)
#else
#define MUST_OWN true
#endif

inline leave()
{
    atomic { FENCED; memory[COUNT(held[me])]--; held[me] = 0 }
}

/* Counts what is not frozen, then reads the entry again: COUNT.SB/p. */
inline pin_fast()
{
    entry = LOAD(ENTRY(FILE_OF(me)));
    block = (kind == WRITE && entry & RO -> 0 : BLOCK(entry));
    if
    :: block ->
        atomic {
            FENCED;
#ifdef COUNT_FROZEN
            counted = true;
#else
            counted = memory[COUNT(block)] != 0;
#endif
            if
            :: counted -> memory[COUNT(block)]++
            :: else -> block = 0
            fi
#ifdef NO_SECOND_LOOK
            ;
            if
            :: block -> take()
            :: else
            fi
#endif
        }
    :: else
    fi;
#ifndef NO_SECOND_LOOK
    if
    :: block ->
        atomic {
            counted = LOAD(ENTRY(FILE_OF(me))) == entry;
            if
            :: counted -> take()
            :: else
            fi
        };
        if
        :: !counted -> atomic { FENCED; memory[COUNT(block)]--; block = 0 }
        :: else
        fi
    :: else
    fi
#else
    skip
#endif
}

/* Inside of a step. */
inline thaw(b)
{
    if
    :: memory[COUNT(b)] == 0 -> memory[COUNT(b)] = 1
    :: else
    fi
}

/* L2, L3: COUNT.SB/m */
inline zap(file)
{
    store(ENTRY(file), 0);
#ifndef NO_ZAP_FENCE
    fence();
#endif
    skip
}

/* L4. A shared block is frozen already. */
inline scan(file)
{
    atomic {
        FENCED;
        if
        :: where[file] && !SHARED(where[file]) ->
            if
            :: memory[COUNT(where[file])] > 1 -> busy = true
            :: else -> memory[COUNT(where[file])] = 0
            fi
        :: else
        fi
    }
}

/* In pin_slow(): the entry, and the pin. */
inline publish()
{
    atomic { FENCED; thaw(block) };
    store(ENTRY(FILE_OF(me)), entry);
    atomic { FENCED; thaw(block); memory[COUNT(block)]++; take() }
}

#else

#define MUST_OWN (kind == WRITE)

/* U1, and the collection that follows when the pin was detached: record and count go in one transaction. */
inline leave()
{
    d_step { store(KEY(me), 0); held[me] = 0 };
    if
    :: record[me] -> atomic { FENCED; record[me] = 0 }
    :: else
    fi
}

/* P1 to P4: PIN.SB/p. An entry that is for reading only is missing for a writer. */
inline pin_fast()
{
    store(KEY(me), kind);
    biased = LOAD(BIAS(FILE_OF(me)));
#ifndef NO_PIN_FENCE
    if
    :: !biased -> fence()
    :: else
    fi;
#endif
    atomic {
        entry = LOAD(ENTRY(FILE_OF(me)));
#ifdef WRITE_THROUGH
        block = BLOCK(entry);
#else
        block = (kind == WRITE && entry & RO -> 0 : BLOCK(entry));
#endif
        if
        :: block -> take()
        :: else
        fi
    };
    if
    :: block == 0 -> leave()
    :: else
    fi
}

/* L2, L3: PIN.SB/m */
inline zap(file)
{
    store(ENTRY(file), 0);
#ifndef NO_ZAP_FENCE
    fence();
#endif
    if
    :: LOAD(BIAS(file)) ->
        store_seq_cst(BIAS(file), 0);
#ifndef NO_HEAVY
        forced = ALL_THREADS & ~(1 << me);
        membarrier(forced)
#endif
    :: else
    fi;
    skip /* so that a step can follow */
}

/* L4: the pins of the file, but for those that were detached. */
inline scan(file)
{
    other = 0;
    do
    :: other < PINNERS ->
        if
        :: FILE_OF(other) == file && other != me && LOAD(KEY(other)) && !record[other] ->
#ifdef READERS_DO_NOT_COUNT
            busy = busy || LOAD(KEY(other)) == WRITE
#else
            busy = true
#endif
        :: else
        fi;
        other++
    :: else -> break
    od
}

/* In pin_slow(): the entry, and the pin. */
inline publish()
{
    if
    :: !GATE(FILE_OF(me)) -> store(ENTRY(FILE_OF(me)), entry)
    :: else
    fi;
    store(KEY(me), kind);
    fence();
    d_step { take() }
}

#endif

/* Inside of a step: a block that nothing names. */
inline find_free(block)
{
    block = 1;
    do
    :: OWNERS(block) -> block++
    :: else -> break
    od;
    assert(block <= BLOCKS && !HELD(block)) /* reuse */
}

/* L6, inside of a step: the file's page lies on another block from now on. */
inline leave_block(file, to)
{
    other = 0;
    do
    :: other < PINNERS ->
        assert(FILE_OF(other) != file || held[other] != where[file] || snapshot[other]); /* frozen */
        other++
    :: else -> break
    od;
    old = where[file];
    where[file] = to;
    assert(!HELD(old) || OWNERS(old)) /* reuse */
}

/* The page gets a block of its own, since its block has other owners. Pins of this file that are left on the old one keep it
 * by a record. */
inline unshare(file)
{
    zap(file);
    d_step {
        find_free(fresh);
        memory[DATA(fresh)] = LOAD(DATA(where[file]));
#if !defined(NO_RECORD) && !defined(COUNTED)
        other = 0;
        do
        :: other < PINNERS ->
            if
            :: FILE_OF(other) == file && other != me && LOAD(KEY(other)) && !record[other] ->
                record[other] = where[file]
            :: else
            fi;
            other++
        :: else -> break
        od;
#endif
        leave_block(file, fresh);
#ifdef GIVES_UP
        gateless = gateless + (file == 0)
#endif
    }
}

inline pin_slow()
{
    lock(LAYOUT(FILE_OF(me)));
    d_step {
        if
        :: where[FILE_OF(me)] == 0 ->
            find_free(fresh);
            memory[DATA(fresh)] = 0;
            where[FILE_OF(me)] = fresh
        :: else
        fi
    };
    if
    :: MUST_OWN && SHARED(where[FILE_OF(me)]) -> unshare(FILE_OF(me))
    :: else
    fi;
    skip;
    d_step {
        block = where[FILE_OF(me)];
        entry = block + (SHARED(block) -> RO : 0)
    };
    publish();
    unlock(LAYOUT(FILE_OF(me)))
}

proctype pinner(byte me)
{
    byte left = ROUNDS, kind, entry, block, fresh, old, other, forced;
    bool biased, counted;
    FOUND_DEAD
    do
    :: left ->
        left--;
#ifdef ONE_READS
        kind = (me == 0 -> READ : WRITE);
#else
        if
        :: kind = READ
        :: kind = WRITE
        fi;
#endif
        pin_fast();
        if
        :: block == 0 -> pin_slow()
        :: else
        fi;
        if
        :: kind == WRITE -> entry = 1 - LOAD(DATA(block)); store(DATA(block), entry)
        :: else
        fi;
        leave()
    :: else -> break
    od
}

/* Both mutexes, in their order. */
inline merge()
{
    lock(LAYOUT(0));
    lock(LAYOUT(1));
    same = where[0] && where[1] && where[0] != where[1];
#ifdef COMPARE_FIRST
    same = same && LOAD(DATA(where[0])) == LOAD(DATA(where[1]));
#endif
    if
    :: same && !SHARED(where[0]) && !SHARED(where[1]) ->
        zap(0);
        zap(1);
        busy = false;
#ifndef NO_LOOK
        scan(0);
        scan(1);
#endif
#ifndef COMPARE_FIRST
        same = LOAD(DATA(where[0])) == LOAD(DATA(where[1]));
#endif
        if
        :: same && !busy ->
            d_step {
                assert(memory[DATA(where[0])] == memory[DATA(where[1])]); /* differs */
                leave_block(1, where[0])
            }
        :: else
        fi
    :: else
    fi;
    unlock(LAYOUT(1));
    unlock(LAYOUT(0))
}

/* Frees the block when its other owners have left. */
inline punch(file)
{
    lock(LAYOUT(file));
    if
    :: where[file] ->
        zap(file);
        busy = false;
        scan(file);
        if
        :: !busy -> d_step { leave_block(file, 0) }
        :: else
        fi
    :: else
    fi;
    unlock(LAYOUT(file))
}

#ifdef GIVES_UP
/* L1, L2 and L5, then the end without L6. */
inline give_up()
{
    lock(LAYOUT(0));
    gate = true;
    seen = gateless;
    root = LOAD(ENTRY(0));
    zap(0);
    unlock(LAYOUT(0));
    lock(LAYOUT(0));
    if
#ifdef PUT_BACK_ANYHOW
    :: true -> store(ENTRY(0), root)
#else
    :: gateless == seen -> store(ENTRY(0), root)
    :: else
#endif
    fi;
    gate = false;
    unlock(LAYOUT(0))
}
#endif

proctype changer(byte me)
{
    byte merges = MERGES, punches = PUNCHES, old, other, forced;
    bool busy, same;
    FOUND_DEAD
#ifdef GIVES_UP
    byte root, seen;
    give_up();
#endif
    do
    :: merges -> merges--; merge()
    :: punches -> punches--; punch(1)
    :: !merges && !punches -> break
    od
}

/* L1 to L4 of one source. What is not free at once, or held, is left out. */
inline take_source(file)
{
#ifdef CLONER_WAITS
    lock(LAYOUT(file));
    locked[file] = true;
#else
    atomic {
        FENCED;
        if
        :: memory[LAYOUT(file)] == 0 -> memory[LAYOUT(file)] = 1; locked[file] = true
        :: else
        fi
    };
#endif
    if
    :: locked[file] ->
        zap(file);
        busy = false;
#ifndef NO_LOOK
        scan(file);
#endif
        found[file] = !busy && where[file];
#ifdef EARLY_UNLOCK
        locked[file] = false;
        unlock(LAYOUT(file))
#endif
    :: else
    fi
}

inline let_go(file)
{
    if
    :: locked[file] -> unlock(LAYOUT(file))
    :: else
    fi
}

proctype cloner(byte me)
{
    bool locked[2], found[2], busy;
    byte other, forced;
    FOUND_DEAD
    take_source(1);
    take_source(0);
    d_step { /* L6 */
        if
        :: found[0] -> where[2] = where[0]
        :: else
        fi;
        if
        :: found[1] -> where[3] = where[1]
        :: else
        fi
    };
    let_go(0);
    let_go(1)
}

init {
    byte t;
    atomic {
#ifdef MERGED
        where[0] = 1;
        where[1] = 1;
#ifndef COUNTED
        memory[ENTRY(0)] = 1 + RO;
        memory[ENTRY(1)] = 1 + RO;
#endif
#else
        where[0] = 1; memory[ENTRY(0)] = 1;
        where[1] = 2; memory[ENTRY(1)] = 2;
#ifdef COUNTED
        memory[COUNT(1)] = 1;
        memory[COUNT(2)] = 1;
#endif
#endif
#if !defined(UNBIASED) && !defined(COUNTED)
        if
        :: memory[BIAS(0)] = 1; memory[BIAS(1)] = 1
        :: true
        fi;
#endif
        do
        :: t < THREADS ->
            run lands(t);
            if
            :: t < PINNERS -> run pinner(t)
            :: t == CHANGER -> run changer(t)
            :: t == CLONER -> run cloner(t)
            fi;
            t++
        :: else -> break
        od
    }
}
