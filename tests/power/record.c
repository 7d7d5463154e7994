/* SPDX-License-Identifier: MIT */
/*
 * Owns the recording of the system calls that tests/support/interpose.c meets. Before each record,
 * every mapped page is compared with what it was, which finds stores through maps. So a store is in
 * the log before the next call that could rely on it.
 */
#include "record.h"

#include "interpose.h"
#include "support.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
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
    add_size(file, (uint64_t)st.st_size);
    look_at_maps(); /* what comes back after a cut is zeros */
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

/* --- system calls --- */

static void removed(const char *path)
{
    const char *name = below(path);
    uint32_t file = name ? find_path(name) : POWER_FILES;

    if (file != POWER_FILES)
        add(POWER_REMOVED, file)->in = dir_of(name);
}

/* What is mapped there goes away. */
static void unmaps(const unsigned char *at, size_t len)
{
    if (own.map_count)
        look_at_maps();
    for (unsigned i = own.map_count; i-- > 0;)
        if (own.maps[i].at >= at && own.maps[i].at < at + len)
            own.maps[i] = own.maps[--own.map_count];
}

static void mapped(const struct interposed *call)
{
    uint32_t file;

    if (!own.log || call->fd < 0 || !(call->flags & MAP_SHARED) || !(call->rights & PROT_WRITE))
        return;
    file = of_fd(call->fd);
    if (file == POWER_FILES)
        return;
    if (own.map_count == MAPS)
        abort();
    own.maps[own.map_count++] =
        (struct map){(void *)call->rc, (uint64_t)call->off, call->len, file};
}

static void synced_map(const struct interposed *call)
{
    const unsigned char *from = call->at;

    if (!own.log || !(call->flags & MS_SYNC))
        return;
    look_at_maps();
    for (unsigned i = 0; i < own.map_count; i++) {
        const struct map *map = &own.maps[i];

        if (from >= map->at && from < map->at + map->len) {
            struct power_record *record = add(POWER_SYNCED_IN, map->file);

            record->at = map->off + (uint64_t)(from - map->at);
            record->end = record->at + call->len;
            certain();
        }
    }
}

/* What cannot be known any longer when the call has been made. */
static void before_call(struct interposed *call)
{
    if (call->what == INTERPOSED_OPEN)
        call->is_noted = call->flags & O_CREAT && below(call->path) && access(call->path, F_OK);
    else if (call->what == INTERPOSED_WRITE)
        call->off = of_fd(call->fd) == POWER_FILES ? 0 : lseek(call->fd, 0, SEEK_CUR);
    else if (call->what == INTERPOSED_TRUNCATE && of_fd(call->fd) != POWER_FILES)
        look_at_maps(); /* a map of what is cut off cannot be read any more */
    else if (call->what == INTERPOSED_UNMAP ||
             (call->what == INTERPOSED_MAP && call->flags & MAP_FIXED))
        unmaps(call->at, call->len);
}

static void after_write(struct interposed *call)
{
    if (call->rc == 0)
        return;
    if (call->iovcnt == 1) /* LMDB writes several whole, or none of them */
        call->iov->iov_len = (size_t)call->rc;
    wrote(call->fd, (uint64_t)call->off, call->iov, call->iovcnt);
}

static void after_call(struct interposed *call)
{
    if (call->rc == -1)
        return;
    switch (call->what) {
    case INTERPOSED_OPEN:
        if (call->is_noted)
            made(call->path, false, (int)call->rc);
        break;
    case INTERPOSED_MAKE_DIR:
        made(call->path, true, -1);
        break;
    case INTERPOSED_UNLINK:
        removed(call->path);
        break;
    case INTERPOSED_WRITE:
    case INTERPOSED_PWRITE:
        after_write(call);
        break;
    case INTERPOSED_TRUNCATE:
    case INTERPOSED_ALLOCATE:
        resized(call->fd);
        break;
    case INTERPOSED_SYNC:
        synced(call->fd);
        break;
    case INTERPOSED_SYNC_MAP:
        synced_map(call);
        break;
    case INTERPOSED_MAP:
        mapped(call);
        break;
    default:
        break;
    }
}

/* --- what the workload calls --- */

void power_record(struct power_log *log, const char *pool_dir)
{
    char parent[256];
    struct stat st;

    snprintf(own.dir, sizeof(own.dir), "%s", pool_dir);
    snprintf(parent, sizeof(parent), "%s", pool_dir);
    *strrchr(parent, '/') = '\0';
    own.log = log;
    interpose_before = before_call;
    interpose_after = after_call;
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
