/* SPDX-License-Identifier: MIT */
/* Views: counted lists of members that never change once they are sealed. */
#include "view.h"

#include "place.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* The count is beside the view, so that a view is plain data for all others. */
struct counted_view {
    uint64_t references;
    struct cluster_view view;
};

static pthread_mutex_t references_mutex = PTHREAD_MUTEX_INITIALIZER;

static struct counted_view *counted_of(const struct cluster_view *view)
{
    return (struct counted_view *)((char *)(uintptr_t)view - offsetof(struct counted_view, view));
}

struct cluster_view *view_new(uint32_t count)
{
    struct counted_view *counted =
        calloc(1, sizeof *counted + count * sizeof(struct cluster_member));

    if (!counted)
        return NULL;
    counted->references = 1;
    counted->view.count = count;
    counted->view.replicas = 1;
    return &counted->view;
}

const struct cluster_view *view_again(const struct cluster_view *view)
{
    pthread_mutex_lock(&references_mutex);
    counted_of(view)->references++;
    pthread_mutex_unlock(&references_mutex);
    return view;
}

void cluster_view_put(const struct cluster_view *view)
{
    bool last;

    if (!view)
        return;
    pthread_mutex_lock(&references_mutex);
    last = --counted_of(view)->references == 0;
    pthread_mutex_unlock(&references_mutex);
    if (last)
        free(counted_of(view));
}

/* What etcd's keys, lists and command lines can carry without quotes. */
static bool name_is_fine(const char *name, size_t len)
{
    static const char fine[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";

    for (size_t i = 0; i < len; i++)
        if (!strchr(fine, name[i]))
            return false;
    return len > 0 && len < CLUSTER_NAME_BYTES;
}

int view_set_member(struct cluster_member *member, const char *name, size_t name_len,
                    const char *address, size_t address_len, uint64_t incarnation)
{
    if (!name_is_fine(name, name_len))
        return cluster_fail(-EINVAL,
                            "'%.*s' is not a name of a member: it has letters, digits and -_. "
                            "alone, at most %d of them",
                            (int)(name_len > 80 ? 80 : name_len), name, CLUSTER_NAME_BYTES - 1);
    if (address_len == 0 || address_len >= CLUSTER_ADDRESS_BYTES)
        return cluster_fail(-EINVAL, "the address of '%.*s' has %zu bytes, not 1 to %d",
                            (int)name_len, name, address_len, CLUSTER_ADDRESS_BYTES - 1);
    memset(member, 0, sizeof *member);
    memcpy(member->name, name, name_len);
    memcpy(member->address, address, address_len);
    member->incarnation = incarnation;
    member->hash = cluster_place_hash(member->name);
    return 0;
}

static int order_names(const void *left, const void *right)
{
    return strcmp(((const struct cluster_member *)left)->name,
                  ((const struct cluster_member *)right)->name);
}

int view_seal(struct cluster_view *view)
{
    qsort(view->members, view->count, sizeof view->members[0], order_names);
    for (uint32_t i = 1; i < view->count; i++)
        if (order_names(&view->members[i - 1], &view->members[i]) == 0)
            return cluster_fail(-EINVAL, "two members are called '%s'", view->members[i].name);
    return 0;
}

static int order_name(const void *name, const void *member)
{
    return strcmp(name, ((const struct cluster_member *)member)->name);
}

const struct cluster_member *view_find(const struct cluster_view *view, const char *name)
{
    return view->count
               ? bsearch(name, view->members, view->count, sizeof view->members[0], order_name)
               : NULL;
}

static int parse_member(struct cluster_member *member, const char *item, size_t len)
{
    const char *equals = memchr(item, '=', len);

    if (!equals)
        return cluster_fail(-EINVAL, "'%.*s' is not NAME=ADDRESS", (int)len, item);
    return view_set_member(member, item, (size_t)(equals - item), equals + 1,
                           len - (size_t)(equals + 1 - item), 1);
}

static uint32_t count_items(const char *list)
{
    uint32_t count = 1;

    for (; *list; list++)
        count += *list == ',';
    return count;
}

int view_parse(const char *list, struct cluster_view **out)
{
    uint32_t count = count_items(list);
    struct cluster_view *view;
    int rc = 0;

    if (count > CLUSTER_MEMBERS_MAX)
        return cluster_fail(-EINVAL, "there are more than %u members", CLUSTER_MEMBERS_MAX);
    view = view_new(count);
    if (!view)
        return cluster_fail(-ENOMEM, "no memory for a list of members");
    for (uint32_t i = 0; i < count && !rc; i++) {
        size_t len = strcspn(list, ",");

        rc = parse_member(&view->members[i], list, len);
        list += len + (list[len] == ',');
    }
    rc = rc ? rc : view_seal(view);
    if (rc)
        cluster_view_put(view);
    else
        *out = view;
    return rc;
}
