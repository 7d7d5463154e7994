/* SPDX-License-Identifier: MIT */
/*
 * The second owner of a key, and what it does for the first one. It obeys only the member that is
 * the first owner in its own newest epoch. That member must have judged by the same epoch. And only
 * its newest connection counts: what it has sent on one that it gave up may come later.
 * docs/CLUSTER.md has the argument.
 */
#include "session.h"

#include <errno.h>
#include <stdlib.h>

static struct newest *find_newest(struct hfx_server *server, uint64_t first)
{
    for (uint32_t i = 0; i < server->newest_count; i++)
        if (server->newest[i].first == first)
            return &server->newest[i];
    return NULL;
}

/* Incarnations grow, and one that has left never comes back. */
static bool has_left(const struct cluster_view *view, uint64_t first)
{
    bool later = false;

    for (uint32_t i = 0; i < view->count; i++) {
        if (view->members[i].incarnation == first)
            return false;
        later |= view->members[i].incarnation > first;
    }
    return later;
}

static void forget_left(struct hfx_server *server)
{
    const struct cluster_view *view = cluster_view_get(server->members);
    uint32_t to = 0;

    for (uint32_t i = 0; view && i < server->newest_count; i++)
        if (!has_left(view, server->newest[i].first))
            server->newest[to++] = server->newest[i];
    if (view)
        server->newest_count = to;
    cluster_view_put(view);
}

static struct newest *add_newest(struct hfx_server *server, uint64_t first)
{
    struct newest *more;

    if (server->newest_count == server->newest_room)
        forget_left(server);
    if (server->newest_count == server->newest_room) {
        more = realloc(server->newest, (server->newest_room * 2 + 16) * sizeof *more);
        if (!more)
            return NULL;
        server->newest = more;
        server->newest_room = server->newest_room * 2 + 16;
    }
    more = &server->newest[server->newest_count++];
    *more = (struct newest){.first = first};
    return more;
}

void kept_greet(struct session *session, const struct wire_request *request)
{
    struct newest *newest = find_newest(session->server, request->address);

    if (session->first || !request->address) {
        session->lost = "a member says twice which one it is";
        return;
    }
    if (!newest)
        newest = add_newest(session->server, request->address);
    if (!newest) {
        session->lost = "no memory for another member";
        return;
    }
    session->first = request->address;
    session->connection = request->key;
    if (newest->connection < session->connection)
        newest->connection = session->connection;
}

static bool is_newest(const struct session *session)
{
    const struct newest *newest = find_newest(session->server, session->first);

#ifdef HF_CLUSTER_LAB
    if (cluster_lab_obeys_old)
        return true;
#endif
    return newest && newest->connection == session->connection;
}

int kept_begin(struct session *session, const struct hfc_key *key, uint64_t epoch,
               uint64_t until_ns)
{
    struct cluster_members *members = session->server->members;

    if (!session->first || !is_newest(session) ||
        !cluster_serve_as_second(members, key->bytes, key->len, epoch, session->first))
        return -ESTALE;
    if (members_now_ns() < until_ns)
        return 0;
    cluster_serve_end(members);
    return -ETIMEDOUT;
}

void kept_change(struct session *session, const struct wire_request *request,
                 const struct hfc_key *key)
{
    struct hfc *cache = session->server->cache;
    int rc = request->head.kind == WIRE_DROP
                 ? hfc_remove(cache, key)
                 : hfc_put(cache, key, (const uint8_t *)key->bytes + key->len, request->length);

    session->server->calls->answer(session, request->head.number, rc, request->length);
}
