/* SPDX-License-Identifier: MIT */
/*
 * Files: names, inodes, space, content, and the layout changes of one file, on top of pages (dax),
 * records (meta) and the run segment (shm). This is what src/pool and src/api use.
 *
 * The truth about a file lies in three places, each with one rule:
 *
 *   LMDB      names, attributes, extents. Changed by one transaction a call (txn.h), always under
 *             space_mutex, so that the free-space bitmap and LMDB agree at every commit.
 *   vnode     size and times of a file in use. LMDB has older ones while vnode->dirty. Changed
 *             under the layout mutex, but for the time of a write into present pages, which needs
 *             no mutex. inode.version is raised only by transactions under the layout mutex: a
 *             process that takes the mutex from a dead owner tells by it whether the owner had
 *             committed.
 *   blocks    bytes past end of file in its last page may be anything, and are zeroed when the
 *             size grows over them. Blocks wholly past end of file hold zeros.
 *
 * Locks: vnode.mutex > space_mutex > table_mutex. A snapshot (meta_begin_read) is open in a thread
 * only while it reads: never while a mutex is taken, pages are pinned or memory is synced.
 */
#ifndef HF_FS_H
#define HF_FS_H

#include "base/error.h"
#include "dax/dax.h"
#include "holdfast/compact.h"
#include "holdfast/serve.h"

#include <errno.h>

struct fs_task;
struct fs_txn;

/* Changes of this process that wait for space_mutex, and may become part of another's transaction
 * (join.c, queue.c). */
struct fs_joint {
    pthread_mutex_t mutex;
    struct fs_txn *first, **last;
    uint32_t count; /* under it; looked at without */
};

#define FS_TASKS 16u

struct fs {
    struct dax dax;
    struct fs_joint joint;
    /* Work that threads of this process leave to the holder of space_mutex (task.c). */
    struct fs_task *tasks[FS_TASKS];
    uint32_t tasks_waiting;
    bool host_in_txn; /* the holder reserves blocks inside a transaction */
    bool durable;
    uint32_t handles; /* open files and directories of this process */
    char dir[4096];   /* "": anonymous */
};

struct hf_file {
    struct dax_line line;
    struct fs *fs;
    struct shm_vnode *vnode;
    uint64_t ino;
    bool readable, writable, append;
    int watches; /* hf_watch(); under the layout mutex */
    /* Flags that no pin of this handle may have; FS_PIN_READS: none at all. */
    uint64_t pin_refused;
    void *memory; /* that the handle lies in */
};

static inline uint64_t fs_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t fs_page_of(uint64_t byte)
{
    return byte / HF_BLOCK_BYTES;
}

/* 0, or -EROFS: the pool is open for reading only. */
static inline int fs_may_write(const struct fs *fs)
{
    return fs->dax.readonly ? hf_fail(EROFS, "the pool is open for reading only") : 0;
}

/* For a call that finds the file changed since its last look, and looks again. After so many looks
 * the reason is not another process but a wrong word in the run segment. The call would go on for
 * ever. */
#define FS_LOOKS_MAX 1000u
static inline int fs_look_again(unsigned *looks)
{
    return ++*looks < FS_LOOKS_MAX
               ? 0
               : hf_fail(EUCLEAN, "the file does not stay as it is found: the pool's run segment "
                                  "is damaged, and is made again when nobody has the pool open");
}

#define FS_PIN_FLAGS                                                                               \
    (HF_PIN_WRITE | HF_PIN_NOWAIT | HF_PIN_NOFILL | HF_PIN_COHERENT | HF_PIN_YIELD |               \
     HF_PIN_GPU)                         /* all that hf_pin() knows */
#define FS_PIN_READS (UINT64_C(1) << 32) /* what every pin does; no flag of a caller */

struct hf_dir;

/* ---- names (name.c, rename.c, unlink.c, attributes.c, xattr.c, dir.c) ---- */

/* What a caller names. A relative path starts at inode `ino`. The empty path is that inode
 * itself, also without names as long as it is open somewhere. -ESTALE: the inode is gone. */
struct fs_at {
    uint64_t ino;
    const char *path;
};

int fs_mkdir(struct fs *fs, struct fs_at at, mode_t mode);
int fs_rmdir(struct fs *fs, struct fs_at at);
int fs_mknod(struct fs *fs, struct fs_at at, mode_t mode, dev_t rdev);
int fs_link(struct fs *fs, struct fs_at from, struct fs_at to);
int fs_symlink(struct fs *fs, const char *target, struct fs_at at);
ssize_t fs_readlink(struct fs *fs, struct fs_at at, char *buf, size_t len);
int fs_unlink(struct fs *fs, struct fs_at at, const struct hf_policy *policy);
int fs_rename(struct fs *fs, struct fs_at from, struct fs_at to, uint32_t flags);
int fs_stat(struct fs *fs, struct fs_at at, bool follow, struct stat *out);
int fs_statx(struct fs *fs, struct fs_at at, bool follow, struct statx *out);
int fs_fstat(struct hf_file *file, struct stat *out);
int fs_chmod(struct fs *fs, struct fs_at at, mode_t mode);
int fs_chown(struct fs *fs, struct fs_at at, uid_t uid, gid_t gid, bool follow);
int fs_utimens(struct fs *fs, struct fs_at at, const struct timespec times[2], bool follow);
int fs_setxattr(struct fs *fs, struct fs_at at, const char *name, const void *value, size_t len,
                uint32_t flags);
ssize_t fs_getxattr(struct fs *fs, struct fs_at at, const char *name, void *value, size_t len);
ssize_t fs_listxattr(struct fs *fs, struct fs_at at, char *list, size_t len);
int fs_removexattr(struct fs *fs, struct fs_at at, const char *name);
#define FS_CAPABILITY "security.capability" /* of a program, as the kernel names it */
/* Looked up only in pools that may have such a file: run->capable. After an error the file may
 * still have a capability. */
int fs_drop_capability(struct fs *fs, uint64_t ino);
int fs_opendir(struct fs *fs, struct fs_at at, struct hf_dir **out);
int fs_readdir(struct hf_dir *dir, struct hf_dirent *out);
int fs_seekdir(struct hf_dir *dir, const char *name);
int fs_closedir(struct hf_dir *dir);
struct fs *fs_of_dir(const struct hf_dir *dir);

/* ---- files and their content (open.c, io.c, append.c, copy.c, fill.c) ---- */

int fs_open(struct fs *fs, struct fs_at at, int flags, mode_t mode, struct hf_file **out);
int fs_close(struct hf_file *file);
ssize_t fs_read(struct hf_file *file, void *buf, size_t len, uint64_t off);
ssize_t fs_write(struct hf_file *file, const void *buf, size_t len, uint64_t off);
ssize_t fs_append(struct hf_file *file, const void *buf, size_t len, uint64_t *off);
/* Clones; len 0: to the end of `from`. */
int fs_clone_range(struct hf_file *from, uint64_t from_off, struct hf_file *to, uint64_t to_off,
                   uint64_t len, const struct hf_policy *policy);
ssize_t fs_clone_files(struct fs *fs, struct hf_clone_entry *entries, size_t count);
int fs_dedup_range(struct hf_file *a, uint64_t a_off, struct hf_file *b, uint64_t b_off,
                   uint64_t len, struct hf_dedup_result *out);
ssize_t fs_copy_range(struct hf_file *from, uint64_t from_off, struct hf_file *to, uint64_t to_off,
                      size_t len);
int fs_fsync(struct hf_file *file);
int fs_seek(struct hf_file *file, uint64_t off, int whence, uint64_t *out);

/* Gives every page of [page, page+count) that lies inside the file and is a hole a block of zeros.
 * For pins. Called with no lock held. -ENOSPC, -EROFS, -EINTR. */
int fs_fill(struct fs *fs, struct shm_vnode *vnode, uint64_t page, uint64_t count);
/* Gives dax_pin() and dax_lease() what they lack, when they return -ENODATA or -EMLINK for pages,
 * or -ENOLCK. Other values of rc come back. */
int fs_provide(struct fs *fs, struct shm_vnode *vnode, int rc, const struct meta_extent *pages);

/* The return value of a pin with HF_PIN_NOFILL that got -EMLINK, which an engine that counts gives
 * to pins for reading too. */
int fs_no_pin(const struct fs *fs, uint64_t page);
/* The return value of a pin or lease that got -E2BIG, with a sentence that says how many pieces
 * there are now. With no lock held. */
int fs_many_pieces(struct fs *fs, const struct shm_vnode *vnode, uint64_t off, uint64_t len,
                   int room);

/* ---- layout changes (truncate.c, punch.c, allocate.c, shift.c, move.c, compact.c) */

int fs_truncate(struct fs *fs, struct shm_vnode *vnode, uint64_t size,
                const struct hf_policy *policy);
int fs_allocate(struct fs *fs, struct shm_vnode *vnode, uint64_t off, uint64_t len, bool keep_size);
int fs_punch(struct fs *fs, struct shm_vnode *vnode, uint64_t off, uint64_t len,
             const struct hf_policy *policy);
int fs_zero_range(struct fs *fs, struct shm_vnode *vnode, uint64_t off, uint64_t len,
                  bool keep_size, const struct hf_policy *policy);
int fs_collapse(struct fs *fs, struct shm_vnode *vnode, uint64_t off, uint64_t len,
                const struct hf_policy *policy);
int fs_insert(struct fs *fs, struct shm_vnode *vnode, uint64_t off, uint64_t len,
              const struct hf_policy *policy);
int fs_move(struct fs *fs, struct shm_vnode *vnode, uint64_t off, uint64_t len,
            const struct hf_policy *policy);
/* The same for whole pages, also past end of file. The deadline counts from since_ns. */
int fs_move_pages(struct fs *fs, struct shm_vnode *vnode, uint64_t page, uint64_t end,
                  const struct hf_policy *policy, uint64_t since_ns);
/* All that lies past `blocks` moves to other blocks, with no lock held. 0: nothing was in use there
 * a moment ago. fs_space_bar() comes before. -EBUSY, -ETIMEDOUT: somebody holds a part of it. */
int fs_vacate(struct fs *fs, uint64_t blocks, const struct hf_policy *policy, uint64_t since_ns);
/* What files have in a group of blocks moves to other blocks, with no lock held. It waits for
 * nobody, and leaves what may be shared: -EBUSY and its like. 0: each file was looked at once. */
int fs_vacate_group(struct fs *fs, uint64_t group);
/* Null policy: it waits for nobody. */
int fs_compact(struct fs *fs, struct shm_vnode *vnode, uint64_t off, uint64_t len, uint32_t flags,
               const struct hf_policy *policy, struct hf_compact_result *out);

/* ---- looking (list_extents.c, path.c) ---- */

int fs_extents(struct fs *fs, uint64_t ino,
               int (*each)(void *arg, const struct hf_extent_info *info), void *arg);
int fs_path(struct fs *fs, uint64_t ino, char *buf, size_t len);

/* ---- housekeeping (reclaim.c, room.c, orphan.c, vnode.c) ---- */

/* Frees detached blocks that lost their last holder. Called with no lock held. */
void fs_reclaim(struct fs *fs);
/* Finds dead processes and gives back what they had: reserved blocks, files without names. Called
 * with no lock held. */
void fs_reap(struct fs *fs);
/* Both, before a call fails for want of space. */
void fs_make_room(struct fs *fs);
/* Records size and times of every file in use, open or not: before the segment goes, or a vnode is
 * evicted. */
int fs_sync_all(struct fs *fs);
/* Gives the memory of free blocks back to the system, but for so much of it (trim.c). With no lock
 * held. -EBUSY, -EOPNOTSUPP, as hf_pool_trim(). */
int fs_trim(struct fs *fs, uint64_t keep_bytes, struct hf_trim_result *out);
/* No vnode knows a size or times that its record does not have. */
bool fs_all_recorded(const struct fs *fs);

#endif
