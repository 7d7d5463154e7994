/* SPDX-License-Identifier: MIT */
/*
 * A call finds a file, a hole or a put, and then does something with it. In between another takes
 * its place. The call does its work on one of the two, or says what is so. No call says that there
 * is nothing under a name that has always led to something.
 */
#include "support.h"

#include "base/lab.h"

#include <holdfast/put.h>
#include <holdfast/serve.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define OLD_BYTES 3000
#define NEW_BYTES 300
#define THEN 1000 /* seconds since 1970 */

static struct hf_pool *pool;
static enum hf_lab_point stops_at;
static void (*meanwhile)(void);
static struct hf_file *file; /* the one that the case is about */
static uint64_t ino;         /* of it */

static const struct timespec then[2] = {{.tv_sec = THEN}, {.tv_sec = THEN}};

static void at_point(enum hf_lab_point point)
{
    if (point != stops_at)
        return;
    hf_lab_stepped = false;
    meanwhile();
}

static void step(enum hf_lab_point at, void (*what)(void))
{
    stops_at = at;
    meanwhile = what;
    hf_lab_stepped = true;
}

/* The last call came to the point. */
static void stepped(void)
{
    EXPECT(!hf_lab_stepped);
}

static struct hf_file *made(const char *path, size_t bytes)
{
    static char content[OLD_BYTES];
    struct hf_file *new = test_file(pool, path);

    EXPECT_EQ(hf_write(new, content, bytes, 0), bytes);
    return new;
}

static int64_t modified(const char *path)
{
    struct stat st;

    EXPECT_EQ(hf_stat(pool, path, HF_AT_NOFOLLOW, &st), 0);
    return st.st_mtim.tv_sec;
}

/* ---- a file that is replaced ---- */

static void is_replaced(void)
{
    EXPECT_EQ(hf_rename(pool, "/new", "/file", 0), 0);
}

static int is_opened(void)
{
    int rc = hf_open(pool, "/file", O_RDWR, 0, &file);

    if (rc == 0)
        EXPECT_EQ(test_size(file), NEW_BYTES);
    return rc ? rc : hf_close(file);
}

static int is_made(void)
{
    int rc = hf_open(pool, "/file", O_RDWR | O_CREAT | O_TRUNC, 0600, &file);

    return rc ? rc : hf_close(file);
}

static int gets_times(void)
{
    int rc = hf_utimens(pool, "/file", then, 0);

    if (rc == 0)
        EXPECT_EQ(modified("/file"), THEN);
    return rc;
}

static int is_unlinked(void)
{
    struct stat st;
    int rc = hf_unlink(pool, "/file", NULL);

    if (rc == 0)
        EXPECT_EQ(hf_stat(pool, "/file", 0, &st), -ENOENT);
    return rc;
}

static void by_name(void)
{
    static int (*const calls[])(void) = {is_opened, is_made, gets_times, is_unlinked};

    for (unsigned i = 0; i < sizeof calls / sizeof *calls; i++) {
        int rc;

        EXPECT_EQ(hf_close(made("/file", OLD_BYTES)), 0);
        EXPECT_EQ(hf_close(made("/new", NEW_BYTES)), 0);
        step(HF_LAB_OPENS, is_replaced);
        rc = calls[i]();
        if (rc)
            FAIL("call %u: %d (%s)", i, rc, hf_strerror_detail());
        stepped();
        hf_unlink(pool, "/file", NULL);
    }
}

/* The times of a file that is open are in its vnode. */
static void link_becomes_file(void)
{
    EXPECT_EQ(hf_symlink(pool, "nowhere", "/file"), 0);
    file = made("/new", NEW_BYTES);
    step(HF_LAB_OPENS, is_replaced);
    EXPECT_EQ(hf_utimens(pool, "/file", then, HF_AT_NOFOLLOW), 0);
    stepped();
    EXPECT_EQ(modified("/file"), THEN);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(modified("/file"), THEN);
    EXPECT_EQ(hf_unlink(pool, "/file", NULL), 0);
}

/* ---- a file that gets two first names ---- */

static void is_named(void)
{
    EXPECT_EQ(hf_linkat(pool, ino, "", HF_ROOT_INO, "/first"), 0);
}

static void named_twice(void)
{
    struct stat st;

    EXPECT_EQ(hf_open(pool, "/", O_RDWR | O_TMPFILE, 0600, &file), 0);
    EXPECT_EQ(hf_fstat(file, &st), 0);
    ino = st.st_ino;
    step(HF_LAB_OPENS, is_named);
    EXPECT_EQ(hf_linkat(pool, ino, "", HF_ROOT_INO, "/second"), 0);
    stepped();
    EXPECT_EQ(hf_fstat(file, &st), 0);
    EXPECT_EQ(st.st_nlink, 2);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_unlink(pool, "/first", NULL), 0);
    EXPECT_EQ(hf_unlink(pool, "/second", NULL), 0);
}

/* ---- a hole that is copied from ---- */

static void is_cut(void)
{
    EXPECT_EQ(hf_truncate(file, TEST_PAGE, NULL), 0);
}

/* The file has a hole of two pages, then a page with content; after that, one page. It never had
 * three pages of zeros. */
static void hole_is_copied(void)
{
    struct hf_file *to = test_file(pool, "/to");
    ssize_t copied;

    file = test_file(pool, "/file");
    test_write_pages(file, 1, 2, 1);
    step(HF_LAB_COPIES, is_cut);
    copied = hf_copy_range(file, 0, to, 1, 3 * TEST_PAGE); /* askew, so that nothing is shared */
    stepped();
    if (copied < (ssize_t)TEST_PAGE || copied > (ssize_t)(2 * TEST_PAGE))
        FAIL("%zd bytes were copied", copied);
    EXPECT_EQ(hf_close(to), 0);
    EXPECT_EQ(hf_close(file), 0);
}

/* ---- a put that ends, and another ---- */

static struct hf_put put;
static struct iovec pieces[4];
static uint64_t short_ino, long_ino;
static struct hf_file *long_file;

static void is_put_again(void)
{
    EXPECT_EQ(hf_put_abort(pool, &put), 0);
    EXPECT_OK(hf_put_begin(long_file, 0, 3 * TEST_PAGE, 0, pieces, 4, &put));
}

static int look_at_put(void *arg, const struct hf_pin_info *info)
{
    (void)arg;
    if (info->ino == short_ino ? info->len != TEST_PAGE
                               : info->ino != long_ino || info->len != 3 * TEST_PAGE)
        FAIL("inode %ju, %ju bytes", (uintmax_t)info->ino, (uintmax_t)info->len);
    return 0;
}

static void put_is_listed(void)
{
    struct stat st;

    file = test_file(pool, "/short");
    long_file = test_file(pool, "/long");
    EXPECT_EQ(hf_fstat(file, &st), 0);
    short_ino = st.st_ino;
    EXPECT_EQ(hf_fstat(long_file, &st), 0);
    long_ino = st.st_ino;
    EXPECT_OK(hf_put_begin(file, 0, TEST_PAGE, 0, pieces, 4, &put));
    step(HF_LAB_COMPARES, is_put_again);
    EXPECT_EQ(hf_pins(pool, look_at_put, NULL), 0);
    stepped();
    EXPECT_EQ(hf_put_abort(pool, &put), 0);
    EXPECT_EQ(hf_close(long_file), 0);
    EXPECT_EQ(hf_close(file), 0);
}

static void found_steps(void)
{
    hf_lab_break = HF_LAB_STEPS;
    hf_lab_at = at_point;
    test_pool_create("pool", TEST_MIB(8));
    pool = test_pool_open("pool");
    by_name();
    link_becomes_file();
    named_twice();
    hole_is_copied();
    put_is_listed();
    test_pool_close(pool);
    test_pool_check("pool");
}

TEST_SCENARIO(found_steps)
