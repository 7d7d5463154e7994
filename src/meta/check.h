/* SPDX-License-Identifier: MIT */
/*
 * Private to src/meta: one round of meta_check(). It remembers an entry for each inode and one for
 * each run of blocks. Records are read again when they are needed again.
 */
#ifndef HF_META_CHECK_H
#define HF_META_CHECK_H

#include "meta/env.h"

#include <sys/stat.h>

/* The total of the progress: a third for the pages, the rest for the records, which are read
 * twice. */
#define CHECK_PROGRESS_TOTAL 3000u
#define CHECK_PROGRESS_PAGES 1000u

enum inode_flag {
    INODE_ORPHAN = 0x01,     /* has an orphan record */
    INODE_CLAIMED = 0x02,    /* of a directory: the directory it calls its parent has it */
    INODE_ADOPTED = 0x04,    /* has got, or would get, a name in lost+found */
    INODE_REACHED = 0x08,    /* of a directory: there is a way to it from the root */
    INODE_ON_PATH = 0x10,    /* of a directory: on the way up that is looked at */
    INODE_ATTRIBUTES = 0x20, /* has a record of them that says something */
    INODE_ODD = 0x40,        /* that record has a wrong length, or a field out of bounds */
    INODE_EXTENTS = 0x80,
    INODE_ENTRIES = 0x100,
    INODE_TARGET = 0x200, /* a sound one */
    INODE_CUT = 0x400     /* its blocks add up because an extent of others' blocks was cut */
};

struct check_inode {
    uint64_t ino;
    uint64_t size, blocks, parent; /* as recorded */
    uint64_t rdev;
    uint64_t claimed_blocks; /* what its extents add up to, sound or not */
    uint64_t first_claim;
    uint64_t claim_count;
    uint64_t found_blocks, end_page; /* of what it may keep */
    uint64_t named_by;
    uint32_t mode; /* as recorded; from check_types() on, of the type that it has */
    uint32_t nlink;
    uint32_t found_links, found_subdirs, target_len;
    uint32_t named_type; /* what all entries that lead to it say; 0: nothing, or several things */
    uint32_t named_count;
    uint32_t named_subdirs; /* entries of its own that say that they lead to directories */
    uint32_t flags;
};

enum claim_flag {
    CLAIM_ODD = 0x1,   /* the record is not as it should be, and is written again */
    CLAIM_WHOLE = 0x2, /* it keeps all of its blocks */
    CLAIM_SHARED = 0x4 /* it says that others may have its blocks too */
};

/* An extent, or (ino 0) a detached run. */
struct check_claim {
    uint64_t ino, page, block, count;
    uint64_t from; /* of a detached run: the inode that it was in */
    uint32_t flags;
};

struct checker {
    struct meta_check *request;
    struct meta *meta;
    struct meta_txn *txn;
    struct meta_super super;
    bool super_changed;
    bool moved; /* the cursor is not where check_records() has left it */
    bool again; /* records have got another place: the rest is for the next round */
    uint64_t pool_blocks, last_block; /* last_block: past the last one in use */
    struct check_inode *inodes;       /* ascending */
    size_t inode_count, inode_room;
    struct check_claim *claims; /* as their keys are: those of an inode lie side by side */
    size_t claim_count, claim_room;
    struct meta_owners *owners; /* the table of owners, ascending */
    size_t owners_count, owners_room;
    uint64_t intents;
    uint64_t lost_found;           /* 0: not yet there */
    uint64_t moved_from, moved_to; /* inode numbers: the last that cannot be, and its new one */
    uint64_t placeless; /* this run has put extents without a place in inodes from here on */
    uint64_t records, records_done;
    bool wants_fresh;      /* copies need blocks from fresh_block on; see check.c */
    bool fresh_raised;     /* these can be had, or never */
    uint64_t fresh_before; /* fresh_block before it was raised */
    uint64_t repeated;     /* sentences that were said before */
};

/* No extent has blocks from there on. Raising fresh_block for copies does not change that. */
static inline uint64_t check_first_never_used(const struct checker *check)
{
    return check->fresh_raised ? check->fresh_before : check->super.fresh_block;
}

static inline void check_placeless(struct checker *check, uint64_t ino)
{
    if (ino < check->placeless)
        check->placeless = ino;
}

/* Counts and reports a problem. True when it is to be repaired now, which then must be done. */
bool check_problem(struct checker *check, bool can_repair, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The list, with room for more than `count`, which *room tells. Null: no memory; a sentence is set,
 * and the old list stays. */
void *check_grow(void *list, size_t count, size_t *room, size_t size, const char *what);
struct check_inode *check_find(struct checker *check, uint64_t ino);
/* The entry of this number, which is made where there is none. Pointers into the table are stale
 * afterwards. */
int check_add(struct checker *check, uint64_t ino, struct check_inode **out);
void check_count_record(struct checker *check);
/* A number that no inode has. */
uint64_t check_new_ino(struct checker *check);

/* The super record (check_super.c). It is judged by itself before anything else is read. The size
 * of the pool and the numbers of inodes follow once all records have been seen, and its counts at
 * the end. */
int check_super(struct checker *check);
void check_size(struct checker *check);
void check_numbers(struct checker *check);
void check_counts(struct checker *check);
/* Whether the memory that extents name is there. */
void check_memory(struct checker *check);

/* Fills the tables; repairs nothing (check_survey.c). */
int check_survey(struct checker *check);

/* Records under another inode's number than their own (check_moved.c). */
int check_moved(struct checker *check);

/* Decides what each inode is (check_inodes.c), then makes its attributes say so. */
int check_types(struct checker *check);
int check_attributes(struct checker *check);

/* Which file has which block (check_blocks.c). */
int check_blocks(struct checker *check);

/* Every other record on its own (check_records.c). */
int check_records(struct checker *check);
/* A record at or behind `key`; with `behind`, not the one of this key itself. */
int check_seek(struct checker *check, const struct meta_key *key, bool behind, MDB_val *found,
               MDB_val *value);
bool check_legal_name(const char *name);

/* Names: that every inode has as many as it says, and the directories are one tree. */
int check_names(struct checker *check);

#endif
