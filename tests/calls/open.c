/* SPDX-License-Identifier: MIT */
/* open(2) */
#include "calls.h"

#include <stdio.h>

static int64_t call(const struct calls_case *row)
{
    int fd = open(row->path, row->flags, row->mode);

    return fd < 0 ? fd : close(fd);
}

static int64_t umask_holds(const struct calls_case *row)
{
    umask(077);
    return call(row);
}

/* The lowest free number, and closed by exec only when asked. */
static int64_t number_and_flags(const struct calls_case *row)
{
    int first = (int)NEED(open(row->path, O_RDONLY)),
        second = (int)NEED(open(row->path, O_RDONLY | O_CLOEXEC));

    EXPECT_EQ(fcntl(first, F_GETFD), 0);
    EXPECT_EQ(fcntl(second, F_GETFD), FD_CLOEXEC);
    NEED(close(first));
    EXPECT_EQ(open(row->path, O_RDONLY), first);
    return 0;
}

/* A file without a name, that gets one. */
static int64_t named_later(const struct calls_case *row)
{
    int fd = open(".", O_TMPFILE | O_RDWR, 0600);
    char self[64];

    if (fd < 0)
        return fd;
    EXPECT_EQ(write(fd, "late", 4), 4);
    snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
    return linkat(AT_FDCWD, self, AT_FDCWD, row->path, AT_SYMLINK_FOLLOW);
}

/* Permission is looked at when a file is opened, not after. */
static int64_t read_after_chmod(const struct calls_case *row)
{
    int fd = (int)NEED(open(row->path, O_RDONLY));
    char byte;

    NEED(chmod(row->path, 0));
    return read(fd, &byte, 1);
}

static int64_t created_without_rights(const struct calls_case *row)
{
    int fd = open(row->path, O_CREAT | O_RDWR, 0000);

    return fd < 0 ? fd : write(fd, "x", 1);
}

static const struct calls_case rows[] = {
    CALLS_BAD_PATHS,
    {"a file", "file a 10", .path = "a", .after = "file a 10"},
    {"a missing file", "", .path = "a", .want = -ENOENT},
    {"O_CREAT", "", .path = "a", .flags = O_CREAT | O_WRONLY, .mode = 0666,
     .after = "file a 0; mode a 0644; links a 1"},
    {"O_CREAT of a file that is there", "file a 10; mode a 0600", .path = "a",
     .flags = O_CREAT | O_WRONLY, .mode = 0666, .after = "file a 10; mode a 0600"},
    {"O_CREAT with umask 077", "", .path = "a", .flags = O_CREAT | O_RDWR, .mode = 0777,
     .after = "mode a 0700", .call = umask_holds},
    {"O_CREAT with set-user-ID and sticky bits", "", .path = "a", .flags = O_CREAT | O_RDWR,
     .mode = 05755, .after = "mode a 05755"},
    {"O_CREAT changes the folder's times", "dir d; mtime d; atime d; ctime d", .path = "d/a",
     .flags = O_CREAT | O_RDWR, .mode = 0600, .after = "modified d; changed d; atime d"},
    {"O_CREAT as another user", "dir d; mode d 0777", .path = "d/a", .flags = O_CREAT | O_RDWR,
     .mode = 0600, .after = "own d/a 65534 65534", .as = AS_NOBODY},
    {"O_CREAT in a setgid folder", "dir d; own d 0 77; mode d 02777", .path = "d/a",
     .flags = O_CREAT | O_RDWR, .mode = 0640, .after = "own d/a 65534 77; mode d/a 0640",
     .as = AS_NOBODY},
    {"O_CREAT with setgid in a folder of a group not one's own", "dir d; own d 0 77; mode d 02777",
     .path = "d/a", .flags = O_CREAT | O_RDWR, .mode = 02775,
     .after = "own d/a 65534 77; mode d/a 0755", .as = AS_NOBODY},
    {"O_CREAT in a folder that may not be written", "dir d", .path = "d/a",
     .flags = O_CREAT | O_RDWR, .want = -EACCES, .after = "count d 0", .as = AS_NOBODY},
    {"another's file in a sticky folder",
     "dir d; mode d 01777; file d/a 3; mode d/a 0666; own d/a 1 1", .path = "d/a", .flags = O_RDWR,
     .as = AS_NOBODY},
    {"O_CREAT without any rights, and writing", "dir d; mode d 0777", .path = "d/a", .want = 1,
     .after = "size d/a 1; mode d/a 0", .as = AS_NOBODY, .call = created_without_rights},
    {"O_CREAT with a name of 255 bytes", "", .path = "{255*n}", .flags = O_CREAT | O_RDWR,
     .mode = 0600, .after = "file {255*n} 0; count . 1"},
    {"O_CREAT with a path of 4095 bytes", "", .path = "{2047*./}a", .flags = O_CREAT | O_RDWR,
     .mode = 0600, .after = "file a 0"},
    {"O_CREAT of a name that ends in a slash", "", .path = "a/", .flags = O_CREAT | O_RDWR,
     .want = -EISDIR, .after = "count . 0"},
    {"O_CREAT through a link that leads nowhere", "symlink l a", .path = "l",
     .flags = O_CREAT | O_RDWR, .mode = 0600, .after = "file a 0; symlink l a"},
    {"O_CREAT | O_EXCL", "", .path = "a", .flags = O_CREAT | O_EXCL | O_RDWR, .mode = 0600,
     .after = "file a 0"},
    {"O_CREAT | O_EXCL of a file that is there", "file a 10", .path = "a",
     .flags = O_CREAT | O_EXCL | O_RDWR, .want = -EEXIST, .after = "file a 10"},
    {"O_CREAT | O_EXCL of a link that leads nowhere", "symlink l a", .path = "l",
     .flags = O_CREAT | O_EXCL | O_RDWR, .want = -EEXIST, .after = "gone a"},
    {"O_CREAT of a directory", "dir d", .path = "d", .flags = O_CREAT | O_RDONLY, .want = -EISDIR},
    {"a directory", "dir d", .path = "d"},
    {"a directory for writing", "dir d", .path = "d", .flags = O_WRONLY, .want = -EISDIR},
    {"O_DIRECTORY of a directory", "dir d", .path = "d", .flags = O_DIRECTORY},
    {"O_DIRECTORY of a file", "file a 0", .path = "a", .flags = O_DIRECTORY, .want = -ENOTDIR},
    {"O_NOFOLLOW of a link", "file a 0; symlink l a", .path = "l", .flags = O_NOFOLLOW,
     .want = -ELOOP},
    {"O_NOFOLLOW of a link on the way", "dir d; file d/a 0; symlink l d", .path = "l/a",
     .flags = O_NOFOLLOW},
    {"O_PATH | O_NOFOLLOW of a link", "symlink l a", .path = "l", .flags = O_PATH | O_NOFOLLOW},
    {"a link to itself", "symlink l l", .path = "l", .want = -ELOOP},
    {"O_TRUNC", "file a 10; mtime a; ctime a", .path = "a", .flags = O_WRONLY | O_TRUNC,
     .after = "file a 0; modified a; changed a"},
    {"O_TRUNC removes no set-user-ID bit for root", "file a 10; mode a 04755", .path = "a",
     .flags = O_WRONLY | O_TRUNC, .after = "size a 0; mode a 04755"},
    {"a file that may not be read", "file a 0; mode a 0200; own a 65534 0", .path = "a",
     .want = -EACCES, .as = AS_NOBODY},
    {"a file that may not be written", "file a 0", .path = "a", .flags = O_WRONLY, .want = -EACCES,
     .as = AS_NOBODY},
    {"O_TRUNC of a file that may only be read", "file a 10", .path = "a",
     .flags = O_WRONLY | O_TRUNC, .want = -EACCES, .after = "file a 10", .as = AS_NOBODY},
    {"the owner's bits count for the owner", "file a 0; mode a 0066; own a 65534 65534",
     .path = "a", .want = -EACCES, .as = AS_NOBODY},
    {"the group's bits count for the group", "file a 0; mode a 0606; own a 0 65534", .path = "a",
     .want = -EACCES, .as = AS_NOBODY},
    {"root may all", "file a 0; mode a 0; own a 65534 65534", .path = "a", .flags = O_RDWR},
    {"O_NOATIME of another's file", "file a 0", .path = "a", .flags = O_NOATIME, .want = -EPERM,
     .as = AS_NOBODY},
    {"O_TMPFILE, and a name for it", "", .path = "a", .after = "text a late; links a 1; count . 1",
     .call = named_later},
    {"O_TMPFILE", "", .path = ".", .flags = O_TMPFILE | O_RDWR, .mode = 0600, .after = "count . 0"},
    {"O_TMPFILE for reading only", "", .path = ".", .flags = O_TMPFILE, .want = -EINVAL},
    {"a FIFO for writing without a reader", "fifo p", .path = "p", .flags = O_WRONLY | O_NONBLOCK,
     .want = -ENXIO},
    {"a FIFO for reading without a writer", "fifo p", .path = "p", .flags = O_RDONLY | O_NONBLOCK},
    {"descriptors", "file a 0", .path = "a", .call = number_and_flags},
    {"a mode that is taken away while it is open", "file a 1; own a 65534 65534", .path = "a",
     .want = 1, .as = AS_NOBODY, .call = read_after_chmod},
};

CALLS("open", call, rows)
