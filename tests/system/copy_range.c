/* SPDX-License-Identifier: MIT */
/*
 * hf_copy_range(): what it copies, what it shares, which holes stay holes, what it refuses. It
 * waits at a gate of the target without holding the source, and passes the gate when its thread
 * holds a pin. Copies in both directions and layout changes of both files all come to an end, under
 * each engine.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static uint64_t less(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t blocks(struct hf_file *file)
{
    struct stat st;

    EXPECT_EQ(hf_fstat(file, &st), 0);
    return (uint64_t)st.st_blocks / (TEST_PAGE / 512);
}

/* --------------------------------------------------------------------- against a model --- */

#define FILES 2
#define MODEL_BYTES (48 * TEST_PAGE) /* no file is longer */

struct model {
    struct hf_file *file;
    uint64_t size;
    char bytes[MODEL_BYTES];
};

static struct model models[FILES];

static void expect_model(const struct model *model)
{
    static char got[MODEL_BYTES];

    EXPECT_EQ(test_size(model->file), model->size);
    EXPECT_EQ(hf_read(model->file, got, sizeof(got), 0), model->size);
    EXPECT(memcmp(got, model->bytes, model->size) == 0);
}

static void model_write(struct test_rng *rng, struct model *model)
{
    uint64_t off = test_below(rng, MODEL_BYTES), len = 1 + test_below(rng, 6 * TEST_PAGE);

    len = less(len, MODEL_BYTES - off);
    for (uint64_t i = 0; i < len; i++)
        model->bytes[off + i] = (char)test_random(rng);
    EXPECT_EQ(hf_write(model->file, model->bytes + off, len, off), len);
    model->size = off + len > model->size ? off + len : model->size;
}

static void model_truncate(struct test_rng *rng, struct model *model)
{
    uint64_t size = test_below(rng, MODEL_BYTES);

    EXPECT_EQ(hf_truncate(model->file, size, NULL), 0);
    memset(model->bytes + size, 0, MODEL_BYTES - size);
    model->size = size;
}

static void model_punch(struct test_rng *rng, struct model *model)
{
    uint64_t off = test_below(rng, MODEL_BYTES), len = 1 + test_below(rng, 12 * TEST_PAGE);

    len = less(len, MODEL_BYTES - off);
    EXPECT_EQ(hf_fallocate(model->file, HF_FALLOC_PUNCH_HOLE, off, len, NULL), 0);
    memset(model->bytes + off, 0, less(len, off < model->size ? model->size - off : 0));
}

static void model_copy(struct test_rng *rng, struct model *from, struct model *to)
{
    uint64_t from_off = test_below(rng, MODEL_BYTES), to_off = test_below(rng, MODEL_BYTES);
    uint64_t len = less(test_below(rng, MODEL_BYTES), MODEL_BYTES - to_off), n;

    if (test_chance(rng, 50)) { /* where pages of one lie on pages of the other */
        from_off -= from_off % TEST_PAGE;
        to_off -= to_off % TEST_PAGE;
    }
    n = from_off < from->size ? less(len, from->size - from_off) : 0;
    if (from == to && n && from_off < to_off + n && to_off < from_off + n) {
        EXPECT_EQ(hf_copy_range(from->file, from_off, to->file, to_off, len), -EINVAL);
        return;
    }
    EXPECT_EQ(hf_copy_range(from->file, from_off, to->file, to_off, len), n);
    memcpy(to->bytes + to_off, from->bytes + from_off, n);
    if (n && to_off + n > to->size)
        to->size = to_off + n;
}

static void check_model(void)
{
    struct hf_pool *pool = test_pool_new("model", TEST_MIB(8));
    struct test_rng rng = {test_seed()};
    unsigned rounds = test_is_slow() ? 500 : 3000;

    models[0].file = test_file(pool, "/0");
    models[1].file = test_file(pool, "/1");
    for (unsigned i = 0; i < rounds; i++) {
        struct model *model = &models[test_below(&rng, FILES)];

        if (test_chance(&rng, 60))
            model_copy(&rng, &models[test_below(&rng, FILES)], model);
        else if (test_chance(&rng, 40))
            model_write(&rng, model);
        else if (test_chance(&rng, 60))
            model_punch(&rng, model);
        else
            model_truncate(&rng, model);
        expect_model(model);
    }
    for (unsigned i = 0; i < FILES; i++)
        EXPECT_EQ(hf_close(models[i].file), 0);
    test_pool_close(pool);
    test_pool_check("model");
}

/* ------------------------------------------------------------------------------- holes --- */

static void check_holes(void)
{
    struct hf_pool *pool = test_pool_new("holes", TEST_MIB(8));
    struct hf_file *from = test_file(pool, "/from"), *to = test_file(pool, "/to");
    uint64_t far = UINT64_C(1) << 40;

    /* data, a hole of a tebibyte, data; then the same copy over what has become data meanwhile */
    test_write_pages(from, 7, 0, 1);
    test_write_pages(from, 7, far / TEST_PAGE, 1);
    EXPECT_EQ(hf_copy_range(from, 0, to, 0, SIZE_MAX), far + TEST_PAGE);
    EXPECT_EQ(test_size(to), far + TEST_PAGE);
    EXPECT_EQ(blocks(to), 2);
    test_expect_pages(to, 7, 0, 1);
    test_expect_pages(to, 7, far / TEST_PAGE, 1);
    test_write_pages(to, 8, 100, 20);
    EXPECT_EQ(hf_copy_range(from, 0, to, 0, SIZE_MAX), far + TEST_PAGE);
    test_expect_zeros(to, 99 * TEST_PAGE, 22 * TEST_PAGE);
    EXPECT_EQ(blocks(to), 2);

    /* and where nothing can be shared, since pages do not lie on pages */
    test_write_pages(to, 8, 100, 20);
    EXPECT_EQ(hf_copy_range(from, TEST_PAGE, to, 1 + TEST_PAGE, 130 * TEST_PAGE), 130 * TEST_PAGE);
    test_expect_zeros(to, 99 * TEST_PAGE, 22 * TEST_PAGE);
    EXPECT_EQ(blocks(to), 22);

    /* a hole over the bytes past end of file, which may be anything */
    test_write_pages(to, 9, 0, 2);
    EXPECT_EQ(hf_truncate(to, 100, NULL), 0);
    EXPECT_EQ(hf_copy_range(from, TEST_PAGE, to, 200, 10 * TEST_PAGE), 10 * TEST_PAGE);
    EXPECT_EQ(test_size(to), 200 + 10 * TEST_PAGE);
    test_expect_zeros(to, 100, 100 + 10 * TEST_PAGE);
    EXPECT_EQ(blocks(to), 1);
    EXPECT_EQ(hf_close(from), 0);
    EXPECT_EQ(hf_close(to), 0);
    test_pool_close(pool);
    test_pool_check("holes");
}

/* A source in more pieces than one pin has, and more bytes than are copied at once. */
static void check_pieces(void)
{
    struct hf_pool *pool = test_pool_new("pieces", TEST_MIB(32));
    struct hf_file *from = test_file(pool, "/from"), *to = test_file(pool, "/to");
    struct hf_file *between = test_file(pool, "/between");
    const uint64_t pages = 2500;

    for (uint64_t page = 0; page < 200; page++) {
        test_write_pages(from, 3, page, 1);
        test_write_pages(between, 4, page, 1);
    }
    test_write_pages(from, 3, 200, pages - 200);
    EXPECT_EQ(hf_copy_range(from, 0, to, 0, SIZE_MAX), pages * TEST_PAGE);
    test_expect_pages(to, 3, 0, pages);
    EXPECT_EQ(hf_copy_range(from, 1, to, pages * TEST_PAGE - 1, 2000 * TEST_PAGE),
              2000 * TEST_PAGE);
    EXPECT_EQ(hf_copy_range(to, pages * TEST_PAGE - 1, to, 1, 2000 * TEST_PAGE), 2000 * TEST_PAGE);
    test_expect_pages(to, 3, 0, pages - 1);
    EXPECT_EQ(hf_close(from), 0);
    EXPECT_EQ(hf_close(to), 0);
    EXPECT_EQ(hf_close(between), 0);
    test_pool_close(pool);
    test_pool_check("pieces");
}

/* ------------------------------------------------------------------------------ shared --- */

static uint64_t saved_pages(struct hf_pool *pool)
{
    struct hf_pool_info info = {.size = sizeof(info)};

    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    return info.saved_bytes / TEST_PAGE;
}

/* What is held on either side is copied, and goes on following its file. */
static void check_held(struct hf_pool *pool)
{
    struct hf_file *from = test_file_filled(pool, "/from", 1, 16),
                   *to = test_file_filled(pool, "/to", 2, 16);
    struct hf_pin reads, writes;
    struct iovec read_at, write_at;

    reads = test_pin(from, 3 * TEST_PAGE, 2 * TEST_PAGE, HF_PIN_READ, &read_at, 1);
    writes = test_pin(to, 9 * TEST_PAGE, TEST_PAGE, HF_PIN_READ, &write_at, 1);
    EXPECT_EQ(hf_copy_range(from, 0, to, 0, SIZE_MAX), 16 * TEST_PAGE);
    EXPECT_EQ(saved_pages(pool), 13);
    test_expect_pages(to, 1, 0, 16);
    EXPECT(test_page_is(write_at.iov_base, 1, 9));
    test_write_pages(from, 5, 4, 1);
    EXPECT(test_page_is((char *)read_at.iov_base + TEST_PAGE, 5, 4));
    test_expect_pages(to, 1, 0, 16);
    EXPECT_EQ(hf_unpin(&reads), 0);
    EXPECT_EQ(hf_unpin(&writes), 0);
    EXPECT_EQ(hf_close(from), 0);
    EXPECT_EQ(hf_close(to), 0);
}

static void check_ends(struct hf_pool *pool)
{
    struct hf_file *from = test_file_filled(pool, "/odd", 1, 4), *to = test_file(pool, "/end");
    uint64_t before = saved_pages(pool), size = 3 * TEST_PAGE + 100;

    EXPECT_EQ(hf_truncate(from, size, NULL), 0);
    EXPECT_EQ(hf_copy_range(from, 0, to, 0, SIZE_MAX), size);
    EXPECT_EQ(saved_pages(pool), before + 4); /* its end is the other's end */
    EXPECT_EQ(hf_truncate(to, 5 * TEST_PAGE, NULL), 0);
    test_expect_zeros(to, size, TEST_PAGE);
    EXPECT_EQ(saved_pages(pool), before + 3);
    test_write_pages(to, 7, 3, 2);
    EXPECT_EQ(hf_copy_range(from, 0, to, 0, SIZE_MAX), size); /* it goes on in that page */
    EXPECT_EQ(saved_pages(pool), before + 3);
    EXPECT_EQ(test_size(to), 5 * TEST_PAGE);
    test_expect_pages(to, 7, 4, 1);
    EXPECT_EQ(hf_copy_range(from, 100, to, 100 + TEST_PAGE, 2 * TEST_PAGE), 2 * TEST_PAGE);
    EXPECT_EQ(saved_pages(pool), before + 2); /* pages 0 and, as page 2, 1 */
    EXPECT_EQ(hf_close(from), 0);
    EXPECT_EQ(hf_close(to), 0);
}

static void check_shared(void)
{
    struct hf_pool *pool = test_pool_new("shared", TEST_MIB(8));

    check_held(pool);
    check_ends(pool);
    test_pool_close(pool);
    test_pool_check("shared");
}

/* ---------------------------------------------------------------------------- refusals --- */

static struct hf_file *reopened(struct hf_pool *pool, const char *path, int flags)
{
    struct hf_file *file;

    EXPECT_EQ(hf_open(pool, path, flags, 0, &file), 0);
    return file;
}

static void check_refusals(void)
{
    struct hf_pool *pool = test_pool_new("refusals", TEST_MIB(8)),
                   *other = test_pool_new("other", TEST_MIB(8));
    struct hf_file *file = test_file_filled(pool, "/file", 1, 4), *to = test_file(pool, "/to");
    struct hf_file *elsewhere = test_file(other, "/file");
    struct hf_file *reads = reopened(pool, "/to", O_RDONLY);
    struct hf_file *writes = reopened(pool, "/file", O_WRONLY);
    struct hf_file *appends = reopened(pool, "/to", O_WRONLY | O_APPEND);
    struct hf_file *const opened[] = {file, to, elsewhere, reads, writes, appends};

    EXPECT_EQ(hf_copy_range(NULL, 0, to, 0, 1), -EINVAL);
    EXPECT_EQ(hf_copy_range(file, 0, NULL, 0, 1), -EINVAL);
    EXPECT_EQ(hf_copy_range(writes, 0, to, 0, 1), -EBADF);
    EXPECT_EQ(hf_copy_range(file, 0, reads, 0, 1), -EBADF);
    EXPECT_EQ(hf_copy_range(file, 0, appends, 0, 1), -EBADF);
    EXPECT_EQ(hf_copy_range(file, 0, elsewhere, 0, 1), -EXDEV);
    EXPECT_EQ(hf_copy_range(file, 0, writes, 100, 101), -EINVAL);
    EXPECT_EQ(hf_copy_range(file, 0, writes, 100, 100), 100);
    EXPECT_EQ(hf_copy_range(file, 0, to, HF_FILE_BYTES_MAX, 1), -EFBIG);
    EXPECT_EQ(hf_copy_range(file, 4 * TEST_PAGE, to, 0, 1), 0);
    EXPECT_EQ(hf_copy_range(file, UINT64_MAX, to, UINT64_MAX, SIZE_MAX), 0);
    EXPECT_EQ(hf_copy_range(file, 0, to, 0, 0), 0);
    EXPECT_EQ(test_size(to), 0);
    EXPECT_EQ(hf_copy_range(file, 0, to, HF_FILE_BYTES_MAX - 10, 100), 10);
    EXPECT_EQ(test_size(to), HF_FILE_BYTES_MAX);

    /* a pool that fills up: a short count, then an error */
    EXPECT_EQ(hf_truncate(to, 0, NULL), 0);
    test_write_pages(file, 1, 4, 1); /* copied from byte 1 on, so that no page is shared */
    while (test_free_bytes(pool) > 3 * TEST_PAGE)
        EXPECT_OK(hf_copy_range(file, 1, to, test_size(to),
                                less(test_free_bytes(pool) - 3 * TEST_PAGE, 4 * TEST_PAGE)));
    EXPECT_EQ(hf_copy_range(file, 1, to, test_size(to), 4 * TEST_PAGE), 3 * TEST_PAGE);
    EXPECT_EQ(hf_copy_range(file, 1, to, test_size(to), 4 * TEST_PAGE), -ENOSPC);

    for (unsigned i = 0; i < COUNT(opened); i++)
        EXPECT_EQ(hf_close(opened[i]), 0);
    test_pool_close(pool);
    test_pool_close(other);
    test_pool_check("refusals");
}

/* ------------------------------------------------------------------------------- gates --- */

struct copier {
    struct hf_file *from, *to;
    ssize_t rc;
    uint32_t done;
};

static void *copy_whole(void *arg)
{
    struct copier *copier = arg;

    copier->rc = hf_copy_range(copier->from, 0, copier->to, 0, SIZE_MAX);
    test_raise(&copier->done, 1);
    return NULL;
}

static void *cut(void *arg)
{
    EXPECT_EQ(hf_truncate(arg, 0, &test_wait), 0);
    return NULL;
}

static uint64_t gate_waits(struct hf_pool *pool)
{
    struct hf_stats stats = {.size = sizeof(stats)};

    EXPECT_EQ(hf_stats(pool, &stats), 0);
    return stats.gate_waits;
}

static void check_gates(void)
{
    struct hf_pool *pool = test_pool_new("gates", TEST_MIB(8));
    struct hf_file *from = test_file_filled(pool, "/from", 1, 8),
                   *to = test_file_filled(pool, "/to", 2, 8);
    struct copier copier = {.from = from, .to = to};
    pthread_t cutter, thread;
    struct hf_pin pin;
    struct iovec iov;
    uint64_t waits;

    pin = test_pin(to, 0, TEST_PAGE, HF_PIN_READ, &iov, 1);
    EXPECT_EQ(pthread_create(&cutter, NULL, cut, to), 0);
    test_await_waiting(pool, 1);
    waits = gate_waits(pool);
    EXPECT_EQ(pthread_create(&thread, NULL, copy_whole, &copier), 0);
    while (gate_waits(pool) == waits)
        test_sleep_ms(1);
    EXPECT_EQ(hf_move(from, 0, 8 * TEST_PAGE, &test_nowait), 0); /* it holds nothing */
    EXPECT_EQ(test_peek(&copier.done), 0);

    /* this thread holds what the truncate waits for */
    EXPECT_EQ(hf_copy_range(from, 0, to, TEST_PAGE, TEST_PAGE), TEST_PAGE);
    EXPECT_EQ(test_peek(&copier.done), 0);
    EXPECT_EQ(hf_unpin(&pin), 0);
    EXPECT_EQ(pthread_join(cutter, NULL), 0);
    EXPECT_EQ(pthread_join(thread, NULL), 0);
    EXPECT_EQ(copier.rc, 8 * TEST_PAGE);
    test_expect_pages(to, 1, 0, 8);
    EXPECT_EQ(hf_close(from), 0);
    EXPECT_EQ(hf_close(to), 0);
    test_pool_close(pool);
    test_pool_check("gates");
}

/* ------------------------------------------------------------------------------- storm --- */

#define STORM_FILES 2
#define STORM_COPIERS 3
#define STORM_CHANGERS 2
#define STORM_PART 21 /* pages that are one copier's, in both files */
#define STORM_PAGES (STORM_COPIERS * STORM_PART)
#define STORM_STAMP 5

struct storm {
    struct hf_file *files[STORM_FILES];
    uint32_t changers; /* that have ended */
};

struct storm_thread {
    struct storm *storm;
    unsigned number;
    pthread_t thread;
};

/* Pages stay at their places, so each is its own or has been cut off, or punched. */
static void expect_own_pages(struct hf_file *file, uint64_t first)
{
    char got[TEST_PAGE];

    for (uint64_t page = first; page < first + STORM_PART; page++) {
        ssize_t n = hf_read(file, got, sizeof(got), page * TEST_PAGE);

        EXPECT(n == 0 || n == (ssize_t)sizeof(got));
        EXPECT(n == 0 || test_is_zero(got, sizeof(got)) || test_page_is(got, STORM_STAMP, page));
    }
}

static void *copy_to_and_fro(void *arg)
{
    const struct storm_thread *self = arg;
    struct storm *storm = self->storm;
    struct test_rng rng = {test_mix(77, self->number)};
    uint64_t first = self->number * STORM_PART;

    while (test_peek(&storm->changers) < STORM_CHANGERS) {
        uint64_t page = test_below(&rng, STORM_PART),
                 pages = 1 + test_below(&rng, STORM_PART - page);
        uint64_t off = (first + page) * TEST_PAGE;
        unsigned from = (unsigned)test_below(&rng, STORM_FILES);

        if (test_chance(&rng, 30))
            test_write_pages(storm->files[from], STORM_STAMP, first + page, pages);
        EXPECT_OK(
            hf_copy_range(storm->files[from], off, storm->files[1 - from], off, pages * TEST_PAGE));
        if (test_chance(&rng, 10))
            expect_own_pages(storm->files[from], first);
    }
    return NULL;
}

static void *change_both(void *arg)
{
    const struct storm_thread *self = arg;
    struct test_rng rng = {test_mix(78, self->number)};
    unsigned rounds = test_is_slow() ? 300 : 3000;

    for (unsigned i = 0; i < rounds; i++) {
        struct hf_file *file = self->storm->files[test_below(&rng, STORM_FILES)];
        uint64_t off = test_below(&rng, STORM_PAGES) * TEST_PAGE;

        if (test_chance(&rng, 50))
            EXPECT_EQ(hf_truncate(file, off, &test_wait), 0);
        else
            EXPECT_EQ(hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, off, 8 * TEST_PAGE, &test_wait), 0);
    }
    test_count(&self->storm->changers);
    return NULL;
}

static void check_storm(const char *engine)
{
    struct hf_pool *pool = test_engine_pool(test_engine(engine), NULL, TEST_MIB(8));
    struct storm storm = {
        .files = {test_file_filled(pool, "/0", STORM_STAMP, STORM_PAGES), test_file(pool, "/1")}};
    struct storm_thread threads[STORM_COPIERS + STORM_CHANGERS];

    for (unsigned i = 0; i < COUNT(threads); i++) {
        threads[i].storm = &storm;
        threads[i].number = i;
        EXPECT_EQ(pthread_create(&threads[i].thread, NULL,
                                 i < STORM_COPIERS ? copy_to_and_fro : change_both, &threads[i]),
                  0);
    }
    for (unsigned i = 0; i < COUNT(threads); i++)
        EXPECT_EQ(pthread_join(threads[i].thread, NULL), 0);
    for (unsigned i = 0; i < STORM_FILES; i++) {
        for (uint64_t first = 0; first < STORM_PAGES; first += STORM_PART)
            expect_own_pages(storm.files[i], first);
        EXPECT_EQ(hf_close(storm.files[i]), 0);
    }
    test_pool_close(pool);
}

static void copy_range(void)
{
    static const char *const engines[] = {"slots", "slots-fenced", "refcount", "srcu",
                                          "percpu-rwsem" TEST_RCU};

    check_model();
    check_holes();
    check_pieces();
    check_shared();
    check_refusals();
    check_gates();
    for (unsigned i = 0; i < COUNT(engines); i++)
        check_storm(engines[i]);
}

TEST_SCENARIO(copy_range)
