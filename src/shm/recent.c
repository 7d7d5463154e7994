/* SPDX-License-Identifier: MIT */
/*
 * Owns POOL/recent: sizes and times of files in use that are newer than LMDB's records. It lies
 * with the data, and every process maps it shared. So what a write has acknowledged survives the
 * death of all processes, whatever becomes of the run segment.
 *
 * An entry belongs to a vnode, by index, and says: as long as LMDB's record of inode `ino` has
 * `version`, size and times are these. Each transaction on a file raises the version of its inode.
 * So its commit makes the entry void in the same moment, and from then on the record counts. The
 * order of the stores, under the layout mutex:
 *
 *   without a transaction: size, then the vnode's size (fs_vnode_set_size()). A process killed in
 *       between leaves a size with all of its bytes there, which the next owner of the mutex takes
 *       back (recover()). The other way round a process could see the new size, write below it, and
 *       lose that.
 *   in a transaction: commit; size and times; version. A process killed before the commit leaves
 *       the entry as it was, and it counts. After the commit the record counts until the version is
 *       stored, then the entry does, and both say the same.
 *   a new vnode: size, times, version; then ino. An entry without ino counts for nothing.
 *   an evicted vnode: ino is cleared before another entry can be the inode's (shm_vnode_free()). By
 *       then the record says the same.
 *
 * So the first process to attach compares versions and needs nothing else: neither the segment, nor
 * a boot id. The words of the file are checked like everything on a medium. A file that is missing,
 * damaged or another pool's counts for nothing and is made again.
 *
 * A power cut may leave an entry newer than the bytes that it shows. So it does not count in a
 * durable pool on a disk when the machine has been started since (shm_recent_same_start()). Where
 * it counts, the bytes are on the medium before the record says so (persist_tail() in src/pool).
 */
#include "base/descriptor.h"
#include "base/error.h"
#include "base/futex.h"
#include "base/lab.h"
#include "shm/private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define RECENT_MAGIC UINT64_C(0x31544e4543455248) /* "HRECENT1" */
#define HEADER_BYTES 4096u
#define SAME_START_NS (2 * INT64_C(1000000000)) /* the clock may have been set by so much */

_Static_assert(sizeof(struct shm_recent) == 64,
               "one cache line, so that a torn page does not tear it");
_Static_assert(sizeof(struct shm_recent_header) <= HEADER_BYTES, "the header has a page");

static uint64_t bytes_for(uint32_t count)
{
    return HEADER_BYTES + (uint64_t)count * sizeof(struct shm_recent);
}

static int recent_path(const char *dir, char *path, size_t size)
{
    return (size_t)snprintf(path, size, "%s/recent", dir) >= size ? -ENAMETOOLONG : 0;
}

static bool on_memory(int fd)
{
    struct statfs fs;

    return fstatfs(fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC;
}

static int64_t realtime_ns(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* ---- mapping ---- */

static bool whole(const struct shm_recent_header *header, uint64_t bytes, const uint8_t uuid[16],
                  uint32_t count)
{
    return header->magic == RECENT_MAGIC && header->entry_bytes == sizeof(struct shm_recent) &&
           header->count == count && bytes >= bytes_for(count) && !memcmp(header->uuid, uuid, 16);
}

/* Those that may say something, and are read therefore. */
static int reserve_entries(struct shm_recent_map *map)
{
    uint32_t high = hf_load_acquire(&map->header->high);
    int rc;

    high = high < map->count ? high : map->count;
    rc = shm_reserve(map->entries, high * sizeof *map->entries);
    if (rc)
        shm_recent_unmap(map);
    return rc;
}

int shm_recent_map(const char *dir, const uint8_t uuid[16], uint32_t count,
                   struct shm_recent_map *out)
{
    char path[4200];
    int fd = -1, rc = recent_path(dir, path, sizeof path);
    struct stat st = {.st_size = 1};
    void *at;

    if (rc == 0)
        fd = hf_fd_open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK, 0);
    if (fd < 0)
        return rc ? rc : errno == ELOOP || errno == EISDIR || errno == ENXIO ? -EUCLEAN : -errno;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode) || (uint64_t)st.st_size < HEADER_BYTES) {
        rc = st.st_size ? -EUCLEAN : -ENOENT;
        close(fd);
        return rc;
    }
    at = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    *out = (struct shm_recent_map){.header = at,
                                   .bytes = (uint64_t)st.st_size,
                                   .dev = st.st_dev,
                                   .ino = st.st_ino,
                                   .in_memory = on_memory(fd)};
    close(fd);
    if (at == MAP_FAILED)
        return -errno;
    rc = out->in_memory ? shm_reserve(at, HEADER_BYTES) : 0; /* a copy may have holes */
    if (rc) {
        shm_recent_unmap(out);
        return rc;
    }
    if (!whole(out->header, out->bytes, uuid, count)) {
        rc = out->header->magic ? -EUCLEAN : -ENOENT; /* else its maker was killed early */
        shm_recent_unmap(out);
        return rc;
    }
    out->entries = (void *)((char *)at + HEADER_BYTES);
    out->count = count;
    return out->in_memory ? reserve_entries(out) : 0;
}

void shm_recent_unmap(struct shm_recent_map *map)
{
    if (map->header)
        munmap(map->header, map->bytes);
    *map = (struct shm_recent_map){.header = NULL};
}

/* On a disk a page that is not allocated would be SIGBUS where the disk is full. */
static int allocate_recent(int fd, uint64_t bytes)
{
    int rc;

    if (on_memory(fd))
        return ftruncate(fd, (off_t)bytes) ? -errno : 0;
    while ((rc = posix_fallocate(fd, 0, (off_t)bytes)) == EINTR)
        ;
    return -rc;
}

static int fill_recent(int fd, const uint8_t uuid[16], uint32_t count)
{
    struct shm_recent_header header = {
        .magic = RECENT_MAGIC, .entry_bytes = sizeof(struct shm_recent), .count = count};
    int rc = allocate_recent(fd, bytes_for(count));
    ssize_t n;

    if (rc)
        return rc;
    memcpy(header.uuid, uuid, 16);
    n = pwrite(fd, &header, sizeof header, 0);
    return n == sizeof header ? 0 : n < 0 ? -errno : -ENOSPC;
}

int shm_recent_make(const char *dir, const uint8_t uuid[16], uint32_t count, mode_t mode)
{
    char path[4200];
    int fd, rc = recent_path(dir, path, sizeof path);
    struct stat st;

    if (rc)
        return rc;
    if (unlink(path) && errno != ENOENT)
        return -errno;
    fd = hf_fd_open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    rc = stat(dir, &st) ? -errno : shm_give_file(fd, &st, mode);
    rc = rc ? rc : fill_recent(fd, uuid, count);
    close(fd);
    if (rc)
        unlink(path);
    return rc;
}

int shm_recent_allocate(const char *dir, uint32_t count)
{
    char path[4200];
    int fd, rc = recent_path(dir, path, sizeof path);

    if (rc)
        return rc;
    fd = hf_fd_open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    rc = allocate_recent(fd, bytes_for(count));
    close(fd);
    if (rc)
        unlink(path);
    return rc;
}

/* ---- the first to attach ---- */

bool shm_recent_same_start(const struct shm_recent_map *map)
{
    const struct shm_recent_header *header = map->header;
    static const uint8_t unknown[16];
    int64_t up = realtime_ns(CLOCK_BOOTTIME), started = hf_wall_ns() - up;
    uint8_t boot[16];

    shm_boot_id(boot);
    if (map->in_memory ||
        (memcmp(boot, unknown, sizeof boot) && !memcmp(boot, header->boot, sizeof boot)))
        return true;
    /* A container may show another boot id, or none, so start times are compared too: a machine
     * that was started again started later. */
    return up >= header->up_ns && started - header->started_ns < SAME_START_NS &&
           header->started_ns - started < SAME_START_NS;
}

int shm_recent_each(const struct shm_recent_map *map,
                    int (*each)(void *arg, const struct shm_recent *entry), void *arg)
{
    uint32_t high = hf_load_acquire(&map->header->high);
    int rc = 0;

    for (uint32_t i = 0; i < high && i < map->count && rc == 0; i++)
        if (map->entries[i].ino)
            rc = each(arg, &map->entries[i]);
    return rc;
}

void shm_recent_clear(const struct shm_recent_map *map)
{
    uint32_t high = hf_load_acquire(&map->header->high);

    for (uint32_t i = 0; i < high && i < map->count; i++)
        if (map->entries[i].ino)
            hf_store_release(&map->entries[i].ino, UINT64_C(0));
}

void shm_recent_begin(struct shm *shm, const struct shm_recent_map *map)
{
    struct shm_recent_header *header = map->header;

    shm->recent = *map;
    shm->run->recent_dev = map->dev;
    shm->run->recent_ino = map->ino;
    shm_recent_clear(map);
    hf_store_release(&header->high, 0u);
    shm_boot_id(header->boot);
    header->up_ns = realtime_ns(CLOCK_BOOTTIME);
    header->started_ns = hf_wall_ns() - header->up_ns;
    hf_store_release(&header->in_use, 1u);
}

void shm_recent_end(struct shm *shm)
{
    if (!shm->recent.header)
        return;
    shm_recent_clear(&shm->recent);
    hf_store_release(&shm->recent.header->in_use, 0u);
}

static int64_t ctime_of(const struct stat *st)
{
    return st->st_ctim.tv_sec * INT64_C(1000000000) + st->st_ctim.tv_nsec;
}

bool shm_recent_has_memory(const struct shm *shm, int data_fd)
{
    const struct shm_recent_header *header = shm->recent.header;
    struct stat st;

    return header && fstat(data_fd, &st) == 0 && header->data_dev == st.st_dev &&
           header->data_ino == st.st_ino && header->data_ctime_ns == ctime_of(&st);
}

void shm_recent_note_memory(const struct shm *shm, int data_fd)
{
    struct shm_recent_header *header = shm->recent.header;
    struct stat st;

    if (!header || fstat(data_fd, &st))
        return;
    header->data_dev = st.st_dev;
    header->data_ino = st.st_ino;
    header->data_ctime_ns = ctime_of(&st);
}

int shm_recent_join(struct shm *shm, const char *dir)
{
    const struct shm_run *run = shm->run;
    int rc;

    if (!run->recent_ino)
        return 0;
    rc = shm_recent_map(dir, run->uuid, shm->limits.vnodes, &shm->recent);
    if (rc == 0 && shm->recent.dev == run->recent_dev && shm->recent.ino == run->recent_ino)
        return 0;
    if (rc == 0 || rc == -ENOENT || rc == -EUCLEAN)
        return hf_fail(EBUSY,
                       "%s/recent was removed or replaced while the pool is in use: end its "
                       "processes",
                       dir);
    return hf_fail_errno(-rc, "%s/recent", dir);
}

/* ---- one entry, under the layout mutex of its vnode ---- */

static struct shm_recent *entry_of(const struct shm *shm, const struct shm_vnode *vnode)
{
    return shm->recent.entries ? &shm->recent.entries[shm_vnode_number(shm, vnode)] : NULL;
}

void shm_recent_size(const struct shm *shm, const struct shm_vnode *vnode, uint64_t size)
{
    struct shm_recent *entry = entry_of(shm, vnode);

    shm_assert_held(&vnode->mutex);
    if (entry)
        hf_store_release(&entry->size, size);
}

void shm_recent_touch(const struct shm *shm, const struct shm_vnode *vnode, int64_t now_ns)
{
    struct shm_recent *entry = entry_of(shm, vnode);

    if (!entry)
        return;
    hf_store_relaxed(&entry->mtime_ns, now_ns); /* relaxed: each is a value of its own */
    hf_store_relaxed(&entry->ctime_ns, now_ns);
}

void shm_recent_put(const struct shm *shm, const struct shm_vnode *vnode, uint64_t size,
                    uint64_t version)
{
    struct shm_recent *entry = entry_of(shm, vnode);
    uint32_t end = shm_vnode_number(shm, vnode) + 1, high;

    shm_assert_held(&vnode->mutex);
    if (!entry)
        return;
    if (HF_LAB_BROKEN(HF_LAB_VERSION_FIRST))
        hf_store_release(&entry->version, version);
    hf_store_release(&entry->size, size);
    /* relaxed: the version comes after them, and fs_vnode_touch() may store others meanwhile */
    hf_store_relaxed(&entry->atime_ns, hf_load_relaxed(&vnode->atime_ns));
    hf_store_relaxed(&entry->mtime_ns, hf_load_relaxed(&vnode->mtime_ns));
    hf_store_relaxed(&entry->ctime_ns, hf_load_relaxed(&vnode->ctime_ns));
    hf_store_release(&entry->version, version);
    while ((high = hf_load_acquire(&shm->recent.header->high)) < end &&
           !hf_cas_acq_rel(&shm->recent.header->high, high, end))
        ;
    hf_store_release(&entry->ino, vnode->ino);
}

void shm_recent_drop(const struct shm *shm, const struct shm_vnode *vnode)
{
    struct shm_recent *entry = entry_of(shm, vnode);

    shm_assert_held(&vnode->mutex);
    if (entry)
        hf_store_release(&entry->ino, UINT64_C(0));
}
