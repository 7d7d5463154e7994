/* SPDX-License-Identifier: MIT */
/*
 * The slots engines. With the engine slots, the file may start biased or not. With slots-fenced (-DFENCED_ONLY), it
 * is never biased and there is no heavy barrier; a waiting change looks again at any time. The engine
 * slots-membarrier is -DALWAYS_BIASED. Steps and edges are those of docs/ORDERING.md.
 *
 * A slot is one word here, for each pinner and page: 1 is a live key. With -DWANDERS it is a key and a range, as in
 * the source, and the pinner uses the same slot for both pages in turn. A pinner that has fenced brings the bias
 * back. With -DSTALE one more thread may do so at any time, as often as REBIASES says.
 *
 * -DTWO_FILES: each page is a file of its own, with its mutex and bias, and changes share heavy barriers.
 * -DLATE: the last pinner attaches while the others are at work.
 *
 * -DMARKS: a look reads only lanes that are marked for the file, each pinner being a lane. Every look that finds
 * nothing in a lane clears its mark, as early as the source ever does. While the file is biased, all lanes are read.
 * -DSEEN, with WANDERS: a look leaves out a lane in which nothing was pinned since a look found nothing there that
 * is in its range.
 */
#ifndef REBIASES
#define REBIASES 0
#endif
#ifdef STALE
#define THREADS (PINNERS + CHANGES + 1)
#else
#define THREADS (PINNERS + CHANGES)
#endif

#ifdef TWO_FILES
#define FILE(page) (page)
#else
#define FILE(page) 0
#endif
#define LAYOUT(page) (FILE(page))
#define BIAS(page) (2 + FILE(page))
#define WAITERS(page) (4 + FILE(page)) /* mask of pages: the span that somebody waits for */
#define DRAIN_SEQ(page) (6 + FILE(page))
#define ENTRY(page) (8 + (page))
#ifdef WANDERS
#define KEY(pinner, page) (10 + 2 * (pinner))
#define RANGE(pinner) (11 + 2 * (pinner))
#else
#define KEY(pinner, page) (10 + 2 * (pinner) + (page))
#endif
#define ATTACHED 16 /* the last pinner */
#define BARRIER 17  /* mutex */
#define BEGUN 18
#define DONE 19
#define DATA(block) (19 + (block))
#ifdef WHOLE
#define ROOT 22
#define ENTRY_OF(root, page) (21 + 2 * (root) + (page))
#define LAST_WORDS 27
#else
#define LAST_WORDS 22
#endif
#if defined(MARKS)
#define MARK(pinner, page) (LAST_WORDS + 2 * (pinner) + FILE(page))
#define UNSURE(page) (LAST_WORDS + 2 * PINNERS + FILE(page))
#define WORDS (LAST_WORDS + 2 * PINNERS + 2)
#elif defined(SEEN)
#define GENERATION LAST_WORDS /* of the one pinner */
#define HINT (LAST_WORDS + 1)
#define WORDS (LAST_WORDS + 2)
#else
#define WORDS LAST_WORDS
#endif
#define MORTAL PINNERS

byte life[3]; /* of a block: how often it was freed */
#ifdef TOUCH
#define LANDED(w, v) assert(w <= DATA(0) || v == life[w - DATA(0)])
#else
#define LANDED(w, v) skip
#endif
#ifdef FENCED_ONLY
#ifndef NO_TICK
#define TICK true
#endif
#endif

#include "tso.pml"
#include "table.pml"

byte rebiases = REBIASES;

#define PINNER_LOCALS bool biased, unbiased_before;
#ifdef MARKS
#define CHANGE_LOCALS byte forced, p, seq, number, stale; bool busy, all, any;
#elif defined(SEEN)
#define CHANGE_LOCALS byte forced, p, seq, number, now; bool busy, taking;
/* What a look saw last; under the mutex. */
bool known;
byte seen_generation, seen_page;
#else
#define CHANGE_LOCALS byte forced, p, seq, number; bool busy;
#endif

/* BIAS.SET/p */
inline rebias(page)
{
    fence();
    store(BIAS(page), 1);
#ifndef NO_REBIAS_FENCE
    fence()
#endif
}

/* P2 */
inline read_bias(page)
{
    biased = LOAD(BIAS(page))
}

/* MARK.SB/p, MARK.KEEP/p: after the fence. */
#if defined(MARKS) && !defined(NO_MARK)
inline mark(page)
{
    if
    :: !LOAD(MARK(me, page)) ->
        store(MARK(me, page), 1);
#ifndef NO_MARK_FENCE
        fence()
#endif
    :: else
    fi
}
#else
inline mark(page)
{
    skip
}
#endif

/* PIN.SB/p */
inline order(page)
{
#if defined(MARK_FIRST)
    if
    :: !biased -> mark(page); fence(); unbiased_before = true
    :: else
    fi
#elif !defined(NO_PIN_FENCE)
    if
    :: !biased -> fence(); unbiased_before = true; mark(page)
    :: else
    fi
#else
    unbiased_before = !biased
#endif
}

/* P1: SLOT.PUB/p */
inline publish(page)
{
#ifdef SEEN /* SEEN.ALL/p */
    store(HINT, 1);
    seen = LOAD(GENERATION) + 1;
    store(GENERATION, seen);
    seen = 0;
#endif
#ifndef WANDERS
    store(KEY(me, page), 1)
#elif defined(KEY_FIRST)
    store(KEY(me, page), 1);
    store(RANGE(me), page)
#else
    store(RANGE(me), page);
    store(KEY(me, page), 1)
#endif
}

inline slot_taken()
{
#ifdef SEEN
    store(HINT, 0)
#else
    skip
#endif
}

/* P3 */
inline walk(page, block)
{
    FIND_ROOT
    atomic {
        block = LOOK_UP(page);
        if
        :: block -> take(page, block)
        :: else
        fi
    }
}

inline pin_fast(page, block)
{
#if REBIASES
    if
    :: atomic { unbiased_before && rebiases -> rebiases--; unbiased_before = false }; rebias(page)
    :: true
    fi;
#endif
#if defined(BIAS_FIRST)
    read_bias(page); publish(page); order(page); walk(page, block);
#elif defined(LATE_PUBLISH)
    walk(page, block); publish(page); read_bias(page); order(page);
#else
    publish(page); read_bias(page); order(page); walk(page, block);
#endif
    slot_taken();
    if
    :: block == 0 -> leave(page) /* P4 */
    :: else
    fi
}

/* Under the mutex. */
inline publish_locked(page, block)
{
    publish(page);
    read_bias(page);
    order(page);
    d_step { take(page, block) };
    slot_taken()
}

inline thaw(block)
{
    skip
}

/* U2, U3. UNPIN.WAKE/p: no fence here. */
inline wake(page)
{
    seen = LOAD(WAITERS(page));
    if
    :: seen & (1 << (page)) ->
        atomic { FENCED; memory[DRAIN_SEQ(page)]++ };
        futex_wake(DRAIN_SEQ(page))
    :: else
    fi
}

/* U1 to U3 */
inline leave(page)
{
    store(KEY(me, page), 0);
    wake(page)
}

inline unpin(page, block)
{
    atomic { store(KEY(me, page), 0); held[block]-- };
    wake(page)
}

/* ATTACH.SB/p */
inline pinner_comes()
{
#ifdef LATE
    if
    :: me == PINNERS - 1 ->
        store(ATTACHED, 1);
#ifndef NO_ATTACH_FENCE
        fence()
#endif
    :: else
    fi
#else
    skip
#endif
}

#ifdef LATE
#define ATTACHED_PINNERS (PINNERS - 1 + LOAD(ATTACHED))
#define LATE_ONES ((1 - LOAD(ATTACHED)) << (PINNERS - 1))
#else
#define ATTACHED_PINNERS PINNERS
#define LATE_ONES 0
#endif

/* ATTACH.SB/m: read after the fence. */
inline one_barrier()
{
    fence();
    forced = ALL_THREADS & ~LATE_ONES & ~(1 << me);
    membarrier(forced)
}

#ifdef TWO_FILES
/* BARRIER.SHARE */
inline heavy_barrier()
{
#ifndef NO_SHARE_FENCE
    fence();
#endif
    number = LOAD(BEGUN);
    lock(BARRIER);
    if
    :: LOAD(DONE) <= number ->
        number = LOAD(BEGUN) + 1;
        store(BEGUN, number);
        one_barrier();
        store(DONE, number)
    :: else
    fi;
    unlock(BARRIER)
}
#else
inline heavy_barrier()
{
    one_barrier()
}
#endif

inline zap_begins()
{
    skip
}

#ifdef MARKS
#ifdef TWO_FILES
#define ANY_KEY(page) LOAD(KEY(p, page))
#else
#define ANY_KEY(page) (LOAD(KEY(p, 0)) || LOAD(KEY(p, 1)))
#endif

/* MARK.BIAS/m: pins that were made while the file was biased have no mark. */
inline census()
{
    p = 0;
    do
    :: p < ATTACHED_PINNERS ->
        if
        :: ANY_KEY(from) -> store(MARK(p, from), 1)
        :: else
        fi;
        p++
    :: else -> break
    od
}

/* MARK.KEEP/m */
inline clear_marks()
{
#ifndef NO_UNSURE
    store(UNSURE(from), 1);
#endif
    p = 0;
    do
    :: p < PINNERS ->
        if
        :: stale & (1 << p) -> store(MARK(p, from), 0)
        :: else
        fi;
        p++
    :: else -> break
    od;
#ifndef NO_SECOND_LOOK
#ifndef NO_CLEAR_FENCE
    fence();
#endif
    p = 0;
    do
    :: p < PINNERS ->
        if
        :: (stale & (1 << p)) && ANY_KEY(from) -> store(MARK(p, from), 1)
        :: else
        fi;
        p++
    :: else -> break
    od;
#endif
    store(UNSURE(from), 0)
}
#endif

inline bias_goes()
{
#ifdef MARKS
    store(UNSURE(from), 1);
#ifdef CENSUS_FIRST
    census();
#endif
#endif
    store_seq_cst(BIAS(from), 0)
}

inline bias_gone()
{
#ifdef MARKS
    if
    :: LOAD(UNSURE(from)) ->
#if !defined(NO_CENSUS) && !defined(CENSUS_FIRST)
        census();
#endif
        store(UNSURE(from), 0)
    :: else
    fi
#else
    skip
#endif
}

/* L3: PIN.SB/m, BIAS.SET/m */
inline zapped()
{
    if
    :: cleared ->
#ifdef ALWAYS_BIASED
#ifndef NO_HEAVY
        heavy_barrier()
#endif
#else
#ifndef NO_ZAP_FENCE
        fence();
#endif
        if
        :: LOAD(BIAS(from)) ->
            bias_goes();
#ifndef NO_HEAVY
            heavy_barrier()
#endif
        :: else
        fi;
        bias_gone()
#endif
    :: else
    fi
}

/* SLOT.PUB/m */
inline look_at_slot()
{
#ifdef WANDERS
    seen = LOAD(KEY(p, page));
    busy = busy || (seen && LOAD(RANGE(p)) == page)
#else
    busy = busy || LOAD(KEY(p, page))
#endif
}

/* L4 */
#if defined(MARKS)
#define ALL_LANES (LOAD(BIAS(from)) || LOAD(UNSURE(from)))
inline scan()
{
    busy = false;
    stale = 0;
    all = ALL_LANES;
    p = 0;
    do
    :: p < ATTACHED_PINNERS ->
        if
        :: all || LOAD(MARK(p, from)) ->
            any = busy;
            busy = false;
            page = from;
            do
            :: page <= to -> look_at_slot(); page++
            :: else -> break
            od;
            if
            :: !all && !busy && !ANY_KEY(from) -> stale = stale | (1 << p)
            :: else
            fi;
            busy = busy || any;
            any = false
        :: else
        fi;
        p++
    :: else -> break
    od;
    all = false;
    if
    :: stale -> clear_marks()
    :: else
    fi;
    stale = 0
}
#elif defined(SEEN)
/* SEEN.ALL/m */
inline scan()
{
    busy = false;
    p = 0;
    page = from;
#ifndef GENERATION_LAST
    now = LOAD(GENERATION);
#ifndef NO_HINT
    taking = LOAD(HINT);
#endif
#endif
    if
    :: known && LOAD(GENERATION) == seen_generation && seen_page != 1 + page -> skip
    :: else ->
        seen = LOAD(KEY(0, page));
        busy = seen && LOAD(RANGE(0)) == page;
#ifdef GENERATION_LAST
        now = LOAD(GENERATION);
        taking = LOAD(HINT);
#endif
        d_step {
            known = !taking;
            seen_generation = now;
            seen_page = (seen -> (busy -> 1 + page : 2 - page) : 0);
            now = 0; taking = false; seen = 0
        }
    fi
}
#else
inline scan()
{
    busy = false;
    page = from;
    do
    :: page <= to ->
        p = 0;
        do
        :: p < ATTACHED_PINNERS -> look_at_slot(); p++
        :: else -> break
        od;
        page++
    :: else -> break
    od
}
#endif

#define WAITING(page) ((waits[0] && FILE(0) == FILE(page)) | ((waits[1] && FILE(1) == FILE(page)) << 1))

inline drain()
{
    do
    ::
#ifndef SEQ_AFTER_SCAN
        seq = LOAD(DRAIN_SEQ(from));
#endif
        scan();
#ifdef SEQ_AFTER_SCAN
        seq = LOAD(DRAIN_SEQ(from));
#endif
        if
        :: !busy -> break
#ifdef GIVES_UP
        :: busy -> gave_up = true; break
#endif
        :: busy && !waits[from] -> /* L5 */
            atomic { waits[from] = true; waits[to] = true };
            store_seq_cst(WAITERS(from), WAITING(from));
            /* UNPIN.WAKE/m */
#if !defined(FENCED_ONLY) && !defined(NO_WAIT_BARRIER)
            heavy_barrier()
#endif
        :: busy && waits[from] ->
            unlock(LAYOUT(from));
            futex_wait(DRAIN_SEQ(from), seq);
            lock_layout(from)
        fi
    od
}

inline opens()
{
    if
    :: waits[from] ->
        atomic { waits[from] = false; waits[to] = false };
        store_seq_cst(WAITERS(from), WAITING(from))
    :: else
    fi
}

inline opens_for_dead()
{
    atomic { waits[0] = false; waits[1] = false };
    store_seq_cst(WAITERS(0), 0)
}

/* So that the next change makes the barrier that the dead one may not have come to. */
inline bias_back()
{
#if defined(FENCED_ONLY) || defined(NO_BIAS_BACK)
    skip
#else
    store(BIAS(0), 1)
#endif
}

inline setup()
{
#if defined(ALWAYS_BIASED)
    memory[BIAS(0)] = 1; memory[BIAS(1)] = 1
#elif !defined(FENCED_ONLY) && !defined(UNBIASED)
    if
    :: memory[BIAS(0)] = 1; memory[BIAS(1)] = 1
    :: true
    fi
#else
    skip
#endif
}

#ifdef STALE
/* A pinner that was about to give the bias back, for however long. */
proctype rebiaser(byte me)
{
end:
    do
    :: atomic { rebiases -> rebiases-- }; rebias(0)
    od
}
#endif

inline others(t)
{
#ifdef STALE
    run rebiaser(t)
#else
    skip
#endif
}

#include "dax.pml"
