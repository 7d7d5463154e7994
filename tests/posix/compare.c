/* SPDX-License-Identifier: MIT */
/*
 * Comparing the pool with the model: bytes, sizes, holes, blocks, attributes, entries, links and
 * extended attributes.
 */
#include "exercise.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLACK_NS 20000000 /* the clock that stamps files may be a coarse one */

struct moment moment_now(void)
{
    struct moment moment;

    clock_gettime(CLOCK_REALTIME, &moment.before);
    return moment;
}

static int64_t nanoseconds(struct timespec t)
{
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

bool node_stat(struct exercise *x, const struct model_node *node, struct stat *st)
{
    char path[HF_SYMLINK_MAX + 1];

    for (size_t i = 0; i < EXERCISE_FILES; i++)
        if (x->files[i].file && x->files[i].node == node) {
            EXPECT_EQ(hf_fstat(x->files[i].file, st), 0);
            return true;
        }
    if (!model_path(&x->model, node, path, sizeof(path)))
        return false;
    EXPECT_EQ(hf_stat(x->pool, path, HF_AT_NOFOLLOW, st), 0);
    return true;
}

static void compare_times(struct model_node *node, const struct stat *st)
{
    if (node->mtime_known && nanoseconds(st->st_mtim) != nanoseconds(node->mtime))
        FAIL("mtime is %" PRId64 ", expected %" PRId64, nanoseconds(st->st_mtim),
             nanoseconds(node->mtime));
    if (node->atime_known && nanoseconds(st->st_atim) != nanoseconds(node->atime))
        FAIL("atime is %" PRId64 ", expected %" PRId64, nanoseconds(st->st_atim),
             nanoseconds(node->atime));
    if (nanoseconds(st->st_ctim) < nanoseconds(node->ctime))
        FAIL("ctime went back");
    node->mtime = st->st_mtim;
    node->mtime_known = true;
    node->ctime = st->st_ctim;
}

static void compare_stat(struct model_node *node, const struct stat *st)
{
    if (!node->ino)
        node->ino = st->st_ino;
    EXPECT_EQ(st->st_ino, node->ino);
    EXPECT_EQ(st->st_mode, node->mode);
    EXPECT_EQ(st->st_uid, node->uid);
    EXPECT_EQ(st->st_gid, node->gid);
    EXPECT_EQ(st->st_nlink, node->nlink);
    EXPECT_EQ(st->st_rdev, node->rdev);
    EXPECT_EQ(st->st_blksize, TEST_PAGE);
    if (S_ISREG(node->mode)) {
        EXPECT_EQ(st->st_size, node->content.size);
        EXPECT_EQ(st->st_blocks, node->content.count * (TEST_PAGE / 512));
    }
    if (S_ISLNK(node->mode))
        EXPECT_EQ(st->st_size, strlen(node->target));
    compare_times(node, st);
}

void node_compare(struct exercise *x, struct model_node *node)
{
    struct stat st;

    if (!node->window_pages && node_stat(x, node, &st))
        compare_stat(node, &st);
}

void node_modified(struct exercise *x, struct model_node *node, struct moment moment)
{
    int64_t earliest = nanoseconds(moment.before) - SLACK_NS, latest;
    struct stat st;

    if (node->window_pages || !node_stat(x, node, &st))
        return;
    latest = nanoseconds(moment_now().before) + SLACK_NS;
    if (nanoseconds(st.st_mtim) < earliest || nanoseconds(st.st_mtim) > latest ||
        nanoseconds(st.st_ctim) < earliest || nanoseconds(st.st_ctim) > latest)
        FAIL("the change left mtime at %" PRId64 " and ctime at %" PRId64 ", it is %" PRId64,
             nanoseconds(st.st_mtim), nanoseconds(st.st_ctim), latest - SLACK_NS);
    node->mtime_known = false;
    compare_stat(node, &st);
}

void compare_range(struct exercise *x, struct open_file *open, uint64_t off, uint64_t len)
{
    static unsigned char got[64 * HF_BLOCK_BYTES], want[sizeof(got)];
    const struct model_node *node = open->node;
    uint64_t from = node->window_first * TEST_PAGE, size = node->content.size, end;

    (void)x;
    if (node->window_pages)
        size = from + node->window_pages * TEST_PAGE;
    end = off + len < size ? off + len : size;
    off = off > from ? off : from;
    if ((open->flags & O_ACCMODE) == O_WRONLY)
        return;
    while (off < end) {
        size_t piece = end - off < sizeof(got) ? (size_t)(end - off) : sizeof(got);

        EXPECT_EQ(hf_read(open->file, got, piece, off), piece);
        content_read(&node->content, off, piece, want);
        for (size_t i = 0; i < piece; i++)
            if (got[i] != want[i])
                FAIL("byte %" PRIu64 " of inode %" PRIu64 " is %#x, expected %#x", off + i,
                     node->ino, got[i], want[i]);
        off += piece;
    }
}

/* Data and holes from `at` to `end` lie where the model has them. */
static void compare_map(struct open_file *open, uint64_t at, uint64_t end)
{
    bool data = false;

    for (;;) {
        uint64_t got = 0, want = 0;
        int rc = content_seek(&open->node->content, at, data, &want);

        if (rc == 0 && want >= end)
            return;
        if (rc != 0 && end < open->node->content.size)
            return;
        EXPECT_EQ(hf_seek(open->file, at, data ? HF_SEEK_DATA : HF_SEEK_HOLE, &got), rc);
        if (rc != 0)
            return;
        if (got != want)
            FAIL("after %" PRIu64 " of inode %" PRIu64 " the next %s is at %" PRIu64
                 ", expected %" PRIu64,
                 at, open->node->ino, data ? "data" : "hole", got, want);
        at = got;
        data = !data;
    }
}

/* Every page that has a block, and the ends of the holes between them. */
static void compare_bytes(struct exercise *x, struct open_file *open, uint64_t first, uint64_t end)
{
    const struct model_content *content = &open->node->content;
    uint64_t at = first;

    for (size_t i = 0; i < content->count; i++) {
        uint64_t page = content->pages[i].index;

        if (page < first || page >= end)
            continue;
        if (page > at) {
            compare_range(x, open, at * TEST_PAGE, TEST_PAGE);
            compare_range(x, open, (page - 1) * TEST_PAGE, TEST_PAGE);
        }
        compare_range(x, open, page * TEST_PAGE, TEST_PAGE);
        at = page + 1;
    }
    compare_range(x, open, at * TEST_PAGE, TEST_PAGE);
}

void compare_file(struct exercise *x, struct open_file *open)
{
    const struct model_node *node = open->node;
    uint64_t pages = (node->content.size + TEST_PAGE - 1) / TEST_PAGE;

    if (node->window_pages) {
        uint64_t end = node->window_first + node->window_pages;

        compare_bytes(x, open, node->window_first, end);
        compare_map(open, node->window_first * TEST_PAGE, end * TEST_PAGE);
        return;
    }
    compare_bytes(x, open, 0, pages);
    compare_map(open, 0, node->content.size);
    node_compare(x, open->node);
}

struct learning {
    struct model_content *content;
    struct model_content fresh;
};

static int learn_extent(void *arg, const struct hf_extent_info *info)
{
    struct learning *learning = arg;
    unsigned char page[TEST_PAGE];

    if (info->detached)
        return 0;
    for (uint64_t off = info->off; off < info->off + info->len; off += TEST_PAGE) {
        content_read(learning->content, off, sizeof(page), page);
        content_write(&learning->fresh, off, sizeof(page), page);
    }
    return 0;
}

void node_relearn_blocks(struct exercise *x, struct open_file *open)
{
    struct model_node *node = open->node;
    struct learning learning = {.content = &node->content};

    if (node->window_pages)
        FAIL("the pool of a shared run is too small");
    EXPECT_EQ(hf_extents(x->pool, node->ino, learn_extent, &learning), 0);
    learning.fresh.size = node->content.size;
    content_free(&node->content);
    node->content = learning.fresh;
    node->mtime_known = false;
    pins_settle(x, node);
    compare_file(x, open);
}

static void compare_entry(const struct hf_dirent *got, const char *name,
                          const struct model_node *node)
{
    if (strcmp(got->name, name) != 0)
        FAIL("readdir gave \"%s\", expected \"%s\"", got->name, name);
    EXPECT_EQ(got->type, node->mode & S_IFMT);
    if (node->ino)
        EXPECT_EQ(got->ino, node->ino);
}

static void compare_dir(struct exercise *x, struct model_node *node, const char *path)
{
    struct hf_dir *dir = NULL;
    struct hf_dirent entry;

    EXPECT_EQ(hf_opendir(x->pool, path, &dir), 0);
    EXPECT_EQ(hf_readdir(dir, &entry), 1);
    compare_entry(&entry, ".", node);
    EXPECT_EQ(hf_readdir(dir, &entry), 1);
    compare_entry(&entry, "..", node->parent);
    for (size_t i = 0; i < node->entry_count; i++) {
        EXPECT_EQ(hf_readdir(dir, &entry), 1);
        compare_entry(&entry, node->entries[i].name, node->entries[i].node);
    }
    EXPECT_EQ(hf_readdir(dir, &entry), 0);
    EXPECT_EQ(hf_readdir(dir, &entry), 0);
    EXPECT_EQ(hf_closedir(dir), 0);
}

static void compare_link(struct exercise *x, const struct model_node *node, const char *path)
{
    char target[HF_SYMLINK_MAX + 1];
    size_t len = strlen(node->target);

    EXPECT_EQ(hf_readlink(x->pool, path, target, sizeof(target)), len);
    if (memcmp(target, node->target, len) != 0)
        FAIL("the link has another target");
    EXPECT_EQ(hf_readlink(x->pool, path, target, (len + 1) / 2), (len + 1) / 2);
}

static void compare_xattrs(struct exercise *x, struct model_node *node, const char *path)
{
    static char value[HF_XATTR_VALUE_MAX], list[HF_XATTR_VALUE_MAX];
    ssize_t len = hf_listxattr(x->pool, path, list, sizeof(list));
    size_t names = 0;

    EXPECT_OK(len);
    EXPECT_EQ(hf_listxattr(x->pool, path, NULL, 0), len);
    for (const char *name = list; name < list + len; name += strlen(name) + 1, names++) {
        struct model_xattr *xattr = model_xattr_find(node, name);

        if (!xattr)
            FAIL("an attribute \"%s\" came from nowhere", name);
        EXPECT_EQ(hf_getxattr(x->pool, path, name, NULL, 0), xattr->len);
        EXPECT_EQ(hf_getxattr(x->pool, path, name, value, sizeof(value)), xattr->len);
        EXPECT(memcmp(value, xattr->value, xattr->len) == 0);
    }
    EXPECT_EQ(names, node->xattr_count);
}

static void compare_regular(struct exercise *x, struct model_node *node, const char *path)
{
    struct open_file open = {.node = node, .flags = O_RDONLY};

    EXPECT_EQ(hf_open(x->pool, path, O_RDONLY, 0, &open.file), 0);
    compare_file(x, &open);
    EXPECT_EQ(hf_close(open.file), 0);
}

static void compare_tree(struct exercise *x, struct model_node *node, char *path, size_t used)
{
    const char *name = used ? path : "/";
    struct stat st;

    EXPECT_EQ(hf_stat(x->pool, name, HF_AT_NOFOLLOW, &st), 0);
    if (x->alone || used > 0) {
        compare_stat(node, &st);
        if (S_ISDIR(node->mode))
            compare_dir(x, node, name);
    }
    if (S_ISREG(node->mode))
        compare_regular(x, node, name);
    if (S_ISLNK(node->mode))
        compare_link(x, node, name);
    else
        compare_xattrs(x, node, name);
    for (size_t i = 0; S_ISDIR(node->mode) && i < node->entry_count; i++) {
        int more = snprintf(path + used, HF_SYMLINK_MAX + 1 - used, "/%s", node->entries[i].name);

        compare_tree(x, node->entries[i].node, path, used + (size_t)more);
        path[used] = '\0';
    }
}

/* Every block is free, detached or in files that somebody can still reach. */
static void compare_space(struct exercise *x)
{
    struct hf_pool_info info = {.size = sizeof(info)};
    uint64_t blocks = x->blocks_at_start;
    bool pinned = false;

    for (struct model_node *node = x->model.all; node; node = node->next)
        if (node->nlink > 0 || node->opens > 0)
            blocks += node->content.count;
    for (size_t i = 0; i < EXERCISE_PINS; i++)
        pinned |= x->pins[i].node != NULL;
    EXPECT_EQ(hf_pool_info(x->pool, &info), 0);
    blocks -= info.saved_bytes / TEST_PAGE;
    if ((info.pool_bytes - info.free_bytes - info.detached_bytes) / TEST_PAGE != blocks)
        FAIL("%" PRIu64 " blocks are in use (%" PRIu64 " detached), expected %" PRIu64,
             (info.pool_bytes - info.free_bytes - info.detached_bytes) / TEST_PAGE,
             info.detached_bytes / TEST_PAGE, blocks);
    if (!pinned)
        EXPECT_EQ(info.detached_bytes, 0);
}

void compare_all(struct exercise *x)
{
    char path[HF_SYMLINK_MAX + 1] = "";

    note(x, "compare all");
    pins_compare(x, NULL);
    for (size_t i = 0; i < EXERCISE_FILES; i++)
        if (x->files[i].file && (x->files[i].flags & O_ACCMODE) != O_WRONLY)
            compare_file(x, &x->files[i]);
    compare_tree(x, x->model.root, path, 0);
    if (x->alone)
        compare_space(x);
}
