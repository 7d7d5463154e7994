/* SPDX-License-Identifier: MIT */
/*
 * Owns the thread that keeps the kernel's cache true (cache=auto): what other processes change of
 * watched files, it has the kernel drop. They wait for that before their calls return; see
 * hf_watch(3).
 */
#include "mount.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

/* Without a lock: the kernel may wait for a request that is under way. */
static void drop_all(struct mount *mount)
{
    size_t count;
    uint64_t *inos = mount_inodes_open(mount->inodes, &count);

    for (size_t i = 0; i < count; i++)
        fuse_lowlevel_notify_inval_inode(mount->session, inos[i], 0, 0);
    free(inos);
    mount_let_go_all(mount);
}

/* A length of 0 means to the end. A file that the kernel does not have is no mistake. Of all of a
 * file is told also when it loses its last name: it must not be open for the cache alone. */
static void drop(struct mount *mount, const struct hf_watch_report *report)
{
    bool to_end = report->len > (uint64_t)INT64_MAX - report->off;

    if (!report->ino)
        drop_all(mount);
    else
        fuse_lowlevel_notify_inval_inode(mount->session, report->ino, (off_t)report->off,
                                         to_end ? 0 : (off_t)report->len);
    if (report->ino && !report->off && to_end)
        mount_let_go(mount, report->ino);
}

struct later {
    struct mount *mount;
    struct hf_watch_report report;
};

static void *drop_later(void *arg)
{
    struct later *later = arg;

    drop(later->mount, &later->report);
    free(later);
    return NULL;
}

void mount_drop_soon(struct mount *mount, uint64_t ino, uint64_t off, uint64_t len)
{
    struct later *later = malloc(sizeof *later);
    pthread_t thread;

    if (!later)
        return;
    *later = (struct later){mount, {ino, off, len}};
    if (pthread_create(&thread, NULL, drop_later, later) == 0)
        pthread_detach(thread);
    else
        drop_later(later);
}

static void *watch(void *arg)
{
    struct mount *mount = arg;
    struct hf_watch_report report;
    int rc;

    do {
        rc = hf_watch_next(mount->pool, UINT64_MAX, &report);
        if (rc > 0)
            drop(mount, &report);
    } while ((rc >= 0 || rc == -EINTR) && !__atomic_load_n(&mount->over, __ATOMIC_ACQUIRE));
    __atomic_store_n(&mount->watch_over, true, __ATOMIC_RELEASE);
    return NULL;
}

static void wake(int number)
{
    (void)number; /* its wait is over: -EINTR */
}

int mount_watch_start(struct mount *mount)
{
    struct sigaction action = {.sa_handler = wake};
    int error;

    sigaction(SIGUSR1, &action, NULL);
    error = pthread_create(&mount->watch, NULL, watch, mount);
    return -error;
}

/* More than once, since it may be about to wait. */
void mount_watch_stop(struct mount *mount)
{
    static const struct timespec moment = {.tv_nsec = 1000000};

    __atomic_store_n(&mount->over, true, __ATOMIC_RELEASE);
    while (!__atomic_load_n(&mount->watch_over, __ATOMIC_ACQUIRE)) {
        pthread_kill(mount->watch, SIGUSR1);
        nanosleep(&moment, NULL);
    }
    pthread_join(mount->watch, NULL);
}
