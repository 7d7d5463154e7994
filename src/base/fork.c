/* SPDX-License-Identifier: MIT */
/*
 * Owns the fork count; see fork.h. The child raises it before it returns from fork(), so each
 * handle of the parent's is recognized. A child made by a bare clone(2) is not seen: holdfast(7)
 * says so.
 */
#include "base/fork.h"

#include "base/atomic.h"
#include "base/error.h"

#include <pthread.h>

uint32_t hf_fork_count;
static void (*in_child)(void);
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Only one thread exists in the child yet, so a plain count is enough. */
static void forked(void)
{
    hf_fork_count++;
    if (in_child)
        in_child();
}

static void watch(void)
{
    HF_BUG_ON(pthread_atfork(NULL, NULL, forked) != 0);
}

void hf_fork_counts(void)
{
    pthread_once(&once, watch);
}

void hf_fork_watch(void (*child)(void))
{
    hf_store_relaxed(&in_child, child); /* relaxed: always the same one */
    hf_fork_counts();
}
