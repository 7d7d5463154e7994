/* SPDX-License-Identifier: MIT */
/* Calls on content, pins and leases. */
#include "waits.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/put.h>
#include <holdfast/serve.h>
#include <stdlib.h>
#include <string.h>

static char bytes[64 * 4096];

/* Of stamp 7; a call that is to return less, as if it had been asked for less. */
static long write_at(struct waits_call *call, uint64_t len, uint64_t off)
{
    for (uint64_t page = 0; page < sizeof(bytes) / TEST_PAGE; page++)
        test_page_fill(bytes + page * TEST_PAGE, 7, page);
    return hf_write(call->file, bytes, call->len ? call->len : len, off);
}

static long append(struct waits_call *call, uint64_t len)
{
    uint64_t off;

    for (uint64_t page = 0; page < sizeof(bytes) / TEST_PAGE; page++)
        test_page_fill(bytes + page * TEST_PAGE, 7, page);
    return hf_append(call->file, bytes, call->len ? call->len : len, &off);
}

static long read_it(struct waits_call *call)
{
    long n = hf_read(call->file, bytes, call->len ? call->len : 6 * TEST_PAGE, 100);
    char page[4096];

    for (long at = 0; at < n; at++) {
        test_page_fill(page, 1, (uint64_t)(at + 100) / TEST_PAGE);
        EXPECT(bytes[at] == page[(uint64_t)(at + 100) % TEST_PAGE]);
    }
    return n;
}

static long read_holes(struct waits_call *call)
{
    return hf_read(call->file, bytes, call->len ? call->len : 8 * TEST_PAGE, 0);
}

static long write_inside(struct waits_call *call)
{
    return write_at(call, 2 * TEST_PAGE, 100);
}

static long write_whole(struct waits_call *call)
{
    return write_at(call, 2 * TEST_PAGE, TEST_PAGE);
}

static long write_hole(struct waits_call *call)
{
    return write_at(call, 9, TEST_PAGE + 5);
}

static long write_holes(struct waits_call *call)
{
    return write_at(call, 6 * TEST_PAGE, 100);
}

static long write_over_end(struct waits_call *call)
{
    return write_at(call, 4 * TEST_PAGE, 4 * TEST_PAGE);
}

static long write_far(struct waits_call *call)
{
    return write_at(call, 100, 40 * TEST_PAGE + 5);
}

static long write_much_far(struct waits_call *call)
{
    return write_at(call, 10 * TEST_PAGE, 40 * TEST_PAGE + 5);
}

static long append_inside(struct waits_call *call)
{
    return append(call, 4);
}

static long append_over_page(struct waits_call *call)
{
    return append(call, TEST_PAGE);
}

static long append_much(struct waits_call *call)
{
    return append(call, 10 * TEST_PAGE);
}

static void open_to_append(struct waits_call *call)
{
    EXPECT_EQ(hf_close(call->file), 0);
    EXPECT_EQ(hf_open(call->pool, "/a", O_RDWR | O_APPEND, 0, &call->file), 0);
}

static void allocate_ahead(struct waits_call *call)
{
    EXPECT_EQ(hf_fallocate(call->file, HF_FALLOC_KEEP_SIZE, 5 * TEST_PAGE, 3 * TEST_PAGE, NULL), 0);
}

/* All of the file lies on shared blocks, its last one too. */
static void share(struct waits_call *call)
{
    call->other = test_file(call->pool, "/shared");
    EXPECT_EQ(hf_clone_range(call->file, 0, call->other, 0, 0, &test_wait), 0);
}

/* The same, and what it is shared with has gone. */
static void share_no_more(struct waits_call *call)
{
    share(call);
    EXPECT_EQ(hf_close(call->other), 0);
    EXPECT_EQ(hf_unlink(call->pool, "/shared", &test_wait), 0);
    call->other = NULL;
}

static void give_capability(struct waits_call *call)
{
    EXPECT_EQ(hf_setxattr(call->pool, "/a", "security.capability", "what it may do", 14, 0), 0);
}

static void give_b_capability(struct waits_call *call)
{
    EXPECT_EQ(hf_setxattr(call->pool, "/b", "security.capability", "what it may do", 14, 0), 0);
}

/* It goes before anything is written. */
static void lost_capability(struct waits_call *call)
{
    EXPECT_EQ(hf_getxattr(call->pool, "/a", "security.capability", NULL, 0), -ENODATA);
    EXPECT_EQ(test_size(call->file), 5 * TEST_PAGE + 1000);
    test_expect_pages(call->file, 1, 0, 5);
}

static void open_c(struct waits_call *call)
{
    call->other = test_file(call->pool, "/c");
}

static long copy(struct waits_call *call, uint64_t from, uint64_t to, uint64_t len)
{
    return hf_copy_range(call->file, from, call->other, to, call->len ? call->len : len);
}

static long copy_pages(struct waits_call *call)
{
    return copy(call, 0, 2 * TEST_PAGE, 3 * TEST_PAGE);
}

static long copy_bytes(struct waits_call *call)
{
    return copy(call, 100, 3 * TEST_PAGE, 4 * TEST_PAGE);
}

static long copy_over_end(struct waits_call *call)
{
    return copy(call, 0, 6 * TEST_PAGE, 6 * TEST_PAGE);
}

static long copy_holes(struct waits_call *call)
{
    return hf_copy_range(call->other, 0, call->file, TEST_PAGE,
                         call->len ? call->len : 7 * TEST_PAGE);
}

static long copy_bytes_of_holes(struct waits_call *call)
{
    return hf_copy_range(call->other, 0, call->file, 2 * TEST_PAGE + 7,
                         call->len ? call->len : 7 * TEST_PAGE);
}

static long copy_within(struct waits_call *call)
{
    return hf_copy_range(call->file, 0, call->file, 8 * TEST_PAGE,
                         call->len ? call->len : 5 * TEST_PAGE);
}

static void make_dirty(struct waits_call *call)
{
    EXPECT_EQ(hf_append(call->file, "more", 4, NULL), 4);
    EXPECT_EQ(hf_write(call->file, "!", 1, 0), 1);
}

static long sync_it(struct waits_call *call)
{
    return hf_fsync(call->file);
}

static long seek_data(struct waits_call *call)
{
    uint64_t off;

    return hf_seek(call->file, TEST_PAGE, HF_SEEK_DATA, &off);
}

static long seek_hole(struct waits_call *call)
{
    uint64_t off;

    return hf_seek(call->file, 0, HF_SEEK_HOLE, &off);
}

/* --- putting in place --- */

static long put_to(struct hf_pool *pool, struct hf_file *file, uint64_t off, uint32_t flags,
                   const char *path)
{
    struct iovec iov[16];
    struct hf_put put;
    long rc = hf_put_begin(file, off, 2 * TEST_PAGE, flags, iov, 16, &put);

    if (rc < 0)
        return rc;
    for (long i = 0; i < rc; i++)
        memset(iov[i].iov_base, 'p', iov[i].iov_len);
    if (path)
        rc = hf_put_commit_as(file, &put, TEST_PAGE + 1, path, 0);
    else
        rc = hf_put_commit(file, &put, TEST_PAGE + 1);
    if (rc)
        EXPECT_EQ(hf_put_abort(pool, &put), 0);
    return rc;
}

static long put_it(struct waits_call *call)
{
    return put_to(call->pool, call->file, 6 * TEST_PAGE, HF_PIN_CPU, NULL);
}

static long put_by_device(struct waits_call *call)
{
    return put_to(call->pool, call->file, 6 * TEST_PAGE, HF_PIN_RDMA, NULL);
}

static void open_unnamed(struct waits_call *call)
{
    EXPECT_EQ(hf_open(call->pool, "/", O_RDWR | O_TMPFILE, 0600, &call->other), 0);
}

static long put_named(struct waits_call *call)
{
    return put_to(call->pool, call->other, 0, HF_PIN_CPU, "/a");
}

/* --- closing --- */

static long close_it(struct waits_call *call)
{
    struct hf_file *file = call->file;

    call->file = NULL;
    return hf_close(file);
}

static void lose_name(struct waits_call *call)
{
    EXPECT_EQ(hf_unlink(call->pool, "/a", &test_wait), 0);
}

static long next_report(struct waits_call *call)
{
    struct hf_watch_report report;

    return hf_watch_next(call->pool, 0, &report);
}

static void watch(struct waits_call *call)
{
    EXPECT_EQ(hf_watch(call->file, 1), 0);
}

static void watch_stores(struct waits_call *call)
{
    EXPECT_EQ(hf_watch(call->file, HF_WATCH_STORES), 0);
}

static long begin_watch(struct waits_call *call)
{
    return hf_watch(call->file, 1);
}

static long end_watch(struct waits_call *call)
{
    return hf_watch(call->file, 0);
}

/* --- pins and leases --- */

static long pin(struct waits_call *call, uint64_t off, uint64_t len, uint32_t flags)
{
    struct iovec iov[16];
    long rc = hf_pin(call->file, off, len, flags, iov, 16, &call->pin);

    call->has_pin = rc > 0;
    return rc;
}

static long pin_it(struct waits_call *call)
{
    return pin(call, 0, 4 * TEST_PAGE, HF_PIN_READ);
}

static long pin_hole(struct waits_call *call)
{
    return pin(call, TEST_PAGE, TEST_PAGE, HF_PIN_WRITE);
}

static long pin_holes(struct waits_call *call)
{
    return pin(call, 0, 7 * TEST_PAGE, HF_PIN_READ);
}

static long pin_to_write(struct waits_call *call)
{
    return pin(call, 0, 5 * TEST_PAGE, HF_PIN_WRITE);
}

static long pin_present(struct waits_call *call)
{
    return pin(call, 0, 7 * TEST_PAGE, HF_PIN_NOFILL);
}

static void pin_before(struct waits_call *call)
{
    EXPECT_OK(pin_it(call));
}

static long unpin_it(struct waits_call *call)
{
    call->has_pin = false;
    return hf_unpin(&call->pin);
}

/* More than a thread has slots for. */
static void pin_many(struct waits_call *call)
{
    static struct hf_pin pins[40];
    struct iovec iov;

    (void)call;
    for (unsigned i = 0; i < 40; i++)
        pins[i] = test_pin(call->file, 0, TEST_PAGE, HF_PIN_READ, &iov, 1);
    for (unsigned i = 0; i < 40; i++)
        EXPECT_EQ(hf_unpin(&pins[i]), 0);
}

static long lease_part(struct waits_call *call, uint64_t len, uint32_t flags)
{
    const struct hf_lease_options options = {.size = sizeof(options), .flags = flags};
    struct iovec iov[16];
    long rc = hf_lease(call->file, 0, len, &options, iov, 16, &call->lease);

    call->has_lease = rc > 0;
    return rc;
}

static long lease_it(struct waits_call *call)
{
    return lease_part(call, 2 * TEST_PAGE, HF_PIN_READ);
}

static long lease_holes(struct waits_call *call)
{
    return lease_part(call, 7 * TEST_PAGE, HF_PIN_WRITE);
}

static void lease_before(struct waits_call *call)
{
    EXPECT_OK(lease_it(call));
}

static long release_lease(struct waits_call *call)
{
    call->has_lease = false;
    return hf_lease_release(&call->lease);
}

static void offer(struct waits_call *call)
{
    if (!call->has_lease)
        EXPECT_OK(lease_it(call));
    EXPECT_EQ(hf_lease_give(&call->lease, &call->token), 0);
    call->has_lease = false;
    call->has_token = true;
}

static long take_lease(struct waits_call *call)
{
    struct iovec iov[16];
    long rc = hf_lease_take(call->pool, &call->token, NULL, iov, 16, &call->lease);

    call->has_lease = rc > 0;
    call->has_token = rc <= 0;
    return rc;
}

/* It is asked for by a change that is refused. */
static void recall(struct waits_call *call)
{
    EXPECT_OK(lease_it(call));
    EXPECT_EQ(hf_truncate(call->file, 0, &test_nowait), -EBUSY);
}

static long next_recall(struct waits_call *call)
{
    struct hf_recall recalled;

    return hf_recall_next(call->pool, &recalled);
}

#define A .file = "/a"
#define C .file = "/c"
#define AT_GATE A, .others = WAITS_PINS | WAITS_GATE

const struct waits_row waits_content[] = {
    {"read", A, .leaves = WAITS_A_PART, .act = read_it},
    {"read-holes", C, .leaves = WAITS_A_PART, .act = read_holes},
    {"read-at-gate", AT_GATE, .leaves = WAITS_A_PART, .act = read_it},
    {"write-inside", A, .leaves = WAITS_A_PART, .act = write_inside},
    {"write-at-gate", AT_GATE, .leaves = WAITS_A_PART, .act = write_inside},
    {"write-hole", C, .leaves = WAITS_A_PART, .act = write_hole},
    {"write-holes", C, .leaves = WAITS_A_PART, .act = write_holes},
    {"write-shared", A, .leaves = WAITS_A_PART | WAITS_BLOCKS, .prepare = share,
     .act = write_inside},
    {"write-shared-no-more", A, .leaves = WAITS_A_PART | WAITS_BLOCKS, .prepare = share_no_more,
     .act = write_inside},
    {"write-shared-pages", A, .leaves = WAITS_A_PART | WAITS_BLOCKS, .prepare = share,
     .act = write_whole},
    {"write-shared-no-more-pages", A, .leaves = WAITS_A_PART | WAITS_BLOCKS,
     .prepare = share_no_more, .act = write_whole},
    {"write-capable", A, .leaves = WAITS_A_PART, .prepare = give_capability, .act = write_inside,
     .judge = lost_capability},
    {"write-beside-capable", A, .leaves = WAITS_A_PART, .prepare = give_b_capability,
     .act = write_inside},
    {"append-capable", A, .leaves = WAITS_A_PART, .prepare = give_capability,
     .act = append_over_page, .judge = lost_capability},
    {"write-over-end", A, .leaves = WAITS_A_PART, .act = write_over_end},
    {"write-over-end-at-gate", AT_GATE, .leaves = WAITS_A_PART, .act = write_over_end},
    {"write-over-shared-end", A, .leaves = WAITS_A_PART | WAITS_BLOCKS, .prepare = share,
     .act = write_over_end},
    {"write-ahead", A, .leaves = WAITS_A_PART, .prepare = allocate_ahead, .act = write_over_end},
    {"write-far", A, .leaves = WAITS_A_PART, .act = write_far},
    {"write-far-shared", A, .leaves = WAITS_A_PART | WAITS_BLOCKS, .prepare = share,
     .act = write_far},
    {"write-much-far", A, .leaves = WAITS_A_PART, .act = write_much_far},
    {"write-much-far-shared", A, .leaves = WAITS_A_PART | WAITS_BLOCKS, .prepare = share,
     .act = write_much_far},
    {"write-appending", A, .leaves = WAITS_A_PART, .prepare = open_to_append, .act = write_inside},
    {"append-inside", A, .act = append_inside},
    {"append-over-page", A, .leaves = WAITS_A_PART, .act = append_over_page},
    {"append-ahead", A, .leaves = WAITS_A_PART, .prepare = allocate_ahead, .act = append_over_page},
    {"append-much", C, .leaves = WAITS_A_PART, .act = append_much},
    {"append-at-gate", AT_GATE, .leaves = WAITS_A_PART, .act = append_over_page},
    {"append-shared", A, .leaves = WAITS_A_PART | WAITS_BLOCKS, .prepare = share,
     .act = append_over_page},
    {"put", A, .act = put_it},
    {"put-device", A, .act = put_by_device},
    {"put-ahead", A, .prepare = allocate_ahead, .act = put_it},
    {"put-at-gate", AT_GATE, .act = put_it},
    {"put-shared", A, .leaves = WAITS_BLOCKS, .prepare = share, .act = put_it},
    {"put-capable", A, .prepare = give_capability, .act = put_it},
    {"put-named", .prepare = open_unnamed, .act = put_named},
    {"copy-pages", A, .leaves = WAITS_A_PART | WAITS_BLOCKS, .prepare = open_c, .act = copy_pages},
    {"copy-bytes", A, .leaves = WAITS_A_PART, .prepare = open_c, .act = copy_bytes},
    {"copy-over-end", A, .leaves = WAITS_A_PART | WAITS_BLOCKS, .prepare = open_c,
     .act = copy_over_end},
    {"copy-holes", A, .leaves = WAITS_A_PART | WAITS_BLOCKS, .prepare = open_c, .act = copy_holes},
    {"copy-bytes-of-holes", A, .leaves = WAITS_A_PART, .prepare = open_c,
     .act = copy_bytes_of_holes},
    {"copy-within", A, .leaves = WAITS_A_PART | WAITS_BLOCKS, .act = copy_within},
    {"copy-held", A, .others = WAITS_PINS, .leaves = WAITS_A_PART | WAITS_BLOCKS, .prepare = open_c,
     .act = copy_pages},
    {"copy-from-gate", AT_GATE, .leaves = WAITS_A_PART | WAITS_BLOCKS, .prepare = open_c,
     .act = copy_pages},
    {"copy-to-gate", AT_GATE, .leaves = WAITS_A_PART | WAITS_BLOCKS, .prepare = open_c,
     .act = copy_holes},
    {"fsync", A, .prepare = make_dirty, .act = sync_it},
    {"seek-data", C, .act = seek_data},
    {"seek-hole", A, .act = seek_hole},
    {"close", A, .act = close_it},
    {"close-dirty", A, .prepare = make_dirty, .act = close_it},
    {"close-at-gate", AT_GATE, .prepare = make_dirty, .act = close_it},
    {"close-orphan", A, .prepare = lose_name, .act = close_it},
    {"close-pinned-orphan", A, .others = WAITS_PINS, .prepare = lose_name, .act = close_it},
    {"close-watched", A, .prepare = watch, .act = close_it},
    {"close-watched-stores", A, .prepare = watch_stores, .act = close_it},
    {"watch", A, .act = begin_watch},
    {"watch-end", A, .prepare = watch, .act = end_watch},
    {"watch-next", A, .prepare = watch, .act = next_report},
    {"pin", A, .act = pin_it},
    {"unpin", A, .prepare = pin_before, .act = unpin_it},
    {"pin-more", A, .prepare = pin_many, .act = pin_it},
    {"pin-at-gate", AT_GATE, .act = pin_it},
    {"pin-hole", C, .leaves = WAITS_BLOCKS, .act = pin_hole},
    {"pin-holes", C, .leaves = WAITS_BLOCKS, .act = pin_holes},
    {"pin-present", C, .act = pin_present},
    {"pin-shared", A, .leaves = WAITS_BLOCKS, .prepare = share, .act = pin_to_write},
    {"lease", A, .act = lease_it},
    {"lease-at-gate", AT_GATE, .act = lease_it},
    {"lease-holes", C, .leaves = WAITS_BLOCKS, .act = lease_holes},
    {"lease-shared", A, .leaves = WAITS_BLOCKS, .prepare = share, .act = lease_it},
    {"lease-release", A, .prepare = lease_before, .act = release_lease},
    {"lease-take", A, .prepare = offer, .act = take_lease},
    {"recall-next", A, .leaves = WAITS_A_PART, .prepare = recall, .act = next_recall},
};
const unsigned waits_content_count = sizeof(waits_content) / sizeof(waits_content[0]);
