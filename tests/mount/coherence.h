/* SPDX-License-Identifier: MIT */
/* The three sides that coherence.c and coherence_names.c see one pool from. */
#ifndef HF_TESTS_COHERENCE_H
#define HF_TESTS_COHERENCE_H

#include "support.h"

enum side { LIBRARY, FIRST, SECOND, SIDES };
extern const char *const side_names[SIDES];

extern struct hf_pool *pool;
extern struct test_rng rng;

/* The path of this name on that side; good for three more calls of this thread. */
const char *at(enum side side, const char *name);
/* What a system call returned, as the library says it. */
int64_t told(int64_t rc);

void names_agree(void);

#endif
