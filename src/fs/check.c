/* SPDX-License-Identifier: MIT */
/* Owns hf_pool_check(): the pool to itself, then meta's check; memory that is too short (mend.c). */
#include "base/error.h"
#include "fs/fs.h"
#include "fs/mend.h"

#include <errno.h>
#include <stdio.h>

/* Bytes of POOL/data; 0: not known (a device), or missing, which the check need not know to be
 * told. */
static uint64_t data_bytes(const char *dir)
{
    char path[4096];
    struct stat st;

    if ((size_t)snprintf(path, sizeof path, "%s/data", dir) >= sizeof path || stat(path, &st) ||
        !S_ISREG(st.st_mode))
        return 0;
    return (uint64_t)st.st_size;
}

static int read_super(struct meta *meta, struct meta_super *super)
{
    struct meta_txn *txn;
    int rc = meta_begin_read(meta, &txn);

    if (rc)
        return rc;
    rc = meta_super_get(txn, super);
    meta_end_read(txn);
    return rc;
}

/* After meta's check has reported it, and may have made room by what it removed. */
static int mend_memory(const char *dir, struct meta_check *check)
{
    struct meta_super super;
    struct meta *meta;
    int rc = meta_reset_lock(dir);

    rc = rc ? rc : meta_open(dir, true, &meta);
    if (rc)
        return rc;
    rc = read_super(meta, &super);
    rc = rc ? rc : fs_mend_memory(meta, dir, &super);
    meta_close(meta);
    if (rc == 1) {
        check->repaired++;
        if (check->report)
            check->report(check->arg, "no file has blocks in the missing memory: it is made again, "
                                      "as zeros (repaired)");
    }
    return rc > 0 || rc == -EUCLEAN || rc == -ENOENT ? 0 : rc; /* reported already */
}

static uint64_t under_way(void *arg, const uint8_t uuid[16])
{
    return shm_under_way(arg, uuid);
}

int fs_pool_check(const char *path, uint32_t flags, void (*report)(void *arg, const char *sentence),
                  void (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
                  struct hf_check_result *out)
{
    struct shm_attach at;
    struct meta_check check = {.repair = flags & HF_CHECK_REPAIR,
                               .data_bytes = data_bytes(path),
                               .report = report,
                               .progress = progress,
                               .arg = arg,
                               .under_way = under_way,
                               .under_way_arg = &at};
    int rc = shm_attach_begin(path, true, &at);

    if (rc)
        return rc;
    rc = meta_check(path, &check);
    if (rc == 0 && check.repair && check.problems > check.repaired)
        rc = mend_memory(path, &check);
    shm_attach_cancel(&at);
    if (rc)
        return rc;
    out->inodes = check.inodes;
    out->extents = check.extents;
    out->dirents = check.dirents;
    out->blocks_used = check.blocks_used;
    out->problems = check.problems;
    out->repaired = check.repaired;
    return 0;
}
