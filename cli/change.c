/* SPDX-License-Identifier: MIT */
/* The verbs truncate and punch: layout changes of one file, under a policy. */
#include "cli.h"

#include <fcntl.h>

static struct hf_policy policy;
static uint64_t new_size, hole_off, hole_len;
static bool create;

#define POLICY_OPTION CLI_POLICY_OPTION(policy, "when a pin holds part of the range")
#define POLICY_DETAILS                                                                             \
    "Waits for pins that overlap the range, unless POLICY says otherwise: wait, nowait, detach,\n" \
    "deadline:TIME or deadline-detach:TIME (5s, 100ms). Without --policy, that of the pool applies."

static int change_file(char **operands, int flags, int (*change)(struct hf_file *file))
{
    struct hf_file *file;
    struct hf_pool *pool;
    int status = cli_pool_open(operands[0], 0, &pool);
    int rc;

    if (status != EX_OK)
        return status;
    rc = hf_open(pool, operands[1], O_WRONLY | flags, 0644, &file);
    if (rc == 0) {
        rc = change(file);
        if (rc != 0)
            status = cli_fail(operands[1], rc);
        hf_close(file);
    } else {
        status = cli_fail(operands[1], rc);
    }
    return cli_pool_close(pool, operands[0], status);
}

static struct cli_option truncate_options[] = {
    {.name = "size",
     .letter = 's',
     .kind = CLI_BYTES,
     .value = &new_size,
     .value_name = "SIZE",
     .help = "the new size",
     .min = 0,
     .max = HF_FILE_BYTES_MAX,
     .required = true},
    {.name = "create",
     .letter = 'c',
     .kind = CLI_FLAG,
     .value = &create,
     .help = "make the file if it is missing"},
    POLICY_OPTION,
    {0},
};

static int set_size(struct hf_file *file)
{
    return hf_truncate(file, new_size, &policy);
}

static int truncate_run(int count, char **operands)
{
    (void)count;
    return change_file(operands, create ? O_CREAT : 0, set_size);
}

const struct cli_verb cli_verb_truncate = {
    .name = "truncate",
    .operands = "POOL PATH",
    .summary = "set the size of a file; what is added is a hole",
    .details = POLICY_DETAILS,
    .options = truncate_options,
    .operands_min = 2,
    .operands_max = 2,
    .run = truncate_run,
};

static struct cli_option punch_options[] = {
    {.name = "off",
     .letter = 'o',
     .kind = CLI_BYTES,
     .value = &hole_off,
     .value_name = "OFFSET",
     .help = "where the hole begins",
     .min = 0,
     .max = HF_FILE_BYTES_MAX,
     .required = true},
    {.name = "len",
     .letter = 'l',
     .kind = CLI_BYTES,
     .value = &hole_len,
     .value_name = "LENGTH",
     .help = "length of the hole",
     .min = 1,
     .max = HF_FILE_BYTES_MAX,
     .required = true},
    POLICY_OPTION,
    {0},
};

static int punch_hole(struct hf_file *file)
{
    return hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, hole_off, hole_len, &policy);
}

static int punch_run(int count, char **operands)
{
    (void)count;
    return change_file(operands, 0, punch_hole);
}

const struct cli_verb cli_verb_punch = {
    .name = "punch",
    .operands = "POOL PATH",
    .summary = "free a range of a file, which then reads as zeros",
    .details = POLICY_DETAILS,
    .options = punch_options,
    .operands_min = 2,
    .operands_max = 2,
    .run = punch_run,
};
