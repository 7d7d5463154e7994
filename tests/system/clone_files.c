/* SPDX-License-Identifier: MIT */
/*
 * hf_clone_files(): what each copy is, and what is left to the caller and why. Many go in one call,
 * and a copy is as of one moment while others write, pin and cut the files.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/serve.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))
#define POOL_BYTES TEST_MIB(32)

static struct hf_pool *pool;

static uint64_t number_of(const char *path)
{
    struct stat st;

    EXPECT_EQ(hf_stat(pool, path, HF_AT_NOFOLLOW, &st), 0);
    return st.st_ino;
}

static uint64_t used(void)
{
    struct hf_pool_info info = {.size = sizeof(info)};

    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    return info.pool_bytes - info.free_bytes;
}

static struct hf_clone_entry clone_one(uint64_t from, const char *name)
{
    struct hf_clone_entry entry = {.from = from, .dir = HF_ROOT_INO, .name = name};
    ssize_t made = hf_clone_files(pool, &entry, 1);

    EXPECT_EQ(made, entry.result == 0);
    return entry;
}

static void expect_same(const char *from, const char *to)
{
    static char a[80 * HF_BLOCK_BYTES], b[sizeof(a)];
    struct hf_file *left = test_file(pool, from), *right = test_file(pool, to);
    ssize_t len = hf_read(left, a, sizeof(a), 0);

    EXPECT_EQ(hf_read(right, b, sizeof(b), 0), len);
    EXPECT(memcmp(a, b, (size_t)len) == 0);
    EXPECT_EQ(hf_close(left), 0);
    EXPECT_EQ(hf_close(right), 0);
}

/* --------------------------------------------------------------------- what a copy is ---- */

static void check_attributes(void)
{
    const struct timespec times[2] = {{1000, 1}, {2000, 2}};
    struct stat from, to;
    char value[8];

    EXPECT_EQ(hf_close(test_file_filled(pool, "/a", 1, 3)), 0);
    EXPECT_EQ(hf_setxattr(pool, "/a", "user.colour", "blue", 4, 0), 0);
    EXPECT_EQ(hf_setxattr(pool, "/a", "user.empty", "", 0, 0), 0);
    EXPECT_EQ(hf_chown(pool, "/a", 12, 34, 0), 0);
    EXPECT_EQ(hf_chmod(pool, "/a", 06751), 0);
    EXPECT_EQ(hf_link(pool, "/a", "/a2"), 0);
    EXPECT_EQ(hf_utimens(pool, "/a", times, 0), 0);
    EXPECT_EQ(clone_one(number_of("/a"), "b").links, 2);
    EXPECT_EQ(hf_stat(pool, "/a", 0, &from), 0);
    EXPECT_EQ(hf_stat(pool, "/b", 0, &to), 0);
    EXPECT_EQ(to.st_mode, from.st_mode);
    EXPECT_EQ(to.st_uid, 12);
    EXPECT_EQ(to.st_gid, 34);
    EXPECT_EQ(to.st_nlink, 1);
    EXPECT_EQ(to.st_size, from.st_size);
    EXPECT_EQ(to.st_blocks, from.st_blocks);
    EXPECT_EQ(to.st_atim.tv_sec, 1000);
    EXPECT_EQ(to.st_mtim.tv_nsec, 2);
    EXPECT(to.st_ctim.tv_sec >= from.st_ctim.tv_sec);
    EXPECT_EQ(hf_getxattr(pool, "/b", "user.colour", value, sizeof(value)), 4);
    EXPECT(memcmp(value, "blue", 4) == 0);
    EXPECT_EQ(hf_getxattr(pool, "/b", "user.empty", value, sizeof(value)), 0);
    expect_same("/a", "/b");
}

/* Size and times that no record has yet; blocks past end of file; holes. */
static void check_content(void)
{
    uint64_t before;
    struct hf_file *file = test_file(pool, "/c");
    struct hf_clone_entry entry;

    EXPECT_EQ(hf_write(file, "unaligned", 9, 7 * TEST_PAGE + 100), 9);
    test_write_pages(file, 5, 3, 2);
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_KEEP_SIZE, 8 * TEST_PAGE, 4 * TEST_PAGE, NULL), 0);
    before = used();
    entry = clone_one(number_of("/c"), "d");
    EXPECT_EQ(entry.result, 0);
    EXPECT_EQ(entry.bytes, 7 * TEST_PAGE + 109);
    EXPECT_EQ(entry.to, number_of("/d"));
    EXPECT_EQ(used(), before);
    expect_same("/c", "/d");
    EXPECT_EQ(hf_write(file, "new", 3, 3 * TEST_PAGE), 3);
    EXPECT_EQ(hf_truncate(file, 7 * TEST_PAGE, NULL), 0);
    EXPECT_EQ(used(), before - 3 * TEST_PAGE); /* a copy more, four that were ahead less */
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_close(test_file(pool, "/nothing")), 0);
    EXPECT_EQ(clone_one(number_of("/nothing"), "nothing2").result, 0);
    expect_same("/nothing", "/nothing2");
}

/* ------------------------------------------------------------ what is left, and why ------ */

static void make_pieces(const char *path)
{
    struct hf_file *file = test_file(pool, path);

    for (uint64_t i = 0; i < 70; i++)
        test_write_pages(file, 6, 2 * i, 1);
    EXPECT_EQ(hf_close(file), 0);
}

static void check_refusals(void)
{
    char too_long[HF_NAME_MAX + 2];
    uint64_t a = number_of("/a"), gone, before;
    struct hf_file *held = test_file_filled(pool, "/held", 3, 2), *file = test_file(pool, "/gone");
    struct hf_lease lease;
    struct hf_pin pin;
    struct iovec iov;

    memset(too_long, 'n', sizeof(too_long) - 1);
    too_long[sizeof(too_long) - 1] = '\0';
    gone = number_of("/gone");
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_unlink(pool, "/gone", NULL), 0);
    EXPECT_EQ(hf_mkdir(pool, "/dir", 0700), 0);
    EXPECT_EQ(hf_mkdir(pool, "/late", 0700), 0);
    make_pieces("/pieces");
    before = used();
    {
        uint64_t late = number_of("/late");
        struct hf_clone_entry entries[] = {
            {.from = a, .dir = HF_ROOT_INO, .name = "b"},
            {.from = gone, .dir = HF_ROOT_INO, .name = "x"},
            {.from = number_of("/dir"), .dir = HF_ROOT_INO, .name = "x"},
            {.from = number_of("/pieces"), .dir = HF_ROOT_INO, .name = "x"},
            {.from = number_of("/c"), .dir = late, .name = "x"},
            {.from = number_of("/d"), .dir = a, .name = "x"},
            {.from = number_of("/held"), .dir = HF_ROOT_INO, .name = too_long},
            {.from = number_of("/nothing"), .dir = HF_ROOT_INO, .name = "a/x"},
            {.from = number_of("/nothing2"), .dir = HF_ROOT_INO, .name = ".."},
            {.from = number_of("/b"), .dir = number_of("/dir"), .name = "x"},
            {.from = a, .dir = HF_ROOT_INO, .name = "x"}, /* it is in the list already */
        };
        static const int right[] = {-EEXIST,       -ENOENT, -EINVAL, -EBUSY, -ESTALE, -ENOTDIR,
                                    -ENAMETOOLONG, -EINVAL, -EINVAL, 0,      -EBUSY};

        EXPECT_EQ(hf_rmdir(pool, "/late"), 0);
        EXPECT_EQ(hf_clone_files(pool, entries, COUNT(entries)), 1);
        for (size_t i = 0; i < COUNT(entries); i++)
            EXPECT_EQ(entries[i].result, right[i]);
    }
    expect_same("/b", "/dir/x");
    EXPECT_EQ(used(), before);
    EXPECT_EQ(clone_one(number_of("/held"), "held2").result, 0);
    EXPECT_OK(hf_pin(held, 0, 1, HF_PIN_READ, &iov, 1, &pin));
    EXPECT_EQ(clone_one(number_of("/held"), "held3").result, -EBUSY);
    EXPECT_EQ(hf_unpin(&pin), 0);
    lease = test_lease(held, TEST_PAGE, 1, NULL, &iov, 1);
    EXPECT_EQ(clone_one(number_of("/held"), "held3").result, -EBUSY);
    EXPECT_EQ(hf_lease_release(&lease), 0);
    EXPECT_EQ(clone_one(number_of("/held"), "held3").result, 0);
    EXPECT_EQ(hf_close(held), 0);
}

static void check_engine(void)
{
    struct hf_pool_options options = {
        .size = sizeof(options), .pool_bytes = TEST_MIB(8), .engine = "srcu"};
    struct hf_clone_entry entry = {.from = 2, .dir = HF_ROOT_INO, .name = "x"};
    struct hf_pool *other;

    EXPECT_EQ(hf_pool_open_anonymous(&options, &other), 0);
    EXPECT_EQ(hf_clone_files(other, &entry, 1), -EOPNOTSUPP);
    EXPECT_EQ(hf_pool_close(other), 0);
}

/* ------------------------------------------------------------------------------ many ----- */

#define MANY 300u

static void check_many(void)
{
    static struct hf_clone_entry entries[MANY];
    static char names[MANY][16];
    uint64_t before, kept;

    EXPECT_EQ(hf_mkdir(pool, "/kept", 0700), 0);
    EXPECT_EQ(hf_mkdir(pool, "/many", 0700), 0);
    kept = number_of("/kept");
    for (uint64_t i = 0; i < MANY; i++) {
        char path[32];

        snprintf(names[i], sizeof(names[i]), "%u", (unsigned)i);
        snprintf(path, sizeof(path), "/many/%u", (unsigned)i);
        EXPECT_EQ(hf_close(test_file_filled(pool, path, i, 1 + i % 4)), 0);
        entries[i] = (struct hf_clone_entry){number_of(path), kept, names[i], 0, 0, 0, 0};
    }
    before = used();
    EXPECT_EQ(hf_clone_files(pool, entries, MANY), MANY);
    EXPECT_EQ(used(), before);
    for (unsigned i = 0; i < MANY; i++) {
        char from[32], to[32];

        snprintf(from, sizeof(from), "/many/%u", i);
        snprintf(to, sizeof(to), "/kept/%u", i);
        expect_same(from, to);
    }
    EXPECT_EQ(hf_clone_files(pool, entries, MANY), 0);
    for (unsigned i = 0; i < MANY; i++)
        EXPECT_EQ(entries[i].result, -EEXIST);
}

/* ------------------------------------------------------------------ as of one moment ----- */

#define BUSY 8u
#define BUSY_PAGES 4u

static uint32_t done;

/* Whenever nobody holds a file for writing, all its words are the same number. */
static void store_number(struct hf_file *file, uint64_t number)
{
    struct iovec iov[BUSY_PAGES];
    struct hf_pin pin;
    int pieces = hf_pin(file, 0, BUSY_PAGES * TEST_PAGE, HF_PIN_WRITE, iov, BUSY_PAGES, &pin);

    EXPECT_OK(pieces);
    for (int i = 0; i < pieces; i++)
        for (size_t at = 0; at < iov[i].iov_len; at += sizeof(number))
            memcpy((char *)iov[i].iov_base + at, &number, sizeof(number));
    EXPECT_EQ(hf_unpin(&pin), 0);
}

static void *change_busy(void *arg)
{
    unsigned half = (unsigned)(uintptr_t)arg;
    struct test_rng rng = {.state = test_seed() + half};
    struct hf_file *files[BUSY / 2];

    for (unsigned i = 0; i < BUSY / 2; i++) {
        char path[16];

        snprintf(path, sizeof(path), "/busy%u", half * (BUSY / 2) + i);
        files[i] = test_file(pool, path);
    }
    while (!test_peek(&done)) {
        struct hf_file *file = files[test_below(&rng, BUSY / 2)];

        if (test_chance(&rng, 10))
            EXPECT_EQ(hf_move(file, 0, BUSY_PAGES * TEST_PAGE, &test_wait), 0);
        else
            store_number(file, test_random(&rng));
    }
    for (unsigned i = 0; i < BUSY / 2; i++)
        EXPECT_EQ(hf_close(files[i]), 0);
    return NULL;
}

static void expect_one_moment(const char *path)
{
    static uint64_t got[BUSY_PAGES * HF_BLOCK_BYTES / sizeof(uint64_t)];
    struct hf_file *file = test_file(pool, path);

    EXPECT_EQ(hf_read(file, got, sizeof(got), 0), sizeof(got));
    for (size_t i = 0; i < COUNT(got); i++)
        EXPECT_EQ(got[i], got[0]);
    EXPECT_EQ(hf_close(file), 0);
}

static void check_moment(void)
{
    unsigned want = test_is_slow() ? 300 : 3000, made = 0, left = 0;
    struct hf_file *busy[BUSY];
    pthread_t writers[2];

    for (unsigned i = 0; i < BUSY; i++) {
        char path[16];

        snprintf(path, sizeof(path), "/busy%u", i);
        EXPECT_EQ(hf_close(test_file_filled(pool, path, 0, BUSY_PAGES)), 0);
        busy[i] = test_file(pool, path);
        store_number(busy[i], i);
        EXPECT_EQ(hf_close(busy[i]), 0);
    }
    for (uintptr_t i = 0; i < 2; i++)
        EXPECT_EQ(pthread_create(&writers[i], NULL, change_busy, (void *)i), 0);
    while (made < want) {
        static const char *const names[BUSY] = {"m0", "m1", "m2", "m3", "m4", "m5", "m6", "m7"};
        struct hf_clone_entry entries[BUSY];

        for (unsigned i = 0; i < BUSY; i++) {
            char path[16];

            snprintf(path, sizeof(path), "/busy%u", i);
            entries[i] =
                (struct hf_clone_entry){number_of(path), HF_ROOT_INO, names[i], 0, 0, 0, 0};
        }
        EXPECT_OK(hf_clone_files(pool, entries, BUSY));
        for (unsigned i = 0; i < BUSY; i++) {
            char path[16];

            left += entries[i].result == -EBUSY;
            if (entries[i].result == -EBUSY)
                continue;
            EXPECT_EQ(entries[i].result, 0);
            made++;
            snprintf(path, sizeof(path), "/%s", names[i]);
            expect_one_moment(path);
            EXPECT_EQ(hf_unlink(pool, path, NULL), 0);
        }
    }
    test_raise(&done, 1);
    for (int i = 0; i < 2; i++)
        pthread_join(writers[i], NULL);
    printf("%u copies made, %u left to the caller\n", made, left);
}

static void scenario(void)
{
    pool = test_pool_new("pool", POOL_BYTES);
    check_attributes();
    check_content();
    check_refusals();
    check_engine();
    check_many();
    check_moment();
    test_pool_close(pool);
    test_pool_check("pool");
}

TEST_SCENARIO(scenario)
