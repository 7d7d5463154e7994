/* SPDX-License-Identifier: MIT */
/*
 * Owns the making of a pool: checks of the options, the directory, the super record, POOL/lock.
 * Files that were made are removed again when a later step fails. The memory comes last and undoes
 * itself.
 *
 * All of a pool is on its medium when hf_pool_create() returns. That is every file, the directories
 * that have their names, and the one that has the pool's name. On tmpfs that costs nothing.
 */
#include "pool/create.h"

#include "base/descriptor.h"
#include "base/error.h"
#include "base/futex.h"
#include "pool/pool.h"
#include "sync/engine.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define POOL_BYTES_MAX (UINT64_C(1) << 45)
#define GROWTH 64u /* a pool can grow to so many times its first size */

/* ---- options ---- */

struct maximum {
    const char *option;
    uint32_t given, otherwise, most;
    uint32_t *out;
};

static int check_maximum(const struct maximum *maximum)
{
    uint32_t value = maximum->given ? maximum->given : maximum->otherwise;

    if (value > maximum->most)
        return hf_fail(EINVAL, "%s of %u: at most %u", maximum->option, value, maximum->most);
    *maximum->out = value;
    return 0;
}

static int fill_maxima(const struct hf_pool_options *options, struct meta_super *super)
{
    const struct maximum maxima[] = {
        {"max_processes", options->max_processes, 256, 16384, &super->max_processes},
        {"max_threads", options->max_threads, 1024, 1u << 18, &super->max_threads},
        {"max_files", options->max_files, 65536, SHM_MAX_FILES, &super->max_files},
        {"max_leases", options->max_leases, 262144, 1u << 26, &super->max_leases},
    };

    for (size_t i = 0; i < sizeof maxima / sizeof maxima[0]; i++) {
        int rc = check_maximum(&maxima[i]);

        if (rc)
            return rc;
    }
    return 0;
}

static int fill_policy(const struct hf_policy *policy, struct meta_super *super)
{
    int rc = dax_policy_check(policy);

    if (rc)
        return rc;
    super->policy_kind = policy->kind == HF_POLICY_DEFAULT ? HF_POLICY_WAIT : policy->kind;
    super->policy_deadline_ns = policy->deadline_ns;
    return 0;
}

static int fill_engine(const char *name, struct meta_super *super)
{
    const struct sync_engine *engine = sync_engine_find(name ? name : "slots");

    if (!engine)
        return hf_fail(EINVAL, "%.40s: there is no such engine", name);
    if (!sync_knows_holders(engine) && dax_policy_detaches(super->policy_kind))
        return hf_fail(EINVAL, "a policy that detaches is given with engine %s, which cannot",
                       name);
    snprintf(super->engine, sizeof super->engine, "%s", engine->name);
    return 0;
}

static int fill_size(const struct hf_pool_options *options, struct meta_super *super)
{
    uint64_t bytes = options->pool_bytes;

    if (bytes % HF_HUGE_BYTES || bytes < POOL_BYTES_MIN || bytes > POOL_BYTES_MAX)
        return hf_fail(EINVAL,
                       "a pool of %" PRIu64
                       " bytes: it must be a multiple of 2 MiB, from 8 MiB to 32 TiB",
                       bytes);
    super->pool_bytes = bytes;
    super->limit_bytes = bytes < POOL_BYTES_MAX / GROWTH ? bytes * GROWTH : POOL_BYTES_MAX;
    return 0;
}

static int fill_uuid(uint8_t uuid[16])
{
    if (getrandom(uuid, 16, 0) != 16)
        return hf_fail_errno(errno, "random bytes for the pool's uuid");
    uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40); /* version 4, RFC 9562 */
    uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
    return 0;
}

int pool_super_new(const struct hf_pool_options *options, struct meta_super *super)
{
    mode_t mode = options->mode ? options->mode : 0600;
    int rc;

    *super = (struct meta_super){.format = META_FORMAT,
                                 .flags = options->flags,
                                 .next_ino = META_ROOT_INO + 1,
                                 .inodes = 1,
                                 .quarantine_ns = options->quarantine_ns,
                                 .trim_above_bytes = options->trim_above_bytes};
    if (mode & ~(mode_t)0777 || (mode & 0600) != 0600)
        return hf_fail(EINVAL, "mode %o: permission bits, with reading and writing for the owner",
                       (unsigned)mode);
    if (options->quarantine_ns > META_QUARANTINE_NS_MAX)
        return hf_fail(EINVAL, "a quarantine of %" PRIu64 " ns: at most %" PRIu64,
                       options->quarantine_ns, META_QUARANTINE_NS_MAX);
    if (options->trim_above_bytes % HF_HUGE_BYTES)
        return hf_fail(EINVAL,
                       "trim_above_bytes of %" PRIu64
                       ": it must be a multiple of 2 MiB, or 0 to trim by hand only",
                       options->trim_above_bytes);
    super->mode = mode;
    rc = fill_size(options, super);
    rc = rc ? rc : fill_maxima(options, super);
    rc = rc ? rc : fill_policy(&options->policy, super);
    rc = rc ? rc : fill_engine(options->engine, super);
    return rc ? rc : fill_uuid(super->uuid);
}

/* ---- what others have made ---- */

static int mend_maxima(struct meta_super *super)
{
    const struct hf_pool_options none = {0};
    struct meta_super new_one = {0};
    uint32_t *const found[] = {&super->max_processes, &super->max_threads, &super->max_files,
                               &super->max_leases};
    const uint32_t *const usual[] = {&new_one.max_processes, &new_one.max_threads,
                                     &new_one.max_files, &new_one.max_leases};
    static const char *const names[] = {"max_processes", "max_threads", "max_files", "max_leases"};
    static const uint32_t most[] = {1u << 20, 1u << 24, SHM_MAX_FILES, 1u << 28};
    int rc = fill_maxima(&none, &new_one);

    for (size_t i = 0; rc == 0 && i < sizeof found / sizeof found[0]; i++) {
        if (*found[i] != 0 && *found[i] <= most[i])
            continue;
        rc = hf_fail(EUCLEAN, "super record: %s is %u", names[i], *found[i]);
        *found[i] = *usual[i];
    }
    return rc;
}

static int mend_engine(struct meta_super *super)
{
    const struct sync_engine *engine = sync_engine_find(super->engine);
    int rc = 0;

    if (!engine)
        rc = hf_fail(EUCLEAN, "super record: engine \"%.23s\" is not in this Holdfast",
                     super->engine);
    else if (engine->one_process)
        rc = hf_fail(EUCLEAN, "super record: engine %.23s is for anonymous pools only",
                     super->engine);
    if (rc) {
        memset(super->engine, 0, sizeof super->engine);
        snprintf(super->engine, sizeof super->engine, "slots");
    }
    return rc;
}

int pool_super_mend_limits(struct meta_super *super)
{
    int rc = mend_maxima(super);

    if (rc == 0 && (super->limit_bytes % HF_HUGE_BYTES || super->pool_bytes % HF_HUGE_BYTES))
        return hf_fail(EUCLEAN, "super record: a size of %" PRIu64 " bytes with limit %" PRIu64,
                       super->pool_bytes, super->limit_bytes);
    if (rc == 0 && (super->policy_kind == 0 || super->policy_kind > HF_POLICY_DEADLINE_DETACH ||
                    super->quarantine_ns > META_QUARANTINE_NS_MAX)) {
        rc = hf_fail(EUCLEAN, "super record: a policy of kind %u, a quarantine of %" PRIu64 " ns",
                     super->policy_kind, super->quarantine_ns);
        super->policy_kind = HF_POLICY_WAIT;
        super->quarantine_ns = 0;
    }
    if (rc == 0 && super->trim_above_bytes % HF_HUGE_BYTES) {
        rc = hf_fail(EUCLEAN, "super record: a watermark of trims of %" PRIu64 " bytes",
                     super->trim_above_bytes);
        super->trim_above_bytes = 0;
    }
    return rc;
}

/* Refuses a policy that every call which goes by it would refuse. */
static int mend_policy(struct meta_super *super)
{
    if (super->policy_deadline_ns && !dax_policy_timed(super->policy_kind)) {
        super->policy_deadline_ns = 0;
        return hf_fail(EUCLEAN, "super record: a deadline, and a policy that has none");
    }
    if (dax_policy_detaches(super->policy_kind) &&
        !sync_knows_holders(sync_engine_find(super->engine))) {
        super->policy_kind = HF_POLICY_WAIT;
        super->policy_deadline_ns = 0;
        return hf_fail(EUCLEAN, "super record: a policy that detaches, and engine %.23s cannot",
                       super->engine);
    }
    return 0;
}

int pool_super_mend(struct meta_super *super)
{
    int rc = pool_super_mend_limits(super);

    rc = rc ? rc : mend_engine(super);
    return rc ? rc : mend_policy(super);
}

/* ---- files ---- */

static mode_t folder_mode(mode_t mode)
{
    return mode | (mode & 0444) >> 2;
}

static int check_empty(const char *path)
{
    const struct dirent *entry;
    DIR *dir = hf_fd_opendir(path);
    bool empty = true;

    if (!dir)
        return hf_fail_errno(errno == ENOTDIR ? EEXIST : errno, "%s", path);
    while ((entry = readdir(dir)))
        empty &= !strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..");
    closedir(dir);
    return empty ? 0 : hf_fail(EEXIST, "%s exists and is not an empty directory", path);
}

static int make_dir(const char *path, mode_t mode, bool *made)
{
    *made = mkdir(path, 0700) == 0;
    if (!*made)
        return errno == EEXIST ? check_empty(path) : hf_fail_errno(errno, "%s", path);
    if (chmod(path, folder_mode(mode)) == 0)
        return 0;
    rmdir(path);
    return hf_fail_errno(errno, "chmod %s", path);
}

static int path_in(const char *dir, const char *name, char out[4096])
{
    if ((size_t)snprintf(out, 4096, "%s/%s", dir, name) >= 4096)
        return hf_fail(ENAMETOOLONG, "%.80s...: the path is too long", dir);
    return 0;
}

static int make_lock_file(const char *dir, mode_t mode)
{
    char path[4096];
    int rc = path_in(dir, "lock", path), fd;

    if (rc)
        return rc;
    fd = hf_fd_open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd < 0)
        return hf_fail_errno(errno, "%s", path);
    if (fchmod(fd, mode))
        rc = hf_fail_errno(errno, "chmod %s", path);
    if (rc == 0 && (rc = shm_run_unnamed(dir, fd)))
        rc = hf_fail_errno(-rc, "%s/segment", dir);
    close(fd);
    return rc;
}

void pool_remove_files(const char *dir)
{
    static const char *const names[] = {"recent", "segment", "lock", "meta/data.mdb",
                                        "meta/lock.mdb"};
    char path[4096];

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (path_in(dir, names[i], path) == 0)
            unlink(path);
    if (path_in(dir, "meta", path) == 0)
        rmdir(path);
}

int pool_make_files(const char *dir, const struct meta_super *super)
{
    int64_t now = hf_wall_ns();
    struct meta_inode root = {.mode = S_IFDIR | 0755,
                              .uid = geteuid(),
                              .gid = getegid(),
                              .nlink = 2,
                              .parent = META_ROOT_INO,
                              .atime_ns = now,
                              .mtime_ns = now,
                              .ctime_ns = now,
                              .btime_ns = now,
                              .version = 1};
    int rc = meta_create(dir, super, &root);

    rc = rc ? rc : make_lock_file(dir, super->mode);
    if (rc)
        pool_remove_files(dir);
    return rc;
}

/* Syncs the files and directories that media_create() has not synced. The parent comes as
 * "POOL/..", so that it is right also where POOL is a symbolic link. */
static int sync_files(const char *dir)
{
    static const char *const names[] = {"meta/data.mdb", "lock", "segment", "recent", "meta", ".."};
    char path[4096];
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < sizeof names / sizeof names[0]; i++) {
        rc = path_in(dir, names[i], path);
        rc = rc ? rc : media_sync_path(path);
    }
    return rc;
}

static int make_recent(const char *dir, const struct meta_super *super)
{
    int rc = shm_recent_make(dir, super->uuid, super->max_files, super->mode);

    if (rc == 0)
        return 0;
    pool_remove_files(dir);
    return hf_fail_errno(-rc, "%s/recent", dir);
}

/* Where nobody could open the pool, it is not made. */
static int check_locks(const char *dir)
{
    struct shm_attach at;
    int rc = shm_attach_begin(dir, true, &at);

    if (rc == 0)
        shm_attach_cancel(&at);
    else
        pool_remove_files(dir);
    return rc;
}

int pool_create(const char *path, const struct hf_pool_options *options)
{
    struct meta_super super;
    bool made;
    int rc = pool_super_new(options, &super);

    if (rc == 0 && sync_engine_find(super.engine)->one_process)
        rc = hf_fail(EINVAL, "engine %s knows only the threads of one process: for anonymous pools",
                     super.engine);
    rc = rc ? rc : make_dir(path, super.mode, &made);
    if (rc)
        return rc;
    rc = pool_make_files(path, &super);
    rc = rc ? rc : check_locks(path);
    rc = rc ? rc : make_recent(path, &super);
    if (rc == 0) {
        rc = sync_files(path);
        rc = rc ? rc : media_create(path, options->data_path, super.pool_bytes, super.mode);
        if (rc)
            pool_remove_files(path);
    }
    if (rc && made)
        rmdir(path);
    return rc;
}
