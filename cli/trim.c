/* SPDX-License-Identifier: MIT */
/* The verb trim: what a pool does not need goes back to the system. */
#include "cli.h"

#include <inttypes.h>

static uint64_t keep_bytes;
static bool as_json;

static struct cli_option trim_options[] = {
    {.name = "keep",
     .letter = 'k',
     .kind = CLI_BYTES,
     .value = &keep_bytes,
     .value_name = "SIZE",
     .help = "leave so much of free memory, for what comes next (0)",
     .min = 0,
     .max = UINT64_C(1) << 52},
    {.name = "json", .letter = 'j', .kind = CLI_FLAG, .value = &as_json, .help = "for programs"},
    {0},
};

static void print_trimmed(const char *path, const struct hf_trim_result *result)
{
    char given[CLI_SIZE_TEXT], resident[CLI_SIZE_TEXT];

    cli_put_name(stdout, path);
    printf(": %s given back (%" PRIu64 " bytes), %s resident\n",
           cli_size(given, result->given_bytes), result->given_bytes,
           cli_size(resident, result->resident_bytes));
}

static void print_json_trimmed(const char *path, const struct hf_trim_result *result)
{
    struct cli_json json;

    cli_json_begin(&json, stdout);
    cli_json_open(&json, NULL, '{');
    cli_json_text(&json, "pool", path);
    cli_json_number(&json, "given_bytes", result->given_bytes);
    cli_json_number(&json, "resident_bytes", result->resident_bytes);
    cli_json_number(&json, "registrations", result->registrations);
    cli_json_close(&json, '}');
    cli_json_end(&json);
}

/* What a device has registered in the meantime is left alone, and said so; the verb succeeds. */
static int trim_run(int count, char **operands)
{
    struct hf_trim_result result = {.size = sizeof(result)};
    struct hf_pool *pool;
    int status = cli_pool_open(operands[0], 0, &pool);
    int rc;

    (void)count;
    if (status != EX_OK)
        return status;
    rc = hf_pool_trim(pool, keep_bytes / HF_BLOCK_BYTES * HF_BLOCK_BYTES, &result);
    if (rc != 0)
        status = cli_fail(operands[0], rc);
    else if (as_json)
        print_json_trimmed(operands[0], &result);
    else
        print_trimmed(operands[0], &result);
    if (rc == 0 && result.registrations != 0)
        cli_note("%s: a device registered its memory meanwhile (%" PRIu32
                 " registrations): nothing more was given back",
                 operands[0], result.registrations);
    return cli_pool_close(pool, operands[0], status);
}

const struct cli_verb cli_verb_trim = {
    .name = "trim",
    .operands = "POOL",
    .summary = "give the memory of free blocks back to the system",
    .details =
        "The pool keeps its size, and may be in use. A block that is used again gets memory\n"
        "then. What a device has registered (hf_pool_register) is left alone.",
    .options = trim_options,
    .operands_min = 1,
    .operands_max = 1,
    .run = trim_run,
};
