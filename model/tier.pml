/* SPDX-License-Identifier: MIT */
/*
 * The cache's second tier, as docs/CACHE.md has it: D1 to D4, P1 to P4, and the ring of blocks. One key with one entry,
 * a disk of two places, three ranges of memory. Under the lock a process puts the key and then removes it. Another one
 * evicts it, and OTHERS write other keys to the disk, so that the ring comes round. FETCHERS processes fetch the key.
 * They take the lock in P4 only. A write to the disk, or a read, is of a label with the sum and of a body, in any order.
 *
 * DEATHS processes may be killed before any of their steps. Then the lock is free and the pins go. A write that was on
 * its way to the disk ends then, from memory that may be another's.
 *
 * What must hold: whenever the key is in memory, its bytes are those of the last put. A fetch publishes nothing else.
 *
 * -DLONE: nobody is given a place of the disk while a write is on its way there.
 * -DNO_SUM: a reader compares the label alone. With LONE that is enough, since it looks at the head after it has read.
 *
 * There is no order of memory in it. What is done without the lock is one locked instruction, or has a system call
 * between its steps. Claims are left out: a second reader of an object only costs a read.
 *
 * Broken twins:
 * -DNO_FORGET: a put leaves the entry.
 * -DLATE_FORGET: a put takes the entry out after it has published.
 * -DSTORE: D3 stores, and does not swap.
 * -DREADY_FIRST: the word is ready before the write.
 * -DUNPIN_FIRST: the range is unpinned before it is summed.
 * -DSAME_WORD: the word has no position.
 * -DNO_LOOK: P4 does not look at the word.
 * -DNO_HEAD: a reader does not look at the head.
 * -DNO_SUM without LONE.
 * -DLATE_READ: the read of a dead process ends after its pin.
 */
#define RING 2
#define RANGES 3
#define OTHER 9 /* bytes of another key */
#define WRITING 1
#define READY 2

#ifdef SAME_WORD
#define WORD(pos, state) (state)
#else
#define WORD(pos, state) ((pos) * 4 + (state))
#endif

bit locked;
byte memory;         /* 1 + the range of the key's object; 0: it is not in memory */
byte bytes[RANGES];  /* what the ranges have */
byte pins[RANGES];
byte word, place;    /* the key's entry. `place` is the position, which is in the word but for SAME_WORD */
byte head = RING;    /* the next position; position p lies in place p % RING */
byte label[RING], sum[RING], body[RING];
byte writes[RING];   /* on their way */
byte last;           /* of the last put; 0: removed */
byte deaths = DEATHS;

#define STATE(word) ((word) % 4)
#define FREE(range) (!pins[range] && memory != 1 + (range))

inline take_lock()
{
    atomic { !locked -> locked = 1; has = 1 }
}

inline leave_lock()
{
    atomic { locked = 0; has = 0 }
}

/* A range that nobody holds, if there is one. */
inline take_range()
{
    atomic {
        if
        :: FREE(0) -> range = 0; pinned = 1
        :: FREE(1) -> range = 1; pinned = 1
        :: FREE(2) -> range = 2; pinned = 1
        :: !FREE(0) && !FREE(1) && !FREE(2)
        fi;
        pins[range] = pins[range] + pinned
    }
}

inline unpin()
{
    atomic { pins[range]--; pinned = 0 }
}

/* The position of the next object, which takes the place of the oldest. */
inline take_place()
{
    atomic {
        position = head;
#ifdef LONE
        !writes[position % RING];
#endif
        head++;
        writes[position % RING]++;
        writing = 1
    }
}

#define STEP(step) if :: step :: atomic { deaths -> deaths--; goto died } fi

/* The end of a process that was killed. */
inline bury()
{
    atomic {
        if :: has -> locked = 0; has = 0 :: else fi;
        if :: pinned -> pins[range]--; pinned = 0 :: else fi
    }
}

proctype putter()
{
    byte number, range;
    bit has, pinned;

    do
    :: number < PUTS ->
        number++;
        take_lock();
        take_range();
        if
        :: pinned ->
            bytes[range] = number;
#ifndef NO_FORGET
#ifndef LATE_FORGET
            STEP(word = 0);
#endif
#endif
            STEP(atomic { memory = 1 + range; last = number });
#ifdef LATE_FORGET
            STEP(word = 0);
#endif
            unpin()
        :: else
        fi;
        leave_lock()
    :: number == PUTS ->
        take_lock();
        STEP(word = 0);
        STEP(memory = 0);
        last = 0;
        leave_lock();
        break
    od;
    goto end;
died:
    bury();
end:
    skip
}

/* Label and body, in any order. */
inline write(what, from)
{
    if
    :: atomic { label[position % RING] = position; sum[position % RING] = what };
        STEP(body[position % RING] = from)
    :: body[position % RING] = from;
        STEP(atomic { label[position % RING] = position; sum[position % RING] = what })
    fi
}

/* D3 */
inline settle()
{
#ifdef STORE
    word = WORD(position, READY)
#else
    atomic {
        if
        :: word == WORD(position, WRITING) -> word = WORD(position, READY)
        :: else
        fi
    }
#endif
}

proctype evictor()
{
    byte round, range, position, summed;
    bit has, pinned, writing;

    do
    :: round < EVICTIONS ->
        round++;
        take_lock();
        if
        :: memory ->
            if
            :: STATE(word) == READY /* kept */
            :: else ->
                atomic { range = memory - 1; pins[range]++; pinned = 1 }; /* D1 */
                take_place();
                STEP(word = 0);
                STEP(atomic { word = WORD(position, WRITING); place = position })
            fi;
            STEP(memory = 0) /* E1 */
        :: else
        fi;
        leave_lock();
        if
        :: writing ->
#ifdef READY_FIRST
            settle();
#endif
#ifdef UNPIN_FIRST
            unpin();
#endif
            STEP(summed = bytes[range]); /* D2 */
            write(summed, bytes[range]);
            atomic { writing = 0; writes[position % RING]--; summed = 0 };
#ifndef READY_FIRST
            STEP(settle());
#endif
#ifndef UNPIN_FIRST
            STEP(unpin()) /* D4 */
#endif
        :: else
        fi
    :: else -> break
    od;
    goto end;
died:
    bury();
    if
    :: writing -> body[position % RING] = bytes[range]; writes[position % RING]--
    :: else
    fi;
end:
    skip
}

/* Another key that leaves. */
proctype other()
{
    byte position;
    bit has, writing;

    take_lock();
    take_place();
    leave_lock();
    atomic { label[position % RING] = position; sum[position % RING] = OTHER };
    atomic { body[position % RING] = OTHER; writes[position % RING]-- }
}

#ifdef NO_SUM
#define WHOLE (label_seen == position)
#else
#define WHOLE (label_seen == position && body_seen == sum_seen)
#endif

#ifdef NO_HEAD
#define LASTS true
#else
#define LASTS (head - position <= RING)
#endif

#ifdef NO_LOOK
#define STILL !memory
#else
#define STILL (word == seen && LASTS && !memory)
#endif

proctype fetcher()
{
    byte round, range, position, seen, label_seen, sum_seen, body_seen;
    bit has, pinned, same;

    do
    :: round < FETCHES ->
        round++;
        atomic { seen = word; position = place }; /* P1 */
        if
        :: STATE(seen) == READY && !memory ->
            take_range(); /* P2 */
            if :: pinned :: else -> goto end fi;
            if /* P3 */
            :: atomic { label_seen = label[position % RING]; sum_seen = sum[position % RING] };
                STEP(body_seen = body[position % RING])
            :: body_seen = body[position % RING];
                STEP(atomic { label_seen = label[position % RING]; sum_seen = sum[position % RING] })
            fi;
            bytes[range] = body_seen;
            if
            :: LASTS && WHOLE ->
                take_lock(); /* P4 */
                same = STILL;
                if
                :: same ->
                    STEP(word = 0);
                    atomic {
                        memory = 1 + range;
                        assert(body_seen == last)
                    };
                    STEP(word = seen)
                :: else
                fi;
                leave_lock()
            :: LASTS && !WHOLE ->
                atomic { if :: word == seen -> word = 0 :: else fi }
            :: !LASTS
            fi;
            atomic { unpin(); seen = 0; position = 0; label_seen = 0; sum_seen = 0; body_seen = 0; same = 0 }
        :: else
        fi
    :: else -> break
    od;
    goto end;
died:
    bury();
#ifdef LATE_READ
    bytes[range] = body[position % RING];
#endif
end:
    skip
}

/* A get, at any time. */
proctype getter()
{
end:
    atomic {
        memory;
        assert(bytes[memory - 1] == last)
    }
}

init {
    atomic {
        bytes[0] = OTHER;
        bytes[1] = OTHER;
        bytes[2] = OTHER;
        run putter();
        run evictor();
#if OTHERS > 0
        run other();
#endif
#if OTHERS > 1
        run other();
#endif
        run fetcher();
#if FETCHERS == 2
        run fetcher();
#endif
        run getter()
    }
}
