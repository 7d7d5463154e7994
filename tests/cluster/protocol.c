/* SPDX-License-Identifier: MIT */
/*
 * Messages that are lost, come twice or come late; members and clients that are stopped or killed.
 * What a get returns is the object, what a get gave up is not written to afterwards, and others go
 * on. With --twice, the member serves a message that has come before, which must show. So must
 * it with --late, where it does what was given up.
 */
#include "peer.h"
#include "rig.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LARGE ((size_t)32 << 20) /* more than sockets take while nobody reads */
#define SHORT_NS UINT64_C(300000000)

/* In shared memory: the next message of this kind has this fate; 0: none has. */
static struct {
    uint32_t kind, fate, all;
} * fates;

static enum cluster_lab_fate choose_fate(const struct wire_head *head)
{
    if (test_peek(&fates->all))
        return head->kind >= WIRE_GET ? (enum cluster_lab_fate)test_peek(&fates->all)
                                      : CLUSTER_LAB_SENT;
    if (test_peek(&fates->kind) != head->kind)
        return CLUSTER_LAB_SENT;
    test_raise(&fates->kind, 0);
    return (enum cluster_lab_fate)fates->fate;
}

static void meet(enum wire_kind kind, enum cluster_lab_fate fate)
{
    fates->fate = fate;
    test_raise(&fates->kind, kind);
}

/* Until the link is there again; a slow machine may need several attempts. */
static int64_t get_at_last(struct hfx *cluster, uint64_t number, size_t len)
{
    int64_t version;

    do
        version = rig_get(cluster, number, len);
    while (version == -ETIMEDOUT || version == -ENOTCONN);
    return version;
}

static void put_at_last(struct hfx *cluster, uint64_t number, uint64_t version, size_t len)
{
    void *bytes = malloc(len);
    struct rig_key key;
    int rc;

    rig_fill(bytes, len, number, version);
    do
        rc = hfx_put(cluster, rig_key(&key, number), bytes, len);
    while (rc == -ETIMEDOUT || rc == -ENOTCONN);
    EXPECT_EQ(rc, 0);
    free(bytes);
}

/* A put that comes again after a removal. The object must not be back. */
static int64_t put_comes_late(struct hfx *cluster)
{
    struct rig_key key;

    meet(WIRE_PUT, CLUSTER_LAB_AGAIN);
    rig_put(cluster, 1, 5, 64);
    EXPECT_EQ(hfx_remove(cluster, rig_key(&key, 1)), 0);
    EXPECT_EQ(hfx_length(cluster, rig_key(&key, 2)), -ENOENT); /* after the copy */
    return rig_get(cluster, 1, 64);
}

static void all_come_twice(struct hfx *cluster)
{
    struct rig_key key;

    test_raise(&fates->all, CLUSTER_LAB_TWICE);
    for (uint64_t i = 0; i < 50; i++) {
        size_t len = i % 2 ? 64 : 100000;

        rig_put(cluster, i, i, len);
        EXPECT_EQ(rig_get(cluster, i, len), i);
        EXPECT_EQ(hfx_remove(cluster, rig_key(&key, i)), 0);
        EXPECT_EQ(rig_get(cluster, i, len), -ENOENT);
    }
    test_raise(&fates->all, 0);
}

static void some_are_lost(struct hfx *cluster)
{
    static const enum wire_kind kinds[] = {WIRE_GET, WIRE_ANSWER};

    put_at_last(cluster, 3, 9, 100000);
    for (unsigned i = 0; i < 2; i++) {
        EXPECT_EQ(get_at_last(cluster, 3, 100000), 9);
        meet(kinds[i], CLUSTER_LAB_LOST);
        EXPECT(rig_get(cluster, 3, 100000) != 9);
        EXPECT_EQ(test_peek(&fates->kind), 0);
        EXPECT_EQ(get_at_last(cluster, 3, 100000), 9);
    }
}

/* A get that was given up while the member was stopped: its memory is the caller's again. */
static void member_stops(struct rig *rig, struct hfx *cluster)
{
    static char bytes[100000];
    struct rig_key key;
    ssize_t got;

    EXPECT_EQ(get_at_last(cluster, 3, sizeof(bytes)), 9);
    EXPECT_OK(kill(rig->member[0].pid, SIGSTOP));
    EXPECT_EQ(waitpid(rig->member[0].pid, NULL, WUNTRACED), rig->member[0].pid);
    got = hfx_get(cluster, rig_key(&key, 3), bytes, sizeof(bytes));
    EXPECT_EQ(got, -ETIMEDOUT);
    EXPECT(strstr(hfx_detail(), "m0") != NULL);
    memset(bytes, 0x5a, sizeof(bytes));
    EXPECT_OK(kill(rig->member[0].pid, SIGCONT));
    EXPECT_EQ(get_at_last(cluster, 3, sizeof(bytes)), 9);
    for (size_t i = 0; i < sizeof(bytes); i++)
        EXPECT(bytes[i] == 0x5a);
}

/* A put that was given up while the member was stopped: the member finds it when it goes on. */
static int64_t put_is_given_up(struct rig *rig, struct hfx *cluster)
{
    char bytes[64];
    struct rig_key key;

    put_at_last(cluster, 5, 1, sizeof(bytes));
    test_stop(rig->member[0].pid);
    rig_fill(bytes, sizeof(bytes), 5, 2);
    EXPECT_EQ(hfx_put(cluster, rig_key(&key, 5), bytes, sizeof(bytes)), -ETIMEDOUT);
    EXPECT_OK(kill(rig->member[0].pid, SIGCONT));
    return get_at_last(cluster, 5, sizeof(bytes));
}

/* A removal likewise. */
static void removal_is_given_up(struct rig *rig, struct hfx *cluster)
{
    struct rig_key key;

    EXPECT_EQ(get_at_last(cluster, 5, 64), 1);
    test_stop(rig->member[0].pid);
    EXPECT_EQ(hfx_remove(cluster, rig_key(&key, 5)), -ETIMEDOUT);
    EXPECT_OK(kill(rig->member[0].pid, SIGCONT));
    EXPECT_EQ(get_at_last(cluster, 5, 64), 1);
}

static void member_dies(struct rig *rig, struct hfx *cluster)
{
    test_kill(rig->member[0].pid);
    EXPECT(rig_get(cluster, 3, 100000) < 0);
    rig_start(rig); /* at the same address, and empty */
    EXPECT_EQ(get_at_last(cluster, 3, 100000), -ENOENT);
    put_at_last(cluster, 3, 10, 100000);
    EXPECT_EQ(get_at_last(cluster, 3, 100000), 10);
}

static void be_silent(void *arg)
{
    struct hfx *cluster = rig_open(arg, TEST_PATIENCE_NS);
    char *bytes = malloc(LARGE);
    struct rig_key key;
    const struct hfx_request request = {HFX_GET, 0, *rig_key(&key, 4), bytes, LARGE, 0};

    EXPECT_EQ(rig_get(cluster, 3, 100000), 10);
    EXPECT_EQ(hfx_begin(cluster, &request, 1), 0);
    EXPECT_EQ(raise(SIGSTOP), 0);
    pause();
}

/* A client is stopped with a transfer on its way. The member gives it up, and holds nothing for it
 * any more; others do not wait. */
static void client_stops(struct rig *rig, struct hfx *cluster)
{
    struct hfx_counts counts = {.size = sizeof(counts)};
    pid_t silent;
    int status;

    put_at_last(cluster, 4, 11, LARGE);
    silent = test_fork(be_silent, rig);
    EXPECT_EQ(waitpid(silent, &status, WUNTRACED), silent);
    EXPECT(WIFSTOPPED(status));
    do {
        EXPECT_EQ(get_at_last(cluster, 3, 100000), 10);
        EXPECT_EQ(hfx_counts(cluster, 0, &counts), 0);
    } while (counts.given_up == 0);
    test_kill(silent);
}

static void client_dies(struct rig *rig, struct hfx *cluster)
{
    struct hfx_counts counts = {.size = sizeof(counts)};

    for (unsigned i = 0; i < 5; i++) {
        pid_t silent = test_fork(be_silent, rig);

        EXPECT_EQ(waitpid(silent, NULL, WUNTRACED), silent);
        test_kill(silent);
    }
    do
        EXPECT_EQ(hfx_counts(cluster, 0, &counts), 0);
    while (counts.connections > 1);
    EXPECT_EQ(get_at_last(cluster, 4, LARGE), 11);
}

static int body(int argc, char **argv)
{
    bool twice = argc > 1 && strcmp(argv[1], "--twice") == 0;
    bool late = argc > 1 && strcmp(argv[1], "--late") == 0;
    struct hfx *patient, *hasty;
    struct rig *rig;

    fates = test_shared(sizeof(*fates));
    cluster_lab_fate = choose_fate;
    cluster_lab_serves_twice = twice;
    cluster_lab_serves_late = late;
    rig = rig_new(1, TEST_MIB(128), test_is_slow() ? 0 : UINT64_C(500000000));
    patient = rig_open(rig, TEST_PATIENCE_NS);
    EXPECT_EQ(put_comes_late(patient), twice ? 5 : -ENOENT);
    if (late) {
        hasty = rig_open(rig, SHORT_NS);
        EXPECT_EQ(put_is_given_up(rig, hasty), 2);
        EXPECT_EQ(hfx_close(hasty), 0);
    } else if (!twice) {
        hasty = rig_open(rig, SHORT_NS);
        all_come_twice(patient);
        some_are_lost(hasty);
        member_stops(rig, hasty);
        EXPECT_EQ(put_is_given_up(rig, hasty), 1);
        removal_is_given_up(rig, hasty);
        member_dies(rig, hasty);
        EXPECT_EQ(hfx_close(hasty), 0);
        client_stops(rig, patient);
        client_dies(rig, patient);
    }
    EXPECT_EQ(hfx_close(patient), 0);
    rig_end(rig);
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
