/* SPDX-License-Identifier: MIT */
/*
 * System calls on a folder of any file system: what POSIX and the manual pages of Linux say, as
 * tables. A case is a row: what is there before, the call, what it gives, what is there after. It
 * runs as root in a process and a folder of its own, which is the working directory, with umask
 * 022.
 *
 * `before` and `after` are steps such as "file a 8192; mode a 0600". Before the call a step makes
 * it so; after the call it checks that it is so. The words are listed in steps.c. In steps and
 * paths {N*text} is the text N times, and {elsewhere} a folder of another file system.
 *
 * What a file system cannot do it says with EOPNOTSUPP: the case is skipped.
 */
#ifndef HF_TESTS_CALLS_H
#define HF_TESTS_CALLS_H

#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum calls_user { AS_ROOT, AS_NOBODY };

struct calls_case {
    const char *name, *before, *path, *other;
    int flags;
    mode_t mode;
    int64_t at, len;
    int64_t want; /* -errno, or what the call returns */
    const char *after;
    enum calls_user as;                            /* of the call; steps are root's */
    int64_t (*call)(const struct calls_case *row); /* null: that of the table */
};

struct calls_table {
    const char *name;
    int64_t (*call)(const struct calls_case *row); /* returns like a system call, with errno */
    const struct calls_case *rows;
    size_t count;
    struct calls_table *next;
};

/* A file's one table; being linked is enough. */
#define CALLS(name, call, rows)                                                                    \
    static struct calls_table table = {name, call, rows, sizeof(rows) / sizeof(rows[0]), NULL};    \
    __attribute__((constructor)) static void add_table(void)                                       \
    {                                                                                              \
        calls_add(&table);                                                                         \
    }
void calls_add(struct calls_table *table);

/* What every call with a path gives for one that leads nowhere. */
#define CALLS_BAD_PATHS                                                                            \
    {"an empty path", "", .path = "", .want = -ENOENT},                                            \
        {"a missing folder on the way", "", .path = "missing/a", .want = -ENOENT},                 \
        {"a file on the way", "file f 0", .path = "f/a", .want = -ENOTDIR},                        \
        {"a loop of links on the way", "symlink l m; symlink m l", .path = "l/a", .want = -ELOOP}, \
        {"a name of 256 bytes", "", .path = "{256*n}", .want = -ENAMETOOLONG},                     \
        {"a path of 4096 bytes", "", .path = "{2047*./}aa", .want = -ENAMETOOLONG},                \
    {                                                                                              \
        "a folder that may not be searched", "dir d; file d/a 1; mode d 0600; own d 65534 65534",  \
            .path = "d/a", .want = -EACCES, .as = AS_NOBODY                                        \
    }

/* Prints which case and why, and ends it. */
_Noreturn void calls_skip(const char *reason);

/* A call that the case needs and does not test: the value, not -1. */
int64_t calls_need(const char *file, int line, const char *what, int64_t rc);
#define NEED(expression) calls_need(__FILE__, __LINE__, #expression, (int64_t)(expression))

void calls_before(const char *steps);
void calls_after(const char *steps);
/* {..} written out; never freed, a case is a process. */
const char *calls_text(const char *text);

/* Byte `at` of the files that the word `file` makes: neighbouring blocks differ. */
char calls_pattern(int64_t at);

#endif
