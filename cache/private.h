/* SPDX-License-Identifier: MIT */
/*
 * What the files of libholdfast-cache share: the index and the run state. The
 * argument why the cache is right is in docs/CACHE.md; the steps G1 to G5 and E1 to E3 stand in
 * get.c and evict.c.
 *
 * The index is a file of the pool: a header, lines of words, cells. A word that is not 0 makes its
 * cell an object; storing the word publishes the object, and clearing it takes the object away.
 * All else can be found again from the words and cells (mend.c). Only a holder of the lock stores
 * to the index, but for the use count of a cell.
 *
 * The run state is a file without a name, which goes with its last process. It has the lock, and
 * what follows from the index: which pages of the data file are in use, the queues, the ghosts.
 */
#ifndef HF_CACHE_PRIVATE_H
#define HF_CACHE_PRIVATE_H

#include "lab.h"

#include <holdfast/cache.h>
#include <holdfast/put.h>
#include <pthread.h>
#include <stdbool.h>

#define CACHE_PAGE ((uint64_t)HF_BLOCK_BYTES)
#define CACHE_MAGIC UINT64_C(0x3145484341434648) /* "HFCACHE1" */
#define CACHE_RUN_MAGIC UINT64_C(0x334e555243464821)
#define CACHE_FORMAT 1u
#define CACHE_INCOMPAT_TIER 1u /* a page and entries of a second tier come after the cells */
#define CACHE_NONE UINT32_MAX
#define CACHE_WINDOW 4u        /* lines in which a key's word may be, from its own one on */
#define CACHE_LINE_WORDS 8u    /* words in a line */
#define CACHE_PACKED_MAX 2048u /* objects below this are packed */
#define CACHE_GROUP 512u       /* pages of the data file that are searched together */
#define CACHE_SHARDS 64u
#define CACHE_USES_MAX 3u

/* ---- words that processes share ---- */

#define load_relaxed(p) __atomic_load_n(p, __ATOMIC_RELAXED)
#define load_acquire(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define store_relaxed(p, v) __atomic_store_n(p, v, __ATOMIC_RELAXED)
#define store_release(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)

/* ---- the index ---- */

struct header { /* one page */
    uint64_t magic;
    uint32_t format, incompat;
    uint64_t seed;
    uint64_t capacity_pages, range_pages; /* of memory; of the data file's offsets */
    uint64_t high_pages, low_pages;
    uint64_t ttl_seconds;
    uint32_t cells, lines, policy;
    uint32_t tier_sets; /* 0: there is no second tier */
    /* Inode of the run state; it exists as long as a process has it open. */
    uint64_t run_ino;
    uint64_t next_stamp;
    uint64_t quota_bytes[HFC_SPACES];
};

/* A word: 16 bits of the key's hash, 16 of the cell's stamp, and the cell + 1. */
#define WORD_CELL(word) ((uint32_t)(word)-1)

#define CELL_FREE 0u
#define CELL_OBJECT 1u
#define CELL_KEY 2u  /* more bytes of a key */
#define CELL_PAGE 3u /* a page of packed objects */
#define CELL_KIND(state) ((state)&255u)
#define CELL_PACKED 0x100u
#define CELL_MAIN 0x200u   /* in the main queue */
#define CELL_QUEUED 0x400u /* in a queue of objects; of the run state, as is the next */
#define CELL_LISTED 0x800u /* in the list of what is to be freed, or of sparse pages */

#define KEY_HERE 24u
#define KEY_MORE 48u

struct cell {
    /* No two objects have the same. It is stored when the rest of the cell was. */
    uint64_t stamp;
    uint32_t state;
    uint32_t more; /* cell + 1 with the next bytes of the key; 0: none */
    union {
        struct {
            uint64_t off;  /* in the data file */
            uint64_t len;  /* packed: and the cell of its page << 32 */
            uint32_t born; /* when it was put, in seconds since the epoch */
            uint16_t key_len;
            uint8_t space;
            uint8_t uses; /* up to CACHE_USES_MAX */
            uint64_t key[KEY_HERE / 8];
        };
        uint64_t more_key[KEY_MORE / 8];
    };
};

/* Of an object that is not packed, `len` is what the range has room for, while it is put. */
static inline uint64_t cell_len(uint32_t state, uint64_t len)
{
    return state & CELL_PACKED ? (uint32_t)len : len;
}
/* Of a CELL_PAGE: `len` is bytes used, and bytes of living records << 32. */

struct record { /* before each packed object */
    uint64_t stamp;
    uint32_t cell, len;
};

/* ---- the run state ---- */

struct link {
    uint32_t prev, next; /* cells */
};

struct list {
    uint32_t first, last; /* CACHE_NONE: empty */
};

/* Of a group of pages, or of a node's two others; all in pages. */
struct span {
    uint64_t prefix, suffix; /* free at its begin, and at its end */
    uint64_t longest, inner; /* runs of free ones, over groups and within one */
    uint64_t idle;           /* filled, and free */
    uint64_t ready;          /* the longest run of such pages within one group */
    uint64_t unused[2];
};

struct shard {
    uint64_t hits, misses, expired, unused[5];
};

struct run { /* one page; the next has the shards; then links, ghosts, maps and spans */
    uint64_t magic, index_ino;
    pthread_mutex_t mutex;
    uint32_t mended; /* 0: what follows is not known */
    uint32_t free_cell, free_cells;
    uint32_t open_page; /* cell of the page that packed objects are added to */
    struct list queues[HFC_SPACES][2];
    struct list leaving; /* ranges that are no object's (any more) and perhaps held */
    struct list sparse;  /* pages of packed objects with little life in them */
    uint64_t space_bytes[HFC_SPACES];
    uint64_t small_bytes, main_bytes; /* of the queues of all namespaces */
    uint64_t small_wanted;            /* ghosts.c; 0: as it begins */
    uint64_t busy_pages, filled_pages, leaving_pages, limit_pages;
    uint64_t objects, packed_pages;
    uint64_t ghost_clock[2]; /* evictions from the queues: small, main */
    uint32_t spans_known;    /* 0: while a mend marks pages */
    uint32_t made;           /* 0: no process has made what is here yet */
    uint64_t puts, put_bytes, evictions, removals, ghost_hits, compacted, mendings;
    uint64_t dropped, evicted_age; /* in seconds */
};

/* A file of the pool that this process has leased whole. */
struct region {
    struct hf_file *file;
    struct hf_lease lease;
    char **pages; /* the address of each page */
    uint64_t bytes, ino;
};

struct hfc {
    struct hf_pool *pool;
    struct region index, state;
    struct hf_file *data;
    unsigned long forks;
    uint32_t putting; /* puts under way */
    /* Under the lock: since it was taken, hf_held() has failed with that. 0: it has not. */
    int unknown;
    char unknown_why[256];
    /* As the header said when it was checked. */
    uint64_t seed, capacity_pages, range_pages, high_pages, low_pages, ttl_seconds;
    uint32_t cells, lines, policy;
    uint32_t groups, leaves;                          /* of the spans; leaves: a power of two */
    uint64_t lines_at, cells_at;                      /* in the index */
    uint64_t links_at, ghosts_at, busy_at, filled_at; /* in the run state */
    uint64_t spans_at;
    uint64_t tier_at; /* in the index; 0: there is no second tier */
    uint32_t tier_sets;
    struct fetches *fetches;
    struct tier_io *tier_io; /* null: this process does not use it, as tier_fault says */
    char tier_fault[512];
};

static inline void *region_at(const struct region *region, uint64_t off)
{
    return region->pages[off / CACHE_PAGE] + off % CACHE_PAGE;
}
static inline struct header *cache_header(const struct hfc *cache)
{
    return (void *)cache->index.pages[0];
}
static inline struct run *cache_run(const struct hfc *cache)
{
    return (void *)cache->state.pages[0];
}
static inline struct shard *cache_shard(const struct hfc *cache, uint32_t shard)
{
    return (struct shard *)(void *)cache->state.pages[1] + shard % CACHE_SHARDS;
}
static inline uint64_t *cache_line(const struct hfc *cache, uint32_t line)
{
    return region_at(&cache->index, cache->lines_at + (uint64_t)line * 64);
}
static inline struct cell *cache_cell(const struct hfc *cache, uint32_t cell)
{
    return region_at(&cache->index, cache->cells_at + (uint64_t)cell * sizeof(struct cell));
}
static inline struct link *cache_link(const struct hfc *cache, uint32_t cell)
{
    return region_at(&cache->state, cache->links_at + (uint64_t)cell * sizeof(struct link));
}
/* The word of a map of pages, which begins at `at` in the run state. */
static inline uint64_t *cache_map_word(const struct hfc *cache, uint64_t at, uint64_t page)
{
    return region_at(&cache->state, at + page / 64 * 8);
}
static inline uint64_t cache_pages(uint64_t bytes)
{
    return (bytes + CACHE_PAGE - 1) / CACHE_PAGE;
}

/* detail.c */
int cache_fail(int rc, const char *format, ...) __attribute__((format(printf, 2, 3)));
int cache_fail_pool(int rc);
/* -ECHILD in the child of a fork; and what is to be in cache->forks. */
int cache_check(const struct hfc *cache);
int cache_forks(unsigned long *out);
uint32_t cache_now(void); /* seconds since the epoch */
/* lock.c: takes the lock, and mends what its dead owner left. -EBUSY. */
int cache_lock(struct hfc *cache);
void cache_unlock(struct hfc *cache);
int lock_make(struct run *run);
/* open.c: of an index, as its header says; and whether this version knows all of it. */
uint64_t index_bytes(const struct header *header);
uint64_t tier_page_at(const struct header *header); /* the page of the second tier */
bool index_is_known(const struct header *header);
/* -EUCLEAN, -EOPNOTSUPP: it is not the header of an index, or of a newer version's. */
int index_check_format(const struct header *header);
/* mend.c: makes the run state from the index. Under the lock. -ENOMEM. */
int cache_mend(struct hfc *cache);

/* key.c */
int key_check(const struct hfc_key *key);
uint64_t key_hash(const struct hfc *cache, const struct hfc_key *key);
/* Without the lock: a wrong answer is found when the cell's stamp is read again. */
bool key_is(const struct hfc *cache, const struct cell *cell, const struct hfc_key *key);
/* Copies the key of an object out. False: it makes no sense. */
bool key_copy(const struct hfc *cache, const struct cell *cell, uint8_t out[HFC_KEY_MAX],
              uint32_t *len);
/* Cells that the key needs beside its own. */
uint32_t key_cells(uint32_t len);
/* Under the lock; the cells are there. */
void key_store(struct hfc *cache, struct cell *cell, const struct hfc_key *key);
void key_free(struct hfc *cache, struct cell *cell);

/* table.c */
struct found {
    uint64_t *place, word;
    struct cell *cell;
    uint64_t stamp;
};
/* The word of the key, without the lock. */
bool table_find(const struct hfc *cache, const struct hfc_key *key, uint64_t hash,
                struct found *out);
void table_prefetch(const struct hfc *cache, uint64_t hash);
/* Its place: the key's own word, else a free one, else null: the window is full. Under the lock. */
uint64_t *table_place(const struct hfc *cache, const struct hfc_key *key, uint64_t hash,
                      struct found *old);
/* The word that leads to the cell; null: none. Under the lock. */
uint64_t *table_word_of(const struct hfc *cache, uint32_t cell);
/* An object of the full window, the one that was put first. */
uint32_t table_victim(const struct hfc *cache, uint64_t hash);

/* cells.c: under the lock */
/* One that is free until cell_is() says what it is, after its range was stored. CACHE_NONE: there
 * is none. */
uint32_t cell_take(struct hfc *cache);
void cell_is(struct hfc *cache, uint32_t cell, uint32_t state);
void cell_give(struct hfc *cache, uint32_t cell);
uint64_t cell_next_stamp(struct hfc *cache);
/* The cell is whole. Stores its stamp, and the word at `place`, with the 16 bits `tag` of the key's
 * hash. */
void cell_publish(struct hfc *cache, uint32_t cell, uint64_t stamp, uint64_t *place, uint64_t tag);
#define WORD_TAG(hash) ((hash) >> 48 << 48)
void list_push(struct hfc *cache, struct list *list, uint32_t cell);
void list_drop(struct hfc *cache, struct list *list, uint32_t cell);
void list_swap(struct hfc *cache, struct list *list, uint32_t old, uint32_t new);

/* space.c: ranges of the data file. Under the lock. */
/* Pages in one run, in use from now on. The first of them have memory, SPACE_NOW at least. -ENOENT:
 * there is no such run within the limit. -EAGAIN: the pool is full. As hf_fallocate(). */
int space_take(struct hfc *cache, uint64_t pages, uint64_t *page);
void space_give(struct hfc *cache, uint64_t page, uint64_t pages);
bool space_mark(struct hfc *cache, uint64_t page, uint64_t pages); /* false: part is in use */
/* The pool was full when the range was filled: it is taken out of the file. */
void space_failed(struct hfc *cache, uint64_t page, uint64_t pages);
/* Takes memory from free pages, in so many steps at most. How many pages; 0: none had any. */
uint64_t space_trim(struct hfc *cache, unsigned steps);
/* Nothing is in use; filled is what has blocks. Then space_mark() says what is, until
 * spans_make(). */
int space_mend(struct hfc *cache);

/* spans.c: under the lock */
/* In use or filled has changed in [page, page+pages). */
void spans_changed(struct hfc *cache, uint64_t page, uint64_t pages);
void spans_make(struct hfc *cache);
/* A run of so many free pages. It is the lowest one in a group whose pages have memory, else the
 * lowest in a group, else any. UINT64_MAX: there is none. */
uint64_t spans_find(const struct hfc *cache, uint64_t wanted);
/* A run near the end of the file that is filled and free. False: there is none. */
bool spans_last_idle(const struct hfc *cache, uint64_t *page, uint64_t *pages);

/* ghosts.c: under the lock */
uint64_t ghosts_bytes(const struct hfc *cache); /* of their table, in the run state */
/* The object is evicted from the queue that it is in. */
void ghost_leave(struct hfc *cache, const struct cell *cell);
/* An object of so many bytes comes, whose key has the hash. True: the key left not long ago. */
bool ghost_take(struct hfc *cache, uint64_t hash, uint64_t bytes);
/* That the small queue is to have. */
uint64_t ghosts_small_bytes(const struct run *run);

/* evict.c: under the lock */
void object_bytes(const struct cell *cell, uint64_t *bytes, uint64_t *pages);
void queue_object(struct hfc *cache, uint32_t cell);
/* The word at `place` is cleared, if it is not null, and the object goes. */
void object_leave(struct hfc *cache, uint32_t cell, uint64_t *place);
/* The one that would leave next, of any space. CACHE_NONE: there is none. */
uint32_t evict_next(struct hfc *cache);
/* One object by the policy, of one space or (CACHE_NONE) of any. False: there is none. */
bool evict_one(struct hfc *cache, uint32_t space);
#define SETTLE_MOST 64u
/* leave.c: frees ranges of the list `leaving` that nobody holds. How many. */
unsigned settle_leaving(struct hfc *cache, unsigned most);
/* 0; or as hf_held() failed, since the lock was taken. From then on nothing that leaves is found
 * free, so no object should leave to make room. */
int holders_unknown(const struct hfc *cache);
void leave_range(struct hfc *cache, uint32_t cell);
/* Room for `pages` more, and for `bytes` of the space. -ENOSPC, -EFBIG. */
int make_room(struct hfc *cache, uint32_t space, uint64_t pages, uint64_t bytes);
int take_range(struct hfc *cache, uint64_t pages, uint64_t *page);
int take_cells(struct hfc *cache, uint32_t count);

/* Of the capacity: on its way from this process to the disk, at most. */
#define TIER_AHEAD_PART 16u
/* tier.c: what the index has of the second tier. tier.h has the rest. */
int tier_plan(const struct hfc_options *options, struct header *header);
uint64_t tier_index_pages(const struct header *header);
void tier_fill_page(const struct hfc_options *options, void *page);
int tier_check_index(const struct hfc *cache);
/* It is on the disk, as far as the index knows, and this process reads there. */
bool tier_has(const struct hfc *cache, uint64_t hash);
/* Under the lock: the key's object on the disk is not its value any more. True: there was one. */
bool tier_forget(struct hfc *cache, uint64_t hash);
/* check_tier.c: mends the second tier in a copy of the index, and looks at the disk. `counts`: that
 * is a problem, which was mended in the copy. -ENOMEM. */
int tier_check(const struct hfc *cache, void (*found)(void *arg, const char *what, bool counts),
               void *arg);
/* tier_open.c: whether a new cache can use the directory. */
int tier_look(const struct hfc_options *options, uint64_t id);
void tier_open(struct hfc *cache);
/* tier_demote.c: waits for what is on its way to the disk. */
void tier_close(struct hfc *cache);
/* Under the lock: the object leaves now. */
void tier_demote(struct hfc *cache, uint32_t cell);
/* This process has room for one more that is on its way to the disk. */
bool tier_room(const struct hfc *cache);
/* Until there is room, or until nothing is on its way. True: it had to wait. */
bool tier_wait(struct hfc *cache, bool all);

/* tier_get.c: as tier_has(); if not, a miss of the disk is counted. */
bool tier_may_have(struct hfc *cache, const struct hfc_key *key);
/* When a get has found nothing: -ENOENT, or as hfc_fetch(). */
int tier_get(struct hfc *cache, const struct hfc_key *key, struct iovec *iov, int iovcnt,
             struct hfc_ref *ref);

/* fetches.c */
int fetches_make(struct hfc *cache); /* -ENOMEM */
/* Waits for those that are under way. No other begins until fetches_resume(). */
void fetches_pause(struct hfc *cache);
void fetches_resume(struct hfc *cache);
/* After a pause: all that were begun and not taken go. */
void fetches_drop(struct hfc *cache);

/* publish.c: the cell is ready but for its key, and gets it; it is published. Under the lock. */
int publish(struct hfc *cache, const struct hfc_key *key, uint32_t cell, uint64_t stamp);

/* packed.c, pages.c: under the lock */
static inline uint32_t page_used(const struct cell *page)
{
    return (uint32_t)page->len;
}

static inline uint32_t page_live(const struct cell *page)
{
    return (uint32_t)(page->len >> 32);
}

static inline void page_set(struct cell *page, uint32_t used, uint32_t live)
{
    store_relaxed(&page->len, (uint64_t)live << 32 | used); /* relaxed: under the lock */
}
int packed_put(struct hfc *cache, const struct hfc_key *key, const void *bytes, size_t len);
/* Gives the open page up if nothing in it lives. */
bool packed_close(struct hfc *cache);
/* A record of the page is dead now. */
void packed_dead(struct hfc *cache, uint32_t page, uint32_t bytes);
static inline uint32_t record_bytes(uint64_t len)
{
    return (uint32_t)(sizeof(struct record) + (len + 15) / 16 * 16);
}

_Static_assert(sizeof(struct header) <= HF_BLOCK_BYTES, "a page");
_Static_assert(sizeof(struct run) <= HF_BLOCK_BYTES, "a page");
_Static_assert(sizeof(struct shard) * CACHE_SHARDS <= HF_BLOCK_BYTES, "a page");
_Static_assert(sizeof(struct span) == 64, "none crosses a page");
_Static_assert(sizeof(struct cell) == 64, "a line of the processor's cache");

#endif
