/* SPDX-License-Identifier: MIT */
/*
 * A get of the cache against eviction and the next put: docs/CACHE.md, G1 to G4 and E1 to E3. One cell, one word, two
 * ranges of the data file, a reader, and a thread that has the lock. A word has no number in it here, so that each of
 * its values comes again.
 *
 * What must hold: while a reader that has passed G4 holds its range, the range has the object whose key it compared.
 *
 * -DBIASED: the reader has no fence, and hf_held() makes a heavy barrier.
 *
 * -DDEATH: the owner may die before any of its stores. The next one mends: a word that is there counts, and a range
 * that no word leads to is free when nobody holds it. Twin: -DMEND_BLIND (the mend looks for nobody).
 *
 * Broken twins: -DNO_PIN_FENCE, -DNO_HELD_FENCE, -DNO_HEAVY, -DNO_LOOK (nothing looks at the pin), -DNO_SECOND_LOOK.
 * In G4: -DWORD_ALONE, -DSTAMP_ALONE. In a put: -DSTAMP_FIRST, -DWORD_FIRST, -DCELL_FIRST (before E1).
 */
#define THREADS 2
#define READER 0
#define OWNER 1

#define WORD 0
#define STAMP 1
#define KEY 2
#define PLACE 3
#define SLOT 4 /* the reader's pin: 1 + its range */
#define CONTENT(range) (5 + (range))
#define WORDS 7
#define LANDED(w, v) skip

#include "tso.pml"

#ifdef WORD_ALONE
#define SAME (LOAD(WORD) == word)
#else
#ifdef STAMP_ALONE
#define SAME (LOAD(STAMP) == stamp)
#else
#define SAME (LOAD(WORD) == word && LOAD(STAMP) == stamp)
#endif
#endif

proctype reader(byte me)
{
    byte word, stamp, wanted, range, i, object;

    do
    :: i < GETS ->
        i++;
        word = LOAD(WORD); /* G1; CELL.PUB/p */
        if
        :: word ->
            stamp = LOAD(STAMP);
            wanted = LOAD(KEY); /* CELL.REUSE/p */
            range = LOAD(PLACE); /* G2 */
            store(SLOT, 1 + range); /* G3 */
#ifndef BIASED
#ifndef NO_PIN_FENCE
            fence();
#endif
#endif
            if /* G4; CELL.STAMP/p */
#ifdef NO_SECOND_LOOK
            :: true ->
#else
            :: SAME ->
#endif
                object = LOAD(CONTENT(range));
                assert(object == wanted);
                object = LOAD(CONTENT(range));
                assert(object == wanted)
            :: else
            fi;
            store(SLOT, 0)
        :: else
        fi
    :: else -> break
    od
}

inline leave(range)
{
#ifdef CELL_FIRST
    store(KEY, number);
#endif
    store(WORD, 0); /* E1; CELL.REUSE/m */
#ifndef NO_HELD_FENCE
    fence(); /* E2 */
#endif
#ifdef BIASED
#ifndef NO_HEAVY
    forced = ALL_THREADS & ~(1 << me);
    membarrier(forced);
#endif
#endif
#ifndef NO_LOOK
    if /* E3 */
    :: LOAD(SLOT) == 1 + range -> range = 1 - range
    :: else
    fi;
#endif
}

#ifdef DEATH
#define STEP(line) if :: dead -> skip :: !dead && deaths -> deaths--; dead = 1 :: !dead -> line fi
#else
#define STEP(line) line
#endif

inline put(number, range)
{
    STEP(store(CONTENT(range), number));
#ifdef WORD_FIRST
    STEP(store(WORD, 1));
#endif
#ifdef STAMP_FIRST
    STEP(store(STAMP, number));
#endif
    STEP(store(KEY, number));
    STEP(store(PLACE, range));
#ifndef STAMP_FIRST
    STEP(store(STAMP, number)); /* CELL.STAMP/m */
#endif
    STEP(store(WORD, 1)) /* CELL.PUB/m */
}

#ifdef DEATH
/* The dead one's stores have landed when the next one has the lock. Without a word, the range is any that nobody holds:
 * that of the put, or the one before. */
inline mend(range)
{
    if
    :: dead ->
        dead = 0;
        fence();
#ifdef BIASED
        forced = ALL_THREADS & ~(1 << me);
        membarrier(forced);
#endif
        if
        :: LOAD(WORD) -> range = LOAD(PLACE)
#ifdef MEND_BLIND
        :: !LOAD(WORD) -> range = 0; fresh = 1
        :: !LOAD(WORD) -> range = 1; fresh = 1
#else
        :: !LOAD(WORD) && LOAD(SLOT) != 1 -> range = 0; fresh = 1
        :: !LOAD(WORD) && LOAD(SLOT) != 2 -> range = 1; fresh = 1
#endif
        fi
    :: else
    fi
}
#endif

proctype owner(byte me)
{
    byte number = 1, range, forced;
#ifdef DEATH
    byte deaths = 1;
    bit dead, fresh;
#endif

    do
    :: number <= PUTS ->
        number++;
#ifdef DEATH
        if
        :: fresh -> fresh = 0
        :: !fresh -> leave(range)
        fi;
#else
        leave(range);
#endif
        put(number, range);
#ifdef DEATH
        mend(range)
#endif
    :: else -> break
    od
}

init {
    atomic {
        memory[WORD] = 1;
        memory[STAMP] = 1;
        memory[KEY] = 1;
        memory[CONTENT(0)] = 1;
        run lands(READER);
        run lands(OWNER);
        run reader(READER);
        run owner(OWNER)
    }
}
