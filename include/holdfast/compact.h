/* SPDX-License-Identifier: MIT */
/*
 * Holdfast for a program that lays files so that pins of them walk few entries, or that makes a
 * pool smaller. The rules at the top of holdfast/holdfast.h hold here too.
 */
#ifndef HOLDFAST_COMPACT_H
#define HOLDFAST_COMPACT_H

#include <holdfast/holdfast.h>

#ifdef __cplusplus
extern "C" {
#endif
#ifdef __GNUC__
#pragma GCC visibility push(default) /* the library hides all that is not declared here */
#endif

/* ------------------------------------------------------------------------------ compaction --- */

#define HF_COMPACT_LOOK 1u /* only looks, and changes nothing */

/* In bytes of runs. A run is HF_HUGE_BYTES of a file, at a multiple of that, with a block under
 * each page. */
struct hf_compact_result {
    size_t size;         /* sizeof(struct hf_compact_result), set by the caller */
    uint64_t run_bytes;  /* what huge entries could map */
    uint64_t was_huge;   /* of that, what they mapped or would map before the call, */
    uint64_t huge_bytes; /* and after it */
    /* Copied into free memory that lies right, and out of memory that is to become such. */
    uint64_t moved_bytes;
    /* Of runs that were left as they were. Somebody holds a part of the run; or other files may
     * have some of its blocks too; or no HF_HUGE_BYTES of free memory lie right. */
    uint64_t held_bytes, shared_bytes, no_space_bytes;
};

/* Lays the runs inside [off, off+len) so that one huge entry maps each; len 0: to the end of file.
 * A pin then walks an entry for HF_HUGE_BYTES instead of one for a page. Contents, holes, size and
 * times stay. Each run is a layout change of its own. With a null policy it waits for no holder,
 * and recalls no lease. With a policy that waits, it waits for the holders of each run, as
 * hf_move() does. A run that is held after the deadline is left. Runs that are left are counted in
 * *out, and are not an error. After a failure the first runs may be done.
 *   -EINVAL     unknown flags, a wrong out->size, off past end of file, or a policy that detaches
 *   -EOPNOTSUPP the engine is not one of the slots engines: it has no huge entries
 *   -EBADF      the file is not open for writing, or with HF_COMPACT_LOOK for reading
 *   -EBUSY, -ETIMEDOUT  a lock cannot be had: its owner is stopped, or the deadline is over
 *   -EAGAIN     it would wait, and hf_act_for() says not to
 *   -EINTR      a signal or hf_cancel() has ended a wait
 *   -EROFS      the pool was opened read-only
 *   -ENOSPC     the metadata is full */
int hf_compact(struct hf_file *file, uint64_t off, uint64_t len, uint32_t flags,
               const struct hf_policy *policy, struct hf_compact_result *out);

/* --------------------------------------------------------------------------- a smaller pool --- */

/* Makes the pool pool_bytes long, for every attached process, while it is in use. Blocks that files
 * have past the new end move, as by hf_move(). It may sleep: pins and leases are waited for as the
 * policy says. From the beginning on, no file is given blocks past the new end.
 *   -EINVAL     larger than it is, less than 8 MiB, or not a multiple of HF_HUGE_BYTES or of the
 *               memory's own pages
 *   -ENOSPC     what lies past the new end has no room before it
 *   -EBUSY      a device has the memory registered; another call shrinks the pool. Or a part of
 *               what lies there is held, and the policy does not wait
 *   -ETIMEDOUT, -EDEADLK, -EINTR, -EOPNOTSUPP  as of layout changes; -EOPNOTSUPP: device-dax
 *   -EROFS, -EIO, -ENOLCK, -ENFILE, -ENOMEM  as of other calls
 * After a failure, or a kill, the pool has its old size, and some blocks of files may have moved.
 * The last step cuts the memory. If that step fails with -EIO, the pool has its new size, and the
 * same call again cuts. On a disk the new size, and all that has moved, is on the medium before the
 * memory is cut. */
int hf_pool_shrink(struct hf_pool *pool, uint64_t pool_bytes, const struct hf_policy *policy);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif

#endif
