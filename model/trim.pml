/* SPDX-License-Identifier: MIT */
/*
 * Memory that is given back (src/fs/trim.c, src/fs/back.c, docs/ORDERING.md 3.25b). There is one block. Trimmers
 * punch it out when it is free. A user reserves it. Where its bit does not say that it has memory, the user first
 * asks what it holds, and gets memory for it. Then the user writes to it, gives it to a file, and frees it. Each of
 * them may be killed between any two steps. A mutex of a dead owner is free again, and so is the block that a dead
 * user has. A device is told of the memory at any time, and goes on with the page that it has found.
 *
 * The bitmap of taken blocks is made again from the records after a death, so it is the truth here. What the kernel
 * has (`present`, `page`, `content`) changes in one step each. A hole cannot be told from zeros once it has memory.
 *
 * What must never happen:
 *   given out   a block is punched while somebody has it
 *   no memory   a user touches a block that has none, and has not asked for it
 *   old bytes   a user takes the block for zeros, and it holds something
 *   replaced    a device was told of the memory, and it is another page now
 *
 * Broken twins:
 *   -DUNLOCKED      the trimmer drops the mutex of the bitmap before it punches
 *   -DLATE_CLEAR    the bit is cleared after the punch
 *   -DEARLY_SET     the bit is set before there is memory
 *   -DBIT_IS_ZERO   a bit of 0 is taken to say that the block holds zeros
 *   -DCHECK_FIRST   the mutex of the registrations is dropped before the punch
 */
#define NOBODY 0

bool space;      /* space_mutex */
bool table;      /* table_mutex */
byte taken;      /* by this user; by a file of it likewise */
bool backed;     /* the block's bit: 0 in a new segment */
bool present = 1; /* it has memory */
byte content = 9; /* of the block; 9: of a file before */
byte page;       /* which page of memory it is */
bool registered;

#define LOCK(mutex) atomic { !mutex -> mutex = true }
/* It may be killed here; then the cleanup releases what it has. */
#define DIES(cleanup)                                                                              \
    if                                                                                             \
    :: true                                                                                        \
    :: atomic { cleanup; goto dead }                                                               \
    fi

inline punch()
{
    d_step {
        assert(taken == NOBODY);
        present = false;
        content = 0;
        page++
    }
}

proctype trimmer()
{
    LOCK(space);
    if
    :: taken == NOBODY ->
        LOCK(table);
        if
        :: !registered ->
#ifdef CHECK_FIRST
            table = false;
#endif
#ifndef LATE_CLEAR
            backed = false;
            DIES(space = false; table = false);
#endif
#ifdef UNLOCKED
            space = false;
            punch();
            table = false;
            goto dead;
#endif
            punch();
            DIES(space = false; table = false);
#ifdef LATE_CLEAR
            backed = false
#endif
        :: registered
        fi;
        table = false
    :: else
    fi;
    space = false;
dead:
    skip
}

/* What it finds in a block that it takes for zeros; whatever has memory is zeroed by itself else. */
inline fill()
{
    if
    :: zeros -> assert(content == 0)
    :: else
    fi;
    assert(present);
    content = me
}

proctype user(byte me)
{
    bool zeros;
    byte uses = 0;

    do
    :: uses < 2 ->
        uses++;
        zeros = false;
        LOCK(space);
        if
        :: taken != NOBODY -> space = false
        :: else ->
            if
            :: !backed ->
#ifdef BIT_IS_ZERO
                zeros = true;
#else
                zeros = !present;
#endif
                DIES(space = false);
#ifdef EARLY_SET
                backed = true;
                DIES(space = false);
#endif
                present = true;
                DIES(space = false);
                backed = true
            :: else
            fi;
            DIES(space = false);
            taken = me;
            space = false;
            DIES(taken = NOBODY);
            fill();
            DIES(taken = NOBODY);
            assert(content == me); /* the file's, from here on */
            LOCK(space);
            taken = NOBODY;
            space = false
        fi
    :: uses == 2 -> break
    od;
dead:
    skip
}

proctype device()
{
    byte known;

    LOCK(table);
    registered = true;
    table = false;
    known = page;
    assert(known == page);
    LOCK(table);
    assert(known == page);
    registered = false;
    table = false
}

init {
    atomic {
        run trimmer();
        run trimmer();
        run user(1);
        run user(2);
        run device()
    }
}
