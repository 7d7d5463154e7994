/* SPDX-License-Identifier: MIT */
/*
 * The benchmark's references pin: a layout change on the same structures finds each pin that is
 * live, and no pin is given out after it. A reference that did less would be no limit of anything.
 */
#include "lab/limit.h"
#include "support.h"

#include <string.h>

#define PAGES UINT64_C(300)
#define PAGE UINT64_C(4096)

static char memory[PAGES * PAGE];

struct way {
    char *(*pin)(struct limit_file *, uint64_t, uint64_t, struct limit_pin *);
    void (*unpin)(struct limit_pin *);
};

static void look_beside(const struct way *way)
{
    struct limit_file *file = limit_file_new(memory, PAGES);
    struct limit_pin pins[2], late;

    EXPECT(way->pin(file, 5 * PAGE + 100, 200, &pins[0]) == memory + 5 * PAGE + 100);
    EXPECT(way->pin(file, 7 * PAGE, PAGE, &pins[1]) == memory + 7 * PAGE);
    EXPECT(!limit_zap(file, 6));
    EXPECT(limit_zap(file, 5));
    EXPECT(!way->pin(file, 5 * PAGE, 1, &late));
    EXPECT(!way->pin(file, (PAGES - 1) * PAGE, PAGE + 1, &late));
    EXPECT(!way->pin(file, PAGE << 9, 1, &late));
    way->unpin(&pins[0]);
    EXPECT(way->pin(file, 8 * PAGE, 1, &pins[0]) == memory + 8 * PAGE);
    EXPECT(limit_zap(file, 8));
    EXPECT(limit_zap(file, 7));
    way->unpin(&pins[1]);
    way->unpin(&pins[0]);
    limit_file_end(file);
}

static void released(const struct way *way)
{
    struct limit_file *file = limit_file_new(memory, PAGES);
    struct limit_pin pin;

    for (uint64_t page = 0; page < PAGES; page++) {
        EXPECT(way->pin(file, page * PAGE, PAGE, &pin) == memory + page * PAGE);
        way->unpin(&pin);
        EXPECT(!limit_zap(file, page));
        EXPECT(!way->pin(file, page * PAGE, PAGE, &pin));
    }
    limit_file_end(file);
}

static void limit(void)
{
    static const struct way ways[] = {{limit_pin, limit_unpin}, {limit_count, limit_uncount}};

    limit_thread_begin();
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        look_beside(&ways[i]);
        released(&ways[i]);
    }
    limit_thread_end();
}

TEST_SCENARIO(limit)
