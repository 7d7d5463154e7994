/* SPDX-License-Identifier: MIT */
/* What changes the content, the size or the name of a file: the ledger first, then the call. */
#include "chaos.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define SECOND_NS UINT64_C(1000000000)

static struct storm_worker *ledger(struct chaos_actor *actor)
{
    return &actor->chaos->ledger.workers[0];
}

static uint64_t draw(struct chaos_actor *actor, uint64_t bound)
{
    return test_below(&actor->rng, bound);
}

/* A deadline has passed at once, or passes while the change waits; an actor that may not wait has
 * one that does not pass. So how fast the machine is decides nothing. */
static struct hf_policy choose_policy(struct chaos_actor *actor)
{
    struct hf_policy policy = {.kind = (uint32_t)draw(actor, 6)};

    if (policy.kind == HF_POLICY_DEADLINE || policy.kind == HF_POLICY_DEADLINE_DETACH)
        policy.deadline_ns = draw(actor, 2) ? 0 : actor->may_park ? 1000000 : 3600 * SECOND_NS;
    if (!actor->chaos->ledger.knows_holders && policy.kind >= HF_POLICY_DETACH)
        policy.kind = HF_POLICY_NOWAIT, policy.deadline_ns = 0;
    return policy;
}

long long chaos_run_change(struct chaos_actor *actor, const struct chaos_change *change)
{
    struct hf_policy policy = choose_policy(actor);

    if (policy.kind <= HF_POLICY_WAIT && actor->may_park)
        return chaos_park(actor, change);
    return chaos_conclude(actor, change, (int)chaos_perform(actor, change, &policy));
}

/* Gives pages [first, first+count) of the next version tags of their own, and fills `buffer`. */
static void plan_write(struct chaos_actor *actor, unsigned file, struct storm_version *next,
                       unsigned first, unsigned count, unsigned char *buffer)
{
    unsigned generation = actor->chaos->generations[file] % CHAOS_GENERATIONS;

    for (unsigned i = 0; i < count; i++) {
        uint64_t tag = storm_tag(generation, file, ++ledger(actor)->next_tag);

        next->pages[first + i] = (struct storm_page){.tag = tag, .cut = HF_BLOCK_BYTES};
        storm_fill(buffer + i * TEST_PAGE, tag);
    }
    if ((first + count) * TEST_PAGE > next->size)
        next->size = (first + count) * TEST_PAGE;
}

/* Not all of it was written: the ledger hears what is there. */
static long long half_written(struct chaos_actor *actor, long long rc)
{
    if (rc < 0 && rc != -ENOSPC && rc != -EAGAIN && rc != -EINTR)
        FAIL("%s gave %lld; %s", ledger(actor)->doing, rc, hf_strerror_detail());
    chaos_settle(actor->chaos, actor->pool);
    return rc;
}

static unsigned char buffer[STORM_PAGES * HF_BLOCK_BYTES];

static long long write_file(struct chaos_actor *actor, unsigned number, struct hf_file *handle)
{
    struct storm_file *file = &ledger(actor)->files[number];
    struct storm_version *next = storm_prepare(file);
    unsigned first = (unsigned)draw(actor, STORM_PAGES);
    unsigned count = 1 + (unsigned)draw(actor, STORM_PAGES - first);
    bool append = next->size == first * TEST_PAGE;
    ssize_t done;

    plan_write(actor, number, next, first, count, buffer);
    storm_begin(file, STORM_WRITE);
    done = append ? hf_append(handle, buffer, count * TEST_PAGE, NULL)
                  : hf_write(handle, buffer, count * TEST_PAGE, first * TEST_PAGE);
    if (done != (ssize_t)(count * TEST_PAGE))
        return half_written(actor, done);
    storm_acknowledge(file);
    return done;
}

static long long write_in_place(struct chaos_actor *actor, unsigned number, struct hf_file *handle)
{
    struct storm_file *file = &ledger(actor)->files[number];
    struct storm_version *next = storm_prepare(file);
    unsigned whole = (unsigned)(next->size / TEST_PAGE), first, count;
    struct iovec iov[STORM_PAGES];
    struct hf_pin pin;
    size_t at = 0;
    int pieces;

    if (whole == 0)
        return 1;
    first = (unsigned)draw(actor, whole);
    count = 1 + (unsigned)draw(actor, whole - first);
    plan_write(actor, number, next, first, count, buffer);
    storm_begin(file, STORM_WRITE);
    pieces =
        hf_pin(handle, first * TEST_PAGE, count * TEST_PAGE, HF_PIN_WRITE, iov, STORM_PAGES, &pin);
    if (pieces < 0)
        return half_written(actor, pieces);
    for (int i = 0; i < pieces; i++) {
        memcpy(iov[i].iov_base, buffer + at, iov[i].iov_len);
        at += iov[i].iov_len;
    }
    EXPECT_EQ(hf_unpin(&pin), 0);
    storm_acknowledge(file);
    return 0;
}

/* --- layout changes: false, when there is nothing to do --- */

static void plan_truncate(struct chaos_actor *actor, struct storm_version *next,
                          struct chaos_change *change)
{
    uint64_t size = draw(actor, STORM_PAGES * TEST_PAGE + 1);

    size -= size % (draw(actor, 2) ? TEST_PAGE : sizeof(uint64_t)); /* no word is cut in two */
    for (unsigned i = 0; i < STORM_PAGES; i++) {
        struct storm_page *page = &next->pages[i];
        uint64_t start = i * TEST_PAGE;

        if (size <= start)
            *page = (struct storm_page){.tag = 0};
        else if (size - start < page->cut)
            page->cut = (uint32_t)(size - start);
    }
    next->size = change->off = size;
}

static void plan_zero(struct chaos_actor *actor, struct storm_version *next,
                      struct chaos_change *change)
{
    unsigned first = (unsigned)draw(actor, STORM_PAGES);
    unsigned count = 1 + (unsigned)draw(actor, STORM_PAGES - first);

    memset(&next->pages[first], 0, count * sizeof(next->pages[0]));
    change->off = first * TEST_PAGE;
    change->len = count * TEST_PAGE;
}

static bool plan_shift(struct chaos_actor *actor, struct storm_version *next,
                       struct chaos_change *change)
{
    unsigned pages = (unsigned)((next->size + TEST_PAGE - 1) / TEST_PAGE);
    bool out = change->kind == CHAOS_COLLAPSE;
    struct storm_page *at;
    size_t behind;
    unsigned count;

    if (pages < 2 || (!out && pages == STORM_PAGES))
        return false;
    change->off = draw(actor, pages - 1);
    count = 1 + (unsigned)draw(actor, out ? pages - 1 - change->off : STORM_PAGES - pages);
    at = &next->pages[change->off];
    behind = (STORM_PAGES - change->off - count) * sizeof(*at);
    if (out) {
        memmove(at, at + count, behind);
        memset(&next->pages[STORM_PAGES - count], 0, count * sizeof(*at));
    } else {
        memmove(at + count, at, behind);
        memset(at, 0, count * sizeof(*at));
    }
    change->off *= TEST_PAGE;
    change->len = count * TEST_PAGE;
    next->size += out ? -change->len : change->len;
    return true;
}

/* Whole pages of the file over others of it: a page of another file would not belong there. */
static bool plan_clone(struct chaos_actor *actor, struct storm_version *next,
                       struct chaos_change *change)
{
    unsigned whole = (unsigned)(next->size / TEST_PAGE), count, from, to;

    if (whole == 0)
        return false;
    count = 1 + (unsigned)draw(actor, (whole + 1) / 2);
    from = (unsigned)draw(actor, whole - count + 1);
    to = (unsigned)draw(actor, STORM_PAGES - count + 1);
    if (from < to + count && to < from + count)
        return false;
    memcpy(&next->pages[to], &next->pages[from], count * sizeof(next->pages[0]));
    if (next->size < (to + count) * TEST_PAGE)
        next->size = (to + count) * TEST_PAGE;
    change->from = from * TEST_PAGE;
    change->off = to * TEST_PAGE;
    change->len = count * TEST_PAGE;
    return true;
}

static long long lay_out(struct chaos_actor *actor, enum chaos_kind kind, unsigned number,
                         struct hf_file *handle)
{
    struct storm_file *file = &ledger(actor)->files[number];
    struct storm_version *next = storm_prepare(file);
    struct chaos_change change = {
        .kind = kind, .file = number, .in_ledger = true, .handle = handle};

    if (kind == CHAOS_UNLINK) {
        storm_file_path(0, number, next->name, change.path);
        *next = (struct storm_version){.exists = 0};
    } else if (kind == CHAOS_TRUNCATE) {
        plan_truncate(actor, next, &change);
    } else if (kind == CHAOS_PUNCH || kind == CHAOS_ZERO) {
        plan_zero(actor, next, &change);
    } else if (kind == CHAOS_CLONE) {
        if (!plan_clone(actor, next, &change))
            return 1;
    } else if (!plan_shift(actor, next, &change)) {
        return 1;
    }
    storm_begin(file, STORM_ATOMIC);
    return chaos_run_change(actor, &change);
}

/* The content stays, so the file may have a change that waits. */
static long long move(struct chaos_actor *actor, unsigned number, struct hf_file *handle)
{
    struct chaos_change change = {.kind = CHAOS_MOVE, .file = number, .handle = handle};

    change.len = test_size(handle);
    return change.len == 0 ? 1 : chaos_run_change(actor, &change);
}

/* Content stays here too, in both files. */
static long long merge(struct chaos_actor *actor, unsigned number, struct hf_file *handle)
{
    struct hf_dedup_result result = {.size = sizeof(result)};
    struct hf_file *other = chaos_file(actor, (number + 1) % STORM_FILES);
    uint64_t len = test_size(handle), other_len = other ? test_size(other) : 0;
    int rc;

    len = (len < other_len ? len : other_len) / TEST_PAGE * TEST_PAGE;
    if (len == 0)
        return 1;
    rc = hf_dedup_range(handle, 0, other, 0, len, &result);
    if (rc && rc != -EBUSY && rc != -EAGAIN && rc != -EOPNOTSUPP)
        FAIL("merge gave %d; %s", rc, hf_strerror_detail());
    return rc;
}

static long long create(struct chaos_actor *actor, unsigned number)
{
    struct storm_file *file = &ledger(actor)->files[number];
    struct storm_version *next = storm_prepare(file);
    struct hf_file *handle;
    char path[64];

    *next = (struct storm_version){.exists = 1, .name = (uint32_t)draw(actor, 2)};
    storm_file_path(0, number, next->name, path);
    actor->chaos->generations[number]++;
    storm_begin(file, STORM_ATOMIC);
    EXPECT_EQ(hf_open(actor->pool, path, O_RDWR | O_CREAT | O_EXCL, 0600, &handle), 0);
    storm_acknowledge(file);
    EXPECT_EQ(hf_close(handle), 0);
    return 3;
}

static long long rename_file(struct chaos_actor *actor, unsigned number)
{
    struct storm_file *file = &ledger(actor)->files[number];
    struct storm_version *next = storm_prepare(file);
    char from[64], to[64];

    storm_file_path(0, number, next->name, from);
    next->name = 1 - next->name;
    storm_file_path(0, number, next->name, to);
    storm_begin(file, STORM_ATOMIC);
    EXPECT_EQ(hf_rename(actor->pool, from, to, draw(actor, 2) ? HF_RENAME_NOREPLACE : 0), 0);
    storm_acknowledge(file);
    return 0;
}

long long chaos_change(struct chaos_actor *actor, enum chaos_kind kind)
{
    unsigned number = (unsigned)draw(actor, STORM_FILES);
    bool unknown = actor->chaos->parked && actor->chaos->parked_file == number;
    struct hf_file *handle;

    snprintf(ledger(actor)->doing, sizeof(ledger(actor)->doing), "change %d of file %u by %u", kind,
             number, actor->number);
    if (actor->reads_only || (unknown && kind != CHAOS_MOVE && kind != CHAOS_MERGE))
        return 1;
    if (!storm_now(&ledger(actor)->files[number])->exists)
        return unknown ? 1 : create(actor, number);
    if (kind == CHAOS_RENAME)
        return rename_file(actor, number);
    handle = chaos_file(actor, number);
    EXPECT(handle != NULL);
    switch (kind) {
    case CHAOS_WRITE:
        return write_file(actor, number, handle);
    case CHAOS_IN_PLACE:
        return write_in_place(actor, number, handle);
    case CHAOS_MOVE:
        return move(actor, number, handle);
    case CHAOS_MERGE:
        return merge(actor, number, handle);
    default:
        return lay_out(actor, kind, number, handle);
    }
}
