/* SPDX-License-Identifier: MIT */
/*
 * A pool shrinks and grows again while two processes use it. What lies past the new end moves, a
 * pin there is waited for as the policy says, and what comes back by growing holds zeros. Then the
 * same on a disk and without a file, by one process.
 */
#include "support.h"

#include <errno.h>
#include <holdfast/compact.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define LARGE TEST_MIB(32)
#define SMALL TEST_MIB(16)
#define PART TEST_MIB(10)

struct stage {
    uint32_t number;
};
static struct stage *stage;

static const struct hf_policy nowait = {.kind = HF_POLICY_NOWAIT};

static void other_process(void *arg)
{
    struct hf_pool *pool = test_pool_open("shrink");
    struct hf_file *file = test_file(pool, "/second");
    struct iovec iov[64];
    struct hf_pin pin = test_pin(file, 0, PART, HF_PIN_READ, iov, 64);

    (void)arg;
    test_raise(&stage->number, 1);
    test_await(&stage->number, 2);
    EXPECT(test_page_is(iov[0].iov_base, 2, 0));
    EXPECT_EQ(hf_unpin(&pin), 0);
    test_raise(&stage->number, 3);
    test_await(&stage->number, 4);
    test_expect_pages(file, 2, 0, PART / TEST_PAGE);
    test_raise(&stage->number, 5);
    test_await(&stage->number, 6);
    test_write_pages(file, 3, 0, 2 * PART / TEST_PAGE);
    test_expect_pages(file, 3, 0, 2 * PART / TEST_PAGE);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
}

static void check_refusals(struct hf_pool *pool)
{
    struct hf_pool_memory memory = {.size = sizeof(memory)};

    EXPECT_EQ(hf_pool_shrink(pool, SMALL + TEST_PAGE, &nowait), -EINVAL);
    EXPECT_EQ(hf_pool_shrink(pool, TEST_MIB(4), &nowait), -EINVAL);
    EXPECT_EQ(hf_pool_shrink(pool, 2 * LARGE, &nowait), -EINVAL);
    EXPECT_EQ(hf_pool_shrink(pool, TEST_MIB(8), &nowait), -ENOSPC);
    EXPECT_EQ(hf_pool_register(pool, HF_PIN_GPU, &memory), 0);
    EXPECT_EQ(hf_pool_shrink(pool, SMALL, &nowait), -EBUSY);
    EXPECT_EQ(hf_pool_unregister(pool, HF_PIN_GPU), 0);
}

static void two_processes(void)
{
    struct hf_pool *pool = test_pool_new("shrink", LARGE);
    struct hf_file *first = test_file(pool, "/first"), *second = test_file(pool, "/second");
    struct hf_pool_info info = {.size = sizeof(info)};
    uint64_t free_before = test_free_bytes(pool);
    pid_t child;

    test_write_pages(first, 1, 0, PART / TEST_PAGE);
    test_write_pages(second, 2, 0, PART / TEST_PAGE);
    EXPECT_EQ(hf_truncate(first, 0, NULL), 0);
    stage = test_shared(sizeof(*stage));
    child = test_fork(other_process, NULL);
    test_await(&stage->number, 1);
    check_refusals(pool);
    EXPECT_EQ(hf_pool_shrink(pool, SMALL, &nowait), -EBUSY);
    test_raise(&stage->number, 2);
    test_await(&stage->number, 3);
    EXPECT_EQ(hf_pool_shrink(pool, SMALL, &nowait), 0);
    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    EXPECT_EQ(info.pool_bytes, SMALL);
    EXPECT_EQ(test_free_bytes(pool), free_before - PART - (LARGE - SMALL));
    test_raise(&stage->number, 4);
    test_await(&stage->number, 5);
    EXPECT_EQ(hf_pool_grow(pool, LARGE), 0);
    EXPECT_EQ(test_free_bytes(pool), free_before - PART);
    test_raise(&stage->number, 6);
    test_join(child);
    EXPECT_EQ(hf_close(first), 0);
    EXPECT_EQ(hf_close(second), 0);
    test_pool_close(pool);
    test_pool_check("shrink");
}

/* A file lies past the new end, and holes of another one do. */
static void shrink_and_look(struct hf_pool *pool, uint64_t most)
{
    struct hf_file *first = test_file(pool, "/first"), *second = test_file(pool, "/second");
    uint64_t bytes;

    test_write_pages(first, 1, 0, PART / TEST_PAGE);
    test_write_pages(second, 2, 0, PART / TEST_PAGE);
    EXPECT_EQ(hf_fallocate(second, HF_FALLOC_KEEP_SIZE, PART, TEST_MIB(2), NULL), 0);
    EXPECT_EQ(hf_truncate(first, 0, NULL), 0);
    EXPECT_EQ(hf_pool_shrink(pool, SMALL, NULL), 0);
    EXPECT_EQ(hf_pool_shrink(pool, SMALL, NULL), 0);
    EXPECT(test_resident_bytes(pool) <= most);
    test_expect_pages(second, 2, 0, PART / TEST_PAGE);
    EXPECT_EQ(hf_pool_grow(pool, LARGE), 0);
    EXPECT_EQ(hf_pool_shrink(pool, SMALL, NULL), 0);
    EXPECT_EQ(hf_pool_grow(pool, LARGE), 0);
    bytes = test_free_bytes(pool);
    EXPECT_EQ(hf_fallocate(first, 0, 0, bytes, NULL), 0);
    test_expect_zeros(first, 0, bytes);
    test_write_pages(first, 3, 0, bytes / TEST_PAGE);
    test_expect_pages(first, 3, 0, bytes / TEST_PAGE);
    test_expect_pages(second, 2, 0, PART / TEST_PAGE);
    EXPECT_EQ(hf_close(first), 0);
    EXPECT_EQ(hf_close(second), 0);
}

static void anonymous(void)
{
    const struct hf_pool_options options = {.size = sizeof(options), .pool_bytes = LARGE};
    struct hf_pool *pool;

    EXPECT_EQ(hf_pool_open_anonymous(&options, &pool), 0);
    shrink_and_look(pool, SMALL);
    test_pool_close(pool);
}

static void on_disk(const char *name, uint32_t flags)
{
    char dir[] = "/var/tmp/holdfast-shrink-XXXXXX", path[64];
    struct hf_pool_options options = {.size = sizeof(options), .pool_bytes = LARGE, .flags = flags};
    struct hf_pool *pool;
    struct stat st;

    EXPECT(mkdtemp(dir) != NULL);
    snprintf(path, sizeof(path), "%s/data", dir);
    options.data_path = path;
    EXPECT_EQ(hf_pool_create(test_path(name), &options), 0);
    pool = test_pool_open(name);
    shrink_and_look(pool, SMALL + TEST_MIB(1));
    EXPECT_EQ(hf_pool_shrink(pool, SMALL, NULL), -ENOSPC);
    EXPECT_EQ(hf_unlink(pool, "/first", NULL), 0);
    EXPECT_EQ(hf_pool_shrink(pool, SMALL, NULL), 0);
    EXPECT_EQ(stat(path, &st), 0);
    EXPECT_EQ(st.st_size, SMALL);
    test_pool_close(pool);
    test_pool_check(name);
    pool = test_pool_open(name);
    EXPECT(test_resident_bytes(pool) <= SMALL + TEST_MIB(1));
    test_pool_close(pool);
    test_remove_tree(dir);
}

static void on_tmpfs(void)
{
    struct hf_pool *pool = test_pool_new("alone", LARGE);

    shrink_and_look(pool, SMALL);
    test_pool_close(pool);
    test_pool_check("alone");
}

static void pool_shrink(void)
{
    two_processes();
    on_tmpfs();
    anonymous();
    on_disk("disk", 0);
    on_disk("durable", HF_POOL_DURABLE);
}

TEST_SCENARIO(pool_shrink)
