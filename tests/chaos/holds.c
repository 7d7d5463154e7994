/* SPDX-License-Identifier: MIT */
/* Pins and leases of an actor: what lies under them is their file's, whatever becomes of it. */
#include "chaos.h"

#include <errno.h>

static struct chaos_pin *any(struct chaos_actor *actor, struct chaos_pin *of, bool held)
{
    struct chaos_pin *pin = &of[test_below(&actor->rng, CHAOS_PINS)];

    return pin->held == held ? pin : NULL;
}

static void look_at(const struct chaos_pin *pin)
{
    for (unsigned i = 0; i < pin->count; i++)
        for (size_t at = 0; at < pin->pieces[i].iov_len; at += TEST_PAGE)
            if (!storm_belongs((const char *)pin->pieces[i].iov_base + at,
                               pin->generation % CHAOS_GENERATIONS, pin->file))
                FAIL("a page under a %s of file %u went to another file",
                     pin->is_lease ? "lease" : "pin", pin->file);
}

void chaos_look_at_holds(struct chaos_actor *actor)
{
    for (unsigned i = 0; i < CHAOS_PINS; i++) {
        if (actor->pins[i].held)
            look_at(&actor->pins[i]);
        if (actor->leases[i].held)
            look_at(&actor->leases[i]);
    }
}

static void let_go(struct chaos_pin *pin)
{
    if (!pin->held)
        return;
    look_at(pin);
    if (pin->is_lease)
        EXPECT_EQ(hf_lease_release(&pin->lease), 0);
    else
        EXPECT_EQ(hf_unpin(&pin->pin), 0);
    pin->held = false;
}

void chaos_release_all(struct chaos_actor *actor)
{
    for (unsigned i = 0; i < CHAOS_PINS; i++) {
        let_go(&actor->pins[i]);
        let_go(&actor->leases[i]);
    }
}

/* What a hold may be refused with; a process that only reads fills no hole. */
static void expect_refusal(const struct chaos_actor *actor, int rc)
{
    if (rc != -EFAULT && rc != -EAGAIN && rc != -ENOSPC && rc != -EBADF && rc != -E2BIG &&
        !(rc == -EROFS && actor->reads_only))
        FAIL("a pin or a lease gave %d; %s", rc, hf_strerror_detail());
}

static long long begin(struct chaos_actor *actor, bool is_lease)
{
    static const uint32_t purposes[] = {HF_PIN_CPU, HF_PIN_IO_URING, HF_PIN_RDMA, HF_PIN_GPU};
    struct chaos_pin *pin = any(actor, is_lease ? actor->leases : actor->pins, false);
    unsigned number = (unsigned)test_below(&actor->rng, STORM_FILES);
    uint64_t first = test_below(&actor->rng, STORM_PAGES);
    uint64_t pages = 1 + test_below(&actor->rng, STORM_PAGES - first);
    uint32_t flags = purposes[test_below(&actor->rng, 4)];
    struct hf_file *file = chaos_file(actor, number);
    int rc;

    if (!actor->reads_only && test_chance(&actor->rng, 30))
        flags |= HF_PIN_WRITE;
    if (!pin || !file)
        return 1;
    if (first * TEST_PAGE >= test_size(file))
        first = 0;
    if ((first + pages) * TEST_PAGE > test_size(file))
        pages = 1;
    pin->is_lease = is_lease;
    pin->file = number;
    pin->generation = actor->chaos->generations[number];
    if (is_lease) {
        struct hf_lease_options options = {.size = sizeof(options), .flags = flags, .arg = pin};

        rc = hf_lease(file, first * TEST_PAGE, pages * TEST_PAGE, &options, pin->pieces,
                      STORM_PAGES, &pin->lease);
    } else {
        rc = hf_pin(file, first * TEST_PAGE, pages * TEST_PAGE, flags, pin->pieces, STORM_PAGES,
                    &pin->pin);
    }
    if (rc < 0) {
        expect_refusal(actor, rc);
        return rc;
    }
    pin->held = true;
    pin->count = (unsigned)rc;
    actor->chaos->pins += !is_lease;
    actor->chaos->leases += is_lease;
    return 0;
}

static long long give(struct chaos_actor *actor)
{
    struct chaos_offer *offer = &actor->chaos->offers[test_below(&actor->rng, CHAOS_OFFERS)];
    struct chaos_pin *lease = any(actor, actor->leases, true);

    if (!lease || offer->there)
        return 1;
    EXPECT_EQ(hf_lease_give(&lease->lease, &offer->token), 0);
    offer->file = lease->file;
    offer->generation = lease->generation;
    offer->there = true;
    lease->held = false;
    return 0;
}

/* One that is offered may have gone with its giver; one of detached blocks is taken without
 * addresses, to be released. The offer stands until then: a taker that dies first leaves the lease
 * to its giver. */
static long long take(struct chaos_actor *actor)
{
    struct chaos_offer *offer = &actor->chaos->offers[test_below(&actor->rng, CHAOS_OFFERS)];
    struct chaos_pin *lease = any(actor, actor->leases, false);
    struct hf_lease_options options = {.size = sizeof(options), .arg = lease};
    int rc;

    if (!lease || !offer->there)
        return 1;
    rc = hf_lease_take(actor->pool, &offer->token, &options, lease->pieces, STORM_PAGES,
                       &lease->lease);
    if (rc == -ESTALE)
        rc = hf_lease_take(actor->pool, &offer->token, &options, NULL, 0, &lease->lease);
    offer->there = false;
    if (rc == -ENOENT)
        return rc;
    EXPECT_OK(rc);
    lease->held = lease->is_lease = true;
    lease->file = offer->file;
    lease->generation = offer->generation;
    lease->count = (unsigned)rc;
    return 0;
}

/* Releases leases that were offered and that nobody has taken. */
void chaos_withdraw_offers(struct chaos_actor *actor)
{
    struct hf_lease_options options = {.size = sizeof(options)};
    struct hf_lease lease;

    for (unsigned i = 0; i < CHAOS_OFFERS; i++) {
        struct chaos_offer *offer = &actor->chaos->offers[i];

        if (offer->there &&
            hf_lease_take(actor->pool, &offer->token, &options, NULL, 0, &lease) == 0)
            EXPECT_EQ(hf_lease_release(&lease), 0);
        offer->there = false;
    }
}

/* When a change that waits asks for a lease depends on when it looks again. So the choice of the
 * lease to release does not depend on recalls. */
static long long hear(struct chaos_actor *actor)
{
    struct hf_recall recall;

    while (hf_recall_next(actor->pool, &recall) == 1) {
        const struct chaos_pin *lease = recall.arg;

        EXPECT(recall.state == HF_LEASE_RECALLED || recall.state == HF_LEASE_DETACHED);
        EXPECT(lease >= actor->leases && lease < actor->leases + CHAOS_PINS);
    }
    for (unsigned i = 0; i < CHAOS_PINS; i++)
        if (test_chance(&actor->rng, 30))
            let_go(&actor->leases[i]);
    return 0;
}

static long long end(struct chaos_pin *pin)
{
    if (!pin)
        return 1;
    let_go(pin);
    return 0;
}

long long chaos_hold(struct chaos_actor *actor, enum chaos_kind kind)
{
    switch (kind) {
    case CHAOS_PIN:
    case CHAOS_LEASE:
        return begin(actor, kind == CHAOS_LEASE);
    case CHAOS_UNPIN:
        return end(any(actor, actor->pins, true));
    case CHAOS_END_LEASE:
        return end(any(actor, actor->leases, true));
    case CHAOS_GIVE:
        return give(actor);
    case CHAOS_TAKE:
        return take(actor);
    default:
        return hear(actor);
    }
}
