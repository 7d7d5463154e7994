/* SPDX-License-Identifier: MIT */
/*
 * Processes that make, look at and delete small files together, each on a CPU of its own as far as
 * there are enough. They live as long as the group, and sleep between samples. Those that are asked
 * begin together, and each does the same number of operations. The time that a process needs for
 * them counts, also where it waits for a lock. The time in which it was ready and another program
 * had its CPU does not count. What a sample needs and does not measure comes before it begins,
 * or after all have ended.
 */
#include "files.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct files_worker {
    pid_t process;
    int ask[2], answer[2];
};

static struct files_worker workers[FILES_WORKERS];
static struct {
    uint64_t ready, go;
} * meeting;

/* ------------------------------------------------------------------------- a worker ------ */

static bool changes_names(const struct files_task *task)
{
    return task->act == FILES_CREATE || task->act == FILES_DELETE;
}

static void do_own(const struct files_user *user, struct files_task task, enum files_act act,
                   unsigned process)
{
    char path[FILES_PATH];

    task.act = act;
    for (unsigned i = 0; i < FILES_CHANGES; i++) {
        files_name_own(path, task.layout, process, i);
        files_do(user, &task, path);
    }
}

static void look_at_random(const struct files_user *user, const struct files_task *task,
                           unsigned process)
{
    uint64_t chance = process + 1;
    char path[FILES_PATH];

    for (unsigned i = 0; i < FILES_LOOKS; i++) {
        files_name_there(path, task->layout, (unsigned)lab_below(&chance, FILES_THERE));
        files_do(user, task, path);
    }
}

static void meet(void)
{
    lab_raise(&meeting->ready);
    while (!lab_peek(&meeting->go))
        sched_yield();
}

/* ns that they took. */
static uint64_t do_task(const struct files_user *user, const struct files_task *task,
                        unsigned process)
{
    uint64_t start;

    if (task->act == FILES_DELETE)
        do_own(user, *task, FILES_CREATE, process);
    meet();
    start = lab_now_ns() - bench_passed_over_ns();
    if (changes_names(task))
        do_own(user, *task, task->act, process);
    else
        look_at_random(user, task, process);
    return lab_now_ns() - bench_passed_over_ns() - start;
}

static int files_worker(void *arg)
{
    struct files_worker *self = arg;
    unsigned process = (unsigned)(self - workers);
    struct files_user user;
    struct files_task task;

    bench_stay_on_cpu(process);
    files_user_open(&user);
    while (read(self->ask[0], &task, sizeof task) == (ssize_t)sizeof task) {
        uint64_t ns = do_task(&user, &task, process);

        if (write(self->answer[1], &ns, sizeof ns) != (ssize_t)sizeof ns)
            return 1;
        if (read(self->ask[0], &task, sizeof task) != (ssize_t)sizeof task)
            return 1;
        if (task.act == FILES_CREATE)
            do_own(&user, task, FILES_DELETE, process);
        if (write(self->answer[1], &ns, sizeof ns) != (ssize_t)sizeof ns)
            return 1;
    }
    return 0;
}

/* ---------------------------------------------------------------------- the caller ------- */

static void ask_workers(const struct files_task *task, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (write(workers[i].ask[1], task, sizeof *task) != (ssize_t)sizeof *task)
            lab_fail("a process of the benchmark does not listen");
}

/* What they do together in a second, when each does `each`. Those that share a CPU have a part of
 * it. */
static double hear_workers(unsigned count, uint64_t each)
{
    double rate = 0, share = count > bench.cpus ? (double)bench.cpus / count : 1;
    uint64_t ns;

    for (unsigned i = 0; i < count; i++) {
        if (read(workers[i].answer[0], &ns, sizeof ns) != (ssize_t)sizeof ns)
            lab_fail("a process of the benchmark does not answer");
        rate += share * (double)each * 1e9 / (double)(ns ? ns : 1);
    }
    return rate;
}

static void let_workers_go(unsigned count)
{
    while (lab_peek(&meeting->ready) < count) {
        for (unsigned i = 0; i < count; i++)
            if (waitpid(workers[i].process, NULL, WNOHANG) != 0)
                lab_fail("a process of the benchmark has ended");
        usleep(100);
    }
    lab_put(&meeting->go, 1);
}

/* The second question has them delete what they have made, after all were measured. */
double files_workers_run(const struct files_task *task, unsigned count)
{
    uint64_t each = changes_names(task) ? FILES_CHANGES : FILES_LOOKS;
    double rate;

    *meeting = (__typeof__(*meeting)){0};
    ask_workers(task, count);
    let_workers_go(count);
    rate = hear_workers(count, each);
    ask_workers(task, count);
    hear_workers(count, 0);
    return rate;
}

void files_workers_begin(void)
{
    meeting = lab_shared(sizeof *meeting);
    for (unsigned i = 0; i < FILES_WORKERS; i++) {
        bench_must_host(pipe2(workers[i].ask, O_CLOEXEC), "pipe");
        bench_must_host(pipe2(workers[i].answer, O_CLOEXEC), "pipe");
        workers[i].process = lab_fork(files_worker, &workers[i]);
    }
}

void files_workers_end(void)
{
    for (unsigned i = 0; i < FILES_WORKERS; i++) {
        for (unsigned end = 0; end < 2; end++) {
            close(workers[i].ask[end]);
            close(workers[i].answer[end]);
        }
        kill(workers[i].process, SIGKILL);
        waitpid(workers[i].process, NULL, 0);
    }
}
