/* SPDX-License-Identifier: MIT */
/*
 * Owns the thread that keeps the kernel's cache true (cache=auto): what other processes change of watched files, it has the kernel
 * drop. They wait for that before their calls return; see hf_watch(3).
 */
#include "mount.h"

#include <errno.h>
#include <stdlib.h>

/* Without a lock: the kernel may wait for a request that is under way. */
static void drop_all(struct mount *mount)
{
    size_t count;
    uint64_t *inos = mount_inodes_open(mount->inodes, &count);

    for (size_t i = 0; i < count; i++)
        fuse_lowlevel_notify_inval_inode(mount->session, inos[i], 0, 0);
    free(inos);
}

/* A length of 0 means to the end. A file that the kernel does not have is no mistake. */
static void drop(struct mount *mount, const struct hf_watch_report *report)
{
    bool to_end = report->len > (uint64_t)INT64_MAX - report->off;

    if (!report->ino)
        drop_all(mount);
    else
        fuse_lowlevel_notify_inval_inode(mount->session, report->ino, (off_t)report->off,
                                         to_end ? 0 : (off_t)report->len);
}

static void *watch(void *arg)
{
    struct mount *mount = arg;
    struct hf_watch_report report;
    int rc;

    while ((rc = hf_watch_next(mount->pool, UINT64_MAX, &report)) >= 0 || rc == -EINTR)
        if (rc > 0)
            drop(mount, &report);
    return NULL;
}

int mount_watch_start(struct mount *mount)
{
    pthread_t thread;
    int error = pthread_create(&thread, NULL, watch, mount);

    if (error)
        return -error;
    pthread_detach(thread);
    return 0;
}
