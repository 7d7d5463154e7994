/* SPDX-License-Identifier: MIT */
/* Directories that may be caches of objects: each file called `index` has one. */
#ifndef HOLDFAST_CLI_CACHE_FIND_H
#define HOLDFAST_CLI_CACHE_FIND_H

#include "cli.h"

/* Calls `found` with the path of each, in the order of names. It returns false to end the walk.
 * Returns EX_OK, or the exit code of a directory that cannot be read. */
int cache_find(struct hf_pool *pool, bool (*found)(void *arg, const char *path), void *arg);

#endif
