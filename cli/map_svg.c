/* SPDX-License-Identifier: MIT */
/*
 * The picture of `holdfast map --svg`: the pool as a grid, read like text. A cell stands for a
 * power of two of blocks, so that any pool fits on one page. It is filled from its bottom as far as
 * it is used. Its colour is that of the file that has most of it. Files too small to own most of a
 * cell share one colour. Pinned ranges are outlined; detached blocks are hatched, and blocks that
 * files share are dotted. Every run of equal cells carries its file's name as a tooltip.
 */
#include "map.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS 128 /* a power of two, so that rows begin at round addresses */
#define CELLS_MAX (COLUMNS * 48)
#define CELL 9.0 /* a cell and the gap after it */
#define BOX 8.0  /* a cell */
#define LEFT 74.0
#define GRID_WIDTH (COLUMNS * CELL)
#define WIDTH (LEFT + GRID_WIDTH + 30)
#define TOP 104.0
#define LEGEND_COLUMNS 3
#define LEGEND_FILES 24 /* named in the legend; as many as there are distinct colours */
#define LEGEND_LINE 20.0
#define LEGEND_NAME 36 /* characters */

struct grid {
    const struct map *map;
    struct map_grid in;
    FILE *out;
    size_t rows;
};

/* ------------------------------------------------------------------------- SVG elements --- */

/* Text for XML: control bytes, which it cannot have, and what is not UTF-8 become a mark. */
static void put_text(FILE *out, const char *text)
{
    for (const unsigned char *byte = (const unsigned char *)text; *byte != '\0'; byte++) {
        if (*byte == '&')
            fputs("&amp;", out);
        else if (*byte == '<')
            fputs("&lt;", out);
        else if (*byte == '>')
            fputs("&gt;", out);
        else if (*byte == '"')
            fputs("&quot;", out);
        else if (*byte < 0x20 || *byte >= 0x7f)
            fputs("&#xFFFD;", out);
        else
            fputc(*byte, out);
    }
}

/* The end of a path says most about it. */
static void put_short(FILE *out, const char *text)
{
    size_t len = strlen(text);

    if (len > LEGEND_NAME) {
        fputs("&#x2026;", out);
        text += len - LEGEND_NAME;
    }
    put_text(out, text);
}

/* The first colours are told apart easily, and neighbours in rank are far apart on the wheel. */
static void rank_color(size_t rank, char color[8])
{
    static const char *const palette[LEGEND_FILES] = {
        "#4e79a7", "#f28e2b", "#59a14f", "#b07aa1", "#edc948", "#76b7b2", "#e15759", "#9c755f",
        "#ff9da7", "#2f6d6a", "#8cd17d", "#d37295", "#a0cbe8", "#b6992d", "#86bcb6", "#7b5ea7",
        "#ffbe7d", "#499894", "#d4a6c8", "#6b8e23", "#c85a3c", "#5f7fbf", "#d7b5a6", "#3f7f4f",
    };
    double hue;
    int rgb[3];

    if (rank < LEGEND_FILES) {
        strcpy(color, palette[rank]);
        return;
    }
    hue = fmod((double)rank * 0.618034, 1.0) * 6;
    for (int i = 0; i < 3; i++) {
        double away = fabs(fmod(hue + 6 - 2 * i, 6.0) - 3) - 1;

        rgb[i] = (int)(120 + 90 * (away < 0 ? 0 : away > 1 ? 1 : away));
    }
    snprintf(color, 8, "#%02x%02x%02x", rgb[0] & 0xff, rgb[1] & 0xff, rgb[2] & 0xff);
}

static void put_head(struct grid *grid, double height)
{
    fprintf(grid->out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\""
            " height=\"%.0f\" font-family=\"DejaVu Sans, Verdana, Helvetica, sans-serif\""
            " font-size=\"12\" fill=\"#2b2f36\">\n"
            "<defs>\n"
            "<pattern id=\"free\" x=\"%.0f\" y=\"%.0f\" width=\"%.0f\" height=\"%.0f\""
            " patternUnits=\"userSpaceOnUse\"><rect width=\"%.0f\" height=\"%.0f\" rx=\"1.5\""
            " fill=\"#e9ecf0\"/></pattern>\n"
            "<pattern id=\"hatch\" width=\"4\" height=\"4\" patternUnits=\"userSpaceOnUse\""
            " patternTransform=\"rotate(45)\"><rect width=\"4\" height=\"4\" fill=\"#fff\""
            " fill-opacity=\".35\"/><rect width=\"1.8\" height=\"4\" fill=\"#c1121f\"/></pattern>\n"
            "<pattern id=\"dots\" width=\"4\" height=\"4\" patternUnits=\"userSpaceOnUse\">"
            "<circle cx=\"2\" cy=\"2\" r=\"1.1\" fill=\"#fff\"/></pattern>\n"
            "</defs>\n<rect width=\"100%%\" height=\"100%%\" fill=\"#fcfcfd\"/>\n",
            WIDTH, height, WIDTH, height, LEFT, TOP, CELL, CELL, BOX, BOX);
}

static void put_bar_part(struct grid *grid, double *x, uint64_t bytes, const char *fill)
{
    double width = GRID_WIDTH * (double)bytes / (double)grid->map->info.pool_bytes;

    if (bytes == 0)
        return;
    fprintf(grid->out, "<rect x=\"%.2f\" y=\"66\" width=\"%.2f\" height=\"12\" fill=\"%s\"/>\n", *x,
            width, fill);
    *x += width;
}

static void draw_grid_title(struct grid *grid)
{
    const struct hf_pool_info *info = &grid->map->info;
    uint64_t used = info->pool_bytes - info->free_bytes - info->detached_bytes;
    char size[CLI_SIZE_TEXT], taken[CLI_SIZE_TEXT], free_text[CLI_SIZE_TEXT];
    char saved[CLI_SIZE_TEXT], detached[CLI_SIZE_TEXT], cell[CLI_SIZE_TEXT];
    char resident[CLI_SIZE_TEXT];
    double x = LEFT;

    fprintf(grid->out, "<text x=\"%.0f\" y=\"30\" font-size=\"18\" font-weight=\"bold\">", LEFT);
    put_text(grid->out, grid->map->pool_path);
    fprintf(grid->out,
            "</text>\n<text x=\"%.0f\" y=\"52\">%s on %s, engine %s: %s used by %zu files, %s"
            " saved, %s detached, %s free, %s resident</text>\n",
            LEFT, cli_size(size, info->pool_bytes), info->media, info->engine,
            cli_size(taken, used), grid->map->file_count, cli_size(saved, info->saved_bytes),
            cli_size(detached, info->detached_bytes), cli_size(free_text, info->free_bytes),
            cli_size(resident, info->resident_bytes));
    fprintf(grid->out,
            "<text x=\"%.0f\" y=\"52\" text-anchor=\"end\" fill=\"#6b7280\">one cell: %" PRIu64
            " block%s, %s</text>\n",
            LEFT + GRID_WIDTH, grid->in.cell_blocks, grid->in.cell_blocks == 1 ? "" : "s",
            cli_size(cell, grid->in.cell_blocks * HF_BLOCK_BYTES));
    put_bar_part(grid, &x, used, "#5b6b82");
    put_bar_part(grid, &x, info->detached_bytes, "#c1121f");
    put_bar_part(grid, &x, info->free_bytes, "#dfe3e8");
}

/* -------------------------------------------------------------------------------- cells --- */

static void put_addresses(struct grid *grid)
{
    size_t step = grid->rows > 24 ? 8 : grid->rows > 8 ? 4 : 1;

    for (size_t row = 0; row < grid->rows; row += step) {
        char text[CLI_SIZE_TEXT];

        fprintf(grid->out,
                "<text x=\"%.0f\" y=\"%.1f\" text-anchor=\"end\" font-size=\"10\""
                " fill=\"#6b7280\">%s</text>\n",
                LEFT - 8, TOP + (double)row * CELL + 8,
                cli_size(text, row * COLUMNS * grid->in.cell_blocks * HF_BLOCK_BYTES));
    }
}

/* The last row may be short. */
static void put_free(struct grid *grid)
{
    size_t full = grid->in.count / COLUMNS, rest = grid->in.count % COLUMNS;

    fprintf(grid->out,
            "<rect x=\"%.0f\" y=\"%.0f\" width=\"%.0f\" height=\"%.0f\" fill=\"url(#free)\"/>\n",
            LEFT, TOP, GRID_WIDTH, (double)full * CELL);
    if (rest > 0)
        fprintf(grid->out,
                "<rect x=\"%.0f\" y=\"%.0f\" width=\"%.0f\" height=\"%.0f\""
                " fill=\"url(#free)\"/>\n",
                LEFT, TOP + (double)full * CELL, (double)rest * CELL, CELL);
}

static bool looks_equal(const struct map_cell *a, const struct map_cell *b)
{
    return a->used == b->used && a->detached == b->detached && !a->shared == !b->shared &&
           map_cell_of_one(a) == map_cell_of_one(b) && (!map_cell_of_one(a) || a->file == b->file);
}

static void put_tooltip(struct grid *grid, const struct map_cell *cell, size_t first, size_t count)
{
    char lost[CLI_LOST_NAME_TEXT];

    fprintf(grid->out, "<title>blocks %" PRIu64 "..%" PRIu64 ": ",
            (uint64_t)first * grid->in.cell_blocks,
            (uint64_t)(first + count) * grid->in.cell_blocks - 1);
    put_text(grid->out, cli_inode_title(grid->map->names, grid->map->files[cell->file].ino, lost));
    if (!map_cell_of_one(cell) || cell->shared)
        fputs(" and others", grid->out);
    fputs("</title>", grid->out);
}

/* One path for a run of equal cells in a row, each box as high as the cell is used. */
static void draw_run(struct grid *grid, size_t first, size_t count)
{
    const struct map_cell *cell = &grid->in.cells[first];
    double share = (double)cell->used / (double)grid->in.cell_blocks;
    double height = BOX * (share < 0.2 ? 0.2 : share > 1 ? 1 : share);
    double y = TOP + (double)(first / COLUMNS) * CELL + BOX - height;
    char color[8] = "#8d99ae";

    if (map_cell_of_one(cell))
        rank_color(grid->map->files[cell->file].rank, color);
    for (int layer = 0; layer < 3; layer++) {
        const char *const fills[3] = {color, cell->detached ? "url(#hatch)" : NULL,
                                      cell->shared ? "url(#dots)" : NULL};

        if (!fills[layer])
            continue;
        fprintf(grid->out, "<path fill=\"%s\" d=\"", fills[layer]);
        for (size_t i = 0; i < count; i++)
            fprintf(grid->out, "M%.0f %.2fh%.0fv%.2fh-%.0fz",
                    LEFT + (double)((first + i) % COLUMNS) * CELL, y, BOX, height, BOX);
        fputs("\">", grid->out);
        put_tooltip(grid, cell, first, count);
        fputs("</path>\n", grid->out);
    }
}

static void put_cells(struct grid *grid)
{
    for (size_t i = 0, next; i < grid->in.count; i = next) {
        size_t row_end = (i / COLUMNS + 1) * COLUMNS;

        for (next = i + 1; next < grid->in.count && next < row_end &&
                           looks_equal(&grid->in.cells[i], &grid->in.cells[next]);
             next++)
            continue;
        if (grid->in.cells[i].used > 0)
            draw_run(grid, i, next - i);
    }
}

static const char *outline_color(const struct map_cell *cell)
{
    if (cell->written)
        return "#d00000";
    if (cell->held)
        return "#111827";
    return cell->waited ? "#f59e0b" : NULL;
}

static void put_outlines(struct grid *grid)
{
    for (size_t i = 0, next; i < grid->in.count; i = next) {
        const char *color = outline_color(&grid->in.cells[i]);
        bool waited = grid->in.cells[i].waited;
        size_t row_end = (i / COLUMNS + 1) * COLUMNS;

        for (next = i + 1;
             next < grid->in.count && next < row_end &&
             outline_color(&grid->in.cells[next]) == color && grid->in.cells[next].waited == waited;
             next++)
            continue;
        if (color == NULL)
            continue;
        fprintf(grid->out,
                "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" rx=\"1.5\""
                " fill=\"none\" stroke=\"%s\" stroke-width=\"2\"%s/>\n",
                LEFT + (double)(i % COLUMNS) * CELL - 0.5, TOP + (double)(i / COLUMNS) * CELL - 0.5,
                (double)(next - i) * CELL, CELL, color, waited ? " stroke-dasharray=\"3 2\"" : "");
    }
}

/* ------------------------------------------------------------------------------- legend --- */

static void put_swatch(struct grid *grid, double x, double y, const char *fill, const char *stroke,
                       const char *dash)
{
    fprintf(grid->out,
            "<rect x=\"%.1f\" y=\"%.1f\" width=\"11\" height=\"11\" rx=\"2\" fill=\"%s\""
            " stroke=\"%s\" stroke-width=\"2\"%s/>\n",
            x, y - 10, fill, stroke, dash);
}

static double put_key(struct grid *grid, double x, double y, const char *fill, const char *stroke,
                      const char *dash, const char *label)
{
    put_swatch(grid, x, y, fill, stroke, dash);
    fprintf(grid->out, "<text x=\"%.1f\" y=\"%.1f\">%s</text>\n", x + 18, y, label);
    return x + 18 + 7.0 * (double)strlen(label) + 18;
}

/* What outlines and hatching mean, and how many of each there are. */
static void put_keys(struct grid *grid, double y)
{
    size_t reading = 0, writing = 0, waiting = 0;
    double x = LEFT + 1;
    char label[64];

    for (size_t i = 0; i < grid->map->pins.count; i++) {
        const struct hf_pin_info *pin = &grid->map->pins.list[i];

        if (pin->state == HF_PIN_WAITING)
            waiting++;
        else if (pin->flags & HF_PIN_WRITE)
            writing++;
        else
            reading++;
    }
    x = put_key(grid, x, y, "#e9ecf0", "#e9ecf0", "", "free");
    x = put_key(grid, x, y, "#8d99ae", "#8d99ae", "", "several files");
    snprintf(label, sizeof(label), "pinned to read (%zu)", reading);
    x = put_key(grid, x, y, "none", "#111827", "", label);
    snprintf(label, sizeof(label), "to write (%zu)", writing);
    x = put_key(grid, x, y, "none", "#d00000", "", label);
    snprintf(label, sizeof(label), "layout change waits (%zu)", waiting);
    x = put_key(grid, x, y, "none", "#f59e0b", " stroke-dasharray=\"3 2\"", label);
    x = put_key(grid, x, y, "url(#hatch)", "#c1121f", "", "detached");
    put_swatch(grid, x, y, "#8d99ae", "#8d99ae", "");
    put_key(grid, x, y, "url(#dots)", "#8d99ae", "", "shared");
}

static size_t legend_files(const struct map *map)
{
    return map->file_count < LEGEND_FILES ? map->file_count : LEGEND_FILES;
}

static size_t legend_lines(const struct map *map)
{
    return (legend_files(map) + LEGEND_COLUMNS - 1) / LEGEND_COLUMNS;
}

static void put_legend_file(struct grid *grid, size_t rank, double y)
{
    const struct map_file *file = &grid->map->files[grid->map->ranked[rank]];
    size_t lines = legend_lines(grid->map);
    double width = GRID_WIDTH / LEGEND_COLUMNS, x = LEFT + 1 + (double)(rank / lines) * width;
    char color[8], lost[CLI_LOST_NAME_TEXT], size[CLI_SIZE_TEXT];

    y += (double)(rank % lines) * LEGEND_LINE;
    rank_color(rank, color);
    put_swatch(grid, x, y, color, file->pins > 0 ? "#111827" : color, "");
    fprintf(grid->out, "<text x=\"%.1f\" y=\"%.1f\">", x + 18, y);
    put_short(grid->out, cli_inode_title(grid->map->names, file->ino, lost));
    fprintf(grid->out,
            "</text><text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\" fill=\"#6b7280\">%s</text>\n",
            x + width - 24, y, cli_size(size, file->blocks * HF_BLOCK_BYTES));
}

static void put_legend(struct grid *grid, double y)
{
    const struct map *map = grid->map;
    uint64_t rest = 0;
    char size[CLI_SIZE_TEXT];

    put_keys(grid, y);
    y += LEGEND_LINE * 1.5;
    for (size_t rank = 0; rank < legend_files(map); rank++)
        put_legend_file(grid, rank, y);
    for (size_t rank = LEGEND_FILES; rank < map->file_count; rank++)
        rest += map->files[map->ranked[rank]].blocks;
    if (map->file_count > LEGEND_FILES)
        fprintf(grid->out,
                "<text x=\"%.1f\" y=\"%.1f\" fill=\"#6b7280\">and %zu smaller files, %s in all"
                "</text>\n",
                LEFT, y + (double)legend_lines(map) * LEGEND_LINE + 2,
                map->file_count - LEGEND_FILES, cli_size(size, rest * HF_BLOCK_BYTES));
}

int map_write_svg(const struct map *map, const char *path)
{
    struct grid grid = {.map = map};
    double bottom;
    int error;

    grid.out = fopen(path, "we");
    if (grid.out == NULL)
        return errno;
    map_grid_fill(&grid.in, map, CELLS_MAX);
    grid.rows = (grid.in.count + COLUMNS - 1) / COLUMNS;
    bottom = TOP + (double)grid.rows * CELL;
    put_head(&grid, bottom + LEGEND_LINE * (double)(legend_lines(map) + 4));
    draw_grid_title(&grid);
    put_addresses(&grid);
    put_free(&grid);
    put_cells(&grid);
    put_outlines(&grid);
    put_legend(&grid, bottom + LEGEND_LINE * 1.4);
    fputs("</svg>\n", grid.out);
    map_grid_free(&grid.in);
    error = ferror(grid.out) ? EIO : 0;
    if (fclose(grid.out) != 0)
        error = errno;
    return error;
}
