/* SPDX-License-Identifier: MIT */
/*
 * The kinds of layout change. Stamps name the page a content was written to, so after a collapse
 * or an insert they say where it came from.
 */
#include "change.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>

const char *const change_names[CHANGE_KINDS] = {"truncate", "punch", "zero",  "collapse",
                                                "insert",   "move",  "unlink"};

struct hf_file *change_prepare(struct hf_pool *pool, const char *path)
{
    return test_file_filled(pool, path, CHANGE_STAMP, CHANGE_PAGES);
}

int change_run(struct hf_pool *pool, struct hf_file *file, const char *path, enum change_kind kind,
               const struct hf_policy *policy)
{
    const uint64_t off = CHANGE_FIRST * TEST_PAGE, len = CHANGE_COUNT * TEST_PAGE;

    switch (kind) {
    case CHANGE_TRUNCATE:
        return hf_truncate(file, off, policy);
    case CHANGE_PUNCH:
        return hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, off, len, policy);
    case CHANGE_ZERO:
        return hf_fallocate(file, HF_FALLOC_ZERO_RANGE, off, len, policy);
    case CHANGE_COLLAPSE:
        return hf_fallocate(file, HF_FALLOC_COLLAPSE_RANGE, off, len, policy);
    case CHANGE_INSERT:
        return hf_fallocate(file, HF_FALLOC_INSERT_RANGE, off, len, policy);
    case CHANGE_MOVE:
        return hf_move(file, off, len, policy);
    default:
        return hf_unlink(pool, path, policy);
    }
}

/* Pages [at, at+count) hold what was written to pages from `source` on. */
static void expect_shifted(struct hf_file *file, uint64_t at, uint64_t source, uint64_t count)
{
    uint64_t page[TEST_PAGE / sizeof(uint64_t)];

    for (uint64_t i = 0; i < count; i++) {
        EXPECT_EQ(hf_read(file, page, sizeof(page), (at + i) * TEST_PAGE), sizeof(page));
        if (!test_page_is(page, CHANGE_STAMP, source + i))
            FAIL("page %" PRIu64 " does not hold what was page %" PRIu64, at + i, source + i);
    }
}

static struct hf_file *open_to_look(struct hf_pool *pool, const char *path)
{
    struct hf_file *file = NULL;

    EXPECT_EQ(hf_open(pool, path, O_RDONLY, 0, &file), 0);
    return file;
}

void change_expect_before(struct hf_pool *pool, const char *path)
{
    struct hf_file *file = open_to_look(pool, path);
    struct stat st;

    EXPECT_EQ(hf_fstat(file, &st), 0);
    EXPECT_EQ(st.st_size, CHANGE_PAGES * TEST_PAGE);
    EXPECT_EQ(st.st_blocks, CHANGE_PAGES * TEST_PAGE / 512);
    expect_shifted(file, 0, 0, CHANGE_PAGES);
    EXPECT_EQ(hf_close(file), 0);
}

static void expect_size(struct hf_file *file, uint64_t pages)
{
    EXPECT_EQ(test_size(file), pages * TEST_PAGE);
}

void change_expect_after(struct hf_pool *pool, const char *path, enum change_kind kind)
{
    const uint64_t end = CHANGE_FIRST + CHANGE_COUNT, rest = CHANGE_PAGES - end;
    struct hf_file *file = NULL;

    if (kind == CHANGE_UNLINK) {
        EXPECT_EQ(hf_open(pool, path, O_RDONLY, 0, &file), -ENOENT);
        return;
    }
    file = open_to_look(pool, path);
    expect_shifted(file, 0, 0, CHANGE_FIRST);
    if (kind == CHANGE_TRUNCATE) {
        expect_size(file, CHANGE_FIRST);
    } else if (kind == CHANGE_COLLAPSE) {
        expect_size(file, CHANGE_FIRST + rest);
        expect_shifted(file, CHANGE_FIRST, end, rest);
    } else if (kind == CHANGE_INSERT) {
        expect_size(file, CHANGE_PAGES + CHANGE_COUNT);
        test_expect_zeros(file, CHANGE_FIRST * TEST_PAGE, CHANGE_COUNT * TEST_PAGE);
        expect_shifted(file, end, CHANGE_FIRST, CHANGE_PAGES - CHANGE_FIRST);
    } else {
        expect_size(file, CHANGE_PAGES);
        expect_shifted(file, end, end, rest);
        if (kind == CHANGE_MOVE)
            expect_shifted(file, CHANGE_FIRST, CHANGE_FIRST, CHANGE_COUNT);
        else
            test_expect_zeros(file, CHANGE_FIRST * TEST_PAGE, CHANGE_COUNT * TEST_PAGE);
    }
    EXPECT_EQ(hf_close(file), 0);
}

static uint64_t thread_cpu_ns(void)
{
    struct rusage usage;

    getrusage(RUSAGE_THREAD, &usage);
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000u +
           (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000u;
}

static void *change_body(void *arg)
{
    struct change_thread *change = arg;
    uint64_t wall = test_now_ns(), cpu = thread_cpu_ns();

    change->rc = change_run(change->pool, change->file, change->path, change->kind,
                            change->policy.kind ? &change->policy : NULL);
    snprintf(change->sentence, sizeof(change->sentence), "%s", hf_strerror_detail());
    change->wall_ns = test_now_ns() - wall;
    change->cpu_ns = thread_cpu_ns() - cpu;
    test_raise(&change->done, 1);
    return NULL;
}

void change_start(struct change_thread *change)
{
    change->done = 0;
    EXPECT_EQ(pthread_create(&change->thread, NULL, change_body, change), 0);
}

int change_finish(struct change_thread *change)
{
    pthread_join(change->thread, NULL);
    return change->rc;
}
