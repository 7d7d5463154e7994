/* SPDX-License-Identifier: MIT */
/*
 * Epochs of a cluster, as docs/CLUSTER.md has them: two members, one key, and a leader whose steps are
 * transactions of etcd. A member may stop for any time before any of its steps, lose its lease, and join again. So this
 * is also a partition. etcd may end a lease at any time, also while its member serves. Nothing is said of the order of
 * stores in one machine.
 *
 * EPOCHS, PUTS and JOINS (how many there are at most) are set by run.py.
 *
 * What must hold: a member never returns a number that is lower than one whose put was acknowledged. And an epoch that
 * is proposed becomes active in the end.
 *
 * Broken twins:
 * -DNO_ACKNOWLEDGEMENT: an epoch becomes active at once.
 * -DACKNOWLEDGE_FIRST: a member acknowledges an epoch before it serves by it.
 * -DNO_WAIT: the leader takes a member whose key has gone for one that serves nobody.
 * -DNEWEST_ALONE: a member serves what is its own in the newest epoch, active or not.
 * -DNO_SWEEP: nothing is dropped when a key moves.
 * -DNO_LOCK: a put is judged, and stores later, when a sweep may have ended.
 * -DKEEPS_OLD: a member that joins again keeps what it had.
 * -DWAITS_FOR_GONE: the leader also waits for members that are gone.
 */
#define MEMBERS 2
#define NOBODY 7

/* etcd's */
byte epoch;                 /* the newest; 0: there is none yet */
bit in_force = 1;
byte owner[5];     /* of the key, in each epoch */
bit listed[MEMBERS];        /* in the newest epoch */
byte listed_as[MEMBERS];    /* the incarnation */
bit stays[MEMBERS];         /* it was in the one before, as the same */
bit lives[MEMBERS];         /* its key is there */
byte incarnation[MEMBERS];
byte acknowledges[MEMBERS]; /* an epoch */

/* A member's own */
bit leased[MEMBERS];        /* by its own clock */
byte known[MEMBERS];        /* the newest epoch that it knows; 0: none */
bit known_in_force[MEMBERS];
bit is_in[MEMBERS];         /* it is in that epoch */
byte swept[MEMBERS];        /* the first of its chain */
byte held[MEMBERS];         /* what it has under the key; 0: nothing */
bit stores[MEMBERS];        /* a put is between its judgement and its end */

/* The clients' */
byte begun, acknowledged;   /* numbers of puts: the last that began, the highest that has returned */

#ifdef NEWEST_ALONE
#define MAY_SERVE(m) (leased[m] && is_in[m] && owner[known[m]] == m)
#else
#define OWN(m, e) (e < swept[m] || e > known[m] || owner[e] == m)
#define MAY_SERVE(m) (leased[m] && is_in[m] && (known_in_force[m] || swept[m] < known[m]) && \
                      OWN(m, 1) && OWN(m, 2) && OWN(m, 3) && OWN(m, 4))
#endif

/* What the leader waits for, or is told, when a key has gone. */
#ifdef NO_WAIT
#define STOPPED(m) 1
#else
#define STOPPED(m) (!leased[m] || listed_as[m] != incarnation[m])
#endif
#define AS_LISTED(m) (lives[m] && listed_as[m] == incarnation[m])
#define SETTLED(m) (!listed[m] || AS_LISTED(m) || STOPPED(m))
#define DIFFERS(m) (lives[m] != listed[m] || (lives[m] && listed_as[m] != incarnation[m]))
#ifdef WAITS_FOR_GONE
#define READY(m) (!stays[m] || acknowledges[m] == epoch)
#else
#define READY(m) (!stays[m] || (AS_LISTED(m) -> acknowledges[m] == epoch : STOPPED(m)))
#endif

inline list(m)
{
    stays[m] = listed[m] && lives[m] && listed_as[m] == incarnation[m];
    listed[m] = lives[m];
    listed_as[m] = incarnation[m]
}

proctype leader()
{
end:
    do
    :: atomic { in_force && epoch < EPOCHS && (DIFFERS(0) || DIFFERS(1)) && SETTLED(0) && SETTLED(1) ->
       epoch++;
       list(0);
       list(1);
       in_force = 0;
       if
       :: listed[0] -> owner[epoch] = 0
       :: listed[1] -> owner[epoch] = 1
       :: !listed[0] && !listed[1] -> owner[epoch] = NOBODY
       fi };
       /* Not an end: it waits for this. */
#ifdef NO_ACKNOWLEDGEMENT
       in_force = 1
#else
       atomic { READY(0) && READY(1) -> in_force = 1 }
#endif
    od
}

proctype leases()
{
end:
    do
    :: lives[0] -> lives[0] = 0
    :: lives[1] -> lives[1] = 0
    od
}

inline go_out()
{
    leased[me] = 0;
    known[me] = 0;
    is_in[me] = 0;
    known_in_force[me] = 0;
    swept[me] = 0
}

/* The whole record is read at once. */
inline learn()
{
    if
    :: known[me] && is_in[me] && known[me] != epoch &&
       (known[me] + 1 != epoch || !listed[me] || listed_as[me] != incarnation[me]) ->
       go_out() /* it has missed one */
    :: else ->
       if
       :: known[me] != epoch && !is_in[me] -> swept[me] = epoch /* nothing was served yet */
       :: else
       fi;
       known[me] = epoch;
       known_in_force[me] = in_force;
       is_in[me] = listed[me] && listed_as[me] == incarnation[me]
    fi
}

#ifdef NO_LOCK
#define FREE 1
#else
#define FREE (!stores[me])
#endif

proctype member(byte me)
{
    byte joins;

end:
    do
    /* It joins, or joins again when etcd has ended its lease. */
    :: atomic { !lives[me] && joins < JOINS && FREE ->
       go_out();
#ifndef KEEPS_OLD
       held[me] = 0;
#endif
       joins++;
       incarnation[me]++;
       acknowledges[me] = 0;
       lives[me] = 1;
       leased[me] = 1 }
    /* Its clock, and a renewal. */
    :: atomic { leased[me] -> leased[me] = 0 }
    :: atomic { !leased[me] && lives[me] -> leased[me] = 1 }
    :: atomic { lives[me] && epoch && FREE && (known[me] != epoch || known_in_force[me] != in_force) -> learn() }
#ifdef ACKNOWLEDGE_FIRST
    :: atomic { lives[me] && !in_force && stays[me] && acknowledges[me] != epoch -> acknowledges[me] = epoch }
#else
    :: atomic { lives[me] && known[me] == epoch && is_in[me] && !in_force && stays[me] && acknowledges[me] != epoch ->
       acknowledges[me] = epoch }
#endif
    /* A sweep, for the second of its chain. */
    :: atomic { known[me] > swept[me] && swept[me] && FREE && (known[me] > swept[me] + 1 || known_in_force[me]) ->
#ifndef NO_SWEEP
       if
       :: owner[swept[me] + 1] != me -> held[me] = 0
       :: else
       fi;
#endif
       swept[me]++ }
    od
}

/* Puts through a member, one after the other. One that another put has overtaken gives up: their order is not known. */
proctype client(byte me)
{
    byte number;

end:
    do
    :: atomic { begun < PUTS -> begun++; number = begun };
       if
       :: atomic { MAY_SERVE(me) && begun == number -> stores[me] = 1 };
          atomic { held[me] = number; stores[me] = 0 };
          atomic {
          if
          :: acknowledged < number -> acknowledged = number
          :: else
          fi }
       :: skip /* it is refused, or the client gives up */
       fi
    od
}

#define OLD(m) (MAY_SERVE(m) && held[m] && held[m] < acknowledged)

/* A get at any time. */
proctype gets()
{
end:
    do
    :: atomic { OLD(0) || OLD(1) -> assert(!(OLD(0) || OLD(1))) }
    od
}

init {
    atomic { run leader(); run leases(); run member(0); run member(1); run client(0); run client(1); run gets() }
}
