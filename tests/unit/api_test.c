/* SPDX-License-Identifier: MIT */
/*
 * The public calls one by one: arguments that are refused, results of the simplest uses, and that
 * out parameters stay untouched on failure. What they do together is for the other suites.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/put.h>
#include <holdfast/serve.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct hf_pool *pool;

static struct hf_pool_options small_options(void)
{
    return (struct hf_pool_options){.size = sizeof(struct hf_pool_options),
                                    .pool_bytes = TEST_MIB(8)};
}

static int open_anonymous(void **state)
{
    struct hf_pool_options options = small_options();

    (void)state;
    return hf_pool_open_anonymous(&options, &pool);
}

static int close_anonymous(void **state)
{
    (void)state;
    return hf_pool_close(pool);
}

static void version_matches_header(void **state)
{
    char want[32];

    (void)state;
    snprintf(want, sizeof(want), "%d.%d.%d", HF_VERSION_MAJOR, HF_VERSION_MINOR, HF_VERSION_PATCH);
    assert_string_equal(hf_version(), want);
}

static void create_refuses_bad_options(void **state)
{
    struct hf_pool_options options = small_options();

    (void)state;
    assert_int_equal(hf_pool_create(test_path("bad"), NULL), -EINVAL);
    options.size = 3;
    assert_int_equal(hf_pool_create(test_path("bad"), &options), -EINVAL);
    options = small_options();
    options.pool_bytes = TEST_MIB(4);
    assert_int_equal(hf_pool_create(test_path("bad"), &options), -EINVAL);
    options.pool_bytes = TEST_MIB(8) + 4096;
    assert_int_equal(hf_pool_create(test_path("bad"), &options), -EINVAL);
    options = small_options();
    options.flags = 0x80;
    assert_int_equal(hf_pool_create(test_path("bad"), &options), -EINVAL);
    options = small_options();
    options.reserved[1] = 1;
    assert_int_equal(hf_pool_create(test_path("bad"), &options), -EINVAL);
    options = small_options();
    options.engine = "warp";
    assert_int_equal(hf_pool_create(test_path("bad"), &options), -EINVAL);
    assert_true(strlen(hf_strerror_detail()) > 0);
    options = small_options();
    options.policy.kind = 99;
    assert_int_equal(hf_pool_create(test_path("bad"), &options), -EINVAL);
    options = small_options();
    options.quarantine_ns = UINT64_MAX;
    assert_int_equal(hf_pool_create(test_path("bad"), &options), -EINVAL);
    options = small_options();
    options.trim_above_bytes = TEST_MIB(2) + TEST_PAGE;
    assert_int_equal(hf_pool_create(test_path("bad"), &options), -EINVAL);
    assert_non_null(strstr(hf_strerror_detail(), "trim_above_bytes"));
    assert_int_equal(access(test_path("bad"), F_OK), -1);
}

static void create_leaves_nothing_behind(void **state)
{
    struct hf_pool_options options = small_options();

    (void)state;
    options.pool_bytes = UINT64_C(1) << 55;
    assert_true(hf_pool_create(test_path("huge"), &options) < 0);
    assert_int_equal(access(test_path("huge"), F_OK), -1);
}

static void create_refuses_a_full_directory(void **state)
{
    struct hf_pool_options options = small_options();

    (void)state;
    assert_int_equal(hf_pool_create(test_path("twice"), &options), 0);
    assert_int_equal(hf_pool_create(test_path("twice"), &options), -EEXIST);
    test_pool_check("twice");
}

static void create_keeps_mode(void **state)
{
    struct hf_pool_options options = small_options();
    struct stat st;

    (void)state;
    options.mode = 0660;
    assert_int_equal(hf_pool_create(test_path("mode"), &options), 0);
    assert_int_equal(stat(test_path("mode/data"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0660);
}

static void info_says_what_was_asked(void **state)
{
    struct hf_pool_options options = small_options();
    struct hf_pool_info info = {.size = sizeof(info)};
    struct hf_pool *other = NULL;

    (void)state;
    options.policy = test_deadline_ms(5);
    options.max_files = 1000;
    options.quarantine_ns = 7000000;
    options.trim_above_bytes = TEST_MIB(6);
    assert_int_equal(hf_pool_create(test_path("asked"), &options), 0);
    other = test_pool_open("asked");
    assert_int_equal(hf_pool_info(other, &info), 0);
    assert_int_equal(info.pool_bytes, TEST_MIB(8));
    assert_int_equal(info.limit_bytes, 64 * TEST_MIB(8));
    assert_int_equal(info.inodes, 1);
    assert_int_equal(info.detached_bytes, 0);
    assert_int_equal(info.policy.kind, HF_POLICY_DEADLINE);
    assert_int_equal(info.policy.deadline_ns, 5000000);
    assert_int_equal(info.quarantine_ns, 7000000);
    assert_int_equal(info.trim_above_bytes, TEST_MIB(6));
    assert_int_equal(info.max_files, 1000);
    assert_int_equal(info.max_processes, 256);
    assert_int_equal(info.processes, 1);
    assert_string_equal(info.engine, "slots");
    assert_true(info.free_bytes <= info.pool_bytes);
    info.size = 8;
    assert_int_equal(hf_pool_info(other, &info), -EINVAL);
    test_pool_close(other);
}

static void data_may_lie_elsewhere(void **state)
{
    struct hf_pool_options options = small_options();
    struct hf_pool *other;
    struct stat st;

    (void)state;
    options.data_path = test_path("elsewhere.data");
    assert_int_equal(hf_pool_create(test_path("elsewhere"), &options), 0);
    assert_int_equal(lstat(test_path("elsewhere/data"), &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    other = test_pool_open("elsewhere");
    assert_int_equal(hf_close(test_file_filled(other, "/file", 1, 3)), 0);
    test_pool_close(other);
    test_pool_check("elsewhere");
}

static void open_says_what_is_missing(void **state)
{
    struct hf_pool *other = (struct hf_pool *)1;

    (void)state;
    assert_int_equal(hf_pool_open(test_path("nowhere"), 0, &other), -ENOENT);
    assert_ptr_equal(other, (struct hf_pool *)1);
    assert_true(strlen(hf_strerror_detail()) > 10);
    assert_int_equal(hf_pool_open(test_path("nowhere"), 0x100, &other), -EINVAL);
}

static void statvfs_counts_blocks(void **state)
{
    struct statvfs space;

    (void)state;
    assert_int_equal(hf_statvfs(pool, &space), 0);
    assert_int_equal(space.f_bsize, HF_BLOCK_BYTES);
    assert_int_equal(space.f_blocks * space.f_frsize, TEST_MIB(8));
    assert_true(space.f_bfree <= space.f_blocks);
    assert_true(space.f_files > 0);
    assert_int_equal(space.f_namemax, HF_NAME_MAX);
}

static void files_are_made_and_found(void **state)
{
    struct hf_file *file = (struct hf_file *)1;
    char text[16];

    (void)state;
    assert_int_equal(hf_open(pool, "/f", O_RDWR, 0, &file), -ENOENT);
    assert_ptr_equal(file, (struct hf_file *)1);
    assert_int_equal(hf_open(pool, "f", O_RDWR | O_CREAT, 0640, &file), 0);
    assert_int_equal(hf_write(file, "hello", 5, 3), 5);
    assert_int_equal(hf_read(file, text, sizeof(text), 0), 8);
    assert_memory_equal(text, "\0\0\0hello", 8);
    assert_int_equal(hf_read(file, text, sizeof(text), 8), 0);
    assert_int_equal(hf_close(file), 0);
    assert_int_equal(hf_open(pool, "/f", O_RDWR | O_CREAT | O_EXCL, 0640, &file), -EEXIST);
    assert_int_equal(hf_unlink(pool, "/f", NULL), 0);
    assert_int_equal(hf_unlink(pool, "/f", NULL), -ENOENT);
}

static void bytes_past_the_end_are_never_old(void **state)
{
    struct hf_file *file = test_file_filled(pool, "/f", 1, 2);
    struct iovec iov;
    struct hf_pin pin;

    (void)state;
    assert_int_equal(hf_truncate(file, 100, NULL), 0);
    assert_int_equal(hf_truncate(file, 2 * TEST_PAGE, NULL), 0);
    test_expect_zeros(file, 100, 2 * TEST_PAGE - 100);
    pin = test_pin(file, 0, 2 * TEST_PAGE, HF_PIN_READ, &iov, 1);
    assert_true(test_is_zero((char *)iov.iov_base + 100, TEST_PAGE - 100));
    assert_int_equal(hf_unpin(&pin), 0);
    assert_int_equal(hf_close(file), 0);
    assert_int_equal(hf_unlink(pool, "/f", NULL), 0);
}

static void a_pin_is_memory_of_the_file(void **state)
{
    struct hf_file *file = test_file_filled(pool, "/f", 1, 4);
    struct iovec iov[4];
    struct hf_pin pin;
    char byte;

    (void)state;
    pin = test_pin(file, 10, 2 * TEST_PAGE, HF_PIN_WRITE, iov, 4);
    ((char *)iov[0].iov_base)[0] = 'w';
    assert_int_equal(hf_read(file, &byte, 1, 10), 1);
    assert_int_equal(byte, 'w');
    assert_int_equal(hf_write(file, "v", 1, 10), 1);
    assert_int_equal(((volatile char *)iov[0].iov_base)[0], 'v');
    assert_int_equal(hf_unpin(&pin), 0);
    assert_int_equal(hf_close(file), 0);
    assert_int_equal(hf_unlink(pool, "/f", NULL), 0);
}

/* On a present page, which is the fast path, on one that has no entry yet, and on a hole. */
static void pins_refuse_unknown_flags(void **state)
{
    struct hf_file *file = test_file_filled(pool, "/f", 7, 2);
    const uint32_t known =
        HF_PIN_WRITE | HF_PIN_NOWAIT | HF_PIN_NOFILL | HF_PIN_COHERENT | HF_PIN_YIELD | HF_PIN_GPU;
    struct iovec iov;
    struct hf_pin pin = test_pin(file, 0, 1, HF_PIN_READ, &iov, 1);

    (void)state;
    assert_int_equal(hf_unpin(&pin), 0);
    assert_int_equal(hf_truncate(file, 3 * TEST_PAGE, NULL), 0);
    for (unsigned bit = 0; bit < 32; bit++)
        for (uint64_t page = 0; page < 3 && !(known >> bit & 1); page++)
            assert_int_equal(hf_pin(file, page * TEST_PAGE, 1, UINT32_C(1) << bit, &iov, 1, &pin),
                             -EINVAL);
    assert_int_equal(hf_close(file), 0);
    assert_int_equal(hf_unlink(pool, "/f", NULL), 0);
}

static void moving_changes_blocks_only(void **state)
{
    struct hf_file *file = test_file_filled(pool, "/f", 1, 4);
    struct iovec before, after;
    struct hf_pin pin = test_pin(file, TEST_PAGE, TEST_PAGE, HF_PIN_READ, &before, 1);

    (void)state;
    assert_int_equal(hf_unpin(&pin), 0);
    assert_int_equal(hf_move(file, 0, 4 * TEST_PAGE, NULL), 0);
    pin = test_pin(file, TEST_PAGE, TEST_PAGE, HF_PIN_READ, &after, 1);
    assert_ptr_not_equal(before.iov_base, after.iov_base);
    assert_int_equal(hf_unpin(&pin), 0);
    test_expect_pages(file, 1, 0, 4);
    assert_int_equal(hf_close(file), 0);
    assert_int_equal(hf_unlink(pool, "/f", NULL), 0);
}

static void lies_in_one_piece(struct hf_file *file, uint64_t pages)
{
    struct iovec iov;
    struct hf_pin pin = test_pin(file, 0, pages * TEST_PAGE, HF_PIN_READ, &iov, 1);

    assert_int_equal(iov.iov_len, pages * TEST_PAGE);
    assert_int_equal(hf_unpin(&pin), 0);
}

/* Holes of two blocks are left alone by a file that would need many of them. */
static void small_files_lie_in_one_piece(void **state)
{
    struct hf_file *file;
    char name[16];

    (void)state;
    for (unsigned i = 0; i < 40; i++) {
        snprintf(name, sizeof(name), "/%u", i);
        file = test_file_filled(pool, name, i, 2);
        assert_int_equal(hf_close(file), 0);
    }
    for (unsigned i = 0; i < 40; i += 2) {
        snprintf(name, sizeof(name), "/%u", i);
        assert_int_equal(hf_unlink(pool, name, NULL), 0);
    }
    file = test_file(pool, "/f");
    assert_int_equal(hf_fallocate(file, 0, 0, 16 * TEST_PAGE, NULL), 0);
    lies_in_one_piece(file, 16);
    assert_int_equal(hf_move(file, 0, 16 * TEST_PAGE, NULL), 0);
    lies_in_one_piece(file, 16);
    assert_int_equal(hf_close(file), 0);
    assert_int_equal(hf_unlink(pool, "/f", NULL), 0);
    for (unsigned i = 1; i < 40; i += 2) {
        snprintf(name, sizeof(name), "/%u", i);
        assert_int_equal(hf_unlink(pool, name, NULL), 0);
    }
}

static int show_one(void *arg, const struct hf_pin_info *info)
{
    *(struct hf_pin_info *)arg = *info;
    return 42;
}

static void pins_are_shown(void **state)
{
    struct hf_file *file = test_file_filled(pool, "/f", 1, 4);
    struct hf_pin_info info;
    struct iovec iov;
    struct hf_pin pin;
    struct stat st;

    (void)state;
    pin = test_pin(file, TEST_PAGE + 5, 10, HF_PIN_WRITE | HF_PIN_RDMA, &iov, 1);
    assert_int_equal(hf_pins(pool, show_one, &info), 42);
    assert_int_equal(hf_fstat(file, &st), 0);
    assert_int_equal(info.ino, st.st_ino);
    assert_int_equal(info.off, TEST_PAGE);
    assert_int_equal(info.len, TEST_PAGE);
    assert_int_equal(info.flags, HF_PIN_WRITE | HF_PIN_RDMA);
    assert_int_equal(info.state, HF_PIN_HELD);
    assert_int_equal(info.pid, getpid());
    assert_int_equal(info.tid, gettid());
    assert_string_equal(info.command, program_invocation_short_name);
    assert_int_equal(hf_unpin(&pin), 0);
    assert_int_equal(hf_pins(pool, show_one, &info), 0);
    assert_int_equal(hf_close(file), 0);
    assert_int_equal(hf_unlink(pool, "/f", NULL), 0);
}

static int add_bytes(void *arg, const struct hf_extent_info *info)
{
    *(uint64_t *)arg += info->len;
    return 0;
}

static void extents_add_up(void **state)
{
    struct hf_file *file = test_file_filled(pool, "/f", 1, 4);
    uint64_t bytes = 0, none = 0;
    struct stat st;

    (void)state;
    assert_int_equal(hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, TEST_PAGE, TEST_PAGE, NULL), 0);
    assert_int_equal(hf_fstat(file, &st), 0);
    assert_int_equal(hf_extents(pool, st.st_ino, add_bytes, &bytes), 0);
    assert_int_equal(bytes, 3 * TEST_PAGE);
    assert_int_equal(hf_close(file), 0);
    assert_int_equal(hf_unlink(pool, "/f", NULL), 0);
    assert_int_equal(hf_extents(pool, 0, add_bytes, &none), 0);
    assert_int_equal(none, 0);
}

static void stats_grow(void **state)
{
    struct hf_stats before = {.size = sizeof(before)}, after = {.size = sizeof(after)};
    struct hf_file *file = test_file_filled(pool, "/f", 1, 4);
    struct iovec iov;
    struct hf_pin pin;

    (void)state;
    assert_int_equal(hf_stats(pool, &before), 0);
    pin = test_pin(file, 0, 1, HF_PIN_READ, &iov, 1);
    assert_int_equal(hf_truncate(file, 0, &test_nowait), -EBUSY);
    assert_int_equal(hf_truncate(file, 0, &test_wait), -EDEADLK);
    assert_int_equal(hf_unpin(&pin), 0);
    assert_int_equal(hf_truncate(file, 0, &test_nowait), 0);
    assert_int_equal(hf_stats(pool, &after), 0);
    assert_true(after.changes > before.changes);
    assert_int_equal(after.busy - before.busy, 1);
    assert_int_equal(after.own_pins - before.own_pins, 1);
    assert_int_equal(after.deadlocks, before.deadlocks);
    assert_int_equal(hf_close(file), 0);
    assert_int_equal(hf_unlink(pool, "/f", NULL), 0);
}

static void puts_refuse_bad_arguments(void **state)
{
    struct hf_file *file = test_file_filled(pool, "/f", 1, 1), *other;
    struct iovec iov = {(void *)1, 2};
    struct hf_put put = {{1, 2, 3}};

    (void)state;
    assert_int_equal(hf_put_begin(NULL, TEST_PAGE, 1, 0, &iov, 1, &put), -EINVAL);
    assert_int_equal(hf_put_begin(file, TEST_PAGE, 0, 0, &iov, 1, &put), -EINVAL);
    assert_int_equal(hf_put_begin(file, TEST_PAGE + 1, 1, 0, &iov, 1, &put), -EINVAL);
    assert_int_equal(hf_put_begin(file, TEST_PAGE, 1, HF_PIN_WRITE, &iov, 1, &put), -EINVAL);
    assert_int_equal(hf_put_begin(file, TEST_PAGE, 1, 0, &iov, 0, &put), -EINVAL);
    assert_int_equal(hf_put_begin(file, TEST_PAGE, 1, 0, NULL, 1, &put), -EINVAL);
    assert_int_equal(hf_put_begin(file, TEST_PAGE, 1, 0, &iov, 1, NULL), -EINVAL);
    assert_int_equal(hf_put_begin(file, HF_FILE_BYTES_MAX, 1, 0, &iov, 1, &put), -EFBIG);
    assert_int_equal(hf_put_begin(file, TEST_PAGE, UINT64_MAX, 0, &iov, 1, &put), -EFBIG);
    assert_int_equal(hf_put_begin(file, 0, 1, 0, &iov, 1, &put), -ESTALE);
    assert_int_equal(hf_put_begin(file, TEST_PAGE, TEST_MIB(16), 0, &iov, 1, &put), -ENOSPC);
    assert_int_equal(put.hf_opaque[0], 1);
    assert_ptr_equal(iov.iov_base, (void *)1);
    assert_int_equal(hf_put_commit(file, &put, 1), -EINVAL);
    assert_int_equal(hf_put_commit(file, NULL, 1), -EINVAL);
    assert_int_equal(hf_put_commit(NULL, &put, 1), -EINVAL);
    assert_int_equal(hf_put_commit_as(file, &put, 1, NULL, 0), -EINVAL);
    assert_int_equal(hf_put_abort(pool, &put), -EINVAL);
    assert_int_equal(hf_put_abort(pool, NULL), -EINVAL);
    assert_int_equal(hf_put_abort(NULL, &put), -EINVAL);
    assert_int_equal(hf_open(pool, "/f", O_RDWR | O_APPEND, 0, &other), 0);
    assert_int_equal(hf_put_begin(other, TEST_PAGE, 1, 0, &iov, 1, &put), -EBADF);
    hf_close(other);
    assert_int_equal(hf_open(pool, "/f", O_RDONLY, 0, &other), 0);
    assert_int_equal(hf_put_begin(other, TEST_PAGE, 1, 0, &iov, 1, &put), -EBADF);
    assert_true(strlen(hf_strerror_detail()) > 0);
    hf_close(other);
    hf_close(file);
}

static void leases_refuse_bad_arguments(void **state)
{
    struct hf_lease_options options = {.size = sizeof(options)};
    struct hf_file *file = test_file_filled(pool, "/f", 1, 2), *other = NULL;
    struct hf_lease lease = {{1, 2, 3}};
    struct iovec iov = {(void *)1, 2};

    (void)state;
    assert_int_equal(hf_lease(NULL, 0, 1, NULL, &iov, 1, &lease), -EINVAL);
    assert_int_equal(hf_lease(file, 0, 0, NULL, &iov, 1, &lease), -EINVAL);
    assert_int_equal(hf_lease(file, 0, 1, NULL, &iov, 0, &lease), -EINVAL);
    assert_int_equal(hf_lease(file, 0, 1, NULL, NULL, 1, &lease), -EINVAL);
    assert_int_equal(hf_lease(file, 0, 1, NULL, &iov, 1, NULL), -EINVAL);
    assert_int_equal(hf_lease_quarantine(NULL), -EINVAL);
    assert_int_equal(hf_lease_quarantine(&(struct hf_lease){{0}}), -EINVAL);
    options.size = 8;
    assert_int_equal(hf_lease(file, 0, 1, &options, &iov, 1, &lease), -EINVAL);
    assert_true(strlen(hf_strerror_detail()) > 0);
    options.size = sizeof(options);
    options.flags = HF_PIN_NOWAIT;
    assert_int_equal(hf_lease(file, 0, 1, &options, &iov, 1, &lease), -EINVAL);
    options.flags = HF_PIN_LEASE;
    assert_int_equal(hf_lease(file, 0, 1, &options, &iov, 1, &lease), -EINVAL);
    options.flags = 0;
    options.reserved = 1;
    assert_int_equal(hf_lease(file, 0, 1, &options, &iov, 1, &lease), -EINVAL);
    options.reserved = 0;
    assert_int_equal(hf_lease(file, TEST_PAGE, TEST_PAGE + 1, &options, &iov, 1, &lease), -EFAULT);
    assert_int_equal(hf_lease(file, UINT64_MAX, 2, &options, &iov, 1, &lease), -EFAULT);
    assert_int_equal(hf_open(pool, "/f", O_RDONLY, 0, &other), 0);
    options.flags = HF_PIN_WRITE;
    assert_int_equal(hf_lease(other, 0, 1, &options, &iov, 1, &lease), -EBADF);
    assert_int_equal(hf_close(other), 0);
    assert_int_equal(hf_open(pool, "/f", O_WRONLY, 0, &other), 0);
    options.flags = HF_PIN_GPU;
    assert_int_equal(hf_lease(other, 0, 1, &options, &iov, 1, &lease), -EBADF);
    assert_int_equal(hf_close(other), 0);
    assert_ptr_equal(iov.iov_base, (void *)1);
    assert_memory_equal(&lease, (&(struct hf_lease){{1, 2, 3}}), sizeof(lease));
    assert_int_equal(hf_close(file), 0);
    assert_int_equal(hf_unlink(pool, "/f", NULL), 0);
}

static void handing_over_refuses_bad_arguments(void **state)
{
    struct hf_lease_options options = {.size = sizeof(options)};
    struct hf_file *file = test_file_filled(pool, "/f", 1, 2);
    struct hf_lease_token token = {{0, 0}};
    struct hf_lease lease, taken;
    struct iovec iov;

    (void)state;
    lease = test_lease(file, 0, TEST_PAGE, NULL, &iov, 1);
    assert_int_equal(hf_lease_give(NULL, &token), -EINVAL);
    assert_int_equal(hf_lease_give(&lease, NULL), -EINVAL);
    assert_int_equal(hf_lease_take(pool, &token, NULL, &iov, 1, &taken), -ENOENT);
    assert_int_equal(hf_lease_give(&lease, &token), 0);
    assert_int_equal(hf_lease_take(NULL, &token, NULL, &iov, 1, &taken), -EINVAL);
    assert_int_equal(hf_lease_take(pool, NULL, NULL, &iov, 1, &taken), -EINVAL);
    assert_int_equal(hf_lease_take(pool, &token, NULL, NULL, 1, &taken), -EINVAL);
    assert_int_equal(hf_lease_take(pool, &token, NULL, &iov, 1, NULL), -EINVAL);
    assert_int_equal(hf_lease_take(pool, &token, NULL, &iov, -1, &taken), -EINVAL);
    options.flags = HF_PIN_WRITE;
    assert_int_equal(hf_lease_take(pool, &token, &options, &iov, 1, &taken), -EINVAL);
    options.flags = 0;
    options.size = 0;
    assert_int_equal(hf_lease_take(pool, &token, &options, &iov, 1, &taken), -EINVAL);
    options.size = sizeof(options);
    assert_int_equal(hf_lease_take(pool, &token, &options, &iov, 1, &taken), 1);
    assert_int_equal(hf_lease_release(&taken), 0);
    assert_int_equal(hf_lease_release(&taken), -EINVAL);
    assert_int_equal(hf_close(file), 0);
    assert_int_equal(hf_unlink(pool, "/f", NULL), 0);
}

static void recalls_refuse_bad_arguments(void **state)
{
    struct hf_recall recall = {.off = 7};

    (void)state;
    assert_int_equal(hf_recall_fd(NULL), -EINVAL);
    assert_int_equal(hf_recall_next(NULL, &recall), -EINVAL);
    assert_int_equal(hf_recall_next(pool, NULL), -EINVAL);
    assert_int_equal(hf_recall_next(pool, &recall), 0);
    assert_int_equal(recall.off, 7);
    assert_int_equal(hf_cancel(NULL, 1), -EINVAL);
    assert_int_equal(hf_cancel(pool, gettid()), -ESRCH);
}

static void watching_refuses_bad_arguments(void **state)
{
    struct hf_watch_report report = {.off = 7};
    struct hf_file *file = test_file(pool, "/w");

    (void)state;
    assert_int_equal(hf_watch(NULL, 1), -EINVAL);
    assert_int_equal(hf_watch(file, 3), -EINVAL);
    assert_int_equal(hf_watch(file, HF_WATCH_STORES), 0);
    assert_int_equal(hf_watch(file, 1), 0);
    assert_int_equal(hf_watch_next(NULL, 0, &report), -EINVAL);
    assert_int_equal(hf_watch_next(pool, 0, NULL), -EINVAL);
    assert_int_equal(hf_write(file, "x", 1, 0), 1); /* this process's own */
    assert_int_equal(hf_watch_next(pool, 0, &report), 0);
    assert_int_equal(hf_watch_next(pool, 1000, &report), 0);
    assert_int_equal(report.off, 7);
    assert_int_equal(hf_close(file), 0);
}

static int body(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_matches_header),
        cmocka_unit_test(create_refuses_bad_options),
        cmocka_unit_test(create_leaves_nothing_behind),
        cmocka_unit_test(create_refuses_a_full_directory),
        cmocka_unit_test(create_keeps_mode),
        cmocka_unit_test(info_says_what_was_asked),
        cmocka_unit_test(data_may_lie_elsewhere),
        cmocka_unit_test(open_says_what_is_missing),
        cmocka_unit_test_setup_teardown(statvfs_counts_blocks, open_anonymous, close_anonymous),
        cmocka_unit_test_setup_teardown(files_are_made_and_found, open_anonymous, close_anonymous),
        cmocka_unit_test_setup_teardown(bytes_past_the_end_are_never_old, open_anonymous,
                                        close_anonymous),
        cmocka_unit_test_setup_teardown(a_pin_is_memory_of_the_file, open_anonymous,
                                        close_anonymous),
        cmocka_unit_test_setup_teardown(pins_refuse_unknown_flags, open_anonymous, close_anonymous),
        cmocka_unit_test_setup_teardown(moving_changes_blocks_only, open_anonymous,
                                        close_anonymous),
        cmocka_unit_test_setup_teardown(small_files_lie_in_one_piece, open_anonymous,
                                        close_anonymous),
        cmocka_unit_test_setup_teardown(pins_are_shown, open_anonymous, close_anonymous),
        cmocka_unit_test_setup_teardown(extents_add_up, open_anonymous, close_anonymous),
        cmocka_unit_test_setup_teardown(stats_grow, open_anonymous, close_anonymous),
        cmocka_unit_test_setup_teardown(puts_refuse_bad_arguments, open_anonymous, close_anonymous),
        cmocka_unit_test_setup_teardown(leases_refuse_bad_arguments, open_anonymous,
                                        close_anonymous),
        cmocka_unit_test_setup_teardown(handing_over_refuses_bad_arguments, open_anonymous,
                                        close_anonymous),
        cmocka_unit_test_setup_teardown(recalls_refuse_bad_arguments, open_anonymous,
                                        close_anonymous),
        cmocka_unit_test_setup_teardown(watching_refuses_bad_arguments, open_anonymous,
                                        close_anonymous),
    };

    (void)argc, (void)argv;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
