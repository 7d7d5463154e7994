/* SPDX-License-Identifier: MIT */
/*
 * Putting in place: memory that no file has is filled and published by one call. The pool is full
 * of a file's secret first, which is deleted, so each block that is handed out holds old bytes of
 * another file. Nobody comes to see one of them, whatever becomes of the put: committed in part,
 * aborted, killed, forked, too late. And every block comes back.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/put.h>
#include <holdfast/serve.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SECRET 77
#define MINE 5
#define QUARANTINE_MS 400
#define QUARANTINE_NS (QUARANTINE_MS * UINT64_C(1000000))
#define PIECES 32

static struct hf_pool *pool;
static uint32_t *stage;

/* ----------------------------------------------------------------------------- a pool --- */

/* Each block has held the secret. */
static void fill_with_secret(void)
{
    struct hf_file *file = test_file(pool, "/secret");

    test_fill_pool(file, SECRET, 0);
    EXPECT_EQ(hf_truncate(file, 0, NULL), 0);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_unlink(pool, "/secret", NULL), 0);
}

static void new_pool(const char *name, uint32_t flags)
{
    const struct hf_pool_options options = {.size = sizeof(options),
                                            .pool_bytes = TEST_MIB(8),
                                            .flags = flags,
                                            .quarantine_ns = QUARANTINE_NS};

    EXPECT_EQ(hf_pool_create(test_path(name), &options), 0);
    pool = test_pool_open(name);
}

/* An empty file, in a pool where all that is free has old bytes. */
static struct hf_file *new_file(void)
{
    struct hf_file *file = test_file(pool, "/file");

    fill_with_secret();

    EXPECT_EQ(hf_truncate(file, 0, NULL), 0);
    return file;
}

static void end_file(struct hf_file *file)
{
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_unlink(pool, "/file", NULL), 0);
}

/* ----------------------------------------------------------------------------- a put --- */

static struct iovec pieces[PIECES];
static int piece_count;

static struct hf_put begin(struct hf_file *file, uint64_t off, uint64_t len, uint32_t flags)
{
    uint64_t sum = 0;
    struct hf_put put;

    piece_count = hf_put_begin(file, off, len, flags, pieces, PIECES, &put);
    EXPECT_OK(piece_count);
    for (int i = 0; i < piece_count; i++)
        sum += pieces[i].iov_len;
    EXPECT_EQ(sum, len);
    return put;
}

/* Where byte `at` of the put lies. */
static char *place(uint64_t at)
{
    for (int i = 0; i < piece_count; i++) {
        if (at < pieces[i].iov_len)
            return (char *)pieces[i].iov_base + at;
        at -= pieces[i].iov_len;
    }
    FAIL("byte %" PRIu64 " is in no piece", at);
}

static void fill(uint64_t first_page, uint64_t pages)
{
    for (uint64_t i = 0; i < pages; i++)
        test_page_fill(place(i * TEST_PAGE), MINE, first_page + i);
}

/* Some page of the secret is there: else what follows shows nothing. */
static void expect_old_bytes(uint64_t pages)
{
    unsigned zeros = 0;

    for (uint64_t i = 0; i < pages; i++)
        zeros += test_is_zero(place(i * TEST_PAGE), TEST_PAGE);
    EXPECT_EQ(zeros, 0);
}

static uint64_t blocks_of(struct hf_file *file)
{
    struct stat st;

    EXPECT_EQ(hf_fstat(file, &st), 0);
    return (uint64_t)st.st_blocks * 512 / TEST_PAGE;
}

static void await_free(uint64_t free_bytes)
{
    uint64_t limit = test_now_ns() + TEST_PATIENCE_NS;
    struct statvfs space;

    for (;;) {
        EXPECT_EQ(hf_statvfs(pool, &space), 0);
        if (space.f_bfree * HF_BLOCK_BYTES == free_bytes)
            return;
        EXPECT(test_now_ns() < limit);
        test_sleep_ms(5);
    }
}

/* ----------------------------------------------------------------------------- published --- */

static void check_commit(uint32_t flags)
{
    struct hf_file *file = new_file();
    uint64_t free_bytes = test_free_bytes(pool);
    struct hf_put put = begin(file, 0, 3 * TEST_PAGE, flags);

    EXPECT_EQ(test_free_bytes(pool), free_bytes - 3 * TEST_PAGE);
    expect_old_bytes(3);
    fill(0, 3);
    EXPECT_EQ(test_size(file), 0);
    EXPECT_EQ(blocks_of(file), 0);
    EXPECT_EQ(hf_put_commit(file, &put, 3 * TEST_PAGE), 0);
    EXPECT_EQ(test_size(file), 3 * TEST_PAGE);
    EXPECT_EQ(blocks_of(file), 3);
    test_expect_pages(file, MINE, 0, 3);
    EXPECT_EQ(hf_put_commit(file, &put, TEST_PAGE), -EINVAL);
    EXPECT_EQ(hf_put_abort(pool, &put), -EINVAL);
    EXPECT_EQ(test_free_bytes(pool), free_bytes - 3 * TEST_PAGE);
    put = begin(file, 5 * TEST_PAGE, TEST_PAGE, flags); /* two pages of hole before it */
    fill(5, 1);
    EXPECT_EQ(hf_put_commit(file, &put, TEST_PAGE), 0);
    test_expect_zeros(file, 3 * TEST_PAGE, 2 * TEST_PAGE);
    test_expect_pages(file, MINE, 5, 1);
    end_file(file);
    EXPECT_EQ(test_free_bytes(pool), free_bytes);
}

/* A device read less than was asked for. */
static void check_short(uint32_t flags)
{
    struct hf_file *file = new_file();
    uint64_t free_bytes = test_free_bytes(pool);
    struct hf_put put = begin(file, 0, 9 * TEST_PAGE + 1, flags);
    struct iovec iov;
    struct hf_pin pin;

    fill(0, 9);
    EXPECT_EQ(hf_put_commit(file, &put, 10 * TEST_PAGE), -EINVAL);
    EXPECT_EQ(hf_put_commit(file, &put, 0), -EINVAL);
    EXPECT_EQ(hf_put_commit(file, &put, 2 * TEST_PAGE + 100), 0);
    EXPECT_EQ(test_size(file), 2 * TEST_PAGE + 100);
    EXPECT_EQ(test_free_bytes(pool), free_bytes - 3 * TEST_PAGE);
    pin = test_pin(file, 2 * TEST_PAGE, 100, HF_PIN_READ, &iov, 1);
    EXPECT(test_is_zero((char *)iov.iov_base + 100, TEST_PAGE - 100));
    EXPECT_EQ(hf_unpin(&pin), 0);
    EXPECT_EQ(hf_truncate(file, 10 * TEST_PAGE, NULL), 0);
    test_expect_zeros(file, 2 * TEST_PAGE + 100, 8 * TEST_PAGE - 100);
    test_expect_pages(file, MINE, 0, 2);
    end_file(file);
    EXPECT_EQ(test_free_bytes(pool), free_bytes);
}

/* After a last page that ends in the middle: its old bytes past end of file are not seen. */
static void check_tail(void)
{
    struct hf_file *file = new_file();
    struct hf_put put;

    test_write_pages(file, SECRET, 0, 1);
    EXPECT_EQ(hf_truncate(file, 10, NULL), 0);
    put = begin(file, TEST_PAGE, TEST_PAGE, HF_PIN_CPU);
    fill(1, 1);
    EXPECT_EQ(hf_put_commit(file, &put, TEST_PAGE), 0);
    test_expect_zeros(file, 10, TEST_PAGE - 10);
    test_expect_pages(file, MINE, 1, 1);
    end_file(file);
}

/* Blocks of zeros that fallocate has put there make room. */
static void check_allocated(void)
{
    struct hf_file *file = new_file();
    uint64_t free_bytes = test_free_bytes(pool);
    struct hf_put put;

    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_KEEP_SIZE, TEST_PAGE, 6 * TEST_PAGE, NULL), 0);
    put = begin(file, 2 * TEST_PAGE, 3 * TEST_PAGE, HF_PIN_CPU);
    fill(2, 3);
    EXPECT_EQ(hf_put_commit(file, &put, 3 * TEST_PAGE), 0);
    EXPECT_EQ(blocks_of(file), 6);
    EXPECT_EQ(test_free_bytes(pool), free_bytes - 6 * TEST_PAGE);
    test_expect_zeros(file, 0, 2 * TEST_PAGE);
    test_expect_pages(file, MINE, 2, 3);
    EXPECT_EQ(hf_truncate(file, 7 * TEST_PAGE, NULL), 0);
    test_expect_zeros(file, 5 * TEST_PAGE, 2 * TEST_PAGE);
    end_file(file);
    EXPECT_EQ(test_free_bytes(pool), free_bytes);
}

/* ----------------------------------------------------------------------------- not seen --- */

static int no_extent(void *arg, const struct hf_extent_info *info)
{
    (void)arg;
    return info->detached ? 0 : 1;
}

/* Grown over, filled, pinned and cut while the put is under way. */
static void check_unseen(uint32_t flags)
{
    struct hf_file *file = new_file();
    uint64_t free_bytes = test_free_bytes(pool);
    struct hf_put put = begin(file, 0, 4 * TEST_PAGE, flags);
    struct iovec iov[4];
    struct hf_pin pin;
    struct stat st;

    expect_old_bytes(4);
    EXPECT_EQ(hf_fstat(file, &st), 0);
    EXPECT_EQ(hf_extents(pool, st.st_ino, no_extent, NULL), 0);
    EXPECT_EQ(hf_truncate(file, 4 * TEST_PAGE, NULL), 0);
    test_expect_zeros(file, 0, 4 * TEST_PAGE);
    EXPECT_EQ(hf_put_commit(file, &put, 4 * TEST_PAGE), -ESTALE);
    pin = test_pin(file, 0, 4 * TEST_PAGE, HF_PIN_WRITE, iov, 4);
    EXPECT(test_is_zero(iov[0].iov_base, iov[0].iov_len));
    fill(0, 4); /* reaches nobody */
    EXPECT(test_is_zero(iov[0].iov_base, iov[0].iov_len));
    EXPECT_EQ(hf_unpin(&pin), 0);
    EXPECT_EQ(hf_truncate(file, 0, NULL), 0);
    EXPECT_EQ(hf_put_commit(file, &put, 4 * TEST_PAGE), 0); /* it can go there again */
    test_expect_pages(file, MINE, 0, 4);
    EXPECT_EQ(hf_truncate(file, 0, NULL), 0);
    put = begin(file, 0, 4 * TEST_PAGE, flags);
    EXPECT_EQ(hf_put_abort(pool, &put), 0);
    EXPECT_EQ(test_free_bytes(pool), free_bytes);
    EXPECT_EQ(hf_fallocate(file, 0, 0, free_bytes, NULL), 0);
    test_expect_zeros(file, 0, free_bytes);
    end_file(file);
    EXPECT_EQ(test_free_bytes(pool), free_bytes);
}

static void check_two(void)
{
    struct hf_file *file = new_file(), *other = test_file(pool, "/other");
    uint64_t free_bytes = test_free_bytes(pool);
    struct hf_put late = begin(file, 0, 2 * TEST_PAGE, HF_PIN_CPU);
    struct hf_put put = begin(file, 0, TEST_PAGE, HF_PIN_CPU);

    fill(0, 1);
    EXPECT_EQ(hf_put_commit(other, &put, TEST_PAGE), -EINVAL); /* begun in another file */
    EXPECT_EQ(hf_put_commit(file, &put, TEST_PAGE), 0);
    EXPECT_EQ(hf_put_commit(file, &late, 2 * TEST_PAGE), -ESTALE);
    EXPECT_EQ(hf_put_begin(file, 0, TEST_PAGE, 0, pieces, PIECES, &put), -ESTALE);
    test_expect_pages(file, MINE, 0, 1);
    EXPECT_EQ(hf_close(other), 0);
    end_file(file);
    EXPECT_EQ(hf_put_abort(pool, &late), 0); /* the file is gone, and the put is not */
    EXPECT_EQ(hf_unlink(pool, "/other", NULL), 0);
    EXPECT_EQ(test_free_bytes(pool), free_bytes);
}

/* A full pool, and one whose free blocks lie in too many pieces. */
static void check_full(void)
{
    struct hf_file *file = new_file(), *ballast = test_file(pool, "/ballast");
    uint64_t free_bytes = test_free_bytes(pool), pages = test_fill_pool(ballast, 1, 0);
    struct hf_put put;

    EXPECT_EQ(hf_put_begin(file, 0, TEST_PAGE, 0, pieces, PIECES, &put), -ENOSPC);
    EXPECT_EQ(test_free_bytes(pool), 0);
    for (uint64_t page = 0; page < 80 && page < pages; page += 2)
        EXPECT_EQ(hf_fallocate(ballast, HF_FALLOC_PUNCH_HOLE, page * TEST_PAGE, TEST_PAGE, NULL),
                  0);
    EXPECT_EQ(test_free_bytes(pool), 40 * TEST_PAGE);
    EXPECT_EQ(hf_put_begin(file, 0, 40 * TEST_PAGE, 0, pieces, PIECES, &put), -E2BIG);
    EXPECT_EQ(hf_put_begin(file, 0, 3 * TEST_PAGE, 0, pieces, 2, &put), -E2BIG);
    EXPECT_EQ(hf_put_begin(file, 0, 41 * TEST_PAGE, 0, pieces, PIECES, &put), -ENOSPC);
    EXPECT_EQ(test_free_bytes(pool), 40 * TEST_PAGE);
    put = begin(file, 0, 32 * TEST_PAGE, HF_PIN_RDMA);
    EXPECT_EQ(piece_count, 32);
    fill(0, 32);
    EXPECT_EQ(hf_put_commit(file, &put, 20 * TEST_PAGE), 0);
    test_expect_pages(file, MINE, 0, 20);
    EXPECT_EQ(test_free_bytes(pool), 20 * TEST_PAGE);
    EXPECT_EQ(hf_close(ballast), 0);
    EXPECT_EQ(hf_unlink(pool, "/ballast", NULL), 0);
    end_file(file);
    EXPECT_EQ(test_free_bytes(pool), free_bytes);
}

/* ----------------------------------------------------------------------------- names --- */

static void check_named(void)
{
    struct hf_file *file, *old = test_file_filled(pool, "/name", 9, 2);
    uint64_t free_bytes;
    struct hf_put put;
    struct stat st;

    EXPECT_EQ(hf_close(old), 0);
    free_bytes = test_free_bytes(pool);
    EXPECT_EQ(hf_open(pool, "/", O_RDWR | O_TMPFILE, 0640, &file), 0);
    put = begin(file, 0, 2 * TEST_PAGE, HF_PIN_IO_URING);
    fill(0, 2);
    EXPECT_EQ(hf_put_commit_as(file, &put, 2 * TEST_PAGE, "/name", HF_RENAME_NOREPLACE), -EEXIST);
    EXPECT_EQ(hf_put_commit_as(file, &put, 2 * TEST_PAGE, "/name", HF_RENAME_EXCHANGE), -EINVAL);
    EXPECT_EQ(hf_put_commit_as(file, &put, 2 * TEST_PAGE, "/no/name", 0), -ENOENT);
    EXPECT_EQ(test_size(file), 0);
    old = test_file(pool, "/name");
    test_expect_pages(old, 9, 0, 2);
    EXPECT_EQ(hf_close(old), 0);
    EXPECT_EQ(hf_put_commit_as(file, &put, 2 * TEST_PAGE, "/name", 0), 0);
    EXPECT_EQ(hf_fstat(file, &st), 0);
    EXPECT_EQ(st.st_nlink, 1);
    EXPECT_EQ(hf_close(file), 0);
    file = test_file(pool, "/name");
    EXPECT_EQ(test_size(file), 2 * TEST_PAGE);
    test_expect_pages(file, MINE, 0, 2);
    put = begin(file, 2 * TEST_PAGE, TEST_PAGE, HF_PIN_CPU); /* it has a name now */
    EXPECT_EQ(hf_put_commit_as(file, &put, TEST_PAGE, "/more", 0), -ENOENT);
    EXPECT_EQ(hf_put_abort(pool, &put), 0);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(test_free_bytes(pool), free_bytes);
    EXPECT_EQ(hf_unlink(pool, "/name", NULL), 0);
}

/* ----------------------------------------------------------------------------- handles --- */

static int find_put(void *arg, const struct hf_pin_info *info)
{
    if (!(info->flags & HF_PIN_PUT))
        return 0;
    *(struct hf_pin_info *)arg = *info;
    return 1;
}

static void use_parents(void *arg)
{
    struct hf_put *put = arg;

    EXPECT_EQ(hf_put_abort(pool, put), -ECHILD);
}

static void check_handle(void)
{
    struct hf_file *file = new_file();
    struct hf_put put = begin(file, TEST_PAGE, 2 * TEST_PAGE, HF_PIN_GPU), none = {{0}};
    struct hf_pin_info info;

    EXPECT_EQ(hf_pins(pool, find_put, &info), 1);
    EXPECT_EQ(info.off, TEST_PAGE);
    EXPECT_EQ(info.len, 2 * TEST_PAGE);
    EXPECT_EQ(info.pid, getpid());
    EXPECT_EQ(info.state, HF_PIN_DETACHED);
    EXPECT_EQ(info.flags, HF_PIN_PUT | HF_PIN_WRITE | HF_PIN_GPU);
    EXPECT_EQ(hf_put_abort(pool, &none), -EINVAL);
    none.hf_opaque[0] = UINT64_MAX;
    EXPECT_EQ(hf_put_commit(file, &none, 1), -EINVAL);
    test_join(test_fork(use_parents, &put));
    EXPECT_EQ(hf_truncate(file, 0, &test_nowait), 0); /* it is in nobody's way */
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_pool_close(pool), -EBUSY);
    EXPECT(strstr(hf_strerror_detail(), "1 put") != NULL);
    EXPECT_EQ(hf_put_abort(pool, &put), 0);
    EXPECT_EQ(hf_pins(pool, find_put, &info), 0);
    EXPECT_EQ(hf_unlink(pool, "/file", NULL), 0);
}

/* ----------------------------------------------------------------------------- killed --- */

struct putter {
    const char *pool;
    uint32_t flags;
};

static void hold_put(void *arg)
{
    const struct putter *putter = arg;

    pool = test_pool_open(putter->pool);
    begin(test_file(pool, "/file"), 0, 5 * TEST_PAGE, putter->flags);
    fill(0, 2);
    test_raise(stage, 1);
    for (;;)
        pause();
}

static pid_t putter_begins(const char *name, uint32_t flags)
{
    struct putter putter = {name, flags};
    pid_t pid;

    test_raise(stage, 0);
    pid = test_fork(hold_put, &putter);
    test_await(stage, 1);
    return pid;
}

/* All that is free is given out, and holds zeros: none of it is the put's. */
static void expect_only_zeros(uint64_t but_bytes)
{
    struct hf_file *file = test_file(pool, "/all");
    uint64_t bytes = test_free_bytes(pool);

    EXPECT_EQ(hf_fallocate(file, 0, 0, bytes, NULL), 0);
    test_expect_zeros(file, 0, bytes);
    if (but_bytes)
        EXPECT_EQ(hf_fallocate(file, 0, bytes, but_bytes, NULL), -ENOSPC);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_unlink(pool, "/all", NULL), 0);
}

static void check_killed(const char *name)
{
    struct hf_file *file = new_file();
    uint64_t free_bytes = test_free_bytes(pool);

    test_kill(putter_begins(name, HF_PIN_CPU));
    EXPECT_EQ(hf_truncate(file, 5 * TEST_PAGE, NULL), 0);
    test_expect_zeros(file, 0, 5 * TEST_PAGE);
    EXPECT_EQ(hf_fallocate(file, 0, 0, free_bytes, NULL), 0); /* which needs the put's too */
    test_expect_zeros(file, 0, free_bytes);
    end_file(file);
    EXPECT_EQ(test_free_bytes(pool), free_bytes);
}

static int find_quarantined(void *arg, const struct hf_pin_info *info)
{
    return info->state == HF_PIN_QUARANTINED && find_put(arg, info);
}

/* A device may go on filling it. */
static void check_killed_device(const char *name)
{
    struct hf_file *file = new_file();
    uint64_t free_bytes = test_free_bytes(pool), killed_ns;
    pid_t pid = putter_begins(name, HF_PIN_RDMA);
    struct hf_pin_info info;

    killed_ns = test_now_ns();
    test_kill(pid);
    if (hf_pins(pool, find_quarantined, &info) == 1)
        EXPECT_EQ(info.pid, pid);
    else
        EXPECT(test_now_ns() - killed_ns >= QUARANTINE_NS);
    await_free(free_bytes);
    EXPECT(test_now_ns() - killed_ns >= QUARANTINE_NS);
    expect_only_zeros(0);
    end_file(file);
}

/* And nobody is left; the run segment is there, or not. */
static void check_all_killed(const char *name, bool alone, bool memory)
{
    struct hf_file *file = new_file();
    uint64_t free_bytes, killed_ns, left;
    struct hf_pool_info info = {.size = sizeof(info)};
    pid_t pid;

    end_file(file);
    free_bytes = test_free_bytes(pool);
    test_pool_close(pool);
    pid = putter_begins(name, HF_PIN_IO_URING);
    killed_ns = test_now_ns();
    test_kill(pid);
    if (alone)
        EXPECT_EQ(unlink(test_path(memory ? "put/run" : "durable/run")), 0);
    pool = test_pool_open(name);
    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    left = info.free_bytes;
    if (test_now_ns() - killed_ns < QUARANTINE_NS) {
        EXPECT_EQ(left, free_bytes - 5 * TEST_PAGE);
        expect_only_zeros(0);
    }
    EXPECT_EQ(hf_unlink(pool, "/file", NULL), 0);
    await_free(free_bytes);
    EXPECT(test_now_ns() - killed_ns >= QUARANTINE_NS);
    expect_only_zeros(0);
}

/* ----------------------------------------------------------------------------- grown --- */

static void check_grown(void)
{
    struct hf_file *file = new_file();
    struct hf_put put = begin(file, 0, 4 * TEST_PAGE, HF_PIN_CPU);
    char *before = place(0);
    struct hf_pool_info info = {.size = sizeof(info)};

    fill(0, 4);
    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    EXPECT_EQ(hf_pool_grow(pool, info.pool_bytes + TEST_MIB(2)), 0);
    expect_only_zeros(4 * TEST_PAGE);
    EXPECT(place(0) == before);
    EXPECT_EQ(hf_put_commit(file, &put, 4 * TEST_PAGE), 0);
    test_expect_pages(file, MINE, 0, 4);
    end_file(file);
}

static void check_pool(const char *name, uint32_t flags)
{
    new_pool(name, flags);
    for (uint32_t by = HF_PIN_CPU; by <= HF_PIN_GPU; by += HF_PIN_IO_URING) {
        check_commit(by);
        check_short(by);
        check_unseen(by);
    }
    check_tail();
    check_allocated();
    check_two();
    check_full();
    check_named();
    check_handle();
    check_killed(name);
    check_killed_device(name);
    check_all_killed(name, false, flags == HF_POOL_MEMORY);
    check_all_killed(name, true, flags == HF_POOL_MEMORY);
    check_grown();
    test_pool_close(pool);
    test_pool_check(name);
}

static void put_in_place(void)
{
    stage = test_shared(sizeof(*stage));
    check_pool("put", HF_POOL_MEMORY);
    check_pool("durable", HF_POOL_DURABLE);
}

TEST_SCENARIO(put_in_place)
