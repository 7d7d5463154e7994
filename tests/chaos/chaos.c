/* SPDX-License-Identifier: MIT */
/*
 * chaos [--seed S] [--runs N | --seconds N] [--steps N] [--engine E] [--twice]
 *     Runs, each from a seed of its own; --twice: each two times, which must go the same way.
 * chaos --seed S --steps N --only NUMBER,NUMBER,...
 *     One run of these steps alone, each printed before it is taken.
 * chaos --break EDGE --runs N
 *     In lab builds: something is broken, and one of the runs must find it.
 *
 * A run that fails is cut down: actors and steps are left out while it still fails in the same
 * place. What is left is printed.
 */
#include "chaos.h"

#ifdef HF_LAB
#include "base/lab.h"
#endif

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define STEPS_MAX 10000u
#define CUTS_MAX 400u /* runs that cutting down may take */
#define MESSAGE 4096u

static struct {
    uint64_t seed, seconds;
    unsigned runs, steps;
    const char *engine, *only, *broken;
    bool twice, seeded;
} plan = {.runs = 1, .steps = 400, .engine = "slots"};

static struct chaos *chaos;
static bool keep[STEPS_MAX];

struct outcome {
    bool failed;
    char message[MESSAGE], place[256];
};

/* --- one run, in a process of its own --- */

struct order {
    uint64_t seed;
    bool show;
};

static void run(void *arg)
{
    const struct order *order = arg;
    int fd = open(test_path("messages"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    EXPECT_OK(fd);
    EXPECT_OK(dup2(fd, STDERR_FILENO));
    chaos_run(chaos, order->seed, plan.steps, keep, order->show);
}

static void read_message(struct outcome *outcome)
{
    int fd = open(test_path("messages"), O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, outcome->message, MESSAGE - 1);
    const char *at;

    outcome->message[n > 0 ? n : 0] = '\0';
    at = strstr(outcome->message, " (process");
    for (; at && at > outcome->message && at[-1] != '\n'; at--)
        ;
    if (at)
        snprintf(outcome->place, sizeof(outcome->place), "%.*s", (int)strcspn(at, "("), at);
    close(fd);
}

/* The actors of a run that has failed die with it; this process gets them all. */
static void bury_all(void)
{
    while (waitpid(-1, NULL, 0) > 0)
        ;
}

static struct outcome try(uint64_t seed, bool show)
{
    struct order order = {seed, show};
    struct outcome outcome = {0};
    int status;

    memset(chaos, 0, sizeof(*chaos));
    chaos->ledger.knows_holders = test_engine(plan.engine)->knows_holders;
    snprintf(chaos->engine, sizeof(chaos->engine), "%s", plan.engine);
    status = test_wait_status(test_fork(run, &order));
    bury_all();
    test_remove_tree(test_path(CHAOS_POOL));
    outcome.failed = !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    read_message(&outcome);
    return outcome;
}

/* --- cutting down --- */

static unsigned cuts;

/* Leaves out the steps of `out`, if the run without them still fails in the same place. */
static bool try_without(uint64_t seed, const bool *out, const char *place)
{
    static bool before[STEPS_MAX];
    struct outcome outcome;
    bool any = false;

    memcpy(before, keep, sizeof(keep));
    for (unsigned i = 0; i < plan.steps; i++) {
        any |= keep[i] && out[i];
        keep[i] &= !out[i];
    }
    if (!any || cuts == CUTS_MAX)
        goto back;
    cuts++;
    outcome = try(seed, false);
    if (outcome.failed && strcmp(outcome.place, place) == 0)
        return true;
back:
    memcpy(keep, before, sizeof(keep));
    return false;
}

static unsigned kept_steps(void)
{
    unsigned count = 0;

    for (unsigned i = 0; i < plan.steps; i++)
        count += keep[i];
    return count;
}

/* The kept steps from number `first` on, `count` of them. */
static void choose_kept(bool *out, unsigned first, unsigned count)
{
    unsigned at = 0;

    memset(out, 0, sizeof(keep));
    for (unsigned i = 0; i < plan.steps; i++)
        if (keep[i]) {
            out[i] = at >= first && at < first + count;
            at++;
        }
}

static void cut_down(uint64_t seed, const char *place)
{
    static bool out[STEPS_MAX];

    cuts = 0;
    for (unsigned actor = 0; actor < CHAOS_ACTORS; actor++) {
        for (unsigned i = 0; i < plan.steps; i++)
            out[i] = chaos_step(seed, i).actor == actor;
        try_without(seed, out, place);
    }
    for (unsigned size = kept_steps() / 2; size > 0; size /= 2)
        for (unsigned first = 0; first < kept_steps();) {
            choose_kept(out, first, size);
            if (!try_without(seed, out, place))
                first += size;
        }
}

static void print_rest(uint64_t seed)
{
    const char *comma = "";

    printf("seed %" PRIu64 ": %u of %u steps are left after %u runs:\n", seed, kept_steps(),
           plan.steps, cuts);
    for (unsigned i = 0; i < plan.steps; i++) {
        struct chaos_step step = chaos_step(seed, i);

        if (keep[i])
            chaos_print_step(i, &step);
    }
    printf("again: chaos --engine %s --seed %" PRIu64 " --steps %u --only ", plan.engine, seed,
           plan.steps);
    for (unsigned i = 0; i < plan.steps; i++)
        if (keep[i]) {
            printf("%s%u", comma, i);
            comma = ",";
        }
    printf("\n");
}

static void report(uint64_t seed, const struct outcome *outcome)
{
    printf("seed %" PRIu64 " failed:\n%s", seed, outcome->message);
    cut_down(seed, outcome->place);
    print_rest(seed);
}

/* --- all runs --- */

static void keep_all(void)
{
    for (unsigned i = 0; i < plan.steps; i++)
        keep[i] = true;
}

static void keep_only(const char *list)
{
    char *end;

    for (; *list; list = *end == ',' ? end + 1 : end) {
        unsigned long number = strtoul(list, &end, 10);

        if (end == list || number >= plan.steps)
            test_skip("--only is a list of numbers of steps");
        keep[number] = true;
    }
}

struct totals {
    uint64_t runs, steps, pins, leases, changes, refused, parkings, deaths, stops, checks;
};

static void add(struct totals *totals)
{
    totals->runs++;
    totals->steps += chaos->steps;
    totals->pins += chaos->pins;
    totals->leases += chaos->leases;
    totals->changes += chaos->changes;
    totals->refused += chaos->refused;
    totals->parkings += chaos->parkings;
    totals->deaths += chaos->deaths;
    totals->stops += chaos->stops;
    totals->checks += chaos->checks;
}

static bool go_on(const struct totals *totals, uint64_t start_ns)
{
    if (plan.seconds)
        return (test_now_ns() - start_ns) / 1000000000 < plan.seconds;
    return totals->runs < plan.runs;
}

static void print_totals(const struct totals *totals)
{
    printf("%" PRIu64 " runs, %" PRIu64 " steps, %" PRIu64 " pins, %" PRIu64 " leases, %" PRIu64
           " changes, %" PRIu64 " refused, %" PRIu64 " that waited, %" PRIu64 " deaths, %" PRIu64
           " stops, %" PRIu64 " checks\n",
           totals->runs, totals->steps, totals->pins, totals->leases, totals->changes,
           totals->refused, totals->parkings, totals->deaths, totals->stops, totals->checks);
}

/* The trace of the second run is the last one. */
static bool went_another_way(uint64_t seed, const struct chaos_trace *first)
{
    for (unsigned i = 0; i < chaos->traced; i++) {
        const struct chaos_trace *second = &chaos->trace[i];

        if (first[i].step == second->step && first[i].result == second->result)
            continue;
        printf("seed %" PRIu64 ": step %u gave %lld, and the second time step %u gave %lld\n", seed,
               first[i].step, first[i].result, second->step, second->result);
        return true;
    }
    return false;
}

/* Whether any run has failed. */
static bool run_all(void)
{
    static struct chaos_trace first[CHAOS_TRACE];
    struct totals totals = {0};
    uint64_t start_ns = test_now_ns();

    for (uint64_t seed = plan.seed; go_on(&totals, start_ns); seed++) {
        struct outcome outcome, second;

        keep_all();
        outcome = try(seed, false);
        add(&totals);
        if (outcome.failed) {
            report(seed, &outcome);
            return true;
        }
        if (!plan.twice)
            continue;
        memcpy(first, chaos->trace, sizeof(first));
        second = try(seed, false);
        if (second.failed || went_another_way(seed, first)) {
            printf("%s", second.message);
            return true;
        }
    }
    print_totals(&totals);
    return false;
}

static int run_one(void)
{
    struct outcome outcome;

    keep_only(plan.only);
    outcome = try(plan.seed, true);
    printf("%s%s\n", outcome.message, outcome.failed ? "failed" : "all is well");
    return outcome.failed;
}

#ifdef HF_LAB
static const struct {
    const char *name;
    unsigned bit;
} edges[] = {
    {"gate", HF_LAB_NO_GATE},        {"drain", HF_LAB_NO_DRAIN},
    {"thaw", HF_LAB_NO_THAW},        {"take-back", HF_LAB_NO_TAKE_BACK},
    {"late", HF_LAB_NO_LATE_RECALL}, {"early", HF_LAB_NO_EARLY_RECALL},
};

static void break_edge(void)
{
    for (size_t i = 0; plan.broken && i < sizeof(edges) / sizeof(edges[0]); i++)
        if (strcmp(edges[i].name, plan.broken) == 0)
            hf_lab_break = edges[i].bit;
}
#else
static void break_edge(void)
{
}
#endif

static int take_arguments(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";

        if (strcmp(argv[i], "--twice") == 0) {
            plan.twice = true;
            continue;
        }
        if (strcmp(argv[i], "--seed") == 0)
            plan.seed = strtoull(value, NULL, 0), plan.seeded = true;
        else if (strcmp(argv[i], "--runs") == 0)
            plan.runs = (unsigned)strtoul(value, NULL, 0);
        else if (strcmp(argv[i], "--seconds") == 0)
            plan.seconds = strtoull(value, NULL, 0);
        else if (strcmp(argv[i], "--steps") == 0)
            plan.steps = (unsigned)strtoul(value, NULL, 0);
        else if (strcmp(argv[i], "--engine") == 0)
            plan.engine = value;
        else if (strcmp(argv[i], "--only") == 0)
            plan.only = value;
        else if (strcmp(argv[i], "--break") == 0)
            plan.broken = value;
        else
            return 2;
        i++;
    }
    return plan.steps == 0 || plan.steps > STEPS_MAX ? 2 : 0;
}

static int all(int argc, char **argv)
{
    bool failed;

    if (take_arguments(argc, argv))
        return 2;
    if (!plan.seeded)
        plan.seed = test_seed();
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    chaos = test_shared(sizeof(*chaos));
    break_edge();
    if (plan.only)
        return run_one();
    failed = run_all();
    if (plan.broken)
        printf("%s: %s\n", plan.broken, failed ? "found" : "not found");
    return plan.broken ? !failed : failed;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, all);
}
