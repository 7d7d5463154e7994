/* SPDX-License-Identifier: MIT */
/*
 * Files: what the public calls promise where two parts of src/fs meet. These are files without
 * names, blocks past end of file, layout changes that detach, full and fragmented pools, and what
 * killed processes leave behind.
 */
#include "anonymous_pool.h"
#include "fs/fs.h"
#include "pool/pool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <holdfast/compact.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE ((uint64_t)HF_BLOCK_BYTES)
#define POOL_BYTES (UINT64_C(32) << 20)

static const struct hf_policy detach = {.kind = HF_POLICY_DETACH};
static const struct hf_policy nowait = {.kind = HF_POLICY_NOWAIT};

static int open_pool(void **state)
{
    return open_pool_of(state, POOL_BYTES);
}

static struct hf_file *open_file(struct hf_pool *pool, const char *path, int flags)
{
    struct hf_file *file;

    assert_int_equal(hf_open(pool, path, flags | O_RDWR, 0644, &file), 0);
    return file;
}

static uint64_t free_bytes(struct hf_pool *pool)
{
    struct hf_pool_info info = {.size = sizeof info};

    assert_int_equal(hf_pool_info(pool, &info), 0);
    return info.free_bytes;
}

static uint64_t detached_bytes(struct hf_pool *pool)
{
    struct hf_pool_info info = {.size = sizeof info};

    assert_int_equal(hf_pool_info(pool, &info), 0);
    return info.detached_bytes;
}

/* Page i of the file is full of the byte first + i. */
static void write_pages(struct hf_file *file, uint64_t page, unsigned count, int first)
{
    char bytes[HF_BLOCK_BYTES];

    for (unsigned i = 0; i < count; i++) {
        memset(bytes, first + (int)i, sizeof bytes);
        assert_int_equal(hf_write(file, bytes, sizeof bytes, (page + i) * PAGE), sizeof bytes);
    }
}

static void assert_bytes(struct hf_file *file, uint64_t off, uint64_t len, int byte)
{
    char got[HF_BLOCK_BYTES], want[HF_BLOCK_BYTES];

    memset(want, byte, sizeof want);
    while (len) {
        uint64_t n = len < PAGE ? len : PAGE;

        assert_int_equal(hf_read(file, got, n, off), n);
        assert_memory_equal(got, want, n);
        off += n;
        len -= n;
    }
}

static uint64_t size_of(struct hf_file *file)
{
    struct stat st;

    assert_int_equal(hf_fstat(file, &st), 0);
    return (uint64_t)st.st_size;
}

static uint64_t blocks_of(struct hf_file *file)
{
    struct stat st;

    assert_int_equal(hf_fstat(file, &st), 0);
    return (uint64_t)st.st_blocks / 8;
}

static char *pin_bytes(struct hf_file *file, uint64_t off, uint64_t len, uint32_t flags,
                       struct hf_pin *pin)
{
    struct iovec iov;

    assert_int_equal(hf_pin(file, off, len, flags, &iov, 1, pin), 1);
    assert_int_equal(iov.iov_len, len);
    return iov.iov_base;
}

/* ---- files without names ---- */

static void an_open_file_outlives_its_names(void **state)
{
    struct hf_pool *pool = *state;
    uint64_t before = free_bytes(pool);
    struct hf_file *file = open_file(pool, "/f", O_CREAT), *again;

    write_pages(file, 0, 3, 1);
    assert_int_equal(hf_unlink(pool, "/f", &nowait), 0);
    assert_int_equal(hf_open(pool, "/f", O_RDWR, 0, &again), -ENOENT);
    write_pages(file, 3, 1, 4);
    assert_bytes(file, 3 * PAGE, PAGE, 4);
    assert_int_equal(free_bytes(pool), before - 4 * PAGE);
    assert_int_equal(hf_close(file), 0);
    assert_int_equal(free_bytes(pool), before);
}

static void a_replaced_file_goes(void **state)
{
    struct hf_pool *pool = *state;
    uint64_t before = free_bytes(pool);
    struct hf_file *old = open_file(pool, "/old", O_CREAT);

    write_pages(old, 0, 2, 1);
    assert_int_equal(hf_close(open_file(pool, "/new", O_CREAT | O_EXCL)), 0);
    assert_int_equal(hf_rename(pool, "/new", "/old", 0), 0);
    assert_int_equal(free_bytes(pool), before - 2 * PAGE);
    assert_bytes(old, PAGE, PAGE, 2);
    assert_int_equal(hf_close(old), 0);
    assert_int_equal(free_bytes(pool), before);
}

static void a_pinned_file_is_deleted_as_the_policy_says(void **state)
{
    struct hf_pool *pool = *state;
    uint64_t before = free_bytes(pool);
    struct hf_file *file = open_file(pool, "/f", O_CREAT);
    struct hf_pin pin;
    struct stat st;
    char *bytes;

    write_pages(file, 0, 4, 1);
    bytes = pin_bytes(file, PAGE, PAGE, HF_PIN_WRITE, &pin);
    assert_int_equal(hf_close(file), 0);
    assert_int_equal(hf_unlink(pool, "/f", &nowait), -EBUSY);
    assert_int_equal(hf_unlink(pool, "/f", NULL), -EDEADLK);
    assert_int_equal(hf_stat(pool, "/f", 0, &st), 0);
    assert_int_equal(hf_unlink(pool, "/f", &detach), 0);
    assert_int_equal(hf_stat(pool, "/f", 0, &st), -ENOENT);
    assert_int_equal(detached_bytes(pool), PAGE);
    assert_int_equal(free_bytes(pool), before - PAGE);
    assert_int_equal(bytes[5], 2);
    assert_int_equal(hf_unpin(&pin), 0);
    assert_int_equal(detached_bytes(pool), 0);
    assert_int_equal(free_bytes(pool), before);
}

/* ---- end of file ---- */

static void what_is_behind_the_end_is_zero(void **state)
{
    struct hf_file *file = open_file(*state, "/f", O_CREAT);

    write_pages(file, 0, 2, 7);
    assert_int_equal(hf_truncate(file, 100, NULL), 0);
    assert_int_equal(hf_truncate(file, 3 * PAGE, NULL), 0);
    assert_bytes(file, 0, 100, 7);
    assert_bytes(file, 100, 3 * PAGE - 100, 0);
    write_pages(file, 0, 1, 7);
    assert_int_equal(hf_truncate(file, 200, NULL), 0);
    assert_int_equal(hf_write(file, "x", 1, 2 * PAGE + 5), 1);
    assert_bytes(file, 200, 2 * PAGE + 5 - 200, 0);
    assert_int_equal(hf_truncate(file, 300, NULL), 0);
    assert_int_equal(hf_fallocate(file, HF_FALLOC_ZERO_RANGE, PAGE, PAGE, NULL), 0);
    assert_bytes(file, 300, 2 * PAGE - 300, 0);
    assert_int_equal(hf_close(file), 0);
}

static void blocks_may_be_there_ahead(void **state)
{
    struct hf_file *file = open_file(*state, "/f", O_CREAT);

    write_pages(file, 0, 1, 7);
    assert_int_equal(hf_fallocate(file, HF_FALLOC_KEEP_SIZE, 0, 8 * PAGE, NULL), 0);
    assert_int_equal(size_of(file), PAGE);
    assert_int_equal(blocks_of(file), 8);
    assert_int_equal(hf_write(file, "x", 1, 5 * PAGE + 9), 1); /* into a block that is there */
    assert_int_equal(blocks_of(file), 8);
    assert_bytes(file, PAGE, 4 * PAGE + 9, 0);
    assert_int_equal(hf_truncate(file, size_of(file), NULL), 0); /* frees the rest */
    assert_int_equal(blocks_of(file), 6);
    assert_int_equal(hf_close(file), 0);
}

static void data_and_holes_are_found(void **state)
{
    struct hf_file *file = open_file(*state, "/f", O_CREAT);
    uint64_t at;

    write_pages(file, 2, 2, 1);
    assert_int_equal(hf_truncate(file, 6 * PAGE, NULL), 0);
    assert_int_equal(hf_seek(file, 5, HF_SEEK_HOLE, &at), 0);
    assert_int_equal(at, 5);
    assert_int_equal(hf_seek(file, 5, HF_SEEK_DATA, &at), 0);
    assert_int_equal(at, 2 * PAGE);
    assert_int_equal(hf_seek(file, 2 * PAGE + 1, HF_SEEK_HOLE, &at), 0);
    assert_int_equal(at, 4 * PAGE);
    assert_int_equal(hf_seek(file, 4 * PAGE, HF_SEEK_DATA, &at), -ENXIO);
    assert_int_equal(hf_seek(file, 6 * PAGE, HF_SEEK_HOLE, &at), -ENXIO);
    assert_int_equal(hf_close(file), 0);
}

struct appender {
    struct hf_file *file;
    int byte;
};

#define APPENDS 2000
#define APPEND_BYTES 37

static void *append_many(void *arg)
{
    const struct appender *appender = arg;
    char bytes[APPEND_BYTES];

    memset(bytes, appender->byte, sizeof bytes);
    for (unsigned i = 0; i < APPENDS; i++)
        if (hf_append(appender->file, bytes, sizeof bytes, NULL) != sizeof bytes)
            return arg;
    return NULL;
}

static void appends_neither_overlap_nor_leave_gaps(void **state)
{
    struct hf_file *file = open_file(*state, "/log", O_CREAT);
    struct appender appenders[2] = {{file, 'a'}, {file, 'b'}};
    pthread_t threads[2];
    char record[APPEND_BYTES];
    unsigned counts[2] = {0, 0};
    void *failed;

    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, append_many, &appenders[i]), 0);
    for (unsigned i = 0; i < 2; i++) {
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    assert_int_equal(size_of(file), 2 * APPENDS * APPEND_BYTES);
    for (unsigned i = 0; i < 2 * APPENDS; i++) {
        assert_int_equal(hf_read(file, record, sizeof record, i * sizeof record), sizeof record);
        for (unsigned j = 1; j < sizeof record; j++)
            assert_int_equal(record[j], record[0]);
        counts[record[0] - 'a']++;
    }
    assert_int_equal(counts[0], APPENDS);
    assert_int_equal(counts[1], APPENDS);
    assert_int_equal(hf_close(file), 0);
}

/* ---- layout changes that detach ---- */

/* Blocks leave under several pins and come back one by one, in any order. */
static void detached_blocks_come_back_in_parts(void **state)
{
    struct hf_pool *pool = *state;
    uint64_t before = free_bytes(pool);
    struct hf_file *file = open_file(pool, "/f", O_CREAT);
    struct hf_pin pins[3];
    char *bytes[3];

    write_pages(file, 0, 8, 1);
    bytes[0] = pin_bytes(file, 2 * PAGE, 4 * PAGE, HF_PIN_WRITE, &pins[0]);
    bytes[1] = pin_bytes(file, 3 * PAGE, PAGE, 0, &pins[1]);
    bytes[2] = pin_bytes(file, 4 * PAGE, 3 * PAGE, 0, &pins[2]);
    assert_int_equal(hf_truncate(file, 0, &detach), 0);
    assert_int_equal(detached_bytes(pool), 5 * PAGE); /* pages 2 to 6 */
    assert_int_equal(hf_unpin(&pins[0]), 0);
    assert_int_equal(detached_bytes(pool), 4 * PAGE);
    assert_int_equal(bytes[1][0], 4);
    assert_int_equal(bytes[2][PAGE], 6);
    assert_int_equal(hf_unpin(&pins[2]), 0);
    assert_int_equal(detached_bytes(pool), PAGE);
    assert_int_equal(bytes[1][0], 4);
    assert_int_equal(hf_unpin(&pins[1]), 0);
    assert_int_equal(detached_bytes(pool), 0);
    assert_int_equal(hf_close(file), 0);
    assert_int_equal(hf_unlink(pool, "/f", NULL), 0);
    assert_int_equal(free_bytes(pool), before);
}

/* What a hold covers may begin inside the record of the blocks, also where that is the last one. */
static void blocks_inside_the_last_record_come_back(void **state)
{
    struct hf_pool *pool = *state;
    const struct shm *shm = pool->fs.dax.shm;
    struct hf_file *file = open_file(pool, "/f", O_CREAT);
    struct hf_pin pin;

    write_pages(file, 0, 8, 1);
    pin_bytes(file, 2 * PAGE, 4 * PAGE, 0, &pin);
    assert_int_equal(hf_truncate(file, 0, &detach), 0);
    assert_int_equal(detached_bytes(pool), 4 * PAGE);
    for (uint32_t i = 0; i < shm->run->holds_high; i++) {
        if (SHM_HOLD_KIND(shm->holds[i].state) != SHM_HOLD_DETACHED)
            continue;
        shm->holds[i].range.first += 3;
        shm->holds[i].block += 3;
    }
    assert_int_equal(hf_unpin(&pin), 0);
    assert_int_equal(detached_bytes(pool), 3 * PAGE);
    assert_int_equal(hf_close(file), 0);
}

/* A pin's block never serves another page of the file. */
static void shifted_pages_leave_their_pins_behind(void **state)
{
    struct hf_pool *pool = *state;
    struct hf_file *file = open_file(pool, "/f", O_CREAT);
    struct hf_pin pin;
    char *bytes;

    write_pages(file, 0, 6, 1);
    bytes = pin_bytes(file, 3 * PAGE, 2 * PAGE, HF_PIN_WRITE, &pin);
    assert_int_equal(hf_fallocate(file, HF_FALLOC_COLLAPSE_RANGE, PAGE, PAGE, &detach), 0);
    assert_int_equal(size_of(file), 5 * PAGE);
    bytes[0] = 99; /* seen by nobody */
    assert_bytes(file, 0, PAGE, 1);
    assert_bytes(file, PAGE, PAGE, 3);
    assert_bytes(file, 2 * PAGE, PAGE, 4);
    assert_bytes(file, 3 * PAGE, PAGE, 5);
    assert_int_equal(detached_bytes(pool), 2 * PAGE);
    assert_int_equal(hf_unpin(&pin), 0);
    bytes = pin_bytes(file, 2 * PAGE, PAGE, HF_PIN_WRITE, &pin);
    assert_int_equal(hf_fallocate(file, HF_FALLOC_INSERT_RANGE, PAGE, 2 * PAGE, &detach), 0);
    bytes[0] = 98;
    assert_bytes(file, PAGE, 2 * PAGE, 0);
    assert_bytes(file, 3 * PAGE, PAGE, 3);
    assert_bytes(file, 4 * PAGE, PAGE, 4);
    assert_int_equal(hf_unpin(&pin), 0);
    assert_int_equal(blocks_of(file), 5);
    assert_int_equal(hf_close(file), 0);
}

static void partly_cut_pages_leave_their_pins_behind(void **state)
{
    struct hf_file *file = open_file(*state, "/f", O_CREAT);
    struct hf_pin pin;
    char *bytes;

    write_pages(file, 0, 2, 1);
    bytes = pin_bytes(file, 0, 2 * PAGE, HF_PIN_WRITE, &pin);
    assert_int_equal(hf_truncate(file, 100, &detach), 0);
    assert_int_equal(hf_truncate(file, PAGE, NULL), 0);
    assert_int_equal(bytes[100], 1);
    bytes[200] = 55;
    assert_bytes(file, 0, 100, 1);
    assert_bytes(file, 100, PAGE - 100, 0);
    assert_int_equal(hf_unpin(&pin), 0);
    write_pages(file, 0, 2, 1);
    bytes = pin_bytes(file, 0, PAGE, 0, &pin);
    assert_int_equal(hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, 10, 20, &detach), 0);
    assert_int_equal(bytes[15], 1);
    assert_bytes(file, 10, 20, 0);
    assert_bytes(file, 30, PAGE - 30, 1);
    assert_int_equal(hf_unpin(&pin), 0);
    assert_int_equal(hf_close(file), 0);
}

static void a_move_changes_blocks_only(void **state)
{
    struct hf_pool *pool = *state;
    struct hf_file *file = open_file(pool, "/f", O_CREAT);
    uint64_t before;
    struct hf_pin pin;
    char *bytes;

    write_pages(file, 0, 3, 1);
    write_pages(file, 5, 3, 6);
    before = free_bytes(pool);
    bytes = pin_bytes(file, PAGE, PAGE, HF_PIN_WRITE, &pin);
    assert_int_equal(hf_move(file, 0, 8 * PAGE, &nowait), -EBUSY);
    assert_int_equal(hf_move(file, 0, 8 * PAGE, &detach), 0);
    bytes[0] = 77;
    assert_int_equal(hf_unpin(&pin), 0);
    assert_bytes(file, 0, PAGE, 1);
    assert_bytes(file, PAGE, PAGE, 2);
    assert_bytes(file, 3 * PAGE, 2 * PAGE, 0);
    assert_bytes(file, 6 * PAGE, PAGE, 7);
    assert_int_equal(free_bytes(pool), before);
    assert_int_equal(blocks_of(file), 6);
    assert_int_equal(hf_move(file, 8 * PAGE, PAGE, NULL), -EINVAL);
    assert_int_equal(hf_close(file), 0);
}

/* ---- full and fragmented pools ---- */

/* Leaves `count` free blocks, no two of them neighbours. */
static struct hf_file *fragment(struct hf_pool *pool, unsigned count)
{
    struct hf_file *ballast = open_file(pool, "/ballast", O_CREAT);

    assert_int_equal(hf_fallocate(ballast, 0, 0, free_bytes(pool), NULL), 0);
    for (uint64_t i = 0; i < count; i++)
        assert_int_equal(
            hf_fallocate(ballast, HF_FALLOC_PUNCH_HOLE, (2 * i + 1) * PAGE, PAGE, NULL), 0);
    assert_int_equal(free_bytes(pool), count * PAGE);
    return ballast;
}

static void much_is_zeroed_in_many_pieces(void **state)
{
    struct hf_pool *pool = *state;
    struct hf_file *file = open_file(pool, "/f", O_CREAT), *ballast;

    write_pages(file, 0, 100, 1);
    ballast = fragment(pool, 150);
    assert_int_equal(hf_fallocate(file, HF_FALLOC_ZERO_RANGE, 100, 98 * PAGE, NULL), 0);
    assert_bytes(file, 0, 100, 1);
    assert_bytes(file, 100, 98 * PAGE, 0);
    assert_bytes(file, 98 * PAGE + 100, PAGE - 100, 99);
    assert_int_equal(hf_move(file, 0, 100 * PAGE, NULL), 0);
    assert_bytes(file, 99 * PAGE, PAGE, 100);
    assert_int_equal(free_bytes(pool), 150 * PAGE);
    assert_int_equal(hf_fallocate(file, 0, 100 * PAGE, 151 * PAGE, NULL), -ENOSPC);
    assert_int_equal(free_bytes(pool), 150 * PAGE);
    assert_int_equal(hf_fallocate(file, 0, 100 * PAGE, 150 * PAGE, NULL), 0);
    assert_int_equal(free_bytes(pool), 0);
    assert_int_equal(hf_close(ballast), 0);
    assert_int_equal(hf_close(file), 0);
}

static void a_full_pool_can_still_be_emptied(void **state)
{
    struct hf_pool *pool = *state;
    struct hf_file *file = open_file(pool, "/f", O_CREAT), *ballast;
    char byte = 1;

    write_pages(file, 0, 3, 1);
    ballast = fragment(pool, 0);
    assert_int_equal(hf_write(file, &byte, 1, 3 * PAGE), -ENOSPC);
    assert_int_equal(hf_append(file, &byte, 1, NULL), -ENOSPC);
    assert_int_equal(hf_fallocate(file, HF_FALLOC_ZERO_RANGE, 0, PAGE, NULL), -ENOSPC);
    assert_int_equal(hf_move(file, 0, PAGE, NULL), -ENOSPC);
    assert_int_equal(hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, 10, 20, NULL), 0); /* in place */
    assert_bytes(file, 10, 20, 0);
    assert_bytes(file, 30, PAGE - 30, 1);
    assert_int_equal(hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, PAGE + 1, PAGE + 9, NULL), 0);
    assert_bytes(file, PAGE + 1, PAGE + 9, 0);
    assert_int_equal(hf_truncate(file, 2 * PAGE, NULL), 0);
    assert_int_equal(hf_append(file, &byte, 1, NULL), 1);
    assert_int_equal(hf_close(ballast), 0);
    assert_int_equal(hf_close(file), 0);
}

/* ---- what the dead leave ---- */

static char folder[] = "/dev/shm/holdfast-fs-test-XXXXXX";
static char pool_path[sizeof folder + 8];

static int make_pool(void **state)
{
    struct hf_pool_options options = {.size = sizeof options, .pool_bytes = POOL_BYTES};

    (void)state;
    strcpy(folder + sizeof folder - 7, "XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(pool_path, sizeof pool_path, "%s/pool", folder);
    return hf_pool_create(pool_path, &options);
}

static void remove_tree(const char *path)
{
    const struct dirent *entry;
    DIR *dir = opendir(path);

    while (dir && (entry = readdir(dir))) {
        char inner[4096];

        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
        if (unlink(inner))
            remove_tree(inner);
    }
    if (dir)
        closedir(dir);
    rmdir(path);
}

static int remove_pool(void **state)
{
    (void)state;
    remove_tree(folder);
    return 0;
}

static struct hf_pool *attach(uint32_t flags)
{
    struct hf_pool *pool;

    assert_int_equal(hf_pool_open(pool_path, flags, &pool), 0);
    return pool;
}

/* Runs `body` in a process of its own, which is then killed where it stands. */
static void in_a_killed_process(void (*body)(struct hf_pool *pool))
{
    pid_t pid = fork();
    int status;

    assert_true(pid >= 0);
    if (pid == 0) {
        struct hf_pool *pool;

        if (hf_pool_open(pool_path, 0, &pool))
            _exit(1);
        body(pool);
        raise(SIGKILL);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
}

static void assert_sound(void)
{
    struct hf_check_result result = {.size = sizeof result};

    assert_int_equal(hf_pool_check(pool_path, 0, NULL, NULL, NULL, &result), 0);
    assert_int_equal(result.problems, 0);
}

static void append_and_die(struct hf_pool *pool)
{
    struct hf_file *file;

    if (hf_open(pool, "/f", O_RDWR | O_CREAT, 0600, &file) ||
        hf_append(file, "abc", 3, NULL) != 3 || hf_append(file, "defg", 4, NULL) != 4)
        _exit(1);
}

static void assert_appended(struct hf_pool *pool)
{
    struct hf_file *file;
    char bytes[8];

    assert_int_equal(hf_open(pool, "/f", O_RDONLY, 0, &file), 0);
    assert_int_equal(size_of(file), 7);
    assert_int_equal(hf_read(file, bytes, sizeof bytes, 0), 7);
    assert_memory_equal(bytes, "abcdefg", 7);
    assert_int_equal(hf_close(file), 0);
}

/* The size was in the run segment only. */
static void sizes_outlive_a_kill(void **state)
{
    struct hf_pool *pool;

    (void)state;
    in_a_killed_process(append_and_die);
    pool = attach(0);
    assert_appended(pool);
    assert_int_equal(hf_pool_close(pool), 0);
    assert_sound();
}

static void sizes_outlive_a_kill_and_a_reader(void **state)
{
    struct hf_pool *pool;

    (void)state;
    in_a_killed_process(append_and_die);
    pool = attach(HF_OPEN_RDONLY);
    assert_appended(pool);
    assert_int_equal(hf_mkdir(pool, "/d", 0755), -EROFS);
    assert_int_equal(hf_pool_close(pool), 0);
    pool = attach(0);
    assert_appended(pool);
    assert_int_equal(hf_pool_close(pool), 0);
    assert_sound();
}

static void unlink_open_and_die(struct hf_pool *pool)
{
    struct hf_file *file;
    struct iovec iov;
    struct hf_pin pin;

    if (hf_open(pool, "/f", O_RDWR | O_CREAT, 0600, &file) ||
        hf_fallocate(file, 0, 0, 100 * PAGE, NULL) || hf_unlink(pool, "/f", NULL) ||
        hf_pin(file, 0, 10 * PAGE, 0, &iov, 1, &pin) != 1 || hf_truncate(file, 5 * PAGE, &detach))
        _exit(1);
}

static void nothing_of_the_dead_stays(void **state)
{
    struct hf_pool *pool;

    (void)state;
    in_a_killed_process(unlink_open_and_die);
    pool = attach(0);
    assert_int_equal(free_bytes(pool), POOL_BYTES);
    assert_int_equal(detached_bytes(pool), 0);
    assert_int_equal(hf_pool_close(pool), 0);
    assert_sound();
}

/* The same while another process is there all the time. */
static void nothing_of_the_dead_stays_meanwhile(void **state)
{
    struct hf_pool *pool = attach(0);

    (void)state;
    in_a_killed_process(unlink_open_and_die);
    assert_int_equal(free_bytes(pool), POOL_BYTES);
    in_a_killed_process(append_and_die);
    assert_appended(pool);
    assert_int_equal(hf_pool_close(pool), 0);
    assert_sound();
}

static void the_same_pool_is_one_handle(void **state)
{
    struct hf_pool *first = attach(0), *second = attach(0), *reader;
    struct hf_dir *dir;

    (void)state;
    assert_ptr_equal(first, second);
    assert_int_equal(hf_pool_open(pool_path, HF_OPEN_RDONLY, &reader), -EBUSY);
    assert_int_equal(hf_opendir(first, "/", &dir), 0);
    assert_int_equal(hf_pool_close(second), 0);
    assert_int_equal(hf_pool_close(first), -EBUSY);
    assert_int_equal(hf_closedir(dir), 0);
    assert_int_equal(hf_pool_close(first), 0);
    assert_int_equal(access(pool_path, F_OK), 0);
}

/* ---- words of the segment that are wrong, and memory that is cut off ---- */

#define PAST 32u /* pages of a file past the end that the pool had at first */

/* All that the pool had at first is in /ballast. */
static struct hf_file *write_past_first_end(struct hf_pool *pool)
{
    struct hf_file *ballast = open_file(pool, "/ballast", O_CREAT), *file;

    assert_int_equal(hf_fallocate(ballast, 0, 0, POOL_BYTES, NULL), 0);
    assert_int_equal(hf_close(ballast), 0);
    assert_int_equal(hf_pool_grow(pool, 2 * POOL_BYTES), 0);
    file = open_file(pool, "/f", O_CREAT);
    write_pages(file, 0, PAST, 1);
    return file;
}

static void expect_pages(struct hf_file *file)
{
    char bytes[HF_BLOCK_BYTES];

    for (unsigned i = 0; i < PAST; i++) {
        assert_int_equal(hf_read(file, bytes, sizeof bytes, i * PAGE), sizeof bytes);
        assert_int_equal(bytes[0], 1 + i);
        assert_int_equal(bytes[sizeof bytes - 1], 1 + i);
    }
}

static void a_trim_goes_by_the_recorded_size(void **state)
{
    struct hf_trim_result result = {.size = sizeof result};
    struct hf_pool *pool = attach(0);
    struct shm_run *run = pool->fs.dax.shm->run;
    struct hf_file *file = write_past_first_end(pool);
    uint64_t blocks = run->pool_blocks;

    (void)state;
    run->pool_blocks = 5;
    assert_int_equal(hf_pool_trim(pool, 0, &result), 0);
    run->pool_blocks = blocks;
    expect_pages(file);
    assert_int_equal(hf_close(file), 0);
    assert_int_equal(hf_pool_close(pool), 0);
    assert_sound();
}

static void a_shrink_looks_at_the_files(void **state)
{
    struct hf_pool *pool = attach(0);
    struct shm *shm = pool->fs.dax.shm;
    struct hf_file *file = write_past_first_end(pool);

    (void)state;
    assert_int_equal(hf_unlink(pool, "/ballast", NULL), 0);
    for (uint64_t group = POOL_BYTES / HF_HUGE_BYTES; group < 2 * POOL_BYTES / HF_HUGE_BYTES;
         group++)
        shm->group_free[group] = SHM_GROUP_BLOCKS;
    assert_int_equal(hf_pool_shrink(pool, POOL_BYTES, NULL), 0);
    expect_pages(file);
    assert_int_equal(hf_close(file), 0);
    assert_int_equal(hf_pool_close(pool), 0);
    assert_sound();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_pool, close_pool)
#define TEST_ON_DISK(name) cmocka_unit_test_setup_teardown(name, make_pool, remove_pool)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_open_file_outlives_its_names),
        TEST(a_replaced_file_goes),
        TEST(a_pinned_file_is_deleted_as_the_policy_says),
        TEST(what_is_behind_the_end_is_zero),
        TEST(blocks_may_be_there_ahead),
        TEST(data_and_holes_are_found),
        TEST(appends_neither_overlap_nor_leave_gaps),
        TEST(detached_blocks_come_back_in_parts),
        TEST(blocks_inside_the_last_record_come_back),
        TEST(shifted_pages_leave_their_pins_behind),
        TEST(partly_cut_pages_leave_their_pins_behind),
        TEST(a_move_changes_blocks_only),
        TEST(much_is_zeroed_in_many_pieces),
        TEST(a_full_pool_can_still_be_emptied),
        TEST_ON_DISK(sizes_outlive_a_kill),
        TEST_ON_DISK(sizes_outlive_a_kill_and_a_reader),
        TEST_ON_DISK(nothing_of_the_dead_stays),
        TEST_ON_DISK(nothing_of_the_dead_stays_meanwhile),
        TEST_ON_DISK(the_same_pool_is_one_handle),
        TEST_ON_DISK(a_trim_goes_by_the_recorded_size),
        TEST_ON_DISK(a_shrink_looks_at_the_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
