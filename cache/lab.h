/* SPDX-License-Identifier: MIT */
/*
 * Deliberate breakage for tests/wrong: each bit takes one edge out of docs/CACHE.md. A thread calls
 * cache_lab_at() between two steps, and a test does there what another process may do at that time.
 * In a real build CACHE_BROKEN() is the constant false, and nothing of it is left.
 */
#ifndef HF_CACHE_LAB_H
#define HF_CACHE_LAB_H

#define CACHE_LAB_NO_SECOND_LOOK 0x01u /* G4 gone */
#define CACHE_LAB_WORD_ALONE 0x02u     /* G4 does not compare the stamp */
#define CACHE_LAB_STAMP_ALONE 0x04u    /* nor the word */
#define CACHE_LAB_NO_HELD 0x08u        /* E2 gone: nobody is looked for */
#define CACHE_LAB_LATE_CLEAR 0x10u     /* E1 after E2 */
#define CACHE_LAB_NO_MEND 0x20u        /* what a dead owner of the lock left is believed */

enum cache_lab_point {
    CACHE_LAB_PINS,   /* between G2 and G3 */
    CACHE_LAB_LEAVES, /* after E3 */
    CACHE_LAB_TAKES,  /* a put has its range, and has not listed it */
};

#ifdef HF_CACHE_LAB
extern unsigned cache_lab_break;
extern void (*cache_lab_at)(enum cache_lab_point point);
#define CACHE_BROKEN(bit) ((cache_lab_break & (bit)) != 0)
#define CACHE_AT(point) (cache_lab_at ? cache_lab_at(point) : (void)0)
#else
#define CACHE_BROKEN(bit) 0
#define CACHE_AT(point) ((void)0)
#endif

#endif
