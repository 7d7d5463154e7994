/* SPDX-License-Identifier: MIT */
/*
 * Threads of a process that leave their changes to the one that has space_mutex, in a pool in memory (src/fs/task.c,
 * docs/ORDERING.md 3.31b). Three threads make a change each, of a file each. A thread of another process changes
 * something too. Changes fail, at once or half done, and commits fail. Threads take their tasks back. Mutexes are
 * single steps here.
 *
 * What must never happen:
 *   two inside      two threads are in the transaction at once, or one is there without space_mutex
 *   unsaved         a thread was told that its change is made, and the records do not have it
 *   half done       the records have a part of a change
 *   twice           a change has come to be twice
 *   freed early     blocks are free for others while the records say that a file has them
 *   gone            a task is touched after its thread has gone on
 *   deadlock        a thread waits for ever
 *
 * Broken twins:
 *   -DLEAVES        a thread takes its task back without a look whether a host has it
 *   -DTELLS_FIRST   threads are told before the commit
 *   -DKEEPS_PART    a change that fails is committed with the others
 *   -DUNLOCKS_FIRST the mutex is unlocked before what was freed goes into the bitmap
 */
#define THREADS 3
#define OTHER 3 /* the thread of another process */
#define NONE 4

#define ALONE 1
#define DONE 2

byte mutex = NONE; /* which thread has space_mutex */
byte inside;       /* how many are in the transaction */
bool placed[THREADS], gone[THREADS];
byte told[THREADS];    /* 0: not yet */
byte host_of[THREADS]; /* which one has the task */
byte changed[THREADS]; /* in the transaction: 0 nothing, 1 a part, 2 all */
byte records[THREADS]; /* the same, in the last one that counts */
byte times[THREADS];   /* that the change has come to be */
bool freed[THREADS];   /* the blocks are free for others */
byte i;

inline enter(t)
{
    atomic { assert(inside == 0 && mutex == t); inside++ } /* two inside */
}

inline leave()
{
    inside--
}

inline unlock()
{
    mutex = NONE
}

/* Of the file of t, by `me`. ok: all of it; !ok and !changed[t]: nothing was changed. */
inline change(t)
{
    enter(me);
    assert(!gone[t]);
    if
    :: changed[t] = 1;
       if
       :: changed[t] = 2; ok = true
       :: ok = false
       fi
    :: ok = false
    fi;
    leave()
}

/* The transaction of `me` is given up, or its commit has failed. */
inline undo()
{
    atomic {
        i = 0;
        do
        :: i < THREADS ->
           if
           :: host_of[i] == me -> changed[i] = 0
           :: else
           fi;
           i++
        :: i == THREADS -> break
        od
    }
}

inline tell(t, what)
{
    atomic { assert(!gone[t]); host_of[t] = NONE; told[t] = what }
}

inline commit()
{
    enter(me);
    if
    :: atomic {
           committed = true;
           i = 0;
           do
           :: i < THREADS ->
              if
              :: host_of[i] == me && changed[i] ->
                 records[i] = changed[i];
                 changed[i] = 0;
                 times[i]++;
                 assert(records[i] == 2); /* half done */
                 assert(times[i] == 1) /* twice */
              :: else
              fi;
              i++
           :: i == THREADS -> break
           od
       }
    :: committed = false; undo()
    fi;
    leave()
}

/* What those that are in the commit have freed. */
inline settle()
{
    g = 0;
    do
    :: g < THREADS ->
       if
       :: host_of[g] == me && records[g] == 2 && !freed[g] ->
          assert(mutex == me); /* freed early */
          freed[g] = true
       :: else
       fi;
       g++
    :: g == THREADS -> break
    od
}

inline tell_all()
{
    g = 0;
    do
    :: g < THREADS ->
       if
       :: g != me && host_of[g] == me && committed && records[g] == 2 -> tell(g, DONE)
       :: g != me && host_of[g] == me && !(committed && records[g] == 2) -> tell(g, ALONE)
       :: else
       fi;
       g++
    :: g == THREADS -> break
    od
}

inline take()
{
    g = 0;
    do
    :: g < THREADS ->
       if
       :: atomic { placed[g] -> placed[g] = false; host_of[g] = me }
       :: !placed[g]
       fi;
       g++
    :: g == THREADS -> break
    od
}

proctype thread(byte me)
{
    byte g, h;
    bool ok, committed, half;

    /* fs_task() */
    if
    :: atomic { mutex == NONE -> mutex = me; goto hosts }
    :: atomic { mutex != NONE -> placed[me] = true }
    fi;
    do
    :: told[me] -> goto is_told
    :: atomic { mutex == NONE -> mutex = me };
       atomic {
           if
           :: placed[me] -> placed[me] = false; goto hosts
           :: !placed[me] -> mutex = NONE; break
           fi
       }
    :: true ->
#ifdef LEAVES
       placed[me] = false;
       goto alone
#else
       atomic {
           if
           :: placed[me] -> placed[me] = false; goto alone
           :: !placed[me] -> break
           fi
       }
#endif
    od;
    told[me];
is_told:
    if
    :: told[me] == DONE -> assert(records[me] == 2); goto end /* unsaved */
    :: told[me] == ALONE -> goto alone
    fi;

hosts:
    committed = false;
    half = false;
    host_of[me] = me;
    change(me);
    if
    :: !ok -> undo(); goto gives_up
    :: ok
    fi;
    take();
    h = 0;
    do
    :: h < THREADS && !half ->
       if
       :: h != me && host_of[h] == me ->
          change(h);
          if
          :: !ok && changed[h] ->
#ifndef KEEPS_PART
             half = true
#endif
          :: !ok && !changed[h] -> tell(h, ALONE)
          :: ok
          fi
       :: else
       fi;
       h++
    :: h == THREADS || half -> break
    od;
#ifdef TELLS_FIRST
    committed = true;
    g = 0;
    do
    :: g < THREADS ->
       if
       :: g != me && host_of[g] == me -> told[g] = DONE
       :: else
       fi;
       g++
    :: g == THREADS -> break
    od;
#endif
    if
    :: half -> undo()
    :: !half -> commit()
    fi;
gives_up:
#ifdef UNLOCKS_FIRST
    unlock();
#endif
    settle();
#ifndef TELLS_FIRST
    tell_all();
#endif
#ifndef UNLOCKS_FIRST
    unlock();
#endif
    atomic { host_of[me] = NONE };
    if
    :: committed -> goto end
    :: !committed
    fi;

alone:
    atomic { mutex == NONE -> mutex = me; host_of[me] = me };
    change(me);
    if
    :: !ok -> undo()
    :: ok -> commit(); settle()
    fi;
    atomic { host_of[me] = NONE };
    unlock();
end:
    gone[me] = true
}

proctype other()
{
    byte me = OTHER;

    atomic { mutex == NONE -> mutex = OTHER };
    enter(OTHER);
    leave();
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
