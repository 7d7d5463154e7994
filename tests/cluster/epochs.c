/* SPDX-License-Identifier: MIT */
/*
 * The rule of epochs without etcd and clocks: members learn of epochs late, die, join and sweep, in
 * an order that the seed says. A get that begins after a put was acknowledged must return nothing,
 * or what was put last. At most one member serves a key at a time.
 *
 * usage: cluster-epochs                    the rule, and what records are refused
 *        cluster-epochs unacknowledged     an epoch becomes active at once: this must be seen
 *        cluster-epochs unswept            and a member that drops nothing
 *        cluster-epochs unstopped          and a member that serves when its key has gone
 */
#include "epoch.h"
#include "etcd.h"
#include "place.h"
#include "records.h"
#include "support.h"
#include "view.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MEMBERS 5u
#define KEYS 24u
#define STEPS 200000u

enum wrong { RIGHT, UNACKNOWLEDGED, UNSWEPT, UNSTOPPED };

static struct world {
    struct test_rng rng;
    enum wrong wrong;
    const struct cluster_view *record; /* what etcd has */
    uint64_t incarnations;             /* that there were */
    struct member {
        uint64_t incarnation; /* 0: it is out */
        bool ended;           /* etcd has ended its lease, and it does not know */
        uint64_t acknowledged;
        struct epoch_chain chain;
        uint64_t held[KEYS];
    } members[MEMBERS];
    uint64_t last[KEYS]; /* what was put last, and acknowledged */
    uint64_t puts, gets, hits, epochs, bad;
} world;

static const char *name_of(unsigned member)
{
    static const char *const names[MEMBERS] = {"a", "b", "c", "d", "e"};

    return names[member];
}

static struct cluster_view *living_now(struct world *w)
{
    struct cluster_view *view = view_new(MEMBERS);
    uint32_t to = 0;

    EXPECT(view);
    for (unsigned i = 0; i < MEMBERS; i++)
        if (w->members[i].incarnation && !w->members[i].ended)
            EXPECT_OK(view_set_member(&view->members[to++], name_of(i), 1, "x", 1,
                                      w->members[i].incarnation));
    view->count = to;
    return view;
}

static uint32_t acks_now(struct world *w, struct epoch_mark *acks)
{
    uint32_t count = 0;

    for (unsigned i = 0; i < MEMBERS; i++) {
        bool acked = w->record && w->members[i].acknowledged == w->record->epoch;

        if (!acked && w->wrong != UNACKNOWLEDGED)
            continue;
        strcpy(acks[count].name, name_of(i));
        acks[count++].incarnation = w->members[i].incarnation;
    }
    return count;
}

/* Members of the record that serve nobody any more. */
static uint32_t stopped_now(struct world *w, struct epoch_mark *stopped)
{
    uint32_t count = 0;

    for (uint32_t i = 0; w->record && i < w->record->count; i++) {
        const struct cluster_member *listed = &w->record->members[i];
        const struct member *member = &w->members[listed->name[0] - 'a'];

        if (member->incarnation == listed->incarnation && w->wrong != UNSTOPPED)
            continue;
        strcpy(stopped[count].name, listed->name);
        stopped[count++].incarnation = listed->incarnation;
    }
    return count;
}

static void set_record(struct world *w, const struct cluster_view *record)
{
    cluster_view_put(w->record);
    w->record = record;
}

static void lead(struct world *w)
{
    struct cluster_view *living = living_now(w), *active;
    struct epoch_mark acks[MEMBERS], stopped[MEMBERS];

    switch (epoch_next(w->record, living, (struct epoch_marks){stopped, stopped_now(w, stopped)},
                       (struct epoch_marks){acks, acks_now(w, acks)})) {
    case EPOCH_KEEP:
        break;
    case EPOCH_PROPOSE:
        set_record(w, epoch_propose(w->record, living));
        EXPECT(w->record);
        break;
    case EPOCH_ACTIVATE:
        active = view_new(w->record->count);
        EXPECT(active);
        memcpy(active->members, w->record->members, active->count * sizeof active->members[0]);
        active->epoch = w->record->epoch;
        active->active = true;
        set_record(w, active);
        w->epochs++;
        break;
    }
    cluster_view_put(living);
}

static void go_out(struct member *member)
{
    epoch_chain_end(&member->chain);
    memset(member, 0, sizeof *member);
}

static void learn(struct world *w, struct member *member)
{
    int rc = w->record ? epoch_chain_learn(&member->chain, w->record) : 0;

    if (rc == -ESTALE) /* one that lives misses none */
        EXPECT(w->wrong == UNACKNOWLEDGED || w->wrong == UNSTOPPED);
    if (rc == -ESTALE)
        go_out(member);
}

static void acknowledge(struct member *member)
{
    if (member->chain.count && member->chain.must_ack)
        member->acknowledged = member->chain.views[member->chain.count - 1]->epoch;
}

static void sweep(struct world *w, unsigned i)
{
    struct member *member = &w->members[i];
    const struct cluster_view *view = epoch_chain_to_sweep(&member->chain);

    if (!view)
        return;
    for (uint64_t key = 0; key < KEYS && w->wrong != UNSWEPT; key++)
        if (!cluster_place_is(view, &key, sizeof key, name_of(i)))
            member->held[key] = 0;
    epoch_chain_swept(&member->chain);
}

static void use(struct world *w, struct member *member, uint64_t key)
{
    if (!epoch_chain_may_serve(&member->chain, &key, sizeof key))
        return;
    if (test_chance(&w->rng, 50)) {
        member->held[key] = w->last[key] = ++w->puts;
        return;
    }
    w->gets++;
    w->hits += member->held[key] != 0;
    w->bad += member->held[key] && member->held[key] != w->last[key];
}

static void at_most_one(struct world *w)
{
    for (uint64_t key = 0; key < KEYS; key++) {
        unsigned serve = 0;

        for (unsigned i = 0; i < MEMBERS; i++)
            serve += epoch_chain_may_serve(&w->members[i].chain, &key, sizeof key);
        w->bad += serve > 1;
    }
}

static void one_step(struct world *w)
{
    unsigned i = (unsigned)test_below(&w->rng, MEMBERS);
    struct member *member = &w->members[i];
    uint64_t what = test_below(&w->rng, 200);

    if (what == 0) {
        go_out(member);
    } else if (what == 1 && member->incarnation) {
        member->ended = true;
    } else if (!member->incarnation) {
        if (what > 1)
            return;
        member->incarnation = ++w->incarnations;
        epoch_chain_begin(&member->chain, name_of(i), member->incarnation);
    } else if (what < 20) {
        lead(w);
    } else if (what < 30) {
        learn(w, member);
    } else if (what < 40) {
        acknowledge(member);
    } else if (what < 45) {
        sweep(w, i);
    } else {
        use(w, member, test_below(&w->rng, KEYS));
    }
    if (what < 45)
        at_most_one(w);
}

static void run_world(enum wrong wrong)
{
    struct world *w = &world;

    w->wrong = wrong;
    w->rng.state = wrong == RIGHT ? test_seed() : 1; /* what goes wrong must be seen each time */
    for (unsigned step = 0; step < STEPS; step++)
        one_step(w);
    printf("%" PRIu64 " epochs, %" PRIu64 " puts, %" PRIu64 " gets, %" PRIu64 " hits, %" PRIu64
           " wrong\n",
           w->epochs, w->puts, w->gets, w->hits, w->bad);
    EXPECT(w->epochs > 20 && w->hits > 0);
    EXPECT((w->bad == 0) == (wrong == RIGHT));
    for (unsigned i = 0; i < MEMBERS; i++)
        go_out(&w->members[i]);
    set_record(w, NULL);
}

/* --------------------------------------------------------------------------- records ---- */

static json_object *kv_of(const char *value)
{
    json_object *kv = json_object_new_object();

    json_object_object_add(kv, "key", etcd_bytes("p/a"));
    json_object_object_add(kv, "value", etcd_bytes(value));
    json_object_object_add(kv, "mod_revision", json_object_new_string("7"));
    json_object_object_add(kv, "create_revision", json_object_new_string("5"));
    return kv;
}

static void list_refused(const char *value)
{
    json_object *kv = kv_of(value);
    struct cluster_view *view;

    EXPECT_EQ(record_read_list(kv, &view), -EPROTO);
    json_object_put(kv);
}

static void epoch_refused(const char *value)
{
    json_object *kv = kv_of(value);
    struct record_epoch epoch;

    EXPECT_EQ(record_read_epoch(kv, &epoch), -EPROTO);
    json_object_put(kv);
}

static void members_left_out(const char *value)
{
    json_object *kvs = json_object_new_array();
    struct cluster_view *view;
    struct epoch_marks marks;

    json_object_array_add(kvs, kv_of(value));
    EXPECT_OK(record_read_members(kvs, 2, &view));
    EXPECT_EQ(view->count, 0);
    cluster_view_put(view);
    EXPECT_OK(record_read_members(kvs, 100, &view));
    cluster_view_put(view);
    EXPECT_OK(record_read_marks(kvs, 2, &marks));
    free((void *)marks.at);
    json_object_put(kvs);
}

static void round_trip(void)
{
    struct cluster_view *view, *again;
    json_object *kv;
    char *text;

    EXPECT_OK(view_parse("b=[2001:db8::1]:7,a=192.0.2.1:7", &view));
    view->epoch = 9;
    view->members[0].incarnation = UINT64_C(1) << 60;
    view->members[1].stays = true;
    view->members[0].lease_seconds = view->members[1].lease_seconds = 3;
    text = record_write_list(view);
    kv = kv_of(text);
    EXPECT_OK(record_read_list(kv, &again));
    EXPECT_EQ(again->epoch, 9);
    EXPECT_EQ(again->count, 2);
    EXPECT_EQ(memcmp(again->members, view->members, 2 * sizeof view->members[0]), 0);
    json_object_put(kv);
    free(text);
    cluster_view_put(view);
    cluster_view_put(again);
}

static void records(void)
{
    static const char *const nonsense[] = {"",
                                           "x",
                                           "{",
                                           "[]",
                                           "7",
                                           "{}",
                                           "null",
                                           "{\"epoch\":\"\",\"members\":7}",
                                           "{\"members\":{}}"};

    for (unsigned i = 0; i < sizeof nonsense / sizeof nonsense[0]; i++) {
        list_refused(nonsense[i]);
        epoch_refused(nonsense[i]);
        members_left_out(nonsense[i]);
    }
    list_refused("{\"epoch\":1,\"members\":[7]}");
    list_refused("{\"epoch\":1,\"members\":[[]]}");
    list_refused("{\"epoch\":1,\"members\":[[null,\"x\",1,true]]}");
    list_refused("{\"epoch\":1,\"members\":[[\"a\",\"x\",1,true]]}");
    list_refused("{\"epoch\":1,\"members\":[[\"a\",\"x\",1,true,0]]}");
    list_refused("{\"epoch\":1,\"members\":[[\"a\",\"x\",1,true,1000000]]}");
    list_refused("{\"epoch\":1,\"members\":[[\"a/b\",\"x\",1,true,3]]}");
    list_refused("{\"epoch\":1,\"members\":[[\"a\",\"x\",1,true,3],[\"a\",\"x\",1,true,3]]}");
    round_trip();
}

/* A member that sweeps nothing for long learns no more, and one that missed an epoch must join. */
static void chain_limits(void)
{
    struct cluster_view *views[EPOCH_CHAIN_MAX + 2];
    struct epoch_chain chain;

    epoch_chain_begin(&chain, "a", 1);
    for (unsigned i = 0; i < EPOCH_CHAIN_MAX + 2; i++) {
        EXPECT_OK(view_parse("a=x", &views[i]));
        views[i]->epoch = i + 1;
    }
    for (unsigned i = 0; i < EPOCH_CHAIN_MAX; i++)
        EXPECT_OK(epoch_chain_learn(&chain, views[i]));
    EXPECT_EQ(epoch_chain_learn(&chain, views[EPOCH_CHAIN_MAX]), -EAGAIN);
    EXPECT_EQ(epoch_chain_learn(&chain, views[EPOCH_CHAIN_MAX + 1]), -ESTALE);
    epoch_chain_swept(&chain);
    EXPECT_OK(epoch_chain_learn(&chain, views[EPOCH_CHAIN_MAX]));
    epoch_chain_end(&chain);
    for (unsigned i = 0; i < EPOCH_CHAIN_MAX + 2; i++)
        cluster_view_put(views[i]);
}

static int run(int argc, char **argv)
{
    enum wrong wrong = argc < 2                            ? RIGHT
                       : strcmp(argv[1], "unswept") == 0   ? UNSWEPT
                       : strcmp(argv[1], "unstopped") == 0 ? UNSTOPPED
                                                           : UNACKNOWLEDGED;

    run_world(wrong);
    if (wrong == RIGHT) {
        records();
        chain_limits();
    }
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, run);
}
