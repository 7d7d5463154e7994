/* SPDX-License-Identifier: MIT */
/* Views as etcd holds them. */
#include "records.h"

#include "etcd.h"
#include "view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LEASE_SECONDS_MAX 86400

/* The value of a key as JSON; to be put. */
static json_object *value_of(json_object *kv)
{
    char *text = etcd_text(kv, "value");
    json_object *value = text ? json_tokener_parse(text) : NULL;

    free(text);
    return value;
}

int record_read_epoch(json_object *kv, struct record_epoch *out)
{
    json_object *value;

    memset(out, 0, sizeof *out);
    if (!kv)
        return 0;
    value = value_of(kv);
    out->epoch = etcd_number(value, "epoch");
    out->active = json_object_get_boolean(etcd_member(value, "active"));
    out->revision = etcd_number(kv, "mod_revision");
    json_object_put(value);
    return out->epoch && out->revision
               ? 0
               : cluster_fail(-EPROTO, "the record of the epoch in etcd makes no sense");
}

/* A lease of no time, or of years, makes no sense. */
static bool read_lease(json_object *value, struct cluster_member *member)
{
    int64_t seconds = json_object_get_int64(value);

    member->lease_seconds = seconds > 0 && seconds <= LEASE_SECONDS_MAX ? (uint32_t)seconds : 0;
    return member->lease_seconds != 0;
}

static int read_list_member(json_object *row, struct cluster_member *member)
{
    const char *name, *address;
    int rc;

    if (!row || !json_object_is_type(row, json_type_array) || json_object_array_length(row) < 5)
        return -EPROTO;
    name = json_object_get_string(json_object_array_get_idx(row, 0));
    address = json_object_get_string(json_object_array_get_idx(row, 1));
    if (!name || !address)
        return -EPROTO;
    rc = view_set_member(member, name, strlen(name), address, strlen(address),
                         json_object_get_uint64(json_object_array_get_idx(row, 2)));
    member->stays = json_object_get_boolean(json_object_array_get_idx(row, 3));
    return rc || !read_lease(json_object_array_get_idx(row, 4), member) ? -EPROTO : 0;
}

static int read_rows(json_object *rows, struct cluster_view *view)
{
    int rc = 0;

    for (uint32_t i = 0; i < view->count && !rc; i++)
        rc = read_list_member(json_object_array_get_idx(rows, i), &view->members[i]);
    return rc || view_seal(view) ? -EPROTO : 0;
}

/* Lists without a number are those of one copy. */
static bool read_replicas(json_object *value, uint32_t *out)
{
    int64_t replicas = value ? json_object_get_int64(value) : 1;

    if (replicas < 1 || replicas > (int64_t)CLUSTER_REPLICAS_MAX)
        return false;
    *out = (uint32_t)replicas;
    return true;
}

int record_read_list(json_object *kv, struct cluster_view **out)
{
    json_object *value = value_of(kv), *rows = etcd_member(value, "members");
    struct cluster_view *view = NULL;
    int rc = -EPROTO;

    if (rows && json_object_is_type(rows, json_type_array) &&
        json_object_array_length(rows) <= CLUSTER_MEMBERS_MAX) {
        view = view_new((uint32_t)json_object_array_length(rows));
        rc = view ? read_rows(rows, view) : -ENOMEM;
    }
    if (view)
        view->epoch = etcd_number(value, "epoch");
    if (view && rc == 0 && !read_replicas(etcd_member(value, "replicas"), &view->replicas))
        rc = -EPROTO;
    json_object_put(value);
    if (rc) {
        cluster_view_put(view);
        return cluster_fail(rc, "the list of members in etcd makes no sense");
    }
    *out = view;
    return 0;
}

static uint32_t count_kvs(json_object *kvs)
{
    return kvs && json_object_is_type(kvs, json_type_array)
               ? (uint32_t)json_object_array_length(kvs)
               : 0;
}

/* The key without its first bytes; to be freed. */
static char *name_of(json_object *kv, size_t prefix_len)
{
    char *key = etcd_text(kv, "key");

    if (key && strlen(key) >= prefix_len) {
        memmove(key, key + prefix_len, strlen(key + prefix_len) + 1);
        return key;
    }
    free(key);
    return NULL;
}

static bool read_member(json_object *kv, size_t prefix_len, struct cluster_member *member)
{
    json_object *value = value_of(kv);
    const char *address = json_object_get_string(etcd_member(value, "address"));
    char *name = name_of(kv, prefix_len);
    bool fine = name && address &&
                view_set_member(member, name, strlen(name), address, strlen(address),
                                etcd_number(kv, "create_revision")) == 0 &&
                read_lease(etcd_member(value, "lease"), member);

    free(name);
    json_object_put(value);
    return fine;
}

int record_read_members(json_object *kvs, size_t prefix_len, struct cluster_view **out)
{
    uint32_t count = count_kvs(kvs), to = 0;
    struct cluster_view *view = view_new(count > CLUSTER_MEMBERS_MAX ? CLUSTER_MEMBERS_MAX : count);

    if (!view)
        return cluster_fail(-ENOMEM, "no memory for a list of members");
    for (uint32_t i = 0; i < count && to < view->count; i++)
        to += read_member(json_object_array_get_idx(kvs, i), prefix_len, &view->members[to]);
    view->count = to;
    *out = view;
    return view_seal(view); /* names are keys, so no two are the same */
}

static int order_two_marks(const void *left, const void *right)
{
    return strcmp(((const struct epoch_mark *)left)->name,
                  ((const struct epoch_mark *)right)->name);
}

int record_read_marks(json_object *kvs, size_t prefix_len, struct epoch_marks *out)
{
    uint32_t all = count_kvs(kvs), to = 0;
    struct epoch_mark *marks = calloc(all + 1, sizeof *marks);

    if (!marks)
        return cluster_fail(-ENOMEM, "no memory for a list of members");
    for (uint32_t i = 0; i < all; i++) {
        json_object *kv = json_object_array_get_idx(kvs, i);
        char *name = name_of(kv, prefix_len), *value = etcd_text(kv, "value");

        if (name && value && strlen(name) < CLUSTER_NAME_BYTES) {
            strcpy(marks[to].name, name);
            marks[to++].incarnation = strtoull(value, NULL, 10);
        }
        free(name);
        free(value);
    }
    qsort(marks, to, sizeof *marks, order_two_marks);
    *out = (struct epoch_marks){marks, to};
    return 0;
}

static char *as_text(json_object *value)
{
    char *text = strdup(json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN));

    json_object_put(value);
    return text;
}

char *record_write_epoch(uint64_t epoch, bool active)
{
    json_object *value = json_object_new_object();

    json_object_object_add(value, "epoch", json_object_new_uint64(epoch));
    json_object_object_add(value, "active", json_object_new_boolean(active));
    return as_text(value);
}

char *record_write_list(const struct cluster_view *view)
{
    json_object *value = json_object_new_object(), *rows = json_object_new_array();

    for (uint32_t i = 0; i < view->count; i++) {
        const struct cluster_member *member = &view->members[i];
        json_object *row = json_object_new_array_ext(5);

        json_object_array_add(row, json_object_new_string(member->name));
        json_object_array_add(row, json_object_new_string(member->address));
        json_object_array_add(row, json_object_new_uint64(member->incarnation));
        json_object_array_add(row, json_object_new_boolean(member->stays));
        json_object_array_add(row, json_object_new_int64(member->lease_seconds));
        json_object_array_add(rows, row);
    }
    json_object_object_add(value, "epoch", json_object_new_uint64(view->epoch));
    json_object_object_add(value, "replicas", json_object_new_int64(view->replicas));
    json_object_object_add(value, "members", rows);
    return as_text(value);
}

char *record_write_member(const char *address, uint32_t lease_seconds)
{
    json_object *value = json_object_new_object();

    json_object_object_add(value, "address", json_object_new_string(address));
    json_object_object_add(value, "lease", json_object_new_int64(lease_seconds));
    return as_text(value);
}
