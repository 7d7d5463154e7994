/* SPDX-License-Identifier: MIT */
/*
 * Owns the list of all blocks in use: what files have, and what pins hold after a file has lost it.
 * Calls the records only, so it sees what its transaction sees: a block is in several
 * runs only where several own it (owners.c).
 */
#include "meta/meta.h"

#include <errno.h>
#include <sys/stat.h>

struct walk {
    struct meta_txn *txn;
    int (*find)(struct meta_txn *txn, uint64_t ino, uint64_t page, struct meta_extent *out);
    int (*each)(void *arg, const struct meta_run *run);
    void *arg;
};

static int walk_file(const struct walk *w, uint64_t ino)
{
    struct meta_extent extent;
    uint64_t page = 0;
    int rc;

    while ((rc = w->find(w->txn, ino, page, &extent)) == 0) {
        struct meta_run run = {ino, extent.page, extent.block, extent.count, false, extent.shared};

        rc = w->each(w->arg, &run);
        if (rc)
            return rc;
        page = extent.page + extent.count;
    }
    return rc == -ENOENT ? 0 : rc;
}

static int walk_files(const struct walk *w)
{
    struct meta_inode inode;
    uint64_t ino = 0;
    int rc;

    while ((rc = meta_inode_next(w->txn, &ino, &inode)) == 0) {
        rc = S_ISREG(inode.mode) ? walk_file(w, ino) : 0;
        if (rc)
            return rc;
        ino++;
    }
    return rc == -ENOENT ? 0 : rc;
}

static int walk_detached(const struct walk *w, uint64_t ino)
{
    struct meta_detached found;
    int rc;

    for (rc = meta_detached_from(w->txn, 0, &found); rc == 0;
         rc = meta_detached_after(w->txn, &found, &found)) {
        struct meta_run run = {found.ino, found.page, found.block, found.count, true, found.shared};

        rc = !ino || found.ino == ino ? w->each(w->arg, &run) : 0;
        if (rc)
            return rc;
    }
    return rc == -ENOENT ? 0 : rc;
}

int meta_runs_each(struct meta_txn *txn, uint64_t ino,
                   int (*each)(void *arg, const struct meta_run *run), void *arg)
{
    const struct walk w = {txn, meta_extent_find, each, arg};
    int rc = ino ? walk_file(&w, ino) : walk_files(&w);

    return rc ? rc : walk_detached(&w, ino);
}

int meta_runs_each_stored(struct meta_txn *txn, int (*each)(void *arg, const struct meta_run *run),
                          void *arg)
{
    const struct walk w = {txn, meta_stored_find, each, arg};
    int rc = walk_files(&w);

    return rc ? rc : walk_detached(&w, 0);
}
