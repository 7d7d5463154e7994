/* SPDX-License-Identifier: MIT */
/*
 * The ledger and its comparison with the pool. See storm.h for why one word settles everything.
 */
#include "storm.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool storm_is_filled;

#define WORDS (TEST_PAGE / sizeof(uint64_t))

static unsigned index_of(const struct storm_file *file)
{
    return test_peek(&file->state) & 1;
}

static enum storm_pending pending_of(const struct storm_file *file)
{
    return test_peek(&file->state) >> 1;
}

const struct storm_version *storm_now(const struct storm_file *file)
{
    return &file->versions[index_of(file)];
}

struct storm_version *storm_prepare(struct storm_file *file)
{
    struct storm_version *next = &file->versions[1 - index_of(file)];

    *next = *storm_now(file);
    return next;
}

void storm_begin(struct storm_file *file, enum storm_pending kind)
{
    test_raise(&file->state, index_of(file) | (uint32_t)kind << 1);
}

void storm_acknowledge(struct storm_file *file)
{
    test_raise(&file->state, 1 - index_of(file));
}

void storm_withdraw(struct storm_file *file)
{
    test_raise(&file->state, index_of(file));
}

uint64_t storm_tag(unsigned worker, unsigned file, uint64_t number)
{
    return (uint64_t)(worker + 1) << 56 | (uint64_t)(file + 1) << 48 | number;
}

void storm_fill(void *page, uint64_t tag)
{
    uint64_t *words = page;

    for (size_t i = 0; i < WORDS; i++)
        words[i] = i == 0 ? tag : test_mix(tag, i) | 1;
}

/* Others may be writing the word: one aligned load, never half of it. */
__attribute__((no_sanitize("thread"))) bool storm_belongs(const void *page, unsigned worker,
                                                          unsigned file)
{
    uint64_t tag = *(const volatile uint64_t *)page;

    return tag == 0 || tag >> 48 == storm_tag(worker, file, 0) >> 48;
}

static void expected_page(const struct storm_version *version, unsigned index, uint64_t *page)
{
    const struct storm_page *ledger = &version->pages[index];

    memset(page, 0, TEST_PAGE);
    if (ledger->tag == 0 || !version->exists)
        return;
    storm_fill(page, ledger->tag);
    memset((char *)page + ledger->cut, 0, TEST_PAGE - ledger->cut);
}

uint64_t storm_size(struct hf_file *file)
{
    struct stat st;

    EXPECT_EQ(UNTIL_DONE(hf_fstat(file, &st)), 0);
    return (uint64_t)st.st_size;
}

void storm_dir_path(unsigned worker, char path[64])
{
    snprintf(path, 64, "/worker-%u", worker);
}

void storm_file_path(unsigned worker, unsigned file, unsigned name, char path[64])
{
    snprintf(path, 64, "/worker-%u/file-%u.%c", worker, file, name ? 'b' : 'a');
}

/* What the pool has: both names looked up, the content read. */
struct found {
    bool names[2];
    uint64_t size;
    uint64_t pages[STORM_PAGES + 1][WORDS];
};

/* A read ends early when a later part of it would have to wait, and does not. */
static uint64_t read_whole(struct hf_file *file, void *to, uint64_t room)
{
    uint64_t done = 0;
    long got;

    do {
        got = UNTIL_DONE(hf_read(file, (char *)to + done, room - done, done));
        EXPECT_OK(got);
        done += (uint64_t)got;
    } while (got > 0);
    return done;
}

static void look_up(struct hf_pool *pool, unsigned worker, unsigned number, struct found *found)
{
    struct hf_file *file;
    char path[64];

    memset(found, 0, sizeof(*found));
    for (unsigned name = 0; name < 2; name++) {
        int rc;

        storm_file_path(worker, number, name, path);
        rc = (int)UNTIL_DONE(hf_open(pool, path, O_RDONLY, 0, &file));
        found->names[name] = rc == 0;
        if (rc == -ENOENT)
            continue;
        EXPECT_EQ(rc, 0);
        found->size = storm_size(file);
        EXPECT(found->size <= STORM_PAGES * TEST_PAGE);
        EXPECT_EQ(read_whole(file, found->pages, sizeof(found->pages)), found->size);
        EXPECT_EQ(hf_close(file), 0);
    }
}

static bool names_match(const struct found *found, const struct storm_version *version)
{
    return found->names[0] == (version->exists && version->name == 0) &&
           found->names[1] == (version->exists && version->name == 1);
}

static bool matches(const struct found *found, const struct storm_version *version)
{
    uint64_t page[WORDS];

    if (!names_match(found, version) || (version->exists && found->size != version->size))
        return false;
    for (unsigned i = 0; i < STORM_PAGES; i++) {
        expected_page(version, i, page);
        if (memcmp(page, found->pages[i], TEST_PAGE) != 0)
            return false;
    }
    return true;
}

static bool word_between(uint64_t got, uint64_t before, uint64_t after)
{
    return got == before || got == after || got == 0;
}

/* Half a write: outside its pages all is as before, inside nothing foreign. */
static bool between(const struct found *found, const struct storm_version *before,
                    const struct storm_version *after)
{
    uint64_t old[WORDS], new[WORDS];

    if (!names_match(found, before) || found->size < before->size || found->size > after->size)
        return false;
    for (unsigned i = 0; i < STORM_PAGES; i++) {
        bool written = before->pages[i].tag != after->pages[i].tag;

        expected_page(before, i, old);
        expected_page(after, i, new);
        for (size_t w = 0; w < WORDS; w++) {
            uint64_t got = found->pages[i][w];

            if (written ? !word_between(got, old[w], new[w]) : got != old[w])
                return false;
        }
    }
    return true;
}

static void describe(const char *what, const struct storm_version *version)
{
    fprintf(stderr, "  %s: %s, name %u, %" PRIu64 " bytes, pages", what,
            version->exists ? "there" : "absent", version->name, version->size);
    for (unsigned i = 0; i < STORM_PAGES; i++)
        if (version->pages[i].tag)
            fprintf(stderr, " %u:%" PRIx64 "/%u", i, version->pages[i].tag, version->pages[i].cut);
    fputc('\n', stderr);
}

static void show_mismatch(const struct storm_worker *worker, const struct storm_file *file,
                          const struct found *found)
{
    fprintf(stderr, "the worker was at: %s; pending kind %u\n", worker->doing, pending_of(file));
    describe("acknowledged", storm_now(file));
    describe("the other", &file->versions[1 - index_of(file)]);
    fprintf(stderr, "  found: names %d %d, %" PRIu64 " bytes, pages", found->names[0],
            found->names[1], found->size);
    for (unsigned i = 0; i < STORM_PAGES; i++)
        if (found->pages[i][0])
            fprintf(stderr, " %u:%" PRIx64, i, found->pages[i][0]);
    fputc('\n', stderr);
}

/* A half-written file is made empty, so that its ledger can say what it is. */
static void start_over(struct hf_pool *pool, unsigned worker, unsigned number,
                       struct storm_file *file, bool knows_holders)
{
    static const char zeros[STORM_PAGES * HF_BLOCK_BYTES];
    struct storm_version *next = storm_prepare(file);
    struct hf_file *handle;
    char path[64];

    storm_file_path(worker, number, next->name, path);
    EXPECT_EQ(UNTIL_DONE(hf_open(pool, path, O_RDWR, 0, &handle)), 0);
    if (knows_holders) {
        EXPECT_EQ(UNTIL_DONE(hf_truncate(handle, 0, &test_detach)), 0);
        next->size = 0;
    } else { /* a pin of the dead may be in the way for good */
        next->size = storm_size(handle);
        EXPECT_EQ(UNTIL_DONE(hf_write(handle, zeros, next->size, 0)), next->size);
    }
    EXPECT_EQ(hf_close(handle), 0);
    memset(next->pages, 0, sizeof(next->pages));
    storm_acknowledge(file);
}

static void settle_file(struct storm *storm, struct hf_pool *pool, unsigned worker, unsigned number)
{
    static struct found found;
    struct storm_file *file = &storm->workers[worker].files[number];
    enum storm_pending pending = pending_of(file);

    look_up(pool, worker, number, &found);
    if (matches(&found, storm_now(file))) {
        storm_withdraw(file);
    } else if (pending != STORM_SETTLED && matches(&found, &file->versions[1 - index_of(file)])) {
        storm_acknowledge(file);
    } else if (pending == STORM_WRITE &&
               between(&found, storm_now(file), &file->versions[1 - index_of(file)])) {
        start_over(pool, worker, number, file, storm->knows_holders);
    } else {
        show_mismatch(&storm->workers[worker], file, &found);
        FAIL("file %u of worker %u is in a state that nobody asked for", number, worker);
    }
}

void storm_settle(struct storm *storm, struct hf_pool *pool, unsigned worker)
{
    for (unsigned file = 0; file < STORM_FILES; file++)
        settle_file(storm, pool, worker, file);
}

size_t storm_record_fill(unsigned char record[STORM_RECORD_MAX], unsigned worker, uint64_t number)
{
    uint64_t seed = test_mix(worker, number), word = seed;
    size_t len = 24 + seed % (STORM_RECORD_MAX - 24);

    for (size_t i = 0; i < len; i++) {
        if (i % sizeof(word) == 0)
            word = test_mix(seed, i);
        record[i] = (unsigned char)(word >> i % sizeof(word) * 8) | 1;
    }
    return len;
}

void storm_check_log(struct storm *storm, struct hf_pool *pool)
{
    unsigned char want[STORM_RECORD_MAX], got[STORM_RECORD_MAX];
    struct hf_file *log = test_file(pool, STORM_LOG);

    for (unsigned w = 0; w < storm->worker_count; w++) {
        struct storm_worker *worker = &storm->workers[w];

        for (unsigned i = 0; i < worker->record_count; i++) {
            const struct storm_record *record = &worker->records[i];
            size_t len = storm_record_fill(want, w, record->number);

            EXPECT_EQ(record->len, len);
            if (hf_read(log, got, len, record->off) != (ssize_t)len || memcmp(want, got, len) != 0)
                FAIL("record %" PRIu64 " of worker %u, %zu bytes acknowledged at %" PRIu64
                     ", is not there; the log has %" PRIu64 " bytes",
                     record->number, w, len, record->off, storm_size(log));
        }
        worker->record_count = 0;
    }
    EXPECT_EQ(hf_truncate(log, 0, NULL), 0);
    EXPECT_EQ(hf_close(log), 0);
}
