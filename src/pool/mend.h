/* SPDX-License-Identifier: MIT */
/* Memory that is shorter than the super record says. */
#ifndef HF_POOL_MEND_H
#define HF_POOL_MEND_H

#include "meta/meta.h"

/* 1: it was, and is long enough again; 0: it was not, or is for media_open() to refuse. -EUCLEAN:
 * files have blocks in what is missing. Alone with the pool. */
int pool_mend_memory(struct meta *meta, const char *dir, const struct meta_super *super);

#endif
