/* SPDX-License-Identifier: MIT */
/*
 * The first write to shared pages. Whole pages get new blocks that hold what is written; parts of
 * pages get a copy. Pins for reading keep what they have. Pages that no other file shares any more
 * stay where they are, and one write is enough to learn that of all of them. A thread that writes
 * page by page takes a shorter way, which must not lead it astray. In a full pool nothing has
 * changed.
 */
#include "support.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define OLD 1
#define NEW 2
#define PAGES 64u
#define ODD 100u /* bytes past the start of a page */

static struct hf_pool *pool;
static struct hf_file *file, *copy;

static void share_all(void)
{
    copy = test_file(pool, "/copy");
    EXPECT_EQ(hf_clone_range(file, 0, copy, 0, 0, &test_wait), 0);
}

static void begin(void)
{
    pool = test_pool_new("pool", TEST_MIB(8));
    file = test_file_filled(pool, "/file", OLD, PAGES);
    share_all();
}

static void end(void)
{
    EXPECT_EQ(hf_close(file), 0);
    if (copy)
        EXPECT_EQ(hf_close(copy), 0);
    test_pool_close(pool);
    test_pool_check("pool");
    test_remove_tree(test_path("pool"));
}

static uint64_t saved_pages(void)
{
    struct hf_pool_info info = {.size = sizeof(info)};

    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    return info.saved_bytes / TEST_PAGE;
}

/* Bytes of the file as test_write_pages() would write them, from any byte on. */
static void write_bytes(uint64_t off, uint64_t len)
{
    char *pages = malloc(PAGES * TEST_PAGE);

    EXPECT(pages);
    for (uint64_t i = 0; i < PAGES; i++)
        test_page_fill(pages + i * TEST_PAGE, NEW, i);
    EXPECT_EQ(hf_write(file, pages + off, len, off), (long long)len);
    free(pages);
}

static void check_whole_pages(void)
{
    struct timespec before;
    struct stat st;

    begin();
    EXPECT_EQ(hf_fstat(file, &st), 0);
    before = st.st_mtim;
    while (memcmp(&st.st_mtim, &before, sizeof(before)) == 0) { /* the clock goes in ticks */
        write_bytes(3 * TEST_PAGE, 2 * TEST_PAGE);
        EXPECT_EQ(hf_fstat(file, &st), 0);
    }
    EXPECT_EQ(st.st_blocks, PAGES * TEST_PAGE / 512);
    test_expect_pages(file, OLD, 0, 3);
    test_expect_pages(file, NEW, 3, 2);
    test_expect_pages(file, OLD, 5, PAGES - 5);
    test_expect_pages(copy, OLD, 0, PAGES);
    EXPECT_EQ(saved_pages(), PAGES - 2);
    end();
}

/* It begins and ends inside pages. */
static void check_odd_bytes(void)
{
    begin();
    write_bytes(ODD, (PAGES - 1) * TEST_PAGE);
    write_bytes(0, ODD);
    write_bytes((PAGES - 1) * TEST_PAGE + ODD, TEST_PAGE - ODD);
    test_expect_pages(file, NEW, 0, PAGES);
    test_expect_pages(copy, OLD, 0, PAGES);
    EXPECT_EQ(saved_pages(), 0);
    end();
}

/* A pin for reading is a snapshot from then on, and its block is given back when it goes. */
static void check_pinned(void)
{
    uint64_t free_bytes;
    struct iovec iov;
    struct hf_pin pin;

    begin();
    pin = test_pin(file, 7 * TEST_PAGE, TEST_PAGE, HF_PIN_READ, &iov, 1);
    EXPECT_EQ(hf_close(copy), 0);
    copy = NULL;
    write_bytes(6 * TEST_PAGE, 3 * TEST_PAGE);
    EXPECT_EQ(hf_unlink(pool, "/copy", &test_wait), 0);
    EXPECT(test_page_is(iov.iov_base, OLD, 7));
    test_expect_pages(file, NEW, 6, 3);
    free_bytes = test_free_bytes(pool);
    EXPECT_EQ(hf_unpin(&pin), 0);
    test_write_pages(file, NEW, 6, 1); /* gives it back */
    EXPECT_EQ(test_free_bytes(pool), free_bytes + TEST_PAGE);
    end();
}

/* A thread that writes page by page expects that the next one is shared too. Here it is not: a pin
 * for writing has got it a block of its own, or it is a hole. There is no free block either. */
static void check_one_by_one(void)
{
    struct hf_file *rest;
    struct iovec iov;
    struct hf_pin pin;

    begin();
    for (unsigned i = 0; i < PAGES; i += 3)
        test_write_pages(file, NEW, i, 1);
    EXPECT_EQ(saved_pages(), PAGES - (PAGES + 2) / 3);
    test_write_pages(file, NEW, 19, 1);
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, 20 * TEST_PAGE, TEST_PAGE, &test_wait), 0);
    test_write_pages(file, NEW, 20, 1);
    test_write_pages(file, NEW, 25, 1);
    pin = test_pin(file, 26 * TEST_PAGE, TEST_PAGE, HF_PIN_WRITE, &iov, 1);
    EXPECT_EQ(hf_unpin(&pin), 0);
    rest = test_file(pool, "/rest");
    while (hf_write(rest, "", 1, test_size(rest) / TEST_PAGE * TEST_PAGE + TEST_PAGE) == 1)
        continue;
    EXPECT_EQ(test_free_bytes(pool), 0);
    test_write_pages(file, NEW, 26, 1);
    test_expect_pages(file, NEW, 18, 3);
    test_expect_pages(file, OLD, 22, 2);
    test_expect_pages(file, NEW, 24, 3);
    test_expect_pages(copy, OLD, 0, PAGES);
    EXPECT_EQ(hf_close(rest), 0);
    end();
}

/* ---- when the other owner has gone ---- */

struct layout {
    uint64_t block[PAGES];
    unsigned shared; /* pages whose extent says so */
};

static int add_extent(void *arg, const struct hf_extent_info *info)
{
    struct layout *layout = arg;

    for (uint64_t i = 0; i < info->len / TEST_PAGE; i++)
        layout->block[info->off / TEST_PAGE + i] = info->block + i;
    layout->shared += info->shared ? (unsigned)(info->len / TEST_PAGE) : 0;
    return 0;
}

static struct layout look_at_layout(void)
{
    struct layout layout = {.shared = 0};
    struct stat st;

    EXPECT_EQ(hf_fstat(file, &st), 0);
    EXPECT_EQ(hf_extents(pool, st.st_ino, add_extent, &layout), 0);
    return layout;
}

static void check_alone(void)
{
    struct layout before, after;

    begin();
    EXPECT_EQ(hf_close(copy), 0);
    copy = NULL;
    EXPECT_EQ(hf_unlink(pool, "/copy", &test_wait), 0);
    before = look_at_layout();
    EXPECT_EQ(before.shared, PAGES);
    test_write_pages(file, NEW, 20, 1);
    after = look_at_layout();
    EXPECT_EQ(after.shared, 20);
    EXPECT(memcmp(before.block, after.block, sizeof(before.block)) == 0);
    test_expect_pages(file, OLD, 0, 20);
    test_expect_pages(file, NEW, 20, 1);
    test_expect_pages(file, OLD, 21, PAGES - 21);
    end();
}

/* Half of the pages that are written are still shared. */
static void check_half_alone(void)
{
    begin();
    EXPECT_EQ(hf_fallocate(copy, HF_FALLOC_PUNCH_HOLE, 0, PAGES / 2 * TEST_PAGE, &test_wait), 0);
    write_bytes(PAGES / 4 * TEST_PAGE, PAGES / 2 * TEST_PAGE);
    test_expect_pages(file, OLD, 0, PAGES / 4);
    test_expect_pages(file, NEW, PAGES / 4, PAGES / 2);
    test_expect_pages(copy, OLD, PAGES / 2, PAGES / 2);
    EXPECT_EQ(saved_pages(), PAGES / 4);
    end();
}

/* ---- when there is no block ---- */

static void check_full(void)
{
    static const char zeros[3 * 4096];
    struct hf_file *rest;

    begin();
    rest = test_file(pool, "/rest");
    while (hf_write(rest, "", 1, test_size(rest) / TEST_PAGE * TEST_PAGE + TEST_PAGE) == 1)
        continue;
    EXPECT_EQ(test_free_bytes(pool), 0);
    EXPECT_EQ(hf_write(file, "x", 1, ODD), -ENOSPC);
    EXPECT_EQ(hf_write(file, zeros, TEST_PAGE, TEST_PAGE), -ENOSPC);
    EXPECT_EQ(hf_write(file, zeros, sizeof(zeros), TEST_PAGE), -ENOSPC);
    test_expect_pages(file, OLD, 0, PAGES);
    test_expect_pages(copy, OLD, 0, PAGES);
    EXPECT_EQ(saved_pages(), PAGES);
    /* with one block, one page of the three is written */
    EXPECT_EQ(hf_truncate(rest, test_size(rest) - TEST_PAGE, &test_wait), 0);
    EXPECT_EQ(test_free_bytes(pool), TEST_PAGE);
    EXPECT_EQ(hf_write(file, zeros, sizeof(zeros), TEST_PAGE), TEST_PAGE);
    test_expect_zeros(file, TEST_PAGE, TEST_PAGE);
    test_expect_pages(file, OLD, 2, PAGES - 2);
    test_expect_pages(copy, OLD, 0, PAGES);
    EXPECT_EQ(hf_close(rest), 0);
    end();
}

static void first_write(void)
{
    check_whole_pages();
    check_odd_bytes();
    check_pinned();
    check_one_by_one();
    check_alone();
    check_half_alone();
    check_full();
}

TEST_SCENARIO(first_write)
