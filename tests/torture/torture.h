/* SPDX-License-Identifier: MIT */
/*
 * The torture: pinners that look at what they hold, changers that take blocks out of files and hand
 * them to other files at once. Every page carries its owner in several words. A pinner that sees
 * another owner's mark, or sees its mark vanish, held a block that was given away.
 */
#ifndef HF_TESTS_TORTURE_H
#define HF_TESTS_TORTURE_H

#include "support.h"

#define TORTURE_FILES 64
#define TORTURE_PAGES 16 /* of each file */
#define TORTURE_CHANGERS_MAX 16
#define TORTURE_SPARE_BLOCKS                                                                       \
    8 /* free in an otherwise full pool, so that blocks come back at once */

struct torture_options {
    unsigned processes, pinners, changers; /* the last two in each process */
    uint64_t wanted;                       /* layout changes, of all changers together */
    unsigned stops; /* percent of the spells of a pinner in which it is stopped again and again */
    const struct test_engine *engine;
    unsigned broken;    /* HF_LAB_* bits, in lab builds */
    bool dedup;         /* pages carry their marks in pairs, and a process merges them */
    bool trim;          /* beside a process that gives free memory back */
    bool resize;        /* beside one that grows the pool and shrinks it again */
    bool compact;       /* beside one that lays files for huge entries, which has room for some */
    bool expect_caught; /* succeed when a reused block was seen, and stop then */
};

/* Shared by all processes; counters only grow. */
struct torture {
    struct torture_options options;
    uint64_t seed;
    uint32_t ready, stop;
    uint64_t pins, refused, looks;
    uint64_t foreign;  /* looks that saw another owner */
    uint64_t vanished; /* looks that saw the owner's mark gone */
    uint64_t changes, moves, truncates, recreations;
    uint64_t stuck;                     /* changes that ran into their deadline */
    uint64_t hot[TORTURE_CHANGERS_MAX]; /* where a changer goes next, TORTURE_CALM */
    uint32_t generation[TORTURE_FILES]; /* raised when the file was made again */
};

/* With a hot place: it is left in peace until it has its bias back. */
#define TORTURE_CALM (UINT64_C(1) << 63)

/* A page of a file, as one number. */
static inline uint64_t torture_place(unsigned file, unsigned page)
{
    return (uint64_t)file * TORTURE_PAGES + page;
}

static inline unsigned torture_place_file(uint64_t place)
{
    return (unsigned)(place / TORTURE_PAGES);
}

static inline uint64_t torture_place_off(uint64_t place)
{
    return place % TORTURE_PAGES * TEST_PAGE;
}

/* The mark that every look-at word of the page carries. */
uint64_t torture_mark(uint64_t place);
void torture_mark_page(uint64_t *page, uint64_t place);

enum torture_look {
    TORTURE_ZERO,   /* not marked yet */
    TORTURE_MARKED, /* by its owner, at least in part */
    TORTURE_FOREIGN
};
enum torture_look torture_look(const void *memory, uint64_t place);

void torture_file_name(unsigned file, char name[32]);

/* One thread's view of the pool and a number of its own. */
struct torturer {
    struct torture *torture;
    struct hf_pool *pool;
    unsigned number; /* among all of its kind, in all processes */
    struct test_rng rng;
};
void *torture_pinner(void *torturer);
void *torture_changer(void *torturer);

/* A process that resizes the pool all the time. The end gives how often that was, which must not be
 * 0. A shrink that others were in the way of is refused. */
pid_t torture_resizer(const char *name);
uint64_t torture_resizer_ends(pid_t pid, uint64_t *refused);

/* Stops the calling thread again and again, wherever it is, until it is called off
 * (scheduling.c). */
void torture_disturb_open(void);
void torture_disturb(bool on);
void torture_disturb_close(void);
/* How often this thread was stopped. */
extern _Thread_local volatile unsigned torture_disturbed;

/* Keeps the thread on one of the machine's processors. */
void torture_stay_on_cpu(unsigned number);
void torture_spin_ns(uint64_t ns);

#endif
