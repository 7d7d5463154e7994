/* SPDX-License-Identifier: MIT */
/* Files of a pool that are made while it is used: for the users that may use the pool (owner.c). */
#ifndef HF_SHM_OWNER_H
#define HF_SHM_OWNER_H

#include <sys/stat.h>
#include <sys/types.h>

/* Gives the new file `fd`, with `mode`, to the users that may use the pool's file that `pool`
 * describes. 0, or -errno. */
int shm_give_file(int fd, const struct stat *pool, mode_t mode);

#endif
