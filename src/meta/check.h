/* SPDX-License-Identifier: MIT */
/*
 * Private to src/meta: one run of meta_check(). What it remembers is a bit a block and one entry an
 * inode; records themselves are read again when they are needed again.
 */
#ifndef HF_META_CHECK_H
#define HF_META_CHECK_H

#include "meta/env.h"

#include <sys/stat.h>

enum inode_flag {
    INODE_ORPHAN = 0x01,   /* has an orphan record */
    INODE_CLAIMED = 0x02,  /* of a directory: the directory it calls its parent has it */
    INODE_ADOPTED = 0x04,  /* has got, or would get, a name in lost+found */
    INODE_REACHED = 0x08,  /* of a directory: there is a way to it from the root */
    INODE_ON_PATH = 0x10,  /* of a directory: on the way up that is looked at */
    INODE_NO_TARGET = 0x20 /* a symbolic link to nowhere */
};

struct check_inode {
    uint64_t ino;
    uint64_t size, blocks, parent; /* as recorded */
    uint64_t found_blocks, named_by;
    uint32_t mode, nlink; /* as recorded */
    uint32_t found_links, found_subdirs, target_len;
    uint32_t flags;
};

/* The records of one inode lie side by side: what was seen of those at the cursor. */
struct check_group {
    bool open;
    bool attributes;
    uint64_t next_page; /* behind the last extent */
    struct check_inode inode;
};

struct checker {
    struct meta_check *request;
    struct meta *meta;
    struct meta_txn *txn;
    struct meta_super super;
    bool super_changed;
    bool moved;                       /* a repair has used the cursor */
    uint64_t pool_blocks, last_block; /* last_block: behind the last one in use */
    unsigned char *used;              /* a bit a block */
    struct check_inode *inodes;       /* ascending */
    size_t inode_count, inode_room;
    struct meta_extent *kept; /* what stays of this inode's damaged extents */
    size_t kept_count, kept_room;
    struct check_group group;
    uint64_t lost_found; /* 0: not yet there */
    uint64_t records, records_done;
};

/* Counts and reports a problem. True when it is to be repaired now, which then must be done. */
bool check_problem(struct checker *check, bool can_repair, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
struct check_inode *check_find(struct checker *check, uint64_t ino);
/* Appends; inode numbers must rise. The pointer is good until the next one is added. */
int check_add(struct checker *check, const struct check_inode *inode, struct check_inode **out);
void check_count_record(struct checker *check);

/* Every record on its own, the blocks, and what belongs to one inode (check_records.c). */
int check_records(struct checker *check);
/* A record at or behind `key`; with `behind`, not the one of this key itself. */
int check_seek(struct checker *check, const struct meta_key *key, bool behind, MDB_val *found,
               MDB_val *value);
bool check_legal_name(const char *name);

/* Names: that every inode has as many as it says, and the directories are one tree. */
int check_names(struct checker *check);

#endif
