/* SPDX-License-Identifier: MIT */
/*
 * Owns hf_extents(), and the number of pieces that pages lie in. The list is made in one snapshot
 * and reported after the snapshot has ended, so the callback may use the library. Calls meta, which
 * knows every run of blocks.
 */
#include "base/error.h"
#include "fs/fs.h"
#include "fs/vnode.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

struct list {
    struct hf_extent_info *info;
    size_t count, room;
};

static int list_run(void *arg, const struct meta_run *run)
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
    rc = meta_runs_each(txn, ino, list_run, &list);
    meta_end_read(txn);
    for (size_t i = 0; rc == 0 && i < list.count; i++)
        rc = each(arg, &list.info[i]);
    free(list.info);
    return rc;
}

/* A hole counts as one piece, since it is filled with a run of blocks where there is one. */
static uint64_t count_pieces(struct fs *fs, uint64_t ino, uint64_t page, uint64_t last)
{
    uint64_t count = 0, next_block = UINT64_MAX;

    while (page <= last) {
        struct meta_extent extent;
        int rc = fs_extent_at(fs, ino, page, &extent);

        if (rc < 0)
            return 0;
        count += rc == 0 || extent.block + (page - extent.page) != next_block;
        next_block = rc ? extent.block + extent.count : UINT64_MAX;
        page = rc ? extent.page + extent.count : extent.count ? extent.page : last + 1;
    }
    return count;
}

int fs_many_pieces(struct fs *fs, const struct shm_vnode *vnode, uint64_t off, uint64_t len,
                   int room)
{
    uint64_t count =
        count_pieces(fs, vnode->ino, off / HF_BLOCK_BYTES, (off + len - 1) / HF_BLOCK_BYTES);

    shm_assert_none_held();
    if (count <= (uint64_t)room) /* not known, or other blocks by now */
        return hf_fail(E2BIG, "the range lies in more pieces than the %d of iovcnt", room);
    return hf_fail(E2BIG, "the range lies in %" PRIu64 " pieces, and iovcnt is %d", count, room);
}
