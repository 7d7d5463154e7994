/* SPDX-License-Identifier: MIT */
/* The arguments of each call, and what a region does without a peer: withdrawn, answered late. */
#include "endpoint.h"

#include <errno.h>
#include <holdfast/fabric.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGES 3
#define QUARANTINE_NS UINT64_C(300000000)

static uint32_t revoked, lost;
static struct hf_fabric_event last;

static void on_event(void *arg, const struct hf_fabric_event *event)
{
    EXPECT(arg == &last);
    last = *event;
    test_count(event->kind == HF_FABRIC_REVOKE ? &revoked : &lost);
}

static void try_open(struct hf_pool *pool, const struct endpoint *end)
{
    struct fi_info *info = fi_dupinfo(end->info);
    struct hf_fabric_options options = {
        .size = sizeof(options), .domain = end->domain, .info = info, .event = on_event};
    struct hf_fabric *fabric = NULL;

    EXPECT_EQ(hf_fabric_open(NULL, &options, &fabric), -EINVAL);
    EXPECT_EQ(hf_fabric_open(pool, NULL, &fabric), -EINVAL);
    options.reserved = 1;
    EXPECT_EQ(hf_fabric_open(pool, &options, &fabric), -EINVAL);
    options.reserved = 0;
    options.size--;
    EXPECT_EQ(hf_fabric_open(pool, &options, &fabric), -EINVAL);
    options.size++;
    info->domain_attr->threading = FI_THREAD_DOMAIN;
    EXPECT_EQ(hf_fabric_open(pool, &options, &fabric), -EOPNOTSUPP);
    EXPECT(hf_fabric_detail()[0] != '\0');
    info->domain_attr->threading = FI_THREAD_SAFE;
    info->domain_attr->mr_mode |= FI_MR_RAW;
    EXPECT_EQ(hf_fabric_open(pool, &options, &fabric), -EOPNOTSUPP);
    info->domain_attr->mr_mode &= ~FI_MR_RAW;
    info->domain_attr->mr_mode |= FI_MR_VIRT_ADDR;
    info->tx_attr->msg_order = 0;
    free(info->fabric_attr->prov_name);
    info->fabric_attr->prov_name = strdup("shm");
    EXPECT_EQ(hf_fabric_open(pool, &options, &fabric), -EOPNOTSUPP);
    EXPECT(fabric == NULL);
    fi_freeinfo(info);
}

static void try_place(const struct hf_fabric_window *good)
{
    struct hf_fabric_window window = {
        .region = 1, .len = 30, .pieces = 2, .piece = {{1000, 7, 10}, {5000, 8, 20}}};
    uint64_t address, key;

    EXPECT_EQ(hf_fabric_place(good, 0, PAGES * TEST_PAGE, &address, &key), good->piece[0].len);
    EXPECT_EQ(hf_fabric_place(&window, 4, 20, &address, &key), 6);
    EXPECT(address == 1004 && key == 7);
    EXPECT_EQ(hf_fabric_place(&window, 10, 20, &address, &key), 20);
    EXPECT(address == 5000 && key == 8);
    EXPECT_EQ(hf_fabric_place(&window, 29, 1, &address, &key), 1);
    EXPECT_EQ(address, 5019);
    EXPECT_EQ(hf_fabric_place(&window, 0, 0, &address, &key), -EFAULT);
    EXPECT_EQ(hf_fabric_place(&window, 30, 1, &address, &key), -EFAULT);
    EXPECT_EQ(hf_fabric_place(&window, 1, UINT64_MAX, &address, &key), -EFAULT);
    EXPECT_EQ(hf_fabric_place(NULL, 0, 1, &address, &key), -EINVAL);
    window.piece[1].len = UINT64_MAX - 5;
    EXPECT_EQ(hf_fabric_place(&window, 0, 1, &address, &key), -EINVAL);
    window.piece[1].len = 19;
    EXPECT_EQ(hf_fabric_place(&window, 0, 1, &address, &key), -EINVAL);
    window.pieces = HF_FABRIC_PIECES + 1;
    EXPECT_EQ(hf_fabric_place(&window, 0, 1, &address, &key), -EINVAL);
}

static void try_expose(struct hf_fabric *fabric, struct hf_file *file)
{
    struct hf_fabric_window window;

    EXPECT_EQ(hf_fabric_expose(fabric, file, 0, TEST_PAGE, 0, NULL, NULL, &window), -EINVAL);
    EXPECT_EQ(
        hf_fabric_expose(fabric, file, 0, TEST_PAGE, FI_REMOTE_READ | FI_RMA, NULL, NULL, &window),
        -EINVAL);
    EXPECT_EQ(hf_fabric_expose(fabric, file, 0, 0, FI_REMOTE_READ, NULL, NULL, &window), -EINVAL);
    EXPECT_EQ(
        hf_fabric_expose(fabric, file, PAGES * TEST_PAGE, 1, FI_REMOTE_READ, NULL, NULL, &window),
        -EFAULT);
    EXPECT_EQ(hf_fabric_close(fabric), 0); /* none of them has left a region */
}

/* A truncate asks, the answer lets it go; a withdrawal asks too. */
static void try_answers(struct hf_fabric *fabric, struct hf_file *file)
{
    struct hf_fabric_window window;
    struct iovec iov[HF_FABRIC_PIECES];
    void *desc[HF_FABRIC_PIECES];
    uint32_t before = revoked;

    EXPECT_EQ(
        hf_fabric_expose(fabric, file, 0, PAGES * TEST_PAGE, FI_REMOTE_READ, NULL, &last, &window),
        0);
    try_place(&window);
    EXPECT_EQ(hf_fabric_local(fabric, window.region, iov, desc, 0), -E2BIG);
    EXPECT_EQ(hf_fabric_local(fabric, window.region, iov, desc, HF_FABRIC_PIECES), window.pieces);
    EXPECT_EQ(hf_fabric_local(fabric, window.region + 1, iov, desc, 1), -ENOENT);
    EXPECT_EQ(hf_fabric_close(fabric), -EBUSY);
    EXPECT_EQ(hf_truncate(file, TEST_PAGE, &test_nowait), -EBUSY);
    test_await(&revoked, before + 1);
    EXPECT(last.region == window.region && last.reserved == 0);
    EXPECT_EQ(hf_fabric_acknowledge(fabric, window.region), 0);
    EXPECT_EQ(hf_fabric_acknowledge(fabric, window.region), -ENOENT);
    EXPECT_EQ(hf_fabric_withdraw(fabric, window.region), -ENOENT);
    EXPECT_EQ(hf_fabric_abandon(fabric, window.region), -ENOENT);
    EXPECT_EQ(hf_truncate(file, TEST_PAGE, &test_nowait), 0);

    EXPECT_EQ(hf_fabric_expose(fabric, file, 0, TEST_PAGE, FI_REMOTE_READ, NULL, &last, &window),
              0);
    EXPECT_EQ(hf_fabric_withdraw(fabric, window.region), 0);
    test_await(&revoked, before + 2);
    EXPECT_EQ(hf_fabric_acknowledge(fabric, window.region), 0);
    EXPECT_EQ(lost, 0);
}

/* Abandoned: no event; the file goes on without its memory, which is kept for the quarantine. */
static void try_abandon(struct hf_pool *pool, struct hf_fabric *fabric, struct hf_file *file)
{
    uint64_t begin = test_now_ns();
    struct hf_fabric_window window;

    EXPECT_EQ(hf_fabric_expose(fabric, file, 0, TEST_PAGE, FI_REMOTE_READ, NULL, &last, &window),
              0);
    EXPECT_EQ(hf_fabric_abandon(fabric, window.region), 0);
    EXPECT_EQ(hf_truncate(file, 0, NULL), 0); /* waits for the fabric's thread at most */
    while (test_pins_in_state(pool, HF_PIN_QUARANTINED) == 1)
        test_sleep_ms(1);
    EXPECT(test_now_ns() - begin >= QUARANTINE_NS);
    EXPECT_EQ(lost, 0);
}

static void be_child(void *arg)
{
    struct hf_fabric *fabric = arg;
    struct hf_fabric_window window;

    EXPECT_EQ(hf_fabric_expose(fabric, NULL, 0, 1, FI_REMOTE_READ, NULL, NULL, &window), -ECHILD);
    EXPECT_EQ(hf_fabric_local(fabric, 1, NULL, NULL, 0), -ECHILD);
    EXPECT_EQ(hf_fabric_acknowledge(fabric, 1), -ECHILD);
    EXPECT_EQ(hf_fabric_withdraw(fabric, 1), -ECHILD);
    EXPECT_EQ(hf_fabric_abandon(fabric, 1), -ECHILD);
    EXPECT_EQ(hf_fabric_close(fabric), -ECHILD);
}

static void scenario(void)
{
    const struct hf_pool_options pool_options = {
        .size = sizeof(pool_options), .pool_bytes = TEST_MIB(8), .quarantine_ns = QUARANTINE_NS};
    struct hf_fabric_options options = {.size = sizeof(options),
                                        .event = on_event,
                                        .answer_ns = TEST_PATIENCE_NS}; /* nobody is lost here */
    struct endpoint end;
    struct hf_fabric *fabric;
    struct hf_pool *pool;
    struct hf_file *file;

    EXPECT_EQ(hf_pool_open_anonymous(&pool_options, &pool), 0);
    file = test_file_filled(pool, "/file", 1, PAGES);
    endpoint_domain(&end, "tcp;ofi_rxm", NULL);
    options.domain = end.domain;
    options.info = end.info;
    try_open(pool, &end);
    EXPECT_EQ(hf_fabric_open(pool, &options, &fabric), 0);
    try_expose(fabric, file);
    EXPECT_EQ(hf_fabric_open(pool, &options, &fabric), 0);
    test_join(test_fork(be_child, fabric));
    try_answers(fabric, file);
    try_abandon(pool, fabric, file);
    while (hf_fabric_close(fabric) == -EBUSY)
        test_sleep_ms(1);
    EXPECT_EQ(fi_close(&end.domain->fid), 0);
    EXPECT_EQ(fi_close(&end.fabric->fid), 0);
    fi_freeinfo(end.info);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
}

TEST_SCENARIO(scenario)
