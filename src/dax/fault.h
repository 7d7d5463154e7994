/* SPDX-License-Identifier: MIT */
/* Finding the memory under a range in the extents; see fault.c. */
#ifndef HF_DAX_FAULT_H
#define HF_DAX_FAULT_H

#include "dax/private.h"

/* Under the layout mutex: fills entries for pages [first, last], all below end of file, and puts
 * their memory into `pieces` (may be null). -ENODATA: the pages of *hole have no blocks. -EMLINK,
 * with `own` or an engine that counts: the blocks of *hole may not be the file's alone. */
int dax_fault(struct dax *dax, struct shm_vnode *vnode, uint64_t first, uint64_t last, bool own,
              struct mm_pieces *pieces, struct meta_extent *hole);

#endif
