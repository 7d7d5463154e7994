/* SPDX-License-Identifier: MIT */
/*
 * Makes the kernel drop a file's cached pages (cache=auto), in a thread of its own. Then a handle
 * that is open only for these pages is closed.
 */
#include "private.h"

#include <stdlib.h>

/* No lock is held: the kernel may wait for a request that is under way. */
static void drop_all_files(struct mount *mount)
{
    size_t count;
    uint64_t *inos = mount_inodes_open(mount->inodes, &count);

    for (size_t i = 0; i < count; i++)
        fuse_lowlevel_notify_inval_inode(mount->session, inos[i], 0, 0);
    free(inos);
    mount_files_evict_all(mount);
}

/* To the kernel a length of 0 means to the end. It is not an error if the kernel does not have the
 * file. A file that loses its last name is reported as changed from start to end, and must not stay
 * open for the cache alone. */
void mount_drop(struct mount *mount, const struct hf_watch_report *report)
{
    bool to_end = report->len > (uint64_t)INT64_MAX - report->off;

    if (!report->ino)
        drop_all_files(mount);
    else
        fuse_lowlevel_notify_inval_inode(mount->session, report->ino, (off_t)report->off,
                                         to_end ? 0 : (off_t)report->len);
    if (report->ino && !report->off && to_end)
        mount_files_evict(mount, report->ino);
}

struct later {
    struct mount *mount;
    struct hf_watch_report report;
};

static void *drop_later(void *arg)
{
    struct later *later = arg;

    mount_drop(later->mount, &later->report);
    free(later);
    return NULL;
}

/* Without memory or a thread, this worker does it. It has replied, so the kernel waits for no reply
 * of its own. */
void mount_drop_soon(struct mount *mount, uint64_t ino, uint64_t off, uint64_t len)
{
    const struct hf_watch_report report = {ino, off, len};
    struct later *later = malloc(sizeof *later);
    pthread_t thread;

    if (later) {
        *later = (struct later){mount, report};
        if (pthread_create(&thread, NULL, drop_later, later) == 0) {
            pthread_detach(thread);
            return;
        }
        free(later);
    }
    mount_drop(mount, &report);
}
