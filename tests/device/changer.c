/* SPDX-License-Identifier: MIT */
/*
 * A changer: changes the holders' files, and takes what that has freed for stamped files of its
 * own, until no block is left. It alone writes those, so any other byte in them came from a device.
 */
#include "device.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PAGES 512 /* the most of a file: all files together more than the pool */
#define SOON_NS 2000000

struct stamped {
    struct hf_file *file;
    uint64_t stamp;
    unsigned pages;
};

struct changer {
    struct device *device;
    struct hf_pool *pool;
    struct test_rng rng;
    unsigned number;
    struct stamped files[DEVICE_FILES];
    struct hf_file *copies;
    struct device_written *written;
};

/* --- its own files --- */

static void path_of(const struct changer *changer, const struct stamped *mine, char path[64])
{
    snprintf(path, 64, "/stamped-%u-%u", changer->number, (unsigned)(mine - changer->files));
}

static void open_again(struct changer *changer, struct stamped *mine)
{
    char path[64];

    path_of(changer, mine, path);
    mine->stamp = test_random(&changer->rng);
    mine->pages = 0;
    test_put64(&changer->written->stamps[mine - changer->files], mine->stamp);
    EXPECT_EQ(device_open(changer->pool, path, O_RDWR | O_CREAT | O_EXCL, &mine->file), 0);
}

static void drop(struct changer *changer, struct stamped *mine)
{
    char path[64];

    path_of(changer, mine, path);
    EXPECT_EQ(hf_close(mine->file), 0);
    EXPECT_EQ(device_unlink(changer->pool, path), 0);
}

/* False: there is no block left. */
static bool append(struct changer *changer, struct stamped *mine)
{
    unsigned char page[TEST_PAGE];
    ssize_t rc;

    test_page_fill(page, mine->stamp, mine->pages);
    rc = hf_write(mine->file, page, sizeof(page), mine->pages * TEST_PAGE);
    if (rc == -ENOSPC)
        test_count64(&changer->device->full, 1);
    if (rc == -ENOSPC || rc == -EBUSY)
        return false;
    EXPECT_EQ(rc, sizeof(page));
    mine->pages++;
    return true;
}

static void fill(struct changer *changer, unsigned pages)
{
    unsigned at = (unsigned)test_below(&changer->rng, DEVICE_FILES);

    for (unsigned i = 0; i < DEVICE_FILES; i++) {
        struct stamped *mine = &changer->files[(at + i) % DEVICE_FILES];

        while (pages > 0 && mine->pages < PAGES) {
            if (!append(changer, mine))
                return;
            pages--;
        }
    }
}

static unsigned wrong_pages(const struct changer *changer, const struct stamped *mine)
{
    unsigned char page[TEST_PAGE];
    unsigned wrong = 0;

    for (unsigned i = 0; i < mine->pages; i++) {
        EXPECT_EQ(hf_read(mine->file, page, sizeof(page), i * TEST_PAGE), sizeof(page));
        if (test_page_is(page, mine->stamp, i) ||
            device_came_late(changer->device, page, sizeof(page)))
            continue;
        wrong++;
        if (!changer->device->leased || changer->device->broken)
            continue;
        for (unsigned byte = 0; byte < sizeof(page); byte += 512)
            fprintf(stderr, " %02x", page[byte]);
        FAIL("page %u of a file of changer %u was written by somebody else, see above", i,
             changer->number);
    }
    test_count64(&changer->device->checked, mine->pages);
    return wrong;
}

static void check(struct changer *changer, struct stamped *mine)
{
    unsigned wrong = wrong_pages(changer, mine);

    if (wrong == 0)
        return;
    test_count64(&changer->device->corrupt, wrong);
    drop(changer, mine);
    open_again(changer, mine);
}

/* What one that was killed has left: its files hold what it has written, and nothing else. */
static void check_left(struct changer *changer, struct stamped *mine)
{
    char path[64];
    int rc;

    path_of(changer, mine, path);
    rc = device_open(changer->pool, path, O_RDWR, &mine->file);
    if (rc == -ENOENT)
        return;
    EXPECT_EQ(rc, 0);
    EXPECT_EQ(test_size(mine->file) % TEST_PAGE, 0);
    mine->stamp = test_peek64(&changer->written->stamps[mine - changer->files]);
    mine->pages = (unsigned)(test_size(mine->file) / TEST_PAGE);
    EXPECT_EQ(wrong_pages(changer, mine), 0);
    drop(changer, mine);
}

/* --- the holders' files --- */

static int change(struct changer *changer, struct hf_file *file, const struct hf_policy *policy)
{
    static const uint32_t modes[] = {HF_FALLOC_PUNCH_HOLE, HF_FALLOC_COLLAPSE_RANGE,
                                     HF_FALLOC_ZERO_RANGE | HF_FALLOC_KEEP_SIZE};
    uint64_t size = test_size(file), pages = size / TEST_PAGE, first, count, kind;

    if (pages < 2)
        return hf_truncate(file, 0, policy);
    first = test_below(&changer->rng, pages - 1);
    count = 1 + test_below(&changer->rng, pages - 1 - first);
    kind = test_below(&changer->rng, 6);
    if (kind < 2)
        return hf_truncate(file, first * TEST_PAGE, policy);
    if (kind == 2)
        return hf_move(file, first * TEST_PAGE, count * TEST_PAGE, policy);
    return hf_fallocate(file, modes[kind - 3], first * TEST_PAGE, count * TEST_PAGE, policy);
}

static void hit(struct changer *changer)
{
    struct hf_policy policy = {.kind =
                                   1 + (uint32_t)test_below(&changer->rng, DEVICE_POLICIES - 1)};
    struct hf_file *file;
    char path[64];
    int rc;

    if (policy.kind == HF_POLICY_DEADLINE || policy.kind == HF_POLICY_DEADLINE_DETACH)
        policy.deadline_ns = test_below(&changer->rng, SOON_NS);
    device_file_path((unsigned)test_below(&changer->rng, DEVICE_HOLDERS),
                     (unsigned)test_below(&changer->rng, DEVICE_SLOTS), path);
    if (test_chance(&changer->rng, 20)) {
        rc = hf_unlink(changer->pool, path, &policy);
    } else {
        rc = device_open(changer->pool, path, O_RDWR, &file);
        if (rc == 0) {
            rc = change(changer, file, &policy);
            EXPECT_EQ(hf_close(file), 0);
        }
    }
    if (rc == -EBUSY || rc == -ETIMEDOUT)
        test_count64(&changer->device->refused[policy.kind], 1);
    else if (rc == 0)
        test_count64(&changer->device->changed[policy.kind], 1);
    else if (rc != -ENOENT && rc != -ENOSPC && rc != -EINVAL) /* it has gone, or shrunk */
        FAIL("a change with policy %u gave %d; %s", policy.kind, rc, hf_strerror_detail());
}

/* --- copies of their pages --- */

/* Perhaps those that one that was killed has left. */
static void open_copies(struct changer *changer)
{
    char path[64];

    snprintf(path, sizeof(path), "/copies-%u", changer->number);
    EXPECT_EQ(device_open(changer->pool, path, O_RDWR | O_CREAT, &changer->copies), 0);
}

static void drop_copies(struct changer *changer)
{
    char path[64];

    snprintf(path, sizeof(path), "/copies-%u", changer->number);
    EXPECT_EQ(hf_close(changer->copies), 0);
    EXPECT_EQ(device_unlink(changer->pool, path), 0);
}

static void check_copies(struct changer *changer)
{
    unsigned char page[HF_BLOCK_BYTES];

    for (unsigned i = 0; i < DEVICE_PAGES; i++) {
        if (!test_peek(&changer->written->there[i]))
            continue;
        EXPECT_EQ(hf_read(changer->copies, page, sizeof(page), i * TEST_PAGE), sizeof(page));
        test_count64(&changer->device->checked, 1);
        if (memcmp(page, changer->written->copies[i], sizeof(page)) == 0 ||
            device_came_late(changer->device, page, sizeof(page)))
            continue;
        test_count64(&changer->device->corrupt, 1);
        test_raise(&changer->written->there[i], 0);
        if (!changer->device->broken)
            FAIL("page %u of the copies of changer %u was written by somebody else", i,
                 changer->number);
    }
}

/* What the page holds now; the holder's device may be writing it. */
static bool copy_page(struct changer *changer, struct hf_file *file, unsigned at)
{
    unsigned char *page = changer->written->copies[at];
    ssize_t rc;

    test_raise(&changer->written->there[at], 0);
    rc = hf_read(file, page, HF_BLOCK_BYTES, at * TEST_PAGE);
    if (rc != HF_BLOCK_BYTES) /* it has been cut */
        return false;
    rc = hf_write(changer->copies, page, HF_BLOCK_BYTES, at * TEST_PAGE);
    EXPECT(rc == HF_BLOCK_BYTES || rc == -ENOSPC || rc == -EBUSY);
    test_raise(&changer->written->there[at], rc > 0);
    return rc > 0;
}

static void share(struct changer *changer)
{
    struct hf_dedup_result result = {.size = sizeof(result)};
    unsigned at = (unsigned)test_below(&changer->rng, DEVICE_PAGES);
    uint64_t off = at * TEST_PAGE;
    struct hf_file *file;
    char path[64];
    int rc = 0;

    device_file_path((unsigned)test_below(&changer->rng, DEVICE_HOLDERS),
                     (unsigned)test_below(&changer->rng, DEVICE_SLOTS), path);
    if (device_open(changer->pool, path, O_RDWR, &file) != 0)
        return;
    if (copy_page(changer, file, at))
        rc = test_chance(&changer->rng, 50)
                 ? hf_dedup_range(file, off, changer->copies, off, TEST_PAGE, &result)
                 : hf_dedup_range(changer->copies, off, file, off, TEST_PAGE, &result);
    EXPECT(rc == 0 || rc == -EINVAL || rc == -ENOSPC || rc == -EBUSY); /* it has been cut */
    test_count64(&changer->device->shared, result.shared_bytes / TEST_PAGE);
    test_count64(&changer->device->left_alone, result.held_bytes / TEST_PAGE);
    EXPECT_EQ(hf_close(file), 0);
}

void device_change(struct device *device, unsigned number)
{
    static struct changer changer;

    changer.device = device;
    changer.number = number;
    changer.rng.state =
        test_mix(device->seed + test_peek64(&device->changers_killed), 100 + number);
    changer.written = &device->written[number];
    changer.pool = device_pool_open();
    for (unsigned i = 0; i < DEVICE_FILES; i++) {
        check_left(&changer, &changer.files[i]);
        open_again(&changer, &changer.files[i]);
    }
    open_copies(&changer);
    check_copies(&changer);
    while (!test_peek(&device->stop)) {
        struct stamped *mine = &changer.files[test_below(&changer.rng, DEVICE_FILES)];

        hit(&changer);
        for (unsigned i = 0; device->leased && i < DEVICE_PAGES; i++)
            share(&changer);
        fill(&changer, test_chance(&changer.rng, 20) ? UINT32_MAX : DEVICE_PAGES);
        check(&changer, mine);
        check_copies(&changer);
        if (test_chance(&changer.rng, 30)) {
            drop(&changer, mine);
            open_again(&changer, mine);
            usleep((useconds_t)test_below(&changer.rng, 10000)); /* the holders need some of it */
        }
    }
    check_copies(&changer);
    drop_copies(&changer);
    for (unsigned i = 0; i < DEVICE_FILES; i++) {
        check(&changer, &changer.files[i]);
        drop(&changer, &changer.files[i]);
    }
    test_pool_close(changer.pool);
}
