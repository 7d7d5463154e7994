/* SPDX-License-Identifier: MIT */
/* The files and pins of a pool and where they lie, gathered once for the text, the JSON, the
 * picture and the page. */
#ifndef HOLDFAST_CLI_MAP_H
#define HOLDFAST_CLI_MAP_H

#include "cli.h"

struct map_file {
    uint64_t ino;
    uint64_t blocks; /* in the file, and detached from it */
    size_t rank;     /* 0: the largest */
    uint32_t pins;
};

struct map_extent {
    uint64_t block, blocks;
    uint64_t off; /* in the file, bytes */
    size_t file;  /* in map.files */
    bool detached;
    bool shared; /* other extents may name the same blocks, and lie beside it in the list */
};

/* A pin, or a waiting layout change, over one run of blocks. */
struct map_hold {
    uint64_t block, blocks;
    size_t pin; /* in map.pins */
};

struct map {
    const char *pool_path;
    struct hf_pool_info info;
    uint64_t pool_blocks;
    struct cli_inode_names *names; /* null unless the user of the map has read them */
    char *no_pins;                 /* why the pins are not known; null: they are */
    struct map_file *files;        /* by inode */
    size_t file_count, file_room;
    size_t *ranked;             /* files by size, the largest first */
    struct map_extent *extents; /* by block */
    size_t extent_count, extent_room;
    struct cli_pins pins;
    struct map_hold *holds; /* by block */
    size_t hold_count, hold_room;
};

/* 0, or the error of the library's call that has just failed. The map is to be freed either way. */
int map_read(struct map *map, struct hf_pool *pool);
void map_free(struct map *map);

#define MAP_NO_FILE SIZE_MAX
struct map_cell {
    uint64_t used, detached; /* blocks, each counted once */
    uint64_t shared;         /* how often a block is another extent's too */
    uint64_t owned;          /* blocks of `file` */
    size_t file;             /* that has most of it; MAP_NO_FILE if free */
    bool held, written, waited;
};

struct map_grid {
    uint64_t cell_blocks; /* a power of two */
    size_t count;
    struct map_cell *cells;
};
void map_grid_fill(struct map_grid *grid, const struct map *map, size_t cells_max);
void map_grid_free(struct map_grid *grid);
/* Most of what is used is one file's. */
bool map_cell_of_one(const struct map_cell *cell);

/* The picture; 0 or the errno. */
int map_write_svg(const struct map *map, const char *path);

#endif
