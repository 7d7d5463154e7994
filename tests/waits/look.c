/* SPDX-License-Identifier: MIT */
/* What is in a pool at first, and what is seen of it. */
#include "waits.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

void waits_fill(struct hf_pool *pool)
{
    struct hf_file *file = test_file_filled(pool, "/a", 1, 6);

    EXPECT_EQ(hf_truncate(file, 5 * TEST_PAGE + 1000, &test_wait), 0);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_close(test_file_filled(pool, "/b", 2, 3)), 0);
    file = test_file(pool, "/c");
    for (uint64_t page = 0; page < 6; page += 2)
        test_write_pages(file, 3, page, 1);
    EXPECT_EQ(hf_truncate(file, 7 * TEST_PAGE, &test_wait), 0);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_mkdir(pool, "/dir", 0755), 0);
    EXPECT_EQ(hf_mkdir(pool, "/empty", 0755), 0);
    EXPECT_EQ(hf_close(test_file_filled(pool, "/dir/d", 4, 1)), 0);
    EXPECT_EQ(hf_close(test_file(pool, "/e")), 0);
    EXPECT_EQ(hf_symlink(pool, "b", "/link"), 0);
    EXPECT_EQ(hf_setxattr(pool, "/b", "user.x", "value", 5, 0), 0);
}

struct writer {
    char *text;
    size_t used;
    bool blocks, times;
};

static void put(struct writer *writer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void put(struct writer *writer, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    writer->used +=
        (size_t)vsnprintf(writer->text + writer->used, WAITS_PICTURE - writer->used, format, args);
    va_end(args);
    EXPECT(writer->used < WAITS_PICTURE);
}

static uint64_t hash_of(struct hf_pool *pool, const char *path)
{
    struct hf_file *file;
    uint64_t hash = 0, off = 0;
    char bytes[8 * 4096];
    ssize_t n;

    EXPECT_EQ(hf_open(pool, path, O_RDONLY, 0, &file), 0);
    while ((n = hf_read(file, bytes, sizeof(bytes), off)) > 0) {
        uint64_t word = 0;

        for (ssize_t i = 0; i < n; i += (ssize_t)sizeof(word)) {
            memcpy(&word, bytes + i,
                   n - i < (ssize_t)sizeof(word) ? (size_t)(n - i) : sizeof(word));
            hash = test_mix(hash, word);
        }
        off += (uint64_t)n;
    }
    EXPECT_OK(n);
    EXPECT_EQ(hf_close(file), 0);
    return hash;
}

static void put_attributes(struct hf_pool *pool, struct writer *writer, const char *path)
{
    char names[1024], value[1024];
    ssize_t len = hf_listxattr(pool, path, names, sizeof(names));

    EXPECT_OK(len);
    for (const char *name = names; name < names + len; name += strlen(name) + 1) {
        ssize_t n = hf_getxattr(pool, path, name, value, sizeof(value));
        uint64_t hash = 0;

        EXPECT_OK(n);
        for (ssize_t i = 0; i < n; i++)
            hash = test_mix(hash, (unsigned char)value[i]);
        put(writer, " %s %zd %" PRIx64, name, n, hash);
    }
}

static void put_entry(struct hf_pool *pool, struct writer *writer, const char *path)
{
    struct stat st;
    char target[256];
    ssize_t n;

    EXPECT_EQ(hf_stat(pool, path, HF_AT_NOFOLLOW, &st), 0);
    put(writer, "%s mode %o links %u owner %u %u", path, (unsigned)st.st_mode,
        (unsigned)st.st_nlink, st.st_uid, st.st_gid);
    if (writer->times)
        put(writer, " modified %ld.%09ld changed %ld.%09ld", (long)st.st_mtim.tv_sec,
            st.st_mtim.tv_nsec, (long)st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
    if (S_ISREG(st.st_mode)) {
        put(writer, " size %" PRIu64 " content %" PRIx64, (uint64_t)st.st_size,
            hash_of(pool, path));
        if (writer->blocks)
            put(writer, " blocks %" PRIu64, (uint64_t)st.st_blocks / 8);
    } else if (S_ISLNK(st.st_mode)) {
        n = hf_readlink(pool, path, target, sizeof(target));
        EXPECT_OK(n);
        put(writer, " to %.*s", (int)n, target);
    }
    if (!S_ISLNK(st.st_mode))
        put_attributes(pool, writer, path);
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

void waits_look(struct hf_pool *pool, bool blocks, bool times, char picture[WAITS_PICTURE])
{
    struct writer writer = {picture, 0, blocks, times};
    struct hf_pool_info info = {.size = sizeof(info)};

    put_entry(pool, &writer, "/");
    put_dir(pool, &writer, "");
    EXPECT_EQ(hf_pool_info(pool, &info), 0); /* which gives back what was left to others */
    put(&writer, "pool of %" PRIu64 ", %" PRIu64 " inodes, %u files and %u leases\n",
        info.pool_bytes, info.inodes, info.files, info.leases);
    if (blocks)
        put(&writer, "free %" PRIu64 " detached %" PRIu64 " shared %" PRIu64 " saved %" PRIu64 "\n",
            info.free_bytes, info.detached_bytes, info.shared_bytes, info.saved_bytes);
}

#define BLOCKS_MAX 65536u

static int mark_extent(void *arg, const struct hf_extent_info *info)
{
    bool *used = arg;
    uint64_t count = info->len / TEST_PAGE;

    EXPECT(info->block + count <= BLOCKS_MAX);
    memset(used + info->block, true, count);
    return 0;
}

void waits_account(struct hf_pool *pool)
{
    static bool used[BLOCKS_MAX];
    struct hf_pool_info info = {.size = sizeof(info)};
    uint64_t count = 0;

    memset(used, 0, sizeof(used));
    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    EXPECT_EQ(hf_extents(pool, 0, mark_extent, used), 0);
    for (unsigned i = 0; i < BLOCKS_MAX; i++)
        count += used[i];
    EXPECT_EQ((info.pool_bytes - info.free_bytes) / TEST_PAGE, count);
}
