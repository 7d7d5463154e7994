/* SPDX-License-Identifier: MIT */
/* What must be true between two steps, whatever has happened before. */
#include "chaos.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>

enum { UNSEEN, ALONE, SHARED };

struct account {
    uint64_t blocks, used, detached;
    unsigned char *seen;
};

/* A block that several places have is marked as shared in each file, so that none writes to it.
 * Detached runs come last. */
static void see(struct account *account, const struct hf_extent_info *info, uint64_t block)
{
    unsigned char *seen = &account->seen[block];
    bool may_share = info->shared || info->detached;

    if (*seen == ALONE || (*seen == SHARED && !may_share))
        FAIL("block %" PRIu64 " is in two places, one of them inode %" PRIu64, block, info->ino);
    account->used += *seen == UNSEEN;
    account->detached += *seen == UNSEEN && info->detached;
    *seen = may_share ? SHARED : ALONE;
}

static int count_run(void *arg, const struct hf_extent_info *info)
{
    struct account *account = arg;
    uint64_t count = info->len / TEST_PAGE;

    if (info->block + count > account->blocks)
        FAIL("inode %" PRIu64 " has block %" PRIu64 ", and the pool has %" PRIu64, info->ino,
             info->block, account->blocks);
    for (uint64_t i = 0; i < count; i++)
        see(account, info, info->block + i);
    return 0;
}

static uint64_t free_blocks(struct hf_pool *pool)
{
    return test_free_bytes(pool) / TEST_PAGE;
}

/* What the dead had reserved is given back before a call fails for want of space: this one does. */
static void ask_for_too_much(struct hf_pool *pool, uint64_t blocks)
{
    struct hf_file *ballast;

    EXPECT_EQ(hf_open(pool, "/ballast", O_RDWR, 0, &ballast), 0);
    EXPECT_EQ(
        hf_fallocate(ballast, HF_FALLOC_KEEP_SIZE, test_size(ballast), blocks * TEST_PAGE, NULL),
        -ENOSPC);
    EXPECT_EQ(hf_close(ballast), 0);
}

/* Each block is in a file, or detached, or free. A change that waits may have set some aside. */
static void check_blocks(struct hf_pool *pool, bool parked, bool all_released)
{
    struct hf_pool_info info = {.size = sizeof(info)};
    struct account account = {0};
    uint64_t rest;

    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    account.blocks = info.pool_bytes / TEST_PAGE;
    account.seen = calloc(account.blocks, 1);
    EXPECT_EQ(hf_extents(pool, 0, count_run, &account), 0);
    free(account.seen);
    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    EXPECT_EQ(info.detached_bytes / TEST_PAGE, account.detached);
    rest = account.blocks - account.used;
    EXPECT(free_blocks(pool) <= rest);
    if (!parked && free_blocks(pool) < rest) {
        ask_for_too_much(pool, account.blocks);
        EXPECT_EQ(free_blocks(pool), rest);
    }
    if (all_released)
        EXPECT_EQ(account.detached, 0);
}

void chaos_settle(struct chaos *chaos, struct hf_pool *pool)
{
    storm_settle(&chaos->ledger, pool, 0);
    if (chaos->parked && chaos->parked_in_ledger)
        storm_begin(&chaos->ledger.workers[0].files[chaos->parked_file], STORM_ATOMIC);
}

void chaos_check(struct chaos *chaos, struct hf_pool *pool, bool all_released)
{
    chaos_settle(chaos, pool);
    check_blocks(pool, chaos->parked, all_released);
    chaos->checks++;
}
