/* SPDX-License-Identifier: MIT */
/* The caches of objects in a pool, for the verb fsck. */
#ifndef HOLDFAST_CLI_FSCK_CACHES_H
#define HOLDFAST_CLI_FSCK_CACHES_H

#include "cli.h"

struct fsck_caches {
    uint64_t caches, objects, problems, repaired;
};
/* Checks each cache in a pool that is otherwise clean. Prints what cannot be looked at. Returns the
 * exit code of that, or EX_OK. Without libholdfast-cache it finds none. */
int fsck_check_caches(const char *path, bool repair,
                      void (*report)(void *arg, const char *sentence), void *arg,
                      struct fsck_caches *out);

#endif
