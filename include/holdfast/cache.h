/* SPDX-License-Identifier: MIT */
/*
 * A cache of objects in a directory of a pool, for any number of processes: a library of its own
 * (pkg-config holdfast-cache) beside holdfast.h. An object is bytes under a key. hfc_get() gives
 * the addresses of its memory and holds it there. hfc_put_begin() gives memory to fill, and
 * hfc_put_commit() makes it an object in one step. When the cache is full, a put evicts others.
 *
 * An object that readers hold can be evicted, replaced or removed at any time. No reader is waited
 * for, and no reader sees a byte change. The object leaves the cache at once. Its memory is used
 * again after its last reader has let go, or died. There are no time-outs.
 *
 * Any process may be killed at any instruction. What was committed, and not evicted, stays; what
 * was not committed is not seen. The next process that changes the cache mends what it finds.
 *
 * The rules of holdfast.h hold here too. Calls return 0, a count or -errno; hfc_detail() has the
 * sentence. Any thread may make any call but hfc_close() at any time. No call may be made in a
 * signal handler. In the child of a fork every call returns -ECHILD, and the child opens the cache
 * for itself. Every call that takes a struct hfc * may also return -ECHILD.
 *
 * Calls that change the cache take a lock. While a process that has it is stopped, they return
 * -EBUSY after five seconds, and nothing has changed. Neither a signal nor hf_cancel() ends that
 * wait. A process may also be stopped with the pool's lock of the file of objects. Then calls that
 * need memory return -EBUSY after a moment. One object may have been evicted by then. The sentence
 * names the process.
 *
 * hfc_get(), hfc_get_many(), hfc_exists() and hfc_touch() take no lock and allocate nothing. While
 * the object's pages are present, they make no system call. A thread's first get does. It may need
 * the lock of the file of objects, and so may each get of an object whose pages are not present.
 */
#ifndef HOLDFAST_CACHE_H
#define HOLDFAST_CACHE_H

#include <holdfast/holdfast.h>

#ifdef __cplusplus
extern "C" {
#endif
#ifdef __GNUC__
#pragma GCC visibility push(default)
#endif

#define HFC_KEY_MAX 512u /* bytes of a key */
#define HFC_SPACES 64u   /* namespaces, numbered from 0 */

struct hfc;
struct hfc_put;

/* ---------------------------------------------------------------------------------- a cache --- */

enum hfc_policy {
    /* A small and a main queue, and ghosts: the keys of objects that were evicted. An object that
     * is used only once leaves first. How large the small queue is, the ghosts tell. */
    HFC_S3FIFO = 0,
    HFC_LRU = 1, /* an object that was used since its last turn in the queue gets another turn */
    HFC_FIFO = 2 /* the oldest object leaves first */
};

struct hfc_options {
    size_t size;             /* sizeof(struct hfc_options) */
    uint64_t capacity_bytes; /* of memory for objects, held ones included; at least 1 MiB */
    uint32_t objects;        /* at most; 0: one for each 16 KiB of capacity */
    uint32_t policy;         /* enum hfc_policy */
    /* When objects would take more than high, a put evicts until they take no more than low. 0:
     * high is the capacity, low is high. */
    uint64_t high_bytes, low_bytes;
    uint64_t ttl_seconds; /* older objects are not found; 0: objects of any age are */
    /* The second tier: objects that are evicted go to a file in this directory of a disk, and
     * hfc_fetch() brings them back. The path begins with /. Null: none. */
    const char *tier;
    uint64_t tier_bytes;  /* of that file at most; from 1 MiB to 32 TiB */
    uint64_t reserved[2]; /* 0 */
};

/* Opens the cache in the directory `path` of the pool. With options, the cache and the directory
 * are made if they are not there; an existing cache keeps its own options. With null options, the
 * cache must be there. Holds its index in memory until hfc_close(). The first process to open it
 * looks at the whole index: O(objects). Allocates, and may wait for another process that mends the
 * cache.
 *   -ENOENT     there is no cache, and options is null; or tier is not there
 *   -EINVAL     an option is unknown or out of bounds
 *   -EEXIST     tier has a file of another cache, or of something else
 *   -EUCLEAN    the index is damaged, or the file is not an index
 *   -EOPNOTSUPP a newer version made it, or processes with another version have it open; or the
 *               pool's engine does not know which process holds a range; or tier is on a network's
 *               file system; or the library was built without liburing
 *   -ENOSPC     the pool has no room for the index
 *   -ENAMETOOLONG path is too long
 *   -ENOMEM, -EBUSY, -EROFS, -EIO  and the errors of hf_open() and hf_lease() */
int hfc_open(struct hf_pool *pool, const char *path, const struct hfc_options *options,
             struct hfc **out);

/* The pool stays open. Objects that were got stay held until hfc_release(). Waits until all that
 * this process writes to the second tier is written, and for the fetches that its threads work on.
 * The other fetches that were not taken are given up.
 *   -EBUSY  puts of this process are under way: nothing was closed */
int hfc_close(struct hfc *cache);

/* The sentence for the last call here that failed in this thread. Never fails. */
const char *hfc_detail(void);

struct hfc_key {
    const void *bytes;
    uint32_t len;   /* 1 to HFC_KEY_MAX */
    uint32_t space; /* below HFC_SPACES; the same bytes in two spaces are two keys */
};

/* What a namespace may take at most, in bytes of memory; 0: as much as the cache has. A put beyond
 * it evicts objects of the same namespace. Takes the lock. -EINVAL, -EBUSY. */
int hfc_quota(struct hfc *cache, uint32_t space, uint64_t bytes);

/* ---------------------------------------------------------------------------------- getting --- */

struct hfc_ref {
    struct hf_pin hf_opaque; /* may be copied; is used up by the first hfc_release() */
};

/* Holds the object and stores where it lies: iov[0..n), its length together. Returns n. The bytes
 * do not change until hfc_release(), whatever happens to the object. Writing there is the caller's
 * mistake.
 *   -ENOENT  it is not in the cache, or is older than ttl_seconds
 *   -EINVAL  the key has no bytes or too many, its space is unknown, or iovcnt is below 1
 *   -E2BIG   more than iovcnt pieces are needed
 *   -EBUSY   a process that is stopped has the lock of the file of objects
 *   -ENOLCK, -EINTR, -EUCLEAN  as hf_pin() */
int hfc_get(struct hfc *cache, const struct hfc_key *key, struct iovec *iov, int iovcnt,
            struct hfc_ref *ref);

#define HFC_PREFIX 1u /* the first key that is not there ends it: the rest counts as not there */

struct hfc_got {
    int pieces; /* of the object, or -errno as of hfc_get() */
    int first;  /* iov[first..first+pieces) is where it lies */
    struct hfc_ref ref;
};

/* Gets each of `count` objects, as hfc_get() does. out[i] is of the i-th key; each that was got is
 * released on its own. Their pieces share iov[0..iovcnt). Returns how many were got. flags: 0 or
 * HFC_PREFIX.
 *   -EINVAL  a key is not valid, a flag is unknown, or an argument is null or below 0: no object is
 *            held */
int hfc_get_many(struct hfc *cache, const struct hfc_key *keys, int count, uint32_t flags,
                 struct iovec *iov, int iovcnt, struct hfc_got *out);

/* Lets go, from any thread of the process, also after hfc_close(). As hf_unpin(). */
int hfc_release(struct hfc_ref *ref);

enum hfc_where {
    HFC_NOWHERE = 0,
    HFC_IN_MEMORY = 1, /* hfc_get() gets it */
    HFC_ON_DISK = 2 /* in the second tier: hfc_fetch() brings it, if it is whole and not too old */
};

/* Where each of `count` keys is: out[i] is enum hfc_where. Returns how many are in memory or on the
 * disk. Does not count as use. -EINVAL. */
int hfc_exists(struct hfc *cache, const struct hfc_key *keys, int count, uint8_t *out);

/* Counts as use of the object for the policy, and nothing else. -ENOENT, -EINVAL. */
int hfc_touch(struct hfc *cache, const struct hfc_key *key);

/* As hfc_get(), but an object that is not in memory is brought back from the second tier first, if
 * it is there. Waits for the disk, and for another reader that brings the same object. A failure of
 * the disk is a miss, and hfc_tier_stats() counts it. Takes the lock, and allocates, when it brings
 * an object.
 *   as hfc_get(), and when it brings one -ENOSPC, -EFBIG, -EBUSY, -ENOMEM as hfc_put() */
int hfc_fetch(struct hfc *cache, const struct hfc_key *key, struct iovec *iov, int iovcnt,
              struct hfc_ref *ref);

/* ------------------------------------------------------- fetching without waiting --- */

#define HFC_FETCHES 1024u /* fetches of a handle that were begun and not taken, at most */

/* As hfc_fetch(), but it does not wait for the disk. Above 0: the object is in memory and held, as
 * by hfc_get(), and no fetch was begun. 0: a thread of this process brings it, and hfc_fetch_next()
 * will tell of it, with this tag. Several fetches of one key wait for one read. iov and ref are not
 * used after the call.
 *   -ENOENT  it is not on the disk either
 *   -ENOLCK, -EINTR, -EUCLEAN, -EBUSY and the others of hfc_get()
 *   -EAGAIN  HFC_FETCHES are begun: take those that have ended
 *   -ENOMEM  also: no thread could be made */
int hfc_fetch_begin(struct hfc *cache, const struct hfc_key *key, uint64_t tag, struct iovec *iov,
                    int iovcnt, struct hfc_ref *ref);

/* A descriptor that is readable while hfc_fetch_next() has something to tell. For poll(2); the
 * caller neither reads nor closes it. One for each struct hfc, until hfc_close(). -EMFILE,
 * -ENFILE, -ENOMEM. */
int hfc_fetch_fd(struct hfc *cache);

struct hfc_fetched {
    uint64_t tag; /* as begun */
    /* iov[0..pieces) is where the object lies, held until hfc_release() of ref. Or -errno as of
     * hfc_fetch(), and hfc_detail() says why. */
    int pieces;
    int reserved;
    struct hfc_ref ref;
};

/* Takes the fetch that ended first of those that were not taken. Returns 1, or 0 when none has
 * ended. Does not wait.
 *   -E2BIG   the object has more than iovcnt pieces. out->pieces and out->tag are stored, and the
 *            fetch can be taken again
 *   -EINVAL  out or iov is null, or iovcnt is below 0 */
int hfc_fetch_next(struct hfc *cache, struct iovec *iov, int iovcnt, struct hfc_fetched *out);

/* ---------------------------------------------------------------------------------- putting --- */

/* Copies len bytes under the key; replaces what is there, in one step. Objects below 2 KiB are
 * packed: many share a page.
 *   -EINVAL  len is 0, or the key as in hfc_get()
 *   -EFBIG   more than the capacity or the quota, or than lies in one piece of the file
 *   -ENOSPC  what could be evicted is not enough: readers hold the rest, or puts do. Or the pool is
 *            full
 *   -EBUSY   a process that is stopped has the lock, or that of the file of objects
 *   -ENOMEM, -ENOLCK, -EINTR */
int hfc_put(struct hfc *cache, const struct hfc_key *key, const void *bytes, size_t len);

/* Hands out memory for an object of up to len bytes: iov[0..n). Returns n. Nobody else sees it.
 * The memory holds anything. flags: what fills it, HF_PIN_CPU, _IO_URING, _RDMA or _GPU. Takes at
 * least a page. It lies in one piece as a rule, but n is above 1 in a full cache (hfc_open(3), "In
 * one piece"). Errors as hfc_put(), and -E2BIG: more than iovcnt pieces. */
int hfc_put_begin(struct hfc *cache, const struct hfc_key *key, uint64_t len, uint32_t flags,
                  struct iovec *iov, int iovcnt, struct hfc_put **out);

/* Makes the first len bytes an object, in one step. Whatever fills the memory must have stopped
 * before. Uses up the put, also when it fails.
 *   -EINVAL  len is 0 or more than was begun. -EBUSY: as hfc_put() */
int hfc_put_commit(struct hfc_put *put, uint64_t len);

/* Gives the memory back. Whatever fills it must have stopped before. Never fails, but may leave the
 * memory to the next put. */
void hfc_put_abort(struct hfc_put *put);

/* Takes the object out of the cache. -ENOENT, -EINVAL, -EBUSY. */
int hfc_remove(struct hfc *cache, const struct hfc_key *key);

/* Evicts by the policy, as a put into a full cache does. Ends when the objects that left had at
 * least `bytes` of memory, or as much as all had at the call. Stores in *out how many bytes they
 * had, also when it fails; out may be null. The memory stays with the cache, for the next puts. But
 * with UINT64_MAX, for all objects, it goes back to the pool, except what is held. With a second
 * tier, waits until the objects are written there. -EINVAL, -EBUSY. */
int hfc_evict(struct hfc *cache, uint64_t bytes, uint64_t *out);

/* ---------------------------------------------------------------------------------- looking --- */

struct hfc_entry {
    uint64_t bytes; /* of the object */
    uint32_t space;
    uint32_t key_len;
    uint8_t key[HFC_KEY_MAX];
};

/* The next object: 1, or 0 at the end. *cursor begins as 0. An object that is there all the time is
 * seen once; one that comes or goes meanwhile may be seen. Takes no lock. */
int hfc_next(struct hfc *cache, uint64_t *cursor, struct hfc_entry *out);

struct hfc_stats {
    size_t size;             /* sizeof(struct hfc_stats), set by the caller */
    uint64_t capacity_bytes; /* as made */
    uint64_t used_bytes;     /* of memory: objects, evicted ones that are held, and puts */
    uint64_t held_bytes;     /* of that: in no object, but held by readers or by puts; hfc_peek()
                              * also counts what nobody holds any more, until a process looks */
    uint64_t objects, objects_max;
    uint64_t packed_pages;
    /* Since the first process opened it, all processes together: */
    uint64_t hits, misses, expired;
    uint64_t puts, put_bytes;
    uint64_t evictions, removals;
    uint64_t ghost_hits; /* puts of keys that were evicted not long ago */
    uint64_t compacted;  /* packed objects that were moved to another page */
    uint64_t mended;     /* times that a process mended what one left that died with the lock */
    uint64_t dropped;    /* objects that were lost then, since the index was damaged */
    /* Counted from its put: how old the last evicted object was when it left, and how old the
     * object is that would be evicted next. */
    uint64_t evicted_age_seconds, next_age_seconds;
};
/* -EINVAL, -EBUSY. Takes the lock. */
int hfc_stats(struct hfc *cache, struct hfc_stats *out);

/* ------------------------------------------------------------------------ the second tier --- */

struct hfc_tier_stats {
    size_t size;      /* sizeof(struct hfc_tier_stats), set by the caller */
    const char *path; /* as made; lasts until hfc_close() */
    /* Why this process neither writes to the disk nor reads from it; null: it does. Lasts until
     * hfc_close(). */
    const char *fault;
    uint64_t capacity_bytes,
        used_bytes; /* of the file; objects that left count until overwritten */
    /* Since the cache was made, all processes together: */
    uint64_t demoted, demoted_bytes;   /* objects that were written */
    uint64_t kept;                     /* evicted objects that were on the disk already */
    uint64_t skipped;                  /* evicted without a copy: too much was on the way */
    uint64_t promoted, promoted_bytes; /* objects that were brought back */
    uint64_t misses;                   /* looked for, and not found */
    uint64_t damaged;                  /* found, and not whole: misses too */
    uint64_t write_errors, read_errors;
    int32_t last_error;          /* errno of the last of these errors; 0: there was none */
    uint32_t last_error_reading; /* 1: it was the error of a read */
    uint64_t last_error_time;    /* in seconds since the epoch */
};
/* Takes no lock. -ENOENT: the cache has no second tier. -EINVAL. */
int hfc_tier_stats(struct hfc *cache, struct hfc_tier_stats *out);

/* The counts of the cache in the directory `path`, for a program that only looks. It opens nothing,
 * takes no lock and mends nothing, and the pool may be open read-only. Returns 1 when a process has
 * the cache open. Returns 0 when none has: then only the limits and the second tier are known, and
 * the rest is 0. next_age_seconds is 0. tier->capacity_bytes is 0 when there is no second tier, and
 * its path and fault are null. The counts may be of slightly different moments.
 *   -EINVAL  an argument is null, or a size is wrong
 *   -ENOENT  there is no cache
 *   -EUCLEAN, -EOPNOTSUPP, -ENAMETOOLONG as hfc_open(), and the errors of hf_open() */
int hfc_peek(struct hf_pool *pool, const char *path, struct hfc_stats *out,
             struct hfc_tier_stats *tier);

/* ------------------------------------------------------------------------------- checking --- */

struct hfc_check_result {
    size_t size;       /* sizeof(struct hfc_check_result), set by the caller */
    uint64_t objects;  /* that are whole, as far as the index can tell */
    uint64_t problems; /* found */
    uint64_t repaired; /* of those */
};
/* Checks the cache in the directory `path` of the pool, which no process may have open. `report`
 * (may be null) gets one sentence for each problem. flags: 0 or HF_CHECK_REPAIR. A repair takes out
 * of the cache what cannot be shown to be whole, and changes no object. The bytes of objects in
 * memory have no checksum, so they are not looked at. Those of a second tier are read and summed.
 * If its disk is not there, `report` is told, and no problem counts. Without repair the pool may be
 * open read-only. Returns 0 when it could look at everything, also when it found problems.
 *   -EINVAL  an argument is null, a size is wrong, or a flag is unknown
 *   -ENOENT  there is no cache
 *   -EIO     the index could not be read or written
 *   -ENAMETOOLONG, -ENOMEM, and the errors of hf_open() */
int hfc_check(struct hf_pool *pool, const char *path, uint32_t flags,
              void (*report)(void *arg, const char *sentence), void *arg,
              struct hfc_check_result *out);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
#endif
