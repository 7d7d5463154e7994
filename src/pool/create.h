/* SPDX-License-Identifier: MIT */
/* The steps that making a pool in a directory and making an anonymous one have in common. */
#ifndef HF_POOL_CREATE_H
#define HF_POOL_CREATE_H

#include "holdfast/holdfast.h"
#include "meta/meta.h"

/* The super record for these options. -EINVAL. */
int pool_super_new(const struct hf_pool_options *options, struct meta_super *super);
/* Finds the first limit, size or policy that makes no sense, sets it as in a new pool, and says
 * which one it was: -EUCLEAN. Opening refuses by it, and fsck mends by it. */
int pool_super_mend_limits(struct meta_super *super);
/* The same, and the engine, which an opening may choose otherwise. */
int pool_super_mend(struct meta_super *super);
/* DIR/meta and DIR/lock; removes what it made when it fails. */
int pool_make_files(const char *dir, const struct meta_super *super);
void pool_remove_files(const char *dir);

#endif
