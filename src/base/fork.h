/* SPDX-License-Identifier: MIT */
/*
 * Knowing without a system call that this process is the child of a fork: a count that the child
 * raises before it runs anything else. Handles keep the count of when they were made.
 */
#ifndef HF_BASE_FORK_H
#define HF_BASE_FORK_H

#include <stdint.h>

extern __attribute__((visibility("hidden"))) uint32_t hf_fork_count;

/* From now on the count counts. */
void hf_fork_counts(void);
/* The same, and calls `child` (async-signal-safe work only) in every child of a fork. Once a
 * process. */
void hf_fork_watch(void (*child)(void));

#endif
