/* SPDX-License-Identifier: MIT */
/*
 * The leases of a worker: taken for every purpose, with callbacks and without, given to any
 * process, taken from others, recalled. Callbacks come in a thread of the library's, so what is
 * known of each lease is under a mutex. That is never held where a lease or a layout change may
 * wait, since a callback may be the one that ends the wait.
 */
#include "storm.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

enum stage { FREE, BUSY, HELD, GIVEN };

struct lease {
    enum stage stage;
    struct hf_lease handle;
    struct hf_lease_token token;
    struct iovec pieces[STORM_PAGES];
    int count;
};

static struct {
    struct storm *storm;
    unsigned worker;
    struct hf_pool *pool;
    pthread_mutex_t mutex;
    struct lease leases[STORM_LEASES];
} own = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static struct storm_pin *ledger_of(const struct lease *lease)
{
    return &own.storm->workers[own.worker].leases[lease - own.leases];
}

static void forget(struct lease *lease)
{
    test_raise(&ledger_of(lease)->held, 0);
    lease->stage = FREE;
}

/* --- letting go; under the mutex --- */

static void release(struct lease *lease)
{
    const struct storm_pin *pin = ledger_of(lease);

    for (int i = 0; i < lease->count; i++)
        for (size_t at = 0; at < lease->pieces[i].iov_len; at += TEST_PAGE)
            if (!storm_belongs((const char *)lease->pieces[i].iov_base + at, pin->worker,
                               pin->file))
                FAIL("a page under a lease of file %u of worker %u, in state %d, went to another "
                     "file",
                     pin->file, pin->worker, hf_lease_state(&lease->handle));
    EXPECT_EQ(hf_lease_release(&lease->handle), 0);
    forget(lease);
}

/* Unless somebody has it by now. */
static void take_back(struct lease *lease)
{
    struct hf_lease_options options = {.size = sizeof(options), .arg = lease};
    int rc =
        (int)UNTIL_DONE(hf_lease_take(own.pool, &lease->token, &options, NULL, 0, &lease->handle));

    EXPECT(rc == 0 || rc == -ENOENT);
    if (rc == 0)
        lease->stage = HELD;
    else
        forget(lease);
}

static void let_go(struct lease *lease)
{
    if (lease->stage == GIVEN)
        take_back(lease);
    if (lease->stage == HELD)
        release(lease);
}

/* One that is just being taken is looked at by the thread that takes it. */
static void answer(struct lease *lease)
{
    test_count64(&own.storm->recalled, 1);
    pthread_mutex_lock(&own.mutex);
    let_go(lease);
    pthread_mutex_unlock(&own.mutex);
}

static void recalled(void *arg, const struct hf_recall *recall)
{
    usleep((useconds_t)(recall->off / TEST_PAGE * 50)); /* some deadlines pass meanwhile */
    answer(arg);
}

void storm_leases_hear(void)
{
    struct hf_recall recall;

    while (hf_recall_next(own.pool, &recall) == 1)
        answer(recall.arg);
}

void storm_leases_release_all(void)
{
    pthread_mutex_lock(&own.mutex);
    for (unsigned i = 0; i < STORM_LEASES; i++)
        let_go(&own.leases[i]);
    pthread_mutex_unlock(&own.mutex);
}

/* --- taking --- */

static struct lease *in_stage(struct test_rng *rng, enum stage stage)
{
    struct lease *lease = &own.leases[test_below(rng, STORM_LEASES)];

    return lease->stage == stage ? lease : NULL;
}

static struct lease *begin(struct test_rng *rng, const struct storm_pin *pin)
{
    struct lease *lease;

    pthread_mutex_lock(&own.mutex);
    lease = in_stage(rng, FREE);
    if (lease) {
        lease->stage = BUSY;
        *ledger_of(lease) = *pin;
        test_raise(&ledger_of(lease)->held, 1);
    }
    pthread_mutex_unlock(&own.mutex);
    return lease;
}

static void conclude(struct lease *lease, const struct hf_lease *handle, int rc)
{
    pthread_mutex_lock(&own.mutex);
    if (rc > 0) {
        lease->count = rc;
        lease->handle = *handle;
        lease->stage = HELD;
        if (hf_lease_state(handle) != HF_LEASE_HELD)
            release(lease);
    } else {
        forget(lease);
    }
    pthread_mutex_unlock(&own.mutex);
}

static struct hf_lease_options options_of(struct test_rng *rng, struct lease *lease)
{
    return (struct hf_lease_options){.size = sizeof(struct hf_lease_options),
                                     .recall = test_chance(rng, 50) ? recalled : NULL,
                                     .arg = lease};
}

void storm_lease_new(struct test_rng *rng, struct hf_file *file, const struct storm_pin *pin)
{
    static const uint32_t purposes[] = {HF_PIN_CPU, HF_PIN_IO_URING, HF_PIN_RDMA, HF_PIN_GPU};
    struct lease *lease = begin(rng, pin);
    struct hf_lease_options options;
    struct hf_lease handle;
    int rc;

    if (!lease)
        return;
    options = options_of(rng, lease);
    options.flags = purposes[test_below(rng, 4)] | (test_chance(rng, 30) ? HF_PIN_WRITE : 0);
    rc = hf_lease(file, pin->off, pin->len, &options, lease->pieces, STORM_PAGES, &handle);
    EXPECT(rc > 0 || rc == -EFAULT || rc == -EBADF || storm_goes_again(rc));
    test_count64(&own.storm->leases, rc > 0);
    conclude(lease, &handle, rc);
}

/* --- from hand to hand --- */

static bool claim(struct storm_offer *offer, uint32_t from)
{
    return __atomic_compare_exchange_n(&offer->state, &from, STORM_OFFER_OF(own.worker), false,
                                       __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static void give(struct test_rng *rng)
{
    struct storm_offer *offer = &own.storm->offers[test_below(rng, STORM_OFFERS)];
    struct lease *lease;

    pthread_mutex_lock(&own.mutex);
    lease = in_stage(rng, HELD);
    if (lease) {
        EXPECT_EQ(hf_lease_give(&lease->handle, &lease->token), 0);
        lease->stage = GIVEN;
        if (claim(offer, STORM_OFFER_NONE)) {
            offer->token = lease->token;
            offer->pin = *ledger_of(lease);
            test_raise(&offer->state, STORM_OFFER_THERE);
        }
    }
    pthread_mutex_unlock(&own.mutex);
}

/* What is offered may have gone with its giver, been taken back, or been detached: then it stays
 * the giver's. */
static void take(struct test_rng *rng)
{
    struct storm_offer *offer = &own.storm->offers[test_below(rng, STORM_OFFERS)];
    struct hf_lease_options options;
    struct hf_lease_token token;
    struct hf_lease handle;
    struct storm_pin pin;
    struct lease *lease;
    int rc;

    if (!claim(offer, STORM_OFFER_THERE))
        return;
    token = offer->token;
    pin = offer->pin;
    test_raise(&offer->state, STORM_OFFER_NONE);
    lease = begin(rng, &pin);
    if (!lease)
        return;
    options = options_of(rng, lease);
    rc = (int)UNTIL_DONE(
        hf_lease_take(own.pool, &token, &options, lease->pieces, STORM_PAGES, &handle));
    EXPECT(rc > 0 || rc == -ENOENT || rc == -ESTALE);
    test_count64(&own.storm->taken, rc > 0);
    conclude(lease, &handle, rc);
}

void storm_leases_act(struct test_rng *rng)
{
    uint64_t kind = test_below(rng, 100);
    struct lease *lease;

    if (kind < 45) {
        give(rng);
    } else if (kind < 90) {
        take(rng);
    } else {
        pthread_mutex_lock(&own.mutex);
        lease = in_stage(rng, kind < 95 ? GIVEN : HELD);
        if (lease)
            let_go(lease);
        pthread_mutex_unlock(&own.mutex);
    }
}

void storm_leases_begin(struct storm *storm, unsigned worker, struct hf_pool *pool)
{
    own.storm = storm;
    own.worker = worker;
    own.pool = pool;
}
