/* SPDX-License-Identifier: MIT */
/*
 * Programs that know only the mount meet pins. This process holds pages through the library, and
 * its children make system calls on the mounted folder. Calls that wait for the pins show with
 * their own process, and hold up no other process. They can be interrupted, and end as the pool's
 * policy says.
 *
 *     mount-waiting POOL DIR CACHE SCENARIO
 *
 * CACHE is what the mount keeps, the scenarios are at the end.
 */
#include "support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 4 /* of every file */
#define HELD 1  /* the page that is pinned */
#define CROWD 40
#define WRITERS 100
#define MANY 600

static struct hf_pool *pool;
static const char *pool_path, *folder;
static bool caches;

/* The file of that name as the mount shows it, in one of a few buffers used in turn. */
static const char *at(const char *name)
{
    static _Thread_local char paths[4][256];
    static _Thread_local unsigned next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
    return path;
}

/* ------------------------------------------------------------------------------ the calls --- */

enum kind { TRUNCATE, OPEN_TRUNCATE, PUNCH, ZERO, WRITE, KINDS };
#define CHANGES WRITE /* those before are layout changes */
#define ZEROS (-1)

/* Which of its pages a file has after the call. */
static const struct {
    const char *name;
    int pages, content[PAGES];
} kinds[KINDS] = {
    [TRUNCATE] = {"truncate", 1, {0}},        [OPEN_TRUNCATE] = {"open with O_TRUNC", 0, {0}},
    [PUNCH] = {"punch", 4, {0, ZEROS, 2, 3}}, [ZERO] = {"zero", 4, {0, ZEROS, 2, 3}},
    [WRITE] = {"write", 4, {0, ZEROS, 2, 3}},
};

static int change_range(const char *path, int mode)
{
    int fd = open(path, O_RDWR);
    int error = fallocate(fd, mode, HELD * TEST_PAGE, TEST_PAGE) == 0 ? 0 : errno;

    close(fd);
    return error;
}

static int truncate_at_open(const char *path)
{
    int fd = open(path, O_WRONLY | O_TRUNC);

    if (fd < 0)
        return errno;
    close(fd);
    return 0;
}

static int write_zeros(const char *path)
{
    const char page[TEST_PAGE] = {0};
    int fd = open(path, O_RDWR);
    ssize_t n = pwrite(fd, page, sizeof(page), HELD * TEST_PAGE);
    int error = n < 0 ? errno : 0;

    close(fd);
    EXPECT(n < 0 || n == sizeof(page));
    return error;
}

/* Returns the errno. */
static int call(enum kind kind, const char *path)
{
    switch (kind) {
    case TRUNCATE:
        return truncate(path, TEST_PAGE) == 0 ? 0 : errno;
    case OPEN_TRUNCATE:
        return truncate_at_open(path);
    case PUNCH:
        return change_range(path, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
    case ZERO:
        return change_range(path, FALLOC_FL_ZERO_RANGE);
    default:
        return write_zeros(path);
    }
}

/* ---------------------------------------------------------------------------------- files --- */

static struct hf_pin make_held(const char *name, uint64_t stamp)
{
    struct hf_file *file = test_file_filled(pool, name, stamp, PAGES);
    struct iovec iov;
    struct hf_pin pin = test_pin(file, HELD * TEST_PAGE, TEST_PAGE, HF_PIN_READ, &iov, 1);

    EXPECT_EQ(hf_close(file), 0);
    return pin;
}

static void expect_page(const char *what, const void *page, uint64_t stamp, int content)
{
    bool right = content == ZEROS ? test_is_zero(page, TEST_PAGE)
                                  : test_page_is(page, stamp, (uint64_t)content);

    if (!right)
        FAIL("%s: a page is not page %d", what, content);
}

/* Both sides see the file of `stamp` with these pages. */
static void expect_file(const char *name, uint64_t stamp, int pages, const int *content)
{
    char page[TEST_PAGE];
    struct hf_file *file = test_file(pool, name);
    struct stat st;
    int fd = open(at(name), O_RDONLY);

    EXPECT(fd >= 0);
    EXPECT_EQ(fstat(fd, &st), 0);
    EXPECT_EQ(st.st_size, pages * TEST_PAGE);
    EXPECT_EQ(test_size(file), pages * TEST_PAGE);
    for (int i = 0; i < pages; i++) {
        EXPECT_EQ(pread(fd, page, sizeof(page), i * (off_t)TEST_PAGE), TEST_PAGE);
        expect_page("mount", page, stamp, content[i]);
        EXPECT_EQ(hf_read(file, page, sizeof(page), (uint64_t)i * TEST_PAGE), TEST_PAGE);
        expect_page("library", page, stamp, content[i]);
    }
    EXPECT_EQ(hf_close(file), 0);
    close(fd);
}

static void expect_before(const char *name, uint64_t stamp)
{
    static const int content[PAGES] = {0, 1, 2, 3};

    expect_file(name, stamp, PAGES, content);
}

static void expect_after(const char *name, uint64_t stamp, enum kind kind)
{
    expect_file(name, stamp, kinds[kind].pages, kinds[kind].content);
}

/* -------------------------------------------------------------------------------- callers --- */

enum end { BY_ITSELF, BY_HANDLER, BY_SIGINT, BY_SIGKILL };

/* A program that makes one call; in shared memory. */
struct caller {
    enum kind kind;
    char name[32]; /* of the file */
    bool in_thread, handles;
    uint64_t stamp;
    struct hf_pin pin;
    pid_t pid, tid;
    int error;
    uint32_t begun, done;
};

static void *make_call(void *arg)
{
    struct caller *caller = arg;

    caller->tid = gettid();
    test_raise(&caller->begun, 1);
    caller->error = call(caller->kind, at(caller->name));
    test_raise(&caller->done, 1);
    return NULL;
}

static void handle(int signal_number)
{
    (void)signal_number;
}

static void run_caller(void *arg)
{
    const struct sigaction action = {.sa_handler = handle}; /* without SA_RESTART */
    struct caller *caller = arg;
    pthread_t thread;

    if (caller->handles)
        sigaction(SIGINT, &action, NULL);
    prctl(PR_SET_NAME, caller->name);
    if (!caller->in_thread) {
        make_call(caller);
    } else {
        EXPECT_EQ(pthread_create(&thread, NULL, make_call, caller), 0);
        pthread_join(thread, NULL);
    }
}

static void start(struct caller *caller)
{
    caller->pid = test_fork(run_caller, caller);
    test_await(&caller->begun, 1);
}

static void start_on(struct caller *caller, enum kind kind, const char *name)
{
    caller->kind = kind;
    snprintf(caller->name, sizeof(caller->name), "%s", name);
    start(caller);
}

static struct caller *held_caller(struct caller *caller, enum kind kind, const char *prefix,
                                  unsigned index)
{
    *caller = (struct caller){.kind = kind, .stamp = 100 + index};
    snprintf(caller->name, sizeof(caller->name), "%s-%u", prefix, index);
    caller->pin = make_held(caller->name, caller->stamp);
    return caller;
}

static void finish(struct caller *caller, int error)
{
    test_join(caller->pid);
    EXPECT_EQ(caller->done, 1);
    if (caller->error != error)
        FAIL("%s of %s gave %s, expected %s", kinds[caller->kind].name, caller->name,
             strerrorname_np(caller->error), strerrorname_np(error));
}

static void let_go(struct caller *caller)
{
    EXPECT_EQ(hf_unpin(&caller->pin), 0);
}

static void await_nobody_waiting(void)
{
    uint64_t limit = test_now_ns() + TEST_PATIENCE_NS;

    while (test_pins_in_state(pool, HF_PIN_WAITING) > 0) {
        if (test_now_ns() > limit)
            FAIL("a layout change waits on");
        test_sleep_ms(1);
    }
}

/* ---------------------------------------------------------------------------- the others --- */

static void use_content(const char *path)
{
    char page[TEST_PAGE];
    struct stat st;
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);

    EXPECT(fd >= 0);
    for (uint64_t i = 0; i < 32; i++) {
        test_page_fill(page, 5, i);
        EXPECT_EQ(write(fd, page, sizeof(page)), TEST_PAGE);
    }
    for (uint64_t i = 0; i < 32; i++) {
        EXPECT_EQ(pread(fd, page, sizeof(page), (off_t)(i * TEST_PAGE)), TEST_PAGE);
        EXPECT(test_page_is(page, 5, i));
    }
    EXPECT_EQ(fsync(fd), 0);
    EXPECT_EQ(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, TEST_PAGE), 0);
    EXPECT_EQ(ftruncate(fd, TEST_PAGE), 0);
    EXPECT_EQ(fstat(fd, &st), 0);
    EXPECT_EQ(st.st_size, TEST_PAGE);
    close(fd);
}

static void use_names(const char *path)
{
    char moved[256], inside[300];

    snprintf(moved, sizeof(moved), "%s-moved", path);
    EXPECT_EQ(rename(path, moved), 0);
    EXPECT_EQ(link(moved, path), 0);
    EXPECT_EQ(chmod(path, 0640), 0);
    EXPECT_EQ(unlink(path), 0);
    EXPECT_EQ(symlink(moved, path), 0);
    EXPECT_EQ(unlink(path), 0);
    EXPECT_EQ(mkdir(path, 0700), 0);
    snprintf(inside, sizeof(inside), "%s/inside", path);
    EXPECT_EQ(rename(moved, inside), 0);
    EXPECT_EQ(unlink(inside), 0);
    EXPECT_EQ(rmdir(path), 0);
}

/* Looks up everything, what is waited for too. */
static void use_folder(void)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;
    struct stat st;

    EXPECT(dir != NULL);
    while ((entry = readdir(dir)) != NULL)
        if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            EXPECT_EQ(errno, ENOENT); /* another one's that has just gone */
    closedir(dir);
}

/* A file that is waited for is read as it was. Reading only: the kernel itself keeps writers of a
 * file out while its truncate or punch waits. */
static void read_waited_for(const struct caller *caller)
{
    char page[TEST_PAGE];
    struct stat st;
    int fd = open(at(caller->name), O_RDONLY);

    EXPECT(fd >= 0);
    EXPECT_EQ(fstat(fd, &st), 0);
    EXPECT_EQ(st.st_size, PAGES * TEST_PAGE);
    for (int i = 0; i < PAGES; i++) {
        EXPECT_EQ(pread(fd, page, sizeof(page), i * (off_t)TEST_PAGE), TEST_PAGE);
        expect_page("waited for", page, caller->stamp, i);
    }
    close(fd);
}

/* What must work whichever call waits: a program that does not end by itself is ended. */
static void use_mount(void *arg)
{
    char path[128];

    alarm(TEST_PATIENCE_SECONDS);
    snprintf(path, sizeof(path), "%s/used-by-%d", folder, (int)getpid());
    use_content(path);
    use_names(path);
    use_folder();
    read_waited_for(arg);
}

static void others_go_on(struct caller *beside)
{
    pid_t pids[4];

    for (size_t i = 0; i < 4; i++)
        pids[i] = test_fork(use_mount, beside);
    for (size_t i = 0; i < 4; i++)
        test_join(pids[i]);
}

/* What takes a name away, or puts another in its place, waits for no pin. */
static void unlink_held(void *arg)
{
    (void)arg;
    alarm(TEST_PATIENCE_SECONDS);
    EXPECT_EQ(unlink(at("unlinked")), 0);
    EXPECT_EQ(rename(at("mover"), at("replaced")), 0);
}

static void names_go_on(void)
{
    struct hf_file *file = test_file_filled(pool, "unlinked", 1, PAGES);
    struct iovec iov[2];
    struct hf_pin pins[2];

    pins[0] = test_pin(file, 0, TEST_PAGE, HF_PIN_READ, &iov[0], 1);
    EXPECT_EQ(hf_close(file), 0);
    file = test_file_filled(pool, "replaced", 2, PAGES);
    pins[1] = test_pin(file, 0, TEST_PAGE, HF_PIN_READ, &iov[1], 1);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_close(test_file_filled(pool, "mover", 3, PAGES)), 0);
    test_join(test_fork(unlink_held, NULL));
    EXPECT_EQ(hf_close(test_file_filled(pool, "after", 4, 64)), 0);
    EXPECT(test_page_is(iov[0].iov_base, 1, 0));
    EXPECT(test_page_is(iov[1].iov_base, 2, 0));
    expect_before("replaced", 3);
    for (size_t i = 0; i < 2; i++)
        EXPECT_EQ(hf_unpin(&pins[i]), 0);
    EXPECT_EQ(unlink(at("replaced")), 0);
    EXPECT_EQ(unlink(at("after")), 0);
}

/* ------------------------------------------------------------------------------ scenarios --- */

/* Each waiting call shows as its program's own. */
static int find_caller(void *arg, const struct hf_pin_info *info)
{
    struct caller *callers = arg;

    if (info->state != HF_PIN_WAITING)
        return 0;
    for (unsigned i = 0; i < 2 * CROWD; i++)
        if (callers[i].pid == info->pid) {
            EXPECT_EQ(info->tid, callers[i].tid);
            EXPECT(strcmp(info->command, callers[i].name) == 0);
            return 0;
        }
    FAIL("process %d (%s), thread %d shows as waiting", info->pid, info->command, info->tid);
}

static void crowd(void)
{
    struct caller *callers = test_shared((2 * CROWD + WRITERS) * sizeof(*callers));
    struct caller *writers = callers + 2 * CROWD;

    for (unsigned i = 0; i < 2 * CROWD; i++) {
        held_caller(&callers[i], i < CROWD ? TRUNCATE : PUNCH, "held", i)->in_thread = i % 4 == 0;
        start(&callers[i]);
    }
    test_await_waiting(pool, 2 * CROWD);
    EXPECT_EQ(hf_pins(pool, find_caller, callers), 0);
    others_go_on(&callers[0]);
    names_go_on();
    for (unsigned i = 0; i < WRITERS; i++)
        start_on(&writers[i], WRITE, callers[CROWD + i % 8].name);
    others_go_on(&callers[2 * CROWD - 1]);
    for (unsigned i = 0; i < WRITERS; i++)
        EXPECT_EQ(test_peek(&writers[i].done), 0); /* they have met a closed gate */
    for (unsigned i = 0; i < 2 * CROWD; i++)
        let_go(&callers[i]);
    for (unsigned i = 0; i < 2 * CROWD + WRITERS; i++)
        finish(&callers[i], 0);
    for (unsigned i = 0; i < 2 * CROWD; i++)
        expect_after(callers[i].name, callers[i].stamp, callers[i].kind);
}

/* A signal may come before its call: again until it has ended. */
static void end_by_handler(struct caller *caller)
{
    while (!test_peek(&caller->done)) {
        kill(caller->pid, SIGINT);
        test_sleep_ms(20);
    }
    finish(caller, EINTR);
}

static void end_by_signal(struct caller *caller, int signal_number)
{
    int status;

    EXPECT_EQ(kill(caller->pid, signal_number), 0);
    status = test_wait_status(caller->pid);
    EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == signal_number);
    EXPECT_EQ(caller->done, 0);
}

static void end_caller(struct caller *caller, enum end how)
{
    if (how == BY_HANDLER)
        end_by_handler(caller);
    else
        end_by_signal(caller, how == BY_SIGINT ? SIGINT : SIGKILL);
}

/* More than the pool has threads for; two give up. */
static void many(void)
{
    struct caller *callers = test_shared(MANY * sizeof(*callers));

    for (unsigned i = 0; i < MANY; i++) {
        held_caller(&callers[i], TRUNCATE, "held", i)->handles = i == MANY - 1;
        start(&callers[i]);
    }
    test_await_waiting(pool, 1);
    others_go_on(&callers[0]);
    names_go_on();
    for (unsigned i = 0; i < MANY; i++)
        EXPECT_EQ(test_peek(&callers[i].done), 0);
    end_caller(&callers[MANY - 1], BY_HANDLER);
    end_caller(&callers[MANY - 2], BY_SIGKILL);
    for (unsigned i = 0; i < MANY; i++)
        let_go(&callers[i]);
    for (unsigned i = 0; i < MANY; i++) {
        if (i < MANY - 2) {
            finish(&callers[i], 0);
            expect_after(callers[i].name, callers[i].stamp, TRUNCATE);
        } else {
            expect_before(callers[i].name, callers[i].stamp);
        }
    }
}

static void interrupted(void)
{
    struct caller *caller = test_shared(sizeof(*caller));

    for (enum kind kind = 0; kind < CHANGES; kind++) {
        for (enum end how = BY_HANDLER; how <= BY_SIGKILL; how++) {
            held_caller(caller, kind, "held", kind * 4 + how)->handles = how == BY_HANDLER;
            start(caller);
            test_await_waiting(pool, 1);
            end_caller(caller, how);
            await_nobody_waiting();
            expect_before(caller->name, caller->stamp);
            others_go_on(caller);
            let_go(caller);
            EXPECT_EQ(call(kind, at(caller->name)), 0);
            expect_after(caller->name, caller->stamp, kind);
        }
    }
}

static void punch_by_library(void *arg)
{
    struct caller *caller = arg;
    struct hf_file *file;

    EXPECT_EQ(hf_pool_open(pool_path, 0, &pool), 0); /* the parent's is dead here */
    file = test_file(pool, caller->name);
    caller->error = -hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, HELD * TEST_PAGE, TEST_PAGE, NULL);
    test_raise(&caller->done, 1);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
}

/* The same for a writer behind a gate: the library's, since with the mount's own the
 * kernel lets nobody come so far. */
static void interrupted_at_gate(void)
{
    struct caller *callers = test_shared(3 * sizeof(*callers));

    held_caller(&callers[0], PUNCH, "gated", 0);
    callers[0].pid = test_fork(punch_by_library, &callers[0]);
    start(held_caller(&callers[1], PUNCH, "beside", 0));
    test_await_waiting(pool, 2);
    for (enum end how = BY_HANDLER; how <= BY_SIGKILL; how++) {
        callers[2] = (struct caller){.handles = how == BY_HANDLER};
        start_on(&callers[2], WRITE, callers[0].name);
        others_go_on(&callers[1]);
        end_caller(&callers[2], how);
        expect_before(callers[0].name, callers[0].stamp);
    }
    for (unsigned i = 0; i < 2; i++) {
        let_go(&callers[i]);
        finish(&callers[i], 0);
    }
    expect_after(callers[0].name, callers[0].stamp, PUNCH);
}

/* With a policy that fails: the errno, and the file as before. */
static void refused(int error)
{
    struct caller *caller = test_shared(sizeof(*caller));

    for (enum kind kind = 0; kind < CHANGES; kind++) {
        start(held_caller(caller, kind, "held", kind));
        finish(caller, error);
        expect_before(caller->name, caller->stamp);
        let_go(caller);
        EXPECT_EQ(call(kind, at(caller->name)), 0);
        expect_after(caller->name, caller->stamp, kind);
    }
    names_go_on();
}

static void refused_at_once(void)
{
    refused(EBUSY);
}

static void refused_in_time(void)
{
    refused(ETIMEDOUT);
}

/* The file changes under the pin, and the page of the pin stays as it is. */
static void detached(void)
{
    struct caller *caller = test_shared(sizeof(*caller));
    struct iovec iov;

    for (enum kind kind = 0; kind < CHANGES; kind++) {
        struct hf_file *file;
        struct hf_pin pin;

        held_caller(caller, kind, "held", kind);
        file = test_file(pool, caller->name);
        pin = test_pin(file, HELD * TEST_PAGE, TEST_PAGE, HF_PIN_READ, &iov, 1);
        EXPECT_EQ(hf_close(file), 0);
        start(caller);
        finish(caller, 0);
        expect_after(caller->name, caller->stamp, kind);
        EXPECT_EQ(hf_close(test_file_filled(pool, "after", 4, 64)), 0);
        EXPECT(test_page_is(iov.iov_base, caller->stamp, HELD));
        EXPECT_EQ(hf_unpin(&pin), 0);
        let_go(caller);
    }
    names_go_on();
}

/* --- leases --- */

struct leased {
    struct hf_lease lease;
    uint32_t calls, why;
    uint64_t off, len;
};

static void release(void *arg, const struct hf_recall *recall)
{
    struct leased *leased = arg;

    leased->why = recall->why;
    leased->off = recall->off;
    leased->len = recall->len;
    EXPECT_EQ(hf_lease_release(&recall->lease), 0);
    test_count(&leased->calls);
}

/* The holder of a lease is asked for it. With a policy that does not wait it is too, and then it
 * goes. */
static void recalled(int error)
{
    static const uint32_t why[CHANGES] = {HF_CHANGE_TRUNCATE, HF_CHANGE_TRUNCATE, HF_CHANGE_PUNCH,
                                          HF_CHANGE_ZERO};
    struct leased leased;
    const struct hf_lease_options options = {
        .size = sizeof(options), .recall = release, .arg = &leased};
    struct caller *caller = test_shared(sizeof(*caller));
    struct iovec iov;

    for (enum kind kind = 0; kind < CHANGES; kind++) {
        struct hf_file *file;

        leased = (struct leased){.calls = 0};
        *caller = (struct caller){.stamp = 100 + kind};
        file = test_file_filled(pool, kinds[kind].name, caller->stamp, PAGES);
        leased.lease = test_lease(file, HELD * TEST_PAGE, TEST_PAGE, &options, &iov, 1);
        EXPECT_EQ(hf_close(file), 0);
        start_on(caller, kind, kinds[kind].name);
        test_await(&leased.calls, 1);
        finish(caller, error);
        if (error)
            EXPECT_EQ(call(kind, at(caller->name)), 0);
        expect_after(caller->name, caller->stamp, kind);
        EXPECT_EQ(leased.calls, 1);
        EXPECT_EQ(leased.why, why[kind]);
        EXPECT_EQ(leased.off, HELD * TEST_PAGE);
        EXPECT_EQ(leased.len, TEST_PAGE);
    }
}

static void recalled_and_waited_for(void)
{
    recalled(0);
}

static void recalled_and_refused(void)
{
    recalled(EBUSY);
}

/* The holder of the pin itself would wait for ever. */
static void own_pin(void)
{
    struct caller caller;

    for (enum kind kind = 0; kind < CHANGES; kind++) {
        held_caller(&caller, kind, "own", kind);
        alarm(TEST_PATIENCE_SECONDS);
        EXPECT_EQ(call(kind, at(caller.name)), EDEADLK);
        alarm(0);
        expect_before(caller.name, caller.stamp);
        let_go(&caller);
        EXPECT_EQ(call(kind, at(caller.name)), 0);
        expect_after(caller.name, caller.stamp, kind);
    }
}

/* --- */

static void read_first_page(void *arg)
{
    const struct caller *caller = arg;
    char page[TEST_PAGE];
    int fd = open(at(caller->name), O_RDONLY);

    alarm(TEST_PATIENCE_SECONDS);
    EXPECT_EQ(pread(fd, page, sizeof(page), 0), TEST_PAGE);
    expect_page("beside the gate", page, caller->stamp, 0);
}

/* A write waits at a gate, perhaps with a page of the page cache. Meanwhile others can still see
 * the rest of the file, and what the library writes. */
static void seen_meanwhile(void)
{
    struct caller *callers = test_shared(2 * sizeof(*callers));
    struct hf_file *other = test_file_filled(pool, "other", 2, 1), *gated;
    uint64_t limit = test_now_ns() + TEST_PATIENCE_NS;
    int fd = open(at("other"), O_RDONLY);
    char byte;

    EXPECT_EQ(pread(fd, &byte, 1, 0), 1);
    held_caller(&callers[0], PUNCH, "gated", 0);
    callers[0].pid = test_fork(punch_by_library, &callers[0]);
    test_await_waiting(pool, 1);
    start_on(&callers[1], WRITE, callers[0].name);
    test_sleep_ms(100); /* it may be at the gate by then; if not, less is tried */
    test_join(test_fork(read_first_page, &callers[0]));
    gated = test_file(pool, callers[0].name);
    EXPECT_EQ(hf_write(gated, "!", 1, 3 * TEST_PAGE), 1);
    EXPECT_EQ(hf_close(gated), 0);
    EXPECT_EQ(hf_write(other, "?", 1, 0), 1);
    while (EXPECT_OK(pread(fd, &byte, 1, 0)), byte != '?') {
        if (!caches || test_now_ns() > limit)
            FAIL("what the library has written is not seen");
        test_sleep_ms(10);
    }
    let_go(&callers[0]);
    finish(&callers[0], 0);
    finish(&callers[1], 0);
    close(fd);
    EXPECT_EQ(hf_close(other), 0);
}

static const struct {
    const char *name;
    void (*run)(void);
} scenarios[] = {
    {"crowd", crowd},
    {"many", many},
    {"interrupted", interrupted},
    {"interrupted-at-gate", interrupted_at_gate},
    {"refused-at-once", refused_at_once},
    {"refused-in-time", refused_in_time},
    {"detached", detached},
    {"recalled", recalled_and_waited_for},
    {"recalled-and-refused", recalled_and_refused},
    {"own-pin", own_pin},
    {"seen-meanwhile", seen_meanwhile},
};

static int run(int argc, char **argv)
{
    if (argc != 5)
        return 2;
    pool_path = argv[1];
    folder = argv[2];
    caches = strcmp(argv[3], "auto") == 0;
    EXPECT_EQ(hf_pool_open(pool_path, 0, &pool), 0);
    for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
        if (strcmp(argv[4], scenarios[i].name) == 0) {
            scenarios[i].run();
            test_pool_close(pool);
            return 0;
        }
    }
    return 2;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, run);
}
