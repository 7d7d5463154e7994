/* SPDX-License-Identifier: MIT */
/*
 * The policies once more, as docs/CACHE.md describes them, on numbers alone: no pool, no pages, no
 * hashes, and ghosts that are never mistaken. What the cache does beside it is to agree.
 */
#include "cache.h"

#include <stdlib.h>

/* A queue of keys; each key is in it once at most for each of its turns. */
struct fifo {
    uint32_t *keys;
    unsigned first, count, room;
};

static struct fifo fifo_new(unsigned room)
{
    return (struct fifo){.keys = lab_alloc(room * sizeof(uint32_t)), .room = room};
}

static void fifo_push(struct fifo *fifo, uint32_t key)
{
    fifo->keys[(fifo->first + fifo->count++) % fifo->room] = key;
}

static uint32_t fifo_pop(struct fifo *fifo)
{
    uint32_t key = fifo->keys[fifo->first];

    fifo->first = (fifo->first + 1) % fifo->room;
    fifo->count--;
    return key;
}

struct object {
    bool there;
    uint8_t uses;
    bool main;      /* its queue, or its ghost's */
    uint32_t ghost; /* number of the eviction that made it one; 0: it is none */
};

struct offline {
    struct fifo small, main;
    struct object *objects;
    uint32_t evictions[2]; /* from the queues */
    unsigned ghosts, room;
    unsigned small_wanted; /* objects that the small queue is to have */
    bool turns;            /* policy lru: one queue, and another turn for what was used */
};

static void leave_offline(struct offline *offline, uint32_t key)
{
    struct object *object = &offline->objects[key];

    object->there = false;
    object->ghost = ++offline->evictions[object->main];
}

/* False: it got another turn. */
static bool take_small(struct offline *offline)
{
    uint32_t key = fifo_pop(&offline->small);
    struct object *object = &offline->objects[key];
    bool again = object->uses >= (offline->turns ? 1 : 2);

    if (again) {
        object->uses = 0;
        object->main = !offline->turns;
        fifo_push(offline->turns ? &offline->small : &offline->main, key);
    } else {
        leave_offline(offline, key);
    }
    return !again;
}

static bool take_main(struct offline *offline)
{
    uint32_t key = fifo_pop(&offline->main);

    if (!offline->objects[key].uses) {
        leave_offline(offline, key);
        return true;
    }
    offline->objects[key].uses--;
    fifo_push(&offline->main, key);
    return false;
}

static void evict_offline(struct offline *offline)
{
    bool gone = false;

    while (!gone)
        gone = offline->main.count &&
                       (!offline->small.count || offline->small.count < offline->small_wanted)
                   ? take_main(offline)
                   : take_small(offline);
}

/* A ghost: its queue gets two objects more, between a tenth and nine tenths. */
static void widen_queue(struct offline *offline, bool main)
{
    unsigned least = offline->room / 10, most = offline->room - least;

    if (main)
        offline->small_wanted -= offline->small_wanted < least + 2 ? 0 : 2;
    else
        offline->small_wanted += offline->small_wanted + 2 > most ? 0 : 2;
}

static void insert_offline(struct offline *offline, uint32_t key)
{
    struct object *object = &offline->objects[key];
    bool known =
        object->ghost && offline->evictions[object->main] - object->ghost < offline->ghosts;

    if (known)
        widen_queue(offline, object->main);
    fifo_push(known ? &offline->main : &offline->small, key);
    *object = (struct object){.there = true, .main = known};
}

static double run_offline(const struct cache_trace *trace, unsigned room, unsigned ghosts,
                          bool turns)
{
    struct offline offline = {.small = fifo_new(room + 1),
                              .main = fifo_new(room + 1),
                              .objects = lab_alloc(trace->keys * sizeof *offline.objects),
                              .ghosts = ghosts,
                              .room = room,
                              .small_wanted = room / 2,
                              .turns = turns};
    unsigned hits = 0;

    for (unsigned i = 0; i < trace->count; i++) {
        struct object *object = &offline.objects[trace->asked[i]];

        if (object->there) {
            hits++;
            object->uses += object->uses < 3;
            continue;
        }
        while (offline.small.count + offline.main.count >= room)
            evict_offline(&offline);
        insert_offline(&offline, trace->asked[i]);
    }
    free(offline.small.keys);
    free(offline.main.keys);
    free(offline.objects);
    return 100.0 * hits / trace->count;
}

double cache_offline_s3fifo(const struct cache_trace *trace, unsigned room, unsigned ghosts)
{
    return run_offline(trace, room, ghosts, false);
}

double cache_offline_turns(const struct cache_trace *trace, unsigned room)
{
    return run_offline(trace, room, 0, true);
}

/* `last` says which request asked for a key. The oldest is found by going on in the trace, until a
 * request is its key's last one. */
double cache_offline_lru(const struct cache_trace *trace, unsigned room)
{
    uint32_t *last = lab_alloc(trace->keys * sizeof *last); /* + 1; 0: it is not there */
    unsigned hits = 0, there = 0, oldest = 0;

    for (unsigned i = 0; i < trace->count; i++) {
        uint32_t key = trace->asked[i];

        if (last[key]) {
            hits++;
        } else if (there == room) {
            while (last[trace->asked[oldest]] != oldest + 1)
                oldest++;
            last[trace->asked[oldest]] = 0;
        } else {
            there++;
        }
        last[key] = i + 1;
    }
    free(last);
    return 100.0 * hits / trace->count;
}
