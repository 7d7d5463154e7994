/* SPDX-License-Identifier: MIT */
/* Which lanes a look for the pins of a file reads: look.c. */
#ifndef HF_SYNC_LOOK_H
#define HF_SYNC_LOOK_H

#include "shm/shm.h"

/* A mark goes when so many looks in a row have found no pin of the file in its lanes. More than
 * one, so that a thread that pins all the time need not set it again after each change. */
#define LOOK_AGE 8u
/* For files with more marks than this a process remembers what it has seen. */
#define LOOK_FEW_MARKS 2u
/* Files of which a process remembers anything. */
#define LOOK_MEMORIES 16u
/* After so many looks all is read again, so that the marks of pins that have gone can go. */
#define LOOK_AFRESH 64u

/* Marks each lane that has a pin of the file, so that no mark is missing. Under the mutex, after
 * the barrier of clear_bias(). */
void look_mark_all(struct shm *shm, struct shm_vnode *vnode);

#endif
