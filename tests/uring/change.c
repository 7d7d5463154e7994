/* SPDX-License-Identifier: MIT */
/*
 * A layout change waits exactly for the requests in its range. It does not wait for those beside
 * it, nor for new ones, since these are put off. The thread that has the requests does not wait for
 * itself.
 */
#include "change.h"
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define REQUESTS 3u
#define STAMP CHANGE_STAMP

static const uint64_t pages[REQUESTS] = {0, 5, 9}; /* a punch is of pages 4 to 7 */

struct pipes {
    int ends[REQUESTS][2];
};

static void give(const struct pipes *pipes, unsigned request)
{
    EXPECT_EQ(write(pipes->ends[request][1], "x", 1), 1);
}

static void prep_one(struct rig *rig, struct hf_file *file, const struct pipes *pipes,
                     unsigned request)
{
    const struct hf_uring_io io =
        rig_io(HF_URING_READ, file, pages[request], 1, pipes->ends[request][0], request);

    rig_prep(rig, &io);
}

static void start_all(struct rig *rig, struct hf_file *file, const struct pipes *pipes)
{
    for (unsigned i = 0; i < REQUESTS; i++)
        prep_one(rig, file, pipes, i);
    rig_submit(rig);
}

static void expect_put_off(struct rig *rig, struct hf_file *file, const struct pipes *pipes)
{
    struct hf_uring_io io = rig_io(HF_URING_READ, file, 5, 1, pipes->ends[1][0], 7);

    EXPECT_EQ(hf_uring_prep(rig->uring, &io), -EAGAIN);
    io.flags = HF_URING_RECALL;
    EXPECT_EQ(hf_uring_prep(rig->uring, &io), -EAGAIN);
}

/* The request at page 5 is the only one that holds the punch up. */
static void waits_for_those_in_its_range(struct rig *rig, struct hf_file *file,
                                         const struct pipes *pipes)
{
    struct change_thread change = {.pool = rig->pool, .file = file, .kind = CHANGE_PUNCH};

    start_all(rig, file, pipes);
    change_start(&change);
    test_await_waiting(rig->pool, 1);
    expect_put_off(rig, file, pipes);
    give(pipes, 0);
    rig_expect(rig, 0, 1);
    prep_one(rig, file, pipes, 0); /* beside it, one ends and another begins */
    rig_submit(rig);
    test_sleep_ms(20);
    EXPECT_EQ(test_peek(&change.done), 0);
    expect_put_off(rig, file, pipes);
    give(pipes, 1);
    rig_expect(rig, 1, 1);
    EXPECT_EQ(change_finish(&change), 0);
    EXPECT_EQ(rig_held(rig->pool), 2);
    prep_one(rig, file, pipes, 1); /* the gate is open */
    rig_submit(rig);
    for (unsigned i = 0; i < REQUESTS; i++) {
        give(pipes, i);
        rig_expect(rig, i, 1);
    }
    EXPECT_EQ(rig_held(rig->pool), 0);
}

/* With HF_URING_WAIT a thread that holds something passes the gate, and is waited for too. */
static void passes_when_told(struct rig *rig, struct hf_file *file, const struct pipes *pipes)
{
    struct change_thread change = {.pool = rig->pool, .file = file, .kind = CHANGE_PUNCH};
    struct hf_uring_io io = rig_io(HF_URING_READ, file, 6, 1, pipes->ends[0][0], 6);

    prep_one(rig, file, pipes, 1);
    rig_submit(rig);
    change_start(&change);
    test_await_waiting(rig->pool, 1);
    io.flags = HF_URING_WAIT;
    rig_prep(rig, &io);
    rig_submit(rig);
    give(pipes, 1);
    rig_expect(rig, 1, 1);
    test_sleep_ms(20);
    EXPECT_EQ(test_peek(&change.done), 0);
    give(pipes, 0);
    rig_expect(rig, 6, 1);
    EXPECT_EQ(change_finish(&change), 0);
}

/*
 * A request of the same range is always under way, until the change waits: then no other begins.
 * The gate opens before the change has returned, so what counts is whether it still waits.
 */
static void is_not_starved(struct rig *rig, struct hf_file *file, const struct pipes *pipes)
{
    struct change_thread change = {.pool = rig->pool, .file = file, .kind = CHANGE_PUNCH};
    unsigned begun = 1, after = 0;
    bool waits = false;

    prep_one(rig, file, pipes, 1);
    change_start(&change);
    while (!test_peek(&change.done)) {
        const struct hf_uring_io io =
            rig_io(HF_URING_READ, file, pages[1], 1, pipes->ends[1][0], 1);
        int rc = hf_uring_prep(rig->uring, &io); /* the next, before the last has ended */
        bool waits_still = test_pins_in_state(rig->pool, HF_PIN_WAITING) > 0;

        EXPECT(rc == 0 || rc == -EAGAIN);
        begun += rc == 0;
        after += rc == 0 && waits && waits_still;
        waits = waits || waits_still;
        rig_submit(rig);
        if (begun > 0) {
            give(pipes, 1);
            rig_expect(rig, 1, 1);
            begun--;
        }
    }
    EXPECT_EQ(after, 0);
    EXPECT_EQ(change_finish(&change), 0);
    for (; begun > 0; begun--) {
        give(pipes, 1);
        rig_expect(rig, 1, 1);
    }
}

static void own_thread_is_told(struct rig *rig, struct hf_file *file, const struct pipes *pipes)
{
    start_all(rig, file, pipes);
    EXPECT_EQ(hf_truncate(file, TEST_PAGE, NULL), -EDEADLK);
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, TEST_PAGE, TEST_PAGE, NULL), 0);
    for (unsigned i = 1; i < REQUESTS; i++) {
        give(pipes, i);
        rig_expect(rig, i, 1);
    }
    EXPECT_EQ(hf_truncate(file, TEST_PAGE, NULL), 0);
    EXPECT_EQ(hf_truncate(file, 1, NULL), -EDEADLK);
    give(pipes, 0);
    rig_expect(rig, 0, 1);
    EXPECT_EQ(hf_truncate(file, 1, NULL), 0);
}

/* The blocks leave the file, the request goes on with them, and nobody else gets them. */
static void detached_goes_on(struct rig *rig, struct hf_file *file, const struct pipes *pipes)
{
    uint64_t free_bytes;

    start_all(rig, file, pipes);
    EXPECT_EQ(hf_truncate(file, 0, &test_detach), 0);
    free_bytes = test_free_bytes(rig->pool);
    EXPECT_EQ(test_pins_in_state(rig->pool, HF_PIN_DETACHED), REQUESTS);
    for (unsigned i = 0; i < REQUESTS; i++) {
        give(pipes, i);
        rig_expect(rig, i, 1);
    }
    EXPECT_EQ(test_pins_in_state(rig->pool, HF_PIN_DETACHED), 0);
    EXPECT_EQ(test_free_bytes(rig->pool), free_bytes + REQUESTS * TEST_PAGE);
}

static void scenario(void)
{
    struct hf_pool *pool = test_pool_new("pool", TEST_MIB(16));
    static void (*const parts[])(struct rig *, struct hf_file *, const struct pipes *) = {
        waits_for_those_in_its_range, passes_when_told, is_not_starved, own_thread_is_told,
        detached_goes_on};
    struct pipes pipes;
    struct rig rig;

    for (unsigned i = 0; i < REQUESTS; i++)
        EXPECT_EQ(pipe2(pipes.ends[i], O_CLOEXEC), 0);
    rig_open(&rig, pool, 16, 0, NULL);
    for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        struct hf_file *file = change_prepare(pool, "/file");

        parts[i](&rig, file, &pipes);
        EXPECT_EQ(rig_held(pool), 0);
        EXPECT_EQ(hf_close(file), 0);
        EXPECT_EQ(hf_unlink(pool, "/file", NULL), 0);
    }
    rig_close(&rig);
    test_pool_close(pool);
    test_pool_check("pool");
}

TEST_SCENARIO(scenario)
