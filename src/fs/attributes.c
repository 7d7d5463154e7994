/* SPDX-License-Identifier: MIT */
/*
 * Owns the attributes of inodes: stat, chmod, chown, utimens, readlink. A regular file in use has
 * its size, access and modification time in its vnode, so utimens goes through that. Everything
 * else is in LMDB alone.
 */
#include "base/error.h"
#include "base/futex.h"
#include "base/lab.h"
#include "fs/acl.h"
#include "fs/name.h"
#include "fs/vnode.h"

#include <errno.h>
#include <string.h>
#include <sys/sysmacros.h>

#define SECTOR_BYTES 512u

/* ---- stat ---- */

static struct timespec timespec_of(int64_t ns)
{
    int64_t sec = ns / (int64_t)HF_NS_PER_SEC, rest = ns % (int64_t)HF_NS_PER_SEC;

    if (rest < 0) {
        sec--;
        rest += (int64_t)HF_NS_PER_SEC;
    }
    return (struct timespec){.tv_sec = sec, .tv_nsec = rest};
}

static void fill_stat(const struct fs *fs, uint64_t ino, const struct meta_inode *inode,
                      struct stat *out)
{
    memset(out, 0, sizeof *out);
    memcpy(&out->st_dev, fs->dax.shm->run->uuid, sizeof out->st_dev);
    out->st_ino = ino;
    out->st_mode = inode->mode;
    out->st_nlink = inode->nlink;
    out->st_uid = inode->uid;
    out->st_gid = inode->gid;
    out->st_rdev = inode->rdev;
    out->st_size = (off_t)inode->size;
    out->st_blksize = HF_BLOCK_BYTES;
    out->st_blocks = (blkcnt_t)(inode->blocks * (HF_BLOCK_BYTES / SECTOR_BYTES));
    out->st_atim = timespec_of(inode->atime_ns);
    out->st_mtim = timespec_of(inode->mtime_ns);
    out->st_ctim = timespec_of(inode->ctime_ns);
}

int fs_stat(struct fs *fs, struct fs_at at, bool follow, struct stat *out)
{
    struct meta_inode inode;
    struct fs_place place;
    int rc = fs_lookup(fs, at, follow, &place, &inode);

    if (rc == 0)
        fill_stat(fs, place.ino, &inode, out);
    return rc;
}

static struct statx_timestamp timestamp_of(int64_t ns)
{
    struct timespec time = timespec_of(ns);

    return (struct statx_timestamp){.tv_sec = time.tv_sec, .tv_nsec = (uint32_t)time.tv_nsec};
}

int fs_statx(struct fs *fs, struct fs_at at, bool follow, struct statx *out)
{
    struct meta_inode inode;
    struct fs_place place;
    struct stat st;
    int rc = fs_lookup(fs, at, follow, &place, &inode);

    if (rc)
        return rc;
    fill_stat(fs, place.ino, &inode, &st);
    *out = (struct statx){.stx_mask = STATX_BASIC_STATS | STATX_BTIME,
                          .stx_blksize = (uint32_t)st.st_blksize,
                          .stx_nlink = inode.nlink,
                          .stx_uid = inode.uid,
                          .stx_gid = inode.gid,
                          .stx_mode = (uint16_t)inode.mode,
                          .stx_ino = place.ino,
                          .stx_size = inode.size,
                          .stx_blocks = (uint64_t)st.st_blocks,
                          .stx_atime = timestamp_of(inode.atime_ns),
                          .stx_btime = timestamp_of(inode.btime_ns),
                          .stx_ctime = timestamp_of(inode.ctime_ns),
                          .stx_mtime = timestamp_of(inode.mtime_ns),
                          .stx_rdev_major = major(st.st_rdev),
                          .stx_rdev_minor = minor(st.st_rdev),
                          .stx_dev_major = major(st.st_dev),
                          .stx_dev_minor = minor(st.st_dev)};
    return 0;
}

int fs_fstat(struct hf_file *file, struct stat *out)
{
    struct meta_inode inode;
    struct meta_txn *txn;
    int rc = meta_begin_read(file->fs->dax.meta, &txn);

    if (rc)
        return rc;
    rc = meta_inode_get(txn, file->ino, &inode);
    meta_end_read(txn);
    if (rc)
        return rc;
    rc = fs_vnode_overlay(file->fs, file->ino, &inode);
    if (rc == 0)
        fill_stat(file->fs, file->ino, &inode, out);
    return rc;
}

ssize_t fs_readlink(struct fs *fs, struct fs_at at, char *buf, size_t len)
{
    struct fs_place place;
    struct meta_txn *txn;
    const char *target;
    size_t target_len = 0;
    int rc = meta_begin_read(fs->dax.meta, &txn);

    if (rc)
        return rc;
    rc = fs_walk_to(txn, at, false, &place);
    if (rc == 0 && !S_ISLNK(place.type))
        rc = hf_fail(EINVAL, "%.200s is not a symbolic link", fs_said(at));
    rc = rc ? rc : meta_symlink_get(txn, place.ino, &target, &target_len);
    if (rc == 0) {
        target_len = target_len < len ? target_len : len;
        memcpy(buf, target, target_len);
    }
    meta_end_read(txn);
    return rc ? rc : (ssize_t)target_len;
}

/* ---- changing ---- */

/* Changes what the path names in one transaction, and its access ACL with the mode. What `set`
 * returns ends it, if it is not 0. */
static int change_inode(struct fs *fs, struct fs_at at, bool follow,
                        int (*set)(struct meta_inode *inode, const void *arg), const void *arg)
{
    struct meta_inode inode;
    struct fs_place place;
    struct fs_txn txn;
    int rc = fs_check_itself(fs, at);

    rc = rc ? rc : fs_begin(fs, &txn);
    if (rc)
        return rc;
    rc = fs_walk_to(txn.meta, at, follow, &place);
    rc = rc ? rc : meta_inode_get(txn.meta, place.ino, &inode);
    if (rc == 0) {
        uint32_t mode = inode.mode;

        rc = set(&inode, arg);
        rc = rc ? rc : meta_inode_put(txn.meta, place.ino, &inode);
        if (rc == 0 && inode.mode != mode)
            rc = fs_acl_chmod(&txn, place.ino, inode.mode);
    }
    return fs_txn_end(&txn, rc);
}

static int set_mode(struct meta_inode *inode, const void *arg)
{
    inode->mode = (inode->mode & S_IFMT) | *(const mode_t *)arg;
    inode->ctime_ns = hf_wall_ns();
    return 0;
}

int fs_chmod(struct fs *fs, struct fs_at at, mode_t mode)
{
    return change_inode(fs, at, true, set_mode, &mode);
}

struct owner {
    uid_t uid;
    gid_t gid;
};

/* Without S_IXGRP, S_ISGID gives nobody the rights of the group. */
static int set_owner(struct meta_inode *inode, const void *arg)
{
    uint32_t lent = inode->mode & S_IXGRP ? S_ISUID | S_ISGID : S_ISUID;
    const struct owner *owner = arg;

    if (owner->uid != (uid_t)-1)
        inode->uid = owner->uid;
    if (owner->gid != (gid_t)-1)
        inode->gid = owner->gid;
    if (!S_ISDIR(inode->mode))
        inode->mode &= ~lent;
    inode->ctime_ns = hf_wall_ns();
    return 0;
}

int fs_chown(struct fs *fs, struct fs_at at, uid_t uid, gid_t gid, bool follow)
{
    struct owner owner = {uid, gid};

    return change_inode(fs, at, follow, set_owner, &owner);
}

/* ---- times ---- */

#define SECONDS_MAX INT64_C(9223372035) /* what fits in nanoseconds of 64 bits */

struct times {
    int64_t ns[2];
    bool set[2];
};

static int read_times(const struct timespec given[2], struct times *times)
{
    int64_t now = hf_wall_ns();

    for (int i = 0; i < 2; i++) {
        times->set[i] = true;
        times->ns[i] = now;
        if (!given || given[i].tv_nsec == UTIME_NOW)
            continue;
        times->set[i] = given[i].tv_nsec != UTIME_OMIT;
        if (!times->set[i])
            continue;
        if (given[i].tv_nsec < 0 || given[i].tv_nsec >= (long)HF_NS_PER_SEC ||
            given[i].tv_sec > SECONDS_MAX || given[i].tv_sec < -SECONDS_MAX)
            return hf_fail(EINVAL, "a time of %lld s and %ld ns", (long long)given[i].tv_sec,
                           given[i].tv_nsec);
        times->ns[i] = (int64_t)given[i].tv_sec * (int64_t)HF_NS_PER_SEC + given[i].tv_nsec;
    }
    return 0;
}

static void set_times(struct meta_inode *inode, const struct times *times)
{
    if (times->set[0])
        inode->atime_ns = times->ns[0];
    if (times->set[1])
        inode->mtime_ns = times->ns[1];
    inode->ctime_ns = hf_wall_ns();
}

/* 1: a file has the name by now, and its times may be in its vnode. */
static int set_others_times(struct meta_inode *inode, const void *arg)
{
    if (S_ISREG(inode->mode))
        return 1;
    set_times(inode, arg);
    return 0;
}

static int set_vnode_times(struct fs *fs, uint64_t ino, const struct times *times)
{
    struct shm_vnode *vnode;
    struct meta_inode inode;
    struct fs_txn txn;
    int rc = fs_vnode_open(fs, ino, &vnode);

    if (rc)
        return rc;
    rc = dax_lock_any(&fs->dax, vnode);
    if (rc == 0) {
        rc = fs_vnode_begin(fs, vnode, &txn, &inode);
        if (rc == 0) {
            set_times(&inode, times);
            rc = fs_vnode_commit(vnode, &txn, &inode);
        }
        dax_unlock(&fs->dax, vnode);
    }
    fs_vnode_close(fs, vnode);
    return rc;
}

/* 1: something else has the name by now. */
static int set_times_once(struct fs *fs, struct fs_at at, bool follow, const struct times *times)
{
    struct meta_inode inode;
    struct fs_place place;
    int rc = fs_lookup(fs, at, follow, &place, &inode);

    if (rc || (!times->set[0] && !times->set[1]))
        return rc;
    if (!S_ISREG(place.type)) {
        HF_LAB_AT(HF_LAB_OPENS);
        return change_inode(fs, at, follow, set_others_times, times);
    }
    rc = set_vnode_times(fs, place.ino, times);
    if (rc == -ENOENT)
        return *at.path ? 1 : fs_stale(at.ino);
    return rc;
}

int fs_utimens(struct fs *fs, struct fs_at at, const struct timespec given[2], bool follow)
{
    struct times times;
    unsigned looks = 0;
    int rc = read_times(given, &times), again;

    rc = rc ? rc : fs_may_write(fs);
    if (rc)
        return rc;
    do {
        rc = set_times_once(fs, at, follow, &times);
        again = rc == 1 ? fs_look_again(&looks) : rc;
    } while (rc == 1 && again == 0);
    return again;
}
