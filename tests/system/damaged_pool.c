/* SPDX-License-Identifier: MIT */
/*
 * damaged-pool [ROUNDS]
 *
 * Damaged pools: files of a pool cut off, wiped, with random bytes changed, missing, or not a
 * pool's at all. Opening and fsck may refuse, report or repair, but may not crash. Whatever a child
 * of this test does with such a pool must end in time.
 */
#include "support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define GOOD "good"
#define HURT "hurt"

static const char *const victims[] = {"meta/data.mdb", "meta/data.mdb", "meta/data.mdb",
                                      "meta/lock.mdb", "lock",          "run",
                                      "segment",       "recent",        "data"};

/* A pool with something of everything in it, left by a process that was killed. */
static void fill_and_die(void *arg)
{
    struct hf_pool *pool = test_pool_open(GOOD);
    struct hf_file *file;
    char path[32], target[32];
    struct iovec iov;

    (void)arg;
    for (unsigned i = 0; i < 60; i++) {
        snprintf(path, sizeof(path), "/d%u", i);
        EXPECT_EQ(hf_mkdir(pool, path, 0700), 0);
        snprintf(path, sizeof(path), "/d%u/file", i);
        file = test_file_filled(pool, path, i, 1 + i % 5);
        EXPECT_EQ(hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, TEST_PAGE, TEST_PAGE, NULL), 0);
        EXPECT_EQ(hf_setxattr(pool, path, "user.a", path, sizeof(path), 0), 0);
        snprintf(target, sizeof(target), "/l%u", i);
        EXPECT_EQ(hf_symlink(pool, path, target), 0);
    }
    file = test_file_filled(pool, "/detached", 9, 4);
    test_pin(file, 0, TEST_PAGE, HF_PIN_READ, &iov, 1);
    EXPECT_EQ(hf_truncate(file, 0, &test_detach), 0);
    EXPECT_EQ(hf_unlink(pool, "/detached", NULL), 0);
    _exit(0);
}

static void command(const char *format, const char *from, const char *to)
{
    char line[1200];

    snprintf(line, sizeof(line), format, from, to);
    EXPECT_EQ(system(line), 0);
}

static void fresh_copy(void)
{
    command("rm -rf '%s'%s", test_path(HURT), "");
    command("cp -a --sparse=always '%s' '%s'", test_path(GOOD), test_path(HURT));
}

/* What one round does to the copy, so that a failure can be read. */
static void hurt(struct test_rng *rng, char *what, size_t len)
{
    const char *victim = victims[test_below(rng, sizeof(victims) / sizeof(victims[0]))];
    uint64_t kind = test_below(rng, 10), size, count;
    char name[64];
    struct stat st;
    int fd;

    snprintf(name, sizeof(name), HURT "/%s", victim);
    fd = open(test_path(name), O_RDWR);
    if (fd < 0 || fstat(fd, &st) != 0) {
        snprintf(what, len, "%s is not there", victim);
        return;
    }
    size = (uint64_t)st.st_size < TEST_MIB(1) ? (uint64_t)st.st_size : TEST_MIB(1);
    if (kind == 0 || size == 0) {
        snprintf(what, len, "%s removed", victim);
        unlink(test_path(name));
    } else if (kind == 1) {
        uint64_t cut = test_below(rng, size);

        snprintf(what, len, "%s cut to %" PRIu64, victim, cut);
        EXPECT_EQ(ftruncate(fd, (off_t)cut), 0);
    } else if (kind == 2) {
        static const char zeros[65536];
        uint64_t off = test_below(rng, size);

        snprintf(what, len, "%s zeroed from %" PRIu64, victim, off);
        EXPECT_OK(
            pwrite(fd, zeros, sizeof(zeros) < size - off ? sizeof(zeros) : size - off, (off_t)off));
    } else {
        count = 1 + test_below(rng, kind < 6 ? 3 : 200);
        snprintf(what, len, "%" PRIu64 " bytes of %s changed", count, victim);
        while (count-- > 0) {
            unsigned char byte = (unsigned char)test_random(rng);
            uint64_t within = test_chance(rng, 70) && size > 65536 ? 65536 : size;

            EXPECT_EQ(pwrite(fd, &byte, 1, (off_t)test_below(rng, within)), 1);
        }
    }
    close(fd);
}

static void use_file(struct hf_pool *pool, const char *path)
{
    static unsigned char bytes[8 * HF_BLOCK_BYTES];
    struct hf_file *file;
    struct hf_pin pin;
    struct iovec iov;

    if (hf_open(pool, path, O_RDWR, 0, &file) != 0)
        return;
    hf_read(file, bytes, sizeof(bytes), 0);
    hf_write(file, bytes, 5000, 100);
    if (hf_pin(file, 0, 1, HF_PIN_READ, &iov, 1, &pin) > 0) {
        bytes[0] = *(volatile unsigned char *)iov.iov_base;
        hf_unpin(&pin);
    }
    hf_fallocate(file, HF_FALLOC_COLLAPSE_RANGE, 0, TEST_PAGE, &test_detach);
    hf_truncate(file, 1, &test_detach);
    hf_close(file);
}

static int ignore_extent(void *arg, const struct hf_extent_info *info)
{
    (void)arg, (void)info;
    return 0;
}

static void use_pool(struct hf_pool *pool)
{
    struct hf_dir *dir;
    struct hf_dirent entry;
    struct hf_file *file;
    struct stat st;
    char path[400];

    hf_extents(pool, 0, ignore_extent, NULL);
    if (hf_opendir(pool, "/", &dir) == 0) {
        while (hf_readdir(dir, &entry) == 1) {
            snprintf(path, sizeof(path), "/%s", entry.name);
            hf_stat(pool, path, 0, &st);
            hf_getxattr(pool, path, "user.a", path, sizeof(path));
            snprintf(path, sizeof(path), "/%s/file", entry.name);
            use_file(pool, path);
            hf_unlink(pool, path, &test_detach);
        }
        hf_closedir(dir);
    }
    if (hf_open(pool, "/new", O_RDWR | O_CREAT, 0600, &file) == 0)
        hf_close(file);
}

static void ignore_problem(void *arg, const char *sentence)
{
    (void)arg, (void)sentence;
}

/* In a child: everything a user might try with the damaged pool. */
static void try_pool(void *arg)
{
    struct hf_check_result result = {.size = sizeof(result)};
    uint32_t order = *(uint32_t *)arg;
    struct hf_pool *pool;

    alarm(TEST_PATIENCE_SECONDS);
    if (order & 1)
        hf_pool_check(test_path(HURT), 0, ignore_problem, NULL, NULL, &result);
    if (order & 2)
        hf_pool_check(test_path(HURT), HF_CHECK_REPAIR, ignore_problem, NULL, NULL, &result);
    if (hf_pool_open(test_path(HURT), order & 4 ? HF_OPEN_RDONLY : 0, &pool) != 0)
        _exit(0);
    if (!(order & 4) && result.problems == result.repaired)
        use_pool(pool);
    hf_pool_close(pool);
}

static void round_of_damage(struct test_rng *rng, uint64_t round)
{
    uint32_t order = (uint32_t)test_below(rng, 8);
    char what[128];
    int status;

    fresh_copy();
    hurt(rng, what, sizeof(what));
    status = test_wait_status(test_fork(try_pool, &order));
    if (WIFSIGNALED(status))
        FAIL("round %" PRIu64 ": %s, then order %u: signal %d (%s)", round, what, order,
             WTERMSIG(status), strsignal(WTERMSIG(status)));
}

static void expect_refused(const char *name)
{
    struct hf_check_result result = {.size = sizeof(result)};
    struct hf_pool *pool;

    EXPECT(hf_pool_open(test_path(name), 0, &pool) < 0);
    EXPECT(strlen(hf_strerror_detail()) > 0);
    EXPECT(hf_pool_check(test_path(name), HF_CHECK_REPAIR, ignore_problem, NULL, NULL, &result) <
           0);
}

/* Folders and files that never were pools. */
static void check_foreign(void)
{
    int fd;

    expect_refused("absent");
    command("mkdir '%s'%s", test_path("empty"), "");
    expect_refused("empty");
    command("mkdir -p '%s/meta' && touch '%s/meta/data.mdb'", test_path("touched"),
            test_path("touched"));
    expect_refused("touched");
    command("mkdir -p '%s' && cp -r /usr/share/doc/libc6 '%s/'", test_path("foreign"),
            test_path("foreign"));
    expect_refused("foreign");
    fd = open(test_path("plain"), O_CREAT | O_RDWR, 0600);
    EXPECT_OK(fd);
    close(fd);
    expect_refused("plain");
    EXPECT_EQ(symlink("loop", test_path("loop")), 0);
    expect_refused("loop");
}

static int body(int argc, char **argv)
{
    uint64_t rounds = argc > 1 ? strtoull(argv[1], NULL, 0) : 300;
    struct test_rng rng = {.state = test_seed()};

    check_foreign();
    test_pool_create(GOOD, TEST_MIB(8));
    test_join(test_fork(fill_and_die, NULL));
    if (test_is_slow())
        rounds /= 4;
    for (uint64_t round = 0; round < rounds; round++)
        round_of_damage(&rng, round);
    printf("%" PRIu64 " damaged pools, no crash\n", rounds);
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
