/* SPDX-License-Identifier: MIT */
/* Telling the holders of leases. See recall.c. */
#ifndef HF_DAX_RECALL_H
#define HF_DAX_RECALL_H

#include "dax/dax.h"

/* Before a lease is taken: what it takes to tell its holder, with a thread for callbacks. -ENOMEM,
 * -EAGAIN. */
int recall_ready(struct dax *dax, bool callbacks);
/* Recalls of this lease of ours are told as the options say. Under the layout mutex. */
void recall_serve(struct dax *dax, const struct shm_hold *hold, uint64_t key,
                  const struct hf_lease_options *options);
/* Its new owner has to be told what its old one was. Under the layout mutex. */
void recall_again(struct dax *dax, struct shm_hold *hold);

#endif
