/* SPDX-License-Identifier: MIT */
/*
 * hf_pin_at() with each engine, on pages with and without entries: what it gives and refuses. At
 * the ends of pages and files, and against a layout change. Also handles of pins whose thread has
 * ended: any thread may release them, and a thread that has that thread's lane by then does.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define PAGES 4u
#define END ((PAGES + 2) * TEST_PAGE + 100) /* of the file, which ends with two holes */

static void expect_pinned(struct hf_file *file, uint64_t page)
{
    struct hf_pin pin;
    intptr_t at = hf_pin_at(file, page * TEST_PAGE, TEST_PAGE, HF_PIN_READ, &pin);

    EXPECT_OK(at);
    EXPECT(test_page_is((const void *)at, 1, page));
    EXPECT_EQ(hf_unpin(&pin), 0);
    EXPECT_EQ(hf_unpin(&pin), -EINVAL);
}

static void expect_refused(struct hf_file *file, uint64_t off, uint64_t len, uint32_t flags, int rc)
{
    struct hf_pin pin;

    EXPECT_EQ(hf_pin_at(file, off, len, flags, &pin), rc);
}

/* Of each kind twice: the first may fill the entry. */
static void grants(struct hf_file *file)
{
    static const uint32_t kinds[] = {HF_PIN_READ, HF_PIN_WRITE, HF_PIN_NOWAIT, HF_PIN_IO_URING,
                                     HF_PIN_COHERENT | HF_PIN_GPU};

    for (uint64_t page = 0; page < PAGES; page++) {
        expect_pinned(file, page);
        expect_pinned(file, page);
    }
    for (unsigned i = 0; i < 2 * sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct hf_pin pin;
        intptr_t at = hf_pin_at(file, TEST_PAGE - 1, 1, kinds[i / 2], &pin);
        char byte;

        EXPECT_OK(at);
        EXPECT_EQ(hf_read(file, &byte, 1, TEST_PAGE - 1), 1);
        EXPECT_EQ(*(const char *)at, byte);
        EXPECT_EQ(hf_unpin(&pin), 0);
    }
}

static void writes(struct hf_file *file)
{
    struct hf_pin pin;
    intptr_t at = hf_pin_at(file, 3 * TEST_PAGE + 5, 5, HF_PIN_WRITE, &pin);
    char text[5];

    EXPECT_OK(at);
    memcpy((void *)at, "hello", 5);
    EXPECT_EQ(hf_unpin(&pin), 0);
    EXPECT_EQ(hf_read(file, text, 5, 3 * TEST_PAGE + 5), 5);
    EXPECT(memcmp(text, "hello", 5) == 0);
}

/* The first pages are neighbours in the pool until the second one moves. */
static void crosses_a_page_end(struct hf_file *file)
{
    struct hf_pin pin;
    intptr_t at = hf_pin_at(file, 1, 2 * TEST_PAGE - 1, HF_PIN_READ, &pin);
    char bytes[2 * TEST_PAGE];

    EXPECT_OK(at);
    EXPECT_EQ(hf_read(file, bytes, sizeof(bytes), 0), sizeof(bytes));
    EXPECT(memcmp((const char *)at, bytes + 1, sizeof(bytes) - 1) == 0);
    EXPECT_EQ(hf_unpin(&pin), 0);
    EXPECT_EQ(hf_move(file, TEST_PAGE, TEST_PAGE, NULL), 0);
    for (unsigned i = 0; i < 2; i++) {
        EXPECT_EQ(hf_pin_at(file, TEST_PAGE - 1, 2, HF_PIN_READ, &pin), -E2BIG);
        expect_pinned(file, 0);
        expect_pinned(file, 1);
    }
}

static void refuses(struct hf_pool *pool, struct hf_file *file)
{
    struct hf_file *reads, *writes_only;
    struct hf_pin pin;
    intptr_t at;

    expect_refused(file, PAGES * TEST_PAGE, 9, HF_PIN_NOFILL, -ENODATA);
    expect_refused(file, PAGES * TEST_PAGE, 9, HF_PIN_NOWAIT, -EAGAIN);
    at = hf_pin_at(file, PAGES * TEST_PAGE, TEST_PAGE, HF_PIN_READ, &pin); /* fills the hole */
    EXPECT_OK(at);
    EXPECT(test_is_zero((const void *)at, TEST_PAGE));
    EXPECT_EQ(hf_unpin(&pin), 0);
    for (unsigned i = 0; i < 2; i++) {
        expect_refused(file, END - 100, 101, HF_PIN_READ, -EFAULT);
        EXPECT_OK(hf_pin_at(file, END - 100, 100, HF_PIN_READ, &pin));
        EXPECT_EQ(hf_unpin(&pin), 0);
    }
    expect_refused(file, END, 1, HF_PIN_READ, -EFAULT);
    expect_refused(file, 0, 0, HF_PIN_READ, -EINVAL);
    expect_refused(file, 5, 0, HF_PIN_READ, -EINVAL);
    expect_refused(file, 5, UINT64_MAX, HF_PIN_READ, -EFAULT);
    expect_refused(file, 5, (uint64_t)0 - 4, HF_PIN_READ, -EFAULT);
    expect_refused(file, UINT64_MAX, 1, HF_PIN_READ, -EFAULT);
    for (unsigned bit = 8; bit < 32; bit++)
        expect_refused(file, 0, 1, UINT32_C(1) << bit, -EINVAL);
    EXPECT_EQ(hf_open(pool, "/file", O_RDONLY, 0, &reads), 0);
    EXPECT_EQ(hf_open(pool, "/file", O_WRONLY, 0, &writes_only), 0);
    for (unsigned i = 0; i < 2; i++) {
        EXPECT_EQ(hf_pin_at(reads, 0, 1, HF_PIN_WRITE, &pin), -EBADF);
        EXPECT_EQ(hf_pin_at(writes_only, 0, 1, HF_PIN_READ, &pin), -EBADF);
        expect_pinned(reads, 0);
    }
    EXPECT_EQ(hf_close(reads), 0);
    EXPECT_EQ(hf_close(writes_only), 0);
}

/* The last change finds no pin, so no call before it has left one. */
static void keeps_changes_out(struct hf_file *file)
{
    struct hf_pin pin;

    for (unsigned i = 0; i < 2; i++) {
        EXPECT_OK(hf_pin_at(file, TEST_PAGE, TEST_PAGE, HF_PIN_READ, &pin));
        EXPECT_EQ(hf_truncate(file, 0, &test_nowait), -EBUSY);
        EXPECT_EQ(hf_unpin(&pin), 0);
    }
    EXPECT_EQ(hf_truncate(file, 0, &test_nowait), 0);
}

static struct hf_pin left[2];

static void *pin_and_end(void *file)
{
    EXPECT_OK(hf_pin_at(file, 0, 1, HF_PIN_READ, &left[0]));
    EXPECT_OK(hf_pin_at(file, TEST_PAGE, 1, HF_PIN_READ, &left[1]));
    return NULL;
}

/* This thread pins too, so that it has a lane before it meets the other's pins. */
static void *release_and_end(void *file)
{
    expect_pinned(file, 0);
    EXPECT_EQ(hf_unpin(&left[0]), 0);
    EXPECT_EQ(hf_unpin(&left[0]), -EINVAL);
    return NULL;
}

static void outlive_threads(struct hf_file *file)
{
    void *(*const bodies[])(void *) = {pin_and_end, release_and_end};

    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = 0; i < 2; i++) {
            pthread_t thread;

            EXPECT_EQ(pthread_create(&thread, NULL, bodies[i], file), 0);
            EXPECT_EQ(pthread_join(thread, NULL), 0);
        }
        EXPECT_EQ(hf_truncate(file, 0, &test_nowait), -EBUSY);
        EXPECT_EQ(hf_unpin(&left[1]), 0);
        EXPECT_EQ(hf_unpin(&left[1]), -EINVAL);
    }
}

static void with_engine(const char *name)
{
    struct hf_pool *pool = test_engine_pool(test_engine(name), NULL, TEST_MIB(8));
    struct hf_file *file = test_file_filled(pool, "/file", 1, PAGES);

    grants(file);
    outlive_threads(file);
    crosses_a_page_end(file);
    writes(file);
    EXPECT_EQ(hf_truncate(file, END, NULL), 0);
    refuses(pool, file);
    keeps_changes_out(file);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
}

static void pin_at(void)
{
    static const char *const names[] = {"slots", "slots-fenced", "refcount", "srcu",
                                        "percpu-rwsem" TEST_RCU};

    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        printf("%s\n", names[i]);
        with_engine(names[i]);
    }
}

TEST_SCENARIO(pin_at)
