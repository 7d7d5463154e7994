/* SPDX-License-Identifier: MIT */
/* For tests of long layout changes: in lab builds a step takes 2 extents, not 1,024. */
#ifndef TEST_SHORT_STEPS_H
#define TEST_SHORT_STEPS_H

#include "support.h"

#include "base/lab.h"

/* In this process and its children. Returns true; another build fails. */
static inline bool test_shorten_steps(void)
{
#ifdef HF_LAB
    hf_lab_break = HF_LAB_SHORT_STEPS;
    return true;
#else
    FAIL("short steps need a lab build");
#endif
}

#endif
