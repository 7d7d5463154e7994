/* SPDX-License-Identifier: MIT */
/* opendir(3), readdir(3), seekdir(3), rewinddir(3): they give how many entries came, without . and
 * .. */
#include "calls.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

static int64_t call(const struct calls_case *row)
{
    DIR *dir = opendir(row->path);

    if (!dir)
        return -1;
    return closedir(dir);
}

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Names so long that one getdents() does not give all. */
static void make_files(const char *dir, int64_t count)
{
    char name[200];

    for (int64_t i = 0; i < count; i++) {
        snprintf(name, sizeof(name), "%s/%0100lld", dir, (long long)i);
        NEED(close((int)NEED(open(name, O_CREAT | O_EXCL, 0600))));
    }
}

/* Each of `len` files once, whatever the order; the numbers of inodes are those of stat(). */
static int64_t each_once(const struct calls_case *row)
{
    char *seen = calloc((size_t)row->len, 1);
    DIR *dir;

    make_files(row->path, row->len);
    dir = opendir(row->path);
    EXPECT(dir);
    for (struct dirent *entry; (entry = readdir(dir));) {
        struct stat st;

        if (is_dots(entry->d_name))
            continue;
        NEED(fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW));
        EXPECT_EQ(entry->d_ino, st.st_ino);
        EXPECT_EQ(seen[atoi(entry->d_name)]++, 0);
    }
    for (int64_t i = 0; i < row->len; i++)
        EXPECT_EQ(seen[i], 1);
    return closedir(dir);
}

/* rm -r does this. */
static int64_t removed_meanwhile(const struct calls_case *row)
{
    int64_t count = 0;
    DIR *dir;

    make_files(row->path, row->len);
    dir = opendir(row->path);
    EXPECT(dir);
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (is_dots(entry->d_name))
            continue;
        NEED(unlinkat(dirfd(dir), entry->d_name, 0));
        count++;
    }
    return count;
}

static int64_t count_from_here(DIR *dir)
{
    int64_t count = 0;

    for (struct dirent *entry; (entry = readdir(dir));)
        count += !is_dots(entry->d_name);
    return count;
}

/* What is new is seen after rewinddir(). */
static int64_t rewound(const struct calls_case *row)
{
    DIR *dir = opendir(row->path);

    EXPECT(dir);
    EXPECT_EQ(count_from_here(dir), 0);
    make_files(row->path, row->len);
    rewinddir(dir);
    return count_from_here(dir);
}

/* From each place that telldir() gave, what follows is what followed. */
static int64_t sought(const struct calls_case *row)
{
    DIR *dir;

    make_files(row->path, row->len);
    dir = opendir(row->path);
    EXPECT(dir);
    for (;;) {
        long place = telldir(dir);
        struct dirent *entry = readdir(dir);
        char name[256];

        if (!entry)
            break;
        strcpy(name, entry->d_name);
        seekdir(dir, place);
        entry = readdir(dir);
        EXPECT(entry && strcmp(entry->d_name, name) == 0);
    }
    return closedir(dir);
}

static void expect_at(DIR *dir, long place, const char *name)
{
    struct dirent *entry;

    seekdir(dir, place);
    entry = readdir(dir);
    EXPECT(entry && strcmp(entry->d_name, name) == 0);
}

/* Places stay good when the directory is read from its start again, and when another entry goes. */
static int64_t sought_after_start(const struct calls_case *row)
{
    struct {
        long place;
        char name[256];
    } * seen;
    int64_t count = 0, gone = row->len / 2;
    struct dirent *entry;
    DIR *dir;

    make_files(row->path, row->len);
    seen = calloc((size_t)row->len + 2, sizeof(*seen));
    dir = opendir(row->path);
    EXPECT(dir && seen);
    for (;;) {
        seen[count].place = telldir(dir);
        entry = readdir(dir);
        if (!entry)
            break;
        strcpy(seen[count++].name, entry->d_name);
    }
    EXPECT_EQ(count, row->len + 2);
    expect_at(dir, seen[0].place, seen[0].name);
    for (int64_t i = count; i-- > 0;)
        expect_at(dir, seen[i].place, seen[i].name);
    NEED(unlinkat(dirfd(dir), seen[gone].name, 0));
    expect_at(dir, seen[0].place, seen[0].name);
    EXPECT_EQ(count_from_here(dir), row->len - 1);
    for (int64_t i = count; i-- > 0;)
        if (i != gone)
            expect_at(dir, seen[i].place, seen[i].name);
    free(seen);
    return closedir(dir);
}

/* . and .. are there, once, and lead where they should. */
static int64_t dots(const struct calls_case *row)
{
    DIR *dir = opendir(row->path);
    struct stat here, above;
    int64_t count = 0;

    EXPECT(dir);
    NEED(stat(row->path, &here));
    NEED(stat(".", &above));
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (!is_dots(entry->d_name))
            continue;
        EXPECT_EQ(entry->d_ino, entry->d_name[1] ? above.st_ino : here.st_ino);
        count++;
    }
    return count;
}

/* Kinds are right or unknown. */
static int64_t kinds(const struct calls_case *row)
{
    DIR *dir = opendir(row->path);
    int64_t count = 0;

    EXPECT(dir);
    for (struct dirent *entry; (entry = readdir(dir));) {
        struct stat st;

        NEED(fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW));
        EXPECT(entry->d_type == DT_UNKNOWN || entry->d_type == IFTODT(st.st_mode));
        count += !is_dots(entry->d_name);
    }
    return count;
}

static const struct calls_case rows[] = {
    CALLS_BAD_PATHS,
    {"an empty directory", "dir d", .path = "d", .want = 0, .after = "count d 0"},
    {"a missing directory", "", .path = "d", .want = -ENOENT},
    {"a file", "file a 0", .path = "a", .want = -ENOTDIR},
    {"through a link", "dir d; symlink l d", .path = "l"},
    {". and ..", "dir d; file d/a 0", .path = "d", .want = 2, .call = dots},
    {"kinds", "dir d; file d/a 0; dir d/b; symlink d/c x; fifo d/e", .path = "d", .want = 4,
     .call = kinds},
    {"1000 files", "dir d", .path = "d", .len = 1000, .after = "count d 1000", .call = each_once},
    {"files that are removed meanwhile", "dir d", .path = "d", .len = 1000, .want = 1000,
     .after = "count d 0", .call = removed_meanwhile},
    {"rewinddir", "dir d", .path = "d", .len = 100, .want = 100, .call = rewound},
    {"seekdir", "dir d", .path = "d", .len = 100, .call = sought},
    {"seekdir after the start", "dir d", .path = "d", .len = 3000, .after = "count d 2999",
     .call = sought_after_start},
    {"names of 255 bytes", "dir d; file d/{255*m} 0; file d/{255*n} 0", .path = "d", .want = 2,
     .call = kinds},
    {"a directory that may not be read", "dir d; mode d 0711", .path = "d", .want = -EACCES,
     .as = AS_NOBODY},
};

CALLS("readdir", call, rows)
