/* SPDX-License-Identifier: MIT */
/* renameat2(2): `path` becomes `other` */
#include "calls.h"

#include <stdio.h>

static int64_t call(const struct calls_case *row)
{
    return renameat2(AT_FDCWD, row->path, AT_FDCWD, row->other ? row->other : "new",
                     (unsigned)row->flags);
}

/* What overlay file systems take for "removed here". */
static int64_t leaves_whiteout(const struct calls_case *row)
{
    int64_t rc = call(row);
    struct stat st;

    NEED(rc);
    NEED(lstat(row->path, &st));
    EXPECT(S_ISCHR(st.st_mode));
    EXPECT_EQ(st.st_mode & 07777, 0);
    EXPECT_EQ(st.st_rdev, 0);
    return rc;
}

static int64_t to_new(const struct calls_case *row)
{
    return rename("old", row->path);
}

/* POSIX has two names for this error. */
static int64_t over_a_full_one(const struct calls_case *row)
{
    int rc = rename(row->path, row->other);

    if (rc != 0 && errno == EEXIST)
        errno = ENOTEMPTY;
    return rc;
}

/* What was replaced is there as long as it is open. */
static int64_t over_an_open_file(const struct calls_case *row)
{
    int fd = (int)NEED(open(row->other, O_RDONLY));
    struct stat st;

    NEED(rename(row->path, row->other));
    NEED(fstat(fd, &st));
    EXPECT_EQ(st.st_size, 20);
    return st.st_nlink;
}

/* .. of a directory that moved is its new folder. */
static int64_t parent_follows(const struct calls_case *row)
{
    struct stat parent, new_folder;

    NEED(rename(row->path, row->other));
    NEED(stat("e/d/..", &parent));
    NEED(stat("e", &new_folder));
    EXPECT_EQ(parent.st_ino, new_folder.st_ino);
    return 0;
}

static const struct calls_case rows[] = {
    CALLS_BAD_PATHS,
    {"a file", "file a 10; mtime a", .path = "a", .other = "b",
     .after = "gone a; file b 10; mtime b; count . 1"},
    {"a file over a file", "file a 10; file b 20; link b c", .path = "a", .other = "b",
     .after = "gone a; file b 10; file c 20; links c 1"},
    {"a file over an open file", "file a 10; file b 20", .path = "a", .other = "b", .want = 0,
     .after = "gone a; file b 10", .call = over_an_open_file},
    {"a file over itself", "file a 10", .path = "a", .other = "a", .after = "file a 10"},
    {"a file over another name of it", "file a 10; link a b", .path = "a", .other = "b",
     .after = "link a b; links a 2"},
    {"a file over a directory", "file a 10; dir d", .path = "a", .other = "d", .want = -EISDIR,
     .after = "file a 10; dir d"},
    {"a directory over a file", "dir d; file a 10", .path = "d", .other = "a", .want = -ENOTDIR,
     .after = "file a 10; dir d"},
    {"a directory", "dir d; file d/a 10", .path = "d", .other = "e",
     .after = "gone d; file e/a 10"},
    {"a directory over an empty one", "dir d; file d/a 10; dir e", .path = "d", .other = "e",
     .after = "gone d; file e/a 10; links . 3"},
    {"a directory over one that is not empty", "dir d; dir e; file e/a 10", .path = "d",
     .other = "e", .want = -ENOTEMPTY, .after = "dir d; file e/a 10", .call = over_a_full_one},
    {"a directory into itself", "dir d", .path = "d", .other = "d/e", .want = -EINVAL,
     .after = "dir d; count d 0"},
    {"a directory into one below it", "dir d; dir d/e", .path = "d", .other = "d/e/f",
     .want = -EINVAL, .after = "dir d/e"},
    {"a directory over the one above it", "dir d; dir d/e", .path = "d/e", .other = "d",
     .want = -ENOTEMPTY, .after = "dir d/e", .call = over_a_full_one},
    {"a directory to another folder, links", "dir d; dir e", .path = "d", .other = "e/d",
     .after = "gone d; dir e/d; links e 3; links . 3"},
    {"a directory to another folder, its parent", "dir d; dir e", .path = "d", .other = "e/d",
     .call = parent_follows},
    {".", "dir d", .path = "d/.", .other = "e", .want = -EBUSY},
    {"a link, not what it leads to", "file a 10; symlink l a", .path = "l", .other = "m",
     .after = "gone l; symlink m a; file a 10"},
    {"over a link, not what it leads to", "file a 10; file b 20; symlink l b", .path = "a",
     .other = "l", .after = "gone a; file l 10; file b 20"},
    {"a file with a slash after it", "file a 10", .path = "a/", .other = "b", .want = -ENOTDIR},
    {"a directory, a slash after the new name", "dir d", .path = "d", .other = "e/",
     .after = "gone d; dir e"},
    {"times of both folders", "dir d; dir e; file d/a 0; mtime d; mtime e", .path = "d/a",
     .other = "e/a", .after = "modified d; modified e; file e/a 0"},
    {"a missing file", "file b 20", .path = "a", .other = "b", .want = -ENOENT,
     .after = "file b 20"},
    {"to a missing folder", "file old 0", .path = "missing/a", .want = -ENOENT,
     .after = "file old 0", .call = to_new},
    {"to a name below a file", "file old 0; file f 0", .path = "f/a", .want = -ENOTDIR,
     .call = to_new},
    {"to a name of 255 bytes", "file old 0", .path = "{255*n}", .after = "gone old; file {255*n} 0",
     .call = to_new},
    {"to a name of 256 bytes", "file old 0", .path = "{256*n}", .want = -ENAMETOOLONG,
     .after = "file old 0", .call = to_new},
    {"to another file system", "file a 10", .path = "a", .other = "{elsewhere}/holdfast-rename",
     .want = -EXDEV, .after = "file a 10"},
    {"NOREPLACE", "file a 10", .path = "a", .other = "b", .flags = RENAME_NOREPLACE,
     .after = "gone a; file b 10"},
    {"NOREPLACE of a name that is taken", "file a 10; file b 20", .path = "a", .other = "b",
     .flags = RENAME_NOREPLACE, .want = -EEXIST, .after = "file a 10; file b 20"},
    {"WHITEOUT of a file", "file a 10", .path = "a", .other = "b", .flags = RENAME_WHITEOUT,
     .after = "file b 10; count . 2; links . 2", .call = leaves_whiteout},
    {"WHITEOUT of a directory", "dir d; dir d/e; file d/e/f 5; dir b", .path = "d/e",
     .other = "b/e", .flags = RENAME_WHITEOUT,
     .after = "file b/e/f 5; count d 1; links d 2; links b 3", .call = leaves_whiteout},
    {"WHITEOUT over a file", "file a 10; file b 20; link b c", .path = "a", .other = "b",
     .flags = RENAME_WHITEOUT, .after = "file b 10; file c 20; links c 1; count . 3",
     .call = leaves_whiteout},
    {"WHITEOUT and NOREPLACE of a name that is taken", "file a 10; file b 20", .path = "a",
     .other = "b", .flags = RENAME_WHITEOUT | RENAME_NOREPLACE, .want = -EEXIST,
     .after = "file a 10; file b 20"},
    {"WHITEOUT and EXCHANGE", "file a 10; file b 20", .path = "a", .other = "b",
     .flags = RENAME_WHITEOUT | RENAME_EXCHANGE, .want = -EINVAL},
    {"EXCHANGE of two files", "file a 10; file b 20", .path = "a", .other = "b",
     .flags = RENAME_EXCHANGE, .after = "file a 20; file b 10; count . 2"},
    {"EXCHANGE of a file and a directory", "file a 10; dir d; dir d/e; file d/e/f 5", .path = "a",
     .other = "d/e", .flags = RENAME_EXCHANGE,
     .after = "file a/f 5; file d/e 10; links d 2; links . 4"},
    {"EXCHANGE with a missing file", "file a 10", .path = "a", .other = "b",
     .flags = RENAME_EXCHANGE, .want = -ENOENT, .after = "file a 10"},
    {"EXCHANGE of a directory and one below it", "dir d; dir d/e", .path = "d", .other = "d/e",
     .flags = RENAME_EXCHANGE, .want = -EINVAL},
    {"EXCHANGE and NOREPLACE", "file a 10; file b 20", .path = "a", .other = "b",
     .flags = RENAME_EXCHANGE | RENAME_NOREPLACE, .want = -EINVAL},
    {"from a folder that may not be written", "dir d; file d/a 0; dir e; mode e 0777",
     .path = "d/a", .other = "e/a", .want = -EACCES, .after = "file d/a 0; gone e/a",
     .as = AS_NOBODY},
    {"to a folder that may not be written", "dir d; mode d 0777; file d/a 0; dir e", .path = "d/a",
     .other = "e/a", .want = -EACCES, .after = "file d/a 0; gone e/a", .as = AS_NOBODY},
    {"another's file in a sticky folder", "dir d; mode d 01777; file d/a 0", .path = "d/a",
     .other = "d/b", .want = -EPERM, .after = "file d/a 0", .as = AS_NOBODY},
    {"over another's file in a sticky folder",
     "dir d; mode d 01777; file d/a 10; own d/a 65534 0; file d/b 20", .path = "d/a",
     .other = "d/b", .want = -EPERM, .after = "file d/a 10; file d/b 20", .as = AS_NOBODY},
    {"another's directory that may not be written, to another folder",
     "dir d; mode d 0777; dir d/x; dir e; mode e 0777", .path = "d/x", .other = "e/x",
     .want = -EACCES, .after = "dir d/x", .as = AS_NOBODY},
};

CALLS("rename", call, rows)
