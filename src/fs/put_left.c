/* SPDX-License-Identifier: MIT */
/*
 * Owns the end of puts that nobody will commit, and the records of those for a device: put.c has
 * the argument. Any process may free them at any time. A death in the transaction, or before the
 * bitmap has changed, leaves the hold, and with it the block, for the next one.
 */
#include "fs/put_left.h"

#include "base/lab.h"

#include <errno.h>

struct left {
    uint32_t holds[SHM_RESERVED];
    struct fs_reservation blocks; /* held by them */
};

/* Among the detached runs, of an inode that no file has. */
static struct meta_detached put_record(const struct fs_reserved_run *run, uint64_t page)
{
    return (struct meta_detached){run->block, run->count, 0, page, false};
}

int fs_put_record(struct fs_txn *txn, const struct fs_reserved_run *run, uint64_t page)
{
    struct meta_detached record = put_record(run, page);

    txn->detached += (int64_t)record.count;
    return meta_detached_put(txn->meta, &record);
}

int fs_put_unrecord(struct fs_txn *txn, const struct fs_reserved_run *run, uint64_t page)
{
    struct meta_detached record = put_record(run, page), found;
    int rc = meta_detached_get(txn->meta, &record, &found);

    if (rc == -ENOENT || (rc == 0 && (found.ino || found.count != record.count)))
        return 0;
    txn->detached -= (int64_t)record.count;
    return rc ? rc : meta_detached_del(txn->meta, &record);
}

/* Collects runs that no process will commit, from hold *from on, as many as fit. True: there are
 * more, from *from on. Under space_mutex. */
static bool find_left(struct fs *fs, struct left *left, uint32_t *from)
{
    struct shm *shm = fs->dax.shm;
    uint32_t i;

    shm_assert_held(&shm->run->space_mutex);
    fs_reservation_init(&left->blocks);
    left->blocks.holds = left->holds;
    for (i = *from; i < shm_holds_high(shm); i++) {
        const struct shm_hold *hold = &shm->holds[i];
        uint64_t count = hf_load_acquire(&hold->range.last) - hold->range.first + 1;

        HF_LAB_AT(HF_LAB_COMPARES);
        if (SHM_HOLD_KIND(hf_load_acquire(&hold->state)) != SHM_HOLD_PUT_LEFT)
            continue;
        *from = i;
        if (left->blocks.count == SHM_RESERVED)
            return true;
        left->holds[left->blocks.count] = i;
        left->blocks.runs[left->blocks.count++] =
            (struct fs_reserved_run){hf_load_acquire(&hold->block), count, 0};
    }
    *from = 0;
    return false;
}

/* The records of those that were for a device. */
static int remove_left_records(struct fs_txn *txn, const struct left *left)
{
    const struct shm *shm = txn->fs->dax.shm;
    int rc = 0;

    for (unsigned r = 0; r < left->blocks.count && rc == 0; r++) {
        const struct shm_hold *hold = &shm->holds[left->holds[r]];

        if (SHM_FOR_DEVICE(SHM_KEY_FLAGS(hf_load_acquire(&hold->key))))
            rc = fs_put_unrecord(txn, &left->blocks.runs[r], hf_load_acquire(&hold->range.first));
    }
    return rc;
}

/* One transaction, of a pass through the holds that has come to *from. 0: that was the last of the
 * pass. 1: there is more. */
static int sweep_some(struct fs *fs, uint32_t *from)
{
    struct fs_txn txn;
    struct left left;
    int more, rc = fs_begin_freeing(fs, &txn);

    if (rc)
        return rc;
    /* Taken back before the first look of a pass: what is left later sets it again. A process that
     * is killed from here on is found dead, which sets it too (shm_reap()). In a pass of several
     * transactions it is set again, and stays so, since others may leave a put behind *from. */
    if (*from == 0)
        hf_xchg_acq_rel(&fs->dax.shm->run->puts_left, 0u);
    more = find_left(fs, &left, from);
    if (more)
        hf_store_release(&fs->dax.shm->run->puts_left, 1u);
    rc = remove_left_records(&txn, &left);
    if (left.blocks.count)
        txn.reservation = &left.blocks; /* of which nothing is taken */
    rc = fs_txn_end(&txn, rc);
    if (rc)
        hf_store_release(&fs->dax.shm->run->puts_left, 1u);
    return rc ? rc : more;
}

/* Pass after pass, until one finds nothing that was left meanwhile. */
void fs_puts_sweep(struct fs *fs)
{
    uint32_t from = 0;
    int rc = 0;

    shm_assert_none_held();
    while (rc >= 0 && hf_load_acquire(&fs->dax.shm->run->puts_left))
        do
            rc = sweep_some(fs, &from);
        while (rc > 0);
}
