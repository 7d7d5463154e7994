/* SPDX-License-Identifier: MIT */
/*
 * Everything that the library opens: its descriptors are 3 or more and closed by exec(2), whatever
 * the process was given. Each call fails as its namesake does: -1 or null, with errno.
 */
#ifndef HF_BASE_DESCRIPTOR_H
#define HF_BASE_DESCRIPTOR_H

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

int hf_fd_open(const char *path, int flags, mode_t mode);
int hf_fd_memfd(const char *name, unsigned flags);
int hf_fd_eventfd(unsigned count, int flags);
FILE *hf_fd_fopen(const char *path); /* to read */
DIR *hf_fd_opendir(const char *path);

/* Files that another library opens between the two get 3 or more too. They nest, from any
 * threads. */
void hf_fd_guard_begin(void);
void hf_fd_guard_end(void);

/* Calls body() with a descriptor of the file that `fd` is, opened again, in a thread that has a
 * table of descriptors of its own. So no child that another thread makes meanwhile gets it, and it
 * is closed when this returns. `path` leads there too, for a process without /proc. -errno of
 * opening or of making the thread, else what body() returns. Its standard streams lead nowhere. */
int hf_fd_apart(int fd, const char *path, int flags, int (*body)(int fd, void *arg), void *arg);

/* Which of 0 to 2 are this file, as bits: to see that a guard has held. */
unsigned hf_fd_low_are(const char *path);

#endif
