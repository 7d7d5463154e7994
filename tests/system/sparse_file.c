/* SPDX-License-Identifier: MIT */
/*
 * A file of 16 TiB with a few pages in it: at its very ends, across powers of two, and nothing
 * beyond.
 */
#include "support.h"

#include <errno.h>
#include <stdio.h>

#define LAST_PAGE (HF_FILE_BYTES_MAX / HF_BLOCK_BYTES - 1)

static const uint64_t pages[] = {0,      1,         511,       512,        262143,
                                 262144, 134217727, 134217728, 3000000000, LAST_PAGE};
#define COUNT (sizeof(pages) / sizeof(pages[0]))

static void expect_map(struct hf_file *file)
{
    uint64_t at = 0, found = 0;

    for (;;) {
        int rc = hf_seek(file, at, HF_SEEK_DATA, &at);

        if (rc == -ENXIO)
            break;
        EXPECT_EQ(rc, 0);
        EXPECT_EQ(at, pages[found] * TEST_PAGE);
        EXPECT_EQ(hf_seek(file, at, HF_SEEK_HOLE, &at), 0);
        while (found < COUNT && pages[found] * TEST_PAGE < at)
            found++;
        if (at == HF_FILE_BYTES_MAX)
            break;
    }
    EXPECT_EQ(found, COUNT);
}

static void expect_pages(struct hf_file *file)
{
    struct iovec iov;

    for (size_t i = 0; i < COUNT; i++) {
        struct hf_pin pin = test_pin(file, pages[i] * TEST_PAGE, TEST_PAGE, HF_PIN_READ, &iov, 1);

        EXPECT(test_page_is(iov.iov_base, 2, pages[i]));
        EXPECT_EQ(hf_unpin(&pin), 0);
        test_expect_pages(file, 2, pages[i], 1);
    }
    test_expect_zeros(file, 5000 * TEST_PAGE, TEST_PAGE);
    test_expect_zeros(file, HF_FILE_BYTES_MAX - 2 * TEST_PAGE, TEST_PAGE);
}

static void check_edge(struct hf_file *file)
{
    char bytes[2] = {1, 2};

    EXPECT_EQ(hf_write(file, bytes, 1, HF_FILE_BYTES_MAX), -EFBIG);
    EXPECT_EQ(hf_write(file, bytes, 1, UINT64_MAX), -EFBIG);
    EXPECT_EQ(hf_append(file, bytes, 1, NULL), -EFBIG);
    EXPECT_EQ(hf_truncate(file, HF_FILE_BYTES_MAX + 1, NULL), -EFBIG);
    EXPECT_EQ(hf_read(file, bytes, 2, HF_FILE_BYTES_MAX - 1), 1);
    EXPECT_EQ(hf_read(file, bytes, 2, UINT64_MAX - 1), 0);
}

static int pin_unfilled(struct hf_file *file, uint64_t off, uint64_t len, uint32_t flags)
{
    struct iovec iov[2];
    struct hf_pin pin;
    int rc = hf_pin(file, off, len, HF_PIN_NOFILL | flags, iov, 2, &pin);

    if (rc > 0)
        EXPECT_EQ(hf_unpin(&pin), 0);
    return rc;
}

/* Holes stay holes. */
static void check_no_fill(struct hf_file *file)
{
    const uint64_t hole = 5000 * TEST_PAGE;
    const struct hf_lease_options options = {.size = sizeof(options), .flags = HF_PIN_NOFILL};
    struct hf_lease lease;
    struct iovec iov;
    struct stat st;

    EXPECT_EQ(pin_unfilled(file, hole, 1, 0), -ENODATA);
    EXPECT_EQ(pin_unfilled(file, hole, 1, HF_PIN_WRITE), -ENODATA);
    EXPECT_EQ(pin_unfilled(file, hole, 1, HF_PIN_NOWAIT), -EAGAIN);
    EXPECT_EQ(pin_unfilled(file, HF_FILE_BYTES_MAX, 1, 0), -EFAULT);
    EXPECT_EQ(pin_unfilled(file, TEST_PAGE, 2 * TEST_PAGE, 0), -ENODATA); /* its end */
    EXPECT_OK(pin_unfilled(file, 0, 2 * TEST_PAGE, HF_PIN_WRITE));
    EXPECT_OK(pin_unfilled(file, LAST_PAGE * TEST_PAGE, 1, 0));
    EXPECT_EQ(hf_lease(file, 0, 1, &options, &iov, 1, &lease), -EINVAL);
    EXPECT_EQ(hf_fstat(file, &st), 0);
    EXPECT_EQ(st.st_blocks, COUNT * TEST_PAGE / 512);
}

static void sparse_file(void)
{
    struct hf_pool *pool = test_pool_new("sparse", TEST_MIB(16));
    struct hf_file *file = test_file(pool, "/file");
    struct stat st;

    EXPECT_EQ(hf_truncate(file, HF_FILE_BYTES_MAX, NULL), 0);
    for (size_t i = 0; i < COUNT; i++)
        test_write_pages(file, 2, pages[i], 1);
    EXPECT_EQ(hf_fstat(file, &st), 0);
    EXPECT_EQ(st.st_size, HF_FILE_BYTES_MAX);
    EXPECT_EQ(st.st_blocks, COUNT * TEST_PAGE / 512);
    expect_map(file);
    check_no_fill(file);
    expect_pages(file);
    check_edge(file);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
    test_pool_check("sparse");

    pool = test_pool_open("sparse");
    file = test_file(pool, "/file");
    expect_map(file);
    expect_pages(file);
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, TEST_PAGE, HF_FILE_BYTES_MAX - 2 * TEST_PAGE,
                           NULL),
              0);
    EXPECT_EQ(hf_fstat(file, &st), 0);
    EXPECT_EQ(st.st_blocks, 2 * TEST_PAGE / 512);
    EXPECT_EQ(hf_truncate(file, 0, NULL), 0);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
    test_pool_check("sparse");
}

TEST_SCENARIO(sparse_file)
