/* SPDX-License-Identifier: MIT */
/*
 * Acting for a client. Calls that are not to wait say so, and those that wait end when the client
 * is cancelled; both have changed nothing. A wait shows the client's program. What the client holds
 * itself counts as the caller's own, for -EDEADLK, at gates and in cycles.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/serve.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define PAGES 16u
#define GATE_PAGE 4u /* a change waits, and its gate is over all from here on */
#define HELD_PAGE 5u /* for a pin of this page */
#define TAIL 100u    /* bytes in the last page of the file */
#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static struct hf_pool *pool;
static struct hf_file *file;

/* ------------------------------------------------------------------------------ a server --- */

/* One call in a thread that acts for a client. */
struct request {
    struct hf_client client;
    int (*call)(void);
    pthread_t thread;
    uint32_t done, cancelled;
    int rc;
};

static struct hf_client client_of(pid_t pid, pid_t tid, uint32_t flags)
{
    return (struct hf_client){
        .size = sizeof(struct hf_client), .flags = flags, .pid = pid, .tid = tid};
}

static void *serve_it(void *arg)
{
    struct request *request = arg;

    EXPECT_EQ(hf_act_for(&request->client), 0);
    request->rc = request->call();
    test_raise(&request->done, 1);
    return NULL;
}

static void begin(struct request *request, const struct hf_client *client, int (*call)(void))
{
    *request = (struct request){.client = *client, .call = call};
    request->client.cancelled = &request->cancelled;
    EXPECT_EQ(pthread_create(&request->thread, NULL, serve_it, request), 0);
}

static int end(struct request *request)
{
    pthread_join(request->thread, NULL);
    return request->rc;
}

static int serve(const struct hf_client *client, int (*call)(void))
{
    struct request request;

    begin(&request, client, call);
    return end(&request);
}

/* --------------------------------------------------------------------------------- calls --- */

static int do_truncate(void)
{
    return hf_truncate(file, GATE_PAGE * TEST_PAGE, NULL);
}

static int do_truncate_nowait(void)
{
    return hf_truncate(file, GATE_PAGE * TEST_PAGE, &test_nowait);
}

static int do_truncate_deadline(void)
{
    const struct hf_policy policy = test_deadline_ms(TEST_PATIENCE_MS);

    return hf_truncate(file, GATE_PAGE * TEST_PAGE, &policy);
}

static int do_truncate_detaching_late(void)
{
    const struct hf_policy policy = test_deadline_detach_ms(TEST_PATIENCE_MS);

    return hf_truncate(file, GATE_PAGE * TEST_PAGE, &policy);
}

static int do_detach(void)
{
    return hf_truncate(file, GATE_PAGE * TEST_PAGE, &test_detach);
}

static int fallocate_held(uint32_t mode)
{
    return hf_fallocate(file, mode, HELD_PAGE * TEST_PAGE, 2 * TEST_PAGE, NULL);
}

static int do_punch(void)
{
    return fallocate_held(HF_FALLOC_PUNCH_HOLE);
}

static int do_zero(void)
{
    return fallocate_held(HF_FALLOC_ZERO_RANGE);
}

static int do_collapse(void)
{
    return fallocate_held(HF_FALLOC_COLLAPSE_RANGE);
}

static int do_insert(void)
{
    return fallocate_held(HF_FALLOC_INSERT_RANGE);
}

static int do_move(void)
{
    return hf_move(file, HELD_PAGE * TEST_PAGE, TEST_PAGE, NULL);
}

static int do_open_truncating(void)
{
    struct hf_file *opened;
    int rc = hf_open(pool, "/file", O_RDWR | O_CREAT | O_TRUNC, 0600, &opened);

    return rc ? rc : hf_close(opened);
}

static char page[HF_BLOCK_BYTES], got[HF_BLOCK_BYTES];

static int do_read(void)
{
    return (int)hf_read(file, got, TEST_PAGE, (GATE_PAGE + 2) * TEST_PAGE);
}

static int do_write(void)
{
    return (int)hf_write(file, page, TEST_PAGE, (GATE_PAGE + 2) * TEST_PAGE);
}

static int do_append(void)
{
    return (int)hf_append(file, page, TEST_PAGE, NULL);
}

static int do_write_behind(void)
{
    return (int)hf_write(file, page, 1, (PAGES + 9) * TEST_PAGE);
}

static int do_grow(void)
{
    return hf_truncate(file, (PAGES + 9) * TEST_PAGE, NULL);
}

static int do_pin(void)
{
    struct iovec iov;
    struct hf_pin pin;
    int rc = hf_pin(file, (GATE_PAGE + 2) * TEST_PAGE, 1, HF_PIN_READ, &iov, 1, &pin);

    return rc < 0 ? rc : hf_unpin(&pin);
}

static int do_lease(void)
{
    struct iovec iov;
    struct hf_lease lease;
    int rc = hf_lease(file, (GATE_PAGE + 2) * TEST_PAGE, 1, NULL, &iov, 1, &lease);

    return rc < 0 ? rc : hf_lease_release(&lease);
}

/* Would wait for the pin; and, when there is a gate, at it. */
static int (*const changes[])(void) = {do_truncate, do_punch, do_zero,           do_collapse,
                                       do_insert,   do_move,  do_open_truncating};
/* Would wait at the gate. */
static int (*const others[])(void) = {do_write, do_append, do_write_behind,
                                      do_grow,  do_pin,    do_lease};

/* -------------------------------------------------------------------------------- waiting --- */

static void make_file(void)
{
    file = test_file_filled(pool, "/file", 1, PAGES);
    EXPECT_EQ(hf_write(file, page, TAIL, PAGES * TEST_PAGE), TAIL);
}

static void expect_unchanged(void)
{
    char tail[TAIL + 1];

    test_expect_pages(file, 1, 0, PAGES);
    EXPECT_EQ(hf_read(file, tail, sizeof(tail), PAGES * TEST_PAGE), TAIL);
    EXPECT(memcmp(tail, page, TAIL) == 0);
}

/* The caller holds a pin, so it passes gates; entries of a closed one are missing to it too. */
static void await_gate(struct hf_file *of, uint64_t off)
{
    struct iovec iov;
    struct hf_pin pin;

    while (hf_pin(of, off, 1, HF_PIN_READ | HF_PIN_NOWAIT, &iov, 1, &pin) == 1) {
        EXPECT_EQ(hf_unpin(&pin), 0);
        test_sleep_ms(1);
    }
}

static void check_nowait(const struct hf_client *client)
{
    for (unsigned i = 0; i < COUNT(changes); i++)
        EXPECT_EQ(serve(client, changes[i]), -EAGAIN);
    EXPECT_EQ(serve(client, do_truncate_deadline), -EAGAIN);
    EXPECT_EQ(serve(client, do_truncate_nowait), -EBUSY);
}

static void check_cancelled(const struct hf_client *client, int (*call)(void))
{
    struct request request;

    begin(&request, client, call);
    test_sleep_ms(5);
    EXPECT_EQ(test_peek(&request.done), 0);
    test_raise(&request.cancelled, 1);
    EXPECT_EQ(end(&request), -EINTR);
}

static void check_waits(const struct test_engine *engine)
{
    const struct hf_client nowait = client_of(0, 0, HF_CLIENT_NOWAIT), plain = client_of(0, 0, 0);
    struct request first;
    struct iovec iov;
    struct hf_pin pin;

    printf("%s\n", engine->name);
    pool = test_engine_pool(engine, NULL, TEST_MIB(16));
    make_file();
    pin = test_pin(file, HELD_PAGE * TEST_PAGE, TEST_PAGE, HF_PIN_READ, &iov, 1);

    /* for the pin; what does not meet it waits for nobody */
    check_nowait(&nowait);
    if (engine->knows_holders)
        EXPECT_EQ(serve(&nowait, do_truncate_detaching_late), -EAGAIN);
    for (unsigned i = 0; i < COUNT(changes); i++)
        check_cancelled(&plain, changes[i]);
    EXPECT_EQ(serve(&nowait, do_read), TEST_PAGE);
    expect_unchanged();

    /* at the gate */
    begin(&first, &plain, do_truncate);
    await_gate(file, (GATE_PAGE + 2) * TEST_PAGE);
    check_nowait(&nowait);
    if (engine->knows_holders)
        EXPECT_EQ(serve(&nowait, do_detach), -EAGAIN);
    for (unsigned i = 0; i < COUNT(others); i++)
        EXPECT_EQ(serve(&nowait, others[i]), -EAGAIN);
    for (unsigned i = 0; i < COUNT(changes); i++)
        check_cancelled(&plain, changes[i]);
    for (unsigned i = 0; i < COUNT(others); i++)
        check_cancelled(&plain, others[i]);
    EXPECT_EQ(test_peek(&first.done), 0);
    test_raise(&first.cancelled, 1);
    EXPECT_EQ(end(&first), -EINTR);
    expect_unchanged();
    EXPECT_EQ(hf_unpin(&pin), 0);

    /* nothing to wait for, also for one that is cancelled */
    begin(&first, &nowait, do_truncate);
    test_raise(&first.cancelled, 1);
    EXPECT_EQ(end(&first), 0);
    EXPECT_EQ(test_size(file), GATE_PAGE * TEST_PAGE);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
}

/* ------------------------------------------------------------------- what was moved already --- */

#define BIG_BYTES TEST_MIB(20)
#define BIG_GATE TEST_MIB(18)

static struct hf_file *big;

static int cut_big(void)
{
    return hf_truncate(big, BIG_GATE, NULL);
}

static int read_big(void)
{
    static char bytes[BIG_BYTES];

    return (int)hf_read(big, bytes, sizeof(bytes), 0);
}

static int write_big(void)
{
    static char bytes[BIG_BYTES];

    return (int)hf_write(big, bytes, sizeof(bytes), 0);
}

static void check_counts(void)
{
    const struct hf_client nowait = client_of(0, 0, HF_CLIENT_NOWAIT), plain = client_of(0, 0, 0);
    struct request first;
    struct iovec iov;
    struct hf_pin pin;
    int moved;

    big = test_file(pool, "/big");
    EXPECT_EQ(hf_fallocate(big, 0, 0, BIG_BYTES, NULL), 0);
    pin = test_pin(big, BIG_BYTES - TEST_PAGE, TEST_PAGE, HF_PIN_READ, &iov, 1);
    begin(&first, &plain, cut_big);
    await_gate(big, BIG_BYTES - TEST_PAGE);
    EXPECT_EQ(serve(&nowait, read_big), (int)BIG_BYTES); /* a read waits for no gate */
    moved = serve(&nowait, write_big);
    EXPECT(moved > 0 && moved <= (int)BIG_GATE);
    EXPECT_EQ(hf_unpin(&pin), 0);
    EXPECT_EQ(end(&first), 0);
    EXPECT_EQ(hf_close(big), 0);
    EXPECT_EQ(hf_unlink(pool, "/big", NULL), 0);
}

/* A lease is asked for although the change does not wait. */
static void check_recall(void)
{
    const struct hf_client nowait = client_of(0, 0, HF_CLIENT_NOWAIT);
    struct hf_recall recall;
    struct iovec iov;
    struct hf_lease lease = test_lease(file, HELD_PAGE * TEST_PAGE, 1, NULL, &iov, 1);

    EXPECT_EQ(serve(&nowait, do_truncate), -EAGAIN);
    EXPECT_EQ(hf_recall_next(pool, &recall), 1);
    EXPECT_EQ(recall.state, HF_LEASE_RECALLED);
    EXPECT_EQ(recall.why, HF_CHANGE_TRUNCATE);
    EXPECT_EQ(recall.deadline_ns, 0);
    EXPECT_EQ(hf_lease_release(&lease), 0);
    expect_unchanged();
}

/* ------------------------------------------------------------------------------ a program --- */

/* A client in a process of its own. Its second thread pins what it is told to, and stays until it
 * is told to go. */
struct program {
    const char *pins; /* null: it does not use the pool */
    uint64_t off;
    uint32_t tid, go;
    pid_t pid;
};

static void *be_client(void *arg)
{
    struct program *program = arg;
    struct hf_pool *its_pool = NULL;
    struct hf_file *its_file = NULL;
    struct hf_pin pin;
    struct iovec iov;

    prctl(PR_SET_NAME, "its-thread");
    if (program->pins) {
        its_pool = test_pool_open("client");
        its_file = test_file(its_pool, program->pins);
        pin = test_pin(its_file, program->off, 1, HF_PIN_READ, &iov, 1);
    }
    test_raise(&program->tid, (uint32_t)gettid());
    test_await(&program->go, 1);
    if (program->pins) {
        EXPECT_EQ(hf_unpin(&pin), 0);
        EXPECT_EQ(hf_close(its_file), 0);
        test_pool_close(its_pool);
    }
    return NULL;
}

static void be_program(void *arg)
{
    pthread_t thread;

    prctl(PR_SET_NAME, "its-program");
    EXPECT_EQ(pthread_create(&thread, NULL, be_client, arg), 0);
    pthread_join(thread, NULL);
}

static struct program *begin_program(const char *pins, uint64_t off)
{
    struct program *program = test_shared(sizeof(*program));

    program->pins = pins;
    program->off = off;
    program->pid = test_fork(be_program, program);
    test_await(&program->tid, 1);
    return program;
}

static void end_program(struct program *program)
{
    test_raise(&program->go, 1);
    test_join(program->pid);
}

/* -------------------------------------------------------------------------- what is shown --- */

static int keep_waiting(void *arg, const struct hf_pin_info *info)
{
    if (info->state == HF_PIN_WAITING)
        *(struct hf_pin_info *)arg = *info;
    return 0;
}

static void check_shown_as(pid_t pid, pid_t tid, pid_t shown_pid, pid_t shown_tid,
                           const char *command)
{
    const struct hf_client client = client_of(pid, tid, 0);
    struct hf_pin_info info = {0};
    struct request request;

    begin(&request, &client, do_truncate);
    test_await_waiting(pool, 1);
    EXPECT_EQ(hf_pins(pool, keep_waiting, &info), 0);
    EXPECT_EQ(info.pid, shown_pid);
    EXPECT_EQ(info.tid, shown_tid);
    if (strcmp(info.command, command) != 0)
        FAIL("\"%s\" waits, not \"%s\"", info.command, command);
    EXPECT_EQ(info.off, GATE_PAGE * TEST_PAGE);
    test_raise(&request.cancelled, 1);
    EXPECT_EQ(end(&request), -EINTR);
    EXPECT_EQ(test_pins_in_state(pool, HF_PIN_WAITING), 0);
}

static int tell_own(void *arg, const struct hf_pin_info *info)
{
    *(struct hf_pin_info *)arg = *info;
    return 1;
}

static void check_shown(void)
{
    const pid_t nobody = 0x7fffff00; /* no thread has a number like that */
    struct program *program = begin_program(NULL, 0);
    pid_t tid = (pid_t)program->tid;
    struct hf_pin_info own = {0};
    struct iovec iov;
    struct hf_pin pin = test_pin(file, HELD_PAGE * TEST_PAGE, 1, HF_PIN_READ, &iov, 1);
    struct request request;
    const struct hf_client plain = client_of(0, 0, 0);
    struct hf_pin_info info = {0};

    check_shown_as(0, tid, program->pid, tid, "its-program");
    check_shown_as(program->pid, tid, program->pid, tid, "its-program");
    check_shown_as(0, program->pid, program->pid, program->pid, "its-program");
    check_shown_as(0, nobody, nobody, nobody, "");
    EXPECT_EQ(hf_pins(pool, tell_own, &own), 1);
    begin(&request, &plain, do_truncate);
    test_await_waiting(pool, 1);
    EXPECT_EQ(hf_pins(pool, keep_waiting, &info), 0);
    EXPECT_EQ(info.pid, getpid());
    EXPECT(strcmp(info.command, own.command) == 0);
    test_raise(&request.cancelled, 1);
    EXPECT_EQ(end(&request), -EINTR);
    EXPECT_EQ(hf_unpin(&pin), 0);
    end_program(program);
}

/* -------------------------------------------------------------------- what the client holds --- */

static void check_own_pin(void)
{
    struct program *program = begin_program("/file", HELD_PAGE * TEST_PAGE);
    pid_t tid = (pid_t)program->tid;
    const struct hf_client itself = client_of(program->pid, tid, 0), by_tid = client_of(0, tid, 0);
    const struct hf_client nowait = client_of(0, tid, HF_CLIENT_NOWAIT);
    const struct hf_client other = client_of(0, program->pid, HF_CLIENT_NOWAIT);
    const struct hf_client elsewhere = client_of(getpid(), tid, HF_CLIENT_NOWAIT);

    for (unsigned i = 0; i < COUNT(changes); i++) {
        EXPECT_EQ(serve(&itself, changes[i]), -EDEADLK);
        EXPECT_EQ(serve(&by_tid, changes[i]), -EDEADLK);
        EXPECT_EQ(serve(&nowait, changes[i]), -EDEADLK);
        EXPECT_EQ(serve(&other, changes[i]), -EAGAIN);
        EXPECT_EQ(serve(&elsewhere, changes[i]), -EAGAIN);
    }
    EXPECT_EQ(serve(&itself, do_truncate_deadline), -EDEADLK);
    EXPECT_EQ(serve(&itself, do_truncate_nowait), -EBUSY);
    expect_unchanged();
    EXPECT_EQ(serve(&nowait, do_detach), 0);
    EXPECT_EQ(test_size(file), GATE_PAGE * TEST_PAGE);
    end_program(program);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_unlink(pool, "/file", NULL), 0);
    make_file();
}

/* The change with the gate that its call comes to waits for the client's own pin: it is let
 * through, like its holder. */
static void check_own_gate(void)
{
    struct program *program = begin_program("/file", HELD_PAGE * TEST_PAGE);
    pid_t tid = (pid_t)program->tid;
    const struct hf_client nowait = client_of(0, tid, HF_CLIENT_NOWAIT), its = client_of(0, tid, 0);
    const struct hf_client other = client_of(0, program->pid, HF_CLIENT_NOWAIT);
    const struct hf_client plain = client_of(0, 0, 0);
    struct request first;

    begin(&first, &plain, do_truncate);
    test_await_waiting(pool, 1);
    EXPECT_EQ(serve(&other, do_pin), -EAGAIN);
    EXPECT_EQ(serve(&nowait, do_pin), 0);
    EXPECT_EQ(serve(&other, do_read), TEST_PAGE); /* a read waits for no gate */
    EXPECT(test_page_is(got, 1, GATE_PAGE + 2));
    EXPECT_EQ(serve(&its, do_pin), 0);
    EXPECT_EQ(serve(&its, do_write), TEST_PAGE);
    EXPECT_EQ(serve(&other, do_punch), -EAGAIN);
    EXPECT_EQ(serve(&its, do_punch), -EDEADLK);
    EXPECT_EQ(test_peek(&first.done), 0);
    end_program(program);
    EXPECT_EQ(end(&first), 0);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_unlink(pool, "/file", NULL), 0);
    make_file();
}

/* --------------------------------------------------------------------------------- cycles --- */

static struct hf_file *cycle[2];

static int zero_0(void)
{
    return hf_fallocate(cycle[0], HF_FALLOC_ZERO_RANGE, 0, TEST_PAGE, NULL);
}

static int zero_1(void)
{
    return hf_fallocate(cycle[1], HF_FALLOC_ZERO_RANGE, 0, TEST_PAGE, NULL);
}

static struct {
    uint32_t pinned, go;
} library_user;

/* In a thread that uses the library: pins file 1 itself. */
static int pin_1_zero_0(void)
{
    struct iovec iov;
    struct hf_pin pin = test_pin(cycle[1], 0, 1, HF_PIN_READ, &iov, 1);
    int rc;

    test_raise(&library_user.pinned, 1);
    test_await(&library_user.go, 1);
    rc = zero_0();
    EXPECT_EQ(hf_unpin(&pin), 0);
    return rc;
}

/* Member 0 is a client that holds file 0 and changes file 1. Member 1 holds file 1 and changes file
 * 0: another client, or a thread that uses the library. The younger one gets -EDEADLK; when it has
 * let go, the other goes on. */
static void check_cycle(bool both_clients, unsigned older)
{
    int (*const calls[2])(void) = {zero_1, zero_0};
    struct program *programs[2] = {begin_program("/0", 0), NULL};
    const struct hf_client plain = client_of(0, 0, 0);
    struct request requests[2];

    if (both_clients) {
        programs[1] = begin_program("/1", 0);
    } else {
        memset(&library_user, 0, sizeof(library_user));
        begin(&requests[1], &plain, pin_1_zero_0);
        test_await(&library_user.pinned, 1);
    }
    for (unsigned i = 0; i < 2; i++) {
        unsigned member = i ? 1 - older : older;
        struct hf_client client =
            client_of(0, programs[member] ? (pid_t)programs[member]->tid : 0, 0);

        if (programs[member])
            begin(&requests[member], &client, calls[member]);
        else
            test_raise(&library_user.go, 1);
        if (i == 0)
            test_await_waiting(pool, 1);
    }
    EXPECT_EQ(end(&requests[1 - older]), -EDEADLK);
    if (programs[1 - older])
        end_program(programs[1 - older]);
    EXPECT_EQ(end(&requests[older]), 0);
    if (programs[older])
        end_program(programs[older]);
}

static void check_cycles(void)
{
    cycle[0] = test_file_filled(pool, "/0", 1, 1);
    cycle[1] = test_file_filled(pool, "/1", 1, 1);
    for (unsigned older = 0; older < 2; older++) {
        check_cycle(false, older);
        check_cycle(true, older);
    }
    EXPECT_EQ(hf_close(cycle[0]), 0);
    EXPECT_EQ(hf_close(cycle[1]), 0);
}

/* ------------------------------------------------------------------------------- arguments --- */

static void check_arguments(void)
{
    const struct hf_client good = client_of(1, 2, HF_CLIENT_NOWAIT);
    struct hf_client bad[] = {good, good, good, good, good, good, good};

    bad[0].size--;
    bad[1].flags |= 0x4;
    bad[2].umask = 01000;
    bad[3].tid = 0;
    bad[4].tid = -1;
    bad[5].pid = -1;
    bad[6].reserved[1] = 1;
    EXPECT_EQ(hf_act_for(&good), 0);
    for (unsigned i = 0; i < COUNT(bad); i++)
        EXPECT_EQ(hf_act_for(&bad[i]), -EINVAL);
    EXPECT_EQ(hf_act_for(NULL), 0);
}

static void act_for_itself(void *arg)
{
    const struct hf_policy soon = test_deadline_ms(1);

    (void)arg;
    pool = test_pool_open("client");
    file = test_file(pool, "/file");
    EXPECT_EQ(hf_truncate(file, GATE_PAGE * TEST_PAGE, &soon), -ETIMEDOUT);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
}

/* A child acts for itself, also that of a process that has not opened a pool. */
static void check_fork(void)
{
    const struct hf_client nowait = client_of(0, 0, HF_CLIENT_NOWAIT);
    struct program *program = begin_program("/file", HELD_PAGE * TEST_PAGE);

    EXPECT_EQ(hf_act_for(&nowait), 0);
    test_join(test_fork(act_for_itself, NULL));
    if (pool)
        EXPECT_EQ(do_truncate(), -EAGAIN);
    EXPECT_EQ(hf_act_for(NULL), 0);
    end_program(program);
}

static void make_pool(void *arg)
{
    (void)arg;
    pool = test_pool_new("client", TEST_MIB(64));
    make_file();
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
}

/* ------------------------------------------------------------------------------------ all --- */

static void act_for_clients(void)
{
    static const char *const engines[] = {"slots", "slots-fenced", "refcount", "srcu",
                                          "percpu-rwsem" TEST_RCU};

    memset(page, 'x', sizeof(page));
    check_arguments();
    test_join(test_fork(make_pool, NULL));
    check_fork();
    pool = test_pool_open("client");
    file = test_file(pool, "/file");
    check_fork();
    check_counts();
    check_recall();
    check_shown();
    check_own_pin();
    check_own_gate();
    check_cycles();
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
    test_pool_check("client");
    for (unsigned i = 0; i < COUNT(engines); i++)
        check_waits(test_engine(engines[i]));
}

TEST_SCENARIO(act_for_clients)
