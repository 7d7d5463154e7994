/* SPDX-License-Identifier: MIT */
/* The members of a cluster whose list is given: one epoch, which never ends. */
#include "members.h"

#include "place.h"
#include "view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct cluster_members {
    const struct cluster_view *view;
    char name[CLUSTER_NAME_BYTES]; /* empty: it only asks */
};

static int open_list(struct cluster_members *members, const struct cluster_members_options *options)
{
    struct cluster_view *view;
    int rc = view_parse(options->list, &view);

    if (rc)
        return rc;
    view->epoch = 1;
    view->active = true;
    members->view = view;
    if (!options->name)
        return 0;
    if (!view_find(view, options->name))
        return cluster_fail(-EINVAL, "'%s' is not in the list of members", options->name);
    strcpy(members->name, options->name);
    return 0;
}

int cluster_members_open(const struct cluster_members_options *options,
                         struct cluster_members **out)
{
    struct cluster_members *members;
    int rc;

    if (!options->list)
        return cluster_fail(-EINVAL, "there is no list of members");
    members = calloc(1, sizeof *members);
    if (!members)
        return cluster_fail(-ENOMEM, "no memory for the members of a cluster");
    rc = open_list(members, options);
    if (rc)
        cluster_members_close(members);
    else
        *out = members;
    return rc;
}

void cluster_members_close(struct cluster_members *members)
{
    cluster_view_put(members->view);
    free(members);
}

const struct cluster_view *cluster_view_get(struct cluster_members *members)
{
    return view_again(members->view);
}

bool cluster_may_serve(struct cluster_members *members, const void *key, size_t length)
{
    return members->name[0] && cluster_place_is(members->view, key, length, members->name);
}
