/* SPDX-License-Identifier: MIT */
/*
 * Processes that get and put, each on a CPU of its own as far as there are enough. They live as
 * long as the group, since a process that opens a pool sees each of its pages for the first time.
 * One that is not asked for anything sleeps. Those that are asked begin together, and go on until
 * they are told to stop.
 */
#include "cache.h"

#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define BETWEEN 16u /* operations between two looks at the clock of the others */

struct worker {
    pid_t process;
    int ask[2], answer[2];
};

static struct worker workers[CACHE_WORKERS];
static const struct cache_trace *trace;
static const bool *stores;
static struct {
    uint64_t ready, go, stop;
} * together;

struct answer {
    uint64_t ns, count;
};

/* ------------------------------------------------------------------------- a worker ------ */

static void do_some(const struct cache_way *way, struct cache_user *user, unsigned *at)
{
    for (unsigned i = 0; i < BETWEEN; i++, *at = (*at + 1) % trace->count)
        way->once(user, trace->asked[*at]);
}

static struct answer do_until_stopped(const struct cache_way *way, struct cache_user *user)
{
    unsigned at = user->number * (trace->count / CACHE_WORKERS);
    struct answer answer = {0};
    uint64_t start;

    do_some(way, user, &at);
    lab_raise(&together->ready);
    while (!lab_peek(&together->go))
        sched_yield();
    start = bench_own_cpu_ns();
    do {
        do_some(way, user, &at);
        answer.count += BETWEEN;
    } while (!lab_peek(&together->stop));
    answer.ns = bench_own_cpu_ns() - start;
    return answer;
}

/* All objects, and the memory that puts take in turn, were seen once by this process. */
static void see_all(struct cache_user *user)
{
    for (unsigned i = 0; i < trace->keys; i++) {
        cache_ways[GET_CACHE].once(user, i);
        cache_ways[GET_PIN].once(user, i);
    }
    cache_user_see_puts(user);
}

static int work_when_asked(void *arg)
{
    struct worker *self = arg;
    struct cache_user user;
    unsigned way;

    bench_stay_on_cpu((unsigned)(self - workers));
    cache_user_open(&user, (unsigned)(self - workers), stores);
    see_all(&user);
    while (read(self->ask[0], &way, sizeof way) == (ssize_t)sizeof way) {
        struct answer answer = do_until_stopped(&cache_ways[way], &user);

        if (write(self->answer[1], &answer, sizeof answer) != (ssize_t)sizeof answer)
            return 1;
    }
    return 0;
}

/* ---------------------------------------------------------------------- the caller ----- */

void cache_workers_begin(const struct cache_trace *asked, const bool running[STORES])
{
    trace = asked;
    stores = running;
    together = lab_shared(sizeof *together);
    for (unsigned i = 0; i < CACHE_WORKERS; i++) {
        bench_must_host(pipe2(workers[i].ask, O_CLOEXEC), "pipe");
        bench_must_host(pipe2(workers[i].answer, O_CLOEXEC), "pipe");
        workers[i].process = lab_fork(work_when_asked, &workers[i]);
    }
}

static void wait_until_ready(unsigned count)
{
    while (lab_peek(&together->ready) < count) {
        for (unsigned i = 0; i < CACHE_WORKERS; i++)
            if (waitpid(workers[i].process, NULL, WNOHANG) != 0)
                lab_fail("a process of the benchmark has ended");
        usleep(100);
    }
}

static void let_go(void)
{
    lab_put(&together->go, 1);
    usleep(bench.quick ? 5000 : 50000);
    lab_put(&together->stop, 1);
}

/* The CPUs that the workers use are theirs alone: the caller sleeps meanwhile. */
double cache_workers_run(unsigned way, unsigned count)
{
    int store = cache_ways[way].store;
    struct answer all = {0}, one;
    uint64_t before;

    *together = (__typeof__(*together)){0};
    for (unsigned i = 0; i < count; i++)
        if (write(workers[i].ask[1], &way, sizeof way) != (ssize_t)sizeof way)
            lab_fail("a process of the benchmark does not listen");
    wait_until_ready(count);
    before = store < 0 ? 0 : cache_store_cpu_ns((enum cache_store)store);
    let_go();
    for (unsigned i = 0; i < count; i++) {
        if (read(workers[i].answer[0], &one, sizeof one) != (ssize_t)sizeof one)
            lab_fail("a process of the benchmark does not answer");
        all.ns += one.ns;
        all.count += one.count;
    }
    all.ns += store < 0 ? 0 : cache_store_cpu_ns((enum cache_store)store) - before;
    return (double)all.ns / (double)all.count;
}

void cache_workers_end(void)
{
    for (unsigned i = 0; i < CACHE_WORKERS; i++) {
        for (unsigned end = 0; end < 2; end++) {
            close(workers[i].ask[end]);
            close(workers[i].answer[end]);
        }
        kill(workers[i].process, SIGKILL);
        waitpid(workers[i].process, NULL, 0);
    }
}
