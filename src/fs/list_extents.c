/* SPDX-License-Identifier: MIT */
/*
 * Owns hf_extents(). The list is made in one snapshot and reported after the snapshot has ended, so
 * the callback may use the library. Calls meta, which knows every run of blocks.
 */
#include "base/error.h"
#include "fs/fs.h"

#include <errno.h>
#include <stdlib.h>

struct list {
    struct hf_extent_info *info;
    size_t count, room;
};

static int add_run(void *arg, const struct meta_run *run)
{
    struct list *list = arg;

    if (list->count == list->room) {
        size_t room = list->room ? list->room * 2 : 256;
        struct hf_extent_info *more = realloc(list->info, room * sizeof *more);

        if (!more)
            return hf_fail(ENOMEM, "no memory for a list of %zu extents", room);
        list->info = more;
        list->room = room;
    }
    list->info[list->count++] = (struct hf_extent_info){.ino = run->ino,
                                                        .off = run->page * HF_BLOCK_BYTES,
                                                        .len = run->count * HF_BLOCK_BYTES,
                                                        .block = run->block,
                                                        .detached = run->detached,
                                                        .shared = run->shared};
    return 0;
}

int fs_extents(struct fs *fs, uint64_t ino,
               int (*each)(void *arg, const struct hf_extent_info *info), void *arg)
{
    struct list list = {0};
    struct meta_txn *txn;
    int rc = meta_begin_read(fs->dax.meta, &txn);

    if (rc)
        return rc;
    rc = meta_runs_each(txn, ino, add_run, &list);
    meta_end_read(txn);
    for (size_t i = 0; rc == 0 && i < list.count; i++)
        rc = each(arg, &list.info[i]);
    free(list.info);
    return rc;
}
