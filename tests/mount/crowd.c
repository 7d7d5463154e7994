/* SPDX-License-Identifier: MIT */
/*
 * The crowd around a program on a mount. Library processes hold pages of the pool's files and look
 * at them, and another one changes the layout of files. They end when standard input has a byte or
 * ends.
 *
 * usage: crowd POOL [PATH ...] [--still PATH ...]
 * A path is a file, or a folder for all that is below it; nobody writes what is --still.
 *
 * What is looked at twice under each read pin:
 *   files of the crowd's own that nobody changes   carry their stamp
 *   own ones that the changer writes, cuts, moves  every byte is their stamp's, or still zero
 *   those that the program may write               no page has marks of a page of the crowd: its
 *                                                  blocks were not given to the crowd, nor the
 *                                                  other way
 *   those that are still                           the bytes are the same both times
 * The changer moves the blocks of the program's files as well: their contents stay.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PINNERS 2
#define OWN_FILES 4   /* of each of the two kinds */
#define OWN_PAGES 128 /* in one of them, at most */
#define HELD_PAGES 16 /* by one pin, at most */
#define FOLDER "/crowd"
#define DEPTH 8   /* of folders that are gone down */
#define WIDTH 200 /* entries of a folder that one is chosen of */

struct shared {
    uint32_t ready, stop;
    uint64_t pins, holes, misses, program_pins, changes, moves;
};

static struct shared *shared;
static const char *pool_path;
static char **paths;
static int path_count, still_from; /* paths from there on are still */

struct crowd {
    struct hf_pool *pool;
    struct test_rng rng;
};

static struct crowd join_crowd(uint64_t seed)
{
    struct crowd crowd = {.rng = {.state = seed}};

    EXPECT_EQ(hf_pool_open(pool_path, 0, &crowd.pool), 0);
    return crowd;
}

/* ------------------------------------------------------------------------- own files ----- */

static const char *own_path(const char *kind, unsigned i)
{
    static char path[64];

    snprintf(path, sizeof(path), FOLDER "/%s-%u", kind, i);
    return path;
}

static uint64_t stamp_of(const char *path)
{
    uint64_t stamp = 0;

    while (*path)
        stamp = test_mix(stamp, (unsigned char)*path++);
    return stamp;
}

static void make_own_files(struct crowd *crowd)
{
    EXPECT_EQ(hf_mkdir(crowd->pool, FOLDER, 0700), 0);
    for (unsigned i = 0; i < OWN_FILES; i++) {
        const char *path = own_path("still", i);

        EXPECT_EQ(hf_close(test_file_filled(crowd->pool, path, stamp_of(path),
                                            test_below(&crowd->rng, OWN_PAGES) + 1)),
                  0);
        EXPECT_EQ(hf_close(test_file(crowd->pool, own_path("changing", i))), 0);
    }
}

/* ---------------------------------------------------------------------- choosing a file -- */

/* An entry of the folder at `path`, which becomes its path; false when it has none. */
static bool go_down(struct crowd *crowd, char *path, size_t size)
{
    uint64_t seen = 0, wanted = test_below(&crowd->rng, WIDTH);
    size_t len = strlen(path);
    struct hf_dirent entry, chosen = {.name = ""};
    struct hf_dir *folder;

    if (hf_opendir(crowd->pool, path, &folder) != 0)
        return false;
    while (seen <= wanted && hf_readdir(folder, &entry) == 1) {
        if (strcmp(entry.name, ".") == 0 || strcmp(entry.name, "..") == 0)
            continue;
        seen++;
        if (test_below(&crowd->rng, seen) == 0)
            chosen = entry;
    }
    EXPECT_EQ(hf_closedir(folder), 0);
    if (seen == 0 || len + 1 + strlen(chosen.name) >= size)
        return false;
    snprintf(path + len, size - len, "/%s", chosen.name);
    return true;
}

/* A regular file at or below the path, or null: names come and go meanwhile. */
static struct hf_file *choose_below(struct crowd *crowd, const char *top)
{
    char path[HF_SYMLINK_MAX + 1];
    struct hf_file *file;
    struct stat st;

    snprintf(path, sizeof(path), "%s", top);
    for (unsigned depth = 0; depth < DEPTH; depth++) {
        if (hf_stat(crowd->pool, path, HF_AT_NOFOLLOW, &st) != 0)
            return NULL;
        if (S_ISREG(st.st_mode))
            return hf_open(crowd->pool, path, O_RDWR | O_NOFOLLOW, 0, &file) == 0 ? file : NULL;
        if (!S_ISDIR(st.st_mode) || !go_down(crowd, path, sizeof(path)))
            return NULL;
    }
    return NULL;
}

/* ------------------------------------------------------------------------------ looking -- */

/* What is under one pin: at most HELD_PAGES pages, the last of them perhaps in part. */
struct held {
    struct hf_pin pin;
    struct iovec iov[HELD_PAGES];
    int pieces;
    uint64_t first_page, len;
};

typedef void look_fn(const unsigned char *page, uint64_t index, size_t len, uint64_t stamp);

static void look_stamped(const unsigned char *page, uint64_t index, size_t len, uint64_t stamp)
{
    EXPECT_EQ(len, TEST_PAGE);
    if (!test_page_is(page, stamp, index))
        FAIL("page %" PRIu64 " of a file that nobody changes has changed", index);
}

static void look_changing(const unsigned char *page, uint64_t index, size_t len, uint64_t stamp)
{
    unsigned char want[TEST_PAGE];

    test_page_fill(want, stamp, index);
    for (size_t i = 0; i < len; i++) {
        unsigned char byte = __atomic_load_n(&page[i], __ATOMIC_RELAXED);

        if (byte != want[i] && byte != 0)
            FAIL("byte %zu of page %" PRIu64 " is neither the changer's nor zero", i, index);
    }
}

/* Is it the first word of a page of the crowd's? */
static bool is_first_word(uint64_t word)
{
    uint64_t page[TEST_PAGE / sizeof(uint64_t)];

    for (unsigned file = 0; file < 2 * OWN_FILES; file++) {
        uint64_t stamp = stamp_of(own_path(file % 2 ? "still" : "changing", file / 2));

        for (uint64_t i = 0; i < OWN_PAGES; i++) {
            test_page_fill(page, stamp, i);
            if (page[0] == word)
                return true;
        }
    }
    return false;
}

/* In a page that test_page_fill() made, also in a piece of it, words differ from their neighbours
 * by a step. They also do so in some tables of programs. */
static void look_foreign(const unsigned char *page, uint64_t index, size_t len, uint64_t stamp)
{
    const uint64_t *words = (const uint64_t *)(const void *)page;
    const uint64_t step = UINT64_C(0x0001000000000000);

    (void)stamp;
    for (size_t i = 1; i < len / sizeof(*words); i++)
        if (words[i] - words[i - 1] == step && is_first_word(words[i] - i * step))
            FAIL("word %zu of page %" PRIu64 " of the program's file is the crowd's", i, index);
}

static void look(const struct held *held, look_fn *look_page, uint64_t stamp)
{
    uint64_t page = held->first_page;

    for (int i = 0; i < held->pieces; i++) {
        const unsigned char *bytes = held->iov[i].iov_base;
        size_t left = held->iov[i].iov_len;

        for (; left > 0; page++) {
            size_t len = left < TEST_PAGE ? left : TEST_PAGE;

            look_page(bytes, page, len, stamp);
            bytes += len;
            left -= len;
        }
    }
}

static size_t copy_held(const struct held *held, unsigned char *copy)
{
    size_t len = 0;

    for (int i = 0; i < held->pieces; i++) {
        memcpy(copy + len, held->iov[i].iov_base, held->iov[i].iov_len);
        len += held->iov[i].iov_len;
    }
    return len;
}

/* Never fills a hole: that would be seen in the file's block count. */
static bool hold(struct crowd *crowd, struct hf_file *file, struct held *held)
{
    uint64_t size = test_size(file), off;
    int rc;

    if (size == 0)
        return false;
    held->first_page = test_below(&crowd->rng, (size + TEST_PAGE - 1) / TEST_PAGE);
    off = held->first_page * TEST_PAGE;
    held->len = (test_below(&crowd->rng, HELD_PAGES) + 1) * TEST_PAGE;
    if (held->len > size - off)
        held->len = size - off;
    rc = hf_pin(file, off, held->len, HF_PIN_READ | HF_PIN_NOFILL, held->iov, HELD_PAGES,
                &held->pin);
    if (rc == -ENODATA)
        test_count64(&shared->holes, 1);
    else if (rc == -EFAULT) /* it was cut meanwhile */
        test_count64(&shared->misses, 1);
    else
        EXPECT_OK(rc);
    held->pieces = rc;
    return rc > 0;
}

static void wait_a_little(struct crowd *crowd)
{
    usleep((useconds_t)test_below(&crowd->rng, 2000));
}

static bool look_twice(struct crowd *crowd, struct hf_file *file, look_fn *look_page,
                       uint64_t stamp)
{
    struct held held;

    if (!hold(crowd, file, &held))
        return false;
    look(&held, look_page, stamp);
    wait_a_little(crowd);
    look(&held, look_page, stamp);
    EXPECT_EQ(hf_unpin(&held.pin), 0);
    return true;
}

static bool compare_twice(struct crowd *crowd, struct hf_file *file)
{
    unsigned char before[HELD_PAGES * TEST_PAGE], after[HELD_PAGES * TEST_PAGE];
    struct held held;
    size_t len;

    if (!hold(crowd, file, &held))
        return false;
    len = copy_held(&held, before);
    EXPECT_EQ(len, held.len);
    wait_a_little(crowd);
    EXPECT_EQ(copy_held(&held, after), len);
    if (memcmp(before, after, len) != 0)
        FAIL("bytes of a file that nobody writes changed under a pin, at page %" PRIu64,
             held.first_page);
    EXPECT_EQ(hf_unpin(&held.pin), 0);
    return true;
}

static void look_at_own(struct crowd *crowd)
{
    bool still = test_chance(&crowd->rng, 50);
    const char *path =
        own_path(still ? "still" : "changing", (unsigned)test_below(&crowd->rng, OWN_FILES));
    struct hf_file *file = test_file(crowd->pool, path);

    test_count64(&shared->pins,
                 look_twice(crowd, file, still ? look_stamped : look_changing, stamp_of(path)));
    EXPECT_EQ(hf_close(file), 0);
}

static void look_at_program(struct crowd *crowd)
{
    int which = (int)test_below(&crowd->rng, (uint64_t)path_count);
    struct hf_file *file = choose_below(crowd, paths[which]);

    if (!file)
        return;
    if (which >= still_from ? compare_twice(crowd, file) : look_twice(crowd, file, look_foreign, 0))
        test_count64(&shared->program_pins, 1);
    EXPECT_EQ(hf_close(file), 0);
}

static void pinner(void *arg)
{
    struct crowd crowd = join_crowd(*(uint64_t *)arg);

    test_await(&shared->ready, 1);
    while (!test_peek(&shared->stop)) {
        if (path_count == 0 || test_chance(&crowd.rng, 30))
            look_at_own(&crowd);
        else
            look_at_program(&crowd);
        wait_a_little(&crowd);
    }
    test_pool_close(crowd.pool);
}

/* ----------------------------------------------------------------------------- changing -- */

static const struct hf_policy *some_policy(struct crowd *crowd)
{
    static const struct hf_policy *const policies[] = {&test_wait, &test_nowait, &test_detach};

    return policies[test_below(&crowd->rng, 3)];
}

/* EBUSY: held, and not to be waited for. ENOSPC: the program has filled the pool. */
static void expect_change(int rc)
{
    if (rc != -EBUSY && rc != -ENOSPC)
        EXPECT_OK(rc);
    test_count64(&shared->changes, rc == 0);
}

static void write_pages(struct hf_file *file, uint64_t stamp, uint64_t first, uint64_t count)
{
    uint64_t page[TEST_PAGE / sizeof(uint64_t)];

    for (uint64_t i = first; i < first + count && i < OWN_PAGES; i++) {
        ssize_t rc;

        test_page_fill(page, stamp, i);
        rc = hf_write(file, page, sizeof(page), i * TEST_PAGE);
        if (rc == -ENOSPC)
            return;
        EXPECT_EQ(rc, sizeof(page));
    }
}

static void change_own(struct crowd *crowd)
{
    const char *path = own_path("changing", (unsigned)test_below(&crowd->rng, OWN_FILES));
    const struct hf_policy *policy = some_policy(crowd);
    uint64_t page = test_below(&crowd->rng, OWN_PAGES), off = page * TEST_PAGE;
    uint64_t len = (test_below(&crowd->rng, 32) + 1) * TEST_PAGE;
    struct hf_file *file = test_file(crowd->pool, path);

    switch (test_below(&crowd->rng, 4)) {
    case 0:
        expect_change(hf_truncate(file, off, policy));
        break;
    case 1:
        expect_change(hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, off, len, policy));
        break;
    case 2:
        expect_change(
            hf_fallocate(file, HF_FALLOC_ZERO_RANGE | HF_FALLOC_KEEP_SIZE, off, len, policy));
        break;
    default:
        write_pages(file, stamp_of(path), page, len / TEST_PAGE);
    }
    EXPECT_EQ(hf_close(file), 0);
}

static void move_program(struct crowd *crowd)
{
    struct hf_file *file =
        choose_below(crowd, paths[test_below(&crowd->rng, (uint64_t)path_count)]);
    uint64_t pages, page, len;
    int rc;

    if (!file)
        return;
    pages = test_size(file) / TEST_PAGE;
    if (pages > 0) {
        page = test_below(&crowd->rng, pages);
        len = test_below(&crowd->rng, pages - page) % HELD_PAGES + 1;
        rc = hf_move(file, page * TEST_PAGE, len * TEST_PAGE, some_policy(crowd));
        if (rc != -EINVAL) /* it was cut meanwhile */
            expect_change(rc);
        test_count64(&shared->moves, rc == 0);
    }
    EXPECT_EQ(hf_close(file), 0);
}

static void changer(void *arg)
{
    struct crowd crowd = join_crowd(*(uint64_t *)arg);

    make_own_files(&crowd);
    test_raise(&shared->ready, 1);
    while (!test_peek(&shared->stop)) {
        if (path_count == 0 || test_chance(&crowd.rng, 60))
            change_own(&crowd);
        else
            move_program(&crowd);
        wait_a_little(&crowd);
    }
    test_pool_close(crowd.pool);
}

/* -------------------------------------------------------------------------- the program -- */

static void read_arguments(int argc, char **argv)
{
    if (argc < 2)
        FAIL("usage: crowd POOL [PATH ...] [--still PATH ...]");
    pool_path = argv[1];
    paths = argv + 2;
    still_from = argc;
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--still") == 0)
            still_from = path_count;
        else
            paths[path_count++] = argv[i];
    }
}

static int run(int argc, char **argv)
{
    static uint64_t seeds[1 + PINNERS];
    uint64_t seed = test_seed();
    pid_t pids[1 + PINNERS];
    char byte;

    read_arguments(argc, argv);
    shared = test_shared(sizeof(*shared));
    for (unsigned i = 0; i <= PINNERS; i++) {
        seeds[i] = test_mix(seed, i);
        pids[i] = test_fork(i == 0 ? changer : pinner, &seeds[i]);
    }
    EXPECT(read(STDIN_FILENO, &byte, 1) >= 0);
    test_raise(&shared->stop, 1);
    for (unsigned i = 0; i <= PINNERS; i++)
        test_join(pids[i]);
    printf("the crowd: %" PRIu64 " pins of its own files, %" PRIu64 " of the program's; %" PRIu64
           " layout changes, %" PRIu64 " moves of "
           "the program's; %" PRIu64 " holes, %" PRIu64 " cut before\n",
           shared->pins, shared->program_pins, shared->changes, shared->moves, shared->holes,
           shared->misses);
    EXPECT(shared->pins > 0 && shared->changes > 0);
    EXPECT(path_count == 0 || shared->program_pins > 0);
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, run);
}
