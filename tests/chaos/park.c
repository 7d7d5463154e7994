/* SPDX-License-Identifier: MIT */
/*
 * Layout changes, and the one that waits. It waits in a thread of its own, so that its actor takes
 * turns meanwhile, and may hold what it waits for. Whether it still has to wait is read from the
 * list of pins: a holder that lives and overlaps. Without one it has to end.
 */
#include "chaos.h"

#include <errno.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

long long chaos_perform(struct chaos_actor *actor, const struct chaos_change *change,
                        const struct hf_policy *policy)
{
    switch (change->kind) {
    case CHAOS_TRUNCATE:
        return hf_truncate(change->handle, change->off, policy);
    case CHAOS_MOVE:
        return hf_move(change->handle, change->off, change->len, policy);
    case CHAOS_CLONE:
        return hf_clone_range(change->handle, change->from, change->handle, change->off,
                              change->len, policy);
    case CHAOS_UNLINK:
        return hf_unlink(actor->pool, change->path, policy);
    case CHAOS_PUNCH:
        return hf_fallocate(change->handle, HF_FALLOC_PUNCH_HOLE, change->off, change->len, policy);
    case CHAOS_ZERO:
        return hf_fallocate(change->handle, HF_FALLOC_ZERO_RANGE | HF_FALLOC_KEEP_SIZE, change->off,
                            change->len, policy);
    case CHAOS_COLLAPSE:
        return hf_fallocate(change->handle, HF_FALLOC_COLLAPSE_RANGE, change->off, change->len,
                            policy);
    default:
        return hf_fallocate(change->handle, HF_FALLOC_INSERT_RANGE, change->off, change->len,
                            policy);
    }
}

long long chaos_conclude(struct chaos_actor *actor, const struct chaos_change *change, int rc)
{
    struct storm_file *file =
        change->in_ledger ? &actor->chaos->ledger.workers[0].files[change->file] : NULL;

    if (rc == 0) {
        if (file)
            storm_acknowledge(file);
        actor->chaos->changes++;
        return 0;
    }
    if (file)
        storm_withdraw(file);
    actor->chaos->refused++;
    if (rc != -EBUSY && rc != -ETIMEDOUT && rc != -EDEADLK && rc != -EINTR && rc != -EAGAIN &&
        rc != -ENOSPC && !(rc == -EOPNOTSUPP && change->kind == CHAOS_CLONE))
        FAIL("%s gave %d; %s", actor->chaos->ledger.workers[0].doing, rc, hf_strerror_detail());
    return rc;
}

static void *wait_for_pins(void *arg)
{
    struct chaos_actor *actor = arg;

    test_raise(&actor->tid, (uint32_t)gettid());
    actor->rc = (int)chaos_perform(actor, &actor->change, &test_wait);
    test_raise(&actor->over, 1);
    return NULL;
}

/* The waiting change of this process, and a holder in its way. */
struct view {
    pid_t own;
    bool waits, held;
    struct hf_pin_info wait;
};

static int find_wait(void *arg, const struct hf_pin_info *info)
{
    struct view *view = arg;

    if (info->state != HF_PIN_WAITING || info->pid != view->own)
        return 0;
    view->waits = true;
    view->wait = *info;
    return 0;
}

static int find_holder(void *arg, const struct hf_pin_info *info)
{
    struct view *view = arg;

    view->held |= info->state == HF_PIN_HELD && info->ino == view->wait.ino &&
                  info->off < view->wait.off + view->wait.len &&
                  view->wait.off < info->off + info->len && kill(info->pid, 0) == 0;
    return 0;
}

static struct view look(struct chaos_actor *actor)
{
    struct view view = {.own = getpid()};

    EXPECT_EQ(hf_pins(actor->pool, find_wait, &view), 0);
    if (view.waits)
        EXPECT_EQ(hf_pins(actor->pool, find_holder, &view), 0);
    return view;
}

static long long end_wait(struct chaos_actor *actor)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += TEST_PATIENCE_SECONDS / 4;
    if (pthread_timedjoin_np(actor->thread, NULL, &until) != 0)
        FAIL("a layout change waits, and nobody holds its range");
    actor->parked = actor->chaos->parked = false;
    return chaos_conclude(actor, &actor->change, actor->rc);
}

long long chaos_park(struct chaos_actor *actor, const struct chaos_change *change)
{
    actor->change = *change;
    actor->over = actor->tid = 0;
    EXPECT_EQ(pthread_create(&actor->thread, NULL, wait_for_pins, actor), 0);
    while (!test_peek(&actor->over) && !look(actor).waits)
        usleep(50);
    if (test_peek(&actor->over))
        return end_wait(actor);
    actor->parked = actor->chaos->parked = true;
    actor->chaos->parked_actor = actor->number;
    actor->chaos->parked_file = change->file;
    actor->chaos->parked_in_ledger = change->in_ledger;
    actor->chaos->parkings++;
    return 2;
}

long long chaos_look_after_wait(struct chaos_actor *actor)
{
    struct view view;

    if (!actor->parked)
        return 0;
    view = look(actor);
    return view.waits && view.held ? 2 : end_wait(actor);
}

long long chaos_cancel(struct chaos_actor *actor)
{
    if (!actor->parked)
        return 1;
    EXPECT_EQ(hf_cancel(actor->pool, (pid_t)test_peek(&actor->tid)), 0);
    return end_wait(actor);
}
