/* SPDX-License-Identifier: MIT */
/* The verb map: which file and which pins lie on which blocks. Names are read after them, and may
 * be newer. */
#include "map.h"

#include <errno.h>
#include <inttypes.h>

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

static int show_map(struct map *map, struct hf_pool *pool)
{
    int status = cli_inode_names_read(pool, &map->names);
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
    return status;
}

static int stop_at_first(void *arg, const struct hf_pin_info *info)
{
    (void)arg, (void)info;
    return 1;
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
    rc = hf_pins(pool, stop_at_first, NULL);
    if (rc != -EOPNOTSUPP) /* else its engine counts pins: nothing else is read */
        rc = map_read(&map, pool);
    status = rc != 0 ? cli_fail(operands[0], rc) : show_map(&map, pool);
    map_free(&map);
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
