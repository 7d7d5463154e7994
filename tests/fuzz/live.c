/* SPDX-License-Identifier: MIT */
/*
 * The run segment of a pool in use, with words in it that are wrong. A process makes calls of all
 * kinds while words change under it. It changes them itself between its calls, so that the same
 * input gives the same run, or another process does at any moment. A third process holds pins and
 * leases, and may be killed.
 *
 * A call may fail, and the process may end by the library's own hf_bug(). It must not touch memory
 * outside the pool and the segment, give out such memory, or go on for ever. A wait ends by a
 * signal, which comes again and again here, and everything else ends by itself. Afterwards fsck
 * says what has come of it, and mends it.
 */
#include "fuzz.h"

#include "pool/pool.h"

#include <execinfo.h>
#include <fcntl.h>
#include <holdfast/compact.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define POOL "live"
#define STEPS 60u
#define WAITS_MAX 4u /* that fail, each after a tenth of a second, before a worker ends */
#define TICK_US 20000
#define HANGS_SECONDS 10 /* of its processor time, which is a fraction of a second */
#define EDITS_MAX 24u
#define FILES 4u
#define PINS 16u
#define LEASES 8u
#define PIECES 8
#define GUARD_BYTES 65536u
#define LOOKS 200u
#define CANARIES 64u
#define CANARY_BYTES 1000u
#define HUNG 99

/* ---- damage ---- */

struct region {
    uint64_t at, bytes; /* in the segment */
};
#define REGIONS 14u

/* What the three processes know of each other. */
static struct told {
    uint32_t ready, working;
    struct region regions[REGIONS];
    struct hf_lease_token token;
} * told;

static void describe(const struct shm *shm)
{
    const struct shm_limits *limits = &shm->limits;
    const struct {
        const void *table;
        uint64_t bytes;
    } tables[REGIONS] = {
        {shm->run, sizeof(*shm->run)},
        {&shm->run->processes, sizeof(*shm->run) - offsetof(struct shm_run, processes) - 4096},
        {shm->processes, 4 * sizeof(*shm->processes)},
        {shm->lanes, 4 * sizeof(*shm->lanes)},
        {shm->vnodes, 8 * sizeof(*shm->vnodes)},
        {shm->hash, (shm->hash_mask + UINT64_C(1)) * sizeof(*shm->hash)},
        {shm->open, limits->vnodes * sizeof(*shm->open)},
        {shm->watches, 2 * limits->vnodes * sizeof(*shm->watches)},
        {shm->watchers, 3 * sizeof(*shm->watchers)},
        {shm->holds, 16 * sizeof(*shm->holds)},
        {shm->owners, 64 * sizeof(*shm->owners)},
        {shm->group_free, 8 * sizeof(*shm->group_free)},
        {shm->block_bits, 512},
        {shm->nodes, 8 * sizeof(*shm->nodes)},
    };

    for (unsigned i = 0; i < REGIONS; i++)
        told->regions[i] = (struct region){
            (uint64_t)((const char *)tables[i].table - (const char *)shm->run), tables[i].bytes};
}

static uint64_t wrong_value(struct test_rng *rng, uint64_t was, uint64_t other)
{
    static const uint64_t telling[] = {
        0,    1,    2,         3,        7,   16,   63,         64,        255,       256,
        4095, 4096, INT32_MAX, 1u << 31, 512, 4100, UINT32_MAX, INT64_MAX, UINT64_MAX};

    switch (test_below(rng, 6)) {
    case 0:
        return test_below(rng, 8);
    case 1:
        return telling[test_below(rng, sizeof(telling) / sizeof(telling[0]))];
    case 2:
        return was ^ UINT64_C(1) << test_below(rng, 64);
    case 3:
        return test_random(rng);
    case 4:
        return other;
    default:
        return was + test_below(rng, 33) - 16;
    }
}

/* Most words are in no use, and zero: one that is not is looked for. */
static char *any_word(struct test_rng *rng, char *segment, const struct region *region,
                      size_t width)
{
    static const uint64_t zero;
    bool in_use = test_chance(rng, 80);
    char *word;

    for (unsigned tries = 0; tries < LOOKS; tries++) {
        word = segment + region->at + test_below(rng, region->bytes / width) * width;
        if (!in_use || memcmp(word, &zero, width) != 0)
            break;
    }
    return word;
}

static void edit(struct test_rng *rng, char *segment)
{
    const struct region *region = &told->regions[test_below(rng, REGIONS)];
    size_t width = test_chance(rng, 60) ? 4 : 8;
    char *word = any_word(rng, segment, region, width);
    const char *other = any_word(rng, segment, region, 8);
    uint64_t was = 0, from = 0, value;

    memcpy(&was, word, width);
    memcpy(&from, other, width);
    value = wrong_value(rng, was, from);
    memcpy(word, &value, width);
}

/* ---- calls ---- */

struct worker {
    struct hf_pool *pool;
    struct test_rng rng;
    pid_t holder;
    struct hf_file *files[FILES];
    struct hf_pin pins[PINS];
    bool pinned[PINS];
    struct hf_lease leases[LEASES];
    bool leased[LEASES];
    unsigned waits;
};

static const char *const names[FILES] = {"/a", "/b", "/c", "/held"};
static char bytes[64 * TEST_PAGE];

/* What a call gives out lies in the pool, and the caller uses it. */
static void use(const struct worker *w, const struct iovec *iov, int count, bool write)
{
    const struct media *media = &w->pool->fs.dax.media;
    const char *end = media->base + media->mapped_bytes;

    for (int i = 0; i < count; i++) {
        char *at = iov[i].iov_base;

        if (at < media->base || at >= end || iov[i].iov_len > (size_t)(end - at))
            FAIL("a piece at %p of %zu bytes is not in the pool, %p to %p", (void *)at,
                 iov[i].iov_len, (void *)media->base, (const void *)end);
        if (write)
            at[iov[i].iov_len - 1] = at[0] = 'w';
        else
            bytes[0] = (char)(at[0] + at[iov[i].iov_len - 1]);
    }
}

static struct hf_file *any_file(struct worker *w)
{
    unsigned i = (unsigned)test_below(&w->rng, FILES);

    if (!w->files[i] && hf_open(w->pool, names[i], O_RDWR | O_CREAT, 0600, &w->files[i]))
        w->files[i] = NULL;
    return w->files[i];
}

static struct hf_policy any_policy(struct worker *w)
{
    switch (test_below(&w->rng, 4)) {
    case 0:
        return test_nowait;
    case 1:
        return test_deadline_ms(1);
    case 2:
        return test_deadline_detach_ms(1);
    default:
        return test_detach;
    }
}

static uint64_t any_off(struct worker *w)
{
    return test_below(&w->rng, 24 * TEST_PAGE);
}

static uint64_t any_pages(struct worker *w)
{
    return test_below(&w->rng, 16) * TEST_PAGE;
}

static int step_write(struct worker *w, struct hf_file *file)
{
    return (int)hf_write(file, bytes, 1 + test_below(&w->rng, 8 * TEST_PAGE), any_off(w));
}

static int step_read(struct worker *w, struct hf_file *file)
{
    return (int)hf_read(file, bytes, 1 + test_below(&w->rng, 16 * TEST_PAGE), any_off(w));
}

static int step_append(struct worker *w, struct hf_file *file)
{
    return (int)hf_append(file, bytes, 1 + test_below(&w->rng, 3 * TEST_PAGE), NULL);
}

static int step_pin(struct worker *w, struct hf_file *file)
{
    static const uint32_t kinds[] = {
        HF_PIN_READ,     HF_PIN_WRITE, HF_PIN_READ | HF_PIN_NOWAIT, HF_PIN_WRITE | HF_PIN_GPU,
        HF_PIN_COHERENT, HF_PIN_NOFILL};
    unsigned i = (unsigned)test_below(&w->rng, PINS);
    uint32_t flags = kinds[test_below(&w->rng, sizeof(kinds) / sizeof(kinds[0]))];
    uint64_t len = test_chance(&w->rng, 50) ? 100 : 5 * TEST_PAGE;
    struct iovec iov[PIECES];
    int rc;

    if (w->pinned[i]) {
        w->pinned[i] = false;
        return hf_unpin(&w->pins[i]);
    }
    rc = hf_pin(file, test_below(&w->rng, 8) * TEST_PAGE, len, flags, iov, PIECES, &w->pins[i]);
    w->pinned[i] = rc > 0;
    use(w, iov, rc, flags & HF_PIN_WRITE);
    return rc;
}

static void let_go(void *arg, const struct hf_recall *recall)
{
    (void)arg;
    (void)hf_lease_release(&recall->lease);
}

static int step_lease(struct worker *w, struct hf_file *file)
{
    struct hf_lease_options options = {.size = sizeof(options),
                                       .recall = test_chance(&w->rng, 50) ? let_go : NULL};
    unsigned i = (unsigned)test_below(&w->rng, LEASES);
    struct hf_lease_token token;
    struct iovec iov[PIECES];
    int rc;

    if (!w->leased[i]) {
        rc = hf_lease(file, test_below(&w->rng, 6) * TEST_PAGE + 10, 2 * TEST_PAGE, &options, iov,
                      PIECES, &w->leases[i]);
        w->leased[i] = rc > 0;
        use(w, iov, rc, false);
        return rc;
    }
    w->leased[i] = false;
    (void)hf_lease_state(&w->leases[i]);
    if (test_chance(&w->rng, 50))
        return hf_lease_release(&w->leases[i]);
    rc = hf_lease_give(&w->leases[i], &token);
    if (rc == 0) {
        rc = hf_lease_take(w->pool, &token, &options, iov, PIECES, &w->leases[i]);
        w->leased[i] = rc > 0;
        use(w, iov, rc, false);
    }
    return rc;
}

static int step_take(struct worker *w, struct hf_file *file)
{
    struct hf_lease_options options = {.size = sizeof(options)};
    struct hf_lease lease;
    struct iovec iov[PIECES];
    int rc = hf_lease_take(w->pool, &told->token, &options, iov, PIECES, &lease);

    (void)file;
    use(w, iov, rc, false);
    return rc > 0 ? hf_lease_release(&lease) : rc;
}

static int step_truncate(struct worker *w, struct hf_file *file)
{
    struct hf_policy policy = any_policy(w);

    return hf_truncate(file, test_chance(&w->rng, 30) ? 0 : any_off(w), &policy);
}

static int step_fallocate(struct worker *w, struct hf_file *file)
{
    static const uint32_t modes[] = {0,
                                     HF_FALLOC_KEEP_SIZE,
                                     HF_FALLOC_PUNCH_HOLE | HF_FALLOC_KEEP_SIZE,
                                     HF_FALLOC_COLLAPSE_RANGE,
                                     HF_FALLOC_ZERO_RANGE,
                                     HF_FALLOC_INSERT_RANGE};
    struct hf_policy policy = any_policy(w);

    return hf_fallocate(file, modes[test_below(&w->rng, 6)], any_pages(w), TEST_PAGE + any_pages(w),
                        &policy);
}

static int step_move(struct worker *w, struct hf_file *file)
{
    struct hf_policy policy = any_policy(w);

    return hf_move(file, any_pages(w), TEST_PAGE + any_pages(w), &policy);
}

static int step_share(struct worker *w, struct hf_file *file)
{
    struct hf_dedup_result result = {.size = sizeof(result)};
    struct hf_policy policy = {.kind = HF_POLICY_NOWAIT};
    struct hf_file *other = any_file(w);

    if (!other)
        return 0;
    switch (test_below(&w->rng, 3)) {
    case 0:
        return hf_clone_range(file, any_pages(w), other, any_pages(w), 2 * TEST_PAGE, &policy);
    case 1:
        return hf_dedup_range(file, 0, other, 0, 4 * TEST_PAGE, &result);
    default:
        return (int)hf_copy_range(file, any_off(w), other, any_off(w), 5 * TEST_PAGE);
    }
}

static int step_name(struct worker *w, struct hf_file *file)
{
    const char *name = names[test_below(&w->rng, FILES)], *to = names[test_below(&w->rng, FILES)];
    struct stat st;

    (void)file;
    switch (test_below(&w->rng, 6)) {
    case 0:
        return hf_unlink(w->pool, name, NULL);
    case 1:
        return hf_rename(w->pool, name, to, 0);
    case 2:
        return hf_stat(w->pool, name, 0, &st);
    case 3:
        return hf_utimens(w->pool, name, NULL, 0);
    case 4:
        return hf_setxattr(w->pool, name, "user.x", "value", 5, 0);
    default:
        return hf_chmod(w->pool, name, 0600);
    }
}

static int look_at_pin(void *arg, const struct hf_pin_info *info)
{
    (void)arg;
    return memchr(info->command, 0, sizeof(info->command)) == NULL;
}

static int step_look(struct worker *w, struct hf_file *file)
{
    struct hf_pool_info info = {.size = sizeof(info)};
    struct hf_stats stats = {.size = sizeof(stats)};
    struct hf_recall recall;
    struct statvfs vfs;
    uint64_t out;
    int rc;

    switch (test_below(&w->rng, 7)) {
    case 0:
        rc = hf_pins(w->pool, look_at_pin, NULL);
        EXPECT(rc <= 0);
        return rc;
    case 1:
        return hf_pool_info(w->pool, &info);
    case 2:
        return hf_statvfs(w->pool, &vfs);
    case 3:
        return hf_stats(w->pool, &stats);
    case 4:
        return hf_recall_next(w->pool, &recall);
    case 5:
        return hf_seek(file, any_off(w), HF_SEEK_HOLE, &out);
    default:
        return hf_fsync(file);
    }
}

static int step_watch(struct worker *w, struct hf_file *file)
{
    struct hf_watch_report report;
    int rc = hf_watch(file, (int)test_below(&w->rng, 3));

    for (unsigned i = 0; rc >= 0 && i < 3; i++)
        rc = hf_watch_next(w->pool, 0, &report);
    return rc;
}

static int step_close(struct worker *w, struct hf_file *file)
{
    for (unsigned i = 0; i < FILES; i++)
        if (w->files[i] == file)
            w->files[i] = NULL;
    return hf_close(file);
}

static int step_grow(struct worker *w, struct hf_file *file)
{
    (void)file;
    return hf_pool_grow(w->pool, TEST_MIB(8 + 2 * test_below(&w->rng, 4)));
}

static int step_tend(struct worker *w, struct hf_file *file)
{
    struct hf_compact_result compacted = {.size = sizeof(compacted)};
    struct hf_trim_result trimmed = {.size = sizeof(trimmed)};
    struct hf_policy policy = any_policy(w);

    switch (test_below(&w->rng, 4)) {
    case 0:
        return hf_pool_trim(w->pool, test_below(&w->rng, 2) * HF_HUGE_BYTES, &trimmed);
    case 1:
        return hf_pool_shrink(w->pool, TEST_MIB(8 + 2 * test_below(&w->rng, 3)), &policy);
    case 2:
        return hf_compact(file, 0, 0, 0, test_below(&w->rng, 2) ? &policy : NULL, &compacted);
    default:
        return hf_compact(file, any_off(w), 3 * HF_HUGE_BYTES, HF_COMPACT_LOOK, NULL, &compacted);
    }
}

/* So that there are whole runs to be laid for huge entries. */
static int step_long(struct worker *w, struct hf_file *file)
{
    static char piece[32 * TEST_PAGE];
    uint64_t run = test_below(&w->rng, 2) * HF_HUGE_BYTES;
    int rc = 0;

    for (uint64_t off = HF_HUGE_BYTES; rc >= 0 && off > 0; off -= sizeof(piece))
        rc = (int)hf_write(file, piece, sizeof(piece), run + off - sizeof(piece));
    return rc;
}

static int (*const steps[])(struct worker *w, struct hf_file *file) = {
    step_write, step_read,      step_append, step_pin,   step_pin,       step_pin,      step_lease,
    step_take,  step_move,      step_share,  step_name,  step_look,      step_watch,    step_tend,
    step_tend,  step_fallocate, step_grow,   step_close, step_fallocate, step_truncate, step_long};

/* ---- the process that works ---- */

static void on_tick(int number)
{
    struct timespec used;
    void *frames[40];

    (void)number;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    if (used.tv_sec < HANGS_SECONDS * (test_is_slow() ? 10 : 1))
        return;
    dprintf(STDERR_FILENO, "it goes on and on:\n");
    backtrace_symbols_fd(frames, backtrace(frames, 40), STDERR_FILENO);
    _exit(HUNG);
}

static const struct shm *working_on;

static void on_fault(int number, siginfo_t *info, void *context)
{
    void *frames[40];

    (void)context;
    dprintf(STDERR_FILENO, "signal %d at %p; the segment is at %p, %" PRIu64 " bytes\n", number,
            info->si_addr, (void *)working_on->run, working_on->bytes);
    backtrace_symbols_fd(frames, backtrace(frames, 40), STDERR_FILENO);
    signal(number, SIG_DFL);
    raise(number);
}

static void catch_signals(void)
{
    const struct itimerval often = {{0, TICK_US}, {0, TICK_US}};
    const struct rlimit none = {0, 0};
    struct sigaction tick = {.sa_handler = on_tick};
    struct sigaction fault = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};

    EXPECT_EQ(setrlimit(RLIMIT_CORE, &none), 0);
    EXPECT_EQ(sigaction(SIGALRM, &tick, NULL), 0);
    if (strcmp(SANITIZER, "none") == 0) {
        EXPECT_EQ(sigaction(SIGSEGV, &fault, NULL), 0);
        EXPECT_EQ(sigaction(SIGBUS, &fault, NULL), 0);
    }
    signal(SIGABRT, SIG_DFL);
    EXPECT_EQ(setitimer(ITIMER_REAL, &often, NULL), 0);
}

/* A step past the ends of the mappings is a fault, unless something else is there already. */
static void guard(const void *at, uint64_t len)
{
    (void)mmap((char *)at - GUARD_BYTES, GUARD_BYTES, PROT_NONE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    (void)mmap((char *)at + len, GUARD_BYTES, PROT_NONE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
}

static unsigned char *canaries[CANARIES];

static void make_canaries(void)
{
    for (unsigned i = 0; i < CANARIES; i++) {
        canaries[i] = malloc(CANARY_BYTES);
        EXPECT(canaries[i] != NULL);
        memset(canaries[i], 'c', CANARY_BYTES);
    }
}

static void expect_canaries(void)
{
    for (unsigned i = 0; i < CANARIES; i++)
        for (unsigned at = 0; at < CANARY_BYTES; at++)
            EXPECT(canaries[i][at] == 'c');
}

struct round {
    uint64_t seed;
    bool by_others; /* the words change by another process, at any moment */
    pid_t holder;
};

static void work(void *arg)
{
    const struct round *round = arg;
    struct worker w = {.pool = test_pool_open(POOL), .holder = round->holder};
    const struct shm *shm = w.pool->fs.dax.shm;
    struct test_rng wrong = {.state = test_mix(round->seed, 2)};
    unsigned dies = (unsigned)test_below(&wrong, 2 * STEPS), edits = 0;

    w.rng.state = test_mix(round->seed, 1);
    working_on = shm;
    guard(shm->run, shm->bytes);
    make_canaries();
    catch_signals();
    test_raise(&told->working, 1);
    for (unsigned i = 0; i < STEPS && w.waits < WAITS_MAX; i++) {
        struct hf_file *file = any_file(&w);
        int rc;

        if (!round->by_others && edits < EDITS_MAX && test_chance(&wrong, 40)) {
            edit(&wrong, (char *)shm->run);
            edits++;
        }
        if (i == dies)
            kill(w.holder, SIGKILL);
        if (!file) {
            w.waits++;
            continue;
        }
        rc = steps[test_below(&w.rng, sizeof(steps) / sizeof(steps[0]))](&w, file);
        w.waits += rc == -EINTR || rc == -EBUSY || rc == -ETIMEDOUT;
    }
    (void)hf_pool_close(w.pool);
    expect_canaries();
}

/* ---- the process that holds ---- */

static void hold(void *arg)
{
    struct hf_lease_options options = {.size = sizeof(options)};
    struct hf_pool *pool = test_pool_open(POOL);
    struct hf_file *file = test_file_filled(pool, "/held", 1, 12);
    struct hf_lease lease, given;
    struct iovec iov[PIECES];

    (void)arg;
    test_pin(file, 0, TEST_PAGE, HF_PIN_READ, iov, PIECES);
    test_pin(file, 2 * TEST_PAGE, 2 * TEST_PAGE, HF_PIN_WRITE | HF_PIN_RDMA, iov, PIECES);
    lease = test_lease(file, 5 * TEST_PAGE, 2 * TEST_PAGE, &options, iov, PIECES);
    given = test_lease(file, 8 * TEST_PAGE, TEST_PAGE, &options, iov, PIECES);
    EXPECT_EQ(hf_lease_give(&given, &told->token), 0);
    (void)lease;
    EXPECT_EQ(hf_truncate(file, 10 * TEST_PAGE, &test_detach), 0);
    describe(pool->fs.dax.shm);
    test_raise(&told->ready, 1);
    for (;;)
        pause();
}

/* ---- a round ---- */

static unsigned ended_well, ended_by_bug;

static void change_words(const struct round *round)
{
    struct test_rng rng = {.state = test_mix(round->seed, 3)};
    int fd = open(test_path(POOL "/run"), O_RDWR | O_CLOEXEC);
    unsigned edits = 1 + (unsigned)test_below(&rng, EDITS_MAX);
    struct stat st;
    char *segment;

    if (fd < 0)
        test_skip("the pool's run segment does not lie in it here: it needs a tmpfs");
    EXPECT_EQ(fstat(fd, &st), 0);
    segment = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    EXPECT(segment != MAP_FAILED);
    close(fd);
    test_await(&told->working, 1);
    while (edits--) {
        edit(&rng, segment);
        usleep((useconds_t)test_below(&rng, 300));
    }
    munmap(segment, (size_t)st.st_size);
}

/* What the worker said before it ended. */
static void read_said(int fd, char *text, size_t room)
{
    ssize_t n = pread(fd, text, room - 1, 0);

    text[n > 0 ? n : 0] = 0;
}

static void judge(int status, int said)
{
    char text[8192];

    read_said(said, text, sizeof(text));
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        ended_well++;
    else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT &&
             strstr(text, "holdfast: broken invariant"))
        ended_by_bug++;
    else
        FAIL("the worker ended with status 0x%x and said:\n%s", (unsigned)status, text);
    if (getenv("LIVE_TALKS") && *text)
        fprintf(stderr, "%s", text);
}

static void say(void *unused, const char *sentence)
{
    (void)unused;
    if (getenv("LIVE_TALKS"))
        fprintf(stderr, "fsck: %s\n", sentence);
}

static int check(uint32_t flags, struct hf_check_result *result)
{
    *result = (struct hf_check_result){.size = sizeof(*result)};
    return hf_pool_check(test_path(POOL), flags, say, NULL, NULL, result);
}

static void expect_mended(void)
{
    struct hf_check_result result;
    struct hf_pool *pool;

    EXPECT_EQ(check(0, &result), 0);
    if (result.problems) {
        EXPECT_EQ(check(HF_CHECK_REPAIR, &result), 0);
        EXPECT_EQ(check(0, &result), 0);
        EXPECT_EQ(result.problems, 0);
    }
    pool = test_pool_open(POOL);
    test_remove_below(pool, HF_ROOT_INO);
    test_pool_close(pool);
}

static void work_with(void *arg)
{
    const int *said = ((void **)arg)[1];

    EXPECT_OK(dup2(*said, STDERR_FILENO));
    work(((void **)arg)[0]);
}

static void run(const uint8_t *input, size_t len)
{
    struct hf_pool_options options = {.size = sizeof(options),
                                      .pool_bytes = TEST_MIB(8),
                                      .max_processes = 8,
                                      .max_threads = 16,
                                      .max_files = 64,
                                      .max_leases = 256,
                                      .quarantine_ns = 1};
    struct round round = {.seed = len};
    int said = memfd_create("said", MFD_CLOEXEC);
    void *both[2] = {&round, &said};
    pid_t worker;

    for (size_t i = 0; i < len; i++)
        round.seed = test_mix(round.seed, input[i]);
    round.by_others = round.seed & 1;
    EXPECT_OK(said);
    *told = (struct told){0};
    EXPECT_EQ(hf_pool_create(test_path(POOL), &options), 0);
    round.holder = test_fork(hold, NULL);
    test_await(&told->ready, 1);
    worker = test_fork(work_with, both);
    if (round.by_others)
        change_words(&round);
    judge(test_wait_status(worker), said);
    test_kill(round.holder);
    expect_mended();
    test_remove_tree(test_path(POOL));
    close(said);
}

static void report(void)
{
    printf("%u workers ended by themselves, %u by a broken invariant\n", ended_well, ended_by_bug);
}

static void begin(void)
{
    memset(bytes, 'x', sizeof(bytes));
    told = test_shared(sizeof(*told));
    atexit(report);
}

const struct fuzz_target fuzz_target = {begin, run};
