/* SPDX-License-Identifier: MIT */
/*
 * Owns what is broken, and the order in which a test has threads take their steps. In lab builds
 * only.
 */
#include "base/lab.h"

#include "base/atomic.h"

#include <sched.h>
#include <stddef.h>

uint64_t hf_lab_break;
_Thread_local bool hf_lab_stepped;
void (*hf_lab_at)(enum hf_lab_point point);

enum { NOTHING, KEPT, LEAVING };

/* The store buffer of the one thread that the test has at a point. */
static struct {
    uint64_t *word, value;
    uint32_t state;
} buffer;

void hf_lab_keep(uint64_t *word, uint64_t value)
{
    buffer.word = word;
    buffer.value = value;
    hf_store_release(&buffer.state, (uint32_t)KEPT);
}

void hf_lab_drain(void)
{
    if (hf_cas_acq_rel(&buffer.state, (uint32_t)KEPT, (uint32_t)LEAVING)) {
        hf_store_seq_cst(buffer.word, buffer.value);
        hf_store_release(&buffer.state, (uint32_t)NOTHING);
    }
    while (hf_load_acquire(&buffer.state) == LEAVING)
        sched_yield();
}

void hf_lab_reach(enum hf_lab_point point)
{
    if (hf_lab_stepped && hf_lab_at)
        hf_lab_at(point);
}
