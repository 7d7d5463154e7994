/* SPDX-License-Identifier: MIT */
/* The files and pins of a pool and where they lie, gathered once for the text, the JSON and the
 * picture. */
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
    struct cli_inode_names *names;
    int status;             /* the exit code, when some names could not be read */
    struct map_file *files; /* by inode */
    size_t file_count, file_room;
    size_t *ranked;             /* files by size, the largest first */
    struct map_extent *extents; /* by block */
    size_t extent_count, extent_room;
    struct cli_pins pins;
    struct map_hold *holds; /* by block */
    size_t hold_count, hold_room;
};

/* The picture; 0 or the errno. */
int map_write_svg(const struct map *map, const char *path);

#endif
