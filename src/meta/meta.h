/* SPDX-License-Identifier: MIT */
/*
 * Metadata: one LMDB environment a pool, in POOL/meta. Everything about an inode lies side by side
 * in one key space, so that a truncate or a small create touches one leaf:
 *
 *     01                            super record
 *     10 ino 01                     inode
 *     10 ino 02 page                extent: pages [page, page+count) on blocks [block, block+count)
 *     10 ino 03 name                directory entry
 *     10 ino 04 name                extended attribute
 *     10 ino 05                     target of a symbolic link
 *     20 block                      detached run: blocks in no file that a pin still holds
 *     20 block ino page             the same, where the block may have other owners too
 *     30 ino                        orphan: an inode without names that was still open
 *     40 block                      owners: blocks that are not one extent's alone
 *     50 ino                        intent: a layout change whose extents have not all moved
 *
 * Integers in keys are big-endian (bytewise order is numeric order), in values little-endian.
 * Free space has no record: a block that no extent and no detached run names is free.
 *
 * Readers never block, and hold up nothing but the reuse of old metadata pages (readers.c): end
 * them before you wait for anything. Writers exclude each other. The caller (src/fs) serialises
 * them with its own robust lock, so a write transaction that dies with its process is simply not
 * there. A record that makes no sense is -EUCLEAN with a sentence, never a crash.
 */
#ifndef HF_META_H
#define HF_META_H

#include "base/lab.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define META_FORMAT 1u
#define META_ROOT_INO 1u
#define META_FILE_PAGES (UINT64_C(1) << 32)        /* 16 TiB in blocks of 4 KiB */
#define META_INO_END (UINT64_C(1) << 62)           /* no inode number from here on */
#define META_POLICY_KINDS 5u                       /* HF_POLICY_DEADLINE_DETACH */
#define META_QUARANTINE_NS_MAX (UINT64_C(1) << 62) /* added to a time, it is still one */

struct shm;
struct shm_mutex;
struct shm_records;
struct meta;     /* an open environment; one a process and pool */
struct meta_txn; /* a transaction; belongs to one thread */

#define META_INCOMPAT_SHARED UINT64_C(1)  /* a block may have several owners */
#define META_INCOMPAT_INTENTS UINT64_C(2) /* there is an intent */
#define META_COMPAT_TRIMMED UINT64_C(1)   /* a block may have no memory: fs/back.c */

struct meta_super {
    uint32_t format;
    uint32_t flags; /* HF_POOL_* */
    uint64_t incompat, ro_compat, compat;
    uint8_t uuid[16];
    uint64_t pool_bytes, limit_bytes;
    uint32_t mode;
    uint32_t policy_kind;
    uint64_t policy_deadline_ns;
    uint32_t max_processes, max_threads, max_files, max_leases;
    uint64_t next_ino;      /* never used before; inode numbers are not reused */
    uint64_t inodes;        /* that exist */
    uint64_t fresh_block;   /* blocks from here on were never given out: their memory is zero */
    char engine[24];        /* terminated, rest zero */
    uint64_t quarantine_ns; /* 0: 30 s */
    /* Free memory above this goes back by itself: a multiple of 2 MiB; 0: none does. */
    uint64_t trim_above_bytes;
};

struct meta_inode {
    uint32_t mode, uid, gid, nlink;
    uint64_t size;   /* bytes; of a symbolic link: of its target */
    uint64_t blocks; /* blocks under it */
    uint64_t rdev;
    uint64_t parent;                                /* of a directory; else 0 */
    int64_t atime_ns, mtime_ns, ctime_ns, btime_ns; /* CLOCK_REALTIME */
    uint64_t version; /* raised by every transaction made under the layout mutex */
};

struct meta_extent {
    uint64_t page, block, count; /* count > 0 */
    /* Its blocks may have other owners: ask meta_owners_find(). Else they have none. */
    bool shared;
};

struct meta_dirent {
    uint64_t ino;
    uint32_t type; /* S_IFMT bits */
    char name[256];
};

/* --- environment --- */

/* Makes dir/meta with a super record and a root directory of `root`. */
int meta_create(const char *pool_dir, const struct meta_super *super,
                const struct meta_inode *root);

/* Looks at every page of POOL/meta/data.mdb without LMDB, which trusts its file. It checks magic,
 * page numbers, offsets, depths, the order of keys and the free list, and that each page is reached
 * once. Nobody may have it open for writing. After 0 no LMDB call on it can leave its map.
 * -EUCLEAN, -ENOENT. */
int meta_verify(const char *pool_dir, void (*progress)(void *arg, uint64_t done, uint64_t total),
                void *arg);

/* meta_verify() for the first to attach, alone. A transaction that was being committed when its
 * process died, and that does not count (commit.c), is taken back. under_way() says which one the
 * pool's last run segment names. */
typedef uint64_t meta_under_way(void *arg, const uint8_t uuid[16]);
int meta_settle(const char *pool_dir, meta_under_way *under_way, void *arg);

/* Opens POOL/meta. -EUCLEAN no super record or a senseless one; -EOPNOTSUPP feature bits it does
 * not know (unknown ro_compat bits only matter when `readonly` is false). */
int meta_open(const char *pool_dir, bool readonly, struct meta **out);
/* The same where other processes have it open, or have just closed it. `said_durable`: what the
 * segment says of the pool, which may be wrong. `readers_mutex` is the segment's, and is used until
 * meta_share(); null: there is no segment. */
int meta_join(const char *pool_dir, bool readonly, bool said_durable,
              struct shm_mutex *readers_mutex, struct meta **out);
/* Shares the words by which processes know of each other's transactions, and the segment's mutex.
 * Waits show in the lanes of `shm`; null: they are not to be cancelled. */
void meta_share(struct meta *meta, struct shm_records *shared, struct shm *shm);
void meta_close(struct meta *meta);
/* The same by the last process of the pool, which holds it exclusively. Where no commit is
 * unfinished, lock.mdb is removed. It has nothing more to say, and commits that another program of
 * LMDB's makes later must not be judged by it. */
void meta_close_last(struct meta *meta, const char *pool_dir);

/* Removes POOL/meta/lock.mdb and makes an empty one with the slots that the super record asks for.
 * For the first process to attach, alone and after meta_verify(): LMDB trusts what is there. */
int meta_reset_lock(const char *pool_dir);

/* Frees the reader slots of dead processes. */
void meta_reap_readers(struct meta *meta);

int meta_sync(struct meta *meta); /* everything committed is on the medium */

/* --- transactions --- */

/* A snapshot. Cached a thread: begin and end cost a few ten ns. At most one at a time in a thread
 * (a write transaction beside it is allowed). -EBUSY: all reader slots are taken. */
int meta_begin_read(struct meta *meta, struct meta_txn **out);
void meta_end_read(struct meta_txn *txn);
/* Two snapshots of one pool with the same number show the same. */
uint64_t meta_snapshot_number(const struct meta_txn *txn);

/* 0, or -EUCLEAN when LMDB has given up on the file, here or in another process. */
int meta_refused(const struct meta *meta);

/* A snapshot for mending after a death, which needs no slot and no memory: one at a time in a
 * process. It shows what counts of a dead process's transaction (commit.c). */
int meta_begin_look(struct meta *meta, struct meta_txn **out);
void meta_end_look(struct meta_txn *txn);

/* Under space_mutex, or alone. */
int meta_begin_write(struct meta *meta, struct meta_txn **out);
/* Before other threads have transactions inside this one, which is not used meanwhile. In a durable
 * pool only. */
void meta_lend(struct meta_txn *txn);
/* A transaction of this thread inside the one that another thread has lent: one at a time. Its
 * commit makes it a part of that one, which decides what becomes of it. */
int meta_begin_inside(struct meta_txn *outer, struct meta_txn **out);
/* The transaction frees something, or records what others have done. So it may use the room that is
 * spared for that on a full file system. */
void meta_txn_frees(struct meta_txn *txn);
/* Another change follows, of which that has not been said. */
void meta_txn_next_part(struct meta_txn *txn);
/* Ends it also when it fails; -ENOSPC, -EIO: nothing happened. */
int meta_commit(struct meta_txn *txn);
void meta_abort(struct meta_txn *txn);

/* Frees this thread's cached snapshot; called at the end of a thread and before meta_close(). */
void meta_thread_end(struct meta *meta);

/* --- records: -ENOENT absent, -EUCLEAN senseless, -ENOSPC the environment is full --- */

int meta_super_get(struct meta_txn *txn, struct meta_super *out);
/* In a snapshot of its own. */
int meta_super_read(struct meta *meta, struct meta_super *out);
int meta_super_put(struct meta_txn *txn, const struct meta_super *super);

int meta_inode_get(struct meta_txn *txn, uint64_t ino, struct meta_inode *out);
int meta_inode_put(struct meta_txn *txn, uint64_t ino, const struct meta_inode *inode);
/* Removes the inode with its extents, entries, attributes and target, which the caller has dealt
 * with. 0 also when there was nothing. */
int meta_inode_del(struct meta_txn *txn, uint64_t ino);
/* The first inode at or after *ino: its number goes to *ino. */
int meta_inode_next(struct meta_txn *txn, uint64_t *ino, struct meta_inode *out);

/* The extent that covers `page`, else the first one after it. An intent of the file is applied. */
int meta_extent_find(struct meta_txn *txn, uint64_t ino, uint64_t page, struct meta_extent *out);
/* The last extent that begins before `page`. */
int meta_extent_before(struct meta_txn *txn, uint64_t ino, uint64_t page, struct meta_extent *out);
/* Both in one search: counts of 0 where there is none. */
int meta_extent_around(struct meta_txn *txn, uint64_t ino, uint64_t page,
                       struct meta_extent *before, struct meta_extent *out);
/* The first, of the extents as they are stored: for what they take, not for where pages lie. */
int meta_stored_find(struct meta_txn *txn, uint64_t ino, uint64_t page, struct meta_extent *out);
/* The calls that follow are for files without an intent. */
/* Where the extent begins that comes after `nth` others, of those that begin at or after `page`.
 * -ENOENT: there are not so many. */
int meta_extent_nth(struct meta_txn *txn, uint64_t ino, uint64_t page, unsigned nth, uint64_t *out);
/* Adds a run over what must be a hole (-EUCLEAN); merges it with a neighbour where page and block
 * both continue. -EFBIG: beyond 16 TiB. */
int meta_extent_insert(struct meta_txn *txn, uint64_t ino, const struct meta_extent *extent);
/* Takes pages [page, page+count) out. `removed` is called for every run that went, in order. A
 * result of it other than 0 ends the removal with that. A `count` may reach past the end
 * (UINT64_MAX - page). */
int meta_extent_remove(struct meta_txn *txn, uint64_t ino, uint64_t page, uint64_t count,
                       int (*removed)(void *arg, const struct meta_extent *run), void *arg);
/* Pages of *pages get its blocks, which are theirs alone: as many as the first one's extent has, if
 * that is marked as shared. Then pages->count says how many (0: none). *gone is what they had, and
 * *more how many pages of that extent follow them. */
int meta_extent_swap(struct meta_txn *txn, uint64_t ino, struct meta_extent *pages,
                     struct meta_extent *gone, uint64_t *more);
/* Moves every extent at or after `page` by `delta` pages (none may straddle `page`: see
 * meta_extent_split()); merges at the seam. */
int meta_extent_shift(struct meta_txn *txn, uint64_t ino, uint64_t page, int64_t delta);
int meta_extent_split(struct meta_txn *txn, uint64_t ino, uint64_t page);
/* Marks the extents of [page, page+count). `shared`: their blocks may have other owners; else they
 * have none. */
int meta_extent_mark(struct meta_txn *txn, uint64_t ino, uint64_t page, uint64_t count,
                     bool shared);

#define META_FILE_RUNS 64u

/* A file as it lies there. */
struct meta_file {
    struct meta_inode inode;
    size_t count; /* of runs */
    bool more;    /* there are records that are not told here: attributes, or more extents */
    struct meta_extent runs[META_FILE_RUNS];
};
/* Runs as they are stored: of a file that has no intent, or for what they take. */
int meta_file_get(struct meta_txn *txn, uint64_t ino, struct meta_file *out);
/* For an inode that has no records yet; `more` is ignored. Runs are in order and apart. */
int meta_file_put(struct meta_txn *txn, uint64_t ino, const struct meta_file *file);

int meta_dirent_get(struct meta_txn *txn, uint64_t dir, const char *name, struct meta_dirent *out);
int meta_dirent_put(struct meta_txn *txn, uint64_t dir, const char *name, uint64_t ino,
                    uint32_t type);
/* -EEXIST: there is one of that name, and nothing has changed. */
int meta_dirent_add(struct meta_txn *txn, uint64_t dir, const char *name, uint64_t ino,
                    uint32_t type);
int meta_dirent_del(struct meta_txn *txn, uint64_t dir, const char *name);
/* The first entry whose name is bytewise greater than `after` ("" for the first). */
int meta_dirent_next(struct meta_txn *txn, uint64_t dir, const char *after,
                     struct meta_dirent *out);
/* The entry after the one that was found last in the transaction, if nothing was done in it since.
 * -ENOENT: there is none. */
int meta_dirent_step(struct meta_txn *txn, uint64_t dir, struct meta_dirent *out);

/* *value points into the snapshot: valid until the transaction ends or writes. */
int meta_xattr_get(struct meta_txn *txn, uint64_t ino, const char *name, const void **value,
                   size_t *len);
int meta_xattr_put(struct meta_txn *txn, uint64_t ino, const char *name, const void *value,
                   size_t len);
int meta_xattr_del(struct meta_txn *txn, uint64_t ino, const char *name);
int meta_xattr_next(struct meta_txn *txn, uint64_t ino, const char *after, char name[256]);

/* POSIX ACLs are the values of two attributes (acl.c). */
#define META_ACL_ACCESS "system.posix_acl_access"
#define META_ACL_DEFAULT "system.posix_acl_default"
/* -EINVAL: senseless; -EOPNOTSUPP: of an unknown version. The others want one that has passed
 * this. */
int meta_acl_check(const void *value, size_t len);
/* -EINVAL: a user or group is named twice, which harms nothing: the first entry counts.
 * O(entries^2). */
int meta_acl_check_unique(const void *value, size_t len);
/* True: the value has no entry, and stands for no ACL. */
bool meta_acl_empty(size_t len);
/* The permission bits that it stands for. True: it says more than they do. */
bool meta_acl_get_mode(const void *value, size_t len, uint32_t *mode);
void meta_acl_set_mode(void *value, size_t len, uint32_t mode);

int meta_symlink_get(struct meta_txn *txn, uint64_t ino, const char **target, size_t *len);
int meta_symlink_put(struct meta_txn *txn, uint64_t ino, const char *target, size_t len);

/* Detached runs; page says where they were. Those that are shared may overlap each other and
 * extents. */
struct meta_detached {
    uint64_t block, count, ino, page;
    bool shared; /* as of an extent; part of the key */
};
int meta_detached_put(struct meta_txn *txn, const struct meta_detached *run);
/* The record with that block, and with that inode and page if it is shared. */
int meta_detached_del(struct meta_txn *txn, const struct meta_detached *run);
int meta_detached_get(struct meta_txn *txn, const struct meta_detached *run,
                      struct meta_detached *out);
/* The first at or after the block; the one after `run`, in order of block. */
int meta_detached_from(struct meta_txn *txn, uint64_t block, struct meta_detached *out);
int meta_detached_after(struct meta_txn *txn, const struct meta_detached *run,
                        struct meta_detached *out);

/* Owners (owners.c): how many extents and shared detached records name each block of a run. */
struct meta_owners {
    uint64_t block, count;
    uint32_t extents, records;
};
typedef int meta_owners_changed(void *arg, const struct meta_owners *before,
                                const struct meta_owners *after);
/* The owners of `block`. out->count: how many of the `count` blocks from it on have the same
 * numbers. */
int meta_owners_find(struct meta_txn *txn, uint64_t block, uint64_t count, struct meta_owners *out);
/* The first run of the table at or after the block. */
int meta_owners_next(struct meta_txn *txn, uint64_t block, struct meta_owners *out);
/* Each block gets so many more extents and records, or less. `changed` is called for each run. */
int meta_owners_change(struct meta_txn *txn, uint64_t block, uint64_t count, int extents,
                       int records, meta_owners_changed *changed, void *arg);

/* A run of blocks in use. page: where it is in its file, or was when it left it. */
struct meta_run {
    uint64_t ino, page, block, count;
    bool detached;
    bool shared; /* its blocks may have other owners */
};
/* Calls `each` for each run of the file `ino`, then for each detached run of it; with 0, for those
 * of every file. A result of `each` other than 0 ends it with that. */
int meta_runs_each(struct meta_txn *txn, uint64_t ino,
                   int (*each)(void *arg, const struct meta_run *run), void *arg);
/* For those of every file and all detached ones, as they are stored: what blocks are in use. */
int meta_runs_each_stored(struct meta_txn *txn, int (*each)(void *arg, const struct meta_run *run),
                          void *arg);

int meta_orphan_put(struct meta_txn *txn, uint64_t ino);
int meta_orphan_del(struct meta_txn *txn, uint64_t ino);
int meta_orphan_next(struct meta_txn *txn, uint64_t *ino); /* first at or after *ino */

/* A layout change that has committed. Its extents are brought into line in steps (intent.c). */
enum meta_intent_kind { META_INTENT_FREE = 1, META_INTENT_COLLAPSE, META_INTENT_INSERT };
struct meta_intent {
    uint64_t ino;
    enum meta_intent_kind kind;
    uint64_t page, count; /* freed, taken out or put in */
    /* 0; or the first page that is still to be moved; or the first that has been. */
    uint64_t cursor;
};
/* -ENOENT: the file has none. */
int meta_intent_get(struct meta_txn *txn, uint64_t ino, struct meta_intent *out);
/* The first of an inode at or after `ino`. */
int meta_intent_next(struct meta_txn *txn, uint64_t ino, struct meta_intent *out);
/* For a file that has none. To insert, no extent may straddle the page (meta_extent_split()), and
 * `cursor` is where the largest file ends. */
int meta_intent_put(struct meta_txn *txn, const struct meta_intent *intent);
/* A transaction changes so many extents of a file at once. Others can write in between. */
#define META_STEP_EXTENTS (HF_LAB_BROKEN(HF_LAB_SHORT_STEPS) ? 2u : 1024u)
/* Frees or moves at most so many extents. 1: there is more to do; 0: the intent is gone. `freed` is
 * called for each run that went, of which the inode has lost the blocks; the caller stores it. A
 * result of it other than 0 ends the step with that. */
int meta_intent_step(struct meta_txn *txn, uint64_t ino, unsigned most, struct meta_inode *inode,
                     int (*freed)(void *arg, const struct meta_extent *run), void *arg);

/* --- checking (holdfast fsck) --- */

enum meta_memory {
    META_MEMORY_UNKNOWN,
    META_MEMORY_THERE,
    META_MEMORY_MISSING,
    /* Nothing was ever written to it: it is not the one that the pool was made with. */
    META_MEMORY_EMPTY
};

struct meta_check {
    bool repair;
    enum meta_memory memory;
    uint64_t data_bytes; /* of POOL/data, 0 when unknown */
    /* Sets the first field of the super record right that makes no sense, and says which by
     * -EUCLEAN and a sentence; 0: there is none. May be null. */
    int (*mend_super)(struct meta_super *super);
    /* Copies content from blocks to blocks, onto the medium. May be null: then holes take the place
     * of copies. */
    int (*copy)(void *arg, uint64_t from, uint64_t to, uint64_t count);
    void *copy_arg;
    void (*report)(void *arg, const char *sentence);
    void (*progress)(void *arg, uint64_t done, uint64_t total);
    void *arg;
    meta_under_way *under_way; /* as for meta_settle() */
    void *under_way_arg;
    uint64_t inodes, extents, dirents, blocks_used, problems, repaired; /* filled in */
};
/* Nobody may have the pool open. 0 when it could look at everything, also when it found problems.
 * -EUCLEAN: it could not, and `repair` would not help; or it would, and is off. Repairs are one
 * transaction: after any error nothing has changed. Progress counts to a `total` of its own. */
int meta_check(const char *pool_dir, struct meta_check *check);

#endif
