/* SPDX-License-Identifier: MIT */
/*
 * Between hf_atomic_begin() and hf_atomic_end() nothing may sleep. A debug build aborts where a
 * call may, and names it. That rules the engine percpu-rwsem out there; with all others present
 * pages can be pinned. Each case has a child and a pool of its own, since most of them abort.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/compact.h>
#include <holdfast/put.h>
#include <holdfast/serve.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 3 /* in the file, before a hole of one */
#define TEXT_BYTES 16384
#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static struct hf_pool *pool;
static struct hf_file *file;
static struct hf_dir *dir;

/* ------------------------------------------------------------------------------ a case --- */

struct child {
    const char *engine;
    void (*body)(void);
    int output;
};

static void make_pool(const char *engine)
{
    const struct hf_pool_options options = {
        .size = sizeof(options), .pool_bytes = TEST_MIB(8), .engine = engine};
    struct iovec iov[PAGES];
    struct hf_pin pin;

    EXPECT_EQ(hf_pool_open_anonymous(&options, &pool), 0);
    file = test_file_filled(pool, "/file", 1, PAGES);
    EXPECT_EQ(hf_truncate(file, (PAGES + 1) * TEST_PAGE, NULL), 0);
    EXPECT_EQ(hf_opendir(pool, "/", &dir), 0);
    pin = test_pin(file, 0, PAGES * TEST_PAGE, HF_PIN_READ, iov, PAGES); /* fills the entries */
    EXPECT_EQ(hf_unpin(&pin), 0);
}

static void be_child(void *arg)
{
    const struct rlimit no_core = {0, 0};
    const struct child *child = arg;

    setrlimit(RLIMIT_CORE, &no_core);
    EXPECT_OK(dup2(child->output, STDERR_FILENO));
    make_pool(child->engine);
    child->body();
    EXPECT_EQ(hf_closedir(dir), 0);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
}

/* Returns the wait status; text is what came on stderr. */
static int run(const char *engine, void (*body)(void), char text[TEXT_BYTES])
{
    struct child child = {.engine = engine, .body = body};
    size_t len = 0;
    int ends[2];
    ssize_t got;
    pid_t pid;

    EXPECT_EQ(pipe(ends), 0);
    child.output = ends[1];
    pid = test_fork(be_child, &child);
    close(ends[1]);
    while ((got = read(ends[0], text + len, TEXT_BYTES - 1 - len)) > 0)
        len += (size_t)got;
    close(ends[0]);
    text[len] = '\0';
    return test_wait_status(pid);
}

static void expect_passes(const char *engine, void (*body)(void))
{
    char text[TEXT_BYTES];
    int status = run(engine, body, text);

    if (status != 0)
        FAIL("%s: status 0x%x instead of success: %s", engine, (unsigned)status, text);
}

/* The sentence, and then the stack. */
static void expect_aborts(const char *engine, void (*body)(void), const char *sentence)
{
    char text[TEXT_BYTES];
    int status = run(engine, body, text);
    size_t len = strlen(sentence);

    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT)
        FAIL("%s: status 0x%x instead of an abort with \"%s\": %s", engine, (unsigned)status,
             sentence, text);
    if (strncmp(text, sentence, len) != 0 || !strstr(text + len, "[0x"))
        FAIL("%s: no \"%s\" with a stack behind it: %s", engine, sentence, text);
}

static void expect_caught(const char *engine, void (*body)(void), const char *call)
{
    char sentence[128];

    snprintf(sentence, sizeof(sentence),
             "holdfast: %s() may sleep, called between hf_atomic_begin() and hf_atomic_end():\n",
             call);
    expect_aborts(engine, body, sentence);
}

/* --------------------------------------------------------------------------------- pins --- */

static void pin_present(void)
{
    struct iovec iov[PAGES];
    struct hf_pin one, all;

    hf_atomic_begin();
    one = test_pin(file, TEST_PAGE, 1, HF_PIN_WRITE, iov, 1);
    all = test_pin(file, 0, PAGES * TEST_PAGE, HF_PIN_READ, iov, PAGES);
    EXPECT_EQ(hf_unpin(&all), 0);
    EXPECT_EQ(hf_unpin(&one), 0);
    hf_atomic_end();
}

static int pin_hole(uint32_t flags)
{
    struct iovec iov;
    struct hf_pin pin;
    int rc;

    hf_atomic_begin();
    rc = hf_pin(file, PAGES * TEST_PAGE, 1, flags, &iov, 1, &pin);
    hf_atomic_end();
    return rc;
}

static void pin_missing(void)
{
    pin_hole(HF_PIN_READ);
}

static void pin_missing_nowait(void)
{
    EXPECT_EQ(pin_hole(HF_PIN_READ | HF_PIN_NOWAIT), -EAGAIN);
}

static void check_engines(void)
{
    static const char *const passing[] = {"slots", "slots-fenced", "refcount", "srcu" TEST_RCU};

    for (unsigned i = 0; i < COUNT(passing); i++) {
        expect_passes(passing[i], pin_present);
        expect_caught(passing[i], pin_missing, "hf_pin");
        expect_passes(passing[i], pin_missing_nowait);
    }
    expect_caught("percpu-rwsem", pin_present, "hf_pin");
    expect_passes("percpu-rwsem", pin_missing_nowait);
}

/* -------------------------------------------------------------------------------- calls --- */

static int each_pin(void *arg, const struct hf_pin_info *info)
{
    (void)arg, (void)info;
    return 0;
}

static int each_extent(void *arg, const struct hf_extent_info *info)
{
    (void)arg, (void)info;
    return 0;
}

static const struct hf_pool_options plain = {.size = sizeof(plain), .pool_bytes = TEST_MIB(8)};
static struct hf_pool_info info = {.size = sizeof(info)};
static struct hf_check_result result = {.size = sizeof(result)};
static struct hf_clone_entry cloned = {.from = 2, .dir = HF_ROOT_INO, .name = "clone"};
static struct hf_compact_result compacted = {.size = sizeof(compacted)};
static struct hf_dedup_result dedup = {.size = sizeof(dedup)};
static struct statvfs space;
static struct hf_pool *other_pool;
static struct hf_file *other_file;
static struct hf_dir *other_dir;
static struct hf_dirent entry;
static struct stat st;
static char bytes[64];
static uint64_t off;
static struct hf_put put;
static struct hf_lease other_lease;
static struct hf_lease_token token;
static struct hf_recall recalled;
static struct hf_watch_report reported;
static struct iovec memory;
static struct statx stx;
static struct hf_trim_result trimmed = {.size = sizeof(trimmed)};
static struct hf_pool_memory device_memory = {.size = sizeof(device_memory)};

/* All that may sleep. */
#define CALLS(CALL)                                                                                \
    CALL(hf_pool_create, (test_path("new"), &plain))                                               \
    CALL(hf_pool_open, (test_path("new"), 0, &other_pool))                                         \
    CALL(hf_pool_open_engine, (test_path("new"), 0, "slots", &other_pool))                         \
    CALL(hf_pool_open_anonymous, (&plain, &other_pool))                                            \
    CALL(hf_pool_close, (pool))                                                                    \
    CALL(hf_pool_grow, (pool, TEST_MIB(16)))                                                       \
    CALL(hf_pool_shrink, (pool, TEST_MIB(8), NULL))                                                \
    CALL(hf_pool_trim, (pool, 0, &trimmed))                                                        \
    CALL(hf_pool_memory, (pool, &device_memory))                                                   \
    CALL(hf_pool_memory_fd, (pool))                                                                \
    CALL(hf_pool_register, (pool, HF_PIN_CPU, &device_memory))                                     \
    CALL(hf_pool_unregister, (pool, HF_PIN_CPU))                                                   \
    CALL(hf_pool_info, (pool, &info))                                                              \
    CALL(hf_pool_check, (test_path("new"), 0, NULL, NULL, NULL, &result))                          \
    CALL(hf_statvfs, (pool, &space))                                                               \
    CALL(hf_pins, (pool, each_pin, NULL))                                                          \
    CALL(hf_extents, (pool, 0, each_extent, NULL))                                                 \
    CALL(hf_path, (pool, 1, bytes, sizeof(bytes)))                                                 \
    CALL(hf_open, (pool, "/file", O_RDONLY, 0, &other_file))                                       \
    CALL(hf_close, (file))                                                                         \
    CALL(hf_mkdir, (pool, "/dir", 0700))                                                           \
    CALL(hf_rmdir, (pool, "/dir"))                                                                 \
    CALL(hf_mknod, (pool, "/fifo", S_IFIFO | 0600, 0))                                             \
    CALL(hf_link, (pool, "/file", "/link"))                                                        \
    CALL(hf_symlink, (pool, "/file", "/symlink"))                                                  \
    CALL(hf_readlink, (pool, "/file", bytes, sizeof(bytes)))                                       \
    CALL(hf_unlink, (pool, "/file", NULL))                                                         \
    CALL(hf_rename, (pool, "/file", "/other", 0))                                                  \
    CALL(hf_stat, (pool, "/file", 0, &st))                                                         \
    CALL(hf_statx, (pool, "/file", 0, &stx))                                                       \
    CALL(hf_fstat, (file, &st))                                                                    \
    CALL(hf_chmod, (pool, "/file", 0600))                                                          \
    CALL(hf_chown, (pool, "/file", 1, 1, 0))                                                       \
    CALL(hf_utimens, (pool, "/file", NULL, 0))                                                     \
    CALL(hf_setxattr, (pool, "/file", "user.a", "b", 1, 0))                                        \
    CALL(hf_getxattr, (pool, "/file", "user.a", bytes, sizeof(bytes)))                             \
    CALL(hf_listxattr, (pool, "/file", bytes, sizeof(bytes)))                                      \
    CALL(hf_removexattr, (pool, "/file", "user.a"))                                                \
    CALL(hf_opendir, (pool, "/", &other_dir))                                                      \
    CALL(hf_readdir, (dir, &entry))                                                                \
    CALL(hf_seekdir, (dir, NULL))                                                                  \
    CALL(hf_closedir, (dir))                                                                       \
    CALL(hf_openat, (pool, 1, "/file", O_RDONLY, 0, &other_file))                                  \
    CALL(hf_mkdirat, (pool, 1, "/dir", 0700))                                                      \
    CALL(hf_rmdirat, (pool, 1, "/dir"))                                                            \
    CALL(hf_mknodat, (pool, 1, "/fifo", S_IFIFO | 0600, 0))                                        \
    CALL(hf_linkat, (pool, 1, "/file", 1, "/link"))                                                \
    CALL(hf_symlinkat, (pool, "/file", 1, "/symlink"))                                             \
    CALL(hf_readlinkat, (pool, 1, "/file", bytes, sizeof(bytes)))                                  \
    CALL(hf_unlinkat, (pool, 1, "/file", NULL))                                                    \
    CALL(hf_renameat, (pool, 1, "/file", 1, "/other", 0))                                          \
    CALL(hf_statat, (pool, 1, "/file", 0, &st))                                                    \
    CALL(hf_statxat, (pool, 1, "/file", 0, &stx))                                                  \
    CALL(hf_chmodat, (pool, 1, "/file", 0600))                                                     \
    CALL(hf_chownat, (pool, 1, "/file", 1, 1, 0))                                                  \
    CALL(hf_utimensat, (pool, 1, "/file", NULL, 0))                                                \
    CALL(hf_setxattrat, (pool, 1, "/file", "user.a", "b", 1, 0))                                   \
    CALL(hf_getxattrat, (pool, 1, "/file", "user.a", bytes, sizeof(bytes)))                        \
    CALL(hf_listxattrat, (pool, 1, "/file", bytes, sizeof(bytes)))                                 \
    CALL(hf_removexattrat, (pool, 1, "/file", "user.a"))                                           \
    CALL(hf_opendirat, (pool, 1, "/", &other_dir))                                                 \
    CALL(hf_read, (file, bytes, sizeof(bytes), 0))                                                 \
    CALL(hf_write, (file, bytes, sizeof(bytes), 0))                                                \
    CALL(hf_put_begin, (file, TEST_MIB(1), TEST_PAGE, 0, &memory, 1, &put))                        \
    CALL(hf_put_commit, (file, &put, TEST_PAGE))                                                   \
    CALL(hf_put_commit_as, (file, &put, TEST_PAGE, "/put", 0))                                     \
    CALL(hf_put_abort, (pool, &put))                                                               \
    CALL(hf_append, (file, bytes, sizeof(bytes), &off))                                            \
    CALL(hf_clone_files, (pool, &cloned, 1))                                                       \
    CALL(hf_clone_range, (file, 0, file, TEST_PAGE, TEST_PAGE, NULL))                              \
    CALL(hf_compact, (file, 0, 0, 0, NULL, &compacted))                                            \
    CALL(hf_dedup_range, (file, 0, file, TEST_PAGE, TEST_PAGE, &dedup))                            \
    CALL(hf_copy_range, (file, 0, file, TEST_PAGE, TEST_PAGE))                                     \
    CALL(hf_fsync, (file))                                                                         \
    CALL(hf_seek, (file, 0, HF_SEEK_DATA, &off))                                                   \
    CALL(hf_truncate, (file, 0, NULL))                                                             \
    CALL(hf_fallocate, (file, HF_FALLOC_PUNCH_HOLE, 0, TEST_PAGE, NULL))                           \
    CALL(hf_move, (file, 0, TEST_PAGE, NULL))                                                      \
    CALL(hf_held, (file, 0, TEST_PAGE))                                                            \
    CALL(hf_lease, (file, 0, TEST_PAGE, NULL, &memory, 1, &other_lease))                           \
    CALL(hf_lease_take, (pool, &token, NULL, &memory, 1, &other_lease))                            \
    CALL(hf_recall_fd, (pool))                                                                     \
    CALL(hf_recall_next, (pool, &recalled))                                                        \
    CALL(hf_watch, (file, 1))                                                                      \
    CALL(hf_watch_next, (pool, 0, &reported))

#define BODY(name, arguments)                                                                      \
    static void call_##name(void)                                                                  \
    {                                                                                              \
        hf_atomic_begin();                                                                         \
        (void)name arguments;                                                                      \
        hf_atomic_end();                                                                           \
    }
CALLS(BODY)

static const struct {
    const char *name;
    void (*body)(void);
} calls[] = {
#define ROW(name, arguments) {#name, call_##name},
    CALLS(ROW)};

static void call_the_others(void)
{
    struct hf_stats stats = {.size = sizeof(stats)};
    struct hf_lease lease = test_lease(file, 0, TEST_PAGE, NULL, &memory, 1);
    struct hf_lease given = test_lease(file, 0, TEST_PAGE, NULL, &memory, 1);

    hf_atomic_begin();
    EXPECT_EQ(hf_stats(pool, &stats), 0);
    EXPECT_EQ(hf_lease_state(&lease), HF_LEASE_HELD);
    EXPECT_EQ(hf_lease_release(&lease), 0);
    EXPECT_EQ(hf_lease_give(&given, &token), 0);
    EXPECT_EQ(hf_lease_quarantine(&given), -EINVAL);
    EXPECT_EQ(hf_cancel(pool, 1), -ESRCH);
    EXPECT_EQ(hf_act_for(NULL), 0);
    EXPECT(*hf_version() && hf_strerror_detail());
    hf_atomic_end();
    EXPECT_EQ(hf_lease_take(pool, &token, NULL, &memory, 1, &given), 1);
    EXPECT_EQ(hf_lease_release(&given), 0);
}

static void check_calls(void)
{
    for (unsigned i = 0; i < COUNT(calls); i++)
        expect_caught("slots", calls[i].body, calls[i].name);
    expect_passes("slots", call_the_others);
}

/* ----------------------------------------------------------------------------- sections --- */

static void nested(void)
{
    hf_atomic_begin();
    hf_atomic_begin();
    hf_atomic_end();
    EXPECT_EQ(hf_fsync(file), 0);
}

static void *sync_file(void *arg)
{
    (void)arg;
    EXPECT_EQ(hf_fsync(file), 0);
    return NULL;
}

/* After the section, and in another thread during it, everything goes. */
static void outside(void)
{
    pthread_t thread;

    hf_atomic_begin();
    hf_atomic_begin();
    hf_atomic_end();
    EXPECT_EQ(pthread_create(&thread, NULL, sync_file, NULL), 0);
    EXPECT_EQ(pthread_join(thread, NULL), 0);
    hf_atomic_end();
    sync_file(NULL);
}

static void on_signal(int signal)
{
    (void)signal;
    hf_atomic_begin();
    hf_fsync(file);
    hf_atomic_end();
}

static void in_handler(void)
{
    signal(SIGUSR1, on_signal);
    raise(SIGUSR1);
}

static void end_alone(void)
{
    hf_atomic_begin();
    hf_atomic_end();
    hf_atomic_end();
}

static void check_sections(void)
{
    expect_caught("slots", nested, "hf_fsync");
    expect_passes("slots", outside);
    expect_caught("slots", in_handler, "hf_fsync");
    expect_aborts("slots", end_alone, "holdfast: hf_atomic_end() without its hf_atomic_begin():\n");
}

static void atomic_section(void)
{
    check_sections();
    check_calls();
    check_engines();
}

TEST_SCENARIO(atomic_section)
