/* SPDX-License-Identifier: MIT */
/*
 * fabric-io PROVIDER [--kills N] [--unleased] [--namespaces] [--follow]
 *
 * Servers, their peers, changers. A peer is killed or stopped in the middle of a transfer, and goes
 * on again later. With --unleased a peer's byte in another file, or another file's in what a peer
 * has read, has to be seen. With --follow `holdfast dedup --follow` runs beside them: it compares
 * all that it may, and shares what is the same, but nothing that a peer may touch.
 */
#include "io.h"

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#define QUARANTINE_NS UINT64_C(20000000)
#define ANSWER_NS UINT64_C(300000000)

struct start {
    struct fabric_io *io;
    unsigned number;
};

void device_file_path(unsigned holder, unsigned slot, char path[64])
{
    snprintf(path, 64, "/leased-%u-%u", holder, slot);
}

static void serve(void *arg)
{
    const struct start *start = arg;

    fabric_serve(start->io, start->number);
}

static void be_peer(void *arg)
{
    const struct start *start = arg;

    fabric_peer(start->io, start->number);
}

static void change(void *arg)
{
    const struct start *start = arg;

    device_change(&start->io->device, start->number);
}

static pid_t start(struct fabric_io *io, void (*body)(void *arg), unsigned number)
{
    struct start start = {.io = io, .number = number};

    return test_fork(body, &start);
}

static void expect_running(pid_t pid, const char *what)
{
    int status;

    if (waitpid(pid, &status, WNOHANG) == 0)
        return;
    if (WIFEXITED(status) && WEXITSTATUS(status) == TEST_SKIP)
        exit(TEST_SKIP);
    FAIL("a %s ended by itself with status %#x", what, (unsigned)status);
}

/* A peer that has not answered in time, whether it is dead, stopped or slow. */
static void replace_peer(struct fabric_io *io, unsigned number, pid_t *peer)
{
    struct mailbox *box = &io->box[number];

    test_raise(&box->order, ORDER_NONE);
    test_raise(&box->gone, 0);
    test_raise(&box->wanted, box->wanted + 1);
    *peer = start(io, be_peer, number);
    test_await(&box->opened, box->wanted);
}

/* Kills or stops the peer with a transfer on its way, and waits until the server has lost it. The
 * first layout change finds out, or the server's own withdrawal. A stopped peer goes on when its
 * blocks have long been in other files. */
static void hit_peer(struct fabric_io *io, unsigned number, pid_t *peer, pid_t server,
                     enum order order)
{
    struct mailbox *box = &io->box[number];
    pid_t late = *peer;
    int status = 0;

    test_raise(&box->order, order);
    while (!test_peek(&box->gone)) {
        if (status == 0 && waitpid(late, &status, WUNTRACED | WNOHANG) == late)
            test_count64(&io->device.killed, 1);
        expect_running(server, "server");
        test_sleep_ms(1);
    }
    if (status == 0)
        endpoint_kill(late); /* lost before it obeyed: two peers would answer for each other */
    replace_peer(io, number, peer);
    if (status != 0 && WIFSIGNALED(status))
        endpoint_forget(late);
    if (status == 0 || WIFSIGNALED(status))
        return;
    test_sleep_ms(50);
    EXPECT_OK(kill(late, SIGCONT));
    test_sleep_ms(50);
    endpoint_kill(late);
}

/* Both go; the pool's own quarantine is for what the server had leased. */
static void replace_both(struct fabric_io *io, unsigned number, pid_t *peer, pid_t *server)
{
    endpoint_kill(*server);
    endpoint_kill(*peer);
    io->box[number] = (struct mailbox){.wanted = 1};
    *server = start(io, serve, number);
    *peer = start(io, be_peer, number);
}

/* A peer was lost that nobody had hit: this machine is too slow for the time it had. With twice
 * that, as often as need be, peers answer on any machine. */
static void give_more_time(struct fabric_io *io, unsigned number, pid_t *peer, pid_t *server)
{
    io->answer_ns *= 2;
    replace_both(io, number, peer, server);
}

static bool goes_on(const struct fabric_io *io, unsigned kills)
{
    if (!io->device.leased)
        return test_peek64(&io->device.corrupt) == 0 && test_peek64(&io->foreign) == 0;
    for (unsigned order = KILL_AT_READ; order < ORDERS; order++)
        if (test_peek64(&io->obeyed[order]) == 0)
            return true;
    return test_peek64(&io->device.killed) < kills || test_peek64(&io->reads) == 0 ||
           test_peek64(&io->writes) == 0 || test_peek64(&io->device.full) == 0 ||
           test_peek64(&io->device.changed[HF_POLICY_WAIT]) == 0;
}

static void report(const struct fabric_io *io)
{
    printf("%" PRIu64 " regions, %" PRIu64 " reads and %" PRIu64 " writes of peers, %" PRIu64
           " failed; %" PRIu64 " revoked, %" PRIu64 " answered, %" PRIu64 " lost; %" PRIu64
           " processes killed or stopped\n",
           io->exposed, io->reads, io->writes, io->failed, io->revoked, io->answered, io->lost,
           io->device.killed);
    printf("peers killed at %" PRIu64 " reads and %" PRIu64 " writes, stopped at %" PRIu64
           " reads and %" PRIu64 " writes\n",
           io->obeyed[KILL_AT_READ], io->obeyed[KILL_AT_WRITE], io->obeyed[STOP_AT_READ],
           io->obeyed[STOP_AT_WRITE]);
    printf("the pool was full %" PRIu64 " times; %" PRIu64 " pages compared, %" PRIu64
           " with a peer's bytes; %" PRIu64 " pages read that were another file's\n",
           io->device.full, io->device.checked, io->device.corrupt, io->foreign);
}

static void run(struct fabric_io *io, unsigned kills, bool follow)
{
    struct hf_pool *pool = device_pool_new(QUARANTINE_NS);
    struct test_rng rng = {.state = io->device.seed};
    pid_t servers[DEVICE_HOLDERS], peers[DEVICE_HOLDERS], changers[DEVICE_CHANGERS];
    pid_t follower = follow ? test_follower(DEVICE_POOL) : 0;
    enum order order = ORDER_NONE;

    for (unsigned i = 0; i < DEVICE_HOLDERS; i++) {
        io->box[i].wanted = 1;
        servers[i] = start(io, serve, i);
        peers[i] = start(io, be_peer, i);
    }
    for (unsigned i = 0; i < DEVICE_CHANGERS; i++)
        changers[i] = start(io, change, i);
    while (goes_on(io, kills)) {
        unsigned victim = (unsigned)test_below(&rng, DEVICE_HOLDERS);

        test_sleep_ms(20 + (unsigned)test_below(&rng, 80));
        for (unsigned i = 0; i < DEVICE_HOLDERS; i++) {
            expect_running(servers[i], "server");
            expect_running(peers[i], "peer");
            if (!test_peek(&io->box[i].gone))
                continue;
            give_more_time(io, i, &peers[i], &servers[i]);
        }
        for (unsigned i = 0; i < DEVICE_CHANGERS; i++)
            expect_running(changers[i], "changer");
        if (!io->device.leased)
            continue;
        if (test_chance(&rng, 25)) {
            replace_both(io, victim, &peers[victim], &servers[victim]);
            test_count64(&io->device.killed, 1);
        } else {
            order = order + 1 < ORDERS ? order + 1 : KILL_AT_READ;
            hit_peer(io, victim, &peers[victim], servers[victim], order);
        }
    }
    test_raise(&io->device.stop, 1);
    for (unsigned i = 0; i < DEVICE_CHANGERS; i++)
        test_join(changers[i]);
    if (follower)
        printf("%" PRIu64 " bytes merged beside them\n", test_follower_ends(follower));
    for (unsigned i = 0; i < DEVICE_HOLDERS; i++) {
        test_join(servers[i]);
        endpoint_kill(peers[i]);
    }
    report(io);
    test_pool_close(pool);
    test_pool_check(DEVICE_POOL);
}

static int body(int argc, char **argv)
{
    static const struct option names[] = {{"kills", required_argument, NULL, 'k'},
                                          {"unleased", no_argument, NULL, 'u'},
                                          {"namespaces", no_argument, NULL, 'n'},
                                          {"follow", no_argument, NULL, 'f'},
                                          {NULL, 0, NULL, 0}};
    struct fabric_io *io = test_shared(sizeof(*io));
    unsigned kills = 40;
    bool follow = false;
    int option;

    io->device.leased = true;
    io->answer_ns = ANSWER_NS;
    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (option == 'k')
            kills = (unsigned)atoi(optarg);
        else if (option == 'u')
            io->device.leased = false;
        else if (option == 'n')
            fabric_namespaces(io);
        else if (option == 'f')
            follow = true;
        else
            return 2;
    }
    if (optind + 1 != argc)
        return 2;
    if (follow && !test_can_follow())
        test_skip("HOLDFAST does not say where the program is");
    io->provider = argv[optind];
    io->device.seed = test_seed();
    run(io, kills, follow);
    EXPECT(io->device.leased == (io->device.corrupt == 0 && io->foreign == 0));
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
