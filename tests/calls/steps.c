/* SPDX-License-Identifier: MIT */
/*
 * The words of `before` and `after`. Most have two sides: `mode a 0600` sets the mode of a before
 * the call, and expects it after. Numbers are decimal, octal with a leading 0, and may end in K, M,
 * G or T.
 */
#include "calls.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/xattr.h>
#include <time.h>

#define ARGS_MAX 5
#define OLD_SECONDS 1000000000 /* a day in 2001 */

char calls_pattern(int64_t at)
{
    return (char)('a' + at % 26); /* 26 divides no block size */
}

static int64_t number(const char *text)
{
    static const char units[] = "KMGT";
    char *end;
    int64_t value = strtoll(text, &end, 0);
    const char *unit = *end ? strchr(units, *end) : NULL;

    if (end == text || (*end && !unit))
        FAIL("\"%s\" is not a number", text);
    return unit ? value << (10 * (unit - units + 1)) : value;
}

static struct stat look(const char *path)
{
    struct stat st;

    if (lstat(path, &st) != 0)
        FAIL("%s: %s", path, strerror(errno));
    return st;
}

static bool content_is(const char *path, int64_t at, int64_t len, char (*byte)(int64_t at),
                       int64_t from)
{
    int fd = (int)NEED(open(path, O_RDONLY));
    char buffer[8192];

    for (int64_t done = 0; done < len;) {
        int64_t want = len - done < (int64_t)sizeof(buffer) ? len - done : (int64_t)sizeof(buffer);
        int64_t got = NEED(pread(fd, buffer, (size_t)want, at + done));

        if (got == 0)
            return false;
        for (int64_t i = 0; i < got; i++)
            if (buffer[i] != byte(from + done + i))
                return false;
        done += got;
    }
    NEED(close(fd));
    return true;
}

static char zero(int64_t at)
{
    (void)at;
    return 0;
}

static void expect_content(const char *path, int64_t at, int64_t len, char (*byte)(int64_t at),
                           int64_t from)
{
    if (!content_is(path, at, len, byte, from))
        FAIL("%s does not hold what it should", path);
}

/* --------------------------------------------------------------------- with two sides --- */

/* file NAME BYTES: with the pattern */
static void set_file(char **arg)
{
    int fd = (int)NEED(open(arg[0], O_CREAT | O_EXCL | O_WRONLY, 0644));
    int64_t len = number(arg[1]);
    char *bytes = malloc((size_t)len + 1);

    for (int64_t i = 0; i < len; i++)
        bytes[i] = calls_pattern(i);
    EXPECT_EQ(write(fd, bytes, (size_t)len), len);
    free(bytes);
    NEED(close(fd));
}

static void expect_file(char **arg)
{
    struct stat st = look(arg[0]);

    EXPECT(S_ISREG(st.st_mode));
    EXPECT_EQ(st.st_size, number(arg[1]));
    expect_content(arg[0], 0, st.st_size, calls_pattern, 0);
}

/* hole NAME BYTES */
static void set_hole(char **arg)
{
    int fd = (int)NEED(open(arg[0], O_CREAT | O_EXCL | O_WRONLY, 0644));

    NEED(ftruncate(fd, number(arg[1])));
    NEED(close(fd));
}

static void expect_hole(char **arg)
{
    EXPECT_EQ(look(arg[0]).st_size, number(arg[1]));
    expect_content(arg[0], 0, number(arg[1]), zero, 0);
}

/* text NAME WORD */
static void set_text(char **arg)
{
    int fd = (int)NEED(open(arg[0], O_CREAT | O_EXCL | O_WRONLY, 0644));

    NEED(write(fd, arg[1], strlen(arg[1])));
    NEED(close(fd));
}

static void expect_text(char **arg)
{
    char buffer[256];
    int fd = (int)NEED(open(arg[0], O_RDONLY));
    ssize_t got = NEED(read(fd, buffer, sizeof(buffer) - 1));

    buffer[got] = '\0';
    if (strcmp(buffer, arg[1]) != 0)
        FAIL("%s holds \"%s\", expected \"%s\"", arg[0], buffer, arg[1]);
    NEED(close(fd));
}

static void set_dir(char **arg)
{
    NEED(mkdir(arg[0], 0755));
}

static void expect_dir(char **arg)
{
    EXPECT(S_ISDIR(look(arg[0]).st_mode));
}

static void set_fifo(char **arg)
{
    NEED(mkfifo(arg[0], 0644));
}

static void expect_fifo(char **arg)
{
    EXPECT(S_ISFIFO(look(arg[0]).st_mode));
}

/* link OLD NEW: two names of one file */
static void set_link(char **arg)
{
    NEED(link(arg[0], arg[1]));
}

static void expect_link(char **arg)
{
    EXPECT_EQ(look(arg[0]).st_ino, look(arg[1]).st_ino);
}

/* symlink NAME TARGET */
static void set_symlink(char **arg)
{
    NEED(symlink(arg[1], arg[0]));
}

static void expect_symlink(char **arg)
{
    char target[4097];
    ssize_t len = NEED(readlink(arg[0], target, sizeof(target) - 1));

    target[len] = '\0';
    if (strcmp(target, arg[1]) != 0)
        FAIL("%s leads to \"%s\"", arg[0], target);
    EXPECT_EQ(look(arg[0]).st_size, len);
}

/* mode NAME BITS */
static void set_mode(char **arg)
{
    NEED(chmod(arg[0], (mode_t)number(arg[1])));
}

static void expect_mode(char **arg)
{
    mode_t got = look(arg[0]).st_mode & 07777, want = (mode_t)number(arg[1]);

    if (got != want)
        FAIL("%s has mode %04o, expected %04o", arg[0], got, want);
}

/* own NAME UID GID */
static void set_own(char **arg)
{
    NEED(lchown(arg[0], (uid_t)number(arg[1]), (gid_t)number(arg[2])));
}

static void expect_own(char **arg)
{
    EXPECT_EQ(look(arg[0]).st_uid, number(arg[1]));
    EXPECT_EQ(look(arg[0]).st_gid, number(arg[2]));
}

/* xattr NAME KEY VALUE */
static void set_xattr(char **arg)
{
    NEED(lsetxattr(arg[0], arg[1], arg[2], strlen(arg[2]), 0));
}

static void expect_xattr(char **arg)
{
    char value[256];
    ssize_t len = NEED(lgetxattr(arg[0], arg[1], value, sizeof(value) - 1));

    value[len] = '\0';
    if (strcmp(value, arg[2]) != 0)
        FAIL("%s of %s is \"%s\"", arg[1], arg[0], value);
}

/* atime NAME, mtime NAME: a time of long ago */
static void set_atime(char **arg)
{
    struct timespec times[2] = {{.tv_sec = OLD_SECONDS}, {.tv_nsec = UTIME_OMIT}};

    NEED(utimensat(AT_FDCWD, arg[0], times, AT_SYMLINK_NOFOLLOW));
}

static void expect_atime(char **arg)
{
    EXPECT_EQ(look(arg[0]).st_atim.tv_sec, OLD_SECONDS);
}

static void set_mtime(char **arg)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = OLD_SECONDS}};

    NEED(utimensat(AT_FDCWD, arg[0], times, AT_SYMLINK_NOFOLLOW));
}

static void expect_mtime(char **arg)
{
    EXPECT_EQ(look(arg[0]).st_mtim.tv_sec, OLD_SECONDS);
}

/* ctime NAME: that of one file is remembered, and expected unchanged. File systems may count times
 * in ticks of the kernel: the pause is longer than any. */
static struct timespec remembered;

static void set_ctime(char **arg)
{
    remembered = look(arg[0]).st_ctim;
    test_sleep_ms(20);
}

static bool is_remembered(struct timespec time)
{
    return time.tv_sec == remembered.tv_sec && time.tv_nsec == remembered.tv_nsec;
}

static void expect_ctime(char **arg)
{
    EXPECT(is_remembered(look(arg[0]).st_ctim));
}

/* ------------------------------------------------------------------- only looked at --- */

static void expect_changed(char **arg)
{
    EXPECT(!is_remembered(look(arg[0]).st_ctim));
}

static void expect_accessed(char **arg)
{
    EXPECT(look(arg[0]).st_atim.tv_sec > OLD_SECONDS);
}

static void expect_modified(char **arg)
{
    EXPECT(look(arg[0]).st_mtim.tv_sec > OLD_SECONDS);
}

static void expect_gone(char **arg)
{
    struct stat st;

    EXPECT_EQ(lstat(arg[0], &st), -1);
    EXPECT_EQ(errno, ENOENT);
}

static void expect_size(char **arg)
{
    EXPECT_EQ(look(arg[0]).st_size, number(arg[1]));
}

/* links NAME COUNT: 1 is how a file system says that it does not count those of a directory */
static void expect_links(char **arg)
{
    struct stat st = look(arg[0]);

    if (!S_ISDIR(st.st_mode) || st.st_nlink != 1)
        EXPECT_EQ(st.st_nlink, number(arg[1]));
}

/* memory NAME BYTES: allocated at least; spare NAME BYTES: at most */
static void expect_memory(char **arg)
{
    EXPECT(look(arg[0]).st_blocks * 512 >= number(arg[1]));
}

static void expect_spare(char **arg)
{
    EXPECT(look(arg[0]).st_blocks * 512 <= number(arg[1]));
}

/* pattern NAME AT LEN FROM: [AT, AT+LEN) is the pattern's from FROM on */
static void expect_pattern(char **arg)
{
    expect_content(arg[0], number(arg[1]), number(arg[2]), calls_pattern, number(arg[3]));
}

/* zeros NAME AT LEN */
static void expect_zeros(char **arg)
{
    expect_content(arg[0], number(arg[1]), number(arg[2]), zero, 0);
}

/* count NAME ENTRIES: without . and .. */
static void expect_count(char **arg)
{
    DIR *dir = opendir(arg[0]);
    int64_t count = -2;

    EXPECT(dir);
    while (readdir(dir))
        count++;
    EXPECT_EQ(count, number(arg[1]));
    closedir(dir);
}

/* -------------------------------------------------------------------------- the steps --- */

static const struct {
    const char *name;
    int args;
    void (*set)(char **arg), (*expect)(char **arg);
} words[] = {
    {"file", 2, set_file, expect_file},
    {"hole", 2, set_hole, expect_hole},
    {"text", 2, set_text, expect_text},
    {"dir", 1, set_dir, expect_dir},
    {"fifo", 1, set_fifo, expect_fifo},
    {"link", 2, set_link, expect_link},
    {"symlink", 2, set_symlink, expect_symlink},
    {"mode", 2, set_mode, expect_mode},
    {"own", 3, set_own, expect_own},
    {"xattr", 3, set_xattr, expect_xattr},
    {"atime", 1, set_atime, expect_atime},
    {"mtime", 1, set_mtime, expect_mtime},
    {"ctime", 1, set_ctime, expect_ctime},
    {"changed", 1, NULL, expect_changed},
    {"accessed", 1, NULL, expect_accessed},
    {"modified", 1, NULL, expect_modified},
    {"gone", 1, NULL, expect_gone},
    {"size", 2, NULL, expect_size},
    {"links", 2, NULL, expect_links},
    {"memory", 2, NULL, expect_memory},
    {"spare", 2, NULL, expect_spare},
    {"pattern", 4, NULL, expect_pattern},
    {"zeros", 3, NULL, expect_zeros},
    {"count", 2, NULL, expect_count},
};
#define WORDS (sizeof(words) / sizeof(words[0]))

static void run_step(char *step, bool after)
{
    char *arg[ARGS_MAX + 1] = {0}, *rest = step, *name = strtok_r(step, " ", &rest);
    int args = 0;

    while (args <= ARGS_MAX && (arg[args] = strtok_r(NULL, " ", &rest)))
        args++;
    for (size_t i = 0; i < WORDS; i++) {
        void (*run)(char **arg) = after ? words[i].expect : words[i].set;

        if (strcmp(words[i].name, name) == 0 && words[i].args == args && run) {
            run(arg);
            return;
        }
    }
    FAIL("there is no step \"%s\" with %d words after it here", name, args);
}

static void run_steps(const char *steps, bool after)
{
    char *copy = strdup(steps ? calls_text(steps) : ""), *rest = copy, *step;

    while ((step = strtok_r(NULL, ";", &rest)))
        run_step(step, after);
    free(copy);
}

void calls_before(const char *steps)
{
    run_steps(steps, false);
}

void calls_after(const char *steps)
{
    run_steps(steps, true);
}

/* ----------------------------------------------------------------------- what {..} is --- */

static const char *elsewhere(void)
{
    static const char *const folders[] = {"/dev/shm", "/tmp", "/var/tmp"};
    struct stat here = look("."), there;

    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
        if (stat(folders[i], &there) == 0 && there.st_dev != here.st_dev)
            return folders[i];
    calls_skip("there is no folder of another file system");
}

/* Writes what is between the braces; returns what follows them. */
static const char *expand(FILE *out, const char *text)
{
    char *star;
    long times = strtol(text, &star, 10);
    size_t len = strcspn(star, "}");

    if (*star != '*') {
        fputs(elsewhere(), out);
        return strchr(text, '}') + 1;
    }
    while (times-- > 0)
        fwrite(star + 1, 1, len - 1, out);
    return star + len + 1;
}

const char *calls_text(const char *text)
{
    char *whole = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&whole, &len);

    while (*text) {
        if (*text == '{')
            text = expand(out, text + 1);
        else
            fputc(*text++, out);
    }
    fclose(out);
    return whole;
}
