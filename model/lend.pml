/* SPDX-License-Identifier: MIT */
/*
 * A lease across a network, as docs/CLUSTER.md has it. A client reads an object in place in the server's memory, and the
 * server wants to use the memory for something else. Messages may be lost, come late and come twice, and each side may
 * stop at any step for any time. So this is also a partition. Nothing is said of the order of stores in one machine.
 *
 * TICKS (of the clock, before the memory is wanted) is set by run.py.
 *
 * What must hold: what a get returns is the object's, all of it. And the memory is used again in the end, whatever the
 * client does.
 *
 * Broken twins:
 * -DNO_ACKNOWLEDGEMENT: a recall that was sent counts as answered.
 * -DNO_QUARANTINE: a client that does not answer is given up at once.
 * -DCHECK_FIRST: the client looks at its clock before it reads, not after.
 * -DOLD_ANSWERS: the end of an earlier lease counts for a later one.
 * -DWAITS_FOREVER: for an answer.
 */
#define READ_MAX 1   /* ticks after which a client returns nothing that it has read */
#define QUARANTINE 2 /* ticks that a server waits for an answer: more than READ_MAX */

#define OBJECT 1
#define OTHER 2

mtype = { GET, LENT, RECALL, DONE };

chan to_server = [2] of { mtype, byte };
chan to_client = [2] of { mtype, byte };

byte now;                /* clocks go equally fast; only differences of one machine's own are used */
byte memory = OBJECT;    /* what lies in the range */
byte lease;              /* the number of the get that has it; 0: none */
bit removed, over;

/* Full is lost, and so is what nobody takes. */
inline send(to, what, number)
{
    if
    :: nfull(to) -> to ! what(number)
    :: skip
    fi
}

proctype network()
{
    mtype what;
    byte number;

end:
    do
    :: to_server ? what(number)
    :: to_client ? what(number)
    :: atomic { nfull(to_server) && nempty(to_server) -> /* once more */
       to_server ? <what, number>;
       to_server ! what(number) }
    :: atomic { nfull(to_client) && nempty(to_client) ->
       to_client ? <what, number>;
       to_client ! what(number) }
    :: now < (removed -> TICKS + QUARANTINE : TICKS) -> now++
    od
}

proctype server()
{
    mtype what;
    byte number, ended = 0, recalled_at;
    bit asked;

    do
    :: atomic { to_server ? what(number) ->
       if
       :: what == GET && !removed && (!lease || lease == number) && number > ended ->
          lease = number;
          send(to_client, LENT, number)
#ifdef OLD_ANSWERS
       :: what == DONE -> lease = 0
#else
       :: what == DONE ->
          if
          :: number > ended -> ended = number
          :: else
          fi;
          if
          :: lease && lease <= ended -> lease = 0
          :: else
          fi
#endif
       :: else
       fi }
    :: atomic { !removed -> removed = 1; recalled_at = now }
    :: atomic { removed && lease && !asked ->
       asked = 1;
       send(to_client, RECALL, lease)
#ifdef NO_ACKNOWLEDGEMENT
       ;
       lease = 0
#endif
       }
#ifdef NO_QUARANTINE
    :: atomic { removed && lease && memory == OBJECT && now > recalled_at -> lease = 0 }
#endif
    :: atomic { removed && memory == OBJECT && !lease -> memory = OTHER }
#ifndef WAITS_FOREVER
    :: atomic { removed && memory == OBJECT && now >= recalled_at + QUARANTINE -> memory = OTHER; lease = 0 }
#endif
    :: memory == OTHER && over -> break
    od
}

/* The read goes into a buffer of the client's own, in two parts. */
proctype client()
{
    mtype what;
    byte mine = 1, number, start, wanted, rest;
    bit in_time;

    do
    :: mine <= 2 ->
        start = now;
        send(to_server, GET, mine);
        do
        :: to_client ? what(number) ->
           if
           :: what == LENT && number == mine ->
#ifdef CHECK_FIRST
              in_time = now - start <= READ_MAX;
#endif
              wanted = memory;
              rest = memory;
#ifndef CHECK_FIRST
              in_time = now - start <= READ_MAX;
#endif
              if
              :: in_time -> assert(wanted == OBJECT && rest == OBJECT)
              :: else
              fi;
              send(to_server, DONE, mine);
              break
           :: else -> send(to_server, DONE, number) /* nothing of it is being read */
           fi
        :: break /* it misses */
        od;
        mine++
    :: else -> break
    od;
    /* From here on it is stopped for ever. */
    over = 1
}

init {
    atomic { run network(); run server(); run client() }
}
