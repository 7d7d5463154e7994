/* SPDX-License-Identifier: MIT */
/*
 * The thread that stays in touch with etcd. It joins, renews the member's lease, learns of epochs
 * and acknowledges them. It proposes them where this member leads, that is if no member that lives
 * has joined before it. All others watch the one that joined just before them, so that a death
 * wakes one of them. Each change of the record is a transaction on its last revision. So two that
 * believe to lead do no harm.
 *
 * The lease. A member serves for half of its lease's time after it has sent a renewal, less a tenth
 * for clocks that differ. The renewal counts only if a read that etcd's majority has confirmed
 * comes after it, and finds the member's key. When the key has gone, no later renewal counts. So
 * after half of that time the member has stopped serving, and only then the leader counts it as
 * stopped. It does not matter when etcd ends a lease, nor why. A leader of etcd that was stopped
 * and has been replaced can end one that its successor renews (etcd's issue 12528).
 *
 * A member that goes out by itself says in etcd that it has stopped. Then nobody waits.
 */
#include "joined.h"
#include "records.h"
#include "view.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TTL_SECONDS 5 /* two thirds are etcd's, and half as long the leader waits */
#define SECOND_NS UINT64_C(1000000000)
#define SETTLE_NS (SECOND_NS / 20) /* members that join at the same time are proposed at once */
#define RETRY_NS (SECOND_NS / 4)
#define ASK_NS (2 * SECOND_NS) /* how often one that is not a member looks */

struct missed {
    struct epoch_mark mark;
    uint64_t until_ns; /* it may serve */
};

struct join {
    struct cluster_members *members;
    struct etcd *etcd;
    char prefix[REQUEST_PREFIX_BYTES], self[REQUEST_KEY_BYTES], address[CLUSTER_ADDRESS_BYTES];
    uint32_t ttl_asked, replicas; /* replicas: 0: as the others have it */

    uint64_t lease, incarnation; /* 0: not joined */
    uint64_t stopped;            /* that it has been, and etcd does not know it; 0: none */
    uint64_t ttl_ns, renew_at_ns, settle_at_ns, watch_at_ns;
    uint64_t acknowledged;               /* epoch */
    struct record_epoch record, learned; /* as of the last look; of the view that is known */
    uint64_t revision;                   /* of the last look */
    bool leads, again;                   /* again: something has changed, or may have */

    struct missed *missed; /* while it leads: members of the epoch whose keys have gone */
    uint32_t missed_count;
    uint64_t missed_at_ns; /* when the next of them counts as stopped; 0: none */

    struct etcd_watch watches[3];
    unsigned watch_count;
};

/* --------------------------------------------------------------------------- asking ---- */

static void key_in_prefix(const struct join *join, char key[REQUEST_KEY_BYTES], const char *name)
{
    snprintf(key, REQUEST_KEY_BYTES, "%s%s", join->prefix, name);
}

static void make_acks(const struct join *join, char key[REQUEST_KEY_BYTES], const char *name)
{
    snprintf(key, REQUEST_KEY_BYTES, "%sacks/%" PRIu64 "/%s", join->prefix, join->record.epoch,
             name);
}

static void note_failure(struct join *join, const char *failure)
{
    struct cluster_members *members = join->members;

    pthread_mutex_lock(&members->mutex);
    snprintf(members->status.failure, sizeof members->status.failure, "%s", failure);
    members->status.calls = etcd_calls(join->etcd);
    members->status.events = etcd_events(join->etcd);
    members->status.leads = join->leads;
    pthread_mutex_unlock(&members->mutex);
}

/* A sixth of the lease, so that one which is not answered leaves time for others. */
static json_object *ask_etcd(struct join *join, const char *path, json_object *request)
{
    uint64_t ms = join->ttl_ns / 6000000;
    json_object *answer = etcd_call(join->etcd, path, request, ms < 300 ? 300 : (unsigned)ms);

    note_failure(join, etcd_failure(join->etcd));
    return answer;
}

static json_object *run_transaction(struct join *join, json_object *transaction)
{
    return ask_etcd(join, "/v3/kv/txn", transaction);
}

/* Whether it was done. */
static bool do_transaction(struct join *join, json_object *transaction)
{
    json_object *answer = run_transaction(join, transaction);
    bool done = answer && answer_succeeded(answer);

    json_object_put(answer);
    return done;
}

/* -------------------------------------------------------------------------- watches ---- */

static void add_watch(struct etcd_watch *watches, unsigned *count, const char *key, bool prefix)
{
    snprintf(watches[*count].key, sizeof watches[*count].key, "%s", key);
    watches[*count].prefix = prefix;
    ++*count;
}

/* `before`: the key of the member that joined before this one; null: there is none. */
static void set_watches(struct join *join, const char *before)
{
    struct etcd_watch watches[3];
    char key[REQUEST_KEY_BYTES];
    unsigned count = 0;

    memset(watches, 0, sizeof watches);
    key_in_prefix(join, key, "epoch");
    add_watch(watches, &count, key, false);
    if (join->leads) {
        key_in_prefix(join, key, "members/");
        add_watch(watches, &count, key, true);
        key_in_prefix(join, key, "acks/");
        add_watch(watches, &count, key, true);
    } else if (before) {
        add_watch(watches, &count, before, false);
    }
    if (etcd_is_watching(join->etcd) && count == join->watch_count &&
        memcmp(watches, join->watches, count * sizeof *watches) == 0)
        return;
    if (members_now_ns() < join->watch_at_ns) /* a stream that ends at once is not begun at once */
        return;
    join->watch_at_ns = members_now_ns() + RETRY_NS;
    memcpy(join->watches, watches, sizeof watches);
    join->watch_count = count;
    etcd_watch(join->etcd, watches, count, join->revision + 1);
}

/* --------------------------------------------------------------------------- epochs ---- */

/* Only its state has changed since it was learned. */
static bool is_activation(const struct join *join)
{
    return join->learned.epoch == join->record.epoch && !join->learned.active &&
           join->record.active && join->learned.revision < join->record.revision;
}

static struct cluster_view *view_as_known(struct join *join)
{
    const struct cluster_view *known = cluster_view_get(join->members);
    struct cluster_view *view = view_new(known->count);

    if (view)
        memcpy(view->members, known->members, known->count * sizeof known->members[0]);
    if (view)
        view->replicas = known->replicas;
    cluster_view_put(known);
    return view;
}

static struct cluster_view *view_from_etcd(struct join *join)
{
    json_object *request = request_transaction(), *answer;
    struct cluster_view *view = NULL;
    char key[REQUEST_KEY_BYTES];

    key_in_prefix(join, key, "list");
    request_range(request, key, false);
    answer = run_transaction(join, request);
    if (answer && record_read_list(answer_kv(answer, 0), &view))
        note_failure(join, cluster_detail());
    json_object_put(answer);
    if (view && view->epoch != join->record.epoch) {
        cluster_view_put(view); /* another epoch came meanwhile */
        view = NULL;
        join->again = true;
    }
    return view;
}

/* Null: not now. */
static struct cluster_view *view_of_record(struct join *join)
{
    struct cluster_view *view = is_activation(join) ? view_as_known(join) : view_from_etcd(join);

    if (view) {
        view->epoch = join->record.epoch;
        view->active = join->record.active;
    }
    return view;
}

/* The member serves nobody, and joins again as another incarnation. */
static void go_out(struct join *join, const char *why)
{
    members_go_out(join->members);
    note_failure(join, why);
    memset(&join->learned, 0, sizeof join->learned);
    if (join->incarnation)
        join->stopped = join->incarnation;
    join->incarnation = join->acknowledged = 0;
    join->leads = false;
}

/* -ESTALE: the cluster has another number of copies than this member was told. */
static int check_replicas(const struct join *join, const struct cluster_view *view)
{
    if (!join->members->name[0] || !join->replicas || view->replicas == join->replicas)
        return 0;
    return cluster_fail(-ESTALE,
                        "the cluster has %u copies of each object, and this member is to "
                        "have %u",
                        view->replicas, join->replicas);
}

/* False: not now. */
static bool learn(struct join *join)
{
    struct cluster_view *view;
    int rc = 0;

    if (join->learned.revision == join->record.revision)
        return true;
    view = view_of_record(join);
    if (!view)
        return false;
    rc = check_replicas(join, view);
    if (join->incarnation && !rc)
        rc = members_learn(join->members, view);
    if (rc == -ESTALE)
        go_out(join, cluster_detail());
    if (rc == 0) {
        members_publish(join->members, view);
        join->learned = join->record;
    }
    cluster_view_put(view);
    return rc == 0;
}

static void acknowledge(struct join *join)
{
    json_object *request;
    char key[REQUEST_KEY_BYTES], value[24];

    if (!join->incarnation || !join->members->chain.must_ack ||
        join->acknowledged == join->record.epoch)
        return;
    make_acks(join, key, join->members->name);
    snprintf(value, sizeof value, "%" PRIu64, join->incarnation);
    request = request_transaction();
    request_put(request, key, value, join->lease);
    if (do_transaction(join, request))
        join->acknowledged = join->record.epoch;
}

/* -------------------------------------------------------------------------- leading ---- */

static void propose(struct join *join, const struct cluster_view *view,
                    const struct cluster_view *living)
{
    struct cluster_view *next = epoch_propose(view, living);
    char *epoch = next ? record_write_epoch(next->epoch, false) : NULL;
    char *list = next ? record_write_list(next) : NULL;
    char key[REQUEST_KEY_BYTES];

    if (epoch && list) {
        json_object *request = request_transaction();

        key_in_prefix(join, key, "epoch");
        request_if(request, key, join->record.revision);
        request_put(request, key, epoch, 0);
        key_in_prefix(join, key, "list");
        request_put(request, key, list, 0);
        key_in_prefix(join, key, "acks/");
        request_delete_all(request, key);
        key_in_prefix(join, key, "stopped/");
        request_delete_all(request, key);
        do_transaction(join, request);
    }
    free(epoch);
    free(list);
    cluster_view_put(next);
}

static void activate(struct join *join)
{
    char *epoch = record_write_epoch(join->record.epoch, true);
    char key[REQUEST_KEY_BYTES];
    json_object *request;

    if (!epoch)
        return;
    request = request_transaction();
    key_in_prefix(join, key, "epoch");
    request_if(request, key, join->record.revision);
    request_put(request, key, epoch, 0);
    do_transaction(join, request);
    free(epoch);
}

static void take_epoch_step(struct join *join, const struct cluster_view *view,
                            const struct cluster_view *living, struct epoch_marks stopped,
                            struct epoch_marks acks)
{
    enum epoch_step step = epoch_next(view, living, stopped, acks);
    uint64_t now = members_now_ns();

    if (step != EPOCH_PROPOSE)
        join->settle_at_ns = 0;
    else if (!join->settle_at_ns)
        join->settle_at_ns = now + SETTLE_NS;
    if (step == EPOCH_KEEP || (step == EPOCH_PROPOSE && now < join->settle_at_ns))
        return;
    join->settle_at_ns = 0;
    if (step == EPOCH_PROPOSE)
        propose(join, view, living);
    else
        activate(join);
    join->again = true;
}

/* For how long a member serves after a renewal was sent, by clocks of which none is slow. */
static uint64_t serving_ns(uint64_t lease_ns)
{
    return lease_ns / 2;
}

/* When a member whose key has gone serves nobody any more. */
static uint64_t missed_until(const struct join *join, const struct cluster_member *member)
{
    for (uint32_t i = 0; i < join->missed_count; i++)
        if (join->missed[i].mark.incarnation == member->incarnation &&
            strcmp(join->missed[i].mark.name, member->name) == 0)
            return join->missed[i].until_ns;
    return members_now_ns() + serving_ns(member->lease_seconds * SECOND_NS);
}

/* Members of the epoch whose keys have gone: those that have said that they have stopped, and those
 * that were missed for long enough. Null: no memory. */
static struct epoch_mark *find_stopped(struct join *join, const struct cluster_view *view,
                                       const struct cluster_view *living, struct epoch_marks said,
                                       struct epoch_marks *out)
{
    uint32_t members = view ? view->count : 0, stopped = 0, count = 0;
    struct epoch_mark *marks = calloc(members + 1, sizeof *marks);
    struct missed *missed = calloc(members + 1, sizeof *missed);

    join->missed_at_ns = 0;
    for (uint32_t i = 0; i < members && marks && missed; i++) {
        const struct cluster_member *member = &view->members[i];
        struct missed *one = &missed[count];

        if (epoch_lives(living, member))
            continue;
        strcpy(one->mark.name, member->name);
        one->mark.incarnation = member->incarnation;
        one->until_ns = missed_until(join, member);
        count++;
        if (epoch_is_marked(said, member) || members_now_ns() >= one->until_ns)
            marks[stopped++] = one->mark;
        else if (!join->missed_at_ns || one->until_ns < join->missed_at_ns)
            join->missed_at_ns = one->until_ns;
    }
    free(join->missed);
    join->missed = missed;
    join->missed_count = missed ? count : 0;
    *out = (struct epoch_marks){marks, stopped};
    return missed ? marks : NULL;
}

/* Members, acknowledgements and members that have stopped, as of one revision. */
static json_object *ask_who_lives(struct join *join)
{
    json_object *request = request_transaction();
    char key[REQUEST_KEY_BYTES];

    key_in_prefix(join, key, "epoch");
    request_range(request, key, false);
    key_in_prefix(join, key, "members/");
    request_range(request, key, true);
    make_acks(join, key, "");
    request_range(request, key, true);
    key_in_prefix(join, key, "stopped/");
    request_range(request, key, true);
    return run_transaction(join, request);
}

static void lead(struct join *join)
{
    const struct cluster_view *known = cluster_view_get(join->members);
    /* What an etcd had that has lost its data does not count. */
    const struct cluster_view *view = join->record.revision ? known : NULL;
    struct cluster_view *living = NULL;
    json_object *answer = ask_who_lives(join);
    struct epoch_marks acks = {0}, said = {0}, stopped = {0};
    char key[REQUEST_KEY_BYTES];
    struct record_epoch record;

    if (!answer || record_read_epoch(answer_kv(answer, 0), &record))
        goto out;
    if (record.revision != join->record.revision) {
        join->again = true;
        goto out;
    }
    key_in_prefix(join, key, "members/");
    if (record_read_members(answer_kvs(answer, 1), strlen(key), &living))
        goto out;
    living->replicas = join->replicas ? join->replicas : 1; /* of the first epoch */
    make_acks(join, key, "");
    if (record_read_marks(answer_kvs(answer, 2), strlen(key), &acks))
        goto out;
    key_in_prefix(join, key, "stopped/");
    if (record_read_marks(answer_kvs(answer, 3), strlen(key), &said) ||
        !find_stopped(join, view, living, said, &stopped))
        goto out;
    take_epoch_step(join, view, living, stopped, acks);
out:
    free((void *)acks.at);
    free((void *)said.at);
    free((void *)stopped.at);
    cluster_view_put(living);
    cluster_view_put(known);
    json_object_put(answer);
}

/* -------------------------------------------------------------------------- looking ---- */

/* The record, this member's key, and the member that joined just before it, as of one revision. */
static json_object *look(struct join *join)
{
    json_object *request = request_transaction();
    char key[REQUEST_KEY_BYTES];

    key_in_prefix(join, key, "epoch");
    request_range(request, key, false);
    if (join->incarnation) {
        request_range(request, join->self, false);
        key_in_prefix(join, key, "members/");
        request_last_before(request, key, join->incarnation);
    }
    return run_transaction(join, request);
}

/* The key of this membership is there. */
static bool finds_self(const struct join *join, json_object *answer)
{
    return etcd_number(answer_kv(answer, 1), "create_revision") == join->incarnation;
}

/* What a look has found. False: it makes no sense, or this member has gone out. */
static bool take_look(struct join *join, json_object *answer, char **before)
{
    *before = NULL;
    if (record_read_epoch(answer_kv(answer, 0), &join->record)) {
        note_failure(join, cluster_detail());
        return false;
    }
    join->revision = answer_revision(answer);
    if (!join->incarnation)
        return true;
    if (!finds_self(join, answer)) {
        go_out(join, "etcd ended the lease of this member");
        return false;
    }
    *before = etcd_text(answer_kv(answer, 2), "key");
    join->leads = !*before;
    return true;
}

/* Does what follows from a look, which it takes. */
static void follow_look(struct join *join, json_object *answer)
{
    char *before;

    join->again = false;
    if (take_look(join, answer, &before)) {
        set_watches(join, before);
        if (!join->record.revision || learn(join)) {
            acknowledge(join);
            if (join->leads && join->incarnation)
                lead(join);
        }
    }
    free(before);
    json_object_put(answer);
}

/* ------------------------------------------------------------------ joining, leaving ---- */

/* So that nobody waits for it. */
static void say_stopped(struct join *join)
{
    json_object *request;
    char key[REQUEST_KEY_BYTES], value[24];

    if (!join->stopped)
        return;
    snprintf(key, sizeof key, "%sstopped/%s", join->prefix, join->members->name);
    snprintf(value, sizeof value, "%" PRIu64, join->stopped);
    request = request_transaction();
    request_put(request, key, value, 0);
    if (do_transaction(join, request))
        join->stopped = 0;
}

static void revoke(struct join *join)
{
    say_stopped(join);
    if (join->lease)
        json_object_put(ask_etcd(join, "/v3/lease/revoke", request_of_lease(join->lease)));
    join->lease = 0;
}

static uint64_t ttl_left(const struct join *join, uint64_t sent_ns)
{
    return sent_ns + serving_ns(join->ttl_ns) - serving_ns(join->ttl_ns) / 10;
}

static bool grant(struct join *join)
{
    json_object *answer = ask_etcd(join, "/v3/lease/grant", request_lease(join->ttl_asked));

    join->lease = etcd_number(answer, "ID");
    if (etcd_number(answer, "TTL"))
        join->ttl_ns = etcd_number(answer, "TTL") * SECOND_NS;
    json_object_put(answer);
    return join->lease != 0;
}

/* The member's key, attached to the lease: this is what makes it a member. */
static bool put_self(struct join *join)
{
    char *value = record_write_member(join->address, (uint32_t)(join->ttl_ns / SECOND_NS));
    json_object *request = request_transaction(), *answer;

    request_if(request, join->self, 0);
    request_put(request, join->self, value ? value : "", join->lease);
    free(value);
    answer = run_transaction(join, request);
    if (answer && answer_succeeded(answer))
        join->incarnation = answer_revision(answer);
    else if (answer)
        note_failure(join, "a member of the same name has not left yet");
    json_object_put(answer);
    return join->incarnation != 0;
}

/* Looks before it joins, so that the others need not put up with a member that goes out again. */
static bool agrees_on_replicas(struct join *join)
{
    json_object *request, *answer;
    struct cluster_view *view = NULL;
    char key[REQUEST_KEY_BYTES];
    bool agrees = true;

    if (!join->replicas)
        return true;
    request = request_transaction();
    key_in_prefix(join, key, "list");
    request_range(request, key, false);
    answer = run_transaction(join, request);
    if (!answer)
        return false;
    if (answer_kv(answer, 0) && record_read_list(answer_kv(answer, 0), &view) == 0)
        agrees = check_replicas(join, view) == 0;
    if (!agrees)
        note_failure(join, cluster_detail());
    json_object_put(answer);
    cluster_view_put(view);
    return agrees;
}

/* What was there before may be older than what others have had since, so all of it goes first. */
static void begin_membership(struct join *join)
{
    uint64_t sent;

    revoke(join);
    if (!agrees_on_replicas(join))
        return;
    if (!sweep_drop_all(join->members))
        return;
    sent = members_now_ns();
    if (!grant(join))
        return;
    if (!put_self(join)) {
        revoke(join);
        return;
    }
    members_go_in(join->members, join->incarnation);
    members_extend(join->members, ttl_left(join, sent));
    join->renew_at_ns = sent + join->ttl_ns / 4;
    join->again = true;
}

static void renew(struct join *join)
{
    uint64_t sent = members_now_ns(), ttl;
    json_object *answer = ask_etcd(join, "/v3/lease/keepalive", request_of_lease(join->lease));
    json_object *result = etcd_member(answer, "result");

    ttl = etcd_number(result, "TTL");
    json_object_put(answer);
    join->renew_at_ns = members_now_ns() + RETRY_NS;
    if (!result) {
        join->again = true;
        return;
    }
    if (!ttl) {
        go_out(join, "etcd ended the lease of this member");
        return;
    }
    answer = look(join);
    if (answer && finds_self(join, answer)) {
        members_extend(join->members, ttl_left(join, sent));
        join->renew_at_ns = sent + join->ttl_ns / 4;
    }
    if (answer)
        follow_look(join, answer);
}

static void keep_in_touch(struct join *join)
{
    bool is_member = join->members->name[0];

    if (is_member && !join->incarnation) {
        begin_membership(join);
    } else if (is_member && members_now_ns() >= join->renew_at_ns) {
        renew(join);
    } else {
        json_object *answer = look(join);

        if (answer)
            follow_look(join, answer);
    }
}

/* When it looks without having been woken. */
static uint64_t next_look_ns(const struct join *join)
{
    uint64_t now = members_now_ns(), next = now + ASK_NS;

    if (etcd_failure(join->etcd)[0] || (join->members->name[0] && !join->incarnation))
        next = now + RETRY_NS;
    if (!etcd_is_watching(join->etcd) && join->watch_at_ns < next)
        next = join->watch_at_ns > now ? join->watch_at_ns : now + RETRY_NS;
    if (join->settle_at_ns && join->settle_at_ns < next)
        next = join->settle_at_ns;
    if (join->leads && join->missed_at_ns && join->missed_at_ns < next)
        next = join->missed_at_ns;
    if (join->incarnation && join->renew_at_ns < next)
        next = join->renew_at_ns;
    return next;
}

static void wait_for_reason(struct join *join)
{
    uint64_t until = next_look_ns(join), now = members_now_ns();

    while (now < until && !members_closes(join->members)) {
        if (etcd_wait(join->etcd, until - now))
            return;
        now = members_now_ns();
    }
}

static void *stay_in_touch(void *arg)
{
    struct join *join = arg;

    while (!members_closes(join->members)) {
        keep_in_touch(join);
        if (!join->again || etcd_failure(join->etcd)[0])
            wait_for_reason(join);
    }
    members_go_out(join->members);
    join->stopped = join->incarnation;
    revoke(join);
    return NULL;
}

static int set_prefix(struct join *join, const char *prefix)
{
    size_t len = strlen(prefix);

    if (len == 0 || len >= REQUEST_PREFIX_BYTES - 1 || prefix[len - 1] != '/')
        return cluster_fail(-EINVAL,
                            "'%.100s' is not a prefix of keys: it ends with a slash, and has at "
                            "most %d bytes",
                            prefix, REQUEST_PREFIX_BYTES - 2);
    strcpy(join->prefix, prefix);
    return 0;
}

static int prepare(struct join *join, const struct cluster_members_options *options)
{
    const struct etcd_options etcd = {
        .urls = options->etcd, .ca = options->ca, .cert = options->cert, .key = options->key};
    int rc = set_prefix(join, options->prefix ? options->prefix : "holdfast/");

    join->ttl_asked = (options->ttl_seconds ? options->ttl_seconds : TTL_SECONDS) * 2 / 3;
    join->ttl_asked += join->ttl_asked == 0;
    join->replicas = options->replicas;
    join->ttl_ns = join->ttl_asked * SECOND_NS;
    if (options->address)
        snprintf(join->address, sizeof join->address, "%s", options->address);
    snprintf(join->self, sizeof join->self, "%smembers/%s", join->prefix, join->members->name);
    return rc ? rc : etcd_open(&etcd, &join->etcd);
}

int join_open(struct cluster_members *members, const struct cluster_members_options *options)
{
    struct join *join = calloc(1, sizeof *join);
    int rc;

    if (!join)
        return cluster_fail(-ENOMEM, "no memory to join a cluster");
    join->members = members;
    rc = prepare(join, options);
    if (!rc) {
        rc = cluster_thread(&members->join_thread, stay_in_touch, join);
        rc = rc ? cluster_fail(-EAGAIN, "no thread to join a cluster: %s", strerror(rc)) : 0;
        if (rc)
            etcd_close(join->etcd);
    }
    if (rc)
        free(join);
    else
        members->join = join;
    return rc;
}

void join_close(struct cluster_members *members)
{
    etcd_wake(members->join->etcd);
    pthread_join(members->join_thread, NULL);
    etcd_close(members->join->etcd);
    free(members->join->missed);
    free(members->join);
}
