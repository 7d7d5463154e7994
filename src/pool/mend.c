/* SPDX-License-Identifier: MIT */
/*
 * Owns the mending of memory that is shorter than the super record says. A power cut can cause that
 * in a memory pool on a disk that has grown, since nothing is synced there. It could cause that in
 * a durable pool too, before grow.c synced the memory first.
 *
 * Where no file has blocks in the missing part, only zeros are lost: the memory is made longer
 * again, as if growing had been repeated. Where a file has blocks there, their bytes are gone. Only
 * a person can judge that, so the pool is refused as it is.
 *
 * It runs in the first process to attach and in fsck, which are alone with the pool.
 */
#include "pool/mend.h"

#include "base/error.h"
#include "fs/fs.h"

#include <errno.h>
#include <inttypes.h>

static int note_end(void *arg, const struct meta_run *run)
{
    uint64_t *end = arg;

    if (run->block + run->count > *end)
        *end = run->block + run->count;
    return 0;
}

/* The block after the last one that is in use. */
static int read_end(struct meta *meta, uint64_t *end)
{
    struct meta_txn *txn;
    int rc = meta_begin_read(meta, &txn);

    *end = 0;
    if (rc)
        return rc;
    rc = meta_runs_each_stored(txn, note_end, end);
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
                       "the pool's memory has %" PRIu64 " bytes, its metadata say %" PRIu64
                       ", and files have "
                       "blocks up to byte %" PRIu64 ": what they held is gone",
                       there, super->pool_bytes, end * HF_BLOCK_BYTES);
    rc = media_lengthen(dir, super->pool_bytes);
    return rc ? rc : 1;
}
