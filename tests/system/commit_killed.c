/* SPDX-License-Identifier: MIT */
/*
 * commit-killed [memory|durable] [writer|reader|first|reader-first] [--expect-caught]
 *
 * A process is killed after each store to shared memory, from LMDB's meta page on until its call
 * returns. It is single-stepped there, and killed at the first, the second, the third ... change
 * that its pool shows. The next process finds the file as before the call or as after it, and all
 * processes agree. No file gets a block that is in use, and fsck finds nothing.
 *
 * Which process comes first:
 *   writer        another process that may write, and has the pool open all the time
 *   reader        one that only reads, and keeps a pin; then one that may write joins
 *   first         nobody had the pool open
 *   reader-first  the reader settles what it finds and is killed; then a first one attaches
 */
#include "shm/shm.h"
#include "support.h"

#ifdef HF_LAB
#include "base/lab.h"
#endif

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define POOL "pool"
#define PAGES 10u /* of the file before the call, */
#define KEPT 5u   /* and after it */
#define STAMP 1u
#define OTHERS 2u /* stamp of what the survivor writes */
#define META_BYTES 8192u
#define LOCK_BYTES 192u
#define VNODES 2u
#define WORDS 8u /* of the bitmap */
#define STEPS_MAX 20000000u

static struct {
    uint32_t step;    /* what the reader is to do next, */
    uint32_t done;    /* and what it has done */
    uint32_t opened;  /* by the writer that is killed */
    uint32_t pinned;  /* the reader has the page behind the new end */
    uint64_t size;    /* as the reader sees it */
    uint32_t changed; /* under its pin */
} * shared;

static bool durable, expect_caught;

/* ---- the one that is killed ---- */

static void shrink(void *arg)
{
    struct hf_pool *pool = test_pool_open(POOL);
    struct hf_file *file = test_file(pool, "/file");

    (void)arg;
    EXPECT_EQ(hf_truncate(file, (PAGES + 1) * TEST_PAGE, NULL), 0); /* all is warm */
    EXPECT_EQ(hf_truncate(file, PAGES * TEST_PAGE, NULL), 0);
    test_raise(&shared->opened, 1);
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
        _exit(TEST_SKIP);
    raise(SIGSTOP);
    hf_truncate(file, KEPT * TEST_PAGE, NULL);
    raise(SIGSTOP);
    _exit(0);
}

/* ---- what it shares ---- */

struct seen {
    unsigned char meta[META_BYTES], lock[LOCK_BYTES];
    struct shm_run run;
    struct shm_vnode vnodes[VNODES];
    uint64_t words[WORDS];
};

struct view {
    const unsigned char *meta, *lock, *run;
};

static const void *map(const char *path, size_t bytes)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    void *at;

    EXPECT_OK(fd);
    at = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
    EXPECT(at != MAP_FAILED);
    close(fd);
    return at;
}

static void look(const struct view *view, struct seen *seen)
{
    const struct shm_run *run = (const void *)view->run;

    memcpy(seen->meta, view->meta, META_BYTES);
    memcpy(seen->lock, view->lock, LOCK_BYTES);
    memcpy(&seen->run, run, sizeof(seen->run));
    memcpy(seen->vnodes, view->run + run->at_vnodes, sizeof(seen->vnodes));
    memcpy(seen->words, view->run + run->at_bits, sizeof(seen->words));
}

/* Runs the child as far as LMDB's commit, where a step costs nothing yet that is of interest.
 * Elsewhere than on x86-64 it is stepped all the way. */
static void run_to_commit(pid_t pid)
{
#ifdef __x86_64__
    char *at = dlsym(RTLD_DEFAULT, "mdb_txn_commit");
    struct user_regs_struct regs;
    long code;
    int status;

    EXPECT(at);
    code = ptrace(PTRACE_PEEKTEXT, pid, at, NULL);
    EXPECT_OK(ptrace(PTRACE_POKETEXT, pid, at, (void *)((code & ~0xffL) | 0xcc)));
    EXPECT_OK(ptrace(PTRACE_CONT, pid, NULL, NULL));
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
    EXPECT_OK(ptrace(PTRACE_POKETEXT, pid, at, (void *)code));
    EXPECT_OK(ptrace(PTRACE_GETREGS, pid, NULL, &regs));
    regs.rip--;
    EXPECT_EQ(regs.rip, (uintptr_t)at);
    EXPECT_OK(ptrace(PTRACE_SETREGS, pid, NULL, &regs));
#endif
    (void)pid;
}

/* Steps the child to its stop number `stop`, the first being where a meta page changes. False: its
 * call has returned before. */
static bool step_to(pid_t pid, const struct view *view, unsigned stop)
{
    static struct seen was, is;
    unsigned changes = 0;
    int status;

    run_to_commit(pid);
    look(view, &was);
    for (unsigned steps = 0; steps < STEPS_MAX; steps++) {
        EXPECT_OK(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL));
        EXPECT_EQ(waitpid(pid, &status, 0), pid);
        EXPECT(WIFSTOPPED(status));
        if (WSTOPSIG(status) == SIGSTOP)
            return false;
        if (changes == 0 && !memcmp(was.meta, view->meta, META_BYTES))
            continue;
        look(view, &is);
        if (changes && !memcmp(&was, &is, sizeof(is)))
            continue;
        if (++changes == stop)
            return true;
        was = is;
    }
    FAIL("it takes more than %u steps", STEPS_MAX);
}

/* Where the process has its run segment: the path and the length of that map. */
static void find_segment(pid_t pid, char path[256], size_t *bytes)
{
    char name[64], line[512], mode[8];
    unsigned long from, to;
    FILE *maps;

    snprintf(name, sizeof(name), "/proc/%d/maps", (int)pid);
    maps = fopen(name, "re");
    EXPECT(maps);
    *path = 0;
    while (!*path && fgets(line, sizeof(line), maps))
        if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %255s", &from, &to, mode, path) == 4 &&
            strncmp(path, TEST_SEGMENT_PREFIX, strlen(TEST_SEGMENT_PREFIX)) != 0 &&
            strcmp(path, test_path(POOL "/run")) != 0)
            *path = 0;
    fclose(maps);
    EXPECT(*path);
    *bytes = to - from;
}

static bool look_and_step(pid_t pid, unsigned stop)
{
    struct view view;
    char segment[256];
    size_t bytes;
    bool stopped;

    find_segment(pid, segment, &bytes);
    view.meta = map(test_path(POOL "/meta/data.mdb"), META_BYTES);
    view.lock = map(test_path(POOL "/meta/lock.mdb"), LOCK_BYTES);
    view.run = map(segment, bytes);
    stopped = step_to(pid, &view, stop);
    munmap((void *)view.run, bytes);
    munmap((void *)view.lock, LOCK_BYTES);
    munmap((void *)view.meta, META_BYTES);
    return stopped;
}

/* Kills it at that stop. False: its call has returned before. */
static bool kill_at(unsigned stop)
{
    bool stopped;
    int status;
    pid_t pid;

    test_raise(&shared->opened, 0);
    pid = test_fork(shrink, NULL);
    EXPECT_EQ(waitpid(pid, &status, WUNTRACED), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == TEST_SKIP)
        test_skip("ptrace is not allowed here");
    EXPECT(WIFSTOPPED(status) && test_peek(&shared->opened));
    stopped = look_and_step(pid, stop);
    test_kill(pid);
    return stopped;
}

/* ---- a process that only reads ---- */

static void next_step(uint32_t step)
{
    test_raise(&shared->step, step);
    test_await(&shared->done, step);
}

static void reader(void *arg)
{
    static unsigned char was[HF_BLOCK_BYTES];
    struct hf_pool *pool;
    struct hf_file *file;
    struct iovec iov;
    struct hf_pin pin;
    int rc;

    (void)arg;
    EXPECT_EQ(hf_pool_open(test_path(POOL), HF_OPEN_RDONLY, &pool), 0);
    EXPECT_EQ(hf_open(pool, "/file", O_RDONLY, 0, &file), 0);
    test_raise(&shared->done, 1);
    test_await(&shared->step, 2);
    rc = hf_pin(file, KEPT * TEST_PAGE, TEST_PAGE, HF_PIN_READ | HF_PIN_NOFILL, &iov, 1, &pin);
    EXPECT(rc == 1 || rc == -EFAULT);
    shared->pinned = rc == 1;
    shared->size = test_size(file);
    if (rc == 1)
        memcpy(was, iov.iov_base, sizeof(was));
    test_raise(&shared->done, 2);
    test_await(&shared->step, 3);
    shared->changed = rc == 1 && memcmp(was, iov.iov_base, sizeof(was)) != 0;
    test_raise(&shared->done, 3);
    test_await(&shared->step, 4);
    if (rc == 1)
        hf_unpin(&pin);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_pool_close(pool), 0);
}

static pid_t start_reader(void)
{
    pid_t pid;

    memset(shared, 0, sizeof(*shared));
    pid = test_fork(reader, NULL);
    test_await(&shared->done, 1);
    return pid;
}

/* ---- what must hold ---- */

static void fresh_pool(void)
{
    struct hf_pool_options options = {
        .size = sizeof(options), .pool_bytes = TEST_MIB(8), .flags = durable ? HF_POOL_DURABLE : 0};
    char line[1200];
    struct hf_pool *pool;

    snprintf(line, sizeof(line), "rm -rf '%s'", test_path(POOL));
    EXPECT_EQ(system(line), 0);
    EXPECT_EQ(hf_pool_create(test_path(POOL), &options), 0);
    pool = test_pool_open(POOL);
    EXPECT_EQ(hf_close(test_file_filled(pool, "/file", STAMP, PAGES)), 0);
    EXPECT_EQ(hf_close(test_file_filled(pool, "/beside", STAMP + 10, 3)), 0);
    test_pool_close(pool);
}

/* The file is as before or as after; the rest of the pool is given out and carries something
 * else. */
static void expect_sound(struct hf_pool *pool, bool with_reader)
{
    struct hf_file *file = test_file(pool, "/file"), *beside = test_file(pool, "/beside"), *other;
    uint64_t size = test_size(file), free_bytes, hole;

    EXPECT(size == PAGES * TEST_PAGE || size == KEPT * TEST_PAGE);
    EXPECT_EQ(hf_mkdir(pool, "/folder", 0700), 0);
    free_bytes = test_free_bytes(pool);
    EXPECT_EQ(free_bytes, TEST_MIB(8) - (size / TEST_PAGE + 3) * TEST_PAGE);
    other = test_file_filled(pool, "/other", OTHERS, free_bytes / TEST_PAGE);
    EXPECT_EQ(test_free_bytes(pool), 0);
    EXPECT_EQ(hf_seek(file, 0, HF_SEEK_HOLE, &hole),
              0); /* what the extents say, whatever tables say */
    EXPECT_EQ(hole, size);
    test_expect_pages(file, STAMP, 0, size / TEST_PAGE);
    test_expect_pages(beside, STAMP + 10, 0, 3);
    test_expect_pages(other, OTHERS, 0, free_bytes / TEST_PAGE);
    if (with_reader) {
        next_step(3);
        EXPECT_EQ(shared->size, size);
        EXPECT_EQ(shared->pinned, size == PAGES * TEST_PAGE);
        EXPECT_EQ(shared->changed, 0);
    }
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_close(beside), 0);
    EXPECT_EQ(hf_close(other), 0);
}

static bool a_writer_comes(unsigned stop)
{
    struct hf_pool *pool = test_pool_open(POOL);
    bool stopped = kill_at(stop);

    expect_sound(pool, false);
    test_pool_close(pool);
    return stopped;
}

static bool a_reader_comes(unsigned stop, bool dies)
{
    pid_t pid = start_reader();
    bool stopped = kill_at(stop);
    struct hf_pool *pool;
    uint64_t size;

    next_step(2);
    if (dies)
        test_kill(pid);
    pool = test_pool_open(POOL);
    expect_sound(pool, !dies);
    if (dies) {
        struct hf_file *file = test_file(pool, "/file");

        size = test_size(file);
        EXPECT_EQ(shared->size, size);
        EXPECT_EQ(hf_close(file), 0);
    } else {
        test_raise(&shared->step, 4);
        test_join(pid);
    }
    test_pool_close(pool);
    return stopped;
}

static bool nobody_is_there(unsigned stop)
{
    bool stopped = kill_at(stop);
    struct hf_pool *pool = test_pool_open(POOL);

    expect_sound(pool, false);
    test_pool_close(pool);
    return stopped;
}

static bool one(const char *first, unsigned stop)
{
    bool stopped;

    fresh_pool();
    if (!strcmp(first, "writer"))
        stopped = a_writer_comes(stop);
    else if (!strcmp(first, "first"))
        stopped = nobody_is_there(stop);
    else
        stopped = a_reader_comes(stop, !strcmp(first, "reader-first"));
    test_pool_check(POOL);
    return stopped;
}

/* In a lab build the rule is broken: some stop must show it, by whatever fails there. */
static void one_of_a_child(void *arg)
{
    const char *first = ((void **)arg)[0];
    const unsigned *stop = ((void **)arg)[1];

    shared->opened = 0;
    _exit(one(first, *stop) ? 0 : 3);
}

static int hunt(const char *first)
{
    for (unsigned stop = 1;; stop++) {
        void *arg[] = {(void *)first, &stop};
        int status = test_wait_status(test_fork(one_of_a_child, arg));

        if (WIFEXITED(status) && WEXITSTATUS(status) == 3)
            FAIL("a rule that is broken has broken nothing in %u stops", stop);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
            return 0;
    }
}

static int body(int argc, char **argv)
{
    const char *first = argc > 2 ? argv[2] : "writer";
    unsigned stop = 1;

    durable = argc > 1 && !strcmp(argv[1], "durable");
    expect_caught = argc > 3 && !strcmp(argv[3], "--expect-caught");
    shared = test_shared(sizeof(*shared));
#ifdef HF_LAB
    if (expect_caught)
        hf_lab_break = HF_LAB_NO_TAKE_BACK;
#endif
    if (expect_caught)
        return hunt(first);
    while (one(first, stop))
        stop += test_is_slow() ? 5 : 1;
    printf("%s pool, %s comes first: killed at %u places\n", durable ? "durable" : "memory", first,
           stop - 1);
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
