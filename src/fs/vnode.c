/* SPDX-License-Identifier: MIT */
/*
 * Owns what a vnode says of its file: loading size and times, recording them, and transactions that
 * change them together with the extents.
 *
 * Recording and being killed: before LMDB commits, pending_version and pending_size say what it is
 * about to know. A process that finds us dead compares the version (dax_lock_any(), and
 * pool/settle.c). `dirty` is only cleared after pending_version is set. So at every instant one of
 * the two says that the segment knows better, or LMDB knows everything. That is for processes that
 * go on. For a process that attaches after all are dead, POOL/recent says the same (shm/recent.c).
 *
 * A recorded size never shows bytes that are not on the medium. In a durable pool, bytes may have
 * been written past the recorded end of file, in a block that the file has already. They are
 * persisted before the transaction that records a larger size.
 *
 * Opening and deleting: an opener marks the vnode as its own first and looks for the inode
 * afterwards, under the layout mutex. A deleter looks at the marks under the layout mutex and
 * commits before it drops the mutex. So either the deleter sees the opener, or the opener sees that
 * the inode is gone.
 *
 * A file without names can be opened by its number while it is open somewhere. Its deletion may
 * have to wait after the last close. So that no opener comes in between, `orphan` becomes
 * SHM_ORPHAN_CLOSED, under the layout mutex, once a process finds that it alone has marked the
 * vnode. Two openers that come while a deleter looks see each other's marks and may stay: they came
 * before the last close was over.
 *
 * Steps that a change has left (meta/intent.c). The change takes them itself, before its gate
 * opens. When its process has died, or a step has failed, the next transaction on the file takes
 * them first. Where none comes, a sweep does (reclaim.c), or the first process to attach
 * (pool/settle.c). A step is right whichever process takes it. It changes nothing that a look at
 * the file shows, so it needs no gate, and entries of the page table stay true. It frees blocks
 * that no pin holds. The change has found the pins before it committed, and has detached what they
 * held in that transaction. No page leads to these blocks any more. The steps of a file take turns
 * under its layout mutex.
 */
#include "fs/vnode.h"

#include "base/error.h"
#include "base/fence.h"
#include "base/futex.h"
#include "fs/orphan.h"

#include <errno.h>
#include <inttypes.h>
#include <time.h>

#define PAUSE_NS 100000 /* as long as the wake of a thread that waits for a mutex may take */

static void store_times(struct shm_vnode *vnode, const struct meta_inode *inode)
{
    /* relaxed: each is a value of its own */
    hf_store_relaxed(&vnode->atime_ns, inode->atime_ns);
    hf_store_relaxed(&vnode->mtime_ns, inode->mtime_ns);
    hf_store_relaxed(&vnode->ctime_ns, inode->ctime_ns);
}

/* ctime also moves without the vnode (chmod, link), and only forward. */
static void load_times(const struct shm_vnode *vnode, struct meta_inode *inode)
{
    /* relaxed: each is a value of its own */
    int64_t ctime_ns = hf_load_relaxed(&vnode->ctime_ns);

    inode->atime_ns = hf_load_relaxed(&vnode->atime_ns);
    inode->mtime_ns = hf_load_relaxed(&vnode->mtime_ns);
    if (ctime_ns > inode->ctime_ns)
        inode->ctime_ns = ctime_ns;
}

void fs_vnode_know(const struct shm_vnode *vnode, struct meta_inode *inode)
{
    shm_assert_held(&vnode->mutex);
    if (vnode->state != SHM_VNODE_READY)
        return;
    load_times(vnode, inode);
    inode->size = vnode->size;
}

/* ---- opening and closing ---- */

int fs_read_inode(struct fs *fs, uint64_t ino, struct meta_inode *inode)
{
    struct meta_txn *txn;
    int rc = meta_begin_read(fs->dax.meta, &txn);

    if (rc)
        return rc;
    rc = meta_inode_get(txn, ino, inode);
    meta_end_read(txn);
    return rc;
}

/* Under the layout mutex. A value of `orphan` is stored under it too, after the transaction that it
 * tells of. So a record with names, read under the mutex, is newer. */
static void note_orphan(const struct fs *fs, struct shm_vnode *vnode, bool has_names)
{
    uint32_t before = hf_load_acquire(&vnode->orphan), now = before;

    shm_assert_held(&vnode->mutex);
    if (has_names)
        now = SHM_ORPHAN_NOT;
    else if (fs_vnode_only_mine(fs, vnode))
        now = SHM_ORPHAN_CLOSED;
    else if (!before)
        now = SHM_ORPHAN_OPEN;
    if (now != before)
        hf_store_release(&vnode->orphan, now);
}

static void load(const struct fs *fs, struct shm_vnode *vnode, const struct meta_inode *inode)
{
    shm_assert_held(&vnode->mutex);
    if (vnode->state != SHM_VNODE_NEW)
        return;
    store_times(vnode, inode);
    hf_store_release(&vnode->size, inode->size);
    shm_recent_put(fs->dax.shm, vnode, inode->size, inode->version);
    hf_store_release(&vnode->state, (uint32_t)SHM_VNODE_READY);
}

static int load_vnode(struct fs *fs, struct shm_vnode *vnode, bool to_delete)
{
    struct meta_inode inode;
    int rc = dax_lock_any(&fs->dax, vnode);

    if (rc)
        return rc;
    rc = fs_read_inode(fs, vnode->ino, &inode);
    if (rc == -ENOENT) /* its deleter may have died before it could say so */
        hf_store_release(&vnode->orphan, 0u);
    if (rc == 0 && !S_ISREG(inode.mode))
        rc = hf_fail(EUCLEAN, "inode %" PRIu64 " is not a file", vnode->ino);
    if (rc == 0) {
        load(fs, vnode, &inode);
        note_orphan(fs, vnode, inode.nlink);
        if (hf_load_acquire(&vnode->orphan) == SHM_ORPHAN_CLOSED && !to_delete)
            rc = -ENOENT;
    }
    dax_unlock(&fs->dax, vnode);
    return rc;
}

/* `to_delete`: for a deletion, which must not begin another one. */
static void close_vnode(struct fs *fs, struct shm_vnode *vnode, bool to_delete)
{
    uint64_t ino = vnode->ino;
    bool empty = hf_load_acquire(&vnode->state) != SHM_VNODE_READY;

    if (!shm_vnode_put(fs->dax.shm, vnode))
        return;
    /* Read after the put: a process that unlinked it meanwhile was not the last. If the vnode is
     * another file's by now, the look is wasted: fs_orphan_delete() goes by the inode. */
    if (hf_load_acquire(&vnode->orphan) && !to_delete)
        fs_orphan_delete(fs, ino);
    else if (empty)
        dax_shrink_vnode(&fs->dax, vnode);
}

void fs_vnode_close(struct fs *fs, struct shm_vnode *vnode)
{
    shm_assert_none_held();
    if (!fs->dax.readonly && hf_load_acquire(&vnode->dirty))
        fs_vnode_sync(fs, vnode);
    close_vnode(fs, vnode, false);
}

/* A deletion of a file without names may have come from fs_reap(), or from a vnode that was
 * closed there. So it makes room only where that deletes nothing in turn: else each deletion would
 * begin another until the stack ends. Without room the orphan is left to the next sweep. */
static void make_vnode_room(struct fs *fs, bool to_delete)
{
    if (!to_delete) {
        fs_reap(fs);
        if (!fs->dax.readonly)
            fs_sync_all(fs);
    }
    dax_shrink(&fs->dax);
}

/* All entries are taken, or those that are not have no memory on a full file system. */
static bool takes_room(int rc)
{
    return rc == -ENFILE || rc == -ENOSPC;
}

/* The second try is for vnodes with a mutex in which a process has died. Shrinking is the first to
 * lock such a vnode, and leaves it dirty: its size and times have to be recorded before it can
 * go. */
static int get_vnode(struct fs *fs, uint64_t ino, bool to_delete, struct shm_vnode **out)
{
    int rc = shm_vnode_get(fs->dax.shm, ino, out);

    for (int tries = 0; takes_room(rc) && tries < 2; tries++) {
        make_vnode_room(fs, to_delete);
        rc = shm_vnode_get(fs->dax.shm, ino, out);
    }
    return rc;
}

static int open_vnode(struct fs *fs, uint64_t ino, bool to_delete, struct shm_vnode **out)
{
    struct shm_vnode *vnode;
    int rc;

    HF_LAB_AT(HF_LAB_OPENS);
    rc = get_vnode(fs, ino, to_delete, &vnode);
    if (rc)
        return rc;
    rc = load_vnode(fs, vnode, to_delete);
    if (rc == 0)
        *out = vnode;
    else
        close_vnode(fs, vnode, to_delete);
    return rc;
}

int fs_vnode_open(struct fs *fs, uint64_t ino, struct shm_vnode **out)
{
    shm_assert_none_held();
    return open_vnode(fs, ino, false, out);
}

int fs_vnode_open_orphan(struct fs *fs, uint64_t ino, struct shm_vnode **out)
{
    shm_assert_none_held();
    return open_vnode(fs, ino, true, out);
}

/* Everywhere else a vnode's mutex is taken before space_mutex. Taking it after that here closes no
 * cycle. Before the commit nobody can find the inode, so no thread waits for space_mutex while it
 * has this mutex. */
int fs_vnode_new(struct fs *fs, uint64_t ino, struct shm_vnode **out)
{
    struct shm_vnode *vnode;
    int rc = shm_vnode_get(fs->dax.shm, ino, &vnode);

    if (rc)
        return rc;
    rc = dax_lock_any(&fs->dax, vnode);
    if (rc)
        shm_vnode_put(fs->dax.shm, vnode);
    else
        *out = vnode;
    return rc;
}

void fs_vnode_made(struct fs *fs, struct shm_vnode *vnode, const struct meta_inode *inode,
                   enum shm_orphan orphan)
{
    if (inode) {
        load(fs, vnode, inode);
        hf_store_release(&vnode->orphan, (uint32_t)orphan);
    }
    dax_unlock(&fs->dax, vnode);
    if (!inode)
        close_vnode(fs, vnode, false);
}

void fs_vnode_make_room(struct fs *fs)
{
    shm_assert_none_held();
    make_vnode_room(fs, false);
}

bool fs_vnode_only_mine(const struct fs *fs, const struct shm_vnode *vnode)
{
    const struct shm *shm = fs->dax.shm;
    uint32_t index = shm_vnode_number(shm, vnode);
    const uint64_t *bits = shm->open + (uint64_t)index * shm->open_words;

    for (uint32_t i = 0; i < shm->open_words; i++) {
        uint64_t own = i == shm->self / 64 ? UINT64_C(1) << shm->self % 64 : 0;

        if (hf_load_acquire(&bits[i]) & ~own)
            return false;
    }
    return hf_load_acquire(&shm->local_opens[index]) == 1;
}

int fs_vnode_in_use(const struct fs *fs, uint64_t ino)
{
    struct shm_vnode *vnode;
    int rc;

    HF_LAB_AT(HF_LAB_OVERLAYS);
    rc = shm_vnode_find(fs->dax.shm, ino, &vnode);
    if (rc)
        return rc;
    return vnode && shm_vnode_is_open(fs->dax.shm, vnode) &&
           hf_load_acquire(&vnode->orphan) != SHM_ORPHAN_CLOSED &&
           hf_load_acquire(&vnode->ino) == ino;
}

/* ---- transactions ---- */

/* Persists, of the block in which the recorded size lies, the bytes that the new size will show.
 * Blocks after it were persisted, as zeros or content, before the file got them. Without this, a
 * power cut may leave in this block what the file had there before it was cut short. */
static int persist_tail(struct fs *fs, struct fs_txn *txn, const struct shm_vnode *vnode,
                        const struct meta_inode *recorded)
{
    uint64_t from = recorded->size, page = from / HF_BLOCK_BYTES;
    uint64_t end = (page + 1) * HF_BLOCK_BYTES;
    struct meta_extent extent;
    char *block;
    int rc;

    if (!fs->durable || from % HF_BLOCK_BYTES == 0 || vnode->size <= from)
        return 0;
    rc = meta_extent_find(txn->meta, vnode->ino, page, &extent);
    if (rc || extent.page > page)
        return rc == -ENOENT ? 0 : rc;
    rc = fs_memory(fs, extent.block + (page - extent.page), 1, &block);
    end = vnode->size < end ? vnode->size : end;
    return rc ? rc : fs_persist(fs, block + from % HF_BLOCK_BYTES, end - from);
}

static int begin_step(struct fs *fs, const struct shm_vnode *vnode, struct fs_txn *txn,
                      struct meta_inode *inode, bool joint)
{
    int rc = dax_check_settled(vnode); /* else it would be lost with ours */

    rc = rc ? rc : joint ? fs_begin_joint(fs, txn) : fs_begin(fs, txn);
    if (rc)
        return rc;
    rc = meta_inode_get(txn->meta, vnode->ino, inode);
    if (rc == -ENOENT)
        rc = hf_fail(EUCLEAN, "inode %" PRIu64 " is open but not there", vnode->ino);
    rc = rc ? rc : persist_tail(fs, txn, vnode, inode);
    if (rc) {
        fs_abort(txn);
        return rc;
    }
    fs_vnode_know(vnode, inode);
    return 0;
}

/* Says what LMDB is about to know. The vnode was dirty. */
static bool announce_record(struct shm_vnode *vnode, struct meta_inode *inode)
{
    inode->version++;
    hf_store_release(&vnode->pending_size, inode->size);
    hf_store_release(&vnode->pending_version, inode->version);
    return hf_xchg_acq_rel(&vnode->dirty, 0u);
}

static void recorded(const struct fs *fs, struct shm_vnode *vnode, const struct meta_inode *inode)
{
    store_times(vnode, inode);
    shm_recent_put(fs->dax.shm, vnode, inode->size, inode->version);
}

static void not_recorded(struct shm_vnode *vnode, bool dirty)
{
    if (dirty)
        hf_store_release(&vnode->dirty, 1u);
    hf_store_release(&vnode->pending_version, UINT64_C(0));
}

int fs_vnode_record(struct shm_vnode *vnode, struct fs_txn *txn, struct meta_inode *inode)
{
    bool dirty;
    int rc;

    shm_assert_held(&vnode->mutex);
    dirty = announce_record(vnode, inode);
    rc = fs_txn_end(txn, meta_inode_put(txn->meta, vnode->ino, inode));
    if (rc == 0)
        recorded(txn->fs, vnode, inode);
    else
        not_recorded(vnode, dirty);
    return rc;
}

/* A file that is not there, or has steps left, is its own thread's. */
static int vnode_work(struct fs_task *task)
{
    struct fs_vnode_task *of = (struct fs_vnode_task *)task;
    struct meta_txn *meta = of->txn->meta;
    struct meta_intent intent;
    int rc;

    if (meta_inode_get(meta, of->vnode->ino, of->inode) ||
        meta_intent_get(meta, of->vnode->ino, &intent) != -ENOENT)
        return FS_ALONE;
    fs_vnode_know(of->vnode, of->inode);
    rc = of->steps(of);
    if (rc)
        return rc;
    of->dirty = announce_record(of->vnode, of->inode);
    of->made = true;
    return meta_inode_put(meta, of->vnode->ino, of->inode);
}

int fs_vnode_task(struct fs *fs, struct fs_vnode_task *of)
{
    int rc;

    shm_assert_held(&of->vnode->mutex);
    if (dax_check_settled(of->vnode))
        return FS_ALONE;
    of->task.work = vnode_work;
    of->task.txn = of->txn;
    of->task.mutex = &of->vnode->mutex;
    of->made = false;
    fs_txn_prepare(fs, of->txn);
    rc = fs_task(fs, &of->task);
    if (rc == 0)
        recorded(fs, of->vnode, of->inode);
    else if (of->made)
        not_recorded(of->vnode, of->dirty);
    fs_txn_forget(of->txn);
    return rc;
}

/* It is recorded. */
static void publish_size(struct shm_vnode *vnode, uint64_t size)
{
    shm_assert_held(&vnode->mutex);
    /* SIZE.PUB/m: what the new bytes hold is there before they can be reached. */
    hf_store_release(&vnode->size, size);
    hf_store_release(&vnode->pending_version, UINT64_C(0));
}

void fs_vnode_task_done(const struct fs_vnode_task *task)
{
    publish_size(task->vnode, task->inode->size);
}

int fs_vnode_commit(struct shm_vnode *vnode, struct fs_txn *txn, struct meta_inode *inode)
{
    int rc = fs_vnode_record(vnode, txn, inode);

    if (rc == 0)
        publish_size(vnode, inode->size);
    return rc;
}

/* ---- steps ---- */

/* A thread that unlocks a mutex and locks it again is faster than the one that it wakes. */
void fs_steps_pause(void)
{
    const struct timespec pause = {.tv_nsec = PAUSE_NS};

    HF_LAB_AT(HF_LAB_DELETES);
    nanosleep(&pause, NULL);
}

static int free_in_step(void *arg, const struct meta_extent *run)
{
    return fs_txn_free(arg, run);
}

/* 1: there are more. */
static int take_file_step(struct fs *fs, struct shm_vnode *vnode)
{
    struct meta_inode inode;
    struct fs_txn txn;
    int more, rc = begin_step(fs, vnode, &txn, &inode, true);

    if (rc)
        return rc;
    meta_txn_frees(txn.meta);
    more = meta_intent_step(txn.meta, vnode->ino, META_STEP_EXTENTS, &inode, free_in_step, &txn);
    if (more < 0) {
        fs_abort(&txn);
        return more == -ENOENT ? 0 : more;
    }
    rc = fs_vnode_commit(vnode, &txn, &inode);
    return rc ? rc : more;
}

int fs_steps_finish(struct fs *fs, struct shm_vnode *vnode)
{
    int more;

    shm_assert_held(&vnode->mutex);
    while ((more = take_file_step(fs, vnode)) == 1)
        fs_steps_pause();
    return more;
}

int fs_steps_left(struct fs *fs, uint64_t ino)
{
    struct meta_intent intent;
    struct meta_txn *txn;
    int rc = meta_begin_read(fs->dax.meta, &txn);

    if (rc)
        return rc;
    rc = meta_intent_get(txn, ino, &intent);
    meta_end_read(txn);
    return rc == -ENOENT ? 0 : rc ? rc : 1;
}

int fs_steps_settle(struct fs *fs, struct shm_vnode *vnode)
{
    int rc = dax_check_settled(vnode);

    rc = rc ? rc : fs_steps_left(fs, vnode->ino);
    return rc == 1 ? fs_steps_finish(fs, vnode) : rc;
}

/* Of an earlier change of the file; their end has transactions of its own. */
static __attribute__((noinline)) int begin_after_steps(struct fs *fs, struct shm_vnode *vnode,
                                                       struct fs_txn *txn, struct meta_inode *inode,
                                                       bool joint, int rc)
{
    fs_abort(txn);
    rc = rc ? rc : fs_steps_finish(fs, vnode);
    return rc ? rc : begin_step(fs, vnode, txn, inode, joint);
}

static inline int begin_settled(struct fs *fs, struct shm_vnode *vnode, struct fs_txn *txn,
                                struct meta_inode *inode, bool joint)
{
    struct meta_intent intent;
    int rc = begin_step(fs, vnode, txn, inode, joint);

    if (rc)
        return rc;
    rc = meta_intent_get(txn->meta, vnode->ino, &intent);
    return rc == -ENOENT ? 0 : begin_after_steps(fs, vnode, txn, inode, joint, rc);
}

int fs_vnode_begin(struct fs *fs, struct shm_vnode *vnode, struct fs_txn *txn,
                   struct meta_inode *inode)
{
    shm_assert_held(&vnode->mutex);
    return begin_settled(fs, vnode, txn, inode, false);
}

int fs_vnode_begin_joint(struct fs *fs, struct shm_vnode *vnode, struct fs_txn *txn,
                         struct meta_inode *inode)
{
    shm_assert_held(&vnode->mutex);
    return begin_settled(fs, vnode, txn, inode, fs->durable);
}

static int sync_locked(struct fs *fs, struct shm_vnode *vnode)
{
    struct meta_inode inode;
    struct fs_txn txn;
    int rc;

    if (!hf_load_acquire(&vnode->dirty))
        return 0;
    rc = fs_vnode_begin_joint(fs, vnode, &txn, &inode);
    if (rc)
        return rc;
    meta_txn_frees(txn.meta); /* frees nothing, but acknowledged bytes must not wait for room */
    return fs_vnode_commit(vnode, &txn, &inode);
}

int fs_vnode_sync(struct fs *fs, struct shm_vnode *vnode)
{
    int rc = dax_lock_any(&fs->dax, vnode);

    if (rc)
        return rc;
    rc = sync_locked(fs, vnode);
    dax_unlock(&fs->dax, vnode);
    return rc;
}

/* Also when its last owner died while it recorded: then dirty is clear and nothing may have come of
 * it. */
static bool knows_better(const struct shm_vnode *vnode)
{
    return hf_load_acquire(&vnode->state) == SHM_VNODE_READY &&
           (hf_load_acquire(&vnode->pending_version) || hf_load_acquire(&vnode->dirty));
}

/* The vnode is opened meanwhile, so that it stays this inode's. */
static int sync_entry(struct fs *fs, struct shm_vnode *entry)
{
    struct shm_vnode *vnode;
    int rc;

    if (!knows_better(entry))
        return 0;
    rc = shm_vnode_get(fs->dax.shm, hf_load_acquire(&entry->ino), &vnode);
    if (rc)
        return rc == -ENFILE ? 0 : rc; /* evicted meanwhile, so recorded */
    if (hf_load_acquire(&vnode->state) == SHM_VNODE_READY)
        rc = fs_vnode_sync(fs, vnode);
    close_vnode(fs, vnode, false);
    return rc;
}

int fs_sync_all(struct fs *fs)
{
    struct shm *shm = fs->dax.shm;
    int rc = 0;

    for (uint32_t i = 0, high = shm_vnodes_high(shm); i < high; i++) {
        int one = sync_entry(fs, &shm->vnodes[i]);

        if (rc == 0)
            rc = one;
    }
    return rc;
}

bool fs_all_recorded(const struct fs *fs)
{
    const struct shm *shm = fs->dax.shm;

    for (uint32_t i = 0, high = shm_vnodes_high(shm); i < high; i++)
        if (knows_better(&shm->vnodes[i]))
            return false;
    return true;
}

/* ---- without a transaction ---- */

void fs_vnode_touch(struct fs *fs, struct shm_vnode *vnode)
{
    int64_t now = hf_wall_ns();

    /* relaxed: the release store of dirty comes after both */
    if (hf_load_relaxed(&vnode->mtime_ns) != now) {
        hf_store_relaxed(&vnode->mtime_ns, now);
        hf_store_relaxed(&vnode->ctime_ns, now);
        shm_recent_touch(fs->dax.shm, vnode, now);
    }
    if (!hf_load_acquire(&vnode->dirty))
        hf_store_release(&vnode->dirty, 1u);
}

void fs_vnode_set_size(struct fs *fs, struct shm_vnode *vnode, uint64_t size)
{
    shm_assert_held(&vnode->mutex);
    shm_recent_size(fs->dax.shm, vnode, size);
    /* SIZE.PUB/m: what the new bytes hold is there before they can be reached. */
    hf_store_release(&vnode->size, size);
    fs_vnode_touch(fs, vnode);
}

/* The size of a file with this record. When the record shows a transaction that the vnode does not
 * know, the pending size counts. The owner of that transaction is about to store it in the vnode,
 * or has died before it could. The death may not have been noticed yet. */
static uint64_t size_of(const struct shm_vnode *vnode, const struct meta_inode *recorded)
{
    uint64_t pending = hf_load_acquire(&vnode->pending_version), size;

    if (pending && recorded->version >= pending) {
        size = hf_load_acquire(&vnode->pending_size);
        if (hf_load_acquire(&vnode->pending_version) == pending) /* else it is another's size */
            return size;
    }
    return hf_load_acquire(&vnode->size);
}

/* What the vnode knows better; false: all that was read may be of another life of the vnode. */
static bool look_at_vnode(const struct shm_vnode *vnode, uint64_t ino, struct meta_inode *inode)
{
    uint32_t life = hf_load_acquire(&vnode->lives);
    bool ready;

    HF_LAB_AT(HF_LAB_OVERLAYS);
    inode->size = size_of(vnode, inode);
    load_times(vnode, inode);
    HF_LAB_AT(HF_LAB_OVERLAYS);
    ready =
        hf_load_acquire(&vnode->state) == SHM_VNODE_READY && hf_load_acquire(&vnode->ino) == ino;
    /* VNODE.LIFE/p: after all of it was read. Pairs with VNODE.LIFE/m in wipe(). Without it: the
     * vnode was evicted and is this file's again, and the size is what it was in between. */
    hf_fence_loads();
    return ready && (hf_load_acquire(&vnode->lives) == life || HF_LAB_BROKEN(HF_LAB_ANY_LIFE));
}

/* Puts what the vnode knows better into a record. 1: there is more to know: the record is another
 * one by now. A vnode that is evicted meanwhile has recorded what it knew. Then the record is read
 * again: the first one may be from before that, when only the vnode knew. */
static int overlay_once(struct fs *fs, uint64_t ino, struct meta_inode *inode)
{
    struct meta_inode seen = *inode, now;
    struct shm_vnode *vnode;
    int rc;

    HF_LAB_AT(HF_LAB_OVERLAYS);
    rc = shm_vnode_find(fs->dax.shm, ino, &vnode);
    if (rc)
        return rc;
    if (!vnode || !look_at_vnode(vnode, ino, &seen))
        return fs_read_inode(fs, ino, inode);
    if (seen.size != inode->size) { /* it may be of a later record, which counts other blocks */
        rc = fs_read_inode(fs, ino, &now);
        if (rc)
            return rc;
        if (now.version != inode->version) {
            *inode = now;
            return 1;
        }
    }
    *inode = seen;
    return 0;
}

int fs_vnode_overlay(struct fs *fs, uint64_t ino, struct meta_inode *inode)
{
    int rc;

    do
        rc = overlay_once(fs, ino, inode);
    while (rc == 1);
    return rc;
}

/* ---- extents ---- */

int fs_extent_or_goal(struct fs *fs, uint64_t ino, uint64_t page, struct meta_extent *out,
                      uint64_t *goal)
{
    struct meta_extent before;
    struct meta_txn *txn;
    int rc = meta_begin_read(fs->dax.meta, &txn);

    *goal = SPACE_NO_GOAL;
    if (rc)
        return rc;
    rc = meta_extent_around(txn, ino, page, &before, out);
    meta_end_read(txn);
    if (rc)
        return rc;
    if (before.count && before.page + before.count == page)
        *goal = before.block + before.count;
    return out->count && out->page <= page;
}

int fs_extent_at(struct fs *fs, uint64_t ino, uint64_t page, struct meta_extent *out)
{
    uint64_t goal;

    return fs_extent_or_goal(fs, ino, page, out, &goal);
}

uint64_t fs_goal(struct fs *fs, uint64_t ino, uint64_t page)
{
    struct meta_extent at;
    uint64_t goal = SPACE_NO_GOAL;

    if (page)
        (void)fs_extent_or_goal(fs, ino, page, &at, &goal);
    return goal;
}
