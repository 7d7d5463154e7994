/* SPDX-License-Identifier: MIT */
/*
 * Paths: where they lead through links, dots and slashes, and what makes, moves and removes
 * directories along them.
 */
#include "anonymous_pool.h"
#include "support.h"

#include <errno.h>
#include <holdfast/serve.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static int open_pool(void **state)
{
    return open_pool_of(state, TEST_MIB(8));
}

static nlink_t links_of(struct hf_pool *pool, const char *path)
{
    struct stat st;

    assert_int_equal(hf_stat(pool, path, HF_AT_NOFOLLOW, &st), 0);
    return st.st_nlink;
}

static void touch(struct hf_pool *pool, const char *path)
{
    assert_int_equal(hf_close(test_file(pool, path)), 0);
}

static void paths_lead_where_posix_says(void **state)
{
    struct hf_pool *pool = *state;
    char name[HF_NAME_MAX + 3] = "/";
    struct stat st;

    assert_int_equal(hf_mkdir(pool, "/d", 0755), 0);
    assert_int_equal(hf_mkdir(pool, "d/e/", 0755), 0);
    touch(pool, "d/f");
    assert_int_equal(hf_stat(pool, "//d/./e/../f", 0, &st), 0);
    assert_int_equal(hf_stat(pool, "/../d/f", 0, &st), 0);
    assert_int_equal(hf_stat(pool, "/", 0, &st), 0);
    assert_int_equal(st.st_ino, HF_ROOT_INO);
    assert_int_equal(hf_stat(pool, "", 0, &st), -ENOENT);
    assert_int_equal(hf_stat(pool, "/d/f/", 0, &st), -ENOTDIR);
    assert_int_equal(hf_stat(pool, "/d/f/x", 0, &st), -ENOTDIR);
    assert_int_equal(hf_stat(pool, "/no/f", 0, &st), -ENOENT);
    memset(name + 1, 'n', HF_NAME_MAX + 1);
    assert_int_equal(hf_mkdir(pool, name, 0755), -ENAMETOOLONG);
    name[HF_NAME_MAX + 1] = 0;
    assert_int_equal(hf_mkdir(pool, name, 0755), 0);
    assert_int_equal(hf_mkdir(pool, "/d/.", 0755), -EEXIST);
    assert_int_equal(hf_mkdir(pool, "/", 0755), -EEXIST);
    assert_int_equal(hf_rmdir(pool, "/d/."), -EINVAL);
    assert_int_equal(hf_rmdir(pool, "/d/e/.."), -ENOTEMPTY);
    assert_int_equal(hf_rmdir(pool, "/"), -EBUSY);
    assert_int_equal(hf_rmdir(pool, "/d"), -ENOTEMPTY);
    assert_int_equal(hf_rmdir(pool, "/d/f"), -ENOTDIR);
    assert_int_equal(hf_unlink(pool, "/d", NULL), -EISDIR);
    assert_int_equal(hf_rmdir(pool, "/d/e"), 0);
}

static void symbolic_links_are_followed(void **state)
{
    struct hf_pool *pool = *state;
    char target[8];
    struct stat st;

    assert_int_equal(hf_mkdir(pool, "/d", 0755), 0);
    assert_int_equal(hf_symlink(pool, "../d/new", "/d/l"), 0);
    touch(pool, "/d/other");
    touch(pool, "/d/l"); /* makes what it points to */
    assert_int_equal(hf_stat(pool, "/d/new", 0, &st), 0);
    assert_int_equal(hf_symlink(pool, "/d/", "/abs"), 0);
    assert_int_equal(hf_stat(pool, "/abs/other", 0, &st), 0);
    assert_int_equal(hf_stat(pool, "/abs", HF_AT_NOFOLLOW, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(st.st_size, 3);
    assert_int_equal(hf_stat(pool, "/abs/", HF_AT_NOFOLLOW, &st), 0);
    assert_true(S_ISDIR(st.st_mode));
    assert_int_equal(hf_readlink(pool, "/abs", target, 2), 2);
    assert_memory_equal(target, "/d", 2);
    assert_int_equal(hf_symlink(pool, "b", "/a"), 0);
    assert_int_equal(hf_symlink(pool, "a", "/b"), 0);
    assert_int_equal(hf_stat(pool, "/a", 0, &st), -ELOOP);
    assert_int_equal(hf_symlink(pool, "", "/c"), -ENOENT);
}

/* The longest targets there are, each with a rest behind the next link: 40 are followed, 41 not. */
static void chains_of_links_end_at_forty(void **state)
{
    struct hf_pool *pool = *state;
    char target[HF_SYMLINK_MAX + 1], link[16];
    struct stat st;

    assert_int_equal(hf_mkdir(pool, "/d", 0755), 0);
    touch(pool, "/d/f");
    for (int i = 0; i <= 40; i++) {
        int used = i ? snprintf(target, sizeof target, "/l%d", i - 1)
                     : snprintf(target, sizeof target, "/d");

        while (used + 2 < (int)sizeof target)
            used += snprintf(target + used, sizeof target - (size_t)used, "/.");
        snprintf(link, sizeof link, "/l%d", i);
        assert_int_equal(hf_symlink(pool, target, link), 0);
    }
    assert_int_equal(hf_stat(pool, "/l39/f", 0, &st), 0);
    assert_true(S_ISREG(st.st_mode));
    assert_int_equal(hf_stat(pool, "/l40/f", 0, &st), -ELOOP);
    assert_int_equal(hf_stat(pool, "/l39/f/", 0, &st), -ENOTDIR);
}

static void a_slash_behind_a_link_reaches_its_end(void **state)
{
    struct hf_pool *pool = *state;
    struct stat st;

    assert_int_equal(hf_mkdir(pool, "/d", 0755), 0);
    touch(pool, "/d/f");
    assert_int_equal(hf_symlink(pool, "d", "/a"), 0);
    assert_int_equal(hf_symlink(pool, "a", "/b"), 0);
    assert_int_equal(hf_symlink(pool, "d//", "/c"), 0);
    assert_int_equal(hf_symlink(pool, "c", "/e"), 0);
    assert_int_equal(hf_symlink(pool, "b/f", "/g"), 0);
    assert_int_equal(hf_stat(pool, "/b/", HF_AT_NOFOLLOW, &st), 0);
    assert_true(S_ISDIR(st.st_mode));
    assert_int_equal(hf_stat(pool, "/b", HF_AT_NOFOLLOW, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(hf_stat(pool, "/e//f", 0, &st), 0);
    assert_int_equal(hf_stat(pool, "/g", 0, &st), 0);
    assert_int_equal(hf_stat(pool, "/g/", 0, &st), -ENOTDIR);
    assert_int_equal(hf_mkdir(pool, "/b/new/", 0755), 0);
    assert_int_equal(hf_stat(pool, "/d/new", 0, &st), 0);
}

static void directories_count_their_links(void **state)
{
    struct hf_pool *pool = *state;

    assert_int_equal(links_of(pool, "/"), 2);
    assert_int_equal(hf_mkdir(pool, "/a", 0755), 0);
    assert_int_equal(hf_mkdir(pool, "/b", 0755), 0);
    assert_int_equal(hf_mkdir(pool, "/a/x", 0755), 0);
    assert_int_equal(links_of(pool, "/"), 4);
    assert_int_equal(links_of(pool, "/a"), 3);
    assert_int_equal(hf_rename(pool, "/a/x", "/b/x", 0), 0);
    assert_int_equal(links_of(pool, "/a"), 2);
    assert_int_equal(links_of(pool, "/b"), 3);
    touch(pool, "/f");
    assert_int_equal(hf_rename(pool, "/f", "/b/x", HF_RENAME_EXCHANGE), 0);
    assert_int_equal(links_of(pool, "/b"), 2);
    assert_int_equal(links_of(pool, "/"), 5); /* a, b, and x under the name f */
    assert_int_equal(hf_rename(pool, "/f", "/a", 0), 0);
    assert_int_equal(links_of(pool, "/"), 4);
}

static void a_rename_can_leave_a_whiteout(void **state)
{
    struct hf_pool *pool = *state;
    struct stat st;

    assert_int_equal(hf_mkdir(pool, "/a", 0755), 0);
    assert_int_equal(hf_mkdir(pool, "/a/x", 0755), 0);
    touch(pool, "/f");
    assert_int_equal(hf_rename(pool, "/f", "/g", HF_RENAME_WHITEOUT), 0);
    assert_int_equal(hf_stat(pool, "/f", HF_AT_NOFOLLOW, &st), 0);
    assert_int_equal(st.st_mode, S_IFCHR);
    assert_int_equal(st.st_rdev, 0);
    assert_int_equal(hf_rename(pool, "/a/x", "/x", HF_RENAME_WHITEOUT | HF_RENAME_NOREPLACE), 0);
    assert_int_equal(hf_stat(pool, "/a/x", HF_AT_NOFOLLOW, &st), 0);
    assert_int_equal(st.st_mode, S_IFCHR);
    assert_int_equal(links_of(pool, "/a"), 2);
    assert_int_equal(hf_rename(pool, "/f", "/g", HF_RENAME_WHITEOUT | HF_RENAME_EXCHANGE), -EINVAL);
    assert_int_equal(hf_rename(pool, "/f", "/g", 0x8), -EINVAL);
}

static void renames_are_checked(void **state)
{
    struct hf_pool *pool = *state;

    assert_int_equal(hf_mkdir(pool, "/d", 0755), 0);
    assert_int_equal(hf_mkdir(pool, "/d/e", 0755), 0);
    touch(pool, "/f");
    assert_int_equal(hf_rename(pool, "/d", "/d/e/x", 0), -EINVAL);
    assert_int_equal(hf_rename(pool, "/d", "/d/e", HF_RENAME_EXCHANGE), -EINVAL);
    assert_int_equal(hf_rename(pool, "/d/e", "/d", 0), -ENOTEMPTY);
    assert_int_equal(hf_rename(pool, "/f", "/d", 0), -EISDIR);
    assert_int_equal(hf_rename(pool, "/d", "/f", 0), -ENOTDIR);
    assert_int_equal(hf_rename(pool, "/f", "/g/", 0), -ENOTDIR);
    assert_int_equal(hf_rename(pool, "/f", "/d/e", HF_RENAME_NOREPLACE), -EEXIST);
    assert_int_equal(hf_rename(pool, "/f", "/no", HF_RENAME_EXCHANGE), -ENOENT);
    assert_int_equal(hf_rename(pool, "/d/.", "/g", 0), -EBUSY);
    assert_int_equal(hf_link(pool, "/f", "/g"), 0);
    assert_int_equal(hf_rename(pool, "/f", "/g", 0), 0); /* one file: both names stay */
    assert_int_equal(links_of(pool, "/f"), 2);
    assert_int_equal(hf_link(pool, "/d", "/h"), -EPERM);
}

static int body(int argc, char **argv)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, open_pool, close_pool)
    static const struct CMUnitTest tests[] = {
        TEST(paths_lead_where_posix_says),   TEST(symbolic_links_are_followed),
        TEST(chains_of_links_end_at_forty),  TEST(a_slash_behind_a_link_reaches_its_end),
        TEST(directories_count_their_links), TEST(a_rename_can_leave_a_whiteout),
        TEST(directories_count_their_links), TEST(renames_are_checked),
    };

    (void)argc, (void)argv;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
