/* SPDX-License-Identifier: MIT */
/*
 * A clone that ends within a page in which the target goes on. That page has the last bytes of the
 * clone, then its own, with data or a hole on either side. A pin that is detached from it keeps
 * what it showed.
 */
#include "support.h"

#include <string.h>
#include <sys/stat.h>

#define LAST 1000u /* bytes of the source's third page */

static struct hf_pool *pool;

/* Two pages, and the third in part; a hole there: all of it. */
static struct hf_file *make_source(bool hole)
{
    struct hf_file *file = test_file_filled(pool, "/from", 1, hole ? 2 : 3);

    EXPECT_EQ(hf_truncate(file, 2 * TEST_PAGE + LAST, &test_wait), 0);
    return file;
}

/* Five pages, of which the fourth goes on where the clone ends. */
static struct hf_file *make_target(bool hole)
{
    struct hf_file *file = test_file_filled(pool, "/to", 2, 5);

    if (hole)
        EXPECT_EQ(hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, 3 * TEST_PAGE, TEST_PAGE, &test_wait),
                  0);
    return file;
}

static void expect_cloned(struct hf_file *to, bool from_hole, bool to_hole)
{
    char want[4096] = {0}, own[4096] = {0}, got[4096];

    if (!from_hole)
        test_page_fill(want, 1, 2);
    if (!to_hole)
        test_page_fill(own, 2, 3);
    memcpy(want + LAST, own + LAST, sizeof(want) - LAST);
    EXPECT_EQ(hf_read(to, got, sizeof(got), 3 * TEST_PAGE), sizeof(got));
    EXPECT(memcmp(got, want, sizeof(want)) == 0);
    test_expect_pages(to, 2, 0, 1);
    for (uint64_t page = 0; page < 2; page++) {
        test_page_fill(want, 1, page);
        EXPECT_EQ(hf_read(to, got, sizeof(got), (page + 1) * TEST_PAGE), sizeof(got));
        EXPECT(memcmp(got, want, sizeof(want)) == 0);
    }
    test_expect_pages(to, 2, 4, 1);
    EXPECT_EQ(test_size(to), 5 * TEST_PAGE);
}

static uint64_t blocks_of(struct hf_file *file)
{
    struct stat st;

    EXPECT_EQ(hf_fstat(file, &st), 0);
    return (uint64_t)st.st_blocks / 8;
}

static void put_away(struct hf_file *from, struct hf_file *to)
{
    EXPECT_EQ(hf_close(from), 0);
    EXPECT_EQ(hf_close(to), 0);
    EXPECT_EQ(hf_unlink(pool, "/from", &test_wait), 0);
    EXPECT_EQ(hf_unlink(pool, "/to", &test_wait), 0);
}

static void clone_once(bool from_hole, bool to_hole)
{
    struct hf_file *from = make_source(from_hole), *to = make_target(to_hole);

    EXPECT_EQ(hf_clone_range(from, 0, to, TEST_PAGE, 0, &test_wait), 0);
    expect_cloned(to, from_hole, to_hole);
    EXPECT_EQ(blocks_of(to), from_hole && to_hole ? 4 : 5);
    EXPECT_EQ(hf_write(from, "changed", 7, 2 * TEST_PAGE), 7);
    expect_cloned(to, from_hole, to_hole);
    put_away(from, to);
}

static void detach_once(void)
{
    struct hf_file *from = make_source(false), *to = make_target(false);
    struct iovec iov;
    struct hf_pin pin = test_pin(to, 3 * TEST_PAGE, TEST_PAGE, HF_PIN_READ, &iov, 1);

    EXPECT_EQ(hf_clone_range(from, 0, to, TEST_PAGE, 0, &test_detach), 0);
    expect_cloned(to, false, false);
    EXPECT(test_page_is(iov.iov_base, 2, 3));
    EXPECT_EQ(hf_unpin(&pin), 0);
    put_away(from, to);
}

static void clone_tail(void)
{
    pool = test_pool_new("pool", TEST_MIB(8));
    for (unsigned holes = 0; holes < 4; holes++)
        clone_once(holes & 1, holes & 2);
    detach_once();
    EXPECT_EQ(test_free_bytes(pool), TEST_MIB(8));
    test_pool_close(pool);
    test_pool_check("pool");
}

TEST_SCENARIO(clone_tail)
