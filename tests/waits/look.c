/* SPDX-License-Identifier: MIT */
/* What is in a pool at first, and what is seen of it. */
#include "picture.h"
#include "waits.h"

#include <inttypes.h>
#include <string.h>

void waits_fill(struct hf_pool *pool)
{
    struct hf_file *file = test_file_filled(pool, "/a", 1, 6);

    EXPECT_EQ(hf_truncate(file, 5 * TEST_PAGE + 1000, &test_wait), 0);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_close(test_file_filled(pool, "/b", 2, 3)), 0);
    file = test_file(pool, "/c");
    for (uint64_t page = 0; page < 6; page += 2)
        test_write_pages(file, 3, page, 1);
    EXPECT_EQ(hf_truncate(file, 7 * TEST_PAGE, &test_wait), 0);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_mkdir(pool, "/dir", 0755), 0);
    EXPECT_EQ(hf_mkdir(pool, "/empty", 0755), 0);
    EXPECT_EQ(hf_close(test_file_filled(pool, "/dir/d", 4, 1)), 0);
    EXPECT_EQ(hf_close(test_file(pool, "/e")), 0);
    EXPECT_EQ(hf_symlink(pool, "b", "/link"), 0);
    EXPECT_EQ(hf_setxattr(pool, "/b", "user.x", "value", 5, 0), 0);
}

void waits_look(struct hf_pool *pool, bool blocks, bool times, char picture[WAITS_PICTURE])
{
    struct test_picture seen = {
        .text = picture, .room = WAITS_PICTURE, .blocks = blocks, .times = times};
    struct hf_pool_info info = {.size = sizeof(info)};

    test_picture_names(&seen, pool);
    EXPECT_EQ(hf_pool_info(pool, &info), 0); /* which gives back what was left to others */
    test_picture_put(&seen, "pool of %" PRIu64 ", %" PRIu64 " inodes, %u files and %u leases\n",
                     info.pool_bytes, info.inodes, info.files, info.leases);
    if (blocks)
        test_picture_put(
            &seen, "free %" PRIu64 " detached %" PRIu64 " shared %" PRIu64 " saved %" PRIu64 "\n",
            info.free_bytes, info.detached_bytes, info.shared_bytes, info.saved_bytes);
}

#define BLOCKS_MAX 65536u

static int mark_extent(void *arg, const struct hf_extent_info *info)
{
    bool *used = arg;
    uint64_t count = info->len / TEST_PAGE;

    EXPECT(info->block + count <= BLOCKS_MAX);
    memset(used + info->block, true, count);
    return 0;
}

void waits_account(struct hf_pool *pool)
{
    static bool used[BLOCKS_MAX];
    struct hf_pool_info info = {.size = sizeof(info)};
    uint64_t count = 0;

    memset(used, 0, sizeof(used));
    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    EXPECT_EQ(hf_extents(pool, 0, mark_extent, used), 0);
    for (unsigned i = 0; i < BLOCKS_MAX; i++)
        count += used[i];
    EXPECT_EQ((info.pool_bytes - info.free_bytes) / TEST_PAGE, count);
}
