/* SPDX-License-Identifier: MIT */
/* A list of members that is given: what is refused, with which words; which member serves a key. */
#include "members.h"
#include "place.h"
#include "support.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void refused(const char *list, const char *name, const char *sentence)
{
    const struct cluster_members_options options = {.list = list, .name = name};
    struct cluster_members *members;

    EXPECT_EQ(cluster_members_open(&options, &members), -EINVAL);
    if (!strstr(cluster_detail(), sentence))
        FAIL("'%s' is refused with: %s", list ? list : "null", cluster_detail());
}

static void refusals(void)
{
    char long_name[CLUSTER_NAME_BYTES + 8], long_address[CLUSTER_ADDRESS_BYTES + 8];

    memset(long_name, 'n', sizeof long_name);
    strcpy(long_name + CLUSTER_NAME_BYTES, "=x:1");
    memset(long_address, 'a', sizeof long_address - 1);
    memcpy(long_address, "b=", 2);
    long_address[sizeof long_address - 1] = 0;
    refused(NULL, NULL, "neither a list");
    refused("", NULL, "'' is not NAME=ADDRESS");
    refused("a", NULL, "'a' is not NAME=ADDRESS");
    refused("a=x:1,", NULL, "'' is not NAME=ADDRESS");
    refused("=x:1", NULL, "'' is not a name");
    refused("a=", NULL, "the address of 'a' has 0 bytes");
    refused("a/b=x:1", NULL, "'a/b' is not a name");
    refused(long_name, NULL, "at most 63");
    refused(long_address, NULL, "the address of 'b'");
    refused("a=x:1,b=y:1,a=z:1", NULL, "two members are called 'a'");
    refused("a=x:1,b=y:1", "c", "'c' is not in the list");
}

static void served(void)
{
    static const char list[] = "b=y:1,a=x:1,c=[2001:db8::1]:1";
    struct cluster_members *of[3], *client;
    const struct cluster_view *view;

    for (unsigned i = 0; i < 3; i++) {
        const char name[] = {(char)('a' + i), 0};

        EXPECT_OK(cluster_members_open(
            &(const struct cluster_members_options){.list = list, .name = name}, &of[i]));
    }
    EXPECT_OK(cluster_members_open(&(const struct cluster_members_options){.list = list}, &client));
    view = cluster_view_get(client);
    EXPECT_EQ(view->count, 3);
    EXPECT(view->active && view->epoch == 1);
    EXPECT(strcmp(view->members[2].address, "[2001:db8::1]:1") == 0);
    for (uint64_t key = 0; key < 1000; key++) {
        uint32_t place;

        EXPECT_EQ(cluster_place(view, &key, sizeof key, 1, &place), 1);
        for (unsigned i = 0; i < 3; i++)
            EXPECT_EQ(cluster_may_serve(of[i], &key, sizeof key), i == place);
        EXPECT(!cluster_may_serve(client, &key, sizeof key));
    }
    cluster_members_close(client);
    EXPECT_EQ(view->count, 3); /* a view outlives what it came from */
    cluster_view_put(view);
    for (unsigned i = 0; i < 3; i++)
        cluster_members_close(of[i]);
}

static void list(void)
{
    refusals();
    served();
}

TEST_SCENARIO(list)
