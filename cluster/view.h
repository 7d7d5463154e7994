/* SPDX-License-Identifier: MIT */
/* How views are made: what members.c and its like share. */
#ifndef HF_CLUSTER_VIEW_H
#define HF_CLUSTER_VIEW_H

#include "members.h"

/* A view with room for `count` members, which belongs to the caller alone until view_seal(). Null:
 * no memory. It counts as got once. */
struct cluster_view *view_new(uint32_t count);
/* The same view, got once more. */
const struct cluster_view *view_again(const struct cluster_view *view);

/* Sets a member. -EINVAL: the name or the address is wrong, and cluster_detail() says how. */
int view_set_member(struct cluster_member *member, const char *name, size_t name_len,
                    const char *address, size_t address_len, uint64_t incarnation);
/* Sorts the members. -EINVAL: two have the same name. */
int view_seal(struct cluster_view *view);

/* From "NAME=ADDRESS,NAME=ADDRESS". -EINVAL, -ENOMEM. */
int view_parse(const char *list, struct cluster_view **out);

const struct cluster_member *view_find(const struct cluster_view *view, const char *name);

#endif
