/* SPDX-License-Identifier: MIT */
/*
 * Pins held across everything else. An iovec must show, page by page, the file's bytes while the
 * page belongs to the file. From the page's detachment on, it must show the bytes of that moment. A
 * write to a shared page leaves earlier pins for reading on the old block. Whether a write has done
 * that is seen from the address that a new pin gets.
 */
#include "exercise.h"

#include <errno.h>
#include <holdfast/serve.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

bool pins_overlap(const struct exercise *x, const struct model_node *node, uint64_t first,
                  uint64_t end)
{
    for (size_t i = 0; i < EXERCISE_PINS; i++) {
        const struct held_pin *held = &x->pins[i];

        if (held->node != node)
            continue;
        for (size_t page = 0; page < held->page_count; page++)
            if (!held->pages[page].frozen && held->pages[page].page >= first &&
                held->pages[page].page < end)
                return true;
    }
    return false;
}

bool pins_write(const struct exercise *x, const struct model_node *node, uint64_t first,
                uint64_t end)
{
    for (size_t i = 0; i < EXERCISE_PINS; i++) {
        const struct held_pin *held = &x->pins[i];

        if (held->node != node || !(held->flags & HF_PIN_WRITE))
            continue;
        for (size_t page = 0; page < held->page_count; page++)
            if (!held->pages[page].frozen && held->pages[page].page >= first &&
                held->pages[page].page < end)
                return true;
    }
    return false;
}

/* Where the page would begin. */
static const unsigned char *address_of(const struct held_pin *held, uint64_t page)
{
    uint64_t off = page * TEST_PAGE > held->off ? page * TEST_PAGE : held->off;
    uint64_t at = off - held->off;

    for (int i = 0; i < held->pieces; at -= held->iov[i++].iov_len)
        if (at < held->iov[i].iov_len)
            return (const unsigned char *)held->iov[i].iov_base + at - off % TEST_PAGE;
    FAIL("the pin has no page %" PRIu64, page);
}

static struct hf_file *open_to_look(struct exercise *x, const struct model_node *node, bool *opened)
{
    struct hf_file *file;

    *opened = false;
    for (size_t i = 0; i < EXERCISE_FILES; i++)
        if (x->files[i].file && x->files[i].node == node &&
            (x->files[i].flags & O_ACCMODE) != O_WRONLY)
            return x->files[i].file;
    *opened = true;
    EXPECT_EQ(hf_openat(x->pool, node->ino, "", O_RDONLY, 0, &file), 0);
    return file;
}

static void settle_page(struct hf_file *file, const struct held_pin *held, struct pinned_page *page)
{
    struct hf_pin pin;
    struct iovec iov;

    EXPECT_EQ(hf_pin(file, page->page * TEST_PAGE, 1, HF_PIN_NOFILL, &iov, 1, &pin), 1);
    if (iov.iov_base != address_of(held, page->page)) {
        page->frozen = page->then;
        page->then = NULL;
    }
    EXPECT_EQ(hf_unpin(&pin), 0);
}

static void settle(struct exercise *x, const struct held_pin *held)
{
    struct hf_file *file = NULL;
    bool opened = false;

    for (size_t i = 0; i < held->page_count; i++) {
        if (!held->pages[i].then || held->pages[i].frozen)
            continue;
        if (!file)
            file = open_to_look(x, held->node, &opened);
        settle_page(file, held, &held->pages[i]);
    }
    if (opened)
        EXPECT_EQ(hf_close(file), 0);
}

void pins_settle(struct exercise *x, const struct model_node *node)
{
    for (size_t i = 0; i < EXERCISE_PINS; i++)
        if (x->pins[i].node && (!node || x->pins[i].node == node))
            settle(x, &x->pins[i]);
}

void pins_detach(struct exercise *x, const struct model_node *node, uint64_t first, uint64_t end)
{
    for (size_t i = 0; i < EXERCISE_PINS; i++) {
        struct held_pin *held = &x->pins[i];

        if (held->node != node)
            continue;
        for (size_t j = 0; j < held->page_count; j++) {
            struct pinned_page *page = &held->pages[j];

            if (page->frozen || page->page < first || page->page >= end)
                continue;
            page->frozen = malloc(TEST_PAGE);
            content_read(&node->content, page->page * TEST_PAGE, TEST_PAGE, page->frozen);
        }
    }
}

/* Bytes [at, at+len) of the pin, all within one page. */
static unsigned char *frozen_bytes(const struct held_pin *held, uint64_t at)
{
    uint64_t off = held->off + at;
    struct pinned_page *page = &held->pages[off / TEST_PAGE - held->off / TEST_PAGE];

    return page->frozen ? page->frozen + off % TEST_PAGE : NULL;
}

/* Calls `each` with the pin's memory in pieces that lie within one page. */
static void for_each_piece(struct exercise *x, struct held_pin *held,
                           void (*each)(struct exercise *x, struct held_pin *held, uint64_t at,
                                        unsigned char *memory, size_t len))
{
    uint64_t at = 0;

    for (int i = 0; i < held->pieces; i++) {
        unsigned char *memory = held->iov[i].iov_base;
        size_t left = held->iov[i].iov_len;

        while (left > 0) {
            size_t to_edge = (size_t)(TEST_PAGE - (held->off + at) % TEST_PAGE);
            size_t len = left < to_edge ? left : to_edge;

            each(x, held, at, memory, len);
            memory += len;
            at += len;
            left -= len;
        }
    }
    EXPECT_EQ(at, held->len);
}

static void compare_piece(struct exercise *x, struct held_pin *held, uint64_t at,
                          unsigned char *memory, size_t len)
{
    const unsigned char *want = frozen_bytes(held, at);
    unsigned char bytes[TEST_PAGE];
    bool detached = want != NULL;

    (void)x;
    if (!detached) {
        content_read(&held->node->content, held->off + at, len, bytes);
        want = bytes;
    }
    for (size_t i = 0; i < len; i++)
        if (memory[i] != want[i])
            FAIL("through the pin of inode %" PRIu64 " [%" PRIu64 ", +%" PRIu64
                 "), %s, byte %" PRIu64 " is %#x, expected %#x",
                 held->node->ino, held->off, held->len,
                 detached ? "detached there" : "still of the file there", held->off + at + i,
                 memory[i], want[i]);
}

void pins_compare(struct exercise *x, const struct model_node *node)
{
    pins_settle(x, node);
    for (size_t i = 0; i < EXERCISE_PINS; i++)
        if (x->pins[i].node && (!node || x->pins[i].node == node))
            for_each_piece(x, &x->pins[i], compare_piece);
}

void pin_release(struct exercise *x, struct held_pin *held)
{
    note(x, "unpin inode %" PRIu64 " [%" PRIu64 ", +%" PRIu64 ")", held->node->ino, held->off,
         held->len);
    for_each_piece(x, held, compare_piece);
    EXPECT_EQ(hf_unpin(&held->pin), 0);
    for (size_t i = 0; i < held->page_count; i++) {
        free(held->pages[i].frozen);
        free(held->pages[i].then);
    }
    free(held->pages);
    free(held->iov);
    *held = (struct held_pin){0};
}

void pins_release_of(struct exercise *x, const struct model_node *node)
{
    for (size_t i = 0; i < EXERCISE_PINS; i++)
        if (x->pins[i].node && (!node || x->pins[i].node == node))
            pin_release(x, &x->pins[i]);
}

static struct held_pin *choose_held(struct exercise *x, bool free_place)
{
    size_t first = test_below(&x->rng, EXERCISE_PINS);

    for (size_t i = 0; i < EXERCISE_PINS; i++) {
        struct held_pin *held = &x->pins[(first + i) % EXERCISE_PINS];

        if ((held->node == NULL) == free_place)
            return held;
    }
    return NULL;
}

/* Errors that come before the pin looks at pages. */
static int pin_error(const struct open_file *open, const struct held_pin *held)
{
    int access = open->flags & O_ACCMODE;

    if (access == O_WRONLY || (access == O_RDONLY && (held->flags & HF_PIN_WRITE)))
        return EBADF;
    if (held->off + held->len > open->node->content.size)
        return EFAULT;
    return 0;
}

static int note_shared(void *arg, const struct hf_extent_info *info)
{
    struct held_pin *held = arg;

    for (size_t i = 0; i < held->page_count && info->shared && !info->detached; i++) {
        uint64_t off = held->pages[i].page * TEST_PAGE;

        if (off >= info->off && off < info->off + info->len)
            held->pages[i].then = malloc(TEST_PAGE);
    }
    return 0;
}

/* A pin for writing, and one that is coherent, has a block that is its file's alone. */
static void note_snapshots(struct exercise *x, struct held_pin *held)
{
    if (held->node->window_pages || held->flags & (HF_PIN_WRITE | HF_PIN_COHERENT))
        return;
    EXPECT_EQ(hf_extents(x->pool, held->node->ino, note_shared, held), 0);
    for (size_t i = 0; i < held->page_count; i++)
        if (held->pages[i].then)
            content_read(&held->node->content, held->pages[i].page * TEST_PAGE, TEST_PAGE,
                         held->pages[i].then);
}

static void held_now(struct exercise *x, struct open_file *open, struct held_pin *held, int pieces)
{
    held->node = open->node;
    held->pieces = pieces;
    held->page_count =
        (size_t)((held->off + held->len + TEST_PAGE - 1) / TEST_PAGE - held->off / TEST_PAGE);
    held->pages = calloc(held->page_count, sizeof(*held->pages));
    for (size_t i = 0; i < held->page_count; i++)
        held->pages[i].page = held->off / TEST_PAGE + i;
    content_allocate(&open->node->content, held->off, held->len);
    if (held->flags & HF_PIN_WRITE)
        open->node->mtime_known = false;
    note_snapshots(x, held);
    pins_compare(x, open->node);
    node_compare(x, open->node);
}

static void run_pin(struct exercise *x)
{
    static const uint32_t purposes[] = {HF_PIN_CPU, HF_PIN_IO_URING, HF_PIN_RDMA, HF_PIN_GPU};
    struct open_file *open = choose_open(x);
    struct held_pin *held = choose_held(x, true);
    int room, want, rc;

    if (!open || !held) {
        if (held == NULL)
            pin_release(x, choose_held(x, false));
        return;
    }
    choose_range(x, open->node, false, &held->off, &held->len);
    if (held->off < open->node->content.size && test_chance(&x->rng, 90) &&
        held->off + held->len > open->node->content.size)
        held->len = open->node->content.size - held->off;
    held->flags = purposes[test_below(&x->rng, 4)] | (test_chance(&x->rng, 50) ? HF_PIN_WRITE : 0) |
                  (test_chance(&x->rng, 15) ? HF_PIN_NOWAIT : 0) |
                  (test_chance(&x->rng, 15) ? HF_PIN_COHERENT : 0);
    room = (int)(held->len / TEST_PAGE + 2);
    if (!open->node->window_pages && test_chance(&x->rng, 10))
        room = 1;
    held->iov = calloc((size_t)room, sizeof(*held->iov));
    want = pin_error(open, held);
    note(x, "pin inode %" PRIu64 " [%" PRIu64 ", +%" PRIu64 ") flags %#x", open->node->ino,
         held->off, held->len, held->flags);
    rc = hf_pin(open->file, held->off, held->len, held->flags, held->iov, room, &held->pin);
    if (!want && rc > 0) {
        note_result(x, rc);
        held_now(x, open, held, rc);
        return;
    }
    free(held->iov);
    *held = (struct held_pin){0};
    if (!want && ((rc == -E2BIG && room == 1) || rc == -EAGAIN || rc == -ENOSPC)) {
        note_result(x, rc);
        EXPECT(rc != -ENOSPC || is_full(x, (uint64_t)room));
        if (!open->node->window_pages)
            node_relearn_blocks(x, open);
        return;
    }
    if (!want)
        EXPECT_OK(rc);
    if (want == EFAULT) /* it may be seen late */
        expect_one_of(x, rc, (int[]){EFAULT, EAGAIN, room == 1 ? E2BIG : 0, 0});
    else
        expect_one_of(x, rc, (int[]){want, 0});
}

static void run_unpin(struct exercise *x)
{
    struct held_pin *held = choose_held(x, false);

    if (held)
        pin_release(x, held);
}

/* Overwrites about half of a piece through its address. */
static void scribble_piece(struct exercise *x, struct held_pin *held, uint64_t at,
                           unsigned char *memory, size_t len)
{
    size_t from = test_below(&x->rng, len), n = 1 + test_below(&x->rng, len - from);
    unsigned char *frozen = frozen_bytes(held, at + from);

    if (test_chance(&x->rng, 50))
        return;
    for (size_t i = 0; i < n; i++)
        memory[from + i] = (unsigned char)test_random(&x->rng);
    if (frozen)
        memcpy(frozen, memory + from, n);
    else
        content_write(&held->node->content, held->off + at + from, n, memory + from);
}

/* Two pins may share a detached block, and then see what is written through the other: only one of
 * the file is kept. */
static void release_others(struct exercise *x, const struct held_pin *held)
{
    for (size_t i = 0; i < EXERCISE_PINS; i++) {
        struct held_pin *other = &x->pins[i];

        if (other->node == held->node && other != held)
            pin_release(x, other);
    }
}

static void run_scribble(struct exercise *x)
{
    struct held_pin *held = choose_held(x, false);

    if (!held || !(held->flags & HF_PIN_WRITE) || held->len > 64 * TEST_PAGE)
        return;
    for (size_t i = 0; i < held->page_count; i++)
        if (held->pages[i].frozen) {
            release_others(x, held);
            break;
        }
    note(x, "write through the pin of inode %" PRIu64 " [%" PRIu64 ", +%" PRIu64 ")",
         held->node->ino, held->off, held->len);
    for_each_piece(x, held, scribble_piece);
    held->node->mtime_known = false;
    pins_compare(x, held->node);
    for (size_t i = 0; i < EXERCISE_FILES; i++)
        if (x->files[i].file && x->files[i].node == held->node)
            compare_range(x, &x->files[i], held->off, held->len);
}

static void run_misuse(struct exercise *x)
{
    struct open_file *open = choose_open(x);
    struct hf_pin pin;
    struct iovec iov;

    if (!open || (open->flags & O_ACCMODE) != O_RDWR || open->node->content.size == 0)
        return;
    note(x, "misuse pins");
    EXPECT_EQ(hf_pin(open->file, 0, 0, 0, &iov, 1, &pin), -EINVAL);
    EXPECT_EQ(hf_pin(open->file, 0, 1, 0x4000, &iov, 1, &pin), -EINVAL);
    EXPECT_EQ(hf_pin(open->file, 0, 1, 0, &iov, 0, &pin), -EINVAL);
    EXPECT_EQ(hf_pin(open->file, UINT64_MAX - 1, 8, 0, &iov, 1, &pin), -EFAULT);
    EXPECT_EQ(hf_pin(open->file, open->node->content.size, 1, 0, &iov, 1, &pin), -EFAULT);
    node_compare(x, open->node);
}

const struct operation pin_operations[] = {
    {"pin", 90, run_pin},      {"unpin", 60, run_unpin}, {"scribble", 40, run_scribble},
    {"misuse", 2, run_misuse}, {NULL, 0, NULL},
};
