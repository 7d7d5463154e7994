/* SPDX-License-Identifier: MIT */
/*
 * Memory that is given back, on each kind of memory: what the system keeps before and after.
 * Files, pins, leases and what dead devices may write to keep theirs, also beside writers. A
 * registration keeps all. Blocks that come back hold zeros, also after a restart. A full file
 * system below is -ENOSPC, and no signal.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define POOL_BYTES TEST_MIB(16)
#define DISK_BYTES TEST_MIB(8)
#define POOL_PAGES (POOL_BYTES / TEST_PAGE)

static struct hf_trim_result trim(struct hf_pool *pool, uint64_t keep)
{
    struct hf_trim_result result = {.size = sizeof(result)};

    EXPECT_EQ(hf_pool_trim(pool, keep, &result), 0);
    EXPECT_EQ(result.registrations, 0);
    EXPECT_EQ(result.resident_bytes, test_resident_bytes(pool));
    return result;
}

static void delete (struct hf_pool *pool, const char *path)
{
    EXPECT_EQ(hf_unlink(pool, path, &test_wait), 0);
}

/* Files of `pages` pages: /0 and so on, which fill the pool. */
static unsigned fill(struct hf_pool *pool, uint64_t pages)
{
    char path[16];
    unsigned count = 0;

    while (test_free_bytes(pool) >= pages * TEST_PAGE) {
        snprintf(path, sizeof(path), "/%u", count);
        EXPECT_EQ(hf_close(test_file_filled(pool, path, count, pages)), 0);
        count++;
    }
    return count;
}

static void delete_every(struct hf_pool *pool, unsigned count, unsigned step, unsigned from)
{
    char path[16];

    for (unsigned i = from; i < count; i += step) {
        snprintf(path, sizeof(path), "/%u", i);
        delete (pool, path);
    }
}

static void write_every(struct hf_pool *pool, unsigned count, unsigned step, unsigned from,
                        uint64_t pages)
{
    char path[16];

    for (unsigned i = from; i < count; i += step) {
        snprintf(path, sizeof(path), "/%u", i);
        EXPECT_EQ(hf_close(test_file_filled(pool, path, i, pages)), 0);
    }
}

static void expect_every(struct hf_pool *pool, unsigned count, unsigned step, unsigned from,
                         uint64_t pages)
{
    char path[16];

    for (unsigned i = from; i < count; i += step) {
        struct hf_file *file;

        snprintf(path, sizeof(path), "/%u", i);
        file = test_file(pool, path);
        test_expect_pages(file, i, 0, pages);
        EXPECT_EQ(hf_close(file), 0);
    }
}

static void expect_zeros_in(struct hf_pool *pool)
{
    struct hf_file *file = test_file(pool, "/zeros");
    uint64_t bytes = test_free_bytes(pool);

    EXPECT_EQ(hf_fallocate(file, 0, 0, bytes, NULL), 0);
    test_expect_zeros(file, 0, bytes);
    EXPECT_EQ(hf_close(file), 0);
    delete (pool, "/zeros");
}

/* ---- how much is there ---- */

/* Whole huge runs and single pages; every second file stays. */
static void trims(struct hf_pool *pool, uint64_t pages)
{
    unsigned count = fill(pool, pages);
    uint64_t full = test_resident_bytes(pool), free_bytes;
    struct hf_trim_result result;

    EXPECT_EQ(full, POOL_BYTES);
    EXPECT_EQ(trim(pool, 0).given_bytes, test_free_bytes(pool));
    full = test_resident_bytes(pool);
    delete_every(pool, count, 2, 1);
    free_bytes = test_free_bytes(pool);
    result = trim(pool, 0);
    EXPECT_EQ(result.resident_bytes, POOL_BYTES - free_bytes);
    EXPECT_EQ(result.given_bytes, full - result.resident_bytes);
    EXPECT_EQ(test_free_bytes(pool), free_bytes);
    expect_every(pool, count, 2, 0, pages);
    EXPECT_EQ(trim(pool, 0).given_bytes, 0);
    expect_zeros_in(pool);
    write_every(pool, count, 2, 1, pages);
    EXPECT_EQ(test_resident_bytes(pool), POOL_BYTES);
    expect_every(pool, count, 1, 0, pages);
    delete_every(pool, count, 1, 0);
    EXPECT_EQ(trim(pool, 0).resident_bytes, TEST_PAGE); /* of block 0 */
    expect_zeros_in(pool);
}

static void keeps(struct hf_pool *pool)
{
    struct hf_trim_result result;
    unsigned count;

    (void)trim(pool, 0);
    count = fill(pool, 64);
    delete_every(pool, count, 1, 0);
    result = trim(pool, TEST_MIB(6));
    EXPECT_EQ(result.given_bytes, POOL_BYTES - TEST_MIB(6));
    EXPECT_EQ(trim(pool, TEST_MIB(6)).given_bytes, 0);
    EXPECT_EQ(trim(pool, TEST_MIB(6) - TEST_PAGE).given_bytes, TEST_PAGE);
    EXPECT_EQ(trim(pool, 4 * POOL_BYTES).given_bytes, 0);
}

static void on_memory(const char *name)
{
    struct hf_pool *pool = test_pool_new(name, POOL_BYTES);

    trims(pool, 1);
    trims(pool, 512);
    trims(pool, 100);
    keeps(pool);
    test_pool_close(pool);
    test_pool_check(name);
}

/* A process that attaches later knows which blocks have no memory, and takes none for zeros that
 * holds old bytes. */
static void restarted(const char *name)
{
    struct hf_pool *pool = test_pool_open(name);
    unsigned count = fill(pool, 16);

    delete_every(pool, count, 2, 1);
    (void)trim(pool, TEST_MIB(1));
    test_pool_close(pool);
    test_pool_check(name);
    pool = test_pool_open(name);
    expect_every(pool, count, 2, 0, 16);
    expect_zeros_in(pool);
    expect_every(pool, count, 2, 0, 16);
    delete_every(pool, count, 2, 0);
    (void)trim(pool, 0);
    EXPECT(test_resident_bytes(pool) <= TEST_MIB(1));
    test_pool_close(pool);
}

static void anonymous(void)
{
    const struct hf_pool_options options = {.size = sizeof(options), .pool_bytes = POOL_BYTES};
    struct hf_pool *pool;
    unsigned count;

    EXPECT_EQ(hf_pool_open_anonymous(&options, &pool), 0);
    count = fill(pool, 64);
    EXPECT(test_resident_bytes(pool) >= POOL_BYTES);
    delete_every(pool, count, 2, 0);
    EXPECT_EQ(trim(pool, 0).given_bytes, POOL_BYTES / 2 - TEST_PAGE);
    expect_every(pool, count, 2, 1, 64);
    expect_zeros_in(pool);
    test_pool_close(pool);
}

static void on_disk(uint32_t flags)
{
    char dir[] = "/var/tmp/holdfast-trim-XXXXXX", path[64];
    struct hf_pool_options options = {.size = sizeof(options), .pool_bytes = DISK_BYTES};
    struct hf_pool *pool;
    struct hf_pool_info info = {.size = sizeof(info)};
    unsigned count;
    uint64_t full;

    EXPECT(mkdtemp(dir) != NULL);
    snprintf(path, sizeof(path), "%s/data", dir);
    options.data_path = path;
    options.flags = flags;
    EXPECT_EQ(hf_pool_create(test_path(flags ? "durable" : "disk"), &options), 0);
    pool = test_pool_open(flags ? "durable" : "disk");
    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    full = info.resident_bytes;
    if (strcmp(info.media, "file") == 0) { /* /var/tmp may be a tmpfs */
        EXPECT(full >= DISK_BYTES);        /* it was allocated whole */
        count = fill(pool, 512);
        delete_every(pool, count, 2, 1);
        EXPECT(trim(pool, 0).given_bytes >= DISK_BYTES / 2);
        expect_every(pool, count, 2, 0, 512);
        expect_zeros_in(pool);
        EXPECT(test_resident_bytes(pool) + TEST_MIB(1) >= full);
        (void)trim(pool, 0);
        test_pool_close(pool);
        pool = test_pool_open(flags ? "durable" : "disk");
        expect_every(pool, count, 2, 0, 512);
        write_every(pool, count, 2, 1, 512);
        expect_every(pool, count, 1, 0, 512);
    }
    test_pool_close(pool);
    test_remove_tree(dir);
}

/* ---- by itself ---- */

#define ABOVE TEST_MIB(4)
#define LEAST (ABOVE - ABOVE / 8)
#define TIMES 10u

/* Before the library is asked: hf_pool_info() gives back what others have left. */
static uint64_t memory_of(const char *data)
{
    struct stat st;

    EXPECT_EQ(stat(data, &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

/* After any call: live data and the watermark, and no page more. A disk's file system counts its
 * own records of where the file lies. */
static void expect_below(struct hf_pool *pool, const char *data)
{
    uint64_t there = memory_of(data), live = POOL_BYTES - test_free_bytes(pool);

    if (there > live + ABOVE + (strncmp(data, "/var/tmp", 8) ? 0 : 16 * TEST_PAGE))
        FAIL("%" PRIu64 " KiB of memory for %" PRIu64 " KiB that are not free", there >> 10,
             live >> 10);
}

/* Ways in which blocks become free. */
static void empty_file(struct hf_pool *pool, const char *path, unsigned way)
{
    struct hf_file *file;
    struct iovec iov[1];
    struct hf_pin pin;

    if (way == 0) {
        delete (pool, path);
        return;
    }
    EXPECT_EQ(hf_open(pool, path, O_RDWR, 0, &file), 0);
    if (way == 1) {
        delete (pool, path); /* goes with the close */
    } else if (way == 2) {
        EXPECT_EQ(hf_truncate(file, 0, NULL), 0);
    } else if (way == 3) {
        EXPECT_EQ(
            hf_fallocate(file, HF_FALLOC_PUNCH_HOLE | HF_FALLOC_KEEP_SIZE, 0, TEST_MIB(64), NULL),
            0);
    } else {
        pin = test_pin(file, 0, TEST_PAGE, HF_PIN_READ, iov, 1);
        EXPECT_EQ(hf_truncate(file, 0, &test_detach), 0);
        EXPECT_EQ(hf_unpin(&pin), 0);
    }
    EXPECT_EQ(hf_close(file), 0);
    if (way > 1)
        delete (pool, path);
}

static void fill_and_empty(struct hf_pool *pool, const char *data, uint64_t pages, unsigned way,
                           bool each, uint64_t least)
{
    unsigned count = 0;
    char path[16];

    while (test_free_bytes(pool) >= pages * TEST_PAGE) {
        snprintf(path, sizeof(path), "/%u", count);
        EXPECT_EQ(hf_close(test_file_filled(pool, path, count++, pages)), 0);
        if (each)
            expect_below(pool, data);
    }
    for (unsigned i = 0; i < count; i++) {
        snprintf(path, sizeof(path), "/%u", i);
        empty_file(pool, path, way);
        if (each)
            expect_below(pool, data);
    }
    EXPECT_EQ(test_free_bytes(pool), POOL_BYTES);
    expect_below(pool, data);
    EXPECT(memory_of(data) >= least); /* and it does not give back too much */
}

static struct hf_pool *pool_above(const char *name, const char *data)
{
    const struct hf_pool_options options = {.size = sizeof(options),
                                            .pool_bytes = POOL_BYTES,
                                            .data_path = data,
                                            .trim_above_bytes = ABOVE};

    EXPECT_EQ(hf_pool_create(test_path(name), &options), 0);
    return test_pool_open(name);
}

/* Registered memory is left alone; what has come free by then goes at the next call. */
static void above_registered(struct hf_pool *pool, const char *data)
{
    struct hf_pool_memory memory = {.size = sizeof(memory)};
    unsigned count = fill(pool, 64);

    EXPECT_EQ(hf_pool_register(pool, HF_PIN_IO_URING, &memory), 0);
    delete_every(pool, count - 1, 1, 0);
    EXPECT_EQ(memory_of(data), POOL_BYTES);
    EXPECT_EQ(hf_pool_unregister(pool, HF_PIN_IO_URING), 0);
    delete_every(pool, count, 1, count - 1);
    expect_below(pool, data);
}

static void by_itself(void)
{
    static const uint64_t pages[] = {3, 100, 512, 700};
    struct hf_pool_info info = {.size = sizeof(info)};
    char data[256];
    struct hf_pool *pool;

    snprintf(data, sizeof(data), "%s", test_path("above/data"));
    pool = pool_above("above", NULL);
    for (unsigned i = 0; i < TIMES; i++)
        fill_and_empty(pool, data, pages[i % 4], i % 5, true, LEAST);
    above_registered(pool, data);
    test_pool_close(pool);
    pool = test_pool_open("above");
    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    EXPECT_EQ(info.trim_above_bytes, ABOVE);
    fill_and_empty(pool, data, 100, 0, true, LEAST);
    test_pool_close(pool);
    test_pool_check("above");
}

/* Only groups that are free as a whole go back there, so that is looked at when all is free. A file
 * of single pages in between keeps its group. */
static void by_itself_on_disk(void)
{
    char dir[] = "/var/tmp/holdfast-trim-XXXXXX", data[64];
    struct hf_pool_info info = {.size = sizeof(info)};
    struct hf_pool *pool;
    unsigned count;

    EXPECT(mkdtemp(dir) != NULL);
    snprintf(data, sizeof(data), "%s/data", dir);
    pool = pool_above("above-disk", data);
    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    if (strcmp(info.media, "file") == 0) {
        for (unsigned i = 0; i < TIMES; i++)
            fill_and_empty(pool, data, i % 2 ? 512 : 100, i % 5, i % 2, ABOVE / 2);
        count = fill(pool, 256);
        delete_every(pool, count, 2, 1); /* half of each group: nothing can go */
        EXPECT(memory_of(data) >= POOL_BYTES - ABOVE);
        delete_every(pool, count, 2, 0);
        expect_below(pool, data);
    }
    test_pool_close(pool);
    test_remove_tree(dir);
}

/* ---- beside those that use the pool ---- */

#define WRITERS 2u
#define ROUNDS 100u

/* Files of one page and more, some of which begin in a hole. */
static void write_and_delete(void *arg)
{
    const unsigned *id = arg;
    struct hf_pool *pool = test_pool_open("busy");
    char path[16];

    snprintf(path, sizeof(path), "/w%u", *id);
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint64_t pages = 1 + (round * 37 + *id) % 700;
        struct hf_file *file = test_file_filled(pool, path, round, pages);

        EXPECT_EQ(hf_fallocate(file, 0, (pages + 3) * TEST_PAGE, 5 * TEST_PAGE, NULL), 0);
        test_expect_zeros(file, pages * TEST_PAGE, 8 * TEST_PAGE);
        EXPECT_EQ(test_wrong_pages(file, round, pages), 0);
        EXPECT_EQ(hf_close(file), 0);
        delete (pool, path);
    }
    test_pool_close(pool);
}

static bool has_ended(pid_t pid)
{
    siginfo_t info = {0};

    EXPECT_EQ(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT), 0);
    return info.si_pid == pid;
}

static void busy(const char *data_folder)
{
    struct hf_pool_options options = {
        .size = sizeof(options), .pool_bytes = POOL_BYTES, .flags = HF_POOL_MEMORY};
    struct hf_trim_result result = {.size = sizeof(result)};
    unsigned ids[WRITERS] = {0, 1}, trims = 0;
    struct hf_pool *pool;
    pid_t writers[WRITERS];
    char data[64];

    snprintf(data, sizeof(data), "%s/data", data_folder ? data_folder : "");
    options.data_path = data_folder ? data : NULL;
    EXPECT_EQ(hf_pool_create(test_path("busy"), &options), 0);
    pool = test_pool_open("busy");
    for (unsigned i = 0; i < WRITERS; i++)
        writers[i] = test_fork(write_and_delete, &ids[i]);
    while (!has_ended(writers[0]) || !has_ended(writers[1]))
        EXPECT_EQ(hf_pool_trim(pool, trims++ % 3 ? 0 : TEST_MIB(4), &result), 0);
    for (unsigned i = 0; i < WRITERS; i++)
        test_join(writers[i]);
    (void)trim(pool, 0);
    expect_zeros_in(pool);
    test_pool_close(pool);
    test_pool_check("busy");
    test_remove_tree(test_path("busy"));
}

static void busy_on_disk(void)
{
    char dir[] = "/var/tmp/holdfast-trim-XXXXXX";

    EXPECT(mkdtemp(dir) != NULL);
    busy(dir);
    test_remove_tree(dir);
}

/* ---- what is left alone ---- */

static void register_and_die(void *arg)
{
    struct hf_pool_memory memory = {.size = sizeof(memory)};

    EXPECT_EQ(hf_pool_register(test_pool_open("kept"), HF_PIN_GPU, &memory), 0);
    test_raise(arg, 1);
    for (;;)
        pause();
}

static void registered(struct hf_pool *pool)
{
    struct hf_trim_result result = {.size = sizeof(result)};
    struct hf_pool_memory memory = {.size = sizeof(memory)};
    uint32_t *there = test_shared(sizeof(*there));
    uint64_t before;
    pid_t other;

    EXPECT_EQ(hf_close(test_file_filled(pool, "/gone", 1, 1024)), 0);
    delete (pool, "/gone");
    before = test_resident_bytes(pool);
    EXPECT_EQ(hf_pool_register(pool, HF_PIN_IO_URING, &memory), 0);
    EXPECT_EQ(hf_pool_trim(pool, 0, &result), -EBUSY);
    EXPECT(strstr(hf_strerror_detail(), "1 times"));
    EXPECT_EQ(test_resident_bytes(pool), before);
    EXPECT_EQ(hf_pool_unregister(pool, HF_PIN_IO_URING), 0);
    other = test_fork(register_and_die, there);
    test_await(there, 1);
    EXPECT_EQ(hf_pool_trim(pool, 0, &result), -EBUSY);
    EXPECT_EQ(test_resident_bytes(pool), before);
    test_kill(other);
    EXPECT_EQ(trim(pool, 0).given_bytes, 1024 * TEST_PAGE - TEST_PAGE);
}

struct held {
    uint32_t there;
    uint64_t first_byte; /* of the lease, from the memory's base */
};

static void lease_and_die(void *arg)
{
    const struct hf_lease_options options = {.size = sizeof(options), .flags = HF_PIN_GPU};
    struct hf_pool_memory memory = {.size = sizeof(memory)};
    struct hf_pool *pool = test_pool_open("kept");
    struct hf_file *file = test_file(pool, "/device");
    struct held *held = arg;
    struct iovec iov[8];

    test_lease(file, 0, 8 * TEST_PAGE, &options, iov, 8);
    EXPECT_EQ(hf_pool_memory(pool, &memory), 0);
    held->first_byte = (uint64_t)((char *)iov[0].iov_base - (char *)memory.base);
    test_raise(&held->there, 1);
    for (;;)
        pause();
}

/* Detached blocks are their holders', the living one's and the dead one's. */
static void held(struct hf_pool *pool)
{
    struct hf_pool_memory memory = {.size = sizeof(memory)};
    struct held *held = test_shared(sizeof(*held));
    struct hf_file *file = test_file_filled(pool, "/pinned", 7, 8);
    struct iovec iov[8];
    struct hf_pin pin;
    pid_t other;

    EXPECT_EQ(hf_close(test_file_filled(pool, "/device", 8, 8)), 0);
    other = test_fork(lease_and_die, held);
    test_await(&held->there, 1);
    pin = test_pin(file, 0, 8 * TEST_PAGE, HF_PIN_WRITE, iov, 1);
    EXPECT_EQ(hf_unlink(pool, "/pinned", &test_detach), 0);
    EXPECT_EQ(hf_truncate(file, 0, &test_detach), 0);
    test_kill(other);
    EXPECT_EQ(hf_unlink(pool, "/device", &test_detach), 0);
    (void)trim(pool, 0);
    EXPECT_EQ(hf_pool_memory(pool, &memory), 0);
    for (uint64_t page = 0; page < 8; page++) {
        EXPECT(test_page_is((char *)iov[0].iov_base + page * TEST_PAGE, 7, page));
        EXPECT(test_page_is((char *)memory.base + held->first_byte + page * TEST_PAGE, 8, page));
    }
    memset(iov[0].iov_base, 3, 8 * TEST_PAGE); /* it is still memory */
    EXPECT_EQ(hf_unpin(&pin), 0);
    EXPECT_EQ(hf_close(file), 0);
}

static void refused(void)
{
    struct hf_trim_result result = {.size = sizeof(result) - 1};
    struct hf_pool *pool = test_pool_open("kept");

    EXPECT_EQ(hf_pool_trim(pool, 0, &result), -EINVAL);
    EXPECT_EQ(hf_pool_trim(pool, 0, NULL), -EINVAL);
    EXPECT_EQ(hf_pool_trim(NULL, 0, &result), -EINVAL);
    result.size++;
    EXPECT_EQ(hf_pool_trim(pool, 1, &result), -EINVAL);
    test_pool_close(pool);
    EXPECT_EQ(hf_pool_open(test_path("kept"), HF_OPEN_RDONLY, &pool), 0);
    EXPECT_EQ(hf_pool_trim(pool, 0, &result), -EROFS);
    test_pool_close(pool);
}

static void left_alone(void)
{
    struct hf_pool *pool = test_pool_new("kept", POOL_BYTES);

    registered(pool);
    held(pool);
    test_pool_close(pool);
    refused();
}

/* ---- a file system that others fill meanwhile ---- */

/* A disk takes more for a while, since what was freed there comes free when its journal says so. */
static void take_all_room(void)
{
    static const char zeros[4096];

    for (unsigned again = 0; again < 3; again++) {
        int fd = open(test_path("small/ballast"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        ssize_t n;

        EXPECT(fd >= 0);
        do
            n = write(fd, zeros, sizeof(zeros));
        while (n > 0);
        EXPECT(n < 0 && errno == ENOSPC);
        EXPECT_EQ(fsync(fd), 0);
        close(fd);
    }
}

static void expect_full(struct hf_file *file, uint64_t at)
{
    char page[4096];
    struct iovec iov[1];
    struct hf_pin pin;

    test_page_fill(page, 1, at);
    EXPECT_EQ(hf_write(file, page, sizeof(page), at * TEST_PAGE), -ENOSPC);
    EXPECT(strstr(hf_strerror_detail(), "file system that has the pool's memory"));
    EXPECT_EQ(hf_truncate(file, (at + 1) * TEST_PAGE, NULL), 0);
    EXPECT_EQ(hf_pin(file, at * TEST_PAGE, TEST_PAGE, HF_PIN_WRITE, iov, 1, &pin), -ENOSPC);
    EXPECT_EQ(hf_fallocate(file, 0, at * TEST_PAGE, TEST_PAGE, NULL), -ENOSPC);
    EXPECT_EQ(hf_append(file, page, sizeof(page), NULL), -ENOSPC);
    EXPECT_EQ(hf_truncate(file, at * TEST_PAGE, NULL), 0);
}

/* Not enough for a huge run. */
static void leave_room(uint64_t bytes)
{
    int fd = open(test_path("small/ballast"), O_WRONLY | O_CLOEXEC);
    struct stat st;

    EXPECT(fd >= 0 && fstat(fd, &st) == 0);
    EXPECT_EQ(ftruncate(fd, st.st_size - (off_t)bytes), 0);
    EXPECT_EQ(fsync(fd), 0);
    close(fd);
}

/* What has memory is used before the call fails, wherever it lies. A process that attaches later
 * finds it too. */
static void beside_others(const char *name, bool exact)
{
    struct hf_pool *pool = test_pool_open(name);
    struct hf_file *file;
    uint64_t pages;

    delete_every(pool, fill(pool, 512), 1, 0);
    file = test_file_filled(pool, "/kept", 5, 100);
    (void)trim(pool, TEST_MIB(2));
    take_all_room();
    for (unsigned again = 0; again < 3; again++) {
        uint64_t room = again == 2 ? 250 : 0;

        leave_room(room * TEST_PAGE);
        pages = test_fill_pool(file, 5, 100);
        EXPECT(pages >= 100 + TEST_MIB(2) / TEST_PAGE && pages < POOL_PAGES / 2);
        if (exact)
            EXPECT_EQ(pages, 100 + TEST_MIB(2) / TEST_PAGE + room);
        expect_full(file, pages);
        EXPECT_EQ(test_wrong_pages(file, 5, pages), 0);
        EXPECT_EQ(hf_truncate(file, 100 * TEST_PAGE, NULL), 0);
        EXPECT_EQ(hf_close(file), 0);
        test_pool_close(pool);
        pool = test_pool_open(name);
        file = test_file(pool, "/kept");
    }
    EXPECT_EQ(unlink(test_path("small/ballast")), 0);
    EXPECT_EQ(test_fill_pool(file, 5, 100), POOL_PAGES);
    EXPECT_EQ(test_wrong_pages(file, 5, POOL_PAGES), 0);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
    test_pool_check(name);
}

/* The metadata and what processes share are elsewhere, so that they have room. */
static void in_small(const char *name, bool exact)
{
    struct hf_pool_options options = {
        .size = sizeof(options), .pool_bytes = POOL_BYTES, .flags = HF_POOL_MEMORY};
    char data[256];

    snprintf(data, sizeof(data), "%s", test_path("small/data"));
    options.data_path = data;
    EXPECT_EQ(hf_pool_create(test_path(name), &options), 0);
    beside_others(name, exact);
    EXPECT_EQ(umount(test_path("small")), 0);
}

static bool mount_disk(void)
{
    char command[512];

    snprintf(command, sizeof(command),
             "exec 2>/dev/null; cd %s && truncate -s 32M image && mkfs.ext4 -q -m 0 image && "
             "mount -o loop image small",
             test_folder());
    return system(command) == 0;
}

/* Others take what a pool gives back, and give it back in turn, while two processes use the pool
 * and trim it. Calls fail with -ENOSPC and change nothing then; no process gets a signal. */
#define CROWDED_ROUNDS 300u

static void write_crowded(void *arg)
{
    const unsigned *id = arg;
    struct hf_pool *pool = test_pool_open("crowded");
    static unsigned char page[4096];
    struct hf_file *file;
    unsigned refused = 0;
    char path[16];

    snprintf(path, sizeof(path), "/c%u", *id);
    for (unsigned round = 0; round < CROWDED_ROUNDS; round++) {
        uint64_t pages = 1 + (round * 53 + *id) % 300, done = 0;
        struct hf_trim_result result = {.size = sizeof(result)};

        file = test_file(pool, path);
        for (; done < pages; done++) {
            ssize_t n;

            test_page_fill(page, round, done);
            n = hf_write(file, page, sizeof(page), done * TEST_PAGE);
            EXPECT(n == (ssize_t)sizeof(page) || n == -ENOSPC);
            if (n < 0)
                break;
        }
        refused += done < pages;
        EXPECT_EQ(test_size(file), done * TEST_PAGE);
        EXPECT_EQ(test_wrong_pages(file, round, done), 0);
        EXPECT_EQ(hf_close(file), 0);
        delete (pool, path);
        EXPECT_EQ(hf_pool_trim(pool, 0, &result), 0);
    }
    fprintf(stderr, "trim: %u of %u files found no room\n", refused, CROWDED_ROUNDS);
    test_pool_close(pool);
}

/* All of the room that there is; then it goes again. */
static void come_and_go(const pid_t writers[WRITERS])
{
    static const char zeros[65536];
    const char *path = test_path("small/others");

    while (!has_ended(writers[0]) || !has_ended(writers[1])) {
        int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

        EXPECT_OK(fd);
        while (write(fd, zeros, sizeof(zeros)) > 0)
            ;
        usleep(500);
        EXPECT_EQ(ftruncate(fd, 0), 0);
        close(fd);
        usleep(500);
    }
    EXPECT_EQ(unlink(path), 0);
}

static void beside_a_crowd(void)
{
    unsigned ids[WRITERS] = {0, 1};
    struct hf_pool_options options = {
        .size = sizeof(options), .pool_bytes = POOL_BYTES, .trim_above_bytes = HF_HUGE_BYTES};
    pid_t writers[WRITERS];
    struct hf_pool *pool;
    char data[256];

    EXPECT_EQ(mount("none", test_path("small"), "tmpfs", 0, "size=17m"), 0);
    snprintf(data, sizeof(data), "%s", test_path("small/data"));
    options.data_path = data;
    EXPECT_EQ(hf_pool_create(test_path("crowded"), &options), 0);
    pool = test_pool_open("crowded");
    for (unsigned i = 0; i < WRITERS; i++)
        writers[i] = test_fork(write_crowded, &ids[i]);
    come_and_go(writers);
    for (unsigned i = 0; i < WRITERS; i++)
        test_join(writers[i]);
    test_expect_trimmed(pool);
    expect_zeros_in(pool);
    test_pool_close(pool);
    test_pool_check("crowded");
    EXPECT_EQ(umount(test_path("small")), 0);
}

static void on_full(void)
{
    EXPECT_EQ(mkdir(test_path("small"), 0700), 0);
    if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)) {
        fprintf(stderr, "trim: not on a full file system, which needs root\n");
        return;
    }
    EXPECT_EQ(mount("none", test_path("small"), "tmpfs", 0, "size=32m"), 0);
    in_small("full", true);
    beside_a_crowd();
    if (mount_disk())
        in_small("full-disk", false);
    else
        fprintf(stderr, "trim: not on a full disk: needs mkfs.ext4 and a loop device\n");
}

static void trim_gives_back(void)
{
    on_memory("memory");
    restarted("memory");
    anonymous();
    on_disk(HF_POOL_MEMORY);
    on_disk(HF_POOL_DURABLE);
    by_itself();
    by_itself_on_disk();
    busy(NULL);
    busy_on_disk();
    left_alone();
    on_full();
}

TEST_SCENARIO(trim_gives_back)
