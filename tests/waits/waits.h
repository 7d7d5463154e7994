/* SPDX-License-Identifier: MIT */
/*
 * Each wait of each call ends early: a signal, hf_cancel(), a process that is stopped, a deadline.
 * A row is one call of the library. It is made again and again; the first time its first wait
 * fails, then its second, until it has none left to fail. After each failure the pool is as it was
 * before the call, and the call may be made again. Exceptions are in the manual of the call.
 */
#ifndef HF_TESTS_WAITS_H
#define HF_TESTS_WAITS_H

#include "support.h"

#include <stdio.h>

#define WAITS_POOL "pool"
#define WAITS_POOL_BYTES TEST_MIB(8)
#define WAITS_PICTURE 16384u /* bytes of text */

/* What the call finds, and what it leaves to be closed. */
struct waits_call {
    struct hf_pool *pool;
    struct hf_file *file;  /* the row's */
    struct hf_file *other; /* of prepare(), closed at the end */
    const struct hf_policy *policy;
    uint64_t number; /* of the inode that prepare() has made */
    uint64_t len;    /* of a call that returns a count: how much at most, 0: all */
    struct hf_file *opened;
    struct hf_dir *dir;
    struct hf_pin pin;
    struct hf_lease lease;
    struct hf_lease_token token;
    bool has_pin, has_lease, has_token;
    unsigned registered; /* the memory, so often */
};

/* What else is there when the call begins. */
enum waits_others {
    WAITS_PINS = 1, /* another thread has pinned pages 1 and 4 of /a */
    WAITS_GATE = 2, /* and a truncate of it waits for that: its gate is closed over all of /a */
    WAITS_JOINS = 4 /* another process has the pool open */
};

/* What a failure may leave. */
enum waits_leaves {
    WAITS_BLOCKS = 1, /* the same contents on other, more, or fewer blocks */
    WAITS_TIMES = 2,  /* the same, and the times say so */
    WAITS_A_PART = 4, /* a count that is short: what was asked for so far, and no more */
};

struct waits_row {
    const char *name;
    const char *file;                         /* opened before; null: none */
    unsigned others;                          /* enum waits_others */
    unsigned leaves;                          /* enum waits_leaves */
    bool policies;                            /* it takes a policy: is made with each */
    bool attaches;                            /* it opens the pool, which is closed before */
    bool alone;                               /* each attempt has a new pool */
    bool steps;                               /* it goes in steps, of a few extents: --steps */
    void (*prepare)(struct waits_call *call); /* no wait of it fails; may be null */
    long (*act)(struct waits_call *call);
    void (*judge)(struct waits_call *call); /* what a failure may have left; may be null */
};

extern const struct waits_row waits_names[], waits_content[], waits_layout[], waits_pool[];
extern const unsigned waits_name_count, waits_content_count, waits_layout_count, waits_pool_count;

/* --- failures (fault.c) --- */

enum waits_mode {
    WAITS_ONE,    /* that wait alone */
    WAITS_HOLDER, /* and later ones for the same lock: its holder is stopped */
    WAITS_ALL,    /* and all later ones that can be cancelled */
};

/* Of the waits of the calling thread that can end with -err, number `at` (from 1 on; 0: none)
 * does. `release` is called, once a sleep, when the thread would sleep. */
void waits_begin(int err, enum waits_mode mode, unsigned at, void (*release)(void));
/* True: there was such a wait. */
bool waits_end(void);
/* A wait of the thread has ended with -err. */
bool waits_gave(int err);

/* --- what is seen (look.c) --- */

/* What every pool here has at first. */
void waits_fill(struct hf_pool *pool);
/* All of the pool, as text; `blocks`: also on how many, and which of them are shared; `times`. */
void waits_look(struct hf_pool *pool, bool blocks, bool times, char picture[WAITS_PICTURE]);
/* Each block is free, or in a file. */
void waits_account(struct hf_pool *pool);

#endif
