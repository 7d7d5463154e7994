/* SPDX-License-Identifier: MIT */
/*
 * A server: a thread that answers peers from a cache. Only the server moves bytes. A get writes
 * the object into memory that the client has lent, and the object is held (hfc_get()) until the
 * write has ended. A put reads the client's memory into a put of the cache, and commits it then.
 *
 * So a client can never keep an object by being silent. A connection on which nothing goes on for
 * stall_ns is closed. After the close nothing moves, so objects are released and puts given up.
 *
 * The numbers of a connection's requests grow. A request whose number does not has come before, and
 * is not served. Else a put that comes late would bring a removed object back. For the same reason
 * a change is not done after its time-out: a network may keep it for long after its connection was
 * closed. The server judges by its own clock, under the lock that keeps new epochs out.
 */
#include "session.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define HELLO_NS UINT64_C(5000000000)  /* for a stranger to prove the secret */
#define IDLE_NS UINT64_C(600000000000) /* a connection without requests */
#define LEAVE_NS UINT64_C(2000000000)  /* for transfers that are under way at the close */
/* The next request of a client that waits for each answer comes in less. One that has many under
 * way does not wait for a wake-up, and polling would only take its CPU. */
#define SPIN_NS UINT64_C(200000)
#define SPIN_MANY_NS UINT64_C(10000)
#define FEW 4u         /* messages that come at once */
#define FRAMES_MAX 64u /* that a client has not taken */
#define TICK_MS 100
#define SESSIONS_MAX 1024u
#define STRANGERS_MAX 64u
#define MOVES 2u                        /* of a transfer, at once */
#define CHUNK_BYTES (UINT64_C(1) << 20) /* other requests come between those of a large object */
#define PIECES_MAX 65536

static struct session *session_of(struct peer *peer)
{
    return (struct session *)peer;
}

/* ---- answers ---- */

static void send_message(struct session *session, struct wire_head *head)
{
    struct hfx_server *server = session->server;
    const struct cluster_view *view = cluster_view_get(server->members);
    int rc;

    head->epoch = view ? view->epoch : 0;
    head->time = members_now_ns();
    cluster_view_put(view);
    if (session->peer.sending >= FRAMES_MAX)
        session->lost = "it does not take its answers";
    rc = peer_send(&session->peer, head);
    if (rc)
        session->lost = "an answer could not be sent";
}

static void answer_request(struct session *session, uint64_t number, int status, uint64_t length)
{
    struct wire_answer out = {.status = status, .length = length, .head = {.number = number}};

    wire_begin(&out.head, WIRE_ANSWER, 0, 0);
    send_message(session, &out.head);
}

/* An answer with bytes behind it. */
struct full_answer {
    struct wire_answer answer;
    uint8_t bytes[WIRE_INLINE];
};

static void answer_inline(struct session *session, uint64_t number, struct full_answer *full,
                          size_t bytes)
{
    wire_begin(&full->answer.head, WIRE_ANSWER, 0, bytes);
    full->answer.head.number = number;
    send_message(session, &full->answer.head);
}

/* ---- transfers ---- */

static struct transfer *take_transfer(struct session *session)
{
    for (unsigned i = 0; i < WIRE_DEPTH; i++) {
        struct transfer *transfer = &session->transfers[i];

        if (!transfer->busy) {
            session->busy++;
            *transfer = (struct transfer){.busy = true, .iov = transfer->own, .room = OWN_PIECES};
            return transfer;
        }
    }
    session->lost = "it has more requests under way than a connection may have";
    return NULL;
}

static void end_transfer(struct session *session, struct transfer *transfer)
{
    if (transfer->iov != transfer->own)
        free(transfer->iov);
    transfer->busy = false;
    session->busy--;
}

/* Before a change of that time-out, and cluster_serve_end() after it. -ESTALE: its machine is
 * another one by now. -ETIMEDOUT: its client has given it up, or is about to. */
static int begin_timed_change(struct hfx_server *server, const struct hfc_key *key,
                              uint64_t until_ns)
{
    if (!cluster_serve_begin(server->members, key->bytes, key->len))
        return -ESTALE;
    if (members_now_ns() < until_ns
#ifdef HF_CLUSTER_LAB
        || cluster_lab_serves_late
#endif
    )
        return 0;
    cluster_serve_end(server->members);
    return -ETIMEDOUT;
}

static int commit_begin(struct session *session, const struct transfer *transfer)
{
    return transfer->keeps
               ? kept_begin(session, &transfer->name, transfer->epoch, transfer->until_ns)
               : begin_timed_change(session->server, &transfer->name, transfer->until_ns);
}

static int commit_transfer(struct session *session, struct transfer *transfer)
{
    int rc;

    if (transfer->error == 0)
        transfer->error = commit_begin(session, transfer);
    if (transfer->error) {
        hfc_put_abort(transfer->put);
        return transfer->error;
    }
    rc = hfc_put_commit(transfer->put, transfer->length);
    cluster_serve_end(session->server->members);
    return rc;
}

/* All of its moves have ended. The answer to a get was posted after its last write. */
static void finish_transfer(struct session *session, struct transfer *transfer)
{
    if (!transfer->putting)
        hfc_release(&transfer->ref);
    else if (transfer->error == 0 && transfer->replicated)
        turn_put(session, transfer);
    else
        answer_request(session, transfer->number, commit_transfer(session, transfer),
                       transfer->length);
    end_transfer(session, transfer);
}

static int post_chunk(struct session *session, struct transfer *transfer)
{
    const struct iovec *piece = &transfer->iov[transfer->at];
    uint64_t len = piece->iov_len - transfer->off;
    char *place = (char *)piece->iov_base + transfer->off;
    uint64_t remote = transfer->remote + transfer->posted;
    int rc;

    if (len > transfer->length - transfer->posted)
        len = transfer->length - transfer->posted;
    if (len > CHUNK_BYTES)
        len = CHUNK_BYTES;
    rc = transfer->putting
             ? peer_read(&session->peer, place, len, remote, transfer->key, transfer)
             : peer_write(&session->peer, place, len, remote, transfer->key, transfer);
    if (rc)
        return rc;
    transfer->moving++;
    transfer->posted += len;
    transfer->off += len;
    if (transfer->off == piece->iov_len) {
        transfer->at++;
        transfer->off = 0;
    }
    return 0;
}

static void advance(struct session *session, struct transfer *transfer)
{
    while (transfer->error == 0 && transfer->posted < transfer->length &&
           transfer->moving < MOVES) {
        transfer->error = post_chunk(session, transfer);
        if (transfer->error == 0 && transfer->posted == transfer->length && !transfer->putting)
            answer_request(session, transfer->number, 0, transfer->length);
    }
    if (transfer->error)
        session->lost = "bytes could not be moved";
    if (transfer->moving == 0)
        finish_transfer(session, transfer);
}

static void server_moved(struct peer *peer, void *arg, int error)
{
    struct session *session = session_of(peer);
    struct transfer *transfer = arg;

    session->moved_ns = session->server->now_ns;
    transfer->moving--;
    if (error && transfer->error == 0)
        transfer->error = error;
    advance(session, transfer);
}

/* ---- requests ---- */

/* For four times as many pieces. */
static bool has_more_pieces(struct transfer *transfer)
{
    int room = transfer->room * 4;
    struct iovec *more;

    if (room > PIECES_MAX)
        return false;
    more = malloc((size_t)room * sizeof *more);
    if (!more)
        return false;
    if (transfer->iov != transfer->own)
        free(transfer->iov);
    transfer->iov = more;
    transfer->room = room;
    return true;
}

/* Its pieces, held; or -errno. */
static int hold_for_peer(struct hfx_server *server, const struct hfc_key *key,
                         struct transfer *transfer)
{
    int rc;

    do
        rc = hfc_get(server->cache, key, transfer->iov, transfer->room, &transfer->ref);
    while (rc == -E2BIG && has_more_pieces(transfer));
    return rc;
}

static uint64_t bytes_in_pieces(const struct iovec *iov, int pieces)
{
    uint64_t bytes = 0;

    for (int i = 0; i < pieces; i++)
        bytes += iov[i].iov_len;
    return bytes;
}

static void answer_small(struct session *session, uint64_t number, const struct transfer *transfer,
                         int pieces, uint64_t length)
{
    struct full_answer full;
    uint8_t *at = full.bytes;

    full.answer = (struct wire_answer){.length = length};
    for (int i = 0; i < pieces; i++) {
        memcpy(at, transfer->iov[i].iov_base, transfer->iov[i].iov_len);
        at += transfer->iov[i].iov_len;
    }
    answer_inline(session, number, &full, length);
}

/* It is held. Answers at once if it is small or does not fit, else the bytes go first. */
static void give_object(struct session *session, const struct wire_request *request,
                        struct transfer *transfer, int pieces)
{
    uint64_t length = bytes_in_pieces(transfer->iov, pieces), number = request->head.number;

    if (length > request->length) {
        answer_request(session, number, -EMSGSIZE, length);
    } else if (length <= WIRE_INLINE) {
        answer_small(session, number, transfer, pieces, length);
    } else {
        transfer->number = number;
        transfer->remote = request->address;
        transfer->key = request->key;
        transfer->length = length;
        advance(session, transfer);
        return;
    }
    hfc_release(&transfer->ref);
    end_transfer(session, transfer);
}

/* A copy for the first owner of the key is not a get of a client. */
static void count_get(struct session *session, const struct wire_request *request, bool hit)
{
    session->server->counts.gets += request->head.kind == WIRE_GET;
    session->server->counts.hits += request->head.kind == WIRE_GET && hit;
}

static bool serve_get(struct session *session, const struct wire_request *request, bool last)
{
    const struct hfc_key key = session_key(request);
    struct transfer *transfer = take_transfer(session);
    int pieces;

    if (!transfer)
        return true;
    pieces = hold_for_peer(session->server, &key, transfer);
    if (pieces > 0) {
        count_get(session, request, true);
        give_object(session, request, transfer, pieces);
        return true;
    }
    end_transfer(session, transfer);
    if (pieces == -ENOENT && !last)
        return false;
    count_get(session, request, false);
    answer_request(session, request->head.number, pieces, 0);
    return true;
}

static void read_from_peer(struct session *session, const struct wire_request *request,
                           bool replicated)
{
    struct transfer *transfer = take_transfer(session);
    int pieces;

    if (!transfer)
        return;
    transfer->name = session_key(request);
    memcpy(transfer->bytes, transfer->name.bytes, transfer->name.len);
    transfer->name.bytes = transfer->bytes;
    do
        pieces = hfc_put_begin(session->server->cache, &transfer->name, request->length, HF_PIN_CPU,
                               transfer->iov, transfer->room, &transfer->put);
    while (pieces == -E2BIG && has_more_pieces(transfer));
    if (pieces < 0) {
        answer_request(session, request->head.number, pieces, 0);
        end_transfer(session, transfer);
        return;
    }
    transfer->putting = true;
    transfer->until_ns = request->head.time;
    transfer->pieces = pieces;
    transfer->replicated = replicated;
    transfer->keeps = request->head.kind == WIRE_KEEP;
    transfer->epoch = request->head.epoch;
    transfer->number = request->head.number;
    transfer->remote = request->address;
    transfer->key = request->key;
    transfer->length = request->length;
    advance(session, transfer);
}

static void serve_put(struct session *session, const struct wire_request *request, bool replicated)
{
    const struct hfc_key key = session_key(request);
    int rc;

    session->server->counts.puts++;
    if (!request->head.inlined) {
        read_from_peer(session, request, replicated);
        return;
    }
    rc = begin_timed_change(session->server, &key, request->head.time);
    if (rc == 0) {
        rc = hfc_put(session->server->cache, &key,
                     wire_key(request, sizeof *request) + request->head.key_len, request->length);
        cluster_serve_end(session->server->members);
    }
    answer_request(session, request->head.number, rc, request->length);
}

static void serve_remove(struct session *session, const struct wire_request *request)
{
    const struct hfc_key key = session_key(request);
    int rc = begin_timed_change(session->server, &key, request->head.time);

    session->server->counts.removals++;
    if (rc == 0) {
        rc = hfc_remove(session->server->cache, &key);
        cluster_serve_end(session->server->members);
    }
    answer_request(session, request->head.number, rc, 0);
}

static bool serve_stat(struct session *session, const struct wire_request *request, bool last)
{
    const struct hfc_key key = session_key(request);
    struct transfer *transfer = take_transfer(session);
    int pieces;

    if (!transfer)
        return true;
    pieces = hold_for_peer(session->server, &key, transfer);
    if (pieces == -ENOENT && !last) {
        end_transfer(session, transfer);
        return false;
    }
    answer_request(session, request->head.number, pieces < 0 ? pieces : 0,
                   pieces < 0 ? 0 : bytes_in_pieces(transfer->iov, pieces));
    if (pieces > 0)
        hfc_release(&transfer->ref);
    end_transfer(session, transfer);
    return true;
}

static bool serve_read(struct session *session, const struct wire_request *request, bool last)
{
    return request->head.kind == WIRE_STAT ? serve_stat(session, request, last)
                                           : serve_get(session, request, last);
}

static void serve_list(struct session *session, const struct wire_request *request)
{
    struct full_answer full = {.answer = {.status = 0}};
    uint64_t cursor = request->length, used = 0;
    struct hfc_entry entry;
    int rc = 1;

    while (used + sizeof(struct wire_entry) + HFC_KEY_MAX <= WIRE_INLINE &&
           (rc = hfc_next(session->server->cache, &cursor, &entry)) == 1) {
        const struct wire_entry head = {entry.bytes, entry.space, entry.key_len};

        memcpy(full.bytes + used, &head, sizeof head);
        memcpy(full.bytes + used + sizeof head, entry.key, entry.key_len);
        used += sizeof head + (entry.key_len + 7) / 8 * 8;
        full.answer.entries++;
    }
    full.answer.status = rc < 0 ? rc : 0;
    full.answer.length = rc == 1 ? cursor : 0;
    answer_inline(session, request->head.number, &full, used);
}

static void serve_counts(struct session *session, const struct wire_request *request)
{
    struct hfx_server *server = session->server;
    struct hfc_stats stats = {.size = sizeof stats};
    struct full_answer full = {.answer = {.status = hfc_stats(server->cache, &stats)}};
    struct wire_counts counts = server->counts;

    counts.connections = server->count;
    counts.objects = stats.objects;
    counts.used_bytes = stats.used_bytes;
    counts.capacity_bytes = stats.capacity_bytes;
    memcpy(full.bytes, &counts, sizeof counts);
    answer_inline(session, request->head.number, &full, sizeof counts);
}

static bool names_key(const struct wire_head *head)
{
    return head->kind >= WIRE_GET && head->kind <= WIRE_STAT;
}

static void serve_by_key(struct session *session, const struct wire_request *request)
{
    const struct hfc_key key = session_key(request);
    struct cluster_members *members = session->server->members;
    struct cluster_owners owners;
    bool replicated;

    if (!cluster_serve_as_first(members, key.bytes, key.len, &owners)) {
        session->server->counts.refused++;
        answer_request(session, request->head.number, -ESTALE, 0);
        return;
    }
    cluster_serve_end(members);
    replicated = owners.replicas > 1;
    if (replicated && turn_takes(session, request))
        return;
    if (request->head.kind == WIRE_PUT)
        serve_put(session, request, replicated);
    else if (request->head.kind == WIRE_REMOVE)
        serve_remove(session, request);
    else if (!serve_read(session, request, !replicated))
        turn_read(session, request);
}

/* The second owner of a key, for the first. */
static void serve_for_first(struct session *session, const struct wire_request *request)
{
    const struct hfc_key key = session_key(request);
    int rc = kept_begin(session, &key, request->head.epoch, request->head.time);

    if (rc) {
        answer_request(session, request->head.number, rc, 0);
        return;
    }
    if (request->head.inlined || request->head.kind == WIRE_DROP)
        kept_change(session, request, &key);
    cluster_serve_end(session->server->members);
    if (request->head.kind == WIRE_COPY)
        serve_get(session, request, true);
    else if (request->head.kind == WIRE_KEEP && !request->head.inlined)
        read_from_peer(session, request, false);
}

static void serve_request(struct session *session, const struct wire_head *head)
{
    const struct wire_request *request = (const struct wire_request *)head;

    if (names_key(head)) {
        serve_by_key(session, request);
        return;
    }
    switch (head->kind) {
    case WIRE_MEMBER:
        kept_greet(session, request);
        break;
    case WIRE_KEEP:
    case WIRE_DROP:
    case WIRE_COPY:
        serve_for_first(session, request);
        break;
    case WIRE_LIST:
        serve_list(session, request);
        break;
    case WIRE_COUNTS:
        serve_counts(session, request);
        break;
    default:
        session->lost = "a message that is not for a server";
    }
}

/* ---- the beginning of a connection ---- */

static void refuse_stranger(struct session *session, int status, const char *why)
{
    struct wire_welcome out = {.status = status};

    wire_begin(&out.head, WIRE_REFUSED, 0, 0);
    strncpy(out.name, why, sizeof out.name - 1);
    session->state = SESSION_REFUSED; /* it reads this and goes, or is sent away in time */
    session->server->counts.refused++;
    send_message(session, &out.head);
}

static void challenge(struct session *session, const struct wire_head *head)
{
    const struct wire_hello *hello = (const struct wire_hello *)head;
    struct wire_hello out = {.head = {.number = 0}};

    if (head->version != WIRE_VERSION) {
        refuse_stranger(session, -EPROTONOSUPPORT, "another version of the messages");
        return;
    }
    memcpy(session->client_nonce, hello->nonce, WIRE_NONCE);
    cluster_random(session->own_nonce, WIRE_NONCE);
    memcpy(out.nonce, session->own_nonce, WIRE_NONCE);
    wire_prove(session->server->secret, "server", session->client_nonce, session->own_nonce,
               out.proof);
    wire_begin(&out.head, WIRE_CHALLENGE, 0, 0);
    session->state = SESSION_CHALLENGED;
    send_message(session, &out.head);
}

static void welcome(struct session *session, const struct wire_head *head)
{
    const struct wire_hello *hello = (const struct wire_hello *)head;
    struct wire_welcome out = {.incarnation = session->server->incarnation};
    uint8_t proof[WIRE_PROOF];

    wire_prove(session->server->secret, "client", session->client_nonce, session->own_nonce, proof);
    if (!wire_same(proof, hello->proof, WIRE_PROOF)) {
        refuse_stranger(session, -EACCES, "it does not have the secret of this cluster");
        return;
    }
    wire_begin(&out.head, WIRE_WELCOME, 0, 0);
    memcpy(out.name, session->server->name, sizeof out.name);
    session->state = SESSION_OPEN;
    session->server->strangers--;
    send_message(session, &out.head);
}

static void server_message(struct peer *peer, const struct wire_head *head)
{
    struct session *session = session_of(peer);

    if (session->lost)
        return;
    session->server->come++;
    session->moved_ns = session->server->now_ns;
    if (session->state == SESSION_STRANGER && head->kind == WIRE_HELLO) {
        challenge(session, head);
    } else if (session->state == SESSION_CHALLENGED && head->kind == WIRE_PROVE) {
        welcome(session, head);
    } else if (session->state == SESSION_OPEN) {
        if (head->number <= session->last_number
#ifdef HF_CLUSTER_LAB
            && !cluster_lab_serves_twice
#endif
        )
            return; /* it has come before */
        session->last_number = head->number;
        serve_request(session, head);
    }
}

/* ---- connections ---- */

static struct peer *server_asked(struct peer_net *net)
{
    struct hfx_server *server = net->owner;
    struct session *session;

    if (server->count >= SESSIONS_MAX || server->strangers >= STRANGERS_MAX)
        return NULL;
    session = calloc(1, sizeof *session);
    if (!session)
        return NULL;
    session->server = server;
    session->moved_ns = server->now_ns;
    session->next = server->sessions;
    server->sessions = session;
    server->count++;
    server->strangers++;
    return &session->peer;
}

static void server_connected(struct peer *peer)
{
    (void)peer; /* the client speaks first */
}

static void server_lost(struct peer *peer, const char *why)
{
    session_of(peer)->lost = why;
}

static void server_ended(struct peer *peer)
{
    struct session *session = session_of(peer), **at = &session->server->sessions;

    while (*at != session)
        at = &(*at)->next;
    *at = session->next;
    session->server->count--;
    session->server->strangers -= session->state != SESSION_OPEN;
    session->server->counts.refused += session->state == SESSION_CHALLENGED; /* it has no proof */
    turns_forget(session);
    free(session);
}

const struct peer_calls server_calls = {.asks = server_asked,
                                        .connected = server_connected,
                                        .message = server_message,
                                        .moved = server_moved,
                                        .lost = server_lost,
                                        .ended = server_ended};

/* ---- the thread ---- */

static bool is_overdue(const struct session *session)
{
    const struct hfx_server *server = session->server;
    uint64_t quiet_ns = server->now_ns - session->moved_ns;

    if (session->state != SESSION_OPEN)
        return quiet_ns > HELLO_NS;
    if (session->busy || session->peer.sending)
        return quiet_ns > server->stall_ns;
    return quiet_ns > IDLE_NS;
}

/* What a poll has left to do in each connection. */
static void tend_sessions(struct hfx_server *server, bool all)
{
    for (struct session *session = server->sessions; session; session = session->next) {
        if (is_overdue(session)) {
            server->counts.given_up += session->busy;
            session->lost = "it is silent";
        }
        if (session->lost || all)
            peer_close(&session->peer);
        else
            peer_flush(&session->peer); /* later, if it cannot be sent now */
    }
}

static bool is_busy(const struct hfx_server *server)
{
    for (const struct session *session = server->sessions; session; session = session->next)
        if (session->busy || session->peer.sending)
            return true;
    return false;
}

static bool should_end(struct hfx_server *server, uint64_t *since_ns)
{
    bool ends;

    pthread_mutex_lock(&server->mutex);
    ends = server->ends;
    pthread_mutex_unlock(&server->mutex);
    if (!ends)
        return false;
    if (!*since_ns)
        *since_ns = server->now_ns;
    return (!is_busy(server) && !server->turns_count) || server->now_ns - *since_ns > LEAVE_NS;
}

static const struct session_calls session_calls = {.answer = answer_request, .read = serve_read};

void *server_run(void *arg)
{
    struct hfx_server *server = arg;
    uint64_t last_ns = 0, ends_ns = 0, spin_ns = SPIN_NS;

    server->calls = &session_calls;
    while (!should_end(server, &ends_ns)) {
        bool any;

        server->come = 0;
        any = peer_poll(&server->net);
        any |= turns_poll(server);
        server->now_ns = cluster_now_ns();
        tend_sessions(server, false);
        if (server->come)
            spin_ns = server->come > FEW ? SPIN_MANY_NS : SPIN_NS;
        if (any)
            last_ns = server->now_ns;
        else if (server->now_ns - last_ns > spin_ns && turns_may_sleep(server))
            peer_sleep(&server->net, TICK_MS);
    }
    turns_end(server);
    tend_sessions(server, true);
    peer_net_close(&server->net);
    return NULL;
}
