/* SPDX-License-Identifier: MIT */
/*
 * Which keys are asked for, in which order. Two traces are synthetic. The third has the shape of a
 * public one, as examples/kv/arrivals.py takes it from Mooncake's: prompts that begin alike, and
 * conversations that go on. All come from the same seed, so each run asks for the same.
 */
#include "cache.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SEED UINT64_C(20260101)
#define EXPONENT 0.8
#define SCAN_EACH 20000u /* requests from the end of one scan to the next */
#define SCAN_KEYS 4000u

void cache_key_text(char text[CACHE_KEY], unsigned number)
{
    snprintf(text, CACHE_KEY, "object-%016u", number);
}

struct hfc_key cache_key(char text[CACHE_KEY], unsigned number)
{
    cache_key_text(text, number);
    return (struct hfc_key){.bytes = text, .len = CACHE_KEY - 1};
}

int64_t cache_must(int64_t rc, const char *what)
{
    if (rc < 0)
        lab_fail("%s: %s", what, hfc_detail()[0] ? hfc_detail() : "no such object");
    return rc;
}

static double chance_of(uint64_t *state)
{
    return ((double)(lab_random(state) >> 11) + 0.5) / 9007199254740992.0;
}

/* ---------------------------------------------------------------------------- Zipf ------ */

static double *zipf_sums(unsigned keys)
{
    double *sums = lab_alloc(keys * sizeof *sums), sum = 0;

    for (unsigned i = 0; i < keys; i++) {
        sum += pow(i + 1, -EXPONENT);
        sums[i] = sum;
    }
    return sums;
}

static uint32_t zipf_key(const double *sums, unsigned keys, uint64_t *state)
{
    double wanted = chance_of(state) * sums[keys - 1];
    unsigned low = 0, high = keys - 1;

    while (low < high) {
        unsigned middle = (low + high) / 2;

        if (sums[middle] < wanted)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct cache_trace cache_trace_zipf(unsigned keys, unsigned count)
{
    struct cache_trace trace = {.keys = keys, .count = count};
    double *sums = zipf_sums(keys);
    uint64_t state = SEED;

    trace.asked = lab_alloc(count * sizeof *trace.asked);
    for (unsigned i = 0; i < count; i++)
        trace.asked[i] = zipf_key(sums, keys, &state);
    free(sums);
    return trace;
}

struct cache_trace cache_trace_scan(unsigned keys, unsigned count)
{
    struct cache_trace trace = cache_trace_zipf(keys, count);

    for (unsigned i = 0; i < count; i++)
        if (i % (SCAN_EACH + SCAN_KEYS) >= SCAN_EACH)
            trace.asked[i] = trace.keys++;
    return trace;
}

/* ------------------------------------------------------------------ requests to a model -- */

/* The numbers of examples/kv/arrivals.py. */
#define TOKENS 512u
#define MEDIAN 9000.0
#define SHORTEST 900u
#define LONGEST 90000u
#define RECENT 100u
#define TURN 1500.0
#define BLOCKS_MAX (LONGEST / TOKENS)

struct conversation {
    unsigned count;
    uint32_t blocks[BLOCKS_MAX];
};

/* From a lognormal distribution, by Box and Muller. */
static unsigned some_tokens(uint64_t *state, double median)
{
    double radius = sqrt(-2 * log(chance_of(state))), angle = 2 * M_PI * chance_of(state);
    double tokens = median * exp(radius * cos(angle));

    return tokens > 1e9 ? 1000000000 : (unsigned)tokens;
}

static unsigned new_tokens(uint64_t *state)
{
    unsigned tokens = some_tokens(state, MEDIAN);

    return tokens < SHORTEST ? SHORTEST : tokens > LONGEST ? LONGEST : tokens;
}

/* The last of the recent ones: one that goes on, or a new one. */
static struct conversation *next_conversation(struct conversation *recent, unsigned *count,
                                              uint32_t *fresh, uint64_t *state)
{
    struct conversation now = {.count = 1}; /* block 0: the system prompt */
    unsigned more;

    if (*count && lab_below(state, 2)) {
        unsigned place = (unsigned)lab_below(state, *count);

        now = recent[place];
        memmove(&recent[place], &recent[place + 1], (--*count - place) * sizeof *recent);
        more = some_tokens(state, TURN) / TOKENS;
        more = more ? more : 1;
    } else {
        more = new_tokens(state) / TOKENS;
    }
    while (more-- && now.count < BLOCKS_MAX)
        now.blocks[now.count++] = (*fresh)++;
    if (*count == RECENT)
        memmove(recent, &recent[1], --*count * sizeof *recent);
    recent[*count] = now;
    return &recent[(*count)++];
}

struct cache_trace cache_trace_model(unsigned requests)
{
    struct conversation *recent = lab_alloc(RECENT * sizeof *recent);
    struct cache_trace trace = {.asked = lab_alloc(requests * BLOCKS_MAX * sizeof *trace.asked)};
    uint64_t state = SEED;
    uint32_t fresh = 1;
    unsigned count = 0;

    while (requests--) {
        const struct conversation *now = next_conversation(recent, &count, &fresh, &state);

        memcpy(&trace.asked[trace.count], now->blocks, now->count * sizeof *now->blocks);
        trace.count += now->count;
    }
    trace.keys = fresh;
    free(recent);
    return trace;
}
