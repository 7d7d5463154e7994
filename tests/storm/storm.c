/* SPDX-License-Identifier: MIT */
/*
 * storm [--kills N] [--workers N] [--engine NAME] [--durable] [--containers] [--actors LIST]
 *
 * Starts workers and kills them. After each kill the files of the dead worker are as acknowledged.
 * Its pins are gone, and so are its leases after their quarantine. Every block is free, in one file
 * or detached, and the others go on. At every tenth kill all are killed at once. Then fsck must be
 * clean, and everything acknowledged there.
 *
 * LIST: of reader, copies, forks, stops, closed, dedup, strangers, trim, filler, crowd, compact and
 * resize, or none. All if it is not given (storm.h). The actor dedup needs the program's path in
 * HOLDFAST.
 *
 * --containers: the workers are in two containers, every second one in the same (containers.c).
 *
 * With an engine that counts, no process drops the pins of the dead, so none waits for pins without
 * a deadline.
 */
#include "storm.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECKPOINT_EVERY 10
#define POOL_MIB 64
#define FILE_SYSTEM_MIB 24 /* of the actor filler */
#define QUARANTINE_NS UINT64_C(10000000)

struct parent {
    struct storm *storm;
    struct test_rng rng;
    struct hf_pool *pool; /* null while the parent is not attached */
    pid_t pids[STORM_WORKERS_MAX];
    pid_t reader, follower, trimmer, compactor, resizer, filler;
    const char *engine;
    bool durable, in_containers;
    unsigned kills, wanted, checkpoints;
    uint64_t blocks_when_empty;
};

static struct parent storm_parent;

struct start {
    struct storm *storm;
    unsigned worker;
    bool closed;
};

/* What it says when it fails still goes to where it went. */
static void close_streams(void)
{
    FILE *kept = fdopen(fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3), "w");

    EXPECT(kept != NULL);
    setvbuf(kept, NULL, _IONBF, 0);
    for (int fd = 0; fd < 3; fd++)
        close(fd);
    stderr = kept;
}

static void work(void *arg)
{
    struct start *start = arg;

    test_on_failure = NULL;
    storm_enter_container(start->storm, start->worker);
    if (start->closed)
        close_streams();
    storm_work(start->storm, start->worker);
}

static void start_worker(struct parent *parent, unsigned worker)
{
    struct start start = {.storm = parent->storm, .worker = worker};

    start.closed = parent->storm->actors & STORM_CLOSED && test_chance(&parent->rng, 25);
    parent->storm->closed += start.closed;
    parent->storm->workers[worker].paused = 0;
    memset(parent->storm->workers[worker].pins, 0, sizeof(parent->storm->workers[worker].pins));
    memset(parent->storm->workers[worker].leases, 0, sizeof(parent->storm->workers[worker].leases));
    for (unsigned i = 0; i < STORM_OFFERS; i++)
        if (test_peek(&parent->storm->offers[i].state) == STORM_OFFER_OF(worker))
            test_raise(&parent->storm->offers[i].state, STORM_OFFER_NONE);
    parent->pids[worker] = test_fork(work, &start);
}

static void kill_worker(struct parent *parent, unsigned worker)
{
    int status;

    kill(parent->pids[worker], SIGKILL);
    status = test_wait_status(parent->pids[worker]);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        FAIL("worker %u ended by itself with status %#x, at: %s", worker, (unsigned)status,
             parent->storm->workers[worker].doing);
    parent->kills++;
}

static void show_workers(void)
{
    struct parent *parent = &storm_parent;

    for (unsigned i = 0; i < parent->storm->worker_count; i++)
        fprintf(stderr, "worker %u (process %d): %" PRIu64 " operations, at: %s\n", i,
                (int)parent->pids[i], parent->storm->workers[i].progress,
                parent->storm->workers[i].doing);
}

/* Every live worker finishes an operation that it may have begun now, and another one. */
static void expect_progress(struct parent *parent)
{
    struct storm *storm = parent->storm;
    uint64_t limit = test_now_ns() + TEST_PATIENCE_NS;
    uint64_t before[STORM_WORKERS_MAX];

    for (unsigned i = 0; i < storm->worker_count; i++)
        before[i] = test_peek64(&storm->workers[i].progress);
    for (unsigned i = 0; i < storm->worker_count; i++)
        while (test_peek64(&storm->workers[i].progress) < before[i] + 2) {
            int status;

            if (waitpid(parent->pids[i], &status, WNOHANG) != 0)
                FAIL("worker %u ended by itself with status %#x", i, (unsigned)status);
            if (test_now_ns() > limit)
                FAIL("worker %u is stuck at: %s", i, storm->workers[i].doing);
            usleep(200);
        }
}

/* A layout change over what the dead had pinned or leased ends. */
static void expect_gone(struct parent *parent, const struct storm_pin *pin)
{
    struct hf_policy in_time = test_deadline_ms(TEST_PATIENCE_MS);

    for (unsigned name = 0; pin->held && parent->storm->knows_holders && name < 2; name++) {
        struct hf_file *file;
        char path[64];
        int rc;

        storm_file_path(pin->worker, pin->file, name, path);
        if (hf_open(parent->pool, path, O_RDWR, 0, &file) != 0)
            continue;
        rc = hf_move(file, pin->off, TEST_PAGE, &in_time);
        /* It may be shorter by now, or there is no memory to move to. */
        if (rc != 0 && rc != -EINVAL && (rc != -ENOSPC || !storm_is_filled))
            FAIL("a move over a dead worker's pin gave %d; %s", rc, hf_strerror_detail());
        EXPECT_EQ(hf_close(file), 0);
    }
}

static void expect_pins_gone(struct parent *parent, unsigned worker)
{
    const struct storm_worker *ledger = &parent->storm->workers[worker];

    for (unsigned i = 0; i < STORM_PINS; i++)
        expect_gone(parent, &ledger->pins[i]);
    for (unsigned i = 0; i < STORM_LEASES; i++)
        expect_gone(parent, &ledger->leases[i]);
}

struct dead {
    pid_t pid;
    unsigned quarantined, unseen;
    bool forked; /* a child that has not run yet keeps it looking alive for that moment */
};

static int refuse_dead(void *arg, const struct hf_pin_info *info)
{
    struct dead *dead = arg;
    bool device = (info->flags & HF_PIN_GPU) != HF_PIN_CPU;

    if (info->pid != dead->pid)
        return 0;
    if (dead->forked && info->state != HF_PIN_QUARANTINED) {
        dead->unseen++;
        return 0;
    }
    if (info->state != HF_PIN_QUARANTINED || !device)
        FAIL("a pin of dead process %d is still there: inode %" PRIu64 " [%" PRIu64 ", +%" PRIu64
             ") state %u flags %#x",
             (int)dead->pid, info->ino, info->off, info->len, info->state, info->flags);
    dead->quarantined++;
    return 0;
}

/* At once, but for those with a device that may still write, which go after their quarantine. */
static void expect_buried(struct parent *parent, pid_t pid)
{
    uint64_t limit = test_now_ns() + TEST_PATIENCE_NS;
    struct dead dead = {.pid = pid, .forked = parent->storm->actors & STORM_FORKS};

    if (!parent->storm->knows_holders)
        return;
    EXPECT_EQ(hf_pins(parent->pool, refuse_dead, &dead), 0);
    parent->storm->quarantined += dead.quarantined;
    while (dead.quarantined + dead.unseen > 0) {
        if (test_now_ns() > limit)
            FAIL("%s of dead process %d stay", dead.unseen ? "pins" : "quarantined pins", (int)pid);
        test_sleep_ms(1);
        dead.quarantined = dead.unseen = 0;
        EXPECT_EQ(hf_pins(parent->pool, refuse_dead, &dead), 0);
    }
}

struct sum {
    uint64_t in_files, detached;
    uint8_t *seen; /* a byte a block: it is somewhere; or in places that share it */
};

enum seen { ALONE = 1, SHARED };

static int add_extent(void *arg, const struct hf_extent_info *info)
{
    uint8_t how = info->shared ? SHARED : ALONE;
    struct sum *sum = arg;

    for (uint64_t i = 0; i < info->len / TEST_PAGE; i++) {
        uint8_t *seen = &sum->seen[info->block + i];

        if (*seen && (*seen != SHARED || (how != SHARED && !info->detached)))
            FAIL("block %" PRIu64 " is in two places, one of them page %" PRIu64
                 " of inode %" PRIu64,
                 info->block + i, info->off / TEST_PAGE + i, info->ino);
        if (!*seen)
            ++*(info->detached ? &sum->detached : &sum->in_files);
        if (!*seen)
            *seen = how;
    }
    return 0;
}

static uint64_t blocks_in_use(struct hf_pool *pool)
{
    struct hf_pool_info info = {.size = sizeof(info)};

    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    return (info.pool_bytes - info.free_bytes) / TEST_PAGE;
}

/* Free, in a file, or detached: there is nothing else. */
static struct sum blocks_of(struct parent *parent, int64_t *lost)
{
    static uint8_t seen[2 * TEST_MIB(POOL_MIB) / HF_BLOCK_BYTES]; /* also of a larger pool */
    struct hf_pool_info info = {.size = sizeof(info)};
    struct sum sum = {.seen = seen};

    memset(seen, 0, sizeof(seen));
    *lost = (int64_t)(blocks_in_use(parent->pool) - parent->blocks_when_empty);
    EXPECT_EQ(hf_extents(parent->pool, 0, add_extent, &sum), 0);
    *lost -= (int64_t)(sum.in_files + sum.detached);
    EXPECT_EQ(hf_pool_info(parent->pool, &info), 0);
    parent->storm->shared += info.shared_bytes;
    return sum;
}

static void start_follower(struct parent *parent)
{
    if (!(parent->storm->actors & STORM_DEDUP))
        return;
    if (parent->storm->actors & STORM_FILLER && test_chance(&parent->rng, 50))
        return; /* the filler's turn */
    parent->follower = test_follower(STORM_POOL);
    parent->storm->followers++;
}

/* So that nothing changes while blocks are counted, too. */
static void kill_follower(struct parent *parent)
{
    if (parent->follower)
        test_follower_is_killed(parent->follower);
    parent->follower = 0;
}

/* Those that look after the pool. */
static void start_companions(struct parent *parent)
{
    if (parent->storm->actors & STORM_TRIM)
        parent->trimmer = test_trimmer(STORM_POOL);
    if (parent->storm->actors & STORM_COMPACT)
        parent->compactor = test_compactor(STORM_POOL, true);
    if (parent->storm->actors & STORM_RESIZE)
        parent->resizer = test_resizer(STORM_POOL, TEST_MIB(POOL_MIB));
}

static void kill_companion(pid_t *pid, const char *name)
{
    int status;

    if (!*pid)
        return;
    kill(*pid, SIGKILL);
    status = test_wait_status(*pid);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        FAIL("the %s ended by itself with status %#x", name, (unsigned)status);
    *pid = 0;
}

static void kill_companions(struct parent *parent)
{
    kill_companion(&parent->trimmer, "trimmer");
    kill_companion(&parent->compactor, "compactor");
    kill_companion(&parent->resizer, "resizer");
}

static void kill_filler(struct parent *parent)
{
    if (parent->filler)
        test_kill(parent->filler);
    parent->filler = 0;
}

/* Where single blocks go back, all that is free does, and no more. */
static void expect_memory_accounted(struct parent *parent)
{
    if (parent->storm->actors & STORM_TRIM && !parent->durable)
        test_expect_trimmed(parent->pool);
}

/* A process that finds the pool full looks what the dead have left. What is in quarantine, also
 * when all were killed, comes after a while. */
static void expect_space_accounted(struct parent *parent, bool none_detached)
{
    uint64_t limit = test_now_ns() + TEST_PATIENCE_NS;
    struct hf_file *log = test_file(parent->pool, STORM_LOG);
    struct sum sum;
    int64_t lost;

    for (;;) {
        EXPECT_EQ(hf_fallocate(log, HF_FALLOC_KEEP_SIZE, 0, TEST_MIB(2 * POOL_MIB), NULL), -ENOSPC);
        sum = blocks_of(parent, &lost);
        if ((sum.detached == 0 || !none_detached) && lost == 0)
            break;
        if (test_now_ns() > limit)
            FAIL("%" PRIu64 " blocks stay detached, %" PRIi64 " are neither free nor in a file",
                 sum.detached, lost);
        test_sleep_ms(2);
    }
    EXPECT_EQ(hf_close(log), 0);
}

/* All others stop between two operations, which those that wait for each other have cancelled. */
static void pause_all(struct parent *parent, unsigned but)
{
    struct storm *storm = parent->storm;
    uint64_t limit = test_now_ns() + UINT64_C(30000000000) * (test_is_slow() ? 6 : 1);

    test_raise(&storm->pause, 1);
    for (unsigned i = 0; i < storm->worker_count; i++)
        while (i != but && !test_peek(&storm->workers[i].paused)) {
            int status;

            if (waitpid(parent->pids[i], &status, WNOHANG) != 0)
                FAIL("worker %u ended by itself with status %#x", i, (unsigned)status);
            if (test_now_ns() > limit)
                FAIL("worker %u does not come to the end of: %s", i, storm->workers[i].doing);
            usleep(200);
        }
}

static void let_reader_look(struct parent *parent)
{
    uint32_t asked = test_peek(&parent->storm->reader_asked) + 1;
    uint64_t limit = test_now_ns() + UINT64_C(30000000000) * (test_is_slow() ? 6 : 1);

    test_raise(&parent->storm->reader_asked, asked);
    while (test_peek(&parent->storm->reader_came) != asked) {
        int status;

        if (waitpid(parent->reader, &status, WNOHANG) != 0)
            FAIL("the reader ended by itself with status %#x", (unsigned)status);
        if (test_now_ns() > limit)
            FAIL("the reader is stuck");
        usleep(100);
    }
}

/* A process that attaches needs room, so all have attached before the filler comes. When the
 * follower has is not known. */
static void start_filler(struct parent *parent)
{
    if (!(parent->storm->actors & STORM_FILLER) || parent->follower)
        return;
    if (parent->reader)
        let_reader_look(parent);
    parent->filler = storm_filler(parent->storm);
}

/* Anywhere, also in a transaction; it may be killed like that. */
static void stop_for_a_while(struct parent *parent, unsigned worker)
{
    kill(parent->pids[worker], SIGSTOP);
    usleep((useconds_t)test_below(&parent->rng, 5000));
    parent->storm->stops++;
}

static void kill_one(struct parent *parent)
{
    struct storm *storm = parent->storm;
    unsigned victim = (unsigned)test_below(&parent->rng, storm->worker_count);
    pid_t dead = parent->pids[victim];

    if (storm->actors & STORM_STOPS && test_chance(&parent->rng, 20)) {
        unsigned other = (unsigned)test_below(&parent->rng, storm->worker_count);

        stop_for_a_while(parent, other);
        if (other != victim)
            kill(parent->pids[other], SIGCONT);
    }
    kill_worker(parent, victim);
    kill_filler(parent);
    kill_follower(parent);
    kill_companions(parent);
    if (parent->reader && test_chance(&parent->rng, 50))
        let_reader_look(parent);
    storm_settle(storm, parent->pool, victim);
    expect_pins_gone(parent, victim);
    expect_buried(parent, dead);
    pause_all(parent, victim);
    expect_space_accounted(parent, false);
    test_raise(&storm->pause, 0);
    if (storm->actors & STORM_COPIES && test_chance(&parent->rng, 10))
        storm_copy(storm, parent->pool);
    if (storm->actors & STORM_STRANGERS && test_chance(&parent->rng, 30))
        storm_stranger(storm, &parent->rng);
    start_follower(parent);
    start_companions(parent);
    start_worker(parent, victim);
    expect_progress(parent);
    start_filler(parent);
}

static void reader(void *arg)
{
    test_on_failure = NULL;
    storm_read(arg);
}

static void first_reader(void *arg)
{
    test_on_failure = NULL;
    storm_read_first(arg);
}

static void start_reader(struct parent *parent)
{
    if (parent->storm->actors & STORM_READER)
        parent->reader = test_fork(reader, parent->storm);
}

static void kill_reader(struct parent *parent)
{
    int status;

    if (!parent->reader)
        return;
    kill(parent->reader, SIGKILL);
    status = test_wait_status(parent->reader);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        FAIL("the reader ended by itself with status %#x", (unsigned)status);
    parent->reader = 0;
}

/* The parent leaves either before the workers die or after: the last one to go is sometimes one
 * that was killed. */
static void kill_all(struct parent *parent)
{
    bool leave_first = test_chance(&parent->rng, 50);

    if (leave_first)
        test_pool_close(parent->pool);
    for (unsigned i = 0; i < parent->storm->worker_count; i++)
        kill(parent->pids[i], SIGKILL);
    for (unsigned i = 0; i < parent->storm->worker_count; i++)
        kill_worker(parent, i);
    kill_reader(parent);
    kill_filler(parent);
    kill_follower(parent);
    kill_companions(parent);
    memset(parent->storm->offers, 0, sizeof(parent->storm->offers)); /* of a life of the pool */
    if (!leave_first) {
        expect_space_accounted(parent, true);
        if (parent->storm->actors & STORM_CROWD)
            storm_crowd(parent->storm, parent->pool);
        test_pool_close(parent->pool);
    }
    if (parent->storm->actors & STORM_STRANGERS && test_chance(&parent->rng, 50))
        storm_stranger_alone(parent->storm, &parent->rng);
    if (parent->storm->actors & STORM_READER && test_chance(&parent->rng, 50))
        test_join(test_fork(first_reader, parent->storm));
    if (test_chance(&parent->rng, 70))
        test_pool_check(STORM_POOL);
    parent->pool = test_pool_open(STORM_POOL);
    for (unsigned i = 0; i < parent->storm->worker_count; i++)
        storm_settle(parent->storm, parent->pool, i);
    storm_check_log(parent->storm, parent->pool);
    expect_space_accounted(parent, true);
    expect_memory_accounted(parent);
    test_pool_close(parent->pool);
    test_pool_check(STORM_POOL);
    parent->pool = test_pool_open(STORM_POOL);
    parent->checkpoints++;
    for (unsigned i = 0; i < parent->storm->worker_count; i++)
        start_worker(parent, i);
    start_reader(parent);
    start_follower(parent);
    start_companions(parent);
    expect_progress(parent);
    start_filler(parent);
}

static void show_progress(const struct parent *parent, bool end)
{
    static unsigned shown; /* hundreds of kills */

    if (!end && !isatty(STDERR_FILENO)) {
        if (parent->kills / 100 > shown) {
            shown = parent->kills / 100;
            printf("%u of %u kills\n", parent->kills, parent->wanted);
            fflush(stdout);
        }
        return;
    }
    fprintf(
        end ? stdout : stderr,
        "%s%u of %u kills, %u checkpoints; %" PRIu64 " operations, %" PRIu64
        " layout changes and renames, %" PRIu64 " refused (%" PRIu64 " deadlocks, %" PRIu64
        " of them circles, %" PRIu64 " cancelled), %" PRIu64 " pins, %" PRIu64 " leases, %" PRIu64
        " changed hands, %" PRIu64 " recalled, %" PRIu64 " quarantined, %" PRIu64
        " reports; %" PRIu64 " reads by the reader, %" PRIu64 " forks, %" PRIu64
        " stopped, %" PRIu64 " copies, %" PRIu64 " without descriptors, %" PRIu64
        " followers, %" PRIu64 " strangers of the group, %" PRIu64 " turned away, %" PRIu64
        " alone, %" PRIu64 " crowds with %" PRIu64 " leases, %" PRIu64 " times full, %" PRIu64
        " refused for that, %" PRIu64 " bytes shared%s",
        end ? "" : "\r", parent->kills, parent->wanted, parent->checkpoints,
        parent->storm->operations, parent->storm->changes, parent->storm->busy,
        parent->storm->deadlocks, parent->storm->circles, parent->storm->cancelled,
        parent->storm->pins, parent->storm->leases, parent->storm->taken, parent->storm->recalled,
        parent->storm->quarantined, parent->storm->reports, parent->storm->reads,
        parent->storm->forks, parent->storm->stops, parent->storm->copies, parent->storm->closed,
        parent->storm->followers, parent->storm->strangers, parent->storm->turned_away,
        parent->storm->alone, parent->storm->crowds, parent->storm->crowded, parent->storm->filled,
        parent->storm->no_room, parent->storm->shared, end ? "\n" : " ");
}

static void prepare(struct parent *parent)
{
    struct hf_pool_options options = {.size = sizeof(options),
                                      .pool_bytes = TEST_MIB(POOL_MIB),
                                      .quarantine_ns = QUARANTINE_NS,
                                      .flags = parent->durable ? HF_POOL_DURABLE : HF_POOL_MEMORY,
                                      .mode = 0660,
                                      .max_processes = STORM_PROCESSES,
                                      .max_threads = STORM_THREADS,
                                      .max_leases = STORM_LEASES_MAX,
                                      .engine = parent->engine,
                                      .trim_above_bytes =
                                          parent->storm->actors & STORM_TRIM ? HF_HUGE_BYTES : 0};
    char path[64];

    EXPECT_EQ(chmod(test_path("."), 0711), 0); /* strangers go through it */

    EXPECT_EQ(hf_pool_create(test_path(STORM_POOL), &options), 0);
    if (parent->storm->actors & STORM_FILLER)
        storm_small_file_system(FILE_SYSTEM_MIB);
    parent->pool = test_pool_open(STORM_POOL);
    parent->blocks_when_empty = blocks_in_use(parent->pool);
    EXPECT_EQ(hf_close(test_file(parent->pool, STORM_LOG)), 0);
    for (unsigned i = 0; i < parent->storm->worker_count; i++) {
        storm_dir_path(i, path);
        EXPECT_EQ(hf_mkdir(parent->pool, path, 0700), 0);
    }
}

static void run(struct parent *parent)
{
    prepare(parent);
    if (parent->in_containers)
        storm_make_containers(parent->storm);
    test_on_failure = show_workers;
    for (unsigned i = 0; i < parent->storm->worker_count; i++)
        start_worker(parent, i);
    start_reader(parent);
    start_follower(parent);
    start_companions(parent);
    expect_progress(parent);
    start_filler(parent);
    for (unsigned round = 1; parent->kills < parent->wanted; round++) {
        usleep((useconds_t)test_below(&parent->rng, 12000));
        if (round % CHECKPOINT_EVERY == 0)
            kill_all(parent);
        else
            kill_one(parent);
        show_progress(parent, false);
    }
    kill_all(parent);
    test_on_failure = NULL;
    for (unsigned i = 0; i < parent->storm->worker_count; i++)
        kill_worker(parent, i);
    kill_reader(parent);
    kill_filler(parent);
    kill_follower(parent);
    kill_companions(parent);
    test_pool_close(parent->pool);
    storm_end_containers(parent->storm);
    if (isatty(STDERR_FILENO))
        fputc('\n', stderr);
    show_progress(parent, true);
}

static unsigned number(const char *text, unsigned most)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);

    if (*end || value < 1 || value > most) {
        fprintf(stderr, "storm: %s is not a number from 1 to %u\n", text, most);
        exit(2);
    }
    return (unsigned)value;
}

static unsigned actors_of(char *list)
{
    static const char *const names[] = {"reader", "copies", "forks",     "stops",
                                        "closed", "dedup",  "strangers", "trim",
                                        "filler", "crowd",  "compact",   "resize"};
    unsigned actors = 0;

    for (char *name = strtok(list, ","); name; name = strtok(NULL, ",")) {
        unsigned i = 0;

        while (i < sizeof(names) / sizeof(names[0]) && strcmp(name, names[i]) != 0)
            i++;
        if (i == sizeof(names) / sizeof(names[0]) && strcmp(name, "none") != 0) {
            fprintf(stderr, "storm: no actor is called %s\n", name);
            exit(2);
        }
        actors |= 1u << i & STORM_ACTORS;
    }
    return actors;
}

static int body(int argc, char **argv)
{
    static const struct option names[] = {{"kills", required_argument, NULL, 'k'},
                                          {"workers", required_argument, NULL, 'w'},
                                          {"engine", required_argument, NULL, 'e'},
                                          {"actors", required_argument, NULL, 'a'},
                                          {"durable", no_argument, NULL, 'd'},
                                          {"containers", no_argument, NULL, 'c'},
                                          {NULL, 0, NULL, 0}};
    struct parent *parent = &storm_parent;
    unsigned workers = 4, actors = STORM_ACTORS;
    int option;

    parent->wanted = 100;
    parent->engine = "slots";
    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (option == 'k')
            parent->wanted = number(optarg, 10000000);
        else if (option == 'w')
            workers = number(optarg, STORM_WORKERS_MAX);
        else if (option == 'e')
            parent->engine = optarg;
        else if (option == 'a')
            actors = actors_of(optarg);
        else if (option == 'd')
            parent->durable = true;
        else if (option == 'c')
            parent->in_containers = true;
        else
            return 2;
    }
    parent->storm = test_shared(sizeof(*parent->storm));
    parent->storm->seed = parent->rng.state = test_seed();
    parent->storm->worker_count = workers;
    parent->storm->actors = actors;
    if (!test_can_follow() || !test_engine(parent->engine)->shares)
        parent->storm->actors &= ~STORM_DEDUP;
    if (geteuid() != 0)
        parent->storm->actors &= ~STORM_STRANGERS;
    if (actors & STORM_FILLER && (parent->durable || !storm_own_file_system()))
        parent->storm->actors &= ~STORM_FILLER;
    parent->storm->knows_holders = test_engine(parent->engine)->knows_holders;
    parent->storm->shares = test_engine(parent->engine)->shares;
    run(parent);
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
