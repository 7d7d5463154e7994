/* SPDX-License-Identifier: MIT */
/*
 * Processes that look after a pool all the time, beside those that use it. One gives free memory
 * back, one lays files for huge entries, one makes the pool larger and smaller. Each may be killed
 * anywhere. And what is exact afterwards.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/compact.h>
#include <holdfast/serve.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define PAUSE_US 200 /* so that others get the bitmap's mutex without a queue */
#define MORE_BYTES TEST_MIB(4)
#define FILES_MOST 1024u
#define RUN_PAGES (HF_HUGE_BYTES / TEST_PAGE)

enum kind { TRIMS, COMPACTS, RESIZES, KINDS };

static struct companions {
    struct companion {
        uint32_t ready, stop;
        uint64_t done; /* bytes given back, runs laid, times shrunk */
        const char *pool;
        uint64_t bytes; /* to which the pool is shrunk */
        bool has_run;
    } each[KINDS];
} * companions;

/* A call that a stopped process is in the way of may fail: it may hold a lock. */
static bool is_passing(int rc)
{
    return rc == -EBUSY || rc == -EAGAIN || rc == -ETIMEDOUT;
}

/* ---- trims ---- */

static void trim_once(struct companion *self, struct hf_pool *pool)
{
    struct hf_trim_result result = {.size = sizeof(result)};
    int rc = hf_pool_trim(pool, 0, &result);

    EXPECT(rc == 0 || is_passing(rc));
    self->done += rc ? 0 : result.given_bytes;
}

/* ---- compactions ---- */

struct found {
    unsigned count;
    uint64_t inos[FILES_MOST];
};

static int note_file(void *arg, const struct hf_extent_info *info)
{
    struct found *found = arg;

    if (!info->detached && found->count < FILES_MOST &&
        (!found->count || found->inos[found->count - 1] != info->ino))
        found->inos[found->count++] = info->ino;
    return 0;
}

/* Where the engine has huge entries. The file system beside the pool may be full. */
static void compact_file(struct companion *self, struct hf_file *file)
{
    struct hf_compact_result result = {.size = sizeof(result)};
    int rc = hf_compact(file, 0, 0, 0, NULL, &result);

    EXPECT(rc == 0 || is_passing(rc) || rc == -ENOSPC || rc == -EOPNOTSUPP);
    if (rc)
        return;
    EXPECT_EQ(result.huge_bytes + result.held_bytes + result.shared_bytes + result.no_space_bytes,
              result.run_bytes);
    self->done += (result.huge_bytes - result.was_huge) / HF_HUGE_BYTES;
}

static void compact_all(struct companion *self, struct hf_pool *pool)
{
    static struct found found;

    found.count = 0;
    EXPECT_EQ(hf_extents(pool, 0, note_file, &found), 0);
    for (unsigned i = 0; i < found.count; i++) {
        struct hf_file *file;

        if (hf_openat(pool, found.inos[i], "", O_RDWR, 0, &file) != 0)
            continue; /* it has gone */
        compact_file(self, file);
        EXPECT_EQ(hf_close(file), 0);
    }
}

/* So many pages, the last ones first, of a file without a name. The pool may be full. */
static uint64_t write_backwards(struct hf_file *file, uint64_t stamp)
{
    unsigned char page[TEST_PAGE];
    uint64_t written = 0;

    for (; written < RUN_PAGES; written++) {
        uint64_t at = RUN_PAGES - 1 - written;
        ssize_t rc;

        test_page_fill(page, stamp, at);
        rc = hf_write(file, page, sizeof(page), at * TEST_PAGE);
        EXPECT(rc == TEST_PAGE || rc == -ENOSPC || is_passing((int)rc));
        if (rc < 0)
            break;
    }
    return written;
}

static void lay_own_run(struct companion *self, struct hf_pool *pool)
{
    uint64_t stamp = self->done + 1, written;
    struct hf_file *file;
    int rc = hf_open(pool, "/", O_RDWR | O_TMPFILE, 0600, &file);

    EXPECT(rc == 0 || rc == -ENOSPC || is_passing(rc));
    if (rc)
        return;
    written = write_backwards(file, stamp);
    compact_file(self, file);
    test_expect_pages(file, stamp, RUN_PAGES - written, written);
    EXPECT_EQ(hf_close(file), 0);
}

static void compact_once(struct companion *self, struct hf_pool *pool)
{
    if (self->has_run)
        lay_own_run(self, pool);
    compact_all(self, pool);
}

/* ---- a larger pool, and a smaller one ---- */

/* Nothing of what lies past the end may be held. */
static void resize_once(struct companion *self, struct hf_pool *pool)
{
    struct hf_file *file;
    int rc = hf_pool_grow(pool, self->bytes + MORE_BYTES);

    EXPECT(rc == 0 || rc == -ENOSPC || is_passing(rc));
    rc = hf_open(pool, "/", O_RDWR | O_TMPFILE, 0600, &file);
    EXPECT(rc == 0 || rc == -ENOSPC || is_passing(rc));
    if (rc == 0) {
        rc = hf_fallocate(file, 0, 0, MORE_BYTES / 2, NULL);
        EXPECT(rc == 0 || rc == -ENOSPC || is_passing(rc));
        usleep(PAUSE_US);
        EXPECT_EQ(hf_close(file), 0);
    }
    rc = hf_pool_shrink(pool, self->bytes, &test_nowait);
    EXPECT(rc == 0 || rc == -ENOSPC || is_passing(rc));
    self->done += rc == 0;
}

/* ---- all of them ---- */

static void (*const steps[])(struct companion *self, struct hf_pool *pool) = {
    [TRIMS] = trim_once, [COMPACTS] = compact_once, [RESIZES] = resize_once};

static void keep_on(void *arg)
{
    struct companion *self = arg;
    struct hf_pool *pool = test_pool_open(self->pool);

    test_raise(&self->ready, 1);
    while (!test_peek(&self->stop)) {
        steps[self - companions->each](self, pool);
        usleep(PAUSE_US);
    }
    test_pool_close(pool);
}

static pid_t start(enum kind kind, const char *pool, uint64_t bytes, bool has_run)
{
    struct companion *self;
    pid_t pid;

    if (!companions)
        companions = test_shared(sizeof(*companions));
    self = &companions->each[kind];
    *self = (struct companion){.pool = pool, .bytes = bytes, .has_run = has_run};
    pid = test_fork(keep_on, self);
    test_await(&self->ready, 1);
    return pid;
}

static uint64_t end(enum kind kind, pid_t pid)
{
    struct companion *self = &companions->each[kind];

    test_raise(&self->stop, 1);
    test_join(pid);
    EXPECT(self->done > 0); /* or it has shown nothing */
    return self->done;
}

pid_t test_trimmer(const char *pool)
{
    return start(TRIMS, pool, 0, false);
}

uint64_t test_trimmer_ends(pid_t pid)
{
    return end(TRIMS, pid);
}

pid_t test_compactor(const char *pool, bool has_run)
{
    return start(COMPACTS, pool, 0, has_run);
}

uint64_t test_compactor_ends(pid_t pid)
{
    return end(COMPACTS, pid);
}

pid_t test_resizer(const char *pool, uint64_t bytes)
{
    return start(RESIZES, pool, bytes, false);
}

uint64_t test_resizer_ends(pid_t pid)
{
    return end(RESIZES, pid);
}

void test_expect_trimmed(struct hf_pool *pool)
{
    struct hf_trim_result result = {.size = sizeof(result)};
    struct hf_pool_info info = {.size = sizeof(info)};
    uint64_t used;

    EXPECT_EQ(hf_pool_trim(pool, 0, &result), 0);
    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    if (strcmp(info.media, "tmpfs") != 0) /* else only whole runs go back */
        return;
    used = info.pool_bytes - info.free_bytes;
    if (info.resident_bytes != used && info.resident_bytes != used + TEST_PAGE)
        FAIL("%" PRIu64 " KiB of memory for %" PRIu64 " KiB that are not free",
             info.resident_bytes >> 10, used >> 10);
}
