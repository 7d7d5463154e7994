/* SPDX-License-Identifier: MIT */
/*
 * The machine: threads that see each other's stores late.
 *
 * Each thread has a FIFO of stores on their way to memory (total store order, as on x86-64). LOAD() finds the
 * thread's own newest store first, then memory. The oldest store of any thread lands in memory at any time (the
 * process `lands`). A full fence waits until the thread's own stores have landed; a locked operation does so too
 * and is one step. A heavy barrier is membarrier: within the call each other thread runs a full fence once, each at
 * its own moment, in any order. A fence forced upon a thread lands all its stores.
 *
 * Loads are done in program order, and so are stores. Reorderings that TSO does not have cannot show here. A
 * compiler's cannot either, except where a case swaps two lines by hand.
 *
 * A futex is what the kernel gives: comparing and falling asleep is one step, after a fence. There are no spurious
 * wake-ups, no ticks and no deadlines here, so that an engine that needs one is found out. TICK: one engine says
 * that it does. A mutex is taken with a locked operation and given back with a plain store, the least that any
 * mutex does. With -DDIES it is robust: a thread that takes it from thread MORTAL, which has died, is told.
 *
 * The file that includes this says WORDS, THREADS (at most THREADS_MAX), and LANDED(word, value), which looks at each
 * store that lands. In a process `me` is the number of its thread.
 */
#ifndef DEPTH
#define DEPTH 4 /* stores on their way: two pins that nothing fences; the next store waits */
#endif

typedef Stores {
    byte count;
    byte word[DEPTH];
    byte value[DEPTH]
}

#define THREADS_MAX 5
byte memory[WORDS];
Stores stores[THREADS_MAX];
byte asleep[THREADS_MAX]; /* 1 + the word on which the thread sleeps */
hidden byte step;     /* a counter inside of single steps */

#define MINE(place, w) (stores[me].count > place && stores[me].word[place] == (w))
#define LOAD(w)                                                                                    \
    (MINE(3, w) -> stores[me].value[3] : (MINE(2, w) -> stores[me].value[2] :                      \
    (MINE(1, w) -> stores[me].value[1] : (MINE(0, w) -> stores[me].value[0] : memory[w]))))
#ifndef TICK
#define TICK false
#endif
#define FENCED (stores[me].count == 0)

inline fence()
{
    FENCED
}

inline store(w, v)
{
    d_step {
        stores[me].count < DEPTH;
        stores[me].word[stores[me].count] = w;
        stores[me].value[stores[me].count] = v;
        stores[me].count++
    }
}

inline store_seq_cst(w, v) /* xchg, on x86-64 */
{
    atomic { FENCED; memory[w] = v }
}

/* Inside of a step: the oldest store of thread t lands. */
inline land(t)
{
    LANDED(stores[t].word[0], stores[t].value[0]);
    memory[stores[t].word[0]] = stores[t].value[0];
    stores[t].count--;
    step = 0;
    do
    :: step < DEPTH - 1 ->
        stores[t].word[step] = stores[t].word[step + 1];
        stores[t].value[step] = stores[t].value[step + 1];
        step++
    :: else -> break
    od;
    stores[t].word[DEPTH - 1] = 0;
    stores[t].value[DEPTH - 1] = 0
}

inline land_all(t)
{
    do
    :: stores[t].count -> land(t)
    :: else -> break
    od
}

proctype lands(byte t)
{
end:
    do
    :: d_step { stores[t].count -> land(t) }
    od
}

/* membarrier, after a fence of the caller. `forced` is a byte of the caller: the threads that have not run their fence yet. */
#define FORCE(t) :: d_step { forced & (1 << t) -> land_all(t); forced = forced & ~(1 << t) }
#define ALL_THREADS ((1 << THREADS) - 1)
inline membarrier(forced)
{
    do
    FORCE(0)
#if THREADS > 1
    FORCE(1)
#endif
#if THREADS > 2
    FORCE(2)
#endif
#if THREADS > 3
    FORCE(3)
#endif
#if THREADS > 4
    FORCE(4)
#endif
    :: forced == 0 -> break
    od
}

#ifdef DIES
bool died; /* thread MORTAL, with all its stores landed */
bool killed;
#define FOUND_DEAD bool found_dead; /* the last mutex was a dead owner's */
inline lock(w)
{
    atomic {
        FENCED && (memory[w] == 0 || (died && memory[w] == 1 + MORTAL));
        found_dead = memory[w] != 0;
        memory[w] = 1 + me
    }
}
#else
#define FOUND_DEAD
inline lock(w)
{
    atomic { FENCED && memory[w] == 0; memory[w] = 1 }
}
#endif

inline unlock(w)
{
    store(w, 0)
}

inline futex_wait(w, v)
{
    atomic {
        FENCED;
        if
        :: memory[w] == (v) -> asleep[me] = 1 + (w)
        :: else
        fi
    };
    asleep[me] == 0 || TICK;
    asleep[me] = 0
}

inline futex_wake(w)
{
    d_step {
        FENCED;
        step = 0;
        do
        :: step < THREADS ->
            if
            :: asleep[step] == 1 + (w) -> asleep[step] = 0
            :: else
            fi;
            step++
        :: else -> break
        od
    }
}
