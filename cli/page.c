/* SPDX-License-Identifier: MIT */
/*
 * The page of `holdfast top --listen`. Its three files are in the program as they are (page/). The
 * browser draws; it asks for /state.json again and again. A look at the pool costs as much as it
 * has extents and pins. What the browser is given does not grow with them: cells of the map, the
 * largest files, the oldest pins.
 */
#include "page.h"

#include "listen.h"
#include "map.h"
#include "watched.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define CELLS_MAX 4096
#define FILES_SHOWN 24
#define PINS_SHOWN 200
#define NS_PER_MS UINT64_C(1000000)

/* The flags of a cell, as top.js knows them. */
enum { CELL_HELD = 1, CELL_WRITTEN = 2, CELL_WAITED = 4, CELL_MIXED = 8 };

extern const char page_html[], page_css[], page_js[]; /* page/embed.py */

struct page {
    struct watched pool;
    uint64_t interval_ns;
};

/* ------------------------------------------------------------------------------- names --- */

static void put_file_name(struct cli_json *json, struct hf_pool *pool, uint64_t ino)
{
    char path[HF_SYMLINK_MAX + 1];

    if (hf_path(pool, ino, path, sizeof(path)) == 0)
        cli_json_text(json, "file", path);
    else
        cli_json_null(json, "file");
    cli_json_number(json, "ino", ino);
}

/* ------------------------------------------------------------------------------- space --- */

static void put_space(struct cli_json *json, const struct hf_pool_info *info)
{
    cli_json_text(json, "engine", info->engine);
    cli_json_text(json, "media", info->media);
    cli_json_bool(json, "durable", (info->flags & HF_POOL_DURABLE) != 0);
    cli_json_space(json, info);
    cli_json_number(json, "processes", info->processes);
    cli_json_number(json, "threads", info->threads);
    cli_json_number(json, "open_files", info->files);
}

static void put_stats(struct cli_json *json, const struct hf_stats *stats)
{
    const struct cli_number numbers[] = {
        {"changes", stats->changes},
        {"pins_slow", stats->pins_slow},
        {"gate_waits", stats->gate_waits},
        {"faults", stats->faults},
        {"barriers", stats->barriers},
        {"recalls", stats->recalls},
        {"gave_up",
         stats->timed_out + stats->busy + stats->cancelled + stats->own_pins + stats->deadlocks},
        {"detaches", stats->detaches},
        {"reaped", stats->reaped},
        {"waits", stats->drains_waited},
        {"wait_ns_total", stats->wait_ns_total},
        {"wait_ns_max", stats->wait_ns_max},
        {0},
    };

    cli_json_numbers(json, numbers);
    cli_json_open(json, "wait_log2_ns", '[');
    for (int i = 0; i < HF_WAIT_BUCKETS; i++)
        cli_json_number(json, NULL, stats->wait_log2_ns[i]);
    cli_json_close(json, ']');
}

/* --------------------------------------------------------------------------------- map --- */

static unsigned cell_flags(const struct map_cell *cell)
{
    return (cell->held ? CELL_HELD : 0) | (cell->written ? CELL_WRITTEN : 0) |
           (cell->waited ? CELL_WAITED : 0) | (map_cell_of_one(cell) ? 0 : CELL_MIXED);
}

static bool are_equal(const struct map_cell *a, const struct map_cell *b)
{
    return a->used == b->used && a->detached == b->detached && !a->shared == !b->shared &&
           a->file == b->file && cell_flags(a) == cell_flags(b);
}

/* [cells alike, blocks used, blocks detached, whether some are shared, rank of the file, flags] */
static void put_run(struct cli_json *json, const struct map *map, const struct map_cell *cell,
                    size_t count)
{
    const size_t rank = cell->file == MAP_NO_FILE ? 0 : map->files[cell->file].rank;
    const uint64_t numbers[] = {count, cell->used,      cell->detached, cell->shared != 0,
                                rank,  cell_flags(cell)};

    cli_json_open(json, NULL, '[');
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        cli_json_number(json, NULL, numbers[i]);
    cli_json_close(json, ']');
}

static void put_grid(struct cli_json *json, const struct map *map)
{
    struct map_grid grid = {0};

    map_grid_fill(&grid, map, CELLS_MAX);
    cli_json_number(json, "cell_blocks", grid.cell_blocks);
    cli_json_number(json, "block_bytes", HF_BLOCK_BYTES);
    cli_json_open(json, "runs", '[');
    for (size_t i = 0, next; i < grid.count; i = next) {
        for (next = i + 1; next < grid.count && are_equal(&grid.cells[i], &grid.cells[next]);)
            next++;
        put_run(json, map, &grid.cells[i], next - i);
    }
    cli_json_close(json, ']');
    map_grid_free(&grid);
}

static void put_files(struct cli_json *json, const struct map *map, struct hf_pool *pool)
{
    cli_json_number(json, "file_count", map->file_count);
    cli_json_open(json, "files", '[');
    for (size_t rank = 0; rank < map->file_count && rank < FILES_SHOWN; rank++) {
        const struct map_file *file = &map->files[map->ranked[rank]];

        cli_json_open(json, NULL, '{');
        put_file_name(json, pool, file->ino);
        cli_json_number(json, "blocks", file->blocks);
        cli_json_number(json, "pins", file->pins);
        cli_json_close(json, '}');
    }
    cli_json_close(json, ']');
}

/* -------------------------------------------------------------------------------- pins --- */

/* Layout changes come first, then the oldest. */
static int by_importance(const void *a, const void *b)
{
    const struct hf_pin_info *left = a, *right = b;
    int order = cli_compare(right->state == HF_PIN_WAITING, left->state == HF_PIN_WAITING);

    return order != 0 ? order : cli_compare(right->age_ns, left->age_ns);
}

static void put_held_pin(struct cli_json *json, struct hf_pool *pool, const struct hf_pin_info *pin)
{
    char range[CLI_RANGE_TEXT];

    cli_json_open(json, NULL, '{');
    cli_json_number(json, "pid", (uint64_t)pin->pid);
    cli_json_text(json, "command", pin->command);
    cli_json_text(json, "kind", cli_pin_kind(pin));
    cli_json_text(json, "state", cli_pin_state(pin));
    cli_json_text(json, "mode", cli_pin_mode(pin));
    cli_json_text(json, "purpose", cli_pin_purpose(pin));
    cli_json_number(json, "age_ns", pin->age_ns);
    cli_json_text(json, "range", cli_pin_range(range, pin));
    cli_json_text(json, "label", pin->label);
    put_file_name(json, pool, pin->ino);
    cli_json_close(json, '}');
}

/* The holds name pins by their place in the list, so it is sorted after the map is written. */
static void put_held_pins(struct cli_json *json, struct map *map, struct hf_pool *pool)
{
    if (map->no_pins != NULL)
        cli_json_text(json, "no_pins", map->no_pins);
    cli_json_number(json, "pin_count", map->pins.count);
    if (map->pins.count > 0)
        qsort(map->pins.list, map->pins.count, sizeof(map->pins.list[0]), by_importance);
    cli_json_open(json, "pins", '[');
    for (size_t i = 0; i < map->pins.count && i < PINS_SHOWN; i++)
        put_held_pin(json, pool, &map->pins.list[i]);
    cli_json_close(json, ']');
}

/* ------------------------------------------------------------------------------- pages --- */

static void put_state(struct cli_json *json, struct page *page)
{
    struct hf_pool *pool = watched_pool(&page->pool);
    struct hf_stats stats = {.size = sizeof(stats)};
    struct map map = {0};
    int rc;

    if (pool == NULL)
        return;
    rc = map_read(&map, pool);
    if (rc == 0)
        rc = hf_stats(pool, &stats);
    if (rc == 0) {
        put_space(json, &map.info);
        put_stats(json, &stats);
        put_grid(json, &map);
        put_files(json, &map, pool);
        put_held_pins(json, &map, pool);
    }
    watched_looked(&page->pool, rc);
    map_free(&map);
}

static void write_state(void *arg, FILE *out)
{
    struct page *page = arg;
    struct cli_json json;

    cli_json_begin(&json, out);
    cli_json_open(&json, NULL, '{');
    cli_json_text(&json, "pool", page->pool.path);
    cli_json_number(&json, "interval_ms", page->interval_ns / NS_PER_MS);
    put_state(&json, page);
    cli_json_bool(&json, "readable", page->pool.failure == 0);
    cli_json_close(&json, '}');
    cli_json_end(&json);
}

static void write_html(void *arg, FILE *out)
{
    (void)arg;
    fputs(page_html, out);
}

static void write_css(void *arg, FILE *out)
{
    (void)arg;
    fputs(page_css, out);
}

static void write_js(void *arg, FILE *out)
{
    (void)arg;
    fputs(page_js, out);
}

int page_serve(const char *address, const char *path, uint64_t interval_ns)
{
    static const struct cli_page pages[] = {
        {"/", "text/html; charset=utf-8", write_html},
        {"/top.css", "text/css; charset=utf-8", write_css},
        {"/top.js", "text/javascript; charset=utf-8", write_js},
        {"/state.json", "application/json", write_state},
        {0},
    };
    struct page page = {.pool.path = path, .interval_ns = interval_ns};
    int status;

    watched_pool(&page.pool); /* counts begin now */
    status = cli_listen(address, pages, &page);
    watched_close(&page.pool);
    return status;
}
