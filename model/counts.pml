/* SPDX-License-Identifier: MIT */
/*
 * The engines that count. Each block has a word that is 0 (frozen: no entry, no pin), or 1 and one more for each
 * pin. It has WAITED too when a layout change sleeps on it. The engines differ in what keeps a walk from counting
 * too late:
 *
 *   -DREFCOUNT      counts what is not frozen, then reads the entry again
 *   -DSRCU          counts in a read section; the change waits for the sections twice, around a flip of the index
 *   -DPERCPU_RWSEM  counts under a read lock without a fence; the change zaps under the write lock
 *   -DRCU           counts in a read section of liburcu; the change calls synchronize_rcu()
 *   -DUNPATCHED     nothing does
 *
 * -DGRACE_GIVES_UP: a change that finds a walk under way may give up waiting for it: `stuck`. Then it ends, or drops the
 * mutex and waits again, from the beginning, unless another change of the file has done so meanwhile (zap_pending).
 *
 * Only the promise of RCU is here, not how liburcu keeps it. Each section has ended before synchronize_rcu()
 * returns, and its effects are visible by then. Or it began after the call, and sees what was stored before.
 */
#define THREADS (PINNERS + CHANGES)

#ifdef TWO_FILES
#define FILE(page) (page)
#else
#define FILE(page) 0
#endif
#define LAYOUT(page) (FILE(page))
#define ENTRY(page) (2 + (page))
#define COUNT(block) (3 + (block))
#define SECTION(pinner, index) (6 + 2 * (pinner) + (index))
#define GRACE 10  /* mutex of a thread that waits for sections */
#define INDEX 11  /* srcu: of the sections that begin now */
#define WRITER 12 /* percpu-rwsem */
#define DATA(block) (12 + (block))
#ifdef WHOLE
#define ROOT 15
#define ENTRY_OF(root, page) (14 + 2 * (root) + (page))
#define WORDS 20
#else
#define WORDS 15
#endif
#define WAITED 64
#define MORTAL PINNERS

byte life[3]; /* of a block: how often it was freed */
#ifdef TOUCH
#define LANDED(w, v) assert(w <= DATA(0) || v == life[w - DATA(0)])
#else
#define LANDED(w, v) skip
#endif

#include "tso.pml"
#include "table.pml"

/* rcu: pinners that are in a section, and those with a section that somebody waits for */
bool inside[2], awaited[2];

#define PINNER_LOCALS byte index; bool counted;
#define CHANGE_LOCALS byte forced, p, index, busy;

/* --- the pinner --- */

inline section_up()
{
    seen = LOAD(SECTION(me, index));
    store(SECTION(me, index), seen + 1)
}

inline section_down()
{
    seen = LOAD(SECTION(me, index));
    store(SECTION(me, index), seen - 1)
}

/* Of a writer that died before it let the readers in. */
inline lock_grace()
{
    lock(GRACE);
#if defined(DIES) && defined(PERCPU_RWSEM)
    if
    :: found_dead -> store(WRITER, 0)
    :: else
    fi
#endif
}

inline enter()
{
#if defined(SRCU)
    index = LOAD(INDEX);
    section_up();
#ifndef NO_ENTER_FENCE
    fence() /* SRCU.SB/p */
#endif
#elif defined(PERCPU_RWSEM)
    section_up();
    /* RWSEM.SB/p: no fence here */
    if
    :: LOAD(WRITER) ->
        section_down();
        lock_grace();
        section_up();
        unlock(GRACE)
    :: else
    fi
#elif defined(RCU)
    inside[me] = true
#else
    skip
#endif
}

inline leave()
{
#if defined(SRCU) || defined(PERCPU_RWSEM)
    section_down()
#elif defined(RCU)
    d_step { inside[me] = false; awaited[me] = false }
#else
    skip
#endif
}

inline count_up(block)
{
    atomic { FENCED; memory[COUNT(block)]++ }
}

inline count_up_unless_frozen(block)
{
    atomic {
        FENCED;
#ifdef COUNT_FROZEN
        memory[COUNT(block)]++; counted = true
#else
        counted = memory[COUNT(block)] != 0;
        if
        :: counted -> memory[COUNT(block)]++
        :: else
        fi
#endif
    }
}

/* COUNT.DONE/p, COUNT.WAKE/p */
inline wake(block)
{
    if
    :: seen == (WAITED | 2) -> futex_wake(COUNT(block))
    :: else
    fi
}

inline count_down(block)
{
    atomic { FENCED; seen = memory[COUNT(block)]; memory[COUNT(block)]-- };
    wake(block)
}

/* A count that is not taken back is a pin. */
inline count_page(page, block)
{
    if
    :: block ->
#if defined(REFCOUNT) && !defined(NO_SECOND_LOOK)
        count_up_unless_frozen(block);
        if
        :: !counted -> block = 0
        :: counted ->
            FIND_ROOT
            if
            :: atomic { LOOK_UP(page) == block -> take(page, block) } /* COUNT.SB/p */
            :: atomic { else -> counted = false }
            fi;
            if
            :: !counted -> count_down(block); block = 0
            :: else
            fi
        fi
#elif defined(REFCOUNT)
        atomic {
            count_up_unless_frozen(block);
            if
            :: counted -> take(page, block)
            :: else -> block = 0
            fi
        }
#else
        atomic { count_up(block); take(page, block) }
#endif
    :: else
    fi
}

inline pin_fast(page, block)
{
    enter();
    FIND_ROOT
    block = LOOK_UP(page);
#ifndef LEAVE_FIRST
    count_page(page, block);
    leave() /* SECTION.DONE/p */
#else
    leave();
    count_page(page, block)
#endif
}

inline unpin(page, block)
{
    atomic { FENCED; seen = memory[COUNT(block)]; memory[COUNT(block)]--; held[block]-- };
    wake(block)
}

inline pinner_comes()
{
    skip
}

/* --- under the layout mutex --- */

inline thaw(block)
{
    atomic {
        FENCED;
        if
        :: memory[COUNT(block)] == 0 -> memory[COUNT(block)] = 1
        :: else
        fi
    }
}

inline publish_locked(page, block)
{
    thaw(block);
    atomic { count_up(block); take(page, block) }
}

/* Until each pinner has been seen outside of its section once. */
inline sections_wait(i)
{
    p = 0;
    do
    :: atomic { p < PINNERS && LOAD(SECTION(p, i)) == 0 -> p++ }
#ifdef GRACE_GIVES_UP
    :: atomic { p < PINNERS && LOAD(SECTION(p, i)) != 0 -> stuck = true; break }
#endif
    :: p == PINNERS -> break
    od
}

inline write_unlock()
{
    store(WRITER, 0);
    unlock(GRACE)
}

inline write_lock()
{
    lock_grace();
    store_seq_cst(WRITER, 1);
#ifndef NO_HEAVY
    fence();
    forced = ALL_THREADS & ~(1 << me);
    membarrier(forced); /* RWSEM.SB/m */
#endif
    sections_wait(0)
#ifdef GRACE_GIVES_UP
    ;
    if
#if defined(GOES_ON)
    :: stuck -> stuck = false
#elif !defined(WRITER_STAYS)
    :: stuck -> write_unlock()
#endif
    :: else
    fi
#endif
}

inline zap_begins()
{
#ifdef PERCPU_RWSEM
    write_lock();
#ifdef UNLOCK_BEFORE_ZAP
    write_unlock()
#endif
#else
    skip
#endif
}

/* SRCU.SB/m */
inline synchronize_srcu()
{
#ifndef NO_GRACE_MUTEX
    lock_grace();
#endif
    index = LOAD(INDEX);
#ifndef NO_ZAP_FENCE
    fence();
#endif
#ifndef NO_FIRST_WAIT
    sections_wait(1 - index);
#endif
#ifdef GRACE_GIVES_UP
    if
    :: stuck
    :: else ->
        store(INDEX, 1 - index);
        fence();
        sections_wait(index)
    fi;
#else
#ifndef NO_FLIP
    store(INDEX, 1 - index);
#endif
    fence();
#ifndef NO_SECOND_WAIT
    sections_wait(index);
#endif
#endif
#ifndef NO_GRACE_MUTEX
    unlock(GRACE)
#else
    fence()
#endif
}

inline synchronize_rcu()
{
    fence();
    p = 0;
    do
    :: p < PINNERS ->
        d_step { land_all(p); awaited[p] = inside[p] };
#ifdef GRACE_GIVES_UP
        if
        :: awaited[p] -> stuck = true; break
        :: !awaited[p]
        fi;
#else
        !awaited[p];
#endif
        d_step { land_all(p); p++ }
    :: else -> break
    od
}

/* L3 */
inline zapped()
{
#ifdef PERCPU_RWSEM
#ifndef UNLOCK_BEFORE_ZAP
    write_unlock()
#else
    skip
#endif
#else
    if
    :: cleared ->
#if defined(SRCU)
        synchronize_srcu()
#elif defined(RCU) && !defined(NO_SYNCHRONIZE)
        synchronize_rcu()
#elif defined(REFCOUNT) && !defined(NO_ZAP_FENCE)
        fence() /* COUNT.SB/m */
#endif
    :: else
    fi
#endif
}

/* L4: COUNT.DONE/m. `busy` is the first block that is pinned. A swap that fails looks again. */
inline freeze()
{
#ifndef FREEZE_ONCE
    page = from;
#endif
    busy = 0;
    do
    :: page <= to && !busy && where[page] ->
        seen = LOAD(COUNT(where[page]));
        if
        :: (seen & ~WAITED) > 1 -> busy = where[page]
        :: seen == 0 -> page++
        :: else ->
            atomic {
                FENCED;
                if
                :: memory[COUNT(where[page])] == seen -> memory[COUNT(where[page])] = 0; page++
                :: else
                fi
            }
        fi
    :: page <= to && !busy && !where[page] -> page++
    :: else -> break
    od
}

/* L5: COUNT.WAKE/m. `seen`: the value to sleep on; when it says that nobody holds any more: look again. */
inline say_that_we_wait()
{
#if defined(WAITED_NOT_ATOMIC)
    seen = LOAD(COUNT(busy)) | WAITED;
    store(COUNT(busy), seen);
    fence()
#elif defined(LOOK_BEFORE_WAITED)
    atomic { FENCED; memory[COUNT(busy)] = memory[COUNT(busy)] | WAITED };
    seen = LOAD(COUNT(busy))
#else
    atomic { FENCED; memory[COUNT(busy)] = memory[COUNT(busy)] | WAITED; seen = memory[COUNT(busy)] }
#endif
}

#ifdef LOOK_BEFORE_WAITED
#define STILL_HELD true
#else
#define STILL_HELD ((seen & ~WAITED) > 1)
#endif

inline drain()
{
    page = from;
    do
    ::  freeze();
        if
        :: !busy -> break
        :: busy
#ifdef GIVES_UP
        :: busy -> gave_up = true; break
#endif
        fi;
        say_that_we_wait();
        if
        :: STILL_HELD ->
            unlock(LAYOUT(from));
            futex_wait(COUNT(busy), seen);
            atomic { FENCED; memory[COUNT(busy)] = memory[COUNT(busy)] & ~WAITED };
            lock_layout(from)
        :: else
        fi
    od
}

inline opens()
{
    skip
}

inline opens_for_dead()
{
    skip
}

inline bias_back()
{
    skip
}

inline setup()
{
    memory[COUNT(1)] = where[0] == 1 || where[1] == 1;
    memory[COUNT(2)] = where[0] == 2 || where[1] == 2
}

inline others(t)
{
    skip
}

#include "dax.pml"
