/* SPDX-License-Identifier: MIT */
/*
 * A layout change by the thread that holds an overlapping pin: -EDEADLK at once where it might
 * wait, -EBUSY under NOWAIT, done under DETACH; elsewhere in the file nothing hinders it.
 */
#include "change.h"

#include <errno.h>

static void check_kind(struct hf_pool *pool, enum change_kind kind)
{
    const struct hf_policy deadline = test_deadline_ms(TEST_PATIENCE_MS);
    const struct hf_policy deadline_detach = test_deadline_detach_ms(TEST_PATIENCE_MS);
    struct hf_file *file = change_prepare(pool, "/own");
    struct iovec iov[2];
    struct hf_pin pin = test_pin(file, 5 * TEST_PAGE, 2 * TEST_PAGE, HF_PIN_WRITE, iov, 2);

    if (kind == CHANGE_UNLINK)
        EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(change_run(pool, file, "/own", kind, NULL), -EDEADLK);
    EXPECT_EQ(change_run(pool, file, "/own", kind, &test_wait), -EDEADLK);
    EXPECT_EQ(change_run(pool, file, "/own", kind, &deadline), -EDEADLK);
    EXPECT_EQ(change_run(pool, file, "/own", kind, &deadline_detach), -EDEADLK);
    EXPECT_EQ(change_run(pool, file, "/own", kind, &test_nowait), -EBUSY);
    change_expect_before(pool, "/own");
    EXPECT_EQ(change_run(pool, file, "/own", kind, &test_detach), 0);
    change_expect_after(pool, "/own", kind);
    EXPECT(test_page_is(iov[0].iov_base, CHANGE_STAMP, 5));
    EXPECT_EQ(hf_unpin(&pin), 0);
    if (kind == CHANGE_UNLINK)
        return;
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_unlink(pool, "/own", NULL), 0);
}

/* The deadlock is seen among many pins too, also beyond a thread's slots. */
static void check_beyond_slots(struct hf_pool *pool)
{
    enum { OTHERS = 500 };
    static struct hf_pin pins[OTHERS];
    struct hf_file *other = test_file_filled(pool, "/other", 1, 1);
    struct hf_file *file = change_prepare(pool, "/own");
    struct iovec iov;
    struct hf_pin pin;

    for (int i = 0; i < OTHERS; i++)
        pins[i] = test_pin(other, 0, TEST_PAGE, HF_PIN_READ, &iov, 1);
    pin = test_pin(file, 0, TEST_PAGE, HF_PIN_READ, &iov, 1);
    EXPECT_EQ(hf_truncate(file, 0, NULL), -EDEADLK);
    EXPECT_EQ(hf_truncate(file, TEST_PAGE, NULL), 0);
    EXPECT_EQ(hf_unpin(&pin), 0);
    for (int i = 0; i < OTHERS; i++)
        EXPECT_EQ(hf_unpin(&pins[i]), 0);
    EXPECT_EQ(hf_truncate(file, 0, NULL), 0);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_close(other), 0);
}

static void own_pin(void)
{
    struct hf_pool *pool = test_pool_new("own", TEST_MIB(16));

    for (enum change_kind kind = 0; kind < CHANGE_KINDS; kind++)
        check_kind(pool, kind);
    check_beyond_slots(pool);
    test_pool_close(pool);
    test_pool_check("own");
}

TEST_SCENARIO(own_pin)
