/* SPDX-License-Identifier: MIT */
/* What `holdfast cache stat` says of the second tier. */
#include "cache.h"

#include <string.h>
#include <time.h>

static bool get_stats(struct hfc *cache, struct hfc_tier_stats *out)
{
    *out = (struct hfc_tier_stats){.size = sizeof(*out)};
    return hfc_tier_stats(cache, out) == 0;
}

void cache_print_tier(struct hfc *cache)
{
    char used[CLI_SIZE_TEXT], capacity[CLI_SIZE_TEXT];
    struct hfc_tier_stats stats;

    if (!get_stats(cache, &stats))
        return;
    printf("%-10s ", "tier");
    cli_put_name(stdout, stats.path);
    printf(", %s of %s\n", cli_size(used, stats.used_bytes),
           cli_size(capacity, stats.capacity_bytes));
    printf("%-10s %" PRIu64 " written, %" PRIu64 " were there, %" PRIu64 " skipped\n", "to disk",
           stats.demoted, stats.kept, stats.skipped);
    printf("%-10s %" PRIu64 " brought back; %" PRIu64 " misses, %" PRIu64 " damaged\n", "from disk",
           stats.promoted, stats.misses, stats.damaged);
    if (stats.last_error != 0)
        printf("%-10s %" PRIu64 " writes, %" PRIu64 " reads; the last, a %s, %" PRIu64
               "s ago: %s\n",
               "failed", stats.write_errors, stats.read_errors,
               stats.last_error_reading ? "read" : "write",
               (uint64_t)time(NULL) - stats.last_error_time, strerror(stats.last_error));
    if (stats.fault)
        printf("%-10s %s\n", "fault", stats.fault);
}

static void put_tier_counts(struct cli_json *json, const struct hfc_tier_stats *stats)
{
    const struct cli_number numbers[] = {
        {"capacity_bytes", stats->capacity_bytes},
        {"used_bytes", stats->used_bytes},
        {"demoted", stats->demoted},
        {"demoted_bytes", stats->demoted_bytes},
        {"kept", stats->kept},
        {"skipped", stats->skipped},
        {"promoted", stats->promoted},
        {"promoted_bytes", stats->promoted_bytes},
        {"misses", stats->misses},
        {"damaged", stats->damaged},
        {"write_errors", stats->write_errors},
        {"read_errors", stats->read_errors},
        {"last_error", (uint64_t)stats->last_error},
        {"last_error_time", stats->last_error_time},
        {0},
    };

    cli_json_numbers(json, numbers);
}

void cache_put_json_tier(struct hfc *cache, struct cli_json *json)
{
    struct hfc_tier_stats stats;

    if (!get_stats(cache, &stats))
        return;
    cli_json_open(json, "tier", '{');
    cli_json_text(json, "path", stats.path);
    if (stats.fault)
        cli_json_text(json, "fault", stats.fault);
    else
        cli_json_null(json, "fault");
    put_tier_counts(json, &stats);
    cli_json_close(json, '}');
}
