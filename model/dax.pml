/* SPDX-License-Identifier: MIT */
/*
 * Pins and layout changes, as src/dax has them, for every engine: the slow path, the gate, the steps L1 to L7,
 * and what must never happen. An engine's file says how a pin is seen (slots.pml, counts.pml) and includes this one
 * last.
 *
 * A file has up to two pages (0, 1) and the pool up to two blocks (1, 2; 0 is none). A pinner pins its page, touches
 * the block and lets go, again and again; one that is NESTED pins the other page meanwhile too. A change punches its
 * range: the blocks are free at once, and the next pinner that finds the hole gets one of them. `where` is
 * what the extents say. It changes under the layout mutex only, so it is no word of the machine's memory.
 *
 * Left out: names, sizes, LMDB, death, deadlines and detaching (each of them ends a wait early or makes it
 * needless), pins of several pages (each page is a walk of its own under the same slot or with a count of its own),
 * and the nodes of the page table (a node is freed like a block: zap, L3, look).
 *
 * What must never happen:
 *   reuse          a block is freed while a pin holds it, or a walk gives out a block that is not there any more
 *   torn           a store of a holder lands in a block that has been freed since
 *   gate           an entry is back in a closed gate
 *   lost wake-up   nothing can go on, a change sleeps, and nobody holds anything
 *   deadlock       nothing can go on in any other way
 *   starvation     pinners go on for ever, and the change never ends (`ltl changes_end`, weak fairness)
 */
#ifndef ROUNDS
#define ROUNDS 2 /* pins of each pinner */
#endif
#ifndef PUNCHES
#define PUNCHES 2 /* layout changes of each that makes some, one after the other */
#endif

byte where[2];  /* block under the page */
bool free[3];   /* blocks */
byte held[3];   /* live pins of a block */
bool gate[2];   /* closed over the page; under the mutex, but for who waits for it to open */
bool waits[2];  /* its change waits for pins; under the mutex */
byte ended;     /* changes */

/* Inside of a step: a walk has given out the block of the page. */
inline take(page, block)
{
    assert(where[page] == block);
    held[block]++
}

/* GATE.RULE/p */
#if defined(NOBODY_WAITS_AT_GATE)
#define MUST_WAIT false
#elif defined(HOLDERS_WAIT_AT_GATE)
#define MUST_WAIT true
#else
#define MUST_WAIT (pins == 0)
#endif
#ifdef FILL_IN_GATE
#define MAY_FILL(page) true
#else
#define MAY_FILL(page) !gate[page]
#endif

inline fill_hole(page, block)
{
    d_step {
        if
        :: where[page] == 0 && free[1] -> where[page] = 1; free[1] = false
        :: where[page] == 0 && free[2] && !free[1] -> where[page] = 2; free[2] = false
        :: else
        fi;
        block = where[page]
    }
}

inline pin_slow(page, block)
{
    lock(LAYOUT(page));
    do
    :: gate[page] && MUST_WAIT -> unlock(LAYOUT(page)); !gate[page]; lock(LAYOUT(page))
    :: else -> break
    od;
    fill_hole(page, block);
    if
    :: block == 0 /* the pool is full: no pin */
    :: else ->
        if
        :: MAY_FILL(page) -> thaw(block); store(ENTRY(page), block)
        :: else
        fi;
        publish_locked(page, block)
    fi;
    unlock(LAYOUT(page))
}

inline pin(page, block)
{
    pin_fast(page, block);
    if
    :: block == 0 -> pin_slow(page, block)
    :: else
    fi
}

/* UNPIN.DONE, COUNT.DONE: what was done to the block comes first. */
inline let_go(page, block)
{
#ifdef TOUCH
#ifdef LET_GO_FIRST
    stamp = life[block];
    unpin(page, block);
    store(DATA(block), stamp);
#else
    store(DATA(block), life[block]);
    unpin(page, block);
#endif
#else
    unpin(page, block);
#endif
    block = 0
}

proctype pinner(byte me, page)
{
    byte block, seen, left = ROUNDS;
    byte pins; /* that it holds */
#ifdef NESTED
    byte across = 1 - page, other;
#endif
#ifdef TOUCH
    byte stamp;
#endif
    PINNER_LOCALS
    pinner_comes();
    do
#ifdef FOREVER
    :: true ->
#else
    :: left -> left--;
#endif
        pin(page, block);
#ifdef NESTED
        if
        :: block -> pins = 1; pin(across, other); pins = 0
        :: else
        fi;
#endif
        if
        :: block -> let_go(page, block)
        :: else
        fi;
#ifdef NESTED /* the pin that was let through outlives the one it was let through for */
        if
        :: other -> let_go(across, other)
        :: else
        fi;
#endif
#ifdef WANDERS
        page = 1 - page
#endif
#ifndef FOREVER
    :: else -> break
#endif
    od
}

/* L2 */
inline zap()
{
    page = from;
    cleared = false;
    do
    :: page <= to ->
        if
        :: LOAD(ENTRY(page)) -> store(ENTRY(page), 0); cleared = true
        :: else
        fi;
        page++
    :: else -> break
    od
}

/* L6 */
inline free_blocks()
{
    d_step {
        page = from;
        do
        :: page <= to ->
            assert(!LOAD(ENTRY(page)));
            if
            :: where[page] ->
                assert(!held[where[page]]);
                free[where[page]] = true;
                life[where[page]]++;
                where[page] = 0
            :: else
            fi;
            page++
        :: else -> break
        od
    }
}

proctype change(byte me, from, to)
{
    byte page, seen, left = PUNCHES;
    bool cleared;
    CHANGE_LOCALS
    do
    :: left -> left--;
        lock(LAYOUT(from)); /* L1 */
        do
        :: gate[from] || gate[to] ->
            unlock(LAYOUT(from)); !gate[from] && !gate[to]; lock(LAYOUT(from))
        :: else -> break
        od;
        atomic { gate[from] = true; gate[to] = true };
        zap_begins();
        zap();
        zapped(); /* L3 */
        drain();  /* L4, L5 */
        free_blocks();
        opens();
        atomic { gate[from] = false; gate[to] = false }; /* L7 */
        unlock(LAYOUT(from))
    :: else -> break
    od;
    ended++
}

#ifdef STARVE
ltl changes_end { <> (ended == CHANGES) }
#else
/* `timeout`: nothing else can go on. */
proctype watch()
{
    timeout;
    d_step {
        step = 0;
        do
        :: step < THREADS -> assert(!asleep[step] || held[1] || held[2]); step++
        :: else -> break
        od
    }
}
#endif

/* Pinners are the threads from 0, changes come next, then who else there is. */
#ifdef OWN_PAGES /* pinner n begins with page n */
#define PAGE_OF(pinner) pinner
#else
#define PAGE_OF(pinner) 0
#endif
#if defined(OWN_RANGES) /* change n is of page n */
#define FROM(change) change
#define TO(change) change
#elif defined(WIDE) /* of both pages */
#define FROM(change) 0
#define TO(change) 1
#elif defined(ACROSS) /* of the page that a nested pinner of page 0 goes to */
#define FROM(change) 1
#define TO(change) 1
#else
#define FROM(change) 0
#define TO(change) 0
#endif

init {
    byte t;
    atomic {
        t = 0;
        do
        :: t < BLOCKS -> where[t] = t + 1; memory[ENTRY(t)] = t + 1; t++
        :: else -> break
        od;
        setup();
        t = 0;
        do
        :: t < THREADS ->
            run lands(t);
            if
            :: t < PINNERS -> run pinner(t, PAGE_OF(t))
            :: t >= PINNERS && t < PINNERS + CHANGES -> run change(t, FROM(t - PINNERS), TO(t - PINNERS))
            :: else -> others(t)
            fi;
            t++
        :: else -> break
        od;
#ifndef STARVE
        run watch()
#endif
    }
}
