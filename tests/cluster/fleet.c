/* SPDX-License-Identifier: MIT */
/*
 * What a cluster of many members costs, by the code that places keys and makes epochs. One member
 * of N dies. Counted are the keys that move, the bytes of the list in etcd, and what all members
 * together call and read there. Each renewal is two calls, each quarter of a lease of five seconds.
 */
#include "epoch.h"
#include "place.h"
#include "records.h"
#include "support.h"
#include "view.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIST_MAX (UINT64_C(3) << 19) /* of a value in etcd: 1.5 MiB, unless it is told otherwise */
#define LEASE_SECONDS 3              /* two thirds of the default */

static struct cluster_view *living(uint32_t members, uint32_t without)
{
    struct cluster_view *view = view_new(members);
    uint32_t to = 0;
    char name[CLUSTER_NAME_BYTES], address[CLUSTER_ADDRESS_BYTES];

    EXPECT(view);
    for (uint32_t i = 0; i < members; i++) {
        int len = snprintf(name, sizeof name, "machine-%05u", i);
        int address_len = snprintf(address, sizeof address, "198.51.%u.%u:45000", i / 256, i % 256);

        if (i != without)
            EXPECT_OK(view_set_member(&view->members[to++], name, (size_t)len, address,
                                      (size_t)address_len, 1000000 + i));
    }
    view->count = to;
    EXPECT_OK(view_seal(view));
    return view;
}

static unsigned count_moved(const struct cluster_view *before, const struct cluster_view *after,
                            unsigned keys)
{
    unsigned moved = 0;

    for (uint64_t key = 0; key < keys; key++) {
        uint32_t from, to;

        EXPECT_EQ(cluster_place(before, &key, sizeof key, 1, &from), 1);
        EXPECT_EQ(cluster_place(after, &key, sizeof key, 1, &to), 1);
        moved += strcmp(before->members[from].name, after->members[to].name) != 0;
    }
    return moved;
}

static const struct epoch_marks nobody;

/* The one member that is not there any more. */
static struct epoch_marks mark_missing(const struct cluster_view *before,
                                       const struct cluster_view *alive, struct epoch_mark *gone)
{
    uint32_t i = 0;

    while (epoch_lives(alive, &before->members[i]))
        i++;
    strcpy(gone->name, before->members[i].name);
    gone->incarnation = before->members[i].incarnation;
    return (struct epoch_marks){gone, 1};
}

/* All that stay must acknowledge, and nobody else. Returns how many do. */
static uint32_t agree(const struct cluster_view *view, const struct cluster_view *alive)
{
    struct epoch_mark *acks = calloc(view->count, sizeof *acks);
    uint32_t count = 0;

    EXPECT(acks);
    while (epoch_next(view, alive, nobody, (struct epoch_marks){acks, count}) == EPOCH_KEEP) {
        EXPECT(count < view->count);
        count = count + 997 < view->count ? count + 997 : view->count;
        for (uint32_t i = 0; i < count; i++) {
            strcpy(acks[i].name, view->members[i].name);
            acks[i].incarnation = view->members[i].incarnation;
        }
    }
    EXPECT_EQ(epoch_next(view, alive, nobody, (struct epoch_marks){acks, count}), EPOCH_ACTIVATE);
    free(acks);
    return count;
}

static void one_fleet(uint32_t members)
{
    struct cluster_view *all = living(members, members), *rest = living(members, members / 2);
    struct cluster_view *first = epoch_propose(NULL, all), *second;
    unsigned keys = members < 1000 ? 200000 : 20000000 / members, moved;
    struct epoch_mark gone;
    uint64_t bytes;
    char *list;

    EXPECT(first);
    first->active = true;
    EXPECT_EQ(epoch_next(first, rest, nobody, nobody), EPOCH_KEEP); /* it may still serve */
    EXPECT_EQ(epoch_next(first, rest, mark_missing(first, rest, &gone), nobody), EPOCH_PROPOSE);
    second = epoch_propose(first, rest);
    EXPECT(second);
    EXPECT_EQ(agree(second, rest), members - 1);
    moved = count_moved(all, rest, keys);
    list = record_write_list(second);
    EXPECT(list);
    bytes = strlen(list);
    EXPECT(bytes < LIST_MAX);
    /* A change: each member looks twice, reads the list and acknowledges. */
    printf("%7u %7u of %6u keys  %5.2f/N %9" PRIu64 " bytes of list %8.1f calls/s %8u calls and "
           "%8.1f MB a change\n",
           members, moved, keys, (double)moved * members / keys, bytes,
           members * 2.0 * 4 / LEASE_SECONDS, members * 4, (double)bytes * members / 1e6);
    free(list);
    cluster_view_put(all);
    cluster_view_put(rest);
    cluster_view_put(first);
    cluster_view_put(second);
}

static void fleet(void)
{
    for (uint32_t members = 10; members <= 10000; members *= 10)
        one_fleet(members);
}

TEST_SCENARIO(fleet)
