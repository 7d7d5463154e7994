/* SPDX-License-Identifier: MIT */
/*
 * Reads what lies where in a pool. Extents and pins are two snapshots, taken one after the
 * other. In a pool in use they may disagree by what happened in between. A pin is left out if its
 * blocks were not seen.
 */
#include "map.h"

#include <errno.h>
#include <stdlib.h>

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
        .blocks = cli_pages_up(info->len),
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
        .blocks = cli_pages_up(to - from),
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

int map_read(struct map *map, struct hf_pool *pool)
{
    int rc;

    map->info.size = sizeof(map->info);
    rc = hf_pool_info(pool, &map->info);
    if (rc == 0)
        rc = hf_extents(pool, 0, keep_extent, map);
    if (rc == 0)
        rc = cli_pins_read(pool, &map->pins);
    if (rc == -EOPNOTSUPP)
        map->no_pins = cli_strdup(hf_strerror_detail());
    else if (rc != 0)
        return rc;
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

void map_free(struct map *map)
{
    if (map->names != NULL)
        cli_inode_names_free(map->names);
    free(map->no_pins);
    free(map->files);
    free(map->ranked);
    free(map->extents);
    cli_pins_free(&map->pins);
    free(map->holds);
}
