/* SPDX-License-Identifier: MIT */
/*
 * torture: makes a full pool, starts processes of pinners and changers, counts. A right build must
 * end with zero reused blocks, whatever the engine. Lab builds have an engine that must not, and
 * --break, which takes one edge out of the protocol. With --expect-caught the torture has to
 * notice.
 */
#include "torture.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#ifdef HF_LAB
#include "base/lab.h"
#endif

#define LOOKED_AT 8 /* words of a page */
#define WORDS (TEST_PAGE / sizeof(uint64_t))
#define POOL_NAME "torture"
#define POOL_MIB 8
#define PLACES (TORTURE_FILES * TORTURE_PAGES)

static struct torture *shared;

/* With dedup, two files have the same. */
uint64_t torture_mark(uint64_t place)
{
    if (shared->options.dedup && place < PLACES)
        place %= PLACES / 2;
    return test_mix(place, 0x70727472) | 1;
}

void torture_mark_page(uint64_t *page, uint64_t place)
{
    for (size_t i = 0; i < WORDS; i++)
        page[i] = torture_mark(place);
}

/* Reads what others may be writing: that is its purpose, not a race to report. */
__attribute__((no_sanitize("thread"))) enum torture_look torture_look(const void *memory,
                                                                      uint64_t place)
{
    const volatile uint64_t *words = memory;
    enum torture_look look = TORTURE_ZERO;

    for (size_t i = 0; i < LOOKED_AT; i++) {
        uint64_t word = words[i * (WORDS - 1) / (LOOKED_AT - 1)];

        if (word != 0 && word != torture_mark(place))
            return TORTURE_FOREIGN;
        if (word != 0)
            look = TORTURE_MARKED;
    }
    return look;
}

void torture_file_name(unsigned file, char name[32])
{
    snprintf(name, 32, "/file-%u", file);
}

void torture_stay_on_cpu(unsigned number)
{
    cpu_set_t allowed, one;
    int count, wanted;

    CPU_ZERO(&one);
    if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0)
        return;
    count = CPU_COUNT(&allowed);
    wanted = (int)(number % (unsigned)count);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &allowed) && wanted-- == 0)
            CPU_SET(cpu, &one);
    sched_setaffinity(0, sizeof(one), &one);
}

void torture_spin_ns(uint64_t ns)
{
    uint64_t until = test_now_ns() + ns;

    while (test_now_ns() < until)
        ;
}

/* All files full of their marks, and a ballast that leaves a few free blocks. */
static struct hf_pool *prepare_pool(const struct test_engine *engine)
{
    uint64_t room = shared->options.compact ? 2 * HF_HUGE_BYTES : 0;
    uint64_t bytes = TEST_MIB(POOL_MIB) + room;
    struct hf_pool *pool = test_engine_pool(engine, POOL_NAME, bytes);
    uint64_t page[WORDS], ballast;
    struct hf_file *file;
    char name[32];

    for (unsigned i = 0; i < TORTURE_FILES; i++) {
        torture_file_name(i, name);
        file = test_file(pool, name);
        for (unsigned p = 0; p < TORTURE_PAGES; p++) {
            torture_mark_page(page, torture_place(i, p));
            EXPECT_EQ(hf_write(file, page, sizeof(page), p * TEST_PAGE), sizeof(page));
        }
        EXPECT_EQ(hf_close(file), 0);
    }
    ballast = test_free_bytes(pool) - TORTURE_SPARE_BLOCKS * TEST_PAGE - room;
    file = test_file(pool, "/ballast");
    EXPECT_EQ(hf_fallocate(file, 0, 0, ballast, NULL), 0);
    for (uint64_t p = 0; shared->options.dedup && p < ballast / TEST_PAGE; p++) {
        torture_mark_page(page, PLACES + p); /* else it becomes a hole */
        EXPECT_EQ(hf_write(file, page, sizeof(page), p * TEST_PAGE), sizeof(page));
    }
    EXPECT_EQ(hf_close(file), 0);
    return pool;
}

static void start_threads(struct torture *torture, struct hf_pool *pool, unsigned process)
{
    const struct torture_options *options = &torture->options;
    unsigned count = options->pinners + options->changers;
    struct torturer *torturers = calloc(count, sizeof(*torturers));
    pthread_t *threads = calloc(count, sizeof(*threads));

    for (unsigned i = 0; i < count; i++) {
        bool pins = i < options->pinners;

        torturers[i].torture = torture;
        torturers[i].pool = pool;
        torturers[i].number = pins ? process * options->pinners + i
                                   : process * options->changers + i - options->pinners;
        torturers[i].rng.state = test_mix(torture->seed, process * count + i);
        EXPECT_EQ(pthread_create(&threads[i], NULL, pins ? torture_pinner : torture_changer,
                                 &torturers[i]),
                  0);
    }
    for (unsigned i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    free(threads);
    free(torturers);
}

static void process(void *arg)
{
    struct hf_pool *pool;

#ifdef HF_LAB
    hf_lab_break = shared->options.broken;
#endif
    if (shared->options
            .expect_caught) /* a race needs both sides running: best before others, if we may */
        setpriority(PRIO_PROCESS, 0, -15);
    pool = shared->options.engine->one_process ? prepare_pool(shared->options.engine)
                                               : test_pool_open(POOL_NAME);
    test_count(&shared->ready);
    test_await(&shared->ready, shared->options.processes);
    start_threads(shared, pool, (unsigned)(uintptr_t)arg);
    test_pool_close(pool);
}

static bool caught(const struct torture *torture)
{
    return test_peek64(&torture->foreign) + test_peek64(&torture->vanished) > 0;
}

static void watch(struct torture *torture)
{
    while (test_peek64(&torture->changes) < torture->options.wanted &&
           !(torture->options.expect_caught && caught(torture)))
        test_sleep_ms(20);
    test_raise(&torture->stop, 1);
}

static void report(const struct torture *torture, bool sound)
{
    printf("pins %" PRIu64 " (refused %" PRIu64 "), looks %" PRIu64 "\n"
           "layout changes %" PRIu64 " (moves %" PRIu64 ", truncates %" PRIu64
           ", files made again %" PRIu64 "), stuck %" PRIu64 "\n"
           "saw another owner %" PRIu64 ", saw the mark vanish %" PRIu64 "%s\n",
           torture->pins, torture->refused, torture->looks, torture->changes, torture->moves,
           torture->truncates, torture->recreations, torture->stuck, torture->foreign,
           torture->vanished, sound ? "" : "; processes ended badly");
}

static void explain(const struct torture_options *options)
{
    printf(
        "How to read this: engine %s, %u processes, each with %u pinners and %u changers, %" PRIu64
        " changes.\n"
        "A freed block goes to another page at once, and every page carries its owner's mark.\n"
        "'saw another owner' counts pins under which the block was given to another page,\n"
        "'saw the mark vanish' those with a block that was wiped; 'stuck' are layout changes that did\n"
        "not get through in time. Expected here: %s.\n"
        "Windows are widened by scheduling alone: %u%% of the time a timer signal stops each\n"
        "pinner every few dozen microseconds for about as long, wherever it is. All engines get\n"
        "the same, and no protocol is touched.\n",
        options->engine->name, options->processes, options->pinners, options->changers,
        options->wanted,
        options->engine->racy    ? "reused blocks; this engine is racy on purpose"
        : options->expect_caught ? "reused blocks; this build is broken on purpose"
                                 : "0 of each, however long it runs",
        options->stops);
    fflush(stdout);
}

static int run(const struct torture_options *options)
{
    pid_t pids[TORTURE_CHANGERS_MAX], follower = 0, trimmer = 0, compactor = 0, resizer = 0;
    uint64_t merged = 0, refused = 0;
    bool sound = true;

    shared = test_shared(sizeof(*shared));
    shared->options = *options;
    shared->seed = test_seed();
    explain(options);
    if (!options->engine->one_process)
        test_pool_close(prepare_pool(options->engine));
    for (unsigned i = 0; i < options->processes; i++)
        pids[i] = test_fork(process, (void *)(uintptr_t)i);
    test_await(&shared->ready, options->processes);
    if (options->dedup)
        follower = test_follower(POOL_NAME);
    if (options->trim)
        trimmer = test_trimmer(POOL_NAME);
    if (options->compact)
        compactor = test_compactor(POOL_NAME, true);
    if (options->resize)
        resizer = torture_resizer(POOL_NAME);
    watch(shared);
    if (resizer) {
        printf("shrunk %" PRIu64 " times, ", torture_resizer_ends(resizer, &refused));
        printf("refused %" PRIu64 " times\n", refused);
    }
    if (compactor)
        printf("laid %" PRIu64 " runs\n", test_compactor_ends(compactor));
    if (trimmer)
        printf("given back %" PRIu64 " bytes\n", test_trimmer_ends(trimmer));
    if (follower)
        merged = test_follower_ends(follower);
    for (unsigned i = 0; i < options->processes; i++)
        sound &= test_wait_status(pids[i]) == 0;
    report(shared, sound);
    if (follower)
        printf("merged %" PRIu64 " bytes\n", merged);
    if (options->expect_caught && !caught(shared))
        test_skip("this machine has not shown it; tests/wrong/steps.c does, on any");
    if (options->expect_caught)
        return 0;
    if (sound && !options->engine->one_process)
        test_pool_check(POOL_NAME);
    return sound && !caught(shared) && shared->stuck == 0 && !follower == !merged ? 0 : 1;
}

#ifdef HF_LAB
static unsigned broken_edge(const char *name)
{
    static const struct {
        const char *name;
        unsigned bit;
    } edges[] = {
        {"pin-fence", HF_LAB_NO_PIN_FENCE},
        {"gate", HF_LAB_NO_GATE},
        {"late-publish", HF_LAB_LATE_PUBLISH},
        {"heavy", HF_LAB_NO_HEAVY},
        {"drain", HF_LAB_NO_DRAIN},
    };

    for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]); i++)
        if (strcmp(edges[i].name, name) == 0)
            return edges[i].bit;
    fprintf(stderr, "torture: no edge is called %s\n", name);
    exit(2);
}
#else
static unsigned broken_edge(const char *name)
{
    fprintf(stderr, "torture: --break %s needs a lab build\n", name);
    exit(2);
}
#endif

static unsigned number(const char *text, unsigned least, unsigned most)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);

    if (*end || value < least || value > most) {
        fprintf(stderr, "torture: %s is not a number from %u to %u\n", text, least, most);
        exit(2);
    }
    return (unsigned)value;
}

static int body(int argc, char **argv)
{
    static const struct option names[] = {
        {"processes", required_argument, NULL, 'p'},
        {"pinners", required_argument, NULL, 't'},
        {"changers", required_argument, NULL, 'c'},
        {"layout-changes", required_argument, NULL, 's'},
        {"stops", required_argument, NULL, 'w'},
        {"engine", required_argument, NULL, 'e'},
        {"dedup", no_argument, NULL, 'd'},
        {"trim", no_argument, NULL, 'm'},
        {"resize", no_argument, NULL, 'r'},
        {"compact", no_argument, NULL, 'k'},
        {"break", required_argument, NULL, 'b'},
        {"expect-caught", no_argument, NULL, 'x'},
        {NULL, 0, NULL, 0},
    };
    struct torture_options options = {.processes = 2,
                                      .pinners = 2,
                                      .changers = 1,
                                      .wanted = 50000,
                                      .stops = 50,
                                      .engine = test_engine("slots")};
    int option;

    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (option) {
        case 'p':
            options.processes = number(optarg, 1, 4);
            break;
        case 't':
            options.pinners = number(optarg, 1, 64);
            break;
        case 'c':
            options.changers = number(optarg, 1, 4);
            break;
        case 's':
            options.wanted = number(optarg, 1, UINT_MAX);
            break;
        case 'w':
            options.stops = number(optarg, 0, 100);
            break;
        case 'e':
            options.engine = test_engine(optarg);
            break;
        case 'd':
            if (!test_can_follow())
                test_skip("HOLDFAST does not say where the program is");
            options.dedup = true;
            break;
        case 'm':
            options.trim = true;
            break;
        case 'r':
            options.resize = true;
            break;
        case 'k':
            options.compact = true;
            break;
        case 'b':
            options.broken |= broken_edge(optarg);
            break;
        case 'x':
            options.expect_caught = true;
            break;
        default:
            return 2;
        }
    }
    if (options.engine->one_process)
        options.processes = 1;
    options.expect_caught |= options.engine->racy;
    return run(&options);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
