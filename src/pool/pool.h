/* SPDX-License-Identifier: MIT */
/*
 * A pool as a whole: making it, opening and closing it, growing, checking and describing it. src/fs
 * does what concerns its content, and knows no pool but the one that it is given.
 */
#ifndef HF_POOL_H
#define HF_POOL_H

#include "fs/fs.h"

struct hf_pool {
    struct fs fs;
    uint64_t opens;
    dev_t dev; /* of the pool's directory, the key of the registry; 0, 0: anonymous */
    ino_t ino;
    struct hf_pool *next;
};

/* ---- making, opening, closing (create.c, pool.c) ---- */

int pool_create(const char *path, const struct hf_pool_options *options);
int pool_open(const char *path, uint32_t flags, const char *engine, struct hf_pool **out);
int pool_open_anonymous(const struct hf_pool_options *options, struct hf_pool **out);
int pool_close(struct hf_pool *pool);
/* From now on, in a child of fork(2), the handles of the parent are refused. */
void pool_watch_forks(void);

/* ---- its memory, for devices (memory.c) ---- */

int pool_memory(struct fs *fs, struct hf_pool_memory *out);
int pool_register(struct fs *fs, uint32_t purpose, struct hf_pool_memory *out);
int pool_unregister(struct fs *fs, uint32_t purpose);

/* ---- growing, checking, describing (grow.c, check.c, info.c) ---- */

#define POOL_BYTES_MIN (UINT64_C(8) << 20)

int pool_grow(struct fs *fs, uint64_t pool_bytes);
int pool_shrink(struct fs *fs, uint64_t pool_bytes, const struct hf_policy *policy);
int pool_check(const char *path, uint32_t flags, void (*report)(void *arg, const char *sentence),
               void (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
               struct hf_check_result *out);
int pool_info(struct fs *fs, struct hf_pool_info *out);
int pool_statvfs(struct fs *fs, struct statvfs *out);
int pool_stats(struct fs *fs, struct hf_stats *out);

#endif
