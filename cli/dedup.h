/* SPDX-License-Identifier: MIT */
/*
 * What a scan for equal pages knows of each page, in 16 bytes a page. These are its checksum (4),
 * its block (4), and two tables of page numbers that are found by checksum. The tables have 1.25
 * and 0.625 places of 4 bytes a page. A bit for each block of the pool says what has been seen.
 * Files cost 24 bytes more for each stretch without a hole.
 *
 * Pages are numbered in the order of inodes and offsets, without holes; the numbers are good for
 * one pass.
 */
#ifndef HOLDFAST_CLI_DEDUP_H
#define HOLDFAST_CLI_DEDUP_H

#include "cli.h"

#define DEDUP_NONE UINT32_MAX

/* Pages of a file that follow one another, without a hole. */
struct dedup_stretch {
    uint64_t ino;
    uint64_t page;  /* the first one's place in the file */
    uint32_t first; /* its number; the next stretch's `first` ends this one */
};

/* Numbers of pages, found by checksum: open addressing. */
struct dedup_table {
    uint32_t *places; /* DEDUP_NONE: empty */
    uint64_t room, used;
};

struct dedup_pages {
    uint32_t count;
    uint32_t *sums;   /* 0: not known */
    uint32_t *blocks; /* DEDUP_SHARED: others may have it too */
    struct dedup_stretch *stretches;
    size_t stretch_count, stretch_room;
    struct dedup_table stable;   /* pages with which others have been merged */
    struct dedup_table unstable; /* candidates: pages that looked the same in two passes */
    uint64_t *seen;              /* blocks */
};

#define DEDUP_SHARED (UINT32_C(1) << 31)
#define DEDUP_BLOCK(block) ((block) & ~DEDUP_SHARED)

/* Lists the pages of the files `inos`, in order, with the checksums that `old` has of them. */
int dedup_pages_list(struct hf_pool *pool, const uint64_t *inos, size_t ino_count,
                     const struct dedup_pages *old, struct dedup_pages *out);
void dedup_pages_free(struct dedup_pages *pages);
/* Frees all but what the next pass needs of `old`. */
void dedup_pages_shrink(struct dedup_pages *pages);
/* Forgets the checksums that only one page has, but for `kept`. Such a page cannot be merged in the
 * next pass. */
void dedup_pages_keep_alike(struct dedup_pages *pages, uint32_t kept);
/* Empties the tables, except for pages that are shared already, and marks nothing as seen. */
void dedup_pages_begin(struct dedup_pages *pages);
const struct dedup_stretch *dedup_stretch_of(const struct dedup_pages *pages, uint32_t page);
/* True for the first page that lies on its block. */
bool dedup_first_sight(struct dedup_pages *pages, uint32_t page);

uint32_t dedup_find(const struct dedup_pages *pages, const struct dedup_table *table, uint32_t sum);
void dedup_add(const struct dedup_pages *pages, struct dedup_table *table, uint32_t page);

#endif
