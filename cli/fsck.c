/* SPDX-License-Identifier: MIT */
/*
 * The verb fsck: every record of a pool against every other, then the caches of objects in it. Exit
 * code 0 says that nothing is wrong (any more), EX_DATAERR that something is.
 */
#include "cli.h"
#include "fsck_caches.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

static bool as_json, repair;

static struct cli_option fsck_options[] = {
    {.name = "repair",
     .letter = 'r',
     .kind = CLI_FLAG,
     .value = &repair,
     .help = "mend what can be mended, and say what is lost"},
    {.name = "json", .letter = 'j', .kind = CLI_FLAG, .value = &as_json, .help = "for programs"},
    {0},
};

struct fsck_watch {
    struct cli_progress progress;
    char **sentences; /* kept for JSON, where they come after the counts */
    size_t count, room;
};

static void on_problem(void *arg, const char *sentence)
{
    struct fsck_watch *watch = arg;

    if (as_json) {
        watch->sentences =
            cli_grow(watch->sentences, watch->count, &watch->room, sizeof(watch->sentences[0]));
        watch->sentences[watch->count++] = cli_strdup(sentence);
        return;
    }
    cli_progress_wipe(&watch->progress);
    cli_put_name(stdout, sentence);
    putchar('\n');
}

static void on_progress(void *arg, uint64_t done, uint64_t total)
{
    struct fsck_watch *watch = arg;

    watch->progress.items = done;
    watch->progress.total = total;
    cli_progress_step(&watch->progress, NULL);
}

static void print_result(const char *path, const struct hf_check_result *result,
                         const struct fsck_caches *caches)
{
    char used[CLI_SIZE_TEXT];

    cli_put_name(stdout, path);
    printf(": %" PRIu64 " inodes, %" PRIu64 " names, %" PRIu64 " extents, %s in files",
           result->inodes, result->dirents, result->extents,
           cli_size(used, result->blocks_used * HF_BLOCK_BYTES));
    if (caches->caches != 0)
        printf(", %" PRIu64 " cache%s of %" PRIu64 " object%s", caches->caches,
               caches->caches == 1 ? "" : "s", caches->objects, caches->objects == 1 ? "" : "s");
    printf(": ");
    if (result->problems == 0)
        printf("clean\n");
    else
        printf("%" PRIu64 " problem%s, %" PRIu64 " repaired\n", result->problems,
               result->problems == 1 ? "" : "s", result->repaired);
}

static void put_result(const char *path, const struct hf_check_result *result,
                       const struct fsck_caches *caches, const struct fsck_watch *watch)
{
    const struct cli_number numbers[] = {
        {"inodes", result->inodes},
        {"dirents", result->dirents},
        {"extents", result->extents},
        {"blocks_used", result->blocks_used},
        {"caches", caches->caches},
        {"cached_objects", caches->objects},
        {"problems", result->problems},
        {"repaired", result->repaired},
        {0},
    };
    struct cli_json json;

    cli_json_begin(&json, stdout);
    cli_json_open(&json, NULL, '{');
    cli_json_text(&json, "pool", path);
    cli_json_numbers(&json, numbers);
    cli_json_open(&json, "sentences", '[');
    for (size_t i = 0; i < watch->count; i++)
        cli_json_text(&json, NULL, watch->sentences[i]);
    cli_json_close(&json, ']');
    cli_json_close(&json, '}');
    cli_json_end(&json);
}

static void forget_sentences(struct fsck_watch *watch)
{
    for (size_t i = 0; i < watch->count; i++)
        free(watch->sentences[i]);
    free(watch->sentences);
}

/* Their problems count like those of the pool. */
static int look_at_caches(const char *path, struct fsck_watch *watch,
                          struct hf_check_result *result, struct fsck_caches *caches)
{
    int status = fsck_check_caches(path, repair, on_problem, watch, caches);

    result->problems += caches->problems;
    result->repaired += caches->repaired;
    return status;
}

static int fsck_run(int count, char **operands)
{
    struct hf_check_result result = {.size = sizeof(result)};
    struct fsck_watch watch = {0};
    struct fsck_caches caches = {0};
    int rc, status = EX_OK;

    (void)count;
    cli_progress_begin(&watch.progress, "records");
    rc = hf_pool_check(operands[0], repair ? HF_CHECK_REPAIR : 0, on_problem, on_progress, &watch,
                       &result);
    cli_progress_wipe(&watch.progress);
    if (rc == 0 && result.problems == result.repaired)
        status = look_at_caches(operands[0], &watch, &result, &caches);
    if (as_json && (rc == 0 || rc == -EUCLEAN))
        put_result(operands[0], &result, &caches, &watch);
    else if (rc == 0)
        print_result(operands[0], &result, &caches);
    forget_sentences(&watch);
    if (rc != 0)
        return cli_fail(operands[0], rc);
    return result.problems == result.repaired ? status : EX_DATAERR;
}

const struct cli_verb cli_verb_fsck = {
    .name = "fsck",
    .operands = "POOL",
    .summary = "check a pool that nobody has open, and repair it",
    .options = fsck_options,
    .operands_min = 1,
    .operands_max = 1,
    .run = fsck_run,
};
