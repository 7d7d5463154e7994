/* SPDX-License-Identifier: MIT */
/*
 * The exerciser: random operations on a pool and on the model, each compared at once where it
 * touched, everything at intervals. One exerciser a process; several processes may run on one
 * pool, each below its own directory and on its own pages of shared files.
 */
#ifndef HF_TESTS_EXERCISE_H
#define HF_TESTS_EXERCISE_H

#include "model.h"

#include <fcntl.h>

#define EXERCISE_FILES 12
#define EXERCISE_PINS 40
#define EXERCISE_LOG 50

struct open_file {
    struct hf_file *file; /* null: this place is free */
    struct model_node *node;
    int flags;
};

/* A pinned page: of the file still, or detached with the bytes it had then. */
struct pinned_page {
    uint64_t page;
    unsigned char *frozen; /* null: still of the file */
    /* Not null: it may have been on a shared block. Then the file may leave it: what it held. */
    unsigned char *then;
};

struct held_pin {
    struct model_node *node; /* null: this place is free */
    struct hf_pin pin;
    struct iovec *iov;
    int pieces;
    uint64_t off, len;
    uint32_t flags;
    struct pinned_page *pages;
    size_t page_count;
};

struct exercise {
    struct test_rng rng;
    const char *pool_name;
    struct hf_pool *pool;
    struct model model;
    struct model_node *top; /* names are made below it */
    bool alone;             /* no other process uses the pool */
    struct open_file files[EXERCISE_FILES];
    struct held_pin pins[EXERCISE_PINS];
    uint64_t blocks_at_start; /* in use when no file had any */
    uint64_t done;
    uint64_t pool_bytes; /* likewise, of the pool */
    uint64_t clones, shrunk;
    uint64_t merged, compacted, trimmed; /* bytes */
    char log[EXERCISE_LOG][320];
    uint64_t logged;
};

/* Runs `count` operations on an open pool, with full comparisons in between and at the end. Reopens
 * the pool now and then. `shared` (may be null): a file of which pages [first, first+pages) are
 * ours. */
struct exercise_plan {
    uint64_t seed, count;
    const char *pool_name;
    const char *top; /* "/" or a directory of its own, made here */
    const char *shared;
    uint64_t shared_first, shared_pages, shared_size_pages;
    bool accompanied; /* a process that changes nothing has the pool open too: no check of it */
};
void exercise_run(const struct exercise_plan *plan);

/* --- log --- */
void note(struct exercise *x, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Appends to the last note. */
void note_result(struct exercise *x, long long rc);

/* --- choices --- */
struct open_file *choose_open(struct exercise *x);
struct open_file *choose_free_place(struct exercise *x);
struct model_node *choose_dir(struct exercise *x);
/* Some path, mostly of something there; sometimes through links, with "." and "..", or nonsense. */
void choose_path(struct exercise *x, char *path, size_t len);
/* A page-scaled range, mostly in or near the file, inside the node's window if it has one. */
void choose_range(struct exercise *x, const struct model_node *node, bool whole_pages,
                  uint64_t *off, uint64_t *len);

/* --- errors --- */
/* rc is one of the errnos (positive, 0 ends the list), or 0 where the list is empty. */
void expect_one_of(struct exercise *x, long long rc, const int *errnos);
/* -ENOSPC is all right now: the pool has less than `pages` and some to spare. */
bool is_full(struct exercise *x, uint64_t pages);

/* --- what happened to a node --- */
struct moment {
    struct timespec before;
};
struct moment moment_now(void);
/* Content or entries changed since `moment`: the times say so; remembers them. */
void node_modified(struct exercise *x, struct model_node *node, struct moment moment);
/* Compares attributes. */
void node_compare(struct exercise *x, struct model_node *node);
bool node_stat(struct exercise *x, const struct model_node *node, struct stat *st);
/* For when blocks may have come or gone in ways that the model does not foresee, as in a call that
 * failed halfway. Takes the map from the pool; contents must agree all the same. */
void node_relearn_blocks(struct exercise *x, struct open_file *open);

/* --- comparing --- */
void compare_range(struct exercise *x, struct open_file *open, uint64_t off, uint64_t len);
void compare_file(struct exercise *x, struct open_file *open);
void compare_all(struct exercise *x);

/* --- pins --- */
bool pins_overlap(const struct exercise *x, const struct model_node *node, uint64_t first,
                  uint64_t end);
/* The model's part of a layout change that goes ahead under pins of pages [first, end). */
void pins_detach(struct exercise *x, const struct model_node *node, uint64_t first, uint64_t end);
/* Pins for writing alone. */
bool pins_write(const struct exercise *x, const struct model_node *node, uint64_t first,
                uint64_t end);
/* After a write to a shared page, a pin that was taken to read keeps the old block. */
void pins_settle(struct exercise *x, const struct model_node *node);
void pins_compare(struct exercise *x, const struct model_node *node);
void pin_release(struct exercise *x, struct held_pin *held);
/* Of all nodes where it is null. */
void pins_release_of(struct exercise *x, const struct model_node *node);
void file_close(struct exercise *x, struct open_file *open);

/* What a layout change of pages [first, end) of the node is allowed to say under the policy:
 * 0, -EBUSY or -EDEADLK. */
const struct hf_policy *choose_policy(struct exercise *x, struct hf_policy *policy);
int foreseen(const struct exercise *x, const struct model_node *node,
             const struct hf_policy *policy, uint64_t first, uint64_t end);

/* --- operations, one file a kind --- */
struct operation {
    const char *name;
    unsigned weight;
    void (*run)(struct exercise *x);
};
extern const struct operation file_operations[], layout_operations[], name_operations[],
    attribute_operations[], pin_operations[], share_operations[]; /* a null name ends each */

#endif
