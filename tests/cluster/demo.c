/* SPDX-License-Identifier: MIT */
/*
 * A cluster under fire. Three members (`holdfast serve`) and three etcd have a machine each, and
 * clients two more (machines.h). Clients put, get and remove objects all the time (users.h).
 * Members, etcd and clients are killed, stopped and continued; members leave, and come back on
 * their old pools; machines are cut off in five ways. No byte may be wrong, no get older than what
 * was acknowledged before it began, and no call may hang. After some steps all is mended, and then
 * each object must be served again.
 *
 * Also, a member is killed, or its machine unplugged, while all else is well. It is measured how
 * long its keys cannot be had.
 *
 * usage: cluster-demo [--kills N] [--partitions N] [--deaths N] [--lease SECONDS] | --unswept
 * --unswept: members that keep what they have when they join must be caught.
 */
#include "etcds.h"
#include "history.h"
#include "machines.h"
#include "peer.h"
#include "rig.h"
#include "support.h"
#include "users.h"

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

#define MEMBERS 3u
#define USER_MACHINES 2u
#define PROBES 6u
#define STEPS 6u /* between two times at which all is mended */

/* Their machines, in this order. */
enum { FIRST_ETCD = MEMBERS, FIRST_USER = FIRST_ETCD + ETCDS, ALL = FIRST_USER + USER_MACHINES };
enum role { MEMBER, ETCD, USER };

static unsigned kills_wanted = 8, partitions_wanted = 4, deaths_wanted = 2, lease_seconds = 2;

struct actor {
    enum role role;
    unsigned index; /* of its role */
    pid_t pid;      /* 0: it is dead. Those of etcd are not known here */
    bool dead, stopped;
};

static bool unswept;

static struct demo {
    struct test_rng rng;
    struct hfx *cluster;
    struct actor actors[MEMBERS + ETCDS + USERS];
    bool cut[ALL];
    uint64_t kills, stops, partitions, leaves, slowest_leave_ns, mended;
    uint64_t deaths, slowest_death_ns, sum_deaths_ns;
} demo;

/* ---- actors ---- */

static const char *role_name(const struct actor *actor)
{
    return actor->role == MEMBER ? "member" : "client";
}

static void enter_etcd(unsigned index)
{
    machine_enter(FIRST_ETCD + index);
}

static const char *member_pool(unsigned member)
{
    char name[16];

    snprintf(name, sizeof name, "pool-%u", member);
    return test_path(name);
}

static const char *member_address(unsigned member)
{
    static char address[40];

    snprintf(address, sizeof address, "%s:7000", machine_address(member));
    return address;
}

static void serve_pool(void *arg)
{
    unsigned member = *(unsigned *)arg;
    char name[8], lease[16];
    const char *program = getenv("HOLDFAST");
    int log = open(test_path("serve.log"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

    machine_enter(member);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    snprintf(name, sizeof name, "m%u", member);
    snprintf(lease, sizeof lease, "%us", lease_seconds);
    execl(program, program, "serve", member_pool(member), "--etcd", etcds_urls(), "--name", name,
          "--listen", member_address(member), "--secret", test_path("secret"), "--lease", lease,
          NULL);
    _exit(127);
}

/* A member of the broken variant. */
static void serve_unswept(void *arg)
{
    unsigned member = *(unsigned *)arg;
    const struct hfx_etcd etcd = {
        .size = sizeof etcd, .urls = etcds_urls(), .lease_seconds = lease_seconds};
    char name[8], pool_name[16];
    struct hfx_server_options options = {.size = sizeof options,
                                         .name = name,
                                         .listen = member_address(member),
                                         .secret = RIG_SECRET};
    struct hfx_server *server;

    cluster_lab_drops_nothing = true;
    machine_enter(member);
    snprintf(name, sizeof name, "m%u", member);
    snprintf(pool_name, sizeof pool_name, "pool-%u", member);
    EXPECT_OK(hfc_open(test_pool_open(pool_name), "/cache", NULL, &options.cache));
    EXPECT_OK(hfx_server_open(&options, &server));
    EXPECT_OK(hfx_server_join(server, &etcd));
    for (;;)
        pause(); /* killed */
}

static void start_actor(struct actor *actor)
{
    actor->dead = false;
    if (actor->role == MEMBER)
        actor->pid = test_fork(unswept ? serve_unswept : serve_pool, &actor->index);
    else if (actor->role == ETCD)
        etcds_start(actor->index);
    else
        actor->pid = user_start(actor->index, FIRST_USER + actor->index % USER_MACHINES);
}

static void kill_actor(struct actor *actor)
{
    if (actor->role == ETCD)
        etcds_kill(actor->index);
    else
        test_kill(actor->pid);
    if (actor->role == USER)
        user_ended(actor->index);
    actor->dead = true;
    actor->stopped = false;
    demo.kills++;
}

static void stop_actor(struct actor *actor)
{
    if (actor->role == USER)
        user_stops(actor->index);
    if (actor->role == ETCD)
        etcds_stop(actor->index);
    else
        EXPECT_EQ(kill(actor->pid, SIGSTOP), 0);
    actor->stopped = true;
    demo.stops++;
}

static void continue_actor(struct actor *actor)
{
    if (actor->role == ETCD)
        etcds_continue(actor->index);
    else
        EXPECT_EQ(kill(actor->pid, SIGCONT), 0);
    actor->stopped = false;
}

/* Not by force. A member that is told so at its very beginning does not know the signal yet. */
static void leave_actor(struct actor *actor)
{
    uint64_t began_ns = test_now_ns(), ns;
    int status;

    if (actor->role == MEMBER)
        EXPECT_EQ(kill(actor->pid, SIGTERM), 0);
    else
        user_leaves(actor->index);
    status = test_wait_status(actor->pid);
    if (status != 0 && !(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM))
        FAIL("%s %u left with status %#x", role_name(actor), actor->index, status);
    ns = test_now_ns() - began_ns;
    demo.slowest_leave_ns = ns > demo.slowest_leave_ns ? ns : demo.slowest_leave_ns;
    actor->dead = true;
    demo.leaves++;
}

static void show_logs(void)
{
    char command[700];

    snprintf(command, sizeof command, "tail -n 20 '%s' '%s' >&2", test_path("serve.log"),
             test_path("etcd.log"));
    if (system(command) != 0)
        fprintf(stderr, "no logs\n");
}

/* Nothing ends by itself. */
static void expect_alive(const struct actor *actor)
{
    int status;

    if (actor->role != ETCD && !actor->dead && waitpid(actor->pid, &status, WNOHANG) != 0)
        FAIL("%s %u has ended by itself, with status %#x", role_name(actor), actor->index, status);
}

/* ---- steps ---- */

static void take_step_of(struct actor *actor)
{
    uint64_t chance = test_below(&demo.rng, 100);

    if (actor->dead)
        start_actor(actor);
    else if (actor->stopped && chance < 70)
        continue_actor(actor);
    else if (chance < 55 || actor->stopped)
        kill_actor(actor);
    else if (chance < 85 || actor->role == ETCD)
        stop_actor(actor);
    else
        leave_actor(actor);
}

static void cut_or_heal(unsigned machine)
{
    if (demo.cut[machine]) {
        machine_heal(machine);
        demo.cut[machine] = false;
        return;
    }
    machine_cut(machine, (enum machine_cut)test_below(&demo.rng, MACHINE_CUTS));
    demo.cut[machine] = true;
    demo.partitions++;
}

static void take_step(void)
{
    unsigned actors = sizeof demo.actors / sizeof demo.actors[0];

    if (demo.partitions < partitions_wanted && test_chance(&demo.rng, 30))
        cut_or_heal((unsigned)test_below(&demo.rng, ALL));
    else
        take_step_of(&demo.actors[test_below(&demo.rng, actors)]);
    test_sleep_ms((unsigned)test_below(&demo.rng, 1000));
}

/* ---- all is well again ---- */

static void begin_all(void)
{
    for (unsigned i = 0; i < ALL; i++) {
        if (demo.cut[i])
            machine_heal(i);
        demo.cut[i] = false;
    }
    for (unsigned i = 0; i < sizeof demo.actors / sizeof demo.actors[0]; i++) {
        struct actor *actor = &demo.actors[i];

        if (actor->stopped)
            continue_actor(actor);
        if (actor->dead)
            start_actor(actor);
        expect_alive(actor);
    }
}

static void wait_more(uint64_t until_ns, const char *what)
{
    if (test_now_ns() > until_ns)
        FAIL("not in time: %s", what);
    test_sleep_ms(5);
}

static void await_members(unsigned count)
{
    uint64_t until = test_now_ns() + TEST_PATIENCE_NS;
    struct hfx_member member;

    while (hfx_member(demo.cluster, count - 1, &member) != 1 ||
           hfx_member(demo.cluster, count, &member) != 0)
        wait_more(until, "the members that live are known");
}

static void expect_each_served(void)
{
    uint64_t until = test_now_ns() + TEST_PATIENCE_NS;

    for (uint64_t object = 0; object < HISTORY_OBJECTS; object++)
        while (user_put(demo.cluster, object) != 0 || user_get(demo.cluster, object) < 0)
            wait_more(until, "each object can be put and got");
}

static void expect_users_go_on(void)
{
    uint64_t until = test_now_ns() + TEST_PATIENCE_NS, done[USERS];

    for (unsigned i = 0; i < USERS; i++)
        done[i] = user_done(i);
    for (unsigned i = 0; i < USERS; i++)
        while (user_done(i) < done[i] + 10)
            wait_more(until, "each client goes on");
}

static void mend_all(void)
{
    begin_all();
    await_members(MEMBERS);
    expect_each_served();
    expect_users_go_on();
    demo.mended++;
}

/* ---- deaths ---- */

struct probes {
    uint64_t objects[PROBES];
    struct hfx_member member;
};

/* Objects of one member that no client knows. */
static void put_probes(struct hfx *cluster, unsigned member, struct probes *out)
{
    uint64_t until = test_now_ns() + TEST_PATIENCE_NS, object = HISTORY_OBJECTS;
    char name[8], bytes[64];

    snprintf(name, sizeof name, "m%u", member);
    for (unsigned i = 0; i < PROBES; object++) {
        struct rig_key key;

        EXPECT_OK(hfx_owner(cluster, rig_key(&key, object), &out->member));
        if (strcmp(out->member.name, name) != 0)
            continue;
        rig_fill(bytes, sizeof bytes, object, 1);
        while (hfx_put(cluster, &key.key, bytes, sizeof bytes) != 0)
            wait_more(until, "a member takes what it is asked");
        out->objects[i++] = object;
    }
}

/* Returns when the first get began that has missed. */
static uint64_t await_miss(struct hfx *cluster, uint64_t object)
{
    uint64_t until = test_now_ns() + TEST_PATIENCE_NS;

    for (;;) {
        uint64_t began = test_now_ns();

        if (rig_get(cluster, object, 64) == -ENOENT)
            return began;
        wait_more(until, "keys of a dead member miss");
    }
}

static void measure_death(struct hfx *prober, bool unplug)
{
    unsigned member = (unsigned)test_below(&demo.rng, MEMBERS);
    struct actor *actor = &demo.actors[member];
    uint64_t died, missed = 0;
    struct probes probes;

    put_probes(prober, member, &probes);
    if (unplug) {
        machine_cut(member, MACHINE_UNPLUGGED);
        demo.cut[member] = true;
        demo.partitions++;
    } else {
        kill_actor(actor);
    }
    died = test_now_ns();
    for (unsigned i = 0; i < PROBES; i++) {
        uint64_t now = await_miss(prober, probes.objects[i]);

        missed = now > missed ? now : missed;
    }
    demo.deaths++;
    demo.sum_deaths_ns += missed - died;
    if (missed - died > demo.slowest_death_ns)
        demo.slowest_death_ns = missed - died;
    mend_all();
}

/* Gets of a machine that is away come back soon, so that the times are not those of time-outs. */
static void measure_deaths(struct hfx_options options)
{
    struct hfx *prober;

    options.timeout_ns = 100000000;
    while (hfx_open(&options, &prober) == -ETIMEDOUT)
        ;
    for (unsigned i = 0; i < deaths_wanted; i++)
        measure_death(prober, i % 2);
    EXPECT_OK(hfx_close(prober));
}

/* ---- the run ---- */

static void make_pool(void *arg)
{
    unsigned member = *(unsigned *)arg;
    const struct hfc_options options = {.size = sizeof options, .capacity_bytes = TEST_MIB(16)};
    char name[16];
    struct hf_pool *pool;
    struct hfc *cache;

    snprintf(name, sizeof name, "pool-%u", member);
    pool = test_pool_new(name, TEST_MIB(40));
    EXPECT_OK(hfc_open(pool, "/cache", &options, &cache));
    EXPECT_OK(hfc_close(cache));
    test_pool_close(pool);
}

static void write_secret(void)
{
    FILE *file = fopen(test_path("secret"), "we");

    EXPECT(file);
    fprintf(file, "%s\n", RIG_SECRET);
    EXPECT_EQ(fclose(file), 0);
}

static void begin_cluster(struct hfx_options *options)
{
    const char *addresses[ETCDS];
    unsigned at = 0;

    machines_begin(ALL);
    for (unsigned i = 0; i < ETCDS; i++)
        addresses[i] = machine_address(FIRST_ETCD + i);
    etcds_place(addresses, enter_etcd);
    etcds_begin(false);
    write_secret();
    users_begin(options);
    history_begin();
    for (unsigned i = 0; i < MEMBERS; i++, at++) {
        test_join(test_fork(make_pool, &i));
        demo.actors[at] = (struct actor){.role = MEMBER, .index = i, .dead = true};
    }
    for (unsigned i = 0; i < ETCDS; i++, at++)
        demo.actors[at] = (struct actor){.role = ETCD, .index = i};
    for (unsigned i = 0; i < USERS; i++, at++)
        demo.actors[at] = (struct actor){.role = USER, .index = i, .dead = true};
}

static void end_cluster(void)
{
    for (unsigned i = 0; i < sizeof demo.actors / sizeof demo.actors[0]; i++)
        if (demo.actors[i].role != ETCD)
            leave_actor(&demo.actors[i]);
    for (unsigned i = 0; i < MEMBERS; i++) {
        char name[16];

        snprintf(name, sizeof name, "pool-%u", i);
        test_pool_check(name);
    }
}

static void report_and_judge(void)
{
    struct user_counts counts = users_counts();

    printf("%" PRIu64 " gets with an object, %" PRIu64 " misses, %" PRIu64 " puts, %" PRIu64
           " removals, %" PRIu64 " failures\n",
           counts.hits, counts.misses, counts.puts, counts.removals, counts.failures);
    printf("%" PRIu64 " kills, %" PRIu64 " stops, %" PRIu64 " partitions, %" PRIu64
           " left in at most %" PRIu64 " ms; %" PRIu64 " times all was mended\n",
           demo.kills, demo.stops, demo.partitions, demo.leaves, demo.slowest_leave_ns / 1000000,
           demo.mended);
    printf("wrong %" PRIu64 ", stale %" PRIu64 ", hangs %" PRIu64 "; the slowest call took %" PRIu64
           " ms, with a time-out of %" PRIu64 "\n",
           counts.wrong, counts.stale, counts.hangs, counts.slowest_ns / 1000000,
           USER_TIMEOUT_NS / 1000000);
    if (demo.deaths)
        printf("%" PRIu64 " deaths with a lease of %u s: keys missed after %" PRIu64
               " ms, at most %" PRIu64 "\n",
               demo.deaths, lease_seconds, demo.sum_deaths_ns / demo.deaths / 1000000,
               demo.slowest_death_ns / 1000000);
    EXPECT_EQ(counts.wrong, 0);
    EXPECT_EQ(counts.stale, 0);
    EXPECT_EQ(counts.hangs, 0);
}

static void storm(void)
{
    while (demo.kills < kills_wanted || demo.partitions < partitions_wanted) {
        for (unsigned i = 0; i < STEPS; i++)
            take_step();
        mend_all();
    }
}

/* What a member has from before its death is older than what another had meanwhile. */
static void come_back_unswept(void)
{
    struct actor *actor = &demo.actors[1];

    await_members(MEMBERS);
    expect_each_served();
    kill_actor(actor);
    await_members(MEMBERS - 1);
    expect_each_served();
    start_actor(actor);
    await_members(MEMBERS);
    for (uint64_t object = 0; object < HISTORY_OBJECTS; object++)
        while (user_get(demo.cluster, object) < -ENOENT)
            test_sleep_ms(5);
    printf("%" PRIu64 " stale\n", users_counts().stale);
    EXPECT(users_counts().stale > 0);
}

static void read_arguments(int argc, char **argv)
{
    static const struct {
        const char *name;
        unsigned *value;
    } numbers[] = {{"--kills", &kills_wanted},
                   {"--partitions", &partitions_wanted},
                   {"--deaths", &deaths_wanted},
                   {"--lease", &lease_seconds}};

    for (int i = 1; i + 1 < argc; i += 2)
        for (unsigned n = 0; n < sizeof numbers / sizeof numbers[0]; n++)
            if (strcmp(argv[i], numbers[n].name) == 0)
                *numbers[n].value = (unsigned)atoi(argv[i + 1]);
}

static int run(int argc, char **argv)
{
    struct hfx_etcd etcd = {.size = sizeof etcd};
    struct hfx_options options = {
        .size = sizeof options, .etcd = &etcd, .secret = RIG_SECRET, .timeout_ns = USER_TIMEOUT_NS};

    unswept = argc == 2 && strcmp(argv[1], "--unswept") == 0;
    read_arguments(argc, argv);
    if (!getenv("HOLDFAST"))
        test_skip("HOLDFAST does not say where the program holdfast is");
    demo.rng.state = test_seed();
    test_on_failure = show_logs;
    etcd.urls = etcds_urls();
    begin_cluster(&options);
    for (unsigned i = 0; i < MEMBERS; i++)
        start_actor(&demo.actors[i]);
    while (hfx_open(&options, &demo.cluster) == -ETIMEDOUT)
        ;
    if (unswept) {
        come_back_unswept();
        return 0;
    }
    mend_all();
    measure_deaths(options);
    storm();
    EXPECT_OK(hfx_close(demo.cluster));
    end_cluster();
    report_and_judge();
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, run);
}
