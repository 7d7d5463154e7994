/* SPDX-License-Identifier: MIT */
/* A pool as cells of a power of two of blocks each, so that any pool fits on one page. */
#include "map.h"

#include <stdlib.h>

static uint64_t blocks_a_cell(uint64_t pool_blocks, size_t cells_max)
{
    uint64_t blocks = 1;

    while ((pool_blocks + blocks - 1) / blocks > cells_max)
        blocks *= 2;
    return blocks;
}

static uint64_t overlap(const struct map_grid *grid, size_t cell, uint64_t block, uint64_t blocks)
{
    uint64_t first = cell * grid->cell_blocks, last = first + grid->cell_blocks;
    uint64_t from = block > first ? block : first;
    uint64_t to = block + blocks < last ? block + blocks : last;

    return from < to ? to - from : 0;
}

/* Extents come by block, so a cell's files are counted in one go; `counts` has one number a file
 * and is zero before and after. */
static void count_cell(struct map_grid *grid, const struct map *map, size_t index, size_t *next,
                       uint64_t *counts)
{
    struct map_cell *cell = &grid->cells[index];
    uint64_t end = (index + 1) * grid->cell_blocks;
    uint64_t counted = index * grid->cell_blocks; /* blocks before it are in `used` */
    size_t first = *next, i;

    for (i = first; i < map->extent_count && map->extents[i].block < end; i++) {
        const struct map_extent *extent = &map->extents[i];
        uint64_t blocks = overlap(grid, index, extent->block, extent->blocks);
        uint64_t from = extent->block > counted ? extent->block : counted;
        uint64_t to = extent->block + extent->blocks < end ? extent->block + extent->blocks : end;
        uint64_t more = from < to ? to - from : 0;

        counted = to > counted ? to : counted;
        cell->used += more;
        cell->shared += blocks - more;
        cell->detached += extent->detached ? more : 0;
        counts[extent->file] += blocks;
        if (counts[extent->file] > cell->owned) {
            cell->owned = counts[extent->file];
            cell->file = extent->file;
        }
    }
    while (i > first) {
        i--;
        counts[map->extents[i].file] = 0;
    }
    while (*next < map->extent_count &&
           map->extents[*next].block + map->extents[*next].blocks <= end)
        (*next)++;
}

static void mark_hold(struct map_grid *grid, const struct map *map, const struct map_hold *hold)
{
    const struct hf_pin_info *pin = &map->pins.list[hold->pin];
    size_t last = (hold->block + hold->blocks - 1) / grid->cell_blocks;

    for (size_t i = hold->block / grid->cell_blocks; i <= last && i < grid->count; i++) {
        if (pin->state == HF_PIN_WAITING) {
            grid->cells[i].waited = true;
            continue;
        }
        grid->cells[i].held = true;
        grid->cells[i].written = grid->cells[i].written || (pin->flags & HF_PIN_WRITE) != 0;
    }
}

void map_grid_fill(struct map_grid *grid, const struct map *map, size_t cells_max)
{
    uint64_t *counts = cli_alloc(map->file_count * sizeof(counts[0]));
    size_t next = 0;

    grid->cell_blocks = blocks_a_cell(map->pool_blocks, cells_max);
    grid->count = (size_t)((map->pool_blocks + grid->cell_blocks - 1) / grid->cell_blocks);
    grid->cells = cli_alloc(grid->count * sizeof(grid->cells[0]));
    for (size_t i = 0; i < grid->count; i++) {
        grid->cells[i].file = MAP_NO_FILE;
        count_cell(grid, map, i, &next, counts);
    }
    for (size_t i = 0; i < map->hold_count; i++)
        mark_hold(grid, map, &map->holds[i]);
    free(counts);
}

void map_grid_free(struct map_grid *grid)
{
    free(grid->cells);
}

bool map_cell_of_one(const struct map_cell *cell)
{
    return cell->owned * 2 >= cell->used;
}
