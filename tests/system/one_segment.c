/* SPDX-License-Identifier: MIT */
/*
 * A pool has one run segment, also when it is copied or moved while in use, seen through another
 * mount, or used by several users. That stays so when the file of the segment is taken away. A
 * process that attaches finds the pins of the others, or is told why it cannot. Nor does a segment
 * of another version become a second one.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define PAGES 4
#define TMPFS 0x01021994

static uint32_t *holding; /* processes that hold a pin */

static bool on_disk(void)
{
    struct statfs fs;

    EXPECT_EQ(statfs(test_folder(), &fs), 0);
    return fs.f_type != TMPFS;
}

static void run(const char *command)
{
    int status = system(command);

    if (status)
        FAIL("%s: status %d", command, status);
}

static void hold(void *arg)
{
    struct hf_pool *pool = test_pool_open(arg);
    struct hf_file *file = test_file(pool, "file");
    struct iovec iov[PAGES];

    test_pin(file, 0, PAGES * TEST_PAGE, 0, iov, PAGES);
    test_count(holding);
    pause();
}

static pid_t holder(const char *name)
{
    uint32_t before = *holding;
    pid_t pid = test_fork(hold, (void *)(uintptr_t)name);

    test_await(holding, before + 1);
    return pid;
}

static void make(const char *name)
{
    struct hf_pool *pool = test_pool_new(name, TEST_MIB(8));

    EXPECT_EQ(hf_close(test_file_filled(pool, "file", 7, PAGES)), 0);
    test_pool_close(pool);
}

/* What a truncate gives that does not wait. */
static int cut(const char *name)
{
    struct hf_pool *pool = test_pool_open(name);
    struct hf_file *file = test_file(pool, "file");
    int rc = hf_truncate(file, 0, &test_nowait);

    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
    return rc;
}

static int try_open(const char *name)
{
    struct hf_pool *pool;
    int rc = hf_pool_open(test_path(name), 0, &pool);

    if (rc == 0)
        test_pool_close(pool);
    return rc;
}

/* The copy is a pool of its own, and both stay usable. */
static void copied(void)
{
    struct hf_pool *copy;
    char command[512];
    pid_t pid;

    make("original");
    pid = holder("original");
    snprintf(command, sizeof(command), "cp -a %s %s", test_path("original"), test_path("copy"));
    run(command);
    copy = test_pool_open("copy");
    EXPECT_EQ(cut("original"), -EBUSY);
    EXPECT_EQ(cut("copy"), 0);
    EXPECT_EQ(cut("original"), -EBUSY);
    test_pool_close(copy);
    EXPECT_EQ(cut("original"), -EBUSY);
    test_kill(pid);
    EXPECT_EQ(cut("original"), 0);
    test_pool_check("original");
    test_pool_check("copy");
}

/* Its segment moves with it, and the last to leave does not take away what has come into the old
 * place. */
static void moved(void)
{
    pid_t first, second;

    make("here");
    first = holder("here");
    EXPECT_EQ(rename(test_path("here"), test_path("there")), 0);
    make("here");
    second = holder("here");
    EXPECT_EQ(cut("there"), -EBUSY);
    EXPECT_EQ(cut("here"), -EBUSY);
    test_kill(first);
    EXPECT_EQ(cut("there"), 0);
    EXPECT_EQ(cut("here"), -EBUSY);
    test_kill(second);
}

static void segment_of(const char *name, char path[256])
{
    struct hf_pool_info info = {.size = sizeof(info)};
    struct hf_pool *pool = test_pool_open(name);
    size_t at = (size_t)snprintf(path, 256, TEST_SEGMENT_PREFIX);

    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    test_pool_close(pool);
    for (unsigned i = 0; i < sizeof(info.uuid); i++)
        at += (size_t)snprintf(path + at, 256 - at, "%02x", info.uuid[i]);
    snprintf(path + at, 256 - at, "-*");
    if (!on_disk())
        snprintf(path, 256, "%s/run", test_path(name));
}

static unsigned count(const char *pattern)
{
    glob_t found;
    unsigned n = 0;

    if (glob(pattern, 0, NULL, &found) == 0) {
        n = (unsigned)found.gl_pathc;
        globfree(&found);
    }
    return n;
}

static void removed(void)
{
    char pattern[256], command[512];
    pid_t pid;

    make("removed");
    segment_of("removed", pattern);
    EXPECT_EQ(count(pattern), 0);
    pid = holder("removed");
    EXPECT_EQ(count(pattern), 1);
    snprintf(command, sizeof(command), "rm %s", pattern);
    run(command);
    EXPECT_EQ(try_open("removed"), -EBUSY);
    EXPECT(strstr(hf_strerror_detail(), "it was removed"));
    test_kill(pid);
    EXPECT_EQ(cut("removed"), 0);
}

/* A killed process leaves a segment in /dev/shm; without its pool it goes when another is made. */
static void swept(void)
{
    char pattern[256], command[512];

    if (!on_disk())
        return;
    make("swept");
    segment_of("swept", pattern);
    test_kill(holder("swept"));
    make("other");
    EXPECT_EQ(count(pattern), 1);
    snprintf(command, sizeof(command), "rm -r %s", test_path("swept"));
    run(command);
    EXPECT_EQ(try_open("other"), 0);
    EXPECT_EQ(count(pattern), 0);
}

/* As programs before an upgrade, whose segment has another layout. */
static void make_older(const char *pattern)
{
    const uint32_t version = 1;
    glob_t found;
    int fd;

    EXPECT_EQ(glob(pattern, 0, NULL, &found), 0);
    EXPECT_EQ(found.gl_pathc, 1);
    fd = open(found.gl_pathv[0], O_RDWR);
    EXPECT_OK(fd);
    EXPECT_EQ(pwrite(fd, &version, sizeof(version), sizeof(uint64_t)), sizeof(version));
    EXPECT_EQ(close(fd), 0);
    globfree(&found);
}

/* A pool that programs of another version use is refused, and the sentence says so. What they leave
 * when they are killed goes. */
static void other_version(void)
{
    char pattern[256];
    pid_t pid;

    make("older");
    segment_of("older", pattern);
    pid = holder("older");
    make_older(pattern);
    EXPECT_EQ(try_open("older"), -EBUSY);
    EXPECT(strstr(hf_strerror_detail(), "of another version of Holdfast"));
    test_kill(pid);
    EXPECT_EQ(count(pattern), 1);
    EXPECT_EQ(cut("older"), 0);
    EXPECT_EQ(count(pattern),
              1); /* ours: nobody knows of their devices, so the quarantine begins */
    test_pool_check("older");
}

struct user {
    uid_t id;
    bool stays;
};

static void as_user(void *arg)
{
    const struct user *user = arg;
    struct hf_pool *pool;

    EXPECT(setgroups(0, NULL) == 0 && setresgid(user->id, user->id, user->id) == 0 &&
           setresuid(user->id, user->id, user->id) == 0);
    EXPECT_EQ(hf_pool_open(test_path("users"), 0, &pool), 0);
    test_count(holding);
    while (user->stays)
        pause();
    EXPECT_EQ(hf_pool_close(pool), 0);
}

/* Whichever is first, and whichever was killed before: neither keeps the other one out. */
static void users(void)
{
    const struct hf_pool_options options = {
        .size = sizeof(options), .pool_bytes = TEST_MIB(8), .mode = 0666};
    const struct user one = {12345, true}, two = {12346, true}, gone = {12347, false};
    uint32_t before = *holding;
    pid_t pids[2];

    EXPECT_EQ(chmod(test_folder(), 0711), 0);
    EXPECT_EQ(hf_pool_create(test_path("users"), &options), 0);
    pids[0] = test_fork(as_user, (void *)(uintptr_t)&one);
    test_await(holding, before + 1);
    pids[1] = test_fork(as_user, (void *)(uintptr_t)&two);
    test_await(holding, before + 2);
    test_kill(pids[0]);
    test_kill(pids[1]);
    pids[0] = test_fork(as_user, (void *)(uintptr_t)&two);
    test_await(holding, before + 3);
    test_join(test_fork(as_user, (void *)(uintptr_t)&gone));
    test_kill(pids[0]);
    test_join(test_fork(as_user, (void *)(uintptr_t)&gone));
    EXPECT_EQ(try_open("users"), 0);
}

struct person {
    uid_t id;
    gid_t group, member_of;
};
static uint32_t *leave;

static void be(const struct person *person)
{
    EXPECT(setgroups(1, &person->member_of) == 0 &&
           setresgid(person->group, person->group, person->group) == 0 &&
           setresuid(person->id, person->id, person->id) == 0);
}

static void create_as(void *arg)
{
    const struct hf_pool_options options = {
        .size = sizeof(options), .pool_bytes = TEST_MIB(8), .mode = *holding ? 0660 : 0600};

    be(arg);
    EXPECT_EQ(hf_pool_create(test_path("shared/pool"), &options), 0);
}

static void come_as(void *arg)
{
    struct hf_pool *pool;

    be(arg);
    EXPECT_EQ(hf_pool_open(test_path("shared/pool"), 0, &pool), 0);
    test_count(holding);
    test_await(leave, 1);
    EXPECT_EQ(hf_pool_close(pool), 0);
}

/* The mode of a pool says which users may open it, and not which of them came first. */
static void first_then(const struct person *owner, uint32_t shared, const struct person *first,
                       const struct person *second)
{
    char command[512];
    pid_t pids[2];

    test_raise(holding, shared);
    test_raise(leave, 0);
    EXPECT_EQ(mkdir(test_path("shared"), 0700), 0);
    EXPECT_EQ(chown(test_path("shared"), owner->id, owner->group), 0);
    EXPECT_EQ(chmod(test_path("shared"), 0755), 0);
    test_join(test_fork(create_as, (void *)(uintptr_t)owner));
    snprintf(command, sizeof(command), "chgrp -R %u %s", owner->member_of, test_path("shared"));
    run(command);
    pids[0] = test_fork(come_as, (void *)(uintptr_t)first);
    test_await(holding, shared + 1);
    pids[1] = test_fork(come_as, (void *)(uintptr_t)second);
    test_await(holding, shared + 2);
    test_raise(leave, 1);
    test_join(pids[0]);
    test_join(pids[1]);
    test_remove_tree(test_path("shared"));
}

static void who_comes_first(void)
{
    const struct person root = {0, 0, 0}, owner = {12345, 12345, 12345},
                        member = {12346, 12346, 12345}, apart = {12345, 12345, 12347},
                        other = {12346, 12346, 12347};

    leave = test_shared(sizeof(*leave));
    first_then(&owner, 0, &root, &owner);
    first_then(&owner, 0, &owner, &root);
    first_then(&owner, 1, &member, &owner);
    first_then(&owner, 1, &owner, &member);
    /* the pool's group, without its owner in it */
    first_then(&apart, 1, &other, &owner);
    *holding = 0;
}

/* The same file system at another path is the same pool. In an overlay nobody can see which
 * processes are attached. So a pool is refused there, in use or not, and none is made. */
static void other_paths(void *arg)
{
    const struct hf_pool_options small = {.size = sizeof(small), .pool_bytes = TEST_MIB(8)};
    char options[1024];
    pid_t pid;

    (void)arg;
    if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
        return;
    EXPECT_EQ(mkdir(test_path("upper"), 0700), 0);
    EXPECT_EQ(mkdir(test_path("lower"), 0700), 0);
    EXPECT_EQ(mkdir(test_path("work"), 0700), 0);
    EXPECT_EQ(mkdir(test_path("merged"), 0700), 0);
    EXPECT_EQ(mkdir(test_path("bound"), 0700), 0);
    make("upper/pool");
    pid = holder("upper/pool");
    EXPECT_EQ(mount(test_path("upper"), test_path("bound"), NULL, MS_BIND, NULL), 0);
    EXPECT_EQ(cut("bound/pool"), -EBUSY);
    snprintf(options, sizeof(options), "lowerdir=%s,upperdir=%s,workdir=%s", test_path("lower"),
             test_path("upper"), test_path("work"));
    if (mount("overlay", test_path("merged"), "overlay", 0, options) == 0) {
        EXPECT_EQ(try_open("merged/pool"), -EOPNOTSUPP);
        EXPECT(strstr(hf_strerror_detail(), "overlay"));
        EXPECT_EQ(cut("upper/pool"), -EBUSY);
        EXPECT_EQ(hf_pool_create(test_path("merged/other"), &small), -EOPNOTSUPP);
        EXPECT_EQ(access(test_path("upper/other"), F_OK), -1);
    }
    test_kill(pid);
}

static void one_segment(void)
{
    holding = test_shared(sizeof(*holding));
    copied();
    moved();
    removed();
    swept();
    other_version();
    if (geteuid() != 0)
        return;
    users();
    who_comes_first();
    test_join(test_fork(other_paths, NULL));
}

TEST_SCENARIO(one_segment)
