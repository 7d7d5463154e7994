/* SPDX-License-Identifier: MIT */
/*
 * The frame of a test program. The process that the build tool starts only watches. It makes the
 * folder, runs the test in a child with its own process group, and cleans up after it however it
 * ended. So a crash, a failed expectation or an interrupt leaves neither pools nor processes.
 */
#include "support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

void (*test_on_failure)(void);

static char folder[256];
static pid_t folder_owner;

const char *test_folder(void)
{
    return folder;
}

const char *test_path(const char *name)
{
    static _Thread_local char buffers[8][512];
    static _Thread_local unsigned next;
    char *path = buffers[next++ % 8];

    snprintf(path, sizeof(buffers[0]), "%s/%s", folder, name);
    return path;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    remove(path);
    return 0;
}

static void remove_segments(void)
{
    FILE *list = fopen(test_path(TEST_SEGMENT_LIST), "re");
    char path[128];
    glob_t found;

    if (!list)
        return;
    while (fgets(path, sizeof(path), list)) {
        path[strcspn(path, "\n")] = '\0';
        if (strncmp(path, TEST_SEGMENT_PREFIX, strlen(TEST_SEGMENT_PREFIX)) == 0 &&
            glob(path, 0, NULL, &found) == 0) {
            for (size_t i = 0; i < found.gl_pathc; i++)
                unlink(found.gl_pathv[i]);
            globfree(&found);
        }
    }
    fclose(list);
}

void test_remove_tree(const char *path)
{
    nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void remove_folder(void)
{
    if (getpid() != folder_owner)
        return;
    remove_segments();
    test_remove_tree(folder);
}

static void make_folder(void)
{
    const char *base = getenv("TMPDIR");

    snprintf(folder, sizeof(folder), "%s/holdfast-test-XXXXXX", base && *base ? base : "/dev/shm");
    if (!mkdtemp(folder)) {
        fprintf(stderr, "cannot make %s: %s\n", folder, strerror(errno));
        exit(1);
    }
    folder_owner = getpid();
    atexit(remove_folder);
}

/* Hands signals that would end this program to the child's group; returns the child's status. */
static int await_child(pid_t child, const sigset_t *signals)
{
    int status;

    for (;;) {
        siginfo_t info;
        int signal = sigwaitinfo(signals, &info);

        if (signal > 0 && signal != SIGCHLD)
            kill(-child, SIGKILL);
        if (waitpid(child, &status, WNOHANG) == child)
            return status;
    }
}

/* The test's own children may outlive it for a moment; none may touch the folder any more. As
 * subreaper this process inherits them all. */
static void end_group(pid_t group)
{
    kill(-group, SIGKILL);
    while (waitpid(-group, NULL, 0) > 0)
        ;
}

static int exit_status(int status)
{
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    fprintf(stderr, "the test was ended by signal %d (%s)\n", WTERMSIG(status),
            strsignal(WTERMSIG(status)));
    return 1;
}

int test_main(int argc, char **argv, int (*body)(int argc, char **argv))
{
    sigset_t signals, before;
    pid_t child;
    int status;

    make_folder();
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGHUP);
    sigprocmask(SIG_BLOCK, &signals, &before);
    fflush(NULL);
    child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setpgid(0, 0);
        sigprocmask(SIG_SETMASK, &before, NULL);
        setvbuf(stdout, NULL, _IOLBF, 0);
        status = body(argc, argv);
        fflush(NULL);
        exit(status);
    }
    setpgid(child, child);
    status = await_child(child, &signals);
    end_group(child);
    return exit_status(status);
}

static void (*the_scenario)(void);

static int run_scenario(int argc, char **argv)
{
    (void)argc, (void)argv;
    the_scenario();
    return 0;
}

int test_scenario(int argc, char **argv, void (*scenario)(void))
{
    the_scenario = scenario;
    return test_main(argc, argv, run_scenario);
}

void test_skip(const char *reason)
{
    printf("skipped: %s\n", reason);
    fflush(NULL);
    _exit(TEST_SKIP);
}

void test_fail(const char *file, int line, const char *format, ...)
{
    va_list args;

    fflush(stdout);
    fprintf(stderr, "%s:%d (process %d): ", file, line, (int)getpid());
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    if (test_on_failure)
        test_on_failure();
    fflush(NULL);
    while (getenv("HF_TEST_HALT")) /* for a debugger, with all other processes as they are */
        pause();
    _exit(1);
}

static void describe(char *text, size_t len, long long value)
{
    if (value < 0 && value > -4096)
        snprintf(text, len, "%lld (%s)", value, strerrorname_np((int)-value));
    else
        snprintf(text, len, "%lld", value);
}

void test_expect_equal(const char *file, int line, const char *what, long long got, long long want)
{
    char got_text[64], want_text[64];

    if (got == want)
        return;
    describe(got_text, sizeof(got_text), got);
    describe(want_text, sizeof(want_text), want);
    test_fail(file, line, "%s gave %s, expected %s%s%s", what, got_text, want_text,
              got < 0 ? "; " : "", got < 0 ? hf_strerror_detail() : "");
}

void test_expect_ok(const char *file, int line, const char *what, long long rc)
{
    char text[64];

    if (rc >= 0)
        return;
    describe(text, sizeof(text), rc);
    test_fail(file, line, "%s gave %s; %s", what, text, hf_strerror_detail());
}
