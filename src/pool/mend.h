/* SPDX-License-Identifier: MIT */
/* Memory that is shorter than the super record says. */
#ifndef HF_POOL_MEND_H
#define HF_POOL_MEND_H

#include "meta/meta.h"

/* 1: the memory was too short, and is long enough again. 0: it was not, or media_open() is to
 * refuse it. -EUCLEAN: files have blocks in the missing part. Alone with the pool. */
int pool_mend_memory(struct meta *meta, const char *dir, const struct meta_super *super);

#endif
