/* SPDX-License-Identifier: MIT */
/*
 * Layout changes, each under a policy that cannot wait for this thread's own pins. Over a held page
 * NOWAIT must be -EBUSY and a policy that would wait -EDEADLK, and both must leave the file as it
 * was. DETACH must go ahead and leave the holder its bytes.
 */
#include "exercise.h"

#include <errno.h>
#include <holdfast/compact.h>
#include <inttypes.h>

const struct hf_policy *choose_policy(struct exercise *x, struct hf_policy *policy)
{
    static const uint32_t kinds[] = {HF_POLICY_DEFAULT, HF_POLICY_WAIT,           HF_POLICY_NOWAIT,
                                     HF_POLICY_NOWAIT,  HF_POLICY_DEADLINE,       HF_POLICY_DETACH,
                                     HF_POLICY_DETACH,  HF_POLICY_DEADLINE_DETACH};

    *policy = (struct hf_policy){.kind = kinds[test_below(&x->rng, 8)]};
    if (policy->kind == HF_POLICY_DEADLINE || policy->kind == HF_POLICY_DEADLINE_DETACH)
        policy->deadline_ns = TEST_PATIENCE_NS; /* for locks that others have, if there are any */
    return policy->kind == HF_POLICY_DEFAULT && test_chance(&x->rng, 80) ? NULL : policy;
}

int foreseen(const struct exercise *x, const struct model_node *node,
             const struct hf_policy *policy, uint64_t first, uint64_t end)
{
    uint32_t kind = policy ? policy->kind : HF_POLICY_DEFAULT;

    if (kind == HF_POLICY_DETACH || !pins_overlap(x, node, first, end))
        return 0;
    return kind == HF_POLICY_NOWAIT ? EBUSY : EDEADLK;
}

struct change {
    const char *name;
    struct open_file *open;
    uint64_t off, len;
    uint64_t first, end; /* pages that may lose their blocks */
    uint64_t pages;      /* that it may have to find */
    struct hf_policy storage;
    const struct hf_policy *policy;
    struct moment moment;
};

static bool change_begin(struct exercise *x, struct change *change, const char *name,
                         bool whole_pages)
{
    *change = (struct change){.name = name, .open = choose_open(x), .moment = moment_now()};
    if (!change->open)
        return false;
    change->policy = choose_policy(x, &change->storage);
    choose_range(x, change->open->node, whole_pages, &change->off, &change->len);
    change->first = change->off / TEST_PAGE;
    change->end = (change->off + change->len + TEST_PAGE - 1) / TEST_PAGE;
    change->pages = change->end - change->first;
    return true;
}

static void change_note(struct exercise *x, const struct change *change)
{
    note(x, "%s inode %" PRIu64 " [%" PRIu64 ", +%" PRIu64 ") size %" PRIu64 " policy %u flags %#o",
         change->name, change->open->node->ino, change->off, change->len,
         change->open->node->content.size, change->policy ? change->policy->kind : 0,
         (unsigned)change->open->flags);
}

/* All that is wrong with the call; which of it is said first is nobody's promise. */
static const int *change_errors(const struct change *change, int invalid, int want, int errors[5])
{
    int count = 0;

    if ((change->open->flags & O_ACCMODE) == O_RDONLY)
        errors[count++] = EBADF;
    if (invalid)
        errors[count++] = invalid;
    if (invalid == EINVAL && change->off + change->len > HF_FILE_BYTES_MAX)
        errors[count++] = EFBIG;
    if (want)
        errors[count++] = want;
    return errors;
}

/* Held pages that stay in the file are copied. The copies must lie in a bounded number of runs,
 * which fragmented free space may not have. */
static bool copies_held_pages(const struct exercise *x, const struct change *change)
{
    uint32_t kind = change->policy ? change->policy->kind : HF_POLICY_DEFAULT;

    return kind == HF_POLICY_DETACH &&
           pins_overlap(x, change->open->node, change->first, change->end);
}

/* Checks the result; true when the model is to follow. `invalid`: an errno that comes first. */
static bool change_went(struct exercise *x, struct change *change, int rc, int invalid)
{
    struct model_node *node = change->open->node;
    int want = foreseen(x, node, change->policy, change->first, change->end);

    if (rc == -ENOSPC && (is_full(x, 2 * change->pages) || copies_held_pages(x, change))) {
        note_result(x, rc);
        pins_release_of(x, node); /* a move may have come half-way, and detached that half */
        node_relearn_blocks(x, change->open);
        return false;
    }
    expect_one_of(x, rc, change_errors(change, invalid, want, (int[5]){0}));
    if (rc == 0)
        pins_detach(x, node, change->first, change->end);
    else
        compare_file(x, change->open);
    return rc == 0;
}

static void change_compare(struct exercise *x, struct change *change, bool modified)
{
    if (modified)
        node_modified(x, change->open->node, change->moment);
    else
        change->open->node->mtime_known = false;
    compare_file(x, change->open);
    pins_compare(x, change->open->node);
}

static void run_truncate(struct exercise *x)
{
    struct change change;
    struct model_content *content;
    bool down;
    int rc;

    if (!change_begin(x, &change, "truncate", false) || change.open->node->window_pages)
        return;
    content = &change.open->node->content;
    if (test_chance(&x->rng, 40) && content->size > 0)
        change.off = test_below(&x->rng, content->size);
    down = change.off < content->size;
    change.end = down ? UINT64_MAX : 0;
    change.first = down ? change.off / TEST_PAGE : 0;
    change.pages = 1;
    change_note(x, &change);
    rc = hf_truncate(change.open->file, change.off, change.policy);
    if (!change_went(x, &change, rc, change.off > HF_FILE_BYTES_MAX ? EFBIG : 0))
        return;
    down = change.off != content->size;
    content_truncate(content, change.off);
    change_compare(x, &change, down);
}

static void run_allocate(struct exercise *x)
{
    struct change change;
    struct model_content *content;
    bool keep = test_chance(&x->rng, 50);
    int rc;

    if (!change_begin(x, &change, keep ? "allocate, keeping the size" : "allocate", false))
        return;
    content = &change.open->node->content;
    change.end = change.first = 0; /* fills holes only */
    change_note(x, &change);
    rc = hf_fallocate(change.open->file, keep ? HF_FALLOC_KEEP_SIZE : 0, change.off, change.len,
                      change.policy);
    if (!change_went(x, &change, rc, change.off + change.len > HF_FILE_BYTES_MAX ? EFBIG : 0))
        return;
    content_allocate(content, change.off, change.len);
    if (!keep && change.off + change.len > content->size)
        content->size = change.off + change.len;
    change_compare(x, &change, false);
}

static void run_punch(struct exercise *x)
{
    struct change change;
    uint32_t keep = test_chance(&x->rng, 50) ? HF_FALLOC_KEEP_SIZE : 0;
    int rc;

    if (!change_begin(x, &change, "punch", false))
        return;
    change_note(x, &change);
    rc = hf_fallocate(change.open->file, HF_FALLOC_PUNCH_HOLE | keep, change.off, change.len,
                      change.policy);
    if (!change_went(x, &change, rc, change.off + change.len > HF_FILE_BYTES_MAX ? EFBIG : 0))
        return;
    content_punch(&change.open->node->content, change.off, change.len);
    change_compare(x, &change, false);
}

static void run_zero(struct exercise *x)
{
    struct change change;
    struct model_content *content;
    bool keep = test_chance(&x->rng, 50);
    int rc;

    if (!change_begin(x, &change, keep ? "zero, keeping the size" : "zero", false))
        return;
    content = &change.open->node->content;
    change_note(x, &change);
    rc = hf_fallocate(change.open->file, HF_FALLOC_ZERO_RANGE | (keep ? HF_FALLOC_KEEP_SIZE : 0),
                      change.off, change.len, change.policy);
    if (!change_went(x, &change, rc, change.off + change.len > HF_FILE_BYTES_MAX ? EFBIG : 0))
        return;
    content_zero(content, change.off, change.len);
    if (!keep && change.off + change.len > content->size)
        content->size = change.off + change.len;
    change_compare(x, &change, false);
}

static void run_collapse(struct exercise *x)
{
    struct change change;
    struct model_content *content;
    bool aligned = test_chance(&x->rng, 90);
    int rc, invalid;

    if (!change_begin(x, &change, "collapse", aligned) || change.open->node->window_pages)
        return;
    content = &change.open->node->content;
    invalid = (change.off | change.len) % TEST_PAGE || change.off + change.len >= content->size
                  ? EINVAL
                  : 0;
    change.end = UINT64_MAX;
    change.pages = 1;
    change_note(x, &change);
    rc = hf_fallocate(change.open->file, HF_FALLOC_COLLAPSE_RANGE, change.off, change.len,
                      change.policy);
    if (!change_went(x, &change, rc, invalid))
        return;
    content_collapse(content, change.off, change.len);
    change_compare(x, &change, true);
}

static void run_insert(struct exercise *x)
{
    struct change change;
    struct model_content *content;
    uint64_t last;
    int rc, invalid = 0;

    if (!change_begin(x, &change, "insert", test_chance(&x->rng, 90)) ||
        change.open->node->window_pages)
        return;
    content = &change.open->node->content;
    last = content->count ? (content->pages[content->count - 1].index + 1) * TEST_PAGE : 0;
    last = last > content->size ? last : content->size;
    if ((change.off | change.len) % TEST_PAGE || change.off >= content->size)
        invalid = EINVAL;
    else if (last + change.len > HF_FILE_BYTES_MAX)
        invalid = EFBIG;
    change.end = UINT64_MAX;
    change.pages = 1;
    change_note(x, &change);
    rc = hf_fallocate(change.open->file, HF_FALLOC_INSERT_RANGE, change.off, change.len,
                      change.policy);
    if (!change_went(x, &change, rc, invalid))
        return;
    content_insert(content, change.off, change.len);
    change_compare(x, &change, true);
}

static void run_move(struct exercise *x)
{
    struct change change;
    uint64_t size;
    int rc;

    if (!change_begin(x, &change, "move", true))
        return;
    size = change.open->node->content.size;
    if (change.off >= size)
        return;
    if (change.off + change.len > size)
        change.len = size - change.off;
    change.end = (change.off + change.len + TEST_PAGE - 1) / TEST_PAGE;
    change_note(x, &change);
    rc = hf_move(change.open->file, change.off, change.len, change.policy);
    if (change_went(x, &change, rc, 0))
        change_compare(x, &change, false);
}

/* The policies that detach are refused. */
static const int *compact_errors(const struct change *change, uint32_t flags, int errors[3])
{
    int access = change->open->flags & O_ACCMODE, count = 0;
    uint32_t kind = change->policy ? change->policy->kind : HF_POLICY_DEFAULT;

    if (access == (flags & HF_COMPACT_LOOK ? O_WRONLY : O_RDONLY))
        errors[count++] = EBADF;
    if (change->off > change->open->node->content.size || kind == HF_POLICY_DETACH ||
        kind == HF_POLICY_DEADLINE_DETACH)
        errors[count++] = EINVAL;
    return errors;
}

/* Content, holes, size and times stay, and what is pinned stays where it is. */
static void run_compact(struct exercise *x)
{
    struct hf_compact_result result = {.size = sizeof(result)};
    uint32_t flags = test_chance(&x->rng, 20) ? HF_COMPACT_LOOK : 0;
    struct change change;
    int rc;

    if (!change_begin(x, &change, flags ? "look how it lies" : "compact", true))
        return;
    if (test_chance(&x->rng, 70))
        change.off = change.len = 0; /* all of it */
    change_note(x, &change);
    rc = hf_compact(change.open->file, change.off, change.len, flags, change.policy, &result);
    note_result(x, rc);
    if (rc == -ENOSPC && is_full(x, 64)) /* of the metadata */
        return;
    expect_one_of(x, rc, compact_errors(&change, flags, (int[3]){0}));
    EXPECT(rc ||
           result.huge_bytes + result.held_bytes + result.shared_bytes + result.no_space_bytes ==
               result.run_bytes ||
           flags);
    x->compacted += rc ? 0 : result.huge_bytes - result.was_huge;
    compare_file(x, change.open);
    pins_compare(x, change.open->node);
}

/* Larger by some MiB, or as small as it was at first. Files that have come to lie past the end
 * move. This thread's own pins there are in the way. */
static void run_resize(struct exercise *x)
{
    struct hf_pool_info info = {.size = sizeof(info)};
    int rc;

    if (!x->alone)
        return;
    EXPECT_EQ(hf_pool_info(x->pool, &info), 0);
    if (info.pool_bytes == x->pool_bytes) {
        note(x, "grow the pool");
        rc = hf_pool_grow(x->pool, info.pool_bytes + (1 + test_below(&x->rng, 3)) * HF_HUGE_BYTES);
        EXPECT_EQ(rc, 0);
        return;
    }
    note(x, "shrink the pool");
    rc = hf_pool_shrink(x->pool, x->pool_bytes, &test_nowait);
    note_result(x, rc);
    EXPECT(rc == 0 || rc == -EBUSY || rc == -ENOSPC);
    x->shrunk += rc == 0;
    pins_compare(x, NULL);
}

static void run_trim(struct exercise *x)
{
    struct hf_trim_result result = {.size = sizeof(result)};

    if (!x->alone)
        return;
    note(x, "trim the pool");
    EXPECT_EQ(hf_pool_trim(x->pool, test_chance(&x->rng, 50) ? HF_HUGE_BYTES : 0, &result), 0);
    x->trimmed += result.given_bytes;
}

static void run_misuse(struct exercise *x)
{
    struct open_file *open = choose_open(x);
    const struct hf_policy unknown = {.kind = 17}, dirty = {.kind = HF_POLICY_WAIT, .reserved = 1};
    struct hf_file *file;

    if (!open || open->node->window_pages || (open->flags & O_ACCMODE) == O_RDONLY)
        return;
    file = open->file;
    note(x, "misuse layout changes");
    EXPECT_EQ(hf_fallocate(file, 0, 0, 0, NULL), -EINVAL);
    EXPECT_EQ(hf_fallocate(file, 0x40, 0, TEST_PAGE, NULL), -EINVAL);
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_PUNCH_HOLE | HF_FALLOC_ZERO_RANGE, 0, 1, NULL), -EINVAL);
    EXPECT_EQ(
        hf_fallocate(file, HF_FALLOC_COLLAPSE_RANGE | HF_FALLOC_KEEP_SIZE, 0, TEST_PAGE, NULL),
        -EINVAL);
    EXPECT_EQ(hf_fallocate(file, 0, UINT64_MAX - 5, 10, NULL), -EFBIG);
    EXPECT_EQ(hf_truncate(file, HF_FILE_BYTES_MAX + 1, NULL), -EFBIG);
    EXPECT_EQ(hf_truncate(file, 0, &unknown), -EINVAL);
    EXPECT_EQ(hf_truncate(file, 0, &dirty), -EINVAL);
    EXPECT_EQ(hf_move(file, 1, TEST_PAGE, NULL), -EINVAL);
    node_compare(x, open->node);
}

const struct operation layout_operations[] = {
    {"truncate", 40, run_truncate}, {"allocate", 25, run_allocate}, {"punch", 40, run_punch},
    {"zero", 25, run_zero},         {"collapse", 20, run_collapse}, {"insert", 15, run_insert},
    {"move", 35, run_move},         {"misuse", 2, run_misuse},      {"compact", 20, run_compact},
    {"resize", 6, run_resize},      {"trim", 4, run_trim},          {NULL, 0, NULL},
};
