/* SPDX-License-Identifier: MIT */
#include "users.h"

#include "history.h"
#include "machines.h"
#include "rig.h"
#include "support.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LONGEST 300000u
#define BATCH 6u

static struct slot {
    struct user_counts counts;
    struct history_change change; /* under way; number 0: none */
    uint32_t stops, leaves;
} * slots;

static struct hfx_options options;
static unsigned self = USERS; /* the slot of the test itself */

void users_begin(const struct hfx_options *from)
{
    options = *from;
    slots = test_shared((USERS + 1) * sizeof *slots);
}

static size_t stamped_length(uint64_t object, uint64_t number)
{
    static const size_t lengths[] = {64, 1000, 8192, 8200, 40000, LONGEST};

    return lengths[test_mix(object, number) % 6];
}

/* ---- the time of a call ---- */

struct call {
    uint64_t began_ns;
    uint32_t stops;
};

static struct call call_begins(void)
{
    return (struct call){test_now_ns(), test_peek(&slots[self].stops)};
}

static void call_ends(const struct call *call)
{
    uint64_t ns = test_now_ns() - call->began_ns;
    struct user_counts *counts = &slots[self].counts;

    if (test_peek(&slots[self].stops) != call->stops)
        return;
    if (ns > counts->slowest_ns)
        test_put64(&counts->slowest_ns, ns);
    if (ns > USER_HANG_NS)
        test_count64(&counts->hangs, 1);
}

/* ---- changes ---- */

static void change_begins(uint64_t object)
{
    struct history_change *change = &slots[self].change, begun = history_change_begins(object);

    change->object = begun.object;
    change->began_ns = begun.began_ns;
    test_put64(&change->number, begun.number); /* last: the process may be killed here */
}

static void change_ends(int rc, uint64_t *counter)
{
    struct history_change *change = &slots[self].change;

    /* One that failed before its time-out may still be done until then. */
    if (rc && rc != -ENOENT && rc != -ETIMEDOUT)
        history_change_ends_at(change, test_now_ns() + USER_TIMEOUT_NS);
    else
        history_change_ends(change, rc == 0 || rc == -ENOENT);
    change->number = 0;
    if (rc == 0 || rc == -ENOENT)
        test_count64(counter, 1);
    else
        test_count64(&slots[self].counts.failures, 1);
}

int user_put(struct hfx *cluster, uint64_t object)
{
    static char bytes[LONGEST];
    struct rig_key key;
    struct call call;
    size_t len;
    int rc;

    change_begins(object);
    len = stamped_length(object, slots[self].change.number);
    rig_fill(bytes, len, object, slots[self].change.number);
    call = call_begins();
    rc = hfx_put(cluster, rig_key(&key, object), bytes, len);
    call_ends(&call);
    change_ends(rc, &slots[self].counts.puts);
    return rc;
}

static void user_remove(struct hfx *cluster, uint64_t object)
{
    struct rig_key key;
    struct call call;
    int rc;

    change_begins(object);
    call = call_begins();
    rc = hfx_remove(cluster, rig_key(&key, object));
    call_ends(&call);
    change_ends(rc, &slots[self].counts.removals);
}

/* ---- gets ---- */

static void judge_bytes(uint64_t object, const char *bytes, size_t len, uint64_t begin)
{
    struct user_counts *counts = &slots[self].counts;
    uint64_t number = ((const uint64_t *)bytes)[0];

    test_count64(&counts->hits, 1);
    if (len < 16 || len != stamped_length(object, number) || !rig_is_whole(bytes, len, object)) {
        test_count64(&counts->wrong, 1);
        printf("object %" PRIu64 ": wrong bytes in a get of %zu\n", object, len);
    } else if (history_is_stale(object, number, begin)) {
        test_count64(&counts->stale, 1);
        printf("object %" PRIu64 ": a get returned number %" PRIu64 ", which is stale: %s\n",
               object, number, history_tell(object, number, begin));
    }
}

static void judge_get(uint64_t object, const char *bytes, int64_t got, uint64_t begin)
{
    if (got >= 0)
        judge_bytes(object, bytes, (size_t)got, begin);
    else
        test_count64(got == -ENOENT ? &slots[self].counts.misses : &slots[self].counts.failures, 1);
}

int64_t user_get(struct hfx *cluster, uint64_t object)
{
    static _Alignas(8) char bytes[LONGEST];
    uint64_t begin = history_get_begins(object);
    struct call call = call_begins();
    struct rig_key key;
    int64_t got = hfx_get(cluster, rig_key(&key, object), bytes, sizeof bytes);

    call_ends(&call);
    judge_get(object, bytes, got, begin);
    return got;
}

static void get_batch(struct hfx *cluster, struct test_rng *rng)
{
    static _Alignas(8) char bytes[BATCH][LONGEST];
    struct hfx_request requests[BATCH];
    uint64_t objects[BATCH], begins[BATCH];
    struct rig_key keys[BATCH];
    int64_t results[BATCH];
    struct call call;

    for (unsigned i = 0; i < BATCH; i++) {
        objects[i] = test_below(rng, HISTORY_OBJECTS);
        begins[i] = history_get_begins(objects[i]);
        requests[i] = (struct hfx_request){
            HFX_GET, 0, *rig_key(&keys[i], objects[i]), bytes[i], sizeof bytes[i], i};
    }
    call = call_begins();
    EXPECT_OK(hfx_batch(cluster, requests, BATCH, results));
    call_ends(&call);
    for (unsigned i = 0; i < BATCH; i++)
        judge_get(objects[i], bytes[i], results[i], begins[i]);
}

/* ---- the processes ---- */

/* Null: it was told to leave before etcd could be reached. */
static struct hfx *open_cluster(void)
{
    struct hfx *cluster;
    int rc = -ETIMEDOUT;

    while (rc == -ETIMEDOUT && !test_peek(&slots[self].leaves))
        rc = hfx_open(&options, &cluster);
    if (rc && rc != -ETIMEDOUT)
        FAIL("hfx_open: %s", hfx_detail());
    return rc ? NULL : cluster;
}

static void take_one_step(struct hfx *cluster, struct test_rng *rng)
{
    uint64_t object = test_below(rng, HISTORY_OBJECTS), chance = test_below(rng, 100);

    if (chance < 25)
        user_put(cluster, object);
    else if (chance < 32)
        user_remove(cluster, object);
    else if (chance < 40)
        get_batch(cluster, rng);
    else
        user_get(cluster, object);
    test_sleep_ms(1); /* for all the others of this machine */
}

struct user_start {
    unsigned user, machine;
};

static void be_user(void *arg)
{
    const struct user_start *start = arg;
    struct test_rng rng = {test_mix(start->user, (uint64_t)getpid())};
    struct hfx *cluster;

    self = start->user;
    machine_enter(start->machine);
    cluster = open_cluster();
    while (cluster && !test_peek(&slots[self].leaves))
        take_one_step(cluster, &rng);
    if (cluster)
        EXPECT_OK(hfx_close(cluster));
}

pid_t user_start(unsigned user, unsigned machine)
{
    struct user_start start = {user, machine};

    test_raise(&slots[user].leaves, 0);
    return test_fork(be_user, &start);
}

void user_stops(unsigned user)
{
    test_count(&slots[user].stops);
}

/* A member may still do the last change: it has it, or the network. */
void user_ended(unsigned user)
{
    struct history_change *change = &slots[user].change;

    if (change->number)
        history_change_ends_at(change, test_now_ns() + USER_TIMEOUT_NS);
    change->number = 0;
}

void user_leaves(unsigned user)
{
    test_raise(&slots[user].leaves, 1);
}

uint64_t user_done(unsigned user)
{
    return test_peek64(&slots[user].counts.hits) + test_peek64(&slots[user].counts.puts);
}

struct user_counts users_counts(void)
{
    struct user_counts sum = {0};

    for (unsigned i = 0; i <= USERS; i++) {
        const struct user_counts *one = &slots[i].counts;

        sum.hits += test_peek64(&one->hits);
        sum.misses += test_peek64(&one->misses);
        sum.puts += test_peek64(&one->puts);
        sum.removals += test_peek64(&one->removals);
        sum.failures += test_peek64(&one->failures);
        sum.wrong += test_peek64(&one->wrong);
        sum.stale += test_peek64(&one->stale);
        sum.hangs += test_peek64(&one->hangs);
        if (test_peek64(&one->slowest_ns) > sum.slowest_ns)
            sum.slowest_ns = test_peek64(&one->slowest_ns);
    }
    return sum;
}
