/* SPDX-License-Identifier: MIT */
/*
 * Owns the sign that a process lives: locks that no child inherits. The kernel drops them when
 * nothing can touch the process's memory any more. Calls base and the C library.
 *
 * A life is an open file description of POOL/lock (or of the segment's file) with
 * open-file-description locks on it. Only one mapping of that file, without access, refers to it.
 * So the locks last as long as the mapping: until the address space goes, or shm_life_end(). The
 * mapping is not copied to children (MADV_DONTFORK). A descriptor would be, by every kind of fork,
 * and a child that sleeps would make its dead parent look alive. Others were considered:
 *
 *   fcntl(F_SETLK)   belongs to the process, but any close of the file by any library drops it, and
 *                    then a living process looks dead, which loses pins.
 *   a robust futex   is of a thread, and dropped when that thread ends, while others of the process
 *                    may still be in the kernel, writing to pinned memory.
 *   pid, start time  mean nothing in another pid namespace, and need /proc.
 *
 * What becomes of a life:
 *   exit, kill       dropped when the last thread has left its address space, so also after writes
 *                    to pinned memory that the kernel was in the middle of.
 *   exec             dropped with the address space, before the new program runs.
 *   fork, _Fork, clone without CLONE_VM
 *                    not inherited, before, during and after the opening of a pool.
 *   vfork, clone with CLONE_VM
 *                    the child shares the memory, so it can touch what is pinned: the life lasts
 *                    until it has ended, or called exec, too.
 *   clone with CLONE_FILES, a descriptor sent to another process
 *                    nothing: no descriptor refers to the life.
 *   closefrom(3) and the like
 *                    nothing, likewise. Only whether others live is not known then.
 *   pids             none is compared, so neither their reuse nor their namespaces matter.
 *   an overlay       the mapping refers to the file of the layer, and nothing to the description
 *                    with the locks, so they are dropped at once: check_life() in attach.c refuses.
 *
 * While a life is made there is a descriptor, and for a moment a mapping without MADV_DONTFORK. The
 * descriptor is in the table of a thread of its own (hf_fd_apart()), which no fork of another
 * thread copies. fork(3) is held up between the two calls for the mapping (fork_mutex). One case is
 * left: another thread makes a child with _Fork(3) or a bare clone(2) between those two calls.
 * While the child lives and has not called exec, its parent looks alive. That delays, and loses
 * nothing.
 */
#include "base/descriptor.h"
#include "base/error.h"
#include "shm/private.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define LIFE_BYTES 4096u

/* ---- bytes ---- */

int shm_byte_lock(int fd, int type, uint64_t byte)
{
    struct flock lock = {
        .l_type = (short)type, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = 1};

    return fcntl(fd, F_OFD_SETLK, &lock) ? -errno : 0;
}

/* A program may close our descriptor, or have another file at its number. Then no process is known
 * to be dead. */
bool shm_byte_locked(const struct shm *shm, uint64_t byte)
{
    struct flock lock = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = 1};
    struct stat st;

    if (fcntl(shm->lock_fd, F_OFD_GETLK, &lock) || lock.l_type != F_UNLCK)
        return true;
    return fstat(shm->lock_fd, &st) || st.st_dev != shm->lock_dev || st.st_ino != shm->lock_ino;
}

static bool any_locked(int fd, uint64_t first, uint64_t len)
{
    struct flock lock = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)first, .l_len = (off_t)len};

    return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

bool shm_byte_is_locked(int fd, uint64_t byte)
{
    return any_locked(fd, byte, 1);
}

bool shm_anybody_attached(int lock_fd, uint32_t but)
{
    uint64_t first = SHM_ATTACH_BYTE + 1, rest = but == SHM_NONE ? first : first + but + 1;

    if (but != SHM_NONE && but > 0 && any_locked(lock_fd, first, but))
        return true;
    return any_locked(lock_fd, rest, SHM_ALONE_BYTE - rest);
}

/* ---- lives ---- */

static pthread_mutex_t fork_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void lock_for_fork(void)
{
    pthread_mutex_lock(&fork_mutex);
}

static void after_fork(void)
{
    pthread_mutex_unlock(&fork_mutex);
}

static void see_forks(void)
{
    HF_BUG_ON(pthread_atfork(lock_for_fork, after_fork, after_fork) != 0);
}

struct birth {
    const struct stat *file;
    int (*lock)(int fd, void *arg);
    void *arg;
    void *life;
};

static int map_for_us_alone(int fd, void **out)
{
    void *at;
    int rc = 0;

    pthread_mutex_lock(&fork_mutex);
    at = mmap(NULL, LIFE_BYTES, PROT_NONE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED || madvise(at, LIFE_BYTES, MADV_DONTFORK))
        rc = -errno;
    pthread_mutex_unlock(&fork_mutex);
    if (rc == 0)
        *out = at;
    else if (at != MAP_FAILED)
        munmap(at, LIFE_BYTES);
    return rc;
}

/* Runs in the thread apart. The locks come last: if the mapping cannot be made, a child of that
 * moment has none of them. */
static int be_born(int fd, void *arg)
{
    struct birth *birth = arg;
    struct stat st;
    int rc;

    if (fstat(fd, &st))
        return -errno;
    if (st.st_dev != birth->file->st_dev || st.st_ino != birth->file->st_ino)
        return -ESTALE;
    rc = map_for_us_alone(fd, &birth->life);
    if (rc)
        return rc;
    rc = birth->lock(fd, birth->arg);
    if (rc) {
        munmap(birth->life, LIFE_BYTES);
        birth->life = NULL;
    }
    return rc;
}

int shm_life_begin(int fd, const char *path, int (*lock)(int fd, void *arg), void *arg, void **life)
{
    struct stat st;
    struct birth birth = {&st, lock, arg, NULL};
    int rc;

    pthread_once(&once, see_forks);
    if (fstat(fd, &st))
        return -errno;
    rc = hf_fd_apart(fd, path, O_RDWR, be_born, &birth);
    *life = birth.life;
    return rc;
}

void shm_life_end(void **life)
{
    if (*life)
        munmap(*life, LIFE_BYTES);
    *life = NULL;
}

static int lock_one(int fd, void *arg)
{
    const struct shm_byte *byte = arg;

    return shm_byte_lock(fd, byte->type, byte->at);
}

int shm_life_lock(int fd, const char *path, int type, uint64_t at, void **life)
{
    struct shm_byte byte = {type, at};

    return shm_life_begin(fd, path, lock_one, &byte, life);
}
