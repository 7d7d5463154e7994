/* SPDX-License-Identifier: MIT */
/*
 * Owns hf_clone_files(): many files get a copy each, on the blocks that they have. Names, inodes
 * and extents of up to FILES_AT_ONCE copies are one transaction, so a tree costs few of them.
 *
 * Each source is locked from the look at it to the commit, so its copy is the file as it was at one
 * moment. While a source is locked, only space_mutex is waited for. A source is left to the caller
 * when its mutex is not free at once, or when it is held or under a gate. So sources may be locked
 * in any order. docs/ORDERING.md 3.35 has the rest.
 *
 * In the transaction, all sources are looked at before names are added, and all names before inodes
 * are. Records of one kind lie side by side, and LMDB finds a place on the page where it is faster
 * than one on another.
 */
#include "base/error.h"
#include "base/futex.h"
#include "base/lab.h"
#include "fs/name.h"
#include "fs/unshare.h"
#include "fs/vnode.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* A writer of the first source waits for all of them. */
#define FILES_AT_ONCE SHM_LAYOUTS_MAX
/* In a durable pool, for the syncs of all of them. */
#define FILES_AT_ONCE_DURABLE 4u
#define SHARED_AT_ONCE 256u
/* Of the copies that are made together, in the transaction. */
#define RUNS_AT_ONCE 512u

struct source {
    struct shm_vnode *vnode; /* null: it could not be opened */
    bool locked, looked;
    struct dax_change change;
};

/* What is to be stored of a copy. */
struct made {
    bool tried, more; /* more: as in meta_file */
    struct meta_inode inode;
    size_t first, count; /* runs */
};

struct batch {
    struct fs *fs;
    struct hf_clone_entry *entries;
    size_t count;
    struct source sources[FILES_AT_ONCE];
    struct fs_txn txn;
    struct meta_super super;
    uint64_t dir; /* into which the copies before went; 0: none did */
    struct meta_inode dir_inode;
    struct meta_file file; /* of the source under way, then of its copy */
    struct made made[FILES_AT_ONCE];
    struct meta_extent runs[RUNS_AT_ONCE];
    size_t run_count;
    struct meta_extent shared[SHARED_AT_ONCE]; /* on which copies lie: to be told */
    size_t shared_count;
    void *value; /* room for an attribute; null: none was needed */
};

static int left_to_caller(const struct hf_clone_entry *entry, const char *why)
{
    return hf_fail(EBUSY, "inode %" PRIu64 " %s: clone it by itself", entry->from, why);
}

/* ---- sources ---- */

/* With no lock held. */
static int use_source(struct batch *b, size_t i)
{
    struct source *source = &b->sources[i];
    int rc = shm_vnode_get(b->fs->dax.shm, b->entries[i].from, &source->vnode);

    shm_assert_none_held();
    if (rc == 0)
        dax_will_change(&b->fs->dax, source->vnode, 0, DAX_LAST);
    else
        source->vnode = NULL;
    return rc;
}

/* A vnode that nobody has loaded has no pins, no gate and no size. */
static int look_at(struct batch *b, size_t i)
{
    struct source *source = &b->sources[i];
    int rc = dax_check_settled(source->vnode);

    if (rc)
        return rc;
    rc = fs_steps_left(b->fs, b->entries[i].from);
    if (rc < 0)
        return rc;
    if (rc || dax_gate_over(&b->fs->dax, source->vnode, 0, DAX_LAST))
        return left_to_caller(&b->entries[i], "is in a layout change");
    rc = dax_change_now(&b->fs->dax, source->vnode, 0, DAX_LAST, &source->change);
    if (rc)
        return rc;
    source->looked = true;
    if (HF_LAB_BROKEN(HF_LAB_SHARES_HELD))
        return 0;
    return source->change.holder_count ? left_to_caller(&b->entries[i], "is held") : 0;
}

/* In a durable pool the copy is there after a power cut, so its blocks must be too. */
static int persist(struct batch *b, size_t i)
{
    uint64_t ino = b->entries[i].from;
    struct meta_extent extent;
    uint64_t page = 0;
    char *at;
    int rc = 0;

    while (b->fs->durable && rc == 0) {
        rc = fs_extent_at(b->fs, ino, page, &extent);
        if (rc < 0 || !extent.count)
            return rc;
        rc = fs_memory(b->fs, extent.block, extent.count, &at);
        rc = rc ? rc : fs_persist(b->fs, at, extent.count * HF_BLOCK_BYTES);
        page = extent.page + extent.count;
    }
    return rc;
}

static int lock_source(struct batch *b, size_t i)
{
    int rc;

    if (!dax_lock_now(&b->fs->dax, b->sources[i].vnode))
        return left_to_caller(&b->entries[i], "is being changed");
    b->sources[i].locked = true;
    rc = look_at(b, i);
    return rc ? rc : persist(b, i);
}

static void use_sources(struct batch *b)
{
    for (size_t i = 0; i < b->count; i++)
        b->entries[i].result = use_source(b, i);
    for (size_t i = 0; i < b->count; i++)
        if (b->entries[i].result == 0)
            b->entries[i].result = lock_source(b, i);
}

static void let_go_of_sources(struct batch *b)
{
    for (size_t i = b->count; i-- > 0;) {
        struct source *source = &b->sources[i];

        if (source->looked)
            dax_change_end(&source->change, false); /* nothing of it has changed */
        if (source->locked)
            dax_unlock(&b->fs->dax, source->vnode);
        source->looked = source->locked = false;
    }
}

/* Work that cannot be done at once is left to others, as by hf_close(). The last vnode goes first:
 * so the entries that come free are the next to be taken, and no new ones need memory. */
static void close_sources(struct batch *b)
{
    struct shm_bound before = shm_bound;

    let_go_of_sources(b);
    shm_bound = (struct shm_bound){.patience = SHM_PATIENCE_NONE};
    for (size_t i = b->count; i-- > 0;)
        if (b->sources[i].vnode)
            fs_vnode_close(b->fs, b->sources[i].vnode);
    shm_bound = before;
}

/* ---- looking, in the transaction ---- */

/* Blocks past end of file are not the copy's. */
static void cut_off(struct meta_file *file)
{
    uint64_t pages = dax_pages_up(file->inode.size);

    while (file->count && file->runs[file->count - 1].page >= pages)
        file->count--;
    if (file->count) {
        struct meta_extent *last = &file->runs[file->count - 1];

        last->count = fs_min(last->count, pages - last->page);
    }
}

static int find_source(struct batch *b, size_t i)
{
    uint64_t ino = b->entries[i].from;
    struct meta_inode *inode = &b->file.inode;
    int rc = meta_file_get(b->txn.meta, ino, &b->file);

    if (rc == -ENOENT || (rc == 0 && inode->nlink == 0))
        return hf_fail(ENOENT, "inode %" PRIu64 " has no names", ino);
    if (rc == 0 && !S_ISREG(inode->mode))
        return hf_fail(EINVAL, "inode %" PRIu64 " is not a regular file", ino);
    if (rc == 0 && b->file.count == META_FILE_RUNS) /* that takes long */
        return left_to_caller(&b->entries[i], "lies in many pieces");
    if (rc == 0) {
        fs_vnode_know(b->sources[i].vnode, inode);
        cut_off(&b->file);
    }
    return rc;
}

static void look_at_source(struct batch *b, size_t i)
{
    struct made *made = &b->made[i];
    int rc;

    made->tried = b->entries[i].result == 0;
    if (!made->tried)
        return;
    rc = find_source(b, i);
    b->entries[i].result = rc;
    if (rc)
        return;
    made->inode = b->file.inode;
    made->more = b->file.more;
    made->first = b->run_count;
    made->count = b->file.count;
    memcpy(b->runs + made->first, b->file.runs, made->count * sizeof b->runs[0]);
    b->run_count += made->count;
}

/* The directory of the copies under way gets its times once, after the last of them. */
static int leave_dir(struct batch *b)
{
    uint64_t dir = b->dir;

    b->dir = 0;
    return dir ? meta_inode_put(b->txn.meta, dir, &b->dir_inode) : 0;
}

static int enter_dir(struct batch *b, uint64_t dir, int *result)
{
    int rc = 0;

    *result = 0;
    if (b->dir == dir)
        return 0;
    rc = leave_dir(b);
    if (rc)
        return rc;
    rc = meta_inode_get(b->txn.meta, dir, &b->dir_inode);
    if (rc == -ENOENT)
        *result = fs_stale(dir);
    else if (rc == 0 && !S_ISDIR(b->dir_inode.mode))
        *result = hf_fail(ENOTDIR, "inode %" PRIu64 " is not a directory", dir);
    else if (rc == 0)
        b->dir = dir;
    return rc == -ENOENT ? 0 : rc;
}

static int check_component(const char *name)
{
    size_t len = strlen(name);

    if (len > HF_NAME_MAX)
        return hf_fail(ENAMETOOLONG, "%.60s...: a name has at most %u bytes", name, HF_NAME_MAX);
    if (len == 0 || memchr(name, '/', len) || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return hf_fail(EINVAL, "'%s' is not a name that a file can have", name);
    return 0;
}

/* ---- making copies; what fails here ends the transaction ---- */

static int by_block(const void *left, const void *right)
{
    uint64_t a = ((const struct meta_extent *)left)->block;
    uint64_t b = ((const struct meta_extent *)right)->block;

    return (a > b) - (a < b);
}

/* Runs that lie side by side are reported as one. Files that were made one after the other often
 * have such runs. */
static int tell_shared(struct batch *b)
{
    int rc = 0;

    qsort(b->shared, b->shared_count, sizeof *b->shared, by_block);
    for (size_t i = 0, n; rc == 0 && i < b->shared_count; i += n) {
        struct meta_extent run = b->shared[i];

        for (n = 1; i + n < b->shared_count && b->shared[i + n].block == run.block + run.count; n++)
            run.count += b->shared[i + n].count;
        rc = fs_txn_share(&b->txn, &run);
    }
    b->shared_count = 0;
    return rc;
}

static int share(struct batch *b, const struct meta_extent *run)
{
    int rc = b->shared_count == SHARED_AT_ONCE ? tell_shared(b) : 0;

    b->shared[b->shared_count++] = *run;
    return rc;
}

static int share_runs(struct batch *b, const struct hf_clone_entry *entry)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < b->file.count; i++) {
        struct meta_extent *run = &b->file.runs[i];

        if (!run->shared)
            rc = meta_extent_mark(b->txn.meta, entry->from, run->page, run->count, true);
        run->shared = true;
        rc = rc ? rc : share(b, run);
        b->file.inode.blocks += run->count;
    }
    return rc;
}

static int put_attribute(struct batch *b, const struct hf_clone_entry *entry, const char *name)
{
    const void *value;
    size_t len;
    int rc = meta_xattr_get(b->txn.meta, entry->from, name, &value, &len);

    if (rc)
        return rc;
    if (!b->value)
        b->value = malloc(HF_XATTR_VALUE_MAX);
    if (!b->value)
        return hf_fail(ENOMEM, "no memory for an attribute");
    if (strcmp(name, FS_CAPABILITY) == 0)
        hf_store_release(&b->fs->dax.shm->run->capable, 1u);
    memcpy(b->value, value, len); /* a put moves it */
    return meta_xattr_put(b->txn.meta, entry->to, name, b->value, len);
}

static int put_attributes(struct batch *b, const struct hf_clone_entry *entry)
{
    char name[HF_NAME_MAX + 1] = "";
    int rc;

    while ((rc = meta_xattr_next(b->txn.meta, entry->from, name, name)) == 0) {
        rc = put_attribute(b, entry, name);
        if (rc)
            return rc;
    }
    return rc == -ENOENT ? 0 : rc;
}

static int put_copy(struct batch *b, size_t i)
{
    struct hf_clone_entry *entry = &b->entries[i];
    const struct made *made = &b->made[i];
    struct meta_inode *inode = &b->file.inode;
    int rc;

    b->file.inode = made->inode;
    b->file.count = made->count;
    memcpy(b->file.runs, b->runs + made->first, made->count * sizeof b->runs[0]);
    entry->links = inode->nlink;
    entry->bytes = inode->size;
    inode->nlink = 1;
    inode->version = 1;
    inode->blocks = 0;
    rc = share_runs(b, entry);
    rc = rc ? rc : meta_file_put(b->txn.meta, entry->to, &b->file);
    return rc == 0 && made->more ? put_attributes(b, entry) : rc;
}

/* -EEXIST of the name is found by the first record that is made. */
static int add_name(struct batch *b, size_t i)
{
    struct hf_clone_entry *entry = &b->entries[i];
    struct meta_inode *inode = &b->made[i].inode;
    struct meta_super super = b->super;
    int rc = fs_inode_number(&super, &entry->to);

    rc = rc ? rc : meta_dirent_add(b->txn.meta, entry->dir, entry->name, entry->to, S_IFREG);
    if (rc)
        return rc;
    b->super = super;
    inode->ctime_ns = inode->btime_ns = hf_wall_ns();
    b->dir_inode.mtime_ns = b->dir_inode.ctime_ns = inode->ctime_ns;
    return 0;
}

static int name_copy(struct batch *b, size_t i)
{
    struct hf_clone_entry *entry = &b->entries[i];
    int result, rc = enter_dir(b, entry->dir, &result);

    if (rc)
        return rc;
    result = result ? result : check_component(entry->name);
    entry->result = result ? result : entry->result;
    if (entry->result)
        return 0;
    rc = add_name(b, i);
    if (rc == -EEXIST) {
        entry->result = hf_fail(EEXIST, "%.200s exists", entry->name);
        return 0;
    }
    return rc;
}

/* Makes copies from the first one on, as far as there is room for their runs. *end: of these. */
static int make_some(struct batch *b, size_t first, size_t *end)
{
    size_t i = first;
    int rc = 0;

    b->run_count = 0;
    for (; i < b->count && b->run_count <= RUNS_AT_ONCE - META_FILE_RUNS; i++)
        look_at_source(b, i);
    *end = i;
    for (i = first; rc == 0 && i < *end; i++)
        rc = b->made[i].tried ? name_copy(b, i) : 0;
    for (i = first; rc == 0 && i < *end; i++)
        rc = b->made[i].tried && b->entries[i].result == 0 ? put_copy(b, i) : 0;
    return rc;
}

static int transact_batch(struct batch *b)
{
    size_t done = 0;
    int rc = fs_begin(b->fs, &b->txn);

    if (rc)
        return rc;
    rc = fs_txn_may_share(&b->txn);
    rc = rc ? rc : meta_super_get(b->txn.meta, &b->super);
    while (rc == 0 && done < b->count)
        rc = make_some(b, done, &done);
    rc = rc ? rc : tell_shared(b);
    rc = rc ? rc : leave_dir(b);
    rc = rc ? rc : meta_super_put(b->txn.meta, &b->super);
    if (HF_LAB_BROKEN(HF_LAB_EARLY_UNLOCK))
        let_go_of_sources(b);
    HF_LAB_AT(HF_LAB_CLONES);
    return fs_txn_end(&b->txn, rc);
}

/* How many are made. */
static ssize_t clone_batch(struct batch *b)
{
    ssize_t made = 0;
    int rc;

    memset(b->sources, 0, sizeof b->sources);
    b->dir = b->shared_count = 0;
    use_sources(b);
    rc = transact_batch(b);
    close_sources(b);
    for (size_t i = 0; i < b->count; i++) {
        if (b->entries[i].result == 0)
            b->entries[i].result = rc;
        made += b->entries[i].result == 0;
    }
    return rc ? rc : made;
}

ssize_t fs_clone_files(struct fs *fs, struct hf_clone_entry *entries, size_t count)
{
    size_t most = fs->durable ? FILES_AT_ONCE_DURABLE : FILES_AT_ONCE;
    ssize_t made = 0, n = 0;
    struct batch *b;
    int rc = fs_may_share(fs);

    if (rc)
        return rc;
    b = malloc(sizeof *b);
    if (!b)
        return hf_fail(ENOMEM, "out of memory");
    b->fs = fs;
    b->value = NULL;
    for (size_t i = 0; i < count; i++)
        entries[i].result = -EBUSY; /* of entries that are not tried */
    for (size_t done = 0; n >= 0 && done < count; done += b->count) {
        b->entries = entries + done;
        b->count = fs_min(most, count - done);
        n = clone_batch(b);
        made += n > 0 ? n : 0;
    }
    free(b->value);
    free(b);
    return made || n >= 0 ? made : n;
}
