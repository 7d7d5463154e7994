/* SPDX-License-Identifier: MIT */
/* The scenes of the second tier: see tier.c. */
#include "tier.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Of all kinds: packed, in a page, in the block with its key, and beyond. */
static uint64_t length_of(uint64_t number)
{
    static const uint64_t lengths[] = {8,    700,  2047, 2048,    3519,        3520,
                                       3521, 4096, 4097, KIB(64), KIB(200) + 1};

    return lengths[number % (sizeof lengths / sizeof *lengths)];
}

static void put_all(uint64_t from, uint64_t count, uint64_t version)
{
    for (uint64_t i = from; i < from + count; i++)
        object_put(tier_cache, i, 0, version, length_of(i));
}

/* ---- calls ---- */

static void expect_where(uint64_t from, uint64_t count, uint8_t where)
{
    struct object_key key;
    uint8_t is;

    for (uint64_t i = from; i < from + count; i++) {
        object_key(&key, i, 0);
        EXPECT_EQ(hfc_exists(tier_cache, &key.key, 1, &is), where != HFC_NOWHERE);
        EXPECT_EQ(is, where);
    }
}

static void check_back(uint64_t from, uint64_t count, int64_t version)
{
    for (uint64_t i = from; i < from + count; i++) {
        int64_t got = tier_fetch(i, version < 0 ? 0 : length_of(i));

        if (got != version)
            FAIL("object %" PRIu64 " of %" PRIu64 " bytes: %lld, and not %lld", i, length_of(i),
                 (long long)got, (long long)version);
    }
}

void scene_calls(void)
{
    struct hfc_tier_stats stats;
    struct object_key key;

    tier_begin(TEST_MIB(32));
    put_all(0, 44, 1);
    expect_where(0, 44, HFC_IN_MEMORY);
    tier_evict_all();
    for (uint64_t i = 0; i < 44; i++)
        EXPECT_EQ(object_get(tier_cache, i, 0, 0), -ENOENT);
    expect_where(0, 44, HFC_ON_DISK);
    expect_where(44, 44, HFC_NOWHERE);
    check_back(0, 44, 1);
    expect_where(0, 44, HFC_IN_MEMORY);
    check_back(0, 44, 1); /* from memory */
    stats = tier_stats();
    EXPECT_EQ(stats.demoted, 44);
    EXPECT_EQ(stats.promoted, 44);
    EXPECT_EQ(stats.skipped, 0);
    EXPECT(!stats.fault && stats.used_bytes >= stats.demoted_bytes);
    tier_evict_all(); /* they are there already */
    EXPECT_EQ(tier_stats().kept, 44);
    EXPECT_EQ(tier_stats().demoted, 44);
    put_all(0, 22, 2);
    tier_evict_all();
    check_back(0, 22, 2);
    check_back(22, 22, 1);
    tier_evict_all();
    for (uint64_t i = 0; i < 44; i += 2) { /* on the disk alone */
        object_key(&key, i, 0);
        EXPECT_EQ(hfc_remove(tier_cache, &key.key), 0);
        EXPECT_EQ(hfc_remove(tier_cache, &key.key), -ENOENT);
        EXPECT_EQ(tier_fetch(i, 0), -ENOENT);
        expect_where(i, 1, HFC_NOWHERE);
    }
    tier_detach(); /* and it lasts */
    tier_attach();
    for (uint64_t i = 0; i < 44; i++)
        EXPECT_EQ(tier_fetch(i, 0), i % 2 == 0 ? -ENOENT : i < 22 ? 2 : 1);
    tier_end();
}

/* ---- many: more than the tier holds, and evictions by puts ---- */

void scene_many(void)
{
    uint64_t back = 0;
    struct stat st;

    tier_begin(TEST_MIB(8));
    for (uint64_t i = 0; i < 400; i++) {
        object_put(tier_cache, i, 0, 1, KIB(64));
        if (i % 16 == 15) /* the disk keeps up */
            usleep(1000);
    }
    tier_evict_all();
    for (uint64_t i = 0; i < 400; i++) {
        int64_t got = tier_fetch(i, KIB(64));

        EXPECT(got == 1 || got == -ENOENT);
        back += got == 1;
    }
    printf("many: %" PRIu64 " of 400 came back, %" PRIu64 " skipped\n", back, tier_stats().skipped);
    EXPECT(back > 20 && back < 400);
    EXPECT_EQ(tier_stats().damaged, 0);
    EXPECT_EQ(stat(test_path("disk/objects"), &st), 0);
    EXPECT(st.st_size <= (off_t)TEST_MIB(8));
    tier_end();
}

/* ---- directory ---- */

static void check_refused(const char *tier, uint64_t bytes, int error)
{
    const struct hfc_options options = {
        .size = sizeof(options), .capacity_bytes = TEST_MIB(2), .tier = tier, .tier_bytes = bytes};
    struct hfc *cache;
    int rc = hfc_open(tier_pool, "/other", &options, &cache);

    printf("refused: %s\n", hfc_detail());
    EXPECT_EQ(rc, error);
    EXPECT_EQ(hfc_open(tier_pool, "/other", NULL, &cache), -ENOENT);
}

static void write_at(const char *path, off_t off, const char *text)
{
    int fd = open(path, O_RDWR | O_CREAT, 0600);

    EXPECT(fd >= 0);
    EXPECT_EQ(pwrite(fd, text, strlen(text), off), strlen(text));
    close(fd);
}

/* The directory is not there: all goes on without. It is there again: nothing old comes back. */
static void check_away(void)
{
    tier_evict_all();
    tier_detach();
    EXPECT_EQ(rename(test_path("disk"), test_path("away")), 0);
    tier_attach();
    EXPECT(tier_stats().fault);
    printf("away: %s\n", tier_stats().fault);
    expect_where(0, 11, HFC_NOWHERE);
    check_back(0, 11, -ENOENT);
    put_all(0, 5, 3);
    tier_evict_all();
    tier_detach();
    EXPECT_EQ(rename(test_path("away"), test_path("disk")), 0);
    tier_attach();
    check_back(0, 5, -ENOENT);
    check_back(5, 6, 1);
}

void scene_directory(void)
{
    tier_begin(TEST_MIB(8));
    put_all(0, 11, 1);
    check_refused("relative", TEST_MIB(8), -EINVAL);
    check_refused(NULL, TEST_MIB(8), -EINVAL);
    check_refused(test_path("disk"), 4096, -EINVAL);
    check_refused(test_path("nowhere"), TEST_MIB(8), -ENOENT);
    check_refused(test_path("disk"), TEST_MIB(8), -EEXIST); /* the other cache's */
    EXPECT_EQ(mkdir(test_path("foreign"), 0700), 0);
    write_at(test_path("foreign/objects"), 0, "something else");
    check_refused(test_path("foreign"), TEST_MIB(8), -EEXIST);
    check_away();
    tier_evict_all(); /* bytes of each object's data and of the first block */
    for (off_t at = 4096; at < (off_t)TEST_MIB(1); at += 4096)
        write_at(test_path("disk/objects"), at + 600, "damage");
    check_back(5, 6, -ENOENT);
    EXPECT_EQ(tier_stats().damaged, 6);
    tier_evict_all();
    tier_detach();
    EXPECT_EQ(unlink(test_path("disk/objects")), 0); /* it is made again */
    tier_attach();
    EXPECT(!tier_stats().fault);
    put_all(0, 11, 4);
    tier_evict_all();
    check_back(0, 11, 4);
    tier_detach();
    write_at(test_path("disk/objects"), 0, "something else");
    tier_attach();
    printf("damaged: %s\n", tier_stats().fault);
    EXPECT(tier_stats().fault);
    test_remove_tree(test_path("foreign"));
    tier_end();
}

/* ---- errors of the disk ---- */

static long answer, answer_reading;

static long fail_io(bool reading, long result)
{
    return reading ? (answer_reading ? answer_reading : result) : answer ? answer : result;
}

static void check_writes_fail(int error)
{
    uint64_t before = tier_stats().write_errors;
    struct hfc_tier_stats stats;

    put_all(100, 22, 1);
    tier_evict_all();
    stats = tier_stats();
    EXPECT(stats.write_errors > before);
    EXPECT_EQ(stats.last_error, error);
    EXPECT(!stats.last_error_reading && stats.last_error_time);
}

/* As `ulimit -f` says: this process may write only the first MiB. */
static void write_little(void *unused)
{
    const struct rlimit limit = {TEST_MIB(1), TEST_MIB(1)};

    (void)unused;
    tier_attach();
    EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
    for (uint64_t i = 0; i < 40; i++)
        object_put(tier_cache, i, 0, 5, KIB(64));
    tier_evict_all();
    EXPECT(tier_stats().write_errors > 0);
    EXPECT(tier_stats().last_error == EFBIG || tier_stats().last_error == ENOSPC);
    for (uint64_t i = 0; i < 40; i++) {
        int64_t got = tier_fetch(i, KIB(64));

        EXPECT(got == 5 || got == -ENOENT);
    }
    tier_detach();
}

/* A tmpfs of 256 KiB, where this user may mount one. */
static void check_full_disk(void)
{
    if (mount("none", test_path("disk"), "tmpfs", 0, "size=256k")) {
        printf("errors: no mount here (%s)\n", strerror(errno));
        return;
    }
    tier_detach();
    tier_attach();
    EXPECT(!tier_stats().fault);
    check_writes_fail(ENOSPC);
    tier_detach();
    EXPECT_EQ(umount2(test_path("disk"), MNT_DETACH), 0);
    tier_attach();
}

void scene_errors(void)
{
    tier_begin(TEST_MIB(8));
    test_join(test_fork(write_little, NULL));
    cache_lab_io = fail_io;
    answer = -EIO;
    check_writes_fail(EIO);
    check_back(100, 22, -ENOENT);
    answer = 4096; /* a short write */
    check_writes_fail(ENOSPC);
    answer = 0;
    put_all(200, 22, 1);
    tier_evict_all();
    answer_reading = -EIO;
    check_back(200, 11, -ENOENT);
    EXPECT_EQ(tier_stats().last_error, EIO);
    EXPECT(tier_stats().last_error_reading);
    EXPECT_EQ(tier_stats().read_errors, 11);
    answer_reading = 0;
    check_back(200, 11, -ENOENT); /* they were given up */
    check_back(211, 11, 1);
    cache_lab_io = NULL;
    check_full_disk();
    tier_end();
}

/* ---- slow ---- */

static uint32_t *gate, *arrived; /* shared with children */

static void wait_when_written(enum cache_lab_point point)
{
    if (point != CACHE_LAB_TIER_WRITTEN)
        return;
    test_raise(arrived, 1);
    test_await(gate, 1);
}

static void check_puts_go_on(void)
{
    for (uint64_t i = 0; i < 300; i++)
        object_put(tier_cache, 1000 + i, 0, 1, KIB(64));
    EXPECT(tier_stats().skipped > 100);
    EXPECT(object_stats(tier_cache).held_bytes <= TEST_MIB(1));
}

void scene_slow(void)
{
    gate = test_shared(sizeof *gate);
    arrived = test_shared(sizeof *arrived);
    tier_begin(TEST_MIB(32));
    cache_lab_at = wait_when_written;
    for (uint64_t i = 0; i < 60; i++)
        object_put(tier_cache, i, 0, 1, KIB(64));
    object_put(tier_cache, 60, 0, 1, KIB(64));
    test_await(arrived, 1);
    check_puts_go_on();
    test_raise(gate, 1);
    tier_evict_all();
    EXPECT(tier_stats().demoted > 0);
    for (uint64_t i = 1290; i < 1300; i++)
        EXPECT_EQ(tier_fetch(i, KIB(64)), 1);
    cache_lab_at = NULL;
    tier_end();
}

/* ---- held: the process that writes is stopped ---- */

static uint32_t *has_put; /* it does not have the cache's lock */

static void put_and_stop(void *unused)
{
    (void)unused;
    tier_attach();
    cache_lab_at = wait_when_written;
    for (uint64_t i = 0; i < 100; i++)
        object_put(tier_cache, i, 0, 1, KIB(64));
    test_raise(has_put, 1);
    for (;;)
        pause();
}

void scene_held(void)
{
    pid_t pid;

    gate = test_shared(sizeof *gate);
    arrived = test_shared(sizeof *arrived);
    has_put = test_shared(sizeof *has_put);
    tier_begin(TEST_MIB(32));
    pid = test_fork(put_and_stop, NULL);
    test_await(arrived, 1);
    test_await(has_put, 1);
    test_stop(pid);
    for (uint64_t i = 0; i < 300; i++)
        object_put(tier_cache, 1000 + i, 0, 1, KIB(64));
    EXPECT(object_stats(tier_cache).held_bytes > 0);
    EXPECT(object_stats(tier_cache).held_bytes <= TEST_MIB(1));
    tier_evict_all();
    for (uint64_t i = 1290; i < 1300; i++)
        EXPECT_EQ(tier_fetch(i, KIB(64)), 1);
    test_kill(pid);
    for (uint64_t i = 0; i < 100; i++)
        object_put(tier_cache, 2000 + i, 0, 1, KIB(64));
    tier_evict_all();
    EXPECT_EQ(object_stats(tier_cache).held_bytes, 0);
    tier_end();
}

/* ---- dead: killed at each step ---- */

static struct {
    enum cache_lab_point point;
    uint64_t count;
} death;

static void die(enum cache_lab_point point)
{
    if (point == death.point && death.count-- == 0)
        kill(getpid(), SIGKILL);
}

static void work_and_die(void *unused)
{
    (void)unused;
    tier_attach();
    cache_lab_at = die;
    put_all(0, 44, 2);
    tier_evict_all();
    for (uint64_t i = 0; i < 44; i++)
        tier_fetch(i, 0);
    FAIL("step %d was not reached", (int)death.point);
}

static void check_death(enum cache_lab_point point, uint64_t count)
{
    uint64_t back = 0;
    pid_t pid;
    int status;

    death.point = point;
    death.count = count;
    tier_begin(TEST_MIB(32));
    put_all(0, 44, 1);
    tier_evict_all();
    pid = test_fork(work_and_die, NULL);
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    for (uint64_t i = 0; i < 44; i++) { /* before as after: a value, or none */
        int64_t got = tier_fetch(i, length_of(i));

        EXPECT(got == 1 || got == 2 || got == -ENOENT);
        back += got > 0;
    }
    EXPECT_EQ(tier_stats().damaged, 0);
    put_all(0, 44, 3);
    tier_evict_all();
    check_back(0, 44, 3);
    object_put(tier_cache, 100, 0, 1, KIB(64));
    tier_evict_all();
    EXPECT_EQ(object_stats(tier_cache).held_bytes, 0);
    printf("step %d, time %" PRIu64 ": %" PRIu64 " of 44 are there\n", (int)point, count, back);
    tier_end();
}

void scene_dead(void)
{
    for (uint64_t count = 0; count < 12; count += 11) {
        check_death(CACHE_LAB_TIER_QUEUED, count);
        check_death(CACHE_LAB_TIER_WRITTEN, count);
        check_death(CACHE_LAB_TIER_CLAIMED, count);
        check_death(CACHE_LAB_TIER_READ, count);
        check_death(CACHE_LAB_TIER_PUBLISHED, count);
        check_death(CACHE_LAB_LEAVES, count);
    }
}

/* ---- together: many readers of one object ---- */

#define READERS 4u
static uint32_t *reads;

static long count_io(bool reading, long result)
{
    if (reading) {
        test_count(reads);
        usleep(20000); /* so that the others come meanwhile */
    }
    return result;
}

static void *fetch_one(void *unused)
{
    (void)unused;
    EXPECT_EQ(tier_fetch(9, KIB(64)), 1);
    return NULL;
}

static void fetch_in_threads(void *unused)
{
    pthread_t threads[READERS];

    tier_attach();
    cache_lab_io = count_io;
    test_count(arrived);
    test_await(gate, 1);
    for (unsigned i = 0; i < READERS; i++)
        EXPECT_EQ(pthread_create(&threads[i], NULL, fetch_one, unused), 0);
    for (unsigned i = 0; i < READERS; i++)
        pthread_join(threads[i], NULL);
    tier_detach();
}

void scene_together(void)
{
    pid_t pids[3];

    gate = test_shared(sizeof *gate);
    arrived = test_shared(sizeof *arrived);
    reads = test_shared(sizeof *reads);
    tier_begin(TEST_MIB(32));
    object_put(tier_cache, 9, 0, 1, KIB(64));
    tier_evict_all();
    tier_detach(); /* as fork_reader() in tier_begun.c */
    for (unsigned i = 0; i < 3; i++)
        pids[i] = test_fork(fetch_in_threads, NULL);
    tier_attach();
    test_await(arrived, 3);
    test_raise(gate, 1);
    for (unsigned i = 0; i < 3; i++)
        test_join(pids[i]);
    EXPECT_EQ(test_peek(reads), 1);
    EXPECT_EQ(tier_stats().promoted, 1);
    tier_end();
}
