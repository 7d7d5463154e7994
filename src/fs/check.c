/* SPDX-License-Identifier: MIT */
/* Owns hf_pool_check(): the pool to itself, then meta's check. */
#include "base/error.h"
#include "fs/fs.h"

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

int fs_pool_check(const char *path, uint32_t flags, void (*report)(void *arg, const char *sentence),
                  void (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
                  struct hf_check_result *out)
{
    struct meta_check check = {.repair = flags & HF_CHECK_REPAIR,
                               .data_bytes = data_bytes(path),
                               .report = report,
                               .progress = progress,
                               .arg = arg};
    struct shm_attach at;
    int rc = shm_attach_begin(path, true, &at);

    if (rc)
        return rc;
    rc = meta_check(path, &check);
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
