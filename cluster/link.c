/* SPDX-License-Identifier: MIT */
/*
 * The connection of a client to a member. A link is opened when a request needs it, and closed when
 * it breaks or a request is overdue. A member may write into memory that a request has lent until
 * its answer has come. So a request that is given up closes the link first: after peer_close()
 * nothing is written there any more. All other requests of the link fail with it.
 */
#include "client.h"

#include <errno.h>
#include <rdma/fi_endpoint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#define RETRY_NS UINT64_C(200000000) /* a member that could not be reached is left alone */
#define DRIFT 1000                   /* of clocks: one part of so many */
#define LOOK_NS UINT64_C(5000000)    /* for what is overdue, where answers keep coming */

/* ---- the member's clock ---- */

/*
 * What the member's clock says at least, when ours says now_ns. Of two clocks the one goes at most
 * a thousandth faster. Nothing is known of how long the member's message was on its way, so its
 * clock may be ahead of this by that. Then a change ends there before it does here, and not after.
 */
static uint64_t server_clock(const struct link *link, uint64_t now_ns)
{
    uint64_t since_ns = now_ns > link->heard_ns ? now_ns - link->heard_ns : 0;

    return link->server_ns + since_ns - since_ns / DRIFT;
}

/* A message that was on its way, or unread, for long tells less than an older one. */
static void hear_clock(struct link *link, uint64_t server_ns)
{
    uint64_t now_ns = cluster_now_ns();

    if (link->heard_ns && server_clock(link, now_ns) >= server_ns)
        return;
    link->server_ns = server_ns;
    link->heard_ns = now_ns;
}

/* By then, too much of a request's time would be given to the drift. */
static bool is_clock_old(const struct link *link, uint64_t now_ns)
{
    return now_ns - link->heard_ns > link->cluster->timeout_ns / 4 * DRIFT;
}

/* ---- requests ---- */

static void take_memory_back(struct request *request)
{
    if (request->mr)
        fi_close(&request->mr->fid);
    request->mr = NULL;
}

/* What the member is told, with the key and the bytes of a small put behind it. */
struct full_request {
    struct wire_request request;
    uint8_t rest[HFC_KEY_MAX + WIRE_INLINE];
};

static bool puts_bytes(const struct request *request)
{
    return request->kind == WIRE_PUT || request->kind == WIRE_KEEP;
}

static bool gets_bytes(const struct request *request)
{
    return request->kind == WIRE_GET || request->kind == WIRE_COPY;
}

static size_t inlined_bytes(const struct request *request)
{
    return puts_bytes(request) && request->length <= WIRE_INLINE ? request->length : 0;
}

static int lend_memory(struct link *link, struct request *request, struct wire_request *out)
{
    bool writes = gets_bytes(request);

    if ((!writes && !puts_bytes(request)) || request->length <= WIRE_INLINE)
        return 0;
    return peer_lend(&link->net, request->bytes, request->length, writes, &request->mr,
                     &out->address, &out->key);
}

static int send_request(struct link *link, struct request *request)
{
    size_t inlined = inlined_bytes(request);
    struct full_request full;
    int rc;

    full.request = (struct wire_request){.length = request->length, .space = request->space};
    full.request.head.number = link->last_number + 1;
    full.request.head.time = server_clock(link, request->deadline_ns);
    full.request.head.epoch = request->epoch;
    rc = lend_memory(link, request, &full.request);
    if (rc)
        return rc;
    wire_begin(&full.request.head, request->kind, request->key_len, inlined);
    memcpy(full.rest, request->key, request->key_len);
    if (inlined)
        memcpy(full.rest + request->key_len, request->bytes, inlined);
    rc = peer_send(&link->peer, &full.request.head);
    if (rc) {
        take_memory_back(request);
        return rc;
    }
    request->number = ++link->last_number;
    link->sent[request->number % WIRE_DEPTH] = request;
    link->under_way++;
    return 0;
}

/* Requests keep their order: one that cannot be sent yet holds the others up. */
static void send_waiting(struct link *link)
{
    while (link->state == LINK_OPEN && !link->broken && link->waiting.first &&
           !link->sent[(link->last_number + 1) % WIRE_DEPTH]) {
        int rc = send_request(link, link->waiting.first);

        if (rc == -EAGAIN)
            return;
        if (rc) {
            link->broken = rc;
            link->why = "a request could not be sent";
            return;
        }
        queue_take(&link->waiting);
    }
}

static struct request *take_sent(struct link *link, uint64_t number)
{
    struct request **slot = &link->sent[number % WIRE_DEPTH], *request = *slot;

    if (!request || request->number != number)
        return NULL;
    *slot = NULL;
    link->under_way--;
    take_memory_back(request);
    return request;
}

/* ---- answers ---- */

static void break_link(struct link *link, int error, const char *why)
{
    if (link->broken)
        return;
    link->broken = error;
    link->why = why;
}

/* The bytes of a get are where they belong, or in the answer. */
static bool take_bytes(struct request *request, const struct wire_answer *answer)
{
    if (answer->length > request->length || answer->length == 0)
        return false;
    if (!answer->head.inlined)
        return request->length > WIRE_INLINE;
    if (answer->head.inlined != answer->length)
        return false;
    memcpy(request->bytes, answer + 1, answer->length);
    return true;
}

static bool take_whole(struct request *request, const struct wire_answer *answer)
{
    if (!request->answer)
        return answer->head.inlined == 0;
    memcpy(request->answer, answer, answer->head.bytes);
    return true;
}

static void park_request(struct link *link, struct request *request)
{
    request->again_ns = cluster_now_ns() + 5000000; /* the members need a moment to agree */
    queue_add(&link->cluster->again, request);
}

static void take_answer(struct link *link, const struct wire_answer *answer)
{
    bool lent = link->sent[answer->head.number % WIRE_DEPTH] != NULL;
    struct request *request = lent ? take_sent(link, answer->head.number) : NULL;
    bool fine;

    if (!request)
        return; /* it has come before */
    request->needs = answer->length;
    if (answer->status == -ESTALE && !link->cluster->incarnation) {
        park_request(link, request);
        return;
    }
    if (answer->status < 0) {
        request_end(request, answer->status, "the member says so");
        return;
    }
    fine = answer->status == 0 &&
           (gets_bytes(request) ? take_bytes(request, answer) : take_whole(request, answer));
    if (!fine) {
        request_end(request, -EPROTO, "the member's answer makes no sense");
        break_link(link, -EPROTO, "the member's answer makes no sense");
        return;
    }
    request_end(request,
                gets_bytes(request) || request->kind == WIRE_STAT ? (int64_t)answer->length : 0,
                NULL);
}

/* ---- greeting ---- */

static void say_hello(struct link *link)
{
    struct wire_hello out = {.head = {.number = 0}};

    cluster_random(link->nonce, WIRE_NONCE);
    memcpy(out.nonce, link->nonce, WIRE_NONCE);
    wire_begin(&out.head, WIRE_HELLO, 0, 0);
    link->state = LINK_GREETS;
    if (peer_send(&link->peer, &out.head) || peer_flush(&link->peer))
        break_link(link, -ENOTCONN, "it does not take a message");
}

static void prove_secret(struct link *link, const struct wire_hello *challenge)
{
    struct wire_hello out = {.head = {.number = 0}};
    const char *secret = link->cluster->secret;
    uint8_t proof[WIRE_PROOF];

    wire_prove(secret, "server", link->nonce, challenge->nonce, proof);
    if (!wire_same(proof, challenge->proof, WIRE_PROOF)) {
        break_link(link, -EACCES, "the member does not have the secret of this cluster");
        return;
    }
    wire_prove(secret, "client", link->nonce, challenge->nonce, out.proof);
    wire_begin(&out.head, WIRE_PROVE, 0, 0);
    if (peer_send(&link->peer, &out.head) || peer_flush(&link->peer))
        break_link(link, -ENOTCONN, "it does not take a message");
}

/* Connections of a member are numbered, so that the other one knows which is the last. */
static void say_member(struct link *link)
{
    struct wire_request out = {.address = link->cluster->incarnation,
                               .key = ++link->cluster->connections,
                               .head = {.number = ++link->last_number}};

    wire_begin(&out.head, WIRE_MEMBER, 0, 0);
    if (peer_send(&link->peer, &out.head))
        break_link(link, -ENOTCONN, "it does not take a message");
}

static void take_welcome(struct link *link, const struct wire_welcome *welcome)
{
    if (strncmp(welcome->name, link->name, sizeof link->name) != 0) {
        break_link(link, -ENOTCONN, "another member has this address");
        return;
    }
    link->state = LINK_OPEN;
    if (link->cluster->incarnation)
        say_member(link);
    send_waiting(link);
}

static void take_refusal(struct link *link, const struct wire_welcome *refusal)
{
    memcpy(link->refusal, refusal->name, sizeof link->refusal - 1);
    break_link(link, refusal->status < 0 && refusal->status > -4096 ? refusal->status : -EPROTO,
               link->refusal);
}

static void link_message(struct peer *peer, const struct wire_head *head)
{
    struct link *link = (struct link *)((char *)peer - offsetof(struct link, peer));

    if (link->broken)
        return;
    hear_clock(link, head->time);
    if (head->kind == WIRE_ANSWER && link->state == LINK_OPEN)
        take_answer(link, (const struct wire_answer *)head);
    else if (head->kind == WIRE_REFUSED && link->state == LINK_GREETS)
        take_refusal(link, (const struct wire_welcome *)head);
    else if (head->kind == WIRE_CHALLENGE && link->state == LINK_GREETS)
        prove_secret(link, (const struct wire_hello *)head);
    else if (head->kind == WIRE_WELCOME && link->state == LINK_GREETS)
        take_welcome(link, (const struct wire_welcome *)head);
    else if (head->kind >= WIRE_GET && head->kind < WIRE_ANSWER)
        break_link(link, -EPROTO, "it sends requests, as a client does");
}

static void link_connected(struct peer *peer)
{
    say_hello((struct link *)((char *)peer - offsetof(struct link, peer)));
}

static void link_lost(struct peer *peer, const char *why)
{
    struct link *link = (struct link *)((char *)peer - offsetof(struct link, peer));

    break_link(link, -ENOTCONN, why);
}

static struct peer *link_asked(struct peer_net *net)
{
    (void)net;
    return NULL;
}

static void link_moved(struct peer *peer, void *arg, int error)
{
    (void)peer;
    (void)arg;
    (void)error;
}

static void link_ended(struct peer *peer)
{
    (void)peer; /* it is a part of the link */
}

static const struct peer_calls link_calls = {.asks = link_asked,
                                             .connected = link_connected,
                                             .message = link_message,
                                             .moved = link_moved,
                                             .lost = link_lost,
                                             .ended = link_ended};

/* ---- opening and closing ---- */

static int link_connect(struct link *link)
{
    struct epoll_event event = {.events = EPOLLIN};
    int rc = peer_net_open(&link->net, CLUSTER_PROVIDER, link->address, false, &link_calls, link);

    if (rc)
        return rc;
    rc = peer_connect(&link->net, &link->peer);
    if (rc == 0 && epoll_ctl(link->cluster->waits, EPOLL_CTL_ADD, link->net.waits, &event) != 0)
        rc = -errno;
    if (rc && link->peer.state != PEER_CLOSED)
        peer_close(&link->peer);
    if (rc)
        peer_net_close(&link->net);
    return rc;
}

static void link_open(struct link *link, uint64_t now_ns)
{
    link->last_number = 0;
    link->heard_ns = 0;
    link->broken = 0;
    link->deadline_ns = now_ns + link->cluster->timeout_ns;
    link->failure = link_connect(link);
    link->state = link->failure ? LINK_DOWN : LINK_CONNECTS;
    link->retry_ns = now_ns + RETRY_NS;
}

static void fail_sent(struct link *link, int error, const char *why)
{
    for (unsigned i = 0; i < WIRE_DEPTH; i++) {
        struct request *request = link->sent[i];

        if (!request)
            continue;
        link->sent[i] = NULL;
        take_memory_back(request);
        request_end(request, error, why);
    }
    link->under_way = 0;
}

/* Nothing is written to the memory of any request after peer_close(). */
void link_close(struct link *link, int error, const char *why)
{
    struct request *request;

    if (link->state != LINK_DOWN) {
        peer_close(&link->peer);
        fail_sent(link, error, why);
        peer_net_close(&link->net); /* its epoll goes out of the cluster's with its descriptor */
    }
    if (link->state != LINK_OPEN)
        link->failure = error;
    link->state = LINK_DOWN;
    while ((request = queue_take(&link->waiting)))
        request_end(request, error, why);
}

struct link *link_find(struct hfx *cluster, const struct cluster_member *member)
{
    struct link *link = cluster->links;

    while (link && (strcmp(link->name, member->name) || strcmp(link->address, member->address)))
        link = link->next;
    if (link)
        return link;
    link = calloc(1, sizeof *link);
    if (!link)
        return NULL;
    link->cluster = cluster;
    link->net.waits = -1;
    memcpy(link->name, member->name, sizeof link->name);
    memcpy(link->address, member->address, sizeof link->address);
    queue_init(&link->waiting);
    link->next = cluster->links;
    cluster->links = link;
    return link;
}

/* Nothing is under way, and nothing waits. */
static void renew_link(struct link *link)
{
    link_close(link, -ENOTCONN, "it was silent for long");
    link->retry_ns = 0;
}

void link_add(struct link *link, struct request *request, uint64_t now_ns)
{
    request->link = link;
    if (link->state == LINK_OPEN && link->under_way == 0 && !link->waiting.first &&
        is_clock_old(link, now_ns))
        renew_link(link);
    if (link->state == LINK_DOWN && now_ns >= link->retry_ns)
        link_open(link, now_ns);
    if (link->state == LINK_DOWN) {
        request_end(request, link->failure ? link->failure : -ENOTCONN,
                    "the member could not be reached a moment ago");
        return;
    }
    queue_add(&link->waiting, request);
    send_waiting(link);
}

static bool has_overdue(const struct link *link, uint64_t now_ns)
{
    const struct request *first = link->waiting.first;

    for (unsigned i = 0; i < WIRE_DEPTH && link->under_way; i++)
        if (link->sent[i] && link->sent[i]->deadline_ns <= now_ns)
            return true;
    return first && first->deadline_ns <= now_ns;
}

static void check_times(struct link *link, uint64_t now_ns)
{
    link->looked_ns = now_ns;
    if (link->state != LINK_OPEN && link->deadline_ns <= now_ns)
        break_link(link, -ETIMEDOUT, "the member did not greet in time");
    else if (has_overdue(link, now_ns))
        break_link(link, -ETIMEDOUT, "the member did not answer in time");
}

bool link_poll(struct link *link, uint64_t now_ns)
{
    bool any;

    if (link->state == LINK_DOWN)
        return false;
    any = peer_poll(&link->net);
    send_waiting(link);
    if (!any || now_ns - link->looked_ns > LOOK_NS)
        check_times(link, now_ns);
    if (link->broken)
        link_close(link, link->broken, link->why);
    return any;
}
