/* SPDX-License-Identifier: MIT */
/*
 * Two copies of an object, as docs/CLUSTER.md has them. There are three members. The first two of those that live own
 * the key. Members die, and come back with nothing. An epoch is in force when all that live have learned it. Those that
 * do not own the key have swept then. The rest of that rule is in model/epoch.pml. A put through a first owner is a
 * message, which may come late, and its answer.
 *
 * EPOCHS and PUTS (how many there are at most) are set by run.py.
 *
 * What must hold: a get never returns a number that is lower than one whose put was acknowledged, or than an earlier get
 * has returned.
 *
 * Broken twins:
 * -DHERE_FIRST: the first owner shows a put before the second one has it.
 * -DANY_EPOCH: the second owner obeys a message of an earlier epoch.
 * -DANY_LINK: it obeys a message on a connection that was given up.
 */
#define MEMBERS 3
#define NOBODY 3
#define MESSAGES 2

byte epoch = 1;
byte first[6], second[6];       /* the owners in each epoch */
byte first_as[6], second_as[6]; /* their incarnations */
bit lives[MEMBERS], listed[MEMBERS];
byte incarnation[MEMBERS], listed_as[MEMBERS];
byte known[MEMBERS];        /* the newest epoch that it knows; 0: none */
byte held[MEMBERS];         /* 0: nothing */
bit busy[MEMBERS];          /* it has a turn of the key */
byte link_of[MEMBERS];      /* the number of its connection to the second owner */
byte newest[MEMBERS];       /* of these numbers: the highest that a second owner has seen */

/* A put that is under way */
bit used[MESSAGES], kept[MESSAGES], given_up[MESSAGES];
byte from[MESSAGES], to[MESSAGES], of_from[MESSAGES], of_to[MESSAGES], in_epoch[MESSAGES], on_link[MESSAGES],
     number[MESSAGES];

byte begun, floor;

#define LEARNED(m) (!listed[m] || !lives[m] || incarnation[m] != listed_as[m] || known[m] == epoch)
#define IN_FORCE (LEARNED(0) && LEARNED(1) && LEARNED(2))
#define AS_LISTED(m) (lives[m] && listed[m] && incarnation[m] == listed_as[m])
/* While the newest epoch is only proposed, it must be the first in the one before too. */
#define FIRST_IN(m, e) (first[e] == m && first_as[e] == incarnation[m])
#define IS_FIRST(m) (lives[m] && known[m] && FIRST_IN(m, known[m]) && \
                     (known[m] != epoch || IN_FORCE || FIRST_IN(m, epoch - 1)))
#define SAME_SECOND (second[epoch - 1] == second[epoch] && second_as[epoch - 1] == second_as[epoch])
#define MAY_WRITE(m) (IS_FIRST(m) && (known[m] != epoch || IN_FORCE || SAME_SECOND))
#define SAME_OWNERS (first[epoch - 1] == first[epoch] && first_as[epoch - 1] == first_as[epoch] && SAME_SECOND)
#define DIFFERS(m) (lives[m] != listed[m] || (lives[m] && incarnation[m] != listed_as[m]))

inline take(m)
{
    if
    :: lives[m] && first[epoch] == NOBODY -> first[epoch] = m; first_as[epoch] = incarnation[m]
    :: lives[m] && first[epoch] != NOBODY && second[epoch] == NOBODY -> second[epoch] = m;
       second_as[epoch] = incarnation[m]
    :: else
    fi;
    listed[m] = lives[m];
    listed_as[m] = incarnation[m]
}

/* When an epoch is in force, all have swept by it. */
#define OWNS(m, e) (first[e] == m || second[e] == m)
inline sweep(m)
{
    if
    :: !OWNS(m, epoch) -> held[m] = 0
    :: else
    fi
}

proctype leader()
{
end:
    do
    :: atomic { IN_FORCE && epoch < EPOCHS && (DIFFERS(0) || DIFFERS(1) || DIFFERS(2)) ->
       sweep(0);
       sweep(1);
       sweep(2);
       epoch++;
       first[epoch] = NOBODY;
       second[epoch] = NOBODY;
       take(0);
       take(1);
       take(2) }
    od
}

proctype member(byte me)
{
end:
    do
    :: atomic { lives[me] && epoch < EPOCHS -> lives[me] = 0; known[me] = 0; held[me] = 0; busy[me] = 0 }
    :: atomic { !lives[me] && epoch < EPOCHS && incarnation[me] < 2 ->
       incarnation[me]++;
       link_of[me]++;
       lives[me] = 1 }
    :: atomic { AS_LISTED(me) && known[me] != epoch -> known[me] = epoch }
    /* A get finds nothing, and takes the second owner's copy in a turn. */
    :: atomic { MAY_WRITE(me) && !busy[me] && !held[me] && second[known[me]] != NOBODY &&
       known[second[known[me]]] == known[me] && lives[second[known[me]]] &&
       second_as[known[me]] == incarnation[second[known[me]]] -> held[me] = held[second[known[me]]] }
    od
}

inline acknowledge(n)
{
    if
    :: n > floor -> floor = n
    :: else
    fi
}

#ifdef ANY_EPOCH
#define SAME_EPOCH(i) 1
#else
#define SAME_EPOCH(i) (known[to[i]] == in_epoch[i])
#endif
#ifdef ANY_LINK
#define NEWEST(i) 1
#else
#define NEWEST(i) (newest[from[i]] <= on_link[i])
#endif
#define OBEYS(i) (lives[to[i]] && incarnation[to[i]] == of_to[i] && known[to[i]] && \
                  first[known[to[i]]] == from[i] && first_as[known[to[i]]] == of_from[i] && \
                  second[known[to[i]]] == to[i] && second_as[known[to[i]]] == of_to[i] && \
                  (known[to[i]] != epoch || IN_FORCE || SAME_OWNERS) && SAME_EPOCH(i) && NEWEST(i))
#define STILL(i) (lives[from[i]] && incarnation[from[i]] == of_from[i])

/* Puts through any member, one after the other. */
proctype put(byte i)
{
    byte me;

end:
    do
    :: atomic { begun < PUTS ->
       if
       :: me = 0
       :: me = 1
       :: me = 2
       fi;
       if
       :: MAY_WRITE(me) && !busy[me] && second[known[me]] == NOBODY ->
          begun++;
          held[me] = begun;
          acknowledge(begun)
       :: MAY_WRITE(me) && !busy[me] && second[known[me]] != NOBODY ->
          begun++;
          busy[me] = 1;
          used[i] = 1;
          kept[i] = 0;
          given_up[i] = 0;
          from[i] = me;
          of_from[i] = incarnation[me];
          to[i] = second[known[me]];
          of_to[i] = second_as[known[me]];
          in_epoch[i] = known[me];
          on_link[i] = link_of[me];
          number[i] = begun;
#ifdef HERE_FIRST
          held[me] = begun
#endif
       :: else
       fi }
       do
       :: atomic { used[i] && !kept[i] && OBEYS(i) ->
          newest[from[i]] = on_link[i];
          held[to[i]] = number[i];
          kept[i] = 1;
          used[i] = !given_up[i] }
       :: atomic { used[i] && kept[i] && !given_up[i] && STILL(i) ->
          used[i] = 0;
          busy[from[i]] = 0;
          if
          :: IS_FIRST(from[i]) && known[from[i]] == in_epoch[i] ->
             held[from[i]] = number[i];
             acknowledge(number[i])
          :: else
          fi }
       :: atomic { used[i] && !given_up[i] && STILL(i) ->
          given_up[i] = 1;
          busy[from[i]] = 0;
          link_of[from[i]]++;
          used[i] = !kept[i] }
       :: atomic { used[i] && !kept[i] && !OBEYS(i) ->
          used[i] = 0; /* it is refused */
          if
          :: STILL(i) && !given_up[i] -> busy[from[i]] = 0
          :: else
          fi }
       :: atomic { used[i] && (given_up[i] || !STILL(i)) -> used[i] = 0 } /* it is lost */
       :: !used[i] -> break
       od
    od
}

#define OLD(m) (IS_FIRST(m) && held[m] && held[m] < floor)

inline get(m)
{
    atomic { IS_FIRST(m) && held[m] > floor -> floor = held[m] }
}

proctype gets()
{
end:
    do
    :: atomic { OLD(0) || OLD(1) || OLD(2) -> assert(!(OLD(0) || OLD(1) || OLD(2))) }
    :: get(0)
    :: get(1)
    :: get(2)
    od
}

init {
    atomic {
        first[0] = NOBODY;
        second[0] = NOBODY;
        first[1] = NOBODY;
        second[1] = NOBODY;
        run leader();
        run member(0);
        run member(1);
        run member(2);
        run put(0);
        run put(1);
        run gets()
    }
}
