/* SPDX-License-Identifier: MIT */
/*
 * From the disk to memory:
 *
 *   P1  the entry says where the object is. Its claim says that another reads it: then wait
 *   P2  a put is begun, and the claim says so
 *   P3  the object is read into the put's memory; its block must be the key's, and the sum right
 *   P4  under the lock: if the entry is still the same and the key is not in memory, the put is
 *       published. A put or removal of the key in between has cleared the entry
 *
 * A claim is the place of the put, plus 1. While somebody holds that place, the reader lives. So a
 * claim of a dead process counts for nothing. A reader that is stopped is waited for at most
 * WAIT_SECONDS. After that a second one reads too, which costs a read and does no harm.
 *
 * The kernel ends a direct read before its thread dies. So the put is one of a processor, and what
 * a dead reader held is free at once. Network file systems are different, and are refused.
 */
#include "tier.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define WAIT_SECONDS 10
#define LOOK_NS 5000000 /* how often a reader's life is looked at */
#define SMALL_TRIES 32  /* in a pool that others fill */

struct bringing {
    struct hfc *cache;
    const struct hfc_key *key;
    struct tier_found found;
    struct tier_block *block;
    struct iovec iov[1 + TIER_PIECES]; /* the block, the object */
    int pieces;
};

/* ---- a claim ---- */

static bool in_memory(const struct bringing *it)
{
    struct found found;

    return table_find(it->cache, it->key, key_hash(it->cache, it->key), &found);
}

static uint64_t seconds_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint64_t)now.tv_sec;
}

/* True: look in memory again. Else *claim is that of nobody who can be waited for. */
static bool wait_for_reader(const struct bringing *it, uint64_t *claim)
{
    struct tier_entry *entry = it->found.entry;
    const struct timespec look = {.tv_nsec = LOOK_NS};
    uint64_t until = seconds_now() + WAIT_SECONDS;
    bool waited = false;

    while ((*claim = load_acquire(&entry->claim)) != 0) {
        if (load_relaxed(&entry->word) != it->found.word || in_memory(it)) /* P4 looks again */
            return true;
        if (hf_held(it->cache->data, *claim - 1, CACHE_PAGE) == 0 || seconds_now() > until)
            return false;
        syscall(SYS_futex, &entry->claim, FUTEX_WAIT, (uint32_t)*claim, &look, NULL, 0);
        waited = true;
    }
    return waited;
}

static bool claim_it(const struct bringing *it, uint64_t seen, uint64_t off)
{
    return __atomic_compare_exchange_n(&it->found.entry->claim, &seen, off + 1, false,
                                       __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static void unclaim(const struct bringing *it, uint64_t off)
{
    uint64_t mine = off + 1;

    if (__atomic_compare_exchange_n(&it->found.entry->claim, &mine, UINT64_C(0), false,
                                    __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
        syscall(SYS_futex, &it->found.entry->claim, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* ---- reading ---- */

static bool is_whole(const struct bringing *it, int64_t got)
{
    const struct tier_block *block = it->block;
    const struct hfc_key *key = it->key;
    const struct iovec here = {it->block->bytes, it->found.len};

    return got == (int64_t)(tier_blocks(it->found.len) * CACHE_PAGE) &&
           block->magic == TIER_BLOCK_MAGIC && block->id == it->cache->seed &&
           block->pos == TIER_POS(it->found.word) && block->len == it->found.len &&
           block->self == tier_check_block(block) && block->space == key->space &&
           block->key_len == key->len && memcmp(block->key, key->bytes, key->len) == 0 &&
           block->check == (it->pieces > 1
                                ? tier_check_bytes(it->iov + 1, it->pieces - 1, block->len)
                                : tier_check_bytes(&here, 1, block->len));
}

/* P3. -EAGAIN: it was overwritten meanwhile. -ENOENT: it is lost, and the entry is gone. */
static int read_object(struct bringing *it)
{
    struct hfc *cache = it->cache;
    struct tier *tier = cache_tier(cache);
    int64_t got;

    it->iov[0] = (struct iovec){it->block, CACHE_PAGE};
    got = preadv(tier_io_fd(cache->tier_io), it->iov, it->pieces,
                 (off_t)tier_offset(tier, TIER_POS(it->found.word)));
    got = CACHE_IO(true, got < 0 ? -errno : got);
    CACHE_AT(CACHE_LAB_TIER_READ);
    if (!tier_lasts(cache, it->found.word))
        return -EAGAIN;
    if (got >= 0 && is_whole(it, got)) {
        if (!cache->ttl_seconds || cache_now() < it->block->born + cache->ttl_seconds)
            return 0;
    } else if (got < 0) {
        tier_failed(tier, (int)-got, true);
    } else {
        tier_count(&tier->damaged, 1);
    }
    tier_settle(&it->found, 0);
    return -ENOENT;
}

/* ---- both kinds ---- */

static int begin_bringing(struct bringing *it, uint64_t len, struct hfc_put **put)
{
    int pieces = hfc_put_begin(it->cache, it->key, len, HF_PIN_CPU, it->iov + 1, TIER_PIECES, put);

    if (pieces > 0)
        it->pieces = 1 + pieces;
    return pieces < 0 ? pieces : 0;
}

static int bring_large(struct bringing *it)
{
    struct hfc_put *put;
    uint64_t claim, off;
    int rc;

    if (wait_for_reader(it, &claim))
        return -EAGAIN;
    rc = begin_bringing(it, cache_pages(it->found.len) * CACHE_PAGE, &put);
    if (rc)
        return rc == -E2BIG ? -ENOENT : rc;
    off = put_offset(put);
    if (!claim_it(it, claim, off)) {
        hfc_put_abort(put);
        return -EAGAIN;
    }
    CACHE_AT(CACHE_LAB_TIER_CLAIMED);
    rc = read_object(it);
    if (rc == 0)
        rc = put_commit_promoted(put, it->found.len, &it->found, it->block->born);
    else
        hfc_put_abort(put);
    unclaim(it, off);
    return rc;
}

/* It lies in the block. */
static int put_small(struct bringing *it)
{
    struct hfc *cache = it->cache;
    int rc = cache_lock(cache);

    if (rc)
        return rc;
    if (!tier_still(cache, it->key, &it->found)) {
        cache_unlock(cache);
        return -EAGAIN;
    }
    for (int i = 0; i < SMALL_TRIES; i++) {
        rc = packed_put(cache, it->key, it->block->bytes, it->found.len);
        if (rc != -EAGAIN)
            break;
        if (!evict_one(cache, CACHE_NONE))
            rc = -ENOSPC;
    }
    if (rc == 0)
        tier_promoted(cache, it->key, &it->found, it->block->born);
    cache_unlock(cache);
    return rc == -EAGAIN || rc == -ENOSPC ? cache_fail(-ENOSPC, "no room: the pool is full") : rc;
}

static int bring_small(struct bringing *it)
{
    struct hfc_put *put;
    uint64_t at = 0;
    int rc = read_object(it);

    if (rc || it->found.len < CACHE_PACKED_MAX)
        return rc ? rc : put_small(it);
    rc = begin_bringing(it, it->found.len, &put);
    if (rc)
        return rc;
    for (int i = 1; i < it->pieces; at += it->iov[i++].iov_len)
        memcpy(it->iov[i].iov_base, it->block->bytes + at, it->iov[i].iov_len);
    return put_commit_promoted(put, it->found.len, &it->found, it->block->born);
}

int tier_bring(struct hfc *cache, const struct hfc_key *key)
{
    _Alignas(4096) struct tier_block block;
    struct bringing it = {.cache = cache, .key = key, .block = &block, .pieces = 1};
    int rc = -ENOENT;

    if (cache->tier_io && tier_find(cache, key_hash(cache, key), &it.found) &&
        TIER_STATE(it.found.word) == TIER_READY)
        rc = it.found.len > TIER_HERE ? bring_large(&it) : bring_small(&it);
    if (rc == -ENOENT)
        tier_count(&cache_tier(cache)->misses, 1);
    return rc == -EAGAIN ? 0 : rc;
}
