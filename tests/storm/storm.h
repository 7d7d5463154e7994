/* SPDX-License-Identifier: MIT */
/*
 * The kill storm. Workers work on a pool and keep a ledger of what was acknowledged to them, in
 * memory that survives them. The parent kills them at random instants and compares the pool with
 * the ledger.
 *
 * Ledger of a file: two versions and one word `state`. A worker writes the version that will be
 * true after the operation, and sets state to "pending, of this kind". It does the operation, and
 * sets state to "that version, nothing pending". Wherever it is killed, the ledger says which
 * states of the file are allowed.
 */
#ifndef HF_TESTS_STORM_H
#define HF_TESTS_STORM_H

#include "support.h"

#include <errno.h>

#define STORM_POOL "storm"
#define STORM_COPY "copy"
#define STORM_WORKERS_MAX 8
#define STORM_FILES 6      /* of each worker */
#define STORM_PAGES 24     /* the most of a file */
#define STORM_PINS 6       /* held by a worker at a time */
#define STORM_LEASES 8     /* likewise */
#define STORM_OFFERS 4     /* places where workers leave leases for each other */
#define STORM_RECORDS 2048 /* acknowledged appends of a worker between two checkpoints */

/* Bytes [0, cut) of the page are the pattern of `tag`, the others zero. tag 0: all zero. */
struct storm_page {
    uint64_t tag;
    uint32_t cut;
};

struct storm_version {
    uint32_t exists;
    uint32_t name; /* 0 or 1: which of its two names it has */
    uint64_t size;
    struct storm_page pages[STORM_PAGES];
};

enum storm_pending {
    STORM_SETTLED,
    STORM_ATOMIC, /* the whole file as in one version or as in the other */
    STORM_WRITE   /* every word as in one or the other, or zero; the size anything between */
};

struct storm_file {
    struct storm_version versions[2];
    uint32_t state; /* index of the acknowledged version, and enum storm_pending << 1 */
};

struct storm_record {
    uint64_t off, number;
    uint32_t len;
};

struct storm_pin { /* or a lease */
    uint32_t held; /* 1 from before the pin until after its release */
    uint32_t worker, file;
    uint64_t off, len;
};

#define STORM_OFFER_NONE 0u
#define STORM_OFFER_THERE 1u
#define STORM_OFFER_OF(worker) ((worker) + 2u) /* it fills or empties the place */
struct storm_offer {
    uint32_t state;
    struct hf_lease_token token;
    struct storm_pin pin;
};

struct storm_worker {
    uint64_t progress;
    uint64_t next_tag;
    struct storm_file files[STORM_FILES];
    struct storm_pin pins[STORM_PINS], leases[STORM_LEASES];
    struct storm_record records[STORM_RECORDS];
    uint32_t record_count;
    uint64_t next_record;
    char doing[64];  /* for the reader of a failure */
    uint32_t paused; /* it waits between two operations, as `pause` asks */
};

/* Processes that take part besides the workers that are killed. */
#define STORM_READER                                                                               \
    1u /* a process that only reads; sometimes it is the first after a death, or the first of all */
#define STORM_COPIES 2u  /* the pool is copied while it is in use, and the copy opened */
#define STORM_FORKS 4u   /* workers fork; the child lives on for a while */
#define STORM_STOPS 8u   /* workers are stopped anywhere, and go on or are killed */
#define STORM_CLOSED 16u /* workers that begin without descriptors 0 to 2 */
#define STORM_DEDUP 32u  /* a process that lets pages share blocks, and is killed too */
#define STORM_STRANGERS                                                                            \
    64u /* processes of another pid namespace, time namespace or user; killed too; needs root */
#define STORM_TRIM 128u   /* a process that gives back what is free, and is killed too */
#define STORM_FILLER 256u /* a process that fills the file system beside the pool; needs root */
#define STORM_CROWD 512u  /* processes that fill the tables, and are killed together */
#define STORM_COMPACT                                                                              \
    1024u /* a process that lays files for huge entries, also one of its own, and is killed too */
#define STORM_RESIZE 2048u /* a process that makes the pool larger and smaller; killed too */
#define STORM_ACTORS 4095u

/* Enough for those that live; what the dead had would soon fill them. */
#define STORM_PROCESSES 48u
#define STORM_THREADS 128u
#define STORM_LEASES_MAX 1024u

struct storm {
    uint64_t seed;
    uint32_t worker_count;
    uint32_t actors;
    uint32_t
        knows_holders;   /* the engine does: pins of the dead are dropped, blocks can be detached */
    uint32_t shares;     /* and files can share blocks */
    pid_t containers[2]; /* a process in each; 0: there are none */
    uint32_t pause;
    uint32_t reader_asked, reader_came; /* to look at everybody's files */
    struct storm_worker workers[STORM_WORKERS_MAX];
    struct storm_offer offers[STORM_OFFERS];
    uint64_t operations, changes, busy, pins, leases, taken, recalled, cancelled, deadlocks,
        circles, reports, reads, forks, stops, copies, closed, followers;
    uint64_t strangers;   /* of the pool's group */
    uint64_t turned_away; /* of other namespaces, while the pool was in use */
    uint64_t alone;       /* of other namespaces, while it was not */
    uint64_t crowds;      /* all killed together */
    uint64_t crowded;     /* leases that they had */
    uint64_t filled;      /* times that the file system was full */
    uint64_t no_room;     /* changes that were refused for that */
    uint64_t shared;      /* bytes that were, whenever blocks were counted */
    uint64_t quarantined; /* leases of the dead that were seen so */
};

extern bool storm_is_filled; /* the actor filler acts */

/* A worker's second thread cancels the waits of the first, and a worker that is stopped may hold a
 * lock. The file system may be full for a moment. Then a call has changed nothing, and goes again.
 */
static inline bool storm_goes_again(long rc)
{
    return rc == -EINTR || rc == -EBUSY || (rc == -ENOSPC && storm_is_filled);
}

#define UNTIL_DONE(call)                                                                           \
    __extension__({                                                                                \
        long until_done_rc;                                                                        \
        do                                                                                         \
            until_done_rc = (call);                                                                \
        while (storm_goes_again(until_done_rc));                                                   \
        until_done_rc;                                                                             \
    })

/* --- ledger --- */

const struct storm_version *storm_now(const struct storm_file *file);
/* The version to fill in for what comes next: a copy of the acknowledged one. */
struct storm_version *storm_prepare(struct storm_file *file);
void storm_begin(struct storm_file *file, enum storm_pending kind);
void storm_acknowledge(struct storm_file *file);
void storm_withdraw(struct storm_file *file); /* it failed and changed nothing */

void storm_fill(void *page, uint64_t tag);
/* Which worker's file the page's first word names; a zero page is anybody's. */
bool storm_belongs(const void *page, unsigned worker, unsigned file);
uint64_t storm_tag(unsigned worker, unsigned file, uint64_t number);

uint64_t storm_size(struct hf_file *file);
void storm_file_path(unsigned worker, unsigned file, unsigned name, char path[64]);
void storm_dir_path(unsigned worker, char path[64]);

/* Compares every file of the worker, which is dead or not started, with its ledger, and settles
 * what was pending. */
void storm_settle(struct storm *storm, struct hf_pool *pool, unsigned worker);

#define STORM_LOG "/log"
#define STORM_RECORD_MAX 400
/* Record `number` of the worker; its length comes from the number. */
size_t storm_record_fill(unsigned char record[STORM_RECORD_MAX], unsigned worker, uint64_t number);
/* Every acknowledged append is where it was acknowledged. */
void storm_check_log(struct storm *storm, struct hf_pool *pool);

/* --- leases of the worker that this process is --- */

void storm_leases_begin(struct storm *storm, unsigned worker, struct hf_pool *pool);
void storm_lease_new(struct test_rng *rng, struct hf_file *file, const struct storm_pin *pin);
/* Gives one, takes one, or lets one go. */
void storm_leases_act(struct test_rng *rng);
/* Releases those without callback that were recalled. */
void storm_leases_hear(void);
void storm_leases_release_all(void);

/* --- actors --- */

/* Reads until it is killed. */
void storm_read(struct storm *storm);
/* Attaches, looks at everybody's files, and leaves. */
void storm_read_first(struct storm *storm);
/* Copies the pool and uses the copy. */
void storm_copy(struct storm *storm, struct hf_pool *pool);
/* One comes while the pool is in use. It is turned away, or works as long as it lives. */
void storm_stranger(struct storm *storm, struct test_rng *rng);
/* One of another namespace comes while no other process has the pool, and works likewise. */
void storm_stranger_alone(struct storm *storm, struct test_rng *rng);
/* Processes fill all tables, and are killed. No other process but this one is attached. */
void storm_crowd(struct storm *storm, struct hf_pool *pool);

/* Makes two containers for workers; ends the test as skipped where it may not. */
void storm_make_containers(struct storm *storm);
/* This process, which has one thread, goes into one of them, if there are any. */
void storm_enter_container(const struct storm *storm, unsigned which);
void storm_end_containers(struct storm *storm);
/* The pool is: what processes share while they use it lies in /dev/shm. */
bool storm_is_on_disk(void);

/* Gives this process, and those that it starts, a file system of their own. False: it may not. */
bool storm_own_file_system(void);
/* Leaves it only so much room. */
void storm_small_file_system(unsigned mib);
/* Fills it up, and makes room again, until it is killed. */
pid_t storm_filler(struct storm *storm);

/* --- worker --- */

/* Runs until it is killed. */
void storm_work(struct storm *storm, unsigned worker);

#endif
