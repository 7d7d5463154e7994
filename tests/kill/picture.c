/* SPDX-License-Identifier: MIT */
/* What a pool looks like, and that all of it works. */
#include "kill.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct writer {
    char *text;
    size_t used;
};

static void put(struct writer *writer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void put(struct writer *writer, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    writer->used +=
        (size_t)vsnprintf(writer->text + writer->used, KILL_PICTURE - writer->used, format, args);
    va_end(args);
    EXPECT(writer->used < KILL_PICTURE);
}

/* Read, and for whole pages seen through a pin: both say the same. */
static uint64_t hash_of(struct hf_pool *pool, const char *path)
{
    struct hf_file *file;
    uint64_t hash = 0, off = 0;
    char page[4096];
    ssize_t n;

    EXPECT_EQ(hf_open(pool, path, O_RDONLY, 0, &file), 0);
    while ((n = hf_read(file, page, sizeof(page), off)) > 0) {
        struct iovec iov;
        struct hf_pin pin;
        int count = hf_pin(file, off, (uint64_t)n, HF_PIN_NOFILL, &iov, 1, &pin);

        if (count != -ENODATA) {
            EXPECT_EQ(count, 1);
            EXPECT(memcmp(iov.iov_base, page, (size_t)n) == 0);
            EXPECT_EQ(hf_unpin(&pin), 0);
        }
        for (ssize_t i = 0; i < n; i++)
            hash = test_mix(hash, (unsigned char)page[i]);
        off += (uint64_t)n;
    }
    EXPECT_OK(n);
    EXPECT_EQ(hf_close(file), 0);
    return hash;
}

static void put_entry(struct hf_pool *pool, struct writer *writer, const char *path)
{
    char value[256];
    struct stat st;
    ssize_t n;

    EXPECT_EQ(hf_stat(pool, path, HF_AT_NOFOLLOW, &st), 0);
    put(writer, "%s mode %o links %u size %" PRIu64, path, (unsigned)st.st_mode,
        (unsigned)st.st_nlink, S_ISDIR(st.st_mode) ? UINT64_C(0) : (uint64_t)st.st_size);
    if (S_ISREG(st.st_mode)) {
        put(writer, " blocks %" PRIu64 " content %" PRIx64, (uint64_t)st.st_blocks / 8,
            hash_of(pool, path));
        n = hf_getxattr(pool, path, "user.x", value, sizeof(value));
        if (n >= 0)
            put(writer, " user.x %.*s", (int)n, value);
    } else if (S_ISLNK(st.st_mode)) {
        n = hf_readlink(pool, path, value, sizeof(value));
        EXPECT_OK(n);
        put(writer, " to %.*s", (int)n, value);
    }
    put(writer, "\n");
}

static void put_dir(struct hf_pool *pool, struct writer *writer, const char *path)
{
    struct hf_dirent entry;
    struct hf_dir *dir;
    char below[512];
    int rc;

    EXPECT_EQ(hf_opendir(pool, *path ? path : "/", &dir), 0);
    while ((rc = hf_readdir(dir, &entry)) > 0) {
        if (strcmp(entry.name, ".") == 0 || strcmp(entry.name, "..") == 0)
            continue;
        snprintf(below, sizeof(below), "%s/%.250s", path, entry.name);
        put_entry(pool, writer, below);
        if (S_ISDIR(entry.type))
            put_dir(pool, writer, below);
    }
    EXPECT_EQ(rc, 0);
    EXPECT_EQ(hf_closedir(dir), 0);
}

void kill_picture(struct hf_pool *pool, char picture[KILL_PICTURE])
{
    struct writer writer = {picture, 0};
    struct hf_pool_info info = {.size = sizeof(info)};

    memset(picture, 0, KILL_PICTURE);
    put_dir(pool, &writer, "");
    EXPECT_EQ(hf_pool_info(pool, &info), 0); /* last, since it looks what the dead have left */
    put(&writer, "a pool of %" PRIu64 "\n", info.pool_bytes);
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
        if (sum.detached == 0 && lost == 0)
            return;
        if (test_now_ns() > limit)
            FAIL("%" PRIu64 " blocks stay detached, %" PRIi64 " are neither free nor in a file",
                 sum.detached, lost);
        test_sleep_ms(2);
    }
}
