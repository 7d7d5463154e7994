/* SPDX-License-Identifier: MIT */
/*
 * A collapse, an insert, a punch and a truncate of a file with many extents go in steps.
 * Between each two of them another process changes names, and looks at the file. It finds it as it
 * was before or as it is after. The changer is killed at each step in turn. Then the file is as
 * after the change, and no block is lost. A process that was attached finds that, and one that
 * attaches to read or to write. So does fsck. Pins that the change detached keep their bytes. So
 * does a file that shares the blocks, when the pool is filled after the kill.
 */
#include "steps.h"

#include "base/lab.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STEP STEPS_EXTENTS
#define EXTENTS (4 * STEP + 10)
#define MANY 20000u /* once for each change */
#define FROM 5u     /* the first page that is changed, and how many */
#define COUNT (2 * STEP + 100)

enum change { COLLAPSE, INSERT, PUNCH, TRUNCATE, CHANGES };

struct shared {
    struct steps_words words;
    enum change doing;
    unsigned extents;
};
static struct shared *shared;
static struct hf_pool *pool;
static unsigned steps, stop_at, extents;
static enum change doing;
static const struct hf_policy *policy;

static uint64_t made(uint64_t page)
{
    return steps_mark(page, extents);
}

static uint64_t size_after(void)
{
    uint64_t size = 2 * (uint64_t)extents * TEST_PAGE;

    if (doing == COLLAPSE)
        return size - COUNT * TEST_PAGE;
    if (doing == INSERT)
        return size + COUNT * TEST_PAGE;
    return doing == TRUNCATE ? FROM * TEST_PAGE : size;
}

static uint64_t after(uint64_t page)
{
    if (page < FROM)
        return made(page);
    if (doing == COLLAPSE)
        return made(page + COUNT);
    if (doing == INSERT)
        return page < FROM + COUNT ? 0 : made(page - COUNT);
    return doing == TRUNCATE || page < FROM + COUNT ? 0 : made(page);
}

static uint64_t mark_at(struct hf_file *file, uint64_t page)
{
    uint64_t mark = 0;

    EXPECT_EQ(hf_read(file, &mark, sizeof mark, page * TEST_PAGE), sizeof mark);
    return mark;
}

static void expect_after(struct hf_file *file)
{
    struct stat st;
    uint64_t data;

    EXPECT_EQ(hf_fstat(file, &st), 0);
    EXPECT_EQ((uint64_t)st.st_size, size_after());
    for (uint64_t page = 0; page<size_after() / TEST_PAGE; page += page> 60 ? 31 : 1)
        EXPECT_EQ(mark_at(file, page), after(page));
    if (doing == TRUNCATE)
        return;
    EXPECT_EQ(hf_seek(file, (size_after() / TEST_PAGE - 2) * TEST_PAGE, HF_SEEK_DATA, &data), 0);
    EXPECT_EQ(mark_at(file, data / TEST_PAGE) != 0, 1);
}

static int list_one(void *arg, const struct hf_extent_info *info)
{
    const uint64_t *ino = arg;

    if (info->ino == *ino && !info->detached)
        for (uint64_t at = 0; at < info->len; at += TEST_PAGE) {
            uint64_t page = (info->off + at) / TEST_PAGE;

            EXPECT(after(page) != 0);
        }
    return 0;
}

/* By snapshots alone: the changer has the file. */
static void look_beside(struct hf_pool *mine)
{
    struct stat st;

    EXPECT_EQ(hf_stat(mine, "/many", 0, &st), 0);
    EXPECT_EQ((uint64_t)st.st_size, size_after());
    EXPECT_EQ(hf_extents(mine, st.st_ino, list_one, &st.st_ino), 0);
}

static void change_names(void *arg)
{
    (void)arg;
    doing = shared->doing;
    extents = shared->extents;
    steps_answer(&shared->words, look_beside);
}

static void at_step(enum hf_lab_point point)
{
    if (point != HF_LAB_DELETES)
        return;
    if (++steps == stop_at)
        steps_stand(&shared->words);
    if (!stop_at)
        steps_ask(&shared->words);
}

static struct hf_file *make_many(void)
{
    return steps_make_many(pool, extents);
}

static int change_it(struct hf_file *file)
{
    static const int flags[] = {
        [COLLAPSE] = HF_FALLOC_COLLAPSE_RANGE,
        [INSERT] = HF_FALLOC_INSERT_RANGE,
        [PUNCH] = HF_FALLOC_PUNCH_HOLE,
    };

    if (doing == TRUNCATE)
        return hf_truncate(file, FROM * TEST_PAGE, policy);
    return hf_fallocate(file, (uint32_t)flags[doing], FROM * TEST_PAGE, COUNT * TEST_PAGE, policy);
}

static void reset(enum change change, unsigned count)
{
    memset(shared, 0, sizeof *shared);
    shared->doing = doing = change;
    shared->extents = extents = count;
    steps = stop_at = 0;
    policy = NULL;
}

/* All of its blocks have come back. */
static void remove_it(uint64_t free_before)
{
    EXPECT_EQ(hf_unlink(pool, "/many", NULL), 0);
    EXPECT_EQ(test_free_bytes(pool), free_before);
}

/* Returns how many steps there were. */
static unsigned with_others(enum change change, unsigned count)
{
    uint64_t free_before = test_free_bytes(pool);
    struct hf_file *file;
    unsigned taken;
    pid_t pid;

    reset(change, count);
    file = make_many();
    pid = test_fork(change_names, NULL);
    hf_lab_stepped = true;
    EXPECT_EQ(change_it(file), 0);
    hf_lab_stepped = false;
    taken = steps;
    EXPECT_EQ(test_peek(&shared->words.done), taken);
    test_kill(pid);
    expect_after(file);
    EXPECT_EQ(hf_close(file), 0);
    remove_it(free_before);
    return taken;
}

/* ---- killed ---- */

static void change_and_stop(void *arg)
{
    struct hf_file *file;

    (void)arg;
    pool = test_pool_open("pool");
    file = test_file(pool, "/many");
    steps = 0;
    hf_lab_stepped = true;
    change_it(file);
}

static void kill_it(unsigned at)
{
    pid_t pid;

    stop_at = at;
    pid = test_fork(change_and_stop, NULL);
    test_await(&shared->words.stands, 1);
    test_kill(pid);
}

static void look_as_reader(void)
{
    struct hf_pool *reader;
    struct hf_file *file;

    EXPECT_EQ(hf_pool_open(test_path("pool"), HF_OPEN_RDONLY, &reader), 0);
    EXPECT_EQ(hf_open(reader, "/many", O_RDONLY, 0, &file), 0);
    expect_after(file);
    look_beside(reader);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_pool_close(reader), 0);
}

static void repair(void)
{
    struct hf_check_result result = {.size = sizeof result};

    EXPECT_EQ(hf_pool_check(test_path("pool"), HF_CHECK_REPAIR, NULL, NULL, NULL, &result), 0);
    EXPECT_EQ(result.problems, 0);
}

static void finds_it(void)
{
    struct hf_file *file = test_file(pool, "/many");

    expect_after(file);
    EXPECT_EQ(hf_close(file), 0);
}

/* The changer is killed at that step, with this process attached or not. */
static void is_killed(enum change change, unsigned at, bool attached)
{
    uint64_t free_before = test_free_bytes(pool);

    reset(change, EXTENTS);
    EXPECT_EQ(hf_close(make_many()), 0);
    if (!attached)
        test_pool_close(pool);
    kill_it(at);
    if (!attached) {
        test_pool_check("pool");
        look_as_reader();
        repair();
        look_as_reader();
        pool = test_pool_open("pool");
    }
    finds_it();
    remove_it(free_before);
    test_pool_close(pool);
    test_pool_check("pool");
    pool = test_pool_open("pool");
}

/* ---- killed, where others have the blocks ---- */

#define PINS 2u
static const uint64_t pinned[PINS] = {FROM + 1, FROM + COUNT + 1};

/* Each block that is free is in this file for a while. */
static void fill_up(void)
{
    struct hf_file *file = test_file(pool, "/fill");
    char page[TEST_PAGE];

    memset(page, 0xee, sizeof page);
    while (hf_append(file, page, sizeof page, NULL) > 0)
        ;
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_unlink(pool, "/fill", NULL), 0);
}

static void is_killed_under_pins(enum change change, unsigned at)
{
    uint64_t free_before = test_free_bytes(pool);
    struct hf_file *file;
    struct iovec iovs[PINS];
    struct hf_pin pins[PINS];

    reset(change, EXTENTS);
    policy = &test_detach;
    file = make_many();
    for (unsigned i = 0; i < PINS; i++)
        pins[i] = test_pin(file, pinned[i] * TEST_PAGE, TEST_PAGE, HF_PIN_READ, &iovs[i], 1);
    kill_it(at);
    expect_after(file);
    fill_up();
    expect_after(file);
    for (unsigned i = 0; i < PINS; i++) {
        EXPECT_EQ(*(uint64_t *)iovs[i].iov_base, made(pinned[i]));
        EXPECT_EQ(hf_unpin(&pins[i]), 0);
    }
    EXPECT_EQ(hf_close(file), 0);
    fill_up(); /* what the pins held comes back */
    remove_it(free_before);
}

static void is_killed_beside_a_clone(enum change change, unsigned at)
{
    uint64_t free_before = test_free_bytes(pool);
    struct hf_file *file, *clone;

    reset(change, EXTENTS);
    file = make_many();
    clone = test_file(pool, "/clone");
    EXPECT_EQ(hf_clone_range(file, 0, clone, 0, 2 * extents * TEST_PAGE, NULL), 0);
    kill_it(at);
    expect_after(file);
    fill_up();
    expect_after(file);
    EXPECT_EQ(hf_close(file), 0);
    for (uint64_t page = 0; page < 2 * extents; page++)
        EXPECT_EQ(mark_at(clone, page), made(page));
    EXPECT_EQ(hf_close(clone), 0);
    EXPECT_EQ(hf_unlink(pool, "/clone", NULL), 0);
    remove_it(free_before);
}

static void is_killed_beside_others(enum change change)
{
    is_killed_under_pins(change, 2);
    is_killed_beside_a_clone(change, 2);
    test_pool_close(pool);
    test_pool_check("pool");
    pool = test_pool_open("pool");
}

static int body(int argc, char **argv)
{
    unsigned taken[CHANGES];

    hf_lab_at = at_step;
    hf_lab_break = HF_LAB_STEPS;
    shared = test_shared(sizeof *shared);
    pool = test_pool_new("pool", TEST_MIB(256));
    if (argc > 1) {
        bool unseen = strcmp(argv[1], "unseen") == 0;

        hf_lab_break |= unseen ? HF_LAB_INTENT_UNSEEN : HF_LAB_INTENT_UNTOLD;
        /* The word is in the segment of those attached, and hides the steps from the changer. */
        unseen ? is_killed(COLLAPSE, 2, false) : is_killed(COLLAPSE, 1, true);
        return 0;
    }
    for (enum change change = 0; change < CHANGES; change++) {
        taken[change] = with_others(change, EXTENTS);
        EXPECT(taken[change] >= 2);
    }
    EXPECT(with_others(COLLAPSE, MANY) >= MANY / STEP);
    for (enum change change = 0; change < CHANGES; change++)
        for (unsigned at = 1; at <= taken[change]; at++) {
            is_killed(change, at, false);
            is_killed(change, at, true);
        }
    for (enum change change = 0; change < CHANGES; change++)
        is_killed_beside_others(change);
    test_pool_close(pool);
    test_pool_check("pool");
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
