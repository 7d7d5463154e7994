/* SPDX-License-Identifier: MIT */
/*
 * told [--all | --some] [ACT]    --all: after each store, each visitor
 * told --break late|early     in lab builds: somebody is not told, and it must be seen
 *
 * A process is killed after each store to shared memory that its call makes. The call is a detach,
 * a recall, a lease that is taken, given or released, or a reclaim. Or it mends what another such
 * dead process has left. A process that lives then finds:
 *
 *   - what leases and pins hold has not changed, also when the whole pool is filled with something
 *     else;
 *   - a lease is HF_LEASE_DETACHED when blocks of it have left the file, and only then;
 *   - its holder is told that, by a callback or by hf_recall_next(), also when nobody comes to the
 *     file. It is never told of less afterwards;
 *   - one that is offered is taken with the memory that it had, or with -ESTALE;
 *   - a layout change meets what is still in the file, and nothing else;
 *   - nothing of the dead stays: no hold, no block, no count of pins.
 *
 * One process holds and looks, and is stopped while the other one works, so that the stores of two
 * runs are the same. A third one, which only reads, comes first in some.
 */
#include "support.h"
#include "trap.h"

#include "base/lab.h"
#include "dax/private.h"
#include "fs/vnode.h"
#include "pool/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define POOL_NAME "told"
#define PAGES 8u
#define FREE_PAGES 48u
#define DEATHS 40u    /* of an act in a short run */
#define CHANGED 6u    /* pages that layout changes are made of */
#define IN_SLOT 4u    /* page of a pin in a slot; all of them taken, */
#define AS_HOLD 5u    /* so that this one's is a hold */
#define BESIDE 7u     /* page that no layout change here is made of */
#define CALLED 0u     /* page of a lease with a callback, */
#define POLLED 1u     /* of one without, */
#define GIVEN 2u      /* of one that is offered, */
#define FOR_DEVICE 3u /* and of one for a device */
#define LEASES 4u

enum visitor { NOBODY, WRITER, READER, VISITORS };
static const char *const visitor_names[] = {"nobody", "a writer", "a reader"};

static struct shared {
    uint32_t holds, reads, dead; /* how far they are */
    uint32_t visitor;
    struct hf_lease_token token;
    uint32_t changed; /* pages without their blocks, at the last look */
    struct trap_log log;
} * shared;

/* --- the pool: the same for each death, so that the same stores are made --- */

#define IMAGE_BYTES (1u << 20)
static struct image {
    const char *name;
    off_t bytes;
    size_t used; /* zeros follow */
    char content[IMAGE_BYTES];
} images[3] = {{.name = "meta/data.mdb"}, {.name = "lock"}, {.name = "data"}};

static void read_image(struct image *image)
{
    char path[64];
    struct stat st;
    int fd;

    snprintf(path, sizeof(path), "first/%s", image->name);
    fd = open(test_path(path), O_RDONLY | O_CLOEXEC);
    EXPECT_OK(fd);
    EXPECT_EQ(fstat(fd, &st), 0);
    image->bytes = st.st_size;
    EXPECT_OK(pread(fd, image->content, IMAGE_BYTES, 0));
    for (image->used = IMAGE_BYTES; image->used && !image->content[image->used - 1];)
        image->used--;
    close(fd);
}

/* All but a few blocks are a file's, so that it takes little to fill the pool up. */
static void make_images(void)
{
    const struct hf_pool_options options = {.size = sizeof(options),
                                            .pool_bytes = TEST_MIB(8),
                                            .quarantine_ns = 1,
                                            .max_processes = 8,
                                            .max_threads = 16,
                                            .max_files = 16,
                                            .max_leases = 128};
    struct hf_pool *pool;
    struct hf_file *file;

    EXPECT_EQ(hf_pool_create(test_path("first"), &options), 0);
    pool = test_pool_open("first");
    file = test_file(pool, "/most");
    EXPECT_EQ(hf_fallocate(file, 0, 0, test_free_bytes(pool) - FREE_PAGES * TEST_PAGE, NULL), 0);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
    for (unsigned i = 0; i < 3; i++)
        read_image(&images[i]);
}

static void place_pool(void)
{
    char path[64];

    test_remove_tree(test_path(POOL_NAME));
    EXPECT_EQ(mkdir(test_path(POOL_NAME), 0700), 0);
    EXPECT_EQ(mkdir(test_path(POOL_NAME "/meta"), 0700), 0);
    for (unsigned i = 0; i < 3; i++) {
        int fd;

        snprintf(path, sizeof(path), POOL_NAME "/%s", images[i].name);
        fd = open(test_path(path), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        EXPECT_OK(fd);
        EXPECT_EQ(ftruncate(fd, images[i].bytes), 0);
        EXPECT_EQ(pwrite(fd, images[i].content, images[i].used, 0), images[i].used);
        close(fd);
    }
}

static bool broken; /* somebody is not told */

/* --- the process that is killed --- */

struct act {
    const char *name;
    void (*body)(struct hf_pool *pool, struct hf_file *file);
    bool detached; /* before it: the holder detaches and lets go */
    bool mends;    /* before it: another one, that punches, is killed after its commit */
};

static const struct hf_policy late_detach = {.kind = HF_POLICY_DEADLINE_DETACH};

static void punch_detach(struct hf_pool *pool, struct hf_file *file)
{
    (void)pool;
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, 0, CHANGED * TEST_PAGE, &test_detach), 0);
}

static void punch_late(struct hf_pool *pool, struct hf_file *file)
{
    (void)pool;
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, 0, CHANGED * TEST_PAGE, &late_detach), 0);
}

static void punch_refused(struct hf_pool *pool, struct hf_file *file)
{
    (void)pool;
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, 0, CHANGED * TEST_PAGE, &test_nowait),
              -EBUSY);
}

static void truncate_detach(struct hf_pool *pool, struct hf_file *file)
{
    (void)pool;
    EXPECT_EQ(hf_truncate(file, 0, &test_detach), 0);
}

static void zero_detach(struct hf_pool *pool, struct hf_file *file)
{
    (void)pool;
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_ZERO_RANGE, 0, CHANGED * TEST_PAGE, &test_detach), 0);
}

static void move_detach(struct hf_pool *pool, struct hf_file *file)
{
    (void)pool;
    EXPECT_EQ(hf_move(file, 0, CHANGED * TEST_PAGE, &test_detach), 0);
}

static void take_and_give(struct hf_pool *pool, struct hf_file *file)
{
    struct hf_lease_token token = shared->token;
    struct hf_lease lease;
    struct iovec iov;

    (void)file;
    EXPECT_EQ(hf_lease_take(pool, &token, NULL, &iov, 1, &lease), 1);
    EXPECT_EQ(hf_lease_give(&lease, &token), 0);
    EXPECT_EQ(hf_lease_take(pool, &token, NULL, NULL, 0, &lease), 0);
    EXPECT_EQ(hf_lease_release(&lease), 0);
}

static void hold_and_let_go(struct hf_pool *pool, struct hf_file *file)
{
    struct hf_pin pins[SHM_SLOTS + 2];
    struct hf_lease lease;
    struct iovec iov;

    (void)pool;
    for (unsigned i = 0; i < SHM_SLOTS + 2; i++)
        pins[i] = test_pin(file, i % PAGES * TEST_PAGE, TEST_PAGE, HF_PIN_WRITE, &iov, 1);
    lease = test_lease(file, 0, TEST_PAGE, NULL, &iov, 1);
    for (unsigned i = 0; i < SHM_SLOTS + 2; i++)
        EXPECT_EQ(hf_unpin(&pins[i]), 0);
    EXPECT_EQ(hf_lease_release(&lease), 0);
}

static void visit(struct hf_pool *pool, struct hf_file *file)
{
    EXPECT_EQ(hf_open(pool, "/file", O_RDWR, 0, &file), 0);
    EXPECT_EQ(hf_close(file), 0);
}

static void collect(struct hf_pool *pool, struct hf_file *file)
{
    struct hf_pool_info info = {.size = sizeof(info)};

    (void)file;
    EXPECT_EQ(hf_pool_info(pool, &info), 0);
}

static const struct act acts[] = {
    {"punch, detach", punch_detach, false, false},
    {"punch, detach after a deadline", punch_late, false, false},
    {"punch, refused", punch_refused, false, false},
    {"truncate, detach", truncate_detach, false, false},
    {"zero, detach", zero_detach, false, false},
    {"move, detach", move_detach, false, false},
    {"take and give", take_and_give, false, false},
    {"hold and let go", hold_and_let_go, false, false},
    {"collect", collect, true, false},
    {"come to what another has left", visit, false, true},
};

struct victim {
    const struct act *act;
    uint64_t kill_at;
    struct trap_log *log;
};

static void act_and_die(void *arg)
{
    const struct victim *victim = arg;
    struct hf_pool *pool = test_pool_open(POOL_NAME);
    struct hf_file *file = NULL;

    if (!victim->act->mends)
        EXPECT_EQ(hf_open(pool, "/file", O_RDWR, 0, &file), 0);
    trap_arm(test_path(POOL_NAME), victim->kill_at, victim->log, getenv("TOLD_SHOW") != NULL);
    victim->act->body(pool, file);
    trap_disarm();
    _exit(0);
}

/* --- the holders --- */

/* What its callback, or hf_recall_next(), has said of a lease. */
struct told {
    uint32_t times, state, page;
};

static struct {
    struct hf_pool *pool;
    struct hf_file *file;
    struct hf_lease leases[LEASES];
    struct hf_pin pins[SHM_SLOTS + 1]; /* the last is a hold */
    char *memory[PAGES];
    uint64_t blocks[PAGES], free_before;
    struct told told[LEASES];
} holder;

static void hear(void *arg, const struct hf_recall *recall)
{
    struct told *told = arg;

    EXPECT(recall->state == HF_LEASE_RECALLED || recall->state == HF_LEASE_DETACHED);
    EXPECT(recall->state >= told->state); /* what has left does not come back */
    EXPECT_EQ(recall->off, told->page * TEST_PAGE);
    EXPECT_EQ(recall->len, TEST_PAGE);
    test_raise(&told->state, recall->state);
    test_count(&told->times);
}

static void listen_once(void)
{
    struct hf_recall recall;

    while (hf_recall_next(holder.pool, &recall) == 1)
        hear(recall.arg, &recall);
}

static void await_told(unsigned i, uint32_t state, const char *when)
{
    uint64_t limit = test_now_ns() + (broken ? UINT64_C(2) : UINT64_C(30)) * 1000000000;

    while (test_peek(&holder.told[i].state) < state) {
        listen_once();
        if (test_now_ns() > limit)
            FAIL("the holder of lease %u is not told that its state is %u, %s", i, state, when);
        usleep(50);
    }
}

/* 0: a hole, or past end of file. */
static uint64_t block_of(uint64_t page)
{
    struct meta_extent extent;
    int rc = fs_extent_at(&holder.pool->fs, holder.file->ino, page, &extent);

    EXPECT_OK(rc);
    return rc ? extent.block + (page - extent.page) : 0;
}

static void take_lease(unsigned i, uint32_t flags, bool callback)
{
    const struct hf_lease_options options = {.size = sizeof(options),
                                             .flags = flags,
                                             .recall = callback ? hear : NULL,
                                             .arg = &holder.told[i]};
    struct iovec iov;

    holder.told[i] = (struct told){.page = i};
    holder.leases[i] = test_lease(holder.file, i * TEST_PAGE, TEST_PAGE, &options, &iov, 1);
    holder.memory[i] = iov.iov_base;
}

static void hold_all(void)
{
    struct iovec iov;

    take_lease(CALLED, HF_PIN_WRITE, true);
    take_lease(POLLED, HF_PIN_READ, false);
    take_lease(GIVEN, HF_PIN_WRITE, false);
    take_lease(FOR_DEVICE, HF_PIN_WRITE | HF_PIN_RDMA, true);
    EXPECT_EQ(hf_lease_give(&holder.leases[GIVEN], &shared->token), 0);
    for (unsigned i = 0; i <= SHM_SLOTS; i++) {
        unsigned page = i == 0 ? IN_SLOT : i < SHM_SLOTS ? BESIDE : AS_HOLD;

        holder.pins[i] = test_pin(holder.file, page * TEST_PAGE, TEST_PAGE, HF_PIN_READ, &iov, 1);
        holder.memory[page] = iov.iov_base;
    }
}

static void prepare(void)
{
    holder.free_before = test_free_bytes(holder.pool);
    holder.file = test_file_filled(holder.pool, "/file", 1, PAGES);
    hold_all();
    for (unsigned i = 0; i < PAGES; i++)
        holder.blocks[i] = block_of(i);
}

static bool kept(unsigned page)
{
    return !(shared->changed & 1u << page);
}

static void expect_memory(void)
{
    for (unsigned i = 0; i < CHANGED; i++)
        if (i != GIVEN || holder.leases[i].hf_opaque[0])
            EXPECT(test_page_is(holder.memory[i], 1, i));
}

/* For an act with a transaction that had committed by the snapshot that we have. Its leases were
 * asked for before, so they hear of it. */
static void look_from_afar(void)
{
    shared->changed = 0;
    for (unsigned i = 0; i < CHANGED; i++)
        shared->changed |= (uint32_t)(block_of(i) != holder.blocks[i]) << i;
    for (unsigned i = 0; i < LEASES; i++)
        if (!kept(i))
            await_told(i, HF_LEASE_DETACHED, "and nobody has come to the file");
}

static void check_leases(void)
{
    for (unsigned i = 0; i < LEASES; i++) {
        int state = i == GIVEN ? HF_LEASE_HELD : hf_lease_state(&holder.leases[i]);

        if (i == GIVEN)
            continue;
        if (!kept(i))
            EXPECT_EQ(state, HF_LEASE_DETACHED);
        else
            EXPECT(state == HF_LEASE_HELD || state == HF_LEASE_RECALLED);
        await_told(i, (uint32_t)state, "after somebody has come to the file");
        EXPECT_EQ(test_peek(&holder.told[i].state), state);
    }
}

/* It is still offered, or a dead process's, or was released by that process. */
static void check_given(bool taken)
{
    const struct hf_lease_options options = {.size = sizeof(options), .arg = &holder.told[GIVEN]};
    struct hf_lease *lease = &holder.leases[GIVEN];
    struct iovec iov = {0};
    int rc = hf_lease_take(holder.pool, &shared->token, &options, &iov, 1, lease);

    if (taken && rc == -ENOENT) {
        lease->hf_opaque[0] = 0;
        return;
    }
    if (kept(GIVEN)) {
        EXPECT_EQ(rc, 1);
        EXPECT(iov.iov_base == holder.memory[GIVEN]);
    } else {
        EXPECT_EQ(rc, -ESTALE);
        EXPECT_EQ(hf_lease_take(holder.pool, &shared->token, &options, NULL, 0, lease), 0);
        EXPECT_EQ(hf_lease_state(lease), HF_LEASE_DETACHED);
        await_told(GIVEN, HF_LEASE_DETACHED, "after it was taken");
    }
}

/* What is in the file still is met there; what is not is not. */
static void check_next_change(bool given_gone)
{
    for (unsigned i = 0; i < CHANGED; i++) {
        bool there = kept(i) && !(i == GIVEN && given_gone);

        if (test_size(holder.file) >= (i + 1) * TEST_PAGE)
            EXPECT_EQ(hf_move(holder.file, i * TEST_PAGE, TEST_PAGE, &test_nowait),
                      there ? -EBUSY : 0);
    }
}

/* What is held is in none of the blocks that a new file can get. */
static void fill_up(void)
{
    struct hf_file *file = test_file(holder.pool, "/fill");
    char page[TEST_PAGE];

    memset(page, 0xee, sizeof(page));
    while (hf_append(file, page, sizeof(page), NULL) > 0)
        ;
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_unlink(holder.pool, "/fill", &test_wait), 0);
}

static void let_go(void)
{
    for (unsigned i = 0; i < LEASES; i++)
        if (holder.leases[i].hf_opaque[0]) {
            EXPECT_EQ(hf_lease_release(&holder.leases[i]), 0);
            EXPECT_EQ(hf_lease_release(&holder.leases[i]), -EINVAL);
        }
    for (unsigned i = 0; i <= SHM_SLOTS; i++)
        EXPECT_EQ(hf_unpin(&holder.pins[i]), 0);
}

static void expect_nothing_left(void)
{
    struct shm *shm = holder.pool->fs.dax.shm;
    struct hf_pool_info info = {.size = sizeof(info)};
    const struct shm_lane *lane = shm_lane(shm);

    EXPECT_EQ(hf_close(holder.file), 0);
    EXPECT_EQ(hf_unlink(holder.pool, "/file", &test_nowait), 0);
    EXPECT_EQ(hf_pool_info(holder.pool, &info), 0);
    EXPECT_EQ(info.detached_bytes, 0);
    EXPECT_EQ(info.leases, 0);
    EXPECT_EQ(test_free_bytes(holder.pool), holder.free_before);
    EXPECT_EQ(shm_lane_pins(lane), 0);
    EXPECT_EQ(shm_lane_served(lane), 0);
    dax_shrink(&holder.pool->fs.dax);
    EXPECT_EQ(shm->run->vnodes_used, 0);
    for (uint32_t i = 0; i < shm->run->limits.holds; i++)
        EXPECT_EQ(shm->holds[i].state, SHM_HOLD_FREE);
}

static void check(enum visitor visitor, const struct act *act)
{
    bool takes = act->body == take_and_give, given_gone;

    if (visitor == NOBODY)
        look_from_afar();
    if (visitor != READER) /* which has been here already */
        EXPECT_EQ(hf_close(test_file(holder.pool, "/file")), 0);
    shared->changed = 0;
    for (unsigned i = 0; i < CHANGED; i++)
        shared->changed |= (uint32_t)(block_of(i) != holder.blocks[i]) << i;
    EXPECT(shared->changed == 0 || shared->changed == (1u << CHANGED) - 1);
    check_leases();
    check_given(takes);
    given_gone = !holder.leases[GIVEN].hf_opaque[0];
    check_next_change(given_gone);
    expect_memory();
    fill_up();
    expect_memory();
    let_go();
    expect_nothing_left();
}

/* Detached blocks without any holder left, to be collected. */
static void detach_and_let_go(void)
{
    punch_detach(holder.pool, holder.file);
    EXPECT_EQ(hf_lease_take(holder.pool, &shared->token, NULL, NULL, 0, &holder.leases[GIVEN]), 0);
    let_go();
}

static void await_quickly(const uint32_t *flag, uint32_t value)
{
    uint64_t limit = test_now_ns() + UINT64_C(60000000000);

    while (test_peek(flag) < value) {
        usleep(20);
        if (test_now_ns() > limit)
            FAIL("nobody has raised the flag to %u", value);
    }
}

static void hold(void *arg)
{
    const struct act *act = arg;

    alarm(TEST_PATIENCE_SECONDS);
    holder.pool = test_pool_open(POOL_NAME);
    prepare();
    if (act->detached)
        detach_and_let_go();
    test_raise(&shared->holds, 1);
    await_quickly(&shared->dead, 1);
    if (act->detached) {
        fill_up();
        expect_nothing_left();
    } else {
        check(shared->visitor, act);
    }
    test_pool_close(holder.pool);
}

/* --- a process that only reads --- */

static void read_it(void *arg)
{
    struct hf_pool *pool = NULL;
    struct hf_file *file;

    (void)arg;
    alarm(TEST_PATIENCE_SECONDS);
    EXPECT_EQ(hf_pool_open(test_path(POOL_NAME), HF_OPEN_RDONLY, &pool), 0);
    test_raise(&shared->reads, 1);
    await_quickly(&shared->dead, 1);
    EXPECT_EQ(hf_open(pool, "/file", O_RDONLY, 0, &file), 0);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
}

/* --- one death --- */

/* True: killed; false: it was over before. */
static bool kill_after(const struct victim *victim)
{
    int status = test_wait_status(test_fork(act_and_die, (void *)victim));

    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return false;
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        FAIL("the process to be killed has ended with status %#x", (unsigned)status);
    return true;
}

static uint64_t first_after_commit; /* store of a punch that detaches */

static bool die_once(const struct act *act, enum visitor visitor, uint64_t kill_at)
{
    const struct victim before = {&acts[0], first_after_commit, NULL};
    const struct victim victim = {act, kill_at, kill_at == TRAP_NEVER ? &shared->log : NULL};
    pid_t holder_pid, reader_pid = 0;
    bool killed;

    place_pool();
    shared->holds = shared->reads = shared->dead = 0;
    shared->visitor = visitor;
    holder_pid = test_fork(hold, (void *)act);
    await_quickly(&shared->holds, 1);
    if (visitor == READER) {
        reader_pid = test_fork(read_it, NULL);
        await_quickly(&shared->reads, 1);
    }
    test_stop(holder_pid); /* its thread would come at some time or another */
    if (act->mends)
        EXPECT(kill_after(&before));
    killed = kill_after(&victim);
    if (reader_pid) {
        test_raise(&shared->dead, 1);
        test_join(reader_pid);
    }
    kill(holder_pid, SIGCONT);
    test_raise(&shared->dead, 1);
    test_join(holder_pid);
    if (kill_at % 8 == 0)
        test_pool_check(POOL_NAME);
    return killed;
}

static struct {
    const char *name;
    enum visitor visitor;
    uint64_t at;
} now;

static void show(void)
{
    fprintf(stderr, "%s: killed after store %" PRIu64 ", then %s comes\n", now.name, now.at,
            visitor_names[now.visitor]);
}

/* Stores to pages of LMDB's that nothing leads to yet are all alike. */
static bool worth_it(const struct trap_log *log, uint64_t at)
{
    bool last = at + 1 == log->count || log->classes[at + 1] != log->classes[at];

    return log->classes[at] == TRAP_SEGMENT || log->classes[at] == TRAP_META || last;
}

/* `all`: after each store, and with each visitor; else after some of them, evenly spread, with
 * one. */
static void die_at_each(const struct act *act, bool all)
{
    unsigned deaths = 0, committed = 0;
    uint64_t step;

    now.name = act->name;
    now.at = TRAP_NEVER;
    EXPECT(!die_once(act, NOBODY, TRAP_NEVER));
    EXPECT(memchr(shared->log.classes, TRAP_SEGMENT, shared->log.count));
    step = all || act == acts ? 1 : 1 + shared->log.count / DEATHS;
    for (now.at = 0; now.at < shared->log.count; now.at += step) {
        if (!worth_it(&shared->log, now.at))
            continue;
        for (now.visitor = all ? 0 : deaths % VISITORS; now.visitor < VISITORS; now.visitor++) {
            EXPECT(die_once(act, now.visitor, now.at));
            if (act == acts && !first_after_commit && shared->changed)
                first_after_commit = now.at + 1;
            committed += shared->changed != 0;
            deaths++;
            if (!all || act->detached)
                break;
        }
    }
    printf("%s: %" PRIu64 " stores; killed %u times, %u of them after a commit\n", act->name,
           shared->log.count, deaths, committed);
    fflush(stdout);
}

static void run(bool all, const char *only)
{
    shared = test_shared(sizeof(*shared));
    make_images();
    test_on_failure = show;
    for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++)
        if (!only || strcmp(only, acts[i].name) == 0)
            die_at_each(&acts[i], all);
}

#ifdef HF_LAB
static void run_broken(void *arg)
{
    (void)arg;
    run(false, acts[0].name);
}

static int break_and_see(const char *edge)
{
    int status;

    broken = true;
    hf_lab_break = strcmp(edge, "late") == 0 ? HF_LAB_NO_LATE_RECALL : HF_LAB_NO_EARLY_RECALL;
    status = test_wait_status(test_fork(run_broken, NULL));
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) != 0);
    printf("caught\n");
    return 0;
}
#else
static int break_and_see(const char *edge)
{
    FAIL("--break %s needs a lab build", edge);
}
#endif

static int body(int argc, char **argv)
{
    if (!trap_possible())
        test_skip("stores cannot be trapped here");
    if (argc > 2 && strcmp(argv[1], "--break") == 0)
        return break_and_see(argv[2]);
    run(argc > 1 && strcmp(argv[1], "--all") == 0, argc > 2 ? argv[2] : NULL);
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
