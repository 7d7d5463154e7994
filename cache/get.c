/* SPDX-License-Identifier: MIT */
/*
 * A get takes no lock:
 *
 *   G1  load the key's word and the stamp of its cell; compare the key
 *   G2  load the place and the length
 *   G3  pin the range
 *   G4  load the word and the stamp again. If both are as before, the object was in the cache after
 *       the pin was made. An eviction after that finds the pin (E2 in evict.c). Else unpin, having
 *       touched nothing, and begin again
 *   G5  note the use
 *
 * Before G4 the cell may be another object's, and the range anything. A pin of a range that is not
 * the object's does no harm. For a moment it holds pages of the data file, and it fills no hole.
 */
#include "private.h"

#include <errno.h>
#include <unistd.h>

#define GET_BATCH 16 /* keys that are hashed before the first of them is looked for */

static struct shard *own_shard(const struct hfc *cache)
{
    static _Thread_local uint32_t shard;

    if (!shard)
        shard = (uint32_t)gettid() % CACHE_SHARDS + 1;
    return cache_shard(cache, shard - 1);
}

static void count_one(uint64_t *counter)
{
    __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED); /* relaxed: a measure */
}

/* G4 */
static bool still_there(const struct found *found)
{
    /* CELL.REUSE/p: what was loaded of the cell comes before the word and the stamp. Pairs with
     * CELL.REUSE/m in cell_take(). */
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return CACHE_BROKEN(CACHE_LAB_NO_SECOND_LOOK) ||
           ((CACHE_BROKEN(CACHE_LAB_STAMP_ALONE) || load_acquire(found->place) == found->word) &&
            (CACHE_BROKEN(CACHE_LAB_WORD_ALONE) ||
             load_relaxed(&found->cell->stamp) == found->stamp)); /* relaxed: the fence */
}

static bool too_old(const struct hfc *cache, const struct cell *cell)
{
    uint32_t born = load_relaxed(&cell->born); /* relaxed: G4 */

    return cache->ttl_seconds && cache_now() >= born + cache->ttl_seconds;
}

/* A hint for the policy: two uses at the same time may count as one. A cell that is used often is
 * only read. */
static void note_use(struct cell *cell)
{
    uint8_t uses = load_relaxed(&cell->uses);

    if (uses < CACHE_USES_MAX)
        store_relaxed(&cell->uses, (uint8_t)(uses + 1));
}

static int pin_object(const struct hfc *cache, const struct found *found, struct iovec *iov,
                      int iovcnt, struct hfc_ref *ref)
{
    uint32_t state = load_relaxed(&found->cell->state); /* relaxed, and below: G4 */
    uint64_t off = load_relaxed(&found->cell->off);
    uint64_t len = cell_len(state, load_relaxed(&found->cell->len));
    int rc;

    CACHE_AT(CACHE_LAB_PINS);
    rc = hf_pin(cache->data, off, len, HF_PIN_READ | HF_PIN_NOFILL, iov, iovcnt, &ref->hf_opaque);
    /* The object has pages of zeros, which a merge took out. */
    if (rc == -ENODATA && still_there(found))
        rc = hf_pin(cache->data, off, len, HF_PIN_READ, iov, iovcnt, &ref->hf_opaque);
    return rc;
}

/* -EAGAIN: the object went meanwhile, and another may have come. */
static int try_get(const struct hfc *cache, const struct hfc_key *key, uint64_t hash,
                   struct iovec *iov, int iovcnt, struct hfc_ref *ref)
{
    struct hfc_ref held;
    struct found found;
    int rc;

    if (!table_find(cache, key, hash, &found))
        return -ENOENT;
    if (too_old(cache, found.cell))
        return still_there(&found) ? -ESTALE : -EAGAIN;
    rc = pin_object(cache, &found, iov, iovcnt, &held);
    if (still_there(&found)) {
        if (rc < 0)
            return cache_fail_pool(rc);
        note_use(found.cell);
        *ref = held;
        return rc;
    }
    if (rc > 0)
        hf_unpin(&held.hf_opaque);
    return -EAGAIN;
}

static int get_valid(struct hfc *cache, const struct hfc_key *key, uint64_t hash, struct iovec *iov,
                     int iovcnt, struct hfc_ref *ref)
{
    struct shard *shard = own_shard(cache);
    int rc;

    do {
        rc = try_get(cache, key, hash, iov, iovcnt, ref);
    } while (rc == -EAGAIN);
    if (rc > 0)
        count_one(&shard->hits);
    else if (rc == -ENOENT || rc == -ESTALE)
        count_one(&shard->misses);
    if (rc == -ESTALE)
        count_one(&shard->expired);
    return rc == -ESTALE ? -ENOENT : rc;
}

int hfc_get(struct hfc *cache, const struct hfc_key *key, struct iovec *iov, int iovcnt,
            struct hfc_ref *ref)
{
    int rc = cache_check(cache);

    rc = rc ? rc : key_check(key);
    if (rc == 0 && (!iov || iovcnt < 1 || !ref))
        rc = cache_fail(-EINVAL, "iov or ref is null, or iovcnt is below 1");
    return rc ? rc : get_valid(cache, key, key_hash(cache, key), iov, iovcnt, ref);
}

static int check_keys(const struct hfc *cache, const struct hfc_key *keys, int count)
{
    int rc = cache_check(cache);

    if (rc == 0 && (count < 0 || (count && !keys)))
        rc = cache_fail(-EINVAL, "keys is null, or count is below 0");
    for (int i = 0; i < count && rc == 0; i++)
        rc = key_check(&keys[i]);
    return rc;
}

/* Their lines are on the way from memory while the first ones are looked at. */
static void hash_batch(const struct hfc *cache, const struct hfc_key *keys, int count,
                       uint64_t hashes[GET_BATCH])
{
    for (int i = 0; i < count && i < GET_BATCH; i++) {
        hashes[i] = key_hash(cache, &keys[i]);
        table_prefetch(cache, hashes[i]);
    }
}

int hfc_get_many(struct hfc *cache, const struct hfc_key *keys, int count, uint32_t flags,
                 struct iovec *iov, int iovcnt, struct hfc_got *out)
{
    int rc = check_keys(cache, keys, count), got = 0, used = 0;
    uint64_t hashes[GET_BATCH];
    bool ended = false;

    if (rc == 0 && (flags & ~HFC_PREFIX || iovcnt < 0 || (count && (!iov || !out))))
        rc = cache_fail(-EINVAL, "flags 0x%x are not known, or iov or out is null", flags);
    if (rc)
        return rc;
    for (int i = 0; i < count; i++) {
        if (i % GET_BATCH == 0 && !ended)
            hash_batch(cache, &keys[i], count - i, hashes);
        out[i].first = used;
        out[i].pieces = ended            ? -ENOENT
                        : iovcnt == used ? cache_fail(-E2BIG, "more than %d pieces", iovcnt)
                                         : get_valid(cache, &keys[i], hashes[i % GET_BATCH],
                                                     iov + used, iovcnt - used, &out[i].ref);
        if (out[i].pieces > 0) {
            used += out[i].pieces;
            got++;
        } else if (flags & HFC_PREFIX) {
            ended = true;
        }
    }
    return got;
}

int hfc_release(struct hfc_ref *ref)
{
    return hf_unpin(&ref->hf_opaque);
}

/* Whether it is in memory; the use is noted if that is said. */
static bool is_there(struct hfc *cache, const struct hfc_key *key, bool use)
{
    uint64_t hash = key_hash(cache, key);
    struct found found;

    while (table_find(cache, key, hash, &found)) {
        bool old = too_old(cache, found.cell);

        if (!still_there(&found))
            continue;
        if (use && !old)
            note_use(found.cell);
        return !old;
    }
    return false;
}

int hfc_exists(struct hfc *cache, const struct hfc_key *keys, int keys_count, uint8_t *out)
{
    int rc = check_keys(cache, keys, keys_count), there = 0;

    if (rc == 0 && keys_count && !out)
        rc = cache_fail(-EINVAL, "out is null");
    if (rc)
        return rc;
    for (int i = 0; i < keys_count; i++) {
        out[i] = is_there(cache, &keys[i], false)             ? HFC_IN_MEMORY
                 : tier_has(cache, key_hash(cache, &keys[i])) ? HFC_ON_DISK
                                                              : HFC_NOWHERE;
        there += out[i] != HFC_NOWHERE;
    }
    return there;
}

int hfc_touch(struct hfc *cache, const struct hfc_key *key)
{
    int rc = cache_check(cache);

    rc = rc ? rc : key_check(key);
    return rc ? rc : is_there(cache, key, true) ? 0 : -ENOENT;
}
