/* SPDX-License-Identifier: MIT */
/*
 * Owns the open files of the mount, and counts them. With cache=auto some stay open when no program
 * has them any more, so that the content that the kernel keeps is still watched (inodes.c). They
 * give way when the mount or the pool runs out of files.
 */
#include "private.h"

#include <errno.h>
#include <fcntl.h>

struct hf_file *mount_file_of(const struct fuse_file_info *fi)
{
    return (struct hf_file *)(uintptr_t)fi->fh;
}

static bool evict_oldest(struct mount *mount)
{
    struct hf_file *file = mount_inodes_evict_oldest(mount->inodes);

    if (file)
        mount_file_close(mount, file);
    return file;
}

/* When all of the pool's max_files are open, or half of them by this mount, files are closed that
 * only the kernel's cache needs. */
int mount_file_open(struct mount *mount, uint64_t at, const char *path, int flags, mode_t mode,
                    struct hf_file **out)
{
    int rc;

    do {
        rc = -ENFILE;
        if (__atomic_add_fetch(&mount->files, 1u, __ATOMIC_RELAXED) <= mount->files_max)
            rc = hf_openat(mount->pool, at, path, flags, mode, out);
        if (rc)
            __atomic_sub_fetch(&mount->files, 1u, __ATOMIC_RELAXED);
    } while (rc == -ENFILE && evict_oldest(mount));
    return rc;
}

void mount_file_close(struct mount *mount, struct hf_file *file)
{
    hf_close(file);
    __atomic_sub_fetch(&mount->files, 1u, __ATOMIC_RELAXED);
}

void mount_files_evict(struct mount *mount, uint64_t ino)
{
    struct hf_file *file = mount_inode_evict(mount->inodes, ino);

    if (file)
        mount_file_close(mount, file);
}

void mount_files_evict_all(struct mount *mount)
{
    while (evict_oldest(mount))
        ;
}

/* Only a program that may read and write can map the file to store into it. The file is then open
 * as long as it is mapped. */
int mount_file_answer(struct mount *mount, struct hf_file *file, uint64_t ino,
                      struct fuse_file_info *fi)
{
    bool stores = (fi->flags & O_ACCMODE) == O_RDWR && !mount->readonly;
    int rc = mount->cached ? hf_watch(file, stores ? HF_WATCH_STORES : 1) : 0;

    if (rc)
        return rc;
    if (mount->cached) /* what the kernel has kept is true as long as it has been watched */
        fi->keep_cache = mount_inode_opened(mount->inodes, ino);
    fi->direct_io = !mount->cached;
    fi->fh = (uint64_t)(uintptr_t)file;
    return 0;
}

/* A file without names is not kept, or it would keep its blocks. When it loses its last name later,
 * it is evicted. */
static void release_cached(struct mount *mount, uint64_t ino, struct hf_file *file)
{
    uint64_t generation = mount_inodes_generation(mount->inodes);
    struct stat attr;
    bool keep = hf_fstat(file, &attr) == 0 && attr.st_nlink > 0;

    keep = keep && hf_watch(file, 1) == 0; /* no program maps it through this handle any more */
    file = mount_inode_closed(mount->inodes, ino, file, keep, generation);
    if (file)
        mount_file_close(mount, file);
}

void mount_file_release(struct mount *mount, uint64_t ino, struct hf_file *file)
{
    if (mount->cached)
        release_cached(mount, ino, file);
    else
        mount_file_close(mount, file);
}

void mount_file_abandon(struct mount *mount, uint64_t ino, struct fuse_file_info *fi)
{
    if (mount->cached)
        mount_inode_abandoned(mount->inodes, ino);
    mount_file_close(mount, mount_file_of(fi));
}
