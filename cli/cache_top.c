/* SPDX-License-Identifier: MIT */
/* `holdfast cache top`: a line for each interval, with what happened in it. */
#include "cache.h"

#include <errno.h>
#include <string.h>

#define TITLE_EVERY 20 /* lines */

struct sampled {
    uint64_t at_ns;
    struct hfc_stats stats;
    struct hfc_tier_stats tier; /* capacity_bytes 0: there is none */
};

static int take_sample(struct hfc *cache, struct sampled *out)
{
    int rc;

    *out = (struct sampled){.at_ns = cli_now_ns(), .stats.size = sizeof(out->stats)};
    rc = hfc_stats(cache, &out->stats);
    out->tier.size = sizeof(out->tier);
    if (hfc_tier_stats(cache, &out->tier) != 0)
        out->tier.capacity_bytes = 0;
    return rc;
}

static void print_watch_title(const struct sampled *now)
{
    printf("%8s %6s %8s %8s %8s %8s %8s %9s", "GETS/S", "HITS", "PUTS/S", "PUT/S", "EVICT/S",
           "USED", "HELD", "OBJECTS");
    if (now->tier.capacity_bytes > 0)
        printf(" %10s %10s %8s %8s", "TO DISK/S", "FROM DISK/S", "SKIP/S", "ERRORS");
    putchar('\n');
}

struct span_of_time {
    const struct sampled *now, *before;
    double seconds;
};

static double a_second(const struct span_of_time *span, uint64_t now, uint64_t before)
{
    return now < before ? 0 : (double)(now - before) / span->seconds;
}

#define A_SECOND(field) a_second(span, span->now->field, span->before->field)

static void print_tier_columns(const struct span_of_time *span)
{
    char to[CLI_SIZE_TEXT], from[CLI_SIZE_TEXT];

    printf(" %10s %10s %8.0f %8" PRIu64, cli_size(to, (uint64_t)A_SECOND(tier.demoted_bytes)),
           cli_size(from, (uint64_t)A_SECOND(tier.promoted_bytes)), A_SECOND(tier.skipped),
           span->now->tier.read_errors + span->now->tier.write_errors + span->now->tier.damaged);
}

static void print_sample(const struct span_of_time *span)
{
    double hits = A_SECOND(stats.hits), gets = hits + A_SECOND(stats.misses);
    char put[CLI_SIZE_TEXT], used[CLI_SIZE_TEXT], held[CLI_SIZE_TEXT], share[16] = "-";

    if (gets > 0)
        snprintf(share, sizeof(share), "%.1f%%", 100 * hits / gets);
    printf("%8.0f %6s %8.0f %8s %8.0f %8s %8s %9" PRIu64, gets, share, A_SECOND(stats.puts),
           cli_size(put, (uint64_t)A_SECOND(stats.put_bytes)), A_SECOND(stats.evictions),
           cli_size(used, span->now->stats.used_bytes), cli_size(held, span->now->stats.held_bytes),
           span->now->stats.objects);
    if (span->now->tier.capacity_bytes > 0)
        print_tier_columns(span);
    putchar('\n');
}

static bool print_line(const struct sampled *now, const struct sampled *before, uint32_t line)
{
    const struct span_of_time span = {now, before, (double)(now->at_ns - before->at_ns) / 1e9};

    if (line % TITLE_EVERY == 0)
        print_watch_title(now);
    print_sample(&span);
    if (fflush(stdout) == 0)
        return true;
    if (errno == EPIPE)
        clearerr(stdout);
    return false;
}

int cache_watch(struct hfc *cache, uint64_t interval_ns, uint32_t lines)
{
    struct sampled before, now;
    bool goes_on = true;
    int rc = take_sample(cache, &before);

    for (uint32_t i = 0; rc == 0 && goes_on && (lines == 0 || i < lines); i++) {
        cli_sleep(interval_ns);
        if (cli_interrupted())
            break;
        rc = take_sample(cache, &now);
        goes_on = rc == 0 && print_line(&now, &before, i);
        before = now;
    }
    return rc;
}
