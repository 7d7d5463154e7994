/* SPDX-License-Identifier: MIT */
/* Requests of etcd's gateway, and what their answers say. */
#include "gateway.h"

#include "etcd.h"

#include <inttypes.h>
#include <stdio.h>

static json_object *number_text(uint64_t number)
{
    char text[24];

    snprintf(text, sizeof text, "%" PRIu64, number);
    return json_object_new_string(text);
}

json_object *request_transaction(void)
{
    json_object *transaction = json_object_new_object();

    json_object_object_add(transaction, "compare", json_object_new_array());
    json_object_object_add(transaction, "success", json_object_new_array());
    return transaction;
}

void request_if(json_object *transaction, const char *key, uint64_t revision)
{
    json_object *compare = json_object_new_object();

    json_object_object_add(compare, "key", etcd_bytes(key));
    json_object_object_add(compare, "target", json_object_new_string("MOD"));
    json_object_object_add(compare, "result", json_object_new_string("EQUAL"));
    json_object_object_add(compare, "mod_revision", number_text(revision));
    json_object_array_add(etcd_member(transaction, "compare"), compare);
}

static json_object *add_step(json_object *transaction, const char *kind)
{
    json_object *step = json_object_new_object(), *inside = json_object_new_object();

    json_object_object_add(step, kind, inside);
    json_object_array_add(etcd_member(transaction, "success"), step);
    return inside;
}

void request_put(json_object *transaction, const char *key, const char *value, uint64_t lease)
{
    json_object *put = add_step(transaction, "request_put");

    json_object_object_add(put, "key", etcd_bytes(key));
    json_object_object_add(put, "value", etcd_bytes(value));
    if (lease)
        json_object_object_add(put, "lease", number_text(lease));
}

void request_delete_all(json_object *transaction, const char *prefix)
{
    etcd_add_range(add_step(transaction, "request_delete_range"), prefix, true);
}

void request_range(json_object *transaction, const char *key, bool prefix)
{
    etcd_add_range(add_step(transaction, "request_range"), key, prefix);
}

void request_last_before(json_object *transaction, const char *prefix, uint64_t revision)
{
    json_object *range = add_step(transaction, "request_range");

    etcd_add_range(range, prefix, true);
    json_object_object_add(range, "keys_only", json_object_new_boolean(true));
    json_object_object_add(range, "limit", number_text(1));
    json_object_object_add(range, "sort_order", json_object_new_string("DESCEND"));
    json_object_object_add(range, "sort_target", json_object_new_string("CREATE"));
    json_object_object_add(range, "max_create_revision", number_text(revision - 1));
}

json_object *answer_kvs(json_object *answer, unsigned index)
{
    json_object *responses = etcd_member(answer, "responses"), *kvs = NULL;

    if (responses && json_object_is_type(responses, json_type_array))
        kvs = etcd_member(
            etcd_member(json_object_array_get_idx(responses, index), "response_range"), "kvs");
    return kvs && json_object_is_type(kvs, json_type_array) ? kvs : NULL;
}

json_object *answer_kv(json_object *answer, unsigned index)
{
    json_object *kvs = answer_kvs(answer, index);

    return kvs ? json_object_array_get_idx(kvs, 0) : NULL;
}

uint64_t answer_revision(json_object *answer)
{
    return etcd_number(etcd_member(answer, "header"), "revision");
}

bool answer_succeeded(json_object *answer)
{
    return json_object_get_boolean(etcd_member(answer, "succeeded"));
}

json_object *request_lease(uint32_t ttl_seconds)
{
    json_object *request = json_object_new_object();

    json_object_object_add(request, "TTL", number_text(ttl_seconds));
    return request;
}

json_object *request_of_lease(uint64_t lease)
{
    json_object *request = json_object_new_object();

    json_object_object_add(request, "ID", number_text(lease));
    return request;
}
