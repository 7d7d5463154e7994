/* SPDX-License-Identifier: MIT */
/*
 * A layout change by the thread that holds an overlapping pin. It is -EDEADLK at once where it
 * might wait, -EBUSY under NOWAIT, and done under DETACH. Elsewhere in the file nothing hinders it.
 * Then a read and a write with such a pin as their memory.
 */
#include "change.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

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

/* What is written and read through a pin of the same bytes: a copy in any direction. */
static void check_copies(struct hf_pool *pool)
{
    static const uint64_t from[] = {0, 100, TEST_PAGE, 5000}, to[] = {5000, 0, 100, 4999};
    const uint64_t len = 3 * TEST_PAGE;
    struct hf_file *file;
    struct iovec iov;
    struct hf_pin pin;
    char *memory, was[8 * TEST_PAGE];

    EXPECT_EQ(hf_open(pool, "/copies", O_RDWR | O_CREAT, 0600, &file), 0);
    for (uint64_t i = 0; i < sizeof was; i++)
        was[i] = (char)(i * 7 + i / 251);
    EXPECT_EQ(hf_write(file, was, sizeof was, 0), sizeof was);
    pin = test_pin(file, 0, sizeof was, HF_PIN_WRITE, &iov, 1);
    memory = iov.iov_base;
    for (unsigned i = 0; i < sizeof from / sizeof from[0]; i++) {
        EXPECT_EQ(hf_write(file, memory + from[i], len, to[i]), len);
        memmove(was + to[i], was + from[i], len);
        EXPECT_EQ(memcmp(memory, was, sizeof was), 0);
        EXPECT_EQ(hf_read(file, memory + to[i], len, from[i]), len);
        memmove(was + to[i], was + from[i], len);
        EXPECT_EQ(memcmp(memory, was, sizeof was), 0);
    }
    EXPECT_EQ(hf_unpin(&pin), 0);
    EXPECT_EQ(hf_close(file), 0);
}

static void own_pin(void)
{
    struct hf_pool *pool = test_pool_new("own", TEST_MIB(16));

    for (enum change_kind kind = 0; kind < CHANGE_KINDS; kind++)
        check_kind(pool, kind);
    check_beyond_slots(pool);
    check_copies(pool);
    test_pool_close(pool);
    test_pool_check("own");
}

TEST_SCENARIO(own_pin)
