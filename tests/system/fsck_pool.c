/* SPDX-License-Identifier: MIT */
#include "fsck_pool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define DEPTH_MAX 40

/* ------------------------------------------------------------------------------ making --- */

static const unsigned char acl[] = {2,   0,   0,   0,    1,   0,   7,    0,   255, 255, 255,
                                    255, 2,   0,   6,    0,   5,   0,    0,   0,   4,   0,
                                    5,   0,   255, 255,  255, 255, 0x10, 0,   7,   0,   255,
                                    255, 255, 255, 0x20, 0,   4,   0,    255, 255, 255, 255};

static void add(struct hf_pool *pool, const char *path, uint64_t stamp, uint64_t pages,
                uint64_t step)
{
    struct hf_file *file = test_file(pool, path);

    for (uint64_t page = 0; page < pages; page += step)
        test_write_pages(file, stamp, page, 1);
    EXPECT_EQ(hf_close(file), 0);
}

/* Shared blocks: clones of a part, of the whole and within a file, and a merge. Then blocks that a
 * pin holds after one of their files has lost them. */
static void share(struct hf_pool *pool)
{
    struct hf_dedup_result merged = {.size = sizeof(merged)};
    struct hf_file *big = test_file(pool, "/big"), *whole = test_file(pool, "/a/cloned");
    struct hf_file *one = test_file_filled(pool, "/c/one", 40, 6);
    struct hf_file *two = test_file_filled(pool, "/a/b/two", 40, 6);
    struct hf_file *held = test_file(pool, "/held");
    struct iovec iov[4];

    EXPECT_EQ(hf_clone_range(big, 0, whole, 0, 60 * TEST_PAGE, NULL), 0);
    EXPECT_EQ(hf_clone_range(big, 10 * TEST_PAGE, one, 8 * TEST_PAGE, 9 * TEST_PAGE, NULL), 0);
    EXPECT_EQ(hf_clone_range(two, 0, two, 10 * TEST_PAGE, 2 * TEST_PAGE, NULL), 0);
    test_write_pages(whole, 41, 20, 3);
    EXPECT_EQ(hf_dedup_range(one, 0, two, 0, 6 * TEST_PAGE, &merged), 0);
    EXPECT_EQ(merged.shared_bytes, 6 * TEST_PAGE);
    EXPECT_EQ(hf_clone_range(big, 40 * TEST_PAGE, held, 0, 5 * TEST_PAGE, NULL), 0);
    test_pin(held, 0, 3 * TEST_PAGE, HF_PIN_READ, iov, 4);
    EXPECT_EQ(hf_truncate(held, TEST_PAGE, &test_detach), 0);
    EXPECT_EQ(hf_close(big), 0);
    EXPECT_EQ(hf_close(whole), 0);
    EXPECT_EQ(hf_close(one), 0);
    EXPECT_EQ(hf_close(two), 0);
}

static void fill(void *arg)
{
    static const struct timespec times[2] = {{1000000000, 5}, {1100000000, 6}};
    struct hf_pool *pool = test_pool_open(FSCK_POOL);
    char path[64], big[5000];
    struct hf_file *file, *other;
    struct iovec iov[4];

    (void)arg;
    EXPECT_EQ(hf_mkdir(pool, "/a", 0755), 0);
    EXPECT_EQ(hf_mkdir(pool, "/a/b", 0750), 0);
    EXPECT_EQ(hf_mkdir(pool, "/a/b/deep", 0700), 0);
    EXPECT_EQ(hf_mkdir(pool, "/c", 01777), 0);
    EXPECT_EQ(hf_mkdir(pool, "/empty", 0711), 0);
    add(pool, "/big", 1, 60, 1);
    add(pool, "/a/holes", 2, 13, 2);
    add(pool, "/a/b/small", 3, 1, 1);
    add(pool, "/a/b/deep/two", 4, 2, 1);
    add(pool, "/c/sparse", 5, 40, 13);
    EXPECT_EQ(hf_link(pool, "/c/sparse", "/a/b/deep/linked"), 0);
    EXPECT_EQ(hf_link(pool, "/big", "/c/bigger"), 0);
    add(pool, "/nothing", 6, 0, 1);
    file = test_file_filled(pool, "/c/kept", 7, 3);
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_KEEP_SIZE, 3 * TEST_PAGE, 5 * TEST_PAGE, NULL), 0);
    EXPECT_EQ(hf_write(file, "tail", 4, 3 * TEST_PAGE), 4);
    EXPECT_EQ(hf_close(file), 0);
    for (unsigned i = 0; i < 12; i++) {
        snprintf(path, sizeof(path), "/c/a-longer-name-%02u", i);
        add(pool, path, 20 + i, 1 + i % 3, 1);
    }
    EXPECT_EQ(hf_symlink(pool, "../c/sparse", "/a/link"), 0);
    EXPECT_EQ(hf_symlink(pool, "/a/link", "/c/link2"), 0);
    EXPECT_EQ(hf_mknod(pool, "/a/fifo", S_IFIFO | 0600, 0), 0);
    EXPECT_EQ(hf_mknod(pool, "/a/device", S_IFCHR | 0600, makedev(1, 3)), 0);
    memset(big, 'x', sizeof(big));
    EXPECT_EQ(hf_setxattr(pool, "/a/holes", "user.small", "value", 5, 0), 0);
    EXPECT_EQ(hf_setxattr(pool, "/a/b", "user.big", big, sizeof(big), 0), 0);
    EXPECT_EQ(hf_setxattr(pool, "/c", "system.posix_acl_default", acl, sizeof(acl), 0), 0);
    EXPECT_EQ(hf_utimens(pool, "/a/b/small", times, 0), 0);
    share(pool);
    test_file_filled(pool, "/orphan", 8, 4);
    EXPECT_EQ(hf_unlink(pool, "/orphan", NULL), 0);
    other = test_file_filled(pool, "/pinned", 9, 6);
    test_pin(other, 0, 3 * TEST_PAGE, HF_PIN_READ, iov, 4);
    EXPECT_EQ(hf_truncate(other, TEST_PAGE, &test_detach), 0);
    EXPECT_EQ(hf_fsync(other), 0);
    _exit(0);
}

void fsck_pool_make(void)
{
    struct hf_pool_options options = {.size = sizeof(options),
                                      .pool_bytes = FSCK_POOL_BYTES,
                                      .max_processes = 3,
                                      .max_threads = 8,
                                      .max_files = 64,
                                      .max_leases = 16,
                                      .quarantine_ns = 1}; /* it is left without its segment */

    EXPECT_EQ(hf_pool_create(test_path(FSCK_POOL), &options), 0);
    test_join(test_fork(fill, NULL));
}

/* ----------------------------------------------------------------------------- looking --- */

static uint64_t hash_of(const void *bytes, size_t len, uint64_t hash)
{
    const unsigned char *at = bytes;

    for (size_t i = 0; i < len; i++)
        hash = (hash ^ at[i]) * UINT64_C(0x100000001b3);
    return hash;
}

static uint64_t hash_page(const unsigned char *page)
{
    uint64_t word, hash = 1;

    if (test_is_zero(page, TEST_PAGE))
        return 0;
    for (size_t i = 0; i < TEST_PAGE; i += sizeof(word)) {
        memcpy(&word, page + i, sizeof(word));
        hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 29;
    }
    return hash | 1;
}

struct looking {
    struct hf_pool *pool;
    struct seen *seen;
    int data;
    uint64_t block[SEEN_PAGES]; /* of seen->page */
    bool used[4096];
};

static int note_extent(void *arg, const struct hf_extent_info *info)
{
    struct looking *looking = arg;
    struct seen *seen = looking->seen;

    if (info->detached)
        return 0;
    for (uint64_t page = 0; page < info->len / TEST_PAGE; page++) {
        EXPECT(seen->pages < SEEN_PAGES);
        looking->block[seen->pages] = info->block + page;
        seen->page[seen->pages++].at = info->off / TEST_PAGE + page;
    }
    return 0;
}

/* The block, since it may lie past end of file. The library reads the same, as far as it can. */
static void look_at_page(const struct looking *looking, const struct seen_entry *entry,
                         struct hf_file *file, unsigned i)
{
    static unsigned char page[HF_BLOCK_BYTES], block[HF_BLOCK_BYTES];
    struct seen_page *to = &looking->seen->page[i];
    uint64_t off = to->at * TEST_PAGE, len = entry->size > off ? entry->size - off : 0;

    len = len < TEST_PAGE ? len : TEST_PAGE;
    EXPECT_EQ(pread(looking->data, block, sizeof(block), (off_t)(looking->block[i] * TEST_PAGE)),
              sizeof(block));
    EXPECT_EQ(hf_read(file, page, sizeof(page), off), len);
    EXPECT_EQ(memcmp(page, block, len), 0);
    to->hash = hash_page(block);
}

static void look_at_content(struct looking *looking, struct seen_entry *entry)
{
    struct seen *seen = looking->seen;
    struct hf_file *file;

    entry->first_page = seen->pages;
    EXPECT_EQ(hf_extents(looking->pool, entry->ino, note_extent, looking), 0);
    entry->pages = seen->pages - entry->first_page;
    EXPECT_EQ(hf_openat(looking->pool, entry->ino, "", O_RDWR, 0, &file), 0);
    for (unsigned i = 0; i < entry->pages; i++)
        look_at_page(looking, entry, file, entry->first_page + i);
    EXPECT_EQ(hf_close(file), 0);
}

static void look_at_words(struct hf_pool *pool, struct seen_entry *entry)
{
    char names[8192], value[70000];
    ssize_t len = hf_listxattrat(pool, entry->ino, "", names, sizeof(names)), got;

    EXPECT_OK(len);
    entry->words = 1;
    for (const char *name = names; name < names + len; name += strlen(name) + 1) {
        got = hf_getxattrat(pool, entry->ino, "", name, value, sizeof(value));
        EXPECT_OK(got);
        entry->words = hash_of(name, strlen(name), entry->words);
        entry->words = hash_of(value, (size_t)got, entry->words);
    }
    if (S_ISLNK(entry->mode)) {
        got = hf_readlinkat(pool, entry->ino, "", value, sizeof(value));
        EXPECT_OK(got);
        entry->words = hash_of(value, (size_t)got, entry->words);
    }
}

static void look_at_dir(struct looking *looking, uint64_t dir, const char *path, int depth);

static void look_at_entry(struct looking *looking, uint64_t dir, const char *path, const char *name,
                          int depth)
{
    struct seen *seen = looking->seen;
    struct seen_entry *entry = &seen->entries[seen->count++];
    struct stat st;

    EXPECT(seen->count < SEEN_ENTRIES);
    EXPECT((size_t)snprintf(entry->path, sizeof(entry->path), "%s/%s", path, name) <
           sizeof(entry->path));
    EXPECT_EQ(hf_statat(looking->pool, dir, name, HF_AT_NOFOLLOW, &st), 0);
    entry->ino = st.st_ino;
    entry->dir = dir;
    entry->mode = st.st_mode;
    entry->size = (uint64_t)st.st_size;
    entry->first_page = entry->pages = 0;
    look_at_words(looking->pool, entry);
    if (S_ISREG(st.st_mode)) {
        look_at_content(looking, entry);
        EXPECT_EQ(st.st_blocks, entry->pages * 8);
    } else if (S_ISDIR(st.st_mode)) {
        look_at_dir(looking, entry->ino, entry->path, depth + 1);
    }
}

static void look_at_dir(struct looking *looking, uint64_t dir, const char *path, int depth)
{
    struct hf_dirent entry;
    struct hf_dir *handle;
    int rc;

    EXPECT(depth < DEPTH_MAX);
    EXPECT_EQ(hf_opendirat(looking->pool, dir, "", &handle), 0);
    while ((rc = hf_readdir(handle, &entry)) == 1)
        if (strcmp(entry.name, ".") != 0 && strcmp(entry.name, "..") != 0)
            look_at_entry(looking, dir, path, entry.name, depth);
    EXPECT_EQ(rc, 0);
    EXPECT_EQ(hf_closedir(handle), 0);
}

/* A block that several extents have is one. */
static int count_blocks(void *arg, const struct hf_extent_info *info)
{
    struct looking *looking = arg;

    for (uint64_t block = info->block; block < info->block + info->len / TEST_PAGE; block++) {
        EXPECT(block < sizeof(looking->used));
        looking->seen->blocks += !looking->used[block];
        looking->used[block] = true;
    }
    return 0;
}

void fsck_pool_look(struct hf_pool *pool, struct seen *seen)
{
    struct looking looking = {
        .pool = pool, .seen = seen, .data = open(test_path(FSCK_POOL "/data"), O_RDONLY)};
    struct hf_pool_info info = {.size = sizeof(info)};

    EXPECT_OK(looking.data);

    seen->count = seen->pages = 0;
    seen->blocks = 0;
    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    EXPECT_EQ(hf_extents(pool, 0, count_blocks, &looking), 0);
    EXPECT_EQ(info.free_bytes + seen->blocks * TEST_PAGE, info.pool_bytes);
    look_at_dir(&looking, HF_ROOT_INO, "", 0);
    close(looking.data);
}

/* ------------------------------------------------------------------------------- using --- */

void fsck_pool_use(struct hf_pool *pool)
{
    struct hf_pool_info info = {.size = sizeof(info)};
    struct hf_file *file;
    uint64_t pages;

    EXPECT_EQ(hf_mkdir(pool, "/a new directory", 0700), 0);
    file = test_file(pool, "/a new directory/and a file");
    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    pages = info.free_bytes / TEST_PAGE < 5 ? info.free_bytes / TEST_PAGE : 5;
    test_write_pages(file, 77, 0, pages);
    test_expect_pages(file, 77, 0, pages);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_rename(pool, "/a new directory/and a file", "/renamed, it is", 0), 0);
    EXPECT_EQ(hf_link(pool, "/renamed, it is", "/a new directory/linked"), 0);
    EXPECT_EQ(hf_symlink(pool, "nowhere", "/a new link"), 0);
    test_remove_below(pool, HF_ROOT_INO);
    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    EXPECT_EQ(info.free_bytes, info.pool_bytes);
}
