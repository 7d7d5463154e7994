/* SPDX-License-Identifier: MIT */
/* The engines as a test meets them: what each can do, and pools made with it. */
#include "support.h"

#include <string.h>

static const struct test_engine engines[] = {
    {.name = "slots", .knows_holders = true, .shares = true},
    {.name = "slots-fenced", .knows_holders = true, .shares = true},
    {.name = "slots-membarrier", .knows_holders = true, .shares = true},
    {.name = "refcount", .shares = true},
    {.name = "srcu"},
    {.name = "percpu-rwsem"},
    {.name = "rcu", .one_process = true},
    {.name = "unpatched", .racy = true},
    {.name = "blind", .racy = true},
};

const struct test_engine *test_engine(const char *name)
{
    for (size_t i = 0; i < sizeof(engines) / sizeof(engines[0]); i++)
        if (strcmp(engines[i].name, name) == 0)
            return &engines[i];
    FAIL("no engine is called %s", name);
}

struct hf_pool *test_engine_pool(const struct test_engine *engine, const char *name,
                                 uint64_t pool_bytes)
{
    struct hf_pool_options options = {
        .size = sizeof(options), .pool_bytes = pool_bytes, .engine = engine->name};
    struct hf_pool *pool = NULL;

    if (name && !engine->one_process) {
        EXPECT_EQ(hf_pool_create(test_path(name), &options), 0);
        return test_pool_open(name);
    }
    EXPECT_EQ(hf_pool_open_anonymous(&options, &pool), 0);
    return pool;
}
