/* SPDX-License-Identifier: MIT */
/*
 * The calls of a client. A call makes its request, gives it to the link of the key's member, and
 * waits. One of the threads that wait polls the links, with the mutex, and gives the mutex away
 * when another wants it. When it has its result, it wakes the others, and one of them goes on.
 */
#include "client.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define SPIN_NS UINT64_C(200000)     /* most answers come in less */
#define SPIN_MANY_NS UINT64_C(10000) /* with many under way, polling would only take CPU time */
#define FEW 4u
#define TICK_MS 20 /* deadlines are looked at so often */
#define NEVER_NS UINT64_MAX
#define LOCAL_PIECES 8
#define MOST_PIECES 65536

/* ---- the mutex ---- */

static void lock(struct hfx *cluster)
{
    __atomic_fetch_add(&cluster->wanting, 1, __ATOMIC_RELAXED); /* relaxed: a hint */
    pthread_mutex_lock(&cluster->mutex);
    __atomic_fetch_sub(&cluster->wanting, 1, __ATOMIC_RELAXED); /* relaxed: a hint */
}

static void unlock(struct hfx *cluster)
{
    pthread_mutex_unlock(&cluster->mutex);
}

static void let_others_in(struct hfx *cluster)
{
    if (!__atomic_load_n(&cluster->wanting, __ATOMIC_RELAXED)) /* relaxed: a hint */
        return;
    unlock(cluster);
    sched_yield();
    pthread_mutex_lock(&cluster->mutex);
}

/* ---- requests ---- */

static void send_to(struct hfx *cluster, struct request *request,
                    const struct cluster_member *member, uint64_t now_ns)
{
    struct link *link = link_find(cluster, member);

    if (link)
        link_add(link, request, now_ns);
    else
        request_end(request, -ENOMEM, "no memory for a connection");
}

/* To the member whose key it is. */
static void send_by_key(struct hfx *cluster, struct request *request, uint64_t now_ns)
{
    const struct cluster_view *view = cluster_view_get(cluster->members);
    uint32_t owner;

    if (cluster_place(view, request->key, request->key_len, 1, &owner) == 1)
        send_to(cluster, request, &view->members[owner], now_ns);
    else
        request_end(request, -ENOTCONN, "the cluster has no members");
    cluster_view_put(view);
}

static void flush_links(struct hfx *cluster)
{
    for (struct link *link = cluster->links; link; link = link->next)
        if (link->state == LINK_OPEN)
            peer_flush(&link->peer); /* the next poll tries again, and sees what has failed */
}

static void send_parked_again(struct hfx *cluster, uint64_t now_ns)
{
    while (cluster->again.first && cluster->again.first->again_ns <= now_ns) {
        struct request *request = queue_take(&cluster->again);

        if (request->deadline_ns <= now_ns)
            request_end(request, -ESTALE, "the members did not agree in time whose key it is");
        else
            send_by_key(cluster, request, now_ns);
    }
}

/* ---- without a message ---- */

/* With a second owner, changes go by the member's own thread, for they wait for the other one. */
static bool is_here(struct hfx *cluster, const struct hfx_request *request, bool *replicated)
{
    const struct hfc_key *key = &request->key;
    bool changes = request->operation == HFX_PUT || request->operation == HFX_REMOVE, here;
    const struct cluster_view *view;
    uint32_t owner;

    if (!cluster->server)
        return false;
    view = cluster_view_get(cluster->members);
    *replicated = view->replicas > 1;
    here = cluster_place(view, key->bytes, key->len, 1, &owner) == 1 && !(*replicated && changes) &&
           server_is(cluster->server, view->members[owner].name);
    cluster_view_put(view);
    return here && server_may(cluster->server, key);
}

/* buf null: only the length. */
static int64_t copy_object(struct hfc *cache, const struct hfc_key *key, char *buf, uint64_t room)
{
    struct iovec own[LOCAL_PIECES], *iov = own;
    struct hfc_ref ref;
    int pieces = hfc_get(cache, key, iov, LOCAL_PIECES, &ref);
    int64_t length = 0;

    if (pieces == -E2BIG) {
        iov = malloc(MOST_PIECES * sizeof *iov);
        pieces = iov ? hfc_get(cache, key, iov, MOST_PIECES, &ref) : -ENOMEM;
    }
    for (int i = 0; i < pieces; i++)
        length += (int64_t)iov[i].iov_len;
    for (int i = 0; buf && i < pieces && (uint64_t)length <= room; i++) {
        memcpy(buf, iov[i].iov_base, iov[i].iov_len);
        buf += iov[i].iov_len;
    }
    if (pieces > 0)
        hfc_release(&ref);
    if (iov != own)
        free(iov);
    return pieces < 0 ? pieces : buf && (uint64_t)length > room ? -EMSGSIZE : length;
}

static int64_t serve_here(struct hfx_server *server, const struct hfx_request *request)
{
    struct hfc *cache = server_cache(server);

    switch (request->operation) {
    case HFX_GET:
        return copy_object(cache, &request->key, request->bytes, request->len);
    case HFX_PUT:
        return server_put(server, &request->key, request->bytes, request->len);
    case HFX_REMOVE:
        return hfc_remove(cache, &request->key);
    default:
        return copy_object(cache, &request->key, NULL, 0);
    }
}

/* A miss may be a hit in the second owner, which the member's thread asks. */
static bool is_served_here(struct hfx *cluster, const struct hfx_request *request, int64_t *out)
{
    bool replicated;

    if (!is_here(cluster, request, &replicated))
        return false;
    *out = serve_here(cluster->server, request);
    return !(replicated && *out == -ENOENT);
}

/* ---- waiting ---- */

static bool poll_links(struct hfx *cluster, uint64_t now_ns)
{
    bool any = false;

    for (struct link *link = cluster->links; link; link = link->next)
        any |= link_poll(link, now_ns);
    send_parked_again(cluster, now_ns);
    flush_links(cluster);
    return any;
}

static void sleep_for_links(struct hfx *cluster, int ms)
{
    struct epoll_event event;

    for (struct link *link = cluster->links; link; link = link->next)
        if (link->state != LINK_DOWN && !peer_may_sleep(&link->net))
            return;
    unlock(cluster);
    epoll_wait(cluster->waits, &event, 1, ms);
    pthread_mutex_lock(&cluster->mutex);
}

/* What a thread waits for: its request, or any result. */
struct wish {
    struct hfx *cluster;
    const struct request *request;
    uint64_t until_ns;
};

static bool has_come(const struct wish *wish, uint64_t now_ns)
{
    if (wish->request)
        return wish->request->done;
    return wish->cluster->results.first || now_ns >= wish->until_ns;
}

static void wait_for_others(struct hfx *cluster, uint64_t until_ns)
{
    uint64_t tick_ns = cluster_now_ns() + TICK_MS * UINT64_C(1000000);
    struct timespec until;

    if (until_ns > tick_ns)
        until_ns = tick_ns;
    until = (struct timespec){(time_t)(until_ns / 1000000000), (long)(until_ns % 1000000000)};
    cluster->waiters++;
    pthread_cond_timedwait(&cluster->moved, &cluster->mutex, &until);
    cluster->waiters--;
}

static int sleep_ms(const struct wish *wish, uint64_t now_ns)
{
    uint64_t ms = wish->until_ns > now_ns ? (wish->until_ns - now_ns) / 1000000 : 0;

    return ms < TICK_MS ? (int)ms : TICK_MS;
}

static uint64_t spin_ns(const struct hfx *cluster)
{
    unsigned under_way = 0;

    for (const struct link *link = cluster->links; link; link = link->next)
        under_way += link->under_way;
    return under_way > FEW ? SPIN_MANY_NS : SPIN_NS;
}

static void poll_for_all(const struct wish *wish)
{
    struct hfx *cluster = wish->cluster;
    uint64_t now_ns = cluster_now_ns(), last_ns = now_ns;

    cluster->polling = true;
    while (!has_come(wish, now_ns)) {
        bool any = poll_links(cluster, now_ns);

        now_ns = cluster_now_ns();
        if (any)
            last_ns = now_ns;
        else if (now_ns - last_ns > spin_ns(cluster))
            sleep_for_links(cluster, sleep_ms(wish, now_ns));
        let_others_in(cluster);
    }
    cluster->polling = false;
    if (cluster->waiters)
        pthread_cond_broadcast(&cluster->moved);
}

/* With the mutex held. */
static void wait_until(const struct wish *wish)
{
    uint64_t now_ns = cluster_now_ns();

    while (!has_come(wish, now_ns)) {
        if (wish->cluster->polling)
            wait_for_others(wish->cluster, wish->until_ns);
        else
            poll_for_all(wish);
        now_ns = cluster_now_ns();
    }
}

/* ---- calls ---- */

int client_check(const struct hfx *cluster)
{
    if (!cluster)
        return cluster_fail(-EINVAL, "cluster is null");
    return cluster->pid == getpid() ? 0
                                    : cluster_fail(-ECHILD, "the parent opened it before the fork");
}

static int check_asked(const struct hfx_request *request)
{
    const struct hfc_key *key = &request->key;

    if (request->operation < HFX_GET || request->operation > HFX_LENGTH || request->reserved)
        return cluster_fail(-EINVAL, "operation %u is not known", request->operation);
    if (!key->bytes || key->len == 0 || key->len > HFC_KEY_MAX)
        return cluster_fail(-EINVAL, "a key has 1 to %u bytes", HFC_KEY_MAX);
    if (key->space >= HFC_SPACES)
        return cluster_fail(-EINVAL, "namespace %u: there are %u", key->space, HFC_SPACES);
    if (!request->bytes && (request->operation == HFX_PUT || request->operation == HFX_GET))
        return cluster_fail(-EINVAL, "bytes is null");
    if (request->operation == HFX_PUT && request->len == 0)
        return cluster_fail(-EINVAL, "len is 0: an object has at least one byte");
    return 0;
}

static enum wire_kind wire_kind_of(uint32_t operation)
{
    return operation == HFX_GET      ? WIRE_GET
           : operation == HFX_PUT    ? WIRE_PUT
           : operation == HFX_REMOVE ? WIRE_REMOVE
                                     : WIRE_STAT;
}

static void make_request(struct hfx *cluster, const struct hfx_request *from, struct request *out)
{
    out->next = NULL;
    out->cluster = cluster;
    out->link = NULL;
    out->kind = wire_kind_of(from->operation);
    out->begun = out->done = false;
    out->deadline_ns = cluster_now_ns() + cluster->timeout_ns;
    out->length = from->operation == HFX_GET || from->operation == HFX_PUT ? from->len : 0;
    out->bytes = from->bytes;
    out->mr = NULL;
    out->answer = NULL;
    out->epoch = out->needs = 0;
    out->tag = from->tag;
    out->space = from->key.space;
    out->key_len = from->key.len;
    memcpy(out->key, from->key.bytes, from->key.len);
}

static int64_t fail_request(const struct request *request)
{
    const struct link *link = request->link;
    int rc = (int)request->result;

    if (rc == -ENOENT || !request->why)
        return cluster_fail(rc, "%s", strerror(-rc));
    return cluster_fail(rc, "%s at %s: %s (%s)", link ? link->name : "the cluster",
                        link ? link->address : "no address", request->why, strerror(-rc));
}

static int64_t run_request(struct hfx *cluster, const struct hfx_request *asked)
{
    struct request request;
    struct wish wish = {cluster, &request, NEVER_NS};
    int rc = client_check(cluster);
    int64_t result;

    rc = rc ? rc : check_asked(asked);
    if (rc)
        return rc;
    if (is_served_here(cluster, asked, &result))
        return result < 0 ? cluster_fail((int)result, "%s", strerror((int)-result)) : result;
    make_request(cluster, asked, &request);
    lock(cluster);
    send_by_key(cluster, &request, cluster_now_ns());
    flush_links(cluster);
    wait_until(&wish);
    if (request.result < 0)
        fail_request(&request);
    unlock(cluster);
    return request.result;
}

ssize_t hfx_get(struct hfx *cluster, const struct hfc_key *key, void *buf, size_t room)
{
    if (!key)
        return cluster_fail(-EINVAL, "key is null");
    return run_request(cluster, &(struct hfx_request){HFX_GET, 0, *key, buf, room, 0});
}

ssize_t hfx_length(struct hfx *cluster, const struct hfc_key *key)
{
    if (!key)
        return cluster_fail(-EINVAL, "key is null");
    return run_request(cluster, &(struct hfx_request){HFX_LENGTH, 0, *key, NULL, 0, 0});
}

int hfx_put(struct hfx *cluster, const struct hfc_key *key, const void *bytes, size_t len)
{
    if (!key)
        return cluster_fail(-EINVAL, "key is null");
    return (int)run_request(
        cluster, &(struct hfx_request){HFX_PUT, 0, *key, (void *)(uintptr_t)bytes, len, 0});
}

int hfx_remove(struct hfx *cluster, const struct hfc_key *key)
{
    if (!key)
        return cluster_fail(-EINVAL, "key is null");
    return (int)run_request(cluster, &(struct hfx_request){HFX_REMOVE, 0, *key, NULL, 0, 0});
}

/* ---- copies in a cache of this machine ---- */

/* Into memory of the cache itself, which becomes the object. After a failure nothing writes there
 * any more, so it can be given back. */
static int copy_in_place(struct hfx *cluster, const struct hfc_key *key, struct hfc *local,
                         size_t room)
{
    struct iovec iov;
    struct hfc_put *put;
    ssize_t length;
    int rc = hfc_put_begin(local, key, room, HF_PIN_CPU, &iov, 1, &put);

    if (rc < 0)
        return rc == -E2BIG ? rc : cluster_fail(rc, "%s", hfc_detail());
    length = hfx_get(cluster, key, iov.iov_base, room);
    if (length < 0) {
        hfc_put_abort(put);
        return (int)length;
    }
    rc = hfc_put_commit(put, (uint64_t)length);
    return rc ? cluster_fail(rc, "%s", hfc_detail()) : 0;
}

/* The same for a cache whose memory is cut up. */
static int copy_by_buffer(struct hfx *cluster, const struct hfc_key *key, struct hfc *local,
                          size_t room)
{
    void *bytes = malloc(room);
    ssize_t length;
    int rc;

    if (!bytes)
        return cluster_fail(-ENOMEM, "no memory for %zu bytes", room);
    length = hfx_get(cluster, key, bytes, room);
    rc = length < 0 ? (int)length : hfc_put(local, key, bytes, (size_t)length);
    free(bytes);
    return length < 0 || rc == 0 ? rc : cluster_fail(rc, "%s", hfc_detail());
}

int hfx_get_copy(struct hfx *cluster, const struct hfc_key *key, struct hfc *local, size_t room,
                 struct iovec *iov, int iovcnt, struct hfc_ref *ref)
{
    int rc = client_check(cluster);

    if (rc)
        return rc;
    if (!key || !local || !iov || !ref || room == 0)
        return cluster_fail(-EINVAL, "key, local, iov or ref is null, or room is 0");
    rc = hfc_get(local, key, iov, iovcnt, ref);
    if (rc == -ENOENT) {
        rc = copy_in_place(cluster, key, local, room);
        rc = rc == -E2BIG ? copy_by_buffer(cluster, key, local, room) : rc;
        if (rc)
            return rc;
        rc = hfc_get(local, key, iov, iovcnt, ref);
    }
    return rc < 0 ? cluster_fail(rc, "%s", rc == -ENOENT ? strerror(ENOENT) : hfc_detail()) : rc;
}

/* ---- many at once ---- */

static void free_requests(struct request *request)
{
    while (request) {
        struct request *next = request->next;

        free(request);
        request = next;
    }
}

/* A list of them, or null. */
static struct request *copy_requests(struct hfx *cluster, const struct hfx_request *asked,
                                     unsigned count)
{
    struct request *first = NULL;

    for (unsigned i = count; i-- > 0;) {
        struct request *request = malloc(sizeof *request);

        if (!request) {
            free_requests(first);
            return NULL;
        }
        make_request(cluster, &asked[i], request);
        request->begun = true;
        request->next = first;
        first = request;
    }
    return first;
}

static int check_requests(const struct hfx *cluster, const struct hfx_request *requests,
                          unsigned count)
{
    int rc = client_check(cluster);

    if (rc == 0 && (!requests || count == 0))
        rc = cluster_fail(-EINVAL, "requests is null, or count is 0");
    for (unsigned i = 0; i < count && rc == 0; i++)
        rc = check_asked(&requests[i]);
    return rc;
}

static int begin_requests(struct hfx *cluster, const struct hfx_request *asked, unsigned count,
                          struct request *request)
{
    uint64_t now_ns = cluster_now_ns();

    lock(cluster);
    if (cluster->begun + count > HFX_REQUESTS) {
        unlock(cluster);
        free_requests(request);
        return cluster_fail(-EAGAIN, "more than %u requests: take some first", HFX_REQUESTS);
    }
    cluster->begun += count;
    for (unsigned i = 0; i < count; i++) {
        struct request *next = request->next;
        int64_t result;

        if (is_served_here(cluster, &asked[i], &result))
            request_end(request, result, NULL);
        else
            send_by_key(cluster, request, now_ns);
        request = next;
    }
    flush_links(cluster);
    unlock(cluster);
    return 0;
}

int hfx_begin(struct hfx *cluster, const struct hfx_request *requests, unsigned count)
{
    int rc = check_requests(cluster, requests, count);
    struct request *first;

    if (rc)
        return rc;
    first = copy_requests(cluster, requests, count);
    if (!first)
        return cluster_fail(-ENOMEM, "no memory for %u requests", count);
    return begin_requests(cluster, requests, count, first);
}

int hfx_next(struct hfx *cluster, uint64_t timeout_ns, struct hfx_result *out, unsigned count)
{
    struct wish wish = {.cluster = cluster};
    int rc = client_check(cluster), got = 0;
    struct request *request;

    if (rc == 0 && (!out || count == 0))
        rc = cluster_fail(-EINVAL, "out is null, or count is 0");
    if (rc)
        return rc;
    wish.until_ns = cluster_now_ns();
    wish.until_ns = timeout_ns < NEVER_NS - wish.until_ns ? wish.until_ns + timeout_ns : NEVER_NS;
    lock(cluster);
    wait_until(&wish);
    while ((unsigned)got < count && (request = queue_take(&cluster->results))) {
        out[got++] = (struct hfx_result){request->tag, request->result};
        cluster->begun--;
        free(request);
    }
    unlock(cluster);
    return got;
}

/* Its own requests, so that it does not take those that others have begun. */
int hfx_batch(struct hfx *cluster, const struct hfx_request *requests, unsigned count,
              int64_t *results)
{
    int rc = check_requests(cluster, requests, count), fine = 0;
    struct request *all;

    if (rc == 0 && !results)
        rc = cluster_fail(-EINVAL, "results is null");
    if (rc)
        return rc;
    all = malloc(count * sizeof *all);
    if (!all)
        return cluster_fail(-ENOMEM, "no memory for %u requests", count);
    lock(cluster);
    for (unsigned i = 0; i < count; i++) {
        int64_t result;

        make_request(cluster, &requests[i], &all[i]);
        if (is_served_here(cluster, &requests[i], &result))
            request_end(&all[i], result, NULL);
        else
            send_by_key(cluster, &all[i], cluster_now_ns());
    }
    flush_links(cluster);
    for (unsigned i = 0; i < count; i++) {
        wait_until(&(struct wish){cluster, &all[i], NEVER_NS});
        results[i] = all[i].result;
        fine += all[i].result >= 0;
        if (all[i].result < 0)
            fail_request(&all[i]);
    }
    unlock(cluster);
    free(all);
    return fine;
}

/* ---- looking ---- */

/* The i-th member of the view that is in force. */
static bool find_member(struct hfx *cluster, unsigned index, struct cluster_member *out)
{
    const struct cluster_view *view = cluster_view_get(cluster->members);
    bool found = index < view->count;

    if (found)
        *out = view->members[index];
    cluster_view_put(view);
    return found;
}

static void describe_member(const struct cluster_member *member, struct hfx_member *out)
{
    *out = (struct hfx_member){.name = ""};
    memcpy(out->name, member->name, sizeof out->name);
    memcpy(out->address, member->address, sizeof out->address);
}

int hfx_member(struct hfx *cluster, unsigned index, struct hfx_member *out)
{
    struct cluster_member member;
    int rc = client_check(cluster);

    if (rc == 0 && !out)
        rc = cluster_fail(-EINVAL, "out is null");
    if (rc || !find_member(cluster, index, &member))
        return rc;
    describe_member(&member, out);
    return 1;
}

uint64_t hfx_epoch(struct hfx *cluster)
{
    const struct cluster_view *view;
    uint64_t epoch;

    if (client_check(cluster))
        return 0;
    view = cluster_view_get(cluster->members);
    epoch = view->epoch;
    cluster_view_put(view);
    return epoch;
}

int hfx_owner(struct hfx *cluster, const struct hfc_key *key, struct hfx_member *out)
{
    int rc = client_check(cluster);
    const struct cluster_view *view;
    uint32_t owner;

    if (rc == 0 && (!key || !out || !key->bytes || !key->len || key->len > HFC_KEY_MAX))
        rc = cluster_fail(-EINVAL, "out is null, or the key does not have 1 to %u bytes",
                          HFC_KEY_MAX);
    if (rc)
        return rc;
    view = cluster_view_get(cluster->members);
    if (cluster_place(view, key->bytes, key->len, 1, &owner) == 1)
        describe_member(&view->members[owner], out);
    else
        rc = cluster_fail(-ENOTCONN, "the cluster has no members");
    cluster_view_put(view);
    return rc;
}

/* A request to the i-th member, whose whole answer is wanted. */
static int ask_member(struct hfx *cluster, unsigned index, enum wire_kind kind, uint64_t cursor,
                      struct wire_answer *out)
{
    struct request request = {.cluster = cluster,
                              .kind = kind,
                              .length = cursor,
                              .answer = out,
                              .deadline_ns = cluster_now_ns() + cluster->timeout_ns};
    struct cluster_member member;

    if (!find_member(cluster, index, &member))
        return cluster_fail(-ENOENT, "the cluster does not have %u members", index + 1);
    lock(cluster);
    send_to(cluster, &request, &member, cluster_now_ns());
    flush_links(cluster);
    wait_until(&(struct wish){cluster, &request, NEVER_NS});
    if (request.result < 0)
        fail_request(&request);
    unlock(cluster);
    return (int)request.result;
}

struct page {
    struct wire_answer answer;
    uint8_t bytes[WIRE_INLINE];
};

/* Nonzero ends it. What came from the network is checked entry by entry. */
static int tell_entries(const struct page *page,
                        int (*each)(void *arg, const struct hfc_entry *entry), void *arg)
{
    size_t used = 0, all = page->answer.head.inlined;
    int rc = 0;

    for (uint32_t i = 0; i < page->answer.entries && rc == 0; i++) {
        struct wire_entry head;
        struct hfc_entry entry;

        if (all - used < sizeof head)
            return cluster_fail(-EPROTO, "the member's list makes no sense");
        memcpy(&head, page->bytes + used, sizeof head);
        used += sizeof head;
        if (head.key_len == 0 || head.key_len > HFC_KEY_MAX ||
            all - used < (head.key_len + 7u) / 8 * 8)
            return cluster_fail(-EPROTO, "the member's list makes no sense");
        entry.bytes = head.length;
        entry.space = head.space;
        entry.key_len = head.key_len;
        memcpy(entry.key, page->bytes + used, head.key_len);
        used += (head.key_len + 7u) / 8 * 8;
        rc = each(arg, &entry);
    }
    return rc;
}

int hfx_each(struct hfx *cluster, unsigned index,
             int (*each)(void *arg, const struct hfc_entry *entry), void *arg)
{
    struct page page;
    uint64_t cursor = 0;
    int rc = client_check(cluster);

    if (rc == 0 && !each)
        rc = cluster_fail(-EINVAL, "each is null");
    while (rc == 0) {
        rc = ask_member(cluster, index, WIRE_LIST, cursor, &page.answer);
        rc = rc ? rc : tell_entries(&page, each, arg);
        if (rc == 0 && page.answer.length == 0)
            return 0;
        cursor = page.answer.length;
    }
    return rc;
}

int hfx_counts(struct hfx *cluster, unsigned index, struct hfx_counts *out)
{
    struct page page;
    struct wire_counts counts;
    int rc = client_check(cluster);

    if (rc == 0 && (!out || out->size != sizeof *out))
        rc = cluster_fail(-EINVAL, "out is null, or its size is wrong");
    rc = rc ? rc : ask_member(cluster, index, WIRE_COUNTS, 0, &page.answer);
    if (rc)
        return rc;
    if (page.answer.head.inlined != sizeof counts)
        return cluster_fail(-EPROTO, "the member's counts make no sense");
    memcpy(&counts, page.bytes, sizeof counts);
    *out = (struct hfx_counts){.size = sizeof *out,
                               .gets = counts.gets,
                               .hits = counts.hits,
                               .puts = counts.puts,
                               .removals = counts.removals,
                               .refused = counts.refused,
                               .given_up = counts.given_up,
                               .connections = counts.connections,
                               .objects = counts.objects,
                               .used_bytes = counts.used_bytes,
                               .capacity_bytes = counts.capacity_bytes};
    return 0;
}
