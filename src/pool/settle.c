/* SPDX-License-Identifier: MIT */
/*
 * Owns what the first process to attach does to the records, while it is alone with the pool. It
 * checks LMDB's file, and brings the records up to what the last segment knew. It frees blocks that
 * no process can hold any more.
 *
 * Bringing up to date: sizes and times that are newer than LMDB's are adopted from POOL/recent
 * (src/shm/recent.c). Where there was no room for that file, they come from the old segment of this
 * boot, before it is replaced. A file whose owner died in a transaction has the size that the
 * transaction gave it, if its version says that it committed. Detached runs have no holders any
 * more, and orphans no openers: both records go, so their blocks are free when the bitmap is built.
 * But a device may still be writing for a dead process. Then the records stay until its quarantine
 * has ended, and blocks that leave a file meanwhile join them (see ghost_key).
 *
 * A first process that only reads leaves records as they are: their blocks count as taken. Only
 * sizes that must be adopted are written, since replacing the segment would lose acknowledged
 * writes. In the same way, a file system replays its journal for a read-only mount.
 */
#include "pool/settle.h"

#include "base/error.h"
#include "base/futex.h"
#include "meta/meta.h"
#include "media/media.h"

#include <holdfast/holdfast.h>

#include <errno.h>
#include <inttypes.h>

uint64_t pool_under_way(void *at, const uint8_t uuid[16])
{
    return shm_under_way(at, uuid);
}

static int in_transaction(struct meta *meta, int (*body)(struct meta_txn *txn, void *arg),
                          void *arg)
{
    struct meta_txn *txn;
    int rc = meta_begin_write(meta, &txn);

    if (rc)
        return rc;
    meta_txn_frees(txn); /* on a full file system a pool can still be opened */
    rc = body(txn, arg);
    if (rc == 0)
        return meta_commit(txn);
    meta_abort(txn);
    return rc;
}

/* Where sizes and times are adopted from. */
struct adoption {
    struct shm_attach *at;
    const struct meta_super *super;
    struct shm_recent_map recent; /* not mapped: from the segment */
    struct meta_txn *txn;
    struct media media; /* open where `private` is not null */
    bool nothing;
};

/* The memory is mapped for the first block that is asked for. */
static int memory_of(struct adoption *from, uint64_t block, char **out)
{
    const struct meta_super *super = from->super;
    int rc = 0;

    if (block >= super->pool_bytes / HF_BLOCK_BYTES)
        return hf_fail(EUCLEAN, "block %" PRIu64 " is outside the pool", block);
    if (!from->media.private)
        rc = media_open(from->at->pool_dir, super->pool_bytes, super->limit_bytes, &from->media);
    *out = rc ? NULL : from->media.base + block * HF_BLOCK_BYTES;
    return rc;
}

/* The larger size shows more bytes in the block of the recorded one. These are on the medium before
 * the size is, as in fs/vnode.c. Otherwise a power cut could leave a file with bytes that it had
 * there before it was cut short. */
static int persist_old_tail(struct adoption *from, uint64_t ino, uint64_t recorded, uint64_t size)
{
    uint64_t page = recorded / HF_BLOCK_BYTES, end = (page + 1) * HF_BLOCK_BYTES;
    struct meta_extent extent;
    char *block = NULL;
    int rc;

    if (!(from->super->flags & HF_POOL_DURABLE) || recorded % HF_BLOCK_BYTES == 0 ||
        size <= recorded)
        return 0;
    rc = meta_extent_find(from->txn, ino, page, &extent);
    if (rc || extent.page > page)
        return rc == -ENOENT ? 0 : rc;
    rc = memory_of(from, extent.block + (page - extent.page), &block);
    end = size < end ? size : end;
    return rc ? rc : media_persist(&from->media, block + recorded % HF_BLOCK_BYTES, end - recorded);
}

static int adopt_file(void *arg, const struct shm_adopted *file)
{
    struct adoption *from = arg;
    struct meta_inode inode;
    uint64_t size = file->size;
    int rc = meta_inode_get(from->txn, file->ino, &inode);

    if (rc || !S_ISREG(inode.mode))
        return rc == -ENOENT ? 0 : rc;
    if (file->pending_version && inode.version >= file->pending_version)
        size = file->pending_size;
    if (size > HF_FILE_BYTES_MAX)
        return hf_fail(EUCLEAN, "the run segment gives inode %" PRIu64 " a senseless size",
                       file->ino);
    rc = persist_old_tail(from, file->ino, inode.size, size);
    if (rc)
        return rc;
    inode.size = size;
    inode.atime_ns = file->atime_ns;
    inode.mtime_ns = file->mtime_ns;
    if (file->ctime_ns > inode.ctime_ns)
        inode.ctime_ns = file->ctime_ns;
    return meta_inode_put(from->txn, file->ino, &inode);
}

/* 1: the entry is newer than the record, which is in *inode. */
static int is_ahead(struct meta_txn *txn, const struct shm_recent *entry, struct meta_inode *inode)
{
    int rc = meta_inode_get(txn, entry->ino, inode);

    if (rc)
        return rc == -ENOENT ? 0 : rc;
    if (!S_ISREG(inode->mode) || inode->version != entry->version ||
        entry->size > HF_FILE_BYTES_MAX)
        return 0;
    return inode->size != entry->size || inode->atime_ns != entry->atime_ns ||
           inode->mtime_ns != entry->mtime_ns || inode->ctime_ns < entry->ctime_ns;
}

static int any_ahead(void *arg, const struct shm_recent *entry)
{
    struct meta_inode inode;

    return is_ahead(arg, entry, &inode);
}

/* The version is raised, so that the entry counts once. */
static int adopt_entry(void *arg, const struct shm_recent *entry)
{
    struct adoption *from = arg;
    struct meta_inode inode;
    int rc = is_ahead(from->txn, entry, &inode);

    if (rc <= 0)
        return rc;
    rc = persist_old_tail(from, entry->ino, inode.size, entry->size);
    if (rc)
        return rc;
    inode.size = entry->size;
    inode.atime_ns = entry->atime_ns;
    inode.mtime_ns = entry->mtime_ns;
    if (entry->ctime_ns > inode.ctime_ns)
        inode.ctime_ns = entry->ctime_ns;
    inode.version++;
    return meta_inode_put(from->txn, entry->ino, &inode);
}

static int adopt_all(struct meta_txn *txn, void *arg)
{
    struct adoption *from = arg;

    if (from->nothing)
        return 0;
    from->txn = txn;
    if (from->recent.header)
        return shm_recent_each(&from->recent, adopt_entry, from);
    return shm_adopt(from->at, from->super->uuid, adopt_file, from);
}

static int open_adoption(struct adoption *from)
{
    const struct meta_super *super = from->super;
    int rc = shm_recent_map(from->at->pool_dir, super->uuid, super->max_files, &from->recent);

    if (rc == -ENOENT || rc == -EUCLEAN)
        return 0;
    if (rc)
        return hf_fail_errno(-rc, "%s/recent", from->at->pool_dir);
    from->nothing = super->flags & HF_POOL_DURABLE && !shm_recent_same_start(&from->recent);
    return 0;
}

/* Without the segment nobody knows what devices were about: as if all of them had just begun. */
static uint64_t ghosts_of(const struct adoption *from)
{
    uint64_t quarantine = from->super->quarantine_ns;
    bool known;
    uint64_t ends = shm_ghosts(from->at, from->super->uuid, &known);

    if (known || !from->recent.header || !hf_load_acquire(&from->recent.header->in_use))
        return ends;
    return hf_now_ns() + (quarantine ? quarantine : POOL_QUARANTINE_NS);
}

/* Free blocks are found when the bitmap is built. */
static int ignore_owners(void *arg, const struct meta_owners *before,
                         const struct meta_owners *after)
{
    (void)arg, (void)before, (void)after;
    return 0;
}

static int remove_detached(struct meta_txn *txn, void *arg)
{
    struct meta_detached run;
    int rc;

    (void)arg;
    while ((rc = meta_detached_from(txn, 0, &run)) == 0) {
        rc = meta_detached_del(txn, &run);
        if (rc == 0 && run.shared)
            rc = meta_owners_change(txn, run.block, run.count, 0, -1, ignore_owners, NULL);
        if (rc)
            return rc;
    }
    return rc == -ENOENT ? 0 : rc;
}

static int extent_goes(void *arg, const struct meta_extent *run)
{
    struct meta_txn *txn = arg;

    return run->shared ? meta_owners_change(txn, run->block, run->count, -1, 0, ignore_owners, NULL)
                       : 0;
}

static int has_entries(struct meta_txn *txn, uint64_t dir)
{
    struct meta_dirent entry;
    int rc = meta_dirent_next(txn, dir, "", &entry);

    return rc == -ENOENT ? 0 : rc ? rc : 1;
}

/* The first orphan from *arg on, which moves on; -ENOENT: there is none. An inode that has names,
 * or does not exist, is not one. A directory with something in it was never unlinked. It stays as
 * it is for fsck, since without it all that is below would be out of reach. */
static int delete_orphan(struct meta_txn *txn, void *arg)
{
    struct meta_inode inode;
    struct meta_super super;
    uint64_t *ino = arg;
    int rc = meta_orphan_next(txn, ino);

    if (rc)
        return rc;
    rc = meta_inode_get(txn, *ino, &inode);
    if (rc == -ENOENT || (rc == 0 && inode.nlink))
        return meta_orphan_del(txn, *ino);
    if (rc == 0 && S_ISDIR(inode.mode))
        rc = has_entries(txn, *ino);
    if (rc)
        return rc < 0 ? rc : 0;
    rc = meta_orphan_del(txn, *ino);
    rc = rc ? rc : meta_extent_remove(txn, *ino, 0, UINT64_MAX, extent_goes, txn);
    rc = rc ? rc : meta_inode_del(txn, *ino);
    rc = rc ? rc : meta_super_get(txn, &super);
    if (rc)
        return rc;
    super.inodes -= super.inodes ? 1 : 0;
    return meta_super_put(txn, &super);
}

/* One step of the first change from inode *arg on that a dead process has not finished. -ENOENT:
 * there is none. */
static int take_intent_step(struct meta_txn *txn, void *arg)
{
    struct meta_intent intent;
    struct meta_inode inode;
    uint64_t *ino = arg;
    int rc = meta_intent_next(txn, *ino, &intent);

    if (rc)
        return rc;
    *ino = intent.ino;
    rc = meta_inode_get(txn, *ino, &inode);
    if (rc)
        return rc == -ENOENT ? hf_fail(EUCLEAN,
                                       "inode %" PRIu64 " has an intent and is not there: "
                                       "run holdfast fsck",
                                       *ino)
                             : rc;
    rc = meta_intent_step(txn, *ino, META_STEP_EXTENTS, &inode, extent_goes, txn);
    inode.version++;
    return rc < 0 ? rc : meta_inode_put(txn, *ino, &inode);
}

/* With ghosts nothing that a device may still write to becomes free. What an intent frees was held
 * by none. */
static int bring_up_to_date(struct meta *meta, struct adoption *from, bool ghosts)
{
    uint64_t first = 0;
    int rc = in_transaction(meta, adopt_all, from);

    while (rc == 0)
        rc = in_transaction(meta, take_intent_step, &first);
    rc = rc == -ENOENT ? 0 : rc;

    if (ghosts)
        return rc;
    rc = rc ? rc : in_transaction(meta, remove_detached, NULL);
    for (uint64_t ino = 0; rc == 0 && ino < META_INO_END; ino++)
        rc = in_transaction(meta, delete_orphan, &ino);
    return rc == -ENOENT ? 0 : rc;
}

static int any_file(void *arg, const struct shm_adopted *file)
{
    (void)arg, (void)file;
    return 1;
}

/* 1: there is something to adopt. */
static int any_to_adopt(struct meta *meta, const struct adoption *from)
{
    struct meta_txn *txn;
    int rc;

    if (from->nothing)
        return 0;
    if (!from->recent.header)
        return shm_adopt(from->at, from->super->uuid, any_file, NULL);
    rc = meta_begin_read(meta, &txn);
    if (rc)
        return rc;
    rc = shm_recent_each(&from->recent, any_ahead, txn);
    meta_end_read(txn);
    return rc;
}

static int settle_records(const char *dir, struct meta **meta, struct adoption *from, bool readonly,
                          uint64_t *ghosts)
{
    int rc = open_adoption(from);

    if (rc == 0 && readonly && (rc = any_to_adopt(*meta, from)) == 1) {
        meta_close(*meta);
        *meta = NULL;
        rc = meta_open(dir, false, meta);
        readonly = false;
    }
    if (rc == 0)
        *ghosts = ghosts_of(from);
    if (rc == 0 && !readonly)
        rc = bring_up_to_date(*meta, from, *ghosts);
    shm_recent_unmap(&from->recent);
    if (from->media.private)
        media_close(&from->media);
    return rc;
}

int pool_settle_records(const char *dir, struct shm_attach *at, bool readonly, uint64_t *ghosts)
{
    struct meta_super super;
    struct adoption from = {.at = at, .super = &super};
    struct meta *meta;
    int rc = meta_settle(dir, pool_under_way, at);

    rc = rc ? rc : meta_reset_lock(dir);
    rc = rc ? rc : meta_open(dir, readonly, &meta);
    if (rc)
        return rc;
    rc = meta_super_read(meta, &super);
    rc = rc ? rc : settle_records(dir, &meta, &from, readonly, ghosts);
    if (meta)
        meta_close(meta);
    return rc;
}
