/* SPDX-License-Identifier: MIT */
/*
 * A pool's watermark after calls that give pages other blocks under a mutex, from beginning to end.
 * They are a merge, a copy that shares, a compaction, and a first write to shared pages. After each
 * there is no more memory than the live data and the watermark take.
 */
#include "support.h"

#include <holdfast/compact.h>

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#define POOL_BYTES TEST_MIB(16)
#define ABOVE TEST_MIB(2)
#define PAGES 1024u /* of each file */

static struct hf_pool *pool;

/* Before the library is asked: hf_pool_info() gives back what others have left. */
static void expect_below(const char *after)
{
    uint64_t live, there;
    struct stat st;

    EXPECT_EQ(stat(test_path("pool/data"), &st), 0);
    there = (uint64_t)st.st_blocks * 512;
    live = POOL_BYTES - test_free_bytes(pool);
    if (there > live + ABOVE)
        FAIL("after %s: %" PRIu64 " KiB of memory for %" PRIu64 " KiB that are not free", after,
             there >> 10, live >> 10);
}

static void trim_exchange(void)
{
    const struct hf_pool_options options = {
        .size = sizeof(options), .pool_bytes = POOL_BYTES, .trim_above_bytes = ABOVE};
    struct hf_compact_result compacted = {.size = sizeof(compacted)};
    struct hf_dedup_result merged = {.size = sizeof(merged)};
    struct hf_file *one, *two;

    EXPECT_EQ(hf_pool_create(test_path("pool"), &options), 0);
    pool = test_pool_open("pool");
    one = test_file(pool, "/one");
    two = test_file(pool, "/two");
    for (uint64_t page = 0; page < PAGES; page += 64) { /* no run of 2 MiB lies together */
        test_write_pages(one, 1, page, 64);
        test_write_pages(two, 1, page, 64);
    }
    EXPECT_EQ(hf_compact(two, 0, 0, 0, NULL, &compacted), 0);
    EXPECT_EQ(compacted.moved_bytes, PAGES * TEST_PAGE);
    expect_below("a compaction");
    EXPECT_EQ(hf_dedup_range(one, 0, two, 0, PAGES * TEST_PAGE, &merged), 0);
    EXPECT_EQ(merged.shared_bytes, PAGES * TEST_PAGE);
    expect_below("a merge");
    test_write_pages(two, 2, 0, PAGES);
    expect_below("first writes");
    EXPECT_EQ(hf_copy_range(one, 0, two, 0, PAGES * TEST_PAGE), PAGES * TEST_PAGE);
    expect_below("a copy");
    EXPECT_EQ(hf_close(one), 0);
    EXPECT_EQ(hf_close(two), 0);
    test_pool_close(pool);
    test_pool_check("pool");
}

TEST_SCENARIO(trim_exchange)
