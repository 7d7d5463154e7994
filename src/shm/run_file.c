/* SPDX-License-Identifier: MIT */
/*
 * Owns where the file of a pool's run segment is, and which file is believed to be it.
 *
 * It is POOL/run where the pool lies on a tmpfs that is not full. A pool on a disk has it in
 * /dev/shm. The segment is large and sparse, and a store to a page of a full disk's file raises
 * SIGBUS. Each segment gets a new name there, so a file of another user never stands in its way.
 *
 * A record in POOL/segment says which file it is. The first process to attach writes the record
 * while it is alone (shm_attach_begin()). The record names POOL/lock itself, by device and inode,
 * and the segment's file, by name, device, inode and owner. So
 *   - a copy of a pool, also one made while the pool was in use, has a record of another POOL/lock,
 *     which names nothing here. A pool that was moved keeps its record and its segment;
 *   - nobody can put a file of his own in the segment's place without having written the record. A
 *     user that may write POOL/segment may use the pool: it has the mode of POOL/lock.
 * Locks on POOL/lock say whether anybody is attached. An overlay gives one file two inodes, its own
 * and that of the layer. Processes that use one of them would not see the locks on the other. But
 * nobody can attach to a pool through an overlay (check_life() in attach.c).
 *
 * Each attached process holds the segment's file locked (shared, life.c). So sweep() can tell a
 * segment without a user from one in use, wherever its pool has gone.
 */
#include "base/descriptor.h"
#include "base/error.h"
#include "shm/private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define RECORD_MAGIC UINT64_C(0x314b434f4c4c4648) /* "HFLLOCK1" */
#define MEMORY_DIR "/dev/shm"
#define NAME_BEGINS "holdfast-"

struct record {
    uint64_t magic;
    uint64_t lock_dev, lock_ino; /* POOL/lock, which this lies beside */
    uint64_t run_dev, run_ino;
    uint32_t run_uid;
    uint32_t unused;
    uint8_t boot[16];
    char name[64]; /* in /dev/shm; "": POOL/run */
};

/* All zeros where it cannot be known. */
void shm_boot_id(uint8_t boot[16])
{
    char text[40] = "";
    FILE *file = hf_fd_fopen("/proc/sys/kernel/random/boot_id");
    unsigned used = 0;

    memset(boot, 0, 16);
    if (!file)
        return;
    if (!fgets(text, sizeof text, file))
        text[0] = 0;
    fclose(file);
    for (const char *at = text; *at && used < 32; at++) {
        unsigned digit = *at >= 'a' ? (unsigned)(*at - 'a') + 10 : (unsigned)(*at - '0');

        if (digit < 16)
            boot[used / 2] |= (uint8_t)(digit << (used % 2 ? 0 : 4)), used++;
    }
}

static bool on(int fd, long type)
{
    struct statfs fs;

    return fstatfs(fd, &fs) == 0 && fs.f_type == type;
}

/* ---- the record ---- */

static int open_record(const char *pool_dir, int flags)
{
    char path[PATH_MAX];

    if ((size_t)snprintf(path, sizeof path, "%s/segment", pool_dir) >= sizeof path)
        return -1;
    return hf_fd_open(path, flags | O_NOFOLLOW | O_NONBLOCK, 0600);
}

static bool read_run_record(const char *pool_dir, struct record *record)
{
    int fd = open_record(pool_dir, O_RDONLY);
    bool whole = fd >= 0 && pread(fd, record, sizeof *record, 0) == sizeof *record;

    if (fd >= 0)
        close(fd);
    return whole && record->magic == RECORD_MAGIC &&
           !memchr(record->name, '/', sizeof record->name) &&
           memchr(record->name, 0, sizeof record->name) &&
           (!*record->name || strncmp(record->name, NAME_BEGINS, sizeof NAME_BEGINS - 1) == 0);
}

/* Where an older Holdfast has made no such file, makes it with the mode of POOL/lock. */
static int write_record(const char *pool_dir, const struct stat *lock, const struct record *record)
{
    int fd = open_record(pool_dir, O_RDWR), rc = 0;
    ssize_t n;

    if (fd < 0 && errno == ENOENT) {
        fd = open_record(pool_dir, O_RDWR | O_CREAT | O_EXCL);
        if (fd >= 0)
            rc = shm_give_file(fd, lock, lock->st_mode & 0777);
    }
    if (fd < 0)
        return -errno;
    n = rc ? 0 : pwrite(fd, record, sizeof *record, 0);
    if (rc == 0 && n != sizeof *record)
        rc = n < 0 ? -errno : -ENOSPC;
    close(fd);
    return rc;
}

int shm_run_unnamed(const char *pool_dir, int lock_fd)
{
    const struct record none = {0};
    struct stat lock;

    return fstat(lock_fd, &lock) ? -errno : write_record(pool_dir, &lock, &none);
}

static void record_path(const struct shm_attach *at, const struct record *record, char *path,
                        size_t size)
{
    if (*record->name)
        snprintf(path, size, MEMORY_DIR "/%s", record->name);
    else
        snprintf(path, size, "%s/run", at->pool_dir);
}

static bool is_of(const struct record *record, const struct stat *lock)
{
    return record->lock_dev == lock->st_dev && record->lock_ino == lock->st_ino;
}

static int open_named(const struct record *record, const char *path)
{
    int fd = hf_fd_open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK, 0);
    struct stat st;

    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_dev == record->run_dev &&
        st.st_ino == record->run_ino && st.st_uid == record->run_uid)
        return fd;
    close(fd);
    return -ENOENT;
}

int shm_run_find(const struct shm_attach *at, char *path, size_t size)
{
    struct record record;
    struct stat lock;

    *path = 0;
    if (!read_run_record(at->pool_dir, &record) || fstat(at->lock_fd, &lock) ||
        !is_of(&record, &lock))
        return -ENOENT;
    record_path(at, &record, path, size);
    return open_named(&record, path);
}

/* A process has the segment in that file mapped, or may have it. */
static bool run_in_use(int run_fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};

    return fcntl(run_fd, F_OFD_GETLK, &lock) || lock.l_type != F_UNLCK;
}

/* ---- segments without a pool ---- */

/* No process uses the segment, and it belongs to the pool of this `lock`, or to a pool that is
 * gone. */
static bool needless(int fd, const struct stat *lock)
{
    char path[sizeof((struct shm_run *)0)->pool_dir + 8];
    struct shm_run run;
    struct stat st;

    if (fstat(fd, &st) || !S_ISREG(st.st_mode) || pread(fd, &run, sizeof run, 0) != sizeof run ||
        run.magic != SHM_MAGIC || run.version != SHM_VERSION ||
        !memchr(run.pool_dir, 0, sizeof run.pool_dir) || run_in_use(fd))
        return false;
    if (run.lock_dev == lock->st_dev && run.lock_ino == lock->st_ino)
        return true;
    snprintf(path, sizeof path, "%s/lock", run.pool_dir);
    return stat(path, &st) || st.st_dev != run.lock_dev || st.st_ino != run.lock_ino;
}

/* Removes segments that killed processes have left, of pools that were removed since and of this
 * one. */
static void sweep(int lock_fd)
{
    DIR *dir = hf_fd_opendir(MEMORY_DIR);
    const struct dirent *entry;
    char path[512];
    struct stat lock;

    if (!dir)
        return;
    while (fstat(lock_fd, &lock) == 0 && (entry = readdir(dir))) {
        int fd;

        if (strncmp(entry->d_name, NAME_BEGINS, sizeof NAME_BEGINS - 1) != 0)
            continue;
        snprintf(path, sizeof path, MEMORY_DIR "/%s", entry->d_name);
        fd = hf_fd_open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK, 0);
        if (fd >= 0 && needless(fd, &lock))
            unlink(path);
        if (fd >= 0)
            close(fd);
    }
    closedir(dir);
}

/* The segment of this pool's earlier processes, whatever version they had. The caller is alone. */
static void remove_left(const struct shm_attach *at)
{
    char path[sizeof at->pool_dir + 8];
    int fd = shm_run_find(at, path, sizeof path);

    if (fd < 0)
        return;
    if (!run_in_use(fd))
        unlink(path);
    close(fd);
}

/* ---- making ---- */

static int new_name(const uint8_t uuid[16], char name[64])
{
    uint8_t chance[8];
    int used = snprintf(name, 64, NAME_BEGINS);

    if (getrandom(chance, sizeof chance, 0) != sizeof chance)
        return -errno;
    for (int i = 0; i < 16; i++)
        used += snprintf(name + used, 64 - (size_t)used, "%02x", uuid[i]);
    name[used++] = '-';
    for (int i = 0; i < 8; i++)
        used += snprintf(name + used, 64 - (size_t)used, "%02x", chance[i]);
    return 0;
}

static int new_file(const char *path, const struct stat *lock, uint64_t bytes, mode_t mode)
{
    int fd = hf_fd_open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600), rc;

    if (fd < 0)
        return -errno;
    rc = shm_byte_lock(fd, F_RDLCK, 0);
    rc = rc ? rc : shm_give_file(fd, lock, mode);
    if (rc == 0 && ftruncate(fd, (off_t)bytes))
        rc = -errno;
    if (rc == 0)
        return fd;
    unlink(path);
    close(fd);
    return rc;
}

static int describe(const struct shm_attach *at, int fd, struct record *record)
{
    struct stat lock, run;

    if (fstat(at->lock_fd, &lock) || fstat(fd, &run))
        return -errno;
    record->magic = RECORD_MAGIC;
    record->lock_dev = lock.st_dev;
    record->lock_ino = lock.st_ino;
    record->run_dev = run.st_dev;
    record->run_ino = run.st_ino;
    record->run_uid = run.st_uid;
    shm_boot_id(record->boot);
    return write_record(at->pool_dir, &lock, record);
}

int shm_run_make(const struct shm_attach *at, const struct shm_run *header, mode_t mode, bool aside,
                 char *path, size_t size)
{
    struct record record = {0};
    struct stat lock;
    int fd, rc;

    if (fstat(at->lock_fd, &lock))
        return -errno;
    remove_left(at);
    if (aside || !on(at->lock_fd, TMPFS_MAGIC)) {
        sweep(at->lock_fd);
        rc = new_name(header->uuid, record.name);
        if (rc)
            return rc;
    }
    record_path(at, &record, path, size);
    if (unlink(path) && errno != ENOENT)
        return -errno;
    fd = new_file(path, &lock, header->bytes, mode);
    rc = fd < 0 ? fd : describe(at, fd, &record);
    if (rc < 0 && fd >= 0) {
        unlink(path);
        close(fd);
    }
    return rc < 0 ? rc : fd;
}

/* The pool may have been moved since: /proc knows where POOL/lock is now. */
static void forget_record(const struct shm *shm)
{
    char link[64], dir[PATH_MAX];
    struct record record;
    struct stat lock;
    ssize_t len;

    snprintf(link, sizeof link, "/proc/self/fd/%d", shm->lock_fd);
    len = readlink(link, dir, sizeof dir - 1);
    if (len <= (ssize_t)sizeof "/lock" - 1)
        return;
    dir[len - ((ssize_t)sizeof "/lock" - 1)] = 0;
    if (fstat(shm->lock_fd, &lock) == 0 && read_run_record(dir, &record) && is_of(&record, &lock))
        shm_run_unnamed(dir, shm->lock_fd);
}

void shm_run_remove(const struct shm *shm)
{
    struct stat named, ours;

    if (stat(shm->run_path, &named) == 0 && fstat(shm->run_fd, &ours) == 0 &&
        named.st_dev == ours.st_dev && named.st_ino == ours.st_ino)
        unlink(shm->run_path); /* else the pool was moved, and another one may be there now */
    forget_record(shm);
}
