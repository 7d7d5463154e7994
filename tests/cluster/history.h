/* SPDX-License-Identifier: MIT */
/*
 * What all clients have done to some objects, in memory that they share, and what a get may return
 * after it. Any client may put any object at any time.
 *
 * Each put and each removal has a number, and has begun and ended at some time. A get must not
 * return what a put stored that had ended before another change began, if that one was acknowledged
 * before the get began. A put that failed has ended as well, when its time-out has gone.
 */
#ifndef HF_TESTS_CLUSTER_HISTORY_H
#define HF_TESTS_CLUSTER_HISTORY_H

#include <stdbool.h>
#include <stdint.h>

#define HISTORY_OBJECTS 48u

struct history_change {
    uint64_t object, number, began_ns;
};

void history_begin(void);
struct history_change history_change_begins(uint64_t object);
void history_change_ends(const struct history_change *change, bool acknowledged);
/* One that failed: it may be done until then. */
void history_change_ends_at(const struct history_change *change, uint64_t ns);

/* Before a get, and with that after it. */
uint64_t history_get_begins(uint64_t object);
bool history_is_stale(uint64_t object, uint64_t number, uint64_t begin);
/* What is known of that number, for a reader. */
const char *history_tell(uint64_t object, uint64_t number, uint64_t begin);

#endif
