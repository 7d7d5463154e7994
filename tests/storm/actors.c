/* SPDX-License-Identifier: MIT */
/*
 * Processes that come to the pool besides the workers. One only reads, for as long as the storm
 * goes on or as the first to attach. One copies the pool while it is in use, and opens the copy
 * beside it. Others are strangers, from other namespaces or of another user of the pool's group. Or
 * they have another /dev/shm, where the tables of a pool on a disk are not.
 */
#include "storm.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- a process that only reads --- */

/* What it finds in anybody's file is that file's; the whole of it when nobody works. */
static void read_file(struct hf_pool *pool, unsigned worker, unsigned number, unsigned name)
{
    static char pages[STORM_PAGES][HF_BLOCK_BYTES];
    struct hf_file *file;
    char path[64];
    ssize_t got;
    int rc;

    storm_file_path(worker, number, name, path);
    rc = (int)UNTIL_DONE(hf_open(pool, path, O_RDONLY, 0, &file));
    if (rc == -ENOENT)
        return;
    EXPECT_EQ(rc, 0);
    got = UNTIL_DONE(hf_read(file, pages, sizeof(pages), 0));
    EXPECT_OK(got);
    for (unsigned i = 0; (size_t)got >= (i + 1) * sizeof(pages[0]); i++)
        if (!storm_belongs(pages[i], worker, number))
            FAIL("page %u of file %u of worker %u is another's", i, number, worker);
    EXPECT_EQ(hf_close(file), 0);
}

static void pin_page(struct hf_pool *pool, unsigned worker, unsigned number, unsigned page)
{
    struct hf_file *file;
    struct hf_pin pin;
    struct iovec iov;
    char path[64];
    int rc;

    storm_file_path(worker, number, page % 2, path);
    if (hf_open(pool, path, O_RDONLY, 0, &file) != 0)
        return;
    rc = hf_pin(file, page * TEST_PAGE, 1, HF_PIN_NOWAIT, &iov, 1, &pin);
    if (rc > 0) {
        for (unsigned i = 0; i < 20; i++)
            if (!storm_belongs(iov.iov_base, worker, number))
                FAIL("the page under a pin of file %u of worker %u went to another", number,
                     worker);
        EXPECT_EQ(hf_unpin(&pin), 0);
    } else { /* a reader does not fill a hole */
        EXPECT(rc == -EFAULT || rc == -EAGAIN || rc == -EROFS || storm_goes_again(rc));
    }
    EXPECT_EQ(hf_close(file), 0);
}

static struct hf_pool *open_to_read(void)
{
    struct hf_pool *pool = NULL;

    EXPECT_EQ(hf_pool_open(test_path(STORM_POOL), HF_OPEN_RDONLY, &pool), 0);
    return pool;
}

static void read_all(struct storm *storm, struct hf_pool *pool)
{
    for (unsigned worker = 0; worker < storm->worker_count; worker++)
        for (unsigned number = 0; number < STORM_FILES; number++)
            for (unsigned name = 0; name < 2; name++)
                read_file(pool, worker, number, name);
}

void storm_read(struct storm *storm)
{
    struct test_rng rng = {test_mix(storm->seed, getpid())};
    struct hf_pool *pool = open_to_read();

    for (;; test_count64(&storm->reads, 1)) {
        uint32_t asked = test_peek(&storm->reader_asked);
        unsigned worker = (unsigned)test_below(&rng, storm->worker_count);
        unsigned number = (unsigned)test_below(&rng, STORM_FILES);

        if (asked != test_peek(&storm->reader_came)) {
            read_all(storm, pool);
            test_raise(&storm->reader_came, asked);
        }
        read_file(pool, worker, number, (unsigned)test_below(&rng, 2));
        pin_page(pool, worker, number, (unsigned)test_below(&rng, STORM_PAGES));
    }
}

void storm_read_first(struct storm *storm)
{
    struct hf_pool *pool = open_to_read();

    read_all(storm, pool);
    test_pool_close(pool);
}

/* --- a process that copies --- */

static void run(const char *const argv[])
{
    pid_t pid = fork();
    int status;

    EXPECT_OK(pid);
    if (pid == 0) {
        execvp(argv[0], (char *const *)argv);
        _exit(127);
    }
    status = test_wait_status(pid);
    /* what is copied comes and goes */
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) < 126);
}

/* A copy of what is being written may be damaged; then it says so. */
static void use_copy(void *arg)
{
    struct hf_pool *pool = NULL;
    struct hf_file *file;

    (void)arg;
    if (hf_pool_open(test_path(STORM_COPY), 0, &pool) != 0)
        return;
    if (hf_open(pool, "/of-the-copy", O_RDWR | O_CREAT, 0600, &file) == 0) {
        hf_write(file, "copy", 4, 0);
        hf_close(file);
    }
    hf_pool_close(pool);
}

static int count_own(void *arg, const struct hf_pin_info *info)
{
    *(unsigned *)arg += info->pid == getppid();
    return 0;
}

/* A process that attaches to the original still meets its pins, and finds nothing of the copy. */
static void see_original(void *arg)
{
    struct hf_pool *pool = test_pool_open(STORM_POOL);
    struct storm *storm = arg;
    unsigned pins = 0;
    struct hf_file *file = test_file(pool, "/pinned-by-parent");

    if (storm->knows_holders) {
        EXPECT_EQ(hf_pins(pool, count_own, &pins), 0);
        EXPECT_EQ(pins, 1);
    }
    EXPECT_EQ(hf_truncate(file, 0, &test_nowait), -EBUSY);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_open(pool, "/of-the-copy", O_RDONLY, 0, &file), -ENOENT);
    test_pool_close(pool);
}

void storm_copy(struct storm *storm, struct hf_pool *pool)
{
    struct hf_file *file;
    struct hf_pin pin;
    struct iovec iov;
    char from[512], to[512];

    EXPECT_EQ(UNTIL_DONE(hf_open(pool, "/pinned-by-parent", O_RDWR | O_CREAT, 0644, &file)), 0);
    snprintf(from, sizeof(from), "%s/.", test_path(STORM_POOL));
    snprintf(to, sizeof(to), "%s", test_path(STORM_COPY));
    EXPECT_EQ(hf_truncate(file, TEST_PAGE, NULL), 0);
    pin = test_pin(file, 0, TEST_PAGE, HF_PIN_READ, &iov, 1);
    run((const char *const[]){"cp", "-a", "--sparse=always", from, to, NULL});
    test_wait_status(test_fork(use_copy, NULL)); /* however it ended: it is damaged */
    test_join(test_fork(see_original, storm));
    run((const char *const[]){"rm", "-rf", to, NULL});
    EXPECT_EQ(hf_unpin(&pin), 0);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_unlink(pool, "/pinned-by-parent", NULL), 0);
    storm->copies++;
}

/* --- strangers --- */

#define STRANGER_ROUNDS 200
#define NOBODY 65534

struct stranger {
    struct storm *storm;
    const char *reason; /* why it is turned away */
    unsigned container;
    unsigned lives_us;
    uint64_t seed;
};

static void change_own_file(struct hf_pool *pool, struct test_rng *rng)
{
    static char pages[4][HF_BLOCK_BYTES];
    struct hf_file *file;

    memset(pages, 's', sizeof(pages));
    EXPECT_EQ(UNTIL_DONE(hf_open(pool, "/stranger", O_RDWR | O_CREAT, 0660, &file)), 0);
    EXPECT_EQ(UNTIL_DONE(hf_write(file, pages, sizeof(pages), 0)), sizeof(pages));
    EXPECT_EQ(UNTIL_DONE(hf_move(file, 0, sizeof(pages), NULL)), 0);
    EXPECT_EQ(UNTIL_DONE(hf_truncate(file, test_below(rng, sizeof(pages)), NULL)), 0);
    if (test_chance(rng, 50))
        EXPECT_EQ(UNTIL_DONE(hf_unlink(pool, "/stranger", NULL)), 0);
    EXPECT_EQ(hf_close(file), 0);
}

static void work_as_stranger(void *arg)
{
    struct stranger *stranger = arg;
    struct storm *storm = stranger->storm;
    struct test_rng rng = {stranger->seed};
    struct hf_pool *pool;

    EXPECT_EQ(hf_pool_open(test_path(STORM_POOL), 0, &pool), 0); /* the parent has noted it */
    for (unsigned round = 0; round < STRANGER_ROUNDS; round++) {
        read_file(pool, (unsigned)test_below(&rng, storm->worker_count),
                  (unsigned)test_below(&rng, STORM_FILES), (unsigned)test_below(&rng, 2));
        change_own_file(pool, &rng);
    }
    test_pool_close(pool);
}

/* It may have come to its end by then. */
static void let_live(struct stranger *stranger)
{
    pid_t pid = test_fork(work_as_stranger, stranger);
    int status;

    usleep(stranger->lives_us);
    kill(pid, SIGKILL);
    status = test_wait_status(pid);
    if (WIFSIGNALED(status) ? WTERMSIG(status) != SIGKILL : WEXITSTATUS(status) != 0)
        FAIL("a stranger ended with status %#x", (unsigned)status);
}

static void turn_away(void *arg)
{
    struct stranger *stranger = arg;
    struct hf_pool *pool;

    EXPECT_EQ(hf_pool_open(test_path(STORM_POOL), 0, &pool), -EBUSY);
    EXPECT(strstr(hf_strerror_detail(), stranger->reason));
    test_count64(&stranger->storm->turned_away, 1);
}

static void with_other_numbers(void *arg)
{
    struct stranger *stranger = arg;

    storm_enter_container(stranger->storm, stranger->container);
    if (unshare(CLONE_NEWPID) == 0) /* its children are in it */
        test_join(test_fork(turn_away, arg));
}

static void with_other_clock(void *arg)
{
    ((struct stranger *)arg)->reason = "time namespace";
    if (unshare(CLONE_NEWTIME) == 0)
        test_join(test_fork(turn_away, arg));
}

static void with_other_memory(void *arg)
{
    ((struct stranger *)arg)->reason = "another /dev/shm";
    if (unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
        mount("storm", "/dev/shm", "tmpfs", 0, NULL) == 0)
        turn_away(arg);
}

static void as_user_of_group(void *arg)
{
    const gid_t group = getgid();

    if (setgroups(1, &group) != 0) /* root of a container may not */
        return;
    EXPECT_EQ(setresgid(NOBODY, NOBODY, NOBODY), 0);
    EXPECT_EQ(setresuid(NOBODY, NOBODY, NOBODY), 0);
    test_count64(&((struct stranger *)arg)->storm->strangers, 1);
    let_live(arg);
}

static void alone_in_namespaces(void *arg)
{
    struct stranger *stranger = arg;

    storm_enter_container(stranger->storm, stranger->container);
    if (unshare(CLONE_NEWPID | CLONE_NEWTIME) == 0)
        let_live(arg);
}

static struct stranger new_stranger(struct storm *storm, struct test_rng *rng)
{
    return (struct stranger){.storm = storm,
                             .reason = "pid namespace",
                             .container = storm->containers[0] ? (unsigned)test_below(rng, 2) : 0,
                             .lives_us = (unsigned)test_below(rng, 20000),
                             .seed = test_random(rng)};
}

void storm_stranger(struct storm *storm, struct test_rng *rng)
{
    static void (*const kinds[])(void *) = {with_other_numbers, as_user_of_group, with_other_clock,
                                            with_other_memory};
    struct stranger stranger = new_stranger(storm, rng);

    test_join(test_fork(kinds[test_below(rng, storm_is_on_disk() ? 4 : 3)], &stranger));
}

void storm_stranger_alone(struct storm *storm, struct test_rng *rng)
{
    struct stranger stranger = new_stranger(storm, rng);

    test_join(test_fork(alone_in_namespaces, &stranger));
    storm->alone++;
}
