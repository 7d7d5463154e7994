/* SPDX-License-Identifier: MIT */
/*
 * Owns attaching and detaching. The first process to attach is alone with the pool. It has the
 * records settled (settle.c), and builds a new segment with the free space in it. The others map
 * that segment.
 */
#include "pool/attach.h"

#include "base/error.h"
#include "pool/create.h"
#include "pool/mend.h"
#include "pool/settle.h"
#include "fs/space.h"
#include "sync/engine.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NODES_SPARE 4096u
#define NODES_MAX (UINT64_C(1) << 31)

/* ---- attaching ---- */

/* `head`: of the segment to join; null: we are the first. */
static int open_meta(struct fs *fs, const char *dir, struct shm_run *head, struct meta_super *super)
{
    int rc = head ? meta_join(dir, fs->dax.readonly, hf_load_acquire(&head->durable) != 0,
                              &head->readers_mutex, &fs->dax.meta)
                  : meta_open(dir, fs->dax.readonly, &fs->dax.meta);

    if (rc)
        return rc;
    rc = meta_super_read(fs->dax.meta, super);
    if (rc == 0) {
        struct meta_super mended = *super;

        rc = pool_super_mend_limits(&mended);
    }
    if (rc)
        return rc;
    fs->durable = super->flags & HF_POOL_DURABLE;
    fs->dax.policy.kind = super->policy_kind;
    fs->dax.policy.deadline_ns = super->policy_deadline_ns;
    return 0;
}

/* The engine of that name, for the pool; one that only one process can use is for anonymous
 * pools. */
static int take_engine(struct fs *fs, const char *name, bool anonymous)
{
    if (!dax_use_engine(&fs->dax, name))
        return hf_fail(EOPNOTSUPP, "engine %.23s is not in this Holdfast", name);
    if (fs->dax.engine->one_process && !anonymous)
        return hf_fail(EOPNOTSUPP,
                       "engine %s knows only the threads of one process: for anonymous pools",
                       name);
    return 0;
}

/* A process that attaches later takes the engine that the first one chose. */
static int join_engine(struct fs *fs, const char *asked)
{
    const char *chosen = fs->dax.shm->run->engine;

    if (asked && strncmp(asked, chosen, sizeof fs->dax.shm->run->engine) != 0)
        return hf_fail(EBUSY, "the pool is in use with engine %.23s: %.23s has to wait", chosen,
                       asked);
    return take_engine(fs, chosen, false);
}

/* The file may be missing: no room for it, or no right to make it. Then the segment alone knows,
 * as long as it lasts. */
static int begin_recent(struct fs *fs, const struct shm_attach *at, const struct meta_super *super)
{
    struct shm_recent_map map;
    int rc = shm_recent_map(at->pool_dir, super->uuid, super->max_files, &map);

    if (rc == -ENOENT || rc == -EUCLEAN) {
        if (shm_recent_make(at->pool_dir, super->uuid, super->max_files, super->mode))
            return 0;
        rc = shm_recent_map(at->pool_dir, super->uuid, super->max_files, &map);
    }
    if (rc)
        return hf_fail_errno(-rc, "%s/recent", at->pool_dir);
    if (shm_recent_allocate(at->pool_dir, super->max_files)) {
        shm_recent_unmap(&map);
        return 0;
    }
    shm_recent_begin(fs->dax.shm, &map);
    return 0;
}

static int build_segment(struct fs *fs, struct shm_attach *at, const struct meta_super *super,
                         uint64_t ghosts)
{
    struct shm_limits limits = {.processes = super->max_processes,
                                .lanes = super->max_threads,
                                .vnodes = super->max_files,
                                .holds = super->max_leases,
                                .limit_blocks = super->limit_bytes / HF_BLOCK_BYTES};
    const struct sync_engine *engine = fs->dax.engine;
    struct meta_txn *txn;
    int rc;

    limits.nodes = limits.limit_blocks / SHM_NODE_ENTRIES * 2 + limits.vnodes + NODES_SPARE;
    if (limits.nodes > NODES_MAX)
        limits.nodes = NODES_MAX;
    limits.counts = sync_count_words(engine, limits.limit_blocks);
    rc = shm_build(at, super->uuid, super->mode, engine->name, &limits, &fs->dax.shm);
    if (rc == 0 && !at->anonymous)
        rc = begin_recent(fs, at, super);
    if (rc)
        return rc;
    fs->dax.shm->run->quarantine_ns =
        super->quarantine_ns ? super->quarantine_ns : POOL_QUARANTINE_NS;
    fs->dax.shm->run->durable = fs->durable;
    fs->dax.shm->run->trim_above_blocks = super->trim_above_bytes / HF_BLOCK_BYTES;
    if (ghosts) {
        fs->dax.shm->run->ghost_key = 1;
        fs->dax.shm->run->ghost_ends_ns = fs->dax.shm->run->quarantine_ends_ns = ghosts;
    }
    if (engine->fences_only)
        hf_store_release(&fs->dax.shm->run->fences_only, 1u);
    rc = meta_begin_read(fs->dax.meta, &txn);
    if (rc)
        return rc;
    rc = fs_space_build(fs, txn);
    meta_end_read(txn);
    fs->dax.shm->run->trimmed = (super->compat & META_COMPAT_TRIMMED) != 0;
    return rc ? rc : fs_back_used(fs);
}

static void close_parts(struct fs *fs)
{
    if (fs->dax.media.private)
        media_close(&fs->dax.media);
    if (fs->dax.meta)
        meta_close(fs->dax.meta);
    fs->dax.meta = NULL;
}

/* On one processor, the holder of a mutex does not run while another thread looks for it. */
static bool has_processors(void)
{
    cpu_set_t may_run_on;

    return sched_getaffinity(0, sizeof may_run_on, &may_run_on) || CPU_COUNT(&may_run_on) > 1;
}

static int finish_attach(struct fs *fs, struct shm_attach *at, int rc)
{
    if (rc == 0) {
        rc = shm_attach_done(at, fs->dax.shm, fs->dax.engine->needs_barrier);
        if (rc == 0) {
            meta_share(fs->dax.meta, &fs->dax.shm->run->records, fs->dax.shm);
            fs->dax.shm->spins = !fs->durable && has_processors();
            return 0;
        }
        fs->dax.shm = NULL;
    }
    if (fs->dax.shm)
        shm_attach_undo(fs->dax.shm);
    fs->dax.shm = NULL;
    close_parts(fs);
    shm_attach_cancel(at);
    return rc;
}

/* Another process may shrink the pool between the two steps, and grow it again. */
static int open_memory(struct fs *fs, const char *dir, bool first, struct meta_super *super)
{
    unsigned looks = 0;
    int rc;

    do
        rc = media_open(dir, super->pool_bytes, super->limit_bytes, &fs->dax.media);
    while (rc == -EUCLEAN && !first && ++looks < MEDIA_LOOKS &&
           meta_super_read(fs->dax.meta, super) == 0);
    return rc;
}

static int attach_first_or_join(struct fs *fs, struct shm_attach *at, const char *dir,
                                const char *engine)
{
    struct meta_super super;
    uint64_t ghosts = 0;
    int rc = at->first ? pool_settle_records(dir, at, fs->dax.readonly, &ghosts) : shm_may_join(at);

    rc = rc ? rc : open_meta(fs, dir, at->head, &super);
    if (rc == 0 && at->first)
        rc = take_engine(fs, engine ? engine : super.engine, false);
    if (rc == 0 && at->first && (rc = pool_mend_memory(fs->dax.meta, dir, &super)) > 0)
        rc = 0;
    rc = rc ? rc : open_memory(fs, dir, at->first, &super);
    if (rc == 0)
        rc = at->first ? build_segment(fs, at, &super, ghosts)
                       : shm_map(at, super.uuid, &fs->dax.shm);
    if (rc == 0 && !at->first)
        rc = join_engine(fs, engine);
    return finish_attach(fs, at, rc);
}

static void clear_fs(struct fs *fs, const char *dir, bool readonly)
{
    memset(fs, 0, sizeof *fs);
    fs->dax.readonly = readonly;
    fs_joint_init(fs);
    snprintf(fs->dir, sizeof fs->dir, "%s", dir);
}

int pool_attach(struct fs *fs, const char *dir, bool readonly, const char *engine)
{
    struct shm_attach at;
    int rc;

    do {
        clear_fs(fs, dir, readonly);
        rc = shm_attach_begin(dir, false, &at);
        rc = rc ? rc : attach_first_or_join(fs, &at, dir, engine);
    } while (rc == SHM_AGAIN);
    if (rc == 0 && (!at.first || fs->dax.shm->run->ghost_key))
        fs_reap(fs); /* the dead may have left work, and nobody has come since */
    return rc;
}

/* ---- anonymous ---- */

static int attach_unseen(struct fs *fs, const char *dir, const struct meta_super *super)
{
    struct meta_super found;
    struct shm_attach at;
    int rc = shm_attach_begin(dir, true, &at);

    if (rc)
        return rc;
    at.anonymous = true;
    rc = open_meta(fs, dir, NULL, &found);
    rc = rc ? rc : take_engine(fs, found.engine, true);
    rc = rc ? rc : media_open_memfd(super->pool_bytes, super->limit_bytes, &fs->dax.media);
    rc = rc ? rc : build_segment(fs, &at, super, 0);
    return finish_attach(fs, &at, rc);
}

int pool_attach_anonymous(struct fs *fs, const struct hf_pool_options *options)
{
    char dir[] = "/dev/shm/holdfast-anonymous-XXXXXX";
    struct meta_super super;
    int rc = pool_super_new(options, &super);

    if (rc)
        return rc;
    clear_fs(fs, "", false);
    if (!mkdtemp(dir))
        return hf_fail_errno(errno, "a directory in /dev/shm");
    rc = pool_make_files(dir, &super);
    if (rc == 0) {
        rc = attach_unseen(fs, dir, &super);
        pool_remove_files(dir);
    }
    rmdir(dir);
    return rc;
}

/* ---- detaching ---- */

/* The last one records what only the segment knows. Where it cannot, the segment stays, and the
 * next to attach adopts it. */
void pool_detach(struct fs *fs)
{
    bool alone, last;

    dax_recall_end(&fs->dax);
    shm_reap(fs->dax.shm);
    alone = last = shm_detach_last(fs->dax.shm);
    if (last && !fs->dax.readonly)
        fs_sync_all(fs);
    /* The next first process has to know: sizes, and for how long devices may still write. */
    if (last && (!fs_all_recorded(fs) || hf_load_acquire(&fs->dax.shm->run->quarantine_ends_ns)))
        last = false;
    if (!fs->dax.readonly && fs->durable)
        meta_sync(fs->dax.meta);
    meta_thread_end(fs->dax.meta);
    if (alone) {
        meta_close_last(fs->dax.meta, fs->dir);
        fs->dax.meta = NULL;
    }
    close_parts(fs);
    if (last)
        shm_recent_end(fs->dax.shm);
    shm_detach(fs->dax.shm, last);
}
