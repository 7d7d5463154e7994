/* SPDX-License-Identifier: MIT */
/*
 * kill [--row NAME] [--kind memory|durable] [--survivor NAME] [--engine NAME] [--points N]
 *      [--then-points N] [--at N] [--then N] [--alone] [--steps] [--break recent]
 *
 * Each row is run with each kind of pool and each survivor. The first run says which states there
 * may be, the second counts the changes of what is shared. Then one run for each chosen change ends
 * with a kill after it. --points: so many of them are chosen by chance (0: all). --then-points: the
 * survivor is killed as well, at so many changes of its own, and the next one finds the pool. --at,
 * --then: only these, with their stacks. --alone: the run segment has gone before the next one to
 * attach comes. --steps: in lab builds, the rows of changes in steps. --break recent: in lab
 * builds, an entry of POOL/recent counts too early, and that must be seen.
 *
 * Survivors:
 *   writer        was attached, and goes on
 *   reader        was attached for reading only, and looks; then the next one comes
 *   none          the next one to attach is the first
 *   none-reading  it is the first, for reading only
 */
#include "kill.h"
#include "short_steps.h"

#include "base/lab.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096u
#define IMAGE_PAGES 4096u
#define LMDB_EVERY 16u

enum survivor { WRITER, READER, NONE, NONE_READING, SURVIVORS };
static const char *const survivor_names[] = {"writer", "reader", "none", "none-reading"};

static const struct {
    const char *name;
    uint32_t flags;
} kinds[] = {{"memory", HF_POOL_MEMORY}, {"durable", HF_POOL_DURABLE}};
#define KINDS 2u

/* A file of the pool as it is at first. */
struct image {
    const char *name;
    off_t bytes;
    unsigned pages;
    uint64_t *offs;
    char *content;
};

struct shared {
    uint32_t ready, go;
    unsigned allowed_count;
    char allowed[KILL_STEPS][KILL_PICTURE];
    char found[KILL_PICTURE]; /* what the survivor has made of it */
    uint32_t has_found;
    struct trap_log log, then_log;
};

static struct {
    const struct kill_row *row;
    unsigned kind;
    enum survivor survivor;
    uint64_t at, then;
    bool golden, show;
} now;

static struct shared *shared;
static struct image images[KINDS][3];
static const char *engine = "slots";
static unsigned failures;
static bool alone;

/* --- pools --- */

static void read_image(struct image *image, const char *name)
{
    struct stat st;
    char page[PAGE];
    int fd = open(test_path(name), O_RDONLY | O_CLOEXEC);

    EXPECT_OK(fd);
    EXPECT_EQ(fstat(fd, &st), 0);
    image->name = strchr(name, '/') + 1;
    image->bytes = st.st_size;
    image->offs = calloc(IMAGE_PAGES, sizeof(*image->offs));
    image->content = malloc((size_t)IMAGE_PAGES * PAGE);
    EXPECT(image->offs && image->content);
    for (off_t off = 0; (off = lseek(fd, off, SEEK_DATA)) >= 0; off = (off | (PAGE - 1)) + 1) {
        if (pread(fd, page, PAGE, off & ~(off_t)(PAGE - 1)) <= 0)
            break;
        if (test_is_zero(page, PAGE))
            continue;
        EXPECT(image->pages < IMAGE_PAGES);
        image->offs[image->pages] = (uint64_t)off & ~(uint64_t)(PAGE - 1);
        memcpy(image->content + (size_t)image->pages++ * PAGE, page, PAGE);
    }
    close(fd);
}

static void make_images(unsigned kind)
{
    struct hf_pool_options options = {.size = sizeof(options),
                                      .pool_bytes = KILL_POOL_BYTES,
                                      .flags = kinds[kind].flags,
                                      .engine = engine,
                                      .max_processes = 8,
                                      .max_threads = 16,
                                      .max_files = 32,
                                      .max_leases = 64,
                                      .quarantine_ns =
                                          1}; /* what devices may have had comes back at once */
    struct hf_pool *pool;

    EXPECT_EQ(hf_pool_create(test_path("first"), &options), 0);
    pool = test_pool_open("first");
    kill_fill(pool);
    test_pool_close(pool);
    read_image(&images[kind][0], "first/meta/data.mdb");
    read_image(&images[kind][1], "first/data");
    read_image(&images[kind][2], "first/lock");
}

static void in_child(void (*body)(void *arg))
{
    test_join(test_fork(body, NULL));
}

static void place_image(const struct image *image)
{
    char path[64];
    int fd;

    snprintf(path, sizeof(path), KILL_POOL "/%s", image->name);
    fd = open(test_path(path), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    EXPECT_OK(fd);
    EXPECT_EQ(ftruncate(fd, image->bytes), 0);
    for (unsigned i = 0; i < image->pages; i++)
        EXPECT_EQ(pwrite(fd, image->content + (size_t)i * PAGE, PAGE, (off_t)image->offs[i]), PAGE);
    close(fd);
}

static void place_pool(void)
{
    test_remove_tree(test_path(KILL_POOL));
    EXPECT_EQ(mkdir(test_path(KILL_POOL), 0700), 0);
    EXPECT_EQ(mkdir(test_path(KILL_POOL "/meta"), 0700), 0);
    for (unsigned i = 0; i < 3; i++)
        place_image(&images[now.kind][i]);
}

static struct hf_pool *open_pool(uint32_t flags)
{
    struct hf_pool *pool;

    EXPECT_EQ(hf_pool_open(test_path(KILL_POOL), flags, &pool), 0);
    return pool;
}

/* --- what is found --- */

void kill_step(struct hf_pool *pool)
{
    if (!now.golden)
        return;
    EXPECT(shared->allowed_count < KILL_STEPS);
    kill_picture(pool, shared->allowed[shared->allowed_count++]);
}

static void look(struct hf_pool *pool)
{
    char picture[KILL_PICTURE];
    bool allowed = false;

    kill_picture(pool, picture);
    if (test_peek(&shared->has_found) && strcmp(picture, shared->found) != 0)
        FAIL("found\n%sand before\n%s", picture, shared->found);
    for (unsigned i = 0; i < shared->allowed_count && !test_peek(&shared->has_found); i++)
        allowed |= strcmp(picture, shared->allowed[i]) == 0;
    if (!allowed && !test_peek(&shared->has_found)) {
        fprintf(stderr, "found\n%s", picture);
        for (unsigned i = 0; i < shared->allowed_count; i++)
            fprintf(stderr, "%s\n%s", i ? "or" : "allowed are", shared->allowed[i]);
        FAIL("neither before nor after");
    }
}

/* --- the processes --- */

/* What it holds of /a. */
struct held {
    struct hf_file *file;
    struct hf_pin pins[2];
    struct iovec iovs[2];
    char content[2][PAGE];
};
static const uint64_t pinned_pages[2] = {1, 4};

static void take(struct hf_pool *pool, unsigned others, struct held *held)
{
    if (others & KILL_OTHER_OPENS)
        EXPECT_EQ(hf_open(pool, "/a", O_RDWR, 0, &held->file), 0);
    for (unsigned i = 0; i < 2 && others & KILL_OTHER_PINS; i++) {
        held->pins[i] = test_pin(held->file, pinned_pages[i] * TEST_PAGE, TEST_PAGE, HF_PIN_READ,
                                 &held->iovs[i], 1);
        memcpy(held->content[i], held->iovs[i].iov_base, PAGE);
    }
}

static void expect_held(unsigned others, const struct held *held)
{
    for (unsigned i = 0; i < 2 && others & KILL_OTHER_PINS; i++)
        EXPECT(memcmp(held->content[i], held->iovs[i].iov_base, PAGE) == 0);
}

static void let_go(unsigned others, struct held *held)
{
    for (unsigned i = 0; i < 2 && others & KILL_OTHER_PINS; i++)
        EXPECT_EQ(hf_unpin(&held->pins[i]), 0);
    if (others & KILL_OTHER_OPENS)
        EXPECT_EQ(hf_close(held->file), 0);
}

static void arm_then(void)
{
    if (now.then != TRAP_NEVER)
        trap_arm(test_path(KILL_POOL), now.then, &shared->then_log, now.show);
}

/* New files get the free blocks: what is pinned is in none of them. */
static void fill_up(struct hf_pool *pool)
{
    struct hf_file *file = test_file(pool, "/fill");
    char page[PAGE];

    memset(page, 0xee, sizeof(page));
    while (hf_append(file, page, sizeof(page), NULL) > 0)
        ;
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_unlink(pool, "/fill", &test_wait), 0);
}

static void writer(void *arg)
{
    struct held held;
    struct hf_pool *pool;
    unsigned others = now.row->others;

    (void)arg;
    alarm(TEST_PATIENCE_SECONDS);
    pool = open_pool(0);
    take(pool, others, &held);
    test_raise(&shared->ready, 1);
    test_await(&shared->go, 1);
    arm_then();
    look(pool);
    trap_disarm();
    expect_held(others, &held);
    if (others & KILL_OTHER_PINS)
        fill_up(pool);
    expect_held(others, &held);
    let_go(others, &held);
    kill_use(pool);
    kill_account(pool);
    kill_picture(pool, shared->found);
    test_raise(&shared->has_found, 1);
    test_pool_close(pool);
}

static void reader(void *arg)
{
    struct hf_pool *pool;

    (void)arg;
    alarm(TEST_PATIENCE_SECONDS);
    pool = open_pool(HF_OPEN_RDONLY);
    test_raise(&shared->ready, 2);
    test_await(&shared->go, 2);
    arm_then();
    look(pool);
    test_pool_close(pool);
    trap_disarm();
}

static void victim(void *arg)
{
    const struct kill_row *row = now.row;
    struct hf_pool *pool = NULL;
    struct hf_file *file = NULL;

    (void)arg;
    alarm(TEST_PATIENCE_SECONDS);
    if (!row->attaches) {
        pool = open_pool(row->reads ? HF_OPEN_RDONLY : 0);
        if (row->file)
            EXPECT_EQ(hf_open(pool, row->file, row->reads ? O_RDONLY : O_RDWR, 0, &file), 0);
        if (row->prepare)
            row->prepare(pool, file);
    }
    if (now.golden && pool)
        kill_step(pool);
    if (!now.golden)
        trap_arm(test_path(KILL_POOL), now.at, &shared->log, now.show);
    row->act(pool, file);
    trap_disarm();
    _exit(0);
}

static void look_first(void *arg)
{
    uint32_t flags = *(uint32_t *)arg;
    struct hf_pool *pool;

    alarm(TEST_PATIENCE_SECONDS);
    arm_then();
    pool = open_pool(flags);
    look(pool);
    test_pool_close(pool);
    trap_disarm();
}

static void ignore(void *arg, const char *sentence)
{
    (void)arg, (void)sentence;
}

/* What opening would settle, fsck may be asked to. */
static void repair(void)
{
    struct hf_check_result result = {.size = sizeof(result)};

    EXPECT_EQ(hf_pool_check(test_path(KILL_POOL), HF_CHECK_REPAIR, ignore, NULL, NULL, &result), 0);
    EXPECT_EQ(result.problems, result.repaired);
}

static void next(void *arg)
{
    struct hf_pool *pool;

    (void)arg;
    alarm(TEST_PATIENCE_SECONDS);
    if (now.at % 2)
        repair();
    pool = open_pool(0);
    look(pool);
    kill_use(pool);
    kill_account(pool);
    test_pool_close(pool);
    test_pool_check(KILL_POOL);
}

/* --- one experiment --- */

/* 0: it ended by itself; 1: killed; 2: failed. */
static int outcome(pid_t pid, const char *process)
{
    int status = test_wait_status(pid);

    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        return 1;
    if (WIFSIGNALED(status))
        fprintf(stderr, "%s was ended by signal %d (%s)\n", process, WTERMSIG(status),
                WTERMSIG(status) == SIGALRM ? "it hangs" : strsignal(WTERMSIG(status)));
    else
        fprintf(stderr, "%s failed\n", process);
    return 2;
}

struct experiment {
    pid_t writer, reader;
};

static void begin(struct experiment *e)
{
    place_pool();
    e->writer = e->reader = 0;
    shared->ready = shared->go = shared->has_found = 0;
    if (now.survivor == WRITER || now.row->others) {
        e->writer = test_fork(writer, NULL);
        test_await(&shared->ready, 1);
    }
    if (now.survivor == READER) {
        e->reader = test_fork(reader, NULL);
        test_await(&shared->ready, 2);
    }
}

static bool survive(struct experiment *e)
{
    uint32_t flags = now.survivor == NONE_READING ? HF_OPEN_RDONLY : 0;
    uint64_t then = now.then;
    int how = 0;

    if (e->writer && now.survivor != WRITER)
        test_kill(e->writer);
    if (alone)
        unlink(test_path(KILL_POOL "/run"));
    if (now.survivor == WRITER) {
        test_raise(&shared->go, 1);
        how = outcome(e->writer, "the writer");
    } else if (now.survivor == READER) {
        test_raise(&shared->go, 2);
        how = outcome(e->reader, "the reader");
    } else if (now.survivor == NONE_READING || now.then != TRAP_NEVER) {
        how = outcome(test_fork(look_first, &flags), "the first");
    }
    if (how == 2)
        return false;
    now.then = TRAP_NEVER;
    how = outcome(test_fork(next, NULL), "the next");
    now.then = then;
    return how == 0;
}

/* False: something is wrong. *ended: the call was over before the kill. */
static bool try_one(bool *ended)
{
    struct experiment e;
    int how;

    begin(&e);
    how = outcome(test_fork(victim, NULL), "the one to be killed");
    *ended = how == 0;
    if (how == 2) {
        if (e.writer)
            test_kill(e.writer);
        if (e.reader)
            test_kill(e.reader);
        return false;
    }
    return survive(&e);
}

static void report(void)
{
    failures++;
    fprintf(stderr, "row %s, kind %s, engine %s, survivor %s, killed after event %" PRIu64,
            now.row->name, kinds[now.kind].name, engine, survivor_names[now.survivor], now.at);
    if (now.then != TRAP_NEVER)
        fprintf(stderr, ", the survivor after %" PRIu64, now.then);
    fprintf(stderr,
            "\nagain, with the stacks: --row %s --kind %s --engine %s --survivor %s --at %" PRIu64,
            now.row->name, kinds[now.kind].name, engine, survivor_names[now.survivor], now.at);
    if (now.then != TRAP_NEVER)
        fprintf(stderr, " --then %" PRIu64, now.then);
    fprintf(stderr, "\n");
}

/* --- which changes --- */

/* Of a run of stores to pages that nothing leads to: every 16th, and the last. */
static bool worth_it(const struct trap_log *log, uint64_t i, uint64_t run)
{
    if (log->classes[i] != TRAP_LMDB)
        return true;
    return run % LMDB_EVERY == 0 || i + 1 == log->count || log->classes[i + 1] != TRAP_LMDB;
}

static unsigned candidates(const struct trap_log *log, uint64_t *out)
{
    uint64_t run = 0;
    unsigned count = 0;

    for (uint64_t i = 0; i < log->count; i++) {
        run = log->classes[i] == TRAP_LMDB ? run + 1 : 0;
        if (worth_it(log, i, run))
            out[count++] = i;
    }
    return count;
}

/* `points` of them, one by chance of each stretch of the same length; 0: all. */
static unsigned choose(struct test_rng *rng, const struct trap_log *log, unsigned points,
                       uint64_t *out)
{
    unsigned count = candidates(log, out);

    if (points == 0 || points >= count)
        return count;
    for (unsigned i = 0; i < points; i++) {
        unsigned from = (unsigned)((uint64_t)i * count / points);
        unsigned end = (unsigned)((uint64_t)(i + 1) * count / points);

        out[i] = out[from + test_below(rng, end - from)];
    }
    return points;
}

/* --- all of them --- */

struct options {
    const char *row, *kind, *survivor;
    unsigned points, then_points;
    uint64_t at, then;
    struct test_rng rng;
};

static void last_picture(void *arg)
{
    struct hf_pool *pool = open_pool(0);

    (void)arg;
    kill_picture(pool, shared->allowed[shared->allowed_count++]);
    test_pool_close(pool);
}

/* What states there may be. */
static void golden(void)
{
    struct experiment e;

    now.golden = true;
    now.at = now.then = TRAP_NEVER;
    shared->allowed_count = 0;
    begin(&e);
    in_child(victim);
    if (e.writer) /* it is of no use here, but for what it holds */
        test_kill(e.writer);
    if (e.reader)
        test_kill(e.reader);
    now.golden = false;
    in_child(last_picture);
}

/* Kills the survivor too: the number of its changes is known from a run in which it lives. */
static void try_then(struct options *options)
{
    static uint64_t points[TRAP_LOG];
    bool ended;
    unsigned count;

    now.then = TRAP_NEVER - 1;
    shared->then_log.count = 0;
    if (!try_one(&ended)) {
        report();
        return;
    }
    count = choose(&options->rng, &shared->then_log, options->then_points, points);
    for (unsigned i = 0; i < count; i++) {
        now.then = points[i];
        if (!try_one(&ended))
            report();
    }
    now.then = TRAP_NEVER;
}

static unsigned try_all(struct options *options)
{
    static uint64_t points[TRAP_LOG];
    unsigned count, before = failures;
    bool ended;

    shared->log.count = 0;
    now.at = now.then = TRAP_NEVER;
    if (!try_one(&ended) || !ended) {
        report();
        return 0;
    }
    count = choose(&options->rng, &shared->log, options->points, points);
    printf("%s, %s, %s: %" PRIu64 " changes, %u kills\n", now.row->name, kinds[now.kind].name,
           survivor_names[now.survivor], shared->log.count, count);
    for (unsigned i = 0; i < count && failures - before < 3; i++) {
        now.at = points[i];
        if (options->then_points)
            try_then(options);
        else if (!try_one(&ended))
            report();
    }
    return count;
}

static void try_this(const struct options *options)
{
    bool ended;

    now.at = options->at;
    now.then = options->then;
    now.show = true;
    if (!try_one(&ended))
        report();
    else
        printf("all is well%s\n", ended ? ": the call was over before" : "");
}

static bool chosen(const char *option, const char *name)
{
    return !option || strcmp(option, name) == 0;
}

/* With engines that count, pins of the dead stay until all are gone. */
static bool possible(void)
{
    return test_engine(engine)->knows_holders ||
           (!now.row->detaches && !now.row->shares &&
            (now.survivor == NONE || now.survivor == NONE_READING));
}

static unsigned try_row(struct options *options)
{
    unsigned kills = 0;

    now.survivor = NONE;
    if (!possible())
        return 0;
    golden();
    for (unsigned s = 0; s < SURVIVORS; s++) {
        now.survivor = (enum survivor)s;
        if (!chosen(options->survivor, survivor_names[s]) || !possible())
            continue;
        if (options->at != TRAP_NEVER)
            try_this(options);
        else
            kills += try_all(options);
    }
    return kills;
}

static void run(struct options *options)
{
    unsigned kills = 0;

    for (unsigned r = 0; r < kill_row_count; r++)
        for (now.kind = 0; now.kind < KINDS; now.kind++) {
            now.row = &kill_rows[r];
            if (now.row->steps == kill_steps && chosen(options->row, now.row->name) &&
                chosen(options->kind, kinds[now.kind].name))
                kills += try_row(options);
        }
    printf("%u kills, %u of them not as they should be\n", kills, failures);
}

static unsigned number(const char *text)
{
    return (unsigned)strtoul(text, NULL, 0);
}

static void break_recent(void)
{
#ifdef HF_LAB
    hf_lab_break = HF_LAB_VERSION_FIRST;
#else
    FAIL("--break needs a lab build");
#endif
}

static int body(int argc, char **argv)
{
    static const struct option names[] = {
        {"row", required_argument, NULL, 'r'},    {"kind", required_argument, NULL, 'k'},
        {"engine", required_argument, NULL, 'e'}, {"survivor", required_argument, NULL, 's'},
        {"points", required_argument, NULL, 'p'}, {"at", required_argument, NULL, 'a'},
        {"then", required_argument, NULL, 't'},   {"then-points", required_argument, NULL, 'n'},
        {"alone", no_argument, NULL, 'l'},        {"steps", no_argument, NULL, 'x'},
        {"break", required_argument, NULL, 'b'},  {NULL, 0, NULL, 0}};
    struct options options = {.at = TRAP_NEVER, .then = TRAP_NEVER};
    bool broken = false;
    int option;

    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1)
        switch (option) {
        case 'r':
            options.row = optarg;
            break;
        case 'k':
            options.kind = optarg;
            break;
        case 'e':
            engine = optarg;
            break;
        case 's':
            options.survivor = optarg;
            break;
        case 'p':
            options.points = number(optarg);
            break;
        case 'n':
            options.then_points = number(optarg);
            break;
        case 'l':
            alone = true;
            break;
        case 'x':
            kill_steps = test_shorten_steps();
            break;
        case 'b':
            broken = strcmp(optarg, "recent") == 0;
            if (!broken)
                return 2;
            break_recent();
            break;
        case 'a':
            options.at = strtoull(optarg, NULL, 0);
            break;
        case 't':
            options.then = strtoull(optarg, NULL, 0);
            break;
        default:
            return 2;
        }
    if (!trap_possible())
        test_skip("stores cannot be trapped here");
    options.rng.state = test_seed();
    shared = test_shared(sizeof(*shared));
    for (unsigned kind = 0; kind < KINDS; kind++) {
        make_images(kind);
        test_remove_tree(test_path("first"));
    }
    run(&options);
    return (failures != 0) != broken;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
