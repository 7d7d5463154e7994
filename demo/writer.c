/* SPDX-License-Identifier: MIT */
/*
 * A writer: owns every n-th file. It takes blocks from one of them (truncate, punch, delete) or
 * moves them. Then it makes a file whole from which it took blocks some steps before. The pool is
 * as good as full, so that file gets the blocks that were freed just now. Each step tells the
 * readers where it goes. What a file's size must be is in the shared table before and after each
 * step, for the last look.
 */
#include "demo.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define OWED 4u        /* files that wait to be made whole */
#define BURST 24       /* steps around one file, about */
#define CUT_PAGES 256u /* the most that one step takes */
#define DELETE_BYTES LAB_MIB
#define CHUNK_BYTES (64 << 10)
#define IN_TIME_NS 200000
#define MOMENT_SHARE 16 /* one step of so many gives the readers a moment to be there */
#define MOMENT_US 50

struct owed {
    uint64_t file;
    uint64_t from, to; /* bytes that are missing */
};

struct writer {
    struct demo_half *half;
    struct demo_counts *counts;
    struct hf_pool *pool;
    unsigned number;
    uint64_t chance;
    uint64_t file; /* where it is at work */
    struct owed owed[OWED];
    unsigned owed_count;
};

static const struct demo_file *original_of(const struct writer *writer, uint64_t file)
{
    return &writer->half->tree->files[file];
}

static uint64_t choose_file(struct writer *writer)
{
    const struct demo_tree *tree = writer->half->tree;
    uint64_t count = tree->filled_count / DEMO_WRITERS;

    return tree->filled[lab_below(&writer->chance, count) * DEMO_WRITERS + writer->number];
}

/* Most wait as long as it takes; some have a deadline, some detach what is held. */
static struct hf_policy choose_policy(struct writer *writer)
{
    switch (lab_below(&writer->chance, 10)) {
    case 0:
        return (struct hf_policy){.kind = HF_POLICY_DETACH};
    case 1:
        return (struct hf_policy){.kind = HF_POLICY_DEADLINE, .deadline_ns = IN_TIME_NS};
    default:
        return (struct hf_policy){.kind = HF_POLICY_WAIT};
    }
}

static void announce_cut(struct writer *writer, uint64_t file, uint64_t off)
{
    lab_put(&writer->half->hot[writer->number], file << DEMO_HOT_PAGE_BITS | off / LAB_PAGE);
    if (lab_below(&writer->chance, MOMENT_SHARE) == 0)
        usleep(MOMENT_US);
}

/* Counts the call that began at `start`. True: it was done; else it changed nothing. */
static bool done(struct writer *writer, enum demo_kind kind, uint64_t start, int64_t rc,
                 const char *path)
{
    if (rc == -ETIMEDOUT) {
        lab_count(&writer->counts->gave_up, 1);
        return false;
    }
    if (rc == -ENOSPC) {
        lab_count(&writer->counts->postponed, 1);
        return false;
    }
    demo_must(rc, demo_kind_names[kind], path);
    demo_duration_add(&writer->counts->kinds[kind], lab_now_ns() - start);
    return true;
}

/* ------------------------------------------------------------------------- what is owed -- */

static void owe(struct writer *writer, uint64_t file, uint64_t from, uint64_t to)
{
    for (unsigned i = 0; i < writer->owed_count; i++) {
        struct owed *owed = &writer->owed[i];

        if (owed->file == file) {
            owed->from = from < owed->from ? from : owed->from;
            owed->to = to > owed->to ? to : owed->to;
            return;
        }
    }
    writer->owed[writer->owed_count++] = (struct owed){file, from, to};
}

/* The bytes [from, to), as far as there is room; where it got to. */
static uint64_t write_originals(struct writer *writer, struct hf_file *file,
                                const struct owed *owed)
{
    const struct demo_file *original = original_of(writer, owed->file);
    struct demo_state *state = &writer->half->states[owed->file];
    const char *bytes = demo_original(writer->half->tree, original->first_page);
    uint64_t at = owed->from;

    while (at < owed->to) {
        uint64_t len = owed->to - at < CHUNK_BYTES ? owed->to - at : CHUNK_BYTES;
        ssize_t put = hf_write(file, bytes + at, len, at);

        if (put == -ENOSPC)
            break;
        at += (uint64_t)demo_must(put, "writing", original->path);
        state->bytes = at > state->bytes ? at : state->bytes;
    }
    return at;
}

/* The file that has waited longest; a part of it when the pool is full. */
static void pay_back(struct writer *writer)
{
    struct owed *owed = &writer->owed[0];
    const char *path = original_of(writer, owed->file)->path;
    uint64_t start = lab_now_ns();
    struct hf_file *file;
    int rc;

    announce_cut(writer, owed->file, owed->from);
    rc = hf_open(writer->pool, path, O_RDWR | O_CREAT, 0644, &file);
    if (rc == -ENOSPC)
        return;
    demo_must(rc, "opening", path);
    writer->half->states[owed->file].deleted = 0;
    owed->from = write_originals(writer, file, owed);
    demo_must(hf_close(file), "closing", path);
    if (owed->from < owed->to) {
        lab_count(&writer->counts->postponed, 1);
        usleep(100); /* readers hold what is missing */
        return;
    }
    demo_duration_add(&writer->counts->kinds[DEMO_RELOAD], lab_now_ns() - start);
    memmove(owed, owed + 1, --writer->owed_count * sizeof *owed);
}

/* ------------------------------------------------------------------------------ changes -- */

/* Any byte near the end, so that also parts of pages are cut off. */
static void cut_file(struct writer *writer, struct hf_file *file)
{
    const struct demo_file *original = original_of(writer, writer->file);
    struct demo_state *state = &writer->half->states[writer->file];
    uint64_t most = CUT_PAGES * LAB_PAGE < state->bytes ? CUT_PAGES * LAB_PAGE : state->bytes;
    uint64_t size = state->bytes - lab_below(&writer->chance, most + 1);
    struct hf_policy policy = choose_policy(writer);
    uint64_t start;

    announce_cut(writer, writer->file, size);
    start = lab_now_ns();
    if (!done(writer, DEMO_TRUNCATE, start, hf_truncate(file, size, &policy), original->path))
        return;
    state->bytes = size;
    owe(writer, writer->file, size, original->bytes);
}

static void punch_file(struct writer *writer, struct hf_file *file)
{
    const struct demo_file *original = original_of(writer, writer->file);
    uint64_t off = lab_below(&writer->chance, original->bytes);
    uint64_t len = 1 + lab_below(&writer->chance, 16 * LAB_PAGE);
    struct hf_policy policy = choose_policy(writer);
    uint64_t start;

    if (len > original->bytes - off)
        len = original->bytes - off;
    announce_cut(writer, writer->file, off);
    start = lab_now_ns();
    if (done(writer, DEMO_PUNCH, start, hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, off, len, &policy),
             original->path))
        owe(writer, writer->file, off, off + len);
}

static void move(struct writer *writer, struct hf_file *file)
{
    const struct demo_state *state = &writer->half->states[writer->file];
    uint64_t pages = (state->bytes + LAB_PAGE - 1) / LAB_PAGE, first, len;
    struct hf_policy policy = choose_policy(writer);
    uint64_t start;

    if (!pages)
        return;
    first = lab_below(&writer->chance, pages);
    len = (1 + lab_below(&writer->chance, 16)) * LAB_PAGE;
    if (first * LAB_PAGE + len > state->bytes)
        len = state->bytes - first * LAB_PAGE;
    announce_cut(writer, writer->file, first * LAB_PAGE);
    start = lab_now_ns();
    done(writer, DEMO_MOVE, start, hf_move(file, first * LAB_PAGE, len, &policy),
         original_of(writer, writer->file)->path);
}

static void remove_file(struct writer *writer)
{
    const struct demo_file *original = original_of(writer, writer->file);
    struct demo_state *state = &writer->half->states[writer->file];
    struct hf_policy policy = choose_policy(writer);
    uint64_t start;

    announce_cut(writer, writer->file, 0);
    start = lab_now_ns();
    if (!done(writer, DEMO_DELETE, start, hf_unlink(writer->pool, original->path, &policy),
              original->path))
        return;
    *state = (struct demo_state){0, 1};
    owe(writer, writer->file, 0, original->bytes);
}

static void change_open_file(struct writer *writer)
{
    const char *path = original_of(writer, writer->file)->path;
    uint64_t kind = lab_below(&writer->chance, 10);
    struct hf_file *file;

    demo_must(hf_open(writer->pool, path, O_RDWR, 0, &file), "opening", path);
    if (kind < 3)
        cut_file(writer, file);
    else if (kind < 8)
        punch_file(writer, file);
    else
        move(writer, file);
    demo_must(hf_close(file), "closing", path);
}

static void take_step(struct writer *writer)
{
    bool small = original_of(writer, writer->file)->bytes <= DELETE_BYTES;

    if (writer->half->states[writer->file].deleted)
        writer->file = choose_file(writer);
    else if (small && lab_below(&writer->chance, 10) == 0)
        remove_file(writer);
    else
        change_open_file(writer);
    if (lab_below(&writer->chance, BURST) == 0)
        writer->file = choose_file(writer);
    if (writer->owed_count > 1)
        pay_back(writer);
}

int demo_writer(void *worker)
{
    struct demo_worker *self = worker;
    struct demo_half *half = self->half;
    struct writer writer = {.half = half,
                            .counts = &half->counts[DEMO_READERS + self->number],
                            .number = self->number,
                            .chance = half->seed * 64 + 32 + self->number};

    demo_must(hf_pool_open(half->pool_path, 0, &writer.pool), "opening the pool", half->pool_path);
    writer.file = choose_file(&writer);
    lab_raise(&half->ready);
    while (!lab_peek(&half->stop)) {
        if (writer.owed_count < OWED)
            take_step(&writer);
        else
            pay_back(&writer);
    }
    demo_must(hf_pool_close(writer.pool), "closing the pool", half->pool_path);
    return 0;
}
