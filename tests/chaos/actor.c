/* SPDX-License-Identifier: MIT */
/*
 * An actor's process. It opens the pool at its first turn, takes one step a turn, and looks at what
 * it holds before and after each step. It may not wait while a change of another actor waits, nor
 * in a step that ends with its death. There it acts as a thread of a server does, which never
 * waits.
 */
#include "chaos.h"

#include <holdfast/compact.h>

#include "../kill/trap.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/serve.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static bool in_wait(const struct chaos_actor *actor, unsigned file)
{
    return actor->parked && actor->change.file == file;
}

static void close_file(struct chaos_actor *actor, unsigned file)
{
    if (!actor->kept[file] || in_wait(actor, file))
        return;
    EXPECT_EQ(hf_close(actor->kept[file]), 0);
    actor->kept[file] = NULL;
}

struct hf_file *chaos_file(struct chaos_actor *actor, unsigned file)
{
    const struct storm_version *now = storm_now(&actor->chaos->ledger.workers[0].files[file]);
    unsigned generation = actor->chaos->generations[file];
    char path[64];

    if (actor->kept[file] && (!now->exists || actor->kept_generation[file] != generation))
        close_file(actor, file);
    if (!now->exists || actor->kept[file])
        return now->exists ? actor->kept[file] : NULL;
    storm_file_path(0, file, now->name, path);
    EXPECT_EQ(
        hf_open(actor->pool, path, actor->reads_only ? O_RDONLY : O_RDWR, 0, &actor->kept[file]),
        0);
    actor->kept_generation[file] = generation;
    return actor->kept[file];
}

static void open_pool(struct chaos_actor *actor)
{
    if (!actor->pool)
        EXPECT_EQ(hf_pool_open(test_path(CHAOS_POOL), actor->reads_only ? HF_OPEN_RDONLY : 0,
                               &actor->pool),
                  0);
}

static long long leave(struct chaos_actor *actor)
{
    if (actor->parked || !actor->pool)
        return 1;
    chaos_withdraw_offers(actor); /* what it has offered is its own until somebody takes it */
    chaos_release_all(actor);
    for (unsigned file = 0; file < STORM_FILES; file++)
        close_file(actor, file);
    EXPECT_EQ(hf_pool_close(actor->pool), 0);
    actor->pool = NULL;
    return 0;
}

static long long read_file(struct chaos_actor *actor)
{
    static char pages[STORM_PAGES][HF_BLOCK_BYTES];
    unsigned number = (unsigned)test_below(&actor->rng, STORM_FILES);
    struct hf_file *file = chaos_file(actor, number);
    ssize_t got;

    if (!file)
        return 1;
    got = hf_read(file, pages, sizeof(pages), 0);
    EXPECT_OK(got);
    for (unsigned i = 0; (size_t)got >= (i + 1) * sizeof(pages[0]); i++)
        if (!storm_belongs(pages[i], actor->chaos->generations[number] % CHAOS_GENERATIONS, number))
            FAIL("page %u of file %u is another's", i, number);
    return got;
}

/* What the parent has open is not the child's. */
static long long fork_child(struct chaos_actor *actor)
{
    struct hf_file *file = chaos_file(actor, (unsigned)test_below(&actor->rng, STORM_FILES));
    char byte;
    pid_t pid;
    int status;

    if (actor->parked)
        return 1;
    pid = fork();
    EXPECT_OK(pid);
    if (pid == 0)
        _exit(file && hf_read(file, &byte, 1, 0) != -ECHILD);
    status = test_wait_status(pid);
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return 0;
}

static long long grow(struct chaos_actor *actor)
{
    struct hf_pool_info info = {.size = sizeof(info)};
    int rc;

    if (actor->reads_only)
        return 1;
    EXPECT_EQ(hf_pool_info(actor->pool, &info), 0);
    rc = hf_pool_grow(actor->pool, info.pool_bytes + HF_HUGE_BYTES);
    if (rc != -EAGAIN)
        EXPECT_EQ(rc, 0);
    return rc;
}

static long long shrink(struct chaos_actor *actor)
{
    struct hf_pool_info info = {.size = sizeof(info)};
    int rc;

    if (actor->reads_only)
        return 1;
    EXPECT_EQ(hf_pool_info(actor->pool, &info), 0);
    if (info.pool_bytes <= CHAOS_POOL_BYTES)
        return 1;
    rc = hf_pool_shrink(actor->pool, info.pool_bytes - HF_HUGE_BYTES, &test_nowait);
    if (rc != -EAGAIN && rc != -EBUSY && rc != -ENOSPC)
        EXPECT_EQ(rc, 0);
    return rc;
}

static long long trim(struct chaos_actor *actor)
{
    struct hf_trim_result result = {.size = sizeof(result)};
    int rc;

    if (actor->reads_only)
        return 1;
    rc = hf_pool_trim(actor->pool, test_below(&actor->rng, CHAOS_FREE_PAGES) * TEST_PAGE, &result);
    if (rc != -EAGAIN && rc != -EBUSY)
        EXPECT_EQ(rc, 0);
    return rc;
}

static long long take_step(struct chaos_actor *actor, enum chaos_kind kind)
{
    switch (kind) {
    case CHAOS_READ:
        return read_file(actor);
    case CHAOS_CLOSE:
        close_file(actor, (unsigned)test_below(&actor->rng, STORM_FILES));
        return 0;
    case CHAOS_CANCEL:
        return chaos_cancel(actor);
    case CHAOS_FORK:
        return fork_child(actor);
    case CHAOS_GROW:
        return grow(actor);
    case CHAOS_SHRINK:
        return shrink(actor);
    case CHAOS_TRIM:
        return trim(actor);
    case CHAOS_LEAVE:
        return leave(actor);
    case CHAOS_LOOK:
        return chaos_look_after_wait(actor);
    case CHAOS_CHECK:
        chaos_check(actor->chaos, actor->pool, false);
        return 0;
    case CHAOS_RELEASE:
        chaos_withdraw_offers(actor);
        chaos_release_all(actor);
        return 0;
    case CHAOS_PIN:
    case CHAOS_UNPIN:
    case CHAOS_LEASE:
    case CHAOS_GIVE:
    case CHAOS_TAKE:
    case CHAOS_END_LEASE:
    case CHAOS_HEAR:
        return chaos_hold(actor, kind);
    default:
        return chaos_change(actor, kind);
    }
}

static void take_turn(struct chaos_actor *actor, const struct chaos_step *step)
{
    const struct hf_client never_waits = {
        .size = sizeof(never_waits), .flags = HF_CLIENT_NOWAIT, .uid = geteuid(), .gid = getegid()};
    /* The trap is of one thread alone, and a forked child has no memory of the pool to guard. */
    bool dies = step->kill_at != TRAP_NEVER && trap_possible() && !actor->parked &&
                step->kind != CHAOS_FORK;

    actor->rng.state = step->seed;
    actor->may_park =
        !actor->chaos->parked && !actor->reads_only && !dies && actor->chaos->ledger.knows_holders;
    if (dies)
        trap_arm(test_path(CHAOS_POOL), step->kill_at, NULL, false);
    open_pool(actor);
    chaos_look_at_holds(actor);
    EXPECT_EQ(hf_act_for(actor->may_park ? NULL : &never_waits), 0);
    actor->chaos->turns[actor->number].result = take_step(actor, step->kind);
    chaos_look_at_holds(actor);
    if (dies)
        trap_disarm();
}

void chaos_act(struct chaos *chaos, unsigned number)
{
    struct chaos_actor *actor = calloc(1, sizeof(*actor));
    struct chaos_turn *turn = &chaos->turns[number];

    actor->chaos = chaos;
    actor->number = number;
    actor->reads_only = number == 0;
    for (;;) {
        while (sem_wait(&turn->go) != 0)
            ;
        if (turn->step.kind == CHAOS_EXIT)
            break;
        take_turn(actor, &turn->step);
        sem_post(&turn->done);
    }
    leave(actor);
    free(actor);
}
