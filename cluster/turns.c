/* SPDX-License-Identifier: MIT */
/*
 * The first owner of a key that has a second one. Puts, removals, and gets that find nothing here
 * take turns: one at a time for each key. So the second owner is asked in the order in which this
 * member changes its own copy.
 *
 * A put is kept by the second owner first, and then becomes visible here. So what the second owner
 * has is never older than what the first one has answered with, also if either dies in between. A
 * get that finds nothing here takes the second owner's copy, and keeps it.
 *
 * The memory of a put is read by the second owner until the link has its answer or is closed. A
 * turn lasts until then, even if its own client has gone.
 */
#include "client.h"
#include "session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#define ANSWER_NS UINT64_C(1000000000) /* of the second owner; a client waits for longer */
#define LOCAL_PIECES 4

/* A request as it came, without the bytes of a put. */
struct message {
    struct wire_request request;
    uint8_t key[HFC_KEY_MAX];
};

struct turn {
    struct request request; /* to the second owner; the first member */
    struct turn *next;      /* of its bucket, or behind the same turn */
    struct turn *behind, **last_behind, *next_ready;
    struct hfx_server *server;
    struct session *session; /* null: it has gone */
    uint64_t epoch, self;    /* by which it was judged */
    struct hfc_put *put;     /* null: what is in `bytes` */
    const void *from;        /* the bytes of a put, in one piece */
    void *bytes;             /* memory of the turn itself, or null */
    struct message message;
};

static struct hfc_key turn_key(const struct turn *turn)
{
    return session_key(&turn->message.request);
}

/* ---- turns of a key ---- */

static struct turn **turn_bucket(struct hfx_server *server, const struct hfc_key *key)
{
    return &server->turns[cluster_place_hash_of(key->bytes, key->len) % TURN_BUCKETS];
}

static struct turn *find_turn(struct hfx_server *server, const struct hfc_key *key)
{
    struct turn *turn = *turn_bucket(server, key);

    for (; turn; turn = turn->next) {
        const struct hfc_key other = turn_key(turn);

        if (other.space == key->space && other.len == key->len &&
            memcmp(other.bytes, key->bytes, key->len) == 0)
            return turn;
    }
    return NULL;
}

static struct turn *new_turn(struct session *session, const struct wire_request *request,
                             const struct hfc_key *key)
{
    struct turn *turn;

    if (session->turns >= WIRE_DEPTH) {
        session->lost = "it has more requests under way than a connection may have";
        return NULL;
    }
    turn = calloc(1, sizeof *turn);
    if (!turn) {
        session->server->calls->answer(session, request->head.number, -ENOMEM, 0);
        return NULL;
    }
    turn->server = session->server;
    turn->session = session;
    turn->last_behind = &turn->behind;
    turn->message.request = *request;
    memcpy(turn->message.key, key->bytes, key->len);
    session->turns++;
    session->server->turns_count++;
    return turn;
}

static void be_behind(struct turn *first, struct turn *turn)
{
    turn->next = NULL;
    *first->last_behind = turn;
    first->last_behind = &turn->next;
}

static void be_ready(struct turn *turn)
{
    struct turn **at = &turn->server->ready;

    while (*at)
        at = &(*at)->next_ready;
    turn->next_ready = NULL;
    *at = turn;
}

/* Those that waited for it wait for the first of them. */
static void let_next_begin(struct turn *turn, struct turn **at)
{
    struct turn *next = turn->behind;

    if (!next) {
        *at = turn->next;
        return;
    }
    next->behind = next->next;
    next->last_behind = next->behind ? turn->last_behind : &next->behind;
    next->next = turn->next;
    *at = next;
    be_ready(next);
}

static void end_turn(struct turn *turn)
{
    const struct hfc_key key = turn_key(turn);
    struct turn **at = turn_bucket(turn->server, &key);

    while (*at != turn)
        at = &(*at)->next;
    let_next_begin(turn, at);
    if (turn->put)
        hfc_put_abort(turn->put);
    if (turn->session)
        turn->session->turns--;
    turn->server->turns_count--;
    free(turn->bytes);
    free(turn);
}

static void answer_turn(struct turn *turn, int status)
{
    if (turn->session)
        turn->session->server->calls->answer(turn->session, turn->message.request.head.number,
                                             status, turn->message.request.length);
    end_turn(turn);
}

/* ---- asking the second owner ---- */

static void close_links(struct hfx *peers)
{
    for (struct link *link = peers->links; link; link = link->next)
        link_close(link, -ENOTCONN, "this member is another one by now");
}

/* -ENOMEM. Links say which incarnation this member is. */
static int open_peers(struct hfx_server *server, uint64_t self)
{
    struct epoll_event event = {.events = EPOLLIN};

    if (!server->peers) {
        server->peers = client_new(server->secret, ANSWER_NS);
        if (!server->peers)
            return -ENOMEM;
        epoll_ctl(server->net.waits, EPOLL_CTL_ADD, server->peers->waits, &event);
    }
    if (server->peers->incarnation != self)
        close_links(server->peers);
    server->peers->incarnation = self;
    return 0;
}

static void ask_second(struct turn *turn, const struct cluster_member *second, enum wire_kind kind,
                       const void *bytes, uint64_t length)
{
    struct hfx_server *server = turn->server;
    const struct wire_request *message = &turn->message.request;
    int rc = open_peers(server, turn->self);
    struct link *link = rc ? NULL : link_find(server->peers, second);

    if (!link) {
        answer_turn(turn, -ENOMEM);
        return;
    }
    turn->request = (struct request){.cluster = server->peers,
                                     .kind = kind,
                                     .begun = true,
                                     .deadline_ns = server->now_ns + ANSWER_NS,
                                     .length = length,
                                     .epoch = turn->epoch,
                                     .bytes = (void *)(uintptr_t)bytes,
                                     .space = message->space,
                                     .key_len = message->head.key_len};
    memcpy(turn->request.key, turn->message.key, message->head.key_len);
    link_add(link, &turn->request, server->now_ns);
}

/* ---- puts and removals ---- */

/* -ESTALE: it may not any more. Else true until cluster_serve_end(). */
static bool still_first(const struct turn *turn)
{
    const struct hfc_key key = turn_key(turn);
    struct cluster_owners owners;

    if (!cluster_serve_as_first(turn->server->members, key.bytes, key.len, &owners))
        return false;
    if (owners.epoch == turn->epoch && owners.self == turn->self)
        return true;
    cluster_serve_end(turn->server->members);
    return false;
}

static int store_here(struct turn *turn)
{
    const struct hfc_key key = turn_key(turn);
    struct hfc_put *put = turn->put;

    turn->put = NULL;
    return put ? hfc_put_commit(put, turn->message.request.length)
               : hfc_put(turn->server->cache, &key, turn->from, turn->message.request.length);
}

static int remove_here(const struct turn *turn, int64_t there)
{
    const struct hfc_key key = turn_key(turn);
    int rc = hfc_remove(turn->server->cache, &key);

    return rc == -ENOENT ? (int)there : rc;
}

/* The second owner has done it, or there is none. */
static void change_here(struct turn *turn, int64_t there, int otherwise)
{
    int rc = otherwise;

    if (still_first(turn)) {
        if (members_now_ns() >= turn->message.request.head.time)
            rc = -ETIMEDOUT;
        else if (turn->message.request.head.kind == WIRE_PUT)
            rc = store_here(turn);
        else
            rc = remove_here(turn, there);
        cluster_serve_end(turn->server->members);
    }
    answer_turn(turn, rc);
}

static void start_change(struct turn *turn, const struct cluster_owners *owners)
{
    const struct wire_request *message = &turn->message.request;

    if (message->head.kind == WIRE_PUT && !turn->from)
        answer_turn(turn, -ENOMEM);
    else if (!owners->has_second)
        change_here(turn, -ENOENT, -ESTALE);
    else if (message->head.kind == WIRE_PUT)
        ask_second(turn, &owners->second, WIRE_KEEP, turn->from, message->length);
    else
        ask_second(turn, &owners->second, WIRE_DROP, NULL, 0);
}

static void take_change(struct turn *turn)
{
    int64_t result = turn->request.result;
    bool done = result == 0 || (result == -ENOENT && turn->request.kind == WIRE_DROP);

    if (done)
        change_here(turn, result, -ENOTCONN); /* it may be done by now */
    else
        answer_turn(turn, (int)result);
}

/* ---- gets that find nothing here ---- */

static void answer_read(struct turn *turn)
{
    if (turn->session)
        turn->session->server->calls->read(turn->session, &turn->message.request, true);
    end_turn(turn);
}

static void start_read(struct turn *turn, const struct cluster_owners *owners)
{
    bool answered =
        !turn->session || turn->session->server->calls->read(turn->session, &turn->message.request,
                                                             !owners->has_second);

    if (answered) {
        end_turn(turn);
        return;
    }
    turn->bytes = malloc(WIRE_INLINE);
    if (turn->bytes)
        ask_second(turn, &owners->second, WIRE_COPY, turn->bytes, WIRE_INLINE);
    else
        answer_turn(turn, -ENOMEM);
}

/* It is larger than a message. Memory of the cache, if it is in one piece. */
static bool make_copy_room(struct turn *turn, uint64_t length)
{
    const struct hfc_key key = turn_key(turn);
    struct iovec pieces[LOCAL_PIECES];
    int count = hfc_put_begin(turn->server->cache, &key, length, HF_PIN_CPU, pieces, LOCAL_PIECES,
                              &turn->put);

    free(turn->bytes);
    turn->bytes = NULL;
    if (count == 1) {
        turn->from = pieces[0].iov_base;
        return true;
    }
    if (count > 1)
        hfc_put_abort(turn->put);
    turn->put = NULL;
    turn->from = turn->bytes = malloc(length);
    return turn->bytes != NULL;
}

static void ask_for_all(struct turn *turn)
{
    const struct hfc_key key = turn_key(turn);
    struct cluster_owners owners;
    uint64_t length = turn->request.needs;

    if (!cluster_serve_as_first(turn->server->members, key.bytes, key.len, &owners)) {
        answer_turn(turn, -ESTALE);
        return;
    }
    cluster_serve_end(turn->server->members);
    if (owners.epoch != turn->epoch)
        answer_turn(turn, -ESTALE);
    else if (length <= WIRE_INLINE || !make_copy_room(turn, length))
        answer_turn(turn, -ENOMEM);
    else
        ask_second(turn, &owners.second, WIRE_COPY, turn->from, length);
}

/* Here it is a copy like that of a put. */
static int keep_copy(struct turn *turn)
{
    const uint64_t room = turn->message.request.length;
    int rc = -ESTALE;

    turn->message.request.length = (uint64_t)turn->request.result;
    turn->from = turn->request.bytes;
    if (still_first(turn)) {
        rc = store_here(turn);
        cluster_serve_end(turn->server->members);
    }
    turn->message.request.length = room;
    return rc;
}

static void take_copy(struct turn *turn)
{
    int rc = (int)turn->request.result;

    if (turn->request.result == -EMSGSIZE && turn->request.length == WIRE_INLINE) {
        ask_for_all(turn);
        return;
    }
    if (turn->request.result > 0)
        rc = keep_copy(turn);
    if (rc == 0 || rc == -ENOENT)
        answer_read(turn);
    else
        answer_turn(turn, rc); /* the object may be there */
}

/* ---- one turn after the other ---- */

static void begin_turn(struct turn *turn)
{
    const struct hfc_key key = turn_key(turn);
    struct cluster_members *members = turn->server->members;
    struct cluster_owners owners;
    bool reads =
        turn->message.request.head.kind == WIRE_GET || turn->message.request.head.kind == WIRE_STAT;

    if (!cluster_serve_as_first(members, key.bytes, key.len, &owners)) {
        answer_turn(turn, -ESTALE);
        return;
    }
    cluster_serve_end(members);
    turn->epoch = owners.epoch;
    turn->self = owners.self;
    if (!owners.may_write)
        answer_turn(turn, -ESTALE);
    else if (reads)
        start_read(turn, &owners);
    else
        start_change(turn, &owners);
}

static void add_turn(struct turn *turn)
{
    const struct hfc_key key = turn_key(turn);
    struct turn *first = find_turn(turn->server, &key), **bucket;

    if (first) {
        be_behind(first, turn);
        return;
    }
    bucket = turn_bucket(turn->server, &key);
    turn->next = *bucket;
    *bucket = turn;
    begin_turn(turn);
}

bool turn_takes(struct session *session, const struct wire_request *request)
{
    const struct hfc_key key = session_key(request);
    bool puts = request->head.kind == WIRE_PUT;
    struct turn *turn;

    if (puts && !request->head.inlined)
        return false; /* its bytes come first */
    if (!puts && request->head.kind != WIRE_REMOVE && !find_turn(session->server, &key))
        return false;
    turn = new_turn(session, request, &key);
    if (!turn)
        return true;
    session->server->counts.removals += request->head.kind == WIRE_REMOVE;
    session->server->counts.puts += puts;
    if (puts) {
        turn->bytes = malloc(request->length);
        turn->from = turn->bytes;
    }
    if (puts && turn->bytes)
        memcpy(turn->bytes, (const uint8_t *)key.bytes + key.len, request->length);
    add_turn(turn);
    return true;
}

void turn_read(struct session *session, const struct wire_request *request)
{
    const struct hfc_key key = session_key(request);
    struct turn *turn = new_turn(session, request, &key);

    if (turn)
        add_turn(turn);
}

/* In one piece, for the second owner to read. */
static bool gather(struct turn *turn, const struct transfer *transfer)
{
    uint8_t *to;

    if (transfer->pieces == 1) {
        turn->from = transfer->iov[0].iov_base;
        return true;
    }
    to = turn->bytes = malloc(transfer->length);
    turn->from = to;
    for (uint64_t i = 0, left = transfer->length; to && left; i++) {
        uint64_t len = transfer->iov[i].iov_len < left ? transfer->iov[i].iov_len : left;

        memcpy(to, transfer->iov[i].iov_base, len);
        to += len;
        left -= len;
    }
    return to != NULL;
}

void turn_put(struct session *session, struct transfer *transfer)
{
    struct message message = {
        .request = {.length = transfer->length,
                    .space = transfer->name.space,
                    .head = {.number = transfer->number, .time = transfer->until_ns}}};
    struct turn *turn;

    wire_begin(&message.request.head, WIRE_PUT, transfer->name.len, 0);
    turn = new_turn(session, &message.request, &transfer->name);
    if (!turn) {
        hfc_put_abort(transfer->put);
        return;
    }
    turn->put = transfer->put;
    gather(turn, transfer);
    add_turn(turn);
}

void turns_forget(struct session *session)
{
    for (unsigned i = 0; i < TURN_BUCKETS; i++)
        for (struct turn *first = session->server->turns[i]; first; first = first->next) {
            if (first->session == session)
                first->session = NULL;
            for (struct turn *turn = first->behind; turn; turn = turn->next)
                if (turn->session == session)
                    turn->session = NULL;
        }
}

static void take_results(struct hfx_server *server)
{
    struct request *request;

    while ((request = queue_take(&server->peers->results))) {
        struct turn *turn = (struct turn *)request;

        if (request->kind == WIRE_COPY)
            take_copy(turn);
        else
            take_change(turn);
    }
}

static bool begin_ready(struct hfx_server *server)
{
    struct turn *turn = server->ready;

    if (!turn)
        return false;
    server->ready = turn->next_ready;
    begin_turn(turn);
    return true;
}

bool turns_poll(struct hfx_server *server)
{
    bool any = false;

    if (!server->peers)
        return begin_ready(server);
    for (struct link *link = server->peers->links; link; link = link->next)
        any |= link_poll(link, server->now_ns);
    do
        take_results(server);
    while (begin_ready(server));
    for (struct link *link = server->peers->links; link; link = link->next)
        if (link->state == LINK_OPEN)
            peer_flush(&link->peer);
    return any;
}

bool turns_may_sleep(const struct hfx_server *server)
{
    if (server->ready)
        return false;
    for (struct link *link = server->peers ? server->peers->links : NULL; link; link = link->next)
        if (link->state != LINK_DOWN && !peer_may_sleep(&link->net))
            return false;
    return true;
}

void turns_end(struct hfx_server *server)
{
    if (!server->peers)
        return;
    while (server->turns_count) {
        close_links(server->peers);
        do
            take_results(server);
        while (begin_ready(server));
    }
    client_free(server->peers);
    server->peers = NULL;
}
