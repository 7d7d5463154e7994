/* SPDX-License-Identifier: MIT */
/*
 * Owns putting in place: blocks that a caller fills, or has a device fill, before any file has
 * them. Such memory is not zeroed, so it holds what other files have left there. Nobody but the
 * caller may come to see that. The argument is where a block stands at each moment:
 *
 *   reserved    In the caller's lane, as every reservation. Its process dies: swept (space.c).
 *   put         In a hold of kind SHM_HOLD_PUT, one a run, chained. No extent names the block, so
 *               no read, pin or mount reaches it through any file, however that is truncated, grown
 *               or cloned. No hold of this kind is in a file's tree, so no layout change waits for
 *               it. Its process dies: the reaper makes it `left`, after the quarantine if a device
 *               was to fill it.
 *   the file's  Commit inserts the extents and raises the size in one transaction, under the layout
 *               mutex. What the blocks hold was there before: SIZE.PUB, and persisted in a durable
 *               pool.
 *   left        SHM_HOLD_PUT_LEFT: aborted, or its process is dead. put_left.c frees it. From
 *               then on the block is one that was in use before (fresh_block is above it), so the
 *               next file to get it zeros or overwrites all of it.
 *
 * Each step from one of these to the next is made under space_mutex, except the step to `left`.
 * That is one swap of the hold's state. A process that is killed in a step leaves the mutex with a
 * dead owner. The next one makes the bitmap again (mark_puts() in bitmap.c). A block that an extent
 * names is the file's, and its hold goes; every other hold keeps its block. So a block has one
 * owner after each instruction.
 *
 * A device may go on writing when all processes are dead, and the run segment may be gone too. So a
 * put for a device also has records among the detached runs, of inode 0, which no file has. The
 * next first process keeps them as long as the quarantine lasts (pool/settle.c). Commit deletes
 * them in the transaction that inserts the extents. Inode 0 keeps them apart from what a pin has
 * held. So a reclaim that is done twice, because of a death, finds no record of its own there.
 *
 * While the segment is there, the hold decides. Its record comes with it or a moment later, and
 * goes before it.
 */
#include "fs/put.h"
#include "fs/put_left.h"

#include "base/error.h"
#include "base/futex.h"
#include "fs/end.h"
#include "fs/fill.h"
#include "fs/io.h"
#include "fs/orphan.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* A put that was begun, as its holds say. */
struct put {
    uint32_t holds[SHM_RESERVED];
    struct fs_reservation blocks;
    uint64_t page, off, len;
    bool for_device;
};

/* ---- beginning ---- */

static int reaches_beyond(const struct shm_vnode *vnode, uint64_t off)
{
    return hf_fail(ESTALE,
                   "the file has %" PRIu64 " bytes: a put at %" PRIu64 " is not past its end",
                   hf_load_acquire(&vnode->size), off);
}

static int in_too_many_pieces(uint64_t count)
{
    return hf_fail(E2BIG,
                   "%" PRIu64 " KiB of free space lie in more than %u pieces: put less at a time",
                   count * (HF_BLOCK_BYTES / 1024), SHM_RESERVED);
}

/* All of them, or nothing that lasts. */
static int reserve_put(struct fs *fs, uint64_t ino, uint64_t page, uint64_t count,
                       struct fs_reservation *blocks)
{
    int rc = fs_room_for(fs, count);
    uint64_t goal = rc ? SPACE_NO_GOAL : fs_goal(fs, ino, page);

    while (rc == 0 && blocks->blocks < count) {
        rc = fs_reserve_hard(fs, page + blocks->blocks, goal, count - blocks->blocks, blocks);
        goal = SPACE_NO_GOAL;
        if (rc == -ENOSPC && blocks->count == SHM_RESERVED)
            rc = in_too_many_pieces(count);
    }
    return rc;
}

/* Where the blocks lie in memory, neighbours merged, `len` bytes together. How many pieces. */
static int put_pieces(struct fs *fs, const struct fs_reservation *blocks, uint64_t len,
                      struct iovec *iov, int room)
{
    int count = 0;

    for (unsigned r = 0; r < blocks->count && len; r++) {
        uint64_t bytes = fs_min(blocks->runs[r].count * HF_BLOCK_BYTES, len);
        char *at;
        int rc = fs_memory(fs, blocks->runs[r].block, blocks->runs[r].count, &at);

        if (rc)
            return rc;
        if (count == room)
            return hf_fail(E2BIG, "the blocks lie in up to %u pieces, and there are %d iovecs",
                           blocks->count, room);
        fs_map_around(fs, at, bytes);
        iov[count++] = (struct iovec){at, bytes};
        len -= bytes;
    }
    return count;
}

/* -ENOLCK: none is taken then. */
static int take_holds(struct shm *shm, unsigned count, uint32_t holds[SHM_RESERVED])
{
    for (unsigned r = 0; r < count; r++) {
        holds[r] = shm_hold_alloc(shm);
        if (holds[r] != SHM_NONE)
            continue;
        while (r)
            shm_hold_free(shm, holds[--r]);
        return shm_no_hold(shm);
    }
    return 0;
}

static void free_holds(struct shm *shm, unsigned count, const uint32_t holds[SHM_RESERVED])
{
    for (unsigned r = 0; r < count; r++)
        shm_hold_free(shm, holds[r]);
}

/* What one hold of a put says: everything but the state, which makes it count. */
static void fill_hold(struct shm *shm, const struct shm_vnode *vnode, const struct put *put,
                      unsigned r, uint64_t page, uint32_t flags)
{
    const struct fs_reserved_run *run = &put->blocks.runs[r];
    struct shm_hold *hold = &shm->holds[put->holds[r]], *first = &shm->holds[put->holds[0]];
    struct shm_lane *lane = put->blocks.lane;
    uint32_t number = shm_vnode_number(shm, vnode);
    uint64_t key = shm_hold_next_key(shm, hold, flags, number);

    hold->range = (struct shm_range){page, page + run->count - 1, lane->who | flags};
    hf_store_release(&hold->vnode, number); /* dax/notify.c looks before it locks */
    hold->lane = shm_lane_index(shm, lane);
    hold->since_ns = hf_now_ns();
    hold->off = put->off;
    hold->len = put->len;
    hold->block = run->block;
    hold->holder = vnode->ino;
    hold->holder_key = r ? first->key : key;
    hf_store_release(&hold->link, r + 1 < put->blocks.count ? put->holds[r + 1] : SHM_NONE);
    hold->recall = (struct shm_recall){0};
    hf_store_release(&hold->key, key);
}

/* From the lane into the holds. Under space_mutex. */
static void hand_over(struct fs *fs, const struct shm_vnode *vnode, struct put *put, uint32_t flags)
{
    struct shm *shm = fs->dax.shm;
    uint64_t page = put->page;

    shm_assert_held(&shm->run->space_mutex);
    for (unsigned r = 0; r < put->blocks.count; r++) {
        fill_hold(shm, vnode, put, r, page, flags);
        page += put->blocks.runs[r].count;
        /* PUT.TOLD/m: after the key, which is another in each put. Pairs with PUT.TOLD/p in
         * describe_put(). */
        hf_store_release(&shm->holds[put->holds[r]].state,
                         SHM_HOLD_STATE(SHM_HOLD_PUT, shm->self + 1));
    }
    fs_reservation_hold(fs, &put->blocks, put->holds);
}

static int put_all_records(struct fs_txn *txn, const struct put *put)
{
    uint64_t page = put->page;
    int rc = 0;

    for (unsigned r = 0; r < put->blocks.count && rc == 0; r++) {
        rc = fs_put_record(txn, &put->blocks.runs[r], page);
        page += put->blocks.runs[r].count;
    }
    return rc;
}

/* Marks what is still this process's put as one that nobody will commit. */
static void leave_put(struct shm *shm, const uint32_t holds[SHM_RESERVED], unsigned count)
{
    uint32_t self = shm->self + 1;

    for (unsigned r = 0; r < count; r++)
        hf_cas_acq_rel(&shm->holds[holds[r]].state, SHM_HOLD_STATE(SHM_HOLD_PUT, self),
                       SHM_HOLD_STATE(SHM_HOLD_PUT_LEFT, self));
    hf_store_release(&shm->run->puts_left, 1u);
    hf_store_release(&shm->run->reclaim, 1u);
}

/* The holds come before the commit: one whose record did not come to be is swept all the same. */
static int begin_for_device(struct fs *fs, const struct shm_vnode *vnode, struct put *put,
                            uint32_t flags)
{
    struct fs_txn txn;
    int rc = fs_begin(fs, &txn);

    if (rc)
        return rc;
    rc = put_all_records(&txn, put);
    if (rc) {
        fs_abort(&txn);
        return rc;
    }
    hand_over(fs, vnode, put, flags);
    rc = fs_commit(&txn);
    if (rc)
        leave_put(fs->dax.shm, put->holds, put->blocks.count);
    return rc;
}

static int begin_put(struct fs *fs, const struct shm_vnode *vnode, struct put *put, uint32_t flags)
{
    int rc;

    if (SHM_FOR_DEVICE(flags))
        return begin_for_device(fs, vnode, put, flags);
    rc = fs_space_lock(fs);
    if (rc)
        return rc;
    hand_over(fs, vnode, put, flags);
    fs_space_unlock(fs);
    return 0;
}

static int begin_once(struct hf_file *file, const struct fs_put_wish *wish, struct hf_put *out)
{
    struct fs *fs = file->fs;
    struct shm *shm = fs->dax.shm;
    struct put put; /* its tables are not cleared: most are not used */
    uint64_t count = dax_pages_up(wish->off + wish->len) - fs_page_of(wish->off);
    int rc, pieces = 0;

    shm_assert_none_held();
    put.page = fs_page_of(wish->off);
    put.off = wish->off;
    put.len = wish->len;
    if (wish->off < dax_size(&fs->dax, file->vnode))
        return reaches_beyond(file->vnode, wish->off);
    fs_reservation_init(&put.blocks);
    rc = reserve_put(fs, file->ino, put.page, count, &put.blocks);
    if (rc == 0)
        rc = pieces = put_pieces(fs, &put.blocks, wish->len, wish->iov, wish->iovcnt);
    rc = rc < 0 ? rc : take_holds(shm, put.blocks.count, put.holds);
    if (rc == 0) {
        rc = begin_put(fs, file->vnode, &put, wish->flags);
        if (rc && !put.blocks.holds)
            free_holds(shm, put.blocks.count, put.holds);
    }
    if (rc) {
        if (!put.blocks.holds)
            fs_reservation_drop(fs, &put.blocks);
        return rc;
    }
    *out = (struct hf_put){{put.holds[0], shm->holds[put.holds[0]].key, (uint64_t)(uintptr_t)shm}};
    return pieces;
}

int fs_put_begin(struct hf_file *file, const struct fs_put_wish *wish, struct hf_put *out)
{
    int rc = begin_once(file, wish, out);

    if (rc != -ENOLCK)
        return rc;
    dax_settle_holds(&file->fs->dax);
    fs_puts_sweep(file->fs);
    return begin_once(file, wish, out);
}

/* ---- looking one up ---- */

static int not_live(void)
{
    return hf_fail(EINVAL, "the put has ended already, or is not of this pool");
}

static bool is_part(const struct shm *shm, const struct shm_hold *hold, uint64_t key)
{
    return hf_load_acquire(&hold->state) == SHM_HOLD_STATE(SHM_HOLD_PUT, shm->self + 1) &&
           hf_load_acquire(&hold->holder_key) == key;
}

/* The segment may be wrong: each run lies in the pool, and they follow each other. */
static int add_part(struct fs *fs, struct put *put, uint32_t at)
{
    const struct shm_hold *hold = &fs->dax.shm->holds[at];
    uint64_t first = hf_load_acquire(&hold->range.first), block = hf_load_acquire(&hold->block);
    uint64_t count = hf_load_acquire(&hold->range.last) - first + 1;
    char *memory;
    int rc;

    if (first != put->page + put->blocks.blocks || !count)
        return hf_fail(EUCLEAN, "the pieces of a put do not follow each other: the pool's run "
                                "segment is damaged");
    rc = fs_memory(fs, block, count, &memory);
    if (rc)
        return rc;
    put->holds[put->blocks.count] = at;
    put->blocks.runs[put->blocks.count++] = (struct fs_reserved_run){block, count, 0};
    put->blocks.blocks += count;
    return 0;
}

/* -EINVAL: it has ended. */
static int find_put(struct fs *fs, const struct hf_put *handle, struct put *put)
{
    const struct shm *shm = fs->dax.shm;
    uint64_t at = handle->hf_opaque[0], key = handle->hf_opaque[1];
    int rc = 0;

    if (handle->hf_opaque[2] != (uint64_t)(uintptr_t)shm || at >= shm->limits.holds ||
        hf_load_acquire(&shm->holds[at].key) != key || !is_part(shm, &shm->holds[at], key))
        return not_live();
    fs_reservation_init(&put->blocks);
    put->blocks.holds = put->holds;
    put->page = hf_load_acquire(&shm->holds[at].range.first);
    put->off = hf_load_acquire(&shm->holds[at].off);
    put->len = hf_load_acquire(&shm->holds[at].len);
    put->for_device = SHM_FOR_DEVICE(SHM_KEY_FLAGS(key));
    while (rc == 0 && put->blocks.count < SHM_RESERVED && at != SHM_NONE) {
        if (!is_part(shm, &shm->holds[at], key))
            return not_live();
        rc = add_part(fs, put, (uint32_t)at);
        at = shm_hold_at(shm, &shm->holds[at].link);
    }
    return rc;
}

/* ---- committing ---- */

/* Calls `each` for the memory of the first `bytes`. */
static int each_piece(struct fs *fs, const struct put *put, uint64_t bytes,
                      int (*each)(struct fs *fs, char *at, uint64_t len))
{
    int rc = 0;

    for (unsigned r = 0; r < put->blocks.count && bytes && rc == 0; r++) {
        uint64_t len = fs_min(put->blocks.runs[r].count * HF_BLOCK_BYTES, bytes);
        char *at;

        rc = fs_memory(fs, put->blocks.runs[r].block, put->blocks.runs[r].count, &at);
        rc = rc ? rc : each(fs, at, len);
        bytes -= len;
    }
    return rc;
}

static int persist_piece(struct fs *fs, char *at, uint64_t len)
{
    return fs_persist(fs, at, len);
}

/* The bytes after the last one in its page are old. A pin does not hand them out, but a program
 * could look at them. */
static int zero_after(struct fs *fs, const struct put *put, uint64_t len)
{
    uint64_t page = len / HF_BLOCK_BYTES, in_page = len % HF_BLOCK_BYTES;

    if (in_page == 0)
        return 0;
    for (unsigned r = 0; r < put->blocks.count; r++) {
        char *at;
        int rc;

        if (page >= put->blocks.runs[r].count) {
            page -= put->blocks.runs[r].count;
            continue;
        }
        rc = fs_memory(fs, put->blocks.runs[r].block + page, 1, &at);
        if (rc == 0)
            memset(at + in_page, 0, HF_BLOCK_BYTES - in_page);
        return rc;
    }
    return not_live();
}

/* What is made of a put: the first `len` bytes of it, in `file`, under a name or none. */
struct commit {
    struct hf_file *file;
    const struct hf_put *handle;
    struct fs_first_name *name; /* null: none */
    uint64_t len;
    struct put put;
    struct fs_txn txn;
    struct meta_inode inode;
};

static int replaced(void *arg, const struct meta_extent *run)
{
    struct commit *c = arg;

    c->inode.blocks = c->inode.blocks > run->count ? c->inode.blocks - run->count : 0;
    return fs_txn_free(&c->txn, run);
}

/* Blocks of zeros that were allocated past end of file make room. No pin is on them, and no entry
 * leads there. Only a thread that was let through a gate may find a change at work on them. */
static int make_way(struct commit *c, uint64_t pages, int passed)
{
    struct meta_extent there;
    uint64_t page = c->put.page;
    int rc = meta_extent_find(c->txn.meta, c->file->ino, page, &there);

    if (rc == -ENOENT || (rc == 0 && there.page >= page + pages))
        return 0;
    if (rc == 0 && passed)
        rc = hf_fail(EBUSY, "a layout change is under way on blocks past end of file there, and "
                            "this thread holds a pin: unpin first");
    return rc ? rc : meta_extent_remove(c->txn.meta, c->file->ino, page, pages, replaced, c);
}

/* Of the whole put: the holds of blocks that the file does not get go with the commit too. */
static int remove_records(struct fs_txn *txn, const struct put *put)
{
    uint64_t page = put->page;
    int rc = 0;

    for (unsigned r = 0; put->for_device && r < put->blocks.count && rc == 0; r++) {
        rc = fs_put_unrecord(txn, &put->blocks.runs[r], page);
        page += put->blocks.runs[r].count;
    }
    return rc;
}

static int take_in(struct commit *c, int passed)
{
    uint64_t pages = dax_pages_up(c->len);
    int rc = fs_txn_uncapable(&c->txn, c->file->ino);

    rc = rc ? rc : remove_records(&c->txn, &c->put);
    if (rc == 0 && c->name) {
        rc = fs_name_in(&c->txn, c->file->vnode, c->name);
        c->inode.nlink = 1;
    }
    rc = rc ? rc : make_way(c, pages, passed);
    return rc ? rc
              : fs_give_blocks(&c->txn, c->file->ino, &c->inode, c->put.page, pages,
                               &c->put.blocks);
}

/* Under the layout mutex. */
static int commit_locked(struct commit *c, int passed)
{
    struct shm_vnode *vnode = c->file->vnode;
    int rc = fs_zero_own_tail(c->file->fs, vnode, c->put.off);

    shm_assert_held(&vnode->mutex);
    rc = rc ? rc : fs_vnode_begin(c->file->fs, vnode, &c->txn, &c->inode);
    if (rc)
        return rc;
    rc = find_put(c->file->fs, c->handle, &c->put); /* now nobody ends it meanwhile */
    rc = rc ? rc : take_in(c, passed);
    if (rc) {
        fs_abort(&c->txn);
        return rc;
    }
    c->inode.size = c->put.off + c->len;
    c->inode.mtime_ns = c->inode.ctime_ns = hf_wall_ns();
    rc = fs_vnode_commit(vnode, &c->txn, &c->inode);
    if (rc == 0 && c->name)
        fs_named(vnode);
    return rc;
}

static int commit_put(struct commit *c)
{
    struct fs *fs = c->file->fs;
    struct shm_vnode *vnode = c->file->vnode;
    uint64_t off = c->put.off;
    int passed, rc = fs_end_lock(fs, vnode, off, &passed);

    if (rc)
        return rc;
    rc = vnode->size > off ? reaches_beyond(vnode, off) : commit_locked(c, passed);
    vnode->passed += passed && rc == 0 ? 1 : 0;
    dax_unlock(&fs->dax, vnode);
    return rc;
}

static int check_put(const struct commit *c)
{
    const struct shm_hold *hold = &c->file->fs->dax.shm->holds[c->put.holds[0]];

    if (hf_load_acquire(&hold->holder) != c->file->ino)
        return hf_fail(EINVAL, "the put was begun in inode %" PRIu64 ", not in %" PRIu64,
                       hf_load_acquire(&hold->holder), c->file->ino);
    if (c->len > c->put.len || dax_pages_up(c->len) > c->put.blocks.blocks)
        return hf_fail(EINVAL, "%" PRIu64 " bytes of a put of %" PRIu64, c->len, c->put.len);
    return 0;
}

int fs_put_commit(struct hf_file *file, const struct hf_put *put, uint64_t len,
                  struct fs_first_name *name)
{
    struct commit c; /* its tables are not cleared, which would take as long as finding the put */
    struct fs *fs = file->fs;
    uint64_t size, off;
    int rc = fs_may_write(fs);

    shm_assert_none_held();
    c.file = file;
    c.handle = put;
    c.name = name;
    c.len = len;
    rc = rc ? rc : find_put(fs, put, &c.put);
    rc = rc ? rc : check_put(&c);
    rc = rc ? rc : zero_after(fs, &c.put, len);
    if (rc == 0 && fs->durable)
        rc = each_piece(fs, &c.put, dax_pages_up(len) * HF_BLOCK_BYTES, persist_piece);
    if (rc)
        return rc;
    off = c.put.off;
    size = hf_load_acquire(&file->vnode->size);
    fs_will_change(fs, file->vnode, off, len);
    rc = commit_put(&c);
    if (rc)
        return rc;
    if (name && name->orphan)
        fs_orphan_made(fs, name->orphan);
    fs_written(file, size, off, len);
    fs_trim_follow(fs);
    return 0;
}

/* ---- ending without a commit ---- */

int fs_put_abort(struct fs *fs, const struct hf_put *handle)
{
    struct shm_bound before = shm_bound;
    struct put put;
    int rc = find_put(fs, handle, &put);

    if (rc)
        return rc;
    leave_put(fs->dax.shm, put.holds, put.blocks.count);
    /* Blocks that cannot be freed at once are left to others. */
    shm_bound = (struct shm_bound){.patience = SHM_PATIENCE_NONE};
    fs_puts_sweep(fs);
    shm_bound = before;
    fs_trim_follow(fs);
    return 0;
}
