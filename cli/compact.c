/* SPDX-License-Identifier: MIT */
/*
 * The verb compact: lays files so that huge entries map them, run by run, while everything runs. It
 * lists the files of the paths, and has the library compact each of them, a few runs in a call. So
 * it can say how far it is, keep to a rate, and end after a signal.
 */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/compact.h>
#include <holdfast/serve.h>
#include <inttypes.h>
#include <stdlib.h>

#define CALL_BYTES (8 * (uint64_t)HF_HUGE_BYTES) /* of a file, in one call of the library */
#define NS_PER_S UINT64_C(1000000000)

static bool as_json, follow, only_look;
static uint64_t rate, pause_ns = NS_PER_S;
static struct hf_policy policy;

static struct cli_option compact_options[] = {
    {.name = "follow",
     .letter = 'f',
     .kind = CLI_FLAG,
     .value = &follow,
     .help = "again and again, until a signal comes"},
    {.name = "rate",
     .letter = 'r',
     .kind = CLI_BYTES,
     .value = &rate,
     .value_name = "BYTES",
     .help = "most bytes to copy in a second",
     .min = HF_BLOCK_BYTES,
     .max = UINT64_C(1) << 50},
    {.name = "pause",
     .letter = 'P',
     .kind = CLI_TIME,
     .value = &pause_ns,
     .value_name = "TIME",
     .help = "how long to wait between two passes (1s)",
     .max = UINT64_C(86400) * NS_PER_S},
    {.name = "look",
     .letter = 'l',
     .kind = CLI_FLAG,
     .value = &only_look,
     .help = "only say how files lie, and change nothing"},
    CLI_POLICY_OPTION(policy, "when somebody holds a part of a file (left alone)"),
    {.name = "json", .letter = 'j', .kind = CLI_FLAG, .value = &as_json, .help = "for programs"},
    {0},
};

struct compacting {
    struct hf_pool *pool;
    struct cli_progress progress;
    struct cli_files files;
    struct cli_pace pace;
    /* of the last pass; was_huge: of the first one; moved_bytes: of all */
    struct hf_compact_result sum;
    uint64_t passes;
    bool stop;
    int status;
};

static void fail_compacting(struct compacting *c, const char *what, int rc)
{
    cli_progress_wipe(&c->progress);
    c->status = cli_fail(what, rc);
    c->stop = true;
}

static bool compacting_ends(const struct compacting *c)
{
    return c->stop || cli_interrupted();
}

/* ------------------------------------------------------------------------- compacting --- */

static void add_result(struct compacting *c, const struct hf_compact_result *result)
{
    struct hf_compact_result *sum = &c->sum;

    sum->run_bytes += result->run_bytes;
    sum->huge_bytes += result->huge_bytes;
    sum->held_bytes += result->held_bytes;
    sum->shared_bytes += result->shared_bytes;
    sum->no_space_bytes += result->no_space_bytes;
    sum->moved_bytes += result->moved_bytes;
    if (c->passes == 0)
        sum->was_huge += result->was_huge;
}

/* A file may shrink meanwhile, and a lock may be kept for long. */
static bool is_passing(int rc)
{
    return rc == -EINVAL || rc == -EBUSY || rc == -EAGAIN || rc == -ETIMEDOUT || rc == -EINTR;
}

static void compact_part(struct compacting *c, struct hf_file *file, uint64_t off, uint64_t len)
{
    struct hf_compact_result result = {.size = sizeof(result)};
    int rc = hf_compact(file, off, len, only_look ? HF_COMPACT_LOOK : 0,
                        policy.kind == HF_POLICY_DEFAULT ? NULL : &policy, &result);

    if (rc != 0 && !is_passing(rc))
        fail_compacting(c, "a file cannot be compacted", rc);
    if (rc != 0)
        return;
    add_result(c, &result);
    c->progress.bytes += result.run_bytes;
    cli_progress_step(&c->progress, NULL);
    cli_pace_keep(&c->pace, result.moved_bytes);
}

static void compact_file(struct compacting *c, uint64_t ino)
{
    struct hf_file *file;
    struct stat st;
    uint64_t size;

    if (hf_openat(c->pool, ino, "", only_look ? O_RDONLY : O_RDWR, 0, &file) != 0)
        return; /* it has gone */
    size = hf_fstat(file, &st) == 0 ? (uint64_t)st.st_size : 0;
    size = cli_pages_up(size) * HF_BLOCK_BYTES;
    for (uint64_t off = 0; off + HF_HUGE_BYTES <= size && !compacting_ends(c); off += CALL_BYTES)
        compact_part(c, file, off, CALL_BYTES);
    hf_close(file);
}

static void compact_once(struct compacting *c, int count, char **paths)
{
    uint64_t was_huge = c->sum.was_huge, moved = c->sum.moved_bytes;

    cli_files_find(&c->files, c->pool, count, paths, &c->status);
    c->sum = (struct hf_compact_result){.was_huge = was_huge, .moved_bytes = moved};
    c->progress.items = 0;
    c->progress.total = c->files.count;
    for (size_t i = 0; i < c->files.count && !compacting_ends(c); i++) {
        compact_file(c, c->files.inos[i]);
        c->progress.items++;
        cli_progress_step(&c->progress, NULL);
    }
    c->passes++;
}

static void compact_all(struct compacting *c, int count, char **paths)
{
    cli_pace_begin(&c->pace, rate);
    cli_progress_begin(&c->progress, "files");
    do {
        compact_once(c, count, paths);
        if (follow && !compacting_ends(c))
            cli_sleep(pause_ns);
    } while (follow && !compacting_ends(c));
    cli_progress_end(&c->progress);
    free(c->files.inos);
}

/* ----------------------------------------------------------------------------- output --- */

static void print_bytes(const char *label, uint64_t bytes)
{
    char text[CLI_SIZE_TEXT];

    printf("%-10s %s (%" PRIu64 " bytes)\n", label, cli_size(text, bytes), bytes);
}

static void print_share(const char *label, uint64_t bytes, uint64_t of)
{
    char text[CLI_SIZE_TEXT];

    printf("%-10s %s, %.1f %% (%" PRIu64 " bytes)\n", label, cli_size(text, bytes),
           of ? 100.0 * (double)bytes / (double)of : 100.0, bytes);
}

static void print_compacted(const struct compacting *c)
{
    const struct hf_compact_result *sum = &c->sum;

    print_bytes("runs", sum->run_bytes);
    print_share("huge", sum->was_huge, sum->run_bytes);
    if (only_look)
        return;
    print_share("now", sum->huge_bytes, sum->run_bytes);
    print_bytes("moved", sum->moved_bytes);
    print_bytes("held", sum->held_bytes);
    print_bytes("shared", sum->shared_bytes);
    print_bytes("no space", sum->no_space_bytes);
}

static void put_compacted(const struct compacting *c)
{
    const struct hf_compact_result *sum = &c->sum;
    const struct cli_number numbers[] = {
        {"passes", c->passes},
        {"run_bytes", sum->run_bytes},
        {"was_huge", sum->was_huge},
        {"huge_bytes", sum->huge_bytes},
        {"moved_bytes", sum->moved_bytes},
        {"held_bytes", sum->held_bytes},
        {"shared_bytes", sum->shared_bytes},
        {"no_space_bytes", sum->no_space_bytes},
        {0},
    };
    struct cli_json json;

    cli_json_begin(&json, stdout);
    cli_json_open(&json, NULL, '{');
    cli_json_numbers(&json, numbers);
    cli_json_close(&json, '}');
    cli_json_end(&json);
}

/* ------------------------------------------------------------------------ the command --- */

static int run_compact(int count, char **operands)
{
    struct compacting c = {0};
    int status;

    if (only_look && (follow || rate || policy.kind != HF_POLICY_DEFAULT))
        return cli_usage("--look changes nothing: it goes with none of --follow, --rate, --policy");
    if (policy.kind == HF_POLICY_DETACH || policy.kind == HF_POLICY_DEADLINE_DETACH)
        return cli_usage(
            "--policy: a compaction takes nothing from holders: give wait, nowait or deadline:TIME");
    status = cli_pool_open(operands[0], only_look ? HF_OPEN_RDONLY : 0, &c.pool);
    if (status != EX_OK)
        return status;
    compact_all(&c, count - 1, operands + 1);
    if (!c.stop && as_json)
        put_compacted(&c);
    else if (!c.stop)
        print_compacted(&c);
    return cli_pool_close(c.pool, operands[0], c.status);
}

const struct cli_verb cli_verb_compact = {
    .name = "compact",
    .operands = "POOL [PATH]...",
    .summary = "lay files so that one entry maps 2 MiB of them",
    .details =
        "All files, or those at and below each PATH. What a process holds is left alone, unless\n"
        "--policy says how long to wait. So are blocks that files share. Prints which share of\n"
        "all whole 2 MiB of files huge entries can map, before and after.",
    .options = compact_options,
    .operands_min = 1,
    .operands_max = 1 << 20,
    .run = run_compact,
};
