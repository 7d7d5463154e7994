/* SPDX-License-Identifier: MIT */
/* The checks that the exported functions share. Each: 0, or -errno with its sentence. */
#ifndef HF_API_H
#define HF_API_H

#include "base/error.h"
#include "base/fork.h"
#include "base/may_sleep.h"
#include "pool/pool.h"

#include <errno.h>

/* The first statement of a call that may sleep. */
static inline void api_begins(const char *call)
{
    hf_may_sleep(call);
    shm_call_begins();
}

int api_null(const char *what);
int api_forked(void);
int api_flags(const char *call, uint32_t flags);

/* The handle was made in this process, not in its parent before a fork. */
static inline int api_check_fs(const struct fs *fs)
{
    return fs->dax.shm->fork_count == hf_fork_count ? 0 : api_forked();
}

static inline int api_check_pool(const struct hf_pool *pool)
{
    return pool ? api_check_fs(&pool->fs) : api_null("pool");
}

static inline int api_check_path(const struct hf_pool *pool, const char *path)
{
    int rc = api_check_pool(pool);

    return rc || path ? rc : api_null("path");
}

static inline int api_check_file(const struct hf_file *file)
{
    return file ? api_check_fs(file->fs) : api_null("file");
}

/* For a range of no bytes, or no room for its pieces. */
int api_no_piece(const char *call, uint64_t len);
/* For what is refused by the handle's mode. */
int api_not_opened(const struct hf_file *file, const char *call);
/* The file is open for writing. */
int api_check_writable(const struct hf_file *file);
/* And the caller may choose the place that is written. */
int api_check_placed(const struct hf_file *file);

/* A policy as a caller gives it, made definite: null and HF_POLICY_DEFAULT are the pool's. */
int api_policy(const struct fs *fs, const struct hf_policy *given, struct hf_policy *out);

/* Sets how long the thread's call waits for locks from now on, as the policy says, which is
 * definite. Returns the bound before, to be stored into shm_bound when the call ends. */
struct shm_bound api_bound(const struct hf_policy *policy);

/* Permission bits, with set-user-id, set-group-id and sticky. */
int api_mode(mode_t mode);

#endif
