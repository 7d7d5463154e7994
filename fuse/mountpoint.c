/* SPDX-License-Identifier: MIT */
/* Owns the question what is mounted on a directory, whether it is served, and unmounting it. */
#include "private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#define FSTYPE "fuse.holdfast"

/* Undoes \040 and its like. */
static void unescape(char *text)
{
    char *to = text;
    unsigned code;

    for (; *text; text++, to++) {
        *to = *text;
        if (*text == '\\' && sscanf(text + 1, "%3o", &code) == 1) {
            *to = (char)code;
            text += 3;
        }
    }
    *to = '\0';
}

void mountpoint_find(const char *dir, char device[MOUNT_DEVICE_BYTES])
{
    FILE *mounts = fopen("/proc/self/mountinfo", "re");
    char line[2 * PATH_MAX], number[MOUNT_DEVICE_BYTES], at[PATH_MAX], type[64];

    device[0] = '\0';
    while (mounts && fgets(line, sizeof line, mounts)) {
        const char *rest = strstr(line, " - ");

        if (!rest || sscanf(line, "%*d %*d %31s %*s %4095s", number, at) != 2 ||
            sscanf(rest, " - %63s", type) != 1)
            continue;
        unescape(at);
        if (strcmp(at, dir) == 0)
            snprintf(device, sizeof number, "%s", strcmp(type, FSTYPE) == 0 ? number : "");
    }
    if (mounts)
        fclose(mounts);
}

void mountpoint_unmount(const char *dir)
{
    pid_t child;

    if (umount2(dir, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
        return;
    child = fork();
    if (child == 0) {
        execlp("fusermount3", "fusermount3", "-u", "-z", "-q", "--", dir, (char *)NULL);
        _exit(EX_UNAVAILABLE);
    }
    if (child > 0)
        waitpid(child, NULL, 0);
}

/* The kernel must ask the server, and not answer with attributes that it has kept. */
bool mountpoint_is_dead(const char *dir)
{
    struct statx attr;

    return statx(AT_FDCWD, dir, AT_STATX_FORCE_SYNC, STATX_MODE, &attr) && errno == ENOTCONN;
}

bool mountpoint_path(const char *path, char out[PATH_MAX])
{
    char copy[PATH_MAX], *name;
    size_t len = (size_t)snprintf(copy, sizeof copy, "./%s", path);

    while (len < sizeof copy && len > 1 && copy[len - 1] == '/')
        copy[--len] = '\0';
    name = strrchr(copy, '/');
    if (len >= sizeof copy || !name)
        return false;
    *name++ = '\0';
    if (!realpath(path[0] == '/' ? copy + 2 : copy, out))
        return false;
    len = strlen(out);
    return (size_t)snprintf(out + len, PATH_MAX - len, "/%s", name) < PATH_MAX - len;
}
