/* SPDX-License-Identifier: MIT */
/*
 * One run. This process hands out the turns, kills and stops; it never has the pool open while
 * actors live. After each death a living actor compares files and ledger before anything else
 * happens, and now and then in between.
 */
#include "chaos.h"

#include "../kill/trap.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STEPS_PER_CHECK 16u
#define LOOK_AGAIN_NS 2000000

static struct {
    struct chaos *chaos;
    unsigned number; /* of the step at hand */
    pid_t pids[CHAOS_ACTORS];
    unsigned stopped_until[CHAOS_ACTORS]; /* 0: it is not stopped */
} run;

static void make_pool(void)
{
    struct hf_pool_options options = {.size = sizeof(options),
                                      .pool_bytes = CHAOS_POOL_BYTES,
                                      .engine = run.chaos->engine,
                                      .quarantine_ns = 1,
                                      .max_processes = 16,
                                      .max_threads = 64,
                                      .max_files = 64,
                                      .max_leases = 128};
    struct hf_pool *pool;
    struct hf_file *ballast;
    char path[64];

    EXPECT_EQ(hf_pool_create(test_path(CHAOS_POOL), &options), 0);
    pool = test_pool_open(CHAOS_POOL);
    storm_dir_path(0, path);
    EXPECT_EQ(hf_mkdir(pool, path, 0700), 0);
    ballast = test_file(pool, "/ballast");
    EXPECT_EQ(
        hf_fallocate(ballast, 0, 0, test_free_bytes(pool) - CHAOS_FREE_PAGES * TEST_PAGE, NULL), 0);
    EXPECT_EQ(hf_close(ballast), 0);
    test_pool_close(pool);
}

/* --- actors --- */

static void act(void *arg)
{
    chaos_act(run.chaos, (unsigned)(uintptr_t)arg);
}

static void give_birth(unsigned number)
{
    struct chaos_turn *turn = &run.chaos->turns[number];

    if (run.pids[number])
        return;
    sem_init(&turn->go, 1, 0);
    sem_init(&turn->done, 1, 0);
    run.pids[number] = test_fork(act, (void *)(uintptr_t)number);
}

static void note(long long what)
{
    struct chaos *chaos = run.chaos;

    if (chaos->traced < CHAOS_TRACE)
        chaos->trace[chaos->traced++] = (struct chaos_trace){run.number, what};
}

static void bury(unsigned number)
{
    struct chaos *chaos = run.chaos;

    run.pids[number] = 0;
    run.stopped_until[number] = 0;
    if (chaos->parked && chaos->parked_actor == number)
        chaos->parked = false;
    chaos->deaths++;
    note(number);
}

/* True: the actor has died, as the step said. */
static bool died(unsigned number, const struct chaos_step *step)
{
    int status;

    if (waitpid(run.pids[number], &status, WNOHANG) != run.pids[number])
        return false;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && step->kill_at != TRAP_NEVER)
        return true;
    if (WIFSIGNALED(status))
        FAIL("step %u: signal %d (%s) ended actor %u", run.number, WTERMSIG(status),
             strsignal(WTERMSIG(status)), number);
    fprintf(stderr, "in step %u, by actor %u\n", run.number, number);
    _exit(1);
}

/* One turn; false: it was the last of this actor. */
static bool take_turn(unsigned number, const struct chaos_step *step)
{
    struct chaos_turn *turn = &run.chaos->turns[number];
    uint64_t limit = test_now_ns() + TEST_PATIENCE_NS / 2;

    give_birth(number);
    turn->step = *step;
    sem_post(&turn->go);
    for (;;) {
        struct timespec until;

        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += LOOK_AGAIN_NS;
        if (until.tv_nsec >= 1000000000)
            until.tv_nsec -= 1000000000, until.tv_sec++;
        if (sem_timedwait(&turn->done, &until) == 0)
            break;
        if (died(number, step)) {
            bury(number);
            return false;
        }
        if (test_now_ns() > limit)
            FAIL("step %u of actor %u does not end", run.number, number);
    }
    note(turn->result);
    return true;
}

static void take_plain_turn(unsigned number, enum chaos_kind kind)
{
    struct chaos_step step = {.actor = number, .kind = kind, .kill_at = TRAP_NEVER};

    step.seed = test_mix(run.number, kind);
    take_turn(number, &step);
}

/* --- stops and kills --- */

static void let_go_on(unsigned number)
{
    if (run.stopped_until[number])
        kill(run.pids[number], SIGCONT);
    run.stopped_until[number] = 0;
}

static void stop(unsigned number, const struct chaos_step *step)
{
    int status;

    if (!run.pids[number] || run.stopped_until[number] ||
        (run.chaos->parked && run.chaos->parked_actor == number))
        return;
    kill(run.pids[number], SIGSTOP);
    EXPECT_EQ(waitpid(run.pids[number], &status, WUNTRACED), run.pids[number]);
    EXPECT(WIFSTOPPED(status));
    run.stopped_until[number] = run.number + 2 + step->seed % 20;
    run.chaos->stops++;
}

static void kill_actor(unsigned number)
{
    if (!run.pids[number])
        return;
    test_kill(run.pids[number]);
    bury(number);
}

/* --- what follows a step --- */

static void check(void)
{
    unsigned who = 1;

    while (who < CHAOS_ACTORS && (!run.pids[who] || run.stopped_until[who]))
        who++;
    for (unsigned i = 1; who == CHAOS_ACTORS && i < CHAOS_ACTORS; i++)
        if (!run.pids[i])
            who = i;
    if (who == CHAOS_ACTORS)
        let_go_on(who = 1);
    take_plain_turn(who, CHAOS_CHECK);
}

static void look_after_wait(void)
{
    if (run.chaos->parked)
        take_plain_turn(run.chaos->parked_actor, CHAOS_LOOK);
}

static void kill_all(const struct chaos_step *step)
{
    if (run.chaos->parked) /* before what it waits for goes */
        kill_actor(run.chaos->parked_actor);
    for (unsigned i = 0; i < CHAOS_ACTORS; i++)
        kill_actor(i);
    if (step->seed & 1) /* the first to come can only read */
        take_plain_turn(0, CHAOS_HEAR);
}

static void take_step(const struct chaos_step *step)
{
    uint64_t deaths = run.chaos->deaths;

    if (step->kind == CHAOS_KILL)
        kill_actor(step->actor);
    else if (step->kind == CHAOS_KILL_ALL)
        kill_all(step);
    else if (step->kind == CHAOS_STOP)
        stop(step->actor, step);
    else if (!run.stopped_until[step->actor])
        take_turn(step->actor, step);
    look_after_wait(); /* first: what the dead held is in the way no more */
    if (deaths != run.chaos->deaths)
        check();
    if (run.chaos->steps++ % STEPS_PER_CHECK == 0)
        check();
}

/* --- the end --- */

static void end_actors(void)
{
    for (unsigned i = 0; i < CHAOS_ACTORS; i++) {
        let_go_on(i);
        if (run.pids[i])
            take_plain_turn(i, CHAOS_RELEASE);
        look_after_wait();
    }
    EXPECT(!run.chaos->parked);
    for (unsigned i = 0; i < CHAOS_ACTORS; i++) {
        if (!run.pids[i])
            continue;
        run.chaos->turns[i].step.kind = CHAOS_EXIT;
        sem_post(&run.chaos->turns[i].go);
        test_join(run.pids[i]);
        run.pids[i] = 0;
    }
}

static void check_at_end(void)
{
    struct hf_pool *pool = test_pool_open(CHAOS_POOL);

    chaos_check(run.chaos, pool, true);
    test_pool_close(pool);
    test_pool_check(CHAOS_POOL);
}

void chaos_run(struct chaos *chaos, uint64_t seed, unsigned steps, const bool *keep, bool show)
{
    run.chaos = chaos;
    chaos_count_time(chaos);
    make_pool();
    for (run.number = 0; run.number < steps; run.number++) {
        struct chaos_step step = chaos_step(seed, run.number);

        for (unsigned i = 0; i < CHAOS_ACTORS; i++)
            if (run.stopped_until[i] && run.stopped_until[i] <= run.number)
                let_go_on(i);
        if (!keep[run.number])
            continue;
        if (show)
            chaos_print_step(run.number, &step);
        take_step(&step);
    }
    end_actors();
    check_at_end();
}
