/* SPDX-License-Identifier: MIT */
/* The verbs info and df: what a pool is, and how full. */
#include "cli.h"

#include <inttypes.h>

static bool as_json, human;

static struct cli_option info_options[] = {
    {.name = "json", .letter = 'j', .kind = CLI_FLAG, .value = &as_json, .help = "for programs"},
    {0},
};

static int read_info(const char *path, struct hf_pool_info *info)
{
    struct hf_pool *pool;
    int status = cli_pool_open(path, HF_OPEN_RDONLY, &pool);
    int rc;

    if (status != EX_OK)
        return status;
    *info = (struct hf_pool_info){.size = sizeof(*info)};
    rc = hf_pool_info(pool, info);
    if (rc != 0)
        status = cli_fail(path, rc);
    return cli_pool_close(pool, path, status);
}

uint64_t cli_used_bytes(const struct hf_pool_info *info)
{
    return info->pool_bytes - info->free_bytes - info->detached_bytes;
}

static void print_space(const char *label, uint64_t bytes)
{
    char text[CLI_SIZE_TEXT];

    printf("%-13s %s (%" PRIu64 " bytes)\n", label, cli_size(text, bytes), bytes);
}

static void print_use(const char *label, uint32_t now, uint32_t max)
{
    printf("%-13s %" PRIu32 " of %" PRIu32 "\n", label, now, max);
}

static void print_info(const char *path, const struct hf_pool_info *info)
{
    char uuid[CLI_UUID_TEXT], policy[CLI_POLICY_TEXT], quarantine[CLI_TIME_TEXT];
    char above[CLI_SIZE_TEXT];

    printf("%-13s ", "pool");
    cli_put_name(stdout, path);
    printf("\n%-13s %s\n", "uuid", cli_uuid_text(uuid, info->uuid));
    print_space("size", info->pool_bytes);
    print_space("used", cli_used_bytes(info));
    print_space("free", info->free_bytes);
    print_space("resident", info->resident_bytes);
    print_space("detached", info->detached_bytes);
    print_space("shared", info->shared_bytes);
    print_space("saved", info->saved_bytes);
    print_space("can grow to", info->limit_bytes);
    printf("%-13s %" PRIu64 "\n", "inodes", info->inodes);
    printf("%-13s %s\n", "memory", info->media);
    printf("%-13s %s\n", "durability", info->flags & HF_POOL_DURABLE ? "durable" : "memory");
    printf("%-13s %s\n", "engine", info->engine);
    printf("%-13s %s\n", "policy", cli_policy_text(policy, &info->policy));
    printf("%-13s %s\n", "quarantine", cli_duration(quarantine, info->quarantine_ns));
    if (info->trim_above_bytes == 0)
        printf("%-13s by hand\n", "trimmed");
    else
        printf("%-13s by itself, above %s of free memory\n", "trimmed",
               cli_size(above, info->trim_above_bytes));
    if (info->quarantine_left_ns != 0)
        printf("%-13s all blocks that leave a file, for %s more\n", "",
               cli_duration(quarantine, info->quarantine_left_ns));
    printf("%-13s %" PRIu32 ", features incompat %" PRIx64 " ro_compat %" PRIx64 " compat %" PRIx64
           "\n",
           "format", info->format, info->incompat, info->ro_compat, info->compat);
    print_use("processes", info->processes, info->max_processes);
    print_use("threads", info->threads, info->max_threads);
    print_use("open files", info->files, info->max_files);
    print_use("leases", info->leases, info->max_leases);
    printf("%-13s %" PRIu32 " times, for devices\n", "registered", info->registrations);
}

static void put_use(struct cli_json *json, const char *key, uint32_t now, uint32_t max)
{
    cli_json_open(json, key, '{');
    cli_json_number(json, "now", now);
    cli_json_number(json, "max", max);
    cli_json_close(json, '}');
}

void cli_json_space(struct cli_json *json, const struct hf_pool_info *info)
{
    const struct cli_number numbers[] = {
        {"pool_bytes", info->pool_bytes},
        {"used_bytes", cli_used_bytes(info)},
        {"free_bytes", info->free_bytes},
        {"resident_bytes", info->resident_bytes},
        {"detached_bytes", info->detached_bytes},
        {"shared_bytes", info->shared_bytes},
        {"saved_bytes", info->saved_bytes},
        {"inodes", info->inodes},
        {0},
    };

    cli_json_numbers(json, numbers);
}

static void print_json_info(const char *path, const struct hf_pool_info *info)
{
    char uuid[CLI_UUID_TEXT];
    struct cli_json json;

    cli_json_begin(&json, stdout);
    cli_json_open(&json, NULL, '{');
    cli_json_text(&json, "pool", path);
    cli_json_text(&json, "uuid", cli_uuid_text(uuid, info->uuid));
    cli_json_space(&json, info);
    cli_json_number(&json, "limit_bytes", info->limit_bytes);
    cli_json_text(&json, "media", info->media);
    cli_json_bool(&json, "durable", (info->flags & HF_POOL_DURABLE) != 0);
    cli_json_text(&json, "engine", info->engine);
    cli_json_policy(&json, "policy", &info->policy);
    cli_json_number(&json, "quarantine_ns", info->quarantine_ns);
    cli_json_number(&json, "quarantine_left_ns", info->quarantine_left_ns);
    cli_json_number(&json, "trim_above_bytes", info->trim_above_bytes);
    cli_json_number(&json, "format", info->format);
    cli_json_number(&json, "incompat", info->incompat);
    cli_json_number(&json, "ro_compat", info->ro_compat);
    cli_json_number(&json, "compat", info->compat);
    put_use(&json, "processes", info->processes, info->max_processes);
    put_use(&json, "threads", info->threads, info->max_threads);
    put_use(&json, "files", info->files, info->max_files);
    put_use(&json, "leases", info->leases, info->max_leases);
    cli_json_number(&json, "registrations", info->registrations);
    cli_json_close(&json, '}');
    cli_json_end(&json);
}

static int info_run(int count, char **operands)
{
    struct hf_pool_info info;
    int status = read_info(operands[0], &info);

    (void)count;
    if (status != EX_OK)
        return status;
    if (as_json)
        print_json_info(operands[0], &info);
    else
        print_info(operands[0], &info);
    return EX_OK;
}

const struct cli_verb cli_verb_info = {
    .name = "info",
    .operands = "POOL",
    .summary = "say what a pool is made of, how full it is and what uses it",
    .options = info_options,
    .operands_min = 1,
    .operands_max = 1,
    .run = info_run,
};

static struct cli_option df_options[] = {
    {.name = "human",
     .letter = 'h',
     .kind = CLI_FLAG,
     .value = &human,
     .help = "sizes like 8.0G instead of KiB"},
    {.name = "json", .letter = 'j', .kind = CLI_FLAG, .value = &as_json, .help = "for programs"},
    {0},
};

static void print_df_size(uint64_t bytes)
{
    char text[CLI_SIZE_TEXT];

    if (human)
        printf(" %10s", cli_size(text, bytes));
    else
        printf(" %10" PRIu64, bytes / 1024);
}

/* Rounded up, as df(1) does. */
static void print_df_line(const char *path, const struct hf_pool_info *info)
{
    uint64_t taken = info->pool_bytes - info->free_bytes;
    unsigned percent =
        (unsigned)(((double)taken * 100 + (double)info->pool_bytes - 1) / (double)info->pool_bytes);

    print_df_size(info->pool_bytes);
    print_df_size(cli_used_bytes(info));
    print_df_size(info->detached_bytes);
    print_df_size(info->free_bytes);
    printf(" %4u%% %10" PRIu64, percent, info->inodes);
    print_df_size(info->shared_bytes);
    print_df_size(info->saved_bytes);
    print_df_size(info->resident_bytes);
    fputs("  ", stdout);
    cli_put_name(stdout, path);
    putchar('\n');
}

static void print_df_head(void)
{
    printf("%11s %10s %10s %10s %5s %10s %10s %10s %10s  Pool\n", human ? "Size" : "KiB", "Used",
           "Detached", "Free", "Use%", "Inodes", "Shared", "Saved", "Resident");
}

static int df_run(int count, char **operands)
{
    struct cli_json json;
    int worst = EX_OK;

    cli_json_begin(&json, stdout);
    if (as_json)
        cli_json_open(&json, NULL, '[');
    else
        print_df_head();
    for (int i = 0; i < count; i++) {
        struct hf_pool_info info;
        int status = read_info(operands[i], &info);

        if (status != EX_OK) {
            worst = status;
        } else if (as_json) {
            cli_json_open(&json, NULL, '{');
            cli_json_text(&json, "pool", operands[i]);
            cli_json_space(&json, &info);
            cli_json_close(&json, '}');
        } else {
            print_df_line(operands[i], &info);
        }
    }
    if (as_json) {
        cli_json_close(&json, ']');
        cli_json_end(&json);
    }
    return worst;
}

const struct cli_verb cli_verb_df = {
    .name = "df",
    .operands = "POOL...",
    .summary = "show how much of each pool is used, shared, detached, free and resident",
    .options = df_options,
    .operands_min = 1,
    .operands_max = 1 << 20,
    .run = df_run,
};
