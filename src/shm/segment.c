/* SPDX-License-Identifier: MIT */
/*
 * Owns the layout of the run segment: where its tables lie, and a process's view of them. A header
 * that was found in a file has limits, and the layout is worked out from them again. The header is
 * used only when the result is the same.
 */
#include "shm/private.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE UINT64_C(4096)
#define LANES_ASIDE 2u /* lanes that half a page takes */

static uint64_t place_table(uint64_t *end, uint64_t count, uint64_t bytes)
{
    uint64_t at = (*end + PAGE - 1) & ~(PAGE - 1);

    *end = at + count * bytes;
    return at;
}

static uint32_t open_words(uint32_t processes)
{
    return (processes + 63) / 64;
}

static uint32_t hash_size(uint32_t vnodes)
{
    uint32_t size = 64;

    while (size < vnodes)
        size *= 2;
    return size;
}

/* The least mask of whole bits that `number` fits in. */
static uint64_t mask_over(uint64_t number)
{
    uint64_t mask = 1;

    while (mask < number)
        mask = mask * 2 + 1;
    return mask;
}

/* A wrong word leads to one of so many nodes (mm_node()), or to one of so many vnodes
 * (shm_vnode_near_key()). The segment has addresses for them, without memory. */
static uint64_t room_for_nodes(const struct shm_limits *limits)
{
    return mask_over(limits->nodes) + 1;
}

uint64_t shm_lay_out(struct shm_run *run, const struct shm_limits *limits)
{
    uint64_t end = sizeof *run;
    uint64_t groups = (limits->limit_blocks + SHM_GROUP_BLOCKS - 1) / SHM_GROUP_BLOCKS;
    uint64_t near_vnodes = (mask_over(limits->vnodes) + 1) * sizeof(struct shm_vnode);

    run->limits = *limits;
    run->hash_mask = hash_size(limits->vnodes) - 1;
    run->at_processes = place_table(&end, limits->processes, sizeof(struct shm_process));
    /* Half a page beside the tables that a pin reads. A load waits for a store just before it when
     * the low bits of both addresses are the same. */
    run->at_lanes =
        place_table(&end, limits->lanes + LANES_ASIDE, sizeof(struct shm_lane)) + PAGE / 2;
    run->at_vnodes = place_table(&end, limits->vnodes, sizeof(struct shm_vnode));
    run->at_hash = place_table(&end, run->hash_mask + UINT64_C(1), sizeof(uint32_t));
    run->at_open =
        place_table(&end, limits->vnodes, open_words(limits->processes) * sizeof(uint64_t));
    run->at_watches =
        place_table(&end, limits->vnodes * 2, open_words(limits->processes) * sizeof(uint64_t));
    run->at_watchers = place_table(&end, limits->processes, sizeof(struct shm_watcher));
    run->at_holds = place_table(&end, limits->holds, sizeof(struct shm_hold));
    run->at_owners = place_table(&end, limits->nodes, sizeof(uint32_t));
    run->at_groups = place_table(&end, groups, sizeof(uint16_t));
    run->at_backed = place_table(&end, groups, sizeof(uint8_t));
    run->at_bits = place_table(&end, groups * (SHM_GROUP_BLOCKS / 64), sizeof(uint64_t));
    run->at_counts = place_table(&end, limits->counts, sizeof(uint32_t));
    run->at_nodes = place_table(&end, room_for_nodes(limits), SHM_NODE_ENTRIES * sizeof(uint64_t));
    if (end < run->at_vnodes + near_vnodes)
        end = run->at_vnodes + near_vnodes;
    run->bytes = (end + PAGE - 1) & ~(PAGE - 1);
    return run->bytes;
}

/* The layout itself, without the words that the processes of a segment in use change all the
 * time. */
#define LAYOUT_BYTES (offsetof(struct shm_run, processes) - offsetof(struct shm_run, limits))

bool shm_laid_out_well(const struct shm_run *header, uint64_t bytes)
{
    const struct shm_limits *limits = &header->limits;
    struct shm_run again = {0};

    if (header->magic != SHM_MAGIC || header->version != SHM_VERSION || header->bytes > bytes)
        return false;
    if (!limits->vnodes || limits->vnodes > SHM_MAX_FILES || !limits->nodes ||
        limits->nodes > UINT32_MAX || limits->limit_blocks > UINT64_C(1) << 40 ||
        !limits->processes || !limits->lanes || !limits->holds ||
        (limits->counts && limits->counts != limits->limit_blocks))
        return false;
    return shm_lay_out(&again, limits) == header->bytes &&
           !memcmp(&again.limits, limits, LAYOUT_BYTES);
}

static uint64_t counts_bytes(const struct shm_limits *limits)
{
    return 3 * (uint64_t)limits->vnodes * sizeof(uint32_t);
}

static bool map_counts(struct shm *shm, const struct shm_limits *limits)
{
    void *at = mmap(NULL, counts_bytes(limits), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                    -1, 0);

    if (at == MAP_FAILED)
        return false;
    shm->local_opens = at;
    shm->local_watches = shm->local_opens + limits->vnodes;
    shm->local_asks = shm->local_watches + limits->vnodes;
    return true;
}

struct shm *shm_view(struct shm_run *run, const struct shm_run *header, int lock_fd, int run_fd)
{
    static uint64_t last_id;
    const struct shm_limits *limits = &header->limits;
    char *base = (char *)run;
    struct shm *shm = calloc(1, sizeof *shm);

    if (!shm)
        return NULL;
    if (!map_counts(shm, limits)) {
        free(shm);
        return NULL;
    }
    shm->id = hf_add_relaxed(&last_id, 1) + 1; /* relaxed: only its being unique matters */
    shm->run = run;
    shm->limits = *limits;
    shm->bytes = header->bytes;
    shm->hash_mask = header->hash_mask;
    shm->key_mask = (uint32_t)mask_over(limits->vnodes);
    shm->node_mask = (room_for_nodes(limits) - 1) * sizeof *shm->nodes;
    shm->processes = (void *)(base + header->at_processes);
    shm->lanes = (void *)(base + header->at_lanes);
    shm->vnodes = (void *)(base + header->at_vnodes);
    shm->hash = (void *)(base + header->at_hash);
    shm->open = (void *)(base + header->at_open);
    shm->watches = (void *)(base + header->at_watches);
    shm->watchers = (void *)(base + header->at_watchers);
    shm->open_words = open_words(limits->processes);
    shm->asks = shm->watches + (uint64_t)limits->vnodes * shm->open_words;
    shm->holds = (void *)(base + header->at_holds);
    shm->owners = (void *)(base + header->at_owners);
    shm->group_free = (void *)(base + header->at_groups);
    shm->group_backed = (void *)(base + header->at_backed);
    shm->block_bits = (void *)(base + header->at_bits);
    shm->nodes = (void *)(base + header->at_nodes);
    shm->counts = limits->counts ? (void *)(base + header->at_counts) : NULL;
    shm->lock_fd = lock_fd;
    shm->run_fd = run_fd;
    pthread_mutex_init(&shm->lane_mutex, NULL);
    pthread_mutex_init(&shm->handles_mutex, NULL);
    return shm;
}

void shm_unview(struct shm *shm)
{
    munmap(shm->run, shm->bytes);
    shm_life_end(&shm->run_life);
    shm_life_end(&shm->life);
    shm_recent_unmap(&shm->recent);
    if (shm->run_fd >= 0)
        close(shm->run_fd);
    pthread_mutex_destroy(&shm->lane_mutex);
    pthread_mutex_destroy(&shm->handles_mutex);
    munmap(shm->local_opens, counts_bytes(&shm->limits));
    free(shm->seen);
    free(shm);
}
