/* SPDX-License-Identifier: MIT */
/*
 * A call for 256 KiB gives a run of 2 MiB its first memory as a huge page, if the kernel makes one.
 * So it is on a tmpfs, and in the memfd of an anonymous pool. What is not used of it holds zeros,
 * counts as free memory, and a trim gives it back.
 */
#include "support.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define RUN ((uint64_t)HF_HUGE_BYTES)
#define RUNS 16u
#define FEW_PAGES 64u /* of the call; they alone get memory where the kernel makes small pages */
#define STAMP 5

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

static bool kernel_makes_huge_pages(void)
{
    char *at = mmap(NULL, 2 * RUN, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *aligned;
    int fd = memfd_create("huge", MFD_CLOEXEC);
    bool made;

    EXPECT(fd >= 0 && at != MAP_FAILED);
    EXPECT_EQ(ftruncate(fd, RUN), 0);
    aligned = (char *)(((uintptr_t)at + RUN - 1) / RUN * RUN);
    EXPECT(mmap(aligned, RUN, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == aligned);
    *aligned = 1;
    made = madvise(aligned, RUN, MADV_COLLAPSE) == 0;
    EXPECT_EQ(munmap(at, 2 * RUN), 0);
    close(fd);
    return made;
}

/* It will have the front of a run. */
static struct hf_file *front_file(struct hf_pool *pool, unsigned i)
{
    char path[16];

    snprintf(path, sizeof path, "/%u", i);
    return test_file(pool, path);
}

/* How many of the runs took memory for all of their blocks. The first block of the pool had it. */
static unsigned write_fronts(struct hf_pool *pool)
{
    unsigned huge = 0;

    for (unsigned i = 0; i < RUNS; i++) {
        struct hf_file *file = front_file(pool, i);
        uint64_t before = test_resident_bytes(pool), taken;

        EXPECT_EQ(hf_fallocate(file, 0, 0, FEW_PAGES * TEST_PAGE, NULL), 0);
        taken = test_resident_bytes(pool) - before;
        EXPECT(taken == RUN || taken <= FEW_PAGES * TEST_PAGE);
        huge += taken == RUN;
        test_write_pages(file, STAMP + i, 0, FEW_PAGES);
        EXPECT_EQ(hf_close(file), 0);
    }
    return huge;
}

/* The files grow into the rest of their runs. */
static void expect_zeros_behind(struct hf_pool *pool)
{
    static const char zeros[RUN];
    static char rest[RUN];

    for (unsigned i = 0; i < RUNS; i++) {
        struct hf_file *file = front_file(pool, i);
        const size_t bytes = RUN - FEW_PAGES * TEST_PAGE;

        EXPECT_EQ(hf_fallocate(file, 0, 0, RUN, NULL), 0);
        test_expect_pages(file, STAMP + i, 0, FEW_PAGES);
        EXPECT_EQ(hf_read(file, rest, bytes, FEW_PAGES * TEST_PAGE), (ssize_t)bytes);
        EXPECT(memcmp(rest, zeros, bytes) == 0);
        EXPECT_EQ(hf_truncate(file, TEST_PAGE, NULL), 0);
        EXPECT_EQ(hf_close(file), 0);
    }
}

static void check_memory(struct hf_pool *pool)
{
    struct hf_trim_result trimmed = {.size = sizeof(trimmed)};
    unsigned huge = write_fronts(pool);

    EXPECT(huge > 0 || !kernel_makes_huge_pages());
    expect_zeros_behind(pool);
    EXPECT_EQ(hf_pool_trim(pool, 0, &trimmed), 0);
    EXPECT_EQ(test_resident_bytes(pool), RUNS * TEST_PAGE);
    for (unsigned i = 0; i < RUNS; i++) {
        struct hf_file *file = front_file(pool, i);

        test_expect_pages(file, STAMP + i, 0, 1);
        EXPECT_EQ(hf_close(file), 0);
    }
    test_pool_close(pool);
}

static void huge_memory(void)
{
    const struct hf_pool_options options = {.size = sizeof(options), .pool_bytes = 2 * RUNS * RUN};
    struct hf_pool *pool = test_pool_new("pool", 2 * RUNS * RUN), *unnamed;
    struct hf_pool_info info = {.size = sizeof(info)};

    EXPECT_EQ(hf_pool_open_anonymous(&options, &unnamed), 0);
    check_memory(unnamed);
    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    if (strcmp(info.media, "tmpfs") != 0)
        test_skip("the pool's memory is not on a tmpfs");
    check_memory(pool);
    test_pool_check("pool");
}

TEST_SCENARIO(huge_memory)
