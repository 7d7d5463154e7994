/* SPDX-License-Identifier: MIT */
/*
 * A write that is made again. It pins its page for the time of a copy, and a layout change that detaches does not
 * wait for it. Steps and edges are those of docs/ORDERING.md, 3.33. The change is a move of one page: it copies the
 * old block to a new one, and lets the old one go. The gate is an entry that is missing; mutexes are left out.
 *
 * When nothing more happens, the file must have what an acknowledged write has written. And nothing may be written
 * to the old block after it was free.
 *
 * Broken twins:
 *   -DNO_WRITE_FENCE, -DNO_CHANGE_FENCE   without the fence of that side
 *   -DREAD_LATE                           the write reads the word after it has pinned
 *   -DNO_REDO                             no write is made again
 *   -DNO_RECORD                           a write that is found has no record
 */
#define THREADS 2
#define WRITER 0
#define CHANGER 1

#define KEY 0
#define REDO 1
#define ENTRY 2 /* the block; 0: missing */
#define BYTES(block) (2 + (block))
#define OLD 1
#define NEW 2
#define WORDS 5

bool free_now; /* the old block is */
bool acknowledged;
#define LANDED(w, v) assert(!((w) == BYTES(OLD) && free_now)) /* reuse */

#include "tso.pml"

proctype writer(byte me)
{
    byte redo, block;

    do
    ::
#ifndef READ_LATE
       redo = LOAD(REDO);
#endif
       store(KEY, 1);
       fence(); /* PIN.SB/p */
       block = LOAD(ENTRY);
#ifdef READ_LATE
       redo = LOAD(REDO);
#endif
       if
       :: block == 0 -> store(KEY, 0); LOAD(ENTRY) != 0
       :: else ->
           store(BYTES(block), 1);
           store(KEY, 0); /* UNPIN.DONE/p */
#ifndef NO_WRITE_FENCE
           fence(); /* COPY.SB/p */
#endif
           if
           :: LOAD(REDO) == redo -> break
           :: else
           fi
       fi
    od;
    acknowledged = true
}

proctype changer(byte me)
{
    byte found, bytes;

    store(ENTRY, 0);
    fence(); /* PIN.SB/m */
    found = LOAD(KEY);
    if
    :: found ->
#ifndef NO_REDO
        store(REDO, 1);
#endif
#ifndef NO_CHANGE_FENCE
        fence(); /* COPY.SB/m */
#endif
#ifndef NO_RECORD
        found = LOAD(KEY)
#else
        found = 0
#endif
    :: else
    fi;
    bytes = LOAD(BYTES(OLD));
    store(BYTES(NEW), bytes);
    free_now = !found; /* else a record keeps it */
    store(ENTRY, NEW)
}

/* `timeout`: nothing else can go on. */
proctype watch()
{
    timeout;
    assert(!acknowledged || memory[BYTES(memory[ENTRY])] == 1) /* kept */
}

init {
    atomic {
        memory[ENTRY] = OLD;
        run lands(WRITER);
        run lands(CHANGER);
        run writer(WRITER);
        run changer(CHANGER);
        run watch()
    }
}
