/* SPDX-License-Identifier: MIT */
/*
 * Changes of threads of one process that share a transaction: of a durable pool (src/fs/join.c),
 * or, with `memory`, of a pool in memory (src/fs/task.c).
 *
 * usage: join [memory] [together | gives-up | dies | dies-committed | fails | told-first |
 *                       part-kept]
 *
 * Without a scene, threads change files of their own all the time, beside one that makes and
 * deletes files. Each file stays what its thread has made of it, and fsck finds nothing.
 *
 * With one, in a lab build, a change stands before its commit until three others wait behind it.
 *   together        one commit serves all four
 *   gives-up        two of them wait no longer than they were told to, and change nothing
 *   dies            the process dies when all have made their changes: none has returned, and none
 *                   has come to be
 *   dies-committed  it dies after the commit: none has returned, and all have come to be
 *   fails           a change fails that one thread makes for another: each makes its own, alone
 *   told-first      the same as `dies`, with others told before the commit. That must be found
 *   part-kept       the same as `fails`, with what has failed committed. That must be found
 * In memory nobody gives up there, and in a durable pool no thread makes another's change.
 */
#include "support.h"

#ifdef HF_LAB
#include "base/lab.h"
#include "fs/fs.h"
#include "pool/pool.h"
#endif

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#define POOL "pool"
#define PAGES 6u

static struct hf_pool *pool;
static bool in_memory;

static void make_pool(void)
{
    const struct hf_pool_options options = {.size = sizeof(options),
                                            .pool_bytes = TEST_MIB(16),
                                            .flags = in_memory ? 0 : HF_POOL_DURABLE};

    EXPECT_EQ(hf_pool_create(test_path(POOL), &options), 0);
}

static const char *name_of(unsigned i)
{
    static _Thread_local char name[16];

    snprintf(name, sizeof(name), "/%u", i);
    return name;
}

/* ---- threads that change files all the time ---- */

#define THREADS 6u
#define ROUNDS ((test_is_slow() ? 40u : 150u) * (in_memory ? 10 : 1)) /* nothing is synced */

struct changer {
    unsigned number;
    uint64_t seed;
    pthread_t thread;
};

/* What is in a page: its stamp, or 0: zeros. */
struct content {
    uint64_t stamps[2 * PAGES];
    uint64_t pages;
};

static void check_content(struct hf_file *file, const struct content *content)
{
    EXPECT_EQ(test_size(file), content->pages * TEST_PAGE);
    for (uint64_t page = 0; page < content->pages; page++) {
        if (content->stamps[page])
            test_expect_pages(file, content->stamps[page], page, 1);
        else
            test_expect_zeros(file, page * TEST_PAGE, TEST_PAGE);
    }
}

static void resize(struct hf_file *file, struct content *content, uint64_t pages)
{
    EXPECT_EQ(hf_truncate(file, pages * TEST_PAGE, NULL), 0);
    for (uint64_t page = content->pages; page < pages; page++)
        content->stamps[page] = 0;
    content->pages = pages;
}

static void change_once(struct hf_file *file, struct content *content, struct test_rng *rng)
{
    uint64_t page = test_below(rng, 2 * PAGES), stamp = test_random(rng) | 1;

    switch (test_below(rng, 4)) {
    case 0:
        resize(file, content, page);
        break;
    case 1:
        if (page > content->pages)
            resize(file, content, page);
        test_write_pages(file, stamp, page, 1);
        content->stamps[page] = stamp;
        content->pages = page < content->pages ? content->pages : page + 1;
        break;
    default:
        if (page >= content->pages)
            return;
        EXPECT_EQ(hf_fallocate(file, stamp & 2 ? HF_FALLOC_PUNCH_HOLE : HF_FALLOC_ZERO_RANGE,
                               page * TEST_PAGE, TEST_PAGE, NULL),
                  0);
        content->stamps[page] = 0;
    }
}

static void *change_own(void *arg)
{
    const struct changer *self = arg;
    struct test_rng rng = {test_mix(self->seed, self->number)};
    struct hf_file *file = test_file(pool, name_of(self->number));
    struct content content = {.pages = 0};

    for (unsigned round = 0; round < ROUNDS; round++)
        change_once(file, &content, &rng);
    check_content(file, &content);
    EXPECT_EQ(hf_close(file), 0);
    return NULL;
}

static void *make_and_delete(void *unused)
{
    for (unsigned round = 0; round < ROUNDS / 3; round++) {
        EXPECT_EQ(hf_close(test_file_filled(pool, "/other", round + 1, 2)), 0);
        EXPECT_EQ(hf_unlink(pool, "/other", NULL), 0);
    }
    return unused;
}

static int add_extent(void *arg, const struct hf_extent_info *info)
{
    *(uint64_t *)arg += info->len;
    return 0;
}

/* Bytes that count as taken, and that no file has. */
static uint64_t lost_bytes(void)
{
    struct hf_pool_info info = {.size = sizeof(info)};
    uint64_t in_files = 0;

    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    EXPECT_EQ(hf_extents(pool, 0, add_extent, &in_files), 0);
    return info.pool_bytes - info.free_bytes - in_files;
}

static void check_pool(uint64_t lost)
{
    EXPECT_EQ(lost_bytes(), lost);
    test_pool_close(pool);
    test_pool_check(POOL);
}

static void change_all(void)
{
    struct changer changers[THREADS];
    uint64_t seed = test_seed();
    pthread_t other;

    make_pool();
    pool = test_pool_open(POOL);
    EXPECT_EQ(pthread_create(&other, NULL, make_and_delete, NULL), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        changers[i] = (struct changer){.number = i, .seed = seed};
        EXPECT_EQ(pthread_create(&changers[i].thread, NULL, change_own, &changers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(changers[i].thread, NULL);
    pthread_join(other, NULL);
    check_pool(0);
}

#ifdef HF_LAB

/* ---- one that stands, and three behind it ---- */

#define FILES 4u
#define KEPT 2u /* pages, after the change */

static struct hf_file *files[FILES];

static enum hf_lab_point then; /* where it stands once more; HF_LAB_JOINS: nowhere */
static uint32_t stands, go, returned;

static void stand(enum hf_lab_point point)
{
    if (point == HF_LAB_JOINS) {
        test_raise(&stands, 1);
        test_await(&go, 1);
    } else if (point == then) {
        test_raise(&stands, 2);
        test_await(&go, 2);
    }
}

struct cut {
    unsigned number;
    const struct hf_policy *policy;
    int rc; /* that is expected */
    pthread_t thread;
};

static void *cut_file(void *arg)
{
    const struct cut *cut = arg;

    hf_lab_stepped = cut->number == 0;
    EXPECT_EQ(hf_truncate(files[cut->number], KEPT * TEST_PAGE, cut->policy), cut->rc);
    test_count(&returned);
    return NULL;
}

static void fill_files(void)
{
    make_pool();
    pool = test_pool_open(POOL);
    for (unsigned i = 0; i < FILES; i++)
        EXPECT_EQ(hf_close(test_file_filled(pool, name_of(i), i + 1, PAGES)), 0);
    test_pool_close(pool);
}

static void begin_cuts(struct cut cuts[FILES])
{
    pool = test_pool_open(POOL);
    pool->fs.dax.shm->spins = in_memory; /* however many processors there are */
    for (unsigned i = 0; i < FILES; i++)
        files[i] = test_file(pool, name_of(i));
    hf_lab_at = stand;
    hf_lab_break |= HF_LAB_STEPS | HF_LAB_TASKS_STAY;
    for (unsigned i = 0; i < FILES; i++) {
        cuts[i].number = i;
        EXPECT_EQ(pthread_create(&cuts[i].thread, NULL, cut_file, &cuts[i]), 0);
        test_await(&stands, 1);
    }
}

static void await_queue(uint32_t count)
{
    test_await(in_memory ? &pool->fs.tasks_waiting : &pool->fs.joint.count, count);
}

static void end_cuts(struct cut cuts[FILES], uint64_t lost)
{
    test_raise(&go, 2);
    for (unsigned i = 0; i < FILES; i++)
        pthread_join(cuts[i].thread, NULL);
    for (unsigned i = 0; i < FILES; i++) {
        uint64_t pages = cuts[i].rc ? PAGES : KEPT;

        EXPECT_EQ(test_size(files[i]), pages * TEST_PAGE);
        test_expect_pages(files[i], i + 1, 0, pages);
        EXPECT_EQ(hf_close(files[i]), 0);
    }
    check_pool(lost);
}

static uint64_t newest_transaction(void)
{
    struct meta_txn *txn;
    uint64_t number;

    EXPECT_EQ(meta_begin_read(pool->fs.dax.meta, &txn), 0);
    number = meta_snapshot_number(txn);
    meta_end_read(txn);
    return number;
}

static void together(void)
{
    struct cut cuts[FILES] = {0};
    uint64_t before;

    fill_files();
    begin_cuts(cuts);
    await_queue(FILES - 1);
    before = newest_transaction();
    then = HF_LAB_SETTLES;
    test_raise(&go, 1);
    test_await(&stands, 2);
    EXPECT_EQ(newest_transaction(), before + 1);
    EXPECT_EQ(test_peek(&returned), 0);
    end_cuts(cuts, 0);
}

static void gives_up(void)
{
    struct hf_policy deadline = test_deadline_ms(1);
    struct cut cuts[FILES] = {[1] = {.policy = &test_nowait, .rc = -EBUSY},
                              [2] = {.policy = &deadline, .rc = -ETIMEDOUT}};

    fill_files();
    begin_cuts(cuts);
    test_await(&returned, 2);
    await_queue(FILES - 3);
    EXPECT_EQ(test_peek(&pool->fs.joint.count), FILES - 3);
    end_cuts(cuts, 0);
}

/* Blocks that left the files of those that have failed are nobody's where the rest was kept. */
static void fails(bool kept)
{
    struct cut cuts[FILES] = {0};

    fill_files();
    hf_lab_break |= HF_LAB_TASK_FAILS | (kept ? HF_LAB_PART_KEPT : 0);
    begin_cuts(cuts);
    await_queue(FILES - 1);
    test_raise(&go, 1);
    end_cuts(cuts, kept ? (FILES - 1) * (PAGES - KEPT) * TEST_PAGE : 0);
}

static void die_there(void *arg)
{
    struct cut cuts[FILES] = {0};

    (void)arg;
    begin_cuts(cuts);
    await_queue(FILES - 1);
    test_raise(&go, 1);
    test_await(&stands, 2);
    if (hf_lab_break & HF_LAB_TOLD_FIRST)
        test_await(&returned, FILES - 1);
    else
        EXPECT_EQ(test_peek(&returned), 0);
    raise(SIGKILL);
}

static void dies(enum hf_lab_point where, uint64_t pages)
{
    int status;

    fill_files();
    then = where;
    status = test_wait_status(test_fork(die_there, NULL));
    EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    pool = test_pool_open(POOL);
    for (unsigned i = 0; i < FILES; i++) {
        struct hf_file *file = test_file(pool, name_of(i));

        EXPECT_EQ(test_size(file), pages * TEST_PAGE);
        test_expect_pages(file, i + 1, 0, pages);
        EXPECT_EQ(hf_close(file), 0);
    }
    check_pool(0);
}

static int scene(const char *name)
{
    if (strcmp(name, "together") == 0) {
        together();
    } else if (strcmp(name, "gives-up") == 0) {
        gives_up();
    } else if (strcmp(name, "dies") == 0) {
        dies(HF_LAB_JOINED, PAGES);
    } else if (strcmp(name, "dies-committed") == 0) {
        dies(HF_LAB_SETTLES, KEPT);
    } else if (strcmp(name, "fails") == 0 || strcmp(name, "part-kept") == 0) {
        fails(*name == 'p');
    } else {
        EXPECT(strcmp(name, "told-first") == 0);
        hf_lab_break = HF_LAB_TOLD_FIRST;
        dies(HF_LAB_JOINED, PAGES); /* what has returned is not there */
    }
    return 0;
}

#else

static int scene(const char *name)
{
    FAIL("%s needs a lab build", name);
}

#endif

static int run(int argc, char **argv)
{
    in_memory = argc > 1 && strcmp(argv[1], "memory") == 0;
    argc -= in_memory;
    argv += in_memory;
    if (argc > 1)
        return scene(argv[1]);
    change_all();
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, run);
}
