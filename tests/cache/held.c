/* SPDX-License-Identifier: MIT */
/*
 * Objects that readers hold: evicted, replaced and removed under them, with puts that want the
 * memory. Not a byte changes for a holder, and the memory is used again after it. The same for a
 * holder in another process that dies, for a put whose process dies, and for one of a device.
 */
#include "objects.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#define KIB(n) ((uint64_t)(n) << 10)
#define HELD 16u

static struct hf_pool *pool;
static struct hfc *cache;
static uint32_t *ready;

struct holder {
    struct iovec iov[OBJECT_PIECES];
    struct hfc_ref ref;
    int pieces;
};

static void take(struct hfc *from, uint64_t number, struct holder *out)
{
    struct object_key key;

    object_key(&key, number, 0);
    out->pieces = hfc_get(from, &key.key, out->iov, OBJECT_PIECES, &out->ref);
    EXPECT_OK(out->pieces);
}

static void check_own(uint64_t len)
{
    struct holder holders[HELD];
    struct object_key key;

    for (uint64_t i = 0; i < HELD; i++) {
        object_put(cache, i, 0, 1, len);
        take(cache, i, &holders[i]);
    }
    for (uint64_t i = 0; i < HELD; i++) {
        object_key(&key, i, 0);
        if (i % 3 == 0)
            EXPECT_EQ(hfc_remove(cache, &key.key), 0);
        if (i % 3 == 1)
            object_put(cache, i, 0, 2, len);
    }
    for (uint64_t i = 100; i < 1100; i++)
        object_put(cache, i, 0, 1, len < 4096 && i % 2 ? len : KIB(64)); /* the rest is evicted */
    for (uint64_t i = 0; i < HELD; i++) {
        EXPECT_EQ(object_get(cache, i, 0, 0), -ENOENT);
        EXPECT_EQ(object_check(holders[i].iov, holders[i].pieces, i, len), 1);
    }
    EXPECT(object_stats(cache).held_bytes > 0);
    for (uint64_t i = 0; i < HELD; i++)
        EXPECT_EQ(hfc_release(&holders[i].ref), 0);
    for (uint64_t i = 2000; i < 2200; i++)
        object_put(cache, i, 0, 1, KIB(64));
    EXPECT_EQ(object_stats(cache).held_bytes, 0);
}

/* All of the cache is held: a put fails, and says so. It succeeds when one is released. */
static void check_all_held(void)
{
    struct holder holders[64];
    int rc;

    for (uint64_t i = 0; i < 64; i++) {
        object_put(cache, i, 0, 3, KIB(64));
        take(cache, i, &holders[i]);
    }
    rc = object_try_put(cache, 100, 0, 1, KIB(64));
    EXPECT_EQ(rc, -ENOSPC);
    EXPECT_EQ(hfc_release(&holders[7].ref), 0);
    object_put(cache, 100, 0, 1, KIB(64));
    for (uint64_t i = 0; i < 64; i++)
        if (i != 7) {
            EXPECT_EQ(object_check(holders[i].iov, holders[i].pieces, i, KIB(64)), 3);
            EXPECT_EQ(hfc_release(&holders[i].ref), 0);
        }
}

static void hold(void *arg)
{
    struct hf_pool *mine = test_pool_open("held");
    struct hfc *again;
    struct holder holder;

    (void)arg;
    EXPECT_EQ(hfc_open(mine, "/cache", NULL, &again), 0);
    take(again, 500, &holder);
    test_raise(ready, 1);
    for (;;)
        pause();
}

static void begin_put(void *arg)
{
    struct hf_pool *mine = test_pool_open("held");
    struct iovec iov[OBJECT_PIECES];
    struct object_key key;
    struct hfc_put *put;
    struct hfc *again;

    object_key(&key, 501, 0);
    EXPECT_EQ(hfc_open(mine, "/cache", NULL, &again), 0);
    EXPECT_OK(hfc_put_begin(again, &key.key, KIB(64), *(uint32_t *)arg, iov, OBJECT_PIECES, &put));
    test_raise(ready, 1);
    for (;;)
        pause();
}

static void fill_cache(void)
{
    for (uint64_t i = 3000; i < 3200; i++)
        object_put(cache, i, 0, 1, KIB(64));
}

static void check_process(void (*body)(void *arg), uint32_t flags, uint64_t held_after)
{
    pid_t pid;

    test_raise(ready, 0);
    object_put(cache, 500, 0, 8, KIB(64));
    pid = test_fork(body, &flags);
    test_await(ready, 1);
    fill_cache();
    EXPECT_EQ(object_get(cache, 500, 0, 0), -ENOENT);
    EXPECT_EQ(object_get(cache, 501, 0, 0), -ENOENT);
    EXPECT_EQ(object_stats(cache).held_bytes, KIB(64));
    test_stop(pid); /* time takes nothing away */
    fill_cache();
    EXPECT_EQ(object_stats(cache).held_bytes, KIB(64));
    test_kill(pid);
    EXPECT_EQ(object_stats(cache).held_bytes, held_after);
    fill_cache();
    EXPECT_EQ(object_stats(cache).held_bytes, held_after);
    EXPECT_EQ(object_get(cache, 501, 0, 0), -ENOENT);
}

static void held(void)
{
    ready = test_shared(sizeof *ready);
    pool = test_pool_new("held", TEST_MIB(32));
    /* With s3fifo a key that was evicted before may come back for longer than a filling lasts. */
    cache = object_cache(pool, TEST_MIB(4), HFC_FIFO, 2000);
    check_own(KIB(64));
    check_own(1000);
    check_all_held();
    check_process(hold, 0, 0);
    check_process(begin_put, HF_PIN_CPU, 0);
    check_process(begin_put, HF_PIN_RDMA, KIB(64)); /* the pool's quarantine is 30 s */
    object_check_all(cache, true);
    EXPECT_EQ(hfc_close(cache), 0);
    test_pool_close(pool);
    test_pool_check("held");
}

TEST_SCENARIO(held)
