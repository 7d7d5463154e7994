/* SPDX-License-Identifier: MIT */
/*
 * A process is killed between any two steps of a layout change, which is made with the functions
 * that src/fs uses. Then another process comes: a writer, or one that only reads and after it a
 * writer. The file is as the last committed transaction left it, and pins taken before and
 * afterwards are seen. Detached blocks come back with their last pin. Nothing of the dead process
 * stays: no gate, no flag, no hold, no node, no vnode.
 */
#include "support.h"

#include "fs/layout.h"
#include "pool/pool.h"
#include "sync/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define POOL_NAME "dies"
#define STAMP 6
#define FAR_PAGE 700u /* in a node of its own */
#define COUNT(array) (sizeof(array) / sizeof(*(array)))

/* Two transactions take two pages each. */
#define FIRST 2u
#define SECOND 4u
#define END 6u
static const uint64_t places[] = {0, 1, 2, 3, 4, 5, 8, FAR_PAGE};
static const uint64_t pinned[] = {3, 5, 8};

enum step {
    WAITS,  /* in L5; only where there are pins and the policy waits */
    LOOKED, /* after L4 */
    PAUSED,
    RESUMED,
    BEGUN,
    REMOVED,
    COMMITTED,
    SECOND_BEGUN,
    SECOND_REMOVED,
    SECOND_COMMITTED,
    ENDED,
    STEPS
};
static const char *const step_names[STEPS] = {
    "it waits",        "it has looked",        "it is paused",
    "it goes on",      "a transaction",        "blocks removed",
    "a commit",        "a second transaction", "more blocks removed",
    "a second commit", "the end of all"};

struct death {
    enum step step;
    bool whole;  /* all of the file: its root is taken out */
    bool detach; /* and pins are in the way */
    bool by_reader;
};

static const struct test_engine *engine;
static struct hf_pool *pool;
static struct hf_file *file;
static struct shared {
    uint32_t turn, done, stop;
    uint32_t gone_from, gone_to; /* pages */
} * shared;

/* --- processes that die --- */

static _Noreturn void die(void)
{
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

static void reach(enum step step, const struct death *death)
{
    if (step == death->step)
        die();
}

static void change_and_die(void *arg)
{
    const struct death *death = arg;
    struct hf_pool *mine = test_pool_open(POOL_NAME);
    struct hf_file *own = test_file(mine, "/file");
    struct fs_layout l;
    uint64_t first = death->whole ? 0 : FIRST, last = death->whole ? DAX_LAST : END - 1;

    EXPECT_EQ(fs_layout_open(&l, own->fs, own->vnode, first, last, HF_CHANGE_PUNCH,
                             death->detach ? &test_detach : &test_wait),
              0);
    reach(LOOKED, death);
    dax_change_pause(&l.change);
    reach(PAUSED, death);
    EXPECT_EQ(dax_change_resume(&l.change), 0);
    reach(RESUMED, death);
    EXPECT_EQ(fs_layout_begin(&l), 0);
    reach(BEGUN, death);
    EXPECT_EQ(fs_layout_remove(&l, FIRST, SECOND - FIRST), 0);
    reach(REMOVED, death);
    EXPECT_EQ(fs_layout_commit(&l, own->vnode->size), 0);
    reach(COMMITTED, death);
    EXPECT_EQ(fs_layout_begin(&l), 0);
    reach(SECOND_BEGUN, death);
    EXPECT_EQ(fs_layout_remove(&l, SECOND, END - SECOND), 0);
    reach(SECOND_REMOVED, death);
    EXPECT_EQ(fs_layout_commit(&l, own->vnode->size), 0);
    reach(SECOND_COMMITTED, death);
    EXPECT_EQ(fs_layout_close(&l, 0), 0);
    die();
}

/* --- what must be --- */

static bool gone(uint64_t page)
{
    return page >= shared->gone_from && page < shared->gone_to;
}

static void expect_content(struct hf_file *of)
{
    for (size_t i = 0; i < COUNT(places); i++)
        if (gone(places[i]))
            test_expect_zeros(of, places[i] * TEST_PAGE, TEST_PAGE);
        else
            test_expect_pages(of, STAMP, places[i], 1);
}

static void pin_all(struct hf_file *of)
{
    for (size_t i = 0; i < COUNT(places); i++) {
        struct iovec iov;
        struct hf_pin pin;

        if (gone(places[i]))
            continue;
        pin = test_pin(of, places[i] * TEST_PAGE, TEST_PAGE, HF_PIN_READ, &iov, 1);
        EXPECT(test_page_is(iov.iov_base, STAMP, places[i]));
        EXPECT_EQ(hf_unpin(&pin), 0);
    }
}

static void expect_pins_seen(void)
{
    for (size_t i = 0; i < COUNT(places); i++) {
        struct iovec iov;
        struct hf_pin pin;

        if (gone(places[i]))
            continue;
        pin = test_pin(file, places[i] * TEST_PAGE, TEST_PAGE, HF_PIN_READ, &iov, 1);
        EXPECT_EQ(hf_truncate(file, 0, &test_nowait), -EBUSY);
        EXPECT_EQ(hf_move(file, places[i] * TEST_PAGE, TEST_PAGE, &test_nowait), -EBUSY);
        EXPECT(test_page_is(iov.iov_base, STAMP, places[i]));
        EXPECT_EQ(hf_unpin(&pin), 0);
    }
}

/* Of the file that everybody has closed and the pins that all have gone. */
static void expect_nothing_left(uint64_t free_before)
{
    struct shm *shm = pool->fs.dax.shm;

    EXPECT_EQ(test_free_bytes(pool), free_before); /* and collects */
    dax_shrink(&pool->fs.dax);
    EXPECT_EQ(shm->run->vnodes_used, 0);
    EXPECT_EQ(shm->run->nodes_used, 0);
    EXPECT_EQ(shm->run->holds_used, 0);
    EXPECT_EQ(shm->run->grace_writer, 0);
    for (uint64_t block = 0; shm->counts && block < shm->run->pool_blocks; block++)
        EXPECT(shm->counts[block] <= 1);
}

static void expect_at_rest(const struct shm_vnode *vnode)
{
    for (unsigned i = 0; i < SHM_GATES; i++)
        EXPECT_EQ(vnode->gates[i].lane, 0);
    EXPECT_EQ(vnode->waiters, 0);
    EXPECT_EQ(vnode->pending_version, 0);
    EXPECT_EQ(vnode->zap_pending, 0);
    EXPECT_EQ(vnode->detached, SHM_NONE);
}

/* --- processes that only read --- */

static void read_in_turn(void *arg)
{
    struct hf_pool *mine = NULL;

    (void)arg;
    EXPECT_EQ(hf_pool_open(test_path(POOL_NAME), HF_OPEN_RDONLY, &mine), 0);
    for (uint32_t turn = 1;; turn++) {
        struct hf_file *own;

        test_raise(&shared->done, turn);
        test_await(&shared->turn, turn);
        if (test_peek(&shared->stop))
            break;
        EXPECT_EQ(hf_open(mine, "/file", O_RDONLY, 0, &own), 0);
        expect_content(own);
        pin_all(own);
        EXPECT_EQ(hf_close(own), 0);
    }
    test_pool_close(mine);
}

static void let_it_read(void)
{
    uint32_t turn = test_peek(&shared->turn) + 1;

    test_raise(&shared->turn, turn);
    test_await(&shared->done, turn + 1);
}

/* --- one death --- */

static void make_file(void)
{
    struct iovec iov;

    file = test_file(pool, "/file");
    EXPECT_EQ(hf_truncate(file, (FAR_PAGE + 1) * TEST_PAGE, NULL), 0);
    for (size_t i = 0; i < COUNT(places); i++) {
        struct hf_pin pin;

        test_write_pages(file, STAMP, places[i], 1);
        pin = test_pin(file, places[i] * TEST_PAGE, TEST_PAGE, HF_PIN_READ, &iov, 1);
        EXPECT_EQ(hf_unpin(&pin), 0);
    }
}

static void await_death(const struct death *death)
{
    pid_t pid = test_fork(change_and_die, (void *)death);

    if (death->step == WAITS) {
        while (!(hf_load_acquire(&file->vnode->waiters) & SHM_WAITS))
            test_sleep_ms(1);
        kill(pid, SIGKILL);
    }
    EXPECT(WIFSIGNALED(test_wait_status(pid)));
}

static void expect_pinned(const struct death *death, struct hf_pin *pins, struct iovec *iov)
{
    unsigned detached = 0;

    for (size_t i = 0; i < COUNT(pinned); i++) {
        EXPECT(test_page_is(iov[i].iov_base, STAMP, pinned[i]));
        detached += gone(pinned[i]);
        if (!gone(pinned[i]))
            EXPECT_EQ(hf_move(file, pinned[i] * TEST_PAGE, TEST_PAGE, &test_nowait), -EBUSY);
    }
    if (death->detach)
        EXPECT_EQ(test_pins_in_state(pool, HF_PIN_DETACHED), detached);
    for (size_t i = 0; i < COUNT(pinned); i++)
        EXPECT_EQ(hf_unpin(&pins[i]), 0);
}

static void die_once(const struct death *death)
{
    uint64_t free_before = test_free_bytes(pool);
    bool pins_in_the_way = death->detach || death->step == WAITS;
    struct iovec iov[COUNT(pinned)];
    struct hf_pin pins[COUNT(pinned)];

    make_file();
    for (size_t i = 0; pins_in_the_way && i < COUNT(pinned); i++)
        pins[i] = test_pin(file, pinned[i] * TEST_PAGE, TEST_PAGE, HF_PIN_WRITE, &iov[i], 1);
    shared->gone_from = FIRST;
    shared->gone_to = death->step >= SECOND_COMMITTED ? END
                      : death->step >= COMMITTED      ? SECOND
                                                      : FIRST;
    await_death(death);
    if (death->by_reader)
        let_it_read();
    expect_content(file);
    if (pins_in_the_way)
        expect_pinned(death, pins, iov);
    expect_pins_seen();
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_ZERO_RANGE, 0, (END + 3) * TEST_PAGE, &test_nowait), 0);
    EXPECT_EQ(hf_truncate(file, 0, &test_nowait), 0);
    test_free_bytes(pool); /* collects */
    expect_at_rest(file->vnode);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_unlink(pool, "/file", &test_nowait), 0);
    expect_nothing_left(free_before);
}

static void die_at_each_step(void)
{
    pid_t reader = test_fork(read_in_turn, NULL);

    test_await(&shared->done, 1);
    for (enum step step = 0; step < STEPS; step++) {
        printf("%s: %s\n", engine->name, step_names[step]);
        for (unsigned how = 0; how < 8; how++) {
            struct death death = {step, how & 1, how & 2, how & 4};

            if (!death.detach || (engine->knows_holders && step != WAITS))
                die_once(&death);
        }
    }
    test_raise(&shared->stop, 1);
    test_raise(&shared->turn, test_peek(&shared->turn) + 1);
    test_join(reader);
}

/* --- a size is told with the blocks that go with it, whichever process looks first --- */

static void cut_and_die(void *arg)
{
    struct hf_pool *mine = test_pool_open(POOL_NAME);
    struct hf_file *own = test_file(mine, "/file");
    struct fs_layout l;

    (void)arg;
    EXPECT_EQ(fs_layout_open(&l, own->fs, own->vnode, 0, DAX_LAST, HF_CHANGE_TRUNCATE, &test_wait),
              0);
    EXPECT_EQ(fs_layout_begin(&l), 0);
    EXPECT_EQ(fs_layout_remove(&l, 0, UINT64_MAX), 0);
    EXPECT_EQ(fs_layout_commit(&l, 0), 0);
    die();
}

static void expect_empty(struct hf_pool *in)
{
    struct stat st;

    EXPECT_EQ(hf_stat(in, "/file", 0, &st), 0);
    EXPECT_EQ(st.st_size, 0);
    EXPECT_EQ(st.st_blocks, 0);
}

static void look_only(void *arg)
{
    struct hf_pool *mine = NULL;

    (void)arg;
    EXPECT_EQ(hf_pool_open(test_path(POOL_NAME), HF_OPEN_RDONLY, &mine), 0);
    expect_empty(mine);
    test_pool_close(mine);
}

static void check_size(bool by_reader)
{
    make_file();
    EXPECT(WIFSIGNALED(test_wait_status(test_fork(cut_and_die, NULL))));
    if (by_reader)
        test_join(test_fork(look_only, NULL));
    expect_empty(pool);
    shm_reap(pool->fs.dax.shm);
    test_free_bytes(pool); /* collects, and settles what the dead began */
    EXPECT_EQ(file->vnode->pending_version, 0);
    EXPECT_EQ(file->vnode->size, 0);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_unlink(pool, "/file", &test_nowait), 0);
}

/* --- a dead process keeps no unused vnode by its gate, nor by its mutex once what the death left
 * open is recorded --- */

static void check_forgotten(enum step step)
{
    struct death death = {.step = step, .whole = true};
    struct iovec iov;
    struct hf_pin pin;

    make_file();
    pin = test_pin(file, pinned[0] * TEST_PAGE, TEST_PAGE, HF_PIN_READ, &iov, 1);
    if (step != WAITS)
        EXPECT_EQ(hf_unpin(&pin), 0);
    await_death(&death);
    if (step == WAITS)
        EXPECT_EQ(hf_unpin(&pin), 0);
    EXPECT_EQ(hf_close(file), 0);
    shm_reap(pool->fs.dax.shm); /* the dead has the file open no more */
    dax_shrink(&pool->fs.dax);
    /* A process that waits in L5 may be killed under the mutex or without it. */
    if (step != PAUSED) {
        EXPECT_EQ(fs_sync_all(&pool->fs), 0);
        dax_shrink(&pool->fs.dax);
    }
    EXPECT_EQ(pool->fs.dax.shm->run->vnodes_used, 0);
    EXPECT_EQ(hf_unlink(pool, "/file", &test_nowait), 0);
}

/* --- one that died under the mutex of the only vnode keeps no file from being opened --- */

static void lock_and_die(void *arg)
{
    struct hf_pool *mine = test_pool_open("one");

    (void)arg;
    EXPECT_EQ(dax_lock_any(&mine->fs.dax, test_file(mine, "/file")->vnode), 0);
    die();
}

static void check_last_vnode(void)
{
    const struct hf_pool_options options = {
        .size = sizeof(options), .pool_bytes = TEST_MIB(8), .max_files = 1};
    struct hf_pool *one;
    struct hf_file *other;

    EXPECT_EQ(hf_pool_create(test_path("one"), &options), 0);
    one = test_pool_open("one");
    EXPECT(WIFSIGNALED(test_wait_status(test_fork(lock_and_die, NULL))));
    EXPECT_EQ(hf_open(one, "/other", O_RDWR | O_CREAT, 0644, &other), 0);
    EXPECT_EQ(hf_close(other), 0);
    test_pool_close(one);
    test_pool_check("one");
}

/* --- a writer of percpu-rwsem dies: those that may not sleep come in again --- */

static void begin_to_zap_and_die(void *arg)
{
    struct hf_pool *mine = test_pool_open(POOL_NAME);

    (void)arg;
    EXPECT_EQ(mine->fs.dax.engine->zap_begins(mine->fs.dax.shm), 0);
    die();
}

static void check_writer(void)
{
    struct iovec iov;
    struct hf_pin pin;

    make_file();
    test_wait_status(test_fork(begin_to_zap_and_die, NULL));
    EXPECT_EQ(hf_pin(file, 0, TEST_PAGE, HF_PIN_NOWAIT, &iov, 1, &pin), -EAGAIN);
    shm_reap(pool->fs.dax.shm);
    EXPECT_EQ(hf_pin(file, 0, TEST_PAGE, HF_PIN_NOWAIT, &iov, 1, &pin), 1);
    EXPECT_EQ(hf_unpin(&pin), 0);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_unlink(pool, "/file", &test_nowait), 0);
}

/* --- what a dead process was about to commit, and nobody could find out yet, outlives a change
 * that gives up --- */

static void check_unsettled(void)
{
    struct fs_layout l;

    make_file();
    EXPECT_EQ(fs_layout_open(&l, file->fs, file->vnode, 0, DAX_LAST, HF_CHANGE_PUNCH, &test_wait),
              0);
    file->vnode->pending_version = 1000; /* of somebody else */
    EXPECT_EQ(fs_layout_begin(&l), -EIO);
    EXPECT_EQ(fs_layout_close(&l, -EIO), -EIO);
    EXPECT_EQ(file->vnode->pending_version, 1000);
    shared->gone_to = shared->gone_from;
    expect_pins_seen();
    EXPECT_EQ(file->vnode->pending_version, 0);
    EXPECT_EQ(hf_truncate(file, 0, &test_nowait), 0);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_unlink(pool, "/file", &test_nowait), 0);
}

/* --- of two transactions the second is given up: what it was about to detach is held as before
 * --- */

static void check_second_given_up(void)
{
    const uint64_t pages[] = {FIRST + 1, SECOND + 1};
    struct iovec iov[2];
    struct hf_pin pins[2];
    struct fs_layout l;

    make_file();
    for (unsigned i = 0; i < 2; i++)
        pins[i] = test_pin(file, pages[i] * TEST_PAGE, TEST_PAGE, HF_PIN_WRITE, &iov[i], 1);
    EXPECT_EQ(
        fs_layout_open(&l, file->fs, file->vnode, FIRST, END - 1, HF_CHANGE_PUNCH, &test_detach),
        0);
    EXPECT_EQ(fs_layout_begin(&l), 0);
    EXPECT_EQ(fs_layout_remove(&l, FIRST, SECOND - FIRST), 0);
    EXPECT_EQ(fs_layout_commit(&l, file->vnode->size), 0);
    EXPECT_EQ(fs_layout_begin(&l), 0);
    EXPECT_EQ(fs_layout_remove(&l, SECOND, END - SECOND), 0);
    EXPECT_EQ(fs_layout_close(&l, -EIO), -EIO);
    EXPECT_EQ(test_pins_in_state(pool, HF_PIN_DETACHED), 1);
    EXPECT_EQ(hf_move(file, pages[1] * TEST_PAGE, TEST_PAGE, &test_nowait), -EBUSY);
    for (unsigned i = 0; i < 2; i++) {
        EXPECT(test_page_is(iov[i].iov_base, STAMP, pages[i]));
        EXPECT_EQ(hf_unpin(&pins[i]), 0);
    }
    EXPECT_EQ(hf_truncate(file, 0, &test_nowait), 0);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_unlink(pool, "/file", &test_nowait), 0);
}

static int body(int argc, char **argv)
{
    engine = test_engine(argc > 1 ? argv[1] : "slots");
    shared = test_shared(sizeof(*shared));
    pool = test_engine_pool(engine, POOL_NAME, TEST_MIB(8));
    die_at_each_step();
    check_forgotten(WAITS);
    check_forgotten(PAUSED);
    check_forgotten(LOOKED);
    check_last_vnode();
    check_unsettled();
    if (engine->knows_holders)
        check_second_given_up();
    check_size(false);
    check_size(true);
    if (pool->fs.dax.engine->zap_begins)
        check_writer();
    test_pool_close(pool);
    test_pool_check(POOL_NAME);
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
