/* SPDX-License-Identifier: MIT */
/*
 * Meets the system calls that the library, LMDB and this program make, by functions of the C
 * library's names. Each tells the program, makes the call, and tells the program again. The library
 * has to be linked statically, or the program has to export its names.
 *
 * With INTERPOSE_FEW it meets opening files, pwrite() and fsync() only. For these a sanitizer has
 * no function of its own, or leaves them to the program.
 */
#ifndef HF_TESTS_INTERPOSE_H
#define HF_TESTS_INTERPOSE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

enum interposed_call {
    INTERPOSED_OPEN,     /* path, flags */
    INTERPOSED_MAKE_FD,  /* memfd_create(), eventfd() */
    INTERPOSED_CLOSE,    /* fd */
    INTERPOSED_WRITE,    /* fd, iov: at the file's position */
    INTERPOSED_PWRITE,   /* fd, iov, off */
    INTERPOSED_TRUNCATE, /* fd */
    INTERPOSED_ALLOCATE, /* fd */
    INTERPOSED_SYNC,     /* fd: fsync(), fdatasync() */
    INTERPOSED_SYNC_MAP, /* at, len, flags */
    INTERPOSED_MAP,      /* at, len, rights, flags, fd, off */
    INTERPOSED_UNMAP,    /* at, len */
    INTERPOSED_MAKE_DIR, /* path */
    INTERPOSED_UNLINK,   /* path */
    INTERPOSED_CHMOD,    /* fd */
    INTERPOSED_FCNTL,    /* fd; flags is the command */
};

struct interposed {
    enum interposed_call what;
    int fd, flags, rights;
    const char *path;
    const void *at;
    size_t len;
    off_t off;
    struct iovec *iov;
    int iovcnt;
    long rc;       /* what it returned, -1 with errno */
    bool is_noted; /* the program's own, from before to after */
};

/* Null: not told. They may make system calls themselves; errno is kept. */
extern void (*interpose_before)(struct interposed *call);
extern void (*interpose_after)(struct interposed *call);

#endif
