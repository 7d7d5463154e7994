/* SPDX-License-Identifier: MIT */
/* What the tests of src/meta share: a pool directory of their own, with metadata and no memory. */
#ifndef HF_TESTS_META_POOL_H
#define HF_TESTS_META_POOL_H

#include "base/error.h"
#include "meta/meta.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define POOL_BLOCKS 65536u
#define POOL_BYTES (POOL_BLOCKS * UINT64_C(4096))

/* Fails the test with the sentence. */
#define must(call)                                                                                 \
    do {                                                                                           \
        int must_rc_ = (call);                                                                     \
        if (must_rc_ != 0)                                                                         \
            fail_msg("%s: %d, %s", #call, must_rc_, hf_error_sentence());                          \
    } while (0)

static const struct meta_super small_super = {
    .format = META_FORMAT,
    .uuid = {1, 2, 3},
    .pool_bytes = POOL_BYTES,
    .limit_bytes = 2 * POOL_BYTES,
    .mode = 0640,
    .policy_kind = 1,
    .max_processes = 16,
    .max_threads = 64,
    .max_files = 100,
    .max_leases = 100,
    .next_ino = 2,
    .inodes = 1,
    .engine = "slots",
};

static const struct meta_inode small_root = {
    .mode = S_IFDIR | 0755, .nlink = 2, .parent = META_ROOT_INO, .mtime_ns = 7};

/* HF_SEED, or another at each run. */
static inline unsigned test_seed(void)
{
    const char *given = getenv("HF_SEED");

    return given ? (unsigned)strtoul(given, NULL, 0) : (unsigned)time(NULL);
}

/* The pool that a failed test could not remove. */
static char left_behind[64];

static inline void remove_left_behind(void)
{
    char command[80];

    snprintf(command, sizeof command, "rm -rf %s", left_behind);
    if (*left_behind && system(command))
        perror(command);
}

static inline void new_pool_of(const struct meta_super *super, char dir[64])
{
    if (!*left_behind)
        atexit(remove_left_behind);
    strcpy(dir, "/dev/shm/holdfast-meta-XXXXXX");
    assert_non_null(mkdtemp(dir));
    strcpy(left_behind, dir);
    must(meta_create(dir, super, &small_root));
}

static inline void new_pool(char dir[64])
{
    new_pool_of(&small_super, dir);
}

static inline void remove_pool(const char *dir)
{
    char path[1024];

    snprintf(path, sizeof path, "%s/meta/lock.mdb", dir);
    (void)unlink(path); /* a repair takes it away */
    snprintf(path, sizeof path, "%s/meta/data.mdb", dir);
    assert_int_equal(unlink(path), 0);
    snprintf(path, sizeof path, "%s/meta", dir);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(dir), 0);
}

static inline int nothing(void *arg, const struct meta_extent *run)
{
    (void)arg;
    (void)run;
    return 0;
}

/* A file in the root, on `pages` blocks from `block` on. */
static inline void add_file(struct meta_txn *txn, uint64_t ino, const char *name, uint64_t block,
                            uint64_t pages)
{
    struct meta_inode file = {
        .mode = S_IFREG | 0644, .nlink = 1, .size = pages * 4096, .blocks = pages};

    must(meta_inode_put(txn, ino, &file));
    must(meta_dirent_put(txn, META_ROOT_INO, name, ino, S_IFREG));
    if (pages != 0)
        must(meta_extent_insert(txn, ino, &(struct meta_extent){0, block, pages, false}));
}

#endif
