/* SPDX-License-Identifier: MIT */
/*
 * The kill explorer: one call of the library, and its process killed after each change of what it
 * shares with others. The next process finds the pool as before the call or as after it. All blocks
 * are accounted for, fsck would mend nothing, and everything goes on.
 */
#ifndef HF_TESTS_KILL_KILL_H
#define HF_TESTS_KILL_KILL_H

#include "support.h"
#include "trap.h"

#define KILL_POOL "pool"
#define KILL_POOL_BYTES TEST_MIB(8)
#define KILL_PICTURE 4096u /* bytes of text */
#define KILL_STEPS 8u

/* What another process has of /a while the call is under way, and when its process dies. */
enum kill_other {
    KILL_OTHER_OPENS = 1, /* an open handle */
    KILL_OTHER_PINS = 2,  /* and pins of its pages 1 and 4 */
};

/* One row: what is done by the process that is killed. */
struct kill_row {
    const char *name;
    const char *file; /* opened before; null: none */
    unsigned others;  /* enum kill_other */
    bool reads;       /* its process has the pool open for reading only */
    bool detaches;    /* not with engines that count */
    bool shares;      /* likewise */
    bool steps;    /* only in lab builds, where a change of more than two extents goes in steps */
    bool attaches; /* the call is the opening of the pool itself; pool and file are null */
    void (*prepare)(struct hf_pool *pool, struct hf_file *file); /* not killed in it; may be null */
    void (*act)(struct hf_pool *pool, struct hf_file *file);
};
extern const struct kill_row kill_rows[];
extern const unsigned kill_row_count;
/* Rows with `steps`, and no others. An inode's blocks may then be those of any step. */
extern bool kill_steps;

/* Of the pool's size (resize.c). kill_move_to_new_end() grows the pool, and leaves /a and /b past
 * its first size. */
void kill_grow(struct hf_pool *pool, struct hf_file *file);
void kill_move_to_new_end(struct hf_pool *pool, struct hf_file *file);
void kill_shrink(struct hf_pool *pool, struct hf_file *file);
void kill_shrink_and_grow(struct hf_pool *pool, struct hf_file *file);
void kill_shrink_in_vain(struct hf_pool *pool, struct hf_file *file);

/* Pins for devices, more than a thread has slots (devices.c). */
void kill_fill_own_slots(struct hf_pool *pool, struct hf_file *file);
void kill_fill_all_slots(struct hf_pool *pool, struct hf_file *file);
void kill_pin_beyond_slots(struct hf_pool *pool, struct hf_file *file);
void kill_release_detached(struct hf_pool *pool, struct hf_file *file);

/* What every pool here has at first. */
void kill_fill(struct hf_pool *pool);

/* All names, attributes and contents, as text; no times. */
void kill_picture(struct hf_pool *pool, char picture[KILL_PICTURE]);
/* Between two calls of a row: the pool may also be found like this. */
void kill_step(struct hf_pool *pool);

/* Changes every file, with every kind of lock and gate there is, and expects it to succeed. */
void kill_use(struct hf_pool *pool);
/* Every block is free or in a file. */
void kill_account(struct hf_pool *pool);

#endif
