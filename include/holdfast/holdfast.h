/* SPDX-License-Identifier: MIT */
/*
 * Holdfast: a file store in memory that applications touch in place.
 *
 * A pool is one large shared memory with files in it. hf_pin() hands out the addresses of a
 * range of a file. Until hf_unpin(), the blocks under that range are not reused, moved or given
 * to another file, whatever happens to the file meanwhile.
 *
 * The sections are: pools, files, pins, layout changes (which wait for pins), leases, a pool's
 * memory for devices, names, and looking. holdfast/serve.h is for programs that serve a pool to
 * others. put.h puts bytes in place; compact.h moves blocks, to compact a file or shrink a pool.
 * holdfast(7) explains the words: entry, slot, lane, bias, gate, hold.
 *
 * Rules for every call, unless its comment says otherwise
 *
 *   Return    A call of type int or ssize_t returns 0 or a count, or -errno. It does not touch
 *             errno. hf_strerror_detail() gives the sentence: what was wrong and what to do.
 *   Output    Output parameters come last and are untouched on failure.
 *   Units     Offsets and lengths are bytes. Times are nanoseconds of CLOCK_MONOTONIC.
 *   Threads   Any thread may make any call, also on the same handle at the same time. Closing a
 *             handle while another thread uses it is the caller's mistake.
 *   Signals   Async-signal-safe are hf_pin() and hf_pin_at() with HF_PIN_NOWAIT, hf_unpin(),
 *             hf_lease_release(), hf_lease_quarantine(), hf_lease_state(), hf_atomic_begin() and
 *             hf_atomic_end(), and no other call. A call that waits returns -EINTR when a signal
 *             handler ran. It has then changed nothing, and may be called again.
 *   Fork      Handles and pins belong to the process that made them. In the child of a fork
 *             every call on them returns -ECHILD; the child opens the pool for itself.
 *   Flags     An unknown bit, or a reserved field that is not zero, is -EINVAL. Set `size` of an
 *             option struct to its sizeof and the rest to zero: zero means the default.
 *   Locks     A call may wait for a lock that another process holds. When that process is stopped
 *             (SIGSTOP), the call returns -EBUSY, or as its policy says; the sentence names the
 *             process. Nothing has changed. holdfast(7) has the table, and what a call that fails
 *             may leave all the same.
 *   Damage    -EUCLEAN: the pool is damaged; run `holdfast fsck`. -EOPNOTSUPP: a newer Holdfast
 *             made the pool, or this kind of memory cannot do what was asked.
 *   C++       hf_pin, hf_lease, hf_pool_info and hf_stats are names of functions too: write
 *             "struct hf_pin" for the type, as in C. All other types do without.
 *   Others    -EROFS, -ENOSPC and -EIO of a call that changes the pool; -ENOMEM; -ENOLCK when all
 *             max_threads are in use. holdfast(7) says which calls may return them.
 *
 * A comment here is the contract: what the call does, its errors and whether it waits. The manual
 * page of the call has the rest: details, costs, examples.
 *
 * Durability. A pool made with HF_POOL_MEMORY (the default) survives the death of all its
 * processes, but not a power cut. With HF_POOL_DURABLE
 *   - every transaction on names, attributes and extents is synced before its call returns;
 *   - the content of a block is persisted before the transaction that gives the block to a file;
 *   - hf_fsync() persists the rest: bytes written into blocks that the file had already, and the
 *     size and times that follow from them.
 */
#ifndef HOLDFAST_H
#define HOLDFAST_H

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif
#ifdef __GNUC__
#pragma GCC visibility push(default) /* the library hides all that is not declared here */
#endif

#define HF_VERSION_MAJOR 0
#define HF_VERSION_MINOR 1
#define HF_VERSION_PATCH 0

#define HF_BLOCK_BYTES 4096u                  /* one block, one page of a file */
#define HF_HUGE_BYTES 2097152u                /* what one huge entry maps */
#define HF_NAME_MAX 255u                      /* bytes of one name */
#define HF_SYMLINK_MAX 4095u                  /* bytes of a symbolic link's target, and of a path */
#define HF_XATTR_VALUE_MAX 65536u             /* bytes of one extended attribute's value */
#define HF_FILE_BYTES_MAX (UINT64_C(1) << 44) /* 16 TiB: the largest file */

struct statx; /* of sys/stat.h, with _GNU_SOURCE */
struct hf_pool;
struct hf_file;
struct hf_dir;

/* The library's version, for example "0.1.0". It may be newer than the header. Never fails. */
const char *hf_version(void);

/* The sentence for the last call of this thread that failed; "" if none did. Valid until the
 * next call of this thread that fails. Never fails. Not async-signal-safe. */
const char *hf_strerror_detail(void);

/* ------------------------------------------------------------------------------- pools --- */

/* What a layout change does when a pin holds part of its range. */
enum hf_policy_kind {
    /* The pool's own policy (hf_pool_options.policy). In hf_pool_options: HF_POLICY_WAIT. */
    HF_POLICY_DEFAULT = 0,
    /* Wait until the last overlapping pin is gone. */
    HF_POLICY_WAIT = 1,
    /* Return -EBUSY at once; nothing has changed. */
    HF_POLICY_NOWAIT = 2,
    /* Wait at most deadline_ns, then return -ETIMEDOUT; nothing has changed. */
    HF_POLICY_DEADLINE = 3,
    /* Change the file at once. Held blocks leave the file but stay off the free list, valid for
     * their holders, until their last pin goes. A later call gives them back. */
    HF_POLICY_DETACH = 4,
    /* Wait at most deadline_ns, then do as HF_POLICY_DETACH does. */
    HF_POLICY_DEADLINE_DETACH = 5
};

/* A null pointer to a policy means HF_POLICY_DEFAULT. The two kinds that detach still wait at the
 * gate of another layout change. A collapse or an insert also waits for an hf_write() that is
 * copying into the range. */
struct hf_policy {
    uint32_t kind;        /* enum hf_policy_kind */
    uint32_t reserved;    /* 0 */
    uint64_t deadline_ns; /* from now on, for the two kinds that have one; else 0 */
};

#define HF_POOL_MEMORY 0x0u  /* survives processes, not a power cut (the default) */
#define HF_POOL_DURABLE 0x1u /* survives a power cut, on memory that does */

struct hf_pool_options {
    size_t size;         /* sizeof(struct hf_pool_options) */
    uint64_t pool_bytes; /* memory for blocks; a multiple of HF_HUGE_BYTES, at least 8 MiB */
    /* Null: POOL/data. Else a path on tmpfs, hugetlbfs or a disk's file system (made if missing,
     * must be empty), or a device-dax node. POOL/data becomes a link to it. */
    const char *data_path;
    uint32_t flags;          /* HF_POOL_* */
    mode_t mode;             /* permission bits: may open the pool; 0 means 0600 */
    const char *engine;      /* null: "slots". For names and limits of each: holdfast(7) */
    struct hf_policy policy; /* for layout changes that give none; kind 0 means HF_POLICY_WAIT */
    uint32_t max_processes;  /* attached at once; 0: 256 */
    uint32_t max_threads;    /* that use the pool at once; 0: 1024 */
    uint32_t max_files;      /* open at once, all processes together; 0: 65536 */
    uint32_t max_leases;     /* leases, and pins beyond a thread's slots; 0: 262144 */
    /* How long pins and leases for a device keep their blocks off the free list when their process
     * dies; 0: 30 s. Those of purpose HF_PIN_CPU end at once. */
    uint64_t quarantine_ns;
    uint64_t trim_above_bytes; /* free memory above goes back by itself; 0: none does */
    uint64_t reserved[2];      /* 0 */
};

/* Makes a pool in the directory `path`, which must not exist, or must be empty. May sleep,
 * allocates, enters the kernel. When it fails, it removes what it has made.
 *   -EINVAL     a size or a limit is out of bounds, an unknown engine or flag
 *   -EEXIST     path is not an empty directory, or data_path is not empty
 *   -ENOSPC     the file system of path or data_path is too small
 *   -EFBIG      this process may not make files so long (RLIMIT_FSIZE)
 *   -EOPNOTSUPP data_path cannot be mapped and shared, or path lies in an overlay
 *   -ENAMETOOLONG path is too long
 *   and what mkdir(2), open(2) and mmap(2) return. */
int hf_pool_create(const char *path, const struct hf_pool_options *options);

#define HF_OPEN_RDONLY 0x1u /* a call that would change the pool returns -EROFS */

/* Attaches this process to the pool at `path`. When this process has the pool open already, it
 * returns the same handle again, to be closed once more. The first process to attach checks the
 * metadata and rebuilds what is volatile: O(metadata). For the others it takes microseconds.
 *   -ENOENT     there is no pool at path (the sentence says what is missing)
 *   -EUCLEAN    the pool is damaged, or it is not a pool at all: run `holdfast fsck`
 *   -EOPNOTSUPP it has features that this version does not know, or lies in an overlay
 *   -EBUSY      all process entries are taken (mkpool --max-processes); or fsck has the pool. Or
 *               this process has it open in the other mode (read-only or not). Or the process that
 *               opens it first is stopped, or the processes that use it cannot be reached from here
 *   -EINTR      a signal handler ran while it waited for the first attacher
 *   -EACCES     the pool's mode does not let this user in
 *   -ENOSPC     the file system has no room for what processes share while they use the pool
 *   -EFBIG      this process may not make files so long (RLIMIT_FSIZE)
 *   -EAGAIN     the limit of locked memory is reached (mlockall(2)), or no thread can be made */
int hf_pool_open(const char *path, uint32_t flags, struct hf_pool **out);

/* As hf_pool_open(), with an engine of choice for as long as the pool stays in use, instead of the
 * one it was made with. The first process to attach chooses for all. See holdfast(7) for what each
 * engine cannot do.
 *   -EBUSY      the pool is in use with another engine
 *   -EOPNOTSUPP there is no such engine; it needs sys_membarrier, which is missing here; or it is
 *               "rcu", which is for anonymous pools */
int hf_pool_open_engine(const char *path, uint32_t flags, const char *engine, struct hf_pool **out);

/* Makes and opens a pool that only this process can reach. Its memory is a memfd; its metadata
 * lies in unlinked files under /dev/shm. data_path must be null. The pool is gone when it is closed
 * or the process ends. -EINVAL, -ENOSPC and -EOPNOTSUPP as hf_pool_create(), and -ENOMEM. */
int hf_pool_open_anonymous(const struct hf_pool_options *options, struct hf_pool **out);

/* Closes one opening of the pool; the last one detaches the process. After an error it is open.
 *   -EBUSY    the process has files, directories, pins, puts or registrations: the sentence counts
 *   -EDEADLK  it would be the last, and wait for the callback of a recall that makes it */
int hf_pool_close(struct hf_pool *pool);

/* Grows the pool to pool_bytes, for every attached process, while it is in use.
 *   -EINVAL     smaller than it is, or not a multiple of HF_HUGE_BYTES or of the memory's pages
 *   -ENOSPC     the file system below is full, or the pool's fixed bound is reached (64 times its
 *               first size)
 *   -EOPNOTSUPP memory that cannot grow (device-dax). -EBUSY: another call shrinks the pool
 *   -EIO        the medium has an error. -EROFS: the pool was opened read-only */
int hf_pool_grow(struct hf_pool *pool, uint64_t pool_bytes);

struct hf_trim_result {
    size_t size;             /* sizeof(struct hf_trim_result), set by the caller */
    uint64_t given_bytes;    /* given back to the system by this call */
    uint64_t resident_bytes; /* memory the pool takes afterwards, blocks in files included */
    uint32_t registrations;  /* not 0: a device's driver was told meanwhile, which ended the call */
    uint32_t reserved;
};

/* Gives the memory of free blocks back to the system, huge runs first, until keep_bytes of it are
 * left. The blocks stay the pool's. One that is used again gets memory then, or the call that wants
 * it gets -ENOSPC. Others may use the pool meanwhile, and wait for one run of 2 MiB at most.
 *   -EINVAL     keep_bytes is not a multiple of HF_BLOCK_BYTES, or out->size is wrong
 *   -EBUSY      a device has the memory registered (hf_pool_register()), so nothing is given back
 *   -EOPNOTSUPP a device-dax node, or a file system that takes nothing back
 *   -EROFS, -EINTR, -EIO, -ENOSPC  as of other calls. A part may have been given back */
int hf_pool_trim(struct hf_pool *pool, uint64_t keep_bytes, struct hf_trim_result *out);

/* ------------------------------------------------------------------------------- files --- */

/* Opens a regular file by its path (see "names" below for paths). Flags: O_RDONLY, O_WRONLY or
 * O_RDWR with any of O_CREAT O_EXCL O_TRUNC O_APPEND O_NOFOLLOW O_CLOEXEC (ignored). O_TRUNC is a
 * truncate to 0 with the pool's policy and may wait.
 *
 * With O_TMPFILE, path is a directory, and the file is a new one without a name. Nothing is left of
 * it after its last close, or the death of its processes. With hf_linkat() or hf_renameat()
 * (holdfast/serve.h) it gets a name, unless O_EXCL was given.
 *   -EISDIR  it is a directory. -ENXIO: it is neither a directory nor a regular file
 *   -ENOENT, -ENOTDIR, -ELOOP, -ENAMETOOLONG  the path leads nowhere
 *   -EEXIST  O_CREAT and O_EXCL, and the name is there
 *   -ENFILE  max_files are open
 *   -EINVAL  unknown flag; O_TRUNC or O_TMPFILE without write access; O_TMPFILE with O_CREAT
 *   -EROFS   write access, or O_CREAT of a new file, in a pool opened read-only
 *   -EBUSY, -ETIMEDOUT, -EDEADLK, -EINTR  of O_TRUNC, as hf_truncate() */
int hf_open(struct hf_pool *pool, const char *path, int flags, mode_t mode, struct hf_file **out);

/* Never waits for pins, which outlive it. In a durable pool it syncs the metadata. The last close
 * of a file without names deletes the file. Blocks that are still pinned then go to the free list
 * with their last pin. */
int hf_close(struct hf_file *file);

/* Like pread(2) and pwrite(2). Counts are short only at end of file (read), when the pool fills up
 * (write), or when a later part of the call failed. Concurrent reads and writes of the same bytes
 * are not atomic against each other. While a layout change waits, a write over its range, or one
 * that makes the file longer, waits for it; a read does not.
 *   -EBADF   the file was not opened for it. -EROFS: the pool was opened read-only
 *   -EFBIG   beyond HF_FILE_BYTES_MAX
 *   -ENOSPC  no free block
 *   -EBUSY   a process that is stopped holds a lock, and nothing was moved
 *   -EINTR   interrupted or cancelled before anything was moved */
ssize_t hf_read(struct hf_file *file, void *buf, size_t len, uint64_t off);
ssize_t hf_write(struct hf_file *file, const void *buf, size_t len, uint64_t off);

/* Writes at the end of file, atomically against other appends and truncates. *off (may be null)
 * gets the place. hf_write() on an O_APPEND file does the same and ignores its off. Errors as
 * hf_write(), and -ENOMEM. */
ssize_t hf_append(struct hf_file *file, const void *buf, size_t len, uint64_t *off);

/* Copies up to len bytes from one file of a pool to another, or within one file. Whole pages that
 * nobody holds are shared, as hf_clone_range() does it: a write to them later may be -ENOSPC. A
 * hole that is copied over a hole stays a hole. Errors as hf_read() and hf_write(), and
 *   -EINVAL  the ranges overlap
 *   -EXDEV   the files belong to two pools
 *   -EAGAIN  it would wait at a gate, and hf_act_for() (serve.h) says not to
 *   -EBADF   `to` is open with O_APPEND */
ssize_t hf_copy_range(struct hf_file *from, uint64_t from_off, struct hf_file *to, uint64_t to_off,
                      size_t len);

/* In a pool with HF_POOL_DURABLE: persists data and attributes of the file. In another: records
 * its size and times. -EIO: the medium failed, content may be lost. -ENOSPC: no room for
 * metadata. */
int hf_fsync(struct hf_file *file);

#define HF_SEEK_DATA 3
#define HF_SEEK_HOLE 4
/* As lseek(2): the next data or hole at or after off. -ENXIO: off is at or past end of
 * file, or no data follows. */
int hf_seek(struct hf_file *file, uint64_t off, int whence, uint64_t *out);

/* -------------------------------------------------------------------------------- pins --- */

#define HF_PIN_READ 0x0u  /* the holder only reads (the default) */
#define HF_PIN_WRITE 0x1u /* the holder may write */
/* Only what the fast path can do: -EAGAIN instead of a lock, an allocation or a system call. */
#define HF_PIN_NOWAIT 0x2u
#define HF_PIN_NOFILL 0x4u /* what needs a block gets none: -ENODATA instead */
/* Later writes to the file are seen through the pin, also where a page is shared now. */
#define HF_PIN_COHERENT 0x8u
/* At the gate of a layout change: -EAGAIN at once, also where the thread holds a pin. */
#define HF_PIN_YIELD 0x80u
#define HF_PIN_CPU 0x00u      /* a CPU loop touches the memory (the default) */
#define HF_PIN_IO_URING 0x10u /* io_uring or another kernel interface does */
#define HF_PIN_RDMA 0x20u     /* an RDMA card does */
#define HF_PIN_GPU 0x30u      /* a GPU does. These four are shown by hf_pins() */

struct hf_pin {
    uint64_t hf_opaque[3]; /* may be copied; is used up by the first hf_unpin() */
};

/* Holds [off, off+len) of the file and stores where it lies: iov[0..n) in file order, neighbours
 * merged, exactly len bytes together. Returns n >= 1. It holds all of the range or nothing. Holes
 * that it filled before it failed keep their blocks. hf_pin_at() does the same for one piece, and
 * returns its address, above 0. Bytes of one page are one piece; for them it is a little faster.
 * When every page has an entry and a slot is free (the common case), it makes no system call,
 * takes no lock and allocates nothing. Otherwise it fills the entries, and gives holes blocks.
 * Before, it waits while a layout change is under way there, unless this thread has a pin anywhere.
 * Against layout changes, a pin orders as taking a read lock does, and hf_unpin() as releasing it.
 * Two pins are not ordered against each other. A pin keeps the blocks, not the file: with
 * HF_POLICY_DETACH they may leave the file while held.
 *   -EFAULT  off+len is past end of file
 *   -EINVAL  len 0, iovcnt < 1, unknown flag
 *   -E2BIG   more than iovcnt pieces are needed, or more than one (hf_pin_at()); nothing is held
 *   -EBADF   HF_PIN_WRITE and the file is not open for writing, or not open for reading
 *   -EAGAIN  HF_PIN_NOWAIT and the fast path could not do it; or HF_PIN_YIELD at a gate
 *   -ENODATA HF_PIN_NOFILL and part of the range is a hole, or must get blocks of its own
 *   -ENOSPC  a hole could not be filled. -EROFS: likewise in a pool opened read-only
 *   -EINTR   a signal handler ran while it waited at a gate
 *   -ENOLCK  max_threads or max_leases are used up (mkpool --max-threads, --max-leases) */
int hf_pin(struct hf_file *file, uint64_t off, uint64_t len, uint32_t flags, struct iovec *iov,
           int iovcnt, struct hf_pin *pin);
intptr_t hf_pin_at(struct hf_file *file, uint64_t off, uint64_t len, uint32_t flags,
                   struct hf_pin *pin);

/* Releases a pin, from any thread; also after hf_close() of the file, but not after
 * hf_pool_close(). Never blocks. Enters the kernel only to wake a layout change that waits.
 *   -EINVAL  the pin is not live (unpinned twice); a debug build aborts
 *   -ECHILD  the parent made the pin before a fork, and keeps it */
int hf_unpin(struct hf_pin *pin);

/* Mark a section of the calling thread in which nothing may sleep. In a debug build
 * (-Ddebug_pins=true), a call that may sleep aborts there, whether it would sleep this time or not.
 * The manual lists the calls that are allowed. Other builds check nothing. Sections nest. Never
 * block, allocate or enter the kernel. */
void hf_atomic_begin(void);
void hf_atomic_end(void);

/* Ends the wait of thread `tid` (gettid(2)) of this process, in a layout change, at the gate of
 * one, or for a lock. That thread's call returns -EINTR and has changed nothing. A call that has
 * nothing left to wait for at that moment ends as usual. -ESRCH: the thread does not wait. */
int hf_cancel(struct hf_pool *pool, pid_t tid);

/* ---------------------------------------------------------------------- layout changes --- */

/* Each layout change waits for the pins that overlap its own range, and for no others, as its
 * policy says. When its process is killed at any instruction, the next process finds the file as
 * before or as after.
 *   -EBUSY      a pin overlaps and the policy is HF_POLICY_NOWAIT; or a stopped process is in the
 *               way, and the policy is not one that waits
 *   -ETIMEDOUT  the deadline came first
 *   -EDEADLK    this thread holds an overlapping pin, and the policy may wait: NOWAIT gives -EBUSY,
 *               DETACH detaches it. Or it holds one for which the change that is in its way waits.
 *               Or layout changes wait for each other's pins in a cycle, and this is the youngest
 *   -EINTR      a signal handler ran while it waited, or hf_cancel()
 *   -EBADF      the file is not open for writing
 *   -EFBIG      beyond HF_FILE_BYTES_MAX
 *   -ENOSPC     no free block for what is allocated or copied, or no room for metadata
 *   -ENOLCK     max_threads are used up; or max_leases, when detaching
 *   -EOPNOTSUPP the policy detaches, and the engine does not know which pins hold a block
 * After any of these nothing has changed, but for what hf_fallocate() and hf_move() say. */

/* Sets the size. Up: a hole follows. Down: the range is [size rounded down to a page, end). */
int hf_truncate(struct hf_file *file, uint64_t size, const struct hf_policy *policy);

/* Allocate without changing the size. */
#define HF_FALLOC_KEEP_SIZE 0x01u
/* Free [off, off+len), which then reads as zero; never changes the size. */
#define HF_FALLOC_PUNCH_HOLE 0x02u
/* Take [off, off+len) out; what follows moves down. */
#define HF_FALLOC_COLLAPSE_RANGE 0x08u
/* [off, off+len) reads as zero and has blocks; may be combined with HF_FALLOC_KEEP_SIZE. */
#define HF_FALLOC_ZERO_RANGE 0x10u
/* Put a hole of len at off; what follows moves up. */
#define HF_FALLOC_INSERT_RANGE 0x20u
/* mode 0 gives [off, off+len) blocks that read as zero, and extends the size. For COLLAPSE and
 * INSERT, off and len are multiples of HF_BLOCK_BYTES. For COLLAPSE off+len is before end of file,
 * for INSERT off is (-EINVAL). All pages from off on are their range. A page that is punched in
 * part is in the range. A failure may leave some of the holes with blocks (mode 0, KEEP_SIZE).
 * Where the new blocks of a range lie in more than 32 pieces, a failure may leave the first part
 * zeroed. The modes have the values of Linux's FALLOC_FL_ flags.
 *   -EINVAL  len 0, or an impossible combination */
int hf_fallocate(struct hf_file *file, uint32_t mode, uint64_t off, uint64_t len,
                 const struct hf_policy *policy);

/* Copies the blocks of [off, off+len) to other blocks and frees the old ones. Contents and holes
 * stay. The range is HF_BLOCK_BYTES-aligned, except that it may end at end of file. Writes there,
 * and pins that find no entry, wait meanwhile. A failure may leave the first part of a large range
 * moved, with the same contents. */
int hf_move(struct hf_file *file, uint64_t off, uint64_t len, const struct hf_policy *policy);

/* Makes [to_off, +len) of `to` lie on the blocks under [from_off, +len) of `from`, without reading
 * them. Both files share the blocks until one of them writes there. Offsets and len are multiples
 * of HF_BLOCK_BYTES, except that the range may end at end of file of `from`; len 0: up to there. It
 * is one step. If `to` has bytes after the range in its last page, that page is copied.
 *
 * Pins of the range of `to` are waited for, or detached, as by other layout changes. Of the range
 * of `from`, only pins for writing are waited for; HF_POLICY_DETACH acts like HF_POLICY_NOWAIT
 * there, and HF_POLICY_DEADLINE_DETACH like HF_POLICY_DEADLINE. Pages of it that are pinned for
 * reading, leased or in quarantine are copied. Engine refcount does not know what a pin is for, and
 * waits for all. Writing to a shared page needs a free block: -ENOSPC.
 *   -EINVAL     not whole pages, past end of file of `from`, or the ranges overlap
 *   -EXDEV      the files belong to two pools
 *   -EBADF      `from` is not open for reading, or `to` is open with O_APPEND
 *   -EOPNOTSUPP the engine is neither refcount nor one of the slots engines
 *   -EAGAIN     it would wait, and hf_act_for() says not to */
int hf_clone_range(struct hf_file *from, uint64_t from_off, struct hf_file *to, uint64_t to_off,
                   uint64_t len, const struct hf_policy *policy);

struct hf_dedup_result {
    size_t size; /* sizeof(struct hf_dedup_result), set by the caller */
    /* Bytes of b that now lie on blocks of a, or in a hole, and did not before. */
    uint64_t shared_bytes;
    uint64_t held_bytes; /* the same on both sides, but left alone: somebody holds them */
    uint32_t same;       /* 1: all bytes were the same */
    uint32_t reserved;
};

/* Compares [a_off, +len) of `a` with [b_off, +len) of `b`. Pages of `b` that hold the same then lie
 * on the blocks of `a`. With a null `a`, it compares with zeros, and pages of `b` that hold zeros
 * become holes. Offsets and len are multiples of HF_BLOCK_BYTES, except that the ranges may end at
 * end of file of both. Up to 1 MiB at a time is one step; no content changes. A failure may
 * leave the first steps done. Pages that anybody has pinned or leased are left alone, and nobody is
 * waited for. Holes stay holes.
 *   -EINVAL     not whole pages, past end of file, or the ranges overlap
 *   -EXDEV      the files belong to two pools
 *   -EBADF      `a` is not open for reading, or `b` not for reading and writing
 *   -EOPNOTSUPP the engine is neither refcount nor one of the slots engines */
int hf_dedup_range(struct hf_file *a, uint64_t a_off, struct hf_file *b, uint64_t b_off,
                   uint64_t len, struct hf_dedup_result *out);

/* ------------------------------------------------------------------------------ leases --- */

/* A lease is a pin that is meant to live long. Its holder can be asked to let go. It belongs to the
 * process: it outlives the thread that took it, any thread may release it, and it can be handed to
 * another process. A layout change that meets a lease recalls it, then does as its policy says. */

/* Why a lease is recalled. */
enum hf_change_kind {
    HF_CHANGE_TRUNCATE = 1,
    HF_CHANGE_PUNCH = 2,
    HF_CHANGE_ZERO = 3,
    HF_CHANGE_COLLAPSE = 4,
    HF_CHANGE_INSERT = 5,
    HF_CHANGE_MOVE = 6,
    HF_CHANGE_DELETE = 7,
    HF_CHANGE_CLONE = 8
};

enum hf_lease_state {
    /* No layout change has asked for it. */
    HF_LEASE_HELD = 0,
    /* A layout change waits, or was refused: stop the device, then release. */
    HF_LEASE_RECALLED = 1,
    /* Blocks of it have left the file. They are the holder's alone until it releases, and what is
     * written there reaches no file. */
    HF_LEASE_DETACHED = 2
};

struct hf_lease {
    uint64_t hf_opaque[3]; /* may be copied; is used up by the first hf_lease_release() */
};

struct hf_recall {
    struct hf_lease lease; /* the one to release */
    void *arg;             /* hf_lease_options.arg */
    uint64_t off, len;     /* the part of the lease that the layout change covers, in whole pages */
    uint32_t why;          /* enum hf_change_kind */
    uint32_t state;        /* HF_LEASE_RECALLED or HF_LEASE_DETACHED */
    /* When the layout change detaches or gives up. UINT64_MAX: it waits as long as it takes; 0: it
     * did not wait. */
    uint64_t deadline_ns;
};

#define HF_LABEL_BYTES 48 /* of a label, with its end: "[address of IPv6]:port" fits */

struct hf_lease_options {
    size_t size; /* sizeof(struct hf_lease_options) */
    /* HF_PIN_WRITE, HF_PIN_YIELD, and its purpose: HF_PIN_CPU, _IO_URING, _RDMA or _GPU. */
    uint32_t flags;
    uint32_t reserved;
    /* Called in a thread of the library, with no lock held. It may call any hf_ function but
     * hf_pool_close(). It may come before hf_lease() has returned, and may still run when another
     * thread has released the lease: keep arg good until hf_pool_close(). Null: the recall goes to
     * hf_recall_next(). */
    void (*recall)(void *arg, const struct hf_recall *recall);
    void *arg;
    /* For hf_pins() and `holdfast pins`: for which peer or device it is; cut to HF_LABEL_BYTES - 1
     * bytes. Null: nothing. In hf_lease_take() null: the label stays. */
    const char *label;
};

/* As hf_pin(): holds [off, off+len) and stores where it lies. Takes a lock, may wait at a gate and
 * enter the kernel. With null options it is a read lease for the CPU without a callback.
 *   -EFAULT, -EINVAL, -E2BIG, -EBADF, -ENOSPC, -EROFS, -EINTR  as hf_pin()
 *   -ENOLCK  max_leases or max_threads are used up (mkpool --max-leases)
 *   -ENOMEM  no memory in this process
 *   -EAGAIN  no thread could be made for the callback; or HF_PIN_YIELD at a gate */
int hf_lease(struct hf_file *file, uint64_t off, uint64_t len,
             const struct hf_lease_options *options, struct iovec *iov, int iovcnt,
             struct hf_lease *lease);

/* Releases a lease, from any thread of the process, also in the callback and in a signal handler.
 * Never blocks; enters the kernel only to wake a layout change that waits. The device must have
 * stopped before.
 *   -EINVAL  not live: released already, or given away
 *   -ECHILD  the parent made it before a fork, and keeps it */
int hf_lease_release(const struct hf_lease *lease);

/* Gives up a lease whose device may still be at work: a peer did not answer, a card hangs. The
 * blocks are given to nobody before the pool's quarantine_ns have passed from now, as after the
 * death of the process. Layout changes wait for it no more; they detach the blocks. It is not
 * recalled again, and cannot be taken back. Never blocks. Errors as hf_lease_release(). */
int hf_lease_quarantine(const struct hf_lease *lease);

/* enum hf_lease_state; -EINVAL, -ECHILD as above. Async-signal-safe. */
int hf_lease_state(const struct hf_lease *lease);

struct hf_lease_token {
    uint64_t hf_opaque[2]; /* plain bytes: send it by any means */
};

/* Offers the lease to any process of the pool, including this one. From then on this process
 * cannot release it. Until another process takes the lease, it still belongs to this process and
 * dies with it. -EINVAL, -ECHILD as above. */
int hf_lease_give(const struct hf_lease *lease, struct hf_lease_token *out);

/* Takes the lease that was offered, once. The range is held all the time in between.
 * options->flags must be 0: purpose and mode stay as they are. The taker is told of a pending
 * recall. Returns the number of pieces, as hf_lease().
 *   -ENOENT  no such offer: taken already, or the giver has died
 *   -ESTALE  blocks of it are detached; it stays offered, to be taken with iovcnt 0 and released
 *   -EIO     whether a dead process had committed a change cannot be read; it stays offered
 *   -EAGAIN, -ENOLCK, -ENOMEM  as hf_lease()
 *   -E2BIG   more than iovcnt pieces are needed; it stays offered */
int hf_lease_take(struct hf_pool *pool, const struct hf_lease_token *token,
                  const struct hf_lease_options *options, struct iovec *iov, int iovcnt,
                  struct hf_lease *lease);

/* A descriptor (eventfd(2)) that is readable while hf_recall_next() has something, for the
 * program's own poll loop. The same each time; the program never reads or closes it.
 *   -EMFILE, -ENFILE  no descriptor is left
 *   -EAGAIN           no thread could be made that feeds it */
int hf_recall_fd(struct hf_pool *pool);

/* The next recall of a lease of this process that has no callback: 1, or 0 when there is none. Does
 * not wait for one; takes the layout mutex of files for a moment. */
int hf_recall_next(struct hf_pool *pool, struct hf_recall *out);

/* ---------------------------------------------------------- a pool's memory for devices --- */

/* A device's driver may know the pool's memory once, instead of each range that it is given. Then a
 * transfer takes a pin of its range, and no registration. */
struct hf_pool_memory {
    size_t size; /* sizeof(struct hf_pool_memory), set by the caller */
    void *base;  /* of the pool's first block, aligned to 2 MiB; stays until hf_pool_close() */
    /* From base on, what may be touched. Grows; hf_pool_shrink() cuts none that is registered. */
    uint64_t bytes;
    uint64_t limit_bytes; /* how far it can grow: the addresses up to there are the pool's */
};

/* Says where the pool's memory lies in this process, and maps memory that was added to it. A file's
 * blocks may move within it at any time: touch only pinned ranges. `bytes` tells whether the memory
 * has grown. Takes no lock of the pool. -EUCLEAN, -ENOMEM. */
int hf_pool_memory(struct hf_pool *pool, struct hf_pool_memory *out);

/* A descriptor (eventfd(2)) that is readable when the pool has more memory than hf_pool_memory()
 * said last. The same each time; the program never reads or closes it.
 *   -EMFILE, -ENFILE  no descriptor is left
 *   -EAGAIN           no thread could be made that feeds it. -ENOMEM */
int hf_pool_memory_fd(struct hf_pool *pool);

/* Call this before you register the pool's memory with a driver. It holds all of the memory, also
 * memory that is added later. No page is replaced by another until hf_pool_unregister(), or the
 * death of the process. It holds no block of any file: pin the ranges that the device is to touch.
 * purpose: HF_PIN_CPU, _IO_URING, _RDMA or _GPU. Registrations of a process are counted, and
 * hf_pool_close() is refused while there are some. *out as hf_pool_memory().
 *   -EINVAL     purpose is not one of the four
 *   -EOPNOTSUPP the memory is a file on a disk, which the kernel registers with no device; or
 *               RLIMIT_MEMLOCK is below the pool's size (HF_PIN_IO_URING and _RDMA)
 *   -ENOMEM, -EUCLEAN */
int hf_pool_register(struct hf_pool *pool, uint32_t purpose, struct hf_pool_memory *out);

/* Gives up one such hold. Call it after the driver has given the memory back.
 *   -EINVAL  there is none of that purpose */
int hf_pool_unregister(struct hf_pool *pool, uint32_t purpose);

/* ------------------------------------------------------------------------------- names --- */

/* A path is absolute in the pool or relative to its root ("a/b" is "/a/b"). Symbolic links in it
 * are followed inside the pool. The library checks no permissions: a process that may open the pool
 * may do everything in it. A mounted pool obeys modes. mode is taken as given. A new file belongs
 * to the effective user and group, or to the client of hf_act_for(). In a directory with the
 * set-group-ID bit it gets the directory's group, and a new directory there inherits the bit. New
 * entries of a directory get its default ACL, which limits mode: acl(5). Name calls never wait for
 * pins, except hf_unlink() with a policy that waits.
 *   -ENOENT, -ENOTDIR, -ELOOP, -ENAMETOOLONG  the path leads nowhere, as POSIX says */

/* -EEXIST: the name is there. -ENOTEMPTY: the directory has entries. -EBUSY: it is the root. */
int hf_mkdir(struct hf_pool *pool, const char *path, mode_t mode);
int hf_rmdir(struct hf_pool *pool, const char *path);
/* A FIFO, socket or device inode, or an empty regular file; the type is in mode. -EEXIST. */
int hf_mknod(struct hf_pool *pool, const char *path, mode_t mode, dev_t rdev);
/* -EEXIST: the new name is there. -EPERM: `from` is a directory. -EMLINK: it has 2^32-1 names. */
int hf_link(struct hf_pool *pool, const char *from, const char *to);
/* -EEXIST: the name `path` is there. */
int hf_symlink(struct hf_pool *pool, const char *target, const char *path);
/* Returns the number of bytes put into buf, not terminated; at most len. -EINVAL: it is not a
 * symbolic link. */
ssize_t hf_readlink(struct hf_pool *pool, const char *path, char *buf, size_t len);

/* Removes the name. If it was the last name and the file is not open, its blocks are freed in the
 * same transaction under the policy. With HF_POLICY_NOWAIT, or at its deadline, the call fails
 * (-EBUSY, -ETIMEDOUT) and the name stays. An open file stays until its last close.
 *   -EISDIR   it is a directory. -ENFILE: max_files are open
 *   -EDEADLK, -EINTR, -ENOLCK, -EOPNOTSUPP  as hf_truncate() */
int hf_unlink(struct hf_pool *pool, const char *path, const struct hf_policy *policy);

#define HF_RENAME_NOREPLACE 0x1u /* -EEXIST if `to` exists */
#define HF_RENAME_EXCHANGE 0x2u  /* swap the two names, both must exist */
/* Leave a character device 0/0 under the old name, as overlay file systems mark what is removed. */
#define HF_RENAME_WHITEOUT 0x4u
/* Atomic. A replaced file goes as with hf_unlink() and HF_POLICY_DETACH.
 *   -EINVAL    a directory into itself, or HF_RENAME_EXCHANGE with another flag
 *   -EISDIR, -ENOTDIR  a directory and something else cannot replace each other
 *   -ENOTEMPTY the directory at `to` has entries. -EBUSY: a path ends in /. or /.., or is / */
int hf_rename(struct hf_pool *pool, const char *from, const char *to, uint32_t flags);

#define HF_AT_NOFOLLOW 0x1u /* the symbolic link itself */
int hf_stat(struct hf_pool *pool, const char *path, uint32_t flags, struct stat *out);
int hf_fstat(struct hf_file *file, struct stat *out);
/* As hf_stat(), with the time of birth: stx_mask says that it is there. */
int hf_statx(struct hf_pool *pool, const char *path, uint32_t flags, struct statx *out);
int hf_chmod(struct hf_pool *pool, const char *path, mode_t mode);
/* uid or gid (uid_t)-1: unchanged. On anything but a directory, clears set-user-ID, and
 * set-group-ID where the group may execute. */
int hf_chown(struct hf_pool *pool, const char *path, uid_t uid, gid_t gid, uint32_t flags);
/* times[0] is access, times[1] modification; tv_nsec may be UTIME_NOW or UTIME_OMIT. Null: both are
 * now. -ENFILE: max_files are open. -EINVAL: a time that is not valid or beyond the year 2262. */
int hf_utimens(struct hf_pool *pool, const char *path, const struct timespec times[2],
               uint32_t flags);

#define HF_XATTR_CREATE 0x1u  /* -EEXIST if it is there */
#define HF_XATTR_REPLACE 0x2u /* -ENODATA if it is not */
/* A name needs a namespace ("user.x") and has up to 255 bytes; a value has up to HF_XATTR_VALUE_MAX
 * bytes (-E2BIG). "system.posix_acl_access" and "system.posix_acl_default" are ACLs as Linux passes
 * them (acl(5)). -EINVAL: the value is not an ACL. -EACCES: a default ACL on anything but a
 * directory. -EOPNOTSUPP: a symbolic link. */
int hf_setxattr(struct hf_pool *pool, const char *path, const char *name, const void *value,
                size_t len, uint32_t flags);
/* Return the size; with len 0 nothing is copied. -ERANGE: len is too small. -ENODATA: no such
 * attribute. */
ssize_t hf_getxattr(struct hf_pool *pool, const char *path, const char *name, void *value,
                    size_t len);
ssize_t hf_listxattr(struct hf_pool *pool, const char *path, char *list, size_t len);
int hf_removexattr(struct hf_pool *pool, const char *path, const char *name);

struct hf_dirent {
    uint64_t ino;
    uint32_t type;              /* S_IFREG, S_IFDIR ... */
    char name[HF_NAME_MAX + 1]; /* terminated */
};
/* Entries come in byte order of their names, "." and ".." first. An entry that exists all the time
 * is seen once; one that is made or removed meanwhile may or may not be seen. */
int hf_opendir(struct hf_pool *pool, const char *path, struct hf_dir **out);
/* Returns 1 with an entry, 0 at the end. */
int hf_readdir(struct hf_dir *dir, struct hf_dirent *out);
/* Continues with the first entry after `name`, which need not exist; null: from the start, dots
 * included. */
int hf_seekdir(struct hf_dir *dir, const char *name);
int hf_closedir(struct hf_dir *dir);

/* ----------------------------------------------------------------------------- looking --- */

struct hf_pool_info {
    size_t size; /* sizeof(struct hf_pool_info), set by the caller */
    uint8_t uuid[16];
    uint64_t pool_bytes;                  /* memory for blocks */
    uint64_t free_bytes;                  /* not in a file, not detached, in no put */
    uint64_t detached_bytes;              /* in no file, still held by a pin */
    uint64_t inodes;                      /* files, directories, links, in all */
    uint64_t limit_bytes;                 /* how far hf_pool_grow() can go */
    uint32_t flags;                       /* HF_POOL_* */
    uint32_t format;                      /* version of the format on the medium */
    uint64_t incompat, ro_compat, compat; /* feature bits */
    char engine[24];
    char media[16]; /* "tmpfs", "hugetlbfs", "file", "memfd", "device-dax", "pmem" */
    struct hf_policy policy;
    uint64_t quarantine_ns; /* of device pins and leases of dead processes */
    /* Not 0: all processes had died, some with such pins. For this long, every block that leaves a
     * file still stays off the free list. */
    uint64_t quarantine_left_ns;
    uint32_t max_processes, max_threads, max_files, max_leases;
    uint32_t processes, threads, files, leases; /* in use now */
    uint64_t shared_bytes;  /* blocks under more than one page of files, each counted once */
    uint64_t saved_bytes;   /* how much more memory would be in use without sharing */
    uint32_t registrations; /* of the pool's memory, hf_pool_register(), all processes together */
    uint32_t reserved;
    /* Memory the system keeps for the pool, free blocks included. On device-dax: all of it. */
    uint64_t resident_bytes;
    uint64_t trim_above_bytes; /* as in hf_pool_options */
};
int hf_pool_info(struct hf_pool *pool, struct hf_pool_info *out);

/* As statvfs(3), in blocks of HF_BLOCK_BYTES. Free: blocks that the system has memory for. */
int hf_statvfs(struct hf_pool *pool, struct statvfs *out);

#define HF_CHECK_REPAIR 0x1u /* mend what can be mended; holdfast(1) says what a repair obeys */

struct hf_check_result {
    size_t size; /* sizeof(struct hf_check_result), set by the caller */
    uint64_t inodes, extents, dirents, blocks_used; /* looked at */
    uint64_t problems;                              /* found */
    uint64_t repaired;                              /* of those */
};
/* Checks a pool that is not open anywhere. `report` (may be null) gets one sentence for each
 * problem, `progress` (may be null) how far the check is. Returns 0 when it could look at
 * everything, also when it found problems.
 *   -ENOENT      there is no pool at path
 *   -EBUSY       a process is attached
 *   -EUCLEAN     damaged beyond what it can read (still only reported; nothing was changed)
 *   -EOPNOTSUPP  a newer Holdfast made the pool, or damage looks like that */
int hf_pool_check(const char *path, uint32_t flags, void (*report)(void *arg, const char *sentence),
                  void (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
                  struct hf_check_result *out);

#define HF_PIN_LEASE 0x100u    /* in hf_pin_info.flags: it is a lease */
#define HF_PIN_RECALLED 0x200u /* likewise: a lease that has been recalled */
#define HF_PIN_STOPPED 0x400u  /* likewise: its process is stopped, and cannot let go */
#define HF_PIN_PUT 0x800u      /* likewise: not a pin, but a part of a put (hf_put_begin()) */

enum hf_pin_state {
    HF_PIN_HELD = 0,     /* a pin on blocks of the file */
    HF_PIN_DETACHED = 1, /* its blocks have left the file; of a put: are not in it yet */
    /* Not a pin: a layout change that waits for the range; age_ns is since when. */
    HF_PIN_WAITING = 2,
    /* Of a dead process, or given up to quarantine: a device may still write; age_ns since then */
    HF_PIN_QUARANTINED = 3
};
struct hf_pin_info {
    uint64_t ino;
    uint64_t off, len;          /* bytes, whole pages */
    uint32_t flags;             /* HF_PIN_WRITE, the purpose, and the four above */
    uint32_t state;             /* enum hf_pin_state */
    pid_t pid, tid;             /* of the holder, as its own pid namespace numbers it */
    uint64_t age_ns;            /* 0: not known (pins that fit in a thread's slots keep no time) */
    char command[16];           /* the process's name, terminated */
    char label[HF_LABEL_BYTES]; /* hf_lease_options.label, terminated; "": none */
};
/* Calls `each` for every pin and every waiting layout change in the pool, until it returns
 * non-zero, which is then returned. This is a snapshot without a lock: a pin that comes or goes
 * meanwhile may be missed, but none is invented. `each` must not call hf_ functions on this pool.
 *   -EOPNOTSUPP  the engine counts pins and does not know whose they are */
int hf_pins(struct hf_pool *pool, int (*each)(void *arg, const struct hf_pin_info *info),
            void *arg);

struct hf_extent_info {
    uint64_t ino;
    uint64_t off, len; /* bytes in the file */
    uint64_t block;    /* first block; its byte address in the pool is block * HF_BLOCK_BYTES */
    uint32_t detached; /* 1: in no file any more; ino and off say where it was */
    uint32_t shared;   /* 1: other files, or other places of this one, may have the blocks too */
};
/* Calls `each` for every extent of every file in order of inode and offset, then for every detached
 * run. A non-zero result of `each` ends that, and is returned. A snapshot. `each` must not call hf_
 * functions that change this pool. ino 0: all files, else only that one. -ENOMEM. */
int hf_extents(struct hf_pool *pool, uint64_t ino,
               int (*each)(void *arg, const struct hf_extent_info *info), void *arg);

/* One path of the inode (it may have others), terminated. It is found by looking through the names:
 * O(dirents). -ENOENT: it has none. -ERANGE: len is too small. -ENAMETOOLONG: it has more than
 * HF_SYMLINK_MAX bytes. */
int hf_path(struct hf_pool *pool, uint64_t ino, char *buf, size_t len);

#define HF_WAIT_BUCKETS 40
struct hf_stats {
    size_t size;            /* sizeof(struct hf_stats), set by the caller */
    uint64_t pins_slow;     /* pins that left the fast path */
    uint64_t faults;        /* entries filled */
    uint64_t gate_waits;    /* pins and faults that waited at a gate */
    uint64_t changes;       /* layout changes begun */
    uint64_t barriers;      /* heavy barriers paid */
    uint64_t drains_waited; /* layout changes that found a holder and waited */
    uint64_t detaches;      /* layout changes that detached blocks */
    uint64_t reaped;        /* pins of dead processes dropped */
    uint64_t recalls;       /* leases that layout changes asked for */
    uint64_t wait_ns_total, wait_ns_max;
    uint64_t wait_log2_ns[HF_WAIT_BUCKETS]; /* drains that waited 2^i .. 2^(i+1)-1 ns */
    /* Layout changes that gave up: */
    uint64_t timed_out; /* -ETIMEDOUT */
    uint64_t busy;      /* -EBUSY */
    uint64_t cancelled; /* -EINTR: a signal, or hf_cancel() */
    uint64_t own_pins;  /* -EDEADLK: for a pin of their own thread */
    uint64_t deadlocks; /* -EDEADLK: the youngest in a cycle of layout changes */
};
/* Since the first process attached, all processes together. */
int hf_stats(struct hf_pool *pool, struct hf_stats *out);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
#endif
