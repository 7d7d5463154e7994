/* SPDX-License-Identifier: MIT */
/*
 * Deliberate breakage for tests/wrong: each bit takes one edge out of docs/CACHE.md. A thread calls
 * cache_lab_at() between two steps, and a test does there what another process may do at that time.
 * In a real build CACHE_BROKEN() is the constant false, and nothing of it is left.
 */
#ifndef HF_CACHE_LAB_H
#define HF_CACHE_LAB_H

#define CACHE_LAB_NO_SECOND_LOOK 0x01u  /* G4 gone */
#define CACHE_LAB_WORD_ALONE 0x02u      /* G4 does not compare the stamp */
#define CACHE_LAB_STAMP_ALONE 0x04u     /* nor the word */
#define CACHE_LAB_NO_HELD 0x08u         /* E2 gone: nobody is looked for */
#define CACHE_LAB_LATE_CLEAR 0x10u      /* E1 after E2 */
#define CACHE_LAB_NO_MEND 0x20u         /* what a dead owner of the lock left is believed */
#define CACHE_LAB_TIER_STORE 0x40u      /* D3 stores its word, whatever is there */
#define CACHE_LAB_TIER_NO_LOOK 0x80u    /* P4 publishes without a second look */
#define CACHE_LAB_TIER_NO_FORGET 0x100u /* a put leaves the copy on the disk as it is */

enum cache_lab_point {
    CACHE_LAB_PINS,           /* between G2 and G3 */
    CACHE_LAB_LEAVES,         /* after E3 */
    CACHE_LAB_TAKES,          /* a put has its range, and has not listed it */
    CACHE_LAB_TIER_QUEUED,    /* after D1 */
    CACHE_LAB_TIER_WRITTEN,   /* between D2 and D3 */
    CACHE_LAB_TIER_CLAIMED,   /* between P2 and P3 */
    CACHE_LAB_TIER_READ,      /* between P3 and P4 */
    CACHE_LAB_TIER_PUBLISHED, /* in P4: the object is published, its entry cleared */
};

#include <stdbool.h>
#include <stdint.h>

#ifdef HF_CACHE_LAB
/* Leases that time out, as other caches have them. So long after its object left, or after its put
 * began, a range is free, whatever holds it. 0: never. HOLDFAST_LAB_LEASE_MS of the environment. */
extern uint32_t cache_lab_lease_ms;
uint32_t cache_lab_clock_ms(void);
/* A range that waits for its holders has no use for `born`. */
#define CACHE_LEASE_BEGINS(cell)                                                                   \
    (cache_lab_lease_ms ? (void)((cell)->born = cache_lab_clock_ms()) : (void)0)
#define CACHE_LEASE_ENDED(cell)                                                                    \
    (cache_lab_lease_ms && cache_lab_clock_ms() - (cell)->born > cache_lab_lease_ms)
extern unsigned cache_lab_break;
extern void (*cache_lab_at)(enum cache_lab_point point);
/* What a read or a write of the second tier gives instead of `result`. */
extern long (*cache_lab_io)(bool reading, long result);
#define CACHE_BROKEN(bit) ((cache_lab_break & (bit)) != 0)
#define CACHE_AT(point) (cache_lab_at ? cache_lab_at(point) : (void)0)
#define CACHE_IO(reading, result) (cache_lab_io ? cache_lab_io(reading, result) : (result))
#else
#define CACHE_BROKEN(bit) 0
#define CACHE_LEASE_BEGINS(cell) ((void)0)
#define CACHE_LEASE_ENDED(cell) 0
#define CACHE_AT(point) ((void)0)
#define CACHE_IO(reading, result) (result)
#endif

#endif
