/* SPDX-License-Identifier: MIT */
/*
 * A look at a file reads its record, and then what its vnode knows better. Between the two another
 * file takes its name, or it is deleted. The look finds the old file or the new one, or none. It
 * never finds a size that the file did not have, such as the recorded one of a file that was open.
 */
#include "support.h"

#include "base/lab.h"

#include <holdfast/serve.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define OLD_BYTES 3000
#define NEW_BYTES 300
#define POINTS 3u
#define FILES 4u

static struct hf_pool *pool;
static struct hf_file *open_file; /* the old file, while it is open */
static struct hf_pin pin;         /* of the old file, when its blocks are detached */
static void (*meanwhile)(void);
/* A look has up to POINTS points: before it looks for the vnode, before it reads it, and after. */
static uint32_t points, stops_at, last_stop;

/* In two parts: the second has a block already, and is not recorded while the file is open. */
static struct hf_file *made(const char *path, size_t bytes)
{
    static char content[OLD_BYTES];
    struct hf_file *file = test_file(pool, path);
    uint64_t at;

    EXPECT_EQ(hf_append(file, content, 1, &at), 1);
    EXPECT_EQ(hf_append(file, content, bytes - 1, &at), (ssize_t)bytes - 1);
    return file;
}

static void at_point(enum hf_lab_point point)
{
    if (point != HF_LAB_OVERLAYS || ++points < stops_at)
        return;
    hf_lab_stepped = points < last_stop;
    meanwhile();
}

static void is_closed(void)
{
    if (open_file)
        EXPECT_EQ(hf_close(open_file), 0);
    open_file = NULL;
}

static void is_replaced(void)
{
    EXPECT_EQ(hf_rename(pool, "/new", "/file", 0), 0);
    is_closed();
}

static void is_closed_and_replaced(void)
{
    is_closed();
    is_replaced();
}

static void is_deleted(void)
{
    EXPECT_EQ(hf_unlink(pool, "/file", NULL), 0);
    is_closed();
}

static void is_closed_and_deleted(void)
{
    is_closed();
    is_deleted();
}

/* Its vnode stays, for what is detached. */
static void is_detached(void)
{
    struct iovec iov;

    if (!open_file)
        open_file = test_file(pool, "/file");
    pin = test_pin(open_file, 0, OLD_BYTES, HF_PIN_READ, &iov, 1);
    is_closed();
    EXPECT_EQ(hf_unlink(pool, "/file", &test_detach), 0);
}

static const struct {
    const char *name;
    void (*meanwhile)(void);
    int left; /* a look that does not find the old file: 0: finds the new one; or its error */
} cases[] = {
    {"is closed", is_closed, 0},
    {"is replaced", is_replaced, 0},
    {"is closed and replaced", is_closed_and_replaced, 0},
    {"is deleted", is_deleted, -ENOENT},
    {"is closed and deleted", is_closed_and_deleted, -ENOENT},
    {"is detached", is_detached, -ENOENT},
};

static int look(uint64_t ino, bool by_inode, struct stat *st)
{
    int rc;

    points = 0;
    hf_lab_stepped = true;
    rc = by_inode ? hf_statat(pool, ino, "", 0, st) : hf_stat(pool, "/file", 0, st);
    EXPECT(!hf_lab_stepped);
    return rc;
}

static void one(unsigned i, bool was_open, bool by_inode)
{
    struct stat before, st = {0};
    int rc, gone = by_inode ? -ESTALE : cases[i].left;

    open_file = made("/file", OLD_BYTES);
    EXPECT_EQ(hf_fstat(open_file, &before), 0);
    if (!was_open)
        is_closed();
    EXPECT_EQ(hf_close(made("/new", NEW_BYTES)), 0);
    meanwhile = cases[i].meanwhile;
    rc = look(before.st_ino, by_inode, &st);
    if (rc == 0 && st.st_ino == before.st_ino ? st.st_size != OLD_BYTES
                                              : rc != gone || (rc == 0 && st.st_size != NEW_BYTES))
        FAIL("the file %s, %s, at point %u, by its %s: %d, inode %ju of %jd bytes (it was %ju)",
             cases[i].name, was_open ? "open" : "not open", stops_at, by_inode ? "inode" : "name",
             rc, (uintmax_t)st.st_ino, (intmax_t)st.st_size, (uintmax_t)before.st_ino);
    if (meanwhile == is_detached)
        EXPECT_EQ(hf_unpin(&pin), 0);
    hf_unlink(pool, "/file", NULL);
    hf_unlink(pool, "/new", NULL);
}

static void all_cases(void)
{
    test_pool_create("pool", TEST_MIB(8));
    pool = test_pool_open("pool");
    for (stops_at = last_stop = 1; stops_at <= POINTS; last_stop = ++stops_at)
        for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
            for (unsigned how = 0; how < 4; how++)
                one(i, how & 1, how & 2);
}

/* Three pages, at once. */
static void is_written(void)
{
    static const char content[3 * HF_BLOCK_BYTES];

    EXPECT_EQ(hf_write(open_file, content, sizeof content, 0), sizeof content);
}

/* A file that has bytes has blocks. Programs that copy files take the other for a hole. */
static void finds_blocks(void)
{
    struct stat st;

    test_pool_create("pool", TEST_MIB(8));
    pool = test_pool_open("pool");
    meanwhile = is_written;
    for (stops_at = last_stop = 1; stops_at <= POINTS; last_stop = ++stops_at) {
        open_file = test_file(pool, "/file");
        EXPECT_EQ(look(0, false, &st), 0);
        if (st.st_size ? st.st_blocks < 3 * 8 : st.st_blocks != 0)
            FAIL("%jd bytes and %jd sectors, at point %u", (intmax_t)st.st_size,
                 (intmax_t)st.st_blocks, stops_at);
        is_deleted();
    }
}

static void is_named(void)
{
    struct stat st;

    EXPECT_EQ(hf_fstat(open_file, &st), 0);
    EXPECT_EQ(hf_linkat(pool, st.st_ino, "", HF_ROOT_INO, "/named"), 0);
    is_closed();
}

/* It was open, or had a name, at every moment. */
static void finds_named(void)
{
    struct stat before, st;

    EXPECT_EQ(hf_open(pool, "/", O_RDWR | O_TMPFILE, 0600, &open_file), 0);
    EXPECT_EQ(hf_fstat(open_file, &before), 0);
    meanwhile = is_named;
    stops_at = last_stop = 1;
    EXPECT_EQ(look(before.st_ino, true, &st), 0);
    EXPECT_EQ(st.st_ino, before.st_ino);
    EXPECT_EQ(st.st_nlink, 1);
}

/* The vnode is another file's when it is read, and this file's again right after that. */
static void is_lent(void)
{
    EXPECT_EQ(hf_close(test_file(pool, points == 2 ? "/other" : "/file")), 0);
}

/* A pool in which one more file can be open, and "/file" has that vnode. */
static void open_most(struct hf_file *files[FILES - 1])
{
    const struct hf_pool_options options = {
        .size = sizeof options, .pool_bytes = TEST_MIB(8), .max_files = FILES};

    EXPECT_EQ(hf_pool_create(test_path("pool"), &options), 0);
    pool = test_pool_open("pool");
    EXPECT_EQ(hf_close(made("/other", NEW_BYTES)), 0);
    for (unsigned i = 0; i < FILES - 1; i++) {
        char path[16];

        snprintf(path, sizeof path, "/open-%u", i);
        files[i] = test_file(pool, path);
    }
    EXPECT_EQ(hf_close(made("/file", OLD_BYTES)), 0);
}

static void close_most(struct hf_file *files[FILES - 1])
{
    for (unsigned i = 0; i < FILES - 1; i++)
        EXPECT_EQ(hf_close(files[i]), 0);
}

/* True: with the size of the other file. */
static bool finds_another(void)
{
    struct hf_file *files[FILES - 1];
    struct stat st;

    open_most(files);
    meanwhile = is_lent;
    stops_at = 2;
    last_stop = 3;
    EXPECT_EQ(look(0, false, &st), 0);
    close_most(files);
    return st.st_size != OLD_BYTES;
}

/* The vnode has had another life, so the record is read again. */
static void loses_name(void)
{
    EXPECT_EQ(hf_close(test_file(pool, "/other")), 0);
    open_file = test_file(pool, "/file");
    EXPECT_EQ(hf_unlink(pool, "/file", NULL), 0);
}

/* It finds nothing wrong with the pool. */
static void finds_no_name(void)
{
    struct hf_file *files[FILES - 1];
    struct stat st;

    open_most(files);
    meanwhile = loses_name;
    stops_at = last_stop = 2;
    EXPECT_EQ(look(0, false, &st), -ENOENT);
    is_closed();
    EXPECT_EQ(hf_close(made("/file", OLD_BYTES)), 0);
    points = 0;
    hf_lab_stepped = true;
    EXPECT_EQ(hf_unlink(pool, "/file", NULL), -ENOENT);
    is_closed();
    close_most(files);
}

static void is_sound(void)
{
    test_pool_close(pool);
    test_pool_check("pool");
    test_remove_tree(test_path("pool"));
}

/* With an argument: a look that does not see that the vnode had another life has to be caught. */
static int body(int argc, char **argv)
{
    bool any_life = argc > 1;

    (void)argv;
    hf_lab_break = HF_LAB_STEPS | (any_life ? HF_LAB_ANY_LIFE : 0);
    hf_lab_at = at_point;
    if (!any_life) {
        all_cases();
        is_sound();
        finds_blocks();
        finds_named();
        is_sound();
        finds_no_name();
        is_sound();
    }
    EXPECT_EQ(finds_another(), any_life);
    is_sound();
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
