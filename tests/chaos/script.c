/* SPDX-License-Identifier: MIT */
/* The script of a run: each step comes from the seed and its number, and from no other step. */
#include "chaos.h"

#include "../kill/trap.h"

#include <inttypes.h>
#include <stdio.h>

static const struct {
    const char *name;
    unsigned share;
} kinds[] = {
#define CHAOS_KIND(kind, name, share) {name, share},
    CHAOS_KINDS(CHAOS_KIND)
#undef CHAOS_KIND
};

static enum chaos_kind choose_kind(struct test_rng *rng)
{
    uint64_t all = 0, at;
    unsigned kind = 0;

    for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        all += kinds[i].share;
    at = test_below(rng, all);
    while (at >= kinds[kind].share)
        at -= kinds[kind++].share;
    return (enum chaos_kind)kind;
}

struct chaos_step chaos_step(uint64_t seed, unsigned number)
{
    struct test_rng rng = {test_mix(seed, number)};
    struct chaos_step step = {.kill_at = TRAP_NEVER};

    step.actor = (unsigned)test_below(&rng, CHAOS_ACTORS);
    step.kind = choose_kind(&rng);
    if (test_chance(&rng, 4))
        step.kill_at = test_below(&rng, test_chance(&rng, 50) ? 20 : 300);
    step.seed = test_random(&rng);
    return step;
}

void chaos_print_step(unsigned number, const struct chaos_step *step)
{
    printf("  %4u: actor %u, %s", number, step->actor, kinds[step->kind].name);
    if (step->kill_at != TRAP_NEVER)
        printf(", killed after change %" PRIu64, step->kill_at);
    printf("\n");
}
