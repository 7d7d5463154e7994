/* SPDX-License-Identifier: MIT */
/* The state of a pool as text; see picture.h. */
#include "picture.h"
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

void test_picture_put(struct test_picture *picture, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    picture->used += (size_t)vsnprintf(picture->text + picture->used, picture->room - picture->used,
                                       format, args);
    va_end(args);
    EXPECT(picture->used < picture->room);
}

static uint64_t hash_bytes(uint64_t hash, const char *bytes, size_t count)
{
    uint64_t word = 0;

    for (size_t i = 0; i < count; i += sizeof(word)) {
        memcpy(&word, bytes + i, count - i < sizeof(word) ? count - i : sizeof(word));
        hash = test_mix(hash, word);
    }
    return hash;
}

static void see_through_pin(struct hf_file *file, const char *page, size_t count, uint64_t off)
{
    struct iovec iov;
    struct hf_pin pin;
    int pieces = hf_pin(file, off, count, HF_PIN_NOFILL, &iov, 1, &pin);

    if (pieces == -ENODATA) /* a hole */
        return;
    EXPECT_EQ(pieces, 1);
    EXPECT(memcmp(iov.iov_base, page, count) == 0);
    EXPECT_EQ(hf_unpin(&pin), 0);
}

static uint64_t hash_content(const struct test_picture *picture, struct hf_pool *pool,
                             const char *path)
{
    struct hf_file *file;
    uint64_t hash = 0, off = 0;
    char page[TEST_PAGE];
    ssize_t n;

    EXPECT_EQ(hf_open(pool, path, O_RDONLY, 0, &file), 0);
    while ((n = hf_read(file, page, sizeof(page), off)) > 0) {
        if (picture->pins)
            see_through_pin(file, page, (size_t)n, off);
        hash = hash_bytes(hash, page, (size_t)n);
        off += (uint64_t)n;
    }
    EXPECT_OK(n);
    EXPECT_EQ(hf_close(file), 0);
    return hash;
}

static void put_xattrs(struct test_picture *picture, struct hf_pool *pool, const char *path)
{
    char names[1024], value[1024];
    ssize_t len = hf_listxattr(pool, path, names, sizeof(names));

    EXPECT_OK(len);
    for (const char *name = names; name < names + len; name += strlen(name) + 1) {
        ssize_t n = hf_getxattr(pool, path, name, value, sizeof(value));

        EXPECT_OK(n);
        test_picture_put(picture, " %s %zd %" PRIx64, name, n, hash_bytes(0, value, (size_t)n));
    }
}

static void put_name(struct test_picture *picture, struct hf_pool *pool, const char *path)
{
    struct stat st;
    char target[256];
    ssize_t n;

    EXPECT_EQ(hf_stat(pool, path, HF_AT_NOFOLLOW, &st), 0);
    test_picture_put(picture, "%s mode %o links %u owner %u %u", path, (unsigned)st.st_mode,
                     (unsigned)st.st_nlink, st.st_uid, st.st_gid);
    if (picture->times)
        test_picture_put(picture, " modified %ld.%09ld changed %ld.%09ld", (long)st.st_mtim.tv_sec,
                         st.st_mtim.tv_nsec, (long)st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
    if (S_ISREG(st.st_mode)) {
        test_picture_put(picture, " size %" PRIu64 " content %" PRIx64, (uint64_t)st.st_size,
                         hash_content(picture, pool, path));
        if (picture->blocks)
            test_picture_put(picture, " blocks %" PRIu64, (uint64_t)st.st_blocks / 8);
    } else if (S_ISLNK(st.st_mode)) {
        n = hf_readlink(pool, path, target, sizeof(target));
        EXPECT_OK(n);
        test_picture_put(picture, " to %.*s", (int)n, target);
    }
    if (!S_ISLNK(st.st_mode))
        put_xattrs(picture, pool, path);
    test_picture_put(picture, "\n");
}

static void put_below(struct test_picture *picture, struct hf_pool *pool, const char *path)
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
        put_name(picture, pool, below);
        if (S_ISDIR(entry.type))
            put_below(picture, pool, below);
    }
    EXPECT_EQ(rc, 0);
    EXPECT_EQ(hf_closedir(dir), 0);
}

void test_picture_names(struct test_picture *picture, struct hf_pool *pool)
{
    put_name(picture, pool, "/");
    put_below(picture, pool, "");
}
