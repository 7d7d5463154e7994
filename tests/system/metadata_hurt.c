/* SPDX-License-Identifier: MIT */
/*
 * Another program writes into the metadata while the pool is in use, and LMDB meets it with an
 * assertion. No process ends. Calls that need metadata say -EUCLEAN in all processes, pins hold,
 * and everything closes. When the file is whole again, the next process finds what was
 * acknowledged.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define POOL "pool"
#define FILES 500u /* enough for a tree of two levels */
#define META_BYTES 4096u
#define AT_NUMBER 144 /* in a meta page of LMDB: the transaction, */
#define AT_ROOT 128   /* the main tree's root; */
#define AT_LOWER 12   /* in any page: where its list of entries ends */

static struct {
    uint32_t step, done;
} * shared;

static uint64_t number_at(int fd, off_t at)
{
    uint64_t number = 0;

    EXPECT_EQ(pread(fd, &number, sizeof(number), at), sizeof(number));
    return number;
}

/* The root says that it has one entry only; or again what it said. */
static void hurt(uint16_t *lower, bool mend)
{
    static const uint16_t one = 16 + 2;
    int fd = open(test_path(POOL "/meta/data.mdb"), O_RDWR | O_CLOEXEC);
    off_t page, at;

    EXPECT_OK(fd);
    page = number_at(fd, AT_NUMBER) < number_at(fd, META_BYTES + AT_NUMBER) ? META_BYTES : 0;
    at = (off_t)number_at(fd, page + AT_ROOT) * META_BYTES + AT_LOWER;
    if (!mend)
        EXPECT_EQ(pread(fd, lower, sizeof(*lower), at), sizeof(*lower));
    EXPECT_EQ(pwrite(fd, mend ? lower : &one, sizeof(one), at), sizeof(one));
    close(fd);
}

static void expect_refused(struct hf_pool *pool)
{
    struct stat st;

    EXPECT_EQ(hf_mkdir(pool, "/new", 0700), -EUCLEAN);
    EXPECT(strstr(hf_strerror_detail(), "fsck"));
    EXPECT_EQ(hf_stat(pool, "/f7", 0, &st), -EUCLEAN);
    EXPECT_EQ(hf_unlink(pool, "/f7", NULL), -EUCLEAN);
}

static void other(void *arg)
{
    struct hf_pool *pool = test_pool_open(POOL);
    struct hf_file *file = test_file(pool, "/pinned");
    struct iovec iov;
    struct hf_pin pin;

    (void)arg;
    pin = test_pin(file, 0, TEST_PAGE, HF_PIN_WRITE, &iov, 1);
    test_raise(&shared->done, 1);
    test_await(&shared->step, 1);
    expect_refused(pool);
    EXPECT(test_page_is(iov.iov_base, 3, 0));
    hf_unpin(&pin);
    pin = test_pin(file, 0, TEST_PAGE, HF_PIN_WRITE, &iov, 1); /* a page that is mapped already */
    hf_unpin(&pin);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_pool_close(pool), 0);
}

/* `call` is the first to meet it. */
static void meet(int (*call)(struct hf_pool *pool))
{
    struct hf_pool *pool = test_pool_new(POOL, TEST_MIB(16));
    struct hf_file *file;
    uint16_t lower;
    char path[32];
    struct stat st;
    pid_t pid;

    memset(shared, 0, sizeof(*shared));
    for (unsigned i = 0; i < FILES; i++) {
        snprintf(path, sizeof(path), "/f%u", i);
        EXPECT_EQ(hf_mkdir(pool, path, 0700), 0);
    }
    EXPECT_EQ(hf_close(test_file_filled(pool, "/pinned", 3, 2)), 0);
    pid = test_fork(other, NULL);
    test_await(&shared->done, 1);
    hurt(&lower, false);
    EXPECT_EQ(call(pool), -EUCLEAN);
    EXPECT(strstr(hf_strerror_detail(), "Assertion"));
    expect_refused(pool);
    test_raise(&shared->step, 1);
    test_join(pid);
    EXPECT_EQ(hf_pool_close(pool), 0);
    EXPECT_EQ(hf_pool_open(test_path(POOL), 0, &pool), -EUCLEAN);
    hurt(&lower, true);
    test_pool_check(POOL);
    pool = test_pool_open(POOL);
    EXPECT_EQ(hf_stat(pool, "/f7", 0, &st), 0);
    EXPECT_EQ(hf_mkdir(pool, "/new", 0700), 0);
    file = test_file(pool, "/pinned");
    test_expect_pages(file, 3, 0, 2);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
    test_pool_check(POOL);
}

static int look(struct hf_pool *pool)
{
    struct stat st;

    return hf_stat(pool, "/f7", 0, &st);
}

static int change(struct hf_pool *pool)
{
    return hf_mkdir(pool, "/new", 0700);
}

static void clear(void)
{
    char line[1200];

    snprintf(line, sizeof(line), "rm -rf '%s'", test_path(POOL));
    EXPECT_EQ(system(line), 0);
}

static void metadata_hurt(void)
{
    shared = test_shared(sizeof(*shared));
    meet(look);
    clear();
    meet(change);
}

TEST_SCENARIO(metadata_hurt)
