/* SPDX-License-Identifier: MIT */
/*
 * Private to src/meta: the file format of LMDB 0.9, as far as checking needs it. All numbers are in
 * the machine's own order; nothing in the file is aligned to more than two bytes within a page.
 *
 * A file is pages of one size. Pages 0 and 1 are meta pages. Transaction T is committed by writing
 * page T & 1, and the transaction number in it is stored last. The meta page with the larger number
 * names the roots of two trees, the main one and the free one. A record of the free one has a
 * transaction as its key, and a descending list of pages that may be used again.
 */
#ifndef HF_META_LMDB_FILE_H
#define HF_META_LMDB_FILE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LMDB_MAGIC 0xBEEFC0DEu
#define LMDB_VERSION 1u
#define LMDB_NO_ROOT UINT64_MAX
#define LMDB_PAGE_MIN 4096u
#define LMDB_PAGE_MAX 32768u
#define LMDB_DEPTH_MAX 32u
#define LMDB_KEY_MAX 511u
#define LMDB_FIRST_PAGE 2u /* behind the meta pages */

enum lmdb_page_flag {
    LMDB_BRANCH = 0x01,
    LMDB_LEAF = 0x02,
    LMDB_OVERFLOW = 0x04,
    LMDB_META = 0x08
};

struct lmdb_page {
    uint64_t number;
    uint16_t pad, flags;
    union {
        struct {
            uint16_t lower, upper; /* of the free space between the offsets and the nodes */
        };
        uint32_t pages; /* of a run of overflow pages, in its first */
    };
};

#define LMDB_NODE_BIG 0x01u /* the value is the number of an overflow page */

struct lmdb_node {
    uint16_t low, high; /* length of a leaf's value; the lower bits of a branch's page number */
    uint16_t flags;     /* the upper bits of a branch's page number */
    uint16_t key_len;
};

#define LMDB_INTEGER_KEYS 0x08u

struct lmdb_tree {
    uint32_t pad; /* of the free tree: the page size */
    uint16_t flags, depth;
    uint64_t branch_pages, leaf_pages, overflow_pages, entries, root;
};

struct lmdb_meta {
    uint32_t magic, version;
    uint64_t address, map_bytes;
    struct lmdb_tree free_tree, main_tree;
    uint64_t last_page, txn;
};

struct lmdb_meta_page {
    struct lmdb_page page;
    struct lmdb_meta meta;
};

/* The first bytes of lock.mdb, of LMDB's lock format 1 with locks by process. `txn` is the newest
 * transaction for a new snapshot, and `readers` how many slots have been in use. */
#define LMDB_LOCK_FORMAT 0x10001u

struct lmdb_lock {
    uint32_t magic, format;
    pthread_mutex_t readers_mutex;
    uint64_t txn;
    uint32_t readers, unused;
    pthread_mutex_t writer_mutex;
};

_Static_assert(sizeof(struct lmdb_page) == 16, "LMDB page header");
_Static_assert(offsetof(struct lmdb_lock, writer_mutex) == 64, "a line of its own");
_Static_assert(sizeof(struct lmdb_node) == 8, "LMDB node header");
_Static_assert(sizeof(struct lmdb_tree) == 48, "LMDB tree");
_Static_assert(sizeof(struct lmdb_meta) == 136, "LMDB meta page");

/* One look through a file. */
struct lmdb_walk {
    int fd;
    uint64_t file_bytes;
    unsigned page_bytes;
    struct lmdb_meta meta; /* the one that is checked */
    unsigned char *seen;   /* a bit a page: used by a tree or listed as free */
    unsigned char *pages;  /* room for one page a level */
    unsigned char *list;   /* the free list under check */
    size_t list_room;
    uint64_t done;
    void (*progress)(void *arg, uint64_t done, uint64_t total);
    void *arg;
};

int lmdb_read(const struct lmdb_walk *walk, uint64_t offset, void *buf, size_t len);
/* Every page of the tree; for the free tree also every list in it. */
int lmdb_check_tree(struct lmdb_walk *walk, const struct lmdb_tree *tree, bool is_free);

/* The number of the meta page (0 or 1) LMDB would use. */
int lmdb_newest_meta(const struct lmdb_meta_page pages[2]);
/* meta_verify() for the newest transaction, or for the one before it. */
int meta_verify_txn(const char *pool_dir, bool previous,
                    void (*progress)(void *arg, uint64_t done, uint64_t total), void *arg);
/* Makes the transaction before the newest the newest again; it must have been verified. */
int meta_roll_back(const char *pool_dir);
/* The same in the open file. `sync`: it is on the medium before this returns. */
int lmdb_roll_back(int fd, bool sync);
/* The numbers of the newest transaction in the meta pages and in lock.mdb. -ENOENT: lock.mdb is of
 * no use. */
int lmdb_numbers(const char *pool_dir, uint64_t *newest, uint64_t *counted);

#endif
