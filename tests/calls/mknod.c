/* SPDX-License-Identifier: MIT */
/* mknod(2): `mode` with the type, `at` and `len` the device's two numbers */
#include "calls.h"

#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

static int64_t call(const struct calls_case *row)
{
    struct stat st;

    if (mknod(row->path, row->mode, makedev((unsigned)row->at, (unsigned)row->len)) != 0)
        return -1;
    NEED(lstat(row->path, &st));
    EXPECT_EQ(st.st_mode & S_IFMT, row->mode & S_IFMT ? row->mode & S_IFMT : S_IFREG);
    EXPECT_EQ(major(st.st_rdev), row->at);
    EXPECT_EQ(minor(st.st_rdev), row->len);
    return 0;
}

static int64_t bound(const struct calls_case *row)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat st;
    int fd = (int)NEED(socket(AF_UNIX, SOCK_STREAM, 0));

    strcpy(address.sun_path, row->path);
    NEED(bind(fd, (struct sockaddr *)&address, sizeof(address)));
    NEED(listen(fd, 1));
    NEED(lstat(row->path, &st));
    EXPECT(S_ISSOCK(st.st_mode));
    return connect((int)NEED(socket(AF_UNIX, SOCK_STREAM, 0)), (struct sockaddr *)&address,
                   sizeof(address));
}

static int64_t talk(const struct calls_case *row)
{
    int in = (int)NEED(open(row->path, O_RDONLY | O_NONBLOCK)),
        out = (int)NEED(open(row->path, O_WRONLY));
    char bytes[3];

    EXPECT_EQ(write(out, "abc", 3), 3);
    return read(in, bytes, 3);
}

static const struct calls_case rows[] = {
    CALLS_BAD_PATHS,
    {"a file", "", .path = "a", .mode = S_IFREG | 0666, .after = "file a 0; mode a 0644"},
    {"a file, without a type", "", .path = "a", .mode = 0666, .after = "file a 0"},
    {"a FIFO", "", .path = "p", .mode = S_IFIFO | 0666, .after = "fifo p; mode p 0644; links p 1"},
    {"a FIFO that two talk through", "fifo p", .path = "p", .want = 3, .after = "size p 0",
     .call = talk},
    {"a socket", "", .path = "s", .mode = S_IFSOCK | 0600},
    {"a socket that is bound and connected to", "", .path = "s", .call = bound},
    {"a character device", "", .path = "c", .mode = S_IFCHR | 0600, .at = 1, .len = 3},
    {"a block device with large numbers", "", .path = "b", .mode = S_IFBLK | 0600, .at = 259,
     .len = 70000},
    {"a device, as another user", "dir d; mode d 0777", .path = "d/c", .mode = S_IFCHR | 0600,
     .at = 1, .len = 3, .want = -EPERM, .after = "gone d/c", .as = AS_NOBODY},
    {"a directory", "", .path = "d", .mode = S_IFDIR | 0700, .want = -EPERM, .after = "gone d"},
    {"a name that is taken", "file a 10", .path = "a", .mode = S_IFIFO | 0600, .want = -EEXIST,
     .after = "file a 10"},
    {"a name of 255 bytes", "", .path = "{255*n}", .mode = S_IFIFO | 0600, .after = "fifo {255*n}"},
    {"in a folder that may not be written", "dir d", .path = "d/p", .mode = S_IFIFO | 0600,
     .want = -EACCES, .as = AS_NOBODY},
};

CALLS("mknod", call, rows)
