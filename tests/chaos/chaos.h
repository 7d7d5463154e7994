/* SPDX-License-Identifier: MIT */
/*
 * Chaos: everything that the storms do, in one program, and every choice from one number. Each
 * actor is a process; one step of one actor goes at a time, as the scheduler hands out the turn. So
 * the same seed gives the same run, and a failure comes again. Steps can be left out until only
 * those remain that the failure needs.
 *
 * A change that has to wait for pins waits in a thread of its actor, which is then parked; one at
 * a time is. Its wait is over when no living process holds its range, and then it must end. A kill
 * comes between two steps, or in a step after a chosen change of what is shared
 * (tests/kill/trap.h).
 *
 * What the files are is in the ledger of the kill storm, as if all of them were one worker's.
 */
#ifndef HF_TESTS_CHAOS_H
#define HF_TESTS_CHAOS_H

#include "../storm/storm.h"

#include <pthread.h>
#include <semaphore.h>

#define CHAOS_POOL "pool"
#define CHAOS_ACTORS 5u /* number 0 opens the pool read-only */
#define CHAOS_POOL_BYTES TEST_MIB(8)
#define CHAOS_PINS 4u /* of each, and as many leases */
#define CHAOS_OFFERS 3u
#define CHAOS_FREE_PAGES 240u /* of the pool at first: blocks are used again soon */
#define CHAOS_GENERATIONS 200u
#define CHAOS_EPOCH 1800000000 /* when a run begins, for the time stamps of files */

/* Each kind of step: its name for the reader, how many in a thousand. */
#define CHAOS_KINDS(X)                                                                             \
    X(PIN, "pin", 130)                                                                             \
    X(UNPIN, "unpin", 90)                                                                          \
    X(LEASE, "lease", 70)                                                                          \
    X(GIVE, "give a lease", 30)                                                                    \
    X(TAKE, "take a lease", 30)                                                                    \
    X(END_LEASE, "end a lease", 30)                                                                \
    X(HEAR, "hear recalls", 40)                                                                    \
    X(READ, "read", 30)                                                                            \
    X(WRITE, "write", 120)                                                                         \
    X(IN_PLACE, "write in place", 50)                                                              \
    X(TRUNCATE, "truncate", 70)                                                                    \
    X(PUNCH, "punch", 50)                                                                          \
    X(ZERO, "zero", 30)                                                                            \
    X(COLLAPSE, "collapse", 40)                                                                    \
    X(INSERT, "insert", 30)                                                                        \
    X(MOVE, "move", 50)                                                                            \
    X(CLONE, "clone", 40)                                                                          \
    X(MERGE, "merge", 20)                                                                          \
    X(UNLINK, "unlink", 30)                                                                        \
    X(RENAME, "rename", 20)                                                                        \
    X(CLOSE, "close", 10)                                                                          \
    X(CANCEL, "cancel", 10)                                                                        \
    X(FORK, "fork", 5)                                                                             \
    X(GROW, "grow", 4)                                                                             \
    X(SHRINK, "shrink", 6)                                                                         \
    X(TRIM, "trim", 8)                                                                             \
    X(LEAVE, "leave the pool", 8)                                                                  \
    X(KILL, "be killed", 12)                                                                       \
    X(KILL_ALL, "all are killed", 2)                                                               \
    X(STOP, "be stopped", 10)                                                                      \
    X(CHECK, "check", 0)                                                                           \
    X(LOOK, "look after the wait", 0)                                                              \
    X(RELEASE, "release all", 0)                                                                   \
    X(EXIT, "exit", 0)

enum chaos_kind {
#define CHAOS_KIND(kind, name, share) CHAOS_##kind,
    CHAOS_KINDS(CHAOS_KIND)
#undef CHAOS_KIND
};

struct chaos_step {
    unsigned actor;
    enum chaos_kind kind;
    uint64_t seed;    /* of all choices in it */
    uint64_t kill_at; /* TRAP_NEVER, or after which change of what is shared */
};

/* The step of this number in the run of this seed. */
struct chaos_step chaos_step(uint64_t seed, unsigned number);
void chaos_print_step(unsigned number, const struct chaos_step *step);

struct chaos_offer {
    bool there;
    struct hf_lease_token token;
    unsigned file, generation;
};

struct chaos_turn {
    sem_t go, done;
    struct chaos_step step;
    long long result; /* of the step, for the trace */
};

/* What a turn gave, or which actor died. */
#define CHAOS_TRACE 32768u
struct chaos_trace {
    unsigned step;
    long long result;
};

/* Shared by all processes of a run; only the one whose turn it is writes to it. */
struct chaos {
    struct storm ledger; /* of worker 0 */
    unsigned generations[STORM_FILES];
    struct chaos_turn turns[CHAOS_ACTORS];
    struct chaos_offer offers[CHAOS_OFFERS];
    bool parked; /* a change waits */
    unsigned parked_actor;
    unsigned parked_file; /* its content is not known meanwhile */
    bool parked_in_ledger;
    uint64_t microseconds;
    char engine[24];
    struct chaos_trace trace[CHAOS_TRACE];
    unsigned traced;
    uint64_t steps, pins, leases, changes, refused, parkings, deaths, stops, checks;
};

/* --- an actor's process --- */

struct chaos_pin {
    bool held;
    struct hf_pin pin;
    struct hf_lease lease;
    bool is_lease;
    unsigned file, generation, count;
    struct iovec pieces[STORM_PAGES];
};

struct chaos_change {
    enum chaos_kind kind;
    unsigned file;
    bool in_ledger; /* a version of it is pending there */
    struct hf_file *handle;
    uint64_t off, len;
    uint64_t from; /* of a clone */
    char path[64];
};

struct chaos_actor {
    struct chaos *chaos;
    unsigned number;
    bool reads_only;
    struct hf_pool *pool;
    struct test_rng rng;
    struct hf_file *kept[STORM_FILES];
    unsigned kept_generation[STORM_FILES];
    struct chaos_pin pins[CHAOS_PINS], leases[CHAOS_PINS];
    bool may_park;
    /* The change that waits. */
    bool parked;
    pthread_t thread;
    struct chaos_change change;
    uint32_t tid, over;
    int rc;
};

/* Takes turns until it is told to exit, or dies. */
void chaos_act(struct chaos *chaos, unsigned number);

/* The file for the step: its handle, or null where there is none. */
struct hf_file *chaos_file(struct chaos_actor *actor, unsigned file);
void chaos_close_all(struct chaos_actor *actor);

/* holds.c: pins and leases. Each gives a result for the trace, but not into how many pieces blocks
 * fall, which may depend on when others were given back. */
long long chaos_hold(struct chaos_actor *actor, enum chaos_kind kind);
void chaos_look_at_holds(struct chaos_actor *actor);
void chaos_release_all(struct chaos_actor *actor);
void chaos_withdraw_offers(struct chaos_actor *actor);

/* changes.c: what changes files. */
long long chaos_change(struct chaos_actor *actor, enum chaos_kind kind);
/* Runs the change, or parks it. */
long long chaos_run_change(struct chaos_actor *actor, const struct chaos_change *change);

/* park.c */
long long chaos_perform(struct chaos_actor *actor, const struct chaos_change *change,
                        const struct hf_policy *policy);
long long chaos_conclude(struct chaos_actor *actor, const struct chaos_change *change, int rc);
long long chaos_park(struct chaos_actor *actor, const struct chaos_change *change);
/* Ends the parked change if nothing is in its way any more. */
long long chaos_look_after_wait(struct chaos_actor *actor);
long long chaos_cancel(struct chaos_actor *actor);

/* check.c: what is pending and does not wait is settled. */
void chaos_settle(struct chaos *chaos, struct hf_pool *pool);
/* Files are as the ledger says, and each block is in one place. */
void chaos_check(struct chaos *chaos, struct hf_pool *pool, bool all_released);

/* clock.c: from now on, in this process and its children, time stamps are of the run's clock. */
void chaos_count_time(struct chaos *chaos);

/* schedule.c: one run, of the steps that are kept; ends this process if something is wrong. */
void chaos_run(struct chaos *chaos, uint64_t seed, unsigned steps, const bool *keep, bool show);

#endif
