/* SPDX-License-Identifier: MIT */
/*
 * The rule of epochs. An epoch is proposed with the members that live, and becomes active when each
 * member that stays has acknowledged it or has stopped. The next one is proposed only then. So a
 * member that lives sees every epoch, and between any two that it has acknowledged there is none
 * that it does not know.
 *
 * A member serves a key if the key is its own in all views of its chain. While the newest is only
 * proposed, the one before is among them: a key that moves is then served by nobody. An older copy
 * of a key may lie in the member's memory if the key was another's meanwhile. Then a view in which
 * it was another's is among them too, until a sweep has dropped the copy.
 */
#include "epoch.h"

#include "place.h"
#include "view.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int order_marks(const void *name, const void *mark)
{
    return strcmp(name, ((const struct epoch_mark *)mark)->name);
}

bool epoch_is_marked(struct epoch_marks marks, const struct cluster_member *member)
{
    const struct epoch_mark *mark =
        marks.count ? bsearch(member->name, marks.at, marks.count, sizeof *marks.at, order_marks)
                    : NULL;

    return mark && mark->incarnation == member->incarnation;
}

bool epoch_lives(const struct cluster_view *living, const struct cluster_member *member)
{
    const struct cluster_member *found = view_find(living, member->name);

    return found && found->incarnation == member->incarnation;
}

static bool same_members(const struct cluster_view *view, const struct cluster_view *living)
{
    if (view->count != living->count)
        return false;
    for (uint32_t i = 0; i < view->count; i++)
        if (strcmp(view->members[i].name, living->members[i].name) != 0 ||
            view->members[i].incarnation != living->members[i].incarnation)
            return false;
    return true;
}

/* A member of an active epoch may serve until it has stopped. One of a proposed epoch serves by the
 * epoch before it, until it acknowledges. */
static bool holds_up(const struct cluster_view *view, const struct cluster_member *member,
                     const struct cluster_view *living, struct epoch_marks stopped,
                     struct epoch_marks acks)
{
    if (!epoch_lives(living, member))
        return (view->active || member->stays) && !epoch_is_marked(stopped, member);
    return !view->active && member->stays && !epoch_is_marked(acks, member);
}

enum epoch_step epoch_next(const struct cluster_view *view, const struct cluster_view *living,
                           struct epoch_marks stopped, struct epoch_marks acks)
{
    if (!view)
        return living->count ? EPOCH_PROPOSE : EPOCH_KEEP;
    for (uint32_t i = 0; i < view->count; i++)
        if (holds_up(view, &view->members[i], living, stopped, acks))
            return EPOCH_KEEP;
    if (!view->active)
        return EPOCH_ACTIVATE;
    return same_members(view, living) ? EPOCH_KEEP : EPOCH_PROPOSE;
}

struct cluster_view *epoch_propose(const struct cluster_view *view,
                                   const struct cluster_view *living)
{
    struct cluster_view *next = view_new(living->count);

    if (!next)
        return NULL;
    next->epoch = view ? view->epoch + 1 : 1;
    next->replicas = view ? view->replicas : living->replicas;
    memcpy(next->members, living->members, living->count * sizeof living->members[0]);
    for (uint32_t i = 0; i < next->count; i++)
        next->members[i].stays = view && epoch_lives(view, &next->members[i]);
    return next;
}

void epoch_chain_begin(struct epoch_chain *chain, const char *name, uint64_t incarnation)
{
    memset(chain, 0, sizeof *chain);
    strcpy(chain->name, name);
    chain->incarnation = incarnation;
}

void epoch_chain_end(struct epoch_chain *chain)
{
    while (chain->count)
        cluster_view_put(chain->views[--chain->count]);
    chain->incarnation = 0;
}

static void set_newest(struct epoch_chain *chain, const struct cluster_view *view, uint32_t place)
{
    const struct cluster_member *self = view_find(view, chain->name);

    if (place < chain->count)
        cluster_view_put(chain->views[place]);
    chain->views[place] = view_again(view);
    chain->count = place + 1;
    chain->is_in = self && self->incarnation == chain->incarnation;
    chain->must_ack = chain->is_in && self->stays && !view->active;
}

/* The first view that has the member: it has nothing in its memory yet. */
static void set_first(struct epoch_chain *chain, const struct cluster_view *view)
{
    while (chain->count)
        cluster_view_put(chain->views[--chain->count]);
    set_newest(chain, view, 0);
}

int epoch_chain_learn(struct epoch_chain *chain, const struct cluster_view *view)
{
    const struct cluster_view *newest = chain->count ? chain->views[chain->count - 1] : NULL;
    const struct cluster_member *self = view_find(view, chain->name);

    if (newest && view->epoch == newest->epoch) {
        set_newest(chain, view, chain->count - 1);
        return 0;
    }
    if (!newest || !chain->is_in) {
        set_first(chain, view);
        return 0;
    }
    if (view->epoch != newest->epoch + 1 || !self || self->incarnation != chain->incarnation)
        return cluster_fail(-ESTALE, "the cluster went on to epoch %" PRIu64 " without this member",
                            view->epoch);
    if (chain->count == EPOCH_CHAIN_MAX)
        return -EAGAIN;
    set_newest(chain, view, chain->count);
    return 0;
}

const struct cluster_view *epoch_chain_to_sweep(const struct epoch_chain *chain)
{
    /* An epoch that another one follows has been active. */
    return chain->count > 2 || (chain->count == 2 && chain->views[1]->active) ? chain->views[1]
                                                                              : NULL;
}

void epoch_chain_swept(struct epoch_chain *chain)
{
    cluster_view_put(chain->views[0]);
    chain->count--;
    memmove(chain->views, chain->views + 1, chain->count * sizeof chain->views[0]);
}

/* The members of the newest view that have the key, best first. 0: what this member has of it may
 * be out of date. */
static unsigned find_owners(const struct epoch_chain *chain, const void *key, size_t length,
                            const struct cluster_member *owners[CLUSTER_REPLICAS_MAX])
{
    const struct cluster_view *newest;
    uint32_t places[CLUSTER_REPLICAS_MAX];
    unsigned count;

    if (!chain->is_in || (chain->count == 1 && !chain->views[0]->active))
        return 0;
    for (uint32_t i = chain->count; i-- > 0;)
        if (!cluster_place_has(chain->views[i], key, length, chain->name))
            return 0;
    newest = chain->views[chain->count - 1];
    count = cluster_place(newest, key, length, newest->replicas, places);
    for (unsigned i = 0; i < count; i++)
        owners[i] = &newest->members[places[i]];
    return count;
}

/* The view that is in force while the newest one is only proposed, or the newest one. */
static const struct cluster_view *view_in_force(const struct epoch_chain *chain)
{
    const struct cluster_view *newest = chain->views[chain->count - 1];

    return newest->active ? newest : chain->views[chain->count - 2];
}

static bool has_same_owners(const struct cluster_view *view, const void *key, size_t length,
                            const struct cluster_member *const *owners, unsigned count)
{
    uint32_t places[CLUSTER_REPLICAS_MAX];

    if (cluster_place(view, key, length, view->replicas, places) != count)
        return false;
    for (unsigned i = 0; i < count; i++)
        if (strcmp(view->members[places[i]].name, owners[i]->name) != 0 ||
            view->members[places[i]].incarnation != owners[i]->incarnation)
            return false;
    return true;
}

static bool is_self(const struct epoch_chain *chain, const struct cluster_member *owner)
{
    return strcmp(owner->name, chain->name) == 0;
}

bool epoch_chain_may_serve(const struct epoch_chain *chain, const void *key, size_t length)
{
    const struct cluster_member *owners[CLUSTER_REPLICAS_MAX];

    return find_owners(chain, key, length, owners) > 0 && is_self(chain, owners[0]) &&
           cluster_place_is(view_in_force(chain), key, length, chain->name);
}

bool epoch_chain_is_first(const struct epoch_chain *chain, const void *key, size_t length,
                          struct cluster_owners *out)
{
    const struct cluster_member *owners[CLUSTER_REPLICAS_MAX];
    unsigned count = find_owners(chain, key, length, owners);
    const struct cluster_view *newest;

    if (count == 0 || !is_self(chain, owners[0]) ||
        !cluster_place_is(view_in_force(chain), key, length, chain->name))
        return false;
    newest = chain->views[chain->count - 1];
    out->epoch = newest->epoch;
    out->self = chain->incarnation;
    out->replicas = newest->replicas;
    out->may_write = has_same_owners(view_in_force(chain), key, length, owners, count);
    out->has_second = count > 1;
    if (out->has_second)
        out->second = *owners[1];
    return true;
}

bool epoch_chain_is_second(const struct epoch_chain *chain, const void *key, size_t length,
                           uint64_t epoch, uint64_t first)
{
    const struct cluster_member *owners[CLUSTER_REPLICAS_MAX];
    unsigned count = find_owners(chain, key, length, owners);

    return count == 2 && is_self(chain, owners[1]) && owners[0]->incarnation == first &&
           chain->views[chain->count - 1]->epoch == epoch &&
           has_same_owners(view_in_force(chain), key, length, owners, count);
}
