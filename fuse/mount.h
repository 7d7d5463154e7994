/* SPDX-License-Identifier: MIT */
/* A pool mounted through FUSE. What the parts of fuse/ share is in private.h. */
#ifndef HF_FUSE_MOUNT_H
#define HF_FUSE_MOUNT_H

#include <stdbool.h>

struct mount_plan {
    const char *pool, *dir; /* as given */
    const char *options;    /* for the kernel: "ro,allow_other", may be "" */
    bool readonly, foreground, cached;
    /* How long the kernel may go on using a name that it has looked up, and attributes. */
    double entry_seconds, attr_seconds;
    /* Only change the options of the file system that is mounted on dir. */
    bool remount;
    /* Prints why something failed, with the library's sentence or errno; returns the exit code. */
    int (*fail)(const char *what, int rc);
    int (*fail_host)(const char *what, int error);
};
/* Mounts, and with plan->foreground serves until it is unmounted. The exit code. */
int mount_run(const struct mount_plan *plan);

#endif
