/* SPDX-License-Identifier: MIT */
/*
 * Commits and deaths: which transaction counts (src/meta/commit.c, docs/ORDERING.md 3.31). Transaction 1 has been
 * committed, in meta page 1; page 0 is of transaction 0. A writer commits 2 into page 0. Two more writers come
 * after it; each settles what it finds and commits one of its own. All of them may be killed between any two of
 * their stores, and the stores to a page come in any order. A process that only reads settles the first one's file
 * meanwhile. When all have gone, the first to attach settles what is left.
 *
 * A root says of which number it is, which process has committed it, and whether it holds what the first writer has changed.
 *
 * What must never happen:
 *   torn page      a writer builds on a root that is not of the number it goes by
 *   two verdicts   two that settle do not agree whether the first writer's change is there, or it was acknowledged
 *                  and is not
 *
 * Broken twins:
 *   -DADOPT         nothing is taken back: LMDB takes what the page says
 *   -DBY_PAGE       a reader goes by the page
 *   -DLATE          the page is looked at after LMDB has met the dead owner
 *   -DFORGETS       the word is cleared before the transaction is taken back
 *   -DNEVER_FIRST   the first attacher takes nothing back
 */
#define UNKNOWN 0
#define BEFORE 1
#define AFTER 2

#define ROOT(n, who, changed) ((n) + 8 * (who) + 32 * (changed))
#define OF(r) ((r) % 8)
#define CHANGED(r) ((r) / 32)

byte number[2]; /* of the meta pages, */
byte root[2];   /* and their roots */
byte counted = 1;     /* in lock.mdb */
byte under_way;
bool locked;     /* space_mutex; a dead owner lets it go */
bool owner_died; /* of LMDB's own lock */
bool acknowledged;
byte verdict;
byte gone; /* of all */
bool first_gone;

#define NEWEST (number[0] < number[1])

inline say(r)
{
    assert((verdict == UNKNOWN || verdict == (CHANGED(r) -> AFTER : BEFORE)) &&
           (!acknowledged || CHANGED(r)));
    verdict = (CHANGED(r) -> AFTER : BEFORE)
}

/* It may be killed here. */
#define DIES                                                                                       \
    if                                                                                             \
    :: true                                                                                        \
    :: goto dead                                                                                   \
    fi

inline take_back()
{
    d_step { newest = NEWEST; number[newest] = counted - 1 };
    DIES;
    root[newest] = root[1 - newest]
}

inline settle()
{
    if
    :: under_way != 0 ->
#ifdef FORGETS
        under_way = 0;
        DIES;
#endif
        if
        :: number[NEWEST] != counted -> DIES; take_back()
        :: number[NEWEST] == counted
        fi;
        DIES;
        under_way = 0
    :: under_way == 0
    fi
}

/* LMDB finds that the one who had its lock has died. */
inline adopt()
{
    if
    :: owner_died -> d_step { counted = number[NEWEST]; owner_died = false }
    :: !owner_died
    fi
}

inline commit(r)
{
    DIES;
    under_way = OF(r);
    DIES;
    if
    :: number[OF(r) % 2] = OF(r); DIES; root[OF(r) % 2] = r
    :: root[OF(r) % 2] = r; DIES; number[OF(r) % 2] = OF(r)
    fi;
    DIES;
    counted = OF(r);
    DIES;
    under_way = 0;
    DIES
}

proctype first_writer()
{
    atomic { !locked -> locked = true };
    commit(ROOT(2, 0, 1));
    acknowledged = true;
    atomic { locked = false; first_gone = true; gone++ };
    goto end;
dead:
    atomic { owner_died = true; locked = false; first_gone = true; gone++ };
end:
    skip
}

proctype next_writer(byte who)
{
    byte base, newest;

    atomic { first_gone && !locked -> locked = true };
    say(root[counted % 2]); /* the file, and the bitmap */
#ifdef LATE
    adopt();
#endif
#ifndef ADOPT
    settle();
#endif
    adopt();
    base = root[counted % 2];
    assert(OF(base) == counted);
    say(base);
    DIES;
    commit(ROOT(counted + 1, who, CHANGED(base)));
    atomic { locked = false; gone++ };
    goto end;
dead:
    atomic { owner_died = true; locked = false; gone++ };
end:
    skip
}

/* A snapshot is one step here: its slot keeps what it has seen. */
proctype reader()
{
    first_gone;
#ifdef BY_PAGE
    d_step { say(root[NEWEST]) };
#else
    d_step { say(root[counted % 2]) };
#endif
    gone++
}

/* lock.mdb is made again, so LMDB goes by the pages. */
proctype first_to_attach()
{
    byte newest;

    gone == 4;
#ifndef NEVER_FIRST
    if
    :: number[NEWEST] == counted + 1 ->
        d_step { newest = NEWEST; number[newest] = counted - 1; root[newest] = root[1 - newest] }
    :: number[NEWEST] != counted + 1
    fi;
#endif
    counted = number[NEWEST];
    assert(OF(root[counted % 2]) == counted);
    say(root[counted % 2])
}

init {
    atomic {
        number[1] = 1;
        root[1] = ROOT(1, 0, 0);
        run first_writer();
        run next_writer(1);
        run next_writer(2);
        run reader();
        run first_to_attach()
    }
}
