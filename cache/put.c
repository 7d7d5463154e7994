/* SPDX-License-Identifier: MIT */
/*
 * Putting objects. A put takes a range that nobody holds, and a cell for it, and pins the range for
 * writing. From then on the pin says that the range is in use. So a put needs
 * no record of its own. When its process dies, the pin goes, and the range is free like that of an
 * evicted object.
 *
 * The first page is pinned under the lock. The rest, which may have to be filled with zeros first,
 * is pinned without it.
 */
#include "tier.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PUT_TRIES 32 /* in a pool that others fill */

struct hfc_put {
    struct hfc *cache;
    struct hf_pin pin;
    uint64_t len, off;
    uint32_t cell;
    struct hfc_key key; /* its bytes follow */
    uint8_t bytes[HFC_KEY_MAX];
};

static void unlist(struct hfc *cache, struct cell *cell, uint32_t index, uint64_t pages)
{
    struct run *run = cache_run(cache);

    list_drop(cache, &run->leaving, index);
    run->leaving_pages -= pages;
    store_relaxed(&cell->state, cell->state & ~CELL_LISTED); /* relaxed: under the lock */
}

/* ---- a range to fill ---- */

static int take_put(struct hfc_put *put, uint32_t flags, struct hf_pin *first)
{
    struct hfc *cache = put->cache;
    struct run *run = cache_run(cache);
    uint64_t page, pages = cache_pages(put->len);
    struct cell *cell;
    struct iovec iov;
    int rc = make_room(cache, put->key.space, pages, pages * CACHE_PAGE);

    rc = rc ? rc : take_range(cache, pages, &page);
    if (rc)
        return rc;
    rc = take_cells(cache, 1);
    if (rc) {
        space_give(cache, page, pages);
        return rc;
    }
    put->cell = cell_take(cache);
    cell = cache_cell(cache, put->cell);
    put->off = page * CACHE_PAGE;
    store_relaxed(&cell->off, page * CACHE_PAGE); /* relaxed: no word leads here */
    store_relaxed(&cell->len, put->len);
    cell_is(cache, put->cell, CELL_OBJECT);
    rc = hf_pin(cache->data, page * CACHE_PAGE, 1, flags, &iov, 1, first);
    if (rc < 0) {
        cell_give(cache, put->cell);
        if (rc == -ENOSPC)
            space_failed(cache, page, pages);
        else
            space_give(cache, page, pages);
        return rc == -ENOSPC ? -EAGAIN : cache_fail_pool(rc);
    }
    CACHE_AT(CACHE_LAB_TAKES);
    CACHE_LEASE_BEGINS(cell);
    store_relaxed(&cell->state, cell->state | CELL_LISTED); /* relaxed: as above */
    list_push(cache, &run->leaving, put->cell);
    run->leaving_pages += pages;
    return 0;
}

/* The cell is still the put's. While the put's pin is there, nobody takes it. */
static bool is_put(const struct hfc_put *put, const struct cell *cell)
{
    return cell->off == put->off && cell->state == (CELL_OBJECT | CELL_LISTED);
}

/* Nobody has seen the range. `pool_full`: it has holes. */
static void drop_range(struct hfc_put *put, bool pool_full)
{
    struct hfc *cache = put->cache;
    struct cell *cell = cache_cell(cache, put->cell);
    uint64_t page, pages = cache_pages(put->len);

    if (cache_lock(cache))
        return; /* without its pin, the next put frees it */
    if (is_put(put, cell)) {
        page = cell->off / CACHE_PAGE;
        unlist(cache, cell, put->cell, pages);
        if (pool_full) {
            cell_give(cache, put->cell);
            space_failed(cache, page, pages);
        } else {
            leave_range(cache, put->cell);
        }
    }
    cache_unlock(cache);
}

static int try_begin(struct hfc_put *put, uint32_t flags, struct iovec *iov, int iovcnt)
{
    struct hfc *cache = put->cache;
    struct hf_pin first;
    uint64_t off;
    int rc = cache_lock(cache);

    if (rc)
        return rc;
    rc = take_put(put, flags, &first);
    off = put->off;
    cache_unlock(cache);
    if (rc)
        return rc;
    rc = hf_pin(cache->data, off, put->len, flags, iov, iovcnt, &put->pin);
    hf_unpin(&first);
    if (rc > 0)
        return rc;
    drop_range(put, rc == -ENOSPC);
    return rc == -ENOSPC ? -EAGAIN : cache_fail_pool(rc);
}

static int evict_for_the_pool(struct hfc *cache)
{
    int rc = cache_lock(cache);
    bool gone;

    if (rc)
        return rc;
    gone = evict_one(cache, CACHE_NONE);
    cache_unlock(cache);
    return gone ? 0 : cache_fail(-ENOSPC, "the pool is full, and the cache has nothing to evict");
}

static int begin_filling(struct hfc *cache, const struct hfc_key *key, uint64_t len, uint32_t flags,
                         struct iovec *iov, int iovcnt, struct hfc_put **out)
{
    struct hfc_put *put = malloc(sizeof *put);
    int rc;

    if (!put)
        return cache_fail(-ENOMEM, "no memory for a put");
    *put = (struct hfc_put){.cache = cache, .len = len, .key = *key};
    memcpy(put->bytes, key->bytes, key->len);
    put->key.bytes = put->bytes;
    rc = try_begin(put, flags, iov, iovcnt);
    if (rc == -ENOSPC && tier_wait(cache, true)) /* what is on its way to the disk is needed */
        rc = try_begin(put, flags, iov, iovcnt);
    for (int i = 0; i < PUT_TRIES && rc == -EAGAIN; i++) {
        rc = evict_for_the_pool(cache);
        rc = rc ? rc : try_begin(put, flags, iov, iovcnt);
    }
    if (rc < 0) {
        free(put);
        return rc == -EAGAIN ? cache_fail(-ENOSPC, "the pool is full") : rc;
    }
    __atomic_fetch_add(&cache->putting, 1, __ATOMIC_RELAXED); /* relaxed: a count */
    *out = put;
    return rc;
}

int hfc_put_begin(struct hfc *cache, const struct hfc_key *key, uint64_t len, uint32_t flags,
                  struct iovec *iov, int iovcnt, struct hfc_put **out)
{
    int rc = cache_check(cache);

    rc = rc ? rc : key_check(key);
    if (rc)
        return rc;
    if (!iov || iovcnt < 1 || !out)
        return cache_fail(-EINVAL, "iov or out is null, or iovcnt is below 1");
    if (flags & ~HF_PIN_GPU)
        return cache_fail(-EINVAL, "flags 0x%x are not known: HF_PIN_CPU, _IO_URING, _RDMA, _GPU",
                          flags);
    if (!len)
        return cache_fail(-EINVAL, "an object has at least one byte");
    if (len > cache->capacity_pages * CACHE_PAGE)
        return cache_fail(-EFBIG, "an object of %" PRIu64 " bytes, in a cache of %" PRIu64, len,
                          cache->capacity_pages * CACHE_PAGE);
    return begin_filling(cache, key, len, flags | HF_PIN_WRITE, iov, iovcnt, out);
}

/* ---- its end ---- */

static int commit_range(struct hfc_put *put, uint64_t len)
{
    struct hfc *cache = put->cache;
    struct cell *cell = cache_cell(cache, put->cell);
    uint64_t room = cache_pages(put->len), pages = cache_pages(len);
    int rc;

    if (!is_put(put, cell))
        return cache_fail(-EUCLEAN, "the put's range was given to another object");
    unlist(cache, cell, put->cell, room);
    if (pages < room) /* nobody else has seen it */
        space_give(cache, cell->off / CACHE_PAGE + pages, room - pages);
    store_relaxed(&cell->len, len); /* relaxed: no word leads here */
    rc = publish(cache, &put->key, put->cell, cell_next_stamp(cache));
    if (rc) { /* it is held by our pin, so it waits */
        leave_range(cache, put->cell);
        return rc;
    }
    cache_run(cache)->put_bytes += len;
    return 0;
}

static void end_put(struct hfc_put *put)
{
    __atomic_fetch_sub(&put->cache->putting, 1, __ATOMIC_RELAXED); /* relaxed: a count */
    free(put);
}

int hfc_put_commit(struct hfc_put *put, uint64_t len)
{
    int rc;

    if (!put)
        return cache_fail(-EINVAL, "put is null");
    rc = cache_check(put->cache);
    if (rc)
        return rc;
    if (!len || len > put->len) {
        rc = cache_fail(-EINVAL, "%" PRIu64 " bytes of a put of %" PRIu64, len, put->len);
        hfc_put_abort(put);
        return rc;
    }
    rc = cache_lock(put->cache);
    if (rc == 0) {
        rc = commit_range(put, len);
        cache_unlock(put->cache);
    }
    hf_unpin(&put->pin);
    end_put(put);
    return rc;
}

int put_commit_promoted(struct hfc_put *put, uint64_t len, const struct tier_found *found,
                        uint32_t born)
{
    struct hfc *cache = put->cache;
    int rc = cache_lock(cache);

    if (rc == 0) {
        rc = tier_still(cache, &put->key, found) ? commit_range(put, len) : -EAGAIN;
        if (rc == 0)
            tier_promoted(cache, &put->key, found, born);
        cache_unlock(cache);
    }
    if (rc == -EAGAIN) {
        hfc_put_abort(put);
        return rc;
    }
    hf_unpin(&put->pin);
    end_put(put);
    return rc;
}

uint64_t put_offset(const struct hfc_put *put)
{
    return put->off;
}

void hfc_put_abort(struct hfc_put *put)
{
    if (!put || cache_check(put->cache))
        return;
    hf_unpin(&put->pin);
    drop_range(put, false);
    end_put(put);
}

/* ---- by copy ---- */

static int put_packed(struct hfc *cache, const struct hfc_key *key, const void *bytes, size_t len)
{
    int rc = -EAGAIN;

    for (int i = 0; i < PUT_TRIES && rc == -EAGAIN; i++) {
        rc = cache_lock(cache);
        if (rc)
            return rc;
        rc = packed_put(cache, key, bytes, len);
        if (rc == -EAGAIN && !evict_one(cache, CACHE_NONE))
            rc = -ENOSPC;
        cache_unlock(cache);
    }
    return rc == -EAGAIN || rc == -ENOSPC ? cache_fail(-ENOSPC, "no room: the pool is full, or "
                                                                "readers hold what there is")
                                          : rc;
}

#define COPY_PIECES 64

static int put_copied(struct hfc *cache, const struct hfc_key *key, const char *bytes, size_t len)
{
    struct iovec own[COPY_PIECES], *iov = own;
    struct hfc_put *put;
    int pieces = hfc_put_begin(cache, key, len, HF_PIN_CPU, iov, COPY_PIECES, &put);

    if (pieces == -E2BIG && cache_pages(len) <= INT32_MAX) {
        iov = malloc(cache_pages(len) * sizeof *iov);
        if (!iov)
            return cache_fail(-ENOMEM, "no memory for the pieces of an object");
        pieces = hfc_put_begin(cache, key, len, HF_PIN_CPU, iov, (int)cache_pages(len), &put);
    }
    for (int i = 0; i < pieces; i++) {
        memcpy(iov[i].iov_base, bytes, iov[i].iov_len);
        bytes += iov[i].iov_len;
    }
    if (iov != own)
        free(iov);
    return pieces < 0 ? pieces : hfc_put_commit(put, len);
}

int hfc_put(struct hfc *cache, const struct hfc_key *key, const void *bytes, size_t len)
{
    int rc = cache_check(cache);

    rc = rc ? rc : key_check(key);
    if (rc == 0 && !len)
        rc = cache_fail(-EINVAL, "len is 0: an object has at least one byte");
    if (rc == 0 && !bytes)
        rc = cache_fail(-EINVAL, "bytes is null");
    if (rc)
        return rc;
    return len < CACHE_PACKED_MAX ? put_packed(cache, key, bytes, len)
                                  : put_copied(cache, key, bytes, len);
}
