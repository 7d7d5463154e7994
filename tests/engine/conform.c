/* SPDX-License-Identifier: MIT */
/*
 * Conformance of an engine: what pins and layout changes promise each other, step by step, through
 * the public API. A second process takes part where the engine allows one. What the engine cannot
 * do is refused, with a sentence that names it. What needs chance and many rounds is in cases.c.
 */
#include "change.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define POOL_NAME "conform"
#define SHORT_MS 30

static const struct test_engine *engine;
static struct hf_pool *pool;

static uint64_t changes_begun(void)
{
    struct hf_stats stats = {.size = sizeof(stats)};

    EXPECT_EQ(hf_stats(pool, &stats), 0);
    return stats.changes;
}

/* Starts it over a pin, and sees it wait. */
static void start_and_see_it_wait(struct change_thread *change)
{
    uint64_t begun = changes_begun();

    change_start(change);
    while (changes_begun() == begun)
        test_sleep_ms(1);
    test_sleep_ms(20);
    EXPECT_EQ(test_peek(&change->done), 0);
}

static int run_in_thread(struct change_thread *change, struct hf_policy policy)
{
    change->policy = policy;
    change_start(change);
    return change_finish(change);
}

static void run_here(void *(*body)(void *), void *arg)
{
    pthread_t thread;

    EXPECT_EQ(pthread_create(&thread, NULL, body, arg), 0);
    pthread_join(thread, NULL);
}

static void remove_file(struct hf_file *file, const char *path)
{
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_unlink(pool, path, &test_nowait), 0);
}

static void expect_held(struct hf_file *file, uint64_t page)
{
    EXPECT_EQ(hf_move(file, page * TEST_PAGE, TEST_PAGE, &test_nowait), -EBUSY);
}

static void expect_free(struct hf_file *file, uint64_t page)
{
    EXPECT_EQ(hf_move(file, page * TEST_PAGE, TEST_PAGE, &test_nowait), 0);
}

/* --- a change and a pin that overlaps: A, B, D --- */

static void overlap(enum change_kind kind, struct hf_policy policy, int error)
{
    struct change_thread change = {.pool = pool, .path = "/overlap", .kind = kind};
    struct hf_file *file = change_prepare(pool, change.path);
    struct iovec iov;
    struct hf_pin pin =
        test_pin(file, (CHANGE_FIRST + 1) * TEST_PAGE, TEST_PAGE, HF_PIN_READ, &iov, 1);

    change.file = kind == CHANGE_UNLINK ? NULL : file;
    if (kind == CHANGE_UNLINK)
        EXPECT_EQ(hf_close(file), 0);
    if (error) {
        EXPECT_EQ(run_in_thread(&change, policy), error);
        change_expect_before(pool, change.path);
        EXPECT(test_page_is(iov.iov_base, CHANGE_STAMP, CHANGE_FIRST + 1));
        EXPECT_EQ(hf_unpin(&pin), 0);
        EXPECT_EQ(run_in_thread(&change, policy), 0);
    } else {
        change.policy = policy;
        start_and_see_it_wait(&change);
        EXPECT(test_page_is(iov.iov_base, CHANGE_STAMP, CHANGE_FIRST + 1));
        EXPECT_EQ(hf_unpin(&pin), 0);
        EXPECT_EQ(change_finish(&change), 0);
    }
    change_expect_after(pool, change.path, kind);
    if (kind != CHANGE_UNLINK)
        remove_file(file, change.path);
}

static void check_overlap(void)
{
    for (enum change_kind kind = 0; kind < CHANGE_KINDS; kind++) {
        overlap(kind, test_wait, 0);
        overlap(kind, test_nowait, -EBUSY);
        overlap(kind, test_deadline_ms(SHORT_MS), -ETIMEDOUT);
    }
}

/* --- pins elsewhere hold nothing up: E --- */

static void check_elsewhere(void)
{
    for (enum change_kind kind = 0; kind < CHANGE_UNLINK; kind++) {
        bool to_the_end =
            kind == CHANGE_TRUNCATE || kind == CHANGE_COLLAPSE || kind == CHANGE_INSERT;
        struct hf_file *file = change_prepare(pool, "/elsewhere");
        struct iovec iov[2];
        struct hf_pin pins[2];

        pins[0] =
            test_pin(file, (CHANGE_FIRST - 1) * TEST_PAGE, TEST_PAGE, HF_PIN_READ, &iov[0], 1);
        pins[1] = test_pin(file, to_the_end ? 0 : (CHANGE_FIRST + CHANGE_COUNT) * TEST_PAGE,
                           TEST_PAGE, HF_PIN_READ, &iov[1], 1);
        EXPECT_EQ(change_run(pool, file, "/elsewhere", kind, &test_nowait), 0);
        EXPECT(test_page_is(iov[0].iov_base, CHANGE_STAMP, CHANGE_FIRST - 1));
        EXPECT(test_page_is(iov[1].iov_base, CHANGE_STAMP,
                            to_the_end ? 0 : CHANGE_FIRST + CHANGE_COUNT));
        change_expect_after(pool, "/elsewhere", kind);
        EXPECT_EQ(hf_unpin(&pins[0]), 0);
        EXPECT_EQ(hf_unpin(&pins[1]), 0);
        remove_file(file, "/elsewhere");
    }
}

/* Growing takes no block from any page, so it waits for nobody. */
static void check_growing(void)
{
    struct hf_file *file = change_prepare(pool, "/grow");
    struct iovec iov[CHANGE_PAGES];
    struct hf_pin pin =
        test_pin(file, 0, CHANGE_PAGES * TEST_PAGE, HF_PIN_WRITE, iov, CHANGE_PAGES);
    uint64_t off;

    EXPECT_EQ(hf_truncate(file, (CHANGE_PAGES + 2) * TEST_PAGE, &test_nowait), 0);
    EXPECT_EQ(hf_append(file, "tail", 4, &off), 4);
    EXPECT_EQ(off, (CHANGE_PAGES + 2) * TEST_PAGE);
    EXPECT_EQ(hf_fallocate(file, 0, 0, (CHANGE_PAGES + 8) * TEST_PAGE, &test_nowait), 0);
    test_expect_pages(file, CHANGE_STAMP, 0, CHANGE_PAGES);
    EXPECT_EQ(hf_unpin(&pin), 0);
    remove_file(file, "/grow");
}

/* --- what a pin may cover --- */

static void check_end_of_file(void)
{
    struct hf_file *file = change_prepare(pool, "/end");
    const uint64_t end = CHANGE_PAGES * TEST_PAGE;
    struct iovec iov[2];
    struct hf_pin pin;

    for (uint32_t flags = 0; flags <= HF_PIN_NOWAIT; flags += HF_PIN_NOWAIT) {
        EXPECT_EQ(hf_pin(file, end, 1, flags, iov, 2, &pin), -EFAULT);
        EXPECT_EQ(hf_pin(file, end - TEST_PAGE, TEST_PAGE + 1, flags, iov, 2, &pin), -EFAULT);
    }
    pin = test_pin(file, end - 1, 1, HF_PIN_READ, iov, 1);
    expect_held(file, CHANGE_PAGES - 1);
    EXPECT_EQ(hf_unpin(&pin), 0);
    EXPECT_EQ(hf_truncate(file, end - 1, &test_nowait), 0);
    EXPECT_EQ(hf_pin(file, end - 2, 2, 0, iov, 2, &pin), -EFAULT);
    EXPECT_EQ(hf_truncate(file, 0, &test_nowait), 0);
    remove_file(file, "/end");
}

/* That the last sentence tells. */
static int pieces_said(void)
{
    const char *number = strstr(hf_strerror_detail(), "lies in ");
    int pieces = 0;

    EXPECT(number && sscanf(number, "lies in %d pieces", &pieces) == 1);
    return pieces;
}

/* Over several runs of blocks: all of the range or nothing. */
static void check_pieces(void)
{
    struct hf_file *file = change_prepare(pool, "/pieces");
    struct iovec iov[CHANGE_PAGES];
    struct hf_pin pin;
    uint64_t page = 0;
    int pieces, said;

    for (uint64_t i = 0; i < CHANGE_PAGES; i += 2)
        expect_free(file, i);
    for (int again = 0; again < 2; again++) { /* entries are there the second time */
        EXPECT_EQ(hf_pin(file, 0, CHANGE_PAGES * TEST_PAGE, 0, iov, 1, &pin), -E2BIG);
        said = pieces_said();
        pieces = hf_pin(file, 0, CHANGE_PAGES * TEST_PAGE, 0, iov, CHANGE_PAGES, &pin);
        EXPECT(pieces > 1);
        EXPECT_EQ(said, pieces);
        page = 0;
        for (int i = 0; i < pieces; i++)
            for (uint64_t at = 0; at < iov[i].iov_len; at += TEST_PAGE)
                EXPECT(test_page_is((char *)iov[i].iov_base + at, CHANGE_STAMP, page++));
        EXPECT_EQ(page, CHANGE_PAGES);
        for (page = 0; page < CHANGE_PAGES; page++)
            expect_held(file, page);
        EXPECT_EQ(hf_unpin(&pin), 0);
    }
    for (page = 0; page < CHANGE_PAGES; page++)
        expect_free(file, page);
    remove_file(file, "/pieces");
}

/* Once a thread has pinned, present pages can be pinned at once. */
static void *pin_at_once(void *arg)
{
    struct iovec iov;
    struct hf_pin pin = test_pin(arg, 0, TEST_PAGE, HF_PIN_READ, &iov, 1);

    EXPECT_EQ(hf_unpin(&pin), 0);
    pin = test_pin(arg, 0, 4 * TEST_PAGE, HF_PIN_NOWAIT, &iov, 1);
    EXPECT(test_page_is(iov.iov_base, CHANGE_STAMP, 0));
    EXPECT_EQ(hf_unpin(&pin), 0);
    return NULL;
}

static void check_nowait(void)
{
    struct hf_file *file = change_prepare(pool, "/nowait");
    struct iovec iov;
    struct hf_pin pin = test_pin(file, 0, CHANGE_PAGES * TEST_PAGE, HF_PIN_READ, &iov, 1);

    EXPECT_EQ(hf_unpin(&pin), 0);
    run_here(pin_at_once, file);
    remove_file(file, "/nowait");
}

/* A hole under a pin gets its blocks; what others write there is seen through it. */
static void check_holes(void)
{
    struct hf_file *file = test_file(pool, "/holes");
    struct iovec iov[4];
    struct hf_pin pin;

    EXPECT_EQ(hf_truncate(file, 8 * TEST_PAGE, NULL), 0);
    test_write_pages(file, 1, 3, 1);
    pin = test_pin(file, 2 * TEST_PAGE, 3 * TEST_PAGE, HF_PIN_WRITE, iov, 4);
    EXPECT(test_is_zero(iov[0].iov_base, TEST_PAGE));
    test_write_pages(file, 1, 2, 1);
    EXPECT(test_page_is(iov[0].iov_base, 1, 2));
    for (uint64_t page = 2; page < 5; page++)
        EXPECT_EQ(hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, page * TEST_PAGE, 1, &test_nowait),
                  -EBUSY);
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, 5 * TEST_PAGE, 3 * TEST_PAGE, &test_nowait),
              0);
    test_expect_pages(file, 1, 2, 2);
    EXPECT_EQ(hf_unpin(&pin), 0);
    EXPECT_EQ(hf_truncate(file, 0, &test_nowait), 0);
    remove_file(file, "/holes");
}

/* --- letting go --- */

static void *unpin_here(void *arg)
{
    EXPECT_EQ(hf_unpin(arg), 0);
    return NULL;
}

struct pinner {
    struct hf_file *file;
    struct hf_pin pin;
};

static void *pin_here(void *arg)
{
    struct pinner *pinner = arg;
    struct iovec iov;

    pinner->pin = test_pin(pinner->file, CHANGE_FIRST * TEST_PAGE, TEST_PAGE, HF_PIN_READ, &iov, 1);
    return NULL;
}

/* Pinned by a thread that ends, and released by another that ends. */
static void check_unpin_elsewhere(void)
{
    struct change_thread change = {.pool = pool, .path = "/there", .kind = CHANGE_MOVE};
    struct pinner pinner = {.file = change.file = change_prepare(pool, change.path)};

    run_here(pin_here, &pinner);
    expect_held(pinner.file, CHANGE_FIRST);
    start_and_see_it_wait(&change);
    run_here(unpin_here, &pinner.pin);
    EXPECT_EQ(change_finish(&change), 0);
    change_expect_after(pool, change.path, CHANGE_MOVE);
    remove_file(pinner.file, change.path);
}

/* Blocks of a file that goes under a pin are nobody else's until it goes too. */
static void check_deleted_file(void)
{
    struct hf_file *file = change_prepare(pool, "/deleted"), *hog = test_file(pool, "/hog");
    uint64_t before = test_free_bytes(pool), page = 0;
    struct iovec iov;
    struct hf_pin pin = test_pin(file, 0, TEST_PAGE, HF_PIN_READ, &iov, 1);

    EXPECT_EQ(hf_unlink(pool, "/deleted", NULL), 0);
    EXPECT_EQ(hf_close(file), 0);
    while (hf_append(hog, iov.iov_base, TEST_PAGE, NULL) == (ssize_t)TEST_PAGE)
        page++;
    EXPECT(test_page_is(iov.iov_base, CHANGE_STAMP, 0));
    EXPECT_EQ(hf_unpin(&pin), 0);
    EXPECT_EQ(hf_append(hog, "more", 4, NULL), 4); /* only what was freed can be under it */
    EXPECT_EQ(hf_truncate(hog, 0, NULL), 0);
    EXPECT_EQ(test_free_bytes(pool), before + CHANGE_PAGES * TEST_PAGE);
    EXPECT(page > 0);
    remove_file(hog, "/hog");
}

/* --- a second process --- */

struct turns {
    uint32_t held, release, released;
};
static struct turns *turns;

static void pin_in_child(void *arg)
{
    struct hf_pool *mine = test_pool_open(POOL_NAME);
    struct hf_file *file = test_file(mine, "/shared");
    struct iovec iov;
    struct hf_pin pin =
        test_pin(file, (CHANGE_FIRST + 1) * TEST_PAGE, TEST_PAGE, HF_PIN_WRITE, &iov, 1);

    (void)arg;
    test_raise(&turns->held, 1);
    test_await(&turns->release, 1);
    EXPECT_EQ(hf_unpin(&pin), 0);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(mine);
}

static pid_t hold_in_child(void)
{
    pid_t child;

    *turns = (struct turns){0};
    child = test_fork(pin_in_child, NULL);
    test_await(&turns->held, 1);
    return child;
}

static void check_other_process(void)
{
    struct change_thread change = {.pool = pool, .path = "/shared", .kind = CHANGE_PUNCH};
    pid_t child;

    change.file = change_prepare(pool, change.path);
    child = hold_in_child();
    EXPECT_EQ(run_in_thread(&change, test_nowait), -EBUSY);
    change.policy = test_wait;
    start_and_see_it_wait(&change);
    test_raise(&turns->release, 1);
    EXPECT_EQ(change_finish(&change), 0);
    test_join(child);
    change_expect_after(pool, change.path, CHANGE_PUNCH);
    remove_file(change.file, change.path);
}

/* Only an engine that knows the owner of a pin can drop those of the dead. */
static void check_killed_process(void)
{
    struct hf_file *file = change_prepare(pool, "/shared");

    test_kill(hold_in_child());
    EXPECT_EQ(hf_truncate(file, 0, &test_nowait), engine->knows_holders ? 0 : -EBUSY);
    EXPECT_EQ(hf_close(file), 0);
}

static void disagree(void *arg)
{
    const char *other = strcmp(engine->name, "refcount") == 0 ? "srcu" : "refcount";
    struct hf_pool *mine = NULL;

    (void)arg;
    EXPECT_EQ(hf_pool_open_engine(test_path(POOL_NAME), 0, other, &mine), -EBUSY);
    EXPECT(strstr(hf_strerror_detail(), engine->name) != NULL);
    EXPECT_EQ(hf_pool_open_engine(test_path(POOL_NAME), 0, engine->name, &mine), 0);
    test_pool_close(mine);
}

static void check_one_engine_for_all(void)
{
    test_join(test_fork(disagree, NULL));
}

static void open_of_parent(void *arg)
{
    struct iovec iov;
    struct hf_pin pin;

    EXPECT_EQ(hf_pin(arg, 0, TEST_PAGE, HF_PIN_READ, &iov, 1, &pin), -ECHILD);
}

/* An engine of one process: refused where a second one could come, and in a child. */
static void check_one_process(void)
{
    struct hf_pool_options options = {
        .size = sizeof(options), .pool_bytes = TEST_MIB(8), .engine = engine->name};
    struct hf_file *file = change_prepare(pool, "/mine");
    struct hf_pool *other = NULL;

    EXPECT(hf_pool_create(test_path(POOL_NAME), &options) < 0);
    EXPECT(strstr(hf_strerror_detail(), engine->name) != NULL);
    options.engine = NULL;
    EXPECT_EQ(hf_pool_create(test_path(POOL_NAME), &options), 0);
    EXPECT_EQ(hf_pool_open_engine(test_path(POOL_NAME), 0, engine->name, &other), -EOPNOTSUPP);
    EXPECT(strstr(hf_strerror_detail(), engine->name) != NULL);
    test_join(test_fork(open_of_parent, file));
    remove_file(file, "/mine");
}

/* --- blocks that two files have --- */

static uint64_t saved(void)
{
    struct hf_pool_info info = {.size = sizeof(info)};

    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    return info.saved_bytes;
}

static bool says_engine(void)
{
    return strstr(hf_strerror_detail(), engine->name) != NULL;
}

static void check_no_sharing(struct hf_file *a, struct hf_file *b)
{
    struct hf_dedup_result result = {.size = sizeof(result)};

    EXPECT_EQ(hf_dedup_range(a, 0, b, 0, TEST_PAGE, &result), -EOPNOTSUPP);
    EXPECT(says_engine());
    EXPECT_EQ(hf_clone_range(a, 0, b, 0, TEST_PAGE, &test_wait), -EOPNOTSUPP);
    EXPECT(says_engine());
    EXPECT_EQ(hf_copy_range(a, 0, b, 0, 2 * TEST_PAGE), 2 * TEST_PAGE);
    EXPECT_EQ(saved(), 0);
}

/* A merge leaves alone what is pinned, on either side, and waits for nobody. */
static void check_merge(struct hf_file *a, struct hf_file *b)
{
    struct hf_dedup_result result = {.size = sizeof(result)};
    struct iovec iov;
    struct hf_pin pins[2] = {test_pin(a, TEST_PAGE, TEST_PAGE, HF_PIN_READ, &iov, 1),
                             test_pin(b, 3 * TEST_PAGE, TEST_PAGE, HF_PIN_WRITE, &iov, 1)};

    EXPECT_EQ(hf_dedup_range(a, 0, b, 0, 4 * TEST_PAGE, &result), 0);
    EXPECT_EQ(result.same, 1);
    EXPECT_EQ(result.shared_bytes, 2 * TEST_PAGE);
    EXPECT_EQ(result.held_bytes, 2 * TEST_PAGE);
    for (int i = 0; i < 2; i++)
        EXPECT_EQ(hf_unpin(&pins[i]), 0);
    EXPECT_EQ(hf_dedup_range(a, 0, b, 0, 4 * TEST_PAGE, &result), 0);
    EXPECT_EQ(result.shared_bytes, 2 * TEST_PAGE);
    EXPECT_EQ(saved(), 4 * TEST_PAGE);
}

/* What is read stays shared. A count says nothing of the file, so a pin gets the page a block. */
static void check_shared_pin(struct hf_file *a, struct hf_file *b)
{
    const uint64_t own = engine->knows_holders ? 0 : TEST_PAGE;
    struct iovec iov;
    struct hf_pin pin;
    int rc;

    test_expect_pages(b, 1, 0, 4);
    EXPECT_EQ(saved(), 4 * TEST_PAGE);
    rc = hf_pin(b, 0, TEST_PAGE, HF_PIN_NOFILL, &iov, 1, &pin);
    EXPECT_EQ(rc, own ? -ENODATA : 1);
    EXPECT(own ? says_engine() : hf_unpin(&pin) == 0);
    pin = test_pin(b, 0, TEST_PAGE, HF_PIN_READ, &iov, 1);
    EXPECT_EQ(saved(), 4 * TEST_PAGE - own);
    test_write_pages(b, 1, 0, 1);
    test_write_pages(a, 2, 0, 1);
    EXPECT(test_page_is(iov.iov_base, 1, 0));
    EXPECT_EQ(hf_unpin(&pin), 0);
    EXPECT_EQ(saved(), 3 * TEST_PAGE);
}

/* A clone copies what is pinned for reading. It waits where it cannot know for what. */
static void check_clone(struct hf_file *a, struct hf_file *b)
{
    struct iovec iov;
    struct hf_pin pin = test_pin(a, 0, TEST_PAGE, HF_PIN_READ, &iov, 1);

    EXPECT_EQ(hf_clone_range(a, 0, b, 0, 0, &test_nowait), engine->knows_holders ? 0 : -EBUSY);
    test_write_pages(a, 3, 0, 1);
    EXPECT(test_page_is(iov.iov_base, 3, 0));
    EXPECT_EQ(hf_unpin(&pin), 0);
    EXPECT_EQ(hf_clone_range(a, 0, b, 0, 0, &test_nowait), 0);
    EXPECT_EQ(saved(), 4 * TEST_PAGE);
    test_write_pages(b, 1, 0, 1);
    test_expect_pages(a, 3, 0, 1);
}

static void check_sharing(void)
{
    struct hf_file *a = test_file_filled(pool, "/a", 1, 4), *b = test_file_filled(pool, "/b", 1, 4);

    if (engine->shares) {
        check_merge(a, b);
        check_shared_pin(a, b);
        check_clone(a, b);
    } else {
        check_no_sharing(a, b);
    }
    remove_file(a, "/a");
    remove_file(b, "/b");
    EXPECT_EQ(saved(), 0);
}

static void make_shared_pool(void)
{
    struct hf_pool *made = test_pool_new("shared", TEST_MIB(8));
    struct hf_file *a = test_file_filled(made, "/a", 1, 1), *b = test_file(made, "/b");

    EXPECT_EQ(hf_clone_range(a, 0, b, 0, 0, &test_wait), 0);
    EXPECT_EQ(hf_close(a), 0);
    EXPECT_EQ(hf_close(b), 0);
    test_pool_close(made);
}

/* In a pool whose files share blocks since before it was opened with this engine. */
static void check_shared_before(void)
{
    struct hf_file *a, *b;
    struct hf_pool *other;
    struct iovec iov;
    struct hf_pin pin;

    make_shared_pool();
    EXPECT_EQ(hf_pool_open_engine(test_path("shared"), 0, engine->name, &other), 0);
    a = test_file(other, "/a");
    b = test_file(other, "/b");
    pin = test_pin(b, 0, TEST_PAGE, HF_PIN_READ, &iov, 1);
    test_write_pages(b, 1, 0, 1);
    test_write_pages(a, 2, 0, 1);
    EXPECT(test_page_is(iov.iov_base, 1, 0));
    EXPECT_EQ(hf_unpin(&pin), 0);
    EXPECT_EQ(hf_close(a), 0);
    EXPECT_EQ(hf_close(b), 0);
    test_pool_close(other);
    test_pool_check("shared");
}

/* --- what an engine that counts cannot do --- */

static void check_own_pin(struct hf_file *file)
{
    const struct hf_policy soon = test_deadline_ms(SHORT_MS);

    EXPECT_EQ(hf_truncate(file, 0, &test_nowait), -EBUSY);
    EXPECT_EQ(hf_truncate(file, 0, &soon), engine->knows_holders ? -EDEADLK : -ETIMEDOUT);
    EXPECT_EQ(test_size(file), CHANGE_PAGES * TEST_PAGE);
}

static int see_pin(void *arg, const struct hf_pin_info *info)
{
    *(unsigned *)arg += info->len == TEST_PAGE;
    return 0;
}

static void check_abilities(void)
{
    const int refused = engine->knows_holders ? 0 : -EOPNOTSUPP;
    const struct hf_policy soon = test_deadline_detach_ms(SHORT_MS);
    struct hf_file *file = change_prepare(pool, "/abilities");
    struct change_thread change = {.pool = pool, .file = file, .kind = CHANGE_PUNCH};
    struct iovec iov;
    struct hf_pin pin =
        test_pin(file, (CHANGE_FIRST + 1) * TEST_PAGE, TEST_PAGE, HF_PIN_READ, &iov, 1);
    unsigned seen = 0;

    check_own_pin(file);
    EXPECT_EQ(hf_pins(pool, see_pin, &seen), refused);
    EXPECT_EQ(seen, engine->knows_holders);
    EXPECT(!refused || strstr(hf_strerror_detail(), engine->name));
    EXPECT_EQ(run_in_thread(&change, soon), refused);
    EXPECT_EQ(hf_truncate(file, 0, &test_detach), refused);
    EXPECT(!refused || strstr(hf_strerror_detail(), engine->name));
    EXPECT(test_page_is(iov.iov_base, CHANGE_STAMP, CHANGE_FIRST + 1));
    if (refused)
        change_expect_before(pool, "/abilities");
    EXPECT_EQ(hf_unpin(&pin), 0);
    remove_file(file, "/abilities");
}

static int body(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*check)(void);
        bool shared, alone; /* only where a second process can come, or only where none can */
    } checks[] = {
        {"a change waits for an overlapping pin, or gives up as it was told", check_overlap, 0, 0},
        {"a pin elsewhere holds nothing up", check_elsewhere, 0, 0},
        {"growing waits for nobody", check_growing, 0, 0},
        {"no pin past end of file", check_end_of_file, 0, 0},
        {"a pin over several runs of blocks", check_pieces, 0, 0},
        {"a pin of present pages at once", check_nowait, 0, 0},
        {"a pin over holes", check_holes, 0, 0},
        {"another thread releases a pin", check_unpin_elsewhere, 0, 0},
        {"a file deleted under a pin", check_deleted_file, 0, 0},
        {"blocks that two files share", check_sharing, 0, 0},
        {"what the engine cannot do is refused", check_abilities, 0, 0},
        {"only in one process", check_one_process, 0, 1},
        {"files that share blocks already", check_shared_before, 1, 0},
        {"a pin of another process", check_other_process, 1, 0},
        {"the second process cannot disagree", check_one_engine_for_all, 1, 0},
        {"pins of a killed process", check_killed_process, 1, 0},
    };

    engine = test_engine(argc > 1 ? argv[1] : "slots");
    turns = test_shared(sizeof(*turns));
    pool = test_engine_pool(engine, POOL_NAME, TEST_MIB(8));
    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
        if (engine->one_process ? checks[i].shared : checks[i].alone)
            continue;
        printf("%s: %s\n", engine->name, checks[i].name);
        checks[i].check();
    }
    test_pool_close(pool);
    if (!engine->one_process)
        test_pool_check(POOL_NAME);
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
