/* SPDX-License-Identifier: MIT */
/*
 * The verb dedup: finds pages that hold the same and has the library merge them, as the kernel's
 * KSM does. A page that has the same checksum in two passes is worth looking at. It is first
 * compared with the pages that others share already (the stable table). Then it is compared with
 * those that also kept their checksum (the unstable table, which each pass makes again). The
 * checksum only says where to look: hf_dedup_range() compares all bytes, and leaves held pages
 * alone. The second and last of two passes does not read pages whose checksum no other page had in
 * the first.
 *
 * Pages that follow one another on both sides are merged in one call.
 *
 * The checksums are made in place, of pinned pages, which no process waits for longer than a few of
 * them take. The pins are gone before pages are merged. Where pages cannot be pinned the library
 * copies them.
 */
#include "dedup.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/serve.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

#define READ_PAGES 64u /* pages of one look */
#define RUN_PAGES 256u /* most pages of one call that merges */
#define OPEN_FILES 32u
#define NS_PER_S UINT64_C(1000000000)

static bool as_json, follow;
static uint64_t rate, pause_ns = NS_PER_S;

static struct cli_option dedup_options[] = {
    {.name = "follow",
     .letter = 'f',
     .kind = CLI_FLAG,
     .value = &follow,
     .help = "scan again and again, until a signal comes"},
    {.name = "rate",
     .letter = 'r',
     .kind = CLI_BYTES,
     .value = &rate,
     .value_name = "BYTES",
     .help = "most bytes to read in a second",
     .min = HF_BLOCK_BYTES,
     .max = UINT64_C(1) << 50},
    {.name = "pause",
     .letter = 'p',
     .kind = CLI_TIME,
     .value = &pause_ns,
     .value_name = "TIME",
     .help = "how long to wait between two passes (1s)",
     .max = UINT64_C(86400) * NS_PER_S},
    {.name = "json", .letter = 'j', .kind = CLI_FLAG, .value = &as_json, .help = "for programs"},
    {0},
};

/* Pages of one file that are the same as pages of another, in one run on both sides. Without
 * `from`: pages of zeros. */
struct run {
    uint32_t from, to, count; /* numbers of pages */
    bool zeros;
};

struct open_file {
    uint64_t ino;
    struct hf_file *file; /* null: it cannot be opened */
};

struct dedup {
    struct hf_pool *pool;
    struct cli_progress progress;
    struct cli_files listed;
    struct cli_pace pace;
    struct dedup_pages pages;
    struct open_file files[OPEN_FILES];
    unsigned next_file;
    struct run run;
    uint32_t zero_sum;
    bool last; /* pass: what has no checksum cannot be merged in it */
    uint64_t passes, scanned, merged, zeros, held, changed; /* pages, but for passes */
    uint64_t saved_bytes;                                   /* of the pool, at the end */
    bool stop;
    int status;
};

static void fail_at(struct dedup *dedup, const char *what, int rc)
{
    cli_progress_wipe(&dedup->progress);
    dedup->status = cli_fail(what, rc);
    dedup->stop = true;
}

/* ------------------------------------------------------------------------------ files --- */

static void close_dedup_files(struct dedup *dedup)
{
    for (unsigned i = 0; i < OPEN_FILES; i++) {
        if (dedup->files[i].file)
            hf_close(dedup->files[i].file);
        dedup->files[i] = (struct open_file){0};
    }
}

/* Null: it has gone, or cannot be opened now. */
static struct hf_file *open_dedup_file(struct dedup *dedup, uint64_t ino)
{
    struct open_file *slot;

    for (unsigned i = 0; i < OPEN_FILES; i++)
        if (dedup->files[i].ino == ino)
            return dedup->files[i].file;
    slot = &dedup->files[dedup->next_file++ % OPEN_FILES];
    if (slot->file)
        hf_close(slot->file);
    *slot = (struct open_file){.ino = ino};
    if (hf_openat(dedup->pool, ino, "", O_RDWR, 0, &slot->file) != 0)
        slot->file = NULL;
    return slot->file;
}

/* ---------------------------------------------------------------------------- merging --- */

struct place {
    uint64_t ino, page;
    uint32_t left; /* pages of its stretch from there on */
};

static struct place place_of_page(const struct dedup *dedup, uint32_t page)
{
    const struct dedup_pages *pages = &dedup->pages;
    const struct dedup_stretch *stretch = dedup_stretch_of(pages, page);
    size_t i = (size_t)(stretch - pages->stretches);
    uint32_t end = i + 1 < pages->stretch_count ? pages->stretches[i + 1].first : pages->count;

    return (struct place){stretch->ino, stretch->page + (page - stretch->first), end - page};
}

/* Of the last page of a file, only the part up to end of file counts. */
static uint64_t run_bytes(struct hf_file *file, uint64_t page, uint64_t count)
{
    uint64_t off = page * HF_BLOCK_BYTES, bytes = count * HF_BLOCK_BYTES;
    struct stat st;

    if (hf_fstat(file, &st) != 0 || (uint64_t)st.st_size <= off)
        return 0;
    return bytes < (uint64_t)st.st_size - off ? bytes : (uint64_t)st.st_size - off;
}

/* Notes the blocks that the pages lie on now, for pages that are looked up later. */
static void note_merged(struct dedup *dedup, const struct run *run)
{
    struct dedup_pages *pages = &dedup->pages;

    for (uint32_t i = 0; i < run->count; i++) {
        uint32_t kept = run->from + i;

        pages->blocks[run->to + i] = pages->blocks[kept] |= DEDUP_SHARED;
        if (dedup_find(pages, &pages->stable, pages->sums[kept]) == DEDUP_NONE)
            dedup_add(pages, &pages->stable, kept);
    }
}

/* With --follow a file system that is full now has room for the records later. */
static bool goes_on(int rc)
{
    return rc == -EINVAL || rc == -EBUSY || rc == -EAGAIN || rc == -ETIMEDOUT || rc == -EDEADLK ||
           rc == -EINTR || (rc == -ENOSPC && follow);
}

static void merge_run(struct dedup *dedup)
{
    struct hf_dedup_result result = {.size = sizeof(result)};
    struct run run = dedup->run;
    struct place to, from = {0};
    struct hf_file *file, *kept = NULL;
    uint64_t bytes;
    int rc;

    dedup->run.count = 0;
    if (run.count == 0 || dedup->stop)
        return;
    to = place_of_page(dedup, run.to);
    file = open_dedup_file(dedup, to.ino);
    if (!run.zeros) {
        from = place_of_page(dedup, run.from);
        kept = open_dedup_file(dedup, from.ino);
        file = open_dedup_file(dedup, to.ino); /* the first one may have been closed for it */
    }
    if (!file || (!run.zeros && !kept))
        return;
    bytes = run_bytes(file, to.page, run.count);
    rc = bytes == 0 ? -EINVAL
                    : hf_dedup_range(kept, from.page * HF_BLOCK_BYTES, file,
                                     to.page * HF_BLOCK_BYTES, bytes, &result);
    if (goes_on(rc)) { /* cut short meanwhile, or a lock is kept for long */
        dedup->held += rc != -EINVAL ? run.count : 0;
        return;
    }
    if (rc != 0) {
        fail_at(dedup, "a page cannot be merged", rc);
        return;
    }
    *(run.zeros ? &dedup->zeros : &dedup->merged) += cli_pages_up(result.shared_bytes);
    dedup->held += cli_pages_up(result.held_bytes);
    if (!run.zeros && result.shared_bytes)
        note_merged(dedup, &run);
}

/* Two runs of one file must not overlap. */
static bool continues(const struct dedup *dedup, const struct run *run, uint32_t from, uint32_t to,
                      bool zeros)
{
    if (run->count == 0 || run->count == RUN_PAGES || run->zeros != zeros ||
        to != run->to + run->count || place_of_page(dedup, run->to).left <= run->count)
        return false;
    return zeros || (from == run->from + run->count && from < run->to &&
                     place_of_page(dedup, run->from).left > run->count);
}

static void add_to_run(struct dedup *dedup, uint32_t from, uint32_t to, bool zeros)
{
    if (continues(dedup, &dedup->run, from, to, zeros)) {
        dedup->run.count++;
        return;
    }
    merge_run(dedup);
    dedup->run = (struct run){from, to, 1, zeros};
}

/* --------------------------------------------------------------------------- scanning --- */

/* A page with the same checksum; a page that continues the run is preferred. */
static uint32_t find_like(const struct dedup *dedup, uint32_t page)
{
    const struct dedup_pages *pages = &dedup->pages;
    const struct run *run = &dedup->run;
    uint32_t sum = pages->sums[page], next = run->from + run->count, like;

    if (run->count && !run->zeros && next < page && pages->sums[next] == sum &&
        continues(dedup, run, next, page, false))
        return next;
    like = dedup_find(pages, &pages->stable, sum);
    return like != DEDUP_NONE ? like : dedup_find(pages, &pages->unstable, sum);
}

/* A last page that is not whole can only be merged with another one of the same length. So the
 * checksum is made of the bytes in the file. */
static void compare_page(struct dedup *dedup, uint32_t page, uint32_t sum)
{
    struct dedup_pages *pages = &dedup->pages;
    uint32_t old = pages->sums[page], like;

    pages->sums[page] = sum;
    dedup->scanned++;
    if (old != sum) {
        dedup->changed += old != 0;
        return;
    }
    if (sum == dedup->zero_sum) {
        add_to_run(dedup, 0, page, true);
        return;
    }
    like = find_like(dedup, page);
    if (like == DEDUP_NONE)
        dedup_add(pages, &pages->unstable, page);
    else if (DEDUP_BLOCK(pages->blocks[like]) != DEDUP_BLOCK(pages->blocks[page]))
        add_to_run(dedup, like, page, false);
}

static uint32_t sum_of(const void *bytes, size_t len)
{
    uint32_t sum = (uint32_t)XXH3_64bits(bytes, len);

    return sum ? sum : 1;
}

static void sum_bytes(struct dedup *dedup, uint32_t page, const char *bytes, size_t len,
                      uint32_t *sums)
{
    for (size_t off = 0; off < len; off += HF_BLOCK_BYTES, page++, sums++)
        if (dedup_first_sight(&dedup->pages, page))
            *sums = sum_of(bytes + off,
                           len - off < HF_BLOCK_BYTES ? len - off : (size_t)HF_BLOCK_BYTES);
}

/* Faults would take longer than the checksums. So the kernel is asked to map all of the range. An
 * old one does not know that, and maps it as it is touched. */
static void sum_piece(struct dedup *dedup, uint32_t page, const struct iovec *piece, uint32_t *sums)
{
    madvise(piece->iov_base, piece->iov_len, MADV_POPULATE_READ);
    sum_bytes(dedup, page, piece->iov_base, piece->iov_len, sums);
}

static int sum_in_place(struct dedup *dedup, struct hf_file *file, uint64_t off, uint64_t len,
                        uint32_t page, uint32_t *sums)
{
    struct iovec iov[READ_PAGES];
    struct hf_pin pin;
    int count = hf_pin(file, off, len, HF_PIN_READ | HF_PIN_NOFILL, iov, READ_PAGES, &pin);

    if (count < 0)
        return count;
    for (int i = 0; i < count; i++) {
        uint32_t pages = (uint32_t)cli_pages_up(iov[i].iov_len);

        sum_piece(dedup, page, &iov[i], sums);
        page += pages;
        sums += pages;
    }
    hf_unpin(&pin);
    return 0;
}

static int sum_copied(struct dedup *dedup, struct hf_file *file, uint64_t off, uint64_t len,
                      uint32_t page, uint32_t *sums)
{
    static char bytes[READ_PAGES * HF_BLOCK_BYTES];
    ssize_t got = hf_read(file, bytes, len, off);

    if (got > 0)
        sum_bytes(dedup, page, bytes, (size_t)got, sums);
    return got < 0 ? (int)got : 0;
}

/* Checksums of pages that follow one another in a file; 0: its block has been seen under another
 * page. */
static bool sum_chunk(struct dedup *dedup, const struct place *at, uint32_t page, uint32_t count,
                      uint32_t sums[READ_PAGES])
{
    struct hf_file *file = open_dedup_file(dedup, at->ino);
    uint64_t len = file ? run_bytes(file, at->page, count) : 0, off = at->page * HF_BLOCK_BYTES;
    int rc;

    if (len == 0)
        return false;
    memset(sums, 0, READ_PAGES * sizeof(sums[0]));
    rc = sum_in_place(dedup, file, off, len, page, sums);
    if (rc == -ENODATA) /* a hole by now, or an engine that pins no shared page */
        rc = sum_copied(dedup, file, off, len, page, sums);
    if (rc == -EAGAIN) /* somebody changes the file there */
        dedup->held += count;
    return rc == 0;
}

static void scan_chunk(struct dedup *dedup, uint32_t page, uint32_t count)
{
    struct place at = place_of_page(dedup, page);
    uint32_t sums[READ_PAGES];

    if (sum_chunk(dedup, &at, page, count, sums))
        for (uint32_t i = 0; i < count && !dedup->stop; i++)
            if (sums[i])
                compare_page(dedup, page + i, sums[i]);
    dedup->progress.bytes += (uint64_t)count * HF_BLOCK_BYTES;
    cli_progress_step(&dedup->progress, NULL);
    cli_pace_keep(&dedup->pace, (uint64_t)count * HF_BLOCK_BYTES);
}

static bool is_to_read(const struct dedup *dedup, uint32_t page)
{
    return !dedup->last || dedup->pages.sums[page];
}

/* How many pages of one stretch, from there on, are to be read. */
static uint32_t pages_to_scan(const struct dedup *dedup, uint32_t page)
{
    uint32_t left, n = 0;

    if (!is_to_read(dedup, page))
        return 0;
    left = place_of_page(dedup, page).left;
    while (n < left && n < READ_PAGES && is_to_read(dedup, page + n))
        n++;
    return n;
}

static bool dedup_ends(const struct dedup *dedup)
{
    return dedup->stop || cli_interrupted();
}

static void scan_pages(struct dedup *dedup)
{
    const struct dedup_pages *pages = &dedup->pages;

    dedup->progress.total = pages->count;
    for (uint32_t page = 0; page < pages->count && !dedup_ends(dedup);) {
        uint32_t count = pages_to_scan(dedup, page);

        if (count)
            scan_chunk(dedup, page, count);
        page += count ? count : 1;
        dedup->progress.items = page;
    }
    merge_run(dedup);
    dedup->passes++;
}

static void one_pass(struct dedup *dedup, int count, char **paths)
{
    struct dedup_pages old = dedup->pages;
    int rc;

    dedup->last = !follow && dedup->passes > 0;
    if (dedup->last)
        dedup_pages_keep_alike(&old, dedup->zero_sum);
    dedup_pages_shrink(&old);
    cli_files_find(&dedup->listed, dedup->pool, count, paths, &dedup->status);
    rc =
        dedup_pages_list(dedup->pool, dedup->listed.inos, dedup->listed.count, &old, &dedup->pages);
    dedup_pages_free(&old);
    if (rc != 0) {
        fail_at(dedup, "the pool's blocks cannot be listed", rc);
        return;
    }
    dedup_pages_begin(&dedup->pages);
    scan_pages(dedup);
    close_dedup_files(dedup);
}

/* ----------------------------------------------------------------------------- output --- */

static void print_pages(const char *label, uint64_t pages)
{
    char text[CLI_SIZE_TEXT];

    printf("%-13s %s (%" PRIu64 " pages)\n", label, cli_size(text, pages * HF_BLOCK_BYTES), pages);
}

static void print_summary(const struct dedup *dedup)
{
    char text[CLI_SIZE_TEXT];

    printf("%-13s %" PRIu64 "\n", "passes", dedup->passes);
    print_pages("scanned", dedup->scanned);
    print_pages("merged", dedup->merged);
    print_pages("zeros", dedup->zeros);
    print_pages("held", dedup->held);
    print_pages("changed", dedup->changed);
    printf("%-13s %s (%" PRIu64 " bytes, in all of the pool)\n", "saved",
           cli_size(text, dedup->saved_bytes), dedup->saved_bytes);
}

static void put_summary(const struct dedup *dedup)
{
    const struct cli_number numbers[] = {
        {"passes", dedup->passes},
        {"scanned_bytes", dedup->scanned * HF_BLOCK_BYTES},
        {"merged_bytes", dedup->merged * HF_BLOCK_BYTES},
        {"zero_bytes", dedup->zeros * HF_BLOCK_BYTES},
        {"held_bytes", dedup->held * HF_BLOCK_BYTES},
        {"changed_bytes", dedup->changed * HF_BLOCK_BYTES},
        {"saved_bytes", dedup->saved_bytes},
        {0},
    };
    struct cli_json json;

    cli_json_begin(&json, stdout);
    cli_json_open(&json, NULL, '{');
    cli_json_numbers(&json, numbers);
    cli_json_close(&json, '}');
    cli_json_end(&json);
}

/* ------------------------------------------------------------------------ the command --- */

/* So that no call of this thread waits at the gate of a layout change. */
static int wait_for_nobody(void)
{
    const struct hf_client client = {
        .size = sizeof(client), .flags = HF_CLIENT_NOWAIT, .uid = geteuid(), .gid = getegid()};

    return hf_act_for(&client);
}

static void scan(struct dedup *dedup, int count, char **paths)
{
    static const char zeros[HF_BLOCK_BYTES];
    int rc = wait_for_nobody();

    if (rc != 0) {
        fail_at(dedup, "hf_act_for", rc);
        return;
    }
    dedup->zero_sum = sum_of(zeros, sizeof(zeros));
    cli_pace_begin(&dedup->pace, rate);
    cli_progress_begin(&dedup->progress, "pages");
    while (!dedup_ends(dedup) && (follow || dedup->passes < 2)) {
        one_pass(dedup, count, paths);
        if (follow && dedup->passes > 1 && !dedup_ends(dedup))
            cli_sleep(pause_ns);
    }
    cli_progress_end(&dedup->progress);
    dedup_pages_free(&dedup->pages);
    free(dedup->listed.inos);
    hf_act_for(NULL);
}

static int summarize(struct dedup *dedup, const char *path)
{
    struct hf_pool_info info = {.size = sizeof(info)};
    int rc = hf_pool_info(dedup->pool, &info);

    if (rc != 0)
        return cli_fail(path, rc);
    dedup->saved_bytes = info.saved_bytes;
    if (as_json)
        put_summary(dedup);
    else
        print_summary(dedup);
    return dedup->status;
}

static int dedup_run(int count, char **operands)
{
    struct dedup *dedup = cli_alloc(sizeof(*dedup));
    struct hf_pool *pool;
    int status = cli_pool_open(operands[0], 0, &pool);

    if (status == EX_OK) {
        dedup->pool = pool;
        scan(dedup, count - 1, operands + 1);
        status = summarize(dedup, operands[0]);
        status = cli_pool_close(pool, operands[0], status);
    }
    free(dedup);
    return status;
}

const struct cli_verb cli_verb_dedup = {
    .name = "dedup",
    .operands = "POOL [PATH]...",
    .summary = "find pages with the same content, and let files share them",
    .details =
        "Scans all files, or those at and below each PATH. A page must look the same in two\n"
        "passes. Pages that a process holds are left alone, and counted. Pages of zeros\n"
        "become holes.",
    .options = dedup_options,
    .operands_min = 1,
    .operands_max = 1 << 20,
    .run = dedup_run,
};
