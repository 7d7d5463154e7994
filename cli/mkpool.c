/* SPDX-License-Identifier: MIT */
/* The verbs mkpool, grow and shrink: a pool's size, and the limits and engine it is made with. */
#include "cli.h"

#include <holdfast/compact.h>

#define POOL_BYTES_MIN (UINT64_C(8) << 20)
#define POOL_BYTES_MAX (UINT64_C(1) << 52)
#define QUARANTINE_NS_MAX (UINT64_C(1) << 62)

static struct hf_pool_options made = {.size = sizeof(made)};
static bool durable;
static uint64_t new_bytes; /* of grow and shrink */

static struct cli_option mkpool_options[] = {
    {.name = "size",
     .letter = 's',
     .kind = CLI_BYTES,
     .value = &made.pool_bytes,
     .value_name = "SIZE",
     .help = "memory for blocks, a multiple of 2M",
     .min = POOL_BYTES_MIN,
     .max = POOL_BYTES_MAX,
     .required = true},
    {.name = "data",
     .kind = CLI_TEXT,
     .value = &made.data_path,
     .value_name = "FILE",
     .help = "where the blocks lie: a file on tmpfs, hugetlbfs or a disk, or a dax node"},
    {.name = "durable",
     .kind = CLI_FLAG,
     .value = &durable,
     .help = "survive a power cut, on memory that does so"},
    {.name = "mode",
     .letter = 'm',
     .kind = CLI_MODE,
     .value = &made.mode,
     .value_name = "MODE",
     .help = "permission bits for opening the pool, in octal (0600)"},
    {.name = "engine",
     .kind = CLI_TEXT,
     .value = &made.engine,
     .value_name = "ENGINE",
     .words = "slots slots-fenced refcount srcu percpu-rwsem",
     .help = "how pins and layout changes find each other (slots)"},
    CLI_POLICY_OPTION(made.policy, "for layout changes that give none (wait)"),
    {.name = "quarantine",
     .kind = CLI_TIME,
     .value = &made.quarantine_ns,
     .value_name = "TIME",
     .help = "how long blocks stay reserved for devices of a dead process (30s)",
     .min = 1,
     .max = QUARANTINE_NS_MAX},
    {.name = "trim-above",
     .kind = CLI_BYTES,
     .value = &made.trim_above_bytes,
     .value_name = "SIZE",
     .help = "give free memory above SIZE back by itself, a multiple of 2M (never)",
     .min = HF_HUGE_BYTES,
     .max = POOL_BYTES_MAX},
    {.name = "max-processes",
     .kind = CLI_COUNT,
     .value = &made.max_processes,
     .value_name = "N",
     .help = "processes attached at once (256)",
     .min = 1,
     .max = UINT32_MAX},
    {.name = "max-threads",
     .kind = CLI_COUNT,
     .value = &made.max_threads,
     .value_name = "N",
     .help = "threads that use the pool at once (1024)",
     .min = 1,
     .max = UINT32_MAX},
    {.name = "max-files",
     .kind = CLI_COUNT,
     .value = &made.max_files,
     .value_name = "N",
     .help = "files open at once, all processes together (65536)",
     .min = 1,
     .max = UINT32_MAX},
    {.name = "max-leases",
     .kind = CLI_COUNT,
     .value = &made.max_leases,
     .value_name = "N",
     .help = "long pins, and pins beyond a thread's slots (262144)",
     .min = 1,
     .max = UINT32_MAX},
    {0},
};

static int mkpool_run(int count, char **operands)
{
    int rc;

    (void)count;
    if (durable)
        made.flags |= HF_POOL_DURABLE;
    rc = hf_pool_create(operands[0], &made);
    return rc == 0 ? EX_OK : cli_fail(operands[0], rc);
}

const struct cli_verb cli_verb_mkpool = {
    .name = "mkpool",
    .operands = "POOL",
    .summary = "make a pool in a new or empty directory",
    .details =
        "POLICY is wait, nowait, detach, deadline:TIME or deadline-detach:TIME (5s, 100ms).\n"
        "In /dev/shm the blocks lie in memory; elsewhere give --data a path on tmpfs, or\n"
        "they lie in a file on that disk.",
    .options = mkpool_options,
    .operands_min = 1,
    .operands_max = 1,
    .run = mkpool_run,
};

#define NEW_SIZE_OPTION                                                                            \
    {                                                                                              \
        .name = "size", .letter = 's', .kind = CLI_BYTES, .value = &new_bytes,                     \
        .value_name = "SIZE", .help = "the new size, a multiple of 2M", .min = POOL_BYTES_MIN,     \
        .max = POOL_BYTES_MAX, .required = true                                                    \
    }

static struct cli_option grow_options[] = {
    NEW_SIZE_OPTION,
    {0},
};

static int grow_run(int count, char **operands)
{
    struct hf_pool *pool;
    int status = cli_pool_open(operands[0], 0, &pool);
    int rc;

    (void)count;
    if (status != EX_OK)
        return status;
    rc = hf_pool_grow(pool, new_bytes);
    if (rc != 0)
        status = cli_fail(operands[0], rc);
    return cli_pool_close(pool, operands[0], status);
}

const struct cli_verb cli_verb_grow = {
    .name = "grow",
    .operands = "POOL",
    .summary = "give a pool more memory, also while it is in use",
    .options = grow_options,
    .operands_min = 1,
    .operands_max = 1,
    .run = grow_run,
};

static struct hf_policy shrink_policy;

static struct cli_option shrink_options[] = {
    NEW_SIZE_OPTION,
    CLI_POLICY_OPTION(shrink_policy, "when a pin holds what is to move"),
    {0},
};

static int shrink_run(int count, char **operands)
{
    struct hf_pool *pool;
    int status = cli_pool_open(operands[0], 0, &pool);
    int rc;

    (void)count;
    if (status != EX_OK)
        return status;
    rc = hf_pool_shrink(pool, new_bytes, &shrink_policy);
    if (rc != 0)
        status = cli_fail(operands[0], rc);
    return cli_pool_close(pool, operands[0], status);
}

const struct cli_verb cli_verb_shrink = {
    .name = "shrink",
    .operands = "POOL",
    .summary = "make a pool smaller, also while it is in use",
    .details = "What files have past the new end moves. Where devices have the pool's memory\n"
               "registered (hf_pool_register), it fails.",
    .options = shrink_options,
    .operands_min = 1,
    .operands_max = 1,
    .run = shrink_run,
};
