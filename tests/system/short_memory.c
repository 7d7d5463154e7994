/* SPDX-License-Identifier: MIT */
/*
 * POOL/data is shorter than the super record says, as a power cut may leave a pool that has grown.
 * When no file has blocks in what is missing, opening mends it, and so does fsck. When a file has,
 * both refuse the pool and leave it as it is.
 */
#include "support.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define OLD TEST_MIB(8)
#define NEW TEST_MIB(32)

static unsigned sentences;

static void count_sentence(void *arg, const char *sentence)
{
    (void)arg, (void)sentence;
    sentences++;
}

static void check(const char *name, uint32_t flags, uint64_t problems, uint64_t repaired)
{
    struct hf_check_result result = {.size = sizeof(result)};

    sentences = 0;
    EXPECT_EQ(hf_pool_check(test_path(name), flags, count_sentence, NULL, NULL, &result), 0);
    EXPECT_EQ(result.problems, problems);
    EXPECT_EQ(result.repaired, repaired);
    EXPECT_EQ(sentences, problems + repaired);
}

static void grown_pool(const char *name, uint32_t flags, uint64_t file_bytes)
{
    struct hf_pool_options options = {.size = sizeof(options), .pool_bytes = OLD, .flags = flags};
    struct hf_pool *pool;

    EXPECT_EQ(hf_pool_create(test_path(name), &options), 0);
    pool = test_pool_open(name);
    EXPECT_EQ(hf_pool_grow(pool, NEW), 0);
    EXPECT_EQ(hf_close(test_file_filled(pool, "/file", 1, file_bytes / TEST_PAGE)), 0);
    test_pool_close(pool);
}

static const char *data_of(const char *name)
{
    char path[64];

    snprintf(path, sizeof(path), "%s/data", name);
    return test_path(path);
}

static void cut_memory(const char *name, uint64_t bytes)
{
    EXPECT_EQ(truncate(data_of(name), (off_t)bytes), 0);
}

static void expect_whole(const char *name)
{
    struct hf_pool *pool = test_pool_open(name);
    struct hf_file *file = test_file(pool, "/file"), *new;
    uint64_t room = test_free_bytes(pool) / TEST_PAGE;

    EXPECT_EQ(room, (NEW - OLD / 2) / TEST_PAGE);
    test_expect_pages(file, 1, 0, OLD / 2 / TEST_PAGE);
    EXPECT_EQ(hf_close(file), 0);
    new = test_file(pool, "/new");
    EXPECT_EQ(hf_truncate(new, (NEW - OLD) / 2, &test_wait), 0);
    EXPECT_EQ(hf_fallocate(new, 0, 0, (NEW - OLD) / 2, &test_wait), 0);
    test_expect_zeros(new, 0, (NEW - OLD) / 2);
    EXPECT_EQ(hf_close(new), 0);
    EXPECT_EQ(hf_unlink(pool, "/new", &test_wait), 0);
    test_pool_close(pool);
    check(name, 0, 0, 0);
}

static void mended(const char *name, uint32_t flags)
{
    struct hf_pool *pool;

    grown_pool(name, flags, OLD / 2);
    cut_memory(name, OLD);
    expect_whole(name);
    cut_memory(name, OLD + 4096 + 100); /* also in the middle of a page */
    check(name, 0, 1, 0);
    check(name, HF_CHECK_REPAIR, 1, 1);
    expect_whole(name);
    cut_memory(name, OLD);
    EXPECT_EQ(hf_pool_open(test_path(name), HF_OPEN_RDONLY, &pool), 0);
    EXPECT_EQ(hf_pool_close(pool), 0);
    expect_whole(name);
}

/* What a file has lost is not made up. */
static void refused(const char *name, uint32_t flags)
{
    struct hf_pool *pool;
    struct stat st;

    grown_pool(name, flags, OLD + OLD / 2);
    cut_memory(name, OLD);
    EXPECT_EQ(hf_pool_open(test_path(name), 0, &pool), -EUCLEAN);
    EXPECT(strstr(hf_strerror_detail(), "gone"));
    check(name, HF_CHECK_REPAIR, 1, 0);
    EXPECT_EQ(hf_pool_open(test_path(name), HF_OPEN_RDONLY, &pool), -EUCLEAN);
    EXPECT_EQ(stat(data_of(name), &st), 0);
    EXPECT_EQ(st.st_size, OLD);
}

static void short_memory(void)
{
    mended("memory", 0);
    mended("durable", HF_POOL_DURABLE);
    refused("memory-gone", 0);
    refused("durable-gone", HF_POOL_DURABLE);
}

TEST_SCENARIO(short_memory)
