/* SPDX-License-Identifier: MIT */
/* The keys and the counts of a cache, for people and for programs. */
#include "cache.h"

#include <string.h>

/* ---- keys ---- */

#define KEY_TEXT (2 * HFC_KEY_MAX + 1)

static void write_hex(char out[KEY_TEXT], const struct hfc_entry *entry)
{
    for (uint32_t i = 0; i < entry->key_len; i++)
        sprintf(out + 2 * i, "%02x", entry->key[i]);
}

/* A key may have any bytes, so also those that end a line or a string. */
static void print_escaped(const struct hfc_entry *entry)
{
    char text[HFC_KEY_MAX + 1];
    uint32_t at = 0;

    memcpy(text, entry->key, entry->key_len);
    text[entry->key_len] = '\0';
    while (at < entry->key_len) {
        cli_put_escaped(stdout, text + at);
        at += (uint32_t)strlen(text + at);
        if (at++ < entry->key_len)
            fputs("\\000", stdout);
    }
}

static void print_key(const struct hfc_entry *entry, bool as_hex)
{
    char hex[KEY_TEXT];

    printf("%12" PRIu64 " %2" PRIu32 " ", entry->bytes, entry->space);
    if (as_hex) {
        write_hex(hex, entry);
        fputs(hex, stdout);
    } else {
        print_escaped(entry);
    }
    putchar('\n');
}

static void put_json_key(struct cli_json *json, const struct hfc_entry *entry, bool as_hex)
{
    char text[KEY_TEXT] = "";

    cli_json_open(json, NULL, '{');
    if (as_hex)
        write_hex(text, entry);
    else
        memcpy(text, entry->key, entry->key_len);
    cli_json_bytes(json, "key", text, as_hex ? strlen(text) : entry->key_len);
    cli_json_number(json, "space", entry->space);
    cli_json_number(json, "bytes", entry->bytes);
    cli_json_close(json, '}');
}

int cache_print_keys(struct hfc *cache, bool as_json, bool as_hex)
{
    struct hfc_entry entry;
    struct cli_json json;
    uint64_t cursor = 0;
    int rc;

    cli_json_begin(&json, stdout);
    if (as_json)
        cli_json_open(&json, NULL, '[');
    while ((rc = hfc_next(cache, &cursor, &entry)) > 0 && !cli_interrupted() && !ferror(stdout)) {
        if (as_json)
            put_json_key(&json, &entry, as_hex);
        else
            print_key(&entry, as_hex);
    }
    if (as_json) {
        cli_json_close(&json, ']');
        cli_json_end(&json);
    }
    return rc < 0 ? rc : 0;
}

/* ---- counts ---- */

static void print_size(const char *label, uint64_t bytes)
{
    char text[CLI_SIZE_TEXT];

    printf("%-10s %s (%" PRIu64 " bytes)\n", label, cli_size(text, bytes), bytes);
}

static void print_stats(const char *path, const struct hfc_stats *stats)
{
    uint64_t gets = stats->hits + stats->misses;

    printf("%-10s ", "cache");
    cli_put_name(stdout, path);
    putchar('\n');
    print_size("capacity", stats->capacity_bytes);
    print_size("used", stats->used_bytes);
    print_size("held", stats->held_bytes);
    printf("%-10s %" PRIu64 " of %" PRIu64 ", %" PRIu64 " packed page%s\n", "objects",
           stats->objects, stats->objects_max, stats->packed_pages,
           stats->packed_pages == 1 ? "" : "s");
    printf("%-10s %" PRIu64 " of %" PRIu64 " gets", "hits", stats->hits, gets);
    if (gets != 0)
        printf(", %.1f %%", 100.0 * (double)stats->hits / (double)gets);
    printf("; %" PRIu64 " misses, %" PRIu64 " expired\n", stats->misses, stats->expired);
    printf("%-10s %" PRIu64 ", %" PRIu64 " bytes; %" PRIu64 " of keys evicted not long ago\n",
           "puts", stats->puts, stats->put_bytes, stats->ghost_hits);
    printf("%-10s %" PRIu64 " evicted, %" PRIu64 " removed, %" PRIu64 " moved\n", "left",
           stats->evictions, stats->removals, stats->compacted);
    printf("%-10s %" PRIu64 "s the last that was evicted, %" PRIu64 "s the next\n", "age",
           stats->evicted_age_seconds, stats->next_age_seconds);
    printf("%-10s %" PRIu64 " time%s; %" PRIu64 " objects lost since the index was damaged\n",
           "mended", stats->mended, stats->mended == 1 ? "" : "s", stats->dropped);
}

static void put_json_stats(struct hfc *cache, const char *path, const struct hfc_stats *stats)
{
    const struct cli_number numbers[] = {
        {"capacity_bytes", stats->capacity_bytes},
        {"used_bytes", stats->used_bytes},
        {"held_bytes", stats->held_bytes},
        {"objects", stats->objects},
        {"objects_max", stats->objects_max},
        {"packed_pages", stats->packed_pages},
        {"hits", stats->hits},
        {"misses", stats->misses},
        {"expired", stats->expired},
        {"puts", stats->puts},
        {"put_bytes", stats->put_bytes},
        {"evictions", stats->evictions},
        {"removals", stats->removals},
        {"ghost_hits", stats->ghost_hits},
        {"compacted", stats->compacted},
        {"mended", stats->mended},
        {"dropped", stats->dropped},
        {"evicted_age_seconds", stats->evicted_age_seconds},
        {"next_age_seconds", stats->next_age_seconds},
        {0},
    };
    struct cli_json json;

    cli_json_begin(&json, stdout);
    cli_json_open(&json, NULL, '{');
    cli_json_text(&json, "cache", path);
    cli_json_numbers(&json, numbers);
    cache_put_json_tier(cache, &json);
    cli_json_close(&json, '}');
    cli_json_end(&json);
}

void cache_print_stats(struct hfc *cache, const char *path, const struct hfc_stats *stats,
                       bool as_json)
{
    if (as_json) {
        put_json_stats(cache, path, stats);
    } else {
        print_stats(path, stats);
        cache_print_tier(cache);
    }
}
