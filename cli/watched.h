/* SPDX-License-Identifier: MIT */
/*
 * A pool that a server looks at for as long as it runs. It stays open, so that its counts go on. It
 * is opened again when a call has failed, or when another pool has its path.
 */
#ifndef HOLDFAST_CLI_WATCHED_H
#define HOLDFAST_CLI_WATCHED_H

#include <holdfast/holdfast.h>

#include <sys/types.h>

struct watched {
    const char *path;
    struct hf_pool *pool; /* null: not open */
    /* Of the pool's lock file. The library has it open, so no other file gets its number. */
    dev_t dev;
    ino_t ino;
    int failure; /* the error of the last look, which was printed; 0: it went well */
};

/* The pool, or null if it cannot be opened. The reason is printed unless it is that of the last
 * time. */
struct hf_pool *watched_pool(struct watched *watched);
/* Says how a look at the pool ended: 0, or the error of the call that has just failed. */
void watched_looked(struct watched *watched, int rc);
void watched_close(struct watched *watched);

#endif
