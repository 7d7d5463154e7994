/* SPDX-License-Identifier: MIT */
/*
 * The calls. A row makes one call of the library, or says with kill_step() what is true in between.
 */
#include "kill.h"

#include "pool/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/compact.h>
#include <holdfast/put.h>
#include <holdfast/serve.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void write_at(struct hf_file *file, const char *text, uint64_t off)
{
    EXPECT_EQ(hf_write(file, text, strlen(text), off), (long long)strlen(text));
}

void kill_fill(struct hf_pool *pool)
{
    struct hf_file *file = test_file_filled(pool, "/a", 1, 6), *gone;

    EXPECT_EQ(hf_truncate(file, 5 * TEST_PAGE + 1000, &test_wait), 0);
    EXPECT_EQ(hf_close(file), 0);
    gone = test_file_filled(pool, "/gone", 9, 3);
    EXPECT_EQ(hf_close(test_file_filled(pool, "/b", 2, 3)), 0);
    file = test_file(pool, "/c");
    for (uint64_t page = 0; page < 6; page += 2)
        test_write_pages(file, 3, page, 1);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_close(gone), 0);
    EXPECT_EQ(hf_unlink(pool, "/gone", &test_wait), 0);
    EXPECT_EQ(hf_mkdir(pool, "/dir", 0755), 0);
    EXPECT_EQ(hf_mkdir(pool, "/empty", 0755), 0);
    EXPECT_EQ(hf_close(test_file_filled(pool, "/dir/d", 4, 1)), 0);
    EXPECT_EQ(hf_close(test_file(pool, "/e")), 0);
}

/* --- names --- */

static void create(struct hf_pool *pool, struct hf_file *file)
{
    EXPECT_EQ(hf_open(pool, "/new", O_RDWR | O_CREAT | O_EXCL, 0600, &file), 0);
}

static void create_and_write(struct hf_pool *pool, struct hf_file *file)
{
    EXPECT_EQ(hf_open(pool, "/new", O_RDWR | O_CREAT | O_EXCL, 0600, &file), 0);
    kill_step(pool);
    write_at(file, "its first bytes", 0);
    kill_step(pool);
    EXPECT_EQ(hf_close(file), 0);
}

static uint64_t unnamed(struct hf_pool *pool, struct hf_file **file)
{
    struct stat st;

    EXPECT_EQ(hf_open(pool, "/dir", O_RDWR | O_TMPFILE, 0600, file), 0);
    write_at(*file, "for a name", 0);
    EXPECT_EQ(hf_fstat(*file, &st), 0);
    return st.st_ino;
}

static void make_unnamed(struct hf_pool *pool, struct hf_file *file)
{
    (void)unnamed(pool, &file);
    EXPECT_EQ(hf_close(file), 0);
}

static void name_unnamed(struct hf_pool *pool, struct hf_file *file)
{
    EXPECT_EQ(hf_linkat(pool, unnamed(pool, &file), "", HF_ROOT_INO, "/new"), 0);
    kill_step(pool);
    EXPECT_EQ(hf_close(file), 0);
}

static void replace_by_unnamed(struct hf_pool *pool, struct hf_file *file)
{
    EXPECT_EQ(hf_renameat(pool, unnamed(pool, &file), "", HF_ROOT_INO, "/a", 0), 0);
    kill_step(pool);
    EXPECT_EQ(hf_close(file), 0);
}

static void unlink_a(struct hf_pool *pool, struct hf_file *file)
{
    (void)file;
    EXPECT_EQ(hf_unlink(pool, "/a", &test_wait), 0);
}

static void unlink_detach(struct hf_pool *pool, struct hf_file *file)
{
    (void)file;
    EXPECT_EQ(hf_unlink(pool, "/a", &test_detach), 0);
}

static void unlink_own(struct hf_pool *pool, struct hf_file *file)
{
    EXPECT_EQ(hf_unlink(pool, "/a", &test_wait), 0);
    kill_step(pool);
    EXPECT_EQ(hf_close(file), 0);
}

static void make_orphan(struct hf_pool *pool, struct hf_file *file)
{
    (void)file;
    EXPECT_EQ(hf_unlink(pool, "/a", &test_wait), 0);
}

static void close_file(struct hf_pool *pool, struct hf_file *file)
{
    (void)pool;
    EXPECT_EQ(hf_close(file), 0);
}

static void rename_over(struct hf_pool *pool, struct hf_file *file)
{
    (void)file;
    EXPECT_EQ(hf_rename(pool, "/b", "/a", 0), 0);
}

static void rename_dir(struct hf_pool *pool, struct hf_file *file)
{
    (void)file;
    EXPECT_EQ(hf_rename(pool, "/dir", "/empty", 0), 0);
}

static void link_b(struct hf_pool *pool, struct hf_file *file)
{
    (void)file;
    EXPECT_EQ(hf_link(pool, "/b", "/dir/b"), 0);
}

static void symlink_b(struct hf_pool *pool, struct hf_file *file)
{
    (void)file;
    EXPECT_EQ(hf_symlink(pool, "b", "/link"), 0);
}

static void mkdir_new(struct hf_pool *pool, struct hf_file *file)
{
    (void)file;
    EXPECT_EQ(hf_mkdir(pool, "/dir/new", 0700), 0);
}

static void rmdir_empty(struct hf_pool *pool, struct hf_file *file)
{
    (void)file;
    EXPECT_EQ(hf_rmdir(pool, "/empty"), 0);
}

static void setxattr(struct hf_pool *pool, struct hf_file *file)
{
    (void)file;
    EXPECT_EQ(hf_setxattr(pool, "/b", "user.x", "value", 5, 0), 0);
}

/* --- content --- */

static void write_hole(struct hf_pool *pool, struct hf_file *file)
{
    (void)pool;
    write_at(file, "in a hole", TEST_PAGE + 5);
}

static void overwrite(struct hf_pool *pool, struct hf_file *file)
{
    (void)pool;
    write_at(file, "!", 0);
}

static void append_inside(struct hf_pool *pool, struct hf_file *file)
{
    (void)pool;
    EXPECT_EQ(hf_append(file, "more", 4, NULL), 4);
}

static void append_page(struct hf_pool *pool, struct hf_file *file)
{
    char page[4096];

    (void)pool;
    test_page_fill(page, 7, 7);
    EXPECT_EQ(hf_append(file, page, sizeof(page), NULL), sizeof(page));
}

static void fsync_dirty(struct hf_pool *pool, struct hf_file *file)
{
    (void)pool;
    EXPECT_EQ(hf_fsync(file), 0);
}

/* --- layout changes --- */

static void truncate_down(struct hf_pool *pool, struct hf_file *file)
{
    (void)pool;
    EXPECT_EQ(hf_truncate(file, TEST_PAGE + 100, &test_wait), 0);
}

static void truncate_all(struct hf_pool *pool, struct hf_file *file)
{
    (void)pool;
    EXPECT_EQ(hf_truncate(file, 0, &test_wait), 0);
}

static void truncate_up(struct hf_pool *pool, struct hf_file *file)
{
    (void)pool;
    EXPECT_EQ(hf_truncate(file, 9 * TEST_PAGE, &test_wait), 0);
}

static void truncate_detach(struct hf_pool *pool, struct hf_file *file)
{
    (void)pool;
    EXPECT_EQ(hf_truncate(file, TEST_PAGE + 100, &test_detach), 0);
}

static void truncate_refused(struct hf_pool *pool, struct hf_file *file)
{
    (void)pool;
    EXPECT_EQ(hf_truncate(file, TEST_PAGE + 100, &test_nowait), -EBUSY);
}

/* It waits for the pins in L5. */
static void truncate_late(struct hf_pool *pool, struct hf_file *file)
{
    const struct hf_policy deadline = test_deadline_ms(120);

    (void)pool;
    EXPECT_EQ(hf_truncate(file, TEST_PAGE + 100, &deadline), -ETIMEDOUT);
}

static void punch(struct hf_pool *pool, struct hf_file *file)
{
    (void)pool;
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, TEST_PAGE, 2 * TEST_PAGE, &test_wait), 0);
}

static void punch_detach(struct hf_pool *pool, struct hf_file *file)
{
    (void)pool;
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, 100, 4 * TEST_PAGE, &test_detach), 0);
}

static void allocate(struct hf_pool *pool, struct hf_file *file)
{
    (void)pool;
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_KEEP_SIZE, 8 * TEST_PAGE, 2 * TEST_PAGE, NULL), 0);
}

static void zero_range(struct hf_pool *pool, struct hf_file *file)
{
    (void)pool;
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_ZERO_RANGE, TEST_PAGE, 2 * TEST_PAGE, &test_wait), 0);
}

static void collapse(struct hf_pool *pool, struct hf_file *file)
{
    (void)pool;
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_COLLAPSE_RANGE, TEST_PAGE, TEST_PAGE, &test_wait), 0);
}

static void insert(struct hf_pool *pool, struct hf_file *file)
{
    (void)pool;
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_INSERT_RANGE, TEST_PAGE, TEST_PAGE, &test_wait), 0);
}

/* --- in steps of two extents --- */

#define SCATTERED 8u

/* More extents, with a hole after each. */
static void scatter(struct hf_pool *pool, struct hf_file *file)
{
    uint64_t first = test_size(file) / TEST_PAGE + 2;

    (void)pool;
    for (unsigned i = 0; i < SCATTERED; i++)
        test_write_pages(file, 7, first + 2 * i, 1);
}

static void scatter_shared(struct hf_pool *pool, struct hf_file *file)
{
    scatter(pool, file);
    EXPECT_EQ(hf_clone_range(file, 0, test_file(pool, "/e"), 0, test_size(file), &test_wait), 0);
}

static void change_many(struct hf_file *file, uint32_t flags)
{
    EXPECT_EQ(hf_fallocate(file, flags, TEST_PAGE, 8 * TEST_PAGE, &test_detach), 0);
}

static void collapse_many(struct hf_pool *pool, struct hf_file *file)
{
    (void)pool;
    change_many(file, HF_FALLOC_COLLAPSE_RANGE);
}

static void insert_many(struct hf_pool *pool, struct hf_file *file)
{
    (void)pool;
    change_many(file, HF_FALLOC_INSERT_RANGE);
}

/* From and to the middle of a page. */
static void punch_many(struct hf_pool *pool, struct hf_file *file)
{
    (void)pool;
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, 300, 14 * TEST_PAGE, &test_detach), 0);
}

static void truncate_many(struct hf_pool *pool, struct hf_file *file)
{
    (void)pool;
    EXPECT_EQ(hf_truncate(file, 300, &test_detach), 0);
}

static void unlink_many(struct hf_pool *pool, struct hf_file *file)
{
    (void)file;
    EXPECT_EQ(hf_unlink(pool, "/c", &test_detach), 0);
}

static void move(struct hf_pool *pool, struct hf_file *file)
{
    (void)pool;
    EXPECT_EQ(hf_move(file, 0, 5 * TEST_PAGE + 1000, &test_wait), 0);
}

/* Its blocks lie in several pieces. */
static void grow_to_a_run(struct hf_pool *pool, struct hf_file *file)
{
    (void)pool;
    EXPECT_EQ(hf_fallocate(file, 0, 0, HF_HUGE_BYTES, NULL), 0);
}

/* And no 2 MiB are free in one piece: another file has a page of each 800 KiB. */
static void scatter_free(struct hf_pool *pool, struct hf_file *file)
{
    const uint64_t step = 200 * TEST_PAGE;
    struct hf_file *spread;
    uint64_t bytes;

    grow_to_a_run(pool, file);
    bytes = test_free_bytes(pool);
    spread = test_file(pool, "/dir/spread");
    EXPECT_EQ(hf_fallocate(spread, 0, 0, bytes, NULL), 0);
    for (uint64_t off = 0; off < bytes; off += step)
        EXPECT_EQ(hf_fallocate(spread, HF_FALLOC_PUNCH_HOLE, off + TEST_PAGE, step - TEST_PAGE,
                               &test_wait),
                  0);
    EXPECT_EQ(hf_close(spread), 0);
}

static void compact(struct hf_pool *pool, struct hf_file *file)
{
    struct hf_compact_result result = {.size = sizeof(result)};

    (void)pool;
    EXPECT_EQ(hf_compact(file, 0, 0, 0, &test_wait, &result), 0);
    EXPECT_EQ(result.huge_bytes, HF_HUGE_BYTES);
}

static void compact_held(struct hf_pool *pool, struct hf_file *file)
{
    struct hf_compact_result result = {.size = sizeof(result)};

    (void)pool;
    EXPECT_EQ(hf_compact(file, 0, 0, 0, NULL, &result), 0);
    EXPECT_EQ(result.held_bytes, HF_HUGE_BYTES);
}

/* And now they lie right, with an entry for each page: the last one had no block for a moment. */
static void fall_back_to_small_entries(struct hf_pool *pool, struct hf_file *file)
{
    grow_to_a_run(pool, file);
    compact(pool, file);
    for (uint64_t off = 0; off < HF_HUGE_BYTES; off += HF_HUGE_BYTES - TEST_PAGE) {
        struct iovec iov;
        struct hf_pin pin = test_pin(file, off, TEST_PAGE, HF_PIN_READ, &iov, 1);

        EXPECT_EQ(hf_unpin(&pin), 0);
        if (off == 0)
            EXPECT_EQ(hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, HF_HUGE_BYTES - TEST_PAGE, TEST_PAGE,
                                   &test_wait),
                      0);
    }
}

/* --- shared blocks --- */

static void clone_a(struct hf_pool *pool, struct hf_file *file)
{
    struct hf_file *to = test_file(pool, "/c");

    EXPECT_EQ(hf_clone_range(file, TEST_PAGE, to, 2 * TEST_PAGE, 4 * TEST_PAGE, &test_wait), 0);
}

static void clone_over_a(struct hf_pool *pool, struct hf_file *file)
{
    struct hf_file *from = test_file(pool, "/b");

    EXPECT_EQ(hf_clone_range(from, 0, file, TEST_PAGE, 3 * TEST_PAGE, &test_detach), 0);
}

/* /c goes on in the page of the last bytes. */
static void clone_tail(struct hf_pool *pool, struct hf_file *file)
{
    struct hf_file *to = test_file(pool, "/c");

    EXPECT_EQ(hf_clone_range(file, 4 * TEST_PAGE, to, TEST_PAGE, 0, &test_wait), 0);
}

static void clone_within(struct hf_pool *pool, struct hf_file *file)
{
    (void)pool;
    EXPECT_EQ(hf_clone_range(file, 0, file, 8 * TEST_PAGE, 3 * TEST_PAGE, &test_wait), 0);
}

/* Those that nobody holds, in one step: as many as go together in a durable pool. */
static void clone_files(struct hf_pool *pool, struct hf_file *file)
{
    static const char *const paths[] = {"/a", "/b", "/c", "/dir/d"};
    struct hf_clone_entry entries[4];
    struct stat dir, st;

    (void)file;
    EXPECT_EQ(hf_stat(pool, "/empty", 0, &dir), 0);
    for (unsigned i = 0; i < 4; i++) {
        EXPECT_EQ(hf_stat(pool, paths[i], 0, &st), 0);
        entries[i] = (struct hf_clone_entry){
            .from = st.st_ino, .dir = dir.st_ino, .name = strrchr(paths[i], '/') + 1};
    }
    EXPECT(hf_clone_files(pool, entries, 4) >= 3);
}

static void copy_a(struct hf_pool *pool, struct hf_file *file)
{
    struct hf_file *to = test_file(pool, "/c");

    EXPECT_EQ(hf_copy_range(file, 0, to, 0, 4 * TEST_PAGE), 4 * TEST_PAGE);
}

/* Page 1 is held, so its bytes are copied; the pages beside it are shared. */
static void copy_held(struct hf_pool *pool, struct hf_file *file)
{
    struct hf_file *to = test_file(pool, "/c");

    EXPECT_EQ(hf_copy_range(file, 0, to, 0, TEST_PAGE), TEST_PAGE);
    kill_step(pool);
    EXPECT_EQ(hf_copy_range(file, TEST_PAGE, to, TEST_PAGE, TEST_PAGE), TEST_PAGE);
    kill_step(pool);
    EXPECT_EQ(hf_copy_range(file, 2 * TEST_PAGE, to, 2 * TEST_PAGE, 2 * TEST_PAGE), 2 * TEST_PAGE);
}

static void merge_a(struct hf_pool *pool, struct hf_file *file)
{
    struct hf_dedup_result result = {.size = sizeof(result)};
    struct hf_file *other = test_file(pool, "/c");

    EXPECT_EQ(hf_dedup_range(file, 0, other, 0, 4 * TEST_PAGE, &result), 0);
    EXPECT(result.same);
}

static void write_to_shared(struct hf_pool *pool, struct hf_file *file)
{
    (void)pool;
    write_at(file, "into a page that is shared", 2 * TEST_PAGE - 5);
}

static void write_shared_pages(struct hf_pool *pool, struct hf_file *file)
{
    static char pages[2 * 4096];

    (void)pool;
    memset(pages, 'w', sizeof(pages));
    EXPECT_EQ(hf_write(file, pages, sizeof(pages), TEST_PAGE), sizeof(pages));
}

static void unlink_shared(struct hf_pool *pool, struct hf_file *file)
{
    (void)file;
    EXPECT_EQ(hf_unlink(pool, "/c", &test_wait), 0);
}

static void move_detach(struct hf_pool *pool, struct hf_file *file)
{
    (void)pool;
    EXPECT_EQ(hf_move(file, 0, 5 * TEST_PAGE + 1000, &test_detach), 0);
}

/* --- pins and leases --- */

static void pin_and_unpin(struct hf_pool *pool, struct hf_file *file)
{
    struct iovec iov[8];
    struct hf_pin pin;

    (void)pool;
    EXPECT_OK(hf_pin(file, 0, 4 * TEST_PAGE, HF_PIN_READ, iov, 8, &pin));
    EXPECT_EQ(hf_unpin(&pin), 0);
}

/* Page 3 of /c is a hole: its first pin fills it. */
static void pin_hole(struct hf_pool *pool, struct hf_file *file)
{
    struct iovec iov[8];
    struct hf_pin pin;

    (void)pool;
    EXPECT_OK(hf_pin(file, 3 * TEST_PAGE, TEST_PAGE, HF_PIN_WRITE, iov, 8, &pin));
    EXPECT_EQ(hf_unpin(&pin), 0);
}

static void lease_and_release(struct hf_pool *pool, struct hf_file *file)
{
    struct iovec iov[8];
    struct hf_lease lease;

    (void)pool;
    EXPECT_OK(hf_lease(file, 0, 2 * TEST_PAGE, NULL, iov, 8, &lease));
    EXPECT_EQ(hf_lease_release(&lease), 0);
}

static void lease_give(struct hf_pool *pool, struct hf_file *file)
{
    struct iovec iov[8];
    struct hf_lease_token token;
    struct hf_lease lease;

    EXPECT_OK(hf_lease(file, 0, 2 * TEST_PAGE, NULL, iov, 8, &lease));
    EXPECT_EQ(hf_lease_give(&lease, &token), 0);
    EXPECT_OK(hf_lease_take(pool, &token, NULL, iov, 8, &lease));
}

static void lease_given_up(struct hf_pool *pool, struct hf_file *file)
{
    const struct hf_lease_options rdma = {.size = sizeof(rdma),
                                          .flags = HF_PIN_WRITE | HF_PIN_RDMA};
    struct iovec iov[8];
    struct hf_lease lease;

    EXPECT_OK(hf_lease(file, 0, 2 * TEST_PAGE, &rdma, iov, 8, &lease));
    EXPECT_EQ(hf_lease_quarantine(&lease), 0);
    EXPECT_EQ(hf_truncate(file, TEST_PAGE, &test_nowait), 0);
    kill_step(pool);
}

/* --- putting in place --- */

#define PUT_PIECES 8

static struct hf_put put_begin(struct hf_file *file, uint64_t off, uint64_t pages, uint32_t flags)
{
    struct iovec iov[PUT_PIECES];
    struct hf_put put;
    int count = hf_put_begin(file, off, pages * TEST_PAGE, flags, iov, PUT_PIECES, &put);

    EXPECT_OK(count);
    for (int i = 0; i < count; i++)
        memset(iov[i].iov_base, 'p', iov[i].iov_len);
    return put;
}

static void put(struct hf_pool *pool, struct hf_file *file)
{
    struct hf_put put = put_begin(file, 4 * TEST_PAGE, 2, HF_PIN_CPU);

    (void)pool;
    EXPECT_EQ(hf_put_commit(file, &put, 2 * TEST_PAGE), 0);
}

static void put_device(struct hf_pool *pool, struct hf_file *file)
{
    struct hf_put put = put_begin(file, 3 * TEST_PAGE, 3, HF_PIN_RDMA);

    (void)pool;
    EXPECT_EQ(hf_put_commit(file, &put, TEST_PAGE + 10), 0);
}

static void allocate_ahead(struct hf_pool *pool, struct hf_file *file)
{
    (void)pool;
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_KEEP_SIZE, 3 * TEST_PAGE, 4 * TEST_PAGE, NULL), 0);
}

static void put_aborted(struct hf_pool *pool, struct hf_file *file)
{
    struct hf_put put = put_begin(file, 3 * TEST_PAGE, 2, HF_PIN_CPU);
    struct hf_put device = put_begin(file, 3 * TEST_PAGE, 2, HF_PIN_GPU);

    EXPECT_EQ(hf_put_abort(pool, &put), 0);
    EXPECT_EQ(hf_put_abort(pool, &device), 0);
}

static void put_named(struct hf_pool *pool, struct hf_file *file)
{
    struct hf_put put;

    EXPECT_EQ(hf_open(pool, "/dir", O_RDWR | O_TMPFILE, 0600, &file), 0);
    put = put_begin(file, 0, 2, HF_PIN_IO_URING);
    EXPECT_EQ(hf_put_commit_as(file, &put, TEST_PAGE + 1, "/a", 0), 0);
    kill_step(pool);
    EXPECT_EQ(hf_close(file), 0);
}

/* --- the pool --- */

static void share_past_new_end(struct hf_pool *pool, struct hf_file *file)
{
    kill_move_to_new_end(pool, file);
    clone_a(pool, file);
}

static void trim(struct hf_pool *pool, struct hf_file *file)
{
    struct hf_trim_result result = {.size = sizeof(result)};

    (void)file;
    EXPECT_EQ(hf_pool_trim(pool, 0, &result), 0);
}

/* From now on, all that is free goes back by itself, but for a block. */
static void trim_by_itself(struct hf_pool *pool, struct hf_file *file)
{
    (void)file;
    pool->fs.dax.shm->run->trim_above_blocks = 1;
}

/* Blocks that have no memory get some: for a hole, an append, and a copy. */
static void write_unbacked(struct hf_pool *pool, struct hf_file *file)
{
    write_at(file, "in a hole", TEST_PAGE + 5);
    kill_step(pool);
    append_page(pool, file);
    kill_step(pool);
    EXPECT_EQ(hf_move(file, 0, 2 * TEST_PAGE, &test_wait), 0);
}

static void register_memory(struct hf_pool *pool, struct hf_file *file)
{
    struct hf_pool_memory memory = {.size = sizeof(memory)};

    (void)file;
    EXPECT_EQ(hf_pool_register(pool, HF_PIN_GPU, &memory), 0);
    EXPECT_EQ(hf_pool_register(pool, HF_PIN_GPU, &memory), 0);
    EXPECT_EQ(hf_pool_unregister(pool, HF_PIN_GPU), 0);
}

static void close_pool(struct hf_pool *pool, struct hf_file *file)
{
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_pool_close(pool), 0);
}

static void open_pool(struct hf_pool *pool, struct hf_file *file)
{
    (void)file;
    EXPECT_EQ(hf_pool_open(test_path(KILL_POOL), 0, &pool), 0);
}

static void open_to_read(struct hf_pool *pool, struct hf_file *file)
{
    (void)file;
    EXPECT_EQ(hf_pool_open(test_path(KILL_POOL), HF_OPEN_RDONLY, &pool), 0);
}

#define A .file = "/a"
#define B .file = "/b"
#define C .file = "/c"

bool kill_steps;

const struct kill_row kill_rows[] = {
    {"create", .act = create},
    {"create-and-write", .act = create_and_write},
    {"write-hole", C, .act = write_hole},
    {"overwrite", A, .act = overwrite},
    {"append-inside", A, .act = append_inside},
    {"append-page", B, .act = append_page},
    {"fsync", A, .prepare = append_inside, .act = fsync_dirty},
    {"close", A, .prepare = append_inside, .act = close_file},
    {"unnamed", .act = make_unnamed},
    {"unnamed-named", .act = name_unnamed},
    {"unnamed-replaces", .act = replace_by_unnamed},
    {"unlink", .act = unlink_a},
    {"unlink-own-open", A, .act = unlink_own},
    {"unlink-open", .others = KILL_OTHER_OPENS, .act = unlink_a},
    {"unlink-pinned", .others = KILL_OTHER_OPENS | KILL_OTHER_PINS, .detaches = true,
     .act = unlink_detach},
    {"close-orphan", A, .prepare = make_orphan, .act = close_file},
    {"rename-over", .act = rename_over},
    {"rename-over-open", .others = KILL_OTHER_OPENS, .act = rename_over},
    {"rename-directory", .act = rename_dir},
    {"link", .act = link_b},
    {"symlink", .act = symlink_b},
    {"mkdir", .act = mkdir_new},
    {"rmdir", .act = rmdir_empty},
    {"setxattr", .act = setxattr},
    {"truncate", A, .act = truncate_down},
    {"truncate-all", A, .prepare = pin_and_unpin, .act = truncate_all},
    {"truncate-up", A, .act = truncate_up},
    {"truncate-detach", A, .others = KILL_OTHER_OPENS | KILL_OTHER_PINS, .detaches = true,
     .act = truncate_detach},
    {"truncate-refused", A, .others = KILL_OTHER_OPENS | KILL_OTHER_PINS, .act = truncate_refused},
    {"truncate-late", A, .others = KILL_OTHER_OPENS | KILL_OTHER_PINS, .act = truncate_late},
    {"punch", A, .prepare = pin_and_unpin, .act = punch},
    {"punch-detach", A, .others = KILL_OTHER_OPENS | KILL_OTHER_PINS, .detaches = true,
     .act = punch_detach},
    {"allocate", A, .act = allocate},
    {"zero-range", A, .act = zero_range},
    {"collapse", A, .act = collapse},
    {"insert", A, .act = insert},
    {"move", A, .act = move},
    {"move-detach", A, .others = KILL_OTHER_OPENS | KILL_OTHER_PINS, .detaches = true,
     .act = move_detach},
    {"compact", A, .detaches = true, .prepare = grow_to_a_run, .act = compact},
    {"compact-entries", A, .detaches = true, .prepare = fall_back_to_small_entries, .act = compact},
    {"compact-gathered", A, .detaches = true, .prepare = scatter_free, .act = compact},
    {"compact-held", A, .others = KILL_OTHER_OPENS | KILL_OTHER_PINS, .detaches = true,
     .prepare = grow_to_a_run, .act = compact_held},
    {"clone", A, .shares = true, .act = clone_a},
    {"clone-held", A, .others = KILL_OTHER_OPENS | KILL_OTHER_PINS, .shares = true, .act = clone_a},
    {"clone-over-held", A, .others = KILL_OTHER_OPENS | KILL_OTHER_PINS, .shares = true,
     .act = clone_over_a},
    {"clone-tail", A, .shares = true, .act = clone_tail},
    {"clone-within", A, .shares = true, .act = clone_within},
    {"clone-files", .shares = true, .act = clone_files},
    {"clone-files-held", A, .others = KILL_OTHER_OPENS | KILL_OTHER_PINS, .shares = true,
     .act = clone_files},
    {"clone-files-again", A, .shares = true, .prepare = clone_a, .act = clone_files},
    {"copy", A, .shares = true, .act = copy_a},
    {"copy-held", A, .others = KILL_OTHER_OPENS | KILL_OTHER_PINS, .shares = true,
     .act = copy_held},
    {"merge", A, .shares = true, .prepare = copy_a, .act = merge_a},
    {"merge-held", A, .others = KILL_OTHER_OPENS | KILL_OTHER_PINS, .shares = true,
     .prepare = copy_a, .act = merge_a},
    {"write-to-shared", A, .shares = true, .prepare = clone_a, .act = write_to_shared},
    {"write-shared-pages", A, .shares = true, .prepare = clone_a, .act = write_shared_pages},
    {"unlink-shared", A, .shares = true, .prepare = clone_a, .act = unlink_shared},
    {"pin", A, .act = pin_and_unpin},
    {"pin-hole", C, .act = pin_hole},
    {"pin-reading", A, .reads = true, .act = pin_and_unpin},
    {"pin-devices", A, .prepare = kill_fill_own_slots, .act = kill_pin_beyond_slots},
    {"pin-devices-detached", A, .detaches = true, .prepare = kill_fill_all_slots,
     .act = kill_release_detached},
    {"lease", A, .act = lease_and_release},
    {"lease-give", A, .act = lease_give},
    {"lease-given-up", A, .act = lease_given_up},
    {"put", B, .act = put},
    {"put-device", B, .act = put_device},
    {"put-over-allocated", B, .prepare = allocate_ahead, .act = put},
    {"put-aborted", B, .act = put_aborted},
    {"put-named", .act = put_named},
    {"grow", .act = kill_grow},
    {"shrink", A, .prepare = kill_move_to_new_end, .act = kill_shrink},
    {"shrink-shared", A, .shares = true, .prepare = share_past_new_end, .act = kill_shrink},
    {"shrink-refused", A, .detaches = true, .prepare = kill_move_to_new_end,
     .act = kill_shrink_in_vain},
    {"shrink-and-grow", A, .prepare = kill_move_to_new_end, .act = kill_shrink_and_grow},
    {"trim", .act = trim},
    {"trim-held", A, .others = KILL_OTHER_OPENS | KILL_OTHER_PINS, .detaches = true,
     .prepare = truncate_detach, .act = trim},
    {"write-unbacked", C, .prepare = trim, .act = write_unbacked},
    {"unlink-trims", .prepare = trim_by_itself, .act = unlink_a},
    {"truncate-trims", A, .prepare = trim_by_itself, .act = truncate_all},
    {"write-trims", C, .prepare = trim_by_itself, .act = write_unbacked},
    {"register", .act = register_memory},
    {"pool-close", A, .prepare = append_inside, .act = close_pool},
    {"pool-open", .attaches = true, .act = open_pool},
    {"pool-open-reading", .attaches = true, .act = open_to_read},
#define STEPS .steps = true, .prepare = scatter
    {"steps-collapse", C, STEPS, .act = collapse_many},
    {"steps-insert", C, STEPS, .act = insert_many},
    {"steps-punch", C, STEPS, .act = punch_many},
    {"steps-truncate", C, STEPS, .act = truncate_many},
    {"steps-unlink", C, STEPS, .act = unlink_many},
#define STEPS_HELD A, STEPS, .others = KILL_OTHER_OPENS | KILL_OTHER_PINS, .detaches = true
    {"steps-collapse-detach", STEPS_HELD, .act = collapse_many},
    {"steps-insert-detach", STEPS_HELD, .act = insert_many},
    {"steps-punch-detach", STEPS_HELD, .act = punch_many},
    {"steps-truncate-detach", STEPS_HELD, .act = truncate_many},
#define STEPS_SHARED C, .steps = true, .shares = true, .prepare = scatter_shared
    {"steps-collapse-shared", STEPS_SHARED, .act = collapse_many},
    {"steps-insert-shared", STEPS_SHARED, .act = insert_many},
    {"steps-punch-shared", STEPS_SHARED, .act = punch_many},
    {"steps-truncate-shared", STEPS_SHARED, .act = truncate_many},
};
const unsigned kill_row_count = sizeof(kill_rows) / sizeof(kill_rows[0]);
