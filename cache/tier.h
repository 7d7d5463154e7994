/* SPDX-License-Identifier: MIT */
/*
 * The second tier: a file on a disk that gets the objects which are evicted. docs/CACHE.md (*The
 * second tier*) has the argument; the steps D1 to D4 and P1 to P4 stand in tier_demote.c and
 * tier_fetch.c.
 *
 * The disk's file is a ring of blocks. Positions only grow: block `pos` lies at pos % blocks, and
 * it is overwritten when head is more than `blocks` beyond it. So the oldest object leaves without
 * a step of its own. The index says what is where. It is in the pool's memory, so each process
 * can take an object out, also one that does not reach the disk.
 */
#ifndef HF_CACHE_TIER_H
#define HF_CACHE_TIER_H

#include "private.h"

#include <stddef.h>

#define TIER_MAGIC UINT64_C(0x3152454954434648)       /* "HFCTIER1" */
#define TIER_BLOCK_MAGIC UINT64_C(0x314b4c4254434648) /* "HFCTBLK1" */
#define TIER_FORMAT 1u
#define TIER_SET 8u         /* entries in which a key's own may be */
#define TIER_PATH_MAX 1024u /* with its end */
#define TIER_PIECES 16      /* that an object on its way may lie in */
#define TIER_SLOTS 64u      /* objects on their way to the disk, of one process */

/* ---- in the index, after the cells: a page, then sets of entries ---- */

struct tier {
    uint64_t magic, blocks;
    uint64_t head; /* the next position; the first one is `blocks` */
    uint64_t demoted, demoted_bytes, promoted, promoted_bytes;
    uint64_t kept, skipped, misses, damaged;
    uint64_t write_errors, read_errors;
    uint64_t last_error; /* errno << 32 | seconds since the epoch; 1 << 63: of a read */
    char path[TIER_PATH_MAX];
};

#define TIER_WRITING 1u
#define TIER_READY 2u
#define TIER_WORD(pos, state) ((pos) << 2 | (state))
#define TIER_POS(word) ((word) >> 2)
#define TIER_STATE(word) ((word)&3u)

struct tier_entry {
    uint64_t hash;  /* of the key */
    uint64_t word;  /* TIER_WORD(); 0: no object. Stored last, cleared first */
    uint64_t len;   /* of the object */
    uint64_t claim; /* where in the data file somebody reads it to, + 1; 0: nobody does */
};

/* ---- on the disk ---- */

struct tier_super { /* the first block of the file */
    uint64_t magic;
    uint32_t format, reserved;
    uint64_t id, blocks; /* the cache's seed; as in struct tier */
};

/* Before each object, in a block of its own. A small object is in it, another one follows it. */
struct tier_block {
    uint64_t magic, id, pos, len;
    uint64_t check; /* XXH3 of the object's bytes */
    uint64_t self;  /* XXH3 of this block up to `bytes`, with 0 here */
    uint32_t born, space, key_len, reserved;
    uint8_t key[HFC_KEY_MAX];
    uint8_t bytes[4096 - 576];
};
#define TIER_HERE (sizeof((struct tier_block *)0)->bytes)

_Static_assert(sizeof(struct tier_block) == HF_BLOCK_BYTES, "a block");
_Static_assert(sizeof(struct tier) <= HF_BLOCK_BYTES, "a page");

/* Blocks that an object takes on the disk. */
static inline uint64_t tier_blocks(uint64_t len)
{
    return 1 + (len <= TIER_HERE ? 0 : cache_pages(len));
}
static inline uint64_t tier_offset(const struct tier *tier, uint64_t pos)
{
    return (1 + pos % tier->blocks) * CACHE_PAGE; /* behind the super block */
}
/* Null: the cache has no second tier. */
static inline struct tier *cache_tier(const struct hfc *cache)
{
    return cache->tier_at ? region_at(&cache->index, cache->tier_at) : NULL;
}
static inline void tier_count(uint64_t *counter, uint64_t more)
{
    __atomic_fetch_add(counter, more, __ATOMIC_RELAXED); /* relaxed: a measure */
}

/* tier.c: what the page says, with null for path and fault. */
void tier_fill_stats(const struct tier *tier, struct hfc_tier_stats *out);

/* ---- tier.c: the entries ---- */

struct tier_entry *tier_entry_at(const struct hfc *cache, uint64_t entry);
uint64_t tier_first_of_set(const struct hfc *cache, uint64_t hash);

struct tier_found {
    struct tier_entry *entry;
    uint64_t word, len;
};
/* Without the lock. `word` may be TIER_WRITING. */
bool tier_find(const struct hfc *cache, uint64_t hash, struct tier_found *out);
/* The blocks of `word` have not been given to another object. */
bool tier_lasts(const struct hfc *cache, uint64_t word);
/* Under the lock: an entry that is being written, and its place. False: it does not fit. */
bool tier_insert(struct hfc *cache, uint64_t hash, uint64_t len, struct tier_found *out);
/* The entry's word becomes `to`, if nobody has changed it. */
bool tier_settle(const struct tier_found *found, uint64_t to);
void tier_failed(struct tier *tier, int error, bool reading);
void tier_promoted(struct hfc *cache, const struct hfc_key *key, const struct tier_found *found,
                   uint32_t born);
/* Under the lock: what was read is still the key's object, and it is not in memory. */
bool tier_still(struct hfc *cache, const struct hfc_key *key, const struct tier_found *found);

/* put.c: commits what was read, if tier_still(). Else -EAGAIN. Uses up the put. */
int put_commit_promoted(struct hfc_put *put, uint64_t len, const struct tier_found *found,
                        uint32_t born);
uint64_t put_offset(const struct hfc_put *put);

/* ---- tier_open.c, tier_demote.c, tier_fetch.c, of a build with liburing ---- */

struct tier_io;

/* The same of an object and of a block's header. */
uint64_t tier_check_bytes(const struct iovec *iov, int pieces, uint64_t len);
uint64_t tier_check_block(const struct tier_block *block);
int tier_io_make(struct hfc *cache, int fd, struct tier_io **out);
int tier_io_fd(const struct tier_io *io);
int tier_bring(struct hfc *cache, const struct hfc_key *key);
/* A descriptor of the file that has the objects; as hfc_open(), if the cache cannot use it. */
int tier_open_to_read(const struct hfc *cache);

/* tier_sum.c: the sum of the first `len` bytes; for any processor, and for those with AVX2. */
uint64_t tier_sum_plain(const struct iovec *iov, int pieces, uint64_t len);
uint64_t tier_sum_avx2(const struct iovec *iov, int pieces, uint64_t len);

/* ---- check_tier.c, check_disk.c: what hfc_check() looks at ---- */

#define TIER_PART (UINT64_C(1) << 20) /* of an object, read at a time */
/* What is wrong with the object that the entry says. Null: nothing is. */
const char *tier_wrong_object(const struct hfc *cache, int fd, const struct tier_entry *entry,
                              void *buffer);

#endif
