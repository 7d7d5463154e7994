/* SPDX-License-Identifier: MIT */
/*
 * The memory itself: where the blocks of a pool lie, mapped into this process at one address that
 * never changes while it is open. A range of addresses for `limit_bytes` is reserved at once;
 * memory is mapped into its front, more of it after the pool has grown.
 */
#ifndef HF_MEDIA_H
#define HF_MEDIA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Looks at memory that is too short each time, before that is an error: another process may shrink
 * the pool and grow it again. */
#define MEDIA_LOOKS 100u

enum media_kind {
    MEDIA_TMPFS = 1,
    MEDIA_HUGETLBFS,
    MEDIA_FILE,
    MEDIA_MEMFD,
    MEDIA_DEVDAX,
    MEDIA_PMEM
};

struct media {
    char *base;            /* of block 0; aligned to 2 MiB */
    uint64_t mapped_bytes; /* of it that is mapped; grows only; stored with release */
    uint64_t limit_bytes;
    enum media_kind kind;
    int fd;
    struct media_private *private;
};

/* Makes pool_dir/data with `bytes` of zeros: the memory itself, or a symbolic link to data_path
 * when that is not null. The memory is really there afterwards (tmpfs: was free when asked), so
 * that a full file system is an error now and no SIGBUS later. Undoes what it did when it fails.
 * -EINVAL: not a multiple of 2 MiB, or of larger pages of the file system; -EEXIST, -ENOSPC,
 * -EOPNOTSUPP as in hf_pool_create(). */
int media_create(const char *pool_dir, const char *data_path, uint64_t bytes, mode_t mode);

/* Looks at a pool's memory without mapping it: its length, and whether nothing was ever written to
 * it. That is so for a file that took the place of a lost one: media_create() writes a byte,
 * fallocate(2) and truncate(1) do not. -ENOENT: missing. */
int media_look(const char *pool_dir, uint64_t *bytes, bool *empty);

/* Maps the memory of a pool. -EUCLEAN: shorter than `bytes`; -ENOENT: missing. */
int media_open(const char *pool_dir, uint64_t bytes, uint64_t limit_bytes, struct media *out);

/* New memory that no path leads to. */
int media_open_memfd(uint64_t bytes, uint64_t limit_bytes, struct media *out);

/* Makes the memory itself longer than `from` (one process does it, once), then maps it here. What
 * follows `from` holds zeros, as media_cut() has left it. The new length is on the medium after
 * media_sync(). -EINVAL: smaller than `from`, or not a multiple of the file system's pages;
 * -ENOSPC: also beyond limit_bytes; -EOPNOTSUPP: a device. */
int media_grow(struct media *media, uint64_t from, uint64_t bytes);

/* Takes the memory from `bytes` on away, if the file is longer. Nobody may use it any more, or have
 * it registered with a device. A memfd, and a file on persistent memory, get a hole there: a flush
 * of a block that has left its file may still come. -EOPNOTSUPP: a device. */
int media_cut(struct media *media, uint64_t bytes);
/* It makes the file shorter. */
bool media_can_be_cut(const struct media *media);
/* Bytes of the file now. */
int media_bytes(const struct media *media, uint64_t *bytes);

/* Returns when the file's length, its blocks and what was written to it are on the medium. Returns
 * at once where the memory is not a file on a disk. */
int media_sync(struct media *media);

/* Before a pool is mapped, by a process that is alone with it. Bytes of POOL/data; of a device
 * UINT64_MAX, since it cannot be made longer. -ENOENT: missing. */
int media_file_bytes(const char *pool_dir, uint64_t *out);
/* Makes POOL/data `bytes` long, with zeros, on the medium when it returns. */
int media_lengthen(const char *pool_dir, uint64_t bytes);

/* Returns when a directory's entries, or a file, are on the medium, and so will be there after a
 * power cut. */
int media_sync_path(const char *path);

/* Maps what another process's media_grow() has added, up to `bytes`. Threads may race here.
 * -EUCLEAN: the memory is shorter. */
int media_map(struct media *media, uint64_t bytes);

/* Returns when [addr, addr+len) is on the medium; at once where the medium is plain memory. Returns
 * what msync(2) says: -EIO, the content may be lost. */
int media_persist(struct media *media, const void *addr, size_t len);

/* ---- what has memory (holes.c) ---- */

/* The file is sparse, and its file system may get full. */
static inline bool media_sparse(const struct media *media)
{
    return media->kind == MEDIA_TMPFS;
}
/* On a disk: the kernel registers it with no device, and all of it was allocated at first. */
bool media_is_on_disk(const struct media *media);
/* A touch of what was given back may find no memory. A memfd's touch finds some, as ever. */
bool media_may_be_full(const struct media *media);
/* The kernel says exactly which bytes have memory: what has none is passed over. */
bool media_knows_holes(const struct media *media);

/* Gives memory to [off, off+bytes), which is mapped, before its first touch. Where the file is not
 * sparse, all huge runs that have a byte of it get theirs. -ENOSPC: there is none left, and the
 * front of it may have got some. */
int media_back(const struct media *media, uint64_t off, uint64_t bytes);
/* The same as huge pages, for huge runs of which none has memory. False: the kernel cannot, or
 * there is too little left; then some may have got theirs. */
bool media_back_huge(const struct media *media, uint64_t off, uint64_t bytes);
/* The first byte from `off` on that has memory, or has none; `end`: there is none before it. What
 * has none reads as zeros. What is on a disk, and was never written, counts as if it had none. On
 * hugetlbfs all counts as memory. */
uint64_t media_next_memory(const struct media *media, uint64_t off, uint64_t end);
uint64_t media_next_hole(const struct media *media, uint64_t off, uint64_t end);
/* The first byte from `off` on that has memory, written or not, as far as the kernel says it. */
uint64_t media_next_allocated(const struct media *media, uint64_t off, uint64_t end);
/* From there to `end` no byte has memory, in the sense of these two: `off`, `end`, or where a huge
 * run begins. */
uint64_t media_end_of_memory(const struct media *media, uint64_t off, uint64_t end);
/* Bytes that the system keeps for the memory; of a device all. */
int media_resident(const struct media *media, uint64_t *bytes);

/* What can be given back: multiples of so many bytes. -EOPNOTSUPP: nothing (a device). */
int media_unit(const struct media *media, uint64_t *bytes);
/* Gives [off, off+bytes) back: it reads as zeros from then on. -EOPNOTSUPP: the file system
 * cannot. -EIO. */
int media_punch(struct media *media, uint64_t off, uint64_t bytes);
/* How many bytes of the file can have memory: what has some, and what its file system has left.
 * UINT64_MAX: all that there are, or it is not known. */
uint64_t media_room(const struct media *media);

void media_close(struct media *media);
const char *media_kind_name(enum media_kind kind);

#endif
