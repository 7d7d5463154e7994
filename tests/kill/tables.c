/* SPDX-License-Identifier: MIT */
/*
 * tables [ACT]
 *
 * A process is killed after each change of what it shares, and takes no room in the tables with
 * it. A process that lives can have all of max_files open at once, and all of max_leases, and can
 * record what it knows.
 */
#include "support.h"
#include "trap.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define POOL "pool"
#define FILES 6u
#define LEASES 12u
#define PAGES 4u

static const char *name;
static struct trap_log *record;
static uint64_t kill_at;

/* ---- what the one that is killed does; /a is open in the one that lives ---- */

static void create(struct hf_pool *pool)
{
    struct hf_file *file;

    EXPECT_EQ(hf_open(pool, "/new", O_RDWR | O_CREAT | O_EXCL, 0600, &file), 0);
}

static void open_first(struct hf_pool *pool)
{
    struct hf_file *file;

    EXPECT_EQ(hf_open(pool, "/b", O_RDWR, 0, &file), 0);
}

static void unlink_closed(struct hf_pool *pool)
{
    EXPECT_EQ(hf_unlink(pool, "/b", &test_wait), 0);
}

static void unlink_own(struct hf_pool *pool)
{
    struct hf_file *file = test_file(pool, "/b");

    EXPECT_EQ(hf_unlink(pool, "/b", &test_wait), 0);
    EXPECT_EQ(hf_close(file), 0);
}

static void rename_over(struct hf_pool *pool)
{
    EXPECT_EQ(hf_rename(pool, "/c", "/b", 0), 0);
}

static void write_and_close(struct hf_pool *pool)
{
    struct hf_file *file = test_file(pool, "/b");

    EXPECT_EQ(hf_append(file, "more", 4, NULL), 4);
    EXPECT_EQ(hf_close(file), 0);
}

/* Takes holds that others have released out of the tree. */
static void truncate_released(struct hf_pool *pool)
{
    struct hf_file *file = test_file(pool, "/a");

    EXPECT_EQ(hf_truncate(file, TEST_PAGE, &test_wait), 0);
}

static void take_and_release(struct hf_pool *pool)
{
    struct hf_file *file = test_file(pool, "/a");
    struct hf_lease leases[3];
    struct iovec iov;

    for (unsigned i = 0; i < 3; i++)
        leases[i] = test_lease(file, i * TEST_PAGE, TEST_PAGE, NULL, &iov, 1);
    for (unsigned i = 0; i < 3; i++)
        EXPECT_EQ(hf_lease_release(&leases[i]), 0);
    leases[0] = test_lease(file, 0, TEST_PAGE, NULL, &iov, 1);
}

static void detach(struct hf_pool *pool)
{
    struct hf_file *file = test_file(pool, "/a");
    struct iovec iov;

    test_lease(file, 0, TEST_PAGE, NULL, &iov, 1);
    EXPECT_EQ(hf_truncate(file, 0, &test_detach), 0);
}

static const struct act {
    const char *name;
    void (*body)(struct hf_pool *pool);
} acts[] = {
    {"create", create},
    {"open", open_first},
    {"unlink", unlink_closed},
    {"unlink, open", unlink_own},
    {"rename over", rename_over},
    {"write", write_and_close},
    {"truncate, holds released", truncate_released},
    {"take and release", take_and_release},
    {"detach", detach},
};

static void act_and_die(void *arg)
{
    const struct act *act = arg;
    struct hf_pool *pool = test_pool_open(POOL);

    trap_arm(test_path(POOL), kill_at, kill_at == TRAP_NEVER ? record : NULL,
             getenv("TABLES_SHOW") != NULL);
    act->body(pool);
    trap_disarm();
    _exit(0);
}

/* ---- what the one that lives finds ---- */

static void open_all(struct hf_pool *pool)
{
    struct hf_file *files[FILES];
    char path[16];

    for (unsigned i = 0; i < FILES; i++) {
        snprintf(path, sizeof(path), "/file-%u", i);
        files[i] = test_file(pool, path);
    }
    for (unsigned i = 0; i < FILES; i++)
        EXPECT_EQ(hf_close(files[i]), 0);
}

static void lease_all(struct hf_file *file, unsigned count)
{
    struct hf_lease leases[LEASES];
    struct iovec iov;

    for (unsigned i = 0; i < count; i++)
        leases[i] = test_lease(file, i % PAGES * TEST_PAGE, TEST_PAGE, NULL, &iov, 1);
    for (unsigned i = 0; i < count; i++)
        EXPECT_EQ(hf_lease_release(&leases[i]), 0);
}

static void try_this(const struct act *act)
{
    const struct hf_pool_options options = {.size = sizeof(options),
                                            .pool_bytes = TEST_MIB(8),
                                            .max_processes = 4,
                                            .max_threads = 8,
                                            .max_files = FILES,
                                            .max_leases = LEASES};
    struct hf_pool *pool;
    struct hf_file *file;
    int status;

    EXPECT_EQ(hf_pool_create(test_path(POOL), &options), 0);
    pool = test_pool_open(POOL);
    EXPECT_EQ(hf_close(test_file_filled(pool, "/b", 2, PAGES)), 0);
    EXPECT_EQ(hf_close(test_file_filled(pool, "/c", 3, PAGES)), 0);
    test_pool_close(pool); /* no file has an entry any more */
    pool = test_pool_open(POOL);
    file = test_file_filled(pool, "/a", 1, PAGES);
    lease_all(file, 5);
    status = test_wait_status(test_fork(act_and_die, (void *)act));
    test_write_pages(file, 1, 0, PAGES);
    lease_all(file, LEASES);
    EXPECT_EQ(hf_close(file), 0);
    open_all(pool);
    test_pool_close(pool);
    test_pool_check(POOL);
    test_remove_tree(test_path(POOL));
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        EXPECT_EQ(status, 0); /* over before, as the number of changes differs by a few */
}

/* LMDB's pages that nothing leads to yet, and its table of readers, say nothing of our tables. */
static bool worth_it(uint64_t change)
{
    return record->classes[change] != TRAP_LMDB && record->classes[change] != TRAP_READERS;
}

static void die_at_each(const struct act *act)
{
    unsigned deaths = 0;
    uint64_t count;

    name = act->name;
    kill_at = TRAP_NEVER;
    try_this(act);
    count = record->count;
    for (kill_at = 0; kill_at < count; kill_at++) {
        if (!worth_it(kill_at))
            continue;
        try_this(act);
        deaths++;
    }
    printf("%s: %" PRIu64 " changes; killed after %u of them\n", name, count, deaths);
    fflush(stdout);
    EXPECT(deaths > 10);
}

static void show(void)
{
    fprintf(stderr, "%s: killed after change %" PRIu64 "\n", name, kill_at);
}

static int tables(int argc, char **argv)
{
    if (!trap_possible())
        test_skip("no store can be trapped here");
    record = test_shared(sizeof(*record));
    test_on_failure = show;
    for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++)
        if (argc < 2 || strcmp(argv[1], acts[i].name) == 0)
            die_at_each(&acts[i]);
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, tables);
}
