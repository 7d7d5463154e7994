/* SPDX-License-Identifier: MIT */
/* What the orders of steps share: a pool with two files, and what their threads tell each other. */
#ifndef HF_TESTS_WRONG_STEPS_H
#define HF_TESTS_WRONG_STEPS_H

#include "base/lab.h"
#include "support.h"

#include <pthread.h>

#define OURS 1   /* what is written into the page that is pinned */
#define THEIRS 2 /* and into the page that gets its block */

extern const struct test_engine *engine;
extern struct hf_pool *pool;
extern struct hf_file *victim, *other;
extern uint32_t walked, go, tried, changed;
extern bool harmed; /* a pin, or a copy, has other bytes than it may have */

void make_room(void);
/* A thread that gives the block of the victim's page to the other file, and then raises `changed`.
 * Whether it waits for a pin. */
void *change(void *unused);
bool change_waits(void);
/* Makes that change once the pinner has walked, lets the pinner go when the change has ended or
 * waits, and joins both. */
void change_beside(pthread_t pinner);
/* The first thread to come there waits for `go`. */
void stand_at(enum hf_lab_point point);

/* Slots for devices (far.c). */
void pin_far_beside_change(bool unused);
/* A pin of the victim's first page, whose lane has no mark (steps.c). */
void pin_unmarked(bool biased);
/* Blocks that are detached under a pin (detached.c). */
void detach_beside_leave(bool unused);
void mend_beside_leave(bool unused);
/* Marks of lanes, and what was seen in them (marks.c). */
void pin_beside_clearing(bool unused);
void die_clearing(bool unused);
void look_beside_pin(bool unused);
void pin_beside_look(bool unused);

/* Puts in place (puts.c). */
void put_beside_death(bool unused);
void put_beside_sweep(bool unused);
/* Holds that end (holds.c). */
void end_lease_beside_shrink(bool unused);
/* LMDB's readers (readers.c). */
void look_beside_stop(bool unused);

/* A pool that grows (tail.c). */
void grow_over_tail(bool unused);
void grow_beside_shrink(bool unused);

#endif
