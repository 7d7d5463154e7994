/* SPDX-License-Identifier: MIT */
/* Threads on CPUs of their own: several that do the same at once, or one that keeps another
 * company. */
#include "bench.h"

#include <inttypes.h>
#include <sched.h>
#include <unistd.h>

#define THREADS_MAX 256u
#define WARM_STEPS 1000u
#define FILE_PAGES UINT64_C(256)

/* Those that this program found itself on. */
static const cpu_set_t *allowed_cpus(void)
{
    static cpu_set_t allowed;
    static bool known;

    if (!known)
        known = sched_getaffinity(0, sizeof allowed, &allowed) == 0;
    return &allowed;
}

void bench_stay_on_cpu(unsigned number)
{
    const cpu_set_t *allowed = allowed_cpus();
    unsigned wanted = number % bench.cpus;
    cpu_set_t one;

    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, allowed) && wanted-- == 0)
            CPU_SET(cpu, &one);
    sched_setaffinity(0, sizeof one, &one);
}

void bench_go_anywhere(void)
{
    sched_setaffinity(0, sizeof(cpu_set_t), allowed_cpus());
}

unsigned bench_most_threads(void)
{
    return bench.cpus < 2 ? 2 : bench.cpus < THREADS_MAX ? bench.cpus : THREADS_MAX;
}

uint64_t bench_pin_pages(void)
{
    uint64_t own = (uint64_t)bench_most_threads() * BENCH_OWN_STRIDE;

    return own < FILE_PAGES ? FILE_PAGES : own;
}

uint64_t bench_clock_ns(void)
{
    static uint64_t least;

    for (unsigned i = 0; least == 0 || i < 1000; i++) {
        uint64_t a = lab_now_ns(), b = lab_now_ns();

        least = least == 0 || b - a < least ? b - a : least;
    }
    return least;
}

/* ------------------------------------------------------------------------- together ------ */

uint64_t bench_passed_over_ns(void)
{
    FILE *file = fopen("/proc/thread-self/schedstat", "re");
    uint64_t ns = 0;

    if (file && fscanf(file, "%*u %" PRIu64, &ns) != 1)
        ns = 0;
    if (file)
        fclose(file);
    return ns;
}

uint64_t bench_own_cpu_ns(void)
{
    struct timespec used;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * LAB_SEC + (uint64_t)used.tv_nsec;
}

struct together {
    uint64_t (*loop)(void *arg, unsigned thread, const uint64_t *stop);
    void *arg;
    pthread_barrier_t start;
    uint64_t stop;
};

struct one_of_them {
    struct together *together;
    unsigned number;
    double ns; /* of an operation */
    pthread_t thread;
};

static void *run_one(void *arg)
{
    struct one_of_them *self = arg;
    struct together *together = self->together;
    uint64_t start, count;

    bench_stay_on_cpu(self->number);
    together->loop(together->arg, self->number, &(uint64_t){1});
    pthread_barrier_wait(&together->start);
    start = bench_own_cpu_ns();
    count = together->loop(together->arg, self->number, &together->stop);
    self->ns = (double)(bench_own_cpu_ns() - start) / (double)count;
    return NULL;
}

double bench_together(unsigned threads,
                      uint64_t (*loop)(void *arg, unsigned thread, const uint64_t *stop), void *arg)
{
    struct together together = {.loop = loop, .arg = arg};
    struct one_of_them them[THREADS_MAX];
    double sum = 0;

    pthread_barrier_init(&together.start, NULL, threads + 1);
    for (unsigned i = 0; i < threads; i++) {
        them[i] = (struct one_of_them){.together = &together, .number = i};
        if (pthread_create(&them[i].thread, NULL, run_one, &them[i]))
            lab_fail("no thread could be started");
    }
    pthread_barrier_wait(&together.start);
    usleep(bench.quick ? 5000 : 20000);
    lab_put(&together.stop, 1);
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(them[i].thread, NULL);
        sum += them[i].ns;
    }
    pthread_barrier_destroy(&together.start);
    return sum / threads;
}

/* ------------------------------------------------------------------------ companion ------ */

static void *keep_company(void *arg)
{
    struct bench_companion *companion = arg;
    uint64_t chance = 1;

    bench_stay_on_cpu(1);
    while (!lab_peek(&companion->stop)) {
        companion->step(companion->arg, &chance);
        lab_count(&companion->steps, 1);
        if (companion->company == BENCH_IDLE && companion->steps >= WARM_STEPS) {
            lab_put(&companion->parked, 1);
            sem_wait(&companion->wake);
        }
    }
    return NULL;
}

void bench_companion_begin(struct bench_companion *companion, enum bench_company company,
                           void (*step)(void *arg, uint64_t *chance), void *arg)
{
    *companion = (struct bench_companion){.company = company, .step = step, .arg = arg};
    if (company == BENCH_ALONE)
        return;
    sem_init(&companion->wake, 0, 0);
    if (pthread_create(&companion->thread, NULL, keep_company, companion))
        lab_fail("no thread could be started");
    while (lab_peek(&companion->steps) < WARM_STEPS ||
           (company == BENCH_IDLE && !lab_peek(&companion->parked)))
        usleep(50);
}

void bench_companion_end(struct bench_companion *companion)
{
    if (companion->company == BENCH_ALONE)
        return;
    lab_put(&companion->stop, 1);
    sem_post(&companion->wake);
    pthread_join(companion->thread, NULL);
}
