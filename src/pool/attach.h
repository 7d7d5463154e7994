/* SPDX-License-Identifier: MIT */
/* Attaching this process to a pool's memory, metadata and run segment, and leaving them. */
#ifndef HF_POOL_ATTACH_H
#define HF_POOL_ATTACH_H

#include "fs/fs.h"

/* Fills *fs. `dir` is absolute. `engine` (null: any) is the one that the first to attach wants, and
 * that others have to find. */
int pool_attach(struct fs *fs, const char *dir, bool readonly, const char *engine);
/* Makes a pool that no path leads to and attaches to it. */
int pool_attach_anonymous(struct fs *fs, const struct hf_pool_options *options);
/* Nothing of this process is open in it any more. */
void pool_detach(struct fs *fs);

#endif
