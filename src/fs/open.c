/* SPDX-License-Identifier: MIT */
/*
 * Owns opening files, with O_CREAT, O_TRUNC and O_TMPFILE. A path can come to name another inode
 * between the look and the opening of the vnode. Then fs_vnode_open() says that the inode is gone,
 * and the path is looked up again. An empty path is not looked up again, since it stands for that
 * inode alone.
 */
#include "base/error.h"
#include "base/lab.h"
#include "fs/name.h"
#include "fs/vnode.h"

#include <errno.h>
#include <limits.h>
#include <fcntl.h>
#include <stdlib.h>

struct opening {
    struct fs *fs;
    struct fs_at at;
    int flags;
    mode_t mode;
};

static bool follows_links(const struct opening *o)
{
    return !(o->flags & O_NOFOLLOW) && (o->flags & (O_CREAT | O_EXCL)) != (O_CREAT | O_EXCL);
}

static int check_found(const struct opening *o, const struct fs_place *place)
{
    if ((o->flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL))
        return hf_fail(EEXIST, "%.200s exists", fs_said(o->at));
    if (S_ISDIR(place->type))
        return hf_fail(EISDIR, "%.200s is a directory", fs_said(o->at));
    if (S_ISLNK(place->type))
        return hf_fail(ELOOP, "%.200s is a symbolic link", fs_said(o->at));
    if (!S_ISREG(place->type))
        return hf_fail(ENXIO, "%.200s is not a regular file", fs_said(o->at));
    return 0;
}

static int put_file(struct fs_txn *txn, const struct opening *o, const struct fs_place *place,
                    uint64_t *ino, struct meta_inode *inode)
{
    int rc = fs_inode_new(txn, place->dir, S_IFREG | o->mode, ino, inode);

    rc = rc ? rc : meta_inode_put(txn->meta, *ino, inode);
    rc = rc ? rc : meta_dirent_put(txn->meta, place->dir, place->name, *ino, S_IFREG);
    return rc ? rc : fs_dir_changed(txn, place->dir, 0);
}

/* An orphan from the beginning. A sweep that comes after the commit finds the file open. */
static int put_unnamed(struct fs_txn *txn, const struct opening *o, const struct fs_place *dir,
                       uint64_t *ino, struct meta_inode *inode)
{
    int rc = fs_inode_new(txn, dir->ino, S_IFREG | o->mode, ino, inode);

    inode->nlink = 0;
    rc = rc ? rc : meta_inode_put(txn->meta, *ino, inode);
    return rc ? rc : meta_orphan_put(txn->meta, *ino);
}

static bool is_unnamed(const struct opening *o)
{
    return (o->flags & O_TMPFILE) == O_TMPFILE;
}

/* The value of vnode->orphan for the new file. */
static enum shm_orphan orphan_of(const struct opening *o)
{
    if (!is_unnamed(o))
        return SHM_ORPHAN_NOT;
    return o->flags & O_EXCL ? SHM_ORPHAN_OPEN : SHM_ORPHAN_UNNAMED;
}

/* Every step that can fail comes before the commit, since after a failed open the file must not be
 * there. */
static int put_and_open(struct fs_txn *txn, const struct opening *o, const struct fs_place *place,
                        struct shm_vnode **vnode)
{
    struct meta_inode inode;
    bool opened = false;
    uint64_t ino;
    int rc = is_unnamed(o) ? put_unnamed(txn, o, place, &ino, &inode)
                           : put_file(txn, o, place, &ino, &inode);

    if (rc == 0) {
        rc = fs_vnode_new(o->fs, ino, vnode);
        opened = rc == 0;
    }
    rc = fs_txn_end(txn, rc);
    if (opened)
        fs_vnode_made(o->fs, *vnode, rc ? NULL : &inode, orphan_of(o));
    if (rc)
        *vnode = NULL;
    return rc;
}

/* Makes the file and opens it, unless another process has been faster. */
static int make_file(const struct opening *o, uint64_t *ino, struct shm_vnode **vnode)
{
    struct fs_place place;
    struct fs_txn txn;
    int rc = fs_begin(o->fs, &txn);

    if (rc)
        return rc;
    rc = fs_walk(txn.meta, o->at, follows_links(o), &place);
    if (rc == 0 && !place.ino && place.slash)
        rc = hf_fail(EISDIR, "%.200s ends in a slash", o->at.path);
    if (rc == 0 && !place.ino)
        return put_and_open(&txn, o, &place, vnode);
    if (rc == 0) {
        rc = check_found(o, &place);
        *ino = place.ino;
    }
    fs_abort(&txn);
    return rc;
}

static int make_unnamed(const struct opening *o, struct shm_vnode **vnode)
{
    struct fs_place place;
    struct fs_txn txn;
    int rc = fs_begin(o->fs, &txn);

    if (rc)
        return rc;
    rc = fs_walk_to(txn.meta, o->at, !(o->flags & O_NOFOLLOW), &place);
    if (rc == 0 && !S_ISDIR(place.type))
        rc = hf_fail(ENOTDIR, "%.200s is not a directory to make a file in", fs_said(o->at));
    if (rc == 0)
        return put_and_open(&txn, o, &place, vnode);
    fs_abort(&txn);
    return rc;
}

/* *vnode: it is made and open. */
static int find_or_make(const struct opening *o, uint64_t *ino, struct shm_vnode **vnode)
{
    struct meta_inode inode;
    struct fs_place place;
    struct meta_txn *txn;
    int rc;

    if (is_unnamed(o))
        return make_unnamed(o, vnode);
    if ((o->flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL))
        return make_file(o, ino, vnode);
    rc = meta_begin_read(o->fs->dax.meta, &txn);
    if (rc)
        return rc;
    rc = fs_walk(txn, o->at, follows_links(o), &place);
    if (rc == 0 && place.ino && *o->at.path) /* in the snapshot that has the name */
        rc = fs_check_place(txn, &place, &inode);
    meta_end_read(txn);
    if (rc)
        return rc;
    if (!place.ino)
        return o->flags & O_CREAT ? make_file(o, ino, vnode) : fs_not_there(o->at);
    *ino = place.ino;
    return check_found(o, &place);
}

static int find_vnode(const struct opening *o, struct shm_vnode **vnode, bool *made)
{
    for (unsigned tries = 0, looks = 0;;) {
        uint64_t ino;
        int rc;

        *vnode = NULL;
        rc = find_or_make(o, &ino, vnode);
        *made = *vnode;
        if (rc == -ENFILE && tries++ < 2) {
            fs_vnode_make_room(o->fs);
            continue;
        }
        if (rc || *made)
            return rc;
        rc = fs_vnode_open(o->fs, ino, vnode);
        if (rc != -ENOENT)
            return rc;
        if (!*o->at.path)
            return fs_stale(o->at.ino);
        rc = fs_look_again(&looks);
        if (rc)
            return rc;
    }
}

static int check_mode(const struct fs *fs, struct fs_at at, int flags)
{
    int access = flags & O_ACCMODE;

    if (access == O_ACCMODE)
        return hf_fail(EINVAL, "%.200s: no such access mode", fs_said(at));
    if (flags & O_TRUNC && access == O_RDONLY)
        return hf_fail(EINVAL, "%.200s: O_TRUNC needs write access", fs_said(at));
    if ((flags & O_TMPFILE) == O_TMPFILE && (access == O_RDONLY || flags & O_CREAT))
        return hf_fail(EINVAL, "%.200s: O_TMPFILE needs write access, and no O_CREAT", fs_said(at));
    if (fs->dax.readonly && access != O_RDONLY)
        return hf_fail(EROFS, "%.200s: the pool is open for reading only", fs_said(at));
    return 0;
}

/* aligned_alloc() of the C library is several times slower than malloc(), and leaves pieces. */
static struct hf_file *new_handle(void)
{
    const uintptr_t align = _Alignof(struct hf_file);
    void *memory = malloc(sizeof(struct hf_file) + align - 1);
    struct hf_file *file = (void *)(((uintptr_t)memory + align - 1) & ~(align - 1));

    if (!memory)
        return NULL;
    file->memory = memory;
    return file;
}

int fs_open(struct fs *fs, struct fs_at at, int flags, mode_t mode, struct hf_file **out)
{
    struct opening opening = {fs, at, flags, mode};
    struct hf_file *file;
    bool made;
    int rc = check_mode(fs, at, flags);

    if (rc)
        return rc;
    file = new_handle();
    if (!file)
        return hf_fail(ENOMEM, "out of memory");
    rc = find_vnode(&opening, &file->vnode, &made);
    if (rc == 0 && flags & O_TRUNC && !made) { /* also of an empty file, for blocks past its end */
        rc = fs_truncate(fs, file->vnode, 0, &fs->dax.policy);
        if (rc)
            fs_vnode_close(fs, file->vnode);
    }
    if (rc) {
        free(file->memory);
        return rc;
    }
    file->fs = fs;
    file->ino = file->vnode->ino;
    file->readable = (flags & O_ACCMODE) != O_WRONLY;
    file->writable = (flags & O_ACCMODE) != O_RDONLY;
    file->append = flags & O_APPEND;
    file->watches = 0;
    file->pin_refused = ~(FS_PIN_FLAGS | FS_PIN_READS);
    file->pin_refused |= (file->readable ? 0 : FS_PIN_READS) | (file->writable ? 0 : HF_PIN_WRITE);
    file->line = dax_line_of(&fs->dax, file->vnode, file->readable);
    hf_add_relaxed(&fs->handles, 1); /* relaxed: a count */
    *out = file;
    return 0;
}

int fs_close(struct hf_file *file)
{
    struct fs *fs = file->fs;
    struct shm_bound before = shm_bound;

    /* Work that cannot be done at once is left to others: the vnode stays dirty, an orphan stays an
     * orphan. */
    shm_bound = (struct shm_bound){.patience = SHM_PATIENCE_NONE};
    if (file->watches)
        dax_watch(&fs->dax, file->vnode, &file->watches, 0);
    HF_LAB_AT(HF_LAB_UNWATCHED);
    fs_vnode_close(fs, file->vnode);
    if (hf_load_acquire(&fs->dax.shm->run->reclaim))
        fs_reclaim(fs);
    shm_bound = before;
    free(file->memory);
    hf_sub_acq_rel(&fs->handles, 1);
    return 0;
}
