/* SPDX-License-Identifier: MIT */
/* A file with many extents, and what happens at each step of a change of it. */
#ifndef HF_TEST_STEPS_H
#define HF_TEST_STEPS_H

#include "support.h"

#define STEPS_EXTENTS 1024u /* at most so many a step */

/* In memory that the processes of the test share. */
struct steps_words {
    uint32_t asked, done; /* name changes */
    uint32_t stands;
};

/* The file /many: the even pages begin with a mark each, and the others are holes. */
struct hf_file *steps_make_many(struct hf_pool *pool, unsigned extents);
/* Of the page of a file that was made so; 0: a hole. */
uint64_t steps_mark(uint64_t page, unsigned extents);

/* Changes a name each time that another process asks, then calls `then`. Returns never. */
void steps_answer(struct steps_words *words, void (*then)(struct hf_pool *pool));
/* Asks for it, and waits until it is done. */
void steps_ask(struct steps_words *words);
/* Says that it stands, and does so until it is killed. */
void steps_stand(struct steps_words *words);

#endif
