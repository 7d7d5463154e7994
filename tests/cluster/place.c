/* SPDX-License-Identifier: MIT */
/* Where keys go: evenly, the same in every process, and few move when a member joins or leaves. */
#include "place.h"
#include "support.h"
#include "view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEYS 200000u

static struct cluster_view *view_of(unsigned first, unsigned count)
{
    struct cluster_view *view = view_new(count);
    char name[CLUSTER_NAME_BYTES];

    EXPECT(view);
    for (unsigned i = 0; i < count; i++) {
        int len = snprintf(name, sizeof name, "member-%u", first + i);

        EXPECT_OK(view_set_member(&view->members[i], name, (size_t)len, "192.0.2.1:1", 11, 1));
    }
    EXPECT_OK(view_seal(view));
    return view;
}

static const char *owner(const struct cluster_view *view, uint64_t key)
{
    uint32_t place;

    EXPECT_EQ(cluster_place(view, &key, sizeof key, 1, &place), 1);
    return view->members[place].name;
}

/* Each member of N has KEYS / N, give or take five standard deviations. The keys are numbers, so
 * that the result is the same in each run. */
static void spread(unsigned members)
{
    struct cluster_view *view = view_of(0, members);
    unsigned *of = calloc(members, sizeof *of), mean = KEYS / members;

    EXPECT(of);
    for (uint64_t key = 0; key < KEYS; key++) {
        uint32_t place;

        cluster_place(view, &key, sizeof key, 1, &place);
        of[place]++;
    }
    for (unsigned i = 0; i < members; i++) {
        long off = (long)of[i] - (long)mean;

        if (off * off > 25L * mean)
            FAIL("%s of %u has %u keys, the mean is %u", view->members[i].name, members, of[i],
                 mean);
    }
    free(of);
    cluster_view_put(view);
}

/* One that joins takes at most 1.1/N of the keys, and all that move go to it. The same view the
 * other way round: one that leaves gives away its own alone. */
static void join(unsigned members)
{
    struct cluster_view *before = view_of(0, members - 1), *after = view_of(0, members);
    char joined[CLUSTER_NAME_BYTES];
    unsigned moved = 0;

    snprintf(joined, sizeof joined, "member-%u", members - 1);
    for (uint64_t key = 0; key < KEYS; key++) {
        if (strcmp(owner(before, key), owner(after, key)) == 0)
            continue;
        EXPECT(strcmp(owner(after, key), joined) == 0);
        moved++;
    }
    printf("%u members and one more: %u of %u keys move, %.3f/N\n", members - 1, moved, KEYS,
           (double)moved * members / KEYS);
    EXPECT((uint64_t)moved * members * 10 <= (uint64_t)KEYS * 11);
    cluster_view_put(before);
    cluster_view_put(after);
}

/* The first of R is the only one of 1; no member is twice in it; without the first, the second is
 * the first. */
static void replicas(void)
{
    struct cluster_view *view = view_of(0, 7);

    for (uint64_t key = 0; key < 1000; key++) {
        uint32_t all[8], first;

        EXPECT_EQ(cluster_place(view, &key, sizeof key, 8, all), 7);
        EXPECT_EQ(cluster_place(view, &key, sizeof key, 1, &first), 1);
        EXPECT_EQ(all[0], first);
        for (unsigned i = 0; i < 7; i++)
            for (unsigned j = 0; j < i; j++)
                EXPECT(all[i] != all[j]);

        struct cluster_view *less = view_new(6);

        EXPECT(less);
        for (unsigned i = 0, to = 0; i < 7; i++)
            if (i != first)
                less->members[to++] = view->members[i];
        EXPECT_OK(view_seal(less));
        EXPECT(strcmp(owner(less, key), view->members[all[1]].name) == 0);
        cluster_view_put(less);
    }
    EXPECT_EQ(cluster_place(view, "k", 1, 0, NULL), 0);
    cluster_view_put(view);
}

/* Other versions and machines of the other byte order must find the same: these never change. */
static void fixed(void)
{
    static const char *const owners[] = {"member-0", "member-2", "member-2", "member-2",
                                         "member-4", "member-0", "member-3", "member-0",
                                         "member-0", "member-3"};
    struct cluster_view *view = view_of(0, 5);

    for (uint64_t i = 0; i < sizeof owners / sizeof owners[0]; i++) {
        char key[16];
        uint32_t place;

        snprintf(key, sizeof key, "key-%u", (unsigned)i);
        cluster_place(view, key, strlen(key), 1, &place);
        if (strcmp(view->members[place].name, owners[i]) != 0)
            FAIL("%s is at %s, not %s", key, view->members[place].name, owners[i]);
    }
    EXPECT_EQ(cluster_place_hash("member-0"), 0x1bd5fdd07b47c08c);
    cluster_view_put(view);
}

static void place(void)
{
    static const unsigned sizes[] = {2, 3, 10, 100};

    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        spread(sizes[i]);
        join(sizes[i]);
    }
    replicas();
    fixed();
}

TEST_SCENARIO(place)
