/* SPDX-License-Identifier: MIT */
#include "history.h"

#include "support.h"

#include <inttypes.h>
#include <stdio.h>

/* A number that is so far behind the last one has long ended: clients have one change each. */
#define REMEMBERED 8192u

struct object {
    uint64_t begun;    /* the last number */
    uint64_t newer_ns; /* when the change began that began last of those acknowledged */
    struct {
        uint64_t number, ended_ns; /* 0: not ended */
        uint32_t acknowledged;
    } changes[REMEMBERED];
};

static struct object *objects;

void history_begin(void)
{
    objects = test_shared(HISTORY_OBJECTS * sizeof *objects);
}

struct history_change history_change_begins(uint64_t object)
{
    struct history_change change = {.object = object, .began_ns = test_now_ns()};
    struct object *at = &objects[object];

    change.number = __atomic_add_fetch(&at->begun, 1, __ATOMIC_ACQ_REL);
    test_raise(&at->changes[change.number % REMEMBERED].acknowledged, 0);
    test_put64(&at->changes[change.number % REMEMBERED].ended_ns, 0);
    test_put64(&at->changes[change.number % REMEMBERED].number, change.number);
    return change;
}

void history_change_ends_at(const struct history_change *change, uint64_t ns)
{
    test_put64(&objects[change->object].changes[change->number % REMEMBERED].ended_ns, ns);
}

static void raise_newer(uint64_t *newer_ns, uint64_t ns)
{
    uint64_t seen = test_peek64(newer_ns);

    while (seen < ns && !__atomic_compare_exchange_n(newer_ns, &seen, ns, false, __ATOMIC_ACQ_REL,
                                                     __ATOMIC_ACQUIRE))
        ;
}

void history_change_ends(const struct history_change *change, bool acknowledged)
{
    uint32_t *flag = &objects[change->object].changes[change->number % REMEMBERED].acknowledged;

    test_raise(flag, acknowledged);
    history_change_ends_at(change, test_now_ns());
    if (acknowledged)
        raise_newer(&objects[change->object].newer_ns, change->began_ns);
}

uint64_t history_get_begins(uint64_t object)
{
    return test_peek64(&objects[object].newer_ns);
}

bool history_is_stale(uint64_t object, uint64_t number, uint64_t begin)
{
    struct object *at = &objects[object];
    uint64_t ended_ns = test_peek64(&at->changes[number % REMEMBERED].ended_ns);

    if (number > test_peek64(&at->begun))
        FAIL("object %" PRIu64 " has number %" PRIu64 ", which no client has put", object, number);
    if (test_peek64(&at->changes[number % REMEMBERED].number) != number)
        return true;
    return ended_ns && ended_ns < begin;
}

static uint64_t ms_since(uint64_t ns)
{
    return (test_now_ns() - ns) / 1000000;
}

const char *history_tell(uint64_t object, uint64_t number, uint64_t begin)
{
    static char text[160];
    const struct object *at = &objects[object];
    unsigned i = number % REMEMBERED;

    snprintf(text, sizeof text,
             "its put %s %" PRIu64 " ms ago, the one that was acknowledged began %" PRIu64
             " ms ago, and there are %" PRIu64 " later ones",
             test_peek(&at->changes[i].acknowledged) ? "was acknowledged" : "failed",
             ms_since(test_peek64(&at->changes[i].ended_ns)), ms_since(begin),
             test_peek64(&at->begun) - number);
    return text;
}
