/* SPDX-License-Identifier: MIT */
/*
 * The properties of the contract (src/sync/engine.h) as small plain cases, an engine at a time. A
 * broken promise shows as a wrong byte, a deadline, or a report of ThreadSanitizer, which sees what
 * all threads here do to the blocks. What is promised:
 *
 *   reuse     a block is not given away under a pin
 *   wake      a layout change that sleeps is woken by the last pin
 *   starve    many that pin the same page again and again do not keep a layout change out
 *   gate      a holder of a pin passes a closed gate, so that none waits in a cycle; others wait
 *   handover  what a holder did to a block comes before what the next owner does
 */
#include "support.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#define WORDS (TEST_PAGE / sizeof(uint64_t))
#define THREADS 4
/* A sleeping change looks again after 50 ms (slots-fenced: 1 ms): a wait takes so long only without
 * a wake-up. */
#define TICK_NS 40000000
#define LONGEST_NS 10000000
#define TICK_FENCED_NS 900000

static const struct test_engine *engine;
static uint64_t seed;

static unsigned rounds(unsigned many)
{
    return test_is_slow() ? many / 10 : many;
}

static void start(pthread_t *thread, void *(*body)(void *), void *arg)
{
    EXPECT_EQ(pthread_create(thread, NULL, body, arg), 0);
}

static void spin_ns(uint64_t ns)
{
    uint64_t until = test_now_ns() + ns;

    while (test_now_ns() < until)
        ;
}

/* A flag that is raised within microseconds. */
static void meet(const uint32_t *flag, uint32_t value)
{
    while (test_peek(flag) < value)
        sched_yield();
}

/* Takes all free blocks but `spare`, so that a freed one is the next to be used. */
static struct hf_pool *full_pool(struct hf_file **file, unsigned spare)
{
    struct hf_pool *pool = test_engine_pool(engine, NULL, TEST_MIB(8));
    struct hf_file *ballast = test_file(pool, "/ballast");

    *file = test_file_filled(pool, "/file", 1, 1);
    EXPECT_EQ(hf_fallocate(ballast, 0, 0, test_free_bytes(pool) - spare * TEST_PAGE, NULL), 0);
    EXPECT_EQ(hf_close(ballast), 0);
    return pool;
}

static int punch(struct hf_file *file)
{
    const struct hf_policy in_time = test_deadline_ms(TEST_PATIENCE_MS);

    return hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, 0, TEST_PAGE, &in_time);
}

static int move(struct hf_file *file, uint64_t page)
{
    const struct hf_policy in_time = test_deadline_ms(TEST_PATIENCE_MS);

    return hf_move(file, page * TEST_PAGE, TEST_PAGE, &in_time);
}

/* --- reuse: one block, two files that have it in turn --- */

struct reuse {
    struct hf_file *files[2];
    uint32_t ready, stop;
    uint64_t pins;
};

static void *look_at_both(void *arg)
{
    struct reuse *reuse = arg;
    struct test_rng rng = {test_mix(seed, 1)};
    struct iovec iov;
    struct hf_pin pin = test_pin(reuse->files[0], 0, TEST_PAGE, HF_PIN_READ, &iov, 1);

    EXPECT_EQ(hf_unpin(&pin), 0);
    test_count(&reuse->ready);
    for (unsigned i = 0; !test_peek(&reuse->stop); i++) {
        unsigned number = i % 2;

        if (hf_pin(reuse->files[number], 0, TEST_PAGE, HF_PIN_NOWAIT, &iov, 1, &pin) != 1)
            continue;
        EXPECT(test_page_is(iov.iov_base, number + 1, 0));
        spin_ns(test_below(&rng, 5000));
        EXPECT(test_page_is(iov.iov_base, number + 1, 0));
        EXPECT_EQ(hf_unpin(&pin), 0);
        test_count64(&reuse->pins, 1);
    }
    return NULL;
}

static void case_reuse(void)
{
    struct reuse reuse = {0};
    struct hf_pool *pool = full_pool(&reuse.files[0], 0);
    unsigned count = rounds(20000);
    pthread_t threads[2];

    reuse.files[1] = test_file(pool, "/other");
    EXPECT_EQ(hf_truncate(reuse.files[1], TEST_PAGE, NULL), 0);
    for (int i = 0; i < 2; i++)
        start(&threads[i], look_at_both, &reuse);
    test_await(&reuse.ready, 2);
    for (unsigned i = 0; i < count; i++) {
        EXPECT_EQ(punch(reuse.files[i % 2]), 0);
        test_write_pages(reuse.files[!(i % 2)], !(i % 2) + 1, 0, 1);
        test_expect_pages(reuse.files[!(i % 2)], !(i % 2) + 1, 0, 1); /* and fills the entry */
    }
    test_raise(&reuse.stop, 1);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    EXPECT(reuse.pins > 0);
    printf("reuse: a block changed hands %u times under %" PRIu64 " pins\n", count, reuse.pins);
    for (int i = 0; i < 2; i++)
        EXPECT_EQ(hf_close(reuse.files[i]), 0);
    test_pool_close(pool);
}

/* --- wake: a pin that goes at about the moment when the change goes to sleep --- */

struct wake {
    struct hf_pool *pool;
    struct hf_file *file;
    uint32_t turn, held;
};

static struct hf_stats stats_of(struct hf_pool *pool)
{
    struct hf_stats stats = {.size = sizeof(stats)};

    EXPECT_EQ(hf_stats(pool, &stats), 0);
    return stats;
}

/* Some engines have much to do before they look for pins, on some machines for longer than these
 * are held. They are held longer then, until a change has found one. */
static uint64_t longest_hold(struct hf_pool *pool, uint64_t most_ns)
{
    return stats_of(pool).drains_waited == 0 && most_ns < LONGEST_NS ? 2 * most_ns : most_ns;
}

static void *hold_for_a_moment(void *arg)
{
    struct wake *wake = arg;
    struct test_rng rng = {test_mix(seed, 2)};
    unsigned count = rounds(20000);
    struct iovec iov;
    struct hf_pin pin;
    uint64_t begun, most_ns = 20000;

    for (unsigned i = 1; i <= count; i++) {
        meet(&wake->turn, i);
        if (i % 64 == 0)
            most_ns = longest_hold(wake->pool, most_ns);
        pin = test_pin(wake->file, 0, TEST_PAGE, HF_PIN_READ, &iov, 1);
        begun = stats_of(wake->pool).changes;
        test_raise(&wake->held, i);
        while (stats_of(wake->pool).changes == begun)
            sched_yield();
        spin_ns(test_below(&rng, most_ns));
        EXPECT_EQ(hf_unpin(&pin), 0);
    }
    return NULL;
}

static void case_wake(void)
{
    struct hf_pool *pool = test_engine_pool(engine, NULL, TEST_MIB(8));
    struct wake wake = {.pool = pool, .file = test_file_filled(pool, "/file", 1, 1)};
    uint64_t waited, tick_ns = strcmp(engine->name, "slots-fenced") == 0 ? TICK_FENCED_NS : TICK_NS;
    unsigned count = rounds(20000), ticks = 0;
    pthread_t thread;

    start(&thread, hold_for_a_moment, &wake);
    for (unsigned i = 1; i <= count; i++) {
        uint64_t since;

        test_raise(&wake.turn, i);
        meet(&wake.held, i);
        since = test_now_ns();
        EXPECT_EQ(move(wake.file, 0), 0);
        ticks += test_now_ns() - since >= tick_ns;
    }
    pthread_join(thread, NULL);
    test_expect_pages(wake.file, 1, 0, 1);
    waited = stats_of(pool).drains_waited;
    EXPECT(waited > 0);
    printf("wake: %u layout changes, %" PRIu64
           " waited for the pin, %u of them for a tick (more than a few\n"
           "on an idle machine: lost wake-ups, mended by the next look)\n",
           count, waited, ticks);
    EXPECT_EQ(hf_close(wake.file), 0);
    test_pool_close(pool);
}

/* --- starve: somebody holds the page at nearly every moment --- */

struct crowd {
    struct hf_file *file;
    uint32_t stop;
    uint64_t pins;
};

static void *keep_pinning(void *arg)
{
    struct crowd *crowd = arg;
    struct iovec iov;
    struct hf_pin pin;

    while (!test_peek(&crowd->stop)) {
        pin = test_pin(crowd->file, 0, TEST_PAGE, HF_PIN_READ, &iov, 1);
        EXPECT(test_page_is(iov.iov_base, 1, 0));
        spin_ns(50000);
        sched_yield();
        EXPECT_EQ(hf_unpin(&pin), 0);
        test_count64(&crowd->pins, 1);
    }
    return NULL;
}

static void case_starve(void)
{
    struct hf_pool *pool = test_engine_pool(engine, NULL, TEST_MIB(8));
    struct crowd crowd = {.file = test_file_filled(pool, "/file", 1, 1)};
    unsigned count = rounds(1000);
    pthread_t threads[THREADS];

    for (int i = 0; i < THREADS; i++)
        start(&threads[i], keep_pinning, &crowd);
    while (test_peek64(&crowd.pins) < THREADS)
        sched_yield();
    for (unsigned i = 0; i < count; i++) {
        uint64_t pins = test_peek64(&crowd.pins);

        EXPECT_EQ(move(crowd.file, 0), 0);
        while (test_peek64(&crowd.pins) < pins + THREADS)
            sched_yield();
    }
    test_raise(&crowd.stop, 1);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    printf("starve: %u layout changes came through %" PRIu64 " pins of %d threads\n", count,
           crowd.pins, THREADS);
    EXPECT_EQ(hf_close(crowd.file), 0);
    test_pool_close(pool);
}

/* --- gate: two holders, each at the gate of the change that waits for the other, and a newcomer
 * --- */

struct gate {
    struct hf_pool *pool;
    struct hf_file *file;
    pthread_barrier_t barrier;
    uint32_t reached;   /* times a holder has passed the gate of the other's page */
    const void *before; /* where page 0 is until it is moved */
};

/* Returns when the page has no entry: a layout change has taken it, or is about to. */
static void await_zapped(struct hf_file *file, uint64_t page)
{
    struct iovec iov;
    struct hf_pin pin;
    int rc;

    while ((rc = hf_pin(file, page * TEST_PAGE, TEST_PAGE, HF_PIN_NOWAIT, &iov, 1, &pin)) == 1) {
        EXPECT_EQ(hf_unpin(&pin), 0);
        sched_yield();
    }
    EXPECT_EQ(rc, -EAGAIN);
}

static void await_newcomer(const struct gate *gate, uint64_t waits)
{
    uint64_t limit = test_now_ns() + TEST_PATIENCE_NS;

    while (stats_of(gate->pool).gate_waits == waits) {
        if (test_now_ns() > limit)
            FAIL("a thread without a pin did not wait at the gate");
        sched_yield();
    }
}

static void hold_and_reach(struct gate *gate, unsigned own)
{
    struct iovec iov[2];
    struct hf_pin pin, other;
    unsigned count = rounds(500);

    for (unsigned i = 0; i < count; i++) {
        uint64_t waits = stats_of(gate->pool).gate_waits;

        pin = test_pin(gate->file, own * TEST_PAGE, TEST_PAGE, HF_PIN_READ, &iov[0], 1);
        if (own == 0)
            gate->before = iov[0].iov_base;
        pthread_barrier_wait(&gate->barrier);
        await_zapped(gate->file, !own);
        other = test_pin(gate->file, !own * TEST_PAGE, TEST_PAGE, HF_PIN_READ, &iov[1], 1);
        EXPECT(test_page_is(iov[1].iov_base, 1, !own));
        test_count(&gate->reached);
        meet(&gate->reached, 2 * (i + 1));
        await_newcomer(gate, waits);
        EXPECT(test_page_is(iov[0].iov_base, 1, own));
        EXPECT_EQ(hf_unpin(&other), 0);
        EXPECT_EQ(hf_unpin(&pin), 0);
        pthread_barrier_wait(&gate->barrier);
    }
}

static void *hold_first(void *arg)
{
    hold_and_reach(arg, 0);
    return NULL;
}

static void *hold_second(void *arg)
{
    hold_and_reach(arg, 1);
    return NULL;
}

static void move_each_round(struct gate *gate, uint64_t page)
{
    unsigned count = rounds(500);

    for (unsigned i = 0; i < count; i++) {
        test_expect_pages(gate->file, 1, page, 1); /* fills the entry */
        pthread_barrier_wait(&gate->barrier);
        EXPECT_EQ(move(gate->file, page), 0);
        pthread_barrier_wait(&gate->barrier);
    }
}

static void *move_first(void *arg)
{
    move_each_round(arg, 0);
    return NULL;
}

static void *move_second(void *arg)
{
    move_each_round(arg, 1);
    return NULL;
}

/* Holds nothing. It may come before the gate is closed; then it comes again, until it has waited
 * and finds the page moved away. */
static void come_anew(struct gate *gate)
{
    unsigned count = rounds(500);
    struct iovec iov;
    struct hf_pin pin;

    for (unsigned i = 0; i < count; i++) {
        pthread_barrier_wait(&gate->barrier);
        do {
            pin = test_pin(gate->file, 0, TEST_PAGE, HF_PIN_READ, &iov, 1);
            EXPECT(test_page_is(iov.iov_base, 1, 0));
            EXPECT_EQ(hf_unpin(&pin), 0);
        } while (iov.iov_base == gate->before);
        pthread_barrier_wait(&gate->barrier);
    }
}

static void case_gate(void)
{
    void *(*const bodies[])(void *) = {hold_first, hold_second, move_first, move_second};
    struct hf_pool *pool = test_engine_pool(engine, NULL, TEST_MIB(8));
    struct gate gate = {.pool = pool, .file = test_file_filled(pool, "/file", 1, 2)};
    pthread_t threads[4];

    EXPECT_EQ(pthread_barrier_init(&gate.barrier, NULL, 5), 0);
    for (int i = 0; i < 4; i++)
        start(&threads[i], bodies[i], &gate);
    come_anew(&gate);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    printf("gate: %u rounds of two holders, two changes, one newcomer: it waited %" PRIu64
           " times\n",
           rounds(500), stats_of(pool).gate_waits);
    pthread_barrier_destroy(&gate.barrier);
    EXPECT_EQ(hf_close(gate.file), 0);
    test_pool_close(pool);
}

/* --- handover: a holder that writes until it lets go, of a page that moves: its old block is
 * another file's at once --- */

struct handover {
    struct hf_file *file;
    uint32_t stop;
    uint64_t writes;
};

static void *write_in_place(void *arg)
{
    struct handover *handover = arg;
    struct iovec iov;
    struct hf_pin pin;
    uint64_t *words, value = 0;

    while (!test_peek(&handover->stop)) {
        pin = test_pin(handover->file, 0, TEST_PAGE, HF_PIN_WRITE, &iov, 1);
        words = iov.iov_base;
        for (size_t i = 0; value && i < WORDS; i++)
            EXPECT_EQ(words[i], value);
        value++;
        for (size_t i = 0; i < WORDS; i++)
            words[i] = value;
        EXPECT_EQ(hf_unpin(&pin), 0);
    }
    handover->writes = value;
    return NULL;
}

static void case_handover(void)
{
    struct handover handover = {0};
    struct hf_pool *pool = full_pool(&handover.file, 1);
    struct hf_file *other = test_file(pool, "/other");
    unsigned count = rounds(20000);
    pthread_t thread;

    start(&thread, write_in_place, &handover);
    for (unsigned i = 0; i < count; i++) {
        EXPECT_EQ(move(handover.file, 0), 0);
        test_write_pages(other, i, 0, 1);
        test_expect_pages(other, i, 0, 1);
        EXPECT_EQ(punch(other), 0);
    }
    test_raise(&handover.stop, 1);
    pthread_join(thread, NULL);
    EXPECT(handover.writes > 0);
    printf("handover: %u moves, %" PRIu64 " times written in place\n", count, handover.writes);
    EXPECT_EQ(hf_close(other), 0);
    EXPECT_EQ(hf_close(handover.file), 0);
    test_pool_close(pool);
}

static int body(int argc, char **argv)
{
    engine = test_engine(argc > 1 ? argv[1] : "slots");
    seed = test_seed();
    printf("engine %s\n", engine->name);
    case_reuse();
    case_wake();
    case_starve();
    case_gate();
    case_handover();
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
