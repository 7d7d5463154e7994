/* SPDX-License-Identifier: MIT */
/*
 * Watching: a writer changes bytes and reports, a watcher begins to watch and refreshes its copy with each report.
 * Steps and edges are those of docs/ORDERING.md, 3.26 to 3.28, without deaths and without giving up.
 *
 * What must hold: when a write has returned that was reported, the copy is new; and when nothing more happens.
 *
 * -DNO_WATCH_BARRIER, -DLOOK_FIRST (the watcher reads the number to sleep on after it has looked), -DWAKE_FIRST (the
 * writer wakes before the report is written): broken twins.
 */
#define THREADS 2
#define WRITER 0
#define WATCHER 1

#define BYTES 0 /* what was written last */
#define FLAG 1
#define REPORTED 2 /* tickets */
#define REPORT_SEQ 3
#define CAME_BACK 4
#define DEALT_WITH 5
#define RING(ticket) (5 + (ticket)) /* 1: written */
#define WORDS (6 + WRITES)
#define LANDED(w, v) skip

#include "tso.pml"

byte copy;
bool done;

inline raise(w)
{
    d_step { FENCED; memory[w]++ };
    futex_wake(w)
}

/* REPORT.WAKE/m */
inline report()
{
    d_step { FENCED; memory[REPORTED]++; ticket = memory[REPORTED] };
#ifdef WAKE_FIRST
    raise(REPORT_SEQ);
    store(RING(ticket), 1)
#else
    store(RING(ticket), 1);
    raise(REPORT_SEQ)
#endif
}

inline await()
{
    do
    :: back = LOAD(CAME_BACK);
       if
       :: LOAD(DEALT_WITH) >= ticket -> break
       :: else -> futex_wait(CAME_BACK, back)
       fi
    od
}

proctype writer(byte me)
{
    byte i = 1, ticket, back;

    do
    :: i <= WRITES ->
        store(BYTES, i);
        if /* WATCH.SB/p */
        :: LOAD(FLAG) -> report(); await(); assert(copy >= i)
        :: else
        fi;
        i++
    :: else -> break
    od;
    fence();
    done = true
}

proctype watcher(byte me)
{
    byte taken, seq, forced;

    store_seq_cst(FLAG, 1);
#ifndef NO_WATCH_BARRIER
    fence();
    forced = ALL_THREADS & ~(1 << me);
    membarrier(forced);
#endif
    copy = LOAD(BYTES);
    do
    :: store(DEALT_WITH, taken);
       raise(CAME_BACK);
look:
#ifndef LOOK_FIRST
       seq = LOAD(REPORT_SEQ); /* REPORT.WAKE/p */
#endif
       if
       :: LOAD(REPORTED) > taken && LOAD(RING(taken + 1)) -> taken++; copy = LOAD(BYTES)
       :: else ->
#ifdef LOOK_FIRST
           seq = LOAD(REPORT_SEQ);
#endif
           atomic {
               FENCED;
               if
               :: memory[REPORT_SEQ] == seq -> asleep[me] = 1 + REPORT_SEQ
               :: else
               fi
           };
endsleep: /* as long as nothing is written */
           asleep[me] == 0;
           goto look
       fi
    od
}

/* `timeout`: nothing else can go on. */
proctype watch()
{
    timeout;
    assert(!done || copy == WRITES)
}

init {
    atomic {
        run lands(WRITER);
        run lands(WATCHER);
        run writer(WRITER);
        run watcher(WATCHER);
        run watch()
    }
}
