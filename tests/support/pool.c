/* SPDX-License-Identifier: MIT */
/*
 * Pools and files of tests: made, filled with content that names its owner, compared. A page of
 * stamp S at index P differs from every other page in every word. So a block that went to the wrong
 * file shows wherever it is looked at.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/serve.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const struct hf_policy test_wait = {.kind = HF_POLICY_WAIT};
const struct hf_policy test_nowait = {.kind = HF_POLICY_NOWAIT};
const struct hf_policy test_detach = {.kind = HF_POLICY_DETACH};

struct hf_policy test_deadline_ms(uint64_t ms)
{
    return (struct hf_policy){.kind = HF_POLICY_DEADLINE, .deadline_ns = ms * 1000000};
}

struct hf_policy test_deadline_detach_ms(uint64_t ms)
{
    return (struct hf_policy){.kind = HF_POLICY_DEADLINE_DETACH, .deadline_ns = ms * 1000000};
}

void test_pool_create(const char *name, uint64_t pool_bytes)
{
    struct hf_pool_options options = {.size = sizeof(options), .pool_bytes = pool_bytes};

    EXPECT_EQ(hf_pool_create(test_path(name), &options), 0);
}

/* A pool on a disk has its run segment in /dev/shm, where only its last process removes it. */
void test_note_segment(struct hf_pool *pool)
{
    struct hf_pool_info info = {.size = sizeof(info)};
    char path[64] = TEST_SEGMENT_PREFIX;
    FILE *list = fopen(test_path(TEST_SEGMENT_LIST), "ae");

    EXPECT(list != NULL);
    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    for (unsigned i = 0; i < sizeof(info.uuid); i++)
        sprintf(path + strlen(TEST_SEGMENT_PREFIX) + 2 * i, "%02x", info.uuid[i]);
    fprintf(list, "%s-*\n", path);
    fclose(list);
}

struct hf_pool *test_pool_open(const char *name)
{
    struct hf_pool *pool = NULL;

    EXPECT_EQ(hf_pool_open(test_path(name), 0, &pool), 0);
    if (strncmp(test_folder(), "/dev/shm/", 9) != 0)
        test_note_segment(pool);
    return pool;
}

struct hf_pool *test_pool_new(const char *name, uint64_t pool_bytes)
{
    test_pool_create(name, pool_bytes);
    return test_pool_open(name);
}

void test_pool_close(struct hf_pool *pool)
{
    EXPECT_EQ(hf_pool_close(pool), 0);
}

static void show_problem(void *arg, const char *sentence)
{
    (void)arg;
    fprintf(stderr, "fsck: %s\n", sentence);
}

void test_pool_check(const char *name)
{
    struct hf_check_result result = {.size = sizeof(result)};

    EXPECT_EQ(hf_pool_check(test_path(name), 0, show_problem, NULL, NULL, &result), 0);
    EXPECT_EQ(result.problems, 0);
}

uint64_t test_free_bytes(struct hf_pool *pool)
{
    struct hf_pool_info info = {.size = sizeof(info)};

    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    return info.free_bytes;
}

uint64_t test_resident_bytes(struct hf_pool *pool)
{
    struct hf_pool_info info = {.size = sizeof(info)};

    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    return info.resident_bytes;
}

struct hf_file *test_file(struct hf_pool *pool, const char *path)
{
    struct hf_file *file = NULL;

    EXPECT_EQ(hf_open(pool, path, O_RDWR | O_CREAT, 0644, &file), 0);
    return file;
}

struct hf_file *test_file_filled(struct hf_pool *pool, const char *path, uint64_t stamp,
                                 uint64_t pages)
{
    struct hf_file *file = test_file(pool, path);

    test_write_pages(file, stamp, 0, pages);
    return file;
}

uint64_t test_size(struct hf_file *file)
{
    struct stat st;

    EXPECT_EQ(hf_fstat(file, &st), 0);
    return (uint64_t)st.st_size;
}

void test_page_fill(void *page, uint64_t stamp, uint64_t index)
{
    uint64_t *words = page;
    uint64_t base = test_mix(stamp, index) | 1;

    for (size_t i = 0; i < TEST_PAGE / sizeof(*words); i++)
        words[i] = base + i * UINT64_C(0x0001000000000000);
}

bool test_page_is(const void *page, uint64_t stamp, uint64_t index)
{
    uint64_t want[TEST_PAGE / sizeof(uint64_t)];

    test_page_fill(want, stamp, index);
    return memcmp(page, want, sizeof(want)) == 0;
}

bool test_is_zero(const void *bytes, size_t len)
{
    const unsigned char *byte = bytes;

    return len == 0 || (byte[0] == 0 && memcmp(byte, byte + 1, len - 1) == 0);
}

void test_write_pages(struct hf_file *file, uint64_t stamp, uint64_t first, uint64_t count)
{
    uint64_t page[TEST_PAGE / sizeof(uint64_t)];

    for (uint64_t i = first; i < first + count; i++) {
        test_page_fill(page, stamp, i);
        EXPECT_EQ(hf_write(file, page, sizeof(page), i * TEST_PAGE), sizeof(page));
    }
}

void test_expect_pages(struct hf_file *file, uint64_t stamp, uint64_t first, uint64_t count)
{
    uint64_t page[TEST_PAGE / sizeof(uint64_t)];

    for (uint64_t i = first; i < first + count; i++) {
        EXPECT_EQ(hf_read(file, page, sizeof(page), i * TEST_PAGE), sizeof(page));
        if (!test_page_is(page, stamp, i))
            FAIL("page %" PRIu64 " is not what was written there", i);
    }
}

unsigned test_wrong_pages(struct hf_file *file, uint64_t stamp, uint64_t pages)
{
    unsigned char page[TEST_PAGE];
    unsigned wrong = 0;

    for (uint64_t i = 0; i < pages; i++) {
        EXPECT_EQ(hf_read(file, page, sizeof(page), i * TEST_PAGE), sizeof(page));
        wrong += !test_page_is(page, stamp, i);
    }
    return wrong;
}

uint64_t test_fill_pool(struct hf_file *file, uint64_t stamp, uint64_t pages)
{
    unsigned char page[TEST_PAGE];
    ssize_t rc;

    do {
        test_page_fill(page, stamp, pages);
        rc = hf_write(file, page, sizeof(page), pages * TEST_PAGE);
        pages += rc > 0;
    } while (rc > 0);
    EXPECT_EQ(rc, -ENOSPC);
    return pages;
}

void test_expect_zeros(struct hf_file *file, uint64_t off, uint64_t len)
{
    unsigned char bytes[TEST_PAGE];

    while (len > 0) {
        size_t piece = len < sizeof(bytes) ? (size_t)len : sizeof(bytes);

        EXPECT_EQ(hf_read(file, bytes, piece, off), piece);
        if (!test_is_zero(bytes, piece))
            FAIL("not all zero in the %zu bytes at %" PRIu64, piece, off);
        off += piece;
        len -= piece;
    }
}

static void expect_pieces(int pieces, uint64_t len, const struct iovec *iov, int iovcnt)
{
    uint64_t sum = 0;

    EXPECT_OK(pieces);
    EXPECT(pieces >= 1 && pieces <= iovcnt);
    for (int i = 0; i < pieces; i++)
        sum += iov[i].iov_len;
    EXPECT_EQ(sum, len);
}

struct hf_pin test_pin(struct hf_file *file, uint64_t off, uint64_t len, uint32_t flags,
                       struct iovec *iov, int iovcnt)
{
    struct hf_pin pin;

    expect_pieces(hf_pin(file, off, len, flags, iov, iovcnt, &pin), len, iov, iovcnt);
    return pin;
}

struct hf_lease test_lease(struct hf_file *file, uint64_t off, uint64_t len,
                           const struct hf_lease_options *options, struct iovec *iov, int iovcnt)
{
    struct hf_lease lease;

    expect_pieces(hf_lease(file, off, len, options, iov, iovcnt, &lease), len, iov, iovcnt);
    return lease;
}

struct counting {
    uint32_t state;
    unsigned count;
};

static int count_pin(void *arg, const struct hf_pin_info *info)
{
    struct counting *counting = arg;

    counting->count += info->state == counting->state;
    return 0;
}

unsigned test_pins_in_state(struct hf_pool *pool, uint32_t state)
{
    struct counting counting = {.state = state};

    EXPECT_EQ(hf_pins(pool, count_pin, &counting), 0);
    return counting.count;
}

void test_await_waiting(struct hf_pool *pool, unsigned count)
{
    uint64_t limit = test_now_ns() + TEST_PATIENCE_NS;

    while (test_pins_in_state(pool, HF_PIN_WAITING) < count) {
        if (test_now_ns() > limit)
            FAIL("no layout change is waiting");
        test_sleep_ms(1);
    }
}

void test_remove_below(struct hf_pool *pool, uint64_t dir)
{
    struct hf_dirent entry;
    struct hf_dir *handle;
    struct stat st;

    EXPECT_EQ(hf_opendirat(pool, dir, "", &handle), 0);
    while (hf_readdir(handle, &entry) == 1) {
        if (strcmp(entry.name, ".") == 0 || strcmp(entry.name, "..") == 0)
            continue;
        EXPECT_EQ(hf_statat(pool, dir, entry.name, HF_AT_NOFOLLOW, &st), 0);
        if (!S_ISDIR(st.st_mode)) {
            EXPECT_EQ(hf_unlinkat(pool, dir, entry.name, NULL), 0);
            continue;
        }
        test_remove_below(pool, st.st_ino);
        EXPECT_EQ(hf_rmdirat(pool, dir, entry.name), 0);
    }
    EXPECT_EQ(hf_closedir(handle), 0);
}
