/* SPDX-License-Identifier: MIT */
/* What a pool looks like, and that all of it works. */
#include "kill.h"
#include "picture.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

void kill_picture(struct hf_pool *pool, char picture[KILL_PICTURE])
{
    struct test_picture seen = {
        .text = picture, .room = KILL_PICTURE, .blocks = !kill_steps, .pins = true};
    struct hf_pool_info info = {.size = sizeof(info)};

    memset(picture, 0, KILL_PICTURE);
    test_picture_names(&seen, pool);
    EXPECT_EQ(hf_pool_info(pool, &info), 0); /* last, since it looks what the dead have left */
    test_picture_put(&seen, "a pool of %" PRIu64 "\n", info.pool_bytes);
}

/* --- all goes on --- */

static void use_file(struct hf_pool *pool, const char *path)
{
    struct hf_policy in_time = test_deadline_ms(30000);
    struct hf_file *file;
    uint64_t size, off;
    char back[4];
    int rc;

    EXPECT_EQ(hf_open(pool, path, O_RDWR, 0, &file), 0);
    size = test_size(file);
    rc = size ? hf_move(file, 0, size, &in_time) : 0;
    if (rc)
        FAIL("moving %s gave %d; %s", path, rc, hf_strerror_detail());
    EXPECT_EQ(hf_append(file, "used", 4, &off), 4);
    EXPECT_EQ(off, size);
    EXPECT_EQ(hf_read(file, back, 4, off), 4);
    EXPECT(memcmp(back, "used", 4) == 0);
    EXPECT_EQ(hf_truncate(file, size, &in_time), 0);
    EXPECT_EQ(hf_fsync(file), 0);
    EXPECT_EQ(hf_close(file), 0);
}

void kill_use(struct hf_pool *pool)
{
    static const char *const paths[] = {"/a", "/b", "/c", "/e", "/new", "/dir/d", "/empty/d"};
    struct stat st;

    for (unsigned i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
        if (hf_stat(pool, paths[i], 0, &st) == 0)
            use_file(pool, paths[i]);
    EXPECT_EQ(hf_close(test_file_filled(pool, "/after", 8, 3)), 0);
    use_file(pool, "/after");
    EXPECT_EQ(hf_rename(pool, "/after", "/after-all", 0), 0);
    EXPECT_EQ(hf_unlink(pool, "/after-all", &test_wait), 0);
}

struct sum {
    uint64_t in_files, detached;
};

static int add_extent(void *arg, const struct hf_extent_info *info)
{
    struct sum *sum = arg;

    *(info->detached ? &sum->detached : &sum->in_files) += info->len / TEST_PAGE;
    return 0;
}

/* Whatever the dead had under way, all that is free can be given back, and holds zeros when it
 * comes again. Block 0 keeps its memory. */
static void account_memory(struct hf_pool *pool)
{
    struct hf_trim_result result = {.size = sizeof(result)};
    struct hf_pool_info info = {.size = sizeof(info)};
    struct hf_file *file;

    EXPECT_EQ(hf_pool_trim(pool, 0, &result), 0);
    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    EXPECT(info.resident_bytes <= info.pool_bytes - info.free_bytes + TEST_PAGE);
    file = test_file(pool, "/zeros");
    EXPECT_EQ(hf_fallocate(file, 0, 0, info.free_bytes, NULL), 0);
    test_expect_zeros(file, 0, info.free_bytes);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_unlink(pool, "/zeros", &test_wait), 0);
}

/* A process that finds the pool full looks what the dead have left. */
void kill_account(struct hf_pool *pool)
{
    uint64_t limit = test_now_ns() + TEST_PATIENCE_NS;
    struct hf_pool_info info = {.size = sizeof(info)};

    for (;;) {
        struct hf_file *file = test_file(pool, "/full");
        struct sum sum = {0};
        int64_t lost;

        EXPECT_EQ(hf_fallocate(file, HF_FALLOC_KEEP_SIZE, 0, 4 * KILL_POOL_BYTES, NULL), -ENOSPC);
        EXPECT_EQ(hf_close(file), 0);
        EXPECT_EQ(hf_unlink(pool, "/full", &test_wait), 0);
        EXPECT_EQ(hf_pool_info(pool, &info), 0);
        EXPECT_EQ(hf_extents(pool, 0, add_extent, &sum), 0);
        lost = (int64_t)((info.pool_bytes - info.free_bytes + info.saved_bytes) / TEST_PAGE -
                         sum.in_files - sum.detached);
        if (sum.detached == 0 && lost == 0) {
            account_memory(pool);
            return;
        }
        if (test_now_ns() > limit)
            FAIL("%" PRIu64 " blocks stay detached, %" PRIi64 " are neither free nor in a file",
                 sum.detached, lost);
        test_sleep_ms(2);
    }
}
