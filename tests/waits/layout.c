/* SPDX-License-Identifier: MIT */
/* Layout changes, and what else a file's blocks change by. */
#include "waits.h"

#include "fs/fs.h"

#include <errno.h>
#include <holdfast/compact.h>
#include <inttypes.h>

static long truncate_to(struct waits_call *call, uint64_t size)
{
    return hf_truncate(call->file, size, call->policy);
}

static long truncate_down(struct waits_call *call)
{
    return truncate_to(call, TEST_PAGE + 100);
}

static long truncate_pages(struct waits_call *call)
{
    return truncate_to(call, 2 * TEST_PAGE);
}

static long truncate_all(struct waits_call *call)
{
    return truncate_to(call, 0);
}

static long truncate_up(struct waits_call *call)
{
    return truncate_to(call, 9 * TEST_PAGE);
}

static long truncate_same(struct waits_call *call)
{
    return truncate_to(call, 7 * TEST_PAGE);
}

static long fallocate_it(struct waits_call *call, uint32_t mode, uint64_t off, uint64_t len)
{
    return hf_fallocate(call->file, mode, off, len, call->policy);
}

static long punch(struct waits_call *call)
{
    return fallocate_it(call, HF_FALLOC_PUNCH_HOLE, TEST_PAGE, 2 * TEST_PAGE);
}

static long punch_edges(struct waits_call *call)
{
    return fallocate_it(call, HF_FALLOC_PUNCH_HOLE, 100, 4 * TEST_PAGE);
}

static long zero(struct waits_call *call)
{
    return fallocate_it(call, HF_FALLOC_ZERO_RANGE, 100, 4 * TEST_PAGE);
}

static long zero_keeping(struct waits_call *call)
{
    return fallocate_it(call, HF_FALLOC_ZERO_RANGE | HF_FALLOC_KEEP_SIZE, 5 * TEST_PAGE,
                        4 * TEST_PAGE);
}

static long zero_past_end(struct waits_call *call)
{
    return fallocate_it(call, HF_FALLOC_ZERO_RANGE, 8 * TEST_PAGE, 3 * TEST_PAGE);
}

static long zero_much(struct waits_call *call)
{
    return fallocate_it(call, HF_FALLOC_ZERO_RANGE, 0, 70 * TEST_PAGE);
}

static long allocate(struct waits_call *call)
{
    return fallocate_it(call, 0, 0, 9 * TEST_PAGE);
}

static long allocate_keeping(struct waits_call *call)
{
    return fallocate_it(call, HF_FALLOC_KEEP_SIZE, 8 * TEST_PAGE, 2 * TEST_PAGE);
}

static long collapse(struct waits_call *call)
{
    return fallocate_it(call, HF_FALLOC_COLLAPSE_RANGE, TEST_PAGE, 2 * TEST_PAGE);
}

static long insert(struct waits_call *call)
{
    return fallocate_it(call, HF_FALLOC_INSERT_RANGE, TEST_PAGE, 2 * TEST_PAGE);
}

static long move(struct waits_call *call)
{
    return hf_move(call->file, 0, 5 * TEST_PAGE + 1000, call->policy);
}

static long move_all(struct waits_call *call)
{
    return hf_move(call->file, 0, 90 * TEST_PAGE, call->policy);
}

/* A run that is left since somebody holds it: one of its waits has failed, and not the call. */
static long compact(struct waits_call *call)
{
    struct hf_compact_result result = {.size = sizeof(result)};
    int rc = hf_compact(call->file, 0, 0, 0, call->policy, &result);

    if (rc || !result.held_bytes)
        return rc;
    return call->policy && call->policy->kind == HF_POLICY_DEADLINE ? -ETIMEDOUT : -EBUSY;
}

static void grow_to_a_run(struct waits_call *call)
{
    EXPECT_EQ(hf_fallocate(call->file, 0, 0, HF_HUGE_BYTES, NULL), 0);
}

/* Of a file with entries and the bias, as after 64 pins: it makes a barrier. */
static long truncate_biased(struct waits_call *call)
{
    struct hf_pin pin;
    struct iovec iov;
    long rc = hf_pin(call->file, 0, TEST_PAGE, HF_PIN_READ, &iov, 1, &pin);

    if (rc < 0)
        return rc;
    EXPECT_EQ(hf_unpin(&pin), 0);
    hf_store_release(&call->file->vnode->bias, 1u);
    return truncate_down(call);
}

static void allocate_ahead(struct waits_call *call)
{
    EXPECT_EQ(hf_fallocate(call->file, HF_FALLOC_KEEP_SIZE, 5 * TEST_PAGE, 5 * TEST_PAGE, NULL), 0);
}

static void give_capability(struct waits_call *call)
{
    EXPECT_EQ(hf_setxattr(call->pool, "/a", "security.capability", "what it may do", 14, 0), 0);
}

/* It goes before the file grows. */
static void lost_capability(struct waits_call *call)
{
    EXPECT_EQ(hf_getxattr(call->pool, "/a", "security.capability", NULL, 0), -ENODATA);
    EXPECT_EQ(test_size(call->file), 5 * TEST_PAGE + 1000);
}

static void share(struct waits_call *call)
{
    call->other = test_file(call->pool, "/shared");
    EXPECT_EQ(hf_clone_range(call->file, 0, call->other, 0, 0, &test_wait), 0);
}

static void open_c(struct waits_call *call)
{
    call->other = test_file(call->pool, "/c");
}

/* Two files that grow in turn: each page is a piece of its own. */
static void grow_in_turn(struct waits_call *call)
{
    call->other = test_file(call->pool, "/other");
    for (uint64_t page = 6; page < 90; page++) {
        test_write_pages(call->file, 5, page, 1);
        test_write_pages(call->other, 6, page, 1);
    }
}

/* Free blocks, none beside another, and enough of them for zero_much(). */
static void fill_with_gaps(struct waits_call *call)
{
    struct hf_pool_info info = {.size = sizeof(info)};

    grow_in_turn(call);
    EXPECT_EQ(hf_pool_info(call->pool, &info), 0);
    EXPECT_EQ(
        hf_fallocate(call->other, HF_FALLOC_KEEP_SIZE, 100 * TEST_PAGE, info.free_bytes, NULL), 0);
    EXPECT_EQ(
        hf_fallocate(call->other, HF_FALLOC_PUNCH_HOLE, 6 * TEST_PAGE, 84 * TEST_PAGE, &test_wait),
        0);
}

static void fill_the_pool(struct waits_call *call)
{
    struct hf_pool_info info = {.size = sizeof(info)};

    call->other = test_file(call->pool, "/full");
    EXPECT_EQ(hf_pool_info(call->pool, &info), 0);
    EXPECT_EQ(hf_fallocate(call->other, 0, 0, info.free_bytes, NULL), 0);
}

/* What the manual says of a pool in which no two free blocks are neighbours. */
static void zeroed_in_part(struct waits_call *call)
{
    uint64_t size = test_size(call->file), done = 0;
    char page[4096];

    while (done < size && hf_read(call->file, page, sizeof(page), done) == sizeof(page) &&
           test_is_zero(page, sizeof(page)))
        done += TEST_PAGE;
    if (size == 70 * TEST_PAGE)
        size = 90 * TEST_PAGE;
    EXPECT(size == 90 * TEST_PAGE);
    for (uint64_t at = done; at < size; at += TEST_PAGE)
        test_expect_pages(call->file, at < 6 * TEST_PAGE ? 1 : 5, at / TEST_PAGE, 1);
}

/* --- shared blocks --- */

static long clone_it(struct waits_call *call)
{
    return hf_clone_range(call->file, 0, call->other, TEST_PAGE, 3 * TEST_PAGE, call->policy);
}

static long clone_over_end(struct waits_call *call)
{
    return hf_clone_range(call->file, 0, call->other, 5 * TEST_PAGE, 0, call->policy);
}

/* The target goes on in the page of the last bytes. */
static long clone_tail(struct waits_call *call)
{
    return hf_clone_range(call->file, 0, call->other, TEST_PAGE, 0, call->policy);
}

static long clone_tail_alone(struct waits_call *call)
{
    return hf_clone_range(call->file, 5 * TEST_PAGE, call->other, 2 * TEST_PAGE, 0, call->policy);
}

static long clone_back(struct waits_call *call)
{
    return hf_clone_range(call->other, 0, call->file, TEST_PAGE, 4 * TEST_PAGE, call->policy);
}

static long clone_far(struct waits_call *call)
{
    return hf_clone_range(call->other, 0, call->file, 8 * TEST_PAGE, 3 * TEST_PAGE, call->policy);
}

static long clone_within(struct waits_call *call)
{
    return hf_clone_range(call->file, 0, call->file, 8 * TEST_PAGE, 3 * TEST_PAGE, call->policy);
}

static void copy_bytes(struct waits_call *call)
{
    char page[4096];

    open_c(call);
    for (uint64_t at = 0; at < 5 * TEST_PAGE; at += TEST_PAGE) {
        EXPECT_EQ(hf_read(call->file, page, sizeof(page), at), sizeof(page));
        EXPECT_EQ(hf_write(call->other, page, sizeof(page), at), sizeof(page));
    }
}

static long merge(struct waits_call *call)
{
    struct hf_dedup_result result = {.size = sizeof(result)};

    return hf_dedup_range(call->file, 0, call->other, 0, 5 * TEST_PAGE, &result);
}

static void write_zeros(struct waits_call *call)
{
    EXPECT_EQ(hf_fallocate(call->file, HF_FALLOC_ZERO_RANGE, TEST_PAGE, 3 * TEST_PAGE, &test_wait),
              0);
}

static long merge_zeros(struct waits_call *call)
{
    struct hf_dedup_result result = {.size = sizeof(result)};

    return hf_dedup_range(NULL, 0, call->file, 0, 5 * TEST_PAGE, &result);
}

/* 300 pages: two batches. */
static void write_much_twice(struct waits_call *call)
{
    static char zeros[300 * 4096] = "much";

    call->other = test_file(call->pool, "/other");
    EXPECT_EQ(hf_write(call->file, zeros, sizeof(zeros), 0), sizeof(zeros));
    EXPECT_EQ(hf_write(call->other, zeros, sizeof(zeros), 0), sizeof(zeros));
}

static long merge_much(struct waits_call *call)
{
    struct hf_dedup_result result = {.size = sizeof(result)};

    return hf_dedup_range(call->file, 0, call->other, 0, 300 * TEST_PAGE, &result);
}

/* --- in steps --- */

/* /c: pages 0, 2, 4 and then 8, 10, ... */
static void scatter(struct waits_call *call)
{
    for (uint64_t page = 8; page < 20; page += 2)
        test_write_pages(call->file, 3, page, 1);
}

static void scatter_shared(struct waits_call *call)
{
    scatter(call);
    call->other = test_file(call->pool, "/other");
    EXPECT_EQ(hf_clone_range(call->file, 0, call->other, 0, 0, &test_wait), 0);
}

static long collapse_many(struct waits_call *call)
{
    return fallocate_it(call, HF_FALLOC_COLLAPSE_RANGE, TEST_PAGE, 8 * TEST_PAGE);
}

static long insert_many(struct waits_call *call)
{
    return fallocate_it(call, HF_FALLOC_INSERT_RANGE, TEST_PAGE, 8 * TEST_PAGE);
}

/* From and to the middle of a page. */
static long punch_many(struct waits_call *call)
{
    return fallocate_it(call, HF_FALLOC_PUNCH_HOLE, 300, 14 * TEST_PAGE);
}

#define A .file = "/a"
#define C .file = "/c"
#define HELD A, .others = WAITS_PINS
#define AT_GATE A, .others = WAITS_PINS | WAITS_GATE
#define EACH .policies = true
#define STEPS C, EACH, .steps = true, .leaves = WAITS_BLOCKS

const struct waits_row waits_layout[] = {
    {"truncate", A, EACH, .act = truncate_down},
    {"truncate-biased", A, EACH, .act = truncate_biased},
    {"truncate-held", HELD, EACH, .act = truncate_down},
    {"truncate-at-gate", AT_GATE, EACH, .act = truncate_down},
    {"truncate-pages", A, EACH, .act = truncate_pages},
    {"truncate-all", A, EACH, .act = truncate_all},
    {"truncate-all-held", HELD, EACH, .act = truncate_all},
    {"truncate-capable", A, EACH, .prepare = give_capability, .act = truncate_down},
    {"truncate-up-capable", A, EACH, .prepare = give_capability, .act = truncate_up,
     .judge = lost_capability},
    {"truncate-shared", A, EACH, .prepare = share, .act = truncate_down},
    {"truncate-up", A, EACH, .act = truncate_up},
    {"truncate-up-at-gate", AT_GATE, EACH, .act = truncate_up},
    {"truncate-up-ahead", A, EACH, .prepare = allocate_ahead, .act = truncate_up},
    {"truncate-up-shared", A, EACH, .leaves = WAITS_BLOCKS, .prepare = share, .act = truncate_up},
    {"truncate-up-pages", C, EACH, .act = truncate_up},
    {"truncate-same", C, EACH, .act = truncate_same},
    {"punch", A, EACH, .act = punch},
    {"punch-held", HELD, EACH, .act = punch},
    {"punch-at-gate", AT_GATE, EACH, .act = punch},
    {"punch-edges", A, EACH, .act = punch_edges},
    {"punch-edges-held", HELD, EACH, .act = punch_edges},
    {"punch-edges-shared", A, EACH, .prepare = share, .act = punch_edges},
    {"punch-full", A, EACH, .prepare = fill_the_pool, .act = punch_edges},
    {"zero", A, EACH, .act = zero},
    {"zero-held", HELD, EACH, .act = zero},
    {"zero-at-gate", AT_GATE, EACH, .act = zero},
    {"zero-keeping", A, EACH, .act = zero_keeping},
    {"zero-past-end", A, EACH, .act = zero_past_end},
    {"zero-past-shared-end", A, EACH, .leaves = WAITS_BLOCKS, .prepare = share,
     .act = zero_past_end},
    {"zero-in-pieces", A, EACH, .prepare = fill_with_gaps, .act = zero_much,
     .judge = zeroed_in_part},
    {"allocate", A, EACH, .leaves = WAITS_BLOCKS | WAITS_TIMES, .act = allocate},
    {"allocate-holes", C, EACH, .leaves = WAITS_BLOCKS | WAITS_TIMES, .act = allocate},
    {"allocate-at-gate", AT_GATE, EACH, .leaves = WAITS_BLOCKS | WAITS_TIMES, .act = allocate},
    {"allocate-shared-end", A, EACH, .leaves = WAITS_BLOCKS | WAITS_TIMES, .prepare = share,
     .act = allocate},
    {"allocate-keeping", A, EACH, .act = allocate_keeping},
    {"collapse", A, EACH, .act = collapse},
    {"collapse-held", HELD, EACH, .act = collapse},
    {"collapse-at-gate", AT_GATE, EACH, .act = collapse},
    {"insert", A, EACH, .act = insert},
    {"insert-held", HELD, EACH, .act = insert},
    {"insert-at-gate", AT_GATE, EACH, .act = insert},
    {"move", A, EACH, .act = move},
    {"move-held", HELD, EACH, .act = move},
    {"move-at-gate", AT_GATE, EACH, .act = move},
    {"move-shared", A, EACH, .prepare = share, .act = move},
    {"move-in-parts", A, EACH, .leaves = WAITS_BLOCKS, .prepare = grow_in_turn, .act = move_all},
    {"compact", A, EACH, .prepare = grow_to_a_run, .act = compact},
    {"compact-held", HELD, EACH, .prepare = grow_to_a_run, .act = compact},
    {"compact-at-gate", AT_GATE, EACH, .prepare = grow_to_a_run, .act = compact},
    {"clone", A, EACH, .prepare = open_c, .act = clone_it},
    {"clone-held", HELD, EACH, .prepare = open_c, .act = clone_it},
    {"clone-from-gate", AT_GATE, EACH, .prepare = open_c, .act = clone_it},
    {"clone-over-end", A, EACH, .prepare = open_c, .act = clone_over_end},
    {"clone-tail", A, EACH, .prepare = open_c, .act = clone_tail},
    {"clone-tail-held", HELD, EACH, .prepare = open_c, .act = clone_tail},
    {"clone-tail-alone", A, EACH, .prepare = open_c, .act = clone_tail_alone},
    {"clone-back", A, EACH, .prepare = open_c, .act = clone_back},
    {"clone-back-held", HELD, EACH, .prepare = open_c, .act = clone_back},
    {"clone-to-gate", AT_GATE, EACH, .prepare = open_c, .act = clone_back},
    {"clone-far", A, EACH, .prepare = open_c, .act = clone_far},
    {"clone-far-shared", A, EACH, .leaves = WAITS_BLOCKS, .prepare = share, .act = clone_far},
    {"clone-within", A, EACH, .act = clone_within},
    {"steps-truncate", STEPS, .prepare = scatter, .act = truncate_down},
    {"steps-punch", STEPS, .prepare = scatter, .act = punch_many},
    {"steps-collapse", STEPS, .prepare = scatter, .act = collapse_many},
    {"steps-insert", STEPS, .prepare = scatter, .act = insert_many},
    {"steps-truncate-shared", STEPS, .prepare = scatter_shared, .act = truncate_down},
    {"steps-collapse-shared", STEPS, .prepare = scatter_shared, .act = collapse_many},
    {"merge", A, .prepare = copy_bytes, .act = merge},
    {"merge-held", HELD, .prepare = copy_bytes, .act = merge},
    /* Nothing is shared, or what is not pinned, if the gate was open for a moment. */
    {"merge-at-gate", AT_GATE, .leaves = WAITS_BLOCKS, .prepare = copy_bytes, .act = merge},
    {"merge-zeros", A, .prepare = write_zeros, .act = merge_zeros},
    {"merge-in-parts", A, .leaves = WAITS_BLOCKS, .prepare = write_much_twice, .act = merge_much},
};
const unsigned waits_layout_count = sizeof(waits_layout) / sizeof(waits_layout[0]);
