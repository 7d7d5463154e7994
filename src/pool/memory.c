/* SPDX-License-Identifier: MIT */
/*
 * Owns hf_pool_memory() and hf_pool_register(): the pool's memory, for a device that is told of it
 * once. shm/registered.c keeps it the same memory, and dax/notify.c tells a program that the memory
 * has grown.
 */
#include "base/error.h"
#include "fs/space.h"
#include "pool/pool.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

int pool_memory(struct fs *fs, struct hf_pool_memory *out)
{
    struct media *media = &fs->dax.media;
    uint64_t bytes = dax_growth_told(&fs->dax);
    int rc = dax_map_pool(&fs->dax);

    if (rc)
        return rc;
    /* it may have been shrunk since it was told */
    bytes = fs_min(bytes, shm_pool_blocks(fs->dax.shm) * HF_BLOCK_BYTES);
    out->base = media->base;
    out->bytes = bytes;
    out->limit_bytes = media->limit_bytes;
    return 0;
}

static int check_kind(const struct media *media)
{
    if (!media_is_on_disk(media))
        return 0;
    return hf_fail(
        EOPNOTSUPP,
        "the pool's memory is a file on a disk (%s): the kernel registers no such memory "
        "with a device; make the pool on tmpfs or hugetlbfs",
        media_kind_name(media->kind));
}

static bool may_lock_anything(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0}};

    return syscall(SYS_capget, &head, data) == 0 && data[0].effective & 1u << CAP_IPC_LOCK;
}

/* Where the driver counts what it has been told of against the limit. */
static int check_locked_limit(uint32_t purpose, uint64_t bytes)
{
    struct rlimit limit;

    if ((purpose != HF_PIN_IO_URING && purpose != HF_PIN_RDMA) ||
        getrlimit(RLIMIT_MEMLOCK, &limit) || limit.rlim_cur >= bytes || may_lock_anything())
        return 0;
    return hf_fail(EOPNOTSUPP,
                   "this process may lock %" PRIu64 " KiB of memory, and the pool has %" PRIu64
                   " KiB: raise RLIMIT_MEMLOCK (ulimit -l), or run it as root",
                   (uint64_t)limit.rlim_cur / 1024, bytes / 1024);
}

/* The pool may have been shrunk before the hold was taken, and cannot be from then on. A process
 * that was killed while it shrank the pool has left the size to be settled by the next one that
 * locks the bitmap. */
static int look_again(struct fs *fs, struct hf_pool_memory *memory)
{
    int rc = fs->dax.readonly ? 0 : fs_space_lock(fs);

    if (rc)
        return rc;
    if (!fs->dax.readonly)
        fs_space_unlock(fs);
    return pool_memory(fs, memory);
}

int pool_register(struct fs *fs, uint32_t purpose, struct hf_pool_memory *out)
{
    struct hf_pool_memory memory = {.size = out->size};
    int rc = check_kind(&fs->dax.media);

    /* Before the hold is taken, so that a failure leaves none. */
    rc = rc ? rc : pool_memory(fs, &memory);
    rc = rc ? rc : check_locked_limit(purpose, memory.bytes);
    rc = rc ? rc : shm_register(fs->dax.shm, purpose / HF_PIN_IO_URING);
    if (rc)
        return rc;
    rc = look_again(fs, &memory);
    if (rc == 0)
        *out = memory;
    else
        (void)shm_unregister(fs->dax.shm, purpose / HF_PIN_IO_URING);
    return rc;
}

int pool_unregister(struct fs *fs, uint32_t purpose)
{
    return shm_unregister(fs->dax.shm, purpose / HF_PIN_IO_URING);
}
