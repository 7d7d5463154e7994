/* SPDX-License-Identifier: MIT */
/*
 * Owns the mending of memory that is shorter than the super record says. A power cut leaves that of
 * a memory pool on a disk that has grown, since nothing there is synced; and left it of a durable
 * one before grow.c synced the memory first.
 *
 * No file has blocks in what is missing: then nothing is lost but zeros, and the memory is made
 * longer again, as if growing had been repeated. Some file has: its bytes are gone, which only the
 * person can judge, so the pool is refused as it is.
 *
 * For the first process to attach and for fsck, which are alone with the pool.
 */
#include "pool/mend.h"

#include "base/error.h"
#include "fs/fs.h"

#include <errno.h>

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static int file_end(struct meta_txn *txn, uint64_t ino, uint64_t *end)
{
    struct meta_extent extent;
    uint64_t page = 0;
    int rc;

    while ((rc = meta_extent_find(txn, ino, page, &extent)) == 0) {
        *end = later(*end, extent.block + extent.count);
        page = extent.page + extent.count;
    }
    return rc == -ENOENT ? 0 : rc;
}

static int detached_end(struct meta_txn *txn, uint64_t *end)
{
    struct meta_detached run;
    int rc;

    for (rc = meta_detached_from(txn, 0, &run); rc == 0;
         rc = meta_detached_after(txn, &run, &run)) {
        *end = later(*end, run.block + run.count);
    }
    return rc == -ENOENT ? 0 : rc;
}

/* The block after the last one that is in use. */
static int blocks_end(struct meta_txn *txn, uint64_t *end)
{
    struct meta_inode inode;
    uint64_t ino = 0;
    int rc;

    *end = 0;
    while ((rc = meta_inode_next(txn, &ino, &inode)) == 0) {
        if (S_ISREG(inode.mode))
            rc = file_end(txn, ino, end);
        if (rc)
            return rc;
        ino++;
    }
    return rc == -ENOENT ? detached_end(txn, end) : rc;
}

static int read_end(struct meta *meta, uint64_t *end)
{
    struct meta_txn *txn;
    int rc = meta_begin_read(meta, &txn);

    if (rc)
        return rc;
    rc = blocks_end(txn, end);
    meta_end_read(txn);
    return rc;
}

int pool_mend_memory(struct meta *meta, const char *dir, const struct meta_super *super)
{
    uint64_t there, end;
    int rc = media_file_bytes(dir, &there);

    if (rc || there >= super->pool_bytes || super->pool_bytes > super->limit_bytes)
        return rc;
    rc = read_end(meta, &end);
    if (rc)
        return rc;
    if (end > there / HF_BLOCK_BYTES)
        return hf_fail(EUCLEAN,
                       "the pool's memory has %llu bytes, its metadata say %llu, and files have "
                       "blocks up to byte %llu: what they held is gone",
                       (unsigned long long)there, (unsigned long long)super->pool_bytes,
                       (unsigned long long)end * HF_BLOCK_BYTES);
    rc = media_lengthen(dir, super->pool_bytes);
    return rc ? rc : 1;
}
