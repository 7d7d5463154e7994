/* SPDX-License-Identifier: MIT */
/* What `holdfast metrics` says of a pool. All is read before anything is added, so that what comes
 * out is whole or nothing. Base units: bytes and seconds. */
#include "pool_metrics.h"

#include "cli.h"

#include <errno.h>
#include <inttypes.h>

struct metrics {
    struct exposition *out;
    const char *path;
    struct hf_pool_info info;
    struct hf_stats stats;
    struct cli_pins pins;
    bool knows_pins; /* the engine knows which pins there are */
};

static void put_sample(const struct metrics *metrics, const char *suffix, const char *labels,
                       uint64_t value)
{
    exposition_sample(metrics->out, suffix, metrics->path, labels, value);
}

static void put_gauge(const struct metrics *metrics, const char *name, const char *help,
                      uint64_t value)
{
    exposition_metric(metrics->out, name, "gauge", help);
    put_sample(metrics, "", "", value);
}

static void put_gauge_ns(const struct metrics *metrics, const char *name, const char *help,
                         uint64_t ns)
{
    exposition_metric(metrics->out, name, "gauge", help);
    exposition_sample_ns(metrics->out, "", metrics->path, "", ns);
}

static void put_counter_metric(const struct metrics *metrics, const char *name, const char *help,
                               uint64_t value)
{
    exposition_metric(metrics->out, name, "counter", help);
    put_sample(metrics, "", "", value);
}

static void put_info_metrics(const struct metrics *metrics)
{
    const struct hf_pool_info *info = &metrics->info;
    char uuid[CLI_UUID_TEXT], labels[192];

    snprintf(labels, sizeof(labels),
             ",uuid=\"%s\",engine=\"%s\",media=\"%s\",durability=\"%s\",version=\"%s\"",
             cli_uuid_text(uuid, info->uuid), info->engine, info->media,
             info->flags & HF_POOL_DURABLE ? "durable" : "memory", hf_version());
    exposition_metric(metrics->out, "pool_info", "gauge", "What the pool is made of; always 1.");
    put_sample(metrics, "", labels, 1);
}

static void put_space_metrics(const struct metrics *metrics)
{
    const struct hf_pool_info *info = &metrics->info;

    put_gauge(metrics, "pool_bytes", "Memory for blocks.", info->pool_bytes);
    put_gauge(metrics, "used_bytes", "Blocks in files.", cli_used_bytes(info));
    put_gauge(metrics, "free_bytes", "Blocks in no file and not detached.", info->free_bytes);
    put_gauge(metrics, "resident_bytes", "Memory that the system keeps for the pool.",
              info->resident_bytes);
    put_gauge(metrics, "trim_above_bytes",
              "Free memory above this is given back by itself; 0: by hand only.",
              info->trim_above_bytes);
    put_gauge(metrics, "detached_bytes", "Blocks that left their file and are still held.",
              info->detached_bytes);
    put_gauge(metrics, "shared_bytes", "Blocks that lie under more than one page of files.",
              info->shared_bytes);
    put_gauge(metrics, "saved_bytes", "How much more would be used without sharing.",
              info->saved_bytes);
    put_gauge(metrics, "limit_bytes", "How far the pool can grow.", info->limit_bytes);
    put_gauge(metrics, "inodes", "Files, directories and links.", info->inodes);
}

static void put_user_metrics(const struct metrics *metrics)
{
    const struct hf_pool_info *info = &metrics->info;

    put_gauge(metrics, "processes", "Processes attached, the one that asks among them.",
              info->processes);
    put_gauge(metrics, "processes_max", "Processes that can be attached at once.",
              info->max_processes);
    put_gauge(metrics, "threads", "Threads that use the pool.", info->threads);
    put_gauge(metrics, "threads_max", "Threads that can use the pool at once.", info->max_threads);
    put_gauge(metrics, "open_files", "Files open, all processes together.", info->files);
    put_gauge(metrics, "open_files_max", "Files that can be open at once.", info->max_files);
    put_gauge(metrics, "leases", "Leases, pins beyond the slots of a thread, and detached runs.",
              info->leases);
    put_gauge(metrics, "leases_max",
              "Leases, such pins and detached runs that there can be at once.", info->max_leases);
    put_gauge(metrics, "registrations", "Times the memory is registered with a device.",
              info->registrations);
}

static void put_given_up(const struct metrics *metrics)
{
    const struct hf_stats *stats = &metrics->stats;
    const struct {
        const char *label;
        uint64_t count;
    } causes[] = {
        {",cause=\"deadline\"", stats->timed_out},  {",cause=\"busy\"", stats->busy},
        {",cause=\"cancelled\"", stats->cancelled}, {",cause=\"own_pin\"", stats->own_pins},
        {",cause=\"deadlock\"", stats->deadlocks},
    };

    exposition_metric(metrics->out, "given_up_total", "counter",
                      "Layout changes that gave up, by reason.");
    for (size_t i = 0; i < sizeof(causes) / sizeof(causes[0]); i++)
        put_sample(metrics, "", causes[i].label, causes[i].count);
}

static void put_counter_metrics(const struct metrics *metrics)
{
    const struct hf_stats *stats = &metrics->stats;

    put_counter_metric(metrics, "layout_changes_total", "Layout changes begun.", stats->changes);
    put_counter_metric(metrics, "detaches_total", "Layout changes that detached blocks.",
                       stats->detaches);
    put_counter_metric(metrics, "recalls_total", "Leases that layout changes recalled.",
                       stats->recalls);
    put_counter_metric(metrics, "reaped_pins_total", "Pins of dead processes dropped.",
                       stats->reaped);
    put_counter_metric(metrics, "slow_pins_total", "Pins that left the fast path.",
                       stats->pins_slow);
    put_counter_metric(metrics, "gate_waits_total", "Pins and faults that waited at a gate.",
                       stats->gate_waits);
    put_counter_metric(metrics, "faults_total", "Page table entries filled.", stats->faults);
    put_counter_metric(metrics, "barriers_total", "Heavy barriers paid.", stats->barriers);
}

/* The last bucket of the library has no upper bound. The count is that of the buckets, so that the
 * two agree. */
static void put_waits(const struct metrics *metrics)
{
    const struct hf_stats *stats = &metrics->stats;
    uint64_t count = 0;
    char label[48];

    exposition_metric(metrics->out, "wait_seconds", "histogram",
                      "How long layout changes waited for pins.");
    for (int i = 0; i < HF_WAIT_BUCKETS - 1; i++) {
        const uint64_t longest_ns = (UINT64_C(2) << i) - 1;

        count += stats->wait_log2_ns[i];
        snprintf(label, sizeof(label), ",le=\"" EXPOSITION_SECONDS "\"",
                 EXPOSITION_SECONDS_OF(longest_ns));
        put_sample(metrics, "_bucket", label, count);
    }
    count += stats->wait_log2_ns[HF_WAIT_BUCKETS - 1];
    put_sample(metrics, "_bucket", ",le=\"+Inf\"", count);
    exposition_sample_ns(metrics->out, "_sum", metrics->path, "", stats->wait_ns_total);
    put_sample(metrics, "_count", "", count);
    put_gauge_ns(metrics, "wait_longest_seconds", "The longest that a layout change has waited.",
                 stats->wait_ns_max);
}

/* A sample for each combination that there can be, also of no pins, so that none comes and goes. */
static void put_pins(const struct metrics *metrics)
{
    struct cli_pin_counts counts;
    char labels[96];

    cli_pins_count(&metrics->pins, &counts);
    exposition_metric(metrics->out, "pins", "gauge",
                      "Pins, leases and puts, by kind, state and purpose.");
    for (int kind = 0; kind < CLI_PIN_KINDS; kind++) {
        for (int state = 0; state < CLI_PIN_STATES; state++) {
            if (kind != CLI_LEASES && state == CLI_PIN_RECALLED)
                continue;
            for (int purpose = 0; purpose < CLI_PURPOSES; purpose++) {
                snprintf(labels, sizeof(labels), ",kind=\"%s\",state=\"%s\",purpose=\"%s\"",
                         cli_kind_words[kind], cli_state_words[state], cli_purpose_words[purpose]);
                put_sample(metrics, "", labels, counts.of[kind][state][purpose]);
            }
        }
    }
    put_gauge(metrics, "layout_changes_waiting", "Layout changes that wait now.", counts.waiting);
    put_gauge_ns(metrics, "layout_change_oldest_wait_seconds",
                 "How long the layout change that has waited longest waits now.",
                 counts.longest_wait_ns);
    put_gauge_ns(metrics, "lease_oldest_seconds", "Age of the oldest lease.",
                 counts.oldest_lease_ns);
}

/* An engine that counts has no list of pins, so there are no samples of them either. */
static int read_metrics(struct hf_pool *pool, struct metrics *metrics)
{
    int rc = hf_pool_info(pool, &metrics->info);

    if (rc == 0)
        rc = hf_stats(pool, &metrics->stats);
    if (rc != 0)
        return rc;
    rc = cli_pins_read(pool, &metrics->pins);
    metrics->knows_pins = rc == 0;
    return rc == -EOPNOTSUPP ? 0 : rc;
}

static void put_up(struct exposition *out, const char *path, uint64_t up)
{
    exposition_metric(out, "pool_up", "gauge", "1: the pool could be read; 0: it could not.");
    exposition_sample(out, "", path, "", up);
}

static void put_metrics(const struct metrics *metrics)
{
    put_up(metrics->out, metrics->path, 1);
    put_info_metrics(metrics);
    put_space_metrics(metrics);
    put_user_metrics(metrics);
    put_counter_metrics(metrics);
    put_given_up(metrics);
    put_waits(metrics);
    if (metrics->knows_pins)
        put_pins(metrics);
}

int pool_metrics_add(struct exposition *out, const char *path, struct hf_pool *pool)
{
    struct metrics metrics = {.out = out,
                              .path = path,
                              .info.size = sizeof(metrics.info),
                              .stats.size = sizeof(metrics.stats)};
    int rc = read_metrics(pool, &metrics);

    if (rc == 0)
        put_metrics(&metrics);
    cli_pins_free(&metrics.pins);
    return rc;
}

void pool_metrics_add_down(struct exposition *out, const char *path)
{
    put_up(out, path, 0);
}
