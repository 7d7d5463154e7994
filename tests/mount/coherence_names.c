/* SPDX-License-Identifier: MIT */
/* What is done to names by the library or a mount is seen by all sides with the next call. */
#include "coherence.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define NAMES 8u
#define NAME_STEPS 800u
static const char *const names[NAMES] = {"names/a", "names/b",   "names/c",   "names/d",
                                         "names/d", "names/d/a", "names/d/b", "names/e"};
enum {
    CREATE,
    UNLINK,
    MKDIR,
    RMDIR,
    RENAME,
    EXCHANGE,
    LINK,
    SYMLINK,
    CHMOD,
    UTIMES,
    XATTR,
    OPERATIONS
};

static const char *a_name(void)
{
    return names[test_below(&rng, NAMES)];
}

static int64_t do_in_library(int operation, const char *a, const char *b)
{
    const struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = (time_t)test_below(&rng, 9999)}};
    struct hf_file *file;
    int rc;

    switch (operation) {
    case CREATE:
        rc = hf_open(pool, a, O_CREAT | O_EXCL | O_RDWR, 0600, &file);
        return rc ? rc : hf_close(file);
    case UNLINK:
        return hf_unlink(pool, a, NULL);
    case MKDIR:
        return hf_mkdir(pool, a, 0700);
    case RMDIR:
        return hf_rmdir(pool, a);
    case RENAME:
        return hf_rename(pool, a, b, 0);
    case EXCHANGE:
        return hf_rename(pool, a, b, HF_RENAME_EXCHANGE);
    case LINK:
        return hf_link(pool, a, b);
    case SYMLINK:
        return hf_symlink(pool, strrchr(b, '/') + 1, a);
    case CHMOD:
        return hf_chmod(pool, a, 0600 | (mode_t)test_below(&rng, 64));
    case UTIMES:
        return hf_utimens(pool, a, times, HF_AT_NOFOLLOW);
    default:
        return hf_setxattr(pool, a, "user.side", side_names[LIBRARY], 7, 0);
    }
}

static int64_t do_in_mount(int operation, const char *a, const char *b)
{
    const struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = (time_t)test_below(&rng, 9999)}};
    int fd;

    switch (operation) {
    case CREATE:
        fd = open(a, O_CREAT | O_EXCL | O_RDWR, 0600);
        return fd < 0 ? fd : close(fd);
    case UNLINK:
        return unlink(a);
    case MKDIR:
        return mkdir(a, 0700);
    case RMDIR:
        return rmdir(a);
    case RENAME:
        return rename(a, b);
    case EXCHANGE:
        return renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE);
    case LINK:
        return link(a, b);
    case SYMLINK:
        return symlink(strrchr(b, '/') + 1, a);
    case CHMOD:
        return chmod(a, 0600 | (mode_t)test_below(&rng, 64));
    case UTIMES:
        return utimensat(AT_FDCWD, a, times, AT_SYMLINK_NOFOLLOW);
    default:
        return setxattr(a, "user.side", "mount", 5, 0);
    }
}

/* What a side sees of a name, in words that can be compared. */
static void describe(enum side side, const char *name, char *text, size_t len)
{
    char target[64] = "", value[64] = "";
    struct stat st;
    int64_t rc = side == LIBRARY ? hf_stat(pool, name, HF_AT_NOFOLLOW, &st)
                                 : told(lstat(at(side, name), &st));

    if (rc != 0) {
        snprintf(text, len, "%s", strerrorname_np((int)-rc));
        return;
    }
    if (S_ISLNK(st.st_mode)) {
        EXPECT_OK(side == LIBRARY ? hf_readlink(pool, name, target, sizeof(target) - 1)
                                  : told(readlink(at(side, name), target, sizeof(target) - 1)));
    } else if (side == LIBRARY) {
        rc = hf_getxattr(pool, name, "user.side", value, sizeof(value) - 1);
    } else {
        rc = told(getxattr(at(side, name), "user.side", value, sizeof(value) - 1));
    }
    snprintf(text, len, "%" PRIu64 " %o %ju %jd %jd.%09ld %jd.%09ld [%s] [%s] %lld", st.st_ino,
             st.st_mode, (uintmax_t)st.st_nlink, (intmax_t)st.st_size, (intmax_t)st.st_mtim.tv_sec,
             st.st_mtim.tv_nsec, (intmax_t)st.st_ctim.tv_sec, st.st_ctim.tv_nsec, target, value,
             (long long)rc);
}

/* Names and inode numbers, in any order: a sum that knows both. */
static uint64_t list_library(const char *name)
{
    struct hf_dirent entry;
    struct hf_dir *dir;
    uint64_t sum = 0;

    if (hf_opendir(pool, name, &dir) != 0)
        return 0;
    while (hf_readdir(dir, &entry) == 1)
        if (entry.name[0] != '.')
            sum += test_mix((unsigned char)entry.name[0], entry.ino);
    EXPECT_EQ(hf_closedir(dir), 0);
    return sum;
}

static uint64_t list_mount(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    uint64_t sum = 0;

    if (!dir)
        return 0;
    while ((entry = readdir(dir)) != NULL)
        if (entry->d_name[0] != '.')
            sum += test_mix((unsigned char)entry->d_name[0], entry->d_ino);
    closedir(dir);
    return sum;
}

static void expect_agreement(int operation, enum side by)
{
    static const char *const listed[] = {"names", "names/d"};
    char text[SIDES][400];

    for (unsigned i = 0; i < NAMES; i++)
        for (enum side side = 0; side < SIDES; side++) {
            describe(side, names[i], text[side], sizeof(text[side]));
            if (strcmp(text[side], text[LIBRARY]) != 0)
                FAIL("%s: the library sees %s, the %s %s, after operation %d by the %s", names[i],
                     text[LIBRARY], side_names[side], text[side], operation, side_names[by]);
        }
    for (unsigned i = 0; i < 2; i++)
        for (enum side side = FIRST; side < SIDES; side++)
            EXPECT_EQ(list_mount(at(side, listed[i])), list_library(listed[i]));
}

/* Each operation has succeeded on each side. */
static bool all_done(const unsigned done[OPERATIONS][SIDES])
{
    for (int operation = 0; operation < OPERATIONS; operation++)
        for (enum side side = 0; side < SIDES; side++)
            if (!done[operation][side])
                return false;
    return true;
}

void names_agree(void)
{
    unsigned done[OPERATIONS][SIDES] = {{0}};

    EXPECT_EQ(hf_mkdir(pool, "names", 0755), 0);
    for (unsigned step = 0; step < NAME_STEPS || !all_done(done); step++) {
        int operation = (int)test_below(&rng, OPERATIONS);
        enum side by = (enum side)test_below(&rng, SIDES);
        const char *a = at(by, a_name()), *b = at(by, a_name());
        int64_t rc = by == LIBRARY ? do_in_library(operation, a, b) : do_in_mount(operation, a, b);

        done[operation][by] += rc == 0;
        expect_agreement(operation, by);
        EXPECT(step < 50 * NAME_STEPS);
    }
}
