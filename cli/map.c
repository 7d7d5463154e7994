/* SPDX-License-Identifier: MIT */
/*
 * The verb map: which file and which pins lie on which blocks. Extents, pins and names are three
 * snapshots taken one after the other. In a pool in use they may disagree by what happened in
 * between. A pin is left out if its blocks were not seen.
 */
#include "map.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static bool as_json;
static const char *svg_path;

static struct cli_option map_options[] = {
    {.name = "svg",
     .kind = CLI_TEXT,
     .value = &svg_path,
     .value_name = "FILE",
     .help = "draw a picture into FILE instead"},
    {.name = "json", .letter = 'j', .kind = CLI_FLAG, .value = &as_json, .help = "for programs"},
    {0},
};

/* --------------------------------------------------------------------------- gathering --- */

static int file_by_ino(const void *a, const void *b)
{
    return cli_compare(((const struct map_file *)a)->ino, ((const struct map_file *)b)->ino);
}

/* For extents in the order of their inodes: the file is the last one or new. */
static size_t file_index(struct map *map, uint64_t ino)
{
    if (map->file_count > 0 && map->files[map->file_count - 1].ino == ino)
        return map->file_count - 1;
    map->files = cli_grow(map->files, map->file_count, &map->file_room, sizeof(map->files[0]));
    map->files[map->file_count] = (struct map_file){.ino = ino};
    return map->file_count++;
}

static int keep_extent(void *arg, const struct hf_extent_info *info)
{
    struct map *map = arg;
    struct map_extent extent = {
        .block = info->block,
        .blocks = (info->len + HF_BLOCK_BYTES - 1) / HF_BLOCK_BYTES,
        .off = info->off,
        .file = info->ino, /* an index once all are there */
        .detached = info->detached != 0,
        .shared = info->shared != 0,
    };

    map->extents = cli_grow(map->extents, map->extent_count, &map->extent_room, sizeof(extent));
    map->extents[map->extent_count++] = extent;
    return 0;
}

static int extent_by_file(const void *a, const void *b)
{
    const struct map_extent *left = a, *right = b;
    int order = cli_compare(left->file, right->file);

    return order != 0 ? order : cli_compare(left->off, right->off);
}

static int extent_by_block(const void *a, const void *b)
{
    return cli_compare(((const struct map_extent *)a)->block,
                       ((const struct map_extent *)b)->block);
}

static int hold_by_block(const void *a, const void *b)
{
    return cli_compare(((const struct map_hold *)a)->block, ((const struct map_hold *)b)->block);
}

static int by_size(const void *a, const void *b, void *arg)
{
    const struct map *map = arg;
    const struct map_file *left = &map->files[*(const size_t *)a];
    const struct map_file *right = &map->files[*(const size_t *)b];
    int order = cli_compare(right->blocks, left->blocks);

    return order != 0 ? order : cli_compare(left->ino, right->ino);
}

/* Turns inode numbers into indexes; needs the extents by file. */
static void number_files(struct map *map)
{
    for (size_t i = 0; i < map->extent_count; i++) {
        struct map_extent *extent = &map->extents[i];

        extent->file = file_index(map, extent->file);
        map->files[extent->file].blocks += extent->blocks;
    }
    map->ranked = cli_alloc(map->file_count * sizeof(map->ranked[0]));
    for (size_t i = 0; i < map->file_count; i++)
        map->ranked[i] = i;
    if (map->file_count > 0)
        qsort_r(map->ranked, map->file_count, sizeof(map->ranked[0]), by_size, map);
    for (size_t i = 0; i < map->file_count; i++)
        map->files[map->ranked[i]].rank = i;
}

static void add_hold(struct map *map, const struct map_extent *extent, size_t pin)
{
    const struct hf_pin_info *info = &map->pins.list[pin];
    uint64_t extent_end = extent->off + extent->blocks * HF_BLOCK_BYTES;
    uint64_t pin_end = info->len > UINT64_MAX - info->off ? UINT64_MAX : info->off + info->len;
    uint64_t from = extent->off > info->off ? extent->off : info->off;
    uint64_t to = extent_end < pin_end ? extent_end : pin_end;

    if (from >= to || extent->detached != (info->state == HF_PIN_DETACHED))
        return;
    map->holds = cli_grow(map->holds, map->hold_count, &map->hold_room, sizeof(map->holds[0]));
    map->holds[map->hold_count++] = (struct map_hold){
        .block = extent->block + (from - extent->off) / HF_BLOCK_BYTES,
        .blocks = (to - from + HF_BLOCK_BYTES - 1) / HF_BLOCK_BYTES,
        .pin = pin,
    };
}

/* The first extent of the file; needs the extents by file. */
static size_t first_extent(const struct map *map, size_t file)
{
    size_t low = 0, high = map->extent_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (map->extents[middle].file < file)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void find_holds(struct map *map)
{
    for (size_t pin = 0; pin < map->pins.count; pin++) {
        const struct map_file key = {.ino = map->pins.list[pin].ino};
        struct map_file *file = map->file_count == 0 ? NULL
                                                     : bsearch(&key, map->files, map->file_count,
                                                               sizeof(key), file_by_ino);
        size_t index;

        if (file == NULL)
            continue;
        file->pins += map->pins.list[pin].state != HF_PIN_WAITING;
        index = (size_t)(file - map->files);
        for (size_t i = first_extent(map, index);
             i < map->extent_count && map->extents[i].file == index; i++)
            add_hold(map, &map->extents[i], pin);
    }
}

static int gather(struct map *map, struct hf_pool *pool)
{
    int rc;

    map->info.size = sizeof(map->info);
    rc = hf_pool_info(pool, &map->info);
    if (rc == 0)
        rc = hf_extents(pool, 0, keep_extent, map);
    if (rc == 0)
        rc = cli_pins_read(pool, &map->pins);
    if (rc != 0)
        return rc;
    map->status = cli_inode_names_read(pool, &map->names);
    map->pool_blocks = map->info.pool_bytes / HF_BLOCK_BYTES;
    if (map->extent_count > 0)
        qsort(map->extents, map->extent_count, sizeof(map->extents[0]), extent_by_file);
    number_files(map);
    find_holds(map);
    if (map->extent_count > 0)
        qsort(map->extents, map->extent_count, sizeof(map->extents[0]), extent_by_block);
    if (map->hold_count > 0)
        qsort(map->holds, map->hold_count, sizeof(map->holds[0]), hold_by_block);
    return 0;
}

static void release(struct map *map)
{
    if (map->names != NULL)
        cli_inode_names_free(map->names);
    free(map->files);
    free(map->ranked);
    free(map->extents);
    cli_pins_free(&map->pins);
    free(map->holds);
}

/* -------------------------------------------------------------------------------- text --- */

static void print_run(uint64_t block, uint64_t blocks)
{
    char size[CLI_SIZE_TEXT];

    printf("%10" PRIu64 " %10" PRIu64 " %6s  ", block, blocks,
           cli_size(size, blocks * HF_BLOCK_BYTES));
}

static void print_free(uint64_t from, uint64_t to)
{
    if (from >= to)
        return;
    print_run(from, to - from);
    printf("%14s  -\n", "");
}

static void print_extents(const struct map *map)
{
    char lost[CLI_LOST_NAME_TEXT], resident[CLI_SIZE_TEXT], size[CLI_SIZE_TEXT];
    uint64_t next = 0;

    printf("%10s %10s %6s  %14s  FILE\n", "BLOCK", "BLOCKS", "BYTES", "OFFSET");
    for (size_t i = 0; i < map->extent_count && !ferror(stdout); i++) {
        const struct map_extent *extent = &map->extents[i];

        print_free(next, extent->block);
        print_run(extent->block, extent->blocks);
        printf("%14" PRIu64 "  ", extent->off);
        cli_put_name(stdout, cli_inode_title(map->names, map->files[extent->file].ino, lost));
        printf("%s%s\n", extent->detached ? " (detached)" : "", extent->shared ? " (shared)" : "");
        if (extent->block + extent->blocks > next)
            next = extent->block + extent->blocks;
    }
    print_free(next, map->pool_blocks);
    printf("\n%s of %s resident\n", cli_size(resident, map->info.resident_bytes),
           cli_size(size, map->info.pool_bytes));
}

static void print_map_holds(const struct map *map)
{
    char lost[CLI_LOST_NAME_TEXT];

    if (map->hold_count == 0)
        return;
    printf("\n%10s %10s %6s  %-17s %-8s %7s %-15s FILE\n", "BLOCK", "BLOCKS", "BYTES", "PIN",
           "PURPOSE", "PID", "COMMAND");
    for (size_t i = 0; i < map->hold_count && !ferror(stdout); i++) {
        const struct map_hold *hold = &map->holds[i];
        const struct hf_pin_info *pin = &map->pins.list[hold->pin];
        const char *mode = pin->state == HF_PIN_WAITING ? cli_pin_kind(pin) : cli_pin_mode(pin);
        char kind[32];

        print_run(hold->block, hold->blocks);
        snprintf(kind, sizeof(kind), "%s %s", cli_pin_state(pin), mode);
        printf("%-17s %-8s %7d ", kind, cli_pin_purpose(pin), (int)pin->pid);
        cli_put_command(stdout, pin, 0, 15);
        putchar(' ');
        cli_put_name(stdout, cli_inode_title(map->names, pin->ino, lost));
        putchar('\n');
    }
}

/* -------------------------------------------------------------------------------- JSON --- */

static void print_json_file(struct cli_json *json, const struct map *map, uint64_t ino)
{
    const char *path = cli_inode_name(map->names, ino);

    cli_json_number(json, "ino", ino);
    if (path != NULL)
        cli_json_text(json, "file", path);
    else
        cli_json_null(json, "file");
}

static void put_extent(struct cli_json *json, const struct map *map,
                       const struct map_extent *extent)
{
    cli_json_open(json, NULL, '{');
    cli_json_number(json, "block", extent->block);
    cli_json_number(json, "blocks", extent->blocks);
    cli_json_number(json, "off", extent->off);
    cli_json_bool(json, "detached", extent->detached);
    cli_json_bool(json, "shared", extent->shared);
    print_json_file(json, map, map->files[extent->file].ino);
    cli_json_close(json, '}');
}

static void put_hold(struct cli_json *json, const struct map *map, const struct map_hold *hold)
{
    const struct hf_pin_info *pin = &map->pins.list[hold->pin];

    cli_json_open(json, NULL, '{');
    cli_json_number(json, "block", hold->block);
    cli_json_number(json, "blocks", hold->blocks);
    cli_json_text(json, "state", cli_pin_state(pin));
    if (pin->state != HF_PIN_WAITING) {
        cli_json_text(json, "mode", cli_pin_mode(pin));
        cli_json_text(json, "purpose", cli_pin_purpose(pin));
    }
    cli_json_number(json, "pid", (uint64_t)pin->pid);
    cli_json_number(json, "tid", (uint64_t)pin->tid);
    cli_json_text(json, "command", pin->command);
    print_json_file(json, map, pin->ino);
    cli_json_close(json, '}');
}

static void put_map(const struct map *map)
{
    struct cli_json json;

    cli_json_begin(&json, stdout);
    cli_json_open(&json, NULL, '{');
    cli_json_text(&json, "pool", map->pool_path);
    cli_json_number(&json, "block_bytes", HF_BLOCK_BYTES);
    cli_json_number(&json, "blocks", map->pool_blocks);
    cli_json_number(&json, "resident_bytes", map->info.resident_bytes);
    cli_json_open(&json, "extents", '[');
    for (size_t i = 0; i < map->extent_count; i++)
        put_extent(&json, map, &map->extents[i]);
    cli_json_close(&json, ']');
    cli_json_open(&json, "pins", '[');
    for (size_t i = 0; i < map->hold_count; i++)
        put_hold(&json, map, &map->holds[i]);
    cli_json_close(&json, ']');
    cli_json_close(&json, '}');
    cli_json_end(&json);
}

/* ------------------------------------------------------------------------------------------ */

static int show_map(const struct map *map)
{
    int error = 0;

    if (svg_path != NULL)
        error = map_write_svg(map, svg_path);
    else if (as_json)
        put_map(map);
    if (error != 0)
        return cli_fail_host(svg_path, error);
    if (svg_path == NULL && !as_json) {
        print_extents(map);
        print_map_holds(map);
    }
    return EX_OK;
}

static int map_run(int count, char **operands)
{
    struct map map = {.pool_path = operands[0]};
    struct hf_pool *pool;
    int status, rc;

    (void)count;
    if (svg_path != NULL && as_json)
        return cli_usage("--svg and --json exclude each other");
    status = cli_pool_open(operands[0], HF_OPEN_RDONLY, &pool);
    if (status != EX_OK)
        return status;
    rc = gather(&map, pool);
    status = rc != 0 ? cli_fail(operands[0], rc) : show_map(&map);
    status = status != EX_OK ? status : map.status;
    release(&map);
    return cli_pool_close(pool, operands[0], status);
}

const struct cli_verb cli_verb_map = {
    .name = "map",
    .operands = "POOL",
    .summary = "show which file and which pins lie on which blocks, also as a picture",
    .options = map_options,
    .operands_min = 1,
    .operands_max = 1,
    .run = map_run,
};
