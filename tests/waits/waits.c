/* SPDX-License-Identifier: MIT */
/*
 * waits [--durable] [--few] [--steps] [--row NAME] [--show]
 *
 * For each row, and each policy where it takes one: one run without a failure says what comes of
 * the call. Then the call is made for each error that a wait can end with, and each way in which
 * later waits go on. The first wait fails, then the second ..., until there is none left to fail.
 * Where the call fails, the pool is as before. Where it does not, the pool is as after the run
 * without a failure. A call that returns less than it was asked for leaves what a call for just
 * that much leaves.
 *
 * --steps: rows alone whose calls then go in steps. A step that cannot be taken is left to others,
 * and nobody sees that. Needs a lab build.
 *
 * Each call is made by a new thread, for which the first snapshot is a wait too.
 */
#include "short_steps.h"
#include "waits.h"

#include "base/error.h"
#include "pool/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <holdfast/serve.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WAITS_MOST 400u /* of one call */
#define PARTS_MOST 64u
#define GATE_TRIES 5u

#define ERRORS_MOST 2u
#define LONG_NS TEST_PATIENCE_NS

/* How a call is made, and the errors that a wait can end with then and not otherwise. */
static const struct way {
    const char *name;
    struct hf_policy policy;
    uint32_t client; /* flags of the client that the call is made for */
    int errors[ERRORS_MOST];
    bool with, without; /* calls that take a policy, and that do not */
} ways[] = {
    {"none", {.kind = HF_POLICY_WAIT}, 0, {EINTR, EBUSY}, false, true},
    {"wait", {.kind = HF_POLICY_WAIT}, 0, {EINTR}, true, false},
    {"nowait", {.kind = HF_POLICY_NOWAIT}, 0, {EBUSY}, true, false},
    {"deadline", {HF_POLICY_DEADLINE, 0, LONG_NS}, 0, {ETIMEDOUT}, true, false},
    {"detach", {.kind = HF_POLICY_DETACH}, 0, {EINTR, EBUSY}, true, false},
    {"deadline-detach", {HF_POLICY_DEADLINE_DETACH, 0, LONG_NS}, 0, {ETIMEDOUT}, true, false},
    {"client", {.kind = HF_POLICY_WAIT}, HF_CLIENT_NOWAIT, {EAGAIN}, true, true},
};
#define WAYS (sizeof(ways) / sizeof(ways[0]))

static const char *const modes[] = {"that alone", "all for that lock", "all"};

static struct {
    const struct waits_row *row;
    unsigned way;
    int err;
    enum waits_mode mode;
    unsigned at;
    bool without_gate;
    /* of the attempt */
    long rc;
    bool met, told; /* of the wait that failed */
    char sentence[512];
} now;

static struct waits_call call;
static bool durable, few, show, stands, steps;
static unsigned attempts, failures;

/* --- others --- */

static struct {
    pthread_t thread;
    uint32_t ready, stop;
    bool there, held;
    struct hf_file *file;
    struct hf_pin pins[2];
    struct iovec iovs[2];
} pinner;

static struct {
    pthread_t thread;
    pid_t tid;
    uint32_t ended;
    bool there;
    long rc;
    struct hf_file *file;
} changer;

static struct {
    pid_t pid;
    uint32_t *ready, *stop;
} joiner;

/* It stays, since a thread that has ended may have given its pins to the next. */
static void *pin_two(void *arg)
{
    (void)arg;
    pinner.pins[0] = test_pin(pinner.file, TEST_PAGE, TEST_PAGE, HF_PIN_READ, &pinner.iovs[0], 1);
    pinner.pins[1] =
        test_pin(pinner.file, 4 * TEST_PAGE, TEST_PAGE, HF_PIN_READ, &pinner.iovs[1], 1);
    test_raise(&pinner.ready, 1);
    test_await(&pinner.stop, 1);
    return NULL;
}

static void begin_pins(void)
{
    EXPECT_EQ(hf_open(call.pool, "/a", O_RDWR, 0, &pinner.file), 0);
    pinner.ready = pinner.stop = 0;
    EXPECT_EQ(pthread_create(&pinner.thread, NULL, pin_two, NULL), 0);
    test_await(&pinner.ready, 1);
    pinner.there = pinner.held = true;
}

static void unpin_two(void)
{
    for (unsigned i = 0; i < 2 && pinner.held; i++)
        EXPECT_EQ(hf_unpin(&pinner.pins[i]), 0);
    pinner.held = false;
}

static void end_pins(void)
{
    if (!pinner.there)
        return;
    unpin_two();
    test_raise(&pinner.stop, 1);
    EXPECT_EQ(pthread_join(pinner.thread, NULL), 0);
    EXPECT_EQ(hf_close(pinner.file), 0);
    pinner.there = false;
}

static void *change(void *arg)
{
    (void)arg;
    changer.tid = gettid();
    changer.rc = hf_truncate(changer.file, 0, &test_wait);
    test_raise(&changer.ended, 1);
    return NULL;
}

static void close_gate(void)
{
    changer.ended = 0;
    changer.file = pinner.file;
    EXPECT_EQ(pthread_create(&changer.thread, NULL, change, NULL), 0);
    test_await_waiting(call.pool, 1);
    changer.there = true;
}

static void open_gate(void)
{
    if (!changer.there)
        return;
    while (!test_peek(&changer.ended)) {
        hf_cancel(call.pool, changer.tid);
        sched_yield();
    }
    EXPECT_EQ(pthread_join(changer.thread, NULL), 0);
    EXPECT_EQ(changer.rc, -EINTR);
    changer.there = false;
}

/* The call is about to sleep: what it waits for goes. */
static void release(void)
{
    if (changer.there)
        open_gate();
    else
        unpin_two();
}

static void join_pool(void *arg)
{
    struct hf_pool *pool = test_pool_open(WAITS_POOL);

    (void)arg;
    test_raise(joiner.ready, 1);
    test_await(joiner.stop, 1);
    test_pool_close(pool);
}

static void begin_joiner(void)
{
    if (!joiner.ready) {
        joiner.ready = test_shared(sizeof(uint32_t));
        joiner.stop = test_shared(sizeof(uint32_t));
    }
    *joiner.ready = *joiner.stop = 0;
    joiner.pid = test_fork(join_pool, NULL);
    test_await(joiner.ready, 1);
}

static void end_joiner(void)
{
    if (!joiner.pid)
        return;
    test_raise(joiner.stop, 1);
    test_join(joiner.pid);
    joiner.pid = 0;
}

/* --- the pool --- */

static void need_pool(bool open)
{
    if (open && !call.pool)
        call.pool = test_pool_open(WAITS_POOL);
    if (!open && call.pool) {
        test_pool_close(call.pool);
        call.pool = NULL;
    }
}

static void make_pool(void)
{
    struct hf_pool_options options = {.size = sizeof(options),
                                      .pool_bytes = WAITS_POOL_BYTES,
                                      .flags = durable ? HF_POOL_DURABLE : HF_POOL_MEMORY,
                                      .max_processes = 8,
                                      .max_threads = 32,
                                      .max_files = 64,
                                      .max_leases = 64};

    EXPECT_EQ(hf_pool_create(test_path(WAITS_POOL), &options), 0);
    if (now.row->others & WAITS_JOINS)
        begin_joiner();
    stands = true;
}

static void end_pool(void)
{
    need_pool(false);
    end_joiner();
    test_pool_check(WAITS_POOL);
    test_remove_tree(test_path(WAITS_POOL));
    stands = false;
}

static void build(void)
{
    if (!stands)
        make_pool();
    need_pool(true);
    waits_fill(call.pool);
    if (now.row->file)
        EXPECT_EQ(hf_open(call.pool, now.row->file, O_RDWR, 0, &call.file), 0);
    if (now.row->others & WAITS_PINS)
        begin_pins();
    if (now.row->prepare)
        now.row->prepare(&call);
}

/* What the call has left open. */
static void put_away(void)
{
    if (call.opened)
        EXPECT_EQ(hf_close(call.opened), 0);
    if (call.dir)
        EXPECT_EQ(hf_closedir(call.dir), 0);
    if (call.has_pin)
        EXPECT_EQ(hf_unpin(&call.pin), 0);
    call.opened = NULL;
    call.dir = NULL;
    call.has_pin = false;
}

static void end_holds(void)
{
    for (; call.registered; call.registered--)
        EXPECT_EQ(hf_pool_unregister(call.pool, HF_PIN_CPU), 0);
    if (call.has_token)
        call.has_lease = hf_lease_take(call.pool, &call.token, NULL, NULL, 0, &call.lease) == 0;
    if (call.has_lease)
        EXPECT_EQ(hf_lease_release(&call.lease), 0);
}

/* The next attempt finds the pool as a new one. */
static void tear_down(void)
{
    struct hf_pool_info info = {.size = sizeof(info)};
    struct hf_pool *pool;

    need_pool(true);
    open_gate();
    end_pins();
    put_away();
    end_holds();
    if (call.file)
        EXPECT_EQ(hf_close(call.file), 0);
    if (call.other)
        EXPECT_EQ(hf_close(call.other), 0);
    waits_account(call.pool);
    pool = call.pool;
    memset(&call, 0, sizeof(call));
    call.pool = pool;
    if (now.row->alone) {
        end_pool();
        return;
    }
    test_remove_below(call.pool, HF_ROOT_INO);
    EXPECT_EQ(hf_pool_info(call.pool, &info), 0);
    EXPECT_EQ(info.free_bytes, info.pool_bytes);
    EXPECT_EQ(info.inodes, 1);
}

/* --- an attempt --- */

static void *attempt(void *arg)
{
    const struct hf_client client = {
        .size = sizeof(client), .flags = ways[now.way].client, .uid = geteuid(), .gid = getegid()};

    (void)arg;
    if (client.flags)
        EXPECT_EQ(hf_act_for(&client), 0);
    call.policy = &ways[now.way].policy;
    waits_begin(now.err, now.mode, now.at, release);
    now.rc = now.row->act(&call);
    now.met = waits_end();
    now.told = now.rc >= 0 || waits_gave((int)-now.rc);
    snprintf(now.sentence, sizeof(now.sentence), "%s", hf_strerror_detail());
    return NULL;
}

static void make_attempt(void)
{
    pthread_t thread;

    attempts++;
    need_pool(!now.row->attaches);
    if (now.row->others & WAITS_PINS && !pinner.held) {
        end_pins();
        begin_pins();
    }
    if (now.row->others & WAITS_GATE && !now.without_gate)
        close_gate();
    EXPECT_EQ(pthread_create(&thread, NULL, attempt, NULL), 0);
    EXPECT_EQ(pthread_join(thread, NULL), 0);
    open_gate();
}

/* The page tables are gone afterwards, so that the next attempt makes them again. */
static void look(bool blocks, bool times, char picture[WAITS_PICTURE])
{
    need_pool(true);
    waits_look(call.pool, blocks, times, picture);
    dax_shrink(&call.pool->fs.dax);
}

static void on_failure(void)
{
    if (!now.row)
        return;
    fprintf(stderr, "row %s, policy %s, %s", now.row->name, ways[now.way].name,
            durable ? "durable" : "memory");
    if (now.at)
        fprintf(stderr, ", wait %u fails with %s, %s", now.at, strerrorname_np(now.err),
                modes[now.mode]);
    fprintf(stderr, ": gave %ld; %s\n", now.rc, now.sentence);
}

static bool known(const char *what, const char *before, const char *after)
{
    if (strcmp(before, after) == 0)
        return true;
    fprintf(stderr, "%s:\n%sinstead of\n%s", what, after, before);
    on_failure();
    failures++;
    return false;
}

/* --- a row with a policy --- */

struct golden {
    long rc;
    char after[WAITS_PICTURE];
    struct {
        uint64_t len;
        char after[WAITS_PICTURE];
    } parts[PARTS_MOST];
    unsigned part_count;
};

static struct golden golden;
/* A change that finds a lock taken opens its gate for a moment, and comes again. So a row with a
 * gate may also give what it gives without one. */
static struct golden ungated;

/* What is left may spare the next attempt some waits. */
static bool leaves_more(void)
{
    return now.row->leaves & (WAITS_BLOCKS | WAITS_TIMES);
}

static bool blocks_count(void)
{
    return !leaves_more();
}

static bool times_count(void)
{
    return !(now.row->leaves & WAITS_TIMES);
}

static void run_once(struct golden *result)
{
    now.at = 0;
    now.err = 0;
    result->part_count = 0;
    build();
    make_attempt();
    result->rc = now.rc;
    put_away();
    look(blocks_count(), false, result->after);
    tear_down();
}

static void run_golden(void)
{
    unsigned tries = 0;

    if (!(now.row->others & WAITS_GATE)) {
        run_once(&golden);
        ungated.rc = golden.rc;
        return;
    }
    now.without_gate = true;
    run_once(&ungated);
    now.without_gate = false;
    do
        run_once(&golden);
    while (golden.rc == ungated.rc && ++tries < GATE_TRIES); /* it may have been open */
}

/* What a call leaves that is asked for so much. */
static const char *after_part(long len)
{
    unsigned at = now.at, i;
    long rc = now.rc;

    for (i = 0; i < golden.part_count; i++)
        if (golden.parts[i].len == (uint64_t)len)
            return golden.parts[i].after;
    EXPECT(i < PARTS_MOST);
    now.at = 0;
    build();
    call.len = (uint64_t)len;
    make_attempt();
    EXPECT_EQ(now.rc, len);
    put_away();
    look(blocks_count(), false, golden.parts[i].after);
    golden.parts[i].len = (uint64_t)len;
    golden.part_count++;
    tear_down();
    now.at = at;
    now.rc = rc;
    return golden.parts[i].after;
}

static void complain(const char *what)
{
    fprintf(stderr, "%s\n", what);
    on_failure();
    failures++;
}

/* True: the pool is as it was, and the next attempt can be made with it. */
static bool judge_failed(const char *before)
{
    char after[WAITS_PICTURE];

    if (!now.told && now.rc != golden.rc && now.rc != ungated.rc)
        complain("another error than the wait had");
    look(blocks_count(), times_count(), after);
    waits_account(call.pool);
    if (now.row->judge && strcmp(before, after) != 0) {
        now.row->judge(&call);
        return false;
    }
    return known("after a failure", before, after) && !leaves_more();
}

/* Something has come of it. */
/* A gate that is closed for most of a call may be open for a moment. Then more is done than while
 * it stays closed. */
static long most_done(void)
{
    return golden.rc > ungated.rc ? golden.rc : ungated.rc;
}

static void judge_done(void)
{
    char after[WAITS_PICTURE];

    put_away();
    look(blocks_count(), false, after);
    waits_account(call.pool);
    if (now.rc == golden.rc) {
        known("after a wait failed that need not succeed", golden.after, after);
    } else if (now.rc == ungated.rc) {
        known("after the gate was open", ungated.after, after);
    } else if (now.row->leaves & WAITS_A_PART && now.rc > 0 && now.rc < most_done()) {
        tear_down();
        known("after a part", after_part(now.rc), after);
        build();
    } else {
        complain("the call says that it has done something else");
    }
}

static bool nothing_done(void)
{
    return now.rc < 0 || (now.row->leaves & WAITS_A_PART && now.rc == 0 && golden.rc > 0);
}

static void run_errors(void)
{
    static char before[WAITS_PICTURE];
    bool fresh = true;

    build();
    for (now.at = 1;; now.at++) {
        EXPECT(now.at < WAITS_MOST);
        if (fresh)
            look(blocks_count(), times_count(), before);
        fresh = false;
        make_attempt();
        if (!now.met)
            break;
        if (nothing_done() && judge_failed(before))
            continue;
        if (!nothing_done())
            judge_done();
        tear_down();
        build();
        fresh = true;
    }
    if (now.rc != golden.rc && now.rc != ungated.rc)
        FAIL("it gives %ld without a failure, and %ld after some", golden.rc, now.rc);
    judge_done();
    tear_down();
    if (show)
        printf("%-24s %-12s %-10s %-18s %u waits\n", now.row->name, ways[now.way].name,
               strerrorname_np(now.err), modes[now.mode], now.at - 1);
}

static void run_way(void)
{
    const int *errors = ways[now.way].errors;

    run_golden();
    for (unsigned e = 0; e < ERRORS_MOST && errors[e]; e++) {
        now.err = errors[e];
        now.mode = WAITS_ONE;
        run_errors();
        now.mode = now.err == EINTR ? WAITS_ALL : WAITS_HOLDER;
        run_errors();
    }
}

/* --few: with what the others do not show of locks and gates. */
static bool is_made(const struct way *way)
{
    if (!now.row->policies)
        return way->without;
    return way->with && !(few && way->policy.deadline_ns);
}

static void run_row(void)
{
    for (now.way = 0; now.way < WAYS; now.way++)
        if (is_made(&ways[now.way]))
            run_way();
}

static void run_table(const struct waits_row *rows, unsigned count, const char *name)
{
    for (unsigned i = 0; i < count; i++) {
        if ((name && strcmp(rows[i].name, name) != 0) || rows[i].steps != steps)
            continue;
        now.row = &rows[i];
        run_row();
        if (stands)
            end_pool();
    }
    now.row = NULL;
}

static int run(int argc, char **argv)
{
    static const struct option options[] = {
        {"durable", no_argument, NULL, 'd'},   {"few", no_argument, NULL, 'f'},
        {"row", required_argument, NULL, 'r'}, {"show", no_argument, NULL, 's'},
        {"steps", no_argument, NULL, 't'},     {0}};
    const char *name = NULL;
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'd':
            durable = true;
            break;
        case 'f':
            few = true;
            break;
        case 'r':
            name = optarg;
            break;
        case 's':
            show = true;
            break;
        case 't':
            steps = test_shorten_steps();
            break;
        default:
            return 2;
        }
    }
    test_on_failure = on_failure;
    run_table(waits_names, waits_name_count, name);
    run_table(waits_content, waits_content_count, name);
    run_table(waits_layout, waits_layout_count, name);
    run_table(waits_pool, waits_pool_count, name);
    printf("%u calls, %u not as they should be\n", attempts, failures);
    return failures || !attempts ? 1 : 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, run);
}
