/* SPDX-License-Identifier: MIT */
/*
 * Two owners of each key, without etcd, clocks and a network. Members learn of epochs late, die,
 * join and sweep, in an order that the seed says. Messages between owners are late or lost. A get
 * must never return what is older than an acknowledged put or than an earlier get.
 *
 * usage: cluster-owners               the rule
 *        cluster-owners here-first    the first owner shows a put before the second one has it:
 *                                     this must be seen
 *        cluster-owners any-epoch     and a second owner that obeys each epoch
 *        cluster-owners any-link      and one that obeys a connection that was given up
 *        cluster-owners unacknowledged, unswept
 */
#include "epoch.h"
#include "place.h"
#include "support.h"
#include "view.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MEMBERS 4u
#define KEYS 8u
#define STEPS 400000u
#define MESSAGES 32u

enum wrong { RIGHT, HERE_FIRST, ANY_EPOCH, ANY_LINK, UNACKNOWLEDGED, UNSWEPT };
static const char *const wrongs[] = {"",         "here-first",     "any-epoch",
                                     "any-link", "unacknowledged", "unswept"};

/* From the first owner of a key to the second; or its answer, once `kept`. */
struct message {
    bool used, given_up, kept, slow;
    unsigned from, to;
    uint64_t self, second, epoch, link, key, value; /* value 0: a removal */
};

static struct world {
    struct test_rng rng;
    enum wrong wrong;
    const struct cluster_view *record; /* what etcd has */
    uint64_t incarnations;
    struct member {
        uint64_t incarnation, acknowledged; /* incarnation 0: it is out */
        struct epoch_chain chain;
        uint64_t held[KEYS];
        bool busy[KEYS];        /* a put of the key is under way */
        uint64_t link[MEMBERS]; /* number of the connection to each other member */
    } members[MEMBERS];
    uint64_t newest[MEMBERS][MEMBERS]; /* connection, as the one knows it of the other */
    struct message messages[MESSAGES];
    uint64_t floor[KEYS]; /* what a get must return at least */
    uint64_t values, epochs, kept, acknowledged, hits, taken_over, bad;
} world;

static const char *name_of(unsigned i)
{
    static char names[MEMBERS][2];

    names[i][0] = (char)('a' + i);
    return names[i];
}

static void set_record(struct world *w, struct cluster_view *record)
{
    cluster_view_put(w->record);
    w->record = record;
}

/* -------------------------------------------------------------------------- epochs ---- */

static struct cluster_view *living_now(struct world *w)
{
    struct cluster_view *view = view_new(MEMBERS);
    uint32_t to = 0;

    EXPECT(view);
    for (unsigned i = 0; i < MEMBERS; i++)
        if (w->members[i].incarnation)
            EXPECT_OK(view_set_member(&view->members[to++], name_of(i), 1, "x", 1,
                                      w->members[i].incarnation));
    view->count = to;
    view->replicas = 2;
    return view;
}

static struct epoch_marks acks_now(struct world *w, struct epoch_mark *acks)
{
    uint32_t count = 0;

    for (unsigned i = 0; w->record && i < MEMBERS; i++) {
        if (w->members[i].acknowledged != w->record->epoch && w->wrong != UNACKNOWLEDGED)
            continue;
        strcpy(acks[count].name, name_of(i));
        acks[count++].incarnation = w->members[i].incarnation;
    }
    return (struct epoch_marks){acks, count};
}

/* A member that is out serves nobody. */
static struct epoch_marks stopped_now(struct world *w, struct epoch_mark *stopped)
{
    uint32_t count = 0;

    for (uint32_t i = 0; w->record && i < w->record->count; i++) {
        const struct cluster_member *listed = &w->record->members[i];

        if (w->members[listed->name[0] - 'a'].incarnation == listed->incarnation)
            continue;
        strcpy(stopped[count].name, listed->name);
        stopped[count++].incarnation = listed->incarnation;
    }
    return (struct epoch_marks){stopped, count};
}

static void activate(struct world *w)
{
    struct cluster_view *active = view_new(w->record->count);

    EXPECT(active);
    memcpy(active->members, w->record->members, active->count * sizeof active->members[0]);
    active->replicas = w->record->replicas;
    active->epoch = w->record->epoch;
    active->active = true;
    set_record(w, active);
    w->epochs++;
}

static void lead(struct world *w)
{
    struct cluster_view *living = living_now(w);
    struct epoch_mark acks[MEMBERS], stopped[MEMBERS];

    switch (epoch_next(w->record, living, stopped_now(w, stopped), acks_now(w, acks))) {
    case EPOCH_KEEP:
        break;
    case EPOCH_PROPOSE:
        set_record(w, epoch_propose(w->record, living));
        EXPECT(w->record);
        EXPECT_EQ(w->record->replicas, 2);
        break;
    case EPOCH_ACTIVATE:
        activate(w);
        break;
    }
    cluster_view_put(living);
}

static void go_out(struct member *member)
{
    uint64_t link[MEMBERS];

    memcpy(link, member->link, sizeof link); /* numbers only grow */
    epoch_chain_end(&member->chain);
    memset(member, 0, sizeof *member);
    memcpy(member->link, link, sizeof link);
}

static void learn(struct world *w, struct member *member)
{
    int rc = w->record ? epoch_chain_learn(&member->chain, w->record) : 0;

    if (rc == -ESTALE)
        EXPECT(w->wrong == UNACKNOWLEDGED);
    if (rc == -ESTALE)
        go_out(member);
}

static void sweep(struct world *w, unsigned i)
{
    struct member *member = &w->members[i];
    const struct cluster_view *view = epoch_chain_to_sweep(&member->chain);

    if (!view)
        return;
    for (uint64_t key = 0; key < KEYS && w->wrong != UNSWEPT; key++)
        if (!cluster_place_has(view, &key, sizeof key, name_of(i)))
            member->held[key] = 0;
    epoch_chain_swept(&member->chain);
}

/* ---------------------------------------------------------------------------- keys ---- */

static bool is_first(struct member *member, uint64_t key, struct cluster_owners *owners)
{
    return epoch_chain_is_first(&member->chain, &key, sizeof key, owners);
}

static void acknowledge_put(struct world *w, uint64_t key, uint64_t value)
{
    w->acknowledged++;
    if (value > w->floor[key])
        w->floor[key] = value;
}

/* The second owner is told; or there is none. */
static void begin_put(struct world *w, unsigned i, uint64_t key)
{
    struct member *member = &w->members[i];
    struct cluster_owners owners;
    struct message *message = w->messages;

    if (member->busy[key] || !is_first(member, key, &owners) || !owners.may_write)
        return;
    if (!owners.has_second) {
        member->held[key] = ++w->values;
        acknowledge_put(w, key, w->values);
        return;
    }
    while (message->used && message < w->messages + MESSAGES - 1)
        message++;
    if (message->used)
        return;
    *message = (struct message){.used = true,
                                .from = i,
                                .to = (unsigned)(owners.second.name[0] - 'a'),
                                .self = owners.self,
                                .second = owners.second.incarnation,
                                .epoch = owners.epoch,
                                .key = key,
                                .value = ++w->values,
                                .slow = test_chance(&w->rng, 40)};
    message->link = member->link[message->to];
    member->busy[key] = true;
    if (w->wrong == HERE_FIRST)
        member->held[key] = message->value;
}

static bool obeys(struct world *w, const struct message *message)
{
    struct member *second = &w->members[message->to];
    const uint64_t key = message->key;
    uint64_t epoch = message->epoch, *newest = &w->newest[message->to][message->from];

    if (second->incarnation != message->second)
        return false; /* the connection was one to the process before */
    if (*newest < message->link)
        *newest = message->link; /* numbers grow from one incarnation to the next, too */
    if (*newest != message->link && w->wrong != ANY_LINK)
        return false;
    if (w->wrong == ANY_EPOCH && second->chain.count)
        epoch = second->chain.views[second->chain.count - 1]->epoch;
    return epoch_chain_is_second(&second->chain, &key, sizeof key, epoch, message->self);
}

static void end_put(struct world *w, struct message *message)
{
    struct member *first = &w->members[message->from];
    struct cluster_owners owners;

    message->used = false;
    if (first->incarnation != message->self)
        return;
    first->busy[message->key] = false;
    if (!is_first(first, message->key, &owners) || owners.epoch != message->epoch)
        return; /* it may be done */
    first->held[message->key] = message->value;
    acknowledge_put(w, message->key, message->value);
}

static void deliver(struct world *w, struct message *message)
{
    struct member *first = &w->members[message->from];

    if (message->kept) {
        end_put(w, message);
    } else if (obeys(w, message)) {
        w->members[message->to].held[message->key] = message->value;
        w->kept++;
        message->kept = true;
        message->used = !message->given_up;
    } else {
        message->used = false;
        if (!message->given_up && first->incarnation == message->self)
            first->busy[message->key] = false;
    }
}

/* It comes; or the first owner gives the connection up, and it comes later, or never. */
static void move_message(struct world *w, struct message *message)
{
    struct member *first = &w->members[message->from];
    uint64_t chance = test_below(&w->rng, 10);

    if (!message->used || (message->slow && !test_chance(&w->rng, 8)))
        return;
    if (chance == 0 && !message->given_up && first->incarnation == message->self) {
        /* All that is under way there fails. */
        for (unsigned i = 0; i < MESSAGES; i++) {
            struct message *other = &w->messages[i];

            if (other->used && !other->given_up && other->from == message->from &&
                other->to == message->to && other->self == message->self) {
                other->given_up = true;
                other->used = !other->kept; /* its answer is not taken */
                first->busy[other->key] = false;
            }
        }
        first->link[message->to]++;
    } else if (message->given_up && chance < 2) {
        message->used = false;
    } else {
        deliver(w, message);
    }
}

static void get(struct world *w, unsigned i, uint64_t key)
{
    struct member *member = &w->members[i];
    struct cluster_owners owners;
    uint64_t value = member->held[key];

    if (!is_first(member, key, &owners))
        return;
    if (!value && owners.may_write && owners.has_second && !member->busy[key]) {
        unsigned second = (unsigned)(owners.second.name[0] - 'a');

        if (epoch_chain_is_second(&w->members[second].chain, &key, sizeof key, owners.epoch,
                                  owners.self)) {
            value = member->held[key] = w->members[second].held[key];
            w->taken_over += value != 0;
        }
    }
    w->hits += value != 0;
    w->bad += value && value < w->floor[key];
    if (value > w->floor[key])
        w->floor[key] = value;
}

static void at_most_one(struct world *w)
{
    struct cluster_owners owners;

    for (uint64_t key = 0; key < KEYS; key++) {
        unsigned serve = 0;

        for (unsigned i = 0; i < MEMBERS; i++)
            serve += is_first(&w->members[i], key, &owners);
        w->bad += serve > 1;
    }
}

static void join(struct world *w, unsigned i)
{
    struct member *member = &w->members[i];

    member->incarnation = ++w->incarnations;
    for (unsigned other = 0; other < MEMBERS; other++)
        member->link[other]++;
    epoch_chain_begin(&member->chain, name_of(i), member->incarnation);
}

static void acknowledge(struct member *member)
{
    if (member->chain.count && member->chain.must_ack)
        member->acknowledged = member->chain.views[member->chain.count - 1]->epoch;
}

static void one_step(struct world *w)
{
    unsigned i = (unsigned)test_below(&w->rng, MEMBERS);
    struct member *member = &w->members[i];
    uint64_t what = test_below(&w->rng, 400), key = test_below(&w->rng, KEYS);

    if (what == 0) {
        go_out(member);
    } else if (!member->incarnation) {
        if (what > 4)
            return;
        join(w, i);
    } else if (what < 30) {
        lead(w);
    } else if (what < 50) {
        learn(w, member);
    } else if (what < 70) {
        acknowledge(member);
    } else if (what < 80) {
        sweep(w, i);
    } else if (what < 82) {
        member->held[key] = 0; /* it is evicted */
    } else if (what < 160) {
        begin_put(w, i, key);
    } else if (what < 300) {
        move_message(w, &w->messages[test_below(&w->rng, MESSAGES)]);
    } else {
        get(w, i, key);
    }
    if (what < 80)
        at_most_one(w);
}

static void end_world(struct world *w)
{
    for (unsigned i = 0; i < MEMBERS; i++)
        go_out(&w->members[i]);
    set_record(w, NULL);
}

static void run_world(struct world *w, enum wrong wrong, uint64_t seed)
{
    memset(w, 0, sizeof *w);
    w->wrong = wrong;
    w->rng.state = seed;
    for (unsigned step = 0; step < STEPS; step++)
        one_step(w);
    printf("%" PRIu64 " epochs, %" PRIu64 " kept, %" PRIu64 " acknowledged, %" PRIu64
           " hits, %" PRIu64 " taken over, %" PRIu64 " wrong\n",
           w->epochs, w->kept, w->acknowledged, w->hits, w->taken_over, w->bad);
    EXPECT(w->epochs > 20 && w->hits > 0 && w->kept > 0 && w->taken_over > 0);
    end_world(w);
}

/* All agree and have swept. */
static void settle(struct world *w)
{
    for (unsigned times = 0; times < 4; times++) {
        lead(w);
        for (unsigned i = 0; i < MEMBERS; i++)
            if (w->members[i].incarnation) {
                learn(w, &w->members[i]);
                acknowledge(&w->members[i]);
                sweep(w, i);
            }
    }
}

/* Three members have the key 0 in this order. A message from the second to the third is under way
 * while the first joins, has a put, and dies; then the second dies. */
static void come_late(struct world *w, enum wrong wrong)
{
    const uint64_t key = 0;
    unsigned order[3];
    struct cluster_view *all;

    memset(w, 0, sizeof *w);
    w->wrong = wrong;
    for (unsigned i = 0; i < 3; i++)
        join(w, i);
    all = living_now(w);
    EXPECT_EQ(cluster_place(all, &key, sizeof key, 3, order), 3);
    cluster_view_put(all);
    go_out(&w->members[order[0]]);
    settle(w);
    begin_put(w, order[1], key);
    EXPECT(w->messages[0].used && w->messages[0].to == order[2]);
    join(w, order[0]);
    settle(w);
    begin_put(w, order[0], key);
    EXPECT(w->messages[1].used && w->messages[1].to == order[1]);
    deliver(w, &w->messages[1]);
    deliver(w, &w->messages[1]);
    EXPECT_EQ(w->floor[key], 2);
    go_out(&w->members[order[0]]);
    settle(w);
    deliver(w, &w->messages[0]);
    get(w, order[1], key);
    go_out(&w->members[order[1]]);
    settle(w);
    get(w, order[2], key);
    EXPECT_EQ(w->bad, wrong == ANY_EPOCH);
    end_world(w);
}

static int run(int argc, char **argv)
{
    struct world *w = &world;
    enum wrong wrong = RIGHT;
    uint64_t seed = 1;

    while (argc > 1 && wrong < UNSWEPT && strcmp(argv[1], wrongs[wrong]) != 0)
        wrong++;
    if (wrong == RIGHT || wrong == ANY_EPOCH)
        come_late(w, wrong);
    if (wrong == ANY_EPOCH)
        return 0;
    if (wrong == RIGHT) {
        run_world(w, RIGHT, test_seed());
        EXPECT_EQ(w->bad, 0);
        return 0;
    }
    /* The seeds are fixed, so what goes wrong is seen each time. */
    do
        run_world(w, wrong, seed++);
    while (w->bad == 0 && seed < 20);
    EXPECT(w->bad > 0);
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, run);
}
