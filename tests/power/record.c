/* SPDX-License-Identifier: MIT */
/*
 * Owns the recording: this program's own pwrite() and its like, which the library and LMDB are
 * linked to. What goes through a map is found by comparing each mapped page with what it was,
 * before each record: so a store is in the log before the next call that could rely on it.
 */
#undef _FILE_OFFSET_BITS /* both names of each call are wanted, pwrite and pwrite64 */
#include "record.h"

#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define MAPS 16u

struct map {
    const unsigned char *at;
    uint64_t off, len;
    uint32_t file;
};

static struct {
    struct power_log *log;
    char dir[256];
    unsigned char *known[POWER_FILES]; /* content, as last recorded */
    uint64_t bytes[POWER_FILES];
    ino_t inos[POWER_FILES];
    struct map maps[MAPS];
    unsigned map_count;
} own;

void (*power_on_sync)(uint64_t step);
static uint64_t step_now;

static void certain(void)
{
    if (power_on_sync)
        power_on_sync(step_now);
}

/* --- the log --- */

static struct power_record *add(enum power_what what, uint32_t file)
{
    struct power_log *log = own.log;

    if (log->count == POWER_RECORDS)
        abort();
    log->records[log->count] = (struct power_record){.what = what, .file = file};
    return &log->records[log->count++];
}

static void add_page(uint32_t file, uint64_t page)
{
    struct power_log *log = own.log;
    struct power_record *record = add(POWER_PAGE_SET, file);

    if (log->used + POWER_PAGE > POWER_ARENA)
        abort();
    memcpy(log->arena + log->used, own.known[file] + page * POWER_PAGE, POWER_PAGE);
    record->at = page;
    record->content = log->used;
    log->used += POWER_PAGE;
}

static void add_size(uint32_t file, uint64_t bytes)
{
    if (own.bytes[file] == bytes)
        return;
    own.bytes[file] = bytes;
    add(POWER_SIZE, file)->at = bytes;
}

/* --- maps --- */

static void compare(const struct map *map)
{
    uint64_t end = map->off + map->len, size = own.bytes[map->file];
    unsigned char *known = own.known[map->file];

    end = end < POWER_FILE_BYTES ? end : POWER_FILE_BYTES;
    end = end < size ? end : size & ~(uint64_t)(POWER_PAGE - 1);
    for (uint64_t off = map->off; off < end; off += POWER_PAGE)
        if (memcmp(known + off, map->at + (off - map->off), POWER_PAGE) != 0) {
            memcpy(known + off, map->at + (off - map->off), POWER_PAGE);
            add_page(map->file, off / POWER_PAGE);
        }
}

static void look_at_maps(void)
{
    for (unsigned i = 0; i < own.map_count; i++)
        compare(&own.maps[i]);
}

/* --- files --- */

static uint32_t add_file(const char *path, bool dir)
{
    struct power_log *log = own.log;
    uint32_t file = log->file_count++;

    if (file == POWER_FILES)
        abort();
    snprintf(log->files[file].path, sizeof(log->files[file].path), "%s", path);
    log->files[file].dir = dir;
    own.known[file] = dir ? NULL : calloc(1, POWER_FILE_BYTES);
    return file;
}

static uint32_t find_path(const char *path)
{
    for (uint32_t i = 0; i < own.log->file_count; i++)
        if (strcmp(own.log->files[i].path, path) == 0)
            return i;
    return POWER_FILES;
}

/* What comes after the pool's directory in the path; null: it is not below. "": the pool itself. */
static const char *below(const char *path)
{
    size_t len = strlen(own.dir);

    if (!own.log || strncmp(path, own.dir, len) != 0)
        return NULL;
    if (path[len] == '\0')
        return "";
    return path[len] == '/' && strcmp(path + len, "/meta/lock.mdb") != 0 ? path + len + 1 : NULL;
}

static uint32_t dir_of(const char *path)
{
    if (*path == '\0')
        return find_path("..");
    return find_path(strncmp(path, "meta/", 5) == 0 ? "meta" : "");
}

static void made(const char *path, bool dir, int fd)
{
    const char *name = below(path);
    struct stat st;
    uint32_t file;

    if (!name)
        return;
    look_at_maps();
    file = add_file(name, dir);
    if ((dir ? stat(path, &st) : fstat(fd, &st)) != 0)
        abort();
    own.inos[file] = st.st_ino;
    add(POWER_MADE, file)->in = dir_of(name);
}

/* The file, or POWER_FILES: it is not looked at. */
static uint32_t of_fd(int fd)
{
    struct stat st;

    if (!own.log || fstat(fd, &st))
        return POWER_FILES;
    for (uint32_t i = 0; i < own.log->file_count; i++)
        if (own.inos[i] == st.st_ino)
            return i;
    return POWER_FILES;
}

static void wrote(int fd, uint64_t off, const struct iovec *iov, int count)
{
    uint32_t file = of_fd(fd);
    uint64_t end = off;

    if (file == POWER_FILES)
        return;
    look_at_maps();
    for (int i = 0; i < count; i++) {
        if (end + iov[i].iov_len > POWER_FILE_BYTES)
            abort();
        memcpy(own.known[file] + end, iov[i].iov_base, iov[i].iov_len);
        end += iov[i].iov_len;
    }
    if (end > own.bytes[file])
        add_size(file, end);
    for (uint64_t page = off / POWER_PAGE; page * POWER_PAGE < end; page++)
        add_page(file, page);
    if (fcntl(fd, F_GETFL) & O_DSYNC) {
        struct power_record *record = add(POWER_SYNCED_IN, file);

        record->at = off;
        record->end = end;
        certain();
    }
}

static void resized(int fd)
{
    uint32_t file = of_fd(fd);
    struct stat st;

    if (file == POWER_FILES || fstat(fd, &st))
        return;
    look_at_maps();
    add_size(file, (uint64_t)st.st_size);
}

static void synced(int fd)
{
    uint32_t file = of_fd(fd);

    if (file == POWER_FILES)
        return;
    look_at_maps();
    add(POWER_SYNCED, file);
    certain();
}

void power_record(struct power_log *log, const char *pool_dir)
{
    char parent[256];
    struct stat st;

    snprintf(own.dir, sizeof(own.dir), "%s", pool_dir);
    snprintf(parent, sizeof(parent), "%s", pool_dir);
    *strrchr(parent, '/') = '\0';
    own.log = log;
    if (stat(parent, &st))
        abort();
    own.inos[add_file("..", true)] = st.st_ino;
}

void power_step(uint64_t number)
{
    look_at_maps();
    add(POWER_STEP, 0)->at = number;
    step_now = number;
    if (number % 2)
        certain();
}

void power_stop(void)
{
    own.log = NULL;
}

/* --- system calls --- */

/* What is mapped there goes away. */
static void unmaps(const unsigned char *at, size_t len)
{
    if (own.map_count)
        look_at_maps();
    for (unsigned i = own.map_count; i-- > 0;)
        if (own.maps[i].at >= at && own.maps[i].at < at + len)
            own.maps[i] = own.maps[--own.map_count];
}

static void *map(void *at, size_t len, int rights, int flags, int fd, off_t off)
{
    uint32_t file;
    long rc;

    if (flags & MAP_FIXED)
        unmaps(at, len);
    rc = syscall(SYS_mmap, at, len, rights, flags, fd, off);

    if (rc == -1 || !own.log || fd < 0 || !(flags & MAP_SHARED) || !(rights & PROT_WRITE))
        return (void *)rc;
    file = of_fd(fd);
    if (file == POWER_FILES)
        return (void *)rc;
    if (own.map_count == MAPS)
        abort();
    own.maps[own.map_count++] = (struct map){(void *)rc, (uint64_t)off, len, file};
    return (void *)rc;
}

void *mmap(void *at, size_t len, int rights, int flags, int fd, off_t off)
{
    return map(at, len, rights, flags, fd, off);
}

void *mmap64(void *at, size_t len, int rights, int flags, int fd, off64_t off)
{
    return map(at, len, rights, flags, fd, off);
}

int munmap(void *at, size_t len)
{
    unmaps(at, len);
    return (int)syscall(SYS_munmap, at, len);
}

ssize_t pwrite(int fd, const void *buf, size_t len, off_t off)
{
    long rc = syscall(SYS_pwrite64, fd, buf, len, off);
    struct iovec iov = {(void *)buf, rc > 0 ? (size_t)rc : 0};

    if (rc > 0)
        wrote(fd, (uint64_t)off, &iov, 1);
    return rc;
}

ssize_t pwrite64(int fd, const void *buf, size_t len, off64_t off)
{
    return pwrite(fd, buf, len, off);
}

ssize_t write(int fd, const void *buf, size_t len)
{
    off_t off = of_fd(fd) == POWER_FILES ? 0 : lseek(fd, 0, SEEK_CUR);
    long rc = syscall(SYS_write, fd, buf, len);
    struct iovec iov = {(void *)buf, rc > 0 ? (size_t)rc : 0};

    if (rc > 0)
        wrote(fd, (uint64_t)off, &iov, 1);
    return rc;
}

/* LMDB writes whole pages, all of them or none. */
ssize_t writev(int fd, const struct iovec *iov, int count)
{
    off_t off = of_fd(fd) == POWER_FILES ? 0 : lseek(fd, 0, SEEK_CUR);
    long rc = syscall(SYS_writev, fd, iov, count);

    if (rc > 0)
        wrote(fd, (uint64_t)off, iov, count);
    return rc;
}

int ftruncate(int fd, off_t len)
{
    int rc = (int)syscall(SYS_ftruncate, fd, len);

    if (rc == 0)
        resized(fd);
    return rc;
}

int ftruncate64(int fd, off64_t len)
{
    return ftruncate(fd, len);
}

int fallocate(int fd, int mode, off_t off, off_t len)
{
    int rc = (int)syscall(SYS_fallocate, fd, mode, off, len);

    if (rc == 0)
        resized(fd);
    return rc;
}

int fallocate64(int fd, int mode, off64_t off, off64_t len)
{
    return fallocate(fd, mode, off, len);
}

int posix_fallocate(int fd, off_t off, off_t len)
{
    return fallocate(fd, 0, off, len) ? errno : 0;
}

int posix_fallocate64(int fd, off64_t off, off64_t len)
{
    return posix_fallocate(fd, off, len);
}

int fsync(int fd)
{
    int rc = (int)syscall(SYS_fsync, fd);

    if (rc == 0)
        synced(fd);
    return rc;
}

int fdatasync(int fd)
{
    int rc = (int)syscall(SYS_fdatasync, fd);

    if (rc == 0)
        synced(fd);
    return rc;
}

int msync(void *at, size_t len, int flags)
{
    int rc = (int)syscall(SYS_msync, at, len, flags);

    if (rc || !own.log || !(flags & MS_SYNC))
        return rc;
    look_at_maps();
    for (unsigned i = 0; i < own.map_count; i++) {
        const struct map *map = &own.maps[i];
        const unsigned char *from = at;

        if (from >= map->at && from < map->at + map->len) {
            struct power_record *record = add(POWER_SYNCED_IN, map->file);

            record->at = map->off + (uint64_t)(from - map->at);
            record->end = record->at + len;
            certain();
        }
    }
    return rc;
}

int mkdir(const char *path, mode_t mode)
{
    int rc = (int)syscall(SYS_mkdir, path, mode);

    if (rc == 0)
        made(path, true, -1);
    return rc;
}

int unlink(const char *path)
{
    int rc = (int)syscall(SYS_unlink, path);
    const char *name = rc == 0 ? below(path) : NULL;
    uint32_t file = name ? find_path(name) : POWER_FILES;

    if (file != POWER_FILES)
        add(POWER_REMOVED, file)->in = dir_of(name);
    return rc;
}

static int open_it(const char *path, int flags, mode_t mode)
{
    bool is_new = flags & O_CREAT && own.log && below(path) && access(path, F_OK) != 0;
    long fd = syscall(SYS_openat, AT_FDCWD, path, flags, mode);

    if (fd >= 0 && is_new)
        made(path, false, (int)fd);
    return (int)fd;
}

int open(const char *path, int flags, ...)
{
    va_list args;
    mode_t mode;

    va_start(args, flags);
    mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    return open_it(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list args;
    mode_t mode;

    va_start(args, flags);
    mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    return open_it(path, flags, mode);
}
