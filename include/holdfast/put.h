/* SPDX-License-Identifier: MIT */
/*
 * Holdfast for a program, or a device, that puts bytes where they stay. It fills memory that no
 * file has yet. One call then makes that memory a part of a file. The memory is not zeroed. Only
 * the caller can see what it holds; others see only what the caller commits. The rules at the top
 * of holdfast/holdfast.h hold here too. hf_held() is for programs that use ranges of a file again.
 */
#ifndef HOLDFAST_PUT_H
#define HOLDFAST_PUT_H

#include <holdfast/holdfast.h>

#ifdef __cplusplus
extern "C" {
#endif
#ifdef __GNUC__
#pragma GCC visibility push(default) /* the library hides all that is not declared here */
#endif

/* ------------------------------------------------------------------------ putting in place --- */

struct hf_put {
    uint64_t hf_opaque[3]; /* may be copied; is used up by the commit, or by hf_put_abort() */
};

/* Hands out memory for [off, off+len) of the file, past its end, and stores where it is: iov[0..n)
 * in file order, exactly len bytes. Returns n >= 1. Hands out all of it or nothing. Neither size
 * nor content of the file changes, and no other call waits for the put. flags: what fills the
 * memory, HF_PIN_CPU, _IO_URING, _RDMA or _GPU. Takes locks, may enter the kernel; for a device, it
 * makes a transaction.
 *   -ESTALE  off is not past end of file: the file is larger
 *   -EINVAL  off is not a multiple of HF_BLOCK_BYTES, len 0, iovcnt < 1, unknown flag
 *   -E2BIG   more than iovcnt pieces are needed, or more than 32
 *   -ENOSPC  no free block. -ENOLCK: max_leases or max_threads are used up
 *   -EFBIG   beyond HF_FILE_BYTES_MAX
 *   -EBADF   the file is not open for writing, or is open with O_APPEND
 *   -EBUSY   a process that is stopped holds a lock. -EINTR: interrupted or cancelled
 *   -EROFS   the pool was opened read-only */
int hf_put_begin(struct hf_file *file, uint64_t off, uint64_t len, uint32_t flags,
                 struct iovec *iov, int iovcnt, struct hf_put *put);

/* Makes the first len bytes of the put a part of the file, whose size becomes off+len. That is one
 * step: before it, nobody sees a byte; after it, all see all bytes. The rest of the put is given
 * back. Whatever fills the memory must have stopped before. After a failure the put is as it was,
 * except that bytes after len in its last page may have become zeros.
 *   -ESTALE  the file has grown over off meanwhile
 *   -EINVAL  len 0 or more than was begun; the put has ended; or it was begun in another file
 *   -ENOSPC  no room for metadata, or to copy the file's last page, which it shares with another
 *   -EBADF, -EBUSY, -EINTR, -EIO  as hf_write() */
int hf_put_commit(struct hf_file *file, const struct hf_put *put, uint64_t len);

/* The same for a file that has no name yet (O_TMPFILE), which gets the name path in the same step.
 * Replaces what is there, as hf_rename() does, unless flags is HF_RENAME_NOREPLACE.
 *   -EEXIST  HF_RENAME_NOREPLACE, and the name is there
 *   -ENOENT  the file was not made to get a name, or has one already; or the path leads nowhere
 *   -ENOTDIR, -ELOOP, -ENAMETOOLONG, -EISDIR, -EBUSY  of the path, as hf_rename()
 *   and the errors of hf_put_commit() */
int hf_put_commit_as(struct hf_file *file, const struct hf_put *put, uint64_t len, const char *path,
                     uint32_t flags);

/* Gives the memory back, also after hf_close() of the file. Whatever fills it must have stopped.
 * Waits for a lock for 100 ms at most. After that time it succeeds all the same, and another call
 * or process gives the memory back. -EINVAL: the put has ended. */
int hf_put_abort(struct hf_pool *pool, const struct hf_put *put);

/* ---------------------------------------------------------------------- using a range again --- */

/* Whether anybody holds a page of [off, off+len) of the file: 1 or 0. It is for programs that say
 * by a word of their own which ranges are in use. Such a program stores there that this range is
 * not in use, then calls hf_held(). A reader pins the range, and reads the word after that. When
 * the call returns 0, no earlier pin is left. The holder of a later pin reads what was stored
 * before the call: it lets go, and touches nothing. So the range can be used for something else,
 * though its memory has not left the file. Pins and leases of any process count, the caller's too.
 * So do those of dead processes, while they are in quarantine.
 * Never waits for a holder; takes the layout mutex. The first call on a file that was pinned often
 * pays one heavy barrier, as a layout change does.
 *   -EINVAL     len 0. -EFBIG: beyond HF_FILE_BYTES_MAX
 *   -EOPNOTSUPP the engine does not know which pins hold a block
 *   -ENOLCK     max_threads are used up
 *   -EBUSY      a process that is stopped holds the mutex. -EINTR: hf_cancel(), or a signal */
int hf_held(struct hf_file *file, uint64_t off, uint64_t len);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
#endif
