/* SPDX-License-Identifier: MIT */
/*
 * Every layout change under every policy over a pin that another thread holds: what it returns,
 * that a failed one leaves the file exactly as it was, that a detached pin keeps its bytes, and
 * that all space comes back.
 */
#include "change.h"

#include <errno.h>
#include <stdio.h>

#define PINNED 5 /* a page within the range of every change */
#define SHORT_MS 30

struct table {
    struct hf_pool *pool;
    struct hf_pin pin;
    struct iovec iov;
    char path[64];
    struct change_thread change;
};

static void pin_file(struct table *table, enum change_kind kind)
{
    struct hf_file *file = change_prepare(table->pool, table->path);

    table->pin = test_pin(file, PINNED * TEST_PAGE, TEST_PAGE, HF_PIN_READ, &table->iov, 1);
    table->change = (struct change_thread){
        .pool = table->pool, .file = file, .path = table->path, .kind = kind};
    if (kind == CHANGE_UNLINK) {
        EXPECT_EQ(hf_close(file), 0);
        table->change.file = NULL;
    }
}

static int run(struct table *table, struct hf_policy policy)
{
    table->change.policy = policy;
    change_start(&table->change);
    return change_finish(&table->change);
}

static void expect_pin_intact(struct table *table)
{
    EXPECT(test_page_is(table->iov.iov_base, CHANGE_STAMP, PINNED));
}

static void finish(struct table *table)
{
    if (table->change.file)
        EXPECT_EQ(hf_close(table->change.file), 0);
    if (table->change.kind != CHANGE_UNLINK)
        EXPECT_EQ(hf_unlink(table->pool, table->path, &test_nowait), 0);
}

static void check_refused(struct table *table, struct hf_policy policy, int error, uint64_t ms)
{
    EXPECT_EQ(run(table, policy), error);
    EXPECT(table->change.wall_ns >= ms * 1000000);
    expect_pin_intact(table);
    change_expect_before(table->pool, table->path);
    EXPECT_EQ(hf_unpin(&table->pin), 0);
    EXPECT_EQ(run(table, policy), 0);
    change_expect_after(table->pool, table->path, table->change.kind);
}

static void check_waits(struct table *table, struct hf_policy policy)
{
    table->change.policy = policy;
    change_start(&table->change);
    test_await_waiting(table->pool, 1);
    test_sleep_ms(20);
    EXPECT_EQ(test_peek(&table->change.done), 0);
    expect_pin_intact(table);
    EXPECT_EQ(hf_unpin(&table->pin), 0);
    EXPECT_EQ(change_finish(&table->change), 0);
    change_expect_after(table->pool, table->path, table->change.kind);
}

static void check_detaches(struct table *table, struct hf_policy policy, uint64_t ms)
{
    struct hf_pool_info info = {.size = sizeof(info)};

    EXPECT_EQ(run(table, policy), 0);
    EXPECT(table->change.wall_ns >= ms * 1000000);
    change_expect_after(table->pool, table->path, table->change.kind);
    expect_pin_intact(table);
    EXPECT_EQ(test_pins_in_state(table->pool, HF_PIN_DETACHED), 1);
    EXPECT_EQ(hf_pool_info(table->pool, &info), 0);
    EXPECT(info.detached_bytes >= TEST_PAGE);
    EXPECT_EQ(hf_close(test_file_filled(table->pool, "/reuse", 3, 64)), 0);
    expect_pin_intact(table);
    EXPECT_EQ(hf_unlink(table->pool, "/reuse", NULL), 0);
    EXPECT_EQ(hf_unpin(&table->pin), 0);
    EXPECT_EQ(hf_pool_info(table->pool, &info), 0);
    EXPECT_EQ(info.detached_bytes, 0);
}

static void check_cell(struct table *table, enum change_kind kind, uint32_t policy)
{
    uint64_t before = test_free_bytes(table->pool);

    snprintf(table->path, sizeof(table->path), "/%s-%u", change_names[kind], policy);
    printf("%s under policy %u\n", change_names[kind], policy);
    pin_file(table, kind);
    if (policy == HF_POLICY_NOWAIT)
        check_refused(table, test_nowait, -EBUSY, 0);
    else if (policy == HF_POLICY_DEADLINE)
        check_refused(table, test_deadline_ms(SHORT_MS), -ETIMEDOUT, SHORT_MS);
    else if (policy == HF_POLICY_DETACH)
        check_detaches(table, test_detach, 0);
    else if (policy == HF_POLICY_DEADLINE_DETACH)
        check_detaches(table, test_deadline_detach_ms(SHORT_MS), SHORT_MS);
    else
        check_waits(table, (struct hf_policy){.kind = policy});
    finish(table);
    EXPECT_EQ(test_free_bytes(table->pool), before);
}

static void policy_table(void)
{
    struct table table = {.pool = test_pool_new("table", TEST_MIB(16))};

    for (enum change_kind kind = 0; kind < CHANGE_KINDS; kind++)
        for (uint32_t policy = HF_POLICY_DEFAULT; policy <= HF_POLICY_DEADLINE_DETACH; policy++)
            check_cell(&table, kind, policy);
    test_pool_close(table.pool);
    test_pool_check("table");
}

TEST_SCENARIO(policy_table)
