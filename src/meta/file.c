/* SPDX-License-Identifier: MIT */
/*
 * Owns reading and making a whole file at once. Its inode and extents lie side by side, so that is
 * one search and some steps. Calls record.c only.
 */
#include "meta/env.h"

#include "base/error.h"

#include <errno.h>
#include <inttypes.h>

static bool is_of_inode(const MDB_val *found, uint64_t ino)
{
    const unsigned char *bytes = found->mv_data;

    return found->mv_size >= META_KEY_PREFIX && bytes[0] == META_INODE &&
           meta_get_be64(bytes + 1) == ino;
}

static int add_file_run(struct meta_file *out, uint64_t ino, const struct meta_extent *run)
{
    const struct meta_extent *last = out->count ? &out->runs[out->count - 1] : NULL;

    if (last && last->page + last->count > run->page)
        return hf_fail(EUCLEAN,
                       "inode %" PRIu64 ": extents at pages %" PRIu64 " and %" PRIu64 " overlap",
                       ino, last->page, run->page);
    out->runs[out->count++] = *run;
    return 0;
}

/* The cursor is at the inode's own record. */
static int read_runs(struct meta_txn *txn, uint64_t ino, struct meta_file *out)
{
    struct meta_extent run;
    MDB_val found, value;
    int rc;

    out->count = 0;
    while ((rc = meta_step(txn, MDB_NEXT, &found, &value)) == 0 && is_of_inode(&found, ino)) {
        if (!meta_key_is_part(&found, ino, META_EXTENT) || out->count == META_FILE_RUNS) {
            out->more = true;
            return 0;
        }
        rc = meta_extent_decode(txn->meta->limit_blocks, &found, &value, &run);
        rc = rc ? rc : add_file_run(out, ino, &run);
        if (rc)
            return rc;
    }
    return rc == -ENOENT ? 0 : rc;
}

int meta_file_get(struct meta_txn *txn, uint64_t ino, struct meta_file *out)
{
    int rc = meta_inode_get(txn, ino, &out->inode);

    out->more = false;
    return rc ? rc : read_runs(txn, ino, out);
}

int meta_file_put(struct meta_txn *txn, uint64_t ino, const struct meta_file *file)
{
    int rc = meta_inode_put(txn, ino, &file->inode);

    for (size_t i = 0, n; rc == 0 && i < file->count; i += n) {
        struct meta_extent run = file->runs[i];

        for (n = 1; i + n < file->count && meta_extent_continues(&run, &file->runs[i + n]); n++)
            run.count += file->runs[i + n].count;
        rc = meta_extent_store(txn, ino, &run);
    }
    return rc;
}
