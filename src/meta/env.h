/* SPDX-License-Identifier: MIT */
/*
 * Private to src/meta: the open environment, the transaction, keys and records.
 *
 * A transaction has one LMDB cursor. Most calls of one transaction touch one leaf (meta.h says
 * why). A cursor that stands on the right leaf finds a key there without going down from the root.
 * Every call begins by seeking, so none relies on where the one before left the cursor.
 */
#ifndef HF_META_ENV_H
#define HF_META_ENV_H

#include "meta/meta.h"
#include "shm/shm.h"

#include <lmdb.h>
#include <pthread.h>
#include <string.h>

#define META_BLOCK_BYTES 4096u
#define META_KNOWN_INCOMPAT (META_INCOMPAT_SHARED | META_INCOMPAT_INTENTS)
#define META_DURABLE 0x1u /* HF_POOL_DURABLE, among the flags of the super record */
#define META_NAME_MAX 255u
#define META_SYMLINK_MAX 4095u
#define META_XATTR_MAX 65536u
#define META_PATH_MAX 4096u

enum meta_table {
    META_SUPER = 0x01,
    META_INODE = 0x10,
    META_DETACHED = 0x20,
    META_ORPHAN = 0x30,
    META_OWNERS = 0x40,
    META_INTENT = 0x50
};

/* What follows the inode number in a key of META_INODE. */
enum meta_part {
    META_ATTRIBUTES = 0x01,
    META_EXTENT = 0x02,
    META_DIRENT = 0x03,
    META_XATTR = 0x04,
    META_TARGET = 0x05
};

struct meta_thread;

struct meta_txn {
    struct meta *meta;
    MDB_txn *lmdb;
    MDB_cursor *cursor;
    struct meta_txn *outer; /* it becomes part of this one; null: it is LMDB's own */
    bool write;
    bool open;
    bool frees;             /* it may use the pages that are spared for that */
    bool asserted;          /* LMDB has given up in it: nothing of it may be looked at any more */
    uint64_t room_pages;    /* may still be dirtied before more room must be reserved */
    uint32_t charged_pages; /* dirtied by the estimate of meta_charge() */
    /* Whether the pool has an intent, as LMDB's transaction of this number sees it. */
    bool intents_known, intents;
    uint64_t intents_of;
};

struct meta {
    MDB_env *env;
    MDB_dbi dbi;
    int fd;         /* of data.mdb; LMDB's own */
    int join_fd;    /* of lock.mdb: LMDB does not set it up again; -1: it may */
    dev_t lock_dev; /* of lock.mdb */
    ino_t lock_ino;
    const struct lmdb_lock *lock_file; /* lock.mdb; null: not known */
    bool readonly;
    bool in_place; /* LMDB writes through its map */
    unsigned page_bytes;
    uint64_t map_pages;
    uint64_t reserved_pages;     /* of data.mdb that have memory; by the holder of the write lock */
    uint64_t limit_blocks;       /* no extent reaches beyond */
    uint64_t id;                 /* never used again in this process */
    struct meta_thread *threads; /* under the registry's lock */
    struct meta *next;           /* in the registry */
    struct shm_records *shared;  /* with the other processes, when meta_share() has said so */
    struct shm_records own;
    struct shm *shm;                 /* theirs; null: not shared */
    struct shm_mutex *readers_mutex; /* theirs (readers.c); null: there is none */
    bool stuck;           /* a write transaction of this process is for ever unfinished */
    struct meta_txn look; /* for recovery: under */
    pthread_mutex_t look_mutex;
};

/* --- keys --- */

#define META_KEY_PREFIX 10u /* table, inode number, part */
#define META_KEY_SHARED 25u /* table, block, inode number, page */
#define META_KEY_MAX 511u   /* of LMDB; ours are shorter, those of a damaged pool may not be */

struct meta_key {
    size_t len;
    unsigned char bytes[META_KEY_MAX];
};

static inline void meta_put_be64(unsigned char *to, uint64_t value)
{
    value = __builtin_bswap64(value);
    memcpy(to, &value, sizeof value);
}

static inline uint64_t meta_get_be64(const unsigned char *from)
{
    uint64_t value;

    memcpy(&value, from, sizeof value);
    return __builtin_bswap64(value);
}

static inline void meta_key_number(struct meta_key *key, enum meta_table table, uint64_t number)
{
    key->bytes[0] = (unsigned char)table;
    meta_put_be64(key->bytes + 1, number);
    key->len = 9;
}

static inline void meta_key_part(struct meta_key *key, uint64_t ino, enum meta_part part)
{
    meta_key_number(key, META_INODE, ino);
    key->bytes[9] = (unsigned char)part;
    key->len = META_KEY_PREFIX;
}

static inline void meta_key_extent(struct meta_key *key, uint64_t ino, uint64_t page)
{
    meta_key_part(key, ino, META_EXTENT);
    meta_put_be64(key->bytes + META_KEY_PREFIX, page);
    key->len = META_KEY_PREFIX + 8;
}

/* -ENAMETOOLONG beyond 255 bytes. */
int meta_key_name(struct meta_key *key, uint64_t ino, enum meta_part part, const char *name);

/* The key of a detached run that has blocks with other owners: several records can have the same
 * block. */
static inline void meta_key_shared(struct meta_key *key, uint64_t block, uint64_t ino,
                                   uint64_t page)
{
    meta_key_number(key, META_DETACHED, block);
    meta_put_be64(key->bytes + 9, ino);
    meta_put_be64(key->bytes + 17, page);
    key->len = META_KEY_SHARED;
}

/* True when `found` is a key of that part of that inode. */
static inline bool meta_key_is_part(const MDB_val *found, uint64_t ino, enum meta_part part)
{
    const unsigned char *bytes = found->mv_data;

    return found->mv_size >= META_KEY_PREFIX && bytes[0] == META_INODE &&
           meta_get_be64(bytes + 1) == ino && bytes[9] == part;
}

/* --- values, as docs/FORMAT.md has them; little-endian and without padding --- */

struct meta_disk_super {
    char magic[8];
    uint32_t format, flags;
    uint64_t incompat, ro_compat, compat;
    uint8_t uuid[16];
    uint64_t pool_bytes, limit_bytes;
    uint32_t mode, policy_kind;
    uint64_t policy_deadline_ns;
    uint32_t max_processes, max_threads, max_files, max_leases;
    uint64_t next_ino, inodes, fresh_block;
    char engine[24];
    uint64_t quarantine_ns, trim_above_bytes;
    uint8_t zero[88];
};
struct meta_disk_inode {
    uint32_t mode, uid, gid, nlink;
    uint64_t size, blocks, rdev, parent;
    int64_t atime_ns, mtime_ns, ctime_ns, btime_ns;
    uint64_t version;
};
struct meta_disk_extent {
    uint64_t block, count;
};
#define META_COUNT_SHARED (UINT64_C(1) << 63) /* among the bits of an extent's count */
struct meta_disk_dirent {
    uint64_t ino;
    uint32_t type, zero;
};
struct meta_disk_detached {
    uint64_t count, ino, page;
};
struct meta_disk_owners {
    uint64_t count;
    uint32_t extents, records;
};
struct meta_disk_intent {
    uint64_t kind, page, count, cursor;
};
_Static_assert(sizeof(struct meta_disk_super) == 256, "docs/FORMAT.md: super record");
_Static_assert(sizeof(struct meta_disk_inode) == 88, "docs/FORMAT.md: inode");
_Static_assert(sizeof(struct meta_disk_extent) == 16, "docs/FORMAT.md: extent");
_Static_assert(sizeof(struct meta_disk_dirent) == 16, "docs/FORMAT.md: directory entry");
_Static_assert(sizeof(struct meta_disk_detached) == 24, "docs/FORMAT.md: detached run");
_Static_assert(sizeof(struct meta_disk_owners) == 16, "docs/FORMAT.md: owners");
_Static_assert(sizeof(struct meta_disk_intent) == 32, "docs/FORMAT.md: intent");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "values are stored as they are in memory");

/* The fields as they are, whatever they are. */
void meta_super_unpack(const struct meta_disk_super *disk, struct meta_super *out);
/* Each: 0, or -EUCLEAN with a sentence. */
int meta_super_decode(const MDB_val *value, struct meta_super *out);
int meta_inode_decode(uint64_t ino, const MDB_val *value, struct meta_inode *out);
int meta_extent_decode(uint64_t limit_blocks, const MDB_val *key, const MDB_val *value,
                       struct meta_extent *out);
int meta_dirent_decode(const MDB_val *key, const MDB_val *value, struct meta_dirent *out);
int meta_detached_decode(uint64_t limit_blocks, const MDB_val *key, const MDB_val *value,
                         struct meta_detached *out);
int meta_owners_decode(uint64_t limit_blocks, const MDB_val *key, const MDB_val *value,
                       struct meta_owners *out);
int meta_intent_decode(const MDB_val *key, const MDB_val *value, struct meta_intent *out);

/* --- records under the cursor --- */

/* LMDB's result as ours. -ENOENT gets no sentence: it is an answer, not a failure. */
int meta_result(int rc, const char *doing);

/* The record of exactly this key. */
int meta_seek(struct meta_txn *txn, const struct meta_key *key, MDB_val *value);
/* The first record at or after this key. */
int meta_seek_from(struct meta_txn *txn, const struct meta_key *key, MDB_val *found,
                   MDB_val *value);
/* The first record of a table at or after this number. */
int meta_seek_table(struct meta_txn *txn, enum meta_table table, uint64_t number, MDB_val *found,
                    MDB_val *value);
int meta_seek_last(struct meta_txn *txn, MDB_val *found, MDB_val *value);
/* The record after, before or under the cursor. */
int meta_step(struct meta_txn *txn, MDB_cursor_op step, MDB_val *found, MDB_val *value);

int meta_store(struct meta_txn *txn, const struct meta_key *key, const void *value, size_t len);
/* -EEXIST: there is a record of that key, and nothing has changed. */
int meta_store_new(struct meta_txn *txn, const struct meta_key *key, const void *value, size_t len);
/* Both can be one record. */
bool meta_extent_continues(const struct meta_extent *left, const struct meta_extent *right);
/* The stored extent that covers `page`, else the first one after it. And the last one that begins
 * before it. Counts of 0 where there is none. */
int meta_stored_around(struct meta_txn *txn, uint64_t ino, uint64_t page,
                       struct meta_extent *before, struct meta_extent *out);
/* The last stored extent that begins before `page`. */
int meta_stored_before(struct meta_txn *txn, uint64_t ino, uint64_t page, struct meta_extent *out);
/* Whether the stored extents lie as they can with this intent. */
int meta_intent_fits(struct meta_txn *txn, const struct meta_intent *intent, bool *fits);
/* Adds or overwrites an extent, with no look at those around it. */
int meta_extent_store(struct meta_txn *txn, uint64_t ino, const struct meta_extent *extent);
/* Overwrites the record under the cursor, whose key this is, with a value of the same length. */
int meta_overwrite(struct meta_txn *txn, const struct meta_key *key, const void *value, size_t len);
/* Removes the record under the cursor; MDB_NEXT then gives the one behind it. */
int meta_erase(struct meta_txn *txn);
int meta_erase_key(struct meta_txn *txn, const struct meta_key *key);

/* Makes sure that one more change of `len` bytes cannot run out of memory under LMDB's map. */
int meta_charge(struct meta_txn *txn, size_t len);

/* --- LMDB, with its assertions caught (guard.c) --- */

/* Before anything else is done with the environment. */
void meta_guard_env(struct meta *meta);
/* Each: as meta_result() has it; also -EUCLEAN after an assertion, and from then on. */
int lmdb_open_cursor(struct meta_txn *txn);
int lmdb_renew_cursor(struct meta_txn *txn);
int lmdb_get(struct meta_txn *txn, MDB_val *key, MDB_val *value, MDB_cursor_op op);
int lmdb_put(struct meta_txn *txn, MDB_val *key, MDB_val *value, unsigned flags);
int lmdb_del(struct meta_txn *txn);
int lmdb_commit(struct meta_txn *txn);

/* --- what counts (commit.c) --- */

int meta_look_open(struct meta *meta);
void meta_look_close(struct meta *meta);
/* Before a write transaction: takes back what does not count. Under space_mutex. */
int meta_settle_commit(struct meta *meta);
/* The newest transaction was not finished, does not count, and the one before it is whole;
 * `verified` is what meta_verify() has said. */
bool meta_unfinished(const char *pool_dir, int verified, meta_under_way *under_way, void *arg);
/* *fd keeps LMDB from setting lock.mdb up again; -1: it may, or there is none. */
int meta_hold_lock_file(const char *pool_dir, int *fd);

/* --- old snapshots (readers.c) --- */

/* Before a write transaction, under space_mutex. May wait for an old snapshot to end, for half a
 * moment; not if this thread `reads`, since that may be its own. -EBUSY: the snapshot of a stopped
 * process keeps LMDB from using pages again, and the file has grown as much as is allowed for that.
 * The last page in use goes to *last_page. */
int meta_held_up(struct meta *meta, bool reads, uint64_t *last_page);

/* --- environment --- */

/* A new snapshot with a slot of its own. 0, with LMDB's result in *lmdb; or as shm_lock(). */
int meta_take_slot(struct meta *meta, MDB_txn **out, int *lmdb);
/* Before LMDB may take the mutex of its readers' table, and after it. As shm_lock(). */
int meta_readers_begin(struct meta *meta);
void meta_readers_end(struct meta *meta);
/* LMDB takes it when the next write transaction begins. */
bool meta_writer_died(const struct meta *meta);

/* Opens POOL/meta without its lock file: no other process may have it open. The super record may be
 * damaged: then limit_blocks is 0. */
int meta_open_alone(const char *pool_dir, bool readonly, struct meta **out);
/* POOL/meta and, behind it, `name` (may be ""). -ENAMETOOLONG. */
int meta_path(char buf[META_PATH_MAX], const char *pool_dir, const char *name);

/* Puts a new environment into the registry; takes it out with the snapshots of all threads. */
void meta_register(struct meta *meta);
void meta_unregister(struct meta *meta);
/* Keeps it, open, as long as the process is there. */
void meta_put_aside(struct meta *meta);

#endif
