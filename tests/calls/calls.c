/* SPDX-License-Identifier: MIT */
/*
 * Runs the tables, or those named. The folder is made and removed by tests/support, which also ends
 * what is left of a case's processes.
 */
#include "calls.h"

#include <ftw.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#define NOBODY 65534

static struct calls_table *tables;
static const struct calls_table *table;
static const struct calls_case *row;

void calls_add(struct calls_table *added)
{
    struct calls_table **end = &tables;

    while (*end)
        end = &(*end)->next;
    *end = added;
}

static void say_which(void)
{
    fprintf(stderr, "FAILED %s: %s\n", table->name, row->name);
}

void calls_skip(const char *reason)
{
    printf("skipped %s: %s: %s\n", table->name, row->name, reason);
    fflush(NULL);
    _exit(TEST_SKIP);
}

int64_t calls_need(const char *file, int line, const char *what, int64_t rc)
{
    if (rc == -1 && errno == EOPNOTSUPP)
        calls_skip("this file system does not support it");
    if (rc == -1)
        test_fail(file, line, "%s: %s", what, strerror(errno));
    return rc;
}

/* The saved uid stays root's, so that the way back is open. */
static void become_nobody(void)
{
    NEED(setgroups(0, NULL));
    NEED(setresgid(NOBODY, NOBODY, 0));
    NEED(setresuid(NOBODY, NOBODY, 0));
}

static void become_root(void)
{
    NEED(setresuid(0, 0, 0));
    NEED(setresgid(0, 0, 0));
}

static void expect_result(int64_t got)
{
    char got_text[64], want_text[64];

    if (got == -EOPNOTSUPP && row->want != got)
        calls_skip("this file system does not support it");
    if (got == row->want)
        return;
    snprintf(got_text, sizeof(got_text), "%lld", (long long)got);
    snprintf(want_text, sizeof(want_text), "%lld", (long long)row->want);
    FAIL("it gave %s, expected %s", got < 0 ? strerrorname_np((int)-got) : got_text,
         row->want < 0 ? strerrorname_np((int)-row->want) : want_text);
}

static void run_case(void)
{
    struct calls_case written_out = *row;
    int64_t rc;

    alarm(TEST_PATIENCE_SECONDS); /* a case that hangs has failed */
    NEED(mkdir("case", 0));
    NEED(chmod("case", 0777));
    NEED(chdir("case"));
    umask(022);
    calls_before(row->before);
    written_out.path = row->path ? calls_text(row->path) : NULL;
    written_out.other = row->other ? calls_text(row->other) : NULL;
    if (row->as == AS_NOBODY)
        become_nobody();
    rc = (row->call ? row->call : table->call)(&written_out);
    if (rc == -1)
        rc = -errno;
    if (row->as == AS_NOBODY)
        become_root();
    expect_result(rc);
    calls_after(row->after);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

/* The exit status of the case, and its folder gone. */
static int fork_case(void)
{
    int status;
    pid_t child;

    fflush(NULL);
    child = fork();
    if (child == 0) {
        test_on_failure = say_which;
        run_case();
        fflush(NULL);
        _exit(0);
    }
    NEED(child);
    NEED(waitpid(child, &status, 0));
    if (WIFSIGNALED(status)) {
        fprintf(stderr, "the case was ended by signal %d (%s)\n", WTERMSIG(status),
                strsignal(WTERMSIG(status)));
        say_which();
    }
    NEED(nftw("case", remove_entry, 16, FTW_DEPTH | FTW_PHYS));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static bool is_wanted(int argc, char **argv)
{
    for (int i = 2; i < argc; i++)
        if (strncmp(table->name, argv[i], strlen(argv[i])) == 0)
            return true;
    return argc <= 2;
}

static int run_tables(int argc, char **argv)
{
    unsigned passed = 0, skipped = 0, failed = 0;

    NEED(chdir(test_folder()));
    for (table = tables; table; table = table->next) {
        if (!is_wanted(argc, argv))
            continue;
        for (row = table->rows; row < table->rows + table->count; row++) {
            int status = fork_case();

            *(status == 0 ? &passed : status == TEST_SKIP ? &skipped : &failed) += 1;
        }
    }
    printf("%u passed, %u skipped, %u failed\n", passed, skipped, failed);
    return failed || !passed;
}

int main(int argc, char **argv)
{
    char *folder = argc < 2 ? NULL : realpath(argv[1], NULL);
    struct stat st;

    if (!folder || stat(folder, &st) != 0 || !S_ISDIR(st.st_mode)) {
        fprintf(stderr, "usage: %s FOLDER [CALL ...]\nFOLDER is where the calls are tried.\n",
                argv[0]);
        return 2;
    }
    if (geteuid() != 0)
        test_skip("it needs root, to change owners and to be another user");
    setenv("TMPDIR", folder, 1);
    free(folder);
    return test_main(argc, argv, run_tables);
}
