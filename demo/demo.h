/* SPDX-License-Identifier: MIT */
/*
 * The demonstration: a real tree in a pool, readers that verify it in place, writers that keep
 * changing which block is under which page. It is run twice: with the engine that looks for pins,
 * and with one that does not.
 *
 * How a reader knows what is right while a writer changes the file. Each page is at any time its
 * original, or zero (punched, cut off and not written again yet), or past end of file. While it is
 * being written, each byte is the original one or zero. So a byte under a pin that is neither is
 * somebody else's: the block was reused under the pin. And no writer writes zeros into a page that
 * is pinned. So a page that was once seen whole stays whole until its unpin.
 */
#ifndef HF_DEMO_H
#define HF_DEMO_H

#include "lab/lab.h"

#include <holdfast/holdfast.h>
#include <limits.h>

#define DEMO_READERS 2u
#define DEMO_WRITERS 2u
#define DEMO_WORKERS (DEMO_READERS + DEMO_WRITERS)

struct demo_options {
    const char *input;
    uint64_t seconds; /* of each half; 0: as long as all fits in a minute */
    uint64_t seed;
    bool json;
};

/* ------------------------------------------------------------------------------ tree.c --- */

struct demo_file {
    const char *path; /* in the tree, without a leading slash */
    uint64_t bytes;
    uint64_t first_page; /* of it in the originals */
};

/* The originals: read once, then read-only memory that all processes share. */
struct demo_tree {
    struct demo_file *files;
    uint64_t file_count, pages, bytes;
    uint64_t unreadable;   /* files that were left out */
    const char *originals; /* each file from a page boundary on, zeros after its end */
    uint64_t *sums;        /* XXH3 of each page's bytes inside the file */
    uint32_t *filled;      /* the files with content, file_count at most */
    uint64_t filled_count;
};

/* Reads the tree in a fixed order, as much as a pool in `folder` can hold too. Ends the program
 * with a sentence if that is too little. */
void demo_tree_read(const char *input, const char *folder, struct demo_tree *tree);

static inline uint64_t demo_pages(const struct demo_file *file)
{
    return (file->bytes + LAB_PAGE - 1) / LAB_PAGE;
}
static inline const char *demo_original(const struct demo_tree *tree, uint64_t page)
{
    return tree->originals + page * LAB_PAGE;
}
/* Bytes of the file's page that lie inside the file. */
static inline uint64_t demo_page_bytes(const struct demo_file *file, uint64_t page)
{
    uint64_t left = file->bytes - page * LAB_PAGE;

    return left < LAB_PAGE ? left : LAB_PAGE;
}

enum demo_verdict {
    DEMO_WHOLE,   /* the original */
    DEMO_PARTLY,  /* each byte is the original's or zero */
    DEMO_FOREIGN, /* a byte that never was there: somebody else's block */
};
/* Of `bytes` at `memory`, which should be page `page` of the originals. */
enum demo_verdict demo_judge(const struct demo_tree *tree, uint64_t page, const void *memory,
                             uint64_t bytes);

/* ---------------------------------------------------------------- what one half shares --- */

enum demo_kind { DEMO_TRUNCATE, DEMO_PUNCH, DEMO_MOVE, DEMO_DELETE, DEMO_RELOAD, DEMO_KINDS };
extern const char *const demo_kind_names[DEMO_KINDS];

/* Durations: 8 buckets an octave. */
#define DEMO_BUCKETS 496u
struct demo_durations {
    uint64_t count, max_ns;
    uint64_t bucket[DEMO_BUCKETS];
};
void demo_duration_add(struct demo_durations *durations, uint64_t ns);
void demo_durations_merge(struct demo_durations *into, const struct demo_durations *from);
double demo_duration_at(const struct demo_durations *durations, double share); /* 0.5: the median */

/* What one worker counts; only it writes it. */
struct demo_counts {
    uint64_t pins, bytes, held, writing; /* held for a while; pinned to write */
    uint64_t past_end, no_space;         /* pins of what was cut off; of holes in a full pool */
    uint64_t foreign;                    /* pins that met bytes that never were in the file */
    uint64_t changed;   /* pins of right bytes that were wrong before the pin ended */
    uint64_t gave_up;   /* layout changes at their deadline */
    uint64_t postponed; /* reloads and moves in a full pool */
    struct demo_durations kinds[DEMO_KINDS];
} __attribute__((aligned(64)));

/* What a file is expected to be. Only its writer writes it. */
struct demo_state {
    uint64_t bytes;
    uint32_t deleted;
};

struct demo_half {
    const struct demo_tree *tree;
    const char *engine, *pool_path;
    uint64_t seed, pool_bytes;
    bool has_bug; /* and runs until it has shown */
    uint64_t stop, ready;
    uint64_t hot[DEMO_WRITERS]; /* the file and page each writer is about to change */
    struct demo_counts counts[DEMO_WORKERS];
    struct demo_state *states; /* of each file */
    /* of the whole half, when it is over */
    double seconds;
    struct hf_stats stats;
    uint64_t damaged_pages, damaged_files, wrong_sizes, dead;
    uint64_t merged; /* bytes, by the follower */
};

#define DEMO_HOT_PAGE_BITS 32u

struct demo_worker {
    struct demo_half *half;
    unsigned number; /* of the readers, or of the writers */
};

int demo_reader(void *worker);
int demo_writer(void *worker);

/* -------------------------------------------------------------------------- follower.c --- */

struct demo_follower {
    pid_t pid;
    int said; /* a file with all that it says */
};
struct demo_follower demo_follower_start(const char *pool);
/* Its last words are read. False, with a sentence: it has failed. */
bool demo_follower_end(struct demo_follower *follower, uint64_t *merged);

/* ------------------------------------------------------------------------------ half.c --- */

/* Makes and loads the pool, runs the workers for `seconds`, verifies all files. */
void demo_half_run(struct demo_half *half, double seconds);

/* ---------------------------------------------------------------------------- counts.c --- */

/* Pins over a block that was reused meanwhile, seen by any reader. */
uint64_t demo_reused(const struct demo_half *half);
uint64_t demo_pins(const struct demo_half *half);
uint64_t demo_in_place(const struct demo_half *half); /* bytes */
uint64_t demo_changes(const struct demo_half *half);

/* Ends the program with the library's sentence when rc is a failure; returns rc. */
int64_t demo_must(int64_t rc, const char *what, const char *path);

/* ---------------------------------------------------------------------------- report.c --- */

/* A line on a terminal that is written again and again; nothing in a pipe. */
void demo_progress(const char *format, ...) __attribute__((format(printf, 1, 2)));
void demo_progress_wipe(void);

void demo_print_half(const struct demo_half *half);
void demo_print_json(const struct demo_options *options, const struct demo_tree *tree,
                     const struct demo_half *with, const struct demo_half *without, bool proved);

#endif
