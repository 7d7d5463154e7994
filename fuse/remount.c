/* SPDX-License-Identifier: MIT */
/*
 * Owns changing the options of a mount. The kernel does all of it. It refuses changes on a mount
 * that becomes read-only, and calls the mount busy while a program has a file open for writing. The
 * server does not learn of it, and stays as it was started. A server that has opened the pool for
 * reading only cannot become writable.
 */
#include "private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <sysexits.h>

struct word {
    const char *name;
    unsigned long set, clear;
};

static const struct word words[] = {
    {"ro", MS_RDONLY, 0},     {"rw", 0, MS_RDONLY},        {"nosuid", MS_NOSUID, 0},
    {"suid", 0, MS_NOSUID},   {"nodev", MS_NODEV, 0},      {"dev", 0, MS_NODEV},
    {"noexec", MS_NOEXEC, 0}, {"exec", 0, MS_NOEXEC},      {"noatime", MS_NOATIME, 0},
    {"atime", 0, MS_NOATIME}, {"sync", MS_SYNCHRONOUS, 0}, {"dirsync", MS_DIRSYNC, 0},
};

static unsigned long apply_word(unsigned long flags, const char *name)
{
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(words[i].name, name) == 0)
            return (flags & ~words[i].clear) | words[i].set;
    return flags;
}

/* Options that are not named stay as they are. */
static int find_flags(const char *dir, const char *options, unsigned long *flags)
{
    static const unsigned long same =
        MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_SYNCHRONOUS | MS_NOATIME | MS_NODIRATIME;
    char *list, *rest, *name;
    struct statvfs now;

    if (statvfs(dir, &now))
        return errno;
    list = rest = strdup(options);
    if (!list)
        return ENOMEM;
    *flags = now.f_flag & same; /* these have one value in both calls */
    while ((name = strsep(&rest, ",")))
        *flags = apply_word(*flags, name);
    free(list);
    return 0;
}

/* To take away an attribute that no directory has would change nothing, but the kernel refuses
 * it. */
static bool server_only_reads(const char *dir)
{
    return removexattr(dir, "trusted.holdfast.remount") != 0 && errno == EROFS;
}

int mount_remount(const struct mount_plan *plan)
{
    char dir[PATH_MAX], device[MOUNT_DEVICE_BYTES];
    unsigned long flags = 0;
    int error;

    if (!realpath(plan->dir, dir))
        return plan->fail_host(plan->dir, errno);
    mountpoint_find(dir, device);
    error = device[0] ? find_flags(dir, plan->options, &flags) : EINVAL;
    if (error == 0 && mount(NULL, dir, NULL, MS_REMOUNT | flags, NULL))
        error = errno;
    if (error)
        return plan->fail_host(plan->dir, error);
    if (flags & MS_RDONLY || !server_only_reads(dir))
        return EX_OK;
    if (mount(NULL, dir, NULL, MS_REMOUNT | MS_RDONLY | flags, NULL))
        return plan->fail_host(plan->dir, errno);
    fprintf(stderr, "holdfast: mount: %s was mounted with ro: unmount it, and mount it again\n",
            plan->dir);
    return EX_USAGE;
}
