/* SPDX-License-Identifier: MIT */
/*
 * The functions that stand before system calls. Each makes its call with syscall(2), so that it
 * does not depend on the order in which the linker finds the C library's own.
 */
#undef _FILE_OFFSET_BITS /* both names of each call are wanted, pwrite and pwrite64 */
#include "interpose.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

void (*interpose_before)(struct interposed *call);
void (*interpose_after)(struct interposed *call);

static void before(struct interposed *call)
{
    int saved = errno;

    if (interpose_before)
        interpose_before(call);
    errno = saved;
}

static long after(struct interposed *call, long rc)
{
    int saved = errno;

    call->rc = rc;
    if (interpose_after)
        interpose_after(call);
    errno = saved;
    return rc;
}

/* The name that a program built with 64-bit offsets calls. */
#define ALSO(other, name) __attribute__((alias(#name), copy(name))) __typeof__(other) other

/* ---- calls that a sanitizer leaves to the program ---- */

int open(const char *path, int flags, ...)
{
    struct interposed call = {.what = INTERPOSED_OPEN, .path = path, .flags = flags};
    mode_t mode = 0;
    va_list args;

    if (flags & O_CREAT) {
        va_start(args, flags);
        mode = va_arg(args, mode_t);
        va_end(args);
    }
    before(&call);
    return (int)after(&call, syscall(SYS_openat, AT_FDCWD, path, flags, mode));
}
ALSO(open64, open);

int memfd_create(const char *name, unsigned flags)
{
    struct interposed call = {.what = INTERPOSED_MAKE_FD};

    before(&call);
    return (int)after(&call, syscall(SYS_memfd_create, name, flags));
}

int eventfd(unsigned count, int flags)
{
    struct interposed call = {.what = INTERPOSED_MAKE_FD};

    before(&call);
    return (int)after(&call, syscall(SYS_eventfd2, count, flags));
}

ssize_t pwrite(int fd, const void *buf, size_t len, off_t off)
{
    struct iovec iov = {(void *)buf, len};
    struct interposed call = {
        .what = INTERPOSED_PWRITE, .fd = fd, .off = off, .iov = &iov, .iovcnt = 1};

    before(&call);
    return after(&call, syscall(SYS_pwrite64, fd, buf, len, off));
}
ALSO(pwrite64, pwrite);

static int sync_file(int fd, long number)
{
    struct interposed call = {.what = INTERPOSED_SYNC, .fd = fd};

    before(&call);
    return (int)after(&call, syscall(number, fd));
}

int fsync(int fd)
{
    return sync_file(fd, SYS_fsync);
}

#ifndef INTERPOSE_FEW

/* ---- files ---- */

int fdatasync(int fd)
{
    return sync_file(fd, SYS_fdatasync);
}

int close(int fd)
{
    struct interposed call = {.what = INTERPOSED_CLOSE, .fd = fd};

    before(&call);
    return (int)after(&call, syscall(SYS_close, fd));
}

ssize_t write(int fd, const void *buf, size_t len)
{
    struct iovec iov = {(void *)buf, len};
    struct interposed call = {.what = INTERPOSED_WRITE, .fd = fd, .iov = &iov, .iovcnt = 1};

    before(&call);
    return after(&call, syscall(SYS_write, fd, buf, len));
}

ssize_t writev(int fd, const struct iovec *iov, int count)
{
    struct interposed call = {
        .what = INTERPOSED_WRITE, .fd = fd, .iov = (struct iovec *)iov, .iovcnt = count};

    before(&call);
    return after(&call, syscall(SYS_writev, fd, iov, count));
}

int ftruncate(int fd, off_t len)
{
    struct interposed call = {.what = INTERPOSED_TRUNCATE, .fd = fd};

    before(&call);
    return (int)after(&call, syscall(SYS_ftruncate, fd, len));
}
ALSO(ftruncate64, ftruncate);

int fallocate(int fd, int mode, off_t off, off_t len)
{
    struct interposed call = {.what = INTERPOSED_ALLOCATE, .fd = fd};

    before(&call);
    return (int)after(&call, syscall(SYS_fallocate, fd, mode, off, len));
}
ALSO(fallocate64, fallocate);

int posix_fallocate(int fd, off_t off, off_t len)
{
    return fallocate(fd, 0, off, len) ? errno : 0;
}
ALSO(posix_fallocate64, posix_fallocate);

int fchmod(int fd, mode_t mode)
{
    struct interposed call = {.what = INTERPOSED_CHMOD, .fd = fd};

    before(&call);
    return (int)after(&call, syscall(SYS_fchmod, fd, mode));
}

int fcntl(int fd, int command, ...)
{
    struct interposed call = {.what = INTERPOSED_FCNTL, .fd = fd, .flags = command};
    va_list args;
    void *argument;

    va_start(args, command);
    argument = va_arg(args, void *);
    va_end(args);
    before(&call);
    return (int)after(&call, syscall(SYS_fcntl, fd, command, argument));
}
ALSO(fcntl64, fcntl);

/* ---- names ---- */

int mkdir(const char *path, mode_t mode)
{
    struct interposed call = {.what = INTERPOSED_MAKE_DIR, .path = path};

    before(&call);
    return (int)after(&call, syscall(SYS_mkdir, path, mode));
}

int unlink(const char *path)
{
    struct interposed call = {.what = INTERPOSED_UNLINK, .path = path};

    before(&call);
    return (int)after(&call, syscall(SYS_unlink, path));
}

/* ---- memory ---- */

void *mmap(void *at, size_t len, int rights, int flags, int fd, off_t off)
{
    struct interposed call = {.what = INTERPOSED_MAP,
                              .at = at,
                              .len = len,
                              .rights = rights,
                              .flags = flags,
                              .fd = fd,
                              .off = off};

    before(&call);
    return (void *)after(&call, syscall(SYS_mmap, at, len, rights, flags, fd, off));
}
ALSO(mmap64, mmap);

int munmap(void *at, size_t len)
{
    struct interposed call = {.what = INTERPOSED_UNMAP, .at = at, .len = len};

    before(&call);
    return (int)after(&call, syscall(SYS_munmap, at, len));
}

int msync(void *at, size_t len, int flags)
{
    struct interposed call = {.what = INTERPOSED_SYNC_MAP, .at = at, .len = len, .flags = flags};

    before(&call);
    return (int)after(&call, syscall(SYS_msync, at, len, flags));
}

/* A program that write-protects its memory catches its own stores, but the kernel would fail with
 * EFAULT there: so the bytes go through a buffer. */
ssize_t getrandom(void *buf, size_t len, unsigned flags)
{
    unsigned char bytes[256];
    long rc = syscall(SYS_getrandom, bytes, len < sizeof(bytes) ? len : sizeof(bytes), flags);

    if (rc > 0)
        memcpy(buf, bytes, (size_t)rc);
    return rc;
}

#endif
