/* SPDX-License-Identifier: MIT */
/*
 * The run segment: what the processes of a pool share while it is in use. All of it can be thrown
 * away. Page tables are a cache of the extents, and pins die with their processes. File sizes that
 * LMDB does not know yet are in POOL/recent too (recent.c), where the next process that is the
 * first to attach finds them.
 *
 * Everything in it is an array of fixed entries. An entry's owner is in the entry's own state word,
 * which one atomic store takes or gives back. So a process that is killed leaves no half-linked
 * list: what it owned is found by looking at the entries. Links (the hash of vnodes, the tree of
 * holds) are rebuilt from the entries when a robust mutex says that its owner died.
 *
 * Locks, outermost first; none is held while waiting for pins:
 *     vnode.mutex (two at once: lower index first)  >  space_mutex  >  table_mutex  >  grace_mutex
 *     >  barrier_mutex
 * Inside readers_mutex no other is taken.
 *
 * Other folders include this header, which brings its parts. Each part says what one kind of entry
 * is, its owner, and what happens to it when the owner is killed.
 */
#ifndef HF_SHM_H
#define HF_SHM_H

#include "shm/bound.h"
#include "shm/hold.h"
#include "shm/key.h"
#include "shm/lane.h"
#include "shm/lock.h"
#include "shm/lock_check.h"
#include "shm/owner.h"
#include "shm/process.h"
#include "shm/recent.h"
#include "shm/segment.h"
#include "shm/vnode.h"
#include "shm/watch.h"

#endif
