/* SPDX-License-Identifier: MIT */
/*
 * Owns the opening of files and the like. Calls the C library only. A process may have been started
 * with some of descriptors 0 to 2 closed, and then open(2) gives these numbers out. What the
 * program prints, meaning its standard output, would go into a pool's files, and what it puts on
 * these numbers later would close them.
 *
 * Moving a descriptor up afterwards is not enough, since another thread may print in between. So
 * the free ones of 0 to 2 are occupied while something is opened, by descriptors of "/" that only
 * hold the number (O_PATH). A thread that reads or writes them gets EBADF, as if they were closed.
 * Afterwards they are closed again, for the program may count on their being free. Any number of
 * threads may be opening at a time; the last one closes them.
 *
 * One case is left: another thread of the program opens or closes descriptors 0 to 2 at that very
 * moment. A number that it closes under us is recognized when we get it, and moved up. A file that
 * it puts in the place of ours is recognized too, except between that look and the close.
 * holdfast(7) tells programs not to do that while the library opens something.
 */
#include "base/descriptor.h"

#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOWEST 3

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static unsigned guards;   /* that are on */
static unsigned occupied; /* those of 0 to 2 that are ours, as bits */

/* ---- the guard ---- */

static bool is_ours(int fd)
{
    struct stat ours, root;
    int flags = fcntl(fd, F_GETFL);

    return flags >= 0 && flags & O_PATH && fstat(fd, &ours) == 0 && stat("/", &root) == 0 &&
           ours.st_dev == root.st_dev && ours.st_ino == root.st_ino;
}

static bool all_taken(void)
{
    for (int fd = 0; fd < LOWEST; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            return false;
    return true;
}

/* A process that has no descriptor left for this has none left for what is to be opened either. */
static void occupy(void)
{
    int fd = 0;

    while (fd < LOWEST && !all_taken()) {
        fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
            return;
        if (fd < LOWEST)
            occupied |= 1u << fd;
        else
            close(fd);
    }
}

static void vacate(void)
{
    for (int fd = 0; fd < LOWEST; fd++)
        if (occupied & 1u << fd && is_ours(fd))
            close(fd);
    occupied = 0;
}

/* In a table that is this thread's own. They go with it. */
static void occupy_own(void)
{
    while (!all_taken() && open("/", O_PATH | O_DIRECTORY | O_CLOEXEC) >= 0)
        ;
}

static void before_fork(void)
{
    pthread_mutex_lock(&mutex);
}

static void in_parent(void)
{
    pthread_mutex_unlock(&mutex);
}

/* The other threads, which may have been opening something, are not in the child. */
static void in_child(void)
{
    guards = 0;
    vacate();
    pthread_mutex_unlock(&mutex);
}

static void watch_forks(void)
{
    HF_BUG_ON(pthread_atfork(before_fork, in_parent, in_child) != 0);
}

void hf_fd_guard_begin(void)
{
    int error = errno;

    pthread_once(&once, watch_forks);
    pthread_mutex_lock(&mutex);
    guards++;
    occupy();
    pthread_mutex_unlock(&mutex);
    errno = error;
}

void hf_fd_guard_end(void)
{
    int error = errno;

    pthread_mutex_lock(&mutex);
    if (--guards == 0)
        vacate();
    pthread_mutex_unlock(&mutex);
    errno = error;
}

unsigned hf_fd_low_are(const char *path)
{
    struct stat file, here;
    unsigned found = 0;

    if (stat(path, &file))
        return 0;
    for (int fd = 0; fd < LOWEST; fd++)
        if (fstat(fd, &here) == 0 && here.st_dev == file.st_dev && here.st_ino == file.st_ino)
            found |= 1u << fd;
    return found;
}

/* ---- opening ---- */

/* Ends the guard. Another thread may have closed a number that was taken when we looked. */
static int settled(int fd)
{
    int high = fd;

    if (fd >= 0 && fd < LOWEST) {
        high = fcntl(fd, F_DUPFD_CLOEXEC, LOWEST);
        close(fd);
    }
    hf_fd_guard_end();
    return high;
}

int hf_fd_open(const char *path, int flags, mode_t mode)
{
    hf_fd_guard_begin();
    return settled(open(path, flags | O_CLOEXEC, mode));
}

int hf_fd_memfd(const char *name, unsigned flags)
{
    hf_fd_guard_begin();
    return settled(memfd_create(name, flags | MFD_CLOEXEC));
}

int hf_fd_eventfd(unsigned count, int flags)
{
    hf_fd_guard_begin();
    return settled(eventfd(count, flags | EFD_CLOEXEC));
}

FILE *hf_fd_fopen(const char *path)
{
    int fd = hf_fd_open(path, O_RDONLY, 0);
    FILE *file = fd >= 0 ? fdopen(fd, "re") : NULL;

    if (!file && fd >= 0)
        close(fd);
    return file;
}

DIR *hf_fd_opendir(const char *path)
{
    int fd = hf_fd_open(path, O_RDONLY | O_DIRECTORY | O_NONBLOCK, 0);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

    if (!dir && fd >= 0)
        close(fd);
    return dir;
}

/* ---- apart ---- */

#define APART_STACK_BYTES (256u << 10)
/* Of <linux/close_range.h>. */
#define UNSHARE_TABLE 2u

struct apart {
    char link[64];
    const char *path;
    int flags;
    int (*body)(int fd, void *arg);
    void *arg;
    int rc;
};

/* A new table is empty: closing a copy of the program's descriptors could wait for a file system.
 * Older kernels copy them. */
static int leave_table(void)
{
    if (syscall(SYS_close_range, 0u, ~0u, UNSHARE_TABLE) == 0)
        return 0;
    return unshare(CLONE_FILES) ? -errno : 0;
}

static void *run_apart(void *arg)
{
    struct apart *apart = arg;
    int fd;

    apart->rc = leave_table();
    if (apart->rc)
        return NULL;
    occupy_own();
    fd = open(apart->link, apart->flags | O_CLOEXEC);
    if (fd < 0)
        fd = open(apart->path, apart->flags | O_CLOEXEC | O_NOFOLLOW);
    apart->rc = fd < 0 ? -errno : apart->body(fd, apart->arg);
    if (fd >= 0)
        close(fd); /* the rest of the table goes a little after the thread can be joined */
    return NULL;
}

static int start_apart(pthread_t *thread, struct apart *apart)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    int rc = pthread_attr_init(&attributes);

    if (rc)
        return -rc;
    pthread_attr_setstacksize(&attributes, APART_STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(thread, &attributes, run_apart, apart);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return -rc;
}

int hf_fd_apart(int fd, const char *path, int flags, int (*body)(int fd, void *arg), void *arg)
{
    struct apart apart = {.path = path, .flags = flags, .body = body, .arg = arg};
    pthread_t thread;
    int rc;

    snprintf(apart.link, sizeof apart.link, "/proc/self/task/%d/fd/%d", (int)gettid(), fd);
    rc = start_apart(&thread, &apart);
    if (rc)
        return rc;
    pthread_join(thread, NULL);
    return apart.rc;
}
