/* SPDX-License-Identifier: MIT */
/*
 * Operations on open files that change no layout: open with every flag, close, read, write,
 * append, seek, sync.
 */
#include "exercise.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static unsigned char buffer[8 * HF_HUGE_BYTES];

static void randomize(struct exercise *x, size_t len)
{
    uint64_t word = test_random(&x->rng);

    for (size_t i = 0; i < len; i += sizeof(word), word = word * 6364136223846793005u + 1)
        memcpy(buffer + i, &word, len - i < sizeof(word) ? len - i : sizeof(word));
    if (test_chance(&x->rng, 5))
        memset(buffer, 0, len);
}

static bool writes(const struct open_file *open)
{
    return (open->flags & O_ACCMODE) != O_RDONLY;
}

static bool reads(const struct open_file *open)
{
    return (open->flags & O_ACCMODE) != O_WRONLY;
}

static int choose_flags(struct exercise *x)
{
    static const int access[] = {O_RDWR, O_RDWR, O_RDWR, O_RDWR, O_RDONLY, O_WRONLY};
    int flags = access[test_below(&x->rng, 6)];

    if (test_chance(&x->rng, 60))
        flags |= O_CREAT;
    if (test_chance(&x->rng, 10))
        flags |= O_EXCL | O_CREAT;
    if (test_chance(&x->rng, 10) && (flags & O_ACCMODE) != O_RDONLY)
        flags |= O_TRUNC;
    if (test_chance(&x->rng, 8))
        flags |= O_APPEND;
    if (test_chance(&x->rng, 8))
        flags |= O_NOFOLLOW;
    if (test_chance(&x->rng, 30))
        flags |= O_CLOEXEC;
    return flags;
}

/* The one errno open() has for the place, or 0. */
static int open_error(const struct exercise *x, const struct model_place *place, int flags)
{
    const struct model_node *node = place->node;

    if (!node)
        return flags & O_CREAT ? 0 : ENOENT;
    if ((flags & O_CREAT) && (flags & O_EXCL))
        return EEXIST;
    if (S_ISLNK(node->mode))
        return ELOOP;
    if (S_ISDIR(node->mode))
        return EISDIR;
    if (!S_ISREG(node->mode))
        return ENXIO;
    if ((flags & O_TRUNC) && node->content.size > 0 && pins_overlap(x, node, 0, UINT64_MAX))
        return EDEADLK;
    return 0;
}

static void opened(struct exercise *x, struct open_file *open, struct model_place *place, int flags,
                   mode_t mode, struct moment moment)
{
    if (!place->node) {
        place->node = model_node_new(&x->model, place->dir, S_IFREG | mode);
        model_enter(place->dir, place->name, place->node);
        node_modified(x, place->dir, moment);
    }
    open->node = place->node;
    open->flags = flags;
    open->node->opens++;
    if (flags & O_TRUNC) {
        bool shrinks = open->node->content.size > 0;

        content_truncate(&open->node->content, 0);
        if (shrinks)
            node_modified(x, open->node, moment);
        else
            open->node->mtime_known = false;
    }
    node_compare(x, open->node);
}

static void run_open(struct exercise *x)
{
    struct open_file *open = choose_free_place(x);
    struct moment moment = moment_now();
    struct model_place place;
    char path[HF_SYMLINK_MAX + 1];
    mode_t mode = (mode_t)test_below(&x->rng, 010000);
    int flags = choose_flags(x), want, rc;

    if (!open) {
        file_close(x, &x->files[1 + test_below(&x->rng, EXERCISE_FILES - 1)]);
        return;
    }
    choose_path(x, path, sizeof(path));
    want = -model_resolve(&x->model, path, !(flags & O_NOFOLLOW) && !(flags & O_EXCL), &place);
    if (want == 0)
        want = open_error(x, &place, flags);
    note(x, "open %s flags %#o mode %#o", path, (unsigned)flags, (unsigned)mode);
    rc = hf_open(x->pool, path, flags, mode, &open->file);
    expect_one_of(x, rc, (int[]){want, 0});
    if (rc == 0)
        opened(x, open, &place, flags, mode, moment);
    else
        EXPECT(open->file == NULL);
}

void file_close(struct exercise *x, struct open_file *open)
{
    struct model_node *node = open->node;

    note(x, "close inode %" PRIu64, node->ino);
    node->opens--;
    if (node->opens == 0 && node->nlink == 0) {
        pins_detach(x, node, 0, UINT64_MAX);
        content_free(&node->content);
    }
    EXPECT_EQ(hf_close(open->file), 0);
    open->file = NULL;
    pins_compare(x, node);
}

static void run_close(struct exercise *x)
{
    struct open_file *open = choose_open(x);

    if (open && !open->node->window_pages)
        file_close(x, open);
}

static void run_read(struct exercise *x)
{
    struct open_file *open = choose_open(x);
    uint64_t off, len, size;
    ssize_t want;

    if (!open)
        return;
    choose_range(x, open->node, false, &off, &len);
    size = open->node->content.size;
    want = off >= size ? 0 : off + len > size ? (ssize_t)(size - off) : (ssize_t)len;
    note(x, "read inode %" PRIu64 " [%" PRIu64 ", +%" PRIu64 ")", open->node->ino, off, len);
    if (!reads(open)) {
        expect_one_of(x, hf_read(open->file, buffer, len, off), (int[]){EBADF, 0});
        return;
    }
    memset(buffer, 0xA5, len);
    EXPECT_EQ(hf_read(open->file, buffer, len, off), want);
    for (uint64_t i = (uint64_t)want; i < len; i++)
        EXPECT(buffer[i] == 0xA5);
    compare_range(x, open, off, len);
}

/* What all three ways to write have in common after the call. */
static void written(struct exercise *x, struct open_file *open, uint64_t off, uint64_t len,
                    ssize_t rc, struct moment moment)
{
    uint64_t pages = len / TEST_PAGE + 2;

    note_result(x, rc);
    if (rc == -ENOSPC && is_full(x, pages)) {
        node_relearn_blocks(x, open);
        return;
    }
    EXPECT_OK(rc);
    if ((uint64_t)rc != len && !is_full(x, pages))
        FAIL("only %zd of %" PRIu64 " bytes were written, and there is room", rc, len);
    EXPECT((uint64_t)rc <= len);
    content_write(&open->node->content, off, (size_t)rc, buffer);
    if ((uint64_t)rc < len)
        node_relearn_blocks(x, open);
    compare_range(x, open, off > TEST_PAGE ? off - TEST_PAGE : 0, (uint64_t)rc + 2 * TEST_PAGE);
    pins_compare(x, open->node);
    node_modified(x, open->node, moment);
}

static void run_write(struct exercise *x)
{
    struct open_file *open = choose_open(x);
    struct moment moment = moment_now();
    uint64_t off, len;
    ssize_t rc;

    if (!open)
        return;
    choose_range(x, open->node, false, &off, &len);
    randomize(x, len);
    note(x, "write inode %" PRIu64 " [%" PRIu64 ", +%" PRIu64 ") flags %#o", open->node->ino, off,
         len, (unsigned)open->flags);
    rc = hf_write(open->file, buffer, len, off);
    if (!writes(open)) {
        expect_one_of(x, rc, (int[]){EBADF, 0});
        return;
    }
    if (open->flags & O_APPEND)
        off = open->node->content.size;
    if (off >= HF_FILE_BYTES_MAX) {
        expect_one_of(x, rc, (int[]){EFBIG, 0});
        return;
    }
    if (off + len > HF_FILE_BYTES_MAX && rc == -EFBIG)
        return;
    if (off + len > HF_FILE_BYTES_MAX)
        len = HF_FILE_BYTES_MAX - off;
    written(x, open, off, len, rc, moment);
}

static void run_append(struct exercise *x)
{
    struct open_file *open = choose_open(x);
    struct moment moment = moment_now();
    uint64_t len = 1 + test_below(&x->rng, 3 * TEST_PAGE), off = 0;
    ssize_t rc;

    if (!open || open->node->window_pages || open->node->content.size + len > HF_FILE_BYTES_MAX)
        return;
    randomize(x, len);
    note(x, "append inode %" PRIu64 " %" PRIu64 " bytes", open->node->ino, len);
    rc = hf_append(open->file, buffer, len, &off);
    if (!writes(open)) {
        expect_one_of(x, rc, (int[]){EBADF, 0});
        return;
    }
    if (rc > 0)
        EXPECT_EQ(off, open->node->content.size);
    written(x, open, open->node->content.size, len, rc, moment);
}

static void run_seek(struct exercise *x)
{
    struct open_file *open = choose_open(x);
    bool data = test_chance(&x->rng, 50);
    uint64_t off, len, want = 0, got = 0;
    int rc;

    if (!open || open->node->window_pages)
        return;
    choose_range(x, open->node, false, &off, &len);
    rc = content_seek(&open->node->content, off, data, &want);
    note(x, "seek inode %" PRIu64 " %s after %" PRIu64, open->node->ino, data ? "data" : "hole",
         off);
    EXPECT_EQ(hf_seek(open->file, off, data ? HF_SEEK_DATA : HF_SEEK_HOLE, &got), rc);
    EXPECT_EQ(got, want);
}

static void run_sync(struct exercise *x)
{
    struct open_file *open = choose_open(x);

    if (!open)
        return;
    note(x, "sync inode %" PRIu64, open->node->ino);
    expect_one_of(x, hf_fsync(open->file), (int[]){0});
    node_compare(x, open->node);
}

static void run_misuse(struct exercise *x)
{
    struct open_file *open = choose_open(x);
    struct hf_file *file = NULL;
    uint64_t out = 0;

    if (!open || open->node->window_pages)
        return;
    note(x, "misuse");
    EXPECT_EQ(hf_seek(open->file, 0, SEEK_SET + 77, &out), -EINVAL);
    EXPECT_EQ(hf_read(open->file, buffer, 0, 0), reads(open) ? 0 : -EBADF);
    EXPECT_EQ(hf_open(x->pool, "/", O_RDONLY, 0, &file), -EISDIR);
    EXPECT_EQ(hf_open(x->pool, "/a", O_RDONLY | O_DIRECTORY | O_TMPFILE, 0, &file), -EINVAL);
    EXPECT_EQ(hf_open(x->pool, "", O_RDONLY, 0, &file), -ENOENT);
    node_compare(x, open->node);
}

const struct operation file_operations[] = {
    {"open", 90, run_open},    {"close", 30, run_close},   {"read", 50, run_read},
    {"write", 140, run_write}, {"append", 30, run_append}, {"seek", 30, run_seek},
    {"sync", 10, run_sync},    {"misuse", 3, run_misuse},  {NULL, 0, NULL},
};
