/* SPDX-License-Identifier: MIT */
/* Owns the description of a pool as a whole: hf_pool_info(), hf_statvfs(), hf_stats(). Counts
 * are read without a lock: each was true a moment ago, and no decision depends on them. */
#include "base/error.h"
#include "base/futex.h"
#include "fs/space.h"
#include "pool/pool.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* relaxed: shown, nothing hangs on it */
#define SHOWN(counter) hf_load_relaxed(&(counter))

/* Blocks that dead processes have left are given back first, since they should count as free. */
static int give_back_and_read(struct fs *fs, struct meta_super *super)
{
    fs_make_room(fs);
    return meta_super_read(fs->dax.meta, super);
}

static uint32_t count_threads(const struct shm *shm)
{
    uint32_t used = shm_lanes_used(shm), count = 0;

    for (uint32_t i = 0; i < used; i++)
        count += SHOWN(shm->lanes[i].owner) != 0 && SHOWN(shm->lanes[i].tid) != 0;
    return count;
}

static uint32_t count_files(const struct shm *shm)
{
    uint32_t count = 0;

    for (uint32_t i = 0, high = shm_vnodes_high(shm); i < high; i++)
        count += SHOWN(shm->vnodes[i].state) != SHM_VNODE_FREE &&
                 shm_vnode_is_open(shm, &shm->vnodes[i]);
    return count;
}

static void fill_from_super(const struct meta_super *super, struct hf_pool_info *out)
{
    memcpy(out->uuid, super->uuid, sizeof out->uuid);
    out->pool_bytes = super->pool_bytes;
    out->limit_bytes = super->limit_bytes;
    out->inodes = super->inodes;
    out->flags = super->flags;
    out->format = super->format;
    out->incompat = super->incompat;
    out->ro_compat = super->ro_compat;
    out->compat = super->compat;
    out->max_processes = super->max_processes;
    out->max_threads = super->max_threads;
    out->max_files = super->max_files;
    out->max_leases = super->max_leases;
    out->trim_above_bytes = super->trim_above_bytes;
}

static uint64_t quarantine_left(const struct shm_run *run)
{
    uint64_t ends_ns = SHOWN(run->ghost_ends_ns), now_ns = hf_now_ns();

    return SHOWN(run->ghost_key) && now_ns < ends_ns ? ends_ns - now_ns : 0;
}

int pool_info(struct fs *fs, struct hf_pool_info *out)
{
    struct shm *shm = fs->dax.shm;
    struct hf_pool_info info = {.size = out->size};
    struct meta_super super;
    int rc = give_back_and_read(fs, &super);

    if (rc)
        return rc;
    fill_from_super(&super, &info);
    /* the pool may have grown since its size was read */
    info.free_bytes = fs_min(SHOWN(shm->run->free_blocks) * HF_BLOCK_BYTES, info.pool_bytes);
    info.detached_bytes = SHOWN(shm->run->detached_blocks) * HF_BLOCK_BYTES;
    info.shared_bytes = SHOWN(shm->run->shared_blocks) * HF_BLOCK_BYTES;
    info.saved_bytes = SHOWN(shm->run->saved_blocks) * HF_BLOCK_BYTES;
    snprintf(info.engine, sizeof info.engine, "%.23s", shm->run->engine);
    snprintf(info.media, sizeof info.media, "%s", media_kind_name(fs->dax.media.kind));
    info.policy = fs->dax.policy;
    info.quarantine_ns = shm->run->quarantine_ns;
    info.quarantine_left_ns = quarantine_left(shm->run);
    info.processes = SHOWN(shm->run->processes);
    info.threads = count_threads(shm);
    info.files = count_files(shm);
    info.leases = shm_holds_in_use(shm);
    info.registrations = shm_registrations(shm);
    rc = media_resident(&fs->dax.media, &info.resident_bytes);
    if (rc)
        return rc;
    *out = info;
    return 0;
}

/* An inode takes no block, but some 200 bytes of metadata. The room for metadata follows from
 * the limit of the pool. */
#define INODES_BASE (UINT64_C(1) << 22)

/* Other files may have taken the memory that free blocks have not. All blocks in use have theirs,
 * and so may some of the free ones. */
static uint64_t free_with_memory(const struct fs *fs)
{
    uint64_t blocks = shm_pool_blocks(fs->dax.shm), there = SHOWN(fs->dax.shm->run->free_blocks);
    uint64_t used = there < blocks ? blocks - there : 0;
    uint64_t room = media_room(&fs->dax.media) / HF_BLOCK_BYTES;

    return fs_min(fs_space_to_give(fs), room > used ? room - used : 0);
}

int pool_statvfs(struct fs *fs, struct statvfs *out)
{
    struct meta_super super;
    uint64_t inodes;
    int rc = give_back_and_read(fs, &super);

    if (rc)
        return rc;
    inodes = INODES_BASE + super.limit_bytes / HF_BLOCK_BYTES;
    memset(out, 0, sizeof *out);
    out->f_bsize = out->f_frsize = HF_BLOCK_BYTES;
    out->f_blocks = shm_pool_blocks(fs->dax.shm);
    out->f_bfree = out->f_bavail = fs_min(free_with_memory(fs), out->f_blocks);
    out->f_files = inodes;
    out->f_ffree = out->f_favail = inodes > super.inodes ? inodes - super.inodes : 0;
    memcpy(&out->f_fsid, super.uuid, sizeof out->f_fsid);
    out->f_flag = fs->dax.readonly ? ST_RDONLY : 0;
    out->f_namemax = HF_NAME_MAX;
    return 0;
}

int pool_stats(struct fs *fs, struct hf_stats *out)
{
    const struct shm_stats *stats = &fs->dax.shm->run->stats;

    out->pins_slow = SHOWN(stats->pins_slow);
    out->faults = SHOWN(stats->faults);
    out->gate_waits = SHOWN(stats->gate_waits);
    out->changes = SHOWN(stats->changes);
    out->barriers = SHOWN(stats->barriers);
    out->drains_waited = SHOWN(stats->drains_waited);
    out->detaches = SHOWN(stats->detaches);
    out->reaped = SHOWN(stats->reaped);
    out->recalls = SHOWN(stats->recalls);
    out->timed_out = SHOWN(stats->timed_out);
    out->busy = SHOWN(stats->busy);
    out->cancelled = SHOWN(stats->cancelled);
    out->own_pins = SHOWN(stats->own_pins);
    out->deadlocks = SHOWN(stats->deadlocks);
    out->wait_ns_total = SHOWN(stats->wait_ns_total);
    out->wait_ns_max = SHOWN(stats->wait_ns_max);
    for (unsigned i = 0; i < HF_WAIT_BUCKETS; i++)
        out->wait_log2_ns[i] = SHOWN(stats->wait_log2_ns[i]);
    return 0;
}
