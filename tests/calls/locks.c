/* SPDX-License-Identifier: MIT */
/* flock(2), and fcntl(2) locks of a process and of an open file: what another process gets while
 * this one holds what the row says. `flags` is held, `mode` is asked for by the other; [0, 100) is
 * held, one byte at `at` asked for. */
#include "calls.h"

#include <sys/file.h>
#include <sys/wait.h>

static int64_t status_of(pid_t child)
{
    int status;

    NEED(waitpid(child, &status, 0));
    EXPECT(WIFEXITED(status));
    return -WEXITSTATUS(status);
}

static int64_t call(const struct calls_case *row)
{
    int fd = (int)NEED(open(row->path, O_RDWR));
    pid_t child;

    NEED(flock(fd, row->flags));
    child = (pid_t)NEED(fork());
    if (child == 0) {
        int other = (int)NEED(open(row->path, O_RDWR));

        _exit(flock(other, (int)row->mode | LOCK_NB) == 0 ? 0 : errno);
    }
    return status_of(child);
}

static struct flock range(int type, int64_t at, int64_t len)
{
    return (struct flock){.l_type = (short)type, .l_whence = SEEK_SET, .l_start = at, .l_len = len};
}

static int64_t ranges(const struct calls_case *row, int command)
{
    int fd = (int)NEED(open(row->path, O_RDWR));
    struct flock held = range(row->flags, 0, 100);
    pid_t child;

    NEED(fcntl(fd, command, &held));
    child = (pid_t)NEED(fork());
    if (child == 0) {
        struct flock asked = range((int)row->mode, row->at, 1);
        int other = (int)NEED(open(row->path, O_RDWR));

        _exit(fcntl(other, command, &asked) == 0 ? 0 : errno);
    }
    return status_of(child);
}

static int64_t process_ranges(const struct calls_case *row)
{
    return ranges(row, F_SETLK);
}

static int64_t open_file_ranges(const struct calls_case *row)
{
    return ranges(row, F_OFD_SETLK);
}

/* F_GETLK tells which process holds what. */
static int64_t told(const struct calls_case *row)
{
    int fd = (int)NEED(open(row->path, O_RDWR));
    struct flock held = range(row->flags, 10, 20);
    pid_t holder = getpid(), child;

    NEED(fcntl(fd, F_SETLK, &held));
    child = (pid_t)NEED(fork());
    if (child == 0) {
        struct flock asked = range(F_WRLCK, 0, 0);

        NEED(fcntl(fd, F_GETLK, &asked));
        EXPECT_EQ(asked.l_pid, holder);
        EXPECT_EQ(asked.l_start, 10);
        EXPECT_EQ(asked.l_len, 20);
        _exit(0);
    }
    return status_of(child);
}

/* A process's locks go with any close of the file, as POSIX says. */
static int64_t gone_with_close(const struct calls_case *row)
{
    int fd = (int)NEED(open(row->path, O_RDWR));
    struct flock held = range(F_WRLCK, 0, 0);
    pid_t child;

    NEED(fcntl(fd, F_SETLK, &held));
    NEED(close((int)NEED(open(row->path, O_RDONLY))));
    child = (pid_t)NEED(fork());
    if (child == 0)
        _exit(fcntl(fd, F_SETLK, &held) == 0 ? 0 : errno);
    return status_of(child);
}

/* A waiter gets the lock when its holder dies. */
static int64_t waited_for(const struct calls_case *row)
{
    int ready[2], end[2], fd = (int)NEED(open(row->path, O_RDWR));
    pid_t holder;
    char byte;

    NEED(pipe(ready));
    NEED(pipe(end));
    holder = (pid_t)NEED(fork());
    if (holder == 0) {
        NEED(flock((int)NEED(open(row->path, O_RDWR)), LOCK_EX));
        NEED(write(ready[1], "x", 1));
        NEED(read(end[0], &byte, 1));
        test_sleep_ms(30); /* the other waits by then, as a rule */
        _exit(0);
    }
    NEED(read(ready[0], &byte, 1));
    EXPECT_EQ(flock(fd, LOCK_EX | LOCK_NB), -1);
    NEED(write(end[1], "x", 1));
    NEED(flock(fd, LOCK_EX));
    return status_of(holder);
}

static int64_t write_lock_for_reading(const struct calls_case *row)
{
    int fd = (int)NEED(open(row->path, O_RDONLY));
    struct flock asked = range(F_WRLCK, 0, 0);

    return fcntl(fd, F_SETLK, &asked);
}

static const struct calls_case rows[] = {
    {"flock shared, and shared", "file a 0", .path = "a", .flags = LOCK_SH, .mode = LOCK_SH},
    {"flock shared, and exclusive", "file a 0", .path = "a", .flags = LOCK_SH, .mode = LOCK_EX,
     .want = -EWOULDBLOCK},
    {"flock exclusive, and shared", "file a 0", .path = "a", .flags = LOCK_EX, .mode = LOCK_SH,
     .want = -EWOULDBLOCK},
    {"flock let go, and exclusive", "file a 0", .path = "a", .flags = LOCK_UN, .mode = LOCK_EX},
    {"flock that is waited for", "file a 0", .path = "a", .call = waited_for},
    {"read lock, and read lock", "file a 0", .path = "a", .flags = F_RDLCK, .mode = F_RDLCK,
     .at = 50, .call = process_ranges},
    {"read lock, and write lock", "file a 0", .path = "a", .flags = F_RDLCK, .mode = F_WRLCK,
     .at = 99, .want = -EAGAIN, .call = process_ranges},
    {"write lock, and read lock", "file a 0", .path = "a", .flags = F_WRLCK, .mode = F_RDLCK,
     .at = 0, .want = -EAGAIN, .call = process_ranges},
    {"write lock, and write lock beside it", "file a 0", .path = "a", .flags = F_WRLCK,
     .mode = F_WRLCK, .at = 100, .call = process_ranges},
    {"a write lock of a file open for reading", "file a 0", .path = "a", .want = -EBADF,
     .call = write_lock_for_reading},
    {"who holds it", "file a 0", .path = "a", .flags = F_RDLCK, .call = told},
    {"gone with a close", "file a 0", .path = "a", .call = gone_with_close},
    {"open file, write lock and read lock", "file a 0", .path = "a", .flags = F_WRLCK,
     .mode = F_RDLCK, .at = 50, .want = -EAGAIN, .call = open_file_ranges},
    {"open file, read lock and read lock", "file a 0", .path = "a", .flags = F_RDLCK,
     .mode = F_RDLCK, .at = 50, .call = open_file_ranges},
    {"open file, write lock and one beside it", "file a 0", .path = "a", .flags = F_WRLCK,
     .mode = F_WRLCK, .at = 100, .call = open_file_ranges},
};

CALLS("locks", call, rows)
