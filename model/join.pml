/* SPDX-License-Identifier: MIT */
/*
 * Threads of a process that share a transaction (src/fs/join.c, src/fs/queue.c, docs/ORDERING.md 3.31a). Three threads
 * make a change each, of a file each. A thread of another process changes something too, in a transaction of its own.
 * Changes fail, commits fail, and a thread that waits gives up. Mutexes are single steps here.
 *
 * What must never happen:
 *   two inside      two threads are in the transaction at once, or one is there without space_mutex
 *   unsaved         a call has returned success, and its change is not on the medium
 *   half done       what is on the medium has a part of a change that failed
 *   freed early     blocks are free for others while the medium says that a file has them
 *   deadlock        a thread waits for ever
 *
 * Broken twins:
 *   -DLEAVES        a thread gives up without a look whether it has been let in
 *   -DTELLS_FIRST   guests are told before the commit
 *   -DKEEPS_PART    a change that fails is not undone
 *   -DUNLOCKS_FIRST the mutex is unlocked before what the guests have freed goes into the bitmap
 *   -DONE_TURN      all guests go in at once
 */
#define THREADS 3
#define OTHER 3 /* the thread of another process */
#define NONE 4

byte mutex = NONE; /* which thread has space_mutex */
byte inside;       /* how many are in the transaction */
bool queued[THREADS], called[THREADS], turn[THREADS], told[THREADS], outcome[THREADS];
byte next[THREADS];   /* after this guest: the next one, or its host */
byte host_of[THREADS];
bool guest_done[THREADS]; /* of a host: its guests have had their turns */
byte changed[THREADS]; /* in the transaction: 0 nothing, 1 a part, 2 all */
bool listed[THREADS];  /* committed inside the host's */
byte medium[THREADS];  /* the same, on the medium */
bool freed[THREADS];    /* the blocks are free for others */
byte first, last, i;

inline enter(t)
{
    atomic { assert(inside == 0 && mutex == host); inside++ }
}

inline leave(t)
{
    inside--
}

/* A change in two steps, which may fail after each. */
inline change(t)
{
    enter(t);
    changed[t] = 1;
    if
    :: changed[t] = 2; ok = true
    :: ok = false;
#ifndef KEEPS_PART
       changed[t] = 0
#endif
    fi;
    leave(t)
}

inline unlock()
{
    mutex = NONE
}

proctype thread(byte me)
{
    byte host = me, g, n;
    bool ok, committed;

    /* fs_join() */
    if
    :: atomic { mutex == NONE -> mutex = me; goto hosts }
    :: atomic { mutex != NONE -> queued[me] = true }
    fi;
    do
    :: called[me] -> goto guest
    :: atomic { mutex == NONE -> mutex = me };
       atomic { /* the queue's mutex */
           if
           :: queued[me] -> queued[me] = false; goto hosts
           :: !queued[me] -> mutex = NONE; goto guest
           fi
       }
    :: true -> /* gives up */
#ifdef LEAVES
       atomic { queued[me] = false; goto end }
#else
       atomic {
           if
           :: queued[me] -> queued[me] = false; goto end
           :: !queued[me] -> goto guest
           fi
       }
#endif
    od;

guest:
    turn[me];
    host = host_of[me];
    change(me);
    atomic {
        listed[me] = ok;
        n = next[me];
        if
        :: n == host -> guest_done[host] = true
        :: n != host -> turn[n] = true
        fi
    };
    if
    :: !ok -> goto end
    :: ok
    fi;
    told[me];
    if
    :: outcome[me] -> assert(medium[me] == 2) /* unsaved */
    :: !outcome[me]
    fi;
    goto end;

hosts:
    change(me);
    if
    :: !ok -> unlock(); goto end
    :: ok
    fi;
    listed[me] = true;
    do
    :: atomic {
           /* takes the queue: all that wait just now */
           first = NONE;
           i = 0;
           do
           :: i < THREADS ->
              if
              :: queued[i] ->
                 queued[i] = false;
                 host_of[i] = me;
                 called[i] = true;
                 next[i] = me;
                 if
                 :: first == NONE -> first = i
                 :: first != NONE -> next[last] = i
                 fi;
                 last = i;
#ifdef ONE_TURN
                 turn[i] = true
#endif
              :: !queued[i]
              fi;
              i++
           :: i == THREADS -> break
           od;
           g = first;
           guest_done[me] = false;
           if
           :: g == NONE -> break
           :: g != NONE -> turn[g] = true
           fi
       };
       guest_done[me]
    od;
#ifdef TELLS_FIRST
    atomic { i = 0; do :: i < THREADS -> if :: i != me && listed[i] && host_of[i] == me -> outcome[i] = true; told[i] = true :: else fi; i++ :: i == THREADS -> break od };
#endif
    /* the commit: all that is changed, or nothing */
    enter(me);
    if
    :: atomic {
           committed = true;
           i = 0;
           do
           :: i < THREADS ->
              if
              :: changed[i] && (i == me || host_of[i] == me) ->
                 medium[i] = changed[i];
                 assert(medium[i] == 2) /* half done */
              :: else
              fi;
              i++
           :: i == THREADS -> break
           od
       }
    :: committed = false
    fi;
    leave(me);
#ifdef UNLOCKS_FIRST
    unlock();
#endif
    /* settle_txn() */
    g = 0;
    do
    :: g < THREADS ->
       if
       :: committed && listed[g] && (g == me || host_of[g] == me) ->
          assert(medium[g] == 2 && mutex == me); /* freed early */
          freed[g] = true
       :: else
       fi;
       g++
    :: g == THREADS -> break
    od;
    /* fs_join_tell() */
    g = 0;
    do
    :: g < THREADS ->
       if
       :: g != me && listed[g] && host_of[g] == me -> outcome[g] = committed; told[g] = true
       :: else
       fi;
       g++
    :: g == THREADS -> break
    od;
#ifndef UNLOCKS_FIRST
    unlock();
#endif
    assert(!committed || medium[me] == 2); /* unsaved */
end:
    skip
}

proctype other()
{
    byte host = OTHER;

    atomic { mutex == NONE -> mutex = OTHER };
    enter(OTHER);
    leave(OTHER);
    unlock()
}

init {
    atomic {
        i = 0;
        do
        :: i < THREADS -> host_of[i] = NONE; i++
        :: i == THREADS -> break
        od;
        run thread(0);
        run thread(1);
        run thread(2);
        run other()
    }
}
