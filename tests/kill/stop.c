/* SPDX-License-Identifier: MIT */
/*
 * stop [--row NAME] [--at N] [--points N] [--engine NAME] [--steps]
 *
 * One call of the library, and its process stopped (SIGSTOP) after a chosen change of what it
 * shares with others. So it may stop with any lock, in a transaction, with its gate closed or in a
 * copy. It may also stop in a snapshot, or in a read section of an engine that counts. Another
 * process makes a table of calls, each in a thread of its own. Every one ends within its bound, and
 * one that fails names the process that is stopped. Then that process goes on, or is killed; all
 * blocks are accounted for, everything goes on, and fsck finds nothing.
 *
 * A bound is only told from a hang: a call that has not ended after LOOKS_AT_MOST, each a
 * millisecond or more after the one before. They are counted by a thread of the same process. So
 * where the machine has no time for the call, it has none for the looks.
 */
#include "meta/meta.h"
#include "pool/pool.h"
#include "short_steps.h"
#include "stop.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOOKS_AT_MOST 60000u
#define CALLS_MAX 192u
#define CHANGES_MAX 200000u

static const char *const policy_names[] = {"nowait", "deadline", "detach", "deadline-detach"};
#define POLICIES 4u

struct shared {
    uint32_t ready, go, tabled;
    uint32_t refused; /* calls that ended because the other process is stopped */
    pid_t victim;
    struct trap_log log;
};

static struct {
    const struct kill_row *row;
    bool durable;
    uint64_t at;
} now;

static const char *engine = "slots";
static struct shared *shared;

void kill_step(struct hf_pool *of)
{
    (void)of;
}

/* --- the table --- */

static struct call calls[CALLS_MAX];
static unsigned call_count;

static void add_call(const char *name, const char *policy_name, long (*make)(struct call *call),
                     const struct hf_policy *policy)
{
    struct call *call = &calls[call_count];

    EXPECT(call_count < CALLS_MAX);
    *call = (struct call){.name = name, .policy_name = policy_name, .make = make};
    if (policy)
        call->policy = *policy;
    snprintf(call->path, sizeof(call->path), "/t/%u", call_count++);
    call->file = test_file_filled(stop_pool, call->path, 5, 2);
    EXPECT_EQ(hf_truncate(call->file, 6 * TEST_PAGE, &test_wait), 0);
    EXPECT_EQ(stop_pin_present(call), 0); /* there are entries to be cleared */
    if (make == stop_unlink) {
        EXPECT_EQ(hf_close(call->file), 0);
        call->file = NULL;
    }
}

static void add_calls(void)
{
    const struct hf_policy policies[POLICIES] = {test_nowait, test_deadline_ms(20), test_detach,
                                                 test_deadline_detach_ms(20)};

    EXPECT_EQ(hf_mkdir(stop_pool, "/t", 0700), 0);
    EXPECT_EQ(hf_mkdir(stop_pool, "/t/empty", 0700), 0);
    for (unsigned i = 0; i < stop_with_policy_count; i++)
        for (unsigned p = 0; p < POLICIES; p++)
            add_call(stop_with_policy[i].name, policy_names[p], stop_with_policy[i].make,
                     &policies[p]);
    for (unsigned i = 0; i < stop_without_policy_count; i++)
        add_call(stop_without_policy[i].name, "none", stop_without_policy[i].make, NULL);
    for (unsigned i = 0; i < stop_with_policy_count; i++) {
        add_call(stop_with_policy[i].name, "wait, signalled", stop_with_policy[i].make, &test_wait);
        add_call(stop_with_policy[i].name, "wait, cancelled", stop_with_policy[i].make, &test_wait);
    }
}

static bool is_called(const struct call *call, const char *policy_name)
{
    return strcmp(call->policy_name, policy_name) == 0;
}

static void *make_call(void *arg)
{
    struct call *call = arg;

    call->tid = gettid();
    test_raise(&call->started, 1);
    call->rc = call->make(call);
    if (call->rc < 0 && !*call->sentence)
        snprintf(call->sentence, sizeof(call->sentence), "%s", hf_strerror_detail());
    test_raise(&call->ended, 1);
    return NULL;
}

/* Ends its wait, if it waits as long as it takes. True: the call has ended. */
static bool end_wait(struct call *call)
{
    if (test_peek(&call->ended))
        return true;
    if (is_called(call, "wait, signalled"))
        pthread_kill(call->thread, SIGUSR1);
    if (is_called(call, "wait, cancelled") && test_peek(&call->started)) {
        call->cancels++;
        call->cancels_found += hf_cancel(stop_pool, call->tid) == 0;
    }
    return false;
}

static void copy_of_thread(pid_t tid, const char *name)
{
    char path[64], text[512];
    ssize_t len;
    int fd;

    snprintf(path, sizeof(path), "/proc/self/task/%d/%s", (int)tid, name);
    fd = open(path, O_RDONLY);
    len = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0)
        close(fd);
    text[len > 0 ? len : 0] = 0;
    fprintf(stderr, "  %s: %s\n", name, text);
}

/* What it waits for, or that the machine had no time for it. The second number of schedstat says
 * for how many ns it could have run and did not. */
static void tell_hanging(const struct call *call)
{
    const struct shm *shm = stop_pool->fs.dax.shm;

    fprintf(stderr, "%s (%s) hangs; %u of %u cancellations found it in a wait\n", call->name,
            call->policy_name, call->cancels_found, call->cancels);
    for (uint32_t i = 0; i < shm_lanes_used(shm); i++)
        if (shm->lanes[i].tid == (uint32_t)call->tid)
            fprintf(stderr, "  lane %u: waits in call %" PRIu64 ", cancelled %" PRIu64 "\n", i,
                    shm->lanes[i].blocked.call, shm->lanes[i].blocked.cancelled);
    copy_of_thread(call->tid, "stat");
    copy_of_thread(call->tid, "wchan");
    copy_of_thread(call->tid, "stack");
    copy_of_thread(call->tid, "schedstat");
}

static _Noreturn void tell_all_hanging(void)
{
    for (unsigned i = 0; i < call_count; i++)
        if (test_peek(&calls[i].started) && !test_peek(&calls[i].ended))
            tell_hanging(&calls[i]);
    _exit(1);
}

static void end_calls(void)
{
    unsigned looks = 0;
    bool all;

    do {
        all = true;
        for (unsigned i = 0; i < call_count; i++)
            all &= end_wait(&calls[i]);
        if (++looks == LOOKS_AT_MOST)
            tell_all_hanging();
        test_sleep_ms(1);
    } while (!all);
}

static bool knows_holders(void)
{
    return test_engine(engine)->knows_holders;
}

static void judge_call(const struct call *call)
{
    char victim[32], self[32];

    if (call->rc >= 0)
        return;
    snprintf(victim, sizeof(victim), "process %d ", (int)shared->victim);
    snprintf(self, sizeof(self), "process %d ", (int)getpid());
    if (call->rc == -EINTR && strncmp(call->policy_name, "wait", 4) == 0)
        return;
    if (call->rc == -EOPNOTSUPP && !knows_holders())
        return;
    if (call->rc != -EBUSY && call->rc != -ETIMEDOUT)
        FAIL("%s (%s) gave %ld; %s", call->name, call->policy_name, call->rc, call->sentence);
    if (strstr(call->sentence, self)) /* two calls of this process, or its pins */
        return;
    if (!knows_holders() && strstr(call->sentence, "does not know which process"))
        return;
    if (strstr("shrink trim", call->name) && strstr(call->sentence, "registered"))
        return; /* by either process */
    if (strcmp(call->name, "shrink") == 0 && strstr(call->sentence, "are in no file"))
        return; /* but a put's of this process, or detached under a pin of the other */
    if (!strstr(call->sentence, victim) || !strstr(call->sentence, "stopped"))
        FAIL("%s (%s) gave %ld and names no stopped process: %s", call->name, call->policy_name,
             call->rc, call->sentence);
    test_count(&shared->refused);
}

static void nothing(int signal)
{
    (void)signal;
}

static void make_all(void)
{
    struct sigaction action = {.sa_handler = nothing};

    EXPECT_EQ(sigaction(SIGUSR1, &action, NULL), 0);
    for (unsigned i = 0; i < call_count; i++)
        EXPECT_EQ(pthread_create(&calls[i].thread, NULL, make_call, &calls[i]), 0);
    end_calls();
    for (unsigned i = 0; i < call_count; i++)
        EXPECT_EQ(pthread_join(calls[i].thread, NULL), 0);
    for (unsigned i = 0; i < call_count; i++)
        judge_call(&calls[i]);
}

/* --- the processes --- */

static void stop_in_snapshot(struct hf_pool *of, struct hf_file *file)
{
    struct meta_txn *txn;

    (void)file;
    EXPECT_EQ(meta_begin_read(of->fs.dax.meta, &txn), 0);
    raise(SIGSTOP);
    meta_end_read(txn);
}

static const struct kill_row snapshot_row = {"snapshot", .act = stop_in_snapshot};

struct held {
    struct hf_file *file;
    struct hf_pin pins[2];
    struct iovec iovs[2];
};

static void take(struct held *held)
{
    static const uint64_t pages[2] = {1, 4};

    if (now.row->others & KILL_OTHER_OPENS)
        EXPECT_EQ(hf_open(stop_pool, "/a", O_RDWR, 0, &held->file), 0);
    for (unsigned i = 0; i < 2 && now.row->others & KILL_OTHER_PINS; i++)
        held->pins[i] =
            test_pin(held->file, pages[i] * TEST_PAGE, TEST_PAGE, HF_PIN_READ, &held->iovs[i], 1);
}

static void let_go(struct held *held)
{
    for (unsigned i = 0; i < 2 && now.row->others & KILL_OTHER_PINS; i++)
        EXPECT_EQ(hf_unpin(&held->pins[i]), 0);
    if (now.row->others & KILL_OTHER_OPENS)
        EXPECT_EQ(hf_close(held->file), 0);
    if (stop_lease_is_offered)
        EXPECT_OK(stop_take_lease(NULL));
    while (stop_registrations) {
        EXPECT_EQ(hf_pool_unregister(stop_pool, HF_PIN_RDMA), 0);
        stop_registrations--;
    }
    for (unsigned i = 0; i < call_count; i++)
        if (calls[i].file)
            EXPECT_EQ(hf_close(calls[i].file), 0);
}

/* A process is stopped in a snapshot: no page that it may read is used again. */
static void grow_metadata(void)
{
    struct call call = {.name = "mkdir and rmdir", .policy_name = "none"};

    for (unsigned i = 0; i < CHANGES_MAX && call.rc == 0; i++) {
        call.rc = hf_mkdir(stop_pool, "/t/grows", 0700);
        call.rc = call.rc ? call.rc : hf_rmdir(stop_pool, "/t/grows");
    }
    snprintf(call.sentence, sizeof(call.sentence), "%s", hf_strerror_detail());
    EXPECT_EQ(call.rc, -EBUSY);
    judge_call(&call);
}

static void other(void *arg)
{
    struct held held;

    (void)arg;
    alarm(TEST_PATIENCE_SECONDS);
    stop_pool = test_pool_open(KILL_POOL);
    add_calls();
    take(&held);
    test_raise(&shared->ready, 1);
    test_await(&shared->go, 1);
    if (now.row == &snapshot_row)
        grow_metadata();
    make_all();
    test_raise(&shared->tabled, 1);
    test_await(&shared->go, 2);
    let_go(&held);
    kill_use(stop_pool);
    kill_account(stop_pool);
    test_pool_close(stop_pool);
}

static void open_and_close(const char *as)
{
    struct call call = {.name = "pool-open", .policy_name = "none"};
    const char *path = test_path(KILL_POOL);

    call.rc = as ? hf_pool_open_engine(path, 0, as, &stop_pool) : hf_pool_open(path, 0, &stop_pool);
    snprintf(call.sentence, sizeof(call.sentence), "%s", hf_strerror_detail());
    judge_call(&call);
    if (call.rc == 0)
        EXPECT_EQ(hf_pool_close(stop_pool), 0);
}

/* One more process, which comes only now. */
static void newcomer(void *arg)
{
    struct hf_check_result result = {.size = sizeof(result)};

    (void)arg;
    alarm(TEST_PATIENCE_SECONDS);
    open_and_close(NULL);
    open_and_close(engine);
    EXPECT_EQ(hf_pool_check(test_path(KILL_POOL), 0, NULL, NULL, NULL, &result), -EBUSY);
}

static void victim(void *arg)
{
    const struct kill_row *row = now.row;
    struct hf_file *file = NULL;

    (void)arg;
    if (!row->attaches) {
        EXPECT_EQ(hf_pool_open(test_path(KILL_POOL), row->reads ? HF_OPEN_RDONLY : 0, &stop_pool),
                  0);
        if (row->file)
            EXPECT_EQ(hf_open(stop_pool, row->file, row->reads ? O_RDONLY : O_RDWR, 0, &file), 0);
        if (row->prepare)
            row->prepare(stop_pool, file);
    }
    trap_stops();
    trap_arm(test_path(KILL_POOL), now.at, &shared->log, false);
    row->act(stop_pool, file);
    trap_disarm();
    _exit(0);
}

static void make_pool(void *arg)
{
    struct hf_pool_options options = {
        .size = sizeof(options),
        .pool_bytes = KILL_POOL_BYTES,
        .flags = now.durable ? HF_POOL_DURABLE : HF_POOL_MEMORY,
        .engine = engine,
        .max_processes = 8,
        .max_threads = 256,
        .max_files = 256,
        .max_leases = 64,
        .quarantine_ns = 1, /* what devices may have had comes back at once */
    };

    (void)arg;
    test_remove_tree(test_path(KILL_POOL));
    EXPECT_EQ(hf_pool_create(test_path(KILL_POOL), &options), 0);
    stop_pool = test_pool_open(KILL_POOL);
    kill_fill(stop_pool);
    test_pool_close(stop_pool);
}

/* True: it was stopped there. */
static bool experiment(bool kills)
{
    pid_t process;
    int status;
    bool stopped;

    kills &= knows_holders(); /* else the pins of the dead stay until all are gone */
    test_join(test_fork(make_pool, NULL));
    shared->ready = shared->go = shared->tabled = 0;
    process = test_fork(other, NULL);
    test_await(&shared->ready, 1);
    shared->victim = test_fork(victim, NULL);
    EXPECT_EQ(waitpid(shared->victim, &status, WUNTRACED), shared->victim);
    stopped = WIFSTOPPED(status);
    EXPECT(stopped || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
    if (stopped) {
        test_join(test_fork(newcomer, NULL));
        test_raise(&shared->go, 1);
        while (!test_peek(&shared->tabled)) {
            if (waitpid(process, &status, WNOHANG) == process)
                FAIL("%s, %s, event %" PRIu64 ": the other process failed; again: --row %s --at "
                     "%" PRIu64 "%s",
                     now.row->name, now.durable ? "durable" : "memory", now.at, now.row->name,
                     now.at, now.durable ? " --durable" : "");
            test_sleep_ms(1);
        }
        kills |= strcmp(now.row->name, "lease-give") == 0; /* a move may have detached the lease */
        EXPECT_EQ(kill(shared->victim, kills ? SIGKILL : SIGCONT), 0);
        status = test_wait_status(shared->victim);
        if (!kills && !(WIFEXITED(status) && WEXITSTATUS(status) == 0))
            FAIL("%s, event %" PRIu64 ": what was stopped failed when it went on", now.row->name,
                 now.at);
    } else {
        test_kill(process);
        return false;
    }
    test_raise(&shared->go, 2);
    status = test_wait_status(process);
    if (!(WIFEXITED(status) && WEXITSTATUS(status) == 0))
        FAIL("%s, event %" PRIu64 ", %s: not everything goes on", now.row->name, now.at,
             kills ? "then killed" : "then continued");
    test_pool_check(KILL_POOL);
    return true;
}

/* --- which --- */

static uint64_t events(void)
{
    now.at = TRAP_NEVER;
    shared->log.count = 0;
    experiment(false);
    return shared->log.count;
}

static void explore(struct test_rng *rng, uint64_t points)
{
    uint64_t count = events(), tried = points && points < count ? points : count;

    for (uint64_t i = 0; i < tried; i++) {
        now.at = tried == count ? i : i * count / tried + test_below(rng, count / tried);
        experiment(test_chance(rng, 50));
    }
    printf("%s, %s: %" PRIu64 " of %" PRIu64 " events, %u calls refused\n", now.row->name,
           now.durable ? "durable" : "memory", tried, count, test_peek(&shared->refused));
    fflush(stdout);
}

static void explore_snapshot(void)
{
    now.row = &snapshot_row;
    now.at = TRAP_NEVER;
    EXPECT(experiment(false));
    EXPECT(experiment(true));
    printf("%s, %s: %u calls refused\n", now.row->name, now.durable ? "durable" : "memory",
           test_peek(&shared->refused));
}

static int body(int argc, char **argv)
{
    static const struct option options[] = {
        {"row", required_argument, NULL, 'r'},    {"at", required_argument, NULL, 'a'},
        {"points", required_argument, NULL, 'p'}, {"every", required_argument, NULL, 'e'},
        {"engine", required_argument, NULL, 'g'}, {"durable", no_argument, NULL, 'd'},
        {"steps", no_argument, NULL, 's'},        {0}};
    uint64_t at = TRAP_NEVER, points = 0, every = 1;
    const char *row = NULL;
    struct test_rng rng;
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'r')
            row = optarg;
        else if (option == 'a')
            at = strtoull(optarg, NULL, 0);
        else if (option == 'p')
            points = strtoull(optarg, NULL, 0);
        else if (option == 'e')
            every = strtoull(optarg, NULL, 0);
        else if (option == 'g')
            engine = optarg;
        else if (option == 'd')
            now.durable = true;
        else if (option == 's')
            kill_steps = test_shorten_steps();
        else
            return 2;
    }
    if (!trap_possible())
        test_skip("no single steps here");
    rng.state = test_seed();
    shared = test_shared(sizeof(*shared));
    for (unsigned i = (unsigned)test_below(&rng, every); i < kill_row_count; i++) {
        now.row = &kill_rows[i];
        if (now.row->steps != kill_steps || (row && strcmp(row, now.row->name) != 0))
            continue;
        if (!row && i % every != 0 && every > 1)
            continue;
        if (!knows_holders() && (now.row->detaches || now.row->shares))
            continue;
        now.at = at;
        if (at != TRAP_NEVER)
            EXPECT(experiment(at % 2));
        else
            explore(&rng, points);
    }
    if (!kill_steps && (!row || strcmp(row, snapshot_row.name) == 0))
        explore_snapshot();
    EXPECT(row || test_peek(&shared->refused) > 0);
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
