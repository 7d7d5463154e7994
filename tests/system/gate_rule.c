/* SPDX-License-Identifier: MIT */
/*
 * The gate rule. While a layout change waits, a thread that holds a pin gets another one of the
 * same range at once. Otherwise two such threads would wait for each other for ever. A thread
 * without pins waits until the change is through, and then sees the file as it is after it. A
 * thread that holds only a lease with a callback waits too. A pin that yields fails, whatever its
 * thread holds. Reading by copy needs no pin and does not wait.
 */
#include "change.h"

#include <errno.h>
#include <inttypes.h>

struct newcomer {
    struct hf_file *file;
    bool leases; /* another page first, and has a callback for it */
    uint32_t started, done;
    int nowait_rc;
};

static void never_recalled(void *arg, const struct hf_recall *recall)
{
    (void)arg;
    FAIL("a lease of bytes %" PRIu64 " on is recalled", recall->off);
}

static void *pin_as_newcomer(void *arg)
{
    struct newcomer *newcomer = arg;
    struct hf_lease_options options = {.size = sizeof(options), .recall = never_recalled};
    struct hf_lease lease;
    struct iovec iov;
    struct hf_pin pin;

    if (newcomer->leases)
        EXPECT_EQ(hf_lease(newcomer->file, 15 * TEST_PAGE, 1, &options, &iov, 1, &lease), 1);

    newcomer->nowait_rc = hf_pin(newcomer->file, 5 * TEST_PAGE, TEST_PAGE,
                                 HF_PIN_READ | HF_PIN_NOWAIT, &iov, 1, &pin);
    test_expect_pages(newcomer->file, CHANGE_STAMP, 0, CHANGE_PAGES);
    test_raise(&newcomer->started, 1);
    pin = test_pin(newcomer->file, 5 * TEST_PAGE, TEST_PAGE, HF_PIN_READ, &iov, 1);
    EXPECT(test_is_zero(iov.iov_base, TEST_PAGE));
    EXPECT_EQ(hf_unpin(&pin), 0);
    if (newcomer->leases)
        EXPECT_EQ(hf_lease_release(&lease), 0);
    test_raise(&newcomer->done, 1);
    return NULL;
}

/* The thread holds pins. */
static void expect_yields(struct hf_pool *pool, struct hf_file *file)
{
    struct hf_file *hole = test_file(pool, "/hole");
    const struct hf_lease_options options = {.size = sizeof(options), .flags = HF_PIN_YIELD};
    struct hf_lease lease;
    struct iovec iov;
    struct hf_pin pin;

    for (uint32_t mode = HF_PIN_READ; mode <= HF_PIN_WRITE; mode++)
        EXPECT_EQ(hf_pin(file, 5 * TEST_PAGE, 1, HF_PIN_YIELD | mode, &iov, 1, &pin), -EAGAIN);
    EXPECT_EQ(hf_lease(file, 5 * TEST_PAGE, 1, &options, &iov, 1, &lease), -EAGAIN);
    pin = test_pin(file, 15 * TEST_PAGE, 1, HF_PIN_YIELD, &iov, 1);
    EXPECT_EQ(hf_unpin(&pin), 0);
    EXPECT_EQ(hf_lease(file, 15 * TEST_PAGE, 1, &options, &iov, 1, &lease), 1);
    EXPECT_EQ(hf_lease_release(&lease), 0);
    EXPECT_EQ(hf_truncate(hole, TEST_PAGE, NULL), 0);
    EXPECT_EQ(hf_pin(hole, 0, 1, HF_PIN_YIELD | HF_PIN_NOFILL, &iov, 1, &pin), -ENODATA);
    EXPECT_EQ(hf_close(hole), 0);
    pin = test_pin(file, 5 * TEST_PAGE, 1, HF_PIN_READ, &iov, 1); /* the next call passes again */
    EXPECT_EQ(hf_unpin(&pin), 0);
}

static void check_rule(const char *name, bool leases)
{
    struct hf_pool *pool = test_pool_new(name, TEST_MIB(16));
    struct hf_file *file = change_prepare(pool, "/file");
    struct change_thread change = {.pool = pool, .file = file, .kind = CHANGE_PUNCH};
    struct newcomer newcomer = {.file = file, .leases = leases};
    struct hf_pin first, nested[3];
    struct iovec iov[CHANGE_PAGES];
    pthread_t thread;

    first = test_pin(file, 5 * TEST_PAGE, TEST_PAGE, HF_PIN_READ, iov, 1);
    change_start(&change);
    test_await_waiting(pool, 1);

    nested[0] = test_pin(file, 5 * TEST_PAGE, TEST_PAGE, HF_PIN_READ, iov, 1);
    EXPECT(test_page_is(iov[0].iov_base, CHANGE_STAMP, 5));
    nested[1] = test_pin(file, 4 * TEST_PAGE, 4 * TEST_PAGE, HF_PIN_WRITE, iov, 4);
    EXPECT(test_page_is(iov[0].iov_base, CHANGE_STAMP, 4));
    nested[2] = test_pin(file, 0, CHANGE_PAGES * TEST_PAGE, HF_PIN_READ, iov, CHANGE_PAGES);
    expect_yields(pool, file);

    EXPECT_EQ(pthread_create(&thread, NULL, pin_as_newcomer, &newcomer), 0);
    test_await(&newcomer.started, 1);
    EXPECT_EQ(newcomer.nowait_rc, -EAGAIN);
    test_sleep_ms(50);
    EXPECT_EQ(test_peek(&newcomer.done), 0);

    EXPECT_EQ(hf_unpin(&first), 0);
    EXPECT_EQ(hf_unpin(&nested[1]), 0);
    EXPECT_EQ(hf_unpin(&nested[2]), 0);
    test_sleep_ms(50);
    EXPECT_EQ(test_peek(&change.done), 0);
    EXPECT_EQ(test_peek(&newcomer.done), 0);
    EXPECT_EQ(hf_unpin(&nested[0]), 0);
    EXPECT_EQ(change_finish(&change), 0);
    test_await(&newcomer.done, 1);
    pthread_join(thread, NULL);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
    test_pool_check(name);
}

static void gate_rule(void)
{
    check_rule("gate", false);
    check_rule("gate-lease", true);
}

TEST_SCENARIO(gate_rule)
