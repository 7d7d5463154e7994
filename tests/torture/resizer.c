/* SPDX-License-Identifier: MIT */
/*
 * A process that makes the pool larger and smaller again, beside those that use it. While the pool
 * is large, there is no room before its first end. So moves and new pages go past it, and files are
 * moved there. The shrink brings them back from under the pinners. A touch of memory that was cut
 * ends a process (SIGBUS).
 */
#include "torture.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/compact.h>
#include <unistd.h>

#define MORE_BYTES TEST_MIB(4)
#define LARGE_US_MOST 4000
#define IN_TIME_MS 200
#define MOVED_FILES 4

static struct resizer {
    uint32_t ready, stop;
    uint64_t moved, shrunk, refused;
} * resizer;

/* The file may be gone, or become shorter; pinners may hold it too long. */
static void move_one(struct hf_pool *pool, unsigned number, const struct hf_policy *policy)
{
    struct hf_file *file;
    char name[32];
    int rc;

    torture_file_name(number, name);
    rc = hf_open(pool, name, O_RDWR, 0, &file);
    EXPECT(rc == 0 || rc == -ENOENT);
    if (rc)
        return;
    rc = hf_move(file, 0, TORTURE_PAGES * TEST_PAGE, policy);
    EXPECT(rc == 0 || rc == -EINVAL || rc == -ENOSPC || rc == -ETIMEDOUT);
    test_count64(&resizer->moved, rc == 0);
    EXPECT_EQ(hf_close(file), 0);
}

static void grow(struct hf_pool *pool, uint64_t bytes, struct test_rng *rng,
                 const struct hf_policy *policy)
{
    struct hf_file *ballast;
    int rc;

    EXPECT_EQ(hf_open(pool, "/", O_RDWR | O_TMPFILE, 0600, &ballast), 0);
    rc = hf_fallocate(ballast, 0, 0, test_free_bytes(pool), NULL);
    EXPECT(rc == 0 || rc == -ENOSPC || rc == -EINVAL); /* others take blocks meanwhile */
    EXPECT_EQ(hf_pool_grow(pool, bytes), 0);
    for (unsigned i = 0; i < MOVED_FILES; i++)
        move_one(pool, (unsigned)test_below(rng, TORTURE_FILES), policy);
    usleep((useconds_t)test_below(rng, LARGE_US_MOST));
    EXPECT_EQ(hf_close(ballast), 0);
}

static void resize_on(void *name)
{
    const struct hf_policy soon = test_deadline_ms(IN_TIME_MS);
    struct hf_pool *pool = test_pool_open(name);
    struct hf_pool_info info = {.size = sizeof(info)};
    struct test_rng rng = {test_mix(test_seed(), 0x72657369)};

    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    test_raise(&resizer->ready, 1);
    while (!test_peek(&resizer->stop)) {
        int rc;

        grow(pool, info.pool_bytes + MORE_BYTES, &rng, &soon);
        rc = hf_pool_shrink(pool, info.pool_bytes, &soon);
        EXPECT(rc == 0 || rc == -ENOSPC || rc == -ETIMEDOUT);
        test_count64(rc ? &resizer->refused : &resizer->shrunk, 1);
    }
    test_pool_close(pool);
}

pid_t torture_resizer(const char *name)
{
    pid_t pid;

    resizer = test_shared(sizeof(*resizer));
    pid = test_fork(resize_on, (void *)(uintptr_t)name);
    test_await(&resizer->ready, 1);
    return pid;
}

uint64_t torture_resizer_ends(pid_t pid, uint64_t *refused)
{
    test_raise(&resizer->stop, 1);
    test_join(pid);
    EXPECT(resizer->moved > 0 && resizer->shrunk > 0); /* or it has shown nothing */
    *refused = resizer->refused;
    return resizer->shrunk;
}
