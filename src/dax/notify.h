/* SPDX-License-Identifier: MIT */
/* Telling the holders of leases. See notify.c. */
#ifndef HF_DAX_NOTIFY_H
#define HF_DAX_NOTIFY_H

#include "dax/dax.h"

/* Before a lease is taken: allocates the memory for telling its holder, and starts the thread if
 * there will be callbacks. -ENOMEM, -EAGAIN. */
int notify_ready(struct dax *dax, bool callbacks);
/* Recalls of this lease of ours are told as the options say. Under the layout mutex. */
void notify_register(struct dax *dax, const struct shm_vnode *vnode, const struct shm_hold *hold,
                     uint64_t key, const struct hf_lease_options *options);

#endif
