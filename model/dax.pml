/* SPDX-License-Identifier: MIT */
/*
 * Pins and layout changes, as src/dax has them, for every engine. There are the slow path, the gate, the steps L1
 * to L7, and what must never happen. An engine's file says how a pin is seen (slots.pml, counts.pml) and includes
 * this one last.
 *
 * A file has up to two pages (0, 1) and the pool up to two blocks (1, 2; 0 is none). A pinner pins its page,
 * touches the block and unpins it, again and again; a NESTED one pins the other page meanwhile too. A change
 * punches its range: the blocks are free at once, and the next pinner that finds the hole gets one of them. `where`
 * is what the extents say. It changes under the layout mutex only, so it is not a word of the machine's memory.
 *
 * -DGIVES_UP: a change may give up whenever it finds a holder, and when its transaction fails. Its steps are then
 * undone as docs/ORDERING.md 3.30 says. -DWHOLE: the range is the whole file. Its root is taken out, and put back when
 * the change gives up; each root has entries of its own. -DGRACE_GIVES_UP (counts.pml): a change may also give up in L2
 * and L3. -DDIES: the first change is killed at any instruction, or never.
 *
 * Left out are names, sizes, LMDB, the death of pinners, and detaching, which makes a wait needless. So are pins of
 * several pages: each page is a walk of its own, under the same slot or with a count of its own. So are the nodes
 * of the page table, except roots: a node is freed like a block (zap, L3, look).
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

#if defined(DIES) || defined(GRACE_GIVES_UP)
bool zap_pending; /* under the mutex */
#endif
#ifdef DIES
byte closer[2];   /* thread that closed the gate; under the mutex, but for threads that wait for it to open */
#define DEAD_GATE(page) (gate[page] && died && closer[page] == MORTAL)
#else
#define DEAD_GATE(page) false
#endif

byte where[2];  /* block under the page */
bool free[3];   /* blocks */
byte held[3];   /* live pins of a block */
bool gate[2];   /* closed over the page; under the mutex, but for threads that wait for it to open */
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

/* The layout mutex; from a dead owner with recover() of src/dax/gate.c. */
inline lock_layout(page)
{
    lock(LAYOUT(page));
#ifdef DIES
    if
    :: found_dead ->
#ifndef NO_ZAP_PENDING
        zap_pending = true;
#endif
        bias_back()
    :: else
    fi
#endif
}

inline open_gate_of_dead()
{
    atomic {
        if
        :: DEAD_GATE(0) -> gate[0] = false
        :: else
        fi;
        if
        :: DEAD_GATE(1) -> gate[1] = false
        :: else
        fi
    };
    opens_for_dead()
}

/* ENTRY.PUB/m. A file without a root gets another one than it had. */
inline store_entry(page, block)
{
#ifdef WHOLE
    root = LOAD(ROOT);
    if
    :: root -> store(ENTRY_OF(root, page), block)
    :: else ->
        newest = 3 - newest;
        store(ENTRY_OF(newest, 1 - page), 0);
        store(ENTRY_OF(newest, page), block);
        store(ROOT, newest)
    fi
#else
    store(ENTRY(page), block)
#endif
}

/* THAW.PUB/m */
inline fill_entry(page, block)
{
#ifdef FILL_BEFORE_THAW
    store_entry(page, block);
    thaw(block)
#else
    thaw(block);
    store_entry(page, block)
#endif
}

inline pin_slow(page, block)
{
    lock_layout(page);
    do
    :: DEAD_GATE(page) -> open_gate_of_dead()
    :: gate[page] && !DEAD_GATE(page) && MUST_WAIT ->
        unlock(LAYOUT(page)); !gate[page] || DEAD_GATE(page); lock_layout(page)
    :: else -> break
    od;
    fill_hole(page, block);
    if
    :: block == 0 /* the pool is full: no pin */
    :: else ->
        if
        :: MAY_FILL(page) -> fill_entry(page, block)
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
    ROOT_LOCAL
    FOUND_DEAD
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
#ifdef WHOLE
inline zap()
{
    cleared = false;
    if
    :: LOAD(ROOT) -> taken = LOAD(ROOT); cleared = true; store(ROOT, 0)
    :: else
    fi
}
#else
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
#endif

/* L7. A root that was taken out for nothing goes back. THAW.PUB/m */
inline put_back()
{
#if defined(WHOLE) && defined(GIVES_UP)
    if
    :: gave_up && taken && LOAD(ROOT) == 0 ->
#ifndef NO_THAW
        page = 0;
        do
        :: page < 2 ->
            seen = LOAD(ENTRY_OF(taken, page));
            if
            :: seen -> thaw(seen)
            :: else
            fi;
            page++
        :: else -> break
        od;
#endif
        store(ROOT, taken)
    :: else
    fi
#else
    skip
#endif
}

/* L6 */
inline free_blocks()
{
    d_step {
        page = from;
        do
        :: page <= to ->
#ifdef WHOLE
            assert(!LOAD(ROOT));
#else
            assert(!LOAD(ENTRY(page)));
#endif
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

/* L6. The transaction of a change that may give up may fail. */
inline transaction()
{
#ifdef GIVES_UP
    if
    :: !gave_up ->
        if
        :: free_blocks()
        :: gave_up = true
        fi
    :: gave_up
    fi
#else
    free_blocks()
#endif
}

#ifdef DIES
#define CLOSED_BY_ME closer[from] = me; closer[to] = me;
#else
#define CLOSED_BY_ME
#endif
#if defined(DIES) || defined(GRACE_GIVES_UP)
#define PENDING (cleared || zap_pending)
#define SETTLED zap_pending = false;
#else
#define PENDING cleared
#define SETTLED
#endif

/* L2, L3. A change that gives up there comes again, or ends: `gave_up`. GRACE.KEEP */
#ifdef GRACE_GIVES_UP
inline zap_and_wait()
{
    do
    ::  stuck = false;
        zap_begins();
        if
        :: !stuck ->
            zap();
            cleared = PENDING;
#ifndef FORGETS_PENDING
            zap_pending = cleared;
#endif
            zapped()
        :: else
        fi;
#ifdef HALF_COUNTS
        SETTLED
#endif
        if
        :: !stuck -> SETTLED break
        :: stuck -> gave_up = true; break
        :: stuck ->
            unlock(LAYOUT(from));
            lock_layout(from)
        fi
    od
}
#define DRAIN                                                                                      \
    if                                                                                             \
    :: !gave_up -> drain()                                                                         \
    :: else                                                                                        \
    fi;
#else
#define DRAIN drain();
inline zap_and_wait()
{
    zap_begins();
    zap();
    cleared = PENDING;
    zapped(); /* L3 */
    SETTLED
}
#endif
#ifdef LEAVES_GATE
#define OPENS (!gave_up)
#else
#define OPENS true
#endif

proctype change(byte me, from, to)
{
    byte page, seen, left = PUNCHES;
    bool cleared;
#ifdef GIVES_UP
    bool gave_up;
#endif
#ifdef GRACE_GIVES_UP
    bool stuck;
#endif
#ifdef WHOLE
    byte taken;
#endif
    CHANGE_LOCALS
    FOUND_DEAD
#ifdef DIES
    {
#endif
    do
    :: left -> left--;
        lock_layout(from); /* L1 */
        do
        :: DEAD_GATE(from) || DEAD_GATE(to) -> open_gate_of_dead()
        :: (gate[from] || gate[to]) && !DEAD_GATE(from) && !DEAD_GATE(to) ->
            unlock(LAYOUT(from)); (!gate[from] && !gate[to]) || DEAD_GATE(from) || DEAD_GATE(to); lock_layout(from)
        :: else -> break
        od;
#ifdef WHOLE
        taken = 0;
#endif
        atomic { CLOSED_BY_ME gate[from] = true; gate[to] = true };
        zap_and_wait();
        DRAIN /* L4, L5 */
        transaction();
        opens();
#ifndef PUT_BACK_LATE
        put_back(); /* L7 */
#endif
        if
        :: OPENS -> atomic { gate[from] = false; gate[to] = false }
        :: !OPENS
        fi;
        unlock(LAYOUT(from));
#ifdef PUT_BACK_LATE
        put_back();
#endif
#ifdef GIVES_UP
        gave_up = false
#endif
    :: else -> break
    od
#ifdef DIES
    } unless { me == MORTAL && killed };
    if
    :: me == MORTAL -> atomic { FENCED; died = true; asleep[me] = 0 }
    :: else
    fi
#endif
    ;
    ended++
}

#ifdef DIES
proctype killer()
{
    killed = true
}
#endif

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

/* Pinners are the threads from 0, changes come next, then all others. */
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
#ifdef WHOLE
        :: t < BLOCKS -> where[t] = t + 1; memory[ENTRY_OF(1, t)] = t + 1; memory[ROOT] = 1; t++
#else
        :: t < BLOCKS -> where[t] = t + 1; memory[ENTRY(t)] = t + 1; t++
#endif
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
#ifdef DIES
        run killer();
#endif
#ifndef STARVE
        run watch()
#endif
    }
}
