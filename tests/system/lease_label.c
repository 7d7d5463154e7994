/* SPDX-License-Identifier: MIT */
/*
 * The label of a lease in the list of what is held. It is there as long as the lease, also when it
 * changes hands or its process has died. It is never that of another lease.
 */
#include "support.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define LONG "[2001:0db8:0000:0000:0000:0000:0000:0007]:65535" /* what fits */
#define LOOKS 200
#define MANY 100 /* pins: more than a thread's slots */

static struct hf_pool *pool;
static struct hf_file *file;
static struct iovec iov;

static struct hf_lease take(const char *label, uint32_t flags)
{
    const struct hf_lease_options options = {
        .size = sizeof(options), .flags = flags, .label = label};

    return test_lease(file, 0, TEST_PAGE, &options, &iov, 1);
}

struct seen {
    const char *label;
    unsigned with, without;
    uint32_t state;
};

static int see(void *arg, const struct hf_pin_info *info)
{
    struct seen *seen = arg;

    if (strcmp(info->label, seen->label) == 0) {
        seen->with++;
        seen->state = info->state;
    } else {
        EXPECT_EQ(info->label[0], 0);
        seen->without++;
    }
    return 0;
}

static struct seen look(const char *label)
{
    struct seen seen = {.label = label};

    EXPECT_EQ(hf_pins(pool, see, &seen), 0);
    return seen;
}

static void check_lengths(void)
{
    struct hf_lease lease = take(LONG, 0), plain;

    EXPECT_EQ(strlen(LONG), HF_LABEL_BYTES - 1);
    EXPECT_EQ(look(LONG).with, 1);
    EXPECT_EQ(hf_lease_release(&lease), 0);
    lease = take(LONG " and more", 0);
    plain = take(NULL, 0);
    EXPECT_EQ(look(LONG).with, 1);
    EXPECT_EQ(look(LONG).without, 1);
    EXPECT_EQ(hf_lease_release(&lease), 0);
    EXPECT_EQ(hf_lease_release(&plain), 0);
    lease = take("", 0);
    EXPECT_EQ(look(LONG).without, 1);
    EXPECT_EQ(hf_lease_release(&lease), 0);
}

/* What comes to lie where a lease was has nothing of it. */
static void check_reuse(void)
{
    struct hf_lease leases[MANY];
    struct hf_pin pins[MANY];

    for (unsigned i = 0; i < MANY; i++)
        leases[i] = take(LONG, 0);
    EXPECT_EQ(look(LONG).with, MANY);
    for (unsigned i = 0; i < MANY; i++)
        EXPECT_EQ(hf_lease_release(&leases[i]), 0);
    for (unsigned i = 0; i < MANY; i++)
        pins[i] = test_pin(file, 0, TEST_PAGE, HF_PIN_READ, &iov, 1);
    EXPECT_EQ(look(LONG).with, 0);
    EXPECT_EQ(look(LONG).without, MANY);
    for (unsigned i = 0; i < MANY; i++)
        EXPECT_EQ(hf_unpin(&pins[i]), 0);
    leases[0] = take("short", 0);
    EXPECT_EQ(look("short").with, 1);
    EXPECT_EQ(hf_lease_release(&leases[0]), 0);
}

static void check_given(void)
{
    const struct hf_lease_options other = {.size = sizeof(other), .label = "other"};
    struct hf_lease lease = take("first", 0);
    struct hf_lease_token token;

    EXPECT_EQ(hf_lease_give(&lease, &token), 0);
    EXPECT_EQ(look("first").with, 1);
    EXPECT_EQ(hf_lease_take(pool, &token, &other, &iov, 1, &lease), -EINVAL);
    EXPECT_EQ(hf_lease_take(pool, &token, NULL, &iov, 1, &lease), 1);
    EXPECT_EQ(look("first").with, 1);
    EXPECT_EQ(hf_lease_release(&lease), 0);
    EXPECT_EQ(look("first").with, 0);
}

static void die_with_lease(void *arg)
{
    (void)arg;
    pool = test_pool_open("label");
    file = test_file(pool, "/file");
    take("dead", HF_PIN_WRITE | HF_PIN_RDMA);
}

static void check_dead(void)
{
    struct seen seen;

    test_join(test_fork(die_with_lease, NULL));
    seen = look("dead");
    EXPECT_EQ(seen.with, 1);
    EXPECT_EQ(seen.state, HF_PIN_QUARANTINED);
}

/* ---- while leases come and go ---- */

static uint32_t stop;

static void *come_and_go(void *arg)
{
    (void)arg;
    for (unsigned i = 0; !test_peek(&stop); i++) {
        static const char *const labels[] = {
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
            "cccccccccccccccccccc",
        };
        const struct hf_lease_options options = {.size = sizeof(options), .label = labels[i % 3]};
        struct iovec own;
        struct hf_lease lease = test_lease(file, 0, TEST_PAGE, &options, &own, 1);

        EXPECT_EQ(hf_lease_release(&lease), 0);
    }
    return NULL;
}

static int expect_whole(void *arg, const struct hf_pin_info *info)
{
    size_t len = strlen(info->label);

    if (info->state == HF_PIN_QUARANTINED)
        return 0;
    EXPECT_EQ(len, info->label[0] == 'c' ? 20 : HF_LABEL_BYTES - 1);
    EXPECT_EQ(strspn(info->label, (char[]){info->label[0], 0}), len);
    ++*(unsigned *)arg;
    return 0;
}

static void check_meanwhile(void)
{
    unsigned seen = 0;
    pthread_t thread;

    EXPECT_EQ(pthread_create(&thread, NULL, come_and_go, NULL), 0);
    for (unsigned looks = 0; looks < LOOKS || seen == 0; looks++)
        EXPECT_EQ(hf_pins(pool, expect_whole, &seen), 0);
    test_raise(&stop, 1);
    pthread_join(thread, NULL);
    printf("%u labels seen while they changed\n", seen);
}

static void lease_label(void)
{
    pool = test_pool_new("label", TEST_MIB(16));
    file = test_file_filled(pool, "/file", 1, 1);
    check_lengths();
    check_reuse();
    check_given();
    check_dead();
    check_meanwhile();
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
    test_pool_check("label");
}

TEST_SCENARIO(lease_label)
