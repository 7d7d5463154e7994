/* SPDX-License-Identifier: MIT */
/*
 * Leases that change hands: to another process, to the same one, never twice, and not after the
 * giver's death. Some have a recall pending, or blocks that have left the file. Tokens that were
 * never made are refused.
 */
#include "support.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PAGES 4
#define FUZZ 300000
#define KILLS 60

/* Shared with the child. */
struct talk {
    struct hf_lease_token token;
    uint32_t offered, taken, go_on;
    uint64_t rounds;
};
static struct talk *talk;

static struct hf_pool *pool;
static struct hf_file *file;
static struct iovec iov[PAGES];

static const struct hf_lease_options device = {.size = sizeof(device),
                                               .flags = HF_PIN_WRITE | HF_PIN_RDMA};

static struct hf_lease take_lease(void)
{
    return test_lease(file, 100, PAGES * TEST_PAGE - 200, &device, iov, PAGES);
}

static int take(struct hf_pool *by, const struct hf_lease_token *token, struct hf_lease *lease)
{
    return hf_lease_take(by, token, NULL, iov, PAGES, lease);
}

static struct hf_lease_token give(const struct hf_lease *lease)
{
    struct hf_lease_token token;

    EXPECT_EQ(hf_lease_give(lease, &token), 0);
    return token;
}

/* ------------------------------------------------------------------------- another process --- */

static void be_taker(void *arg)
{
    struct hf_pool *mine = test_pool_open("give");
    struct hf_lease lease, twice;

    (void)arg;
    test_await(&talk->offered, 1);
    EXPECT_EQ(take(mine, &talk->token, &lease), 1);
    EXPECT_EQ(iov[0].iov_len, PAGES * TEST_PAGE - 200);
    EXPECT(memcmp(iov[0].iov_base, "given", 5) == 0);
    EXPECT_EQ(take(mine, &talk->token, &twice), -ENOENT);
    test_raise(&talk->taken, 1);
    test_await(&talk->go_on, 1);
    EXPECT_EQ(hf_pool_close(mine), -EBUSY);
    EXPECT_EQ(hf_lease_release(&lease), 0);
    EXPECT_EQ(take(mine, &talk->token, &lease), -ENOENT);
    test_pool_close(mine);
}

static void check_another_process(void)
{
    pid_t pid = test_fork(be_taker, NULL);
    struct hf_lease lease = take_lease();
    struct hf_lease_token twice;

    memcpy(iov[0].iov_base, "given", 5);
    talk->token = give(&lease);
    EXPECT_EQ(hf_lease_give(&lease, &twice), -EINVAL);
    EXPECT_EQ(hf_lease_release(&lease), -EINVAL);
    EXPECT_EQ(hf_truncate(file, 0, &test_nowait), -EBUSY); /* it is held all the time */
    test_raise(&talk->offered, 1);
    test_await(&talk->taken, 1);
    EXPECT_EQ(hf_lease_release(&lease), -EINVAL);
    EXPECT_EQ(hf_truncate(file, 0, &test_nowait), -EBUSY);
    test_raise(&talk->go_on, 1);
    test_join(pid);
    EXPECT_EQ(hf_truncate(file, 0, &test_nowait), 0);
}

/* ----------------------------------------------------------------------------- the same one --- */

static void check_same_process(void)
{
    struct hf_lease lease = take_lease(), taken;
    struct hf_lease_token token = give(&lease);
    const struct hf_lease_options flags = {.size = sizeof(flags), .flags = HF_PIN_WRITE};

    EXPECT_EQ(hf_lease_take(pool, &token, &flags, iov, 1, &taken), -EINVAL);
    EXPECT_EQ(take(pool, &token, &taken), 1);
    EXPECT_EQ(take(pool, &token, &taken), -ENOENT);
    EXPECT_EQ(hf_lease_state(&taken), HF_LEASE_HELD);
    EXPECT_EQ(hf_lease_release(&taken), 0);
    EXPECT_EQ(hf_lease_release(&lease), -EINVAL);
    EXPECT_EQ(take(pool, &token, &taken), -ENOENT);
    lease = take_lease();
    EXPECT_EQ(take(pool, &token, &taken), -ENOENT); /* of the lease before it */
    EXPECT_EQ(hf_lease_release(&lease), 0);
}

/* Too few iovecs: nothing has happened. */
static void check_pieces(void)
{
    struct hf_lease lease;
    struct hf_lease_token token;

    EXPECT_EQ(hf_move(file, TEST_PAGE, TEST_PAGE, NULL), 0);
    lease = take_lease();
    token = give(&lease);
    EXPECT_EQ(hf_lease_take(pool, &token, NULL, iov, 1, &lease), -E2BIG);
    EXPECT_EQ(hf_lease_take(pool, &token, NULL, iov, -1, &lease), -EINVAL);
    EXPECT_EQ(hf_lease_take(pool, &token, NULL, iov, PAGES, &lease), 3);
    EXPECT_EQ(iov[0].iov_len + iov[1].iov_len + iov[2].iov_len, PAGES * TEST_PAGE - 200);
    EXPECT_EQ(hf_lease_release(&lease), 0);
}

/* ------------------------------------------------------------------------------ recalls --- */

static void check_recalled(void)
{
    const struct hf_lease_options options = {.size = sizeof(options), .arg = &file};
    struct hf_lease lease = take_lease();
    struct hf_lease_token token;
    struct hf_recall recall;

    EXPECT_EQ(hf_truncate(file, TEST_PAGE, &test_nowait), -EBUSY);
    EXPECT_EQ(hf_recall_next(pool, &recall), 1);
    token = give(&lease);
    EXPECT_EQ(hf_lease_take(pool, &token, &options, iov, PAGES, &lease), 1);
    EXPECT_EQ(hf_lease_state(&lease), HF_LEASE_RECALLED);
    EXPECT_EQ(hf_recall_next(pool, &recall),
              1); /* told to the taker, even if the giver was told before */
    EXPECT(recall.arg == &file);
    EXPECT_EQ(recall.off, TEST_PAGE);
    EXPECT_EQ(recall.len, (PAGES - 1) * TEST_PAGE);
    EXPECT_EQ(recall.why, HF_CHANGE_TRUNCATE);
    EXPECT_EQ(hf_recall_next(pool, &recall), 0);
    EXPECT_EQ(hf_lease_release(&lease), 0);
}

static void check_detached(void)
{
    struct hf_lease lease = take_lease();
    struct hf_lease_token token = give(&lease);
    struct hf_recall recall;
    char bytes[8];

    memcpy(iov[0].iov_base, "mine", 4);
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_ZERO_RANGE, 0, TEST_PAGE, &test_detach), 0);
    EXPECT_EQ(take(pool, &token, &lease), -ESTALE);
    EXPECT_EQ(hf_lease_take(pool, &token, NULL, NULL, 0, &lease), 0);
    EXPECT_EQ(hf_lease_state(&lease), HF_LEASE_DETACHED);
    while (hf_recall_next(pool, &recall) == 1)
        EXPECT_EQ(recall.state, HF_LEASE_DETACHED);
    EXPECT(memcmp(iov[0].iov_base, "mine", 4) == 0);
    EXPECT_EQ(hf_read(file, bytes, sizeof(bytes), 100), sizeof(bytes));
    EXPECT(test_is_zero(bytes, sizeof(bytes)));

    /* Blocks that came since are not the lease's, also after somebody has asked for the rest of
     * it. */
    token = give(&lease);
    EXPECT_EQ(hf_truncate(file, (PAGES - 1) * TEST_PAGE, &test_nowait), -EBUSY);
    EXPECT_EQ(take(pool, &token, &lease), -ESTALE);
    EXPECT_EQ(hf_lease_take(pool, &token, NULL, NULL, 0, &lease), 0);
    EXPECT_EQ(hf_lease_release(&lease), 0);
    while (hf_recall_next(pool, &recall) == 1)
        ;
}

/* ------------------------------------------------------------------------------- death --- */

static void be_giver(void *arg)
{
    struct hf_lease lease;

    pool = test_pool_open("give");
    file = test_file(pool, "/file");
    lease = test_lease(file, 0, TEST_PAGE, arg, iov, 1);
    talk->token = give(&lease);
    test_raise(&talk->offered, 1);
    for (;;)
        pause();
}

static void check_dead_giver(uint32_t purpose, uint64_t detached)
{
    struct hf_lease_options options = {.size = sizeof(options), .flags = purpose};
    struct hf_pool_info info = {.size = sizeof(info)};
    struct hf_lease lease;
    pid_t pid;

    test_raise(&talk->offered, 0);
    pid = test_fork(be_giver, &options);
    test_await(&talk->offered, 1);
    test_kill(pid);
    EXPECT_EQ(take(pool, &talk->token, &lease), -ENOENT);
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_ZERO_RANGE, 0, TEST_PAGE, NULL), 0);
    EXPECT_EQ(take(pool, &talk->token, &lease), -ENOENT);
    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    EXPECT_EQ(info.detached_bytes, detached);
}

/* Takes and gives until it is killed. */
static void be_passer(void *arg)
{
    struct hf_lease lease;

    (void)arg;
    pool = test_pool_open("give");
    for (;; test_count64(&talk->rounds, 1)) {
        if (take(pool, &talk->token, &lease) > 0)
            talk->token = give(&lease);
        sched_yield();
    }
}

/* Wherever the taker is killed: the lease is its, or still offered by the giver, and then can
 * be had. */
static void check_killed_taker(uint64_t seed)
{
    struct test_rng rng = {seed};
    unsigned had = 0;

    for (unsigned i = 0; i < KILLS; i++) {
        struct hf_lease lease = test_lease(file, 0, TEST_PAGE, NULL, iov, 1);
        uint64_t rounds = test_peek64(&talk->rounds);
        pid_t pid;

        talk->token = give(&lease);
        pid = test_fork(be_passer, NULL);
        if (test_chance(&rng, 80))
            while (test_peek64(&talk->rounds) == rounds)
                sched_yield();
        usleep((useconds_t)test_below(&rng, 2000));
        test_kill(pid);
        EXPECT_EQ(hf_fallocate(file, HF_FALLOC_ZERO_RANGE, TEST_PAGE, TEST_PAGE, NULL), 0);
        if (take(pool, &talk->token, &lease) > 0) {
            EXPECT_EQ(hf_lease_release(&lease), 0);
            had++;
        }
        EXPECT_EQ(hf_fallocate(file, HF_FALLOC_ZERO_RANGE, 0, TEST_PAGE, &test_nowait), 0);
    }
    printf("%u takers killed, in %" PRIu64 " rounds; %u leases were still offered\n", KILLS,
           test_peek64(&talk->rounds), had);
}

/* -------------------------------------------------------------------------------- tokens --- */

static void check_bad_tokens(uint64_t seed)
{
    struct test_rng rng = {seed};
    struct hf_lease lease = take_lease(), taken;
    const struct hf_lease_token good = give(&lease);
    struct hf_lease_token bad;

    for (unsigned i = 0; i < FUZZ; i++) {
        bad = good;
        if (test_chance(&rng, 50)) {
            bad.hf_opaque[test_below(&rng, 2)] ^= UINT64_C(1) << test_below(&rng, 64);
        } else {
            bad.hf_opaque[test_below(&rng, 2)] = test_random(&rng) >> test_below(&rng, 64);
            if (test_chance(&rng, 50))
                bad.hf_opaque[0] = good.hf_opaque[0] + test_below(&rng, 1 << 20);
        }
        if (memcmp(&bad, &good, sizeof(bad)) != 0)
            EXPECT_EQ(take(pool, &bad, &taken), -ENOENT);
    }
    EXPECT_EQ(take(pool, &good, &taken), 1);
    EXPECT_EQ(hf_lease_release(&taken), 0);
}

static void lease_give(void)
{
    const struct hf_pool_options options = {.size = sizeof(options),
                                            .pool_bytes = TEST_MIB(16),
                                            .quarantine_ns = UINT64_C(3600000000000)};
    uint64_t seed = test_seed();

    talk = test_shared(sizeof(*talk));
    EXPECT_EQ(hf_pool_create(test_path("give"), &options), 0);
    pool = test_pool_open("give");
    file = test_file_filled(pool, "/file", 1, PAGES);
    check_another_process();
    test_write_pages(file, 1, 0, PAGES);
    check_same_process();
    check_bad_tokens(seed);
    check_recalled();
    check_pieces();
    check_detached();
    check_killed_taker(seed);
    check_dead_giver(HF_PIN_CPU, 0);
    check_dead_giver(HF_PIN_GPU, TEST_PAGE);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
    test_pool_check("give");
}

TEST_SCENARIO(lease_give)
