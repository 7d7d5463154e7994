/* SPDX-License-Identifier: MIT */
/*
 * Deliberate breakage for lab builds (tests/wrong, the demo's second half, the benchmark's bare
 * rows): each bit takes one edge out of the protocol. In a real build HF_LAB_BROKEN() is the
 * constant false and nothing of it is left.
 */
#ifndef HF_BASE_LAB_H
#define HF_BASE_LAB_H

#define HF_LAB_NO_PIN_FENCE 0x01u /* PIN.SB/p gone: an unbiased pin does not fence */
#define HF_LAB_NO_GATE 0x02u      /* GATE.RULE gone: faults pass a closed gate and fill entries */
#define HF_LAB_LATE_PUBLISH 0x04u /* the slot is published after the walk */
#define HF_LAB_NO_HEAVY 0x08u     /* no heavy barrier when the bias is taken away */
#define HF_LAB_NO_DRAIN 0x10u     /* layout changes look for nobody, as with the engine blind */
#define HF_LAB_NO_WATCH_BARRIER 0x20u /* WATCH.SB/m gone: no heavy barrier when watching begins */
#define HF_LAB_NO_CLOSE_WAIT 0x40u    /* WATCH.CLOSE gone: who stops watching counts as closed */
#define HF_LAB_NO_THAW 0x80u          /* THAW.PUB gone: a root goes back over frozen blocks */
#define HF_LAB_NO_TAKE_BACK 0x100u    /* commit.c: what does not count is left for LMDB to find */
#define HF_LAB_NO_LATE_RECALL 0x200u  /* who mends a file tells no lease what was detached */
#define HF_LAB_NO_EARLY_RECALL 0x400u /* leases hear of a detach only from who made it */

#ifdef HF_LAB
extern unsigned hf_lab_break;
#define HF_LAB_BROKEN(bit) (__builtin_expect((hf_lab_break & (bit)) != 0, 0))
#else
#define HF_LAB_BROKEN(bit) 0
#endif

#endif
