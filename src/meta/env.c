/* SPDX-License-Identifier: MIT */
/*
 * Owns the environment: making POOL/meta, opening and closing it. Calls LMDB, record.c and base.
 *
 * A memory pool lets LMDB write in place through its map and never sync (MDB_WRITEMAP, MDB_NOSYNC).
 * The map is shared memory. So a commit is complete for all processes when its meta page is
 * written, whichever process dies then. A durable pool uses LMDB's default: pages are written with
 * pwrite(2), synced, and only then named by a meta page. The super record says which of the two a
 * pool is, so the first process looks at that through a read-only environment. The others know it
 * from the segment, and only make sure.
 *
 * The map is as large as the metadata can become and never resized: it costs addresses, not memory.
 */
#include "meta/env.h"
#include "meta/lmdb_file.h"

#include "base/descriptor.h"
#include "base/error.h"
#include "shm/shm.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define KNOWN_RO_COMPAT UINT64_C(0)

/* 1 GiB, and 256 bytes a block: more than an extent of one block takes in leaves half full. */
#define MAP_BYTES_BASE (UINT64_C(1) << 30)
#define MAP_BYTES_A_BLOCK 256u
#define MAP_BYTES_MAX (UINT64_C(1) << 40)

/* The bytes of LMDB's lock file: a header, and a cache line for each reader slot. */
#define LOCK_HEADER_BYTES 4096u
#define LOCK_SLOT_BYTES 64u
#define SPARE_READERS 64u /* beside one a thread, one for recovery and one for opening a process */

int meta_path(char buf[META_PATH_MAX], const char *pool_dir, const char *name)
{
    int len = snprintf(buf, META_PATH_MAX, "%s/meta%s", pool_dir, name);

    if (len < 0 || (unsigned)len >= META_PATH_MAX)
        return hf_fail(ENAMETOOLONG, "the pool's path is too long");
    return 0;
}

static uint64_t map_bytes(uint64_t limit_bytes)
{
    uint64_t bytes = MAP_BYTES_BASE + limit_bytes / META_BLOCK_BYTES * MAP_BYTES_A_BLOCK;

    return bytes < MAP_BYTES_MAX ? bytes : MAP_BYTES_MAX;
}

/* --- one environment --- */

static unsigned env_flags(bool readonly, bool durable)
{
    unsigned flags = MDB_NOTLS | MDB_NORDAHEAD;

    if (readonly)
        return flags | MDB_RDONLY;
    return durable ? flags : flags | MDB_NOSYNC | MDB_WRITEMAP;
}

/* Called before LMDB has the file open: closing the file here would drop LMDB's locks on it. */
static void map_lock_file(struct meta *meta, const char *dir)
{
    char path[META_PATH_MAX + sizeof "/lock.mdb"];
    struct stat st;
    void *at;
    int fd;

    snprintf(path, sizeof path, "%s/lock.mdb", dir);
    fd = hf_fd_open(path, O_RDONLY, 0);
    if (fd < 0)
        return;
    if (fstat(fd, &st) == 0 && (uint64_t)st.st_size >= sizeof *meta->lock_file) {
        at = mmap(NULL, sizeof *meta->lock_file, PROT_READ, MAP_SHARED, fd, 0);
        meta->lock_file = at == MAP_FAILED ? NULL : at;
    }
    close(fd);
}

static int open_dbi(struct meta *meta)
{
    MDB_txn *txn;
    int lmdb, rc = meta_take_slot(meta, &txn, &lmdb);

    if (rc)
        return rc;
    if (lmdb == EAGAIN ||
        lmdb == EACCES) /* from fcntl(2): it locks a byte of lock.mdb by our pid */
        return hf_fail(EBUSY,
                       "a process of another pid namespace has the metadata open, as a tool of "
                       "LMDB's, and the same pid, %d: end it, or start this one again",
                       (int)getpid());
    if (lmdb)
        return meta_result(lmdb, "first snapshot");
    rc = mdb_dbi_open(txn, NULL, 0, &meta->dbi);
    if (rc == 0)
        rc = mdb_txn_commit(txn);
    else
        mdb_txn_abort(txn);
    return meta_result(rc, "open the table");
}

static int describe_env(struct meta *meta)
{
    MDB_envinfo info;
    MDB_stat stat;
    int rc = mdb_env_info(meta->env, &info);

    if (rc == 0)
        rc = mdb_env_stat(meta->env, &stat);
    if (rc == 0)
        rc = mdb_env_get_fd(meta->env, &meta->fd);
    if (rc)
        return meta_result(rc, "describe");
    meta->page_bytes = stat.ms_psize;
    meta->map_pages = info.me_mapsize / stat.ms_psize;
    /* The transaction that allocated a page had room reserved for it. */
    meta->reserved_pages = info.me_last_pgno + 1;
    return 0;
}

static void close_env(struct meta *meta)
{
    meta_look_close(meta);
    if (meta->stuck) {
        meta_put_aside(meta);
        return;
    }
    mdb_env_close(meta->env);
    if (meta->join_fd >= 0)
        close(meta->join_fd);
    if (meta->lock_file)
        munmap((void *)meta->lock_file, sizeof *meta->lock_file);
    pthread_mutex_destroy(&meta->look_mutex);
    free(meta);
}

static unsigned low_numbers(const char *dir)
{
    char path[META_PATH_MAX + 16];
    unsigned found;

    snprintf(path, sizeof path, "%s/data.mdb", dir);
    found = hf_fd_low_are(path);
    snprintf(path, sizeof path, "%s/lock.mdb", dir);
    return found | hf_fd_low_are(path);
}

/* LMDB opens its files itself, and leaves that of the data to programs that this one starts. */
static int open_files(struct meta *meta, const char *dir, unsigned flags, mode_t mode)
{
    unsigned before = low_numbers(dir);
    int rc, fd;

    hf_fd_guard_begin();
    rc = mdb_env_open(meta->env, dir, flags, mode);
    rc = rc == ENOMEM ? hf_fail_map(rc, "the pool's metadata") : meta_result(rc, "open");
    if (rc == 0 && low_numbers(dir) & ~before)
        rc = hf_fail(EBUSY, "another thread closed one of descriptors 0 to 2 while the pool was "
                            "being opened");
    hf_fd_guard_end();
    if (rc == 0)
        rc = meta_result(mdb_env_get_fd(meta->env, &fd), "describe");
    if (rc == 0 && fcntl(fd, F_SETFD, FD_CLOEXEC))
        rc = hf_fail_errno(errno, "metadata");
    return rc;
}

static void note_lock_file(struct meta *meta, const char *dir)
{
    char path[META_PATH_MAX + sizeof "/lock.mdb"];
    struct stat st = {0};

    snprintf(path, sizeof path, "%s/lock.mdb", dir);
    if (stat(path, &st))
        return;
    meta->lock_dev = st.st_dev;
    meta->lock_ino = st.st_ino;
}

/* map_bytes 0: as large as the file says. */
static int open_env(const char *dir, unsigned flags, uint64_t map, mode_t mode,
                    struct shm_mutex *readers_mutex, struct meta **out)
{
    struct meta *meta = calloc(1, sizeof *meta);
    int rc;

    if (!meta)
        return hf_fail(ENOMEM, "out of memory");
    rc = mdb_env_create(&meta->env);
    if (rc) {
        free(meta);
        return meta_result(rc, "create");
    }
    meta->join_fd = -1;
    meta->readers_mutex = readers_mutex;
    meta->shared = &meta->own;
    pthread_mutex_init(&meta->look_mutex, NULL);
    meta_guard_env(meta);
    meta->readonly = flags & MDB_RDONLY;
    meta->in_place = flags & MDB_WRITEMAP;
    rc = map != 0 ? meta_result(mdb_env_set_mapsize(meta->env, map), "open") : 0;
    if (rc == 0 && !(flags & MDB_NOLOCK))
        map_lock_file(meta, dir);
    if (rc == 0)
        rc = open_files(meta, dir, flags, mode);
    if (rc == 0)
        rc = open_dbi(meta);
    if (rc == 0)
        rc = describe_env(meta);
    if (rc == 0)
        rc = meta_look_open(meta);
    if (rc) {
        close_env(meta);
        return rc;
    }
    note_lock_file(meta, dir);
    *out = meta;
    return 0;
}

/* --- making --- */

static mode_t dir_mode(mode_t mode)
{
    return mode | (mode & 0444) >> 2 | 0700;
}

static int set_file_mode(const char *pool_dir, const char *name, mode_t mode)
{
    char path[META_PATH_MAX];
    int rc = meta_path(path, pool_dir, name);

    if (rc)
        return rc;
    return chmod(path, mode) ? hf_fail_errno(errno, "chmod %s", path) : 0;
}

static int first_records(struct meta *meta, const struct meta_super *super,
                         const struct meta_inode *root)
{
    struct meta_txn *txn;
    int rc = meta_begin_write(meta, &txn);

    if (rc)
        return rc;
    rc = meta_super_put(txn, super);
    if (rc == 0)
        rc = meta_inode_put(txn, META_ROOT_INO, root);
    if (rc) {
        meta_abort(txn);
        return rc;
    }
    return meta_commit(txn);
}

static int write_new(const char *pool_dir, const char *dir, const struct meta_super *super,
                     const struct meta_inode *root)
{
    unsigned flags = env_flags(false, super->flags & META_DURABLE) | MDB_NOLOCK;
    struct meta *meta;
    int rc = open_env(dir, flags, map_bytes(super->limit_bytes), 0600, NULL, &meta);

    if (rc)
        return rc;
    meta_register(meta);
    rc = first_records(meta, super, root);
    meta_close(meta);
    if (rc == 0)
        rc = meta_reset_lock(pool_dir);
    if (rc == 0)
        rc = set_file_mode(pool_dir, "/data.mdb", super->mode);
    return rc ? rc : set_file_mode(pool_dir, "", dir_mode(super->mode));
}

static void remove_all(const char *pool_dir)
{
    static const char *const names[] = {"/data.mdb", "/lock.mdb"};
    char path[META_PATH_MAX];

    for (unsigned i = 0; i < 2; i++)
        if (meta_path(path, pool_dir, names[i]) == 0)
            unlink(path);
    if (meta_path(path, pool_dir, "") == 0)
        rmdir(path);
}

int meta_create(const char *pool_dir, const struct meta_super *super, const struct meta_inode *root)
{
    char dir[META_PATH_MAX];
    int rc = meta_path(dir, pool_dir, "");

    if (rc)
        return rc;
    if (mkdir(dir, 0700))
        return hf_fail_errno(errno, "mkdir %s", dir);
    rc = write_new(pool_dir, dir, super, root);
    if (rc)
        remove_all(pool_dir);
    return rc;
}

/* --- opening --- */

static int check_features(const struct meta_super *super, bool readonly)
{
    uint64_t unknown = super->incompat & ~META_KNOWN_INCOMPAT;

    if (!readonly)
        unknown |= super->ro_compat & ~KNOWN_RO_COMPAT;
    if (unknown == 0)
        return 0;
    return hf_fail(EOPNOTSUPP,
                   "the pool has features 0x%" PRIx64 " that this version does not know", unknown);
}

/* The super record through an environment that only reads. */
static int peek(const char *dir, unsigned lock_flag, struct shm_mutex *readers_mutex,
                struct meta_super *out)
{
    struct meta *meta;
    int rc = open_env(dir, env_flags(true, false) | lock_flag, 0, 0, readers_mutex, &meta);

    if (rc)
        return rc;
    meta_register(meta);
    rc = meta_super_read(meta, out);
    meta_close(meta);
    return rc;
}

/* LMDB would make missing files. */
static int find_files(const char *pool_dir, char dir[META_PATH_MAX])
{
    char path[META_PATH_MAX];
    struct stat st;
    int rc = meta_path(dir, pool_dir, "");

    if (!rc)
        rc = meta_path(path, pool_dir, "/data.mdb");
    if (rc)
        return rc;
    if (stat(path, &st))
        return hf_fail_errno(errno, "%s", path);
    if (!S_ISREG(st.st_mode) || st.st_size == 0)
        return hf_fail(EUCLEAN, "%s is empty or not a file", path);
    return 0;
}

static int open_beside(const char *pool_dir, bool readonly, struct shm_mutex *readers_mutex,
                       struct meta **out)
{
    char dir[META_PATH_MAX];
    struct meta_super super;
    struct meta *meta;
    int rc = find_files(pool_dir, dir);

    if (rc == 0)
        rc = peek(dir, 0, readers_mutex, &super);
    if (rc == 0)
        rc = check_features(&super, readonly);
    if (rc == 0)
        rc = open_env(dir, env_flags(readonly, super.flags & META_DURABLE), 0, super.mode,
                      readers_mutex, &meta);
    if (rc)
        return rc;
    meta->limit_blocks = super.limit_bytes / META_BLOCK_BYTES;
    meta_register(meta);
    *out = meta;
    return 0;
}

int meta_open(const char *pool_dir, bool readonly, struct meta **out)
{
    return open_beside(pool_dir, readonly, NULL, out);
}

/* With one environment, where what is `said` of the pool is right. *out null: it was wrong. */
static int open_as_said(const char *pool_dir, bool readonly, bool said_durable,
                        struct shm_mutex *readers_mutex, struct meta **out)
{
    char dir[META_PATH_MAX];
    struct meta_super super;
    struct meta *meta;
    int rc = find_files(pool_dir, dir);

    *out = NULL;
    if (rc == 0)
        rc = open_env(dir, env_flags(readonly, said_durable), 0, 0600, readers_mutex, &meta);
    if (rc)
        return rc;
    meta_register(meta);
    rc = meta_super_read(meta, &super);
    rc = rc ? rc : check_features(&super, readonly);
    if (rc || (!readonly && said_durable != !!(super.flags & META_DURABLE))) {
        meta_close(meta);
        return rc;
    }
    meta->limit_blocks = super.limit_bytes / META_BLOCK_BYTES;
    *out = meta;
    return 0;
}

int meta_join(const char *pool_dir, bool readonly, bool said_durable,
              struct shm_mutex *readers_mutex, struct meta **out)
{
    int fd, rc = meta_hold_lock_file(pool_dir, &fd);

    if (rc)
        return rc;
    rc = open_as_said(pool_dir, readonly, said_durable, readers_mutex, out);
    if (rc == 0 && !*out)
        rc = open_beside(pool_dir, readonly, readers_mutex, out);
    if (rc == 0)
        (*out)->join_fd = fd;
    else if (fd >= 0)
        close(fd);
    return rc;
}

void meta_share(struct meta *meta, struct shm_records *shared, struct shm *shm)
{
    meta->shared = shared;
    meta->shm = shm;
    meta->readers_mutex = shm ? &shm->run->readers_mutex : NULL;
}

int meta_open_alone(const char *pool_dir, bool readonly, struct meta **out)
{
    char dir[META_PATH_MAX];
    struct meta_super super = {0};
    struct meta *meta;
    int rc = find_files(pool_dir, dir);

    if (rc)
        return rc;
    rc = peek(dir, MDB_NOLOCK, NULL, &super);
    if (rc && rc != -EUCLEAN)
        return rc;
    rc = check_features(&super, readonly);
    if (rc == 0)
        rc = open_env(dir, env_flags(readonly, super.flags & META_DURABLE) | MDB_NOLOCK, 0, 0600,
                      NULL, &meta);
    if (rc)
        return rc;
    meta->limit_blocks = super.limit_bytes / META_BLOCK_BYTES;
    meta_register(meta);
    *out = meta;
    return 0;
}

void meta_close(struct meta *meta)
{
    meta_unregister(meta);
    close_env(meta);
}

static int fill_with_zeros(int fd, uint64_t bytes)
{
    static const char zeros[LOCK_HEADER_BYTES];
    ssize_t n = 0;

    for (uint64_t at = 0; at < bytes && n >= 0; at += (uint64_t)n)
        n = pwrite(fd, zeros, bytes - at < sizeof zeros ? bytes - at : sizeof zeros, (off_t)at);
    return n < 0 ? -errno : 0;
}

/* lock.mdb says nothing any more. Its memory stays, for the next to attach. The pool may have been
 * moved, and another one be at its path. */
void meta_close_last(struct meta *meta, const char *pool_dir)
{
    bool rests = !meta->stuck && !hf_load_acquire(&meta->shared->under_way);
    struct stat ours = {.st_dev = meta->lock_dev, .st_ino = meta->lock_ino}, found;
    char path[META_PATH_MAX];
    int fd;

    meta_close(meta);
    if (!rests || meta_path(path, pool_dir, "/lock.mdb"))
        return;
    fd = hf_fd_open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK, 0);
    if (fd < 0)
        return;
    if (fstat(fd, &found) == 0 && found.st_dev == ours.st_dev && found.st_ino == ours.st_ino &&
        fill_with_zeros(fd, LOCK_HEADER_BYTES))
        unlink(path);
    close(fd);
}

/* A child of a process that has gone may hold it by a descriptor that it inherited: LMDB would not
 * set the file up. */
static bool is_locked(int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    return fcntl(fd, F_OFD_GETLK, &lock) || lock.l_type != F_UNLCK;
}

/* A file of before that is as a new one would be keeps its memory, which a full file system may not
 * give again. */
static bool reuse_lock(const char *path, const struct stat *data, mode_t mode, uint64_t bytes)
{
    int fd = hf_fd_open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK, 0);
    struct stat st;
    bool reused = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1 &&
                  st.st_uid == data->st_uid && st.st_gid == data->st_gid &&
                  (st.st_mode & 0777) == mode && (uint64_t)st.st_size == bytes &&
                  (uint64_t)st.st_blocks * 512 >= bytes && !is_locked(fd) &&
                  fill_with_zeros(fd, bytes) == 0;

    if (fd >= 0)
        close(fd);
    return reused;
}

static int make_lock(const char *path, const struct stat *data, mode_t mode, uint64_t readers)
{
    uint64_t bytes = LOCK_HEADER_BYTES + readers * LOCK_SLOT_BYTES;
    int fd, rc;

    if (reuse_lock(path, data, mode, bytes))
        return 0;
    if (unlink(path) && errno != ENOENT)
        return hf_fail_errno(errno, "unlink %s", path);
    fd = hf_fd_open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd < 0)
        return hf_fail_errno(errno, "create %s", path);
    rc = shm_give_file(fd, data, mode);
    /* A store to a page of it that a full file system has no room for would be SIGBUS. */
    if (rc == 0)
        rc = -posix_fallocate(fd, 0, (off_t)bytes);
    if (rc)
        hf_fail_errno(-rc, "%s", path);
    close(fd);
    return rc;
}

int meta_reset_lock(const char *pool_dir)
{
    char dir[META_PATH_MAX], path[META_PATH_MAX];
    struct meta_super super;
    struct stat data;
    int rc = find_files(pool_dir, dir);

    if (rc == 0)
        rc = peek(dir, MDB_NOLOCK, NULL, &super);
    if (rc == 0)
        rc = meta_path(path, pool_dir, "/data.mdb");
    if (rc == 0 && stat(path, &data))
        rc = hf_fail_errno(errno, "%s", path);
    if (rc == 0)
        rc = meta_path(path, pool_dir, "/lock.mdb");
    if (rc)
        return rc;
    return make_lock(path, &data, super.mode,
                     (uint64_t)super.max_threads + UINT64_C(2) * super.max_processes +
                         SPARE_READERS);
}

int meta_sync(struct meta *meta)
{
    if (meta->readonly)
        return 0;
    return meta_result(mdb_env_sync(meta->env, 1), "sync");
}
