/* SPDX-License-Identifier: MIT */
/* The state of a pool as text, so that two states can be compared, and a difference be read. */
#ifndef HF_TESTS_PICTURE_H
#define HF_TESTS_PICTURE_H

#include <holdfast/holdfast.h>
#include <stdbool.h>
#include <stddef.h>

struct test_picture {
    char *text;
    size_t room, used;
    bool blocks; /* with the number of blocks of each file */
    bool times;
    bool pins; /* content is also looked at through pins, which must show the same */
};

/* Adds to the text. The test fails when there is no room for it. */
void test_picture_put(struct test_picture *picture, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Adds a line for each name of the pool, in the order of a walk: attributes and content. */
void test_picture_names(struct test_picture *picture, struct hf_pool *pool);

#endif
