/* SPDX-License-Identifier: MIT */
/* Calls on the pool as a whole. */
#include "waits.h"

#include "pool/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/compact.h>
#include <holdfast/put.h>

static long info(struct waits_call *call)
{
    struct hf_pool_info out = {.size = sizeof(out)};

    return hf_pool_info(call->pool, &out);
}

static long statvfs_it(struct waits_call *call)
{
    struct statvfs out;

    return hf_statvfs(call->pool, &out);
}

static long stats(struct waits_call *call)
{
    struct hf_stats out = {.size = sizeof(out)};

    return hf_stats(call->pool, &out);
}

static int pass_pin(void *arg, const struct hf_pin_info *pin)
{
    (void)arg, (void)pin;
    return 0;
}

static long pins(struct waits_call *call)
{
    return hf_pins(call->pool, pass_pin, NULL);
}

static int pass_extent(void *arg, const struct hf_extent_info *extent)
{
    (void)arg, (void)extent;
    return 0;
}

static long extents(struct waits_call *call)
{
    return hf_extents(call->pool, 0, pass_extent, NULL);
}

static void detach(struct waits_call *call)
{
    EXPECT_EQ(hf_truncate(call->file, 0, &test_detach), 0);
}

static long grow(struct waits_call *call)
{
    return hf_pool_grow(call->pool, 2 * WAITS_POOL_BYTES);
}

/* All of the file lies past the first size then. */
static void move_to_new_end(struct waits_call *call)
{
    struct hf_file *ballast;
    struct stat st;

    EXPECT_EQ(hf_open(call->pool, "/", O_RDWR | O_TMPFILE, 0600, &ballast), 0);
    EXPECT_EQ(hf_fallocate(ballast, 0, 0, test_free_bytes(call->pool), NULL), 0);
    EXPECT_EQ(grow(call), 0);
    EXPECT_EQ(hf_fstat(call->file, &st), 0);
    EXPECT_EQ(hf_move(call->file, 0, (uint64_t)st.st_size, &test_wait), 0);
    EXPECT_EQ(hf_close(ballast), 0);
}

static long shrink(struct waits_call *call)
{
    return hf_pool_shrink(call->pool, WAITS_POOL_BYTES, call->policy);
}

static long trim(struct waits_call *call)
{
    struct hf_trim_result out = {.size = sizeof(out)};

    return hf_pool_trim(call->pool, 0, &out);
}

static long register_it(struct waits_call *call)
{
    struct hf_pool_memory out = {.size = sizeof(out)};
    long rc = hf_pool_register(call->pool, HF_PIN_CPU, &out);

    call->registered += rc == 0;
    return rc;
}

/* Refused where the pool is on a disk. */
static void register_before(struct waits_call *call)
{
    (void)register_it(call);
}

static long unregister(struct waits_call *call)
{
    long rc = hf_pool_unregister(call->pool, HF_PIN_CPU);

    call->registered -= rc == 0;
    return rc;
}

static long memory_fd(struct waits_call *call)
{
    long rc = hf_pool_memory_fd(call->pool);

    return rc < 0 ? rc : 0; /* which number it has does not matter */
}

static long recall_fd(struct waits_call *call)
{
    long rc = hf_recall_fd(call->pool);

    return rc < 0 ? rc : 0;
}

static long held(struct waits_call *call)
{
    return hf_held(call->file, 0, 5 * TEST_PAGE);
}

/* From now on, all that is free goes back by itself, but for a block. What fails there is left to
 * later calls, and fails no call. */
static void trim_by_itself(struct waits_call *call)
{
    call->pool->fs.dax.shm->run->trim_above_blocks = 1;
}

static long truncate_all(struct waits_call *call)
{
    return hf_truncate(call->file, 0, &test_wait);
}

static long append_some(struct waits_call *call)
{
    return hf_append(call->file, "more", 4, NULL);
}

static long open_pool(struct waits_call *call)
{
    return hf_pool_open(test_path(WAITS_POOL), 0, &call->pool);
}

static long open_to_read(struct waits_call *call)
{
    return hf_pool_open(test_path(WAITS_POOL), HF_OPEN_RDONLY, &call->pool);
}

static long open_anonymous(struct waits_call *call)
{
    const struct hf_pool_options options = {.size = sizeof(options),
                                            .pool_bytes = WAITS_POOL_BYTES};
    struct hf_pool *pool;
    long rc = hf_pool_open_anonymous(&options, &pool);

    (void)call;
    return rc ? rc : hf_pool_close(pool);
}

static void make_dirty(struct waits_call *call)
{
    EXPECT_EQ(hf_append(call->file, "more", 4, NULL), 4);
    EXPECT_EQ(hf_close(call->file), 0);
    call->file = NULL;
}

static long close_pool(struct waits_call *call)
{
    long rc = hf_pool_close(call->pool);

    call->pool = rc ? call->pool : NULL;
    return rc;
}

#define A .file = "/a"

const struct waits_row waits_pool[] = {
    {"info", .act = info},
    {"statvfs", .act = statvfs_it},
    {"stats", .act = stats},
    {"pins", A, .others = WAITS_PINS, .act = pins},
    {"pins-detached", A, .others = WAITS_PINS, .prepare = detach, .act = pins},
    {"extents", .act = extents},
    {"grow", .alone = true, .act = grow},
    {"shrink", A, .leaves = WAITS_BLOCKS, .policies = true, .alone = true,
     .prepare = move_to_new_end, .act = shrink},
    {"trim", .alone = true, .act = trim},
    {"trim-detached", A, .others = WAITS_PINS, .alone = true, .prepare = detach, .act = trim},
    {"register", .alone = true, .act = register_it},
    {"unregister", .alone = true, .prepare = register_before, .act = unregister},
    {"memory-fd", .alone = true, .act = memory_fd},
    {"recall-fd", .alone = true, .act = recall_fd},
    {"held", A, .act = held},
    {"held-pinned", A, .others = WAITS_PINS, .act = held},
    {"truncate-trims", A, .alone = true, .prepare = trim_by_itself, .act = truncate_all},
    {"append-trims", A, .alone = true, .prepare = trim_by_itself, .act = append_some},
    {"open-pool", .attaches = true, .alone = true, .act = open_pool},
    {"open-pool-second", .others = WAITS_JOINS, .attaches = true, .alone = true, .act = open_pool},
    {"open-pool-reading", .attaches = true, .alone = true, .act = open_to_read},
    {"open-pool-reading-second", .others = WAITS_JOINS, .attaches = true, .alone = true,
     .act = open_to_read},
    {"open-anonymous", .act = open_anonymous},
    {"close-pool", .alone = true, .act = close_pool},
    {"close-pool-dirty", A, .alone = true, .prepare = make_dirty, .act = close_pool},
    {"close-pool-second", .others = WAITS_JOINS, .alone = true, .act = close_pool},
};
const unsigned waits_pool_count = sizeof(waits_pool) / sizeof(waits_pool[0]);
