/* SPDX-License-Identifier: MIT */
/*
 * Every layout change under every policy over every kind of hold. The hold is a pin of another
 * thread, a pin of the caller's own, or a lease. Or a process has it that was killed (for the CPU,
 * for a device) or is stopped. The table says what the change returns and what the holder of a
 * lease is told. A failed change leaves the file exactly as it was, detached blocks keep their
 * bytes, and all space comes back.
 */
#include "change.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define HELD 3 /* first of the held pages; the others are in the range of every change */
#define HELD_PAGES 3
#define SHORT_MS 30
/* Longer than this test. That it ends, and what then comes back, is for quarantine.c. */
#define QUARANTINE_NS UINT64_C(3600000000000)

enum holder { BY_PIN, BY_LEASE, BY_DEAD_CPU, BY_DEAD_DEVICE, BY_STOPPED, BY_SELF, HOLDERS };
static const char *const holder_names[HOLDERS] = {"pin",         "lease",           "dead process",
                                                  "dead device", "stopped process", "own pin"};

enum outcome { PASSES, WAITS, REFUSED, DETACHES };

struct table {
    struct hf_pool *pool;
    enum holder holder;
    uint32_t policy;
    struct hf_pin pin;
    struct hf_lease lease;
    struct iovec iov;
    char path[64];
    uint64_t ino;
    struct change_thread change;
    uint64_t begun_ns;
};

static struct table table;
static uint32_t *holding; /* of the process that holds */
static pid_t holder_pid;

/* ------------------------------------------------------------------------ what is to be --- */

static bool gone(void)
{
    return table.holder == BY_DEAD_CPU || table.holder == BY_DEAD_DEVICE;
}

static enum outcome expected(void)
{
    if (gone())
        return PASSES;
    if (table.policy == HF_POLICY_DETACH)
        return DETACHES;
    if (table.holder == BY_SELF || table.policy == HF_POLICY_NOWAIT ||
        table.policy == HF_POLICY_DEADLINE)
        return REFUSED;
    return table.policy == HF_POLICY_DEADLINE_DETACH ? DETACHES : WAITS;
}

static int expected_error(void)
{
    if (table.policy == HF_POLICY_NOWAIT)
        return -EBUSY;
    return table.holder == BY_SELF ? -EDEADLK : -ETIMEDOUT;
}

static bool timed(void)
{
    return table.policy == HF_POLICY_DEADLINE || table.policy == HF_POLICY_DEADLINE_DETACH;
}

static uint64_t detached_pages(void)
{
    return table.change.kind == CHANGE_UNLINK ? HELD_PAGES : HELD + HELD_PAGES - CHANGE_FIRST;
}

/* ----------------------------------------------------------------------------- holding --- */

static void hold_as_process(void *arg)
{
    struct hf_pool *pool = test_pool_open("table");
    struct hf_file *file = test_file(pool, table.path);
    const uint32_t device = table.holder == BY_DEAD_DEVICE ? HF_PIN_RDMA : HF_PIN_CPU;
    const struct hf_lease_options options = {.size = sizeof(options), .flags = device};
    struct iovec iov[HELD_PAGES]; /* the blocks that are free lie between those of the dead */

    (void)arg;
    test_pin(file, HELD * TEST_PAGE, HELD_PAGES * TEST_PAGE, device, iov, HELD_PAGES);
    test_lease(file, HELD * TEST_PAGE, HELD_PAGES * TEST_PAGE, &options, iov, HELD_PAGES);
    EXPECT_EQ(hf_close(file), 0); /* or an unlink would wait for nobody */
    test_raise(holding, 1);
    for (;;)
        pause();
}

static void begin_process(void)
{
    test_raise(holding, 0);
    holder_pid = test_fork(hold_as_process, NULL);
    test_await(holding, 1);
    if (gone())
        test_kill(holder_pid);
    else
        test_stop(holder_pid);
}

static void hold(struct hf_file *file)
{
    const struct hf_lease_options options = {
        .size = sizeof(options), .flags = HF_PIN_WRITE | HF_PIN_IO_URING, .arg = &table};

    if (table.holder == BY_LEASE)
        table.lease =
            test_lease(file, HELD * TEST_PAGE, HELD_PAGES * TEST_PAGE, &options, &table.iov, 1);
    else if (table.holder == BY_PIN || table.holder == BY_SELF)
        table.pin =
            test_pin(file, HELD * TEST_PAGE, HELD_PAGES * TEST_PAGE, HF_PIN_READ, &table.iov, 1);
    else
        begin_process();
}

static void let_go(void)
{
    if (table.holder == BY_LEASE)
        EXPECT_EQ(hf_lease_release(&table.lease), 0);
    else if (table.holder == BY_STOPPED)
        test_kill(holder_pid);
    else
        EXPECT_EQ(hf_unpin(&table.pin), 0);
}

static void expect_memory_intact(void)
{
    for (uint64_t i = 0; i < HELD_PAGES && table.holder != BY_STOPPED; i++)
        EXPECT(test_page_is((char *)table.iov.iov_base + i * TEST_PAGE, CHANGE_STAMP, HELD + i));
}

/* ------------------------------------------------------------------------------- cells --- */

static struct hf_policy policy(void)
{
    struct hf_policy policy = {.kind = table.policy};

    if (timed())
        policy.deadline_ns = SHORT_MS * UINT64_C(1000000);
    return policy;
}

static void start(void)
{
    table.begun_ns = test_now_ns();
    table.change.policy = policy();
    change_start(&table.change);
}

static int run(void)
{
    const struct hf_policy own = policy();

    if (table.holder == BY_SELF)
        return change_run(table.pool, table.change.file, table.path, table.change.kind, &own);
    start();
    return change_finish(&table.change);
}

/* The holder of a lease was told once, of its part of the range. */
static void expect_recalled(uint32_t state)
{
    static const uint32_t why[CHANGE_KINDS] = {HF_CHANGE_TRUNCATE, HF_CHANGE_PUNCH,  HF_CHANGE_ZERO,
                                               HF_CHANGE_COLLAPSE, HF_CHANGE_INSERT, HF_CHANGE_MOVE,
                                               HF_CHANGE_DELETE};
    uint64_t first = HELD + HELD_PAGES - detached_pages();
    struct hf_recall recall;

    if (table.holder != BY_LEASE)
        return;
    EXPECT_EQ(hf_recall_next(table.pool, &recall), 1);
    EXPECT(recall.arg == &table);
    EXPECT_EQ(recall.off, first * TEST_PAGE);
    EXPECT_EQ(recall.len, detached_pages() * TEST_PAGE);
    EXPECT_EQ(recall.why, why[table.change.kind]);
    EXPECT_EQ(recall.state, state);
    EXPECT_EQ(hf_lease_state(&table.lease), state);
    if (table.policy == HF_POLICY_NOWAIT || table.policy == HF_POLICY_DETACH)
        EXPECT_EQ(recall.deadline_ns, 0);
    else if (timed())
        EXPECT(recall.deadline_ns >= table.begun_ns + SHORT_MS * UINT64_C(1000000) &&
               recall.deadline_ns <= test_now_ns() + SHORT_MS * UINT64_C(1000000));
    else
        EXPECT(recall.deadline_ns == UINT64_MAX);
    EXPECT_EQ(hf_recall_next(table.pool, &recall), 0);
}

static void expect_sentence(void)
{
    char process[32];

    if (table.holder != BY_STOPPED || table.policy != HF_POLICY_DEADLINE)
        return;
    snprintf(process, sizeof(process), "process %d ", (int)holder_pid);
    if (!strstr(table.change.sentence, process) || !strstr(table.change.sentence, "stopped"))
        FAIL("does not say that %sis stopped: %s", process, table.change.sentence);
}

static void check_refused(void)
{
    EXPECT_EQ(run(), expected_error());
    if (timed() && table.holder != BY_SELF)
        EXPECT(table.change.wall_ns >= SHORT_MS * UINT64_C(1000000));
    expect_sentence();
    expect_memory_intact();
    change_expect_before(table.pool, table.path);
    expect_recalled(HF_LEASE_RECALLED);
    let_go();
    EXPECT_EQ(run(), 0);
    change_expect_after(table.pool, table.path, table.change.kind);
}

static void check_waits(void)
{
    start();
    test_await_waiting(table.pool, 1);
    test_sleep_ms(20);
    EXPECT_EQ(test_peek(&table.change.done), 0);
    expect_memory_intact();
    expect_recalled(HF_LEASE_RECALLED);
    let_go();
    EXPECT_EQ(change_finish(&table.change), 0);
    change_expect_after(table.pool, table.path, table.change.kind);
}

static int add_detached(void *arg, const struct hf_extent_info *info)
{
    *(uint64_t *)arg += info->detached ? info->len : 0;
    return 0;
}

static uint64_t detached_bytes(void)
{
    uint64_t bytes = 0;

    test_free_bytes(table.pool); /* frees what has lost its last holder */
    EXPECT_EQ(hf_extents(table.pool, table.ino, add_detached, &bytes), 0);
    return bytes;
}

/* What the holder writes goes nowhere, and nobody else gets the blocks. */
static void expect_alone(void)
{
    struct hf_file *reuse = test_file_filled(table.pool, "/reuse", 3, 64);

    expect_memory_intact();
    if (table.holder == BY_LEASE)
        memset((char *)table.iov.iov_base + table.iov.iov_len - TEST_PAGE, 0xff, TEST_PAGE);
    test_expect_pages(reuse, 3, 0, 64);
    EXPECT_EQ(hf_close(reuse), 0);
    EXPECT_EQ(hf_unlink(table.pool, "/reuse", NULL), 0);
    change_expect_after(table.pool, table.path, table.change.kind);
}

static void check_detaches(void)
{
    EXPECT_EQ(run(), 0);
    if (timed())
        EXPECT(table.change.wall_ns >= SHORT_MS * UINT64_C(1000000));
    change_expect_after(table.pool, table.path, table.change.kind);
    expect_recalled(HF_LEASE_DETACHED);
    if (table.change.kind == CHANGE_UNLINK) /* else a page of it is still in the file */
        EXPECT_EQ(test_pins_in_state(table.pool, HF_PIN_DETACHED),
                  table.holder == BY_STOPPED ? 2 : 1);
    EXPECT_EQ(detached_bytes(), detached_pages() * TEST_PAGE);
    expect_alone();
    let_go();
    EXPECT_EQ(detached_bytes(), 0);
}

static int count_quarantined(void *arg, const struct hf_pin_info *info)
{
    *(int *)arg += info->pid == holder_pid && info->state == HF_PIN_QUARANTINED;
    return 0;
}

/* Nobody waits for the dead. What a device may still write to is kept apart for a while. */
static void check_passes(void)
{
    bool device = table.holder == BY_DEAD_DEVICE;
    int quarantined = 0;

    EXPECT_EQ(run(), 0);
    change_expect_after(table.pool, table.path, table.change.kind);
    EXPECT_EQ(hf_pins(table.pool, count_quarantined, &quarantined), 0);
    EXPECT_EQ(quarantined, device ? 2 : 0);
    EXPECT_EQ(detached_bytes(), device ? detached_pages() * TEST_PAGE : 0);
}

static void check_cell(enum change_kind kind)
{
    static void (*const checks[])(void) = {check_passes, check_waits, check_refused,
                                           check_detaches};
    uint64_t free_bytes = test_free_bytes(table.pool);
    struct hf_file *file;
    struct stat st;

    snprintf(table.path, sizeof(table.path), "/%s-%u", change_names[kind], table.policy);
    printf("%s under policy %u over %s\n", change_names[kind], table.policy,
           holder_names[table.holder]);
    file = change_prepare(table.pool, table.path);
    EXPECT_EQ(hf_fstat(file, &st), 0);
    table.ino = st.st_ino;
    hold(file);
    table.change =
        (struct change_thread){.pool = table.pool, .file = file, .path = table.path, .kind = kind};
    if (kind == CHANGE_UNLINK)
        EXPECT_EQ(hf_close(file), 0);
    checks[expected()]();
    if (kind != CHANGE_UNLINK) {
        EXPECT_EQ(hf_close(file), 0);
        EXPECT_EQ(hf_unlink(table.pool, table.path, NULL), 0);
    }
    if (table.holder != BY_DEAD_DEVICE)
        EXPECT_EQ(test_free_bytes(table.pool), free_bytes);
}

static void policy_table(void)
{
    const struct hf_pool_options options = {
        .size = sizeof(options), .pool_bytes = TEST_MIB(16), .quarantine_ns = QUARANTINE_NS};

    holding = test_shared(sizeof(*holding));
    EXPECT_EQ(hf_pool_create(test_path("table"), &options), 0);
    table.pool = test_pool_open("table");
    for (table.holder = 0; table.holder < HOLDERS; table.holder++)
        for (enum change_kind kind = 0; kind < CHANGE_KINDS; kind++)
            for (table.policy = HF_POLICY_DEFAULT; table.policy <= HF_POLICY_DEADLINE_DETACH;
                 table.policy++)
                check_cell(kind);
    test_pool_close(table.pool);
    test_pool_check("table");
}

TEST_SCENARIO(policy_table)
