/* SPDX-License-Identifier: MIT */
/*
 * Files that share blocks: clones, copies, merges. A clone has the source's blocks and holes; a
 * merge changes no content, no size and no time. What is pinned stays with its file, as it was.
 */
#include "exercise.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define BYTES_MAX (300 * HF_BLOCK_BYTES)

static unsigned char bytes[BYTES_MAX];

struct pair {
    struct open_file *from, *to;
    uint64_t from_off, to_off, len;
    struct moment moment;
};

/* False: there is none, or one that other processes use too. */
static bool pair_begin(struct exercise *x, struct pair *pair)
{
    *pair = (struct pair){.from = choose_open(x), .to = choose_open(x), .moment = moment_now()};
    return pair->from && pair->to && !pair->from->node->window_pages &&
           !pair->to->node->window_pages;
}

static void pair_note(struct exercise *x, const struct pair *pair, const char *name)
{
    note(x,
         "%s inode %" PRIu64 " [%" PRIu64 ", +%" PRIu64 ") of %" PRIu64 ", inode %" PRIu64
         " at %" PRIu64 " of %" PRIu64,
         name, pair->from->node->ino, pair->from_off, pair->len, pair->from->node->content.size,
         pair->to->node->ino, pair->to_off, pair->to->node->content.size);
}

static uint64_t pages_up(uint64_t off)
{
    return (off + TEST_PAGE - 1) / TEST_PAGE;
}

static bool pair_overlaps(const struct pair *pair)
{
    return pair->from->node == pair->to->node && pair->from_off < pair->to_off + pair->len &&
           pair->to_off < pair->from_off + pair->len;
}

static bool reads(const struct open_file *open)
{
    return (open->flags & O_ACCMODE) != O_WRONLY;
}

static bool writes_anywhere(const struct open_file *open)
{
    return (open->flags & O_ACCMODE) != O_RDONLY && !(open->flags & O_APPEND);
}

/* What the target holds then; all of its pages there get a block. */
static void take_bytes(const struct pair *pair, uint64_t len)
{
    content_read(&pair->from->node->content, pair->from_off, len, bytes);
    content_write(&pair->to->node->content, pair->to_off, len, bytes);
}

/* ------------------------------------------------------------------------------ clone --- */

static void choose_clone(struct exercise *x, struct pair *pair)
{
    uint64_t size = pair->from->node->content.size, len;

    choose_range(x, pair->from->node, test_chance(&x->rng, 95), &pair->from_off, &pair->len);
    choose_range(x, pair->to->node, test_chance(&x->rng, 95), &pair->to_off, &len);
    if (pair->len > BYTES_MAX)
        pair->len = BYTES_MAX;
    if (pair->from_off < size && pair->from_off + pair->len > size && test_chance(&x->rng, 90))
        pair->len = size - pair->from_off;
}

/* All that is wrong with the call; which of it is said first is nobody's promise. */
static int clone_errors(const struct exercise *x, const struct pair *pair,
                        const struct hf_policy *policy, int errors[8])
{
    uint64_t size = pair->from->node->content.size, end = pair->from_off + pair->len;
    uint64_t first = pair->to_off / TEST_PAGE, count = pages_up(pair->len);
    struct hf_policy of_source = policy ? *policy : (struct hf_policy){0};
    int n = 0, want;

    if (of_source.kind == HF_POLICY_DETACH)
        of_source.kind = HF_POLICY_NOWAIT;
    if (!reads(pair->from) || !writes_anywhere(pair->to))
        errors[n++] = EBADF;
    if (pair->from_off % TEST_PAGE || pair->to_off % TEST_PAGE || end > size ||
        (pair->len % TEST_PAGE && end != size) || pair_overlaps(pair))
        errors[n++] = EINVAL;
    if (pair->to_off + pair->len > HF_FILE_BYTES_MAX || end > HF_FILE_BYTES_MAX) {
        errors[n++] = EFBIG;
        errors[n++] = EINVAL;
    }
    want = foreseen(x, pair->to->node, policy, first, first + count);
    if (want)
        errors[n++] = want;
    if (pins_write(x, pair->from->node, pair->from_off / TEST_PAGE, pages_up(end)))
        errors[n++] = of_source.kind == HF_POLICY_NOWAIT ? EBUSY : EDEADLK;
    errors[n] = 0;
    return n;
}

static void clone_went(struct exercise *x, const struct pair *pair)
{
    struct model_content *to = &pair->to->node->content;
    uint64_t first = pair->to_off / TEST_PAGE, from = pair->from_off / TEST_PAGE;
    uint64_t count = pages_up(pair->len);
    bool goes_on = pair->len % TEST_PAGE && to->size > pair->to_off + pair->len;
    bool kept = goes_on && content_has(to, first + count - 1);

    x->clones++;
    pins_detach(x, pair->to->node, first, first + count);
    take_bytes(pair, pair->len);
    for (uint64_t i = 0; i < count; i++)
        if (!content_has(&pair->from->node->content, from + i) && !(kept && i + 1 == count))
            content_punch(to, (first + i) * TEST_PAGE, TEST_PAGE);
    node_modified(x, pair->to->node, pair->moment);
}

static void run_clone(struct exercise *x)
{
    const struct hf_policy *policy;
    struct hf_policy storage;
    struct pair pair;
    int rc, errors[8];

    if (!pair_begin(x, &pair))
        return;
    policy = choose_policy(x, &storage);
    choose_clone(x, &pair);
    clone_errors(x, &pair, policy, errors);
    pair_note(x, &pair, "clone");
    rc = hf_clone_range(pair.from->file, pair.from_off, pair.to->file, pair.to_off, pair.len,
                        policy);
    if (rc == -ENOSPC && (is_full(x, 2 * pages_up(pair.len)) ||
                          pins_overlap(x, pair.from->node, pair.from_off / TEST_PAGE,
                                       pages_up(pair.from_off + pair.len)))) {
        note_result(x, rc);
        node_relearn_blocks(x, pair.to);
        return;
    }
    expect_one_of(x, rc, errors);
    if (rc == 0)
        clone_went(x, &pair);
    compare_file(x, pair.from);
    compare_file(x, pair.to);
    pins_compare(x, NULL);
}

/* ------------------------------------------------------------------------------- copy --- */

/* Whole pages are shared where both offsets lie equally far into a page. */
static void choose_copy(struct exercise *x, struct pair *pair)
{
    uint64_t len;

    choose_range(x, pair->from->node, test_chance(&x->rng, 50), &pair->from_off, &pair->len);
    choose_range(x, pair->to->node, test_chance(&x->rng, 50), &pair->to_off, &len);
    if (test_chance(&x->rng, 60))
        pair->to_off = pair->to_off / TEST_PAGE * TEST_PAGE + pair->from_off % TEST_PAGE;
    if (pair->len > BYTES_MAX)
        pair->len = BYTES_MAX;
    if (pair->from_off + pair->len > pair->from->node->content.size)
        pair->len = pair->from_off < pair->from->node->content.size
                        ? pair->from->node->content.size - pair->from_off
                        : 1;
}

static void run_copy(struct exercise *x)
{
    struct pair pair;
    int errors[4], n = 0;
    uint64_t want;
    ssize_t rc;

    if (!pair_begin(x, &pair))
        return;
    choose_copy(x, &pair);
    want = pair.from_off < pair.from->node->content.size ? pair.len : 0;
    if (!reads(pair.from) || !writes_anywhere(pair.to))
        errors[n++] = EBADF;
    if (pair_overlaps(&pair))
        errors[n++] = EINVAL;
    if (pair.to_off + pair.len > HF_FILE_BYTES_MAX)
        errors[n++] = EFBIG;
    errors[n] = 0;
    pair_note(x, &pair, "copy");
    rc = hf_copy_range(pair.from->file, pair.from_off, pair.to->file, pair.to_off, pair.len);
    note_result(x, rc);
    if (n && rc <= 0) {
        EXPECT(rc == 0 ? want == 0 || errors[0] == EFBIG : rc == -errors[0] || n > 1);
        return;
    }
    if (rc < 0) {
        EXPECT(rc == -ENOSPC && is_full(x, 2 * pages_up(pair.len)));
        rc = 0;
    } else if ((uint64_t)rc != want) {
        EXPECT((uint64_t)rc < want &&
               (is_full(x, 2 * pages_up(pair.len)) || pair.to_off + want > HF_FILE_BYTES_MAX));
    }
    take_bytes(&pair, (uint64_t)rc);
    node_relearn_blocks(x, pair.to);
    compare_file(x, pair.from);
    pins_compare(x, NULL);
    if (rc > 0)
        node_modified(x, pair.to->node, pair.moment);
}

/* ------------------------------------------------------------------------------ merge --- */

static const unsigned char *page_of(const struct model_content *content, size_t place)
{
    return content->pages[place].bytes;
}

/* A page of `to` that holds what one of `from` does; false: none does. */
static bool find_equal(const struct pair *pair, uint64_t *from, uint64_t *to, size_t start)
{
    const struct model_content *a = &pair->from->node->content, *b = &pair->to->node->content;

    for (size_t i = 0; i < a->count && i < 40; i++) {
        size_t place = (start + i) % a->count;

        for (size_t j = 0; j < b->count && j < 200; j++)
            if ((a != b || place != j) &&
                memcmp(page_of(a, place), page_of(b, j), TEST_PAGE) == 0) {
                *from = a->pages[place].index;
                *to = b->pages[j].index;
                return true;
            }
    }
    return false;
}

static void choose_merge(struct exercise *x, struct pair *pair)
{
    uint64_t from = pair->from->node->content.size, to = pair->to->node->content.size, len, a, b;

    choose_range(x, pair->from->node, test_chance(&x->rng, 95), &pair->from_off, &pair->len);
    choose_range(x, pair->to->node, test_chance(&x->rng, 95), &pair->to_off, &len);
    if (pair->from->node->content.count && test_chance(&x->rng, 85) &&
        find_equal(pair, &a, &b, test_below(&x->rng, pair->from->node->content.count))) {
        pair->from_off = a * TEST_PAGE;
        pair->to_off = b * TEST_PAGE;
        pair->len = test_chance(&x->rng, 60) ? TEST_PAGE : pair->len;
    }
    if (pair->len > BYTES_MAX)
        pair->len = BYTES_MAX;
    if (test_chance(&x->rng, 5))
        return;
    if (pair->from_off < from && pair->from_off + pair->len > from)
        pair->len = from - pair->from_off;
    if (pair->to_off < to && pair->to_off + pair->len > to)
        pair->len = to - pair->to_off;
    if (pair->from_off + pair->len != from || pair->to_off + pair->len != to)
        pair->len = pair->len >= TEST_PAGE ? pair->len / TEST_PAGE * TEST_PAGE : TEST_PAGE;
}

/* `with_zeros`: there is no first file. */
static bool merge_is_valid(const struct pair *pair, bool with_zeros)
{
    uint64_t from = pair->from->node->content.size, to = pair->to->node->content.size;
    bool part = pair->len % TEST_PAGE;

    if (pair->to_off % TEST_PAGE || pair->to_off + pair->len > to ||
        (part && pair->to_off + pair->len != to))
        return false;
    return with_zeros || (pair->from_off % TEST_PAGE == 0 && pair->from_off + pair->len <= from &&
                          !(part && pair->from_off + pair->len != from) && !pair_overlaps(pair));
}

static bool is_same(const struct pair *pair, bool with_zeros)
{
    static unsigned char other[BYTES_MAX];

    content_read(&pair->to->node->content, pair->to_off, pair->len, bytes);
    memset(other, 0, pair->len);
    if (!with_zeros)
        content_read(&pair->from->node->content, pair->from_off, pair->len, other);
    return memcmp(bytes, other, pair->len) == 0;
}

static void compare_merge(struct exercise *x, const struct pair *pair, bool with_zeros, int rc,
                          const struct hf_dedup_result *result)
{
    note_result(x, rc);
    if (rc == 0) {
        EXPECT_EQ(result->same, is_same(pair, with_zeros));
        EXPECT(result->shared_bytes + result->held_bytes <= pair->len);
        x->merged += result->shared_bytes;
    } else {
        EXPECT(rc == -ENOSPC && is_full(x, 64)); /* of the metadata */
    }
    if (with_zeros)
        node_relearn_blocks(x, pair->to);
    compare_file(x, pair->from);
    compare_file(x, pair->to);
    pins_compare(x, NULL);
}

static void merge_any(struct exercise *x, bool with_zeros)
{
    struct hf_dedup_result result = {.size = sizeof(result)};
    struct pair pair;
    int rc;

    if (!pair_begin(x, &pair))
        return;
    choose_merge(x, &pair);
    pair_note(x, &pair, with_zeros ? "merge with zeros" : "merge");
    rc = hf_dedup_range(with_zeros ? NULL : pair.from->file, with_zeros ? 0 : pair.from_off,
                        pair.to->file, pair.to_off, pair.len, &result);
    if ((!with_zeros && !reads(pair.from)) || (pair.to->flags & O_ACCMODE) != O_RDWR ||
        (pair.to->flags & O_APPEND))
        expect_one_of(x, rc, (int[]){EBADF, merge_is_valid(&pair, with_zeros) ? 0 : EINVAL, 0});
    else if (!merge_is_valid(&pair, with_zeros))
        expect_one_of(x, rc, (int[]){EINVAL, 0});
    else
        compare_merge(x, &pair, with_zeros, rc, &result);
}

static void run_merge(struct exercise *x)
{
    merge_any(x, false);
}

static void run_merge_zeros(struct exercise *x)
{
    merge_any(x, true);
}

/* What another page holds, so that there is something to be merged. */
static void run_echo(struct exercise *x)
{
    struct pair pair;
    ssize_t rc;

    if (!pair_begin(x, &pair) || !writes_anywhere(pair.to) || !pair.from->node->content.count)
        return;
    pair.from_off =
        pair.from->node->content.pages[test_below(&x->rng, pair.from->node->content.count)].index *
        TEST_PAGE;
    choose_range(x, pair.to->node, true, &pair.to_off, &pair.len);
    pair.len = TEST_PAGE;
    if (pair.to_off + pair.len > HF_FILE_BYTES_MAX)
        return;
    pair_note(x, &pair, "echo");
    content_read(&pair.from->node->content, pair.from_off, pair.len, bytes);
    rc = hf_write(pair.to->file, bytes, pair.len, pair.to_off);
    note_result(x, rc);
    if (rc != (ssize_t)pair.len) {
        EXPECT((rc == -ENOSPC || rc >= 0) && is_full(x, 2));
        content_write(&pair.to->node->content, pair.to_off, rc > 0 ? (size_t)rc : 0, bytes);
        node_relearn_blocks(x, pair.to);
        return;
    }
    take_bytes(&pair, pair.len);
    node_modified(x, pair.to->node, pair.moment);
    compare_file(x, pair.to);
    pins_compare(x, pair.to->node);
}

const struct operation share_operations[] = {
    {"clone", 30, run_clone}, {"copy", 25, run_copy},
    {"merge", 35, run_merge}, {"merge zeros", 5, run_merge_zeros},
    {"echo", 15, run_echo},   {NULL, 0, NULL},
};
