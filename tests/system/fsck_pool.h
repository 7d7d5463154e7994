/* SPDX-License-Identifier: MIT */
/* The pool that fsck_damages.c damages, and what can be seen of it: fsck_pool.c. */
#ifndef HF_TESTS_FSCK_POOL_H
#define HF_TESTS_FSCK_POOL_H

#include "support.h"

#include <holdfast/serve.h>

#include <sys/stat.h>

#define FSCK_POOL "pool"
#define FSCK_POOL_BYTES TEST_MIB(8)
#define SEEN_ENTRIES 1024u
#define SEEN_PAGES 8192u

struct seen_page {
    uint64_t at, hash; /* hash 0: all zero */
};

struct seen_entry {
    char path[600];
    uint64_t ino, dir; /* dir: of the directory that has it */
    uint32_t mode;
    uint64_t size;
    uint64_t words; /* a hash of target and extended attributes */
    unsigned first_page, pages;
};

struct seen {
    unsigned count, pages;
    uint64_t blocks; /* that extents have */
    struct seen_entry entries[SEEN_ENTRIES];
    struct seen_page page[SEEN_PAGES];
};

/* Makes the pool. It has nested directories, hard links, links, devices, attributes, ACLs, holes
 * and a large file. A killed process has left a file without names and detached blocks. */
void fsck_pool_make(void);
/* Everything that has a name, and every page that an extent has, also past end of file. Any call
 * that fails ends the test. */
void fsck_pool_look(struct hf_pool *pool, struct seen *seen);
/* What one may do with a pool: making, writing, renaming; then all that is there goes. */
void fsck_pool_use(struct hf_pool *pool);

#endif
